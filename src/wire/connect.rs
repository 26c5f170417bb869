//! CONNECT [v5 §3.1, v3.1.1 §3.1, v3.1 §3.1]: the one packet that names its version itself.

use super::cursor::{Cursor, append_binary_data};
use super::frame::Frame;
use super::property::{self, IdSet, Property, UserProperties, id};
use super::publish::{PACKET_BYTES_MAX, PublishProperties};
use super::varint;
use super::{Malformed, QoS, TopicName, Version, packet_type};

const FIRST_BYTE: u8 = packet_type::CONNECT << 4;

// Connect Flags [v5 §3.1.2.3].
const USER_NAME: u8 = 0x80;
const PASSWORD: u8 = 0x40;
const WILL_RETAIN: u8 = 0x20;
const WILL_QOS_SHIFT: u8 = 3;
const WILL_QOS: u8 = 0x03 << WILL_QOS_SHIFT;
const WILL: u8 = 0x04;
const CLEAN_START: u8 = 0x02;
const RESERVED: u8 = 0x01;

/// Bit 7 of the protocol level: by common use (Mosquitto's `try_private`), not by a standard, a bridge says so to v3
/// Servers.
const BRIDGE: u8 = 0x80;

/// A Client's request for a Session.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Connect<'a> {
    /// By protocol name and level together: MQIsdp 3, MQTT 4 or MQTT 5 [v5 MQTT-3.1.2-1].
    pub version: Version,
    /// v3 only.
    pub bridge: bool,
    /// v3: Clean Session.
    pub clean_start: bool,
    /// Seconds; 0 is off.
    pub keep_alive_s: u16,
    /// v3: the values of a v5 Client that says nothing.
    pub properties: ConnectProperties<'a>,
    /// May be empty.
    pub client_id: &'a str,
    /// `None` where the Will Flag is 0.
    pub will: Option<Will<'a>>,
    /// `None` where the User Name Flag is 0; an empty name is `Some`.
    pub user_name: Option<&'a str>,
    /// Any bytes; v3 sends one only with a user name [v3.1.1 MQTT-3.1.2-22].
    pub password: Option<&'a [u8]>,
}

/// The message to be published when the Client is lost.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Will<'a> {
    /// At which it is published; its deliveries may have less.
    pub qos: QoS,
    /// It is published as a retained message.
    pub retain: bool,
    /// Has no wildcard, and is never empty.
    pub topic: TopicName<'a>,
    /// At most 65,535 bytes, because a field of a CONNECT holds it [v5 §3.1.3.4].
    pub payload: &'a [u8],
    /// Seconds.
    pub delay_interval_s: u32,
    /// Without the delay.
    pub properties: PublishProperties<'a>,
}

/// The Properties of a CONNECT [v5 §3.1.2.11].
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct ConnectProperties<'a> {
    /// `u32::MAX`: never.
    pub session_expiry_interval_s: u32,
    /// 1..=65,535.
    pub receive_maximum: u16,
    /// Not 0; `None`: no limit but the protocol's.
    pub maximum_packet_size: Option<u32>,
    /// The highest alias that the Server may use towards this Client; 0: none [v5 §3.1.2.11.5].
    pub topic_alias_maximum: u16,
    /// The Client would like Response Information in CONNACK; the Server need not send any [v5 §3.1.2.11.6].
    pub request_response_information: bool,
    /// `false`: only CONNACK, DISCONNECT and PUBLISH may bring Reason Strings and User Properties [v5 MQTT-3.1.2-29].
    pub request_problem_information: bool,
    /// The Client wants enhanced authentication by this method [v5 §4.12].
    pub authentication_method: Option<&'a str>,
    /// Its meaning is the method's; never without a method.
    pub authentication_data: Option<&'a [u8]>,
    /// In the order sent; a name may occur more than once.
    pub user_properties: UserProperties<'a>,
}

impl Default for ConnectProperties<'_> {
    /// What absent Properties mean.
    fn default() -> Self {
        Self {
            session_expiry_interval_s: 0,
            receive_maximum: u16::MAX,
            maximum_packet_size: None,
            topic_alias_maximum: 0,
            request_response_information: false,
            request_problem_information: true,
            authentication_method: None,
            authentication_data: None,
            user_properties: UserProperties::default(),
        }
    }
}

const ALLOWED: IdSet = IdSet::new(&[
    id::SESSION_EXPIRY_INTERVAL,
    id::AUTHENTICATION_METHOD,
    id::AUTHENTICATION_DATA,
    id::REQUEST_PROBLEM_INFORMATION,
    id::REQUEST_RESPONSE_INFORMATION,
    id::RECEIVE_MAXIMUM,
    id::TOPIC_ALIAS_MAXIMUM,
    id::USER_PROPERTY,
    id::MAXIMUM_PACKET_SIZE,
]);

impl<'a> ConnectProperties<'a> {
    /// Errors: those of Properties; `MissingAuthenticationMethod` if there is data without one
    /// [v5 §3.1.2.11.10].
    fn decode(cursor: &mut Cursor<'a>) -> Result<Self, Malformed> {
        let (mut found, mut any_user_property) = (Self::default(), false);
        let raw = property::decode_block(cursor, ALLOWED, |property, _| match property {
            Property::SessionExpiryInterval(value) => found.session_expiry_interval_s = value,
            Property::AuthenticationMethod(value) => found.authentication_method = Some(value),
            Property::AuthenticationData(value) => found.authentication_data = Some(value),
            Property::RequestProblemInformation(value) => found.request_problem_information = value,
            Property::RequestResponseInformation(value) => {
                found.request_response_information = value;
            }
            Property::ReceiveMaximum(value) => found.receive_maximum = value,
            Property::TopicAliasMaximum(value) => found.topic_alias_maximum = value,
            Property::MaximumPacketSize(value) => found.maximum_packet_size = Some(value),
            _ => any_user_property = true,
        })?;
        if found.authentication_data.is_some() && found.authentication_method.is_none() {
            return Err(Malformed::MissingAuthenticationMethod);
        }
        found.user_properties = UserProperties::of_block(raw, any_user_property);
        Ok(found)
    }

    fn append(&self, out: &mut Vec<u8>) {
        let absent = ConnectProperties::default();
        let unless = |is_absent: bool, property| (!is_absent).then_some(property);
        property::append_block(
            &[
                unless(
                    self.session_expiry_interval_s == absent.session_expiry_interval_s,
                    Property::SessionExpiryInterval(self.session_expiry_interval_s),
                ),
                unless(
                    self.receive_maximum == absent.receive_maximum,
                    Property::ReceiveMaximum(self.receive_maximum),
                ),
                self.maximum_packet_size.map(Property::MaximumPacketSize),
                unless(
                    self.topic_alias_maximum == absent.topic_alias_maximum,
                    Property::TopicAliasMaximum(self.topic_alias_maximum),
                ),
                unless(
                    self.request_response_information == absent.request_response_information,
                    Property::RequestResponseInformation(self.request_response_information),
                ),
                unless(
                    self.request_problem_information == absent.request_problem_information,
                    Property::RequestProblemInformation(self.request_problem_information),
                ),
                self.authentication_method
                    .map(Property::AuthenticationMethod),
                self.authentication_data.map(Property::AuthenticationData),
            ],
            &self.user_properties,
            out,
        );
    }
}

impl<'a> Connect<'a> {
    /// The largest packet this Client takes: at most the largest there can be, though it may name more. [v5 3.1.2.11.4]
    pub fn packet_bytes_max(&self) -> usize {
        let most = self.properties.maximum_packet_size;
        most.map_or(PACKET_BYTES_MAX, |bytes| {
            (bytes as usize).min(PACKET_BYTES_MAX)
        })
    }

    /// Decodes a CONNECT of any version.
    ///
    /// Errors: `UnknownProtocolName`, `UnsupportedProtocolLevel`; `FixedHeaderFlags` and `ReservedConnectFlag`,
    /// not in v3.1, which leaves these bits unused; `WillQos3`, `WillFlagsWithoutWill` (not v3.1),
    /// `PasswordWithoutUserName` (v3); those of strings, Topic Names and Properties; `Truncated`;
    /// `TrailingBytes`.
    pub fn decode(frame: &Frame<'a>) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(frame.body());
        let name = cursor.binary_data()?;
        let (version, bridge) = version(name, cursor.byte()?)?;
        if frame.flags() != 0 && version != Version::V31 {
            return Err(Malformed::FixedHeaderFlags);
        }
        let flags = cursor.byte()?;
        check_flags(version, flags)?;
        let keep_alive_s = cursor.two_byte_integer()?;
        let properties = match version {
            Version::V5 => ConnectProperties::decode(&mut cursor)?,
            _ => ConnectProperties::default(),
        };
        let client_id = cursor.utf8_string()?;
        let will = match flags & WILL {
            0 => None,
            _ => Some(Will::decode(version, flags, &mut cursor)?),
        };
        // v3.1 §3.1 lets the payload end before a user name or password that the flags promise.
        let may_be_missing = |cursor: &Cursor<'_>| version == Version::V31 && cursor.is_empty();
        let user_name = if flags & USER_NAME != 0 && !may_be_missing(&cursor) {
            Some(cursor.utf8_string()?)
        } else {
            None
        };
        let password = if flags & PASSWORD != 0 && !may_be_missing(&cursor) {
            Some(cursor.binary_data()?)
        } else {
            None
        };
        cursor.end()?;
        Ok(Self {
            version,
            bridge,
            clean_start: flags & CLEAN_START != 0,
            keep_alive_s,
            properties,
            client_id,
            will,
            user_name,
            password,
        })
    }

    /// Appends the packet in the version it names.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let v5 = self.version == Version::V5;
        assert!(v5 || self.password.is_none() || self.user_name.is_some());
        out.push(FIRST_BYTE);
        varint::append_with_length(out, |out| {
            let (name, level): (&[u8], u8) = match self.version {
                Version::V31 => (b"MQIsdp", 3),
                Version::V311 => (b"MQTT", 4),
                Version::V5 => (b"MQTT", 5),
            };
            append_binary_data(name, out);
            out.push(if self.bridge && !v5 {
                level | BRIDGE
            } else {
                level
            });
            out.push(self.flags());
            out.extend_from_slice(&self.keep_alive_s.to_be_bytes());
            if v5 {
                self.properties.append(out);
            }
            append_binary_data(self.client_id.as_bytes(), out);
            if let Some(will) = &self.will {
                will.append(self.version, out);
            }
            if let Some(user_name) = self.user_name {
                append_binary_data(user_name.as_bytes(), out);
            }
            if let Some(password) = self.password {
                append_binary_data(password, out);
            }
        });
    }

    fn flags(&self) -> u8 {
        let mut flags = 0;
        if self.clean_start {
            flags |= CLEAN_START;
        }
        if let Some(will) = &self.will {
            flags |= WILL | (will.qos as u8) << WILL_QOS_SHIFT;
            if will.retain {
                flags |= WILL_RETAIN;
            }
        }
        if self.user_name.is_some() {
            flags |= USER_NAME;
        }
        if self.password.is_some() {
            flags |= PASSWORD;
        }
        flags
    }
}

impl<'a> Will<'a> {
    fn decode(version: Version, flags: u8, cursor: &mut Cursor<'a>) -> Result<Self, Malformed> {
        let (properties, delay_interval_s) = match version {
            Version::V5 => PublishProperties::decode_will(cursor)?,
            _ => (PublishProperties::default(), 0),
        };
        Ok(Self {
            qos: QoS::from_bits(flags >> WILL_QOS_SHIFT).ok_or(Malformed::WillQos3)?,
            retain: flags & WILL_RETAIN != 0,
            topic: TopicName::decode(cursor)?,
            payload: cursor.binary_data()?,
            delay_interval_s,
            properties,
        })
    }

    fn append(&self, version: Version, out: &mut Vec<u8>) {
        if version == Version::V5 {
            varint::append_with_length(out, |out| {
                if self.delay_interval_s != 0 {
                    Property::WillDelayInterval(self.delay_interval_s).append(out);
                }
                self.properties.append(out);
            });
        }
        append_binary_data(self.topic.as_str().as_bytes(), out);
        append_binary_data(self.payload, out);
    }
}

/// The version that a protocol name and level name, and whether a bridge does.
fn version(name: &[u8], level: u8) -> Result<(Version, bool), Malformed> {
    match (name, level & !BRIDGE, level & BRIDGE != 0) {
        (b"MQIsdp", 3, bridge) => Ok((Version::V31, bridge)),
        (b"MQTT", 4, bridge) => Ok((Version::V311, bridge)),
        (b"MQTT", 5, false) => Ok((Version::V5, false)),
        (b"MQTT" | b"MQIsdp", ..) => Err(Malformed::UnsupportedProtocolLevel),
        _ => Err(Malformed::UnknownProtocolName),
    }
}

fn check_flags(version: Version, flags: u8) -> Result<(), Malformed> {
    if flags & RESERVED != 0 && version != Version::V31 {
        return Err(Malformed::ReservedConnectFlag);
    }
    if flags & WILL_QOS == WILL_QOS {
        return Err(Malformed::WillQos3);
    }
    let will_flags = flags & (WILL_QOS | WILL_RETAIN);
    if flags & WILL == 0 && will_flags != 0 && version != Version::V31 {
        return Err(Malformed::WillFlagsWithoutWill);
    }
    if flags & PASSWORD != 0 && flags & USER_NAME == 0 && version != Version::V5 {
        return Err(Malformed::PasswordWithoutUserName);
    }
    Ok(())
}

/// The protocol level of a CONNECT packet that did not decode, without the bridge bit, so that the answer can take
/// its form; `None` if the packet does not say so in the name of MQTT.
pub fn protocol_level(packet: &[u8]) -> Option<u8> {
    let (&first, rest) = packet.split_first()?;
    if first >> 4 != packet_type::CONNECT {
        return None;
    }
    let (_, header_bytes) = varint::read(rest).ok()??;
    let mut cursor = Cursor::new(&rest[header_bytes..]);
    match cursor.binary_data().ok()? {
        b"MQTT" | b"MQIsdp" => Some(cursor.byte().ok()? & !BRIDGE),
        _ => None,
    }
}

/// The start of a CONNECT whose next bytes may be those for which [`protocol_level`] waits.
pub fn may_show_level_yet(packet: &[u8]) -> bool {
    let Some((_, rest)) = packet.split_first() else {
        return true;
    };
    let body = match varint::read(rest) {
        Ok(Some((_, header_bytes))) => &rest[header_bytes..],
        Ok(None) => return true,
        Err(_) => return false,
    };
    let names: [&[u8]; 2] = [b"\0\x04MQTT", b"\0\x06MQIsdp"];
    names.iter().any(|name| name.starts_with(body))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::next_frame;

    fn decode(bytes: &[u8]) -> Connect<'_> {
        Connect::decode(&next_frame(bytes, 1000).unwrap().unwrap()).unwrap()
    }

    #[test]
    fn every_field_arrives() {
        let bytes = b"\x10\x26\0\x04MQTT\x05\xEE\0\x0A\x05\x11\0\0\0\x3C\0\x01i\x05\x18\0\0\0\x07\0\x01w\0\x02go\0\x01u\0\x01p";
        let connect = decode(bytes);
        assert_eq!(connect.version, Version::V5);
        assert!(connect.clean_start && !connect.bridge);
        assert_eq!(connect.keep_alive_s, 10);
        assert_eq!(connect.properties.session_expiry_interval_s, 60);
        assert_eq!(connect.properties.receive_maximum, u16::MAX);
        assert!(connect.properties.request_problem_information);
        assert_eq!(connect.client_id, "i");
        assert_eq!(connect.user_name, Some("u"));
        assert_eq!(connect.password, Some(&b"p"[..]));
        let will = connect.will.unwrap();
        assert_eq!((will.qos, will.retain), (QoS::AtLeastOnce, true));
        assert_eq!((will.topic.as_str(), will.payload), ("w", &b"go"[..]));
        assert_eq!(will.delay_interval_s, 7);
        assert_eq!(will.properties.passed_on_bytes, 0);
        let mut passed_on = Vec::new();
        will.properties.append_passed_on(&mut passed_on);
        assert!(passed_on.is_empty());
    }

    #[test]
    fn a_v3_connect_has_the_properties_of_a_silent_v5_client() {
        let connect = decode(b"\x10\x0D\0\x04MQTT\x84\x02\0\x0A\0\x01i");
        assert_eq!(connect.properties, ConnectProperties::default());
        assert!(connect.bridge);
        assert_eq!(connect.will, None);
    }

    #[test]
    fn v31_may_leave_out_what_its_flags_promise() {
        let connect = decode(b"\x10\x10\0\x06MQIsdp\x03\xC2\0\x0A\0\x02id");
        assert_eq!((connect.user_name, connect.password), (None, None));
    }

    #[test]
    fn the_level_is_found_in_a_packet_that_did_not_decode() {
        for (packet, level) in [
            (&b"\x10\x0C\0\x04MQTT\x05"[..], Some(5)),
            (b"\x10\x0C\0\x04MQTT\x06", Some(6)),
            (b"\x10\x0C\0\x04MQTT\x84", Some(4)),
            (b"\x10\x0C\0\x06MQIsdp\x03\xFF", Some(3)),
            (b"\x10\x8C\x01\0\x04MQTT\x05", Some(5)),
            (b"\x11\x0C\0\x04MQTT\x05", Some(5)),
            (b"\x10\x0C\0\x04MQTT", None),
            (b"\x10\x0C\0\x04MQTX\x05", None),
            (b"\x10\x0C\0\x09MQTT\x05", None),
            (b"\x20\x0C\0\x04MQTT\x05", None),
            (b"\x10\xFF\xFF\xFF\xFF\0\x04MQTT\x05", None),
            (b"\x10", None),
            (b"", None),
        ] {
            assert_eq!(protocol_level(packet), level, "{packet:?}");
        }
    }
}
