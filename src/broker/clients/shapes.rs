//! The bytes of an outgoing PUBLISH: one encoding for each shape of a message. Each subscriber's outbox gets a copy.

use crate::broker::passing::{Routing, Sending};
use crate::session::alias::Alias;
use crate::session::message::expiry_left_s;
use crate::time::Time;
use crate::wire::publish::Delivery;
use crate::wire::{PacketId, QoS, Version};

/// Encodings of the message under way, one for each shape: version, QoS and RETAIN. Packet Identifiers are patched in.
#[derive(Default)]
pub struct Shapes {
    bytes: Vec<u8>,
    /// Start, end and offset of the Packet Identifier in `bytes`. An empty range is not encoded yet.
    ranges: [(u32, u32, u32); 12],
}

impl Shapes {
    pub fn clear(&mut self) {
        if !self.bytes.is_empty() {
            self.bytes.clear();
            self.ranges = Default::default();
        }
    }

    /// The shape's bytes and the offset of the Packet Identifier in them. They lack the payload if it will be
    /// referenced.
    pub fn get(
        &mut self,
        version: Version,
        sending: &Sending<'_>,
        routing: &Routing<'_>,
        now: Time,
    ) -> (&[u8], usize) {
        let v5 = version == Version::V5;
        let index =
            usize::from(v5) * 6 + usize::from(sending.retain) * 3 + usize::from(sending.qos as u8);
        let (start, end, packet_id_at) = self.ranges[index];
        if start < end {
            return (
                &self.bytes[start as usize..end as usize],
                packet_id_at as usize,
            );
        }
        let start = self.bytes.len();
        delivery(version, sending, routing, PacketId::new(1), now)
            .append_head(version, &mut self.bytes);
        let head_end = self.bytes.len();
        if !routing.references(routing.payload.len()) {
            self.bytes.extend_from_slice(routing.payload);
        }
        // The Packet Identifier follows the Topic Name, which follows the Fixed Header.
        let header = 1 + self.bytes[start + 1..head_end]
            .iter()
            .position(|byte| byte & 0x80 == 0)
            .map_or(1, |at| at + 1);
        let packet_id_at = header + 2 + routing.topic.as_str().len();
        let end = self.bytes.len();
        self.ranges[index] = (start as u32, end as u32, packet_id_at as u32);
        (&self.bytes[start..end], packet_id_at)
    }
}

/// An upper bound of the size of a delivery, a little above it: nearly always enough to know that it is not too large.
pub fn bytes_at_most(routing: &Routing<'_>, sending: &Sending<'_>) -> usize {
    /// Fixed Header, length of the Topic Name, Packet Identifier, Property Length, expiry and alias come to 26 bytes.
    const FIXED: usize = 32;
    /// A Subscription Identifier, with that of its Property.
    const IDENTIFIER: usize = 5;
    FIXED
        + routing.topic.as_str().len()
        + routing.passed_on.len()
        + sending.identifiers.len() * IDENTIFIER
        + routing.payload.len()
}

/// The packet with a Topic Alias, and without the Topic Name if the Client knows the alias.
pub fn aliased(packet: Delivery<'_>, alias: Option<Alias>) -> Delivery<'_> {
    match alias {
        None => packet,
        Some(Alias::New(alias)) => Delivery {
            topic_alias: Some(alias),
            ..packet
        },
        Some(Alias::Known(alias)) => Delivery {
            topic_alias: Some(alias),
            topic: "",
            ..packet
        },
    }
}

pub fn delivery<'a>(
    version: Version,
    sending: &Sending<'a>,
    routing: &Routing<'a>,
    packet_id: Option<PacketId>,
    now: Time,
) -> Delivery<'a> {
    let v5 = version == Version::V5;
    Delivery {
        dup: sending.dup,
        qos: sending.qos,
        retain: sending.retain,
        topic: routing.topic.as_str(),
        packet_id: if sending.qos == QoS::AtMostOnce {
            None
        } else {
            packet_id
        },
        topic_alias: None,
        message_expiry_interval_s: if v5 {
            expiry_left_s(routing.expires, now)
        } else {
            None
        },
        subscription_identifiers: if v5 { sending.identifiers } else { &[] },
        passed_on: if v5 { routing.passed_on } else { &[] },
        payload_bytes: routing.payload.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::TopicName;

    #[test]
    fn no_delivery_is_larger_than_its_bound() {
        let payload = vec![b'x'; 70_000];
        for payload in [&payload[..0], &payload[..100], &payload] {
            for identifiers in [&[][..], &[268_435_455; 3], &[1]] {
                let routing = Routing {
                    topic: TopicName::new("a/b").expect("it is one"),
                    passed_on: b"0123456789",
                    payload,
                    qos: QoS::ExactlyOnce,
                    retain: false,
                    expires: Time(10_000),
                    verbatim: None,
                    message: None,
                    publisher: None,
                };
                let sending = Sending {
                    qos: QoS::ExactlyOnce,
                    dup: true,
                    retain: true,
                    identifiers,
                    share: None,
                    alone: false,
                };
                let packet_id = PacketId::new(1);
                let mut packet = delivery(Version::V5, &sending, &routing, packet_id, Time(0));
                packet.topic_alias = Some(7);
                let bytes = packet.packet_bytes(Version::V5);
                assert!(bytes <= bytes_at_most(&routing, &sending));
            }
        }
    }
}
