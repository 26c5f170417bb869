//! The events that a shard reports, as types, so that the log, denials and statistics need not read sentences.
//!
//! A happening is small and owned, and is built only where the configured [`Logs`] shows it. `io::words` makes its
//! text. Names are as Clients sent them: the code that shows a name must escape it.

use super::counters::Counters;
use super::filter_refusal::FilterRefusal;
use super::violation::Violation;
use crate::acl::Cause;
use crate::budget::Refused;
use crate::budget::owner::OwnerReport;
use crate::config::Logs;
use crate::ids::ShardId;
use crate::invariant::Broken;
use crate::wire::{QoS, Version};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Importance of a happening, and of a line of the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogLevel {
    /// A mistake of the broker's own.
    Error,
    /// Something that an operator should look at.
    Warning,
    /// The ordinary course: who comes and goes.
    Info,
    /// Packets, with `--verbose` only.
    Packet,
}

impl LogLevel {
    /// The setting from which on this level is shown.
    pub fn logs(self) -> Logs {
        match self {
            LogLevel::Error | LogLevel::Warning => Logs::Warnings,
            LogLevel::Info => Logs::Events,
            LogLevel::Packet => Logs::Packets,
        }
    }
}

/// The address of every peer that came by a unix socket: such peers have none, and no peer of TCP has this one.
pub const UNIX_PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// Why a Network Connection ended, as its driver saw it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CloseCause {
    /// The peer closed its side.
    PeerClosed,
    /// The peer reset the connection.
    Reset,
    /// TCP gave up: no answer from the peer.
    TimedOut,
    /// Another error of the kernel, by its `errno`.
    Error(i32),
    /// Its bytes do not follow the transport of its listener. The reason, as one clause.
    Transport(&'static str),
}

/// A Client's names as it gave them, and the address of its Network Connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// Empty in a refused CONNECT that asks for an assigned client id.
    pub client_id: Box<str>,
    /// As CONNECT has it, checked or not.
    pub user_name: Option<Box<str>>,
    /// The other end's.
    pub address: SocketAddr,
}

/// Whether CONNECT resumed a Session or began one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SessionBegin {
    /// An earlier Session is resumed.
    Resumed,
    /// A new Session, because there was none.
    New,
    /// A new Session, because the Client asked for a clean start.
    Clean,
}

/// Why CONNACK refuses a CONNECT that could be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// The connection limit is reached.
    ConnectionsMax,
    /// As many client ids are known as may be, and its own is none of them.
    ClientsMax,
    /// Its Authentication Method is not offered. [v5 4.12]
    AuthenticationMethod,
    /// An empty client id where the standard forbids it. [v3.1.1 MQTT-3.1.3-8]
    EmptyClientId,
    /// Its version of MQTT is not served by this listener.
    VersionNotServed,
    /// An empty client id, which this listener takes from nobody.
    NoClientId,
    /// It has no user name, which would be its client id.
    NoUserName,
    /// Its listener takes the user name of a certificate, and none was shown.
    NoCertificate,
    /// Its client id does not begin as all must.
    ClientIdPrefix,
    /// Its Keep Alive is 0 or longer than the longest, and its version cannot be told another.
    KeepAlive,
    /// The QoS of its will is more than is offered.
    WillQos,
    /// Its will is to be retained, and nothing is.
    WillRetain,
    /// The payload of its will is larger than the operator allows.
    WillTooLarge,
    /// It has no user name, and anonymous Clients are not allowed.
    Anonymous,
    /// No line of the password file names the user.
    UnknownUser,
    /// The user is there, with another password.
    WrongPassword,
    /// Too many large CONNECTs wait for their verdicts.
    NoRoomForCheck,
    /// Too many password checks are waiting.
    ChecksWaiting,
    /// The Session of its client id belongs to another user.
    AnotherUsersSession,
    /// CONNACK would be larger than its Maximum Packet Size. [v5 MQTT-3.1.2-24]
    AnswerTooLarge,
    /// Memory is short, and its owner has had a fair share.
    OverShare,
    /// The broker stops.
    Stopping,
}

impl fmt::Display for Refusal {
    /// The Reason String of CONNACK. The log may tell more.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::ConnectionsMax => {
                "the broker has reached its limit of connections (--max-connections)"
            }
            Refusal::ClientsMax => {
                "as many client ids are known as may be, and this is none of them (global_max_clients)"
            }
            Refusal::AuthenticationMethod => "its authentication method is not offered here",
            Refusal::EmptyClientId => {
                "an empty client id needs clean session 1 and MQTT 3.1.1 [MQTT-3.1.3-8]"
            }
            Refusal::VersionNotServed => {
                "its version of MQTT is not served here (accept_protocol_versions)"
            }
            Refusal::NoClientId => {
                "an empty client id, which is not allowed here (allow_zero_length_clientid)"
            }
            Refusal::NoUserName => {
                "no user name, which is the client id here (use_username_as_clientid)"
            }
            Refusal::NoCertificate => {
                "its certificate has no name that could be its user name (use_identity_as_username, use_subject_as_username)"
            }
            Refusal::ClientIdPrefix => {
                "its client id does not begin with what all must (clientid_prefixes)"
            }
            Refusal::KeepAlive => "its keep alive is 0 or above the limit (max_keepalive)",
            Refusal::WillQos => "the QoS of its will is above the limit (max_qos)",
            Refusal::WillRetain => "its will is to be retained, and none is (retain_available)",
            Refusal::WillTooLarge => "its will is above the limit (message_size_limit)",
            Refusal::Anonymous => {
                "no user name, and anonymous clients are not allowed (--allow-anonymous allows them)"
            }
            // The same sentence for both: a stranger who learns which users exist would try their passwords. The log
            // tells them apart.
            Refusal::UnknownUser | Refusal::WrongPassword => "user name or password is wrong",
            Refusal::OverShare => {
                "memory is short, and this user or client has had a fair share (--memory-limit)"
            }
            Refusal::NoRoomForCheck => "too many large CONNECTs wait for a password check",
            Refusal::ChecksWaiting => "too many password checks are waiting",
            Refusal::AnotherUsersSession => "its client id belongs to a session of another user",
            Refusal::AnswerTooLarge => {
                "CONNACK would be larger than its Maximum Packet Size [v5 MQTT-3.1.2-24]"
            }
            Refusal::Stopping => "the broker stops",
        })
    }
}

/// Why a connection was closed before it had sent a readable CONNECT.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unaccepted {
    /// It broke a rule before its CONNECT was accepted.
    Violation(Violation),
    /// It failed while its CONNECT was incomplete.
    Lost(CloseCause),
}

/// How the connection of an accepted Client ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ConnectionEnd {
    /// DISCONNECT; `with_will`: it asks for its will. [v5 3.14.2.1]
    Disconnected {
        /// v5 reason code 0x04, or another one but 0.
        with_will: bool,
    },
    /// The Network Connection failed.
    Lost(CloseCause),
    /// It broke a rule. With the Topic Filter that broke it, if a filter did.
    Violation {
        /// The rule, with its Reason Code.
        violation: Violation,
        /// The whole text; for the log alone.
        filter: Option<Box<str>>,
    },
    /// A new connection came with its client id.
    TakenOver,
    /// Its user is gone from the password file.
    UserGone,
    /// It came without a login, and one is needed since the configuration was read again.
    LoginNeeded,
    /// An operator has sent it away.
    SentAway,
    /// The broker stops.
    Shutdown,
}

/// What a store gave back at the start and a shard could not take: memory is short, or a limit is lower than before.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct RestoreLosses {
    /// Sessions, with all they were owed.
    pub sessions: u64,
    /// Subscriptions, those of lost Sessions too.
    pub subscriptions: u64,
    /// Deliveries, those of lost Sessions too.
    pub deliveries: u64,
    /// Retained messages.
    pub retained: u64,
    /// Wills of Clients without a stored Session.
    pub wills: u64,
    /// Messages that no store should hold.
    pub malformed: u64,
}

impl RestoreLosses {
    /// Something was lost.
    pub fn any(&self) -> bool {
        *self != RestoreLosses::default()
    }
}

/// What was refused to a Client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Denied {
    /// A message.
    Publish {
        /// As published.
        qos: QoS,
        /// As published.
        retain: bool,
        /// Of its payload.
        payload_bytes: usize,
    },
    /// Its will, when it was to be sent.
    Will {
        /// Will QoS.
        qos: QoS,
        /// Will Retain.
        retain: bool,
    },
    /// To hear anything of this Topic Filter.
    Subscribe {
        /// As asked for.
        qos: QoS,
        /// SUBACK said so. Else the subscription is granted and silent.
        refused: bool,
    },
}

/// What has become of a bridge.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum BridgeChange {
    /// Messages cross.
    Up,
    /// The connection has ended, or an attempt has failed.
    Down,
    /// One of the brokers has refused its login or a subscription.
    Refused,
    /// Messages go round, and it rests.
    Loop,
}

/// One event.
#[derive(Clone, Debug)]
pub enum Happening {
    /// CONNACK accepted it.
    Connected {
        /// With the client id that was assigned, if one was.
        who: Identity,
        /// The one that CONNECT asked for.
        version: Version,
        /// Resumed, or begun.
        session: SessionBegin,
        /// 0: none.
        keep_alive_s: u16,
    },
    /// CONNACK refused it.
    Refused {
        /// As CONNECT has it.
        who: Identity,
        /// What the log says; CONNACK says it in fewer words.
        why: Refusal,
    },
    /// Closed before it was accepted. Probes, which send nothing, are counted only.
    Unaccepted {
        /// All that is known of it.
        address: SocketAddr,
        /// A rule that it broke, or how its connection failed.
        why: Unaccepted,
    },
    /// The connection of an accepted Client is over.
    Ended {
        /// With the client id it had.
        who: Identity,
        /// By whom, and whether its will goes out.
        how: ConnectionEnd,
    },
    /// A Client has subscribed.
    Subscribed {
        /// Whose subscription it is.
        client_id: Box<str>,
        /// As asked for.
        filter: Box<str>,
        /// As granted.
        qos: u8,
    },
    /// A Client has unsubscribed.
    Unsubscribed {
        /// Whose subscription it was.
        client_id: Box<str>,
        /// As asked for.
        filter: Box<str>,
    },
    /// Two connections or more take one client id from each other again and again.
    RepeatedTakeovers {
        /// Contested by connections that each think it theirs.
        client_id: Box<str>,
        /// Takeovers up to now.
        takeovers: u64,
        /// Where the connection that lost it last came from.
        from: SocketAddr,
        /// Where the connection that has it now came from.
        by: SocketAddr,
    },
    /// An invariant of our own does not hold.
    Broken {
        /// What does not hold, and where in the source.
        broken: Broken,
        /// Whose connection, and Session where that may be wrong, ends for it.
        client_id: Option<Box<str>>,
        /// `None`: the Session had no connection.
        address: Option<SocketAddr>,
    },
    /// The Session of an absent Client is over, by its Session Expiry Interval. [v5 3.1.2.11.2]
    SessionExpired {
        /// Free for anybody from now on.
        client_id: Box<str>,
        /// Messages that waited for the Client.
        messages: usize,
    },
    /// A Session ended, as the Client that came with its client id is another user: it was one of Mosquitto's file, or
    /// the Client is a bridge of our own.
    ClaimEnded {
        /// Of the Client that came.
        client_id: Box<str>,
        /// It is a bridge.
        of_bridge: bool,
    },
    /// All Sessions of the users that are gone from the password file have ended.
    UsersGone {
        /// Each shard tells of its own Sessions.
        shard: ShardId,
        /// The number of these Sessions.
        sessions: u64,
    },
    /// The rules refused something to a Client; at most once a second for each.
    Denied {
        /// Of the Client.
        client_id: Box<str>,
        /// As the Client gave it, checked or not.
        user_name: Option<Box<str>>,
        /// Of its Network Connection; `None`: it has none any more.
        address: Option<SocketAddr>,
        /// What it wanted.
        what: Denied,
        /// The Topic Name or Topic Filter.
        topic: Box<str>,
        /// Which rule, or what else.
        cause: Cause,
        /// The ACL file; empty without one.
        file: Box<str>,
        /// The rule that refuses; empty if there is none.
        rule: Box<str>,
        /// Refusals to this Client since the last one told.
        untold: u32,
    },
    /// Filters of a SUBSCRIBE were refused.
    FiltersRefused {
        /// Of the subscriber.
        client_id: Box<str>,
        /// Of its Network Connection; `None`: it has none any more.
        address: Option<SocketAddr>,
        /// Refused filters, of those of the packet that were handled in this turn.
        count: usize,
        /// Of the first of them.
        why: FilterRefusal,
    },
    /// An owner who has had a fair share of the memory was refused more; at most once a minute for each.
    OverShare {
        /// Name, bytes held and refusals up to now.
        owner: OwnerReport,
        /// The kind that was refused last.
        why: Refused,
        /// What the shard may hold, in bytes.
        limit: usize,
    },
    /// Some of what the store gave back at the start is lost.
    NotRestored {
        /// Which one.
        shard: ShardId,
        /// What, and how much.
        losses: RestoreLosses,
    },
    /// Messages were lost at a limit since the last event of this kind.
    Dropping {
        /// Each shard tells of its own losses.
        shard: ShardId,
        /// Sums since the start, not since the last event.
        counters: Box<Counters>,
    },
    /// A bridge to another broker is connected, or is not.
    Bridge {
        /// Of its `connection` line.
        name: Box<str>,
        /// What has become of it.
        change: BridgeChange,
        /// Of the line.
        level: LogLevel,
        /// The line, which names the bridge.
        text: Box<str>,
    },
    /// The shard has closed its connections and serves no more.
    Stopped {
        /// Each shard stops for itself.
        shard: ShardId,
        /// Sums since the start.
        counters: Box<Counters>,
    },
    /// A packet came from an accepted Client.
    PacketReceived {
        /// Of the sender.
        client_id: Box<str>,
        /// The high four bits of its first byte.
        packet_type: u8,
        /// Fixed Header included.
        bytes: usize,
    },
    /// A will was published.
    WillPublished {
        /// Whose will it was.
        client_id: Box<str>,
        /// Whole Topic Name.
        topic: Box<str>,
        /// As CONNECT asked.
        qos: QoS,
        /// It became a retained message, or deleted one.
        retain: bool,
        /// Without Topic Name and properties.
        payload_bytes: usize,
    },
}

impl Happening {
    /// Fixed by the kind of event.
    pub fn level(&self) -> LogLevel {
        match self {
            Happening::Bridge { level, .. } => *level,
            Happening::Broken { .. } | Happening::NotRestored { .. } => LogLevel::Error,
            Happening::RepeatedTakeovers { .. }
            | Happening::FiltersRefused { .. }
            | Happening::OverShare { .. }
            | Happening::Dropping { .. } => LogLevel::Warning,
            Happening::Connected { .. }
            | Happening::Refused { .. }
            | Happening::Unaccepted { .. }
            | Happening::Ended { .. }
            | Happening::SessionExpired { .. }
            | Happening::UsersGone { .. }
            | Happening::ClaimEnded { .. }
            | Happening::Denied { .. }
            | Happening::Stopped { .. } => LogLevel::Info,
            Happening::PacketReceived { .. }
            | Happening::WillPublished { .. }
            | Happening::Subscribed { .. }
            | Happening::Unsubscribed { .. } => LogLevel::Packet,
        }
    }
}
