//! CONNACK [v5 §3.2, v3.1.1 §3.2, v3.1 §3.2].

use super::cursor::Cursor;
use super::frame::Frame;
use super::property::{self, IdSet, Property, UserProperties, id};
use super::reason::CodeSet;
use super::varint;
use super::{Malformed, QoS, ReasonCode, Version, packet_type};

const FIRST_BYTE: u8 = packet_type::CONNACK << 4;

// Return codes of v3 [v3.1.1 §3.2.2.3].
/// The Session is there, and the Client may go on.
pub const ACCEPTED: u8 = 0;
/// The Server does not serve the protocol level of the CONNECT [v3.1.1 MQTT-3.1.2-2].
pub const UNACCEPTABLE_PROTOCOL_VERSION: u8 = 1;
/// The client id is UTF-8, but not one that the Server allows [v3.1.1 MQTT-3.1.3-9].
pub const IDENTIFIER_REJECTED: u8 = 2;
/// The connection could be made, but MQTT is not served on it now.
pub const SERVER_UNAVAILABLE: u8 = 3;
/// The user name or password is not of the right form, or not right.
pub const BAD_USER_NAME_OR_PASSWORD: u8 = 4;
/// The Client is known, but may not connect.
pub const NOT_AUTHORIZED: u8 = 5;

/// The code with which CONNACK says `reason` in this version; `None`: close without a CONNACK
/// [v3.1.1 MQTT-3.2.2-6].
pub fn connack_code(version: Version, reason: ReasonCode) -> Option<u8> {
    if version == Version::V5 {
        return Some(reason.0);
    }
    match reason {
        ReasonCode::SUCCESS => Some(ACCEPTED),
        ReasonCode::UNSUPPORTED_PROTOCOL_VERSION => Some(UNACCEPTABLE_PROTOCOL_VERSION),
        ReasonCode::CLIENT_IDENTIFIER_NOT_VALID => Some(IDENTIFIER_REJECTED),
        ReasonCode::SERVER_UNAVAILABLE | ReasonCode::SERVER_BUSY => Some(SERVER_UNAVAILABLE),
        ReasonCode::BAD_USER_NAME_OR_PASSWORD => Some(BAD_USER_NAME_OR_PASSWORD),
        ReasonCode::NOT_AUTHORIZED => Some(NOT_AUTHORIZED),
        _ => None,
    }
}

/// The answer to a CONNECT.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct ConnAck<'a> {
    /// v3.1 has no such flag: written 0, read `false`.
    pub session_present: bool,
    /// v5: a Reason Code; v3: a return code.
    pub code: u8,
    /// v3: none.
    pub properties: ConnAckProperties<'a>,
}

/// The Properties of a CONNACK [v5 §3.2.2.3]; `None`: absent.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub struct ConnAckProperties<'a> {
    /// What the Server made of the Client's wish, where it differs [v5 §3.2.2.3.2].
    pub session_expiry_interval_s: Option<u32>,
    /// The client id that the Server made for a Client that sent an empty one [v5 MQTT-3.2.2-16].
    pub assigned_client_identifier: Option<&'a str>,
    /// Seconds that hold in place of the CONNECT's Keep Alive [v5 MQTT-3.2.2-21].
    pub server_keep_alive_s: Option<u16>,
    /// The method of the exchange that this CONNACK ends [v5 §3.2.2.3.17].
    pub authentication_method: Option<&'a str>,
    /// Its meaning is the method's [v5 §3.2.2.3.18].
    pub authentication_data: Option<&'a [u8]>,
    /// The base of a Response Topic; only to a Client that asked for it [v5 §3.2.2.3.15].
    pub response_information: Option<&'a str>,
    /// Another Server for the Client, with codes 0x9C and 0x9D [v5 §3.2.2.3.16].
    pub server_reference: Option<&'a str>,
    /// Text for people, not for programs [v5 §3.2.2.3.9].
    pub reason_string: Option<&'a str>,
    /// QoS 1 and 2 messages that the Server takes without having acknowledged them; not 0, absent is 65,535
    /// [v5 §3.2.2.3.3].
    pub receive_maximum: Option<u16>,
    /// The highest alias that the Client may use; absent is 0, none [v5 MQTT-3.2.2-18].
    pub topic_alias_maximum: Option<u16>,
    /// QoS 0 or 1; QoS 2 is said by absence.
    pub maximum_qos: Option<QoS>,
    /// `false` where the Server takes no retained messages; absent is `true` [v5 §3.2.2.3.5].
    pub retain_available: Option<bool>,
    /// In the order sent; a name may occur more than once.
    pub user_properties: UserProperties<'a>,
    /// Bytes of the largest packet that the Server takes; not 0, absent is no limit [v5 §3.2.2.3.6].
    pub maximum_packet_size: Option<u32>,
    /// `false` where filters with wildcards are refused; absent is `true` [v5 §3.2.2.3.11].
    pub wildcard_subscription_available: Option<bool>,
    /// `false` where Subscription Identifiers are refused; absent is `true` [v5 §3.2.2.3.12].
    pub subscription_identifier_available: Option<bool>,
    /// `false` where `$share` filters are refused; absent is `true` [v5 §3.2.2.3.13].
    pub shared_subscription_available: Option<bool>,
}

const ALLOWED: IdSet = IdSet::new(&[
    id::SESSION_EXPIRY_INTERVAL,
    id::ASSIGNED_CLIENT_IDENTIFIER,
    id::SERVER_KEEP_ALIVE,
    id::AUTHENTICATION_METHOD,
    id::AUTHENTICATION_DATA,
    id::RESPONSE_INFORMATION,
    id::SERVER_REFERENCE,
    id::REASON_STRING,
    id::RECEIVE_MAXIMUM,
    id::TOPIC_ALIAS_MAXIMUM,
    id::MAXIMUM_QOS,
    id::RETAIN_AVAILABLE,
    id::USER_PROPERTY,
    id::MAXIMUM_PACKET_SIZE,
    id::WILDCARD_SUBSCRIPTION_AVAILABLE,
    id::SUBSCRIPTION_IDENTIFIER_AVAILABLE,
    id::SHARED_SUBSCRIPTION_AVAILABLE,
]);

/// [v5 MQTT-3.2.2-8]
const CODES: CodeSet = CodeSet::new(&[
    0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8C, 0x90, 0x95, 0x97,
    0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9F,
]);
/// [v3.1.1 §3.2.2.3]
const RETURN_CODES: CodeSet = CodeSet::new(&[0, 1, 2, 3, 4, 5]);

impl<'a> ConnAckProperties<'a> {
    fn decode(cursor: &mut Cursor<'a>) -> Result<Self, Malformed> {
        let (mut found, mut any_user_property) = (Self::default(), false);
        let raw = property::decode_block(cursor, ALLOWED, |property, _| match property {
            Property::SessionExpiryInterval(value) => found.session_expiry_interval_s = Some(value),
            Property::AssignedClientIdentifier(value) => {
                found.assigned_client_identifier = Some(value);
            }
            Property::ServerKeepAlive(value) => found.server_keep_alive_s = Some(value),
            Property::AuthenticationMethod(value) => found.authentication_method = Some(value),
            Property::AuthenticationData(value) => found.authentication_data = Some(value),
            Property::ResponseInformation(value) => found.response_information = Some(value),
            Property::ServerReference(value) => found.server_reference = Some(value),
            Property::ReasonString(value) => found.reason_string = Some(value),
            Property::ReceiveMaximum(value) => found.receive_maximum = Some(value),
            Property::TopicAliasMaximum(value) => found.topic_alias_maximum = Some(value),
            Property::MaximumQos(one) => {
                found.maximum_qos = Some(if one {
                    QoS::AtLeastOnce
                } else {
                    QoS::AtMostOnce
                });
            }
            Property::RetainAvailable(value) => found.retain_available = Some(value),
            Property::MaximumPacketSize(value) => found.maximum_packet_size = Some(value),
            Property::WildcardSubscriptionAvailable(value) => {
                found.wildcard_subscription_available = Some(value);
            }
            Property::SubscriptionIdentifierAvailable(value) => {
                found.subscription_identifier_available = Some(value);
            }
            Property::SharedSubscriptionAvailable(value) => {
                found.shared_subscription_available = Some(value);
            }
            _ => any_user_property = true,
        })?;
        found.user_properties = UserProperties::of_block(raw, any_user_property);
        Ok(found)
    }

    fn append(&self, out: &mut Vec<u8>) {
        assert!(self.maximum_qos != Some(QoS::ExactlyOnce));
        let maximum_qos = self.maximum_qos.map(|qos| qos == QoS::AtLeastOnce);
        property::append_block(
            &[
                self.session_expiry_interval_s
                    .map(Property::SessionExpiryInterval),
                self.assigned_client_identifier
                    .map(Property::AssignedClientIdentifier),
                self.server_keep_alive_s.map(Property::ServerKeepAlive),
                self.authentication_method
                    .map(Property::AuthenticationMethod),
                self.authentication_data.map(Property::AuthenticationData),
                self.response_information.map(Property::ResponseInformation),
                self.server_reference.map(Property::ServerReference),
                self.reason_string.map(Property::ReasonString),
                self.receive_maximum.map(Property::ReceiveMaximum),
                self.topic_alias_maximum.map(Property::TopicAliasMaximum),
                maximum_qos.map(Property::MaximumQos),
                self.retain_available.map(Property::RetainAvailable),
                self.maximum_packet_size.map(Property::MaximumPacketSize),
                self.wildcard_subscription_available
                    .map(Property::WildcardSubscriptionAvailable),
                self.subscription_identifier_available
                    .map(Property::SubscriptionIdentifierAvailable),
                self.shared_subscription_available
                    .map(Property::SharedSubscriptionAvailable),
            ],
            &self.user_properties,
            out,
        );
    }
}

impl<'a> ConnAck<'a> {
    /// Decodes a CONNACK, as a Client must.
    ///
    /// Errors: `ReservedAcknowledgeFlags` [v5 MQTT-3.2.2-1], not in v3.1, whose byte is reserved as a whole;
    /// `SessionPresentWithFailure` [v5 MQTT-3.2.2-6]; `ReasonCodeNotAllowed` [v5 MQTT-3.2.2-8]; those of
    /// Properties; `Truncated`; `TrailingBytes`.
    pub fn decode(version: Version, frame: &Frame<'a>) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(frame.body());
        let flags = cursor.byte()?;
        let session_present = match (version, flags) {
            (Version::V31, _) | (_, 0) => false,
            (_, 1) => true,
            _ => return Err(Malformed::ReservedAcknowledgeFlags),
        };
        let codes = match version {
            Version::V5 => CODES,
            _ => RETURN_CODES,
        };
        let code = codes.check(cursor.byte()?)?.0;
        if session_present && code != ACCEPTED {
            return Err(Malformed::SessionPresentWithFailure);
        }
        let properties = match version {
            Version::V5 => ConnAckProperties::decode(&mut cursor)?,
            _ => ConnAckProperties::default(),
        };
        cursor.end()?;
        Ok(Self {
            session_present,
            code,
            properties,
        })
    }

    /// Appends the packet. v3 leaves Properties out.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        assert!(self.code == ACCEPTED || !self.session_present);
        out.push(FIRST_BYTE);
        varint::append_with_length(out, |out| {
            out.push(u8::from(self.session_present && version != Version::V31));
            out.push(self.code);
            if version == Version::V5 {
                self.properties.append(out);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v3_has_six_codes() {
        for version in [Version::V31, Version::V311] {
            for (reason, code) in [
                (ReasonCode::SUCCESS, Some(0)),
                (ReasonCode::UNSUPPORTED_PROTOCOL_VERSION, Some(1)),
                (ReasonCode::CLIENT_IDENTIFIER_NOT_VALID, Some(2)),
                (ReasonCode::SERVER_UNAVAILABLE, Some(3)),
                (ReasonCode::SERVER_BUSY, Some(3)),
                (ReasonCode::BAD_USER_NAME_OR_PASSWORD, Some(4)),
                (ReasonCode::NOT_AUTHORIZED, Some(5)),
                (ReasonCode::MALFORMED_PACKET, None),
                (ReasonCode::BANNED, None),
            ] {
                assert_eq!(connack_code(version, reason), code);
            }
        }
        assert_eq!(connack_code(Version::V5, ReasonCode::BANNED), Some(0x8A));
    }
}
