//! SUBSCRIBE and UNSUBSCRIBE under way: packets of thousands of filters that take several turns, and answers that wait
//! until peers know.

use super::filter_refusal::FilterRefusal;
use crate::buffer::account::Booked;
use crate::ids::{ConnectionId, SessionId};
use crate::wire::{PacketId, Version};
use hashbrown::HashMap;
use std::collections::VecDeque;

/// A SUBSCRIBE whose answer waits until its filters are in force everywhere.
#[derive(Debug)]
pub(super) struct PendingSubscribe {
    /// `FilterAdded` sequence that every peer must have answered.
    pub sequence: u64,
    /// `Join` ticket up to which every owner of a group must have answered.
    pub ticket: u64,
    /// The number of the changes that a store must have kept.
    pub after: u64,
    pub session: SessionId,
    pub version: Version,
    pub packet_id: PacketId,
    /// For SUBACK.
    pub codes: Vec<u8>,
    pub refusal: Option<FilterRefusal>,
    /// Replays of the Session up to this number may begin after it.
    pub replays: u64,
    /// Counts all this for who subscribed.
    pub booked: Option<Booked>,
}

impl PendingSubscribe {
    /// Memory of it.
    pub fn bytes(&self) -> usize {
        size_of::<(ConnectionId, PendingSubscribe)>() + self.codes.capacity()
    }
}

/// A SUBSCRIBE or UNSUBSCRIBE that takes several turns, and the Reason Codes of the filters that are done.
#[derive(Default)]
pub(super) struct Unfinished {
    /// How many filters it has, once all of them have been looked at: before that none is put in force.
    pub total: Option<usize>,
    /// Filters looked at before that.
    pub checked: usize,
    /// Where the next filter begins.
    pub at: usize,
    pub codes: Vec<u8>,
    /// Why the first refused filter was refused.
    pub refusal: Option<FilterRefusal>,
    /// The number of the last replay before this packet, once it has brought about others.
    pub replays_after: Option<u64>,
    /// The number of the changes that a store must have kept.
    pub after: u64,
    /// Counts all this for who sent it, from the first turn that leaves something for the next.
    pub booked: Option<Booked>,
}

impl Unfinished {
    /// Memory of it.
    pub fn bytes(&self) -> usize {
        size_of::<(ConnectionId, Unfinished)>() + self.codes.capacity()
    }
}

/// Those of all connections of this shard.
#[derive(Default)]
pub(super) struct Pending {
    /// Unfinished packets. Each lies at the front of the bytes received on its connection.
    unfinished: HashMap<ConnectionId, Unfinished>,
    /// SUBSCRIBEs whose answer waits for peers, by rising sequence.
    awaiting: VecDeque<(ConnectionId, PendingSubscribe)>,
    /// Connections whose next part waits for peers, by rising sequence.
    parts: VecDeque<(ConnectionId, u64)>,
    /// The filter of the violation that is about to close its connection.
    offending_filter: Option<String>,
}

impl Pending {
    /// What is done of the packet at the front of a connection, if it takes several turns.
    pub fn take_unfinished(&mut self, id: ConnectionId) -> Unfinished {
        if self.unfinished.is_empty() {
            return Unfinished::default();
        }
        self.unfinished.remove(&id).unwrap_or_default()
    }

    /// The packet at the front goes on in the next turn.
    pub fn put_unfinished(&mut self, id: ConnectionId, part: Unfinished) {
        self.unfinished.insert(id, part);
    }

    /// Whether the packet at the front of a connection takes several turns.
    #[inline]
    pub fn is_unfinished(&self, id: ConnectionId) -> bool {
        !self.unfinished.is_empty() && self.unfinished.contains_key(&id)
    }

    /// A connection is over. Returns what was unfinished on it.
    pub fn forget(&mut self, id: ConnectionId) -> Option<Unfinished> {
        if self.unfinished.is_empty() {
            return None;
        }
        self.unfinished.remove(&id)
    }

    /// The next part of a packet waits until peers have come to this sequence.
    pub fn await_part(&mut self, id: ConnectionId, sequence: u64) {
        self.parts.push_back((id, sequence));
    }

    /// A connection whose next part may come.
    pub fn next_part(&mut self, in_force: u64) -> Option<ConnectionId> {
        let (id, sequence) = *self.parts.front()?;
        if sequence > in_force {
            return None;
        }
        self.parts.pop_front();
        Some(id)
    }

    /// An answer waits for peers.
    pub fn await_answer(&mut self, id: ConnectionId, pending: PendingSubscribe) {
        self.awaiting.push_back((id, pending));
    }

    /// The next answer, if `is_ready`.
    pub fn next_answer(
        &mut self,
        is_ready: impl Fn(&PendingSubscribe) -> bool,
    ) -> Option<(ConnectionId, PendingSubscribe)> {
        let (_, pending) = self.awaiting.front()?;
        if !is_ready(pending) {
            return None;
        }
        self.awaiting.pop_front()
    }

    /// The next answer, ready or not.
    pub fn first_answer(&mut self) -> Option<(ConnectionId, PendingSubscribe)> {
        self.awaiting.pop_front()
    }

    /// Answers of one connection that wait, counted one by one; for tests.
    pub fn answers_of(&self, id: ConnectionId) -> usize {
        let of_it = |(of, _): &&(ConnectionId, PendingSubscribe)| *of == id;
        self.awaiting.iter().filter(of_it).count()
    }

    /// Answers that wait; for tests.
    pub fn answers(&self) -> usize {
        self.awaiting.len()
    }

    /// Panics where what is counted is not what there is; for tests.
    pub fn check_invariants(&self) {
        for part in self.unfinished.values() {
            assert_eq!(part.booked.as_ref().map(Booked::bytes), Some(part.bytes()));
        }
        for (_, pending) in &self.awaiting {
            assert_eq!(
                pending.booked.as_ref().map(Booked::bytes),
                Some(pending.bytes())
            );
        }
    }

    /// A violation is about to close its connection because of this filter.
    pub fn blame(&mut self, filter: &str) {
        self.offending_filter = Some(filter.to_owned());
    }

    /// Takes the filter that caused the violation.
    pub fn take_blamed(&mut self) -> Option<String> {
        self.offending_filter.take()
    }
}
