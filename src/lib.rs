//! mqttfast, an MQTT broker. Bytes go in one way and come out another; each module is one step of that walk:
//!
//! ```text
//! socket → io → wire::frame → wire::Packet<'_> → session → broker → topic ─┬─ this shard ─┐
//!                                                       buffer::Payload    └─ mesh → peer ┤
//! socket ← io ← Outputs ← wire::encode ← session (window, queue) ←────────────────────────┘
//! ```
//!
//! `docs/architecture.md` is the map; its first table says which modules a module may import.

pub mod invariant;
pub mod language;
pub mod limits;

pub mod ids;
pub mod random;
pub mod sorted;
pub mod time;

pub mod config;

pub mod wire;

pub mod mesh;

pub mod buffer;

pub mod budget;

pub mod topic;

pub mod session;

pub mod broker;

pub mod store;

pub mod passwd;

pub mod bridge;

pub mod acl;

pub mod io;
