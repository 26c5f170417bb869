//! The rules that a Client can break; its Network Connection closes. Each is one row: its sentence for the log and
//! the Reason String, its Reason Code, and what of it differs from case to case.

use super::other_protocol::OtherProtocol;
use crate::invariant::Broken;
use crate::limits;
use crate::wire::Malformed;
use crate::wire::reason::ReasonCode;
use std::fmt;

const KIB: usize = 1024;

/// Writes each rule once: variant, Reason Code, sentence.
macro_rules! violations {
    ($($(#[$about:meta])* $name:ident $(($part:ident: $type:ty))? => $code:expr, $($sentence:expr),+;)*) => {
        /// A rule that a Client broke; its Network Connection closes.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Violation {
            $($(#[$about])* $name $(($type))?,)*
        }

        impl Violation {
            /// What a v5 Client is told: in CONNACK before it is accepted, in DISCONNECT after.
            pub fn reason_code(self) -> ReasonCode {
                match self {
                    // A row's part is for its sentence, mostly.
                    $(Self::$name $(($part))? => { $(let _ = $part;)? $code })*
                }
            }
        }

        /// One sentence for the log and the Reason String.
        impl fmt::Display for Violation {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match *self {
                    $(Self::$name $(($part))? => write!(f, $($sentence),+),)*
                }
            }
        }
    };
}

violations! {
    /// The bytes are no packet of the standard.
    Malformed(malformed: Malformed) => malformed.reason_code(), "{malformed}";

    // Before CONNECT is accepted
    /// [v5 MQTT-3.1.0-1]
    FirstPacketNotConnect => ReasonCode::PROTOCOL_ERROR,
        "the first packet is not CONNECT [MQTT-3.1.0-1]";
    /// The bytes are not MQTT.
    OtherProtocol(protocol: OtherProtocol) => ReasonCode::PROTOCOL_ERROR, "{protocol}";
    /// [v5 3.1.4]
    ConnectTooLate => ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR,
        "no complete CONNECT within {} s", limits::CONNECT_DEADLINE_MS / 1000;
    /// Above what any Client may send before it is accepted. [v5 MQTT-3.1.4-2]
    ConnectTooLarge => ReasonCode::PACKET_TOO_LARGE,
        "CONNECT is larger than {} KiB, the most that is read before a client is accepted",
        limits::CONNECT_PACKET_BYTES_MAX as usize / KIB;
    /// Above what the operator lets any packet have.
    ConnectAbovePacketMax(bytes_max: u32) => ReasonCode::PACKET_TOO_LARGE,
        "CONNECT is larger than {bytes_max} bytes, the limit of --max-packet-size";
    /// Beyond [`limits::UNACCEPTED_BYTES_FREE`] nothing is left of what connections share before they are accepted.
    NoRoomUnaccepted => ReasonCode::SERVER_BUSY,
        "more than {} KiB before it was accepted, and other large CONNECTs use up the {} KiB that all of them share",
        limits::UNACCEPTED_BYTES_FREE / KIB, limits::UNACCEPTED_BYTES_MAX / KIB;

    // After
    /// [v5 MQTT-3.1.0-2]
    SecondConnect => ReasonCode::PROTOCOL_ERROR,
        "a second CONNECT on one connection [MQTT-3.1.0-2]";
    /// [v5 table 2-1]
    ServerPacket => ReasonCode::PROTOCOL_ERROR,
        "a packet that only a server may send";
    /// Nothing was heard for 1.5 times the Keep Alive. [v5 MQTT-3.1.2-22]
    KeepAlive(silence_ms_max: u64) => ReasonCode::KEEP_ALIVE_TIMEOUT,
        "silent for {}.{} s, longer than 1.5 times its keep alive of {} s",
        silence_ms_max / 1000, silence_ms_max % 1000 / 100, silence_ms_max * 2 / 3000;
    /// A Topic Filter that is not well formed, or from a 3.1 Client one with too many levels. [v5 4.7, 4.8.2, v3.1.1
    /// 4.7]
    TopicFilter(malformed: Malformed) => malformed.reason_code(), "{malformed}";
    /// A subscription above what a Session may have, from a Client whose version knows no failure code in SUBACK.
    /// [v3.1 §3.9]
    TooManySubscriptions => ReasonCode::QUOTA_EXCEEDED,
        "more subscriptions than the limit of a session, and its version has no code for that in SUBACK [v3.1 §3.9]";
    /// More of the memory than a fair share, by what no answer can refuse in this version. [v5 table 2-6]
    OverShare => ReasonCode::QUOTA_EXCEEDED,
        "memory is short, and this user or client has had a fair share (--memory-limit)";
    /// [v5 4.12]
    UnexpectedAuth => ReasonCode::PROTOCOL_ERROR,
        "AUTH without an Authentication Method in CONNECT [v5 4.12]";
    /// [v5 MQTT-3.3.2-8, MQTT-3.3.2-9]
    TopicAliasInvalid(most: u16) => ReasonCode::TOPIC_ALIAS_INVALID,
        "Topic Alias 0 or above {most}, the maximum in CONNACK [v5 MQTT-3.3.2-9]";
    /// [v5 3.3.2.3.4]
    TopicAliasUnknown => ReasonCode::PROTOCOL_ERROR,
        "a Topic Alias that was never set [v5 3.3.2.3.4]";
    /// Above what the operator allows; v5 Clients were told in CONNACK. [v5 MQTT-3.2.2-11]
    QosNotSupported(most: u8) => ReasonCode::QOS_NOT_SUPPORTED,
        "PUBLISH with more than QoS {most}, the most that this listener takes (max_qos)";
    /// The operator wants none retained; v5 Clients were told in CONNACK. [v5 MQTT-3.2.2-14]
    RetainNotSupported => ReasonCode::RETAIN_NOT_SUPPORTED,
        "PUBLISH with RETAIN, and no message is retained here (retain_available)";
    /// For a delivery that awaits another of them. [v5 4.3, v3.1.1 4.3]
    WrongAcknowledgement => ReasonCode::PROTOCOL_ERROR,
        "an acknowledgement of the wrong kind: PUBACK answers QoS 1, PUBREC and then PUBCOMP answer QoS 2 [v5 4.3, v3.1.1 4.3]";
    /// [v5 3.3.4]
    ReceiveMaximumExceeded => ReasonCode::RECEIVE_MAXIMUM_EXCEEDED,
        "more QoS 1 and 2 messages under way than our Receive Maximum of {} [v5 3.3.4]", limits::RECEIVE_MAXIMUM;
    /// [v5 MQTT-3.3.4-6]
    SubscriptionIdentifierFromClient => ReasonCode::PROTOCOL_ERROR,
        "PUBLISH with a Subscription Identifier, which only a server may send [v5 MQTT-3.3.4-6]";
    /// A code, or a Server Reference, that only a Server may send. [v5 3.14.2.1, 3.14.2.2.5]
    ServerDisconnect => ReasonCode::PROTOCOL_ERROR,
        "DISCONNECT with a code or a property that only a server may send [v5 3.14.2.1]";
    /// An answer that the Client asked for. [v5 MQTT-3.1.2-24]
    AnswerTooLarge => ReasonCode::PACKET_TOO_LARGE,
        "the answer would be larger than its Maximum Packet Size [v5 MQTT-3.1.2-24]";
    /// [v5 3.14.2.2.2]
    SessionExpiryRaised => ReasonCode::PROTOCOL_ERROR,
        "Session Expiry Interval in DISCONNECT though CONNECT had 0 [v5 3.14.2.2.2]";

    // No rule of the standard, and no fault of the Client
    /// An invariant of our own does not hold for it.
    Broken(broken: Broken) => ReasonCode::UNSPECIFIED_ERROR,
        "an error of the broker itself, which its log names: {}", broken.sentence;
}

impl From<Broken> for Violation {
    fn from(broken: Broken) -> Violation {
        Violation::Broken(broken)
    }
}
