//! The rules of form a packet can break. Each is one variant, knows its Reason Code and says its sentence.

use super::reason::{CodeSet, ReasonCode};
use crate::limits::{TOPIC_LEVELS_MAX, USER_PROPERTIES_MAX};
use std::fmt;

/// Writes each rule once: variant, Reason Code, and its sentence, which may name the limits above.
macro_rules! malformed {
    ($($name:ident => $code:ident, $text:literal;)*) => {
        /// A rule of form the peer broke; its Network Connection closes.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum Malformed {
            $(#[doc = $text] $name,)*
        }

        impl Malformed {
            /// Every rule, for tables and tests.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// What a v5 peer is told: in CONNACK if it is the CONNECT that is wrong, else in DISCONNECT.
            pub fn reason_code(self) -> ReasonCode {
                match self {
                    $(Self::$name => ReasonCode::$code,)*
                }
            }
        }

        /// One sentence for the log and the Reason String, with the statement it rests on.
        impl fmt::Display for Malformed {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$name => write!(f, $text),)*
                }
            }
        }
    };
}

malformed! {
    // Fixed Header
    ReservedPacketType => MALFORMED_PACKET, "The packet type is reserved in this version [v5 §2.1.2].";
    FixedHeaderFlags => MALFORMED_PACKET, "The flags of the Fixed Header are not those of the packet type [v5 MQTT-2.1.3-1, v3.1.1 MQTT-2.2.2-2].";
    VariableByteIntegerTooLong => MALFORMED_PACKET, "A Variable Byte Integer has more than 4 bytes [v5 MQTT-1.5.5-1].";
    OverlongVariableByteInteger => MALFORMED_PACKET, "A Variable Byte Integer is not in its shortest form [v5 MQTT-1.5.5-1].";
    PacketTooLarge => PACKET_TOO_LARGE, "The packet is larger than the Maximum Packet Size [v5 MQTT-3.2.2-15].";
    NotConnect => PROTOCOL_ERROR, "The first packet is not CONNECT [v5 MQTT-3.1.0-1, v3.1.1 MQTT-3.1.0-1].";

    // Fields of any packet
    Truncated => MALFORMED_PACKET, "The packet ends inside a field [v5 §1.2].";
    TrailingBytes => MALFORMED_PACKET, "The packet goes on after its last field [v5 §1.2].";
    IllFormedUtf8 => MALFORMED_PACKET, "A string is not well-formed UTF-8 [v5 MQTT-1.5.4-1, v3.1.1 MQTT-1.5.3-1].";
    NulInString => MALFORMED_PACKET, "A string holds U+0000 [v5 MQTT-1.5.4-2, v3.1.1 MQTT-1.5.3-2].";
    PacketIdZero => PROTOCOL_ERROR, "The Packet Identifier is 0 [v5 MQTT-2.2.1-3, v3.1.1 MQTT-2.3.1-1].";
    ReasonCodeNotAllowed => PROTOCOL_ERROR, "The packet may not carry this code [v5 §2.4].";

    // Properties
    UnknownProperty => MALFORMED_PACKET, "No Property has this identifier [v5 §2.2.2.2].";
    PropertyNotAllowed => MALFORMED_PACKET, "The packet may not carry this Property [v5 §2.2.2.2].";
    DuplicateProperty => PROTOCOL_ERROR, "A Property that may occur once occurs twice [v5 §2.2.2.2].";
    PropertyOutOfRange => PROTOCOL_ERROR, "A Property has a value outside its range [v5 §2.2.2.2].";
    TooManyUserProperties => QUOTA_EXCEEDED, "The packet has more than {USER_PROPERTIES_MAX} User Properties, the most this Server serves.";
    WildcardInResponseTopic => PROTOCOL_ERROR, "The Response Topic holds a wildcard [v5 MQTT-3.3.2-14].";
    TopicAliasZero => TOPIC_ALIAS_INVALID, "The Topic Alias is 0 [v5 MQTT-3.3.2-8].";
    MissingAuthenticationMethod => PROTOCOL_ERROR, "There is no Authentication Method [v5 §3.1.2.11.10, §3.15.2.2.2].";

    // CONNECT and CONNACK
    UnknownProtocolName => UNSUPPORTED_PROTOCOL_VERSION, "The protocol name is neither MQTT nor MQIsdp [v5 MQTT-3.1.2-1, v3.1.1 MQTT-3.1.2-1].";
    UnsupportedProtocolLevel => UNSUPPORTED_PROTOCOL_VERSION, "The protocol level is not served [v5 MQTT-3.1.2-2, v3.1.1 MQTT-3.1.2-2].";
    ReservedConnectFlag => MALFORMED_PACKET, "The reserved bit of the Connect Flags is 1 [v5 MQTT-3.1.2-3, v3.1.1 MQTT-3.1.2-3].";
    WillQos3 => MALFORMED_PACKET, "The Will QoS is 3 [v5 MQTT-3.1.2-12, v3.1.1 MQTT-3.1.2-14].";
    WillFlagsWithoutWill => MALFORMED_PACKET, "Will QoS or Will Retain is set without the Will Flag [v5 MQTT-3.1.2-11 and -13, v3.1.1 MQTT-3.1.2-13 and -15].";
    PasswordWithoutUserName => MALFORMED_PACKET, "The Password Flag is set without the User Name Flag [v3.1.1 MQTT-3.1.2-22].";
    ReservedAcknowledgeFlags => MALFORMED_PACKET, "A reserved bit of the Connect Acknowledge Flags is 1 [v5 MQTT-3.2.2-1].";
    SessionPresentWithFailure => PROTOCOL_ERROR, "CONNACK refuses the Client and sets Session Present [v5 MQTT-3.2.2-6, v3.1.1 MQTT-3.2.2-4].";

    // Topics: "correctly formed, but not accepted" is what 0x8F and 0x90 mean [v5 §3.14.2.1], so what is formed wrongly
    // is malformed
    EmptyTopic => MALFORMED_PACKET, "The Topic Name is empty [v5 MQTT-4.7.3-1, v3.1.1 MQTT-4.7.3-1].";
    WildcardInTopicName => MALFORMED_PACKET, "The Topic Name holds a wildcard [v5 MQTT-3.3.2-2, v3.1.1 MQTT-3.3.2-2].";
    TooManyTopicLevels => TOPIC_NAME_INVALID, "The Topic Name has more than {TOPIC_LEVELS_MAX} levels, the most this Server serves.";
    EmptyTopicFilter => MALFORMED_PACKET, "The Topic Filter is empty [v5 MQTT-4.7.3-1, v3.1.1 MQTT-4.7.3-1].";
    MisplacedWildcard => MALFORMED_PACKET, "A wildcard does not fill a level, or '#' is not last [v5 MQTT-4.7.1-1 and -2, v3.1.1 MQTT-4.7.1-2 and -3].";
    TooManyFilterLevels => TOPIC_FILTER_INVALID, "The Topic Filter has more than {TOPIC_LEVELS_MAX} levels, the most this Server serves.";
    InvalidShareName => MALFORMED_PACKET, "The ShareName is empty or holds a wildcard [v5 MQTT-4.8.2-1 and -2].";
    NoFilterAfterShareName => MALFORMED_PACKET, "No Topic Filter follows the ShareName [v5 MQTT-4.8.2-2].";

    // PUBLISH
    BothQosBits => MALFORMED_PACKET, "Both QoS bits are set [v5 MQTT-3.3.1-4, v3.1.1 MQTT-3.3.1-4].";
    DupAtQos0 => MALFORMED_PACKET, "DUP is set at QoS 0 [v5 MQTT-3.3.1-2, v3.1.1 MQTT-3.3.1-2].";
    NoTopicNorAlias => PROTOCOL_ERROR, "There is neither a Topic Name nor a Topic Alias [v5 §3.3.2.1].";

    // SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK
    NoTopicFilter => PROTOCOL_ERROR, "There is no Topic Filter [v5 MQTT-3.8.3-2 and MQTT-3.10.3-2, v3.1.1 MQTT-3.8.3-3 and MQTT-3.10.3-2].";
    ReservedOptionBits => MALFORMED_PACKET, "A reserved bit of the Subscription Options is 1 [v5 MQTT-3.8.3-5, v3.1.1 MQTT-3.8.3-4].";
    SubscriptionQos3 => PROTOCOL_ERROR, "The QoS of a subscription is 3 [v5 §3.8.3.1, v3.1.1 MQTT-3.8.3-4].";
    RetainHandling3 => PROTOCOL_ERROR, "The Retain Handling is 3 [v5 §3.8.3.1].";
    NoLocalOnSharedSubscription => PROTOCOL_ERROR, "No Local is set on a Shared Subscription [v5 MQTT-3.8.3-4].";
    NoReasonCodes => PROTOCOL_ERROR, "The acknowledgement has no codes [v5 MQTT-3.8.4-6, v3.1.1 MQTT-3.8.4-5].";
}

impl std::error::Error for Malformed {}

impl CodeSet {
    /// Errors: `ReasonCodeNotAllowed` if the set does not hold `code`.
    pub(super) fn check(self, code: u8) -> Result<ReasonCode, Malformed> {
        if self.holds(code) {
            Ok(ReasonCode(code))
        } else {
            Err(Malformed::ReasonCodeNotAllowed)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits;

    #[test]
    fn sentences_about_limits_name_them() {
        for (rule, limit) in [
            (Malformed::TooManyTopicLevels, limits::TOPIC_LEVELS_MAX),
            (Malformed::TooManyFilterLevels, limits::TOPIC_LEVELS_MAX),
            (
                Malformed::TooManyUserProperties,
                limits::USER_PROPERTIES_MAX,
            ),
        ] {
            let sentence = rule.to_string();
            assert!(sentence.contains(&format!(" {limit} ")), "{sentence}");
        }
    }
}
