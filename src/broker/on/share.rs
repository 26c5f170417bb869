//! Shared Subscriptions: what the owner of a group and the home of a member say to each other, and a member's joining
//! and leaving.

use super::deliver::{Crossed, spilled};
use crate::broker::counters::Dropped;
use crate::broker::event::{Output, PeerMessage, Settles, ShareMessage};
use crate::broker::home::owner_of;
use crate::broker::outputs::Outputs;
use crate::broker::passing::{Came, Origin, Returned, Routing, Sending, Subscription, routing_of};
use crate::broker::shard::Shard;
use crate::broker::topics::Membership;
use crate::buffer::account::{Account, Arc};
use crate::ids::{GroupId, SessionId, ShardId};
use crate::limits;
use crate::session::Message;
use crate::session::queue::Share;
use crate::wire::{QoS, TopicFilter};
use std::rc::Rc;

impl Shard {
    pub(in crate::broker) fn on_share(
        &mut self,
        from: ShardId,
        message: ShareMessage,
        out: &mut Outputs,
    ) {
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
                self.topics.await_join(sequence, from, ticket);
                self.answer_joins(out);
            }
            ShareMessage::Joined { ticket } => {
                self.topics.members_mut().note_joined(ticket);
                self.complete_subscribes(out);
                self.report_restored(out);
            }
            ShareMessage::Leave { filter, session } => {
                self.leave_group(from, session, &filter, out);
            }
            ShareMessage::Present {
                filter,
                session,
                connected,
            } => self.topics.note_present(from, session, &filter, connected),
            ShareMessage::Deliver {
                needs,
                passage,
                given_back,
                ..
            } => {
                let mark = self.mark();
                self.clients
                    .begin_passage(passage.map(|(passage, _)| passage));
                self.clients.begin_again(given_back);
                let settling = self.peers.settling();
                let came = Came {
                    number: needs.then(|| settling.received(from, Settles::Deliveries) + 1),
                    passage: self.clients.passage(),
                };
                let taken = self.on_share_deliver(message, came, out);
                self.clients.end_again();
                self.clients.end_passage();
                if needs {
                    self.owe(from, Settles::Deliveries, mark, taken);
                }
            }
            ShareMessage::Done {
                group,
                session,
                count,
            } => self.topics.note_done(from, session, group, count),
            ShareMessage::Return {
                message,
                group,
                session,
                given_back,
                came,
            } => {
                let mark = self.mark();
                let asked = came.and_then(|came| came.number);
                if asked.is_some() {
                    self.peers.settling_mut().begin_asking();
                }
                self.clients
                    .begin_passage(came.and_then(|came| came.passage));
                self.clients.begin_again(given_back);
                self.take_back(from, session, group, &Rc::new(message), out);
                self.clients.end_again();
                self.clients.end_passage();
                if let Some(number) = asked {
                    self.wait_further((from, Settles::Deliveries, number), mark);
                }
            }
        }
    }

    /// Adds a member to a group of this shard, or changes the options of one.
    fn join_group(
        &mut self,
        home: ShardId,
        session: SessionId,
        membership: u32,
        filter: TopicFilter<'_>,
        subscription: Subscription,
        out: &mut Outputs,
    ) {
        let new = self
            .topics
            .join_group(home, session, membership, filter, subscription);
        if let Some(inner) = new {
            self.peers.tell_filter_added(inner.as_str(), out);
        }
    }

    /// Answers the joins whose group every peer knows.
    pub(in crate::broker) fn answer_joins(&mut self, out: &mut Outputs) {
        let in_force = self.peers.in_force();
        while let Some((to, ticket)) = self.topics.next_join(in_force) {
            tell(to, ShareMessage::Joined { ticket }, out);
        }
    }

    /// Takes a member out of a group of this shard.
    fn leave_group(&mut self, home: ShardId, session: SessionId, filter: &str, out: &mut Outputs) {
        if let Some(inner) = self.topics.leave_group(home, session, filter) {
            self.peers.tell_filter_removed(inner.as_str(), out);
        }
    }

    /// A member returned a message, so it goes to another member.
    fn take_back(
        &mut self,
        home: ShardId,
        session: SessionId,
        group: GroupId,
        message: &Rc<Message>,
        out: &mut Outputs,
    ) {
        if message.qos > QoS::AtMostOnce {
            self.topics.note_done(home, session, group, 1);
        }
        if !self.topics.has_group(group) {
            self.clients.count_dropped(Dropped::SessionEnded, 1);
        } else if message.expired(self.turn.now()) {
            self.clients.count_dropped(Dropped::Expired, 1);
        } else {
            let nobody = Origin {
                session: None,
                connection: None,
            };
            self.clients.clear_shapes();
            let mut crossed = Crossed::default();
            self.deliver_to_group(group, &mut routing_of(message), nobody, &mut crossed, out);
            self.clients.clear_shapes();
        }
    }

    /// Gives a message to one member of a group of this shard. Returns `false` if the member could not take it.
    ///
    /// A lane is everyone's: if one message has very many copies for it, those of QoS 0 that it has no room for are
    /// dropped. If they are so many that their member holds nobody back, no copy of QoS 0 goes into a full lane and its
    /// publisher does not wait for it: else one Client that is a member of thousands of groups and floods them would
    /// keep the lane full, and everyone else's messages match its groups too.
    pub(in crate::broker) fn deliver_to_group(
        &mut self,
        id: GroupId,
        routing: &mut Routing<'_>,
        origin: Origin,
        crossed: &mut Crossed,
        out: &mut Outputs,
    ) -> bool {
        let qos = match self.clients.settings().upgrade_qos {
            true => QoS::ExactlyOnce,
            false => routing.qos,
        };
        let passage = self.clients.passage();
        let passage = passage.and_then(|passage| Some((passage, self.topics.group_name(id)?)));
        if self.clients.is_given(passage) {
            return true; // One of its members has it since before the restart.
        }
        let Some(pick) = self.topics.pick(id, qos, routing.retain) else {
            return false;
        };
        if pick.home == self.id {
            let share = (pick.qos > QoS::AtMostOnce).then_some(pick.share);
            if !self.may_read(pick.session, routing.topic.as_str()) {
                self.clients.drop_denied(pick.session, share);
                return true;
            }
            let sending = Sending {
                qos: pick.qos,
                dup: false,
                retain: pick.retain,
                identifiers: pick.identifier.as_slice(),
                share,
                alone: false,
            };
            let taken = self
                .clients
                .deliver(pick.session, routing, &sending, origin, out);
            if taken && pick.qos > QoS::AtMostOnce {
                self.clients.note_given(pick.session, passage);
            }
            return taken;
        }
        crossed.copies += 1;
        let in_full_lane = match crossed.are_many {
            true => 0,
            false => limits::GROUP_COPIES_IN_FULL_LANE_MAX,
        };
        let too_many = crossed.copies > limits::GROUP_COPIES_IN_LANE_MAX
            || (crossed.copies > in_full_lane && self.peers.is_full(pick.home));
        if too_many && pick.qos == QoS::AtMostOnce {
            self.clients.count_dropped(Dropped::SlowReader, 1);
            return false;
        }
        if passage.is_some() {
            self.hand_out_changes(out);
        }
        let needs = pick.qos > QoS::AtMostOnce && self.peers.settling().is_asking();
        if needs {
            let settling = self.peers.settling_mut();
            settling.ask(pick.home, Settles::Deliveries);
        }
        let kept = self.clients.kept_message(routing);
        let account = kept.account().cloned();
        let message = ShareMessage::Deliver {
            message: (**kept).clone(),
            session: pick.session,
            share: pick.share,
            qos: pick.qos,
            retain: pick.retain,
            identifier: pick.identifier,
            origin: origin.connection,
            needs,
            passage,
            given_back: self.clients.take_given_back(),
        };
        self.tell_beyond(pick.home, message, account.as_ref(), out);
        self.clients.count_crossed(1);
        if !crossed.are_many || pick.qos > QoS::AtMostOnce {
            self.wait_for_lane(pick.home, origin, out);
        }
        !needs // The home will say whether the member has room.
    }

    /// The member may have a message that its group was given. As with Mosquitto the member's turn is over when it may
    /// not: the message is lost to the group.
    #[inline]
    fn may_read(&mut self, session: SessionId, topic: &str) -> bool {
        self.clients.may_read(session, &self.rights, topic)
    }

    /// A message from the owner for a member that lives here. Returns `false` if the member has no room.
    fn on_share_deliver(&mut self, deliver: ShareMessage, came: Came, out: &mut Outputs) -> bool {
        let ShareMessage::Deliver {
            message,
            session,
            share,
            qos,
            retain,
            identifier,
            origin,
            passage,
            ..
        } = deliver
        else {
            return true;
        };
        let message = Rc::new(message);
        if !self.topics.members().has(session, share.membership) {
            let given_back = self.clients.take_given_back();
            let returned = Returned {
                share,
                message,
                given_back,
                came: Some(came),
            };
            self.hand_back(session, &returned, out);
            return true;
        }
        let share = (qos > QoS::AtMostOnce).then_some(share);
        if message.expired_on_the_way(self.turn.now()) {
            self.clients.drop_expired(session, share);
            return true;
        }
        if !self.may_read(session, message.topic()) {
            self.clients.drop_denied(session, share);
            return true;
        }
        let sending = Sending {
            qos,
            dup: false,
            retain,
            identifiers: identifier.as_slice(),
            share,
            alone: true,
        };
        let origin = Origin {
            session: None,
            connection: origin,
        };
        let taken = self
            .clients
            .deliver_stored(session, &message, &sending, origin, out);
        if taken && qos > QoS::AtMostOnce {
            self.clients.note_given(session, passage);
        }
        taken
    }

    /// Makes a Session a member of a group, or changes its options.
    pub(in crate::broker) fn subscribe_shared(
        &mut self,
        session: SessionId,
        filter: TopicFilter<'_>,
        subscription: Subscription,
        out: &mut Outputs,
    ) {
        let owner = owner_of(filter.as_str(), self.shards);
        let members = self.topics.members_mut();
        let membership = members.join(session, filter.as_str(), owner);
        if owner == self.id {
            return self.join_group(owner, session, membership, filter, subscription, out);
        }
        let message = ShareMessage::Join {
            filter: filter.as_str().into(),
            session,
            membership,
            options: subscription.options,
            identifier: subscription.identifier(),
            ticket: members.next_ticket(),
        };
        tell(owner, message, out);
    }

    /// Ends a membership, and returns its number, or `None` if there was none. Messages in the queue go to other
    /// members by [`Shard::hand_back_of`]. The Client may still acknowledge what was sent. [v5 MQTT-3.10.4-2,
    /// MQTT-3.10.4-3]
    pub(in crate::broker) fn unsubscribe_shared(
        &mut self,
        filter: &str,
        session: SessionId,
        out: &mut Outputs,
    ) -> Option<u32> {
        let membership = self.topics.members_mut().leave(session, filter)?;
        self.tell_left(session, &membership, out);
        Some(membership.number)
    }

    /// Hands back the messages in a Session's queue that came by memberships of these numbers, which have ended: in one
    /// walk, because the queue may be long.
    pub(in crate::broker) fn hand_back_of(
        &mut self,
        session: SessionId,
        mut memberships: Vec<u32>,
        out: &mut Outputs,
    ) {
        if !memberships.is_empty() {
            memberships.sort_unstable();
            self.hand_back_queued(session, out, |share| {
                memberships.binary_search(&share.membership).is_ok()
            });
        }
    }

    /// The Client of a Session has come or gone. When it has gone, the messages of groups in its queue go to other
    /// members.
    pub(in crate::broker) fn tell_groups(
        &mut self,
        session: SessionId,
        connected: bool,
        out: &mut Outputs,
    ) {
        if self.topics.members().count_of(session) == 0 {
            return;
        }
        self.topics.note_present_here(session, connected);
        for (filter, owner) in self.topics.members().of(session) {
            if owner == self.id {
                continue;
            }
            let message = ShareMessage::Present {
                filter: filter.into(),
                session,
                connected,
            };
            tell(owner, message, out);
        }
        if !connected {
            self.hand_back_queued(session, out, |_| true);
        }
    }

    /// The end of a Session: it leaves its groups. [v5 MQTT-4.8.2-4, MQTT-4.8.2-5]
    pub(in crate::broker) fn leave_groups(&mut self, session: SessionId, out: &mut Outputs) {
        for membership in self.topics.members_mut().leave_all(session) {
            self.tell_left(session, &membership, out);
        }
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

    /// Hands back the messages in a Session's queue that came from the groups that `of` accepts.
    fn hand_back_queued(&mut self, id: SessionId, out: &mut Outputs, of: impl Fn(Share) -> bool) {
        self.clients.take_queued(id, of);
        self.hand_back_remains(out);
    }

    /// Goes on with what is left of queues, until it has had its part of this turn.
    pub(in crate::broker) fn hand_back_remains(&mut self, out: &mut Outputs) {
        let before = self.turn.work();
        while !self.turn.is_enough_of_part(before) && !self.turn.is_spent() {
            let Some((session, returned)) = self.clients.next_remains() else {
                return;
            };
            self.hand_back_one(session, returned, out);
        }
    }

    /// Hands out all that the store forgets in this turn: it hears at once that a Session has ended and who has its
    /// messages now. Between two turns a crash could come, and they would be nobody's.
    pub(in crate::broker) fn hand_back_forgotten(&mut self, out: &mut Outputs) {
        while let Some((session, returned)) = self.clients.next_forgotten() {
            self.hand_back_one(session, returned, out);
        }
    }

    /// A message of a queue that nobody empties any more goes to another member, or is gone.
    fn hand_back_one(&mut self, session: SessionId, returned: Option<Returned>, out: &mut Outputs) {
        self.turn.add_work(limits::WORK_OF_QUEUED);
        if let Some(returned) = returned {
            self.turn.add_work(limits::WORK_OF_GROUP);
            self.hand_back(session, &returned, out);
        }
    }

    /// Gives a message back to the owner of its group.
    pub(in crate::broker) fn hand_back(
        &mut self,
        session: SessionId,
        returned: &Returned,
        out: &mut Outputs,
    ) {
        let Returned {
            share,
            message,
            given_back,
            came,
        } = returned;
        if share.owner == self.id {
            self.clients.begin_again(*given_back);
            self.take_back(self.id, session, share.group, message, out);
            return self.clients.end_again();
        }
        if given_back.is_some() {
            // The store hears that it was queued before another shard says that it is not.
            self.hand_out_changes(out);
        }
        let returned = ShareMessage::Return {
            message: (**message).clone(),
            group: share.group,
            session,
            given_back: *given_back,
            came: *came,
        };
        self.tell_beyond(share.owner, returned, message.account(), out);
    }

    /// Tells a peer something about a message, which counts for its publisher if the lane is full.
    fn tell_beyond(
        &self,
        to: ShardId,
        message: ShareMessage,
        account: Option<&Arc<Account>>,
        out: &mut Outputs,
    ) {
        let mut message = PeerMessage::Share(message);
        if self.peers.is_full(to) {
            message = spilled(message, account);
        }
        out.push(Output::Peer { to, message });
    }

    /// Tells the owners which deliveries of their groups were completed in this turn.
    #[inline]
    pub(in crate::broker) fn report_done(&mut self, out: &mut Outputs) {
        if self.clients.has_ended() {
            self.report_these(out);
        }
    }

    fn report_these(&mut self, out: &mut Outputs) {
        let list = self.clients.take_ended();
        let mut rest = list.iter().copied().peekable();
        while let Some((session, share)) = rest.next() {
            let mut count = 1;
            while rest.next_if_eq(&(session, share)).is_some() {
                count += 1;
            }
            if share.owner == self.id {
                self.topics.note_done(self.id, session, share.group, count);
                continue;
            }
            let message = ShareMessage::Done {
                group: share.group,
                session,
                count,
            };
            tell(share.owner, message, out);
        }
        self.clients.reuse_ended(list);
    }
}

fn tell(to: ShardId, message: ShareMessage, out: &mut Outputs) {
    let message = PeerMessage::Share(message);
    out.push(Output::Peer { to, message });
}
