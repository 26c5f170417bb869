//! One table of tests, two ends to run it at: shards without sockets ([`crate::shard`]), and the running broker
//! behind true sockets ([`sockets`]). A test takes a `&mut World` and does not know which it is; [`ends`] makes a
//! `#[test]` for each end.

use crate::process;
use crate::shard;

pub mod ends;
pub mod fence;
pub mod listed;
pub mod outgoing;
pub mod sockets;

pub use ends::{each, each_with, each5, each5_with, once_with};
pub use shard::packets::*;
pub use shard::{
    Acts, Client, Connect, Full, Message, Packet, Publish, Stage, Version, Will, property,
};

/// Either end.
pub type World = dyn Stage;
/// Shards without sockets.
pub type Shards = shard::World;
