//! One connection to the control socket: a request is read, answered, and the next one is read.

use super::lines::refuse;
use super::request;
use super::work::Work;
use crate::io::helpers::known::Known;
use crate::io::helpers::patience::Patience;
use crate::limits;
use memchr::memchr;
use nix::poll::PollFlags;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// See the module.
pub struct Connection {
    stream: UnixStream,
    /// Behind the request under way; bounded by `limits::CONTROL_REQUEST_BYTES_MAX`.
    input: Vec<u8>,
    /// What is left of the answer.
    output: Vec<u8>,
    /// Bytes of `output` that were sent.
    sent: usize,
    /// What is not answered yet.
    work: Option<Work>,
    /// When a byte came or went last, or a request was answered.
    since: Instant,
    /// Of who reads the answer.
    patience: Patience,
    /// It waits until others have taken their answers.
    rests: bool,
    /// The other side sends nothing more.
    ended: bool,
    broken: bool,
}

impl Connection {
    pub fn new(stream: UnixStream, now: Instant) -> Connection {
        Connection {
            stream,
            input: Vec::new(),
            output: Vec::new(),
            sent: 0,
            work: None,
            since: now,
            patience: Patience::default(),
            rests: false,
            ended: false,
            broken: false,
        }
    }

    /// What it waits for.
    pub fn interest(&self) -> PollFlags {
        let mut interest = PollFlags::empty();
        if self.wants_input() {
            interest |= PollFlags::POLLIN;
        }
        if self.waiting() > 0 {
            interest |= PollFlags::POLLOUT;
        }
        interest
    }

    /// When it is to be looked at, whatever comes. `None`: who follows the log may be silent as long as the log is.
    pub fn due(&self) -> Option<Instant> {
        // Those that it waits for have deadlines.
        if self.rests && self.waiting() == 0 {
            return None;
        }
        if self.has_something_to_do() {
            return Some(self.since);
        }
        if self.follows() && self.waiting() == 0 {
            return None;
        }
        let patience = match self.is_idle() {
            true => limits::CONTROL_IDLE_MS,
            false => limits::CONTROL_STUCK_MS,
        };
        let due = self.since + Duration::from_millis(patience);
        Some(self.patience.until().map_or(due, |until| until.min(due)))
    }

    /// It asks for lines of the log as they come.
    pub fn follows(&self) -> bool {
        self.work.as_ref().is_some_and(Work::follows)
    }

    /// It has asked for nothing.
    pub fn is_idle(&self) -> bool {
        self.work.is_none() && self.input.is_empty() && self.waiting() == 0
    }

    /// When it did something last.
    pub fn since(&self) -> Instant {
        self.since
    }

    pub fn is_over(&self) -> bool {
        self.broken || self.ended && self.work.is_none() && self.waiting() == 0
    }

    /// Reads, works and writes, as far as all of it goes without waiting for the other side. `unsent`: bytes that all
    /// connections have not sent.
    pub fn turn(&mut self, known: &Known, unsent: usize, now: Instant) {
        let is_late = self.due().is_some_and(|due| now >= due) && !self.has_something_to_do();
        if is_late || self.patience.until().is_some_and(|until| now >= until) {
            self.broken = true;
            return;
        }
        self.read(now);
        if self.work.is_none() {
            self.next_request(known, now);
        }
        let others = unsent.saturating_sub(self.waiting());
        let is_large = self.work.as_ref().is_some_and(Work::has_values);
        self.rests = is_large && others >= limits::CONTROL_ALL_UNSENT_BYTES_MAX;
        if self.rests {
            self.since = now;
        } else if self.waiting() < limits::CONTROL_ANSWER_BYTES_MAX
            && let Some(work) = &mut self.work
            && work.step(known, &mut self.output)
        {
            self.work = None;
            self.since = now;
        }
        self.write(now);
        if self.follows() && (self.ended || self.is_full()) {
            // Nobody is there any more, or who is there sends what is never read: its end would not be seen behind it.
            self.broken = true;
        }
    }

    /// It goes on when others have taken their answers.
    pub fn rests(&self) -> bool {
        self.rests
    }

    /// Bytes of its answer that are not taken yet.
    pub fn waiting(&self) -> usize {
        self.output.len() - self.sent
    }

    /// There is more than a request can be.
    fn is_full(&self) -> bool {
        self.input.len() >= limits::CONTROL_REQUEST_BYTES_MAX
    }

    fn wants_input(&self) -> bool {
        !self.ended && !self.is_full() && (self.work.is_none() || self.follows())
    }

    fn has_something_to_do(&self) -> bool {
        if self.waiting() >= limits::CONTROL_ANSWER_BYTES_MAX {
            return false;
        }
        match &self.work {
            Some(work) => !work.follows(),
            None => memchr(b'\n', &self.input).is_some() || self.ended && !self.input.is_empty(),
        }
    }

    fn read(&mut self, now: Instant) {
        let mut chunk = [0; 4096];
        while self.wants_input() {
            match self.stream.read(&mut chunk) {
                Ok(0) => self.ended = true,
                Ok(count) => {
                    self.input.extend_from_slice(&chunk[..count]);
                    self.since = now;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => {
                    self.broken = true;
                    return;
                }
            }
            // Several requests may be there; they are answered in their order, each when the one before is.
            if memchr(b'\n', &self.input).is_some() {
                return;
            }
        }
    }

    /// Takes the first line of what was read.
    fn next_request(&mut self, known: &Known, now: Instant) {
        let end = match memchr(b'\n', &self.input) {
            Some(end) => end,
            None if self.ended && !self.input.is_empty() => self.input.len(),
            None => {
                if self.is_full() {
                    refuse(
                        "too_long",
                        "the request is longer than any can be",
                        &mut self.output,
                    );
                    self.input.clear();
                    self.ended = true;
                }
                return;
            }
        };
        let line: Vec<u8> = self
            .input
            .drain(..(end + 1).min(self.input.len()))
            .collect();
        if self.input.is_empty() {
            self.input = Vec::new();
        }
        let line = line.trim_ascii();
        self.since = now;
        if !line.is_empty() {
            self.patience.begin();
            self.work = request::take(line, known, &mut self.output);
        }
    }

    fn write(&mut self, now: Instant) {
        let before = self.waiting();
        while self.waiting() > 0 {
            match self.stream.write(&self.output[self.sent..]) {
                Ok(0) => {
                    self.broken = true;
                    return;
                }
                Ok(count) => {
                    self.sent += count;
                    self.since = now;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.broken = true;
                    return;
                }
            }
        }
        self.patience
            .look(before - self.waiting(), self.waiting() > 0, now);
        if self.waiting() == 0 {
            if self.follows() {
                // The log has no end. Its reader must take all of it now and then, or much.
                self.patience.begin();
            }
            self.output.clear();
            // An idle connection holds no memory.
            if self.work.is_none() {
                self.output = Vec::new();
            }
        } else if self.sent >= limits::CONTROL_ANSWER_BYTES_MAX {
            self.output.drain(..self.sent);
        } else {
            return;
        }
        self.sent = 0;
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
