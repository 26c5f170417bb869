//! The one clock of the broker: monotonic milliseconds since the start, the same on every shard.

use crate::time::Time;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Copies of one clock agree.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// Starts at 0.
    pub fn start() -> Clock {
        Clock {
            start: Instant::now(),
        }
    }

    /// When it was 0, in seconds since 1970, as far as the machine knows now.
    pub fn zero_s(&self) -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        now.map_or(0, |now| now.saturating_sub(self.start.elapsed()).as_secs())
    }

    /// Whole milliseconds since the start; never goes back.
    pub fn now(&self) -> Time {
        Time(self.start.elapsed().as_millis() as u64)
    }
}
