//! A bridge between a sound broker and a hostile one. The bytes choose what the hostile broker does: connects, refuses,
//! sends packets of every kind, right ones and wrong ones, a piece of a stream at a time, acknowledges what it has and
//! what it has not, in any order, reads what it is sent or does not. Used by the fuzz target of this name and, without
//! a fuzzer, by `tests/corpora.rs`.
//!
//! What must hold: nothing panics, and what the sound broker is sent is always a packet that may come; the bridge holds
//! no more than its limits say; the sound broker gives a message up only after the hostile one has acknowledged it, or
//! said that it takes none such, and has each QoS 1 message that the hostile one was acknowledged; and when a sound
//! broker stands in the place of the hostile one, the bridge connects, and all that was not given up arrives.

use super::chance::Chance;
use super::model::{Broker, Message};
use mqttfast::bridge::props::terms_of;
use mqttfast::bridge::{Action, Event, Loops, Machine, Side, State};
use mqttfast::limits;
use mqttfast::time::Time;
use mqttfast::wire::{
    AckKind, ConnAck, ConnAckProperties, Packet, PacketId, Publish, PublishProperties, QoS,
    ReasonCode, SubAck, TopicName, UnsubAck, Version, append_ack, decode, next_frame, packet_type,
};
use std::collections::BTreeSet;

/// Lines of the bridge. Its packets are small, so that its limits are near.
const LINES: &str = "topic # both 2 loc/ rem/\nrestart_timeout 1 1\nbridge_max_packet_size 4096\n\
    bridge_retain_deletions true\n";
/// Steps of one run.
const STEPS_MAX: usize = 120;
/// Messages of the sound broker: five are under way at a time, and all arrive in the end.
const PUBLISHED_MAX: u32 = 400;
/// Times that a packet is sent in one piece.
const TIMES: [usize; 5] = [1, 2, 5, 100, 1_000];
/// Ends of pieces of the stream.
const CUTS: [usize; 6] = [1, 2, 7, 100, limits::BRIDGE_READ_BYTES, usize::MAX];
/// Packet Identifiers: those of the first messages, and those of what a bridge asks.
const IDS: [u16; 12] = [1, 2, 3, 4, 5, 6, 7, 8, 300, 65_533, 65_534, 65_535];
const TOPICS: [&str; 6] = ["rem/a", "rem/b", "loc/a", "a", "$SYS/x", "rem/"];
const KINDS: [AckKind; 4] = [
    AckKind::PubAck,
    AckKind::PubRec,
    AckKind::PubRel,
    AckKind::PubComp,
];

fn any_id(chance: &mut Chance<'_>) -> PacketId {
    PacketId::new(chance.of(&IDS)).expect("not 0")
}

/// The hostile broker as far as it must be watched: what its words mean on this connection.
#[derive(Default)]
struct Foe {
    /// What it sends and the bridge has not read.
    sends: Vec<u8>,
    /// What the bridge has read of it and no packet was made of.
    said: Vec<u8>,
    /// What the bridge has sent it and no packet was made of.
    heard: Vec<u8>,
    /// It has said that it has the messages with these identifiers, or refused them.
    acknowledged: BTreeSet<PacketId>,
    /// In its CONNACK, or nothing more can be said of it: it takes no message of some kind.
    takes_less: bool,
    /// PUBACK packets that it was sent.
    answered: usize,
}

struct World {
    machine: Machine,
    version: Version,
    loops: Loops,
    local: Broker,
    foe: Foe,
    /// What stands in its place at last.
    friend: Option<Broker>,
    open: [bool; 2],
    wanted: [bool; 2],
    now: Time,
    /// PUBACK packets of all connections to the hostile broker.
    answered: usize,
    number: u32,
    asked_retained: bool,
    published: BTreeSet<u32>,
}

impl World {
    fn new(version: Version) -> World {
        let mut world = World {
            machine: Machine::new(terms_of(version, LINES), 1),
            version,
            loops: Loops::new(true, 1),
            local: Broker::mqttfast(5),
            foe: Foe::default(),
            friend: None,
            open: [false; 2],
            wanted: [false; 2],
            now: Time(1),
            answered: 0,
            number: 0,
            asked_retained: false,
            published: BTreeSet::new(),
        };
        let mut actions = Vec::new();
        world.machine.start(world.now, &mut actions);
        world.carry_out(actions);
        world
    }

    fn handle(&mut self, event: Event<'_>) {
        let mut actions = Vec::new();
        self.machine
            .handle(self.now, event, &mut self.loops, &mut actions);
        self.carry_out(actions);
    }

    fn carry_out(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Connect(_) => self.wanted[1] = true,
                Action::OpenLocal => self.wanted[0] = true,
                Action::Close(side) => {
                    self.wanted[side as usize] = false;
                    if self.open[side as usize] {
                        self.deliver(side, usize::MAX);
                    }
                    self.machine.outgoing(side).taken(usize::MAX);
                    self.closed(side);
                }
                Action::AskRetained => {
                    // All that it might have written, with what it has said.
                    self.asked_retained = true;
                }
                Action::Publish { .. } | Action::AskWaiting | Action::Tell(_) => {}
            }
        }
    }

    fn closed(&mut self, side: Side) {
        self.open[side as usize] = false;
        match side {
            Side::Local => self.local.cut(),
            Side::Remote => {
                self.answered += self.foe.answered;
                // What it has said may still be on its way.
                let acknowledged = std::mem::take(&mut self.foe.acknowledged);
                self.foe = Foe {
                    acknowledged,
                    takes_less: self.foe.takes_less,
                    ..Foe::default()
                };
                if let Some(friend) = &mut self.friend {
                    friend.cut();
                }
            }
        }
    }

    /// Opens what the bridge has asked for.
    fn open(&mut self, side: Side) {
        if std::mem::take(&mut self.wanted[side as usize]) {
            self.open[side as usize] = true;
            if side == Side::Remote {
                self.foe = Foe::default();
            }
            self.handle(Event::Opened(side));
        }
    }

    /// A broker takes so many bytes of what the bridge has for it.
    fn deliver(&mut self, side: Side, most: usize) {
        let unsent = self.machine.outgoing(side).unsent();
        let bytes = unsent[..unsent.len().min(most)].to_vec();
        self.machine.sent(side, bytes.len(), self.now);
        match (side, &mut self.friend) {
            (Side::Local, _) => self.local.receive(&bytes, false),
            (Side::Remote, Some(friend)) => friend.receive(&bytes, false),
            (Side::Remote, None) => self.foe.hears(&bytes, self.version),
        }
    }

    /// The bridge reads so many bytes of a broker.
    fn read(&mut self, side: Side, most: usize) {
        if !self.open[side as usize] || !self.machine.wants(side) {
            return;
        }
        let sends = match (side, &mut self.friend) {
            (Side::Local, _) => &mut self.local.sends,
            (Side::Remote, Some(friend)) => &mut friend.sends,
            (Side::Remote, None) => &mut self.foe.sends,
        };
        let count = sends.len().min(most).min(limits::BRIDGE_READ_BYTES);
        let bytes: Vec<u8> = sends.drain(..count).collect();
        if bytes.is_empty() {
            return;
        }
        if side == Side::Remote && self.friend.is_none() {
            self.foe.says(&bytes, self.version);
        }
        self.handle(Event::Bytes(side, &bytes));
    }

    /// The sound broker does all it has to do.
    fn serve(&mut self) {
        if std::mem::take(&mut self.asked_retained) {
            for topic in ["loc/a", "loc/b", "loc/", "loc/c"] {
                self.handle(Event::Retained(topic, b"1"));
            }
            self.handle(Event::RetainedEnd);
        }
        for _ in 0..4 {
            self.open(Side::Local);
            if self.open[0] {
                self.deliver(Side::Local, usize::MAX);
                if self.local.broken {
                    self.closed(Side::Local);
                    self.handle(Event::Closed(Side::Local, "a rule is broken"));
                }
            }
            self.read(Side::Local, usize::MAX);
        }
    }

    fn publish(&mut self, qos: QoS) {
        if self.number == PUBLISHED_MAX {
            return;
        }
        self.number += 1;
        let kept = qos != QoS::AtMostOnce && self.local.has_session();
        if kept {
            self.published.insert(self.number);
        }
        self.local.publish(Message {
            topic: "loc/a".to_owned(),
            qos,
            number: self.number,
        });
    }

    fn check(&mut self) {
        // Two messages that grow by a prefix, a read of each side, and what the limits say.
        let most = limits::BRIDGE_UNSENT_BYTES_MAX
            + limits::BRIDGE_UNREAD_BYTES_MAX
            + 4 * limits::BRIDGE_READ_BYTES;
        let held = self.machine.held_bytes();
        assert!(held <= most, "{held} bytes are held");
        let counts = self.machine.status().counts;
        let less = counts.unmapped > 0 || counts.refused > 0;
        let ended = std::mem::take(&mut self.local.given_up);
        for (id, number) in ended {
            let known = self.foe.acknowledged.contains(&id) || self.foe.takes_less;
            assert!(
                known || less,
                "{number} is lost: {id:?} is not acknowledged"
            );
            self.published.remove(&number);
        }
        let came = self.local.got.len() as u64;
        let answered = (self.answered + self.foe.answered) as u64;
        assert!(answered <= came + counts.unmapped + counts.refused);
    }

    /// A sound broker from now on.
    fn make_friends(&mut self) {
        if std::mem::take(&mut self.open[1]) {
            self.closed(Side::Remote);
            self.handle(Event::Closed(Side::Remote, "gone"));
        }
        // What was on its way from the hostile one has arrived with that.
        self.check();
        self.friend = Some(Broker::new(self.version, 5));
        for _ in 0..500 {
            self.open(Side::Remote);
            self.serve();
            if self.open[1] {
                self.deliver(Side::Remote, usize::MAX);
            }
            self.read(Side::Remote, usize::MAX);
            let up = self.machine.status().state == State::Up;
            if up && self.local.is_quiet() && !self.machine.has_unsent(Side::Remote) {
                break;
            }
            // The longest rest is that after a loop.
            let longest = self.now + 2 * limits::BRIDGE_LOOP_PAUSE_MS;
            let next = self.machine.next_deadline().min(longest);
            if !self.wanted[1] && !self.open[1] {
                self.now = self.now.max(next);
                self.handle(Event::Tick);
            }
        }
        assert_eq!(self.machine.status().state, State::Up);
        let friend = self.friend.as_ref().expect("it is there");
        for number in &self.published {
            let arrived = friend.got.iter().any(|got| got.number == *number);
            assert!(arrived, "{number} has not arrived");
        }
    }
}

impl Foe {
    /// What it says means something, as far as it is packets.
    fn says(&mut self, bytes: &[u8], version: Version) {
        self.said.extend_from_slice(bytes);
        let mut at = 0;
        while let Ok(Some(frame)) = next_frame(&self.said[at..], 1 << 20) {
            at += frame.bytes.len();
            match decode(Some(version), &frame) {
                Ok(Packet::Ack(AckKind::PubAck | AckKind::PubRec, ack)) => {
                    self.acknowledged.insert(ack.packet_id);
                }
                Ok(Packet::ConnAck(connack)) => {
                    let properties = connack.properties;
                    self.takes_less |= properties.maximum_packet_size.is_some()
                        || properties.maximum_qos.is_some();
                }
                _ => {}
            }
        }
        self.said.drain(..at);
    }

    fn hears(&mut self, bytes: &[u8], version: Version) {
        self.heard.extend_from_slice(bytes);
        let mut at = 0;
        while let Some(frame) = next_frame(&self.heard[at..], 1 << 20).expect("a frame") {
            at += frame.bytes.len();
            let of = Some(version).filter(|_| frame.packet_type() != packet_type::CONNECT);
            let packet = decode(of, &frame).expect("a bridge sends packets");
            self.answered += usize::from(matches!(packet, Packet::Ack(AckKind::PubAck, _)));
        }
        self.heard.drain(..at);
    }

    /// Adds a packet to what it sends.
    fn send(&mut self, kind: usize, chance: &mut Chance<'_>, version: Version) {
        let mut bytes = Vec::new();
        // 3.1 has no code for it.
        let refusal: &[u8] = if version == Version::V31 {
            &[1]
        } else {
            &[0x80]
        };
        match kind {
            0 => {
                let v5 = version == Version::V5;
                let properties = ConnAckProperties {
                    receive_maximum: chance.of(&[None, Some(1), Some(100)]).filter(|_| v5),
                    maximum_qos: chance
                        .of(&[None, None, Some(QoS::AtMostOnce), Some(QoS::AtLeastOnce)])
                        .filter(|_| v5),
                    maximum_packet_size: chance.of(&[None, None, Some(30)]).filter(|_| v5),
                    topic_alias_maximum: chance.of(&[None, Some(3)]).filter(|_| v5),
                    ..Default::default()
                };
                let code = chance.of(&[0, 0, 0, 5]) * if v5 { 27 } else { 1 };
                let present = chance.below(2) == 1;
                ConnAck {
                    session_present: present && code == 0 && version != Version::V31,
                    code,
                    properties,
                }
                .encode(version, &mut bytes);
            }
            1 => SubAck {
                packet_id: PacketId::new(chance.of(&[65_535, 65_535, 65_535, 7])).expect("not 0"),
                codes: chance.of::<&[u8]>(&[&[2], &[2], refusal, &[1, 1], &[0]]),
                reason_string: None,
                user_properties: Default::default(),
            }
            .encode(version, &mut bytes),
            2 => UnsubAck {
                packet_id: any_id(chance),
                codes: &[0x11][..usize::from(version == Version::V5)],
                reason_string: None,
                user_properties: Default::default(),
            }
            .encode(version, &mut bytes),
            3 => {
                let qos = chance.of(&[QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce]);
                let topic = TopicName::new(chance.of(&TOPICS)).expect("a name");
                let alias = chance.of(&[None, None, None, Some(1), Some(11)]);
                let alias = alias.filter(|_| version == Version::V5);
                let payload = chance.of(&[b"1".as_slice(), b"", &[b'x'; 900], &[b'y'; 4_200]]);
                Publish {
                    dup: qos != QoS::AtMostOnce && chance.below(4) == 0,
                    qos,
                    retain: chance.below(4) == 0,
                    topic: Some(topic).filter(|_| alias.is_none() || chance.below(2) == 0),
                    packet_id: Some(any_id(chance)).filter(|_| qos != QoS::AtMostOnce),
                    properties: PublishProperties {
                        topic_alias: alias,
                        ..Default::default()
                    },
                    payload,
                }
                .encode(version, &mut bytes);
            }
            4 => {
                let kind = chance.of(&KINDS);
                let reason =
                    chance.of(&[ReasonCode::SUCCESS, ReasonCode::SUCCESS, ReasonCode(0x80)]);
                let reason = match (kind, version) {
                    (AckKind::PubAck | AckKind::PubRec, Version::V5) => reason,
                    _ => ReasonCode::SUCCESS,
                };
                append_ack(kind, version, any_id(chance), reason, &mut bytes);
            }
            5 => bytes.extend([0xD0, 0]),
            _ => {
                let count = chance.below(40).min(chance.0.len());
                let (taken, rest) = chance.0.split_at(count);
                bytes.extend_from_slice(taken);
                chance.0 = rest;
            }
        }
        let times = match kind {
            0 => 1,
            _ => chance.of(&TIMES),
        };
        // Who sends more than the bridge reads waits.
        if self.sends.len() < 8 * limits::BRIDGE_READ_BYTES {
            self.sends.extend(bytes.repeat(times));
        }
    }
}

/// Lets the bytes play the hostile broker.
pub fn holds(data: &[u8]) {
    let mut chance = Chance(data);
    let version = chance.of(&Version::ALL);
    let mut world = World::new(version);
    world.serve();
    for _ in 0..STEPS_MAX {
        if chance.0.is_empty() {
            break;
        }
        match chance.below(16) {
            step @ 0..=6 if world.open[1] => {
                world.foe.send(step, &mut chance, version);
                world.read(Side::Remote, chance.of(&CUTS));
            }
            7 | 8 => world.read(Side::Remote, chance.of(&CUTS)),
            9 if world.open[1] => world.deliver(Side::Remote, chance.of(&CUTS)),
            10 => {
                let qos = chance.of(&[QoS::AtLeastOnce, QoS::ExactlyOnce, QoS::AtMostOnce]);
                for _ in 0..chance.of(&TIMES[..4]) {
                    world.publish(qos);
                }
            }
            11 => {
                world.now = world.now + chance.of(&[1, 1_500, 20_000, 70_000]);
                world.handle(Event::Tick);
            }
            12 if world.open[1] => {
                world.closed(Side::Remote);
                world.handle(Event::Closed(Side::Remote, "cut"));
            }
            13 => {
                // What mostly comes first.
                world.open(Side::Remote);
                if world.open[1] {
                    world.foe.sends.extend(match version {
                        Version::V5 => [0x20, 3, 0, 0, 0].as_slice(),
                        _ => &[0x20, 2, 0, 0],
                    });
                    world.read(Side::Remote, usize::MAX);
                    world.serve();
                    world.foe.sends.extend(match version {
                        Version::V5 => [0x90, 4, 0xFF, 0xFF, 0, 2].as_slice(),
                        _ => &[0x90, 3, 0xFF, 0xFF, 2],
                    });
                    world.foe.sends.extend([0x40, 2, 0xFF, 0xFD]);
                    world.read(Side::Remote, usize::MAX);
                }
            }
            14 => world.open(Side::Remote),
            _ => {}
        }
        world.check();
        world.serve();
        world.check();
    }
    world.make_friends();
}
