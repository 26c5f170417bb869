//! Certificates and revocation lists as a Client may send them, or a file may have them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mqttfast::io::link::tls::props;

fuzz_target!(|data: &[u8]| props::certificates_read_whole_or_not_at_all(data));
