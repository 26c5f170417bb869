//! The broker is killed at any event, and the next one goes on with what the store has kept: a part of what was not
//! kept yet by chance, with as many shards or others.
//!
//!     MQTTFAST_SIM_SEED=17 cargo test --test sim crashes
//!
//! Promises, whatever happens (`history` judges them):
//!
//! - no acknowledged message is lost to a Session whose SUBACK came before it;
//! - a QoS 2 message comes once to a Client that behaves;
//! - first receipts of a publisher's messages to one topic come in order;
//! - a Session that CONNACK promised is present, and nothing comes that was published after UNSUBACK;
//! - a message for a group goes to a member of it that stays, and at QoS 2 to one alone;
//! - wills that the store had are published if nobody comes back, and not if their Clients do;
//! - at rest all shards have one retained value a topic, not older than the last acknowledged one, and the store holds
//!   nothing that was done.

mod history;
mod party;
mod play;

use crate::verdict::judge;

/// Seeds that have found something, as they were played before there were groups and wills: the repeat of a QoS 2
/// message that replaced a newer retained message.
pub const SEEDS_THAT_FOUND: [u64; 9] =
    [9176, 10376, 24704, 39781, 58521, 61093, 79619, 94077, 97496];

/// One run.
pub fn verdict(seed: u64) -> Result<(), String> {
    judge(|| play::Play::new(seed).run())
}

/// One run without groups and wills.
pub fn plain_verdict(seed: u64) -> Result<(), String> {
    judge(|| play::Play::with(seed, play::Extras::default()).run())
}

#[test]
fn crashes() {
    use crate::verdict::{hush, number};
    hush();
    let (from, count) = match number("MQTTFAST_SIM_SEED") {
        Some(seed) => (seed, 1),
        None => (
            number("MQTTFAST_SIM_FROM").unwrap_or(0),
            number("MQTTFAST_SIM_SEEDS").unwrap_or(300),
        ),
    };
    let failing = |seed, verdict: fn(u64) -> Result<(), String>| {
        Some(format!("seed {seed}: {}", verdict(seed).err()?))
    };
    let seeds = (from..from + count).filter_map(|seed| failing(seed, verdict));
    let found = SEEDS_THAT_FOUND.into_iter();
    let failed: Vec<String> = seeds
        .chain(found.filter_map(|seed| failing(seed, plain_verdict)))
        .collect();
    let all = number("MQTTFAST_SIM_ALL").is_some();
    for why in failed.iter().filter(|_| all) {
        println!("{}", why.lines().next().unwrap_or_default());
    }
    let first = failed.first().map_or("", |first| first);
    assert!(
        failed.is_empty(),
        "{} of {count} fail, first: {first}",
        failed.len()
    );
}
