//! A message on its way: what is routed, from whom, to whom. This file has types alone; other files act on them.

use crate::ids::{ConnectionId, Passage, SessionId, ShardId, StoredSession};
use crate::limits;
use crate::session::queue::{Extras, Identifiers, Share};
use crate::session::{Connection, Message};
use crate::time::Time;
use crate::wire::publish::PACKET_BYTES_MAX;
use crate::wire::{
    AckKind, Malformed, PacketId, Publish, QoS, Run, SubscriptionOptions, TopicName, Version,
};
use std::rc::Rc;

/// A delivery of a group that its member has given back, as the store names it. The store keeps it until the shard that
/// the message has come to says what became of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GivenBack {
    pub session: StoredSession,
    pub number: u64,
}

/// Of a `Deliver` that found its member gone. It is settled, but the message is under way again.
#[derive(Clone, Copy, Debug)]
pub struct Came {
    /// Its number among those with `needs`; `None`: it had none.
    pub number: Option<u64>,
    /// As that of the message.
    pub passage: Option<Passage>,
}

/// What a member of a group gives back.
pub struct Returned {
    pub share: Share,
    pub message: Rc<Message>,
    /// `None`: the store knows nothing of it.
    pub given_back: Option<GivenBack>,
    /// It was not taken at all.
    pub came: Option<Came>,
}

/// A message of the broker's own, made by a helper thread: `$SYS`, presence and the like. Its Topic Name may be one
/// that Clients may not publish to.
#[derive(Debug)]
pub struct OwnMessage(pub(super) Message);

impl OwnMessage {
    /// Copies the parts. With `retain` it replaces the retained message of its topic, or deletes it by an empty
    /// payload.
    ///
    /// Errors: `topic` is no Topic Name [v3.1.1 4.7, v5 4.7]; `PacketTooLarge`: no packet could hold it.
    pub fn new(
        topic: &str,
        payload: &[u8],
        qos: QoS,
        retain: bool,
    ) -> Result<OwnMessage, Malformed> {
        let name = TopicName::new(topic)?;
        if topic.len() + payload.len() > PACKET_BYTES_MAX {
            return Err(Malformed::PacketTooLarge);
        }
        let message = Message::new(name, &[], payload, qos, retain, Time::NEVER);
        Ok(OwnMessage(message))
    }

    /// The same message, which is delivered to nobody from `expires` on. [v5 3.3.2.3.3]
    pub fn expiring(self, expires: Time) -> OwnMessage {
        OwnMessage(self.0.expiring(expires))
    }
}

/// Orders two writes of one retained message: the higher wins, on every shard alike.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct RetainVersion {
    /// Lamport clock of the writing shard, which is not behind the calendar's, see [`RetainVersion::written_s`].
    pub clock: u64,
    /// Tells writes with equal clocks apart.
    pub shard: ShardId,
}

impl RetainVersion {
    /// The least clock of a write in this second since 1970. More than 2^20 writes within a second, which no shard has,
    /// would only look a little younger.
    pub fn clock_at(unix_s: u64) -> u64 {
        // A clock that is set beyond 2106 is wrong, and must leave room for writes.
        unix_s.min(u32::MAX.into()) << limits::RETAIN_CLOCK_BITS
    }

    /// When it was written, in seconds since 1970. `None`: by a machine whose clock was not set, or by a Mosquitto.
    pub fn written_s(self) -> Option<u64> {
        let written_s = self.clock >> limits::RETAIN_CLOCK_BITS;
        (written_s >= limits::CALENDAR_LEAST_S).then_some(written_s)
    }
}

/// A message on its way through the shard.
pub(super) struct Routing<'a> {
    pub topic: TopicName<'a>,
    /// v5 property bytes that are passed on.
    pub passed_on: &'a [u8],
    pub payload: &'a [u8],
    pub qos: QoS,
    pub retain: bool,
    pub expires: Time,
    /// The publisher's packets, if they can be sent on without a new encoding. More than one are a run, whose first
    /// message this is.
    pub verbatim: Option<Verbatim<'a>>,
    /// The message in a form that outlives the turn; made when first needed.
    pub message: Option<Rc<Message>>,
    /// The Session that published it, where that is one of this shard.
    pub publisher: Option<SessionId>,
}

impl Routing<'_> {
    /// Messages in it: those of a run, else one.
    pub fn packets(&self) -> u32 {
        self.verbatim.map_or(1, |verbatim| verbatim.run.packets)
    }

    /// Outboxes reference a part of the message that has so many bytes: its Topic Name, Properties or payload. A
    /// smaller one is copied into each of them. So no message costs a copy of [`limits::PAYLOAD_SHARED_FROM_BYTES`] for
    /// each of its subscribers.
    #[inline]
    pub fn references(&self, part_bytes: usize) -> bool {
        let bytes = self.topic.as_str().len() + self.passed_on.len() + self.payload.len();
        bytes >= limits::PAYLOAD_SHARED_FROM_BYTES && part_bytes >= limits::PART_SHARED_FROM_BYTES
    }

    /// The message in a form that outlives the turn.
    pub fn message(&mut self) -> &Rc<Message> {
        let message = match self.message.take() {
            Some(message) => message,
            None => Rc::new(self.new_message()),
        };
        self.message.insert(message)
    }

    /// A copy of it.
    pub fn new_message(&self) -> Message {
        Message::new(
            self.topic,
            self.passed_on,
            self.payload,
            self.qos,
            self.retain,
            self.expires,
        )
    }
}

/// What became of a message on its way to its subscribers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Routed {
    /// At least one subscriber got it, will get it, or declined it.
    Taken,
    /// It went to peers that have subscribers.
    Crossed,
    /// There is no subscriber anywhere.
    Nobody,
    /// There are subscribers, but no room at any of them.
    Refused,
    /// The rules do not let its publisher write it: it went nowhere.
    Denied,
    /// Memory is short and its publisher has had a fair share: it went nowhere.
    OverShare,
    /// Larger than the operator allows: it went nowhere.
    TooLarge,
    /// It would be stored, and the store has no room: it went nowhere.
    StoreFull,
}

/// PUBACK or PUBREC to come, for a PUBLISH that has crossed to peers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Acknowledgement {
    pub connection: ConnectionId,
    pub session: SessionId,
    pub kind: AckKind,
    pub version: Version,
    pub packet_id: PacketId,
}

/// Who published.
#[derive(Clone, Copy)]
pub(super) struct Origin {
    /// The publisher's Session, if its home is here. [v5 No Local]
    pub session: Option<SessionId>,
    /// The connection to pace, and its shard.
    pub connection: Option<(ShardId, ConnectionId)>,
}

/// One subscriber of a routing, overlaps already joined: highest QoS, all identifiers. [v3.1.1 MQTT-3.3.5-1, v5
/// MQTT-3.3.4-2]
#[derive(Debug)]
pub(super) struct Target {
    pub session: SessionId,
    pub qos: QoS,
    pub retain_as_published: bool,
    pub identifiers: Identifiers,
}

/// A delivery's content, apart from its Packet Identifier.
pub(super) struct Sending<'a> {
    pub qos: QoS,
    pub dup: bool,
    pub retain: bool,
    pub identifiers: &'a [u32],
    /// The group it is delivered for, at QoS 1 and 2.
    pub share: Option<Share>,
    /// No other delivery of this routing has the same encoding, so none is kept.
    pub alone: bool,
}

impl Sending<'_> {
    pub fn extras(&self) -> Option<Box<Extras>> {
        (!self.identifiers.is_empty() || self.share.is_some()).then(|| {
            Box::new(Extras {
                identifiers: self.identifiers.into(),
                share: self.share,
            })
        })
    }
}

/// Packets that can be sent on without a new encoding: QoS 0, no flags, and no property that concerns the publisher
/// alone.
#[derive(Clone, Copy)]
pub(super) struct Verbatim<'a> {
    pub run: Run<'a>,
    /// 3.1 and 3.1.1 read the same.
    pub version: Version,
}

impl<'a> Verbatim<'a> {
    /// `run` begins with `publish`. `None` if the packet must be encoded anew, or is so large that parts of it are
    /// referenced.
    #[inline]
    pub fn of(version: Version, publish: &Publish<'_>, run: Run<'a>) -> Option<Verbatim<'a>> {
        let properties = &publish.properties;
        let topic_bytes = publish.topic?.as_str().len();
        (publish.qos == QoS::AtMostOnce
            && !publish.retain
            && !publish.dup
            // No Topic Alias, and no Message Expiry Interval, which a Server lowers. [v5 MQTT-3.3.2-6]
            && properties.passed_on_bytes == properties.raw.len()
            && topic_bytes + properties.raw.len() + publish.payload.len()
                < limits::PAYLOAD_SHARED_FROM_BYTES)
            .then_some(Verbatim { run, version })
    }

    /// Whether this Client can take the packets verbatim: the same version, no aliases, no packet size limit of its
    /// own.
    #[inline(always)]
    pub fn suits(&self, connection: &Connection) -> bool {
        let aliases = connection.aliases.as_ref();
        (self.version == Version::V5) == (connection.version == Version::V5)
            && aliases.is_none_or(|aliases| aliases.outward.is_none())
            && connection.packet_bytes_most() == PACKET_BYTES_MAX
    }
}

/// A subscriber of a Topic Filter on this shard: what the trie's answers name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Subscriber {
    Session(SessionId),
    /// A Shared Subscription that this shard owns, by the slot of its group. It leaves the trie before its slot is
    /// reused.
    Group(u32),
}
const _: () = assert!(size_of::<Subscriber>() == size_of::<SessionId>());

/// What the trie keeps for a subscriber of a filter: 8 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Subscription {
    pub options: SubscriptionOptions,
    /// Subscription Identifier, 0 for none. [v5 3.8.2.1.2]
    identifier: u32,
}

impl Subscription {
    pub fn new(options: SubscriptionOptions, identifier: Option<u32>) -> Subscription {
        Subscription {
            options,
            identifier: identifier.unwrap_or(0),
        }
    }

    pub fn identifier(&self) -> Option<u32> {
        (self.identifier != 0).then_some(self.identifier)
    }
}

/// A routing around a stored message.
pub(super) fn routing_of(message: &Rc<Message>) -> Routing<'_> {
    Routing {
        topic: TopicName::new(message.topic()).expect("it was a Topic Name when it came"),
        passed_on: message.passed_on(),
        payload: message.payload(),
        qos: message.qos,
        retain: message.retain,
        expires: message.expires(),
        verbatim: None,
        message: Some(Rc::clone(message)),
        publisher: None,
    }
}

pub(super) fn identifiers_of(extras: &Option<Box<Extras>>) -> &[u32] {
    extras.as_ref().map_or(&[], |extras| &extras.identifiers)
}
