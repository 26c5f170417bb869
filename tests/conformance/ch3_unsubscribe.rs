//! 3.10 UNSUBSCRIBE and 3.11 UNSUBACK.

use crate::claims::*;
use crate::support::*;

crate::table! {
    mqtt_3_10_1_1_unsubscribe_flags,
    mqtt_3_10_3_1_ill_formed_filter_closes,
    mqtt_3_10_3_2_unsubscribe_without_filter_closes,
    mqtt_3_10_4_1_filters_are_compared_as_plain_text,
    mqtt_3_10_4_1_others_keep_their_subscription,
    mqtt_3_10_4_2_nothing_new_after_unsubscribe,
    mqtt_3_10_4_3_begun_deliveries_are_finished_after_unsubscribe,
    mqtt_3_10_4_4_unsubscribe_is_answered_by_unsuback,
    mqtt_3_10_4_5_unsuback_comes_even_if_nothing_was_deleted,
    mqtt_3_10_4_6_several_filters_one_unsuback,
}

/// UNSUBACK as this version says it, `held` filters by filter.
fn unsuback(version: Version, packet_id: u16, held: &[bool]) -> Packet {
    let codes = match version {
        Version::V5 => held
            .iter()
            .map(|held| if *held { 0x00 } else { 0x11 })
            .collect(),
        _ => Vec::new(),
    };
    Packet::UnsubAck { packet_id, codes }
}

fn mqtt_3_10_1_1_unsubscribe_flags() {
    each(FROM_V311, |world, version| {
        for flags in (0..16).filter(|flags| *flags != 2) {
            closes(
                world,
                version,
                with_flags(unsubscribe(version, 1, &["t"]), flags),
            );
        }
    });
}

fn mqtt_3_10_3_1_ill_formed_filter_closes() {
    each(ALL, |world, version| {
        for filter in ILL_FORMED {
            closes(world, version, unsubscribe_bytes(version, 1, &[filter]));
            closes(
                world,
                version,
                unsubscribe_bytes(version, 1, &[b"good", filter]),
            );
        }
    });
}

fn mqtt_3_10_3_2_unsubscribe_without_filter_closes() {
    each(ALL, |world, version| {
        closes(world, version, unsubscribe(version, 1, &[]));
        let whole = unsubscribe(version, 1, &["abc"]);
        for missing in 1..=4 {
            let mut cut = whole[..whole.len() - missing].to_vec();
            cut[1] -= missing as u8;
            closes(world, version, cut);
        }
    });
}

fn mqtt_3_10_4_1_filters_are_compared_as_plain_text() {
    each(ALL, |world, version| {
        let publisher = publisher(world, version);
        let client = world.connect(&connect(version, "client"));
        world.subscribe(client, "a/b", 0);
        world.subscribe(client, "c/+", 0);
        // None of these is one of the two, although some would match.
        for filter in [
            "a/+", "a/#", "#", "A/b", "a/b/", "/a/b", "c/x", "c/#", "+/+",
        ] {
            world.unsubscribe(client, filter);
        }
        world.publish(publisher, &publish("a/b", "1"));
        world.publish(publisher, &publish("c/x", "2"));
        assert_eq!(world.texts(client), ["1", "2"]);
        world.unsubscribe(client, "c/+");
        world.publish(publisher, &publish("a/b", "3"));
        world.publish(publisher, &publish("c/x", "4"));
        assert_eq!(world.texts(client), ["3"]);
        world.unsubscribe(client, "a/b");
        world.publish(publisher, &publish("a/b", "5"));
        assert_eq!(world.messages(client), []);
    });
}

fn mqtt_3_10_4_1_others_keep_their_subscription() {
    each(ALL, |world, version| {
        let publisher = publisher(world, version);
        let clients: Vec<Client> = (0..5)
            .map(|number| {
                let client = world.connect(&connect(version, &format!("client {number}")));
                world.subscribe(client, "t/+", 1);
                client
            })
            .collect();
        for leaving in 0..5 {
            world.unsubscribe(clients[leaving], "t/+");
            world.publish(publisher, &publish("t/x", "x").qos(1, 0));
            for (index, client) in clients.iter().enumerate() {
                let expected = usize::from(index > leaving);
                assert_eq!(world.messages(*client).len(), expected);
            }
        }
    });
}

fn mqtt_3_10_4_2_nothing_new_after_unsubscribe() {
    each(ALL, |world, version| {
        let publisher = publisher(world, version);
        let id = connect(version, "client").persistent();
        let client = world.connect(&id);
        world.subscribe(client, "t", 2);
        world.unsubscribe(client, "t");
        world.publish(publisher, &publish("t", "x").qos(2, 0));
        assert_eq!(world.messages(client), []);
        world.disconnect(client);
        world.publish(publisher, &publish("t", "x").qos(2, 0));
        let client = world.connect(&id);
        assert_eq!(world.messages(client), []);
    });
}

fn mqtt_3_10_4_3_begun_deliveries_are_finished_after_unsubscribe() {
    each(ALL, |world, version| {
        let publisher = publisher(world, version);
        let id = connect(version, "client").persistent();
        let client = world.connect(&id);
        world.subscribe(client, "t", 2);
        world.publish(publisher, &publish("t", "one").qos(1, 0));
        world.publish(publisher, &publish("t", "two").qos(2, 0));
        world.publish(publisher, &publish("t", "three").qos(2, 0));
        let packet_ids: Vec<u16> = world
            .received(client)
            .iter()
            .map(|packet| packet.message().expect("PUBLISH").packet_id)
            .collect();
        world.send(client, pubrec(packet_ids[2]));
        world.expect(client, &[Packet::pubrel(packet_ids[2])]);
        world.unsubscribe(client, "t");
        // The handshake goes on ...
        world.send(client, pubrec(packet_ids[1]));
        world.expect(client, &[Packet::pubrel(packet_ids[1])]);
        world.send(client, pubcomp(packet_ids[1]));
        world.expect(client, &[]);
        // ... and what is open is sent again on the next connection.
        world.drop_connection(client);
        let client = world.connect(&id);
        let received = world.received(client);
        assert_eq!(received.len(), 2, "{received:?}");
        let message = received[0].message().expect("PUBLISH first");
        assert_eq!((message.text().as_str(), message.dup), ("one", true));
        assert_eq!(received[1], Packet::pubrel(packet_ids[2]));
    });
}

fn mqtt_3_10_4_4_unsubscribe_is_answered_by_unsuback() {
    each(ALL, |world, version| {
        let client = world.connect(&connect(version, "client"));
        for packet_id in [1, 2, 256, 65_535] {
            world.subscribe(client, "t", 0);
            world.send(client, unsubscribe(version, packet_id, &["t"]));
            world.expect(client, &[unsuback(version, packet_id, &[true])]);
        }
    });
}

fn mqtt_3_10_4_5_unsuback_comes_even_if_nothing_was_deleted() {
    each(ALL, |world, version| {
        let client = world.connect(&connect(version, "client"));
        world.send(client, unsubscribe(version, 8, &["never/held"]));
        world.expect(client, &[unsuback(version, 8, &[false])]);
        world.subscribe(client, "t", 0);
        for held in [true, false, false] {
            world.send(client, unsubscribe(version, 9, &["t"]));
            world.expect(client, &[unsuback(version, 9, &[held])]);
        }
    });
}

fn mqtt_3_10_4_6_several_filters_one_unsuback() {
    each(ALL, |world, version| {
        let publisher = publisher(world, version);
        let client = world.connect(&connect(version, "client"));
        for filter in ["a", "b/+", "c"] {
            world.subscribe(client, filter, 1);
        }
        world.send(client, unsubscribe(version, 4, &["a", "x", "b/+", "a"]));
        world.expect(client, &[unsuback(version, 4, &[true, false, true, false])]);
        for topic in ["a", "b/1", "c"] {
            world.publish(publisher, &publish(topic, topic).qos(1, 0));
        }
        assert_eq!(world.texts(client), ["c"]);
    });
}
