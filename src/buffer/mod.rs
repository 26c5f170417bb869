//! Memory that holds bytes on their way.
//!
//! - [`heap`]: how the allocator is set.
//! - [`payload`]: immutable bytes, counted, shared by shards.
//! - [`pool`]: a shard's free blocks.
//! - [`outbox`]: what a connection is about to send, made of both.

pub mod heap;
pub mod outbox;
pub mod payload;
pub mod pool;

pub use outbox::{Chunk, Chunks, Outbox};
pub use payload::Payload;
pub use pool::Pool;
