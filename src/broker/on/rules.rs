//! Other rules are in force: who may read and write what.

use crate::acl::Rules;
use crate::broker::shard::Shard;
use std::sync::Arc;

impl Shard {
    /// They hold from the next question on, for subscriptions that exist and for what is queued too. Nothing that was
    /// kept of an answer by the old ones is used again.
    pub(in crate::broker) fn on_rules(&mut self, rules: Arc<Rules>) {
        self.rights.replace(rules);
        self.topics.forget_found();
    }
}
