//! The life of a Session: it begins, is bound to a connection, is left, is taken over, and ends. Only this file changes
//! whether a Session exists, which connection has it, and when it ends.
//!
//! ```text
//!            begin + bind                  leave_session                 due: end
//! (none) ───────────────► connected ─────────────────────► absent ─────────────────► (none)
//!                            ▲  └─ bind of a newcomer ◄─ take_over ─┘ │  Session Expiry Interval, Clean Start
//!                            └──────────────── bind ◄─────────────────┘
//! ```
//!
//! These methods return what others must do next: publish a will, tell groups, take subscriptions out of the trie.

use super::booking::owner_name;
use super::ended_queues::Remains;
use super::owner::Clients;
use super::owner::Concerned;
use crate::broker::change::Change;
use crate::broker::event::Ending;
use crate::broker::passing::{Returned, Subscription};
use crate::broker::violation::Violation;
use crate::budget::Source;
use crate::buffer::account::Booked;
use crate::ids::{ConnectionId, NodeId, SessionId, ShardId, StoredSession};
use crate::invariant::Broken;
use crate::limits;
use crate::session::alias::OutwardAliases;
use crate::session::connection::Aliases;
use crate::session::inflight::Stage;
use crate::session::takeovers::TakeoverLines;
use crate::session::{ConnectRequest, Message, Phase, Session, StoredWill, Takeovers};
use crate::time::Time;
use crate::wire::{QoS, Version};
use std::hash::BuildHasher;
use std::rc::Rc;

/// What is due for a Session without a connection.
#[derive(Default)]
pub struct Due {
    /// The will to publish now.
    pub will: Option<Box<StoredWill>>,
    /// The Session has expired: call [`Clients::end_session`].
    pub ends: bool,
}

/// What an ended Session leaves behind.
pub struct EndedSession {
    /// Where its subscriptions lie in the trie.
    pub filters: Vec<NodeId>,
    /// Counts these, if they are too many for one turn.
    pub filters_booked: Option<Booked>,
    /// Number of deliveries in flight that are lost, apart from those below.
    pub lost: usize,
    /// Messages of Shared Subscriptions for other members: those in flight at QoS 1. What was queued follows, by
    /// [`Clients::next_remains`].
    pub handed_back: Vec<Returned>,
}

/// What became of the connection and the Session that a CONNECT found.
pub struct TakenOver {
    /// Takeovers of this client id up to now, which outlive the Session.
    pub takeovers: Option<Box<Takeovers>>,
    /// What the log says of this takeover.
    pub lines: TakeoverLines,
    /// The connection that has the Session. The caller closes it.
    pub connection: Option<ConnectionId>,
}

impl Clients {
    /// A fresh Session, which a connection is about to take. `user_name`: one that was checked.
    pub fn begin_session(
        &mut self,
        client_id: &str,
        user_name: Option<&str>,
        connection: ConnectionId,
    ) -> SessionId {
        self.add_session(client_id, user_name, Some(connection))
    }

    /// A fresh Session in the tables and in the account book.
    pub(super) fn add_session(
        &mut self,
        client_id: &str,
        user_name: Option<&str>,
        connection: Option<ConnectionId>,
    ) -> SessionId {
        let source = connection.map_or(Source::UNKNOWN, |id| self.source_of(id));
        let source = user_name.is_none().then_some(source);
        let owner = self.book.open(&owner_name(user_name, client_id), source);
        let session = Session::new(client_id, connection, owner);
        let hash = self.hasher.hash_one(client_id);
        let id = self.sessions.add(session);
        self.memory.add_session();
        let (sessions, hasher) = (&self.sessions, &self.hasher);
        self.by_client_id.insert_unique(hash, id, |id| {
            // An entry without its Session, which there is none of, would be found by nobody.
            let session = sessions.get(*id);
            session.map_or(0, |session| hasher.hash_one(&*session.client_id))
        });
        id
    }

    /// Binds the Session to the connection, with what CONNECT asks for. The connection is accepted now. `user_epoch`:
    /// how often users had gone when it was let in.
    ///
    /// The store forgets a Session that will end with this connection, so [`Clients::next_forgotten`] comes next.
    pub fn bind(
        &mut self,
        id: ConnectionId,
        session_id: SessionId,
        request: &ConnectRequest,
        will: Option<Box<StoredWill>>,
        takeovers: Option<Box<Takeovers>>,
        user_epoch: u32,
    ) -> Result<(), Broken> {
        // An unchecked user name does not become the owner of the Session, new or not.
        let checked = self.listener(id).is_some_and(|listener| listener.passwords);
        let source = self.source_of(id);
        let (Some(session), Some(connection)) = (
            self.sessions.get_mut(session_id),
            self.connections.get_mut(id),
        ) else {
            return Err(Broken::new(
                "an accepted connection and its session are here",
            ));
        };
        session.name(request.user_name.as_deref(), checked, connection.listener);
        session.connection = Some(id);
        session.bridge = request.bridge;
        session.user_epoch = user_epoch;
        session.is_claim = false;
        session.ends = Time::NEVER;
        session.will_due = Time::NEVER;
        session.will = will;
        session.takeovers = takeovers;
        session.expiry_interval_s = request.session_expiry_interval_s;
        session.inflight.begin_resend();
        let owner = session.owner;
        if let Some(address) = connection.owner.replace(owner) {
            let charged_bytes = std::mem::take(&mut connection.charged_bytes) as usize;
            self.unaccepted.change(source, charged_bytes, 0);
            let booked_bytes = std::mem::take(&mut connection.booked_bytes);
            self.book.sub(address, booked_bytes);
            self.book.close(address);
        }
        connection.phase = Phase::Connected(session_id);
        connection.note_terms(request);
        connection.since = self.now;
        connection.heard = self.now;
        connection.keep_alive_s = request.keep_alive_s;
        let window = self.settings.inflight_max.min(request.receive_maximum);
        connection.window = window.min(limits::PACKET_ID_MOST);
        if request.version == Version::V5 {
            connection.silent_about_problems = request.silent_about_problems;
            let outward = OutwardAliases::new(request.topic_alias_maximum).map(Box::new);
            connection.aliases = outward.is_some().then(|| {
                Box::new(Aliases {
                    inward: Vec::new(),
                    outward,
                })
            });
        }
        self.book.open_again(owner);
        self.book.place(owner, Some(source));
        self.rebook_connection(id);
        self.rebook_session(session_id);
        self.counters.connects += 1;
        self.note_session(session_id);
        Ok(())
    }

    /// Notes the present state of a Session for the store. Of a Session that ends with its connection, only the will is
    /// noted. No Session begins to outlive its connection later than with the connection that made it.
    fn note_session(&mut self, id: SessionId) {
        if !self.changes.are_wanted() {
            return;
        }
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        if session.expiry_interval_s == 0 {
            if let Some(session) = session.stored.take() {
                self.changes.note(|| Change::SessionEnded { session });
                self.remains.forget_stored(id);
            }
            return self.note_will(id);
        }
        if session.stored.is_none() {
            self.held.note_begun(id, self.sequence);
        }
        let Some(name) = session
            .stored
            .or_else(|| next_name(&mut self.stored, self.id))
        else {
            return;
        };
        session.stored = Some(name);
        self.has_stored = true;
        self.changes.note(|| Change::Session {
            session: name,
            client_id: (&session.client_id).into(),
            user_name: session.user_name().map(Into::into),
            expiry_interval_s: session.expiry_interval_s,
            connected: session.connection.is_some(),
            ends: session.ends,
            will: session.will.clone(),
            will_due: session.will_due,
        });
    }

    /// Notes what has become of the will of a Session that is not stored.
    fn note_will(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        let Some(will) = &session.will else {
            if let Some(session) = session.stored_will.take() {
                self.changes.note(|| Change::WillGone { session });
            }
            return;
        };
        if session.stored_will.is_none()
            && session.connection.is_some()
            && let Some(name) = next_name(&mut self.stored, self.id)
        {
            session.stored_will = Some(name);
            self.changes.note(|| Change::WillSet {
                session: name,
                client_id: (&session.client_id).into(),
                user_name: session.user_name().map(Into::into),
                will: will.clone(),
            });
        }
    }

    /// Another connection asks for this Session. The caller then closes the connection that has it, and with
    /// `clean_start` ends the Session. [v3.1.1 MQTT-3.1.4-2, v5 MQTT-3.1.4-3]
    pub fn take_over(&mut self, id: SessionId, clean_start: bool) -> Option<TakenOver> {
        let now = self.now;
        let session = self.sessions.get_mut(id)?;
        let mut takeovers = session.takeovers.take();
        if session.connection.is_none()
            && session
                .will
                .as_ref()
                .is_some_and(|will| will.delay_interval_s == 0)
        {
            // The broker ended while its Client was connected, and the Client is back.
            session.will_due = Time::NEVER;
            session.will = None;
        }
        if clean_start {
            // The Session ends by this takeover, so a delayed will is due. [v5 3.1.3.2.2]
            session.expiry_interval_s = 0;
        } else if session
            .will
            .as_ref()
            .is_some_and(|will| will.delay_interval_s > 0 && session.expiry_interval_s > 0)
        {
            // The Session is resumed before the Will Delay Interval is over. [v5 MQTT-3.1.3-9]
            session.will_due = Time::NEVER;
            session.will = None;
        }
        let connection = session.connection;
        self.rebook_session(id);
        let lines = match connection {
            Some(_) => takeovers.get_or_insert_default().on_takeover(now),
            None => TakeoverLines::Ordinary,
        };
        Some(TakenOver {
            takeovers,
            lines,
            connection,
        })
    }

    /// The Network Connection of the Session has ended. Decides what becomes of the will and how long the Session is
    /// kept. Returns `true` if the Session goes on without a connection; [`Clients::take_due`] comes next.
    pub fn leave_session(&mut self, id: SessionId, ending: Ending) -> bool {
        let now = self.now;
        let Some(session) = self.sessions.get_mut(id) else {
            return false;
        };
        session.connection = None;
        match &session.will {
            Some(_) if matches!(ending, Ending::Disconnect { with_will: false }) => {
                session.will = None; // [v3.1.1 MQTT-3.14.4-3]
            }
            Some(will) => {
                session.will_due = if session.expiry_interval_s == 0 {
                    now
                } else {
                    now.plus_s(will.delay_interval_s)
                };
            }
            None => {}
        }
        session.ends = match session.expiry_interval_s {
            0 => now,
            u32::MAX => Time::NEVER,
            seconds => now.plus_s(seconds),
        };
        let goes_on = session.ends > now;
        self.rebook_session(id);
        if goes_on {
            self.note_session(id);
        } // Otherwise `end_session` notes the end, when others have got what the Session leaves behind.
        goes_on
    }

    /// Takes what is due for a Session without a connection. Sets its alarm if the Session goes on.
    pub fn take_due(&mut self, id: SessionId) -> Due {
        let Some(session) = self.sessions.get_mut(id) else {
            return Due::default();
        };
        if session.connection.is_some() {
            return Due::default();
        }
        let ends = session.ends <= self.now;
        let mut will = None;
        if session.will_due <= self.now || ends {
            session.will_due = Time::NEVER;
            will = session.will.take();
        }
        let deadline = session.deadline();
        self.rebook_session(id);
        if !ends {
            self.session_alarms.set(id.index, deadline);
            if will.is_some() {
                self.note_session(id);
            }
        }
        Due { will, ends }
    }

    /// Takes the will of a Session that is to end.
    pub fn take_will(&mut self, id: SessionId) -> Option<Box<StoredWill>> {
        let will = self.sessions.get_mut(id)?.will.take();
        self.rebook_session(id);
        will
    }

    /// Makes the Session end with its connection, and its delayed will due with it. Returns that connection, or `None`
    /// if the Session has already ended. [v5 3.1.3.2.2]
    pub fn expire_session(&mut self, id: SessionId) -> Option<Option<ConnectionId>> {
        let session = self.sessions.get_mut(id)?;
        session.expiry_interval_s = 0;
        Some(session.connection)
    }

    /// DISCONNECT changes the Session Expiry Interval. [v5 3.14.2.2.2]
    pub fn set_expiry(&mut self, id: SessionId, seconds: u32) -> Result<(), Violation> {
        let session = self.sessions.get_mut(id);
        let session = session.ok_or_else(|| Broken::new("a connection has its session"))?;
        if session.expiry_interval_s == 0 && seconds != 0 {
            return Err(Violation::SessionExpiryRaised);
        }
        let seconds = seconds.min(self.settings.session_expiry_max_s);
        session.expiry_interval_s = seconds;
        Ok(())
    }

    /// Ends a Session that has no connection: its queue and windows are dropped and its client id is free. Its slot
    /// stays in use until [`Clients::release_session`]. [v3.1.1 MQTT-3.1.2-7]
    pub fn end_session(&mut self, id: SessionId) -> Option<EndedSession> {
        let mut session = self.sessions.remove(id)?;
        self.memory.remove_session();
        if let Some(connection) = session.connection {
            let broken = Broken::new("a session has left its connection before it ends");
            self.note_broken(Concerned::Connection(connection), broken);
        }
        let hash = self.hasher.hash_one(&*session.client_id);
        if let Ok(entry) = self.by_client_id.find_entry(hash, |entry| *entry == id) {
            entry.remove();
        }
        // The queue leaves by parts; see `remains`.
        let queue = std::mem::take(&mut session.queue);
        self.remains.add(Remains {
            session: id,
            stored: None,
            is_forgotten: session.stored.is_some(),
            booked: Booked::new(self.book.account(session.owner), queue.own_bytes()),
            queue,
        });
        let filters = session.filters.take_keys();
        // So many leave the trie over several turns.
        let are_many = filters.len() > limits::FILTERS_AT_ONCE
            || session.filter_bytes > limits::FILTER_BYTES_AT_ONCE * self.shards;
        let filters_booked =
            are_many.then(|| Booked::new(self.book.account(session.owner), session.filter_bytes));
        self.book.sub(session.owner, session.booked_bytes);
        self.book.close(session.owner);
        if let Some(session) = session.stored {
            self.changes.note(|| Change::SessionEnded { session });
            self.remains.forget_stored(id);
        }
        if let Some(session) = session.stored_will {
            self.changes.note(|| Change::WillGone { session });
        }
        // The store has forgotten them with their Session.
        let returned = |share, message: &Rc<Message>| Returned {
            share,
            message: Rc::clone(message),
            given_back: None,
            came: None,
        };
        // A QoS 2 message that was sent once may go to no other Client. [v5 MQTT-4.8.2-4, MQTT-4.8.2-5]
        let mut handed_back = Vec::new();
        for delivering in session.inflight.iter() {
            if let Stage::Published {
                message,
                qos: QoS::AtLeastOnce,
                extras: Some(extras),
                ..
            } = &delivering.stage
                && let Some(share) = extras.share
            {
                handed_back.push(returned(share, message));
            }
        }
        let under_way = session.inflight.count() - handed_back.len();
        Some(EndedSession {
            filters,
            filters_booked,
            lost: under_way,
            handed_back,
        })
    }

    /// Nothing names the slot of the ended Session any more, so it may be reused.
    pub fn release_session(&mut self, id: SessionId) {
        self.sessions.release(id);
    }

    /// The Session has subscribed, or changed the options of a subscription. `node` is where a new subscription lies in
    /// the trie.
    pub fn note_subscribed(
        &mut self,
        id: SessionId,
        node: Option<NodeId>,
        filter: &str,
        subscription: Subscription,
    ) {
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        let new = node.is_some();
        if let Some(node) = node {
            session.filters.insert(node, ());
        }
        if let Some(session) = session.stored {
            self.changes.note(|| Change::Subscribed {
                session,
                filter: filter.into(),
                options: subscription.options,
                identifier: subscription.identifier(),
            });
        }
        if new {
            self.note_filter_bytes(id, filter, true);
        }
    }

    /// The Session has become a member of a Shared Subscription.
    pub fn note_membership(&mut self, id: SessionId, filter: &str) {
        if let Some(session) = self.sessions.get_mut(id) {
            session.groups += 1;
        }
        self.note_filter_bytes(id, filter, true);
    }

    /// The Session has unsubscribed. `node` is where the subscription lay in the trie.
    pub fn note_unsubscribed(&mut self, id: SessionId, node: Option<NodeId>, filter: &str) {
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        match node {
            Some(node) => {
                session.filters.remove(node);
            }
            None => session.groups = session.groups.saturating_sub(1),
        }
        if let Some(session) = session.stored {
            self.changes.note(|| Change::Unsubscribed {
                session,
                filter: filter.into(),
            });
        }
        self.note_filter_bytes(id, filter, false);
    }
}

/// The name of a Session, a will or a passage that the store does not know yet.
pub(super) fn next_name(stored: &mut u64, shard: ShardId) -> Option<StoredSession> {
    *stored += 1;
    StoredSession::new(*stored, shard)
}
