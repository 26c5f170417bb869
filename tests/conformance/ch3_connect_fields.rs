//! 3.1 CONNECT: its fields, and what becomes of a CONNECT that has them wrong.

use crate::claims::*;
use crate::support::*;

crate::table! {
    mqtt_3_1_2_1_unknown_protocol_name_is_not_served,
    mqtt_3_1_2_2_unserved_protocol_level_gets_connack_1,
    mqtt_3_1_2_2_later_protocol_level_is_answered_in_the_latest_form,
    mqtt_3_1_2_3_reserved_connect_flag_closes,
    mqtt_3_1_2_9_will_flag_1_without_will_closes,
    mqtt_3_1_2_11_will_fields_without_will_flag_close,
    mqtt_3_1_2_13_will_qos_without_will_flag_closes,
    mqtt_3_1_2_14_will_qos_3_closes,
    mqtt_3_1_2_15_will_retain_without_will_flag_closes,
    mqtt_3_1_2_18_user_name_without_its_flag_closes,
    mqtt_3_1_2_19_user_name_flag_without_user_name_closes,
    mqtt_3_1_2_20_password_without_its_flag_closes,
    mqtt_3_1_2_21_password_flag_without_password_closes,
    mqtt_3_1_2_22_password_flag_without_user_name_flag_closes,
    mqtt_3_1_3_3_client_id_field_is_present,
    mqtt_3_1_3_4_ill_formed_client_id_closes,
    mqtt_3_1_3_10_ill_formed_will_topic_closes,
    mqtt_3_1_3_11_ill_formed_user_name_closes,
    mqtt_3_1_4_1_wrong_connect_closes_without_connack,
}

fn mqtt_3_1_2_1_unknown_protocol_name_is_not_served() {
    each(ALL, |world, version| {
        for name in [
            &b""[..],
            b"MQT",
            b"mqtt",
            b"MQTTT",
            b"MQISDP",
            b"HTTP",
            b"\xff\xff\xff\xff",
        ] {
            for level in [3, 4, 5] {
                let connect = connect(version, "id").protocol(name, level);
                let client = world.open(version);
                world.send(client, connect.bytes());
                assert!(world.is_closed(client));
                assert_eq!(world.received(client), []);
            }
        }
        let client = world.open(version);
        let mut bytes = connect(version, "id").bytes();
        // The name's length field claims 65,535 bytes.
        (bytes[2], bytes[3]) = (0xff, 0xff);
        world.send(client, bytes);
        assert!(world.is_closed(client));
        assert_eq!(world.received(client), []);
    });
}

fn mqtt_3_1_2_2_unserved_protocol_level_gets_connack_1() {
    each(V3, |world, version| {
        let protocols: [(&[u8], &[u8]); 2] = [(b"MQTT", &[0, 1, 2, 3]), (b"MQIsdp", &[0, 2, 4, 5])];
        for (name, levels) in protocols {
            for level in levels {
                let connect = connect(version, "id").protocol(name, *level);
                refuses(world, version, connect.bytes(), 1);
            }
        }
    });
}

fn mqtt_3_1_2_2_later_protocol_level_is_answered_in_the_latest_form() {
    // Whoever speaks a level after 5.0 knows 5.0's CONNACK, where the code is 0x84.
    each(&[Version::V5], |world, version| {
        for level in [6, 7, 127] {
            let connect = connect(version, "id").protocol(b"MQTT", level);
            refuses(world, version, connect.bytes(), 0x84);
        }
    });
}

fn mqtt_3_1_2_3_reserved_connect_flag_closes() {
    each(FROM_V311, |world, version| {
        closes_unanswered(world, version, connect(version, "id").xor_flags(1).bytes());
        let full = connect(version, "id")
            .will("w", "x", 1, true)
            .user(b"u")
            .password(b"p");
        closes_unanswered(world, version, full.xor_flags(1).bytes());
    });
}

fn mqtt_3_1_2_9_will_flag_1_without_will_closes() {
    each(ALL, |world, version| {
        closes_unanswered(
            world,
            version,
            connect(version, "id").xor_flags(0x04).bytes(),
        );
        // A will topic without a will message.
        let half = connect(version, "id")
            .xor_flags(0x04)
            .surplus(&field(b"topic"));
        closes_unanswered(world, version, half.bytes());
    });
}

fn mqtt_3_1_2_11_will_fields_without_will_flag_close() {
    each(ALL, |world, version| {
        let with_fields = connect(version, "id")
            .will("w", "x", 0, false)
            .xor_flags(0x04);
        closes_unanswered(world, version, with_fields.bytes());
    });
}

fn mqtt_3_1_2_13_will_qos_without_will_flag_closes() {
    each(FROM_V311, |world, version| {
        for qos in 1..=3 {
            closes_unanswered(
                world,
                version,
                connect(version, "id").xor_flags(qos << 3).bytes(),
            );
        }
    });
}

fn mqtt_3_1_2_14_will_qos_3_closes() {
    each(ALL, |world, version| {
        closes_unanswered(
            world,
            version,
            connect(version, "id").will("w", "x", 3, false).bytes(),
        );
        closes_unanswered(
            world,
            version,
            connect(version, "id").will("w", "x", 3, true).bytes(),
        );
    });
}

fn mqtt_3_1_2_15_will_retain_without_will_flag_closes() {
    each(FROM_V311, |world, version| {
        closes_unanswered(
            world,
            version,
            connect(version, "id").xor_flags(0x20).bytes(),
        );
    });
}

fn mqtt_3_1_2_18_user_name_without_its_flag_closes() {
    each(ALL, |world, version| {
        closes_unanswered(
            world,
            version,
            connect(version, "id").user(b"user").xor_flags(0x80).bytes(),
        );
    });
}

fn mqtt_3_1_2_19_user_name_flag_without_user_name_closes() {
    // 3.1 lets the payload end before it: see `v31`.
    each(FROM_V311, |world, version| {
        closes_unanswered(
            world,
            version,
            connect(version, "id").xor_flags(0x80).bytes(),
        );
    });
}

fn mqtt_3_1_2_20_password_without_its_flag_closes() {
    each(ALL, |world, version| {
        let connect = connect(version, "id")
            .user(b"user")
            .password(b"word")
            .xor_flags(0x40);
        closes_unanswered(world, version, connect.bytes());
    });
}

fn mqtt_3_1_2_21_password_flag_without_password_closes() {
    each(FROM_V311, |world, version| {
        closes_unanswered(
            world,
            version,
            connect(version, "id").user(b"user").xor_flags(0x40).bytes(),
        );
    });
}

fn mqtt_3_1_2_22_password_flag_without_user_name_flag_closes() {
    // 5.0 allows it.
    each(V3, |world, version| {
        closes_unanswered(
            world,
            version,
            connect(version, "id").password(b"word").bytes(),
        );
    });
}

fn mqtt_3_1_3_3_client_id_field_is_present() {
    each(ALL, |world, version| {
        // The packet ends where the client id's length should be, or inside the id.
        let mut whole = connect(version, "id").bytes();
        let id_bytes = 2 + "id".len();
        for missing in 1..=id_bytes {
            whole.pop();
            whole[1] -= 1;
            closes_unanswered(world, version, &whole);
            assert!(missing <= id_bytes);
        }
    });
}

fn mqtt_3_1_3_4_ill_formed_client_id_closes() {
    each(ALL, |world, version| {
        for id in ILL_FORMED {
            closes_unanswered(world, version, connect(version, "").id_bytes(id).bytes());
        }
    });
}

fn mqtt_3_1_3_10_ill_formed_will_topic_closes() {
    each(ALL, |world, version| {
        let watcher = watcher(world, version);
        for topic in ILL_FORMED {
            closes_unanswered(
                world,
                version,
                connect(version, "id").will_topic(topic).bytes(),
            );
        }
        // A will is published under a Topic Name: the rules of 4.7 hold at once.
        for topic in [&b""[..], b"a/+", b"#", b"a\0"] {
            closes_unanswered(
                world,
                version,
                connect(version, "id").will_topic(topic).bytes(),
            );
        }
        assert_eq!(world.messages(watcher), []);
    });
}

fn mqtt_3_1_3_11_ill_formed_user_name_closes() {
    each(ALL, |world, version| {
        for name in ILL_FORMED {
            closes_unanswered(world, version, connect(version, "id").user(name).bytes());
        }
    });
}

fn mqtt_3_1_4_1_wrong_connect_closes_without_connack() {
    each(FROM_V311, |world, version| {
        let full = connect(version, "id")
            .will("w", "x", 1, true)
            .user(b"u")
            .password(b"p");
        let whole = full.bytes();
        // Every truncation, with a Remaining Length that fits it.
        for length in 2..whole.len() {
            let mut cut = whole[..length].to_vec();
            cut[1] = (length - 2) as u8;
            closes_unanswered(world, version, cut);
        }
        closes_unanswered(world, version, full.clone().surplus(b"x").bytes());
        // A Remaining Length of five bytes, or of more bytes than it needs.
        closes_unanswered(world, version, [0x10, 0xff, 0xff, 0xff, 0xff]);
        closes_unanswered(world, version, [0x10, 0x80, 0x80, 0x80, 0x80]);
        // More than a CONNECT ever needs: refused as soon as its version is there.
        let mut endless = vec![0x10, 0xff, 0xff, 0xff, 0x7f];
        endless.extend(&whole[2..]);
        closes_unanswered(world, version, endless);
    });
}
