//! Queues that nobody empties any more: of Sessions that have ended, and what others of their groups are to get of the
//! queues of those that have gone. Sixty thousand messages at once would hold all Clients up, so they leave by parts.
//! Until then they count as what waits in a queue.

use super::ended_queues::Remains;
use super::owner::Clients;
use crate::broker::counters::Dropped;
use crate::broker::passing::{GivenBack, Returned};
use crate::buffer::account::Booked;
use crate::ids::{SessionId, StoredSession};
use crate::session::Queue;

impl Clients {
    /// These messages of a Session are for nobody, or for others of their groups. `booked` counts them.
    pub(super) fn leave_remains(
        &mut self,
        session: SessionId,
        stored: Option<StoredSession>,
        queue: Queue,
        booked: Booked,
    ) {
        if !queue.is_empty() {
            self.remains.0.push_back(Remains {
                session,
                stored,
                queue,
                booked,
            });
        }
    }

    /// The store has forgotten this Session: what it knew of its queue is gone with it.
    pub(super) fn forget_stored_remains(&mut self, session: SessionId) {
        for remains in &mut self.remains.0 {
            if remains.session == session {
                remains.stored = None;
            }
        }
    }

    /// Some are left.
    #[inline]
    pub fn has_remains(&self) -> bool {
        !self.remains.0.is_empty()
    }

    /// Takes the next message out. `Some((_, None))`: it was for nobody, and is counted as lost.
    pub fn next_remains(&mut self) -> Option<(SessionId, Option<Returned>)> {
        self.take_remains(0)
    }

    /// The same, of this Session.
    pub fn next_remains_of(&mut self, session: SessionId) -> Option<(SessionId, Option<Returned>)> {
        let of_session = |remains: &Remains| remains.session == session;
        self.take_remains(self.remains.0.iter().position(of_session)?)
    }

    fn take_remains(&mut self, index: usize) -> Option<(SessionId, Option<Returned>)> {
        let remains = self.remains.0.get_mut(index)?;
        let session = remains.session;
        let stored = remains.stored;
        let item = remains.queue.pop();
        remains.booked.set(remains.queue.own_bytes());
        if remains.queue.is_empty() {
            self.remains.0.remove(index);
        }
        let item = item?;
        self.queued_bytes -= item.leave();
        let Some(share) = item.share() else {
            self.counters.drop_messages(Dropped::SessionEnded, 1);
            return Some((session, None));
        };
        let number = item.number;
        let returned = Returned {
            share,
            message: item.message,
            given_back: stored.map(|session| GivenBack { session, number }),
            came: None,
        };
        Some((session, Some(returned)))
    }
}
