//! The store in a turn: what the shard reports goes into the journal before its answers leave, and what the store
//! remembers comes before the first connection.

use crate::broker::{Change, Restored, StoreState};
use crate::io::mail::Restore;
use crate::io::store::keeping::{Keeping, Progress};
use crate::time::Time;
use std::collections::VecDeque;
use std::sync::mpsc::Sender;

/// A driver's part of the store.
pub struct Storing {
    /// `None` without a store, and before what it remembers has come.
    keeping: Option<Box<Keeping>>,
    /// What the shard is still to remember.
    chunks: VecDeque<Restored>,
    /// Told when the shard has all of it.
    done: Option<Sender<()>>,
    /// Connections may be accepted.
    pub serves: bool,
}

impl Storing {
    /// With `waits`, nothing is accepted before `Serve`.
    pub fn new(waits: bool) -> Storing {
        Storing {
            keeping: None,
            chunks: VecDeque::new(),
            done: None,
            serves: !waits,
        }
    }

    /// There is something to remember in the next turn.
    pub fn has_chunks(&self) -> bool {
        !self.chunks.is_empty()
    }

    /// The store's thread begins.
    pub fn on_restore(&mut self, restore: Restore) {
        self.keeping = Some(restore.keeping);
        self.chunks = restore.chunks;
        self.done = Some(restore.done);
    }

    /// What the shard is to remember next.
    pub fn next_chunk(&mut self) -> Option<Restored> {
        self.chunks.pop_front()
    }

    /// The shard has all, and so have its peers.
    pub fn on_restored(&mut self) {
        if let Some(done) = self.done.take() {
            // Who waited for it may have given up, and says so.
            let _ = done.send(());
        }
    }

    /// The store has more on the disk.
    pub fn on_progress(&mut self, progress: Progress) {
        if let Some(keeping) = &mut self.keeping {
            keeping.on_progress(progress);
        }
    }

    /// The shard has changed what is remembered.
    pub fn on_changes(&mut self, sequence: u64, changes: &[Change], now: Time) {
        if let Some(keeping) = &mut self.keeping {
            keeping.on_changes(sequence, changes, now);
        }
    }

    /// How the store is, if that is other than what the shard was told.
    pub fn news(&mut self) -> Option<StoreState> {
        self.keeping.as_mut()?.news()
    }

    /// Up to which number the changes are kept, if that is more than the shard was told.
    pub fn kept(&mut self, now: Time) -> Option<u64> {
        self.keeping.as_mut()?.kept(now)
    }
}
