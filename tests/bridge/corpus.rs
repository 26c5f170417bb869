//! What fuzzing has kept of hostile brokers, and hostile brokers by chance.

use super::bridge_remote::holds;
use mqttfast::random::SplitMix64;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;

#[test]
fn hostile_brokers_of_the_corpus() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/bridge_remote");
    let mut files = 0;
    for entry in fs::read_dir(&folder).expect("the corpus is there") {
        let path = entry.expect("readable").path();
        let bytes = fs::read(&path).expect("readable");
        if let Err(cause) = catch_unwind(AssertUnwindSafe(|| holds(&bytes))) {
            eprintln!("{}", path.display());
            resume_unwind(cause);
        }
        files += 1;
    }
    assert!(files >= 20, "only {files} files in {}", folder.display());
}

#[test]
fn hostile_brokers_by_chance() {
    let mut random = SplitMix64::new(4);
    for round in 0..1_500 {
        let bytes: Vec<u8> = (0..random.below(400))
            .map(|_| random.draw() as u8)
            .collect();
        if let Err(cause) = catch_unwind(AssertUnwindSafe(|| holds(&bytes))) {
            eprintln!("round {round}: {bytes:?}");
            resume_unwind(cause);
        }
    }
}
