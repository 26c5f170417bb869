//! 4.3 Quality of Service levels and protocol flows.

use crate::claims::*;
use crate::support::*;

crate::table! {
    mqtt_4_8_0_1_an_acknowledgement_of_the_wrong_kind_closes,
    mqtt_4_3_1_1_qos_0_is_sent_once_with_dup_0,
    mqtt_4_3_2_1_qos_1_sender,
    mqtt_4_3_2_1_the_window_moves_with_each_acknowledgement,
    mqtt_4_3_2_2_qos_1_receiver,
    mqtt_4_3_3_1_qos_2_sender,
    mqtt_4_3_3_2_qos_2_receiver,
    mqtt_4_3_3_2_qos_2_receiver_remembers_over_connections,
    mqtt_4_3_3_2_identifiers_of_the_two_directions_are_unrelated,
}

fn mqtt_4_3_1_1_qos_0_is_sent_once_with_dup_0() {
    each(ALL, |world, version| {
        let watcher = watcher(world, version);
        let id = connect(version, "persistent").persistent();
        let persistent = world.connect(&id);
        world.subscribe(persistent, "t", 0);
        let publisher = publisher(world, version);
        world.publish(publisher, &publish("t", "once"));
        for client in [watcher, persistent] {
            let messages = world.messages(client);
            assert_eq!(messages.len(), 1);
            assert_eq!((messages[0].qos, messages[0].dup), (0, false));
        }
        world.pass_long(60_000);
        world.drop_connection(persistent);
        let persistent = world.connect(&id);
        assert_eq!(world.messages(persistent), [], "never again");
        assert_eq!(world.messages(watcher), []);
    });
}

fn mqtt_4_3_2_1_qos_1_sender() {
    each(ALL, |world, version| {
        let publisher = publisher(world, version);
        let id = connect(version, "subscriber").persistent();
        let subscriber = world.connect(&id);
        world.subscribe(subscriber, "t", 1);
        world.publish(publisher, &publish("t", "one").qos(1, 0));
        world.publish(publisher, &publish("t", "two").qos(1, 0));
        let first = world.received(subscriber);
        let ids: Vec<u16> = first
            .iter()
            .map(|packet| {
                let message = packet.message().expect("PUBLISH");
                assert!(!message.dup);
                message.packet_id
            })
            .collect();
        assert_ne!(ids[0], ids[1]);
        world.send(subscriber, puback(ids[0]));
        world.expect(subscriber, &[]);
        // A second PUBACK, or one of another kind, ends nothing else.
        world.send(subscriber, puback(ids[0]));
        world.send(subscriber, pubcomp(ids[1]));
        world.drop_connection(subscriber);
        let subscriber = world.connect(&id);
        let again = world.received(subscriber);
        assert_eq!(again.len(), 1, "only the unacknowledged one: {again:?}");
        let message = again[0].message().expect("PUBLISH");
        assert_eq!(
            (message.text().as_str(), message.packet_id, message.dup),
            ("two", ids[1], true)
        );
        world.send(subscriber, puback(ids[1]));
        world.drop_connection(subscriber);
        let subscriber = world.connect(&id);
        assert_eq!(world.received(subscriber), []);
    });
}

fn mqtt_4_3_2_1_the_window_moves_with_each_acknowledgement() {
    each(ALL, |world, version| {
        let publisher = publisher(world, version);
        let subscriber = world.connect(&connect(version, "subscriber"));
        world.subscribe(subscriber, "t", 1);
        for number in 0..100 {
            world.publish(publisher, &publish("t", number.to_string()).qos(1, 0));
        }
        let window = world.received(subscriber);
        assert!(
            window.len() < 100,
            "some are held back until others are acknowledged"
        );
        let mut texts = Vec::new();
        let mut waiting = std::collections::VecDeque::from(window);
        while let Some(packet) = waiting.pop_front() {
            let message = packet.message().expect("PUBLISH");
            assert!(!message.dup);
            texts.push(message.text());
            world.send(subscriber, puback(message.packet_id));
            waiting.extend(world.received(subscriber));
        }
        let expected: Vec<String> = (0..100).map(|number| number.to_string()).collect();
        assert_eq!(texts, expected);
    });
}

fn mqtt_4_3_2_2_qos_1_receiver() {
    each(ALL, |world, version| {
        let watcher = watcher(world, version);
        let publisher = publisher(world, version);
        for (text, dup) in [
            ("one", false),
            ("two", false),
            ("three", true),
            ("four", true),
        ] {
            let mut message = publish("t", text).qos(1, 42);
            message.dup = dup;
            world.send(publisher, message.bytes(version));
            world.expect(publisher, &[Packet::puback(42)]);
        }
        assert_eq!(
            world.texts(watcher),
            ["one", "two", "three", "four"],
            "each is a new message"
        );
    });
}

fn mqtt_4_3_3_1_qos_2_sender() {
    each(ALL, |world, version| {
        let publisher = publisher(world, version);
        let id = connect(version, "subscriber").persistent();
        let subscriber = world.connect(&id);
        world.subscribe(subscriber, "t", 2);
        world.publish(publisher, &publish("t", "one").qos(2, 0));
        let received = world.received(subscriber);
        let message = received[0].message().expect("PUBLISH");
        assert!(!message.dup && message.qos == 2);
        let packet_id = message.packet_id;
        // Unacknowledged until PUBREC.
        world.drop_connection(subscriber);
        let subscriber = world.connect(&id);
        let received = world.received(subscriber);
        assert_eq!(
            received[0]
                .message()
                .map(|message| (message.packet_id, message.dup)),
            Some((packet_id, true))
        );
        world.send(subscriber, pubrec(packet_id));
        world.expect(subscriber, &[Packet::pubrel(packet_id)]);
        // From now on PUBREL, never PUBLISH again; a repeated PUBREC gets it again.
        world.send(subscriber, pubrec(packet_id));
        world.expect(subscriber, &[Packet::pubrel(packet_id)]);
        for _ in 0..2 {
            world.drop_connection(subscriber);
            let subscriber = world.connect(&id);
            world.expect(subscriber, &[Packet::pubrel(packet_id)]);
        }
        let subscriber = world.connect(&id);
        world.expect(subscriber, &[Packet::pubrel(packet_id)]);
        world.send(subscriber, pubcomp(packet_id));
        world.drop_connection(subscriber);
        let subscriber = world.connect(&id);
        world.expect(subscriber, &[]);
    });
}

fn mqtt_4_3_3_2_qos_2_receiver() {
    each(ALL, |world, version| {
        let watcher = watcher(world, version);
        let publisher = publisher(world, version);
        let first = publish("t", "one").qos(2, 7);
        world.send(publisher, first.bytes(version));
        world.expect(publisher, &[Packet::pubrec(7)]);
        // Repeats, with and without DUP.
        for again in [first.clone(), first.clone().dup(), first] {
            world.send(publisher, again.bytes(version));
            world.expect(publisher, &[Packet::pubrec(7)]);
        }
        assert_eq!(world.texts(watcher), ["one"]);
        world.send(publisher, pubrel(7));
        world.expect(publisher, &[Packet::pubcomp(7)]);
        // The identifier is new, whatever DUP says.
        world.send(
            publisher,
            publish("t", "two").qos(2, 7).dup().bytes(version),
        );
        world.expect(publisher, &[Packet::pubrec(7)]);
        assert_eq!(world.texts(watcher), ["two"]);
    });
}

fn mqtt_4_3_3_2_qos_2_receiver_remembers_over_connections() {
    each(ALL, |world, version| {
        let watcher = watcher(world, version);
        let id = connect(version, "publisher").persistent();
        let client = world.connect(&id);
        for packet_id in 1..=3 {
            world.send(
                client,
                publish("t", packet_id.to_string())
                    .qos(2, packet_id)
                    .bytes(version),
            );
        }
        for _ in 0..2 {
            world.drop_connection(client);
            let client = world.connect(&id);
            for packet_id in 1..=3 {
                let again = publish("t", packet_id.to_string()).qos(2, packet_id).dup();
                world.send(client, again.bytes(version));
                world.expect(client, &[Packet::pubrec(packet_id)]);
            }
        }
        let client = world.connect(&id);
        for packet_id in 1..=3 {
            world.send(client, pubrel(packet_id));
            world.expect(client, &[Packet::pubcomp(packet_id)]);
        }
        assert_eq!(world.texts(watcher), ["1", "2", "3"]);
    });
}

fn mqtt_4_3_3_2_identifiers_of_the_two_directions_are_unrelated() {
    each(ALL, |world, version| {
        let client = world.connect(&connect(version, "both"));
        world.subscribe(client, "t", 2);
        // Both sides use the same numbers at the same time.
        for packet_id in 1..=5 {
            world.send(
                client,
                publish("t", packet_id.to_string())
                    .qos(2, packet_id)
                    .bytes(version),
            );
        }
        let received = world.received(client);
        let own: Vec<&Message> = received.iter().filter_map(Packet::message).collect();
        assert_eq!(own.len(), 5);
        for message in &own {
            world.send(client, pubrec(message.packet_id));
            world.expect(client, &[Packet::pubrel(message.packet_id)]);
        }
        for packet_id in 1..=5 {
            world.send(client, pubrel(packet_id));
            world.expect(client, &[Packet::pubcomp(packet_id)]);
        }
        for message in own {
            world.send(client, pubcomp(message.packet_id));
        }
        world.expect(client, &[]);
        alive(world, client);
    });
}

/// What a stage of a delivery does not await breaks the flow of its QoS [v3.1.1 4.3.2, 4.3.3]; the delivery goes on
/// with the next connection. What belongs to no delivery is harmless: it may be late.
fn mqtt_4_8_0_1_an_acknowledgement_of_the_wrong_kind_closes() {
    each(ALL, |world, version| {
        for (qos, released, wrong) in [
            (1, false, pubrec(1)),
            (1, false, pubcomp(1)),
            (2, false, puback(1)),
            (2, false, pubcomp(1)),
            (2, true, puback(1)),
        ] {
            let publisher = publisher(world, version);
            let id = connect(version, "subscriber").persistent();
            let subscriber = world.connect(&id);
            world.subscribe(subscriber, "t", 2);
            world.publish(publisher, &publish("t", "x").qos(qos, 0));
            let received = world.received(subscriber);
            let packet_id = received[0].message().expect("PUBLISH").packet_id;
            if released {
                world.send(subscriber, pubrec(packet_id));
                world.expect(subscriber, &[Packet::pubrel(packet_id)]);
            }
            for late in [puback(packet_id + 1), pubcomp(packet_id + 1)] {
                world.send(subscriber, late);
            }
            alive(world, subscriber);
            let mut wrong = wrong.to_vec();
            wrong[2..4].copy_from_slice(&packet_id.to_be_bytes());
            world.send(subscriber, &wrong);
            assert!(world.is_closed(subscriber), "{wrong:02x?} for QoS {qos}");
            let subscriber = world.connect(&id);
            let again = world.received(subscriber);
            match &again[..] {
                [Packet::PubRel { .. }] => assert!(released),
                [Packet::Publish(message)] => {
                    assert!(!released && message.dup && message.packet_id == packet_id);
                }
                _ => panic!("{again:?}"),
            }
            // A clean session ends it.
            world.disconnect(subscriber);
            let clean = world.connect(&connect(version, "subscriber"));
            world.disconnect(clean);
            world.disconnect(publisher);
        }
    });
}
