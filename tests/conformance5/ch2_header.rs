//! 2 MQTT Control Packet format.

use crate::claims::*;
use crate::support::property::*;
use crate::support::*;

crate::table! {
    mqtt_2_1_3_1_reserved_flags_are_checked,
    mqtt_2_1_3_1_flags_of_every_server_packet,
    mqtt_2_2_1_2_qos_0_has_no_packet_identifier,
    mqtt_2_2_1_3_packet_identifier_0_closes,
    mqtt_2_2_1_4_server_packet_identifiers_are_not_in_use,
    mqtt_2_2_1_5_answers_carry_the_identifier_of_their_packet,
    mqtt_2_2_2_1_a_missing_property_length_is_malformed,
    mqtt_4_13_1_1_wrong_properties_close,
}

/// MQTT-2.1.3-1, MQTT-3.6.1-1, MQTT-3.8.1-1, MQTT-3.10.1-1, MQTT-3.14.1-1, MQTT-3.15.1-1.
fn mqtt_2_1_3_1_reserved_flags_are_checked() {
    each5(|world| {
        let packets = [
            (puback(1), 0),
            (pubrec(1), 0),
            (pubrel(1), 2),
            (pubcomp(1), 0),
            (subscribe(V5, 1, &[("t", 0)]), 2),
            (unsubscribe(V5, 1, &["t"]), 2),
            (pingreq(), 0),
            (disconnect(), 0),
            (packet(0xf0, &[]), 0),
        ];
        for (packet, right) in packets {
            for flags in (0..16).filter(|flags| *flags != right) {
                closes_with(world, with_flags(packet.clone(), flags), MALFORMED);
            }
        }
        for flags in 1..16 {
            let packet = with_flags(connect(V5, "id").bytes(), flags);
            refused_with(world, packet, MALFORMED);
        }
    });
}

/// MQTT-2.1.3-1. The oracle checks the flags; here every type of server packet comes about.
fn mqtt_2_1_3_1_flags_of_every_server_packet() {
    each5(|world| {
        let client = client(world, "client");
        world.subscribe(client, "t", 2);
        alive(world, client);
        for qos in 0..=2 {
            world.publish(client, &publish("t", "x").qos(qos, 0));
        }
        assert_eq!(world.messages(client).len(), 3);
        world.unsubscribe(client, "t");
        world.send(client, connect(V5, "again").bytes());
        let mut types = std::collections::HashSet::new();
        for packet in world.history(client) {
            types.insert(std::mem::discriminant(packet));
        }
        assert_eq!(types.len(), 10, "all but AUTH");
    });
}

/// MQTT-2.2.1-2. A field of two bytes more would be taken for the property length.
fn mqtt_2_2_1_2_qos_0_has_no_packet_identifier() {
    each5(|world| {
        let watcher = watcher(world);
        let publisher = client(world, "publisher");
        world.send(publisher, b"\x30\x05\x00\x01t\x00x");
        assert_eq!(world.texts(watcher), ["x"]);
        let history = world.history(watcher);
        let message = history.last().and_then(Packet::message).expect("PUBLISH");
        assert_eq!((message.qos, message.packet_id), (0, 0));
    });
}

/// MQTT-2.2.1-3.
fn mqtt_2_2_1_3_packet_identifier_0_closes() {
    each5(|world| {
        for packet in [
            subscribe(V5, 0, &[("t", 0)]),
            unsubscribe(V5, 0, &["t"]),
            publish("t", "x").qos(1, 0).bytes(V5),
            publish("t", "x").qos(2, 0).bytes(V5),
        ] {
            closes_with(world, packet, PROTOCOL_ERROR);
        }
    });
}

/// MQTT-2.2.1-4, MQTT-4.3.2-1, MQTT-4.3.3-1. The oracle refuses 0.
fn mqtt_2_2_1_4_server_packet_identifiers_are_not_in_use() {
    each5(|world| {
        let subscriber = client(world, "subscriber");
        world.subscribe(subscriber, "#", 2);
        let publisher = client(world, "publisher");
        for number in 0..16u8 {
            let qos = 1 + number % 2;
            world.publish(publisher, &publish("t", [number]).qos(qos, 0));
        }
        let mut messages = unanswered(world, subscriber);
        assert_eq!(messages.len(), 16);
        // Half of them end; those that stay must not be taken again.
        for message in messages.drain(..8) {
            let id = message.packet_id;
            if message.qos == 1 {
                world.send(subscriber, puback(id));
            } else {
                world.send(subscriber, pubrec(id));
                world.send(subscriber, pubcomp(id));
            }
        }
        let mut ids: Vec<u16> = messages.iter().map(|message| message.packet_id).collect();
        for number in 0..8 {
            world.publish(publisher, &publish("t", [number]).qos(1, 0));
        }
        ids.extend(unanswered(world, subscriber).iter().map(|m| m.packet_id));
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 16);
    });
}

/// MQTT-2.2.1-5, MQTT-2.2.1-6, MQTT-3.8.4-2, MQTT-3.10.4-5.
fn mqtt_2_2_1_5_answers_carry_the_identifier_of_their_packet() {
    each5(|world| {
        let client = client(world, "client");
        for id in [1, 2, 255, 256, 65_535] {
            world.send(client, publish("t", "x").qos(1, id).bytes(V5));
            world.send(client, publish("t", "x").qos(2, id).bytes(V5));
            world.send(client, pubrel(id));
            world.send(client, subscribe(V5, id, &[("u", 0)]));
            let code = 0x10;
            world.expect(
                client,
                &[
                    Packet::PubAck {
                        packet_id: id,
                        code,
                    },
                    Packet::PubRec {
                        packet_id: id,
                        code,
                    },
                    Packet::pubcomp(id),
                    Packet::SubAck {
                        packet_id: id,
                        codes: vec![0],
                    },
                ],
            );
            // Only now: a SUBACK waits for all shards, and an UNSUBACK may pass it.
            world.send(client, unsubscribe(V5, id, &["u"]));
            world.expect(
                client,
                &[Packet::UnsubAck {
                    packet_id: id,
                    codes: vec![0],
                }],
            );
        }
    });
}

/// MQTT-2.2.2-1. Towards us: a packet that leaves out a property length that it needs is malformed. From us: the
/// oracle.
fn mqtt_2_2_2_1_a_missing_property_length_is_malformed() {
    each5(|world| {
        for packet in [
            &b"\x30\x03\x00\x01t"[..],
            b"\x32\x05\x00\x01t\x00\x01",
            b"\x82\x02\x00\x01",
            b"\xa2\x02\x00\x01",
        ] {
            closes_with(world, packet, MALFORMED);
        }
        // A property length that runs past the packet.
        let packet = b"\x30\x05\x00\x01t\x05x";
        closes_with(world, packet, MALFORMED);
        refused_with(world, b"\x10\x0a\x00\x04MQTT\x05\x02\x00\x00", MALFORMED);
        // Where a packet may end before it, it is complete.
        let client = client(world, "client");
        world.send(client, acknowledge_code(0x40, 1, 0));
        world.send(client, acknowledge_with(0x40, 1, 0, &[]));
        alive(world, client);
    });
}

/// MQTT-4.13.1-1, MQTT-3.1.4-1. Every property where it may not stand, twice where it may stand once, and out of its
/// range.
fn mqtt_4_13_1_1_wrong_properties_close() {
    each5(|world| {
        let known = [
            byte(PAYLOAD_FORMAT_INDICATOR, 0),
            message_expiry(1),
            text(CONTENT_TYPE, "c"),
            text(RESPONSE_TOPIC, "r"),
            text(CORRELATION_DATA, "c"),
            subscription_identifier(1),
            session_expiry(1),
            text(ASSIGNED_CLIENT_IDENTIFIER, "i"),
            two_bytes(SERVER_KEEP_ALIVE, 1),
            text(AUTHENTICATION_METHOD, "m"),
            text(AUTHENTICATION_DATA, "d"),
            byte(REQUEST_PROBLEM_INFORMATION, 1),
            will_delay(1),
            byte(REQUEST_RESPONSE_INFORMATION, 1),
            text(RESPONSE_INFORMATION, "r"),
            text(SERVER_REFERENCE, "s"),
            text(REASON_STRING, "r"),
            receive_maximum(1),
            topic_alias_maximum(1),
            topic_alias(1),
            byte(MAXIMUM_QOS, 1),
            byte(RETAIN_AVAILABLE, 1),
            user_property("n", "v"),
            maximum_packet_size(1000),
            byte(WILDCARD_SUBSCRIPTION_AVAILABLE, 1),
            byte(SUBSCRIPTION_IDENTIFIER_AVAILABLE, 1),
            byte(SHARED_SUBSCRIPTION_AVAILABLE, 1),
            vec![0x00],
            vec![0x04],
            vec![0x2b],
            vec![0x7f],
            vec![0xff],
        ];
        let in_connect = [
            SESSION_EXPIRY_INTERVAL,
            AUTHENTICATION_METHOD,
            AUTHENTICATION_DATA,
            REQUEST_PROBLEM_INFORMATION,
            REQUEST_RESPONSE_INFORMATION,
            RECEIVE_MAXIMUM,
            TOPIC_ALIAS_MAXIMUM,
            USER_PROPERTY,
            MAXIMUM_PACKET_SIZE,
        ];
        let in_publish = [
            PAYLOAD_FORMAT_INDICATOR,
            MESSAGE_EXPIRY_INTERVAL,
            CONTENT_TYPE,
            RESPONSE_TOPIC,
            CORRELATION_DATA,
            SUBSCRIPTION_IDENTIFIER,
            TOPIC_ALIAS,
            USER_PROPERTY,
        ];
        let once = |id: u8| id != USER_PROPERTY && id != SUBSCRIPTION_IDENTIFIER;
        for property in known {
            let id = property[0];
            let twice = [property.clone(), property.clone()].concat();
            if !in_publish.contains(&id) {
                let packet = publish("t", "x").with(property.clone()).bytes(V5);
                closes_with(world, packet, MALFORMED);
            } else if once(id) {
                let packet = publish("t", "x").with(twice.clone()).bytes(V5);
                closes_with(world, packet, PROTOCOL_ERROR);
            }
            if !in_connect.contains(&id) {
                let packet = connect(V5, "id").with(property.clone()).bytes();
                refused_with(world, packet, MALFORMED);
            } else if once(id) {
                let packet = connect(V5, "id").with(twice.clone()).bytes();
                refused_with(world, packet, PROTOCOL_ERROR);
            }
            if id != REASON_STRING && id != USER_PROPERTY {
                let packet = acknowledge_with(0x40, 1, 0, &property);
                closes_with(world, packet, MALFORMED);
            }
            if id != SUBSCRIPTION_IDENTIFIER && id != USER_PROPERTY {
                let packet = subscribe_with(1, &property, &[("t", 0)]);
                closes_with(world, packet, MALFORMED);
            }
            if id != USER_PROPERTY {
                let packet = unsubscribe_with(1, &property, &["t"]);
                closes_with(world, packet, MALFORMED);
            }
        }
        for property in [
            byte(REQUEST_PROBLEM_INFORMATION, 2),
            byte(REQUEST_RESPONSE_INFORMATION, 2),
            receive_maximum(0),
            maximum_packet_size(0),
            text(AUTHENTICATION_DATA, "without a method"),
        ] {
            let packet = connect(V5, "id").with(property).bytes();
            refused_with(world, packet, PROTOCOL_ERROR);
        }
        let packet = publish("t", "x").with(byte(PAYLOAD_FORMAT_INDICATOR, 2));
        closes_with(world, packet.bytes(V5), PROTOCOL_ERROR);
        let packet = subscribe_with(1, &subscription_identifier(0), &[("t", 0)]);
        closes_with(world, packet, PROTOCOL_ERROR);
    });
}
