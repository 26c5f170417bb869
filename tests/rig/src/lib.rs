//! What tests and benches share: shards without sockets ([`shard`], and [`one`] for a single shard at full speed), the
//! broker as a process behind true sockets ([`process`]), one table of tests for both ends ([`table`]), and what
//! fuzzing has kept ([`corpus`]).

pub mod corpus;
pub mod one;
pub mod process;
pub mod shard;
pub mod table;
