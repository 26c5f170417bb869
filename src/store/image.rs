//! A store as its files have it, read without SQLite and without a change: what a start would find.

use super::applier::{Applier, JournalFault, Moment};
use super::load::load;
use super::memory::MemoryTables;
use super::row::{self, State, Table};
use super::salvage::Salvaged;
use super::tally::Tally;
use std::collections::BTreeMap;

/// See the module.
pub struct Image {
    /// With what the journals have.
    pub tables: MemoryTables,
    /// As the file has it; `None`: it is damaged, or there is none.
    pub state: Option<State>,
    pub key: [u8; 16],
    /// Values of the table `meta`.
    pub meta: BTreeMap<String, Vec<u8>>,
    /// Changes in the journals that the tables do not have.
    pub replayed: u64,
    pub damage: Damage,
    /// Bytes of free pages.
    pub free_pages: u64,
}

/// What is wrong with a store.
#[derive(Default, Debug)]
pub struct Damage {
    /// Rows that are not as they were written.
    pub rows: Tally,
    /// Places where a page should be and is not.
    pub pages: Tally,
    /// Rows on these pages, by what other pages of the table have.
    pub rows_of_pages: Tally,
    /// Pages that no table names; rows on them are found.
    pub stray: u64,
    /// Rows of Sessions, and of shared messages, that are gone themselves.
    pub orphans: Tally,
    /// What the store knows as a whole: it is made anew of the rows.
    pub state: bool,
    /// Changes between the tables and the journals.
    pub gap: u64,
    /// Changes in the journals that are none.
    pub records: u64,
}

impl Damage {
    pub fn is_none(&self) -> bool {
        let tallies = [&self.rows, &self.pages, &self.orphans];
        tallies.iter().all(|tally| tally.total() == 0)
            && !self.state
            && self.stray + self.gap + self.records == 0
    }
}

impl Image {
    /// `journals`: the bytes of the journals by shard. `key`: where the file has lost its own.
    pub fn of(mut salvaged: Salvaged, journals: &[(u8, &[u8])], key: [u8; 16]) -> Image {
        let mut damage = Damage {
            rows: salvaged.damaged,
            pages: salvaged.walk.missing,
            stray: salvaged.walk.stray,
            ..Damage::default()
        };
        for table in Table::ALL {
            let rows = salvaged.in_place.of(Some(table));
            let pages = salvaged.walk.count(super::walk::Use::Rows(table));
            let missing = salvaged.walk.missing.of(Some(table));
            // Where no other page is left that could tell, as in a table of one page, each had one row at least.
            let lost = (missing * rows / pages.max(1)).max(missing);
            damage.rows_of_pages.add_many(Some(table), lost);
        }
        let state = salvaged.meta.get("state");
        let state = state.map(|bytes| State::from_bytes(bytes).ok());
        // A store that was never written has none.
        damage.state = state == Some(None) || (state.is_none() && !salvaged.rows.is_empty());
        let state = state.flatten();
        let key = match salvaged.sixteen("key") {
            Some(key) => key,
            None => {
                salvaged.rekey(key);
                key
            }
        };
        let of_rows = salvaged.state();
        let start = State {
            clean: state.as_ref().is_some_and(|state| state.clean),
            ..of_rows
        };
        damage.orphans = orphans(&salvaged);
        let free_pages = salvaged.walk.count(super::walk::Use::Free);
        let tables = MemoryTables::new(salvaged.rows, start);
        let mut image = Image {
            tables,
            state,
            key,
            meta: salvaged.meta,
            replayed: 0,
            damage,
            free_pages,
        };
        image.replay(journals);
        image
    }

    fn replay(&mut self, journals: &[(u8, &[u8])]) {
        let state = self.tables.state().clone();
        let Ok(loaded) = load(&mut self.tables, &state, 0, 1, &mut |_, _| {});
        let mut applier = Applier::new(loaded.index, state.clone(), self.key);
        for (shard, bytes) in journals {
            self.replayed += applier.replay_journal(*shard, bytes, &mut |fault| match fault {
                JournalFault::Gap(frames) => self.damage.gap += frames,
                JournalFault::NoRecords => self.damage.records += 1,
            });
        }
        let now = Moment {
            unix_s: state.stamp,
            ms: 0,
        };
        let Ok(()) = applier.commit(now, true, state.clean, &mut self.tables);
        applier.committed(now);
    }
}

/// Rows that name a Session, or a shared message, which is not there.
fn orphans(salvaged: &Salvaged) -> Tally {
    let has = |table, id| salvaged.rows.contains_key(&(table, id));
    let mut orphans = Tally::default();
    for ((table, id), row) in &salvaged.rows {
        let alone = match table {
            Table::Subscription => !has(Table::Session, row.session),
            Table::Delivery => {
                let released = row::read_delivery(*id, row.as_ref());
                let needs = released.is_ok_and(|delivery| delivery.delivery.is_some());
                !has(Table::Session, row.session)
                    || (needs && row.message > 0 && !has(Table::Message, row.message))
            }
            _ => false,
        };
        if alone {
            orphans.add(Some(*table));
        }
    }
    orphans
}
