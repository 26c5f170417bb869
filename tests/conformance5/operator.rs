//! Limits that an operator sets, by `--max-inflight`, `--max-queued-bytes` and `--max-packet-size`: over sockets they
//! are given as flags.

use crate::claims::*;
use crate::support::property::*;
use crate::support::*;
use mqttfast::config::{ListenerSettings, Settings};
use mqttfast::limits;

crate::table! {
    mqtt_3_2_2_8_connack_tells_every_limit_a_client_can_meet,
    mqtt_4_9_0_1_the_operators_window_holds_for_every_version,
    mqtt_3_4_2_1_a_full_queue_keeps_what_it_has_and_says_so,
}

/// MQTT-3.2.2-8, MQTT-4.9.0-1. And they are true: one more is refused, that many are served.
fn mqtt_3_2_2_8_connack_tells_every_limit_a_client_can_meet() {
    let settings = Settings::with_listener(ListenerSettings {
        packet_bytes_max: 300_000,
        ..ListenerSettings::default()
    });
    each5_with(&settings, |world| {
        world.read_whole();
        let client = self::client(world, "client");
        let connack = world.connack(client);
        let told = [RECEIVE_MAXIMUM, MAXIMUM_PACKET_SIZE, TOPIC_ALIAS_MAXIMUM]
            .map(|id| connack.number(id).expect("told"));
        let enforced = [
            u32::from(limits::RECEIVE_MAXIMUM),
            300_000,
            u32::from(limits::TOPIC_ALIAS_MAXIMUM),
        ];
        assert_eq!(told, enforced);
        // What is not limited is not told.
        assert_eq!(connack.properties.len(), told.len());
        let [receive_maximum, packet_bytes_max, alias_maximum] = told;

        let mut bytes = Vec::new();
        for id in 1..=receive_maximum as u16 {
            bytes.extend(publish("t", "").qos(2, id).bytes(V5));
        }
        world.send(client, &bytes);
        assert_eq!(world.received(client).len(), receive_maximum as usize);
        let first = publish("t", "").qos(2, receive_maximum as u16 + 1);
        world.send(client, first.bytes(V5));
        world.expect(client, &[Packet::Disconnect { code: 0x93 }]);

        // Fixed Header 4, Topic Name 3, property length 1.
        let largest = "x".repeat(packet_bytes_max as usize - 8);
        let client = self::client(world, "client");
        let message = publish("t", &largest).bytes(V5);
        assert_eq!(message.len(), packet_bytes_max as usize);
        world.send(client, message);
        alive(world, client);
        closes_with(world, publish("t", largest + "x").bytes(V5), 0x95);

        let alias = |alias: u32| publish("t", "").with(topic_alias(alias as u16)).bytes(V5);
        for number in 1..=alias_maximum {
            world.send(client, alias(number));
        }
        alive(world, client);
        closes_with(world, alias(alias_maximum + 1), 0x94);
    });
}

/// MQTT-4.9.0-1, MQTT-4.9.0-2, MQTT-3.3.4-9. The smaller of the operator's number and the Client's counts; each
/// acknowledgement lets one more through.
fn mqtt_4_9_0_1_the_operators_window_holds_for_every_version() {
    let settings = Settings {
        inflight_max: 3,
        ..Settings::default()
    };
    each5_with(&settings, |world| {
        let publisher = client(world, "publisher");
        let subscribers = [
            (connect(Version::V31, "3.1"), 3),
            (connect(Version::V311, "3.1.1"), 3),
            (connect(V5, "5"), 3),
            (connect(V5, "5, less").with(receive_maximum(2)), 2),
            (connect(V5, "5, more").with(receive_maximum(50)), 3),
        ];
        let subscribers = subscribers.map(|(connect, window)| {
            let subscriber = world.connect(&connect);
            world.subscribe(subscriber, "t", 2);
            (subscriber, window)
        });
        for number in 0..8u8 {
            world.publish(publisher, &publish("t", [number]).qos(1 + number % 2, 0));
        }
        for (subscriber, window) in subscribers {
            let mut next = 0;
            let mut under_way = 0;
            while next < 8 {
                let held = unanswered(world, subscriber);
                under_way += held.len();
                let left = usize::from(8 - next) - held.len();
                assert!(under_way == window || left == 0, "{under_way} of {window}");
                for message in held {
                    assert_eq!(message.payload, [next]);
                    next += 1;
                    under_way -= 1;
                    if message.qos == 1 {
                        world.send(subscriber, puback(message.packet_id));
                    } else {
                        world.send(subscriber, pubrec(message.packet_id));
                        world.send(subscriber, pubcomp(message.packet_id));
                    }
                }
            }
        }
    });
}

/// MQTT-3.4.2-1. What does not fit into the queue of an absent Client is dropped, what waits there stays; where nobody
/// has room for a message, a v5 publisher is told as far as its own shard can know.
fn mqtt_3_4_2_1_a_full_queue_keeps_what_it_has_and_says_so() {
    const QUEUE_BYTES: usize = 4096;
    const PAYLOAD_BYTES: usize = 300;
    let settings = Settings {
        session_queue_bytes_max: QUEUE_BYTES as u32,
        ..Settings::default()
    };
    each5_with(&settings, |world| {
        let absent = connect(V5, "absent").persistent();
        let subscriber = world.connect(&absent);
        world.subscribe(subscriber, "t", 1);
        world.drop_connection(subscriber);
        let publisher = client(world, "publisher");
        let sent = 2 * QUEUE_BYTES / PAYLOAD_BYTES;
        let mut refused = 0;
        for number in 0..sent {
            let mut payload = vec![b'x'; PAYLOAD_BYTES];
            payload[0] = number as u8;
            let packet_id = number as u16 + 1;
            let message = publish("t", payload).qos(1, packet_id);
            world.send(publisher, message.bytes(V5));
            match world.received(publisher)[..] {
                [Packet::PubAck { code: 0, .. }] => (),
                [Packet::PubAck { code: 0x97, .. }] => refused += 1,
                ref other => panic!("{other:?}"),
            }
        }
        let subscriber = world.connect(&absent);
        let messages = world.messages(subscriber);
        let numbers = messages.iter().map(|message| message.payload[0]);
        assert_eq!(
            Vec::from_iter(numbers),
            Vec::from_iter(0..messages.len() as u8)
        );
        let fit = QUEUE_BYTES / (PAYLOAD_BYTES + limits::QUEUED_OVERHEAD_BYTES as usize + 16);
        let kept = fit..QUEUE_BYTES / PAYLOAD_BYTES + 1;
        assert!(kept.contains(&messages.len()), "{} kept", messages.len());
        if world.shards() == 1 {
            assert_eq!(refused, sent - messages.len());
        } else {
            assert!(refused <= sent - messages.len());
        }
        // It has room again.
        world.publish(publisher, &publish("t", "next").qos(1, 0));
        assert_eq!(world.texts(subscriber), ["next"]);
    });
}
