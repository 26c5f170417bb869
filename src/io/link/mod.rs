//! A Network Connection as the driver holds it: bytes of the socket on one side, bytes of MQTT on the other.
//!
//! ```text
//! socket ─ receive ─→ open ─→ MQTT ─→ shard ─→ seal ─→ send ─→ socket
//!                       └──→ own bytes (handshake, pong, farewell) ──↗
//! ```
//!
//! A [`Link`] does no I/O: the driver receives and sends. What lies between the two sides is the [`Transport`] of the
//! listener: today MQTT itself, where opening and sealing give back what they were given and cost nothing. A
//! transport that adds bytes of its own keeps its state here. It moves with the Link when a connection is handed over
//! to another shard, whatever has been sent on it by then.
//!
//! The order of calls:
//!
//! - [`Link::open`] with every run of bytes received, in order; then [`Link::has_ended`].
//! - [`Link::own_bytes`] when no send is under way: what it gives is sent before anything sealed later.
//! - [`Link::seal`] when no send is under way and there are no own bytes: what it gives is sent next, whole and
//!   unchanged.
//! - [`Link::sent`] for each part of it that has left.
//! - [`Link::farewell`] when the last was sent, before our side is closed.

#[cfg(test)]
pub mod framed;

use crate::buffer::Chunks;
use crate::config::Transport;
use crate::ids::ListenerId;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The socket of a Network Connection and what belongs to it.
#[derive(Debug)]
pub struct Link {
    socket: OwnedFd,
    /// The peer's address.
    pub address: SocketAddr,
    /// The listener that accepted it.
    pub listener: ListenerId,
    state: State,
}

/// What a transport keeps of one connection.
#[derive(Debug)]
enum State {
    Plain,
    #[cfg(test)]
    Framed(Box<framed::Framed>),
}

/// The peer broke the rules of its transport; the reason is for the log. The transport's answer to the peer, if it has
/// one, is in [`Link::own_bytes`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Broken(pub &'static str);

impl Link {
    /// A connection just accepted.
    pub fn new(
        socket: OwnedFd,
        address: SocketAddr,
        listener: ListenerId,
        transport: Transport,
    ) -> Link {
        let state = match transport {
            Transport::Plain => State::Plain,
            #[cfg(test)]
            Transport::Framed => State::Framed(Box::default()),
        };
        Link {
            socket,
            address,
            listener,
            state,
        }
    }

    /// The bytes of MQTT in what was received; none, if no more than a part of something has come.
    ///
    /// Errors: the connection must be closed, and this is not called again.
    #[inline]
    pub fn open<'a>(&'a mut self, received: &'a [u8]) -> Result<&'a [u8], Broken> {
        match &mut self.state {
            State::Plain => Ok(received),
            #[cfg(test)]
            State::Framed(framed) => framed.open(received),
        }
    }

    /// The peer has said its farewell: nothing follows what was opened, though the socket may stay open.
    #[inline]
    pub fn has_ended(&self) -> bool {
        match &self.state {
            State::Plain => false,
            #[cfg(test)]
            State::Framed(framed) => framed.has_ended(),
        }
    }

    /// Does the link itself have something to send?
    #[inline]
    pub fn has_own_bytes(&self) -> bool {
        match &self.state {
            State::Plain => false,
            #[cfg(test)]
            State::Framed(framed) => framed.has_own_bytes(),
        }
    }

    /// Takes what the link itself has to send.
    #[inline]
    pub fn own_bytes(&mut self) -> Option<Chunks> {
        match &mut self.state {
            State::Plain => None,
            #[cfg(test)]
            State::Framed(framed) => framed.own_bytes(),
        }
    }

    /// Bytes of MQTT as the transport sends them. Only after bytes of MQTT have come, so any handshake is over.
    #[inline]
    pub fn seal(&mut self, chunks: Chunks) -> Chunks {
        match &mut self.state {
            State::Plain => chunks,
            #[cfg(test)]
            State::Framed(framed) => framed.seal(chunks),
        }
    }

    /// Of what was sealed last, `bytes` more have left; `whole`: that was the rest. Gives the bytes of MQTT that left
    /// with them; over a whole send these come to what was given to be sealed.
    #[inline]
    pub fn sent(&mut self, bytes: usize, whole: bool) -> usize {
        match &mut self.state {
            State::Plain => {
                let _ = whole;
                bytes
            }
            #[cfg(test)]
            State::Framed(framed) => framed.sent(bytes, whole),
        }
    }

    /// Puts the transport's farewell into the own bytes, unless it was said before or may not be said.
    #[inline]
    pub fn farewell(&mut self) {
        match &mut self.state {
            State::Plain => {}
            #[cfg(test)]
            State::Framed(framed) => framed.farewell(),
        }
    }
}

impl AsFd for Link {
    #[inline]
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
