//! What a connection is about to send: packets appended during a turn, taken whole at the flush.
//!
//! Small packets are copied one after the other into the *tail block*; a large payload is only referenced and lies
//! between two blocks:
//!
//! ```text
//! earlier:  [Block: packets, head of a PUBLISH] [Shared: its payload] [Block: packets ..]     tail: [packets ..]
//! ```
//!
//! An outbox at rest is empty: no block, no list, no heap. One block holds an ordinary turn, so the list of earlier
//! chunks exists only for connections with large payloads or much to send. After a shared chunk comes a new block, of
//! `BLOCK_BYTES` at least even for a head of thirty; of a message with shared parts, each of which is
//! `PART_SHARED_FROM_BYTES` or more, memory stays within a small factor of [`Outbox::bytes`].
//!
//! Cost: O(1) for everything but `clear`, which is O(chunks).

use super::chunk::{Chunk, Chunks};
use super::payload::Payload;
use super::pool::Pool;
use crate::limits::LARGE_BLOCK_BYTES;
use std::fmt;

/// The unsent bytes of one connection.
#[derive(Default)]
pub struct Outbox {
    /// The block appended to; without capacity when there is none.
    tail: Vec<u8>,
    /// What comes before the tail, if anything.
    earlier: Option<Box<Earlier>>,
}

#[derive(Default)]
struct Earlier {
    chunks: Vec<Chunk>,
    /// Bytes of all `chunks`.
    bytes: usize,
}

// There is one outbox for each connection, most of them idle.
const _: () = assert!(size_of::<Outbox>() <= 40);

impl Outbox {
    /// An empty outbox, which holds no heap.
    pub fn new() -> Self {
        Self::default()
    }

    /// Is there nothing to send?
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.tail.is_empty() && self.earlier.is_none()
    }

    /// Bytes to send.
    #[inline]
    pub fn bytes(&self) -> usize {
        self.tail.len() + self.earlier.as_ref().map_or(0, |earlier| earlier.bytes)
    }

    /// The block to append about `bytes` to (at least 1), behind everything appended before. The caller may only
    /// append, because the bytes already in the block are part of the stream. It may append more than `bytes`; the
    /// block then grows.
    #[inline]
    pub fn block(&mut self, pool: &mut Pool, bytes: usize) -> &mut Vec<u8> {
        debug_assert!(bytes > 0);
        // One comparison, true also where there is no tail.
        if self.tail.capacity() - self.tail.len() < bytes {
            self.make_room(pool, bytes);
        }
        &mut self.tail
    }

    /// Appends packets. If they do not fit into a large block that has been begun, they fill it and go on in a second
    /// one, so that little of it stays unused.
    #[inline]
    pub fn append(&mut self, pool: &mut Pool, packets: &[u8]) {
        let room = self.tail.capacity() - self.tail.len();
        if room >= packets.len() {
            return self.tail.extend_from_slice(packets);
        }
        self.append_to_next(pool, packets, room);
    }

    #[inline(never)]
    fn append_to_next(&mut self, pool: &mut Pool, packets: &[u8], room: usize) {
        let mut rest = packets;
        if self.tail.capacity() >= LARGE_BLOCK_BYTES {
            self.tail.extend_from_slice(&packets[..room]);
            rest = &packets[room..];
        }
        self.block(pool, rest.len()).extend_from_slice(rest);
    }

    /// Appends `payload[start..end]` without copying it. Nothing is appended when that is empty.
    pub fn append_shared(&mut self, payload: Payload, start: u32, end: u32) {
        assert!(start <= end);
        assert!(end as usize <= payload.len());
        if start == end {
            return;
        }
        self.end_block();
        self.append_chunk(
            Chunk::Shared {
                payload,
                start,
                end,
            },
            (end - start) as usize,
        );
    }

    /// Takes everything, in order, and leaves the outbox empty without heap. No chunk is empty.
    #[inline]
    pub fn take(&mut self) -> Chunks {
        let tail = std::mem::take(&mut self.tail);
        let Some(earlier) = self.earlier.take() else {
            return match tail.is_empty() {
                true => Chunks::new(),
                false => Chunks::from_buf([Chunk::Block(tail)]),
            };
        };
        let mut chunks = Chunks::from_vec(earlier.chunks);
        if !tail.is_empty() {
            chunks.push(Chunk::Block(tail));
        }
        chunks
    }

    /// Drops everything unsent; blocks go back to the pool. Leaves the outbox empty without heap.
    pub fn clear(&mut self, pool: &mut Pool) {
        pool.give(std::mem::take(&mut self.tail));
        if let Some(earlier) = self.earlier.take() {
            pool.give_chunks(Chunks::from_vec(earlier.chunks));
        }
    }

    /// Walks the chunks, for tests.
    pub fn check_invariants(&self) {
        if let Some(earlier) = &self.earlier {
            assert!(!earlier.chunks.is_empty());
            assert!(earlier.chunks.iter().all(|chunk| !chunk.bytes().is_empty()));
            let bytes: usize = earlier.chunks.iter().map(|chunk| chunk.bytes().len()).sum();
            assert_eq!(earlier.bytes, bytes);
        }
    }

    /// Makes a tail with room for `bytes` more. A small block with content is moved into a large one, once; a large one
    /// is followed by another.
    #[inline(never)]
    fn make_room(&mut self, pool: &mut Pool, bytes: usize) {
        if self.tail.capacity() == 0 {
            // As it is for the first packet of a turn.
            self.tail = pool.take(bytes);
            return;
        }
        let held = self.tail.len();
        if self.tail.capacity() < LARGE_BLOCK_BYTES && held + bytes <= LARGE_BLOCK_BYTES {
            let mut block = pool.take(held + bytes);
            block.extend_from_slice(&self.tail);
            pool.give(std::mem::replace(&mut self.tail, block));
        } else {
            self.end_block();
            let block = pool.take(bytes);
            pool.give(std::mem::replace(&mut self.tail, block));
        }
    }

    /// Moves what the tail holds to the earlier chunks. A tail without bytes stays: it comes after them as well.
    fn end_block(&mut self) {
        if !self.tail.is_empty() {
            let tail = std::mem::take(&mut self.tail);
            let bytes = tail.len();
            self.append_chunk(Chunk::Block(tail), bytes);
        }
    }

    fn append_chunk(&mut self, chunk: Chunk, bytes: usize) {
        let earlier = self.earlier.get_or_insert_default();
        earlier.chunks.push(chunk);
        earlier.bytes += bytes;
    }
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Outbox({} bytes)", self.bytes())
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use super::*;
    use crate::limits::BLOCK_BYTES;

    /// All bytes of a taken outbox; no chunk may be empty.
    fn stream(chunks: &[Chunk]) -> Vec<u8> {
        assert!(chunks.iter().all(|chunk| !chunk.bytes().is_empty()));
        chunks
            .iter()
            .flat_map(|chunk| chunk.bytes().iter().copied())
            .collect()
    }

    fn holds_no_heap(outbox: &Outbox) -> bool {
        outbox.tail.capacity() == 0 && outbox.earlier.is_none()
    }

    #[cfg(target_pointer_width = "64")]
    #[test]
    fn it_is_small() {
        assert_eq!(size_of::<Outbox>(), 32);
        assert_eq!(size_of::<Chunk>(), 24);
        assert_eq!(size_of::<Chunks>(), 32);
    }

    #[test]
    fn an_ordinary_turn_is_one_block() {
        let mut pool = Pool::new();
        let mut outbox = Outbox::new();
        assert!(outbox.is_empty() && holds_no_heap(&outbox));
        outbox.block(&mut pool, 1).extend_from_slice(b"one");
        outbox.block(&mut pool, 1).extend_from_slice(b"two");
        assert!(!outbox.is_empty());
        assert_eq!(outbox.bytes(), 6);
        let chunks = outbox.take();
        assert_eq!(chunks.len(), 1);
        assert!(!chunks.spilled());
        assert_eq!(stream(&chunks), b"onetwo");
        assert!(outbox.is_empty() && holds_no_heap(&outbox));
        assert!(outbox.take().is_empty());
        pool.give_chunks(chunks);
        assert_eq!(pool.kept_bytes(), BLOCK_BYTES);
    }

    #[test]
    fn shared_bytes_lie_between_blocks() {
        let mut pool = Pool::new();
        let mut outbox = Outbox::new();
        let payload = Payload::new(b"0123456789");
        outbox.append_shared(payload.clone(), 0, 0);
        assert!(outbox.is_empty() && holds_no_heap(&outbox));
        outbox.append_shared(payload.clone(), 8, 10);
        outbox.block(&mut pool, 1).extend_from_slice(b"head");
        outbox.append_shared(payload.clone(), 2, 5);
        outbox.append_shared(payload.clone(), 5, 6);
        outbox.block(&mut pool, 1).extend_from_slice(b"tail");
        outbox.check_invariants();
        assert_eq!(outbox.bytes(), 14);
        assert_eq!(payload.handles(), 4);
        let chunks = outbox.take();
        assert_eq!(stream(&chunks), b"89head2345tail");
        assert_eq!(chunks.len(), 5);
        pool.give_chunks(chunks);
        assert_eq!(payload.handles(), 1);
        assert_eq!(pool.kept_bytes(), 2 * BLOCK_BYTES);
    }

    #[test]
    fn a_block_asked_for_in_vain_is_no_chunk() {
        let mut pool = Pool::new();
        let mut outbox = Outbox::new();
        outbox.block(&mut pool, 1);
        assert!(outbox.is_empty());
        assert!(outbox.take().is_empty());
        assert!(holds_no_heap(&outbox));
        outbox.block(&mut pool, 1);
        outbox.append_shared(Payload::new(b"a"), 0, 1);
        outbox.block(&mut pool, 1).push(b'b');
        assert_eq!(stream(&outbox.take()), b"ab");
    }

    #[test]
    fn a_block_grows_once_and_a_full_one_is_followed_by_another() {
        let mut pool = Pool::new();
        let mut outbox = Outbox::new();
        let packet = [1; 64];
        while outbox.bytes() < LARGE_BLOCK_BYTES {
            let block = outbox.block(&mut pool, packet.len());
            block.extend_from_slice(&packet);
            assert!([BLOCK_BYTES, LARGE_BLOCK_BYTES].contains(&block.capacity()));
        }
        assert!(outbox.earlier.is_none());
        assert_eq!(pool.kept_bytes(), BLOCK_BYTES);
        outbox.block(&mut pool, 1).push(2);
        assert_eq!(outbox.bytes(), LARGE_BLOCK_BYTES + 1);
        // Larger than a block may be: right, only not kept.
        let large = 2 * LARGE_BLOCK_BYTES;
        outbox.block(&mut pool, large).resize(large, 3);
        outbox.check_invariants();
        let chunks = outbox.take();
        assert_eq!(chunks.len(), 3);
        pool.give_chunks(chunks);
        pool.check_invariants();
        assert_eq!(pool.kept_bytes(), BLOCK_BYTES + LARGE_BLOCK_BYTES);
    }

    #[test]
    fn packets_fill_a_large_block_to_its_end() {
        let mut pool = Pool::new();
        let mut outbox = Outbox::new();
        for _ in 0..4 {
            outbox.append(&mut pool, &[1; 20_000]);
        }
        let chunks = outbox.take();
        let sizes: Vec<usize> = chunks.iter().map(|chunk| chunk.bytes().len()).collect();
        assert_eq!(sizes, [LARGE_BLOCK_BYTES, 80_000 - LARGE_BLOCK_BYTES]);
    }

    #[test]
    fn clear_gives_everything_back() {
        let mut pool = Pool::new();
        let mut outbox = Outbox::new();
        let payload = Payload::new(b"abc");
        outbox.block(&mut pool, 1).push(1);
        outbox.append_shared(payload.clone(), 0, 3);
        outbox.block(&mut pool, 1).push(2);
        outbox.clear(&mut pool);
        assert!(outbox.is_empty() && holds_no_heap(&outbox));
        assert_eq!(outbox.bytes(), 0);
        assert_eq!(payload.handles(), 1);
        assert_eq!(pool.kept_bytes(), 2 * BLOCK_BYTES);
        outbox.clear(&mut pool);
        assert_eq!(pool.kept_bytes(), 2 * BLOCK_BYTES);
    }

    /// A pseudo-random number (xorshift), the same on every run.
    fn random(state: &mut u64) -> usize {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        (*state >> 16) as usize
    }

    #[test]
    fn it_says_what_a_vector_says() {
        let (seeds, steps) = if cfg!(miri) { (2, 60) } else { (10, 2_000) };
        for seed in 1..=seeds {
            let mut state = 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed);
            let mut pool = Pool::new();
            let mut outbox = Outbox::new();
            let mut oracle: Vec<u8> = Vec::new();
            let payload = Payload::new(
                &(0..20_000u32)
                    .map(|i| (i * 7 % 251) as u8)
                    .collect::<Vec<_>>(),
            );
            for step in 0..steps {
                match random(&mut state) % 100 {
                    0..60 => {
                        // Mostly small, some larger than a block.
                        let scale = [10, 100, 5_000, 30_000][random(&mut state) % 4];
                        let run = vec![step as u8; random(&mut state) % scale];
                        let announced = 1 + random(&mut state) % scale;
                        outbox.block(&mut pool, announced).extend_from_slice(&run);
                        oracle.extend_from_slice(&run);
                    }
                    60..75 => {
                        let scale = [10, 100, 5_000, 70_000][random(&mut state) % 4];
                        let run = vec![step as u8; 1 + random(&mut state) % scale];
                        outbox.append(&mut pool, &run);
                        oracle.extend_from_slice(&run);
                    }
                    75..90 => {
                        let end = random(&mut state) % (payload.len() + 1);
                        let start = random(&mut state) % (end + 1);
                        outbox.append_shared(payload.clone(), start as u32, end as u32);
                        oracle.extend_from_slice(&payload[start..end]);
                    }
                    90..98 => {
                        let chunks = outbox.take();
                        assert!(holds_no_heap(&outbox));
                        assert!(stream(&chunks) == oracle, "seed {seed}, step {step}");
                        pool.give_chunks(chunks);
                        oracle.clear();
                    }
                    _ => {
                        outbox.clear(&mut pool);
                        oracle.clear();
                    }
                }
                assert_eq!(outbox.bytes(), oracle.len(), "seed {seed}, step {step}");
                assert_eq!(outbox.is_empty(), oracle.is_empty());
                outbox.check_invariants();
                pool.check_invariants();
            }
            outbox.clear(&mut pool);
            assert_eq!(payload.handles(), 1);
        }
    }
}
