//! A bounded first-in-first-out queue of one producer and one consumer, lock-free.
//!
//! Two counters run freely and wrap: `tail` counts what was pushed, `head` what was popped; the item number `n` lies
//! in slot `n % slots`. Only the producer writes `tail`, only the consumer `head`, and each keeps a copy of the
//! other's last seen value, so that it reads the other's cache line only when the queue looks full (or empty):
//!
//! ```text
//! slots = 4          head = 6          tail = 9         items 6, 7, 8
//! slot:        0: 8     1: free     2: 6     3: 7       the next push goes to slot 9 % 4 = 1
//! ```
//!
//! Cost: O(1); a push or pop is one store to shared memory, and a load of the other side's counter once for each
//! time the copy is used up. No atomic read-modify-write.

use super::sync::{Arc, AtomicUsize, Ordering, UnsafeCell, empty_cells};
use std::mem::MaybeUninit;

/// A value with cache lines of its own. 128 bytes: two lines, since cores prefetch them in pairs.
#[repr(align(128))]
struct Apart<T>(T);

/// What both ends share.
struct Shared<T> {
    /// A power of two of them. Those numbered `head..tail` hold an item and are the consumer's; the others the
    /// producer's.
    slots: Box<[UnsafeCell<MaybeUninit<T>>]>,
    /// Items popped so far, wrapping; written by the consumer alone.
    head: Apart<AtomicUsize>,
    /// Items pushed so far, wrapping; written by the producer alone.
    tail: Apart<AtomicUsize>,
}

// SAFETY: the ends hand each slot over by `head` and `tail` (see `push` and `pop`), so no slot is touched by two
// threads at once. The items themselves change threads, hence `T: Send`; no `&T` is ever shared, so `T: Sync` is not
// needed.
unsafe impl<T: Send> Sync for Shared<T> {}
// SAFETY: as above; whoever drops the last end drops the items left.
unsafe impl<T: Send> Send for Shared<T> {}

impl<T> Shared<T> {
    /// The slot of item number `item`.
    #[inline(always)]
    fn slot(&self, item: usize) -> &UnsafeCell<MaybeUninit<T>> {
        // The number of slots is a power of two, so this is `item % slots`, also where `item` has wrapped.
        &self.slots[item & (self.slots.len() - 1)]
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        // Relaxed: this thread dropped the last end, and the count of ends ordered everything before that.
        let mut head = self.head.0.load(Ordering::Relaxed);
        let tail = self.tail.0.load(Ordering::Relaxed);
        while head != tail {
            // SAFETY: slots `head..tail` hold items, and `&mut self` says that both ends are gone.
            self.slot(head)
                .with_mut(|slot| unsafe { (*slot).assume_init_drop() });
            head = head.wrapping_add(1);
        }
    }
}

/// The end that pushes. Neither `Clone` nor shared: one thread at a time owns it.
pub struct Producer<T> {
    shared: Arc<Shared<T>>,
    /// The truth of `shared.tail`.
    tail: usize,
    /// `shared.head` as last seen; the truth may be further on.
    head_seen: usize,
}

/// The end that pops. Neither `Clone` nor shared: one thread at a time owns it.
pub struct Consumer<T> {
    shared: Arc<Shared<T>>,
    /// The truth of `shared.head`.
    head: usize,
    /// `shared.tail` as last seen; the truth may be further on.
    tail_seen: usize,
}

/// A queue of `slots` items at most, a power of two. What is still in it when both ends are gone is dropped.
pub fn queue<T: Send>(slots: usize) -> (Producer<T>, Consumer<T>) {
    queue_from(slots, 0)
}

/// A queue whose counters start at `start`, so that tests meet their wrapping.
fn queue_from<T: Send>(slots: usize, start: usize) -> (Producer<T>, Consumer<T>) {
    assert!(slots.is_power_of_two());
    let shared = Arc::new(Shared {
        slots: empty_cells(slots),
        head: Apart(AtomicUsize::new(start)),
        tail: Apart(AtomicUsize::new(start)),
    });
    let producer = Producer {
        shared: Arc::clone(&shared),
        tail: start,
        head_seen: start,
    };
    let consumer = Consumer {
        shared,
        head: start,
        tail_seen: start,
    };
    (producer, consumer)
}

impl<T: Send> Producer<T> {
    /// Items the queue holds when full.
    pub fn slots(&self) -> usize {
        self.shared.slots.len()
    }

    /// Appends `item`, or gives it back when the queue is full.
    #[inline]
    pub fn push(&mut self, item: T) -> Result<(), T> {
        let slots = self.shared.slots.len();
        if self.tail.wrapping_sub(self.head_seen) == slots {
            // Acquire: the consumer has moved the item out of each slot before `head`. Pairs with Release in
            // `Consumer::pop`.
            self.head_seen = self.shared.head.0.load(Ordering::Acquire);
            if self.tail.wrapping_sub(self.head_seen) == slots {
                return Err(item);
            }
        }
        assert!(self.tail.wrapping_sub(self.head_seen) < slots);
        // SAFETY: by the assert `tail` lies outside `head..tail`, the consumer's part, which only shrinks from
        // `head_seen` on; and this is the only producer, held by `&mut`. So no one else touches the slot, and it
        // holds no item to leak.
        self.shared.slot(self.tail).with_mut(|slot| unsafe {
            (*slot).write(item);
        });
        self.tail = self.tail.wrapping_add(1);
        // Release: whoever sees the new tail sees the item. Pairs with Acquire in `Consumer::pop` and
        // `Consumer::is_empty`.
        self.shared.tail.0.store(self.tail, Ordering::Release);
        Ok(())
    }

    /// Would a push fail now? Asks the consumer's counter itself if need be, but never changes the copy.
    #[inline]
    pub fn is_full(&self) -> bool {
        let slots = self.shared.slots.len();
        // Acquire: pairs with Release in `Consumer::pop`, as in `push`.
        self.tail.wrapping_sub(self.head_seen) == slots
            && self
                .tail
                .wrapping_sub(self.shared.head.0.load(Ordering::Acquire))
                == slots
    }
}

impl<T: Send> Consumer<T> {
    /// Takes the oldest item; `None` when the queue is empty.
    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        if self.head == self.tail_seen {
            // Acquire: the items before `tail` are seen whole. Pairs with Release in `Producer::push`.
            self.tail_seen = self.shared.tail.0.load(Ordering::Acquire);
            if self.head == self.tail_seen {
                return None;
            }
        }
        assert!(self.tail_seen.wrapping_sub(self.head) <= self.shared.slots.len());
        // SAFETY: `head` lies in `head..tail`, since it is not `tail_seen`: the slot holds an item whose writing
        // happened before the Acquire above. The producer leaves it alone until it sees `head` move past it, and this
        // is the only consumer, held by `&mut`; so the item is moved out once.
        let item = self
            .shared
            .slot(self.head)
            .with_mut(|slot| unsafe { (*slot).assume_init_read() });
        self.head = self.head.wrapping_add(1);
        // Release: the item was moved out before the slot is free again. Pairs with Acquire in `Producer::push` and
        // `Producer::is_full`.
        self.shared.head.0.store(self.head, Ordering::Release);
        Some(item)
    }

    /// Would a pop find nothing now? Asks the producer's counter itself if need be.
    #[inline]
    pub fn is_empty(&self) -> bool {
        // Acquire: pairs with Release in `Producer::push`, as in `pop`.
        self.head == self.tail_seen && self.head == self.shared.tail.0.load(Ordering::Acquire)
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn a_full_ring_gives_the_item_back() {
        let (mut producer, mut consumer) = queue(2);
        assert_eq!(producer.push("a"), Ok(()));
        assert!(!producer.is_full());
        assert_eq!(producer.push("b"), Ok(()));
        assert_eq!(producer.push("c"), Err("c"));
        assert!(producer.is_full());
        assert_eq!(consumer.pop(), Some("a"));
        assert!(!producer.is_full());
        assert_eq!(producer.push("d"), Ok(()));
        assert_eq!(consumer.pop(), Some("b"));
        assert!(!consumer.is_empty());
        assert_eq!(consumer.pop(), Some("d"));
        assert_eq!(consumer.pop(), None);
        assert!(consumer.is_empty());
    }

    #[test]
    fn one_slot_is_enough() {
        let (mut producer, mut consumer) = queue(1);
        for item in 0..10 {
            assert_eq!(consumer.pop(), None);
            assert_eq!(producer.push(item), Ok(()));
            assert_eq!(producer.push(99), Err(99));
            assert_eq!(consumer.pop(), Some(item));
        }
    }

    #[test]
    fn the_counters_may_wrap() {
        let (mut producer, mut consumer) = queue_from(4, usize::MAX - 5);
        for round in 0..8 {
            for item in 0..4 {
                assert_eq!(producer.push(round * 4 + item), Ok(()));
            }
            assert_eq!(producer.push(99), Err(99));
            for item in 0..4 {
                assert_eq!(consumer.pop(), Some(round * 4 + item));
            }
            assert_eq!(consumer.pop(), None);
        }
    }

    #[test]
    fn what_is_left_is_dropped_once() {
        let witness = std::sync::Arc::new(());
        for start in [0, usize::MAX - 1] {
            for (pushed, popped) in [(0, 0), (1, 0), (4, 0), (4, 4), (4, 3)] {
                let (mut producer, mut consumer) = queue_from(4, start);
                for _ in 0..pushed {
                    assert!(producer.push(witness.clone()).is_ok());
                }
                for _ in 0..popped {
                    assert!(consumer.pop().is_some());
                }
                assert_eq!(std::sync::Arc::strong_count(&witness), 1 + pushed - popped);
                if pushed % 2 == 0 {
                    drop(producer);
                    drop(consumer);
                } else {
                    drop(consumer);
                    assert!(producer.push(witness.clone()).is_ok());
                    drop(producer);
                }
                assert_eq!(std::sync::Arc::strong_count(&witness), 1);
            }
        }
    }

    #[test]
    fn two_threads_keep_the_order() {
        let items: usize = if cfg!(miri) { 500 } else { 300_000 };
        for slots in [1, 2, 64] {
            let (mut producer, mut consumer) = queue::<Box<usize>>(slots);
            let pusher = thread::spawn(move || {
                for number in 0..items {
                    let mut item = Box::new(number);
                    while let Err(back) = producer.push(item) {
                        item = back;
                        thread::yield_now();
                    }
                }
            });
            for number in 0..items {
                let item = loop {
                    match consumer.pop() {
                        Some(item) => break item,
                        None => thread::yield_now(),
                    }
                };
                assert_eq!(*item, number);
            }
            pusher.join().expect("the pusher ran through");
            assert!(consumer.pop().is_none());
        }
    }
}
