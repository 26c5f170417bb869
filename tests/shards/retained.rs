//! Retained messages: every shard ends with the same, and nobody sees an older one after a newer.

use crate::*;

/// Nothing is left to do later: no shard holds marks of deleted retained messages, for which it would wake up once a
/// second.
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
    // The write of shard 1 is under way while shard 0 deletes; whatever the order, all shards agree, also after the
    // marks have gone.
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
