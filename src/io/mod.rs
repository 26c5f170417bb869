//! The real world: sockets, threads, signals, the clock. Starts the broker and drives its shards.
//!
//! ```text
//! start ─ host ─ driver ─ uring, epoll     a shard's thread: turn loop over its sockets
//!   │       └ seat ─ link, crossing        what it is given: lanes, mailbox, listeners
//!   ├ store                                what the broker remembers: its files and their thread
//!   └ helpers ─ mail                       a thread each: passwords, log, control (signals), notify
//! ```
//!
//! [`run`] starts all of it and serves until the end. Helpers speak to shards by [`mail`] alone, and hear of them by
//! the shards' outputs; [`words`] makes the sentences of the log. `tests/layers.rs` says which of these may import
//! which.

pub mod bridge_test;
pub mod clock;
pub mod console;
pub mod cpu;
pub mod crossing;
pub mod disk;
pub mod doctor;
pub mod driver;
pub mod epoll;
pub mod explain;
pub mod files;
pub mod helpers;
pub mod holder;
pub mod host;
pub mod link;
pub mod listener;
pub mod listening;
pub mod mail;
mod memory;
pub mod migrate;
pub mod mosquitto_words;
pub mod seat;
pub mod start;
pub mod start_error;
mod store;
// On 32 bits the crate `io-uring` builds only when it is told to, see Cargo.toml.
#[cfg(any(target_pointer_width = "64", io_uring_skip_arch_check))]
pub mod uring;
pub mod user;
pub mod words;

pub use start::{check, run};
pub use start_error::StartError;
pub use store::tool as store_tool;
