//! What holds for the broker as a whole, and how it is read out of the lines.

use super::files::Files;
use super::note::{At, Exit, Place};
use super::statements::{Notes, Statements};
use crate::limits;
use std::path::PathBuf;

/// Options of no listener. Where Mosquitto has 0 for "no limit", there is `None` here.
#[derive(Clone, PartialEq, Debug)]
pub struct Global {
    /// Allow a message twice where Topic Filters overlap, to Clients before v5.
    pub duplicate_messages: bool,
    /// How long what must last may wait to be saved; `None`: until the end.
    pub autosave_s: Option<u32>,
    /// A retained message is delivered only while whoever published it may still write it.
    pub check_retain_source: bool,
    /// What every client id must begin with.
    pub client_id_prefix: Option<At<String>>,
    /// Client ids known at a time, connected or not.
    pub clients_max: Option<u32>,
    /// Network Connections at a time, all listeners together.
    pub connections_max: Option<u32>,
    /// Where the log goes, and what of it.
    pub logging: Logging,
    /// Of QoS 1 and 2 messages in flight to one Client.
    pub inflight_bytes_max: Option<u64>,
    /// QoS 1 and 2 messages in flight to one Client; `None`: no limit.
    pub inflight_max: Option<u16>,
    /// Of messages queued for one Client beyond those in flight.
    pub queued_bytes_max: Option<u64>,
    /// QoS 1 and 2 messages queued for one Client beyond those; `None`: no limit.
    pub queued_max: Option<u32>,
    /// The longest Keep Alive of a Client; `None`: no limit.
    pub keep_alive_max_s: Option<u16>,
    /// The largest packet accepted; `None`: not said; `u32::MAX`: the protocol's.
    pub packet_bytes_max: Option<u32>,
    /// The largest payload of a PUBLISH accepted; `None`: the protocol's.
    pub payload_bytes_max: Option<u32>,
    /// What the broker may hold on its heap; `None`: no limit.
    pub memory_bytes_max: Option<u64>,
    /// Retained messages and Sessions outlast the broker.
    pub persistence: bool,
    /// A name in the folder below.
    pub persistence_file: String,
    /// `None`: the working directory.
    pub persistence_folder: Option<At<PathBuf>>,
    /// How long a Session with Clean Session 0 outlives its connection; `None`: for ever.
    pub session_expiry_s: Option<u64>,
    /// It gets the number of the process at the start.
    pub pid_file: Option<At<PathBuf>>,
    /// QoS 0 messages are queued for absent Clients too.
    pub queue_qos0: bool,
    /// A message goes out with the QoS of the subscription even where it came in with less.
    pub upgrade_qos: bool,
    /// `false`: PUBLISH with RETAIN is refused.
    pub retain_available: bool,
    /// Seconds after which a retained message goes; `None`: never.
    pub retain_expiry_s: Option<u64>,
    /// `None`: nothing is published below `$SYS`.
    pub sys_interval_s: Option<u16>,
    /// The broker describes itself to Home Assistant.
    pub home_assistant: bool,
    /// A topic says of each Session whether its Client is connected.
    pub presence: bool,
    /// Whom root becomes once everything is open.
    pub user: Option<At<String>>,
    /// Of the HTTP request of a WebSocket.
    pub http_request_bytes_max: u32,
    /// Users, rights and anonymous access are said for each listener, not once.
    pub per_listener_settings: bool,
}

impl Global {
    /// Where Mosquitto keeps what must last.
    pub fn database(&self) -> PathBuf {
        let folder = self.persistence_folder.as_ref();
        // Without a folder the working directory is meant.
        let folder = folder.map_or_else(PathBuf::new, |folder| folder.value.clone());
        folder.join(&self.persistence_file)
    }
}

/// What is logged, where, and in what form.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Logging {
    /// Each once, in the order of the file; empty: nowhere.
    pub destinations: Vec<LogDestination>,
    /// Kinds of lines that are logged.
    pub types: LogTypes,
    /// 0..=7 for `local0` to `local7`; `None`: `daemon`.
    pub facility: Option<u8>,
    /// Each line begins with its time.
    pub timestamp: bool,
    /// As strftime() has it; `None`: seconds since 1970.
    pub timestamp_format: Option<String>,
    /// Who connects and disconnects.
    pub connections: bool,
}

/// One place that the log goes to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LogDestination {
    /// Standard error.
    Stderr,
    /// Standard output.
    Stdout,
    /// The system's log, with `facility`.
    Syslog,
    /// `$SYS/broker/log/…`
    Topic,
    /// Appended to.
    File(PathBuf),
}

/// A line is logged if its type is here.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct LogTypes {
    /// What keeps it from serving.
    pub error: bool,
    /// What should be looked at.
    pub warning: bool,
    /// What an operator would like to know.
    pub notice: bool,
    /// The course of ordinary work.
    pub information: bool,
    /// Each subscription that is made.
    pub subscribe: bool,
    /// Each subscription that is ended.
    pub unsubscribe: bool,
    /// What the WebSocket side has to say.
    pub websockets: bool,
    /// Each packet, and more.
    pub debug: bool,
}

impl LogTypes {
    const DEFAULT: LogTypes = LogTypes {
        error: true,
        warning: true,
        notice: true,
        information: true,
        subscribe: false,
        unsubscribe: false,
        websockets: false,
        debug: false,
    };
    const ALL: LogTypes = LogTypes {
        subscribe: true,
        unsubscribe: true,
        websockets: true,
        debug: true,
        ..LogTypes::DEFAULT
    };
}

pub(super) fn global(said: &Statements, notes: &mut Notes, files: &dyn Files) -> Global {
    let flag = |option, default| said.flag(option).unwrap_or(default);
    // 0 is "no limit".
    let limit = |option| said.number(option).filter(|number| *number > 0);
    let path = |option| said.text(option).map(path_at);
    let packets = said.number("max_packet_size").map(|bytes| match bytes {
        0 => u32::MAX,
        bytes => to_u32(bytes),
    });
    Global {
        duplicate_messages: flag("allow_duplicate_messages", false),
        autosave_s: match said.number("autosave_interval") {
            None => Some(1800),
            Some(0) => None,
            Some(seconds) => Some(to_u32(seconds)),
        },
        check_retain_source: flag("check_retain_source", false),
        client_id_prefix: said.text("clientid_prefixes"),
        clients_max: said.number("global_max_clients").and_then(from_minus_one),
        connections_max: said
            .number("global_max_connections")
            .and_then(from_minus_one),
        logging: logging(said, notes, files),
        inflight_bytes_max: limit("max_inflight_bytes").map(|bytes| bytes as u64),
        inflight_max: match said.number("max_inflight_messages") {
            None => Some(20),
            // Mosquitto counts in 16 bits and takes this for none.
            Some(0 | 65_535) => None,
            Some(messages) => Some(to_u32(messages) as u16),
        },
        queued_bytes_max: limit("max_queued_bytes").map(|bytes| bytes as u64),
        queued_max: match said.number("max_queued_messages") {
            None => Some(1000),
            Some(0) => None,
            Some(messages) => Some(to_u32(messages)),
        },
        keep_alive_max_s: limit("max_keepalive").map(|seconds| to_u32(seconds) as u16),
        packet_bytes_max: packets,
        payload_bytes_max: limit("message_size_limit").map(to_u32),
        memory_bytes_max: limit("memory_limit").map(|bytes| bytes as u64),
        persistence: flag("persistence", false),
        persistence_file: match said.text("persistence_file") {
            Some(file) => file.value,
            None => "mosquitto.db".to_owned(),
        },
        persistence_folder: path("persistence_location"),
        session_expiry_s: session_expiry(said, notes),
        pid_file: path("pid_file"),
        queue_qos0: flag("queue_qos0_messages", false),
        upgrade_qos: flag("upgrade_outgoing_qos", false),
        retain_available: flag("retain_available", true),
        retain_expiry_s: limit("retain_expiry_interval")
            .map(|minutes| (minutes as u64).saturating_mul(60)),
        sys_interval_s: match said.number("sys_interval") {
            None => Some(10),
            Some(0) => None,
            Some(seconds) => Some(to_u32(seconds) as u16),
        },
        home_assistant: flag("home_assistant", false),
        presence: flag("presence", false),
        user: said.text("user"),
        // Requests of 4 kB pass through Mosquitto in any case.
        http_request_bytes_max: said
            .number("websockets_headers_size")
            .map_or(limits::HTTP_REQUEST_BYTES_MAX, |bytes| {
                to_u32(bytes).max(limits::HTTP_REQUEST_BYTES_LEAST)
            }),
        per_listener_settings: flag("per_listener_settings", false),
    }
}

pub(super) fn path_at(text: At<String>) -> At<PathBuf> {
    At {
        value: text.value.into(),
        place: text.place,
    }
}

/// Larger ones are as good as the largest.
pub(super) fn to_u32(number: i64) -> u32 {
    u32::try_from(number.max(0)).unwrap_or(u32::MAX)
}

/// -1 is "no limit", and 0 is none at all.
pub(super) fn from_minus_one(number: i64) -> Option<u32> {
    (number >= 0).then(|| to_u32(number))
}

/// A number with `h`, `d`, `w`, `m` (month) or `y`, in seconds.
fn session_expiry(said: &Statements, notes: &mut Notes) -> Option<u64> {
    const OPTION: &str = "persistent_client_expiration";
    const DAY_S: u64 = 24 * 60 * 60;
    let (words, place) = said.last_words(OPTION)?;
    let word = words[0].as_str();
    let end = word.bytes().position(|byte| !byte.is_ascii_digit());
    let (number, rest) = word.split_at(end.unwrap_or(word.len()));
    // Mosquitto takes the figures it begins with, and the last letter.
    let last = rest.char_indices().next_back().map_or(0, |(at, _)| at);
    let unit = &rest[last..];
    if last > 0 {
        let value = format!("{number}{unit}");
        let text = format!("`{word}` is read as {value}, as Mosquitto does");
        notes.warn(place, text);
    }
    let unit_s = match unit {
        "h" => 60 * 60,
        "d" => DAY_S,
        "w" => 7 * DAY_S,
        "m" => 30 * DAY_S,
        "y" => 365 * DAY_S,
        _ => {
            let reason = "the time is a number with h, d, w, m (month) or y behind it";
            let number = if number.is_empty() { "1" } else { number };
            let instead = Some(format!("{OPTION} {number}d"));
            notes.fault(Exit::Invalid, place, reason, instead);
            return None;
        }
    };
    let number: u64 = number
        .parse()
        .unwrap_or(if number.is_empty() { 0 } else { u64::MAX });
    if number == 0 {
        let text = "0 is taken for \"no limit\"; Mosquitto refuses it";
        notes.warn(place, text);
    }
    Some(number.saturating_mul(unit_s)).filter(|seconds| *seconds > 0)
}

fn logging(said: &Statements, notes: &mut Notes, files: &dyn Files) -> Logging {
    let mut destinations: Vec<LogDestination> = Vec::new();
    let mut file: Option<&Place> = None;
    for (words, place) in said.words("log_dest") {
        let destination = match words[0].as_str() {
            // Later lines add to it all the same.
            "none" => continue,
            "stderr" => LogDestination::Stderr,
            "stdout" => LogDestination::Stdout,
            "syslog" => LogDestination::Syslog,
            "topic" => LogDestination::Topic,
            "file" => match log_file(words, place, notes, files) {
                Some(path) => LogDestination::File(path),
                None => continue,
            },
            word @ ("dlt" | "android") => {
                notes.no_effect(place, format!("`log_dest {word}` has no effect here"));
                continue;
            }
            word => {
                let reason = format!(
                    "`{word}` is no destination: they are stderr, stdout, syslog, topic, none and file PATH"
                );
                let instead = match word.contains('/') {
                    true => format!("log_dest file {word}"),
                    false => "log_dest stderr".to_owned(),
                };
                notes.fault(Exit::Invalid, place, reason, Some(instead));
                continue;
            }
        };
        if let LogDestination::File(_) = destination {
            if destinations.contains(&destination) {
                notes.warn(place, "the log file is named a second time");
            } else if let Some(before) = file {
                let reason = format!(
                    "there is one log file, named in {before}: remove one of the two lines"
                );
                notes.fault(Exit::Invalid, place, reason, None);
            }
            file.get_or_insert(place);
        }
        if !destinations.contains(&destination) {
            destinations.push(destination);
        }
    }
    if said.all("log_dest").is_empty() {
        destinations.push(LogDestination::Stderr);
    }
    Logging {
        destinations,
        types: log_types(said, notes),
        facility: said
            .number("log_facility")
            .map(|number| to_u32(number) as u8),
        timestamp: said.flag("log_timestamp").unwrap_or(true),
        timestamp_format: said.text("log_timestamp_format").map(|format| format.value),
        connections: said.flag("connection_messages").unwrap_or(true),
    }
}

/// The path is the rest of the line, blanks and a comment too.
fn log_file(
    words: &[String],
    place: &Place,
    notes: &mut Notes,
    files: &dyn Files,
) -> Option<PathBuf> {
    let path = words[1..].join(" ");
    if path.is_empty() {
        let reason = "`log_dest file` has no path";
        notes.fault(
            Exit::Invalid,
            place,
            reason,
            Some("log_dest file PATH".into()),
        );
        return None;
    }
    if let Some((before, _)) = path.split_once(" #") {
        let text = format!("a comment behind a path is part of it: `{path}`");
        notes.warn_instead(place, text, format!("log_dest file {before}"));
    }
    if files.look(path.as_ref()) == super::Look::Folder {
        notes.warn(
            place,
            format!("{path} is a folder: nothing can be logged there"),
        );
    }
    Some(path.into())
}

fn log_types(said: &Statements, notes: &mut Notes) -> LogTypes {
    let mut types = LogTypes::default();
    let mut any = false;
    for (words, place) in said.words("log_type") {
        any = true;
        if let Some(next) = words.get(1).filter(|next| !next.starts_with('#')) {
            let text =
                format!("the first word counts alone: `{next}` needs a `log_type` line of its own");
            notes.warn(place, text);
        }
        match words[0].as_str() {
            "none" => types = LogTypes::default(),
            "all" => types = LogTypes::ALL,
            "error" => types.error = true,
            "warning" => types.warning = true,
            "notice" => types.notice = true,
            "information" => types.information = true,
            "subscribe" => types.subscribe = true,
            "unsubscribe" => types.unsubscribe = true,
            "websockets" => types.websockets = true,
            "debug" => types.debug = true,
            "internal" => notes.no_effect(place, "`log_type internal` has no effect here"),
            word => {
                let reason = format!("`{word}` is no type of log line");
                let instead = match word {
                    "info" => "log_type information",
                    "warn" => "log_type warning",
                    "err" => "log_type error",
                    _ => "log_type all",
                };
                notes.fault(Exit::Invalid, place, reason, Some(instead.to_owned()));
            }
        }
    }
    if any { types } else { LogTypes::DEFAULT }
}
