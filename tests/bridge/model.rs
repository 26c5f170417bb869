//! The simplest broker with one client: a Session that is never lost unless a test says so.

use mqttfast::limits;
use mqttfast::wire::{
    self, Ack, AckKind, ConnAck, ConnAckProperties, Packet, PacketId, Publish, PublishProperties,
    QoS, ReasonCode, SubAck, TopicName, UnsubAck, Version, next_frame,
};
use std::collections::{BTreeSet, VecDeque};

/// A message of a test: its topic, QoS and number.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Message {
    pub topic: String,
    pub qos: QoS,
    pub number: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Sent,
    Released,
}

/// What outlives a connection. A copy is what a store knew once.
#[derive(Clone, Default, Debug)]
pub struct Session {
    there: bool,
    last_id: u16,
    queue: VecDeque<Message>,
    in_flight: VecDeque<(PacketId, Message, Stage)>,
    received: BTreeSet<PacketId>,
}

/// A broker and its side of one connection.
#[derive(Debug)]
pub struct Broker {
    version: Version,
    pub session: Session,
    /// Its client is connected and accepted.
    pub accepted: bool,
    /// CONNACK of the next CONNECT.
    pub code: u8,
    received: Vec<u8>,
    /// Bytes for the client.
    pub sends: Vec<u8>,
    /// Acknowledgements that it has not sent yet.
    held: Vec<Vec<u8>>,
    /// What the client has published.
    pub got: Vec<Message>,
    pub window: usize,
    /// Packet Identifiers of its messages are at most this.
    ids_most: u16,
    /// The client has broken a rule.
    pub broken: bool,
    /// Messages that the client has, or has refused, with their Packet Identifiers.
    pub given_up: Vec<(PacketId, u32)>,
    /// In CONNACK of v5.
    receive_maximum: Option<u16>,
    /// The same.
    pub maximum_qos: Option<QoS>,
    /// The same.
    pub maximum_packet_size: Option<u32>,
    pub subscribed: Vec<String>,
    pub unsubscribed: Vec<String>,
    pub connect: Vec<u8>,
}

impl Broker {
    pub fn new(version: Version, window: usize) -> Broker {
        Broker {
            version,
            session: Session::default(),
            accepted: false,
            code: 0,
            received: Vec::new(),
            sends: Vec::new(),
            held: Vec::new(),
            got: Vec::new(),
            window,
            ids_most: u16::MAX,
            broken: false,
            given_up: Vec::new(),
            receive_maximum: (version == Version::V5).then_some(64),
            maximum_qos: None,
            maximum_packet_size: None,
            subscribed: Vec::new(),
            unsubscribed: Vec::new(),
            connect: Vec::new(),
        }
    }

    /// This program: it takes as many messages as there are Packet Identifiers, and uses not all of them.
    pub fn mqttfast(window: usize) -> Broker {
        Broker {
            ids_most: limits::PACKET_ID_MOST,
            receive_maximum: None,
            ..Broker::new(Version::V5, window)
        }
    }

    /// The connection is gone.
    pub fn cut(&mut self) {
        self.accepted = false;
        self.broken = false;
        self.received.clear();
        self.sends.clear();
        self.held.clear();
    }

    /// Messages wait for the client while it is away.
    pub fn has_session(&self) -> bool {
        self.session.there
    }

    /// The next message has the Packet Identifier behind this one.
    pub fn use_ids_after(&mut self, id: u16) {
        self.session.last_id = id;
    }

    /// For the client; QoS 0 is lost while it is away.
    pub fn publish(&mut self, message: Message) {
        if message.qos == QoS::AtMostOnce {
            if self.accepted {
                self.send(&message, None, false);
            }
            return;
        }
        if self.session.there {
            self.session.queue.push_back(message);
            self.pump();
        }
    }

    fn pump(&mut self) {
        while self.accepted && self.session.in_flight.len() < self.window {
            let Some(message) = self.session.queue.pop_front() else {
                return;
            };
            let id = loop {
                self.session.last_id = match self.session.last_id {
                    last if last >= self.ids_most => 1,
                    last => last + 1,
                };
                let id = PacketId::new(self.session.last_id);
                let used = |id| self.session.in_flight.iter().any(|(used, ..)| *used == id);
                if let Some(id) = id.filter(|id| !used(*id)) {
                    break id;
                }
            };
            self.send(&message, Some(id), false);
            self.session.in_flight.push_back((id, message, Stage::Sent));
        }
    }

    fn send(&mut self, message: &Message, packet_id: Option<PacketId>, dup: bool) {
        let payload = message.number.to_string();
        let publish = Publish {
            dup,
            qos: message.qos,
            retain: false,
            topic: Some(TopicName::new(&message.topic).unwrap()),
            packet_id,
            properties: PublishProperties::default(),
            payload: payload.as_bytes(),
        };
        publish.encode(self.version, &mut self.sends);
    }

    /// Bytes of the client have come. `hold`: acknowledgements wait for [`Broker::release`].
    pub fn receive(&mut self, bytes: &[u8], hold: bool) {
        self.received.extend_from_slice(bytes);
        let received = std::mem::take(&mut self.received);
        let mut at = 0;
        while let Some(frame) = next_frame(&received[at..], 1 << 20).expect("a frame") {
            let version = Some(self.version).filter(|_| frame.packet_type() != 1);
            let packet = wire::decode(version, &frame).expect("a packet");
            at += frame.bytes.len();
            if frame.packet_type() == 1 {
                self.connect = frame.bytes.to_vec();
            } else {
                assert!(self.accepted, "{packet:?} before CONNACK");
            }
            if !self.on_packet(&packet, hold) || self.broken {
                return;
            }
        }
        self.received = received[at..].to_vec();
    }

    fn on_packet(&mut self, packet: &Packet<'_>, hold: bool) -> bool {
        match packet {
            Packet::Connect(connect) => {
                let session_present = self.session.there && !connect.clean_start;
                let code = std::mem::take(&mut self.code);
                let properties = ConnAckProperties {
                    receive_maximum: self.receive_maximum,
                    maximum_qos: self.maximum_qos,
                    maximum_packet_size: self.maximum_packet_size,
                    ..Default::default()
                };
                let connack = ConnAck {
                    session_present: session_present && code == 0,
                    code,
                    properties,
                };
                connack.encode(self.version, &mut self.sends);
                if code != 0 {
                    return false;
                }
                if !session_present {
                    self.session = Session::default();
                }
                self.session.there = true;
                self.accepted = true;
                for index in 0..self.session.in_flight.len() {
                    let (id, message, stage) = self.session.in_flight[index].clone();
                    match stage {
                        Stage::Sent => self.send(&message, Some(id), true),
                        Stage::Released => self.ack(AckKind::PubRel, id, false),
                    }
                }
                self.pump();
            }
            Packet::Publish(publish) => {
                let message = Message {
                    topic: publish.topic.expect("a name").as_str().to_owned(),
                    qos: publish.qos,
                    // What a hostile broker says is no number.
                    number: std::str::from_utf8(publish.payload)
                        .ok()
                        .and_then(|text| text.parse().ok())
                        .unwrap_or(0),
                };
                match (publish.qos, publish.packet_id) {
                    (QoS::AtLeastOnce, Some(id)) => {
                        self.got.push(message);
                        self.ack(AckKind::PubAck, id, hold);
                    }
                    (QoS::ExactlyOnce, Some(id)) => {
                        if self.session.received.insert(id) {
                            self.got.push(message);
                        }
                        self.ack(AckKind::PubRec, id, hold);
                    }
                    _ => self.got.push(message),
                }
            }
            Packet::Ack(kind, ack) => self.on_ack(*kind, ack, hold),
            Packet::Subscribe(subscribe) => {
                let filters = subscribe.filters();
                self.subscribed = filters.map(|(filter, _)| filter.to_owned()).collect();
                let codes: Vec<u8> = subscribe.filters().map(|(_, o)| o.qos as u8).collect();
                let suback = SubAck {
                    packet_id: subscribe.packet_id,
                    codes: &codes,
                    reason_string: None,
                    user_properties: Default::default(),
                };
                suback.encode(self.version, &mut self.sends);
            }
            Packet::Unsubscribe(unsubscribe) => {
                self.unsubscribed = unsubscribe.filters().map(str::to_owned).collect();
                let codes = vec![0x11; self.unsubscribed.len()];
                let unsuback = UnsubAck {
                    packet_id: unsubscribe.packet_id,
                    codes: if self.version == Version::V5 {
                        &codes
                    } else {
                        &[]
                    },
                    reason_string: None,
                    user_properties: Default::default(),
                };
                unsuback.encode(self.version, &mut self.sends);
            }
            Packet::PingReq => {
                wire::encode(&Packet::PingResp, self.version, &mut self.sends);
            }
            Packet::Disconnect(_) => self.accepted = false,
            other => panic!("{other:?} from a client"),
        }
        true
    }

    fn on_ack(&mut self, kind: AckKind, ack: &Ack<'_>, hold: bool) {
        let id = ack.packet_id;
        let at = self.session.in_flight.iter().position(|(of, ..)| *of == id);
        if let Some((_, message, stage)) = at.map(|at| &self.session.in_flight[at]) {
            let two = message.qos == QoS::ExactlyOnce;
            self.broken |= match kind {
                AckKind::PubAck => two,
                AckKind::PubRec => !two,
                AckKind::PubComp => *stage != Stage::Released,
                AckKind::PubRel => false,
            };
            if self.broken {
                return;
            }
        }
        match kind {
            AckKind::PubRec if ack.reason.is_failure() => self.complete(at),
            AckKind::PubAck | AckKind::PubComp => self.complete(at),
            AckKind::PubRec => {
                if let Some(at) = at {
                    let (_, message, stage) = &mut self.session.in_flight[at];
                    if std::mem::replace(stage, Stage::Released) == Stage::Sent {
                        self.given_up.push((id, message.number));
                    }
                    self.ack(AckKind::PubRel, id, hold);
                }
            }
            AckKind::PubRel => {
                self.session.received.remove(&id);
                self.ack(AckKind::PubComp, id, hold);
            }
        }
    }

    /// The message of this index is done with.
    fn complete(&mut self, at: Option<usize>) {
        if let Some(at) = at {
            let (id, message, stage) = self.session.in_flight.remove(at).expect("it is there");
            if stage == Stage::Sent {
                self.given_up.push((id, message.number));
            }
        }
        self.pump();
    }

    fn ack(&mut self, kind: AckKind, id: PacketId, hold: bool) {
        let mut bytes = Vec::new();
        wire::append_ack(kind, self.version, id, ReasonCode::SUCCESS, &mut bytes);
        match hold {
            true => self.held.push(bytes),
            false => self.sends.extend(bytes),
        }
    }

    /// Sends the acknowledgements that wait, the last first.
    pub fn release(&mut self) {
        for bytes in self.held.drain(..).rev() {
            self.sends.extend(bytes);
        }
    }

    /// Nothing is on its way.
    pub fn is_quiet(&self) -> bool {
        self.session.queue.is_empty() && self.session.in_flight.is_empty()
    }
}
