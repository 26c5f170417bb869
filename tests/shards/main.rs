//! Races between shards. Small cases run in every order in which lanes can deliver and Clients can act (`explore`);
//! larger ones in many seeded orders. A wrong answer here would show only now and then on real cores.

use mqttfast_rig::shard as support;

mod adversary;
mod bridge;
mod closing;
mod large;
mod pacing;
mod parcels;
mod resend;
mod retained;
mod rights;
mod sessions;
mod subscriptions;

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
