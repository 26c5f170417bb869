//! What a Client owes the others: to take its own answers, and not to keep publishers waiting.

use crate::ids::{ConnectionId, ShardId};
use crate::limits;
use crate::sorted::Sorted;
use crate::time::Time;

/// Bytes of one kind in an outbox among others: answers that a Client brings about by its own packets (PINGRESP, PUBACK
/// and the like), or payloads that are shared.
///
/// Bytes leave in their order, so a mark at the end of the outbox tells when all before it have left: `older` ones lie
/// before the mark, `newer` ones behind it. The sum is never too small, and too large by less than one outbox.
#[derive(Clone, Copy, Default, Debug)]
pub struct OutboxPart {
    /// A connection holds less than 4 GiB of them.
    older: u32,
    newer: u32,
    /// Bytes that have left the connection in all when the older ones are among them.
    mark: u64,
}

impl OutboxPart {
    /// Bytes that have not left, at most.
    #[inline]
    pub fn bytes(&self) -> usize {
        self.older as usize + self.newer as usize
    }

    /// Bytes of the kind were appended; `end` counts all bytes that left the connection or are to leave it, with these.
    #[inline]
    pub fn add(&mut self, bytes: usize, end: u64) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        if self.older == 0 {
            self.mark = end;
            self.older = bytes;
        } else if self.newer == 0 && self.mark + u64::from(bytes) == end {
            // Nothing lies between.
            self.mark = end;
            self.older = self.older.saturating_add(bytes);
        } else {
            self.newer = self.newer.saturating_add(bytes);
        }
    }

    /// Bytes have left: `left` of all there were, of which the last was appended before `end`.
    #[inline]
    pub fn on_left(&mut self, left: u64, end: u64) {
        if self.older > 0 && left >= self.mark {
            self.older = std::mem::take(&mut self.newer);
            self.mark = end;
        }
    }
}

/// A publisher that is not read from until this connection has taken its unsent bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Waiter {
    /// Home of the publisher.
    pub shard: ShardId,
    /// At `shard`.
    pub connection: ConnectionId,
}

/// The publishers that wait for a slow reader, and how long they still may.
///
/// While a reader takes deliveries at [`limits::READER_BYTES_PER_S`] or faster, waits cost nothing, however often they
/// come: that is the rhythm of a fast publisher and a busy reader. What it lags behind that is paid from a small stock
/// that fills slowly, so that a reader that takes a byte now and then, acknowledges one message a second, or lets
/// itself be answered, holds nobody back for more than [`limits::HELD_BACK_MS_MAX`] in a minute.
#[derive(Default, Debug)]
pub struct Patience(Option<Box<Waits>>);

/// Of a reader that others have waited for, as most never do.
#[derive(Debug)]
struct Waits {
    /// Milliseconds of waiting left; below 0 after a wait that was looked at late.
    left_ms: i64,
    /// Up to when the stock has been filled.
    filled: Time,
    /// When the wait under way began.
    began: Time,
    /// Bytes of deliveries that have left since, those that were before it among them; below 0 where answers have been
    /// added.
    taken: i64,
    /// Who waits.
    waiters: Sorted<Waiter, ()>,
}

impl Waits {
    /// Nobody has waited yet: the whole stock is there.
    fn new(now: Time) -> Waits {
        Waits {
            left_ms: limits::WAIT_STOCK_MS as i64,
            filled: now,
            began: now,
            taken: 0,
            waiters: Sorted::None,
        }
    }

    /// The time that what was taken is worth.
    fn earned_ms(&self) -> i64 {
        self.taken.max(0).saturating_mul(1000) / limits::READER_BYTES_PER_S
    }
}

impl Patience {
    /// Nobody waits.
    #[inline]
    pub fn is_idle(&self) -> bool {
        let waits = self.0.as_ref();
        waits.is_none_or(|waits| waits.waiters.is_empty())
    }

    /// This one waits already.
    pub fn has(&self, waiter: Waiter) -> bool {
        let waits = self.0.as_ref();
        waits.is_some_and(|waits| waits.waiters.contains(waiter))
    }

    /// One more waits. The wait has begun.
    pub fn add(&mut self, waiter: Waiter) {
        if let Some(waits) = &mut self.0 {
            waits.waiters.insert(waiter, ());
        }
    }

    /// All who wait, ascending; none is left.
    pub fn take_waiters(&mut self) -> Vec<Waiter> {
        let waits = self.0.as_mut();
        waits.map_or(Vec::new(), |waits| waits.waiters.take_keys())
    }

    /// Bytes have left.
    #[inline]
    pub fn on_left(&mut self, bytes: usize) {
        if let Some(waits) = &mut self.0 {
            waits.taken = waits.taken.saturating_add(bytes as i64);
        }
    }

    /// An answer will leave, which is no delivery.
    #[inline]
    pub fn on_answer(&mut self, bytes: usize) {
        if let Some(waits) = &mut self.0 {
            waits.taken = waits.taken.saturating_sub(bytes as i64);
        }
    }

    /// Someone begins to wait. `false`: nobody may.
    pub fn begin(&mut self, now: Time) -> bool {
        const MS_EACH: u64 = limits::WAIT_REFILL_MS / limits::WAIT_STOCK_MS;
        let waits = self.0.get_or_insert_with(|| Box::new(Waits::new(now)));
        let more_ms = now.since_ms(waits.filled) / MS_EACH;
        waits.filled = waits.filled + more_ms * MS_EACH;
        waits.left_ms = waits.left_ms.saturating_add(more_ms as i64);
        waits.left_ms = waits.left_ms.min(limits::WAIT_STOCK_MS as i64);
        waits.began = now;
        waits.taken = 0;
        waits.left_ms > 0
    }

    /// When the wait under way has lasted too long; `Time::NEVER` if nobody has waited yet.
    pub fn ends(&self) -> Time {
        let Some(waits) = &self.0 else {
            return Time::NEVER;
        };
        let left_ms = waits.left_ms.saturating_add(waits.earned_ms());
        waits.began + left_ms.max(0) as u64
    }

    /// The wait is over.
    pub fn end(&mut self, now: Time) {
        let Some(waits) = &mut self.0 else { return };
        let waited_ms = now.since_ms(waits.began);
        if waited_ms > limits::SHORT_WAIT_MS {
            let waited_ms = waited_ms.min(limits::WAIT_REFILL_MS) as i64;
            waits.left_ms -= waited_ms.saturating_sub(waits.earned_ms()).max(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_between_deliveries_are_counted_until_they_have_left() {
        let mut answers = OutboxPart::default();
        answers.add(10, 10);
        answers.add(10, 20);
        answers.add(5, 125); // A delivery of 100 lies between.
        assert_eq!(answers.bytes(), 25);
        answers.on_left(19, 125);
        assert_eq!(answers.bytes(), 25);
        answers.on_left(20, 125);
        assert_eq!(answers.bytes(), 5);
        answers.on_left(125, 125);
        assert_eq!(answers.bytes(), 0);
        answers.add(7, 132);
        assert_eq!(answers.bytes(), 7);
        answers.on_left(132, 132);
        assert_eq!(answers.bytes(), 0);
    }

    #[test]
    fn no_minute_has_more_waiting_than_it_may() {
        // However the waits lie, each looked at a timer's grain late.
        for step_ms in [50, 150, 400, 700, 1_000] {
            let mut patience = Patience::default();
            let (mut now, mut waits) = (1_000, Vec::new());
            while now < 600_000 {
                if patience.begin(Time(now)) {
                    let until = (now + step_ms).min(patience.ends().0 + limits::TIMER_GRAIN_MS);
                    patience.end(Time(until));
                    waits.push((now, until));
                    now = until;
                }
                now += 10;
            }
            for start in (0..540_000).step_by(500) {
                let waited: u64 = waits
                    .iter()
                    .filter(|(from, to)| {
                        to - from > limits::SHORT_WAIT_MS && *from >= start && *to < start + 60_000
                    })
                    .map(|(from, to)| to - from)
                    .sum();
                assert!(waited <= limits::HELD_BACK_MS_MAX, "{step_ms}: {waited} ms");
            }
        }
    }

    #[test]
    fn who_takes_its_deliveries_may_be_waited_for() {
        let mut patience = Patience::default();
        for n in 0..1_000 {
            assert!(patience.begin(Time(n * 1_000)));
            patience.on_left(limits::READER_BYTES_PER_S as usize);
            patience.end(Time(n * 1_000 + 999));
        }
        // Answers are none.
        let mut waits = 0;
        while patience.begin(Time(2_000_000 + waits * 1_000)) {
            patience.on_answer(limits::READER_BYTES_PER_S as usize);
            patience.on_left(limits::READER_BYTES_PER_S as usize);
            patience.end(Time(2_000_000 + waits * 1_000 + 999));
            waits += 1;
        }
        assert_eq!(waits, 1);
    }

    #[test]
    fn short_waits_cost_nothing() {
        let mut patience = Patience::default();
        for n in 0..10_000 {
            assert!(patience.begin(Time(n * 10)));
            patience.end(Time(n * 10 + 9));
        }
    }
}
