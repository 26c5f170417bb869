//! Who wants what: Topic Filters to subscribers, and Topic Names to retained messages.
//!
//! Both are trees of levels [4.7] of the same make. A level's text is kept once (`intern`) and counted;
//! a node is 24 bytes of numbers in a slab, reused when free; a node's only child is named in the node
//! itself, and the children of all nodes that have more lie in one hash table keyed by (node, level).
//! So a lookup hashes each level's text once and compares numbers from there on.
//!
//! Nothing here knows a Session or a message: subscribers, their options and retained values are type
//! parameters. Nothing here recurses on a topic's depth, and nothing iterates over a hash table, so equal
//! calls give equal answers in equal order.

mod edges;
mod intern;
pub mod props;
mod retain;
mod routes;
mod slab;
#[cfg(test)]
mod tests;
mod trie;

pub use crate::ids::NodeId;
pub use retain::{RetainCursor, RetainStep, RetainTree};
pub use routes::{Kept, Routes};
pub use trie::{FilterTrie, Matches, Subscribed, Unsubscribed};
