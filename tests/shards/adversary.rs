//! Clients that say anything at any time, to reach what only a mistake of ours should: takeovers in the middle of a
//! resend, windows that shrink, acknowledgements of what was never sent, members that leave with deliveries under
//! way, readers that stop anywhere, lanes in any order, limits of every kind set very low.
//!
//! No model says what must be delivered, as the simulator's does, so nothing is left out that would be hard to
//! foretell. The shards' invariants are walked after each event, every packet of theirs must be well-formed, and
//! the broker must come to rest.
//!
//!     MQTTFAST_ADVERSARY_SEEDS=20000 cargo test --release --test shards adversary
//!     MQTTFAST_ADVERSARY_SEED=17 cargo test --test shards adversary            one again

use crate::*;
use mqttfast::broker::CloseCause;
use mqttfast::config::{ListenerSettings, Settings};
use mqttfast::limits;

/// Names, few enough that everyone meets everyone.
const TOPICS: [&str; 6] = ["a", "a/b", "a/b/c", "b", "$x/a", "long/enough/for/an/alias"];
const FILTERS: [&str; 12] = [
    "a",
    "#",
    "+/b",
    "a/#",
    "+/+/c",
    "b",
    "$x/#",
    "long/enough/for/an/alias",
    "$share/g/#",
    "$share/g/a/b",
    "$share/h/+",
    "a/+/c",
];
const CLIENT_IDS: [&str; 5] = ["one", "two", "three", "four", "five"];
/// Small ones, some that are referenced instead of copied, some that fill an outbox.
const PAYLOADS: [usize; 6] = [0, 5, 200, 5_000, 17_000, 140_000];
const STEPS: usize = 120;

#[derive(Clone)]
struct Talker {
    client: Client,
    version: Version,
    /// The rest of a packet of which the beginning was sent.
    rest: Vec<u8>,
}

struct Adversary {
    world: World,
    random: Random,
    talkers: Vec<Talker>,
}

impl Adversary {
    fn new(seed: u64) -> Adversary {
        let mut random = Random::new(seed ^ 0x5eed);
        let settings = Settings {
            inflight_max: [1, 2, 3, 20][random.below(4)],
            session_queue_bytes_max: [1024, 20_000, 500_000][random.below(3)],
            shard_queue_bytes_max: [2_000, 60_000, u64::MAX][random.below(3)],
            listeners: [ListenerSettings {
                packet_bytes_max: [256, 200_000, limits::PACKET_BYTES_MAX_MOST][random.below(3)],
                ..ListenerSettings::default()
            }]
            .into(),
            ..Settings::default()
        };
        let mut world = World::with(1 + random.below(3), Order::Seeded(seed), settings);
        world.read_bytes_max = [7, 200, 16 * 1024, 32 * 1024][random.below(4)];
        world.lane_high = [1, 4, 4096][random.below(3)];
        world.lane_low = 1;
        Adversary {
            world,
            random,
            talkers: Vec::new(),
        }
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.random.below(count) == 0
    }

    fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.random.below(list.len())]
    }

    fn packet_id(&mut self) -> u16 {
        if self.one_in(40) {
            u16::MAX
        } else {
            1 + self.random.below(5) as u16
        }
    }

    fn connect(&mut self) {
        let version = self.pick(ALL);
        let id = self.pick(&CLIENT_IDS);
        let mut hello = connect(version, id);
        if !self.one_in(3) {
            hello = hello.persistent();
        }
        if self.one_in(4) {
            hello = hello.keep_alive(1 + self.random.below(3) as u16);
        }
        if self.one_in(3) {
            let topic = self.pick(&TOPICS);
            let (qos, retain) = (self.random.below(3) as u8, self.one_in(2));
            hello = hello.will(topic, if self.one_in(4) { "" } else { "will" }, qos, retain);
            if version == Version::V5 && self.one_in(2) {
                hello = hello.will_with(will_delay(self.random.below(3) as u32));
            }
        }
        if version == Version::V5 {
            if self.one_in(2) {
                hello = hello.expiry(self.random.below(4) as u32);
            }
            if self.one_in(2) {
                hello = hello.with(receive_maximum(1 + self.random.below(4) as u16));
            }
            if self.one_in(2) {
                let bytes = self.pick(&[1, 20, 60, 300, 6_000, 200_000, u32::MAX]);
                hello = hello.with(maximum_packet_size(bytes));
            }
            if self.one_in(2) {
                hello = hello.with(topic_alias_maximum(self.pick(&[1, 2, 65_535])));
            }
        }
        let shard = self.random.below(self.world.shards());
        let client = self.world.open_at(shard, version);
        if self.one_in(3) {
            self.world.read_slowly(client);
        }
        let mut bytes = hello.bytes();
        if self.one_in(3) {
            bytes.extend(self.packets(version));
        }
        self.world.send_bytes(client, &bytes);
        self.talkers.push(Talker {
            client,
            version,
            rest: Vec::new(),
        });
        if self.talkers.len() > 7 {
            let at = self.random.below(self.talkers.len());
            let gone = self.talkers.remove(at).client;
            self.world.cut(gone, CloseCause::Reset);
        }
    }

    fn packets(&mut self, version: Version) -> Vec<u8> {
        let mut bytes = Vec::new();
        for _ in 0..1 + self.random.below(5) {
            bytes.extend(self.packet(version));
        }
        bytes
    }

    /// A packet that is well-formed, though nobody may have asked for it.
    fn packet(&mut self, version: Version) -> Vec<u8> {
        let id = self.packet_id();
        let v5 = version == Version::V5;
        match self.random.below(24) {
            0..3 => self.subscribe(version, id),
            3 => {
                let filters = [self.pick(&FILTERS), self.pick(&FILTERS)];
                unsubscribe(version, id, &filters)
            }
            4..12 => self.publish(version, id),
            12..15 => puback(id),
            15 | 16 => pubrec(id),
            17 | 18 => pubcomp(id),
            19 => pubrel(id),
            20 if v5 => acknowledge_code(self.pick(&[0x40, 0x50]), id, 0x97),
            20 | 21 => pingreq(),
            22 if v5 && self.one_in(4) => {
                let seconds = self.random.below(3) as u32;
                disconnect_with(self.pick(&[0, 4]), &session_expiry(seconds))
            }
            22 if self.one_in(4) => disconnect(),
            _ => pingreq(),
        }
    }

    fn subscribe(&mut self, version: Version, packet_id: u16) -> Vec<u8> {
        let mut filters = Vec::new();
        for _ in 0..1 + self.random.below(3) {
            let filter = self.pick(&FILTERS);
            let mut options = self.random.below(3) as u8;
            if version == Version::V5 {
                options |= self.pick(&[0, RETAIN_IF_NEW, RETAIN_NEVER, RETAIN_AS_PUBLISHED]);
                if !filter.starts_with("$share") && self.one_in(4) {
                    options |= NO_LOCAL;
                }
            }
            filters.push((filter, options));
        }
        if version == Version::V5 && self.one_in(2) {
            let identifier = self.pick(&[1, 200, 268_435_455]);
            return subscribe_with(packet_id, &subscription_identifier(identifier), &filters);
        }
        subscribe(version, packet_id, &filters)
    }

    fn publish(&mut self, version: Version, packet_id: u16) -> Vec<u8> {
        let topic = self.pick(&TOPICS);
        let payload = vec![b'x'; self.pick(&PAYLOADS)];
        let mut packet = publish(topic, payload);
        match self.random.below(4) {
            0 => {}
            1 | 2 => packet = packet.qos(1, packet_id),
            _ => packet = packet.qos(2, packet_id),
        }
        if packet.qos > 0 && self.one_in(4) {
            packet = packet.dup();
        }
        if self.one_in(4) {
            packet = packet.retain();
        }
        if version == Version::V5 {
            if self.one_in(3) {
                packet = packet.with(topic_alias(self.pick(&[1, 2, 16])));
                if self.one_in(3) {
                    packet = packet.topic_bytes(b"");
                }
            }
            if self.one_in(4) {
                packet = packet.with(message_expiry(self.random.below(3) as u32));
            }
            if self.one_in(4) {
                packet = packet.with(user_property("n".repeat(self.pick(&[1, 300])), "v"));
            }
        }
        let run = if packet.qos == 0 && packet.payload.len() < 1_000 {
            1 + self.random.below(4)
        } else {
            1
        };
        packet.bytes(version).repeat(run)
    }

    fn step(&mut self) {
        if self.talkers.is_empty() || self.one_in(10) {
            return self.connect();
        }
        let at = self.random.below(self.talkers.len());
        let Talker { client, .. } = self.talkers[at];
        match self.random.below(20) {
            0..11 => self.say(at),
            11 => self.world.read_slowly(client),
            12 => self.world.read_at_once(client),
            13 | 14 => {
                let count = self.pick(&[1, 40, 30_000, 100_000, 131_072]);
                self.world.take_bytes(client, count);
            }
            15 => self.world.cut(client, CloseCause::PeerClosed),
            16 => {
                let ms = self.pick(&[1, 999, 1_001, 3_000, 61_000]);
                self.world.advance(ms);
            }
            17 => self.world.lanes_held = !self.world.lanes_held,
            18 => {
                let ready = self.world.lanes_ready();
                if !ready.is_empty() {
                    let (from, to) = self.pick(&ready);
                    self.world.deliver(from, to);
                }
            }
            _ => {
                let bytes = self.packets(self.talkers[at].version);
                if self.world.history(client).is_empty() {
                    return; // What comes before CONNECT is none of these.
                }
                self.world.send_past_stop(client, &bytes);
            }
        }
    }

    /// Says some packets, or a part, or what was left of the last one.
    fn say(&mut self, at: usize) {
        let version = self.talkers[at].version;
        let mut bytes = std::mem::take(&mut self.talkers[at].rest);
        bytes.extend(self.packets(version));
        if self.one_in(3) {
            let end = self.random.below(bytes.len());
            self.talkers[at].rest = bytes.split_off(end);
        }
        let client = self.talkers[at].client;
        self.world.send_bytes(client, &bytes);
    }

    fn play(&mut self) {
        for _ in 0..STEPS {
            self.step();
        }
        self.world.lanes_held = false;
        self.world.settle();
        self.world.shut_down();
        for shard in 0..self.world.shards() {
            assert_eq!(self.world.shard(shard).sizes().0, 0, "all are closed");
        }
        self.world.advance(120_000);
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn nothing_a_client_can_say_breaks_an_invariant() {
    let seeds = match number("MQTTFAST_ADVERSARY_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("MQTTFAST_ADVERSARY_SEEDS").unwrap_or(60),
    };
    for seed in seeds {
        let played = std::panic::catch_unwind(|| Adversary::new(seed).play());
        assert!(played.is_ok(), "MQTTFAST_ADVERSARY_SEED={seed}");
    }
}
