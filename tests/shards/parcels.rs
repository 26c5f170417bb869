//! Packets of one read that are the same but for their payloads are routed as one, and what a turn has for another
//! shard crosses in one parcel. Nobody must notice but by the clock.

use crate::*;
use mqttfast::broker::Dropped;
use mqttfast::limits::PAYLOAD_SHARED_FROM_BYTES;

/// A Client of each kind that takes its messages in a way of its own; the last two are a group.
fn listeners(world: &mut World) -> Vec<Client> {
    let v5 = |name: &str| connect(Version::V5, name);
    let kinds = [
        (connect(Version::V31, "v31"), vec![("#", 0)]),
        (connect(V, "v311"), vec![("+", 0), ("a/#", 0), ("#", 0)]),
        (connect(V, "qos-1"), vec![("a/b", 1), ("c", 1)]),
        (v5("v5"), vec![("#", 0), ("a/b", 0)]),
        (v5("small").with(maximum_packet_size(200)), vec![("#", 0)]),
        (v5("aliases").with(topic_alias_maximum(2)), vec![("#", 1)]),
        (v5("identified"), vec![]),
        (connect(V, "member-1"), vec![("$share/g/#", 0)]),
        (v5("member-2"), vec![("$share/g/#", 0)]),
    ];
    let clients = kinds.map(|(connect, filters)| {
        let client = world.connect(&connect);
        for (filter, qos) in filters {
            world.subscribe(client, filter, qos);
        }
        client
    });
    for (packet_id, filter) in [(1, "a/#"), (2, "#")] {
        let identifier = subscription_identifier(u32::from(packet_id));
        let subscribe = subscribe_with(packet_id, &identifier, &[(filter, 0)]);
        world.send(clients[6], subscribe);
    }
    clients.into()
}

/// What a publisher sends at once: mostly a sensor's values, with something else between.
fn stream(random: &mut Random, version: Version) -> Vec<Vec<u8>> {
    let mut topic = "a/b";
    let mut at_qos_1 = 0;
    (0..60)
        .map(|number| {
            if random.below(4) == 0 {
                topic = ["a/b", "a/bc", "c", "a/long/topic/name"][random.below(4)];
            }
            let mut payload = format!("{number}:");
            payload += &"x".repeat([0, 3, 200][random.below(3)]);
            if random.below(40) == 0 {
                payload += &"y".repeat(PAYLOAD_SHARED_FROM_BYTES);
            }
            let mut packet = publish(topic, payload);
            match random.below(12) {
                // Fewer than the window holds, so that none waits for another.
                0 if at_qos_1 < 15 => {
                    at_qos_1 += 1;
                    packet = packet.qos(1, at_qos_1);
                }
                1 => packet = packet.retain(),
                2 if version == Version::V5 => packet = packet.with(message_expiry(60)),
                3 if version == Version::V5 => packet = packet.with(user_property("k", "v")),
                4 if version == Version::V5 => packet = packet.with(topic_alias(1)),
                _ => {}
            }
            packet.bytes(version)
        })
        .collect()
}

/// What each listener got: its messages, and for v5 the Subscription Identifiers and User Properties beside them. Of a
/// group what its members got together, in no order.
fn heard(world: &mut World, listeners: &[Client]) -> Vec<Vec<String>> {
    let (alone, members) = listeners.split_at(listeners.len() - 2);
    let mut all: Vec<Vec<String>> = alone
        .iter()
        .map(|client| {
            if world.version(*client) == Version::V5 {
                let of = |full: &Full| (full.identifiers(), full.user_properties().len());
                let line = |full: &Full| format!("{:?} {:?}", full.message(), of(full));
                world.messages_full(*client).iter().map(line).collect()
            } else {
                let line = |message: &Message| format!("{message:?}");
                world.messages(*client).iter().map(line).collect()
            }
        })
        .collect();
    let mut group: Vec<String> = members.iter().flat_map(|m| world.texts(*m)).collect();
    group.sort();
    all.push(group);
    all
}

#[test]
fn a_read_says_what_its_packets_say_one_by_one() {
    for seed in 0..60 {
        let shards = 1 + seed as usize % 3;
        let version = [Version::V311, Version::V5, Version::V31][seed as usize / 3 % 3];
        let packets = stream(&mut Random::new(seed), version);
        let [at_once, one_by_one] = [true, false].map(|at_once| {
            let mut world = World::new(shards);
            let listeners = listeners(&mut world);
            let publisher = world.connect(&connect(version, &format!("publisher {seed}")));
            if at_once {
                world.read_whole();
                world.send(publisher, packets.concat());
            } else {
                for packet in &packets {
                    world.send(publisher, packet);
                }
            }
            heard(&mut world, &listeners)
        });
        for listener in [0, at_once.len() - 1] {
            let count = at_once[listener].len();
            assert_eq!(count, packets.len(), "seed {seed}: all, once");
        }
        assert_eq!(at_once, one_by_one, "seed {seed}");
    }
}

#[test]
fn a_turn_crosses_in_one_parcel() {
    let (ids_s, ids_p) = (ids(2, "s"), ids(2, "p"));
    let mut world = World::new(2);
    world.read_whole();
    let subscriber = world.connect(&connect(V, &ids_s[1]));
    world.subscribe(subscriber, "#", 0);
    let publisher = world.connect(&connect(V, &ids_p[0]));
    let topics = ["a", "b", "c"];
    let message = |n: usize| publish(topics[n % 3], format!("{n}"));
    let bytes: Vec<u8> = (0..300).flat_map(|n| message(n).bytes(V)).collect();
    let crossed = world.publishes_in_lanes;
    world.lanes_held = true;
    world.send(publisher, &bytes);
    assert_eq!(world.publishes_in_lanes - crossed, 300, "each crosses once");
    assert_eq!(world.lane_messages(), 1, "all in one parcel");
    // What is said later stays behind it.
    world.send(publisher, publish("a", "last").qos(1, 1).bytes(V));
    world.lanes_held = false;
    world.settle();
    let expected: Vec<String> = (0..300).map(|n| n.to_string()).collect();
    assert_eq!(
        world.texts(subscriber),
        [expected, vec!["last".into()]].concat()
    );
}

#[test]
fn what_a_read_writes_to_the_tree_of_the_broker_is_counted_message_by_message() {
    let mut world = World::new(1);
    world.read_whole();
    let publisher = world.connect(&connect(V, "publisher"));
    let bytes = publish("$SYS/uptime", "x").bytes(V).repeat(30);
    world.send(publisher, &bytes);
    let counters = world.shard(0).counters();
    assert_eq!(counters.dropped(Dropped::OwnTopic), 30);
}
