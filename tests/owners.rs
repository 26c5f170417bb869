//! Who a Session belongs to, and what a Client is told when the broker goes or loses patience.

#[path = "support_shard/mod.rs"]
mod support;

use mqttfast::broker::Level;
use mqttfast::config::{ClientIdTakeover, ListenerSettings, Settings};
use mqttfast::ids::ListenerId;
use support::*;

fn with_passwords() -> Settings {
    Settings::with_listener(ListenerSettings {
        anonymous: false,
        passwords: true,
        ..ListenerSettings::default()
    })
}

fn known_users(world: &mut World) {
    world.allow_user("alice", b"secret");
    world.allow_user("bob", b"hidden");
}

/// CONNECT with a user name; the code of CONNACK and Session Present.
#[track_caller]
fn connack(world: &mut World, connect: &Connect, version: Version) -> (Client, u8, bool) {
    let client = world.open(version);
    world.send(client, connect.bytes());
    world.answer_credentials();
    world.settle();
    match world.received(client).first() {
        Some(Packet::ConnAck {
            code,
            session_present,
        }) => (client, *code, *session_present),
        other => panic!("CONNACK expected, not {other:?}"),
    }
}

#[test]
fn a_client_id_belongs_to_the_user_who_made_its_session() {
    each_with(
        &[Version::V311, Version::V5],
        &with_passwords(),
        |world, version| {
            known_users(world);
            let alices = connect(version, "lamp")
                .user(b"alice")
                .password(b"secret")
                .persistent();
            let (alice, code, _) = connack(world, &alices, version);
            assert_eq!(code, 0);
            world.send(alice, subscribe(version, 1, &[("house/#", 1)]));
            world.settle();
            world.received(alice);

            // Another user neither takes the id over nor wipes its session, whichever way he asks.
            for bobs in [
                connect(version, "lamp").user(b"bob").password(b"hidden"),
                connect(version, "lamp")
                    .user(b"bob")
                    .password(b"hidden")
                    .persistent(),
            ] {
                let (bob, code, _) = connack(world, &bobs, version);
                assert_eq!(code, if version == Version::V5 { 0x87 } else { 5 });
                assert!(world.is_closed(bob));
                assert!(world.is_open(alice), "the owner stays connected");
            }
            world.drop_connection(alice);
            let (again, code, present) = connack(world, &alices, version);
            assert_eq!((code, present), (0, true), "the session was not touched");
            world.send(
                again,
                publish("house/door", "open").qos(1, 7).bytes(version),
            );
            world.settle();
            let received = world.received(again);
            assert!(
                received
                    .iter()
                    .filter_map(Packet::message)
                    .any(|m| m.text() == "open"),
                "its subscription is still there: {received:?}"
            );
        },
    );
}

#[test]
fn any_user_may_take_a_client_id_over_where_the_operator_says_so() {
    let settings = Settings::with_listener(ListenerSettings {
        client_id_takeover: ClientIdTakeover::Any,
        ..with_passwords().listeners[0].clone()
    });
    each_with(
        &[Version::V311, Version::V5],
        &settings,
        |world, version| {
            known_users(world);
            let lamp = connect(version, "lamp").persistent();
            let alices = lamp.clone().user(b"alice").password(b"secret");
            let bobs = lamp.user(b"bob").password(b"hidden");
            let (alice, code, present) = connack(world, &alices, version);
            assert_eq!((code, present), (0, false));
            let (bob, code, present) = connack(world, &bobs, version);
            assert_eq!((code, present), (0, true));
            assert!(world.is_closed(alice) && world.is_open(bob));
        },
    );
}

#[test]
fn a_fight_for_a_client_id_is_one_line_that_names_both() {
    each(&[Version::V311, Version::V5], |world, version| {
        for (persistent, client_id) in [(false, "clean"), (true, "kept")] {
            let mut connect = connect(version, client_id);
            if persistent {
                connect = connect.persistent();
            }
            let before = world.log.len();
            let mut last = world.connect(&connect);
            for _ in 0..100 {
                let next = world.connect(&connect);
                assert!(world.is_closed(last) && world.is_open(next));
                last = next;
            }
            let lines = &world.log[before..];
            let (warnings, others): (Vec<_>, Vec<_>) = lines
                .iter()
                .partition(|(level, _)| *level == Level::Warning);
            let [(_, warning)] = warnings[..] else {
                panic!("one warning: {warnings:?}");
            };
            // The first connection, and then two takeovers of two lines each.
            assert_eq!(others.len(), 5, "{others:?}");
            let addresses: Vec<&str> = warning
                .split([' ', ',', ':'])
                .filter(|word| word.parse::<std::net::IpAddr>().is_ok())
                .collect();
            assert!(
                warning.contains(client_id) && addresses.len() == 2 && addresses[0] != addresses[1],
                "{warning}"
            );

            // It is told again while it goes on, and in full after a minute of peace.
            for _ in 0..3 {
                world.advance(30_000);
                last = world.connect(&connect);
            }
            assert_eq!(warnings_of(world, before), 2);
            world.advance(61_000);
            let before = world.log.len();
            world.connect(&connect);
            assert_eq!(warnings_of(world, before), 0);
            assert!(world.log.len() >= before + 2, "{:?}", &world.log[before..]);
            assert!(world.is_closed(last));
        }
    });
}

fn warnings_of(world: &World, from: usize) -> usize {
    let lines = world.log[from..].iter();
    lines.filter(|(level, _)| *level == Level::Warning).count()
}

#[test]
fn wrong_passwords_and_unknown_users_are_refused_and_closed() {
    each_with(
        &[Version::V31, Version::V311, Version::V5],
        &with_passwords(),
        |world, version| {
            known_users(world);
            for (user, password) in [("alice", "wrong"), ("nobody", "secret"), ("alice", "")] {
                let wrong = connect(version, "c")
                    .user(user.as_bytes())
                    .password(password.as_bytes());
                let (client, code, present) = connack(world, &wrong, version);
                assert_eq!(
                    code,
                    if version == Version::V5 { 0x87 } else { 5 },
                    "{user}"
                );
                assert!(!present && world.is_closed(client));
            }
            let (anonymous, code, _) = connack(world, &connect(version, "c"), version);
            assert_eq!(code, if version == Version::V5 { 0x87 } else { 5 });
            assert!(world.is_closed(anonymous));
        },
    );
}

#[test]
fn a_broker_that_stops_says_so_in_5_and_closes_in_all() {
    each(
        &[Version::V31, Version::V311, Version::V5],
        |world, version| {
            let client = world.connect(&connect(version, "c"));
            world.shut_down();
            world.settle();
            assert!(world.is_closed(client));
            let received = world.received(client);
            match version {
                Version::V5 => assert!(
                    matches!(received.as_slice(), [Packet::Disconnect { code: 0x8B }]),
                    "{received:?}"
                ),
                Version::V31 | Version::V311 => assert!(received.is_empty(), "{received:?}"),
            }
        },
    );
}

#[test]
fn who_does_not_connect_in_time_is_closed() {
    each(&[Version::V311], |world, version| {
        let silent = world.open(version);
        let slow = world.open(version);
        world.send(slow, &connect(version, "slow").bytes()[..7]);
        let quick = world.connect(&connect(version, "quick").keep_alive(0));
        world.advance(9_000);
        assert!(world.is_open(silent) && world.is_open(slow));
        world.advance(3_000);
        assert!(world.is_closed(silent) && world.is_closed(slow));
        assert!(world.is_open(quick));
    });
}

#[test]
fn who_pinged_while_the_broker_was_stopped_is_not_silent() {
    each(&[Version::V311, Version::V5], |world, version| {
        let pinging = world.connect(&connect(version, "pinging").keep_alive(2));
        let silent = world.connect(&connect(version, "silent").keep_alive(2));
        // Nobody ran for an hour; the first thing seen then is the time.
        world.stop_for(3_600_000);
        assert!(world.is_open(pinging) && world.is_open(silent));
        world.send(pinging, pingreq());
        world.advance(2_500);
        assert!(world.is_open(pinging) && world.is_closed(silent));
    });
}

/// Each connection lives by the rules of the listener it came in by, on its Session's home shard too.
#[test]
fn every_listener_has_its_own_rules() {
    let users_only = with_passwords().listeners[0].clone();
    let small_packets = ListenerSettings {
        client_id_takeover: ClientIdTakeover::Any,
        packet_bytes_max: 1000,
        ..ListenerSettings::default()
    };
    let (inner, outer) = (ListenerId(0), ListenerId(1));
    for shards in 1..=3 {
        for accepting in 0..shards {
            let settings = Settings {
                listeners: [users_only.clone(), small_packets.clone()].into(),
                ..Settings::default()
            };
            let world = &mut World::with(shards, Order::Fair, settings);
            known_users(world);
            let version = Version::V311;
            let come = |world: &mut World, listener, connect: Connect| {
                let client = world.open_by(listener, accepting, version);
                world.send(client, connect.bytes());
                world.answer_credentials();
                world.settle();
                match world.received(client).first() {
                    Some(Packet::ConnAck { code, .. }) => (client, *code),
                    other => panic!("CONNACK expected, not {other:?}"),
                }
            };
            let anonymous = connect(version, "lamp");
            let alices = connect(version, "lamp").user(b"alice").password(b"secret");
            assert_eq!(come(world, inner, anonymous.clone()).1, 5);
            let (alice, code) = come(world, inner, alices);
            assert_eq!(code, 0);
            let large = publish("t", [b'x'; 2000]).bytes(version);
            world.send(alice, large.clone());
            world.settle();
            assert!(
                world.is_open(alice),
                "the inner listener takes large packets"
            );

            // Whoever comes by the outer one is not asked for a name, and may take over what others have begun.
            let (guest, code) = come(world, outer, anonymous);
            assert_eq!(code, 0);
            assert!(!world.is_open(alice), "her client id was taken over");
            world.send(guest, large);
            world.settle();
            assert!(
                !world.is_open(guest),
                "the outer listener takes small packets"
            );
        }
    }
}
