//! A broker under attack: well-behaved clients go on meanwhile, and afterwards everything is as it was.
//!
//! Memory is compared with what it was after the same attack before, because an allocator keeps its high-water mark: an
//! attack runs at least twice, and until one round has left the resident memory within [`GROWTH_BYTES_MAX`] of the
//! round before, at most [`ROUNDS_MAX`] times. What leaks grows in every round. Descriptors must be the same number
//! after each round, the first included.

use crate::support::pair::Pair;
use crate::support::{Broker, DEADLINE, Options, reference};
use std::time::{Duration, Instant};

/// Resident memory that an attack may leave behind.
const GROWTH_BYTES_MAX: u64 = 1024 * 1024;
const ROUNDS_MAX: usize = 4;
/// Messages exchanged before an attack and after it.
const MESSAGES: u64 = 20;

/// Runs an attack again and again against a broker of so many shards.
pub fn attack(shards: usize, attack: impl Fn(&Broker)) {
    attack_with(
        Options {
            shards,
            ..Options::default()
        },
        attack,
    );
}

/// The attacks that only mqttfast answers in the way checked: the reference is not asked.
pub fn attack_ours(shards: usize, run: impl Fn(&Broker)) {
    if !reference() {
        attack(shards, run);
    }
}

/// The same against a broker started in this way.
pub fn attack_with(options: Options, attack: impl Fn(&Broker)) {
    attack_after(options, &attack, &attack);
}

/// The same for an attack that takes its time: `warm_up` does what it does, only shorter, and comes first.
pub fn attack_after(options: Options, warm_up: impl Fn(&Broker), attack: impl Fn(&Broker)) {
    let mut siege = Siege::start(options);
    siege.round(warm_up);
    if reference() {
        return siege.finish();
    }
    for _ in 1..ROUNDS_MAX {
        if siege.round(&attack) <= GROWTH_BYTES_MAX {
            return siege.finish();
        }
    }
    panic!("the broker grows with every round: {:?}", siege.rss_bytes);
}

/// A broker and its well-behaved clients.
struct Siege {
    broker: Broker,
    pair: Pair,
    descriptors: usize,
    /// Resident memory at the start and after each round.
    rss_bytes: Vec<u64>,
}

impl Siege {
    fn start(options: Options) -> Siege {
        let broker = Broker::start_with(options);
        let pair = Pair::start(&broker);
        pair.exchange(MESSAGES);
        Siege {
            descriptors: broker.descriptors(),
            rss_bytes: vec![broker.rss_bytes()],
            broker,
            pair,
        }
    }

    /// One round. Gives the bytes by which the broker has grown since the one before.
    fn round(&mut self, attack: impl Fn(&Broker)) -> u64 {
        attack(&self.broker);
        self.pair.exchange(MESSAGES);
        self.expect_descriptors();
        let before = *self.rss_bytes.last().expect("that of the start");
        let after = self.broker.rss_bytes();
        self.rss_bytes.push(after);
        after.saturating_sub(before)
    }

    /// Every socket of the attackers is closed; some have a last second in which what was sent to them may leave.
    fn expect_descriptors(&self) {
        if reference() {
            return;
        }
        let end = Instant::now() + DEADLINE;
        loop {
            let now = self.broker.descriptors();
            if now == self.descriptors {
                return;
            }
            assert!(
                Instant::now() < end,
                "{now} descriptors, {} before the attack",
                self.descriptors
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn finish(mut self) {
        println!(
            "resident memory before and after each round: {:?}",
            self.rss_bytes
        );
        self.pair.finish();
        assert!(self.broker.is_running(), "the broker has ended");
    }
}
