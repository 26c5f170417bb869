//! Whether a shard sleeps in the kernel. Who gives a shard work asks, and wakes it (by its eventfd) only if it sleeps.
//!
//! The danger is a lost wake-up: the giver reads the flag before the shard raises it, the shard reads its lanes before
//! the item is there, and the item waits for ever. Each side therefore writes first, then passes a sequentially
//! consistent fence, then reads:
//!
//! ```text
//! giver:  push the item      fence    read the flag  → asleep? wake it
//! owner:  raise the flag     fence    read the lanes → something? do not sleep
//! ```
//!
//! One of the two fences is first in their single order, and what was written before it is seen after the other. So
//! at least one side sees the other's write. Cost: one fence for each peer given something in a turn, one for each
//! sleep.

use super::sync::{AtomicBool, Ordering, fence};

/// One a shard; shared by its peers and the helper threads, who wake it.
pub struct WakeFlag {
    asleep: AtomicBool,
}

impl Default for WakeFlag {
    fn default() -> Self {
        Self::new()
    }
}

impl WakeFlag {
    /// The flag of a shard that is awake.
    pub fn new() -> Self {
        Self {
            asleep: AtomicBool::new(false),
        }
    }

    /// For the giver, after it has pushed: must it wake the owner now? True once for each sleep, for one of those who
    /// ask.
    pub fn must_wake(&self) -> bool {
        // SeqCst: what was pushed comes before the reading of the flag. Pairs with the fence in `about_to_sleep`.
        fence(Ordering::SeqCst);
        // The load spares the exchange on a shared line while the owner is awake, which under load is always. The
        // exchange writes only if it lowers the flag, so one giver alone is answered true. Relaxed, all: the fences
        // order, and the items carry their own Release and Acquire.
        self.asleep.load(Ordering::Relaxed)
            && self
                .asleep
                .compare_exchange(true, false, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    /// For the owner, before it sleeps. It must then look once more at everything that is given to it, and call
    /// [`WakeFlag::awake`] instead of sleeping if there is something.
    pub fn about_to_sleep(&self) {
        // Relaxed: the fence orders.
        self.asleep.store(true, Ordering::Relaxed);
        // SeqCst: the flag is up before the lanes are read again. Pairs with the fence in `must_wake`.
        fence(Ordering::SeqCst);
    }

    /// For the owner, when it goes on, woken or not. A wake-up already under way may still arrive: it is harmless.
    pub fn awake(&self) {
        // Relaxed: a giver that still sees the flag up pays one wake-up for nothing.
        self.asleep.store(false, Ordering::Relaxed);
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use super::*;

    #[test]
    fn one_wake_up_a_sleep() {
        let flag = WakeFlag::new();
        assert!(!flag.must_wake());
        for _ in 0..3 {
            flag.about_to_sleep();
            assert!(flag.must_wake());
            assert!(!flag.must_wake());
            flag.awake();
            assert!(!flag.must_wake());
        }
    }

    #[test]
    fn who_did_not_sleep_is_not_woken() {
        let flag = WakeFlag::default();
        flag.about_to_sleep();
        flag.awake();
        assert!(!flag.must_wake());
    }
}
