//! What the tree of retained messages holds for a Topic Name, and what ended Sessions leave in the trie.

use crate::broker::passing::RetainVersion;
use crate::buffer::account::Booked;
use crate::ids::{NodeId, SessionId};
use crate::session::Message;
use std::rc::Rc;

/// A retained message, or the mark that one was deleted.
#[derive(Debug)]
pub struct Retained {
    pub version: RetainVersion,
    /// `None`: deleted; kept until every peer's clock has passed `version`, so that no older write brings it back.
    pub message: Option<Rc<Message>>,
}

/// An ended Session with subscriptions that are still in the trie.
pub struct Departed {
    pub session: SessionId,
    /// Where they lie.
    pub nodes: Vec<NodeId>,
    /// Counts all of them for its owner until the last is out.
    pub booked: Option<Booked>,
}
