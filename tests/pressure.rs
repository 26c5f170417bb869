//! Clients that press on others without breaking a rule: slow and stubborn readers, huge SUBSCRIBEs. Everyone else is
//! served on.

use mqttfast_rig::shard as support;

use mqttfast::io::words;
use std::time::{Duration, Instant};
use support::*;

const V: Version = Version::V311;

fn large_messages(qos: u8, count: u16) -> Vec<u8> {
    let message = |n| publish("t", "x".repeat(2000)).qos(qos, n).bytes(V);
    (1..=count).flat_map(message).collect()
}

/// A SUBSCRIBE (0x82) or UNSUBSCRIBE (0xA2) of `count` filters.
fn many_filters(first: u8, count: usize) -> Vec<u8> {
    let mut body = vec![0, 1];
    for i in 0..count {
        body.extend(field(format!("{i:05x}").as_bytes()));
        if first == 0x82 {
            body.push(0);
        }
    }
    packet(first, &body)
}

/// Lets time pass in steps shorter than the patience of the broker, and the subscriber do its worst in each, until the
/// publisher has been read to its end.
#[track_caller]
fn publisher_goes_on(world: &mut World, publisher: Client, mut worst: impl FnMut(&mut World)) {
    world.send(publisher, pingreq());
    for _ in 0..30 {
        if world.history(publisher).contains(&Packet::PingResp) {
            return;
        }
        world.advance(900);
        worst(world);
    }
    panic!(
        "after 27 s {} bytes of the publisher wait",
        world.unread(publisher)
    );
}

#[test]
fn repeated_acknowledgements_are_no_progress() {
    for shards in [1, 2, 4] {
        let mut world = World::new(shards);
        let subscriber = world.connect(&connect(V, "stubborn"));
        world.subscribe(subscriber, "#", 2);
        let publisher = world.connect(&connect(V, "publisher"));
        world.send(publisher, large_messages(2, 3000));
        let first = world
            .received(subscriber)
            .iter()
            .find_map(|packet| packet.message().map(|message| message.packet_id))
            .expect("the first message");
        publisher_goes_on(&mut world, publisher, |world| {
            world.send(subscriber, pubrec(first));
        });
    }
}

#[test]
fn a_trickle_is_no_progress() {
    for shards in [1, 2, 4] {
        let mut world = World::new(shards);
        let subscriber = world.connect(&connect(V, "trickle"));
        world.subscribe(subscriber, "#", 0);
        world.read_slowly(subscriber);
        let publisher = world.connect(&connect(V, "publisher"));
        world.send(publisher, large_messages(0, 3000));
        publisher_goes_on(&mut world, publisher, |world| {
            world.take_bytes(subscriber, 10);
        });
    }
}

#[test]
fn a_publisher_that_owes_an_acknowledgement_is_paced_like_others() {
    let mut world = World::new(1);
    let subscriber = world.connect(&connect(V, "subscriber"));
    world.subscribe(subscriber, "t", 1);
    let publisher = world.connect(&connect(V, "publisher"));
    world.subscribe(publisher, "commands", 1);
    let other = world.connect(&connect(V, "other"));
    world.publish(other, &publish("commands", "do").qos(1, 1));

    let count = 30_000;
    world.send(publisher, large_messages(1, count));
    let mut received = 0;
    for _ in 0..10_000 {
        let messages = world.messages(subscriber);
        received += messages.len();
        if messages.is_empty() {
            break;
        }
    }
    let counters = words::figures::counters(world.shard(0).counters());
    assert_eq!(received, usize::from(count), "{counters}");
    assert!(!counters.contains("dropped"), "{counters}");
}

/// Eight times the filters cost eight times the time, not sixty-four: 25,000 held a shard for 14 s when they did.
#[test]
fn tens_of_thousands_of_filters_in_a_packet_cost_linear_time() {
    fn time_for(filters: usize) -> Duration {
        let mut world = World::new(1);
        world.read_bytes_max = 16 << 20;
        world.unchecked = true;
        let subscriber = world.connect(&connect(V, "many"));
        // With its outbox full, no replay of retained messages comes to its end.
        world.subscribe(subscriber, "full", 0);
        world.read_slowly(subscriber);
        let publisher = world.connect(&connect(V, "publisher"));
        for _ in 0..100 {
            world.send(publisher, publish("full", "x".repeat(2000)).bytes(V));
        }
        let start = Instant::now();
        for first in [0x82, 0x82, 0xA2, 0x82] {
            world.send(subscriber, many_filters(first, filters));
        }
        start.elapsed()
    }
    let few = time_for(4_000).max(time_for(4_000));
    let many = time_for(32_000);
    assert!(many < 30 * few, "{few:?} for 4,000 and {many:?} for 32,000");
}

#[test]
fn a_flood_of_subscribes_waits_for_full_lanes() {
    let mut world = World::new(2);
    let subscriber = world.connect(&connect(V, "flood"));
    world.lanes_held = true;
    let home = world.place(subscriber).expect("it is connected");
    let mut stream = Vec::new();
    for _ in 0..20 {
        stream.extend(many_filters(0x82, 1000));
        stream.extend(many_filters(0xA2, 1000));
    }
    world.send(subscriber, stream);
    let waiting = world.lane_messages();
    assert!(
        world.stops(subscriber) > 0,
        "{waiting} messages wait in lanes"
    );
    // One read and one packet may still come after the limit.
    let bound = mqttfast::limits::SPILL_HIGH + mqttfast::limits::LANE_SLOTS + 4 * 4096;
    assert!(
        waiting <= bound,
        "{waiting} messages wait in the lane of shard {home}"
    );
    world.lanes_held = false;
    world.settle();
    assert_eq!(world.unread(subscriber), 0);
}
