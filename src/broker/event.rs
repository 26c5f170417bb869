//! What goes into a shard and what comes out of it. A driver (`io`, or a test) calls
//! `Shard::handle(now, Input, &mut Outputs)` for each event of a turn, then `Shard::flush` once, and carries
//! the outputs out in their order.

use super::change::Change;
use super::happening::{CloseCause, Happening};
use super::order::Order;
use super::parcel::Parcel;
use super::passing::{Came, GivenBack, OwnMessage, RetainVersion};
use super::restored::Restored;
use super::storage::StoreState;
use super::survey::{Report, Survey};
use super::violation::Violation;
use crate::acl::Rules;
use crate::buffer::Chunks;
use crate::buffer::account::Booked;
use crate::config::Settings;
use crate::ids::{ConnectionId, GroupId, ListenerId, Passage, SessionId, ShardId, StoredSession};
use crate::session::queue::Share;
use crate::session::{ConnectRequest, Message};
use crate::wire::{QoS, SubscriptionOptions};
use std::net::SocketAddr;
use std::sync::Arc;

/// One event.
pub enum Input<'a> {
    /// A listener accepted a Network Connection. Reading is on. Its slot is free in this shard.
    Opened {
        /// Named by the driver, with a generation that this slot did not have yet.
        connection: ConnectionId,
        /// The other end's, for the log.
        address: SocketAddr,
        /// The listener whose rules hold for it.
        listener: ListenerId,
        /// The connection limit is reached. This connection's CONNECT will be refused with "quota exceeded".
        crowded: bool,
    },
    /// A peer shard read this Client's CONNECT and hands the connection over to its Session's home; reading is off.
    Adopted {
        /// Named anew by the driver: a free slot of this shard.
        connection: ConnectionId,
        /// The other end's, for the log.
        address: SocketAddr,
        /// The listener that accepted it.
        listener: ListenerId,
        /// What the peer shard has learned of it.
        hand_over: Box<HandOver>,
    },
    /// What lies below MQTT has shown who the Client is, where its listener's `certificate_names` asks for that. Comes
    /// before any bytes.
    Identified {
        /// Its CONNECT has not come.
        connection: ConnectionId,
        /// Valid as a user name, and not empty.
        user_name: Box<str>,
    },
    /// Bytes in the order of the stream. They may also come after `StopReading`, if they were already on their way.
    Bytes {
        /// It is open in this shard.
        connection: ConnectionId,
        /// Any cut of the stream is allowed.
        bytes: &'a [u8],
    },
    /// A proxy has said where the Client is. Comes before the first `Bytes`.
    Address {
        /// It is open in this shard.
        connection: ConnectionId,
        /// Counts from now on.
        address: SocketAddr,
    },
    /// What lies between the socket and MQTT keeps so many bytes of memory for this connection from now on.
    LinkBytes {
        /// It is open in this shard.
        connection: ConnectionId,
        /// Not what it took last time, and that not in addition.
        bytes: usize,
    },
    /// Progress of the one `Send` under way: `bytes` more have left. `returned` is `Some` when the whole send is done:
    /// its chunks come back for reuse, and the shard may emit the next `Send`.
    Sent {
        /// It has a `Send` under way.
        connection: ConnectionId,
        /// That left since the last such input about this send.
        bytes: usize,
        /// `None`: the rest of the send is still under way.
        returned: Option<Chunks>,
    },
    /// The Network Connection has ended without our asking. The slot is free after this; no other input names it.
    Closed {
        /// Its Session, if it has one, stays as its expiry says.
        connection: ConnectionId,
        /// What the kernel reported.
        cause: CloseCause,
    },
    /// The answer to `Output::Authenticate`.
    Verdict {
        /// May have closed meanwhile; the verdict is then dropped.
        connection: ConnectionId,
        /// For the user name and password that were asked about.
        verdict: Verdict,
    },
    /// A message of a peer shard, in the order of its lane.
    Peer {
        /// Whose lane it came by.
        from: ShardId,
        /// Applied before the next one of that lane.
        message: PeerMessage,
    },
    /// The lane to a peer has spilled over (`on`) or is served again.
    Pressure {
        /// The peer that takes too slowly.
        to: ShardId,
        /// Publishers that send to it are paced from now on; `false`: they go on.
        on: bool,
    },
    /// These users, sorted, have gone from the password file, so their Sessions end. Every shard gets the same inputs
    /// of this kind in the same order. A verdict that comes later was made by the new file.
    UsersGone(Arc<[Box<str>]>),
    /// These rules are in force from now on, for subscriptions that exist too. Every shard gets them.
    Rules(Arc<Rules>),
    /// Other settings, rules included, for the same listeners. Every shard gets the same. The store and the memory
    /// limit stay as they were.
    Settings(Arc<Settings>),
    /// A message of the broker's own. Any one shard gets it and passes it to the others like any message. No publisher
    /// is paced for it, so its sender must keep such messages few.
    Publish(OwnMessage),
    /// A question about what the shard holds. Answered at once by one `Output::Report`.
    Survey(Box<Survey>),
    /// What an operator tells the shard to do. Answered at once by one `Output::Report`.
    Order(Box<Order>),
    /// What the store gives back at the start, in chunks before the first `Opened`; every shard gets a last one. The
    /// answer to that is `Output::Restored`.
    Restored(Box<Restored>),
    /// The store has kept all changes up to this number of `Output::Changes`: answers that waited for them leave.
    Kept {
        /// Never lower than the one before.
        sequence: u64,
    },
    /// The store is in this state from now on.
    Store(StoreState),
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
        /// Open, or closed by the next output that names it.
        connection: ConnectionId,
        /// Not empty; the driver gives it back when it is sent.
        chunks: Chunks,
    },
    /// Take no more bytes from this connection until `ResumeReading`.
    StopReading {
        /// Bytes that the driver has already received may still come.
        connection: ConnectionId,
    },
    /// Take bytes from this connection again, after `StopReading` or `Adopted`.
    ResumeReading {
        /// The kernel has kept what came meanwhile.
        connection: ConnectionId,
    },
    /// This connection sends large packets, or no longer: receive much at a time from it, or as from others.
    ReadLarge {
        /// Which driver buffer it gets; bytes mean the same.
        connection: ConnectionId,
        /// `true`: its packets are larger than a receive buffer.
        on: bool,
    },
    /// The shard has forgotten this connection: send what was given, then close in an orderly way (half-close, a short
    /// linger), then reuse the slot under the next generation. No `Closed` follows.
    Close {
        /// Not to be named again by either side.
        connection: ConnectionId,
        /// The Client said DISCONNECT: it sends nothing more that could reset what it has not read yet, so where
        /// nothing is left to send the socket closes at once.
        at_once: bool,
    },
    /// The Client promises no packets (Keep Alive 0): let TCP find out when it is gone.
    ProbePeer {
        /// It stays open, and its socket gets TCP keep-alive.
        connection: ConnectionId,
    },
    /// Check these credentials on a helper thread and answer by `Input::Verdict`. Reading is stopped meanwhile.
    Authenticate {
        /// The verdict names it again.
        connection: ConnectionId,
        /// As CONNECT has it; empty names too.
        user_name: String,
        /// Any bytes; empty where CONNECT has none.
        password: Vec<u8>,
    },
    /// Move this connection to shard `to`, where it becomes `Input::Adopted`; its reading is stopped and this shard has
    /// sent nothing on it. This shard has forgotten the connection.
    HandOver {
        /// Its generation ends here.
        connection: ConnectionId,
        /// The home of its client id.
        to: ShardId,
        /// Goes with the socket, before anything else is said of it.
        hand_over: Box<HandOver>,
    },
    /// Put this message into the lane to shard `to`.
    Peer {
        /// Another shard.
        to: ShardId,
        /// Behind all that was put into this lane before.
        message: PeerMessage,
    },
    /// The changes of this turn that a store must keep; the answer is `Input::Kept`. Numbers rise by one. Emitted only
    /// with a store in the settings.
    Changes {
        /// What `Kept` will say.
        sequence: u64,
        /// In the order they were made.
        changes: Vec<Change>,
    },
    /// All of `Input::Restored` is in force on every shard. When all shards have said so, connections may be accepted.
    Restored,
    /// Much that was held is free, and has been for a while: memory that the allocator has kept may go back to the
    /// system. Not on a packet's way.
    GiveMemoryBack,
    /// Something the configured `Logs` shows has happened.
    Happened(Box<Happening>),
    /// A Client has subscribed to something below `$SYS`.
    SysWanted,
    /// The answer to `Input::Survey` or `Input::Order`.
    Report(Box<Report>),
}

/// What the password check found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// The password is the user's.
    Accepted,
    /// No line of the file names the user.
    UnknownUser,
    /// The user is there, with another password.
    WrongPassword,
    /// Too many checks are waiting.
    Busy,
}

/// A connection on its way to its Session's home.
#[derive(Debug)]
pub struct HandOver {
    /// What the CONNECT of the accepted Client asks for.
    pub request: Box<ConnectRequest>,
    /// What was read behind CONNECT; the driver appends what it still reads.
    pub bytes: Vec<u8>,
    /// The user epoch (`broker::gone`) of the verdict that let it in.
    pub user_epoch: u32,
}

/// What one shard says to another. Lanes keep its order.
#[derive(Debug)]
pub enum PeerMessage {
    /// An Application Message that sessions of the receiver may want, and with `retain` a write to the retained tree.
    Publish {
        /// Its payload is shared with the sender, not copied.
        message: Message,
        /// The publisher to pace if a subscriber of the receiver is slow.
        origin: Option<ConnectionId>,
        /// Which of two writes to one topic wins.
        retain: Option<RetainVersion>,
        /// `true` if Sessions of the receiver match (its bit was in the mask). `false` if only the retained tree is
        /// written.
        live: bool,
        /// The sender waits for `Settled`.
        needs: bool,
        /// At QoS 2, from a stored Session: for what is stored of its deliveries.
        passage: Option<Passage>,
    },
    /// QoS 0 messages that Sessions of the receiver may want, as their publishers encoded them.
    Parcel(Box<Parcel>),
    /// The sender now has, or no longer has, a subscriber of `filter`.
    FilterAdded {
        /// The whole text.
        filter: Box<str>,
        /// The sender's count, which `FiltersInForce` answers.
        sequence: u64,
    },
    /// The sender no longer has a subscriber of `filter`.
    FilterRemoved {
        /// The whole text.
        filter: Box<str>,
    },
    /// Asks for `FiltersInForce` of this sequence, after a number of `FilterRemoved`.
    AreFiltersInForce {
        /// The sender's count; answered when all up to it was handled.
        sequence: u64,
    },
    /// Every `FilterAdded` of the receiver up to `sequence` is in force at the sender.
    FiltersInForce {
        /// The receiver's count.
        sequence: u64,
    },
    /// Stop reading from this connection of the receiver, because a subscriber of the sender is slow; or go on.
    Pace {
        /// A publisher, by its slot at the receiver.
        connection: ConnectionId,
        /// `false`: go on.
        pause: bool,
    },
    /// The receiver's messages with `needs` of this kind are settled up to the one of this number, counted from 1: what
    /// followed from them is kept.
    Settled {
        /// Which are counted.
        of: Settles,
        /// The last of them.
        upto: u64,
        /// By rising number: subscribers were there, and none had room.
        refused: Vec<u64>,
    },
    /// The sender has Sessions that are stored, so messages of QoS 1 and 2 need its word from now on. It is answered
    /// like `FilterAdded`.
    Stores {
        /// Numbers rise with those of `FilterAdded`.
        sequence: u64,
    },
    /// Memory is short at the sender, or nearly, or no longer: it may refuse messages.
    Tight {
        /// It is.
        on: bool,
    },
    /// About a Shared Subscription, between the owner of its group and the home of a member.
    Share(ShareMessage),
    /// Said while the lane was full, so it takes memory beyond the lane's bounds. That is counted for whoever brought
    /// it about.
    Spilled {
        /// Never one of these itself.
        message: Box<PeerMessage>,
        /// Until the receiver handles it.
        booked: Booked,
    },
    /// Asks for `Clock`. Sent while the sender holds marks of deleted retained messages.
    ClockRequest {
        /// The sender's own, so that the receiver's is not behind it.
        clock: u64,
    },
    /// The sender's Lamport clock: no older write comes from it any more.
    Clock {
        /// The receiver's next write has a higher one.
        clock: u64,
    },
}

/// Messages of a lane that are settled, each kind counted for itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Settles {
    /// `PeerMessage::Publish`.
    Publishes,
    /// `ShareMessage::Deliver`.
    Deliveries,
}

impl Settles {
    pub(super) const BOTH: [Settles; 2] = [Settles::Publishes, Settles::Deliveries];
}

impl PeerMessage {
    /// Bytes the message holds besides its slot in a lane. A payload counts in each lane it is in.
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
            PeerMessage::Settled { refused, .. } => size_of_val(&**refused),
            PeerMessage::Spilled { message, .. } => message.bytes(),
            PeerMessage::Share(_)
            | PeerMessage::Stores { .. }
            | PeerMessage::Tight { .. }
            | PeerMessage::AreFiltersInForce { .. }
            | PeerMessage::FiltersInForce { .. }
            | PeerMessage::Pace { .. }
            | PeerMessage::ClockRequest { .. }
            | PeerMessage::Clock { .. } => 0,
        }
    }
}

/// Messages between the owner of a group and the home of a member. `filter` is the whole text, `$share/…`.
#[derive(Debug)]
pub enum ShareMessage {
    /// To the owner: a Session of the sender subscribes, or changes its options.
    Join {
        /// Names the group, with the filter in it.
        filter: Box<str>,
        /// By its id at the sender.
        session: SessionId,
        /// The number of this membership, which its deliveries name.
        membership: u32,
        /// Of this member; others of the group may have others.
        options: SubscriptionOptions,
        /// Subscription Identifier, v5 only.
        identifier: Option<u32>,
        /// The sender's count, which `Joined` answers.
        ticket: u64,
    },
    /// To the home: the member belongs to the group now, and every shard sends the group its messages.
    Joined {
        /// Of the `Join`; joins with lower ones are answered too.
        ticket: u64,
    },
    /// To the owner: a Session of the sender has left the group.
    Leave {
        /// Names the group.
        filter: Box<str>,
        /// By its id at the sender.
        session: SessionId,
    },
    /// To the owner: the Client of a member has come or gone.
    Present {
        /// Names the group.
        filter: Box<str>,
        /// By its id at the sender.
        session: SessionId,
        /// `false`: others of the group go first from now on.
        connected: bool,
    },
    /// To the home: a message for a member.
    Deliver {
        /// Payload shared with the owner.
        message: Message,
        /// By its id at the receiver.
        session: SessionId,
        /// Owner, group and membership, noted with the delivery.
        share: Share,
        /// Lower one of publisher's and subscription's.
        qos: QoS,
        /// By the member's Retain As Published.
        retain: bool,
        /// Subscription Identifier, v5 only.
        identifier: Option<u32>,
        /// The publisher to pace if the member is slow.
        origin: Option<(ShardId, ConnectionId)>,
        /// The sender waits for `Settled`.
        needs: bool,
        /// As that of the message, and the name of the group for the store.
        passage: Option<(Passage, StoredSession)>,
        /// Another member has given it back.
        given_back: Option<GivenBack>,
    },
    /// To the owner: deliveries at QoS 1 and 2 are complete or dropped.
    Done {
        /// By its number at the owner.
        group: GroupId,
        /// By its id at the sender.
        session: SessionId,
        /// How many of them.
        count: u32,
    },
    /// To the owner: a message for another member.
    Return {
        /// Not delivered, or delivered at QoS 1 and not acknowledged.
        message: Message,
        /// By its number at the owner.
        group: GroupId,
        /// The member that gives it back, by its id at the sender.
        session: SessionId,
        /// The same for the store, if it is to go on knowing of it.
        given_back: Option<GivenBack>,
        /// The member was gone when the message came: what the receiver had sent.
        came: Option<Came>,
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
    /// Another connection came with the same client id. `silently`: no line, because a warning has told of repeated
    /// takeovers.
    TakenOver { silently: bool },
    /// Its user is gone from the password file.
    UserGone,
    /// It came without a login that was checked, and its listener wants one now.
    LoginNeeded,
    /// An operator has sent it away.
    SentAway,
    /// CONNACK refused it; the line is in the log already.
    Refused,
    /// The broker stops.
    Shutdown,
}
