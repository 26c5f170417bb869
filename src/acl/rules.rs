//! The rules of a whole broker: a table for each listener that has an ACL file.

use super::table::Acl;
use crate::ids::ListenerId;
use std::sync::Arc;

/// What is in force. Immutable: a reload makes new ones, and every shard exchanges them in one step.
#[derive(Clone, Default, Debug)]
pub struct Rules {
    /// By `ListenerId`. Listeners with the same file share its table; one beyond the end has none.
    tables: Box<[Option<Arc<Acl>>]>,
    /// A retained message is sent only while its publisher may still write there (`check_retain_source`).
    pub check_retain_source: bool,
    /// A subscription of which the Client may hear nothing is refused in SUBACK. Mosquitto grants it.
    pub refuse_subscriptions: bool,
}

impl Rules {
    /// A table for each listener, in their order; `None` allows everything.
    pub fn new(tables: Vec<Option<Arc<Acl>>>) -> Rules {
        Rules {
            tables: tables.into(),
            ..Rules::default()
        }
    }

    /// The table of a listener.
    #[inline]
    pub fn of(&self, listener: ListenerId) -> Option<&Acl> {
        self.tables.get(listener.index())?.as_deref()
    }

    /// How many listeners have a place here.
    pub fn listeners(&self) -> usize {
        self.tables.len()
    }

    /// Some listener has a table.
    pub fn are_any(&self) -> bool {
        self.tables.iter().any(Option::is_some)
    }
}
