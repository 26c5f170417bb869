//! Who wants what: Topic Filters and their subscribers, Shared Subscriptions, retained messages and their replays.
//!
//! [`Topics`] owns them; nobody else changes a subscription, a group or a retained message. It knows Sessions by their
//! ids alone, and no connections. Where a change concerns Clients or peer shards, the method returns it, and
//! `broker::on` does the rest.

mod group;
mod member;
mod owner;
mod replay;
mod retained;
mod sharing;
mod subscriptions;
mod sweep;
mod value;

pub(super) use member::Membership;
pub(super) use owner::Topics;
pub(super) use replay::{Replay, ReplayNumber};
pub(super) use sharing::checked_filter;
