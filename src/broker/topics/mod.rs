//! Who wants what: Topic Filters and their subscribers, Shared Subscriptions, retained messages and their replays.
//!
//! [`Topics`] owns them; nobody else changes a subscription, a group or a retained message. It knows Sessions by their
//! ids alone and no connection: what a change means for Clients or peer shards stands in what its methods return, and
//! `broker::on` goes on from there.

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
pub(super) use replay::Replay;
pub(super) use sharing::checked_filter;
