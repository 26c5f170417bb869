//! SUBACK [v5 §3.9, v3.1.1 §3.9, v3.1 §3.9] and UNSUBACK [v5 §3.11, v3.1.1 §3.11, v3.1 §3.11]: one code
//! for each Topic Filter asked about, in their order. A v3 UNSUBACK has none.

use super::ack;
use super::cursor::Cursor;
use super::frame::Frame;
use super::property::UserProperties;
use super::reason::CodeSet;
use super::varint;
use super::{Malformed, PacketId, Version, packet_type};

const SUBACK: u8 = packet_type::SUBACK << 4;
const UNSUBACK: u8 = packet_type::UNSUBACK << 4;

/// What v3.1.1 says instead of a QoS [v3.1.1 §3.9.3]; v3.1 has no failure code.
pub const FAILURE: u8 = 0x80;

/// The answer to a SUBSCRIBE.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct SubAck<'a> {
    /// That of the SUBSCRIBE [v5 MQTT-3.8.4-2].
    pub packet_id: PacketId,
    /// At least one.
    pub codes: &'a [u8],
    /// Text for people, not for programs; v5 only [v5 §3.9.2.1.2].
    pub reason_string: Option<&'a str>,
    /// Empty in v3.
    pub user_properties: UserProperties<'a>,
}

/// The answer to an UNSUBSCRIBE.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct UnsubAck<'a> {
    /// That of the UNSUBSCRIBE [v5 MQTT-3.10.4-5].
    pub packet_id: PacketId,
    /// v5: at least one; v3: empty.
    pub codes: &'a [u8],
    /// Text for people, not for programs; v5 only [v5 §3.11.2.1.2].
    pub reason_string: Option<&'a str>,
    /// Empty in v3.
    pub user_properties: UserProperties<'a>,
}

/// [v3.1 §3.9]
const CODES_V31: CodeSet = CodeSet::new(&[0, 1, 2]);
/// [v3.1.1 MQTT-3.9.3-2]
const CODES_V311: CodeSet = CodeSet::new(&[0, 1, 2, FAILURE]);
/// [v5 MQTT-3.9.3-2]
const CODES_V5: CodeSet = CodeSet::new(&[
    0, 1, 2, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2,
]);
/// [v5 MQTT-3.11.3-2]
const UNSUBACK_CODES: CodeSet = CodeSet::new(&[0x00, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91]);

impl<'a> SubAck<'a> {
    /// Errors: `PacketIdZero`; `NoReasonCodes` [v5 MQTT-3.8.4-6]; `ReasonCodeNotAllowed`
    /// [v5 MQTT-3.9.3-2]; those of Properties; `Truncated`.
    pub fn decode(version: Version, frame: &Frame<'a>) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(frame.body());
        let packet_id = cursor.packet_id()?;
        let (mut reason_string, mut user_properties) = Default::default();
        if version == Version::V5 {
            (reason_string, user_properties) = ack::decode_properties(&mut cursor)?;
        }
        let allowed = match version {
            Version::V31 => CODES_V31,
            Version::V311 => CODES_V311,
            Version::V5 => CODES_V5,
        };
        Ok(Self {
            packet_id,
            codes: decode_codes(cursor, allowed)?,
            reason_string,
            user_properties,
        })
    }

    /// Appends the packet. v3 leaves Properties out.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        assert!(!self.codes.is_empty());
        out.push(SUBACK);
        varint::append_with_length(out, |out| {
            out.extend_from_slice(&self.packet_id.get().to_be_bytes());
            if version == Version::V5 {
                ack::append_properties(self.reason_string, &self.user_properties, out);
            }
            out.extend_from_slice(self.codes);
        });
    }
}

impl<'a> UnsubAck<'a> {
    /// Errors: as for SUBACK, with the codes of UNSUBACK [v5 MQTT-3.11.3-2]; v3 `TrailingBytes`.
    pub fn decode(version: Version, frame: &Frame<'a>) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(frame.body());
        let mut unsuback = Self {
            packet_id: cursor.packet_id()?,
            codes: &[],
            reason_string: None,
            user_properties: UserProperties::default(),
        };
        if version == Version::V5 {
            (unsuback.reason_string, unsuback.user_properties) =
                ack::decode_properties(&mut cursor)?;
            unsuback.codes = decode_codes(cursor, UNSUBACK_CODES)?;
        } else {
            cursor.end()?;
        }
        Ok(unsuback)
    }

    /// Appends the packet. v3 leaves Properties and codes out.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        out.push(UNSUBACK);
        varint::append_with_length(out, |out| {
            out.extend_from_slice(&self.packet_id.get().to_be_bytes());
            if version == Version::V5 {
                assert!(!self.codes.is_empty());
                ack::append_properties(self.reason_string, &self.user_properties, out);
                out.extend_from_slice(self.codes);
            }
        });
    }
}

/// The rest of the packet, one code a byte.
fn decode_codes(cursor: Cursor<'_>, allowed: CodeSet) -> Result<&[u8], Malformed> {
    let codes = cursor.rest();
    if codes.is_empty() {
        return Err(Malformed::NoReasonCodes);
    }
    for &code in codes {
        allowed.check(code)?;
    }
    Ok(codes)
}
