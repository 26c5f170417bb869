//! Sockets driven by io_uring, for Linux 6.1 and later.
//!
//! - [`ring`]: the kernel's side, typed; with [`buffers`], all unsafe code of `io`.
//! - [`buffers`]: where received bytes lie.
//! - [`probe`]: whether it can be had here.

pub mod buffers;
pub mod probe;
pub mod ring;
