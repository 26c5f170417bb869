//! Sockets driven by io_uring, for 64-bit Linux 6.1 and later.
//!
//! - [`ring`]: the kernel's side, typed; all unsafe code of `io`.
//! - [`probe`]: whether it can be had here.

pub mod probe;
pub mod ring;
