//! The tables of a file that is whole, read without SQLite: every row in the order of its id, borrowed from the bytes
//! of the file. A start reads so: SQLite's machine would take half of its time to hand out the same values.
//!
//! `O(pages + cells)`.

use super::bytes::Damaged;
use super::load::Scan;
use super::pages::{INNER, LEAF, Pages, Value, cell, head_at, kind_of, offsets, u32_at, values};
use super::row::{Column, RowRef, Table};

/// A row whose columns and body are of other types than ours. No checksum fits it.
const NO_ROW: RowRef<'static> = RowRef {
    session: 0,
    message: 0,
    text: "",
    body: &[],
};

/// See the module.
#[derive(Clone, Copy)]
pub struct PageTables<'a> {
    pages: &'a Pages<'a>,
    roots: &'a [(Table, u32)],
}

impl<'a> PageTables<'a> {
    /// `roots`: of a walk that has found the pages whole.
    pub fn new(pages: &'a Pages<'a>, roots: &'a [(Table, u32)]) -> PageTables<'a> {
        PageTables { pages, roots }
    }
}

impl Scan for PageTables<'_> {
    type Error = Damaged;

    fn scan(&mut self, table: Table, each: &mut dyn FnMut(u64, RowRef<'_>)) -> Result<(), Damaged> {
        // An older file does not have them all.
        let root = self.roots.iter().find(|(of, _)| *of == table);
        // The next page is the last of these.
        let mut left: Vec<u32> = root.map(|(_, root)| *root).into_iter().collect();
        for _ in 0..self.pages.last() {
            let Some(number) = left.pop() else {
                return Ok(());
            };
            let page = self.pages.page(number).ok_or(Damaged)?;
            let offsets = offsets(number, page)?;
            match kind_of(number, page) {
                LEAF => {
                    for offset in offsets {
                        let cell = cell(self.pages, page, offset, &mut |_| true)?;
                        let values = values(&cell.record).unwrap_or_default();
                        each(cell.id, row_of(table, &values).unwrap_or(NO_ROW));
                    }
                }
                INNER => {
                    left.push(u32_at(page, head_at(number) + 8).ok_or(Damaged)?);
                    for offset in offsets.into_iter().rev() {
                        left.push(u32_at(page, offset).ok_or(Damaged)?);
                    }
                }
                _ => return Err(Damaged),
            }
        }
        // More pages than there are: some are named twice.
        match left.is_empty() {
            true => Ok(()),
            false => Err(Damaged),
        }
    }
}

/// The row of a record of this table: the id, which stands in the cell, the columns, and the body. `None`: it has
/// others. A column of another type is empty, which the checksum does not forgive.
pub fn row_of<'r>(table: Table, values: &[Value<'r>]) -> Option<RowRef<'r>> {
    let [Value::Other, cells @ .., Value::Blob(body)] = values else {
        return None;
    };
    if cells.len() != table.columns().len() {
        return None;
    }
    let mut row = RowRef { body, ..NO_ROW };
    for (column, value) in table.columns().iter().zip(cells) {
        match (column, value) {
            (Column::Session, Value::Integer(number)) => row.session = *number,
            (Column::Message, Value::Integer(number)) => row.message = *number,
            (Column::Text(_), Value::Text(text)) => {
                row.text = std::str::from_utf8(text).unwrap_or("");
            }
            _ => {}
        }
    }
    Some(row)
}
