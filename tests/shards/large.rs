//! Messages larger than a read: their packets keep the memory they were received into, and so do their messages.

use crate::*;
use mqttfast::broker::Dropped;
use mqttfast::config::{ListenerSettings, Settings};
use mqttfast::limits;

/// Different at every place, so that nothing moved or cut goes unseen.
fn payload(bytes: usize, seed: u8) -> Vec<u8> {
    (0..bytes).map(|at| (at / 251 + at) as u8 ^ seed).collect()
}

#[test]
fn large_messages_arrive_as_they_were_sent() {
    for (case, version) in ALL.iter().copied().cycle().take(18).enumerate() {
        let (shards, qos) = (1 + case % 2, (case / 3 % 3) as u8);
        let mut world = World::new(shards);
        world.read_bytes_max = [1000, 5000, 16 * 1024][case / 6];
        let publisher = world.connect(&connect(version, "publisher"));
        let old = world.connect(&connect(Version::V31, "old"));
        let new = world.connect(&connect(Version::V5, "new"));
        for (client, filter) in [(old, "a/+"), (new, "a/#")] {
            world.acknowledge_at_once(client);
            world.subscribe(client, filter, qos);
        }
        let absent = connect(V, "absent").persistent();
        let client = world.connect(&absent);
        world.subscribe(client, "a/b", qos);
        world.disconnect(client);
        let mut sent = Vec::new();
        // Some take the memory of others that have gone.
        for (number, bytes) in [16_384, 70_000, 300_000, 290_000, 70_001, 20_000, 300_000]
            .into_iter()
            .enumerate()
        {
            let body = payload(bytes, number as u8);
            let mut packet = publish("a/b", &body).qos(qos, number as u16 + 1);
            if version == Version::V5 && number % 2 == 1 {
                packet = packet
                    .with(message_expiry(60))
                    .with(user_property("k", "v"));
            }
            if number == 6 {
                packet = packet.retain();
            }
            // The next one begins in the same read.
            let mut stream = packet.bytes(version);
            if qos == 2 {
                stream.extend(pubrel(number as u16 + 1));
            }
            stream.extend(publish("a/c", format!("after {number}")).bytes(version));
            world.send(publisher, stream);
            sent.push((body, number));
        }
        for client in [old, new] {
            let (mut large, mut after) = (Vec::new(), Vec::new());
            for message in world.history(client).iter().filter_map(Packet::message) {
                match &message.topic[..] {
                    "a/b" => large.push(message.payload.clone()),
                    _ => after.push(message.text()),
                }
            }
            let expected: Vec<&Vec<u8>> = sent.iter().map(|(body, _)| body).collect();
            assert!(large.iter().eq(expected), "case {case}");
            assert_eq!(after.len(), sent.len(), "case {case}");
        }
        let fulls: Vec<Full> = world.received_full(new);
        let large = fulls
            .iter()
            .filter(|full| full.packet.message().is_some_and(|m| m.topic == "a/b"));
        for (full, (_, number)) in large.zip(&sent) {
            let properties = usize::from(version == Version::V5 && number % 2 == 1);
            assert_eq!(full.user_properties().len(), properties, "case {case}");
        }
        // Queued, and retained.
        let back = world.connect_present(&absent);
        let queued = if qos > 0 { sent.len() } else { 0 };
        assert!(back.1);
        assert_eq!(world.messages(back.0).len(), queued, "case {case}");
        let late = world.connect(&connect(Version::V5, "late"));
        world.subscribe(late, "a/b", 0);
        let kept = world.messages(late);
        assert!(
            kept.len() == 1 && kept[0].payload == sent[6].0,
            "case {case}"
        );
        for shard in 0..shards {
            world.shard(shard).check_invariants();
        }
    }
}

#[test]
fn large_messages_that_nobody_wants_and_wrong_ones_end_well() {
    for version in ALL.iter().copied() {
        let mut world = World::new(1);
        let publisher = world.connect(&connect(version, "publisher"));
        let body = payload(200_000, 0);
        for packet_id in 1..4 {
            let packet = publish("nobody/wants/it", &body).qos(1, packet_id);
            world.send(publisher, packet.bytes(version));
            assert_eq!(world.received(publisher).len(), 1, "PUBACK");
        }
        let wrong = publish("a/+", &body);
        world.send(publisher, wrong.bytes(version));
        assert!(world.is_closed(publisher), "a wildcard in a Topic Name");
    }
}

#[test]
fn a_large_repeat_at_qos_2_is_delivered_once() {
    let mut world = World::new(1);
    let publisher = world.connect(&connect(V, "publisher"));
    let subscriber = world.connect(&connect(V, "subscriber"));
    world.acknowledge_at_once(subscriber);
    world.subscribe(subscriber, "a", 2);
    let packet = publish("a", payload(100_000, 7)).qos(2, 9);
    world.send(publisher, packet.bytes(V));
    world.send(publisher, packet.dup().bytes(V));
    assert_eq!(world.received(publisher).len(), 2, "PUBREC each");
    assert_eq!(texts_so_far(&world, subscriber).len(), 1);
}

/// The largest packet there can be grows on its way to a subscriber with a Subscription Identifier: it is dropped,
/// also where that Client names a Maximum Packet Size that no packet can have.
#[test]
fn a_message_too_large_for_any_packet_is_dropped() {
    let listener = ListenerSettings {
        packet_bytes_max: limits::PACKET_BYTES_MAX_MOST,
        ..ListenerSettings::default()
    };
    let settings = Settings::with_listener(listener);
    let mut world = World::with(1, Order::Fair, settings);
    let hello = connect(Version::V5, "greedy").with(maximum_packet_size(u32::MAX));
    let greedy = world.connect(&hello);
    let filters = [("t", 0)];
    world.send(
        greedy,
        subscribe_with(1, &subscription_identifier(7), &filters),
    );
    let publisher = world.connect(&connect(V, "publisher"));
    // Zeroes that nobody reads take no memory; the message is copied once.
    let mut bytes = vec![0; limits::PACKET_BYTES_MAX_MOST as usize];
    bytes[..8].copy_from_slice(&[0x30, 0xff, 0xff, 0xff, 0x7f, 0, 1, b't']);
    world.send_past_stop(publisher, &bytes);
    assert!(world.is_open(publisher));
    let dropped = world
        .shard(0)
        .counters()
        .dropped(Dropped::TooLargeForClient);
    assert_eq!(dropped, 1);
    reached_by(&mut world, publisher, greedy, "t");
}
