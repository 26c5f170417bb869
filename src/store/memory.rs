//! Tables in memory: of a store that is looked at without SQLite, and for tests, where what a transaction wrote is
//! there when it ends, or nothing of it.

use super::applier::Tables;
use super::load::Scan;
use super::row::{Row, RowRef, State, Table};
use std::collections::BTreeMap;
use std::convert::Infallible;

/// See the module.
#[derive(Clone, Default, Debug)]
pub struct MemoryTables {
    rows: BTreeMap<(Table, u64), Row>,
    state: State,
    /// Rows written and deleted since the beginning.
    #[cfg(test)]
    pub writes: u64,
    /// What the transaction under way has replaced.
    #[cfg(test)]
    before: Option<Box<MemoryTables>>,
}

impl MemoryTables {
    pub fn new(rows: BTreeMap<(Table, u64), Row>, state: State) -> MemoryTables {
        MemoryTables {
            rows,
            state,
            #[cfg(test)]
            writes: 0,
            #[cfg(test)]
            before: None,
        }
    }

    /// The rows of other tables.
    pub fn copy<S: Scan>(of: &mut S, state: &State) -> Result<MemoryTables, S::Error> {
        let mut rows = BTreeMap::new();
        for table in Table::ALL {
            of.scan(table, &mut |id, row| {
                rows.insert((table, id), row.to_row());
            })?;
        }
        Ok(MemoryTables::new(rows, state.clone()))
    }

    pub fn state(&self) -> &State {
        &self.state
    }

    /// All rows.
    pub fn rows(&self) -> &BTreeMap<(Table, u64), Row> {
        &self.rows
    }

    fn note_write(&mut self) {
        #[cfg(test)]
        {
            self.writes += 1;
        }
    }
}

#[cfg(test)]
impl MemoryTables {
    pub fn begin(&mut self) {
        self.before = Some(Box::new(self.clone()));
    }

    pub fn end(&mut self) {
        self.before = None;
    }

    /// The transaction under way never was.
    pub fn roll_back(&mut self) {
        if let Some(before) = self.before.take() {
            *self = *before;
        }
    }

    /// Rows of a table.
    pub fn count(&self, table: Table) -> usize {
        self.rows.keys().filter(|(of, _)| *of == table).count()
    }

    /// A row to be damaged.
    pub fn row_mut(&mut self, table: Table, id: u64) -> Option<&mut Row> {
        self.rows.get_mut(&(table, id))
    }
}

impl Tables for MemoryTables {
    type Error = Infallible;

    fn get(&mut self, table: Table, id: u64) -> Result<Option<Row>, Infallible> {
        Ok(self.rows.get(&(table, id)).cloned())
    }

    fn put(&mut self, table: Table, id: u64, row: RowRef<'_>) -> Result<(), Infallible> {
        self.note_write();
        self.rows.insert((table, id), row.to_row());
        Ok(())
    }

    fn delete(&mut self, table: Table, id: u64) -> Result<(), Infallible> {
        self.note_write();
        self.rows.remove(&(table, id));
        Ok(())
    }

    fn put_state(&mut self, state: &State) -> Result<(), Infallible> {
        self.state = state.clone();
        Ok(())
    }
}

impl Scan for MemoryTables {
    type Error = Infallible;

    fn scan(
        &mut self,
        table: Table,
        each: &mut dyn FnMut(u64, RowRef<'_>),
    ) -> Result<(), Infallible> {
        for ((of, id), row) in &self.rows {
            if *of == table {
                each(*id, row.as_ref());
            }
        }
        Ok(())
    }
}
