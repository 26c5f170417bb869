//! The simulator against the broker with mistakes in it: this is compiled in `tests/planted`, whose library has the
//! product's name.
//!
//!     cargo test -p mqttfast-planted --test faults

mod actions;
mod client;
mod corpus;
mod crash;
mod faults;
mod found;
mod generate;
mod groups;
mod model;
mod observe;
mod play;
mod props;
mod session;
#[path = "../rig/src/shard/mod.rs"]
mod support;
mod verdict;
