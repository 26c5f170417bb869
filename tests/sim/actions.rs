//! What can happen in one run. `generate` makes runs from seeds.

use crate::support::Version;

/// Clients of a run; each keeps its client id and version.
pub const IDENTITIES: usize = 5;
/// The last ones are long enough for a Topic Alias of the broker's.
pub const TOPICS: [&str; 7] = [
    "a",
    "a/b",
    "a/c",
    "b",
    "b/c/d",
    "a/long-topic",
    "b/long-topic/d",
];
pub const FILTERS: [&str; 8] = ["a", "a/b", "a/+", "#", "+", "a/#", "b/+/d", "b"];
/// Shared Subscriptions: group and filter. The same filter in two groups, and two filters under one name.
pub const SHARES: [(&str, &str); 5] = [
    ("$share/g/a/+", "a/+"),
    ("$share/h/a/+", "a/+"),
    ("$share/i/a/#", "a/#"),
    ("$share/g/b", "b"),
    ("$share/g/+/long-topic/#", "+/long-topic/#"),
];
/// A Session Expiry Interval that never ends.
pub const NEVER: u32 = u32::MAX;

/// A will as CONNECT brings it.
#[derive(Clone, Copy, Debug)]
pub struct WillAs {
    pub topic: usize,
    pub qos: u8,
    pub retain: bool,
    /// v5.
    pub delay_s: u32,
    pub expiry_s: Option<u32>,
}

/// A connection as its Client asks for it.
#[derive(Clone, Copy, Debug)]
pub struct ConnectAs {
    pub who: usize,
    /// Accepts the connection.
    pub shard: usize,
    pub clean: bool,
    pub keep_alive_s: u16,
    pub will: Option<WillAs>,
    /// Acknowledges at once.
    pub eager: bool,
    /// Takes bytes only by `Take`, from CONNACK on.
    pub slow: bool,
    /// v5: Session Expiry Interval; before, `clean` says it.
    pub expiry_s: u32,
    pub receive_maximum: Option<u16>,
    pub packet_bytes_max: Option<u32>,
    pub topic_alias_maximum: u16,
    /// A QoS 0 message behind CONNECT, in the same write: its topic.
    pub early: Option<usize>,
    /// Sends a password that was right before, or never.
    pub wrong_password: bool,
}

/// One filter of a SUBSCRIBE.
#[derive(Clone, Copy, Debug)]
pub struct SubscribeAs {
    pub qos: u8,
    /// v5.
    pub no_local: bool,
    pub retain_as_published: bool,
    pub retain_handling: u8,
    pub identifier: Option<u32>,
}

/// One thing that happens. Whatever makes no sense at its time does nothing, so that any of them can be left out.
#[derive(Clone, Debug)]
pub enum Action {
    Connect(ConnectAs),
    Subscribe {
        who: usize,
        filter: usize,
        options: SubscribeAs,
        cut: usize,
    },
    Unsubscribe {
        who: usize,
        filter: usize,
        cut: usize,
    },
    /// Joins a group, with the QoS of the case.
    Join {
        who: usize,
        share: usize,
        retain_as_published: bool,
        identifier: Option<u32>,
    },
    Leave {
        who: usize,
        share: usize,
    },
    /// `count` PUBLISH packets in one write.
    Publish {
        who: usize,
        topic: usize,
        qos: u8,
        retain: bool,
        empty: bool,
        padding: usize,
        count: usize,
        cut: usize,
        /// v5.
        expiry_s: Option<u32>,
        alias: Option<u16>,
    },
    /// The oldest unanswered QoS 2 PUBLISH once more; before v5 a Client may. [3.1 §4.2]
    Repeat {
        who: usize,
    },
    /// Sends up to `count` of the acknowledgements it owes.
    Acknowledge {
        who: usize,
        count: usize,
        cut: usize,
    },
    /// Gone without DISCONNECT.
    Vanish {
        who: usize,
    },
    Disconnect {
        who: usize,
        /// v5: Reason Code 0x04.
        with_will: bool,
        /// v5: a new Session Expiry Interval.
        expiry_s: Option<u32>,
    },
    /// Sends what no Client may send, of the list in `garbage`.
    Garbage {
        who: usize,
        what: usize,
    },
    /// Instead of one of the acknowledgements it owes it sends one that the delivery does not await.
    Misacknowledge {
        who: usize,
        what: usize,
    },
    /// Garbage from a stranger: before a CONNECT of his own, or after.
    Stranger {
        shard: usize,
        what: usize,
        connected: bool,
    },
    /// From now on it takes bytes only by `Take`.
    Slow {
        who: usize,
    },
    Take {
        who: usize,
        bytes: usize,
    },
    Quick {
        who: usize,
    },
    /// Delivers up to `count` messages, each time of the `pick`th lane that holds something.
    Lanes {
        pick: usize,
        count: usize,
    },
    /// Password checks under way are answered.
    Verdicts,
    /// The password file is read anew: every user has a new password.
    Reload,
    /// Somebody begins a CONNECT and sends one more byte of it each second, for ever.
    Trickle {
        shard: usize,
    },
    /// Time passes, second by second.
    Clock {
        ms: u64,
    },
    /// Time has passed and nobody was woken meanwhile.
    Jump {
        ms: u64,
    },
}

/// All that decides a run.
#[derive(Clone, Debug)]
pub struct Case {
    pub seed: u64,
    pub shards: usize,
    pub inflight_max: u16,
    pub read_bytes_max: usize,
    pub lane_high: usize,
    pub session_queue_bytes_max: Option<u32>,
    pub shard_queue_bytes_max: Option<u64>,
    /// Clients have user names and passwords.
    pub passwords: bool,
    /// QoS of all subscriptions of groups.
    pub share_qos: u8,
    /// The broker is stopped after the last action.
    pub shutdown: bool,
    pub versions: [Version; IDENTITIES],
    pub actions: Vec<Action>,
}

impl Case {
    /// Queues may be full.
    pub fn has_small_queues(&self) -> bool {
        self.session_queue_bytes_max.is_some() || self.shard_queue_bytes_max.is_some()
    }
}
