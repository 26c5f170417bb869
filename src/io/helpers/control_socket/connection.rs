//! One connection to the control socket: a request is read, answered, and the next one is read.

use super::lines::refuse;
use super::request;
use super::work::Work;
use crate::io::helpers::known::Known;
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
        Some(self.since + Duration::from_millis(patience))
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

    /// Reads, works and writes, as far as all of it goes without waiting for the other side.
    pub fn turn(&mut self, known: &Known, now: Instant) {
        if self.due().is_some_and(|due| now >= due) && !self.has_something_to_do() {
            self.broken = true;
            return;
        }
        self.read(now);
        if self.work.is_none() {
            self.next_request(known, now);
        }
        if self.waiting() < limits::CONTROL_ANSWER_BYTES_MAX
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

    fn waiting(&self) -> usize {
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
            self.work = request::take(line, known, &mut self.output);
        }
    }

    fn write(&mut self, now: Instant) {
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
        if self.waiting() == 0 {
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
