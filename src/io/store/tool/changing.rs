//! What changes a store: a new file of what is in it, and what a Mosquitto has kept.

use super::bar::Bar;
use super::failure::{Done, Failure, in_use};
use super::figures;
use super::words::{bytes, count};
use crate::io::store::database::{Database, FILE_NAME, Refusal};
use crate::io::store::import::{self, Failure as NotImported};
use crate::io::store::place::{self, Place};
use crate::io::store::{rebuild, recovery};
use crate::limits;
use crate::store::Table;
use std::fs;
use std::path::Path;

fn locked(directory: &Path) -> Result<Place, Failure> {
    let taken = place::take(directory);
    let taken = taken.map_err(|error| Failure::new(format!("{}: {error}", directory.display())))?;
    taken.map_err(|holder| in_use(directory, &holder))
}

fn file_bytes(path: &Path) -> u64 {
    let size = |path: &Path| fs::metadata(path).map_or(0, |file| file.len());
    size(path) + size(&rebuild::beside(path, "-wal"))
}

/// Writes the store anew.
pub fn compact(directory: &Path) -> Result<Done, Failure> {
    let place = locked(directory)?;
    let path = place.directory.join(FILE_NAME);
    let named = |refusal: Refusal| {
        Failure::new(format!(
            "{}: {refusal}; the store is as it was",
            path.display()
        ))
    };
    rebuild::finish_interrupted(&path).map_err(named)?;
    let before = file_bytes(&path);
    let (image, left, notes) = figures::read(directory)?;
    let rows = image.tables.rows().len() as u64;
    let damaged = !image.damage.is_none();
    let mut bar = Bar::new("writing rows");
    let new = rebuild::New {
        key: image.key,
        meta: &image.meta,
        rows: image.tables.rows(),
        state: image.tables.state(),
    };
    let why = if damaged { "damaged" } else { "old" };
    let (database, kept) =
        rebuild::replace(&path, &new, why, &mut |done| bar.show(done, rows)).map_err(named)?;
    database.close().map_err(named)?;
    drop(bar);
    // What they have is in the new file.
    for journal in &left {
        let _ = journal.remove();
    }
    if !damaged {
        rebuild::forget(&kept);
    }
    let mut text = String::new();
    for note in notes {
        text += &format!("note: {note}\n");
    }
    text += &format!(
        "{} rows written anew: {} before, {} now\n",
        count(rows),
        bytes(before),
        bytes(file_bytes(&path))
    );
    if damaged {
        text += &format!("the damaged file is kept as {}\n", kept.display());
    }
    Ok(Done { text, exit_code: 0 })
}

/// Takes a file of Mosquitto's into a store that has nothing.
pub fn import(directory: &Path, file: &Path) -> Result<Done, Failure> {
    let place = locked(directory)?;
    let path = place.directory.join(FILE_NAME);
    let named = |refusal: Refusal| Failure::new(format!("{}: {refusal}", path.display()));
    rebuild::finish_interrupted(&path).map_err(named)?;
    if path.exists() {
        let (image, ..) = figures::read(directory)?;
        let rows = image.tables.rows();
        if !rows.is_empty() {
            let of = |table| rows.keys().filter(|(of, _)| *of == table).count() as u64;
            return Err(Failure::new(format!(
                "the store in {} has {} sessions and {} retained messages: only a new store can take in another; --store-dir DIR names one, or move this one away",
                directory.display(),
                count(of(Table::Session)),
                count(of(Table::Retained)),
            )));
        }
    }
    let mut database = Database::open(&path).map_err(named)?;
    recovery::identity(&database).map_err(named)?;
    let key = recovery::key(&database).map_err(named)?;
    let mut bar = Bar::new("importing");
    bar.begin(file_bytes(file) >= limits::STORE_LONG_BYTES);
    let imported = import::import(&mut database, key, file, true).map_err(|failure| {
        let text = match failure {
            NotImported::Missing => "there is no such file".to_owned(),
            NotImported::Unusable(why) => why,
            NotImported::Store(refusal) => return named(refusal),
        };
        Failure::new(format!("{}: {text}", file.display()))
    })?;
    database.checkpoint_whole().map_err(named)?;
    database.close().map_err(named)?;
    let text = format!("{} imported, {imported}\n", file.display());
    Ok(Done { text, exit_code: 0 })
}
