//! What can happen in one run, and the making of a run from a seed.

use crate::support::{Random, Version};

/// Clients of a run; each keeps its client id and version.
pub const IDENTITIES: usize = 5;
pub const TOPICS: [&str; 5] = ["a", "a/b", "a/c", "b", "b/c/d"];
pub const FILTERS: [&str; 8] = ["a", "a/b", "a/+", "#", "+", "a/#", "b/+/d", "b"];

/// One thing that happens. Whatever makes no sense at its time does nothing, so that any of them can be left out.
#[derive(Clone, Debug)]
pub enum Action {
    Connect {
        who: usize,
        shard: usize,
        clean: bool,
        keep_alive_s: u16,
        /// Topic, QoS, retain.
        will: Option<(usize, u8, bool)>,
        /// Acknowledges at once.
        eager: bool,
    },
    Subscribe {
        who: usize,
        filter: usize,
        qos: u8,
        cut: usize,
    },
    Unsubscribe {
        who: usize,
        filter: usize,
        cut: usize,
    },
    /// `count` PUBLISH packets in one write.
    Publish {
        who: usize,
        topic: usize,
        qos: u8,
        retain: bool,
        empty: bool,
        padding: usize,
        count: usize,
        cut: usize,
    },
    /// The oldest unanswered QoS 2 PUBLISH once more; before v5 a Client may. [3.1 §4.2]
    Repeat {
        who: usize,
    },
    /// Sends up to `count` of the acknowledgements it owes.
    Acknowledge {
        who: usize,
        count: usize,
        cut: usize,
    },
    /// Gone without DISCONNECT.
    Vanish {
        who: usize,
    },
    Disconnect {
        who: usize,
    },
    /// From now on it takes bytes only by `Take`.
    Slow {
        who: usize,
    },
    Take {
        who: usize,
        bytes: usize,
    },
    Quick {
        who: usize,
    },
    /// Delivers up to `count` messages, each time of the `pick`th lane that holds something.
    Lanes {
        pick: usize,
        count: usize,
    },
    Clock {
        ms: u64,
    },
}

/// All that decides a run.
#[derive(Clone, Debug)]
pub struct Case {
    pub seed: u64,
    pub shards: usize,
    pub inflight_max: u16,
    pub read_bytes_max: usize,
    pub lane_high: usize,
    pub versions: [Version; IDENTITIES],
    pub actions: Vec<Action>,
}

fn pick<T: Copy>(random: &mut Random, of: &[T]) -> T {
    of[random.below(of.len())]
}

/// The case of a seed.
pub fn generate(seed: u64) -> Case {
    case(seed, &mut Random::new(seed ^ 0x5eed))
}

/// The case a fuzzer's bytes say: each is a choice where `generate` leaves it to chance, and their end is the last action's.
pub fn case_of_bytes(bytes: &[u8]) -> Case {
    let mut random = Random::of_bytes(bytes);
    let seed = random.below(256) as u64;
    case(seed, &mut random)
}

fn case(seed: u64, random: &mut Random) -> Case {
    let shards = pick(random, &[1, 2, 2, 3, 4]);
    let mut versions = [Version::V311; IDENTITIES];
    for version in &mut versions {
        *version = pick(
            random,
            &[Version::V31, Version::V311, Version::V311, Version::V5],
        );
    }
    let large = random.below(8) == 0;
    let count = 40 + random.below(100);
    let mut actions = Vec::new();
    for who in 0..IDENTITIES {
        actions.push(connect(random, who));
    }
    while actions.len() < count && !random.is_spent() {
        actions.push(action(random, large));
    }
    Case {
        seed,
        shards,
        inflight_max: pick(random, &[1, 2, 3, 20]),
        // Large payloads in reads of one byte would take most of the time.
        read_bytes_max: if large {
            4096
        } else {
            pick(random, &[1, 3, 100, 16 * 1024])
        },
        lane_high: pick(random, &[2, 6, 4096]),
        versions,
        actions,
    }
}

fn connect(random: &mut Random, who: usize) -> Action {
    Action::Connect {
        who,
        shard: random.below(4),
        clean: random.below(3) == 0,
        keep_alive_s: pick(random, &[0, 0, 0, 10]),
        will: (random.below(3) == 0).then(|| {
            let topic = random.below(TOPICS.len());
            (topic, random.below(3) as u8, random.below(4) == 0)
        }),
        eager: random.below(3) > 0,
    }
}

fn action(random: &mut Random, large: bool) -> Action {
    let who = random.below(IDENTITIES);
    let cut = if random.below(8) == 0 {
        1 + random.below(8)
    } else {
        0
    };
    match random.below(100) {
        0..8 => connect(random, who),
        8..18 => Action::Subscribe {
            who,
            filter: random.below(FILTERS.len()),
            qos: pick(random, &[0, 1, 1, 2, 2]),
            cut,
        },
        18..22 => Action::Unsubscribe {
            who,
            filter: random.below(FILTERS.len()),
            cut,
        },
        22..52 => Action::Publish {
            who,
            topic: random.below(TOPICS.len()),
            qos: pick(random, &[0, 1, 1, 2, 2]),
            retain: random.below(4) == 0,
            empty: random.below(3) == 0,
            padding: if large && random.below(3) == 0 {
                40_000
            } else {
                random.below(4)
            },
            count: 1 + random.below(3),
            cut,
        },
        52..54 => Action::Repeat { who },
        54..64 => Action::Acknowledge {
            who,
            count: 1 + random.below(4),
            cut,
        },
        64..68 => Action::Vanish { who },
        68..70 => Action::Disconnect { who },
        70..72 => Action::Slow { who },
        72..75 => Action::Take {
            who,
            bytes: 1 + random.below(200),
        },
        75..77 => Action::Quick { who },
        77..97 => Action::Lanes {
            pick: random.below(12),
            count: pick(random, &[1, 1, 2, 4, 1000]),
        },
        _ => Action::Clock {
            ms: pick(random, &[1, 600, 5_000, 20_000]),
        },
    }
}
