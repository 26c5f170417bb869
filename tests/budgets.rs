//! What one accepted Client can make a shard hold, or do, with packets that are all allowed: each case once took the
//! broker away from the others. `tests/hostile` drives the same against a broker with sockets.

use mqttfast_rig::shard as support;

use mqttfast::broker::{Found, LogLevel, Sums, Survey, home_of};
use mqttfast::budget::Refused;
use mqttfast::config::Settings;
use mqttfast::limits::{
    ANSWERS_BYTES_MAX, HELD_BACK_MS_MAX, LEVEL_BYTES, RECEIVE_BUFFER_BYTES,
    SESSION_QUEUE_BYTES_MAX_DEFAULT, SPILLED_BYTES, TIMER_GRAIN_MS,
};
use std::sync::{Mutex, MutexGuard, PoisonError};
use support::*;

const V5: Version = Version::V5;
const V: Version = Version::V311;

fn sums(world: &mut World, shard: usize) -> Sums {
    match world.ask(shard, Survey::sums()).found {
        Found::Sums(sums) => *sums,
        other => panic!("sums were asked for, not {other:?}"),
    }
}

/// Tests that look at the memory of the process run alone.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Bytes of heap this process has, as the system sees it.
fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .expect("it is there");
    let kib: usize = line
        .split_whitespace()
        .nth(1)
        .and_then(|kib| kib.parse().ok())
        .expect("a number");
    kib * 1024
}

#[test]
fn who_does_not_take_its_own_answers_is_not_read_from() {
    let _alone = alone();
    // PUBREL of no message, PINGREQ.
    for (packet, count) in [(acknowledge_code(0x62, 77, 0), 1000), (pingreq(), 2000)] {
        let bytes = packet.repeat(count);
        let mut world = World::new(1);
        world.unchecked = true;
        let greedy = world.connect(&connect(V5, "greedy"));
        world.received(greedy);
        world.read_slowly(greedy);
        for _ in 0..400 {
            world.send(greedy, &bytes);
        }
        let held = world.waiting_to_leave(greedy);
        assert!(world.stops(greedy) > 0, "it was never stopped");
        let unread = world.unread(greedy);
        assert!(unread > 300 * bytes.len(), "only {unread} bytes were left");
        assert!(
            held <= ANSWERS_BYTES_MAX + 16 * RECEIVE_BUFFER_BYTES,
            "{held} bytes"
        );
        // All is answered once it reads.
        world.shard(0).check_invariants();
        world.read_at_once(greedy);
        assert!(world.is_read(greedy));
        assert_eq!(world.received(greedy).len(), 400 * count);
    }
}

#[test]
fn deliveries_do_not_count_as_answers() {
    let _alone = alone();
    let mut world = World::new(1);
    let reader = world.connect(&connect(V, "reader"));
    let writer = world.connect(&connect(V, "writer"));
    world.subscribe(reader, "t", 0);
    world.read_slowly(reader);
    for _ in 0..40 {
        let message = publish("t", "x".repeat(10_000)).bytes(V);
        world.send(writer, message);
        world.send(reader, pingreq());
    }
    assert_eq!(world.stops(reader), 0);
}

#[test]
fn filters_that_a_subscribe_repeats_cost_nothing() {
    let _alone = alone();
    // 2 MiB that ask for one filter 500,000 times.
    let mut world = World::new(1);
    world.unchecked = true;
    world.read_whole();
    let greedy = world.connect(&connect(V5, "greedy"));
    let filters = vec![(&b"a"[..], 0); 500_000];
    let packet = subscribe_bytes(V5, 1, &filters);
    let bytes = packet.len();
    world.read_slowly(greedy); // The answer is not what is looked at.
    let before = resident_bytes();
    world.send(greedy, packet);
    let more = resident_bytes().saturating_sub(before);
    assert_eq!(world.shard(0).sizes().2, 1);
    assert!(more < 8 * bytes, "{more} bytes for a packet of {bytes}");
    world.shard(0).check_invariants();
}

#[test]
fn one_retained_message_comes_once_for_a_filter_said_twice() {
    let _alone = alone();
    let mut world = World::new(1);
    let writer = world.connect(&connect(V, "writer"));
    world.send(writer, publish("a", "kept").retain().bytes(V));
    let reader = world.connect(&connect(V, "reader"));
    world.send(reader, subscribe(V, 1, &[("a", 0), ("b", 0), ("a", 0)]));
    assert_eq!(world.texts(reader), ["kept"]);
}

#[test]
fn identifiers_of_a_queued_message_count() {
    let _alone = alone();
    // 4,096 filters that all match, each with its Subscription Identifier, of a Session whose Client is away.
    const FILTERS: usize = 4096;
    let mut world = World::new(1);
    world.unchecked = true;
    let (absent, _) = world.connect_present(&connect(V5, "absent").persistent().expiry(3600));
    for number in 0..FILTERS {
        let levels: String = (0..12)
            .map(|bit| if number >> bit & 1 == 0 { "/a" } else { "/+" })
            .collect();
        let identifier = subscription_identifier(number as u32 + 1);
        world.send(absent, subscribe_with(1, &identifier, &[(&levels[1..], 1)]));
    }
    world.disconnect(absent);
    let writer = world.connect(&connect(V, "writer"));
    let topic = ["a"; 12].join("/");
    let before = resident_bytes();
    for number in 0..3000 {
        world.send(writer, publish(&topic, "x").qos(1, number + 1).bytes(V));
    }
    let more = resident_bytes().saturating_sub(before);
    let queued = sums(&mut world, 0).queued_bytes as usize;
    assert!(
        queued > SESSION_QUEUE_BYTES_MAX_DEFAULT as usize / 2,
        "{queued}"
    );
    assert!(
        more < 2 * SESSION_QUEUE_BYTES_MAX_DEFAULT as usize,
        "{more} bytes"
    );
}

#[test]
fn a_reader_that_acknowledges_nothing_holds_nobody_back_for_long() {
    let _alone = alone();
    for shards in [1, 2] {
        let mut world = World::new(shards);
        world.unchecked = true;
        let mute = world.connect(&connect(V, "mute"));
        world.send(mute, subscribe(V, 1, &[("#", 1)]));
        let writer = world.connect(&connect(V, "writer"));
        let mut held_ms = 0;
        let mut number = 0;
        for _ in 0..20 {
            // It pings: PINGRESP are no deliveries.
            for _ in 0..10 {
                world.send(mute, pingreq().repeat(900));
                if world.unread(writer) < 200_000 {
                    number += 1;
                    world.send(
                        writer,
                        publish("t", "x".repeat(100_000)).qos(1, number).bytes(V),
                    );
                }
                world.advance(100);
                if world.unread(writer) > 0 {
                    held_ms += 100;
                }
            }
        }
        let most = HELD_BACK_MS_MAX + TIMER_GRAIN_MS;
        assert!(
            held_ms <= most,
            "{shards} shards: held back for {held_ms} ms"
        );
        assert!(number > 100, "{number} messages came");
    }
}

#[test]
fn a_reader_that_takes_a_byte_now_and_then_holds_nobody_back_for_long() {
    let _alone = alone();
    let mut world = World::new(1);
    world.unchecked = true;
    let slow = world.connect(&connect(V, "slow"));
    world.subscribe(slow, "#", 0);
    world.read_slowly(slow);
    let writer = world.connect(&connect(V, "writer"));
    let mut held_ms = 0;
    for _ in 0..600 {
        if world.unread(writer) < 200_000 {
            world.send(writer, publish("t", "x".repeat(100_000)).bytes(V));
        }
        world.take_bytes(slow, 2_000); // 20 kB a second.
        world.advance(100);
        if world.unread(writer) > 0 {
            held_ms += 100;
        }
    }
    let most = HELD_BACK_MS_MAX + TIMER_GRAIN_MS;
    assert!(held_ms <= most, "held back for {held_ms} ms of a minute");
}

/// Settings of a broker whose shards together may hold so much.
fn with_memory(bytes: u64) -> Settings {
    Settings {
        memory_bytes_max: bytes,
        session_queue_bytes_max: 1 << 30,
        shard_queue_bytes_max: 1 << 40,
        ..Settings::default()
    }
}

const MIB: usize = 1024 * 1024;

/// A modest Client's Session queues 50 messages of 1 KiB, and gets all of them when it comes back.
fn modest_is_served(world: &mut World, writer: Client) {
    let modest = world.connect(&connect(V, "modest").persistent());
    world.subscribe(modest, "modest/t", 1);
    world.disconnect(modest);
    for number in 0..50 {
        let message = publish("modest/t", "m".repeat(1024));
        world.send(writer, message.qos(1, number + 1).bytes(V));
    }
    let modest = world.connect_present(&connect(V, "modest").persistent()).0;
    assert_eq!(world.messages(modest).len(), 50);
}

/// Everything goes: the book is empty.
fn nothing_is_left(world: &mut World, shards: usize) {
    for shard in 0..shards {
        world.shard(shard).check_invariants();
        assert_eq!(world.shard(shard).leftovers(), []);
    }
}

#[test]
fn the_same_bytes_in_many_queues_count_once() {
    let _alone = alone();
    // 17 absent Sessions of one user on one topic: 17 MiB once filled a shard's 256 MiB.
    let mut world = World::new(1);
    world.unchecked = true;
    let greedy: Vec<String> = (0..17).map(|number| format!("greedy {number}")).collect();
    for name in &greedy {
        let client = world.connect(&connect(V, name).persistent());
        world.subscribe(client, "t", 1);
        world.disconnect(client);
    }
    let writer = world.connect(&connect(V, "writer"));
    for number in 0..17 {
        let message = publish("t", "x".repeat(MIB - 200)).qos(1, number + 1);
        world.send(writer, message.bytes(V));
    }
    let held = sums(&mut world, 0).held_bytes as usize;
    assert!((16 * MIB..19 * MIB).contains(&held), "{held} bytes");
    modest_is_served(&mut world, writer);
    for name in &greedy {
        let client = world.connect(&connect(V, name));
        world.disconnect(client);
    }
    world.disconnect(writer);
    let client = world.connect(&connect(V, "modest"));
    world.disconnect(client);
    nothing_is_left(&mut world, 1);
}

#[test]
fn retained_messages_are_bounded_and_others_are_served() {
    let _alone = alone();
    for shards in [1, 2] {
        let mut world = World::with(shards, Order::Fair, with_memory(32 * MIB as u64));
        world.unchecked = true;
        world.read_whole();
        let greedy = world.connect(&connect(V5, "greedy"));
        let mut refused = 0;
        for number in 0..100 {
            let message = publish(&format!("t/{number}"), "x".repeat(MIB)).retain();
            world.send(greedy, message.qos(1, number + 1).bytes(V5));
        }
        for packet in world.received(greedy) {
            refused += usize::from(matches!(packet, Packet::PubAck { code: 0x97, .. }));
        }
        assert!(
            (70..80).contains(&refused),
            "{shards} shards: {refused} were refused"
        );
        for shard in 0..shards {
            let held = sums(&mut world, shard).held_bytes as usize;
            assert!(held <= 28 * MIB, "{held} bytes");
        }
        // Small ones that nobody acknowledges are kept as well, so they count as well.
        for number in 0..2_000 {
            let message = publish(&format!("s/{number}"), "x".repeat(4_000)).retain();
            world.send(greedy, message.bytes(V5));
        }
        for shard in 0..shards {
            let held = sums(&mut world, shard).held_bytes as usize;
            assert!(held <= 28 * MIB, "{held} bytes");
        }
        // What nobody is to keep goes on.
        let reader = world.connect(&connect(V, "reader"));
        world.subscribe(reader, "live", 0);
        world.send(greedy, publish("live", "x").bytes(V5));
        assert_eq!(world.texts(reader), ["x"], "{shards} shards");
        let writer = world.connect(&connect(V, "writer"));
        modest_is_served(&mut world, writer);
        let limit = format!(" of {} bytes (--memory-limit)", 32 * MIB);
        let told = world
            .log
            .iter()
            .filter(|(_, line)| line.contains("has had a fair share of") && line.contains(&limit));
        assert_eq!(told.count(), 1, "{:?}", world.log);
    }
}

/// Before v5 no answer can say that a message was not taken: the connection ends without one. [v3.1.1 MQTT-4.3.2-2]
#[test]
fn a_publisher_of_3_1_1_is_not_told_that_a_refused_message_was_taken() {
    let _alone = alone();
    // Large payloads are taken over as they came, small ones are copied.
    for (qos, payload_bytes) in [(1, MIB), (2, MIB), (1, 15_000), (2, 15_000)] {
        let mut world = World::with(1, Order::Fair, with_memory(16 * MIB as u64));
        world.unchecked = true;
        world.read_whole();
        let greedy = world.connect(&connect(V, "greedy"));
        let (mut taken, most) = (0, 20 * MIB / payload_bytes);
        for number in 0..most as u16 {
            let message = publish(&format!("t/{number}"), "x".repeat(payload_bytes)).retain();
            world.send(greedy, message.qos(qos, number + 1).bytes(V));
            let answers = world.received(greedy);
            if world.is_closed(greedy) {
                assert_eq!(answers, [], "{number}");
                break;
            }
            assert_eq!(answers.len(), 1);
            taken += 1;
        }
        assert!(
            (8 * MIB..16 * MIB).contains(&(taken * payload_bytes)),
            "{taken} were taken"
        );
        let (reader, mut kept) = (world.connect(&connect(V, "reader")), 0);
        for number in 0..most {
            world.subscribe(reader, &format!("t/{number}"), 0);
            kept += world.messages(reader).len();
        }
        assert_eq!(kept, taken);
    }
}

/// Bytes in the book of all shards.
fn held_by_all(world: &mut World, shards: usize) -> usize {
    (0..shards)
        .map(|shard| sums(world, shard).held_bytes as usize)
        .sum()
}

#[test]
fn the_client_ids_of_one_address_have_no_more_than_one() {
    let _alone = alone();
    const LIMIT: usize = 32 * MIB;
    for shards in [1, 4] {
        let mut world = World::with(shards, Order::Fair, with_memory(LIMIT as u64));
        world.unchecked = true;
        world.read_whole();
        world.from = Some([192, 0, 2, 7].into());
        let fill = |world: &mut World, writer: Client, name: &str, count: u16| {
            for number in 0..count {
                let message = publish(&format!("{name}/{number}"), "x".repeat(MIB / 16)).retain();
                world.send(writer, message.qos(1, number + 1).bytes(V5));
            }
        };
        // One takes what anyone may, which is more than a share; then come fifteen others from there.
        let greedy: Vec<Client> = (0..16)
            .map(|n| world.connect(&connect(V5, &format!("greedy {n}"))))
            .collect();
        for (n, writer) in greedy.iter().enumerate() {
            fill(
                &mut world,
                *writer,
                &format!("t/{n}"),
                if n == 0 { 520 } else { 20 },
            );
        }
        let held = held_by_all(&mut world, shards);
        assert!(
            (LIMIT / 100 * 77..=LIMIT / 100 * 91).contains(&held),
            "{shards} shards: {held} bytes"
        );
        // What is left is for those from elsewhere: all of 2 MiB.
        world.from = Some([192, 0, 2, 8].into());
        let modest = world.connect(&connect(V5, "modest"));
        for number in 0..32 {
            let message = publish(&format!("m/{number}"), "m".repeat(MIB / 16)).retain();
            world.send(modest, message.qos(1, number + 1).bytes(V5));
        }
        let answers = world.received(modest);
        let refused = |packet: &&Packet| matches!(packet, Packet::PubAck { code: 0x97, .. });
        assert_eq!(answers.iter().filter(refused).count(), 0);
        let more = held_by_all(&mut world, shards) - held;
        assert!(more >= 2 * MIB, "{shards} shards: {more} bytes");
        for shard in 0..shards {
            world.shard(shard).check_invariants();
        }
    }
}

#[test]
fn a_user_on_four_shards_has_one_share() {
    let _alone = alone();
    const LIMIT: usize = 32 * MIB;
    let mut world = World::with(4, Order::Fair, with_memory(LIMIT as u64));
    world.unchecked = true;
    world.read_whole();
    let fill = |world: &mut World, writer: Client, name: &str, count: u16| {
        for number in 0..count {
            let message = publish(&format!("{name}/{number}"), "x".repeat(MIB / 8)).retain();
            world.send(writer, message.qos(1, number + 1).bytes(V5));
        }
    };
    // Seven addresses hold what anyone may, none of them more than a share.
    for n in 0..7 {
        world.from = Some([192, 0, 2, n].into());
        let writer = world.connect(&connect(V5, &format!("other {n}")));
        fill(&mut world, writer, &format!("o/{n}"), 28);
    }
    let before = held_by_all(&mut world, 4);
    assert!(before > LIMIT / 100 * 75, "{before} bytes");
    // The eighth, with a client on each shard, has one of nine shares.
    world.from = Some([192, 0, 2, 99].into());
    let greedy: Vec<Client> = (0..4)
        .map(|shard| at_home_in(&mut world, shard, V5, "greedy"))
        .collect();
    for (n, writer) in greedy.iter().enumerate() {
        fill(&mut world, *writer, &format!("g/{n}"), 100);
    }
    let got = held_by_all(&mut world, 4) - before;
    assert!(
        (LIMIT / 100 * 8..=LIMIT / 100 * 13).contains(&got),
        "{got} bytes of {LIMIT}"
    );
}

#[test]
fn windows_filters_packets_and_sessions_are_bounded() {
    let _alone = alone();
    let mut world = World::with(1, Order::Fair, with_memory(16 * MIB as u64));
    world.unchecked = true;
    world.read_whole();
    let held = |world: &mut World| sums(world, 0).held_bytes as usize;

    // In flight to one that acknowledges nothing.
    let reader = world.connect(&connect(V, "reader"));
    world.subscribe(reader, "f", 1);
    let writer = world.connect(&connect(V5, "writer of many"));
    for number in 0..40 {
        let message = publish("f", "x".repeat(MIB)).qos(1, number + 1);
        world.send(writer, message.bytes(V5));
    }
    assert!(
        (10 * MIB..=16 * MIB).contains(&held(&mut world)),
        "{}",
        held(&mut world)
    );
    world.drop_connection(reader);
    world.drop_connection(writer);
    world.shard(0).check_invariants();
    assert!(held(&mut world) < MIB, "{}", held(&mut world));

    // Filters.
    let greedy = world.connect(&connect(V5, "greedy"));
    for number in 0..400 {
        let filter = format!("{number}/{}", "x".repeat(60_000));
        world.send(greedy, subscribe(V5, 1, &[(&filter, 0)]));
    }
    assert!(
        (10 * MIB..=16 * MIB).contains(&held(&mut world)),
        "{}",
        held(&mut world)
    );
    world.drop_connection(greedy);
    assert!(held(&mut world) < MIB, "{}", held(&mut world));

    // Packets half received.
    world.from = Some([198, 51, 100, 1].into());
    let many: Vec<Client> = (0..30)
        .map(|number| {
            let client = world.connect(&connect(V, &format!("half {number}")).user(b"one"));
            let packet = publish("t", "x".repeat(2 * MIB)).bytes(V);
            world.send(client, &packet[..MIB]);
            client
        })
        .collect();
    assert!(held(&mut world) <= 16 * MIB, "{}", held(&mut world));
    assert!(many.iter().any(|client| world.is_over(*client)));
    for client in many {
        world.drop_connection(client);
    }
    assert!(held(&mut world) < MIB, "{}", held(&mut world));

    // Sessions with wills, whose Clients go.
    let mut refused = 0;
    for number in 0..2_000 {
        let connect = connect(V5, &format!("absent {number}")).user(b"one");
        let connect = connect
            .will("w", &"x".repeat(15_000), 1, false)
            .expiry(3600);
        let client = world.try_connect(&connect.will_with(will_delay(3600)));
        refused += usize::from(world.is_over(client));
        world.drop_connection(client);
    }
    assert!(held(&mut world) <= 16 * MIB, "{}", held(&mut world));
    assert!(refused > 500, "{refused}");
    world.shard(0).check_invariants();
    let refused = sums(&mut world, 0).refused;
    assert!(refused[Refused::Session as usize] > 500, "{refused:?}");
    let told = |(_, line): &&(LogLevel, String)| line.contains("a new session is refused");
    assert_eq!(world.log.iter().filter(told).count(), 1);
    assert!(
        !world
            .log
            .iter()
            .any(|(_, line)| line.starts_with("refused absent"))
    );
    world.from = None;
    let writer = world.connect(&connect(V, "writer"));
    modest_is_served(&mut world, writer);
}

#[test]
fn replays_and_deep_filters_count() {
    let _alone = alone();
    let mut world = World::new(1);
    world.unchecked = true;
    let writer = world.connect(&connect(V, "writer"));
    for number in 0..20 {
        let message = publish(&format!("r/{number}"), "x".repeat(10_000)).retain();
        world.send(writer, message.bytes(V));
    }
    let reader = world.connect(&connect(V, "reader"));
    world.read_slowly(reader);
    let before = sums(&mut world, 0).held_bytes as usize;
    // The first replay fills what the reader does not take; the others wait with their filters.
    world.send(reader, subscribe(V, 1, &[("r/#", 0)]));
    let long = "x".repeat(10_000);
    for number in 0..100 {
        world.send(reader, subscribe(V, 1, &[(&format!("{number}/{long}"), 0)]));
    }
    let held = sums(&mut world, 0).held_bytes as usize - before;
    assert!(held > 2 * 100 * long.len(), "{held} bytes");
    world.shard(0).check_invariants();
    // 100 levels, each of which is a node of the tree.
    let before = sums(&mut world, 0).held_bytes as usize;
    let deep = ["a"; 100].join("/");
    world.send(reader, subscribe(V, 1, &[(&deep, 0)]));
    let held = sums(&mut world, 0).held_bytes as usize - before;
    assert!(held > 98 * LEVEL_BYTES, "{held} bytes");
    world.drop_connection(reader);
    world.shard(0).check_invariants();
    let held = sums(&mut world, 0).held_bytes as usize;
    assert!(held < 240_000, "{held} bytes are left");
}

#[test]
fn marks_of_deletions_are_bounded_and_deletions_that_free_pass() {
    let _alone = alone();
    let mut world = World::with(2, Order::Fair, with_memory(32 * MIB as u64));
    world.unchecked = true;
    world.read_whole();
    let greedy = world.connect(&connect(V5, "greedy"));
    let kept = publish("kept", "x".repeat(100_000)).retain();
    world.send(greedy, kept.qos(1, 1).bytes(V5));
    world.received(greedy);
    let long = "x".repeat(60_000);
    for number in 0..400 {
        let deletion = publish(&format!("{number}/{long}"), "").retain();
        world.send(greedy, deletion.qos(1, number + 2).bytes(V5));
    }
    let refused = |packet: &Packet| matches!(packet, Packet::PubAck { code: 0x97, .. });
    let answers = world.received(greedy);
    let refused = answers.iter().filter(|answer| refused(answer)).count();
    assert!((200..400).contains(&refused), "{refused} were refused");
    for shard in 0..2 {
        let held = sums(&mut world, shard).held_bytes as usize;
        assert!(held <= 32 * MIB, "{held} bytes");
    }
    let deletion = publish("kept", "").retain().qos(1, 500).bytes(V5);
    world.send(greedy, deletion);
    let answer = world.received(greedy);
    assert!(
        !matches!(answer[..], [Packet::PubAck { code: 0x97, .. }]),
        "{answer:?}"
    );
    // All clocks pass, so the marks go.
    world.drop_connection(greedy);
    world.advance(5_000);
    nothing_is_left(&mut world, 2);
}

/// A Client whose Session has its home at this shard.
fn at_home(world: &mut World, shard: usize, name: &str) -> Client {
    at_home_in(world, shard, V, name)
}

fn at_home_in(world: &mut World, shard: usize, version: Version, name: &str) -> Client {
    for number in 0.. {
        let client = world.connect(&connect(version, &format!("{name} {number}")));
        if world.place(client) == Some(shard) {
            return client;
        }
        world.disconnect(client);
    }
    unreachable!("some id has its home there")
}

#[test]
fn what_a_full_lane_takes_beyond_its_bounds_counts() {
    let _alone = alone();
    for qos in [0, 1] {
        let mut world = World::new(2);
        world.unchecked = true;
        world.lane_high = 8;
        world.lane_low = 2;
        let reader = at_home(&mut world, 1, "reader");
        world.acknowledge_at_once(reader);
        world.subscribe(reader, "t", 1);
        let writers: Vec<Client> = (0..50)
            .map(|number| at_home(&mut world, 0, &format!("writer {number}")))
            .collect();
        world.lanes_held = true;
        let before = sums(&mut world, 0).held_bytes as usize;
        for (number, writer) in writers.iter().enumerate() {
            let message = publish("t", "x".repeat(1000));
            let message = match qos {
                0 => message.bytes(V),
                _ => message.qos(1, number as u16 + 1).bytes(V),
            };
            world.send(*writer, message);
        }
        let held = sums(&mut world, 0).held_bytes as usize - before;
        let least = 40 * (1000 + qos as usize * SPILLED_BYTES);
        assert!(held > least, "QoS {qos}: {held} bytes of {least}");
        world.lanes_held = false;
        world.advance(1);
        world.shard(0).check_invariants();
        let held = sums(&mut world, 0).held_bytes as usize;
        assert!(held < before + 40_000, "QoS {qos}: {held} of {before}");
    }
}

#[test]
fn a_member_of_very_many_groups_holds_nobody_back() {
    let _alone = alone();
    for (groups, held_back) in [(64, true), (65, false)] {
        let mut world = World::new(1);
        world.unchecked = true;
        let greedy = world.connect(&connect(V, "greedy"));
        let filters: Vec<String> = (0..groups).map(|n| format!("$share/g{n}/#")).collect();
        let filters: Vec<(&str, u8)> = filters.iter().map(|filter| (&**filter, 0)).collect();
        world.send(greedy, subscribe(V, 1, &filters));
        let writer = world.connect(&connect(V, "writer"));
        let reader = world.connect(&connect(V, "reader"));
        world.subscribe(reader, "t", 0);
        world.received(reader);
        world.read_slowly(greedy);
        for _ in 0..100 {
            world.send(writer, publish("t", "x".repeat(100)).bytes(V));
        }
        assert_eq!(world.stops(writer) > 0, held_back, "{groups} groups");
        if !held_back {
            assert_eq!(world.received(reader).len(), 100);
            assert!(world.waiting_to_leave(greedy) < 1024 * 1024);
        }
        world.shard(0).check_invariants();
        // It holds back again once it is a member of fewer.
        if !held_back {
            world.read_at_once(greedy);
            world.send(greedy, unsubscribe(V, 2, &["$share/g0/#"]));
            world.read_slowly(greedy);
            for _ in 0..100 {
                world.send(writer, publish("t", "x".repeat(100)).bytes(V));
            }
            assert!(world.stops(writer) > 0);
        }
    }
}

#[test]
fn very_many_groups_hold_nobody_back_by_a_full_lane() {
    let _alone = alone();
    for (groups, held_back) in [(20, true), (65, false)] {
        let mut world = World::new(2);
        world.unchecked = true;
        world.lane_high = 8;
        world.lane_low = 2;
        let greedy = at_home(&mut world, 1, "greedy");
        // All of them are the other shard's.
        let names = (0..).map(|n| format!("$share/g{n}/#"));
        let names = names.filter(|filter| home_of(filter, 2).index() == 0);
        for filter in names.take(groups) {
            world.send(greedy, subscribe(V, 1, &[(&filter, 0)]));
        }
        let bystander = at_home(&mut world, 0, "bystander");
        world.subscribe(bystander, "t", 0);
        world.received(bystander);
        // The lane from the groups' owner to their member is full, and stays so.
        world.lanes_held = true;
        for _ in 0..20 {
            world.send(bystander, publish("t", "x".repeat(100)).bytes(V));
        }
        assert_eq!(world.stops(bystander) > 0, held_back, "{groups} groups");
        if !held_back {
            assert_eq!(world.received(bystander).len(), 20);
        }
        world.lanes_held = false;
        world.advance(1);
        world.shard(0).check_invariants();
    }
}

#[test]
fn long_topic_names_on_their_way_to_another_shard_count() {
    let _alone = alone();
    const LIMIT: usize = 4 * 1024 * 1024;
    let settings = Settings {
        memory_bytes_max: LIMIT as u64,
        ..Settings::default()
    };
    let mut world = World::with(2, Order::Fair, settings);
    world.unchecked = true;
    let topic = "t".repeat(60_000);
    let reader = at_home(&mut world, 1, "reader");
    world.subscribe(reader, &topic, 0);
    let writers: Vec<Client> = (0..100)
        .map(|number| {
            let connect = |n| connect(V5, &format!("writer {number} {n}")).user(b"greedy");
            for n in 0.. {
                let client = world.connect(&connect(n));
                if world.place(client) == Some(0) {
                    return client;
                }
                world.disconnect(client);
            }
            unreachable!("some id has its home there")
        })
        .collect();
    let other = at_home(&mut world, 0, "other");
    world.received(other);
    world.lanes_held = true;
    for writer in &writers {
        // With a Topic Alias, so that it does not go on as it came.
        let mut body = (topic.len() as u16).to_be_bytes().to_vec();
        body.extend(topic.as_bytes());
        body.extend([3, 0x23, 0, 1, b'x']);
        let mut packet = vec![0x30];
        let len = body.len();
        packet.extend([len as u8 | 0x80, (len >> 7) as u8 | 0x80, (len >> 14) as u8]);
        packet.extend(body);
        world.send(*writer, packet);
    }
    let held = sums(&mut world, 0).held_bytes as usize;
    assert!(held > LIMIT / 2, "{held} bytes");
    // Of each message its Topic Name is kept for the alias too, and the last one was let in below the limit.
    assert!(held <= LIMIT + 2 * topic.len(), "{held} bytes");
    // Whoever is below his share is served.
    world.send(other, publish("t", "x").qos(1, 1).bytes(V));
    assert!(world.is_read(other));
    world.shard(0).check_invariants();
}
