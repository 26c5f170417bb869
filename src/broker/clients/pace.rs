//! Pacing: while a subscriber is far behind, the broker reads nothing from the publishers of its messages, on whichever
//! shards they are.

use super::owner::Clients;
use super::owner::Concerned;
use crate::broker::event::{Output, PeerMessage};
use crate::broker::outputs::Outputs;
use crate::broker::passing::{Origin, Subscriber, Subscription};
use crate::ids::{ConnectionId, SessionId};
use crate::invariant::Broken;
use crate::limits;
use crate::session::Connection;
use crate::session::progress::Waiter;

impl Clients {
    /// Stops reading from a publisher whose subscriber has too many unsent bytes. A stalled subscriber holds nobody
    /// back.
    pub fn pace_if_slow(
        &mut self,
        session_id: SessionId,
        id: ConnectionId,
        origin: Origin,
        out: &mut Outputs,
    ) {
        let (Some(session), Some(connection)) =
            (self.sessions.get(session_id), self.connections.get_mut(id))
        else {
            return;
        };
        let slow = connection.unsent_bytes > limits::OUTBOX_HIGH_BYTES;
        let behind = session.queue.bytes() > limits::QUEUE_HIGH_BYTES;
        if !(slow || behind) || connection.stalled {
            return;
        }
        if self.settings.listener(connection.listener).own_clients {
            connection.stalled = true;
            return;
        }
        let Some((shard, publisher)) = origin.connection else {
            return;
        };
        let waiter = Waiter {
            shard,
            connection: publisher,
        };
        if (shard, publisher) == (self.id, id) {
            return;
        }
        if session.groups > limits::GROUPS_PACING_MAX {
            // One message of a publisher fills the outbox of such a Client, by its own choice.
            connection.stalled = true;
            return;
        }
        let far_behind = connection.unsent_bytes > limits::OUTBOX_WITHHOLD_BYTES;
        if connection.patience.has(waiter) {
            if far_behind && shard == self.id {
                self.withhold(publisher);
            }
            return;
        }
        if !slow && connection.paced > 0 {
            // The publisher owes acknowledgements itself, and they come on the stream that would be stopped. Two such
            // Clients would wait for each other for ever.
            return;
        }
        if connection.patience.is_idle() {
            // The wait starts with the first who waits.
            if !connection.patience.begin(self.now) {
                connection.stalled = true;
                return;
            }
        }
        connection.patience.add(waiter);
        let deadline = connection.deadline();
        self.connection_alarms.set(id.index, deadline);
        if shard == self.id {
            self.pace(publisher, out);
            if far_behind {
                self.withhold(publisher);
            }
        } else {
            let message = PeerMessage::Pace {
                connection: publisher,
                pause: true,
            };
            out.push(Output::Peer { to: shard, message });
        }
    }

    /// Holds back a large packet of `publisher` while a subscriber among `matches` is far behind. Returns `true` if the
    /// packet has to wait.
    ///
    /// Pacing alone acts after a publisher's packet has entered the outbox. If each of many publishers puts one large
    /// packet there, they are more than fits.
    pub fn hold_back(
        &mut self,
        publisher: ConnectionId,
        matches: &[(Subscriber, Subscription)],
        out: &mut Outputs,
    ) -> bool {
        let far_behind = matches.iter().find_map(|(subscriber, _)| {
            let Subscriber::Session(session_id) = subscriber else {
                return None;
            };
            let id = self.sessions.get(*session_id)?.connection;
            let id = id.filter(|id| *id != publisher)?;
            let connection = self.connections.get(id)?;
            (connection.unsent_bytes > limits::OUTBOX_WITHHOLD_BYTES && !connection.stalled)
                .then_some((*session_id, id))
        });
        let Some((session_id, id)) = far_behind else {
            return false;
        };
        let origin = Origin {
            session: None,
            connection: Some((self.id, publisher)),
        };
        self.pace_if_slow(session_id, id, origin, out);
        let held = self.connections.get(publisher);
        held.is_some_and(|connection| connection.withheld)
    }

    /// One more reason not to read from a connection.
    pub fn pace(&mut self, id: ConnectionId, out: &mut Outputs) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        connection.paced += 1;
        if connection.reading {
            connection.reading = false;
            out.push(Output::StopReading { connection: id });
        }
    }

    /// Stops reading from a Client that has too many answers before it that it does not take.
    pub fn wait_for_room(&mut self, id: ConnectionId, out: &mut Outputs) {
        if let Some(connection) = self.connections.get_mut(id)
            && !std::mem::replace(&mut connection.answers_full, true)
        {
            self.pace(id, out);
            self.withhold(id);
        }
    }

    /// Leaves what was read from a paced connection, and not handled yet, until it goes on.
    pub fn withhold(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(id) {
            connection.withheld = connection.paced > 0;
        }
    }

    /// One reason less not to read from the connection. After the last reason its withheld packets are handled, at the
    /// end of this turn.
    pub fn unpace(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        let Some(paced) = connection.paced.checked_sub(1) else {
            let broken = Broken::new("what goes on was paced");
            return self.note_broken(Concerned::Connection(id), broken);
        };
        connection.paced = paced;
        connection.withheld &= connection.paced > 0;
        if connection.paced == 0 {
            self.resumable.push_back(id);
        }
    }

    /// Lets one waiting publisher go on.
    pub fn release(&mut self, waiter: Waiter, out: &mut Outputs) {
        if waiter.shard == self.id {
            self.unpace(waiter.connection);
        } else {
            let message = PeerMessage::Pace {
                connection: waiter.connection,
                pause: false,
            };
            out.push(Output::Peer {
                to: waiter.shard,
                message,
            });
        }
    }

    /// A connection has taken bytes. If they are enough, it is no longer stalled and the publishers that wait for it go
    /// on.
    #[inline(always)]
    pub fn on_served(&mut self, id: ConnectionId, out: &mut Outputs) {
        let connection = self.connections.get(id);
        if connection.is_some_and(Connection::holds_back) {
            self.release_waiters(id, out);
        }
    }

    #[inline(never)]
    fn release_waiters(&mut self, id: ConnectionId, out: &mut Outputs) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        if connection.unsent_bytes > limits::OUTBOX_LOW_BYTES
            || connection
                .session()
                .and_then(|session| self.sessions.get(session))
                .is_some_and(|session| session.queue.bytes() > limits::QUEUE_LOW_BYTES)
        {
            return;
        }
        connection.stalled = false;
        if !connection.patience.is_idle() {
            connection.patience.end(self.now);
        }
        let mut waiters = connection.patience.take_waiters();
        // Take turns: the publisher that went on first last time goes on last this time. Large packets are served one
        // by one, so the first of a list would always win.
        self.releases += 1;
        let first = self.releases % waiters.len().max(1);
        waiters.rotate_left(first);
        for waiter in waiters {
            self.release(waiter, out);
        }
    }
}
