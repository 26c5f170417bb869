//! Immutable bytes with a reference count, shared by shards: for messages that are queued, retained, in flight, or too
//! large to copy for each subscriber.
//!
//! One allocation of exactly the size needed, so that a payload that stays pins nothing else:
//!
//! ```text
//! Payload ──→ │ handles: u32 │ length: u32 │ who counts it │ bytes ... │
//! ```
//!
//! A large packet stays in the vector it was received into, because a copy would cost more than all other work on it:
//!
//! ```text
//! Payload ──→ │ handles: u32 │ ADOPTED │ who counts it │ vector, start │ ──→ │ ... bytes │
//! ```
//!
//! The handle is one pointer. A clone is one atomic increment; the drop of the only handle is one load. Whoever drops
//! the last handle frees the bytes, on whatever shard that is.

use super::account::{Account, Booked};
use crate::mesh::sync::{Arc, AtomicU32, Ordering, UnsafeCell, alloc, dealloc, fence};
use std::alloc::{Layout, handle_alloc_error};
use std::fmt;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::ptr::NonNull;

/// Handles a payload may have. Far below what the counter holds, so that threads racing past the check cannot make it
/// wrap.
const HANDLES_MAX: u32 = u32::MAX / 2;

/// What lies before the bytes.
struct Header {
    /// Handles alive.
    handles: AtomicU32,
    /// Bytes after the header; [`ADOPTED`]: an [`Adopted`] follows it instead.
    length: u32,
    /// Counts it, if anyone does.
    booked: Option<Booked>,
    /// Takes no room. Reads of the bytes and their freeing touch it, so that loom sees any two of them that are not
    /// ordered.
    witness: UnsafeCell<()>,
}

/// No payload is so long.
const ADOPTED: u32 = u32::MAX;

/// Bytes that stay where they were received.
struct Adopted {
    vector: Vec<u8>,
    /// Where they start in it; they go to its end.
    start: usize,
}

/// A handle of immutable bytes. `Clone` shares them.
pub struct Payload {
    /// Valid while this handle lives; may be used for the whole allocation, header and bytes.
    header: NonNull<Header>,
}

// SAFETY: the bytes and the length are never written once a handle exists, and the count is atomic. The bytes are freed
// once, after everything every other handle did (see `drop`).
unsafe impl Send for Payload {}
// SAFETY: as above: `&Payload` gives `&[u8]`, and a clone counts atomically.
unsafe impl Sync for Payload {}

impl Payload {
    /// A copy of `bytes`.
    pub fn new(bytes: &[u8]) -> Self {
        Self::from_parts(&[bytes])
    }

    /// A copy of `parts`, one after the other. At most 4 GiB - 1 in all, far above any packet.
    pub fn from_parts(parts: &[&[u8]]) -> Self {
        let bytes: usize = parts.iter().map(|part| part.len()).sum();
        let length = u32::try_from(bytes).expect("a payload is smaller than a packet");
        assert!(length != ADOPTED);
        let header = block(layout(length), length);
        // SAFETY: the block reaches `length` bytes past the header.
        let mut end = unsafe { header.add(1).cast::<u8>() };
        for part in parts {
            // SAFETY: the parts' lengths sum up to `length`, so this part ends inside the block; the block is fresh, so
            // it does not overlap the part.
            unsafe {
                end.copy_from_nonoverlapping(NonNull::from(*part).cast(), part.len());
                end = end.add(part.len());
            }
        }
        Self { header }
    }

    /// The bytes of `vector` from `start` on, which stay where they are.
    pub fn adopt(vector: Vec<u8>, start: usize) -> Self {
        assert!(start <= vector.len());
        let (layout, at) = adopted_layout();
        let header = block(layout, ADOPTED);
        // SAFETY: the block is laid out for an `Adopted` at `at`, and fresh.
        unsafe {
            header
                .byte_add(at)
                .cast::<Adopted>()
                .write(Adopted { vector, start });
        }
        Self { header }
    }

    /// Gives this handle up. `Some`: it was the last one, of a vector that was adopted.
    pub fn into_vector(self) -> Option<Vec<u8>> {
        let mut handle = ManuallyDrop::new(self);
        if handle.is_last() {
            handle.free()
        } else {
            None
        }
    }

    /// Counts `bytes` in an account until the last handle goes. Nothing happens where it counts already, or has other
    /// handles.
    pub fn book(&mut self, account: &Arc<Account>, bytes: usize) {
        // Acquire: as in `is_last`; the only handle is borrowed here for itself, so no one can clone meanwhile.
        if self.header().handles.load(Ordering::Acquire) != 1 || self.header().booked.is_some() {
            return;
        }
        let booked = Booked::new(account, bytes);
        // SAFETY: this is the only handle, and it is borrowed for itself, so nobody else reads the header; all that was
        // done through other handles comes before, by the load above.
        unsafe { self.header.as_mut().booked = Some(booked) };
    }

    /// Where it counts, if it does.
    pub fn account(&self) -> Option<&Arc<Account>> {
        self.header().booked.as_ref().map(Booked::account)
    }

    /// Handles alive, as far as this thread knows; for tests.
    pub fn handles(&self) -> usize {
        // Relaxed: a number to look at; nothing follows from it.
        self.header().handles.load(Ordering::Relaxed) as usize
    }

    #[inline(always)]
    fn header(&self) -> &Header {
        // SAFETY: this handle keeps the header alive, and nothing but its atomic changes.
        unsafe { self.header.as_ref() }
    }
}

/// A fresh block with a header for one handle.
fn block(layout: Layout, length: u32) -> NonNull<Header> {
    assert!(layout.size() >= size_of::<Header>() && layout.align() >= align_of::<Header>());
    // SAFETY: the layout is not of size 0.
    let block = unsafe { alloc(layout) };
    let Some(header) = NonNull::new(block.cast::<Header>()) else {
        handle_alloc_error(layout);
    };
    // SAFETY: the block is fresh, and large enough and aligned for a `Header`.
    unsafe {
        header.write(Header {
            handles: AtomicU32::new(1),
            length,
            booked: None,
            witness: UnsafeCell::new(()),
        });
    }
    header
}

/// Header and what was adopted, and where the latter lies.
fn adopted_layout() -> (Layout, usize) {
    let (layout, at) = Layout::new::<Header>()
        .extend(Layout::new::<Adopted>())
        .expect("some words");
    (layout.pad_to_align(), at)
}

/// Header and `length` bytes.
fn layout(length: u32) -> Layout {
    let (layout, start) = Layout::array::<u8>(length as usize)
        .and_then(|bytes| Layout::new::<Header>().extend(bytes))
        .expect("a payload fits in memory");
    assert!(start == size_of::<Header>());
    layout
}

impl Deref for Payload {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        let header = self.header();
        header.witness.with(|_| ());
        if header.length == ADOPTED {
            let (_, at) = adopted_layout();
            // SAFETY: `adopt` has written it there before this handle existed, whoever handed it to this thread ordered
            // that, and it is neither written nor freed while this handle, borrowed here, lives.
            let adopted = unsafe { self.header.byte_add(at).cast::<Adopted>().as_ref() };
            return &adopted.vector[adopted.start..];
        }
        // SAFETY: `length` bytes after the header were written by `from_parts` before this handle existed, whoever
        // handed it to this thread ordered that, and they are neither written nor freed while this handle, borrowed
        // here, lives.
        unsafe {
            std::slice::from_raw_parts(
                self.header.add(1).cast::<u8>().as_ptr(),
                header.length as usize,
            )
        }
    }
}

impl Clone for Payload {
    #[inline]
    fn clone(&self) -> Self {
        // Relaxed: the new handle comes from one that is alive, so no one can free now; handing it to another thread
        // orders the rest.
        let handles = self.header().handles.fetch_add(1, Ordering::Relaxed);
        assert!(handles < HANDLES_MAX);
        Self {
            header: self.header,
        }
    }
}

impl Drop for Payload {
    #[inline]
    fn drop(&mut self) {
        if self.is_last() {
            drop(self.free());
        }
    }
}

impl Payload {
    /// Gives this handle up; it is not dropped or used again but by `free`. True: it was the last one, and all that was
    /// done through the others comes before what this thread does now.
    #[inline]
    fn is_last(&mut self) -> bool {
        let handles = &self.header().handles;
        // Acquire: if this is the only handle, all that was done through the others comes before the freeing. Pairs
        // with Release in the `fetch_sub` of their drops. No one can clone meanwhile: that takes a handle, and this one
        // is held by `&mut`.
        if handles.load(Ordering::Acquire) != 1 {
            // Release: what was done through this handle comes before the freeing. Pairs with Acquire in the load above
            // and in the fence below, whichever the last handle meets.
            if handles.fetch_sub(1, Ordering::Release) != 1 {
                return false;
            }
            // Acquire: pairs with Release in the `fetch_sub` of the other handles.
            fence(Ordering::Acquire);
        }
        true
    }

    /// Gives the memory back, but for a vector that was adopted. Of the last handle alone, which is not used again.
    #[cold]
    #[inline(never)]
    fn free(&mut self) -> Option<Vec<u8>> {
        self.header().witness.with_mut(|_| ());
        let length = self.header().length;
        let (layout, vector) = if length == ADOPTED {
            let (layout, at) = adopted_layout();
            // SAFETY: `adopt` has written it there; `is_last` found that nobody else reads it, and the block is freed
            // below, so it is not dropped again.
            let adopted = unsafe { self.header.byte_add(at).cast::<Adopted>().read() };
            (layout, Some(adopted.vector))
        } else {
            (layout(length), None)
        };
        // SAFETY: `is_last` found this to be the last handle and ordered the others' reads before this; the block was
        // allocated with this very layout and is not touched again.
        unsafe {
            self.header.drop_in_place();
            dealloc(self.header.as_ptr().cast(), layout);
        }
        vector
    }
}

impl PartialEq for Payload {
    /// The same bytes, shared or not.
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Payload {}

impl fmt::Debug for Payload {
    /// The length alone: the bytes are a Client's business and may be many.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes)", self.len())
    }
}

#[cfg(all(test, not(feature = "loom")))]
mod tests {
    use super::*;
    use std::thread;

    #[cfg(target_pointer_width = "64")]
    #[test]
    fn a_handle_is_a_pointer_and_a_header_three_words() {
        assert_eq!(size_of::<Payload>(), 8);
        assert_eq!(size_of::<Option<Payload>>(), 8);
        assert_eq!(size_of::<Header>(), 24);
    }

    #[test]
    fn it_holds_what_it_was_given() {
        assert_eq!(&*Payload::new(b""), b"");
        assert_eq!(&*Payload::new(b"a"), b"a");
        assert_eq!(&*Payload::from_parts(&[]), b"");
        assert_eq!(
            &*Payload::from_parts(&[b"ab", b"", b"cde", b"f"]),
            b"abcdef"
        );
        let large: Vec<u8> = (0..100_000u32).map(|i| i as u8).collect();
        assert_eq!(&*Payload::new(&large), &large[..]);
        assert_eq!(Payload::new(b"ab"), Payload::from_parts(&[b"a", b"b"]));
        assert_eq!(format!("{:?}", Payload::new(b"ab")), "Payload(2 bytes)");
    }

    #[test]
    fn an_adopted_vector_stays_where_it_is_and_comes_back() {
        let mut vector = Vec::with_capacity(100);
        vector.extend_from_slice(b"head and bytes");
        let address = vector.as_ptr();
        let first = Payload::adopt(vector, 9);
        assert_eq!(&*first, b"bytes");
        assert_eq!(first.as_ptr(), address.wrapping_add(9));
        let second = first.clone();
        assert_eq!((first.handles(), &*second), (2, &b"bytes"[..]));
        assert_eq!(first, Payload::new(b"bytes"));
        assert!(first.into_vector().is_none(), "there is another handle");
        assert_eq!((second.handles(), &*second), (1, &b"bytes"[..]));
        let vector = second.into_vector().expect("the last handle");
        assert_eq!((vector.as_ptr(), vector.capacity()), (address, 100));
        assert_eq!(&*Payload::adopt(vector, 14), b"");
        assert!(Payload::new(b"copied").into_vector().is_none());
        assert!(Payload::new(b"copied").clone().into_vector().is_none());
    }

    #[test]
    fn handles_are_counted() {
        let first = Payload::new(b"abc");
        assert_eq!(first.handles(), 1);
        let second = first.clone();
        assert_eq!((first.handles(), second.handles()), (2, 2));
        assert_eq!(first.as_ptr(), second.as_ptr());
        drop(first);
        assert_eq!(second.handles(), 1);
        assert_eq!(&*second, b"abc");
    }

    #[test]
    fn threads_share_it() {
        let rounds = if cfg!(miri) { 30 } else { 5_000 };
        for round in 0..rounds {
            let payload = match round % 2 {
                0 => Payload::new(&[round as u8; 33]),
                _ => Payload::adopt(vec![round as u8; 40], 7),
            };
            let threads: Vec<_> = (0..2)
                .map(|_| {
                    let payload = payload.clone();
                    thread::spawn(move || {
                        let again = payload.clone();
                        drop(payload);
                        assert!(again.iter().all(|&byte| byte == round as u8));
                    })
                })
                .collect();
            drop(payload);
            for thread in threads {
                thread.join().expect("the thread ran through");
            }
        }
    }
}
