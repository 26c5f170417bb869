//! Who a Session belongs to, and what a Client is told when the broker goes or loses patience.

#[path = "support_shard/mod.rs"]
mod support;

use mqttfast::config::Settings;
use support::*;

fn with_passwords() -> Settings {
    Settings {
        anonymous: false,
        passwords: true,
        ..Settings::default()
    }
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
