//! What a store must know: every change of a Session that outlives its connection, and of a retained message, in the
//! order it was made.
//!
//! A shard makes them only where its settings say that there is a store. The changes of a turn leave as one
//! `Output::Changes` with a number, and `Input::Kept` says up to which number the store has kept them. An answer that
//! confirms a change to a Client waits until the change is kept (`clients::held`).
//!
//! A Session is named by its id in this shard, which no other Session has had. A queued delivery is named by a number,
//! a delivery in flight by its Packet Identifier.

use super::passing::RetainVersion;
use crate::ids::SessionId;
use crate::session::Message;
use crate::session::queue::Extras;
use crate::time::Time;
use crate::wire::{PacketId, QoS, SubscriptionOptions};
use std::rc::Rc;

/// One change.
#[derive(Clone, Debug)]
pub enum Change {
    /// The Session began, or one of these fields has changed.
    Session {
        /// Its name in all changes that follow.
        session: SessionId,
        /// The Session's name that lasts: a restarted broker finds it by this one.
        client_id: Box<str>,
        /// The checked user who owns it.
        user_name: Option<Box<str>>,
        /// Seconds; never 0.
        expiry_interval_s: u32,
        /// When the Session ends, while no connection has it.
        ends: Time,
        /// `None`: there is none any more.
        will: Option<Message>,
        /// When the will is published, while no connection has the Session.
        will_due: Time,
    },
    /// The Session ended: the store forgets all of it.
    SessionEnded {
        /// Its id is never used again.
        session: SessionId,
    },
    /// `filter` is the whole text, `$share/…` included. It replaces an earlier subscription to the same filter.
    Subscribed {
        /// It began by a change before this one.
        session: SessionId,
        /// 1..=65,535 bytes.
        filter: Box<str>,
        /// QoS and the v5 options; before v5 QoS alone.
        options: SubscriptionOptions,
        /// Subscription Identifier, v5 only.
        identifier: Option<u32>,
    },
    /// The subscription to `filter` is gone, by UNSUBSCRIBE or because the group let it go.
    Unsubscribed {
        /// It goes on without this subscription.
        session: SessionId,
        /// The whole text, as it was subscribed.
        filter: Box<str>,
    },
    /// A delivery joined the end of the Session's queue.
    Queued {
        /// Whose queue it is in.
        session: SessionId,
        /// Unique in the Session; rises with each queued delivery.
        number: u64,
        /// What is delivered; other Sessions may queue the same.
        message: Rc<Message>,
        /// 1 or 2: QoS 0 is never queued.
        qos: QoS,
        /// RETAIN of the delivery to come.
        retain: bool,
        /// Identifiers and group, where there are any.
        extras: Option<Box<Extras>>,
    },
    /// A delivery left the queue unsent: it has expired, or goes to another member of its group.
    Unqueued {
        /// Whose queue it was in.
        session: SessionId,
        /// As `Queued` named it.
        number: u64,
    },
    /// A delivery is in flight. `number` is its number in the queue, if it was queued.
    Sent {
        /// Whose window it is in.
        session: SessionId,
        /// Its name in the changes that follow.
        packet_id: PacketId,
        /// `None`: it was sent at once.
        number: Option<u64>,
        /// Kept for a resend until the delivery is done or released.
        message: Rc<Message>,
        /// 1 or 2.
        qos: QoS,
        /// RETAIN of the delivery; a resend says the same.
        retain: bool,
        /// Identifiers and group, where there are any.
        extras: Option<Box<Extras>>,
    },
    /// PUBREC came: from now on PUBREL is sent again, not the message.
    Released {
        /// Whose window it is in.
        session: SessionId,
        /// Of the delivery, until PUBCOMP.
        packet_id: PacketId,
    },
    /// A delivery is complete.
    Done {
        /// Whose window it was in.
        session: SessionId,
        /// Free for another delivery.
        packet_id: PacketId,
    },
    /// A QoS 2 message of the Client was received.
    Received {
        /// Of the publisher.
        session: SessionId,
        /// The publisher's; a PUBLISH that repeats it is not routed again.
        packet_id: PacketId,
    },
    /// The Packet Identifier of a received QoS 2 message is free again.
    ReceivedReleased {
        /// Of the publisher.
        session: SessionId,
        /// PUBREL named it, or its PUBREC refused the message.
        packet_id: PacketId,
    },
    /// `message` is the retained message of its topic.
    Retained {
        /// Its payload is not empty.
        message: Rc<Message>,
        /// A write with a lower one comes too late.
        version: RetainVersion,
    },
    /// The topic has no retained message any more.
    RetainedDeleted {
        /// Whole Topic Name.
        topic: Box<str>,
        /// A write with a lower one must not bring the message back.
        version: RetainVersion,
    },
}

/// The changes an owner has made and the shard has not yet taken.
#[derive(Default)]
pub(super) struct Changes {
    /// There is a store.
    wanted: bool,
    list: Vec<Change>,
}

impl Changes {
    pub fn new(wanted: bool) -> Changes {
        Changes {
            wanted,
            list: Vec::new(),
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
        }
    }

    /// How many there are.
    #[inline]
    pub fn count(&self) -> usize {
        self.list.len()
    }

    /// Takes all.
    pub fn take(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.list)
    }
}
