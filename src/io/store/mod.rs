//! The store's files: where they are, the journals of the shards, the tables in SQLite, and the thread that writes
//! them. What is in them is `store`'s business.
//!
//! ```text
//! shard's thread: keeping ─┬─► journal: one pwrite a turn, before the answers leave
//!                          └─► inbox ──► keeper (a thread) ──► database: one commit a window
//!                 keeping ◄── mail: what is on the disk ◄─┘
//! start: recovery ─ place, database, journals ──► Restored ──► every shard, before its first connection
//! ```

pub mod database;
pub mod import;
pub mod inbox;
pub mod journal;
pub mod keeper;
pub mod keeping;
pub mod place;
pub mod rebuild;
pub mod recovery;
pub mod reserve;
pub mod tool;
pub mod whole;
