//! 3.3.2.3 PUBLISH properties.

use crate::claims::*;
use crate::support::property::*;
use crate::support::*;

crate::table! {
    mqtt_3_3_2_4_properties_are_passed_on_unchanged_and_in_order,
    mqtt_3_3_2_4_no_property_comes_of_itself,
    mqtt_3_3_2_17_many_user_properties_keep_their_order,
    mqtt_3_3_2_5_expired_messages_are_dropped_and_others_counted_down,
    mqtt_3_3_2_5_expiry_holds_for_earlier_versions,
    mqtt_3_3_2_5_an_interval_of_0_does_not_wait,
    mqtt_3_3_2_6_expiry_is_whole_when_nothing_was_waited,
    mqtt_3_3_2_12_every_alias_up_to_our_maximum_is_accepted,
    mqtt_3_3_2_8_alias_0_and_one_above_the_maximum_close,
    mqtt_3_3_2_7_aliases_end_with_the_connection,
    mqtt_3_3_2_14_a_wildcard_in_the_response_topic_closes,
}

/// MQTT-3.3.2-4, MQTT-3.3.2-15, MQTT-3.3.2-16, MQTT-3.3.2-17, MQTT-3.3.2-18, MQTT-3.3.2-20.
fn mqtt_3_3_2_4_properties_are_passed_on_unchanged_and_in_order() {
    each5(|world| {
        let publisher = client(world, "publisher");
        let subscribers = [0, 1, 2].map(|qos| {
            let subscriber = client(world, &format!("subscriber {qos}"));
            world.subscribe(subscriber, "t", qos);
            subscriber
        });
        let absent = world.connect(&connect(V5, "absent").persistent());
        world.subscribe(absent, "t", 2);
        world.drop_connection(absent);
        let v3 = world.connect(&connect(Version::V311, "v3"));
        world.subscribe(v3, "t", 2);
        for qos in 0..=2 {
            // Live, retained, and from a name behind an alias.
            let message = publish("t", "x").qos(qos, 0).with(passed_on());
            world.publish(publisher, &message);
            world.publish(publisher, &message.clone().with(message_expiry(100)));
            world.publish(publisher, &message.clone().with(topic_alias(1)));
            let mut aliased = message.clone().with(topic_alias(1));
            aliased.topic.clear();
            world.publish(publisher, &aliased.retain());
            for subscriber in subscribers {
                let messages = world.messages_full(subscriber);
                assert_eq!(messages.len(), 4);
                messages.iter().for_each(carries_passed_on);
            }
            let late = client(world, "late");
            world.subscribe(late, "t", 2);
            let retained = world.messages_full(late);
            assert_eq!(retained.len(), 1);
            carries_passed_on(&retained[0]);
        }
        let absent = world.connect(&connect(V5, "absent").persistent());
        let messages = world.messages_full(absent);
        assert_eq!(messages.len(), 8, "QoS 1 and 2 waited");
        messages.iter().for_each(carries_passed_on);
        assert_eq!(world.messages(v3).len(), 12);
    });
}

/// MQTT-3.3.2-4. Nothing is added either.
fn mqtt_3_3_2_4_no_property_comes_of_itself() {
    each5(|world| {
        let publisher = client(world, "publisher");
        let watcher = watcher(world);
        for qos in 0..=2 {
            world.publish(publisher, &publish("t", "x").qos(qos, 0));
        }
        let zero = publish("t", "x").with(byte(PAYLOAD_FORMAT_INDICATOR, 0));
        world.publish(publisher, &zero);
        let v3 = world.connect(&connect(Version::V311, "v3"));
        world.publish(v3, &publish("t", "x"));
        let messages = world.messages_full(watcher);
        assert_eq!(messages.len(), 5);
        for (number, full) in messages.iter().enumerate() {
            if number != 3 {
                assert_eq!(full.properties, []);
            } else {
                assert_ne!(full.number(PAYLOAD_FORMAT_INDICATOR), Some(1));
            }
        }
    });
}

/// MQTT-3.3.2-17, MQTT-3.3.2-18. Many of them, as large as they may be.
fn mqtt_3_3_2_17_many_user_properties_keep_their_order() {
    each5(|world| {
        let publisher = client(world, "publisher");
        let watcher = watcher(world);
        let names = Vec::from_iter((0..200).map(|number| format!("{}", number % 7)));
        let mut message = publish("t", "x").qos(1, 0);
        for (number, name) in names.iter().enumerate() {
            message = message.with(user_property(name, format!("{number}")));
        }
        let long = "v".repeat(65_535);
        message = message.with(user_property("long", &long));
        world.publish(publisher, &message);
        let messages = world.messages_full(watcher);
        let pairs = messages[0].user_properties();
        assert_eq!(pairs.len(), 201);
        for (number, name) in names.iter().enumerate() {
            assert_eq!(pairs[number], (name.as_str(), number.to_string().as_str()));
        }
        assert_eq!(pairs[200], ("long", long.as_str()));
    });
}

/// MQTT-3.3.2-5, MQTT-3.3.2-6. In the queue, before the window, and retained.
fn mqtt_3_3_2_5_expired_messages_are_dropped_and_others_counted_down() {
    each5(|world| {
        let publisher = client(world, "publisher");
        let absent = connect(V5, "absent").persistent();
        let subscriber = world.connect(&absent);
        world.subscribe(subscriber, "t", 2);
        world.drop_connection(subscriber);
        let narrow = world.connect(&connect(V5, "narrow").with(receive_maximum(1)));
        world.subscribe(narrow, "t", 2);
        let short_s = world.either(5, 3);
        for (payload, seconds, qos) in [("short", short_s, 1), ("long", 60, 1), ("longer", 70, 2)] {
            let message = publish("t", payload).qos(qos, 0);
            world.publish(publisher, &message.with(message_expiry(seconds)));
        }
        world.publish(publisher, &publish("t", "for ever").qos(1, 0));
        world.publish(
            publisher,
            &publish("kept", "x").retain().with(message_expiry(60)),
        );
        world.publish(
            publisher,
            &publish("gone", "x").retain().with(message_expiry(short_s)),
        );
        // The first to the narrow one left at once, whole.
        let first = world.received_full(narrow);
        let first = first.last().expect("one message");
        let left_s = first.number(MESSAGE_EXPIRY_INTERVAL).expect("an interval");
        assert!(world.either(5..=5, 1..=3).contains(&left_s), "{left_s} s");
        world.pass(world.either(6_000, 3_600));
        retained_is(world, "gone", None);
        world.pass(world.either(14_000, 0));
        // Over sockets the rest of the test takes its time as well.
        let waited_s = world.either(20..=20, 3..=50);
        let counted_down = |messages: &[Full]| {
            let texts = messages.iter().map(|full| {
                let text = full.message().text();
                let whole_s = if text == "longer" { 70 } else { 60 };
                let left_s = full.number(MESSAGE_EXPIRY_INTERVAL);
                (
                    text,
                    left_s.map(|left_s| waited_s.contains(&(whole_s - left_s))),
                )
            });
            Vec::from_iter(texts)
        };
        let expected = [
            ("long".to_owned(), Some(true)),
            ("longer".to_owned(), Some(true)),
            ("for ever".to_owned(), None),
        ];
        let subscriber = world.connect(&absent);
        let messages = world.messages_full(subscriber);
        assert_eq!(counted_down(&messages), expected);
        world.send(narrow, puback(first.message().packet_id));
        let messages = world.messages_full(narrow);
        assert_eq!(counted_down(&messages), expected);
        let late = client(world, "late");
        world.subscribe(late, "kept", 0);
        world.subscribe(late, "gone", 0);
        let retained = world.messages_full(late);
        assert_eq!(counted_down(&retained), [("x".to_owned(), Some(true))]);
    });
}

/// MQTT-3.3.2-5. A Client of an earlier version gets it while it lives, without the property.
fn mqtt_3_3_2_5_expiry_holds_for_earlier_versions() {
    each5(|world| {
        let publisher = client(world, "publisher");
        let absent = connect(Version::V311, "absent").persistent();
        let subscriber = world.connect(&absent);
        world.subscribe(subscriber, "t", 1);
        world.drop_connection(subscriber);
        for (payload, seconds) in [("short", 1), ("long", 60)] {
            let message = publish("t", payload).qos(1, 0);
            world.publish(publisher, &message.with(message_expiry(seconds)));
        }
        world.pass(world.either(20_000, 2_100));
        let subscriber = world.connect(&absent);
        assert_eq!(world.texts(subscriber), ["long"]);
    });
}

/// MQTT-3.3.2-5. An interval of 0 is over unless the message goes out at once; a clock that stands still makes it none
/// longer.
fn mqtt_3_3_2_5_an_interval_of_0_does_not_wait() {
    each5(|world| {
        let publisher = client(world, "publisher");
        let absent = connect(V5, "absent").persistent();
        let subscriber = world.connect(&absent);
        world.subscribe(subscriber, "t", 1);
        world.drop_connection(subscriber);
        let message = publish("t", "x").qos(1, 0).with(message_expiry(0));
        world.publish(publisher, &message.clone().retain());
        retained_is(world, "t", None);
        let subscriber = world.connect(&absent);
        assert_eq!(world.messages(subscriber), []);
        // The same message once more, for one who is there.
        world.publish(publisher, &message);
        assert_eq!(world.texts(subscriber), ["x"]);
    });
}

/// MQTT-3.3.2-6. Passed on at once it is what it was; across shards too.
fn mqtt_3_3_2_6_expiry_is_whole_when_nothing_was_waited() {
    each5(|world| {
        let publisher = client(world, "publisher");
        let watcher = watcher(world);
        for seconds in [1, 60, u32::MAX] {
            for qos in 0..=2 {
                let message = publish("t", "x").qos(qos, 0);
                world.publish(publisher, &message.with(message_expiry(seconds)));
            }
            let messages = world.messages_full(watcher);
            assert_eq!(messages.len(), 3);
            for full in messages {
                assert_eq!(full.number(MESSAGE_EXPIRY_INTERVAL), Some(seconds));
            }
        }
    });
}

/// MQTT-3.3.2-12, MQTT-4.7.3-1.
fn mqtt_3_3_2_12_every_alias_up_to_our_maximum_is_accepted() {
    each5(|world| {
        let watcher = watcher(world);
        let publisher = client(world, "publisher");
        let connack = world.connack(publisher);
        let maximum = connack.number(TOPIC_ALIAS_MAXIMUM).expect("aliases") as u16;
        let by_alias = |alias: u16, qos| publish("", "x").qos(qos, 0).with(topic_alias(alias));
        for alias in 1..=maximum {
            let topic = format!("topic {alias}");
            world.publish(publisher, &publish(&topic, "x").with(topic_alias(alias)));
        }
        for alias in (1..=maximum).rev() {
            world.publish(publisher, &by_alias(alias, 1));
        }
        // A name with a known alias changes it.
        world.publish(publisher, &publish("changed", "x").with(topic_alias(1)));
        world.publish(publisher, &by_alias(1, 2));
        let topics = Vec::from_iter(world.messages(watcher).iter().map(|m| m.topic.clone()));
        let mut expected = Vec::from_iter((1..=maximum).map(|n| format!("topic {n}")));
        expected.extend((1..=maximum).rev().map(|n| format!("topic {n}")));
        expected.extend(["changed".to_owned(), "changed".to_owned()]);
        assert_eq!(topics, expected);
    });
}

/// MQTT-3.3.2-8, MQTT-3.3.2-9, MQTT-3.2.2-17, MQTT-4.13.1-1.
fn mqtt_3_3_2_8_alias_0_and_one_above_the_maximum_close() {
    each5(|world| {
        let probe = client(world, "probe");
        let connack = world.connack(probe);
        let maximum = connack.number(TOPIC_ALIAS_MAXIMUM).unwrap_or(0) as u16;
        for alias in [0, maximum + 1, 65_535] {
            for topic in ["t", ""] {
                for qos in 0..=2 {
                    let message = publish(topic, "x").qos(qos, 1).with(topic_alias(alias));
                    closes_with(world, message.bytes(V5), 0x94);
                }
            }
        }
        // Within the maximum, but never set.
        for alias in 1..=maximum {
            let message = publish("", "x").with(topic_alias(alias));
            closes_with(world, message.bytes(V5), PROTOCOL_ERROR);
        }
    });
}

/// MQTT-3.3.2-7.
fn mqtt_3_3_2_7_aliases_end_with_the_connection() {
    each5(|world| {
        let watcher = watcher(world);
        let connect = connect(V5, "id").persistent();
        let first = world.connect(&connect);
        world.publish(first, &publish("t", "x").with(topic_alias(1)));
        world.drop_connection(first);
        let second = world.connect(&connect);
        world.send(second, publish("", "x").with(topic_alias(1)).bytes(V5));
        let code = PROTOCOL_ERROR;
        world.expect(second, &[Packet::Disconnect { code }]);
        // Those of another connection are its own.
        let one = client(world, "one");
        let two = client(world, "two");
        world.publish(one, &publish("of one", "x").with(topic_alias(1)));
        world.publish(two, &publish("of two", "x").with(topic_alias(1)));
        world.publish(one, &publish("", "x").with(topic_alias(1)));
        world.publish(two, &publish("", "x").with(topic_alias(1)));
        let topics = Vec::from_iter(world.messages(watcher).iter().map(|m| m.topic.clone()));
        assert_eq!(topics, ["t", "of one", "of two", "of one", "of two"]);
    });
}

/// MQTT-3.3.2-14.
fn mqtt_3_3_2_14_a_wildcard_in_the_response_topic_closes() {
    each5(|world| {
        let watcher = watcher(world);
        for topic in ["#", "a/+", "+/b"] {
            let message = publish("t", "x").with(text(RESPONSE_TOPIC, topic));
            closes_with(world, message.bytes(V5), PROTOCOL_ERROR);
            let connect = connect(V5, "id")
                .will("t", "x", 0, false)
                .will_with(text(RESPONSE_TOPIC, topic));
            refused_with(world, connect.bytes(), PROTOCOL_ERROR);
        }
        assert_eq!(world.messages(watcher), []);
    });
}
