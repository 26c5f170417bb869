//! Subscriptions, retained messages and their ends, or any text: the truths of `mqttfast::topic::props`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mqttfast::topic::props;

fuzz_target!(|data: &[u8]| props::any_of_them(data));
