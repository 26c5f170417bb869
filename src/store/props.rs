//! What is always true of records, frames and rows. Tests and the fuzz target `store_records` call it with any bytes.

use super::bytes::Reader;
use super::frame;
use super::image::Image;
use super::load::{Scan, load};
use super::mosquitto_db;
use super::record::Record;
use super::row::{RowRef, State, Table};
use super::salvage::salvage;
use crate::broker::RestoredPart;
use crate::limits;
use std::convert::Infallible;

/// Any bytes are records up to some place: each of those is written again as the same bytes.
pub fn records_are_their_bytes(bytes: &[u8]) {
    let mut reader = Reader::new(bytes);
    loop {
        let from = reader.clone().rest();
        let Ok(record) = Record::read(&mut reader) else {
            break;
        };
        let mut again = Vec::new();
        record.put(&mut again);
        let read = from.len() - reader.clone().rest().len();
        assert_eq!(again, from[..read], "{record:?}");
    }
}

/// Any bytes are a journal: no frame of it is outside it, and their numbers rise.
pub fn frames_lie_in_their_journal(journal: &[u8]) {
    let _ = frame::identity(journal);
    let frames = frame::frames(journal);
    let bytes: usize = frames.iter().map(|(_, records)| records.len()).sum();
    assert!(bytes <= journal.len());
    assert!(frames.is_sorted_by_key(|(number, _)| *number));
}

/// One row of any bytes, in every table in turn.
struct OneRow<'a> {
    id: u64,
    row: RowRef<'a>,
}

impl Scan for OneRow<'_> {
    type Error = Infallible;

    fn scan(
        &mut self,
        table: Table,
        each: &mut dyn FnMut(u64, RowRef<'_>),
    ) -> Result<(), Infallible> {
        if Table::of_kind(self.row.body.first().copied().unwrap_or(0)) == Some(table) {
            each(self.id, self.row);
        }
        Ok(())
    }
}

/// Any bytes are rows: none that is not sound is given to a shard.
pub fn only_sound_rows_are_given(bytes: &[u8]) {
    let _ = State::from_bytes(bytes);
    let (id, body) = match bytes.split_first_chunk() {
        Some((id, body)) => (u64::from_le_bytes(*id) >> 1, body),
        None => (1, bytes),
    };
    let row = RowRef {
        session: 64,
        message: 0,
        text: "t",
        body,
    };
    let mut given = 0;
    let mut give = |_, part| given += usize::from(!matches!(part, RestoredPart::Head(_)));
    let mut tables = OneRow { id, row };
    let Ok(_) = load(&mut tables, &State::default(), 1, 2, &mut give);
    let sound = Table::ALL.into_iter().any(|table| row.is_sound(table, id));
    assert!(given == 0 || sound);
}

/// Any bytes are a file and its log, or a journal: what is taken of them proves itself, and none of it is lost or made
/// up when the journal is applied.
pub fn what_is_salvaged_proves_itself(bytes: &[u8]) {
    let page = limits::STORE_PAGE_BYTES as usize;
    let (file, log) = bytes.split_at(bytes.len() / 2);
    // Pages come as they may lie in a file: whole.
    let mut pages = file.to_vec();
    pages.resize(file.len().next_multiple_of(page), 0);
    let found = salvage(&pages, log);
    for ((table, id), row) in &found.rows {
        assert!(row.as_ref().is_sound(*table, *id));
    }
    let image = Image::of(found, &[(1, bytes)], [7; 16]);
    for ((table, id), row) in image.tables.rows() {
        assert!(row.as_ref().is_sound(*table, *id));
    }
}

/// Any bytes are a file of Mosquitto's or not; what is taken of them are records of ours.
pub fn what_is_imported_are_records(file: &[u8]) {
    let Ok(found) = mosquitto_db::read(file) else {
        return;
    };
    let mut records = Vec::new();
    found.records(1_000, &mut records);
    let mut reader = Reader::new(&records);
    while !reader.is_empty() {
        assert!(Record::read(&mut reader).is_ok());
    }
}
