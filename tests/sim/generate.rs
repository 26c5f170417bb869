//! The making of a run from a seed.

use crate::actions::*;
use crate::support::{Random, Version};

fn pick<T: Copy>(random: &mut Random, of: &[T]) -> T {
    of[random.below(of.len())]
}

fn one_in(random: &mut Random, count: usize) -> bool {
    random.below(count) == 0
}

/// What a run is about: a run about everything would seldom go deep anywhere.
struct Theme {
    /// Few topics make more meetings.
    topics: &'static [usize],
    filters: usize,
    groups: usize,
    /// Payloads of many KiB.
    large: bool,
    shares: bool,
    expiry: bool,
    garbage: bool,
    passwords: bool,
    /// Large messages to Clients that read slowly and come back to what they have not acknowledged.
    far_behind: bool,
}

/// One seed of so many is about Clients that are far behind.
const FAR_BEHIND_EVERY: u64 = 16;

/// The case of a seed.
pub fn generate(seed: u64) -> Case {
    if seed % FAR_BEHIND_EVERY == 3 {
        return far_behind(seed, &mut Random::new(seed ^ 0xfa2));
    }
    case(seed, &mut Random::new(seed ^ 0x5eed))
}

/// The case a fuzzer's bytes say: each is a choice where `generate` leaves it to chance, and their end is the last
/// action's.
pub fn case_of_bytes(bytes: &[u8]) -> Case {
    let mut random = Random::of_bytes(bytes);
    let seed = random.below(256) as u64;
    case(seed, &mut random)
}

fn case(seed: u64, random: &mut Random) -> Case {
    let shards = pick(random, &[1, 2, 3, 3, 4]);
    let mut versions = [Version::V311; IDENTITIES];
    for version in &mut versions {
        *version = pick(
            random,
            &[Version::V31, Version::V311, Version::V5, Version::V5],
        );
    }
    let narrow = random.below(2);
    let theme = Theme {
        topics: pick(random, &[&[0, 1, 2, 3, 4, 5, 6], &[1, 2], &[1, 5, 6], &[3]]),
        filters: [FILTERS.len(), 4][narrow],
        groups: [SHARES.len(), 1][narrow],
        large: one_in(random, 8),
        shares: one_in(random, 2),
        expiry: one_in(random, 3),
        garbage: one_in(random, 4),
        passwords: one_in(random, 6),
        far_behind: false,
    };
    let count = 40 + random.below(100);
    let mut actions = Vec::new();
    for who in 0..IDENTITIES {
        actions.push(connect(random, who, &theme));
    }
    while actions.len() < count && !random.is_spent() {
        actions.push(action(random, &theme));
    }
    Case {
        seed,
        shards,
        inflight_max: pick(random, &[1, 2, 3, 20]),
        // Large payloads in reads of one byte would take most of the time.
        read_bytes_max: if theme.large {
            4096
        } else {
            pick(random, &[1, 3, 100, 16 * 1024])
        },
        lane_high: pick(random, &[2, 6, 4096]),
        session_queue_bytes_max: pick(random, &[None, None, None, Some(450), Some(2_000)]),
        shard_queue_bytes_max: pick(random, &[None, None, None, None, Some(900)]),
        passwords: theme.passwords,
        share_qos: pick(random, &[0, 1, 1, 2, 2]),
        shutdown: one_in(random, 10),
        versions,
        actions,
    }
}

/// Clients that read slowly, large messages of which a few fill an outbox, and Sessions that go on: what is sent again
/// pauses in the middle and meets what is new, and so do replays of retained messages. Nobody has a will and no Session
/// ends: CONNACK itself may be taken late, and what the broker did meanwhile would be anybody's guess.
fn far_behind(seed: u64, random: &mut Random) -> Case {
    let shards = pick(random, &[1, 1, 2, 3]);
    let mut versions = [Version::V311; IDENTITIES];
    for version in &mut versions {
        *version = pick(random, &[Version::V311, Version::V5]);
    }
    let theme = Theme {
        topics: pick(random, &[&[0, 1, 2], &[1], &[1, 2]]),
        filters: 4,
        groups: 1,
        large: true,
        shares: false,
        expiry: false,
        garbage: false,
        passwords: false,
        far_behind: true,
    };
    let mut actions: Vec<Action> = Vec::new();
    for who in 0..IDENTITIES {
        actions.push(connect_far_behind(random, who, true));
        actions.push(EVERY_LANE);
        // The last one has no other subscription while its replays end.
        if who < IDENTITIES - 1 {
            let filter = pick(random, &[2, 3, 5]);
            actions.push(subscribe_far_behind(random, who, filter));
            actions.push(EVERY_LANE);
        }
    }
    let count = actions.len() + 60 + random.below(60);
    while actions.len() < count {
        let who = random.below(IDENTITIES);
        match random.below(100) {
            0..15 => {
                // What was under way is sent again, a part of it is taken, and something new comes.
                let publisher = random.below(IDENTITIES);
                let bytes = 100_000 + random.below(100_001);
                actions.push(Action::Quick { who });
                actions.push(publish_far_behind(random, &theme, publisher, bytes));
                actions.push(EVERY_LANE);
                actions.push(Action::Vanish { who });
                actions.push(connect_far_behind(random, who, false));
                actions.push(EVERY_LANE);
                actions.push(take(random, who));
                let publisher = random.below(IDENTITIES);
                actions.push(publish_far_behind(random, &theme, publisher, 0));
                actions.push(EVERY_LANE);
            }
            15..20 => actions.push(connect_far_behind(random, who, false)),
            20..44 => actions.push(take(random, who)),
            44..48 => actions.push(Action::Slow { who }),
            48..50 => actions.push(Action::Quick { who }),
            50 => {
                let shard = random.below(4);
                actions.push(Action::Trickle { shard });
                actions.push(Action::Clock { ms: 20_000 });
            }
            51..58 => actions.push(EVERY_LANE),
            58..64 => {
                // Retained messages are on their way as the subscription ends.
                let who = pick(random, &[who, IDENTITIES - 1]);
                let filter = pick(random, &[2, 3, 5]);
                actions.push(Action::Slow { who });
                actions.push(subscribe_far_behind(random, who, filter));
                actions.push(EVERY_LANE);
                let cut = 0;
                actions.push(Action::Unsubscribe { who, filter, cut });
                actions.push(take(random, who));
            }
            _ => match action(random, &theme) {
                Action::Connect(_) => {}
                action => actions.push(action),
            },
        }
    }
    Case {
        seed,
        shards,
        inflight_max: pick(random, &[3, 20, 20]),
        read_bytes_max: 16 * 1024,
        lane_high: pick(random, &[2, 6, 4096]),
        session_queue_bytes_max: pick(random, &[None, Some(600_000)]),
        shard_queue_bytes_max: pick(random, &[None, None, Some(900_000)]),
        passwords: false,
        share_qos: 1,
        shutdown: false,
        versions,
        actions,
    }
}

const EVERY_LANE: Action = Action::Lanes {
    pick: 0,
    count: 1_000,
};

fn subscribe_far_behind(random: &mut Random, who: usize, filter: usize) -> Action {
    let options = SubscribeAs {
        qos: pick(random, &[0, 1, 1, 2, 2]),
        no_local: false,
        retain_as_published: false,
        retain_handling: 0,
        identifier: None,
    };
    let cut = 0;
    Action::Subscribe {
        who,
        filter,
        options,
        cut,
    }
}

/// Two messages, without Properties.
fn publish_far_behind(random: &mut Random, theme: &Theme, who: usize, padding: usize) -> Action {
    Action::Publish {
        who,
        topic: pick(random, theme.topics),
        qos: pick(random, &[1, 2]),
        retain: false,
        empty: false,
        padding,
        count: 2,
        cut: 0,
        expiry_s: None,
        alias: None,
    }
}

fn take(random: &mut Random, who: usize) -> Action {
    let bytes = pick(random, &[1, 20_000, 50_000, 100_000, 200_000]);
    Action::Take { who, bytes }
}

fn connect_far_behind(random: &mut Random, who: usize, first: bool) -> Action {
    Action::Connect(ConnectAs {
        who,
        shard: random.below(4),
        clean: false,
        keep_alive_s: 0,
        will: None,
        // Some publish and take at once what comes.
        eager: who == 0,
        slow: !first && who > 0 && !one_in(random, 4),
        expiry_s: NEVER,
        receive_maximum: None,
        packet_bytes_max: None,
        topic_alias_maximum: 0,
        early: None,
        wrong_password: false,
    })
}

fn connect(random: &mut Random, who: usize, theme: &Theme) -> Action {
    let will = one_in(random, 3).then(|| WillAs {
        topic: pick(random, theme.topics),
        qos: random.below(3) as u8,
        retain: one_in(random, 4),
        delay_s: pick(random, &[0, 0, 3, 30]),
        expiry_s: message_expiry(random, theme),
    });
    let expiries: &[u32] = if theme.expiry {
        &[0, 2, 8, 40, NEVER]
    } else {
        &[0, 1_000, NEVER, NEVER]
    };
    Action::Connect(ConnectAs {
        who,
        shard: random.below(4),
        clean: one_in(random, 3),
        keep_alive_s: pick(random, &[0, 0, 0, 10]),
        will,
        eager: random.below(3) > 0,
        slow: false,
        expiry_s: pick(random, expiries),
        receive_maximum: pick(random, &[None, None, Some(1), Some(2), Some(5)]),
        packet_bytes_max: pick(random, &[None, None, None, None, Some(40), Some(120)]),
        topic_alias_maximum: pick(random, &[0, 0, 1, 2, 100]),
        early: one_in(random, 8).then(|| pick(random, theme.topics)),
        wrong_password: theme.passwords && one_in(random, 5),
    })
}

fn message_expiry(random: &mut Random, theme: &Theme) -> Option<u32> {
    if !theme.expiry {
        return None;
    }
    pick(
        random,
        &[None, None, Some(1), Some(5), Some(30), Some(1_000)],
    )
}

fn identifier(random: &mut Random) -> Option<u32> {
    pick(
        random,
        &[None, None, Some(1), Some(2), Some(200), Some(268_435_455)],
    )
}

fn action(random: &mut Random, theme: &Theme) -> Action {
    let who = random.below(IDENTITIES);
    let cut = if one_in(random, 8) {
        1 + random.below(8)
    } else {
        0
    };
    match random.below(108) {
        0..8 => connect(random, who, theme),
        8..15 if theme.shares => Action::Join {
            who,
            share: random.below(theme.groups),
            retain_as_published: one_in(random, 3),
            identifier: identifier(random),
        },
        8..18 => Action::Subscribe {
            who,
            filter: random.below(theme.filters),
            options: SubscribeAs {
                qos: pick(random, &[0, 1, 1, 2, 2]),
                no_local: one_in(random, 4),
                retain_as_published: one_in(random, 4),
                retain_handling: pick(random, &[0, 0, 1, 2]),
                identifier: identifier(random),
            },
            cut,
        },
        18..20 if theme.shares => Action::Leave {
            who,
            share: random.below(theme.groups),
        },
        18..22 => Action::Unsubscribe {
            who,
            filter: random.below(theme.filters),
            cut,
        },
        22..52 => Action::Publish {
            who,
            topic: pick(random, theme.topics),
            qos: pick(random, &[0, 1, 1, 2, 2]),
            retain: one_in(random, if theme.far_behind { 2 } else { 4 }),
            empty: one_in(random, if theme.far_behind { 6 } else { 3 }),
            padding: if theme.far_behind && one_in(random, 2) {
                100_000 + random.below(100_001)
            } else if theme.large && one_in(random, 3) {
                40_000
            } else {
                pick(random, &[0, 1, 2, 3, 60])
            },
            count: 1 + random.below(3),
            cut,
            expiry_s: message_expiry(random, theme),
            alias: pick(random, &[None, None, Some(1), Some(2)]),
        },
        52..54 => Action::Repeat { who },
        54..64 => Action::Acknowledge {
            who,
            count: 1 + random.below(4),
            cut,
        },
        64..68 => Action::Vanish { who },
        // A Session Expiry Interval of 0 would end what these runs are about.
        68..71 if theme.far_behind => Action::Lanes { pick: 0, count: 2 },
        68..71 => Action::Disconnect {
            who,
            with_will: one_in(random, 3),
            expiry_s: pick(random, &[None, None, Some(0), Some(3), Some(NEVER)]),
        },
        71..73 => Action::Slow { who },
        73..76 => Action::Take {
            who,
            bytes: 1 + random.below(200),
        },
        76..78 => Action::Quick { who },
        78..100 => Action::Lanes {
            pick: random.below(12),
            count: pick(random, &[1, 1, 2, 4, 1000]),
        },
        100..103 => Action::Clock {
            ms: pick(random, &[1, 600, 5_000, 20_000]),
        },
        103 => Action::Jump {
            ms: pick(random, &[300, 2_500, 40_000, 3_600_000]),
        },
        104 if theme.garbage && one_in(random, 2) => Action::Garbage {
            who,
            what: random.below(1_000),
        },
        104..106 if theme.garbage => Action::Stranger {
            shard: random.below(4),
            what: random.below(1_000),
            connected: one_in(random, 2),
        },
        104..107 if theme.passwords => match random.below(4) {
            0 => Action::Reload,
            _ => Action::Verdicts,
        },
        107 => Action::Misacknowledge {
            who,
            what: who + cut,
        },
        _ => Action::Lanes { pick: 0, count: 1 },
    }
}
