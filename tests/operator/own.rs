//! Messages of the broker's own: routed and retained as any, with no Client behind them.

use crate::support::*;
use mqttfast::broker::{Dropped, OwnMessage};
use mqttfast::limits;
use mqttfast::time::Time;
use mqttfast::wire::QoS;

const BOTH: &[Version] = &[Version::V311, Version::V5];

fn own(topic: &str, payload: &str, qos: QoS, retain: bool) -> OwnMessage {
    OwnMessage::new(topic, payload.as_bytes(), qos, retain).expect("a Topic Name")
}

/// What a new subscriber finds retained, on each shard.
fn retained_everywhere(world: &mut World, version: Version, filter: &str) -> Vec<Vec<String>> {
    let mut found = vec![None; world.shards()];
    for n in 0.. {
        let reader = world.connect(&connect(version, &format!("reader{n}")));
        let home = world.place(reader).expect("it is connected");
        if found[home].is_none() {
            world.subscribe(reader, filter, 1);
            found[home] = Some(world.texts(reader));
        }
        world.disconnect(reader);
        if found.iter().all(Option::is_some) {
            break;
        }
    }
    found.into_iter().flatten().collect()
}

#[test]
fn subscribers_of_every_shard_get_it_also_where_clients_may_not_publish() {
    each(BOTH, |world, version| {
        let filters = [
            "$SYS/#",
            "$SYS/broker/x",
            "#",
            "+/broker/x",
            "a/+",
            "$share/g/a/b",
        ];
        let mut readers = Vec::new();
        for n in 0..24 {
            let reader = world.connect(&connect(version, &format!("c{n}")));
            world.subscribe(reader, filters[n % filters.len()], (n % 3) as u8);
            readers.push(reader);
        }
        let shards = world.shards();
        for shard in 0..shards {
            world.publish_own(shard, own("$SYS/broker/x", "up", QoS::AtLeastOnce, false));
            world.publish_own(shard, own("a/b", "ab", QoS::AtMostOnce, false));
        }
        world.settle();
        let mut shared = 0;
        for (n, reader) in readers.iter().enumerate() {
            let messages = world.messages(*reader);
            let texts: Vec<&str> = messages.iter().map(|m| m.topic.as_str()).collect();
            match filters[n % filters.len()] {
                // A wildcard at the front does not match `$SYS`. [v3.1.1 MQTT-4.7.2-1]
                "+/broker/x" => assert!(texts.is_empty(), "{texts:?}"),
                "$SYS/#" | "$SYS/broker/x" => {
                    assert_eq!(texts, vec!["$SYS/broker/x"; shards]);
                    let qos = u8::from(n % 3 > 0);
                    assert!(messages.iter().all(|m| m.qos == qos && !m.retain));
                }
                "$share/g/a/b" => shared += texts.len(),
                _ => assert_eq!(texts, vec!["a/b"; shards]),
            }
        }
        assert_eq!(shared, shards, "one member gets each");
        for shard in 0..shards {
            let counters = world.shard(shard).counters();
            assert_eq!((counters.messages_own, counters.messages_received), (2, 0));
            assert_eq!(counters.dropped(Dropped::OwnTopic), 0);
        }
    });
}

#[test]
fn it_is_retained_on_every_shard_until_it_is_replaced_deleted_or_expired() {
    each(BOTH, |world, version| {
        let last = world.shards() - 1;
        let topic = "$SYS/broker/version";
        world.publish_own(0, own(topic, "1", QoS::AtLeastOnce, true));
        world.settle();
        // A Client's word does not replace it.
        let client = world.connect(&connect(version, "client"));
        // A v5 Client is refused (0x87), before v5 it is acknowledged.
        let message = publish(topic, "mine").qos(1, 1).retain();
        world.send(client, message.bytes(version));
        world.settle();
        let same = |found: Vec<Vec<String>>, expected: &[&str]| {
            assert!(found.iter().all(|texts| texts == expected), "{found:?}");
        };
        same(retained_everywhere(world, version, "$SYS/#"), &["1"]);
        world.publish_own(last, own(topic, "2", QoS::AtMostOnce, true));
        world.settle();
        same(retained_everywhere(world, version, topic), &["2"]);
        world.publish_own(0, own(topic, "", QoS::AtMostOnce, true));
        let expires = world.now() + 2_000;
        let dying = own("dying", "x", QoS::AtLeastOnce, true).expiring(expires);
        world.publish_own(last, dying);
        world.settle();
        same(retained_everywhere(world, version, topic), &[]);
        same(retained_everywhere(world, version, "dying"), &["x"]);
        world.advance(2_500);
        same(retained_everywhere(world, version, "dying"), &[]);
    });
}

/// Two shards are given a retained message of one topic at once: all copies end as the same.
#[test]
fn retained_writes_of_two_shards_converge() {
    for first in [0, 1] {
        for crossing in [(0, 1), (1, 0)] {
            let mut world = World::new(2);
            world.lanes_held = true;
            world.publish_own(first, own("$SYS/t", "a", QoS::AtLeastOnce, true));
            world.publish_own(1 - first, own("$SYS/t", "b", QoS::AtLeastOnce, true));
            while world.lanes_ready().contains(&crossing) {
                world.deliver(crossing.0, crossing.1);
            }
            world.lanes_held = false;
            world.settle();
            let found = retained_everywhere(&mut world, Version::V311, "$SYS/t");
            assert_eq!(found[0].len(), 1);
            assert_eq!(found[0], found[1]);
        }
    }
}

#[test]
fn it_waits_for_an_absent_session_and_a_slow_reader_costs_no_more_than_by_a_client() {
    each(BOTH, |world, version| {
        let away = world.connect(&connect(version, "away").persistent());
        world.subscribe(away, "$SYS/#", 1);
        world.drop_connection(away);
        let slow = world.connect(&connect(version, "slow"));
        world.subscribe(slow, "$SYS/#", 0);
        world.read_slowly(slow);
        let (payload, last) = ("x".repeat(60_000), world.shards() - 1);
        let count = limits::OUTBOX_BYTES_MAX / 60_000 + 20;
        for _ in 0..count {
            world.publish_own(0, own("$SYS/load", &payload, QoS::AtMostOnce, false));
        }
        world.publish_own(last, own("$SYS/state", "up", QoS::AtLeastOnce, false));
        world.settle();
        assert!(world.waiting_to_leave(slow) <= limits::OUTBOX_BYTES_MAX + 61_000);
        let dropped = |world: &World| {
            let of = |shard| world.shard(shard).counters().dropped(Dropped::SlowReader);
            (0..world.shards()).map(of).sum::<u64>()
        };
        assert!(dropped(world) >= 15, "{}", dropped(world));
        world.read_at_once(slow);
        world.settle();
        let again = world.connect(&connect(version, "away").persistent());
        assert_eq!(world.texts(again), ["up"]);
        let bystander = world.connect(&connect(version, "bystander"));
        world.publish(bystander, &publish("t", "x").qos(1, 1));
    });
}

#[test]
fn only_a_topic_name_is_taken() {
    for topic in ["", "a/#", "+", "a\0b"] {
        assert!(OwnMessage::new(topic, b"x", QoS::AtMostOnce, false).is_err());
    }
    let long = "x".repeat(70_000);
    assert!(OwnMessage::new(&long, b"x", QoS::AtMostOnce, false).is_err());
    let never = own("a", "x", QoS::AtMostOnce, false).expiring(Time::NEVER);
    assert!(format!("{never:?}").contains("qos: AtMostOnce"));
}
