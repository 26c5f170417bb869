//! What the tree of retained messages holds for a Topic Name.

use crate::broker::passing::RetainVersion;
use crate::session::Message;
use std::rc::Rc;

/// A retained message, or the mark that one was deleted.
#[derive(Debug)]
pub struct Retained {
    pub version: RetainVersion,
    /// `None`: deleted; kept until every peer's clock has passed `version`, so that no older write brings it back.
    pub message: Option<Rc<Message>>,
}
