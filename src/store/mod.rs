//! What outlives the process, without any file: records of what shards report, rows of tables, and what the one does
//! to the other. `io::store` has the files.
//!
//! ```text
//! Output::Changes → encode → frame of records ─┬─► journal (io)
//!                                              └─► applier: index, open window ── commit ──► tables (io, or memory)
//! Input::Restored ◄──────────────────────────────── load ◄───────────────────────────────────────┘
//! ```
//!
//! Bytes are proved wherever they come back from a disk: a frame and a row have a checksum each, and a decoder that
//! finds anything else than what was written says `Damaged`.

pub(crate) mod applier;
pub(crate) mod batch;
pub(crate) mod bytes;
pub(crate) mod crc;
pub(crate) mod encode;
pub(crate) mod frame;
pub(crate) mod image;
pub(crate) mod index;
pub(crate) mod load;
pub(crate) mod memory;
pub(crate) mod mosquitto_db;
pub(crate) mod pages;
pub mod props;
pub(crate) mod record;
pub(crate) mod row;
pub(crate) mod salvage;
pub(crate) mod scan;
pub(crate) mod tally;
pub mod trial;
pub(crate) mod walk;
pub(crate) mod wall;
pub(crate) mod window;

#[cfg(test)]
mod tests;

pub(crate) use applier::{Applier, Moment, Tables};
pub(crate) use frame::Identity;
pub(crate) use load::{Loaded, Scan, load, load_sessions, load_topics};
pub(crate) use row::{Row, RowRef, State, Table};
pub(crate) use wall::Wall;
