//! PUBACK, PUBREC, PUBREL and PUBCOMP [v5 §3.4 to §3.7, v3.1.1 §3.4 to §3.7]: four packets of one form.
//!
//! v3: a Packet Identifier. v5 adds a Reason Code and Properties, and lets the sender stop before either if what
//! follows would say nothing.

use super::cursor::Cursor;
use super::frame::Frame;
use super::property::{self, IdSet, Property, UserProperties, id};
use super::reason::CodeSet;
use super::varint;
use super::{Malformed, PacketId, RESERVED_FLAGS, ReasonCode, Version, packet_type};

/// Which of the four.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AckKind {
    /// Answers a PUBLISH at QoS 1, and ends it [v5 §3.4].
    PubAck,
    /// First answer to a PUBLISH at QoS 2: the receiver has it [v5 §3.5].
    PubRec,
    /// Answer to PUBREC: the sender will not send the message again [v5 §3.6].
    PubRel,
    /// Answer to PUBREL, and the end of a delivery at QoS 2 [v5 §3.7].
    PubComp,
}

impl AckKind {
    /// Which of the four this packet is. `None` if it is none of them, or if its flags are wrong: [`super::decode`]
    /// tells which.
    #[inline]
    pub fn of(version: Version, frame: &Frame<'_>) -> Option<Self> {
        let kind = match frame.packet_type() {
            packet_type::PUBACK => Self::PubAck,
            packet_type::PUBREC => Self::PubRec,
            packet_type::PUBREL => Self::PubRel,
            packet_type::PUBCOMP => Self::PubComp,
            _ => return None,
        };
        let right = frame.packet_type() << 4 | frame.flags() == kind.first_byte();
        (right || version == Version::V31).then_some(kind)
    }

    /// As [`packet_type`] has it.
    pub fn packet_type(self) -> u8 {
        self.first_byte() >> 4
    }

    /// Packet type and flags [v5 §2.1.3].
    #[inline]
    fn first_byte(self) -> u8 {
        match self {
            Self::PubAck => packet_type::PUBACK << 4,
            Self::PubRec => packet_type::PUBREC << 4,
            Self::PubRel => packet_type::PUBREL << 4 | RESERVED_FLAGS,
            Self::PubComp => packet_type::PUBCOMP << 4,
        }
    }

    /// The codes it may carry [v5 MQTT-3.4.2-1, MQTT-3.5.2-1, MQTT-3.6.2-1, MQTT-3.7.2-1].
    fn codes(self) -> CodeSet {
        match self {
            Self::PubAck | Self::PubRec => RECEIVED,
            Self::PubRel | Self::PubComp => RELEASED,
        }
    }
}

const RECEIVED: CodeSet = CodeSet::new(&[0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99]);
const RELEASED: CodeSet = CodeSet::new(&[0x00, 0x92]);

pub(super) const ALLOWED: IdSet = IdSet::new(&[id::REASON_STRING, id::USER_PROPERTY]);

/// One acknowledgement.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Ack<'a> {
    /// That of the PUBLISH whose delivery it is part of.
    pub packet_id: PacketId,
    /// v3: success.
    pub reason: ReasonCode,
    /// Text for people, not for programs; v5 only, at most 65,535 bytes [v5 §3.4.2.2.2].
    pub reason_string: Option<&'a str>,
    /// Empty in v3.
    pub user_properties: UserProperties<'a>,
}

impl<'a> Ack<'a> {
    /// One that says no more than how it went.
    pub fn new(packet_id: PacketId, reason: ReasonCode) -> Self {
        Self {
            packet_id,
            reason,
            reason_string: None,
            user_properties: UserProperties::default(),
        }
    }

    /// Errors: `PacketIdZero` [v5 MQTT-2.2.1-3]; `ReasonCodeNotAllowed`; those of Properties; `Truncated`;
    /// `TrailingBytes`.
    #[inline]
    pub fn decode(kind: AckKind, version: Version, frame: &Frame<'a>) -> Result<Self, Malformed> {
        let mut cursor = Cursor::new(frame.body());
        let mut ack = Self::new(cursor.packet_id()?, ReasonCode::SUCCESS);
        if version == Version::V5 && !cursor.is_empty() {
            ack.reason = kind.codes().check(cursor.byte()?)?;
            if !cursor.is_empty() {
                (ack.reason_string, ack.user_properties) = decode_properties(&mut cursor)?;
            }
        }
        cursor.end()?;
        Ok(ack)
    }

    /// Appends the packet in its shortest form.
    pub fn encode(&self, kind: AckKind, version: Version, out: &mut Vec<u8>) {
        let has_properties = self.reason_string.is_some() || !self.user_properties.is_empty();
        if version != Version::V5 || !has_properties {
            append_ack(kind, version, self.packet_id, self.reason, out);
            return;
        }
        out.push(kind.first_byte());
        varint::append_with_length(out, |out| {
            out.extend_from_slice(&self.packet_id.get().to_be_bytes());
            out.push(self.reason.0);
            append_properties(self.reason_string, &self.user_properties, out);
        });
    }
}

/// Reads the Properties all acknowledgements share: Reason String and User Properties.
pub(super) fn decode_properties<'a>(
    cursor: &mut Cursor<'a>,
) -> Result<(Option<&'a str>, UserProperties<'a>), Malformed> {
    let (mut reason_string, mut any) = (None, false);
    let raw = property::decode_block(cursor, ALLOWED, |property, _| match property {
        Property::ReasonString(text) => reason_string = Some(text),
        _ => any = true,
    })?;
    Ok((reason_string, UserProperties::of_block(raw, any)))
}

pub(super) fn append_properties(
    reason_string: Option<&str>,
    user_properties: &UserProperties<'_>,
    out: &mut Vec<u8>,
) {
    property::append_block(
        &[reason_string.map(Property::ReasonString)],
        user_properties,
        out,
    );
}

/// Appends an acknowledgement without Properties: 4 bytes, or 5 if v5 has a Reason Code to tell. v3 has none.
#[inline]
pub fn append_ack(
    kind: AckKind,
    version: Version,
    packet_id: PacketId,
    reason: ReasonCode,
    out: &mut Vec<u8>,
) {
    let [high, low] = packet_id.get().to_be_bytes();
    if version == Version::V5 && reason != ReasonCode::SUCCESS {
        out.extend_from_slice(&[kind.first_byte(), 3, high, low, reason.0]);
    } else {
        out.extend_from_slice(&[kind.first_byte(), 2, high, low]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_form_is_as_short_as_it_can_be() {
        let id = PacketId::new(0x0102).unwrap();
        for (kind, version, reason, expected) in [
            (
                AckKind::PubAck,
                Version::V311,
                ReasonCode::SUCCESS,
                &[0x40, 2, 1, 2][..],
            ),
            (
                AckKind::PubAck,
                Version::V31,
                ReasonCode::QUOTA_EXCEEDED,
                &[0x40, 2, 1, 2],
            ),
            (
                AckKind::PubAck,
                Version::V5,
                ReasonCode::SUCCESS,
                &[0x40, 2, 1, 2],
            ),
            (
                AckKind::PubRec,
                Version::V5,
                ReasonCode::QUOTA_EXCEEDED,
                &[0x50, 3, 1, 2, 0x97],
            ),
            (
                AckKind::PubRel,
                Version::V311,
                ReasonCode::SUCCESS,
                &[0x62, 2, 1, 2],
            ),
            (
                AckKind::PubComp,
                Version::V5,
                ReasonCode::PACKET_IDENTIFIER_NOT_FOUND,
                &[0x70, 3, 1, 2, 0x92],
            ),
        ] {
            let mut out = Vec::new();
            append_ack(kind, version, id, reason, &mut out);
            assert_eq!(out, expected);
        }
    }
}
