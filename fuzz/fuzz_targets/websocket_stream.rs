//! A WebSocket's stream beside another implementation: see `properties/links.rs`.

#![no_main]

#[path = "../properties/links.rs"]
#[allow(dead_code, reason = "the other target uses the rest")]
mod links;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| links::websocket(data));
