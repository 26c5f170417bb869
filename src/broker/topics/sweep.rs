//! Frees retained messages whose Message Expiry Interval is over. A replay skips them already; the sweep frees their
//! memory.
//!
//! There is no list of expiry times, because a topic that is written often would make it grow. Instead the whole tree
//! is walked at most once in `limits::RETAINED_SWEEP_MS`, and no earlier than the first expiry. Each Tick walks
//! `limits::RETAINED_PER_TURN` nodes, so a large tree delays nobody.

use crate::limits;
use crate::time::Time;
use crate::topic::RetainCursor;

/// The walk under way, or when the next one is due.
pub struct Sweep {
    cursor: Option<RetainCursor>,
    /// No retained message expires before this.
    expires: Time,
    /// When the last walk began.
    begun: Time,
}

impl Default for Sweep {
    fn default() -> Self {
        Sweep {
            cursor: None,
            expires: Time::NEVER,
            begun: Time::default(),
        }
    }
}

impl Sweep {
    /// A message that expires then is retained now.
    pub fn note(&mut self, expires: Time) {
        self.expires = self.expires.min(expires);
    }

    /// When the shard is to call again.
    pub fn due(&self, now: Time) -> Option<Time> {
        if self.cursor.is_some() {
            return Some(now);
        }
        let due = self.expires.max(self.begun + limits::RETAINED_SWEEP_MS);
        (self.expires != Time::NEVER).then_some(due)
    }

    /// Takes the walk under way, or a new one that is due.
    pub fn begin(&mut self, now: Time) -> Option<RetainCursor> {
        if self.due(now).is_none_or(|due| due > now) {
            return None;
        }
        Some(self.cursor.take().unwrap_or_else(|| {
            // The walk adds the expiry of each message that stays.
            self.expires = Time::NEVER;
            self.begun = now;
            RetainCursor::everything()
        }))
    }

    /// The walk goes on later.
    pub fn pause(&mut self, cursor: RetainCursor) {
        self.cursor = Some(cursor);
    }
}
