//! The log: one line an event, to one or more [`Destinations`]; to standard error unless a configuration says
//! otherwise.
//!
//! Who logs only appends to a bounded queue; a thread writes. A standard error that nobody reads delays no shard: lines
//! that find the queue full are dropped, counted, and their number is logged.

use crate::broker::{Happening, LogLevel};
use crate::config::Logs;
use crate::config::mosquitto::{LogTypes, Logging};
use crate::io::helpers::destinations::{Destinations, Line, LineType, Publisher, types_of};
use crate::io::{mosquitto_words, words};
use crate::limits;
use nix::sys::eventfd::EventFd;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

/// A handle of the log; clones write to the same.
#[derive(Clone)]
pub struct Log {
    shared: Arc<Shared>,
}

struct Shared {
    queue: Mutex<Lines>,
    /// There is something to write or to do, or the end has come.
    written_or_new: Condvar,
    tail: Mutex<Tail>,
}

/// The last lines, for who asks.
#[derive(Default)]
struct Tail {
    /// The oldest first.
    lines: VecDeque<Told>,
    bytes: usize,
    /// Of the next line.
    next: u64,
    /// Told of new lines, while somebody follows them. `None`: nobody can ask, and none are kept.
    follower: Option<Arc<EventFd>>,
    is_followed: bool,
}

/// A line as it was logged.
#[derive(Clone, Debug)]
pub struct Told {
    /// Counted from 0 since lines are kept.
    pub number: u64,
    /// When.
    pub at: SystemTime,
    /// `error`, `warning` or another type of Mosquitto's.
    pub kind: &'static str,
    /// Without a line end.
    pub text: String,
}

impl Tail {
    fn keep(&mut self, lines: Vec<Line>) {
        let Some(follower) = &self.follower else {
            return;
        };
        for line in lines {
            self.bytes += line.text.len();
            self.lines.push_back(Told {
                number: self.next,
                at: line.at,
                kind: line.kind.name(),
                text: line.text,
            });
            self.next += 1;
            while self.lines.len() > limits::LOG_TAIL_LINES_MAX
                || self.bytes > limits::LOG_TAIL_BYTES_MAX
            {
                match self.lines.pop_front() {
                    Some(oldest) => self.bytes -= oldest.text.len(),
                    None => break,
                }
            }
        }
        if self.is_followed {
            // It would block only when 2^64 - 2 wake-ups wait to be read.
            let _ = follower.write(1);
        }
    }
}

struct Lines {
    lines: Vec<Line>,
    /// Bytes of their texts, and of what holds these.
    bytes: usize,
    /// Lines that found no room since this was last told in the log, and since the start.
    dropped: DroppedLines,
    dropped_in_all: DroppedLines,
    /// Lines taken by the writer and not yet written.
    writing: bool,
    wanted: Wanted,
    /// For the writer, before it writes on.
    to_do: Vec<ToDo>,
}

/// Lines that found no room.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct DroppedLines {
    /// All of them.
    pub lines: u64,
    /// Warnings and errors among them.
    pub warnings: u64,
}

impl DroppedLines {
    fn count(&mut self, kind: LineType) {
        self.lines += 1;
        self.warnings += u64::from(matches!(kind, LineType::Error | LineType::Warning));
    }

    /// "3 log lines dropped", and how many of them were warnings and errors, if any were.
    pub fn sentence(self) -> String {
        match self.warnings {
            0 => format!("{} log lines dropped", self.lines),
            warnings => format!(
                "{} log lines dropped, {warnings} of them warnings and errors",
                self.lines
            ),
        }
    }
}

/// What is logged, and in whose words.
#[derive(Clone, Copy)]
struct Wanted {
    types: LogTypes,
    /// Who connects and disconnects.
    connections: bool,
    /// Mosquitto's, where it has some.
    mosquittos_words: bool,
}

enum ToDo {
    Reopen(Option<Logging>),
    PublishBy(Publisher),
}

impl Wanted {
    /// By a configuration, or by a level of the command line alone; the level goes before the types of the file.
    fn of(logs: Option<Logs>, logging: Option<&Logging>) -> Wanted {
        let types = match (logs, logging) {
            (Some(logs), _) => types_of(logs),
            (None, Some(logging)) => logging.types,
            (None, None) => types_of(Logs::Events),
        };
        Wanted {
            types,
            connections: logging.is_none_or(|logging| logging.connections),
            mosquittos_words: logging.is_some(),
        }
    }
}

impl Log {
    /// Starts the writer thread. `logs` is what the command line says, `logging` what a configuration does.
    pub fn start(logs: Option<Logs>, logging: Option<&Logging>) -> io::Result<Log> {
        let log = Log::new(logs, logging);
        let writer = log.clone();
        let destinations = Destinations::open(logging);
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || writer.write_forever(destinations))?;
        Ok(log)
    }

    fn new(logs: Option<Logs>, logging: Option<&Logging>) -> Log {
        let lines = Lines {
            lines: Vec::new(),
            bytes: 0,
            dropped: DroppedLines::default(),
            dropped_in_all: DroppedLines::default(),
            writing: false,
            wanted: Wanted::of(logs, logging),
            to_do: Vec::new(),
        };
        Log {
            shared: Arc::new(Shared {
                queue: Mutex::new(lines),
                written_or_new: Condvar::new(),
                tail: Mutex::default(),
            }),
        }
    }

    /// Files are opened again, and what is logged follows a configuration that was read again.
    pub fn reopen(&self, logs: Option<Logs>, logging: Option<&Logging>) {
        let mut queue = self.lock();
        queue.wanted = Wanted::of(logs, logging);
        queue.to_do.push(ToDo::Reopen(logging.cloned()));
        self.shared.written_or_new.notify_all();
    }

    /// Lines for topics are published by this from now on.
    pub fn publish_by(&self, publisher: Publisher) {
        self.lock().to_do.push(ToDo::PublishBy(publisher));
        self.shared.written_or_new.notify_all();
    }

    /// Appends a line; never waits for the writer.
    pub fn line(&self, level: LogLevel, text: impl Into<String>) {
        let kind = match level {
            LogLevel::Error => LineType::Error,
            LogLevel::Warning => LineType::Warning,
            LogLevel::Info => LineType::Information,
            LogLevel::Packet => LineType::Debug,
        };
        self.append(self.wanted(), kind, || text.into());
    }

    /// Appends the line of an event in a shard.
    pub fn happened(&self, happening: &Happening) {
        let (level, own) = match happening {
            Happening::Subscribed { .. } => (LineType::Subscribe, false),
            Happening::Unsubscribed { .. } => (LineType::Unsubscribe, false),
            Happening::Connected { .. }
            | Happening::Refused { .. }
            | Happening::Unaccepted { .. }
            | Happening::Ended { .. } => (LineType::Notice, true),
            other => match other.level() {
                LogLevel::Error => (LineType::Error, false),
                LogLevel::Warning => (LineType::Warning, false),
                LogLevel::Info => (LineType::Notice, false),
                LogLevel::Packet => (LineType::Debug, false),
            },
        };
        let wanted = self.wanted();
        if own && !wanted.connections {
            return;
        }
        self.append(wanted, level, || {
            let text = wanted
                .mosquittos_words
                .then(|| mosquitto_words::sentence(happening));
            text.flatten()
                .unwrap_or_else(|| words::sentence(happening).1)
        });
    }

    /// Appends Mosquitto's line of a connection that was accepted and has said nothing yet, where its words are wanted.
    /// `port`: that of the listener.
    pub fn accepted(&self, address: SocketAddr, port: impl FnOnce() -> Option<u16>) {
        let wanted = self.wanted();
        if wanted.mosquittos_words && wanted.connections {
            let text = || mosquitto_words::accepted(address, port());
            self.append(wanted, LineType::Notice, text);
        }
    }

    fn wanted(&self) -> Wanted {
        self.lock().wanted
    }

    /// `text` is made only if the line is wanted.
    fn append(&self, wanted: Wanted, kind: LineType, text: impl FnOnce() -> String) {
        if !kind.is_of(wanted.types) {
            return;
        }
        let line = Line {
            at: SystemTime::now(),
            kind,
            text: text(),
        };
        let mut queue = self.lock();
        let bytes = size_of::<Line>() + line.text.len();
        let percent = if kind.is_of_clients() {
            limits::LOG_EVENTS_PERCENT
        } else {
            100
        };
        if queue.lines.len() >= limits::LOG_LINES_WAITING_MAX * percent / 100
            || queue.bytes + bytes > limits::LOG_BYTES_WAITING_MAX * percent / 100
        {
            queue.dropped.count(kind);
            queue.dropped_in_all.count(kind);
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

    /// Lines that found no room since the start.
    pub fn dropped_since_start(&self) -> DroppedLines {
        self.lock().dropped_in_all
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

    /// The last lines are kept from now on, and `follower` is told of new ones while they are followed.
    pub fn keep_tail(&self, follower: Arc<EventFd>) {
        self.tail().follower = Some(follower);
    }

    /// Somebody waits for new lines, or nobody any more. Lines that came before are to be looked for once more.
    pub fn follow_tail(&self, is_followed: bool) {
        self.tail().is_followed = is_followed;
    }

    /// The kept lines from this number on.
    pub fn tail_from(&self, number: u64) -> Vec<Told> {
        let tail = self.tail();
        let lines = tail.lines.iter();
        lines
            .filter(|line| line.number >= number)
            .cloned()
            .collect()
    }

    /// The number of the line that is logged next.
    pub fn tail_next(&self) -> u64 {
        self.tail().next
    }

    fn tail(&self) -> MutexGuard<'_, Tail> {
        let tail = self.shared.tail.lock();
        tail.unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Lines> {
        let queue = self.shared.queue.lock();
        queue.unwrap_or_else(PoisonError::into_inner)
    }

    fn write_forever(&self, mut destinations: Destinations) {
        loop {
            self.wait_for_work();
            // Lines that come close together are written together: one wake-up for all of them.
            thread::sleep(Duration::from_millis(limits::LOG_GATHER_MS));
            for to_do in std::mem::take(&mut self.lock().to_do) {
                match to_do {
                    ToDo::Reopen(logging) => destinations.reopen(logging.as_ref()),
                    ToDo::PublishBy(publisher) => destinations.publish_by(publisher),
                }
            }
            let (mut lines, dropped) = self.next_lines();
            if dropped.lines > 0 {
                lines.push(Line {
                    at: SystemTime::now(),
                    kind: LineType::Warning,
                    text: format!("{}: the log is not read fast enough", dropped.sentence()),
                });
            }
            destinations.write(&lines);
            self.tail().keep(lines);
            self.lock().writing = false;
            self.shared.written_or_new.notify_all();
        }
    }

    fn wait_for_work(&self) {
        let mut queue = self.lock();
        while queue.lines.is_empty() && queue.to_do.is_empty() {
            let waited = self.shared.written_or_new.wait(queue);
            queue = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn next_lines(&self) -> (Vec<Line>, DroppedLines) {
        let mut queue = self.lock();
        queue.writing = true;
        queue.bytes = 0;
        let dropped = std::mem::take(&mut queue.dropped);
        (std::mem::take(&mut queue.lines), dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_level_has_what_asks_for_it() {
        for (logs, expected) in [(Logs::Warnings, 2), (Logs::Events, 3), (Logs::Packets, 4)] {
            let log = Log::new(Some(logs), None);
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
        let log = Log::new(None, None);
        for _ in 0..limits::LOG_LINES_WAITING_MAX + 3 {
            log.line(LogLevel::Info, "line");
        }
        log.line(LogLevel::Packet, "not asked for");
        let (lines, dropped) = log.next_lines();
        assert_eq!(lines.len(), limits::LOG_LINES_WAITING_MAX);
        assert_eq!((dropped.lines, dropped.warnings), (3, 0));
        assert_eq!(log.dropped_since_start(), dropped);
    }

    #[test]
    fn clients_that_come_and_go_leave_room_for_warnings() {
        let log = Log::new(None, None);
        let probe = || {
            log.append(log.wanted(), LineType::Notice, || "a client".to_owned());
        };
        let room = limits::LOG_LINES_WAITING_MAX * limits::LOG_EVENTS_PERCENT / 100;
        (0..room + 10).for_each(|_| probe());
        log.line(LogLevel::Warning, "not lost");
        log.line(LogLevel::Error, "not lost");
        let (lines, dropped) = log.next_lines();
        assert_eq!((lines.len(), dropped.lines), (room + 2, 10));
        for _ in 0..limits::LOG_LINES_WAITING_MAX + 5 {
            log.line(LogLevel::Warning, "as many as that are");
        }
        let told = log.dropped_since_start().sentence();
        assert_eq!(told, "15 log lines dropped, 5 of them warnings and errors");
    }

    /// A line costs no system call beside its own while nobody follows.
    #[test]
    fn who_follows_is_told_and_nobody_else() {
        use nix::sys::eventfd::EfdFlags;
        let log = Log::new(None, None);
        let follower = EventFd::from_flags(EfdFlags::EFD_NONBLOCK).expect("an eventfd");
        let follower = Arc::new(follower);
        log.keep_tail(Arc::clone(&follower));
        let keep = || {
            log.line(LogLevel::Info, "line");
            log.tail().keep(log.next_lines().0);
            follower.read().is_ok()
        };
        assert!(!keep());
        log.follow_tail(true);
        assert!(keep());
        log.follow_tail(false);
        assert!(!keep());
        assert_eq!(log.tail_from(0).len(), 3);
    }

    #[test]
    fn long_lines_fill_the_queue_too() {
        let log = Log::new(None, None);
        let text = "x".repeat(10_000);
        for _ in 0..2 * limits::LOG_BYTES_WAITING_MAX / text.len() {
            log.line(LogLevel::Info, text.as_str());
        }
        let (lines, dropped) = log.next_lines();
        assert!((100..=104).contains(&lines.len()), "{} lines", lines.len());
        assert!(dropped.lines > 100);
        log.line(LogLevel::Info, "there is room again");
        assert_eq!(log.next_lines().0.len(), 1);
    }
}
