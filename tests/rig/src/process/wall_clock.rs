//! A wall clock for one broker that a test can set; see `clock.c`.

use super::Folder;
use std::fs::OpenOptions;
use std::io::Write;
use std::process::Command;

/// What a broker is launched by to have a clock of its own, which this folder keeps.
pub fn launcher(folder: &Folder) -> Vec<String> {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/src/process/clock.c");
    let (library, offset) = (folder.path("clock.so"), folder.path("offset"));
    let compiled = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .arg(&library)
        .arg(source)
        .output()
        .expect("cc, which builds the broker too");
    let said = String::from_utf8_lossy(&compiled.stderr);
    assert!(compiled.status.success(), "{said}");
    std::fs::write(&offset, [0; 8]).expect("write the offset");
    vec![
        "env".into(),
        format!("LD_PRELOAD={}", library.display()),
        format!("CLOCK_OFFSET_FILE={}", offset.display()),
    ]
}

/// Sets the clock this many days off.
pub fn set(folder: &Folder, days: i64) {
    let mut file = OpenOptions::new()
        .write(true)
        .open(folder.path("offset"))
        .expect("the offset");
    file.write_all(&(days * 86_400).to_ne_bytes())
        .expect("write the offset");
}
