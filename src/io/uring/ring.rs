//! The wire ring of one shard: the only place that speaks with io_uring, and the only unsafe code of `io`.
//!
//! It owns everything the kernel may read or write while an operation is under way: receive buffers, the chunks of sends with
//! their vectors, the word a wake-up is read into. Whoever uses it sees typed [`Completion`]s and can do nothing unsound: bytes
//! received are reached through a [`Received`] token that only a completion makes, and the chunks of a send come back only after
//! the kernel has answered.
//!
//! Set up as the kernel likes it best for one thread that waits in `io_uring_enter` (single issuer, deferred task run): nothing
//! happens behind the shard's back, everything happens inside [`Ring::enter`].

use crate::buffer::Chunks;
use crate::limits;
use io_uring::types::{BufRingEntry, CancelBuilder, Fd, SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, cqueue, opcode, squeue};
use nix::libc;
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::io;
use std::mem;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

/// A slot of the driver and the generation of its use, as carried in an operation's `user_data`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tag {
    pub index: u32,
    /// Modulo 2^24.
    pub generation: u32,
}

/// Bytes the kernel has put into a receive buffer. Given back with [`Ring::give_back`].
#[derive(Debug)]
pub struct Received {
    buffer: u16,
    bytes: u32,
}

/// One answer of the kernel. Errors are `errno` values. `more`: the operation stays armed.
#[derive(Debug)]
pub enum Completion {
    /// A listener has a new connection.
    Accepted {
        listener: u32,
        result: Result<OwnedFd, i32>,
        more: bool,
    },
    /// The one-shot accept used when descriptors have run out.
    Shed {
        listener: u32,
        result: Result<OwnedFd, i32>,
    },
    /// `Ok(None)`: the peer has closed its side.
    Received {
        tag: Tag,
        result: Result<Option<Received>, i32>,
        more: bool,
    },
    Sent {
        tag: Tag,
        result: Result<usize, i32>,
    },
    /// Another thread has written to the shard's eventfd.
    Woken { result: Result<(), i32> },
    /// The answer to a cancellation; the cancelled operation answers for itself.
    Cancelled,
}

/// Whether a connection's receive ends with its first bytes or stays armed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shots {
    One,
    Many,
}

const OP_ACCEPT: u8 = 1;
const OP_SHED: u8 = 2;
const OP_RECEIVE: u8 = 3;
const OP_SEND: u8 = 4;
const OP_WAKE: u8 = 5;
const OP_CANCEL: u8 = 6;

/// The one group of provided buffers of a ring.
const BUFFER_GROUP: u16 = 0;
/// Receive buffers handed to the kernel at first; more follow when they run out. The kernel uses them in turn, so fewer
/// buffers are fewer pages touched.
const BUFFERS_AT_FIRST: usize = 8;
const _: () = assert!(BUFFERS_AT_FIRST <= limits::RECEIVE_BUFFERS);

fn user_data(op: u8, tag: Tag) -> u64 {
    assert!(tag.generation < 1 << 24);
    u64::from(op) << 56 | u64::from(tag.generation) << 32 | u64::from(tag.index)
}

/// A send under way: its chunks, how far it has come, and the vectors that tell the kernel.
struct Sending {
    chunks: Chunks,
    /// First chunk not wholly sent, and bytes of it that are.
    chunk: usize,
    chunk_bytes_sent: usize,
    /// The kernel may read `chunks`, `header` and `vectors`.
    in_kernel: bool,
    header: libc::msghdr,
    vectors: Vec<libc::iovec>,
}

impl Sending {
    fn new() -> Box<Sending> {
        // SAFETY: `msghdr` is plain C data of integers and pointers, for which all zeroes is a valid value.
        let header = unsafe { mem::zeroed() };
        Box::new(Sending {
            chunks: Chunks::new(),
            chunk: 0,
            chunk_bytes_sent: 0,
            in_kernel: false,
            header,
            vectors: Vec::new(),
        })
    }
}

/// The shard's io_uring and what the kernel may touch through it.
pub struct Ring {
    uring: IoUring,
    buffers: Buffers,
    /// Sends under way, by slot.
    sends: Vec<Option<Box<Sending>>>,
    // Boxed as those under way are: what the kernel reads must not move.
    #[allow(clippy::vec_box)]
    spare_sends: Vec<Box<Sending>>,
    wake_word: Box<u64>,
    /// Operations the kernel has not answered for the last time.
    operations: usize,
}

impl Ring {
    /// Sets up the ring; it belongs to the calling thread.
    ///
    /// Errors: what `io_uring_setup` or the registration of buffers answered; `probe` turns it into a sentence.
    pub fn new() -> io::Result<Ring> {
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
                buffers.entries.as_ptr() as u64,
                limits::RECEIVE_BUFFERS as u16,
                BUFFER_GROUP,
                0,
            )?;
        }
        buffers.grow();
        Ok(Ring {
            uring,
            buffers,
            sends: Vec::new(),
            spare_sends: Vec::new(),
            wake_word: Box::new(0),
            operations: 0,
        })
    }

    /// Arms an accept that stays armed. Sockets come close-on-exec; their peer is asked for afterwards.
    pub fn accept(&mut self, listener: u32, socket: RawFd) -> io::Result<()> {
        let tag = Tag {
            index: listener,
            generation: 0,
        };
        let entry = opcode::AcceptMulti::new(Fd(socket))
            .flags(libc::SOCK_CLOEXEC)
            .build()
            .user_data(user_data(OP_ACCEPT, tag));
        // SAFETY: the operation refers to no memory.
        unsafe { self.push(&entry) }
    }

    /// Arms one accept whose connection is to be closed at once.
    pub fn accept_to_shed(&mut self, listener: u32, socket: RawFd) -> io::Result<()> {
        let tag = Tag {
            index: listener,
            generation: 0,
        };
        let entry = opcode::Accept::new(Fd(socket), std::ptr::null_mut(), std::ptr::null_mut())
            .flags(libc::SOCK_CLOEXEC)
            .build()
            .user_data(user_data(OP_SHED, tag));
        // SAFETY: with null addresses the operation refers to no memory.
        unsafe { self.push(&entry) }
    }

    pub fn cancel_accept(&mut self, listener: u32) -> io::Result<()> {
        self.cancel(OP_ACCEPT, listener)?;
        self.cancel(OP_SHED, listener)
    }

    fn cancel(&mut self, op: u8, listener: u32) -> io::Result<()> {
        let tag = Tag {
            index: listener,
            generation: 0,
        };
        self.cancel_tag(op, tag)
    }

    fn cancel_tag(&mut self, op: u8, tag: Tag) -> io::Result<()> {
        let entry = opcode::AsyncCancel::new(user_data(op, tag))
            .build()
            .user_data(user_data(OP_CANCEL, tag));
        // SAFETY: the operation refers to no memory.
        unsafe { self.push(&entry) }
    }

    /// Arms a receive into the ring's own buffers.
    pub fn receive(&mut self, tag: Tag, socket: RawFd, shots: Shots) -> io::Result<()> {
        let entry = match shots {
            Shots::Many => opcode::RecvMulti::new(Fd(socket), BUFFER_GROUP).build(),
            // Length 0: as much as the buffer holds.
            Shots::One => opcode::Recv::new(Fd(socket), std::ptr::null_mut(), 0)
                .buf_group(BUFFER_GROUP)
                .build()
                .flags(squeue::Flags::BUFFER_SELECT),
        };
        // SAFETY: the kernel writes only to provided buffers, which live as long as the ring.
        unsafe { self.push(&entry.user_data(user_data(OP_RECEIVE, tag))) }
    }

    pub fn cancel_receive(&mut self, tag: Tag) -> io::Result<()> {
        self.cancel_tag(OP_RECEIVE, tag)
    }

    /// Arms the read of the shard's eventfd.
    pub fn read_wake_up(&mut self, event: RawFd) -> io::Result<()> {
        let word: *mut u64 = &mut *self.wake_word;
        let tag = Tag {
            index: 0,
            generation: 0,
        };
        let entry = opcode::Read::new(Fd(event), word.cast(), mem::size_of::<u64>() as u32)
            .build()
            .user_data(user_data(OP_WAKE, tag));
        // SAFETY: the word is boxed, 8 bytes, used for nothing else, and freed by `Ring::drop` only when the kernel
        // has answered every operation.
        unsafe { self.push(&entry) }
    }

    /// Starts the one send of this slot. `chunks` hold at least one byte.
    pub fn send(&mut self, tag: Tag, socket: RawFd, chunks: Chunks) -> io::Result<()> {
        let index = tag.index as usize;
        if self.sends.len() <= index {
            self.sends.resize_with(index + 1, || None);
        }
        assert!(
            self.sends[index].is_none(),
            "one send a connection at a time"
        );
        let mut sending = self.spare_sends.pop().unwrap_or_else(Sending::new);
        sending.chunks = chunks;
        sending.chunk = 0;
        sending.chunk_bytes_sent = 0;
        self.sends[index] = Some(sending);
        self.send_rest(tag, socket)
    }

    /// Hands what is left of this slot's send to the kernel again, after [`Completion::Sent`] and [`Ring::sent`].
    pub fn send_rest(&mut self, tag: Tag, socket: RawFd) -> io::Result<()> {
        let sending = self.sends[tag.index as usize]
            .as_mut()
            .expect("a send is under way");
        assert!(!sending.in_kernel);
        sending.in_kernel = true;
        let rest = &sending.chunks[sending.chunk..];
        let first = &rest[0].bytes()[sending.chunk_bytes_sent..];
        let entry = if rest.len() == 1 {
            let bytes = first.len().min(i32::MAX as usize) as u32;
            opcode::Send::new(Fd(socket), first.as_ptr(), bytes)
                .flags(libc::MSG_NOSIGNAL)
                .build()
        } else {
            sending.vectors.clear();
            sending.vectors.push(vector(first));
            for chunk in rest.iter().take(limits::SEND_VECTORS_MAX).skip(1) {
                sending.vectors.push(vector(chunk.bytes()));
            }
            sending.header.msg_iov = sending.vectors.as_mut_ptr();
            sending.header.msg_iovlen = sending.vectors.len() as _;
            opcode::SendMsg::new(Fd(socket), &sending.header)
                .flags(libc::MSG_NOSIGNAL as u32)
                .build()
        };
        // SAFETY: `header` is boxed; `vectors` and the chunks' bytes are on the heap and not touched while `in_kernel`
        // is set, which only the completion of this operation clears. `Ring::drop` leaks what the kernel still holds.
        unsafe { self.push(&entry.user_data(user_data(OP_SEND, tag))) }
    }

    /// Notes that `bytes` of this slot's send have left. `Some`: that was the rest; the chunks come back.
    pub fn sent(&mut self, index: u32, mut bytes: usize) -> Option<Chunks> {
        let sending = self.sends[index as usize]
            .as_mut()
            .expect("a send is under way");
        assert!(!sending.in_kernel);
        while let Some(chunk) = sending.chunks.get(sending.chunk) {
            let left = chunk.bytes().len() - sending.chunk_bytes_sent;
            if bytes < left {
                sending.chunk_bytes_sent += bytes;
                return None;
            }
            bytes -= left;
            sending.chunk += 1;
            sending.chunk_bytes_sent = 0;
        }
        assert!(bytes == 0, "the kernel sends no more than it was given");
        Some(self.end_send(index))
    }

    /// Ends this slot's send, whatever has left of it, and returns its chunks.
    pub fn end_send(&mut self, index: u32) -> Chunks {
        let mut sending = self.sends[index as usize]
            .take()
            .expect("a send is under way");
        assert!(!sending.in_kernel);
        let chunks = mem::take(&mut sending.chunks);
        if self.spare_sends.len() < limits::SPARE_SENDS_MAX {
            self.spare_sends.push(sending);
        }
        chunks
    }

    pub fn cancel_send(&mut self, tag: Tag) -> io::Result<()> {
        self.cancel_tag(OP_SEND, tag)
    }

    /// The bytes of a receive.
    pub fn bytes(&self, received: &Received) -> &[u8] {
        self.buffers.bytes(received)
    }

    /// Returns a receive buffer; the kernel sees it at the next [`Ring::enter`].
    pub fn give_back(&mut self, received: Received) {
        self.buffers.put(received.buffer);
    }

    /// Puts more receive buffers into use, if there are any: the kernel has run out.
    pub fn add_buffers(&mut self) {
        self.buffers.grow();
    }

    /// Can a receive be armed without meeting "no buffer" at once?
    pub fn has_buffers(&self) -> bool {
        self.buffers.free > 0
    }

    /// Hands everything queued to the kernel and waits for at least `want` completions, no longer than `timeout`.
    ///
    /// Errors: only those after which the ring is of no use.
    pub fn enter(&mut self, want: usize, timeout: Option<Duration>) -> io::Result<()> {
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

    /// Takes at most `max` completions, in their order.
    pub fn completions(&mut self, max: usize, out: &mut Vec<Completion>) {
        let (buffers, sends) = (&mut self.buffers, &mut self.sends);
        for entry in self.uring.completion().take(max) {
            let flags = entry.flags();
            let more = cqueue::more(flags);
            if !more {
                assert!(self.operations > 0);
                self.operations -= 1;
            }
            out.push(completion(&entry, more, buffers, sends));
        }
    }

    /// Completions that wait to be taken.
    pub fn completions_waiting(&mut self) -> bool {
        !self.uring.completion().is_empty()
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

    /// Cancels everything and waits for the last answers, at most `RING_QUIESCE_MS`. False: the kernel still holds something.
    fn quiesce(&mut self) -> bool {
        let builder = CancelBuilder::any();
        let timeout = Duration::from_millis(limits::RING_QUIESCE_MS);
        let _ = self.uring.submit();
        let _ = self
            .uring
            .submitter()
            .register_sync_cancel(Some(Timespec::from(timeout)), builder);
        let mut dropped = Vec::new();
        for _ in 0..limits::RING_QUIESCE_MS {
            self.completions(usize::MAX, &mut dropped);
            dropped.clear();
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
        self.buffers.leak = true;
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
    sends: &mut [Option<Box<Sending>>],
) -> Completion {
    let data = entry.user_data();
    let tag = Tag {
        index: data as u32,
        generation: (data >> 32) as u32 & 0xFF_FFFF,
    };
    let result = usize::try_from(entry.result()).map_err(|_| -entry.result());
    // SAFETY: an accept that succeeded gives a descriptor that is ours and nobody else's.
    let socket = |fd: usize| unsafe { OwnedFd::from_raw_fd(fd as RawFd) };
    match (data >> 56) as u8 {
        OP_ACCEPT => Completion::Accepted {
            listener: tag.index,
            result: result.map(socket),
            more,
        },
        OP_SHED => Completion::Shed {
            listener: tag.index,
            result: result.map(socket),
        },
        OP_RECEIVE => {
            let received = cqueue::buffer_select(entry.flags()).map(|buffer| {
                buffers.free -= 1;
                Received {
                    buffer,
                    bytes: result.unwrap_or(0) as u32,
                }
            });
            let result = match (result, received) {
                (Ok(bytes), Some(received)) if bytes > 0 => Ok(Some(received)),
                (result, received) => {
                    // An end or an error may come with a buffer; there is nothing in it.
                    if let Some(received) = received {
                        buffers.put(received.buffer);
                    }
                    result.map(|_| None)
                }
            };
            Completion::Received { tag, result, more }
        }
        OP_SEND => {
            let sending = sends[tag.index as usize].as_mut();
            sending
                .expect("a send is kept until it is answered")
                .in_kernel = false;
            Completion::Sent { tag, result }
        }
        OP_WAKE => Completion::Woken {
            result: result.map(|_| ()),
        },
        _ => Completion::Cancelled,
    }
}

/// A socket that came through a lane as a bare number.
pub fn adopted_socket(socket: RawFd) -> OwnedFd {
    // SAFETY: `PeerMessage::Adopt` is made only by `Driver::hand_over`, of a descriptor it has given up with
    // `into_raw_fd`, and lanes deliver each message once.
    unsafe { OwnedFd::from_raw_fd(socket) }
}

/// Receive buffers the kernel chooses from, and the ring in which they are offered to it.
struct Buffers {
    /// RECEIVE_BUFFERS entries; the tail lies in the first.
    entries: NonNull<BufRingEntry>,
    /// RECEIVE_BUFFERS times RECEIVE_BUFFER_BYTES. Pages are touched when first used.
    memory: NonNull<u8>,
    tail: u16,
    /// Buffers in use so far; grows up to RECEIVE_BUFFERS.
    circulating: usize,
    /// Buffers the kernel may take.
    free: usize,
    /// Do not free: the kernel may still write.
    leak: bool,
}

const PAGE_BYTES: usize = 4096;

impl Buffers {
    fn entries_layout() -> Layout {
        Layout::from_size_align(
            limits::RECEIVE_BUFFERS * mem::size_of::<BufRingEntry>(),
            PAGE_BYTES,
        )
        .expect("a constant size")
    }

    /// Not page aligned: then it would be zeroed by hand, and every page of it touched.
    fn memory_layout() -> Layout {
        Layout::array::<u8>(limits::RECEIVE_BUFFERS * limits::RECEIVE_BUFFER_BYTES)
            .expect("a constant size")
    }

    fn new() -> Buffers {
        let allocate = |layout: Layout| {
            // SAFETY: both layouts have a size above 0.
            NonNull::new(unsafe { alloc_zeroed(layout) })
                .unwrap_or_else(|| handle_alloc_error(layout))
        };
        Buffers {
            entries: allocate(Self::entries_layout()).cast(),
            memory: allocate(Self::memory_layout()),
            tail: 0,
            circulating: 0,
            free: 0,
            leak: false,
        }
    }

    fn grow(&mut self) {
        let circulating = self.circulating;
        let wanted = (circulating * 2).clamp(BUFFERS_AT_FIRST, limits::RECEIVE_BUFFERS);
        for buffer in circulating..wanted {
            self.put(buffer as u16);
        }
        self.circulating = wanted;
        self.publish();
    }

    fn put(&mut self, buffer: u16) {
        let place = usize::from(self.tail) & (limits::RECEIVE_BUFFERS - 1);
        assert!(self.free < limits::RECEIVE_BUFFERS);
        // SAFETY: `place` is below RECEIVE_BUFFERS, the length of both allocations. The kernel does not read this entry
        // before the tail passes it: at most RECEIVE_BUFFERS buffers exist, and `buffer` is none of those it holds.
        unsafe {
            let address = self
                .memory
                .add(usize::from(buffer) * limits::RECEIVE_BUFFER_BYTES);
            let entry = self.entries.add(place).as_mut();
            entry.set_addr(address.as_ptr() as u64);
            entry.set_len(limits::RECEIVE_BUFFER_BYTES as u32);
            entry.set_bid(buffer);
        }
        self.tail = self.tail.wrapping_add(1);
        self.free += 1;
    }

    fn publish(&mut self) {
        // SAFETY: the tail of a buffer ring lies in its first entry, which we allocated; it is aligned to 2 bytes and
        // reached by nobody but the kernel and this line.
        let tail = unsafe {
            AtomicU16::from_ptr(BufRingEntry::tail(self.entries.as_ptr().cast_const()).cast_mut())
        };
        // Release: the kernel sees the entries before the tail. Pairs with its acquire of the tail.
        tail.store(self.tail, Ordering::Release);
    }

    fn bytes(&self, received: &Received) -> &[u8] {
        let start = usize::from(received.buffer) * limits::RECEIVE_BUFFER_BYTES;
        assert!(usize::from(received.buffer) < limits::RECEIVE_BUFFERS);
        assert!(received.bytes as usize <= limits::RECEIVE_BUFFER_BYTES);
        // SAFETY: inside the allocation by the asserts, zeroed at first; the kernel has given this buffer up and takes
        // it again only after `put`, which needs `Received` by value.
        unsafe {
            std::slice::from_raw_parts(self.memory.add(start).as_ptr(), received.bytes as usize)
        }
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        if self.leak {
            return;
        }
        // SAFETY: allocated in `new` with these layouts, and the kernel has answered every operation.
        unsafe {
            dealloc(self.entries.as_ptr().cast(), Self::entries_layout());
            dealloc(self.memory.as_ptr(), Self::memory_layout());
        }
    }
}
