//! A shard's free blocks: what outboxes append to, taken when a connection has something to send and given back when
//! it has left, so that an idle connection holds none and a warm shard allocates none.
//!
//! The pool grants blocks without end and keeps at most `POOL_KEPT_BYTES_MAX` of what comes back; how many are out is bounded by the
//! bounds of the outboxes. Blocks come back larger than they went, as their packets needed, and are handed out again
//! last in, first out: the block still in the cache comes first.

use super::outbox::{Chunk, Chunks};
use crate::limits::{BLOCK_BYTES, BLOCK_KEPT_BYTES_MAX, POOL_KEPT_BYTES_MAX};

/// Free blocks of one shard. A new pool holds no memory.
#[derive(Default)]
pub struct Pool {
    /// Empty, each of `BLOCK_BYTES..=BLOCK_KEPT_BYTES_MAX` bytes of capacity.
    free: Vec<Vec<u8>>,
    /// Sum of the capacities in `free`.
    kept_bytes: usize,
}

impl Pool {
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty block of at least `BLOCK_BYTES` of capacity.
    #[inline]
    pub fn take(&mut self) -> Vec<u8> {
        match self.free.pop() {
            Some(block) => {
                self.kept_bytes -= block.capacity();
                block
            }
            None => Vec::with_capacity(BLOCK_BYTES),
        }
    }

    /// Keeps `block` for reuse. Frees it when it is larger than `BLOCK_KEPT_BYTES_MAX`, when it is smaller than a block (so it was
    /// never ours), or when the pool would then hold more than `POOL_KEPT_BYTES_MAX`.
    #[inline]
    pub fn give(&mut self, mut block: Vec<u8>) {
        let capacity = block.capacity();
        if (BLOCK_BYTES..=BLOCK_KEPT_BYTES_MAX).contains(&capacity)
            && self.kept_bytes + capacity <= POOL_KEPT_BYTES_MAX
        {
            block.clear();
            self.kept_bytes += capacity;
            self.free.push(block);
        }
    }

    /// Keeps the blocks of a send that is done, and lets go of its payloads.
    pub fn give_chunks(&mut self, chunks: Chunks) {
        for chunk in chunks {
            if let Chunk::Block(block) = chunk {
                self.give(block);
            }
        }
    }

    /// Bytes of memory in free blocks.
    pub fn kept_bytes(&self) -> usize {
        self.kept_bytes
    }

    /// Walks the free blocks, for tests.
    pub fn check_invariants(&self) {
        assert!(self.free.iter().all(|block| block.is_empty()));
        let kept_bytes: usize = self.free.iter().map(Vec::capacity).sum();
        assert_eq!(self.kept_bytes, kept_bytes);
        assert!(self.kept_bytes <= POOL_KEPT_BYTES_MAX);
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use super::*;

    #[test]
    fn a_block_comes_back_empty() {
        let mut pool = Pool::new();
        let mut block = pool.take();
        assert!(block.is_empty() && block.capacity() >= BLOCK_BYTES);
        assert_eq!(pool.kept_bytes(), 0);
        block.extend_from_slice(b"abc");
        let (start, capacity) = (block.as_ptr(), block.capacity());
        pool.give(block);
        assert_eq!(pool.kept_bytes(), capacity);
        pool.check_invariants();
        let block = pool.take();
        assert_eq!((block.as_ptr(), block.len()), (start, 0));
        assert_eq!(pool.kept_bytes(), 0);
    }

    #[test]
    fn large_and_small_blocks_are_freed() {
        let mut pool = Pool::new();
        pool.give(Vec::with_capacity(BLOCK_KEPT_BYTES_MAX + 1));
        pool.give(Vec::with_capacity(BLOCK_BYTES - 1));
        pool.give(Vec::new());
        assert_eq!(pool.kept_bytes(), 0);
        pool.give(Vec::with_capacity(BLOCK_KEPT_BYTES_MAX));
        assert_eq!(pool.kept_bytes(), BLOCK_KEPT_BYTES_MAX);
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
