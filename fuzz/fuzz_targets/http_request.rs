//! Requests to the page: the truths of `mqttfast::io::helpers::http::props`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mqttfast::io::helpers::http::props;

fuzz_target!(|data: &[u8]| props::requests_say_one_thing(data));
