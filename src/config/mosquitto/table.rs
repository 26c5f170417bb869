//! Every option of Mosquitto 2.0 and 2.1, read from `options.txt`, which says what its columns are.

use std::collections::HashMap;
use std::sync::LazyLock;

/// Whose an option is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// One for the whole broker, wherever the line stands.
    Global,
    /// Of the listener above it; of a listener on port 1883 if there is none above it.
    Listener,
    /// Global, or as `Listener` under `per_listener_settings true`.
    Security,
    /// Of the `connection` above it.
    Bridge,
    /// Of the `plugin` line above it.
    Plugin,
}

/// When Mosquitto takes a changed value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reload {
    /// At SIGHUP.
    Yes,
    /// At SIGHUP from version 2.1 on.
    New,
    /// At a restart.
    No,
}

/// What becomes of an option here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Support {
    /// It has Mosquitto's effect, or will where `needed` is set.
    Implement,
    /// Accepted without effect, with one line.
    Accept,
    /// Refused, with a remedy. (Some have a value that is harmless.)
    Refuse,
}

/// What values an option takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Takes {
    Flag {
        /// The value that lets in more than the other: it is taken only as Mosquitto writes it.
        opens: Option<bool>,
    },
    Number(Bounds),
    /// A number of bytes.
    Size(Bounds),
    Text,
    /// A file that is read.
    Read,
    Folder,
    /// A file or folder that is written.
    Write,
    Words,
    /// Whatever stands there.
    Nothing,
}

/// Both ends are allowed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Bounds {
    pub least: i64,
    pub most: i64,
    /// What is taken of a number outside; without it, the number is refused.
    pub below: Option<i64>,
    pub above: Option<i64>,
}

/// One option.
#[derive(PartialEq, Eq, Debug)]
pub struct Row {
    /// As it is written in the file; `*` at the end stands for the rest.
    pub name: &'static str,
    /// The option that this name is another one of, or itself.
    pub option: &'static str,
    /// Which section of the file it belongs to.
    pub scope: Scope,
    /// As Mosquitto's manual has it; empty: none.
    pub default: &'static str,
    /// Whether a changed line needs a restart.
    pub reload: Reload,
    /// What happens to a line with it.
    pub support: Support,
    /// What holds beside the columns; the remedy where it is refused.
    pub note: &'static str,
    /// While it is not implemented, a configuration that sets it is refused.
    pub needed: bool,
    /// It does not do quite what Mosquitto's does: the note says what.
    pub differs: bool,
    pub(super) takes: Takes,
}

/// See the module.
pub struct Table {
    rows: Vec<Row>,
    by_name: HashMap<&'static str, usize>,
}

impl Table {
    /// The one table.
    pub fn get() -> &'static Table {
        static TABLE: LazyLock<Table> = LazyLock::new(|| Table::parse(include_str!("options.txt")));
        &TABLE
    }

    fn parse(text: &'static str) -> Table {
        let lines = text
            .lines()
            .filter(|line| !line.starts_with('#') && !line.is_empty());
        let rows: Vec<Row> = lines.map(row).collect();
        let by_name = rows.iter().map(|row| row.name).zip(0..).collect();
        Table { rows, by_name }
    }

    /// All options, in the order of `options.txt`.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The option of this name.
    pub fn find(&self, name: &str) -> Option<&Row> {
        let of_plugin = |prefix| {
            name.strip_prefix(prefix)
                .is_some_and(|rest: &str| !rest.is_empty())
        };
        let key = match name {
            _ if of_plugin("plugin_opt_") => "plugin_opt_*",
            _ if of_plugin("auth_opt_") => "auth_opt_*",
            _ => name,
        };
        self.by_name.get(key).map(|&index| &self.rows[index])
    }

    /// The option that was probably meant: in other letters, by another word, or with at most two slips of the hand.
    pub fn guess(&self, name: &str) -> Option<&'static str> {
        let name = name
            .trim_end_matches(':')
            .to_ascii_lowercase()
            .replace('-', "_");
        let meant = match name.as_str() {
            "keepalive" | "keep_alive" | "keepalive_max" | "max_keep_alive" => "max_keepalive",
            "max_clients" => "max_connections",
            "passwd_file" | "pwfile" | "passwordfile" => "password_file",
            "aclfile" | "acl" => "acl_file",
            "allow_anon" | "anonymous" => "allow_anonymous",
            "log_file" | "logfile" | "log" => "log_dest",
            "log_level" | "loglevel" | "verbosity" => "log_type",
            "websockets" | "websocket" => "protocol",
            "ca_file" => "cafile",
            "cert_file" => "certfile",
            "key_file" => "keyfile",
            "include" => "include_dir",
            "bind" | "host" | "interface" => "listener",
            "max_message_size" => "message_size_limit",
            _ => "",
        };
        if !meant.is_empty() {
            return self.find(meant).map(|row| row.name);
        }
        let slips = |row: &&Row| (edits(&name, row.name, 2), row.name);
        let nearest = self.rows.iter().min_by_key(slips)?;
        let near = edits(&name, nearest.name, 2) <= 2 && name.len() >= 4;
        near.then_some(nearest.name)
    }
}

/// The file is part of the program, so a line that cannot be read is our own mistake and any test finds it.
fn row(line: &'static str) -> Row {
    let columns: Vec<&str> = line.split('|').map(str::trim).collect();
    let [names, scope, wants, default, reload, we, note] = columns[..] else {
        panic!("seven columns: {line}");
    };
    let (name, option) = names.split_once('=').unwrap_or((names, names));
    Row {
        name,
        option,
        scope: match scope {
            "global" => Scope::Global,
            "listener" => Scope::Listener,
            "security" => Scope::Security,
            "bridge" => Scope::Bridge,
            "plugin" => Scope::Plugin,
            _ => panic!("a scope: {line}"),
        },
        takes: takes_of(wants),
        default,
        reload: match reload {
            "yes" => Reload::Yes,
            "new" => Reload::New,
            "no" => Reload::No,
            _ => panic!("yes, new or no: {line}"),
        },
        support: match we.trim_end_matches(['!', '~']) {
            "I" => Support::Implement,
            "N" => Support::Accept,
            "R" => Support::Refuse,
            _ => panic!("I, N or R: {line}"),
        },
        note,
        needed: we.contains('!'),
        differs: we.contains('~'),
    }
}

fn takes_of(text: &str) -> Takes {
    let mut words = text.split(' ');
    match words.next() {
        Some("flag") => Takes::Flag {
            opens: words.next().map(|word| word == "true"),
        },
        Some("number") => Takes::Number(bounds(words)),
        Some("size") => Takes::Size(bounds(words)),
        Some("text") => Takes::Text,
        Some("read") => Takes::Read,
        Some("folder") => Takes::Folder,
        Some("write") => Takes::Write,
        Some("words") => Takes::Words,
        Some("none") => Takes::Nothing,
        _ => panic!("a kind of value: {text}"),
    }
}

fn bounds<'a>(words: impl Iterator<Item = &'a str>) -> Bounds {
    let number = |text: &str| text.parse::<i64>().ok();
    let mut bounds = Bounds {
        least: i64::MIN,
        most: i64::MAX,
        below: None,
        above: None,
    };
    for word in words {
        if let Some(value) = word.strip_prefix("below=") {
            bounds.below = number(value);
        } else if let Some(value) = word.strip_prefix("above=") {
            bounds.above = number(value);
        } else if let Some((least, most)) = word.split_once("..") {
            bounds.least = number(least).unwrap_or(i64::MIN);
            bounds.most = number(most).unwrap_or(i64::MAX);
        }
    }
    bounds
}

/// Letters to change, add or take away until one word is the other; more than `most` where they are more.
pub(super) fn edits(a: &str, b: &str, most: usize) -> usize {
    if a.len().abs_diff(b.len()) > most || a.len() > 100 {
        return most + 1;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, &x) in a.as_bytes().iter().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, &y) in b.as_bytes().iter().enumerate() {
            let changed = corner + usize::from(x != y);
            corner = row[j + 1];
            row[j + 1] = changed.min(corner + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
