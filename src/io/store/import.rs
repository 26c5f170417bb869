//! What Mosquitto has kept comes into a new store.

use super::database::{Database, Refusal};
use crate::broker::LogLevel;
use crate::io::helpers::log::Log;
use crate::limits;
use crate::store::index::Index;
use crate::store::mosquitto_db::{self, Taken};
use crate::store::{Applier, Moment, State};
use std::fs;
use std::io;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Why nothing was taken.
pub enum Failure {
    /// There is no such file.
    Missing,
    /// It cannot be read, or is none of Mosquitto's; a sentence.
    Unusable(String),
    /// The store refused.
    Store(Refusal),
}

/// What was taken: the version of the file, what became of it, and parts that could not be taken.
pub struct Imported {
    pub version: u32,
    pub taken: Taken,
    pub lost: u64,
}

impl std::fmt::Display for Imported {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let taken = &self.taken;
        write!(
            f,
            "version {}: {} sessions, {} subscriptions, {} messages under way, {} retained; {} had expired, {} parts could not be taken",
            self.version,
            taken.sessions,
            taken.subscriptions,
            taken.deliveries,
            taken.retained,
            taken.expired,
            self.lost
        )
    }
}

/// What an import would take, without a store.
///
/// Errors: there is no such file, or it is none of Mosquitto's.
pub fn look(file: &Path) -> Result<Imported, Failure> {
    let (imported, ..) = read(file)?;
    Ok(imported)
}

/// Takes a file into tables that are empty, in one transaction. `clean`: nothing more is written after it.
pub fn import(
    database: &mut Database,
    key: [u8; 16],
    file: &Path,
    clean: bool,
) -> Result<Imported, Failure> {
    let (imported, records, now) = read(file)?;
    let mut applier = Applier::new(Index::default(), State::default(), key);
    if applier.take_in(&records).is_err() {
        let text = "what it holds cannot be kept";
        return Err(Failure::Unusable(text.to_owned()));
    }
    let moment = Moment { unix_s: now, ms: 0 };
    let written = database.commit(&mut applier, moment, true, clean);
    written.map_err(Failure::Store)?;
    Ok(imported)
}

/// What can be taken of a file, its records, and the second that they are of.
fn read(file: &Path) -> Result<(Imported, Vec<u8>, u64), Failure> {
    let unusable = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => Failure::Missing,
        _ => Failure::Unusable(error.to_string()),
    };
    let bytes = fs::metadata(file).map_err(unusable)?.len();
    if bytes > limits::IMPORT_BYTES_MAX {
        let most = limits::IMPORT_BYTES_MAX;
        return Err(Failure::Unusable(format!("{bytes} bytes; at most {most}")));
    }
    let file = fs::read(file).map_err(unusable)?;
    let Ok(found) = mosquitto_db::read(&file) else {
        let text = "it is no mosquitto.db of version 3 to 6";
        return Err(Failure::Unusable(text.to_owned()));
    };
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = since.map_or(0, |since| since.as_secs());
    let mut records = Vec::new();
    let taken = found.records(now, &mut records);
    let imported = Imported {
        version: found.version,
        taken,
        lost: found.lost,
    };
    Ok((imported, records, now))
}

/// The same at the first start of a store, with one line of the log about it.
pub fn import_if_there(
    database: &mut Database,
    key: [u8; 16],
    file: &Path,
    log: &Log,
) -> Result<(), Refusal> {
    let shown = file.display();
    match import(database, key, file, false) {
        Ok(imported) => {
            let text = format!("store: new, so {shown} was imported, {imported}");
            log.line(LogLevel::Info, text);
        }
        Err(Failure::Missing) => {}
        Err(Failure::Unusable(why)) => {
            let text = format!("store: {shown} was not imported: {why}");
            log.line(LogLevel::Warning, text);
        }
        Err(Failure::Store(refusal)) => return Err(refusal),
    }
    Ok(())
}
