//! The start of the store: finds its place, opens the tables, applies the journals that an earlier broker left, and
//! reads all for the shards.

use super::database::{self, Database, Refusal};
use super::import;
use super::inbox::Inlet;
use super::journal::{self, Left};
use super::keeper::{Disk, Keeper};
use super::keeping::{JournalFolder, Keeping, unix_s};
use super::place::{self, Found, Place, Wanted};
use super::rebuild;
use super::reserve::Reserve;
use super::whole::Whole;
use crate::broker::{LogLevel, Restored, RestoredPart};
use crate::config::{Durability, StoreConfig};
use crate::ids::ShardId;
use crate::io::clock::Clock;
use crate::io::helpers::log::Log;
use crate::io::mail::{Restore, Shards, ToShard};
use crate::io::start_error::{StartError, refused};
use crate::limits;
use crate::store::applier::JournalFault;
use crate::store::memory::MemoryTables;
use crate::store::{Applier, Identity, Loaded, Moment, State, frame, load};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

/// A store whose shards do not run yet.
pub struct Recovered {
    place: Place,
    disk: Disk,
    applier: Applier,
    identity: Identity,
    journals: PathBuf,
    /// Those of before the start are needed until the first commit.
    journals_later: bool,
    /// By shard.
    chunks: Vec<Vec<Restored>>,
    durability: Durability,
    window_ms: u64,
}

/// A store at work, as the main thread has it.
pub struct Store {
    keeper: Keeper,
    /// Unlocked when the broker ends.
    _place: Place,
    directory: PathBuf,
    identity: Identity,
    shards: usize,
}

/// Opens the store of this broker; `None`: it has none, and the log says why.
///
/// Errors: a directory that was asked for cannot be used, another broker has it, or a later one wrote it.
pub fn recover(
    config: &StoreConfig,
    wanted: &Wanted,
    shards: usize,
    log: &Log,
) -> Result<Option<Recovered>, StartError> {
    let place = match wanted.find()? {
        Found::Place(place) => place,
        Found::None(why) => {
            log.line(LogLevel::Info, format!("store: none, as {why}"));
            return Ok(None);
        }
        Found::Refused(why) => {
            log.line(LogLevel::Warning, format!("store: none: {why}"));
            return Ok(None);
        }
    };
    let path = place.directory.join(database::FILE_NAME);
    let named = |refusal: Refusal| StartError::new(format!("{}: {refusal}", path.display()));
    let (journals, note) = wanted.journals(&place);
    if let Some(note) = note {
        log.line(LogLevel::Info, note);
    }
    rebuild::finish_interrupted(&path).map_err(named)?;
    let mut reserve = Reserve::take(&place.directory);
    let start = Start {
        config,
        path: &path,
        journals: &journals,
        shards,
        log,
    };
    let mut read = start.read(Trust::Proven);
    if matches!(read, Err(Refusal::Full)) && reserve.give_back() {
        read = start.read(Trust::Proven);
    }
    let full = matches!(read, Err(Refusal::Full));
    if full {
        log.line(
            LogLevel::Warning,
            format!(
                "store: no room is left for {}: the journals stay, and what is in them is written when there is",
                path.display()
            ),
        );
        read = start.read_only();
    }
    let damaged = match &read {
        Err(Refusal::Damaged(why) | Refusal::Disk(why)) => Some(why.clone()),
        // The head of the file is not ours, and rows in it are.
        Err(Refusal::Foreign) if !rebuild::read(&path).map_err(named)?.rows.is_empty() => {
            Some(Refusal::Foreign.to_string())
        }
        _ => None,
    };
    if let Some(why) = damaged {
        let mut rebuilt = rebuild::rebuild(&path, "damaged");
        if matches!(rebuilt, Err(Refusal::Full)) && reserve.give_back() {
            rebuilt = rebuild::rebuild(&path, "damaged");
        }
        let text = match rebuilt {
            Ok(rebuilt) => format!(
                "salvaged {} rows, {} more were damaged; the old file is {}",
                rebuilt.rows,
                rebuilt.damaged,
                rebuilt.kept.display()
            ),
            // What SQL finds in it must do.
            Err(refusal) => format!("a new file cannot be made: {refusal}"),
        };
        let text = format!("store: {} is damaged ({why}): {text}", path.display());
        log.line(LogLevel::Error, text);
        read = start.read(Trust::AsItIs);
    }
    let (database, applier, identity, chunks) = read.map_err(named)?;
    Ok(Some(Recovered {
        place,
        disk: Disk {
            database,
            reserve,
            bytes_max: config.bytes_max,
        },
        applier,
        identity,
        journals,
        journals_later: full,
        chunks,
        durability: config.durability,
        window_ms: config.window_ms,
    }))
}

/// What is done about damage that a start finds as it reads.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Trust {
    /// It is an error, so that a new file can be made of all that is sound.
    Proven,
    /// It is left out. Nothing better can be had.
    AsItIs,
}

/// What a start has found out before it reads.
struct Start<'a> {
    config: &'a StoreConfig,
    path: &'a Path,
    journals: &'a Path,
    shards: usize,
    log: &'a Log,
}

/// The open tables, who changes them, whose they are, and what they hold for each shard.
type Read = (Database, Applier, Identity, Vec<Vec<Restored>>);

impl Start<'_> {
    /// Opens the file, applies the journals, reads all, and deletes what nobody needs.
    fn read(&self, trust: Trust) -> Result<Read, Refusal> {
        let started = Instant::now();
        let (path, log) = (self.path, self.log);
        let mut whole = match trust {
            Trust::Proven => Whole::read(path)?,
            Trust::AsItIs => None,
        };
        let mut database = Database::open(path)?;
        let identity = identity(&database)?;
        let key = key(&database)?;
        let state = state(&database)?;
        let directory = path.parent().unwrap_or(path);
        let left = left(&database, directory, self.journals, identity, log)?;
        let of_file = whole.as_ref();
        let replayed = replay(&mut database, of_file, &state, key, &left, trust, log)?;
        let is_new = state.stamp == 0 && replayed == 0;
        if let Some(file) = self.config.import.as_ref().filter(|_| is_new) {
            import::import_if_there(&mut database, key, file, log)?;
        }
        if replayed > 0 || is_new {
            whole = None; // The tables have more by now.
        }
        // As the journals and the import have left it.
        let state = self::state(&database)?;
        let boot = boot(self.config.durability);
        let window_lost =
            !state.clean && database.meta("boot")?.is_some_and(|was| took(&was, &boot));
        let (of_file, shards) = (whole.as_ref(), self.shards);
        let (loaded, chunks) = read_all(&mut database, of_file, &state, shards)?;
        drop(whole);
        refuse_damage(&loaded, trust)?;
        let how = match (is_new, state.clean, replayed) {
            (true, ..) => "new",
            _ if window_lost => "after a power cut or a crash of the machine",
            (_, true, _) => "after an orderly stop",
            (_, false, 0) => "after a crash or a power cut, with nothing in its journals",
            (_, false, _) => "after a crash, with its journals",
        };
        announce(self.config, path, &loaded, how, started, log);
        let state = State {
            clean: false,
            ..state
        };
        let mut applier = Applier::new(loaded.index, state, key);
        applier.discard(&loaded.to_delete);
        database.put_meta("journals", self.journals.as_os_str().as_encoded_bytes())?;
        database.put_meta("boot", boot.as_bytes())?;
        commit(&mut database, &mut applier, false)?;
        for journal in left {
            if let Err(error) = journal.remove() {
                let text = format!("store: an old journal cannot be removed: {error}");
                log.line(LogLevel::Warning, text);
            }
        }
        // Not before: what the journals have must find room, however large the file may be.
        database.limit(self.config.bytes_max)?;
        database.grow_log();
        Ok((database, applier, identity, chunks.finish(window_lost)))
    }
}

impl Start<'_> {
    /// The same on a disk that takes nothing: what the journals have waits in the applier, and the shards are given it
    /// from tables in memory.
    fn read_only(&self) -> Result<Read, Refusal> {
        let started = Instant::now();
        let (path, log) = (self.path, self.log);
        let mut database = Database::open(path)?;
        let (identity, key) = (identity(&database)?, key(&database)?);
        let state = state(&database)?;
        let directory = path.parent().unwrap_or(path);
        let left = left(&database, directory, self.journals, identity, log)?;
        let now = unix_s();
        let mut tables = MemoryTables::copy(&mut database, &state)?;
        let Ok(of_tables) = load(&mut tables, &state, now, 1, &mut |_, _| {});
        let mut applier = Applier::new(of_tables.index, state, key);
        let replayed = replay_into(&mut applier, &left, log);
        let moment = Moment { unix_s: now, ms: 0 };
        let Ok(()) = applier.clone().commit(moment, true, false, &mut tables);
        let mut chunks = Chunks::new(self.shards);
        let state = tables.state().clone();
        let Ok(loaded) = load(&mut tables, &state, now, self.shards, &mut |shard, part| {
            chunks.give(shard, part);
        });
        let how = format!("on a full disk, with {replayed} changes of its journals");
        announce(self.config, path, &loaded, &how, started, log);
        applier.discard(&loaded.to_delete);
        database.limit(self.config.bytes_max)?;
        Ok((database, applier, identity, chunks.finish(false)))
    }
}

/// What tells this store from all others; made at its first start.
pub fn identity(database: &Database) -> Result<Identity, Refusal> {
    Ok(Identity(sixteen(database, "identity")?))
}

/// The secret behind the ids of topics and filters.
pub fn key(database: &Database) -> Result<[u8; 16], Refusal> {
    sixteen(database, "key")
}

fn sixteen(database: &Database, name: &str) -> Result<[u8; 16], Refusal> {
    if let Some(found) = database.meta(name)? {
        return found
            .try_into()
            .map_err(|_| Refusal::Damaged(format!("its {name} is not one")));
    }
    let mut made = [0; 16];
    getrandom::fill(&mut made).map_err(|error| Refusal::Disk(error.to_string()))?;
    database.put_meta(name, &made)?;
    Ok(made)
}

fn state(database: &Database) -> Result<State, Refusal> {
    match database.meta("state")? {
        None => Ok(State::default()),
        Some(bytes) => State::from_bytes(&bytes)
            .map_err(|_| Refusal::Damaged("its state is damaged".to_owned())),
    }
}

/// What a start of the machine is called, and whether a broker that starts now has journals.
fn boot(durability: Durability) -> String {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let journals = durability != Durability::Strict;
    format!("{} {journals}", id.trim())
}

/// The machine has ended since, and took journals with it. Both are of [`boot`].
fn took(was: &[u8], now: &str) -> bool {
    let id = |boot: &[u8]| boot.split(|byte| *byte == b' ').next().map(<[u8]>::to_vec);
    was.ends_with(b" true") && id(was) != id(now.as_bytes())
}

/// The journals of this store, wherever its brokers had them.
fn left(
    database: &Database,
    directory: &Path,
    journals: &Path,
    identity: Identity,
    log: &Log,
) -> Result<Vec<Left>, Refusal> {
    let mut folders = place::journal_folders(directory, database.meta("journals")?);
    folders.push(journals.to_owned());
    let mut notes = Vec::new();
    let found = journal::left_in(folders, identity, &mut notes);
    for note in notes {
        log.line(LogLevel::Warning, format!("store: {note}"));
    }
    Ok(found)
}

/// Reads all for so many shards: what is in memory of the file, or through SQLite.
fn read_all(
    database: &mut Database,
    whole: Option<&Whole>,
    state: &State,
    shards: usize,
) -> Result<(Loaded, Chunks), Refusal> {
    let now = unix_s();
    let mut chunks = Chunks::new(shards);
    let give = &mut |shard, part| chunks.give(shard, part);
    let Some(whole) = whole else {
        let loaded = load(database, state, now, shards, give)?;
        return Ok((loaded, chunks));
    };
    let mut retained = Chunks::new(shards);
    let give_retained = &mut |shard, part| retained.give(shard, part);
    let loaded = whole.load(state, now, shards, give, give_retained)?;
    chunks.append(retained);
    Ok((loaded, chunks))
}

/// Applies what the journals have and the tables do not. Returns the number of frames.
fn replay(
    database: &mut Database,
    whole: Option<&Whole>,
    state: &State,
    key: [u8; 16],
    left: &[Left],
    trust: Trust,
    log: &Log,
) -> Result<u64, Refusal> {
    let is_needed = |left: &Left| {
        let journal = state.journals.get(usize::from(left.shard));
        let from = journal.map_or(1, |journal| {
            (journal.applied + 1).min(journal.retained_from)
        });
        let frames = frame::frames(&left.bytes);
        frames.iter().any(|(number, _)| *number >= from)
    };
    if !left.iter().any(is_needed) {
        return Ok(0);
    }
    // Shards are of no matter here: the tables are read for their index.
    let loaded = match whole {
        Some(whole) => whole.load(state, unix_s(), 1, &mut |_, _| {}, &mut |_, _| {})?,
        None => load(database, state, unix_s(), 1, &mut |_, _| {})?,
    };
    refuse_damage(&loaded, trust)?;
    let mut applier = Applier::new(loaded.index, state.clone(), key);
    let replayed = replay_into(&mut applier, left, log);
    commit(database, &mut applier, true)?;
    Ok(replayed)
}

/// Gives an applier what the journals have and it does not. Returns the number of frames.
fn replay_into(applier: &mut Applier, left: &[Left], log: &Log) -> u64 {
    let replayed = left.iter().map(|Left { shard, bytes, .. }| {
        applier.replay_journal(*shard, bytes, &mut |fault| match fault {
            JournalFault::Gap(frames) => log.line(
                LogLevel::Warning,
                format!("store: the journal of shard {shard} goes on {frames} changes after the tables: they are of an older copy"),
            ),
            JournalFault::NoRecords => log.line(
                LogLevel::Error,
                format!("store: a change in the journal of shard {shard} was not understood"),
            ),
        })
    });
    replayed.sum()
}

/// Damaged rows would be deleted as they are found, and sound ones may be where SQL does not see them.
fn refuse_damage(loaded: &Loaded, trust: Trust) -> Result<(), Refusal> {
    match (loaded.damaged, trust) {
        (0, _) | (_, Trust::AsItIs) => Ok(()),
        (rows, Trust::Proven) => Err(Refusal::Damaged(format!("{rows} rows are damaged"))),
    }
}

/// Commits all, as the start does.
fn commit(database: &mut Database, applier: &mut Applier, all: bool) -> Result<(), Refusal> {
    let now = Moment {
        unix_s: unix_s(),
        ms: 0,
    };
    database.commit(applier, now, all, false)?;
    applier.committed(now);
    Ok(())
}

/// Parts by shard, in pieces of a size that a turn can take.
struct Chunks {
    by_shard: Vec<Vec<Restored>>,
}

impl Chunks {
    fn new(shards: usize) -> Chunks {
        Chunks {
            by_shard: (0..shards).map(|_| vec![Restored::default()]).collect(),
        }
    }

    fn give(&mut self, shard: ShardId, part: RestoredPart) {
        let chunks = &mut self.by_shard[shard.index()];
        if let Some(last) = chunks.last_mut()
            && last.parts.len() < limits::RESTORED_PARTS_MAX
        {
            return last.parts.push(part);
        }
        // Where one was full, the next will be. A part that moves each time that a list grows is moved twice.
        let mut parts = Vec::with_capacity(limits::RESTORED_PARTS_MAX);
        parts.push(part);
        chunks.push(Restored { parts, last: false });
    }

    /// Those of another come after those of this.
    fn append(&mut self, others: Chunks) {
        for (chunks, more) in self.by_shard.iter_mut().zip(others.by_shard) {
            chunks.extend(more);
        }
    }

    /// `window_lost`: the heads say that the power went and took what was acknowledged last.
    fn finish(mut self, window_lost: bool) -> Vec<Vec<Restored>> {
        for chunks in &mut self.by_shard {
            let first = chunks.first_mut().and_then(|chunk| chunk.parts.first_mut());
            if let Some(RestoredPart::Head(head)) = first {
                head.window_lost = window_lost;
            }
            if let Some(last) = chunks.last_mut() {
                last.last = true;
            }
        }
        self.by_shard
    }
}

/// The line of the start: what was read, how it was left, and what a power cut can cost.
fn announce(
    config: &StoreConfig,
    path: &Path,
    loaded: &Loaded,
    how: &str,
    started: Instant,
    log: &Log,
) {
    // Of QoS 0, so nobody was told that they are kept.
    let (lazy_ms, rest_ms) = (config.durability.lazy_ms(), limits::STORE_TOPIC_REST_MS);
    let mut lazy = format!(
        "a power cut takes retained messages of QoS 0 of the last {}",
        span(lazy_ms)
    );
    if lazy_ms < rest_ms {
        lazy += &format!(", or {} of a topic that changes often", span(rest_ms));
    }
    let cost = match config.durability {
        Durability::Strict => "after a power cut no acknowledged message is missing".to_owned(),
        durability => format!(
            "after a power cut at most the last {} of acknowledged messages are missing ({} on a slow card), after a crash none",
            span(durability.window_ms(config.window_ms)),
            span(durability.late_ms(config.window_ms)),
        ),
    };
    let text = format!(
        "store: {}, {how}: {} retained, {} sessions, {} queued, read in {} ms; {cost}; {lazy}",
        path.display(),
        loaded.retained,
        loaded.sessions,
        loaded.deliveries,
        started.elapsed().as_millis()
    );
    log.line(LogLevel::Info, text);
    if loaded.damaged > 0 {
        let text = format!(
            "store: {} rows were damaged and are left out",
            loaded.damaged
        );
        log.line(LogLevel::Warning, text);
    }
}

fn span(ms: u64) -> String {
    if ms.is_multiple_of(1000) {
        format!("{} s", ms / 1000)
    } else {
        format!("{ms} ms")
    }
}

impl Recovered {
    /// Users whom Sessions belong to; some of them several times.
    pub fn users(&self) -> impl Iterator<Item = &str> {
        let parts = self.chunks.iter().flatten().flat_map(|chunk| &chunk.parts);
        parts.filter_map(|part| match part {
            RestoredPart::Session(session) => session.user_name.as_deref(),
            _ => None,
        })
    }

    /// Gives the shards what they are to remember, waits until they do, and starts the store's thread. Then they
    /// accept connections.
    ///
    /// `gone`: users, sorted, whose Sessions end before any Client can resume them.
    pub fn serve(
        self,
        shards: &Shards,
        gone: Vec<Box<str>>,
        log: &Log,
        clock: Clock,
    ) -> Result<Store, StartError> {
        let inlet = Inlet::new(self.durability, self.window_ms);
        let state = self.applier.state();
        let bases: Vec<u64> = (0..shards.count())
            .map(|shard| state.applied(shard))
            .collect();
        let keeper = Keeper::start(
            self.disk,
            self.applier,
            inlet.clone(),
            shards.clone(),
            log.clone(),
            clock,
        )
        .map_err(refused("cannot start the store's thread"))?;
        let (done, all_done) = channel();
        for ((index, chunks), base) in self.chunks.into_iter().enumerate().zip(bases) {
            let shard = ShardId(index as u8);
            let folder = JournalFolder {
                directory: self.journals.clone(),
                identity: self.identity,
            };
            let mut keeping = Keeping::new(shard, base, inlet.clone(), log.clone());
            if self.durability != Durability::Strict {
                keeping.want_journal(folder, self.journals_later);
            }
            let restore = Restore {
                keeping: Box::new(keeping),
                chunks: chunks.into(),
                done: done.clone(),
            };
            shards.tell_surely(shard, ToShard::Restore(Box::new(restore)));
        }
        drop(done);
        for _ in 0..shards.count() {
            let longest = Duration::from_millis(limits::RESTORE_WAIT_MS);
            if all_done.recv_timeout(longest).is_err() {
                return Err(StartError::new(
                    "a shard did not take what the store remembers; see the log",
                ));
            }
        }
        if !gone.is_empty() {
            let gone: Arc<[Box<str>]> = gone.into();
            shards.tell_all(|| ToShard::UsersGone(Arc::clone(&gone)));
        }
        shards.tell_all(|| ToShard::Serve);
        Ok(Store {
            keeper,
            directory: self.journals,
            identity: self.identity,
            shards: shards.count(),
            _place: self.place,
        })
    }
}

impl Store {
    /// The way to its thread.
    pub fn inlet(&self) -> &Inlet {
        self.keeper.inlet()
    }

    /// Commits all. With `orderly`, every shard has ended and said all it had to say.
    pub fn stop(self, orderly: bool, log: &Log) {
        if !self.keeper.stop(orderly) {
            let text = "store: not all could be written; the journals have the rest";
            return log.line(LogLevel::Error, text);
        }
        if orderly {
            for shard in 0..self.shards {
                let path = journal::path(&self.directory, self.identity, ShardId(shard as u8));
                let _ = std::fs::remove_file(path);
            }
        }
    }
}

#[cfg(test)]
mod tests;
