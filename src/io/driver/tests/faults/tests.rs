//! Whole conversations over true sockets with true shards, on a kernel that has its bad days: nothing is lost,
//! nothing comes twice, and when all have left, nothing is left.

mod broker;
mod client;

use super::Plan;
use crate::io::driver::kernel::Kernel;
use crate::io::driver::tests::peers::Over;
use crate::limits;
use crate::wire::{AckKind, Packet, QoS};
use broker::Broker;
use client::Client;
use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

/// For anything that has to come.
const PATIENCE: Duration = Duration::from_secs(60);
/// Of the Clients of a starved shard.
const KEEP_ALIVE_S: u16 = 2;

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
    converse_by(
        &|client_id: &str| Client::connect(address, client_id, 0),
        count,
        payloads,
    );
}

/// The same, by Clients that connect in this way.
fn converse_by(connect: &(dyn Fn(&str) -> Client + Sync), count: usize, payloads: &[Vec<u8>]) {
    let side = move |own: &'static str, other: &'static str| {
        let mut receiver = connect(&format!("to-{own}"));
        receiver.subscribe(&format!("for/{own}/#"));
        let mut sender = connect(&format!("from-{other}"));
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
        let broker = Broker::start::<K>(shards, Plan::MUCH);
        converse(&broker, 40, &[payload(1 << 20)]);
        let tally = broker.stop();
        assert!(
            tally.errors > 200 && tally.pieces > 200 && tally.overtaken > 0,
            "{tally:?}"
        );
    }
}

/// Whatever is between socket and MQTT, on the shard or with handshakes by a helper; on two shards, half the
/// connections change theirs. Records, frames and handshakes come in pieces, and what a link says of itself meets
/// errors too.
fn links_of_every_kind<K: Kernel>() {
    let pieces = Plan {
        receive_bytes_max: 1,
        send_bytes_max: 1,
        ..Plan::NONE
    };
    for over in Over::ALL {
        for (plan, count, bytes, slow) in [(pieces, 4, 300, false), (Plan::MUCH, 20, 200_000, true)]
        {
            for shards in [1, 2] {
                let broker = Broker::start_with::<K>(shards, plan, &over.wrapping(slow));
                let address = broker.address;
                let connect = |client_id: &str| Client::connect_over(over, address, client_id);
                converse_by(&connect, count, &[payload(bytes)]);
                let tally = broker.stop();
                assert!(tally.pieces > 200, "{over:?} {tally:?}");
                assert!(
                    plan.one_error_in == 0 || tally.errors > 50,
                    "{over:?} {tally:?}"
                );
            }
        }
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
                    Packet::Ack(AckKind::PubRel, ack) => Some((QoS::AtMostOnce, ack.packet_id)),
                    Packet::PingResp => {
                        came.push(b"PINGRESP".to_vec());
                        None
                    }
                    other => panic!("{other:?} was not asked for"),
                });
                if let Some((qos, packet_id)) = answer {
                    receiver.acknowledge(qos, packet_id);
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
    links_of_every_kind,
    last_words_despite_errors,
    accepts_that_fail,
    more_completions_than_the_queue_holds,
    a_starved_shard,
);
