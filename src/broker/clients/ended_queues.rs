//! The queues that nobody empties any more. `remains` has what becomes of them.

use crate::buffer::account::Booked;
use crate::ids::{SessionId, StoredSession};
use crate::session::Queue;
use std::collections::VecDeque;

/// What is left of one queue.
pub(super) struct Remains {
    pub session: SessionId,
    /// By what name a store has its messages. `None`: not at all, or the store has heard of the end of the Session.
    pub stored: Option<StoredSession>,
    pub queue: Queue,
    /// Counts [`Queue::own_bytes`] for the owner of the Session.
    pub booked: Booked,
}

/// Those of all Sessions, the oldest first.
#[derive(Default)]
pub(super) struct AllRemains(pub VecDeque<Remains>);

impl AllRemains {
    /// The queues, for tests.
    pub fn queues(&self) -> impl Iterator<Item = &Queue> {
        self.0.iter().map(|remains| &remains.queue)
    }

    /// Panics where what is counted is not what there is; for tests.
    pub fn check_invariants(&self) {
        for Remains { queue, booked, .. } in &self.0 {
            queue.check_invariants();
            assert!(!queue.is_empty());
            assert_eq!(booked.bytes(), queue.own_bytes());
        }
    }
}
