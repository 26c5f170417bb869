//! A user name, a client id, Topic Names and the text of an ACL file: the truths of `mqttfast::acl::props`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mqttfast::acl::props;

fuzz_target!(|data: &[u8]| props::verdicts_are_the_models(data));
