//! What the turn loop asks of the kernel, and the kernel's answers: operations complete later.
//! [`crate::io::uring`] hands each to the kernel as it is; [`crate::io::epoll`] carries it out itself as soon as a
//! socket is ready.

use crate::buffer::Chunks;
use crate::ids::ConnectionId;
use crate::io::listening::ListeningSocket;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

/// One answer. Errors are `errno` values. `more`: the operation stays armed. `R` stands for bytes received, see
/// [`Kernel::Received`].
#[derive(Debug)]
pub enum Completion<R> {
    /// A listener has a new connection.
    Accepted {
        /// Which listening socket, by its index.
        listener: u32,
        /// The new connection's socket.
        result: Result<OwnedFd, i32>,
        /// `false`: the accept must be armed again.
        more: bool,
    },
    /// `Ok(None)`: the peer has closed its side.
    Received {
        /// Whose receive it was.
        connection: ConnectionId,
        /// The bytes, which hold until they are given back.
        result: Result<Option<R>, i32>,
    },
    /// A send has taken bytes, all or some of its chunks.
    Sent {
        /// Whose send it was.
        connection: ConnectionId,
        /// Bytes that left.
        result: Result<usize, i32>,
    },
    /// Another thread has written to the shard's eventfd.
    Woken {
        /// An error means that the wake-up must be armed again.
        result: Result<(), i32>,
    },
    /// The answer to a cancellation; the cancelled operation answers for itself.
    Cancelled,
}

/// The kernel as one shard reaches it. Each operation is answered by one completion, an accept and the wake-up by many.
///
/// Errors of all methods, unless said otherwise: the kernel can serve this shard no longer.
pub trait Kernel: Sized {
    /// Bytes in a receive buffer; made by a completion alone.
    type Received;

    /// Sets up what is needed; it belongs to the calling thread. Listeners are named by their place in `listeners`.
    fn new(listeners: &Arc<[ListeningSocket]>) -> io::Result<Self>;

    /// Arms an accept that stays armed. Sockets come close-on-exec; their peer is asked for afterwards.
    fn accept(&mut self, listener: u32) -> io::Result<()>;

    /// Cancels the accept of this listener.
    fn cancel_accept(&mut self, listener: u32) -> io::Result<()>;

    /// Arms the wake-up by the shard's eventfd; again after each [`Completion::Woken`].
    fn read_wake_up(&mut self, event: BorrowedFd<'_>) -> io::Result<()>;

    /// Takes in a new socket; called before its first operation.
    ///
    /// Errors: the machine cannot take one more socket. The others are still served.
    fn add(&mut self, connection: ConnectionId, socket: BorrowedFd<'_>) -> io::Result<()>;

    /// Gives up a socket that stays open elsewhere. None of its operations is under way.
    fn remove(&mut self, connection: ConnectionId, socket: BorrowedFd<'_>);

    /// Arms a receive of at most one buffer: of `RECEIVE_BUFFER_BYTES`, or `large`, of `LARGE_RECEIVE_BYTES`. There
    /// is one large buffer, so what was received into it is given back before the next completion is taken.
    fn receive(
        &mut self,
        connection: ConnectionId,
        socket: BorrowedFd<'_>,
        large: bool,
    ) -> io::Result<()>;

    /// Asks for the end of the receive under way; it may still complete otherwise.
    fn cancel_receive(&mut self, connection: ConnectionId) -> io::Result<()>;

    /// The bytes of a receive.
    fn bytes<'a>(&'a self, received: &Self::Received) -> &'a [u8];

    /// Returns a receive buffer.
    fn give_back(&mut self, received: Self::Received);

    /// Puts more receive buffers into use, if there are any: a receive was answered ENOBUFS.
    fn add_buffers(&mut self);

    /// Can a receive be armed without meeting ENOBUFS at once?
    fn has_buffers(&self) -> bool;

    /// Starts the one send of this slot. `chunks` hold at least one byte.
    fn send(
        &mut self,
        connection: ConnectionId,
        socket: BorrowedFd<'_>,
        chunks: Chunks,
    ) -> io::Result<()>;

    /// Goes on with this slot's send, after [`Completion::Sent`] and [`Kernel::sent`].
    fn send_rest(&mut self, connection: ConnectionId, socket: BorrowedFd<'_>) -> io::Result<()>;

    /// Notes that `bytes` of this slot's send have left. `Some`: that was the rest; the chunks come back.
    fn sent(&mut self, index: u32, bytes: usize) -> Option<Chunks>;

    /// Ends this slot's send, whatever has left of it, after [`Completion::Sent`], and returns its chunks.
    fn end_send(&mut self, index: u32) -> Chunks;

    /// Asks for the end of the send under way; it may still complete otherwise.
    fn cancel_send(&mut self, connection: ConnectionId) -> io::Result<()>;

    /// Starts everything asked for and waits for at least `want` completions, no longer than `timeout`.
    fn enter(&mut self, want: usize, timeout: Option<Duration>) -> io::Result<()>;

    /// Takes the oldest completion.
    fn next_completion(&mut self) -> Option<Completion<Self::Received>>;

    /// Are there completions to take?
    fn has_completions(&mut self) -> bool;
}
