//! The short way for plain QoS 0 messages, which most messages are: not retained, for subscriptions without
//! identifiers. Overlapping subscriptions do not change such a delivery, so each subscriber is served as soon as it is
//! found, in one look at its Session and its connection. Packets that need no new encoding are copied verbatim, the
//! packets of a [`Run`](crate::wire::Run) all at once.

use super::fan_out::is_plain;
use super::owner::{Clients, mark_dirty};
use crate::broker::counters::Dropped;
use crate::broker::outputs::Outputs;
use crate::broker::passing::{Origin, Routing, Sending, Subscriber, Subscription};
use crate::limits;
use crate::wire::QoS;

/// The number of no routing.
pub const NOBODY: u64 = u64::MAX;

/// What a plain delivery did.
pub struct PlainOutcome {
    /// `Some(true)` if a Session took it. A Session always takes QoS 0, even if only to drop it.
    pub found: Option<bool>,
    /// A subscriber remains that cannot take a run verbatim: its Client has another version, or it is a group.
    pub others: bool,
}

impl Clients {
    /// Copies a run verbatim to the subscribers that can take it so. Returns `Some(served)` if other subscribers
    /// remain, which get its messages one by one; `served` is the number of this routing.
    pub fn deliver_run(
        &mut self,
        routing: &mut Routing<'_>,
        matches: &[(Subscriber, Subscription)],
        origin: Origin,
        out: &mut Outputs,
    ) -> Option<u64> {
        if !is_plain(routing, matches, self.general) {
            return Some(NOBODY);
        }
        self.routings += 1;
        let served = self.routings;
        let outcome = self.deliver_plain(routing, matches, NOBODY, origin, out);
        outcome.others.then_some(served)
    }

    /// Delivers a message to the Sessions of this shard except those that the routing `served` has reached, and a run
    /// to those that can take it verbatim.
    pub(super) fn deliver_plain(
        &mut self,
        routing: &mut Routing<'_>,
        matches: &[(Subscriber, Subscription)],
        served: u64,
        origin: Origin,
        out: &mut Outputs,
    ) -> PlainOutcome {
        const SENDING: Sending<'_> = Sending {
            qos: QoS::AtMostOnce,
            dup: false,
            retain: false,
            identifiers: &[],
            share: None,
            alone: false,
        };
        let verbatim = routing.verbatim;
        let (bytes, packets) = verbatim.map_or((&[][..], 1), |verbatim| {
            (verbatim.run.bytes, verbatim.run.packets)
        });
        let mut outcome = PlainOutcome {
            found: None,
            others: false,
        };
        for (subscriber, subscription) in matches {
            let Subscriber::Session(session_id) = subscriber else {
                outcome.others = true;
                continue;
            };
            if subscription.options.no_local && origin.session == Some(*session_id) {
                continue; // [v5 MQTT-3.8.3-3]
            }
            let Some(session) = self.sessions.get_mut(*session_id) else {
                continue; // It has ended; its subscriptions leave the trie part by part.
            };
            let mark = session.routed;
            if mark == self.routings || mark == served {
                continue; // Served already. [v3.1.1 MQTT-3.3.5-1]
            }
            let behind = session.queue.bytes() > limits::QUEUE_HIGH_BYTES;
            let connection = session
                .connection
                .and_then(|id| self.connections.get_mut(id));
            let Some(connection) = connection else {
                session.routed = self.routings;
                outcome.found = Some(true);
                continue;
            };
            let so = verbatim.is_some_and(|verbatim| verbatim.suits(connection));
            if !so && packets > 1 {
                outcome.others = true;
                continue;
            }
            session.routed = self.routings;
            outcome.found = Some(true);
            if connection.overfull() {
                self.counters
                    .drop_messages(Dropped::SlowReader, u64::from(packets));
                continue;
            }
            let id = connection.id;
            if so {
                connection.outbox.append(&mut self.pool, bytes);
                connection.unsent_bytes += bytes.len();
                mark_dirty(connection, &mut self.dirty);
                self.counters.messages_sent += u64::from(packets);
                self.counters.payload_bytes_sent +=
                    u64::from(packets) * routing.payload.len() as u64;
                if connection.unsent_bytes <= limits::OUTBOX_HIGH_BYTES && !behind {
                    continue;
                }
            } else {
                self.send_publish(id, routing, &SENDING, None);
            }
            self.pace_if_slow(*session_id, id, origin, out);
        }
        outcome
    }
}
