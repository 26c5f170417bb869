//! The turn: its time and its work budget.
//!
//! A client that subscribes to all combinations of `a` and `+` makes every message to `a/a/a/…` visit each of them in
//! the trie, and one read holds hundreds of messages: without a budget all other Clients would wait for seconds. So
//! work is counted, in nodes of the trie visited, and a connection that has spent its share goes on in the next turn:
//!
//! - a connection that spent [`limits::WORK_OF_READ`] on the packets of one read, or [`limits::WORK_OF_MESSAGE`] once
//!   the turn has spent [`limits::WORK_OF_TURN`] in all, is paced for a turn, and its other packets wait. At least one
//!   is handled each time.
//! - the publisher of a message from another shard that costs more than [`limits::WORK_OF_MESSAGE`] here is paced for a
//!   turn, so that the lane in front of everyone's messages does not fill with such messages;
//! - a shard whose turn has spent its budget takes nothing more from its lanes ([`Turn::is_spent`]).
//!
//! Ordinary messages visit some ten nodes and reach none of these limits.

use crate::limits;
use crate::session::progress::Waiter;
use crate::time::Time;

/// What it costs to put this filter into the trie, or to take it out.
pub(super) fn work_of_filter(filter: &str) -> usize {
    let levels = filter.bytes().filter(|byte| *byte == b'/').count();
    limits::WORK_OF_FILTER
        + levels * limits::WORK_OF_LEVEL
        + filter.len() / limits::FILTER_BYTES_PER_WORK
}

/// The turn under way.
#[derive(Default)]
pub(super) struct Turn {
    now: Time,
    /// Work done, in nodes of the trie visited.
    spent: usize,
    /// Bytes of the packets at the end of the run just handled that are left for the next turn.
    left: usize,
    /// Publishers that wait since this turn, and those that go on at its end.
    deferred: Vec<Waiter>,
    ready: Vec<Waiter>,
}

impl Turn {
    /// Monotonic; the same for all that one input leads to.
    #[inline]
    pub fn now(&self) -> Time {
        self.now
    }

    /// Time goes on.
    #[inline]
    pub fn set_time(&mut self, now: Time) {
        assert!(now >= self.now, "time does not run backwards");
        self.now = now;
    }

    /// So many nodes were visited, or as much was done.
    #[inline]
    pub fn add_work(&mut self, visits: usize) {
        self.spent = self.spent.saturating_add(visits);
    }

    /// So many bytes at the end of the run under way are not handled in this turn.
    pub fn leave(&mut self, bytes: usize) {
        self.left = bytes;
    }

    /// The bytes that the run just handled has left; asked once for each run.
    #[inline]
    pub fn take_left(&mut self) -> usize {
        std::mem::take(&mut self.left)
    }

    /// The shard stops: there is no other turn for what is left.
    pub fn forget_work(&mut self) {
        self.spent = 0;
    }

    /// Work done in this turn.
    #[inline]
    pub fn work(&self) -> usize {
        self.spent
    }

    /// Whether a connection whose packets cost the work from `before` to now has spent its share of this turn.
    #[inline]
    pub fn is_enough(&self, before: usize) -> bool {
        let own = self.spent.saturating_sub(before);
        own > limits::WORK_OF_READ
            || (own > limits::WORK_OF_MESSAGE && self.spent > limits::WORK_OF_TURN)
    }

    /// Those who go on at the end of this turn have spent their part of the next.
    #[inline]
    pub fn has_resumed_enough(&self) -> bool {
        self.spent > limits::WORK_OF_RESUMED
    }

    /// A packet that takes several turns has had its part of this one, since the work was `before`.
    #[inline]
    pub fn is_enough_of_part(&self, before: usize) -> bool {
        self.spent.saturating_sub(before) > limits::WORK_OF_PART
    }

    /// This turn has spent its budget: what lies in lanes waits for the next one.
    pub fn is_spent(&self) -> bool {
        self.spent > limits::WORK_OF_TURN
    }

    /// A publisher that has been paced goes on at the end of the next turn.
    pub fn defer(&mut self, waiter: Waiter) {
        self.deferred.push(waiter);
    }

    /// Publishers wait for the next turn.
    #[inline]
    pub fn has_deferred(&self) -> bool {
        !self.deferred.is_empty() || !self.ready.is_empty()
    }

    /// The turn ends. Returns the publishers that were deferred in the turn before; they go on now.
    #[inline]
    pub fn end(&mut self) -> Vec<Waiter> {
        self.spent = 0;
        if !self.has_deferred() {
            return Vec::new();
        }
        std::mem::swap(&mut self.deferred, &mut self.ready);
        std::mem::take(&mut self.deferred)
    }

    /// Keeps the memory of that list.
    pub fn reuse(&mut self, mut list: Vec<Waiter>) {
        if self.deferred.capacity() == 0 {
            list.clear();
            self.deferred = list;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_level_of_a_filter_costs() {
        let more = work_of_filter("a/b/c") - work_of_filter("a.b.c");
        assert_eq!(more, 2 * limits::WORK_OF_LEVEL);
    }
}
