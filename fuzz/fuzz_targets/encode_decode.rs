//! Packets composed by the standard from arbitrary bytes, decoded and encoded: see `properties/encode_decode.rs`.

#![no_main]

#[path = "../properties/encode_decode.rs"]
mod encode_decode;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| encode_decode::holds(data));
