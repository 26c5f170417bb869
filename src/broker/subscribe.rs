//! SUBSCRIBE and UNSUBSCRIBE: into the trie, out to the peer shards, and the answer once all of them know.

use super::happening::{Happening, Level};
use super::outputs::Outputs;
use super::passing::Subscription;
use super::replay::Replay;
use super::shard::Shard;
use super::share::shared_filter;
use super::violation::Violation;
use crate::ids::{ConnectionId, NodeId, SessionId};
use crate::limits;
use crate::session::Connection;
use crate::topic::RetainCursor;
use crate::wire;
use crate::wire::reason::ReasonCode;
use crate::wire::{
    Malformed, Packet, PacketId, RetainHandling, SubAck, Subscribe, TopicFilter, UnsubAck,
    Unsubscribe, Version,
};

/// SUBACK code of a filter that is refused, in 3.1.1. [v3.1.1 3.9.3]
const FAILURE: u8 = 0x80;

/// A SUBSCRIBE whose answer waits until its filters are in force everywhere.
#[derive(Debug)]
pub(super) struct PendingSubscribe {
    /// `FilterAdded` sequence that every peer must have answered.
    pub sequence: u64,
    /// `Join` ticket up to which every owner of a group must have answered.
    pub ticket: u64,
    session: SessionId,
    version: Version,
    packet_id: PacketId,
    /// For SUBACK.
    codes: Vec<u8>,
    refusal: Option<Refusal>,
    /// Replays to begin after it.
    replays: Vec<Replay>,
}

/// Why a Topic Filter is refused though it is well formed.
#[derive(Clone, Copy, Debug)]
enum Refusal {
    /// More than [`limits::TOPIC_LEVELS_MAX`] levels.
    TooManyLevels,
    /// The Session has [`limits::FILTERS_PER_SESSION_MAX`] subscriptions.
    TooManySubscriptions,
    /// The Session has [`limits::SHARED_FILTERS_PER_SESSION_MAX`] Shared Subscriptions.
    TooManySharedSubscriptions,
    /// The Session has ended.
    NoSession,
}

impl Refusal {
    /// The code for a v5 SUBACK or UNSUBACK. [v5 3.9.3]
    fn reason_code(self) -> ReasonCode {
        match self {
            Refusal::TooManyLevels => Malformed::TooManyFilterLevels.reason_code(),
            Refusal::TooManySubscriptions | Refusal::TooManySharedSubscriptions => {
                ReasonCode::QUOTA_EXCEEDED
            }
            Refusal::NoSession => ReasonCode::UNSPECIFIED_ERROR,
        }
    }

    /// Its Reason String.
    fn sentence(self) -> String {
        match self {
            Refusal::TooManyLevels => Malformed::TooManyFilterLevels.sentence().to_owned(),
            Refusal::TooManySubscriptions => format!(
                "The session has as many subscriptions as it may, {}.",
                limits::FILTERS_PER_SESSION_MAX
            ),
            Refusal::TooManySharedSubscriptions => format!(
                "The session has as many shared subscriptions as it may, {}.",
                limits::SHARED_FILTERS_PER_SESSION_MAX
            ),
            Refusal::NoSession => ReasonCode::UNSPECIFIED_ERROR.name().to_owned(),
        }
    }

    /// What ends the connection of a 3.1 Client: its SUBACK has no code for a refusal. [v3.1 §3.9]
    fn violation(self) -> Violation {
        match self {
            Refusal::TooManyLevels => Violation::TopicFilter(Malformed::TooManyFilterLevels),
            Refusal::TooManySubscriptions
            | Refusal::TooManySharedSubscriptions
            | Refusal::NoSession => Violation::TooManySubscriptions,
        }
    }
}

/// A SUBSCRIBE or UNSUBSCRIBE of which so many filters are done, one code each: a packet of thousands takes several turns.
#[derive(Default)]
pub(super) struct Unfinished {
    codes: Vec<u8>,
    /// Of the first filter that was refused.
    refusal: Option<Refusal>,
    /// Replays to begin after SUBACK.
    replays: Vec<Replay>,
}

impl Unfinished {
    /// How many of `total` filters this turn goes up to. A sixty-fourth at least, since the packet is decoded again in each turn.
    fn until(&self, total: usize) -> usize {
        let at_once = limits::FILTERS_AT_ONCE.max(total / 64);
        total.min(self.codes.len() + at_once)
    }
}

/// A Topic Filter, and of a Shared Subscription what follows its ShareName too.
fn checked(text: &str) -> Result<TopicFilter<'_>, Malformed> {
    let filter = TopicFilter::new(text)?;
    shared_filter(filter).transpose()?;
    Ok(filter)
}

/// The Reason String of a SUBACK or UNSUBACK: what its first refusal means. Empty: nothing was refused.
fn why_refused(refusal: Option<Refusal>) -> String {
    refusal.map(Refusal::sentence).unwrap_or_default()
}

impl Shard {
    pub(super) fn on_subscribe(
        &mut self,
        id: ConnectionId,
        session: SessionId,
        version: Version,
        subscribe: &Subscribe<'_>,
        out: &mut Outputs,
    ) -> Result<(), Violation> {
        let mut part = self.take_unfinished(id);
        let total = subscribe.filters().count();
        if part.codes.is_empty() {
            self.check_filters(subscribe.filters().map(|(filter, _)| filter))?;
            self.check_answer(id, version, total)?;
        }
        let done = part.codes.len();
        let until = part.until(total);
        let bridge = self.sessions.get(session).is_some_and(|s| s.bridge);
        for (filter, mut options) in subscribe.filters().take(until).skip(done) {
            if bridge {
                // As Mosquitto does: nothing comes back to the broker it came from, and what is retained there is retained here.
                options.no_local = true;
                options.retain_as_published = true;
            }
            self.toil.add(limits::TOIL_OF_FILTER);
            let subscription = Subscription::new(options, subscribe.subscription_identifier);
            let granted = self.subscribe(session, filter, subscription, &mut part.replays, out);
            let code = match (granted, version) {
                (Ok(qos), _) => qos,
                (Err(refusal), Version::V5) => refusal.reason_code().0,
                (Err(_), Version::V311) => FAILURE,
                // Its codes are the granted QoS and nothing else, and to grant what is not there would lose messages in silence.
                // What stood before it in the packet stays in force. [v3.1 §3.9]
                (Err(refusal), Version::V31) => return Err(refusal.violation()),
            };
            part.refusal = part.refusal.or(granted.err());
            part.codes.push(code);
        }
        if until < total {
            self.unfinished.insert(id, part);
            self.pace_for_full_lanes(id, u64::MAX, out);
            return Ok(());
        }
        self.log_refused_filters(session, &part.codes, out);
        let Unfinished {
            codes,
            refusal,
            replays,
        } = part;
        let pending = PendingSubscribe {
            session,
            sequence: self.peers.sequence(),
            ticket: self.shares.last_ticket(),
            version,
            packet_id: subscribe.packet_id,
            codes,
            refusal,
            replays,
        };
        if self.is_in_force(&pending) {
            self.complete_subscribe(id, pending);
        } else {
            self.await_in_force(id, pending);
        }
        self.pace_for_full_lanes(id, u64::MAX, out);
        Ok(())
    }

    /// What is done of the packet at the front, if it takes several turns.
    fn take_unfinished(&mut self, id: ConnectionId) -> Unfinished {
        if self.unfinished.is_empty() {
            return Unfinished::default();
        }
        self.unfinished.remove(&id).unwrap_or_default()
    }

    /// The packet at the front goes on in the next turn.
    pub(super) fn is_unfinished(&self, id: ConnectionId) -> bool {
        !self.unfinished.is_empty() && self.unfinished.contains_key(&id)
    }

    /// It goes on in the next turn, with several shards once all of them have the filters up to here in force: what is for others must
    /// not wait behind more than one turn's part in the lanes.
    pub(super) fn defer_unfinished(&mut self, id: ConnectionId, out: &mut Outputs) {
        let sequence = self.peers.sequence();
        if self.peers.in_force() >= sequence {
            return self.defer(id, out);
        }
        self.pace(id, out);
        self.withhold(id);
        self.peers.parts.push_back((id, sequence));
    }

    /// Peers have filters in force: packets that waited for that go on.
    pub(super) fn resume_unfinished(&mut self) {
        let in_force = self.peers.in_force();
        while let Some((id, sequence)) = self.peers.parts.front().copied() {
            if sequence > in_force {
                return;
            }
            self.peers.parts.pop_front();
            self.unpace(id);
        }
    }

    /// One line for all filters of a SUBSCRIBE that found no room.
    fn log_refused_filters(&self, session: SessionId, codes: &[u8], out: &mut Outputs) {
        let refused =
            |code: &&u8| matches!(**code, FAILURE) || **code == ReasonCode::QUOTA_EXCEEDED.0;
        let count = codes.iter().filter(refused).count();
        let Some(session) = self.sessions.get(session).filter(|_| count > 0) else {
            return;
        };
        self.happened(Level::Warning, out, || Happening::FiltersRefused {
            client_id: session.client_id.clone(),
            count,
        });
    }

    /// Looks at all filters of a packet before any is put in force. One that is not well formed makes the packet malformed, and the
    /// connection closes: the code 0x8F of SUBACK and UNSUBACK is for a filter that is "correctly formed but is not allowed".
    /// [v5 3.9.3, 3.11.3, MQTT-4.7.1-1, MQTT-4.7.3-1, MQTT-4.8.2-1, MQTT-4.13.1-1; v3.1.1 MQTT-4.7.1-2, MQTT-4.7.1-3, MQTT-4.7.3-1]
    ///
    /// One with too many levels is well formed: only we do not serve it.
    fn check_filters<'a>(
        &mut self,
        mut filters: impl Iterator<Item = &'a str>,
    ) -> Result<(), Violation> {
        filters.try_for_each(|filter| match checked(filter) {
            Ok(_) | Err(Malformed::TooManyFilterLevels) => Ok(()),
            Err(malformed) => {
                self.offending_filter = Some(filter.to_owned());
                Err(Violation::TopicFilter(malformed))
            }
        })
    }

    /// SUBACK and UNSUBACK carry a code for each filter and nothing of that can be left out: who cannot take the answer is not served.
    /// [v5 MQTT-3.1.2-24]
    fn check_answer(
        &self,
        id: ConnectionId,
        version: Version,
        filters: usize,
    ) -> Result<(), Violation> {
        /// Fixed Header, Packet Identifier and an empty Property Length, at most.
        const HEAD_BYTES: usize = 8;
        let fits = |connection: &Connection| connection.packet_bytes_max >= HEAD_BYTES + filters;
        match self.connections.get(id) {
            Some(connection) if version == Version::V5 && !fits(connection) => {
                Err(Violation::AnswerTooLarge)
            }
            _ => Ok(()),
        }
    }

    /// One filter of a SUBSCRIBE, well formed; the QoS granted.
    fn subscribe(
        &mut self,
        session_id: SessionId,
        text: &str,
        subscription: Subscription,
        replays: &mut Vec<Replay>,
        out: &mut Outputs,
    ) -> Result<u8, Refusal> {
        let filter = checked(text).map_err(|_| Refusal::TooManyLevels)?;
        let session = self
            .sessions
            .get_mut(session_id)
            .ok_or(Refusal::NoSession)?;
        let shared = filter.share().is_some();
        let full = if session.filters.len() >= limits::FILTERS_PER_SESSION_MAX {
            Some(Refusal::TooManySubscriptions)
        } else if shared && self.shares.is_full(session_id) {
            Some(Refusal::TooManySharedSubscriptions)
        } else {
            None
        };
        // A filter that is there already is replaced, and takes no more room. [v5 MQTT-3.8.4-3]
        let is_there = || {
            if shared {
                self.shares.is_member(session_id, text)
            } else {
                self.trie.options(text, session_id).is_some()
            }
        };
        if let Some(full) = full
            && !is_there()
        {
            return Err(full);
        }
        if shared {
            self.subscribe_shared(session_id, filter, subscription, out);
            return Ok(subscription.options.qos as u8);
        }
        let done = self.trie.subscribe(filter, session_id, subscription);
        if done.replaced.is_none() {
            session.filters.insert(done.node, ());
        }
        // The same filter again: its replay begins anew. [v3.1.1 MQTT-3.8.4-3]
        self.replays.stop(session_id, done.node);
        if done.first {
            self.tell_filter_added(text, out);
        }
        let wanted = match subscription.options.retain_handling {
            RetainHandling::SendAtSubscribe => true,
            RetainHandling::SendIfNew => done.replaced.is_none(),
            RetainHandling::DoNotSend => false,
        };
        if wanted {
            replays.push(Replay {
                cursor: RetainCursor::new(filter),
                node: done.node,
                qos: subscription.options.qos,
                identifiers: subscription
                    .identifier()
                    .map(|identifier| Box::new(smallvec::smallvec![identifier])),
            });
        }
        Ok(subscription.options.qos as u8)
    }

    /// Every shard knows the filters: SUBACK, and the retained messages. The Session may have left the connection meanwhile: it has the
    /// subscription all the same, and takes its retained messages along. [v3.1.1 MQTT-3.3.1-6]
    pub(super) fn complete_subscribe(&mut self, id: ConnectionId, pending: PendingSubscribe) {
        let session_id = pending.session;
        let PendingSubscribe {
            version,
            packet_id,
            codes,
            refusal,
            ..
        } = &pending;
        self.append_explained(id, &why_refused(*refusal), |reason_string, block| {
            let suback = SubAck {
                packet_id: *packet_id,
                codes,
                reason_string,
                user_properties: Default::default(),
            };
            wire::encode(&Packet::SubAck(suback), *version, block);
        });
        if self.sessions.get(session_id).is_none() {
            return;
        }
        for replay in pending.replays {
            // It may have been unsubscribed while the answer waited.
            if self
                .trie
                .options(replay.cursor.filter(), session_id)
                .is_some()
            {
                self.replays.add(session_id, replay);
            }
        }
        self.pump(session_id);
    }

    pub(super) fn on_unsubscribe(
        &mut self,
        id: ConnectionId,
        session_id: SessionId,
        version: Version,
        unsubscribe: &Unsubscribe<'_>,
        out: &mut Outputs,
    ) -> Result<(), Violation> {
        let mut part = self.take_unfinished(id);
        let total = unsubscribe.filters().count();
        if part.codes.is_empty() {
            self.check_filters(unsubscribe.filters())?;
            self.check_answer(id, version, total)?;
        }
        let done = part.codes.len();
        let until = part.until(total);
        for filter in unsubscribe.filters().take(until).skip(done) {
            self.toil.add(limits::TOIL_OF_FILTER);
            if self.unsubscribe_shared(filter, session_id, out) {
                part.codes.push(ReasonCode::SUCCESS.0);
                continue;
            }
            let reason = match self.trie.unsubscribe(filter, session_id) {
                None if checked(filter).is_err() => {
                    let refusal = Refusal::TooManyLevels;
                    part.refusal.get_or_insert(refusal).reason_code()
                }
                None => ReasonCode::NO_SUBSCRIPTION_EXISTED,
                Some(done) => {
                    if let Some(session) = self.sessions.get_mut(session_id) {
                        session.filters.remove(done.node);
                        self.replays.stop(session_id, done.node);
                    }
                    if done.last {
                        self.tell_filter_removed(filter, out);
                    }
                    ReasonCode::SUCCESS
                }
            };
            part.codes.push(reason.0);
        }
        if until < total {
            self.unfinished.insert(id, part);
            self.ask_in_force(out);
            self.pace_for_full_lanes(id, u64::MAX, out);
            return Ok(());
        }
        let Unfinished {
            mut codes, refusal, ..
        } = part;
        if version != Version::V5 {
            codes.clear(); // [v3.1.1 3.11.3]
        }
        self.append_explained(id, &why_refused(refusal), |reason_string, block| {
            let unsuback = UnsubAck {
                packet_id: unsubscribe.packet_id,
                codes: &codes,
                reason_string,
                user_properties: Default::default(),
            };
            wire::encode(&Packet::UnsubAck(unsuback), version, block);
        });
        self.pace_for_full_lanes(id, u64::MAX, out);
        Ok(())
    }

    /// Takes one subscription of a Session that ends out of the trie.
    pub(super) fn forget_filter(&mut self, node: NodeId, session: SessionId, out: &mut Outputs) {
        let mut text = String::new();
        if self.shards > 1 {
            self.trie.filter_text(node, &mut text);
        }
        let done = self.trie.unsubscribe_node(node, session);
        if done.is_some_and(|done| done.last) {
            self.tell_filter_removed(&text, out);
        }
    }
}
