//! `mqttfast status`.

use super::shown::{self, count, list, number, size, text};
use super::{Broker, Failure, print};
use crate::io::words::units::{self, span};
use argh::FromArgs;
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::PathBuf;

/// Show how the running broker is: what it holds, what went through it, what it dropped and why.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "status", help_triggers("-h", "--help"))]
pub struct Status {
    /// control socket of the broker, where it is not in its usual place
    #[argh(option, arg_name = "path")]
    control: Option<PathBuf>,
    /// print one JSON object
    #[argh(switch)]
    json: bool,
}

impl Status {
    pub(super) fn run(&self) -> Result<u8, Failure> {
        let mut broker = Broker::find(self.control.as_deref())?;
        let request = json!({ "ask": "status" });
        if self.json {
            return broker.print(&request);
        }
        let status = broker.ask_one(&request)?;
        print(&said(&status)).map(|()| 0)
    }
}

/// How a bridge is, in one line.
pub(super) fn bridge(line: &Value) -> String {
    let mut out = shown::say(&format!(
        "{} {} for {}, {}: {} out, {} in",
        text(line, "name", 40),
        text(line, "state", 20),
        shown::ago(line, "since"),
        text(line, "address", 60),
        count(line, "sent"),
        count(line, "received"),
    ));
    for (field, name) in [
        ("queued", "waiting"),
        ("in_flight", "in flight"),
        ("dropped", "dropped"),
    ] {
        if number(line, field) > 0 {
            let name = shown::say(name);
            let _ = write!(out, ", {} {name}", count(line, field));
        }
    }
    // Of one that is up, the last error is over.
    if line["state"] != "up"
        && let Some(why) = line["last_error"].as_str()
    {
        let _ = write!(out, "; {}", shown::whole(&shown::say(why)));
    }
    out
}

/// Some lines, a title before each.
fn said(status: &Value) -> String {
    let mut out = String::new();
    let mut line = |title: &str, text: String| {
        let (title, text) = (shown::say(title), shown::say(&text));
        let _ = writeln!(out, "{title:12}  {text}");
    };
    line(
        "mqttfast",
        format!(
            "{}, process {}, up for {}",
            text(status, "version", 40),
            number(status, "pid"),
            span(number(status, "uptime_s"))
        ),
    );
    let listeners = list(&status["listeners"]).filter_map(Value::as_str);
    let listeners: Vec<String> = listeners.map(shown::whole).collect();
    line("listening on", listeners.join(", "));
    if let Some(file) = status["configuration"].as_str() {
        line("by", shown::whole(file));
    }
    let shards = number(status, "shards");
    let shards = match shards {
        1 => "1 shard".to_owned(),
        shards => format!("{shards} shards"),
    };
    line(
        "sockets",
        format!("{shards}, {}", text(status, "io", usize::MAX)),
    );
    line(
        "holds",
        format!(
            "{} connections, {} sessions, {} subscriptions, {} retained messages",
            count(status, "connections"),
            count(status, "sessions"),
            count(status, "subscriptions"),
            count(status, "retained")
        ),
    );
    line(
        "waiting",
        format!(
            "{} messages in queues ({}), {} on their way out",
            count(status, "queued"),
            size(status, "queued_bytes"),
            size(status, "unsent_bytes")
        ),
    );
    let messages = &status["messages"];
    line(
        "messages",
        format!(
            "{} in, {} out; {} in, {} out",
            count(messages, "received"),
            count(messages, "sent"),
            size(&status["bytes"], "received"),
            size(&status["bytes"], "sent")
        ),
    );
    line("dropped", dropped(&messages["dropped"]));
    let connects = &status["connects"];
    line(
        "clients",
        format!(
            "{} let in, {} refused, {} gone, {} probes",
            count(connects, "accepted"),
            count(connects, "refused"),
            count(connects, "ended"),
            count(connects, "probes")
        ),
    );
    let memory = &status["memory"];
    line(
        "memory",
        format!(
            "{} held for clients of at most {}; the process has {}",
            size(memory, "held_bytes"),
            size(memory, "limit_bytes"),
            size(memory, "resident_bytes")
        ),
    );
    for owner in list(&memory["owners"]) {
        let refused = match number(owner, "refused") {
            0 => String::new(),
            refused => shown::say(&format!(", {} refusals", units::count(refused))),
        };
        let held = size(owner, "bytes");
        line(
            "",
            format!("{held:>10}  {}{refused}", text(owner, "name", 60)),
        );
    }
    line("store", store(&status["store"]));
    for (index, found) in list(&status["bridges"]).enumerate() {
        line(if index == 0 { "bridges" } else { "" }, bridge(found));
    }
    if number(status, "mistakes") > 0 {
        line(
            "mistakes",
            format!(
                "{} of the broker itself: see its log, and please report them",
                number(status, "mistakes")
            ),
        );
    }
    if number(status, "log_lines_lost") > 0 {
        line(
            "log",
            format!(
                "{} lines lost, as it is not read fast enough",
                count(status, "log_lines_lost")
            ),
        );
    }
    out
}

/// Each reason that dropped something.
pub(super) fn dropped(by: &Value) -> String {
    let reasons = by.as_object().into_iter().flatten();
    let mut reasons: Vec<(u64, String)> = reasons
        .filter_map(|(name, count)| Some((count.as_u64()?, name.replace('_', " "))))
        .filter(|(count, _)| *count > 0)
        .collect();
    reasons.sort_by(|a, b| b.cmp(a));
    let said: Vec<String> = reasons
        .iter()
        .map(|(number, name)| {
            let name = shown::whole(&shown::say(name));
            format!("{} {name}", units::count(*number))
        })
        .collect();
    match said.is_empty() {
        true => shown::say("nothing"),
        false => said.join(", "),
    }
}

fn store(store: &Value) -> String {
    if store.is_null() {
        return "none: a restart forgets all sessions and retained messages".to_owned();
    }
    format!(
        "{} in {}; {} written in {} commits, the last in {} ms; a power cut costs at most the last {} ms",
        text(store, "condition", 40),
        text(store, "directory", usize::MAX),
        size(store, "written_bytes"),
        count(store, "commits"),
        number(store, "last_commit_ms"),
        number(store, "loss_window_ms")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_without_fields_is_shown_all_the_same() {
        let text = said(&json!({}));
        assert!(text.contains("dropped       nothing\n"), "{text}");
        let up = json!({
            "name": "office", "state": "up", "address": "192.0.2.1:1883", "sent": 4_000, "received": 2,
            "queued": 7, "dropped": 0, "last_error": "the other broker is silent",
        });
        assert_eq!(
            bridge(&up),
            "office up for -, 192.0.2.1:1883: 4,000 out, 2 in, 7 waiting"
        );
        let down = json!({ "name": "a\u{1b}[2J", "state": "down", "last_error": "no\nroute" });
        assert_eq!(
            bridge(&down),
            "a\\u{1b}[2J down for -, -: 0 out, 0 in; no\\nroute"
        );
        let text = said(&json!({ "bridges": [up, down] }));
        assert!(text.contains("\nbridges       office up"), "{text}");
        let text = dropped(&json!({ "slow_reader": 4_000, "denied": 2, "expired": 0 }));
        assert_eq!(text, "4,000 slow reader, 2 denied");
    }
}
