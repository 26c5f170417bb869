//! The open window: rows that the next commit writes. What is done before the commit is never written: a row that
//! came and went leaves nothing.

use super::row::{Row, Table};
use std::collections::BTreeMap;

/// What the commit does to a row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Write {
    /// The tables do not have it.
    Insert(Row),
    /// The tables may have it.
    Replace(Row),
    Delete,
}

/// Rows by table and id, so that a commit writes each table in the order of its ids.
#[derive(Clone, Default, Debug)]
pub struct Window {
    writes: BTreeMap<(Table, u64), Write>,
}

impl Window {
    /// A row that is new, or was deleted.
    pub fn insert(&mut self, table: Table, id: u64, row: Row) {
        let key = (table, id);
        let write = match self.writes.get(&key) {
            None | Some(Write::Insert(_)) => Write::Insert(row),
            Some(_) => Write::Replace(row),
        };
        self.writes.insert(key, write);
    }

    /// A row that may be there already.
    pub fn replace(&mut self, table: Table, id: u64, row: Row) {
        let key = (table, id);
        let write = match self.writes.get(&key) {
            Some(Write::Insert(_)) => Write::Insert(row),
            _ => Write::Replace(row),
        };
        self.writes.insert(key, write);
    }

    /// The row goes.
    pub fn delete(&mut self, table: Table, id: u64) {
        let key = (table, id);
        if matches!(self.writes.get(&key), Some(Write::Insert(_))) {
            self.writes.remove(&key);
        } else {
            self.writes.insert(key, Write::Delete);
        }
    }

    /// What this window does to a row; `None`: nothing.
    pub fn get(&self, table: Table, id: u64) -> Option<&Write> {
        self.writes.get(&(table, id))
    }

    /// The ids of rows of a table that the commit writes or deletes.
    pub fn of(&self, table: Table) -> impl Iterator<Item = u64> + '_ {
        let range = (table, 0)..=(table, u64::MAX);
        self.writes.range(range).map(|((_, id), _)| *id)
    }

    pub fn iter(&self) -> impl Iterator<Item = (Table, u64, &Write)> {
        self.writes
            .iter()
            .map(|((table, id), write)| (*table, *id, write))
    }

    /// All is written.
    pub fn clear(&mut self) {
        self.writes.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(text: &str) -> Row {
        Row {
            text: text.into(),
            ..Row::default()
        }
    }

    #[test]
    fn a_row_that_came_and_went_leaves_nothing() {
        let mut window = Window::default();
        window.insert(Table::Delivery, 1, row("a"));
        window.replace(Table::Delivery, 1, row("b"));
        window.delete(Table::Delivery, 1);
        assert_eq!(window.iter().count(), 0);
    }

    #[test]
    fn a_row_of_the_tables_is_deleted_and_may_come_again() {
        let mut window = Window::default();
        window.delete(Table::Received, 1);
        assert_eq!(window.get(Table::Received, 1), Some(&Write::Delete));
        window.insert(Table::Received, 1, row("again"));
        window.delete(Table::Received, 1);
        assert_eq!(window.get(Table::Received, 1), Some(&Write::Delete));
        window.replace(Table::Retained, 7, row("x"));
        window.delete(Table::Retained, 7);
        assert_eq!(window.get(Table::Retained, 7), Some(&Write::Delete));
        assert_eq!(window.iter().count(), 2);
    }
}
