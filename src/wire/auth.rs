//! AUTH [v5 §3.15]: one step of an enhanced authentication. v3 has none.

use super::cursor::Cursor;
use super::frame::Frame;
use super::property::{self, IdSet, Property, UserProperties, id};
use super::reason::CodeSet;
use super::varint;
use super::{Malformed, ReasonCode, packet_type};

const FIRST_BYTE: u8 = packet_type::AUTH << 4;

/// One step. The default is success, with nothing to add.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub struct Auth<'a> {
    /// 0x00, 0x18 (continue) or 0x19 (authenticate again) [v5 MQTT-3.15.2-1].
    pub reason: ReasonCode,
    /// Present unless all else is absent and the code is success.
    pub authentication_method: Option<&'a str>,
    /// Its meaning is the method's [v5 §3.15.2.2.3].
    pub authentication_data: Option<&'a [u8]>,
    /// Text for people, not for programs [v5 §3.15.2.2.4].
    pub reason_string: Option<&'a str>,
    /// In the order sent; a name may occur more than once.
    pub user_properties: UserProperties<'a>,
}

const ALLOWED: IdSet = IdSet::new(&[
    id::AUTHENTICATION_METHOD,
    id::AUTHENTICATION_DATA,
    id::REASON_STRING,
    id::USER_PROPERTY,
]);

/// [v5 MQTT-3.15.2-1]
const CODES: CodeSet = CodeSet::new(&[0x00, 0x18, 0x19]);

impl<'a> Auth<'a> {
    /// Errors: `ReasonCodeNotAllowed` [v5 MQTT-3.15.2-1]; `MissingAuthenticationMethod` [v5 §3.15.2.2.2];
    /// those of Properties; `Truncated`; `TrailingBytes`.
    pub fn decode(frame: &Frame<'a>) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(frame.body());
        let mut auth = Self::default();
        if cursor.is_empty() {
            return Ok(auth);
        }
        auth.reason = CODES.check(cursor.byte()?)?;
        let mut any_user_property = false;
        let raw = property::decode_block(&mut cursor, ALLOWED, |property, _| match property {
            Property::AuthenticationMethod(value) => auth.authentication_method = Some(value),
            Property::AuthenticationData(value) => auth.authentication_data = Some(value),
            Property::ReasonString(value) => auth.reason_string = Some(value),
            _ => any_user_property = true,
        })?;
        auth.user_properties = UserProperties::of_block(raw, any_user_property);
        cursor.end()?;
        if auth.authentication_method.is_none() && auth != Self::default() {
            return Err(Malformed::MissingAuthenticationMethod);
        }
        Ok(auth)
    }

    /// Appends the packet in its shortest form.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(FIRST_BYTE);
        varint::append_with_length(out, |out| {
            if *self == Auth::default() {
                return;
            }
            out.push(self.reason.0);
            property::append_block(
                &[
                    self.authentication_method
                        .map(Property::AuthenticationMethod),
                    self.authentication_data.map(Property::AuthenticationData),
                    self.reason_string.map(Property::ReasonString),
                ],
                &self.user_properties,
                out,
            );
        });
    }
}
