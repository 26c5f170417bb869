//! Delivers one message to the Sessions that a routing found, with all subscription options. Overlapping subscriptions
//! are joined into one delivery. `plain` is a shorter way for plain QoS 0; both have the same effect, and the simulator
//! plays both.

use super::owner::Clients;
use crate::broker::outputs::Outputs;
use crate::broker::passing::{Origin, Routing, Sending, Subscriber, Subscription, Target};
use crate::ids::SessionId;
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

/// The subscriber has published the message, and asked for none of its own. [v5 MQTT-3.8.3-3]
#[inline]
fn is_own(subscription: Subscription, session: SessionId, origin: Origin) -> bool {
    subscription.options.no_local && origin.session == Some(session)
}

/// RETAIN of a live message. [v3.1.1 MQTT-3.3.1-9, v5 MQTT-3.3.1-12, MQTT-3.3.1-13]
#[inline]
fn retain_for(routing: &Routing<'_>, retain_as_published: bool) -> bool {
    routing.retain && retain_as_published
}

impl Clients {
    /// Delivers one message to all Sessions found except those that the routing `served` has reached. Returns
    /// `Some(false)` if no Session could take it, `None` if there was no Session.
    #[inline(always)]
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
        if let [(Subscriber::Session(session), subscription)] = matches {
            // Nothing is to be joined.
            return self.deliver_to_one(*session, *subscription, routing, origin, out);
        }
        let mut targets = std::mem::take(&mut self.targets);
        targets.clear();
        for (subscriber, subscription) in matches {
            let Subscriber::Session(session_id) = subscriber else {
                continue;
            };
            let options = subscription.options;
            if is_own(*subscription, *session_id, origin) {
                continue;
            }
            let qos = self.qos_of(*subscription, routing);
            let Some(session) = self.sessions.get_mut(*session_id) else {
                continue;
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
        let alone = targets.len() == 1;
        for target in &targets {
            let sending = Sending {
                qos: target.qos,
                dup: false,
                retain: retain_for(routing, target.retain_as_published),
                identifiers: &target.identifiers,
                share: None,
                alone,
            };
            let delivered = self.deliver(target.session, routing, &sending, origin, out);
            taken = taken.map(|taken| taken || delivered);
        }
        self.targets = targets;
        taken
    }

    /// The same for the one Session that was found.
    #[inline]
    fn deliver_to_one(
        &mut self,
        session: SessionId,
        subscription: Subscription,
        routing: &mut Routing<'_>,
        origin: Origin,
        out: &mut Outputs,
    ) -> Option<bool> {
        if is_own(subscription, session, origin) || self.sessions.get(session).is_none() {
            return None;
        }
        let identifier = subscription.identifier();
        let sending = Sending {
            qos: self.qos_of(subscription, routing),
            dup: false,
            retain: retain_for(routing, subscription.options.retain_as_published),
            identifiers: identifier.as_slice(),
            share: None,
            alone: true,
        };
        Some(self.deliver(session, routing, &sending, origin, out))
    }

    /// The QoS at which a subscription gets a message.
    #[inline]
    fn qos_of(&self, subscription: Subscription, routing: &Routing<'_>) -> QoS {
        let granted = subscription.options.qos;
        match self.settings.upgrade_qos {
            true => granted,
            false => granted.min(routing.qos),
        }
    }

    /// What was encoded of the last message is of no use for the next.
    #[inline]
    pub fn clear_shapes(&mut self) {
        self.shapes.clear();
    }
}
