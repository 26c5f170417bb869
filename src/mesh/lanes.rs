//! The lanes between shards: an [`spsc`](super::spsc) queue for each ordered pair of shards, N × (N - 1) in all, and an
//! [`Endpoint`] a shard that holds its ends of them.
//!
//! Sending never fails and never waits. An item that finds its queue full goes to a spill queue on the sender's side,
//! and so does every later item until the spill is empty again. So a lane is first in, first out. Two shards whose
//! lanes to each other are full both go on receiving, so they cannot deadlock. A lane is full when it has as many
//! items, or as many bytes, as [`Bounds`] say. The spill has no bound of its own: the sender looks at
//! [`Endpoint::spilled`] and paces its publishers (`SPILL_HIGH`, `SPILL_LOW` in `limits`).
//!
//! A sender that sleeps on a spill must learn that its lane has room again. So while a lane spills, its receiver counts
//! the sender among the peers to wake ([`Endpoint::take_sent_to`]), and [`Endpoint::is_empty`] of the sender is false
//! when its spill could move on. The turn of a driver:
//!
//! ```text
//! awake                      WakeFlag::awake
//! unspill                    then receive, handle, flush, send
//! take_sent_to               for each bit: peer's WakeFlag::must_wake → wake it
//! about_to_sleep             WakeFlag, own
//! is_empty? sleep : go on
//! ```
//!
//! Cost: O(1) an item; one fence a turn in which something was received. With one shard there are no lanes and no
//! atomics.

use super::spsc::{Consumer, Producer, queue};
use super::sync::{Arc, AtomicBool, AtomicUsize, Ordering, fence};
use crate::ids::ShardId;
use crate::limits::{
    LANE_QUANTUM, SHARDS_MAX, SPILL_HIGH, SPILL_HIGH_BYTES, SPILL_LOW, SPILL_LOW_BYTES,
};
use std::collections::VecDeque;

/// Which lanes spill, by `from * shards + to`. Written by the sender, read by the receiver.
type Spilling = Arc<Vec<AtomicBool>>;

/// What a lane holds at most.
pub struct Bounds<T> {
    /// A power of two.
    pub items: usize,
    /// One more item may pass it, so that a large item finds room in a lane that is not full.
    pub bytes: usize,
    /// The bytes that an item counts. They never change while the item is under way.
    pub bytes_of: fn(&T) -> usize,
}

/// What has been spilled.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Spilled {
    /// Messages in the sender's queue because the lane is full.
    pub items: usize,
    /// Their bytes, as [`Bounds::bytes_of`] counts them.
    pub bytes: usize,
}

impl Spilled {
    /// Whether the publishers through this lane must wait. `pressed`: they wait already.
    pub fn presses(self, pressed: bool) -> bool {
        if pressed {
            self.items >= SPILL_LOW || self.bytes >= SPILL_LOW_BYTES
        } else {
            self.items > SPILL_HIGH || self.bytes > SPILL_HIGH_BYTES
        }
    }
}

/// The sender's side of a lane.
struct Outgoing<T> {
    to: ShardId,
    producer: Producer<T>,
    /// Bytes put into the queue since the beginning, modulo 2^32 or 2^64.
    put_bytes: usize,
    /// What the receiver has taken of them, and what of it was last seen.
    taken_bytes: Arc<AtomicUsize>,
    taken_bytes_seen: usize,
    bytes_max: usize,
    /// Items that found the queue full, oldest first. All are younger than the items in the queue.
    spill: VecDeque<T>,
    spill_bytes: usize,
}

impl<T: Send> Outgoing<T> {
    /// Puts an item of so many bytes into the queue, or gives it back.
    #[inline]
    fn push(&mut self, item: T, bytes: usize) -> Result<(), T> {
        if self.put_bytes.wrapping_sub(self.taken_bytes_seen) >= self.bytes_max {
            // Relaxed: a number that grows; an old one only spills an item too many.
            self.taken_bytes_seen = self.taken_bytes.load(Ordering::Relaxed);
            if self.put_bytes.wrapping_sub(self.taken_bytes_seen) >= self.bytes_max {
                return Err(item);
            }
        }
        self.producer.push(item)?;
        self.put_bytes = self.put_bytes.wrapping_add(bytes);
        Ok(())
    }

    /// Whether the lane takes no more items now.
    fn is_full(&self) -> bool {
        // Relaxed: the fence in `WakeFlag::about_to_sleep` orders it, see `take_sent_to`.
        let taken_bytes = self.taken_bytes.load(Ordering::Relaxed);
        self.put_bytes.wrapping_sub(taken_bytes) >= self.bytes_max || self.producer.is_full()
    }
}

/// The receiver's side of a lane.
struct Incoming<T> {
    from: ShardId,
    consumer: Consumer<T>,
    /// Bytes taken since the beginning; written here alone.
    taken_bytes: Arc<AtomicUsize>,
}

/// A shard's ends of its lanes. Belongs to the shard's thread.
pub struct Endpoint<T> {
    shard: ShardId,
    shards: usize,
    /// By peer, without the shard itself: peer `p` lies at `p`, or at `p - 1` above the shard.
    outgoing: Vec<Outgoing<T>>,
    incoming: Vec<Incoming<T>>,
    bytes_of: fn(&T) -> usize,
    spilling: Spilling,
    /// Peers whose lane got an item since `take_sent_to`.
    sent_to: u64,
    /// Peers from whose lane an item was taken since `take_sent_to`.
    received_from: u64,
    /// Index into `incoming` at which the next `receive` begins.
    next: usize,
}

/// Endpoints of `shards` shards (1 to `SHARDS_MAX`), the one at `i` for shard `i`.
pub fn lanes<T: Send>(shards: usize, bounds: &Bounds<T>) -> Vec<Endpoint<T>> {
    assert!((1..=SHARDS_MAX).contains(&shards));
    let spilling: Spilling = Arc::new(
        (0..shards * shards)
            .map(|_| AtomicBool::new(false))
            .collect(),
    );
    let ids = || (0..shards).map(|index| ShardId(index as u8));
    let mut endpoints: Vec<Endpoint<T>> = ids()
        .map(|shard| Endpoint {
            shard,
            shards,
            outgoing: Vec::with_capacity(shards - 1),
            incoming: Vec::with_capacity(shards - 1),
            bytes_of: bounds.bytes_of,
            spilling: Arc::clone(&spilling),
            sent_to: 0,
            received_from: 0,
            next: 0,
        })
        .collect();
    for from in ids() {
        for to in ids().filter(|&to| to != from) {
            let (producer, consumer) = queue(bounds.items);
            let taken_bytes = Arc::new(AtomicUsize::new(0));
            endpoints[from.index()].outgoing.push(Outgoing {
                to,
                producer,
                put_bytes: 0,
                taken_bytes: Arc::clone(&taken_bytes),
                taken_bytes_seen: 0,
                bytes_max: bounds.bytes,
                spill: VecDeque::new(),
                spill_bytes: 0,
            });
            endpoints[to.index()].incoming.push(Incoming {
                from,
                consumer,
                taken_bytes,
            });
        }
    }
    endpoints
}

impl<T: Send> Endpoint<T> {
    /// The shard this endpoint belongs to.
    pub fn shard(&self) -> ShardId {
        self.shard
    }

    /// All shards, this one included.
    pub fn shards(&self) -> usize {
        self.shards
    }

    /// Puts `item` behind everything sent to that peer before. Never fails; a full lane spills.
    #[inline]
    pub fn send(&mut self, to: ShardId, item: T) {
        let index = self.lane(to);
        let bytes = (self.bytes_of)(&item);
        let lane = &mut self.outgoing[index];
        let spilling = !lane.spill.is_empty();
        let spilled = if spilling {
            item
        } else {
            match lane.push(item, bytes) {
                Ok(()) => {
                    self.sent_to |= to.bit();
                    return;
                }
                Err(item) => item,
            }
        };
        lane.spill.push_back(spilled);
        lane.spill_bytes += bytes;
        if !spilling {
            self.set_spilling(to, true);
        }
    }

    /// Moves spilled items, oldest first, into slots that have become free. Cheap when nothing is spilled; called
    /// once a turn.
    pub fn unspill(&mut self) {
        for index in 0..self.outgoing.len() {
            let lane = &mut self.outgoing[index];
            if lane.spill.is_empty() {
                continue;
            }
            let to = lane.to;
            let mut moved = false;
            while let Some(item) = lane.spill.pop_front() {
                let bytes = (self.bytes_of)(&item);
                if let Err(item) = lane.push(item, bytes) {
                    lane.spill.push_front(item);
                    break;
                }
                lane.spill_bytes -= bytes;
                moved = true;
            }
            if lane.spill.is_empty() {
                // A lane that spilled once need not hold the memory of its worst moment.
                lane.spill = VecDeque::new();
                self.set_spilling(to, false);
            }
            if moved {
                self.sent_to |= to.bit();
            }
        }
    }

    /// The items sent to that peer that are not yet in its lane.
    pub fn spilled(&self, to: ShardId) -> Spilled {
        let lane = &self.outgoing[self.lane(to)];
        Spilled {
            items: lane.spill.len(),
            bytes: lane.spill_bytes,
        }
    }

    /// The peers that must be told to look (by their `WakeFlag::must_wake`), as a mask, and forgets them: those whose
    /// lanes got items since the last call, and those that wait with a spill for the room made by `receive` since
    /// then. To be called after the last `send` and `receive` of a turn and before the shard sleeps.
    pub fn take_sent_to(&mut self) -> u64 {
        if self.received_from != 0 {
            // SeqCst: the slots and bytes freed by `receive` come before the reading of `spilling`. Pairs with the
            // fence of the sender's `WakeFlag::about_to_sleep`, which lies between its raising of `spilling` and its
            // look at what is free in `is_empty`: the sender sees the room and stays awake, or we see that it spills
            // and wake it.
            fence(Ordering::SeqCst);
            for lane in &self.incoming {
                // Relaxed: the fence orders.
                if self.received_from & lane.from.bit() != 0
                    && self.spilling(lane.from, self.shard).load(Ordering::Relaxed)
                {
                    self.sent_to |= lane.from.bit();
                }
            }
            self.received_from = 0;
        }
        std::mem::take(&mut self.sent_to)
    }

    /// Hands at most `max` received items to `f`, with the peer they come from: in order from each peer, and from all
    /// peers in turn, up to `LANE_QUANTUM` each time, so that none starves another. Returns how many there were;
    /// fewer than `max` mean that every lane was found empty.
    pub fn receive(&mut self, max: usize, mut f: impl FnMut(ShardId, T)) -> usize {
        let mut received = 0;
        // Lanes found empty since the last that gave something.
        let mut empty = 0;
        while received < max && empty < self.incoming.len() {
            let lane = &mut self.incoming[self.next];
            let quantum = LANE_QUANTUM.min(max - received);
            let mut taken = 0;
            let mut taken_bytes = 0;
            while taken < quantum {
                let Some(item) = lane.consumer.pop() else {
                    break;
                };
                taken += 1;
                taken_bytes += (self.bytes_of)(&item);
                f(lane.from, item);
            }
            if taken_bytes > 0 {
                // Relaxed: only this thread writes it; the fence in `take_sent_to` puts it before our look at who
                // spills.
                let before = lane.taken_bytes.load(Ordering::Relaxed);
                let after = before.wrapping_add(taken_bytes);
                lane.taken_bytes.store(after, Ordering::Relaxed);
            }
            if taken == 0 {
                empty += 1;
            } else {
                empty = 0;
                received += taken;
                self.received_from |= lane.from.bit();
            }
            self.next += 1;
            if self.next == self.incoming.len() {
                self.next = 0;
            }
        }
        received
    }

    /// Whether there is nothing to receive, and nothing spilled that has room in its lane now. Called before sleep,
    /// after `WakeFlag::about_to_sleep`.
    pub fn is_empty(&self) -> bool {
        self.incoming.iter().all(|lane| lane.consumer.is_empty())
            && self
                .outgoing
                .iter()
                .all(|lane| lane.spill.is_empty() || lane.is_full())
    }

    /// Index of the lane to `to`, a peer.
    #[inline]
    fn lane(&self, to: ShardId) -> usize {
        assert!(to != self.shard);
        to.index() - usize::from(to > self.shard)
    }

    fn spilling(&self, from: ShardId, to: ShardId) -> &AtomicBool {
        &self.spilling[from.index() * self.shards + to.index()]
    }

    fn set_spilling(&self, to: ShardId, on: bool) {
        // Relaxed: the fence in `WakeFlag::about_to_sleep` puts it before our sleep. Pairs with the fence in
        // `take_sent_to`.
        self.spilling(self.shard, to).store(on, Ordering::Relaxed);
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use super::*;
    use crate::mesh::WakeFlag;
    use std::thread;

    /// Items that count ten bytes each.
    fn bounds(items: usize) -> Bounds<u32> {
        Bounds {
            items,
            bytes: usize::MAX,
            bytes_of: |_| 10,
        }
    }

    fn received(endpoint: &mut Endpoint<u32>, max: usize) -> Vec<(u8, u32)> {
        let mut items = Vec::new();
        let count = endpoint.receive(max, |from, item| items.push((from.0, item)));
        assert_eq!(count, items.len());
        items
    }

    #[test]
    fn one_shard_has_no_lanes() {
        let mut endpoints = lanes(1, &bounds(4));
        let endpoint = &mut endpoints[0];
        assert_eq!((endpoint.shard(), endpoint.shards()), (ShardId(0), 1));
        endpoint.unspill();
        assert!(endpoint.is_empty());
        assert_eq!(endpoint.take_sent_to(), 0);
        assert_eq!(received(endpoint, 10), []);
    }

    #[test]
    fn every_pair_has_its_lane() {
        let shards = 5;
        let mut endpoints = lanes(shards, &bounds(4));
        for (from, endpoint) in endpoints.iter_mut().enumerate() {
            for to in (0..shards).filter(|&to| to != from) {
                endpoint.send(ShardId(to as u8), (from * 10 + to) as u32);
            }
        }
        for (to, endpoint) in endpoints.iter_mut().enumerate() {
            assert_eq!(endpoint.take_sent_to(), 0b11111 & !(1 << to));
            assert_eq!(endpoint.take_sent_to(), 0);
            let mut items = received(endpoint, 100);
            items.sort_unstable();
            let expected: Vec<_> = (0..shards)
                .filter(|&from| from != to)
                .map(|from| (from as u8, (from * 10 + to) as u32))
                .collect();
            assert_eq!(items, expected);
            assert!(endpoint.is_empty());
        }
    }

    #[test]
    fn a_full_lane_spills_in_order() {
        let mut endpoints = lanes(2, &bounds(4));
        let (left, right) = endpoints.split_at_mut(1);
        let (sender, receiver) = (&mut left[0], &mut right[0]);
        for item in 0..10 {
            sender.send(ShardId(1), item);
        }
        let spilled = |items| Spilled {
            items,
            bytes: 10 * items,
        };
        assert_eq!(sender.spilled(ShardId(1)), spilled(6));
        assert_eq!(sender.take_sent_to(), 0b10);
        assert!(sender.is_empty(), "a spill without room is no work");
        sender.unspill();
        assert_eq!(sender.take_sent_to(), 0);

        assert_eq!(received(receiver, 2), [(0, 0), (0, 1)]);
        assert_eq!(receiver.take_sent_to(), 0b01, "the sender waits for room");
        assert!(!sender.is_empty());
        sender.send(ShardId(1), 10);
        assert_eq!(
            sender.take_sent_to(),
            0,
            "what is behind a spill spills, room or not"
        );
        sender.unspill();
        assert_eq!(sender.take_sent_to(), 0b10);
        assert_eq!(sender.spilled(ShardId(1)), spilled(5));
        assert!(sender.is_empty());

        let mut items = Vec::new();
        while sender.spilled(ShardId(1)).items > 0 {
            items.extend(received(receiver, 100));
            sender.unspill();
        }
        assert_eq!(receiver.take_sent_to(), 0, "it spills no more");
        items.extend(received(receiver, 100));
        assert_eq!(items, (2..11).map(|item| (0, item)).collect::<Vec<_>>());
        assert_eq!(receiver.take_sent_to(), 0);
        assert!(receiver.is_empty() && sender.is_empty());
    }

    #[test]
    fn a_lane_is_full_of_bytes_too() {
        let bounds = Bounds {
            bytes: 25,
            ..bounds(16)
        };
        let mut endpoints = lanes(2, &bounds);
        let (left, right) = endpoints.split_at_mut(1);
        let (sender, receiver) = (&mut left[0], &mut right[0]);
        let mut expected = 0;
        for round in 0..20 {
            for item in 0..5 {
                sender.send(ShardId(1), round * 5 + item);
            }
            // Three pass: the third found 20 bytes in it. Two of ten bytes wait.
            let waiting = Spilled {
                items: 2,
                bytes: 20,
            };
            assert_eq!(sender.spilled(ShardId(1)), waiting);
            sender.unspill();
            assert_eq!(sender.spilled(ShardId(1)), waiting);
            assert!(sender.is_empty(), "a spill without room is no work");
            assert_eq!(received(receiver, 1), [(0, expected)]);
            assert_eq!(receiver.take_sent_to(), 0b01, "the sender waits for room");
            assert!(!sender.is_empty(), "there is room again");
            sender.unspill();
            assert_eq!(sender.spilled(ShardId(1)).items, 1);
            let rest = received(receiver, 100);
            sender.unspill();
            let last = received(receiver, 100);
            let items: Vec<u32> = [rest, last]
                .concat()
                .iter()
                .map(|(_, item)| *item)
                .collect();
            assert_eq!(items, (expected + 1..expected + 5).collect::<Vec<_>>());
            expected += 5;
            receiver.take_sent_to();
            assert!(sender.is_empty() && receiver.is_empty());
        }
    }

    #[test]
    fn a_spill_presses_from_high_to_low() {
        let spilled = |items, bytes| Spilled { items, bytes };
        for (items, bytes, begins, goes_on) in [
            (SPILL_HIGH + 1, 0, true, true),
            (1, SPILL_HIGH_BYTES + 1, true, true),
            (SPILL_HIGH, SPILL_HIGH_BYTES, false, true),
            (SPILL_LOW, 0, false, true),
            (0, SPILL_LOW_BYTES, false, true),
            (SPILL_LOW - 1, SPILL_LOW_BYTES - 1, false, false),
        ] {
            assert_eq!(spilled(items, bytes).presses(false), begins);
            assert_eq!(spilled(items, bytes).presses(true), goes_on);
        }
    }

    #[test]
    fn no_peer_starves_another() {
        let quantum = LANE_QUANTUM as u32;
        let mut endpoints = lanes(3, &bounds(1024));
        for item in 0..10 * quantum {
            endpoints[0].send(ShardId(2), item);
        }
        for item in 0..3 {
            endpoints[1].send(ShardId(2), item);
        }
        let items = received(&mut endpoints[2], LANE_QUANTUM + 3);
        assert_eq!(items.iter().filter(|(from, _)| *from == 1).count(), 3);
        assert_eq!(received(&mut endpoints[2], 1), [(0, quantum)]);
        assert_eq!(received(&mut endpoints[2], 0), []);
        let rest = received(&mut endpoints[2], 10_000);
        assert_eq!(
            rest,
            (quantum + 1..10 * quantum)
                .map(|item| (0, item))
                .collect::<Vec<_>>()
        );
    }

    #[test]
    fn dropped_endpoints_drop_their_items() {
        let witness = std::sync::Arc::new(());
        let bounds = Bounds {
            items: 2,
            bytes: usize::MAX,
            bytes_of: |_| 0,
        };
        let mut endpoints = lanes(3, &bounds);
        for _ in 0..5 {
            endpoints[0].send(ShardId(1), witness.clone());
            endpoints[2].send(ShardId(0), witness.clone());
        }
        endpoints.remove(1);
        endpoints[0].send(ShardId(1), witness.clone());
        drop(endpoints);
        assert_eq!(std::sync::Arc::strong_count(&witness), 1);
    }

    /// Every shard floods the next through two slots and sleeps whenever it may: a lost wake-up hangs, a lost or
    /// doubled item fails.
    #[test]
    fn shards_that_sleep_are_woken() {
        let items: u32 = if cfg!(miri) { 60 } else { 50_000 };
        let shards = 3;
        let flags: std::sync::Arc<Vec<WakeFlag>> =
            std::sync::Arc::new((0..shards).map(|_| WakeFlag::new()).collect());
        // Stand-ins for eventfds: a channel keeps a wake-up that comes before the sleep.
        let (bells, ears): (Vec<_>, Vec<_>) = (0..shards)
            .map(|_| std::sync::mpsc::channel::<()>())
            .unzip();
        let threads: Vec<_> = lanes(shards, &bounds(2))
            .into_iter()
            .zip(ears)
            .map(|(mut endpoint, ear)| {
                let flags = std::sync::Arc::clone(&flags);
                let bells = bells.clone();
                thread::spawn(move || {
                    let own = endpoint.shard().index();
                    let to = ShardId(((own + 1) % shards) as u8);
                    let (mut sent, mut expected) = (0, 0);
                    loop {
                        endpoint.unspill();
                        for _ in 0..7 {
                            if sent < items {
                                endpoint.send(to, sent);
                                sent += 1;
                            }
                        }
                        endpoint.receive(5, |_, item| {
                            assert_eq!(item, expected);
                            expected += 1;
                        });
                        let told = endpoint.take_sent_to();
                        for peer in 0..shards {
                            if told >> peer & 1 == 1 && flags[peer].must_wake() {
                                // A peer that is through has hung up.
                                let _ = bells[peer].send(());
                            }
                        }
                        if sent == items && expected == items && endpoint.spilled(to).items == 0 {
                            break;
                        }
                        if sent < items && endpoint.spilled(to).items < 20 {
                            continue;
                        }
                        flags[own].about_to_sleep();
                        if endpoint.is_empty() {
                            ear.recv_timeout(std::time::Duration::from_secs(60))
                                .expect("a wake-up was lost");
                        }
                        flags[own].awake();
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().expect("the shard ran through");
        }
    }
}
