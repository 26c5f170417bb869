//! Questions to a shard about what it holds, and the answers: for statistics, a status page, a signal's line in the
//! log.
//!
//! A [`Survey`] is one [`super::Input`], answered by one [`Report`] while it is handled. Lists come a page at a time,
//! so that a shard with 100,000 Sessions is never held up: a report with more to come holds the survey that asks for
//! the rest.
//!
//! Between two pages the shard goes on, and things come and go. Whatever is there from the first page to the last is
//! reported exactly once; what comes, goes or is made anew meanwhile may be reported or not.

use super::counters::Counters;
use super::storage::StoreState;
use crate::acl::Rules;
use crate::budget::Refused;
use crate::budget::owner::OwnerReport;
use crate::ids::{ListenerId, NodeId, SessionId, ShardId};
use crate::limits;
use crate::session::Message;
use crate::time::Time;
use crate::topic::RetainCursor;
use crate::wire::{Malformed, QoS, SubscriptionOptions, TopicFilter, Version};
use std::net::SocketAddr;
use std::sync::Arc;

/// One question. Where a page begins is part of it.
#[derive(Debug)]
pub struct Survey {
    pub(super) subject: Subject,
    /// Entries of a page, at most.
    pub(super) items_max: usize,
}

/// What is asked for, and where the page begins.
#[derive(Debug)]
pub(super) enum Subject {
    Sums,
    Statistics {
        /// Slots of Sessions and connections from this one on.
        slot: u32,
        /// Messages and bytes that wait in those before.
        queued: usize,
        unsent_bytes: usize,
    },
    Topics,
    /// The Sessions from this slot on.
    Sessions {
        slot: u32,
    },
    Subscriptions {
        /// The Sessions from this slot on.
        slot: u32,
        /// What was reported last of the Session in `slot`, if a part of it was.
        after: Option<(SessionId, Last)>,
    },
    Retained {
        cursor: Box<RetainCursor>,
        /// With what they say.
        values: bool,
    },
    Rules,
    Session {
        client_id: Box<str>,
    },
}

/// The subscription of a Session that was reported last: its own filters come first, then its Shared Subscriptions.
#[derive(Debug)]
pub(super) enum Last {
    Filter(NodeId),
    Shared(Box<str>),
}

impl Survey {
    fn of(subject: Subject) -> Survey {
        Survey {
            subject,
            items_max: limits::SURVEY_ITEMS_MAX,
        }
    }

    /// Asks for counters and sizes.
    pub fn sums() -> Survey {
        Survey::of(Subject::Sums)
    }

    /// The same with what only a walk over all Sessions and connections finds. They come with the last page.
    pub fn statistics() -> Survey {
        Survey::of(Subject::Statistics {
            slot: 0,
            queued: 0,
            unsent_bytes: 0,
        })
    }

    /// Asks for the topics that the Clients of the shard published to since the last such question. From the first one
    /// on it is counted, until nobody has asked for [`limits::WATCH_MS`].
    pub fn topics() -> Survey {
        Survey::of(Subject::Topics)
    }

    /// Asks for the Sessions whose home the shard is, with the connection of each.
    pub fn sessions() -> Survey {
        Survey::of(Subject::Sessions { slot: 0 })
    }

    /// The same from a slot on, which [`Survey::slot`] has told.
    pub fn sessions_from(slot: u32) -> Survey {
        Survey::of(Subject::Sessions { slot })
    }

    /// Where a page of Sessions begins. `None`: it asks for something else.
    pub fn slot(&self) -> Option<u32> {
        match self.subject {
            Subject::Sessions { slot } => Some(slot),
            _ => None,
        }
    }

    /// Asks for the subscriptions of these Sessions.
    pub fn subscriptions() -> Survey {
        Survey::of(Subject::Subscriptions {
            slot: 0,
            after: None,
        })
    }

    /// Asks for the retained messages, those below `$` too. All shards hold the same.
    pub fn retained() -> Survey {
        Survey::of(Subject::Retained {
            cursor: Box::new(RetainCursor::everything()),
            values: false,
        })
    }

    /// The same with what they say, which is shared, not copied.
    pub fn retained_with_values() -> Survey {
        Survey::of(Subject::Retained {
            cursor: Box::new(RetainCursor::everything()),
            values: true,
        })
    }

    /// Asks for the retained messages of a Topic Filter. `values`: with what they say, which is shared, not copied.
    ///
    /// Errors: `filter` is no Topic Filter [v3.1.1 4.7, v5 4.7].
    pub fn retained_of(filter: &str, values: bool) -> Result<Survey, Malformed> {
        let filter = TopicFilter::new(filter)?;
        Ok(Survey::of(Subject::Retained {
            cursor: Box::new(RetainCursor::new(filter)),
            values,
        }))
    }

    /// Asks for the rules in force, which are shared, not copied.
    pub fn rules() -> Survey {
        Survey::of(Subject::Rules)
    }

    /// Asks for the Session of one client id. None, or one, is found.
    pub fn session(client_id: &str) -> Survey {
        Survey::of(Subject::Session {
            client_id: client_id.into(),
        })
    }

    /// The same in pages of at most `items` entries, within 1..=`limits::SURVEY_ITEMS_MAX`.
    pub fn in_pages_of(mut self, items: usize) -> Survey {
        self.items_max = items.clamp(1, limits::SURVEY_ITEMS_MAX);
        self
    }
}

/// The answer to one survey.
#[derive(Debug)]
pub struct Report {
    /// Who answers.
    pub shard: ShardId,
    /// The shard's time as it answered; times of entries are on the same clock.
    pub now: Time,
    /// One page.
    pub found: Found,
    /// Asks for what comes next; `None`: this is all. A page may be empty and not the last.
    pub next: Option<Survey>,
}

/// What was asked for.
#[derive(Debug)]
pub enum Found {
    /// Never in pages, but those of statistics in the last one.
    Sums(Box<Sums>),
    /// A page of statistics that is not the last.
    Counting,
    /// Never in pages.
    Topics(Box<TopicsReport>),
    /// By slot, those of absent Clients too.
    Sessions(Vec<SessionReport>),
    /// By Session; Shared Subscriptions behind the others.
    Subscriptions(Vec<SubscriptionReport>),
    /// In the order of the tree.
    Retained(Vec<RetainedReport>),
    /// Never in pages.
    Rules(Arc<Rules>),
    /// The answer to an order: whether there was anything to do here.
    Done(bool),
}

/// Counters and sizes of one shard.
#[derive(Clone, Default, Debug)]
pub struct Sums {
    /// Sums since the start of the shard.
    pub counters: Counters,
    /// Network Connections, those that are not accepted yet among them.
    pub connections: usize,
    /// Those of absent Clients among them.
    pub sessions: usize,
    /// Subscriptions of its Sessions, Shared Subscriptions among them.
    pub subscriptions: usize,
    /// Retained messages, those of all shards.
    pub retained: usize,
    /// Bytes in the queues of all its Sessions.
    pub queued_bytes: u64,
    /// Bytes in the account book of the shard, and the owners that hold most of them.
    pub held_bytes: u64,
    /// At most [`limits::OWNERS_TOLD`], the largest first.
    pub largest_owners: Vec<OwnerReport>,
    /// What was refused because of fair shares of memory, by [`Refused::ALL`].
    pub refused: [u64; Refused::ALL.len()],
    /// `None`: the broker has none.
    pub store: Option<StoreState>,
    /// `None`: they were not asked for.
    pub statistics: Option<Statistics>,
}

/// What a walk finds.
#[derive(Clone, Copy, Default, Debug)]
pub struct Statistics {
    /// Messages in the queues of all its Sessions.
    pub queued: usize,
    /// Bytes that wait to be sent to all its connections.
    pub unsent_bytes: usize,
    /// Shared Subscriptions of its Sessions.
    pub shared_subscriptions: usize,
    /// A Session, of any shard, subscribes to something below `$SYS`.
    pub is_wanted: bool,
}

/// What Clients have published to since the last question.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct TopicsReport {
    /// The time between the two; 0: it is the first.
    pub over_ms: u64,
    /// At most [`limits::SURVEY_ITEMS_MAX`], those with most messages first.
    pub topics: Vec<TopicReport>,
    /// Messages to all others.
    pub other_messages: u64,
    /// Bytes of their payloads.
    pub other_payload_bytes: u64,
}

/// One Topic Name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TopicReport {
    /// As published; an alias is resolved.
    pub topic: Box<str>,
    /// Those that were refused, too.
    pub messages: u64,
    /// Of their payloads.
    pub payload_bytes: u64,
}

/// One Session.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SessionReport {
    /// 1..=65,535 bytes.
    pub client_id: Box<str>,
    /// The user who made it; `None`: it has no user name, or none was checked.
    pub user_name: Option<Box<str>>,
    /// `None`: the Client is away.
    pub connection: Option<ConnectionReport>,
    /// When it ends, while the Client is away; `Time::NEVER`: it does not.
    pub ends: Time,
    /// Shared Subscriptions among them.
    pub subscriptions: usize,
    /// Messages that wait for room in the window, and what they take of the byte limits.
    pub queued: usize,
    /// With what each message costs besides its bytes.
    pub queued_bytes: usize,
    /// Messages that found no room in its queue, since something waited there first.
    pub dropped: u64,
    /// QoS 1 and 2 deliveries that the Client has not completed.
    pub in_flight: usize,
}

/// The Network Connection of a Session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConnectionReport {
    /// The other end's.
    pub address: SocketAddr,
    /// Which listener accepted it.
    pub listener: ListenerId,
    /// The one its CONNECT asked for.
    pub version: Version,
    /// When CONNACK accepted it.
    pub since: Time,
    /// 0: none.
    pub keep_alive_s: u16,
    /// Bytes of packets that came after CONNECT, and bytes that the system took to send.
    pub received_bytes: u64,
    /// Bytes that the system took to send since CONNACK.
    pub sent_bytes: u64,
    /// Bytes that wait to be sent.
    pub unsent_bytes: usize,
}

/// One subscription.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SubscriptionReport {
    /// Of the subscriber.
    pub client_id: Box<str>,
    /// As subscribed, `$share/NAME/` included.
    pub filter: Box<str>,
    /// `None` for a Shared Subscription, whose options are with the shard that owns its group.
    pub options: Option<SubscriptionOptions>,
}

/// One retained message.
#[derive(Clone, Debug)]
pub struct RetainedReport {
    /// Whole Topic Name.
    pub topic: Box<str>,
    /// As published.
    pub qos: QoS,
    /// Without Topic Name and properties.
    pub payload_bytes: usize,
    /// `Time::NEVER`: it does not.
    pub expires: Time,
    /// Seconds since 1970; `None`: not known.
    pub written_s: Option<u64>,
    /// `None`: it was not asked for.
    pub value: Option<Message>,
}
