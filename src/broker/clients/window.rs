//! QoS 1 and 2 towards one Session: what is queued, and what is in flight. Only this file changes them: the queue in
//! `enqueue` and `take_queued`, the window in `start_delivery` and `acknowledge`.

use super::booking::{book_session, book_window, kept_message};
use super::ended_queues::Remains;
use super::owner::Clients;
use super::owner::Concerned;
use super::shapes::bytes_at_most;
use crate::broker::change::{Change, StoredDelivery};
use crate::broker::counters::Dropped;
use crate::broker::outputs::Outputs;
use crate::broker::passing::{GivenBack, Origin, Routing, Sending, identifiers_of, routing_of};
use crate::broker::rights::Rights;
use crate::budget::Refused;
use crate::buffer::account::Booked;
use crate::config::Settings;
use crate::ids::{ConnectionId, Passage, SessionId, StoredSession};
use crate::limits;
use crate::session::inflight::{Acknowledged, Stage};
use crate::session::queue::Share;
use crate::session::{Message, Queued, Session};
use crate::wire::reason::ReasonCode;
use crate::wire::{AckKind, PacketId, QoS};
use std::rc::Rc;

/// The acknowledgement of a Client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// PUBACK.
    Acknowledged,
    /// PUBREC with a code below 0x80.
    Received,
    /// PUBREC that refuses.
    Refused,
    /// PUBCOMP.
    Completed,
}

impl Clients {
    /// Puts one delivery into the outbox or into the queue. Returns `false` if the queue is full.
    pub fn deliver(
        &mut self,
        session_id: SessionId,
        routing: &mut Routing<'_>,
        sending: &Sending<'_>,
        origin: Origin,
        out: &mut Outputs,
    ) -> bool {
        match self.passage {
            Some(passage) if sending.qos > QoS::AtMostOnce => {
                self.deliver_passing(passage, session_id, routing, sending, origin, out)
            }
            _ => self.deliver_one(session_id, routing, sending, origin, out),
        }
    }

    /// The message is one of QoS 2 that crosses, by this name.
    #[cold]
    fn deliver_passing(
        &mut self,
        passage: Passage,
        session_id: SessionId,
        routing: &mut Routing<'_>,
        sending: &Sending<'_>,
        origin: Origin,
        out: &mut Outputs,
    ) -> bool {
        let passing = self.passing(passage, session_id);
        if passing.is_some_and(|passing| self.passed.contains(&passing)) {
            return true; // It has it since before the restart.
        }
        let taken = self.deliver_one(session_id, routing, sending, origin, out);
        if let Some((passage, session)) = passing.filter(|_| taken) {
            // The store is told who has a QoS 2 message that crosses.
            self.changes.note(|| Change::Passed { passage, session });
        }
        taken
    }

    /// What the store calls a delivery of this passage to a Session; `None` if it keeps nothing of the Session.
    fn passing(&self, passage: Passage, id: SessionId) -> Option<(Passage, StoredSession)> {
        Some((passage, self.sessions.get(id)?.stored?))
    }

    #[inline(always)]
    fn deliver_one(
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
            let waits = sending.qos > QoS::AtMostOnce || self.settings.queue_qos0;
            return !waits || self.enqueue(session_id, routing, sending);
        };
        let id = connection.id;
        let mut taken = true;
        // After this message it may have more unsent than it should, or its Session more in the queue.
        let unsent_bytes_most = connection.unsent_bytes + bytes_at_most(routing, sending);
        let mut may_be_slow =
            unsent_bytes_most > limits::OUTBOX_HIGH_BYTES || !session.queue.is_empty();
        if sending.qos == QoS::AtMostOnce {
            if connection.overfull() {
                self.counters.drop_messages(Dropped::SlowReader, 1);
                return true;
            }
            self.send_publish(id, routing, sending, None);
        } else if session.queue.is_empty()
            && session.inflight.may_start()
            && session.inflight.count() < usize::from(connection.window)
            && bytes_allow(session, &self.settings)
            && connection.unsent_bytes < limits::OUTBOX_HIGH_BYTES
        {
            self.start_delivery(id, session_id, routing, sending, None);
        } else {
            taken = self.enqueue(session_id, routing, sending);
            may_be_slow = true;
        }
        if may_be_slow {
            self.pace_if_slow(session_id, id, origin, out);
        }
        taken
    }

    /// The same for a stored message, whose encoding is shared with no other delivery.
    pub fn deliver_stored(
        &mut self,
        session: SessionId,
        message: &Rc<Message>,
        sending: &Sending<'_>,
        origin: Origin,
        out: &mut Outputs,
    ) -> bool {
        self.deliver(session, &mut routing_of(message), sending, origin, out)
    }

    /// Sends one retained message because of a SUBSCRIBE: RETAIN 1. There must be room ([`Clients::replay_room`]).
    /// [v3.1.1 MQTT-3.3.1-8]
    pub fn send_retained(
        &mut self,
        session_id: SessionId,
        message: &Rc<Message>,
        qos: QoS,
        identifiers: &[u32],
    ) {
        let connection = self.sessions.get(session_id).and_then(|s| s.connection);
        let Some(id) = connection else { return };
        let sending = Sending {
            qos: match self.settings.upgrade_qos {
                true => qos,
                false => qos.min(message.qos),
            },
            dup: false,
            retain: true,
            identifiers,
            share: None,
            alone: true,
        };
        let mut routing = routing_of(message);
        if sending.qos == QoS::AtMostOnce {
            self.send_publish(id, &mut routing, &sending, None);
        } else {
            self.start_delivery(id, session_id, &mut routing, &sending, None);
        }
    }

    /// A retained message of this QoS may be sent to the Session now: its Client is connected, its queue is empty, and
    /// window and outbox have room.
    ///
    /// The queue goes first, and so does what waits for the store: a live message there is older than the present
    /// retained message, or the same, and must not come after it.
    pub fn replay_room(&self, session_id: SessionId, qos: QoS) -> bool {
        let Some(session) = self.sessions.get(session_id) else {
            return false;
        };
        let Some(connection) = session.connection.and_then(|id| self.connections.get(id)) else {
            return false;
        };
        let window_open = session.inflight.count() < usize::from(connection.window)
            && bytes_allow(session, &self.settings);
        session.queue.is_empty()
            && connection.unsent_bytes < limits::OUTBOX_HIGH_BYTES
            && match qos {
                QoS::AtMostOnce if !self.settings.upgrade_qos => !session.inflight.has_fresh(),
                _ => session.inflight.may_start() && window_open,
            }
    }

    /// Sends a QoS 1 or 2 message for the first time. There must be room in the window.
    ///
    /// A QoS 2 message of a stored Session leaves when the store has kept its Packet Identifier: after a restart the
    /// Client would take it for another message under another identifier. [v5 MQTT-4.3.3-2]
    fn start_delivery(
        &mut self,
        id: ConnectionId,
        session_id: SessionId,
        routing: &mut Routing<'_>,
        sending: &Sending<'_>,
        number: Option<u64>,
    ) {
        let message = Rc::clone(kept_message(
            &self.book,
            &self.sessions,
            self.shards,
            routing,
        ));
        let Some(session) = self.sessions.get_mut(session_id) else {
            return;
        };
        let before = session.inflight.own_bytes();
        let after = match session.stored {
            Some(_) if sending.qos == QoS::ExactlyOnce => self.sequence,
            _ => 0,
        };
        let stage = Stage::Published {
            message,
            qos: sending.qos,
            retain: sending.retain,
            extras: sending.extras(),
        };
        let (packet_id, now) = match session.inflight.start(stage, after) {
            Ok(started) => started,
            Err(broken) => return self.note_broken(Concerned::Session(session_id), broken),
        };
        if let Some(session) = session.stored {
            let queued = number.is_some();
            let number = number.unwrap_or_else(|| {
                self.last_number += 1;
                self.last_number
            });
            self.changes.note(|| Change::Sent {
                session,
                packet_id,
                number,
                queued,
                delivery: StoredDelivery {
                    message: Rc::clone(routing.message()),
                    qos: sending.qos,
                    retain: sending.retain,
                    identifiers: sending.identifiers.into(),
                },
            });
        }
        if number.is_some() {
            book_session(&mut self.book, session); // It has left the queue.
        } else {
            book_window(&mut self.book, session, before);
        }
        if !now {
            self.held.note_fresh(after, session_id);
        } else if !self.send_publish(id, routing, sending, Some(packet_id)) {
            self.give_up(session_id, packet_id, sending.qos);
        }
    }

    /// Queues a QoS 1 or 2 message within the byte limits of the Session and of all Sessions together. Expired messages
    /// make room first. Returns `false` if there is no room.
    fn enqueue(
        &mut self,
        session_id: SessionId,
        routing: &mut Routing<'_>,
        sending: &Sending<'_>,
    ) -> bool {
        let queued = self.try_enqueue(session_id, routing, sending);
        self.rebook_session(session_id);
        queued
    }

    fn try_enqueue(
        &mut self,
        session_id: SessionId,
        routing: &mut Routing<'_>,
        sending: &Sending<'_>,
    ) -> bool {
        let item = Queued {
            number: self.last_number + 1,
            message: Rc::clone(kept_message(
                &self.book,
                &self.sessions,
                self.shards,
                routing,
            )),
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
        let is_full = |session: &Session| {
            let most = self.settings.queued_max;
            most.is_some_and(|most| session.queue.count() >= most as usize)
        };
        if session.queue.bytes() + bytes > session_max
            || is_full(session)
            || self.queued_bytes + item.more_bytes() > shard_max
        {
            for expired in session.queue.take_expired(self.now) {
                self.queued_bytes -= expired.leave();
                self.counters.drop_messages(Dropped::Expired, 1);
                self.changes.note_unqueued(session.stored, expired.number);
                if let Some(share) = expired.share() {
                    self.ended.push((session_id, share));
                }
            }
        }
        // One message always fits an empty queue, however small the limit is set.
        let no_room = session.queue.bytes() + bytes > session_max || is_full(session);
        if no_room && !session.queue.is_empty() {
            self.counters.drop_messages(Dropped::SessionQueueFull, 1);
            session.queue.note_dropped();
            self.note_ended(session_id, sending.share);
            return false;
        }
        if !self.book.may_take(session.owner, item.own_bytes()) {
            self.counters.drop_messages(Dropped::OverShare, 1);
            session.queue.note_dropped();
            let _ = self
                .book
                .refuse(session.owner, Refused::Delivery, self.now.0);
            self.note_ended(session_id, sending.share);
            return false;
        }
        if self.queued_bytes + item.more_bytes() > shard_max {
            self.counters.drop_messages(Dropped::ShardQueueFull, 1);
            session.queue.note_dropped();
            self.note_ended(session_id, sending.share);
            return false;
        }
        self.queued_bytes += item.enter();
        self.last_number += 1;
        if let Some(session) = session.stored {
            self.changes.note(|| Change::Queued {
                session,
                number: item.number,
                delivery: stored_delivery(&item),
            });
        }
        session.queue.push(item);
        true
    }

    /// A message for the Session has expired on its way here.
    pub fn drop_expired(&mut self, session: SessionId, share: Option<Share>) {
        self.counters.drop_messages(Dropped::Expired, 1);
        self.note_ended(session, share);
    }

    /// Takes the messages of the groups that `of` accepts out of a Session's queue: [`Clients::next_remains`] hands
    /// them out.
    pub fn take_queued(&mut self, id: SessionId, of: impl Fn(Share) -> bool) {
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        let queue = session.queue.take_shared(of);
        if queue.is_empty() {
            return;
        }
        self.remains.add(Remains {
            session: id,
            stored: session.stored,
            is_forgotten: false,
            booked: Booked::new(self.book.account(session.owner), queue.own_bytes()),
            queue,
        });
        self.rebook_session(id);
    }

    /// Something is left to be sent to a Session: again, or out of its queue.
    #[inline]
    pub fn has_waiting(&self, session: SessionId) -> bool {
        let session = self.sessions.get(session);
        session.is_some_and(|session| !session.queue.is_empty() || !session.inflight.is_resent())
    }

    /// Sends what waits for a Session, as far as window and outbox allow: first the unacknowledged messages of its last
    /// connection, then the queue. Returns `true` if the outbox has room left, so retained messages may follow.
    ///
    /// What the Client may not read (any more) is dropped.
    pub fn drain(&mut self, session_id: SessionId, rights: &Rights) -> bool {
        let connection = self.sessions.get(session_id).and_then(|s| s.connection);
        if !connection.is_some_and(|id| self.resend(id, session_id, rights)) {
            return false;
        }
        loop {
            let Some(session) = self.sessions.get_mut(session_id) else {
                return false;
            };
            let Some(id) = session.connection else {
                return false;
            };
            let Some(connection) = self.connections.get(id) else {
                return false;
            };
            if connection.unsent_bytes >= limits::OUTBOX_HIGH_BYTES {
                return false;
            }
            if session.inflight.count() >= usize::from(connection.window)
                || !bytes_allow(session, &self.settings)
            {
                return true;
            }
            let Some(item) = session.queue.pop() else {
                return true;
            };
            self.queued_bytes -= item.leave();
            let stored = session.stored;
            let lost = if item.message.expired(self.now) {
                Some(Dropped::Expired)
            } else if !self.may_read(session_id, rights, item.message.topic()) {
                Some(Dropped::Denied)
            } else {
                None
            };
            if let Some(why) = lost {
                self.changes.note_unqueued(stored, item.number);
                self.counters.drop_messages(why, 1);
                self.note_ended(session_id, item.share());
                self.rebook_session(session_id);
                continue;
            }
            let sending = Sending {
                qos: item.qos,
                dup: false,
                retain: item.retain,
                identifiers: identifiers_of(&item.extras),
                share: item.share(),
                alone: true,
            };
            if item.qos == QoS::AtMostOnce {
                self.changes.note_unqueued(stored, item.number);
                self.send_publish(id, &mut routing_of(&item.message), &sending, None);
                self.rebook_session(session_id);
                continue;
            }
            let mut routing = routing_of(&item.message);
            self.start_delivery(id, session_id, &mut routing, &sending, Some(item.number));
        }
    }

    /// Sends the unacknowledged packets of the last connection again, PUBLISH with DUP or PUBREL, in their first order
    /// and as far as window and outbox allow, then what has waited for the store. Returns `false` if nothing new may
    /// start. [v3.1.1 MQTT-4.4.0-1, MQTT-4.6.0-1]
    fn resend(&mut self, id: ConnectionId, session_id: SessionId, rights: &Rights) -> bool {
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
            let window = usize::from(connection.window);
            let Some((delivering, again)) = session.inflight.next_resend(window, self.kept) else {
                return session.inflight.may_start() && session.inflight.count() < window;
            };
            let packet_id = delivering.packet_id;
            let Stage::Published {
                message,
                qos,
                retain,
                extras,
            } = &delivering.stage
            else {
                // The store may not have kept yet that PUBREC came.
                let after = self.state_of(session_id);
                let success = ReasonCode::SUCCESS;
                self.append_ack(id, AckKind::PubRel, version, packet_id, success, after);
                continue;
            };
            let (message, qos, extras) = (Rc::clone(message), *qos, extras.clone());
            let retain = *retain;
            // The rules may be others by now, and so may be the Client.
            if !self.may_read(session_id, rights, message.topic()) {
                self.counters.drop_messages(Dropped::Denied, 1);
                self.give_up(session_id, packet_id, qos);
                continue;
            }
            let sending = Sending {
                qos,
                dup: again,
                retain,
                identifiers: identifiers_of(&extras),
                share: None, // It stands in `inflight` already.
                alone: true,
            };
            let mut routing = routing_of(&message);
            if !self.send_publish(id, &mut routing, &sending, Some(packet_id)) {
                self.give_up(session_id, packet_id, qos);
            }
        }
    }

    /// A delivery that is too large for its Client ends as if it were complete. [v5 MQTT-3.1.2-25]
    fn give_up(&mut self, session: SessionId, packet_id: PacketId, qos: QoS) {
        let progress = match qos {
            QoS::ExactlyOnce => Progress::Refused,
            QoS::AtLeastOnce | QoS::AtMostOnce => Progress::Acknowledged,
        };
        self.acknowledge(session, packet_id, progress);
    }

    /// The Client has acknowledged a delivery. The delivery ends, or at QoS 2 goes on to its second half. Returns
    /// `Unknown` if no delivery of the Session has this Packet Identifier.
    pub fn acknowledge(
        &mut self,
        session_id: SessionId,
        packet_id: PacketId,
        progress: Progress,
    ) -> Acknowledged {
        let Some(session) = self.sessions.get_mut(session_id) else {
            return Acknowledged::Unknown;
        };
        let before = session.inflight.own_bytes();
        let acknowledged = match progress {
            Progress::Acknowledged => session.inflight.acknowledge(packet_id),
            Progress::Received => session.inflight.receive(packet_id),
            Progress::Refused => session.inflight.refuse(packet_id),
            Progress::Completed => session.inflight.complete(packet_id),
        };
        if let Acknowledged::Known(ended) = acknowledged {
            if let Some(session) = session.stored {
                self.changes.note(|| match progress {
                    Progress::Received => Change::Released { session, packet_id },
                    _ => Change::Done { session, packet_id },
                });
            }
            book_window(&mut self.book, session, before);
            self.note_ended(session_id, ended.share);
        }
        acknowledged
    }
}

impl Clients {
    /// A message is under way again that a member of its group has given back.
    #[inline]
    pub fn begin_again(&mut self, given_back: Option<GivenBack>) {
        self.given_back = given_back;
    }

    /// It goes on to another shard, which tells the store.
    #[inline]
    pub fn take_given_back(&mut self) -> Option<GivenBack> {
        self.given_back.take()
    }

    /// A member of this shard has it now, or nobody gets it: the store forgets that the other one had it.
    #[inline]
    pub fn end_again(&mut self) {
        if let Some(GivenBack { session, number }) = self.given_back.take() {
            self.changes.note_unqueued(Some(session), number);
        }
    }
}

/// What a store knows of a queued delivery.
pub(super) fn stored_delivery(item: &Queued) -> StoredDelivery {
    StoredDelivery {
        message: Rc::clone(&item.message),
        qos: item.qos,
        retain: item.retain,
        identifiers: identifiers_of(&item.extras).into(),
    }
}

/// A delivery of QoS 1 or 2 may start, as far as the operator limits the bytes that are in flight.
#[inline]
fn bytes_allow(session: &Session, settings: &Settings) -> bool {
    match settings.inflight_bytes_max {
        None => true,
        Some(most) => (session.inflight.payload_bytes() as u64) < most,
    }
}
