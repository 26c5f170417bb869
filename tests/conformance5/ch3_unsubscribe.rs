//! 3.10 UNSUBSCRIBE and 3.11 UNSUBACK.

use crate::claims::*;
use crate::support::*;

crate::table! {
    mqtt_3_10_3_2_unsubscribe_without_a_filter_closes,
    mqtt_3_10_4_1_filters_are_compared_as_text,
    mqtt_3_10_4_2_nothing_new_but_what_was_begun_ends,
}

/// MQTT-3.10.3-2, MQTT-4.13.1-1.
fn mqtt_3_10_3_2_unsubscribe_without_a_filter_closes() {
    each5(|world| {
        closes_with(world, unsubscribe_with(1, &[], &[]), PROTOCOL_ERROR);
        let property = user_property("n", "v");
        closes_with(world, unsubscribe_with(1, &property, &[]), PROTOCOL_ERROR);
    });
}

/// MQTT-3.10.4-1, MQTT-3.10.4-4, MQTT-3.10.4-5, MQTT-3.10.4-6, MQTT-3.11.3-1, MQTT-3.11.3-2.
fn mqtt_3_10_4_1_filters_are_compared_as_text() {
    each5(|world| {
        let client = client(world, "client");
        for filter in ["a/b", "a/+", "A/B", "#"] {
            world.subscribe(client, filter, 0);
        }
        let deep = "/".repeat(201);
        let filters = ["a/b/", "a/b", "a/#", "+/b", "a/b", "#", &deep];
        world.send(client, unsubscribe(V5, 600, &filters));
        let received = world.received(client);
        let Packet::UnsubAck { packet_id, codes } = &received[0] else {
            panic!("{received:?}");
        };
        assert_eq!(*packet_id, 600);
        assert_eq!(codes[..6], [0x11, 0, 0x11, 0x11, 0x11, 0]);
        assert_eq!(codes[6..], [0x8f], "more levels than are served");
        world.publish(client, &publish("a/b", "by a/+"));
        world.publish(client, &publish("A/B", "by A/B"));
        world.publish(client, &publish("c", "by none"));
        assert_eq!(world.texts(client), ["by a/+", "by A/B"]);
    });
}

/// MQTT-3.10.4-2, MQTT-3.10.4-3, MQTT-4.3.3-13.
fn mqtt_3_10_4_2_nothing_new_but_what_was_begun_ends() {
    each5(|world| {
        let publisher = client(world, "publisher");
        let client = world.connect(&connect(V5, "id").persistent());
        world.subscribe(client, "t", 2);
        world.publish(publisher, &publish("t", "one").qos(1, 0));
        world.publish(publisher, &publish("t", "two").qos(2, 0));
        let begun = unanswered(world, client);
        assert_eq!(begun.len(), 2);
        world.unsubscribe(client, "t");
        for qos in 0..=2 {
            world.publish(publisher, &publish("t", "new").qos(qos, 0));
        }
        world.expect(client, &[]);
        // What was begun is sent again on a new connection and finished there.
        world.drop_connection(client);
        let client = world.connect(&connect(V5, "id").persistent());
        let again = unanswered(world, client);
        assert_eq!(again.len(), 2);
        world.send(client, puback(again[0].packet_id));
        world.send(client, pubrec(again[1].packet_id));
        world.expect(client, &[Packet::pubrel(again[1].packet_id)]);
        world.send(client, pubcomp(again[1].packet_id));
        world.drop_connection(client);
        let client = world.connect(&connect(V5, "id").persistent());
        world.expect(client, &[]);
    });
}
