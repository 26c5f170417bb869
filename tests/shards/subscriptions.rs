//! Subscriptions that come and go while messages are on their way.

use crate::*;

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

#[test]
fn what_is_unsubscribed_before_suback_is_not_replayed_after_unsuback() {
    for shards in [2, 3] {
        let ids_s = ids(shards, "s");
        let orders = explore(
            Version::V5,
            200_000,
            |version| {
                let mut world = World::new(shards);
                let publisher = world.connect(&connect(version, "p"));
                world.publish(publisher, &publish("t/x", "old").retain());
                let subscriber = world.connect(&connect(version, &ids_s[0]));
                let again = [("t/#", 1 | RETAIN_NEVER)];
                let scripts = vec![vec![
                    send(subscriber, subscribe(version, 1, &[("t/#", 1)])),
                    send(subscriber, unsubscribe(version, 2, &["t/#"])),
                    // Another filter takes the node that the first one had.
                    send(subscriber, subscribe_with(3, &[], &[("u", 1)])),
                    send(subscriber, subscribe_with(4, &[], &again)),
                ]];
                (world, scripts, subscriber)
            },
            |world, subscriber| {
                world.settle();
                let history = world.history(subscriber);
                let unsuback = history.iter().position(is_unsuback);
                let after = history.iter().skip(unsuback.expect("it was answered"));
                assert_eq!(after.filter_map(Packet::message).count(), 0);
            },
        );
        println!("{shards} shards: {orders} orders");
    }
}
