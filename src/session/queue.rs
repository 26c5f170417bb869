//! QoS 1 and 2 messages that wait for their Client: absent, slow, or with its in-flight window full. Bounded in bytes by
//! whoever adds.

use crate::limits::QUEUED_OVERHEAD_BYTES;
use crate::session::Message;
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
#[derive(Default, Debug)]
pub struct Queue {
    items: VecDeque<Queued>,
    bytes: usize,
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
        self.items.push_back(item);
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
    }
}
