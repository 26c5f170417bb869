//! Connections of bridges whose packets this shard carries ([`bridged`](crate::io::link::bridged)). They have something
//! for the shard when nothing was received, too, and take what it sends at once.

use super::inputs::tell;
use super::kernel::Kernel;
use super::sockets::{Send, SocketState};
use super::{Core, Driver, Later};
use crate::broker::{CloseCause, Input};
use crate::buffer::Chunks;
use crate::ids::ConnectionId;
use nix::libc;
use std::io;
use std::os::fd::AsFd;

impl<C: Core, K: Kernel> Driver<C, K> {
    /// A connection of a bridge is new here.
    pub(super) fn add_bridge(&mut self, connection: ConnectionId) {
        let Driver {
            bridges, sockets, ..
        } = self;
        bridges.retain(|of| sockets.get(*of).is_some());
        bridges.push(connection);
        self.attend_later(connection);
    }

    /// All are looked at in the next turn.
    pub(super) fn attend_to_bridges(&mut self) {
        for index in 0..self.bridges.len() {
            self.attend_later(self.bridges[index]);
        }
    }

    fn attend_later(&mut self, connection: ConnectionId) {
        if let Some(socket) = self.sockets.get(connection)
            && !std::mem::replace(&mut socket.attended, true)
        {
            self.later.push_back(Later::Bridge(connection));
        }
    }

    /// What the shard sends to a bridge. It hears in the next turn that it has left.
    pub(super) fn send_over_bridge(
        &mut self,
        connection: ConnectionId,
        chunks: Chunks,
    ) -> io::Result<()> {
        let Some(socket) = self.sockets.get(connection) else {
            return Ok(());
        };
        if let Some(bridge) = socket.link.bridge() {
            bridge.swallow(chunks);
        }
        if socket.send == Send::Off
            && let Some(chunks) = socket.next_send(&mut self.scratch)
        {
            self.kernel.send(connection, socket.link.as_fd(), chunks)?;
        }
        self.touch(connection);
        self.attend_later(connection);
        Ok(())
    }

    /// The shard takes bytes of this connection, or does not.
    pub(super) fn bridge_reads(&mut self, connection: ConnectionId, is_reading: bool) {
        if let Some(socket) = self.sockets.get(connection)
            && let Some(bridge) = socket.link.bridge()
        {
            bridge.set_reading(is_reading);
            self.attend_later(connection);
        }
    }

    /// Tells the shard what the bridge has for it, and sends what it has for the other broker.
    pub(super) fn attend_to_bridge(&mut self, connection: ConnectionId) -> io::Result<()> {
        let Some(socket) = self.sockets.get(connection) else {
            return Ok(());
        };
        socket.attended = false;
        if !matches!(socket.state, SocketState::Open) {
            return Ok(());
        }
        if let Some(bridge) = socket.link.bridge()
            && let Some((bytes, chunks)) = bridge.take_swallowed()
        {
            self.input(Input::Sent {
                connection,
                bytes,
                returned: Some(chunks),
            })?;
        }
        let Some(socket) = self.sockets.get(connection) else {
            return Ok(());
        };
        if !matches!(socket.state, SocketState::Open) {
            return Ok(());
        }
        let (bytes, broken) = socket.link.open(&[], &mut self.scratch);
        let (core, out) = (&mut self.core, &mut self.out);
        tell(core, self.now, out, connection, &mut socket.link, bytes);
        self.carry_out()?;
        self.after_open(connection, broken)?;
        self.touch(connection);
        self.attend_to_rest(connection);
        Ok(())
    }

    /// The connection to the other broker has ended. The shard gets what the bridge still has for it, which ends with
    /// DISCONNECT.
    pub(super) fn over_bridge(
        &mut self,
        connection: ConnectionId,
        cause: CloseCause,
    ) -> io::Result<()> {
        let Some(socket) = self.sockets.get(connection) else {
            return Ok(());
        };
        if let Some(bridge) = socket.link.bridge() {
            bridge.lost(&how(cause));
        }
        let (bytes, _) = socket.link.open(&[], &mut self.scratch);
        let (core, out) = (&mut self.core, &mut self.out);
        tell(core, self.now, out, connection, &mut socket.link, bytes);
        self.carry_out()?;
        match self.sockets.get(connection) {
            Some(socket) if matches!(socket.state, SocketState::Open) => {
                self.over_plainly(connection, cause)
            }
            _ => Ok(()),
        }
    }

    /// A bridge that has more for the shard than a turn takes goes on in the next one.
    pub(super) fn attend_to_rest(&mut self, connection: ConnectionId) {
        if let Some(socket) = self.sockets.get(connection)
            && socket.link.is_bridged()
            && socket.link.has_more()
        {
            self.attend_later(connection);
        }
    }
}

/// For who asks why the bridge is not connected.
fn how(cause: CloseCause) -> String {
    let errno = match cause {
        CloseCause::Reset => libc::ECONNRESET,
        CloseCause::TimedOut => libc::ETIMEDOUT,
        CloseCause::Error(errno) => errno,
        CloseCause::PeerClosed | CloseCause::Transport(_) => {
            return "the other broker has closed the connection".to_owned();
        }
    };
    io::Error::from_raw_os_error(errno).to_string()
}
