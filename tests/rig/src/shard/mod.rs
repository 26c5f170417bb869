//! A broker of N shards in one thread, for tests: a clock that only moves when told, lanes that deliver in the order a
//! test asks for, and Clients that are raw byte streams. It carries out `Outputs` exactly as a driver with sockets
//! would, and reads what the broker sends with a parser of its own, so that `mqttfast::wire` is never its own judge.
//!
//! `tests/planted` and `fuzz/` compile this module for themselves, each with a part of it.
#![allow(dead_code, unused_imports)]

pub mod acts;
pub mod ear;
pub mod explore;
pub mod oracle;
pub mod packets;
pub mod random;
pub mod settings;
pub mod stage;
pub mod store;
pub mod stream;
pub mod v5;
pub mod world;

pub use acts::Acts;
pub use ear::{Ear, answer};
pub use oracle::{Message, Packet};
pub use packets::*;
pub use random::Random;
pub use settings::{each, each_with, each5, each5_with, with_store};
pub use stage::{Client, Stage};
pub use store::{Store, in_chunks};
pub use v5::Full;
pub use world::{Order, World};
