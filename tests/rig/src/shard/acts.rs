//! What a well-behaved Client does, in one call, with the checks every test wants.

use super::ear::answer;
use super::oracle::{Message, Packet};
use super::packets::{self, Connect, Publish};
use super::stage::{Client, Stage};
use super::v5::Full;

pub trait Acts: Stage {
    /// The Client sends these bytes; everything that follows from them happens.
    fn send(&mut self, client: Client, bytes: impl AsRef<[u8]>) {
        self.send_bytes(client, bytes.as_ref());
    }

    /// The same, one byte in each read, each in a turn of its own.
    fn send_split(&mut self, client: Client, bytes: impl AsRef<[u8]>) {
        for byte in bytes.as_ref() {
            self.send_bytes(client, &[*byte]);
        }
    }

    /// What is right for this end: without sockets, where time costs nothing and stands still, or with them.
    fn either<T>(&self, on_shards: T, over_sockets: T) -> T {
        if self.has_sockets() {
            over_sockets
        } else {
            on_shards
        }
    }

    /// Shards read as much at once as they may: a test with many bytes would take long otherwise.
    fn read_whole(&mut self) {
        if let Some(shards) = self.as_shards() {
            shards.read_bytes_max = 16 * 1024;
        }
    }

    /// Opens a connection and sends this CONNECT; the answer is the test's to read.
    fn try_connect(&mut self, connect: &Connect) -> Client {
        let client = self.open(connect.version);
        self.send(client, connect.bytes());
        client
    }

    /// A Client whose CONNECT was accepted. Its Session Present is the test's to check: see `connect_present`.
    fn connect(&mut self, connect: &Connect) -> Client {
        self.connect_present(connect).0
    }

    /// The same, with Session Present of its CONNACK.
    fn connect_present(&mut self, connect: &Connect) -> (Client, bool) {
        let client = self.try_connect(connect);
        (client, self.accepted(client))
    }

    /// Checks that CONNACK 0 was the first packet and takes it; returns Session Present.
    fn accepted(&mut self, client: Client) -> bool {
        let Some(first) = self.take(client, |_| true) else {
            panic!("no CONNACK; log: {:?}", self.log());
        };
        match first {
            Packet::ConnAck {
                session_present,
                code: 0,
            } => session_present,
            other => panic!("CONNACK 0 expected, not {other:?}; log: {:?}", self.log()),
        }
    }

    /// What came since the last look, in order; PUBLISH packets are not acknowledged.
    fn received(&mut self, client: Client) -> Vec<Packet> {
        std::mem::take(&mut self.ear(client).inbox)
    }

    /// v5: what came since the last look of this kind, with all properties; the other kinds of look have seen it too.
    fn received_full(&mut self, client: Client) -> Vec<Full> {
        let state = self.ear(client);
        state.inbox.clear();
        let fulls = state.fulls[state.fulls_given..].to_vec();
        state.fulls_given = state.fulls.len();
        fulls
    }

    /// v5: the messages since the last look of this kind, acknowledged like those of `messages`.
    fn messages_full(&mut self, client: Client) -> Vec<Full> {
        self.messages(client);
        let mut fulls = self.received_full(client);
        fulls.retain(|full| full.packet.message().is_some());
        fulls
    }

    /// v5: the CONNACK, whatever has been looked at.
    #[track_caller]
    fn connack(&mut self, client: Client) -> &Full {
        let fulls = &self.ear(client).fulls;
        fulls.first().expect("a CONNACK came")
    }

    /// Everything ever received.
    fn history(&mut self, client: Client) -> &[Packet] {
        &self.ear(client).history
    }

    /// Checks that exactly this came since the last look.
    #[track_caller]
    fn expect(&mut self, client: Client, packets: &[Packet]) {
        let received = self.received(client);
        assert_eq!(received, packets, "log: {:?}", self.log());
    }

    /// Takes the first packet that `pick` likes out of what came since the last look.
    fn take(&mut self, client: Client, pick: impl Fn(&Packet) -> bool) -> Option<Packet> {
        // What a Client is answered is looked for before all else that follows.
        for ear in [Self::ear_answered, Self::ear] {
            let inbox = &mut ear(self, client).inbox;
            if let Some(index) = inbox.iter().position(&pick) {
                return Some(inbox.remove(index));
            }
        }
        None
    }

    /// The messages that came since the last look, acknowledged to the end of each handshake. Other packets stay.
    fn messages(&mut self, client: Client) -> Vec<Message> {
        let mut messages = Vec::new();
        loop {
            let mut answers = Vec::new();
            self.ear(client).inbox.retain(|packet| {
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
    fn texts(&mut self, client: Client) -> Vec<String> {
        self.messages(client).iter().map(Message::text).collect()
    }

    /// Subscribes with one filter, checks SUBACK and that `qos` was granted.
    #[track_caller]
    fn subscribe(&mut self, client: Client, filter: &str, qos: u8) {
        let packet_id = self.unused_packet_id(client);
        let version = self.version(client);
        self.send(
            client,
            packets::subscribe(version, packet_id, &[(filter, qos)]),
        );
        let suback = Packet::SubAck {
            packet_id,
            codes: vec![qos],
        };
        let found = self.take(client, |packet| *packet == suback);
        assert!(found.is_some(), "no {suback:?}; log: {:?}", self.log());
    }

    #[track_caller]
    fn unsubscribe(&mut self, client: Client, filter: &str) {
        let packet_id = self.unused_packet_id(client);
        let version = self.version(client);
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
    fn publish(&mut self, client: Client, publish: &Publish) {
        let mut publish = publish.clone();
        if publish.qos > 0 && publish.packet_id == 0 {
            publish.packet_id = self.unused_packet_id(client);
        }
        let version = self.version(client);
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
            self.log()
        );
    }

    /// The Client answers every PUBLISH and PUBREL by itself; the packets still are in its inbox.
    fn acknowledge_at_once(&mut self, client: Client) {
        self.ear(client).acknowledges = true;
    }

    /// Sends DISCONNECT; the broker must close.
    #[track_caller]
    fn disconnect(&mut self, client: Client) {
        self.send(client, packets::disconnect());
        assert!(self.is_closed(client), "still open after DISCONNECT");
    }
}

impl<T: Stage + ?Sized> Acts for T {}
