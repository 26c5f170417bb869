//! What an operator sees of a shard and what tools get from it: events, surveys, messages of the broker's
//! own.

#[path = "../support_shard/mod.rs"]
mod support;

mod happenings;
mod own;
mod survey;
