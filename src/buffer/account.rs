//! Bytes by whom they belong to, counted where they are held: for as long as anyone holds them, whoever that is and on
//! whatever shard. A payload counts once, for who published it. Other things that are rare or that move between the
//! parts of a shard count themselves in the same way, because a drop anywhere takes them out.

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

/// What one owner has published, or brought about, and someone still holds.
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
    /// Counts `bytes` in the account, and in the sum of all owners, from now on. No more than 4 GiB.
    pub fn new(account: &Arc<Account>, bytes: usize) -> Booked {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        account.own.add(bytes as usize);
        account.all.add(bytes as usize);
        Booked {
            account: Arc::clone(account),
            bytes,
        }
    }

    /// Where it counts.
    pub fn account(&self) -> &Arc<Account> {
        &self.account
    }

    /// What it counts.
    pub fn bytes(&self) -> usize {
        self.bytes as usize
    }

    /// Counts so many instead.
    pub fn set(&mut self, bytes: usize) {
        if bytes != self.bytes() {
            *self = Booked::new(&self.account, bytes);
        }
    }
}

impl Drop for Booked {
    fn drop(&mut self) {
        self.account.own.take(self.bytes as usize);
        self.account.all.take(self.bytes as usize);
    }
}
