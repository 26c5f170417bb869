//! What a store gives back at the start: the Sessions of one shard, what they had subscribed to and were owed, and
//! retained messages. Plain values, so that a store can make them without knowing the shard; times are seconds left.
//!
//! A shard gets the parts in chunks, before its first connection, each kind in this order: head, Sessions, their
//! subscriptions, messages, deliveries in flight (in the order of their first sending), queued deliveries (by rising
//! number), received Packet Identifiers, wills, retained messages. What names a Session or a message comes after it.

use super::passing::RetainVersion;
use crate::ids::{Passage, StoredSession};
use crate::wire::{PacketId, QoS, SubscriptionOptions};

/// Some of it.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Restored {
    /// In the order above.
    pub parts: Vec<RestoredPart>,
    /// Nothing follows.
    pub last: bool,
}

/// One part.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RestoredPart {
    /// Of the whole store, for every shard.
    Head(RestoredHead),
    /// A Session whose home is this shard, by [`home_of`](super::home_of) its client id.
    Session(RestoredSession),
    /// A subscription of a Session that came before it, ordinary or shared.
    Subscription {
        /// Whose it is.
        session: StoredSession,
        /// The whole text, `$share/…` included.
        filter: Box<str>,
        /// As they were granted.
        options: SubscriptionOptions,
        /// Subscription Identifier, v5 only.
        identifier: Option<u32>,
    },
    /// A message that deliveries of this shard name.
    Message {
        /// Any number; each comes once to a shard.
        id: u64,
        /// What was published.
        message: RestoredMessage,
    },
    /// A delivery that was sent. Without `delivery`: PUBREC came, so PUBREL is sent again.
    InFlight {
        /// Whose window it is in.
        session: StoredSession,
        /// Under which it was sent.
        packet_id: PacketId,
        /// What is sent again.
        delivery: Option<RestoredDelivery>,
    },
    /// A delivery that was not sent.
    Queued {
        /// Whose queue it is in.
        session: StoredSession,
        /// What is sent.
        delivery: RestoredDelivery,
    },
    /// A QoS 2 message of the Client was received and not released yet.
    Received {
        /// The publisher's Session.
        session: StoredSession,
        /// As its PUBLISH said.
        packet_id: PacketId,
        /// It crossed, and perhaps not all of what followed is kept.
        passage: Option<Passage>,
    },
    /// A Session of this shard has the delivery of a passage that some shard was told of by `Received`. Or `session` is
    /// the passage itself: its retained message is written, and the shard that was told of `Received` hears it. Or a
    /// group: one of its members has it, and every shard hears it.
    Passed {
        /// Its name.
        passage: Passage,
        /// Who has it.
        session: StoredSession,
    },
    /// A retained message, given to one shard: [`home_of`](super::home_of) its topic. That shard tells the others.
    Retained {
        /// What its topic has.
        message: RestoredMessage,
        /// Of its write.
        version: RetainVersion,
    },
    /// The will of a Client without a stored Session, whose home is this shard.
    Will {
        /// By which the store knows it.
        session: StoredSession,
        /// Of the Client.
        client_id: Box<str>,
        /// The checked user of the Client.
        user_name: Option<Box<str>>,
        /// Not published yet.
        will: RestoredWill,
    },
}

/// What numbers and clocks start above.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct RestoredHead {
    /// The highest counter of a [`StoredSession`] ever given, on any shard.
    pub session_counter: u64,
    /// The highest number of a delivery ever given.
    pub delivery_number: u64,
    /// The highest clock of a [`RetainVersion`].
    pub retain_clock: u64,
    /// The power went, and took what was acknowledged last.
    pub window_lost: bool,
}

/// A Session without a connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RestoredSession {
    /// Its name, which it keeps.
    pub session: StoredSession,
    /// By which its Client finds it.
    pub client_id: Box<str>,
    /// The checked user who owns it.
    pub user_name: Option<Box<str>>,
    /// The owner is only said to be that user: another one is not refused, and gets a Session of its own.
    pub is_claim: bool,
    /// Seconds, never 0.
    pub expiry_interval_s: u32,
    /// `u32::MAX`: it never ends.
    pub ends_in_s: u32,
    /// Not published yet.
    pub will: Option<RestoredWill>,
}

/// A will that was not published.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RestoredWill {
    /// It does not expire before it is published.
    pub message: RestoredMessage,
    /// Will Delay Interval.
    pub delay_interval_s: u32,
    /// Message Expiry Interval, counted from publication.
    pub message_expiry_interval_s: Option<u32>,
    /// `None`: its Client was connected when the broker ended.
    pub due_in_s: Option<u32>,
}

/// An Application Message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RestoredMessage {
    /// A Topic Name.
    pub topic: Box<str>,
    /// v5 properties that are passed on.
    pub passed_on: Box<[u8]>,
    /// Any bytes.
    pub payload: Box<[u8]>,
    /// As published.
    pub qos: QoS,
    /// As published.
    pub retain: bool,
    /// What is left of its Message Expiry Interval; `None` without one.
    pub expires_in_s: Option<u32>,
}

/// A delivery at QoS 1 or 2.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RestoredDelivery {
    /// Its number in the Session.
    pub number: u64,
    /// The `id` of its message.
    pub message: u64,
    /// 1 or 2.
    pub qos: QoS,
    /// RETAIN of the delivery.
    pub retain: bool,
    /// Subscription Identifiers.
    pub identifiers: Vec<u32>,
}
