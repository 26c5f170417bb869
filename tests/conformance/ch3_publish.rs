//! 3.3 PUBLISH to 3.7 PUBCOMP.

use crate::claims::*;
use crate::support::*;

crate::table! {
    mqtt_3_3_1_1_redelivery_has_dup_1,
    mqtt_3_3_1_2_qos_0_has_dup_0,
    mqtt_3_3_1_2_dup_with_qos_0_closes,
    mqtt_3_3_1_3_dup_is_not_passed_on,
    mqtt_3_3_1_4_qos_3_closes,
    mqtt_3_3_1_5_retain_1_stores_the_message_and_its_qos,
    mqtt_3_3_1_5_retained_delivery_is_limited_by_the_granted_qos,
    mqtt_3_3_1_5_large_retained_message,
    mqtt_3_3_1_6_new_subscription_gets_every_matching_retained_message,
    mqtt_3_3_1_6_many_retained_messages_come_once_each,
    mqtt_3_3_1_7_retained_qos_0_replaces_the_earlier_one,
    mqtt_3_3_1_8_retained_message_for_a_new_subscription_has_retain_1,
    mqtt_3_3_1_8_retained_message_keeps_its_flag_in_flight,
    mqtt_3_3_1_9_established_subscription_gets_retain_0,
    mqtt_3_3_1_10_empty_retained_message_is_delivered_and_removes,
    mqtt_3_3_1_11_empty_retained_message_is_not_stored,
    mqtt_3_3_1_12_retain_0_changes_no_retained_message,
    mqtt_3_3_2_1_topic_name_is_the_first_field_and_utf8,
    mqtt_3_3_2_2_wildcards_in_a_topic_name_close,
    mqtt_3_3_2_3_delivered_topic_name_matches_the_filter,
    mqtt_3_3_4_1_publish_is_answered_by_its_qos,
    mqtt_3_3_4_1_unknown_acknowledgements_are_ignored,
    mqtt_3_3_5_1_overlapping_subscriptions_deliver_once_at_the_highest_qos,
    mqtt_3_3_5_2_publish_without_permission_is_acknowledged_as_usual,
    mqtt_3_6_1_1_pubrel_flags,
}

fn mqtt_3_3_1_1_redelivery_has_dup_1() {
    each(ALL, |world, version| {
        let id = connect(version, "subscriber").persistent();
        let subscriber = world.connect(&id);
        world.subscribe(subscriber, "t", 2);
        let publisher = publisher(world, version);
        world.publish(publisher, &publish("t", "one").qos(1, 0));
        world.publish(publisher, &publish("t", "two").qos(2, 0));
        let first = world.received(subscriber);
        for _ in 0..2 {
            world.drop_connection(subscriber);
            let subscriber = world.connect(&id);
            let again = world.received(subscriber);
            assert_eq!(again.len(), 2);
            for (first, again) in first.iter().zip(&again) {
                let (first, again) = (
                    first.message().expect("PUBLISH"),
                    again.message().expect("PUBLISH"),
                );
                assert!(!first.dup && again.dup);
                let same = Message {
                    dup: true,
                    ..first.clone()
                };
                assert_eq!(*again, same);
            }
        }
    });
}

fn mqtt_3_3_1_2_qos_0_has_dup_0() {
    each(ALL, |world, version| {
        let watcher = watcher(world, version);
        let publisher = publisher(world, version);
        // The oracle refuses DUP with QoS 0 everywhere; here the publisher sets DUP, or the QoS is lowered.
        let lowered = world.connect(&connect(version, "lowered"));
        world.subscribe(lowered, "t", 0);
        world.publish(publisher, &publish("t", "one").qos(1, 0).dup());
        world.publish(publisher, &publish("t", "two").qos(2, 0).dup());
        let messages = world.messages(lowered);
        assert_eq!(messages.len(), 2);
        assert!(
            messages
                .iter()
                .all(|message| message.qos == 0 && !message.dup)
        );
        assert_eq!(world.messages(watcher).len(), 2);
    });
}

fn mqtt_3_3_1_2_dup_with_qos_0_closes() {
    each(FROM_V311, |world, version| {
        closes(world, version, publish("t", "x").dup().bytes(version));
    });
}

fn mqtt_3_3_1_3_dup_is_not_passed_on() {
    each(ALL, |world, version| {
        let watcher = watcher(world, version);
        let publisher = publisher(world, version);
        world.publish(publisher, &publish("t", "one").qos(1, 0).dup());
        world.publish(publisher, &publish("t", "two").qos(2, 0).dup());
        world.publish(publisher, &publish("t", "kept").qos(1, 0).dup().retain());
        let messages = world.messages(watcher);
        assert_eq!(messages.len(), 3);
        assert!(messages.iter().all(|message| !message.dup), "{messages:?}");
        let late = world.connect(&connect(version, "late"));
        world.subscribe(late, "t", 1);
        assert!(world.messages(late).iter().all(|message| !message.dup));
    });
}

fn mqtt_3_3_1_4_qos_3_closes() {
    each(ALL, |world, version| {
        let watcher = watcher(world, version);
        for flags in [0x06, 0x07, 0x0e, 0x0f] {
            let packet = publish("t", "x").qos(1, 1).bytes(version);
            closes(world, version, with_flags(packet, flags));
        }
        assert_eq!(world.messages(watcher), []);
    });
}

fn mqtt_3_3_1_5_retain_1_stores_the_message_and_its_qos() {
    each(ALL, |world, version| {
        let publisher = publisher(world, version);
        for qos in 0..=2 {
            let topic = format!("t/{qos}");
            world.publish(publisher, &publish(&topic, "first").qos(qos, 0).retain());
            retained_is(world, version, &topic, Some(("first", qos)));
            // A later one replaces it, QoS and all.
            world.publish(
                publisher,
                &publish(&topic, "second").qos(2 - qos, 0).retain(),
            );
            retained_is(world, version, &topic, Some(("second", 2 - qos)));
        }
    });
}

fn mqtt_3_3_1_5_retained_delivery_is_limited_by_the_granted_qos() {
    each(ALL, |world, version| {
        let publisher = publisher(world, version);
        world.publish(publisher, &publish("t", "x").qos(2, 0).retain());
        for granted in 0..=2 {
            let reader = world.connect(&connect(version, "reader"));
            world.subscribe(reader, "t", granted);
            assert_eq!(world.messages(reader)[0].qos, granted);
        }
    });
}

fn mqtt_3_3_1_5_large_retained_message() {
    each(ALL, |world, version| {
        let publisher = publisher(world, version);
        let large = "x".repeat(70_000);
        world.publish(publisher, &publish("t", &large).qos(1, 0).retain());
        retained_is(world, version, "t", Some((&large, 1)));
    });
}

fn mqtt_3_3_1_6_new_subscription_gets_every_matching_retained_message() {
    each(ALL, |world, version| {
        let publisher = publisher(world, version);
        let topics = ["a", "a/b", "a/c", "a/b/c", "a/", "/a", "d", "$a/b", "ä/b"];
        for topic in topics {
            world.publish(publisher, &publish(topic, "old").retain());
            world.publish(publisher, &publish(topic, topic).retain());
        }
        let cases: &[(&str, &[&str])] = &[
            ("#", &["a", "a/b", "a/c", "a/b/c", "a/", "/a", "d", "ä/b"]),
            ("a/#", &["a", "a/b", "a/c", "a/b/c", "a/"]),
            ("a/+", &["a/b", "a/c", "a/"]),
            ("+/b", &["a/b", "ä/b"]),
            ("+/+", &["a/b", "a/c", "a/", "/a", "ä/b"]),
            ("+", &["a", "d"]),
            ("a/b", &["a/b"]),
            ("$a/#", &["$a/b"]),
            ("nothing/#", &[]),
        ];
        for (filter, expected) in cases {
            let reader = world.connect(&connect(version, "reader"));
            world.subscribe(reader, filter, 0);
            let mut found = world.texts(reader);
            found.sort();
            let mut expected = expected.to_vec();
            expected.sort_unstable();
            assert_eq!(found, expected, "retained messages of {filter}");
        }
    });
}

fn mqtt_3_3_1_6_many_retained_messages_come_once_each() {
    each(ALL, |world, version| {
        world.read_whole();
        let publisher = publisher(world, version);
        for number in 0..1500 {
            let message = publish(&format!("t/{}/{number}", number % 7), number.to_string());
            world.publish(publisher, &message.retain());
        }
        let reader = world.connect(&connect(version, "reader"));
        world.subscribe(reader, "t/#", 1);
        let mut numbers: Vec<u32> = world
            .texts(reader)
            .iter()
            .map(|text| text.parse().expect("a number"))
            .collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..1500).collect::<Vec<u32>>());
    });
}

fn mqtt_3_3_1_7_retained_qos_0_replaces_the_earlier_one() {
    each(ALL, |world, version| {
        let publisher = publisher(world, version);
        world.publish(publisher, &publish("t", "old").qos(2, 0).retain());
        world.publish(publisher, &publish("t", "new").retain());
        // It might be dropped at any time; this broker keeps it.
        retained_is(world, version, "t", Some(("new", 0)));
    });
}

fn mqtt_3_3_1_8_retained_message_for_a_new_subscription_has_retain_1() {
    each(ALL, |world, version| {
        let publisher = publisher(world, version);
        for qos in 0..=2 {
            world.publish(
                publisher,
                &publish(&format!("t/{qos}"), "x").qos(qos, 0).retain(),
            );
        }
        for granted in 0..=2 {
            let reader = world.connect(&connect(version, "reader"));
            world.subscribe(reader, "t/+", granted);
            let messages = world.messages(reader);
            assert_eq!(messages.len(), 3);
            assert!(
                messages.iter().all(|message| message.retain),
                "{messages:?}"
            );
        }
    });
}

fn mqtt_3_3_1_8_retained_message_keeps_its_flag_in_flight() {
    each(ALL, |world, version| {
        let publisher = publisher(world, version);
        world.publish(publisher, &publish("t", "x").qos(1, 0).retain());
        let id = connect(version, "reader").persistent();
        let reader = world.connect(&id);
        world.subscribe(reader, "t", 1);
        world.drop_connection(reader);
        let reader = world.connect(&id);
        let messages = world.messages(reader);
        assert_eq!(messages.len(), 1);
        assert!(messages[0].retain && messages[0].dup, "{messages:?}");
    });
}

fn mqtt_3_3_1_9_established_subscription_gets_retain_0() {
    each(ALL, |world, version| {
        let watcher = watcher(world, version);
        let id = connect(version, "absent").persistent();
        let absent = world.connect(&id);
        world.subscribe(absent, "t", 2);
        world.drop_connection(absent);
        let publisher = publisher(world, version);
        for qos in 0..=2 {
            world.publish(publisher, &publish("t", "x").qos(qos, 0).retain());
        }
        for message in world.messages(watcher) {
            assert!(!message.retain, "{message:?}");
        }
        // The subscription of the stored Session was there before, too.
        let absent = world.connect(&id);
        let messages = world.messages(absent);
        assert_eq!(messages.len(), 2, "QoS 1 and 2");
        assert!(
            messages.iter().all(|message| !message.retain),
            "{messages:?}"
        );
    });
}

fn mqtt_3_3_1_10_empty_retained_message_is_delivered_and_removes() {
    each(ALL, |world, version| {
        let watcher = watcher(world, version);
        let publisher = publisher(world, version);
        for qos in 0..=2 {
            world.publish(publisher, &publish("t", "x").qos(1, 0).retain());
            world.publish(publisher, &publish("t", "").qos(qos, 0).retain());
            let messages = world.messages(watcher);
            assert_eq!(messages.len(), 2);
            assert_eq!((messages[1].text().as_str(), messages[1].qos), ("", qos));
            assert!(!messages[1].retain);
            retained_is(world, version, "t", None);
        }
    });
}

fn mqtt_3_3_1_11_empty_retained_message_is_not_stored() {
    each(ALL, |world, version| {
        let publisher = publisher(world, version);
        for qos in 0..=2 {
            world.publish(publisher, &publish("t", "").qos(qos, 0).retain());
            retained_is(world, version, "t", None);
        }
    });
}

fn mqtt_3_3_1_12_retain_0_changes_no_retained_message() {
    each(ALL, |world, version| {
        let publisher = publisher(world, version);
        for qos in 0..=2 {
            world.publish(publisher, &publish("u", "live").qos(qos, 0));
            retained_is(world, version, "u", None);
            world.publish(publisher, &publish("t", "kept").qos(1, 0).retain());
            world.publish(publisher, &publish("t", "live").qos(qos, 0));
            world.publish(publisher, &publish("t", "").qos(qos, 0));
            retained_is(world, version, "t", Some(("kept", 1)));
        }
    });
}

fn mqtt_3_3_2_1_topic_name_is_the_first_field_and_utf8() {
    each(ALL, |world, version| {
        let watcher = watcher(world, version);
        // No topic at all, half a length, a length beyond the packet.
        closes(world, version, packet(0x30, &[]));
        closes(world, version, packet(0x30, &[0]));
        closes(world, version, packet(0x30, &[0, 5, b't']));
        closes(world, version, packet(0x30, &[0xff, 0xff, b't']));
        for topic in ILL_FORMED {
            for qos in 0..=2 {
                closes(
                    world,
                    version,
                    publish("", "x")
                        .topic_bytes(topic)
                        .qos(qos, 1)
                        .bytes(version),
                );
            }
        }
        assert_eq!(world.messages(watcher), []);
    });
}

fn mqtt_3_3_2_2_wildcards_in_a_topic_name_close() {
    each(ALL, |world, version| {
        let watcher = watcher(world, version);
        for topic in ["#", "+", "a/#", "a/+/b", "+/a", "a#", "a+b"] {
            for qos in 0..=2 {
                closes(
                    world,
                    version,
                    publish(topic, "x").qos(qos, 1).retain().bytes(version),
                );
            }
        }
        assert_eq!(world.messages(watcher), []);
    });
}

fn mqtt_3_3_2_3_delivered_topic_name_matches_the_filter() {
    each(ALL, |world, version| {
        let filters = ["a/+", "a/#", "+/b", "a/b"];
        let subscribers: Vec<Client> = filters
            .iter()
            .map(|filter| {
                let client = world.connect(&connect(version, filter));
                world.subscribe(client, filter, 1);
                client
            })
            .collect();
        let publisher = publisher(world, version);
        for topic in ["a/b", "a/c", "c/b", "a", "a/b/c", "b"] {
            world.publish(publisher, &publish(topic, "x").qos(1, 0));
        }
        let expected: [&[&str]; 4] = [
            &["a/b", "a/c"],
            &["a/b", "a/c", "a", "a/b/c"],
            &["a/b", "c/b"],
            &["a/b"],
        ];
        for (subscriber, expected) in subscribers.iter().zip(expected) {
            let topics: Vec<String> = world
                .messages(*subscriber)
                .into_iter()
                .map(|message| message.topic)
                .collect();
            assert_eq!(topics, expected);
        }
    });
}

fn mqtt_3_3_4_1_publish_is_answered_by_its_qos() {
    each(ALL, |world, version| {
        let _watcher = watcher(world, version);
        let publisher = publisher(world, version);
        world.send(publisher, publish("t", "x").bytes(version));
        world.expect(publisher, &[]);
        world.send(publisher, publish("t", "x").qos(1, 7).bytes(version));
        world.expect(publisher, &[Packet::puback(7)]);
        world.send(publisher, publish("t", "x").qos(2, 7).bytes(version));
        world.expect(publisher, &[Packet::pubrec(7)]);
        world.send(publisher, pubrel(7));
        world.expect(publisher, &[Packet::pubcomp(7)]);
        // A PUBREL that nothing stands behind is answered all the same in v3.
        if version != Version::V5 {
            world.send(publisher, pubrel(8));
            world.expect(publisher, &[Packet::pubcomp(8)]);
        }
        alive(world, publisher);
    });
}

fn mqtt_3_3_4_1_unknown_acknowledgements_are_ignored() {
    each(V3, |world, version| {
        let client = world.connect(&connect(version, "client"));
        for packet_id in [1, 2, 65_535] {
            world.send(client, puback(packet_id));
            world.send(client, pubcomp(packet_id));
        }
        world.expect(client, &[]);
        alive(world, client);
    });
}

fn mqtt_3_3_5_1_overlapping_subscriptions_deliver_once_at_the_highest_qos() {
    each(ALL, |world, version| {
        let publisher = publisher(world, version);
        let client = world.connect(&connect(version, "client"));
        world.subscribe(client, "a/#", 1);
        world.subscribe(client, "a/+", 2);
        world.subscribe(client, "a/b", 0);
        for published in 0..=2 {
            world.publish(publisher, &publish("a/b", "x").qos(published, 0));
            let messages = world.messages(client);
            // The choice of this broker: one copy.
            assert_eq!(messages.len(), 1);
            assert_eq!(messages[0].qos, published);
        }
        world.publish(publisher, &publish("a/b/c", "x").qos(2, 0));
        assert_eq!(world.messages(client)[0].qos, 1);
        world.unsubscribe(client, "a/+");
        world.publish(publisher, &publish("a/b", "x").qos(2, 0));
        assert_eq!(world.messages(client)[0].qos, 1);
    });
}

fn mqtt_3_3_5_2_publish_without_permission_is_acknowledged_as_usual() {
    // What no Client may publish to, or have as the topic of its will: the broker's own trees.
    each(V3, |world, version| {
        let watcher = world.connect(&connect(version, "watcher"));
        let publisher = publisher(world, version);
        for topic in [
            "$SYS/broker/fake",
            "$SYS",
            "$CONTROL/dynamic-security/v1",
            "$CONTROL",
        ] {
            world.subscribe(watcher, topic, 2);
            world.messages(watcher);
            for qos in 0..=2 {
                world.publish(publisher, &publish(topic, "x").qos(qos, 0).retain());
            }
            alive(world, publisher);
            let dying = world.connect(&connect(version, "dying").will(topic, "x", 1, true));
            world.drop_connection(dying);
            assert_eq!(world.messages(watcher), [], "{topic}");
            retained_is(world, version, topic, None);
        }
        // Names that only look alike are anybody's.
        for topic in ["$SYSTEM/x", "$CONTROLS", "a/$SYS/x", "$control/x"] {
            world.subscribe(watcher, topic, 1);
            world.publish(publisher, &publish(topic, "x").qos(1, 0));
            assert_eq!(world.messages(watcher).len(), 1, "{topic}");
        }
    });
}

fn mqtt_3_6_1_1_pubrel_flags() {
    each(FROM_V311, |world, version| {
        let watcher = watcher(world, version);
        for flags in (0..16).filter(|flags| *flags != 2) {
            let mut bytes = publish("t", "x").qos(2, 5).bytes(version);
            bytes.extend(with_flags(pubrel(5), flags));
            let client = world.connect(&connect(version, "offender"));
            world.send(client, bytes);
            assert!(world.is_closed(client), "PUBREL with flags {flags:04b}");
            let received = world.received(client);
            assert!(!received.contains(&Packet::pubcomp(5)), "{received:?}");
        }
        assert_eq!(world.messages(watcher).len(), 15);
    });
}
