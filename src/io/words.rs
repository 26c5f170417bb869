//! The sentences of the log about what happens in a shard: the only place where a [`Happening`] becomes text.
//!
//! Names that Clients chose are shown without control characters, and never endless. What an operator asked for has its
//! sentences in [`figures`].

pub mod figures;
pub mod remedies;
pub mod units;

use crate::acl::Cause;
use crate::broker::{
    CloseCause, ConnectionEnd, Denied, Happening, Identity, LogLevel, Refusal, RestoreLosses,
    SessionBegin, UNIX_PEER, Unaccepted,
};
use crate::budget::Refused;
use crate::ids::ShardId;
use crate::wire::{Version, packet_type};
use std::fmt::{self, Display, Write as _};
use std::net::SocketAddr;

/// The line of the log for one event, without its time.
pub fn sentence(happening: &Happening) -> (LogLevel, String) {
    (happening.level(), text(happening))
}

fn text(happening: &Happening) -> String {
    match happening {
        Happening::Connected {
            who,
            version,
            session,
            keep_alive_s,
        } => connected(who, *version, *session, *keep_alive_s),
        Happening::Refused { who, why } => {
            let user = match &who.user_name {
                Some(user_name) => format!("user {}", Shown(user_name)),
                None => "no user".to_owned(),
            };
            let client_id = Shown(&who.client_id);
            let cause = refused(*why);
            let address = peer(who.address);
            match why {
                // The address is first, so that no name a Client chose is taken for it by a program that reads the log.
                Refusal::UnknownUser | Refusal::WrongPassword => {
                    format!("login failed from {address}: {cause} (client {client_id}, {user})")
                }
                _ => format!("refused {client_id} ({address}, {user}): {cause}"),
            }
        }
        Happening::Unaccepted { address, why } => match why {
            Unaccepted::Violation(violation) => format!("refused {}: {violation}", peer(*address)),
            Unaccepted::Lost(cause) => format!(
                "refused {}: before CONNECT was complete, {}",
                peer(*address),
                closed(*cause)
            ),
        },
        Happening::Ended { who, how } => ended(who, how),
        Happening::Bridge { text, .. } => text.to_string(),
        // Mosquitto's lines.
        Happening::Subscribed {
            client_id,
            filter,
            qos,
        } => format!("{} {qos} {}", Shown(client_id), Shown(filter)),
        Happening::Unsubscribed { client_id, filter } => {
            format!("{} {}", Shown(client_id), Shown(filter))
        }
        Happening::RepeatedTakeovers {
            client_id,
            takeovers,
            from,
            by,
        } => format!(
            "client id {} is taken over again and again, {takeovers} times so far, last from {from} by {by}: if these are two clients, \
             give each its own client id",
            Shown(client_id)
        ),
        Happening::Broken {
            broken,
            client_id,
            address,
        } => {
            let client_id = client_id.as_deref().map(Shown);
            let address = address.map(peer);
            let whose = match (client_id, address) {
                (Some(client_id), Some(address)) => {
                    format!("the connection of {client_id} ({address}) is closed")
                }
                (Some(client_id), None) => format!("the session of {client_id} is ended"),
                (None, Some(address)) => format!("the connection of {address} is closed"),
                (None, None) => "that step is left out".to_owned(),
            };
            format!(
                "a mistake of the broker, please report it: broken invariant \"{broken}\"; {whose}"
            )
        }
        Happening::SessionExpired {
            client_id,
            messages,
        } => {
            let waiting = match messages {
                0 => String::new(),
                many => format!(", with {} that waited", number(*many, "message")),
            };
            format!(
                "session of {} ended: its Session Expiry Interval is over{waiting}",
                Shown(client_id)
            )
        }
        Happening::ClaimEnded {
            client_id,
            of_bridge,
        } => {
            let why = match of_bridge {
                false => {
                    "by the file of Mosquitto it belongs to another user than the one who has come, who gets a new one"
                }
                true => {
                    "the bridge of that name comes by another user name than before, and gets a new one"
                }
            };
            format!("session of {} ended: {why}", Shown(client_id))
        }
        Happening::UsersGone { shard, sessions } => {
            format!(
                "shard {shard}: sessions of users who are gone from the password file ended: {sessions}"
            )
        }
        Happening::Denied {
            client_id,
            user_name,
            what,
            topic,
            cause,
            file,
            rule,
            untold,
            ..
        } => {
            let user = match user_name {
                Some(user_name) => format!("user {}", Shown(user_name)),
                None => "no user".to_owned(),
            };
            let client_id = Shown(client_id);
            let mut text = denied(*what, &format!("{client_id} ({user})"), topic);
            text += &denied_by(*cause, file, rule);
            if *untold > 0 {
                let _ = write!(text, "; {untold} more of this client since its last line");
            }
            text
        }
        Happening::FiltersRefused {
            client_id,
            count,
            why,
            ..
        } => format!(
            "refused {count} subscriptions of {}: {why}",
            Shown(client_id)
        ),
        Happening::NotRestored { shard, losses } => not_restored(*shard, losses),
        Happening::OverShare { owner, why, limit } => format!(
            "{} has had a fair share of the memory, {} of {limit} bytes{}: {}; {} so far",
            Shown(&owner.name),
            owner.bytes,
            match why {
                Refused::Unaccepted => " for connections before their CONNECT",
                _ => " (--memory-limit)",
            },
            over_share(*why),
            number(owner.refused as usize, "refusal"),
        ),
        Happening::Dropping { shard, counters } => {
            format!(
                "shard {shard} drops messages: {}",
                figures::counters(counters)
            )
        }
        Happening::Stopped { shard, counters } => {
            format!("shard {shard}: {}", figures::counters(counters))
        }
        Happening::PacketReceived {
            client_id,
            packet_type,
            bytes,
        } => format!(
            "{} ({bytes} bytes) from {}",
            packet_type::name(*packet_type),
            Shown(client_id)
        ),
        Happening::WillPublished {
            client_id,
            topic,
            qos,
            retain,
            payload_bytes,
        } => format!(
            "will of {} ({payload_bytes} bytes, QoS {}{}) to {}",
            Shown(client_id),
            *qos as u8,
            if *retain { ", retained" } else { "" },
            Shown(topic)
        ),
    }
}

fn connected(who: &Identity, version: Version, session: SessionBegin, keep_alive_s: u16) -> String {
    let user = who
        .user_name
        .as_deref()
        .map_or(String::new(), |user| format!(", user {}", Shown(user)));
    let version = match version {
        Version::V31 => "3.1",
        Version::V311 => "3.1.1",
        Version::V5 => "5.0",
    };
    let session = match session {
        SessionBegin::Resumed => "session resumed",
        SessionBegin::Clean => "clean session",
        SessionBegin::New => "new session",
    };
    let keep_alive = match keep_alive_s {
        0 => "no keep alive".to_owned(),
        seconds => format!("keep alive {seconds} s"),
    };
    format!(
        "connected {} ({}{user}): MQTT {version}, {session}, {keep_alive}",
        Shown(&who.client_id),
        peer(who.address)
    )
}

fn ended(who: &Identity, how: &ConnectionEnd) -> String {
    let (client_id, address) = (Shown(&who.client_id), peer(who.address));
    match how {
        ConnectionEnd::Disconnected { with_will: false } => {
            format!("disconnected {client_id} ({address})")
        }
        ConnectionEnd::Disconnected { with_will: true } => {
            format!("disconnected {client_id} ({address}), asks for its will")
        }
        ConnectionEnd::Lost(cause) => format!("lost {client_id} ({address}): {}", closed(*cause)),
        ConnectionEnd::Violation {
            violation,
            filter: Some(filter),
        } => format!(
            "closed {client_id} ({address}): {} — {violation}",
            Shown(filter)
        ),
        ConnectionEnd::Violation {
            violation,
            filter: None,
        } => format!("closed {client_id} ({address}): {violation}"),
        ConnectionEnd::TakenOver => {
            format!("closed {client_id} ({address}): taken over by a new connection")
        }
        ConnectionEnd::UserGone => {
            let user_name = Shown(who.user_name.as_deref().unwrap_or_default());
            format!(
                "closed {client_id} ({address}): its user {user_name} is gone from the password file"
            )
        }
        ConnectionEnd::LoginNeeded => format!(
            "closed {client_id} ({address}): it came without a login, and one is needed now"
        ),
        ConnectionEnd::SentAway => {
            format!("closed {client_id} ({address}): an operator has sent it away")
        }
        ConnectionEnd::Shutdown => format!("closed {client_id} ({address}): the broker stops"),
    }
}

/// Why a CONNECT was refused: for the operator, who may know more than the Client.
pub fn refused(why: Refusal) -> String {
    match why {
        Refusal::UnknownUser => "its user is not in the password file".to_owned(),
        Refusal::WrongPassword => "wrong password".to_owned(),
        Refusal::AnotherUsersSession => {
            format!(
                "{why}; it is free when that session ends, and --client-id-takeover any lets every user take it over"
            )
        }
        Refusal::ConnectionsMax
        | Refusal::ClientsMax
        | Refusal::AuthenticationMethod
        | Refusal::EmptyClientId
        | Refusal::VersionNotServed
        | Refusal::NoClientId
        | Refusal::NoUserName
        | Refusal::NoCertificate
        | Refusal::ClientIdPrefix
        | Refusal::KeepAlive
        | Refusal::WillQos
        | Refusal::WillRetain
        | Refusal::WillTooLarge
        | Refusal::Anonymous
        | Refusal::NoRoomForCheck
        | Refusal::ChecksWaiting
        | Refusal::AnswerTooLarge
        | Refusal::OverShare
        | Refusal::Stopping => why.to_string(),
    }
}

/// What the rules refused, in Mosquitto's words where it has some.
fn denied(what: Denied, who: &str, topic: &str) -> String {
    let topic = Shown(topic);
    match what {
        Denied::Publish {
            qos,
            retain,
            payload_bytes,
        } => format!(
            "Denied PUBLISH from {who} (q{}, r{}, '{topic}', ... ({payload_bytes} bytes)): ",
            qos as u8,
            u8::from(retain)
        ),
        Denied::Will { qos, retain } => {
            let (qos, retain) = (qos as u8, u8::from(retain));
            format!("Denied will of {who} (q{qos}, r{retain}, '{topic}'): ")
        }
        Denied::Subscribe { qos, refused } => format!(
            "Denied SUBSCRIBE from {who} (q{}, '{topic}'), {}: ",
            qos as u8,
            if refused {
                "answered with a failure"
            } else {
                "granted but silent"
            }
        ),
    }
}

/// Which rule it was, as a clause.
fn denied_by(cause: Cause, file: &str, rule: &str) -> String {
    match cause {
        Cause::Rule { line } => format!("{file}:{line} says `{rule}`"),
        Cause::NoRule => format!("no rule of {file} allows it"),
        Cause::SysIsTheBrokers
        | Cause::ControlIsTheBrokers
        | Cause::ShareIsNoName
        | Cause::WildcardInName => cause.to_string(),
    }
}

/// How a connection ended without our asking, as the end of a sentence.
pub fn closed(cause: CloseCause) -> String {
    match cause {
        CloseCause::PeerClosed => "it closed the connection without DISCONNECT".to_owned(),
        CloseCause::Reset => "it reset the connection".to_owned(),
        CloseCause::TimedOut => "it no longer answers".to_owned(),
        CloseCause::Error(errno) => format!("the connection failed with error {errno}"),
        CloseCause::Transport(reason) => reason.to_owned(),
    }
}

/// The address of a peer, or that it came by a unix socket.
pub fn peer(address: SocketAddr) -> impl Display {
    struct Peer(SocketAddr);
    impl Display for Peer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            match self.0 {
                UNIX_PEER => f.write_str("unix socket"),
                address => write!(f, "{address}"),
            }
        }
    }
    Peer(address)
}

/// What happens to one who has had a fair share.
fn over_share(why: Refused) -> &'static str {
    match why {
        Refused::Session => "a new session is refused",
        Refused::Filter => "a subscription is refused",
        Refused::Message => "a message is refused",
        Refused::Unacknowledged => "a message of QoS 0 is dropped",
        Refused::Delivery => "a message for an absent or slow client is dropped",
        Refused::Packet => "a connection with a large packet is closed",
        Refused::Unaccepted => "a connection is refused before its CONNECT is complete",
    }
}

/// What of the store a shard could not take.
fn not_restored(shard: ShardId, losses: &RestoreLosses) -> String {
    let kinds = [
        (losses.sessions, "session"),
        (losses.subscriptions, "subscription"),
        (losses.deliveries, "waiting message"),
        (losses.retained, "retained message"),
        (losses.wills, "will"),
        (losses.malformed, "malformed message"),
    ];
    let lost = kinds.iter().filter(|(count, _)| *count > 0);
    let lost: Vec<String> = lost
        .map(|(count, noun)| number(*count as usize, noun))
        .collect();
    format!(
        "shard {shard}: not everything of the store could be taken back, because limits are lower than before (--memory-limit, --max-queued-bytes); lost: {}",
        lost.join(", ")
    )
}

fn number(count: usize, noun: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{ending}")
}

/// Changes the direction, or the lines, of the text around it.
pub fn turns(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A name that a Client chose: without control characters, and never endless.
pub struct Shown<'a>(pub &'a str);

impl Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const CHARACTERS_MAX: usize = 120;
        for (count, c) in self.0.chars().enumerate() {
            if count == CHARACTERS_MAX {
                return write!(f, "… ({} bytes)", self.0.len());
            }
            if c.is_control() || turns(c) {
                write!(f, "{}", c.escape_default())?;
            } else {
                f.write_char(c)?;
            }
        }
        if self.0.is_empty() {
            write!(f, "\"\"")
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::figures::tests::counted;
    use super::*;
    use crate::broker::Violation;
    use crate::budget::owner::OwnerReport;
    use crate::wire::QoS;

    fn who(client_id: &str, user_name: Option<&str>) -> Identity {
        Identity {
            client_id: client_id.into(),
            user_name: user_name.map(Into::into),
            address: ([192, 0, 2, 7], 4711).into(),
        }
    }

    #[test]
    fn each_happening_is_one_line_of_its_level() {
        let lost = CloseCause::PeerClosed;
        let ended = |how| Happening::Ended {
            who: who("lamp", Some("alice")),
            how,
        };
        let connected = |user_name, version, session, keep_alive_s| Happening::Connected {
            who: who("lamp", user_name),
            version,
            session,
            keep_alive_s,
        };
        let unaccepted = |why| Happening::Unaccepted {
            address: ([192, 0, 2, 7], 4711).into(),
            why,
        };
        let violation = Violation::SecondConnect;
        let cases = [
            (
                connected(None, Version::V311, SessionBegin::New, 0),
                "connected lamp (192.0.2.7:4711): MQTT 3.1.1, new session, no keep alive",
            ),
            (
                connected(Some("alice"), Version::V5, SessionBegin::Resumed, 60),
                "connected lamp (192.0.2.7:4711, user alice): MQTT 5.0, session resumed, keep alive 60 s",
            ),
            (
                connected(None, Version::V31, SessionBegin::Clean, 1),
                "connected lamp (192.0.2.7:4711): MQTT 3.1, clean session, keep alive 1 s",
            ),
            (
                Happening::Refused {
                    who: who("lamp", Some("alice")),
                    why: Refusal::WrongPassword,
                },
                "login failed from 192.0.2.7:4711: wrong password (client lamp, user alice)",
            ),
            (
                Happening::Refused {
                    who: who("", None),
                    why: Refusal::Anonymous,
                },
                "refused \"\" (192.0.2.7:4711, no user): no user name, and anonymous clients are not allowed (--allow-anonymous allows them)",
            ),
            (
                unaccepted(Unaccepted::Violation(Violation::FirstPacketNotConnect)),
                "refused 192.0.2.7:4711: the first packet is not CONNECT [MQTT-3.1.0-1]",
            ),
            (
                unaccepted(Unaccepted::Lost(CloseCause::Error(5))),
                "refused 192.0.2.7:4711: before CONNECT was complete, the connection failed with error 5",
            ),
            (
                unaccepted(Unaccepted::Lost(CloseCause::Transport("no TLS"))),
                "refused 192.0.2.7:4711: before CONNECT was complete, no TLS",
            ),
            (
                ended(ConnectionEnd::Disconnected { with_will: false }),
                "disconnected lamp (192.0.2.7:4711)",
            ),
            (
                ended(ConnectionEnd::Disconnected { with_will: true }),
                "disconnected lamp (192.0.2.7:4711), asks for its will",
            ),
            (
                ended(ConnectionEnd::Lost(lost)),
                "lost lamp (192.0.2.7:4711): it closed the connection without DISCONNECT",
            ),
            (
                ended(ConnectionEnd::Violation {
                    violation,
                    filter: None,
                }),
                "closed lamp (192.0.2.7:4711): a second CONNECT on one connection [MQTT-3.1.0-2]",
            ),
            (
                ended(ConnectionEnd::Violation {
                    violation: Violation::ServerPacket,
                    filter: Some("a/#/b".into()),
                }),
                "closed lamp (192.0.2.7:4711): a/#/b — a packet that only a server may send",
            ),
            (
                ended(ConnectionEnd::TakenOver),
                "closed lamp (192.0.2.7:4711): taken over by a new connection",
            ),
            (
                ended(ConnectionEnd::UserGone),
                "closed lamp (192.0.2.7:4711): its user alice is gone from the password file",
            ),
            (
                Happening::UsersGone {
                    shard: ShardId(1),
                    sessions: 7,
                },
                "shard 1: sessions of users who are gone from the password file ended: 7",
            ),
            (
                Happening::Refused {
                    who: who("lamp", Some("alice")),
                    why: Refusal::AnotherUsersSession,
                },
                "refused lamp (192.0.2.7:4711, user alice): its client id belongs to a session of another user; it is free when that session ends, and --client-id-takeover any lets every user take it over",
            ),
            (
                ended(ConnectionEnd::Shutdown),
                "closed lamp (192.0.2.7:4711): the broker stops",
            ),
            (
                Happening::SessionExpired {
                    client_id: "lamp".into(),
                    messages: 0,
                },
                "session of lamp ended: its Session Expiry Interval is over",
            ),
            (
                Happening::SessionExpired {
                    client_id: "lamp".into(),
                    messages: 2,
                },
                "session of lamp ended: its Session Expiry Interval is over, with 2 messages that waited",
            ),
            (
                Happening::Stopped {
                    shard: ShardId(1),
                    counters: counted(),
                },
                "shard 1: 2 clients served, 1 refused, 3 probes; 5 messages in, 7 out; 4 dropped (QoS 0, subscriber reads too slowly)",
            ),
        ];
        for (happening, expected) in cases {
            let expected = (LogLevel::Info, expected.to_owned());
            assert_eq!(sentence(&happening), expected);
        }
        let warnings = [
            (
                Happening::RepeatedTakeovers {
                    client_id: "lamp".into(),
                    takeovers: 3,
                    from: ([192, 0, 2, 7], 1).into(),
                    by: ([192, 0, 2, 8], 2).into(),
                },
                "client id lamp is taken over again and again, 3 times so far, last from 192.0.2.7:1 by 192.0.2.8:2: if these are two clients, give each its own client id",
            ),
            (
                Happening::FiltersRefused {
                    client_id: "lamp".into(),
                    address: None,
                    count: 2,
                    why: crate::broker::FilterRefusal::TooManySubscriptions,
                },
                "refused 2 subscriptions of lamp: The session has reached its limit of 250000 subscriptions.",
            ),
            (
                Happening::OverShare {
                    owner: OwnerReport {
                        name: "client id lamp".into(),
                        bytes: 7,
                        refused: 1,
                    },
                    why: Refused::Filter,
                    limit: 8,
                },
                "client id lamp has had a fair share of the memory, 7 of 8 bytes (--memory-limit): a subscription is refused; 1 refusal so far",
            ),
            (
                Happening::Dropping {
                    shard: ShardId(0),
                    counters: counted(),
                },
                "shard 0 drops messages: 2 clients served, 1 refused, 3 probes; 5 messages in, 7 out; 4 dropped (QoS 0, subscriber reads too slowly)",
            ),
        ];
        for (happening, expected) in warnings {
            let expected = (LogLevel::Warning, expected.to_owned());
            assert_eq!(sentence(&happening), expected);
        }
        let errors = [(
            Happening::NotRestored {
                shard: ShardId(1),
                losses: RestoreLosses {
                    sessions: 1,
                    deliveries: 12,
                    ..RestoreLosses::default()
                },
            },
            "shard 1: not everything of the store could be taken back, because limits are lower than before (--memory-limit, --max-queued-bytes); lost: 1 session, 12 waiting messages",
        )];
        for (happening, expected) in errors {
            let expected = (LogLevel::Error, expected.to_owned());
            assert_eq!(sentence(&happening), expected);
        }
        let packets = [
            (
                Happening::PacketReceived {
                    client_id: "lamp".into(),
                    packet_type: 12,
                    bytes: 2,
                },
                "PINGREQ (2 bytes) from lamp",
            ),
            (
                Happening::WillPublished {
                    client_id: "lamp".into(),
                    topic: "gone".into(),
                    qos: QoS::AtLeastOnce,
                    retain: true,
                    payload_bytes: 3,
                },
                "will of lamp (3 bytes, QoS 1, retained) to gone",
            ),
        ];
        for (happening, expected) in packets {
            let expected = (LogLevel::Packet, expected.to_owned());
            assert_eq!(sentence(&happening), expected);
        }
    }

    #[test]
    fn no_name_breaks_a_line_or_fills_the_log() {
        let client_id = format!("a\nb\x1b[2J{}", "é".repeat(200));
        let (_, text) = sentence(&Happening::Refused {
            who: who(&client_id, Some("x\r\ny")),
            why: Refusal::UnknownUser,
        });
        let shown = format!("a\\nb\\u{{1b}}[2J{}… (407 bytes)", "é".repeat(113));
        assert_eq!(
            text,
            format!(
                "login failed from 192.0.2.7:4711: its user is not in the password file (client {shown}, user x\\r\\ny)"
            )
        );
    }
}
