//! A connection ends while its SUBACK waits for other shards: the answer it is owed comes before the close, in
//! every order in which lanes can deliver. [v3.1.1 MQTT-3.8.4-1, v5 MQTT-3.8.4-1]

use crate::*;

/// How the connection of a Client that has just subscribed ends.
#[derive(Clone, Copy, PartialEq, Debug)]
enum End {
    Disconnect,
    Mistake,
    Takeover,
}

/// SUBSCRIBE, and in the same read what ends the connection.
fn last_bytes(version: Version, filter: &str, end: End) -> Vec<u8> {
    let mut bytes = subscribe(version, 1, &[(filter, 1)]);
    match end {
        End::Disconnect => {
            bytes.extend(disconnect());
            // Behind its end a Client says nothing.
            bytes.extend(publish("t", "behind").qos(1, 9).bytes(version));
        }
        End::Mistake => bytes.extend([0x00, 0x00]),
        End::Takeover => {}
    }
    bytes
}

#[track_caller]
fn answered_and_closed(world: &World, client: Client, version: Version, code: Option<u8>) {
    let codes = vec![1];
    let mut expected = vec![Packet::SubAck {
        packet_id: 1,
        codes,
    }];
    if let (Some(code), Version::V5) = (code, version) {
        expected.push(Packet::Disconnect { code });
    }
    assert_eq!(world.history(client)[1..], expected, "behind CONNACK");
}

#[test]
fn suback_comes_before_the_close() {
    for (shards, filter) in [(2, "t"), (3, "t"), (2, "$share/g/t"), (3, "$share/h/t")] {
        let (ids_c, ids_w) = (ids(shards, "c"), ids(shards, "w"));
        for version in [Version::V311, Version::V5] {
            for end in [End::Disconnect, End::Mistake, End::Takeover] {
                for (home, id) in ids_c.iter().enumerate() {
                    explore(
                        version,
                        200_000,
                        |version| {
                            let mut world = World::new(shards);
                            let watcher = world.connect(&connect(version, &ids_w[0]));
                            world.subscribe(watcher, "#", 0);
                            let id = connect(version, id).will("will", "x", 0, false);
                            let client = world.connect(&id);
                            let mut scripts =
                                vec![vec![send(client, last_bytes(version, filter, end))]];
                            if end == End::Takeover {
                                let other = world.open_at(home, version);
                                scripts.push(vec![send(other, id.bytes())]);
                            }
                            (world, scripts, (watcher, client))
                        },
                        |world, (watcher, client)| {
                            world.settle();
                            assert!(world.is_closed(client), "still open");
                            let wills = texts_so_far(world, watcher);
                            match end {
                                End::Disconnect => {
                                    answered_and_closed(world, client, version, None);
                                    assert!(wills.is_empty(), "{wills:?}");
                                }
                                End::Mistake => {
                                    answered_and_closed(world, client, version, Some(0x81));
                                    assert_eq!(wills, ["x"]);
                                }
                                // SUBSCRIBE may not have been read when the other came.
                                End::Takeover if world.history(client).iter().any(is_suback) => {
                                    answered_and_closed(world, client, version, Some(0x8e));
                                    assert_eq!(wills, ["x"]);
                                }
                                End::Takeover => assert_eq!(wills, ["x"]),
                            }
                            world.drop_connection(watcher);
                            if end == End::Takeover {
                                world.drop_connection(Client(client.0 + 1));
                            }
                            world.settle();
                            world.advance(3_000);
                            for shard in 0..shards {
                                assert_eq!(world.shard(shard).sizes(), (0, 0, 0, 0));
                                assert_eq!(world.shard(shard).leftovers(), []);
                            }
                        },
                    );
                }
            }
        }
    }
}

#[test]
fn a_session_that_goes_on_has_what_it_was_granted() {
    let (ids_c, ids_p) = (ids(2, "c"), ids(2, "p"));
    for version in [Version::V311, Version::V5] {
        explore(
            version,
            200_000,
            |version| {
                let mut world = World::new(2);
                let publisher = world.connect(&connect(version, &ids_p[1]));
                world.publish(publisher, &publish("t", "kept").qos(1, 5).retain());
                world.received(publisher);
                let id = connect(version, &ids_c[0]).persistent();
                let client = world.connect(&id);
                let scripts = vec![
                    vec![send(client, last_bytes(version, "t", End::Disconnect))],
                    vec![
                        send(publisher, publish("t", "live").qos(1, 6).bytes(version))
                            .after(client, 1, is_suback),
                    ],
                ];
                (world, scripts, (client, id))
            },
            |world, (client, id)| {
                world.settle();
                answered_and_closed(world, client, version, None);
                let client = world.connect(&id);
                world.acknowledge_at_once(client);
                world.settle();
                let mut texts = texts_so_far(world, client);
                texts.sort();
                assert_eq!(texts, ["kept", "live"]);
            },
        );
    }
}

#[test]
fn a_shard_that_does_not_answer_holds_nobody_for_long() {
    let id = &ids(2, "c")[0];
    for version in [Version::V311, Version::V5] {
        let mut world = World::new(2);
        let client = world.connect(&connect(version, id));
        world.lanes_held = true;
        world.send(client, last_bytes(version, "t", End::Mistake));
        assert!(world.is_open(client), "its answer may still come");
        world.advance(3_000);
        assert!(world.is_closed(client));
        // It was not granted, so it is not said to be.
        assert!(!world.history(client).iter().any(is_suback));
        world.lanes_held = false;
        world.settle();
        assert_eq!(world.shard(0).leftovers(), []);
    }
}

#[test]
fn a_peer_that_goes_first_leaves_nothing_behind() {
    let id = &ids(2, "c")[0];
    let mut world = World::new(2);
    let client = world.connect(&connect(V, id));
    world.lanes_held = true;
    world.send(client, last_bytes(V, "t", End::Disconnect));
    world.reset_connection(client);
    world.lanes_held = false;
    world.settle();
    for shard in 0..2 {
        assert_eq!(world.shard(shard).sizes(), (0, 0, 0, 0));
        assert_eq!(world.shard(shard).leftovers(), []);
    }
}

#[test]
fn at_shutdown_it_is_answered_too() {
    let id = &ids(2, "c")[0];
    for version in [Version::V311, Version::V5] {
        for end in [End::Takeover, End::Disconnect] {
            let mut world = World::new(2);
            let client = world.connect(&connect(version, id));
            world.lanes_held = true;
            world.send(client, last_bytes(version, "t", end));
            world.shut_down();
            assert!(world.is_closed(client));
            let code = (end == End::Takeover).then_some(0x8b);
            answered_and_closed(&world, client, version, code);
        }
    }
}

/// What comes behind CONNECT is read when the turn ends, and reading goes on then; but not where it has ended the
/// connection.
#[test]
fn nothing_more_is_read_where_the_bytes_behind_connect_end_it() {
    for version in [Version::V311, Version::V5] {
        for (home, id) in ids(2, "c").iter().enumerate() {
            let mut world = World::new(2);
            world.lanes_held = true;
            let client = world.open_at(home, version);
            let mut bytes = connect(version, id).bytes();
            bytes.extend(last_bytes(version, "t", End::Disconnect));
            world.send(client, bytes);
            assert!(world.is_over(client), "its SUBACK waits");
            assert!(!world.is_read(client), "reading is off");
            world.lanes_held = false;
            world.settle();
            answered_and_closed(&world, client, version, None);
            assert!(world.is_closed(client));
        }
    }
}
