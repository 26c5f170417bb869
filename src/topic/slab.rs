//! A vector of reusable slots, named by their index.

use crate::buffer::heap::KERNEL_FROM_BYTES;
use std::ops::{Index, IndexMut};

/// A slab of fewer bytes may lie in the common heap.
const HEAP_BELOW_BYTES: usize = 128 * 1024;
/// Slots a slab keeps when it gives its memory back.
const KEPT_SLOTS: usize = 64;

/// Values in slots numbered from 0. A freed slot holds `T::default()` and is the next to be reused.
///
/// Slots never move, so the memory of freed ones stays until few enough are in use ([`Slab::trim`]).
pub(super) struct Slab<T> {
    slots: Vec<T>,
    free: Vec<u32>,
}

impl<T: Default> Slab<T> {
    pub fn new() -> Self {
        Slab {
            slots: Vec::new(),
            free: Vec::new(),
        }
    }

    /// Slots in use.
    pub fn live(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Puts `value` in a slot and names it. Indices stay below 2^31, so that a bit is left to the caller.
    pub fn insert(&mut self, value: T) -> u32 {
        if let Some(index) = self.free.pop() {
            self.slots[index as usize] = value;
            return index;
        }
        let index = self.slots.len();
        assert!(index < 1 << 31, "a slab holds fewer than 2^31 slots");
        if index == self.slots.capacity() {
            self.slots.reserve_exact(slots_more(index, size_of::<T>()));
        }
        self.slots.push(value);
        index as u32
    }

    /// Empties a slot in use.
    pub fn remove(&mut self, index: u32) -> T {
        let value = std::mem::take(&mut self.slots[index as usize]);
        self.free.push(index);
        value
    }

    /// Gives memory back if only the first `kept` slots are in use. Otherwise does nothing.
    pub fn trim(&mut self, kept: usize) {
        if self.live() == kept && self.slots.capacity() > KEPT_SLOTS {
            assert!(self.free.iter().all(|&index| index as usize >= kept));
            self.slots.truncate(kept);
            self.slots.shrink_to(KEPT_SLOTS);
            self.free = Vec::new();
        }
    }

    /// The slot, if it was ever used.
    pub fn get(&self, index: u32) -> Option<&T> {
        self.slots.get(index as usize)
    }

    /// The indices in use, ascending. O(slots); for invariants and tests.
    pub fn indices(&self) -> Vec<u32> {
        let mut used = vec![true; self.slots.len()];
        for &index in &self.free {
            assert!(
                std::mem::take(&mut used[index as usize]),
                "slot {index} is free twice"
            );
        }
        (0..self.slots.len() as u32)
            .filter(|&index| used[index as usize])
            .collect()
    }
}

/// How many slots a full slab of `slots` gets.
///
/// An eighth more instead of twice as much: at 100,000 filters the slack is memory for nothing, and the allocator moves
/// a large block by its pages. A block between the two sizes below would lie in the common heap and leave a hole there
/// when it grows on, which cost 16 bytes of each of 100,000 filters. So a slab goes past them in one step: the room
/// that it does not use yet is pages that nothing has touched.
fn slots_more(slots: usize, slot_bytes: usize) -> usize {
    let more = (slots / 8).max(8);
    let bytes = (slots + more) * slot_bytes;
    if !(HEAP_BELOW_BYTES..KERNEL_FROM_BYTES).contains(&bytes) {
        return more;
    }
    KERNEL_FROM_BYTES.div_ceil(slot_bytes) - slots
}

impl<T> Index<u32> for Slab<T> {
    type Output = T;
    fn index(&self, index: u32) -> &T {
        &self.slots[index as usize]
    }
}

impl<T> IndexMut<u32> for Slab<T> {
    fn index_mut(&mut self, index: u32) -> &mut T {
        &mut self.slots[index as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_freed_slot_is_the_next_to_be_used() {
        let mut slab = Slab::new();
        assert_eq!(
            (slab.insert(10), slab.insert(11), slab.insert(12)),
            (0, 1, 2)
        );
        assert_eq!(slab.remove(1), 11);
        assert_eq!((slab.live(), slab[1]), (2, 0));
        assert_eq!(slab.insert(13), 1);
        assert_eq!(slab.indices(), [0, 1, 2]);
    }

    /// The blocks it has had are small, or the kernel's: none leaves a large hole in the common heap.
    #[test]
    fn no_block_lies_between_the_heap_and_the_kernel() {
        for slot_bytes in [8, 24, 32, 200] {
            let mut slots = 0;
            while slots * slot_bytes < 4 * KERNEL_FROM_BYTES {
                slots += slots_more(slots, slot_bytes);
                let bytes = slots * slot_bytes;
                let is_kernels = bytes >= KERNEL_FROM_BYTES;
                assert!(
                    bytes < HEAP_BELOW_BYTES || is_kernels,
                    "{slots} of {slot_bytes}"
                );
                assert!(bytes < KERNEL_FROM_BYTES * 5, "{slots} of {slot_bytes}");
            }
        }
    }

    #[test]
    fn memory_goes_back_when_only_the_kept_slots_are_in_use() {
        let mut slab = Slab::new();
        for value in 0..1000 {
            slab.insert(value);
        }
        for index in 1..1000 {
            slab.trim(1);
            assert_eq!(slab.get(999).is_some(), slab.live() > 1);
            slab.remove(index);
        }
        slab.trim(1);
        assert_eq!(
            (slab.live(), slab.slots.len(), slab.free.capacity()),
            (1, 1, 0)
        );
        assert!(slab.slots.capacity() <= KEPT_SLOTS);
    }
}
