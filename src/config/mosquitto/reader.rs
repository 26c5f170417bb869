//! Walks the lines of all files and puts each option into its section: global, a listener, a bridge.
//!
//! Each file starts with neither a listener nor a bridge, so what an included file says never falls to those of the
//! including one, and behind the `include_dir` line the including file goes on with its own. Until a `listener` line,
//! options of listeners belong to the default listener, which listens on port 1883.

use super::drafts::{Drafts, Section};
use super::files::{Files, Look};
use super::lines::{self, Assignment, Line};
use super::note::{Exit, Place, Refused};
use super::statements::{Notes, Statement, Statements};
use super::table::{Row, Scope, Support, Table, Takes};
use super::value::{self, Value};
use super::{Mosquitto, build};
use crate::limits;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Reads the file at `path` and all it includes.
///
/// Reads at most `CONFIGURATION_FILES_MAX` files of `CONFIGURATION_BYTES_MAX` together; `O(bytes)`.
///
/// Errors: every fault of every line, each with the line to write instead where it can be guessed, and Mosquitto's exit
/// code.
pub fn read(path: &Path, files: &dyn Files) -> Result<Mosquitto, Refused> {
    let mut reader = Reader {
        files,
        folder: path.parent().unwrap_or(Path::new("")).to_path_buf(),
        drafts: Drafts::default(),
        notes: Notes::default(),
        bytes: 0,
        per_listener: false,
        security: None,
        plugin: Plugin::None,
    };
    let main = Place {
        file: path.display().to_string().into(),
        line: 0,
    };
    reader.file(path, &main, 0);
    build::build(reader.drafts, reader.notes, files)
}

/// Whose the next line of a file is.
#[derive(Clone, Copy, Default)]
struct Cursor {
    listener: Option<usize>,
    bridge: Option<usize>,
}

/// The plugin whose options may follow.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Plugin {
    None,
    /// Its refusal has been told.
    Refused,
    PasswordFile,
    AclFile,
    Persistence,
}

struct Reader<'f> {
    files: &'f dyn Files,
    /// That of the main file: relative paths are looked for here too.
    folder: PathBuf,
    drafts: Drafts,
    notes: Notes,
    /// Read so far.
    bytes: usize,
    per_listener: bool,
    /// The first line that `per_listener_settings true` must come before.
    security: Option<(&'static str, Place)>,
    plugin: Plugin,
}

impl Reader<'_> {
    /// Reads a file; `from` is the line that includes it.
    fn file(&mut self, path: &Path, from: &Place, depth: usize) {
        let room = limits::CONFIGURATION_BYTES_MAX - self.bytes;
        let bytes = match self.files.read(path, room) {
            Ok(bytes) => bytes,
            Err(fault) => {
                let reason = format!("{} {fault}", path.display());
                return self.notes.fault(Exit::Invalid, from, reason, None);
            }
        };
        self.bytes += bytes.len().min(room);
        self.drafts.files.push(path.to_path_buf());
        let file: Arc<str> = path.display().to_string().into();
        let mut cursor = Cursor::default();
        for (number, line) in lines::lines(&bytes) {
            let place = Place {
                file: file.clone(),
                line: number,
            };
            let (line, forgiven) = lines::parse(number, line);
            for text in &forgiven {
                self.notes.warn(&place, format!("the line {text}"));
            }
            match line {
                Line::Empty => {}
                Line::Fault {
                    reason,
                    write_instead,
                } => self
                    .notes
                    .fault(Exit::Invalid, &place, reason, write_instead),
                Line::Option(assignment) => {
                    let loose = assignment.equals || !forgiven.is_empty();
                    self.option(&mut cursor, place, assignment, loose, depth);
                }
            }
        }
    }

    fn option(
        &mut self,
        cursor: &mut Cursor,
        place: Place,
        line: Assignment<'_>,
        loose: bool,
        depth: usize,
    ) {
        let name = line.name;
        let Some(row) = Table::get().find(name) else {
            return self.unknown(&place, line);
        };
        if row.scope == Scope::Bridge && cursor.bridge.is_none() && row.name != "connection" {
            return self.outside_bridge(row, &place, line);
        }
        let taken = match value::take(row, name, line.value, loose) {
            Ok(taken) => taken,
            // Mosquitto complains of these two and goes on.
            Err(unfit)
                if line.value.is_empty() && matches!(name, "log_type" | "max_connections") =>
            {
                return self.notes.warn(&place, unfit.reason);
            }
            Err(unfit) => {
                return self
                    .notes
                    .fault(Exit::Invalid, &place, unfit.reason, unfit.write_instead);
            }
        };
        if line.equals {
            let value = String::from_utf8_lossy(line.value);
            let text = "`=` is left out, which Mosquitto takes for the value";
            self.notes
                .warn_instead(&place, text, format!("{name} {value}"));
        }
        for text in taken.warnings {
            self.notes.warn(&place, text);
        }
        self.note_security(row, &place);
        match row.option {
            _ if row.scope == Scope::Plugin => self.plugin(row, name, &place, taken.value, cursor),
            _ if row.support == Support::Refuse => self.refuse(row, &place, &taken.value),
            "include_dir" => self.include(&place, taken.value, depth),
            "listener" | "connection" => self.section(row, cursor, place, taken.value),
            _ => self.keep(row, name, cursor, place, taken.value),
        }
    }

    /// `per_listener_settings true` must come before these.
    fn note_security(&mut self, row: &'static Row, place: &Place) {
        let counts = matches!(row.scope, Scope::Security | Scope::Plugin);
        if counts && self.security.is_none() {
            self.security = Some((row.name, place.clone()));
        }
    }

    fn unknown(&mut self, place: &Place, line: Assignment<'_>) {
        let name: String = line.name.chars().take(60).collect();
        let value = String::from_utf8_lossy(line.value);
        let guess = Table::get().guess(line.name);
        let instead = guess.map(|guess| format!("{guess} {value}"));
        let end = if guess.is_some() {
            ""
        } else {
            ": remove the line"
        };
        let reason = format!("`{name}` is no option of Mosquitto{end}");
        self.notes.fault(Exit::Invalid, place, reason, instead);
    }

    fn outside_bridge(&mut self, row: &Row, place: &Place, line: Assignment<'_>) {
        let value = String::from_utf8_lossy(line.value);
        let (hint, instead) = match row.name {
            "keepalive_interval" => (
                "; of Clients, `max_keepalive` limits the Keep Alive",
                Some(format!("max_keepalive {value}")),
            ),
            "username" | "password" => (
                "; users and passwords of Clients are in a file that `mqttfast passwd` writes",
                Some("password_file FILE".to_owned()),
            ),
            "topic" => (
                "; what Clients may read and write is in a file of its own",
                Some("acl_file FILE".to_owned()),
            ),
            _ => (": remove the line", None),
        };
        let reason = format!(
            "`{}` belongs to a bridge, below a `connection` line{hint}",
            row.name
        );
        self.notes.fault(Exit::Invalid, place, reason, instead);
    }

    fn section(&mut self, row: &'static Row, cursor: &mut Cursor, place: Place, value: Value) {
        let Value::Words(head) = value else { return };
        let section = Section {
            place: place.clone(),
            head,
            said: Statements::default(),
        };
        self.said(row, place);
        if row.name == "listener" {
            self.drafts.listeners.push(section);
            cursor.listener = Some(self.drafts.listeners.len() - 1);
        } else {
            self.drafts.bridges.push(section);
            cursor.bridge = Some(self.drafts.bridges.len() - 1);
        }
    }

    fn said(&mut self, row: &'static Row, place: Place) {
        let known = |(said, _): &(&Row, _)| said.option == row.option;
        if let Some(row) = Table::get().find(row.option)
            && !self.drafts.said.iter().any(known)
        {
            self.drafts.said.push((row, place));
        }
    }

    /// Puts a value into its section.
    fn keep(&mut self, row: &'static Row, name: &str, cursor: &Cursor, place: Place, value: Value) {
        let is_default = match &value {
            Value::Flag(flag) => row.default == flag.to_string(),
            Value::Number(number) => row.default == number.to_string(),
            Value::Words(words) => row.default == words.join(" "),
            _ => false,
        };
        if row.support == Support::Accept && !is_default {
            let text = format!("`{name}` has no effect here: {}", row.note);
            self.notes.no_effect(&place, text);
        }
        if row.name == "set_tcp_nodelay" && value == Value::Flag(false) {
            self.notes
                .no_effect(&place, format!("`{name}` has no effect here: {}", row.note));
        }
        if row.option == "per_listener_settings" {
            self.per_listener(&place, value == Value::Flag(true));
        }
        let value = match (value, row.takes) {
            (Value::Text(text), Takes::Read | Takes::Folder | Takes::Write) => {
                Value::Text(self.path(row, name, &place, text))
            }
            (value, _) => value,
        };
        if !is_default {
            self.said(row, place.clone());
        }
        let per_listener = self.per_listener;
        let to = match row.scope {
            Scope::Bridge => match cursor.bridge {
                Some(bridge) => &mut self.drafts.bridges[bridge].said,
                None => return,
            },
            Scope::Security if !per_listener => &mut self.drafts.global,
            // These are the default listener's, whatever stands above them.
            Scope::Listener if matches!(row.name, "port" | "bind_address") => {
                &mut self.drafts.default
            }
            Scope::Listener | Scope::Security => match cursor.listener {
                Some(listener) => &mut self.drafts.listeners[listener].said,
                None => &mut self.drafts.default,
            },
            Scope::Global | Scope::Plugin => &mut self.drafts.global,
        };
        let once = matches!(
            row.takes,
            Takes::Text | Takes::Read | Takes::Folder | Takes::Write
        );
        if let Some(before) = to.last(row.option).filter(|_| once) {
            let reason = format!("`{name}` is said a second time, first in {}", before.place);
            if before.value == value {
                return self
                    .notes
                    .warn(&place, format!("{reason}, with the same value"));
            }
            let security = row.scope == Scope::Security && !per_listener;
            let end = match security {
                true => {
                    ": there is one for all listeners, unless the file begins with `per_listener_settings true`"
                }
                false => ": remove one of the two",
            };
            return self
                .notes
                .fault(Exit::Invalid, &place, format!("{reason}{end}"), None);
        }
        if row.name == "port"
            && let Some(before) = to.place("port")
        {
            let text = format!("`port` is said a second time, first in {before}: this one holds");
            self.notes.warn(&place, text);
        }
        to.push(row.option, Statement { value, place });
    }

    fn per_listener(&mut self, place: &Place, value: bool) {
        if value
            && !self.per_listener
            && let Some((name, before)) = &self.security
        {
            let reason = format!(
                "`per_listener_settings true` must come before `{name}` in {before}: move the line to the top of the file"
            );
            return self.notes.fault(Exit::Invalid, place, reason, None);
        }
        self.per_listener = value;
    }

    /// A path as it stands there, or as it was clearly meant if only that exists.
    fn path(&mut self, row: &Row, name: &str, place: &Place, text: String) -> String {
        let there = |path: &str| self.files.look(Path::new(path)) != Look::Missing;
        if there(&text) {
            return text;
        }
        let cut = [" #", "\t#"]
            .iter()
            .filter_map(|mark| text.find(mark))
            .min();
        let uncommented = cut.map_or(text.as_str(), |cut| text[..cut].trim_end());
        let quoted = |text: &str| {
            let inner = text
                .strip_prefix('"')
                .and_then(|text| text.strip_suffix('"'));
            inner.filter(|inner| !inner.is_empty()).map(str::to_owned)
        };
        let bare = quoted(uncommented).unwrap_or_else(|| uncommented.to_owned());
        // Quotes are never meant; the file they stand around need not exist before it is written.
        if bare != text && (there(&bare) || row.takes == Takes::Write && quoted(&text).is_some()) {
            let text = "quotes and comments are part of a path for Mosquitto, and that path does not exist";
            self.notes
                .warn_instead(place, text, format!("{name} {bare}"));
            return bare;
        }
        if uncommented != text {
            let text = format!("a comment behind a path is part of it: `{text}`");
            self.notes
                .warn_instead(place, text, format!("{name} {uncommented}"));
        }
        let beside = self.folder.join(&text);
        if row.takes != Takes::Write
            && Path::new(&text).is_relative()
            && self.files.look(&beside) != Look::Missing
        {
            let beside = beside.display().to_string();
            let remark = format!(
                "`{text}` is not in the working directory, but beside the configuration: {beside}"
            );
            self.notes.remark(place, remark);
            return beside;
        }
        text
    }

    /// An option that this program does not have; some values ask for nothing.
    fn refuse(&mut self, row: &'static Row, place: &Place, value: &Value) {
        let is_pem = |value: &Value| matches!(value, Value::Words(words) if words[0] == "pem");
        if *value == Value::Flag(false) || row.name == "tls_keyform" && is_pem(value) {
            let text = format!("`{}` has no effect here, and is asked for none", row.name);
            return self.notes.no_effect(place, text);
        }
        self.notes.fault(
            Exit::Invalid,
            place,
            format!("`{}`: {}", row.name, row.note),
            None,
        );
    }

    fn plugin(
        &mut self,
        row: &'static Row,
        name: &str,
        place: &Place,
        value: Value,
        cursor: &Cursor,
    ) {
        let path = match &value {
            Value::Text(path) => path.clone(),
            // plugin_load NAME PATH
            Value::Words(words) => words[1..].join(" "),
            _ => String::new(),
        };
        if row.name.ends_with("_opt_*") {
            return self.plugin_option(name, place, path, cursor);
        }
        if row.name == "plugin_use" && self.plugin != Plugin::None {
            return;
        }
        let file = path.rsplit(['/', '\\']).next().unwrap_or_default();
        self.plugin = match file {
            "mosquitto_password_file.so" => Plugin::PasswordFile,
            "mosquitto_acl_file.so" => Plugin::AclFile,
            _ if file.contains("persist_sqlite") || file.contains("persist-sqlite") => {
                Plugin::Persistence
            }
            _ => Plugin::Refused,
        };
        match self.plugin {
            Plugin::Persistence => {
                let text = format!(
                    "`{name}` has no effect here: what must last is kept in a log of our own"
                );
                self.notes.no_effect(place, text);
            }
            Plugin::Refused => {
                let end = match file {
                    "mosquitto_dynamic_security.so" => "; its users and roles cannot be read yet",
                    _ => "",
                };
                self.notes.fault(
                    Exit::Invalid,
                    place,
                    format!("`{name}`: {}{end}", row.note),
                    None,
                );
            }
            _ => {}
        }
    }

    fn plugin_option(&mut self, name: &str, place: &Place, value: String, cursor: &Cursor) {
        let meant = match self.plugin {
            Plugin::None => {
                let reason = format!("`{name}` stands below no `plugin` line: remove the line");
                return self.notes.fault(Exit::Invalid, place, reason, None);
            }
            Plugin::PasswordFile if name.ends_with("_opt_password_file") => "password_file",
            Plugin::AclFile if name.ends_with("_opt_acl_file") => "acl_file",
            _ => return,
        };
        if let Some(row) = Table::get().find(meant) {
            self.keep(row, meant, cursor, place.clone(), Value::Text(value));
        }
    }

    fn include(&mut self, place: &Place, value: Value, depth: usize) {
        let Value::Text(text) = value else { return };
        let row = Table::get().find("include_dir");
        let Some(text) = row.map(|row| self.path(row, "include_dir", place, text)) else {
            return;
        };
        if depth >= limits::CONFIGURATION_DEPTH_MAX {
            let text = "files include each other in a circle: the line is left out";
            return self.notes.warn(place, text);
        }
        let folder = Path::new(&text);
        let mut names = match self.files.list(folder) {
            Ok(names) => names,
            Err(fault) => {
                let reason = format!("{text} {fault}");
                return self.notes.fault(Exit::Invalid, place, reason, None);
            }
        };
        names.retain(|name| name.ends_with(".conf"));
        names.sort_by(|a, b| order_of_names(a, b));
        for name in names {
            let path = folder.join(name);
            if self.files.look(&path) == Look::Folder {
                self.notes.warn(
                    place,
                    format!("{} is a folder and is left out", path.display()),
                );
            } else if self.drafts.files.len() >= limits::CONFIGURATION_FILES_MAX {
                let reason = format!("more than {} files", limits::CONFIGURATION_FILES_MAX);
                return self.notes.fault(Exit::Invalid, place, reason, None);
            } else {
                self.file(&path, place, depth + 1);
            }
        }
    }
}

/// Letter by letter, capitals before the same small letter, everything as if in capitals: `.` `1` `a` `B` `b` `_`.
fn order_of_names(a: &str, b: &str) -> std::cmp::Ordering {
    let key = |name: &str| -> Vec<(u8, u8)> {
        name.bytes()
            .map(|byte| (byte.to_ascii_uppercase(), byte))
            .collect()
    };
    key(a).cmp(&key(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn included_files_come_in_mosquittos_order() {
        let mut names = ["b", "_", "B", "a", "2", "é", "10", ".hid"];
        names.sort_by(|a, b| order_of_names(a, b));
        assert_eq!(names, [".hid", "10", "2", "a", "B", "b", "_", "é"]);
    }
}
