//! QoS 0 in its plainest form, which most messages have: not retained, for subscriptions without identifiers. Overlaps then change
//! nothing in a delivery but that there is one, so each subscriber is served when it is found, in one look at its Session and its connection.
//!
//! The general way is in `deliver`; both do the same, and the simulator plays both.

use super::counters::Dropped;
use super::deliver::{Origin, Routing};
use super::encode::Sending;
use super::event::Outputs;
use super::shard::Shard;
use super::subscribe::Subscription;
use crate::ids::SessionId;
use crate::limits;
use crate::wire::QoS;

/// Nothing of a subscription but No Local can matter to this message.
pub(super) fn is_plain(routing: &Routing<'_>, matches: &[(SessionId, Subscription)]) -> bool {
    // Planted faults lie in the general way.
    !cfg!(feature = "faults")
        && routing.qos == QoS::AtMostOnce
        && !routing.retain
        && matches
            .iter()
            .all(|(_, subscription)| subscription.identifier().is_none())
}

impl Shard {
    /// Delivers to the Sessions of this shard. `None`: there was none to take it; a Session always takes QoS 0, be it to drop it.
    pub(super) fn deliver_plain(
        &mut self,
        routing: &mut Routing<'_>,
        matches: &[(SessionId, Subscription)],
        origin: Origin,
        out: &mut Outputs,
    ) -> Option<bool> {
        const SENDING: Sending<'_> = Sending {
            qos: QoS::AtMostOnce,
            dup: false,
            retain: false,
            identifiers: &[],
            share: None,
        };
        // As it came, if it can be copied so.
        let frame = routing
            .frame_v3
            .filter(|_| routing.payload.len() < limits::PAYLOAD_SHARED_FROM_BYTES);
        let mut found = None;
        for (session_id, subscription) in matches {
            if subscription.options.no_local && origin.session == Some(*session_id) {
                continue; // [v5 MQTT-3.8.3-3]
            }
            let Some(session) = self.sessions.get_mut(*session_id) else {
                self.shares.found(*session_id);
                continue;
            };
            if session.route_mark.0 == self.routings {
                continue; // Served already. [v3.1.1 MQTT-3.3.5-1]
            }
            session.route_mark.0 = self.routings;
            found = Some(true);
            let behind = session.queue.bytes() > limits::QUEUE_HIGH_BYTES;
            let Some(id) = session.connection else {
                continue;
            };
            let Some(connection) = self.connections.get_mut(id) else {
                continue;
            };
            if connection.overfull() {
                self.counters.drop_messages(Dropped::SlowReader, 1);
                continue;
            }
            match frame {
                Some(frame) if connection.version5.is_none() => {
                    // Before 5.0 no Client has a limit of its own.
                    connection
                        .outbox
                        .block(&mut self.pool, frame.len())
                        .extend_from_slice(frame);
                    connection.unsent_bytes += frame.len();
                    if !connection.dirty {
                        connection.dirty = true;
                        self.dirty.push(id);
                    }
                    self.counters.messages_sent += 1;
                    if connection.unsent_bytes <= limits::OUTBOX_HIGH_BYTES && !behind {
                        continue;
                    }
                }
                _ => {
                    self.send_publish(id, routing, &SENDING, None);
                }
            }
            self.pace_if_slow(*session_id, id, origin, out);
        }
        found
    }
}
