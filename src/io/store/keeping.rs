//! The shard's side of the store: changes become a frame, the frame goes into the journal and to the store's thread,
//! and answers leave when it is kept.
//!
//! | durability | a frame is kept when |
//! | --- | --- |
//! | `strict` | it is on the disk |
//! | `batched`, `lazy` | it is in the journal; on the disk, if the disk is late or too much waits for it |

use super::inbox::{Given, Inlet};
use super::journal::Journal;
use crate::broker::{Change, LogLevel};
use crate::ids::ShardId;
use crate::io::helpers::log::Log;
use crate::limits;
use crate::store::Wall;
use crate::store::encode::encode;
use crate::time::Time;
use std::collections::VecDeque;
use std::time::{SystemTime, UNIX_EPOCH};

/// What the disk has, as the store's thread tells a shard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// Frames up to this number are on the disk.
    pub committed: u64,
    /// Frames of the journal up to this number are needed no more.
    pub free_up_to: u64,
    /// The disk takes nothing, and a new file could not be made: only `strict` waits for it.
    pub memory_only: bool,
}

/// See the module.
pub struct Keeping {
    shard: ShardId,
    inlet: Inlet,
    log: Log,
    /// `None`: answers wait for the disk.
    journal: Option<Journal>,
    /// From this age of a change on the disk is late.
    late_ms: u64,
    /// The number of the last frame before this run.
    base: u64,
    progress: Progress,
    journaled: u64,
    /// The last frame.
    last: u64,
    /// Frames that found no room in the journal, and all after them.
    unjournaled: VecDeque<(u64, Vec<u8>)>,
    /// Frames that are not on the disk: number and bytes.
    uncommitted: VecDeque<(u64, usize)>,
    uncommitted_bytes: usize,
    /// Those of them that answers may wait for, and when they were made.
    gates: VecDeque<(u64, Time)>,
    /// What the shard was told last.
    told: u64,
    /// The journal refused; said once.
    journal_failed: bool,
    /// Frames were asked back up to this number.
    asked_free: u64,
}

impl Keeping {
    /// `base` is the number of the shard's last frame in the tables.
    pub fn new(
        shard: ShardId,
        base: u64,
        journal: Option<Journal>,
        inlet: Inlet,
        log: Log,
    ) -> Keeping {
        let late_ms = inlet.late_ms();
        Keeping {
            shard,
            inlet,
            log,
            journal,
            late_ms,
            base,
            progress: Progress {
                committed: base,
                free_up_to: base,
                memory_only: false,
            },
            journaled: base,
            last: base,
            unjournaled: VecDeque::new(),
            uncommitted: VecDeque::new(),
            uncommitted_bytes: 0,
            gates: VecDeque::new(),
            told: 0,
            journal_failed: false,
            asked_free: 0,
        }
    }

    /// The shard has said what has changed in this turn.
    pub fn on_changes(&mut self, sequence: u64, changes: &[Change], now: Time) {
        let number = self.base + sequence;
        let mut frame = Vec::new();
        let encoded = encode(changes, wall(now), number, &mut frame);
        self.last = number;
        // In memory only nothing is promised, and nothing is kept for a promise.
        if !self.progress.memory_only {
            if self.journal.is_some() {
                if self.unjournaled.is_empty() && self.append(&frame, number) {
                    self.journaled = number;
                } else {
                    self.unjournaled.push_back((number, frame.clone()));
                }
            }
            self.uncommitted_bytes += frame.len();
            self.uncommitted.push_back((number, frame.len()));
            if encoded.gate {
                self.gates.push_back((number, now));
            }
        }
        let given = Given {
            shard: self.shard.0,
            number,
            frame,
        };
        self.inlet.give(given, encoded.gate);
    }

    /// Writes a frame into the journal. `false`: it is not there.
    fn append(&mut self, frame: &[u8], number: u64) -> bool {
        let Some(journal) = &mut self.journal else {
            return false;
        };
        match journal.append(frame, number, self.progress.free_up_to) {
            Ok(true) => true,
            Ok(false) => {
                let wanted = journal.wants_free();
                // Frames that wait for the next commit come free with it; those of topics that rest do not.
                if wanted > self.asked_free && wanted <= self.progress.committed {
                    self.asked_free = wanted;
                    self.inlet.commit(true);
                }
                false
            }
            Err(error) => {
                if !std::mem::replace(&mut self.journal_failed, true) {
                    let text = format!(
                        "store: the journal of shard {} cannot be written: {error}; answers wait for the disk until it can",
                        self.shard
                    );
                    self.log.line(LogLevel::Warning, text);
                }
                false
            }
        }
    }

    /// The disk has more.
    pub fn on_progress(&mut self, progress: Progress) {
        self.progress = progress;
        if progress.memory_only {
            self.unjournaled.clear();
            self.uncommitted.clear();
            self.uncommitted_bytes = 0;
            self.gates.clear();
        }
        while let Some((number, bytes)) = self.uncommitted.front()
            && *number <= progress.committed
        {
            self.uncommitted_bytes -= bytes;
            self.uncommitted.pop_front();
        }
        while let Some((number, _)) = self.gates.front()
            && *number <= progress.committed
        {
            self.gates.pop_front();
        }
        while let Some((number, _)) = self.unjournaled.front()
            && *number <= progress.committed
        {
            self.unjournaled.pop_front();
        }
        while let Some((number, frame)) = self.unjournaled.pop_front() {
            if !self.append(&frame, number) {
                self.unjournaled.push_front((number, frame));
                break;
            }
            self.journaled = number;
        }
    }

    /// Up to which number the shard's changes are kept, if that is more than it was told.
    pub fn kept(&mut self, now: Time) -> Option<u64> {
        let number = if self.journal.is_some() && self.progress.memory_only {
            self.last
        } else if self.disk_is_late(now) {
            self.progress.committed
        } else {
            self.progress.committed.max(self.journaled)
        };
        let sequence = number.saturating_sub(self.base);
        if sequence <= self.told {
            return None;
        }
        self.told = sequence;
        Some(sequence)
    }

    /// What a power cut can take is bounded in time and in bytes.
    fn disk_is_late(&self, now: Time) -> bool {
        let oldest = self.gates.front();
        self.uncommitted_bytes > limits::STORE_WAITING_BYTES_MAX
            || oldest.is_some_and(|(_, at)| now.since_ms(*at) >= self.late_ms)
    }
}

/// Now, on both clocks.
fn wall(now: Time) -> Wall {
    Wall {
        now,
        unix_s: unix_s(),
    }
}

/// Seconds since 1970.
pub fn unix_s() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}
