//! The memory that all shards of a broker may hold together: each takes of it in steps, so that a busy shard uses what
//! the others leave.
//!
//! ```text
//! │ shard 0 has taken │ shard 1 │ ... free for anyone ... │ below their part │ below their share │
//! 0                                                      80 %              90 %            the limit
//! ```
//!
//! The memory is divided into shares, one for each user and one for each address ([`Shares`]), and the share of an
//! address into parts, one for each client id there. A client id that holds less than its part, at an address that
//! holds more than its share, gets what lies below the second mark: it suffers from its neighbours, those at other
//! addresses do not.
//!
//! A shard asks before it holds more, and never gets what would pass the mark it names. So all shards together stay
//! below the limit, however their questions fall. What cannot be refused any more (bytes that a connection has
//! received already, say) is taken without a question; then nobody gets more until that much is given back, but for who
//! holds an eighth of his share at most: all of them together take no more than an eighth of the limit beyond it.
//!
//! Cost: one atomic operation a step. Below its steps a shard touches nothing here.

use super::share::Shares;
use crate::limits;
use crate::mesh::sync::{AtomicUsize, Ordering};

/// See the module.
#[derive(Debug)]
pub struct Stock {
    limit: usize,
    free_limit: usize,
    part_limit: usize,
    step: usize,
    /// Bytes that shards have taken.
    taken: AtomicUsize,
    shares: Shares,
    /// Sessions of all shards.
    sessions: AtomicUsize,
}

impl Stock {
    /// `limit` bytes for so many shards.
    pub fn new(limit: u64, shards: usize) -> Stock {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let step = limit / (limits::MEMORY_STEPS * shards.max(1));
        Stock {
            limit,
            free_limit: limit / 100 * limits::MEMORY_FREE_PERCENT,
            part_limit: limit / 100 * limits::MEMORY_PART_PERCENT,
            step: step.clamp(limits::MEMORY_STEP_LEAST, limits::MEMORY_STEP_MOST),
            taken: AtomicUsize::new(0),
            shares: Shares::default(),
            sessions: AtomicUsize::new(0),
        }
    }

    /// What all shards may hold.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// What of that anyone may take.
    pub fn free_limit(&self) -> usize {
        self.free_limit
    }

    /// What of it owners below their part may take, whose address holds more than its share.
    pub fn part_limit(&self) -> usize {
        self.part_limit
    }

    /// Bytes that a shard takes at once.
    pub fn step(&self) -> usize {
        self.step
    }

    // Relaxed throughout: each number is alone, and nothing else is read or written because of it. That no more than
    // `most` is taken follows from the order of changes of `taken` itself, which all threads agree on: `fetch_update`
    // adds to the very value it has looked at, or looks again.

    /// Bytes that all shards have taken.
    #[inline]
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// Takes `bytes` more, unless more than `most` would then be taken.
    pub fn take(&self, bytes: usize, most: usize) -> bool {
        let add = |taken: usize| taken.checked_add(bytes).filter(|taken| *taken <= most);
        self.taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, add)
            .is_ok()
    }

    /// Takes `bytes` that are in use already.
    pub fn take_anyway(&self, bytes: usize) {
        self.taken.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Gives back what was taken; never more.
    pub fn give_back(&self, bytes: usize) {
        let before = self.taken.fetch_sub(bytes, Ordering::Relaxed);
        debug_assert!(before >= bytes, "no more is given back than was taken");
    }

    /// Those among whom the limit is divided, of all shards.
    pub fn shares(&self) -> &Shares {
        &self.shares
    }

    /// Sessions there are. Two shards that ask at the same time may each begin one.
    pub fn sessions(&self) -> usize {
        self.sessions.load(Ordering::Relaxed)
    }

    /// One more of them.
    pub fn add_session(&self) {
        self.sessions.fetch_add(1, Ordering::Relaxed);
    }

    /// One less.
    pub fn remove_session(&self) {
        self.sessions.fetch_sub(1, Ordering::Relaxed);
    }
}
