//! The queues that nobody empties any more. `remains` has what becomes of them.

use crate::buffer::account::Booked;
use crate::ids::{SessionId, StoredSession};
use crate::session::{Queue, Queued};
use std::collections::VecDeque;

/// What is left of one queue.
pub(super) struct Remains {
    pub session: SessionId,
    /// By what name a store has its messages. `None`: not at all, or no more.
    pub stored: Option<StoredSession>,
    /// The store hears in this turn that the Session has ended, and forgets the messages with it: they are handed out
    /// in this turn too.
    pub is_forgotten: bool,
    pub queue: Queue,
    /// Counts [`Queue::own_bytes`] for the owner of the Session.
    pub booked: Booked,
}

/// Those of all Sessions, the oldest first; but see [`AllRemains::forget_stored`].
#[derive(Default)]
pub(super) struct AllRemains(VecDeque<Remains>);

impl AllRemains {
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next message is one that the store forgets in this turn.
    pub fn next_is_forgotten(&self) -> bool {
        self.0.front().is_some_and(|remains| remains.is_forgotten)
    }

    /// Adds one at the end, if it has messages.
    pub fn add(&mut self, remains: Remains) {
        if !remains.queue.is_empty() {
            self.0.push_back(remains);
        }
    }

    /// The store hears in this turn that the Session has ended, and forgets its messages: they come first. O(queues).
    pub fn forget_stored(&mut self, session: SessionId) {
        let is_of = |remains: &Remains| remains.session == session;
        let (mut first, others): (VecDeque<Remains>, VecDeque<Remains>) =
            std::mem::take(&mut self.0).into_iter().partition(is_of);
        for remains in &mut first {
            remains.stored = None;
            remains.is_forgotten = true;
        }
        first.extend(others);
        self.0 = first;
    }

    /// Takes the next message out, and says whose it was and by what name a store has it.
    pub fn take_next(&mut self) -> Option<(SessionId, Option<StoredSession>, Queued)> {
        let remains = self.0.front_mut()?;
        let (session, stored) = (remains.session, remains.stored);
        let item = remains.queue.pop()?;
        remains.booked.set(remains.queue.own_bytes());
        if remains.queue.is_empty() {
            self.0.pop_front();
        }
        Some((session, stored, item))
    }

    /// The queues, for tests.
    pub fn queues(&self) -> impl Iterator<Item = &Queue> {
        self.0.iter().map(|remains| &remains.queue)
    }

    /// Panics where what is counted is not what there is; for tests.
    pub fn check_invariants(&self) {
        for Remains {
            queue,
            booked,
            is_forgotten,
            ..
        } in &self.0
        {
            queue.check_invariants();
            // Between this turn and the next a crash could come, and they would be nobody's.
            assert!(!is_forgotten);
            assert!(!queue.is_empty());
            assert_eq!(booked.bytes(), queue.own_bytes());
        }
    }
}
