//! A Client that behaves: it keeps its side of its Session over connections and crashes.

use super::history::{FILTERS, Interval, Published, Receipts, TOPICS};
use crate::support::*;
use std::collections::{BTreeSet, VecDeque};

/// A message that is not acknowledged to the end.
#[derive(Clone, Debug)]
struct Outgoing {
    number: usize,
    packet_id: u16,
    qos: u8,
    /// PUBREC came.
    received: bool,
}

/// Seconds of a Will Delay Interval.
pub const WILL_DELAY_S: u32 = 90;

pub struct Party {
    pub index: usize,
    version: Version,
    /// Its Session outlives its connections.
    persistent: bool,
    pub client: Option<Client>,
    /// CONNACK has come on this connection.
    pub connected: bool,
    /// CONNACK of its Session has come, and nothing has ended that.
    promised: bool,
    pub intervals: Vec<Interval>,
    /// Interval of each SUBSCRIBE and UNSUBSCRIBE under way.
    asked: Vec<(u16, usize)>,
    pub receipts: Receipts,
    /// QoS 2 messages whose PUBREL is awaited.
    held: BTreeSet<u16>,
    /// Acknowledgements it has not sent yet.
    owed: VecDeque<Vec<u8>>,
    outgoing: Vec<Outgoing>,
    next_id: u16,
    /// The will of its last connection, and of the one before.
    will: Option<Testament>,
    former: Option<Testament>,
}

/// The will of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Testament {
    pub number: usize,
    /// A Will Delay Interval, longer than a Client stays away.
    pub delayed: bool,
    /// The broker ended while the connection was there.
    pub orphaned: bool,
}

impl Party {
    pub fn new(index: usize, version: Version, persistent: bool) -> Party {
        Party {
            index,
            version,
            persistent,
            client: None,
            connected: false,
            promised: false,
            intervals: Vec::new(),
            asked: Vec::new(),
            receipts: Receipts::default(),
            held: BTreeSet::new(),
            owed: VecDeque::new(),
            outgoing: Vec::new(),
            next_id: 0,
            will: None,
            former: None,
        }
    }

    /// Wills of v5 may be delayed, and its Session lives on.
    pub fn may_delay(&self) -> bool {
        self.persistent && self.version == Version::V5
    }

    fn packet_id(&mut self) -> u16 {
        self.next_id = self.next_id % 2_000 + 1;
        self.next_id
    }

    pub fn connect(&mut self, world: &mut World) {
        self.connect_with(world, None, &[]);
    }

    /// With a will of these that were published.
    pub fn connect_with(
        &mut self,
        world: &mut World,
        will: Option<Testament>,
        published: &[Published],
    ) {
        self.lose();
        self.former = std::mem::replace(&mut self.will, will);
        let client = world.open(self.version);
        let mut request = connect(self.version, &format!("party {}", self.index));
        if self.persistent {
            request = request.persistent();
        }
        if let Some(will) = will {
            let message = &published[will.number];
            let (topic, payload) = (TOPICS[message.topic], will.number.to_string());
            request = request.will(topic, &payload, message.qos, false);
            if will.delayed {
                request = request.will_with(will_delay(WILL_DELAY_S));
            }
        }
        world.send(client, request.bytes());
        self.client = Some(client);
    }

    /// The broker has ended. `is_there`: it has not seen the end of the connection.
    pub fn orphan(&mut self, is_there: bool) {
        if let Some(will) = self.will.as_mut().filter(|_| is_there) {
            will.orphaned = true;
        }
        self.lose();
    }

    /// So much time has passed that nobody's return is in time any more.
    pub fn give_up_wills(&mut self) {
        self.will = None;
        self.former = None;
    }

    /// Its connection is gone: what it has not sent it will not send.
    pub fn lose(&mut self) {
        self.client = None;
        self.connected = false;
        self.asked.clear();
        self.owed.clear();
    }

    fn send(&self, world: &mut World, bytes: Vec<u8>) {
        if let Some(client) = self.client.filter(|client| world.is_open(*client)) {
            world.send(client, bytes);
        }
    }

    /// Its Session is new.
    fn forget(&mut self) {
        self.promised = false;
        self.intervals.clear();
        self.receipts = Receipts::default();
        self.held.clear();
        self.outgoing.clear();
    }

    pub fn subscribe(&mut self, world: &mut World, filter: usize, qos: u8) {
        // A filter that is being given up is let alone until that is done.
        let open = |interval: &Interval| interval.filter == filter && interval.unsuback.is_none();
        if self
            .intervals
            .iter()
            .any(|i| open(i) && i.unsubscribed.is_some())
        {
            return;
        }
        let packet_id = self.packet_id();
        let at = match self.intervals.iter().position(open) {
            Some(at) => at,
            None => {
                self.intervals.push(Interval {
                    filter,
                    suback: None,
                    unsubscribed: None,
                    unsuback: None,
                });
                self.intervals.len() - 1
            }
        };
        self.asked.push((packet_id, at));
        let bytes = subscribe(self.version, packet_id, &[(FILTERS[filter], qos)]);
        self.send(world, bytes);
    }

    pub fn unsubscribe(&mut self, world: &mut World, filter: usize, now: u64) {
        let open = |interval: &Interval| interval.filter == filter && interval.unsuback.is_none();
        let Some(at) = self.intervals.iter().position(open) else {
            return;
        };
        let packet_id = self.packet_id();
        self.intervals[at].unsubscribed.get_or_insert(now);
        self.asked.push((packet_id, at));
        let bytes = unsubscribe(self.version, packet_id, &[FILTERS[filter]]);
        self.send(world, bytes);
    }

    pub fn publish(&mut self, world: &mut World, number: usize, message: &Published) {
        let packet_id = if message.qos > 0 { self.packet_id() } else { 0 };
        if message.qos > 0 {
            self.outgoing.push(Outgoing {
                number,
                packet_id,
                qos: message.qos,
                received: false,
            });
        }
        let bytes = self.bytes(number, message, packet_id, false);
        self.send(world, bytes);
    }

    fn bytes(&self, number: usize, message: &Published, packet_id: u16, dup: bool) -> Vec<u8> {
        let payload = if message.empty {
            String::new()
        } else {
            number.to_string()
        };
        let mut packet = publish(TOPICS[message.topic], payload);
        if message.qos > 0 {
            packet = packet.qos(message.qos, packet_id);
        }
        if message.retain {
            packet = packet.retain();
        }
        if dup {
            packet = packet.dup();
        }
        packet.bytes(self.version)
    }

    /// Sends the oldest acknowledgements that it owes.
    pub fn acknowledge(&mut self, world: &mut World, count: usize) {
        for _ in 0..count {
            let Some(bytes) = self.owed.pop_front() else {
                return;
            };
            self.send(world, bytes);
        }
    }

    /// It owes nothing, and waits for nothing.
    pub fn is_idle(&self) -> bool {
        self.connected && self.owed.is_empty() && self.outgoing.is_empty() && self.held.is_empty()
    }

    /// Takes what has arrived.
    pub fn hear(
        &mut self,
        world: &mut World,
        published: &mut [Published],
        now: u64,
    ) -> Result<(), String> {
        let Some(client) = self.client else {
            return Ok(());
        };
        for packet in world.received(client) {
            self.hear_one(world, packet, published, now)?;
        }
        if !world.is_open(client) {
            self.lose();
        }
        Ok(())
    }

    fn hear_one(
        &mut self,
        world: &mut World,
        packet: Packet,
        published: &mut [Published],
        now: u64,
    ) -> Result<(), String> {
        match packet {
            Packet::ConnAck {
                session_present, ..
            } => {
                self.connected = true;
                // The will of before is not published any more, unless that was done before the return.
                if let Some(will) = self.former.take()
                    && session_present
                    && (will.delayed || will.orphaned)
                {
                    published[will.number].void.get_or_insert(now);
                }
                if self.promised && !session_present {
                    return Err(format!("the session of party {} is gone", self.index));
                }
                if !session_present {
                    self.forget();
                }
                self.promised = self.persistent;
                for outgoing in self.outgoing.clone() {
                    let bytes = match outgoing.received {
                        true => pubrel(outgoing.packet_id),
                        false => {
                            let message = &published[outgoing.number];
                            self.bytes(outgoing.number, message, outgoing.packet_id, true)
                        }
                    };
                    self.send(world, bytes);
                }
            }
            Packet::SubAck { packet_id, .. } => {
                if let Some(at) = self.take_asked(packet_id) {
                    self.intervals[at].suback.get_or_insert(now);
                }
            }
            Packet::UnsubAck { packet_id, .. } => {
                if let Some(at) = self.take_asked(packet_id) {
                    self.intervals[at].unsuback.get_or_insert(now);
                }
            }
            Packet::PubAck { packet_id, code } => {
                self.settle(packet_id, 1, code, published);
                self.outgoing.retain(|o| o.packet_id != packet_id);
            }
            Packet::PubRec { packet_id, code } => {
                self.settle(packet_id, 2, code, published);
                if code >= 0x80 {
                    self.outgoing.retain(|o| o.packet_id != packet_id);
                } else {
                    for outgoing in &mut self.outgoing {
                        outgoing.received |= outgoing.packet_id == packet_id;
                    }
                    self.owed.push_back(pubrel(packet_id));
                }
            }
            Packet::PubComp { packet_id, .. } => {
                self.outgoing.retain(|o| o.packet_id != packet_id);
            }
            Packet::PubRel { packet_id, .. } => {
                self.held.remove(&packet_id);
                self.owed.push_back(pubcomp(packet_id));
            }
            Packet::Publish(message) => {
                let id = message.packet_id;
                match message.qos {
                    1 => self.owed.push_back(puback(id)),
                    2 => self.owed.push_back(pubrec(id)),
                    _ => {}
                }
                // A repeat by its Packet Identifier is not handed to the application. [v5 MQTT-4.3.3-10]
                if message.qos < 2 || self.held.insert(id) {
                    let number = message.text().parse();
                    // An empty one is a deletion, which carries no number.
                    if let Ok(number) = number {
                        let of = &self.intervals;
                        self.receipts.receive(
                            number,
                            message.qos,
                            message.retain,
                            published,
                            of,
                        )?;
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn take_asked(&mut self, packet_id: u16) -> Option<usize> {
        let at = self.asked.iter().position(|(id, _)| *id == packet_id)?;
        Some(self.asked.remove(at).1)
    }

    fn settle(&mut self, packet_id: u16, qos: u8, code: u8, published: &mut [Published]) {
        let outgoing = self.outgoing.iter();
        for outgoing in outgoing.filter(|o| o.packet_id == packet_id && o.qos == qos) {
            published[outgoing.number].taken |= code < 0x80;
        }
    }
}
