//! Any bytes, as a stream and as packets of every version: the truths of `mqttfast::wire::props`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mqttfast::wire::props;

fuzz_target!(|data: &[u8]| {
    props::frames_ignore_cuts(data);
    props::decode_of_encode_is_identity(data);
});
