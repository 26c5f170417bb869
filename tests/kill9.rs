//! What a broker has acknowledged survives `kill -9`, over true sockets: Sessions and subscriptions, queued messages
//! in their order, QoS 2 exactly once, retained messages.
//!
//! Each test starts a broker with a store of its own, publishes at full speed, kills the broker at a random moment,
//! starts it again, and goes on; then everyone comes back, and what was acknowledged is compared with what arrives.
//!
//! `MQTTFAST_KILLS` is the number of kills of each test, 4 unless given: 1,000 in all by
//!
//!     MQTTFAST_KILLS=125 cargo test --release --test kill9

use mqttfast_rig::process as support;

use mqttfast::random::SplitMix64;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::thread;
use std::time::Duration;
use support::packet::{
    Connect, PUBACK, PUBCOMP, PUBREC, PUBREL, Published, acknowledgement, publish,
};
use support::{Answer, Broker, Client, DEADLINE, Folder, Options};

/// Messages that a publisher has under way at a time.
const UNDER_WAY: u16 = 16;
/// Topics with a retained message.
const RETAINED: u64 = 4;

/// What one publisher has done: the numbers it began with and those that were acknowledged.
#[derive(Default)]
struct Said {
    next: u64,
    acknowledged: BTreeSet<u64>,
    /// QoS 2: numbers by Packet Identifier, and whether PUBREC came.
    under_way: BTreeMap<u16, (u64, bool)>,
}

fn kills() -> usize {
    let text = std::env::var("MQTTFAST_KILLS");
    text.map_or(4, |text| text.parse().expect("a number"))
}

fn start(folder: &Path, shards: usize, durability: &str) -> Broker {
    let store = folder.to_str().expect("UTF-8");
    let arguments = ["--store-dir", store, "--durability", durability];
    Broker::start_with(Options {
        shards,
        arguments: arguments.map(str::to_owned).into(),
        ..Options::default()
    })
}

/// A Session that outlives its connection.
fn come_back(broker: &Broker, client_id: &str) -> (Client, bool) {
    let connect = Connect {
        client_id: client_id.as_bytes(),
        clean_session: false,
        ..Connect::default()
    };
    Client::connect_with(broker, &connect)
}

/// Publishes at QoS 1 until the broker is gone. Number `n` is retained on topic `n % RETAINED` where `retain` says so.
fn publish_qos1(mut client: Client, mut said: Said, topic: &str, retain: bool) -> Said {
    loop {
        let first = said.next;
        let mut bytes = Vec::new();
        for packet_id in 1..=UNDER_WAY {
            let number = said.next;
            said.next += 1;
            let topic = format!("{topic}/{}", number % RETAINED);
            let payload = number.to_string();
            let packet = publish(topic.as_bytes(), payload.as_bytes(), 1, packet_id, retain);
            bytes.extend(packet);
        }
        if !client.try_send(&bytes) {
            return said;
        }
        for packet_id in 1..=UNDER_WAY {
            match client.answer(DEADLINE) {
                Answer::Packet(packet) => {
                    assert_eq!(packet, acknowledgement(PUBACK, packet_id));
                    said.acknowledged.insert(first + u64::from(packet_id) - 1);
                }
                Answer::Closed => return said,
                Answer::Silence => panic!("no PUBACK"),
            }
        }
    }
}

/// Publishes at QoS 2 until the broker is gone, or for `rounds`. What was under way is completed first.
fn publish_qos2(client: &mut Client, said: &mut Said, topic: &str, mut rounds: usize) {
    // As a Client that resumes its Session does. [v3.1.1 MQTT-4.4.0-1]
    let mut bytes = Vec::new();
    for (packet_id, (number, received)) in &said.under_way {
        if *received {
            bytes.extend(acknowledgement(PUBREL, *packet_id));
        } else {
            let payload = number.to_string();
            let mut packet = publish(topic.as_bytes(), payload.as_bytes(), 2, *packet_id, false);
            packet[0] |= 0x08;
            bytes.extend(packet);
        }
    }
    loop {
        if said.under_way.is_empty() {
            if rounds == 0 {
                return;
            }
            rounds -= 1;
            for packet_id in 1..=UNDER_WAY {
                let number = said.next;
                said.next += 1;
                said.under_way.insert(packet_id, (number, false));
                let payload = number.to_string();
                bytes.extend(publish(
                    topic.as_bytes(),
                    payload.as_bytes(),
                    2,
                    packet_id,
                    false,
                ));
            }
        }
        if !client.try_send(&std::mem::take(&mut bytes)) {
            return;
        }
        while !said.under_way.is_empty() {
            let packet = match client.answer(DEADLINE) {
                Answer::Packet(packet) => packet,
                Answer::Closed => return,
                Answer::Silence => panic!("no answer for {:?}", said.under_way),
            };
            let packet_id = u16::from_be_bytes([packet[2], packet[3]]);
            let entry = said.under_way.get_mut(&packet_id).expect("it is under way");
            if packet[0] == PUBREC {
                entry.1 = true;
                said.acknowledged.insert(entry.0);
                if !client.try_send(&acknowledgement(PUBREL, packet_id)) {
                    return;
                }
            } else {
                assert_eq!(packet, acknowledgement(PUBCOMP, packet_id));
                said.under_way.remove(&packet_id);
            }
        }
    }
}

/// Receives and acknowledges until the number `last` has come on each of `topics`.
fn receive_all(client: &mut Client, last: &BTreeMap<&str, u64>) -> Vec<Published> {
    let mut received = Vec::new();
    let mut missing = last.clone();
    let mut releases = BTreeSet::new();
    while !missing.is_empty() || !releases.is_empty() {
        let Answer::Packet(packet) = client.answer(DEADLINE) else {
            panic!(
                "still missing: {missing:?}, after {} messages",
                received.len()
            );
        };
        if packet[0] == PUBREL {
            let packet_id = u16::from_be_bytes([packet[2], packet[3]]);
            releases.remove(&packet_id);
            client.send(&acknowledgement(PUBCOMP, packet_id));
            continue;
        }
        let message = Published::read(&packet).expect("a PUBLISH");
        match message.qos {
            1 => client.send(&acknowledgement(PUBACK, message.packet_id)),
            2 => {
                releases.insert(message.packet_id);
                client.send(&acknowledgement(PUBREC, message.packet_id));
            }
            _ => panic!("QoS 0"),
        }
        let (topic, number) = of(&message);
        if missing.get(topic.as_str()) == Some(&number) {
            missing.remove(topic.as_str());
        }
        received.push(message);
    }
    received
}

/// The first level of a topic, and the number.
fn of(message: &Published) -> (String, u64) {
    let first = message.topic.split('/').next().expect("a level").to_owned();
    let payload = std::str::from_utf8(&message.payload).expect("UTF-8");
    (first, payload.parse().expect("a number"))
}

fn survives(shards: usize, durability: &str) {
    if support::reference() {
        return;
    }
    let folder = Folder::new();
    let store = folder.path("store");
    let mut random = SplitMix64::new(u64::from(std::process::id()) << 8 | shards as u64);
    let mut broker = start(&store, shards, durability);
    for (client_id, qos) in [("one", 1), ("two", 2)] {
        let (mut client, present) = come_back(&broker, client_id);
        assert!(!present);
        for topic in ["plain/#", "exact/#", "kept/#"] {
            client.subscribe(topic, qos);
        }
        client.disconnect();
    }
    let (exact, _) = come_back(&broker, "exact");
    exact.disconnect();
    let mut plain = Said::default();
    let mut kept = Said::default();
    let mut exact = Said::default();
    // What each subscriber has had in earlier rounds.
    let mut highest: BTreeMap<(&str, String), u64> = BTreeMap::new();
    for kill in 0..kills() {
        let address = broker.address();
        let connect = |client_id: &str| Client::connect(&broker, client_id);
        let (mut two, present) = come_back(&broker, "exact");
        assert!(present, "its Session was promised");
        let (one, three) = (connect("plain"), connect("kept"));
        let run = thread::spawn(move || publish_qos1(one, plain, "plain", false));
        let keep = thread::spawn(move || publish_qos1(three, kept, "kept", true));
        let resume = thread::spawn(move || {
            publish_qos2(&mut two, &mut exact, "exact/x", usize::MAX);
            exact
        });
        thread::sleep(Duration::from_millis(30 + random.below(250) as u64));
        broker.signal(nix::sys::signal::Signal::SIGKILL);
        plain = run.join().expect("the publisher");
        kept = keep.join().expect("the publisher");
        exact = resume.join().expect("the publisher");
        drop(broker);
        broker = start(&store, shards, durability);
        assert!(
            broker.log().iter().any(|line| line.contains("store: ")),
            "{address}"
        );

        // The QoS 2 publisher ends what it began, and all three say a last word.
        let (mut client, present) = come_back(&broker, "exact");
        assert!(present, "its Session was promised");
        publish_qos2(&mut client, &mut exact, "exact/x", 1);
        assert!(exact.under_way.is_empty());
        client.disconnect();
        let mut client = Client::connect(&broker, "last");
        for (said, topic, retain) in [(&mut plain, "plain/0", false), (&mut kept, "kept/0", true)] {
            said.next = said.next.next_multiple_of(RETAINED);
            client.publish(topic, said.next.to_string().as_bytes(), 1, retain);
            said.acknowledged.insert(said.next);
            said.next += 1;
        }
        client.disconnect();

        let all = [("plain", &plain), ("kept", &kept), ("exact", &exact)];
        let last = all.iter().map(|(topic, said)| (*topic, said.next - 1));
        let last: BTreeMap<&str, u64> = last.collect();
        for client_id in ["one", "two"] {
            let (mut client, present) = come_back(&broker, client_id);
            assert!(present, "its Session was promised");
            let received = receive_all(&mut client, &last);
            for (topic, said) in all {
                let numbers = received.iter().map(of).filter(|(of, _)| of == topic);
                let numbers: Vec<u64> = numbers.map(|(_, number)| number).collect();
                let seen: BTreeSet<u64> = numbers.iter().copied().collect();
                let before = highest.insert((client_id, topic.to_owned()), said.next);
                let owed = said.acknowledged.range(before.unwrap_or(0)..);
                let lost: Vec<&u64> = owed.filter(|number| !seen.contains(number)).collect();
                let whose = format!("{client_id}, {topic}, kill {kill}");
                if let (Some(first), Some(last)) = (lost.first(), lost.last()) {
                    panic!("{whose}: {} lost, {first} to {last}", lost.len());
                }
                let turned = numbers.windows(2).find(|two| two[0] > two[1]);
                assert_eq!(turned, None, "{whose}: order");
                if topic == "exact" {
                    assert_eq!(numbers.len(), seen.len(), "{whose}: twice");
                }
            }
            client.disconnect();
        }

        // Each retained message is one that was published, and not older than the last that was acknowledged.
        let mut client = Client::connect(&broker, "reader");
        for topic in 0..RETAINED {
            client.subscribe(&format!("kept/{topic}"), 1);
            let on_topic = |number: &&u64| **number % RETAINED == topic;
            let Some(least) = kept.acknowledged.iter().rev().find(on_topic) else {
                continue;
            };
            let message = client.receive();
            let (_, number) = of(&message);
            assert!(message.retain && number % RETAINED == topic);
            assert!((*least..kept.next).contains(&number), "{least}: {number}");
        }
        client.disconnect();
    }
}

#[test]
fn batched_on_one_shard() {
    survives(1, "batched");
}

#[test]
fn strict_on_one_shard() {
    survives(1, "strict");
}

#[test]
fn batched_on_one_shard_by_epoll() {
    support::broker::by_epoll(|| survives(1, "batched"));
}

#[test]
fn strict_on_one_shard_by_epoll() {
    support::broker::by_epoll(|| survives(1, "strict"));
}

#[test]
fn batched_on_two_shards() {
    survives(2, "batched");
}

#[test]
fn strict_on_two_shards() {
    survives(2, "strict");
}

#[test]
fn batched_on_two_shards_by_epoll() {
    support::broker::by_epoll(|| survives(2, "batched"));
}

#[test]
fn strict_on_two_shards_by_epoll() {
    support::broker::by_epoll(|| survives(2, "strict"));
}
