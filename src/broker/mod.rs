//! One shard: the state machine of the broker. It marries `session` (one Client) with `topic` (who wants what).
//!
//! [`Shard::handle`] takes one [`Input`] at a time and appends [`Output`]s; [`Shard::flush`] ends the turn. Nothing
//! here waits, owns a socket or reads a clock: same inputs, same outputs.

mod change;
mod clients;
mod counters;
mod event;
mod filter_refusal;
mod gone;
mod happening;
mod home;
mod on;
mod order;
mod other_protocol;
mod outputs;
mod parcel;
mod passing;
mod peers;
mod pending;
mod restored;
mod restoring;
mod rights;
mod settling;
mod shard;
mod slots;
mod storage;
mod survey;
mod topics;
mod turn;
mod violation;

pub use change::{Change, StoredDelivery};
pub use counters::{Counters, Dropped};
pub use event::{HandOver, Input, Output, PeerMessage, Settles, ShareMessage, Verdict};
pub use filter_refusal::FilterRefusal;
pub use happening::{
    BridgeChange, CloseCause, ConnectionEnd, Denied, Happening, Identity, LogLevel, Refusal,
    RestoreLosses, SessionBegin, UNIX_PEER, Unaccepted,
};
pub use home::home_of;
pub use order::Order;
pub use other_protocol::{InsteadOfHttp, OPENING_BYTES_MAX, instead_of_http};
pub use outputs::Outputs;
pub use parcel::Parcel;
pub use passing::{OwnMessage, RetainVersion};
pub use restored::{
    Restored, RestoredDelivery, RestoredHead, RestoredMessage, RestoredPart, RestoredSession,
    RestoredWill,
};
pub use shard::Shard;
pub use storage::{Condition, StoreFigures, StoreState};
pub use survey::{
    ConnectionReport, Found, Report, RetainedReport, SessionReport, Statistics, SubscriptionReport,
    Sums, Survey, TopicReport, TopicsReport,
};
pub use violation::Violation;
