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
        session: SessionId,
        client_id: Box<str>,
        user_name: Option<Box<str>>,
        /// Seconds; never 0.
        expiry_interval_s: u32,
        /// When the Session ends, while no connection has it.
        ends: Time,
        will: Option<Message>,
        /// When the will is published, while no connection has the Session.
        will_due: Time,
    },
    /// The Session ended: the store forgets all of it.
    SessionEnded { session: SessionId },
    /// `filter` is the whole text, `$share/…` included. It replaces an earlier subscription to the same filter.
    Subscribed {
        session: SessionId,
        filter: Box<str>,
        options: SubscriptionOptions,
        identifier: Option<u32>,
    },
    Unsubscribed {
        session: SessionId,
        filter: Box<str>,
    },
    /// A delivery joined the end of the Session's queue.
    Queued {
        session: SessionId,
        number: u64,
        message: Rc<Message>,
        qos: QoS,
        retain: bool,
        extras: Option<Box<Extras>>,
    },
    /// A delivery left the queue unsent: it has expired, or goes to another member of its group.
    Unqueued { session: SessionId, number: u64 },
    /// A delivery is in flight. `number` is its number in the queue, if it was queued.
    Sent {
        session: SessionId,
        packet_id: PacketId,
        number: Option<u64>,
        message: Rc<Message>,
        qos: QoS,
        retain: bool,
        extras: Option<Box<Extras>>,
    },
    /// PUBREC came: from now on PUBREL is sent again, not the message.
    Released {
        session: SessionId,
        packet_id: PacketId,
    },
    /// A delivery is complete.
    Done {
        session: SessionId,
        packet_id: PacketId,
    },
    /// A QoS 2 message of the Client was received.
    Received {
        session: SessionId,
        packet_id: PacketId,
    },
    /// The Packet Identifier of a received QoS 2 message is free again.
    ReceivedReleased {
        session: SessionId,
        packet_id: PacketId,
    },
    /// `message` is the retained message of its topic.
    Retained {
        message: Rc<Message>,
        version: RetainVersion,
    },
    /// The topic has no retained message any more.
    RetainedDeleted {
        topic: Box<str>,
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
