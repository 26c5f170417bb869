//! One table of tests, two ends to run it at: shards without sockets (`tests/support_shard`), and the running broker
//! behind true sockets ([`sockets`]). A test takes a `&mut World` and does not know which it is; [`table`] makes a
//! `#[test]` for each end.
#![allow(dead_code, unused_imports)]

#[path = "../support/mod.rs"]
mod process;
#[path = "../support_shard/mod.rs"]
mod shard;

pub mod fence;
pub mod listed;
pub mod outgoing;
pub mod sockets;
pub mod table;

pub use shard::packets::*;
pub use shard::{
    Acts, Client, Connect, Full, Message, Packet, Publish, Stage, Version, Will, property,
};
pub use table::{each, each_with, each5, each5_with, once_with};

/// Either end.
pub type World = dyn Stage;
/// Shards without sockets.
pub type Shards = shard::World;
