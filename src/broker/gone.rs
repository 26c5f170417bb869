//! Users who are gone: a password file read at run time has no line for them any more, so their Sessions end.
//!
//! From [`Input::UsersGone`](super::Input::UsersGone) on nobody finds such a Session: a CONNECT with its client id ends
//! it first. A walk over all Sessions ends the others, a part in each turn: a hundred thousand that end at once would
//! hold up everyone, and the lanes.
//!
//! A later file may have a user again while the walk is under way. So the shard counts how often users have gone, its
//! user epoch. A Session remembers the epoch in which its user was last let in, and a walk leaves Sessions of its own
//! epoch and later ones alone. A connection that is handed over remembers the epoch of its verdict: where its new home
//! has come further, the password is checked again.

use crate::session::Session;
use std::collections::VecDeque;
use std::sync::Arc;

/// Users who are gone and may still have Sessions.
#[derive(Default)]
pub(super) struct GoneUsers {
    /// How often users have gone.
    epoch: u32,
    /// Walks that are not finished, the oldest first.
    walks: VecDeque<Walk>,
    /// What peers must have answered before the walk goes on.
    sequence: u64,
}

/// A walk over the slots of all Sessions.
pub(super) struct Walk {
    /// Sorted.
    users: Arc<[Box<str>]>,
    epoch: u32,
    /// The slot that is looked at next.
    pub next: u32,
    /// Sessions that it has ended.
    pub ended: u64,
}

impl Walk {
    pub fn ends(&self, session: &Session) -> bool {
        let gone = |user: &str| self.users.binary_search_by(|gone| (**gone).cmp(user));
        session.user_epoch < self.epoch
            && session
                .user_name
                .as_deref()
                .is_some_and(|user| gone(user).is_ok())
    }
}

impl GoneUsers {
    /// The user epoch: how often users have gone so far.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Walks that are not finished; for tests.
    pub fn walks(&self) -> usize {
        self.walks.len()
    }

    /// This Session's user is gone, and a walk has not come to it.
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

    /// There is a walk, and what its last part took out of the trie is out of the peers' way.
    pub fn may_walk(&self, in_force: u64) -> bool {
        !self.walks.is_empty() && in_force >= self.sequence
    }

    /// The oldest walk, to go on with it.
    pub fn take_walk(&mut self) -> Option<Walk> {
        self.walks.pop_front()
    }

    /// It goes on in another turn.
    pub fn put_back(&mut self, walk: Walk) {
        self.walks.push_front(walk);
    }

    /// The next part waits until peers have come to this sequence.
    pub fn await_peers(&mut self, sequence: u64) {
        self.sequence = sequence;
    }
}
