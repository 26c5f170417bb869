//! What a store must know: every change of a Session that outlives its connection, and of a retained message, in the
//! order it was made.
//!
//! A shard makes them only where its settings say that there is a store. The changes of a turn leave as one
//! `Output::Changes` with a number, and `Input::Kept` says up to which number the store has kept them. An answer that
//! confirms a change to a Client waits until the change is kept (`clients::held`).
//!
//! A Session is named by the number it got when it was first stored, which survives restarts. Nothing is noted of a
//! Session that ends with its connection (Session Expiry Interval 0), but for its will.
//!
//! A delivery is named by its Session and its number there: numbers rise in the order of delivery, and go on rising
//! after a restart. From when it is sent, its Packet Identifier names it too.

use super::passing::RetainVersion;
use crate::ids::{Passage, StoredSession};
use crate::session::queue::Identifiers;
use crate::session::{Message, StoredWill};
use crate::time::Time;
use crate::wire::{PacketId, QoS, SubscriptionOptions};
use std::rc::Rc;

/// One change.
#[derive(Clone, Debug)]
pub enum Change {
    /// The Session began, or one of these fields has changed. It is stored from its beginning on, or never.
    Session {
        /// Its name in all changes that follow, and after a restart.
        session: StoredSession,
        /// By which its Client finds it again.
        client_id: Box<str>,
        /// The checked user who owns it.
        user_name: Option<Box<str>>,
        /// Seconds; never 0. `u32::MAX`: it never ends.
        expiry_interval_s: u32,
        /// A connection has it.
        connected: bool,
        /// When the Session ends, while no connection has it.
        ends: Time,
        /// `None`: there is none any more. Its Message Expiry Interval and its Will Delay Interval have not begun.
        will: Option<Box<StoredWill>>,
        /// When the will is published, while no connection has the Session.
        will_due: Time,
    },
    /// The Session ended: the store forgets all of it.
    SessionEnded {
        /// Its name is never used again.
        session: StoredSession,
    },
    /// A Client has a will with a Session that is not stored. If the broker ends before `WillGone`, the next one
    /// publishes the will, unless the Client comes back soon.
    WillSet {
        /// It names the will alone.
        session: StoredSession,
        /// Of the Client.
        client_id: Box<str>,
        /// The checked user of the Client.
        user_name: Option<Box<str>>,
        /// As CONNECT brought it.
        will: Box<StoredWill>,
    },
    /// That will was published or taken back.
    WillGone {
        /// As `WillSet` named it.
        session: StoredSession,
    },
    /// `filter` is the whole text, `$share/…` included. It replaces an earlier subscription to the same filter.
    Subscribed {
        /// It began by a change before this one.
        session: StoredSession,
        /// 1..=65,535 bytes.
        filter: Box<str>,
        /// QoS and the v5 options; before v5 QoS alone.
        options: SubscriptionOptions,
        /// Subscription Identifier, v5 only.
        identifier: Option<u32>,
    },
    /// The Client has unsubscribed from `filter`.
    Unsubscribed {
        /// It goes on without this subscription.
        session: StoredSession,
        /// The whole text, as it was subscribed.
        filter: Box<str>,
    },
    /// A delivery joined the end of the Session's queue.
    Queued {
        /// Whose queue it is in.
        session: StoredSession,
        /// Unique in the Session; rises with each delivery.
        number: u64,
        /// What is delivered.
        delivery: StoredDelivery,
    },
    /// A delivery left the queue unsent: it has expired, or another member of its group has taken it. The shard of that
    /// member says so together with its own delivery, so that a crash neither loses nor doubles the message.
    Unqueued {
        /// Whose queue it was in. Of another shard it may have ended.
        session: StoredSession,
        /// As `Queued` named it.
        number: u64,
    },
    /// A delivery is in flight.
    Sent {
        /// Whose window it is in.
        session: StoredSession,
        /// Its name in the changes that follow.
        packet_id: PacketId,
        /// As `Queued` named it, or new. Deliveries are sent in the order of their numbers.
        number: u64,
        /// It was in the queue, and `delivery` is what `Queued` said.
        queued: bool,
        /// Kept for a resend until the delivery is done or released.
        delivery: StoredDelivery,
    },
    /// PUBREC came: from now on PUBREL is sent again, not the message.
    Released {
        /// Whose window it is in.
        session: StoredSession,
        /// As `Sent` named it.
        packet_id: PacketId,
    },
    /// A delivery is complete.
    Done {
        /// Whose window it was in.
        session: StoredSession,
        /// As `Sent` named it; free for another delivery.
        packet_id: PacketId,
    },
    /// A QoS 2 message of the Client was received.
    Received {
        /// The publisher's Session.
        session: StoredSession,
        /// As its PUBLISH said: a repeat is not delivered again.
        packet_id: PacketId,
        /// The message crosses to other shards, whose changes are kept at other times. After a restart its repeat goes
        /// to those Sessions that do not have it, by `Passed`.
        passage: Option<Passage>,
    },
    /// The Session was given a QoS 1 or 2 delivery of this passage, by the change before this one. To be forgotten when
    /// the passage ends, by `ReceivedReleased` or with the publisher's Session.
    ///
    /// Or its retained message is written: then `session` is the passage itself. A repeat does not write it again,
    /// because it would replace a newer one. Or a stored member of a group has it for the group, which then is named by
    /// [`StoredSession::of_group`]: a repeat does not go to another member.
    Passed {
        /// As `Received` named it, or will: that is a change of another shard.
        passage: Passage,
        /// Who has it.
        session: StoredSession,
    },
    /// The Packet Identifier of a received QoS 2 message is free again.
    ReceivedReleased {
        /// The publisher's Session.
        session: StoredSession,
        /// As `Received` named it.
        packet_id: PacketId,
    },
    /// `message` is the retained message of its topic. One shard notes the writes of a topic, in the order of their
    /// versions.
    Retained {
        /// Replaces what its topic had. Its QoS is the one it was published with.
        message: Rc<Message>,
        /// Which of two writes is the newer.
        version: RetainVersion,
    },
    /// The topic has no retained message any more.
    RetainedDeleted {
        /// The Topic Name.
        topic: Box<str>,
        /// Which of two writes is the newer.
        version: RetainVersion,
        /// Of the message that deleted it; 0 where the retained message has expired.
        qos: QoS,
    },
}

/// What a Session is sent at QoS 1 or 2.
///
/// The group of a Shared Subscription is left out: after a restart the delivery belongs to its Session alone.
#[derive(Clone, Debug)]
pub struct StoredDelivery {
    /// Many deliveries of one turn may share it.
    pub message: Rc<Message>,
    /// 1 or 2: QoS 0 is never stored.
    pub qos: QoS,
    /// RETAIN of the delivery; a resend says the same.
    pub retain: bool,
    /// Subscription Identifiers.
    pub identifiers: Identifiers,
}

/// The changes an owner has made and the shard has not yet taken.
#[derive(Default)]
pub(super) struct Changes {
    /// There is a store.
    wanted: bool,
    list: Vec<Change>,
    /// How many were ever noted.
    noted: u64,
}

impl Changes {
    pub fn new(wanted: bool) -> Changes {
        Changes {
            wanted,
            list: Vec::new(),
            noted: 0,
        }
    }

    /// There is a store.
    #[inline]
    pub fn are_wanted(&self) -> bool {
        self.wanted
    }

    /// Notes a change. Without a store, `change` is never called.
    #[inline]
    pub fn note(&mut self, change: impl FnOnce() -> Change) {
        if self.wanted {
            self.list.push(change());
            self.noted += 1;
        }
    }

    /// A delivery has left the queue unsent; nothing, if the store keeps nothing of its Session.
    pub fn note_unqueued(&mut self, session: Option<StoredSession>, number: u64) {
        if let Some(session) = session {
            self.note(|| Change::Unqueued { session, number });
        }
    }

    /// How many there are.
    #[inline]
    pub fn count(&self) -> usize {
        self.list.len()
    }

    /// How many were ever noted.
    #[inline]
    pub fn noted(&self) -> u64 {
        self.noted
    }

    /// Takes all.
    pub fn take(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.list)
    }
}
