//! The log: one line an event to standard error, `time level text`.
//!
//! Who logs only appends to a bounded queue; a thread writes. A standard error that nobody reads delays no shard: lines
//! that find the queue full are dropped, counted, and their number is logged.

use crate::broker::LogLevel;
use crate::config::Logs;
use crate::io::helpers::zone::Zone;
use crate::limits;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A handle of the log; clones write to the same.
#[derive(Clone)]
pub struct Log {
    shared: Arc<Shared>,
}

struct Shared {
    queue: Mutex<Lines>,
    /// There is something to write, or the end has come.
    written_or_new: Condvar,
    logs: Logs,
}

#[derive(Default)]
struct Lines {
    lines: Vec<Line>,
    /// Bytes of their texts, and of what holds these.
    bytes: usize,
    dropped: u64,
    /// Lines taken by the writer and not yet written.
    writing: bool,
}

struct Line {
    at: SystemTime,
    level: LogLevel,
    text: String,
}

impl Log {
    /// Starts the writer thread.
    pub fn start(logs: Logs) -> io::Result<Log> {
        let log = Log::new(logs);
        let writer = log.clone();
        // systemd's journal puts its own time on each line.
        let zone = (!is_journal()).then(Zone::local);
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || writer.write_forever(zone.as_ref()))?;
        Ok(log)
    }

    fn new(logs: Logs) -> Log {
        Log {
            shared: Arc::new(Shared {
                queue: Mutex::default(),
                written_or_new: Condvar::new(),
                logs,
            }),
        }
    }

    /// Appends a line; never waits for the writer.
    pub fn line(&self, level: LogLevel, text: impl Into<String>) {
        if self.shared.logs < level.logs() {
            return;
        }
        let line = Line {
            at: SystemTime::now(),
            level,
            text: text.into(),
        };
        let mut queue = self.lock();
        let bytes = size_of::<Line>() + line.text.len();
        if queue.lines.len() >= limits::LOG_LINES_WAITING_MAX
            || queue.bytes + bytes > limits::LOG_BYTES_WAITING_MAX
        {
            queue.dropped += 1;
            return;
        }
        let first = queue.lines.is_empty();
        queue.bytes += bytes;
        queue.lines.push(line);
        drop(queue);
        if first {
            self.shared.written_or_new.notify_all();
        }
    }

    /// Waits until everything is written, at most `patience`.
    pub fn finish(&self, patience: Duration) {
        let until = Instant::now() + patience;
        let mut queue = self.lock();
        while queue.writing || !queue.lines.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.shared.written_or_new.wait_timeout(queue, left);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        let queue = self.shared.queue.lock();
        queue.unwrap_or_else(PoisonError::into_inner)
    }

    fn write_forever(&self, zone: Option<&Zone>) {
        let mut text = String::new();
        loop {
            self.wait_for_lines();
            // Lines that come close together are written together: one wake-up for all of them.
            thread::sleep(Duration::from_millis(limits::LOG_GATHER_MS));
            let (lines, dropped) = self.next_lines();
            text.clear();
            for line in &lines {
                append(&mut text, zone, line.at, line.level, &line.text);
            }
            if dropped > 0 {
                let lost = format!("{dropped} log lines dropped: standard error is too slow");
                append(&mut text, zone, SystemTime::now(), LogLevel::Warning, &lost);
            }
            // With standard error gone there is nowhere to say so.
            let _ = io::stderr().write_all(text.as_bytes());
            text.shrink_to(limits::BLOCK_BYTES);
            self.lock().writing = false;
            self.shared.written_or_new.notify_all();
        }
    }

    fn wait_for_lines(&self) {
        let mut queue = self.lock();
        while queue.lines.is_empty() {
            let waited = self.shared.written_or_new.wait(queue);
            queue = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn next_lines(&self) -> (Vec<Line>, u64) {
        let mut queue = self.lock();
        queue.writing = true;
        queue.bytes = 0;
        let dropped = std::mem::take(&mut queue.dropped);
        (std::mem::take(&mut queue.lines), dropped)
    }
}

fn append(out: &mut String, zone: Option<&Zone>, at: SystemTime, level: LogLevel, text: &str) {
    if let Some(zone) = zone {
        let seconds = at
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs() as i64);
        zone.append_time(seconds, out);
        out.push(' ');
    }
    out.push_str(match level {
        LogLevel::Error => "error ",
        LogLevel::Warning => "warning ",
        LogLevel::Info => "info ",
        LogLevel::Packet => "packet ",
    });
    for character in text.chars() {
        // One event stays one line, whatever name a Client gives itself, and no escape sequence of a Client reaches a
        // terminal.
        if character.is_control() {
            let _ = write!(out, "{}", character.escape_default());
        } else {
            out.push(character);
        }
    }
    out.push('\n');
}

/// Does standard error go to systemd's journal? It says by `JOURNAL_STREAM` which file that is, since children inherit
/// the variable with another standard error too.
fn is_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else {
        return false;
    };
    match std::fs::metadata("/proc/self/fd/2") {
        Ok(file) => stream == format!("{}:{}", file.dev(), file.ino()),
        Err(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_event_is_one_line() {
        let mut out = String::new();
        append(
            &mut out,
            None,
            UNIX_EPOCH,
            LogLevel::Info,
            "client \"a\nb\x1b[2J\" é",
        );
        assert_eq!(out, "info client \"a\\nb\\u{1b}[2J\" é\n");
    }

    #[test]
    fn lines_carry_the_local_time() {
        let mut out = String::new();
        let zone = Zone::utc();
        append(&mut out, Some(&zone), UNIX_EPOCH, LogLevel::Warning, "x");
        assert_eq!(out, "1970-01-01 00:00:00 warning x\n");
    }

    #[test]
    fn each_level_has_what_asks_for_it() {
        for (logs, expected) in [(Logs::Warnings, 2), (Logs::Events, 3), (Logs::Packets, 4)] {
            let log = Log::new(logs);
            for level in [
                LogLevel::Error,
                LogLevel::Warning,
                LogLevel::Info,
                LogLevel::Packet,
            ] {
                log.line(level, "line");
            }
            assert_eq!(log.next_lines().0.len(), expected, "{logs:?}");
        }
    }

    #[test]
    fn a_full_queue_drops_and_counts() {
        let log = Log::new(Logs::Events);
        for _ in 0..limits::LOG_LINES_WAITING_MAX + 3 {
            log.line(LogLevel::Info, "line");
        }
        log.line(LogLevel::Packet, "not asked for");
        let (lines, dropped) = log.next_lines();
        assert_eq!((lines.len(), dropped), (limits::LOG_LINES_WAITING_MAX, 3));
    }

    #[test]
    fn long_lines_fill_the_queue_too() {
        let log = Log::new(Logs::Events);
        let text = "x".repeat(10_000);
        for _ in 0..2 * limits::LOG_BYTES_WAITING_MAX / text.len() {
            log.line(LogLevel::Info, text.as_str());
        }
        let (lines, dropped) = log.next_lines();
        assert!((100..=104).contains(&lines.len()), "{} lines", lines.len());
        assert!(dropped > 100);
        log.line(LogLevel::Info, "there is room again");
        assert_eq!(log.next_lines().0.len(), 1);
    }
}
