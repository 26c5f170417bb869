//! Records, journals and rows of a store, from any bytes: the truths of `mqttfast::store::props`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mqttfast::store::props;

fuzz_target!(|data: &[u8]| {
    props::records_are_their_bytes(data);
    props::frames_lie_in_their_journal(data);
    props::only_sound_rows_are_given(data);
    props::what_is_salvaged_proves_itself(data);
});
