//! What a bridge is told, what it asks for, and what it says of itself.

use crate::time::Time;
use crate::wire::{ConnAck, Disconnect, Malformed, Version};

/// One of the two clients of a bridge.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// At this broker.
    Local,
    /// At the other broker.
    Remote,
}

impl Side {
    /// Across the bridge.
    pub fn other(self) -> Side {
        match self {
            Side::Local => Side::Remote,
            Side::Remote => Side::Local,
        }
    }
}

/// What has happened. After [`Action::Close`] nothing more is told of that connection.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// The time that [`super::Machine::next_deadline`] named has come, or any other.
    Tick,
    /// The connection that was asked for is there.
    Opened(Side),
    /// Bytes of MQTT have come. With none: room was made by what was sent.
    Bytes(Side, &'a [u8]),
    /// The connection has ended, or could not be made. The text says how.
    Closed(Side, &'a str),
    /// The answer to [`Action::AskWaiting`].
    Waiting {
        /// Messages in the Session here, those under way among them.
        count: usize,
        /// Messages that found no room in its queue, in all.
        dropped: u64,
    },
    /// A part of the answer to [`Action::AskRetained`]: a retained message here, and what it says.
    Retained(&'a str, &'a [u8]),
    /// That was all.
    RetainedEnd,
    /// The bridge is to end: the broker stops, or the configuration has it no more.
    Stop,
}

/// What must be done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Connect to the address of this number.
    Connect(usize),
    /// Connect to this broker.
    OpenLocal,
    /// Close the connection, or give up the attempt. What is in its outgoing bytes is sent before.
    Close(Side),
    /// Publish the state here, retained.
    Publish {
        /// Connected, or not.
        up: bool,
    },
    /// How many messages wait in the Session here, and how many were lost there?
    AskWaiting,
    /// Which retained messages are here, under the filters of what comes in?
    AskRetained,
    /// For the log.
    Tell(Told),
}

/// What must be done, in order.
pub type Actions = Vec<Action>;

/// What an operator wants to know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Told {
    /// An attempt begins, at the address of this number.
    Connecting(usize),
    /// Both connections are there, and messages cross.
    Connected {
        /// The number of the address.
        address: usize,
        /// What is spoken there.
        version: Version,
        /// The other broker has kept our Session.
        session_present: bool,
    },
    /// The connection has ended, or the attempt.
    Lost {
        /// Why.
        why: Why,
        /// The next attempt is made so many milliseconds later; `None`: none is.
        pause_ms: Option<u64>,
    },
    /// A filter was refused in SUBACK, and its messages do not cross.
    Refused {
        /// By whom.
        side: Side,
        /// Which.
        filter: Box<str>,
        /// As SUBACK has it.
        code: u8,
    },
    /// A message goes round.
    Loop {
        /// Its Topic Name here.
        topic: Box<str>,
        /// The number of the `topic` line that it came by.
        line: usize,
        /// The bridge rests so long.
        pause_ms: u64,
    },
    /// So many retained messages were deleted here, because they were deleted there while the bridge was away.
    Deleted(u64),
    /// Messages for the other broker find no room.
    Dropping {
        /// QoS 0 messages that the other broker took too slowly, so far.
        unsent: u64,
        /// Messages that found the queue here full, so far.
        queue: u64,
    },
}

/// Why a connection has ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Why {
    /// It could not be made, or broke: words of the system.
    Broken(Box<str>),
    /// CONNACK of the other broker refused us.
    Refused {
        /// Whose codes these are.
        version: Version,
        /// As CONNACK has it.
        code: u8,
        /// Its Reason String; empty: none.
        reason: Box<str>,
    },
    /// CONNACK of this broker refused us.
    RefusedHere(u8),
    /// This broker has ended its connection.
    EndedHere,
    /// No connection in time.
    ConnectTimedOut,
    /// No CONNACK in time, or no answer to what is asked first.
    LoginTimedOut,
    /// Nothing has come for too long.
    Silent,
    /// What came is no packet.
    Malformed(Malformed),
    /// A packet came that may not come, or not now.
    Unexpected(u8),
    /// A Topic Alias that was never set, or is too high.
    TopicAlias,
    /// More messages without acknowledgement than we take.
    ReceiveMaximum,
    /// The other broker sends and does not read.
    Unread,
    /// The other broker has said DISCONNECT.
    Disconnected {
        /// Its Reason Code.
        code: u8,
        /// Its Reason String; empty: none.
        reason: Box<str>,
    },
    /// Nothing had crossed for `idle_timeout`.
    Idle,
    /// A message goes round.
    Loop,
    /// The bridge was to end.
    Stopped,
}

impl Why {
    /// By CONNACK of the other broker.
    pub fn refused(version: Version, connack: &ConnAck<'_>) -> Why {
        Why::Refused {
            version,
            code: connack.code,
            reason: connack.properties.reason_string.unwrap_or_default().into(),
        }
    }

    /// By DISCONNECT of the other broker.
    pub fn disconnected(disconnect: &Disconnect<'_>) -> Why {
        Why::Disconnected {
            code: disconnect.reason.0,
            reason: disconnect.reason_string.unwrap_or_default().into(),
        }
    }
}

/// Where a bridge is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// It makes ready.
    Starting,
    /// It tries to connect.
    Connecting,
    /// Messages cross.
    Up,
    /// It waits before the next attempt.
    Down,
    /// `lazy`: it waits for messages.
    Asleep,
    /// A message went round.
    Paused,
    /// It does not try again.
    Ended,
}

/// Sums since the start of the bridge.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counts {
    /// Messages that went to the other broker.
    pub out: u64,
    /// Messages that came from it.
    pub comes_in: u64,
    /// QoS 0 messages that found no room.
    pub dropped: u64,
    /// Messages that found the queue here full, of Sessions here that are no more.
    pub dropped_before: u64,
    /// Messages that no line maps, or that are too large for the other side.
    pub unmapped: u64,
    /// Messages that one of the brokers did not take.
    pub refused: u64,
    /// Retained messages deleted here because they were deleted there while the bridge was away.
    pub deleted: u64,
    /// Connections to the other broker.
    pub connects: u64,
    /// Connections and attempts that failed.
    pub failures: u64,
}

/// A bridge at a glance.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Status {
    /// Where it is.
    pub state: State,
    /// Since when.
    pub since: Time,
    /// The address tried last.
    pub address: usize,
    /// Why the last connection ended.
    pub last: Option<Why>,
    /// What has crossed.
    pub counts: Counts,
}
