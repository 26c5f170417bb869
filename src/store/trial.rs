//! A whole store without files and threads, for tests that end brokers at any event: what shards say becomes frames,
//! frames lie in journals until the tables have them, and a restart reads what is left, as `io::store` does it.

use super::frame::FRAME_HEAD_BYTES;
use super::memory::MemoryTables;
use super::{Applier, Identity, Loaded, Moment, State, Wall, encode, frame, load};
use crate::broker::{Change, RestoredPart};
use crate::ids::ShardId;
use crate::time::Time;
use std::collections::BTreeMap;

/// Of topics and filters. Any will do.
const KEY: [u8; 16] = [7; 16];
/// The calendar's time when the clock of the shards is 0.
const BEGUN_S: u64 = 1_000_000;

/// See the module.
pub struct Trial {
    tables: MemoryTables,
    applier: Applier,
    /// By shard: the number of its last frame before this run.
    bases: Vec<u64>,
    /// Frames that the tables may need yet: shard, number, bytes.
    journals: Vec<(u8, u64, Vec<u8>)>,
}

impl Default for Trial {
    fn default() -> Trial {
        Trial {
            tables: MemoryTables::default(),
            applier: Applier::new(Default::default(), State::default(), KEY),
            bases: vec![0; usize::from(u8::MAX)],
            journals: Vec::new(),
        }
    }
}

impl Trial {
    /// A shard has said what has changed in a turn; numbers count from 1 in each run.
    pub fn take(&mut self, shard: u8, sequence: u64, changes: &[Change], now: Time) {
        let number = self.bases[usize::from(shard)] + sequence;
        let mut bytes = Vec::new();
        encode::encode(changes, wall(now), number, &mut bytes);
        let records = &bytes[FRAME_HEAD_BYTES..];
        let applied = self.applier.apply(shard, number, records);
        applied.expect("what was encoded is decoded");
        self.journals.push((shard, number, bytes));
    }

    /// Writes the window to the tables. With `all`, topics do not rest.
    pub fn commit(&mut self, now: Time, all: bool) {
        commit(&mut self.applier, &mut self.tables, now, all);
        let applier = &self.applier;
        self.journals
            .retain(|(shard, number, _)| *number > applier.free_up_to(*shard));
    }

    /// The broker has ended, and the next one starts. Returns what it gives each shard.
    ///
    /// `journals`: they are there; else the machine has ended, and what no commit has written is gone.
    pub fn restart(&mut self, shards: usize, now: Time, journals: bool) -> Vec<Vec<RestoredPart>> {
        let left = std::mem::take(&mut self.journals);
        let state = self.tables.state().clone();
        let loaded = read(&mut self.tables, &state, 1, now, &mut |_, _| {});
        let mut applier = Applier::new(loaded.index, state, KEY);
        // As they are found in files: frames behind a head, by shard.
        let mut files: BTreeMap<u8, Vec<u8>> = BTreeMap::new();
        for (shard, _, bytes) in left.into_iter().filter(|_| journals) {
            let file = files.entry(shard);
            let head = || frame::header(Identity(KEY)).to_vec();
            file.or_insert_with(head).extend(bytes);
        }
        for (shard, file) in &files {
            applier.replay_journal(*shard, file, &mut |fault| {
                panic!("shard {shard}: {fault:?}")
            });
        }
        commit(&mut applier, &mut self.tables, now, true);
        let state = self.tables.state().clone();
        let mut parts: Vec<Vec<RestoredPart>> = vec![Vec::new(); shards];
        let loaded = read(&mut self.tables, &state, shards, now, &mut |shard, part| {
            parts[shard.index()].push(part);
        });
        self.bases = (0..usize::from(u8::MAX))
            .map(|shard| state.applied(shard))
            .collect();
        self.applier = Applier::new(loaded.index, state, KEY);
        self.applier.discard(&loaded.to_delete);
        self.commit(now, true);
        parts
    }

    /// All that the tables and the window hold.
    pub fn contents(&mut self, now: Time) -> Vec<RestoredPart> {
        self.commit(now, true);
        let state = self.tables.state().clone();
        let mut parts = Vec::new();
        read(&mut self.tables, &state, 1, now, &mut |_, part| {
            parts.push(part);
        });
        parts
    }
}

fn wall(now: Time) -> Wall {
    Wall {
        now,
        unix_s: BEGUN_S + now.0 / 1_000,
    }
}

fn commit(applier: &mut Applier, tables: &mut MemoryTables, now: Time, all: bool) {
    let moment = Moment {
        unix_s: wall(now).unix_s,
        ms: now.0,
    };
    let Ok(()) = applier.commit(moment, all, false, tables);
    applier.committed(moment);
}

fn read(
    tables: &mut MemoryTables,
    state: &State,
    shards: usize,
    now: Time,
    give: &mut dyn FnMut(ShardId, RestoredPart),
) -> Loaded {
    let Ok(loaded) = load(tables, state, wall(now).unix_s, shards, give);
    assert_eq!(loaded.damaged, 0);
    loaded
}
