//! The way in of an Application Message: PUBLISH of a Client, and whatever else is published here.

use crate::acl::{Act, Cause, Verdict};
use crate::broker::counters::Dropped;
use crate::broker::happening::Denied;
use crate::broker::outputs::Outputs;
use crate::broker::passing::{
    Acknowledgement, Origin, OwnMessage, RetainVersion, Routed, Routing, Verbatim, routing_of,
};
use crate::broker::settling::Waiting;
use crate::broker::shard::Shard;
use crate::broker::violation::Violation;
use crate::budget::Refused;
use crate::config::Logs;
use crate::ids::{ConnectionId, SessionId};
use crate::limits;
use crate::time::Time;
use crate::wire::reason::ReasonCode;
use crate::wire::{AckKind, Malformed, PacketId, Publish, QoS, Run, TopicName, Version};
use std::rc::Rc;

impl Shard {
    pub(in crate::broker) fn on_publish(
        &mut self,
        id: ConnectionId,
        session: SessionId,
        version: Version,
        publish: &Publish<'_>,
        run: Run<'_>,
        out: &mut Outputs,
    ) -> Result<(), Violation> {
        let (run, is_found) = match publish.topic {
            Some(topic) if run.packets > 1 && self.logs != Logs::Packets => {
                (self.cut(run, topic), true)
            }
            _ => (run, false),
        };
        self.clients
            .count_received(run.packets, publish.payload.len());
        let aliased = self.name_by_alias(id, publish, out)?;
        let topic = match (&aliased, publish.topic) {
            (Some(name), _) => TopicName::new(name).map_err(Violation::Malformed)?,
            (None, Some(topic)) => topic,
            (None, None) => return Err(Violation::Malformed(Malformed::NoTopicNorAlias)),
        };
        let mark = self.mark();
        if !self.is_new(id, session, version, publish)? {
            return Ok(());
        }
        if self.clients.looks_at_publish()
            && !self.is_publish_allowed(id, publish, topic, run.packets)?
        {
            self.drop_too_large(run.packets);
            let sent = (publish.qos, publish.packet_id);
            self.answer_publish(id, session, version, sent, Routed::TooLarge, mark);
            return Ok(());
        }
        if self.finds_store_full(version, publish, topic) {
            let sent = (publish.qos, publish.packet_id);
            self.answer_publish(id, session, version, sent, Routed::StoreFull, mark);
            return Ok(());
        }
        let mut passed_on = Vec::new();
        if version == Version::V5 && !publish.properties.raw.is_empty() {
            publish.properties.append_passed_on(&mut passed_on);
            self.turn.add_work(passed_on.len() / limits::BYTES_PER_WORK);
        }
        let mut routing = Routing {
            topic,
            passed_on: &passed_on,
            payload: publish.payload,
            qos: publish.qos,
            retain: publish.retain,
            expires: self.expiry(publish),
            verbatim: Verbatim::of(version, publish, run),
            message: None,
            publisher: Some(session),
        };
        let origin = Origin {
            session: Some(session),
            connection: Some((self.id, id)),
        };
        if publish.retain && self.rights.rules().check_retain_source {
            let mut message = routing.new_message();
            self.clients.sign(session, &self.rights, &mut message);
            self.clients.book_message(session, &mut message);
            routing.message = Some(Rc::new(message));
        }
        if publish.packet_id.is_some() && self.crossing_waits(publish.retain) {
            self.peers.settling_mut().begin_asking();
        }
        let routed = match is_found {
            true => self.publish::<true>(&mut routing, origin, out),
            false => self.publish::<false>(&mut routing, origin, out),
        };
        self.close_if_untold(version, publish.qos, routed)?;
        self.answer_publish(
            id,
            session,
            version,
            (publish.qos, publish.packet_id),
            routed,
            mark,
        );
        if publish.retain && self.clients.is_store_behind() {
            self.clients.wait_for_store(id, out);
        }
        Ok(())
    }

    /// As much of a run as one turn has time for: the rest is left. A run is one packet to those who take it as it
    /// came, and each of its packets is a message to groups and to Clients of other versions.
    #[inline]
    fn cut<'a>(&mut self, run: Run<'a>, topic: TopicName<'_>) -> Run<'a> {
        self.find(topic);
        let most = self.packets_at_once(&run);
        if run.packets as usize <= most {
            return run;
        }
        let cut = run.first(most);
        self.turn.leave(run.bytes.len() - cut.bytes.len());
        cut
    }

    /// Before v5 no answer can say that a message was not taken, and none may say that it was. The connection ends
    /// without an answer, and the Client sends the message again.
    pub(in crate::broker) fn close_if_untold(
        &mut self,
        version: Version,
        qos: QoS,
        routed: Routed,
    ) -> Result<(), Violation> {
        match routed {
            Routed::OverShare if version != Version::V5 && qos > QoS::AtMostOnce => {
                self.peers.settling_mut().end_asking();
                self.clients.end_passage();
                Err(Violation::OverShare)
            }
            _ => Ok(()),
        }
    }

    /// Checks that the packet has no property that only a Server may send. Returns the Topic Name of its Topic Alias,
    /// or `None` if the packet names its topic itself. [v5 MQTT-3.3.4-6, 3.3.2.3.4]
    #[inline(always)]
    pub(in crate::broker) fn name_by_alias(
        &mut self,
        id: ConnectionId,
        publish: &Publish<'_>,
        out: &mut Outputs,
    ) -> Result<Option<String>, Violation> {
        let properties = &publish.properties;
        let has_alias = properties.topic_alias.is_some();
        if publish.topic.is_some() && !has_alias && !properties.subscription_identifiers {
            return Ok(None); // As nearly all packets are.
        }
        self.name_by_properties(id, publish, out)
    }

    fn name_by_properties(
        &mut self,
        id: ConnectionId,
        publish: &Publish<'_>,
        out: &mut Outputs,
    ) -> Result<Option<String>, Violation> {
        if publish.properties.subscription_identifiers {
            return Err(Violation::SubscriptionIdentifierFromClient);
        }
        let sets = publish.properties.topic_alias.and(publish.topic);
        if let Some(topic) = sets
            && self.clients.is_short()
        {
            self.may_set_alias(id, topic, out)?;
        }
        match (publish.topic, publish.properties.topic_alias) {
            (Some(_), None) => Ok(None),
            (topic, alias) => {
                let name = self.clients.resolve_alias(id, topic, alias)?;
                self.turn.add_work(name.len() / limits::BYTES_PER_WORK);
                Ok(Some(name))
            }
        }
    }

    /// Memory is short: a connection keeps the Topic Name of an alias only if its owner may have it.
    #[cold]
    fn may_set_alias(
        &mut self,
        id: ConnectionId,
        topic: TopicName<'_>,
        out: &mut Outputs,
    ) -> Result<(), Violation> {
        let session = self.clients.connection(id).and_then(|c| c.session());
        let bytes = topic.as_str().len();
        let may = |session| self.clients.may_take(session, bytes, Refused::Packet, out);
        match session.is_none_or(may) {
            true => Ok(()),
            false => Err(Violation::OverShare),
        }
    }

    /// Notes a QoS 2 message as received. Returns `false` if it was received before; it is answered again then. [v3.1.1
    /// MQTT-4.3.3-2]
    #[inline(always)]
    pub(in crate::broker) fn is_new(
        &mut self,
        id: ConnectionId,
        session: SessionId,
        version: Version,
        publish: &Publish<'_>,
    ) -> Result<bool, Violation> {
        match publish.packet_id {
            Some(packet_id) => self.is_new_of_id(id, session, version, publish, packet_id),
            None => Ok(true),
        }
    }

    fn is_new_of_id(
        &mut self,
        id: ConnectionId,
        session: SessionId,
        version: Version,
        publish: &Publish<'_>,
        packet_id: PacketId,
    ) -> Result<bool, Violation> {
        let crosses = self.peers.must_ask();
        let new = self
            .clients
            .note_received(session, version, publish, packet_id, crosses)?;
        if !new {
            // The stores of this shard and of others may not have kept yet what followed from the first PUBLISH.
            let after = self.clients.state_of(session);
            self.peers.settling_mut().ask_for_all();
            let of = Acknowledgement {
                connection: id,
                session,
                kind: AckKind::PubRec,
                version,
                packet_id,
            };
            self.acknowledge(of, ReasonCode::SUCCESS, after, true);
        }
        Ok(new)
    }

    /// PUBACK or PUBREC leaves, once the changes up to `after` are kept. Where peers were asked it is a success until
    /// they have answered, and waits for that. `taken`: a subscriber of this shard has the message.
    #[inline(always)]
    fn acknowledge(&mut self, of: Acknowledgement, reason: ReasonCode, after: u64, taken: bool) {
        let settling = self.peers.settling_mut();
        if settling.has_asked() {
            let token = settling.await_asked(Waiting::Answer(of), taken);
            return self.clients.hold_ack(&of, after, token);
        }
        settling.end_asking();
        let (id, packet_id) = (of.connection, of.packet_id);
        self.clients
            .append_ack(id, of.kind, of.version, packet_id, reason, after);
    }

    /// How long the operator lets a message that is retained live.
    #[inline]
    pub(in crate::broker) fn retain_expiry_s(&self, retain: bool) -> Option<u32> {
        self.clients.settings().retain_expiry_s.filter(|_| retain)
    }

    /// When a message that arrives now expires.
    #[inline]
    pub(in crate::broker) fn expiry(&self, publish: &Publish<'_>) -> Time {
        let asked = publish.properties.message_expiry_interval_s;
        match (asked, self.retain_expiry_s(publish.retain)) {
            (None, None) => Time::NEVER,
            (Some(asked), Some(most)) => self.turn.now().plus_s(asked.min(most)),
            (Some(seconds), None) | (None, Some(seconds)) => self.turn.now().plus_s(seconds),
        }
    }

    /// Answers with PUBACK or PUBREC, if the QoS asks for one, once the changes since `mark` are kept.
    #[inline(always)]
    pub(in crate::broker) fn answer_publish(
        &mut self,
        id: ConnectionId,
        session: SessionId,
        version: Version,
        (qos, packet_id): (QoS, Option<PacketId>),
        routed: Routed,
        mark: u64,
    ) {
        if let Some(packet_id) = packet_id {
            self.answer_acknowledged(id, session, version, (qos, packet_id), routed, mark);
        }
    }

    fn answer_acknowledged(
        &mut self,
        id: ConnectionId,
        session: SessionId,
        version: Version,
        (qos, packet_id): (QoS, PacketId),
        routed: Routed,
        mark: u64,
    ) {
        self.clients.end_passage();
        let reason = match (version, routed) {
            (Version::V5, Routed::Nobody) => ReasonCode::NO_MATCHING_SUBSCRIBERS,
            (Version::V5, Routed::Refused | Routed::OverShare | Routed::StoreFull) => {
                ReasonCode::QUOTA_EXCEEDED
            }
            (Version::V5, Routed::TooLarge) => ReasonCode::PACKET_TOO_LARGE,
            (Version::V5, Routed::Denied) => ReasonCode::NOT_AUTHORIZED,
            _ => ReasonCode::SUCCESS,
        };
        let kind = match qos {
            QoS::AtMostOnce | QoS::AtLeastOnce => AckKind::PubAck,
            QoS::ExactlyOnce => AckKind::PubRec,
        };
        if kind == AckKind::PubRec && reason.is_failure() {
            self.clients.release_received(session, packet_id); // No PUBREL follows. [v5 4.3.3]
        }
        let of = Acknowledgement {
            connection: id,
            session,
            kind,
            version,
            packet_id,
        };
        // This refusal confirms nothing, and must not wait for the store.
        let mark = match routed {
            Routed::StoreFull => self.mark(),
            _ => mark,
        };
        let after = self.needed_since(mark);
        self.acknowledge(of, reason, after, routed == Routed::Taken);
    }

    /// The store has no room for a message that a Client of v5 has sent with QoS 1 or 2: the answer says so, and the
    /// message goes nowhere, because the Client will send it again. Before v5 no answer can say it, so the message is
    /// taken and waits with its answer. What a peer stores is not known here: a message for it is refused if some peer
    /// stores anything.
    pub(in crate::broker) fn finds_store_full(
        &mut self,
        version: Version,
        publish: &Publish<'_>,
        topic: TopicName<'_>,
    ) -> bool {
        if !self.clients.is_store_full() || version != Version::V5 || publish.qos == QoS::AtMostOnce
        {
            return false;
        }
        let visited = self.find(topic);
        self.turn.add_work(visited);
        let found = self.topics.found();
        let mut local = found.local.iter();
        let full = (publish.retain && !publish.payload.is_empty())
            || local.any(|(subscriber, _)| self.clients.is_stored(*subscriber))
            || (found.shards != 0 && self.peers.must_ask());
        if full {
            self.clients.count_dropped(Dropped::StoreFull, 1);
        }
        full
    }

    /// Counts messages that are larger than the operator allows.
    pub(super) fn drop_too_large(&mut self, packets: u32) {
        self.clients
            .count_dropped(Dropped::AbovePayloadMax, packets.into());
    }

    /// Takes a message of a Client or a will: keeps it if retained, and routes it. `FOUND`: it is a run, whose
    /// subscribers were found when it was cut.
    pub(in crate::broker) fn publish<const FOUND: bool>(
        &mut self,
        routing: &mut Routing<'_>,
        origin: Origin,
        out: &mut Outputs,
    ) -> Routed {
        if self.rights.are_in_force() {
            return self.publish_by_rules::<FOUND>(routing, origin, out);
        }
        let topic = routing.topic.as_str();
        if topic.starts_with('$')
            && let Some(cause) = self.ask_to_publish(origin, topic)
        {
            return self.deny(routing, origin, cause, out);
        }
        if FOUND {
            self.count_found(routing);
        }
        self.take::<FOUND>(routing, origin, out)
    }

    /// The subscribers of the message under way were found, and that has cost something.
    #[inline]
    fn count_found(&mut self, routing: &Routing<'_>) {
        let visited = self.topics.found().visited;
        self.turn.add_work(visited + self.work_of_copies(routing));
    }

    /// The same where rules are in force. The answer that says who gets the message has also noted who may write it.
    #[inline(never)]
    fn publish_by_rules<const FOUND: bool>(
        &mut self,
        routing: &mut Routing<'_>,
        origin: Origin,
        out: &mut Outputs,
    ) -> Routed {
        match FOUND {
            true => self.count_found(routing),
            false => self.find_readers_of(routing),
        }
        let noted = |session| self.topics.is_noted_writer(session);
        if !origin.session.is_some_and(noted) {
            if let Some(cause) = self.ask_to_publish(origin, routing.topic.as_str()) {
                return self.deny(routing, origin, cause, out);
            }
            if let Some(session) = origin.session {
                self.topics.note_writer(session);
            }
        }
        self.take::<true>(routing, origin, out)
    }

    /// What its publisher may write, if memory is not too short.
    ///
    /// From here to `deliver_to_all` every step is part of its caller: a call for each cost a message of QoS 0 a tenth
    /// of its instructions.
    #[inline(always)]
    fn take<const FOUND: bool>(
        &mut self,
        routing: &mut Routing<'_>,
        origin: Origin,
        out: &mut Outputs,
    ) -> Routed {
        if let Some(session) = origin.session
            && self.clients.is_short()
            && !self.may_hold(session, routing, out)
        {
            return Routed::OverShare;
        }
        self.keep_and_route::<FOUND>(routing, origin, out)
    }

    /// Memory is short: whether a message may still be taken that others would hold for its publisher.
    fn may_hold(&mut self, session: SessionId, routing: &Routing<'_>, out: &mut Outputs) -> bool {
        let payload = routing.payload.len();
        let bytes = routing.topic.as_str().len() + routing.passed_on.len() + payload;
        let deletes = routing.retain && payload == 0;
        if deletes && self.topics.frees(routing.topic.as_str(), bytes) {
            return true;
        }
        // Where there are peers, a deletion leaves a mark.
        let is_kept = routing.retain && (payload > 0 || self.shards > 1);
        let why = if routing.qos > QoS::AtMostOnce || is_kept {
            Refused::Message
        } else if bytes >= limits::PAYLOAD_SHARED_FROM_BYTES {
            Refused::Unacknowledged
        } else {
            return true;
        };
        let may = self.clients.may_take(session, bytes, why, out);
        if !may {
            self.clients
                .count_dropped(Dropped::OverShare, u64::from(routing.packets()));
        }
        may
    }

    /// Takes a message of the broker's own. It may have any Topic Name.
    pub(in crate::broker) fn publish_own(
        &mut self,
        OwnMessage(message): OwnMessage,
        out: &mut Outputs,
    ) {
        self.clients.count_own_message();
        let message = Rc::new(message);
        let nobody = Origin {
            session: None,
            connection: None,
        };
        let mut routing = routing_of(&message);
        if self.rights.are_in_force() {
            self.find_readers_of(&routing);
            self.keep_and_route::<true>(&mut routing, nobody, out);
        } else {
            self.keep_and_route::<false>(&mut routing, nobody, out);
        }
    }

    #[inline(always)]
    fn keep_and_route<const FOUND: bool>(
        &mut self,
        routing: &mut Routing<'_>,
        origin: Origin,
        out: &mut Outputs,
    ) -> Routed {
        // The repeat of a message of before a restart that was written then: its topic may have a newer one.
        let written = routing.retain && self.clients.is_written();
        let version = (routing.retain && !written).then(|| {
            let version = self.peers.next_version(self.turn.now());
            self.retain(routing, version);
            version
        });
        match self.route::<FOUND>(routing, origin, version, out) {
            // It is kept as the retained message.
            Routed::Refused | Routed::Crossed if version.is_some() || written => Routed::Taken,
            routed => routed,
        }
    }

    /// Why a Client may not publish to this topic; `None`: it may.
    #[inline(never)]
    fn ask_to_publish(&mut self, origin: Origin, topic: &str) -> Option<Cause> {
        let Some(session) = origin.session else {
            return Some(Cause::NoRule);
        };
        self.turn.add_work(limits::WORK_OF_RIGHT);
        match self.clients.may(session, &self.rights, Act::Write, topic) {
            Verdict::Allowed(_) => None,
            Verdict::Refused(cause) => Some(cause),
        }
    }

    /// A message that its publisher may not write goes nowhere. Before v5 it is acknowledged all the same. [v3.1.1
    /// 3.3.5, 4.7.2]
    #[inline(never)]
    fn deny(
        &mut self,
        routing: &Routing<'_>,
        origin: Origin,
        cause: Cause,
        out: &mut Outputs,
    ) -> Routed {
        let why = match cause {
            Cause::SysIsTheBrokers | Cause::ControlIsTheBrokers => Dropped::OwnTopic,
            Cause::Rule { .. } | Cause::NoRule | Cause::ShareIsNoName | Cause::WildcardInName => {
                Dropped::Denied
            }
        };
        self.clients
            .count_dropped(why, u64::from(routing.packets()));
        let (qos, retain) = (routing.qos, routing.retain);
        let what = match origin.connection {
            Some(_) => Denied::Publish {
                qos,
                retain,
                payload_bytes: routing.payload.len(),
            },
            None => Denied::Will { qos, retain },
        };
        if let Some(session) = origin.session {
            let topic = routing.topic.as_str();
            self.clients
                .tell_denied(session, &self.rights, cause, topic, what, out);
        }
        Routed::Denied
    }

    /// Writes a retained message.
    pub(in crate::broker) fn retain(&mut self, routing: &mut Routing<'_>, version: RetainVersion) {
        self.turn.add_work(limits::WORK_OF_RETAINED);
        if !routing.payload.is_empty() || self.shards > 1 {
            self.clients.kept_message(routing);
        }
        if self.topics.retain(routing, version) {
            self.peers.arm_clock(self.turn.now());
        }
        if self.clients.passage().is_some() && self.topics.notes_writes_of(routing.topic.as_str()) {
            self.clients.note_written();
        }
    }
}
