//! 3.3.2.3.4 Topic Aliases towards a Client. The oracle resolves them, and refuses one that is 0, above the Client's
//! maximum or not set on this connection.

use crate::claims::*;
use crate::support::property::*;
use crate::support::*;

crate::table! {
    mqtt_3_1_2_26_aliases_stay_within_the_clients_maximum,
    mqtt_3_3_2_7_outward_aliases_end_with_the_connection,
    mqtt_3_1_2_25_a_dropped_message_sets_no_alias,
}

/// MQTT-3.1.2-26, MQTT-3.3.2-11, MQTT-3.3.2-8, MQTT-3.3.2-3.
fn mqtt_3_1_2_26_aliases_stay_within_the_clients_maximum() {
    each5(|world| {
        let publisher = client(world, "publisher");
        for maximum in [1, 2, 5, 65_535] {
            let connect = connect(V5, "id").with(topic_alias_maximum(maximum));
            let subscriber = world.connect(&connect);
            world.subscribe(subscriber, "#", 2);
            let mut expected = Vec::new();
            let mut messages = Vec::new();
            for number in 0..60 {
                // One topic most of the time, a few often, others seldom.
                let topic = match number % 8 {
                    0 => format!("seldom/{number}"),
                    often @ 1..3 => format!("a/topic/used/often/{often}"),
                    _ => "the/topic/used/most".to_owned(),
                };
                let message = publish(&topic, "x").qos(number % 3, 0).with(passed_on());
                world.publish(publisher, &message);
                messages.extend(world.messages_full(subscriber));
                expected.push(topic);
            }
            let topics = Vec::from_iter(messages.iter().map(|full| &full.message().topic));
            assert_eq!(topics, Vec::from_iter(&expected));
            messages.iter().for_each(carries_passed_on);
            assert!(
                messages.iter().any(|full| !full.named),
                "no alias was used, of {maximum}"
            );
            world.disconnect(subscriber);
        }
    });
}

/// MQTT-3.3.2-7. The broker's aliases end with the connection: what comes on the next one, again or new, has its name
/// or an alias set anew.
fn mqtt_3_3_2_7_outward_aliases_end_with_the_connection() {
    each5(|world| {
        let publisher = client(world, "publisher");
        let kept = connect(V5, "id").persistent().with(topic_alias_maximum(4));
        let mut subscriber = world.connect(&kept);
        world.subscribe(subscriber, "#", 2);
        for round in 0..3 {
            for number in 0..10 {
                let qos = 1 + number % 2;
                world.publish(publisher, &publish("a/topic", "x").qos(qos, 0));
            }
            let count = unanswered(world, subscriber).len();
            assert!(count > 0);
            world.drop_connection(subscriber);
            subscriber = world.connect(&kept);
            let messages = world.messages(subscriber);
            assert_eq!(messages.len(), 10, "round {round}");
            assert!(messages.iter().all(|message| message.topic == "a/topic"));
        }
    });
}

/// MQTT-3.1.2-24, MQTT-3.1.2-25. A message that is dropped as too large sets no alias.
fn mqtt_3_1_2_25_a_dropped_message_sets_no_alias() {
    each5(|world| {
        let publisher = client(world, "publisher");
        let connect = connect(V5, "id")
            .with(topic_alias_maximum(4))
            .with(maximum_packet_size(60));
        let subscriber = world.connect(&connect);
        world.subscribe(subscriber, "#", 1);
        let topic = "a/name/of/some/length";
        let mut expected = 0;
        for number in 0..20 {
            let qos = number % 2;
            if number % 3 == 0 {
                let large = publish(topic, "x".repeat(60)).qos(qos, 0);
                world.publish(publisher, &large);
            } else {
                world.publish(publisher, &publish(topic, "x").qos(qos, 0));
                expected += 1;
            }
        }
        let messages = world.messages_full(subscriber);
        assert_eq!(messages.len(), expected);
        assert!(messages.iter().all(|full| full.message().topic == topic));
        assert!(
            messages
                .iter()
                .all(|full| full.number(TOPIC_ALIAS) != Some(0))
        );
    });
}
