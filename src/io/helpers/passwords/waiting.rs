//! Which password check comes next: fair between addresses, and slower and slower for those that fail.
//!
//! - Addresses take turns, one check each, so an address that asks for a thousand checks delays the others by one each.
//!   An IPv6 network of 64 bits counts as one address, since whoever has one of its addresses has them all.
//! - An address whose checks fail waits longer after each failure, from the eleventh on: 50 ms, 100 ms, …, 2 s. A check
//!   that succeeds halves its failures, so one wrong device among many behind one address does not hold up the others.
//! - Addresses without failures come first; every fourth check is for the others.
//! - Where there is no room for one more, the address that has most waiting loses its last request: an address that
//!   fails before one that does not.

use crate::broker::Verdict;
use crate::budget::Source;
use crate::ids::{ConnectionId, ListenerId, ShardId};
use crate::limits;
use crate::time::Time;
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

/// Who gets a verdict.
pub enum Reply {
    /// A connection of a shard, by its mailbox.
    Shard {
        /// Whose mailbox.
        shard: ShardId,
        /// It may have closed meanwhile.
        connection: ConnectionId,
    },
    /// Another helper. Called while nobody else can ask or be answered: it puts the verdict down and goes.
    Helper(Box<dyn Fn(Verdict) + Send>),
}

/// User name and password of one CONNECT, or of one HTTP request.
pub struct Request {
    /// Who gets the verdict.
    pub reply: Reply,
    /// The listener it came by, whose users are meant.
    pub listener: ListenerId,
    /// Whose share of the thread this takes.
    pub address: IpAddr,
    /// As CONNECT has it.
    pub user_name: String,
    /// As CONNECT has it; empty where it has none.
    pub password: Vec<u8>,
    /// When the shard asked; requests that are too old are answered "busy".
    pub asked: Time,
}

impl Request {
    fn bytes(&self) -> usize {
        self.user_name.len() + self.password.len()
    }
}

/// Requests of one address, the first to be checked first.
#[derive(Default)]
struct Line {
    requests: VecDeque<Request>,
    bytes: usize,
}

impl Line {
    /// What it takes of the room for all.
    fn weight(&self) -> usize {
        self.bytes + self.requests.len() * limits::PASSWORD_CHECK_BYTES
    }
}

/// What an address did wrong.
#[derive(Clone, Copy)]
struct Failures {
    count: u32,
    last: Time,
}

impl Failures {
    /// When it may be checked again.
    fn until(self) -> Time {
        match self.count.checked_sub(limits::PASSWORD_FAILURES_FREE) {
            None | Some(0) => self.last,
            Some(more) => {
                let doubled = limits::PASSWORD_BACK_OFF_FIRST_MS << (more - 1).min(16);
                self.last + doubled.min(limits::PASSWORD_BACK_OFF_MAX_MS)
            }
        }
    }
}

/// Requests that wait, and what is remembered of addresses that failed.
#[derive(Default)]
pub struct Waiting {
    lines: HashMap<Source, Line>,
    /// The places of `lines`, the one that is served next first.
    turns: VecDeque<Source>,
    failures: HashMap<Source, Failures>,
    /// The places of `failures`, the oldest first.
    failed: VecDeque<Source>,
    count: usize,
    bytes: usize,
    /// Checks since an address with failures had one.
    since_failed: u32,
}

/// What to do next.
pub enum Next {
    /// Check this one.
    Check(Request),
    /// Nothing before this time.
    At(Time),
    /// Nothing waits.
    Nothing,
}

impl Waiting {
    /// Puts a request into its line. Returns those for which there is no room, perhaps this one: their answer is
    /// "busy".
    #[must_use]
    pub fn push(&mut self, request: Request, now: Time) -> Vec<Request> {
        let source = Source::of(request.address);
        self.count += 1;
        self.bytes += request.bytes();
        let line = self.lines.entry(source).or_default();
        if line.requests.is_empty() {
            self.turns.push_back(source);
        }
        line.bytes += request.bytes();
        line.requests.push_back(request);
        let mut lost = Vec::new();
        self.trim(source, now, &mut lost);
        while self.count > limits::PASSWORD_CHECKS_WAITING_MAX
            || self.bytes > limits::PASSWORD_CHECKS_WAITING_BYTES_MAX
        {
            let heaviest = self.turns.iter().copied().max_by_key(|other| {
                let weight = self.lines.get(other).map_or(0, Line::weight);
                (self.has_failed(*other, now), weight)
            });
            lost.extend(heaviest.and_then(|heaviest| self.take_last(heaviest)));
        }
        lost
    }

    /// An address that is held back keeps only as many waiting as will be checked before their deadline.
    fn trim(&mut self, source: Source, now: Time, lost: &mut Vec<Request>) {
        if !self.is_held_back(source, now) {
            return;
        }
        while self
            .lines
            .get(&source)
            .map_or(0, |line| line.requests.len())
            > limits::PASSWORD_CHECKS_WAITING_OF_FAILING
        {
            lost.extend(self.take_last(source));
        }
    }

    fn take_last(&mut self, source: Source) -> Option<Request> {
        let line = self.lines.get_mut(&source)?;
        let request = line.requests.pop_back()?;
        self.taken(source, &request);
        Some(request)
    }

    /// One request has left the line of `source`.
    fn taken(&mut self, source: Source, request: &Request) {
        self.count -= 1;
        self.bytes -= request.bytes();
        if let Some(line) = self.lines.get_mut(&source) {
            line.bytes -= request.bytes();
            if line.requests.is_empty() {
                self.lines.remove(&source);
                self.turns.retain(|other| *other != source);
            }
        }
    }

    /// The request to check now. Looks at each waiting address once.
    pub fn next(&mut self, now: Time) -> Next {
        let mut first_good = None;
        let mut first_failed = None;
        let mut earliest = None;
        for (at, source) in self.turns.iter().enumerate() {
            let until = self.held_back_until(*source, now);
            if until > now {
                earliest = Some(earliest.map_or(until, |other: Time| other.min(until)));
            } else if self.has_failed(*source, now) {
                first_failed.get_or_insert(at);
            } else {
                first_good.get_or_insert(at);
            }
        }
        let turn_of_failed = self.since_failed + 1 >= limits::PASSWORD_CHECKS_TO_FAILING;
        let at = match (first_good, first_failed) {
            (Some(_), Some(failed)) if turn_of_failed => failed,
            (Some(good), _) => good,
            (None, Some(failed)) => failed,
            (None, None) => return earliest.map_or(Next::Nothing, Next::At),
        };
        self.since_failed = match first_failed {
            Some(failed) if failed == at => 0,
            _ => self.since_failed.saturating_add(1),
        };
        let source = self.turns.remove(at).expect("it was just found");
        // It waits behind the others for its next one.
        self.turns.push_back(source);
        let line = self.lines.get_mut(&source).expect("each turn has its line");
        let request = line.requests.pop_front().expect("no line is empty");
        self.taken(source, &request);
        Next::Check(request)
    }

    /// The check of a request from this address succeeded.
    pub fn note_success(&mut self, address: IpAddr) {
        if let Some(failures) = self.failures.get_mut(&Source::of(address)) {
            failures.count /= 2;
        }
    }

    /// The check failed. Returns the requests of its address that are not going to be checked in time.
    #[must_use]
    pub fn note_failure(&mut self, address: IpAddr, now: Time) -> Vec<Request> {
        let source = Source::of(address);
        let before = self
            .failures_of(source, now)
            .map_or(0, |failures| failures.count);
        let failures = Failures {
            count: before.saturating_add(1),
            last: now,
        };
        if self.failures.insert(source, failures).is_none() {
            self.failed.push_back(source);
        }
        while self.failures.len() > limits::PASSWORD_ADDRESSES_MAX {
            let oldest = self.failed.pop_front().expect("each one is in the list");
            self.failures.remove(&oldest);
        }
        let mut lost = Vec::new();
        self.trim(source, now, &mut lost);
        lost
    }

    /// `None`, also after a while without a failure.
    fn failures_of(&self, source: Source, now: Time) -> Option<Failures> {
        let failures = self.failures.get(&source).copied()?;
        let quiet_ms = now.since_ms(failures.last);
        (failures.count > 0 && quiet_ms < limits::PASSWORD_FAILURES_KEPT_MS).then_some(failures)
    }

    fn has_failed(&self, source: Source, now: Time) -> bool {
        self.failures_of(source, now).is_some()
    }

    fn held_back_until(&self, source: Source, now: Time) -> Time {
        self.failures_of(source, now)
            .map_or(now, |failures| failures.until())
    }

    /// It has failed so often that it has to wait after each check.
    fn is_held_back(&self, source: Source, now: Time) -> bool {
        self.failures_of(source, now)
            .is_some_and(|failures| failures.count > limits::PASSWORD_FAILURES_FREE)
    }
}

#[cfg(test)]
mod tests;
