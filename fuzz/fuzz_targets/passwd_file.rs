//! A user name, a password and the text of a password file: the truths of `mqttfast::passwd::props`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mqttfast::passwd::props;

fuzz_target!(|data: &[u8]| props::whole_lines_alone_let_in(data));
