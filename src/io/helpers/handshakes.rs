//! Steps of TLS handshakes that are too long for a shard: a few threads do them, a fair share for each address.
//!
//! A handshake that has begun goes before one that begins. Where there is no room for one more, the address that has
//! most waiting loses its last one.

use crate::budget::Source;
use crate::ids::{ConnectionId, ShardId};
use crate::io::link::Handshake;
use crate::io::mail::{Shards, ToShard};
use crate::limits;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;

/// A step that waits.
pub struct Step {
    /// Whose mailbox gets it back.
    pub shard: ShardId,
    /// At that shard; it may have closed meanwhile.
    pub connection: ConnectionId,
    /// Whose share of the threads this takes.
    pub address: IpAddr,
    /// What is to be done.
    pub handshake: Box<Handshake>,
}

/// A handle of the threads and their bounded queue.
#[derive(Clone, Default)]
pub struct Handshakes {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    asked: Condvar,
    /// Set when the threads start.
    shards: OnceLock<Shards>,
}

/// The steps of each address, and whose turn it is.
#[derive(Default)]
struct Waiting {
    lines: HashMap<Source, VecDeque<Step>>,
    turns: VecDeque<Source>,
    count: usize,
}

impl Waiting {
    /// Puts a step into its line. Returns the one for which there is no room, perhaps this one.
    fn push(&mut self, step: Step) -> Option<Step> {
        let source = Source::of(step.address);
        let line = self.lines.entry(source).or_default();
        if line.is_empty() {
            self.turns.push_back(source);
        }
        if step.handshake.has_begun() {
            line.push_front(step);
        } else {
            line.push_back(step);
        }
        self.count += 1;
        if self.count <= limits::TLS_HANDSHAKES_WAITING_MAX {
            return None;
        }
        let longest = self.lines.iter().max_by_key(|(_, line)| line.len());
        let longest = longest.map(|(source, _)| *source)?;
        let line = self.lines.get_mut(&longest)?;
        let lost = line.pop_back();
        self.count -= usize::from(lost.is_some());
        if line.is_empty() {
            self.lines.remove(&longest);
            self.turns.retain(|source| *source != longest);
        }
        lost
    }

    /// Takes the next step; its address then waits behind the others.
    fn pop(&mut self) -> Option<Step> {
        let source = self.turns.pop_front()?;
        let line = self.lines.get_mut(&source)?;
        let step = line.pop_front()?;
        self.count -= 1;
        if line.is_empty() {
            self.lines.remove(&source);
        } else {
            self.turns.push_back(source);
        }
        Some(step)
    }
}

impl Handshakes {
    /// Starts the threads; steps that were asked for wait until then.
    pub fn start(&self, shards: Shards, threads: usize) -> io::Result<()> {
        let _ = self.shared.shards.set(shards);
        for _ in 0..threads.max(1) {
            let shared = Arc::clone(&self.shared);
            let thread = thread::Builder::new().name("handshakes".to_owned());
            thread.spawn(move || {
                // It was set above.
                while let Some(shards) = shared.shards.get() {
                    let mut step = shared.next();
                    step.handshake.run();
                    step.answer(shards);
                }
            })?;
        }
        Ok(())
    }

    /// Has a step done; the shard's mailbox gets it back.
    pub fn ask(&self, step: Step) {
        let lost = self.shared.lock().push(step);
        self.shared.asked.notify_one();
        if let Some(mut lost) = lost
            && let Some(shards) = self.shared.shards.get()
        {
            lost.handshake.refuse();
            lost.answer(shards);
        }
    }
}

impl Step {
    fn answer(self, shards: &Shards) {
        let mail = ToShard::Handshake {
            connection: self.connection,
            handshake: self.handshake,
        };
        shards.tell_surely(self.shard, mail);
    }
}

impl Shared {
    /// Held by nothing that may panic.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> Step {
        let mut waiting = self.lock();
        loop {
            if let Some(step) = waiting.pop() {
                return step;
            }
            waiting = self
                .asked
                .wait(waiting)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(address: [u8; 4], index: u32) -> Step {
        Step {
            shard: ShardId(0),
            connection: ConnectionId {
                index,
                generation: 0,
            },
            address: address.into(),
            handshake: Box::new(Handshake::refused()),
        }
    }

    #[test]
    fn addresses_take_turns() {
        let mut waiting = Waiting::default();
        for index in 0..3 {
            assert!(waiting.push(step([10, 0, 0, 1], index)).is_none());
        }
        assert!(waiting.push(step([10, 0, 0, 2], 7)).is_none());
        let order: Vec<u32> = std::iter::from_fn(|| waiting.pop())
            .map(|step| step.connection.index)
            .collect();
        assert_eq!(order, [0, 7, 1, 2]);
        assert!(waiting.lines.is_empty() && waiting.count == 0);
    }

    #[test]
    fn the_address_with_most_loses_its_last() {
        let mut waiting = Waiting::default();
        let most = limits::TLS_HANDSHAKES_WAITING_MAX as u32;
        for index in 0..most {
            assert!(waiting.push(step([10, 0, 0, 1], index)).is_none());
        }
        let lost = waiting.push(step([10, 0, 0, 2], most)).unwrap();
        assert_eq!(lost.connection.index, most - 1);
        assert_eq!(waiting.count, limits::TLS_HANDSHAKES_WAITING_MAX);
        let next = [waiting.pop(), waiting.pop()].map(|step| step.unwrap().connection.index);
        assert_eq!(next, [0, most]);
    }
}
