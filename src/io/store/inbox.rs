//! The way from shards to the store's thread: frames in the order of each shard, and wishes.
//!
//! The thread is woken for the first frame of a window, and for what is urgent; frames that join an open window cost
//! a lock and no wake-up.

use crate::config::Durability;
use crate::ids::ShardId;
use crate::limits;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A frame that a shard has given.
#[derive(Debug)]
pub struct Given {
    pub shard: u8,
    pub number: u64,
    /// With its head.
    pub frame: Vec<u8>,
}

/// What the thread finds when it wakes.
#[derive(Default, Debug)]
pub struct Batch {
    pub frames: Vec<Given>,
    /// Retained messages do not rest: their journal frames are wanted back, or the broker stops.
    pub all: bool,
    /// The last batch. `Some(true)`: every shard has ended in an orderly way.
    pub stop: Option<bool>,
}

/// What the thread waits for.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
enum Sleeps {
    #[default]
    Awake,
    UntilAnything,
    /// A window is open.
    UntilUrgent,
}

#[derive(Default)]
struct Inbox {
    batch: Batch,
    bytes: usize,
    /// Since when the oldest frame waits that an answer may wait for.
    gate_at: Option<Instant>,
    /// The same of others.
    lazy_at: Option<Instant>,
    urgent: bool,
    sleeps: Sleeps,
    /// Shards with frames that are not in their journals, a bit each.
    full: u64,
    /// What a commit takes: so much earlier it begins, that it ends with its window.
    commit: Duration,
}

struct Shared {
    inbox: Mutex<Inbox>,
    wake: Condvar,
    durability: Durability,
    window_ms: u64,
}

/// A handle: of the shards, of the main thread, of the store's thread.
#[derive(Clone)]
pub struct Inlet {
    shared: Arc<Shared>,
}

impl Inlet {
    pub fn new(durability: Durability, window_ms: u64) -> Inlet {
        Inlet {
            shared: Arc::new(Shared {
                inbox: Mutex::new(Inbox::default()),
                wake: Condvar::new(),
                durability,
                window_ms,
            }),
        }
    }

    /// From a change to its commit, where the disk is not late.
    fn window_ms(&self) -> u64 {
        self.shared.durability.window_ms(self.shared.window_ms)
    }

    /// From this age of a change on the disk is late: a window may pass without harm.
    pub fn late_ms(&self) -> u64 {
        self.shared.durability.late_ms(self.shared.window_ms)
    }

    /// What a power cut may take of what was acknowledged, in milliseconds.
    pub fn loss_window_ms(&self) -> u64 {
        match self.shared.durability {
            Durability::Strict => 0,
            _ => self.window_ms(),
        }
    }

    /// No code panics while it holds the lock.
    fn lock(&self) -> MutexGuard<'_, Inbox> {
        let inbox = self.shared.inbox.lock();
        inbox.unwrap_or_else(PoisonError::into_inner)
    }

    /// A shard has frames that are not in its journal, and wait for the disk; or it has none any more.
    pub fn note_full(&self, shard: ShardId, full: bool) {
        let mut inbox = self.lock();
        match full {
            true => inbox.full |= shard.bit(),
            false => inbox.full &= !shard.bit(),
        }
    }

    /// Frames of other shards wait for the disk. What follows from them must not be kept before them.
    pub fn others_are_full(&self, shard: ShardId) -> bool {
        self.lock().full & !shard.bit() != 0
    }

    /// A commit took so long. The longest is remembered for some commits, and not more than half a window.
    pub fn note_commit(&self, took: Duration) {
        let most = Duration::from_millis(self.window_ms() / 2);
        let mut inbox = self.lock();
        inbox.commit = took.max(inbox.commit * 7 / 8).min(most);
    }

    /// Gives a frame. `gate`: answers may wait for it.
    pub fn give(&self, given: Given, gate: bool) {
        let mut inbox = self.lock();
        inbox.bytes += given.frame.len();
        inbox.batch.frames.push(given);
        let at = if gate {
            &mut inbox.gate_at
        } else {
            &mut inbox.lazy_at
        };
        // A clock is read once a window.
        let first = at.is_none();
        if first {
            *at = Some(Instant::now());
        }
        inbox.urgent |= inbox.bytes >= limits::STORE_WINDOW_BYTES
            || (gate && self.shared.durability == Durability::Strict);
        let wakes = match inbox.sleeps {
            Sleeps::Awake => false,
            // The first of its kind sets a deadline.
            Sleeps::UntilAnything | Sleeps::UntilUrgent => inbox.urgent || first,
        };
        if wakes {
            inbox.sleeps = Sleeps::Awake;
            drop(inbox);
            self.shared.wake.notify_one();
        }
    }

    /// Commits now. With `all`, topics that rest too.
    pub fn commit(&self, all: bool) {
        self.ask(|batch| batch.all |= all);
    }

    /// Commits all, and ends the thread.
    pub fn stop(&self, orderly: bool) {
        self.ask(|batch| {
            batch.all = true;
            batch.stop = Some(orderly);
        });
    }

    fn ask(&self, note: impl FnOnce(&mut Batch)) {
        let mut inbox = self.lock();
        note(&mut inbox.batch);
        inbox.urgent = true;
        inbox.sleeps = Sleeps::Awake;
        drop(inbox);
        self.shared.wake.notify_one();
    }

    /// Waits until a commit is due: by what has come, or at `other`. Takes all that has come.
    pub fn wait(&self, other: Option<Instant>) -> Batch {
        let mut inbox = self.lock();
        loop {
            let now = Instant::now();
            let due = [self.due(&inbox), other].into_iter().flatten().min();
            if inbox.urgent || due.is_some_and(|due| due <= now) {
                inbox.bytes = 0;
                inbox.gate_at = None;
                inbox.lazy_at = None;
                inbox.urgent = false;
                inbox.sleeps = Sleeps::Awake;
                return std::mem::take(&mut inbox.batch);
            }
            inbox.sleeps = if inbox.gate_at.is_none() && inbox.lazy_at.is_none() {
                Sleeps::UntilAnything
            } else {
                Sleeps::UntilUrgent
            };
            inbox = match due {
                None => self
                    .shared
                    .wake
                    .wait(inbox)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(due) => {
                    let left = due.saturating_duration_since(now);
                    let woken = self.shared.wake.wait_timeout(inbox, left);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    fn due(&self, inbox: &Inbox) -> Option<Instant> {
        let ms = Duration::from_millis;
        let lazy_ms = self.shared.durability.lazy_ms();
        // What is acknowledged is on the disk a window later.
        let window = ms(self.window_ms()).saturating_sub(inbox.commit);
        let gate = inbox.gate_at.map(|at| at + window);
        let lazy = inbox.lazy_at.map(|at| at + ms(lazy_ms));
        [gate, lazy].into_iter().flatten().min()
    }
}
