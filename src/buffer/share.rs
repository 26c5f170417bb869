//! Those among whom memory is divided when it is short, with what each holds in all shards.
//!
//! A shard joins a share with each owner that has a part of it, and tells it what that owner holds, now and then: in
//! steps, not with every byte, because all shards write to one number. So [`Share::bytes`] is a little behind.
//!
//! Cost: a lock when an owner comes or goes; one atomic operation when an owner's bytes are told.

use crate::mesh::sync::{Arc, AtomicUsize, Mutex, MutexGuard, Ordering};
use std::borrow::Borrow;
use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::sync::PoisonError;

/// Places of the table that are kept, however few are used.
const TABLE_KEPT: usize = 256;

/// Whose a share is.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Sharer {
    /// Of a user, by the name in the account book.
    Name(Box<str>),
    /// Of an address, for all who have shown no password there.
    Address(u128),
}

/// What one sharer holds, in all shards.
#[derive(Debug)]
pub struct Share {
    sharer: Sharer,
    bytes: AtomicUsize,
    owners: AtomicUsize,
}

impl Share {
    fn new(sharer: Sharer) -> Share {
        Share {
            sharer,
            bytes: AtomicUsize::new(0),
            owners: AtomicUsize::new(0),
        }
    }

    /// Whose it is.
    pub fn sharer(&self) -> &Sharer {
        &self.sharer
    }

    // Relaxed throughout: numbers to look at, that order nothing. Each shard takes back no more than it has added.

    /// Bytes that shards have told.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Owners with a part of it; one that is in several shards counts in each.
    pub fn owners(&self) -> usize {
        self.owners.load(Ordering::Relaxed)
    }

    /// An owner of whom `from` bytes were told holds `to`.
    pub fn change(&self, from: usize, to: usize) {
        if to > from {
            self.bytes.fetch_add(to - from, Ordering::Relaxed);
        } else if from > to {
            let before = self.bytes.fetch_sub(from - to, Ordering::Relaxed);
            debug_assert!(before >= from - to, "no more is taken back than was told");
        }
    }
}

/// A share in the table, found by its sharer.
#[derive(Debug)]
struct Listed(Arc<Share>);

impl Borrow<Sharer> for Listed {
    fn borrow(&self) -> &Sharer {
        &self.0.sharer
    }
}

impl PartialEq for Listed {
    fn eq(&self, other: &Listed) -> bool {
        self.0.sharer == other.0.sharer
    }
}

impl Eq for Listed {}

impl Hash for Listed {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.0.sharer.hash(hasher);
    }
}

/// The shares of a broker.
#[derive(Debug)]
pub struct Shares {
    table: Mutex<HashSet<Listed>>,
    /// How many there are.
    count: AtomicUsize,
}

impl Default for Shares {
    fn default() -> Self {
        Shares {
            table: Mutex::new(HashSet::new()),
            count: AtomicUsize::new(0),
        }
    }
}

impl Shares {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// The share of a sharer, if any shard has an owner with a part of it.
    pub fn find(&self, sharer: &Sharer) -> Option<Arc<Share>> {
        self.lock().get(sharer).map(|listed| Arc::clone(&listed.0))
    }

    /// One more owner has a part of it.
    pub fn join(&self, sharer: Sharer) -> Arc<Share> {
        let mut table = self.lock();
        let share = match table.get(&sharer) {
            Some(listed) => Arc::clone(&listed.0),
            None => {
                let share = Arc::new(Share::new(sharer));
                table.insert(Listed(Arc::clone(&share)));
                share
            }
        };
        share.owners.fetch_add(1, Ordering::Relaxed);
        self.count.store(table.len(), Ordering::Relaxed);
        share
    }

    /// One less, of whom `told` bytes were told; with the last one the share goes.
    pub fn leave(&self, share: &Share, told: usize) {
        let mut table = self.lock();
        share.change(told, 0);
        // Owners come and go under the lock alone.
        let before = share.owners.fetch_sub(1, Ordering::Relaxed);
        debug_assert!(before > 0, "it has joined");
        if before == 1 {
            table.remove(&share.sharer);
            if table.capacity() > 4 * table.len() + TABLE_KEPT {
                let kept = 2 * table.len();
                table.shrink_to(kept);
            }
            self.count.store(table.len(), Ordering::Relaxed);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<Listed>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_there_as_long_as_an_owner_has_a_part_of_it() {
        let shares = Shares::default();
        let [here, there] = [1, 2].map(Sharer::Address);
        let (a, b) = (shares.join(here.clone()), shares.join(here.clone()));
        let other = shares.join(there.clone());
        assert_eq!((shares.count(), a.owners(), other.owners()), (2, 2, 1));
        a.change(0, 100);
        b.change(0, 50);
        b.change(50, 10);
        assert_eq!(shares.find(&here).map(|share| share.bytes()), Some(110));
        assert_eq!(other.bytes(), 0);
        shares.leave(&a, 100);
        assert_eq!((shares.count(), b.bytes(), b.owners()), (2, 10, 1));
        shares.leave(&b, 10);
        assert!(shares.find(&here).is_none() && shares.count() == 1);
        shares.leave(&other, 0);
        assert_eq!(shares.count(), 0);
    }
}
