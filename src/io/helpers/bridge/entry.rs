//! What is told of one bridge.

use crate::bridge::Counts;
use crate::io::link::bridged::Joint;
use crate::time::Time;
use std::sync::Arc;

/// One bridge.
#[derive(Clone, Default, Debug)]
pub struct Entry {
    /// Of its `connection` line.
    pub name: String,
    /// A word: see [`super::words::state`].
    pub state: &'static str,
    /// `host:port`, in use or tried last.
    pub address: String,
    /// When the state began, on the clock of the shards.
    pub since: Time,
    /// The age of the state.
    pub seconds: u64,
    /// Why the last connection or attempt ended; `None`: none has.
    pub last_error: Option<String>,
    /// What has crossed, and what has not.
    pub counts: Counts,
    /// Of which the counts are asked.
    pub joint: Option<Arc<Joint>>,
    /// Of the Session here; `None`: there is none.
    pub waiting: Option<Waiting>,
    /// By which that Session is found.
    pub local_client_id: String,
}

/// Messages for the other broker.
#[derive(Clone, Copy, Default, Debug)]
pub struct Waiting {
    /// That wait in the queue.
    pub queued: usize,
    /// What they take of the byte limits.
    pub queued_bytes: usize,
    /// That the other broker has not acknowledged.
    pub in_flight: usize,
    /// That found no room in the queue.
    pub dropped: u64,
}

impl Entry {
    /// Messages for the other broker that are lost: those that found no room in the queue here, and QoS 0 messages that
    /// the other broker took too slowly.
    pub fn dropped(&self) -> u64 {
        let of_queue = self.counts.dropped_before + self.waiting.unwrap_or_default().dropped;
        self.counts.dropped + of_queue
    }
}
