//! Takeovers of one client id. Several Network Connections may take a client id from each other again and again: two
//! devices with the same id, or one device that forgets its own connections. A single takeover is ordinary and is
//! logged as such. Repeated takeovers are one warning a minute, however fast they come.

use crate::limits;
use crate::time::Time;

/// The takeovers of one client id that followed closely on each other. The count outlives Sessions that end with each
/// takeover.
#[derive(Clone, Copy, Default, Debug)]
pub struct Takeovers {
    last: Time,
    count: u64,
    /// The next warning may come now.
    warn_due: Time,
}

/// What the log says of one takeover.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TakeoverLines {
    /// The ordinary lines.
    Ordinary,
    /// One warning of repeated takeovers, with their number up to now.
    Warning {
        /// Counted since the last pause of
        /// [`limits::TAKEOVERS_FORGOTTEN_AFTER_MS`].
        takeovers: u64,
    },
    /// No line: the warning was given a short time ago.
    None,
}

impl Takeovers {
    /// One more takeover from a living connection.
    pub fn on_takeover(&mut self, now: Time) -> TakeoverLines {
        if self.count > 0 && now.since_ms(self.last) >= limits::TAKEOVERS_FORGOTTEN_AFTER_MS {
            *self = Takeovers::default();
        }
        self.last = now;
        self.count += 1;
        if self.count < limits::TAKEOVERS_BEFORE_WARNING {
            return TakeoverLines::Ordinary;
        }
        if now < self.warn_due {
            return TakeoverLines::None;
        }
        self.warn_due = now + limits::TAKEOVER_WARNING_EVERY_MS;
        TakeoverLines::Warning {
            takeovers: self.count,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fight_is_told_once_a_minute_and_forgotten_after_one() {
        let mut takeovers = Takeovers::default();
        let mut lines = |second: u64| takeovers.on_takeover(Time(second * 1000));
        assert_eq!(
            (lines(1), lines(2)),
            (TakeoverLines::Ordinary, TakeoverLines::Ordinary)
        );
        assert_eq!(lines(3), TakeoverLines::Warning { takeovers: 3 });
        for second in 4..63 {
            assert_eq!(lines(second), TakeoverLines::None, "second {second}");
        }
        assert_eq!(lines(63), TakeoverLines::Warning { takeovers: 63 });
        assert_eq!(lines(122), TakeoverLines::None);
        assert_eq!(lines(182), TakeoverLines::Ordinary, "a minute of peace");
    }
}
