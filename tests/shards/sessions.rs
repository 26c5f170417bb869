//! Sessions: takeover, a Client on its way home, and the order of what it publishes.

use crate::*;

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
                // The message came to one or more of them, the last with DUP or not, and to the last for sure unless
                // acknowledged: nobody did.
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
