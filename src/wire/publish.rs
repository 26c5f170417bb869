//! PUBLISH [v5 §3.3, v3.1.1 §3.3, v3.1 §3.3]. Decoding it and writing its head are the hot path: no allocation, each
//! byte looked at once.

use super::cursor::{Cursor, append_binary_data};
use super::frame::Frame;
use super::property::{self, IdSet, Properties, Property, id};
use super::varint;
use super::{Malformed, PacketId, QoS, TopicName, Version, packet_type};
use crate::limits::REMAINING_LENGTH_MAX;

/// Packet type in the high half of the first byte.
const FIRST_BYTE: u8 = packet_type::PUBLISH << 4;
const DUP: u8 = 0x08;
const RETAIN: u8 = 0x01;
/// Of a PUBLISH at QoS 0 without flags.
pub(super) const PLAIN_FIRST_BYTE: u8 = FIRST_BYTE;

/// One Application Message on its way.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Publish<'a> {
    /// It may have been sent before; never set at QoS 0 [v5 MQTT-3.3.1-2].
    pub dup: bool,
    /// How it is acknowledged.
    pub qos: QoS,
    /// To a Server: keep it for later subscribers. To a Client: it was kept [v5 §3.3.1.3].
    pub retain: bool,
    /// `None`: v5, empty on the wire; the Topic Alias, then present, stands for it.
    pub topic: Option<TopicName<'a>>,
    /// Present at QoS 1 and 2, absent at QoS 0.
    pub packet_id: Option<PacketId>,
    /// Absent in v3.
    pub properties: PublishProperties<'a>,
    /// Any bytes; empty with `retain` deletes the retained message [v5 MQTT-3.3.1-6].
    pub payload: &'a [u8],
}

impl<'a> Publish<'a> {
    /// Decodes a PUBLISH, sent by a Client or a Server.
    ///
    /// Errors: `BothQosBits` [v5 MQTT-3.3.1-4]; `DupAtQos0` [v5 MQTT-3.3.1-2], not in v3.1, which has no such
    /// rule; those of `TopicName::new`; `NoTopicNorAlias` [v5 §3.3.2.1]; `PacketIdZero`
    /// [v5 MQTT-2.2.1-3]; those of Properties; `Truncated`.
    #[inline]
    pub fn decode(version: Version, frame: &Frame<'a>) -> Result<Self, Malformed> {
        let flags = frame.flags();
        let qos = QoS::from_bits(flags >> 1).ok_or(Malformed::BothQosBits)?;
        let dup = flags & DUP != 0;
        if dup && qos == QoS::AtMostOnce && version != Version::V31 {
            return Err(Malformed::DupAtQos0);
        }
        let mut cursor = Cursor::new(frame.body());
        let topic = if version == Version::V5 && cursor.rest().starts_with(&[0, 0]) {
            cursor.take(2)?;
            None
        } else {
            Some(TopicName::decode(&mut cursor)?)
        };
        let packet_id = match qos {
            QoS::AtMostOnce => None,
            _ => Some(cursor.packet_id()?),
        };
        let mut properties = PublishProperties::default();
        if version == Version::V5 {
            if cursor.rest().first() == Some(&0) {
                cursor.take(1)?;
            } else {
                properties = PublishProperties::decode(&mut cursor)?;
            }
            if topic.is_none() && properties.topic_alias.is_none() {
                return Err(Malformed::NoTopicNorAlias);
            }
        }
        Ok(Self {
            dup,
            qos,
            retain: flags & RETAIN != 0,
            topic,
            packet_id,
            properties,
            payload: cursor.rest(),
        })
    }

    /// Appends the packet. v3 leaves Properties out.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        assert!(self.packet_id.is_some() == (self.qos != QoS::AtMostOnce));
        assert!(version == Version::V5 || self.topic.is_some());
        out.push(first_byte(self.dup, self.qos, self.retain));
        varint::append_with_length(out, |out| {
            append_binary_data(self.topic.map_or("", TopicName::as_str).as_bytes(), out);
            if let Some(packet_id) = self.packet_id {
                out.extend_from_slice(&packet_id.get().to_be_bytes());
            }
            if version == Version::V5 {
                varint::append_with_length(out, |out| self.properties.append(out));
            }
            out.extend_from_slice(self.payload);
        });
    }
}

#[inline]
fn first_byte(dup: bool, qos: QoS, retain: bool) -> u8 {
    FIRST_BYTE | if dup { DUP } else { 0 } | (qos as u8) << 1 | u8::from(retain)
}

/// The Properties of an Application Message, of a PUBLISH or of a Will. Equal if they say the same, whatever the order
/// of those that are not passed on.
#[derive(Clone, Copy, Default, Debug)]
pub struct PublishProperties<'a> {
    /// The decoded block without its length, all Properties in it.
    pub raw: &'a [u8],
    /// Seconds.
    pub message_expiry_interval_s: Option<u32>,
    /// 1..=65,535.
    pub topic_alias: Option<u16>,
    /// The Payload Format Indicator is 1: the payload is UTF-8 text.
    pub payload_format_utf8: bool,
    /// The Topic Name for an answer; never with wildcards [v5 MQTT-3.3.2-14].
    pub response_topic: Option<&'a str>,
    /// There is at least one Subscription Identifier; only a Server may send it [v5 MQTT-3.3.4-6].
    pub subscription_identifiers: bool,
    /// What `append_passed_on` appends.
    pub passed_on_bytes: usize,
}

/// What a PUBLISH may carry.
const IN_PUBLISH: IdSet = IdSet::new(&[
    id::PAYLOAD_FORMAT_INDICATOR,
    id::MESSAGE_EXPIRY_INTERVAL,
    id::CONTENT_TYPE,
    id::RESPONSE_TOPIC,
    id::CORRELATION_DATA,
    id::SUBSCRIPTION_IDENTIFIER,
    id::TOPIC_ALIAS,
    id::USER_PROPERTY,
]);

/// What the Will of a CONNECT may carry [v5 §3.1.3.2].
const IN_WILL: IdSet = IdSet::new(&[
    id::PAYLOAD_FORMAT_INDICATOR,
    id::MESSAGE_EXPIRY_INTERVAL,
    id::CONTENT_TYPE,
    id::RESPONSE_TOPIC,
    id::CORRELATION_DATA,
    id::WILL_DELAY_INTERVAL,
    id::USER_PROPERTY,
]);

impl<'a> PublishProperties<'a> {
    /// Reads the block of a PUBLISH, its length before it.
    ///
    /// Errors: as of [`Publish::decode`].
    pub fn decode(cursor: &mut Cursor<'a>) -> Result<Self, Malformed> {
        let mut found = Self::default();
        found.raw = property::decode_publish_block(cursor, IN_PUBLISH, |property, bytes| {
            found.take(property, bytes);
        })?;
        Ok(found)
    }

    /// Reads the block of a Will, its length before it, and the Will Delay Interval (s, 0 if absent).
    pub(super) fn decode_will(cursor: &mut Cursor<'a>) -> Result<(Self, u32), Malformed> {
        let (mut found, mut delay_interval_s) = (Self::default(), 0);
        found.raw = property::decode_block(cursor, IN_WILL, |property, bytes| match property {
            Property::WillDelayInterval(delay) => delay_interval_s = delay,
            _ => found.take(property, bytes),
        })?;
        Ok((found, delay_interval_s))
    }

    fn take(&mut self, property: Property<'a>, bytes: &'a [u8]) {
        match property {
            Property::MessageExpiryInterval(interval) => {
                self.message_expiry_interval_s = Some(interval);
            }
            Property::TopicAlias(alias) => self.topic_alias = Some(alias),
            Property::SubscriptionIdentifier(_) => self.subscription_identifiers = true,
            Property::PayloadFormatIndicator(utf8) => self.payload_format_utf8 = utf8,
            Property::ResponseTopic(topic) => self.response_topic = Some(topic),
            _ => {}
        }
        if is_passed_on(&property) {
            self.passed_on_bytes += bytes.len();
        }
    }

    /// The Subscription Identifiers, in their order.
    pub fn subscription_identifiers(&self) -> impl Iterator<Item = u32> + use<'a> {
        let raw = if self.subscription_identifiers {
            self.raw
        } else {
            &[]
        };
        Properties::new(raw).filter_map(|(property, _)| match property {
            Property::SubscriptionIdentifier(identifier) => Some(identifier),
            _ => None,
        })
    }

    /// Appends what a Server passes on unchanged and in order: all but the Topic Alias, the Message Expiry Interval,
    /// the Subscription Identifiers and the Will Delay Interval [v5 MQTT-3.3.2-4, -15, -16, -17, -18, -20].
    pub fn append_passed_on(&self, out: &mut Vec<u8>) {
        if self.passed_on_bytes == self.raw.len() {
            out.extend_from_slice(self.raw);
            return;
        }
        if self.passed_on_bytes == 0 {
            return;
        }
        for bytes in self.passed_on() {
            out.extend_from_slice(bytes);
        }
    }

    /// The bytes of each Property that is passed on.
    fn passed_on(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        Properties::new(self.raw)
            .filter(|(property, _)| is_passed_on(property))
            .map(|(_, bytes)| bytes)
    }

    /// Appends all but the Will Delay Interval, without a length.
    pub(super) fn append(&self, out: &mut Vec<u8>) {
        if let Some(interval) = self.message_expiry_interval_s {
            Property::MessageExpiryInterval(interval).append(out);
        }
        if let Some(alias) = self.topic_alias {
            Property::TopicAlias(alias).append(out);
        }
        for identifier in self.subscription_identifiers() {
            Property::SubscriptionIdentifier(identifier).append(out);
        }
        self.append_passed_on(out);
    }
}

/// Does a Server send this Property on as it came?
fn is_passed_on(property: &Property<'_>) -> bool {
    !matches!(
        property,
        Property::MessageExpiryInterval(_)
            | Property::TopicAlias(_)
            | Property::SubscriptionIdentifier(_)
            | Property::WillDelayInterval(_)
    )
}

impl PartialEq for PublishProperties<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.message_expiry_interval_s == other.message_expiry_interval_s
            && self.topic_alias == other.topic_alias
            && self.payload_format_utf8 == other.payload_format_utf8
            && self.response_topic == other.response_topic
            && self.passed_on_bytes == other.passed_on_bytes
            && self
                .subscription_identifiers()
                .eq(other.subscription_identifiers())
            && self.passed_on().eq(other.passed_on())
    }
}

/// Bytes of the largest packet there can be.
pub const PACKET_BYTES_MAX: usize = 1 + varint::SIZE_MAX + REMAINING_LENGTH_MAX as usize;

/// One outgoing PUBLISH up to its payload, which may be sent from where it lies.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Delivery<'a> {
    /// It was sent before, on an earlier connection [v5 MQTT-3.3.1-1].
    pub dup: bool,
    /// The lower one of the publisher's QoS and the subscription's [v5 §3.8.4].
    pub qos: QoS,
    /// Set for a retained message sent to a new subscription, and by Retain As Published.
    pub retain: bool,
    /// A Topic Name; empty if the Topic Alias stands for it (v5).
    pub topic: &'a str,
    /// Present at QoS 1 and 2, absent at QoS 0.
    pub packet_id: Option<PacketId>,
    /// This and the following three go to v5 Clients only; v3 leaves them out.
    pub topic_alias: Option<u16>,
    /// What is left of it, in seconds.
    pub message_expiry_interval_s: Option<u32>,
    /// Those of all subscriptions that it matches [v5 MQTT-3.3.4-4].
    pub subscription_identifiers: &'a [u32],
    /// What `PublishProperties::append_passed_on` gave.
    pub passed_on: &'a [u8],
    /// Bytes that follow what is encoded here; they count for the Remaining Length.
    pub payload_bytes: usize,
}

impl Delivery<'_> {
    /// Size of the whole packet, payload and Fixed Header included. A message that came in as one packet may be larger
    /// going out, by a Topic Name in place of its alias and by Subscription Identifiers: the caller drops
    /// what passes the receiver's Maximum Packet Size or [`PACKET_BYTES_MAX`].
    #[inline]
    pub fn packet_bytes(&self, version: Version) -> usize {
        let length = self.remaining_length(version);
        1 + varint::size(u32::try_from(length).unwrap_or(u32::MAX)) + length
    }

    /// Appends everything before the payload. The whole packet has at most [`PACKET_BYTES_MAX`] bytes.
    #[inline]
    pub fn append_head(&self, version: Version, out: &mut Vec<u8>) {
        self.append_start(version, out);
        if version == Version::V5 {
            out.extend_from_slice(self.passed_on);
        }
    }

    /// The same without the Properties that are passed on, which come last before the payload.
    #[inline]
    pub fn append_start(&self, version: Version, out: &mut Vec<u8>) {
        self.append_before_topic(version, out);
        out.extend_from_slice(self.topic.as_bytes());
        self.append_behind_topic(version, out);
    }

    /// What comes before the Topic Name: the Fixed Header and the length of the name.
    #[inline]
    pub fn append_before_topic(&self, version: Version, out: &mut Vec<u8>) {
        assert!(self.packet_id.is_some() == (self.qos != QoS::AtMostOnce));
        assert!(!self.topic.is_empty() || (version == Version::V5 && self.topic_alias.is_some()));
        let length = self.remaining_length(version);
        assert!(length <= REMAINING_LENGTH_MAX as usize);
        let own_bytes = length - self.payload_bytes - self.passed_on_in(version);
        out.reserve(1 + varint::SIZE_MAX + own_bytes);
        let first = first_byte(self.dup, self.qos, self.retain);
        let [high, low] = (self.topic.len() as u16).to_be_bytes();
        // Nearly all packets have a Remaining Length of one byte or of two, which are written at once.
        match length as u32 {
            length @ 0..0x80 => out.extend_from_slice(&[first, length as u8, high, low]),
            length @ 0x80..0x4000 => {
                let lengths = [length as u8 | 0x80, (length >> 7) as u8];
                out.extend_from_slice(&[first, lengths[0], lengths[1], high, low]);
            }
            length => {
                out.push(first);
                varint::append(length, out);
                out.extend_from_slice(&[high, low]);
            }
        }
    }

    /// What comes between the Topic Name and the Properties that are passed on.
    #[inline]
    pub fn append_behind_topic(&self, version: Version, out: &mut Vec<u8>) {
        if let Some(packet_id) = self.packet_id {
            out.extend_from_slice(&packet_id.get().to_be_bytes());
        }
        if version == Version::V5 {
            self.append_properties(out);
        }
    }

    #[inline]
    fn append_properties(&self, out: &mut Vec<u8>) {
        varint::append(self.properties_bytes() as u32, out);
        if let Some(interval) = self.message_expiry_interval_s {
            Property::MessageExpiryInterval(interval).append(out);
        }
        if let Some(alias) = self.topic_alias {
            Property::TopicAlias(alias).append(out);
        }
        for &identifier in self.subscription_identifiers {
            Property::SubscriptionIdentifier(identifier).append(out);
        }
    }

    #[inline]
    fn passed_on_in(&self, version: Version) -> usize {
        match version {
            Version::V5 => self.passed_on.len(),
            Version::V31 | Version::V311 => 0,
        }
    }

    /// Size of the Properties without their length.
    #[inline]
    fn properties_bytes(&self) -> usize {
        let mut bytes = self.passed_on.len();
        if self.message_expiry_interval_s.is_some() {
            bytes += 1 + size_of::<u32>();
        }
        if self.topic_alias.is_some() {
            bytes += 1 + size_of::<u16>();
        }
        for &identifier in self.subscription_identifiers {
            bytes += 1 + varint::size(identifier);
        }
        bytes
    }

    #[inline]
    fn remaining_length(&self, version: Version) -> usize {
        let mut bytes = size_of::<u16>() + self.topic.len() + self.payload_bytes;
        if self.packet_id.is_some() {
            bytes += size_of::<u16>();
        }
        if version == Version::V5 {
            let properties_bytes = self.properties_bytes();
            bytes += varint::size(properties_bytes as u32) + properties_bytes;
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::next_frame;

    const TOPIC: &str = "a/b";

    fn delivery<'a>(
        identifiers: &'a [u32],
        passed_on: &'a [u8],
        payload_bytes: usize,
    ) -> Delivery<'a> {
        Delivery {
            dup: false,
            qos: QoS::AtLeastOnce,
            retain: true,
            topic: TOPIC,
            packet_id: PacketId::new(9),
            topic_alias: Some(3),
            message_expiry_interval_s: Some(60),
            subscription_identifiers: identifiers,
            passed_on,
            payload_bytes,
        }
    }

    #[test]
    fn a_delivery_arrives_as_it_was_meant() {
        let passed_on = [0x01, 1, 0x26, 0, 1, b'k', 0, 1, b'v'];
        for payload_bytes in [0, 1, 100, 127, 128, 16_383, 16_384, 70_000] {
            for version in Version::ALL {
                let delivery = delivery(&[1, 268_435_455], &passed_on, payload_bytes);
                let mut bytes = Vec::new();
                delivery.append_head(version, &mut bytes);
                bytes.resize(bytes.len() + payload_bytes, b'x');
                assert_eq!(bytes.len(), delivery.packet_bytes(version));
                let frame = next_frame(&bytes, 100_000).unwrap().unwrap();
                assert_eq!(frame.bytes.len(), bytes.len());
                let publish = Publish::decode(version, &frame).unwrap();
                assert_eq!(publish.topic.map(TopicName::as_str), Some(TOPIC));
                assert_eq!(
                    (publish.qos, publish.retain, publish.dup),
                    (QoS::AtLeastOnce, true, false)
                );
                assert_eq!(publish.packet_id, PacketId::new(9));
                assert_eq!(publish.payload.len(), payload_bytes);
                if version == Version::V5 {
                    assert_eq!(publish.properties.topic_alias, Some(3));
                    assert_eq!(publish.properties.message_expiry_interval_s, Some(60));
                    assert!(publish.properties.payload_format_utf8);
                    let identifiers: Vec<_> =
                        publish.properties.subscription_identifiers().collect();
                    assert_eq!(identifiers, [1, 268_435_455]);
                    let mut again = Vec::new();
                    publish.properties.append_passed_on(&mut again);
                    assert_eq!(again, passed_on);
                }
            }
        }
    }

    #[test]
    fn what_is_passed_on_keeps_its_order() {
        let block = b"\x26\0\x01k\0\x01v\x02\0\0\0\x05\x03\0\x01t\x23\0\x01\x26\0\x01a\0\x01b";
        let mut bytes = vec![block.len() as u8];
        bytes.extend_from_slice(block);
        let properties = PublishProperties::decode(&mut Cursor::new(&bytes)).unwrap();
        let mut passed_on = Vec::new();
        properties.append_passed_on(&mut passed_on);
        assert_eq!(
            passed_on,
            b"\x26\0\x01k\0\x01v\x03\0\x01t\x26\0\x01a\0\x01b"
        );
        assert_eq!(properties.passed_on_bytes, passed_on.len());
    }

    #[test]
    fn a_packet_too_large_for_the_protocol_has_its_size_all_the_same() {
        let most = delivery(&[], &[], REMAINING_LENGTH_MAX as usize - 7);
        assert_eq!(most.packet_bytes(Version::V311), PACKET_BYTES_MAX);
        assert!(most.packet_bytes(Version::V5) > PACKET_BYTES_MAX);
    }
}
