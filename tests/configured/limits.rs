//! Limits and behaviours that a `mosquitto.conf` sets: each takes effect on Clients.

use crate::{OPEN, anonymous, code, connack5};
use mqttfast_rig::on_1_and_2_shards;
use mqttfast_rig::process::packet::{self, Connect, Published, Will};
use mqttfast_rig::process::packet5::{self, number};
use mqttfast_rig::process::{Answer, Broker, Client, DEADLINE, reference};
use std::time::Duration;

/// So long nothing comes.
const SILENCE: Duration = Duration::from_millis(300);

on_1_and_2_shards!(
    no_more_messages_are_in_flight_than_allowed,
    no_more_bytes_are_in_flight_than_allowed,
    no_more_messages_wait_than_allowed,
    no_more_bytes_wait_than_allowed,
    qos_0_waits_where_it_is_wanted,
    messages_have_the_qos_of_the_subscription_where_it_is_wanted,
    clients_before_v5_get_duplicates_where_they_are_wanted,
    a_keep_alive_has_its_limit,
    nothing_is_retained_where_it_is_not_available,
    client_ids_have_their_prefix,
    no_more_client_ids_are_known_than_allowed,
    payloads_have_their_limit,
    packets_have_their_limit,
);

fn configured(shards: usize, lines: &str) -> Broker {
    Broker::configured(shards, &format!("{OPEN}{lines}"))
}

/// A Client whose Session outlives its connection.
fn lasting(client_id: &str) -> Connect<'_> {
    Connect {
        clean_session: false,
        ..anonymous(client_id)
    }
}

/// Subscribes to `t` at QoS 1 and goes; `count` messages of `bytes` are published meanwhile; then it is back.
fn away(broker: &Broker, count: usize, bytes: usize, qos: u8) -> Client {
    let (mut sleeper, _) = Client::connect_with(broker, &lasting("sleeper"));
    sleeper.subscribe("t", 1);
    sleeper.disconnect();
    let mut publisher = Client::connect(broker, "publisher");
    for at in 0..count {
        let payload = vec![b'0' + (at % 10) as u8; bytes];
        publisher.publish("t", &payload, qos, false);
    }
    publisher.expect_alive();
    // Another shard may still have them before it.
    std::thread::sleep(SILENCE);
    let (sleeper, present) = Client::connect_with(broker, &lasting("sleeper"));
    assert!(present);
    sleeper
}

/// Packets of PUBLISH that come without an acknowledgement of ours.
fn unacknowledged(client: &mut Client) -> Vec<Published> {
    let mut got = Vec::new();
    while let Answer::Packet(packet) = client.answer(SILENCE) {
        got.extend(Published::read(&packet));
    }
    got
}

fn no_more_messages_are_in_flight_than_allowed(shards: usize) {
    let broker = configured(shards, "max_inflight_messages 2\n");
    let mut sleeper = away(&broker, 5, 1, 1);
    assert_eq!(unacknowledged(&mut sleeper).len(), 2);
}

fn no_more_bytes_are_in_flight_than_allowed(shards: usize) {
    let broker = configured(shards, "max_inflight_bytes 250\n");
    let mut ear = Client::connect(&broker, "ear");
    ear.subscribe("t", 1);
    let mut mouth = Client::connect(&broker, "mouth");
    for _ in 0..5 {
        mouth.publish("t", &[b'x'; 100], 1, false);
    }
    // A third one starts while 200 bytes are under way.
    let got = unacknowledged(&mut ear).len();
    if reference() {
        // 2.0.11 sends one more, and forgets the limit when the Client was away.
        return assert_eq!(got, 4);
    }
    assert_eq!(got, 3);
    let mut sleeper = away(&broker, 5, 100, 1);
    assert_eq!(unacknowledged(&mut sleeper).len(), 3);
}

fn no_more_messages_wait_than_allowed(shards: usize) {
    let broker = configured(shards, "max_queued_messages 3\n");
    let mut sleeper = away(&broker, 8, 1, 1);
    let got = unacknowledged(&mut sleeper);
    let payloads: Vec<&[u8]> = got.iter().map(|m| &m.payload[..]).collect();
    // The oldest stay, as with Mosquitto.
    assert_eq!(payloads, [b"0", b"1", b"2"]);
}

fn no_more_bytes_wait_than_allowed(shards: usize) {
    let broker = configured(shards, "max_queued_bytes 2000\nmax_queued_messages 0\n");
    let mut sleeper = away(&broker, 15, 300, 1);
    let got = unacknowledged(&mut sleeper).len();
    // Mosquitto counts payloads alone.
    assert!((3..=7).contains(&got), "{got}");
}

fn qos_0_waits_where_it_is_wanted(shards: usize) {
    for (lines, wanted) in [
        ("queue_qos0_messages true\n", 3),
        ("queue_qos0_messages false\n", 0),
    ] {
        let broker = configured(shards, lines);
        let mut sleeper = away(&broker, 3, 1, 0);
        let got = unacknowledged(&mut sleeper);
        assert_eq!(got.len(), wanted, "{lines}");
        assert!(got.iter().all(|message| message.qos == 0));
    }
}

fn messages_have_the_qos_of_the_subscription_where_it_is_wanted(shards: usize) {
    for (lines, wanted) in [
        ("upgrade_outgoing_qos true\n", 2),
        ("upgrade_outgoing_qos false\n", 0),
    ] {
        let broker = configured(shards, lines);
        let mut ear = Client::connect(&broker, "ear");
        ear.subscribe("t", 2);
        let mut mouth = Client::connect(&broker, "mouth");
        mouth.publish("t", b"x", 0, true);
        assert_eq!(ear.receive().qos, wanted, "{lines}");
        // Retained ones too.
        let mut late = Client::connect(&broker, "late");
        late.subscribe("t", 2);
        assert_eq!(late.receive().qos, wanted, "{lines}");
    }
}

fn clients_before_v5_get_duplicates_where_they_are_wanted(shards: usize) {
    for (lines, wanted) in [
        ("allow_duplicate_messages true\n", 2),
        ("allow_duplicate_messages false\n", 1),
    ] {
        let broker = configured(shards, lines);
        let mut ear = Client::connect(&broker, "ear");
        ear.subscribe("a/#", 1);
        ear.subscribe("a/b", 1);
        let mut mouth = Client::connect(&broker, "mouth");
        mouth.publish("a/b", b"x", 1, false);
        assert_eq!(unacknowledged(&mut ear).len(), wanted, "{lines}");
    }
}

fn a_keep_alive_has_its_limit(shards: usize) {
    let broker = configured(shards, "max_keepalive 30\n");
    let with = |keep_alive_s| Connect {
        keep_alive_s,
        ..anonymous("a")
    };
    assert_eq!(code(&broker, &with(30)), Some(0));
    // The Mosquitto of Debian 12 lets these in, against its manual.
    if !reference() {
        assert_eq!(code(&broker, &with(31)), Some(2));
        assert_eq!(code(&broker, &with(0)), Some(2));
    }
    for (asked, told) in [(60, Some(30)), (0, Some(30)), (20, None)] {
        let connect = packet5::connect(packet5::CLEAN_START, asked, b"", b"five", b"");
        let (accepted, properties) = connack5(&broker, &connect);
        assert_eq!((accepted, number(&properties, 0x13)), (0, told), "{asked}");
    }
}

fn nothing_is_retained_where_it_is_not_available(shards: usize) {
    let broker = configured(shards, "retain_available false\n");
    let connect = packet5::connect(packet5::CLEAN_START, 60, b"", b"five", b"");
    let (accepted, properties) = connack5(&broker, &connect);
    assert_eq!((accepted, number(&properties, 0x25)), (0, Some(0)));
    let mut client = Client::connect(&broker, "three");
    client.send(&packet::publish(b"t", b"x", 0, 0, true));
    client.expect_close();
    let with_will = Connect {
        will: Some(Will {
            topic: "w",
            payload: b"x",
            qos: 0,
            retain: true,
        }),
        ..anonymous("will")
    };
    assert_ne!(code(&broker, &with_will), Some(0));
}

fn client_ids_have_their_prefix(shards: usize) {
    let broker = configured(shards, "clientid_prefixes house-\n");
    assert_eq!(code(&broker, &anonymous("house-1")), Some(0));
    assert_eq!(code(&broker, &anonymous("garden-1")), Some(5));
}

fn payloads_have_their_limit(shards: usize) {
    let broker = configured(shards, "message_size_limit 20000\n");
    let mut ear = Client::connect(&broker, "ear");
    ear.subscribe("#", 1);
    let mut mouth = Client::connect(&broker, "mouth");
    // Small ones and those large enough to keep their memory.
    for (bytes, arrives) in [(20_000, true), (20_001, false), (10, true), (70_000, false)] {
        let payload = vec![b'x'; bytes];
        // It is acknowledged all the same.
        mouth.publish(&format!("t/{bytes}"), &payload, 1, false);
        if arrives {
            ear.expect_message(&format!("t/{bytes}"), &payload, 1);
        }
    }
    ear.expect_silence(SILENCE);
    mouth.expect_alive();
}

fn packets_have_their_limit(shards: usize) {
    let broker = configured(shards, "max_packet_size 1000\n");
    let mut client = Client::connect(&broker, "three");
    client.publish("t", &[b'x'; 900], 1, false);
    client.send(&packet::publish(b"t", &[b'x'; 1000], 1, 9, false));
    client.expect_close();
    let connect = packet5::connect(packet5::CLEAN_START, 60, b"", b"five", b"");
    let (_, properties) = connack5(&broker, &connect);
    if !reference() {
        assert_eq!(
            number(&properties, packet5::MAXIMUM_PACKET_SIZE),
            Some(1000)
        );
    }
}

/// Mosquitto says nothing of it to Clients.
#[test]
fn sessions_and_retained_messages_end() {
    if reference() {
        return;
    }
    let lines = "persistent_client_expiration 2h\nretain_expiry_interval 3\n";
    let broker = configured(1, lines);
    let expiry = |seconds: u32| {
        let mut block = vec![packet5::SESSION_EXPIRY_INTERVAL];
        block.extend(seconds.to_be_bytes());
        let connect = packet5::connect(packet5::CLEAN_START, 60, &block, b"five", b"");
        let (_, properties) = connack5(&broker, &connect);
        number(&properties, packet5::SESSION_EXPIRY_INTERVAL)
    };
    assert_eq!(expiry(7201), Some(7200));
    assert_eq!(expiry(u32::MAX), Some(7200));
    assert_eq!(expiry(7200), None);
    let mut mouth = Client::connect(&broker, "mouth");
    mouth.publish("t", b"x", 1, true);
    let (mut ear, _) = packet5::connected(&broker, b"ear", b"");
    ear.send(&packet5::subscribe(1, b"", b"t", 0));
    let Answer::Packet(_suback) = ear.answer(DEADLINE) else {
        panic!("no SUBACK");
    };
    // PUBLISH with RETAIN to `t`, and a Message Expiry Interval of at most three minutes.
    let publish = ear.packet();
    assert_eq!(publish[0], 0x31);
    let left = u32::from_be_bytes([publish[7], publish[8], publish[9], publish[10]]);
    assert_eq!(publish[6], 0x02);
    assert!((170..=180).contains(&left), "{left}");
}

/// What cannot be seen by a Client in a test's time is told in the log of the start.
#[test]
fn limits_of_all_connections_are_told() {
    if reference() {
        return;
    }
    let broker = configured(1, "global_max_connections 17\nmemory_limit 32M\n");
    broker.logged(&["at most 17 connections"]);
    broker.logged(&[
        "Warning: ",
        "67108864 is taken, the least that `memory_limit` can be here",
    ]);
}

/// `global_max_clients`, of 2.1: Clients that are away count too, whichever shard has them; who is known comes back.
fn no_more_client_ids_are_known_than_allowed(shards: usize) {
    if reference() {
        return;
    }
    let broker = configured(shards, "global_max_clients 3\n");
    let (away, _) = Client::connect_with(&broker, &lasting("away"));
    away.disconnect();
    let _second = Client::connect(&broker, "second");
    let third = Client::connect(&broker, "third");
    assert_eq!(code(&broker, &anonymous("fourth")), Some(3));
    let five = packet5::connect(2, 60, b"", b"fifth", b"");
    let (refused, told) = connack5(&broker, &five);
    assert_eq!(refused, 0x97, "{told:?}");
    let (_away, present) = Client::connect_with(&broker, &lasting("away"));
    assert!(present);
    // A Session that ends makes room.
    third.disconnect();
    let start = std::time::Instant::now();
    while code(&broker, &anonymous("fourth")) != Some(0) {
        assert!(start.elapsed() < DEADLINE, "no room");
        std::thread::sleep(Duration::from_millis(10));
    }
}
