//! The header of a proxy: see `properties/proxy_header.rs`.

#![no_main]

#[path = "../properties/layer.rs"]
mod layer;
#[path = "../properties/proxy_header.rs"]
mod property;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| property::proxy(data));
