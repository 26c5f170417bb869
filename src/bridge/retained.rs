//! Retained messages that were deleted at the other broker while the bridge was away (`bridge_retain_deletions true`).
//!
//! A broker that deletes a retained message tells those who are connected, by an empty payload, and nobody else. So the
//! bridge remembers what it has written here: a hash of the Topic Name and one of the payload. After a reconnection the
//! other broker sends its retained messages again. What was remembered and did not come is gone there:
//!
//! ```text
//!   remembered          comes again     is here now     is done
//!   a = 1               a = 1           a = 1           nothing
//!   b = 1               -               b = 1           b is deleted
//!   c = 1               -               c = 2           nothing: somebody else has written it
//!   d = 1               d, too large    d = 1           nothing: it is not gone
//! ```
//!
//! No packet says that all have come. A broker sends what is left as soon as acknowledgements make room, so all have
//! come when PINGREQ is answered [`BRIDGE_REPLAY_QUIET`](limits::BRIDGE_REPLAY_QUIET) times in a row, with a pause
//! between, and nothing retained came and nothing was under way meanwhile. A broker that replays more slowly than that
//! loses nothing: what comes later is written here again.
//!
//! The memory is of this process: a broker that starts anew remembers nothing, and deletes nothing that was written
//! before. It holds at most [`BRIDGE_RETAINED_MAX`](limits::BRIDGE_RETAINED_MAX) messages; of further ones, deletions
//! are not noticed.

use crate::limits;
use crate::time::Time;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

/// What one bridge has written here.
#[derive(Debug)]
pub struct Retained {
    /// By the hash of the Topic Name here. Empty for good where nobody wants it.
    written: HashMap<u64, Written>,
    is_wanted: bool,
    hashes: RandomState,
    /// Connections so far.
    connection: u32,
    phase: Phase,
}

#[derive(Clone, Copy, Debug)]
struct Written {
    payload: u64,
    /// The connection in which it came last.
    connection: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// Nothing is to be found out.
    Idle,
    /// Have all come that the other broker has?
    Listening {
        /// Answers in a row between which nothing came.
        quiet: u8,
        /// PINGREQ is not answered yet.
        asked: bool,
        /// Something retained has come since.
        heard: bool,
        /// When PINGREQ is sent.
        due: Time,
    },
    /// What is here is looked at.
    Comparing,
}

impl Retained {
    /// Nothing yet.
    pub fn new(is_wanted: bool) -> Retained {
        Retained {
            written: HashMap::new(),
            is_wanted,
            hashes: RandomState::new(),
            connection: 0,
            phase: Phase::Idle,
        }
    }

    /// A new connection to the other broker.
    pub fn begin(&mut self) {
        self.connection = self.connection.wrapping_add(1);
        self.phase = Phase::Idle;
    }

    /// A message of the other broker goes into this one under this Topic Name.
    pub fn on_in(&mut self, topic: &str, payload: &[u8], retain: bool) {
        if !self.is_wanted || !retain {
            return;
        }
        if let Phase::Listening { heard, .. } = &mut self.phase {
            *heard = true;
        }
        let topic = self.hashes.hash_one(topic);
        if payload.is_empty() {
            self.written.remove(&topic);
        } else if self.written.len() < limits::BRIDGE_RETAINED_MAX
            || self.written.contains_key(&topic)
        {
            let payload = self.hashes.hash_one(payload);
            let connection = self.connection;
            let written = Written {
                payload,
                connection,
            };
            self.written.insert(topic, written);
        }
    }

    /// A message of the other broker is too large for this one under this Topic Name: what is here stays.
    pub fn on_too_large(&mut self, topic: &str, retain: bool) {
        if !self.is_wanted || !retain {
            return;
        }
        if let Phase::Listening { heard, .. } = &mut self.phase {
            *heard = true;
        }
        if let Some(written) = self.written.get_mut(&self.hashes.hash_one(topic)) {
            written.connection = self.connection;
        }
    }

    /// The other broker has granted all subscriptions.
    pub fn listen(&mut self, now: Time) {
        if self.is_missing() {
            self.phase = Phase::Listening {
                quiet: 0,
                asked: false,
                heard: false,
                due: now + limits::BRIDGE_REPLAY_PAUSE_MS,
            };
        }
    }

    /// Something of an earlier connection has not come again.
    fn is_missing(&self) -> bool {
        self.written
            .values()
            .any(|written| written.connection != self.connection)
    }

    /// When PINGREQ is to be sent.
    pub fn deadline(&self) -> Time {
        match self.phase {
            Phase::Listening {
                asked: false, due, ..
            } => due,
            _ => Time::NEVER,
        }
    }

    /// PINGREQ is sent.
    pub fn ask(&mut self) {
        if let Phase::Listening { asked, heard, .. } = &mut self.phase {
            (*asked, *heard) = (true, false);
        }
    }

    /// PINGRESP has come. `is_under_way`: messages of the other broker are not acknowledged to the end. `true`: all has
    /// come, and what is here is to be compared ([`Retained::is_gone`]).
    pub fn on_answer(&mut self, is_under_way: bool, now: Time) -> bool {
        let Phase::Listening {
            quiet,
            asked,
            heard,
            due,
        } = &mut self.phase
        else {
            return false;
        };
        if !std::mem::take(asked) {
            return false;
        }
        match *heard || is_under_way {
            true => *quiet = 0,
            false => *quiet += 1,
        }
        *due = now + limits::BRIDGE_REPLAY_PAUSE_MS;
        if *quiet < limits::BRIDGE_REPLAY_QUIET {
            return false;
        }
        let is_missing = self.is_missing();
        self.phase = match is_missing {
            true => Phase::Comparing,
            false => Phase::Idle,
        };
        is_missing
    }

    /// A retained message is here. `true`: the bridge has written it, and it is gone at the other broker.
    pub fn is_gone(&mut self, topic: &str, payload: &[u8]) -> bool {
        if self.phase != Phase::Comparing {
            return false;
        }
        let (topic, payload) = (self.hashes.hash_one(topic), self.hashes.hash_one(payload));
        let is_gone = self.written.get(&topic).is_some_and(|written| {
            written.connection != self.connection && written.payload == payload
        });
        if is_gone {
            self.written.remove(&topic);
        }
        is_gone
    }

    /// All that is here was looked at: what is left of earlier connections is not the bridge's any more.
    pub fn end(&mut self) {
        if self.phase == Phase::Comparing {
            self.phase = Phase::Idle;
            self.written
                .retain(|_, written| written.connection == self.connection);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is here when the other broker has sent these again, and what of it is deleted.
    fn deleted(
        retained: &mut Retained,
        again: &[(&str, &str)],
        here: &[(&str, &str)],
    ) -> Vec<String> {
        retained.begin();
        retained.listen(Time(0));
        for (topic, payload) in again {
            retained.on_in(topic, payload.as_bytes(), true);
        }
        let mut is_complete = false;
        for _ in 0..limits::BRIDGE_REPLAY_QUIET {
            assert!(!is_complete);
            retained.ask();
            is_complete = retained.on_answer(false, Time(0));
        }
        let is_gone = |(topic, payload): &&(&str, &str)| {
            is_complete && retained.is_gone(topic, payload.as_bytes())
        };
        let gone = here
            .iter()
            .filter(is_gone)
            .map(|(topic, _)| (*topic).to_owned());
        let gone = gone.collect();
        retained.end();
        gone
    }

    fn remembering(written: &[(&str, &str)]) -> Retained {
        let mut retained = Retained::new(true);
        retained.begin();
        for (topic, payload) in written {
            retained.on_in(topic, payload.as_bytes(), true);
        }
        retained
    }

    #[test]
    fn what_the_bridge_wrote_and_does_not_come_again_is_gone() {
        let all = [("a", "1"), ("b", "1"), ("c", "1"), ("d", "1")];
        let mut retained = remembering(&all);
        retained.on_in("d", b"", true);
        retained.on_in("live", b"1", false);
        let here = [
            ("a", "1"),
            ("b", "1"),
            ("c", "2"),
            ("d", "1"),
            ("e", "1"),
            ("live", "1"),
        ];
        assert_eq!(deleted(&mut retained, &[("a", "1")], &here), ["b"]);
        // Of c and d the bridge is not the writer any more.
        assert_eq!(deleted(&mut retained, &[("a", "1")], &all), [""; 0]);
        assert_eq!(deleted(&mut retained, &[], &all), ["a"]);
    }

    #[test]
    fn a_replay_is_over_when_nothing_comes_and_nothing_is_under_way() {
        let mut retained = remembering(&[("a", "1")]);
        retained.begin();
        retained.listen(Time(0));
        assert_eq!(retained.deadline(), Time(limits::BRIDGE_REPLAY_PAUSE_MS));
        // An answer to a PINGREQ of keep alive.
        assert!(!retained.on_answer(false, Time(0)));
        for step in 0..20 {
            retained.ask();
            assert_eq!(retained.deadline(), Time::NEVER);
            if step % 3 == 2 {
                retained.on_in("b", b"1", true);
            }
            assert!(!retained.on_answer(step % 3 == 1, Time(step)));
        }
        retained.ask();
        assert!(!retained.on_answer(false, Time(0)));
        retained.ask();
        assert!(!retained.on_answer(false, Time(0)));
        retained.ask();
        assert!(retained.on_answer(false, Time(0)));
        // A new connection before the comparison has ended.
        retained.begin();
        assert!(!retained.is_gone("a", b"1"));
    }

    #[test]
    fn memory_is_bounded_and_nobody_is_asked_in_vain() {
        let mut retained = Retained::new(true);
        retained.begin();
        for number in 0..limits::BRIDGE_RETAINED_MAX + 10 {
            retained.on_in(&number.to_string(), b"1", true);
        }
        assert_eq!(retained.written.len(), limits::BRIDGE_RETAINED_MAX);
        retained.listen(Time(0));
        assert_eq!(retained.deadline(), Time::NEVER);
        let mut unwanted = Retained::new(false);
        unwanted.begin();
        unwanted.on_in("a", b"1", true);
        unwanted.begin();
        unwanted.listen(Time(0));
        assert_eq!(unwanted.deadline(), Time::NEVER);
    }
}
