//! What a well-behaved Client does, in one call, with the checks every test wants.

use super::super::oracle::{Message, Packet};
use super::super::packets::{self, Connect, Publish, Version};
use super::super::v5::Full;
use super::{Client, World, answer};

impl World {
    /// Opens a connection and sends this CONNECT; the answer is the test's to read.
    pub fn try_connect(&mut self, connect: &Connect) -> Client {
        let client = self.open(connect.version);
        self.send(client, connect.bytes());
        client
    }

    /// A Client whose CONNECT was accepted. Its Session Present is the test's to check: see `connect_present`.
    pub fn connect(&mut self, connect: &Connect) -> Client {
        self.connect_present(connect).0
    }

    /// The same, with Session Present of its CONNACK.
    pub fn connect_present(&mut self, connect: &Connect) -> (Client, bool) {
        let client = self.try_connect(connect);
        (client, self.accepted(client))
    }

    /// Checks that CONNACK 0 was the first packet and takes it; returns Session Present.
    pub fn accepted(&mut self, client: Client) -> bool {
        let inbox = &mut self.clients[client.0].inbox;
        assert!(!inbox.is_empty(), "no CONNACK; log: {:?}", self.log);
        match inbox.remove(0) {
            Packet::ConnAck {
                session_present,
                code: 0,
            } => session_present,
            other => panic!("CONNACK 0 expected, not {other:?}; log: {:?}", self.log),
        }
    }

    /// What came since the last look, in order; PUBLISH packets are not acknowledged.
    pub fn received(&mut self, client: Client) -> Vec<Packet> {
        std::mem::take(&mut self.clients[client.0].inbox)
    }

    /// v5: what came since the last look of this kind, with all properties; the other kinds of look have seen it too.
    pub fn received_full(&mut self, client: Client) -> Vec<Full> {
        let state = &mut self.clients[client.0];
        state.inbox.clear();
        let fulls = state.fulls[state.fulls_given..].to_vec();
        state.fulls_given = state.fulls.len();
        fulls
    }

    /// v5: the messages since the last look of this kind, acknowledged like those of `messages`.
    pub fn messages_full(&mut self, client: Client) -> Vec<Full> {
        self.messages(client);
        let mut fulls = self.received_full(client);
        fulls.retain(|full| full.packet.message().is_some());
        fulls
    }

    /// v5: the CONNACK, whatever has been looked at.
    #[track_caller]
    pub fn connack(&self, client: Client) -> &Full {
        let fulls = &self.clients[client.0].fulls;
        fulls.first().expect("a CONNACK came")
    }

    /// Everything ever received.
    pub fn history(&self, client: Client) -> &[Packet] {
        &self.clients[client.0].history
    }

    /// Checks that exactly this came since the last look.
    #[track_caller]
    pub fn expect(&mut self, client: Client, packets: &[Packet]) {
        let received = self.received(client);
        assert_eq!(received, packets, "log: {:?}", self.log);
    }

    /// Takes the first packet that `pick` likes out of what came since the last look.
    pub fn take(&mut self, client: Client, pick: impl Fn(&Packet) -> bool) -> Option<Packet> {
        let inbox = &mut self.clients[client.0].inbox;
        let index = inbox.iter().position(pick)?;
        Some(inbox.remove(index))
    }

    /// The messages that came since the last look, acknowledged to the end of each handshake. Other packets stay.
    pub fn messages(&mut self, client: Client) -> Vec<Message> {
        let mut messages = Vec::new();
        loop {
            let mut answers = Vec::new();
            self.clients[client.0].inbox.retain(|packet| {
                match packet {
                    Packet::Publish(message) => messages.push(message.clone()),
                    Packet::PubRel { .. } => (),
                    _ => return true,
                }
                answers.extend(answer(packet));
                false
            });
            if answers.is_empty() || !self.is_open(client) {
                return messages;
            }
            self.send(client, answers);
        }
    }

    /// The payloads of `messages`, as text.
    pub fn texts(&mut self, client: Client) -> Vec<String> {
        self.messages(client).iter().map(Message::text).collect()
    }

    /// Subscribes with one filter, checks SUBACK and that `qos` was granted.
    #[track_caller]
    pub fn subscribe(&mut self, client: Client, filter: &str, qos: u8) {
        let packet_id = self.packet_id(client);
        let version = self.clients[client.0].version;
        self.send(
            client,
            packets::subscribe(version, packet_id, &[(filter, qos)]),
        );
        let suback = Packet::SubAck {
            packet_id,
            codes: vec![qos],
        };
        let found = self.take(client, |packet| *packet == suback);
        assert!(found.is_some(), "no {suback:?}; log: {:?}", self.log);
    }

    #[track_caller]
    pub fn unsubscribe(&mut self, client: Client, filter: &str) {
        let packet_id = self.packet_id(client);
        let version = self.clients[client.0].version;
        self.send(client, packets::unsubscribe(version, packet_id, &[filter]));
        let found = self.take(
            client,
            |packet| matches!(packet, Packet::UnsubAck { packet_id: id, .. } if *id == packet_id),
        );
        assert!(found.is_some(), "no UNSUBACK {packet_id}");
    }

    /// Publishes and plays the sender's part of the handshake to its end, checking each answer. A QoS above 0 without a
    /// Packet Identifier gets one.
    #[track_caller]
    pub fn publish(&mut self, client: Client, publish: &Publish) {
        let mut publish = publish.clone();
        if publish.qos > 0 && publish.packet_id == 0 {
            publish.packet_id = self.packet_id(client);
        }
        let version = self.clients[client.0].version;
        self.send(client, publish.bytes(version));
        let packet_id = publish.packet_id;
        match publish.qos {
            0 => (),
            1 => self.take_answer(client, 4, packet_id),
            _ => {
                self.take_answer(client, 5, packet_id);
                self.send(client, packets::pubrel(packet_id));
                self.take_answer(client, 7, packet_id);
            }
        }
    }

    #[track_caller]
    fn take_answer(&mut self, client: Client, packet_type: u8, packet_id: u16) {
        let found = self.take(client, |packet| match packet {
            // v5 may say "no matching subscribers".
            Packet::PubAck {
                packet_id: id,
                code: 0 | 0x10,
            } => packet_type == 4 && *id == packet_id,
            Packet::PubRec {
                packet_id: id,
                code: 0 | 0x10,
            } => packet_type == 5 && *id == packet_id,
            Packet::PubComp {
                packet_id: id,
                code: 0,
            } => packet_type == 7 && *id == packet_id,
            _ => false,
        });
        assert!(
            found.is_some(),
            "no answer of type {packet_type} for {packet_id}; log: {:?}",
            self.log
        );
    }

    fn packet_id(&mut self, client: Client) -> u16 {
        let next = &mut self.clients[client.0].next_packet_id;
        *next += 1;
        *next
    }
}
