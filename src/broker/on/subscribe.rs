//! SUBSCRIBE: the filters go into the trie and to the peer shards, and the answer follows when all peers know them.

use crate::acl::{Cause, Reach};
use crate::broker::event::Output;
use crate::broker::filter_refusal::FilterRefusal;
use crate::broker::happening::{Denied, Happening, LogLevel};
use crate::broker::outputs::Outputs;
use crate::broker::passing::Subscription;
use crate::broker::pending::{PendingSubscribe, Unfinished};
use crate::broker::shard::Shard;
use crate::broker::topics::{Replay, checked_filter};
use crate::broker::turn::work_of_filter;
use crate::broker::violation::Violation;
use crate::budget::Refused;
use crate::budget::sizes::filter_bytes;
use crate::ids::{ConnectionId, SessionId};
use crate::limits;
use crate::session::Connection;
use crate::wire;
use crate::wire::reason::ReasonCode;
use crate::wire::{
    Malformed, Packet, QoS, RetainHandling, SubAck, Subscribe, SubscriptionOptions, Version,
};

/// SUBACK code of a filter that is refused, in 3.1.1. [v3.1.1 3.9.3]
const FAILURE: u8 = 0x80;

impl Shard {
    pub(in crate::broker) fn on_subscribe(
        &mut self,
        id: ConnectionId,
        session: SessionId,
        version: Version,
        subscribe: &Subscribe<'_>,
        out: &mut Outputs,
    ) -> Result<(), Violation> {
        let mut part = self.pending.take_unfinished(id);
        let filter_at = |at| {
            let filter = subscribe.filter_at(at)?;
            Ok(filter.map(|(next, filter, _)| (next, filter)))
        };
        let Some(total) = self.check_filters(&mut part, filter_at)? else {
            self.put_unfinished(id, part);
            return Ok(());
        };
        self.check_answer(id, version, total)?;
        let bridge = self.clients.session(session).is_some_and(|s| s.bridge);
        let qos_max = self.clients.listener(id).map_or(2, |l| l.qos_max);
        let replays = self.topics.replays().last_number();
        part.replays_after.get_or_insert(replays);
        let work_before = self.turn.work();
        for _ in 0..limits::FILTERS_AT_ONCE {
            if self.turn.is_enough_of_part(work_before) {
                break;
            }
            let found = subscribe.filter_at(part.at).map_err(Violation::Malformed)?;
            let Some((next, filter, mut options)) = found else {
                break;
            };
            part.at = next;
            if bridge {
                // As Mosquitto does: a message does not return to the bridge that sent it, and RETAIN stays as
                // published.
                options.no_local = true;
                options.retain_as_published = true;
            }
            if options.qos as u8 > qos_max {
                options.qos = match qos_max {
                    0 => QoS::AtMostOnce,
                    _ => QoS::AtLeastOnce,
                };
            }
            self.turn.add_work(work_of_filter(filter));
            let subscription = Subscription::new(options, subscribe.subscription_identifier);
            let granted = match self.ask_to_subscribe(session, version, filter, &options, out) {
                Ok(()) => self.subscribe(session, filter, subscription, out),
                Err(refusal) => Err(refusal),
            };
            let granted = granted.map(|(qos, replay)| {
                if let Some(replay) = replay {
                    self.turn.add_work(limits::WORK_OF_REPLAY);
                    let account = self.clients.account_of(session);
                    self.topics.add_replay(session, replay, account);
                }
                qos
            });
            let code = match (granted, version) {
                (Ok(qos), _) => qos,
                (Err(refusal), Version::V5) => refusal.reason_code().0,
                (Err(_), Version::V311) => FAILURE,
                // SUBACK of 3.1 has no code for a failure, and to grant a filter that is not in force would lose
                // messages silently. The filters before this one stay in force. [v3.1 §3.9]
                (Err(refusal), Version::V31) => {
                    self.cancel_replays(id, &part);
                    return Err(refusal.violation());
                }
            };
            if let Ok(qos) = granted {
                self.tell_subscribed(session, filter, qos, out);
            }
            part.refusal = part.refusal.or(granted.err());
            part.codes.push(code);
        }
        part.after = part.after.max(self.clients.state_of(session));
        if part.codes.len() < total {
            self.put_unfinished(id, part);
            self.pace_for_full_lanes(id, u64::MAX, out);
            return Ok(());
        }
        self.log_refused_filters(session, &part, out);
        let Unfinished {
            codes,
            refusal,
            after,
            booked,
            ..
        } = part;
        let mut pending = PendingSubscribe {
            after,
            session,
            sequence: self.peers.sequence(),
            ticket: self.topics.members().last_ticket(),
            version,
            packet_id: subscribe.packet_id,
            codes,
            refusal,
            replays: self.topics.replays().last_number(),
            booked,
        };
        if self.is_in_force(&pending) {
            self.complete_subscribe(id, pending);
        } else if self.clients.await_answer(id) {
            let bytes = pending.bytes();
            self.clients.book_beside(id, &mut pending.booked, bytes);
            self.pending.await_answer(id, pending);
        }
        self.pace_for_full_lanes(id, u64::MAX, out);
        Ok(())
    }

    /// The packet at the front of a connection goes on in a later turn.
    pub(in crate::broker) fn put_unfinished(&mut self, id: ConnectionId, mut part: Unfinished) {
        let bytes = part.bytes();
        self.clients.book_beside(id, &mut part.booked, bytes);
        self.pending.put_unfinished(id, part);
    }

    /// A SUBSCRIBE is cut off: its replays do not begin.
    pub(in crate::broker) fn cancel_replays(&mut self, id: ConnectionId, part: &Unfinished) {
        let session = self.clients.connection(id).and_then(Connection::session);
        if let (Some(session), Some(after)) = (session, part.replays_after) {
            self.topics.replays_mut().cancel(session, after);
        }
    }

    fn tell_subscribed(&self, session: SessionId, filter: &str, qos: u8, out: &mut Outputs) {
        let Some(session) = self.clients.session(session) else {
            return;
        };
        out.tell(self.logs, LogLevel::Packet, || Happening::Subscribed {
            client_id: (&session.client_id).into(),
            filter: filter.into(),
            qos,
        });
    }

    /// One event for all filters of a SUBSCRIBE that were refused.
    fn log_refused_filters(&self, session: SessionId, part: &Unfinished, out: &mut Outputs) {
        let (Some(why), Some(session)) = (part.refusal, self.clients.session(session)) else {
            return;
        };
        if why == FilterRefusal::Denied {
            return; // It was told with its rule.
        }
        let refused = |code: &&u8| ReasonCode(**code).is_failure();
        let connection = session
            .connection
            .and_then(|id| self.clients.connection(id));
        out.tell(self.logs, LogLevel::Warning, || Happening::FiltersRefused {
            client_id: (&session.client_id).into(),
            address: connection.map(|connection| connection.address),
            count: part.codes.iter().filter(refused).count(),
            why,
        });
    }

    /// Looks at all filters of a packet before any is put in force, a part in each turn. `Some`: all are well formed,
    /// and so many. One that is not well formed makes the packet malformed, and the connection closes: the code 0x8F of
    /// SUBACK and UNSUBACK is for a filter that is "correctly formed but is not allowed". [v5 3.9.3, 3.11.3,
    /// MQTT-4.7.1-1, MQTT-4.7.3-1, MQTT-4.8.2-1, MQTT-4.13.1-1; v3.1.1 MQTT-4.7.1-2, MQTT-4.7.1-3, MQTT-4.7.3-1]
    ///
    /// A filter with too many levels is well formed. It is refused because of our limit.
    pub(in crate::broker) fn check_filters<'a>(
        &mut self,
        part: &mut Unfinished,
        filter_at: impl Fn(usize) -> Result<Option<(usize, &'a str)>, Malformed>,
    ) -> Result<Option<usize>, Violation> {
        if part.total.is_some() {
            return Ok(part.total);
        }
        let (before, began) = (part.checked, part.at);
        let mut end = began;
        while part.checked - before < limits::FILTERS_CHECKED_AT_ONCE
            && part.at - began < limits::FILTER_BYTES_CHECKED_AT_ONCE
        {
            let Some((next, filter)) = filter_at(part.at).map_err(Violation::Malformed)? else {
                part.total = Some(part.checked);
                part.at = 0;
                break;
            };
            match checked_filter(filter) {
                Ok(_) | Err(Malformed::TooManyFilterLevels) => {}
                Err(malformed) => {
                    self.pending.blame(filter);
                    return Err(Violation::TopicFilter(malformed));
                }
            }
            part.at = next;
            end = next;
            part.checked += 1;
        }
        let bytes = end - began;
        self.turn
            .add_work(part.checked - before + bytes / limits::BYTES_PER_WORK);
        Ok(part.total)
    }

    /// SUBACK and UNSUBACK carry one code for each filter, so they cannot be shortened. A Client whose Maximum Packet
    /// Size is below that is not served. [v5 MQTT-3.1.2-24]
    pub(in crate::broker) fn check_answer(
        &self,
        id: ConnectionId,
        version: Version,
        filters: usize,
    ) -> Result<(), Violation> {
        /// Fixed Header, Packet Identifier and an empty Property Length, at most.
        const HEAD_BYTES: usize = 8;
        let fits = |connection: &Connection| connection.packet_bytes_most() >= HEAD_BYTES + filters;
        match self.clients.connection(id) {
            Some(connection) if version == Version::V5 && !fits(connection) => {
                Err(Violation::AnswerTooLarge)
            }
            _ => Ok(()),
        }
    }

    /// The packet goes on in the next turn, or, with several shards, when all of them have the filters up to here in
    /// force. So messages for others wait in the lanes behind one turn's part at most.
    pub(in crate::broker) fn defer_unfinished(&mut self, id: ConnectionId, out: &mut Outputs) {
        let sequence = self.peers.sequence();
        if self.peers.in_force() >= sequence {
            return self.defer(id, out);
        }
        self.clients.pace(id, out);
        self.clients.withhold(id);
        self.pending.await_part(id, sequence);
    }

    /// Peers have put filters in force, so packets that waited for them go on.
    pub(in crate::broker) fn resume_unfinished(&mut self) {
        let in_force = self.peers.in_force();
        while let Some(id) = self.pending.next_part(in_force) {
            self.clients.unpace(id);
        }
    }

    /// Tells of a subscription that will be silent, because the rules let its Client hear nothing of it. It is granted
    /// all the same, as by Mosquitto, unless the operator wants it refused. [v3.1.1 3.9.3, v5 3.9.3]
    #[inline]
    fn ask_to_subscribe(
        &mut self,
        session: SessionId,
        version: Version,
        filter: &str,
        options: &SubscriptionOptions,
        out: &mut Outputs,
    ) -> Result<(), FilterRefusal> {
        if !self.rights.are_in_force() {
            return Ok(());
        }
        let Ok(topics) = checked_filter(filter) else {
            return Ok(()); // Refused for that.
        };
        let topics = match topics.share() {
            Some((_, inner)) => inner,
            None => filter,
        };
        let (reach, rules) = self.clients.reach(session, &self.rights, topics);
        self.turn.add_work(rules / limits::RULES_PER_WORK);
        if reach != Reach::Nothing {
            return Ok(());
        }
        // SUBACK of 3.1 has no code for a refusal.
        let refused = self.rights.rules().refuse_subscriptions && version != Version::V31;
        let what = Denied::Subscribe {
            qos: options.qos,
            refused,
        };
        self.clients
            .tell_denied(session, &self.rights, Cause::NoRule, filter, what, out);
        match refused {
            true => Err(FilterRefusal::Denied),
            false => Ok(()),
        }
    }

    /// One filter of a SUBSCRIBE, well formed; the QoS granted, and the replay of retained messages that is due.
    pub(super) fn subscribe(
        &mut self,
        session_id: SessionId,
        text: &str,
        subscription: Subscription,
        out: &mut Outputs,
    ) -> Result<(u8, Option<Replay>), FilterRefusal> {
        let filter = checked_filter(text).map_err(|_| FilterRefusal::TooManyLevels)?;
        if text.contains("$SYS") {
            out.push(Output::SysWanted);
        }
        let session = self
            .clients
            .session(session_id)
            .ok_or(FilterRefusal::NoSession)?;
        let shared = filter.share().is_some();
        let full = if session.filters.len() >= limits::FILTERS_PER_SESSION_MAX {
            Some(FilterRefusal::TooManySubscriptions)
        } else if shared && self.topics.members().is_full(session_id) {
            Some(FilterRefusal::TooManySharedSubscriptions)
        } else {
            None
        };
        // A repeated filter replaces the earlier one and takes no more room. [v5 MQTT-3.8.4-3]
        let is_there = || {
            if shared {
                self.topics.members().is_member(session_id, text)
            } else {
                self.topics.has(text, session_id)
            }
        };
        if let Some(full) = full
            && !is_there()
        {
            return Err(full);
        }
        let bytes = filter_bytes(self.shards, text);
        if self.clients.is_short()
            && !is_there()
            && !self
                .clients
                .may_take(session_id, bytes, Refused::Filter, out)
        {
            return Err(FilterRefusal::OverShare);
        }
        if shared {
            if !self.topics.members().is_member(session_id, text) {
                self.clients.note_membership(session_id, text);
            }
            self.subscribe_shared(session_id, filter, subscription, out);
            self.clients
                .note_subscribed(session_id, None, text, subscription);
            return Ok((subscription.options.qos as u8, None));
        }
        let (done, ended) = self.topics.subscribe(session_id, filter, subscription);
        let node = done.replaced.is_none().then_some(done.node);
        self.clients
            .note_subscribed(session_id, node, text, subscription);
        if done.first {
            self.peers.tell_filter_added(text, out);
        }
        let wanted = match subscription.options.retain_handling {
            RetainHandling::SendAtSubscribe => true,
            RetainHandling::SendIfNew => done.replaced.is_none(),
            RetainHandling::DoNotSend => false,
        };
        let (qos, identifier) = (subscription.options.qos, subscription.identifier());
        let replay = wanted.then(|| Replay::new(text, done.node, qos, identifier, ended));
        Ok((qos as u8, replay))
    }

    /// Every peer has the filters of a SUBSCRIBE in force, and every owner its members.
    fn is_in_force(&self, pending: &PendingSubscribe) -> bool {
        self.peers.in_force() >= pending.sequence
            && self.topics.members().has_joined(pending.ticket)
    }

    /// Completes the SUBSCRIBEs, in their order, whose filters every peer has in force.
    pub(in crate::broker) fn complete_subscribes(&mut self, out: &mut Outputs) {
        let in_force = self.peers.in_force();
        loop {
            let members = self.topics.members();
            let next = self.pending.next_answer(|pending| {
                in_force >= pending.sequence && members.has_joined(pending.ticket)
            });
            let Some((id, pending)) = next else { return };
            self.complete_awaited(id, pending, out);
        }
    }

    /// The broker stops, and so may the peers, so the waiting answers leave now. The filters are in force on this
    /// shard, and nothing more is published.
    pub(in crate::broker) fn complete_all_subscribes(&mut self, out: &mut Outputs) {
        while let Some((id, pending)) = self.pending.first_answer() {
            self.complete_awaited(id, pending, out);
        }
    }

    fn complete_awaited(&mut self, id: ConnectionId, pending: PendingSubscribe, out: &mut Outputs) {
        self.complete_subscribe(id, pending);
        if let Some(ending) = self.clients.note_answered(id) {
            self.close(id, ending, out);
        }
    }

    /// Every shard knows the filters: SUBACK, and the retained messages. The Session may have left the connection
    /// meanwhile: it has the subscription all the same, and takes its retained messages along. [v3.1.1 MQTT-3.3.1-6]
    fn complete_subscribe(&mut self, id: ConnectionId, pending: PendingSubscribe) {
        let session_id = pending.session;
        let PendingSubscribe {
            version,
            packet_id,
            codes,
            refusal,
            after,
            ..
        } = &pending;
        self.clients.append_explained(
            id,
            *after,
            &FilterRefusal::explain(*refusal),
            |reason_string, block| {
                let suback = SubAck {
                    packet_id: *packet_id,
                    codes,
                    reason_string,
                    user_properties: Default::default(),
                };
                wire::encode(&Packet::SubAck(suback), *version, block);
            },
        );
        if self.clients.session(session_id).is_none() {
            return;
        }
        self.topics
            .replays_mut()
            .answer(session_id, pending.replays);
        self.pump(session_id);
    }
}
