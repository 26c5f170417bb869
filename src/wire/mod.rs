//! Bytes ↔ Control Packets of MQTT 3.1, 3.1.1 and 5.0. Pure and borrowing: decoding allocates nothing and looks at
//! each byte a fixed number of times, `O(bytes)`.
//!
//! `frame` cuts the stream, `decode` reads one packet, `encode` writes one. Each Control Packet has a file with
//! all versions side by side. What needs the state of a Session (a Topic Alias that nobody set, a second CONNECT, a
//! packet only a Server sends) is not known here.
//!
//! Example: `30 03 00 01 61` is a frame of 5 bytes; it decodes to a PUBLISH at QoS 0 to the Topic Name
//! `a` with an empty payload, and encodes to the same bytes.

pub mod ack;
pub mod auth;
pub mod connack;
pub mod connect;
pub mod cursor;
pub mod disconnect;
pub mod frame;
mod malformed;
pub mod property;
pub mod props;
pub mod publish;
pub mod reason;
pub mod run;
pub mod suback;
pub mod subscribe;
pub mod topic;
pub mod unsubscribe;
pub mod varint;

pub use ack::{Ack, AckKind, append_ack};
pub use auth::Auth;
pub use connack::{ConnAck, ConnAckProperties, connack_code};
pub use connect::{Connect, ConnectProperties, Will};
pub use disconnect::Disconnect;
pub use frame::{Frame, frame_bytes, next_frame};
pub use malformed::Malformed;
pub use property::UserProperties;
pub use publish::{Delivery, Publish, PublishProperties};
pub use reason::ReasonCode;
pub use run::Run;
pub use suback::{SubAck, UnsubAck};
pub use subscribe::{RetainHandling, Subscribe, SubscriptionOptions, append_subscribe};
pub use topic::{TopicFilter, TopicName};
pub use unsubscribe::{Unsubscribe, append_unsubscribe};

/// What a Client speaks.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Version {
    /// MQTT 3.1 of IBM and Eurotech: protocol name `MQIsdp`, level 3.
    V31,
    /// MQTT 3.1.1, the OASIS standard of 2014: protocol name `MQTT`, level 4.
    V311,
    /// MQTT 5.0, the OASIS standard of 2019: protocol name `MQTT`, level 5.
    V5,
}

impl Version {
    /// From the oldest to the newest, for tests and tables.
    pub const ALL: [Self; 3] = [Self::V31, Self::V311, Self::V5];
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::V31 => "3.1",
            Self::V311 => "3.1.1",
            Self::V5 => "5.0",
        })
    }
}

/// Quality of Service [v5 §4.3].
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Debug)]
#[repr(u8)]
pub enum QoS {
    /// QoS 0: sent once, not acknowledged, and lost with the connection.
    #[default]
    AtMostOnce = 0,
    /// QoS 1: sent until PUBACK comes, so it may arrive twice.
    AtLeastOnce = 1,
    /// QoS 2: PUBREC, PUBREL and PUBCOMP make it arrive exactly once.
    ExactlyOnce = 2,
}

impl QoS {
    /// The QoS in the lowest two bits; `None` if both are set.
    #[inline]
    pub fn from_bits(bits: u8) -> Option<Self> {
        match bits & 0x03 {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }
}

/// 1..=65,535 [v5 §2.2.1].
pub type PacketId = std::num::NonZeroU16;

/// One Control Packet, whoever sends it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Packet<'a> {
    /// Client to Server, the first packet of a connection.
    Connect(Connect<'a>),
    /// Server to Client, the answer to CONNECT.
    ConnAck(ConnAck<'a>),
    /// Either way, one Application Message.
    Publish(Publish<'a>),
    /// Either way, PUBACK, PUBREC, PUBREL or PUBCOMP: what follows a PUBLISH at QoS 1 or 2.
    Ack(AckKind, Ack<'a>),
    /// Client to Server, one or more Topic Filters.
    Subscribe(Subscribe<'a>),
    /// Server to Client, one code for each filter of the SUBSCRIBE.
    SubAck(SubAck<'a>),
    /// Client to Server, one or more Topic Filters.
    Unsubscribe(Unsubscribe<'a>),
    /// Server to Client; v5 has one code for each filter of the UNSUBSCRIBE.
    UnsubAck(UnsubAck<'a>),
    /// Client to Server: the connection still lives.
    PingReq,
    /// Server to Client, the answer to PINGREQ.
    PingResp,
    /// The last packet of its sender. Client to Server; in v5 either way.
    Disconnect(Disconnect<'a>),
    /// Either way, one step of enhanced authentication; v5 only.
    Auth(Auth<'a>),
}

/// The Control Packet types [v5 §2.1.2]. 0 is reserved in every version.
pub mod packet_type {
    /// Client to Server.
    pub const CONNECT: u8 = 1;
    /// Server to Client.
    pub const CONNACK: u8 = 2;
    /// Either way; the only type whose four flags carry values [v5 §2.1.3].
    pub const PUBLISH: u8 = 3;
    /// Either way, QoS 1.
    pub const PUBACK: u8 = 4;
    /// Either way, QoS 2, first answer.
    pub const PUBREC: u8 = 5;
    /// Either way, QoS 2; its flags are 0b0010.
    pub const PUBREL: u8 = 6;
    /// Either way, QoS 2, last answer.
    pub const PUBCOMP: u8 = 7;
    /// Client to Server; its flags are 0b0010.
    pub const SUBSCRIBE: u8 = 8;
    /// Server to Client.
    pub const SUBACK: u8 = 9;
    /// Client to Server; its flags are 0b0010.
    pub const UNSUBSCRIBE: u8 = 10;
    /// Server to Client.
    pub const UNSUBACK: u8 = 11;
    /// Client to Server; no more than a Fixed Header.
    pub const PINGREQ: u8 = 12;
    /// Server to Client; no more than a Fixed Header.
    pub const PINGRESP: u8 = 13;
    /// Client to Server; in v5 either way.
    pub const DISCONNECT: u8 = 14;
    /// Either way in v5; reserved in v3.
    pub const AUTH: u8 = 15;

    /// The standard's name of a packet type. [v5 table 2-1]
    pub fn name(packet_type: u8) -> &'static str {
        match packet_type {
            CONNECT => "CONNECT",
            CONNACK => "CONNACK",
            PUBLISH => "PUBLISH",
            PUBACK => "PUBACK",
            PUBREC => "PUBREC",
            PUBREL => "PUBREL",
            PUBCOMP => "PUBCOMP",
            SUBSCRIBE => "SUBSCRIBE",
            SUBACK => "SUBACK",
            UNSUBSCRIBE => "UNSUBSCRIBE",
            UNSUBACK => "UNSUBACK",
            PINGREQ => "PINGREQ",
            PINGRESP => "PINGRESP",
            DISCONNECT => "DISCONNECT",
            AUTH => "AUTH",
            _ => "Reserved",
        }
    }
}

/// Flags of the Fixed Header of PUBREL, SUBSCRIBE and UNSUBSCRIBE; of all others but PUBLISH they are 0. [v5 table 2-2]
const RESERVED_FLAGS: u8 = 0x02;

const PINGREQ: [u8; 2] = [packet_type::PINGREQ << 4, 0];
const PINGRESP: [u8; 2] = [packet_type::PINGRESP << 4, 0];

/// Decodes any packet, of Clients and Servers; the caller refuses what its peer may not send. Before CONNECT `version`
/// is `None`; a CONNECT names its own version whatever is given.
///
/// Errors: `NotConnect` if there is no version yet; `ReservedPacketType` (AUTH in v3); `FixedHeaderFlags`
/// [v5 MQTT-2.1.3-1, v3.1.1 MQTT-2.2.2-2], not in v3.1, which has no rule about them; those of the packet.
#[inline]
pub fn decode<'a>(version: Option<Version>, frame: &Frame<'a>) -> Result<Packet<'a>, Malformed> {
    match (version, frame.packet_type()) {
        (_, packet_type::CONNECT) => Connect::decode(frame).map(Packet::Connect),
        (None, _) => Err(Malformed::NotConnect),
        (Some(version), packet_type::PUBLISH) => {
            Publish::decode(version, frame).map(Packet::Publish)
        }
        (Some(version), _) => decode_flagless(version, frame),
    }
}

/// Decodes a packet of an accepted Client like [`decode`], but the filters of a SUBSCRIBE or UNSUBSCRIBE are left to be
/// looked at part by part: [`Subscribe::filter_at`], [`Unsubscribe::filter_at`].
pub fn decode_head<'a>(version: Version, frame: &Frame<'a>) -> Result<Packet<'a>, Malformed> {
    let packet_type = frame.packet_type();
    let reserved = frame.flags() == RESERVED_FLAGS || version == Version::V31;
    match packet_type {
        packet_type::SUBSCRIBE if reserved => {
            Subscribe::head(version, frame).map(Packet::Subscribe)
        }
        packet_type::UNSUBSCRIBE if reserved => {
            Unsubscribe::head(version, frame).map(Packet::Unsubscribe)
        }
        _ => decode(Some(version), frame),
    }
}

/// Decodes what is neither CONNECT nor PUBLISH: packets whose flags are reserved.
fn decode_flagless<'a>(version: Version, frame: &Frame<'a>) -> Result<Packet<'a>, Malformed> {
    if let Some(kind) = AckKind::of(version, frame) {
        return Ack::decode(kind, version, frame).map(|ack| Packet::Ack(kind, ack));
    }
    let packet_type = frame.packet_type();
    let reserved = match packet_type {
        packet_type::PUBREL | packet_type::SUBSCRIBE | packet_type::UNSUBSCRIBE => RESERVED_FLAGS,
        _ => 0x00,
    };
    if frame.flags() != reserved && version != Version::V31 {
        return Err(Malformed::FixedHeaderFlags);
    }
    match packet_type {
        packet_type::CONNACK => ConnAck::decode(version, frame).map(Packet::ConnAck),
        packet_type::SUBSCRIBE => Subscribe::decode(version, frame).map(Packet::Subscribe),
        packet_type::SUBACK => SubAck::decode(version, frame).map(Packet::SubAck),
        packet_type::UNSUBSCRIBE => Unsubscribe::decode(version, frame).map(Packet::Unsubscribe),
        packet_type::UNSUBACK => UnsubAck::decode(version, frame).map(Packet::UnsubAck),
        packet_type::PINGREQ => decode_ping(frame, Packet::PingReq),
        packet_type::PINGRESP => decode_ping(frame, Packet::PingResp),
        packet_type::DISCONNECT => Disconnect::decode(version, frame).map(Packet::Disconnect),
        packet_type::AUTH if version == Version::V5 => Auth::decode(frame).map(Packet::Auth),
        _ => Err(Malformed::ReservedPacketType),
    }
}

/// PINGREQ and PINGRESP have a Fixed Header only [v5 §3.12, §3.13].
fn decode_ping<'a>(frame: &Frame<'a>, packet: Packet<'a>) -> Result<Packet<'a>, Malformed> {
    cursor::Cursor::new(frame.body()).end()?;
    Ok(packet)
}

/// Appends the packet as `version` writes it; a CONNECT names its own. `decode` gives the same packet back.
///
/// Asserts that the packet can be: a Packet Identifier if and only if the QoS is above 0, no AUTH in v3, at most
/// 268,435,455 bytes.
pub fn encode(packet: &Packet<'_>, version: Version, out: &mut Vec<u8>) {
    match packet {
        Packet::Connect(connect) => connect.encode(out),
        Packet::ConnAck(connack) => connack.encode(version, out),
        Packet::Publish(publish) => publish.encode(version, out),
        Packet::Ack(kind, ack) => ack.encode(*kind, version, out),
        Packet::Subscribe(subscribe) => subscribe.encode(version, out),
        Packet::SubAck(suback) => suback.encode(version, out),
        Packet::Unsubscribe(unsubscribe) => unsubscribe.encode(version, out),
        Packet::UnsubAck(unsuback) => unsuback.encode(version, out),
        Packet::PingReq => out.extend_from_slice(&PINGREQ),
        Packet::PingResp => out.extend_from_slice(&PINGRESP),
        Packet::Disconnect(disconnect) => disconnect.encode(version, out),
        Packet::Auth(auth) => {
            assert!(version == Version::V5);
            auth.encode(out);
        }
    }
}
