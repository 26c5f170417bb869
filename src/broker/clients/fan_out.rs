//! Delivers one message to the Sessions that a routing found, with all subscription options. Overlapping subscriptions
//! are joined into one delivery. `plain` is a shorter way for plain QoS 0; both have the same effect, and the simulator
//! plays both.

use super::owner::Clients;
use crate::broker::outputs::Outputs;
use crate::broker::passing::{Origin, Routing, Sending, Subscriber, Subscription, Target};
use crate::wire::{QoS, Version};

/// Of all subscription options only No Local can matter to this message. `general`: the settings want every message
/// delivered with all options.
#[inline]
pub fn is_plain(
    routing: &Routing<'_>,
    matches: &[(Subscriber, Subscription)],
    general: bool,
) -> bool {
    !general
        && routing.qos == QoS::AtMostOnce
        && !routing.retain
        && matches
            .iter()
            .all(|(_, subscription)| subscription.identifier().is_none())
}

impl Clients {
    /// Delivers one message to all Sessions found except those that the routing `served` has reached. Returns
    /// `Some(false)` if no Session could take it, `None` if there was no Session.
    #[inline]
    pub fn deliver_to_all(
        &mut self,
        routing: &mut Routing<'_>,
        matches: &[(Subscriber, Subscription)],
        served: u64,
        origin: Origin,
        out: &mut Outputs,
    ) -> Option<bool> {
        self.routings += 1;
        self.shapes.clear();
        if is_plain(routing, matches, self.general) {
            self.deliver_plain(routing, matches, served, origin, out)
                .found
        } else {
            self.deliver_general(routing, matches, origin, out)
        }
    }

    fn deliver_general(
        &mut self,
        routing: &mut Routing<'_>,
        matches: &[(Subscriber, Subscription)],
        origin: Origin,
        out: &mut Outputs,
    ) -> Option<bool> {
        let mut targets = std::mem::take(&mut self.targets);
        targets.clear();
        for (subscriber, subscription) in matches {
            let Subscriber::Session(session_id) = subscriber else {
                continue;
            };
            let options = subscription.options;
            if options.no_local && origin.session == Some(*session_id) {
                continue; // [v5 MQTT-3.8.3-3]
            }
            let Some(session) = self.sessions.get_mut(*session_id) else {
                continue;
            };
            let qos = match self.settings.upgrade_qos {
                true => options.qos,
                false => options.qos.min(routing.qos),
            };
            let (mark, at) = (session.routed, session.target);
            let joined = !self.settings.duplicates || {
                let connection = session.connection.and_then(|id| self.connections.get(id));
                connection.is_none_or(|connection| connection.version == Version::V5)
            };
            if mark == self.routings && joined {
                let target: &mut Target = &mut targets[at as usize];
                target.qos = target.qos.max(qos);
                target.retain_as_published |= options.retain_as_published;
                target.identifiers.extend(subscription.identifier());
            } else {
                (session.routed, session.target) = (self.routings, targets.len() as u32);
                targets.push(Target {
                    session: *session_id,
                    qos,
                    retain_as_published: options.retain_as_published,
                    identifiers: subscription.identifier().into_iter().collect(),
                });
            }
        }
        let mut taken = (!targets.is_empty()).then_some(false);
        for target in &targets {
            let sending = Sending {
                qos: target.qos,
                dup: false,
                retain: routing.retain && target.retain_as_published,
                identifiers: &target.identifiers,
                share: None,
            };
            let delivered = self.deliver(target.session, routing, &sending, origin, out);
            taken = taken.map(|taken| taken || delivered);
        }
        self.targets = targets;
        taken
    }

    /// What was encoded of the last message is of no use for the next.
    #[inline]
    pub fn clear_shapes(&mut self) {
        self.shapes.clear();
    }
}
