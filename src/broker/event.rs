//! What goes into a shard and what comes out of it. A driver (`io`, or a test) calls
//! `Shard::handle(now, Input, &mut Outputs)` for each event of a turn, then `Shard::flush` once, and carries
//! the outputs out in their order.

use super::change::Change;
use super::happening::{CloseCause, Happening};
use super::parcel::Parcel;
use super::passing::{OwnMessage, RetainVersion};
use super::survey::{Report, Survey};
use super::violation::Violation;
use crate::buffer::Chunks;
use crate::ids::{ConnectionId, GroupId, ListenerId, SessionId, ShardId};
use crate::session::queue::Share;
use crate::session::{ConnectRequest, Message};
use crate::wire::{QoS, SubscriptionOptions};
use std::net::SocketAddr;
use std::sync::Arc;

/// One event.
pub enum Input<'a> {
    /// A listener accepted a Network Connection; its reading is on. Its slot is free in this shard.
    Opened {
        connection: ConnectionId,
        address: SocketAddr,
        listener: ListenerId,
        /// The broker has as many connections as it may: the CONNECT of this one is answered with that.
        crowded: bool,
    },
    /// A peer shard read this Client's CONNECT and hands the connection over to its Session's home; reading is off.
    Adopted {
        connection: ConnectionId,
        address: SocketAddr,
        /// By which it came to the peer.
        listener: ListenerId,
        hand_over: Box<HandOver>,
    },
    /// Bytes in the order of the stream. Allowed after `StopReading` too (what was already on its way).
    Bytes {
        connection: ConnectionId,
        bytes: &'a [u8],
    },
    /// Progress of the one `Send` under way: `bytes` more have left. `returned` is `Some` when the whole
    /// send is done: its chunks come back for reuse and the next `Send` may come.
    Sent {
        connection: ConnectionId,
        bytes: usize,
        returned: Option<Chunks>,
    },
    /// The Network Connection has ended without our asking. The slot is free after this; no other input names it.
    Closed {
        connection: ConnectionId,
        cause: CloseCause,
    },
    /// The answer to `Output::Authenticate`.
    Verdict {
        connection: ConnectionId,
        verdict: Verdict,
    },
    /// A message of a peer shard, in the order of its lane.
    Peer { from: ShardId, message: PeerMessage },
    /// The lane to a peer has spilled over (`on`) or is served again.
    Pressure { to: ShardId, on: bool },
    /// These users, sorted, may log in no more: their Sessions end. Every shard is told the same, in the same order,
    /// and a verdict that comes later is of the users who are left.
    UsersGone(Arc<[Box<str>]>),
    /// A message of the broker's own. One shard is told, whichever; it goes to the others as any message does. Nobody
    /// is paced for it, so whoever makes such messages keeps them few.
    Publish(OwnMessage),
    /// What does the shard hold? Answered by one `Output::Report` at once.
    Survey(Box<Survey>),
    /// The store has kept all changes up to this number of `Output::Changes`: answers that waited for them leave.
    Kept { sequence: u64 },
    /// Time has passed `Shard::next_deadline`.
    Tick,
    /// The broker stops: every connection is to be closed (v5: DISCONNECT 0x8B).
    Shutdown,
}

/// One consequence, to be carried out in order.
#[derive(Debug)]
pub enum Output {
    /// Send these bytes. At most one a connection is under way: the next comes after `Input::Sent { returned: Some }`.
    /// Only the last words before `Close` may come earlier; they wait for it.
    Send {
        connection: ConnectionId,
        chunks: Chunks,
    },
    /// Take no more bytes from this connection until `ResumeReading`.
    StopReading {
        connection: ConnectionId,
    },
    ResumeReading {
        connection: ConnectionId,
    },
    /// This connection sends large packets, or no longer: receive much at a time from it, or as from others.
    ReadLarge {
        connection: ConnectionId,
        on: bool,
    },
    /// The shard has forgotten this connection: send what was given, then close in an orderly way (half-close, a short
    /// linger), then reuse the slot under the next generation. No `Closed` follows.
    Close {
        connection: ConnectionId,
        /// The Client said DISCONNECT: it sends nothing more that could reset what it has not read yet, so where
        /// nothing is left to send the socket closes at once.
        at_once: bool,
    },
    /// The Client promises no packets (Keep Alive 0): let TCP find out when it is gone.
    ProbePeer {
        connection: ConnectionId,
    },
    /// Check these credentials on a helper thread and answer by `Input::Verdict`. Reading is stopped meanwhile.
    Authenticate {
        connection: ConnectionId,
        user_name: String,
        password: Vec<u8>,
    },
    /// Move this connection to shard `to`, where it becomes `Input::Adopted`; its reading is stopped and this shard has
    /// sent nothing on it. This shard has forgotten the connection.
    HandOver {
        connection: ConnectionId,
        to: ShardId,
        hand_over: Box<HandOver>,
    },
    /// Put into the lane to `to`.
    Peer {
        to: ShardId,
        message: PeerMessage,
    },
    /// What a store must know of this turn, answered by `Input::Kept`. Numbers rise by one. Only with a store in the
    /// settings.
    Changes {
        sequence: u64,
        changes: Vec<Change>,
    },
    /// Something the configured `Logs` shows has happened.
    Happened(Box<Happening>),
    /// The answer to `Input::Survey`.
    Report(Box<Report>),
}

/// What the password check found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    Accepted,
    UnknownUser,
    WrongPassword,
    /// Too many checks are waiting.
    Busy,
}

/// A connection on its way to its Session's home.
#[derive(Debug)]
pub struct HandOver {
    /// What its Client, who may come in, asks for.
    pub request: Box<ConnectRequest>,
    /// What was read behind CONNECT; the driver appends what it still reads.
    pub bytes: Vec<u8>,
    /// How often users had gone from the password file when it was let in.
    pub user_epoch: u32,
}

/// What one shard says to another. Lanes keep its order.
#[derive(Debug)]
pub enum PeerMessage {
    /// An Application Message that sessions of the receiver may want, and with `retain` a write to the retained tree.
    Publish {
        message: Message,
        /// Who is to be paced if a subscriber there is slow.
        origin: Option<ConnectionId>,
        retain: Option<RetainVersion>,
        /// The receiver's sessions matched (its bit was in the mask); else only the retained tree is meant.
        live: bool,
    },
    /// QoS 0 messages that sessions of the receiver may want, as they came.
    Parcel(Box<Parcel>),
    /// The sender now has (or no longer has) a Session that subscribed to `filter`.
    FilterAdded {
        filter: Box<str>,
        sequence: u64,
    },
    FilterRemoved {
        filter: Box<str>,
    },
    /// Asks for `FiltersInForce` of this sequence, behind a number of `FilterRemoved`.
    AreFiltersInForce {
        sequence: u64,
    },
    /// Every `FilterAdded` of the receiver up to `sequence` is in force at the sender.
    FiltersInForce {
        sequence: u64,
    },
    /// Stop (or go on) reading from this connection of the receiver: a subscriber of the sender is slow.
    Pace {
        connection: ConnectionId,
        pause: bool,
    },
    /// About a Shared Subscription, between the owner of its group and the home of a member.
    Share(ShareMessage),
    /// Asks for `Clock`; sent while the sender holds marks of deleted retained messages.
    ClockRequest {
        clock: u64,
    },
    /// The sender's Lamport clock: nothing older than this comes from it any more.
    Clock {
        clock: u64,
    },
}

impl PeerMessage {
    /// What it holds besides its slot in a lane. A payload counts in each lane it is in.
    pub fn bytes(&self) -> usize {
        match self {
            PeerMessage::Publish { message, .. } => message.bytes(),
            PeerMessage::Parcel(parcel) => parcel.bytes(),
            PeerMessage::FilterAdded { filter, .. } | PeerMessage::FilterRemoved { filter } => {
                filter.len()
            }
            PeerMessage::Share(
                ShareMessage::Deliver { message, .. } | ShareMessage::Return { message, .. },
            ) => message.bytes(),
            PeerMessage::Share(_)
            | PeerMessage::AreFiltersInForce { .. }
            | PeerMessage::FiltersInForce { .. }
            | PeerMessage::Pace { .. }
            | PeerMessage::ClockRequest { .. }
            | PeerMessage::Clock { .. } => 0,
        }
    }
}

/// What the owner of a group and the home of a member say to each other. `filter` is the whole text, `$share/…`.
#[derive(Debug)]
pub enum ShareMessage {
    /// To the owner: a Session of the sender subscribes, or changes its options.
    Join {
        filter: Box<str>,
        session: SessionId,
        membership: u32,
        options: SubscriptionOptions,
        identifier: Option<u32>,
        ticket: u64,
    },
    /// To the home: from now on, on every shard, the group gets its messages and the member is one of it.
    Joined { ticket: u64 },
    /// To the owner: a Session of the sender belongs to the group no more.
    Leave {
        filter: Box<str>,
        session: SessionId,
    },
    /// To the owner: the Client of a member has come or gone.
    Present {
        filter: Box<str>,
        session: SessionId,
        connected: bool,
    },
    /// To the home: a message for a member.
    Deliver {
        message: Message,
        session: SessionId,
        share: Share,
        qos: QoS,
        retain: bool,
        identifier: Option<u32>,
        /// Who is to be paced if the member is slow.
        origin: Option<(ShardId, ConnectionId)>,
    },
    /// To the owner: QoS 1 and 2 messages are done, well or not.
    Done {
        group: GroupId,
        session: SessionId,
        count: u32,
    },
    /// To the owner: a message for another member.
    Return {
        message: Message,
        group: GroupId,
        session: SessionId,
    },
}

/// How a Network Connection ends.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ending {
    /// DISCONNECT of the Client. `with_will`: v5 reason code 0x04 and others but 0. [v5 3.14.2.1]
    Disconnect { with_will: bool },
    /// The Network Connection failed.
    Lost(CloseCause),
    /// A rule was broken.
    Violation(Violation),
    /// Another connection came with the same client id. `silently`: a warning has told the log that this goes on and
    /// on.
    TakenOver { silently: bool },
    /// Its user is gone from the password file.
    UserGone,
    /// CONNACK refused it; the line is in the log already.
    Refused,
    /// The broker stops.
    Shutdown,
}
