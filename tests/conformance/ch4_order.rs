//! 4.6 Message ordering.

use crate::claims::*;
use crate::support::*;

crate::table! {
    mqtt_4_6_0_1_messages_are_resent_in_their_first_order,
    mqtt_4_6_0_2_pubacks_go_out_in_the_order_of_their_messages,
    mqtt_4_6_0_3_pubrecs_go_out_in_the_order_of_their_messages,
    mqtt_4_6_0_4_pubrels_go_out_in_the_order_of_the_pubrecs,
    mqtt_4_6_0_5_every_topic_is_ordered,
    mqtt_4_6_0_6_messages_of_one_client_arrive_in_their_order,
    mqtt_4_6_0_6_order_holds_over_queue_and_reconnect,
}

fn numbers(range: std::ops::Range<u16>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

fn mqtt_4_6_0_1_messages_are_resent_in_their_first_order() {
    each(ALL, |world, version| {
        let publisher = publisher(world, version);
        let id = connect(version, "subscriber").persistent();
        let mut subscriber = world.connect(&id);
        world.subscribe(subscriber, "t", 2);
        for number in 0..30 {
            let qos = if number % 3 == 0 { 1 } else { 2 };
            world.publish(publisher, &publish("t", number.to_string()).qos(qos, 0));
        }
        let first: Vec<String> = world
            .received(subscriber)
            .iter()
            .filter_map(Packet::message)
            .map(Message::text)
            .collect();
        assert_eq!(first, numbers(0..first.len() as u16));
        for _ in 0..2 {
            world.drop_connection(subscriber);
            subscriber = world.connect(&id);
            let again: Vec<String> = world
                .received(subscriber)
                .iter()
                .filter_map(Packet::message)
                .map(Message::text)
                .collect();
            assert_eq!(
                again, first,
                "those in flight, in their order, before anything new"
            );
        }
        // And then the rest.
        world.drop_connection(subscriber);
        let subscriber = world.connect(&id);
        assert_eq!(world.texts(subscriber), numbers(0..30));
    });
}

fn mqtt_4_6_0_2_pubacks_go_out_in_the_order_of_their_messages() {
    each(ALL, |world, version| {
        let _watcher = watcher(world, version);
        let publisher = publisher(world, version);
        let packet_ids = [5, 1, 900, 2, 65_535, 3];
        let mut bytes = Vec::new();
        for packet_id in packet_ids {
            bytes.extend(
                publish(&format!("t/{packet_id}"), "x")
                    .qos(1, packet_id)
                    .bytes(version),
            );
        }
        world.send(publisher, bytes);
        world.expect(publisher, &packet_ids.map(Packet::puback));
    });
}

fn mqtt_4_6_0_3_pubrecs_go_out_in_the_order_of_their_messages() {
    each(ALL, |world, version| {
        let _watcher = watcher(world, version);
        let publisher = publisher(world, version);
        let packet_ids = [5, 1, 900, 2, 65_535, 3];
        let mut bytes = Vec::new();
        for packet_id in packet_ids {
            bytes.extend(
                publish(&format!("t/{packet_id}"), "x")
                    .qos(2, packet_id)
                    .bytes(version),
            );
        }
        world.send(publisher, bytes);
        world.expect(publisher, &packet_ids.map(Packet::pubrec));
        let mut bytes = Vec::new();
        for packet_id in packet_ids {
            bytes.extend(pubrel(packet_id));
        }
        world.send(publisher, bytes);
        world.expect(publisher, &packet_ids.map(Packet::pubcomp));
    });
}

fn mqtt_4_6_0_4_pubrels_go_out_in_the_order_of_the_pubrecs() {
    each(ALL, |world, version| {
        let publisher = publisher(world, version);
        let id = connect(version, "subscriber").persistent();
        let subscriber = world.connect(&id);
        world.subscribe(subscriber, "t", 2);
        for number in 0..5 {
            world.publish(publisher, &publish("t", number.to_string()).qos(2, 0));
        }
        let mut packet_ids: Vec<u16> = world
            .received(subscriber)
            .iter()
            .map(|packet| packet.message().expect("PUBLISH").packet_id)
            .collect();
        // Not the order of the messages.
        packet_ids.swap(0, 3);
        packet_ids.swap(1, 4);
        let bytes: Vec<u8> = packet_ids
            .iter()
            .flat_map(|packet_id| pubrec(*packet_id))
            .collect();
        world.send(subscriber, bytes);
        let expected: Vec<Packet> = packet_ids
            .iter()
            .map(|packet_id| Packet::pubrel(*packet_id))
            .collect();
        world.expect(subscriber, &expected);
    });
}

fn mqtt_4_6_0_5_every_topic_is_ordered() {
    each(ALL, |world, version| {
        let subscriber = world.connect(&connect(version, "subscriber"));
        world.subscribe(subscriber, "#", 2);
        let publisher = publisher(world, version);
        for number in 0..60_u16 {
            let topic = ["a", "a/b", "/c"][usize::from(number % 3)];
            world.publish(publisher, &publish(topic, number.to_string()).qos(1, 0));
        }
        assert_eq!(world.texts(subscriber), numbers(0..60));
    });
}

fn mqtt_4_6_0_6_messages_of_one_client_arrive_in_their_order() {
    each(ALL, |world, version| {
        world.read_whole();
        let mut subscribers = Vec::new();
        for qos in 0..=2 {
            for number in 0..3 {
                let client =
                    world.connect(&connect(version, &format!("subscriber {qos} {number}")));
                world.acknowledge_at_once(client);
                world.subscribe(client, "t/+", qos);
                subscribers.push((client, qos));
            }
        }
        let publishers: Vec<Client> = (0..3)
            .map(|number| world.connect(&connect(version, &format!("publisher {number}"))))
            .collect();
        // Many under way at the same time, of each QoS.
        let mut sends = Vec::new();
        for round in 0..10_u16 {
            for (number, publisher) in publishers.iter().enumerate() {
                let mut bytes = Vec::new();
                for index in 0..12_u16 {
                    let qos = (index % 3) as u8;
                    let text = format!("{number}.{qos}.{}", round * 12 + index);
                    let packet_id = 1 + round * 12 + index;
                    bytes.extend(
                        publish(&format!("t/{number}"), text)
                            .qos(qos, packet_id)
                            .bytes(version),
                    );
                    if qos == 2 {
                        bytes.extend(pubrel(packet_id));
                    }
                }
                sends.push((*publisher, bytes));
            }
        }
        world.send_together(&sends);
        for (client, granted) in subscribers {
            let texts: Vec<String> = world
                .received(client)
                .iter()
                .filter_map(Packet::message)
                .map(Message::text)
                .collect();
            assert_eq!(texts.len(), 360, "at granted QoS {granted}");
            for number in 0..3 {
                for qos in 0..=2 {
                    let prefix = format!("{number}.{qos}.");
                    let of_one: Vec<u32> = texts
                        .iter()
                        .filter_map(|text| text.strip_prefix(&prefix))
                        .map(|index| index.parse().expect("a number"))
                        .collect();
                    assert_eq!(of_one.len(), 40);
                    assert!(
                        of_one.is_sorted(),
                        "publisher {number}, QoS {qos}: {of_one:?}"
                    );
                }
            }
        }
    });
}

fn mqtt_4_6_0_6_order_holds_over_queue_and_reconnect() {
    each(ALL, |world, version| {
        let publisher = publisher(world, version);
        let id = connect(version, "subscriber").persistent();
        let mut subscriber = world.connect(&id);
        world.subscribe(subscriber, "t", 2);
        let mut seen: Vec<String> = Vec::new();
        for round in 0..6_u16 {
            for index in 0..25 {
                let number = round * 25 + index;
                world.publish(
                    publisher,
                    &publish("t", number.to_string()).qos(1 + (number % 2) as u8, 0),
                );
            }
            match round % 3 {
                0 => world.drop_connection(subscriber),
                1 => seen.extend(world.texts(subscriber)),
                _ => (),
            }
            if !world.is_open(subscriber) {
                subscriber = world.connect(&id);
            }
        }
        seen.extend(world.texts(subscriber));
        assert_eq!(seen, numbers(0..150));
    });
}
