//! Answers that wait until the store has kept the changes they confirm. Each connection gets its answers in their
//! order: an answer that needs no store waits behind the earlier ones. [v5 MQTT-4.6.0-2, MQTT-4.6.0-3]
//!
//! Deliveries and PINGRESP never wait.

use crate::buffer::account::Booked;
use crate::ids::{ConnectionId, SessionId};
use crate::limits;
use hashbrown::HashMap;
use std::collections::VecDeque;

/// An answer in its bytes.
pub struct Answer {
    /// The changes up to this number must be kept first. 0: none.
    after: u64,
    /// What must be settled first, by [`Held::settle`]. 0: nothing.
    token: u64,
    pub bytes: Vec<u8>,
    /// Counts it for its Client.
    booked: Option<Booked>,
}

/// See the module.
#[derive(Default)]
pub struct Held {
    by_connection: HashMap<ConnectionId, VecDeque<Answer>>,
    /// The answers that wait for changes, by rising number of these.
    order: VecDeque<(u64, ConnectionId)>,
    /// Connections that are not read from until their answers have left.
    paced: HashMap<ConnectionId, ()>,
    /// Sessions with a delivery that waits for changes before it is sent, by rising number of these.
    fresh: VecDeque<(u64, SessionId)>,
    /// Sessions that the store does not know yet, and the number of the changes that say so.
    unkept: HashMap<SessionId, u64>,
}

impl Held {
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.by_connection.is_empty()
    }

    /// Answers of this connection wait.
    #[inline]
    pub fn holds(&self, id: ConnectionId) -> bool {
        !self.by_connection.is_empty() && self.by_connection.contains_key(&id)
    }

    /// Answers of this connection that wait.
    pub fn count(&self, id: ConnectionId) -> usize {
        self.by_connection.get(&id).map_or(0, VecDeque::len)
    }

    /// Connections whose answers wait.
    pub fn connections(&self) -> usize {
        self.by_connection.len()
    }

    /// Adds an answer behind those of its connection.
    pub fn push(
        &mut self,
        id: ConnectionId,
        after: u64,
        token: u64,
        bytes: Vec<u8>,
        booked: Option<Booked>,
    ) {
        if after > 0 {
            self.order.push_back((after, id));
        }
        let answers = self.by_connection.entry(id).or_default();
        answers.push_back(Answer {
            after,
            token,
            bytes,
            booked,
        });
    }

    /// What this answer waited for is settled: now it needs the changes up to `after`, none before those of the turn.
    /// `instead`: the bytes that it has become.
    pub fn settle(&mut self, id: ConnectionId, token: u64, after: u64, instead: Option<Vec<u8>>) {
        let answers = self.by_connection.get_mut(&id);
        let answer = answers.and_then(|all| all.iter_mut().find(|answer| answer.token == token));
        let Some(answer) = answer else { return };
        answer.token = 0;
        if let Some(instead) = instead {
            answer.bytes = instead;
            if let Some(booked) = &mut answer.booked {
                booked.set(limits::HELD_ANSWER_BYTES + answer.bytes.capacity());
            }
        }
        if after > answer.after {
            answer.after = after;
            self.order.push_back((after, id));
        }
    }

    /// The answer of this token needs the changes up to `after`, none before those of the turn.
    pub fn hold_longer(&mut self, id: ConnectionId, token: u64, after: u64) {
        let answers = self.by_connection.get_mut(&id);
        let answer = answers.and_then(|all| all.iter_mut().find(|answer| answer.token == token));
        if let Some(answer) = answer.filter(|answer| after > answer.after) {
            answer.after = after;
            self.order.push_back((after, id));
        }
    }

    /// The next connection with an answer whose changes are kept.
    pub fn next_kept(&mut self, kept: u64) -> Option<ConnectionId> {
        let (after, id) = *self.order.front()?;
        if after > kept {
            return None;
        }
        self.order.pop_front();
        Some(id)
    }

    /// The first answer of a connection, if its changes are kept and it is settled.
    pub fn pop(&mut self, id: ConnectionId, kept: u64) -> Option<Answer> {
        let answers = self.by_connection.get_mut(&id)?;
        let first = answers.front()?;
        if first.after > kept || first.token > 0 {
            return None;
        }
        let answer = answers.pop_front();
        if answers.is_empty() {
            self.by_connection.remove(&id);
        }
        answer
    }

    /// A delivery of this Session waits for the changes up to `after`, or behind such a one.
    pub fn note_fresh(&mut self, after: u64, id: SessionId) {
        let last = self.fresh.back().copied();
        let after = after.max(last.map_or(0, |(after, _)| after));
        if last != Some((after, id)) {
            self.fresh.push_back((after, id));
        }
    }

    /// The next Session whose delivery may be sent now.
    pub fn next_fresh(&mut self, kept: u64) -> Option<SessionId> {
        let (after, id) = *self.fresh.front()?;
        if after > kept {
            return None;
        }
        self.fresh.pop_front();
        Some(id)
    }

    /// A Session has begun by the changes of this number.
    pub fn note_begun(&mut self, id: SessionId, sequence: u64) {
        self.unkept.insert(id, sequence);
    }

    /// The number of the changes by which a Session has begun, if they are not kept yet; else 0.
    pub fn begun(&self, id: SessionId) -> u64 {
        self.unkept.get(&id).copied().unwrap_or(0)
    }

    /// The changes up to `kept` are kept.
    pub fn forget_begun(&mut self, kept: u64) {
        if !self.unkept.is_empty() {
            self.unkept.retain(|_, sequence| *sequence > kept);
        }
    }

    /// A connection is not read from until its answers have left. `false`: it was noted before.
    pub fn note_paced(&mut self, id: ConnectionId) -> bool {
        self.paced.insert(id, ()).is_none()
    }

    /// The connection may be read from again. `false` if it was not stopped.
    pub fn take_paced(&mut self, id: ConnectionId) -> bool {
        !self.paced.is_empty() && self.paced.remove(&id).is_some()
    }

    /// Panics where what is counted is not what there is; for tests.
    pub fn check_invariants(&self) {
        for answer in self.by_connection.values().flatten() {
            let booked = answer.booked.as_ref().map(Booked::bytes);
            let bytes = limits::HELD_ANSWER_BYTES + answer.bytes.capacity();
            assert!(booked.is_none_or(|booked| booked == bytes));
        }
    }

    /// A connection is gone. Its entries in `order` now find nothing.
    pub fn forget(&mut self, id: ConnectionId) {
        if !self.by_connection.is_empty() {
            self.by_connection.remove(&id);
        }
        if !self.paced.is_empty() {
            self.paced.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two answers of one connection: each is held longer, and settled, by its own token.
    #[test]
    fn a_token_names_one_answer() {
        let id = ConnectionId {
            index: 0,
            generation: 1,
        };
        let mut held = Held::default();
        held.push(id, 5, 1, b"first".to_vec(), None);
        held.push(id, 5, 2, b"second".to_vec(), None);
        held.hold_longer(id, 2, 9);
        held.settle(id, 2, 0, Some(b"instead".to_vec()));
        assert!(held.pop(id, 9).is_none(), "the first is not settled");
        held.settle(id, 1, 0, None);
        assert!(held.pop(id, 4).is_none());
        let first = held.pop(id, 5).map(|answer| answer.bytes);
        assert_eq!(first.as_deref(), Some(&b"first"[..]));
        assert!(held.pop(id, 8).is_none(), "the second needs more changes");
        let second = held.pop(id, 9).map(|answer| answer.bytes);
        assert_eq!(second.as_deref(), Some(&b"instead"[..]));
        assert!(held.is_empty());
    }
}
