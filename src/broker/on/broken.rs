//! An invariant of ours did not hold: the one connection that it concerns ends, with its Session where that may be
//! wrong, and the shard serves all others.

use crate::broker::clients::Concerned;
use crate::broker::event::Ending;
use crate::broker::happening::CloseCause;
use crate::broker::outputs::Outputs;
use crate::broker::shard::Shard;
use crate::broker::violation::Violation;
use crate::ids::{ConnectionId, SessionId};
use crate::invariant::Broken;

impl Shard {
    /// Ends what is concerned by the invariants that did not hold. What an end itself finds broken comes here too:
    /// each round ends a connection or a Session or tells that it is gone, so there is an end to them.
    #[cold]
    #[inline(never)]
    pub(in crate::broker) fn end_broken(&mut self, out: &mut Outputs) {
        while let Some((concerned, broken)) = self.clients.next_broken() {
            match concerned {
                Concerned::Connection(id) => {
                    let ended = self.clients.connection(id).is_none_or(|c| c.is_closing());
                    if ended {
                        self.clients.report_broken(broken, None, None, out);
                    }
                    // Tells of it, unless the connection has ended.
                    self.close(id, Ending::Violation(Violation::Broken(broken)), out);
                }
                Concerned::Session(id) => self.end_broken_session(id, broken, out),
            }
        }
    }

    fn end_broken_session(&mut self, id: SessionId, broken: Broken, out: &mut Outputs) {
        let connection = self.clients.expire_session(id).flatten();
        if let Some(connection) = connection.filter(|id| self.clients.connection(*id).is_some()) {
            let ending = Ending::Violation(Violation::Broken(broken));
            self.close(connection, ending, out);
        } else {
            let session = self.clients.session(id);
            let client_id = session.map(|session| (&session.client_id).into());
            self.clients.report_broken(broken, client_id, None, out);
        }
        if self.clients.session(id).is_some() {
            self.end_session(id, out);
        }
    }

    /// A step that concerns no connection of this shard is left out.
    #[cold]
    #[inline(never)]
    pub(super) fn skip_broken(&mut self, broken: Broken, out: &mut Outputs) {
        self.clients.report_broken(broken, None, None, out);
    }

    /// A driver gives a connection a slot only after the one before is gone. If that one is still here, it is
    /// forgotten.
    pub(in crate::broker) fn free_slot(&mut self, connection: ConnectionId, out: &mut Outputs) {
        if let Some(earlier) = self.clients.connection_at(connection.index) {
            let broken = Broken::new("the slot of a new connection is free");
            self.skip_broken(broken, out);
            self.close(earlier, Ending::Lost(CloseCause::PeerClosed), out);
        }
    }
}
