//! A session that goes on under other terms than it was left with.

use crate::claims::*;
use crate::support::*;

crate::table! {
    mqtt_4_9_0_2_a_smaller_receive_maximum_limits_what_comes_again,
    mqtt_3_1_2_25_what_became_too_large_is_dropped_and_holds_no_place,
    mqtt_4_9_0_1_the_quota_starts_anew_with_each_connection,
}

/// MQTT-3.3.4-9, MQTT-4.9.0-2. A smaller Receive Maximum limits what is sent again, too.
fn mqtt_4_9_0_2_a_smaller_receive_maximum_limits_what_comes_again() {
    each5(|world| {
        let publisher = client(world, "publisher");
        let kept = connect(V5, "id").persistent();
        let subscriber = world.connect(&kept);
        world.subscribe(subscriber, "t", 2);
        for number in 0..6u8 {
            world.publish(publisher, &publish("t", [number]).qos(1 + number % 2, 0));
        }
        assert_eq!(unanswered(world, subscriber).len(), 6);
        world.drop_connection(subscriber);
        let subscriber = world.connect(&kept.with(receive_maximum(2)));
        let mut payloads = Vec::new();
        loop {
            let held = unanswered(world, subscriber);
            assert!(held.len() <= 2, "{} at once", held.len());
            if held.is_empty() {
                break;
            }
            for message in held {
                assert!(message.dup);
                payloads.push(message.payload[0]);
                if message.qos == 1 {
                    world.send(subscriber, puback(message.packet_id));
                } else {
                    world.send(subscriber, pubrec(message.packet_id));
                    world.send(subscriber, pubcomp(message.packet_id));
                }
            }
        }
        assert_eq!(payloads, Vec::from_iter(0..6));
    });
}

/// MQTT-3.1.2-24, MQTT-3.1.2-25. A smaller Maximum Packet Size drops what is too large to come again, as if it had been
/// delivered.
fn mqtt_3_1_2_25_what_became_too_large_is_dropped_and_holds_no_place() {
    each5(|world| {
        let publisher = client(world, "publisher");
        let kept = connect(V5, "id").persistent().with(receive_maximum(2));
        let subscriber = world.connect(&kept);
        world.subscribe(subscriber, "t", 2);
        world.publish(publisher, &publish("t", "x".repeat(100)).qos(1, 0));
        world.publish(publisher, &publish("t", "x".repeat(100)).qos(2, 0));
        world.publish(publisher, &publish("t", "small").qos(2, 0));
        assert_eq!(unanswered(world, subscriber).len(), 2);
        world.drop_connection(subscriber);
        let subscriber = world.connect(&kept.with(maximum_packet_size(60)));
        assert_eq!(world.texts(subscriber), ["small"]);
        world.publish(publisher, &publish("t", "next").qos(1, 0));
        assert_eq!(world.texts(subscriber), ["next"]);
    });
}

/// MQTT-3.3.4-9, MQTT-4.9.0-1. The quota starts anew with each connection, larger too.
fn mqtt_4_9_0_1_the_quota_starts_anew_with_each_connection() {
    each5(|world| {
        let publisher = client(world, "publisher");
        let kept = connect(V5, "id").persistent();
        let subscriber = world.connect(&kept.clone().with(receive_maximum(1)));
        world.subscribe(subscriber, "t", 1);
        for number in 0..5u8 {
            world.publish(publisher, &publish("t", [number]).qos(1, 0));
        }
        assert_eq!(unanswered(world, subscriber).len(), 1);
        world.drop_connection(subscriber);
        let subscriber = world.connect(&kept.with(receive_maximum(3)));
        assert_eq!(unanswered(world, subscriber).len(), 3);
    });
}
