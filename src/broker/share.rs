//! Shared Subscriptions at the owner of a group: who belongs to it, who gets the next message. [v5 4.8.2]
//!
//! A group stands in the trie as one subscriber of its filter. `docs/architecture.md` draws how owner, home and publisher speak;
//! the home's part is in `member`.
//!
//! Cost of a message: O(members), and O(1) where the member whose turn it is has nothing under way.

use super::connect::home_of;
use super::counters::Dropped;
use super::event::{Output, PeerMessage, ShareMessage};
use super::member::Members;
use super::outputs::Outputs;
use super::passing::{Origin, Routing, Sending, Subscription, routing_of};
use super::shard::Shard;
use super::slots::{GENERATION_NEVER, Slots};
use crate::ids::{GroupId, NodeId, SessionId, ShardId};
use crate::session::Message;
use crate::session::queue::Share;
use crate::wire::{Malformed, QoS, SubscriptionOptions, TopicFilter};
use hashbrown::HashMap;
use std::collections::VecDeque;
use std::rc::Rc;

/// One member of a group, wherever it lives.
#[derive(Debug)]
struct Member {
    home: ShardId,
    session: SessionId,
    membership: u32,
    subscription: Subscription,
    connected: bool,
    /// QoS 1 and 2 messages given to it and not done.
    under_way: u32,
}

/// Subscribers of one `$share/NAME/FILTER`.
#[derive(Debug)]
struct Group {
    /// Of FILTER.
    node: NodeId,
    filter: Box<str>,
    /// By home and session; never empty.
    members: Vec<Member>,
    /// Index of the member whose turn it is among equals.
    turn: usize,
}

impl Group {
    fn find(&self, home: ShardId, session: SessionId) -> Result<usize, usize> {
        self.members
            .binary_search_by_key(&(home, session), |member| (member.home, member.session))
    }

    fn member(&mut self, home: ShardId, session: SessionId) -> Option<&mut Member> {
        let at = self.find(home, session).ok()?;
        Some(&mut self.members[at])
    }

    /// Who gets the next message: connected first, then the least under way, then whose turn it is.
    fn pick(&mut self) -> &mut Member {
        let count = self.members.len();
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
        &mut self.members[best]
    }
}

/// All a shard knows of Shared Subscriptions: the groups it owns and the memberships of its Sessions.
#[derive(Default)]
pub(super) struct Shares {
    groups: Slots<GroupId, Group>,
    by_filter: HashMap<Box<str>, GroupId>,
    /// Groups found by the routing under way.
    found: Vec<GroupId>,
    /// Joins to be answered once the filters told before this sequence are in force: home and ticket.
    joins: VecDeque<(u64, ShardId, u64)>,
    pub members: Members,
}

impl Shares {
    /// Groups owned here.
    pub fn groups(&self) -> usize {
        self.groups.count()
    }

    /// What is held, by name; for tests.
    pub fn leftovers(&self) -> [(&'static str, usize); 4] {
        [
            ("groups", self.groups()),
            ("memberships", self.memberships()),
            ("joins to answer", self.joins.len()),
            ("joins unanswered", self.members.unanswered()),
        ]
    }

    /// Notes a subscriber of the trie that is no Session, if it is a group.
    pub fn found(&mut self, subscriber: SessionId) {
        if subscriber.generation == GENERATION_NEVER
            && let Some(group) = self.groups.id_at(subscriber.index)
        {
            self.found.push(group);
        }
    }

    /// The routing under way has found no group.
    pub fn found_none(&self) -> bool {
        self.found.is_empty()
    }
}

/// How a group is named in the trie: its slot, with a generation that no Session has.
fn subscriber(group: GroupId) -> SessionId {
    SessionId {
        index: group.index,
        generation: GENERATION_NEVER,
    }
}

/// The FILTER of a `$share/NAME/FILTER`.
///
/// Errors: `NoFilterAfterShareName` if that is a Shared Subscription again, which nothing could match.
pub(super) fn shared_filter(filter: TopicFilter<'_>) -> Option<Result<TopicFilter<'_>, Malformed>> {
    let (_, text) = filter.share()?;
    Some(match TopicFilter::new(text) {
        Ok(inner) if inner.share().is_none() => Ok(inner),
        Ok(_) | Err(_) => Err(Malformed::NoFilterAfterShareName),
    })
}

/// The shard that owns a group.
pub(super) fn owner_of(filter: &str, shards: usize) -> ShardId {
    home_of(filter, shards)
}

impl Shard {
    pub(super) fn on_share(&mut self, from: ShardId, message: ShareMessage, out: &mut Outputs) {
        match message {
            ShareMessage::Join {
                filter,
                session,
                membership,
                options,
                identifier,
                ticket,
            } => {
                if let Ok(filter) = TopicFilter::new(&filter) {
                    let subscription = Subscription::new(options, identifier);
                    self.join_group(from, session, membership, filter, subscription, out);
                }
                let sequence = self.peers.sequence();
                self.shares.joins.push_back((sequence, from, ticket));
                self.answer_joins(out);
            }
            ShareMessage::Joined { ticket } => {
                self.shares.members.note_joined(ticket);
                self.complete_subscribes(out);
            }
            ShareMessage::Leave { filter, session } => {
                self.leave_group(from, session, &filter, out);
            }
            ShareMessage::Present {
                filter,
                session,
                connected,
            } => self.note_present(from, session, &filter, connected),
            ShareMessage::Deliver { .. } => self.on_share_deliver(message, out),
            ShareMessage::Done {
                group,
                session,
                count,
            } => self.note_done(from, session, group, count),
            ShareMessage::Return {
                message,
                group,
                session,
            } => self.take_back(from, session, group, &Rc::new(message), out),
        }
    }

    /// Adds a member to a group, which is made if it is the first, or changes the options of one.
    pub(super) fn join_group(
        &mut self,
        home: ShardId,
        session: SessionId,
        membership: u32,
        filter: TopicFilter<'_>,
        subscription: Subscription,
        out: &mut Outputs,
    ) {
        let Some(Ok(inner)) = shared_filter(filter) else {
            return;
        };
        let text = filter.as_str();
        let id = match self.shares.by_filter.get(text) {
            Some(id) => *id,
            None => {
                let id = self.shares.groups.add(Group {
                    node: NodeId(0),
                    filter: text.into(),
                    members: Vec::new(),
                    turn: 0,
                });
                let nothing = Subscription::new(SubscriptionOptions::default(), None);
                let done = self.trie.subscribe(inner, subscriber(id), nothing);
                let group = self.shares.groups.get_mut(id).expect("it was added");
                group.node = done.node;
                self.shares.by_filter.insert(text.into(), id);
                if done.first {
                    self.tell_filter_added(inner.as_str(), out);
                }
                id
            }
        };
        let group = self.shares.groups.get_mut(id).expect("it is there");
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
    }

    /// Answers the joins whose group every peer knows.
    pub(super) fn answer_joins(&mut self, out: &mut Outputs) {
        let in_force = self.peers.in_force();
        while let Some(&(sequence, to, ticket)) = self.shares.joins.front() {
            if sequence > in_force {
                return;
            }
            self.shares.joins.pop_front();
            let message = PeerMessage::Share(ShareMessage::Joined { ticket });
            out.push(Output::Peer { to, message });
        }
    }

    /// Takes a member out of a group; the last one ends it.
    pub(super) fn leave_group(
        &mut self,
        home: ShardId,
        session: SessionId,
        filter: &str,
        out: &mut Outputs,
    ) {
        let Some(&id) = self.shares.by_filter.get(filter) else {
            return;
        };
        let group = self.shares.groups.get_mut(id).expect("it has a name");
        if let Ok(at) = group.find(home, session) {
            group.members.remove(at);
        }
        if !group.members.is_empty() {
            return;
        }
        let node = group.node;
        self.shares.by_filter.remove(filter);
        self.shares.groups.remove(id);
        self.shares.groups.release(id);
        let done = self.trie.unsubscribe_node(node, subscriber(id));
        let inner = TopicFilter::new(filter).ok().and_then(shared_filter);
        if let (Some(Ok(inner)), Some(true)) = (inner, done.map(|done| done.last)) {
            self.tell_filter_removed(inner.as_str(), out);
        }
    }

    pub(super) fn note_present(
        &mut self,
        home: ShardId,
        session: SessionId,
        filter: &str,
        connected: bool,
    ) {
        let id = self.shares.by_filter.get(filter).copied();
        let group = id.and_then(|id| self.shares.groups.get_mut(id));
        if let Some(member) = group.and_then(|group| group.member(home, session)) {
            member.connected = connected;
        }
    }

    /// A member has that many messages less under way.
    pub(super) fn note_done(
        &mut self,
        home: ShardId,
        session: SessionId,
        group: GroupId,
        count: u32,
    ) {
        let group = self.shares.groups.get_mut(group);
        if let Some(member) = group.and_then(|group| group.member(home, session)) {
            member.under_way = member.under_way.saturating_sub(count);
        }
    }

    /// A message that a member was given and will not have: on to another one.
    pub(super) fn take_back(
        &mut self,
        home: ShardId,
        session: SessionId,
        group: GroupId,
        message: &Rc<Message>,
        out: &mut Outputs,
    ) {
        if message.qos > QoS::AtMostOnce {
            self.note_done(home, session, group, 1);
        }
        if self.shares.groups.get(group).is_none() {
            self.counters.drop_messages(Dropped::SessionEnded, 1);
        } else if message.expired(self.now) {
            self.counters.drop_messages(Dropped::Expired, 1);
        } else {
            let nobody = Origin {
                session: None,
                connection: None,
            };
            self.with_message(message, |shard, routing| {
                shard.deliver_to_group(group, routing, nobody, out);
            });
        }
    }

    /// Gives the message under way to one member of each group found. `false`: none could take it.
    pub(super) fn deliver_to_groups(
        &mut self,
        routing: &mut Routing<'_>,
        origin: Origin,
        out: &mut Outputs,
    ) -> bool {
        let mut taken = false;
        let mut found = std::mem::take(&mut self.shares.found);
        for group in found.drain(..) {
            taken |= self.deliver_to_group(group, routing, origin, out);
        }
        self.shares.found = found;
        taken
    }

    fn deliver_to_group(
        &mut self,
        id: GroupId,
        routing: &mut Routing<'_>,
        origin: Origin,
        out: &mut Outputs,
    ) -> bool {
        let Some(group) = self.shares.groups.get_mut(id) else {
            return false;
        };
        let member = group.pick();
        let options = member.subscription.options;
        let qos = options.qos.min(routing.qos);
        if qos > QoS::AtMostOnce {
            member.under_way += 1;
        }
        let (to, session) = (member.home, member.session);
        let identifier = member.subscription.identifier();
        let retain = routing.retain && options.retain_as_published;
        let share = Share {
            owner: self.id,
            group: id,
            membership: member.membership,
        };
        if to == self.id {
            let sending = Sending {
                qos,
                dup: false,
                retain,
                identifiers: identifier.as_slice(),
                share: (qos > QoS::AtMostOnce).then_some(share),
            };
            return self.deliver(session, routing, &sending, origin, out);
        }
        let message = ShareMessage::Deliver {
            message: (**routing.message()).clone(),
            session,
            share,
            qos,
            retain,
            identifier,
            origin: origin.connection,
        };
        out.push(Output::Peer {
            to,
            message: PeerMessage::Share(message),
        });
        self.counters.messages_crossed += 1;
        self.wait_for_lane(to, origin, out);
        true
    }

    /// A message from the owner for a member that lives here.
    fn on_share_deliver(&mut self, deliver: ShareMessage, out: &mut Outputs) {
        let ShareMessage::Deliver {
            message,
            session,
            share,
            qos,
            retain,
            identifier,
            origin,
        } = deliver
        else {
            return;
        };
        let message = Rc::new(message);
        if !self.shares.members.has(session, share.membership) {
            return self.hand_back(session, share, &message, out);
        }
        let share = (qos > QoS::AtMostOnce).then_some(share);
        if message.expired_on_the_way(self.now) {
            self.counters.drop_messages(Dropped::Expired, 1);
            return self.shares.done(session, share);
        }
        let sending = Sending {
            qos,
            dup: false,
            retain,
            identifiers: identifier.as_slice(),
            share,
        };
        let origin = Origin {
            session: None,
            connection: origin,
        };
        let mut routing = routing_of(&message);
        self.clear_shapes();
        self.deliver(session, &mut routing, &sending, origin, out);
        self.clear_shapes();
    }

    /// Panics where groups, trie and memberships contradict each other; for tests.
    pub(super) fn check_shares(&self) {
        assert_eq!(self.shares.by_filter.len(), self.shares.groups.count());
        assert!(self.shares.found.is_empty());
        for id in self.shares.groups.ids() {
            let group = self.shares.groups.get(id).expect("it was listed");
            assert_eq!(self.shares.by_filter.get(&group.filter), Some(&id));
            assert_eq!(owner_of(&group.filter, self.shards), self.id);
            assert!(!group.members.is_empty());
            assert!(
                group
                    .members
                    .is_sorted_by_key(|member| (member.home, member.session))
            );
            for member in group.members.iter().filter(|m| m.home == self.id) {
                let session = self.sessions.get(member.session).expect("a member lives");
                assert_eq!(member.connected, session.connection.is_some());
                assert!(self.shares.members.has(member.session, member.membership));
            }
        }
        self.shares.members.check_invariants();
    }
}
