//! Sockets driven by io_uring, for 64-bit Linux 6.1 and later.
//!
//! - [`ring`]: the kernel's side, typed; all unsafe code of `io`.
//! - [`driver`]: the turn loop of a shard.
//! - [`slots`]: its sockets.
//! - [`accept`]: its accepts, and what happens when descriptors run out.

pub mod accept;
pub mod driver;
pub mod ring;
pub mod slots;

#[cfg(test)]
mod tests;
