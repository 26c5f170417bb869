//! When a bridge tries again, and at which of its addresses.

use crate::limits;
use crate::random::SplitMix64;
use crate::time::Time;

/// Pauses between attempts: the next is drawn between the base and three times the last, and never above the cap, so
/// that bridges that have lost one broker together do not come back together.
#[derive(Clone, Debug)]
pub struct Backoff {
    base_ms: u64,
    cap_ms: u64,
    last_ms: u64,
}

impl Backoff {
    /// `restart_timeout`, in seconds.
    pub fn new(base_s: u32, cap_s: u32) -> Backoff {
        let base_ms = u64::from(base_s.max(1)) * 1000;
        Backoff {
            base_ms,
            cap_ms: (u64::from(cap_s) * 1000).max(base_ms),
            last_ms: base_ms,
        }
    }

    /// The next pause, base..=cap, in milliseconds.
    pub fn next_ms(&mut self, random: &mut SplitMix64) -> u64 {
        let most = (3 * self.last_ms).min(self.cap_ms);
        let span = usize::try_from(most - self.base_ms).unwrap_or(usize::MAX - 1);
        let drawn = self.base_ms + random.below(span + 1) as u64;
        self.last_ms = drawn;
        drawn
    }

    /// A connection was there.
    pub fn reset(&mut self) {
        self.last_ms = self.base_ms;
    }
}

/// The addresses of a bridge, and which of them have failed lately.
#[derive(Clone, Debug)]
pub struct Addresses {
    health: Vec<Health>,
    round_robin: bool,
    last: Option<usize>,
}

#[derive(Clone, Default, Debug)]
struct Health {
    failures: u32,
    failed: Time,
}

impl Addresses {
    /// So many, at least one.
    pub fn new(count: usize, round_robin: bool) -> Addresses {
        Addresses {
            health: vec![Health::default(); count.max(1)],
            round_robin,
            last: None,
        }
    }

    /// The address to try now: the one with the fewest failures in a row; among equals the first one, or with
    /// `round_robin` the one behind the last. Failures are forgotten after
    /// [`BRIDGE_ADDRESS_MEMORY_MS`](limits::BRIDGE_ADDRESS_MEMORY_MS).
    pub fn pick(&mut self, now: Time) -> usize {
        for health in &mut self.health {
            if now.since_ms(health.failed) > limits::BRIDGE_ADDRESS_MEMORY_MS {
                health.failures = 0;
            }
        }
        let count = self.health.len();
        let first = match self.last {
            Some(last) if self.round_robin => last + 1,
            _ => 0,
        };
        let order = (0..count).map(|step| (first + step) % count);
        let picked = order.min_by_key(|index| self.health[*index].failures);
        let picked = picked.unwrap_or(0);
        self.last = Some(picked);
        picked
    }

    /// The address that was picked last could not be used.
    pub fn failed(&mut self, now: Time) {
        if let Some(health) = self.last.and_then(|last| self.health.get_mut(last)) {
            health.failures = health.failures.saturating_add(1);
            health.failed = now;
        }
    }

    /// The other broker has accepted us there.
    pub fn worked(&mut self) {
        if let Some(health) = self.last.and_then(|last| self.health.get_mut(last)) {
            health.failures = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_cap_and_begin_again_after_a_connection() {
        let mut random = SplitMix64::new(3);
        let mut backoff = Backoff::new(5, 30);
        let mut longest = 0;
        for _ in 0..200 {
            let last = backoff.last_ms;
            let next = backoff.next_ms(&mut random);
            assert!((5_000..=30_000).contains(&next) && next <= 3 * last);
            longest = longest.max(next);
        }
        assert!(longest > 25_000);
        backoff.reset();
        assert!(backoff.next_ms(&mut random) <= 15_000);
        let mut one = Backoff::new(2, 2);
        assert_eq!((0..9).map(|_| one.next_ms(&mut random)).max(), Some(2_000));
    }

    #[test]
    fn an_address_that_failed_comes_after_those_that_did_not() {
        let mut addresses = Addresses::new(3, false);
        assert_eq!(addresses.pick(Time(0)), 0);
        addresses.failed(Time(0));
        assert_eq!(addresses.pick(Time(1)), 1);
        addresses.worked();
        assert_eq!(addresses.pick(Time(2)), 1);
        addresses.failed(Time(2));
        assert_eq!(addresses.pick(Time(3)), 2);
        addresses.failed(Time(3));
        assert_eq!(addresses.pick(Time(4)), 0);
        // The first address is tried again when its failure is forgotten.
        addresses.failed(Time(4));
        let later = Time(4 + limits::BRIDGE_ADDRESS_MEMORY_MS + 1);
        assert_eq!(addresses.pick(later), 0);
    }

    #[test]
    fn round_robin_goes_round() {
        let mut addresses = Addresses::new(3, true);
        let picked: Vec<usize> = (0..5).map(|at| addresses.pick(Time(at))).collect();
        assert_eq!(picked, [0, 1, 2, 0, 1]);
    }
}
