//! A shard's thread, pinned to its core, with its driver on it.
//!
//! Under io_uring it is a glommio executor whose one task is the turn loop and never leaves, if this was built with
//! the feature `glommio` and for 64 bits; else a plain thread. Everything that reaches a shard comes through its
//! sockets, lanes and mailbox, so an executor has nothing else to run, and the same ring serves on either.
//!
//! `io_memory(0)`: glommio's default pins 10 MiB for each of its three rings, of which we use nothing.

use crate::broker::{LogLevel, Shard};
use crate::config::Settings;
use crate::io::driver::Driver;
use crate::io::driver::kernel::Kernel;
use crate::io::epoll::Epoll;
use crate::io::mail::{Shards, ToShard};
use crate::io::seat::Seat;
#[cfg(any(target_pointer_width = "64", io_uring_skip_arch_check))]
use crate::io::uring::{probe, ring::Ring};
#[cfg(all(feature = "glommio", target_pointer_width = "64"))]
use glommio::{ExecutorJoinHandle, LocalExecutorBuilder, Placement};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::eventfd::EventFd;
use nix::unistd::Pid;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};

/// What drives the sockets of all shards.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DriverKind {
    /// A ring for each shard.
    #[cfg(any(target_pointer_width = "64", io_uring_skip_arch_check))]
    Uring,
    /// An epoll descriptor for each shard.
    Epoll,
}

#[cfg(any(target_pointer_width = "64", io_uring_skip_arch_check))]
impl DriverKind {
    /// io_uring, if it can be had.
    ///
    /// Errors: one sentence with cause and remedy.
    pub fn uring() -> Result<DriverKind, String> {
        probe::io_uring().map(|()| DriverKind::Uring)
    }

    /// Raises the limits of this process to what `shards` need, as far as it may; root may most.
    pub fn raise_limits(shards: usize) {
        probe::raise_memlock(shards);
    }

    /// Why so many shards may not get the memory that io_uring locks, as a sentence with the remedy. `None`: there is
    /// enough, or nobody counts it.
    pub fn may_lack_memory(shards: usize) -> Option<String> {
        probe::may_lack_memory(shards)
    }

    /// Why one of the `shards` did not start, as a sentence.
    pub fn explain(self, error: &io::Error, shards: usize) -> String {
        match self {
            DriverKind::Uring => probe::explain_shard(error, shards),
            DriverKind::Epoll => format!("a shard could not start: {error}"),
        }
    }
}

#[cfg(not(any(target_pointer_width = "64", io_uring_skip_arch_check)))]
impl DriverKind {
    /// Not in this build: the crate `io-uring` builds for 32 bits only when it is told to, see Cargo.toml.
    pub fn uring() -> Result<DriverKind, String> {
        Err("this 32-bit build has no io_uring".to_owned())
    }

    pub fn raise_limits(_shards: usize) {}

    /// Nothing is locked.
    pub fn may_lack_memory(_shards: usize) -> Option<String> {
        None
    }

    /// Why a shard did not start, as a sentence.
    pub fn explain(self, error: &io::Error, _shards: usize) -> String {
        format!("a shard could not start: {error}")
    }
}

/// The threads of all shards.
pub struct Threads {
    handles: Vec<Handle>,
}

enum Handle {
    #[cfg(all(feature = "glommio", target_pointer_width = "64"))]
    Executor(ExecutorJoinHandle<()>),
    Plain(JoinHandle<()>),
}

/// Adds 1 to an eventfd when its shard's thread ends, whether it returns or panics.
struct CountEnd(Arc<EventFd>);

impl Drop for CountEnd {
    fn drop(&mut self) {
        let _ = self.0.write(1);
    }
}

/// What one shard's thread is to do.
struct Task {
    seat: Seat,
    core: usize,
    shards: usize,
    settings: Settings,
    /// Gets one answer: the shard serves, or why it does not.
    ready: Sender<io::Result<()>>,
    count_end: CountEnd,
}

/// Starts a thread for each seat on its core, and returns when all shards serve.
///
/// Errors: a thread, an executor or a ring could not be set up ([`DriverKind::explain`] tells more); the other shards
/// have stopped.
pub fn start(
    kind: DriverKind,
    seats: Vec<Seat>,
    cores: &[usize],
    settings: &Settings,
    ended: &Arc<EventFd>,
    shards: &Shards,
) -> io::Result<Threads> {
    assert!(seats.len() == cores.len());
    let count = seats.len();
    let (ready, started) = channel();
    let mut handles = Vec::with_capacity(count);
    let mut failure: Option<io::Error> = None;
    for (seat, &core) in seats.into_iter().zip(cores) {
        let task = Task {
            seat,
            core,
            shards: count,
            settings: settings.clone(),
            ready: ready.clone(),
            count_end: CountEnd(Arc::clone(ended)),
        };
        match spawn(kind, task) {
            Ok(handle) => handles.push(handle),
            Err(error) => failure = Some(error),
        }
    }
    drop(ready);
    let mut serving = 0;
    while failure.is_none() && serving < count {
        match started.recv() {
            Ok(Ok(())) => serving += 1,
            Ok(Err(error)) => failure = Some(error),
            // No sender is left and one answer is missing: a thread ended before its task began. `join` knows why.
            Err(_) => break,
        }
    }
    let threads = Threads { handles };
    if failure.is_none() && serving == count {
        return Ok(threads);
    }
    shards.tell_all(|| ToShard::Shutdown);
    let joined = threads.join().err();
    Err(failure
        .or(joined)
        .unwrap_or_else(|| io::Error::other("its thread ended before it began")))
}

/// The thread of one shard.
fn spawn(kind: DriverKind, task: Task) -> io::Result<Handle> {
    let name = format!("shard-{}", task.seat.id);
    match kind {
        #[cfg(all(feature = "glommio", target_pointer_width = "64"))]
        DriverKind::Uring => LocalExecutorBuilder::new(Placement::Unbound)
            .name(&name)
            .io_memory(0)
            .spawn(move || async move { task.run::<Ring>() })
            .map(Handle::Executor)
            .map_err(io::Error::from),
        #[cfg(all(
            not(all(feature = "glommio", target_pointer_width = "64")),
            any(target_pointer_width = "64", io_uring_skip_arch_check)
        ))]
        DriverKind::Uring => spawn_plain(name, move || task.run::<Ring>()),
        DriverKind::Epoll => spawn_plain(name, move || task.run::<Epoll>()),
    }
}

fn spawn_plain(name: String, run: impl FnOnce() + Send + 'static) -> io::Result<Handle> {
    let thread = thread::Builder::new().name(name).spawn(run)?;
    Ok(Handle::Plain(thread))
}

impl Task {
    /// Keeps this thread on its core, and serves. glommio would pin it too (`Placement::Fixed`), but reads all of
    /// `/sys/devices/system` for that and panics where a file is missing or holds what it did not expect: a chroot
    /// without `/sys`, a board without a topology.
    fn run<K: Kernel>(self) {
        let _count_end = self.count_end;
        match pin(self.core) {
            Ok(()) => serve::<K>(self.seat, self.shards, self.settings, self.ready),
            Err(errno) => drop(self.ready.send(Err(errno.into()))),
        }
    }
}

/// Keeps the calling thread on this core.
fn pin(core: usize) -> nix::Result<()> {
    let mut set = CpuSet::new();
    set.set(core)?;
    sched_setaffinity(Pid::from_raw(0), &set)
}

/// A shard's thread, or the resident task of its executor. `ready` is given up before the turns begin, so that
/// `start` notices a thread that never came this far.
fn serve<K: Kernel>(seat: Seat, shards: usize, settings: Settings, ready: Sender<io::Result<()>>) {
    let (id, log) = (seat.id, seat.common.log.clone());
    let memory = Arc::clone(&seat.common.memory);
    let shard = Shard::with_memory(id, shards, settings, memory);
    let mut driver = match Driver::<_, K>::new(shard, seat) {
        Ok(driver) => driver,
        Err(error) => {
            let _ = ready.send(Err(error));
            return;
        }
    };
    let _ = ready.send(Ok(()));
    drop(ready);
    if let Err(error) = driver.run() {
        let text = format!("shard {id} ends: it can no longer use its sockets: {error}");
        log.line(LogLevel::Error, text);
    }
}

impl Threads {
    /// Waits for all threads.
    ///
    /// Errors: the error of the first that failed.
    pub fn join(self) -> io::Result<()> {
        let mut result = Ok(());
        for handle in self.handles {
            // Wait for every thread, even after one has failed.
            let ended = match handle {
                #[cfg(all(feature = "glommio", target_pointer_width = "64"))]
                Handle::Executor(executor) => executor.join().map_err(io::Error::from),
                Handle::Plain(thread) => thread
                    .join()
                    .map_err(|_| io::Error::other("its thread panicked")),
            };
            result = result.and(ended);
        }
        result
    }
}
