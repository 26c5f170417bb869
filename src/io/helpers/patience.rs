//! How long the reader of an answer may take for all of it: [`limits::ANSWER_MS`], and a second more for each
//! [`limits::ANSWER_BYTES_PER_S`] that it has taken. A reader that takes a byte now and then is never stuck, and would
//! else hold what is kept for it for ever.
//!
//! Only the time counts in which something waits for the reader; how long the broker takes is not its fault.

use crate::limits;
use std::time::{Duration, Instant};

/// Of one answer: [`Patience::begin`], then [`Patience::look`] after each write.
#[derive(Default)]
pub struct Patience {
    taken_bytes: u64,
    /// How long it was waited for, before `since`.
    waited: Duration,
    /// Bytes wait for the reader since then.
    since: Option<Instant>,
}

impl Patience {
    /// An answer begins.
    pub fn begin(&mut self) {
        *self = Patience::default();
    }

    /// So many bytes were taken, and some still wait or not.
    pub fn look(&mut self, taken_bytes: usize, some_wait: bool, now: Instant) {
        self.taken_bytes += taken_bytes as u64;
        match (some_wait, self.since) {
            (true, None) => self.since = Some(now),
            (false, Some(since)) => {
                self.waited += now.saturating_duration_since(since);
                self.since = None;
            }
            _ => {}
        }
    }

    /// When it ends. `None`: nobody is waited for.
    pub fn until(&self) -> Option<Instant> {
        let all_ms = limits::ANSWER_MS + self.taken_bytes * 1000 / limits::ANSWER_BYTES_PER_S;
        let left = Duration::from_millis(all_ms).saturating_sub(self.waited);
        self.since.map(|since| since + left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_takes_a_byte_now_and_then_comes_to_an_end_and_who_takes_much_does_not() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let ends_at = |bytes_per_s: usize| {
            let mut patience = Patience::default();
            patience.look(0, true, start);
            (1..3600).find(|second| {
                patience.look(bytes_per_s, true, at(second * 1000));
                patience
                    .until()
                    .is_some_and(|until| until <= at(second * 1000))
            })
        };
        let least_s = limits::ANSWER_MS / 1000;
        assert_eq!(ends_at(1), Some(least_s));
        let half = limits::ANSWER_BYTES_PER_S as usize / 2;
        assert_eq!(ends_at(half), Some(2 * least_s));
        assert_eq!(ends_at(2 * half), None);
    }

    #[test]
    fn the_time_in_which_nothing_waits_for_the_reader_does_not_count() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut patience = Patience::default();
        assert_eq!(patience.until(), None);
        patience.look(0, true, start);
        assert_eq!(patience.until(), Some(at(limits::ANSWER_MS)));
        patience.look(0, false, at(10_000));
        assert_eq!(patience.until(), None);
        patience.look(0, true, at(1_000_000));
        assert_eq!(patience.until(), Some(at(990_000 + limits::ANSWER_MS)));
        patience.begin();
        assert_eq!(patience.until(), None);
    }
}
