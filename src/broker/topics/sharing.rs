//! Groups of Shared Subscriptions in the trie: a group is one subscriber of its FILTER and gives each message to one
//! member.

use super::group::Member;
use super::owner::Topics;
use crate::broker::home::owner_of;
use crate::broker::passing::{Subscriber, Subscription};
use crate::ids::{GroupId, SessionId, ShardId, StoredSession};
use crate::session::queue::Share;
use crate::wire::{Malformed, QoS, SubscriptionOptions, TopicFilter};

/// The member that gets a message, and how.
pub struct Pick {
    pub home: ShardId,
    pub session: SessionId,
    pub share: Share,
    /// QoS of the delivery.
    pub qos: QoS,
    pub retain: bool,
    pub identifier: Option<u32>,
}

/// The FILTER of a `$share/NAME/FILTER`.
///
/// Errors: `NoFilterAfterShareName` if the FILTER is a Shared Subscription again, which could match nothing.
pub fn shared_filter(filter: TopicFilter<'_>) -> Option<Result<TopicFilter<'_>, Malformed>> {
    let (_, text) = filter.share()?;
    Some(match TopicFilter::new(text) {
        Ok(inner) if inner.share().is_none() => Ok(inner),
        Ok(_) | Err(_) => Err(Malformed::NoFilterAfterShareName),
    })
}

/// Checks a Topic Filter, and the FILTER of a Shared Subscription too.
pub fn checked_filter(text: &str) -> Result<TopicFilter<'_>, Malformed> {
    let filter = TopicFilter::new(text)?;
    shared_filter(filter).transpose()?;
    Ok(filter)
}

impl Topics {
    /// This shard owns groups, so groups may be among the subscribers found.
    #[inline]
    pub fn has_groups(&self) -> bool {
        self.groups.count() > 0
    }

    /// Adds a member to a group, or changes its options. The first member makes the group. Returns `Some` if this shard
    /// had no subscriber of this FILTER before: every peer must know.
    pub fn join_group<'a>(
        &mut self,
        home: ShardId,
        session: SessionId,
        membership: u32,
        filter: TopicFilter<'a>,
        subscription: Subscription,
    ) -> Option<TopicFilter<'a>> {
        let inner = shared_filter(filter)?.ok()?;
        let mut first = false;
        let id = match self.groups.find(filter.as_str()) {
            Some(id) => id,
            None => {
                let id = self.groups.add(filter.as_str());
                let nothing = Subscription::new(SubscriptionOptions::default(), None);
                let subscriber = Subscriber::Group(id.index);
                let done = self.trie.subscribe(inner, subscriber, nothing);
                let group = self.groups.get_mut(id)?;
                group.node = done.node;
                first = done.first;
                id
            }
        };
        let group = self.groups.get_mut(id)?;
        match group.find(home, session) {
            Ok(at) => {
                group.members[at].subscription = subscription;
                group.members[at].membership = membership;
            }
            Err(at) => {
                let member = Member {
                    home,
                    session,
                    membership,
                    subscription,
                    connected: true,
                    under_way: 0,
                };
                group.members.insert(at, member);
            }
        }
        first.then_some(inner)
    }

    /// Takes a member out of a group. The last member ends the group. Returns `Some` if this shard has no subscriber of
    /// this FILTER any more.
    pub fn leave_group<'a>(
        &mut self,
        home: ShardId,
        session: SessionId,
        filter: &'a str,
    ) -> Option<TopicFilter<'a>> {
        let id = self.groups.find(filter)?;
        let group = self.groups.get_mut(id)?;
        if let Ok(at) = group.find(home, session) {
            group.members.remove(at);
        }
        if !group.members.is_empty() {
            return None;
        }
        let node = group.node;
        let done = self
            .trie
            .unsubscribe_node(node, Subscriber::Group(id.index));
        self.groups.remove(id);
        let inner = TopicFilter::new(filter).ok().and_then(shared_filter)?;
        inner.ok().filter(|_| done.is_some_and(|done| done.last))
    }

    /// A join of a member at `home` is answered once this sequence is in force.
    pub fn await_join(&mut self, sequence: u64, home: ShardId, ticket: u64) {
        self.groups.await_join(sequence, home, ticket);
    }

    /// The next join whose sequence every peer has acknowledged: home and ticket.
    pub fn next_join(&mut self, in_force: u64) -> Option<(ShardId, u64)> {
        self.groups.next_join(in_force)
    }

    /// The Client of a member has come or gone.
    pub fn note_present(
        &mut self,
        home: ShardId,
        session: SessionId,
        filter: &str,
        connected: bool,
    ) {
        let id = self.groups.find(filter);
        let group = id.and_then(|id| self.groups.get_mut(id));
        if let Some(member) = group.and_then(|group| group.member(home, session)) {
            member.connected = connected;
        }
    }

    /// The same of a Session of this shard, in all groups of this shard.
    pub fn note_present_here(&mut self, session: SessionId, connected: bool) {
        for (filter, owner) in self.members.of(session) {
            let id = self.groups.find(filter).filter(|_| owner == self.id);
            let group = id.and_then(|id| self.groups.get_mut(id));
            if let Some(member) = group.and_then(|group| group.member(owner, session)) {
                member.connected = connected;
            }
        }
    }

    /// A member has that many messages less under way.
    pub fn note_done(&mut self, home: ShardId, session: SessionId, group: GroupId, count: u32) {
        let group = self.groups.get_mut(group);
        if let Some(member) = group.and_then(|group| group.member(home, session)) {
            member.under_way = member.under_way.saturating_sub(count);
        }
    }

    /// The group is there still.
    pub fn has_group(&self, id: GroupId) -> bool {
        self.groups.contains(id)
    }

    /// What a store knows the group by.
    pub fn group_name(&self, id: GroupId) -> Option<StoredSession> {
        let group = self.groups.get(id)?;
        Some(StoredSession::of_group(&group.filter))
    }

    /// The group at this index of [`Topics::found`], if the subscriber there is a group.
    pub fn found_group(&self, at: usize) -> Option<GroupId> {
        match self.found().local.get(at)?.0 {
            Subscriber::Group(slot) => self.groups.at(slot),
            Subscriber::Session(_) => None,
        }
    }

    /// Picks the member that gets a message of this QoS.
    pub fn pick(&mut self, id: GroupId, qos: QoS, retain: bool) -> Option<Pick> {
        let owner = self.id;
        let member = self.groups.get_mut(id)?.pick()?;
        let options = member.subscription.options;
        let qos = options.qos.min(qos);
        if qos > QoS::AtMostOnce {
            member.under_way += 1;
        }
        Some(Pick {
            home: member.home,
            session: member.session,
            share: Share {
                owner,
                group: id,
                membership: member.membership,
            },
            qos,
            retain: retain && options.retain_as_published,
            identifier: member.subscription.identifier(),
        })
    }

    /// Panics where groups and the memberships of this shard's Sessions contradict each other. `connected` tells of a
    /// Session that lives whether its Client is here; for tests.
    pub fn check_groups(&self, connected: impl Fn(SessionId) -> Option<bool>) {
        for filter in self.groups.filters() {
            assert_eq!(owner_of(filter, self.shards), self.id);
        }
        for member in self.groups.members().filter(|m| m.home == self.id) {
            assert_eq!(connected(member.session), Some(member.connected));
            assert!(self.members.has(member.session, member.membership));
        }
    }
}
