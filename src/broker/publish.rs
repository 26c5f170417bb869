//! What a connected Client sends, packet by packet, and the way in of an Application Message.

use super::counters::Dropped;
use super::event::{Ending, RetainVersion};
use super::happening::{Happening, Level};
use super::outputs::Outputs;
use super::passing::{AsCame, Origin, OwnMessage, Routed, Routing, routing_of};
use super::shard::Shard;
use super::violation::Violation;
use crate::config::Logs;
use crate::ids::{ConnectionId, SessionId};
use crate::limits;
use crate::session::Message;
use crate::session::connection::Version5;
use crate::session::inflight::Acknowledged;
use crate::time::Time;
use crate::wire;
use crate::wire::frame::Frame;
use crate::wire::reason::ReasonCode;
use crate::wire::{
    Ack, AckKind, Disconnect, Packet, PacketId, Publish, QoS, Run, TopicName, Version, packet_type,
};
use std::rc::Rc;

/// A retained message, or the mark that one was deleted.
#[derive(Debug)]
pub struct Retained {
    pub version: RetainVersion,
    /// `None`: deleted; kept until every peer's clock has passed `version`, so that no older write brings it back.
    pub message: Option<Rc<Message>>,
}

impl Shard {
    /// One packet of a connected Client, or the run that it begins.
    #[inline]
    pub(super) fn on_frame(
        &mut self,
        id: ConnectionId,
        session: SessionId,
        version: Version,
        frame: &Frame<'_>,
        run: Run<'_>,
        out: &mut Outputs,
    ) -> Result<(), Violation> {
        if self.settings.logs == Logs::Packets && !self.is_unfinished(id) {
            for frame in run.frames() {
                self.log_packet(session, &frame, out);
            }
        }
        if frame.packet_type() == packet_type::PUBLISH {
            let publish = Publish::decode(version, frame).map_err(Violation::Malformed)?;
            return self.on_publish(id, session, version, &publish, run, out);
        }
        match wire::decode(Some(version), frame).map_err(Violation::Malformed)? {
            Packet::PubAck(ack) => return self.on_puback(id, session, &ack, out),
            Packet::PubRec(ack) => return self.on_pubrec(id, session, version, &ack, out),
            Packet::PubRel(ack) => self.on_pubrel(id, session, version, &ack),
            Packet::PubComp(ack) => return self.on_pubcomp(id, session, &ack, out),
            Packet::Subscribe(subscribe) => {
                return self.on_subscribe(id, session, version, &subscribe, out);
            }
            Packet::Unsubscribe(unsubscribe) => {
                return self.on_unsubscribe(id, session, version, &unsubscribe, out);
            }
            Packet::PingReq => self.append(id, |block| {
                wire::encode(&Packet::PingResp, version, block);
            }),
            Packet::Disconnect(disconnect) => {
                return self.on_disconnect(id, session, version, &disconnect, out);
            }
            Packet::Auth(_) => return Err(Violation::UnexpectedAuth),
            Packet::Connect(_) => return Err(Violation::SecondConnect),
            Packet::Publish(_) => unreachable!("it was taken above"),
            Packet::ConnAck(_) | Packet::SubAck(_) | Packet::UnsubAck(_) | Packet::PingResp => {
                return Err(Violation::ServerPacket);
            }
        }
        Ok(())
    }

    /// Appends an answer to a connection's outbox; it leaves in the flush of this turn.
    pub(super) fn append(&mut self, id: ConnectionId, write: impl FnOnce(&mut Vec<u8>)) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        let block = connection
            .outbox
            .block(&mut self.pool, limits::ANSWER_BYTES);
        let before = block.len();
        write(block);
        if block.len() - before > connection.packet_bytes_max {
            block.truncate(before); // [v5 MQTT-3.1.2-24]
            return;
        }
        connection.unsent_bytes += block.len() - before;
        if !connection.dirty {
            connection.dirty = true;
            self.dirty.push(id);
        }
    }

    fn on_publish(
        &mut self,
        id: ConnectionId,
        session_id: SessionId,
        version: Version,
        publish: &Publish<'_>,
        run: Run<'_>,
        out: &mut Outputs,
    ) -> Result<(), Violation> {
        self.counters.messages_received += u64::from(run.packets);
        let aliased = self.name_by_alias(id, publish)?;
        let topic = match (&aliased, publish.topic) {
            (Some(name), _) => TopicName::new(name).map_err(Violation::Malformed)?,
            (None, topic) => topic.expect("there is a name or an alias"),
        };
        if !self.is_new(id, session_id, version, publish)? {
            return Ok(());
        }
        let mut passed_on = Vec::new();
        if version == Version::V5 && !publish.properties.raw.is_empty() {
            publish.properties.append_passed_on(&mut passed_on);
        }
        let mut routing = Routing {
            topic,
            passed_on: &passed_on,
            payload: publish.payload,
            qos: publish.qos,
            retain: publish.retain,
            expires: self.expiry(publish),
            as_came: AsCame::of(version, publish, run),
            message: None,
        };
        let origin = Origin {
            session: Some(session_id),
            connection: Some((self.id, id)),
        };
        let routed = self.publish(&mut routing, origin, out);
        self.answer_publish(
            id,
            session_id,
            version,
            publish.qos,
            publish.packet_id,
            routed,
        );
        Ok(())
    }

    /// Checks that no Server's property is in it, and gives the name that its Topic Alias stands for; `None`: its own counts.
    /// [v5 MQTT-3.3.4-6, 3.3.2.3.4]
    #[inline]
    pub(super) fn name_by_alias(
        &mut self,
        id: ConnectionId,
        publish: &Publish<'_>,
    ) -> Result<Option<String>, Violation> {
        if publish.properties.subscription_identifiers {
            return Err(Violation::SubscriptionIdentifierFromClient);
        }
        match (publish.topic, publish.properties.topic_alias) {
            (Some(_), None) => Ok(None),
            (topic, alias) => self.resolve_alias(id, topic, alias).map(Some),
        }
    }

    /// Notes a QoS 2 message as received. `false`: it was before, and has been answered again. [v3.1.1 MQTT-4.3.3-2]
    #[inline]
    pub(super) fn is_new(
        &mut self,
        id: ConnectionId,
        session_id: SessionId,
        version: Version,
        publish: &Publish<'_>,
    ) -> Result<bool, Violation> {
        let Some(packet_id) = publish.packet_id else {
            return Ok(true);
        };
        let session = self
            .sessions
            .get_mut(session_id)
            .expect("a connection has one");
        let exactly_once = publish.qos == QoS::ExactlyOnce;
        if exactly_once && session.received.contains(packet_id) {
            self.append_ack(id, AckKind::PubRec, version, packet_id, ReasonCode::SUCCESS);
            return Ok(false);
        }
        if version == Version::V5
            && session.received.count() >= usize::from(limits::RECEIVE_MAXIMUM)
        {
            return Err(Violation::ReceiveMaximumExceeded);
        }
        if exactly_once {
            session.received.insert(packet_id);
        }
        Ok(true)
    }

    /// When a message that comes now expires.
    #[inline]
    pub(super) fn expiry(&self, publish: &Publish<'_>) -> Time {
        publish
            .properties
            .message_expiry_interval_s
            .map_or(Time::NEVER, |seconds| self.now.plus_s(seconds))
    }

    /// PUBACK or PUBREC, if the message wants one.
    #[inline]
    pub(super) fn answer_publish(
        &mut self,
        id: ConnectionId,
        session_id: SessionId,
        version: Version,
        qos: QoS,
        packet_id: Option<PacketId>,
        routed: Routed,
    ) {
        let Some(packet_id) = packet_id else {
            return;
        };
        let reason = match (version, routed) {
            (Version::V5, Routed::Nobody) => ReasonCode::NO_MATCHING_SUBSCRIBERS,
            (Version::V5, Routed::Refused) => ReasonCode::QUOTA_EXCEEDED,
            _ => ReasonCode::SUCCESS,
        };
        if qos == QoS::AtLeastOnce {
            return self.append_ack(id, AckKind::PubAck, version, packet_id, reason);
        }
        if reason.is_failure()
            && let Some(session) = self.sessions.get_mut(session_id)
        {
            session.received.remove(packet_id); // No PUBREL follows. [v5 4.3.3]
        }
        self.append_ack(id, AckKind::PubRec, version, packet_id, reason);
    }

    /// Takes a message of a Client or a will: keeps it if retained, and routes it.
    pub(super) fn publish(
        &mut self,
        routing: &mut Routing<'_>,
        origin: Origin,
        out: &mut Outputs,
    ) -> Routed {
        let topic = routing.topic.as_str();
        if is_brokers_own(topic) && !(is_bridge_state(topic) && self.is_bridge(origin)) {
            // Clients do not write to the broker's own trees; it is acknowledged and goes nowhere. [v3.1.1 4.7.2]
            self.counters
                .drop_messages(Dropped::OwnTopic, u64::from(routing.packets()));
            return Routed::Nobody;
        }
        self.keep_and_route(routing, origin, out)
    }

    /// Takes a message of the broker's own, whose Topic Name nothing forbids.
    pub(super) fn publish_own(&mut self, OwnMessage(message): OwnMessage, out: &mut Outputs) {
        self.counters.messages_own += 1;
        let message = Rc::new(message);
        let nobody = Origin {
            session: None,
            connection: None,
        };
        self.keep_and_route(&mut routing_of(&message), nobody, out);
    }

    #[inline]
    fn keep_and_route(
        &mut self,
        routing: &mut Routing<'_>,
        origin: Origin,
        out: &mut Outputs,
    ) -> Routed {
        let version = routing.retain.then(|| {
            let version = self.next_retain_version();
            self.retain(routing, version);
            version
        });
        match self.route(routing, origin, version, out) {
            Routed::Refused if version.is_some() => Routed::Taken, // It is kept as the retained message.
            routed => routed,
        }
    }

    /// The publisher is a bridge.
    fn is_bridge(&self, origin: Origin) -> bool {
        let session = origin.session.and_then(|id| self.sessions.get(id));
        session.is_some_and(|session| session.bridge)
    }

    /// Stores, replaces or removes a retained message, if the write is newer than what is there.
    /// [v3.1.1 MQTT-3.3.1-5, MQTT-3.3.1-10, MQTT-3.3.1-11]
    pub(super) fn retain(&mut self, routing: &mut Routing<'_>, version: RetainVersion) {
        let topic = routing.topic;
        let held = self.retained.get(topic.as_str());
        if held.is_some_and(|held| held.version > version) {
            return;
        }
        let held_mark = held.is_some_and(|held| held.message.is_none());
        let marks_before = self.peers.deletion_marks;
        if !routing.payload.is_empty() {
            let message = Rc::clone(routing.message());
            self.sweep.note(message.expires);
            self.retained.set(
                topic,
                Retained {
                    version,
                    message: Some(message),
                },
            );
        } else if self.shards == 1 {
            self.retained.remove(topic.as_str());
        } else {
            self.retained.set(
                topic,
                Retained {
                    version,
                    message: None,
                },
            );
            self.peers.deletion_marks += 1;
            self.peers.note_mark(topic.as_str(), version);
        }
        if held_mark {
            self.peers.deletion_marks -= 1;
        }
        if self.peers.deletion_marks > marks_before {
            self.arm_clock();
        }
    }

    /// The Topic Name of a PUBLISH with an alias. [v5 3.3.2.3.4]
    fn resolve_alias(
        &mut self,
        id: ConnectionId,
        topic: Option<TopicName<'_>>,
        alias: Option<u16>,
    ) -> Result<String, Violation> {
        let alias = alias.ok_or(Violation::TopicAliasUnknown)?;
        if alias == 0 || alias > limits::TOPIC_ALIAS_MAXIMUM {
            return Err(Violation::TopicAliasInvalid);
        }
        let connection = self.connections.get_mut(id).expect("it sent this packet");
        let version5 = connection
            .version5
            .as_mut()
            .expect("only v5 has properties");
        let index = usize::from(alias) - 1;
        if let Some(topic) = topic {
            if version5.aliases.len() <= index {
                version5.aliases.resize(index + 1, Box::from(""));
            }
            version5.aliases[index] = topic.as_str().into();
            return Ok(topic.as_str().to_owned());
        }
        match version5.aliases.get(index) {
            Some(topic) if !topic.is_empty() => Ok(topic.to_string()),
            _ => Err(Violation::TopicAliasUnknown),
        }
    }

    pub(super) fn append_ack(
        &mut self,
        id: ConnectionId,
        kind: AckKind,
        version: Version,
        packet_id: PacketId,
        reason: ReasonCode,
    ) {
        if version == Version::V5 && reason.is_failure() {
            let why = match reason {
                ReasonCode::QUOTA_EXCEEDED => "no subscriber has room for it",
                _ => "no QoS 2 message of this Packet Identifier is under way",
            };
            return self.append_explained(id, why, |reason_string, block| {
                let ack = Ack {
                    reason_string,
                    ..Ack::new(packet_id, reason)
                };
                ack.encode(kind, version, block);
            });
        }
        self.append(id, |block| {
            wire::append_ack(kind, version, packet_id, reason, block)
        });
    }

    /// Appends an answer with a Reason String, or without where the Client does not want it or cannot take it.
    /// [v5 MQTT-3.1.2-29, MQTT-3.4.2-2, MQTT-3.9.2-1]
    pub(super) fn append_explained(
        &mut self,
        id: ConnectionId,
        why: &str,
        write: impl Fn(Option<&str>, &mut Vec<u8>),
    ) {
        let Some(connection) = self.connections.get(id) else {
            return;
        };
        let silent = |version5: &Version5| version5.silent_about_problems;
        if !why.is_empty() && !connection.version5.as_deref().is_none_or(silent) {
            let mut bytes = Vec::new();
            write(Some(why), &mut bytes);
            if bytes.len() <= connection.packet_bytes_max {
                return self.append(id, |block| block.extend_from_slice(&bytes));
            }
        }
        self.append(id, |block| write(None, block));
    }

    fn on_puback(
        &mut self,
        id: ConnectionId,
        session_id: SessionId,
        ack: &Ack<'_>,
        out: &mut Outputs,
    ) -> Result<(), Violation> {
        let Some(session) = self.sessions.get_mut(session_id) else {
            return Ok(());
        };
        let acknowledged = session.inflight.acknowledge(ack.packet_id);
        self.on_ended(id, session_id, acknowledged, out)
    }

    /// A delivery has come to its end, if the acknowledgement was right.
    fn on_ended(
        &mut self,
        id: ConnectionId,
        session: SessionId,
        acknowledged: Acknowledged,
        out: &mut Outputs,
    ) -> Result<(), Violation> {
        match acknowledged {
            Acknowledged::Known(ended) => {
                self.shares.done(session, ended.share);
                self.on_progress(id, session, out);
                Ok(())
            }
            Acknowledged::Unknown => Ok(()),
            Acknowledged::WrongKind => Err(Violation::WrongAcknowledgement),
        }
    }

    fn on_pubrec(
        &mut self,
        id: ConnectionId,
        session_id: SessionId,
        version: Version,
        ack: &Ack<'_>,
        out: &mut Outputs,
    ) -> Result<(), Violation> {
        let Some(session) = self.sessions.get_mut(session_id) else {
            return Ok(());
        };
        if ack.reason.is_failure() {
            // It ends the flow: no PUBREL. [v5 4.3.3]
            let acknowledged = session.inflight.refuse(ack.packet_id);
            return self.on_ended(id, session_id, acknowledged, out);
        }
        let reason = match session.inflight.receive(ack.packet_id) {
            Acknowledged::Known(ended) => {
                self.shares.done(session_id, ended.share);
                ReasonCode::SUCCESS
            }
            // Before v5 the one sound answer to an unknown identifier is PUBREL too: the Client waits for it.
            Acknowledged::Unknown => ReasonCode::PACKET_IDENTIFIER_NOT_FOUND,
            Acknowledged::WrongKind => return Err(Violation::WrongAcknowledgement),
        };
        self.append_ack(id, AckKind::PubRel, version, ack.packet_id, reason);
        Ok(())
    }

    fn on_pubrel(&mut self, id: ConnectionId, session: SessionId, version: Version, ack: &Ack<'_>) {
        let known = self
            .sessions
            .get_mut(session)
            .is_some_and(|s| s.received.remove(ack.packet_id));
        let reason = if known {
            ReasonCode::SUCCESS
        } else {
            ReasonCode::PACKET_IDENTIFIER_NOT_FOUND
        };
        self.append_ack(id, AckKind::PubComp, version, ack.packet_id, reason);
    }

    fn on_pubcomp(
        &mut self,
        id: ConnectionId,
        session_id: SessionId,
        ack: &Ack<'_>,
        out: &mut Outputs,
    ) -> Result<(), Violation> {
        let Some(session) = self.sessions.get_mut(session_id) else {
            return Ok(());
        };
        let acknowledged = session.inflight.complete(ack.packet_id);
        self.on_ended(id, session_id, acknowledged, out)
    }

    /// A place in the window is free.
    fn on_progress(&mut self, id: ConnectionId, session: SessionId, out: &mut Outputs) {
        self.pump(session);
        self.on_served(id, out);
    }

    fn on_disconnect(
        &mut self,
        id: ConnectionId,
        session_id: SessionId,
        version: Version,
        disconnect: &Disconnect<'_>,
        out: &mut Outputs,
    ) -> Result<(), Violation> {
        if disconnect.server_reference.is_some() || !sent_by_clients(disconnect.reason) {
            return Err(Violation::ServerDisconnect);
        }
        if let Some(seconds) = disconnect.session_expiry_interval_s {
            let session = self
                .sessions
                .get_mut(session_id)
                .expect("a connection has one");
            if session.expiry_interval_s == 0 && seconds != 0 {
                return Err(Violation::SessionExpiryRaised);
            }
            session.expiry_interval_s = seconds;
        }
        let with_will = version == Version::V5 && disconnect.reason != ReasonCode::SUCCESS;
        self.close(id, Ending::Disconnect { with_will }, out);
        Ok(())
    }

    fn log_packet(&self, session: SessionId, frame: &Frame<'_>, out: &mut Outputs) {
        let Some(session) = self.sessions.get(session) else {
            return;
        };
        self.happened(Level::Packet, out, || Happening::PacketReceived {
            client_id: session.client_id.clone(),
            packet_type: frame.packet_type(),
            bytes: frame.bytes.len(),
        });
    }
}

/// Topic Names by which a bridge says that it is connected, or by its will that it is not: `$SYS/broker/connection/NAME/state`.
fn is_bridge_state(topic: &str) -> bool {
    let name = topic
        .strip_prefix("$SYS/broker/connection/")
        .and_then(|rest| rest.strip_suffix("/state"));
    name.is_some_and(|name| !name.contains('/'))
}

/// Topic Names that only the broker may publish to: `$SYS` and `$CONTROL` and all below them. `$SYS` is reserved by convention, and
/// `$CONTROL` is where Mosquitto takes orders of administrators: nothing that a Client says there may look like the broker's word.
/// [v3.1.1 4.7.2, v5 4.7.2]
fn is_brokers_own(topic: &str) -> bool {
    let first = topic.split('/').next();
    matches!(first, Some("$SYS" | "$CONTROL"))
}

/// The codes of a DISCONNECT that come from Clients. [v5 3.14.2.1]
fn sent_by_clients(reason: ReasonCode) -> bool {
    matches!(
        reason.0,
        0x00 | 0x04 | 0x80..=0x83 | 0x90 | 0x93..=0x99
    )
}
