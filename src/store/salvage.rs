//! What is left in a damaged file of SQLite, read without SQLite: every leaf page of a table is looked at, and every
//! row on it that proves itself is taken.
//!
//! So a file whose head, or whose inner pages, or whose half is gone, still gives the rows of the pages that are
//! whole. Pages that the file says are free are left out, as their rows were deleted, unless a tree has them.

use super::applier::{filter_id, topic_id};
use super::pages::{LEAF, Pages, Value, cell, kind_of, offsets, values};
use super::row::{self, Row, State, Table};
use super::scan;
use super::tally::Tally;
use super::walk::{Use, Walk};
use std::collections::BTreeMap;

/// What was found.
#[derive(Debug)]
pub struct Salvaged {
    /// Rows that prove themselves.
    pub rows: BTreeMap<(Table, u64), Row>,
    /// Values of `meta`, which do not prove themselves.
    pub meta: BTreeMap<String, Vec<u8>>,
    /// How many of them lay on pages of their table. Batches count as they lay there.
    pub in_place: Tally,
    /// Rows that were there and are damaged.
    pub damaged: Tally,
    /// The trees that rows were in.
    pub walk: Walk,
}

/// Reads a file and its write-ahead log.
pub fn salvage(file: &[u8], log: &[u8]) -> Salvaged {
    let pages = Pages::of(file, log);
    let mut found = Salvaged {
        rows: BTreeMap::new(),
        meta: BTreeMap::new(),
        in_place: Tally::default(),
        damaged: Tally::default(),
        walk: Walk::of(&pages),
    };
    // Pages of the trees come last: a page that nobody names may have an older copy of a row.
    for stray in [true, false] {
        for (number, page) in pages.all() {
            let of = found.walk.use_of(number);
            if (of == Use::Nobody) == stray && of != Use::Free {
                found.take_page(&pages, number, page);
            }
        }
    }
    found.merge_batches();
    found
}

impl Salvaged {
    fn take_page(&mut self, pages: &Pages<'_>, number: u32, page: &[u8]) {
        if kind_of(number, page) != LEAF {
            return;
        }
        let of = match self.walk.use_of(number) {
            Use::Rows(table) => Some(table),
            _ => None,
        };
        let Ok(offsets) = offsets(number, page) else {
            self.damaged.add(of);
            return;
        };
        for offset in offsets {
            match cell(pages, page, offset, &mut |_| true) {
                Ok(cell) => self.take_record(of, cell.id, &cell.record),
                Err(_) => self.damaged.add(of),
            }
        }
    }

    /// `of`: the table whose tree has it.
    fn take_record(&mut self, of: Option<Table>, id: u64, record: &[u8]) {
        let Ok(values) = values(record) else {
            self.damaged.add(of);
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
            if of.is_some() {
                self.damaged.add(of);
            }
            return;
        };
        let table = body.first().and_then(|kind| Table::of_kind(*kind));
        let row = table.and_then(|table| Some((table, scan::row_of(table, &values)?)));
        let Some((table, row)) = row else {
            self.damaged.add(of);
            return;
        };
        if row.is_sound(table, id) {
            if of == Some(table) {
                self.in_place.add(of);
            }
            self.rows.insert((table, id), row.to_row());
        } else {
            self.damaged.add(of.or(Some(table)));
        }
    }
}

impl Salvaged {
    /// Puts what batches have where it belongs: into `retained`. A page that nobody names may have a batch that was
    /// merged long ago, so the newer of two stays.
    fn merge_batches(&mut self) {
        let batches = (Table::Batch, 0)..=(Table::Batch, u64::MAX);
        let batches: Vec<_> = self.rows.range(batches).map(|(key, _)| *key).collect();
        for key in batches {
            let batch = self.rows.remove(&key).unwrap_or_default();
            for (id, row) in row::read_batch(key.1, batch.as_ref()).unwrap_or_default() {
                let version = |row: &Row| {
                    let read = row::read_retained(id, row.as_ref());
                    read.map(|(version, _)| version).ok()
                };
                let key = (Table::Retained, id);
                let there = self.rows.get(&key).and_then(version);
                if there <= version(&row) {
                    self.rows.insert(key, row);
                }
            }
        }
    }

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
                Table::Subscription | Table::Message | Table::Received | Table::Batch => {}
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
