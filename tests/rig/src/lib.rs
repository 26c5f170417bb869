//! What tests and benches share: shards without sockets ([`shard`], and [`one`] for a single shard at full speed), the
//! broker as a process behind true sockets ([`process`]), and one table of tests for both ends ([`table`]).

pub mod one;
pub mod process;
pub mod shard;
pub mod table;
