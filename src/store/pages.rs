//! A file of SQLite and its write-ahead log as pages, cells and values, read without SQLite. Any bytes may come.
//!
//! ```text
//! page     = [100 bytes of file header on the first] kind, …, count of cells, …, offsets of cells, cells
//! cell     = bytes of the record, rowid, record [, first overflow page]      on a leaf of a table
//! record   = bytes of its head, types of the values, values
//! overflow = next overflow page, bytes
//! ```
//!
//! [SQLite, "Database File Format"]

use super::bytes::Damaged;
use crate::limits;
use smallvec::SmallVec;
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

/// First byte of a leaf of a table.
pub const LEAF: u8 = 0x0D;
/// The same of an inner page, and of both kinds of an index.
pub const INNER: u8 = 0x05;
pub const INDEX_LEAF: u8 = 0x0A;
pub const INDEX_INNER: u8 = 0x02;

const FILE_HEADER_BYTES: usize = 100;
const LOG_HEADER_BYTES: usize = 32;
const LOG_FRAME_BYTES: usize = 24;

/// The pages of a file, those in its log before those in itself.
pub struct Pages<'a> {
    file: &'a [u8],
    logged: HashMap<u32, &'a [u8]>,
    size: usize,
    /// Pages that the list of free pages names, as far as it is whole.
    pub free: HashSet<u32>,
}

impl<'a> Pages<'a> {
    pub fn of(file: &'a [u8], log: &'a [u8]) -> Pages<'a> {
        let size = limits::STORE_PAGE_BYTES as usize;
        let mut pages = Pages {
            file,
            logged: logged(log, size),
            size,
            free: HashSet::new(),
        };
        pages.find_free();
        pages
    }

    /// A page by its number, which counts from 1.
    pub fn page(&self, number: u32) -> Option<&'a [u8]> {
        if let Some(page) = self.logged.get(&number) {
            return Some(page);
        }
        let start = (number as usize).checked_sub(1)?.checked_mul(self.size)?;
        self.file.get(start..start + self.size)
    }

    /// The version of the tables, `user_version`; 0: the first page is not there. [SQLite, 1.3]
    pub fn version(&self) -> i64 {
        let version = self.page(1).and_then(|page| u32_at(page, 60));
        version.map_or(0, |version| i64::from(version as i32))
    }

    /// The number of the last page there is.
    pub fn last(&self) -> u32 {
        let in_file = (self.file.len() / self.size) as u32;
        self.logged.keys().copied().max().unwrap_or(0).max(in_file)
    }

    /// All pages there are, by number.
    pub fn all(&self) -> impl Iterator<Item = (u32, &'a [u8])> {
        (1..=self.last()).filter_map(|number| Some((number, self.page(number)?)))
    }

    /// Walks the list of free pages, as far as it is whole.
    fn find_free(&mut self) {
        let head = self.page(1);
        let mut trunk = head.and_then(|page| u32_at(page, 32)).unwrap_or(0);
        while trunk != 0
            && self.free.insert(trunk)
            && let Some(page) = self.page(trunk)
        {
            let count = u32_at(page, 4).unwrap_or(0) as usize;
            for index in 0..count.min(self.size / 4 - 2) {
                self.free.extend(u32_at(page, 8 + 4 * index));
            }
            trunk = u32_at(page, 0).unwrap_or(0);
        }
    }
}

/// Where the head of a page begins.
pub fn head_at(number: u32) -> usize {
    if number == 1 { FILE_HEADER_BYTES } else { 0 }
}

/// The kind of a page.
pub fn kind_of(number: u32, page: &[u8]) -> u8 {
    page.get(head_at(number)).copied().unwrap_or(0)
}

/// The offsets of the cells of a page.
///
/// Errors: more cells than a page has room for, or one outside it.
pub fn offsets(number: u32, page: &[u8]) -> Result<Vec<usize>, Damaged> {
    let head = head_at(number);
    let cells = u16_at(page, head + 3).ok_or(Damaged)?;
    let bytes = match kind_of(number, page) {
        INNER | INDEX_INNER => 12,
        _ => 8,
    };
    // Each has two bytes of offset, and three of its own at least.
    if cells > page.len() / 5 {
        return Err(Damaged);
    }
    let offsets = (0..cells).map(|index| u16_at(page, head + bytes + 2 * index));
    let outside = |offset: &usize| *offset < head + bytes + 2 * cells || *offset >= page.len();
    let offsets = offsets.collect::<Option<Vec<usize>>>().ok_or(Damaged)?;
    match offsets.iter().any(outside) {
        true => Err(Damaged),
        false => Ok(offsets),
    }
}

pub fn u16_at(bytes: &[u8], at: usize) -> Option<usize> {
    let two = bytes.get(at..)?.first_chunk()?;
    Some(u16::from_be_bytes(*two).into())
}

pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_be_bytes(*four))
}

/// The newest copy of each page in a write-ahead log, up to its last whole transaction.
fn logged(log: &[u8], size: usize) -> HashMap<u32, &[u8]> {
    let mut pages = HashMap::new();
    let Some(head) = log.get(..LOG_HEADER_BYTES) else {
        return pages;
    };
    let little = match u32_at(head, 0) {
        Some(0x377F_0682) => true,
        Some(0x377F_0683) => false,
        _ => return pages,
    };
    let mut sum = log_sum((0, 0), &head[..24], little);
    if u32_at(head, 8) != Some(size as u32)
        || (u32_at(head, 24), u32_at(head, 28)) != (Some(sum.0), Some(sum.1))
    {
        return pages;
    }
    let mut transaction = HashMap::new();
    for frame in log[LOG_HEADER_BYTES..].chunks_exact(LOG_FRAME_BYTES + size) {
        let (frame, page) = frame.split_at(LOG_FRAME_BYTES);
        sum = log_sum(log_sum(sum, &frame[..8], little), page, little);
        let sums = (u32_at(frame, 16), u32_at(frame, 20));
        if frame[8..16] != head[16..24] || sums != (Some(sum.0), Some(sum.1)) {
            break;
        }
        transaction.extend(u32_at(frame, 0).map(|number| (number, page)));
        if u32_at(frame, 4) != Some(0) {
            pages.extend(transaction.drain());
        }
    }
    pages
}

/// The checksum of a write-ahead log, carried on. [SQLite, "WAL-mode File Format", 4.2]
fn log_sum(mut sum: (u32, u32), bytes: &[u8], little: bool) -> (u32, u32) {
    let word = |four: &[u8]| {
        let four = [four[0], four[1], four[2], four[3]];
        if little {
            u32::from_le_bytes(four)
        } else {
            u32::from_be_bytes(four)
        }
    };
    for eight in bytes.chunks_exact(8) {
        sum.0 = sum.0.wrapping_add(word(&eight[..4])).wrapping_add(sum.1);
        sum.1 = sum.1.wrapping_add(word(&eight[4..])).wrapping_add(sum.0);
    }
    sum
}

/// A number in SQLite's form: seven bits a byte, the highest first; of a ninth byte all eight.
fn varint(bytes: &[u8], at: &mut usize) -> Result<u64, Damaged> {
    let mut number = 0_u64;
    for place in 0..9 {
        let byte = *bytes.get(*at).ok_or(Damaged)?;
        *at += 1;
        if place == 8 {
            return Ok(number << 8 | u64::from(byte));
        }
        number = number << 7 | u64::from(byte & 0x7F);
        if byte & 0x80 == 0 {
            break;
        }
    }
    Ok(number)
}

/// A cell of a leaf of a table.
pub struct Cell<'a> {
    pub id: u64,
    pub record: Cow<'a, [u8]>,
}

/// Reads a cell with what lies on other pages. `chain` gets the numbers of these; it says whether a page may be one.
///
/// Errors: it is none, or not all of it is there.
pub fn cell<'a>(
    pages: &Pages<'a>,
    page: &'a [u8],
    offset: usize,
    chain: &mut dyn FnMut(u32) -> bool,
) -> Result<Cell<'a>, Damaged> {
    let mut at = offset;
    let bytes = usize::try_from(varint(page, &mut at)?).map_err(|_| Damaged)?;
    let id = varint(page, &mut at)?;
    let usable = pages.size;
    let most = usable - 35;
    let whole = pages.file.len() + pages.logged.len() * pages.size;
    if bytes > whole {
        return Err(Damaged);
    }
    if bytes <= most {
        let record = page.get(at..at + bytes).ok_or(Damaged)?;
        return Ok(Cell {
            id,
            record: Cow::Borrowed(record),
        });
    }
    let least = (usable - 12) * 32 / 255 - 23;
    let spread = least + (bytes - least) % (usable - 4);
    let here = if spread <= most { spread } else { least };
    let mut record = page.get(at..at + here).ok_or(Damaged)?.to_vec();
    let mut next = u32_at(page, at + here).ok_or(Damaged)?;
    while record.len() < bytes {
        let more = pages.page(next).ok_or(Damaged)?;
        if !chain(next) {
            return Err(Damaged);
        }
        let count = (bytes - record.len()).min(usable - 4);
        record.extend_from_slice(&more[4..4 + count]);
        next = u32_at(more, 0).ok_or(Damaged)?;
    }
    let record = Cow::Owned(record);
    Ok(Cell { id, record })
}

/// A value of a record.
pub enum Value<'r> {
    Integer(u64),
    Text(&'r [u8]),
    Blob(&'r [u8]),
    Other,
}

/// The values of a record; no table here has more.
pub type Values<'r> = SmallVec<[Value<'r>; 5]>;

/// The values of a record.
pub fn values(record: &[u8]) -> Result<Values<'_>, Damaged> {
    let mut at = 0;
    let head = usize::try_from(varint(record, &mut at)?).map_err(|_| Damaged)?;
    let mut value_at = head;
    let mut values = Values::new();
    while at < head {
        let kind = varint(record, &mut at)?;
        let bytes = match kind {
            0 | 8..=11 => 0,
            1..=4 => kind as usize,
            5 => 6,
            6 | 7 => 8,
            _ => usize::try_from((kind - 12) / 2).map_err(|_| Damaged)?,
        };
        let end = value_at.checked_add(bytes).ok_or(Damaged)?;
        let value = record.get(value_at..end).ok_or(Damaged)?;
        value_at = end;
        values.push(match kind {
            8 => Value::Integer(0),
            9 => Value::Integer(1),
            1..=6 => {
                let sign = if value[0] & 0x80 != 0 { u64::MAX } else { 0 };
                let shift = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
                Value::Integer(value.iter().fold(sign, shift))
            }
            0 | 7 | 10 | 11 => Value::Other,
            _ if kind % 2 == 0 => Value::Blob(value),
            _ => Value::Text(value),
        });
    }
    Ok(values)
}
