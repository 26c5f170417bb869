//! The rest of the process, as bridges need it.

use crate::ids::ListenerId;
use crate::io::clock::Clock;
use crate::io::helpers::log::Log;
use crate::io::helpers::recent::Recent;
use crate::io::mail::Shards;

/// What the thread shares with the rest of the process.
#[derive(Clone)]
pub struct House {
    /// Where messages and connections go.
    pub shards: Shards,
    /// By which bridges come in.
    pub listener: ListenerId,
    /// The same for those without a user name.
    pub nameless_listener: ListenerId,
    /// Lines go there.
    pub log: Log,
    /// What came and went.
    pub recent: Recent,
    /// The same as the shards'.
    pub clock: Clock,
}
