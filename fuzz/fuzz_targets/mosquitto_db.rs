//! A `mosquitto.db`, from any bytes: the truths of `mqttfast::store::props`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mqttfast::store::props;

fuzz_target!(|data: &[u8]| props::what_is_imported_are_records(data));
