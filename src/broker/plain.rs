//! QoS 0 in its plainest form, which most messages have: not retained, for subscriptions without identifiers. Overlaps then change
//! nothing in a delivery but that there is one, so each subscriber is served when it is found, in one look at its Session and its connection.
//! Packets that say the same to every Client of their kind of version are copied as they came, and of a [`Run`] all at once.
//!
//! The general way is in `deliver`; both do the same, and the simulator plays both.

use super::counters::Dropped;
use super::outputs::Outputs;
use super::passing::{AsCame, Origin, Routing, Sending, Subscription};
use super::shard::Shard;
use crate::ids::SessionId;
use crate::limits;
use crate::wire::{QoS, Run};

/// Nothing of a subscription but No Local can matter to this message.
pub(super) fn is_plain(routing: &Routing<'_>, matches: &[(SessionId, Subscription)]) -> bool {
    routing.qos == QoS::AtMostOnce
        && !routing.retain
        && matches
            .iter()
            .all(|(_, subscription)| subscription.identifier().is_none())
}

/// The routing in which nobody was served.
pub(super) const NOBODY: u64 = u64::MAX;

/// Whom a plain delivery met.
pub(super) struct Met {
    /// `None`: no Session to take it; a Session always takes QoS 0, be it to drop it.
    pub found: Option<bool>,
    /// Someone who does not take a run as it came: another version, or a group, which shares its messages out.
    others: bool,
}

impl Shard {
    /// Delivers a run: as it came to who takes it so, then message by message to the others.
    #[inline(never)]
    pub(super) fn deliver_run(
        &mut self,
        routing: &mut Routing<'_>,
        as_came: &AsCame<'_>,
        matches: &[(SessionId, Subscription)],
        origin: Origin,
        out: &mut Outputs,
    ) {
        let mut served = NOBODY;
        if is_plain(routing, matches) {
            self.routings += 1;
            served = self.routings;
            if !self
                .deliver_plain(routing, matches, NOBODY, origin, out)
                .others
            {
                return;
            }
        }
        for (frame, payload) in as_came.run.messages(routing.payload.len()) {
            let run = Run::one(&frame);
            let mut message = Routing {
                payload,
                as_came: Some(AsCame { run, ..*as_came }),
                message: None,
                ..*routing
            };
            self.deliver_message(&mut message, matches, served, origin, out);
        }
    }

    /// Delivers a message to the Sessions of this shard but those who were `served` before, and a run to those who take it as it came.
    pub(super) fn deliver_plain(
        &mut self,
        routing: &mut Routing<'_>,
        matches: &[(SessionId, Subscription)],
        served: u64,
        origin: Origin,
        out: &mut Outputs,
    ) -> Met {
        const SENDING: Sending<'_> = Sending {
            qos: QoS::AtMostOnce,
            dup: false,
            retain: false,
            identifiers: &[],
            share: None,
        };
        let as_came = routing.as_came;
        let (bytes, packets) = as_came.map_or((&[][..], 1), |as_came| {
            (as_came.run.bytes, as_came.run.packets)
        });
        let mut met = Met {
            found: None,
            others: false,
        };
        for (session_id, subscription) in matches {
            if subscription.options.no_local && origin.session == Some(*session_id) {
                continue; // [v5 MQTT-3.8.3-3]
            }
            let Some(session) = self.sessions.get_mut(*session_id) else {
                if packets == 1 {
                    self.shares.found(*session_id);
                }
                met.others = true;
                continue;
            };
            let mark = session.route_mark.0;
            if mark == self.routings || mark == served {
                continue; // Served already. [v3.1.1 MQTT-3.3.5-1]
            }
            let behind = session.queue.bytes() > limits::QUEUE_HIGH_BYTES;
            let connection = session
                .connection
                .and_then(|id| self.connections.get_mut(id));
            let Some(connection) = connection else {
                session.route_mark.0 = self.routings;
                met.found = Some(true);
                continue;
            };
            let so = as_came.is_some_and(|as_came| as_came.suits(connection));
            if !so && packets > 1 {
                met.others = true;
                continue;
            }
            session.route_mark.0 = self.routings;
            met.found = Some(true);
            if connection.overfull() {
                self.counters
                    .drop_messages(Dropped::SlowReader, u64::from(packets));
                continue;
            }
            let id = connection.id;
            if so {
                connection.outbox.append(&mut self.pool, bytes);
                connection.unsent_bytes += bytes.len();
                if !connection.dirty {
                    connection.dirty = true;
                    self.dirty.push(id);
                }
                self.counters.messages_sent += u64::from(packets);
                if connection.unsent_bytes <= limits::OUTBOX_HIGH_BYTES && !behind {
                    continue;
                }
            } else {
                self.send_publish(id, routing, &SENDING, None);
            }
            self.pace_if_slow(*session_id, id, origin, out);
        }
        met
    }
}
