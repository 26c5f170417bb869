//! QoS 1 and 2 messages that wait for their Client: absent, slow, or with its in-flight window full. Bounded in bytes by
//! whoever adds.

use crate::limits::QUEUED_OVERHEAD_BYTES;
use crate::session::Message;
use crate::time::Time;
use crate::wire::QoS;
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::rc::Rc;

/// Subscription Identifiers of the matching subscriptions; none for nearly all messages. [v5 3.3.2.3.8]
pub type Identifiers = SmallVec<[u32; 2]>;

/// One delivery that has not been sent yet.
#[derive(Clone, Debug)]
pub struct Queued {
    pub message: Rc<Message>,
    /// QoS of the delivery: 1 or 2.
    pub qos: QoS,
    /// RETAIN flag of the delivery, fixed when it was queued.
    pub retain: bool,
    pub identifiers: Option<Box<Identifiers>>,
}

impl Queued {
    /// What it costs the budgets.
    pub fn bytes(&self) -> usize {
        self.message.bytes() + QUEUED_OVERHEAD_BYTES as usize
    }
}

/// First in, first out; knows its bytes.
#[derive(Debug)]
pub struct Queue {
    items: VecDeque<Queued>,
    bytes: usize,
    /// No message here expires before this.
    expires: Time,
}

impl Default for Queue {
    fn default() -> Self {
        Queue {
            items: VecDeque::new(),
            bytes: 0,
            expires: Time::NEVER,
        }
    }
}

impl Queue {
    /// Sum of [`Queued::bytes`] of all that wait.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Messages waiting.
    pub fn count(&self) -> usize {
        self.items.len()
    }

    /// Adds at the end. The budget is the caller's to check.
    pub fn push(&mut self, item: Queued) {
        assert!(item.qos > QoS::AtMostOnce);
        self.bytes += item.bytes();
        self.expires = self.expires.min(item.message.expires);
        self.items.push_back(item);
    }

    /// Forgets the messages whose time is up; their number and [`Queued::bytes`]. O(messages), and O(1) while none can
    /// be among them.
    pub fn drop_expired(&mut self, now: Time) -> (usize, usize) {
        if self.expires > now {
            return (0, 0);
        }
        let before = (self.items.len(), self.bytes);
        self.items.retain(|item| !item.message.expired(now));
        self.bytes = self.items.iter().map(Queued::bytes).sum();
        let expires = self.items.iter().map(|item| item.message.expires).min();
        self.expires = expires.unwrap_or(Time::NEVER);
        (before.0 - self.items.len(), before.1 - self.bytes)
    }

    /// Takes from the front. An emptied queue gives its memory back.
    pub fn pop(&mut self) -> Option<Queued> {
        let item = self.items.pop_front()?;
        self.bytes -= item.bytes();
        if self.items.is_empty() && self.items.capacity() > 64 {
            self.items = VecDeque::new();
        }
        Some(item)
    }

    /// Forgets all and tells how many bytes that were.
    pub fn clear(&mut self) -> usize {
        self.items = VecDeque::new();
        std::mem::take(&mut self.bytes)
    }

    /// Panics if the sum of bytes is wrong.
    pub fn check_invariants(&self) {
        let bytes: usize = self.items.iter().map(Queued::bytes).sum();
        assert_eq!(bytes, self.bytes);
        assert!(
            self.items
                .iter()
                .all(|item| item.message.expires >= self.expires)
        );
    }
}
