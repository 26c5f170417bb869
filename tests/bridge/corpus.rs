//! What fuzzing has kept of hostile brokers, and hostile brokers by chance.

use super::bridge_remote::holds;
use mqttfast::random::SplitMix64;
use mqttfast_rig::corpus::replay;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

#[test]
fn hostile_brokers_of_the_corpus() {
    replay("bridge_remote", holds);
}

#[test]
fn hostile_brokers_by_chance() {
    let mut random = SplitMix64::new(4);
    for round in 0..1_500 {
        let bytes: Vec<u8> = (0..random.below(400))
            .map(|_| random.draw() as u8)
            .collect();
        if let Err(cause) = catch_unwind(AssertUnwindSafe(|| holds(&bytes))) {
            eprintln!("round {round}: {bytes:?}");
            resume_unwind(cause);
        }
    }
}
