//! Users that are gone: a password file that was read at run time no longer has them, so their Sessions end.
//!
//! After [`Input::UsersGone`](super::Input::UsersGone) no Client can resume such a Session: a CONNECT with its client
//! id ends it first. A walk over all Sessions ends the others, a part in each turn, because a hundred thousand ends in
//! one turn would delay all Clients and fill the lanes.
//!
//! A later file may have a user again while the walk is under way. So the shard counts how often users have gone, its
//! user epoch. A Session remembers the epoch in which its user was last let in, and a walk leaves Sessions of its own
//! epoch and later ones alone. A connection that is handed over remembers the epoch of its verdict: if the epoch of its
//! new home is higher, the password is checked again.

use crate::session::Session;
use std::collections::VecDeque;
use std::sync::Arc;

/// Users that are gone and may still have Sessions.
#[derive(Default)]
pub(super) struct GoneUsers {
    /// How many times users have gone.
    epoch: u32,
    /// Walks that are not finished, the oldest first.
    walks: VecDeque<Walk>,
    /// The sequence that peers must have answered before the walk goes on.
    sequence: u64,
}

/// A walk over the slots of all Sessions.
pub(super) struct Walk {
    /// Sorted.
    users: Arc<[Box<str>]>,
    epoch: u32,
    /// The next slot to look at.
    pub next: u32,
    /// Sessions that it has ended.
    pub ended: u64,
}

impl Walk {
    pub fn ends(&self, session: &Session) -> bool {
        let gone = |user: &str| self.users.binary_search_by(|gone| (**gone).cmp(user));
        session.user_epoch < self.epoch
            && session.user_name().is_some_and(|user| gone(user).is_ok())
    }
}

impl GoneUsers {
    /// The user epoch: how many times users have gone so far.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Walks that are not finished; for tests.
    pub fn walks(&self) -> usize {
        self.walks.len()
    }

    /// The user of this Session is gone, and the walk has not reached the Session.
    pub fn ends(&self, session: &Session) -> bool {
        self.walks.iter().any(|walk| walk.ends(session))
    }

    /// These users are gone: a walk begins.
    pub fn begin(&mut self, users: Arc<[Box<str>]>) {
        debug_assert!(users.is_sorted());
        self.epoch += 1;
        self.walks.push_back(Walk {
            users,
            epoch: self.epoch,
            next: 0,
            ended: 0,
        });
    }

    /// There is a walk, and the peers have handled the filters that its last part removed.
    pub fn may_walk(&self, in_force: u64) -> bool {
        !self.walks.is_empty() && in_force >= self.sequence
    }

    /// Takes the oldest walk, to go on with it.
    pub fn take_walk(&mut self) -> Option<Walk> {
        self.walks.pop_front()
    }

    /// Puts a walk back that goes on in another turn.
    pub fn put_back(&mut self, walk: Walk) {
        self.walks.push_front(walk);
    }

    /// The next part waits until peers have come to this sequence.
    pub fn await_peers(&mut self, sequence: u64) {
        self.sequence = sequence;
    }
}
