//! Frames that leave: a frame for each packet, made where the packets already lie.
//!
//! The shard gives a list of chunks, blocks of packets and shared payloads. Each packet says its length in its first
//! bytes, so a walk over the list finds where frames begin, and their heads are put in there:
//!
//! ```text
//! Block [packet packet head-of-PUBLISH] Shared [payload] Block [packet]
//! Block [h packet h packet h head-of-PUBLISH] Shared [payload] Block [h packet]
//! ```
//!
//! A block of many packets is framed into a spare one of its size in one pass, and becomes the spare itself. Any other
//! that has room is opened from its end to its start, each packet moved once; one that has none is copied into a larger
//! one. Shared payloads stay where they are. So a turn's packets leave in one send, as they do without frames.
//!
//! In a fan-out, the packets of one turn are the same for many connections. So the block that was framed last is kept
//! as soon as it seems to come again, and a block that is the same is only compared and copied: see [`Last`].
//!
//! Where frames begin is a courtesy to Clients that take a frame for a packet. Every split would be right [v3.1.1
//! MQTT-6.0.0-2, v5 MQTT-6.0.0-2], so bytes whose length cannot be read go as one frame.

use super::frames::{Opcode, head, head_bytes};
use crate::buffer::{Chunk, Chunks};
use crate::limits::{BLOCK_BYTES, LARGE_BLOCK_BYTES};
use smallvec::SmallVec;

/// A frame that begins in a chunk.
#[derive(Clone, Copy)]
struct Start {
    /// Where in the chunk.
    at: u32,
    /// Bytes of its payload, in this chunk and those behind it.
    bytes: u32,
}

/// A turn seldom sends more packets to a connection.
type Starts = SmallVec<[Start; 256]>;

/// Less is framed as quickly as it is compared.
const KEPT_FROM_BYTES: usize = 512;
/// Bytes at the start of a block that tell it from most others: the Topic Name of its first packet is in them.
const SIGN_BYTES: usize = 64;

/// Room that a step may write to behind a head; a packet that is a small frame is not longer.
const STEP_BYTES: usize = 128;

/// The block that was framed last on a shard, for the connections that send the same.
///
/// It takes two of a kind, the same in length and in their first bytes, until one is kept: so what goes to one
/// connection alone is not copied in vain. At most three large blocks of memory and a small one.
#[derive(Default)]
pub struct Last {
    /// A block of each size, for [`Last::frame_anew`].
    spares: [Vec<u8>; 2],
    length: usize,
    sign: SmallVec<[u8; SIGN_BYTES]>,
    /// As it was, and as it became; empty if none is kept.
    plain: Vec<u8>,
    framed: Vec<u8>,
}

impl Last {
    /// Frames a block that is the same as the last. Returns the bytes of the heads.
    fn frame(&self, block: &mut Vec<u8>) -> Option<usize> {
        if *block != self.plain {
            return None;
        }
        let heads = self.framed.len() - block.len();
        block.clear();
        block.extend_from_slice(&self.framed);
        Some(heads)
    }

    /// Frames a block from its start to its end into the spare one of its size, which it changes places with. Returns
    /// the bytes of the heads. `None`: they have no room, or it is no block of the pool.
    fn frame_anew(&mut self, block: &mut Vec<u8>) -> Option<usize> {
        let spare = match block.capacity() {
            BLOCK_BYTES => &mut self.spares[0],
            LARGE_BLOCK_BYTES => &mut self.spares[1],
            _ => return None,
        };
        if spare.capacity() != block.capacity() {
            *spare = Vec::with_capacity(block.capacity());
        }
        // Room for heads of packets of an ordinary size. What is written beyond the last packet is cut off.
        let room = block.len() + block.len() / 8 + 2 * STEP_BYTES;
        spare.resize(room.min(block.capacity()), 0);
        let bytes = append_framed(block, spare)?;
        spare.truncate(bytes);
        std::mem::swap(block, spare);
        Some(bytes - spare.len())
    }

    /// Is this block like the one before? Then it is worth to be kept. The sign is this block's from now on.
    fn resembles(&mut self, block: &[u8]) -> bool {
        let sign = &block[..SIGN_BYTES.min(block.len())];
        if self.length == block.len() && *self.sign == *sign {
            return true;
        }
        self.length = block.len();
        self.sign.clear();
        self.sign.extend_from_slice(sign);
        false
    }
}

/// Puts the heads of frames into the chunks. Returns the bytes of all heads. The bytes of all chunks are less than 4
/// GiB, as those of one send are.
pub fn seal(chunks: &mut Chunks, last: &mut Last) -> usize {
    let [Chunk::Block(block)] = &mut chunks[..] else {
        return frame(chunks);
    };
    if !(KEPT_FROM_BYTES..=LARGE_BLOCK_BYTES).contains(&block.len()) {
        return frame(chunks);
    }
    if let Some(heads) = last.frame(block) {
        return heads;
    }
    let kept = last.resembles(block);
    if kept {
        last.plain.clone_from(block);
    }
    let heads = match last.frame_anew(block) {
        Some(heads) => heads,
        None => frame(chunks),
    };
    if kept && let [Chunk::Block(block)] = &chunks[..] {
        last.framed.clone_from(block);
    }
    heads
}

/// Writes a frame for each packet of `block`. Returns the bytes that were written; `None`: there is no room.
///
/// A small packet is copied in a step of fixed size, beyond its end, where so much can be read and written: the next
/// frame overwrites the rest. So it needs no call.
fn append_framed(block: &[u8], framed: &mut [u8]) -> Option<usize> {
    let (mut at, mut to) = (0, 0);
    while at < block.len() {
        let rest = &block[at..];
        if let Some(step) = rest.first_chunk::<STEP_BYTES>()
            && step[1] < 124
            && let Some(frame) = framed[to..].first_chunk_mut::<{ 2 + STEP_BYTES }>()
        {
            let bytes = 2 + step[1];
            let (head, payload) = frame.split_at_mut(2);
            head.copy_from_slice(&[0x80 | Opcode::Binary as u8, bytes]);
            payload.copy_from_slice(step);
            (at, to) = (at + usize::from(bytes), to + 2 + usize::from(bytes));
            continue;
        }
        let bytes = packet_bytes_in(rest).unwrap_or(rest.len()).min(rest.len());
        let (head, size) = head(Opcode::Binary, bytes);
        framed
            .get_mut(to..to + size)?
            .copy_from_slice(&head[..size]);
        to += size;
        framed
            .get_mut(to..to + bytes)?
            .copy_from_slice(&rest[..bytes]);
        (at, to) = (at + bytes, to + bytes);
    }
    Some(to)
}

fn frame(chunks: &mut Chunks) -> usize {
    let mut rest: usize = chunks.iter().map(|chunk| chunk.bytes().len()).sum();
    // Of the frame under way, in the chunk looked at and those behind it.
    let mut left = 0;
    let mut heads = 0;
    let mut starts = Starts::new();
    let mut index = 0;
    while index < chunks.len() {
        let length = chunks[index].bytes().len();
        starts.clear();
        let mut at = left.min(length);
        left -= at;
        while at < length {
            let unread = rest - at;
            let bytes = packet_bytes(&chunks[index..], at).unwrap_or(unread);
            let bytes = bytes.min(unread);
            starts.push(Start {
                at: at as u32,
                bytes: bytes as u32,
            });
            heads += head_bytes(bytes);
            let here = bytes.min(length - at);
            at += here;
            left = bytes - here;
        }
        rest -= length;
        index += match &mut chunks[index] {
            Chunk::Block(block) => {
                open_block(block, &starts);
                1
            }
            Chunk::Shared { .. } => split_shared(chunks, index, &starts),
        };
    }
    heads
}

/// The length of the packet at byte `at` of the first chunk, Fixed Header included. [v3.1.1 2.2.3, v5 1.5.5] `None`: it
/// cannot be read.
#[inline]
fn packet_bytes(chunks: &[Chunk], at: usize) -> Option<usize> {
    let first = &chunks[0].bytes()[at..];
    if let &[_, length, ..] = first
        && length < 0x80
    {
        return Some(2 + usize::from(length));
    }
    let later = chunks[1..].iter().flat_map(|chunk| chunk.bytes());
    length_in(first.iter().chain(later))
}

/// The same of bytes that lie together.
fn packet_bytes_in(bytes: &[u8]) -> Option<usize> {
    length_in(bytes.iter())
}

fn length_in<'a>(bytes: impl Iterator<Item = &'a u8>) -> Option<usize> {
    let mut bytes = bytes.skip(1);
    let (mut length, mut size) = (0, 1);
    loop {
        let byte = bytes.next()?;
        length |= usize::from(byte & 0x7F) << (7 * (size - 1));
        size += 1;
        match byte & 0x80 {
            0 => return Some(size + length),
            _ if size > 4 => return None,
            _ => {}
        }
    }
}

/// Puts the heads into a block.
fn open_block(block: &mut Vec<u8>, starts: &[Start]) {
    let more: usize = starts
        .iter()
        .map(|start| head_bytes(start.bytes as usize))
        .sum();
    let length = block.len();
    if block.capacity() - length < more {
        let mut opened = Vec::with_capacity(length + more);
        let mut from = 0;
        for start in starts {
            opened.extend_from_slice(&block[from..start.at as usize]);
            let (head, size) = head(Opcode::Binary, start.bytes as usize);
            opened.extend_from_slice(&head[..size]);
            from = start.at as usize;
        }
        opened.extend_from_slice(&block[from..]);
        *block = opened;
        return;
    }
    block.resize(length + more, 0);
    let (mut end, mut to) = (length, length + more);
    for start in starts.iter().rev() {
        let at = start.at as usize;
        to -= end - at;
        block.copy_within(at..end, to);
        let bytes = start.bytes as usize;
        let (head, size) = head(Opcode::Binary, bytes);
        to -= size;
        // Two bytes nearly always, which need no call.
        match block[to..].first_chunk_mut::<2>() {
            Some(small) if size == 2 => *small = [head[0], head[1]],
            _ => block[to..to + size].copy_from_slice(&head[..size]),
        }
        end = at;
    }
}

/// Puts the heads between the parts of a shared chunk, which is not written to. Returns how many chunks it has become.
fn split_shared(chunks: &mut Chunks, index: usize, starts: &[Start]) -> usize {
    if starts.is_empty() {
        return 1;
    }
    let Chunk::Shared {
        payload,
        start: first,
        end,
    } = chunks.remove(index)
    else {
        unreachable!("the caller has looked");
    };
    let mut parts = Vec::with_capacity(2 * starts.len() + 1);
    let mut from = first;
    let mut part = |parts: &mut Vec<Chunk>, to: u32| {
        if from < to {
            parts.push(Chunk::Shared {
                payload: payload.clone(),
                start: from,
                end: to,
            });
        }
        from = to;
    };
    for start in starts {
        part(&mut parts, first + start.at);
        let (head, size) = head(Opcode::Binary, start.bytes as usize);
        parts.push(Chunk::Block(head[..size].to_vec()));
    }
    part(&mut parts, end);
    let count = parts.len();
    chunks.insert_many(index, parts);
    count
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::Payload;

    /// The bytes of all chunks.
    fn stream(chunks: &Chunks) -> Vec<u8> {
        let bytes = chunks.iter().flat_map(|chunk| chunk.bytes());
        bytes.copied().collect()
    }

    /// The payloads of frames of ours.
    fn payloads(mut bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        while let [first, second, ..] = bytes {
            assert_eq!(*first, 0x82, "one binary frame, whole");
            let (length, size) = match second {
                126 => (u16::from_be_bytes([bytes[2], bytes[3]]).into(), 4),
                127 => {
                    let length = u64::from_be_bytes(*bytes[2..].first_chunk().unwrap());
                    (length as usize, 10)
                }
                length => ((*length).into(), 2),
            };
            found.push(bytes[size..size + length].to_vec());
            bytes = &bytes[size + length..];
        }
        assert!(bytes.is_empty());
        found
    }

    /// A PUBLISH-like packet of so many bytes behind its Fixed Header.
    fn packet(length: usize) -> Vec<u8> {
        let mut packet = vec![0x30];
        let mut rest = length;
        loop {
            let more = rest > 127;
            packet.push((rest % 128) as u8 | if more { 0x80 } else { 0 });
            rest /= 128;
            if !more {
                break;
            }
        }
        packet.extend((0..length).map(|at| at as u8));
        packet
    }

    /// Lays the bytes out as chunks that end at these places: blocks and shared payloads in turn, or blocks alone.
    fn lay(bytes: &[u8], ends: &[usize], shared: bool, spare: usize) -> Chunks {
        let mut chunks = Chunks::new();
        let mut from = 0;
        for (count, end) in ends.iter().chain([&bytes.len()]).enumerate() {
            let part = &bytes[from..(*end).max(from)];
            if part.is_empty() {
                continue;
            }
            from = *end;
            if shared && count % 2 == 1 {
                let payload = Payload::new(part);
                let (start, end) = (0, part.len() as u32);
                chunks.push(Chunk::Shared {
                    payload,
                    start,
                    end,
                });
            } else {
                let mut block = Vec::with_capacity(part.len() + spare);
                block.extend_from_slice(part);
                chunks.push(Chunk::Block(block));
            }
        }
        chunks
    }

    #[test]
    fn each_packet_is_a_frame_wherever_the_chunks_are_cut() {
        let lengths = [0, 2, 123, 124, 125, 126, 127, 128, 300, 0, 20_000, 1];
        let packets: Vec<Vec<u8>> = lengths.iter().map(|length| packet(*length)).collect();
        let bytes = packets.concat();
        let head_bytes: usize = packets.iter().map(|packet| head_bytes(packet.len())).sum();
        for shared in [false, true] {
            for spare in [0, 10, 1000] {
                for end in (0..1_200).chain([5_000, bytes.len() - 3, bytes.len()]) {
                    let ends = [end / 3, end / 2, end];
                    let mut chunks = lay(&bytes, &ends, shared, spare);
                    assert_eq!(seal(&mut chunks, &mut Last::default()), head_bytes);
                    assert!(
                        payloads(&stream(&chunks)) == packets,
                        "{shared} {spare} {end}"
                    );
                    assert!(chunks.iter().all(|chunk| !chunk.bytes().is_empty()));
                }
            }
        }
    }

    #[test]
    fn a_packet_of_more_than_64_kib_is_one_frame() {
        let large = packet(70_000);
        let bytes = [packet(1), large.clone(), packet(1)].concat();
        let mut chunks = lay(&bytes, &[8, 60_000], true, 64);
        assert_eq!(seal(&mut chunks, &mut Last::default()), 2 + 10 + 2);
        assert!(payloads(&stream(&chunks)) == [packet(1), large, packet(1)]);
    }

    #[test]
    fn a_block_with_room_is_not_copied_into_another() {
        let mut chunks = lay(&[packet(5), packet(6)].concat(), &[], false, 4);
        let place = chunks[0].bytes().as_ptr();
        assert_eq!(seal(&mut chunks, &mut Last::default()), 4);
        assert_eq!((chunks.len(), chunks[0].bytes().as_ptr()), (1, place));
    }

    #[test]
    fn a_block_of_the_pool_changes_places_with_the_spare_one() {
        let mut last = Last::default();
        let rests = [&b""[..], b"\x30", b"\x30\xFF\xFF", b"\x30\x05ab"];
        for capacity in [BLOCK_BYTES, LARGE_BLOCK_BYTES] {
            for length in (0..130).chain([300, 1_000, 20_000]) {
                for rest in rests {
                    let count = 1 + KEPT_FROM_BYTES / (2 + length);
                    let mut packets: Vec<Vec<u8>> = (0..count).map(|_| packet(length)).collect();
                    packets.push(rest.to_vec());
                    packets.retain(|packet| !packet.is_empty());
                    let bytes = packets.concat();
                    if bytes.len() > capacity {
                        continue;
                    }
                    let mut chunks = lay(&bytes, &[], false, capacity - bytes.len());
                    let place = chunks[0].bytes().as_ptr();
                    let heads: usize = packets.iter().map(|packet| head_bytes(packet.len())).sum();
                    assert_eq!(seal(&mut chunks, &mut last), heads);
                    assert!(payloads(&stream(&chunks)) == packets, "{length} {rest:?}");
                    let Chunk::Block(block) = &chunks[0] else {
                        panic!("it was one");
                    };
                    let has_room = bytes.len() + heads + STEP_BYTES <= capacity;
                    if length > 20 && has_room && last.plain != bytes {
                        assert_eq!(block.capacity(), capacity, "the pool takes it back");
                        assert_ne!(block.as_ptr(), place, "{length}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_same_block_again_is_framed_the_same() {
        let run = |last: u8| {
            let mut bytes: Vec<u8> = (0..20).flat_map(|_| packet(80)).collect();
            *bytes.last_mut().unwrap() = last;
            bytes
        };
        let mut last = Last::default();
        for (count, end) in [0, 0, 0, 1, 1, 0, 0, 1].into_iter().enumerate() {
            let bytes = run(end);
            for spare in [0, 100] {
                let mut chunks = lay(&bytes, &[], false, spare);
                assert_eq!(seal(&mut chunks, &mut last), 20 * 2);
                assert!(payloads(&stream(&chunks)).concat() == bytes, "{count}");
            }
            assert!(!last.plain.is_empty());
        }
        // Of others nothing is kept.
        let mut last = Last::default();
        for length in 60..90 {
            let mut chunks = lay(&[packet(length), packet(600)].concat(), &[], false, 0);
            seal(&mut chunks, &mut last);
        }
        assert!(last.plain.is_empty());
    }

    #[test]
    fn what_has_no_length_is_one_frame() {
        for bytes in [
            &b"\x30"[..],
            b"\x30\x05ab",
            b"\x30\xFF\xFF",
            b"\x30\xFF\xFF\xFF\xFF\x01rest",
        ] {
            let mut chunks = lay(&[&packet(1), bytes].concat(), &[], false, 0);
            seal(&mut chunks, &mut Last::default());
            assert!(payloads(&stream(&chunks)) == [packet(1), bytes.to_vec()]);
        }
    }
}
