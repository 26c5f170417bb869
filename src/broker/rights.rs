//! Rights: the rules in force on this shard.
//!
//! They are asked where a PUBLISH comes in and a will is sent (`on::publish`), where the subscribers of a Topic Name
//! are found (`on::deliver`: live deliveries), where a message goes to a member of a group (`on::share`), leaves a
//! queue or is sent again (`clients::window`), where a retained message is replayed (`on::tick`), and at SUBSCRIBE
//! (`on::subscribe`). `clients::rights` has the question, because the answer depends on the Session: its user name,
//! client id and listener.
//!
//! Three things make the answer cheap. Without rules one branch is paid. Where an answer of the trie is kept for the
//! next message of a Topic Name, it is kept without those who may not read, and with a Session that may write
//! (`topic::routes`). And a Session remembers the last name it asked about, of each kind (`session::rights`). New
//! rules end all that is kept, and so does a Session that gets another user name or listener.

use crate::acl::{Acl, Act, Rules, may_without_file};
use crate::ids::ListenerId;
use crate::session::Message;
use std::sync::Arc;

pub(super) struct Rights {
    rules: Arc<Rules>,
    /// The number of the rules, since the start of the shard.
    generation: u32,
    in_force: bool,
}

impl Rights {
    pub fn new(rules: Arc<Rules>) -> Rights {
        Rights {
            in_force: rules.are_any(),
            rules,
            generation: 0,
        }
    }

    /// Puts other rules in force.
    pub fn replace(&mut self, rules: Arc<Rules>) {
        self.generation = self.generation.wrapping_add(1);
        self.in_force = rules.are_any();
        self.rules = rules;
    }

    /// Some listener has rules.
    #[inline]
    pub fn are_in_force(&self) -> bool {
        self.in_force
    }

    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// For who asks from outside of the shard.
    pub fn shared(&self) -> Arc<Rules> {
        Arc::clone(&self.rules)
    }

    /// The publisher of this retained message may still write it, or nobody cares.
    pub fn may_still_write(&self, message: &Message) -> bool {
        let Some(source) = message.source().filter(|_| self.rules.check_retain_source) else {
            return true;
        };
        let (user, client) = (source.user_name.as_deref(), &source.client_id);
        let verdict = match self.rules.of(source.listener) {
            Some(acl) => {
                let standing = acl.standing(user, client);
                acl.may(standing, user, client, Act::Write, message.topic())
            }
            None => may_without_file(source.bridge, Act::Write, message.topic()),
        };
        verdict.is_allowed()
    }

    /// The rules of a listener, and their number.
    #[inline]
    pub fn of(&self, listener: ListenerId) -> Option<(u32, &Acl)> {
        Some((self.generation, self.rules.of(listener)?))
    }
}
