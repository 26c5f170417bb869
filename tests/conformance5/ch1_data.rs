//! 1.5 Data representation.

use crate::claims::*;
use crate::support::property::*;
use crate::support::*;

crate::table! {
    mqtt_1_5_4_1_ill_formed_utf8_is_malformed,
    mqtt_1_5_4_1_ill_formed_utf8_in_connect_is_malformed,
    mqtt_1_5_4_2_u0000_is_malformed,
    mqtt_1_5_4_3_u_feff_is_kept,
    mqtt_1_5_5_1_overlong_variable_byte_integers_are_malformed,
    mqtt_1_5_7_1_a_pair_that_is_cut_is_malformed,
}

/// MQTT-1.5.4-1, MQTT-3.3.2-1, MQTT-3.3.2-13, MQTT-3.3.2-19, MQTT-3.8.3-1, MQTT-3.10.3-1, MQTT-1.5.7-1.
fn mqtt_1_5_4_1_ill_formed_utf8_is_malformed() {
    each5(|world| {
        let watcher = watcher(world);
        for bad in ILL_FORMED {
            let packets = [
                publish("", "x").topic_bytes(bad).bytes(V5),
                publish("t", "x").with(text(RESPONSE_TOPIC, bad)).bytes(V5),
                publish("t", "x").with(text(CONTENT_TYPE, bad)).bytes(V5),
                publish("t", "x").with(user_property(bad, "v")).bytes(V5),
                publish("t", "x").with(user_property("n", bad)).bytes(V5),
                subscribe_bytes(V5, 1, &[(bad, 0)]),
                subscribe_with(1, &user_property("n", bad), &[("t", 0)]),
                unsubscribe_bytes(V5, 1, &[bad]),
                acknowledge_with(0x40, 1, 0, &text(REASON_STRING, bad)),
                disconnect_with(0, &text(REASON_STRING, bad)),
            ];
            for packet in packets {
                closes_with(world, packet, MALFORMED);
            }
        }
        assert_eq!(world.messages(watcher), []);
    });
}

/// MQTT-1.5.4-1, MQTT-3.1.3-4, MQTT-3.1.3-11, MQTT-3.1.3-12, MQTT-3.1.4-1.
fn mqtt_1_5_4_1_ill_formed_utf8_in_connect_is_malformed() {
    each5(|world| {
        for bad in ILL_FORMED {
            let connects = [
                connect(V5, "").id_bytes(bad),
                connect(V5, "id").will_topic(bad),
                connect(V5, "id").user(bad),
                connect(V5, "id").with(user_property("n", bad)),
                connect(V5, "id").with(text(AUTHENTICATION_METHOD, bad)),
                connect(V5, "id")
                    .will("t", "x", 0, false)
                    .will_with(text(CONTENT_TYPE, bad)),
            ];
            for connect in connects {
                refused_with(world, connect.bytes(), MALFORMED);
            }
        }
    });
}

/// MQTT-1.5.4-2, MQTT-4.7.3-2, MQTT-1.5.7-1.
fn mqtt_1_5_4_2_u0000_is_malformed() {
    each5(|world| {
        for bad in ["\0", "a\0b", "a/b\0"] {
            let packets = [
                publish(bad, "x").bytes(V5),
                publish("t", "x").with(user_property(bad, "v")).bytes(V5),
                publish("t", "x").with(user_property("n", bad)).bytes(V5),
                subscribe(V5, 1, &[(bad, 0)]),
                unsubscribe(V5, 1, &[bad]),
            ];
            for packet in packets {
                closes_with(world, packet, MALFORMED);
            }
            for connect in [
                connect(V5, bad),
                connect(V5, "id").will(bad, "", 0, false),
                connect(V5, "id").user(bad.as_bytes()),
            ] {
                refused_with(world, connect.bytes(), MALFORMED);
            }
        }
    });
}

/// MQTT-1.5.4-3, MQTT-4.7.3-4.
fn mqtt_1_5_4_3_u_feff_is_kept() {
    each5(|world| {
        let watcher = watcher(world);
        let plain = client(world, "plain");
        world.subscribe(plain, "a/b", 0);
        let publisher = client(world, "publisher");
        let topics = ["\u{feff}a/b", "a/\u{feff}b", "a/b\u{feff}", "a/b"];
        for topic in topics {
            let message = publish(topic, topic).with(user_property(topic, topic));
            world.publish(publisher, &message);
        }
        let found = world.messages_full(watcher);
        for (full, topic) in found.iter().zip(topics) {
            assert_eq!(full.message().topic, topic);
            assert_eq!(full.user_properties(), [(topic, topic)]);
        }
        assert_eq!(found.len(), 4);
        assert_eq!(world.texts(plain), ["a/b"]);
    });
}

/// MQTT-1.5.5-1.
fn mqtt_1_5_5_1_overlong_variable_byte_integers_are_malformed() {
    each5(|world| {
        let packets: [&[u8]; 8] = [
            // Remaining Length.
            b"\xc0\x80\x00",
            b"\xc0\x80\x80\x80\x00",
            b"\xc0\x80\x80\x80\x80",
            b"\x30\xff\xff\xff\xff\x01",
            // Property Length.
            b"\x30\x07\x00\x01t\x80\x80\x00x",
            b"\x82\x08\x00\x01\x80\x00\x00\x01t\x00",
            // Subscription Identifier 1 in two bytes, and one of five.
            b"\x82\x0a\x00\x01\x03\x0b\x81\x00\x00\x01t\x00",
            b"\x82\x0d\x00\x01\x06\x0b\x81\x80\x80\x80\x01\x00\x01t\x00",
        ];
        for packet in packets {
            closes_with(world, packet, MALFORMED);
        }
    });
}

/// MQTT-1.5.7-1, MQTT-3.3.2-17.
fn mqtt_1_5_7_1_a_pair_that_is_cut_is_malformed() {
    each5(|world| {
        let whole = user_property("name", "value");
        for end in 1..whole.len() {
            let packet = publish("t", "x").with(whole[..end].to_vec()).bytes(V5);
            closes_with(world, packet, MALFORMED);
        }
    });
}
