//! DISCONNECT [v5 §3.14, v3.1.1 §3.14, v3.1 §3.14]. v3: two bytes, from the Client. v5: either side says why.

use super::cursor::Cursor;
use super::frame::Frame;
use super::property::{self, IdSet, Property, UserProperties, id};
use super::reason::CodeSet;
use super::varint;
use super::{Malformed, ReasonCode, Version, packet_type};

const FIRST_BYTE: u8 = packet_type::DISCONNECT << 4;

/// The end of a Network Connection. The default is the normal one.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub struct Disconnect<'a> {
    /// v3: normal.
    pub reason: ReasonCode,
    /// Only a Client may say it [v5 MQTT-3.14.2-2].
    pub session_expiry_interval_s: Option<u32>,
    /// Text for people, not for programs [v5 §3.14.2.2.3].
    pub reason_string: Option<&'a str>,
    /// Only a Server may say it.
    pub server_reference: Option<&'a str>,
    /// In the order sent; a name may occur more than once.
    pub user_properties: UserProperties<'a>,
}

const ALLOWED: IdSet = IdSet::new(&[
    id::SESSION_EXPIRY_INTERVAL,
    id::SERVER_REFERENCE,
    id::REASON_STRING,
    id::USER_PROPERTY,
]);

/// The codes of either side [v5 MQTT-3.14.2-1]; 0x8C stands in the table of §2.4 alone.
const CODES: CodeSet = CodeSet::new(&[
    0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8B, 0x8C, 0x8D, 0x8E, 0x8F, 0x90, 0x93, 0x94,
    0x95, 0x96, 0x97, 0x98, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0x9F, 0xA0, 0xA1, 0xA2,
]);

impl<'a> Disconnect<'a> {
    /// One that says no more than why.
    pub fn new(reason: ReasonCode) -> Self {
        Self {
            reason,
            ..Self::default()
        }
    }

    /// Errors: `ReasonCodeNotAllowed` [v5 MQTT-3.14.2-1]; those of Properties; `Truncated`; `TrailingBytes`. What only
    /// one side may say is not told apart here.
    pub fn decode(version: Version, frame: &Frame<'a>) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(frame.body());
        let mut disconnect = Self::default();
        if version == Version::V5 && !cursor.is_empty() {
            disconnect.reason = CODES.check(cursor.byte()?)?;
            if !cursor.is_empty() {
                disconnect.decode_properties(&mut cursor)?;
            }
        }
        cursor.end()?;
        Ok(disconnect)
    }

    fn decode_properties(&mut self, cursor: &mut Cursor<'a>) -> Result<(), Malformed> {
        let mut any_user_property = false;
        let raw = property::decode_block(cursor, ALLOWED, |property, _| match property {
            Property::SessionExpiryInterval(value) => self.session_expiry_interval_s = Some(value),
            Property::ServerReference(value) => self.server_reference = Some(value),
            Property::ReasonString(value) => self.reason_string = Some(value),
            _ => any_user_property = true,
        })?;
        self.user_properties = UserProperties::of_block(raw, any_user_property);
        Ok(())
    }

    /// Appends the packet in its shortest form. v3 says nothing but the end.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        let properties = [
            self.session_expiry_interval_s
                .map(Property::SessionExpiryInterval),
            self.reason_string.map(Property::ReasonString),
            self.server_reference.map(Property::ServerReference),
        ];
        let has_properties =
            properties.iter().any(Option::is_some) || !self.user_properties.is_empty();
        out.push(FIRST_BYTE);
        varint::append_with_length(out, |out| {
            if version != Version::V5 || (self.reason == ReasonCode::SUCCESS && !has_properties) {
                return;
            }
            out.push(self.reason.0);
            if has_properties {
                property::append_block(&properties, &self.user_properties, out);
            }
        });
    }
}
