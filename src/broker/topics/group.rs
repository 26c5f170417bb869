//! A Shared Subscription at the shard that owns it: which Sessions are members of the group, and which member gets the
//! next message. [v5 4.8.2]
//!
//! `docs/architecture.md` draws how owner, home and publisher speak; the home's part is in `member`.
//!
//! Cost of a message: O(members), or O(1) if the next member in turn has nothing under way.

use crate::broker::passing::Subscription;
use crate::broker::slots::Slots;
use crate::ids::{GroupId, NodeId, SessionId, ShardId};
use crate::random::HashState;
use hashbrown::HashMap;
use std::collections::VecDeque;

/// One member of a group, wherever it lives.
#[derive(Debug)]
pub struct Member {
    pub home: ShardId,
    pub session: SessionId,
    pub membership: u32,
    pub subscription: Subscription,
    pub connected: bool,
    /// QoS 1 and 2 messages given to the member and not complete.
    pub under_way: u32,
}

/// Subscribers of one `$share/NAME/FILTER`.
#[derive(Debug)]
pub struct Group {
    /// Of FILTER.
    pub node: NodeId,
    pub filter: Box<str>,
    /// By home and session; never empty.
    pub members: Vec<Member>,
    /// Index of the next member in turn, among members that are equal otherwise.
    pub turn: usize,
}

impl Group {
    pub fn find(&self, home: ShardId, session: SessionId) -> Result<usize, usize> {
        self.members
            .binary_search_by_key(&(home, session), |member| (member.home, member.session))
    }

    pub fn member(&mut self, home: ShardId, session: SessionId) -> Option<&mut Member> {
        let at = self.find(home, session).ok()?;
        Some(&mut self.members[at])
    }

    /// The member that gets the next message: a connected one first, then the one with the least under way, then the
    /// next in turn. `None`: there is no member.
    pub fn pick(&mut self) -> Option<&mut Member> {
        let count = self.members.len();
        if count == 0 {
            return None;
        }
        let mut best = self.turn % count;
        for at in (self.turn..self.turn + count).map(|at| at % count) {
            let rank = |at: usize| {
                let member: &Member = &self.members[at];
                (!member.connected, member.under_way)
            };
            if rank(at) < rank(best) {
                best = at;
            }
            if rank(best) == (false, 0) {
                break;
            }
        }
        self.turn = best + 1;
        self.members.get_mut(best)
    }
}

/// The groups this shard owns.
#[derive(Default)]
pub struct Groups {
    slots: Slots<GroupId, Group>,
    by_filter: HashMap<Box<str>, GroupId, HashState>,
    /// Joins to answer once the filters up to this sequence are in force: home and ticket.
    joins: VecDeque<(u64, ShardId, u64)>,
}

impl Groups {
    /// Groups owned here.
    #[inline]
    pub fn count(&self) -> usize {
        self.slots.count()
    }

    /// Joins to be answered.
    pub fn joins(&self) -> usize {
        self.joins.len()
    }

    /// The group of a whole filter, `$share/…`.
    pub fn find(&self, filter: &str) -> Option<GroupId> {
        self.by_filter.get(filter).copied()
    }

    pub fn get(&self, id: GroupId) -> Option<&Group> {
        self.slots.get(id)
    }

    pub fn get_mut(&mut self, id: GroupId) -> Option<&mut Group> {
        self.slots.get_mut(id)
    }

    pub fn contains(&self, id: GroupId) -> bool {
        self.slots.get(id).is_some()
    }

    /// The group in a slot.
    pub fn at(&self, slot: u32) -> Option<GroupId> {
        self.slots.id_at(slot)
    }

    /// A new group. Its node is set later.
    pub fn add(&mut self, filter: &str) -> GroupId {
        let id = self.slots.add(Group {
            node: NodeId(0),
            filter: filter.into(),
            members: Vec::new(),
            turn: 0,
        });
        self.by_filter.insert(filter.into(), id);
        id
    }

    /// Ends a group.
    pub fn remove(&mut self, id: GroupId) {
        if let Some(group) = self.slots.remove(id) {
            self.by_filter.remove(&group.filter);
            self.slots.release(id);
        }
    }

    /// A join is to be answered once `sequence` is in force.
    pub fn await_join(&mut self, sequence: u64, home: ShardId, ticket: u64) {
        self.joins.push_back((sequence, home, ticket));
    }

    /// The next join that can be answered: home and ticket.
    pub fn next_join(&mut self, in_force: u64) -> Option<(ShardId, u64)> {
        let (sequence, home, ticket) = *self.joins.front()?;
        if sequence > in_force {
            return None;
        }
        self.joins.pop_front();
        Some((home, ticket))
    }

    /// Slots that no group has and none can get, for tests.
    pub fn withheld(&self) -> usize {
        self.slots.withheld()
    }

    /// All members, for tests.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        let groups = self.slots.ids().into_iter();
        groups
            .filter_map(|id| self.slots.get(id))
            .flat_map(|group| &group.members)
    }

    /// All whole filters, for tests.
    pub fn filters(&self) -> impl Iterator<Item = &str> {
        self.by_filter.keys().map(|filter| &**filter)
    }

    pub fn check_invariants(&self) {
        assert_eq!(self.by_filter.len(), self.slots.count());
        for id in self.slots.ids() {
            let group = self.slots.get(id).expect("it was listed");
            assert_eq!(self.by_filter.get(&group.filter), Some(&id));
            assert!(!group.members.is_empty());
            assert!(
                group
                    .members
                    .is_sorted_by_key(|member| (member.home, member.session))
            );
        }
    }
}
