//! A Network Connection from its opening to its close, and the bytes that are sent on it.

use super::booking::is_booked;
use super::owner::Concerned;
use super::owner::{Clients, mark_dirty};
use crate::broker::event::{Ending, Output};
use crate::broker::happening;
use crate::broker::happening::{CloseCause, Happening, Identity, LogLevel, Unaccepted};
use crate::broker::other_protocol;
use crate::broker::outputs::Outputs;
use crate::broker::violation::Violation;
use crate::buffer::Chunks;
use crate::ids::{ConnectionId, ListenerId, SessionId};
use crate::invariant::{Broken, invariant};
use crate::limits;
use crate::session::{ConnectRequest, Connection, Phase};
use crate::time::Time;
use std::net::SocketAddr;

/// What a connection whose deadline has passed was waiting for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Overdue {
    /// Its CONNECT has not come in time.
    Connect,
    /// Its CONNECT came in time, but the password check gave no verdict.
    Verdict,
    /// It has ended and was waiting for its last answers.
    Answers,
    Violation(Violation),
}

impl Clients {
    /// A listener accepted it.
    pub fn open(
        &mut self,
        id: ConnectionId,
        address: SocketAddr,
        listener: ListenerId,
        crowded: bool,
    ) {
        let mut connection = Connection::new(id, address, listener, self.now);
        connection.crowded = crowded;
        self.connection_alarms.set(id.index, connection.deadline());
        self.connections.put(id, connection);
    }

    /// What lies below MQTT has shown the user name of a connection.
    pub fn identify(&mut self, id: ConnectionId, user_name: Box<str>) {
        if self.connections.get(id).is_some() {
            self.identified.insert(id, user_name);
        }
    }

    /// Takes the user name that was shown for a connection.
    pub fn take_identity(&mut self, id: ConnectionId) -> Option<Box<str>> {
        self.identified.remove(&id)
    }

    /// A peer shard handed it over, with the bytes that followed CONNECT. Reading is off.
    pub fn adopt(
        &mut self,
        id: ConnectionId,
        address: SocketAddr,
        listener: ListenerId,
        request: &ConnectRequest,
        received: Vec<u8>,
    ) {
        let mut connection = Connection::new(id, address, listener, self.now);
        connection.reading = false;
        connection.note_terms(request);
        connection.received = received;
        self.connections.put(id, connection);
    }

    /// Forgets a connection that moves to a peer shard. Returns the bytes that followed its CONNECT, or `None` if the
    /// connection is already gone.
    pub fn hand_over(&mut self, id: ConnectionId) -> Option<Vec<u8>> {
        let connection = self.connections.get(id)?;
        let silent = connection.outbox.is_empty() && !connection.sending && !connection.reading;
        let silent = invariant!(silent, "nothing is sent or read before a connection moves");
        if let Err(broken) = silent {
            self.note_broken(Concerned::Connection(id), broken);
            return None;
        }
        let mut connection = self.connections.remove(id)?;
        self.uncharge(&mut connection);
        self.unbook_connection(&mut connection);
        Some(connection.received)
    }

    /// Stops reading while its CONNECT is answered.
    pub fn stop_reading(&mut self, id: ConnectionId, out: &mut Outputs) {
        if let Some(connection) = self.connections.get_mut(id) {
            connection.reading = false;
            out.push(Output::StopReading { connection: id });
        }
    }

    /// Bytes were sent. Returns its Session, if the outbox has room for more of what waits for the connection, and
    /// whether publishers may wait for it: then [`Clients::on_served`] follows.
    #[inline]
    pub fn on_sent(
        &mut self,
        id: ConnectionId,
        bytes: usize,
        returned: Option<Chunks>,
    ) -> Option<(Option<SessionId>, bool)> {
        let done = returned.is_some();
        if let Some(chunks) = returned {
            self.pool.give_chunks(chunks);
        }
        let connection = self.connections.get_mut(id)?;
        let Some(unsent_bytes) = connection.unsent_bytes.checked_sub(bytes) else {
            let broken = Broken::new("no more is sent than was handed out");
            self.note_broken(Concerned::Connection(id), broken);
            return None;
        };
        connection.unsent_bytes = unsent_bytes;
        connection.sent_bytes += bytes as u64;
        self.counters.bytes_sent += bytes as u64;
        let end = connection.sent_bytes + connection.unsent_bytes as u64;
        connection.answers.on_left(connection.sent_bytes, end);
        connection.patience.on_left(bytes);
        if let Some(shared) = &mut connection.shared {
            shared.on_left(connection.sent_bytes, end);
        }
        if done {
            connection.sending = false;
            if !connection.outbox.is_empty() {
                mark_dirty(connection, &mut self.dirty);
            }
        }
        let has_room = connection.unsent_bytes <= limits::OUTBOX_LOW_BYTES;
        let holds_back = connection.holds_back();
        let session = connection.session();
        let is_booked = is_booked(connection);
        if connection.answers_full && connection.answers.bytes() <= limits::OUTBOX_LOW_BYTES {
            connection.answers_full = false;
            self.unpace(id);
        }
        if !is_booked {
            self.rebook_connection(id);
        }
        has_room.then_some((session, holds_back))
    }

    /// Books what a connection takes; when memory is `short`, a reader that has had a fair share is stalled.
    #[cold]
    fn book_unsent(&mut self, id: ConnectionId, short: bool, out: &mut Outputs) {
        let connection = self.connections.get(id);
        if short && connection.is_some_and(|connection| self.is_short_for(connection)) {
            self.stall(id, out);
        }
        self.rebook_connection(id);
    }

    /// The turn ends: hands out one `Send` for each connection that has something to send and none under way.
    pub fn flush(&mut self, out: &mut Outputs) {
        let mut dirty = std::mem::take(&mut self.dirty);
        let short = self.book.is_short();
        for id in dirty.drain(..) {
            let Some(connection) = self.connections.get_mut(id) else {
                continue;
            };
            connection.dirty = false;
            let is_booked = is_booked(connection);
            if !connection.sending && !connection.outbox.is_empty() {
                connection.sending = true;
                let chunks = connection.outbox.take();
                out.push(Output::Send {
                    connection: id,
                    chunks,
                });
            }
            if short || !is_booked {
                self.book_unsent(id, short, out);
            }
        }
        self.dirty = dirty;
    }

    /// Ends a Network Connection: tells the Client where the standard allows it, lets the publishers go on that waited
    /// for this connection, and forgets it, at once or after its last answers.
    ///
    /// Returns the Session that has no connection now; the caller must call [`Clients::leave_session`].
    pub fn close(
        &mut self,
        id: ConnectionId,
        ending: Ending,
        filter: Option<String>,
        out: &mut Outputs,
    ) -> Option<SessionId> {
        let mut connection = self.connections.remove(id)?;
        if !self.identified.is_empty() {
            self.identified.remove(&id);
        }
        if connection.is_closing() {
            // Its end was handled before; only its last bytes were left to do.
            let begun = self.closing.remove(&id);
            let ending = match ending {
                Ending::Lost(_) => ending,
                _ => begun.unwrap_or(ending),
            };
            self.end(connection, ending, out);
            return None;
        }
        self.uncharge(&mut connection);
        self.report_ending(&connection, ending, filter, out);
        let session = connection.session();
        let owed = connection.answers_awaited > 0 || self.held.holds(id);
        if owed && !matches!(ending, Ending::Lost(_)) {
            self.begin_closing(connection, ending, out);
        } else {
            self.end(connection, ending, out);
        }
        session
    }

    /// Sends a connection's last bytes and forgets it.
    fn end(&mut self, mut connection: Box<Connection>, ending: Ending, out: &mut Outputs) {
        let id = connection.id;
        let held = self.held.holds(id);
        self.held.forget(id);
        self.storage.forget(id);
        if !matches!(ending, Ending::Lost(_)) {
            if !held {
                // Where CONNACK is left out, DISCONNECT is left out too: nothing may come before CONNACK. [v5
                // MQTT-3.14.0-1]
                self.append_disconnect(&mut connection, ending);
            }
            if !connection.outbox.is_empty() {
                out.push(Output::Send {
                    connection: id,
                    chunks: connection.outbox.take(),
                });
            }
            out.push(Output::Close {
                connection: id,
                at_once: matches!(ending, Ending::Disconnect { .. }),
            });
        }
        connection.outbox.clear(&mut self.pool);
        self.unbook_connection(&mut connection);
        for waiter in connection.patience.take_waiters() {
            self.release(waiter, out);
        }
    }

    /// A connection ends while answers wait: SUBACKs wait for other shards, others for the store. Every packet that was
    /// received is answered, and no answer confirms what is not kept. [v3.1.1 MQTT-3.8.4-1, v5 MQTT-3.8.4-1]
    ///
    /// Nothing else waits. The Session is left now, nothing more is read from the connection, and the server's
    /// DISCONNECT, if one is due, is its last packet.
    fn begin_closing(
        &mut self,
        mut connection: Box<Connection>,
        ending: Ending,
        out: &mut Outputs,
    ) {
        let id = connection.id;
        if connection.reading {
            connection.reading = false;
            out.push(Output::StopReading { connection: id });
        }
        connection.phase = Phase::Closing {
            until: self.now + limits::LAST_ANSWERS_MS,
        };
        connection.received = Vec::new();
        for waiter in connection.patience.take_waiters() {
            self.release(waiter, out);
        }
        self.connection_alarms.set(id.index, connection.deadline());
        self.connections.put(id, *connection);
        self.rebook_connection(id); // What was kept of it is gone.
        self.closing.insert(id, ending);
    }

    /// An answer of this connection waits for peers. `false`: the connection is gone.
    pub fn await_answer(&mut self, id: ConnectionId) -> bool {
        let connection = self.connections.get_mut(id);
        connection
            .map(|connection| connection.answers_awaited += 1)
            .is_some()
    }

    /// An answer that waited is now in the outbox. Returns `Some` if the connection has ended and this was its last
    /// answer, so it must close.
    pub fn note_answered(&mut self, id: ConnectionId) -> Option<Ending> {
        let connection = self.connections.get_mut(id)?;
        let Some(left) = connection.answers_awaited.checked_sub(1) else {
            let broken = Broken::new("an answer was awaited");
            self.note_broken(Concerned::Connection(id), broken);
            return None;
        };
        connection.answers_awaited = left;
        self.ending_of(id)
    }

    /// How an ended connection ended, if no answer of it waits any more.
    pub(super) fn ending_of(&self, id: ConnectionId) -> Option<Ending> {
        let connection = self.connections.get(id)?;
        if connection.answers_awaited > 0 || self.held.holds(id) {
            return None;
        }
        self.closing.get(&id).copied()
    }

    /// The connection has ended and waits only for its last answers. For tests.
    pub fn is_closing(&self, id: ConnectionId) -> bool {
        self.closing.contains_key(&id)
    }

    fn report_ending(
        &mut self,
        connection: &Connection,
        ending: Ending,
        filter: Option<String>,
        out: &mut Outputs,
    ) {
        let address = connection.address;
        let logs = self.settings.logs;
        let accepted = connection.session().and_then(|id| self.sessions.get(id));
        if let Ending::Violation(Violation::Broken(broken)) = ending {
            let client_id = accepted.map(|session| (&session.client_id).into());
            return self.report_broken(broken, client_id, Some(address), out);
        }
        let Some(session) = accepted else {
            let why = match ending {
                // What came was no more than a part of a link's own: that says why it ended.
                Ending::Lost(cause @ CloseCause::Transport(_)) => Unaccepted::Lost(cause),
                Ending::Violation(Violation::ConnectTooLate) | Ending::Lost(_)
                    if connection.received.is_empty() =>
                {
                    self.counters.probes += 1;
                    return;
                }
                Ending::Violation(violation) => Unaccepted::Violation(violation),
                Ending::Lost(cause) => match other_protocol::recognise_at_end(&connection.received)
                {
                    Some(protocol) => Unaccepted::Violation(Violation::OtherProtocol(protocol)),
                    None => Unaccepted::Lost(cause),
                },
                Ending::Refused
                | Ending::Shutdown
                | Ending::Disconnect { .. }
                | Ending::TakenOver { .. }
                | Ending::LoginNeeded
                | Ending::SentAway
                | Ending::UserGone => return,
            };
            self.counters.refusals += 1;
            let unaccepted = || Happening::Unaccepted { address, why };
            return out.tell(logs, LogLevel::Info, unaccepted);
        };
        self.counters.disconnects += 1;
        let how = match ending {
            Ending::Disconnect { with_will } => {
                happening::ConnectionEnd::Disconnected { with_will }
            }
            Ending::Lost(cause) => happening::ConnectionEnd::Lost(cause),
            Ending::Violation(violation) => happening::ConnectionEnd::Violation {
                violation,
                filter: filter.map(String::into_boxed_str),
            },
            Ending::TakenOver { silently: false } => happening::ConnectionEnd::TakenOver,
            Ending::UserGone => happening::ConnectionEnd::UserGone,
            Ending::LoginNeeded => happening::ConnectionEnd::LoginNeeded,
            Ending::SentAway => happening::ConnectionEnd::SentAway,
            Ending::Shutdown => happening::ConnectionEnd::Shutdown,
            Ending::TakenOver { silently: true } | Ending::Refused => return,
        };
        out.tell(logs, LogLevel::Info, || Happening::Ended {
            who: Identity {
                client_id: (&session.client_id).into(),
                user_name: session.user_name().map(Into::into),
                address,
            },
            how,
        });
    }

    /// The next moment at which a connection or a Session has something due.
    pub fn next_deadline(&self) -> Option<Time> {
        let next = [self.connection_alarms.next(), self.session_alarms.next()];
        next.into_iter().flatten().min()
    }

    /// Time has passed. Notes whether this shard itself is late, before it judges any Client as silent.
    pub fn begin_alarms(&mut self) {
        let late = |due: Time| self.now.since_ms(due) >= limits::LATE_MS;
        if self.connection_alarms.next().is_some_and(late) {
            // This shard did not run when it should have. It reads what came meanwhile before it judges any Client as
            // silent.
            self.overdue_from = self.now + limits::LATE_GRACE_MS;
        }
    }

    /// A connection whose alarm has come.
    pub fn next_due_connection(&mut self) -> Option<ConnectionId> {
        while let Some(index) = self.connection_alarms.pop_due(self.now) {
            let id = self.connections.id_at(index);
            if id.is_some() {
                return id;
            }
        }
        None
    }

    /// A Session whose alarm has come.
    pub fn next_due_session(&mut self) -> Option<SessionId> {
        while let Some(index) = self.session_alarms.pop_due(self.now) {
            let id = self.sessions.id_at(index);
            if id.is_some() {
                return id;
            }
        }
        None
    }

    /// Looks at a connection whose alarm has come. If the connection is stalled, the publishers that wait for it go on.
    /// Sets the next alarm. Returns `Some` if the deadline of the connection has passed.
    pub fn check_connection(&mut self, id: ConnectionId, out: &mut Outputs) -> Option<Overdue> {
        let now = self.now;
        let connection = self.connections.get_mut(id)?;
        if connection.deadline() > now {
            let deadline = connection.deadline();
            self.connection_alarms.set(id.index, deadline);
            return None;
        }
        if !connection.patience.is_idle() && connection.patience.ends() <= now {
            connection.patience.end(now);
            connection.stalled = true;
            for waiter in connection.patience.take_waiters() {
                self.release(waiter, out);
            }
        }
        let connection = self.connections.get(id)?;
        if connection.deadline() > now {
            let deadline = connection.deadline();
            self.connection_alarms.set(id.index, deadline);
            return None;
        }
        if now < self.overdue_from {
            self.connection_alarms.set(id.index, self.overdue_from);
            return None;
        }
        Some(match connection.phase {
            Phase::Connected(_) => {
                Overdue::Violation(Violation::KeepAlive(connection.silence_ms_max()))
            }
            Phase::Authenticating(_) => Overdue::Verdict,
            Phase::AwaitConnect => Overdue::Connect,
            Phase::Closing { .. } => Overdue::Answers,
        })
    }
}
