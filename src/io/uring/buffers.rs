//! Where received bytes lie: buffers from which the kernel chooses, and one large buffer for large packets.
//!
//! A [`Received`] is made for a completion alone and given back by value, so the bytes behind it are the kernel's or
//! ours, never both's.

use crate::limits;
use io_uring::types::BufRingEntry;
use nix::sys::socket::{MsgFlags, recv};
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::mem;
use std::os::fd::RawFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

/// The one group of provided buffers of a ring.
pub(super) const BUFFER_GROUP: u16 = 0;
/// Receive buffers handed to the kernel at first; more follow when they run out. The kernel uses them in turn, so fewer
/// buffers are fewer pages touched.
const BUFFERS_AT_FIRST: usize = 8;
const _: () = assert!(BUFFERS_AT_FIRST <= limits::RECEIVE_BUFFERS);

/// Bytes the kernel has put into a receive buffer. Given back with [`crate::io::driver::kernel::Kernel::give_back`].
#[derive(Debug)]
pub struct Received {
    /// A provided one, or [`LARGE`].
    buffer: u16,
    bytes: u32,
}

/// The large buffer.
const LARGE: u16 = u16::MAX;
const _: () = assert!(limits::RECEIVE_BUFFERS < LARGE as usize);

impl Received {
    pub(super) fn is_large(&self) -> bool {
        self.buffer == LARGE
    }
}

/// The receives of large packets: the ring only reports that there is something to receive. It is received when that
/// completion is taken, always into the same buffer, which stays in the cache.
#[derive(Default)]
pub(super) struct Large {
    /// Of `LARGE_RECEIVE_BYTES`; without memory before the first use.
    buffer: Vec<u8>,
    /// It holds what has not been given back.
    taken: bool,
    /// The sockets that are waited for, by slot. A slot keeps its socket until its receive is answered.
    sockets: Vec<Option<RawFd>>,
}

impl Large {
    pub(super) fn wait(&mut self, index: u32, socket: RawFd) {
        let index = index as usize;
        if self.sockets.len() <= index {
            self.sockets.resize(index + 1, None);
        }
        self.sockets[index] = Some(socket);
    }

    /// The socket of a receive that is answered, if it was a large one.
    pub(super) fn waited(&mut self, index: u32) -> Option<RawFd> {
        self.sockets.get_mut(index as usize)?.take()
    }

    /// `Ok(None)`: the peer has closed its side. Errors are `errno` values; EAGAIN: there was nothing after all.
    pub(super) fn receive(&mut self, socket: RawFd) -> Result<Option<Received>, i32> {
        assert!(!self.taken, "what was received before is given back first");
        self.buffer.resize(limits::LARGE_RECEIVE_BYTES, 0);
        match recv(socket, &mut self.buffer, MsgFlags::MSG_DONTWAIT) {
            Ok(0) => Ok(None),
            Ok(bytes) => {
                self.taken = true;
                let (buffer, bytes) = (LARGE, bytes as u32);
                Ok(Some(Received { buffer, bytes }))
            }
            Err(errno) => Err(errno as i32),
        }
    }

    pub(super) fn bytes(&self, received: &Received) -> &[u8] {
        &self.buffer[..received.bytes as usize]
    }

    pub(super) fn give_back(&mut self) {
        assert!(std::mem::take(&mut self.taken));
    }
}

/// Receive buffers the kernel chooses from, and the ring in which they are offered to it.
pub(super) struct Buffers {
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

    pub(super) fn new() -> Buffers {
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

    /// Puts more buffers into use, if there are any.
    pub(super) fn grow(&mut self) {
        let circulating = self.circulating;
        let wanted = (circulating * 2).clamp(BUFFERS_AT_FIRST, limits::RECEIVE_BUFFERS);
        for buffer in circulating..wanted {
            self.put(buffer as u16);
        }
        self.circulating = wanted;
        self.publish();
    }

    /// Where the entries lie, for the kernel.
    pub(super) fn entries_address(&self) -> u64 {
        self.entries.as_ptr() as u64
    }

    /// May the kernel take one more buffer?
    pub(super) fn has_free(&self) -> bool {
        self.free > 0
    }

    /// The kernel has put so many bytes into this buffer, says a completion.
    pub(super) fn take(&mut self, buffer: u16, bytes: u32) -> Received {
        self.free -= 1;
        Received { buffer, bytes }
    }

    /// The kernel sees it at the next [`Buffers::publish`].
    pub(super) fn give_back(&mut self, received: Received) {
        self.put(received.buffer);
    }

    /// From now on nothing is freed: the kernel may still write.
    pub(super) fn leak(&mut self) {
        self.leak = true;
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

    /// Shows the kernel what was put since the last time.
    pub(super) fn publish(&mut self) {
        // SAFETY: the tail of a buffer ring lies in its first entry, which we allocated; it is aligned to 2 bytes and
        // reached by nobody but the kernel and this line.
        let tail = unsafe {
            AtomicU16::from_ptr(BufRingEntry::tail(self.entries.as_ptr().cast_const()).cast_mut())
        };
        // Release: the kernel sees the entries before the tail. Pairs with its acquire of the tail.
        tail.store(self.tail, Ordering::Release);
    }

    pub(super) fn bytes(&self, received: &Received) -> &[u8] {
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
