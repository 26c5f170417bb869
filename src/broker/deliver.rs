//! The way out of an Application Message: from the matches of the trie to outboxes, windows, queues and lanes.
//!
//! A QoS 0 message for Clients of this shard allocates nothing: its bytes are copied from the receive buffer, or from one
//! encoding for each shape, into the outbox of each subscriber.

use super::counters::Dropped;
use super::event::RetainVersion;
use super::outputs::Outputs;
use super::passing::{
    Origin, Routed, Routing, Sending, Subscription, Target, identifiers_of, routing_of,
};
use super::plain::{NOBODY, is_plain};
use super::shard::Shard;
use crate::ids::{ConnectionId, SessionId};
use crate::limits;
use crate::session::inflight::{Acknowledged, Stage};
use crate::session::{Message, Queued};
use crate::wire::reason::ReasonCode;
use crate::wire::{AckKind, PacketId, QoS};
use std::rc::Rc;

impl Shard {
    /// Routes a message to the sessions of this shard, and once to each peer shard that wants it. With `retain`, every peer
    /// gets it.
    pub(super) fn route(
        &mut self,
        routing: &mut Routing<'_>,
        origin: Origin,
        retain: Option<RetainVersion>,
        out: &mut Outputs,
    ) -> Routed {
        let mut matches = std::mem::take(&mut self.matches);
        self.routes.matches(&self.trie, routing.topic, &mut matches);
        self.toil.add(matches.visited);
        let nobody = matches.is_empty();
        let shards = matches.shards;
        let taken = self.deliver_here(routing, &matches.local, origin, out);
        self.matches = matches;
        self.send_to_peers(routing, shards, origin, retain, out);
        if taken || shards != 0 {
            Routed::Taken
        } else if nobody {
            Routed::Nobody
        } else {
            Routed::Refused
        }
    }

    /// Delivers a message or a run to the sessions of this shard. `false`: nobody could take it.
    #[inline]
    pub(super) fn deliver_here(
        &mut self,
        routing: &mut Routing<'_>,
        matches: &[(SessionId, Subscription)],
        origin: Origin,
        out: &mut Outputs,
    ) -> bool {
        match routing.as_came {
            Some(as_came) if as_came.run.packets > 1 => {
                self.deliver_run(routing, &as_came, matches, origin, out);
                true // At QoS 0 nobody is told.
            }
            _ => self.deliver_message(routing, matches, NOBODY, origin, out),
        }
    }

    /// Delivers one message to all but those who were `served` by an earlier routing. `false`: nobody could take it.
    #[inline]
    pub(super) fn deliver_message(
        &mut self,
        routing: &mut Routing<'_>,
        matches: &[(SessionId, Subscription)],
        served: u64,
        origin: Origin,
        out: &mut Outputs,
    ) -> bool {
        self.routings += 1;
        self.shapes.clear();
        let by_sessions = if is_plain(routing, matches) {
            self.deliver_plain(routing, matches, served, origin, out)
                .found
        } else {
            self.deliver_general(routing, matches, origin, out)
        };
        // Whoever wants nothing of it, No Local or at an end, has refused nothing.
        let mut taken =
            by_sessions.unwrap_or_else(|| !matches.is_empty() && self.shares.found_none());
        if !self.shares.found_none() {
            taken |= self.deliver_to_groups(routing, origin, out);
        }
        taken
    }

    /// Delivers whatever the subscriptions ask for. `Some(false)`: no Session could take it; `None`: there was none to take it.
    fn deliver_general(
        &mut self,
        routing: &mut Routing<'_>,
        matches: &[(SessionId, Subscription)],
        origin: Origin,
        out: &mut Outputs,
    ) -> Option<bool> {
        let mut targets = std::mem::take(&mut self.targets);
        targets.clear();
        for (session_id, subscription) in matches {
            let options = subscription.options;
            if options.no_local && origin.session == Some(*session_id) {
                continue; // [v5 MQTT-3.8.3-3]
            }
            let Some(session) = self.sessions.get_mut(*session_id) else {
                self.shares.found(*session_id);
                continue;
            };
            let qos = options.qos.min(routing.qos);
            let (mark, at) = session.route_mark;
            if mark == self.routings {
                let target: &mut Target = &mut targets[at as usize];
                target.qos = target.qos.max(qos);
                target.retain_as_published |= options.retain_as_published;
                target.identifiers.extend(subscription.identifier());
            } else {
                session.route_mark = (self.routings, targets.len() as u32);
                targets.push(Target {
                    session: *session_id,
                    qos,
                    retain_as_published: options.retain_as_published,
                    identifiers: subscription.identifier().into_iter().collect(),
                });
            }
        }
        let mut taken = (!targets.is_empty()).then_some(false);
        for target in &targets {
            let sending = Sending {
                qos: target.qos,
                dup: false,
                retain: routing.retain && target.retain_as_published,
                identifiers: &target.identifiers,
                share: None,
            };
            let delivered = self.deliver(target.session, routing, &sending, origin, out);
            taken = taken.map(|taken| taken || delivered);
        }
        self.targets = targets;
        taken
    }

    /// One delivery: into the outbox, or into the queue. `false`: the queue is full.
    pub(super) fn deliver(
        &mut self,
        session_id: SessionId,
        routing: &mut Routing<'_>,
        sending: &Sending<'_>,
        origin: Origin,
        out: &mut Outputs,
    ) -> bool {
        let Some(session) = self.sessions.get_mut(session_id) else {
            return true;
        };
        let connection = session
            .connection
            .and_then(|id| self.connections.get_mut(id));
        let Some(connection) = connection else {
            return sending.qos == QoS::AtMostOnce || self.enqueue(session_id, routing, sending);
        };
        let id = connection.id;
        let mut taken = true;
        if sending.qos == QoS::AtMostOnce {
            if connection.overfull() {
                self.counters.drop_messages(Dropped::SlowReader, 1);
                return true;
            }
            self.send_publish(id, routing, sending, None);
        } else if session.queue.is_empty()
            && session.inflight.is_resent()
            && session.inflight.count() < connection.window
            && connection.unsent_bytes < limits::OUTBOX_HIGH_BYTES
        {
            self.start_delivery(id, session_id, routing, sending);
        } else {
            taken = self.enqueue(session_id, routing, sending);
        }
        self.pace_if_slow(session_id, id, origin, out);
        taken
    }

    /// Sends a QoS 1 or 2 message for the first time. There must be room in the window.
    fn start_delivery(
        &mut self,
        id: ConnectionId,
        session_id: SessionId,
        routing: &mut Routing<'_>,
        sending: &Sending<'_>,
    ) {
        let message = Rc::clone(routing.message());
        let session = self
            .sessions
            .get_mut(session_id)
            .expect("it is being delivered to");
        let packet_id = session.inflight.start(Stage::Published {
            message,
            qos: sending.qos,
            retain: sending.retain,
            extras: sending.extras(),
        });
        if !self.send_publish(id, routing, sending, Some(packet_id)) {
            self.give_up(session_id, packet_id, sending.qos);
        }
    }

    /// Queues a QoS 1 or 2 message, within the byte limits of the Session and of all Sessions together; what has expired makes room first.
    /// `false`: there is none.
    fn enqueue(
        &mut self,
        session_id: SessionId,
        routing: &mut Routing<'_>,
        sending: &Sending<'_>,
    ) -> bool {
        let item = Queued {
            message: Rc::clone(routing.message()),
            qos: sending.qos,
            retain: sending.retain,
            extras: sending.extras(),
        };
        let bytes = item.bytes();
        let Some(session) = self.sessions.get_mut(session_id) else {
            return false;
        };
        let session_max = self.settings.session_queue_bytes_max as usize;
        let shard_max = self.settings.shard_queue_bytes_max;
        if session.queue.bytes() + bytes > session_max
            || self.queued_bytes + bytes as u64 > shard_max
        {
            for expired in session.queue.take_expired(self.now) {
                self.queued_bytes -= expired.bytes() as u64;
                self.counters.drop_messages(Dropped::Expired, 1);
                self.shares.done(session_id, expired.share());
            }
        }
        // One message always fits an empty queue, however small the limit is set.
        if session.queue.bytes() + bytes > session_max && !session.queue.is_empty() {
            self.counters.drop_messages(Dropped::SessionQueueFull, 1);
            self.shares.done(session_id, sending.share);
            return false;
        }
        if self.queued_bytes + bytes as u64 > shard_max {
            self.counters.drop_messages(Dropped::ShardQueueFull, 1);
            self.shares.done(session_id, sending.share);
            return false;
        }
        self.queued_bytes += bytes as u64;
        session.queue.push(item);
        true
    }

    /// Sends a Session what waits for it, as far as window and outbox allow: what was sent before and is unacknowledged, then the queue,
    /// then replays of retained messages.
    pub(super) fn pump(&mut self, session_id: SessionId) {
        let connection = self.sessions.get(session_id).and_then(|s| s.connection);
        if !connection.is_some_and(|id| self.resend(id, session_id)) {
            return;
        }
        loop {
            let Some(session) = self.sessions.get_mut(session_id) else {
                return;
            };
            let Some(id) = session.connection else { return };
            let Some(connection) = self.connections.get(id) else {
                return;
            };
            if connection.unsent_bytes >= limits::OUTBOX_HIGH_BYTES {
                return;
            }
            if session.inflight.count() >= connection.window || session.queue.is_empty() {
                break;
            }
            let item = session.queue.pop().expect("it is not empty");
            self.queued_bytes -= item.bytes() as u64;
            if item.message.expired(self.now) {
                self.counters.drop_messages(Dropped::Expired, 1);
                self.shares.done(session_id, item.share());
                continue;
            }
            let sending = Sending {
                qos: item.qos,
                dup: false,
                retain: item.retain,
                identifiers: identifiers_of(&item.extras),
                share: item.share(),
            };
            self.with_message(&item.message, |shard, routing| {
                shard.start_delivery(id, session_id, routing, &sending);
            });
        }
        self.replay(session_id);
    }

    /// Sends one retained message because of a SUBSCRIBE: RETAIN 1. [v3.1.1 MQTT-3.3.1-8]
    pub(super) fn send_retained(
        &mut self,
        id: ConnectionId,
        session_id: SessionId,
        message: &Rc<Message>,
        qos: QoS,
        identifiers: &[u32],
    ) {
        let sending = Sending {
            qos: qos.min(message.qos),
            dup: false,
            retain: true,
            identifiers,
            share: None,
        };
        self.with_message(message, |shard, routing| {
            if sending.qos == QoS::AtMostOnce {
                shard.send_publish(id, routing, &sending, None);
            } else {
                shard.start_delivery(id, session_id, routing, &sending);
            }
        });
    }

    /// A routing around a stored message, with no shapes left of another one.
    pub(super) fn with_message(
        &mut self,
        message: &Rc<Message>,
        act: impl FnOnce(&mut Shard, &mut Routing<'_>),
    ) {
        self.clear_shapes();
        let mut routing = routing_of(message);
        act(self, &mut routing);
        self.clear_shapes();
    }

    /// Sends again what is unacknowledged since the last connection, in the first order and as far as window and outbox allow: PUBLISH
    /// with DUP, or PUBREL. `false`: some is left. [v3.1.1 MQTT-4.4.0-1, MQTT-4.6.0-1]
    fn resend(&mut self, id: ConnectionId, session_id: SessionId) -> bool {
        loop {
            let (Some(session), Some(connection)) = (
                self.sessions.get_mut(session_id),
                self.connections.get_mut(id),
            ) else {
                return false;
            };
            if connection.unsent_bytes >= limits::OUTBOX_HIGH_BYTES {
                return false;
            }
            let version = connection.version;
            let Some(delivering) = session.inflight.next_resend(connection.window) else {
                return session.inflight.count() < connection.window;
            };
            let packet_id = delivering.packet_id;
            let Stage::Published {
                message,
                qos,
                retain,
                extras,
            } = &delivering.stage
            else {
                let success = ReasonCode::SUCCESS;
                self.append_ack(id, AckKind::PubRel, version, packet_id, success);
                continue;
            };
            let (message, qos, extras) = (Rc::clone(message), *qos, extras.clone());
            let sending = Sending {
                qos,
                dup: true,
                retain: *retain,
                identifiers: identifiers_of(&extras),
                share: None, // It stands in `inflight` already.
            };
            self.with_message(&message, |shard, routing| {
                if !shard.send_publish(id, routing, &sending, Some(packet_id)) {
                    shard.give_up(session_id, packet_id, qos);
                }
            });
        }
    }

    /// A delivery too large for its Client ends as if it had been made. [v5 MQTT-3.1.2-25]
    fn give_up(&mut self, session_id: SessionId, packet_id: PacketId, qos: QoS) {
        let Some(session) = self.sessions.get_mut(session_id) else {
            return;
        };
        let ended = match qos {
            QoS::ExactlyOnce => session.inflight.refuse(packet_id),
            QoS::AtLeastOnce | QoS::AtMostOnce => session.inflight.acknowledge(packet_id),
        };
        if let Acknowledged::Known(ended) = ended {
            self.shares.done(session_id, ended.share);
        }
    }
}
