//! A rule that a Client broke; its Network Connection closes.

use crate::wire::Malformed;
use crate::wire::reason::ReasonCode;
use std::fmt;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Violation {
    /// The bytes are no packet of the standard.
    Malformed(Malformed),
    /// The first packet is not CONNECT. [v5 MQTT-3.1.0-1]
    FirstPacketNotConnect,
    /// A second CONNECT on one Network Connection. [v5 MQTT-3.1.0-2]
    SecondConnect,
    /// A packet that only servers send. [v5 table 2-1]
    ServerPacket,
    /// No complete CONNECT within `limits::CONNECT_DEADLINE_MS`. [v5 3.1.4]
    ConnectTooLate,
    /// More than `limits::UNACCEPTED_BYTES_FREE` before it was accepted, and no room is left for that.
    NoRoomUnaccepted,
    /// Nothing heard for 1.5 times the Keep Alive. [v5 MQTT-3.1.2-22]
    KeepAlive { silence_ms_max: u64 },
    /// A Topic Filter that is not well formed, or from a 3.1 Client one with too many levels. [v5 4.7, 4.8.2, v3.1.1 4.7]
    TopicFilter(Malformed),
    /// A subscription above what a Session may have, from a Client whose version knows no failure code in SUBACK. [v3.1 §3.9]
    TooManySubscriptions,
    /// An AUTH packet without an Authentication Method in CONNECT. [v5 4.12]
    UnexpectedAuth,
    /// Topic Alias 0 or above our maximum. [v5 MQTT-3.3.2-8, MQTT-3.3.2-9]
    TopicAliasInvalid,
    /// A Topic Alias that was never set. [v5 3.3.2.3.4]
    TopicAliasUnknown,
    /// PUBACK, PUBREC or PUBCOMP for a delivery that awaits another of them. [v5 4.3, v3.1.1 4.3]
    WrongAcknowledgement,
    /// More QoS 1 and 2 messages under way than we allowed. [v5 3.3.4]
    ReceiveMaximumExceeded,
    /// A Subscription Identifier in a PUBLISH of a Client. [v5 MQTT-3.3.4-6]
    SubscriptionIdentifierFromClient,
    /// A DISCONNECT with a code, or a Server Reference, that only a Server may send. [v5 3.14.2.1, 3.14.2.2.5]
    ServerDisconnect,
    /// An answer it asked for cannot be sent within its Maximum Packet Size. [v5 MQTT-3.1.2-24]
    AnswerTooLarge,
    /// A Session Expiry Interval in DISCONNECT after 0 in CONNECT. [v5 3.14.2.2.2]
    SessionExpiryRaised,
}

impl Violation {
    /// For the v5 DISCONNECT.
    pub fn reason_code(self) -> ReasonCode {
        match self {
            Violation::Malformed(malformed) | Violation::TopicFilter(malformed) => {
                malformed.reason_code()
            }
            Violation::TooManySubscriptions => ReasonCode::QUOTA_EXCEEDED,
            Violation::KeepAlive { .. } => ReasonCode::KEEP_ALIVE_TIMEOUT,
            Violation::TopicAliasInvalid => ReasonCode::TOPIC_ALIAS_INVALID,
            Violation::ReceiveMaximumExceeded => ReasonCode::RECEIVE_MAXIMUM_EXCEEDED,
            Violation::AnswerTooLarge => ReasonCode::PACKET_TOO_LARGE,
            Violation::NoRoomUnaccepted => ReasonCode::SERVER_BUSY,
            Violation::FirstPacketNotConnect
            | Violation::SecondConnect
            | Violation::ServerPacket
            | Violation::ConnectTooLate
            | Violation::UnexpectedAuth
            | Violation::TopicAliasUnknown
            | Violation::WrongAcknowledgement
            | Violation::SubscriptionIdentifierFromClient
            | Violation::ServerDisconnect
            | Violation::SessionExpiryRaised => ReasonCode::PROTOCOL_ERROR,
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Violation::Malformed(malformed) => write!(f, "{malformed}"),
            Violation::FirstPacketNotConnect => {
                write!(f, "the first packet is not CONNECT [MQTT-3.1.0-1]")
            }
            Violation::SecondConnect => {
                write!(f, "a second CONNECT on one connection [MQTT-3.1.0-2]")
            }
            Violation::ServerPacket => write!(f, "a packet that only a server may send"),
            Violation::ConnectTooLate => write!(f, "no complete CONNECT within 10 s"),
            Violation::NoRoomUnaccepted => write!(
                f,
                "more than 4 KiB before it was accepted, while other large CONNECTs wait"
            ),
            Violation::KeepAlive { silence_ms_max } => write!(
                f,
                "silent for {}.{} s, longer than 1.5 times its keep alive of {} s",
                silence_ms_max / 1000,
                silence_ms_max % 1000 / 100,
                silence_ms_max * 2 / 3000
            ),
            Violation::TopicFilter(malformed) => write!(f, "{malformed}"),
            Violation::TooManySubscriptions => write!(
                f,
                "more subscriptions than a session may have, and its version has no code for that in SUBACK [v3.1 §3.9]"
            ),
            Violation::UnexpectedAuth => {
                write!(
                    f,
                    "AUTH without an Authentication Method in CONNECT [v5 4.12]"
                )
            }
            Violation::TopicAliasInvalid => {
                write!(
                    f,
                    "Topic Alias 0 or above the maximum told in CONNACK [v5 MQTT-3.3.2-9]"
                )
            }
            Violation::TopicAliasUnknown => {
                write!(f, "a Topic Alias that was never set [v5 3.3.2.3.4]")
            }
            Violation::WrongAcknowledgement => write!(
                f,
                "an acknowledgement of the wrong kind: PUBACK answers QoS 1, PUBREC and then PUBCOMP answer QoS 2 [v5 4.3, v3.1.1 4.3]"
            ),
            Violation::ReceiveMaximumExceeded => {
                write!(
                    f,
                    "more QoS 1 and 2 messages under way than our Receive Maximum [v5 3.3.4]"
                )
            }
            Violation::SubscriptionIdentifierFromClient => write!(
                f,
                "PUBLISH with a Subscription Identifier, which only a server may send [v5 MQTT-3.3.4-6]"
            ),
            Violation::ServerDisconnect => write!(
                f,
                "DISCONNECT with what only a server may say [v5 3.14.2.1]"
            ),
            Violation::AnswerTooLarge => write!(
                f,
                "the answer would be larger than its Maximum Packet Size [v5 MQTT-3.1.2-24]"
            ),
            Violation::SessionExpiryRaised => write!(
                f,
                "Session Expiry Interval in DISCONNECT though CONNECT had 0 [v5 3.14.2.2.2]"
            ),
        }
    }
}
