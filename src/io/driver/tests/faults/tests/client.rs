//! A Client that speaks whole handshakes over a true socket.

use super::PATIENCE;
use crate::io::driver::tests::peers::{Over, Stream};
use crate::wire::topic::TopicName;
use crate::wire::{
    Ack, AckKind, Connect, ConnectProperties, Disconnect, Packet, PacketId, Publish,
    PublishProperties, QoS, ReasonCode, SubscriptionOptions, Version, append_subscribe, decode,
    encode, next_frame,
};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

const VERSION: Version = Version::V311;

/// A Client of 3.1.1 that waits for each answer.
pub(super) struct Client {
    stream: Box<dyn Stream>,
    bytes: Vec<u8>,
    next_packet_id: u16,
}

/// A PUBLISH as it came.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Message {
    pub(super) topic: String,
    pub(super) payload: Vec<u8>,
    pub(super) qos: QoS,
    pub(super) dup: bool,
}

impl Client {
    pub(super) fn connect(address: SocketAddr, client_id: &str, keep_alive_s: u16) -> Client {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Client::begin(Box::new(stream), client_id, keep_alive_s)
    }

    pub(super) fn connect_over(over: Over, address: SocketAddr, client_id: &str) -> Client {
        Client::begin(over.connect(address, PATIENCE), client_id, 0)
    }

    fn begin(stream: Box<dyn Stream>, client_id: &str, keep_alive_s: u16) -> Client {
        let mut client = Client {
            stream,
            bytes: Vec::new(),
            next_packet_id: 0,
        };
        client.send_connect(client_id, keep_alive_s);
        client.accepted();
        client
    }

    fn send_connect(&mut self, client_id: &str, keep_alive_s: u16) {
        self.send(&Packet::Connect(Connect {
            version: VERSION,
            bridge: false,
            clean_start: true,
            keep_alive_s,
            properties: ConnectProperties::default(),
            client_id,
            will: None,
            user_name: None,
            password: None,
        }));
    }

    fn accepted(&mut self) {
        self.expect(|packet| match packet {
            Packet::ConnAck(connack) => assert_eq!(connack.code, 0),
            other => panic!("CONNACK expected, not {other:?}"),
        });
    }

    pub(super) fn send(&mut self, packet: &Packet<'_>) {
        let mut bytes = Vec::new();
        encode(packet, VERSION, &mut bytes);
        self.stream.write_all(&bytes).unwrap();
    }

    /// Hands the next packet over.
    pub(super) fn expect<T>(&mut self, take: impl FnOnce(&Packet<'_>) -> T) -> T {
        loop {
            if let Some(frame) = next_frame(&self.bytes, u32::MAX).unwrap() {
                let size = frame.bytes.len();
                let taken = take(&decode(Some(VERSION), &frame).unwrap());
                self.bytes.drain(..size);
                return taken;
            }
            let mut buffer = [0; 64 * 1024];
            let bytes = self.stream.read(&mut buffer).unwrap();
            assert!(bytes > 0, "the broker has closed the connection");
            self.bytes.extend_from_slice(&buffer[..bytes]);
        }
    }

    fn packet_id(&mut self) -> PacketId {
        self.next_packet_id += 1;
        PacketId::new(self.next_packet_id).unwrap()
    }

    pub(super) fn subscribe(&mut self, filter: &str) {
        let packet_id = self.packet_id();
        let mut bytes = Vec::new();
        let options = SubscriptionOptions::new(QoS::ExactlyOnce);
        append_subscribe(VERSION, packet_id, None, &[(filter, options)], &mut bytes);
        self.stream.write_all(&bytes).unwrap();
        self.expect(|packet| match packet {
            Packet::SubAck(suback) => assert_eq!(suback.codes, [2]),
            other => panic!("SUBACK expected, not {other:?}"),
        });
    }

    /// Publishes and plays the handshake to its end.
    pub(super) fn publish(&mut self, topic: &str, payload: &[u8], qos: QoS) {
        let packet_id = (qos != QoS::AtMostOnce).then(|| self.packet_id());
        self.send(&Packet::Publish(Publish {
            dup: false,
            qos,
            retain: false,
            topic: Some(TopicName::new(topic).unwrap()),
            packet_id,
            properties: PublishProperties::default(),
            payload,
        }));
        let Some(packet_id) = packet_id else {
            return;
        };
        let answer = |packet: &Packet<'_>| match packet {
            Packet::Ack(kind, ack) => (*kind, ack.packet_id),
            other => panic!("an answer expected, not {other:?}"),
        };
        if qos == QoS::AtLeastOnce {
            assert_eq!(self.expect(answer), (AckKind::PubAck, packet_id));
            return;
        }
        assert_eq!(self.expect(answer), (AckKind::PubRec, packet_id));
        self.send_ack(AckKind::PubRel, packet_id);
        assert_eq!(self.expect(answer), (AckKind::PubComp, packet_id));
    }

    /// The next message, its handshake played to the end.
    pub(super) fn message(&mut self) -> Message {
        loop {
            let (message, answer) = self.expect(|packet| match packet {
                Packet::Publish(publish) => {
                    let message = Message {
                        topic: publish.topic.unwrap().as_str().to_owned(),
                        payload: publish.payload.to_vec(),
                        qos: publish.qos,
                        dup: publish.dup,
                    };
                    (Some(message), publish.packet_id.map(|id| (publish.qos, id)))
                }
                Packet::Ack(AckKind::PubRel, ack) => (None, Some((QoS::AtMostOnce, ack.packet_id))),
                other => panic!("a message expected, not {other:?}"),
            });
            if let Some((qos, packet_id)) = answer {
                self.acknowledge(qos, packet_id);
            }
            if let Some(message) = message {
                return message;
            }
        }
    }

    fn send_ack(&mut self, kind: AckKind, packet_id: PacketId) {
        self.send(&Packet::Ack(kind, Ack::new(packet_id, ReasonCode::SUCCESS)));
    }

    /// What a message of this QoS asks for; at QoS 0, what PUBREL does.
    pub(super) fn acknowledge(&mut self, qos: QoS, packet_id: PacketId) {
        let kind = match qos {
            QoS::AtMostOnce => AckKind::PubComp,
            QoS::AtLeastOnce => AckKind::PubAck,
            QoS::ExactlyOnce => AckKind::PubRec,
        };
        self.send_ack(kind, packet_id);
    }

    /// Plays the handshakes to their end and returns when PINGRESP has come; no message may.
    pub(super) fn ping(&mut self) {
        self.send(&Packet::PingReq);
        while let Some(packet_id) = self.expect(|packet| match packet {
            Packet::Ack(AckKind::PubRel, ack) => Some(ack.packet_id),
            Packet::PingResp => None,
            other => panic!("{other:?} was not asked for"),
        }) {
            self.send_ack(AckKind::PubComp, packet_id);
        }
    }

    /// Leaves; the broker closes, and not before all it had to send has come.
    pub(super) fn leave(mut self) -> Vec<u8> {
        self.send(&Packet::Disconnect(Disconnect::default()));
        let mut rest = self.bytes;
        self.stream.read_to_end(&mut rest).unwrap();
        rest
    }
}
