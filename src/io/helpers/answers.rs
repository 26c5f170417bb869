//! What shards report, as JSON: of the control socket and of the page; and the fields of what both are asked. Sizes are
//! bytes, times are seconds since 1970. Names stay; new ones may come. `docs/control.md` has them all.

use super::known::{Known, unix_s};
use crate::broker::{
    Counters, Dropped, Found, Happening, Report, RetainedReport, SessionReport, SubscriptionReport,
    Sums, Survey, UNIX_PEER,
};
use crate::budget::Refused;
use crate::budget::owner::OwnerReport;
use crate::ids::ShardId;
use crate::io::helpers::bridge;
use crate::io::helpers::recent::Entry;
use crate::io::helpers::summary;
use crate::io::words::{self, figures, turns};
use crate::language::Language;
use crate::time::Time;
use crate::wire::Version;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::time::SystemTime;

/// JSON whose strings do nothing to a terminal either: what JSON itself need not escape, but may.
pub fn text_line(json: &str) -> String {
    // Most are harmless as they are.
    if json.bytes().all(|byte| (0x20..0x7F).contains(&byte)) {
        return json.to_owned();
    }
    let mut text = String::with_capacity(json.len());
    for character in json.chars() {
        match character {
            character if character.is_control() || turns(character) => {
                let _ = write!(text, "\\u{:04x}", u32::from(character));
            }
            character => text.push(character),
        }
    }
    text
}

/// The fields of what is asked: of one JSON object.
pub struct Fields(pub Map<String, Value>);

/// What is wrong with what is asked: a sentence.
pub struct Wrong(pub String);

impl Fields {
    /// A string, if there is one.
    pub fn text(&self, name: &str) -> Result<Option<&str>, Wrong> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(Wrong(format!("`{name}` is a string"))),
        }
    }

    /// A string that must be there.
    pub fn needed(&self, name: &str) -> Result<&str, Wrong> {
        self.text(name)?
            .ok_or_else(|| Wrong(format!("`{name}` is missing")))
    }

    /// What is not there is false.
    pub fn truth(&self, name: &str) -> Result<bool, Wrong> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(truth)) => Ok(*truth),
            Some(_) => Err(Wrong(format!("`{name}` is true or false"))),
        }
    }

    /// A number, if there is one.
    pub fn number(&self, name: &str) -> Result<Option<u64>, Wrong> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(number) => match number.as_u64() {
                Some(number) => Ok(Some(number)),
                None => Err(Wrong(format!("`{name}` is a whole number"))),
            },
        }
    }
}

/// Asks for the retained messages of a Topic Filter. `values`: with what they say.
pub fn retained_of(filter: &str, values: bool) -> Result<Survey, Wrong> {
    Survey::retained_of(filter, values)
        .map_err(|why| Wrong(format!("`filter`: {filter:?} is no topic filter: {why}")))
}

/// A shard's times on the calendar.
pub struct Times {
    now: Time,
    now_s: u64,
}

impl Times {
    /// At the time of a report.
    pub fn of(known: &Known, now: Time) -> Times {
        // The report is a moment old.
        let age_s = known.clock.now().since_ms(now) / 1000;
        Times {
            now,
            now_s: unix_s(SystemTime::now()).saturating_sub(age_s),
        }
    }

    /// Seconds since 1970. `None`: never.
    pub fn s(&self, at: Time) -> Option<u64> {
        if at == Time::NEVER {
            return None;
        }
        let ahead = at.since_ms(self.now).div_ceil(1000);
        Some((self.now_s + ahead).saturating_sub(self.now.since_ms(at) / 1000))
    }
}

/// Of the other end.
pub fn address(address: SocketAddr) -> String {
    match address {
        UNIX_PEER => "unix socket".to_owned(),
        address => SocketAddr::new(address.ip().to_canonical(), address.port()).to_string(),
    }
}

fn version(version: Version) -> &'static str {
    match version {
        Version::V31 => "3.1",
        Version::V311 => "3.1.1",
        Version::V5 => "5.0",
    }
}

/// One Session, with its connection if its Client is there.
pub fn session(found: &SessionReport, shard: ShardId, times: &Times) -> Value {
    let mut line = json!({
        "client": found.client_id,
        "user": found.user_name,
        "shard": shard.index(),
        "connected": found.connection.is_some(),
        "subscriptions": found.subscriptions,
        "queued": found.queued,
        "queued_bytes": found.queued_bytes,
        "dropped": found.dropped,
        "in_flight": found.in_flight,
    });
    match &found.connection {
        Some(connection) => {
            line["address"] = json!(address(connection.address));
            line["listener"] = json!(connection.listener.index());
            line["mqtt"] = json!(version(connection.version));
            line["since"] = json!(times.s(connection.since));
            line["keep_alive_s"] = json!(connection.keep_alive_s);
            line["received_bytes"] = json!(connection.received_bytes);
            line["sent_bytes"] = json!(connection.sent_bytes);
            line["unsent_bytes"] = json!(connection.unsent_bytes);
        }
        None => line["ends"] = json!(times.s(found.ends)),
    }
    line
}

/// One subscription.
pub fn subscription(found: &SubscriptionReport) -> Value {
    json!({
        "client": found.client_id,
        "filter": found.filter,
        "qos": found.options.map(|options| options.qos as u8),
    })
}

/// One retained message; its value as text where it is UTF-8, at most so many bytes of it.
pub fn retained(found: &RetainedReport, times: &Times, value_bytes_max: usize) -> Value {
    let mut line = json!({
        "topic": found.topic,
        "qos": found.qos as u8,
        "bytes": found.payload_bytes,
        "written": found.written_s,
        "expires": times.s(found.expires),
    });
    if let Some(message) = &found.value {
        let whole = message.payload();
        put_value(&mut line, whole, value_bytes_max);
    }
    line
}

/// A line for each bridge, in the order of the configuration. What waits for the other broker is in its Session here.
pub fn bridges(known: &Known) -> Vec<Value> {
    let times = Times::of(known, known.clock.now());
    let line = |entry: &bridge::Entry| {
        let (counts, waiting) = (entry.counts, entry.waiting);
        json!({
            "name": entry.name,
            "state": entry.state,
            "address": entry.address,
            "since": times.s(entry.since),
            "queued": waiting.map(|waiting| waiting.queued),
            "queued_bytes": waiting.map(|waiting| waiting.queued_bytes),
            "in_flight": waiting.map(|waiting| waiting.in_flight),
            "last_error": entry.last_error,
            "sent": counts.out,
            "received": counts.comes_in,
            "dropped": entry.dropped(),
            "unmapped": counts.unmapped,
            "refused": counts.refused,
            "connects": counts.connects,
            "failures": counts.failures,
        })
    };
    known.bridges.entries().iter().map(line).collect()
}

/// What Clients have published to since the last question: a line for each of the busiest topics, those with most
/// messages first, and one with `topic` null for all others.
pub fn topics(reports: &[Report]) -> (Vec<Value>, Value) {
    let mut found: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    let (mut over_ms, mut others) = (0, (0, 0));
    for report in reports {
        let Found::Topics(of_shard) = &report.found else {
            continue;
        };
        over_ms = over_ms.max(of_shard.over_ms);
        others.0 += of_shard.other_messages;
        others.1 += of_shard.other_payload_bytes;
        for topic in &of_shard.topics {
            let count = found.entry(&topic.topic).or_default();
            count.0 += topic.messages;
            count.1 += topic.payload_bytes;
        }
    }
    let mut found: Vec<(&str, (u64, u64))> = found.into_iter().collect();
    found.sort_by_key(|(_, (messages, _))| std::cmp::Reverse(*messages));
    let line = |topic: Option<&str>, (messages, payload_bytes): (u64, u64)| {
        json!({
            "topic": topic,
            "messages": messages,
            "payload_bytes": payload_bytes,
            "over_ms": over_ms,
        })
    };
    let lines = found.iter().map(|(topic, count)| line(Some(topic), *count));
    (lines.collect(), line(None, others))
}

/// Adds `value`, or `value_base64` where it is no UTF-8, and `cut`: there is more than so many bytes.
pub fn put_value(line: &mut Value, whole: &[u8], bytes_max: usize) {
    let value = &whole[..whole.len().min(bytes_max)];
    let is_cut = value.len() < whole.len();
    line["cut"] = json!(is_cut);
    match std::str::from_utf8(value) {
        Ok(text) => line["value"] = json!(text),
        // The cut went through a character.
        Err(error) if is_cut && error.error_len().is_none() => {
            line["value"] = json!(String::from_utf8_lossy(&value[..error.valid_up_to()]));
        }
        Err(_) => line["value_base64"] = json!(BASE64_STANDARD.encode(value)),
    }
}

/// What a device had trouble with.
pub fn happening(entry: &Entry, known: &Known) -> Value {
    let (client_id, user_name, from) = entry.who();
    let remedy = |language| {
        let passwd = known.facts.passwd.as_deref();
        words::remedies::of(&entry.happening, passwd, language)
    };
    json!({
        "kind": entry.kind.name(),
        "at": unix_s(entry.at),
        "first": unix_s(entry.first),
        "count": entry.count,
        "client": client_id,
        "user": user_name,
        "address": from.map(address),
        "text": words::sentence(&entry.happening).1,
        "remedy": remedy(Language::English),
        "remedy_fr": remedy(Language::French),
        "fight": matches!(*entry.happening, Happening::RepeatedTakeovers { .. }),
    })
}

/// Why messages are dropped, as fields.
const DROPPED: [(Dropped, &str); Dropped::ALL.len()] = [
    (Dropped::SlowReader, "slow_reader"),
    (Dropped::SessionQueueFull, "session_queue_full"),
    (Dropped::ShardQueueFull, "all_queues_full"),
    (Dropped::TooLargeForClient, "too_large_for_client"),
    (Dropped::Expired, "expired"),
    (Dropped::OwnTopic, "own_topic"),
    (Dropped::Denied, "denied"),
    (Dropped::SessionEnded, "session_ended"),
    (Dropped::OverShare, "over_share"),
    (Dropped::AbovePayloadMax, "above_payload_max"),
    (Dropped::StoreFull, "store_full"),
];

/// What is refused for want of memory, as fields.
const REFUSED: [(Refused, &str); Refused::ALL.len()] = [
    (Refused::Session, "sessions"),
    (Refused::Filter, "subscriptions"),
    (Refused::Message, "messages"),
    (Refused::Unacknowledged, "messages_qos0"),
    (Refused::Delivery, "deliveries"),
    (Refused::Packet, "large_packets"),
    (Refused::Unaccepted, "connections"),
];

fn sums(report: &Report) -> Option<&Sums> {
    match &report.found {
        Found::Sums(sums) => Some(sums),
        _ => None,
    }
}

/// The name and version of the broker.
pub fn broker() -> Value {
    json!({ "name": "mqttfast", "version": env!("CARGO_PKG_VERSION") })
}

/// The whole broker: sums over all shards.
pub fn status(known: &Known, reports: &[Report]) -> Value {
    let facts = &known.facts;
    let all = || reports.iter().filter_map(sums);
    let sum = |of: &dyn Fn(&Sums) -> u64| all().map(of).sum::<u64>();
    let mut counters = Counters::default();
    all().for_each(|sums| counters.add(&sums.counters));
    let dropped: Map<String, Value> = DROPPED
        .iter()
        .map(|(why, name)| ((*name).to_owned(), json!(counters.dropped(*why))))
        .collect();
    let refused: Map<String, Value> = REFUSED
        .iter()
        .map(|(why, name)| {
            let count: u64 = all().map(|sums| sums.refused[*why as usize]).sum();
            ((*name).to_owned(), json!(count))
        })
        .collect();
    let now_s = unix_s(SystemTime::now());
    let lost = known.log.dropped_since_start();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "started": known.clock.zero_s(),
        "now": now_s,
        "uptime_s": known.clock.now().0 / 1000,
        "io": facts.io,
        "listeners": facts.listeners,
        "configuration": facts.configuration.as_ref().map(|path| path.display().to_string()),
        "shards": reports.len(),
        "connections": sum(&|sums| sums.connections as u64),
        "sessions": sum(&|sums| sums.sessions as u64),
        "subscriptions": sum(&|sums| sums.subscriptions as u64),
        // All shards have the same.
        "retained": all().map(|sums| sums.retained).max(),
        "queued": sum(&|sums| sums.statistics.map_or(0, |found| found.queued as u64)),
        "queued_bytes": sum(&|sums| sums.queued_bytes),
        "unsent_bytes": sum(&|sums| sums.statistics.map_or(0, |found| found.unsent_bytes as u64)),
        "memory": {
            "held_bytes": sum(&|sums| sums.held_bytes),
            "limit_bytes": facts.memory_bytes_max,
            "resident_bytes": resident_bytes(),
            "owners": owners(all().flat_map(|sums| &sums.largest_owners)),
            "refused": refused,
        },
        "messages": {
            "received": counters.messages_received,
            "sent": counters.messages_sent,
            "own": counters.messages_own,
            "between_shards": counters.messages_crossed,
            "dropped": dropped,
        },
        "bytes": { "received": counters.bytes_received, "sent": counters.bytes_sent },
        "connects": {
            "accepted": counters.connects,
            "refused": counters.refusals,
            "ended": counters.disconnects,
            "probes": counters.probes,
        },
        "sessions_expired": counters.expired,
        "mistakes": counters.broken_invariants,
        "log_lines_lost": lost.lines,
        "store": store(known, reports),
        "bridges": bridges(known),
    })
}

/// Those that hold most, of all shards: an owner may have something on each.
fn owners<'a>(of: impl Iterator<Item = &'a OwnerReport>) -> Vec<Value> {
    let mut found: Vec<OwnerReport> = Vec::new();
    for owner in of {
        match found.iter_mut().find(|held| held.name == owner.name) {
            Some(held) => {
                held.bytes += owner.bytes;
                held.refused += owner.refused;
            }
            None => found.push(owner.clone()),
        }
    }
    found.sort_by_key(|owner| std::cmp::Reverse(owner.bytes));
    let lines = found
        .iter()
        .map(|owner| json!({ "name": owner.name, "bytes": owner.bytes, "refused": owner.refused }));
    lines.collect()
}

fn store(known: &Known, reports: &[Report]) -> Value {
    let Some((state, waiting_bytes)) = summary::store(reports) else {
        return Value::Null;
    };
    json!({
        "directory": known.facts.store.as_ref().map(|path| path.display().to_string()),
        "condition": figures::condition(&state),
        "waiting_bytes": waiting_bytes,
        "commits": state.figures.commits,
        "written_bytes": state.figures.bytes_written,
        "last_commit_ms": state.figures.last_commit_ms,
        "loss_window_ms": state.figures.loss_window_ms,
    })
}

/// Memory of this process, as the system sees it.
fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_do_nothing_to_a_terminal_and_stay_json() {
        let name = "a\u{9b}31m\u{1b}]0;x\u{7}\u{202e}\u{7f}é\n";
        let line = text_line(&json!({ "client": name }).to_string());
        let harmless = |c: char| !c.is_control() && c != '\u{202e}';
        assert!(line.chars().all(harmless), "{line:?}");
        let read: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(read["client"], name);
    }

    #[test]
    fn every_reason_has_its_field() {
        for (index, why) in Dropped::ALL.iter().enumerate() {
            assert_eq!(DROPPED[index].0, *why);
        }
        for (index, why) in Refused::ALL.iter().enumerate() {
            assert_eq!(REFUSED[index].0, *why);
        }
    }
}
