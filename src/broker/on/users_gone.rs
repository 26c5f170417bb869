//! Users are gone from the password file: their Sessions end, a part in each turn.

use crate::broker::event::Ending;
use crate::broker::happening::{Happening, LogLevel};
use crate::broker::outputs::Outputs;
use crate::broker::shard::Shard;
use crate::ids::SessionId;
use crate::limits;
use std::sync::Arc;

impl Shard {
    pub(in crate::broker) fn on_users_gone(&mut self, users: Arc<[Box<str>]>) {
        self.gone.begin(users);
    }

    /// There is a walk, and the peers have handled the filters that its last part removed.
    pub(in crate::broker) fn may_walk(&self) -> bool {
        !self.topics.has_departed() && self.gone.may_walk(self.peers.in_force())
    }

    /// Goes on with the oldest walk, until it ends or has had its share of this turn.
    pub(in crate::broker) fn walk_gone_users(&mut self, out: &mut Outputs) {
        if !self.may_walk() {
            return;
        }
        let Some(mut walk) = self.gone.take_walk() else {
            return;
        };
        let slots = self.clients.sessions_end();
        let (mut looked_at, mut ended, mut filters) = (0, 0, 0);
        while walk.next < slots
            && looked_at < limits::GONE_SESSIONS_LOOKED_AT
            && ended < limits::GONE_SESSIONS_AT_ONCE
            && filters < limits::FILTERS_AT_ONCE
            && !self.turn.is_spent()
        {
            let id = self.clients.session_at(walk.next);
            walk.next += 1;
            looked_at += 1;
            let Some(id) = id else { continue };
            let session = self
                .clients
                .session(id)
                .filter(|session| walk.ends(session));
            if let Some(session) = session {
                filters += session.filters.len();
                ended += 1;
                self.end_with_user(id, out);
            }
        }
        walk.ended += ended;
        if filters > 0 {
            self.gone.await_peers(self.peers.ask_in_force(out));
        }
        if walk.next < slots {
            return self.gone.put_back(walk);
        }
        if walk.ended > 0 {
            let (shard, sessions) = (self.id, walk.ended);
            out.tell(self.logs, LogLevel::Info, || Happening::UsersGone {
                shard,
                sessions,
            });
        }
    }

    /// Ends a Session whose user is gone, and its Network Connection with it.
    pub(in crate::broker) fn end_with_user(&mut self, id: SessionId, out: &mut Outputs) {
        self.end_by(id, Ending::UserGone, out);
    }

    /// Ends a Session that may not go on, and its Network Connection, which ends as `ending` says.
    pub(in crate::broker) fn end_by(&mut self, id: SessionId, ending: Ending, out: &mut Outputs) {
        let Some(connection) = self.clients.expire_session(id) else {
            return;
        };
        if let Some(connection) = connection {
            self.close(connection, ending, out);
        }
        if self.clients.session(id).is_some() {
            self.end_session(id, out);
        }
    }
}
