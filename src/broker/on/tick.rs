//! Time has passed, bytes have left, the broker stops.

use crate::broker::clients::Overdue;
use crate::broker::event::{Ending, Output, Verdict};
use crate::broker::happening::{Happening, LogLevel, Refusal};
use crate::broker::outputs::Outputs;
use crate::broker::shard::Shard;
use crate::broker::turn::Turn;
use crate::buffer::Chunks;
use crate::ids::{ConnectionId, SessionId};
use crate::limits;
use crate::wire::reason::ReasonCode;

impl Shard {
    pub(in crate::broker) fn on_tick(&mut self, out: &mut Outputs) {
        if self.restoring.is_some() {
            return; // Nothing is due for a Session before all of it is here.
        }
        if self.clients.take_give_back() {
            out.push(Output::GiveMemoryBack);
        }
        self.clients.begin_alarms();
        // What is left comes right after, since its time is over.
        let mut alarms = limits::ALARMS_AT_ONCE;
        let mut goes_on = |turn: &Turn| {
            alarms = alarms.saturating_sub(1);
            alarms > 0 && !turn.is_spent()
        };
        while goes_on(&self.turn)
            && let Some(id) = self.clients.next_due_connection()
        {
            match self.clients.check_connection(id, out) {
                None => {}
                Some(Overdue::Connect) => self.on_connect_late(id, out),
                Some(Overdue::Verdict) => self.on_verdict(id, Verdict::Busy, out),
                // It is closing already.
                Some(Overdue::Answers) => self.close(id, Ending::Shutdown, out),
                Some(Overdue::Violation(violation)) => {
                    self.close(id, Ending::Violation(violation), out);
                }
            }
        }
        while goes_on(&self.turn)
            && let Some(id) = self.clients.next_due_session()
        {
            self.on_session_due(id, out);
        }
        self.on_clock_alarm(out);
        if self.topics.sweep(self.turn.now()) {
            self.peers.arm_clock(self.turn.now());
        }
    }

    /// Asks peers for their clocks while marks of deleted retained messages are kept.
    fn on_clock_alarm(&mut self, out: &mut Outputs) {
        let now = self.turn.now();
        if !self.peers.take_clock_alarm(now) {
            return;
        }
        if !self.topics.has_marks() {
            self.topics.clear_marks();
            return;
        }
        self.peers.ask_clocks(out);
        self.peers.arm_clock(now);
    }

    pub(in crate::broker) fn on_sent(
        &mut self,
        id: ConnectionId,
        bytes: usize,
        returned: Option<Chunks>,
        out: &mut Outputs,
    ) {
        let Some((session, holds_back)) = self.clients.on_sent(id, bytes, returned) else {
            return;
        };
        if let Some(session) = session {
            self.pump(session);
        }
        if holds_back {
            self.clients.on_served(id, out);
        }
    }

    /// Sends a Session what waits for it, as far as window and outbox allow: what is unacknowledged, the queue, then
    /// retained messages.
    ///
    /// Called for every send that is done and every acknowledgement; nearly always nothing waits.
    #[inline(always)]
    pub(in crate::broker) fn pump(&mut self, session: SessionId) {
        if self.clients.has_waiting(session) || self.topics.has_replays() {
            self.pump_waiting(session);
        }
    }

    #[inline(never)]
    fn pump_waiting(&mut self, session: SessionId) {
        if !self.clients.drain(session, &self.rights) {
            return;
        }
        let now = self.turn.now();
        loop {
            let room = |qos| self.clients.replay_room(session, qos);
            let Some(replayed) = self.topics.next_replayed(session, now, room) else {
                return;
            };
            let topic = replayed.message.topic();
            if !self.clients.may_read(session, &self.rights, topic)
                || !self.rights.may_still_write(&replayed.message)
            {
                continue;
            }
            let identifiers = replayed.identifier.as_slice();
            let (message, qos) = (&replayed.message, replayed.qos);
            self.clients
                .send_retained(session, message, qos, identifiers);
        }
    }

    /// The turn ends: publishers that had spent their share of the turn before go on.
    #[inline]
    pub(in crate::broker) fn resume_deferred(&mut self, out: &mut Outputs) {
        let mut going_on = self.turn.end();
        if going_on.is_empty() {
            return;
        }
        for waiter in going_on.drain(..) {
            self.clients.release(waiter, out);
        }
        self.turn.reuse(going_on);
    }

    pub(in crate::broker) fn on_shutdown(&mut self, out: &mut Outputs) {
        self.stopping = true;
        self.complete_all_subscribes(out);
        for id in self.clients.connection_ids() {
            // A connection whose password is being checked is refused, which closes it.
            self.give_up_check(id, ReasonCode::SERVER_UNAVAILABLE, Refusal::Stopping, out);
            self.close(id, Ending::Shutdown, out);
        }
        // Whoever gets them keeps them in the store.
        while self.clients.has_remains() {
            self.hand_back_remains(out);
            self.turn.forget_work();
        }
        out.tell(self.logs, LogLevel::Info, || Happening::Stopped {
            shard: self.id,
            counters: Box::new(self.clients.counters().clone()),
        });
    }
}
