//! An invariant that does not hold for one Client ends that Client's connection, and with it its Session where that
//! may be wrong. It is logged with its place and counted, and everyone else is served on. Where debug assertions
//! are on, as here, it panics like any assert.
//!
//!     cargo test -p mqttfast-planted --test invariant
//!
//! Part of `tests/planted`, whose broker has the mistakes in it, and which can be told to do as the product does.

#[path = "../../rig/src/shard/mod.rs"]
mod support;

use mqttfast::broker::{LogLevel, Survey};
use mqttfast::planted::Fault::{self, BrokenConnection, BrokenSession};
use mqttfast::planted::{as_product, plant};
use std::panic::catch_unwind;
use support::*;

/// A broker of so many shards with a persistent Client named "broken" and two others; all subscribe to `t` at QoS
/// 1, and one message is under way to each.
fn meeting(shards: usize, version: Version) -> (World, Client, [Client; 2]) {
    let mut world = World::new(shards);
    // The walk over all invariants would panic for the broken one that was counted.
    world.unchecked = true;
    let broken = world.connect(&connect(version, "broken").persistent());
    let others = ["one", "two"].map(|id| world.connect(&connect(version, id)));
    for client in [broken, others[0], others[1]] {
        world.subscribe(client, "t", 1);
    }
    world.send(others[0], publish("t", "first").qos(1, 1).bytes(version));
    world.settle();
    (world, broken, others)
}

/// What goes wrong once the mistake is in force: a send that leaves, and a delivery that starts.
fn meet(world: &mut World, fault: Fault, others: [Client; 2], version: Version) {
    plant(Some(fault));
    world.send(others[0], publish("t", "second").qos(1, 2).bytes(version));
    world.settle();
    plant(None);
}

fn in_the_product(fault: Fault, shards: usize, version: Version) {
    as_product();
    let (mut world, broken, others) = meeting(shards, version);
    meet(&mut world, fault, others, version);
    assert!(world.is_closed(broken), "its connection is closed");
    if version == Version::V5 {
        let last = world.history(broken).last();
        assert_eq!(last, Some(&Packet::Disconnect { code: 0x80 }));
    }
    let told: Vec<&String> = world
        .log
        .iter()
        .filter(|(level, _)| *level == LogLevel::Error)
        .map(|(_, text)| text)
        .collect();
    let (sentence, place) = match fault {
        BrokenSession => ("all was sent again before new starts", "inflight.rs:"),
        _ => ("no more is sent than was handed out", "connections.rs:"),
    };
    assert_eq!(told.len(), 1, "{told:?}");
    for part in [sentence, place, "the connection of broken (192.0.2."] {
        assert!(told[0].contains(part), "{part} in {told:?}");
    }
    let counted: u64 = (0..shards)
        .map(|shard| world.shard(shard).counters().broken_invariants)
        .sum();
    assert_eq!(counted, 1);
    let shown: String = (0..shards)
        .map(|shard| match world.ask(shard, Survey::sums()).found {
            mqttfast::broker::Found::Sums(sums) => {
                mqttfast::io::words::figures::sums(mqttfast::ids::ShardId(shard as u8), &sums)
            }
            _ => panic!("sums were asked for"),
        })
        .collect();
    assert!(shown.contains("1 mistake of the broker"), "{shown}");

    // The others have both messages and go on.
    for other in others {
        assert!(world.is_open(other));
        assert_eq!(world.texts(other), ["first", "second"]);
    }
    world.send(others[1], publish("t", "third").qos(1, 1).bytes(version));
    world.settle();
    for other in others {
        assert_eq!(world.texts(other), ["third"]);
    }

    // A Session that may be wrong is gone; one that only had a wrong connection is kept, with what is
    // unacknowledged.
    let hello = connect(version, "broken").persistent();
    let again = world.open(version);
    world.send(again, hello.bytes());
    world.settle();
    let session_present = fault == BrokenConnection;
    let connack = Packet::ConnAck {
        session_present: session_present && version != Version::V31,
        code: 0,
    };
    assert_eq!(world.history(again).first(), Some(&connack));
    if session_present {
        assert_eq!(world.texts(again), ["first", "second", "third"]);
    }
    // Now that nothing is wrong any more, nothing contradicts anything.
    world.disconnect(again);
    for other in others {
        world.disconnect(other);
    }
    world.settle();
    for shard in 0..shards {
        assert_eq!(world.shard(shard).sizes().0, 0);
    }
}

#[test]
fn a_broken_invariant_ends_one_connection_and_nothing_else() {
    for shards in [1, 2, 3] {
        for version in [Version::V31, Version::V311, Version::V5] {
            for fault in [BrokenConnection, BrokenSession] {
                println!("{fault:?}, {shards} shards, {version:?}");
                in_the_product(fault, shards, version);
            }
        }
    }
}

#[test]
fn a_broken_invariant_panics_in_tests() {
    for fault in [BrokenConnection, BrokenSession] {
        let met = catch_unwind(|| {
            let (mut world, _, others) = meeting(1, Version::V311);
            meet(&mut world, fault, others, Version::V311);
        });
        plant(None);
        let why = met.expect_err("it panics");
        let why = why.downcast_ref::<String>().expect("with a sentence");
        assert!(why.starts_with("broken invariant: "), "{why}");
    }
}
