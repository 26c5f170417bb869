//! What arrives in a turn: completions, lane messages, mail, and deadlines that have passed.

use super::accept::Newcomer;
use super::kernel::{Completion, Kernel};
use super::sockets::{Receive, Send, Socket, SocketState};
use super::{Core, Driver, Later};
use crate::broker::{CloseCause, HandOver, Input, Outputs};
use crate::ids::ConnectionId;
use crate::io::crossing::Crossing;
use crate::io::helpers::handshakes::Step;
use crate::io::link::{Broken, Handshake, Link, Peer};
use crate::io::mail::ToShard;
use crate::limits;
use crate::mesh::Admitted;
use crate::time::Time;
use nix::libc;
use std::io;
use std::os::fd::AsFd;

/// Turns until a connection that was handed over is taken in. Of two turns, at least one asks the kernel.
const ADOPTED_AFTER: u64 = 2;

impl<C: Core, K: Kernel> Driver<C, K> {
    pub(super) fn take_completions(&mut self) -> io::Result<()> {
        let mut bytes = 0;
        for _ in 0..limits::COMPLETIONS_PER_TURN {
            let Some(completion) = self.kernel.next_completion() else {
                break;
            };
            match completion {
                Completion::Received { connection, result } => {
                    bytes += self.on_received(connection, result)?;
                    if bytes >= limits::RECEIVED_BYTES_PER_TURN {
                        break;
                    }
                }
                Completion::Sent { connection, result } => self.on_sent(connection, result)?,
                Completion::Accepted {
                    listener,
                    result,
                    more,
                } => {
                    let (seat, now) = (&self.seat, self.now);
                    let newcomer = self
                        .accepting
                        .on_accepted(listener, result, more, seat, now);
                    if let Some(newcomer) = newcomer {
                        self.on_opened(newcomer)?;
                    }
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

    fn on_opened(&mut self, newcomer: Newcomer) -> io::Result<()> {
        let Newcomer { link, admitted } = newcomer;
        let (address, listener) = (link.address, link.listener);
        let (checked, bridged) = (link.wants_checks(), link.is_bridged());
        let Some(connection) = self.take_slot(Socket::new(link, true)) else {
            return Ok(());
        };
        if bridged {
            self.add_bridge(connection);
        }
        if checked {
            self.checks.add(connection, self.now);
        }
        self.touch(connection);
        self.input(Input::Opened {
            connection,
            address,
            listener,
            crowded: admitted == Admitted::Extra,
        })
    }

    /// A connection of this process's own. It counts like every other; dropped, its other end sees it closed.
    fn on_connected(&mut self, link: Link) -> io::Result<()> {
        if self.stop_at.is_some() {
            return Ok(());
        }
        match self.seat.common.places.take(link.listener) {
            Some(_) => self.on_opened(Newcomer {
                link,
                admitted: Admitted::Within,
            }),
            None => Ok(()),
        }
    }

    /// Puts a new socket into a slot. `None`: the kernel could not take it.
    fn take_slot(&mut self, socket: Socket) -> Option<ConnectionId> {
        let connection = self.sockets.insert(socket);
        let socket = self.sockets.get(connection).expect("just put there");
        match self.kernel.add(connection, socket.link.as_fd()) {
            Ok(()) => Some(connection),
            Err(error) => {
                let socket = self.sockets.remove(connection);
                self.seat.common.places.give_back(socket.link.listener);
                self.accepting.cannot_serve(&self.seat, self.now, &error);
                None
            }
        }
    }

    /// Returns the number of bytes that were received.
    fn on_received(
        &mut self,
        connection: ConnectionId,
        result: Result<Option<K::Received>, i32>,
    ) -> io::Result<usize> {
        self.touch(connection);
        let Some(socket) = self.sockets.get(connection) else {
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
                if matches!(socket.state, SocketState::Open) {
                    // Not before this turn has been flushed: a Client that sends and closes at once still gets its
                    // answers.
                    let cause = socket.send_failed.unwrap_or(CloseCause::PeerClosed);
                    self.later.push_back(Later::Over(connection, cause));
                }
                return Ok(0);
            }
            Err(libc::ENOBUFS) => {
                self.starved.push(connection);
                return Ok(0);
            }
            Err(libc::ECANCELED | libc::EINTR | libc::EAGAIN) => return Ok(0),
            Err(errno) => {
                socket.ended = true;
                if matches!(socket.state, SocketState::Open) {
                    let cause = socket.send_failed.unwrap_or(cause(errno));
                    self.over(connection, cause)?;
                }
                return Ok(0);
            }
        };
        let bytes = self.kernel.bytes(&received);
        let bytes_len = bytes.len();
        let mut broken = None;
        match &mut socket.state {
            SocketState::Open => {
                let (bytes, fault) = socket.link.open(bytes, &mut self.scratch);
                broken = fault;
                let (core, out) = (&mut self.core, &mut self.out);
                tell(core, self.now, out, connection, &mut socket.link, bytes);
            }
            SocketState::HandingOver { hand_over, .. } => {
                let (bytes, fault) = socket.link.open(bytes, &mut self.scratch);
                broken = fault;
                hand_over.bytes.extend_from_slice(bytes);
            }
            // The connection is over, so the bytes are dropped.
            SocketState::Closing | SocketState::Lingering | SocketState::Ending => {}
        }
        self.kernel.give_back(received);
        let concerned = broken.is_some() || socket.link.needs_attention();
        self.carry_out()?;
        if concerned {
            self.after_open(connection, broken)?;
        }
        Ok(bytes_len)
    }

    /// Does what a link asks for: a step of its handshake elsewhere, bytes of its own, its end.
    #[cold]
    pub(super) fn after_open(
        &mut self,
        connection: ConnectionId,
        mut broken: Option<Broken>,
    ) -> io::Result<()> {
        let Some(socket) = self.sockets.get(connection) else {
            return Ok(());
        };
        if let Some(handshake) = socket.link.take_handshake() {
            socket.away = true;
            let step = Step {
                shard: self.seat.id,
                connection,
                address: socket.link.address.ip(),
                handshake,
            };
            self.seat.common.handshakes.ask(step);
        }
        if let Some(user_name) = socket.link.take_user_name() {
            let input = Input::Identified {
                connection,
                user_name,
            };
            self.core.handle(self.now, input, &mut self.out);
        }
        if socket.link.has_more() && !matches!(socket.state, SocketState::HandingOver { .. }) {
            let (bytes, fault) = socket.link.open(&[], &mut self.scratch);
            broken = broken.or(fault);
            let (core, out) = (&mut self.core, &mut self.out);
            tell(core, self.now, out, connection, &mut socket.link, bytes);
            self.carry_out()?;
            self.attend_to_rest(connection);
        }
        let Some(socket) = self.sockets.get(connection) else {
            return Ok(());
        };
        if socket.send == Send::Off
            && let Some(chunks) = socket.next_send(&mut self.scratch)
        {
            self.kernel.send(connection, socket.link.as_fd(), chunks)?;
        }
        socket.ended |= broken.is_some() || socket.link.has_ended();
        match (&socket.state, broken) {
            (SocketState::Open, Some(Broken(reason))) => {
                self.over(connection, CloseCause::Transport(reason))
            }
            (SocketState::HandingOver { .. }, Some(_)) => {
                socket.state = SocketState::Ending;
                Ok(())
            }
            (SocketState::Open, None) if socket.ended => {
                self.later
                    .push_back(Later::Over(connection, CloseCause::PeerClosed));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// A helper has done a step of a handshake.
    fn on_handshake(
        &mut self,
        connection: ConnectionId,
        handshake: Box<Handshake>,
    ) -> io::Result<()> {
        self.touch(connection);
        let Some(socket) = self.sockets.get(connection) else {
            return Ok(());
        };
        socket.away = false;
        if !matches!(socket.state, SocketState::Open) {
            return Ok(());
        }
        let broken = socket.link.end_handshake(handshake).err();
        self.after_open(connection, broken)?;
        self.carry_out()
    }

    fn on_sent(&mut self, connection: ConnectionId, result: Result<usize, i32>) -> io::Result<()> {
        let Some(socket) = self.sockets.get(connection) else {
            panic!("a slot is kept while a send is under way");
        };
        let open = matches!(socket.state, SocketState::Open);
        match result {
            Ok(bytes) => {
                let mut returned = self.kernel.sent(connection.index, bytes);
                let of_shard = matches!(socket.send, Send::Shards | Send::Rest);
                let bytes = if of_shard {
                    socket.link.sent(bytes, returned.is_some())
                } else {
                    0
                };
                let ending = matches!(socket.state, SocketState::Ending);
                if returned.is_some() {
                    socket.send = Send::Off;
                    if !ending && let Some(chunks) = socket.next_send(&mut self.scratch) {
                        self.kernel.send(connection, socket.link.as_fd(), chunks)?;
                    }
                    if socket.send == Send::Rest {
                        // For the shard its send is still under way.
                        returned = None;
                    }
                } else if ending {
                    self.kernel.end_send(connection.index);
                    socket.send = Send::Off;
                } else {
                    self.kernel.send_rest(connection, socket.link.as_fd())?;
                }
                if open && of_shard {
                    return self.input(Input::Sent {
                        connection,
                        bytes,
                        returned,
                    });
                }
            }
            // Also in the last bytes before a close; `lingering` bounds their time.
            Err(libc::EINTR | libc::EAGAIN | libc::ENOBUFS)
                if !matches!(socket.state, SocketState::Ending) =>
            {
                let socket = socket.link.as_fd();
                return self.kernel.send_rest(connection, socket);
            }
            Err(errno) => {
                self.kernel.end_send(connection.index);
                socket.send = Send::Off;
                socket.waiting = None;
                if open {
                    // The peer may have said DISCONNECT before it closed: what it sent is read first.
                    socket.send_failed = Some(cause(errno));
                } else {
                    socket.state = SocketState::Ending;
                }
            }
        }
        if matches!(socket.state, SocketState::Closing) && socket.send == Send::Off {
            self.linger(connection)?;
        }
        self.touch(connection);
        Ok(())
    }

    pub(super) fn take_lanes(&mut self) -> io::Result<()> {
        self.lanes_left = false;
        if self.seat.endpoint.shards() == 1 {
            return Ok(());
        }
        let mut crossings = std::mem::take(&mut self.crossings);
        for _ in 0..limits::LANE_MESSAGES_PER_TURN / limits::LANE_MESSAGES_AT_ONCE {
            let taken =
                self.seat
                    .endpoint
                    .receive(limits::LANE_MESSAGES_AT_ONCE, |from, crossing| {
                        crossings.push((from, crossing));
                    });
            self.lanes_left = taken == limits::LANE_MESSAGES_AT_ONCE;
            for (from, crossing) in crossings.drain(..) {
                match crossing {
                    Crossing::Adopt(link, hand_over) => {
                        let turn = self.turns + ADOPTED_AFTER;
                        self.adopting.push_back((turn, link, hand_over));
                    }
                    Crossing::Said(message) => self.input(Input::Peer { from, message })?,
                }
            }
            if !self.lanes_left || self.core.is_spent() {
                break;
            }
        }
        self.crossings = crossings;
        Ok(())
    }

    /// Takes in the connections handed over some turns ago. A Client that says DISCONNECT and comes back at once, by
    /// way of another shard, may be here before its DISCONNECT has been received; by now it has, so the new
    /// connection finds what the old one has left.
    pub(super) fn take_adopted(&mut self) -> io::Result<()> {
        while self
            .adopting
            .front()
            .is_some_and(|(turn, ..)| *turn <= self.turns)
        {
            let (_, link, hand_over) = self.adopting.pop_front().expect("it is there");
            self.on_adopt(*link, hand_over)?;
        }
        Ok(())
    }

    fn on_adopt(&mut self, link: Link, hand_over: Box<HandOver>) -> io::Result<()> {
        let (address, listener, ended) = (link.address, link.listener, link.has_ended());
        let (checked, kept) = (link.wants_checks(), link.kept_bytes());
        let bridged = link.is_bridged();
        if self.stop_at.is_some() {
            return Ok(());
        }
        let Some(connection) = self.take_slot(Socket::new(link, false)) else {
            return Ok(());
        };
        if ended {
            let over = Later::Over(connection, CloseCause::PeerClosed);
            self.later.push_back(over);
        }
        if checked {
            self.checks.add(connection, self.now);
        }
        if bridged {
            self.add_bridge(connection);
        }
        self.input(Input::Adopted {
            connection,
            address,
            listener,
            hand_over,
        })?;
        // The connection may have been refused and closed.
        let open = self.sockets.get(connection);
        if kept > 0 && open.is_some_and(|socket| matches!(socket.state, SocketState::Open)) {
            let bytes = kept;
            self.input(Input::LinkBytes { connection, bytes })?;
        }
        Ok(())
    }

    pub(super) fn take_mail(&mut self) -> io::Result<()> {
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
                ToShard::Handshake {
                    connection,
                    handshake,
                } => self.on_handshake(connection, handshake)?,
                ToShard::Connected(link) => self.on_connected(*link)?,
                ToShard::Bridges => self.attend_to_bridges(),
                ToShard::Publish(message) => self.input(Input::Publish(message))?,
                ToShard::Survey { survey, reply } => {
                    self.askers.push_back(reply);
                    self.input(Input::Survey(survey))?;
                }
                ToShard::Order { order, reply } => {
                    self.askers.push_back(reply);
                    self.input(Input::Order(order))?;
                }
                // It fails only when 2^64 - 2 answers wait to be read.
                ToShard::AreYouThere(answer) => drop(answer.write(1)),
                ToShard::Rules(rules) => self.input(Input::Rules(rules))?,
                ToShard::Settings(settings) => self.input(Input::Settings(settings))?,
                ToShard::Restore(restore) => self.storing.on_restore(*restore),
                ToShard::Serve => self.storing.serves = true,
                ToShard::Stored(progress) => self.storing.on_progress(progress),
                ToShard::UsersGone(users) => self.input(Input::UsersGone(users))?,
                ToShard::Shutdown => self.on_shutdown()?,
            }
        }
        self.mail = mail;
        Ok(())
    }

    /// Gives the shard one piece of what the store remembers.
    pub(super) fn take_restored(&mut self) -> io::Result<()> {
        match self.storing.next_chunk() {
            Some(chunk) => self.input(Input::Restored(Box::new(chunk))),
            None => Ok(()),
        }
    }

    fn on_shutdown(&mut self) -> io::Result<()> {
        if self.stop_at.is_some() {
            return Ok(());
        }
        self.stop_at = Some(self.now + limits::SHUTDOWN_MS);
        self.accepting.stop(&mut self.kernel)?;
        self.input(Input::Shutdown)
    }

    pub(super) fn on_later(&mut self, later: Later) -> io::Result<()> {
        match later {
            Later::Over(connection, cause) => match self.sockets.get(connection) {
                Some(socket) if matches!(socket.state, SocketState::Open) => {
                    self.over(connection, cause)
                }
                _ => Ok(()),
            },
            Later::Bridge(connection) => self.attend_to_bridge(connection),
            Later::Verdict(connection, verdict) => match self.sockets.get(connection) {
                Some(socket) if matches!(socket.state, SocketState::Open) => {
                    self.input(Input::Verdict {
                        connection,
                        verdict,
                    })
                }
                _ => Ok(()),
            },
        }
    }

    pub(super) fn on_time(&mut self) -> io::Result<()> {
        while let Some((at, connection)) = self.lingering.front().copied() {
            if at > self.now {
                break;
            }
            self.lingering.pop_front();
            if let Some(socket) = self.sockets.get(connection) {
                socket.state = SocketState::Ending;
                self.touch(connection);
            }
        }
        while let Some(connection) = self.checks.next_due(self.now) {
            self.check_link(connection)?;
        }
        if self.core.next_deadline().is_some_and(|at| at <= self.now) {
            self.input(Input::Tick)?;
        }
        Ok(())
    }

    /// Looks at a link that may have something to say when nothing was sent for long.
    fn check_link(&mut self, connection: ConnectionId) -> io::Result<()> {
        let Some(socket) = self.sockets.get(connection) else {
            return Ok(());
        };
        // One that is handed over is looked at by the shard that takes it in.
        if !matches!(socket.state, SocketState::Open) || !socket.link.wants_checks() {
            return Ok(());
        }
        self.checks.add(connection, self.now);
        if socket.send == Send::Off {
            socket.link.check();
            if let Some(chunks) = socket.next_send(&mut self.scratch) {
                self.kernel.send(connection, socket.link.as_fd(), chunks)?;
            }
        }
        Ok(())
    }

    /// Gives the shard one input and carries out its outputs at once, so that no later input names a connection that
    /// the shard has closed.
    pub(super) fn input(&mut self, input: Input<'_>) -> io::Result<()> {
        self.core.handle(self.now, input, &mut self.out);
        self.carry_out()
    }

    /// An open connection has ended, and not because the shard closed it.
    fn over(&mut self, connection: ConnectionId, cause: CloseCause) -> io::Result<()> {
        let Some(socket) = self.sockets.get(connection) else {
            return Ok(());
        };
        if socket.link.is_bridged() {
            return self.over_bridge(connection, cause);
        }
        self.over_plainly(connection, cause)
    }

    pub(super) fn over_plainly(
        &mut self,
        connection: ConnectionId,
        cause: CloseCause,
    ) -> io::Result<()> {
        let now = self.now;
        let Some(socket) = self.sockets.get(connection) else {
            return Ok(());
        };
        // A peer that has closed only its own side, or whose link broke, may still take what is being sent and what
        // the link says last.
        let may_listen = matches!(cause, CloseCause::PeerClosed | CloseCause::Transport(_));
        if may_listen && socket.send == Send::Off {
            socket.link.farewell(&mut self.scratch);
            if let Some(chunks) = socket.next_send(&mut self.scratch) {
                self.kernel.send(connection, socket.link.as_fd(), chunks)?;
            }
        }
        if may_listen && socket.send != Send::Off {
            socket.state = SocketState::Closing;
            self.lingering
                .push_back((now + limits::LINGER_MS, connection));
        } else {
            socket.state = SocketState::Ending;
        }
        self.touch(connection);
        self.input(Input::Closed { connection, cause })
    }
}

/// Gives the shard what a link has learned, and the bytes of MQTT it has opened.
#[inline]
pub(super) fn tell<C: Core>(
    core: &mut C,
    now: Time,
    out: &mut Outputs,
    connection: ConnectionId,
    link: &mut Link,
    bytes: &[u8],
) {
    if let Some(bytes) = link.kept_change() {
        core.handle(now, Input::LinkBytes { connection, bytes }, out);
    }
    if let Some(Peer { address, user_name }) = link.take_peer() {
        let input = Input::Address {
            connection,
            address,
        };
        core.handle(now, input, out);
        if let Some(user_name) = user_name {
            let input = Input::Identified {
                connection,
                user_name,
            };
            core.handle(now, input, out);
        }
    }
    if !bytes.is_empty() {
        core.handle(now, Input::Bytes { connection, bytes }, out);
    }
}

fn cause(errno: i32) -> CloseCause {
    match errno {
        libc::ECONNRESET | libc::EPIPE => CloseCause::Reset,
        libc::ETIMEDOUT | libc::EHOSTUNREACH | libc::ENETUNREACH => CloseCause::TimedOut,
        errno => CloseCause::Error(errno),
    }
}
