//! 4.1 to 4.6: session state, delivery at each QoS, retry and order.

use crate::claims::*;
use crate::support::*;
use mqttfast::config::Settings;

crate::table! {
    mqtt_4_4_0_1_unacknowledged_packets_come_again_on_resumption_alone,
    mqtt_4_3_3_7_qos_2_once_sent_does_not_expire,
    mqtt_4_3_2_5_after_puback_the_identifier_is_a_new_message,
    mqtt_4_3_3_10_qos_2_is_delivered_once_until_pubrel,
    mqtt_4_5_0_1_every_matching_session_gets_the_message,
    mqtt_4_6_0_5_order_is_kept,
    mqtt_4_6_0_5_what_comes_again_keeps_its_order,
    mqtt_4_2_1_the_stream_may_be_cut_anywhere,
    mqtt_4_5_0_1_messages_cross_between_versions,
}

/// MQTT-4.3.2-2, MQTT-4.3.2-3, MQTT-4.3.3-2, MQTT-4.3.3-3, MQTT-4.3.3-4, MQTT-4.3.3-5, MQTT-4.3.3-6, MQTT-4.4.0-1.
fn mqtt_4_4_0_1_unacknowledged_packets_come_again_on_resumption_alone() {
    each5(|world| {
        let publisher = client(world, "publisher");
        let kept = connect(V5, "id").persistent();
        let mut subscriber = world.connect(&kept);
        world.subscribe(subscriber, "t", 2);
        world.publish(publisher, &publish("t", "one").qos(1, 0));
        world.publish(publisher, &publish("t", "two").qos(2, 0));
        world.publish(publisher, &publish("t", "three").qos(2, 0));
        let first = unanswered(world, subscriber);
        let sent = Vec::from_iter(first.iter().map(|m| (m.text(), m.qos, m.dup)));
        let expected = [("one", 1), ("two", 2), ("three", 2)];
        let expected = expected.map(|(text, qos)| (text.to_owned(), qos, false));
        assert_eq!(sent, expected);
        let [one, two, three] = [0, 1, 2].map(|at| first[at].packet_id);
        // No time brings anything again.
        world.pass_long(600_000);
        world.expect(subscriber, &[]);
        world.send(subscriber, pubrec(two));
        world.expect(subscriber, &[Packet::pubrel(two)]);
        world.pass_long(600_000);
        world.expect(subscriber, &[]);
        // PUBLISH is unacknowledged until PUBACK or PUBREC, PUBREL until PUBCOMP.
        for _ in 0..3 {
            world.drop_connection(subscriber);
            subscriber = world.connect(&kept);
            let again = world.received(subscriber);
            assert_eq!(again.len(), 3, "{again:?}");
            let ids = [&again[0], &again[2]].map(|packet| {
                let message = packet.message().expect("PUBLISH");
                assert!(message.dup);
                (message.packet_id, message.text())
            });
            assert_eq!(ids, [(one, "one".to_owned()), (three, "three".to_owned())]);
            assert_eq!(again[1], Packet::pubrel(two));
        }
        world.send(subscriber, puback(one));
        world.send(subscriber, pubcomp(two));
        world.send(subscriber, pubrec(three));
        world.expect(subscriber, &[Packet::pubrel(three)]);
        world.drop_connection(subscriber);
        let subscriber = world.connect(&kept);
        world.expect(subscriber, &[Packet::pubrel(three)]);
        world.send(subscriber, pubcomp(three));
        // A clean start ends all that.
        world.publish(publisher, &publish("t", "four").qos(2, 0));
        world.drop_connection(subscriber);
        let subscriber = world.connect(&connect(V5, "id"));
        world.expect(subscriber, &[]);
    });
}

/// MQTT-4.3.3-7, MQTT-4.3.3-13.
fn mqtt_4_3_3_7_qos_2_once_sent_does_not_expire() {
    each5(|world| {
        let publisher = client(world, "publisher");
        let kept = connect(V5, "id").persistent();
        let subscriber = world.connect(&kept);
        world.subscribe(subscriber, "t", 2);
        let message = publish("t", "x").qos(2, 7).with(message_expiry(2));
        world.send(publisher, message.bytes(V5));
        let first = unanswered(world, subscriber);
        world.drop_connection(subscriber);
        world.pass(world.either(60_000, 3_100));
        let subscriber = world.connect(&kept);
        let again = unanswered(world, subscriber);
        assert_eq!(again.len(), 1);
        assert_eq!(again[0].packet_id, first[0].packet_id);
        world.send(subscriber, pubrec(first[0].packet_id));
        world.expect(subscriber, &[Packet::pubrel(first[0].packet_id)]);
        world.send(subscriber, pubcomp(first[0].packet_id));
        // As the receiver too we finish the handshake of an expired message.
        world.expect(publisher, &[Packet::pubrec(7)]);
        world.send(publisher, message.clone().dup().bytes(V5));
        assert!(matches!(
            world.received(publisher)[..],
            [Packet::PubRec {
                packet_id: 7,
                code: 0 | 0x10
            }]
        ));
        world.send(publisher, pubrel(7));
        world.expect(publisher, &[Packet::pubcomp(7)]);
    });
}

/// MQTT-4.3.2-5.
fn mqtt_4_3_2_5_after_puback_the_identifier_is_a_new_message() {
    each5(|world| {
        let watcher = watcher(world);
        let publisher = client(world, "publisher");
        for text in ["first", "second"] {
            world.send(publisher, publish("t", text).qos(1, 3).bytes(V5));
            world.expect(publisher, &[Packet::puback(3)]);
            world.send(publisher, publish("t", text).qos(1, 3).dup().bytes(V5));
            world.expect(publisher, &[Packet::puback(3)]);
        }
        let expected = ["first", "first", "second", "second"];
        assert_eq!(world.texts(watcher), expected);
    });
}

/// MQTT-4.3.3-10, MQTT-4.3.3-12, MQTT-4.3.3-8, MQTT-4.3.3-11.
fn mqtt_4_3_3_10_qos_2_is_delivered_once_until_pubrel() {
    each5(|world| {
        let watcher = watcher(world);
        let kept = connect(V5, "publisher").persistent();
        let mut publisher = world.connect(&kept);
        let message = publish("t", "once").qos(2, 3);
        for number in 0..3 {
            world.send(publisher, message.bytes(V5));
            world.send(publisher, message.clone().dup().bytes(V5));
            world.expect(publisher, &[Packet::pubrec(3), Packet::pubrec(3)]);
            // The memory of it is session state.
            world.drop_connection(publisher);
            publisher = world.connect(&kept);
            world.send(publisher, message.clone().dup().bytes(V5));
            world.expect(publisher, &[Packet::pubrec(3)]);
            world.send(publisher, pubrel(3));
            world.expect(publisher, &[Packet::pubcomp(3)]);
            // From here on the identifier is new, whatever DUP says.
            assert_eq!(world.texts(watcher).len(), 1, "{number}");
        }
        world.send(publisher, message.clone().dup().bytes(V5));
        assert_eq!(world.texts(watcher), ["once"]);
        // A clean start forgets it.
        world.drop_connection(publisher);
        let publisher = world.connect(&connect(V5, "publisher"));
        world.send(publisher, message.dup().bytes(V5));
        assert_eq!(world.texts(watcher), ["once"]);
    });
}

/// MQTT-4.5.0-1, MQTT-3.1.2-23.
fn mqtt_4_5_0_1_every_matching_session_gets_the_message() {
    each5(|world| {
        let publisher = client(world, "publisher");
        let mut sessions = Vec::new();
        for number in 0..6 {
            let connect = connect(V5, &format!("session {number}")).persistent();
            let client = world.connect(&connect);
            world.subscribe(client, ["t", "+", "#"][number % 3], 1);
            if number % 2 == 0 {
                world.drop_connection(client);
            }
            sessions.push((connect, client));
        }
        world.publish(publisher, &publish("t", "x").qos(1, 0));
        for (connect, mut client) in sessions {
            if !world.is_open(client) {
                client = world.connect(&connect);
            }
            assert_eq!(world.texts(client), ["x"]);
        }
    });
}

/// MQTT-4.6.0-5, MQTT-4.6.0-6.
fn mqtt_4_6_0_5_order_is_kept() {
    each5(|world| {
        let publisher = client(world, "publisher");
        let kept = connect(V5, "id").persistent().with(receive_maximum(3));
        let mut subscriber = world.connect(&kept);
        world.subscribe(subscriber, "#", 2);
        let mut expected = Vec::new();
        let mut seen: Vec<u8> = Vec::new();
        for number in 0..60u8 {
            if number == 20 {
                // Some wait for an absent Client.
                seen.extend(world.messages(subscriber).iter().map(|m| m.payload[0]));
                world.drop_connection(subscriber);
            }
            if number == 40 {
                subscriber = world.connect(&kept);
            }
            let topic = if number % 3 == 0 { "a" } else { "b" };
            world.publish(publisher, &publish(topic, [number]).qos(1 + number % 2, 0));
            expected.push(number);
        }
        seen.extend(world.messages(subscriber).iter().map(|m| m.payload[0]));
        assert_eq!(seen, expected);
    });
}

/// MQTT-4.6.0-5, MQTT-4.4.0-1. What comes again comes in its first order, before anything queued.
fn mqtt_4_6_0_5_what_comes_again_keeps_its_order() {
    each5(|world| {
        let publisher = client(world, "publisher");
        let kept = connect(V5, "id").persistent().with(receive_maximum(5));
        let subscriber = world.connect(&kept);
        world.subscribe(subscriber, "t", 1);
        for number in 0..10u8 {
            world.publish(publisher, &publish("t", [number]).qos(1, 0));
        }
        assert_eq!(unanswered(world, subscriber).len(), 5);
        world.drop_connection(subscriber);
        let subscriber = world.connect(&kept);
        let messages = world.messages(subscriber);
        let payloads = Vec::from_iter(messages.iter().map(|m| m.payload[0]));
        assert_eq!(payloads, Vec::from_iter(0..10));
        let dups = Vec::from_iter(messages.iter().map(|m| m.dup));
        assert_eq!(dups, Vec::from_iter((0..10).map(|number| number < 5)));
    });
}

/// MQTT-4.2-1. Packets come through a stream that is cut anywhere.
fn mqtt_4_2_1_the_stream_may_be_cut_anywhere() {
    each5(|world| {
        let client = world.open(V5);
        let bytes = [
            connect(V5, "id")
                .will("w", "x", 1, false)
                .will_with(passed_on())
                .bytes(),
            subscribe_with(1, &subscription_identifier(300), &[("t", 2)]),
            publish("t", "x").qos(1, 2).with(passed_on()).bytes(V5),
            pingreq(),
        ]
        .concat();
        world.send_split(client, &bytes);
        assert!(!world.accepted(client));
        let messages = world.messages_full(client);
        assert_eq!(messages.len(), 1);
        carries_passed_on(&messages[0]);
        assert_eq!(messages[0].identifiers(), [300]);
    });
}

/// MQTT-4.5.0-1. Between versions, at each QoS.
fn mqtt_4_5_0_1_messages_cross_between_versions() {
    each5_with(&Settings::default(), |world| {
        let clients = ALL.iter().map(|version| {
            let client = world.connect(&connect(*version, &format!("{version:?}")));
            world.subscribe(client, "#", 2);
            client
        });
        let clients = Vec::from_iter(clients);
        for publisher in &clients {
            for qos in 0..=2 {
                world.publish(*publisher, &publish("t", "x").qos(qos, 0));
                for subscriber in &clients {
                    let messages = world.messages(*subscriber);
                    assert_eq!(messages.len(), 1);
                    assert_eq!((messages[0].qos, messages[0].text().as_str()), (qos, "x"));
                }
            }
        }
    });
}
