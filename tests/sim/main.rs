//! Deterministic simulation: seeded runs of whole Clients against the product's shards, judged by a naive model.
//!
//!     MQTTFAST_SIM_SEEDS=100000 cargo test --release --test sim seeds     that many seeds
//!     MQTTFAST_SIM_FROM=5000                                              beginning with this one
//!     MQTTFAST_SIM_SEED=17 cargo test --test sim seeds                    one again
//!     MQTTFAST_SIM_ALL=1                                                  go on after a failure, and shrink none

mod actions;
mod client;
mod corpus;
mod crash;
mod found;
mod generate;
mod groups;
mod model;
mod observe;
mod play;
mod props;
mod session;
mod shrink;
use mqttfast_rig::shard as support;
mod verdict;

use actions::Case;
use generate::generate;
use std::time::Instant;
use verdict::{hush, number, verdict};

/// Seeds of an ordinary run.
const SEEDS_DEFAULT: u64 = 300;

/// Seeds beyond these that have found something: 424, bytes that stayed booked for a connection that was closing; 3491,
/// blocks that the rig itself held for one that was gone.
const SEEDS_THAT_FOUND: [u64; 2] = [424, 3491];

/// The shrunk trace of a failing seed.
fn report(seed: u64, why: &str) -> String {
    let case = generate(seed);
    let least = shrink::shrink(&case, |case| verdict(case).is_err());
    let last = verdict(&least).expect_err("it fails");
    let mut text = format!(
        "seed {seed}: {why}\nshrunk from {} to {} actions of:\n{:?}\n",
        case.actions.len(),
        least.actions.len(),
        Case {
            actions: Vec::new(),
            ..least.clone()
        },
    );
    for action in &least.actions {
        text += &format!("    {action:?}\n");
    }
    text + &format!(
        "which ends in: {last}\nagain: MQTTFAST_SIM_SEED={seed} cargo test --test sim seeds"
    )
}

#[test]
fn seeds() {
    hush();
    let (from, count) = match number("MQTTFAST_SIM_SEED") {
        Some(seed) => (seed, 1),
        None => (
            number("MQTTFAST_SIM_FROM").unwrap_or(0),
            number("MQTTFAST_SIM_SEEDS").unwrap_or(SEEDS_DEFAULT),
        ),
    };
    let all = number("MQTTFAST_SIM_ALL").is_some();
    let start = Instant::now();
    let mut failed = Vec::new();
    for seed in (from..from + count).chain(SEEDS_THAT_FOUND) {
        match verdict(&generate(seed)) {
            Ok(()) => (),
            Err(why) if all => {
                println!("seed {seed}: {why}");
                failed.push(seed);
            }
            Err(why) => panic!("{}", report(seed, &why)),
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{count} seeds in {seconds:.1} s, {:.0} a second",
        count as f64 / seconds
    );
    assert!(failed.is_empty(), "{} seeds failed", failed.len());
}
