//! Bytes of payloads by who published them: each payload counts once, for as long as anyone holds it, whoever that is
//! and on whatever shard.

pub use crate::mesh::sync::Arc;
use crate::mesh::sync::{AtomicUsize, Ordering};

/// Bytes that several threads count.
#[derive(Debug)]
pub struct Total(AtomicUsize);

impl Default for Total {
    fn default() -> Self {
        Total(AtomicUsize::new(0))
    }
}

impl Total {
    // Relaxed, all three: a number to look at, that orders nothing.
    /// A look without order: another thread may be adding or taking at the same time.
    #[inline]
    pub fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    #[inline]
    fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }

    #[inline]
    fn take(&self, bytes: usize) {
        let before = self.0.fetch_sub(bytes, Ordering::Relaxed);
        debug_assert!(before >= bytes, "no more is given back than was taken");
    }
}

/// What one owner has published and someone still holds.
#[derive(Debug)]
pub struct Account {
    own: Total,
    /// The same of all owners of this shard.
    all: Arc<Total>,
}

impl Account {
    /// An empty account whose bytes also count in `all`.
    pub fn new(all: Arc<Total>) -> Account {
        Account {
            own: Total::default(),
            all,
        }
    }

    /// Bytes held.
    #[inline]
    pub fn bytes(&self) -> usize {
        self.own.bytes()
    }
}

/// Counts in an account until it is dropped.
#[derive(Debug)]
pub struct Booked {
    account: Arc<Account>,
    bytes: u32,
}

impl Booked {
    /// Counts `bytes` in the account, and in the sum of all owners, from now on.
    pub fn new(account: &Arc<Account>, bytes: u32) -> Booked {
        account.own.add(bytes as usize);
        account.all.add(bytes as usize);
        Booked {
            account: Arc::clone(account),
            bytes,
        }
    }
}

impl Drop for Booked {
    fn drop(&mut self) {
        self.account.own.take(self.bytes as usize);
        self.account.all.take(self.bytes as usize);
    }
}
