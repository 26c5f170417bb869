//! The turn loop of one shard, over whichever [`Kernel`] drives its sockets.
//!
//! ```text
//! enter (submit, wait) → completions, lanes, mailbox, timers → shard.handle each → shard.flush → receives, lanes, wake-ups ─┐
//!   └───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! A receive is armed only when a turn ends, so a `StopReading` or `HandOver` of the turn that read the bytes comes before it. Each is
//! for one buffer: a connection that floods gets one buffer a turn like every other, and those who found no buffer are
//! armed first in the next turn. (Multishot receives of io_uring let twenty flooding publishers keep all buffers to themselves: a pair
//! beside them waited 2.5 s at p99, against 1.9 ms, for some 0.3 us less a lone message.)
//!
//! A turn is bounded by completions, received bytes and lane messages; what is left waits one turn.

pub mod accept;
pub mod kernel;
pub mod sending;
pub mod slots;

#[cfg(test)]
mod tests;

use crate::broker::{CloseCause, HandOver, Input, Output, Outputs, PeerMessage, Shard, Verdict};
use crate::ids::{ConnectionId, ShardId, SocketHandle};
use crate::io::checker::Request;
use crate::io::host::{Seat, ToShard};
use crate::limits;
use crate::time::Time;
use accept::Accepting;
use kernel::{Completion, Kernel, Tag};
use nix::libc;
use nix::sys::socket::{setsockopt, sockopt};
use slots::{Phase, Receive, Slots, Socket, connection, tag};
use std::collections::VecDeque;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::time::Duration;

/// What the loop drives: the shard, or a double in the tests of the loop.
pub trait Core {
    fn handle(&mut self, now: Time, input: Input<'_>, out: &mut Outputs);
    fn flush(&mut self, now: Time, out: &mut Outputs);
    fn next_deadline(&self) -> Option<Time>;
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
}

/// An input that came up while outputs were carried out; it is handled when the next turn begins.
enum Later {
    /// The connection is over: its end was read, or a send failed and nothing is left to read.
    Over(Tag, CloseCause),
    Verdict(ConnectionId, Verdict),
}

/// One shard and its sockets.
pub struct Driver<C, K> {
    core: C,
    seat: Seat,
    // Before `kernel`: sockets may close while it still holds operations on them, memory may not go; it sees to its own.
    slots: Slots,
    kernel: K,
    accepting: Accepting,
    out: Outputs,
    later: VecDeque<Later>,
    /// Slots whose receive is to be looked at when the turn ends.
    touched: Vec<Tag>,
    looking_at: Vec<Tag>,
    /// Closing and lingering sockets, in the order of their deadlines.
    lingering: VecDeque<(Time, Tag)>,
    lane_messages: Vec<(ShardId, PeerMessage)>,
    mail: Vec<ToShard>,
    mail_came: bool,
    /// The kernel ran out of receive buffers.
    starved: Vec<Tag>,
    /// Peers whose lane has spilled over, as told to the shard.
    pressed: u64,
    /// The lanes held more than a turn takes.
    lanes_left: bool,
    stop_at: Option<Time>,
    now: Time,
}

impl<C: Core, K: Kernel> Driver<C, K> {
    /// Sets up the kernel's part on the calling thread and arms accepts and wake-up.
    pub fn new(core: C, seat: Seat) -> io::Result<Driver<C, K>> {
        let mut kernel = K::new(&seat.listeners)?;
        kernel.read_wake_up(seat.waker().as_fd())?;
        let accepting = Accepting::new(seat.listeners.len());
        let now = seat.clock.now();
        Ok(Driver {
            core,
            seat,
            slots: Slots::default(),
            kernel,
            accepting,
            out: Outputs::default(),
            later: VecDeque::new(),
            touched: Vec::new(),
            looking_at: Vec::new(),
            lingering: VecDeque::new(),
            lane_messages: Vec::new(),
            mail: Vec::new(),
            // What was posted before the wake-up was armed is found without one.
            mail_came: true,
            starved: Vec::new(),
            pressed: 0,
            lanes_left: false,
            stop_at: None,
            now,
        })
    }

    /// Turns until the broker stops.
    ///
    /// Errors: the kernel's part is of no use any more.
    pub fn run(&mut self) -> io::Result<()> {
        while !self.stopped() {
            self.turn()?;
        }
        Ok(())
    }

    fn stopped(&self) -> bool {
        self.stop_at
            .is_some_and(|at| self.slots.used() == 0 || self.now >= at)
    }

    fn turn(&mut self) -> io::Result<()> {
        self.accepting.arm(&mut self.kernel, self.now)?;
        self.enter()?;
        self.now = self.seat.clock.now();
        for _ in 0..self.later.len() {
            let later = self.later.pop_front();
            self.on_later(later.expect("counted"))?;
        }
        self.take_completions()?;
        self.take_lanes()?;
        self.take_mail()?;
        self.on_time()?;
        self.core.flush(self.now, &mut self.out);
        self.carry_out()?;
        self.look_at_touched()?;
        self.serve_lanes()
    }

    /// Is there something to do without waiting for the kernel?
    fn busy(&mut self) -> bool {
        !self.later.is_empty() || self.lanes_left || self.mail_came || self.kernel.has_completions()
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
            .map(|at| Duration::from_millis(at.since_ms(self.seat.clock.now())));
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
            .any(|peer| self.seat.endpoint.spilled(peer) > 0)
            .then(|| self.now + limits::SPILL_RETRY_MS);
        [
            self.core.next_deadline(),
            lingering,
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

    // What arrives

    fn take_completions(&mut self) -> io::Result<()> {
        let mut bytes = 0;
        for _ in 0..limits::COMPLETIONS_PER_TURN {
            let Some(completion) = self.kernel.next_completion() else {
                break;
            };
            match completion {
                Completion::Received { tag, result } => {
                    bytes += self.on_received(tag, result)?;
                    if bytes >= limits::RECEIVED_BYTES_PER_TURN {
                        break;
                    }
                }
                Completion::Sent { tag, result } => self.on_sent(tag, result)?,
                Completion::Accepted {
                    listener,
                    result,
                    more,
                } => {
                    let (seat, now) = (&self.seat, self.now);
                    let socket = self
                        .accepting
                        .on_accepted(listener, result, more, seat, now);
                    if let Some(socket) = socket {
                        self.on_opened(TcpStream::from(socket))?;
                    }
                }
                Completion::Shed { listener, result } => {
                    let (seat, now) = (&self.seat, self.now);
                    self.accepting.on_shed(listener, result, seat, now);
                }
                Completion::Woken { result } => {
                    self.mail_came = true;
                    match result {
                        Ok(()) | Err(libc::EINTR | libc::EAGAIN) => {
                            self.kernel.read_wake_up(self.seat.waker().as_fd())?;
                        }
                        Err(errno) => return Err(io::Error::from_raw_os_error(errno)),
                    }
                }
                Completion::Cancelled => {}
            }
        }
        Ok(())
    }

    fn on_opened(&mut self, stream: TcpStream) -> io::Result<()> {
        // It may have gone again already.
        let Ok(address) = stream.peer_addr() else {
            return Ok(());
        };
        if self.stop_at.is_some() {
            return Ok(());
        }
        let address = canonical(address);
        let Some(tag) = self.take_slot(Socket::new(stream, address, true)) else {
            return Ok(());
        };
        self.touch(tag);
        let connection = connection(tag);
        self.input(Input::Opened {
            connection,
            address,
        })
    }

    /// The slot of a new socket, if the kernel's part can take it.
    fn take_slot(&mut self, socket: Socket) -> Option<Tag> {
        let tag = self.slots.insert(socket);
        let socket = self.slots.get(tag).expect("just put there");
        match self.kernel.add(tag, socket.stream.as_fd()) {
            Ok(()) => Some(tag),
            Err(error) => {
                drop(self.slots.remove(tag));
                self.accepting.cannot_serve(&self.seat, self.now, &error);
                None
            }
        }
    }

    /// Returns the number of bytes that were received.
    fn on_received(
        &mut self,
        tag: Tag,
        result: Result<Option<K::Received>, i32>,
    ) -> io::Result<usize> {
        self.touch(tag);
        let Some(socket) = self.slots.get(tag) else {
            if let Ok(Some(received)) = result {
                self.kernel.give_back(received);
            }
            return Ok(0);
        };
        socket.receive = Receive::Off;
        let received = match result {
            Ok(Some(received)) => received,
            Ok(None) => {
                socket.ended = true;
                if matches!(socket.phase, Phase::Open) {
                    // Only when this turn has been flushed: who sends and closes at once still gets its answers.
                    let cause = socket.send_failed.unwrap_or(CloseCause::PeerClosed);
                    self.later.push_back(Later::Over(tag, cause));
                }
                return Ok(0);
            }
            Err(libc::ENOBUFS) => {
                self.starved.push(tag);
                return Ok(0);
            }
            Err(libc::ECANCELED | libc::EINTR | libc::EAGAIN) => return Ok(0),
            Err(errno) => {
                socket.ended = true;
                if matches!(socket.phase, Phase::Open) {
                    let cause = socket.send_failed.unwrap_or(cause(errno));
                    self.over(tag, cause)?;
                }
                return Ok(0);
            }
        };
        let bytes = self.kernel.bytes(&received);
        let bytes_len = bytes.len();
        match &mut socket.phase {
            Phase::Open => {
                let connection = connection(tag);
                let input = Input::Bytes { connection, bytes };
                self.core.handle(self.now, input, &mut self.out);
            }
            Phase::HandingOver { hand_over, .. } => hand_over.bytes.extend_from_slice(bytes),
            // Nobody wants to know any more.
            Phase::Closing | Phase::Lingering | Phase::Ending => {}
        }
        self.kernel.give_back(received);
        self.carry_out()?;
        Ok(bytes_len)
    }

    fn on_sent(&mut self, tag: Tag, result: Result<usize, i32>) -> io::Result<()> {
        let Some(socket) = self.slots.get(tag) else {
            panic!("a slot is kept while a send is under way");
        };
        let open = matches!(socket.phase, Phase::Open);
        match result {
            Ok(bytes) => {
                let returned = self.kernel.sent(tag.index, bytes);
                if returned.is_some() {
                    socket.sending = false;
                    if let Some(chunks) = socket.last_words.take() {
                        assert!(!open, "the last words are followed by `Close`");
                        socket.sending = true;
                        let descriptor = socket.stream.as_fd();
                        return self.kernel.send(tag, descriptor, *chunks);
                    }
                } else if matches!(socket.phase, Phase::Ending) {
                    self.kernel.end_send(tag.index);
                    socket.sending = false;
                } else {
                    self.kernel.send_rest(tag, socket.stream.as_fd())?;
                }
                if open {
                    let connection = connection(tag);
                    return self.input(Input::Sent {
                        connection,
                        bytes,
                        returned,
                    });
                }
            }
            Err(libc::EINTR | libc::EAGAIN | libc::ENOBUFS) if open => {
                let socket = socket.stream.as_fd();
                return self.kernel.send_rest(tag, socket);
            }
            Err(errno) => {
                self.kernel.end_send(tag.index);
                socket.sending = false;
                if open {
                    // The peer may have said DISCONNECT before it closed: what it sent is read first.
                    socket.send_failed = Some(cause(errno));
                } else {
                    socket.phase = Phase::Ending;
                }
            }
        }
        if matches!(socket.phase, Phase::Closing) && !socket.sending {
            self.linger(tag);
        }
        self.touch(tag);
        Ok(())
    }

    fn take_lanes(&mut self) -> io::Result<()> {
        self.lanes_left = false;
        if self.seat.endpoint.shards() == 1 {
            return Ok(());
        }
        let mut messages = std::mem::take(&mut self.lane_messages);
        let taken = self
            .seat
            .endpoint
            .receive(limits::LANE_MESSAGES_PER_TURN, |from, message| {
                messages.push((from, message));
            });
        self.lanes_left = taken == limits::LANE_MESSAGES_PER_TURN;
        for (from, message) in messages.drain(..) {
            match message {
                PeerMessage::Adopt {
                    socket,
                    address,
                    hand_over,
                } => self.on_adopt(socket, address, hand_over)?,
                message => self.input(Input::Peer { from, message })?,
            }
        }
        self.lane_messages = messages;
        Ok(())
    }

    fn on_adopt(
        &mut self,
        socket: SocketHandle,
        address: SocketAddr,
        hand_over: Box<HandOver>,
    ) -> io::Result<()> {
        let stream = TcpStream::from(socket.0);
        if self.stop_at.is_some() {
            return Ok(());
        }
        let Some(tag) = self.take_slot(Socket::new(stream, address, false)) else {
            return Ok(());
        };
        let connection = connection(tag);
        self.input(Input::Adopted {
            connection,
            address,
            hand_over,
        })
    }

    fn take_mail(&mut self) -> io::Result<()> {
        if !std::mem::take(&mut self.mail_came) {
            return Ok(());
        }
        let mut mail = std::mem::take(&mut self.mail);
        self.seat.mailbox.drain(&mut mail);
        for item in mail.drain(..) {
            match item {
                ToShard::Verdict {
                    connection,
                    verdict,
                } => self.on_later(Later::Verdict(connection, verdict))?,
                ToShard::Shutdown => self.on_shutdown()?,
            }
        }
        self.mail = mail;
        Ok(())
    }

    fn on_shutdown(&mut self) -> io::Result<()> {
        if self.stop_at.is_some() {
            return Ok(());
        }
        self.stop_at = Some(self.now + limits::SHUTDOWN_MS);
        self.accepting.stop(&mut self.kernel)?;
        self.input(Input::Shutdown)
    }

    fn on_later(&mut self, later: Later) -> io::Result<()> {
        match later {
            Later::Over(tag, cause) => match self.slots.get(tag) {
                Some(socket) if matches!(socket.phase, Phase::Open) => self.over(tag, cause),
                _ => Ok(()),
            },
            Later::Verdict(connection, verdict) => match self.slots.get(tag(connection)) {
                Some(socket) if matches!(socket.phase, Phase::Open) => self.input(Input::Verdict {
                    connection,
                    verdict,
                }),
                _ => Ok(()),
            },
        }
    }

    fn on_time(&mut self) -> io::Result<()> {
        while let Some((at, tag)) = self.lingering.front().copied() {
            if at > self.now {
                break;
            }
            self.lingering.pop_front();
            if let Some(socket) = self.slots.get(tag) {
                socket.phase = Phase::Ending;
                self.touch(tag);
            }
        }
        if self.core.next_deadline().is_some_and(|at| at <= self.now) {
            self.input(Input::Tick)?;
        }
        Ok(())
    }

    /// Gives the shard one input and carries out what follows at once, so that it never hears of a connection it has forgotten.
    fn input(&mut self, input: Input<'_>) -> io::Result<()> {
        self.core.handle(self.now, input, &mut self.out);
        self.carry_out()
    }

    /// An open connection has ended without the shard's asking.
    fn over(&mut self, tag: Tag, cause: CloseCause) -> io::Result<()> {
        let now = self.now;
        let Some(socket) = self.slots.get(tag) else {
            return Ok(());
        };
        // What is being sent may still reach a peer that has closed only its own side.
        if socket.sending && cause == CloseCause::PeerClosed {
            socket.phase = Phase::Closing;
            self.lingering.push_back((now + limits::LINGER_MS, tag));
        } else {
            socket.phase = Phase::Ending;
        }
        self.touch(tag);
        let connection = connection(tag);
        self.input(Input::Closed { connection, cause })
    }

    // What follows

    fn carry_out(&mut self) -> io::Result<()> {
        if self.out.list.is_empty() {
            return Ok(());
        }
        let mut list = std::mem::take(&mut self.out.list);
        for output in list.drain(..) {
            self.on_output(output)?;
        }
        self.out.list = list;
        Ok(())
    }

    fn on_output(&mut self, output: Output) -> io::Result<()> {
        match output {
            Output::Send { connection, chunks } => {
                let tag = tag(connection);
                if let Some(socket) = open(&mut self.slots, tag) {
                    if socket.sending {
                        socket.last_words = Some(Box::new(chunks));
                        return Ok(());
                    }
                    socket.sending = true;
                    let descriptor = socket.stream.as_fd();
                    self.kernel.send(tag, descriptor, chunks)?;
                }
            }
            Output::StopReading { connection } => {
                let tag = tag(connection);
                if let Some(socket) = open(&mut self.slots, tag) {
                    socket.reading = false;
                    self.touch(tag);
                }
            }
            Output::ResumeReading { connection } => {
                let tag = tag(connection);
                if let Some(socket) = open(&mut self.slots, tag) {
                    socket.reading = true;
                    self.touch(tag);
                }
            }
            Output::Close { connection } => {
                let (tag, at) = (tag(connection), self.now + limits::LINGER_MS);
                if let Some(socket) = open(&mut self.slots, tag) {
                    socket.phase = Phase::Closing;
                    self.lingering.push_back((at, tag));
                    if !socket.sending {
                        self.linger(tag);
                    }
                    self.touch(tag);
                }
            }
            Output::ProbePeer { connection } => {
                if let Some(socket) = open(&mut self.slots, tag(connection)) {
                    // A socket that takes no options has ended already, as its receive will tell.
                    let _ = probe_peer(&socket.stream);
                }
            }
            Output::Authenticate {
                connection,
                user_name,
                password,
            } => {
                let request = Request {
                    shard: self.seat.id,
                    connection,
                    user_name,
                    password,
                    asked: self.now,
                };
                let refused = match &self.seat.checker {
                    Some(checker) if checker.ask(request) => None,
                    Some(_) => Some(Verdict::Busy),
                    // Without a password file there are no users.
                    None => Some(Verdict::UnknownUser),
                };
                if let Some(verdict) = refused {
                    self.later.push_back(Later::Verdict(connection, verdict));
                }
            }
            Output::HandOver {
                connection,
                to,
                hand_over,
            } => {
                let tag = tag(connection);
                if let Some(socket) = open(&mut self.slots, tag) {
                    assert!(!socket.sending, "nothing is sent before the hand-over");
                    socket.phase = Phase::HandingOver { to, hand_over };
                    self.touch(tag);
                }
            }
            Output::Peer { to, message } => self.seat.endpoint.send(to, message),
            Output::Log { level, text } => self.seat.log.line(level, text),
        }
        Ok(())
    }

    /// The last bytes are on their way: closes our side and waits for the peer's end.
    fn linger(&mut self, tag: Tag) {
        let Some(socket) = self.slots.get(tag) else {
            return;
        };
        let closed = socket.stream.shutdown(Shutdown::Write);
        socket.phase = if socket.ended || closed.is_err() {
            Phase::Ending
        } else {
            Phase::Lingering
        };
    }

    fn touch(&mut self, tag: Tag) {
        if let Some(socket) = self.slots.get(tag)
            && !socket.touched
        {
            socket.touched = true;
            self.touched.push(tag);
        }
    }

    /// Arms and cancels receives as the turn has left things, and lets go of what is over.
    fn look_at_touched(&mut self) -> io::Result<()> {
        if !self.starved.is_empty() {
            self.kernel.add_buffers();
            // First of all, or those who got a buffer in this turn would take them all again in the next.
            for tag in std::mem::take(&mut self.starved) {
                self.look_at(tag)?;
            }
        }
        let mut looking_at =
            std::mem::replace(&mut self.touched, std::mem::take(&mut self.looking_at));
        for tag in looking_at.drain(..) {
            if let Some(socket) = self.slots.get(tag) {
                socket.touched = false;
                self.look_at(tag)?;
            }
        }
        self.looking_at = looking_at;
        Ok(())
    }

    fn look_at(&mut self, tag: Tag) -> io::Result<()> {
        let Some(socket) = self.slots.get(tag) else {
            return Ok(());
        };
        let wanted = match &socket.phase {
            Phase::Open => socket.reading && !socket.ended,
            Phase::Closing | Phase::Lingering => !socket.ended,
            Phase::HandingOver { .. } | Phase::Ending => false,
        };
        match (socket.receive, wanted) {
            (Receive::Off, true) => {
                if !self.kernel.has_buffers() {
                    // Those that are held come back when the completions still waiting are handled.
                    self.touch(tag);
                    return Ok(());
                }
                socket.receive = Receive::Armed;
                let descriptor = socket.stream.as_fd();
                return self.kernel.receive(tag, descriptor);
            }
            (Receive::Armed, false) => {
                socket.receive = Receive::Cancelling;
                self.kernel.cancel_receive(tag)?;
            }
            _ => {}
        }
        self.let_go(tag)
    }

    /// Ends the use of a slot whose time has come, as soon as the kernel holds nothing of it.
    fn let_go(&mut self, tag: Tag) -> io::Result<()> {
        let Some(socket) = self.slots.get(tag) else {
            return Ok(());
        };
        match socket.phase {
            Phase::Ending if socket.sending => self.kernel.cancel_send(tag),
            Phase::Ending if socket.idle() => {
                drop(self.slots.remove(tag));
                Ok(())
            }
            Phase::HandingOver { .. } if socket.idle() => {
                self.hand_over(tag);
                Ok(())
            }
            Phase::Open if socket.receive == Receive::Off && !socket.ended => {
                if let Some(cause) = socket.send_failed
                    && !socket.reading
                {
                    self.later.push_back(Later::Over(tag, cause));
                }
                Ok(())
            }
            Phase::Lingering if socket.ended => {
                socket.phase = Phase::Ending;
                self.let_go(tag)
            }
            _ => Ok(()),
        }
    }

    fn hand_over(&mut self, tag: Tag) {
        let socket = self.slots.remove(tag);
        self.kernel.remove(tag, socket.stream.as_fd());
        let Phase::HandingOver { to, hand_over } = socket.phase else {
            panic!("only a socket that is handed over comes here");
        };
        if self.stop_at.is_some() {
            return;
        }
        let message = PeerMessage::Adopt {
            socket: SocketHandle(socket.stream.into()),
            address: socket.address,
            hand_over,
        };
        self.seat.endpoint.send(to, message);
    }

    /// Moves what spilled, tells the shard which lanes are full, wakes the peers that were given something.
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
            if !pressed && spilled > limits::SPILL_HIGH || pressed && spilled < limits::SPILL_LOW {
                self.pressed ^= peer.bit();
                let on = !pressed;
                self.input(Input::Pressure { to: peer, on })?;
            }
        }
        Ok(())
    }
}

/// The socket of a connection the shard knows; outputs for others come too late.
fn open(slots: &mut Slots, tag: Tag) -> Option<&mut Socket> {
    let socket = slots.get(tag);
    debug_assert!(
        socket.is_some(),
        "the shard names a connection that is gone"
    );
    socket.filter(|socket| matches!(socket.phase, Phase::Open))
}

fn cause(errno: i32) -> CloseCause {
    match errno {
        libc::ECONNRESET | libc::EPIPE => CloseCause::Reset,
        libc::ETIMEDOUT | libc::EHOSTUNREACH | libc::ENETUNREACH => CloseCause::TimedOut,
        errno => CloseCause::Error(errno),
    }
}

/// An IPv4 peer of an IPv6 socket is shown as what it is.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Lets TCP find out that the peer is gone: by probes when nothing is sent, by a time limit when something is.
fn probe_peer(stream: &TcpStream) -> nix::Result<()> {
    setsockopt(stream, sockopt::KeepAlive, &true)?;
    setsockopt(stream, sockopt::TcpKeepIdle, &limits::TCP_PROBE_IDLE_S)?;
    setsockopt(
        stream,
        sockopt::TcpKeepInterval,
        &limits::TCP_PROBE_INTERVAL_S,
    )?;
    setsockopt(stream, sockopt::TcpKeepCount, &limits::TCP_PROBE_COUNT)?;
    setsockopt(
        stream,
        sockopt::TcpUserTimeout,
        &limits::TCP_USER_TIMEOUT_MS,
    )
}
