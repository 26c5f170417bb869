//! Rights: may a Client do this to that Topic Name or Topic Filter?
//!
//! Asked in one place for PUBLISH as it comes in and for a will as it is sent (`on::publish`). Deliveries and SUBSCRIBE
//! will be asked about once rules are configured. Today's one rule keeps Clients from publishing in the broker's name;
//! everything else is allowed.

/// What a Client wants to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Act {
    /// To publish to a Topic Name.
    Publish,
}

/// The rule that refuses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Rule {
    /// `$SYS` and `$CONTROL`, and all below them, are the broker's own. `$SYS` is reserved by convention, and
    /// `$CONTROL` is where Mosquitto takes orders of administrators: nothing that a Client says there may look like the
    /// broker's word. A bridge may tell its own state. [v3.1.1 4.7.2, v5 4.7.2]
    BrokersOwn,
}

/// The answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Decision {
    Allowed,
    Refused { rule: Rule },
}

/// Who asks.
#[derive(Clone, Copy, Default)]
pub(super) struct Asker {
    /// It says that it is a bridge.
    pub bridge: bool,
}

/// The rules in force.
#[derive(Default)]
pub(super) struct Rights;

impl Rights {
    /// May this Client do that? `who` is asked only where a rule depends on it.
    #[inline]
    pub fn may(&self, who: impl FnOnce() -> Asker, act: Act, name: &str) -> Decision {
        match act {
            Act::Publish if is_brokers_own(name) && !(is_bridge_state(name) && who().bridge) => {
                Decision::Refused {
                    rule: Rule::BrokersOwn,
                }
            }
            Act::Publish => Decision::Allowed,
        }
    }
}

#[inline]
fn is_brokers_own(topic: &str) -> bool {
    topic.starts_with('$') && matches!(topic.split('/').next(), Some("$SYS" | "$CONTROL"))
}

/// Topic Names by which a bridge says that it is connected, or by its will that it is not:
/// `$SYS/broker/connection/NAME/state`.
fn is_bridge_state(topic: &str) -> bool {
    let name = topic
        .strip_prefix("$SYS/broker/connection/")
        .and_then(|rest| rest.strip_suffix("/state"));
    name.is_some_and(|name| !name.contains('/'))
}
