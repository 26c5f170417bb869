//! Sockets driven by epoll, wherever io_uring cannot be had: an operation waits here until its socket is ready and is
//! then carried out by one system call of this thread.
//!
//! Every socket is registered once, edge-triggered, for reading and writing together, so no `epoll_ctl` lies on the
//! path of a message. An edge is remembered in the socket's `Watched` until a call has used it up:
//!
//! - *readable* until a receive filled less than its buffer or met EAGAIN. What arrives after that is a new edge. The
//!   end of a stream makes no second edge after its own, and urgent data cuts a receive short; once one of them has
//!   been reported, receives of this socket go on to EAGAIN or the end.
//! - *writable* is not remembered: a send is tried at once. The kernel reports room only after a send found too little
//!   of it, so a socket that is not full causes no event by being writable.
//!
//! A lone message costs `epoll_wait`, `recv`, `send`. The answers of sends lie in `Epoll::ready` and are taken in a
//! turn of their own that enters no kernel; never two such turns in a row, so sockets that are always ready do not
//! keep others from being seen.

use crate::buffer::Chunks;
use crate::ids::ConnectionId;
use crate::io::driver::kernel::{Completion, Kernel};
use crate::io::driver::sending::Sending;
use crate::io::listening::ListeningSocket;
use crate::limits;
use nix::errno::Errno;
use nix::libc;
use nix::sys::epoll::{Epoll as Set, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{MsgFlags, recv, send, sendmsg};
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

/// What is known of one socket.
struct Watched {
    generation: u32,
    socket: RawFd,
    /// A receive is armed.
    receiving: bool,
    /// For as much as the large buffer holds.
    large: bool,
    /// It lies in [`Epoll::ready`].
    queued: bool,
    /// There may be something to receive.
    readable: bool,
    /// A receive that does not fill its buffer does not mean that nothing is left.
    to_the_end: bool,
    /// The send buffer was full; the send goes on when the kernel reports room.
    full: bool,
    sending: Option<Box<Sending>>,
}

/// What is known of one listener.
#[derive(Clone, Copy, Default)]
struct Listening {
    registered: bool,
    /// An accept is armed.
    accept: bool,
    queued: bool,
    /// There may be a connection to accept.
    ready: bool,
}

/// What can be done or answered without waiting.
enum Ready {
    Accept(u32),
    /// Try the armed receive.
    Receive(ConnectionId),
    Answer(Completion<usize>),
}

/// The shard's epoll set and what waits for it.
pub struct Epoll {
    set: Set,
    events: Box<[EpollEvent]>,
    /// By slot.
    watched: Vec<Option<Watched>>,
    listeners: Arc<[ListeningSocket]>,
    /// By listener.
    listening: Vec<Listening>,
    waking: bool,
    ready: VecDeque<Ready>,
    /// The last turn did not ask the kernel.
    skipped: bool,
    /// The one receive buffer: a receive is handled before the next is tried. It grows with the first large one.
    buffer: Vec<u8>,
    // Boxed as in the sends under way; an idle socket has none.
    #[allow(clippy::vec_box)]
    spare_sends: Vec<Box<Sending>>,
}

/// The data of an event is a connection's number. Numbers with these indexes are no sockets.
const WAKE_UP: u32 = u32::MAX;
const LISTENER: u32 = u32::MAX - 1;

fn data(connection: ConnectionId) -> u64 {
    u64::from(connection.generation) << 32 | u64::from(connection.index)
}

impl Epoll {
    fn watched(&mut self, connection: ConnectionId) -> Option<&mut Watched> {
        let watched = self.watched.get_mut(connection.index as usize)?.as_mut();
        watched.filter(|watched| watched.generation == connection.generation)
    }

    /// The socket of this connection, which the driver says is there.
    fn present(&mut self, connection: ConnectionId) -> &mut Watched {
        self.watched(connection).expect("the socket was added")
    }

    fn answer(&mut self, completion: Completion<usize>) {
        self.ready.push_back(Ready::Answer(completion));
    }

    /// Registers the listener when it is first accepted from. Exclusive: one connection wakes one of the shards.
    fn listen(&mut self, listener: u32) -> io::Result<()> {
        let index = listener as usize;
        if !self.listening[index].registered {
            let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLET | EpollFlags::EPOLLEXCLUSIVE;
            let connection = ConnectionId {
                index: LISTENER,
                generation: listener,
            };
            self.set.add(
                &self.listeners[index],
                EpollEvent::new(flags, data(connection)),
            )?;
            self.listening[index].registered = true;
        }
        self.queue_accept(listener);
        Ok(())
    }

    /// Puts an accept that may succeed into the queue, once.
    fn queue_accept(&mut self, listener: u32) {
        let listening = &mut self.listening[listener as usize];
        if listening.ready && !std::mem::replace(&mut listening.queued, true) {
            self.ready.push_back(Ready::Accept(listener));
        }
    }

    /// Puts an armed receive that may succeed into the queue, once.
    fn queue_receive(&mut self, connection: ConnectionId) {
        let watched = self.present(connection);
        let able = watched.receiving && watched.readable;
        if able && !std::mem::replace(&mut watched.queued, true) {
            self.ready.push_back(Ready::Receive(connection));
        }
    }

    fn on_event(&mut self, event: EpollEvent) {
        let (index, generation) = (event.data() as u32, (event.data() >> 32) as u32);
        match index {
            WAKE_UP if self.waking => {
                self.waking = false;
                self.answer(Completion::Woken { result: Ok(()) });
            }
            WAKE_UP => {}
            LISTENER => {
                self.listening[generation as usize].ready = true;
                self.queue_accept(generation);
            }
            index => self.on_socket(ConnectionId { index, generation }, event.events()),
        }
    }

    fn on_socket(&mut self, connection: ConnectionId, events: EpollFlags) {
        let Some(watched) = self.watched(connection) else {
            return;
        };
        let ending = EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR;
        watched.to_the_end |= events.intersects(ending | EpollFlags::EPOLLPRI);
        let room = watched.full && events.intersects(EpollFlags::EPOLLOUT | ending);
        if events.intersects(EpollFlags::EPOLLIN | EpollFlags::EPOLLPRI | ending) {
            watched.readable = true;
            self.queue_receive(connection);
        }
        if room {
            self.try_send(connection);
        }
    }

    /// The send of this slot: as much as goes now, or a wait for room.
    fn try_send(&mut self, connection: ConnectionId) {
        let watched = self.present(connection);
        let socket = watched.socket;
        let sending = watched.sending.as_ref().expect("a send is under way");
        let (first, others) = sending.rest();
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        let result = if others.is_empty() {
            send(socket, first, flags)
        } else {
            let others = others.iter().take(limits::SEND_VECTORS_MAX - 1);
            let mut parts = SmallVec::<[IoSlice<'_>; limits::SEND_VECTORS_MAX]>::new();
            parts.push(IoSlice::new(first));
            parts.extend(others.map(|chunk| IoSlice::new(chunk.bytes())));
            sendmsg::<()>(socket, &parts, &[], flags, None)
        };
        watched.full = result == Err(Errno::EAGAIN);
        if !watched.full {
            let result = result.map_err(|errno| errno as i32);
            self.answer(Completion::Sent { connection, result });
        }
    }

    /// Carries out the receive of this slot, if it is still armed and has an answer by now.
    fn try_receive(&mut self, connection: ConnectionId) -> Option<Completion<usize>> {
        let index = connection.index as usize;
        let watched = self.watched.get_mut(index)?.as_mut()?;
        if watched.generation != connection.generation {
            return None;
        }
        watched.queued = false;
        if !watched.receiving || !watched.readable {
            return None;
        }
        let room_bytes = if watched.large {
            if self.buffer.len() < limits::LARGE_RECEIVE_BYTES {
                self.buffer.resize(limits::LARGE_RECEIVE_BYTES, 0);
            }
            limits::LARGE_RECEIVE_BYTES
        } else {
            limits::RECEIVE_BUFFER_BYTES
        };
        let room = &mut self.buffer[..room_bytes];
        let result = recv(watched.socket, room, MsgFlags::MSG_DONTWAIT);
        let result = match result {
            Ok(0) => Ok(None),
            Ok(bytes) => {
                watched.readable = watched.to_the_end || bytes == room_bytes;
                Ok(Some(bytes))
            }
            Err(Errno::EAGAIN) => {
                watched.readable = false;
                return None;
            }
            Err(errno) => Err(errno as i32),
        };
        watched.receiving = false;
        Some(Completion::Received { connection, result })
    }

    fn try_accept(&mut self, listener: u32) -> Option<Completion<usize>> {
        let listening = &mut self.listening[listener as usize];
        listening.queued = false;
        if !listening.ready || !listening.accept {
            return None;
        }
        // By the standard library, whose sockets come close-on-exec, and blocking: every call says for itself that it
        // is not to wait.
        let result = match self.listeners[listener as usize].accept() {
            Ok(socket) => Ok(socket),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                listening.ready = false;
                return None;
            }
            Err(error) => Err(error.raw_os_error().unwrap_or(libc::EIO)),
        };
        let more = result.is_ok();
        listening.accept = more;
        if more {
            self.queue_accept(listener);
        }
        Some(Completion::Accepted {
            listener,
            result,
            more,
        })
    }
}

impl Kernel for Epoll {
    /// Bytes at the beginning of the one buffer.
    type Received = usize;

    fn new(listeners: &Arc<[ListeningSocket]>) -> io::Result<Epoll> {
        for listener in listeners.iter() {
            // Another shard may have been quicker.
            listener.set_nonblocking(true)?;
        }
        Ok(Epoll {
            set: Set::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            events: vec![EpollEvent::empty(); limits::EPOLL_EVENTS].into(),
            watched: Vec::new(),
            listeners: Arc::clone(listeners),
            listening: vec![Listening::default(); listeners.len()],
            waking: false,
            ready: VecDeque::new(),
            skipped: false,
            buffer: vec![0; limits::RECEIVE_BUFFER_BYTES],
            spare_sends: Vec::new(),
        })
    }

    fn accept(&mut self, listener: u32) -> io::Result<()> {
        self.listening[listener as usize].accept = true;
        self.listen(listener)
    }

    fn cancel_accept(&mut self, listener: u32) -> io::Result<()> {
        let listening = &mut self.listening[listener as usize];
        if std::mem::take(&mut listening.accept) {
            self.answer(Completion::Accepted {
                listener,
                result: Err(libc::ECANCELED),
                more: false,
            });
        }
        Ok(())
    }

    /// The eventfd is never read: by each write it makes an edge.
    fn read_wake_up(&mut self, event: BorrowedFd<'_>) -> io::Result<()> {
        self.waking = true;
        let connection = ConnectionId {
            index: WAKE_UP,
            generation: 0,
        };
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLET;
        match self
            .set
            .add(event, EpollEvent::new(flags, data(connection)))
        {
            Ok(()) | Err(Errno::EEXIST) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    fn add(&mut self, connection: ConnectionId, socket: BorrowedFd<'_>) -> io::Result<()> {
        let flags = EpollFlags::EPOLLIN
            | EpollFlags::EPOLLPRI
            | EpollFlags::EPOLLOUT
            | EpollFlags::EPOLLRDHUP
            | EpollFlags::EPOLLET;
        self.set
            .add(socket, EpollEvent::new(flags, data(connection)))?;
        let index = connection.index as usize;
        if self.watched.len() <= index {
            self.watched.resize_with(index + 1, || None);
        }
        self.watched[index] = Some(Watched {
            generation: connection.generation,
            socket: socket.as_raw_fd(),
            receiving: false,
            large: false,
            queued: false,
            readable: false,
            to_the_end: false,
            full: false,
            sending: None,
        });
        Ok(())
    }

    fn remove(&mut self, connection: ConnectionId, socket: BorrowedFd<'_>) {
        // It was added, and nothing else can be wrong.
        let _ = self.set.delete(socket);
        self.watched[connection.index as usize] = None;
    }

    fn receive(
        &mut self,
        connection: ConnectionId,
        _socket: BorrowedFd<'_>,
        large: bool,
    ) -> io::Result<()> {
        let watched = self.present(connection);
        watched.receiving = true;
        watched.large = large;
        self.queue_receive(connection);
        Ok(())
    }

    fn cancel_receive(&mut self, connection: ConnectionId) -> io::Result<()> {
        if std::mem::take(&mut self.present(connection).receiving) {
            let result = Err(libc::ECANCELED);
            self.answer(Completion::Received { connection, result });
        }
        Ok(())
    }

    fn bytes<'a>(&'a self, received: &usize) -> &'a [u8] {
        &self.buffer[..*received]
    }

    fn give_back(&mut self, _received: usize) {}

    fn add_buffers(&mut self) {}

    fn has_buffers(&self) -> bool {
        true
    }

    fn send(
        &mut self,
        connection: ConnectionId,
        _socket: BorrowedFd<'_>,
        chunks: Chunks,
    ) -> io::Result<()> {
        let mut sending = self.spare_sends.pop().unwrap_or_default();
        *sending = Sending::new(chunks);
        let watched = self.present(connection);
        assert!(watched.sending.is_none(), "one send a connection at a time");
        watched.sending = Some(sending);
        self.try_send(connection);
        Ok(())
    }

    fn send_rest(&mut self, connection: ConnectionId, _socket: BorrowedFd<'_>) -> io::Result<()> {
        self.try_send(connection);
        Ok(())
    }

    fn sent(&mut self, index: u32, bytes: usize) -> Option<Chunks> {
        let watched = self.watched[index as usize].as_mut();
        let sending = watched.and_then(|watched| watched.sending.as_mut());
        let all = sending.expect("a send is under way").advance(bytes);
        all.then(|| self.end_send(index))
    }

    fn end_send(&mut self, index: u32) -> Chunks {
        let watched = self.watched[index as usize].as_mut();
        let watched = watched.expect("the socket was added");
        assert!(!watched.full, "it is answered first");
        let mut sending = watched.sending.take().expect("a send is under way");
        let chunks = sending.take();
        if self.spare_sends.len() < limits::SPARE_SENDS_MAX {
            self.spare_sends.push(sending);
        }
        chunks
    }

    fn cancel_send(&mut self, connection: ConnectionId) -> io::Result<()> {
        // One that does not wait is answered already.
        if std::mem::take(&mut self.present(connection).full) {
            let result = Err(libc::ECANCELED);
            self.answer(Completion::Sent { connection, result });
        }
        Ok(())
    }

    fn enter(&mut self, want: usize, timeout: Option<Duration>) -> io::Result<()> {
        if !self.ready.is_empty() && !self.skipped {
            self.skipped = true;
            return Ok(());
        }
        self.skipped = false;
        let timeout = match timeout {
            _ if want == 0 || !self.ready.is_empty() => EpollTimeout::ZERO,
            None => EpollTimeout::NONE,
            Some(timeout) => EpollTimeout::try_from(timeout).unwrap_or(EpollTimeout::MAX),
        };
        let mut events = std::mem::take(&mut self.events);
        let result = self.set.wait(&mut events, timeout);
        if let Ok(count) = result {
            for event in &events[..count] {
                self.on_event(*event);
            }
        }
        self.events = events;
        match result {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    fn next_completion(&mut self) -> Option<Completion<usize>> {
        while let Some(ready) = self.ready.pop_front() {
            let completion = match ready {
                Ready::Answer(completion) => Some(completion),
                Ready::Receive(connection) => self.try_receive(connection),
                Ready::Accept(listener) => self.try_accept(listener),
            };
            if completion.is_some() {
                return completion;
            }
        }
        None
    }

    fn has_completions(&mut self) -> bool {
        !self.ready.is_empty()
    }
}
