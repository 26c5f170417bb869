//! A kernel that has its bad days, for tests: it stands between the turn loop and a true [`Kernel`] and does what a
//! machine may do, only far more often.
//!
//! - Receives bring, and sends take, few bytes at a time.
//! - Receives, sends and accepts are first answered by an error that passes: ENOBUFS, EAGAIN, EINTR; ECONNABORTED,
//!   EPROTO, ENOMEM.
//! - Completions are held back while others overtake them; only the accepts of one listener keep their order.
//! - They pile up until the queue of a ring overflows.
//!
//! All of it is within the contract of [`Kernel`], so the loop must lose nothing by it.

mod tests;

use crate::buffer::{Chunk, Chunks};
use crate::ids::ConnectionId;
use crate::io::driver::kernel::{Completion, Kernel};
use crate::io::driver::sending::Sending;

use crate::io::listening::ListeningSocket;
use crate::limits;
use crate::random::SplitMix64;
use nix::libc;
use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What is to go wrong.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub receive_bytes_max: usize,
    pub send_bytes_max: usize,
    /// Of so many receives and sends one is first answered by an error; 0: none.
    pub one_error_in: u64,
    /// Accepts of each listener that fail before one is armed.
    pub accept_errors: u32,
    /// Completions are late and overtake each other.
    pub disorder: bool,
    /// After [`NAP_MS_MIN`] without a turn nothing is taken out of the completion queue until the kernel has been
    /// entered often enough to overfill it.
    pub hoards: bool,
}

impl Plan {
    /// Nothing goes wrong.
    pub const NONE: Plan = Plan {
        receive_bytes_max: usize::MAX,
        send_bytes_max: usize::MAX,
        one_error_in: 0,
        accept_errors: 0,
        disorder: false,
        hoards: false,
    };
    /// Short pieces, errors and disorder at once.
    pub const MUCH: Plan = Plan {
        receive_bytes_max: 5_000,
        send_bytes_max: 3_000,
        one_error_in: 4,
        accept_errors: 8,
        disorder: true,
        hoards: false,
    };
}

/// A time without a turn that tells of a thread that was kept from running.
const NAP_MS_MIN: u128 = 500;

thread_local! {
    /// The plan of the kernels this thread makes: [`Kernel::new`] has no place for one.
    pub static PLAN: Cell<Plan> = const { Cell::new(Plan::NONE) };
}

/// What went wrong, so that a test knows that it tested something.
#[derive(Clone, Copy, Default, Debug)]
pub struct Tally {
    pub errors: u64,
    pub overtaken: u64,
    /// Receives and sends that were for less than there was.
    pub pieces: u64,
    /// Receives for which the large buffer was asked.
    pub large: u64,
    /// Completions found at once, without entering the kernel between them.
    pub found_at_once_max: usize,
}

/// Received bytes of a socket that changes shards, which in truth would still lie in the socket; by its descriptor.
static MOVED: Mutex<Option<HashMap<RawFd, Vec<u8>>>> = Mutex::new(None);

/// `K` on its bad days.
pub struct Faulty<K: Kernel> {
    kernel: K,
    plan: Plan,
    random: SplitMix64,
    accept_errors: HashMap<u32, u32>,
    /// What the loop has not been given yet.
    held: VecDeque<Completion<u64>>,
    /// The bytes of receives, by their number.
    received: HashMap<u64, Vec<u8>>,
    receives: u64,
    /// Received and not given to the loop, by slot.
    left: HashMap<u32, Vec<u8>>,
    /// Sends under way, by slot; `kernel` has one piece of each at most.
    sends: HashMap<u32, Sending>,
    entered: Instant,
    pub tally: Tally,
}

impl<K: Kernel> Faulty<K> {
    fn below(&mut self, bound: u64) -> u64 {
        self.random.draw() % bound
    }

    /// An error that passes, if it is time for one.
    fn error(&mut self) -> Option<i32> {
        if self.plan.one_error_in == 0 || self.below(self.plan.one_error_in) > 0 {
            return None;
        }
        self.tally.errors += 1;
        Some([libc::ENOBUFS, libc::EAGAIN, libc::EINTR][self.below(3) as usize])
    }

    /// 1 to `most` of `bytes`.
    fn part(&mut self, bytes: usize, most: usize) -> usize {
        let part = 1 + self.below(bytes.min(most) as u64) as usize;
        let part = if most == usize::MAX { bytes } else { part };
        self.tally.pieces += u64::from(part < bytes);
        part
    }

    /// Answers a receive with the first of these bytes and keeps the others.
    fn give(&mut self, connection: ConnectionId, mut bytes: Vec<u8>) {
        let part = self.part(bytes.len(), self.plan.receive_bytes_max);
        let rest = bytes.split_off(part);
        if !rest.is_empty() {
            self.left.insert(connection.index, rest);
        }
        self.receives += 1;
        self.received.insert(self.receives, bytes);
        let result = Ok(Some(self.receives));
        self.held
            .push_back(Completion::Received { connection, result });
    }

    /// Takes over all completions there are.
    fn take_over(&mut self) {
        let mut found = 0;
        while let Some(completion) = self.kernel.next_completion() {
            found += 1;
            let completion = match completion {
                Completion::Received {
                    connection,
                    result: Ok(Some(received)),
                } => {
                    let bytes = self.kernel.bytes(&received).to_vec();
                    self.kernel.give_back(received);
                    self.give(connection, bytes);
                    continue;
                }
                Completion::Received { connection, result } => Completion::Received {
                    connection,
                    // Bytes were dealt with above: this is the end of the stream, or an error.
                    result: result.map(|_| None),
                },
                Completion::Sent { connection, result } => {
                    let whole = result
                        .is_ok_and(|bytes| self.kernel.sent(connection.index, bytes).is_some());
                    if !whole {
                        self.kernel.end_send(connection.index);
                    }
                    Completion::Sent { connection, result }
                }
                Completion::Accepted {
                    listener,
                    result,
                    more,
                } => Completion::Accepted {
                    listener,
                    result,
                    more,
                },
                Completion::Woken { result } => Completion::Woken { result },
                Completion::Cancelled => Completion::Cancelled,
            };
            self.held.push_back(completion);
        }
        self.tally.found_at_once_max = self.tally.found_at_once_max.max(found);
    }

    /// The place in `held` of what is given next.
    fn pick(&mut self) -> usize {
        let pick = self.below(self.held.len() as u64) as usize;
        let Completion::Accepted { listener, .. } = &self.held[pick] else {
            return pick;
        };
        let same = |held: &Completion<u64>| matches!(held, Completion::Accepted { listener: other, .. } if other == listener);
        self.held.iter().position(same).expect("it is one itself")
    }
}

impl<K: Kernel> Kernel for Faulty<K> {
    /// Its number.
    type Received = u64;

    fn new(listeners: &Arc<[ListeningSocket]>) -> io::Result<Self> {
        let plan = PLAN.get();
        let accept_errors =
            (0..listeners.len() as u32).map(|listener| (listener, plan.accept_errors));
        Ok(Faulty {
            kernel: K::new(listeners)?,
            plan,
            random: SplitMix64::new(1),
            accept_errors: accept_errors.collect(),
            held: VecDeque::new(),
            received: HashMap::new(),
            receives: 0,
            left: HashMap::new(),
            sends: HashMap::new(),
            entered: Instant::now(),
            tally: Tally::default(),
        })
    }

    fn accept(&mut self, listener: u32) -> io::Result<()> {
        let errors = self
            .accept_errors
            .get_mut(&listener)
            .expect("there is one for each");
        if *errors == 0 {
            return self.kernel.accept(listener);
        }
        *errors -= 1;
        self.tally.errors += 1;
        let errno =
            [libc::ECONNABORTED, libc::EPROTO, libc::ENOMEM, libc::EINTR][*errors as usize % 4];
        self.held.push_back(Completion::Accepted {
            listener,
            result: Err(errno),
            more: false,
        });
        Ok(())
    }

    fn cancel_accept(&mut self, listener: u32) -> io::Result<()> {
        self.kernel.cancel_accept(listener)
    }

    fn read_wake_up(&mut self, event: BorrowedFd<'_>) -> io::Result<()> {
        self.kernel.read_wake_up(event)
    }

    fn add(&mut self, connection: ConnectionId, socket: BorrowedFd<'_>) -> io::Result<()> {
        let mut moved = MOVED.lock().unwrap();
        match moved.get_or_insert_default().remove(&socket.as_raw_fd()) {
            Some(bytes) => self.left.insert(connection.index, bytes),
            None => self.left.remove(&connection.index),
        };
        self.kernel.add(connection, socket)
    }

    fn remove(&mut self, connection: ConnectionId, socket: BorrowedFd<'_>) {
        if let Some(bytes) = self.left.remove(&connection.index) {
            let mut moved = MOVED.lock().unwrap();
            moved
                .get_or_insert_default()
                .insert(socket.as_raw_fd(), bytes);
        }
        self.kernel.remove(connection, socket);
    }

    fn receive(
        &mut self,
        connection: ConnectionId,
        socket: BorrowedFd<'_>,
        large: bool,
    ) -> io::Result<()> {
        if let Some(errno) = self.error() {
            let result = Err(errno);
            self.held
                .push_back(Completion::Received { connection, result });
        } else if let Some(bytes) = self.left.remove(&connection.index) {
            self.give(connection, bytes);
        } else {
            self.tally.large += u64::from(large);
            self.kernel.receive(connection, socket, large)?;
        }
        Ok(())
    }

    fn cancel_receive(&mut self, connection: ConnectionId) -> io::Result<()> {
        self.kernel.cancel_receive(connection)
    }

    fn bytes<'a>(&'a self, received: &u64) -> &'a [u8] {
        &self.received[received]
    }

    fn give_back(&mut self, received: u64) {
        let bytes = self.received.remove(&received);
        assert!(bytes.is_some(), "a buffer is given back once");
    }

    fn add_buffers(&mut self) {
        self.kernel.add_buffers();
    }

    /// In disorder no more than two receives wait to be handled.
    fn has_buffers(&self) -> bool {
        let held = self.held.iter();
        let used = held.filter(|held| {
            matches!(
                held,
                Completion::Received {
                    result: Ok(Some(_)),
                    ..
                }
            )
        });
        self.kernel.has_buffers() && (!self.plan.disorder || used.count() < 2)
    }

    fn send(
        &mut self,
        connection: ConnectionId,
        socket: BorrowedFd<'_>,
        chunks: Chunks,
    ) -> io::Result<()> {
        let before = self.sends.insert(connection.index, Sending::new(chunks));
        assert!(before.is_none(), "one send a connection at a time");
        self.send_rest(connection, socket)
    }

    fn send_rest(&mut self, connection: ConnectionId, socket: BorrowedFd<'_>) -> io::Result<()> {
        if let Some(errno) = self.error() {
            let result = Err(errno);
            self.held.push_back(Completion::Sent { connection, result });
            return Ok(());
        }
        let bytes = self.sends[&connection.index].rest().0.len();
        let part = self.part(bytes, self.plan.send_bytes_max);
        let piece = self.sends[&connection.index].rest().0[..part].to_vec();
        self.kernel
            .send(connection, socket, Chunks::from_iter([Chunk::Block(piece)]))
    }

    fn sent(&mut self, index: u32, bytes: usize) -> Option<Chunks> {
        let sending = self.sends.get_mut(&index).expect("a send is under way");
        sending.advance(bytes).then(|| self.end_send(index))
    }

    fn end_send(&mut self, index: u32) -> Chunks {
        self.sends
            .remove(&index)
            .expect("a send is under way")
            .take()
    }

    fn cancel_send(&mut self, connection: ConnectionId) -> io::Result<()> {
        self.kernel.cancel_send(connection)
    }

    fn enter(&mut self, want: usize, timeout: Option<Duration>) -> io::Result<()> {
        self.take_over();
        let want = if self.held.is_empty() { want } else { 0 };
        let napped = self.entered.elapsed().as_millis() >= NAP_MS_MIN;
        self.kernel.enter(want, timeout)?;
        self.entered = Instant::now();
        if self.plan.hoards && napped {
            // The kernel may work off a few tens of completions each time.
            for _ in 0..limits::RING_COMPLETIONS / 8 {
                self.kernel.enter(0, None)?;
            }
        }
        Ok(())
    }

    fn next_completion(&mut self) -> Option<Completion<u64>> {
        self.take_over();
        if self.held.is_empty() || !self.plan.disorder {
            return self.held.pop_front();
        }
        // As if it had not come yet; the loop asks again, since it is told that there are some.
        if self.below(3) == 0 {
            return None;
        }
        let pick = self.pick();
        self.tally.overtaken += u64::from(pick > 0);
        self.held.remove(pick)
    }

    fn has_completions(&mut self) -> bool {
        !self.held.is_empty() || self.kernel.has_completions()
    }
}
