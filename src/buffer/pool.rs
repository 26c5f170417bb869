//! A shard's free blocks: what outboxes append to, taken when a connection has something to send and given back when
//! it has left, so that an idle connection holds none and a warm shard allocates none.
//!
//! There are blocks of two sizes, for little and for much, so that a block is never copied while it grows. The pool
//! never refuses a block and keeps at most `POOL_KEPT_BYTES_MAX` of the blocks that come back. The limits of the
//! outboxes bound how many are out. The block that came back last is handed out first, because it is still in the
//! cache.
//!
//! Large packets are received into vectors of their own ([`Pool::take_packet`]). Some of these are kept too, within
//! bounds of their own.

use super::chunk::{Chunk, Chunks};
use crate::limits::{
    BLOCK_BYTES, LARGE_BLOCK_BYTES, POOL_KEPT_BYTES_MAX, SPARE_PACKET_BYTES,
    SPARE_PACKETS_BYTES_MAX, SPARE_PACKETS_MAX,
};

/// Free blocks of one shard. A new pool holds no memory.
#[derive(Default)]
pub struct Pool {
    /// Empty, each of `BLOCK_BYTES..LARGE_BLOCK_BYTES` bytes of capacity.
    small: Vec<Vec<u8>>,
    /// Empty, each of `LARGE_BLOCK_BYTES` of capacity.
    large: Vec<Vec<u8>>,
    /// Sum of all their capacities.
    kept_bytes: usize,
    /// Empty vectors of large packets that have gone, the oldest first, and the sum of their capacities.
    packets: Vec<Vec<u8>>,
    packets_bytes: usize,
}

impl Pool {
    /// An empty pool: blocks are allocated as they are first asked for.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty block with room for `bytes`, and some more.
    #[inline]
    pub fn take(&mut self, bytes: usize) -> Vec<u8> {
        let (free, capacity) = if bytes <= BLOCK_BYTES {
            (&mut self.small, BLOCK_BYTES)
        } else if bytes <= LARGE_BLOCK_BYTES {
            (&mut self.large, LARGE_BLOCK_BYTES)
        } else {
            return Vec::with_capacity(bytes);
        };
        match free.pop() {
            Some(block) => {
                self.kept_bytes -= block.capacity();
                block
            }
            None => Vec::with_capacity(capacity),
        }
    }

    /// Keeps `block` for reuse. Frees it when it is larger than `LARGE_BLOCK_BYTES`, when it is smaller than a block
    /// (so it was never ours), or when the pool would then hold more than `POOL_KEPT_BYTES_MAX`.
    #[inline]
    pub fn give(&mut self, mut block: Vec<u8>) {
        let capacity = block.capacity();
        let free = match capacity {
            BLOCK_BYTES..LARGE_BLOCK_BYTES => &mut self.small,
            LARGE_BLOCK_BYTES => &mut self.large,
            _ => return,
        };
        if self.kept_bytes + capacity <= POOL_KEPT_BYTES_MAX {
            block.clear();
            self.kept_bytes += capacity;
            free.push(block);
        }
    }

    /// Keeps the blocks of a send that is done, and lets go of its payloads.
    pub fn give_chunks(&mut self, mut chunks: Chunks) {
        // Nearly always one, which an iterator would only make dearer.
        while let Some(chunk) = chunks.pop() {
            match chunk {
                Chunk::Block(block) => self.give(block),
                Chunk::Shared { payload, .. } => {
                    if let Some(vector) = payload.into_vector() {
                        self.give_packet(vector);
                    }
                }
            }
        }
    }

    /// An empty vector for a packet of so many bytes: a kept one that is not much too large, else one without memory. A
    /// length that a peer only announced gets no memory.
    pub fn take_packet(&mut self, bytes: usize) -> Vec<u8> {
        let fits = |vector: &Vec<u8>| (bytes..=bytes + bytes / 4).contains(&vector.capacity());
        let Some(at) = self.packets.iter().rposition(fits) else {
            return Vec::new();
        };
        let vector = self.packets.remove(at);
        self.packets_bytes -= vector.capacity();
        vector
    }

    /// Keeps the vector of a large packet for the next one. If there is no room, the oldest kept vectors are freed.
    pub fn give_packet(&mut self, mut vector: Vec<u8>) {
        let capacity = vector.capacity();
        if !(SPARE_PACKET_BYTES..=SPARE_PACKETS_BYTES_MAX / 2).contains(&capacity) {
            return;
        }
        while self.packets_bytes + capacity > SPARE_PACKETS_BYTES_MAX
            || self.packets.len() == SPARE_PACKETS_MAX
        {
            self.packets_bytes -= self.packets.remove(0).capacity();
        }
        vector.clear();
        self.packets_bytes += capacity;
        self.packets.push(vector);
    }

    /// Bytes of memory in free blocks.
    pub fn kept_bytes(&self) -> usize {
        self.kept_bytes
    }

    /// Walks the free blocks, for tests.
    pub fn check_invariants(&self) {
        let free = || self.small.iter().chain(&self.large);
        assert!(free().all(|block| block.is_empty()));
        let least = |block: &Vec<u8>| block.capacity() >= BLOCK_BYTES;
        assert!(self.small.iter().all(least));
        let all = |block: &Vec<u8>| block.capacity() == LARGE_BLOCK_BYTES;
        assert!(self.large.iter().all(all));
        let kept_bytes: usize = free().map(Vec::capacity).sum();
        assert_eq!(self.kept_bytes, kept_bytes);
        assert!(self.kept_bytes <= POOL_KEPT_BYTES_MAX);
        assert!(self.packets.iter().all(Vec::is_empty));
        let packets_bytes: usize = self.packets.iter().map(Vec::capacity).sum();
        assert_eq!(self.packets_bytes, packets_bytes);
        assert!(packets_bytes <= SPARE_PACKETS_BYTES_MAX);
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use super::*;

    #[test]
    fn a_block_comes_back_empty() {
        let mut pool = Pool::new();
        let mut block = pool.take(1);
        assert!(block.is_empty() && block.capacity() >= BLOCK_BYTES);
        assert_eq!(pool.kept_bytes(), 0);
        block.extend_from_slice(b"abc");
        let (start, capacity) = (block.as_ptr(), block.capacity());
        pool.give(block);
        assert_eq!(pool.kept_bytes(), capacity);
        pool.check_invariants();
        let block = pool.take(1);
        assert_eq!((block.as_ptr(), block.len()), (start, 0));
        assert_eq!(pool.kept_bytes(), 0);
    }

    #[test]
    fn larger_and_smaller_blocks_are_freed() {
        let mut pool = Pool::new();
        pool.give(Vec::with_capacity(LARGE_BLOCK_BYTES + 1));
        pool.give(Vec::with_capacity(BLOCK_BYTES - 1));
        pool.give(Vec::new());
        assert_eq!(pool.kept_bytes(), 0);
        pool.give(Vec::with_capacity(LARGE_BLOCK_BYTES));
        assert_eq!(pool.kept_bytes(), LARGE_BLOCK_BYTES);
        pool.check_invariants();
    }

    #[test]
    fn who_needs_much_gets_a_large_block_and_nobody_else() {
        let mut pool = Pool::new();
        for bytes in [1, BLOCK_BYTES, BLOCK_BYTES + 1, LARGE_BLOCK_BYTES, 100_000] {
            let block = pool.take(bytes);
            let capacity = [BLOCK_BYTES, LARGE_BLOCK_BYTES, bytes]
                .into_iter()
                .find(|capacity| *capacity >= bytes);
            assert_eq!(Some(block.capacity()), capacity);
            pool.give(block);
            pool.check_invariants();
        }
        assert_eq!(pool.kept_bytes(), BLOCK_BYTES + LARGE_BLOCK_BYTES);
    }

    #[test]
    fn large_packets_get_what_earlier_ones_had() {
        let mut pool = Pool::new();
        assert_eq!(pool.take_packet(300_000).capacity(), 0);
        pool.give_packet(Vec::with_capacity(SPARE_PACKET_BYTES - 1));
        pool.give_packet(Vec::with_capacity(SPARE_PACKETS_BYTES_MAX));
        assert_eq!(pool.packets_bytes, 0, "too small, and too large");
        let mut vector = Vec::with_capacity(300_000);
        vector.extend_from_slice(b"abc");
        pool.give_packet(vector);
        pool.check_invariants();
        assert_eq!(pool.take_packet(300_001).capacity(), 0);
        assert_eq!(pool.take_packet(200_000).capacity(), 0, "much too large");
        let vector = pool.take_packet(290_000);
        assert_eq!((vector.capacity(), vector.len()), (300_000, 0));
        assert_eq!(pool.take_packet(290_000).capacity(), 0);
        for bytes in [1 << 20, 300_000, 1 << 20, 1 << 20, 1 << 20, 1 << 20] {
            pool.give_packet(Vec::with_capacity(bytes));
            pool.check_invariants();
        }
        assert_eq!(pool.packets.len(), 4, "the oldest have gone");
        for _ in 0..2 * SPARE_PACKETS_MAX {
            pool.give_packet(Vec::with_capacity(SPARE_PACKET_BYTES));
        }
        assert_eq!(pool.packets.len(), SPARE_PACKETS_MAX);
        pool.check_invariants();
    }

    #[test]
    fn the_pool_is_bounded() {
        let mut pool = Pool::new();
        for _ in 0..2 * POOL_KEPT_BYTES_MAX / BLOCK_BYTES {
            pool.give(Vec::with_capacity(BLOCK_BYTES));
        }
        assert_eq!(pool.kept_bytes(), POOL_KEPT_BYTES_MAX);
        pool.check_invariants();
    }
}
