//! A WebSocket's stream beside another implementation: see `properties/websocket_stream.rs`.

#![no_main]

#[path = "../properties/layer.rs"]
mod layer;
#[path = "../properties/websocket_stream.rs"]
mod property;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| property::websocket(data));
