//! How far a long work is, on a terminal.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// See the module.
pub struct Bar {
    what: &'static str,
    /// `None`: nobody looks.
    shown_at: Option<Instant>,
    shown: bool,
}

impl Bar {
    pub fn new(what: &'static str) -> Bar {
        let looks = std::io::stderr().is_terminal();
        Bar {
            what,
            shown_at: looks.then(Instant::now),
            shown: false,
        }
    }

    /// Says that it begins, where it takes its time.
    pub fn begin(&mut self, is_long: bool) {
        if is_long && self.shown_at.is_some() {
            self.shown = true;
            eprint!("{} ...", self.what);
            let _ = std::io::stderr().flush();
        }
    }

    /// `done` of `all` is done.
    pub fn show(&mut self, done: u64, all: u64) {
        const EACH: Duration = Duration::from_millis(200);
        if let Some(at) = &mut self.shown_at
            && at.elapsed() >= EACH
        {
            *at = Instant::now();
            self.shown = true;
            let percent = done * 100 / all.max(1);
            eprint!("\r{}: {percent} % ({done} of {all})", self.what);
            let _ = std::io::stderr().flush();
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if self.shown {
            // Clears the line.
            eprint!("\r\x1b[K");
        }
    }
}
