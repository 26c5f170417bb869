//! A Session without its connection: what is due for it, its takeover by a new connection, and its end.

use crate::broker::counters::Dropped;
use crate::broker::event::Ending;
use crate::broker::happening::{Happening, LogLevel};
use crate::broker::outputs::Outputs;
use crate::broker::shard::Shard;
use crate::ids::{ConnectionId, SessionId};
use crate::session::Takeovers;
use crate::session::takeovers::TakeoverLines;

impl Shard {
    /// The Network Connection of a Session has ended.
    pub(in crate::broker) fn leave_session(
        &mut self,
        id: SessionId,
        ending: Ending,
        out: &mut Outputs,
    ) {
        let goes_on = self.clients.leave_session(id, ending);
        if goes_on {
            self.tell_groups(id, false, out);
        }
        self.show_offline(id, ending, goes_on, out);
        self.on_session_due(id, out);
    }

    /// Does what is due for a Session without a connection.
    pub(in crate::broker) fn on_session_due(&mut self, id: SessionId, out: &mut Outputs) {
        let due = self.clients.take_due(id);
        if let Some(will) = due.will {
            self.publish_will(id, *will, out);
        }
        if due.ends {
            if self.report_expiry(id, out) {
                self.clients.count_expired();
            }
            self.end_session(id, out);
        }
    }

    /// The log shows other ends of a Session in the lines of its connection.
    /// `true`: it is over by its Session Expiry Interval.
    fn report_expiry(&self, id: SessionId, out: &mut Outputs) -> bool {
        let Some(session) = self.clients.session(id) else {
            return false;
        };
        let is_expired = session.expiry_interval_s > 0;
        if is_expired {
            out.tell(self.logs, LogLevel::Info, || Happening::SessionExpired {
                client_id: (&session.client_id).into(),
                messages: session.queue.count() + session.inflight.count(),
            });
        }
        is_expired
    }

    /// Ends the connection that has the Session now, and the Session itself if the new one wants a clean start.
    /// [v3.1.1 MQTT-3.1.4-2, v5 MQTT-3.1.4-3]
    ///
    /// Returns the takeovers up to now, which outlive the Session, and what the log says of this one.
    pub(in crate::broker) fn take_over(
        &mut self,
        earlier: SessionId,
        clean_start: bool,
        by: ConnectionId,
        out: &mut Outputs,
    ) -> (Option<Box<Takeovers>>, TakeoverLines) {
        let Some(taken) = self.clients.take_over(earlier, clean_start) else {
            return (None, TakeoverLines::Ordinary);
        };
        if let Some(connection) = taken.connection {
            if let TakeoverLines::Warning { takeovers } = taken.lines {
                self.warn_of_takeovers(earlier, takeovers, connection, by, out);
            }
            let silently = taken.lines != TakeoverLines::Ordinary;
            self.close(connection, Ending::TakenOver { silently }, out);
        }
        if clean_start && self.clients.session(earlier).is_some() {
            self.end_session(earlier, out);
        }
        (taken.takeovers, taken.lines)
    }

    /// Reports that a client id is taken from one connection by another again and again.
    fn warn_of_takeovers(
        &self,
        session: SessionId,
        takeovers: u64,
        from: ConnectionId,
        by: ConnectionId,
        out: &mut Outputs,
    ) {
        let address = |id| {
            self.clients
                .connection(id)
                .map(|connection| connection.address)
        };
        let (Some(session), Some(from), Some(by)) =
            (self.clients.session(session), address(from), address(by))
        else {
            return;
        };
        out.tell(self.logs, LogLevel::Warning, || {
            Happening::RepeatedTakeovers {
                client_id: (&session.client_id).into(),
                takeovers,
                from,
                by,
            }
        });
    }

    /// The end of a Session: its subscriptions, queue and windows go. Retained messages stay. [v3.1.1 MQTT-3.1.2-7]
    pub(in crate::broker) fn end_session(&mut self, id: SessionId, out: &mut Outputs) {
        // The will is published while the Session still has its client id, before another Session can take that.
        if let Some(will) = self.clients.take_will(id) {
            self.publish_will(id, *will, out);
        }
        self.forget_presence(id, out);
        let Some(ended) = self.clients.end_session(id) else {
            return;
        };
        self.leave_groups(id, out);
        for returned in &ended.handed_back {
            self.hand_back(id, returned, out);
        }
        self.clients
            .count_dropped(Dropped::SessionEnded, ended.lost as u64);
        self.hand_back_forgotten(out);
        self.hand_back_remains(out);
        let mut removed = Vec::new();
        let booked = ended.filters_booked;
        if self.topics.depart(id, ended.filters, booked, &mut removed) {
            self.clients.release_session(id);
        }
        self.tell_removed(&removed, out);
    }

    /// Takes subscriptions of Sessions that have ended (of the *departed*) out of the trie: a part in each turn, if all
    /// peers have handled the part before.
    pub(in crate::broker) fn forget_departed(&mut self, out: &mut Outputs) {
        if !self.may_forget_departed() {
            return;
        }
        let mut removed = Vec::new();
        if let Some(session) = self.topics.forget_some(&mut removed) {
            self.clients.release_session(session);
        }
        self.tell_removed(&removed, out);
        self.topics.await_peers(self.peers.ask_in_force(out));
    }

    /// There are subscriptions of ended Sessions, and all peers have handled the part before.
    pub(in crate::broker) fn may_forget_departed(&self) -> bool {
        self.topics.has_departed() && self.topics.may_forget_some(self.peers.in_force())
    }

    fn tell_removed(&self, filters: &[String], out: &mut Outputs) {
        for filter in filters {
            self.peers.tell_filter_removed(filter, out);
        }
    }
}
