//! What one Client has heard, whatever its bytes came through.

use super::oracle::{self, Packet};
use super::packets::{self, Version};
use super::v5::{Full, Terms};
use std::collections::VecDeque;

pub struct Ear {
    pub version: Version,
    /// Bytes that are no whole packet yet.
    pub arrived: Vec<u8>,
    pub inbox: Vec<Packet>,
    /// The bytes of every packet parsed.
    pub raw: Vec<u8>,
    /// Everything ever parsed.
    pub history: Vec<Packet>,
    /// The same with all that v5 adds, and how many of them `received_full` has given.
    pub fulls: Vec<Full>,
    pub fulls_given: usize,
    /// What the Client's CONNECT demands of a v5 broker.
    pub terms: Terms,
    /// The Client answers PUBLISH and PUBREL by itself, at once.
    pub acknowledges: bool,
    /// The PINGREQ packets without an answer, oldest first: `true` for those a test sent, `false` for those of its
    /// harness, whose answers no test sees. Empty where the harness sends none.
    pub pings: VecDeque<bool>,
    next_packet_id: u16,
}

impl Ear {
    pub fn new(version: Version) -> Ear {
        Ear {
            version,
            arrived: Vec::new(),
            inbox: Vec::new(),
            raw: Vec::new(),
            history: Vec::new(),
            fulls: Vec::new(),
            fulls_given: 0,
            terms: Terms::default(),
            acknowledges: false,
            pings: VecDeque::new(),
            next_packet_id: 1000,
        }
    }

    /// The Client is about to send these bytes: if they are its CONNECT, its terms hold from now on.
    pub fn sends(&mut self, bytes: &[u8]) {
        if self.version == Version::V5
            && self.history.is_empty()
            && let Some(terms) = Terms::of_connect(bytes)
        {
            self.terms = terms;
        }
    }

    /// Parses what has arrived; returns what the Client answers by itself.
    pub fn parse(&mut self) -> Vec<u8> {
        let mut answers = Vec::new();
        let all = self.arrived.clone();
        loop {
            let start = all.len() - self.arrived.len();
            let Some((packet, full)) =
                oracle::take_packet(self.version, &mut self.arrived, &mut self.terms)
            else {
                return answers;
            };
            if packet == Packet::PingResp && self.pings.pop_front() == Some(false) {
                continue;
            }
            self.raw.extend(&all[start..all.len() - self.arrived.len()]);
            self.fulls.extend(full);
            if self.history.is_empty() {
                let first = matches!(packet, Packet::ConnAck { .. });
                assert!(first, "the first packet is {packet:?} [3.1.1 MQTT-3.2.0-1]");
            }
            if self.acknowledges {
                answers.extend(answer(&packet));
            }
            self.history.push(packet.clone());
            self.inbox.push(packet);
        }
    }

    /// A Packet Identifier this Client has not used.
    pub fn packet_id(&mut self) -> u16 {
        self.next_packet_id += 1;
        self.next_packet_id
    }
}

/// What a well-behaved Client answers to this packet.
pub fn answer(packet: &Packet) -> Vec<u8> {
    match packet {
        Packet::Publish(message) if message.qos == 1 => packets::puback(message.packet_id),
        Packet::Publish(message) if message.qos == 2 => packets::pubrec(message.packet_id),
        Packet::PubRel { packet_id, .. } => packets::pubcomp(*packet_id),
        _ => Vec::new(),
    }
}
