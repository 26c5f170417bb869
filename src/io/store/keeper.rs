//! The store's thread: it takes what the shards give, applies it to the window, and commits the window.

use super::database::{Database, Refusal};
use super::inbox::{Batch, Inlet};
use super::keeping::{Progress, unix_s};
use super::rebuild;
use super::reserve::Reserve;
use crate::broker::{Condition, LogLevel, StoreFigures};
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
        let told = shard_ids.map(|shard| Progress::of(&applier, shard));
        let told: Vec<Progress> = told.collect();
        let mut thread = Thread {
            committed: told.clone(),
            told,
            figures: StoreFigures {
                loss_window_ms: inlet.loss_window_ms(),
                ..StoreFigures::default()
            },
            logged: (0, 0),
            // Without a reserve the disk has no room to speak of.
            full: !tables.reserve.is_held(),
            path: tables.database.path().to_owned(),
            database: Some(tables.database),
            reserve: tables.reserve,
            bytes_max: tables.bytes_max,
            applier,
            inlet: inlet.clone(),
            shards,
            log,
            clock,
            retry_at: None,
            failed_since: None,
            trouble_since: None,
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

impl Progress {
    /// Of an applier that has committed all that it was given.
    fn of(applier: &Applier, shard: u8) -> Progress {
        Progress {
            committed: applier.state().applied(shard.into()),
            free_up_to: applier.free_up_to(shard),
            condition: Condition::Well,
            figures: StoreFigures::default(),
        }
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
    /// By shard: what the last commit has, and what the shard knows.
    committed: Vec<Progress>,
    told: Vec<Progress>,
    /// A commit has failed and is tried again then.
    retry_at: Option<Instant>,
    failed_since: Option<Instant>,
    /// The same, until there is room again.
    trouble_since: Option<Instant>,
    /// When the log said last that the disk takes nothing.
    said_at: Option<Instant>,
    /// No room was left, and the reserve has not been made again.
    full: bool,
    figures: StoreFigures,
    /// Pages in the log, and pages of it that are in the file.
    logged: (u64, u64),
}

impl Thread {
    /// `true`: all is on the disk.
    fn run(&mut self) -> bool {
        self.tell();
        loop {
            let batch = self.inlet.wait(self.due());
            let stop = batch.stop;
            let all = batch.all;
            let is_news = all || stop.is_some() || !batch.frames.is_empty();
            self.apply(batch);
            let now_ms = self.clock.now().0;
            if !is_news && self.failed_since.is_none() && !self.applier.has_due(now_ms) {
                self.look_for_room();
                continue;
            }
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
        let rested = self.applier.rested_at_ms();
        let left = rested.map(|at| at.saturating_sub(self.clock.now().0));
        let look = self.full.then_some(limits::STORE_RETRY_MS);
        let left = [left, look].into_iter().flatten().min()?;
        Some(Instant::now() + Duration::from_millis(left))
    }

    /// Makes the reserve again, if the disk has room. Then what is to be stored is taken again.
    fn look_for_room(&mut self) {
        self.reserve.take_again();
        self.full = !self.reserve.is_held();
        self.tell();
        if !self.full {
            self.on_well();
        }
    }

    /// The trouble is over.
    fn on_well(&mut self) {
        self.said_at = None;
        if let Some(since) = self.trouble_since.take() {
            let text = format!("store: well again after {} s", since.elapsed().as_secs());
            self.log.line(LogLevel::Warning, text);
        }
    }

    fn condition(&self) -> Condition {
        match (&self.database, self.full) {
            (None, _) => Condition::MemoryOnly,
            (Some(_), true) => Condition::Full,
            (Some(_), false) => Condition::Well,
        }
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
            if self.database.is_none() && !(self.may_rebuild(all) && self.rebuild("tried again")) {
                break;
            }
            let now = self.moment();
            let begun = Instant::now();
            match self.try_commit(now, all, clean) {
                Ok(()) => {
                    self.inlet.note_commit(begun.elapsed());
                    self.figures.commits += 1;
                    self.figures.last_commit_ms = begun.elapsed().as_millis() as u64;
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
        let shards = 0..self.told.len() as u8;
        let committed = shards.map(|shard| Progress::of(&self.applier, shard));
        self.committed = committed.collect();
        self.retry_at = None;
        self.failed_since = None;
        self.tidy();
        self.look_for_room();
    }

    /// Does what can be done about a commit that was refused. `true`: it is worth another try now.
    fn cure(&mut self, refusal: &Refusal) -> bool {
        let now = Instant::now();
        self.failed_since.get_or_insert(now);
        self.trouble_since.get_or_insert(now);
        self.retry_at = Some(now + Duration::from_millis(limits::STORE_RETRY_MS));
        match refusal {
            Refusal::Full => {
                let free = self.reserve.free_bytes();
                self.say(&format!(
                    "no room is left ({free} bytes are free on the disk, the file may have {}); until there is, messages to be stored are refused to clients of 5.0 and not acknowledged to others. Free some, or raise --store-max-bytes",
                    self.bytes_max
                ));
                self.full = true;
                let given = self.reserve.give_back();
                // The log can be written over once it is in the file.
                if let Some(database) = &self.database {
                    let _ = database.checkpoint();
                }
                self.tell();
                given
            }
            // After a sync that failed a second one may lie, so the file is not trusted any more.
            Refusal::Disk(_) | Refusal::Damaged(_) => {
                self.database = None;
                self.rebuild(&refusal.to_string())
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

    /// Makes a new file of what the old one has, which cannot be used any more (`why`); the window has the rest. Where
    /// that fails, the store is in memory only.
    fn rebuild(&mut self, why: &str) -> bool {
        match rebuild::rebuild(&self.path, "broken").and_then(|rebuilt| {
            rebuilt.database.limit(self.bytes_max)?;
            rebuilt.database.grow_log();
            Ok(rebuilt)
        }) {
            Ok(rebuilt) => {
                let text = format!(
                    "store: {}: {why}; a new file has the {} rows of the old one, which is {}",
                    self.path.display(),
                    rebuilt.rows,
                    rebuilt.kept.display()
                );
                self.log.line(LogLevel::Warning, text);
                self.database = Some(rebuilt.database);
                self.logged = (0, 0);
                true
            }
            Err(refusal) => {
                let seconds = limits::STORE_REBUILD_MS / 1000;
                self.retry_at = Some(Instant::now() + Duration::from_secs(seconds));
                self.say(&format!(
                    "{why}, and a new file cannot be made: {refusal}. Sessions and retained messages are in memory only, and a restart forgets what has changed. Look at the disk (dmesg); it is tried again every {seconds} s"
                ));
                self.tell();
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
        let condition = self.condition();
        let committed = self.committed.iter();
        for (index, (told, committed)) in self.told.iter_mut().zip(committed).enumerate() {
            // Other figures alone are no news.
            let news = Progress {
                condition,
                figures: told.figures,
                ..*committed
            };
            if news != *told {
                *told = Progress {
                    figures: self.figures,
                    ..news
                };
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
        let mut result = database.logged();
        if let Ok(logged) = result {
            self.figures.bytes_written += written(self.logged, logged);
            self.logged = logged;
            if unmoved(logged) >= limits::STORE_LOG_BYTES {
                let begun = database.checkpoint();
                result = begun.and_then(|()| database.logged());
                if let Ok(logged) = result {
                    self.figures.bytes_written += written(self.logged, logged);
                    self.logged = logged;
                }
            }
        }
        if let Err(refusal) = result {
            self.cure(&refusal);
        }
    }
}

/// Bytes in the write-ahead log that are not in the file yet. Where all are, the next commit begins the log anew.
fn unmoved((logged, moved): (u64, u64)) -> u64 {
    let pages = if moved == logged { 0 } else { logged };
    pages * u64::from(limits::STORE_PAGE_BYTES)
}

/// Bytes that were written between two looks at the log: pages with a head each, and pages of the file.
fn written(before: (u64, u64), now: (u64, u64)) -> u64 {
    const FRAME_HEAD_BYTES: u64 = 24;
    let page = u64::from(limits::STORE_PAGE_BYTES);
    // A log that was begun anew is shorter, or has been moved less far.
    let (logged, moved) = match now.0 < before.0 || now.1 < before.1 {
        true => now,
        false => (now.0 - before.0, now.1 - before.1),
    };
    logged * (page + FRAME_HEAD_BYTES) + moved * page
}
