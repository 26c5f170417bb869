//! The turn loop of one shard, over whichever [`Kernel`] drives its sockets.
//!
//! ```text
//! ┌─► enter (submit, wait) → completions, lanes, mailbox, timers → shard.handle each
//! │                                                                        │
//! └──────── receives, lanes, wake-ups ◄──────── shard.flush ◄──────────────┘
//! ```
//!
//! A receive is armed only when a turn ends, so a `StopReading` or `HandOver` of the turn that read the bytes comes
//! before it. Each receive is for one buffer: a connection that floods gets one buffer a turn like every other, and a
//! connection that found no buffer is armed first in the next turn. (Multishot receives of io_uring let twenty
//! flooding publishers keep all buffers to themselves: a pair beside them waited 2.5 s at p99, against 1.9 ms, for
//! some 0.3 us less a lone message.)
//!
//! With a store, changes of the turn go into the journal at the flush; then the shard is told so and flushed again,
//! and the answers leave in the same turn (`Driver::flush`).
//!
//! A turn is bounded by completions, received bytes and lane messages; what is left waits one turn.

pub mod accept;
mod bridges;
mod checks;
mod inputs;
pub mod kernel;
mod outputs;
pub mod sending;
pub mod sockets;
mod spare_memory;
mod storing;

#[cfg(test)]
mod tests;

use crate::broker::{CloseCause, HandOver, Input, Outputs, Report, Shard, Verdict};
use crate::ids::{ConnectionId, ShardId};
use crate::io::crossing::Crossing;
use crate::io::link::{Link, Scratch};
use crate::io::mail::ToShard;
use crate::io::seat::Seat;
use crate::limits;
use crate::time::Time;
use accept::Accepting;
use checks::Checks;
use kernel::Kernel;
use sockets::Sockets;
use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd;
use std::sync::mpsc::Sender;
use std::time::Duration;
use storing::Storing;

/// What the loop drives: the shard, or a double in the tests of the loop.
pub trait Core {
    /// As `Shard::handle`: applies one input, and appends what must follow.
    fn handle(&mut self, now: Time, input: Input<'_>, out: &mut Outputs);
    /// As `Shard::flush`: after the inputs of a turn, and again in it when the journal has what answers wait for.
    fn flush(&mut self, now: Time, out: &mut Outputs);
    /// As `Shard::next_deadline`: the time of the next `Input::Tick`; `None`: none is needed.
    fn next_deadline(&self) -> Option<Time>;
    /// Is the work budget of this turn spent? Then what is left in the lanes waits for the next turn.
    fn is_spent(&self) -> bool;
}

impl Core for Shard {
    fn handle(&mut self, now: Time, input: Input<'_>, out: &mut Outputs) {
        Shard::handle(self, now, input, out);
    }

    fn flush(&mut self, now: Time, out: &mut Outputs) {
        Shard::flush(self, now, out);
    }

    fn next_deadline(&self) -> Option<Time> {
        Shard::next_deadline(self)
    }

    fn is_spent(&self) -> bool {
        Shard::is_spent(self)
    }
}

/// An input that came up while outputs were carried out; it is handled when the next turn begins.
enum Later {
    /// The connection is over: its end was read, or a send failed and nothing is left to read.
    Over(ConnectionId, CloseCause),
    Verdict(ConnectionId, Verdict),
    /// A bridge has something for the shard.
    Bridge(ConnectionId),
}

/// One shard and its sockets.
pub struct Driver<C, K> {
    core: C,
    seat: Seat,
    // Dropped before `kernel`: a socket may close while the kernel still holds operations on it. The memory of these
    // operations belongs to `kernel`, which frees it only when they have been answered.
    sockets: Sockets,
    kernel: K,
    accepting: Accepting,
    out: Outputs,
    later: VecDeque<Later>,
    /// Sockets whose receive is to be looked at when the turn ends.
    touched: Vec<ConnectionId>,
    looking_at: Vec<ConnectionId>,
    /// Closing and lingering sockets, in the order of their deadlines.
    lingering: VecDeque<(Time, ConnectionId)>,
    checks: Checks,
    /// Connections of bridges, and some that are gone.
    bridges: Vec<ConnectionId>,
    crossings: Vec<(ShardId, Crossing)>,
    /// Connections handed over to this shard, and the turn that is to take them in.
    adopting: VecDeque<(u64, Box<Link>, Box<HandOver>)>,
    turns: u64,
    mail: Vec<ToShard>,
    mail_came: bool,
    scratch: Scratch,
    storing: Storing,
    /// Surveys that the shard has not answered, the oldest first.
    askers: VecDeque<Sender<Box<Report>>>,
    /// Connections whose receive found no buffer.
    starved: Vec<ConnectionId>,
    /// A bit for each peer whose lane the shard knows to be over its bounds, see `Input::Pressure`.
    pressed: u64,
    /// The lanes held more than a turn takes.
    lanes_left: bool,
    stop_at: Option<Time>,
    now: Time,
}

impl<C: Core, K: Kernel> Driver<C, K> {
    /// Sets up the kernel's part on the calling thread and arms accepts and wake-up.
    pub fn new(core: C, seat: Seat) -> io::Result<Driver<C, K>> {
        let mut kernel = K::new(&seat.common.listeners.sockets)?;
        kernel.read_wake_up(seat.waker().as_fd())?;
        let accepting = Accepting::new(seat.common.listeners.sockets.len());
        let now = seat.common.clock.now();
        let storing = Storing::new(seat.common.store);
        Ok(Driver {
            core,
            seat,
            sockets: Sockets::default(),
            kernel,
            accepting,
            out: Outputs::default(),
            later: VecDeque::new(),
            touched: Vec::new(),
            looking_at: Vec::new(),
            lingering: VecDeque::new(),
            checks: Checks::default(),
            bridges: Vec::new(),
            crossings: Vec::new(),
            adopting: VecDeque::new(),
            turns: 0,
            mail: Vec::new(),
            askers: VecDeque::new(),
            // Mail may have been posted before the wake-up was armed: look once without one.
            mail_came: true,
            scratch: Scratch::default(),
            storing,
            starved: Vec::new(),
            pressed: 0,
            lanes_left: false,
            stop_at: None,
            now,
        })
    }

    /// Turns until the broker stops.
    ///
    /// Errors: the kernel refused what the loop cannot do without.
    pub fn run(&mut self) -> io::Result<()> {
        while !self.stopped() {
            self.turn()?;
        }
        Ok(())
    }

    fn stopped(&self) -> bool {
        self.stop_at
            .is_some_and(|at| self.sockets.used() == 0 || self.now >= at)
    }

    fn turn(&mut self) -> io::Result<()> {
        if self.storing.serves {
            self.accepting.arm(&mut self.kernel, self.now)?;
        }
        self.enter()?;
        self.now = self.seat.common.clock.now();
        self.turns += 1;
        for _ in 0..self.later.len() {
            let later = self.later.pop_front();
            self.on_later(later.expect("counted"))?;
        }
        self.take_completions()?;
        self.take_adopted()?;
        self.take_lanes()?;
        self.take_mail()?;
        self.take_restored()?;
        self.on_time()?;
        self.flush()?;
        self.look_at_touched()?;
        self.serve_lanes()
    }

    /// Is there something to do without waiting for the kernel?
    fn busy(&mut self) -> bool {
        !self.later.is_empty()
            || !self.adopting.is_empty()
            || self.lanes_left
            || self.mail_came
            || self.storing.has_chunks()
            || self.kernel.has_completions()
    }

    fn enter(&mut self) -> io::Result<()> {
        if self.busy() {
            return self.kernel.enter(0, None);
        }
        let alone = self.seat.endpoint.shards() == 1;
        if !alone {
            let flag = &self.seat.waker().flag;
            flag.about_to_sleep();
            if !self.seat.endpoint.is_empty() {
                flag.awake();
                return self.kernel.enter(0, None);
            }
        }
        let timeout = self
            .next_deadline()
            .map(|at| Duration::from_millis(at.since_ms(self.seat.common.clock.now())));
        let result = self.kernel.enter(1, timeout);
        if !alone {
            self.seat.waker().flag.awake();
        }
        result
    }

    fn next_deadline(&self) -> Option<Time> {
        let lingering = self.lingering.front().map(|(at, _)| *at);
        let spilled = self
            .peers()
            .any(|peer| self.seat.endpoint.spilled(peer).items > 0)
            .then(|| self.now + limits::SPILL_RETRY_MS);
        [
            self.core.next_deadline(),
            lingering,
            self.checks.next_deadline(),
            spilled,
            self.accepting.next_deadline(),
            self.stop_at,
        ]
        .into_iter()
        .flatten()
        .min()
        .filter(|at| *at != Time::NEVER)
    }

    /// All shards but this.
    fn peers(&self) -> impl Iterator<Item = ShardId> + use<C, K> {
        let own = self.seat.id;
        (0..self.seat.endpoint.shards())
            .map(|peer| ShardId(peer as u8))
            .filter(move |peer| *peer != own)
    }

    /// Moves spilled items into lanes that have room again, informs the shard which lanes are full, and wakes the peers
    /// that were sent something.
    fn serve_lanes(&mut self) -> io::Result<()> {
        if self.seat.endpoint.shards() == 1 {
            return Ok(());
        }
        self.seat.endpoint.unspill();
        let mut given = self.seat.endpoint.take_sent_to();
        while given != 0 {
            let peer = given.trailing_zeros() as usize;
            given &= given - 1;
            let waker = &self.seat.wakers[peer];
            if waker.flag.must_wake() {
                waker.wake();
            }
        }
        for peer in self.peers() {
            let spilled = self.seat.endpoint.spilled(peer);
            let pressed = self.pressed & peer.bit() != 0;
            if spilled.presses(pressed) != pressed {
                self.pressed ^= peer.bit();
                let on = !pressed;
                self.input(Input::Pressure { to: peer, on })?;
            }
        }
        Ok(())
    }
}
