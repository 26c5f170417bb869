//! Memory that holds bytes on their way.
//!
//! - [`account`]: bytes of payloads, by who published them.
//! - [`heap`]: how the allocator is set.
//! - [`code`]: what the start has run through goes back to the system.
//! - [`payload`]: immutable bytes, counted, shared by shards.
//! - [`chunk`]: a run of them that one send takes.
//! - [`pool`]: a shard's free blocks.
//! - [`stock`]: the memory that all shards may hold together.
//! - [`share`]: those among whom it is divided when it is short.
//! - `short`: texts such as client ids, mostly in place.
//! - [`outbox`]: what a connection is about to send, made of both.

pub mod account;
pub mod chunk;
pub mod code;
pub mod heap;
pub mod outbox;
pub mod payload;
pub mod pool;
pub mod share;
mod short;
pub mod stock;

pub use account::{Account, Total};
pub use chunk::{Chunk, Chunks};
pub use outbox::Outbox;
pub use payload::Payload;
pub use pool::Pool;
pub use share::{Share, Sharer};
pub use short::ShortText;
pub use stock::Stock;
