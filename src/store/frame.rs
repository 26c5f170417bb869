//! A journal: what a shard has told the store, in frames, so that it outlives the process.
//!
//! A frame holds the records of one turn: they are kept together or not at all.
//!
//! ```text
//! journal = header, first half, second half
//! header  = "mqfj", version, identity of the store, CRC
//! half    = frames with numbers that rise, then bytes of earlier use
//! frame   = length of the records, CRC, number, records
//! ```
//!
//! A half is written again from its beginning once all that it holds is committed. Where the frames of a half end is
//! seen by the next one: its number is lower, or its checksum is wrong. Numbers are left out where frames found no room
//! and have come to the disk without the journal.

use super::bytes::{Damaged, Reader};
use super::crc::{Crc, crc32c};
use crate::limits;

/// What tells a store from all others: chance of its first start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identity(pub [u8; 16]);

/// Bytes of a frame before its records.
pub const FRAME_HEAD_BYTES: usize = 16;
/// Bytes before the first half.
pub const HEADER_BYTES: usize = 64;

const MAGIC: &[u8; 4] = b"mqfj";
const VERSION: u8 = 1;

/// Begins a frame in an empty vector: records are appended behind its head.
pub fn begin(frame: &mut Vec<u8>) {
    frame.clear();
    frame.resize(FRAME_HEAD_BYTES, 0);
}

/// Completes the head of a frame whose records are all there.
pub fn finish(frame: &mut [u8], number: u64) {
    let Some((head, records)) = frame.split_first_chunk_mut::<FRAME_HEAD_BYTES>() else {
        return;
    };
    let crc = sum(number, records);
    head[..4].copy_from_slice(&(records.len() as u32).to_le_bytes());
    head[4..8].copy_from_slice(&crc.to_le_bytes());
    head[8..].copy_from_slice(&number.to_le_bytes());
}

fn sum(number: u64, records: &[u8]) -> u32 {
    let length = (records.len() as u32).to_le_bytes();
    let crc = Crc::new().with(&length).with(&number.to_le_bytes());
    crc.with(records).sum()
}

/// One frame at the beginning of `bytes`: its number and its records.
///
/// Errors: there is none, or it is damaged.
pub fn read<'a>(bytes: &mut Reader<'a>) -> Result<(u64, &'a [u8]), Damaged> {
    let length = bytes.u32()? as usize;
    let crc = bytes.u32()?;
    let number = bytes.u64()?;
    let records = bytes.take(length)?;
    if sum(number, records) != crc {
        return Err(Damaged);
    }
    Ok((number, records))
}

/// The header of a journal of this store.
pub fn header(identity: Identity) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..4].copy_from_slice(MAGIC);
    header[4] = VERSION;
    header[8..24].copy_from_slice(&identity.0);
    let crc = crc32c(&header[..24]);
    header[24..28].copy_from_slice(&crc.to_le_bytes());
    header
}

/// Whose journal this is.
///
/// Errors: it is none, or one of another version.
pub fn identity(journal: &[u8]) -> Result<Identity, Damaged> {
    let header = journal.get(..HEADER_BYTES).ok_or(Damaged)?;
    let mut reader = Reader::new(header);
    if reader.take(4)? != MAGIC || reader.byte()? != VERSION {
        return Err(Damaged);
    }
    reader.take(3)?;
    let identity = reader.take(16)?.try_into().map_err(|_| Damaged)?;
    if reader.u32()? != crc32c(&header[..24]) {
        return Err(Damaged);
    }
    Ok(Identity(identity))
}

/// Where each half begins and ends, in a journal of the usual size.
pub fn halves() -> [(usize, usize); 2] {
    let half = (limits::JOURNAL_BYTES - HEADER_BYTES) / 2;
    [
        (HEADER_BYTES, HEADER_BYTES + half),
        (HEADER_BYTES + half, HEADER_BYTES + 2 * half),
    ]
}

/// The frames of a journal, by rising number.
///
/// A journal that was cut short, by a full disk, gives what it holds.
pub fn frames(journal: &[u8]) -> Vec<(u64, &[u8])> {
    let mut all = Vec::new();
    for (from, to) in halves() {
        let half = journal.get(from..to.min(journal.len())).unwrap_or(&[]);
        let mut reader = Reader::new(half);
        let mut last = 0;
        while let Ok((number, records)) = read(&mut reader) {
            if number <= last {
                break;
            }
            last = number;
            all.push((number, records));
        }
    }
    all.sort_by_key(|(number, _)| *number);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(number: u64, records: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        begin(&mut frame);
        frame.extend_from_slice(records);
        finish(&mut frame, number);
        frame
    }

    fn journal(first: &[u8], second: &[u8]) -> Vec<u8> {
        let mut journal = vec![0; limits::JOURNAL_BYTES];
        let header = header(Identity([7; 16]));
        journal[..HEADER_BYTES].copy_from_slice(&header);
        for ((from, _), half) in halves().into_iter().zip([first, second]) {
            journal[from..from + half.len()].copy_from_slice(half);
        }
        journal
    }

    fn numbers(journal: &[u8]) -> Vec<u64> {
        frames(journal).iter().map(|(number, _)| *number).collect()
    }

    #[test]
    fn frames_come_back_in_their_order_whichever_half_is_older() {
        let [third, fourth] = [frame(3, b"c"), frame(4, b"d")];
        let [fifth, sixth] = [frame(5, b"e"), frame(6, b"")];
        let older = [third, fourth].concat();
        let newer = [fifth, sixth].concat();
        for journal in [journal(&older, &newer), journal(&newer, &older)] {
            assert_eq!(numbers(&journal), [3, 4, 5, 6]);
            assert_eq!(frames(&journal)[1].1, b"d");
            assert_eq!(identity(&journal), Ok(Identity([7; 16])));
        }
    }

    /// A half is written over from its beginning: what is left of its earlier use follows, and is old.
    #[test]
    fn frames_of_an_earlier_use_of_a_half_are_left() {
        let half = [frame(9, b"new"), frame(2, b"old"), frame(3, b"old")].concat();
        assert_eq!(numbers(&journal(&half, &[])), [9]);
    }

    /// The frames between were too large for what was left of the half, and have come to the disk by a commit.
    #[test]
    fn frames_behind_a_gap_are_found() {
        let half = [frame(9, b"a"), frame(12, b"b"), frame(3, b"old")].concat();
        assert_eq!(numbers(&journal(&half, &[])), [9, 12]);
    }

    #[test]
    fn any_cut_and_any_flipped_bit_ends_the_frames_before_it() {
        let whole = journal(&[frame(1, b"first"), frame(2, b"second")].concat(), &[]);
        let (from, _) = halves()[0];
        let ends = from + 2 * FRAME_HEAD_BYTES + 11;
        for cut in 0..ends {
            let expected = usize::from(cut >= from + FRAME_HEAD_BYTES + 5);
            assert_eq!(frames(&whole[..cut]).len(), expected, "cut at {cut}");
        }
        for bit in from * 8..ends * 8 {
            let mut damaged = whole.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(frames(&damaged).len() < 2, "bit {bit}");
        }
        for bit in (0..5 * 8).chain(8 * 8..28 * 8) {
            let mut damaged = whole.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(identity(&damaged), Err(Damaged), "bit {bit}");
        }
    }
}
