//! What a store must know: every change of a Session that outlives its connection, and of a retained message, in the
//! order it was made.
//!
//! Only a shard whose settings say that there is a store makes them. The changes of a turn leave as one
//! `Output::Changes` with a number, and `Input::Kept` says up to which number they are kept. What a Client is owed for
//! a change waits until then (`clients::held`).
//!
//! A Session is named by its id in this shard, which no other Session has had. A delivery that waits is named by a
//! number, one under way by its Packet Identifier.

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
    /// The Session began, or one of these differs now.
    Session {
        session: SessionId,
        client_id: Box<str>,
        user_name: Option<Box<str>>,
        /// Seconds; never 0.
        expiry_interval_s: u32,
        /// While no connection has it: when it ends.
        ends: Time,
        will: Option<Message>,
        /// While no connection has it: when the will is to be published.
        will_due: Time,
    },
    /// All of it goes.
    SessionEnded { session: SessionId },
    /// `filter` is the whole text, `$share/…` included. A subscription to it that was there is replaced.
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
    /// A delivery waits, behind the others of the Session.
    Queued {
        session: SessionId,
        number: u64,
        message: Rc<Message>,
        qos: QoS,
        retain: bool,
        extras: Option<Box<Extras>>,
    },
    /// It waits no more, and was not sent: it has expired, or goes to another member of its group.
    Unqueued { session: SessionId, number: u64 },
    /// A delivery is under way. `number`: that of the queue, if it waited.
    Sent {
        session: SessionId,
        packet_id: PacketId,
        number: Option<u64>,
        message: Rc<Message>,
        qos: QoS,
        retain: bool,
        extras: Option<Box<Extras>>,
    },
    /// PUBREC came: the message is not sent again, PUBREL is.
    Released {
        session: SessionId,
        packet_id: PacketId,
    },
    /// A delivery has come to its end.
    Done {
        session: SessionId,
        packet_id: PacketId,
    },
    /// A QoS 2 message of the Client has come.
    Received {
        session: SessionId,
        packet_id: PacketId,
    },
    /// Its Packet Identifier is free again.
    ReceivedReleased {
        session: SessionId,
        packet_id: PacketId,
    },
    /// `message` is the retained message of its topic.
    Retained {
        message: Rc<Message>,
        version: RetainVersion,
    },
    /// The topic has none any more.
    RetainedDeleted {
        topic: Box<str>,
        version: RetainVersion,
    },
}

/// The changes that an owner has made since they were last taken.
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

    /// Notes a change; nothing is built without a store.
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
