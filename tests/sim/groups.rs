//! Shared Subscriptions in the model: each message to one member of each group, and to another only after a member's
//! Session has ended with it. [v5 4.8.2]

use crate::model::{Message, matches};
use crate::session::Delivery;
use std::collections::{BTreeSet, HashMap, HashSet};

/// A Session by Client and number: a Client may have several, one after the other.
pub type SessionKey = (usize, u32);

/// A message that a member received for its group.
#[derive(Debug)]
struct Given {
    to: SessionKey,
    qos: u8,
    packet_id: u16,
    acknowledged: bool,
}

/// What all groups together have been given.
#[derive(Default)]
pub struct Groups {
    /// Every group ever joined: its text and what it matches.
    ever: BTreeSet<(&'static str, &'static str)>,
    /// Everyone who ever joined each.
    members: HashSet<(&'static str, SessionKey)>,
    given: HashMap<usize, Vec<Given>>,
    /// It cannot be told whether these came for a group.
    perhaps: HashSet<usize>,
    /// Sessions that may have ended.
    over: HashSet<SessionKey>,
}

impl Groups {
    pub fn joined(&mut self, group: &'static str, filter: &'static str, by: SessionKey) {
        self.ever.insert((group, filter));
        self.members.insert((group, by));
    }

    /// From now on others may get what this Session had not acknowledged.
    pub fn session_over(&mut self, session: SessionKey) {
        self.over.insert(session);
    }

    /// A message came to a Session, and was not sent again: `count` times by now for its groups.
    pub fn give(
        &mut self,
        number: usize,
        message: &Message,
        to: SessionKey,
        (qos, delivery): (u8, &Delivery<'_>),
        count: usize,
    ) -> Result<(), String> {
        let given = self.given.entry(number).or_default();
        if given.iter().filter(|given| given.to == to).count() >= count {
            // It came for a group earlier and for another subscription now, or the other way round.
            self.perhaps.insert(number);
            return Ok(());
        }
        if delivery.qos != qos {
            self.perhaps.insert(number); // This one is for another subscription, and one that came before is for the group.
        }
        given.push(Given {
            to,
            qos,
            packet_id: delivery.packet_id,
            acknowledged: false,
        });
        let matching = |(_, filter): &&(&str, &str)| matches(filter, message.topic);
        let groups = self.ever.iter().filter(matching).count();
        // QoS 2 messages once sent stay with their Session, and nothing hands back QoS 0. [v5 MQTT-4.8.2-4,
        // MQTT-4.8.2-5]
        let handed_back = given
            .iter()
            .filter(|given| given.qos == 1 && self.over.contains(&given.to))
            .count();
        let most = message.copies as usize * groups + handed_back;
        if given.len() > most {
            return Err(format!(
                "{groups} groups got it {} times, {handed_back} may have been handed back: {given:?}",
                given.len()
            ));
        }
        Ok(())
    }

    pub fn perhaps(&mut self, number: usize) {
        self.perhaps.insert(number);
    }

    pub fn acknowledged(&mut self, by: SessionKey, packet_id: u16) {
        for given in self.given.values_mut().flatten() {
            given.acknowledged |= given.to == by && given.packet_id == packet_id;
        }
    }

    /// A QoS 2 message may have gone with a Session that ended.
    pub fn may_have_lost(&self, group: &str) -> bool {
        self.members
            .iter()
            .any(|(joined, session)| *joined == group && self.over.contains(session))
    }

    /// Times that a message reached some member for good.
    pub fn came(&self, number: usize) -> usize {
        let for_good =
            |given: &&Given| given.qos != 1 || given.acknowledged || !self.over.contains(&given.to);
        let given = self.given.get(&number);
        given.map_or(0, |given| given.iter().filter(for_good).count())
            + 100 * usize::from(self.perhaps.contains(&number))
    }

    /// Groups that match a topic.
    pub fn matching(&self, topic: &str) -> Vec<&'static str> {
        self.ever
            .iter()
            .filter(|(_, filter)| matches(filter, topic))
            .map(|(group, _)| *group)
            .collect()
    }
}
