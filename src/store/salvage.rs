//! What is left in a damaged file of SQLite, read without SQLite: every leaf page of a table is looked at, and every
//! row on it that proves itself is taken.
//!
//! ```text
//! page     = [100 bytes of file header on the first] kind 0x0D, …, count of cells, …, offsets of cells, cells
//! cell     = bytes of the record, rowid, record [, first overflow page]
//! record   = bytes of its head, types of the values, values
//! ```
//!
//! So a file whose head, or whose inner pages, or whose half is gone, still gives the rows of the pages that are
//! whole. Pages that the file says are free are left out: their rows were deleted. [SQLite, "Database File Format"]

use super::applier::{filter_id, topic_id};
use super::bytes::Damaged;
use super::row::{self, Column, Row, State, Table};
use crate::limits;
use std::collections::{BTreeMap, HashMap, HashSet};

/// What was found.
#[derive(Default, Debug)]
pub struct Salvaged {
    /// Rows that prove themselves.
    pub rows: BTreeMap<(Table, u64), Row>,
    /// Values of `meta`, which do not prove themselves.
    pub meta: BTreeMap<String, Vec<u8>>,
    /// Rows that were there and are damaged.
    pub damaged: u64,
}

const LEAF: u8 = 0x0D;
const FILE_HEADER_BYTES: usize = 100;
const LOG_HEADER_BYTES: usize = 32;
const LOG_FRAME_BYTES: usize = 24;

/// Reads a file and its write-ahead log.
pub fn salvage(file: &[u8], log: &[u8]) -> Salvaged {
    let pages = Pages::of(file, log);
    let mut found = Salvaged::default();
    for (number, page) in pages.all() {
        if !pages.free.contains(&number) {
            found.take_page(&pages, number, page);
        }
    }
    found
}

/// The pages of a file, those in its log before those in itself.
struct Pages<'a> {
    file: &'a [u8],
    logged: HashMap<u32, &'a [u8]>,
    size: usize,
    /// Pages without a use.
    free: HashSet<u32>,
}

impl<'a> Pages<'a> {
    fn of(file: &'a [u8], log: &'a [u8]) -> Pages<'a> {
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
    fn page(&self, number: u32) -> Option<&'a [u8]> {
        if let Some(page) = self.logged.get(&number) {
            return Some(page);
        }
        let start = (number as usize).checked_sub(1)?.checked_mul(self.size)?;
        self.file.get(start..start + self.size)
    }

    fn all(&self) -> impl Iterator<Item = (u32, &'a [u8])> {
        let in_file = (self.file.len() / self.size) as u32;
        let last = self.logged.keys().copied().max().unwrap_or(0).max(in_file);
        (1..=last).filter_map(|number| Some((number, self.page(number)?)))
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

fn u16_at(bytes: &[u8], at: usize) -> Option<usize> {
    let two = bytes.get(at..)?.first_chunk()?;
    Some(u16::from_be_bytes(*two).into())
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
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

/// A value of a record.
enum Value<'r> {
    Integer(u64),
    Text(&'r [u8]),
    Blob(&'r [u8]),
    Other,
}

impl Salvaged {
    fn take_page(&mut self, pages: &Pages<'_>, number: u32, page: &[u8]) {
        let start = if number == 1 { FILE_HEADER_BYTES } else { 0 };
        if page.get(start) != Some(&LEAF) {
            return;
        }
        let cells = u16_at(page, start + 3).unwrap_or(0);
        // Each has two bytes of offset, and four of its own at least.
        for index in 0..cells.min(page.len() / 6) {
            let Some(offset) = u16_at(page, start + 8 + 2 * index) else {
                return;
            };
            if let Ok((id, record)) = cell(pages, page, offset) {
                self.take_record(id, &record);
            } else {
                self.damaged += 1;
            }
        }
    }

    fn take_record(&mut self, id: u64, record: &[u8]) {
        let Ok(values) = values(record) else {
            self.damaged += 1;
            return;
        };
        if let [Value::Text(key), Value::Blob(value)] = values.as_slice()
            && let Ok(key) = std::str::from_utf8(key)
        {
            self.meta.insert(key.to_owned(), value.to_vec());
            return;
        }
        // Rows of ours begin with the id, which stands in the cell, and end with a body. Others are SQLite's own.
        let (Some(Value::Other), Some(Value::Blob(body))) = (values.first(), values.last()) else {
            return;
        };
        let table = body.first().and_then(|kind| Table::of_kind(*kind));
        let Some(table) = table.filter(|table| table.columns().len() + 2 == values.len()) else {
            self.damaged += 1;
            return;
        };
        let mut row = Row {
            body: body.to_vec(),
            ..Row::default()
        };
        for (column, value) in table.columns().iter().zip(&values[1..]) {
            match (column, value) {
                (Column::Session, Value::Integer(number)) => row.session = *number,
                (Column::Message, Value::Integer(number)) => row.message = *number,
                (Column::Text(_), Value::Text(text)) => {
                    row.text = String::from_utf8_lossy(text).into();
                }
                _ => {}
            }
        }
        if row.as_ref().is_sound(table, id) {
            self.rows.insert((table, id), row);
        } else {
            self.damaged += 1;
        }
    }
}

/// The rowid and the record of a cell, with what lies on other pages.
fn cell(pages: &Pages<'_>, page: &[u8], offset: usize) -> Result<(u64, Vec<u8>), Damaged> {
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
        return Ok((id, record.to_vec()));
    }
    let least = (usable - 12) * 32 / 255 - 23;
    let spread = least + (bytes - least) % (usable - 4);
    let here = if spread <= most { spread } else { least };
    let mut record = page.get(at..at + here).ok_or(Damaged)?.to_vec();
    let mut next = u32_at(page, at + here).ok_or(Damaged)?;
    while record.len() < bytes {
        let more = pages.page(next).ok_or(Damaged)?;
        let count = (bytes - record.len()).min(usable - 4);
        record.extend_from_slice(&more[4..4 + count]);
        next = u32_at(more, 0).ok_or(Damaged)?;
    }
    Ok((id, record))
}

/// The values of a record.
fn values(record: &[u8]) -> Result<Vec<Value<'_>>, Damaged> {
    let mut at = 0;
    let head = usize::try_from(varint(record, &mut at)?).map_err(|_| Damaged)?;
    let mut value_at = head;
    let mut values = Vec::new();
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

impl Salvaged {
    /// Sixteen bytes of `meta`, if they are there.
    pub fn sixteen(&self, key: &str) -> Option<[u8; 16]> {
        self.meta.get(key)?.as_slice().try_into().ok()
    }

    /// The state, with no number lower than what the rows show.
    pub fn state(&self) -> State {
        let state = self.meta.get("state");
        let mut state = state
            .and_then(|bytes| State::from_bytes(bytes).ok())
            .unwrap_or_default();
        state.clean = false;
        for ((table, id), row) in &self.rows {
            let row = row.as_ref();
            match table {
                Table::Session | Table::Will => {
                    state.session_number = state.session_number.max(*id);
                }
                Table::Delivery => {
                    if let Ok(delivery) = row::read_delivery(*id, row) {
                        state.delivery_number = state.delivery_number.max(delivery.number);
                    }
                }
                Table::Retained => {
                    if let Ok((version, _)) = row::read_retained(*id, row) {
                        state.retain_clock = state.retain_clock.max(version.clock);
                    }
                }
                Table::Subscription | Table::Message | Table::Received => {}
            }
        }
        state
    }

    /// Gives rows whose ids were made of texts the ids of another key. Of two retained messages of one topic the newer
    /// stays.
    pub fn rekey(&mut self, key: [u8; 16]) {
        let mut retained = BTreeMap::new();
        let mut subscriptions = BTreeMap::new();
        for ((table, id), row) in &self.rows {
            let row = row.as_ref();
            if let (Table::Retained, Ok((version, body))) = (*table, row::read_retained(*id, row)) {
                let id = topic_id(key, body.topic);
                let newest = retained.entry(id).or_insert((version, Row::default()));
                if newest.0 <= version {
                    *newest = (version, row::retained(id, version, &body));
                }
            } else if let (Table::Subscription, Ok((options, identifier))) =
                (*table, row::read_subscription_row(*id, row))
            {
                let id = filter_id(key, row.session, row.text);
                let row = row::subscription(id, row.session, row.text, options, identifier);
                subscriptions.insert(id, row);
            }
        }
        self.rows
            .retain(|(table, _), _| !matches!(table, Table::Retained | Table::Subscription));
        let retained = retained
            .into_iter()
            .map(|(id, (_, row))| ((Table::Retained, id), row));
        self.rows.extend(retained);
        let subscriptions = subscriptions.into_iter();
        self.rows
            .extend(subscriptions.map(|(id, row)| ((Table::Subscription, id), row)));
    }
}
