//! An operator's order: a Client is sent away, a Session ends. By the same steps as when a user goes.

use crate::broker::event::{Ending, Output};
use crate::broker::order::Order;
use crate::broker::outputs::Outputs;
use crate::broker::shard::Shard;
use crate::broker::survey::{Found, Report};

impl Shard {
    pub(in crate::broker) fn on_order(&mut self, order: &Order, out: &mut Outputs) {
        let done = match order {
            Order::Disconnect { client_id } => self.disconnect(client_id, out),
            Order::EndSession {
                client_id,
                only_absent,
            } => self.end_session_of(client_id, *only_absent, out),
            Order::SetCalendar { zero_s } => {
                self.peers.set_calendar(*zero_s);
                true
            }
        };
        out.push(Output::Report(Box::new(Report {
            shard: self.id,
            now: self.turn.now(),
            found: Found::Done(done),
            next: None,
        })));
    }

    fn disconnect(&mut self, client_id: &str, out: &mut Outputs) -> bool {
        let id = self.clients.find_session(client_id);
        let session = id.and_then(|id| self.clients.session(id));
        let Some(connection) = session.and_then(|session| session.connection) else {
            return false;
        };
        self.close(connection, Ending::SentAway, out);
        true
    }

    fn end_session_of(&mut self, client_id: &str, only_absent: bool, out: &mut Outputs) -> bool {
        let Some(id) = self.clients.find_session(client_id) else {
            return false;
        };
        let session = self.clients.session(id);
        if only_absent && session.is_some_and(|session| session.connection.is_some()) {
            return false;
        }
        self.end_by(id, Ending::SentAway, out);
        true
    }
}
