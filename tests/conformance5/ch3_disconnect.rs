//! 3.14 DISCONNECT, 3.15 AUTH, and 4.12 enhanced authentication as far as a broker without a method has to do with it.

use crate::claims::*;
use crate::support::property::*;
use crate::support::*;

crate::table! {
    mqtt_3_14_0_1_no_disconnect_before_connack,
    mqtt_3_14_2_1_reason_codes_of_disconnect,
    mqtt_3_14_2_2_the_servers_disconnect_is_its_last_word,
    mqtt_3_14_2_3_disconnect_sheds_its_reason_string,
    mqtt_4_12_0_1_an_unknown_method_is_refused,
    mqtt_4_12_0_7_auth_without_a_method_closes,
    mqtt_3_15_2_1_flags_and_reason_codes_of_auth,
}

/// MQTT-3.14.0-1.
fn mqtt_3_14_0_1_no_disconnect_before_connack() {
    each5(|world| {
        // Too late, a wrong first packet, a wrong CONNECT, and a broker that stops.
        if world.as_shards().is_some() {
            let silent = world.open(V5);
            world.pass(20_000);
            assert!(world.is_closed(silent));
            world.expect(silent, &[]);
        }
        for bytes in [pingreq(), connect(V5, "").xor_flags(1).bytes(), vec![0; 9]] {
            let client = world.open(V5);
            world.send(client, bytes);
            assert!(world.is_closed(client));
            let history = world.history(client);
            let disconnects = |packet: &&Packet| matches!(packet, Packet::Disconnect { .. });
            assert_eq!(history.iter().find(disconnects), None);
        }
        let waiting = world.open(V5);
        world.shut_down();
        assert!(world.is_closed(waiting));
        world.expect(waiting, &[]);
    });
}

/// MQTT-3.14.2-1, MQTT-3.14.4-1, MQTT-3.14.4-2, MQTT-4.13.2-1. Every code a Client may send closes, and nothing more
/// comes; others are answered.
fn mqtt_3_14_2_1_reason_codes_of_disconnect() {
    each5(|world| {
        let of_clients = [
            0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99,
        ];
        for code in of_clients {
            let client = client(world, "client");
            world.subscribe(client, "t", 0);
            let mut bytes = disconnect_with(code, &user_property("n", "v"));
            bytes.extend(pingreq());
            bytes.extend(publish("t", "x").bytes(V5));
            world.send(client, bytes);
            assert!(world.is_closed(client));
            world.expect(client, &[]);
        }
        for code in [0x01, 0x05, 0x10, 0x7f, 0x84, 0x92, 0xa3, 0xff] {
            closes_with(world, disconnect_with(code, &[]), PROTOCOL_ERROR);
        }
    });
}

/// MQTT-3.14.2-1, MQTT-3.14.2-2, MQTT-3.14.4-1, MQTT-3.14.4-2, MQTT-4.13.1-1. The oracle refuses a Session Expiry
/// Interval of the server and every code that is not DISCONNECT's.
fn mqtt_3_14_2_2_the_servers_disconnect_is_its_last_word() {
    each5(|world| {
        let causes = [
            (vec![0xc0, 0x80, 0x00], MALFORMED),
            (connect(V5, "client").bytes(), PROTOCOL_ERROR),
            (publish("#", "x").bytes(V5), 0x81),
            (publish("t", "x").with(topic_alias(0)).bytes(V5), 0x94),
        ];
        for (bytes, code) in causes {
            let connect = connect(V5, "client").expiry(100);
            let client = world.connect(&connect);
            world.subscribe(client, "t", 0);
            world.received_full(client);
            world.send(client, [bytes, pingreq()].concat());
            let received = world.received_full(client);
            assert_eq!(received.len(), 1);
            assert_eq!(received[0].packet, Packet::Disconnect { code });
            assert!(received[0].has(REASON_STRING));
            assert!(world.is_closed(client));
            let publisher = self::client(world, "publisher");
            world.publish(publisher, &publish("t", "x"));
            world.expect(client, &[]);
        }
        let client = client(world, "client");
        world.shut_down();
        world.expect(client, &[Packet::Disconnect { code: 0x8b }]);
        assert!(world.is_closed(client));
    });
}

/// MQTT-3.14.2-3, MQTT-3.14.2-4. The oracle checks the size.
fn mqtt_3_14_2_3_disconnect_sheds_its_reason_string() {
    each5(|world| {
        for bytes in [20, 30, 60] {
            let connect = connect(V5, "id").with(maximum_packet_size(bytes));
            let client = world.connect(&connect);
            world.received_full(client);
            world.send(client, [0xc1, 0x00]);
            let received = world.received_full(client);
            let code = MALFORMED;
            assert_eq!(received[0].packet, Packet::Disconnect { code });
            assert!(!received[0].has(REASON_STRING));
            assert!(world.is_closed(client));
        }
    });
}

/// MQTT-4.12.0-1, MQTT-4.12.0-4, MQTT-3.2.2-7.
fn mqtt_4_12_0_1_an_unknown_method_is_refused() {
    each5(|world| {
        for method in ["SCRAM-SHA-1", "", "x"] {
            let connect = connect(V5, "id").with(text(AUTHENTICATION_METHOD, method));
            refused_with(world, connect.bytes(), 0x8c);
            let with_data = connect.with(text(AUTHENTICATION_DATA, "data"));
            let mut bytes = with_data.bytes();
            bytes.extend(auth_with(0x18, &text(AUTHENTICATION_METHOD, method)));
            bytes.extend(pingreq());
            refused_with(world, bytes, 0x8c);
        }
    });
}

/// MQTT-4.12.0-6, MQTT-4.12.0-7, MQTT-4.12.1-1, MQTT-4.12.1-2, MQTT-4.13.1-1.
fn mqtt_4_12_0_7_auth_without_a_method_closes() {
    each5(|world| {
        let client = client(world, "client");
        assert!(!world.connack(client).has(AUTHENTICATION_METHOD));
        let method = text(AUTHENTICATION_METHOD, "m");
        for bytes in [
            packet(0xf0, &[]),
            auth_with(0x18, &method),
            auth_with(0x19, &method),
            auth_with(0x19, &[method, text(AUTHENTICATION_DATA, "d")].concat()),
        ] {
            closes_with(world, bytes, PROTOCOL_ERROR);
        }
        // The oracle lets no AUTH of the broker pass.
        alive(world, client);
    });
}

/// MQTT-3.15.1-1, MQTT-3.15.2-1.
fn mqtt_3_15_2_1_flags_and_reason_codes_of_auth() {
    each5(|world| {
        for flags in 1..16 {
            closes_with(world, with_flags(packet(0xf0, &[]), flags), MALFORMED);
        }
        let method = text(AUTHENTICATION_METHOD, "m");
        for code in [0x01, 0x04, 0x17, 0x1a, 0x80, 0x87, 0xff] {
            closes_with(world, auth_with(code, &method), PROTOCOL_ERROR);
        }
    });
}
