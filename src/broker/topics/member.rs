//! Shared Subscriptions at the home of a member: the groups that the Sessions of this shard belong to. `group` is the
//! owner's part.

use crate::ids::{SessionId, ShardId};
use crate::limits;
use hashbrown::HashMap;
use std::collections::BTreeSet;

/// One Session's membership in one group.
#[derive(Debug)]
pub struct Membership {
    /// `$share/…`
    pub filter: Box<str>,
    pub owner: ShardId,
    /// A new number each time a Session joins.
    pub number: u32,
}

/// The memberships of this shard's Sessions. A Session without a group takes no memory here.
#[derive(Default)]
pub struct Members {
    /// The memberships of each Session, by rising filter. No list is empty.
    by_session: HashMap<SessionId, Vec<Membership>>,
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
        self.of(session)
            .iter()
            .any(|membership| membership.number == number)
    }

    /// Memberships of all Sessions.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The memberships of one Session, by rising filter.
    pub fn of(&self, session: SessionId) -> &[Membership] {
        let list = self.by_session.get(&session);
        list.map_or(&[], |list| list)
    }

    /// The first `$share/…` of a Session, or the next one after `last`.
    pub fn after(&self, session: SessionId, last: Option<&str>) -> Option<&str> {
        let list = self.of(session);
        let at = last.map_or(0, |last| list.partition_point(|held| &*held.filter <= last));
        list.get(at).map(|membership| &*membership.filter)
    }

    /// The Session has reached the limit of memberships.
    pub fn is_full(&self, session: SessionId) -> bool {
        self.of(session).len() >= limits::SHARED_FILTERS_PER_SESSION_MAX
    }

    pub fn is_member(&self, session: SessionId, filter: &str) -> bool {
        self.of(session)
            .binary_search_by_key(&filter, |membership| &membership.filter)
            .is_ok()
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
        let list = self.by_session.entry(session).or_default();
        match list.binary_search_by_key(&filter, |membership| &membership.filter) {
            Ok(at) => list[at].number,
            Err(at) => {
                self.last_number = self.last_number.wrapping_add(1);
                let membership = Membership {
                    filter: filter.into(),
                    owner,
                    number: self.last_number,
                };
                list.insert(at, membership);
                self.count += 1;
                self.last_number
            }
        }
    }

    /// Ends a membership. Returns `None` if there was none.
    pub fn leave(&mut self, session: SessionId, filter: &str) -> Option<Membership> {
        let list = self.by_session.get_mut(&session)?;
        let at = list
            .binary_search_by_key(&filter, |membership| &membership.filter)
            .ok()?;
        let membership = list.remove(at);
        if list.is_empty() {
            self.by_session.remove(&session);
        }
        self.count -= 1;
        Some(membership)
    }

    /// Ends all memberships of a Session.
    pub fn leave_all(&mut self, session: SessionId) -> Vec<Membership> {
        let list = self.by_session.remove(&session).unwrap_or_default();
        self.count -= list.len();
        list
    }

    /// Panics if the count is wrong or a list is empty.
    pub fn check_invariants(&self) {
        let lists = self.by_session.values();
        assert_eq!(lists.map(Vec::len).sum::<usize>(), self.count);
        assert!(self.by_session.values().all(|list| !list.is_empty()));
    }
}
