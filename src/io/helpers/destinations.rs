//! Where the lines of the log go, and in what form.

use crate::config::Logs;
use crate::config::mosquitto::{LogDestination, LogTypes, Logging};
use crate::io::helpers::strftime;
use crate::io::helpers::zone::Zone;
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// The type of a line, in Mosquitto's sense.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LineType {
    /// Something failed.
    Error,
    /// Something may be wrong.
    Warning,
    /// Clients come, go, are refused.
    Notice,
    /// Start, stop, reload.
    Information,
    /// Packets.
    Debug,
    /// A Client subscribes.
    Subscribe,
    /// A Client unsubscribes.
    Unsubscribe,
}

impl LineType {
    /// Mosquitto's name of it, as `log_type` has it.
    pub fn name(self) -> &'static str {
        match self {
            LineType::Error => "error",
            LineType::Warning => "warning",
            LineType::Notice => "notice",
            LineType::Information => "information",
            LineType::Debug => "debug",
            LineType::Subscribe => "subscribe",
            LineType::Unsubscribe => "unsubscribe",
        }
    }

    /// Lines of this type say what Clients do, as often as they do it.
    pub fn is_of_clients(self) -> bool {
        match self {
            LineType::Notice | LineType::Debug | LineType::Subscribe | LineType::Unsubscribe => {
                true
            }
            LineType::Error | LineType::Warning | LineType::Information => false,
        }
    }

    /// Is a line of this type wanted?
    pub fn is_of(self, types: LogTypes) -> bool {
        match self {
            LineType::Error => types.error,
            LineType::Warning => types.warning,
            LineType::Notice => types.notice,
            LineType::Information => types.information,
            LineType::Debug => types.debug,
            LineType::Subscribe => types.subscribe,
            LineType::Unsubscribe => types.unsubscribe,
        }
    }

    /// The importance of syslog, and the topic below `$SYS/broker/log/`; debug lines have none, since each would make
    /// another.
    fn of_syslog_and_topic(self) -> (u8, Option<&'static str>) {
        match self {
            LineType::Error => (3, Some("E")),
            LineType::Warning => (4, Some("W")),
            LineType::Notice => (5, Some("N")),
            LineType::Information => (6, Some("I")),
            LineType::Debug => (7, None),
            LineType::Subscribe => (5, Some("M/subscribe")),
            LineType::Unsubscribe => (5, Some("M/unsubscribe")),
        }
    }
}

/// The types that a level of the command line stands for.
pub fn types_of(logs: Logs) -> LogTypes {
    LogTypes {
        error: true,
        warning: true,
        notice: logs >= Logs::Events,
        information: logs >= Logs::Events,
        subscribe: logs >= Logs::Packets,
        unsubscribe: logs >= Logs::Packets,
        websockets: logs >= Logs::Packets,
        debug: logs >= Logs::Packets,
    }
}

/// One line, before it has a form.
pub struct Line {
    /// When it was logged.
    pub at: SystemTime,
    /// What it is about.
    pub kind: LineType,
    /// Without a line end.
    pub text: String,
}

impl Line {
    fn seconds(&self) -> i64 {
        let since = self.at.duration_since(UNIX_EPOCH);
        since.map_or(0, |since| since.as_secs() as i64)
    }
}

/// How a line begins.
enum Form {
    /// `2026-01-31 23:59:59 info `
    Own,
    /// As Mosquitto has it: the time, in this format if there is one, and a colon; then `Error: ` or `Warning: `.
    Mosquitto { time: bool, format: Option<String> },
}

enum Destination {
    Stderr,
    Stdout,
    /// `None`: it cannot be written.
    File(Option<File>),
    Syslog {
        socket: Option<UnixDatagram>,
        facility: u8,
    },
    Topic,
}

/// All of it; belongs to the writer thread.
pub struct Destinations {
    form: Form,
    all: Vec<Destination>,
    zone: Zone,
    /// systemd's journal puts its own time on each line.
    to_journal: bool,
    publisher: Option<Publisher>,
    text: String,
}

/// Publishes a line: its topic and its text.
pub type Publisher = Box<dyn Fn(&str, &[u8]) + Send>;

impl Destinations {
    /// Opens them. `None`: standard error, in our own form. What cannot be opened is told on standard error, and the
    /// broker goes on, as Mosquitto does.
    pub fn open(logging: Option<&Logging>) -> Destinations {
        let mut destinations = Destinations {
            form: Form::Own,
            all: vec![Destination::Stderr],
            zone: Zone::local(),
            to_journal: is_journal(),
            publisher: None,
            text: String::new(),
        };
        if let Some(logging) = logging {
            destinations.form = Form::Mosquitto {
                time: logging.timestamp,
                format: logging.timestamp_format.clone(),
            };
            let wanted = logging.destinations.iter();
            let facility = logging.facility.map_or(3, |local| 16 + local);
            destinations.all = wanted
                .map(|wanted| match wanted {
                    LogDestination::Stderr => Destination::Stderr,
                    LogDestination::Stdout => Destination::Stdout,
                    LogDestination::Topic => Destination::Topic,
                    LogDestination::File(path) => Destination::File(open_file(path)),
                    LogDestination::Syslog => Destination::Syslog {
                        socket: syslog(),
                        facility,
                    },
                })
                .collect();
        }
        destinations
    }

    /// Lines for `$SYS/broker/log/` are published by this from now on.
    pub fn publish_by(&mut self, publisher: Publisher) {
        self.publisher = Some(publisher);
    }

    /// Opens all anew, by a configuration that may be another.
    pub fn reopen(&mut self, logging: Option<&Logging>) {
        let publisher = self.publisher.take();
        *self = Destinations::open(logging);
        self.publisher = publisher;
    }

    /// Writes lines that came together. With a destination gone there is nowhere to say so.
    pub fn write(&mut self, lines: &[Line]) {
        for at in 0..self.all.len() {
            let timed = match &self.all[at] {
                Destination::Stderr => !self.to_journal,
                Destination::Stdout | Destination::File(_) => true,
                Destination::Syslog { .. } | Destination::Topic => false,
            };
            self.text.clear();
            if matches!(
                self.all[at],
                Destination::Stderr | Destination::Stdout | Destination::File(_)
            ) {
                for line in lines {
                    append(
                        &mut self.text,
                        &self.form,
                        timed.then_some(&self.zone),
                        line,
                    );
                }
            }
            let bytes = self.text.as_bytes();
            let _ = match &mut self.all[at] {
                Destination::Stderr => io::stderr().write_all(bytes),
                Destination::Stdout => {
                    let written = io::stdout().write_all(bytes);
                    written.and_then(|()| io::stdout().flush())
                }
                Destination::File(Some(file)) => file.write_all(bytes),
                Destination::File(None) => Ok(()),
                Destination::Syslog { socket, facility } => {
                    to_syslog(socket, *facility, lines);
                    Ok(())
                }
                Destination::Topic => {
                    if let Some(publisher) = &self.publisher {
                        to_topics(publisher, lines);
                    }
                    Ok(())
                }
            };
        }
        self.text.shrink_to(crate::limits::BLOCK_BYTES);
    }
}

fn open_file(path: &Path) -> Option<File> {
    match OpenOptions::new().create(true).append(true).open(path) {
        Ok(file) => Some(file),
        Err(error) => {
            let path = path.display();
            let text = format!(
                "mqttfast: the log file {path} cannot be opened: {error}; nothing is logged there\n"
            );
            let _ = io::stderr().write_all(text.as_bytes());
            None
        }
    }
}

fn syslog() -> Option<UnixDatagram> {
    let socket = UnixDatagram::unbound().ok()?;
    socket.connect("/dev/log").ok()?;
    // A syslog that stands still delays no line for other destinations.
    socket.set_nonblocking(true).ok()?;
    Some(socket)
}

fn to_syslog(socket: &mut Option<UnixDatagram>, facility: u8, lines: &[Line]) {
    for line in lines {
        let (importance, _) = line.kind.of_syslog_and_topic();
        let priority = u16::from(facility) * 8 + u16::from(importance);
        let mut text = format!("<{priority}>mqttfast[{}]: ", std::process::id());
        append_plain(&mut text, &line.text);
        let sent = |socket: &Option<UnixDatagram>| {
            let socket = socket.as_ref();
            socket.is_some_and(|socket| socket.send(text.as_bytes()).is_ok())
        };
        if !sent(socket) {
            // It may have been started anew.
            *socket = syslog();
            sent(socket);
        }
    }
}

fn to_topics(publisher: &Publisher, lines: &[Line]) {
    for line in lines {
        let (_, Some(topic)) = line.kind.of_syslog_and_topic() else {
            continue;
        };
        let mut text = String::new();
        append_plain(&mut text, &line.text);
        publisher(&format!("$SYS/broker/log/{topic}"), text.as_bytes());
    }
}

fn append(out: &mut String, form: &Form, zone: Option<&Zone>, line: &Line) {
    match form {
        Form::Own => {
            if let Some(zone) = zone {
                zone.append_time(line.seconds(), out);
                out.push(' ');
            }
            out.push_str(match line.kind {
                LineType::Error => "error ",
                LineType::Warning => "warning ",
                LineType::Notice | LineType::Information => "info ",
                LineType::Debug | LineType::Subscribe | LineType::Unsubscribe => "packet ",
            });
        }
        Form::Mosquitto { time, format } => {
            if let Some(zone) = zone.filter(|_| *time) {
                match format {
                    Some(format) => strftime::append(format, zone, line.seconds(), out),
                    None => zone.append_time(line.seconds(), out),
                }
                out.push_str(": ");
            }
            out.push_str(match line.kind {
                LineType::Error => "Error: ",
                LineType::Warning => "Warning: ",
                _ => "",
            });
        }
    }
    append_plain(out, &line.text);
    out.push('\n');
}

/// One event stays one line, whatever name a Client gives itself, and no escape sequence of a Client reaches a
/// terminal.
fn append_plain(out: &mut String, text: &str) {
    for character in text.chars() {
        if character.is_control() {
            let _ = write!(out, "{}", character.escape_default());
        } else {
            out.push(character);
        }
    }
}

/// Does standard error go to systemd's journal? It says by `JOURNAL_STREAM` which file that is, since children inherit
/// the variable with another standard error too.
fn is_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else {
        return false;
    };
    match std::fs::metadata("/proc/self/fd/2") {
        Ok(file) => stream == format!("{}:{}", file.dev(), file.ino()),
        Err(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(kind: LineType, text: &str) -> Line {
        Line {
            at: UNIX_EPOCH,
            kind,
            text: text.to_owned(),
        }
    }

    fn appended(form: &Form, zone: Option<&Zone>, line: &Line) -> String {
        let mut out = String::new();
        append(&mut out, form, zone, line);
        out
    }

    #[test]
    fn one_event_is_one_line() {
        let line = line(LineType::Notice, "client \"a\nb\x1b[2J\" é");
        let out = appended(&Form::Own, None, &line);
        assert_eq!(out, "info client \"a\\nb\\u{1b}[2J\" é\n");
    }

    #[test]
    fn lines_carry_the_local_time() {
        let zone = Zone::utc();
        let line = line(LineType::Warning, "x");
        let own = appended(&Form::Own, Some(&zone), &line);
        assert_eq!(own, "1970-01-01 00:00:00 warning x\n");
        for (time, format, expected) in [
            (true, None, "1970-01-01 00:00:00: Warning: x\n"),
            (true, Some("%H:%M"), "00:00: Warning: x\n"),
            (false, None, "Warning: x\n"),
        ] {
            let format = format.map(str::to_owned);
            let form = Form::Mosquitto { time, format };
            assert_eq!(appended(&form, Some(&zone), &line), expected);
        }
    }

    #[test]
    fn each_level_has_what_asks_for_it() {
        for (logs, expected) in [(Logs::Warnings, 2), (Logs::Events, 4), (Logs::Packets, 7)] {
            let wanted = [
                LineType::Error,
                LineType::Warning,
                LineType::Notice,
                LineType::Information,
                LineType::Debug,
                LineType::Subscribe,
                LineType::Unsubscribe,
            ];
            let wanted = wanted.iter().filter(|kind| kind.is_of(types_of(logs)));
            assert_eq!(wanted.count(), expected, "{logs:?}");
        }
    }

    /// `log_facility`: the priority is facility and importance, as RFC 3164 has it.
    #[test]
    fn syslog_hears_facility_and_importance() {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        let mut socket = Some(ours);
        let lines = [
            line(LineType::Notice, "New client connected"),
            line(LineType::Error, "x\ny"),
        ];
        to_syslog(&mut socket, 16 + 2, &lines);
        to_syslog(&mut socket, 3, &lines[1..]);
        let pid = std::process::id();
        let mut buffer = [0; 200];
        for expected in [
            format!("<149>mqttfast[{pid}]: New client connected"),
            format!("<147>mqttfast[{pid}]: x\\ny"),
            format!("<27>mqttfast[{pid}]: x\\ny"),
        ] {
            let len = theirs.recv(&mut buffer).unwrap();
            assert_eq!(String::from_utf8_lossy(&buffer[..len]), expected);
        }
    }
}
