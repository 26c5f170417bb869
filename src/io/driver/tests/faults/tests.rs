//! Whole conversations over true sockets with true shards, on a kernel that has its bad days: nothing is lost,
//! nothing comes twice, and when all have left, nothing is left.

use super::{Faulty, PLAN, Plan, Tally};
use crate::broker::{Input, Output, Outputs, Shard};
use crate::config::Settings;
use crate::io::clock::Clock;
use crate::io::crossing::LANE_BOUNDS;
use crate::io::driver::kernel::Kernel;
use crate::io::driver::{Core, Driver};
use crate::io::helpers::log::Log;
use crate::io::listener::ListeningSockets;
use crate::io::mail::{Shards, ToShard};
use crate::io::seat::{Common, seats};
use crate::limits;
use crate::mesh::{Capacity, lanes};
use crate::time::Time;
use crate::wire::topic::TopicName;
use crate::wire::{
    Ack, AckKind, Connect, ConnectProperties, Disconnect, Packet, PacketId, Publish,
    PublishProperties, QoS, ReasonCode, SubscriptionOptions, Version, append_subscribe, decode,
    encode, next_frame,
};
use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// For anything that has to come.
const PATIENCE: Duration = Duration::from_secs(60);
/// Of the Clients of a starved shard.
const KEEP_ALIVE_S: u16 = 2;
/// Invariants are a walk over all connections after each input.
const CONNECTIONS_WALKED_MAX: usize = 50;
const VERSION: Version = Version::V311;

/// A shard that can be told to do nothing for a while, as a machine that has no time for its thread would make it.
struct Drowsy {
    shard: Shard,
    naps: Receiver<Duration>,
    asleep: Sender<()>,
}

impl Core for Drowsy {
    fn handle(&mut self, now: Time, input: Input<'_>, out: &mut Outputs) {
        self.shard.handle(now, input, out);
        // Thousands of lines of coming and going say nothing here.
        out.list
            .retain(|output| !matches!(output, Output::Happened(_)));
        if self.shard.sizes().0 < CONNECTIONS_WALKED_MAX {
            self.shard.check_invariants();
        }
    }

    fn flush(&mut self, now: Time, out: &mut Outputs) {
        self.shard.flush(now, out);
        if let Ok(nap) = self.naps.try_recv() {
            self.asleep.send(()).unwrap();
            thread::sleep(nap);
        }
    }

    fn next_deadline(&self) -> Option<Time> {
        self.shard.next_deadline()
    }

    fn is_spent(&self) -> bool {
        self.shard.is_spent()
    }
}

/// What a shard's thread leaves behind.
struct Left {
    slots: usize,
    /// Connections, Sessions, subscriptions, retained messages.
    sizes: (usize, usize, usize, usize),
    tally: Tally,
}

struct Broker {
    address: SocketAddr,
    shards: Shards,
    capacity: Arc<Capacity>,
    threads: Vec<JoinHandle<Left>>,
    naps: Vec<Sender<Duration>>,
    asleep: Receiver<()>,
}

impl Broker {
    fn start<K: Kernel>(count: usize, plan: Plan) -> Broker {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let listeners = ListeningSockets::from(vec![listener]);
        let capacity = Arc::new(Capacity::new(usize::MAX, 0));
        let common = Common {
            listeners,
            capacity: Arc::clone(&capacity),
            checker: None,
            log: Log::start(crate::config::Logs::Events).unwrap(),
            clock: Clock::start(),
        };
        let shards = Shards::new(count).unwrap();
        let seats = seats(&shards, lanes(count, &LANE_BOUNDS), &common);
        let (tell, asleep) = channel();
        let (mut threads, mut all_naps) = (Vec::new(), Vec::new());
        for seat in seats {
            let (nap, naps) = channel();
            all_naps.push(nap);
            let asleep = tell.clone();
            threads.push(thread::spawn(move || {
                PLAN.set(plan);
                let shard = Shard::new(seat.id, count, Settings::default());
                let core = Drowsy {
                    shard,
                    naps,
                    asleep,
                };
                let mut driver = Driver::<_, Faulty<K>>::new(core, seat).unwrap();
                driver.run().unwrap();
                Left {
                    slots: driver.sockets.used(),
                    sizes: driver.core.shard.sizes(),
                    tally: driver.kernel.tally,
                }
            }));
        }
        Broker {
            address,
            shards,
            capacity,
            threads,
            naps: all_naps,
            asleep,
        }
    }

    /// This shard does nothing for a while, beginning before this returns.
    fn starve(&self, shard: usize, nap: Duration) {
        self.naps[shard].send(nap).unwrap();
        // A turn, at whose end it finds the nap: nobody waits for this verdict.
        let connection = crate::ids::ConnectionId {
            index: u32::MAX,
            generation: 0,
        };
        let verdict = crate::broker::Verdict::Accepted;
        let mail = ToShard::Verdict {
            connection,
            verdict,
        };
        self.shards.tell(crate::ids::ShardId(shard as u8), mail);
        self.asleep.recv_timeout(PATIENCE).unwrap();
    }

    /// All have left and nothing of them is there any more. Returns the sum of what went wrong.
    fn stop(self) -> Tally {
        self.shards.tell_all(|| ToShard::Shutdown);
        let mut sum = Tally::default();
        for thread in self.threads {
            let left = thread.join().unwrap();
            assert_eq!((left.slots, left.sizes), (0, (0, 0, 0, 0)));
            sum.errors += left.tally.errors;
            sum.overtaken += left.tally.overtaken;
            sum.pieces += left.tally.pieces;
            sum.large += left.tally.large;
            sum.found_at_once_max = sum.found_at_once_max.max(left.tally.found_at_once_max);
        }
        assert_eq!(self.capacity.taken(), 0);
        sum
    }
}

/// A Client of 3.1.1 that waits for each answer.
struct Client {
    stream: TcpStream,
    bytes: Vec<u8>,
    next_packet_id: u16,
}

/// A PUBLISH as it came.
#[derive(PartialEq, Eq, Debug)]
struct Message {
    topic: String,
    payload: Vec<u8>,
    qos: QoS,
    dup: bool,
}

impl Client {
    fn connect(address: SocketAddr, client_id: &str, keep_alive_s: u16) -> Client {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
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

    fn send(&mut self, packet: &Packet<'_>) {
        let mut bytes = Vec::new();
        encode(packet, VERSION, &mut bytes);
        self.stream.write_all(&bytes).unwrap();
    }

    /// Hands the next packet over.
    fn expect<T>(&mut self, take: impl FnOnce(&Packet<'_>) -> T) -> T {
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

    fn subscribe(&mut self, filter: &str) {
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
    fn publish(&mut self, topic: &str, payload: &[u8], qos: QoS) {
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
            Packet::PubAck(ack) => (AckKind::PubAck, ack.packet_id),
            Packet::PubRec(ack) => (AckKind::PubRec, ack.packet_id),
            Packet::PubComp(ack) => (AckKind::PubComp, ack.packet_id),
            other => panic!("an answer expected, not {other:?}"),
        };
        if qos == QoS::AtLeastOnce {
            assert_eq!(self.expect(answer), (AckKind::PubAck, packet_id));
            return;
        }
        assert_eq!(self.expect(answer), (AckKind::PubRec, packet_id));
        self.send(&Packet::PubRel(Ack::new(packet_id, ReasonCode::SUCCESS)));
        assert_eq!(self.expect(answer), (AckKind::PubComp, packet_id));
    }

    /// The next message, its handshake played to the end.
    fn message(&mut self) -> Message {
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
                Packet::PubRel(ack) => (None, Some((QoS::AtMostOnce, ack.packet_id))),
                other => panic!("a message expected, not {other:?}"),
            });
            if let Some((qos, packet_id)) = answer {
                let ack = Ack::new(packet_id, ReasonCode::SUCCESS);
                self.send(&match qos {
                    QoS::AtMostOnce => Packet::PubComp(ack),
                    QoS::AtLeastOnce => Packet::PubAck(ack),
                    QoS::ExactlyOnce => Packet::PubRec(ack),
                });
            }
            if let Some(message) = message {
                return message;
            }
        }
    }

    /// Plays the handshakes to their end and returns when PINGRESP has come; no message may.
    fn ping(&mut self) {
        self.send(&Packet::PingReq);
        while let Some(packet_id) = self.expect(|packet| match packet {
            Packet::PubRel(ack) => Some(ack.packet_id),
            Packet::PingResp => None,
            other => panic!("{other:?} was not asked for"),
        }) {
            self.send(&Packet::PubComp(Ack::new(packet_id, ReasonCode::SUCCESS)));
        }
    }

    /// Leaves; the broker closes, and not before all it had to send has come.
    fn leave(mut self) -> Vec<u8> {
        self.send(&Packet::Disconnect(Disconnect::default()));
        let mut rest = self.bytes;
        self.stream.read_to_end(&mut rest).unwrap();
        rest
    }
}

/// Bytes no two positions of which are easily confused.
fn payload(bytes: usize) -> Vec<u8> {
    (0..bytes as u32)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect()
}

/// Two Clients, each on any shard, that send each other `count` messages at QoS 1 and 2 in turn, and then these
/// payloads at both.
fn converse(broker: &Broker, count: usize, payloads: &[Vec<u8>]) {
    let address = broker.address;
    let side = move |own: &'static str, other: &'static str| {
        let mut receiver = Client::connect(address, &format!("to-{own}"), 0);
        receiver.subscribe(&format!("for/{own}/#"));
        let mut sender = Client::connect(address, &format!("from-{other}"), 0);
        let mut due: Vec<(Vec<u8>, QoS)> = Vec::new();
        for number in 0..count {
            let qos = [QoS::AtLeastOnce, QoS::ExactlyOnce][number % 2];
            due.push((format!("{number} from {other}").into_bytes(), qos));
        }
        for payload in payloads {
            due.push((payload.clone(), QoS::AtLeastOnce));
            due.push((payload.clone(), QoS::ExactlyOnce));
        }
        let topic = format!("for/{own}/x");
        thread::scope(|scope| {
            scope.spawn(|| {
                for (payload, qos) in &due {
                    sender.publish(&topic, payload, *qos);
                }
                assert_eq!(sender.leave(), b"");
            });
            for (payload, qos) in &due {
                let message = receiver.message();
                assert!(
                    message.payload == *payload,
                    "{} bytes came",
                    message.payload.len()
                );
                assert_eq!((message.qos, message.dup), (*qos, false));
                assert_eq!(message.topic, topic);
            }
        });
        // Whatever came twice would come now.
        receiver.ping();
        assert_eq!(receiver.leave(), b"");
    };
    thread::scope(|scope| {
        scope.spawn(move || side("a", "b"));
        side("b", "a");
    });
}

fn one_byte_at_a_time<K: Kernel>() {
    for shards in [1, 2] {
        let plan = Plan {
            receive_bytes_max: 1,
            send_bytes_max: 1,
            ..Plan::NONE
        };
        let broker = Broker::start::<K>(shards, plan);
        converse(&broker, 20, &[payload(3_000)]);
        let tally = broker.stop();
        assert!(tally.pieces > 10_000, "{tally:?}");
    }
}

fn errors_that_pass<K: Kernel>() {
    for shards in [1, 2] {
        let plan = Plan {
            one_error_in: 2,
            ..Plan::NONE
        };
        let broker = Broker::start::<K>(shards, plan);
        converse(&broker, 40, &[payload(1 << 20)]);
        let tally = broker.stop();
        assert!(tally.errors > 200 && tally.large > 0, "{tally:?}");
    }
}

fn completions_in_disorder<K: Kernel>() {
    for shards in [1, 2] {
        let plan = Plan {
            disorder: true,
            ..Plan::NONE
        };
        let broker = Broker::start::<K>(shards, plan);
        converse(&broker, 40, &[payload(1 << 20)]);
        let tally = broker.stop();
        assert!(tally.overtaken > 0 && tally.large > 0, "{tally:?}");
    }
}

fn all_at_once<K: Kernel>() {
    for shards in [1, 2] {
        let plan = Plan {
            receive_bytes_max: 5_000,
            send_bytes_max: 3_000,
            one_error_in: 4,
            accept_errors: 8,
            disorder: true,
            hoards: false,
        };
        let broker = Broker::start::<K>(shards, plan);
        converse(&broker, 40, &[payload(1 << 20)]);
        let tally = broker.stop();
        assert!(
            tally.errors > 200 && tally.pieces > 200 && tally.overtaken > 0,
            "{tally:?}"
        );
    }
}

/// What is said last is said although the send meets errors: here the refusal of a CONNECT.
fn last_words_despite_errors<K: Kernel>() {
    let plan = Plan {
        send_bytes_max: 1,
        one_error_in: 2,
        ..Plan::NONE
    };
    let broker = Broker::start::<K>(1, plan);
    for _ in 0..20 {
        let mut stream = TcpStream::connect(broker.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // Without Clean Session and without a client id. [v3.1.1 MQTT-3.1.3-8]
        stream
            .write_all(b"\x10\x0C\0\x04MQTT\x04\0\0\0\0\0")
            .unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert_eq!(answer, [0x20, 2, 0, 2]);
    }
    let tally = broker.stop();
    assert!(tally.errors > 20, "{tally:?}");
}

/// Each pause of an accept ends; who waited meanwhile is served.
fn accepts_that_fail<K: Kernel>() {
    let plan = Plan {
        accept_errors: 9,
        ..Plan::NONE
    };
    let broker = Broker::start::<K>(2, plan);
    let clients: Vec<Client> = (0..20)
        .map(|number| Client::connect(broker.address, &format!("c{number}"), 0))
        .collect();
    for client in clients {
        assert_eq!(client.leave(), b"");
    }
    let tally = broker.stop();
    // By the other shard's accepts perhaps not all of them: it may have been late for everything.
    assert!((9..=2 * 9).contains(&tally.errors), "{tally:?}");
}

/// More sockets have something to tell at one moment than the completion queue of a ring holds.
fn more_completions_than_the_queue_holds<K: Kernel>() {
    let clients = limits::RING_COMPLETIONS as usize + 500;
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    assert!(
        hard > 2 * clients as rlim_t + 200,
        "only {hard} open files are allowed"
    );
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    let plan = Plan {
        hoards: true,
        ..Plan::NONE
    };
    let broker = Broker::start::<K>(1, plan);
    let mut clients: Vec<Client> = (0..clients)
        .map(|number| Client::connect(broker.address, &format!("c{number}"), 0))
        .collect();
    broker.starve(0, Duration::from_secs(1));
    for client in &mut clients {
        client.send(&Packet::PingReq);
    }
    for client in &mut clients {
        client.expect(|packet| assert!(matches!(packet, Packet::PingResp)));
    }
    for client in clients {
        assert_eq!(client.leave(), b"");
    }
    let tally = broker.stop();
    assert!(
        tally.found_at_once_max >= limits::RING_COMPLETIONS as usize,
        "{tally:?}"
    );
}

/// A shard that gets no time for longer than a Keep Alive holds nobody to a silence that was its own, and loses
/// nothing.
fn a_starved_shard<K: Kernel>() {
    for shards in [1, 2] {
        let broker = Broker::start::<K>(shards, Plan::NONE);
        let mut receivers: Vec<Client> = (0..4)
            .map(|number| Client::connect(broker.address, &format!("r{number}"), KEEP_ALIVE_S))
            .collect();
        for receiver in &mut receivers {
            receiver.subscribe("t");
        }
        let mut sender = Client::connect(broker.address, "s", 0);
        sender.publish("t", b"before", QoS::AtLeastOnce);
        for receiver in &mut receivers {
            assert_eq!(receiver.message().payload, b"before");
            receiver.ping();
        }
        // Longer than one and a half Keep Alives, after which the silent are ended.
        let nap = Duration::from_secs(2 * u64::from(KEEP_ALIVE_S));
        for shard in 0..shards {
            broker.starve(shard, nap);
        }
        // They keep their Keep Alive as far as they can tell.
        for receiver in &mut receivers {
            receiver.send(&Packet::PingReq);
        }
        sender.publish("t", b"during", QoS::ExactlyOnce);
        for mut receiver in receivers {
            let mut came = Vec::new();
            while came.len() < 2 {
                let answer = receiver.expect(|packet| match packet {
                    Packet::Publish(publish) => {
                        came.push(publish.payload.to_vec());
                        publish.packet_id.map(|id| (publish.qos, id))
                    }
                    Packet::PubRel(ack) => Some((QoS::AtMostOnce, ack.packet_id)),
                    Packet::PingResp => {
                        came.push(b"PINGRESP".to_vec());
                        None
                    }
                    other => panic!("{other:?} was not asked for"),
                });
                if let Some((qos, packet_id)) = answer {
                    let ack = Ack::new(packet_id, ReasonCode::SUCCESS);
                    receiver.send(&match qos {
                        QoS::AtMostOnce => Packet::PubComp(ack),
                        QoS::AtLeastOnce => Packet::PubAck(ack),
                        QoS::ExactlyOnce => Packet::PubRec(ack),
                    });
                }
            }
            came.sort();
            assert_eq!(came, [&b"PINGRESP"[..], b"during"]);
            // Its handshake may not be over yet: what comes with the end is the broker's part of it.
            drop(receiver);
        }
        assert_eq!(sender.leave(), b"");
        broker.stop();
    }
}

under_each_driver!(
    one_byte_at_a_time,
    errors_that_pass,
    completions_in_disorder,
    all_at_once,
    last_words_despite_errors,
    accepts_that_fail,
    more_completions_than_the_queue_holds,
    a_starved_shard,
);
