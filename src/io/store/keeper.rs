//! The store's thread: it takes what the shards give, applies it to the window, and commits the window.

use super::database::{Database, Refusal};
use super::inbox::{Batch, Inlet};
use super::keeping::{Progress, unix_s};
use super::rebuild;
use super::reserve::Reserve;
use crate::broker::LogLevel;
use crate::ids::ShardId;
use crate::io::clock::Clock;
use crate::io::helpers::log::Log;
use crate::io::mail::{Shards, ToShard};
use crate::limits;
use crate::store::frame::FRAME_HEAD_BYTES;
use crate::store::{Applier, Moment};
use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

/// The running thread, as the main thread has it.
pub struct Keeper {
    inlet: Inlet,
    /// The thread has ended, and whether all is on the disk.
    ended: Receiver<bool>,
}

impl Keeper {
    /// Starts the thread.
    ///
    /// Errors: the machine has no thread to give.
    pub fn start(
        tables: Disk,
        applier: Applier,
        inlet: Inlet,
        shards: Shards,
        log: Log,
        clock: Clock,
    ) -> io::Result<Keeper> {
        let (say, ended) = channel();
        let shard_ids = 0..shards.count() as u8;
        let told = shard_ids.map(|shard| progress(&applier, shard)).collect();
        let mut thread = Thread {
            path: tables.database.path().to_owned(),
            database: Some(tables.database),
            reserve: tables.reserve,
            bytes_max: tables.bytes_max,
            applier,
            inlet: inlet.clone(),
            shards,
            log,
            clock,
            told,
            retry_at: None,
            failed_since: None,
            said_at: None,
        };
        thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || {
                let kept = thread.run();
                let _ = say.send(kept);
            })?;
        Ok(Keeper { inlet, ended })
    }

    /// The way to the thread.
    pub fn inlet(&self) -> &Inlet {
        &self.inlet
    }

    /// Commits all and ends the thread, after the shards have ended. `false`: not all is on the disk.
    pub fn stop(self, orderly: bool) -> bool {
        self.inlet.stop(orderly);
        let longest = Duration::from_millis(limits::STORE_STOP_MS);
        self.ended.recv_timeout(longest).unwrap_or(false)
    }
}

/// How far the disk is for a shard.
fn progress(applier: &Applier, shard: u8) -> Progress {
    Progress {
        committed: applier.state().applied(shard.into()),
        free_up_to: applier.free_up_to(shard),
        memory_only: false,
    }
}

/// The store's part of a disk.
pub struct Disk {
    pub database: Database,
    pub reserve: Reserve,
    /// The largest file.
    pub bytes_max: u64,
}

struct Thread {
    path: PathBuf,
    /// `None`: the file cannot be used, and a new one could not be made.
    database: Option<Database>,
    reserve: Reserve,
    bytes_max: u64,
    applier: Applier,
    inlet: Inlet,
    shards: Shards,
    log: Log,
    clock: Clock,
    /// By shard.
    told: Vec<Progress>,
    /// A commit has failed and is tried again then.
    retry_at: Option<Instant>,
    failed_since: Option<Instant>,
    /// When the log said last that the disk takes nothing.
    said_at: Option<Instant>,
}

impl Thread {
    /// `true`: all is on the disk.
    fn run(&mut self) -> bool {
        loop {
            let batch = self.inlet.wait(self.due());
            let stop = batch.stop;
            let all = batch.all;
            self.apply(batch);
            let clean = stop == Some(true);
            let kept = self.commit(all, clean);
            if stop.is_some() {
                return kept && self.is_whole();
            }
        }
    }

    /// When a commit is due though nothing comes.
    fn due(&self) -> Option<Instant> {
        if self.retry_at.is_some() {
            return self.retry_at;
        }
        let rested = self.applier.rested_at_ms()?;
        let left = rested.saturating_sub(self.clock.now().0);
        Some(Instant::now() + Duration::from_millis(left))
    }

    fn apply(&mut self, batch: Batch) {
        for given in batch.frames {
            let records = given.frame.get(FRAME_HEAD_BYTES..).unwrap_or(&[]);
            let applied = self.applier.apply(given.shard, given.number, records);
            if applied.is_err() {
                let text = format!(
                    "store: a change of shard {} was not understood; a restart may not remember it",
                    given.shard
                );
                self.log.line(LogLevel::Error, text);
            }
        }
    }

    fn moment(&self) -> Moment {
        Moment {
            unix_s: unix_s(),
            ms: self.clock.now().0,
        }
    }

    /// The log is in the file, so the file alone has all.
    fn is_whole(&self) -> bool {
        let database = self.database.as_ref();
        database.is_some_and(|database| database.checkpoint_whole().is_ok())
    }

    fn commit(&mut self, all: bool, clean: bool) -> bool {
        // A second try after the first cure.
        for _ in 0..2 {
            if self.database.is_none() && !(self.may_rebuild(all) && self.rebuild()) {
                break;
            }
            let now = self.moment();
            let begun = Instant::now();
            match self.try_commit(now, all, clean) {
                Ok(()) => {
                    self.inlet.note_commit(begun.elapsed());
                    self.on_committed(now);
                    return true;
                }
                Err(refusal) if self.cure(&refusal) => {}
                Err(_) => break,
            }
        }
        false
    }

    fn try_commit(&mut self, now: Moment, all: bool, clean: bool) -> Result<(), Refusal> {
        let Some(database) = &mut self.database else {
            return Err(Refusal::Locked);
        };
        database.commit(&mut self.applier, now, all, clean)
    }

    fn on_committed(&mut self, now: Moment) {
        self.applier.committed(now);
        self.retry_at = None;
        self.said_at = None;
        if let Some(since) = self.failed_since.take() {
            let text = format!("store: written again after {} s", since.elapsed().as_secs());
            self.log.line(LogLevel::Warning, text);
        }
        self.tell();
        self.tidy();
        self.reserve.take_again();
    }

    /// Does what can be done about a commit that was refused. `true`: it is worth another try now.
    fn cure(&mut self, refusal: &Refusal) -> bool {
        let now = Instant::now();
        self.failed_since.get_or_insert(now);
        self.retry_at = Some(now + Duration::from_millis(limits::STORE_RETRY_MS));
        match refusal {
            Refusal::Full => {
                let given = self.reserve.give_back();
                let free = self.reserve.free_bytes();
                self.say(&format!(
                    "no room is left ({free} bytes are free on the disk, the file may have {}); until there is, messages to be stored are not acknowledged. Free some, or raise --store-max-bytes",
                    self.bytes_max
                ));
                given
            }
            // After a sync that failed a second one may lie, so the file is not trusted any more.
            Refusal::Disk(_) | Refusal::Damaged(_) => {
                self.say(&refusal.to_string());
                self.database = None;
                self.rebuild()
            }
            Refusal::Locked | Refusal::Newer { .. } | Refusal::Foreign => {
                self.say(&refusal.to_string());
                false
            }
        }
    }

    /// A try that failed reads the whole old file, so the next one waits, unless `all` is asked for: by an operator, or
    /// at the end.
    fn may_rebuild(&self, all: bool) -> bool {
        all || self.retry_at.is_none_or(|at| at <= Instant::now())
    }

    /// Makes a new file of what the old one has; the window has the rest. Where that fails, the store is in memory
    /// only.
    fn rebuild(&mut self) -> bool {
        match rebuild::rebuild(&self.path, "broken").and_then(|rebuilt| {
            rebuilt.database.limit(self.bytes_max)?;
            Ok(rebuilt)
        }) {
            Ok(rebuilt) => {
                let text = format!(
                    "store: a new file has the {} rows of the old one, which is {}",
                    rebuilt.rows,
                    rebuilt.kept.display()
                );
                self.log.line(LogLevel::Warning, text);
                self.database = Some(rebuilt.database);
                true
            }
            Err(refusal) => {
                let next = Duration::from_millis(limits::STORE_REBUILD_MS);
                self.retry_at = Some(Instant::now() + next);
                self.say(&format!(
                    "{refusal}; a new file cannot be made, so sessions and retained messages are in memory only"
                ));
                self.tell_memory_only();
                false
            }
        }
    }

    /// A line of the log, once a minute as long as the trouble lasts.
    fn say(&mut self, what: &str) {
        let now = Instant::now();
        let again = Duration::from_millis(limits::STORE_TOLD_MS);
        if self.said_at.is_some_and(|at| now < at + again) {
            return;
        }
        self.said_at = Some(now);
        let text = format!("store: {} cannot be written: {what}", self.path.display());
        self.log.line(LogLevel::Error, text);
    }

    /// Tells each shard how far the disk is, if that has changed.
    fn tell(&mut self) {
        for (index, told) in self.told.iter_mut().enumerate() {
            let shard = index as u8;
            let progress = progress(&self.applier, shard);
            if progress != *told {
                *told = progress;
                let item = ToShard::Stored(progress);
                self.shards.tell_surely(ShardId(shard), item);
            }
        }
    }

    /// Tells each shard that nothing more comes to the disk for now.
    fn tell_memory_only(&mut self) {
        for (index, told) in self.told.iter_mut().enumerate() {
            if !std::mem::replace(&mut told.memory_only, true) {
                let item = ToShard::Stored(*told);
                self.shards.tell_surely(ShardId(index as u8), item);
            }
        }
    }

    /// Moves the log into the file when it has grown.
    fn tidy(&mut self) {
        let Some(database) = &self.database else {
            return;
        };
        let large = database
            .log_bytes()
            .is_ok_and(|bytes| bytes >= limits::STORE_LOG_BYTES);
        if large && let Err(refusal) = database.checkpoint() {
            self.cure(&refusal);
        }
    }
}
