//! The one clock of the broker: monotonic milliseconds since the start, the same on every shard.

use crate::time::Time;
use std::time::Instant;

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

    /// Whole milliseconds since the start; never goes back.
    pub fn now(&self) -> Time {
        Time(self.start.elapsed().as_millis() as u64)
    }
}
