//! What who is logged in may read and write: by the rules in force, as an MQTT Client of the same name.

use super::house::House;
use crate::acl::explain::{self, Asker};
use crate::acl::{Act, Rules, Standing, may_without_file};
use crate::ids::ListenerId;
use std::sync::Arc;

/// The client id that the page is known by to the rules; those of its MQTT clients begin with it.
pub const CLIENT_ID: &str = "mqttfast-page";

/// Who is logged in, and where.
#[derive(Clone, Debug)]
pub struct Visitor {
    /// `None`: nobody need log in.
    pub user: Option<Box<str>>,
    /// Whose rules hold.
    pub listener: ListenerId,
    /// A Client like this may come in by MQTT, and so publish.
    pub may_act: bool,
    /// The other end of the connection is on this machine.
    pub is_local: bool,
}

/// The rights of a visitor, for one request.
pub struct Rights {
    rules: Arc<Rules>,
    listener: ListenerId,
    user: Option<Box<str>>,
    standing: Option<Standing>,
}

impl Rights {
    /// By the rules that are in force now. `None`: the shard that was asked has not answered in time.
    pub fn of(visitor: &Visitor, house: &House) -> Option<Rights> {
        let rules = house.known.rules()?;
        let user = visitor.user.clone();
        let acl = rules.of(visitor.listener);
        let standing = acl.map(|acl| acl.standing(user.as_deref(), CLIENT_ID));
        Some(Rights {
            rules,
            listener: visitor.listener,
            user,
            standing,
        })
    }

    fn may(&self, act: Act, topic: &str) -> bool {
        let verdict = match (self.rules.of(self.listener), self.standing) {
            (Some(acl), Some(standing)) => {
                acl.may(standing, self.user.as_deref(), CLIENT_ID, act, topic)
            }
            _ => may_without_file(false, act, topic),
        };
        verdict.is_allowed()
    }

    /// May messages of this topic be read?
    pub fn may_read(&self, topic: &str) -> bool {
        self.may(Act::Read, topic)
    }

    /// May something of this filter be heard? Errors: a sentence, with the rule that is missing.
    pub fn may_watch(&self, filter: &str) -> Result<(), String> {
        let answer = explain::subscribe(self.rules.of(self.listener), self.asker(), filter);
        answer.allowed.then_some(()).ok_or(answer.text)
    }

    /// May this topic be published to? Errors: a sentence, with the rule that refuses.
    pub fn may_publish(&self, topic: &str) -> Result<(), String> {
        let answer = explain::publish(self.rules.of(self.listener), self.asker(), topic);
        answer.allowed.then_some(()).ok_or(answer.text)
    }

    fn asker(&self) -> Asker<'_> {
        Asker {
            user: self.user.as_deref(),
            client: CLIENT_ID,
        }
    }

    /// May messages of this topic be written?
    pub fn may_write(&self, topic: &str) -> bool {
        self.may(Act::Write, topic)
    }
}
