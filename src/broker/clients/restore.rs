//! Sessions of before a restart, with what they are owed: as if their Clients had just gone. The store hears nothing of
//! what it has said itself, because it knows a Session again only from [`Clients::finish_restored`] on.

use super::booking::book_message;
use super::owner::Clients;
use crate::broker::change::Change;
use crate::broker::counters::Dropped;
use crate::broker::restored::{RestoredSession, RestoredWill};
use crate::budget::{Refused, Source};
use crate::ids::{ListenerId, OwnerId, Passage, SessionId, StoredSession};
use crate::limits;
use crate::session::inflight::Stage;
use crate::session::{Message, Queued, StoredWill};
use crate::time::Time;
use crate::wire::PacketId;
use std::rc::Rc;

impl Clients {
    /// Names and numbers given from now on are above these. `window_lost`: what the store knew last is lost.
    pub fn start_above(&mut self, session_counter: u64, delivery_number: u64, window_lost: bool) {
        self.window_lost = window_lost;
        self.stored = self.stored.max(session_counter);
        self.last_number = self.last_number.max(delivery_number);
    }

    /// A Session without a connection. `None`: its client id is taken, or memory is short and its owner has had a fair
    /// share; then the store forgets it.
    pub fn restore_session(
        &mut self,
        restored: &RestoredSession,
        will: Option<Box<StoredWill>>,
    ) -> Option<SessionId> {
        let user_name = restored.user_name.as_deref();
        let will_bytes = will.as_ref().map_or(0, |will| will.message.bytes());
        if self.find_session(&restored.client_id).is_some()
            || !self.may_begin(user_name, &restored.client_id, will_bytes, Source::UNKNOWN)
        {
            let session = restored.session;
            self.changes.note(|| Change::SessionEnded { session });
            return None;
        }
        let id = self.add_session(&restored.client_id, user_name, None);
        let ends = match restored.ends_in_s {
            u32::MAX => Time::NEVER,
            seconds => self.now.plus_s(seconds),
        };
        let will_due = self.will_due(restored.will.as_ref());
        let last_packet_id = self.next_assigned() as u16;
        let session = self.sessions.get_mut(id)?;
        session.is_claim = restored.is_claim;
        session.name(user_name, true, ListenerId(0));
        session.expiry_interval_s = restored.expiry_interval_s;
        session.ends = ends;
        session.will = will;
        session.will_due = will_due;
        session.inflight.start_after(last_packet_id);
        let deadline = session.deadline();
        self.session_alarms.set(id.index, deadline);
        self.rebook_session(id);
        Some(id)
    }

    /// When a will of before the restart is published. Who was connected has time to come back.
    fn will_due(&self, will: Option<&RestoredWill>) -> Time {
        will.map_or(Time::NEVER, |will| {
            let connected = || will.delay_interval_s.max(limits::RESTORED_WILL_WAIT_S);
            self.now.plus_s(will.due_in_s.unwrap_or_else(connected))
        })
    }

    /// The will of a Client without a stored Session. Until it is published, or the Client is back, a Session that
    /// nobody resumes keeps it ([`Session::is_will_alone`](crate::session::Session::is_will_alone)). `false` as above.
    pub fn restore_will(
        &mut self,
        name: StoredSession,
        client_id: &str,
        user_name: Option<&str>,
        restored: &RestoredWill,
        will: Box<StoredWill>,
    ) -> bool {
        let taken = self.find_session(client_id).is_some();
        let will_bytes = will.message.bytes();
        if taken || !self.may_begin(user_name, client_id, will_bytes, Source::UNKNOWN) {
            self.changes.note(|| Change::WillGone { session: name });
            return false;
        }
        let id = self.add_session(client_id, user_name, None);
        let due = self.will_due(Some(restored));
        if let Some(session) = self.sessions.get_mut(id) {
            session.name(user_name, true, ListenerId(0));
            session.stored_will = Some(name);
            session.will = Some(will);
            session.will_due = due;
            session.ends = due;
        }
        self.session_alarms.set(id.index, due);
        self.rebook_session(id);
        true
    }

    /// A delivery that was sent before the restart. `false`: its Packet Identifier is in use.
    pub fn restore_in_flight(&mut self, id: SessionId, packet_id: PacketId, stage: Stage) -> bool {
        let Some(session) = self.sessions.get_mut(id) else {
            return false;
        };
        let restored = session.inflight.restore(packet_id, stage);
        self.rebook_session(id);
        restored
    }

    /// A delivery that was queued before the restart, for the end of the queue. `false`: there is no room, and the
    /// store forgets it.
    pub fn restore_queued(&mut self, id: SessionId, name: StoredSession, item: Queued) -> bool {
        let bytes = item.bytes() as u64;
        let Some(session) = self.sessions.get_mut(id) else {
            return false;
        };
        let room = self.settings.session_queue_bytes_max;
        let fits =
            session.queue.is_empty() || session.queue.bytes() as u64 + bytes <= u64::from(room);
        let why = if !fits {
            Some(Dropped::SessionQueueFull)
        } else if !self.book.may_take(session.owner, item.own_bytes()) {
            let owner = session.owner;
            let _ = self.book.refuse(owner, Refused::Delivery, self.now.0);
            Some(Dropped::OverShare)
        } else if self.queued_bytes + item.more_bytes() > self.settings.shard_queue_bytes_max {
            Some(Dropped::ShardQueueFull)
        } else {
            None
        };
        if let Some(why) = why {
            self.counters.drop_messages(why, 1);
            session.queue.note_dropped();
            self.changes.note_unqueued(Some(name), item.number);
            return false;
        }
        self.queued_bytes += item.enter();
        session.queue.push(item);
        self.rebook_session(id);
        true
    }

    /// A QoS 2 message that was received before the restart.
    pub fn restore_received(
        &mut self,
        id: SessionId,
        packet_id: PacketId,
        passage: Option<Passage>,
    ) {
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        match passage {
            Some(passage) => session.received.doubt(packet_id, passage),
            None => {
                session.received.insert(packet_id);
            }
        }
        if self.window_lost {
            session.received.doubt_held(packet_id);
        }
        self.rebook_session(id);
    }

    /// A Session has the delivery of a passage that may come again.
    pub fn restore_passed(&mut self, passage: Passage, session: StoredSession) {
        self.passed.insert((passage, session));
    }

    /// All of a Session is here: from now on the store hears of its changes.
    pub fn finish_restored(&mut self, id: SessionId, name: StoredSession) {
        if let Some(session) = self.sessions.get_mut(id) {
            session.stored = Some(name);
            self.has_stored = true;
        }
    }

    /// Counts a message of before the restart for a Session that is owed it, unless another is.
    pub fn book_restored(&self, id: SessionId, message: &mut Rc<Message>) {
        if let Some(message) = Rc::get_mut(message) {
            self.book_message(id, message);
        }
    }

    /// An account for what nobody here has published.
    pub fn open_owner(&mut self, name: &str) -> OwnerId {
        self.book.open(name, None)
    }

    /// The account stays as long as something is in it.
    pub fn close_owner(&mut self, owner: OwnerId) {
        self.book.close(owner);
    }

    /// Counts a retained message of before the restart. `false`: memory is short.
    pub fn book_retained(&mut self, owner: OwnerId, message: &mut Message) -> bool {
        if !self.book.may_take(owner, message.bytes()) {
            let _ = self.book.refuse(owner, Refused::Message, self.now.0);
            return false;
        }
        book_message(&self.book, self.shards, owner, message);
        true
    }

    /// A subscription of before the restart could not be made, so the store forgets it.
    pub fn note_not_restored(&mut self, session: StoredSession, filter: &str) {
        self.changes.note(|| Change::Unsubscribed {
            session,
            filter: filter.into(),
        });
    }
}
