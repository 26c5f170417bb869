//! Mosquitto's bridges say so by bit 7 of the protocol level: they hear nothing of their own and RETAIN as it was
//! published, and may tell their state below `$SYS`.

use crate::*;

const STATE: &str = "$SYS/broker/connection/hub/state";

fn bridge(version: Version, id: &str) -> Connect {
    let mut connect = connect(version, id);
    connect.protocol_level |= 0x80;
    connect
}

fn each(test: impl Fn(&mut World, Version, &[String])) {
    for shards in [1, 2, 3] {
        let names = ids(shards, "b");
        for version in [Version::V31, Version::V311] {
            for order in [Order::Fair, Order::Seeded(3), Order::Seeded(4)] {
                let mut world = World::with(shards, order, Default::default());
                test(&mut world, version, &names);
            }
        }
    }
}

#[test]
fn a_bridge_hears_nothing_of_its_own() {
    each(|world, version, names| {
        let bridge = world.connect(&bridge(version, &names[0]).persistent());
        let neighbour = world.connect(&connect(version, "neighbour"));
        for client in [bridge, neighbour] {
            world.acknowledge_at_once(client);
            world.subscribe(client, "#", 1);
            world.subscribe(client, "a/+", 2);
        }
        for qos in 0..=2 {
            world.publish(bridge, &publish("a/b", "its own").qos(qos, 7));
        }
        assert_eq!(world.texts(bridge), [""; 0]);
        assert_eq!(world.texts(neighbour), ["its own"; 3]);
        world.publish(neighbour, &publish("a/b", "another's").qos(1, 8));
        assert_eq!(world.texts(bridge), ["another's"]);
        world.received(neighbour);
        // Whoever is none hears everything.
        world.publish(neighbour, &publish("a/b", "its own").qos(1, 9));
        assert_eq!(world.texts(neighbour), ["its own"]);
    });
}

#[test]
fn retain_is_kept_towards_a_bridge() {
    each(|world, version, names| {
        let id = bridge(version, &names[0]).persistent();
        let mut bridge = world.connect(&id);
        let neighbour = world.connect(&connect(version, "neighbour"));
        for client in [bridge, neighbour] {
            world.acknowledge_at_once(client);
            world.subscribe(client, "#", 1);
        }
        for away in [false, true] {
            if away {
                world.drop_connection(bridge);
            }
            for retain in [false, true] {
                for qos in [0, 1] {
                    let mut message = publish("t", "x").qos(qos, 0);
                    message.retain = retain;
                    world.publish(neighbour, &message);
                }
            }
            let flags = |messages: Vec<Message>| Vec::from_iter(messages.iter().map(|m| m.retain));
            assert_eq!(flags(world.messages(neighbour)), [false; 4]);
            if away {
                bridge = world.connect(&id);
                world.acknowledge_at_once(bridge);
                assert_eq!(flags(world.messages(bridge)), [false, true], "queued");
            } else {
                assert_eq!(flags(world.messages(bridge)), [false, false, true, true]);
            }
        }
    });
}

#[test]
fn a_bridge_may_tell_its_state_and_nothing_else_below_sys() {
    each(|world, version, names| {
        let watcher = world.connect(&connect(version, "watcher"));
        world.acknowledge_at_once(watcher);
        world.subscribe(watcher, "$SYS/#", 1);
        world.subscribe(watcher, "$CONTROL/#", 1);
        let id = bridge(version, &names[0]).will(STATE, "0", 1, true);
        let bridge = world.connect(&id);
        for topic in [
            "$SYS/broker/connection/state",
            "$SYS/broker/connection/a/b/state",
            "$SYS/broker/connection/hub/states",
            "$SYS/broker/uptime",
            "$CONTROL/broker/connection/hub/state",
        ] {
            world.publish(bridge, &publish(topic, "no").qos(1, 0).retain());
        }
        world.publish(bridge, &publish(STATE, "1").qos(1, 0).retain());
        assert_eq!(world.texts(watcher), ["1"]);
        world.drop_connection(bridge);
        assert_eq!(world.texts(watcher), ["0"]);
        // Others may not.
        let other = connect(version, &names[0]).will(STATE, "fake", 1, true);
        let other = world.connect(&other);
        world.publish(other, &publish(STATE, "fake").qos(1, 0).retain());
        world.drop_connection(other);
        assert_eq!(world.texts(watcher), [""; 0]);
        let late = world.connect(&connect(version, "late"));
        world.subscribe(late, "$SYS/#", 1);
        let messages = world.messages(late);
        assert_eq!(messages.len(), 1);
        assert_eq!(
            (messages[0].text().as_str(), messages[0].retain),
            ("0", true)
        );
    });
}
