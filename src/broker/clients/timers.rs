//! When to look at which slot: one alarm for each slot. An alarm may be early but never late. Its owner then looks at
//! the real deadline and sets the alarm again, so a busy connection costs nothing here.
//!
//! A heap of (time, slot). An alarm is entered again only when it becomes earlier. Outdated entries are dropped when
//! they come up, or all at once when they are more than half. Setting and taking cost `O(log slots)`.

use crate::limits::TIMER_GRAIN_MS;
use crate::time::Time;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// So many outdated entries are always allowed.
const SPARE_ENTRIES: usize = 64;

#[derive(Default)]
pub struct Alarms {
    heap: BinaryHeap<Reverse<(Time, u32)>>,
    /// Earliest entry in the heap by slot.
    set: Vec<Time>,
}

impl Alarms {
    /// Wakes `slot` at `at`, rounded up to the grain, or earlier.
    pub fn set(&mut self, slot: u32, at: Time) {
        if at == Time::NEVER {
            return;
        }
        let at = Time(at.0.div_ceil(TIMER_GRAIN_MS).saturating_mul(TIMER_GRAIN_MS));
        let index = slot as usize;
        if self.set.len() <= index {
            self.set.resize(index + 1, Time::NEVER);
        }
        if self.set[index] > at {
            self.set[index] = at;
            self.heap.push(Reverse((at, slot)));
            if self.heap.len() > 2 * self.set.len() + SPARE_ENTRIES {
                self.drop_outdated();
            }
        }
    }

    /// Rebuilds the heap from the entries that count.
    fn drop_outdated(&mut self) {
        let set = self.set.iter().zip(0..);
        self.heap = set
            .filter(|(at, _)| **at != Time::NEVER)
            .map(|(at, slot)| Reverse((*at, slot)))
            .collect();
    }

    /// The next alarm.
    pub fn next(&self) -> Option<Time> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// A slot whose alarm has come; it has none until it is set again.
    pub fn pop_due(&mut self, now: Time) -> Option<u32> {
        while let Some(&Reverse((at, slot))) = self.heap.peek() {
            if at > now {
                return None;
            }
            self.heap.pop();
            if self.set[slot as usize] == at {
                self.set[slot as usize] = Time::NEVER;
                return Some(slot);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outdated_entries_do_not_pile_up() {
        let mut alarms = Alarms::default();
        for round in 0..100_000u64 {
            alarms.set(0, Time(1_000_000_000));
            alarms.set(0, Time(round * 1000 + 1000));
            assert_eq!(alarms.pop_due(Time(round * 1000 + 1000)), Some(0));
        }
        assert!(
            alarms.heap.len() <= SPARE_ENTRIES + 3,
            "{}",
            alarms.heap.len()
        );
    }

    #[test]
    fn alarms_come_in_time_and_once() {
        let mut alarms = Alarms::default();
        alarms.set(3, Time(5_000));
        alarms.set(1, Time(2_500));
        alarms.set(3, Time(9_000)); // Later than what is set: the early alarm will do.
        alarms.set(3, Time(1));
        assert_eq!(alarms.next(), Some(Time(1_000)));
        assert_eq!(alarms.pop_due(Time(999)), None);
        assert_eq!(alarms.pop_due(Time(1_000)), Some(3));
        assert_eq!(alarms.pop_due(Time(60_000)), Some(1));
        assert_eq!(
            alarms.pop_due(Time(60_000)),
            None,
            "the entry of 5,000 is out of date"
        );
        alarms.set(3, Time::NEVER);
        assert_eq!(alarms.next(), None);
    }
}
