//! Retained messages of QoS 0 on their way into their table: a commit writes all of them as rows of `batch`, and
//! some minutes later they are written into `retained` together.
//!
//! The topics of a busy home lie on pages all over the table. Fifty of them that change in five seconds are fifty pages
//! of 1 KiB in the log, and later in the file: 1,450 bytes for each 40 of payload. As a batch they are four pages, one
//! behind the other; and when a hundred topics that share ten pages go into the table at once, each page is written
//! once.
//!
//! What a batch has of a topic is newer than what the table has: so a start reads it, until the rows of the batches are
//! merged and deleted in one commit. What else happens to such a topic (a message of QoS 1, a deletion) merges first.

use super::bytes::Damaged;
use super::row::{self, Row, RowRef};
use crate::limits;
use crate::random::HashState;
use hashbrown::HashMap;
use std::collections::BTreeSet;

/// The batches that are in the tables, and what they say.
#[derive(Clone, Default, Debug)]
pub struct Batches {
    /// By id in `retained`: the newest of each topic.
    rows: HashMap<u64, Row, HashState>,
    /// Rows of `batch`.
    ids: BTreeSet<u64>,
    /// Of those rows.
    bytes: usize,
    last: u64,
}

impl Batches {
    /// Takes a row of `batch`. Later ones have higher ids.
    ///
    /// Errors: it is not as it was written.
    pub fn read(&mut self, id: u64, batch: RowRef<'_>) -> Result<(), Damaged> {
        self.last = self.last.max(id);
        let entries = row::read_batch(id, batch)?;
        self.ids.insert(id);
        self.bytes += batch.body.len();
        self.rows.extend(entries);
        Ok(())
    }

    /// A batch has something newer of this topic than `retained`.
    pub fn has(&self, id: u64) -> bool {
        self.rows.contains_key(&id)
    }

    /// The newest of each topic, by id in `retained`.
    pub fn rows(&self) -> Vec<(u64, &Row)> {
        let mut rows: Vec<(u64, &Row)> = self.rows.iter().map(|(id, row)| (*id, row)).collect();
        rows.sort_unstable_by_key(|(id, _)| *id);
        rows
    }

    /// The rows of `batch`.
    pub fn ids(&self) -> impl Iterator<Item = u64> + '_ {
        self.ids.iter().copied()
    }

    /// There is so much that it is to be merged.
    pub fn are_full(&self) -> bool {
        self.bytes >= limits::STORE_BATCHES_BYTES_MAX
            || self.rows.len() >= limits::STORE_BATCHES_TOPICS_MAX
    }

    /// Puts rows of `retained`, by rising id, into new rows of `batch`. They count when [`Batches::add`] has been told.
    pub fn pack<'a>(&self, rows: impl Iterator<Item = (u64, &'a Row)>) -> Vec<(u64, Row)> {
        let mut packed = Vec::new();
        let mut entries = Vec::new();
        let mut close = |entries: &mut Vec<u8>| {
            let id = self.last + 1 + packed.len() as u64;
            packed.push((id, row::batch(id, &std::mem::take(entries))));
        };
        for (id, row) in rows {
            let before = entries.len();
            row::put_entry(&mut entries, id, row);
            if entries.len() > limits::STORE_BATCH_BYTES && before > 0 {
                let last = entries.split_off(before);
                close(&mut entries);
                entries = last;
            }
        }
        if !entries.is_empty() {
            close(&mut entries);
        }
        packed
    }

    /// This row of `batch` is in the tables.
    pub fn note(&mut self, id: u64, bytes: usize) {
        self.last = self.last.max(id);
        self.ids.insert(id);
        self.bytes += bytes;
    }

    /// A batch in the tables has this row of `retained`.
    pub fn add(&mut self, id: u64, row: Row) {
        self.rows.insert(id, row);
    }

    /// All is in `retained`, and the rows of `batch` are deleted.
    pub fn merged(&mut self) {
        *self = Batches {
            last: self.last,
            ..Batches::default()
        };
    }
}

/// A row of `retained` finds room in a row of `batch`. One that would need two pages there is no better off.
pub fn fits(row: &Row) -> bool {
    row::entry_bytes(row) <= limits::STORE_BATCH_BYTES
}
