//! Races between shards. Small cases run in every order in which lanes can deliver and Clients can act (`explore`); larger ones in
//! many seeded orders. A wrong answer here would show only now and then on real cores.

#[path = "support_shard/mod.rs"]
mod support;

use std::collections::BTreeMap;
use support::explore::*;
use support::*;

const V: Version = Version::V311;

/// A client id whose Session lives on each shard.
fn ids(shards: usize, name: &str) -> Vec<String> {
    let mut found = vec![None; shards];
    let mut world = World::new(shards);
    for number in 0..1000 {
        let id = format!("{name}-{number}");
        let client = world.connect(&connect(V, &id));
        let home = world.place(client).expect("it is connected");
        found[home].get_or_insert(id);
        world.disconnect(client);
        if found.iter().all(Option::is_some) {
            break;
        }
    }
    found
        .into_iter()
        .map(|id| id.expect("an id for each shard"))
        .collect()
}

fn texts_so_far(world: &World, client: Client) -> Vec<String> {
    world
        .history(client)
        .iter()
        .filter_map(Packet::message)
        .map(Message::text)
        .collect()
}

/// Checks that a message published now reaches the Client, once.
#[track_caller]
fn reached_by(world: &mut World, publisher: Client, subscriber: Client, topic: &str) {
    world.received(subscriber);
    world.publish(publisher, &publish(topic, "probe").qos(1, 9));
    assert_eq!(world.texts(subscriber), ["probe"]);
}

#[test]
fn after_suback_no_message_is_lost() {
    for shards in [2, 3] {
        let (ids_s, ids_p) = (ids(shards, "s"), ids(shards, "p"));
        for (home_s, home_p) in [(0, 1), (1, 0), (shards - 1, 0), (0, 0)] {
            let orders = explore(
                V,
                200_000,
                |version| {
                    let mut world = World::new(shards);
                    let subscriber = world.connect(&connect(version, &ids_s[home_s]));
                    let publisher = world.connect(&connect(version, &ids_p[home_p]));
                    let scripts = vec![
                        vec![send(subscriber, subscribe(version, 1, &[("a/+", 1)]))],
                        vec![
                            send(publisher, publish("a/b", "1").qos(1, 1).bytes(version)),
                            send(publisher, publish("a/b", "2").qos(1, 2).bytes(version))
                                .after(subscriber, 1, is_suback),
                            send(publisher, publish("a/b", "3").qos(1, 3).bytes(version)),
                        ],
                    ];
                    (world, scripts, (subscriber, publisher))
                },
                |world, (subscriber, publisher)| {
                    world.settle();
                    let texts = texts_so_far(world, subscriber);
                    let all: &[&str] = &["1", "2", "3"];
                    assert!(texts == all || texts == all[1..], "{texts:?}");
                    let acknowledged = world.received(publisher).len();
                    assert_eq!(acknowledged, 3, "PUBACKs");
                },
            );
            println!("{shards} shards, homes {home_s} and {home_p}: {orders} orders");
        }
    }
}

#[test]
fn two_subscribers_of_one_filter_on_one_shard() {
    // The second finds the filter in the trie, although the peers may not have it in force yet.
    let ids_a = ids(2, "a");
    let ids_b = ids(2, "b");
    let orders = explore(
        V,
        200_000,
        |version| {
            let mut world = World::new(2);
            let first = world.connect(&connect(version, &ids_a[0]));
            let second = world.connect(&connect(version, &ids_b[0]));
            let publisher = world.connect(&connect(version, &ids_a[1]));
            let scripts = vec![
                vec![send(first, subscribe(version, 1, &[("t", 1)]))],
                vec![send(second, subscribe(version, 1, &[("t", 1)]))],
                vec![
                    send(publisher, publish("t", "1").qos(1, 1).bytes(version))
                        .after(second, 1, is_suback),
                ],
            ];
            (world, scripts, second)
        },
        |world, second| {
            world.settle();
            assert_eq!(texts_so_far(world, second), ["1"]);
        },
    );
    println!("{orders} orders");
}

#[test]
fn unsubscribe_and_subscribe_again() {
    for shards in [2, 3] {
        let ids_s = ids(shards, "s");
        let ids_p = ids(shards, "p");
        let orders = explore(
            V,
            200_000,
            |version| {
                let mut world = World::new(shards);
                let subscriber = world.connect(&connect(version, &ids_s[0]));
                let publisher = world.connect(&connect(version, &ids_p[1]));
                let scripts = vec![
                    vec![
                        send(subscriber, subscribe(version, 1, &[("t/#", 1)])),
                        send(subscriber, unsubscribe(version, 2, &["t/#"])),
                        send(subscriber, subscribe(version, 3, &[("t/#", 1)])),
                    ],
                    vec![
                        send(publisher, publish("t/x", "any").qos(1, 1).bytes(version)),
                        send(publisher, publish("t/x", "must").qos(1, 2).bytes(version))
                            .after(subscriber, 2, is_suback),
                    ],
                ];
                (world, scripts, (subscriber, publisher))
            },
            |world, (subscriber, publisher)| {
                world.settle();
                let texts = texts_so_far(world, subscriber);
                assert_eq!(texts.last().map(String::as_str), Some("must"), "{texts:?}");
                assert!(texts.len() <= 2);
                let subacks = world
                    .history(subscriber)
                    .iter()
                    .filter(|packet| is_suback(packet))
                    .count();
                assert_eq!(subacks, 2, "each SUBSCRIBE is answered once");
                reached_by(world, publisher, subscriber, "t/y");
                // Without the subscription nothing crosses any more.
                world.unsubscribe(subscriber, "t/#");
                let crossed = world.publishes_in_lanes;
                world.publish(publisher, &publish("t/x", "x").qos(1, 3));
                assert_eq!(
                    world.publishes_in_lanes, crossed,
                    "the filter is still known elsewhere"
                );
                assert_eq!(world.messages(subscriber), []);
            },
        );
        println!("{shards} shards: {orders} orders");
    }
}

#[test]
fn one_leaves_as_another_comes() {
    let ids_a = ids(2, "a");
    let ids_b = ids(2, "b");
    let orders = explore(
        V,
        200_000,
        |version| {
            let mut world = World::new(2);
            let leaving = world.connect(&connect(version, &ids_a[0]));
            world.subscribe(leaving, "t", 1);
            let coming = world.connect(&connect(version, &ids_b[0]));
            let publisher = world.connect(&connect(version, &ids_a[1]));
            let scripts = vec![
                vec![send(leaving, unsubscribe(version, 1, &["t"])), cut(leaving)],
                vec![send(coming, subscribe(version, 2, &[("t", 1)]))],
                vec![
                    send(publisher, publish("t", "any").qos(1, 1).bytes(version)),
                    send(publisher, publish("t", "must").qos(1, 2).bytes(version))
                        .after(coming, 1, is_suback),
                ],
            ];
            (world, scripts, (coming, publisher))
        },
        |world, (coming, publisher)| {
            world.settle();
            let texts = texts_so_far(world, coming);
            assert_eq!(texts.last().map(String::as_str), Some("must"), "{texts:?}");
            reached_by(world, publisher, coming, "t");
        },
    );
    println!("{orders} orders");
}

#[test]
fn same_filter_on_two_shards() {
    let ids_s = ids(3, "s");
    let ids_p = ids(3, "p");
    let orders = explore(
        V,
        200_000,
        |version| {
            let mut world = World::new(3);
            let first = world.connect(&connect(version, &ids_s[0]));
            let second = world.connect(&connect(version, &ids_s[1]));
            let publisher = world.connect(&connect(version, &ids_p[2]));
            let scripts = vec![
                vec![
                    send(first, subscribe(version, 1, &[("t", 1)])),
                    send(first, unsubscribe(version, 2, &["t"])),
                ],
                vec![send(second, subscribe(version, 1, &[("t", 1)]))],
                vec![
                    send(publisher, publish("t", "must").qos(1, 1).bytes(version))
                        .after(second, 1, is_suback),
                ],
            ];
            (world, scripts, (first, second, publisher))
        },
        |world, (first, second, publisher)| {
            world.settle();
            assert_eq!(texts_so_far(world, second), ["must"]);
            reached_by(world, publisher, second, "t");
            world.received(first);
            world.publish(publisher, &publish("t", "x").qos(1, 7));
            assert_eq!(world.messages(first), []);
        },
    );
    println!("{orders} orders");
}

/// Nothing is left to do later: no shard holds marks of deleted retained messages, for which it would wake up once a second.
#[track_caller]
fn at_rest(world: &World) {
    for shard in 0..world.shards() {
        assert_eq!(
            world.shard(shard).next_deadline(),
            None,
            "shard {shard} waits for something"
        );
    }
}

/// What a new subscriber on each shard finds retained.
fn retained_everywhere(world: &mut World, topic: &str) -> Vec<Option<String>> {
    let shards = world.shards();
    ids(shards, "reader")
        .iter()
        .map(|id| {
            let reader = world.connect(&connect(V, id));
            world.subscribe(reader, topic, 1);
            let texts = world.texts(reader);
            world.disconnect(reader);
            assert!(texts.len() <= 1, "{texts:?}");
            texts.into_iter().next()
        })
        .collect()
}

#[test]
fn retained_writes_of_two_shards_converge() {
    let retained =
        |payload: &str, packet_id| publish("t", payload).qos(1, packet_id).retain().bytes(V);
    for shards in [2, 3] {
        let ids_p = ids(shards, "p");
        let orders = explore(
            V,
            400_000,
            |version| {
                let mut world = World::new(shards);
                let first = world.connect(&connect(version, &ids_p[0]));
                let second = world.connect(&connect(version, &ids_p[1]));
                let scripts = if shards == 2 {
                    vec![
                        vec![
                            send(first, retained("1", 1)),
                            send(first, retained("", 2)),
                            send(first, retained("2", 3)),
                        ],
                        vec![
                            send(second, retained("3", 1)),
                            send(second, retained("", 2)),
                        ],
                    ]
                } else {
                    vec![
                        vec![send(first, retained("1", 1)), send(first, retained("", 2))],
                        vec![send(second, retained("3", 1))],
                    ]
                };
                (world, scripts, (first, second))
            },
            |world, (first, second)| {
                world.settle();
                let found = retained_everywhere(world, "t");
                assert!(found.iter().all(|value| *value == found[0]), "{found:?}");
                // A write after all that wins everywhere, whoever makes it.
                world.publish(second, &publish("t", "later").qos(1, 9).retain());
                assert!(
                    retained_everywhere(world, "t")
                        .iter()
                        .all(|value| value.as_deref() == Some("later"))
                );
                world.publish(first, &publish("t", "").qos(1, 9).retain());
                assert!(retained_everywhere(world, "t").iter().all(Option::is_none));
                // And the marks of what was deleted do not stay.
                world.advance(20_000);
                at_rest(world);
                for shard in 0..shards {
                    assert_eq!(
                        world.shard(shard).sizes().3,
                        0,
                        "retained messages of shard {shard}"
                    );
                }
                assert!(retained_everywhere(world, "t").iter().all(Option::is_none));
            },
        );
        println!("{shards} shards: {orders} orders");
    }
}

#[test]
fn the_last_write_wins_whoever_wrote_more_often() {
    for shards in [2, 4] {
        let ids_p = ids(shards, "p");
        for (often, last) in [(0, 1), (1, 0)] {
            let mut world = World::new(shards);
            let busy = world.connect(&connect(V, &ids_p[often]));
            for number in 0..10 {
                world.publish(busy, &publish("t", number.to_string()).retain());
            }
            let quiet = world.connect(&connect(V, &ids_p[last]));
            world.publish(quiet, &publish("t", "last").retain());
            for found in retained_everywhere(&mut world, "t") {
                assert_eq!(found.as_deref(), Some("last"));
            }
            world.publish(busy, &publish("u", "x").retain());
            world.publish(quiet, &publish("t", "").retain());
            assert!(
                retained_everywhere(&mut world, "t")
                    .iter()
                    .all(Option::is_none)
            );
        }
    }
}

#[test]
fn deletion_marks_vanish_under_writes() {
    let ids_p = ids(4, "p");
    for seed in 0..20 {
        let mut world = World::with(4, Order::Seeded(seed), Default::default());
        let publishers: Vec<Client> = ids_p
            .iter()
            .map(|id| world.connect(&connect(V, id)))
            .collect();
        let mut random = Random::new(seed);
        for _ in 0..100 {
            let publisher = publishers[random.below(4)];
            let topic = format!("t/{}", random.below(5));
            let payload = if random.below(2) == 0 { "" } else { "x" };
            world.publish(publisher, &publish(&topic, payload).retain());
            if random.below(10) == 0 {
                world.advance(700);
            }
        }
        world.advance(20_000);
        let sizes: Vec<usize> = (0..4).map(|shard| world.shard(shard).sizes().3).collect();
        assert!(sizes.iter().all(|size| *size == sizes[0]), "{sizes:?}");
        at_rest(&world);
    }
}

#[test]
fn an_old_write_does_not_undo_a_deletion() {
    // The write of shard 1 is under way while shard 0 deletes; whatever the order, all shards agree, also after the marks have gone.
    let ids_p = ids(3, "p");
    let orders = explore(
        V,
        400_000,
        |version| {
            let mut world = World::new(3);
            let first = world.connect(&connect(version, &ids_p[0]));
            let second = world.connect(&connect(version, &ids_p[1]));
            world.publish(first, &publish("t", "0").qos(1, 1).retain());
            let scripts = vec![
                vec![send(
                    first,
                    publish("t", "").qos(1, 2).retain().bytes(version),
                )],
                vec![send(
                    second,
                    publish("t", "1").qos(1, 1).retain().bytes(version),
                )],
            ];
            (world, scripts, ())
        },
        |world, ()| {
            world.settle();
            let before = retained_everywhere(world, "t");
            assert!(before.iter().all(|value| *value == before[0]), "{before:?}");
            world.advance(10_000);
            assert_eq!(retained_everywhere(world, "t"), before);
        },
    );
    println!("{orders} orders");
}

#[test]
fn no_older_retained_message_after_a_newer_one() {
    for (shards, home_s) in [(2, 0), (3, 2)] {
        let ids_s = ids(shards, "s");
        let ids_p = ids(shards, "p");
        let orders = explore(
            V,
            400_000,
            |version| {
                let mut world = World::new(shards);
                let publisher = world.connect(&connect(version, &ids_p[1]));
                world.publish(publisher, &publish("t", "1").qos(1, 1).retain());
                let subscriber = world.connect(&connect(version, &ids_s[home_s]));
                let scripts = vec![
                    vec![send(subscriber, subscribe(version, 1, &[("t", 1)]))],
                    vec![
                        send(
                            publisher,
                            publish("t", "2").qos(1, 2).retain().bytes(version),
                        ),
                        send(
                            publisher,
                            publish("t", "3").qos(1, 3).retain().bytes(version),
                        ),
                    ],
                ];
                (world, scripts, subscriber)
            },
            |world, subscriber| {
                world.settle();
                let texts = texts_so_far(world, subscriber);
                assert!(
                    texts.is_sorted(),
                    "an older one after a newer one: {texts:?}"
                );
                assert_eq!(texts.last().map(String::as_str), Some("3"), "{texts:?}");
            },
        );
        println!("{shards} shards: {orders} orders");
    }
}

#[test]
fn no_older_retained_message_after_a_newer_one_in_a_full_window() {
    // The subscriber acknowledges late, so live messages queue up before the replay of another SUBSCRIBE.
    for seed in 0..60 {
        let ids_s = ids(2, "s");
        let ids_p = ids(2, "p");
        let mut world = World::with(2, Order::Seeded(seed), Default::default());
        let publisher = world.connect(&connect(V, &ids_p[1]));
        let subscriber = world.connect(&connect(V, &ids_s[0]));
        world.subscribe(subscriber, "t/0", 1);
        let mut random = Random::new(seed);
        let mut seen: BTreeMap<String, Vec<u32>> = BTreeMap::new();
        for number in 0..200_u16 {
            let topic = format!("t/{}", number % 3);
            let message = publish(&topic, number.to_string())
                .qos(1, number + 1)
                .retain();
            world.publish(publisher, &message);
            if random.below(12) == 0 {
                world.send(
                    subscriber,
                    subscribe(V, 1000 + number, &[("t/+", (seed % 2) as u8)]),
                );
            }
            if random.below(30) == 0 {
                for message in world.messages(subscriber) {
                    seen.entry(message.topic.clone())
                        .or_default()
                        .push(message.text().parse().expect("a number"));
                }
            }
        }
        for message in world.messages(subscriber) {
            seen.entry(message.topic.clone())
                .or_default()
                .push(message.text().parse().expect("a number"));
        }
        for (topic, numbers) in seen {
            assert!(numbers.is_sorted(), "seed {seed}, {topic}: {numbers:?}");
            assert!(*numbers.last().expect("one") >= 197);
        }
    }
}

#[test]
fn takeover_through_two_shards() {
    let ids_c = ids(3, "c");
    let ids_w = ids(3, "w");
    for home in [0, 2] {
        let orders = explore(
            V,
            400_000,
            |version| {
                let mut world = World::new(3);
                let watcher = world.connect(&connect(version, &ids_w[1]));
                world.subscribe(watcher, "will", 1);
                world.acknowledge_at_once(watcher);
                let id = connect(version, &ids_c[home]).persistent();
                let old = world.connect(&id.clone().will("will", "old", 1, false));
                world.subscribe(old, "t", 1);
                // Both connections are open; their CONNECTs race for the home.
                let second = world.open_at(1, version);
                let third = world.open_at(2, version);
                let publisher = world.connect(&connect(version, &ids_w[0]));
                let scripts = vec![
                    vec![send(
                        second,
                        id.clone().will("will", "second", 1, false).bytes(),
                    )],
                    vec![send(
                        third,
                        id.clone().will("will", "third", 1, false).bytes(),
                    )],
                    vec![send(publisher, publish("t", "x").qos(1, 1).bytes(version))],
                ];
                (world, scripts, (watcher, publisher, [old, second, third]))
            },
            |world, (watcher, publisher, clients)| {
                world.settle();
                let open: Vec<Client> = clients
                    .iter()
                    .copied()
                    .filter(|client| world.is_open(*client))
                    .collect();
                assert_eq!(open.len(), 1, "exactly one has the Session");
                assert!(world.is_closed(clients[0]));
                // Both that lost it had a will.
                let mut wills = texts_so_far(world, watcher);
                wills.sort();
                let loser = if open[0] == clients[1] {
                    "third"
                } else {
                    "second"
                };
                assert_eq!(wills, ["old", loser]);
                // The message came to one or more of them, the last with DUP or not, and to the last for sure unless acknowledged: nobody did.
                let texts = texts_so_far(world, open[0]);
                assert_eq!(texts, ["x"]);
                reached_by(world, publisher, open[0], "t");
            },
        );
        println!("home {home}: {orders} orders");
    }
}

#[test]
fn a_client_that_leaves_on_its_way_home() {
    let ids_c = ids(2, "c");
    let ids_w = ids(2, "w");
    for accepting in [0, 1] {
        let orders = explore(
            V,
            200_000,
            |version| {
                let mut world = World::new(2);
                let watcher = world.connect(&connect(version, &ids_w[1]));
                world.subscribe(watcher, "#", 1);
                let client = world.open_at(accepting, version);
                let mut bytes = connect(version, &ids_c[0])
                    .will("will", "gone", 1, false)
                    .bytes();
                bytes.extend(publish("t", "behind CONNECT").qos(1, 1).bytes(version));
                let scripts = vec![vec![send(client, bytes), cut(client)]];
                (world, scripts, watcher)
            },
            |world, watcher| {
                world.settle();
                assert_eq!(world.texts(watcher), ["behind CONNECT", "gone"]);
            },
        );
        println!("accepted at {accepting}: {orders} orders");
    }
}

#[test]
fn a_publisher_is_heard_in_its_order() {
    let ids_s = ids(3, "s");
    let ids_p = ids(3, "p");
    let orders = explore(
        V,
        400_000,
        |version| {
            let mut world = World::new(3);
            let first = world.connect(&connect(version, &ids_s[0]));
            let second = world.connect(&connect(version, &ids_s[2]));
            world.subscribe(first, "t/#", 1);
            world.subscribe(second, "+/x", 1);
            let publisher = world.connect(&connect(version, &ids_p[1]));
            let scripts = vec![
                (1..=3_u16)
                    .map(|number| {
                        let message = publish("t/x", number.to_string()).qos(1, number);
                        send(publisher, message.bytes(version))
                    })
                    .collect(),
                vec![
                    send(first, subscribe(version, 1, &[("t/+", 1)])),
                    send(first, unsubscribe(version, 2, &["t/#"])),
                ],
            ];
            (world, scripts, [first, second])
        },
        |world, subscribers| {
            world.settle();
            for subscriber in subscribers {
                assert_eq!(texts_so_far(world, subscriber), ["1", "2", "3"]);
            }
        },
    );
    println!("{orders} orders");
}

#[test]
fn session_follows_its_client_from_shard_to_shard() {
    for shards in [2, 4] {
        let ids_c = ids(shards, "c");
        let ids_p = ids(shards, "p");
        let mut world = World::new(shards);
        let publisher = world.connect(&connect(V, &ids_p[0]));
        let id = connect(V, &ids_c[1]).persistent();
        let client = world.connect(&id);
        world.subscribe(client, "t", 2);
        let mut expected = Vec::new();
        for round in 0..12 {
            let accepting = round % shards;
            let client = world.open_at(accepting, V);
            world.send(client, id.bytes());
            assert!(world.accepted(client), "Session Present");
            assert_eq!(world.place(client), Some(1), "home");
            assert_eq!(world.texts(client), expected);
            world.drop_connection(client);
            expected = vec![format!("round {round}")];
            world.publish(publisher, &publish("t", &expected[0]).qos(2, 0));
        }
    }
}

/// Bytes of this Client's messages that are inside the broker: neither delivered nor unread.
fn inside(world: &World, sent: usize, publisher: Client, delivered: usize) -> usize {
    sent - world.unread(publisher) - delivered
}

#[test]
fn a_slow_subscriber_paces_a_publisher_on_another_shard() {
    const MESSAGES: usize = 1300;
    const BYTES: usize = 6000;
    for (shards, home_s, home_p) in [(1, 0, 0), (2, 0, 1), (4, 3, 1)] {
        let ids_s = ids(shards, "s");
        let ids_p = ids(shards, "p");
        for qos in 0..=2_u8 {
            for order in [Order::Fair, Order::Seeded(7), Order::Seeded(8)] {
                println!("{shards} shards, QoS {qos}, {order:?}");
                let mut world = World::with(shards, order, Default::default());
                let subscriber = world.connect(&connect(V, &ids_s[home_s]));
                world.subscribe(subscriber, "t", qos);
                world.acknowledge_at_once(subscriber);
                let publisher = world.connect(&connect(V, &ids_p[home_p]));
                world.read_slowly(subscriber);
                let mut stream = Vec::new();
                for number in 0..MESSAGES {
                    let payload = format!("{number:06}{}", "x".repeat(BYTES));
                    let packet_id = (number % 65_000) as u16 + 1;
                    stream.extend(publish("t", payload).qos(qos, packet_id).bytes(V));
                    if qos == 2 {
                        stream.extend(pubrel(packet_id));
                    }
                }
                let sent = stream.len();
                world.send(publisher, stream);
                assert!(world.stops(publisher) > 0, "the publisher was never paced");
                let held = inside(&world, sent, publisher, 0);
                assert!(held < 3 * 1024 * 1024, "{held} bytes inside the broker");
                // Little by little, then all at once.
                let mut rounds = 0;
                while world.unread(publisher) > 0 {
                    rounds += 1;
                    assert!(rounds < 10_000, "it stands still");
                    let taken = world.take_bytes(subscriber, 50_000);
                    assert!(taken > 0, "nothing leaves although the publisher waits");
                    let delivered = texts_so_far(&world, subscriber).len() * BYTES;
                    let held = inside(&world, sent, publisher, delivered);
                    assert!(held < 4 * 1024 * 1024, "{held} bytes inside the broker");
                }
                world.read_at_once(subscriber);
                let numbers: Vec<usize> = texts_so_far(&world, subscriber)
                    .iter()
                    .map(|text| text[..6].parse().expect("a number"))
                    .collect();
                assert_eq!(numbers.len(), MESSAGES, "lost or doubled");
                assert!(numbers.is_sorted());
            }
        }
    }
}

#[test]
fn a_stalled_subscriber_does_not_hold_publishers_for_ever() {
    for (shards, home_s, home_p) in [(1, 0, 0), (2, 0, 1)] {
        let ids_s = ids(shards, "s");
        let ids_p = ids(shards, "p");
        let mut world = World::new(shards);
        let subscriber = world.connect(&connect(V, &ids_s[home_s]));
        world.subscribe(subscriber, "#", 0);
        world.read_slowly(subscriber);
        let publisher = world.connect(&connect(V, &ids_p[home_p]));
        let mut stream = Vec::new();
        for _ in 0..6000 {
            stream.extend(publish("t", "x".repeat(2000)).bytes(V));
        }
        world.send(publisher, stream);
        assert!(world.unread(publisher) > 0, "it is paced");
        world.advance(60_000);
        assert_eq!(
            world.unread(publisher),
            0,
            "it waits for one that takes nothing"
        );
        let held: usize = world.waiting_to_leave(subscriber);
        assert!(
            held < 6 * 1024 * 1024,
            "{held} bytes for one that takes nothing"
        );
        world.send(publisher, pingreq());
        assert_eq!(world.received(publisher).last(), Some(&Packet::PingResp));
    }
}

#[test]
fn paced_ends_with_the_subscriber() {
    for (shards, home_s, home_p) in [(1, 0, 0), (2, 0, 1)] {
        let ids_s = ids(shards, "s");
        let ids_p = ids(shards, "p");
        for qos in 0..=1 {
            let mut world = World::new(shards);
            let subscriber = world.connect(&connect(V, &ids_s[home_s]));
            world.subscribe(subscriber, "#", qos);
            world.read_slowly(subscriber);
            let publisher = world.connect(&connect(V, &ids_p[home_p]));
            let mut stream = Vec::new();
            for number in 0..3000 {
                stream.extend(publish("t", "x".repeat(2000)).qos(qos, number + 1).bytes(V));
            }
            world.send(publisher, stream);
            assert!(world.unread(publisher) > 0, "it is paced");
            world.drop_connection(subscriber);
            assert_eq!(world.unread(publisher), 0, "it waits for one that is gone");
        }
    }
}

#[test]
fn two_slow_clients_that_publish_to_each_other_do_not_stand_still() {
    for order in [Order::Fair, Order::Seeded(1), Order::Seeded(2)] {
        for shards in [1, 2] {
            for qos in 0..=2_u8 {
                println!("{shards} shards, QoS {qos}, {order:?}");
                let homes = if shards == 1 { [0, 0] } else { [0, 1] };
                let (ids_a, ids_b) = (ids(shards, "a"), ids(shards, "b"));
                let mut world = World::with(shards, order, Default::default());
                let a = world.connect(&connect(V, &ids_a[homes[0]]));
                let b = world.connect(&connect(V, &ids_b[homes[1]]));
                world.subscribe(a, "to/a", qos);
                world.subscribe(b, "to/b", qos);
                for client in [a, b] {
                    world.acknowledge_at_once(client);
                    world.read_slowly(client);
                }
                for (client, topic) in [(a, "to/b"), (b, "to/a")] {
                    let mut stream = Vec::new();
                    for number in 0..1500_u16 {
                        stream.extend(
                            publish(topic, "x".repeat(1000))
                                .qos(qos, number + 1)
                                .bytes(V),
                        );
                        if qos == 2 {
                            stream.extend(pubrel(number + 1));
                        }
                    }
                    world.send(client, stream);
                }
                // Both take what there is; time passes too, for whoever is taken for stalled.
                for _ in 0..400 {
                    world.take_bytes(a, 40_000);
                    world.take_bytes(b, 40_000);
                    world.advance(50);
                }
                for client in [a, b] {
                    world.read_at_once(client);
                }
                world.advance(5_000);
                for client in [a, b] {
                    assert_eq!(world.unread(client), 0, "it stands still");
                    assert_eq!(texts_so_far(&world, client).len(), 1500);
                }
            }
        }
    }
}

#[test]
fn a_full_lane_paces_those_who_publish_through_it() {
    let (ids_s, ids_p) = (ids(2, "s"), ids(2, "p"));
    let mut world = World::new(2);
    world.lane_high = 50;
    world.lane_low = 10;
    let subscriber = world.connect(&connect(V, &ids_s[0]));
    world.subscribe(subscriber, "t", 1);
    world.acknowledge_at_once(subscriber);
    let publisher = world.connect(&connect(V, &ids_p[1]));
    let bystander = world.connect(&connect(V, &ids_p[0]));
    let mut stream = Vec::new();
    for number in 1..=3000_u16 {
        stream.extend(publish("t", number.to_string()).qos(1, number).bytes(V));
    }
    world.lanes_held = true;
    world.read_bytes_max = 500;
    world.send(publisher, stream);
    assert!(world.unread(publisher) > 0, "it fills the lane without end");
    assert!(
        world.lane_messages() < 200,
        "{} messages in lanes",
        world.lane_messages()
    );
    world.send(bystander, pingreq());
    assert_eq!(world.received(bystander).last(), Some(&Packet::PingResp));
    world.lanes_held = false;
    world.settle();
    assert_eq!(world.unread(publisher), 0);
    let expected: Vec<String> = (1..=3000).map(|number| number.to_string()).collect();
    assert_eq!(texts_so_far(&world, subscriber), expected);
}

#[test]
fn large_random_cases() {
    // Publishers number their messages; whoever was subscribed all the time must get all of them, in order, once.
    for seed in 0..40 {
        let shards = [2, 3, 4][seed as usize % 3];
        let mut random = Random::new(seed);
        let mut world = World::with(shards, Order::Seeded(seed), Default::default());
        let steady: Vec<Client> = (0..3)
            .map(|number| {
                let client = world.connect(&connect(V, &format!("steady {number}")));
                world.acknowledge_at_once(client);
                world.subscribe(client, ["t/#", "t/+", "+/0"][number], 2);
                client
            })
            .collect();
        let flapping: Vec<Client> = (0..4)
            .map(|number| {
                let client = world.connect(&connect(V, &format!("flapping {number}")));
                world.acknowledge_at_once(client);
                client
            })
            .collect();
        let publishers: Vec<Client> = (0..3)
            .map(|number| world.connect(&connect(V, &format!("publisher {number}"))))
            .collect();
        let mut counts = vec![[0_u32; 2]; publishers.len()];
        let mut packet_id = 0;
        for _ in 0..300 {
            packet_id += 1;
            world.lanes_held = random.below(3) > 0;
            match random.below(3) {
                0 => {
                    let client = flapping[random.below(flapping.len())];
                    let filter = ["t/#", "t/+", "t/0", "#"][random.below(4)];
                    let bytes = match random.below(3) {
                        0 => unsubscribe(V, packet_id, &[filter]),
                        _ => subscribe(V, packet_id, &[(filter, random.below(3) as u8)]),
                    };
                    world.send(client, bytes);
                }
                1 => {
                    let ready = world.lanes_ready();
                    if !ready.is_empty() {
                        let (from, to) = ready[random.below(ready.len())];
                        world.deliver(from, to);
                    }
                }
                _ => {
                    let number = random.below(publishers.len());
                    let topic = random.below(2);
                    counts[number][topic] += 1;
                    let text = format!("{number}.{topic}.{}", counts[number][topic]);
                    let message = publish(&format!("t/{topic}"), text).qos(1, packet_id);
                    world.send(publishers[number], message.bytes(V));
                }
            }
        }
        world.lanes_held = false;
        world.settle();
        for (index, client) in steady.iter().enumerate() {
            let texts = texts_so_far(&world, *client);
            for (number, count) in counts.iter().enumerate() {
                for (topic, count) in count.iter().enumerate() {
                    let prefix = format!("{number}.{topic}.");
                    let found: Vec<u32> = texts
                        .iter()
                        .filter_map(|text| text.strip_prefix(&prefix))
                        .map(|rest| rest.parse().expect("a number"))
                        .collect();
                    let wanted = index < 2 || topic == 0;
                    let expected: Vec<u32> = if wanted {
                        (1..=*count).collect()
                    } else {
                        Vec::new()
                    };
                    assert_eq!(
                        found, expected,
                        "seed {seed}, steady {index}, publisher {number}"
                    );
                }
            }
        }
        for client in flapping {
            let texts = texts_so_far(&world, client);
            let mut last: BTreeMap<String, u32> = BTreeMap::new();
            for text in &texts {
                let (prefix, number) = text.rsplit_once('.').expect("publisher.topic.number");
                let number: u32 = number.parse().expect("a number");
                let before = last.insert(prefix.to_owned(), number);
                assert!(
                    before.is_none_or(|before| before < number),
                    "seed {seed}: {texts:?}"
                );
            }
        }
        // When all have gone, no filter is left anywhere.
        for client in 0..10 {
            world.drop_connection(Client(client));
        }
        for shard in 0..shards {
            assert_eq!(world.shard(shard).sizes(), (0, 0, 0, 0), "seed {seed}");
        }
        let stranger = world.connect(&connect(V, "stranger"));
        let crossed = world.publishes_in_lanes;
        world.publish(stranger, &publish("t/0", "x").qos(1, 1));
        assert_eq!(
            world.publishes_in_lanes, crossed,
            "seed {seed}: a filter is still known somewhere"
        );
    }
}
