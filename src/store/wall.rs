//! The shard's clock and the calendar's: a row has times of the calendar, as the other means nothing after a restart.

use super::record::UnixSeconds;
use crate::time::Time;

/// One moment on both clocks.
#[derive(Clone, Copy, Default, Debug)]
pub struct Wall {
    pub now: Time,
    /// Seconds since 1970, of the same moment.
    pub unix_s: UnixSeconds,
}

impl Wall {
    /// The calendar's time of `at`, rounded up to whole seconds; 0 for a time that never comes.
    pub fn unix_s(&self, at: Time) -> UnixSeconds {
        if at == Time::NEVER {
            return 0;
        }
        let ahead = at.since_ms(self.now).div_ceil(1000);
        let behind = self.now.since_ms(at) / 1000;
        (self.unix_s.saturating_add(ahead).saturating_sub(behind)).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_and_after_now() {
        let wall = Wall {
            now: Time(10_000),
            unix_s: 1_000,
        };
        assert_eq!(wall.unix_s(Time(10_000)), 1_000);
        assert_eq!(wall.unix_s(Time(10_001)), 1_001);
        assert_eq!(wall.unix_s(Time(12_000)), 1_002);
        assert_eq!(wall.unix_s(Time(8_500)), 999);
        assert_eq!(wall.unix_s(Time::NEVER), 0);
        assert_eq!(Wall::default().unix_s(Time(0)), 1, "0 is none");
    }
}
