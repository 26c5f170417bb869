//! The dialogues that `fuzz/` has kept, one file each: what its target `dialogue` does with them, without a fuzzer.

use crate::generate::case_of_bytes;
use crate::verdict::{hush, verdict};
use std::fs;
use std::path::Path;

#[test]
fn dialogues_of_the_corpus() {
    hush();
    // Of the product's crate, or of the planted one inside it.
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let mut folders = crates.map(|folder| folder.join("fuzz/corpus/dialogue"));
    let folder = folders.find(|folder| folder.is_dir()).expect("the corpus");
    let mut files = 0;
    for entry in fs::read_dir(&folder).expect("the corpus is there") {
        let path = entry.expect("readable").path();
        let bytes = fs::read(&path).expect("readable");
        if let Err(why) = verdict(&case_of_bytes(&bytes)) {
            panic!("{}: {why}", path.display());
        }
        files += 1;
    }
    assert!(files >= 20, "only {files} files in {}", folder.display());
}
