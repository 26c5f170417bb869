//! What an operator sees of a shard and what tools get from it: events, surveys.

#[path = "../support_shard/mod.rs"]
mod support;

mod happenings;
mod survey;
