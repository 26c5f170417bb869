//! The broker ends at once, and the next one goes on with what a store has kept: with as many shards or others.

use mqttfast_rig::shard as support;

use mqttfast::broker::{LogLevel, home_of};
use mqttfast::config::Settings;
use mqttfast::limits;
use support::*;

fn world(shards: usize) -> World {
    World::with(shards, Order::Fair, with_store())
}

/// What a store has after all that it was told.
fn store_of(world: &World) -> Store {
    let mut store = Store::default();
    for (_, _, changes) in &world.changes {
        store.apply(changes);
    }
    store
}

/// The next broker.
fn start(store: &Store, at: &World, shards: usize, settings: Settings) -> World {
    let mut random = Random::new(shards as u64);
    let chunks = store.restored(shards, at.now(), &mut random);
    let mut next = World::with(shards, Order::Fair, settings);
    next.restore_all(chunks);
    next
}

/// The broker is killed after all was kept.
fn restart(world: &World, shards: usize) -> World {
    let next = start(&store_of(world), world, shards, with_store());
    assert!(
        next.changes.is_empty(),
        "the store knows all of it: {:?}",
        next.changes
    );
    next
}

fn publishes(world: &mut World, client: Client) -> Vec<Message> {
    let received = world.received(client).into_iter();
    let publishes = received.filter_map(|packet| match packet {
        Packet::Publish(message) => Some(message),
        _ => None,
    });
    publishes.collect()
}

fn texts(messages: &[Message]) -> Vec<String> {
    let text = |message: &Message| String::from_utf8(message.payload.clone()).unwrap();
    messages.iter().map(text).collect()
}

/// Shards before and after.
const SHARDS: [(usize, usize); 4] = [(1, 1), (1, 3), (3, 1), (2, 4)];

#[test]
fn what_waits_for_a_client_comes_back_in_its_order() {
    for (before, after) in SHARDS {
        for version in [Version::V311, Version::V5] {
            let mut world = world(before);
            let sub = world.connect(&connect(version, "sub").persistent());
            world.subscribe(sub, "t/#", 2);
            let publisher = world.connect(&connect(version, "p"));
            let window = usize::from(Settings::default().inflight_max);
            let count = window + 25;
            for number in 0..count {
                let qos = 1 + number as u8 % 2;
                let id = 1 + number as u16;
                let message = publish("t/1", format!("{number}")).qos(qos, id);
                world.send(publisher, message.bytes(version));
                if qos == 2 {
                    world.send(publisher, pubrel(id));
                }
                world.settle();
            }
            let sent = publishes(&mut world, sub);
            assert_eq!(sent.len(), window);
            // The first is done, the second and fourth are half done.
            world.send(sub, puback(sent[0].packet_id));
            world.send(sub, pubrec(sent[1].packet_id));
            world.send(sub, pubrec(sent[3].packet_id));
            world.settle();
            let more = publishes(&mut world, sub);
            assert_eq!(texts(&more), [format!("{window}")]);

            let mut world = restart(&world, after);
            let (sub, present) = world.connect_present(&connect(version, "sub").persistent());
            assert!(present);
            world.settle();
            let packets = world.received(sub);
            let (mut again, mut released) = (Vec::new(), Vec::new());
            for packet in packets {
                match packet {
                    Packet::Publish(message) => again.push(message),
                    Packet::PubRel { packet_id, .. } => released.push(packet_id),
                    other => panic!("{other:?}"),
                }
            }
            assert_eq!(released, [sent[1].packet_id, sent[3].packet_id]);
            let expected: Vec<&Message> = [&sent[2]]
                .into_iter()
                .chain(&sent[4..])
                .chain(&more)
                .collect();
            assert_eq!(again.len(), expected.len());
            for (again, before) in again.iter().zip(expected) {
                assert!(again.dup);
                assert_eq!(again.packet_id, before.packet_id);
                assert_eq!((&again.payload, again.qos), (&before.payload, before.qos));
            }
            // The rest of the queue follows, in order.
            let mut texts = texts(&again);
            for id in released {
                world.send(sub, pubcomp(id));
            }
            let mut acknowledge = again;
            while !acknowledge.is_empty() {
                for message in std::mem::take(&mut acknowledge) {
                    match message.qos {
                        1 => world.send(sub, puback(message.packet_id)),
                        _ => {
                            world.send(sub, pubrec(message.packet_id));
                            world.send(sub, pubcomp(message.packet_id));
                        }
                    }
                }
                world.settle();
                acknowledge = publishes(&mut world, sub);
                assert!(acknowledge.iter().all(|message| !message.dup));
                texts.extend(self::texts(&acknowledge));
            }
            let numbers: Vec<usize> = texts.iter().map(|text| text.parse().unwrap()).collect();
            let expected: Vec<usize> = (0..count).filter(|n| ![0, 1, 3].contains(n)).collect();
            assert_eq!(numbers, expected);
        }
    }
}

#[test]
fn subscriptions_are_in_force_with_their_options_before_the_first_connection() {
    for (before, after) in SHARDS {
        let version = Version::V5;
        let mut world = world(before);
        let sub = world.connect(&connect(version, "sub").persistent());
        let filters = [("plain", 1), ("$share/g/shared", 1)];
        world.send(
            sub,
            subscribe_with(8, &subscription_identifier(7), &filters),
        );
        world.settle();
        world.send(sub, unsubscribe(version, 9, &["never"]));
        world.subscribe(sub, "gone", 1);
        world.send(sub, unsubscribe(version, 10, &["gone"]));
        world.settle();
        let mut world = restart(&world, after);
        let sizes = (0..after).map(|shard| world.shard(shard).sizes().2);
        assert_eq!(sizes.sum::<usize>(), 2);
        let publisher = world.connect(&connect(version, "p"));
        for (id, topic) in [(1, "plain"), (2, "shared"), (3, "gone")] {
            let message = publish(topic, topic).qos(1, id);
            world.send(publisher, message.bytes(version));
        }
        world.settle();
        let sub = world.connect(&connect(version, "sub").persistent());
        world.settle();
        let received = world.messages_full(sub);
        let mut topics: Vec<String> = received
            .iter()
            .map(|full| full.message().topic.clone())
            .collect();
        topics.sort();
        assert_eq!(topics, ["plain", "shared"]);
        assert!(
            received.iter().all(|full| full.identifiers() == [7]),
            "{received:?}"
        );
    }
}

#[test]
fn a_qos_2_message_that_came_before_is_not_delivered_again() {
    for (before, after) in SHARDS {
        let version = Version::V311;
        let mut world = world(before);
        let sub = world.connect(&connect(version, "sub").persistent());
        world.subscribe(sub, "t", 2);
        world.disconnect(sub);
        let publisher = world.connect(&connect(version, "p").persistent());
        world.send(publisher, publish("t", "x").qos(2, 5).bytes(version));
        world.send(publisher, publish("t", "y").qos(2, 6).bytes(version));
        world.send(publisher, pubrel(6));
        world.settle();
        let mut world = restart(&world, after);
        let publisher = world.connect(&connect(version, "p").persistent());
        world.send(publisher, publish("t", "x").qos(2, 5).dup().bytes(version));
        // 6 is free again.
        world.send(publisher, publish("t", "z").qos(2, 6).bytes(version));
        world.settle();
        let sub = world.connect(&connect(version, "sub").persistent());
        world.settle();
        assert_eq!(texts(&publishes(&mut world, sub)), ["x", "y", "z"]);
    }
}

#[test]
fn retained_messages_come_back_everywhere_and_newer_ones_win() {
    for (before, after) in SHARDS {
        let version = Version::V311;
        let mut world = world(before);
        let publisher = world.connect(&connect(version, "p"));
        for number in 0..30 {
            let topic = format!("r/{}", number % 10);
            world.publish(publisher, &publish(&topic, format!("{number}")).retain());
        }
        world.publish(publisher, &publish("r/3", "").retain());
        let mut world = restart(&world, after);
        for shard in 0..after {
            assert_eq!(world.shard(shard).sizes().3, 9, "of {after} shards");
        }
        let publisher = world.connect(&connect(version, "other"));
        world.publish(publisher, &publish("r/4", "newer").retain());
        world.publish(publisher, &publish("r/5", "").retain());
        let texts_of = |world: &mut World, name: &str| {
            let sub = world.connect(&connect(version, name));
            world.subscribe(sub, "r/#", 1);
            world.settle();
            let mut texts = texts(&publishes(world, sub));
            texts.sort();
            texts
        };
        let expected = ["20", "21", "22", "26", "27", "28", "29", "newer"];
        for name in ["a", "b", "c", "d"] {
            assert_eq!(texts_of(&mut world, name), expected);
        }
        // And once more, by the changes of both lives.
        let mut store = Store::default();
        for (_, _, changes) in &world.changes {
            store.apply(changes);
        }
        assert_eq!(store.retained.len(), 1, "what the second life wrote");
    }
}

/// What each shard gives a new subscriber of everything.
fn retained_texts(world: &mut World, name: &str) -> Vec<Vec<String>> {
    let version = Version::V311;
    let mut found = Vec::new();
    for shard in 0..world.shards() {
        let fresh = world.open_at(shard, version);
        let client_id = format!("{name} {shard}");
        world.send(fresh, connect(version, &client_id).bytes());
        world.send(fresh, subscribe(version, 1, &[("#", 0)]));
        world.settle();
        found.push(texts(&publishes(world, fresh)));
    }
    found
}

/// A QoS 2 message that crosses shards is routed again when its publisher repeats it after a restart, because some
/// subscriber may not have it. It is not retained again: its topic may have a newer message, or none any more.
#[test]
fn the_repeat_of_a_retained_message_replaces_no_newer_one() {
    let version = Version::V311;
    for (before, after) in SHARDS {
        for newer in ["newer", ""] {
            let mut first = world(before);
            let publisher = first.connect(&connect(version, "p").persistent());
            let older = publish("r", "older").qos(2, 5).retain();
            first.send(publisher, older.clone().bytes(version));
            first.settle();
            let mut store = store_of(&first);
            let mut world = start(&store, &first, after, with_store());
            let other = world.connect(&connect(version, "other"));
            world.publish(other, &publish("r", newer).retain());
            let expected: Vec<&str> = [newer]
                .into_iter()
                .filter(|text| !text.is_empty())
                .collect();
            // The PUBREC of the first repeat is lost too.
            for life in 0..2 {
                let publisher = world.connect(&connect(version, "p").persistent());
                world.send(publisher, older.clone().dup().bytes(version));
                world.settle();
                let answers = world.received(publisher);
                assert!(matches!(answers[..], [Packet::PubRec { code: 0, .. }]));
                for texts in retained_texts(&mut world, "fresh") {
                    assert_eq!(texts, expected, "{before} shards, then {after}");
                }
                for (_, _, changes) in &world.changes {
                    store.apply(changes);
                }
                let kept = store.retained.contains_key("r");
                assert_eq!(kept, !newer.is_empty(), "{before} shards, then {after}");
                if life == 0 {
                    world = start(&store, &world, before, with_store());
                }
            }
        }
    }
}

/// The same, but the shard that keeps the topic for the store had not kept the message: the repeat writes it.
#[test]
fn the_repeat_of_a_message_that_was_not_retained_is() {
    let version = Version::V311;
    for after in [1, 2, 4] {
        let mut first = world(3);
        let publisher = first.connect(&connect(version, "p").persistent());
        let home = home_of("p", 3);
        let elsewhere = |topic: &String| home_of(topic, 3) != home;
        let topic = (0..).map(|n| format!("r{n}")).find(elsewhere).expect("one");
        let message = publish(&topic, "x").qos(2, 5).retain();
        first.send(publisher, message.clone().bytes(version));
        first.settle();
        let mut store = Store::default();
        for (_, _, changes) in first.changes.iter().filter(|c| c.0 == home.index()) {
            store.apply(changes);
        }
        assert_eq!(store.retained.len(), 0);
        let mut world = start(&store, &first, after, with_store());
        let publisher = world.connect(&connect(version, "p").persistent());
        world.send(publisher, message.dup().bytes(version));
        world.settle();
        for texts in retained_texts(&mut world, "fresh") {
            assert_eq!(texts, ["x"], "{after} shards");
        }
        for (_, _, changes) in &world.changes {
            store.apply(changes);
        }
        assert_eq!(store.retained.len(), 1);
    }
}

/// The Client was connected when the broker ended: its will is published unless it comes back.
#[test]
fn the_will_of_a_client_that_does_not_come_back_is_published() {
    for persistent in [false, true] {
        for (back_as, published) in [(None, true), (Some(true), false), (Some(false), false)] {
            let version = Version::V311;
            let mut world = world(2);
            let ill = |clean: bool| {
                let connect = connect(version, "ill");
                if clean { connect } else { connect.persistent() }
            };
            world.connect(&ill(!persistent).will("will", "gone", 1, false));
            let watch = world.connect(&connect(version, "watch").persistent());
            world.subscribe(watch, "will", 1);
            world.disconnect(watch);
            let first = store_of(&world);
            let mut world = restart(&world, 3);
            if let Some(clean) = back_as {
                let (_, present) = world.connect_present(&ill(clean));
                assert_eq!(present, persistent && !clean);
            }
            world.advance(u64::from(limits::RESTORED_WILL_WAIT_S) * 1000 - 2_000);
            let watch = world.connect(&connect(version, "watch").persistent());
            assert_eq!(publishes(&mut world, watch), [], "not yet");
            world.advance(4_000);
            let expected: &[&str] = if published { &["gone"] } else { &[] };
            assert_eq!(
                texts(&publishes(&mut world, watch)),
                expected,
                "{persistent} {back_as:?}"
            );
            let wills = |store: &Store| {
                let of_sessions = store.sessions.values().filter(|row| row.will.is_some());
                store.wills.len() + of_sessions.count()
            };
            // The second life takes it out of the store.
            let mut store = first;
            for (_, _, changes) in &world.changes {
                store.apply(changes);
            }
            assert_eq!(wills(&store), 0);
        }
    }
}

#[test]
fn sessions_end_when_their_time_is_over_and_names_go_on() {
    let version = Version::V5;
    let mut world = world(1);
    for (name, seconds) in [("short", 10), ("long", 1000)] {
        let client = world.connect(&connect(version, name).expiry(seconds));
        world.subscribe(client, "t", 1);
        world.disconnect(client);
    }
    world.advance(4_000);
    let first = store_of(&world);
    let mut world = restart(&world, 2);
    world.advance(7_000);
    let mut store = first.clone();
    for (_, _, changes) in &world.changes {
        store.apply(changes);
    }
    let names = |store: &Store| {
        store
            .sessions
            .values()
            .map(|row| row.client_id.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&store), ["long"]);
    world.changes.clear();
    world.connect(&connect(version, "new").expiry(1000));
    for (_, _, changes) in &world.changes {
        store.apply(changes);
    }
    assert_eq!(store.sessions.len(), 2, "a name was given twice");
}

#[test]
fn what_finds_no_room_is_counted_and_leaves_the_store() {
    let version = Version::V311;
    let mut world = world(1);
    for number in 0..40 {
        let client = world.connect(&connect(version, &format!("c{number}")).persistent());
        world.subscribe(client, "t", 1);
        world.disconnect(client);
    }
    let publisher = world.connect(&connect(version, "p"));
    for id in 1..=20 {
        let big = "x".repeat(1000);
        world.send(publisher, publish("t", &big).qos(1, id).bytes(version));
        let retained = publish(&format!("r/{id}"), &big).retain();
        world.send(publisher, retained.bytes(version));
    }
    world.settle();
    let store = store_of(&world);
    let settings = Settings {
        memory_bytes_max: 30_000,
        session_queue_bytes_max: 4_000,
        ..with_store()
    };
    let mut world = start(&store, &world, 2, settings);
    let told = |(level, text): &&(LogLevel, String)| {
        *level == LogLevel::Error && text.contains("not everything of the store")
    };
    assert!(world.log.iter().filter(told).count() <= 2, "once a shard");
    assert!(world.log.iter().any(|line| told(&line)), "{:?}", world.log);
    let mut left = store.clone();
    for (_, _, changes) in &world.changes {
        left.apply(changes);
    }
    assert!(left.sessions.len() < 40 && !left.sessions.is_empty());
    assert!(left.retained.len() < 20);
    let here: usize = (0..2).map(|shard| world.shard(shard).sizes().1).sum();
    assert_eq!(here, left.sessions.len(), "the store and the shards agree");
    for shard in 0..2 {
        world.shard(shard).check_invariants();
    }
    world.advance(1_000);
}

/// Nothing of a store is trusted: names that stand for nothing, filters and topics that are none.
#[test]
fn a_store_that_says_nonsense_breaks_nothing() {
    let version = Version::V311;
    let mut world = world(2);
    let sub = world.connect(&connect(version, "sub").persistent());
    world.subscribe(sub, "t", 2);
    world.disconnect(sub);
    let publisher = world.connect(&connect(version, "p").persistent());
    for id in 1..=9 {
        world.send(publisher, publish("t", "x").qos(2, id).bytes(version));
    }
    world.publish(publisher, &publish("r", "x").retain());
    let store = store_of(&world);
    for seed in 0..300 {
        let mut random = Random::new(seed);
        let shards = 1 + random.below(3);
        let mut chunks = store.restored(shards, world.now(), &mut random);
        // Parts are lost, come twice, and out of order.
        for list in &mut chunks {
            let parts: Vec<_> = list
                .iter_mut()
                .flat_map(|chunk| std::mem::take(&mut chunk.parts))
                .collect();
            for mut part in parts {
                damage(&mut part, &mut random);
                for _ in 0..[0, 1, 1, 1, 2][random.below(5)] {
                    let at = random.below(list.len());
                    list[at].parts.push(part.clone());
                }
            }
        }
        let mut next = World::with(shards, Order::Seeded(seed), with_store());
        next.restore_all(chunks);
        let sub = next.connect(&connect(version, "sub").persistent());
        next.connect(&connect(version, "p").persistent());
        next.acknowledge_at_once(sub);
        next.advance(100_000);
    }
}

fn damage(part: &mut mqttfast::broker::RestoredPart, random: &mut Random) {
    use mqttfast::broker::RestoredPart;
    if random.below(4) > 0 {
        return;
    }
    match part {
        RestoredPart::Subscription { filter, .. } => {
            *filter = ["", "a#", "$share/", "$share/g/a#"][random.below(4)].into()
        }
        RestoredPart::Message { id, message } => match random.below(3) {
            0 => *id += 1,
            1 => message.topic = "#".into(),
            _ => message.expires_in_s = Some(0),
        },
        RestoredPart::Retained { message, .. } => match random.below(2) {
            0 => message.topic = "".into(),
            _ => message.payload = [].into(),
        },
        RestoredPart::Queued { delivery, .. } => match random.below(3) {
            0 => delivery.qos = mqttfast::wire::QoS::AtMostOnce,
            1 => delivery.number = 0,
            _ => delivery.message += 1,
        },
        RestoredPart::Session(session) => match random.below(2) {
            0 => session.ends_in_s = 0,
            _ => session.client_id = "other".into(),
        },
        _ => {}
    }
}
