//! Messages of helper threads to shards: a mailbox for each shard, and how a shard is woken from its wait in the
//! kernel.

use crate::acl::Rules;
use crate::broker::{Order, OwnMessage, Report, Restored, Survey, Verdict};
use crate::config::Settings;
use crate::ids::{ConnectionId, ShardId};
use crate::io::link::{Handshake, Link};
use crate::io::store::keeping::{Keeping, Progress};
use crate::limits;
use crate::mesh::{Mailbox, WakeFlag};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::collections::VecDeque;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

/// A message of a helper thread to a shard.
#[derive(Debug)]
pub enum ToShard {
    /// What the password thread found out.
    Verdict {
        /// May have closed meanwhile; the shard then drops the verdict.
        connection: ConnectionId,
        /// By the password file as it is now.
        verdict: Verdict,
    },
    /// A helper has done a step of a handshake.
    Handshake {
        /// May have closed meanwhile; the step is then dropped.
        connection: ConnectionId,
        /// As its link gave it away.
        handshake: Box<Handshake>,
    },
    /// A connection of this process's own: the shard serves it like one that it has accepted.
    Connected(Box<Link>),
    /// Bridges whose packets shards carry have something for them.
    Bridges,
    /// Lost when the mailbox is full; the sender does not learn whether it was taken.
    Publish(OwnMessage),
    /// Answered by one report, in the order of the mail. A shard that has ended drops `reply`.
    Survey {
        /// Answered while it is handled.
        survey: Box<Survey>,
        /// Of the asker alone.
        reply: Sender<Box<Report>>,
    },
    /// Answered by one report, like a survey.
    Order {
        /// Carried out while it is handled.
        order: Box<Order>,
        /// Of the asker alone.
        reply: Sender<Box<Report>>,
    },
    /// A question: the shard adds 1 here as its answer, which proves that it still turns.
    AreYouThere(Arc<EventFd>),
    /// These rules are in force from now on.
    Rules(Arc<Rules>),
    /// Other settings, rules included.
    Settings(Arc<Settings>),
    /// What the store remembers; the shard accepts no connection before `Serve`.
    Restore(Box<Restore>),
    /// Every shard has what the store remembers: accept connections.
    Serve,
    /// The store has more on the disk.
    Stored(Progress),
    /// These users, sorted, are gone from the password file.
    UsersGone(Arc<[Box<str>]>),
    /// Close all connections and end.
    Shutdown,
}

/// What the store gives a shard at the start.
pub struct Restore {
    /// The shard's side of the store.
    pub keeping: Box<Keeping>,
    /// What the shard is to remember, a piece for each turn.
    pub chunks: VecDeque<Restored>,
    /// Told when the shard has all of it and its peers have been told of it.
    pub done: Sender<()>,
}

impl fmt::Debug for Restore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Restore({} chunks)", self.chunks.len())
    }
}

/// How a shard is woken from its wait in the kernel.
pub struct Waker {
    /// Raised while the shard waits. Peers look at it first, as they send something in most turns and a wake-up is
    /// needed only then.
    pub flag: WakeFlag,
    /// Read through the shard's ring, or watched by its epoll set. Not O_NONBLOCK, since io_uring would complete a read
    /// at once; writing it does not block in practice.
    event: EventFd,
}

impl Waker {
    fn new() -> nix::Result<Waker> {
        Ok(Waker {
            flag: WakeFlag::new(),
            event: EventFd::from_flags(EfdFlags::EFD_CLOEXEC)?,
        })
    }

    /// Ends the shard's wait, or its next one; never blocks.
    pub fn wake(&self) {
        // It would block only when 2^64 - 2 wake-ups wait to be read.
        let _ = self.event.write(1);
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

/// All shards as helper threads reach them.
#[derive(Clone)]
pub struct Shards {
    mailboxes: Arc<[Mailbox<ToShard>]>,
    wakers: Arc<[Waker]>,
}

impl Shards {
    /// Mailboxes and wakers of `count` shards.
    pub fn new(count: usize) -> nix::Result<Shards> {
        let items_max = limits::MAIL_ITEMS_MAX;
        let wakers: nix::Result<Vec<Waker>> = (0..count).map(|_| Waker::new()).collect();
        Ok(Shards {
            mailboxes: (0..count).map(|_| Mailbox::new(items_max)).collect(),
            wakers: wakers?.into(),
        })
    }

    /// How many shards the broker has.
    pub fn count(&self) -> usize {
        self.mailboxes.len()
    }

    /// Puts `item` into the mailbox of `to` and wakes it. Rare, so the wake-up is always paid and a shard looks into
    /// its mailbox only when it comes. With a full mailbox the item is lost.
    pub fn tell(&self, to: ShardId, item: ToShard) {
        let _ = self.mailboxes[to.index()].push(item);
        self.wakers[to.index()].wake();
    }

    /// As `tell`, whether the mailbox is full or not: for what must not be lost.
    pub fn tell_surely(&self, to: ShardId, item: ToShard) {
        self.mailboxes[to.index()].push_always(item);
        self.wakers[to.index()].wake();
    }

    /// Tells every shard, whether its mailbox is full or not: for what must not be lost.
    pub fn tell_all(&self, item: impl Fn() -> ToShard) {
        for (mailbox, waker) in self.mailboxes.iter().zip(&*self.wakers) {
            mailbox.push_always(item());
            waker.wake();
        }
    }

    /// Waits until every shard has handled the mail it has now, or for so long. `false`: some shard has not.
    pub fn wait_for_all(&self, most: Duration) -> nix::Result<bool> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let answers = Arc::new(EventFd::from_flags(flags)?);
        self.tell_all(|| ToShard::AreYouThere(Arc::clone(&answers)));
        let end = Instant::now() + most;
        let mut missing = self.count() as u64;
        while missing > 0 {
            let left = end.saturating_duration_since(Instant::now()).as_millis();
            if left == 0 {
                return Ok(false);
            }
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            let mut answered = [PollFd::new(answers.as_fd(), PollFlags::POLLIN)];
            match poll(&mut answered, timeout) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
            }
            if let Ok(count) = answers.read() {
                missing = missing.saturating_sub(count);
            }
        }
        Ok(true)
    }

    /// The mailbox of this shard, for the shard itself.
    pub fn mailbox(&self, shard: ShardId) -> Mailbox<ToShard> {
        self.mailboxes[shard.index()].clone()
    }

    /// The wakers of all shards, by their number.
    pub fn wakers(&self) -> Arc<[Waker]> {
        Arc::clone(&self.wakers)
    }
}
