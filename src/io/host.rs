//! A shard's thread, pinned to its core: under io_uring a glommio executor whose one task is the turn loop and never leaves, under epoll a
//! plain thread. Everything that reaches a shard comes through its sockets, lanes and mailbox, so an executor has nothing else to run.
//!
//! `io_memory(0)`: glommio's default pins 10 MiB for each of its three rings, of which we use nothing.

use crate::broker::{Level, OwnMessage, Report, Shard, Survey, Verdict};
use crate::config::Settings;
use crate::ids::{ConnectionId, ShardId};
use crate::io::checker::Checker;
use crate::io::clock::Clock;
use crate::io::crossing::Crossing;
use crate::io::driver::Driver;
use crate::io::driver::kernel::Kernel;
use crate::io::epoll::Epoll;
use crate::io::listener::ListeningSockets;
use crate::io::log::Log;
#[cfg(target_pointer_width = "64")]
use crate::io::uring::{probe, ring::Ring};
use crate::limits;
use crate::mesh::{Endpoint, Mailbox, Places, WakeFlag};
#[cfg(target_pointer_width = "64")]
use glommio::{ExecutorJoinHandle, LocalExecutorBuilder, Placement};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::unistd::Pid;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};

/// What helper threads tell a shard.
#[derive(Debug)]
pub enum ToShard {
    Verdict {
        connection: ConnectionId,
        verdict: Verdict,
    },
    /// Nothing tells whether it was taken: with a full mailbox it is lost.
    Publish(OwnMessage),
    /// Answered by one report, in the order of the mail. A shard that has ended drops `reply`.
    Survey {
        survey: Box<Survey>,
        reply: Sender<Box<Report>>,
    },
    /// Add 1 here: the shard still turns.
    AreYouThere(Arc<EventFd>),
    /// These users, sorted, are gone from the password file.
    UsersGone(Arc<[Box<str>]>),
    Shutdown,
}

/// How a shard is woken from its wait in the kernel.
pub struct Waker {
    /// Raised while the shard waits; asked by peers, who give it something in most turns.
    pub flag: WakeFlag,
    /// Read through the shard's ring, or watched by its epoll set. Blocking, for io_uring waits only on what may block; a write never does in fact.
    event: EventFd,
}

impl Waker {
    fn new() -> nix::Result<Waker> {
        Ok(Waker {
            flag: WakeFlag::new(),
            event: EventFd::from_flags(EfdFlags::EFD_CLOEXEC)?,
        })
    }

    pub fn wake(&self) {
        // It fails only when 2^64 - 2 wake-ups wait to be read.
        let _ = self.event.write(1);
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

/// Everything a shard's thread is given.
pub struct Seat {
    pub id: ShardId,
    pub endpoint: Endpoint<Crossing>,
    pub mailbox: Mailbox<ToShard>,
    /// Of all shards, by their number.
    pub wakers: Arc<[Waker]>,
    pub listeners: ListeningSockets,
    pub places: Arc<Places>,
    pub checker: Option<Checker>,
    pub log: Log,
    pub clock: Clock,
}

impl Seat {
    pub fn waker(&self) -> &Waker {
        &self.wakers[self.id.index()]
    }
}

/// All shards as helper threads reach them.
#[derive(Clone)]
pub struct Shards {
    mailboxes: Arc<[Mailbox<ToShard>]>,
    wakers: Arc<[Waker]>,
    places: Arc<Places>,
}

impl Shards {
    /// Mailboxes and wakers of `count` shards.
    pub fn new(count: usize) -> nix::Result<Shards> {
        // One place a password check that may wait, and a few for the rest.
        let places = limits::PASSWORD_CHECKS_WAITING_MAX + 16;
        let wakers: nix::Result<Vec<Waker>> = (0..count).map(|_| Waker::new()).collect();
        Ok(Shards {
            mailboxes: (0..count).map(|_| Mailbox::new(places)).collect(),
            wakers: wakers?.into(),
            // Their number is known when all shards serve, see `set_places`.
            places: Arc::new(Places::new(usize::MAX, limits::STANDING_PLACES)),
        })
    }

    /// From now on so many Network Connections are served at a time.
    pub fn set_places(&self, seats: usize) {
        self.places.set_seats(seats);
    }

    pub fn count(&self) -> usize {
        self.mailboxes.len()
    }

    /// Puts `item` into the mailbox of `to` and wakes it. Rare, so the wake-up is always paid and a shard looks into its mailbox only
    /// when it comes. With a full mailbox the item is lost; a verdict's connection then ends at its deadline.
    pub fn tell(&self, to: ShardId, item: ToShard) {
        let _ = self.mailboxes[to.index()].push(item);
        self.wakers[to.index()].wake();
    }

    /// Tells every shard, whether its mailbox is full or not: for what must not be lost.
    pub fn tell_all(&self, item: impl Fn() -> ToShard) {
        for (mailbox, waker) in self.mailboxes.iter().zip(&*self.wakers) {
            mailbox.push_always(item());
            waker.wake();
        }
    }

    /// The seats of all shards, in their order.
    pub fn seats(
        &self,
        endpoints: Vec<Endpoint<Crossing>>,
        listeners: &ListeningSockets,
        checker: Option<&Checker>,
        log: &Log,
        clock: Clock,
    ) -> Vec<Seat> {
        assert!(endpoints.len() == self.count());
        endpoints
            .into_iter()
            .map(|endpoint| Seat {
                id: endpoint.shard(),
                mailbox: self.mailboxes[endpoint.shard().index()].clone(),
                endpoint,
                wakers: Arc::clone(&self.wakers),
                listeners: listeners.clone(),
                places: Arc::clone(&self.places),
                checker: checker.cloned(),
                log: log.clone(),
                clock,
            })
            .collect()
    }
}

/// What drives the sockets of all shards.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Means {
    #[cfg(target_pointer_width = "64")]
    Uring,
    Epoll,
}

#[cfg(target_pointer_width = "64")]
impl Means {
    /// io_uring, if it can be had.
    ///
    /// Errors: one sentence with cause and remedy.
    pub fn uring() -> Result<Means, String> {
        probe::io_uring().map(|()| Means::Uring)
    }

    /// Takes what `shards` need of what this process may have.
    fn prepare(self, shards: usize) {
        if self == Means::Uring {
            probe::raise_memlock(shards);
        }
    }

    /// Why one of the `shards` did not start, as a sentence.
    pub fn explain(self, error: &io::Error, shards: usize) -> String {
        match self {
            Means::Uring => probe::explain_shard(error, shards),
            Means::Epoll => format!("a shard could not start: {error}"),
        }
    }
}

#[cfg(not(target_pointer_width = "64"))]
impl Means {
    /// Not to be had: glommio does not build for 32 bits.
    pub fn uring() -> Result<Means, String> {
        Err("io_uring is used on 64-bit machines alone".to_owned())
    }

    fn prepare(self, _shards: usize) {}

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
    #[cfg(target_pointer_width = "64")]
    Executor(ExecutorJoinHandle<()>),
    Plain(JoinHandle<()>),
}

/// Counts one up when its shard's thread ends, by whatever way.
struct CountEnd(Arc<EventFd>);

impl Drop for CountEnd {
    fn drop(&mut self) {
        let _ = self.0.write(1);
    }
}

/// Starts a thread for each seat on its core, and returns when all shards serve.
///
/// Errors: a thread, an executor or a ring could not be set up ([`Means::explain`] tells more); the other shards have stopped.
pub fn start(
    means: Means,
    seats: Vec<Seat>,
    cores: &[usize],
    settings: &Settings,
    ended: &Arc<EventFd>,
    shards: &Shards,
) -> io::Result<Threads> {
    assert!(seats.len() == cores.len());
    let count = seats.len();
    means.prepare(count);
    let (ready, started) = channel();
    let mut handles = Vec::with_capacity(count);
    let mut failure: Option<io::Error> = None;
    for (seat, &core) in seats.into_iter().zip(cores) {
        let (ready, settings) = (ready.clone(), settings.clone());
        let count_end = CountEnd(Arc::clone(ended));
        let name = format!("shard-{}", seat.id);
        let spawned = match means {
            #[cfg(target_pointer_width = "64")]
            Means::Uring => LocalExecutorBuilder::new(Placement::Unbound)
                .name(&name)
                .io_memory(0)
                .spawn(move || async move {
                    let _count_end = count_end;
                    serve_on::<Ring>(core, seat, count, settings, ready);
                })
                .map(Handle::Executor)
                .map_err(io::Error::from),
            Means::Epoll => thread::Builder::new()
                .name(name)
                .spawn(move || {
                    let _count_end = count_end;
                    serve_on::<Epoll>(core, seat, count, settings, ready);
                })
                .map(Handle::Plain),
        };
        match spawned {
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
            // All have spoken or ended, and one ended before its task began: `join` knows why.
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

/// Keeps this thread on its core, and serves. glommio would pin it too (`Placement::Fixed`), but reads all of `/sys/devices/system` for that
/// and panics where a file is missing or holds what it did not expect: a chroot without `/sys`, a board without a topology.
fn serve_on<K: Kernel>(
    core: usize,
    seat: Seat,
    shards: usize,
    settings: Settings,
    ready: Sender<io::Result<()>>,
) {
    match pin(core) {
        Ok(()) => serve::<K>(seat, shards, settings, ready),
        Err(errno) => drop(ready.send(Err(errno.into()))),
    }
}

/// Keeps the calling thread on this core.
fn pin(core: usize) -> nix::Result<()> {
    let mut set = CpuSet::new();
    set.set(core)?;
    sched_setaffinity(Pid::from_raw(0), &set)
}

/// A shard's thread, or the resident task of its executor. `ready` is given up before the turns begin, so that `start` notices a thread
/// that never came this far.
fn serve<K: Kernel>(seat: Seat, shards: usize, settings: Settings, ready: Sender<io::Result<()>>) {
    let (id, log) = (seat.id, seat.log.clone());
    let mut driver = match Driver::<_, K>::new(Shard::new(id, shards, settings), seat) {
        Ok(driver) => driver,
        Err(error) => {
            let _ = ready.send(Err(error));
            return;
        }
    };
    let _ = ready.send(Ok(()));
    drop(ready);
    if let Err(error) = driver.run() {
        let text = format!("shard {id} ends: its sockets cannot be driven any more: {error}");
        log.line(Level::Error, text);
    }
}

impl Threads {
    /// Waits for all threads.
    ///
    /// Errors: what the first of those that failed has said.
    pub fn join(self) -> io::Result<()> {
        let mut result = Ok(());
        for handle in self.handles {
            // All are waited for, whatever one of them says.
            let ended = match handle {
                #[cfg(target_pointer_width = "64")]
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
