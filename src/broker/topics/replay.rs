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
}

/// How far a replay has come. A cursor is five times as large as most filters, so only those under way have one.
#[derive(Debug)]
enum Walk {
    Waiting(Box<str>),
    UnderWay(Box<RetainCursor>),
}

impl Replay {
    /// One of all that `filter` matches.
    pub fn new(filter: &str, node: NodeId, qos: QoS, identifier: Option<u32>) -> Replay {
        Replay {
            walk: Walk::Waiting(filter.into()),
            node,
            qos,
            identifier,
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

/// The replays that one SUBSCRIBE brings about, in the order of its filters: one for each filter, however often the
/// packet repeats it.
#[derive(Default, Debug)]
pub struct NewReplays {
    list: Vec<Replay>,
    by_node: HashMap<NodeId, u32>,
    bytes: usize,
}

impl NewReplays {
    /// Adds one, in place of an earlier one of its filter.
    pub fn put(&mut self, replay: Replay) {
        let end = self.list.len() as u32;
        let at = *self.by_node.entry(replay.node).or_insert(end);
        self.bytes += replay.bytes();
        if at == end {
            self.list.push(replay);
        } else {
            self.bytes -= self.list[at as usize].bytes();
            self.list[at as usize] = replay;
        }
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.list.len()
    }

    /// The nodes of their filters.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> {
        self.list.iter().map(|replay| replay.node)
    }

    /// Leaves those that `is_wanted`, and nothing can be added any more.
    pub fn retain(&mut self, mut is_wanted: impl FnMut(NodeId) -> bool) {
        self.list.retain(|replay| is_wanted(replay.node));
    }

    /// Memory of all of them.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The same, counted anew; for tests.
    pub fn counted_bytes(&self) -> usize {
        self.list.iter().map(Replay::bytes).sum()
    }
}

impl IntoIterator for NewReplays {
    type Item = Replay;
    type IntoIter = std::vec::IntoIter<Replay>;

    fn into_iter(self) -> Self::IntoIter {
        self.list.into_iter()
    }
}

/// New replays of a Session that are still to be added: those of its SUBSCRIBEs, in their order.
struct Arriving {
    session: SessionId,
    lists: VecDeque<NewList>,
    /// The last list whose replay of a filter was stopped before it was added: UNSUBSCRIBE takes the filter's node out,
    /// and that node may be another filter's by now.
    stopped: HashMap<NodeId, u64>,
}

struct NewList {
    number: u64,
    replays: std::vec::IntoIter<Replay>,
    /// Counts them until they are added.
    _booked: Option<Booked>,
}

/// The replays of one Session, in the order of its subscriptions.
#[derive(Default)]
struct SessionReplays {
    /// The replays and their numbers. Stopped replays stay until they come to the front or are too many.
    replays: VecDeque<(u64, Replay)>,
    /// The number of the present replay of each filter.
    current: HashMap<NodeId, u64>,
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
    /// Sessions with replays to be added, the one served longest ago first.
    arriving: VecDeque<Arriving>,
    last_list: u64,
}

impl Replays {
    /// A SUBSCRIBE is answered, and these replays are to be added: [`Replays::next_arriving`]. `booked` counts them
    /// until they are.
    pub fn arrive(&mut self, session: SessionId, new: NewReplays, booked: Option<Booked>) {
        if new.list.is_empty() {
            return;
        }
        self.last_list += 1;
        let list = NewList {
            number: self.last_list,
            replays: new.into_iter(),
            _booked: booked,
        };
        let mut all = self.arriving.iter_mut();
        match all.find(|arriving| arriving.session == session) {
            Some(arriving) => arriving.lists.push_back(list),
            None => self.arriving.push_back(Arriving {
                session,
                lists: [list].into(),
                stopped: HashMap::new(),
            }),
        }
    }

    /// The Session whose replays are to be added next. Those of another come first after [`Replays::rotate_arriving`].
    pub fn arriving(&self) -> Option<SessionId> {
        self.arriving.front().map(|arriving| arriving.session)
    }

    /// The next replay of that Session. `None`: there is no other.
    pub fn next_arriving(&mut self) -> Option<Replay> {
        let arriving = self.arriving.front_mut()?;
        while let Some(list) = arriving.lists.front_mut() {
            let stopped = &arriving.stopped;
            let is_wanted = |replay: &Replay| {
                let last = stopped.get(&replay.node);
                last.is_none_or(|last| *last < list.number)
            };
            if let Some(replay) = list.replays.find(is_wanted) {
                return Some(replay);
            }
            arriving.lists.pop_front();
        }
        self.arriving.pop_front();
        None
    }

    /// The Session has had its part of this turn.
    pub fn rotate_arriving(&mut self) {
        self.arriving.rotate_left(1.min(self.arriving.len()));
    }

    /// Adds one at the end, which counts for `account`.
    pub fn add(&mut self, session: SessionId, replay: Replay, account: Option<&Arc<Account>>) {
        self.last_number += 1;
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
        let mut arriving = self.arriving.iter_mut();
        if let Some(arriving) = arriving.find(|arriving| arriving.session == session) {
            arriving.stopped.insert(node, self.last_list);
        }
    }

    /// Ends all of a Session.
    pub fn forget(&mut self, session: SessionId) {
        self.by_session.remove(&session);
        self.arriving.retain(|arriving| arriving.session != session);
    }

    /// Sessions with replays.
    pub fn count(&self) -> usize {
        self.by_session.len()
    }

    /// Something is left for the next turn.
    pub fn are_unfinished(&self) -> bool {
        !self.unfinished.is_empty() || !self.arriving.is_empty()
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

    /// The front replay of a Session, and the number of nodes that may still be looked at in this turn. Drops stopped
    /// replays before it.
    #[inline]
    pub fn front(&mut self, session: SessionId) -> Option<(&mut Replay, &mut usize)> {
        if self.by_session.is_empty() {
            return None;
        }
        self.drop_stopped(session);
        let queue = self.by_session.get_mut(&session)?;
        let (_, replay) = queue.replays.front_mut()?;
        Some((replay, &mut self.work_left))
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
