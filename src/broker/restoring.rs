//! The restore under way: names of the store and what they stand for in this shard.

use super::happening::RestoreLosses;
use crate::ids::{OwnerId, SessionId, StoredSession};
use crate::session::Message;
use std::collections::BTreeMap;
use std::rc::Rc;

/// From the first chunk of `Input::Restored` until everything is in force on every shard.
#[derive(Default)]
pub(super) struct Restoring {
    /// Sessions that are here.
    pub sessions: BTreeMap<StoredSession, SessionId>,
    /// Messages that deliveries may name.
    pub messages: BTreeMap<u64, Rc<Message>>,
    /// Whose account retained messages are in.
    pub retained_owner: Option<OwnerId>,
    /// What could not be restored.
    pub losses: RestoreLosses,
    /// After the last chunk: the sequence that peers must have answered, and the ticket that owners of groups must.
    pub awaited: Option<(u64, u64)>,
}
