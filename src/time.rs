//! The broker's notion of time: a number given to it. The clock itself lives in `io::clock`.

use std::ops::Add;

/// Monotonic milliseconds since an instant of the driver's choice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Time(pub u64);

impl Time {
    /// A time that never comes.
    pub const NEVER: Time = Time(u64::MAX);

    /// Milliseconds from `earlier` to here, 0 if `earlier` is later.
    pub fn since_ms(self, earlier: Time) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// This time and `seconds` more.
    pub fn plus_s(self, seconds: u32) -> Time {
        Time(self.0.saturating_add(u64::from(seconds) * 1000))
    }
}

/// Adds milliseconds.
impl Add<u64> for Time {
    type Output = Time;
    fn add(self, ms: u64) -> Time {
        Time(self.0.saturating_add(ms))
    }
}
