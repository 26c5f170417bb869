//! The replay of retained messages to a new subscription: a cursor in the tree, which moves as far as the Client can
//! take. Nothing is copied into a queue, so a `#` among a million retained messages costs one cursor.

use crate::buffer::account::{Account, Arc, Booked};
use crate::ids::{NodeId, SessionId};
use crate::limits;
use crate::topic::RetainCursor;
use crate::wire::{QoS, TopicFilter};
use hashbrown::HashMap;
use std::collections::VecDeque;

/// A replay of retained messages under way.
#[derive(Debug)]
pub struct Replay {
    walk: Walk,
    /// The filter's node, to stop when it is unsubscribed.
    pub node: NodeId,
    /// Granted QoS.
    pub qos: QoS,
    pub identifier: Option<u32>,
    /// It begins when the replays up to this number may: its own, unless the packet that brought it was cut off.
    begins_with: u64,
    /// The replay of the same filter that was not at its end when this one took its place.
    replaces: Option<ReplayNumber>,
}

/// Replays of all Sessions are numbered in their order, from 1 on.
pub type ReplayNumber = u64;

/// How far a replay has come. A cursor is five times as large as most filters, so only those under way have one.
#[derive(Debug)]
enum Walk {
    Waiting(Box<str>),
    UnderWay(Box<RetainCursor>),
}

impl Replay {
    /// One of all that `filter` matches. `replaces`: what [`Replays::end_for_another`] has ended for it.
    pub fn new(
        filter: &str,
        node: NodeId,
        qos: QoS,
        identifier: Option<u32>,
        replaces: Option<ReplayNumber>,
    ) -> Replay {
        Replay {
            walk: Walk::Waiting(filter.into()),
            node,
            qos,
            identifier,
            begins_with: 0,
            replaces,
        }
    }

    /// What it replays.
    pub fn filter(&self) -> &str {
        match &self.walk {
            Walk::Waiting(filter) => filter,
            Walk::UnderWay(cursor) => cursor.filter(),
        }
    }

    /// Memory of it, waiting or under way.
    pub fn bytes(&self) -> usize {
        let filter = self.filter();
        let levels = 1 + filter.bytes().filter(|byte| *byte == b'/').count();
        limits::REPLAY_BYTES + filter.len() + levels * limits::REPLAY_LEVEL_BYTES
    }

    /// What its beginning costs, in nodes looked at; 0 once it is under way.
    pub fn work_to_begin(&self) -> usize {
        match &self.walk {
            Walk::Waiting(filter) => 1 + filter.len() / limits::FILTER_BYTES_PER_WORK,
            Walk::UnderWay(_) => 0,
        }
    }

    /// Where it is.
    pub fn cursor(&mut self) -> &mut RetainCursor {
        if let Walk::Waiting(filter) = &self.walk {
            let filter = TopicFilter::new(filter).expect("it was one when it came");
            self.walk = Walk::UnderWay(Box::new(RetainCursor::new(filter)));
        }
        match &mut self.walk {
            Walk::UnderWay(cursor) => cursor,
            Walk::Waiting(_) => unreachable!("it has begun"),
        }
    }
}

/// The replays of one Session, in the order of its subscriptions.
#[derive(Default)]
struct SessionReplays {
    /// The replays and their numbers. Stopped replays stay until they come to the front or are too many.
    replays: VecDeque<(u64, Replay)>,
    /// The number of the present replay of each filter.
    current: HashMap<NodeId, u64>,
    /// Replays up to this number may begin: their SUBSCRIBE is answered.
    answered: u64,
    /// The Session is in [`Replays::unfinished`].
    unfinished: bool,
    /// Sum of [`Replay::bytes`] of those in the list.
    bytes: usize,
    /// Counts that for the Session's owner.
    booked: Option<Booked>,
}

impl SessionReplays {
    fn book(&mut self) {
        if let Some(booked) = &mut self.booked {
            booked.set(limits::REPLAYS_BYTES + self.bytes);
        }
    }
}

/// The replays of all Sessions. When a Client comes back, its replay goes on where it was.
#[derive(Default)]
pub struct Replays {
    by_session: HashMap<SessionId, SessionReplays>,
    last_number: u64,
    /// Sessions whose replay goes on in the next turn, the one served longest ago first.
    unfinished: VecDeque<SessionId>,
    /// Nodes of the retained tree that may still be looked at in this turn, by all Sessions together.
    work_left: usize,
}

impl Replays {
    /// The number of the replay that was added last, to any Session.
    pub fn last_number(&self) -> u64 {
        self.last_number
    }

    /// The SUBSCRIBE is answered that brought about replays of a Session up to this number.
    pub fn answer(&mut self, session: SessionId, number: u64) {
        if let Some(queue) = self.by_session.get_mut(&session) {
            queue.answered = queue.answered.max(number);
        }
    }

    /// The packet that brought about replays of a Session above this number will not be answered. Those that took the
    /// place of an earlier replay begin when that one would have, because their Client is owed the messages; the others
    /// end.
    pub fn cancel(&mut self, session: SessionId, after: u64) {
        let Some(queue) = self.by_session.get_mut(&session) else {
            return;
        };
        let cut = queue
            .replays
            .partition_point(|(number, _)| *number <= after);
        for (number, mut replay) in queue.replays.split_off(cut) {
            let is_current = queue.current.get(&replay.node) == Some(&number);
            if is_current
                && let Some(replaced) = replay.replaces
                && replaced <= after
            {
                replay.begins_with = replaced;
                queue.replays.push_back((number, replay));
                continue;
            }
            if is_current {
                queue.current.remove(&replay.node);
            }
            queue.bytes -= replay.bytes();
        }
        queue.book();
    }

    /// Adds one at the end, in place of an earlier one of its filter; it counts for `account`. It begins after
    /// [`Replays::answer`].
    pub fn add(&mut self, session: SessionId, mut replay: Replay, account: Option<&Arc<Account>>) {
        self.last_number += 1;
        replay.begins_with = self.last_number;
        let queue = self.by_session.entry(session).or_default();
        queue.current.insert(replay.node, self.last_number);
        queue.bytes += replay.bytes();
        queue.replays.push_back((self.last_number, replay));
        // At most as many stopped replays as live ones are kept.
        if queue.replays.len() > 2 * queue.current.len() + 8 {
            let current = &queue.current;
            queue
                .replays
                .retain(|(number, replay)| current.get(&replay.node) == Some(number));
            queue.bytes = queue.replays.iter().map(|(_, replay)| replay.bytes()).sum();
        }
        match (&queue.booked, account) {
            (None, Some(account)) => {
                let bytes = limits::REPLAYS_BYTES + queue.bytes;
                queue.booked = Some(Booked::new(account, bytes));
            }
            _ => queue.book(),
        }
    }

    /// Ends the replay for one filter.
    pub fn stop(&mut self, session: SessionId, node: NodeId) {
        if let Some(queue) = self.by_session.get_mut(&session) {
            queue.current.remove(&node);
        }
    }

    /// Ends the replay for one filter, which is subscribed to again. Returns its number, for the one that may take its
    /// place.
    pub fn end_for_another(&mut self, session: SessionId, node: NodeId) -> Option<ReplayNumber> {
        let queue = self.by_session.get_mut(&session)?;
        let number = queue.current.remove(&node)?;
        let at = queue.replays.binary_search_by_key(&number, |(n, _)| *n);
        // It may have taken the place of another one itself, within the same packet.
        let first = at.ok().and_then(|at| queue.replays[at].1.replaces);
        Some(first.unwrap_or(number))
    }

    /// Ends all of a Session.
    pub fn forget(&mut self, session: SessionId) {
        self.by_session.remove(&session);
    }

    /// Sessions with replays.
    pub fn count(&self) -> usize {
        self.by_session.len()
    }

    /// Something is left for the next turn.
    pub fn are_unfinished(&self) -> bool {
        !self.unfinished.is_empty()
    }

    /// A new turn begins. Sets its share of work and returns the Sessions whose replays go on.
    #[inline]
    pub fn begin_turn(&mut self) -> Option<VecDeque<SessionId>> {
        self.work_left = limits::RETAINED_PER_TURN;
        (!self.unfinished.is_empty()).then(|| self.take_unfinished())
    }

    fn take_unfinished(&mut self) -> VecDeque<SessionId> {
        for session in &self.unfinished {
            if let Some(queue) = self.by_session.get_mut(session) {
                queue.unfinished = false;
            }
        }
        std::mem::take(&mut self.unfinished)
    }

    /// The front replay of a Session, if it may begin, and the number of nodes that may still be looked at in this
    /// turn. Drops stopped replays before it.
    #[inline]
    pub fn front(&mut self, session: SessionId) -> Option<(&mut Replay, &mut usize)> {
        if self.by_session.is_empty() {
            return None;
        }
        self.drop_stopped(session);
        let queue = self.by_session.get_mut(&session)?;
        let (_, replay) = queue.replays.front_mut()?;
        (replay.begins_with <= queue.answered).then_some((replay, &mut self.work_left))
    }

    /// Drops stopped replays at the front, and the list of a Session without others.
    fn drop_stopped(&mut self, session: SessionId) {
        let Some(queue) = self.by_session.get_mut(&session) else {
            return;
        };
        while let Some((number, replay)) = queue.replays.front() {
            if queue.current.get(&replay.node) == Some(number) {
                return;
            }
            queue.bytes -= replay.bytes();
            queue.replays.pop_front();
            queue.book();
        }
        self.by_session.remove(&session);
    }

    /// The front replay is complete.
    pub fn finish_front(&mut self, session: SessionId) {
        if let Some(queue) = self.by_session.get_mut(&session)
            && let Some((_, replay)) = queue.replays.pop_front()
        {
            queue.current.remove(&replay.node);
            queue.bytes -= replay.bytes();
            queue.book();
        }
    }

    /// Panics where what is counted is not what there is; for tests. Returns the sum.
    pub fn check_invariants(&self) -> usize {
        let mut sum = 0;
        for queue in self.by_session.values() {
            let bytes: usize = queue.replays.iter().map(|(_, replay)| replay.bytes()).sum();
            assert_eq!(queue.bytes, bytes);
            if let Some(booked) = &queue.booked {
                assert_eq!(booked.bytes(), limits::REPLAYS_BYTES + bytes);
                sum += booked.bytes();
            }
        }
        sum
    }

    /// The Session's replay goes on in the next turn.
    pub fn pause(&mut self, session: SessionId) {
        if let Some(queue) = self.by_session.get_mut(&session)
            && !std::mem::replace(&mut queue.unfinished, true)
        {
            self.unfinished.push_back(session);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU32;

    const SESSION: SessionId = SessionId {
        index: 0,
        generation: NonZeroU32::MIN,
    };

    fn front(replays: &mut Replays) -> Option<String> {
        let (replay, _) = replays.front(SESSION)?;
        Some(replay.filter().into())
    }

    #[test]
    fn a_replay_begins_after_its_answer_and_not_after_a_cut() {
        let mut replays = Replays::default();
        let add = |replays: &mut Replays, filter: &str, node: u32| {
            let replay = Replay::new(filter, NodeId(node), QoS::AtMostOnce, None, None);
            replays.add(SESSION, replay, None);
            replays.last_number()
        };
        let first = add(&mut replays, "a", 1);
        let second = add(&mut replays, "b", 2);
        assert_eq!(front(&mut replays), None);
        replays.answer(SESSION, first);
        assert_eq!(front(&mut replays).as_deref(), Some("a"));
        // The same node, for another filter.
        replays.stop(SESSION, NodeId(1));
        add(&mut replays, "c", 1);
        assert_eq!(front(&mut replays), None);
        replays.cancel(SESSION, second);
        replays.answer(SESSION, second);
        assert_eq!(front(&mut replays).as_deref(), Some("b"));
        replays.finish_front(SESSION);
        assert_eq!(front(&mut replays), None);
        assert_eq!(replays.count(), 0);
        replays.check_invariants();
    }

    #[test]
    fn a_cut_packet_takes_no_replay_that_was_owed_before() {
        let mut replays = Replays::default();
        let add = |replays: &mut Replays, filter: &str, node: u32| {
            let replaces = replays.end_for_another(SESSION, NodeId(node));
            let replay = Replay::new(filter, NodeId(node), QoS::AtMostOnce, None, replaces);
            replays.add(SESSION, replay, None);
            replays.last_number()
        };
        add(&mut replays, "a", 1);
        let answered = add(&mut replays, "b", 2);
        replays.answer(SESSION, answered);
        // Both again, one of them twice, and a new one twice.
        for (filter, node) in [("b", 2), ("c", 3), ("a", 1), ("a", 1), ("c", 3)] {
            add(&mut replays, filter, node);
        }
        assert_eq!(front(&mut replays), None, "not answered");
        replays.cancel(SESSION, answered);
        replays.check_invariants();
        assert_eq!(front(&mut replays).as_deref(), Some("b"));
        replays.finish_front(SESSION);
        assert_eq!(front(&mut replays).as_deref(), Some("a"));
        replays.finish_front(SESSION);
        assert_eq!(front(&mut replays), None);
        assert_eq!(replays.count(), 0);
    }
}
