//! The Clients of a run: what they keep beyond a connection, and what belongs to one.

use crate::actions::{ConnectAs, NEVER, TOPICS};
use crate::session::Session;
use crate::support::*;
use std::collections::{BTreeMap, HashMap, VecDeque};

/// A QoS 1 or 2 message of a Client that is not completely acknowledged.
pub struct Outgoing {
    pub message: usize,
    pub qos: u8,
    pub retain: bool,
    pub topic: usize,
    pub payload: Vec<u8>,
    pub expiry_s: Option<u32>,
    /// PUBREC came.
    pub received: bool,
}

impl Outgoing {
    /// The PUBLISH once more, with DUP.
    pub fn again(&self, packet_id: u16, version: Version) -> Vec<u8> {
        let mut packet = publish(TOPICS[self.topic], &self.payload).qos(self.qos, packet_id);
        packet.retain = self.retain;
        if let Some(seconds) = self.expiry_s {
            packet = packet.with(message_expiry(seconds));
        }
        packet.dup().bytes(version)
    }
}

/// A will that is not published yet, of a Client that is gone.
pub struct Waiting {
    pub number: usize,
    /// It is published not before the one and not after the other, but for the grain of timers; in milliseconds.
    pub from_ms: u64,
    pub until_ms: u64,
    /// Nothing took it back before.
    pub certain: bool,
}

/// A Client beyond its connections.
#[derive(Default)]
pub struct Identity {
    pub client_id: String,
    /// What the broker must have of it.
    pub session: Option<Session>,
    /// While it is away: the Session lives at least until the one, at most until the other.
    pub ends_ms: Option<(u64, u64)>,
    pub will: Option<Waiting>,
    pub outgoing: BTreeMap<u16, Outgoing>,
    pub next_packet_id: u16,
    /// The shard of its Session, once known.
    pub home: Option<usize>,
    /// Sessions so far.
    pub sessions: u32,
}

impl Identity {
    pub fn packet_id(&mut self) -> u16 {
        self.next_packet_id += 1;
        self.next_packet_id
    }

    pub fn new_session(&mut self, who: usize) {
        self.sessions += 1;
        self.session = Some(Session::new((who, self.sessions)));
        self.outgoing.clear();
    }
}

/// An answer a Client owes; the last of a handshake ends the delivery for the Client.
pub struct Owed {
    pub bytes: Vec<u8>,
    pub ends: Option<u16>,
}

pub struct Connection {
    pub client: Client,
    pub asked: ConnectAs,
    /// Session Expiry Interval: the least and the most it may be.
    pub expiry_s: (u32, u32),
    pub will: Option<usize>,
    /// CONNACK came: its step.
    pub accepted: Option<u64>,
    pub alive: bool,
    /// The Client went away without a word.
    pub ghost: bool,
    /// The broker must refuse it: its password is wrong.
    pub refused: bool,
    /// What its coming does to a will that waits has been done.
    pub settled: bool,
    /// DISCONNECT was sent.
    pub leaving: bool,
    /// It would take the will back, but the broker does not read now.
    pub will_in_doubt: bool,
    /// It sent what no Client may send.
    pub faulty: bool,
    /// v5: the code the broker must say to that.
    pub must_hear: Option<u8>,
    /// Packet Identifiers of its SUBSCRIBEs: each is answered, if it was read.
    pub subscribes: Vec<u16>,
    /// Since when it is over in the broker, while last answers may come; in milliseconds.
    pub closing: Option<u64>,
    /// Bytes of the last packet that were held back.
    pub held: Vec<u8>,
    pub owed: VecDeque<Owed>,
    /// When it last sent something.
    pub sent_at: u64,
    /// It read slowly at some time.
    pub slow: bool,
    /// Largest number of deliveries under way.
    pub window: usize,
    /// v5: topics by the aliases set.
    pub aliases: HashMap<u16, usize>,
    /// QoS 0 messages that lie unread perhaps.
    pub unconfirmed: Vec<usize>,
}

impl Connection {
    pub fn new(client: Client, asked: ConnectAs, version: Version, inflight_max: u16) -> Self {
        let expiry_s = match version {
            Version::V5 => asked.expiry_s,
            Version::V31 | Version::V311 if asked.clean => 0,
            Version::V31 | Version::V311 => NEVER,
        };
        let receive_maximum = asked.receive_maximum.filter(|_| version == Version::V5);
        Connection {
            client,
            asked,
            expiry_s: (expiry_s, expiry_s),
            will: None,
            accepted: None,
            alive: true,
            ghost: false,
            refused: false,
            settled: false,
            leaving: false,
            will_in_doubt: false,
            faulty: false,
            must_hear: None,
            subscribes: Vec::new(),
            closing: None,
            held: Vec::new(),
            owed: VecDeque::new(),
            sent_at: 0,
            slow: false,
            window: usize::from(inflight_max.min(receive_maximum.unwrap_or(u16::MAX))),
            aliases: HashMap::new(),
            unconfirmed: Vec::new(),
        }
    }

    /// Its CONNECT is neither answered nor given up.
    pub fn is_pending(&self) -> bool {
        self.alive && self.accepted.is_none()
    }

    /// Its Client can act.
    pub fn is_active(&self) -> bool {
        self.alive && self.accepted.is_some() && !self.leaving && !self.faulty && !self.ghost
    }
}

/// The CONNECT of a connection.
pub fn connect_bytes(
    asked: &ConnectAs,
    version: Version,
    client_id: &str,
    will: Option<(usize, &str)>,
    user: Option<(&str, &str)>,
) -> Vec<u8> {
    let mut packet = connect(version, client_id).keep_alive(asked.keep_alive_s);
    packet.clean = asked.clean;
    if version == Version::V5 {
        packet = packet.expiry(asked.expiry_s);
        if let Some(count) = asked.receive_maximum {
            packet = packet.with(receive_maximum(count));
        }
        if let Some(bytes) = asked.packet_bytes_max {
            packet = packet.with(maximum_packet_size(bytes));
        }
        if asked.topic_alias_maximum > 0 {
            packet = packet.with(topic_alias_maximum(asked.topic_alias_maximum));
        }
    }
    if let (Some(will), Some((_, payload))) = (&asked.will, will) {
        packet = packet.will(TOPICS[will.topic], payload, will.qos, will.retain);
        if version == Version::V5 {
            if will.delay_s > 0 {
                packet = packet.will_with(will_delay(will.delay_s));
            }
            if let Some(seconds) = will.expiry_s {
                packet = packet.will_with(message_expiry(seconds));
            }
        }
    }
    if let Some((name, password)) = user {
        packet = packet.user(name.as_bytes()).password(password.as_bytes());
    }
    packet.bytes()
}

/// An acknowledgement that the delivery does not await whose right one is owed; the broker must close. None for PUBREL,
/// which may come for any Packet Identifier. [v5 4.3, v3.1.1 4.3]
pub fn wrong_acknowledgement(owed: &Owed, what: usize) -> Option<Vec<u8>> {
    let mut bytes = owed.bytes.clone();
    let wrong: &[u8] = match bytes[0] {
        0x40 => &[0x50, 0x70],
        0x50 => &[0x40, 0x70],
        0x70 => &[0x40],
        _ => return None,
    };
    bytes[0] = wrong[what % wrong.len()];
    Some(bytes)
}

/// What no Client may send after CONNECT; the broker must close. [v5 4.13, v3.1.1 4.8]
pub fn garbage(version: Version, what: usize) -> Vec<u8> {
    let wildcard = publish("a/#", "x").bytes(version);
    let no_identifier = publish("a", "x").qos(1, 0).bytes(version);
    let ill_formed = publish("", "x").topic_bytes(b"a\xff").bytes(version);
    let flags = with_flags(subscribe(version, 1, &[("a", 0)]), 0);
    let second = connect(version, "second").bytes();
    let qos3 = with_flags(publish("a", "x").bytes(version), 6);
    let all: [Vec<u8>; 14] = [
        vec![0x00, 0x00],
        vec![0xf0, 0x00],
        vec![0x30, 0xff, 0xff, 0xff, 0xff, 0x7f],
        vec![0xd0, 0x00],
        vec![0x20, 0x02, 0x00, 0x00],
        packet(0x82, &[0, 1]),
        wildcard,
        no_identifier,
        ill_formed,
        second,
        qos3,
        // 3.1 says nothing of wrong flags.
        vec![0xc1, 0x00],
        vec![0x60, 0x02, 0x00, 0x01],
        flags,
    ];
    let count = all.len() - if version == Version::V31 { 3 } else { 0 };
    all[what % count].clone()
}
