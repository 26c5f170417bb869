//! Between shards, and from helper threads to a shard.
//!
//! - [`spsc`]: a bounded queue of one producer and one consumer, lock-free.
//! - [`mod@lanes`]: such a queue for each ordered pair of shards, with a spill on the sender's side, so that sending
//!   never fails.
//! - [`wake`]: whether a shard sleeps in the kernel, so that a wake-up is paid once a sleep and never while it is
//!   awake.
//! - [`mailbox`]: from any thread to one shard, for what is rare.
//! - [`capacity`]: how many connections there are, over all shards.
//! - [`sync`]: the standard library's atomics, or loom's under the feature `loom`.
//!
//! Here and in `buffer` lie all atomics of the broker. Nothing here blocks but the mailbox's short lock.

pub mod capacity;
pub mod lanes;
pub mod mailbox;
pub mod spsc;
pub mod sync;
pub mod wake;

pub use capacity::{Admitted, Capacity, Places};
pub use lanes::{Bounds, Endpoint, Spilled, lanes};
pub use mailbox::Mailbox;
pub use wake::WakeFlag;
