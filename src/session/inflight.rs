//! QoS 1 and 2 messages sent to a Client and not yet acknowledged to the end, in the order of their first sending. [v3.1.1 4.4, 4.6]

use crate::session::Message;
use crate::session::queue::Identifiers;
use crate::wire::{PacketId, QoS};
use std::collections::VecDeque;
use std::rc::Rc;

/// How far a delivery has come.
#[derive(Debug)]
pub enum Stage {
    /// PUBLISH sent; PUBACK or PUBREC awaited.
    Published {
        message: Rc<Message>,
        qos: QoS,
        retain: bool,
        identifiers: Option<Box<Identifiers>>,
    },
    /// PUBREC received and PUBREL sent; PUBCOMP awaited. The message itself is gone. [v3.1.1 MQTT-4.3.3-1]
    Released,
}

/// One delivery under way.
#[derive(Debug)]
pub struct Delivering {
    pub packet_id: PacketId,
    pub stage: Stage,
}

/// The window of one Session. Small: `Config` bounds it, 20 by default, so a search is a short walk and acknowledgements, which come in
/// order, are found at its first step.
#[derive(Default, Debug)]
pub struct Inflight {
    items: VecDeque<Delivering>,
    last_packet_id: u16,
}

impl Inflight {
    /// Deliveries under way.
    pub fn count(&self) -> usize {
        self.items.len()
    }

    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// In the order of first sending.
    pub fn iter(&self) -> impl Iterator<Item = &Delivering> {
        self.items.iter()
    }

    /// Enters a message and gives it a Packet Identifier that is not in use and not 0. [v3.1.1 MQTT-2.3.1-1, v5 MQTT-2.2.1-4]
    ///
    /// There must be room: at most 65,534 under way.
    pub fn start(&mut self, stage: Stage) -> PacketId {
        assert!(self.items.len() < usize::from(u16::MAX));
        let packet_id = loop {
            self.last_packet_id = self.last_packet_id.wrapping_add(1);
            if let Some(id) = PacketId::new(self.last_packet_id)
                && !self.items.iter().any(|d| d.packet_id == id)
            {
                break id;
            }
        };
        self.items.push_back(Delivering { packet_id, stage });
        packet_id
    }

    /// PUBACK: ends a QoS 1 delivery. `false` if none of that identifier awaits it.
    pub fn acknowledge(&mut self, packet_id: PacketId) -> bool {
        self.end(
            packet_id,
            |stage| matches!(stage, Stage::Published { qos, .. } if *qos == QoS::AtLeastOnce),
        )
    }

    /// PUBREC: a QoS 2 delivery goes on to `Released`; also true for a repeated PUBREC. `false` if none of that
    /// identifier awaits it.
    pub fn receive(&mut self, packet_id: PacketId) -> bool {
        match self.items.iter_mut().find(|d| d.packet_id == packet_id) {
            Some(Delivering {
                stage: Stage::Published { qos, .. },
                ..
            }) if *qos != QoS::ExactlyOnce => false,
            Some(delivering) => {
                delivering.stage = Stage::Released;
                true
            }
            None => false,
        }
    }

    /// PUBREC with a failure code: ends a QoS 2 delivery. [v5 4.3.3]
    pub fn refuse(&mut self, packet_id: PacketId) -> bool {
        self.end(
            packet_id,
            |stage| matches!(stage, Stage::Published { qos, .. } if *qos == QoS::ExactlyOnce),
        )
    }

    /// PUBCOMP: ends a released delivery. `false` if none of that identifier awaits it.
    pub fn complete(&mut self, packet_id: PacketId) -> bool {
        self.end(packet_id, |stage| matches!(stage, Stage::Released))
    }

    fn end(&mut self, packet_id: PacketId, expected: impl Fn(&Stage) -> bool) -> bool {
        let Some(at) = self.items.iter().position(|d| d.packet_id == packet_id) else {
            return false;
        };
        if !expected(&self.items[at].stage) {
            return false;
        }
        if at == 0 {
            self.items.pop_front();
        } else {
            self.items.remove(at);
        }
        true
    }

    /// Panics if an identifier is there twice.
    pub fn check_invariants(&self) {
        let mut ids: Vec<u16> = self.items.iter().map(|d| d.packet_id.get()).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), self.items.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Time;

    fn published(qos: QoS) -> Stage {
        let message = Rc::new(Message::new("t", b"", b"x", qos, false, Time::NEVER));
        Stage::Published {
            message,
            qos,
            retain: false,
            identifiers: None,
        }
    }

    #[test]
    fn identifiers_skip_zero_and_those_in_use() {
        let mut inflight = Inflight::default();
        let first = inflight.start(published(QoS::AtLeastOnce));
        inflight.last_packet_id = u16::MAX;
        assert_eq!(first.get(), 1);
        assert_eq!(inflight.start(published(QoS::AtLeastOnce)).get(), 2);
        inflight.check_invariants();
    }

    #[test]
    fn an_acknowledgement_of_the_wrong_kind_changes_nothing() {
        let mut inflight = Inflight::default();
        let one = inflight.start(published(QoS::AtLeastOnce));
        let two = inflight.start(published(QoS::ExactlyOnce));
        assert!(!inflight.receive(one));
        assert!(!inflight.complete(one));
        assert!(!inflight.acknowledge(two));
        assert!(!inflight.complete(two));
        assert!(inflight.receive(two));
        assert!(inflight.receive(two), "a repeated PUBREC is answered again");
        assert!(inflight.complete(two));
        assert!(inflight.acknowledge(one));
        assert!(inflight.is_empty());
    }

    #[test]
    fn all_identifiers_but_zero_can_be_under_way() {
        let mut inflight = Inflight::default();
        for _ in 0..300 {
            inflight.start(published(QoS::AtLeastOnce));
        }
        inflight.last_packet_id = u16::MAX - 1;
        let last = inflight.start(published(QoS::AtLeastOnce));
        let next = inflight.start(published(QoS::AtLeastOnce));
        assert_eq!((last.get(), next.get()), (65_535, 301));
    }
}
