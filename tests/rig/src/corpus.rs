//! What fuzzing has kept, without a fuzzer.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;

/// Runs a property on each file of a target's corpus; a failure names the file.
pub fn replay(target: &str, mut property: impl FnMut(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/corpus")
        .join(target);
    let mut files = 0;
    for entry in fs::read_dir(&folder).expect("the corpus is there") {
        let path = entry.expect("readable").path();
        let bytes = fs::read(&path).expect("readable");
        if let Err(cause) = catch_unwind(AssertUnwindSafe(|| property(&bytes))) {
            eprintln!("{}", path.display());
            resume_unwind(cause);
        }
        files += 1;
    }
    assert!(files >= 20, "only {files} files in {}", folder.display());
}
