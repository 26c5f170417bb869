//! Shared Subscriptions at the home of a member: the groups that the Sessions of this shard belong to. `group` is the
//! owner's part.

use crate::ids::{SessionId, ShardId};
use crate::limits;
use hashbrown::HashMap;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

/// One Session's membership in one group.
#[derive(Debug)]
pub struct Membership {
    /// `$share/…`
    pub filter: Box<str>,
    pub owner: ShardId,
    /// A new number each time a Session joins.
    pub number: u32,
}

/// The memberships of one Session, of which there may be thousands: found by filter and by number in O(log).
#[derive(Default)]
struct Joined {
    by_filter: BTreeMap<Box<str>, (ShardId, u32)>,
    /// Rising, so the number of a new membership nearly always comes last.
    numbers: Vec<u32>,
}

impl Joined {
    fn forget_number(&mut self, number: u32) {
        if let Ok(at) = self.numbers.binary_search(&number) {
            self.numbers.remove(at);
        }
    }
}

/// The memberships of this shard's Sessions. A Session without a group takes no memory here.
#[derive(Default)]
pub struct Members {
    /// None is empty.
    by_session: HashMap<SessionId, Joined>,
    count: usize,
    last_number: u32,
    /// The ticket of the last `Join` sent.
    last_ticket: u64,
    /// Tickets of joins that their owners have not answered.
    unanswered: BTreeSet<u64>,
}

impl Members {
    /// The Session belongs to a group under this number.
    pub fn has(&self, session: SessionId, number: u32) -> bool {
        let joined = self.by_session.get(&session);
        joined.is_some_and(|joined| joined.numbers.binary_search(&number).is_ok())
    }

    /// Memberships of all Sessions.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Memberships of one Session.
    pub fn count_of(&self, session: SessionId) -> usize {
        let joined = self.by_session.get(&session);
        joined.map_or(0, |joined| joined.numbers.len())
    }

    /// The `$share/…` of a Session and their owners, by rising filter.
    pub fn of(&self, session: SessionId) -> impl Iterator<Item = (&str, ShardId)> {
        let joined = self.by_session.get(&session).into_iter();
        let all = joined.flat_map(|joined| &joined.by_filter);
        all.map(|(filter, (owner, _))| (&**filter, *owner))
    }

    /// The first `$share/…` of a Session, or the next one after `last`.
    pub fn after(&self, session: SessionId, last: Option<&str>) -> Option<&str> {
        let list = &self.by_session.get(&session)?.by_filter;
        let rest = match last {
            Some(last) => list.range::<str, _>((Bound::Excluded(last), Bound::Unbounded)),
            None => list.range::<str, _>(..),
        };
        rest.map(|(filter, _)| &**filter).next()
    }

    /// The Session has reached the limit of memberships.
    pub fn is_full(&self, session: SessionId) -> bool {
        self.count_of(session) >= limits::SHARED_FILTERS_PER_SESSION_MAX
    }

    pub fn is_member(&self, session: SessionId, filter: &str) -> bool {
        let joined = self.by_session.get(&session);
        joined.is_some_and(|joined| joined.by_filter.contains_key(filter))
    }

    /// Returns the ticket for a `Join` that is sent to an owner.
    pub fn next_ticket(&mut self) -> u64 {
        self.last_ticket += 1;
        self.unanswered.insert(self.last_ticket);
        self.last_ticket
    }

    pub fn last_ticket(&self) -> u64 {
        self.last_ticket
    }

    /// Every owner has answered the joins up to this ticket.
    pub fn has_joined(&self, ticket: u64) -> bool {
        let first = self.unanswered.first();
        first.is_none_or(|unanswered| *unanswered > ticket)
    }

    /// An owner has answered.
    pub fn note_joined(&mut self, ticket: u64) {
        self.unanswered.remove(&ticket);
    }

    /// Joins that wait for their owners.
    pub fn unanswered(&self) -> usize {
        self.unanswered.len()
    }

    /// The number of a membership. Makes the membership if there is none.
    pub fn join(&mut self, session: SessionId, filter: &str, owner: ShardId) -> u32 {
        let joined = self.by_session.entry(session).or_default();
        if let Some((_, number)) = joined.by_filter.get(filter) {
            return *number;
        }
        self.last_number = self.last_number.wrapping_add(1);
        let number = self.last_number;
        joined.by_filter.insert(filter.into(), (owner, number));
        let at = joined.numbers.partition_point(|held| *held < number);
        joined.numbers.insert(at, number);
        self.count += 1;
        number
    }

    /// Ends a membership. Returns `None` if there was none.
    pub fn leave(&mut self, session: SessionId, filter: &str) -> Option<Membership> {
        let joined = self.by_session.get_mut(&session)?;
        let (filter, (owner, number)) = joined.by_filter.remove_entry(filter)?;
        joined.forget_number(number);
        if joined.by_filter.is_empty() {
            self.by_session.remove(&session);
        }
        self.count -= 1;
        Some(Membership {
            filter,
            owner,
            number,
        })
    }

    /// Ends all memberships of a Session.
    pub fn leave_all(&mut self, session: SessionId) -> Vec<Membership> {
        let joined = self.by_session.remove(&session).unwrap_or_default();
        self.count -= joined.numbers.len();
        let all = joined.by_filter.into_iter();
        all.map(|(filter, (owner, number))| Membership {
            filter,
            owner,
            number,
        })
        .collect()
    }

    /// Panics if the count is wrong or a list is empty.
    pub fn check_invariants(&self) {
        let mut count = 0;
        for joined in self.by_session.values() {
            let mut numbers: Vec<u32> = joined.by_filter.values().map(|(_, n)| *n).collect();
            numbers.sort_unstable();
            assert!(!numbers.is_empty() && numbers == joined.numbers);
            count += numbers.len();
        }
        assert_eq!(count, self.count);
    }
}
