//! The code that a start ran through is let go. A process of its own: other tests would bring it back.

use mqttfast::buffer::code;
use std::fs;

/// KiB of code in this process' memory.
fn code_kib() -> u64 {
    let maps = fs::read_to_string("/proc/self/smaps").unwrap();
    let mut is_code = false;
    let mut kib = 0;
    for line in maps.lines() {
        let mut words = line.split_whitespace();
        match (words.next().unwrap(), words.next()) {
            ("Rss:", Some(size)) if is_code => kib += size.parse::<u64>().unwrap(),
            (_, Some(may)) if may.len() == 4 && may.ends_with('p') => is_code = may == "r-xp",
            _ => {}
        }
    }
    kib
}

#[test]
fn code_that_is_not_run_is_not_in_memory() {
    let before = code_kib();
    code::let_go();
    let after = code_kib();
    assert!(
        after < before * 3 / 4,
        "{before} KiB of code before, {after} after"
    );
}
