//! One shard: the state machine of the broker. It marries `session` (one Client) with `topic` (who wants what).
//!
//! [`Shard::handle`] takes one [`Input`] at a time and appends [`Output`]s; [`Shard::flush`] ends the turn. Nothing here waits, owns
//! a socket or reads a clock: same inputs, same outputs.

mod connect;
mod counters;
mod deliver;
mod encode;
mod event;
mod gone;
mod happening;
mod large;
mod member;
mod outputs;
mod pace;
mod parcel;
mod passing;
mod peers;
mod plain;
mod publish;
mod replay;
mod report;
mod shard;
mod share;
mod slots;
mod stream;
mod subscribe;
mod survey;
mod sweep;
mod timers;
mod toil;
mod unaccepted;
mod violation;
mod will;

pub use counters::{Counters, Dropped};
pub use event::{HandOver, Input, Output, PeerMessage, RetainVersion, ShareMessage, Verdict};
pub use happening::{Begun, CloseCause, Ended, Happening, Level, Refusal, Unaccepted, Who};
pub use outputs::Outputs;
pub use parcel::Parcel;
pub use passing::OwnMessage;
pub use shard::Shard;
pub use survey::{
    ConnectionReport, Found, Report, RetainedReport, SessionReport, SubscriptionReport, Sums,
    Survey,
};
pub use violation::Violation;
