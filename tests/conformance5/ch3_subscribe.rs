//! 3.8 SUBSCRIBE and 3.9 SUBACK.

use crate::claims::*;
use crate::support::property::*;
use crate::support::*;

crate::table! {
    mqtt_3_8_3_2_subscribe_without_a_filter_closes,
    mqtt_3_8_3_1_subscribe_that_ends_too_early_is_malformed,
    mqtt_3_8_3_5_reserved_option_bits_are_malformed,
    mqtt_3_8_3_3_no_local,
    mqtt_3_8_4_1_suback_has_a_code_for_each_filter_in_order,
    mqtt_3_8_4_3_the_same_filter_replaces_every_option,
    mqtt_3_8_4_4_no_live_message_is_lost_in_a_replacement,
    mqtt_3_8_4_8_delivery_is_at_the_lower_qos,
    mqtt_3_9_2_1_suback_and_unsuback_shed_what_is_too_large,
    mqtt_3_8_4_5_an_identifier_is_for_every_filter_of_its_packet,
}

/// MQTT-3.8.3-2, MQTT-4.13.1-1.
fn mqtt_3_8_3_2_subscribe_without_a_filter_closes() {
    each5(|world| {
        closes_with(world, subscribe_with(1, &[], &[]), PROTOCOL_ERROR);
        let property = user_property("n", "v");
        closes_with(world, subscribe_with(1, &property, &[]), PROTOCOL_ERROR);
    });
}

/// MQTT-3.8.3-1. Every SUBSCRIBE that ends too early, but where it ends behind a filter.
fn mqtt_3_8_3_1_subscribe_that_ends_too_early_is_malformed() {
    each5(|world| {
        let whole = subscribe_with(1, &subscription_identifier(300), &[("topic", 1)]);
        let filters_at = whole.len() - 8;
        for end in (2..whole.len()).filter(|end| *end != filters_at) {
            closes_with(world, packet(0x82, &whole[2..end]), MALFORMED);
        }
    });
}

/// MQTT-3.8.3-5, MQTT-4.13.1-1.
fn mqtt_3_8_3_5_reserved_option_bits_are_malformed() {
    each5(|world| {
        for options in [0x40, 0x80, 0xc0, 0x41, 0x82] {
            closes_with(world, subscribe(V5, 1, &[("t", options)]), MALFORMED);
            let second = [("good", 1), ("t", options)];
            closes_with(world, subscribe(V5, 1, &second), MALFORMED);
        }
        // QoS 3 and Retain Handling 3.
        for options in [0x03, 0x30, 0x33, 0x31] {
            closes_with(world, subscribe(V5, 1, &[("t", options)]), PROTOCOL_ERROR);
        }
    });
}

/// MQTT-3.8.3-3.
fn mqtt_3_8_3_3_no_local() {
    each5(|world| {
        let client = world.connect(&connect(V5, "id").persistent());
        let other = self::client(world, "other");
        subscribes(world, client, "t", 1 | NO_LOCAL);
        for qos in 0..=2 {
            world.publish(client, &publish("t", "own").qos(qos, 0));
            world.publish(other, &publish("t", "other's").qos(qos, 0));
        }
        assert_eq!(world.texts(client), ["other's"; 3]);
        // It is the client id that counts, on a new connection as well.
        world.drop_connection(client);
        let client = world.connect(&connect(V5, "id").persistent());
        world.publish(client, &publish("t", "own").qos(1, 0));
        assert_eq!(world.texts(client), [""; 0]);
        // An overlapping subscription without it still brings the message.
        subscribes(world, client, "#", 1);
        world.publish(client, &publish("t", "own").qos(1, 0));
        assert_eq!(world.texts(client), ["own"]);
        // Replaced without the option.
        world.unsubscribe(client, "#");
        subscribes(world, client, "t", 1);
        world.publish(client, &publish("t", "own").qos(1, 0));
        assert_eq!(world.texts(client), ["own"]);
    });
}

/// MQTT-3.8.4-1, MQTT-3.8.4-2, MQTT-3.8.4-5, MQTT-3.8.4-6, MQTT-3.8.4-7, MQTT-3.9.3-1, MQTT-3.9.3-2, MQTT-4.7.1-1,
/// MQTT-4.7.1-2.
fn mqtt_3_8_4_1_suback_has_a_code_for_each_filter_in_order() {
    each5(|world| {
        let client = client(world, "client");
        // Well formed, but more levels than are served.
        let deep = [
            "/".repeat(201),
            "+/".repeat(201),
            "$share/g".to_owned() + &"/".repeat(202),
        ];
        let filters = [
            ("a", 2),
            (&deep[0], 1),
            ("b", 0),
            (&deep[1], 0),
            ("c/+", 1),
            (&deep[2], 1),
            ("a", 1),
            ("#", 2),
        ];
        world.send(client, subscribe(V5, 500, &filters));
        let suback = Packet::SubAck {
            packet_id: 500,
            codes: vec![2, 0x8f, 0, 0x8f, 1, 0x8f, 1, 2],
        };
        world.expect(client, &[suback]);
        // They act one after another: the last word on "a" is QoS 1, and a refused one takes no other with it.
        world.unsubscribe(client, "#");
        world.publish(client, &publish("a", "x").qos(2, 0));
        world.publish(client, &publish("b", "x").qos(2, 0));
        world.publish(client, &publish("c/d", "x").qos(2, 0));
        let messages = world.messages(client);
        let found = Vec::from_iter(messages.iter().map(|m| (m.topic.as_str(), m.qos)));
        assert_eq!(found, [("a", 1), ("b", 0), ("c/d", 1)]);
    });
}

/// MQTT-3.8.4-3.
fn mqtt_3_8_4_3_the_same_filter_replaces_every_option() {
    each5(|world| {
        let publisher = client(world, "publisher");
        let client = client(world, "client");
        let first = subscription_identifier(1);
        let options = 2 | NO_LOCAL | RETAIN_AS_PUBLISHED;
        subscribes_with(world, client, &first, "t", options);
        let message = publish("t", "x").qos(2, 0).retain();
        world.publish(publisher, &message);
        let before = world.messages_full(client);
        assert_eq!(before.len(), 1);
        assert_eq!(before[0].identifiers(), [1]);
        assert_eq!(
            (before[0].message().qos, before[0].message().retain),
            (2, true)
        );
        let second = subscription_identifier(2);
        subscribes_with(world, client, &second, "t", 1 | RETAIN_NEVER);
        world.publish(publisher, &message);
        world.publish(client, &message);
        let after = world.messages_full(client);
        assert_eq!(after.len(), 2);
        for full in after {
            assert_eq!(full.identifiers(), [2]);
            assert_eq!((full.message().qos, full.message().retain), (1, false));
        }
        // Without an identifier the old one goes.
        subscribes(world, client, "t", RETAIN_NEVER);
        world.publish(publisher, &message);
        assert_eq!(world.messages_full(client)[0].identifiers(), [0; 0]);
    });
}

/// MQTT-3.8.4-4.
fn mqtt_3_8_4_4_no_live_message_is_lost_in_a_replacement() {
    each5(|world| {
        let publisher = client(world, "publisher");
        let client = world.connect(&connect(V5, "id").with(receive_maximum(2)));
        subscribes(world, client, "t", 2);
        for number in 0..10u8 {
            world.publish(publisher, &publish("t", [number]).qos(1, 0));
            subscribes(world, client, "t", 1 + number % 2);
        }
        let payloads = Vec::from_iter(world.messages(client).iter().map(|m| m.payload[0]));
        assert_eq!(payloads, Vec::from_iter(0..10));
    });
}

/// MQTT-3.8.4-8.
fn mqtt_3_8_4_8_delivery_is_at_the_lower_qos() {
    each5(|world| {
        let publisher = client(world, "publisher");
        let client = client(world, "client");
        for granted in 0..=2 {
            subscribes(world, client, "t", granted);
            for published in 0..=2 {
                world.publish(publisher, &publish("t", "x").qos(published, 0));
                let messages = world.messages(client);
                assert_eq!(messages.len(), 1);
                assert_eq!(messages[0].qos, granted.min(published));
            }
        }
    });
}

/// MQTT-3.9.2-1, MQTT-3.9.2-2, MQTT-3.11.2-1, MQTT-3.11.2-2. The oracle checks the size.
fn mqtt_3_9_2_1_suback_and_unsuback_shed_what_is_too_large() {
    each5(|world| {
        for bytes in [20, 21, 30, 60, 100] {
            let connect = connect(V5, "id").with(maximum_packet_size(bytes));
            let client = world.connect(&connect);
            // Its CONNACK fits already.
            let deep = "/".repeat(201);
            world.send(client, subscribe(V5, 1, &[(&deep, 0), ("t", 1)]));
            let suback = world.received_full(client);
            assert!(matches!(
                suback.last().expect("SUBACK").packet,
                Packet::SubAck { packet_id: 1, .. }
            ));
            world.send(client, unsubscribe(V5, 2, &[&deep, "none"]));
            let unsuback = world.received_full(client);
            assert!(matches!(
                unsuback[..],
                [Full {
                    packet: Packet::UnsubAck { packet_id: 2, .. },
                    ..
                }]
            ));
        }
    });
}

/// MQTT-3.8.4-5, MQTT-3.3.4-4. One identifier counts for all filters of a packet.
fn mqtt_3_8_4_5_an_identifier_is_for_every_filter_of_its_packet() {
    each5(|world| {
        let client = client(world, "client");
        let filters = [("a", 1), ("b", 2)];
        world.send(
            client,
            subscribe_with(1, &subscription_identifier(70_000), &filters),
        );
        world.publish(client, &publish("a", "x"));
        world.publish(client, &publish("b", "x"));
        let messages = world.messages_full(client);
        let identifiers = Vec::from_iter(messages.iter().map(Full::identifiers));
        assert_eq!(identifiers, [[70_000], [70_000]]);
        assert!(
            messages
                .iter()
                .all(|full| full.has(SUBSCRIPTION_IDENTIFIER))
        );
    });
}
