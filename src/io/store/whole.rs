//! A store's file whose every page is where it should be, in memory. SQLite does not look at that: where an inner page
//! has lost a branch, a query leaves out its rows and says nothing.

use super::database::{self, Refusal};
use super::rebuild::read_both;
use crate::broker::RestoredPart;
use crate::ids::ShardId;
use crate::limits;
use crate::store::bytes::Damaged;
use crate::store::pages::Pages;
use crate::store::scan::PageTables;
use crate::store::walk::Walk;
use crate::store::{Loaded, State, Table, load_sessions, load_topics};
use std::fs;
use std::panic::resume_unwind;
use std::path::Path;
use std::thread;

/// See the module.
pub struct Whole {
    file: Vec<u8>,
    log: Vec<u8>,
    roots: Vec<(Table, u32)>,
}

/// Gets each part and the shard it is for, on any thread.
pub type GiveAnywhere<'a> = &'a mut (dyn FnMut(ShardId, RestoredPart) + Send);

impl Whole {
    /// Reads a file and its log. `None`: there is none, or a large one, or what does not say that it is a store's; then
    /// SQLite has its own word.
    ///
    /// No connection of this process may have the file open, as its locks would end when this closes the file. [SQLite,
    /// "How To Corrupt An SQLite Database File", 2.2]
    ///
    /// Errors: it cannot be read, or some page is not where it should be.
    pub fn read(path: &Path) -> Result<Option<Whole>, Refusal> {
        let bytes = fs::metadata(path).map_or(0, |file| file.len());
        if bytes == 0 || bytes > limits::STORE_WALKED_BYTES_MAX {
            return Ok(None);
        }
        let (file, log) = read_both(path)?;
        let pages = Pages::of(&file, &log);
        if !pages.page(1).is_some_and(database::is_of_a_store) {
            return Ok(None);
        }
        let walk = Walk::of(&pages);
        if !walk.is_whole() {
            return Err(Refusal::Damaged(format!(
                "{} pages are missing in its tables, {} are in none",
                walk.missing.total(),
                walk.stray
            )));
        }
        let roots = walk.roots;
        Ok(Some(Whole { file, log, roots }))
    }

    /// Reads all tables as [`load`](crate::store::load) does, the retained messages on a thread of their own; `give`
    /// gets the parts of Sessions, `give_retained` those that follow them.
    ///
    /// Errors: rows are not as they were written.
    pub fn load(
        &self,
        state: &State,
        now: u64,
        shards: usize,
        give: GiveAnywhere<'_>,
        give_retained: GiveAnywhere<'_>,
    ) -> Result<Loaded, Refusal> {
        let pages = Pages::of(&self.file, &self.log);
        let tables = PageTables::new(&pages, &self.roots);
        thread::scope(|scope| {
            let retained = || load_topics(&mut { tables }, state, now, shards, give_retained);
            let builder = thread::Builder::new().name("store-read".to_owned());
            let retained = builder.spawn_scoped(scope, retained);
            let retained = retained.map_err(|error| Refusal::Disk(error.to_string()))?;
            let sessions = load_sessions(&mut { tables }, state, now, shards, give);
            let retained = retained.join().unwrap_or_else(|panic| resume_unwind(panic));
            let joined = sessions.and_then(|sessions| Ok(sessions.with_topics(retained?)));
            joined.map_err(|Damaged| Refusal::Damaged("rows of its tables are cut off".to_owned()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::store::database::Database;
    use crate::io::store::rebuild::beside;
    use crate::random::SplitMix64;
    use crate::store::record::{Body, WriteVersion};
    use crate::store::{Row, Scan, Tables, row};
    use crate::wire::QoS;
    use std::process;

    /// Rows in the order in which they come.
    fn all<S: Scan>(tables: &mut S) -> Result<Vec<(Table, u64, Row)>, S::Error> {
        let mut rows = Vec::new();
        for table in Table::ALL {
            tables.scan(table, &mut |id, row| rows.push((table, id, row.to_row())))?;
        }
        Ok(rows)
    }

    /// Ids of all sizes and signs, rows on several pages, a table without rows, and pages that are in the log alone.
    #[test]
    fn pages_give_what_sqlite_gives_in_its_order() {
        let folder = std::env::temp_dir().join(format!("mqttfast-whole-{}", process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let path = folder.join("a.db");
        let mut database = Database::open(&path).expect("a file");
        let mut random = SplitMix64::new(5);
        for part in 0..3 {
            database.begin().expect("begun");
            for _ in 0..400 {
                let id = random.draw() >> random.below(64);
                let long = if random.below(9) == 0 { 5_000 } else { 80 };
                let payload = vec![7; random.below(long)];
                let topic = format!("t/{id}");
                let body = Body {
                    topic: &topic,
                    passed_on: b"",
                    payload: &payload,
                    qos: QoS::AtLeastOnce,
                    retain: true,
                    expires: 0,
                };
                let version = WriteVersion { clock: 1, shard: 0 };
                let (table, row) = match random.below(3) {
                    0 => (Table::Retained, row::retained(id, version, &body)),
                    1 => (Table::Message, row::message(id, &body)),
                    _ => (Table::Received, row::received(id, id >> 20)),
                };
                database.put(table, id, row.as_ref()).expect("put");
            }
            database.end().expect("committed");
            if part == 1 {
                database.checkpoint().expect("moved");
            }
        }
        let by_sqlite = all(&mut database).expect("readable");
        // As a crash leaves it: closing would move the log into the file.
        let copy = folder.join("b.db");
        for ending in ["", "-wal"] {
            fs::copy(beside(&path, ending), beside(&copy, ending)).expect("a copy");
        }
        let whole = Whole::read(&copy).expect("readable").expect("it is whole");
        let pages = Pages::of(&whole.file, &whole.log);
        let by_pages = all(&mut PageTables::new(&pages, &whole.roots)).expect("readable");
        assert!(by_pages == by_sqlite, "{} rows", by_pages.len());
        assert!(
            by_pages.len() > 1_000
                && by_pages
                    .iter()
                    .all(|(table, id, row)| row.as_ref().is_sound(*table, *id))
        );
        fs::remove_dir_all(folder).expect("removed");
    }
}
