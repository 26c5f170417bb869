//! Where the rows of a Session are. The tables have no secondary index: this one is in memory, and is built from the
//! rows at the start.

use super::batch::Batches;
use crate::random::HashState;
use hashbrown::HashMap;
use std::collections::{BTreeMap, BTreeSet};

/// The rows of a delivery.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// In `delivery`.
    pub row: u64,
    /// In `message`; 0: the message lies in the delivery's own row.
    pub message: u64,
}

/// What the tables, or the open window, have of one Session.
#[derive(Clone, Default, Debug)]
pub struct Held {
    /// Rows of `subscription`.
    pub subscriptions: BTreeSet<u64>,
    /// By number in the Session.
    pub deliveries: BTreeMap<u64, Place>,
    /// By Packet Identifier: the number of the delivery.
    pub in_flight: BTreeMap<u16, u64>,
    /// By Packet Identifier: the passage of the message, 0 without one.
    pub received: BTreeMap<u16, u64>,
}

/// All Sessions, and how many deliveries have each shared message.
#[derive(Clone, Default, Debug)]
pub struct Index {
    pub sessions: HashMap<u64, Held, HashState>,
    pub wills: BTreeSet<u64>,
    /// By passage: how many rows of `received` say who has it.
    pub passages: HashMap<u64, u16, HashState>,
    /// Retained messages that are not in their table yet.
    pub batches: Batches,
    messages: HashMap<u64, u32, HashState>,
    last_delivery: u64,
    last_message: u64,
}

impl Index {
    /// The id of a new row of `delivery`: ids rise in the order of the queue.
    pub fn next_delivery(&mut self) -> u64 {
        self.last_delivery += 1;
        self.last_delivery
    }

    /// The id of a new row of `message`.
    pub fn next_message(&mut self) -> u64 {
        self.last_message += 1;
        self.last_message
    }

    /// The tables have this row of `delivery`.
    pub fn note_delivery(&mut self, row: u64) {
        self.last_delivery = self.last_delivery.max(row);
    }

    /// The tables have this row of `message`.
    pub fn note_message(&mut self, id: u64) {
        self.last_message = self.last_message.max(id);
    }

    /// One more delivery has the message.
    pub fn share(&mut self, message: u64) {
        if message > 0 {
            *self.messages.entry(message).or_default() += 1;
        }
    }

    /// A delivery has the message no longer. `true`: nobody has it now.
    pub fn unshare(&mut self, message: u64) -> bool {
        let Some(count) = self.messages.get_mut(&message) else {
            return false;
        };
        *count -= 1;
        let last = *count == 0;
        if last {
            self.messages.remove(&message);
        }
        last
    }

    /// Some delivery has the message.
    pub fn is_shared(&self, message: u64) -> bool {
        self.messages.contains_key(&message)
    }
}
