//! A bridge whose other broker is hostile: see `properties/bridge_remote.rs`.

#![no_main]
#![allow(dead_code)]

#[path = "../properties/chance.rs"]
mod chance;
#[path = "../../tests/bridge/model.rs"]
mod model;
#[path = "../properties/bridge_remote.rs"]
mod property;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| property::holds(data));
