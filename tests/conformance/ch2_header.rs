//! 2 MQTT Control Packet format.

use crate::claims::*;
use crate::support::*;
use mqttfast::config::Settings;

crate::table! {
    mqtt_2_2_2_1_flags_of_every_server_packet,
    mqtt_2_2_2_2_wrong_flags_close,
    mqtt_2_3_1_1_packet_identifier_zero_closes,
    mqtt_2_3_1_1_packet_identifier_missing_closes,
    mqtt_2_3_1_4_server_packet_identifiers_are_unused_and_not_zero,
    mqtt_2_3_1_4_server_packet_identifiers_wrap_around_those_in_use,
    mqtt_2_3_1_5_qos_0_has_no_packet_identifier,
    mqtt_2_3_1_6_acknowledgements_carry_the_identifier_of_their_publish,
    mqtt_2_3_1_7_suback_and_unsuback_carry_the_identifier_of_their_request,
}

fn mqtt_2_2_2_1_flags_of_every_server_packet() {
    // The oracle checks the flags; this test brings every type of server packet about.
    each(ALL, |world, version| {
        let client = world.connect(&connect(version, "client"));
        world.send(client, subscribe(version, 1, &[("t", 2)]));
        world.expect(
            client,
            &[Packet::SubAck {
                packet_id: 1,
                codes: vec![2],
            }],
        );
        world.send(client, pingreq());
        world.expect(client, &[Packet::PingResp]);
        for qos in 0..=2 {
            world.publish(client, &publish("t", "x").qos(qos, 0));
        }
        assert_eq!(world.messages(client).len(), 3);
        world.unsubscribe(client, "t");
        let mut types = std::collections::HashSet::new();
        for packet in world.history(client) {
            types.insert(std::mem::discriminant(packet));
        }
        assert_eq!(
            types.len(),
            9,
            "CONNACK, PUBLISH, four acknowledgements, SUBACK, UNSUBACK, PINGRESP"
        );
    });
}

fn mqtt_2_2_2_2_wrong_flags_close() {
    each(FROM_V311, |world, version| {
        let packets = [
            (puback(1), 0),
            (pubrec(1), 0),
            (pubrel(1), 2),
            (pubcomp(1), 0),
            (subscribe(version, 1, &[("t", 0)]), 2),
            (unsubscribe(version, 1, &["t"]), 2),
            (pingreq(), 0),
            (disconnect(), 0),
        ];
        for (packet, right) in packets {
            for flags in (0..16).filter(|flags| *flags != right) {
                closes(world, version, with_flags(packet.clone(), flags));
            }
        }
        for flags in 1..16 {
            let packet = connect(version, "id").bytes();
            closes_unanswered(world, version, with_flags(packet, flags));
        }
    });
}

fn mqtt_2_3_1_1_packet_identifier_zero_closes() {
    each(ALL, |world, version| {
        let watcher = watcher(world, version);
        closes(world, version, subscribe(version, 0, &[("t", 0)]));
        closes(world, version, unsubscribe(version, 0, &["t"]));
        closes(world, version, publish("t", "x").qos(1, 0).bytes(version));
        closes(world, version, publish("t", "x").qos(2, 0).bytes(version));
        assert_eq!(world.messages(watcher), []);
    });
}

fn mqtt_2_3_1_1_packet_identifier_missing_closes() {
    each(ALL, |world, version| {
        for first in [0x32, 0x34] {
            closes(world, version, packet(first, &[0, 1, b't']));
            closes(world, version, packet(first, &[0, 1, b't', 7]));
        }
        for first in [0x40, 0x50, 0x62, 0x70, 0x82, 0xa2] {
            closes(world, version, packet(first, &[]));
            closes(world, version, packet(first, &[1]));
        }
    });
}

fn mqtt_2_3_1_4_server_packet_identifiers_are_unused_and_not_zero() {
    each(ALL, |world, version| {
        let subscriber = world.connect(&connect(version, "subscriber"));
        world.subscribe(subscriber, "#", 2);
        let publisher = publisher(world, version);
        for number in 0..12 {
            world.publish(
                publisher,
                &publish("t", number.to_string()).qos(1 + number % 2, 0),
            );
        }
        let mut packet_ids: Vec<u16> = world
            .received(subscriber)
            .iter()
            .map(|packet| packet.message().expect("only PUBLISH").packet_id)
            .collect();
        assert_eq!(packet_ids.len(), 12);
        packet_ids.sort_unstable();
        packet_ids.dedup();
        assert_eq!(
            packet_ids.len(),
            12,
            "an identifier is used twice at a time"
        );
        assert_ne!(packet_ids[0], 0);
    });
}

fn mqtt_2_3_1_4_server_packet_identifiers_wrap_around_those_in_use() {
    let settings = Settings {
        inflight_max: 1001,
        ..Settings::default()
    };
    once_with(Version::V311, &settings, |world, version| {
        let subscriber = world.connect(&connect(version, "subscriber"));
        world.subscribe(subscriber, "#", 2);
        let publisher = publisher(world, version);
        // This one is never acknowledged.
        world.publish(publisher, &publish("t", "held").qos(1, 1));
        let held = world.received(subscriber)[0]
            .message()
            .expect("a message")
            .packet_id;
        let mut sent = 0;
        while sent < 66_000 {
            let mut batch = Vec::new();
            for packet_id in 1..=1000 {
                batch.extend(publish("t", "x").qos(1, packet_id).bytes(version));
            }
            world.send(publisher, batch);
            world.received(publisher);
            let messages = world.messages(subscriber);
            sent += messages.len();
            assert_eq!(messages.len(), 1000);
            for message in messages {
                assert_ne!(
                    message.packet_id, held,
                    "the identifier of a message in flight was used again"
                );
            }
        }
    });
}

fn mqtt_2_3_1_5_qos_0_has_no_packet_identifier() {
    each(ALL, |world, version| {
        let watcher = watcher(world, version);
        let publisher = publisher(world, version);
        for payload in [&b""[..], b"\x00", b"\x00\x07", b"\x00\x00abc"] {
            world.publish(publisher, &publish("t", payload));
            let messages = world.messages(watcher);
            assert_eq!(messages.len(), 1);
            assert_eq!(
                (messages[0].qos, messages[0].payload.as_slice()),
                (0, payload)
            );
        }
        assert_eq!(world.received(publisher), []);
    });
}

fn mqtt_2_3_1_6_acknowledgements_carry_the_identifier_of_their_publish() {
    each(ALL, |world, version| {
        let publisher = publisher(world, version);
        let subscriber = world.connect(&connect(version, "subscriber"));
        world.subscribe(subscriber, "t", 2);
        for packet_id in [1, 255, 256, 32_768, 65_535] {
            // `publish` checks the identifiers of PUBACK, PUBREC and PUBCOMP.
            world.publish(publisher, &publish("t", "x").qos(1, packet_id));
            world.publish(publisher, &publish("t", "x").qos(2, packet_id));
        }
        for packet in world.received(subscriber) {
            let message = packet.message().expect("only PUBLISH");
            if message.qos == 2 {
                world.send(subscriber, pubrec(message.packet_id));
                world.expect(subscriber, &[Packet::pubrel(message.packet_id)]);
            }
        }
    });
}

fn mqtt_2_3_1_7_suback_and_unsuback_carry_the_identifier_of_their_request() {
    each(ALL, |world, version| {
        let client = world.connect(&connect(version, "client"));
        for packet_id in [1, 255, 256, 32_768, 65_535] {
            world.send(client, subscribe(version, packet_id, &[("t", 1)]));
            world.expect(
                client,
                &[Packet::SubAck {
                    packet_id,
                    codes: vec![1],
                }],
            );
            world.send(client, unsubscribe(version, packet_id, &["t"]));
            let received = world.received(client);
            assert!(
                matches!(received.as_slice(), [Packet::UnsubAck { packet_id: id, .. }] if *id == packet_id),
                "{received:?}"
            );
        }
    });
}
