//! A queue from any thread to one shard, for rare items: verdicts of the password thread, reloads, shutdown.
//!
//! A lock around a queue, and beside it the queue's length, so that a shard with an empty mailbox pays one load a turn.
//! The sender calls [`super::WakeFlag::must_wake`] after `push`; the owner checks `is_empty` after `about_to_sleep`.

use super::sync::{Arc, AtomicUsize, Mutex, MutexGuard, Ordering};
use std::sync::PoisonError;

struct Shared<T> {
    queue: Mutex<Vec<T>>,
    /// Length of `queue`, written under its lock.
    items: AtomicUsize,
    items_max: usize,
}

/// A handle of the queue. Givers and owner hold clones.
pub struct Mailbox<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Clone for Mailbox<T> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<T: Send> Mailbox<T> {
    /// An empty mailbox for at most `items_max` items.
    pub fn new(items_max: usize) -> Self {
        Self {
            shared: Arc::new(Shared {
                queue: Mutex::new(Vec::new()),
                items: AtomicUsize::new(0),
                items_max,
            }),
        }
    }

    /// Appends `item`. False, and the item is dropped, when the mailbox is full.
    #[must_use]
    pub fn push(&self, item: T) -> bool {
        let mut queue = self.lock();
        if queue.len() >= self.shared.items_max {
            return false;
        }
        queue.push(item);
        // Relaxed: the lock orders the queue, and the fences of `WakeFlag` order this length for the owner who lies
        // down.
        self.shared.items.store(queue.len(), Ordering::Relaxed);
        true
    }

    /// Appends `item` even to a full mailbox: for rare items that must not be lost, such as the commands of an
    /// operator.
    pub fn push_always(&self, item: T) {
        let mut queue = self.lock();
        queue.push(item);
        // Relaxed: as in `push`.
        self.shared.items.store(queue.len(), Ordering::Relaxed);
    }

    /// Moves everything, oldest first, to the end of `out`. Takes the lock only if there is something.
    pub fn drain(&self, out: &mut Vec<T>) {
        if self.is_empty() {
            return;
        }
        let mut queue = self.lock();
        out.append(&mut queue);
        self.shared.items.store(0, Ordering::Relaxed);
    }

    /// Whether the mailbox is empty. One load, no lock. It may miss a push that is under way, but never one whose
    /// wake-up has come.
    #[inline]
    pub fn is_empty(&self) -> bool {
        // Relaxed: an answer out of date is corrected by the wake-up (fences in `WakeFlag`).
        self.shared.items.load(Ordering::Relaxed) == 0
    }

    /// No code panics while it holds the lock, so a poisoned queue is a whole queue.
    fn lock(&self) -> MutexGuard<'_, Vec<T>> {
        self.shared
            .queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn first_in_first_out_and_bounded() {
        let mailbox = Mailbox::new(2);
        let giver = mailbox.clone();
        let mut out = Vec::new();
        mailbox.drain(&mut out);
        assert!(mailbox.is_empty() && out.is_empty());
        assert!(giver.push(1));
        assert!(giver.push(2));
        assert!(!giver.push(3));
        giver.push_always(4);
        assert!(!giver.push(5) && !mailbox.is_empty());
        mailbox.drain(&mut out);
        assert!(mailbox.is_empty());
        assert!(giver.push(6));
        mailbox.drain(&mut out);
        assert_eq!(out, [1, 2, 4, 6]);
    }

    #[test]
    fn nothing_is_lost_between_threads() {
        let items = if cfg!(miri) { 100 } else { 20_000 };
        let mailbox = Mailbox::new(16);
        let givers: Vec<_> = (0..2)
            .map(|giver| {
                let mailbox = mailbox.clone();
                thread::spawn(move || {
                    for number in 0..items {
                        while !mailbox.push((giver, number)) {
                            thread::yield_now();
                        }
                    }
                })
            })
            .collect();
        let mut next = [0; 2];
        let mut out = Vec::new();
        while next != [items; 2] {
            mailbox.drain(&mut out);
            assert!(out.len() <= 16);
            if out.is_empty() {
                thread::yield_now();
            }
            for (giver, number) in out.drain(..) {
                assert_eq!(number, next[giver]);
                next[giver] += 1;
            }
        }
        for giver in givers {
            giver.join().expect("the giver ran through");
        }
        assert!(mailbox.is_empty());
    }
}
