//! Counts by table, and of what is of no table that could be told.

use super::row::Table;

/// See the module.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Tally {
    by_table: [u64; Table::ALL.len()],
    unknown: u64,
}

impl Tally {
    /// One more.
    pub fn add(&mut self, table: Option<Table>) {
        self.add_many(table, 1);
    }

    /// So many more.
    pub fn add_many(&mut self, table: Option<Table>, count: u64) {
        *self.place(table) += count;
    }

    fn place(&mut self, table: Option<Table>) -> &mut u64 {
        match table {
            Some(table) => &mut self.by_table[table.index()],
            None => &mut self.unknown,
        }
    }

    pub fn of(&self, table: Option<Table>) -> u64 {
        let mut copy = *self;
        *copy.place(table)
    }

    pub fn total(&self) -> u64 {
        self.by_table.iter().sum::<u64>() + self.unknown
    }
}
