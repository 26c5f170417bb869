//! 3.2 CONNACK.

use crate::claims::*;
use crate::support::property::*;
use crate::support::*;
use mqttfast::config::{ListenerSettings, Settings};

crate::table! {
    mqtt_3_2_0_1_connack_0_is_the_first_packet,
    mqtt_3_2_0_2_one_connack_a_connection,
    mqtt_3_2_2_2_session_present_tells_the_truth,
    mqtt_3_2_2_9_every_qos_and_retain_are_offered,
    mqtt_3_2_2_15_a_packet_above_our_limit_closes,
    mqtt_3_2_2_19_connack_sheds_its_reason_string,
    mqtt_3_2_2_8_connack_tells_our_limits,
}

/// MQTT-3.2.0-1, MQTT-3.1.4-5, MQTT-3.2.2-1, MQTT-3.2.2-8.
fn mqtt_3_2_0_1_connack_0_is_the_first_packet() {
    each5(|world| {
        let publisher = client(world, "publisher");
        let first = world.connect(&connect(V5, "id").persistent());
        world.subscribe(first, "t", 1);
        world.drop_connection(first);
        world.publish(publisher, &publish("t", "queued").qos(1, 0));
        // Queued messages and answers to what came along wait behind CONNACK.
        let client = world.open(V5);
        let mut bytes = connect(V5, "id").persistent().bytes();
        bytes.extend(pingreq());
        world.send(client, bytes);
        let received = world.received(client);
        let session_present = true;
        let connack = Packet::ConnAck {
            session_present,
            code: 0,
        };
        assert_eq!(received[0], connack);
        assert_eq!(received.len(), 3);
        assert_eq!(world.history(client).len(), 3);
    });
}

/// MQTT-3.2.0-2.
fn mqtt_3_2_0_2_one_connack_a_connection() {
    each5(|world| {
        let client = world.open(V5);
        let bytes = connect(V5, "id").bytes();
        world.send(client, [bytes.clone(), bytes].concat());
        let connacks = world.history(client).iter().filter(is_connack).count();
        assert_eq!(connacks, 1);
        assert!(world.is_closed(client));
    });
}

fn is_connack(packet: &&Packet) -> bool {
    matches!(packet, Packet::ConnAck { .. })
}

/// MQTT-3.2.2-2, MQTT-3.2.2-3, MQTT-3.2.2-6.
fn mqtt_3_2_2_2_session_present_tells_the_truth() {
    each5(|world| {
        let kept = connect(V5, "id").persistent();
        assert!(!world.connect_present(&kept).1);
        assert!(world.connect_present(&kept).1);
        assert!(!world.connect_present(&connect(V5, "id").expiry(10)).1);
        assert!(world.connect_present(&kept).1);
        assert!(!world.connect_present(&connect(V5, "id")).1);
        let client = world.connect(&connect(V5, "id"));
        world.disconnect(client);
        assert!(!world.connect_present(&kept).1);
        // A refusal says 0, session or not.
        let method = text(AUTHENTICATION_METHOD, "unknown");
        refused_with(world, kept.with(method).bytes(), 0x8c);
    });
}

/// MQTT-3.2.2-9, MQTT-3.2.2-12, MQTT-3.2.2-13, MQTT-3.2.2-10. QoS 2 and retained messages are offered: CONNACK limits
/// neither, and wills and subscriptions with them are accepted.
fn mqtt_3_2_2_9_every_qos_and_retain_are_offered() {
    each5(|world| {
        let connect = connect(V5, "id").will("t", "x", 2, true);
        let client = world.connect(&connect);
        let connack = world.connack(client);
        assert!(!connack.has(MAXIMUM_QOS));
        assert_ne!(connack.number(RETAIN_AVAILABLE), Some(0));
        assert_ne!(connack.number(WILDCARD_SUBSCRIPTION_AVAILABLE), Some(0));
        assert_ne!(connack.number(SUBSCRIPTION_IDENTIFIER_AVAILABLE), Some(0));
        for qos in 0..=2 {
            world.subscribe(client, "t", qos);
        }
        world.publish(client, &publish("t", "x").qos(2, 0).retain());
        assert_eq!(world.messages(client).len(), 1);
    });
}

/// MQTT-3.2.2-15, MQTT-4.13.1-1.
fn mqtt_3_2_2_15_a_packet_above_our_limit_closes() {
    let settings = Settings::with_listener(ListenerSettings {
        packet_bytes_max: 1000,
        ..ListenerSettings::default()
    });
    each5_with(&settings, |world| {
        let client = client(world, "client");
        let connack = world.connack(client);
        assert_eq!(connack.number(MAXIMUM_PACKET_SIZE), Some(1000));
        // Fixed Header 3, Topic Name 3, property length 1.
        world.send(client, publish("t", "x".repeat(993)).bytes(V5));
        alive(world, client);
        closes_with(world, publish("t", "x".repeat(994)).bytes(V5), 0x95);
        // The announced length is enough.
        closes_with(world, b"\x30\xff\xff\xff\x7f", 0x95);
    });
}

/// MQTT-3.2.2-19, MQTT-3.2.2-20.
fn mqtt_3_2_2_19_connack_sheds_its_reason_string() {
    each5(|world| {
        let method = text(AUTHENTICATION_METHOD, "unknown");
        let refused = connect(V5, "id").with(method);
        let client = world.try_connect(&refused);
        assert!(world.connack(client).has(REASON_STRING));
        // The oracle checks the size.
        let client = world.try_connect(&refused.with(maximum_packet_size(8)));
        let connack = world.connack(client);
        assert!(!connack.has(REASON_STRING) && !connack.has(USER_PROPERTY));
        assert!(world.is_closed(client));
    });
}

/// MQTT-3.2.2-8, MQTT-4.9.0-1. What CONNACK tells is within its ranges: the oracle; and it is what is enforced
/// elsewhere.
fn mqtt_3_2_2_8_connack_tells_our_limits() {
    each5(|world| {
        let client = client(world, "client");
        let connack = world.connack(client);
        assert!(connack.number(RECEIVE_MAXIMUM).unwrap_or(65_535) > 0);
        assert!(connack.number(TOPIC_ALIAS_MAXIMUM).unwrap_or(0) > 0);
        assert!(!connack.has(SESSION_EXPIRY_INTERVAL));
        assert!(!connack.has(AUTHENTICATION_METHOD));
        assert!(!connack.has(REASON_STRING));
    });
}
