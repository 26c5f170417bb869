//! Users who are gone: a password file read at run time has no line for them any more, so their Sessions end.
//!
//! From [`Input::UsersGone`](super::Input::UsersGone) on nobody finds such a Session: a CONNECT with its client id ends it first. A walk over all
//! Sessions ends the others, a part in each turn: a hundred thousand that end at once would hold up everyone, and the lanes.
//!
//! A later file may have a user again while the walk is under way. So the shard counts how often users have gone, its user epoch.
//! A Session remembers the epoch in which its user was last let in, and a walk leaves Sessions of its own epoch and later ones alone. A
//! connection that is handed over remembers the epoch of its verdict: where its new home has come further, the password is checked again.

use super::event::Ending;
use super::happening::{Happening, Level};
use super::outputs::Outputs;
use super::shard::Shard;
use crate::ids::SessionId;
use crate::limits;
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
struct Walk {
    /// Sorted.
    users: Arc<[Box<str>]>,
    epoch: u32,
    /// The slot that is looked at next.
    next: u32,
    ended: u64,
}

impl Walk {
    fn ends(&self, session: &Session) -> bool {
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
}

impl Shard {
    pub(super) fn on_users_gone(&mut self, users: Arc<[Box<str>]>) {
        debug_assert!(users.is_sorted());
        self.gone.epoch += 1;
        self.gone.walks.push_back(Walk {
            users,
            epoch: self.gone.epoch,
            next: 0,
            ended: 0,
        });
    }

    /// There is a walk, and what its last part took out of the trie is out of the peers' way.
    pub(super) fn may_walk(&self) -> bool {
        !self.gone.walks.is_empty()
            && self.departed.is_empty()
            && self.peers.in_force() >= self.gone.sequence
    }

    /// Goes on with the oldest walk, until it is through or has had its share of this turn.
    pub(super) fn walk_gone_users(&mut self, out: &mut Outputs) {
        if !self.may_walk() {
            return;
        }
        let Some(mut walk) = self.gone.walks.pop_front() else {
            return;
        };
        let (mut looked_at, mut ended, mut filters) = (0, 0, 0);
        while walk.next < self.sessions.slots()
            && looked_at < limits::GONE_SESSIONS_LOOKED_AT
            && ended < limits::GONE_SESSIONS_AT_ONCE
            && filters < limits::FILTERS_AT_ONCE
            && !self.is_weary()
        {
            let id = self.sessions.id_at(walk.next);
            walk.next += 1;
            looked_at += 1;
            let Some(id) = id else { continue };
            let session = self.sessions.get(id).filter(|session| walk.ends(session));
            if let Some(session) = session {
                filters += session.filters.len();
                ended += 1;
                self.end_with_user(id, out);
            }
        }
        walk.ended += ended;
        if filters > 0 {
            self.gone.sequence = self.ask_in_force(out);
        }
        if walk.next < self.sessions.slots() {
            return self.gone.walks.push_front(walk);
        }
        if walk.ended > 0 {
            let (shard, sessions) = (self.id, walk.ended);
            self.happened(Level::Info, out, || Happening::UsersGone {
                shard,
                sessions,
            });
        }
    }

    /// Ends a Session whose user is gone, and its Network Connection with it.
    pub(super) fn end_with_user(&mut self, id: SessionId, out: &mut Outputs) {
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        // The Session ends now, so a delayed will is due. [v5 3.1.3.2.2]
        session.expiry_interval_s = 0;
        if let Some(connection) = session.connection {
            self.close(connection, Ending::UserGone, out);
        }
        if self.sessions.get(id).is_some() {
            self.end_session(id, out);
        }
    }
}
