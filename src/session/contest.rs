//! A client id that several Network Connections take from each other, each time the other comes back: two devices that
//! were given the same id, or one that forgets its own connections. Each takeover alone is ordinary, and logged; a
//! fight is told in one line a minute, however fast they are.

use crate::limits;
use crate::time::Time;

/// The takeovers of one Session that followed closely on each other. It outlives Sessions that end with each takeover.
#[derive(Clone, Copy, Default, Debug)]
pub struct Contest {
    last: Time,
    count: u64,
    /// The next warning may come now.
    warn_due: Time,
}

/// What the log says of one takeover.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Told {
    /// The ordinary lines.
    Each,
    /// A warning that this is a fight, of so many takeovers up to now.
    Warning { takeovers: u64 },
    /// Nothing: the warning has been given.
    Nothing,
}

impl Contest {
    /// One more takeover from a living connection.
    pub fn on_takeover(&mut self, now: Time) -> Told {
        if self.count > 0 && now.since_ms(self.last) >= limits::CONTEST_FORGOTTEN_MS {
            *self = Contest::default();
        }
        self.last = now;
        self.count += 1;
        if self.count < limits::CONTEST_TAKEOVERS {
            return Told::Each;
        }
        if now < self.warn_due {
            return Told::Nothing;
        }
        self.warn_due = now + limits::CONTEST_WARNED_EVERY_MS;
        Told::Warning {
            takeovers: self.count,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fight_is_told_once_a_minute_and_forgotten_after_one() {
        let mut contest = Contest::default();
        let mut told = |second: u64| contest.on_takeover(Time(second * 1000));
        assert_eq!((told(1), told(2)), (Told::Each, Told::Each));
        assert_eq!(told(3), Told::Warning { takeovers: 3 });
        for second in 4..63 {
            assert_eq!(told(second), Told::Nothing, "second {second}");
        }
        assert_eq!(told(63), Told::Warning { takeovers: 63 });
        assert_eq!(told(122), Told::Nothing);
        assert_eq!(told(182), Told::Each, "a minute of peace");
    }
}
