//! The store's thread: it takes what the shards give, applies it to the window, and commits the window.

use super::database::{Database, Refusal};
use super::inbox::{Batch, Inlet};
use super::keeping::{Progress, unix_s};
use crate::broker::LogLevel;
use crate::ids::ShardId;
use crate::io::clock::Clock;
use crate::io::helpers::log::Log;
use crate::io::mail::{Shards, ToShard};
use crate::limits;
use crate::store::frame::FRAME_HEAD_BYTES;
use crate::store::{Applier, Moment};
use std::io;
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
        database: Database,
        applier: Applier,
        inlet: Inlet,
        shards: Shards,
        log: Log,
        clock: Clock,
    ) -> io::Result<Keeper> {
        let (say, ended) = channel();
        let told = vec![
            Progress {
                committed: 0,
                free_up_to: 0,
            };
            shards.count()
        ];
        let mut thread = Thread {
            database,
            applier,
            inlet: inlet.clone(),
            shards,
            log,
            clock,
            told,
            retry_at: None,
            failed_since: None,
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

struct Thread {
    database: Database,
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
                return kept && self.database.checkpoint_whole().is_ok();
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

    fn commit(&mut self, all: bool, clean: bool) -> bool {
        let now = self.moment();
        let result = self.try_commit(now, all, clean);
        match result {
            Ok(()) => {
                self.applier.committed(now);
                self.retry_at = None;
                if let Some(since) = self.failed_since.take() {
                    let text =
                        format!("store: written again after {} s", since.elapsed().as_secs());
                    self.log.line(LogLevel::Warning, text);
                }
                self.tell();
                self.tidy();
                true
            }
            Err(refusal) => {
                self.database.roll_back();
                self.on_refusal(&refusal);
                false
            }
        }
    }

    fn try_commit(&mut self, now: Moment, all: bool, clean: bool) -> Result<(), Refusal> {
        self.database.begin()?;
        self.applier.commit(now, all, clean, &mut self.database)?;
        self.database.end()
    }

    fn on_refusal(&mut self, refusal: &Refusal) {
        let now = Instant::now();
        self.retry_at = Some(now + Duration::from_millis(limits::STORE_RETRY_MS));
        if self.failed_since.is_none() {
            self.failed_since = Some(now);
            let text = format!(
                "store: {} cannot be written: {refusal}",
                self.database.path().display()
            );
            self.log.line(LogLevel::Error, text);
        }
    }

    /// Tells each shard how far the disk is, if that has changed.
    fn tell(&mut self) {
        for (index, told) in self.told.iter_mut().enumerate() {
            let shard = index as u8;
            let journal = self.applier.state().journals.get(index);
            let progress = Progress {
                committed: journal.map_or(0, |journal| journal.applied),
                free_up_to: self.applier.free_up_to(shard),
            };
            if progress != *told {
                *told = progress;
                let item = ToShard::Stored(progress);
                self.shards.tell_surely(ShardId(shard), item);
            }
        }
    }

    /// Moves the log into the file when it has grown.
    fn tidy(&mut self) {
        let large = self
            .database
            .log_bytes()
            .is_ok_and(|bytes| bytes >= limits::STORE_LOG_BYTES);
        if large && let Err(refusal) = self.database.checkpoint() {
            self.on_refusal(&refusal);
        }
    }
}
