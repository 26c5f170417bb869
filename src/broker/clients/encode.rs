//! One PUBLISH into an outbox.

use super::booking::kept_message;
use super::owner::{Clients, mark_dirty};
use super::shapes::{aliased, bytes_at_most, delivery};
use crate::broker::counters::Dropped;
use crate::broker::passing::{Routing, Sending};
use crate::ids::ConnectionId;
use crate::limits;
use crate::session::Connection;
use crate::session::alias::Alias;
use crate::wire::{PacketId, QoS, Version};
use std::rc::Rc;

impl Clients {
    /// Puts one PUBLISH into a connection's outbox. Returns `false` if it is larger than the Client's Maximum Packet
    /// Size.
    pub(super) fn send_publish(
        &mut self,
        id: ConnectionId,
        routing: &mut Routing<'_>,
        sending: &Sending<'_>,
        packet_id: Option<PacketId>,
    ) -> bool {
        let Some(connection) = self.connections.get_mut(id) else {
            return true;
        };
        let version = connection.version;
        let packet_bytes_most = connection.packet_bytes_most();
        // Many Properties are referenced as a large payload is, and with what follows them: the payload.
        let properties = version == Version::V5 && routing.references(routing.passed_on.len());
        let shared = properties || routing.references(routing.payload.len());
        let shared_bytes = match (shared, properties) {
            (false, _) => 0,
            (true, false) => routing.payload.len(),
            (true, true) => routing.passed_on.len() + routing.payload.len(),
        };
        let long_named = routing.references(routing.topic.as_str().len());
        let topic = routing.topic.as_str();
        let outward = match &mut connection.aliases {
            Some(aliases) => aliases.outward.as_deref_mut(),
            None => None,
        };
        // No alias for a message that is sent again, nor for a short name, which would gain nothing, nor for a very
        // long one, of which each connection would keep a copy, nor at QoS 2: MQTT.js (5.16) shows a QoS 2 message that
        // came by alias without its name.
        let mut outward = outward.filter(|_| {
            !sending.dup
                && !long_named
                && sending.qos < QoS::ExactlyOnce
                && topic.len() >= limits::ALIASED_TOPIC_BYTES_MIN
        });
        let alias = outward.as_mut().map(|outward| outward.choose(topic));
        let bytes_most = bytes_at_most(routing, sending);
        if bytes_most > packet_bytes_most {
            let packet = delivery(version, sending, routing, packet_id, self.now);
            let packet = aliased(packet, alias);
            if packet.packet_bytes(version) > packet_bytes_most {
                self.counters.drop_messages(Dropped::TooLargeForClient, 1);
                return false;
            }
        }
        if let (Some(outward), Some(Alias::New(alias))) = (outward, alias) {
            outward.define(alias, topic);
            connection.booked_more = true;
        }
        if long_named {
            self.append_long_named(id, routing, sending, packet_id, (properties, shared));
            return true;
        }
        let copies = sending.qos == QoS::AtMostOnce
            && !sending.retain
            && sending.identifiers.is_empty()
            && routing
                .verbatim
                .is_some_and(|verbatim| verbatim.suits(connection));
        let copied = bytes_most - shared_bytes;
        let block = connection.outbox.block(&mut self.pool, copied);
        let before = block.len();
        let plain = !sending.alone
            && !sending.dup
            && !properties
            && (version != Version::V5 || (sending.identifiers.is_empty() && alias.is_none()));
        match routing.verbatim {
            Some(verbatim) if copies => block.extend_from_slice(verbatim.run.bytes),
            _ if plain => {
                let (shape, packet_id_at) = self.shapes.get(version, sending, routing, self.now);
                block.extend_from_slice(shape);
                if let Some(packet_id) = packet_id {
                    let at = before + packet_id_at;
                    block[at..at + 2].copy_from_slice(&packet_id.get().to_be_bytes());
                }
            }
            _ => {
                let packet = delivery(version, sending, routing, packet_id, self.now);
                let packet = aliased(packet, alias);
                if properties {
                    packet.append_start(version, block);
                } else {
                    packet.append_head(version, block);
                }
                if !shared {
                    block.extend_from_slice(routing.payload);
                }
            }
        }
        let mut bytes = block.len() - before;
        if shared {
            let message = kept_message(&self.book, &self.sessions, self.shards, routing);
            let (payload, start, end) = message.shared(properties);
            bytes += shared_bytes;
            connection.outbox.append_shared(payload, start, end);
        }
        note_unsent(connection, bytes, shared_bytes);
        mark_dirty(connection, &mut self.dirty);
        self.count_sent(routing);
        true
    }

    /// One PUBLISH whose Topic Name is referenced, and what follows it as well: `(its properties, its payload)`.
    fn append_long_named(
        &mut self,
        id: ConnectionId,
        routing: &mut Routing<'_>,
        sending: &Sending<'_>,
        packet_id: Option<PacketId>,
        (properties, shared): (bool, bool),
    ) {
        let message = kept_message(&self.book, &self.sessions, self.shards, routing);
        let message = Rc::clone(message);
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        let version = connection.version;
        let packet = delivery(version, sending, routing, packet_id, self.now);
        let (topic, start, end) = message.shared_topic();
        let mut shared_bytes = (end - start) as usize;
        let outbox = &mut connection.outbox;
        packet.append_before_topic(
            version,
            outbox.block(&mut self.pool, BEFORE_TOPIC_BYTES_MAX),
        );
        outbox.append_shared(topic, start, end);
        let bytes = packet.packet_bytes(version);
        let block = outbox.block(&mut self.pool, BEHIND_TOPIC_BYTES);
        packet.append_behind_topic(version, block);
        if version == Version::V5 && !properties {
            block.extend_from_slice(routing.passed_on);
        }
        if shared {
            let (payload, start, end) = message.shared(properties);
            shared_bytes += (end - start) as usize;
            outbox.append_shared(payload, start, end);
        } else {
            block.extend_from_slice(routing.payload);
        }
        note_unsent(connection, bytes, shared_bytes);
        mark_dirty(connection, &mut self.dirty);
        self.count_sent(routing);
    }

    #[inline]
    fn count_sent(&mut self, routing: &Routing<'_>) {
        self.counters.messages_sent += 1;
        self.counters.payload_bytes_sent += routing.payload.len() as u64;
    }
}

/// Fixed Header and the length of the Topic Name.
const BEFORE_TOPIC_BYTES_MAX: usize = 7;
/// What most packets have between Topic Name and payload.
const BEHIND_TOPIC_BYTES: usize = 16;

/// So many bytes more lie in the outbox, some of them shared.
#[inline]
fn note_unsent(connection: &mut Connection, bytes: usize, shared_bytes: usize) {
    connection.unsent_bytes += bytes;
    if shared_bytes > 0 {
        let end = connection.sent_bytes + connection.unsent_bytes as u64;
        let shared = connection.shared.get_or_insert_default();
        shared.add(shared_bytes, end);
    }
}
