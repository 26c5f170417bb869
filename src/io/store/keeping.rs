//! The shard's side of the store: changes become a frame, the frame goes into the journal and to the store's thread,
//! and answers leave when it is kept.
//!
//! | durability | a frame is kept when |
//! | --- | --- |
//! | `strict` | it is on the disk |
//! | `batched`, `lazy` | it is in the journal; on the disk, if the disk is late or too much waits for it |

use super::inbox::{Given, Inlet};
use super::journal::Journal;
use crate::broker::{Change, Condition, LogLevel, StoreFigures, StoreState};
use crate::ids::ShardId;
use crate::io::helpers::log::Log;
use crate::limits;
use crate::store::encode::encode;
use crate::store::{Identity, Wall};
use crate::time::Time;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

/// What the disk has, as the store's thread tells a shard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// Frames up to this number are on the disk.
    pub committed: u64,
    /// Frames of the journal up to this number are needed no more.
    pub free_up_to: u64,
    /// In memory only, nothing is promised: only `strict` waits for the disk.
    pub condition: Condition,
    pub figures: StoreFigures,
}

/// Where the journals of a store are.
#[derive(Clone)]
pub struct JournalFolder {
    pub directory: PathBuf,
    pub identity: Identity,
}

/// A frame that waits for room in the journal, or for the disk.
struct Unjournaled {
    number: u64,
    frame: Vec<u8>,
    /// See [`Encoded`](crate::store::encode::Encoded).
    passed: bool,
}

/// See the module.
pub struct Keeping {
    shard: ShardId,
    inlet: Inlet,
    log: Log,
    /// `None`: answers wait for the disk.
    journal: Option<Journal>,
    /// Where one is to be made.
    wanted: Option<JournalFolder>,
    /// From this age of a change on the disk is late.
    late_ms: u64,
    /// The number of the last frame before this run.
    base: u64,
    progress: Progress,
    journaled: u64,
    /// The last frame.
    last: u64,
    /// Frames that found no room in the journal, or were not to be there before frames of other shards, and all after
    /// them.
    unjournaled: VecDeque<Unjournaled>,
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
    /// Others were told that frames of this shard wait for the disk alone.
    full: bool,
    /// What the shard knows of the store.
    state: StoreState,
    /// Something has come since the shard was told last.
    has_news: bool,
}

impl Keeping {
    /// `base` is the number of the shard's last frame in the tables.
    pub fn new(shard: ShardId, base: u64, inlet: Inlet, log: Log) -> Keeping {
        let late_ms = inlet.late_ms();
        Keeping {
            shard,
            inlet,
            log,
            journal: None,
            wanted: None,
            late_ms,
            base,
            progress: Progress {
                committed: base,
                free_up_to: base,
                condition: Condition::Well,
                figures: StoreFigures::default(),
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
            full: false,
            state: StoreState::default(),
            has_news: true,
        }
    }

    /// Answers leave when a journal has what they confirm. `later`: it is made after the first commit, as the one of
    /// before the start is needed until then.
    pub fn want_journal(&mut self, folder: JournalFolder, later: bool) {
        self.wanted = Some(folder);
        if !later {
            self.make_journal();
        }
    }

    fn make_journal(&mut self) {
        let Some(JournalFolder {
            directory,
            identity,
        }) = &self.wanted
        else {
            return;
        };
        match Journal::create(directory, *identity, self.shard) {
            Ok(journal) => {
                self.journal = Some(journal);
                self.wanted = None;
            }
            Err(error) => self.say_no_journal(&error),
        }
    }

    /// Said once.
    fn say_no_journal(&mut self, error: &std::io::Error) {
        if !std::mem::replace(&mut self.journal_failed, true) {
            let text = format!(
                "store: the journal of shard {} cannot be written: {error}; answers wait for the disk until it can",
                self.shard
            );
            self.log.line(LogLevel::Warning, text);
        }
    }

    /// The shard has said what has changed in this turn.
    pub fn on_changes(&mut self, sequence: u64, changes: &[Change], now: Time) {
        let number = self.base + sequence;
        self.has_news = true;
        let mut frame = Vec::new();
        let encoded = encode(changes, wall(now), number, &mut frame);
        self.last = number;
        // In memory only nothing is promised, and nothing is kept for a promise.
        if self.progress.condition != Condition::MemoryOnly {
            if self.journal.is_some() {
                if self.unjournaled.is_empty() && self.append(&frame, number, encoded.passed) {
                    self.journaled = number;
                } else {
                    self.unjournaled.push_back(Unjournaled {
                        number,
                        frame: frame.clone(),
                        passed: encoded.passed,
                    });
                }
            }
            self.uncommitted_bytes += frame.len();
            self.uncommitted.push_back((number, frame.len()));
            if encoded.gate {
                self.gates.push_back((number, now));
            }
        }
        // Before this shard says anything more to others.
        self.tell_full();
        let given = Given {
            shard: self.shard.0,
            number,
            frame,
        };
        self.inlet.give(given, encoded.gate);
    }

    /// Writes a frame into the journal. `false`: it is not there.
    ///
    /// A shard that has `passed` on a QoS 2 message knows it by a name that the publisher's shard has given it. Were
    /// its frame kept without the one of that shard, the message would come again under another name, and be passed on
    /// twice. Tables have the frames of all shards in one order; journals have not.
    fn append(&mut self, frame: &[u8], number: u64, passed: bool) -> bool {
        let Some(journal) = &mut self.journal else {
            return false;
        };
        if passed && self.inlet.others_are_full(self.shard) {
            return false;
        }
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
                self.say_no_journal(&error);
                false
            }
        }
    }

    /// The disk has more.
    pub fn on_progress(&mut self, progress: Progress) {
        self.progress = progress;
        self.has_news = true;
        if progress.condition == Condition::MemoryOnly {
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
        while let Some(next) = self.unjournaled.front()
            && next.number <= progress.committed
        {
            self.unjournaled.pop_front();
        }
        while let Some(next) = self.unjournaled.pop_front() {
            if !self.append(&next.frame, next.number, next.passed) {
                self.unjournaled.push_front(next);
                break;
            }
            self.journaled = next.number;
        }
        // Before all is on the disk, a journal would begin with a gap.
        let is_made = progress.figures.commits > 0 && self.uncommitted.is_empty();
        if self.wanted.is_some() && is_made && progress.condition == Condition::Well {
            self.make_journal();
        }
        self.tell_full();
    }

    /// Tells the other shards whether frames of this one wait for the disk alone, if that is new.
    fn tell_full(&mut self) {
        let has_none = self.journal.is_none() && self.wanted.is_some();
        let full = !self.unjournaled.is_empty() || (has_none && !self.uncommitted.is_empty());
        if full != self.full {
            self.full = full;
            self.inlet.note_full(self.shard, full);
        }
    }

    /// Up to which number the shard's changes are kept, if that is more than it was told.
    ///
    /// Called in each turn, most of which change nothing that is stored.
    #[inline]
    pub fn kept(&mut self, now: Time) -> Option<u64> {
        match self.told < self.last - self.base {
            true => self.newly_kept(now),
            false => None,
        }
    }

    fn newly_kept(&mut self, now: Time) -> Option<u64> {
        let is_strict = self.journal.is_none() && self.wanted.is_none();
        let memory_only = self.progress.condition == Condition::MemoryOnly;
        let number = if memory_only && !is_strict {
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

    /// How the store is, if that is other than what the shard was told.
    #[inline]
    pub fn news(&mut self) -> Option<StoreState> {
        match std::mem::take(&mut self.has_news) {
            true => self.new_state(),
            false => None,
        }
    }

    fn new_state(&mut self) -> Option<StoreState> {
        let waiting = self.uncommitted_bytes;
        // It goes on when half of it has gone, so that it does not stop and go with each commit.
        let most = match self.state.behind {
            true => limits::STORE_WAITING_BYTES_MAX / 2,
            false => limits::STORE_WAITING_BYTES_MAX,
        };
        let state = StoreState {
            condition: self.progress.condition,
            behind: waiting > most,
            waiting_bytes: waiting - waiting % limits::STORE_WAITING_STEP,
            figures: self.progress.figures,
        };
        (state != self.state).then(|| {
            self.state = state;
            state
        })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Durability;
    use crate::ids::StoredSession;
    use crate::store::Identity;
    use crate::wire::PacketId;
    use std::process;

    fn session(number: u64) -> StoredSession {
        StoredSession::from_number(number).expect("not 0")
    }

    /// What one shard has passed on is not in its journal before the frame that names it is kept.
    #[test]
    fn a_full_journal_holds_back_what_others_pass_on() {
        let folder = std::env::temp_dir().join(format!("mqttfast-order-{}", process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let inlet = Inlet::new(Durability::Batched, 100);
        let log = Log::start(None, None).expect("a log");
        let keeping = |shard| {
            let mut keeping = Keeping::new(ShardId(shard), 0, inlet.clone(), log.clone());
            let journals = JournalFolder {
                directory: folder.clone(),
                identity: Identity([1; 16]),
            };
            keeping.want_journal(journals, false);
            keeping
        };
        let (mut publisher, mut taker) = (keeping(0), keeping(1));
        let received = Change::Received {
            session: session(65),
            packet_id: PacketId::new(1).expect("not 0"),
            passage: Some(session(129)),
        };
        let passed = Change::Passed {
            passage: session(129),
            session: session(66),
        };
        let now = Time(1);
        let mut number = 0;
        while publisher.kept(now).is_some() || number == 0 {
            number += 1;
            publisher.on_changes(number, &vec![received.clone(); 1_000], now);
        }
        taker.on_changes(1, std::slice::from_ref(&passed), now);
        assert_eq!(taker.kept(now), None);
        let committed = |committed| Progress {
            committed,
            free_up_to: committed,
            condition: Condition::Well,
            figures: StoreFigures::default(),
        };
        publisher.on_progress(committed(number));
        assert_eq!(publisher.kept(now), Some(number));
        taker.on_progress(committed(0));
        assert_eq!(taker.kept(now), Some(1), "in its journal");
        std::fs::remove_dir_all(folder).expect("removed");
    }
}
