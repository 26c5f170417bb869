//! The wire ring of one shard: the only place that speaks with io_uring and, with the [`super::buffers`] it receives
//! into, the only unsafe code of `io`.
//!
//! It owns everything the kernel may read or write while an operation is under way: receive buffers, the chunks of
//! sends with their vectors, the word a wake-up is read into. Whoever uses it sees typed [`Completion`]s and can do
//! nothing unsound: bytes received are reached through a [`Received`] token that only a completion makes, and the
//! chunks of a send come back only after the kernel has answered.
//!
//! Set up as the kernel likes it best for one thread that waits in `io_uring_enter` (single issuer, deferred task
//! run): nothing happens behind the shard's back, everything happens inside [`Ring::enter`].
//!
//! Receives of large packets are only waited for by the ring (`super::buffers::Large`). Carried out there, they
//! would fill many large buffers before the first is handled, and what is handled would have left the cache.

use super::buffers::{BUFFER_GROUP, Buffers, Large, Received};
use crate::buffer::Chunks;
use crate::ids::ConnectionId;
use crate::io::driver::kernel::{Completion, Kernel};
use crate::io::driver::sending::Sending;
use crate::io::listening::ListeningSocket;
use crate::limits;
use io_uring::types::{CancelBuilder, Fd, SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, cqueue, opcode, squeue};
use nix::libc;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

const OP_ACCEPT: u8 = 1;
const OP_RECEIVE: u8 = 3;
const OP_SEND: u8 = 4;
const OP_WAKE: u8 = 5;
const OP_CANCEL: u8 = 6;

/// For an operation of a listener, or of none (0).
fn user_data(op: u8, listener: u32) -> u64 {
    u64::from(op) << 56 | u64::from(listener)
}

fn user_data_of(op: u8, connection: ConnectionId) -> u64 {
    assert!(connection.generation < 1 << 24);
    u64::from(op) << 56 | u64::from(connection.generation) << 32 | u64::from(connection.index)
}

fn connection_of(user_data: u64) -> ConnectionId {
    ConnectionId {
        index: user_data as u32,
        generation: (user_data >> 32) as u32 & 0xFF_FFFF,
    }
}

/// A send under way, with the structures that describe it to the kernel.
struct SendRecord {
    sending: Sending,
    /// The kernel may read the chunks, `header` and `vectors`.
    in_kernel: bool,
    header: libc::msghdr,
    vectors: Vec<libc::iovec>,
}

impl SendRecord {
    fn new() -> Box<SendRecord> {
        // SAFETY: `msghdr` is plain C data of integers and pointers, for which all zeroes is a valid value.
        let header = unsafe { mem::zeroed() };
        Box::new(SendRecord {
            sending: Sending::default(),
            in_kernel: false,
            header,
            vectors: Vec::new(),
        })
    }
}

/// The shard's io_uring and what the kernel may touch through it.
pub struct Ring {
    uring: IoUring,
    listeners: Arc<[ListeningSocket]>,
    buffers: Buffers,
    large: Large,
    /// Sends under way, by slot.
    sends: Vec<Option<Box<SendRecord>>>,
    // Boxed as those under way are: what the kernel reads must not move.
    #[allow(clippy::vec_box)]
    spare_sends: Vec<Box<SendRecord>>,
    wake_word: Box<u64>,
    /// Operations the kernel has not answered for the last time.
    operations: usize,
}

impl Kernel for Ring {
    type Received = Received;

    fn new(listeners: &Arc<[ListeningSocket]>) -> io::Result<Ring> {
        let uring: IoUring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_submit_all()
            .setup_cqsize(limits::RING_COMPLETIONS)
            .build(limits::RING_SUBMISSIONS)?;
        let params = uring.params();
        if !(params.is_feature_ext_arg()
            && params.is_feature_nodrop()
            && params.is_feature_submit_stable())
        {
            return Err(io::Error::from_raw_os_error(libc::ENOSYS));
        }
        let mut buffers = Buffers::new();
        // SAFETY: the entries are RECEIVE_BUFFERS long, page aligned, and live as long as `Buffers`, which
        // `Ring::drop` frees only when the kernel has answered every operation.
        unsafe {
            uring.submitter().register_buf_ring_with_flags(
                buffers.entries_address(),
                limits::RECEIVE_BUFFERS as u16,
                BUFFER_GROUP,
                0,
            )?;
        }
        buffers.grow();
        Ok(Ring {
            uring,
            listeners: Arc::clone(listeners),
            buffers,
            large: Large::default(),
            sends: Vec::new(),
            spare_sends: Vec::new(),
            wake_word: Box::new(0),
            operations: 0,
        })
    }

    fn accept(&mut self, listener: u32) -> io::Result<()> {
        let entry = opcode::AcceptMulti::new(self.listener(listener))
            .flags(libc::SOCK_CLOEXEC)
            .build()
            .user_data(user_data(OP_ACCEPT, listener));
        // SAFETY: the operation refers to no memory.
        unsafe { self.push(&entry) }
    }

    fn cancel_accept(&mut self, listener: u32) -> io::Result<()> {
        self.cancel(user_data(OP_ACCEPT, listener))
    }

    fn read_wake_up(&mut self, event: BorrowedFd<'_>) -> io::Result<()> {
        let word: *mut u64 = &mut *self.wake_word;
        let entry = opcode::Read::new(
            Fd(event.as_raw_fd()),
            word.cast(),
            mem::size_of::<u64>() as u32,
        )
        .build()
        .user_data(user_data(OP_WAKE, 0));
        // SAFETY: the word is boxed, 8 bytes, used for nothing else, and freed by `Ring::drop` only when the kernel
        // has answered every operation.
        unsafe { self.push(&entry) }
    }

    fn add(&mut self, _connection: ConnectionId, _socket: BorrowedFd<'_>) -> io::Result<()> {
        Ok(())
    }

    fn remove(&mut self, _connection: ConnectionId, _socket: BorrowedFd<'_>) {}

    fn receive(
        &mut self,
        connection: ConnectionId,
        socket: BorrowedFd<'_>,
        large: bool,
    ) -> io::Result<()> {
        if large {
            self.large.wait(connection.index, socket.as_raw_fd());
            let events = (libc::POLLIN | libc::POLLRDHUP) as u32;
            let entry = opcode::PollAdd::new(Fd(socket.as_raw_fd()), events).build();
            // SAFETY: the operation refers to no memory.
            return unsafe { self.push(&entry.user_data(user_data_of(OP_RECEIVE, connection))) };
        }
        // Length 0: as much as the buffer holds.
        let entry = opcode::Recv::new(Fd(socket.as_raw_fd()), std::ptr::null_mut(), 0)
            .buf_group(BUFFER_GROUP)
            .build()
            .flags(squeue::Flags::BUFFER_SELECT);
        // SAFETY: the kernel writes only to provided buffers, which live as long as the ring.
        unsafe { self.push(&entry.user_data(user_data_of(OP_RECEIVE, connection))) }
    }

    fn cancel_receive(&mut self, connection: ConnectionId) -> io::Result<()> {
        self.cancel(user_data_of(OP_RECEIVE, connection))
    }

    fn bytes<'a>(&'a self, received: &Received) -> &'a [u8] {
        if received.is_large() {
            return self.large.bytes(received);
        }
        self.buffers.bytes(received)
    }

    /// The kernel sees it at the next [`Kernel::enter`].
    fn give_back(&mut self, received: Received) {
        if received.is_large() {
            return self.large.give_back();
        }
        self.buffers.give_back(received);
    }

    fn add_buffers(&mut self) {
        self.buffers.grow();
    }

    fn has_buffers(&self) -> bool {
        self.buffers.has_free()
    }

    fn send(
        &mut self,
        connection: ConnectionId,
        socket: BorrowedFd<'_>,
        chunks: Chunks,
    ) -> io::Result<()> {
        let index = connection.index as usize;
        if self.sends.len() <= index {
            self.sends.resize_with(index + 1, || None);
        }
        assert!(
            self.sends[index].is_none(),
            "one send a connection at a time"
        );
        let mut record = self.spare_sends.pop().unwrap_or_else(SendRecord::new);
        record.sending = Sending::new(chunks);
        self.sends[index] = Some(record);
        self.send_rest(connection, socket)
    }

    fn send_rest(&mut self, connection: ConnectionId, socket: BorrowedFd<'_>) -> io::Result<()> {
        let socket = Fd(socket.as_raw_fd());
        let record = self.sends[connection.index as usize]
            .as_mut()
            .expect("a send is under way");
        assert!(!record.in_kernel);
        record.in_kernel = true;
        let (first, others) = record.sending.rest();
        let entry = if others.is_empty() {
            let bytes = first.len().min(i32::MAX as usize) as u32;
            opcode::Send::new(socket, first.as_ptr(), bytes)
                .flags(libc::MSG_NOSIGNAL)
                .build()
        } else {
            record.vectors.clear();
            record.vectors.push(vector(first));
            for chunk in others.iter().take(limits::SEND_VECTORS_MAX - 1) {
                record.vectors.push(vector(chunk.bytes()));
            }
            record.header.msg_iov = record.vectors.as_mut_ptr();
            record.header.msg_iovlen = record.vectors.len() as _;
            opcode::SendMsg::new(socket, &record.header)
                .flags(libc::MSG_NOSIGNAL as u32)
                .build()
        };
        // SAFETY: `header` is boxed; `vectors` and the chunks' bytes are on the heap and not touched while `in_kernel`
        // is set, which only the completion of this operation clears. `Ring::drop` leaks what the kernel still holds.
        unsafe { self.push(&entry.user_data(user_data_of(OP_SEND, connection))) }
    }

    fn sent(&mut self, index: u32, bytes: usize) -> Option<Chunks> {
        let record = self.sends[index as usize]
            .as_mut()
            .expect("a send is under way");
        assert!(!record.in_kernel);
        record.sending.advance(bytes).then(|| self.end_send(index))
    }

    fn end_send(&mut self, index: u32) -> Chunks {
        let mut record = self.sends[index as usize]
            .take()
            .expect("a send is under way");
        assert!(!record.in_kernel);
        let chunks = record.sending.take();
        if self.spare_sends.len() < limits::SPARE_SENDS_MAX {
            self.spare_sends.push(record);
        }
        chunks
    }

    fn cancel_send(&mut self, connection: ConnectionId) -> io::Result<()> {
        self.cancel(user_data_of(OP_SEND, connection))
    }

    fn enter(&mut self, want: usize, timeout: Option<Duration>) -> io::Result<()> {
        self.buffers.publish();
        let submissions = self.uring.submission().len() as u32;
        let timespec = timeout.map(Timespec::from).unwrap_or_default();
        let mut arguments = SubmitArgs::new();
        if timeout.is_some() {
            arguments = arguments.timespec(&timespec);
        }
        // GETEVENTS always: deferred work runs only then.
        let flags = EnterFlags::GETEVENTS | EnterFlags::EXT_ARG;
        // SAFETY: the argument is the structure EXT_ARG promises and outlives the call; what the submissions refer to
        // was argued where each was pushed.
        let result = unsafe {
            self.uring
                .submitter()
                .enter(submissions, want as u32, flags.bits(), Some(&arguments))
        };
        match result {
            Ok(_) => Ok(()),
            // The time is over; a signal came; completions have to be taken first; memory is short for a moment.
            Err(error) => match error.raw_os_error() {
                Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
                _ => Err(error),
            },
        }
    }

    fn next_completion(&mut self) -> Option<Completion<Received>> {
        let entry = self.uring.completion().next()?;
        let more = cqueue::more(entry.flags());
        if !more {
            assert!(self.operations > 0);
            self.operations -= 1;
        }
        let data = entry.user_data();
        if (data >> 56) as u8 == OP_RECEIVE
            && let Some(socket) = self.large.waited(connection_of(data).index)
        {
            let ready = u32::try_from(entry.result()).map_err(|_| -entry.result());
            let result = ready.and_then(|_| self.large.receive(socket));
            let connection = connection_of(data);
            return Some(Completion::Received { connection, result });
        }
        Some(completion(&entry, more, &mut self.buffers, &mut self.sends))
    }

    fn has_completions(&mut self) -> bool {
        !self.uring.completion().is_empty()
    }
}

impl Ring {
    fn listener(&self, listener: u32) -> Fd {
        Fd(self.listeners[listener as usize].as_raw_fd())
    }

    /// Cancels the operation of this `user_data`.
    fn cancel(&mut self, operation: u64) -> io::Result<()> {
        let entry = opcode::AsyncCancel::new(operation)
            .build()
            .user_data(user_data(OP_CANCEL, 0));
        // SAFETY: the operation refers to no memory.
        unsafe { self.push(&entry) }
    }

    /// # Safety
    ///
    /// What the entry refers to must stay valid until its last completion.
    unsafe fn push(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        let mut attempts = 0;
        while self.uring.submission().is_full() {
            // Handed over early; refused for a moment only (memory, completions that wait), unless the ring is broken.
            self.enter(0, None)?;
            attempts += 1;
            if attempts > limits::SUBMIT_ATTEMPTS_MAX {
                break;
            }
        }
        // SAFETY: promised by the caller.
        let pushed = unsafe { self.uring.submission().push(entry) };
        pushed.map_err(|_| io::Error::other("the kernel took no submission"))?;
        self.operations += 1;
        Ok(())
    }

    /// Cancels everything and waits for the last answers, at most `RING_QUIESCE_MS`. False: the kernel still holds
    /// something.
    fn quiesce(&mut self) -> bool {
        let builder = CancelBuilder::any();
        let timeout = Duration::from_millis(limits::RING_QUIESCE_MS);
        let _ = self.uring.submit();
        let _ = self
            .uring
            .submitter()
            .register_sync_cancel(Some(Timespec::from(timeout)), builder);
        for _ in 0..limits::RING_QUIESCE_MS {
            while let Some(completion) = self.next_completion() {
                if let Completion::Received {
                    result: Ok(Some(received)),
                    ..
                } = completion
                {
                    self.give_back(received);
                }
            }
            if self.operations == 0 {
                return true;
            }
            if self.enter(1, Some(Duration::from_millis(1))).is_err() {
                return false;
            }
        }
        false
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        if self.quiesce() {
            return;
        }
        // The kernel may still use this memory: better lost than freed.
        mem::forget(mem::take(&mut self.sends));
        mem::forget(mem::take(&mut self.wake_word));
        self.buffers.leak();
    }
}

fn vector(bytes: &[u8]) -> libc::iovec {
    libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    }
}

/// What a completion queue entry means; notes what the kernel no longer holds.
fn completion(
    entry: &cqueue::Entry,
    more: bool,
    buffers: &mut Buffers,
    sends: &mut [Option<Box<SendRecord>>],
) -> Completion<Received> {
    let data = entry.user_data();
    let connection = connection_of(data);
    let result = usize::try_from(entry.result()).map_err(|_| -entry.result());
    // SAFETY: an accept that succeeded gives a descriptor that is ours and nobody else's.
    let socket = |fd: usize| unsafe { OwnedFd::from_raw_fd(fd as RawFd) };
    match (data >> 56) as u8 {
        OP_ACCEPT => Completion::Accepted {
            listener: connection.index,
            result: result.map(socket),
            more,
        },
        OP_RECEIVE => {
            let bytes = result.unwrap_or(0) as u32;
            let received =
                cqueue::buffer_select(entry.flags()).map(|buffer| buffers.take(buffer, bytes));
            let result = match (result, received) {
                (Ok(bytes), Some(received)) if bytes > 0 => Ok(Some(received)),
                (result, received) => {
                    // An end or an error may come with a buffer; there is nothing in it.
                    if let Some(received) = received {
                        buffers.give_back(received);
                    }
                    result.map(|_| None)
                }
            };
            Completion::Received { connection, result }
        }
        OP_SEND => {
            let sending = sends[connection.index as usize].as_mut();
            sending
                .expect("a send is kept until it is answered")
                .in_kernel = false;
            Completion::Sent { connection, result }
        }
        OP_WAKE => Completion::Woken {
            result: result.map(|_| ()),
        },
        _ => Completion::Cancelled,
    }
}
