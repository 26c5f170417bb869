//! A bridge whose other broker is hostile: see `properties/bridge_remote.rs`.

#![no_main]
#![allow(dead_code)]

#[path = "../../tests/bridge/model.rs"]
mod model;
#[path = "../properties/bridge_remote.rs"]
mod property;
#[path = "../../tests/bridge/terms.rs"]
mod terms;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| property::holds(data));
