//! A `mosquitto.conf` and the files it includes: the truths of `mqttfast::config::mosquitto::props`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mqttfast::config::mosquitto::props;

fuzz_target!(|data: &[u8]| props::configurations_are_taken_or_refused(data));
