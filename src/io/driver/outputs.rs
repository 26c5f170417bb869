//! What a turn leads to: the shard's outputs are carried out, receives are armed, sockets are closed.

use super::kernel::Kernel;
use super::sockets::{Receive, Send, Socket, SocketState, Sockets};
use super::{Core, Driver, Later, spare_memory};
use crate::broker::{Input, Output, Verdict};
use crate::ids::ConnectionId;
use crate::io::crossing::Crossing;
use crate::io::helpers::passwords::{Reply, Request};
use crate::limits;
use nix::sys::socket::{Shutdown, setsockopt, shutdown, sockopt};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

impl<C: Core, K: Kernel> Driver<C, K> {
    /// Ends the turn of the shard. Answers that wait for the store leave in the turn that has made the changes, if the
    /// journal has them.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        loop {
            self.core.flush(self.now, &mut self.out);
            self.carry_out()?;
            if let Some(state) = self.storing.news() {
                self.input(Input::Store(state))?;
            }
            match self.storing.kept(self.now) {
                Some(sequence) => self.input(Input::Kept { sequence })?,
                None => return Ok(()),
            }
        }
    }

    pub(super) fn carry_out(&mut self) -> io::Result<()> {
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
                let Some(socket) = open(&mut self.sockets, connection) else {
                    return Ok(());
                };
                if socket.link.is_bridged() {
                    return self.send_over_bridge(connection, chunks);
                }
                if let Some(chunks) = socket.seal_or_keep(chunks, &mut self.scratch) {
                    self.kernel.send(connection, socket.link.as_fd(), chunks)?;
                }
            }
            Output::StopReading { connection } => {
                if let Some(socket) = open(&mut self.sockets, connection) {
                    socket.reading = false;
                    self.touch(connection);
                    self.bridge_reads(connection, false);
                }
            }
            Output::ResumeReading { connection } => {
                if let Some(socket) = open(&mut self.sockets, connection) {
                    socket.reading = true;
                    self.touch(connection);
                    self.bridge_reads(connection, true);
                }
            }
            Output::ReadLarge { connection, on } => {
                if let Some(socket) = open(&mut self.sockets, connection) {
                    socket.large = on;
                }
            }
            Output::Close {
                connection,
                at_once,
            } => {
                let at = self.now + limits::LINGER_MS;
                if let Some(socket) = open(&mut self.sockets, connection) {
                    let sending = socket.send != Send::Off;
                    if !sending {
                        socket.link.farewell(&mut self.scratch);
                    }
                    if at_once && !sending && !socket.link.has_own_bytes() {
                        socket.state = SocketState::Ending;
                    } else {
                        socket.state = SocketState::Closing;
                        self.lingering.push_back((at, connection));
                        if !sending {
                            self.linger(connection)?;
                        }
                    }
                    self.touch(connection);
                }
            }
            Output::ProbePeer { connection } => {
                // A bridge has its own terms for that.
                if let Some(socket) = open(&mut self.sockets, connection)
                    && !socket.link.is_bridged()
                {
                    // A socket that refuses options has ended already; its receive will report it.
                    let _ = probe_peer(socket.link.as_fd());
                }
            }
            Output::Authenticate {
                connection,
                user_name,
                password,
            } => {
                let Some(socket) = self.sockets.get(connection) else {
                    return Ok(());
                };
                let request = Request {
                    reply: Reply::Shard {
                        shard: self.seat.id,
                        connection,
                    },
                    listener: socket.link.listener,
                    address: socket.link.address.ip(),
                    user_name,
                    password,
                    asked: self.now,
                };
                match &self.seat.common.checker {
                    Some(checker) => checker.ask(request),
                    None => {
                        // Without a password file there are no users.
                        let verdict = Later::Verdict(connection, Verdict::UnknownUser);
                        self.later.push_back(verdict);
                    }
                }
            }
            Output::HandOver {
                connection,
                to,
                hand_over,
            } => {
                if let Some(socket) = open(&mut self.sockets, connection) {
                    assert!(
                        socket.send != Send::Shards,
                        "the shard sends nothing before the hand-over"
                    );
                    socket.state = SocketState::HandingOver { to, hand_over };
                    self.touch(connection);
                }
            }
            Output::Peer { to, message } => self.seat.endpoint.send(to, Crossing::Said(message)),
            Output::Report(report) => {
                if let Some(reply) = self.askers.pop_front() {
                    // The asker may have stopped waiting.
                    let _ = reply.send(report);
                }
            }
            Output::Changes { sequence, changes } => {
                self.storing.on_changes(sequence, &changes, self.now);
            }
            Output::Restored => self.storing.on_restored(),
            Output::SysWanted => self.seat.common.sys.wake(),
            Output::GiveMemoryBack => {
                self.scratch.shrink();
                spare_memory::give_back();
            }
            Output::Happened(happening) => {
                self.seat.common.log.happened(&happening);
                self.seat.common.recent.note(happening);
            }
        }
        Ok(())
    }

    /// Sends the link's farewell. When that has been sent: closes our side and waits for the peer's end. No send may be
    /// under way.
    pub(super) fn linger(&mut self, connection: ConnectionId) -> io::Result<()> {
        let Some(socket) = self.sockets.get(connection) else {
            return Ok(());
        };
        socket.link.farewell(&mut self.scratch);
        if let Some(chunks) = socket.next_send(&mut self.scratch) {
            return self.kernel.send(connection, socket.link.as_fd(), chunks);
        }
        let closed = shutdown(socket.link.as_fd().as_raw_fd(), Shutdown::Write);
        socket.state = if socket.ended || closed.is_err() {
            SocketState::Ending
        } else {
            SocketState::Lingering
        };
        Ok(())
    }

    /// Notes that the receive of this socket is to be looked at when the turn ends.
    pub(super) fn touch(&mut self, connection: ConnectionId) {
        if let Some(socket) = self.sockets.get(connection)
            && !socket.touched
        {
            socket.touched = true;
            self.touched.push(connection);
        }
    }

    /// Looks at every socket that was touched: arms and cancels receives, and drops or hands over sockets, as this turn
    /// has decided.
    pub(super) fn look_at_touched(&mut self) -> io::Result<()> {
        if !self.starved.is_empty() {
            self.kernel.add_buffers();
            // Armed first: otherwise connections that got a buffer in this turn would take all buffers in the next too.
            for connection in std::mem::take(&mut self.starved) {
                self.look_at(connection)?;
            }
        }
        let mut looking_at =
            std::mem::replace(&mut self.touched, std::mem::take(&mut self.looking_at));
        for connection in looking_at.drain(..) {
            if let Some(socket) = self.sockets.get(connection) {
                socket.touched = false;
                self.look_at(connection)?;
            }
        }
        self.looking_at = looking_at;
        Ok(())
    }

    fn look_at(&mut self, connection: ConnectionId) -> io::Result<()> {
        let Some(socket) = self.sockets.get(connection) else {
            return Ok(());
        };
        let wanted = match &socket.state {
            // A bridge says itself how much may wait for the shard.
            SocketState::Open if socket.link.is_bridged() => {
                !socket.ended && !socket.link.is_held()
            }
            SocketState::Open => socket.reading && !socket.ended && !socket.away,
            SocketState::Closing | SocketState::Lingering => !socket.ended,
            SocketState::HandingOver { .. } | SocketState::Ending => false,
        };
        match (socket.receive, wanted) {
            (Receive::Off, true) => {
                if !socket.large && !self.kernel.has_buffers() {
                    // Buffers come back when the completions that still wait are handled: try again next turn.
                    self.touch(connection);
                    return Ok(());
                }
                socket.receive = Receive::Armed;
                let descriptor = socket.link.as_fd();
                return self.kernel.receive(connection, descriptor, socket.large);
            }
            (Receive::Armed, false) => {
                socket.receive = Receive::Cancelling;
                self.kernel.cancel_receive(connection)?;
            }
            _ => {}
        }
        self.let_go(connection)
    }

    /// Drops or hands over a socket that is to go, as soon as the kernel holds no operation of it.
    fn let_go(&mut self, connection: ConnectionId) -> io::Result<()> {
        let Some(socket) = self.sockets.get(connection) else {
            return Ok(());
        };
        match socket.state {
            SocketState::Ending if socket.send != Send::Off => self.kernel.cancel_send(connection),
            SocketState::Ending if socket.idle() => {
                let socket = self.sockets.remove(connection);
                self.seat.common.places.give_back(socket.link.listener);
                Ok(())
            }
            SocketState::HandingOver { .. } if socket.idle() => {
                self.hand_over(connection);
                Ok(())
            }
            SocketState::Open if socket.receive == Receive::Off && !socket.ended => {
                if let Some(cause) = socket.send_failed
                    && !socket.reading
                {
                    self.later.push_back(Later::Over(connection, cause));
                }
                Ok(())
            }
            SocketState::Lingering if socket.ended => {
                socket.state = SocketState::Ending;
                self.let_go(connection)
            }
            _ => Ok(()),
        }
    }

    /// Sends the link and all that the shard has given up through the lane to the home of the Session.
    fn hand_over(&mut self, connection: ConnectionId) {
        let socket = self.sockets.remove(connection);
        self.kernel.remove(connection, socket.link.as_fd());
        let SocketState::HandingOver { to, hand_over } = socket.state else {
            panic!("only a socket that is handed over comes here");
        };
        if self.stop_at.is_some() {
            return;
        }
        let crossing = Crossing::Adopt(Box::new(socket.link), hand_over);
        self.seat.endpoint.send(to, crossing);
    }
}

/// The socket of this connection, if it is open. Otherwise the output comes too late and is dropped.
fn open(sockets: &mut Sockets, connection: ConnectionId) -> Option<&mut Socket> {
    let socket = sockets.get(connection);
    debug_assert!(
        socket.is_some(),
        "the shard names a connection that is gone"
    );
    socket.filter(|socket| matches!(socket.state, SocketState::Open))
}

/// Lets TCP find out that the peer is gone: by probes when nothing is sent, by a time limit when something is.
fn probe_peer(socket: BorrowedFd<'_>) -> nix::Result<()> {
    setsockopt(&socket, sockopt::KeepAlive, &true)?;
    setsockopt(&socket, sockopt::TcpKeepIdle, &limits::TCP_PROBE_IDLE_S)?;
    setsockopt(
        &socket,
        sockopt::TcpKeepInterval,
        &limits::TCP_PROBE_INTERVAL_S,
    )?;
    setsockopt(&socket, sockopt::TcpKeepCount, &limits::TCP_PROBE_COUNT)?;
    setsockopt(
        &socket,
        sockopt::TcpUserTimeout,
        &limits::TCP_USER_TIMEOUT_MS,
    )
}
