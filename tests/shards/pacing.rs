//! Slow subscribers and full lanes pace those who publish to them, and nobody stands still for ever.

use crate::*;
use mqttfast::broker::Dropped;

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
fn large_packets_wait_with_their_publishers() {
    const PUBLISHERS: usize = 12;
    const EACH: usize = 4;
    const BYTES: usize = 900_000;
    for qos in 0..=1 {
        let mut world = World::new(1);
        let subscriber = world.connect(&connect(V, "subscriber"));
        world.subscribe(subscriber, "t/+", qos);
        world.read_slowly(subscriber);
        world.acknowledge_at_once(subscriber);
        let publishers: Vec<Client> = (0..PUBLISHERS)
            .map(|number| world.connect(&connect(V, &format!("publisher-{number}"))))
            .collect();
        for (number, publisher) in publishers.iter().enumerate() {
            let mut stream = Vec::new();
            for each in 0..EACH {
                let mut payload = format!("{number} {each} ");
                payload += &"x".repeat(BYTES);
                let packet = publish(&format!("t/{number}"), payload).qos(qos, each as u16 + 1);
                stream.extend(packet.bytes(V));
            }
            // Its end is read with the last packet and has to wait with it.
            stream.extend(pingreq());
            world.send(*publisher, stream);
        }
        let mut order = Vec::new();
        while order.len() < PUBLISHERS * EACH {
            assert!(world.take_bytes(subscriber, 250_000) > 0, "it stands still");
            world.advance(10);
            order = texts_so_far(&world, subscriber)
                .iter()
                .map(|text| {
                    text.split(' ')
                        .take(2)
                        .map(|word| word.parse().unwrap())
                        .collect()
                })
                .collect::<Vec<Vec<usize>>>();
        }
        assert_eq!(world.shard(0).counters().dropped(Dropped::SlowReader), 0);
        for number in 0..PUBLISHERS {
            let places: Vec<usize> = (0..order.len())
                .filter(|at| order[*at][0] == number)
                .collect();
            let numbers: Vec<usize> = places.iter().map(|at| order[*at][1]).collect();
            assert_eq!(numbers, [0, 1, 2, 3], "of publisher {number}");
            assert!(
                places[0] < order.len() / 2,
                "publisher {number} waits too long: {order:?}"
            );
        }
        for publisher in publishers {
            assert_eq!(world.unread(publisher), 0);
            assert!(world.history(publisher).contains(&Packet::PingResp));
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
                    world.take_bytes(a, 60_000);
                    world.take_bytes(b, 60_000);
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

/// Publishers of much, readers that stop, takeovers, ends and full lanes in any order: when all read again, nobody who
/// is connected is still held back.
#[test]
fn whoever_was_paced_goes_on_whatever_happens() {
    for seed in 0..20 {
        let mut random = Random::new(seed);
        let shards = 1 + seed as usize % 3;
        let mut world = World::with(shards, Order::Seeded(seed), Default::default());
        (world.lane_high, world.lane_low) = (8, 2);
        let mut clients: Vec<Client> = Vec::new();
        for step in 0..120 {
            let version = [Version::V311, Version::V5][random.below(2)];
            match random.below(10) {
                0 | 1 => {
                    let client = world.open(version);
                    let connect = connect(version, &format!("c{}", random.below(6))).keep_alive(0);
                    let connect = match random.below(2) {
                        0 => connect,
                        _ => connect.persistent(),
                    };
                    world.acknowledge_at_once(client);
                    let mut bytes = connect.bytes();
                    let filter = ["t/#", "t/1", "$share/g/t/1", "u"][random.below(4)];
                    bytes.extend(subscribe(version, 1, &[(filter, random.below(3) as u8)]));
                    world.send(client, bytes);
                    clients.push(client);
                }
                2 => world.lanes_held = !world.lanes_held,
                3 => world.advance(400 * random.below(4) as u64),
                _ if clients.is_empty() => {}
                _ => {
                    let client = clients[random.below(clients.len())];
                    let version = world.version(client);
                    if !world.is_open(client) {
                        continue;
                    }
                    match random.below(8) {
                        0 | 1 => world.read_slowly(client),
                        2 => world.read_at_once(client),
                        3 if random.below(3) == 0 => world.drop_connection(client),
                        3 => world.send(client, subscribe(version, 2, &[("u", 1)])),
                        4 if random.below(3) == 0 => world.send(client, disconnect()),
                        _ => {
                            let bytes = [100, 20_000, 70_000, 200_000][random.below(4)];
                            let topic = ["t/1", "u"][random.below(2)];
                            let mut all = Vec::new();
                            for count in 0..1 + random.below(8) {
                                let id = (1 + (step * 8 + count) % 1000) as u16;
                                let qos = random.below(2) as u8;
                                let message = publish(topic, vec![b'x'; bytes]);
                                all.extend(message.qos(qos, id).bytes(version));
                            }
                            world.send(client, all);
                        }
                    }
                }
            }
        }
        world.lanes_held = false;
        world.settle();
        for client in &clients {
            world.read_at_once(*client);
        }
        world.advance(5_000);
        for client in &clients {
            let client = *client;
            assert!(
                !world.is_open(client) || world.is_read(client),
                "seed {seed}: {client:?} is still held back"
            );
        }
        for client in clients {
            world.drop_connection(client);
        }
        for number in 0..6 {
            let client = world.connect(&connect(Version::V311, &format!("c{number}")));
            world.disconnect(client);
        }
        world.advance(10_000);
        for shard in 0..shards {
            assert_eq!(world.shard(shard).leftovers(), [], "seed {seed}");
        }
    }
}
