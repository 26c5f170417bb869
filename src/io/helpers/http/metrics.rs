//! The figures of the broker for Prometheus, in its text format 0.0.4.
//!
//! Names begin with `mqttfast_`, or with `process_` where all programs have the same. Counters, and only they, end in
//! `_total`. Labels have few values: reasons, bridges of the configuration, conditions of the store. No client, topic
//! or user is one, so no number of clients makes more series.

use nix::sys::resource::{Resource, getrlimit};
use serde_json::Value;
use std::fmt::{Display, Write as _};
use std::fs;

/// What it is sent as.
pub const KIND: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The text, as it grows.
struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.0.push_str(name);
        for (index, (label, text)) in labels.iter().enumerate() {
            self.0.push(if index == 0 { '{' } else { ',' });
            let _ = write!(self.0, "{label}=\"{}\"", escaped(text));
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        let _ = writeln!(self.0, " {value}");
    }

    /// A number that is known; what is not is left out.
    fn number(&mut self, kind: &str, name: &str, help: &str, value: Option<u64>) {
        if let Some(value) = value {
            self.family(name, kind, help);
            self.sample(name, &[], value);
        }
    }

    fn gauge(&mut self, name: &str, help: &str, value: Option<u64>) {
        self.number("gauge", name, help, value);
    }

    fn counter(&mut self, name: &str, help: &str, value: Option<u64>) {
        self.number("counter", name, help, value);
    }

    /// A counter for each field of an object.
    fn counters(&mut self, name: &str, help: &str, label: &str, values: &Value) {
        self.family(name, "counter", help);
        for (field, count) in values.as_object().into_iter().flatten() {
            self.sample(name, &[(label, field)], count);
        }
    }
}

/// A label's value may have anything in it. [Prometheus text format 0.0.4]
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

/// All of it. `status` and `bridges`: as the API has them.
pub fn text(status: &Value, bridges: &[Value]) -> Vec<u8> {
    let mut text = Text(String::new());
    of_the_broker(&mut text, status);
    of_memory(&mut text, &status["memory"]);
    of_messages(&mut text, status);
    of_the_store(&mut text, &status["store"]);
    of_bridges(&mut text, bridges);
    of_the_process(&mut text, status);
    text.0.into_bytes()
}

fn of_the_broker(text: &mut Text, status: &Value) {
    let word = |field: &str| status[field].as_str().unwrap_or_default();
    // What drives the sockets, without the reason.
    let io = word("io").split([',', ':']).next().unwrap_or_default();
    text.family("mqttfast_info", "gauge", "The broker, as labels; always 1.");
    let labels = [("version", word("version")), ("io", io)];
    text.sample("mqttfast_info", &labels, 1);
    for (field, name, help) in [
        (
            "shards",
            "mqttfast_shards",
            "Shards, each a thread on a core.",
        ),
        (
            "connections",
            "mqttfast_connections",
            "Network connections, those that are not accepted yet among them.",
        ),
        (
            "sessions",
            "mqttfast_sessions",
            "Sessions, those of absent clients among them.",
        ),
        (
            "subscriptions",
            "mqttfast_subscriptions",
            "Subscriptions of all sessions.",
        ),
        (
            "retained",
            "mqttfast_retained_messages",
            "Retained messages.",
        ),
        (
            "queued",
            "mqttfast_queued_messages",
            "Messages that wait in the queues of sessions.",
        ),
        (
            "queued_bytes",
            "mqttfast_queued_bytes",
            "Bytes of these messages.",
        ),
        (
            "unsent_bytes",
            "mqttfast_unsent_bytes",
            "Bytes that wait to be sent to connected clients.",
        ),
    ] {
        text.gauge(name, help, status[field].as_u64());
    }
    let connects = &status["connects"];
    for (value, name, help) in [
        (
            &connects["accepted"],
            "mqttfast_connects_accepted_total",
            "Clients that were accepted.",
        ),
        (
            &connects["refused"],
            "mqttfast_connects_refused_total",
            "Connections that were refused, or ended before they were accepted.",
        ),
        (
            &connects["ended"],
            "mqttfast_disconnects_total",
            "Connections of accepted clients that have ended.",
        ),
        (
            &connects["probes"],
            "mqttfast_probes_total",
            "Connections that closed without a byte.",
        ),
        (
            &status["sessions_expired"],
            "mqttfast_sessions_expired_total",
            "Sessions that ended by their expiry interval.",
        ),
        (
            &status["mistakes"],
            "mqttfast_mistakes_total",
            "Invariants of the broker that did not hold; each is a fault to be reported.",
        ),
        (
            &status["log_lines_lost"],
            "mqttfast_log_lines_lost_total",
            "Lines that the log had no room for.",
        ),
    ] {
        text.counter(name, help, value.as_u64());
    }
}

fn of_memory(text: &mut Text, memory: &Value) {
    let (held, limit) = ("mqttfast_memory_held_bytes", "mqttfast_memory_limit_bytes");
    let help = "Bytes that clients make the broker hold.";
    text.gauge(held, help, memory["held_bytes"].as_u64());
    let help = "Bytes that clients may make it hold.";
    text.gauge(limit, help, memory["limit_bytes"].as_u64());
    let help = "What was refused because memory is short and its owner has had a fair share.";
    text.counters(
        "mqttfast_memory_refused_total",
        help,
        "what",
        &memory["refused"],
    );
}

fn of_messages(text: &mut Text, status: &Value) {
    let (messages, bytes) = (&status["messages"], &status["bytes"]);
    for (value, name, help) in [
        (
            &messages["received"],
            "mqttfast_messages_received_total",
            "Messages that clients published.",
        ),
        (
            &messages["sent"],
            "mqttfast_messages_sent_total",
            "Messages that clients were sent.",
        ),
        (
            &messages["own"],
            "mqttfast_messages_own_total",
            "Messages that the broker published itself.",
        ),
        (
            &messages["between_shards"],
            "mqttfast_messages_between_shards_total",
            "Messages that crossed from one shard to another.",
        ),
        (
            &bytes["received"],
            "mqttfast_received_bytes_total",
            "Bytes from accepted clients.",
        ),
        (
            &bytes["sent"],
            "mqttfast_sent_bytes_total",
            "Bytes to all clients.",
        ),
    ] {
        text.counter(name, help, value.as_u64());
    }
    let help = "Messages that were not delivered to a client, by reason.";
    let dropped = "mqttfast_messages_dropped_total";
    text.counters(dropped, help, "reason", &messages["dropped"]);
}

fn of_the_store(text: &mut Text, store: &Value) {
    let Some(condition) = store["condition"].as_str() else {
        return;
    };
    let name = "mqttfast_store_condition";
    text.family(
        name,
        "gauge",
        "How the store is: 1 for its condition, 0 for the others.",
    );
    for known in ["well", "behind", "full", "memory-only"] {
        let is_it = u8::from(known == condition);
        text.sample(name, &[("condition", known)], is_it);
    }
    let help = "Bytes that are not on the disk yet.";
    text.gauge(
        "mqttfast_store_waiting_bytes",
        help,
        store["waiting_bytes"].as_u64(),
    );
    text.counter(
        "mqttfast_store_commits_total",
        "Transactions that are on the disk.",
        store["commits"].as_u64(),
    );
    let help = "Bytes that were written to the store's files.";
    text.counter(
        "mqttfast_store_written_bytes_total",
        help,
        store["written_bytes"].as_u64(),
    );
    for (field, name, help) in [
        (
            "last_commit_ms",
            "mqttfast_store_last_commit_seconds",
            "How long the last commit took.",
        ),
        (
            "loss_window_ms",
            "mqttfast_store_loss_window_seconds",
            "How much of the past a power cut may cost.",
        ),
    ] {
        if let Some(ms) = store[field].as_u64() {
            text.family(name, "gauge", help);
            text.sample(name, &[], ms as f64 / 1000.0);
        }
    }
}

fn of_bridges(text: &mut Text, bridges: &[Value]) {
    if bridges.is_empty() {
        return;
    }
    let name = |bridge: &Value| bridge["name"].as_str().unwrap_or_default().to_owned();
    let up = "mqttfast_bridge_up";
    text.family(up, "gauge", "The bridge is connected: 1, or it is not: 0.");
    for bridge in bridges {
        let is_up = u8::from(bridge["state"] == "up");
        text.sample(up, &[("bridge", &name(bridge))], is_up);
    }
    let mut all = |field: &str, series: &str, kind: &str, help: &str| {
        text.family(series, kind, help);
        for bridge in bridges {
            if let Some(value) = bridge[field].as_u64() {
                text.sample(series, &[("bridge", &name(bridge))], value);
            }
        }
    };
    all(
        "queued",
        "mqttfast_bridge_queued_messages",
        "gauge",
        "Messages that wait for the other broker.",
    );
    all(
        "in_flight",
        "mqttfast_bridge_in_flight_messages",
        "gauge",
        "Messages that the other broker has not acknowledged.",
    );
    for (field, series, help) in [
        (
            "sent",
            "mqttfast_bridge_sent_messages_total",
            "Messages to the other broker.",
        ),
        (
            "received",
            "mqttfast_bridge_received_messages_total",
            "Messages from the other broker.",
        ),
        (
            "dropped",
            "mqttfast_bridge_dropped_messages_total",
            "Messages of QoS 0 that the other broker took too slowly.",
        ),
        (
            "unmapped",
            "mqttfast_bridge_unmapped_messages_total",
            "Messages that no topic line is for.",
        ),
        (
            "refused",
            "mqttfast_bridge_refused_messages_total",
            "Messages that one of the two brokers refused.",
        ),
        (
            "connects",
            "mqttfast_bridge_connects_total",
            "Connections to the other broker.",
        ),
        (
            "failures",
            "mqttfast_bridge_failures_total",
            "Attempts that failed, and connections that were lost.",
        ),
    ] {
        all(field, series, "counter", help);
    }
}

/// What all programs tell of themselves, as far as the system says. `status` has the rest.
fn of_the_process(text: &mut Text, status: &Value) {
    let help = "When the broker was started, in seconds since 1970.";
    text.gauge(
        "process_start_time_seconds",
        help,
        status["started"].as_u64(),
    );
    let help = "Memory of the process, as the system sees it.";
    let resident = status["memory"]["resident_bytes"].as_u64();
    text.gauge("process_resident_memory_bytes", help, resident);
    if let Some((cpu_s, virtual_bytes)) = stat() {
        let name = "process_cpu_seconds_total";
        text.family(
            name,
            "counter",
            "Time of all cores that the process has used.",
        );
        text.sample(name, &[], cpu_s);
        let help = "Addresses that the process has asked for.";
        text.gauge("process_virtual_memory_bytes", help, Some(virtual_bytes));
    }
    let open = fs::read_dir("/proc/self/fd")
        .ok()
        .map(|files| files.count() as u64);
    // The folder itself is one of them.
    let open = open.map(|count| count.saturating_sub(1));
    text.gauge("process_open_fds", "Open files and sockets.", open);
    // 32 bits on 32-bit systems.
    let most = getrlimit(Resource::RLIMIT_NOFILE)
        .ok()
        .map(|(soft, _)| usize::try_from(soft).map_or(u64::MAX, |soft| soft as u64));
    let help = "Files and sockets that may be open.";
    text.gauge("process_max_fds", help, most);
}

/// Seconds of processor time, and bytes of addresses.
fn stat() -> Option<(f64, u64)> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The name in brackets may have blanks.
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    let hertz = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok()??;
    Some((ticks as f64 / hertz as f64, fields.get(20)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_bridge_of_any_name_is_one_label() {
        let bridges = [json!({ "name": "a\"b\\c\nd{}", "state": "up", "sent": 7, "queued": null })];
        let text = String::from_utf8(text(&json!({}), &bridges)).unwrap();
        let sample = r#"mqttfast_bridge_sent_messages_total{bridge="a\"b\\c\nd{}"} 7"#;
        assert!(text.lines().any(|line| line == sample), "{text}");
        assert!(!text.contains("queued_messages{"), "{text}");
        assert!(text.contains("\nprocess_cpu_seconds_total "), "{text}");
    }
}
