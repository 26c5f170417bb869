//! Storms: several Clients of one user send packets of every kind and size, read or do not, come, go and come back,
//! to one shard with little memory. Another user's Client goes on meanwhile. Used by the fuzz target and, without a
//! fuzzer, by `tests/corpora.rs`.
//!
//! What must hold after each turn: the account book is exact (`check_invariants`), it is never above the limit by more
//! than what one packet can add, the bystander's messages come back in order, and no turn does much more work than its
//! budget. At the end, when all are gone, nothing is left.

use super::chance::Chance;
use mqttfast::broker::{CloseCause, Found, Input, Output, Outputs, Shard, Survey};
use mqttfast::config::Settings;
use mqttfast::ids::{ConnectionId, ListenerId, ShardId};
use mqttfast::time::Time;

/// What all Clients together may hold.
const MEMORY_BYTES: u64 = 4 * 1024 * 1024;
/// What may lie above that for a moment: what one read brings in, which is looked at packet by packet.
const OVER_BYTES: u64 = 1024 * 1024;
/// Clients of the storm.
const FOES: usize = 6;
/// The slot of the bystander.
const BYSTANDER: u32 = FOES as u32;
/// Steps of one storm.
const STEPS_MAX: usize = 200;
/// Sizes of names and payloads, from small to large.
const SIZES: [usize; 8] = [0, 1, 20, 200, 2_000, 16_500, 65_000, 300_000];
/// Times that a packet is repeated in one read.
const TIMES: [usize; 4] = [1, 2, 10, 100];

/// A Client as the driver sees it.
struct Peer {
    id: ConnectionId,
    open: bool,
    /// The shard takes bytes from it.
    reading: bool,
    /// A send is under way: its chunks lie here until they are taken.
    sending: Option<mqttfast::buffer::Chunks>,
    /// Takes what is sent to it.
    takes: bool,
    /// Bytes that were taken and not looked at; the bystander's alone are kept.
    came: Vec<u8>,
    /// Of the last PUBLISH of QoS 1 or 2, and of what it acknowledges.
    packet_id: u16,
}

/// One shard, its Clients and what they owe each other.
struct Storm {
    shard: Shard,
    out: Outputs,
    now: u64,
    peers: Vec<Peer>,
    number: u32,
}

/// A storm out of any bytes. Panics where something does not hold.
pub fn holds(data: &[u8]) {
    let mut chance = Chance(data);
    let mut storm = Storm::new();
    storm.connect(BYSTANDER as usize, "bystander", false, 4);
    storm.send(BYSTANDER as usize, &subscribe(1, "by", 0, None));
    storm.end_turn();
    storm.peers[BYSTANDER as usize].came.clear();
    for _ in 0..STEPS_MAX {
        if chance.0.is_empty() {
            break;
        }
        storm.step(&mut chance);
        storm.end_turn();
        storm.bystander_is_served();
        storm.check();
    }
    storm.end();
}

impl Storm {
    fn new() -> Storm {
        let settings = Settings {
            memory_bytes_max: MEMORY_BYTES,
            ..Settings::default()
        };
        let peer = |index| Peer {
            id: ConnectionId {
                index,
                generation: 0,
            },
            open: false,
            reading: true,
            sending: None,
            takes: true,
            came: Vec::new(),
            packet_id: 0,
        };
        Storm {
            shard: Shard::new(ShardId(0), 1, settings),
            out: Outputs::default(),
            now: 1,
            peers: (0..=BYSTANDER).map(peer).collect(),
            number: 0,
        }
    }

    fn input(&mut self, input: Input<'_>) {
        self.shard.handle(Time(self.now), input, &mut self.out);
        self.carry_out();
    }

    fn carry_out(&mut self) {
        for output in std::mem::take(&mut self.out.list) {
            match output {
                Output::Send { connection, chunks } => {
                    let peer = &mut self.peers[connection.index as usize];
                    if peer.open && peer.id == connection {
                        peer.sending = Some(chunks);
                    }
                }
                Output::StopReading { connection } => {
                    self.peers[connection.index as usize].reading = false;
                }
                Output::ResumeReading { connection } => {
                    self.peers[connection.index as usize].reading = true;
                }
                Output::Close { connection, .. } => {
                    let peer = &mut self.peers[connection.index as usize];
                    if peer.id == connection {
                        peer.open = false;
                    }
                }
                _ => {}
            }
        }
    }

    /// What was sent is taken by those that take it; the turn ends.
    fn end_turn(&mut self) {
        for _ in 0..100 {
            self.now += 1;
            self.shard.flush(Time(self.now), &mut self.out);
            self.carry_out();
            let mut moved = false;
            for at in 0..self.peers.len() {
                let peer = &mut self.peers[at];
                if !(peer.open && peer.takes) {
                    continue;
                }
                let Some(chunks) = peer.sending.take() else {
                    continue;
                };
                let mut bytes = 0;
                for chunk in chunks.iter() {
                    bytes += chunk.bytes().len();
                    if at == BYSTANDER as usize {
                        peer.came.extend(chunk.bytes());
                    }
                }
                let (connection, returned) = (peer.id, Some(chunks));
                self.input(Input::Sent {
                    connection,
                    bytes,
                    returned,
                });
                moved = true;
            }
            let due = self.shard.next_deadline();
            let at_once = due.is_some_and(|due| due.0 <= self.now);
            if at_once {
                self.input(Input::Tick);
            }
            if !(moved || at_once) {
                return;
            }
        }
    }

    fn connect(&mut self, at: usize, client_id: &str, persistent: bool, level: u8) {
        self.close(at);
        let peer = &mut self.peers[at];
        peer.id.generation += 1;
        (peer.open, peer.reading, peer.takes) = (true, true, true);
        peer.came.clear();
        let connection = peer.id;
        self.input(Input::Opened {
            connection,
            address: std::net::SocketAddr::from(([127, 0, 0, 1], 1000)),
            listener: ListenerId(0),
            crowded: false,
        });
        let user = if at == BYSTANDER as usize {
            "alice"
        } else {
            "mallory"
        };
        let connect = connect(client_id, user, persistent, level);
        self.send(at, &connect);
        self.end_turn();
    }

    /// The peer closes, if it is open.
    fn close(&mut self, at: usize) {
        let peer = &mut self.peers[at];
        peer.sending = None;
        if std::mem::take(&mut peer.open) {
            let connection = peer.id;
            let cause = CloseCause::PeerClosed;
            self.input(Input::Closed { connection, cause });
        }
    }

    /// Bytes come, if the shard takes any.
    fn send(&mut self, at: usize, bytes: &[u8]) {
        for part in bytes.chunks(16 * 1024) {
            let peer = &self.peers[at];
            if !(peer.open && peer.reading) {
                return;
            }
            let connection = peer.id;
            let bytes = part;
            self.input(Input::Bytes { connection, bytes });
        }
    }

    /// What one of the foes does.
    fn step(&mut self, chance: &mut Chance<'_>) {
        let at = chance.below(FOES);
        if !self.peers[at].open {
            // Foes share few client ids, so they take over and come back to each other's Sessions.
            let client_id = format!("foe-{}", chance.below(FOES + 2));
            let persistent = chance.below(2) == 1;
            return self.connect(at, &client_id, persistent, 5);
        }
        let topic = topic(chance);
        let bytes = match chance.below(16) {
            0 => subscribe(1, &topic, chance.below(3) as u8, None),
            1 => subscribe(
                1,
                chance.of(&["#", "+/#", "t/+", "+/+/+"]),
                1,
                Some(chance.below(200) as u32 + 1),
            ),
            2 => subscribe(1, &format!("$share/g{}/#", chance.below(100)), 1, None),
            3 => many_filters(&topic, chance.of(&[10, 300, 3_000])),
            4 => packet(0xA2, &[&[0, 1, 0][..], &string(topic.as_bytes())].concat()),
            5 | 6 => self.publish(at, &topic, chance, 0),
            7 | 8 => self.publish(at, &topic, chance, 1),
            9 => self.publish(at, &topic, chance, 2),
            10 => self.publish(at, &topic, chance, 0x80), // Retained.
            11 => by_alias(&topic),
            12 => acknowledge(
                chance.of(&[0x40, 0x50, 0x62, 0x70]),
                chance.below(40) as u16 + 1,
            ),
            13 => vec![0xC0, 0],
            14 => {
                self.peers[at].takes ^= true;
                return;
            }
            _ => match chance.below(4) {
                0 => return self.close(at),
                1 => {
                    self.send(at, &[0xE0, 0]);
                    return;
                }
                2 => {
                    self.now += 1_000;
                    return;
                }
                // The beginning of a large packet.
                _ => packet(0x30, &vec![0; 900_000])[..600_000].to_vec(),
            },
        };
        let bytes = if bytes.len() < 70_000 {
            let times = chance.of(&TIMES).min(4 * 1024 * 1024 / bytes.len());
            bytes.repeat(times)
        } else {
            bytes
        };
        self.send(at, &bytes);
    }

    fn publish(&mut self, at: usize, topic: &str, chance: &mut Chance<'_>, kind: u8) -> Vec<u8> {
        let payload = vec![b'x'; chance.of(&SIZES)];
        let qos = kind & 3;
        let mut body = string(topic.as_bytes());
        if qos > 0 {
            let peer = &mut self.peers[at];
            peer.packet_id = peer.packet_id % 60_000 + 1;
            body.extend(peer.packet_id.to_be_bytes());
        }
        let mut block = Vec::new();
        for _ in 0..chance.of(&[0, 0, 0, 30]) {
            block.push(0x26);
            block.extend(string(b"name"));
            block.extend(string(b"value"));
        }
        body.extend(length(block.len()));
        body.extend(block);
        body.extend(payload);
        packet(0x30 | qos << 1 | kind >> 7, &body)
    }

    /// The other user's Client sends itself a message. It may have to wait, but not for long, and gets what it sent.
    fn bystander_is_served(&mut self) {
        let at = BYSTANDER as usize;
        self.number += 1;
        let text = format!("{:08}", self.number);
        let message = packet(0x30, &[string(b"by"), text.clone().into_bytes()].concat());
        self.peers[at].came.clear();
        // It may be paced for a reader that takes nothing, and that has its bounds.
        for _ in 0..10_000 {
            assert!(self.peers[at].open, "the bystander was closed");
            if self.peers[at].reading {
                break;
            }
            self.now += 10;
            self.tick_if_due();
            self.end_turn();
        }
        assert!(self.peers[at].reading, "the bystander is never read from");
        self.send(at, &message);
        let start = self.now;
        while self.peers[at].came != message {
            assert!(
                self.now - start < 10_000,
                "a message of the bystander is late or lost"
            );
            let came = &self.peers[at].came;
            assert!(came.is_empty(), "something else came: {came:02x?}");
            self.now += 10;
            self.tick_if_due();
            self.end_turn();
        }
    }

    fn tick_if_due(&mut self) {
        if self
            .shard
            .next_deadline()
            .is_some_and(|due| due.0 <= self.now)
        {
            self.input(Input::Tick);
        }
    }

    /// The book is exact, and within the limit.
    fn check(&mut self) {
        self.shard.check_invariants();
        let held = self.held();
        assert!(
            held <= MEMORY_BYTES + OVER_BYTES,
            "{held} bytes are held, of {MEMORY_BYTES}"
        );
    }

    fn held(&mut self) -> u64 {
        let survey = Input::Survey(Box::new(Survey::sums()));
        self.shard.handle(Time(self.now), survey, &mut self.out);
        let mut held = None;
        for output in std::mem::take(&mut self.out.list) {
            if let Output::Report(report) = output
                && let Found::Sums(sums) = report.found
            {
                held = Some(sums.held_bytes);
            }
        }
        held.expect("a survey is answered at once")
    }

    /// All go, their Sessions end, retained messages are deleted: nothing is left in the book.
    fn end(mut self) {
        for at in 0..self.peers.len() {
            self.close(at);
        }
        self.end_turn();
        self.now += 3_600_000;
        for _ in 0..1_000 {
            self.tick_if_due();
            self.end_turn();
        }
        self.shard.check_invariants();
    }
}

fn string(text: &[u8]) -> Vec<u8> {
    let mut out = (text.len() as u16).to_be_bytes().to_vec();
    out.extend(text);
    out
}

fn length(mut value: usize) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let more = u8::from(value > 127) << 7;
        out.push((value % 128) as u8 | more);
        value /= 128;
        if value == 0 {
            return out;
        }
    }
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    out.extend(length(body.len()));
    out.extend(body);
    out
}

fn connect(client_id: &str, user: &str, persistent: bool, level: u8) -> Vec<u8> {
    let mut body = string(b"MQTT");
    body.extend([level, 0x80 | u8::from(!persistent) << 1, 0, 0]);
    if level == 5 {
        match persistent {
            true => body.extend([5, 0x11, 0, 0, 0x0E, 0x10]),
            false => body.push(0),
        }
    }
    body.extend(string(client_id.as_bytes()));
    body.extend(string(user.as_bytes()));
    packet(0x10, &body)
}

/// A Topic Name of few levels and any length.
fn topic(chance: &mut Chance<'_>) -> String {
    let name = ["t", "t/a", "t/b", "u/a", "u/a/b"];
    let mut topic = chance.of(&name).to_owned();
    let len = chance.of(&SIZES).min(65_000);
    if len > topic.len() {
        topic.extend(std::iter::repeat_n('x', len - topic.len()));
    }
    topic
}

fn subscribe(packet_id: u16, filter: &str, qos: u8, identifier: Option<u32>) -> Vec<u8> {
    let mut body = packet_id.to_be_bytes().to_vec();
    if filter != "by" {
        match identifier {
            Some(identifier) => {
                let value = length(identifier as usize);
                body.extend(length(1 + value.len()));
                body.push(0x0B);
                body.extend(value);
            }
            None => body.push(0),
        }
    }
    body.extend(string(filter.as_bytes()));
    body.push(qos);
    packet(0x82, &body)
}

fn many_filters(topic: &str, count: usize) -> Vec<u8> {
    let most = 2_000_000 / (topic.len() + 12);
    let mut body = vec![0, 1, 0];
    for n in 0..count.min(most) {
        body.extend(string(format!("{topic}/{n}").as_bytes()));
        body.push(1);
    }
    packet(0x82, &body)
}

fn by_alias(topic: &str) -> Vec<u8> {
    let publish = |topic: &[u8]| {
        let mut body = string(topic);
        body.extend([3, 0x23, 0, 1, b'x']);
        packet(0x30, &body)
    };
    let mut bytes = publish(topic.as_bytes());
    bytes.extend(publish(b"").repeat(200));
    bytes
}

fn acknowledge(first: u8, packet_id: u16) -> Vec<u8> {
    packet(first, &packet_id.to_be_bytes())
}
