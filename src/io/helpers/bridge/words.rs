//! The sentences of bridges, for the log.

use super::entry::Entry;
use crate::bridge::{Side, State, Terms, Told, Why};
use crate::broker::{BridgeChange, LogLevel};
use crate::config::network::host_and_port;
use crate::io::words::Shown;
use crate::wire::Version;

/// The line of what a bridge tells, and its level.
pub fn sentence(terms: &Terms, told: &Told) -> (LogLevel, String) {
    let name = &terms.bridge.name;
    let (level, text) = match told {
        Told::Connecting(index) => (
            LogLevel::Info,
            format!("connects to {}", address(terms, *index)),
        ),
        Told::Connected {
            address: index,
            version,
            session_present,
        } => (
            LogLevel::Info,
            format!(
                "is connected to {} by MQTT {version}, {}",
                address(terms, *index),
                match session_present {
                    true => "and its session was there",
                    false => "with a new session there",
                }
            ),
        ),
        Told::Lost {
            why: cause,
            pause_ms,
        } => {
            let level = match cause {
                Why::Idle | Why::Stopped => LogLevel::Info,
                Why::Loop => LogLevel::Error,
                _ => LogLevel::Warning,
            };
            let next = match (cause, pause_ms) {
                (Why::Stopped, _) => String::new(),
                (Why::Idle, _) => "; it sleeps until messages wait".to_owned(),
                (_, Some(ms)) => format!("; it tries again in {}.{} s", ms / 1000, ms % 1000 / 100),
                (_, None) => "; it does not try again (start_type once)".to_owned(),
            };
            (level, format!("is not connected: {}{next}", why(cause)))
        }
        Told::Refused { side, filter, code } => {
            let whom = match side {
                Side::Local => "this broker refused",
                Side::Remote => "the other broker refused",
            };
            let text = format!(
                "{whom} the subscription {} (code {code:#04x}): its messages do not cross; allow it in the ACL there",
                Shown(filter)
            );
            (LogLevel::Warning, text)
        }
        Told::Loop {
            topic,
            line,
            pause_ms,
        } => {
            let line = terms.bridge.topics.get(*line);
            let line = line.map_or_else(String::new, |line| {
                let prefixes = match (&*line.local_prefix, &*line.remote_prefix) {
                    ("", "") => String::new(),
                    (local, remote) => format!(" {local:?} {remote:?}"),
                };
                let direction = format!("{:?}", line.direction).to_lowercase();
                let (filter, qos, place) = (&line.filter, line.qos, &line.place);
                format!("{place}: `topic {filter} {direction} {qos}{prefixes}`")
            });
            let text = format!(
                "found a loop: {} goes out and comes back again and again by {line}; the bridge rests for {} minutes; let only one of the two brokers bridge these topics, or in one direction",
                Shown(topic),
                pause_ms / 60_000
            );
            (LogLevel::Error, text)
        }
        Told::Deleted(count) => (
            LogLevel::Info,
            format!(
                "deletes {count} retained messages here that were deleted at the other broker while it was away (bridge_retain_deletions)"
            ),
        ),
        Told::Dropping { unsent, queue } => {
            let mut text = String::from("drops messages:");
            if *queue > 0 {
                text += &format!(
                    " {queue} so far found its queue full (max_queued_messages, max_queued_bytes)"
                );
            }
            if *unsent > 0 {
                let and = if *queue > 0 { "," } else { "" };
                text += &format!(
                    "{and} {unsent} so far of QoS 0, because the other broker takes them too slowly"
                );
            }
            (LogLevel::Warning, text)
        }
    };
    (level, format!("bridge {}: {text}", Shown(name)))
}

/// What has become of the bridge; `None`: it goes on as it was.
pub fn change(told: &Told) -> Option<BridgeChange> {
    Some(match told {
        Told::Connected { .. } => BridgeChange::Up,
        Told::Loop { .. } => BridgeChange::Loop,
        Told::Refused { .. } => BridgeChange::Refused,
        Told::Lost { why, .. } => match why {
            Why::Refused { .. } | Why::RefusedHere(_) => BridgeChange::Refused,
            // That was told with the message.
            Why::Loop => return None,
            _ => BridgeChange::Down,
        },
        Told::Connecting(_) | Told::Dropping { .. } | Told::Deleted(_) => return None,
    })
}

/// `host:port`.
pub fn address(terms: &Terms, index: usize) -> String {
    match terms.bridge.addresses.get(index) {
        Some((host, port)) => host_and_port(host, *port),
        None => String::new(),
    }
}

/// A clause.
pub fn why(why: &Why) -> String {
    let with = |text: String, reason: &str| match reason {
        "" => text,
        reason => format!("{text} ({})", Shown(reason)),
    };
    match why {
        Why::Broken(how) => how.to_string(),
        Why::Refused {
            version,
            code,
            reason,
        } => with(
            format!("the other broker refused it: {}", refusal(*version, *code)),
            reason,
        ),
        Why::RefusedHere(code) => format!(
            "this broker refused its own bridge: {}",
            refusal(Version::V5, *code)
        ),
        Why::EndedHere => "this broker has ended its side".to_owned(),
        Why::ConnectTimedOut => "no connection came about in time".to_owned(),
        Why::LoginTimedOut => "the other broker did not answer in time".to_owned(),
        Why::Silent => "the other broker is silent: it did not answer PINGREQ".to_owned(),
        Why::Malformed(malformed) => {
            format!("the other broker sent what is no packet: {malformed}")
        }
        Why::Unexpected(packet) => format!(
            "the other broker sent a {} that may not come",
            crate::wire::packet_type::name(*packet)
        ),
        Why::TopicAlias => "the other broker sent a Topic Alias that it may not use".to_owned(),
        Why::ReceiveMaximum => {
            "the other broker sent more messages than it may before they are acknowledged"
                .to_owned()
        }
        Why::Unread => "the other broker does not read what it is sent".to_owned(),
        Why::Disconnected { code, reason } => with(
            format!(
                "the other broker has disconnected it: {}",
                refusal(Version::V5, *code)
            ),
            reason,
        ),
        Why::Idle => "nothing crossed for `idle_timeout`".to_owned(),
        Why::Loop => "messages go round in a loop".to_owned(),
        Why::Stopped => "it is stopped".to_owned(),
    }
}

/// A code of CONNACK or DISCONNECT.
fn refusal(version: Version, code: u8) -> String {
    if version == Version::V5 {
        return format!("{} ({code:#04x})", crate::wire::ReasonCode(code).name());
    }
    let text = match code {
        1 => "it does not speak this version: set bridge_protocol_version",
        2 => "it does not take the client id: set remote_clientid",
        3 => "it is not available",
        4 => "user name or password is wrong: set remote_username and remote_password",
        5 => "not authorised: set remote_username and remote_password",
        _ => "for an unknown reason",
    };
    format!("{text} (code {code})")
}

/// A word.
pub fn state(state: State) -> &'static str {
    match state {
        State::Starting => "starting",
        State::Connecting => "connecting",
        State::Up => "up",
        State::Down => "down",
        State::Asleep => "asleep",
        State::Paused => "paused",
        State::Ended => "ended",
    }
}

/// One line.
pub fn status(entry: &Entry) -> String {
    let (counts, waiting) = (entry.counts, entry.waiting.unwrap_or_default());
    let mut text = format!(
        "bridge {}: {} for {} s, {}; sent {}, received {}, waiting {}, dropped {}, unmapped {}, refused {}; {} connections, {} failures",
        Shown(&entry.name),
        entry.state,
        entry.seconds,
        entry.address,
        counts.out,
        counts.comes_in,
        waiting.queued + waiting.in_flight,
        entry.dropped(),
        counts.unmapped,
        counts.refused,
        counts.connects,
        counts.failures,
    );
    if let Some(last) = &entry.last_error {
        text += &format!("; last: {last}");
    }
    text
}
