//! What becomes of each packet while both connections of a bridge are there.
//!
//! A PUBLISH goes to the other side with another Topic Name and the same Packet Identifier, and acknowledgements come
//! back the same way: see [`super`]. Four things are ended here, because the other side cannot take them:
//!
//! - A message that no line maps, or that is too large for the other side, is acknowledged and goes nowhere.
//! - A message of a higher QoS than the other broker takes crosses with the QoS it takes.
//! - Where the Session at one side is new and the one at the other side is not, the receiver may still hold Packet
//!   Identifiers of QoS 2 messages of an earlier Session, and would take a new message for a repeat. So each
//!   identifier is released (PUBREL) before its first use. Where both Sessions are there, the sender may have come back
//!   from an older snapshot of its store, and not know any more that it had used an identifier. A repeat has DUP [v5
//!   MQTT-3.3.1-1], so of the identifiers that the receiver may hold, one that comes without DUP is released first.
//! - A broker before v5 cannot refuse a QoS 2 message in PUBREC, so the rest of its way is answered here.

use super::client::Client;
use super::event::{Counts, Side, Why};
use super::loops::Loops;
use super::mapping::Way;
use super::retained::Retained;
use super::terms::Terms;
use crate::limits;
use crate::time::Time;
use crate::wire::property::{Properties, Property};
use crate::wire::{
    Ack, AckKind, Delivery, PacketId, Publish, QoS, ReasonCode, TopicName, Version, append_ack,
};
use std::collections::{BTreeMap, BTreeSet};

/// User Property of v5 messages: how many bridges a message has crossed.
const HOPS: &str = "mqttfast-hops";

/// Why a packet ends the connections.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Stop {
    /// It broke a rule.
    Because(Why),
    /// It goes round.
    Loop {
        /// Its Topic Name here.
        topic: Box<str>,
        /// The line that it came by.
        line: usize,
    },
}

impl From<Why> for Stop {
    fn from(why: Why) -> Stop {
        Stop::Because(why)
    }
}

/// Of the messages that one side sends.
#[derive(Default, Debug)]
struct Flow {
    /// QoS 2 messages answered here with PUBREC, whose PUBREL is answered here too.
    ended: BTreeSet<PacketId>,
    /// QoS 2 messages that crossed with QoS 1.
    lowered: BTreeSet<PacketId>,
    /// Identifiers that the receiver may hold from an earlier Session of the sender.
    stale: Ids,
    /// Identifiers that the receiver may hold and the sender may have forgotten.
    doubtful: Ids,
    /// PUBCOMP of these answers a PUBREL of ours.
    released: BTreeMap<PacketId, u32>,
    /// On their way and not answered to the end.
    under_way: BTreeMap<PacketId, UnderWay>,
    /// Bytes of their packets.
    under_way_bytes: usize,
}

/// One of them.
#[derive(Clone, Copy, Debug)]
struct UnderWay {
    /// With which it crossed.
    qos: QoS,
    /// Its PUBREL has crossed.
    released: bool,
    packet_bytes: usize,
}

/// Packet Identifiers, a bit each; empty: none.
#[derive(Default, Debug)]
struct Ids(Vec<u64>);

/// One bit for each Packet Identifier, and one for 0.
const ID_WORDS: usize = (1 << 16) / 64;

impl Ids {
    fn all() -> Ids {
        Ids(vec![u64::MAX; ID_WORDS])
    }

    fn place(id: PacketId) -> (usize, u64) {
        (usize::from(id.get()) / 64, 1 << (id.get() % 64))
    }

    fn insert(&mut self, id: PacketId) {
        let (word, bit) = Ids::place(id);
        self.0.resize(ID_WORDS, 0);
        self.0[word] |= bit;
    }

    /// `true`: it was there.
    fn take(&mut self, id: PacketId) -> bool {
        let (word, bit) = Ids::place(id);
        let Some(word) = self.0.get_mut(word) else {
            return false;
        };
        let was_there = *word & bit != 0;
        *word &= !bit;
        was_there
    }
}

impl Flow {
    fn begin(&mut self, id: PacketId, qos: QoS, packet_bytes: usize) {
        self.end(id);
        let released = false;
        self.under_way.insert(
            id,
            UnderWay {
                qos,
                released,
                packet_bytes,
            },
        );
        self.under_way_bytes += packet_bytes;
    }

    fn end(&mut self, id: PacketId) {
        if let Some(ended) = self.under_way.remove(&id) {
            self.under_way_bytes -= ended.packet_bytes;
        }
    }

    /// This acknowledgement of the receiver may follow what it has of this message. An acknowledgement of what is not
    /// under way may always come: it is of an earlier connection.
    fn may_follow(&self, kind: AckKind, id: PacketId) -> bool {
        let Some(UnderWay { qos, released, .. }) = self.under_way.get(&id) else {
            return true;
        };
        match (kind, qos) {
            (AckKind::PubAck, QoS::AtLeastOnce) | (AckKind::PubRec, QoS::ExactlyOnce) => true,
            (AckKind::PubComp, QoS::ExactlyOnce) => *released || self.released.contains_key(&id),
            (AckKind::PubRel, _) => true,
            _ => false,
        }
    }

    /// `true`: the receiver may hold this identifier of another message than this one.
    fn take_held(&mut self, id: PacketId, dup: bool) -> bool {
        let (stale, doubtful) = (self.stale.take(id), self.doubtful.take(id));
        stale || doubtful && !dup
    }

    /// A connection begins; the Sessions of sender and receiver were there or not. `first`: of this process, which does
    /// not know what the receiver holds.
    fn begin_connection(&mut self, from: bool, to: bool, first: bool) {
        let under_way = std::mem::take(&mut self.under_way);
        self.under_way_bytes = 0;
        self.released.clear();
        if !from {
            self.ended.clear();
            self.lowered.clear();
        }
        match (from, to) {
            (_, false) => (self.stale, self.doubtful) = Default::default(),
            (false, true) => (self.stale, self.doubtful) = (Ids::all(), Ids::default()),
            (true, true) if first => self.doubtful = Ids::all(),
            (true, true) => {
                let held = under_way
                    .into_iter()
                    .filter(|(_, of)| of.qos == QoS::ExactlyOnce);
                held.for_each(|(id, _)| self.doubtful.insert(id));
            }
        }
    }
}

/// Both clients, and what is between them.
#[derive(Debug)]
pub struct Relay {
    /// At this broker.
    pub local: Client,
    /// At the other broker.
    pub remote: Client,
    /// What has crossed.
    pub counts: Counts,
    /// Messages of this broker.
    outward: Flow,
    /// Messages of the other broker.
    inward: Flow,
    /// What it has written here.
    pub retained: Retained,
    /// When a message crossed last.
    pub crossed: Time,
    /// The largest QoS 0 message for the other broker since it had taken all.
    largest: usize,
    name: String,
    passed_on: Vec<u8>,
}

impl Relay {
    /// Not connected.
    pub fn new(terms: &Terms) -> Relay {
        let local_max = limits::PACKET_BYTES_MAX_MOST;
        let (version, most) = (terms.version, terms.packet_bytes_max);
        Relay {
            local: Client::new(Version::V5, local_max, 0),
            remote: Client::new(version, most, terms.bridge.keep_alive_s),
            counts: Counts::default(),
            outward: Flow::default(),
            inward: Flow::default(),
            retained: Retained::new(terms.bridge.retain_deletions),
            crossed: Time(0),
            largest: 0,
            name: String::new(),
            passed_on: Vec::new(),
        }
    }

    /// The client of this side.
    pub fn client(&mut self, side: Side) -> &mut Client {
        match side {
            Side::Local => &mut self.local,
            Side::Remote => &mut self.remote,
        }
    }

    /// Both are connected. Each side says whether its broker has kept our Session.
    pub fn begin(&mut self, local_present: bool, remote_present: bool, now: Time) {
        self.crossed = now;
        self.retained.begin();
        let first = self.counts.connects == 0;
        self.counts.connects += 1;
        self.outward
            .begin_connection(local_present, remote_present, first);
        self.inward
            .begin_connection(remote_present, local_present, first);
    }

    /// Messages of the other broker are not acknowledged to the end.
    pub fn is_inward_under_way(&self) -> bool {
        !self.inward.under_way.is_empty()
    }

    /// Deletes a retained message here.
    pub fn delete_here(&mut self, topic: &str) {
        self.counts.deleted += 1;
        Delivery {
            dup: false,
            qos: QoS::AtMostOnce,
            retain: true,
            topic,
            packet_id: None,
            topic_alias: None,
            message_expiry_interval_s: None,
            subscription_identifiers: &[],
            passed_on: &[],
            payload_bytes: 0,
        }
        .append_head(self.local.version, self.local.outgoing.bytes());
    }

    /// QoS 1 and 2 messages under way, in both directions.
    pub fn under_way(&self) -> usize {
        self.outward.under_way.len() + self.inward.under_way.len()
    }

    /// Packets of this side must wait, because the other side has no room for what they bring.
    pub fn is_full(&self, from: Side) -> bool {
        match from {
            // What this broker sends is bounded by the window of its Session; QoS 0 is dropped instead.
            Side::Local => false,
            // This broker takes as many QoS 1 and 2 messages as there are Packet Identifiers, so what brings its
            // answers on is never behind a message that waits.
            Side::Remote => self.local.outgoing.unsent().len() > limits::BRIDGE_UNSENT_BYTES_MAX,
        }
    }

    /// The other broker sends and does not read: answers to its packets pile up, or it acknowledges what it has not
    /// taken yet.
    pub fn is_unread(&self) -> bool {
        let most = self.outward.under_way_bytes + self.largest + limits::BRIDGE_UNREAD_BYTES_MAX;
        self.remote.outgoing.unsent().len() > most
    }

    /// A PUBLISH has come from this side.
    pub fn publish(
        &mut self,
        from: Side,
        publish: &Publish<'_>,
        terms: &Terms,
        loops: &mut Loops,
        now: Time,
    ) -> Result<(), Stop> {
        self.crossed = now;
        match from {
            Side::Local => self.publish_out(publish, terms, loops, now),
            Side::Remote => self.publish_in(publish, terms, loops, now),
        }
    }

    fn publish_out(
        &mut self,
        publish: &Publish<'_>,
        terms: &Terms,
        loops: &mut Loops,
        now: Time,
    ) -> Result<(), Stop> {
        let Some(topic) = publish.topic.map(TopicName::as_str) else {
            return Err(Why::TopicAlias.into());
        };
        let Some(line) = terms.mapping.map(Way::Out, topic, &mut self.name) else {
            self.end_unmapped(Side::Local, publish);
            return Ok(());
        };
        let hops = self.pass_on(publish);
        if hops >= limits::BRIDGE_HOPS_MAX {
            let topic = topic.into();
            return Err(Stop::Loop { topic, line });
        }
        if self.remote.version == Version::V5 {
            let hops = (hops + 1).to_string();
            Property::UserProperty((HOPS, &hops)).append(&mut self.passed_on);
        }
        let qos = publish.qos.min(self.remote.takes.qos_max);
        let unsent = self.remote.outgoing.unsent().len();
        // What was lowered to QoS 0 as well: it is acknowledged here, so no window bounds it.
        if qos == QoS::AtMostOnce && unsent > limits::BRIDGE_UNSENT_BYTES_MAX {
            self.counts.dropped += 1;
            self.end_here(Side::Local, publish);
            return Ok(());
        }
        if unsent == 0 {
            self.largest = 0;
        }
        let retain = publish.retain && terms.bridge.outgoing_retain && self.remote.takes.retain;
        if !self.append(Side::Remote, publish, qos, retain) {
            self.end_unmapped(Side::Local, publish);
            return Ok(());
        }
        self.counts.out += 1;
        if qos < publish.qos {
            match qos {
                QoS::AtMostOnce => self.end_here(Side::Local, publish),
                _ => self.outward.lowered.extend(publish.packet_id),
            }
        }
        loops.on_out(loops.key(topic, publish.payload), terms.is_echoed(), now);
        Ok(())
    }

    fn publish_in(
        &mut self,
        publish: &Publish<'_>,
        terms: &Terms,
        loops: &mut Loops,
        now: Time,
    ) -> Result<(), Stop> {
        let version = self.remote.version;
        let topic = publish.topic.map(TopicName::as_str);
        let alias = publish.properties.topic_alias;
        let topic = self.remote.name(topic, alias)?;
        if let Some(id) = publish.packet_id
            && version == Version::V5
            && self.inward.under_way.len() >= usize::from(terms.bridge.receive_maximum)
            && !self.inward.under_way.contains_key(&id)
        {
            return Err(Why::ReceiveMaximum.into());
        }
        let Some(line) = terms.mapping.map(Way::In, topic, &mut self.name) else {
            self.end_unmapped(Side::Remote, publish);
            return Ok(());
        };
        if loops.on_in(loops.key(&self.name, publish.payload), now) {
            let topic = self.name.as_str().into();
            return Err(Stop::Loop { topic, line });
        }
        self.passed_on.clear();
        publish.properties.append_passed_on(&mut self.passed_on);
        if !self.append(Side::Local, publish, publish.qos, publish.retain) {
            self.retained.on_too_large(&self.name, publish.retain);
            self.end_unmapped(Side::Remote, publish);
            return Ok(());
        }
        self.counts.comes_in += 1;
        self.retained
            .on_in(&self.name, publish.payload, publish.retain);
        Ok(())
    }

    /// Copies the properties that are passed on, without the count of hops, which is given back.
    fn pass_on(&mut self, publish: &Publish<'_>) -> u32 {
        self.passed_on.clear();
        publish.properties.append_passed_on(&mut self.passed_on);
        let (mut at, mut found) = (0, None);
        for (property, bytes) in Properties::new(&self.passed_on) {
            if let Property::UserProperty((HOPS, hops)) = property {
                found = Some((at..at + bytes.len(), hops.parse().unwrap_or(0)));
            }
            at += bytes.len();
        }
        found.map_or(0, |(range, hops)| {
            self.passed_on.drain(range);
            hops
        })
    }

    /// Appends the message, renamed, to what goes to this side. `false`: it is too large for it.
    fn append(&mut self, to: Side, publish: &Publish<'_>, qos: QoS, retain: bool) -> bool {
        let (client, flow) = match to {
            Side::Remote => (&mut self.remote, &mut self.outward),
            Side::Local => (&mut self.local, &mut self.inward),
        };
        let alias = client.alias(&self.name);
        let mut delivery = Delivery {
            dup: publish.dup && qos != QoS::AtMostOnce,
            qos,
            retain,
            topic: match alias {
                Some((_, true)) => "",
                _ => &self.name,
            },
            packet_id: publish.packet_id.filter(|_| qos != QoS::AtMostOnce),
            topic_alias: alias.map(|(alias, _)| alias),
            message_expiry_interval_s: publish.properties.message_expiry_interval_s,
            subscription_identifiers: &[],
            passed_on: &self.passed_on,
            payload_bytes: publish.payload.len(),
        };
        let packet_bytes = delivery.packet_bytes(client.version);
        if packet_bytes > client.takes.packet_bytes_max {
            if alias.is_some_and(|(_, known)| !known) {
                client.forget_last_alias();
            }
            return false;
        }
        if let Some(id) = delivery.packet_id {
            if qos == QoS::ExactlyOnce && flow.take_held(id, publish.dup) {
                let out = client.outgoing.bytes();
                append_ack(
                    AckKind::PubRel,
                    client.version,
                    id,
                    ReasonCode::SUCCESS,
                    out,
                );
                *flow.released.entry(id).or_default() += 1;
                delivery.dup = false;
            }
            flow.ended.remove(&id);
            flow.lowered.remove(&id);
            flow.begin(id, qos, packet_bytes);
        } else if to == Side::Remote {
            self.largest = self.largest.max(packet_bytes);
        }
        let version = client.version;
        let out = client.outgoing.bytes();
        delivery.append_head(version, out);
        out.extend_from_slice(publish.payload);
        true
    }

    /// No line maps this message, or it is too large for the other side.
    fn end_unmapped(&mut self, from: Side, publish: &Publish<'_>) {
        self.counts.unmapped += 1;
        self.end_here(from, publish);
    }

    /// Acknowledges a message that goes no further.
    fn end_here(&mut self, from: Side, publish: &Publish<'_>) {
        let Some(id) = publish.packet_id else {
            return;
        };
        let kind = match publish.qos {
            QoS::AtMostOnce => return,
            QoS::AtLeastOnce => AckKind::PubAck,
            QoS::ExactlyOnce => {
                self.flow(from).ended.insert(id);
                AckKind::PubRec
            }
        };
        self.flow(from).end(id);
        self.answer(from, kind, id, ReasonCode::SUCCESS);
    }

    /// Of the messages that this side sends.
    fn flow(&mut self, from: Side) -> &mut Flow {
        match from {
            Side::Local => &mut self.outward,
            Side::Remote => &mut self.inward,
        }
    }

    fn answer(&mut self, to: Side, kind: AckKind, id: PacketId, reason: ReasonCode) {
        let client = self.client(to);
        append_ack(kind, client.version, id, reason, client.outgoing.bytes());
    }

    /// PUBACK, PUBREC, PUBREL or PUBCOMP has come from this side.
    ///
    /// Errors: the other broker acknowledges a message by a packet that may not follow what it had of it. [v5 4.3]
    pub fn acknowledge(&mut self, from: Side, kind: AckKind, ack: &Ack<'_>) -> Result<(), Why> {
        let (id, to) = (ack.packet_id, from.other());
        // PUBREL is of a message that this side has sent, the others of one that was sent to it.
        let flow = match kind {
            AckKind::PubRel => self.flow(from),
            _ => self.flow(to),
        };
        if from == Side::Remote && !flow.may_follow(kind, id) {
            return Err(Why::Unexpected(kind.packet_type()));
        }
        match kind {
            AckKind::PubAck => {
                flow.end(id);
                let lowered = flow.lowered.remove(&id);
                self.counts.refused += u64::from(ack.reason.is_failure());
                if lowered {
                    self.flow(to).ended.insert(id);
                    self.answer(to, AckKind::PubRec, id, ReasonCode::SUCCESS);
                } else {
                    self.answer(to, kind, id, ack.reason);
                }
            }
            AckKind::PubRec if ack.reason.is_failure() => {
                flow.end(id);
                self.counts.refused += 1;
                if self.client(to).version != Version::V5 {
                    self.flow(to).ended.insert(id);
                }
                self.answer(to, kind, id, ack.reason);
            }
            AckKind::PubRec => self.answer(to, kind, id, ack.reason),
            AckKind::PubRel => {
                let ended = flow.ended.remove(&id);
                if let Some(under_way) = flow.under_way.get_mut(&id) {
                    under_way.released = true;
                }
                // A broker that takes no QoS 2 has no such message, whatever an older one had.
                let taken = self.client(to).takes.qos_max == QoS::ExactlyOnce;
                if ended || !taken {
                    self.flow(from).end(id);
                    self.answer(from, AckKind::PubComp, id, ReasonCode::SUCCESS);
                } else {
                    self.answer(to, kind, id, ack.reason);
                }
            }
            AckKind::PubComp => {
                if let Some(count) = flow.released.get_mut(&id) {
                    *count -= 1;
                    if *count == 0 {
                        flow.released.remove(&id);
                    }
                    return Ok(());
                }
                flow.end(id);
                self.answer(to, kind, id, ack.reason);
            }
        }
        Ok(())
    }
}
