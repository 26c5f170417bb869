//! Shared Subscriptions at the home of a member: which groups its Sessions belong to, and what goes back to a group's owner.
//! The owner's part is in `share`.

use super::event::{Output, PeerMessage, ShareMessage};
use super::outputs::Outputs;
use super::passing::Subscription;
use super::shard::Shard;
use super::share::owner_of;
use crate::ids::{SessionId, ShardId};
use crate::limits;
use crate::session::inflight::Stage;
use crate::session::queue::Share;
use crate::session::{Message, Session};
use crate::wire::{QoS, TopicFilter};
use hashbrown::HashMap;
use std::collections::BTreeSet;
use std::rc::Rc;

/// That a Session belongs to a group.
#[derive(Debug)]
struct Membership {
    /// `$share/…`
    filter: Box<str>,
    owner: ShardId,
    /// Different for each time a Session joined.
    number: u32,
}

/// The memberships of this shard's Sessions; costs nothing for those who have none.
#[derive(Default)]
pub(super) struct Members {
    /// Each list by rising filter; none is empty.
    by_session: HashMap<SessionId, Vec<Membership>>,
    count: usize,
    last_number: u32,
    /// Of the last `Join` sent.
    last_ticket: u64,
    /// Tickets of joins that their owners have not answered.
    unanswered: BTreeSet<u64>,
    /// Messages of groups that are done and not yet told.
    done: Vec<(SessionId, Share)>,
}

impl Members {
    /// The Session belongs to a group under this number.
    pub fn has(&self, session: SessionId, number: u32) -> bool {
        let list = self.by_session.get(&session);
        list.is_some_and(|list| list.iter().any(|membership| membership.number == number))
    }

    pub fn note_joined(&mut self, ticket: u64) {
        self.unanswered.remove(&ticket);
    }

    /// Joins that wait for their owners.
    pub fn unanswered(&self) -> usize {
        self.unanswered.len()
    }

    /// The number of a membership, which is made if there is none.
    fn join(&mut self, session: SessionId, filter: &str, owner: ShardId) -> u32 {
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

    fn leave(&mut self, session: SessionId, filter: &str) -> Option<Membership> {
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

    fn leave_all(&mut self, session: SessionId) -> Vec<Membership> {
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

impl super::share::Shares {
    /// Memberships of all Sessions.
    pub fn memberships(&self) -> usize {
        self.members.count
    }

    /// Memberships of one Session.
    pub fn memberships_of(&self, session: SessionId) -> usize {
        self.members.by_session.get(&session).map_or(0, Vec::len)
    }

    /// The first `$share/…` of a Session, or the one that follows on `last`.
    pub fn membership_after(&self, session: SessionId, last: Option<&str>) -> Option<&str> {
        let list = self.members.by_session.get(&session)?;
        let at = last.map_or(0, |last| list.partition_point(|held| &*held.filter <= last));
        list.get(at).map(|membership| &*membership.filter)
    }

    /// The Session has as many memberships as it may.
    pub fn is_full(&self, session: SessionId) -> bool {
        let list = self.members.by_session.get(&session);
        list.is_some_and(|list| list.len() >= limits::SHARED_FILTERS_PER_SESSION_MAX)
    }

    pub fn is_member(&self, session: SessionId, filter: &str) -> bool {
        let list = self.members.by_session.get(&session);
        list.is_some_and(|list| {
            list.binary_search_by_key(&filter, |membership| &membership.filter)
                .is_ok()
        })
    }

    pub fn last_ticket(&self) -> u64 {
        self.members.last_ticket
    }

    /// Every owner has answered the joins up to this ticket.
    pub fn has_joined(&self, ticket: u64) -> bool {
        let first = self.members.unanswered.first();
        first.is_none_or(|unanswered| *unanswered > ticket)
    }

    /// A delivery has come to its end; its group, if it has one, is told when the turn ends.
    #[inline]
    pub fn done(&mut self, session: SessionId, share: Option<Share>) {
        if let Some(share) = share {
            self.members.done.push((session, share));
        }
    }
}

impl Shard {
    /// Makes a Session a member of a group, or changes its options.
    pub(super) fn subscribe_shared(
        &mut self,
        session: SessionId,
        filter: TopicFilter<'_>,
        subscription: Subscription,
        out: &mut Outputs,
    ) {
        let owner = owner_of(filter.as_str(), self.shards);
        let members = &mut self.shares.members;
        let membership = members.join(session, filter.as_str(), owner);
        if owner == self.id {
            return self.join_group(owner, session, membership, filter, subscription, out);
        }
        members.last_ticket += 1;
        members.unanswered.insert(members.last_ticket);
        let message = ShareMessage::Join {
            filter: filter.as_str().into(),
            session,
            membership,
            options: subscription.options,
            identifier: subscription.identifier(),
            ticket: members.last_ticket,
        };
        tell(owner, message, out);
    }

    /// Ends a membership; what waits in the queue goes to other members. What was sent, the Client may still acknowledge.
    /// `false`: there was none. [v5 MQTT-3.10.4-2, MQTT-3.10.4-3]
    pub(super) fn unsubscribe_shared(
        &mut self,
        filter: &str,
        session: SessionId,
        out: &mut Outputs,
    ) -> bool {
        let Some(membership) = self.shares.members.leave(session, filter) else {
            return false;
        };
        self.tell_left(session, &membership, out);
        self.hand_back_queued(session, out, |share| share.membership == membership.number);
        true
    }

    /// The Client of a Session has come or gone. What waits in the queue of one that has gone, others may have.
    pub(super) fn tell_groups(&mut self, session: SessionId, connected: bool, out: &mut Outputs) {
        let Some(list) = self.shares.members.by_session.remove(&session) else {
            return;
        };
        for Membership { filter, owner, .. } in &list {
            if *owner == self.id {
                self.note_present(*owner, session, filter, connected);
                continue;
            }
            let message = ShareMessage::Present {
                filter: filter.clone(),
                session,
                connected,
            };
            tell(*owner, message, out);
        }
        self.shares.members.by_session.insert(session, list);
        if !connected {
            self.hand_back_queued(session, out, |_| true);
        }
    }

    /// The end of a Session: it leaves its groups, and they get back what it has not acknowledged, but for QoS 2 messages that
    /// were sent. Returns how many of those in flight went back. [v5 MQTT-4.8.2-4, MQTT-4.8.2-5]
    pub(super) fn leave_groups(
        &mut self,
        id: SessionId,
        session: &mut Session,
        out: &mut Outputs,
    ) -> usize {
        for membership in self.shares.members.leave_all(id) {
            self.tell_left(id, &membership, out);
        }
        let mut handed_back = 0;
        for delivering in session.inflight.iter() {
            if let Stage::Published {
                message,
                qos: QoS::AtLeastOnce,
                extras: Some(extras),
                ..
            } = &delivering.stage
                && let Some(share) = extras.share
            {
                self.hand_back(id, share, message, out);
                handed_back += 1;
            }
        }
        for item in session.queue.take_out(|item| item.share().is_some()) {
            if let Some(share) = item.share() {
                self.hand_back(id, share, &item.message, out);
            }
        }
        handed_back
    }

    fn tell_left(&mut self, session: SessionId, membership: &Membership, out: &mut Outputs) {
        if membership.owner == self.id {
            return self.leave_group(self.id, session, &membership.filter, out);
        }
        let message = ShareMessage::Leave {
            filter: membership.filter.clone(),
            session,
        };
        tell(membership.owner, message, out);
    }

    /// Hands back what waits in a Session's queue for the groups that `of` likes.
    fn hand_back_queued(&mut self, id: SessionId, out: &mut Outputs, of: impl Fn(Share) -> bool) {
        let Some(session) = self.sessions.get_mut(id) else {
            return;
        };
        let items = session.queue.take_out(|item| item.share().is_some_and(&of));
        for item in items {
            self.queued_bytes -= item.bytes() as u64;
            if let Some(share) = item.share() {
                self.hand_back(id, share, &item.message, out);
            }
        }
    }

    /// Gives a message back to the owner of its group.
    pub(super) fn hand_back(
        &mut self,
        session: SessionId,
        share: Share,
        message: &Rc<Message>,
        out: &mut Outputs,
    ) {
        if share.owner == self.id {
            return self.take_back(self.id, session, share.group, message, out);
        }
        let message = ShareMessage::Return {
            message: (**message).clone(),
            group: share.group,
            session,
        };
        tell(share.owner, message, out);
    }

    /// Tells the owners which messages of their groups came to an end in this turn.
    #[inline]
    pub(super) fn tell_done(&mut self, out: &mut Outputs) {
        if !self.shares.members.done.is_empty() {
            self.tell_these(out);
        }
    }

    fn tell_these(&mut self, out: &mut Outputs) {
        let mut list = std::mem::take(&mut self.shares.members.done);
        let mut rest = list.drain(..).peekable();
        while let Some((session, share)) = rest.next() {
            let mut count = 1;
            while rest.next_if_eq(&(session, share)).is_some() {
                count += 1;
            }
            if share.owner == self.id {
                self.note_done(self.id, session, share.group, count);
                continue;
            }
            let message = ShareMessage::Done {
                group: share.group,
                session,
                count,
            };
            tell(share.owner, message, out);
        }
        drop(rest);
        self.shares.members.done = list;
    }
}

fn tell(to: ShardId, message: ShareMessage, out: &mut Outputs) {
    let message = PeerMessage::Share(message);
    out.push(Output::Peer { to, message });
}
