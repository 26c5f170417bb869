//! A publisher on one shard and what is kept, or refused, on another: no acknowledgement says more than its receivers
//! have said.

use mqttfast_rig::shard as support;

use mqttfast::broker::{Condition, Found, StoreState, Survey, home_of};
use mqttfast::config::Settings;
use mqttfast::limits;
use support::*;

const V5: Version = Version::V5;

fn world(shards: usize) -> World {
    World::with(shards, Order::Fair, with_store())
}

/// A client id, or the NAME of a group of `filter`, whose home is this shard.
fn name_at(shard: usize, shards: usize, text: impl Fn(usize) -> String) -> String {
    let at = |name: &String| home_of(name, shards).index() == shard;
    (0..).map(text).find(at).expect("some name")
}

fn client_at(shard: usize, shards: usize) -> String {
    name_at(shard, shards, |number| format!("c{number}"))
}

/// A Session of this shard that is away and waits for messages.
fn absent(world: &mut World, shard: usize, shards: usize, filters: &[&str]) -> String {
    let name = client_at(shard, shards);
    let sub = world.connect(&connect(V5, &name).persistent());
    for filter in filters {
        world.subscribe(sub, filter, 2);
    }
    world.disconnect(sub);
    name
}

fn publisher(world: &mut World, version: Version, shard: usize, shards: usize) -> Client {
    let name = name_at(shard, shards, |number| format!("p{number}"));
    world.connect(&connect(version, &name))
}

fn answers(world: &mut World, client: Client) -> Vec<Packet> {
    world.settle();
    world.received(client)
}

fn answer(qos: u8, packet_id: u16, code: u8) -> Packet {
    match qos {
        1 => Packet::PubAck { packet_id, code },
        _ => Packet::PubRec { packet_id, code },
    }
}

#[test]
fn an_acknowledgement_waits_until_the_subscribers_shard_has_kept_the_message() {
    for version in [Version::V311, V5] {
        for qos in [1, 2] {
            let mut world = world(3);
            absent(&mut world, 1, 3, &["t"]);
            absent(&mut world, 2, 3, &["t"]);
            let publisher = publisher(&mut world, version, 0, 3);
            world.store_stuck = true;
            for (id, topic) in [(1, "t"), (2, "nobody")] {
                let message = publish(topic, "x").qos(qos, id);
                world.send(publisher, message.bytes(version));
            }
            world.send(publisher, pingreq());
            assert_eq!(answers(&mut world, publisher), [Packet::PingResp]);
            world.keep_at(1);
            assert_eq!(answers(&mut world, publisher), [], "one of the two has not");
            world.keep_at(2);
            let nobody = if version == V5 { 0x10 } else { 0 };
            let expected = [answer(qos, 1, 0), answer(qos, 2, nobody)];
            assert_eq!(answers(&mut world, publisher), expected, "in their order");
        }
    }
}

/// No Session is stored anywhere: what is kept of the message is the topic's value, by the shard that owns the topic.
#[test]
fn an_acknowledgement_waits_until_the_owner_of_the_topic_has_kept_the_retained_message() {
    for qos in [1, 2] {
        let mut world = world(3);
        let topic = name_at(1, 3, |number| format!("t{number}"));
        let publisher = publisher(&mut world, V5, 0, 3);
        world.store_stuck = true;
        let message = publish(&topic, "x").qos(qos, 1).retain();
        world.send(publisher, message.bytes(V5));
        assert_eq!(answers(&mut world, publisher), []);
        world.keep_at(0);
        world.keep_at(2);
        assert_eq!(
            answers(&mut world, publisher),
            [],
            "only the owner keeps it"
        );
        world.keep_at(1);
        assert_eq!(answers(&mut world, publisher), [answer(qos, 1, 0)]);
    }
}

/// Publisher, owner of the group and home of the member are three shards, or two of them are one.
#[test]
fn an_acknowledgement_waits_for_the_member_of_a_group() {
    for (owner, home) in [(1, 2), (1, 1), (0, 2), (1, 0)] {
        let mut world = world(3);
        let filter = name_at(owner, 3, |number| format!("$share/g{number}/t"));
        absent(&mut world, home, 3, &[&filter]);
        let publisher = publisher(&mut world, V5, 0, 3);
        world.store_stuck = true;
        world.send(publisher, publish("t", "x").qos(1, 7).bytes(V5));
        assert_eq!(answers(&mut world, publisher), [], "{owner} {home}");
        for other in (0..3).filter(|shard| *shard != home) {
            world.keep_at(other);
        }
        assert_eq!(answers(&mut world, publisher), [], "{owner} {home}");
        world.keep_at(home);
        assert_eq!(answers(&mut world, publisher), [answer(1, 7, 0)]);
    }
}

/// The member has left when the message comes to its home: it goes back and to another member, and the acknowledgement
/// waits for that one.
#[test]
fn an_acknowledgement_waits_for_the_member_that_gets_a_message_given_back() {
    for publisher_at in [0, 1] {
        let mut world = world(4);
        let filter = name_at(0, 4, |number| format!("$share/g{number}/t"));
        // The first to be picked leaves.
        let first = world.connect(&connect(V5, &client_at(2, 4)).persistent());
        world.subscribe(first, &filter, 1);
        let second = absent(&mut world, 3, 4, &[&filter]);
        let publisher = publisher(&mut world, V5, publisher_at, 4);
        world.store_stuck = true;
        world.lanes_held = true;
        world.send(publisher, publish("t", "x").qos(1, 7).bytes(V5));
        if publisher_at == 1 {
            world.deliver(1, 0);
        }
        world.send(first, unsubscribe(V5, 9, &[&filter]));
        for (from, to) in [(0, 2), (2, 0)] {
            while world.lanes_ready().contains(&(from, to)) {
                world.deliver(from, to);
            }
        }
        // All is kept, and the message is on its way to the second.
        for shard in 0..4 {
            world.keep_at(shard);
        }
        let settled: Vec<_> = world.lanes_ready();
        for (from, to) in settled.into_iter().filter(|lane| *lane != (0, 3)) {
            while world.lanes_ready().contains(&(from, to)) {
                world.deliver(from, to);
            }
        }
        assert!(
            !world.received(publisher).contains(&answer(1, 7, 0)),
            "{publisher_at}"
        );
        world.lanes_held = false;
        assert!(!answers(&mut world, publisher).contains(&answer(1, 7, 0)));
        world.keep_at(3);
        assert_eq!(answers(&mut world, publisher), [answer(1, 7, 0)]);
        let second = world.connect(&connect(V5, &second).persistent());
        world.settle();
        let came = world.received(second);
        assert!(
            came.iter()
                .any(|packet| matches!(packet, Packet::Publish(m) if m.text() == "x"))
        );
    }
}

/// A retained message is written down by the shard that owns its topic.
#[test]
fn an_acknowledgement_waits_for_the_owner_of_a_retained_topic() {
    let mut world = world(2);
    // Only a broker with stored Sessions asks; the writes of one without are kept as well, but nobody waits for them.
    absent(&mut world, 0, 2, &["other"]);
    let publisher = publisher(&mut world, V5, 0, 2);
    world.store_stuck = true;
    let topic = name_at(1, 2, |number| format!("r{number}"));
    world.send(publisher, publish(&topic, "x").qos(1, 7).retain().bytes(V5));
    assert_eq!(answers(&mut world, publisher), []);
    world.keep();
    assert_eq!(answers(&mut world, publisher).len(), 1);
}

/// The publisher is gone, taken over, or says DISCONNECT: nobody waits for ever, and nothing stays.
#[test]
fn a_publisher_that_goes_leaves_nothing() {
    for how in 0..4 {
        let mut world = world(2);
        let sub = absent(&mut world, 1, 2, &["t"]);
        let name = name_at(0, 2, |number| format!("p{number}"));
        let publisher = world.connect(&connect(V5, &name));
        world.store_stuck = true;
        let mut bytes = publish("t", "x").qos(2, 7).bytes(V5);
        if how == 1 {
            bytes.extend(disconnect());
        }
        world.send(publisher, bytes);
        world.settle();
        match how {
            0 => world.drop_connection(publisher),
            1 => assert!(!world.is_closed(publisher), "it is owed an answer"),
            2 => {
                world.connect(&connect(V5, &name));
            }
            _ => {
                world.lanes_held = true;
                world.keep();
                world.lanes_held = false;
            }
        }
        world.keep();
        world.settle();
        if how == 1 {
            let received = world.received(publisher);
            assert_eq!(received, [answer(2, 7, 0)]);
            assert!(world.is_closed(publisher));
        }
        let client = world.connect(&connect(V5, &sub));
        world.disconnect(client);
        world.drop_connection(publisher);
        world.advance(5_000);
        for shard in 0..2 {
            let left = world.shard(shard).leftovers();
            let settling = |(name, _): &&(&str, usize)| name.contains("settle");
            assert!(
                !left.iter().any(|entry| settling(&entry)),
                "{how}: {left:?}"
            );
        }
    }
}

/// A repeat on the next connection is answered when the first one is settled, not before.
#[test]
fn the_answer_to_a_repeat_waits_as_the_first_one_did() {
    let version = Version::V311;
    let mut world = world(2);
    let sub = absent(&mut world, 1, 2, &["t"]);
    let name = name_at(0, 2, |number| format!("p{number}"));
    let publisher = world.connect(&connect(version, &name).persistent());
    world.store_stuck = true;
    world.send(publisher, publish("t", "x").qos(2, 7).bytes(version));
    world.settle();
    world.drop_connection(publisher);
    let publisher = world.connect(&connect(version, &name).persistent());
    world.send(publisher, publish("t", "x").qos(2, 7).dup().bytes(version));
    world.keep_at(0);
    assert_eq!(answers(&mut world, publisher), []);
    world.keep_at(1);
    assert_eq!(answers(&mut world, publisher), [answer(2, 7, 0)]);
    world.keep();
    let sub = world.connect(&connect(V5, &sub).persistent());
    world.settle();
    assert_eq!(world.received(sub).len(), 1);
}

/// A subscriber of another shard has no room: a v5 publisher is told, as one of the same shard is.
#[test]
fn a_refusal_on_another_shard_is_told() {
    for home in [0, 1] {
        for qos in [1, 2] {
            let settings = Settings {
                session_queue_bytes_max: 500,
                ..with_store()
            };
            let mut world = World::with(2, Order::Fair, settings);
            let sub = absent(&mut world, home, 2, &["t"]);
            let publisher = publisher(&mut world, V5, 0, 2);
            let big = "x".repeat(400);
            for (id, code) in [(1, 0), (2, 0x97), (2, 0x97)] {
                world.send(publisher, publish("t", &big).qos(qos, id).bytes(V5));
                assert_eq!(answers(&mut world, publisher), [answer(qos, id, code)]);
            }
            // Who has room takes it, so it is taken.
            absent(&mut world, 1 - home, 2, &["t"]);
            world.send(publisher, publish("t", &big).qos(qos, 2).bytes(V5));
            assert_eq!(answers(&mut world, publisher), [answer(qos, 2, 0)]);
            let sub = world.connect(&connect(V5, &sub).persistent());
            world.settle();
            assert_eq!(world.received(sub).len(), 1);
        }
    }
}

/// PUBREC with a refusal ends the message, so the store must have forgotten its Packet Identifier when it leaves: after
/// a restart the Client may use it for another message, which would be taken for a repeat. [v5 4.3.3]
#[test]
fn a_refusal_of_another_shard_waits_until_the_packet_identifier_is_forgotten() {
    let settings = Settings {
        session_queue_bytes_max: 500,
        ..with_store()
    };
    let mut world = World::with(2, Order::Fair, settings);
    absent(&mut world, 1, 2, &["t"]);
    let name = name_at(0, 2, |number| format!("p{number}"));
    let publisher = world.connect(&connect(V5, &name).persistent());
    let big = "x".repeat(400);
    world.send(publisher, publish("t", &big).qos(2, 1).bytes(V5));
    assert_eq!(answers(&mut world, publisher), [answer(2, 1, 0)]);
    world.lanes_held = true;
    world.send(publisher, publish("t", &big).qos(2, 2).bytes(V5));
    assert_eq!(answers(&mut world, publisher), [], "nobody has answered");
    // That it was received is kept. That it is over is not.
    world.store_stuck = true;
    world.lanes_held = false;
    assert_eq!(answers(&mut world, publisher), [], "it is not forgotten");
    world.keep();
    assert_eq!(answers(&mut world, publisher), [answer(2, 2, 0x97)]);
}

/// The same without a store, where memory is short: the account book of the subscriber's shard refuses.
#[test]
fn a_publisher_is_not_told_that_a_message_was_delivered_that_the_other_shard_refused() {
    for through_group in [false, true] {
        let settings = Settings {
            memory_bytes_max: 1_200_000,
            session_queue_bytes_max: 100_000_000,
            ..Settings::default()
        };
        let mut world = World::with(3, Order::Fair, settings);
        world.unchecked = true;
        let filter = match through_group {
            true => name_at(2, 3, |number| format!("$share/g{number}/t")),
            false => "t".to_owned(),
        };
        // What these three hold is all on their shard; the messages count where they were published.
        for number in 0..3 {
            let name = name_at(1, 3, |at| format!("c{number}-{at}"));
            let sub = world.connect(&connect(V5, &name).persistent());
            let filter = if number == 0 { &filter } else { "t" };
            world.subscribe(sub, filter, 1);
            world.disconnect(sub);
        }
        let near = publisher(&mut world, V5, 1, 3);
        let far = publisher(&mut world, V5, 0, 3);
        let told = |world: &mut World, client: Client| {
            world.send(client, publish("t", "x").qos(1, 7).bytes(V5));
            match answers(world, client)[..] {
                [Packet::PubAck { code, .. }] => code,
                ref other => panic!("{other:?}"),
            }
        };
        let full = (0..20_000).find(|_| told(&mut world, far) == 0x97);
        assert!(full.is_some_and(|count| count > 100), "{full:?}");
        assert_eq!(told(&mut world, near), 0x97, "as on their shard");
        for shard in 0..3 {
            world.shard(shard).check_invariants();
        }
    }
}

#[test]
fn without_a_store_nothing_is_asked() {
    let mut world = World::new(2);
    let name = client_at(1, 2);
    let sub = world.connect(&connect(V5, &name).persistent());
    world.subscribe(sub, "t", 1);
    let publisher = publisher(&mut world, V5, 0, 2);
    world.lanes_held = true;
    world.send(publisher, publish("t", "x").qos(1, 7).bytes(V5));
    assert_eq!(answers(&mut world, publisher), [answer(1, 7, 0)]);
    assert_eq!(world.lane_messages(), 1);
    world.deliver(0, 1);
    assert_eq!(world.lane_messages(), 0, "no word comes back");
}

fn state(condition: Condition, behind: bool) -> StoreState {
    StoreState {
        condition,
        behind,
        ..StoreState::default()
    }
}

/// What would be stored is refused where an answer can say so, and no other message is.
#[test]
fn a_full_store_refuses_what_is_to_be_stored() {
    let mut world = world(1);
    absent(&mut world, 0, 1, &["stored"]);
    let live = world.connect(&connect(V5, "live"));
    world.subscribe(live, "live", 1);
    let publishers = [
        world.connect(&connect(V5, "five")),
        world.connect(&connect(Version::V311, "three")),
    ];
    let publish_all = |world: &mut World, full: bool| {
        for (version, publisher) in [V5, Version::V311].into_iter().zip(publishers) {
            for (qos, topic, retain, refused) in [
                (1, "stored", false, true),
                (2, "stored", false, true),
                (1, "live", false, false),
                (1, "r", true, true),
            ] {
                let mut packet = publish(topic, "x").qos(qos, 7);
                if retain {
                    packet = packet.retain();
                }
                world.send(publisher, packet.bytes(version));
                let refused = refused && full && version == V5;
                let nobody = version == V5 && topic == "r" && !refused;
                let code = match (refused, nobody) {
                    (true, _) => 0x97,
                    (_, true) => 0x10,
                    _ => 0,
                };
                let expected = [answer(qos, 7, code)];
                assert_eq!(
                    answers(world, publisher),
                    expected,
                    "{version:?} {topic} {qos}"
                );
                if qos == 2 && !refused {
                    world.send(publisher, pubrel(7));
                    assert_eq!(answers(world, publisher).len(), 1);
                }
            }
            // A deletion makes room, and a message of QoS 0 is not stored for an absent Client.
            let deletion = publish("r", "").qos(1, 8).retain();
            world.send(publisher, deletion.bytes(version));
            let code = answers(world, publisher);
            assert!(
                matches!(code[..], [Packet::PubAck { code: 0 | 0x10, .. }]),
                "{code:?}"
            );
        }
    };
    for (condition, full) in [
        (Condition::Full, true),
        (Condition::Well, false),
        (Condition::MemoryOnly, false),
    ] {
        world.tell_store(0, state(condition, false));
        publish_all(&mut world, full);
        world.shard(0).check_invariants();
    }
}

/// While too much waits for the disk, publishers of what is stored are not read from. Others are.
#[test]
fn a_store_that_is_behind_stops_those_who_store() {
    let mut world = world(1);
    let live = world.connect(&connect(V5, "live"));
    world.subscribe(live, "live", 1);
    let stores = world.connect(&connect(V5, "stores"));
    let other = world.connect(&connect(V5, "other"));
    world.tell_store(0, state(Condition::Well, true));
    world.send(stores, publish("r", "1").qos(1, 1).retain().bytes(V5));
    world.settle();
    world.send(stores, pingreq());
    world.send(other, publish("live", "2").qos(1, 1).bytes(V5));
    world.send(other, pingreq());
    let of_other = answers(&mut world, other);
    assert!(of_other.contains(&Packet::PingResp), "{of_other:?}");
    let of_stores = answers(&mut world, stores);
    assert!(!of_stores.contains(&Packet::PingResp), "{of_stores:?}");
    world.tell_store(0, state(Condition::Well, false));
    let of_stores = answers(&mut world, stores);
    assert!(of_stores.contains(&Packet::PingResp), "{of_stores:?}");
    world.shard(0).check_invariants();
}

fn held_bytes(world: &mut World) -> usize {
    match world.ask(0, Survey::sums()).found {
        Found::Sums(sums) => sums.held_bytes as usize,
        other => panic!("{other:?}"),
    }
}

/// What waits for the disk is memory like any other, and is given back.
#[test]
fn what_waits_for_the_disk_is_in_the_account_book() {
    let mut world = world(1);
    let before = held_bytes(&mut world);
    let waiting = |waiting_bytes| StoreState {
        waiting_bytes,
        ..StoreState::default()
    };
    for (bytes, booked) in [
        (limits::STORE_WAITING_BOOKED - 1, 0),
        (limits::STORE_WAITING_BOOKED, limits::STORE_WAITING_BOOKED),
        (
            limits::STORE_WAITING_BYTES_MAX,
            limits::STORE_WAITING_BYTES_MAX,
        ),
        (0, 0),
    ] {
        world.tell_store(0, waiting(bytes));
        let more = held_bytes(&mut world) - before;
        assert!(
            (booked..=booked + 2 * limits::OWNER_BYTES).contains(&more),
            "{bytes}: {more}"
        );
        world.shard(0).check_invariants();
    }
    assert_eq!(held_bytes(&mut world), before);
}
