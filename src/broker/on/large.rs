//! A large message keeps the memory that its packet was received into, because a copy would cost more than all other
//! work on it.
//!
//! ```text
//! as received   │ Fixed Header │ Topic Name │ Packet Identifier, Properties │ payload │
//! as a message  │ (unused)                  │ Topic Name │ passed on        │ payload │
//! ```
//!
//! Name and properties are moved up to the payload, so that the three lie next to each other as in every `Message`.

use crate::broker::outputs::Outputs;
use crate::broker::passing::{Origin, Routed, routing_of};
use crate::broker::shard::Shard;
use crate::broker::violation::Violation;
use crate::ids::{ConnectionId, SessionId};
use crate::limits;
use crate::session::Message;
use crate::wire;
use crate::wire::{Publish, Version, packet_type};
use std::rc::Rc;

/// Whether `bytes` are one complete packet whose message should keep its memory.
pub(super) fn is_large_publish(bytes: &[u8]) -> bool {
    bytes.len() >= limits::PAYLOAD_SHARED_FROM_BYTES
        && bytes[0] >> 4 == packet_type::PUBLISH
        && wire::frame_bytes(bytes) == Some(bytes.len())
}

impl Shard {
    /// Handles a PUBLISH that fills `packet`. Returns `Ok(Some)` if it was not handled: the caller handles it like any
    /// other packet, at once or when the connection is no longer withheld.
    pub(in crate::broker) fn on_large_publish(
        &mut self,
        id: ConnectionId,
        session_id: SessionId,
        version: Version,
        mut packet: Vec<u8>,
        out: &mut Outputs,
    ) -> Result<Option<Vec<u8>>, Violation> {
        let packet_bytes_max = self.clients.packet_bytes_max(id);
        let frame = wire::next_frame(&packet, packet_bytes_max);
        let Some(frame) = frame.map_err(Violation::Malformed)? else {
            return Ok(Some(packet));
        };
        let publish = Publish::decode(version, &frame).map_err(Violation::Malformed)?;
        // The Topic Name of an alias may be longer than the bytes before the payload.
        let (Some(topic), None) = (publish.topic, publish.properties.topic_alias) else {
            return Ok(Some(packet));
        };
        if publish.payload.len() < limits::PAYLOAD_SHARED_FROM_BYTES {
            return Ok(Some(packet));
        }
        let visited = self.find(topic);
        self.turn.add_work(visited);
        let found = &self.topics.found().local;
        if self.clients.hold_back(id, found, out) {
            return Ok(Some(packet));
        }
        self.clients.count_received(1, publish.payload.len());
        self.name_by_alias(id, &publish, out)?;
        let mark = self.mark();
        if !self.is_new(id, session_id, version, &publish)? {
            return Ok(None);
        }
        let (qos, retain, packet_id) = (publish.qos, publish.retain, publish.packet_id);
        if self.clients.looks_at_publish() && !self.is_publish_allowed(id, &publish, topic, 1)? {
            self.drop_too_large(1);
            let sent = (qos, packet_id);
            self.answer_publish(id, session_id, version, sent, Routed::TooLarge, mark);
            return Ok(None);
        }
        if self.finds_store_full(version, &publish, topic) {
            let sent = (qos, packet_id);
            self.answer_publish(id, session_id, version, sent, Routed::StoreFull, mark);
            return Ok(None);
        }
        let expires = self.expiry(&publish);
        let mut head = topic.as_str().as_bytes().to_vec();
        let topic_bytes = head.len() as u16;
        publish.properties.append_passed_on(&mut head);
        let passed_on_bytes = (head.len() - usize::from(topic_bytes)) as u32;
        let payload_start = packet.len() - publish.payload.len();
        let start = payload_start - head.len();
        packet[start..payload_start].copy_from_slice(&head);
        let mut message = Message::adopt(
            packet,
            start,
            topic_bytes,
            passed_on_bytes,
            qos,
            retain,
            expires,
        );
        self.clients.sign(session_id, &self.rights, &mut message);
        self.clients.book_message(session_id, &mut message);
        let message = Rc::new(message);
        let origin = Origin {
            session: Some(session_id),
            connection: Some((self.id, id)),
        };
        if packet_id.is_some() && self.crossing_waits(retain) {
            self.peers.settling_mut().begin_asking();
        }
        let routed = self.publish::<false>(&mut routing_of(&message), origin, out);
        self.close_if_untold(version, qos, routed)?;
        self.answer_publish(id, session_id, version, (qos, packet_id), routed, mark);
        if retain && self.clients.is_store_behind() {
            self.clients.wait_for_store(id, out);
        }
        // Nobody wanted it.
        if let Ok(message) = Rc::try_unwrap(message)
            && let Some(packet) = message.into_vector()
        {
            self.clients.give_packet(packet);
        }
        Ok(None)
    }
}
