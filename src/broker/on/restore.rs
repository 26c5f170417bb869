//! What a store gives back at the start: Sessions with their subscriptions and deliveries, retained messages, wills.
//!
//! Filters and memberships go to the peers as those of a SUBSCRIBE do, retained messages as those of a PUBLISH. When
//! every peer has answered for all of it, `Output::Restored` says so: then a message published anywhere finds every
//! subscription of this shard.

use crate::broker::event::{Output, PeerMessage};
use crate::broker::happening::{Happening, LogLevel};
use crate::broker::outputs::Outputs;
use crate::broker::passing::{RetainVersion, Subscription, routing_of};
use crate::broker::restored::{
    Restored, RestoredDelivery, RestoredMessage, RestoredPart, RestoredSession, RestoredWill,
};
use crate::broker::restoring::Restoring;
use crate::broker::shard::Shard;
use crate::ids::{SessionId, StoredSession};
use crate::session::inflight::Stage;
use crate::session::queue::Extras;
use crate::session::{Message, Queued, StoredWill};
use crate::time::Time;
use crate::wire::{PacketId, QoS, TopicName};
use std::rc::Rc;

impl Shard {
    /// The next chunk.
    pub(in crate::broker) fn on_restored(&mut self, restored: Restored, out: &mut Outputs) {
        let mut memory = self.restoring.take().unwrap_or_default();
        for part in restored.parts {
            self.restore_part(&mut memory, part, out);
        }
        if restored.last {
            self.finish_restoring(&mut memory, out);
        }
        self.restoring = Some(memory);
        self.report_restored(out);
    }

    fn finish_restoring(&mut self, memory: &mut Restoring, out: &mut Outputs) {
        for (name, session) in std::mem::take(&mut memory.sessions) {
            self.clients.finish_restored(session, name);
            // Its Client is not here.
            self.tell_groups(session, false, out);
        }
        memory.messages.clear();
        if let Some(owner) = memory.retained_owner.take() {
            self.clients.close_owner(owner);
        }
        let losses = memory.losses;
        if losses.any() {
            out.tell(self.logs, LogLevel::Error, || Happening::NotRestored {
                shard: self.id,
                losses,
            });
        }
        if self.clients.has_stored() {
            self.peers.tell_stores(out);
        }
        let sequence = self.peers.ask_in_force(out);
        memory.awaited = Some((sequence, self.topics.members().last_ticket()));
    }

    /// Says that everything is in force, once it is.
    pub(in crate::broker) fn report_restored(&mut self, out: &mut Outputs) {
        let awaited = self.restoring.as_ref().and_then(|memory| memory.awaited);
        let Some((sequence, ticket)) = awaited else {
            return;
        };
        if self.peers.in_force() >= sequence && self.topics.members().has_joined(ticket) {
            self.restoring = None;
            out.push(Output::Restored);
        }
    }

    fn restore_part(&mut self, memory: &mut Restoring, part: RestoredPart, out: &mut Outputs) {
        match part {
            RestoredPart::Head(head) => {
                self.clients.start_above(
                    head.session_counter,
                    head.delivery_number,
                    head.window_lost,
                );
                self.peers.start_above(head.retain_clock);
            }
            RestoredPart::Session(session) => match self.restore_session(&session) {
                Some(id) => {
                    memory.sessions.insert(session.session, id);
                }
                None => memory.losses.sessions += 1,
            },
            RestoredPart::Subscription {
                session,
                filter,
                options,
                identifier,
            } => {
                let subscription = Subscription::new(options, identifier);
                let id = memory.sessions.get(&session);
                // A Session that was lost has lost its subscriptions with it.
                if let Some(id) = id
                    && self.restore_subscription(*id, session, &filter, subscription, out)
                {
                    return;
                }
                memory.losses.subscriptions += 1;
            }
            RestoredPart::Message { id, message } => match self.message_of(&message) {
                Some(message) => {
                    memory.messages.insert(id, Rc::new(message));
                }
                None => memory.losses.malformed += 1,
            },
            RestoredPart::InFlight {
                session,
                packet_id,
                delivery,
            } => {
                if !self.restore_in_flight(memory, session, packet_id, delivery) {
                    memory.losses.deliveries += 1;
                }
            }
            RestoredPart::Queued { session, delivery } => {
                if !self.restore_queued(memory, session, delivery) {
                    memory.losses.deliveries += 1;
                }
            }
            RestoredPart::Received {
                session,
                packet_id,
                passage,
            } => {
                if let Some(id) = memory.sessions.get(&session) {
                    self.clients.restore_received(*id, packet_id, passage);
                }
            }
            RestoredPart::Passed { passage, session } => {
                self.clients.restore_passed(passage, session);
            }
            RestoredPart::Retained { message, version } => {
                self.restore_retained(memory, &message, version, out);
            }
            RestoredPart::Will {
                session,
                client_id,
                user_name,
                will,
            } => {
                let restored = self.will_of(&will).is_some_and(|stored| {
                    let user_name = user_name.as_deref();
                    self.clients
                        .restore_will(session, &client_id, user_name, &will, stored)
                });
                memory.losses.wills += u64::from(!restored);
            }
        }
    }

    fn restore_session(&mut self, session: &RestoredSession) -> Option<SessionId> {
        let will = session.will.as_ref().and_then(|will| self.will_of(will));
        self.clients.restore_session(session, will)
    }

    /// As SUBSCRIBE does, but nobody is told of retained messages.
    fn restore_subscription(
        &mut self,
        id: SessionId,
        name: StoredSession,
        filter: &str,
        subscription: Subscription,
        out: &mut Outputs,
    ) -> bool {
        let subscribed = self.subscribe(id, filter, subscription, out);
        if subscribed.is_err() {
            self.clients.note_not_restored(name, filter);
        }
        subscribed.is_ok()
    }

    fn restore_in_flight(
        &mut self,
        memory: &mut Restoring,
        name: StoredSession,
        packet_id: PacketId,
        delivery: Option<RestoredDelivery>,
    ) -> bool {
        let Some(id) = memory.sessions.get(&name).copied() else {
            return false;
        };
        let stage = match delivery {
            None => Stage::Released,
            Some(delivery) => {
                let Some(item) = self.queued_of(memory, id, &delivery) else {
                    return false;
                };
                Stage::Published {
                    message: item.message,
                    qos: item.qos,
                    retain: item.retain,
                    extras: item.extras,
                }
            }
        };
        self.clients.restore_in_flight(id, packet_id, stage)
    }

    fn restore_queued(
        &mut self,
        memory: &mut Restoring,
        name: StoredSession,
        delivery: RestoredDelivery,
    ) -> bool {
        let Some(id) = memory.sessions.get(&name).copied() else {
            return false;
        };
        let item = self.queued_of(memory, id, &delivery);
        item.is_some_and(|item| self.clients.restore_queued(id, name, item))
    }

    /// A delivery with its message, which counts for the first Session that is owed it.
    fn queued_of(
        &self,
        memory: &mut Restoring,
        id: SessionId,
        delivery: &RestoredDelivery,
    ) -> Option<Queued> {
        let message = memory.messages.get_mut(&delivery.message)?;
        self.clients.book_restored(id, message);
        let identifiers = delivery.identifiers.as_slice();
        let extras = || {
            Box::new(Extras {
                identifiers: identifiers.into(),
                share: None,
            })
        };
        (delivery.qos > QoS::AtMostOnce).then(|| Queued {
            number: delivery.number,
            message: Rc::clone(message),
            qos: delivery.qos,
            retain: delivery.retain,
            extras: (!identifiers.is_empty()).then(extras),
        })
    }

    /// A retained message, here and at the peers. It counts for nobody in particular: who published it is not known any
    /// more.
    fn restore_retained(
        &mut self,
        memory: &mut Restoring,
        restored: &RestoredMessage,
        version: RetainVersion,
        out: &mut Outputs,
    ) {
        let Some(mut message) = self
            .message_of(restored)
            .filter(|m| !m.payload().is_empty())
        else {
            memory.losses.malformed += 1;
            return;
        };
        let owner = *memory.retained_owner.get_or_insert_with(|| {
            self.clients
                .open_owner("retained messages of before the start")
        });
        if !self.clients.book_retained(owner, &mut message) {
            memory.losses.retained += 1;
            self.topics.note_not_restored(message.topic(), version);
            return;
        }
        self.peers.start_above(version.clock);
        let message = Rc::new(message);
        self.topics.restore(&mut routing_of(&message), version);
        for to in self.peers.others() {
            let message = PeerMessage::Publish {
                message: (*message).clone(),
                origin: None,
                retain: Some(version),
                live: false,
                needs: false,
                passage: None,
            };
            out.push(Output::Peer { to, message });
        }
    }

    /// `None`: its topic is no Topic Name.
    fn message_of(&self, restored: &RestoredMessage) -> Option<Message> {
        let now = self.turn.now();
        let expires = restored.expires_in_s.map(|seconds| now.plus_s(seconds));
        Some(Message::new(
            TopicName::new(&restored.topic).ok()?,
            &restored.passed_on,
            &restored.payload,
            restored.qos,
            restored.retain,
            expires.unwrap_or(Time::NEVER),
        ))
    }

    fn will_of(&self, restored: &RestoredWill) -> Option<Box<StoredWill>> {
        Some(Box::new(StoredWill {
            message: self.message_of(&restored.message)?,
            delay_interval_s: restored.delay_interval_s,
            message_expiry_interval_s: restored.message_expiry_interval_s,
        }))
    }
}
