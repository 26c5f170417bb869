//! Messages over a bridge while both brokers are killed again and again: none is lost, none of QoS 2 comes twice, and
//! each QoS keeps its order.
//!
//! A small run belongs to the test command. A large one: `MQTTFAST_BRIDGE_MESSAGES=120000 cargo test --test bridge
//! kills`, of which a sixth are of QoS 2, with ten kills of each side.

use super::live::{Broker, Kind, bridge};
use mqttfast::wire::{
    AckKind, Connect, Packet, PacketId, Publish, PublishProperties, QoS, ReasonCode,
    SubscriptionOptions, TopicName, Version, append_ack, append_subscribe, decode, next_frame,
};
use std::collections::BTreeSet;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

const VERSION: Version = Version::V311;

/// A client with a Session that stays, over as many connections as it takes.
struct Patient {
    port: u16,
    client_id: &'static str,
    stream: Option<TcpStream>,
    received: Vec<u8>,
}

/// What has come.
enum Came {
    Connected(bool),
    Ack(AckKind, PacketId),
    Message(QoS, Option<PacketId>, u32),
    Other,
}

impl Patient {
    fn new(port: u16, client_id: &'static str) -> Patient {
        Patient {
            port,
            client_id,
            stream: None,
            received: Vec::new(),
        }
    }

    fn lost(&mut self) {
        self.stream = None;
        self.received.clear();
    }

    fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let stream = self.stream.as_mut().ok_or(ErrorKind::NotConnected)?;
        stream.write_all(bytes)
    }

    fn try_receive(&mut self) -> io::Result<Came> {
        loop {
            if let Some(frame) = next_frame(&self.received, 1 << 20).expect("a frame") {
                let came = match decode(Some(VERSION), &frame).expect("a packet") {
                    Packet::ConnAck(connack) if connack.code == 0 => {
                        Came::Connected(connack.session_present)
                    }
                    Packet::ConnAck(_) => return Err(ErrorKind::ConnectionRefused.into()),
                    Packet::Ack(kind, ack) => Came::Ack(kind, ack.packet_id),
                    Packet::Publish(publish) => {
                        let number = std::str::from_utf8(publish.payload).unwrap();
                        Came::Message(publish.qos, publish.packet_id, number.parse().unwrap())
                    }
                    _ => Came::Other,
                };
                let count = frame.bytes.len();
                self.received.drain(..count);
                return Ok(came);
            }
            let mut buffer = [0; 4096];
            let stream = self.stream.as_mut().ok_or(ErrorKind::NotConnected)?;
            match stream.read(&mut buffer)? {
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                count => self.received.extend_from_slice(&buffer[..count]),
            }
        }
    }

    fn try_connect(&mut self) -> io::Result<bool> {
        let stream = TcpStream::connect(("127.0.0.1", self.port))?;
        if stream.local_addr()? == stream.peer_addr()? {
            return Err(ErrorKind::ConnectionRefused.into());
        }
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        self.stream = Some(stream);
        let mut bytes = Vec::new();
        Connect {
            version: VERSION,
            bridge: false,
            clean_start: false,
            keep_alive_s: 60,
            properties: Default::default(),
            client_id: self.client_id,
            will: None,
            user_name: None,
            password: None,
        }
        .encode(&mut bytes);
        self.try_send(&bytes)?;
        match self.try_receive()? {
            Came::Connected(present) => Ok(present),
            _ => Err(ErrorKind::InvalidData.into()),
        }
    }

    /// Until the broker is there; whether it has kept the Session.
    fn connect(&mut self) -> bool {
        loop {
            self.lost();
            match self.try_connect() {
                Ok(present) => return present,
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    /// One message, until its last acknowledgement.
    fn publish(&mut self, topic: &str, qos: QoS, number: u32) {
        let id = PacketId::new((number % 60_000) as u16 + 1).unwrap();
        let (mut dup, mut released) = (false, false);
        loop {
            match self.try_publish(topic, qos, number, id, dup, &mut released) {
                Ok(()) => return,
                Err(_) => {
                    let present = self.connect();
                    released &= present;
                    dup = true;
                }
            }
        }
    }

    fn try_publish(
        &mut self,
        topic: &str,
        qos: QoS,
        number: u32,
        id: PacketId,
        dup: bool,
        released: &mut bool,
    ) -> io::Result<()> {
        if !*released {
            let payload = number.to_string();
            let publish = Publish {
                dup,
                qos,
                retain: false,
                topic: Some(TopicName::new(topic).unwrap()),
                packet_id: Some(id),
                properties: PublishProperties::default(),
                payload: payload.as_bytes(),
            };
            let mut bytes = Vec::new();
            publish.encode(VERSION, &mut bytes);
            self.try_send(&bytes)?;
            let wanted = match qos {
                QoS::ExactlyOnce => AckKind::PubRec,
                _ => AckKind::PubAck,
            };
            self.await_ack(wanted, id)?;
            if qos != QoS::ExactlyOnce {
                return Ok(());
            }
            *released = true;
        }
        self.try_ack(AckKind::PubRel, id)?;
        self.await_ack(AckKind::PubComp, id)
    }

    fn try_ack(&mut self, kind: AckKind, id: PacketId) -> io::Result<()> {
        let mut bytes = Vec::new();
        append_ack(kind, VERSION, id, ReasonCode::SUCCESS, &mut bytes);
        self.try_send(&bytes)
    }

    fn await_ack(&mut self, wanted: AckKind, id: PacketId) -> io::Result<()> {
        loop {
            if let Came::Ack(kind, of) = self.try_receive()?
                && (kind, of) == (wanted, id)
            {
                return Ok(());
            }
        }
    }
}

/// Receives until both lists are complete or the time is over.
fn listen(port: u16, count: usize, ready: impl FnOnce(), end: Receiver<()>) -> [Vec<u32>; 2] {
    let mut patient = Patient::new(port, "listener");
    let mut held = BTreeSet::new();
    let mut got = [Vec::new(), Vec::new()];
    let mut once = BTreeSet::new();
    let mut ready = Some(ready);
    let complete = |once: &BTreeSet<u32>, twos: &[u32]| once.len() + twos.len() >= count;
    while !complete(&once, &got[1]) && end.try_recv().is_err() {
        if !patient.connect() {
            held.clear();
            let mut bytes = Vec::new();
            let options = SubscriptionOptions::new(QoS::ExactlyOnce);
            append_subscribe(
                VERSION,
                PacketId::MIN,
                None,
                &[("k/#", options)],
                &mut bytes,
            );
            if patient.try_send(&bytes).is_err() || patient.try_receive().is_err() {
                continue;
            }
        }
        if let Some(ready) = ready.take() {
            ready();
        }
        while let Ok(came) = patient.try_receive() {
            let answered = match came {
                Came::Message(QoS::AtLeastOnce, Some(id), number) => {
                    if once.insert(number) {
                        got[0].push(number);
                    }
                    patient.try_ack(AckKind::PubAck, id)
                }
                Came::Message(QoS::ExactlyOnce, Some(id), number) => {
                    if held.insert(id) {
                        got[1].push(number);
                    }
                    patient.try_ack(AckKind::PubRec, id)
                }
                Came::Ack(AckKind::PubRel, id) => {
                    held.remove(&id);
                    patient.try_ack(AckKind::PubComp, id)
                }
                _ => Ok(()),
            };
            if answered.is_err() || complete(&once, &got[1]) {
                break;
            }
        }
    }
    got
}

#[test]
fn nothing_is_lost_and_nothing_doubled_while_both_sides_are_killed() {
    let messages = std::env::var("MQTTFAST_BRIDGE_MESSAGES").ok();
    let count: u32 = messages.map_or(3_000, |count| count.parse().expect("a number"));
    let kills = if count > 10_000 { 20 } else { 6 };
    let (mut edge, mut core) = (Broker::new(Kind::Mqttfast), Broker::new(Kind::Mqttfast));
    let lines = bridge(&core, "topic k/# out 2\n");
    core.start("");
    edge.start(&lines);
    let (ports, begun) = ((edge.port, core.port), Instant::now());
    let (stop, end) = channel();
    let (told, ready) = channel();
    let listener = std::thread::spawn(move || {
        listen(ports.1, count as usize, move || told.send(()).unwrap(), end)
    });
    ready.recv().unwrap();
    let (progress, published) = channel();
    let publisher = std::thread::spawn(move || {
        let mut patient = Patient::new(ports.0, "publisher");
        patient.connect();
        for number in 0..count {
            match number % 6 {
                0 => patient.publish("k/two", QoS::ExactlyOnce, number),
                _ => patient.publish("k/one", QoS::AtLeastOnce, number),
            }
            let _ = progress.send(number);
        }
    });
    // Each kill comes when its part of the messages has been published, while the next ones are.
    for kill in 1..=kills {
        while published
            .recv_timeout(Duration::from_secs(30))
            .expect("it goes on")
            < count / (kills + 1) * kill
        {}
        match kill % 2 {
            0 => {
                edge.kill();
                edge.start(&lines);
            }
            _ => {
                core.kill();
                core.start("");
            }
        }
    }
    publisher.join().unwrap();
    while !listener.is_finished() {
        let patience = Duration::from_secs(30 + u64::from(count) / 100);
        if begun.elapsed() > patience {
            let _ = stop.send(());
            core.kill();
            core.start("");
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let [ones, twos] = listener.join().unwrap();
    let wanted = |two: bool| -> Vec<u32> { (0..count).filter(|n| (n % 6 == 0) == two).collect() };
    let differ = |got: &[u32], wanted: &[u32]| {
        let at = got
            .iter()
            .zip(wanted)
            .position(|(got, wanted)| got != wanted);
        at.map(|at| (got[at], wanted[at]))
            .or((got.len() != wanted.len()).then_some((0, 0)))
    };
    assert_eq!(
        (differ(&ones, &wanted(false)), ones.len()),
        (None, wanted(false).len())
    );
    assert_eq!(
        (differ(&twos, &wanted(true)), twos.len()),
        (None, wanted(true).len())
    );
}
