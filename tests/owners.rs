//! Who a Session belongs to, and what a Client is told when the broker goes or loses patience.

use mqttfast_rig::shard as support;

use mqttfast::broker::{LogLevel, Restored, RestoredPart, RestoredSession};
use mqttfast::config::{ClientIdTakeover, ListenerSettings, Settings};
use mqttfast::ids::{ListenerId, StoredSession};
use mqttfast::limits;
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
                .partition(|(level, _)| *level == LogLevel::Warning);
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
    lines
        .filter(|(level, _)| *level == LogLevel::Warning)
        .count()
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
// Users who are gone

fn all_shards(world: &World) -> Vec<usize> {
    (0..world.shards()).collect()
}

#[test]
fn sessions_of_a_user_who_is_gone_end() {
    each_with(
        &[Version::V311, Version::V5],
        &with_passwords(),
        |world, version| {
            known_users(world);
            let alices = |id: &str| {
                let connect = connect(version, id).user(b"alice").password(b"secret");
                connect.persistent()
            };
            let bobs = |id: &str| {
                let connect = connect(version, id).user(b"bob").password(b"hidden");
                connect.persistent()
            };
            let (watcher, _, _) = connack(world, &bobs("watcher"), version);
            world.subscribe(watcher, "will/#", 0);
            let here = alices("here").will("will/here", "gone", 0, false);
            let (here, _, _) = connack(world, &here, version);
            world.subscribe(here, "t", 1);
            for connect in [alices("absent"), bobs("other")] {
                let (client, _, _) = connack(world, &connect, version);
                world.subscribe(client, "t", 1);
                world.drop_connection(client);
            }
            world.settle();
            world.received(here);

            world.delete_user("alice", &all_shards(world));
            world.settle();
            assert!(world.is_closed(here) && world.is_open(watcher));
            let told = world.received(here);
            match version {
                Version::V5 => assert!(matches!(told[..], [Packet::Disconnect { code: 0x98 }])),
                Version::V31 | Version::V311 => assert!(told.is_empty(), "{told:?}"),
            }
            // It did not say DISCONNECT. [v3.1.1 MQTT-3.1.2-8, v5 MQTT-3.1.2-8]
            let wills = world.received(watcher);
            assert!(
                wills
                    .iter()
                    .filter_map(Packet::message)
                    .any(|m| m.text() == "gone")
            );
            let sessions: usize = (0..world.shards()).map(|n| world.shard(n).sizes().1).sum();
            assert_eq!(sessions, 2, "those of bob");
            assert!(
                world
                    .log
                    .iter()
                    .any(|(_, line)| line.contains("closed here")
                        && line.contains("user alice is gone from the password file"))
            );

            // A login under a new name has the ids at once, and bob's are his as before.
            world.allow_user("alicia", b"secret");
            for id in ["here", "absent"] {
                let connect = connect(version, id).user(b"alicia").password(b"secret");
                let (_, code, present) = connack(world, &connect.persistent(), version);
                assert_eq!((code, present), (0, false));
            }
            let (_, code, present) = connack(world, &bobs("other"), version);
            assert_eq!((code, present), (0, true));
        },
    );
}

/// Two hundred in a turn at most; and a client id that the walk has not come to is free at once.
#[test]
fn thousands_of_sessions_end_in_parts_and_none_is_found_meanwhile() {
    const SESSIONS: usize = 5000;
    let mut world = World::with(1, Order::Fair, with_passwords());
    world.unchecked = true;
    known_users(&mut world);
    let alices = |number: usize| {
        let connect = connect(Version::V311, &format!("c{number}")).persistent();
        connect.user(b"alice").password(b"secret")
    };
    for number in 0..SESSIONS - 1 {
        let client = world.connect(&alices(number));
        world.drop_connection(client);
    }
    let last = world.connect(&alices(SESSIONS - 1));
    world.settle();
    // Alice is let in again by a later file, and bob takes an id, while the walk is under way: their verdicts come in
    // its second turn.
    let bobs = connect(Version::V311, &format!("c{}", SESSIONS - 2)).persistent();
    let bobs = bobs.user(b"bob").password(b"hidden");
    world.verdicts_held = true;
    let newcomers = [alices(SESSIONS - 1), bobs].map(|connect| {
        let client = world.open(Version::V311);
        world.send(client, connect.bytes());
        client
    });
    // Told, and not one turn more: one flush follows.
    world.delete_user("alice", &[0]);
    let left = world.shard(0).sizes().1;
    assert_eq!(left, SESSIONS - limits::GONE_SESSIONS_AT_ONCE as usize);
    // Neither finds the old Session, and the walk leaves the new ones alone.
    world.answer_credentials();
    assert!(world.is_closed(last));
    for client in newcomers {
        let connack = world.received(client);
        let Some(Packet::ConnAck {
            code,
            session_present,
        }) = connack.first()
        else {
            panic!("CONNACK expected, not {connack:?}");
        };
        assert_eq!((*code, *session_present), (0, false));
        assert!(world.is_open(client));
    }
    assert_eq!(world.shard(0).sizes().1, 2);
    world.shard(0).check_invariants();
    let text = "sessions of users who are gone from the password file ended: ";
    let ended: Vec<_> = world
        .log
        .iter()
        .filter_map(|(_, line)| line.split_once(text))
        .collect();
    // All but the two that were ended for the newcomers.
    assert!(matches!(ended[..], [(_, "4998")]), "{ended:?}");
}

/// The verdict came before the user was gone, and the connection comes home after: its password is checked again there.
#[test]
fn a_connection_handed_over_is_checked_again_when_users_have_gone() {
    for is_alice_gone in [true, false] {
        let mut world = World::with(2, Order::Fair, with_passwords());
        known_users(&mut world);
        world.lanes_held = true;
        let mut on_the_way = Vec::new();
        for number in 0..8 {
            let client = world.open_at(0, Version::V5);
            let connect = connect(Version::V5, &format!("c{number}")).persistent();
            world.send(client, connect.user(b"alice").password(b"secret").bytes());
            world.settle();
            if world.received(client).is_empty() {
                on_the_way.push(client);
            }
        }
        assert!(
            !on_the_way.is_empty(),
            "some are at home on the other shard"
        );
        let gone = if is_alice_gone { "alice" } else { "bob" };
        world.delete_user(gone, &[1, 0]);
        world.lanes_held = false;
        world.settle();
        for client in on_the_way {
            let code = match world.received(client).first() {
                Some(Packet::ConnAck { code, .. }) => *code,
                other => panic!("CONNACK expected, not {other:?}"),
            };
            assert_eq!(code, if is_alice_gone { 0x87 } else { 0 });
            assert_eq!(world.is_open(client), !is_alice_gone);
        }
        let sessions = world.shard(0).sizes().1 + world.shard(1).sizes().1;
        assert_eq!(sessions, if is_alice_gone { 0 } else { 8 });
    }
}

/// A user is deleted and comes back with the next file. She may be let in by a shard that knows of both before her
/// home has heard of the first: the Session that begins there is none of those that are to end.
#[test]
fn who_came_back_before_her_home_heard_that_she_was_gone_stays() {
    let mut world = World::with(2, Order::Fair, with_passwords());
    known_users(&mut world);
    world.delete_user("alice", &[0]);
    world.allow_user("alice", b"secret");
    let clients: Vec<Client> = (0..8)
        .map(|number| {
            let client = world.open_at(0, Version::V5);
            let connect = connect(Version::V5, &format!("c{number}")).persistent();
            world.send(client, connect.user(b"alice").password(b"secret").bytes());
            client
        })
        .collect();
    assert!(
        clients.iter().any(|client| world.place(*client) == Some(1)),
        "some are at home on the other shard"
    );
    world.delete_user("alice", &[1]);
    world.settle();
    assert!(clients.iter().all(|client| world.is_open(*client)));
    assert_eq!(
        world.shard(0).sizes().1 + world.shard(1).sizes().1,
        clients.len()
    );
}

/// A name that nobody checked is not a user's: it neither makes a Session hers nor ends it with her.
#[test]
fn a_name_that_was_not_checked_does_not_end_with_its_user() {
    let open = ListenerSettings::default();
    let settings = Settings {
        listeners: [with_passwords().listeners[0].clone(), open].into(),
        ..Settings::default()
    };
    let mut world = World::with(1, Order::Fair, settings);
    known_users(&mut world);
    let guest = world.open_by(ListenerId(1), 0, Version::V311);
    let connect = connect(Version::V311, "guest").persistent();
    let connect = connect.user(b"alice").password(b"anything");
    world.send(guest, connect.bytes());
    assert_eq!(world.received(guest).len(), 1);
    world.delete_user("alice", &[0]);
    world.settle();
    assert!(world.is_open(guest));
    assert_eq!(world.shard(0).sizes().1, 1);
}

/// A stranger learns neither who is in the password file nor whose a client id is; the log does, and says what the
/// operator can do.
#[test]
fn a_refusal_tells_the_log_more_than_the_client() {
    let mut world = World::with(1, Order::Fair, with_passwords());
    known_users(&mut world);
    let connect = |user: &str, password: &str| {
        let connect = connect(Version::V5, "lamp").persistent();
        connect.user(user.as_bytes()).password(password.as_bytes())
    };
    let mut refused = |user: &str, password: &str| {
        let client = world.open(Version::V5);
        world.send(client, connect(user, password).bytes());
        world.settle();
        let line = world.log.last().expect("a line").1.clone();
        (world.raw(client), line)
    };
    let (unknown, line) = refused("nobody", "secret");
    assert!(
        line.contains("its user is not in the password file"),
        "{line}"
    );
    let (wrong, line) = refused("alice", "wrong");
    assert!(line.contains(": wrong password ("), "{line}");
    assert_eq!(unknown, wrong);
    refused("alice", "secret");
    let (owned, line) = refused("bob", "hidden");
    assert!(line.contains("--client-id-takeover any"), "{line}");
    let told = String::from_utf8_lossy(&owned);
    assert!(
        told.contains("another user") && !told.contains("alice"),
        "{told}"
    );
}

/// The owner of a Session that Mosquitto has kept is only said to be one: another user is not locked out, and does not
/// get its messages; the owner does.
#[test]
fn an_owner_by_the_file_of_mosquitto_locks_nobody_out() {
    for (user, password, resumed) in [("alice", "secret", true), ("bob", "hidden", false)] {
        let settings = Settings {
            store: true,
            ..with_passwords()
        };
        let mut world = World::with(1, Order::Fair, settings);
        known_users(&mut world);
        let session = RestoredSession {
            session: StoredSession::from_number(64).expect("a number"),
            client_id: "lamp".into(),
            user_name: Some("alice".into()),
            is_claim: true,
            expiry_interval_s: u32::MAX,
            ends_in_s: u32::MAX,
            will: None,
        };
        world.restore_all(vec![vec![Restored {
            parts: vec![RestoredPart::Session(session)],
            last: true,
        }]]);
        let connect = connect(Version::V311, "lamp")
            .user(user.as_bytes())
            .password(password.as_bytes())
            .persistent();
        let (_, code, present) = connack(&mut world, &connect, Version::V311);
        assert_eq!((code, present), (0, resumed), "{user}");
        let told = |(_, text): &&(LogLevel, String)| text.contains("belongs to another user than");
        assert_eq!(world.log.iter().filter(told).count(), usize::from(!resumed));
        assert_eq!(world.shard(0).sizes().1, 1);
        world.shard(0).check_invariants();
    }
}
