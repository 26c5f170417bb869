//! Rules of 3.3 that a Client must keep and the broker guards.

use crate::claims::*;
use crate::support::property::*;
use crate::support::*;
use mqttfast::config::Settings;

crate::table! {
    mqtt_3_3_4_6_a_subscription_identifier_from_a_client_closes,
    mqtt_3_3_4_7_qos_1_counts_towards_our_receive_maximum,
    mqtt_3_14_2_1_a_servers_disconnect_from_a_client_is_refused,
    mqtt_4_3_3_9_after_a_refusal_the_identifier_is_new,
}

/// MQTT-3.3.4-6.
fn mqtt_3_3_4_6_a_subscription_identifier_from_a_client_closes() {
    each5(|world| {
        let watcher = watcher(world);
        for qos in 0..=2 {
            // One packet is read at once, the other comes in pieces.
            for payload_bytes in [1, 100_000] {
                let message = publish("t", "x".repeat(payload_bytes))
                    .qos(qos, 1)
                    .with(subscription_identifier(1));
                closes_with(world, message.bytes(V5), PROTOCOL_ERROR);
            }
        }
        assert_eq!(world.messages(watcher), []);
    });
}

/// MQTT-3.3.4-7. A QoS 1 message beyond the limit closes as well.
fn mqtt_3_3_4_7_qos_1_counts_towards_our_receive_maximum() {
    each5(|world| {
        let publisher = client(world, "publisher");
        let connack = world.connack(publisher);
        let maximum = connack.number(RECEIVE_MAXIMUM).unwrap_or(65_535) as u16;
        let mut bytes = Vec::new();
        for id in 1..=maximum {
            bytes.extend(publish("t", "").qos(2, id).bytes(V5));
        }
        world.send(publisher, &bytes);
        world.received(publisher);
        world.send(publisher, publish("t", "").qos(1, maximum + 1).bytes(V5));
        world.expect(publisher, &[Packet::Disconnect { code: 0x93 }]);
        assert!(world.is_closed(publisher));
    });
}

/// MQTT-3.14.2-1. Codes and properties that only a server sends.
fn mqtt_3_14_2_1_a_servers_disconnect_from_a_client_is_refused() {
    each5(|world| {
        let of_servers = [
            0x87, 0x89, 0x8b, 0x8d, 0x8e, 0x8f, 0x9a, 0x9b, 0x9c, 0x9d, 0x9e, 0x9f, 0xa0, 0xa1,
            0xa2,
        ];
        for code in of_servers {
            closes_with(world, disconnect_with(code, &[]), PROTOCOL_ERROR);
        }
        let reference = text(SERVER_REFERENCE, "elsewhere");
        closes_with(world, disconnect_with(0, &reference), PROTOCOL_ERROR);
    });
}

/// MQTT-4.3.3-9. A PUBREC of 0x97 ends the exchange: the identifier is new at once, and a PUBREL finds nothing.
fn mqtt_4_3_3_9_after_a_refusal_the_identifier_is_new() {
    let settings = Settings {
        session_queue_bytes_max: 1024,
        ..Settings::default()
    };
    each5_with(&settings, |world| {
        if world.shards() > 1 {
            // Whether there is room at a peer shard is not known when PUBREC is due.
            return;
        }
        let absent = connect(V5, "absent").persistent();
        let subscriber = world.connect(&absent);
        world.subscribe(subscriber, "t", 2);
        world.drop_connection(subscriber);
        let publisher = client(world, "publisher");
        world.publish(publisher, &publish("t", "x".repeat(900)).qos(1, 0));
        let message = publish("t", "y".repeat(900)).qos(2, 3);
        let packet_id = 3;
        for _ in 0..2 {
            world.send(publisher, message.bytes(V5));
            let code = 0x97;
            world.expect(publisher, &[Packet::PubRec { packet_id, code }]);
        }
        world.send(publisher, pubrel(3));
        let code = 0x92;
        world.expect(publisher, &[Packet::PubComp { packet_id, code }]);
        let subscriber = world.connect(&absent);
        assert_eq!(world.messages(subscriber).len(), 1);
        world.publish(publisher, &message.dup());
        assert_eq!(world.messages(subscriber).len(), 1);
    });
}
