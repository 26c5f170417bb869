//! Several Clients of one user against a shard with little memory: see `properties/storm.rs`.

#![no_main]

#[path = "../properties/chance.rs"]
mod chance;
#[path = "../properties/storm.rs"]
mod storm;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| storm::holds(data));
