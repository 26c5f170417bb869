//! 3.8 SUBSCRIBE and 3.9 SUBACK.

use crate::claims::*;
use crate::support::*;

crate::table! {
    mqtt_3_8_1_1_subscribe_flags,
    mqtt_3_8_3_1_ill_formed_filter_closes,
    mqtt_3_8_3_2_wildcards_are_offered,
    mqtt_3_8_3_3_subscribe_without_filter_closes,
    mqtt_3_8_3_3_subscribe_that_ends_too_early_closes,
    mqtt_3_8_3_4_reserved_bits_and_qos_3_close,
    mqtt_3_8_4_1_subscribe_is_answered_by_suback,
    mqtt_3_8_4_2_suback_has_the_identifier_of_its_subscribe,
    mqtt_3_8_4_3_same_filter_replaces_the_subscription,
    mqtt_3_8_4_3_replacing_a_subscription_loses_no_message,
    mqtt_3_8_4_4_several_filters_act_like_several_subscribes,
    mqtt_3_8_4_4_many_filters_in_one_subscribe,
    mqtt_3_8_4_5_suback_has_one_code_a_filter,
    mqtt_3_8_4_6_delivery_qos_is_the_lower_of_published_and_granted,
    mqtt_3_9_3_1_suback_codes_stand_in_the_order_of_the_filters,
    mqtt_3_9_3_2_suback_codes_are_those_of_the_standard,
}

fn mqtt_3_8_1_1_subscribe_flags() {
    each(FROM_V311, |world, version| {
        for flags in (0..16).filter(|flags| *flags != 2) {
            closes(
                world,
                version,
                with_flags(subscribe(version, 1, &[("t", 0)]), flags),
            );
        }
    });
}

fn mqtt_3_8_3_1_ill_formed_filter_closes() {
    each(ALL, |world, version| {
        for filter in ILL_FORMED {
            closes(world, version, subscribe_bytes(version, 1, &[(filter, 0)]));
            closes(
                world,
                version,
                subscribe_bytes(version, 1, &[(b"good", 0), (filter, 0)]),
            );
        }
    });
}

fn mqtt_3_8_3_2_wildcards_are_offered() {
    each(ALL, |world, version| {
        let client = world.connect(&connect(version, "client"));
        for filter in ["#", "+", "+/+", "a/#", "/#", "+/a/#", "a/+/b", "/+", "+/"] {
            world.subscribe(client, filter, 2);
        }
    });
}

fn mqtt_3_8_3_3_subscribe_without_filter_closes() {
    each(ALL, |world, version| {
        closes(world, version, subscribe(version, 1, &[]));
    });
}

fn mqtt_3_8_3_3_subscribe_that_ends_too_early_closes() {
    each(ALL, |world, version| {
        let whole = subscribe(version, 1, &[("abc", 0)]);
        // Without the options byte, inside the filter, inside its length.
        for missing in 1..=5 {
            let mut cut = whole[..whole.len() - missing].to_vec();
            cut[1] -= missing as u8;
            closes(world, version, cut);
        }
    });
}

fn mqtt_3_8_3_4_reserved_bits_and_qos_3_close() {
    each(ONLY_V311, |world, version| {
        for options in 3..=255 {
            closes(world, version, subscribe(version, 1, &[("t", options)]));
        }
        closes(
            world,
            version,
            subscribe(version, 1, &[("good", 1), ("t", 3)]),
        );
    });
    each(ALL, |world, version| {
        closes(world, version, subscribe(version, 1, &[("t", 3)]));
    });
}

fn mqtt_3_8_4_1_subscribe_is_answered_by_suback() {
    each(ALL, |world, version| {
        let client = world.connect(&connect(version, "client"));
        for packet_id in 1..5 {
            world.send(client, subscribe(version, packet_id, &[("t", 1)]));
            let received = world.received(client);
            assert_eq!(
                received,
                [Packet::SubAck {
                    packet_id,
                    codes: vec![1]
                }]
            );
        }
    });
}

fn mqtt_3_8_4_2_suback_has_the_identifier_of_its_subscribe() {
    each(ALL, |world, version| {
        let client = world.connect(&connect(version, "client"));
        // Several under way at once, over filters whose homes have to be asked.
        let mut bytes = Vec::new();
        for packet_id in [9, 3, 65_535, 1] {
            bytes.extend(subscribe(
                version,
                packet_id,
                &[(&format!("t/{packet_id}"), 0)],
            ));
        }
        world.send(client, bytes);
        let mut packet_ids: Vec<u16> = world
            .received(client)
            .iter()
            .map(|packet| match packet {
                Packet::SubAck { packet_id, .. } => *packet_id,
                other => panic!("{other:?}"),
            })
            .collect();
        packet_ids.sort_unstable();
        assert_eq!(packet_ids, [1, 3, 9, 65_535]);
    });
}

fn mqtt_3_8_4_3_same_filter_replaces_the_subscription() {
    each(ALL, |world, version| {
        let publisher = publisher(world, version);
        world.publish(publisher, &publish("t/r", "retained").qos(2, 0).retain());
        let client = world.connect(&connect(version, "client"));
        for qos in [2, 0, 1] {
            world.subscribe(client, "t/+", qos);
            let messages = world.messages(client);
            assert_eq!(messages.len(), 1, "retained messages come again");
            assert_eq!(
                (messages[0].text().as_str(), messages[0].qos),
                ("retained", qos)
            );
            world.publish(publisher, &publish("t/live", "live").qos(2, 0));
            let messages = world.messages(client);
            assert_eq!(messages.len(), 1, "one subscription, one copy");
            assert_eq!(messages[0].qos, qos);
        }
        world.unsubscribe(client, "t/+");
        world.publish(publisher, &publish("t/live", "live"));
        assert_eq!(world.messages(client), []);
    });
}

fn mqtt_3_8_4_3_replacing_a_subscription_loses_no_message() {
    each(ALL, |world, version| {
        let publisher = publisher(world, version);
        let client = world.connect(&connect(version, "client"));
        world.acknowledge_at_once(client);
        world.subscribe(client, "t", 1);
        for number in 0..40_u16 {
            let again = subscribe(version, number + 1, &[("t", 1 + (number % 2) as u8)]);
            let message = publish("t", number.to_string()).qos(1, number + 1);
            world.send_together(&[(client, again), (publisher, message.bytes(version))]);
        }
        let numbers: Vec<String> = world
            .received(client)
            .iter()
            .filter_map(Packet::message)
            .map(Message::text)
            .collect();
        assert_eq!(
            numbers,
            (0..40).map(|number| number.to_string()).collect::<Vec<_>>()
        );
    });
}

fn mqtt_3_8_4_4_several_filters_act_like_several_subscribes() {
    each(ALL, |world, version| {
        let publisher = publisher(world, version);
        for topic in ["a", "b", "c"] {
            world.publish(publisher, &publish(topic, topic).qos(2, 0).retain());
        }
        let client = world.connect(&connect(version, "client"));
        // The same filter twice: the later one holds.
        let filters = [("a", 0), ("b", 1), ("c", 2), ("d/+", 2), ("d/+", 0)];
        world.send(client, subscribe(version, 5, &filters));
        let suback = Packet::SubAck {
            packet_id: 5,
            codes: vec![0, 1, 2, 2, 0],
        };
        assert_eq!(
            world.take(client, |packet| matches!(packet, Packet::SubAck { .. })),
            Some(suback)
        );
        let mut retained: Vec<(String, u8)> = world
            .messages(client)
            .iter()
            .map(|message| (message.text(), message.qos))
            .collect();
        retained.sort();
        assert_eq!(
            retained,
            [("a".into(), 0), ("b".into(), 1), ("c".into(), 2)]
        );
        for (topic, qos) in [("a", 0), ("b", 1), ("c", 2), ("d/x", 0)] {
            world.publish(publisher, &publish(topic, "live").qos(2, 0));
            let messages = world.messages(client);
            assert_eq!(messages.len(), 1);
            assert_eq!(messages[0].qos, qos, "granted QoS of {topic}");
        }
        assert!(world.received(client).is_empty(), "one joint SUBACK");
    });
}

fn mqtt_3_8_4_4_many_filters_in_one_subscribe() {
    each(ALL, |world, version| {
        world.read_whole();
        let client = world.connect(&connect(version, "client"));
        let filters: Vec<String> = (0..300).map(|number| format!("many/{number}/+")).collect();
        let filters: Vec<(&str, u8)> = filters.iter().map(|filter| (filter.as_str(), 1)).collect();
        world.send(client, subscribe(version, 1, &filters));
        world.expect(
            client,
            &[Packet::SubAck {
                packet_id: 1,
                codes: vec![1; 300],
            }],
        );
        let publisher = publisher(world, version);
        for number in [0, 150, 299] {
            world.publish(
                publisher,
                &publish(&format!("many/{number}/x"), "x").qos(1, 0),
            );
        }
        assert_eq!(world.messages(client).len(), 3);
    });
}

fn mqtt_3_8_4_5_suback_has_one_code_a_filter() {
    each(ALL, |world, version| {
        let client = world.connect(&connect(version, "client"));
        for count in [1, 2, 3, 60] {
            let filters: Vec<String> = (0..count).map(|number| format!("t/{number}")).collect();
            let filters: Vec<(&str, u8)> = filters
                .iter()
                .enumerate()
                .map(|(index, filter)| (filter.as_str(), (index % 3) as u8))
                .collect();
            let codes: Vec<u8> = filters.iter().map(|(_, qos)| *qos).collect();
            world.send(client, subscribe(version, 2, &filters));
            world.expect(
                client,
                &[Packet::SubAck {
                    packet_id: 2,
                    codes,
                }],
            );
        }
    });
}

fn mqtt_3_8_4_6_delivery_qos_is_the_lower_of_published_and_granted() {
    each(ALL, |world, version| {
        let publisher = publisher(world, version);
        let subscribers: Vec<Client> = (0..=2)
            .map(|granted| {
                let client = world.connect(&connect(version, &format!("granted {granted}")));
                world.subscribe(client, "t", granted);
                client
            })
            .collect();
        for published in 0..=2_u8 {
            world.publish(publisher, &publish("t", "x").qos(published, 0));
            for (granted, subscriber) in subscribers.iter().enumerate() {
                let messages = world.messages(*subscriber);
                assert_eq!(
                    messages.len(),
                    1,
                    "published {published}, granted {granted}"
                );
                assert_eq!(messages[0].qos, published.min(granted as u8));
            }
        }
    });
}

fn mqtt_3_9_3_1_suback_codes_stand_in_the_order_of_the_filters() {
    each(ALL, |world, version| {
        let client = world.connect(&connect(version, "client"));
        world.subscribe(client, "c", 0);
        // New, held and held by others, mixed.
        let other = world.connect(&connect(version, "other"));
        world.subscribe(other, "b", 0);
        let filters = [("z", 2), ("a", 0), ("c", 1), ("b", 2), ("#", 0), ("+", 1)];
        world.send(client, subscribe(version, 3, &filters));
        world.expect(
            client,
            &[Packet::SubAck {
                packet_id: 3,
                codes: vec![2, 0, 1, 2, 0, 1],
            }],
        );
    });
}

fn mqtt_3_9_3_2_suback_codes_are_those_of_the_standard() {
    // The oracle refuses other codes in every test; here all that may be asked for.
    each(V3, |world, version| {
        let client = world.connect(&connect(version, "client"));
        for qos in 0..=2 {
            world.send(client, subscribe(version, 3, &[("t", qos)]));
            world.expect(
                client,
                &[Packet::SubAck {
                    packet_id: 3,
                    codes: vec![qos],
                }],
            );
        }
        // A filter that cannot be served gets no other code: this broker closes.
        closes(
            world,
            version,
            subscribe(version, 1, &[("good", 1), ("a/#/b", 1)]),
        );
    });
}
