//! What `mesh` and `buffer` take from the standard library to share memory between threads, or from loom
//! under the feature `loom`, which then tries every schedule (`tests/loom.rs`).
//!
//! [`UnsafeCell`] has loom's shape in both: its content is reached through a closure, so that loom sees each access.

#[cfg(feature = "loom")]
pub use self::under_loom::*;
#[cfg(not(feature = "loom"))]
pub use self::under_std::*;

#[cfg(not(feature = "loom"))]
mod under_std {
    use std::mem::MaybeUninit;

    pub use std::alloc::{alloc, dealloc};
    pub use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering, fence};
    pub use std::sync::{Arc, Mutex, MutexGuard};

    /// A cell shared by threads that agree by other means on who may touch it.
    pub struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        /// Takes the value in; from now on it is reached by `with` and `with_mut` alone.
        pub fn new(value: T) -> Self {
            Self(std::cell::UnsafeCell::new(value))
        }

        /// Reads through the pointer.
        #[inline(always)]
        pub fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
            f(self.0.get())
        }

        /// Writes, or moves out, through the pointer.
        #[inline(always)]
        pub fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
            f(self.0.get())
        }
    }

    /// Empty cells. Their memory is not touched, so it becomes resident only as it is used.
    pub fn empty_cells<T>(cells: usize) -> Box<[UnsafeCell<MaybeUninit<T>>]> {
        let cells = Box::<[UnsafeCell<MaybeUninit<T>>]>::new_uninit_slice(cells);
        // SAFETY: `UnsafeCell` and this wrapper add nothing to `MaybeUninit<T>`, for which every content of
        // its memory is valid, uninitialised included.
        unsafe { cells.assume_init() }
    }
}

#[cfg(feature = "loom")]
mod under_loom {
    use std::mem::MaybeUninit;

    pub use loom::alloc::{alloc, dealloc};
    pub use loom::cell::UnsafeCell;
    pub use loom::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering, fence};
    pub use loom::sync::{Arc, Mutex, MutexGuard};

    /// Empty cells. Loom's cells keep a record of their accesses, so each is made for itself.
    pub fn empty_cells<T>(cells: usize) -> Box<[UnsafeCell<MaybeUninit<T>>]> {
        (0..cells)
            .map(|_| UnsafeCell::new(MaybeUninit::uninit()))
            .collect()
    }
}
