//! The trees of a store's file, walked from their roots: which page belongs to which table, and which is missing.
//!
//! In a sound file every page is named exactly once: by a page above it, by the page before it in a long row, or by the
//! list of free pages. SQL does not look at that: where an inner page has lost a branch, a query leaves out its rows
//! and says nothing. So the start walks the trees before it asks.
//!
//! `O(pages + cells)`, about a millisecond for each megabyte on a small machine.

use super::pages::{
    INDEX_INNER, INDEX_LEAF, INNER, LEAF, Pages, Value, cell, head_at, kind_of, offsets, u32_at,
    values,
};
use super::row::Table;
use super::tally::Tally;

/// Whose a page is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Use {
    /// Nobody names it.
    Nobody,
    /// SQLite's own, and the table of what the store knows as a whole.
    Own,
    Rows(Table),
    Free,
    /// SQLite leaves the page at 1 GiB alone, as systems lock files there.
    Lock,
}

impl Use {
    fn table(self) -> Option<Table> {
        match self {
            Use::Rows(table) => Some(table),
            _ => None,
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Walk {
    /// By page, from the first on.
    uses: Vec<Use>,
    /// Places at which a page of a table should be and none is, or one that is another's already.
    pub missing: Tally,
    /// Pages that nobody names.
    pub stray: u64,
    /// The roots of the tables that the file has.
    pub roots: Vec<(Table, u32)>,
}

/// The page at 1 GiB, by its number.
const LOCK_PAGE: u32 = ((1 << 30) / crate::limits::STORE_PAGE_BYTES) + 1;

impl Walk {
    pub fn of(pages: &Pages<'_>) -> Walk {
        let mut walk = Walk {
            uses: vec![Use::Nobody; pages.last() as usize],
            missing: Tally::default(),
            stray: 0,
            roots: Vec::new(),
        };
        let mut roots = Vec::new();
        walk.tree(pages, 1, Use::Own, &mut |record| {
            roots.extend(root_of(record))
        });
        for (table, root) in &roots {
            let of = table.map_or(Use::Own, Use::Rows);
            walk.tree(pages, *root, of, &mut |_| {});
        }
        for table in Table::ALL {
            if table.since() <= pages.version() && !roots.iter().any(|(of, _)| *of == Some(table)) {
                walk.missing.add(Some(table));
            }
        }
        let of_tables = roots.iter().filter_map(|(of, root)| Some(((*of)?, *root)));
        walk.roots = of_tables.collect();
        for number in &pages.free {
            // What a tree has is in use, whatever the list says.
            walk.claim(*number, Use::Free);
        }
        walk.claim(LOCK_PAGE, Use::Lock);
        let stray = walk.uses.iter().filter(|of| **of == Use::Nobody);
        walk.stray = stray.count() as u64;
        walk
    }

    /// Each page is where it should be.
    pub fn is_whole(&self) -> bool {
        self.missing.total() == 0 && self.stray == 0
    }

    pub fn use_of(&self, number: u32) -> Use {
        let index = (number as usize).wrapping_sub(1);
        self.uses.get(index).copied().unwrap_or(Use::Nobody)
    }

    /// Pages with this use.
    pub fn count(&self, of: Use) -> u64 {
        self.uses.iter().filter(|used| **used == of).count() as u64
    }

    /// The page is of this use from now on. `false`: there is no such page, or it is another's.
    fn claim(&mut self, number: u32, of: Use) -> bool {
        let index = (number as usize).wrapping_sub(1);
        match self.uses.get_mut(index) {
            Some(used @ Use::Nobody) => {
                *used = of;
                true
            }
            _ => false,
        }
    }

    /// Walks one tree; `each` gets the records of its leaves, if it is a table's.
    fn tree(&mut self, pages: &Pages<'_>, root: u32, of: Use, each: &mut dyn FnMut(&[u8])) {
        let mut left = vec![root];
        while let Some(number) = left.pop() {
            let page = pages.page(number).filter(|_| self.claim(number, of));
            let known = page.and_then(|page| Some((page, offsets(number, page).ok()?)));
            let Some((page, offsets)) = known else {
                self.missing.add(of.table());
                continue;
            };
            match kind_of(number, page) {
                LEAF => {
                    for offset in offsets {
                        let chain = &mut |number| self.claim(number, of);
                        match cell(pages, page, offset, chain) {
                            Ok(cell) => each(&cell.record),
                            Err(_) => self.missing.add(of.table()),
                        }
                    }
                }
                INNER | INDEX_INNER => {
                    let last = u32_at(page, head_at(number) + 8);
                    let below = offsets.iter().map(|offset| u32_at(page, *offset));
                    for number in below.chain([last]) {
                        match number {
                            Some(number) => left.push(number),
                            None => self.missing.add(of.table()),
                        }
                    }
                }
                // Of `meta`, whose keys are short: no long rows.
                INDEX_LEAF => {}
                _ => self.missing.add(of.table()),
            }
        }
    }
}

/// The root that a record of `sqlite_schema` names: type, name, table, root, SQL. `None` for the table: it is not of
/// rows.
fn root_of(record: &[u8]) -> Option<(Option<Table>, u32)> {
    let values = values(record).ok()?;
    let [_, Value::Text(name), _, Value::Integer(root), _] = values.as_slice() else {
        return None;
    };
    let table = Table::ALL
        .into_iter()
        .find(|table| table.name().as_bytes() == *name);
    Some((table, u32::try_from(*root).ok()?))
}
