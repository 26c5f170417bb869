//! 3.3 PUBLISH: flags, retained messages and the answers. Its properties are in `ch3_properties.rs`.

use crate::claims::*;
use crate::support::property::*;
use crate::support::*;

crate::table! {
    mqtt_3_3_1_1_only_a_redelivery_has_dup_1,
    mqtt_3_3_1_2_qos_0_has_dup_0,
    mqtt_3_3_1_4_qos_3_is_malformed,
    mqtt_3_3_1_5_retained_messages_are_replaced_and_removed,
    mqtt_3_3_1_9_retain_handling,
    mqtt_3_3_1_12_retain_as_published,
    mqtt_3_3_1_13_retain_as_published_with_overlaps,
    mqtt_3_3_2_1_publish_that_ends_too_early_is_malformed,
    mqtt_3_3_2_2_wildcards_in_a_topic_name_close,
    mqtt_3_3_2_3_the_delivered_name_is_the_published_one,
    mqtt_3_3_4_1_publish_is_answered_by_its_qos,
    mqtt_3_3_4_2_overlaps_deliver_once_at_the_highest_qos_with_all_identifiers,
    mqtt_3_3_4_5_separate_copies_carry_their_own_identifier,
    mqtt_3_3_4_9_the_receive_maximum_of_a_client_holds,
    mqtt_3_3_4_9_a_failed_pubrec_gives_its_place_back,
    mqtt_3_3_4_7_more_than_our_receive_maximum_closes,
    mqtt_3_2_2_11_no_qos_and_no_retain_is_above_what_is_offered,
}

/// MQTT-3.3.1-1, MQTT-3.3.1-3, MQTT-4.4.0-1.
fn mqtt_3_3_1_1_only_a_redelivery_has_dup_1() {
    each5(|world| {
        let publisher = client(world, "publisher");
        let subscriber = world.connect(&connect(V5, "id").persistent());
        world.subscribe(subscriber, "t", 2);
        for qos in 1..=2 {
            // DUP of the publisher says nothing about ours.
            world.publish(publisher, &publish("t", "x").qos(qos, 0).dup());
        }
        let first = unanswered(world, subscriber);
        assert!(first.iter().all(|message| !message.dup));
        world.drop_connection(subscriber);
        let subscriber = world.connect(&connect(V5, "id").persistent());
        let again = unanswered(world, subscriber);
        assert!(again.iter().all(|message| message.dup));
        let ids = |messages: &[Message]| Vec::from_iter(messages.iter().map(|m| m.packet_id));
        assert_eq!(ids(&first), ids(&again));
        assert_eq!(first.len(), 2);
    });
}

/// MQTT-3.3.1-2, MQTT-4.3.1-1.
fn mqtt_3_3_1_2_qos_0_has_dup_0() {
    each5(|world| {
        closes_with(world, publish("t", "x").dup().bytes(V5), MALFORMED);
        let publisher = client(world, "publisher");
        let subscriber = world.connect(&connect(V5, "id").persistent());
        world.subscribe(subscriber, "t", 0);
        world.publish(publisher, &publish("t", "once"));
        let messages = unanswered(world, subscriber);
        assert_eq!(messages.len(), 1);
        assert_eq!((messages[0].qos, messages[0].dup), (0, false));
        // Once and not again, on no connection.
        world.drop_connection(subscriber);
        let subscriber = world.connect(&connect(V5, "id").persistent());
        assert_eq!(unanswered(world, subscriber), []);
    });
}

/// MQTT-3.3.1-4, MQTT-4.13.1-1.
fn mqtt_3_3_1_4_qos_3_is_malformed() {
    each5(|world| {
        for packet in [
            publish("t", "x").qos(3, 1).bytes(V5),
            publish("t", "x").qos(3, 1).retain().bytes(V5),
            publish("t", "x").qos(3, 1).dup().bytes(V5),
        ] {
            closes_with(world, packet, MALFORMED);
        }
    });
}

/// MQTT-3.3.1-5, MQTT-3.3.1-6, MQTT-3.3.1-7, MQTT-3.3.1-8.
fn mqtt_3_3_1_5_retained_messages_are_replaced_and_removed() {
    each5(|world| {
        let watcher = watcher(world);
        let publisher = client(world, "publisher");
        for qos in 0..=2 {
            let retained = |payload| publish("t", payload).qos(qos, 0).retain();
            world.publish(publisher, &retained("first"));
            retained_is(world, "t", Some("first"));
            world.publish(publisher, &retained("second"));
            retained_is(world, "t", Some("second"));
            world.publish(publisher, &publish("t", "live").qos(qos, 0));
            retained_is(world, "t", Some("second"));
            world.publish(publisher, &publish("t", "").qos(qos, 0));
            retained_is(world, "t", Some("second"));
            world.publish(publisher, &retained(""));
            retained_is(world, "t", None);
            world.publish(publisher, &publish("t", "live").qos(qos, 0));
            retained_is(world, "t", None);
            world.publish(publisher, &retained(""));
            retained_is(world, "t", None);
            // All went to those who were there, the empty ones too.
            let seen = world.texts(watcher);
            assert_eq!(seen, ["first", "second", "live", "", "", "live", ""]);
        }
    });
}

/// MQTT-3.3.1-9, MQTT-3.3.1-10, MQTT-3.3.1-11, MQTT-3.8.4-4.
fn mqtt_3_3_1_9_retain_handling() {
    each5(|world| {
        let publisher = client(world, "publisher");
        world.publish(publisher, &publish("t", "kept").retain());
        let mut client = world.connect(&connect(V5, "id").persistent());
        let subscribed = |world: &mut World, client, options| {
            subscribes(world, client, "t", options);
            world.texts(client).len()
        };
        assert_eq!(subscribed(world, client, 1 | RETAIN_NEVER), 0);
        assert_eq!(subscribed(world, client, 1 | RETAIN_IF_NEW), 0);
        assert_eq!(subscribed(world, client, 1), 1);
        assert_eq!(subscribed(world, client, 1), 1);
        world.unsubscribe(client, "t");
        assert_eq!(subscribed(world, client, 1 | RETAIN_IF_NEW), 1);
        assert_eq!(subscribed(world, client, 1 | RETAIN_IF_NEW), 0);
        // In a session that goes on the subscription is not new.
        world.drop_connection(client);
        client = world.connect(&connect(V5, "id").persistent());
        assert_eq!(subscribed(world, client, 1 | RETAIN_IF_NEW), 0);
        world.unsubscribe(client, "t");
        assert_eq!(subscribed(world, client, 1 | RETAIN_NEVER), 0);
    });
}

/// MQTT-3.3.1-12, MQTT-3.3.1-13.
fn mqtt_3_3_1_12_retain_as_published() {
    each5(|world| {
        let publisher = client(world, "publisher");
        let cleared = client(world, "cleared");
        subscribes(world, cleared, "t", 1);
        let kept = client(world, "kept");
        subscribes(world, kept, "t", 1 | RETAIN_AS_PUBLISHED);
        for qos in 0..=2 {
            world.publish(publisher, &publish("t", "x").qos(qos, 0).retain());
            world.publish(publisher, &publish("t", "x").qos(qos, 0));
        }
        let flags = |messages: Vec<Message>| Vec::from_iter(messages.iter().map(|m| m.retain));
        assert_eq!(flags(world.messages(cleared)), [false; 6]);
        let as_published = [true, false, true, false, true, false];
        assert_eq!(flags(world.messages(kept)), as_published);
        // Because of SUBSCRIBE it is 1 either way.
        subscribes(world, cleared, "t", 1);
        assert_eq!(flags(world.messages(cleared)), [true]);
    });
}

/// MQTT-3.3.1-13, MQTT-3.3.1-12. Of overlapping subscriptions one that asks for it is enough.
fn mqtt_3_3_1_13_retain_as_published_with_overlaps() {
    each5(|world| {
        let publisher = client(world, "publisher");
        let subscriber = client(world, "subscriber");
        for (first, second) in [(0, RETAIN_AS_PUBLISHED), (RETAIN_AS_PUBLISHED, 0)] {
            subscribes(world, subscriber, "a/b", first | RETAIN_NEVER);
            subscribes(world, subscriber, "a/+", second | RETAIN_NEVER);
            world.publish(publisher, &publish("a/b", "x").retain());
            let messages = world.messages(subscriber);
            assert_eq!(messages.len(), 1);
            assert!(messages[0].retain);
        }
    });
}

/// MQTT-3.3.2-1, MQTT-2.2.2-1.
fn mqtt_3_3_2_1_publish_that_ends_too_early_is_malformed() {
    each5(|world| {
        let whole = publish("topic", "").qos(1, 7).with(passed_on()).bytes(V5);
        for end in 2..whole.len() {
            closes_with(world, packet(whole[0], &whole[2..end]), MALFORMED);
        }
    });
}

/// MQTT-3.3.2-2, MQTT-4.7.0-1, MQTT-4.7.3-1.
fn mqtt_3_3_2_2_wildcards_in_a_topic_name_close() {
    each5(|world| {
        let watcher = watcher(world);
        for topic in ["#", "+", "a/#", "a/+/b", "a+", "#a"] {
            // 0x90 is for a name that is not malformed but not accepted. [v5 3.2.2.2, 3.14.2.1]
            closes_with(world, publish(topic, "x").bytes(V5), MALFORMED);
            let will = connect(V5, "id").will(topic, "x", 0, false);
            refused_with(world, will.bytes(), MALFORMED);
        }
        closes_with(world, publish("", "x").bytes(V5), PROTOCOL_ERROR);
        assert_eq!(world.messages(watcher), []);
    });
}

/// MQTT-3.3.2-3.
fn mqtt_3_3_2_3_the_delivered_name_is_the_published_one() {
    each5(|world| {
        let publisher = client(world, "publisher");
        let subscriber = client(world, "subscriber");
        for filter in ["a/+/c", "a/#", "a/b/c"] {
            world.subscribe(subscriber, filter, 0);
            world.publish(publisher, &publish("a/b/c", "x"));
            let messages = world.messages(subscriber);
            assert_eq!(messages.len(), 1);
            assert_eq!(messages[0].topic, "a/b/c");
            world.unsubscribe(subscriber, filter);
        }
    });
}

/// MQTT-3.3.4-1, MQTT-4.3.2-4, MQTT-4.3.3-8, MQTT-4.3.3-11, MQTT-3.4.2-1, MQTT-3.5.2-1, MQTT-3.7.2-1.
fn mqtt_3_3_4_1_publish_is_answered_by_its_qos() {
    each5(|world| {
        let client = client(world, "client");
        for code in [0x10, 0] {
            world.send(client, publish("t", "x").bytes(V5));
            assert!(unexpected(world.received(client)).is_empty());
            world.send(client, publish("t", "x").qos(1, 5).bytes(V5));
            let packet_id = 5;
            let answers = unexpected(world.received(client));
            assert_eq!(answers, [Packet::PubAck { packet_id, code }]);
            world.send(client, publish("t", "x").qos(2, 5).bytes(V5));
            let answers = unexpected(world.received(client));
            assert_eq!(answers, [Packet::PubRec { packet_id, code }]);
            world.send(client, pubrel(5));
            let answers = unexpected(world.received(client));
            assert_eq!(answers, [Packet::pubcomp(5)]);
            // PUBREL of an unknown identifier.
            world.send(client, pubrel(5));
            let answers = unexpected(world.received(client));
            let code = 0x92;
            assert_eq!(answers, [Packet::PubComp { packet_id, code }]);
            subscribes(world, client, "t", RETAIN_NEVER);
        }
    });
}

/// Everything but messages.
fn unexpected(mut packets: Vec<Packet>) -> Vec<Packet> {
    packets.retain(|packet| packet.message().is_none());
    packets
}

/// MQTT-3.3.4-2, MQTT-3.3.4-3, MQTT-3.3.4-4.
fn mqtt_3_3_4_2_overlaps_deliver_once_at_the_highest_qos_with_all_identifiers() {
    each5(|world| {
        let publisher = client(world, "publisher");
        let subscriber = client(world, "subscriber");
        let identifier = subscription_identifier;
        subscribes_with(world, subscriber, &identifier(3), "a/b", 0);
        subscribes_with(world, subscriber, &identifier(268_435_455), "a/+", 2);
        subscribes_with(world, subscriber, &identifier(128), "a/#", 1);
        subscribes(world, subscriber, "#", 1);
        subscribes_with(world, subscriber, &identifier(9), "other", 2);
        let message = publish("a/b", "x").qos(2, 0).with(passed_on());
        world.publish(publisher, &message);
        let messages = world.messages_full(subscriber);
        assert_eq!(messages.len(), 1);
        assert_eq!(messages[0].message().qos, 2);
        assert_eq!(messages[0].identifiers(), [3, 128, 268_435_455]);
        carries_passed_on(&messages[0]);
        // What two subscriptions share comes twice or once; the retained message carries that of its own subscription.
        world.publish(publisher, &publish("a/b", "kept").retain());
        world.messages_full(subscriber);
        subscribes_with(world, subscriber, &identifier(4), "a/b", 0);
        let retained = world.messages_full(subscriber);
        assert_eq!(retained.len(), 1);
        assert_eq!(retained[0].identifiers(), [4]);
    });
}

/// MQTT-3.3.4-5, MQTT-3.3.4-3. Retained messages come once for each subscription, each with its identifier.
fn mqtt_3_3_4_5_separate_copies_carry_their_own_identifier() {
    each5(|world| {
        let publisher = client(world, "publisher");
        world.publish(publisher, &publish("a/b", "kept").retain());
        let subscriber = client(world, "subscriber");
        for (number, filter) in [(1, "a/b"), (2, "a/+"), (3, "#")] {
            let identifier = subscription_identifier(number);
            subscribes_with(world, subscriber, &identifier, filter, 1);
        }
        let copies = world.messages_full(subscriber);
        let identifiers = Vec::from_iter(copies.iter().map(Full::identifiers));
        assert_eq!(identifiers, [[1], [2], [3]]);
    });
}

/// MQTT-3.3.4-9, MQTT-4.9.0-1, MQTT-4.9.0-2, MQTT-3.3.4-10, MQTT-4.9.0-3.
fn mqtt_3_3_4_9_the_receive_maximum_of_a_client_holds() {
    each5(|world| {
        let publisher = client(world, "publisher");
        for maximum in [1, 2, 3, 7] {
            let connect = connect(V5, "id").with(receive_maximum(maximum));
            let subscriber = world.connect(&connect);
            world.subscribe(subscriber, "t", 2);
            for number in 0..10u8 {
                let qos = 1 + number % 2;
                world.publish(publisher, &publish("t", [number]).qos(qos, 0));
            }
            let held = unanswered(world, subscriber);
            assert_eq!(held.len(), usize::from(maximum));
            // QoS 0 and everything else goes on.
            world.publish(publisher, &publish("t", "at once"));
            assert_eq!(unanswered(world, subscriber)[0].text(), "at once");
            alive(world, subscriber);
            world.subscribe(subscriber, "u", 1);
            world.publish(subscriber, &publish("v", "x").qos(1, 0));
            world.publish(subscriber, &publish("v", "x").qos(2, 0));
            // PUBREC gives no place back; PUBCOMP and PUBACK give one each.
            let mut delivered = Vec::from_iter(held.iter().map(|message| message.payload[0]));
            let mut held = std::collections::VecDeque::from(held);
            while let Some(message) = held.pop_front() {
                if message.qos == 2 {
                    world.send(subscriber, pubrec(message.packet_id));
                    assert_eq!(unanswered(world, subscriber), []);
                    world.send(subscriber, pubcomp(message.packet_id));
                } else {
                    world.send(subscriber, puback(message.packet_id));
                }
                let next = unanswered(world, subscriber);
                assert!(next.len() <= 1);
                delivered.extend(next.iter().map(|message| message.payload[0]));
                held.extend(next);
            }
            assert_eq!(delivered, Vec::from_iter(0..10));
            world.disconnect(subscriber);
        }
    });
}

/// MQTT-3.3.4-9, MQTT-4.4.0-2. PUBREC of 0x80 or above gives a place back at once.
fn mqtt_3_3_4_9_a_failed_pubrec_gives_its_place_back() {
    each5(|world| {
        let publisher = client(world, "publisher");
        let connect = connect(V5, "id").persistent().with(receive_maximum(1));
        let subscriber = world.connect(&connect);
        world.subscribe(subscriber, "t", 2);
        for (number, code) in [0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99]
            .iter()
            .enumerate()
        {
            world.publish(publisher, &publish("t", [number as u8]).qos(2, 0));
            let messages = unanswered(world, subscriber);
            assert_eq!(messages.len(), 1, "{code:#x}");
            let id = messages[0].packet_id;
            world.send(subscriber, acknowledge_code(0x50, id, *code));
            // It has ended: no PUBREL.
            world.expect(subscriber, &[]);
        }
        for code in [0x80, 0x87, 0x97] {
            world.publish(publisher, &publish("t", "x").qos(1, 0));
            let messages = unanswered(world, subscriber);
            let id = messages[0].packet_id;
            let answer = acknowledge_with(0x40, id, code, &text(REASON_STRING, "no"));
            world.send(subscriber, answer);
        }
        // Nothing is sent again.
        world.drop_connection(subscriber);
        let subscriber = world.connect(&connect);
        world.expect(subscriber, &[]);
    });
}

/// MQTT-3.3.4-7.
fn mqtt_3_3_4_7_more_than_our_receive_maximum_closes() {
    each5(|world| {
        let publisher = client(world, "publisher");
        let connack = world.connack(publisher);
        let maximum = connack.number(RECEIVE_MAXIMUM).unwrap_or(65_535) as u16;
        let mut bytes = Vec::new();
        for id in 1..=maximum {
            bytes.extend(publish("t", "").qos(2, id).bytes(V5));
        }
        world.send(publisher, &bytes);
        assert_eq!(world.received(publisher).len(), usize::from(maximum));
        // A repeat is none more, and neither is one after a PUBREL.
        world.send(publisher, publish("t", "").qos(2, 1).dup().bytes(V5));
        world.send(publisher, pubrel(2));
        world.send(publisher, publish("t", "").qos(2, 2).bytes(V5));
        assert_eq!(world.received(publisher).len(), 3);
        world.send(publisher, publish("t", "").qos(2, maximum + 1).bytes(V5));
        world.expect(publisher, &[Packet::Disconnect { code: 0x93 }]);
        assert!(world.is_closed(publisher));
    });
}

/// MQTT-3.2.2-11, MQTT-3.2.2-14. Both are offered, so that there is nothing to refuse.
fn mqtt_3_2_2_11_no_qos_and_no_retain_is_above_what_is_offered() {
    each5(|world| {
        let publisher = client(world, "publisher");
        for qos in 0..=2 {
            world.publish(publisher, &publish("t", "x").qos(qos, 0).retain());
        }
        alive(world, publisher);
        retained_is(world, "t", Some("x"));
    });
}
