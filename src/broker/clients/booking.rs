//! What Clients hold, for the account book: each connection and each Session is booked as a sum that is told in one
//! function here, anew whenever a part of it has changed. Payloads count themselves, for who published them.

use super::owner::Clients;
use crate::broker::happening::{Happening, LogLevel};
use crate::broker::outputs::Outputs;
use crate::broker::passing::Routing;
use crate::broker::slots::Slots;
use crate::budget::owner::OwnerReport;
use crate::budget::sizes::{filter_bytes, retained_bytes};
use crate::budget::{Book, Refused, Source};
use crate::buffer::account::{Account, Arc, Booked};
use crate::ids::{ConnectionId, OwnerId, SessionId};
use crate::limits;
use crate::session::{Connection, Message, Phase, Session};
use crate::time::Time;
use hashbrown::HashMap;
use std::rc::Rc;

/// The owner of what a Client holds: its user; without a checked user name, its client id.
pub fn owner_name(user_name: Option<&str>, client_id: &str) -> String {
    match user_name {
        Some(user_name) => format!("user {user_name}"),
        None => format!("client id {client_id}"),
    }
}

/// What a connection takes that has little under way.
const BOOKED_AT_LEAST: usize = limits::CONNECTION_BYTES_TYPICAL as usize;

/// What a connection takes, where it takes more than most do.
///
/// Payloads in its outbox count where they were published; an outbox with some of them has at most
/// [`limits::OUTBOX_BYTES_MAX`] of its own.
#[inline]
fn connection_bytes(connection: &Connection) -> usize {
    let unsent = match (connection.unsent_bytes, connection.shared_bytes()) {
        (unsent, _) if unsent < limits::BLOCK_BYTES => 0,
        (unsent, 0) => unsent,
        (unsent, _) => unsent.min(limits::OUTBOX_BYTES_MAX),
    };
    let received = connection.received.capacity();
    let received = if received < limits::BLOCK_BYTES {
        0
    } else {
        received
    };
    let link = connection.link_bytes as usize;
    let aliases = connection
        .aliases
        .as_ref()
        .map_or(0, |aliases| aliases.bytes());
    let checked = match &connection.phase {
        Phase::Authenticating(request) => request.bytes_while_checked(),
        Phase::AwaitConnect | Phase::Connected(_) | Phase::Closing { .. } => 0,
    };
    BOOKED_AT_LEAST + unsent + received + link + aliases + checked
}

/// What a connection takes is what is booked of it: nearly always, as it has little under way and had before.
#[inline]
pub(super) fn is_booked(connection: &Connection) -> bool {
    let little = connection.unsent_bytes < limits::BLOCK_BYTES
        && connection.received.capacity() < limits::BLOCK_BYTES;
    (little && !connection.booked_more)
        || connection.owner.is_none()
        || connection_bytes(connection) == connection.booked_bytes
}

/// What a Session takes.
pub fn session_bytes(session: &Session) -> usize {
    let given_name = session.given_name.as_deref().map_or(0, str::len);
    let rights = session.rights.as_deref().map_or(0, size_of_val);
    let will = session.will.as_ref().map_or(0, |will| {
        size_of_val(&**will) + limits::MESSAGE_BYTES + will.message.bytes()
    });
    limits::SESSION_BYTES
        + session.client_id.len()
        + given_name
        + rights
        + will
        + session.filter_bytes
        + session.queue.own_bytes()
        + session.inflight.own_bytes()
        + session.received.bytes()
}

/// Books what a Session takes now.
#[inline]
pub(super) fn book_session(book: &mut Book, session: &mut Session) {
    let bytes = session_bytes(session);
    if bytes != session.booked_bytes {
        let before = std::mem::replace(&mut session.booked_bytes, bytes);
        book.change(session.owner, before, bytes);
    }
}

/// The window of a Session took `before` and has changed.
#[inline]
pub(super) fn book_window(book: &mut Book, session: &mut Session, before: usize) {
    let now = session.inflight.own_bytes();
    if now != before {
        session.booked_bytes = session.booked_bytes + now - before;
        book.change(session.owner, before, now);
    }
}

/// A message in the form that outlives the turn, counted for who published it.
pub fn kept_message<'r>(
    book: &Book,
    sessions: &Slots<SessionId, Session>,
    shards: usize,
    routing: &'r mut Routing<'_>,
) -> &'r Rc<Message> {
    if routing.message.is_none()
        && let Some(publisher) = routing.publisher.and_then(|id| sessions.get(id))
    {
        let mut message = routing.new_message();
        book_message(book, shards, publisher.owner, &mut message);
        routing.message = Some(Rc::new(message));
    }
    routing.message()
}

/// Counts a message for who published it, until nobody holds it.
#[inline]
pub fn book_message(book: &Book, shards: usize, owner: OwnerId, message: &mut Message) {
    // Where there are peers, a deletion leaves a mark.
    let retained = if message.retain && (shards > 1 || !message.payload().is_empty()) {
        retained_bytes(shards, message.topic())
    } else {
        0
    };
    let bytes = limits::MESSAGE_BYTES + retained + message.source_bytes();
    message.book(book.account(owner), bytes);
}

impl Clients {
    /// Books what a Session takes now.
    #[inline]
    pub(super) fn rebook_session(&mut self, id: SessionId) {
        if let Some(session) = self.sessions.get_mut(id) {
            book_session(&mut self.book, session);
        }
    }

    /// Books what a connection takes now.
    #[inline]
    pub fn rebook_connection(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        let Some(owner) = connection.owner else {
            return;
        };
        let bytes = connection_bytes(connection);
        connection.booked_more = bytes > BOOKED_AT_LEAST;
        let before = std::mem::replace(&mut connection.booked_bytes, bytes);
        self.book.change(owner, before, bytes);
    }

    /// A connection is over: what it took is free.
    pub(super) fn unbook_connection(&mut self, connection: &mut Connection) {
        if let Some(owner) = connection.owner.take() {
            self.book
                .sub(owner, std::mem::take(&mut connection.booked_bytes));
            self.book.close(owner);
        }
    }

    /// The account book.
    #[inline]
    pub fn book(&self) -> &Book {
        &self.book
    }

    /// Whose a Session is.
    #[inline]
    pub fn owner_of(&self, id: SessionId) -> Option<OwnerId> {
        self.sessions.get(id).map(|session| session.owner)
    }

    /// Where the owner of a Session has his bytes counted that a drop anywhere takes out.
    pub fn account_of(&self, id: SessionId) -> Option<&Arc<Account>> {
        self.owner_of(id).map(|owner| self.book.account(owner))
    }

    /// Counts what other parts of the shard keep for a connection: `bytes` of it from now on.
    pub fn book_beside(&self, id: ConnectionId, booked: &mut Option<Booked>, bytes: usize) {
        match booked {
            Some(booked) => booked.set(bytes),
            None => {
                let owner = self.connections.get(id).and_then(|c| c.owner);
                *booked = owner.map(|owner| Booked::new(self.book.account(owner), bytes));
            }
        }
    }

    /// Counts a message for the owner of a Session, until nobody holds it.
    pub fn book_message(&self, session: SessionId, message: &mut Message) {
        if let Some(owner) = self.owner_of(session) {
            book_message(&self.book, self.shards, owner, message);
        }
    }

    /// The message on its way, in the form that outlives the turn.
    pub fn kept_message<'r>(&self, routing: &'r mut Routing<'_>) -> &'r Rc<Message> {
        kept_message(&self.book, &self.sessions, self.shards, routing)
    }

    /// The Session's owner may have so many bytes more. `false`: it is counted, and now and then told.
    pub fn may_take(
        &mut self,
        id: SessionId,
        bytes: usize,
        why: Refused,
        out: &mut Outputs,
    ) -> bool {
        let Some(owner) = self.owner_of(id) else {
            return true;
        };
        if self.book.may_take(owner, bytes) {
            return true;
        }
        self.refuse(owner, why, out);
        false
    }

    /// Counts a refusal, and now and then tells of it.
    pub(super) fn refuse(&mut self, owner: OwnerId, why: Refused, out: &mut Outputs) {
        let told = self.book.refuse(owner, why, self.now.0);
        self.tell_refusal(told, why, out);
    }

    fn tell_refusal(&self, told: Option<OwnerReport>, why: Refused, out: &mut Outputs) {
        if let Some(owner) = told {
            let limit = match why {
                Refused::Unaccepted => limits::UNACCEPTED_BYTES_MAX,
                _ => self.book.limit(),
            };
            out.tell(self.settings.logs, LogLevel::Warning, || {
                Happening::OverShare { owner, why, limit }
            });
        }
    }

    /// A Session of this Client may begin. `false`: its owner has had his share.
    pub fn may_begin(
        &mut self,
        user_name: Option<&str>,
        client_id: &str,
        will_bytes: usize,
        source: Source,
    ) -> bool {
        let name = owner_name(user_name, client_id);
        let bytes = limits::SESSION_BYTES + 2 * client_id.len() + will_bytes;
        let shares = user_name.is_none().then_some(source);
        self.book.may_come(&name, shares, bytes)
    }

    /// Counts that a Session may not begin, and tells of it once a minute for each owner.
    pub fn refuse_session(
        &mut self,
        id: ConnectionId,
        user_name: Option<&str>,
        client_id: &str,
        out: &mut Outputs,
    ) {
        let source = self.source_of(id);
        let name = owner_name(user_name, client_id);
        let told = self.book.refuse_newcomer(&name, source, self.now.0);
        self.tell_refusal(told, Refused::Session, out);
    }

    /// Where a connection comes from.
    pub fn source_of(&self, id: ConnectionId) -> Source {
        let connection = self.connections.get(id);
        connection.map_or(Source::UNKNOWN, |connection| {
            Source::of(connection.address.ip())
        })
    }

    /// Books what is kept of a connection, if that has changed. `false`: it is half a large packet, and its owner has
    /// had his share; the connection is to be closed.
    #[inline]
    pub fn book_received(&mut self, id: ConnectionId, out: &mut Outputs) -> bool {
        let connection = self.connections.get(id);
        connection.is_none_or(is_booked) || self.book_more_received(id, out)
    }

    #[cold]
    fn book_more_received(&mut self, id: ConnectionId, out: &mut Outputs) -> bool {
        let Some(connection) = self.connections.get(id) else {
            return true;
        };
        let Some(owner) = connection.owner else {
            return true;
        };
        let bytes = connection_bytes(connection);
        let grown = bytes.saturating_sub(connection.booked_bytes);
        if grown > 0
            && connection.received.len() >= limits::SPARE_PACKET_BYTES
            && !self.book.may_take(owner, grown)
        {
            self.refuse(owner, Refused::Packet, out);
            return false;
        }
        self.rebook_connection(id);
        true
    }

    /// See [`Book::is_short`].
    #[inline]
    pub fn is_short(&mut self) -> bool {
        self.book.is_short()
    }

    /// When memory is short, QoS 0 for one who has had his share is dropped as for a stalled reader.
    pub(super) fn is_short_for(&self, connection: &Connection) -> bool {
        connection.unsent_bytes >= limits::OUTBOX_HIGH_BYTES
            && connection
                .owner
                .is_some_and(|owner| self.book.has_had_share(owner))
    }

    /// A reader holds nobody back any more, and QoS 0 for it is dropped.
    pub(super) fn stall(&mut self, id: ConnectionId, out: &mut Outputs) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        connection.stalled = true;
        for waiter in connection.patience.take_waiters() {
            self.release(waiter, out);
        }
    }

    /// A turn ends: see [`Book::tidy`].
    #[inline]
    pub fn tidy_book(&mut self) {
        if self.book.tidy() {
            let due = self.now + limits::GIVE_BACK_AFTER_MS;
            self.give_back_due = Some(due.max(self.give_back_from));
        }
    }

    /// When memory is given back to the system, if much of it is free.
    pub fn give_back_due(&self) -> Option<Time> {
        self.give_back_due
    }

    /// It is time to give memory back to the system.
    pub fn take_give_back(&mut self) -> bool {
        let is_due = self.give_back_due.is_some_and(|due| due <= self.now);
        if is_due {
            self.give_back_due = None;
            self.give_back_from = self.now + limits::GIVE_BACK_EVERY_MS;
        }
        is_due
    }

    /// The subscriptions of a Session take more, or less.
    pub fn note_filter_bytes(&mut self, id: SessionId, filter: &str, more: bool) {
        let bytes = filter_bytes(self.shards, filter);
        if let Some(session) = self.sessions.get_mut(id) {
            if more {
                session.filter_bytes += bytes;
            } else {
                session.filter_bytes -= bytes;
            }
        }
        self.rebook_session(id);
    }

    /// For `check_invariants`: each owner's bytes, counted anew.
    pub(super) fn check_book(&self) {
        let mut booked: HashMap<OwnerId, usize> = HashMap::new();
        for id in self.sessions.ids() {
            let session = self.sessions.get(id).expect("it was listed");
            assert_eq!(
                session.booked_bytes,
                session_bytes(session),
                "of {}",
                session.client_id
            );
            *booked.entry(session.owner).or_default() += session.booked_bytes;
        }
        for id in self.connections.ids() {
            let connection = self.connections.get(id).expect("it was listed");
            let Some(owner) = connection.owner else {
                assert_eq!(connection.booked_bytes, 0);
                continue;
            };
            if !connection.dirty {
                assert_eq!(connection.booked_bytes, connection_bytes(connection));
            }
            *booked.entry(owner).or_default() += connection.booked_bytes;
        }
        if let Some((owner, bytes)) = self.storage.booked {
            *booked.entry(owner).or_default() += bytes;
        }
        self.book.check_invariants(&booked);
    }
}
