//! A wall clock for one broker that a test can set; see `clock.c`.

use super::{Folder, preload};
use std::fs::{self, OpenOptions};
use std::io::Write;

/// What a broker is launched by to have a clock of its own, which this folder keeps.
pub fn launcher(folder: &Folder) -> Vec<String> {
    let offset = folder.path("offset");
    fs::write(&offset, [0; 8]).expect("write the offset");
    let variables = [("CLOCK_OFFSET_FILE", offset.display().to_string())];
    preload::launcher(folder, "clock", variables)
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
