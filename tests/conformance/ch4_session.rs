//! 4.1 Storing state, 4.4 Message delivery retry, 4.5 Message receipt, 4.8 Handling errors and 7.1.1 MQTT Server.

use crate::claims::*;
use crate::support::*;

crate::table! {
    mqtt_4_1_0_1_session_state_is_stored_for_the_whole_session,
    mqtt_4_1_0_2_session_lasts_as_long_as_its_connection,
    mqtt_4_4_0_1_unacknowledged_publish_and_pubrel_are_sent_again,
    mqtt_4_4_0_1_nothing_is_sent_again_on_a_live_connection,
    mqtt_4_5_0_1_message_reaches_every_matching_session,
    mqtt_4_8_0_1_protocol_violation_closes,
    mqtt_4_8_0_1_server_packets_from_a_client_close,
    mqtt_7_1_1_1_the_stream_may_be_cut_anywhere,
}

fn mqtt_4_1_0_1_session_state_is_stored_for_the_whole_session() {
    each(ALL, |world, version| {
        let watcher = watcher(world, version);
        let publisher = publisher(world, version);
        let id = connect(version, "kept").persistent();
        let client = world.connect(&id);
        // Every part of it: subscriptions with their QoS, what is in flight, what is received by halves, what waits.
        world.send(
            client,
            subscribe(version, 1, &[("q0", 0), ("q1", 1), ("q2/#", 2)]),
        );
        world.received(client);
        world.publish(publisher, &publish("q1", "open 1").qos(2, 0));
        world.publish(publisher, &publish("q2/a", "open 2").qos(2, 0));
        world.publish(publisher, &publish("q2/b", "released").qos(2, 0));
        let in_flight = world.received(client);
        let ids: Vec<u16> = in_flight
            .iter()
            .map(|packet| packet.message().expect("PUBLISH").packet_id)
            .collect();
        world.send(client, pubrec(ids[2]));
        world.send(client, publish("own", "half").qos(2, 77).bytes(version));
        world.drop_connection(client);
        world.publish(publisher, &publish("q1", "queued 1").qos(1, 0));
        world.publish(publisher, &publish("q2/c", "queued 2").qos(2, 0));
        world.messages(watcher);
        // A month later all is there.
        world.pass_long(30 * 24 * 3600 * 1000);
        let (client, session_present) = world.connect_present(&id);
        assert_eq!(session_present, present(version, true));
        let received = world.received(client);
        let message = |index: usize| {
            received[index]
                .message()
                .unwrap_or_else(|| panic!("{received:?}"))
        };
        assert_eq!(
            (
                message(0).text().as_str(),
                message(0).packet_id,
                message(0).dup
            ),
            ("open 1", ids[0], true)
        );
        assert_eq!(
            (
                message(1).text().as_str(),
                message(1).packet_id,
                message(1).dup
            ),
            ("open 2", ids[1], true)
        );
        assert_eq!(received[2], Packet::pubrel(ids[2]));
        assert_eq!(
            (message(3).text().as_str(), message(3).qos, message(3).dup),
            ("queued 1", 1, false)
        );
        assert_eq!(
            (message(4).text().as_str(), message(4).qos, message(4).dup),
            ("queued 2", 2, false)
        );
        assert_eq!(received.len(), 5);
        world.send(
            client,
            publish("own", "half").qos(2, 77).dup().bytes(version),
        );
        world.expect(client, &[Packet::pubrec(77)]);
        assert_eq!(
            world.messages(watcher),
            [],
            "the half-received message came once"
        );
        for (topic, qos) in [("q0", 0), ("q1", 1), ("q2/x", 2)] {
            world.publish(publisher, &publish(topic, "live").qos(2, 0));
            let live = world.received(client);
            assert_eq!(live.len(), 1);
            assert_eq!(live[0].message().expect("PUBLISH").qos, qos);
        }
    });
}

fn mqtt_4_1_0_2_session_lasts_as_long_as_its_connection() {
    each(ALL, |world, version| {
        let publisher = publisher(world, version);
        let client = world.connect(&connect(version, "clean"));
        world.subscribe(client, "t", 1);
        for _ in 0..5 {
            world.pass_long(24 * 3600 * 1000);
            world.publish(publisher, &publish("t", "x").qos(1, 0));
            assert_eq!(world.texts(client), ["x"]);
        }
    });
}

fn mqtt_4_4_0_1_unacknowledged_publish_and_pubrel_are_sent_again() {
    each(ALL, |world, version| {
        let publisher = publisher(world, version);
        let id = connect(version, "kept").persistent();
        let client = world.connect(&id);
        world.subscribe(client, "t", 2);
        for number in 0..6 {
            world.publish(
                publisher,
                &publish("t", number.to_string()).qos(1 + number % 2, 0),
            );
        }
        let first = world.received(client);
        let packet_id = |index: usize| first[index].message().expect("PUBLISH").packet_id;
        // 0 is done, 1 reached PUBREC, 3 is done.
        world.send(client, puback(packet_id(0)));
        world.send(client, pubrec(packet_id(1)));
        world.send(client, pubrec(packet_id(3)));
        world.send(client, pubcomp(packet_id(3)));
        for _ in 0..3 {
            world.drop_connection(client);
            let client = world.connect(&id);
            let received = world.received(client);
            // Where the PUBREL stands among the others is free: PUBLISH and PUBREL are ordered among themselves.
            let publishes: Vec<_> = received
                .iter()
                .filter_map(Packet::message)
                .map(|message| (message.packet_id, message.text(), message.dup))
                .collect();
            let expected: Vec<_> = [2, 4, 5]
                .iter()
                .map(|index| (packet_id(*index), index.to_string(), true))
                .collect();
            assert_eq!(publishes, expected);
            assert_eq!(received.len(), 4);
            assert!(
                received.contains(&Packet::pubrel(packet_id(1))),
                "{received:?}"
            );
        }
    });
}

fn mqtt_4_4_0_1_nothing_is_sent_again_on_a_live_connection() {
    each(ALL, |world, version| {
        let publisher = publisher(world, version);
        let client = world.connect(&connect(version, "kept").persistent());
        world.subscribe(client, "t", 2);
        world.publish(publisher, &publish("t", "x").qos(1, 0));
        world.publish(publisher, &publish("t", "y").qos(2, 0));
        assert_eq!(world.received(client).len(), 2);
        world.pass_long(3600 * 1000);
        assert_eq!(world.received(client), []);
    });
}

fn mqtt_4_5_0_1_message_reaches_every_matching_session() {
    each(ALL, |world, version| {
        let mut present = Vec::new();
        for number in 0..12 {
            let client = world.connect(&connect(version, &format!("present {number}")));
            let filter = ["a/b", "a/+", "+/b", "#"][number % 4];
            world.subscribe(client, filter, (number % 3) as u8);
            present.push(client);
        }
        for number in 0..6 {
            let client = world.connect(&connect(version, &format!("absent {number}")).persistent());
            world.subscribe(client, "a/#", 1);
            world.disconnect(client);
        }
        let stranger = world.connect(&connect(version, "stranger"));
        world.subscribe(stranger, "a/c", 2);
        let publisher = publisher(world, version);
        world.subscribe(publisher, "a/b", 0);
        world.publish(publisher, &publish("a/b", "all").qos(2, 0));
        for client in present {
            assert_eq!(world.texts(client), ["all"]);
        }
        assert_eq!(world.texts(publisher), ["all"], "its own message, too");
        assert_eq!(world.messages(stranger), []);
        for number in 0..6 {
            let client = world.connect(&connect(version, &format!("absent {number}")).persistent());
            assert_eq!(world.texts(client), ["all"]);
        }
    });
}

fn mqtt_4_8_0_1_protocol_violation_closes() {
    each(ALL, |world, version| {
        let watcher = watcher(world, version);
        let suback = packet(0x90, &[0, 1, 0]);
        let violations = [
            vec![0x00, 0],
            vec![0x20, 2, 0, 0],
            suback,
            packet(0xb0, &[0, 1]),
            vec![0xd0, 0],
            vec![0x30, 0xff, 0xff, 0xff, 0xff, 0x7f],
            vec![0x30, 0x80, 0x80, 0x80, 0x80],
            packet(0x40, &[0, 0]),
            packet(0x82, &[0, 1]),
        ];
        for bytes in violations {
            // What stood before it counts, what comes after it does not.
            let id = connect(version, "offender").will("will", "gone", 0, false);
            let client = world.connect(&id);
            let mut sent = publish("t", "before").qos(1, 1).bytes(version);
            sent.extend(&bytes);
            sent.extend(publish("t", "after").qos(1, 2).bytes(version));
            world.send(client, sent);
            assert!(world.is_closed(client), "still open after {bytes:02x?}");
            let puback = world.take(client, |packet| {
                matches!(packet, Packet::PubAck { packet_id: 1, .. })
            });
            assert!(
                puback.is_some(),
                "the packet before the violation is answered"
            );
            assert_eq!(world.texts(watcher), ["before", "gone"]);
        }
        if version != Version::V5 {
            closes(world, version, [0xf0, 0]);
        }
    });
}

fn mqtt_4_8_0_1_server_packets_from_a_client_close() {
    each(ALL, |world, version| {
        for bytes in [
            vec![0x20, 2, 0, 0],
            packet(0x90, &[0, 1, 0]),
            packet(0xb0, &[0, 1]),
            vec![0xd0, 0],
        ] {
            closes(world, version, bytes);
        }
    });
}

fn mqtt_7_1_1_1_the_stream_may_be_cut_anywhere() {
    // The transport is a byte stream: its cuts mean nothing. Sockets have tests of their own.
    each(ALL, |world, version| {
        let id = connect(version, "id").persistent().will("w", "x", 1, true);
        let mut stream = id.user(b"u").password(b"p").bytes();
        stream.extend(subscribe(version, 1, &[("t/#", 2)]));
        stream.extend(publish("t/1", "zero").bytes(version));
        stream.extend(publish("r", "one").qos(1, 2).retain().bytes(version));
        stream.extend(publish("t/2", "x".repeat(300)).qos(2, 3).bytes(version));
        stream.extend(pubrel(3));
        stream.extend(unsubscribe(version, 4, &["t/#"]));
        stream.extend(pingreq());
        let whole = world.open(version);
        world.send(whole, &stream);
        let expected = in_any_order(world.received(whole));
        assert_eq!(expected.len(), 9, "{expected:?}");
        for cut in 1..stream.len() {
            // A clean session in between: every run begins anew.
            world.connect(&connect(version, "id"));
            let client = world.open(version);
            world.send(client, &stream[..cut]);
            world.send(client, &stream[cut..]);
            assert_eq!(
                in_any_order(world.received(client)),
                expected,
                "cut at {cut}"
            );
        }
        world.connect(&connect(version, "id"));
        let client = world.open(version);
        world.send_split(client, &stream);
        assert_eq!(in_any_order(world.received(client)), expected);
    });
}

/// The packets as sorted text: whether a message comes before or after an acknowledgement of something else is free.
fn in_any_order(packets: Vec<Packet>) -> Vec<String> {
    let mut texts: Vec<String> = packets.iter().map(|packet| format!("{packet:?}")).collect();
    texts.sort();
    texts
}
