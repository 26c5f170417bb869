//! Small rules: what is refused and with which words, windows, sizes and expiry.

use super::peer::*;
use super::support_shard::{
    Acts, Connect, Packet, Stage, Version, World, connect, each, each_with, field, packet, puback,
    publish, pubrec, remaining_length,
};
use mqttfast::broker::Dropped;
use mqttfast::config::{ListenerSettings, Settings};
use mqttfast::wire::AckKind;
use mqttfast::{limits, wire};

const V5: &[Version] = &[Version::V5];

fn dropped(world: &World, why: Dropped) -> u64 {
    (0..world.shards())
        .map(|shard| world.shard(shard).counters().dropped(why))
        .sum()
}

fn retained(world: &World) -> Vec<usize> {
    (0..world.shards())
        .map(|shard| world.shard(shard).sizes().3)
        .collect()
}

/// [v5 MQTT-3.3.4-6]
#[test]
fn a_subscription_identifier_from_a_client_closes() {
    each(V5, |world, _| {
        let client = join(world, "c", true, &[]);
        world.send(client, publish_with(0, "t", 0, &[0x0b, 1], "x"));
        assert_eq!(ended_with(world, client), (0x82, true));
    });
}

/// [v5 3.14.2.1, 3.14.2.2.5]
#[test]
fn a_disconnect_that_only_a_server_may_send_closes_and_wakes_the_will() {
    each(V5, |world, _| {
        let watcher = join(world, "watcher", true, &[]);
        world.subscribe(watcher, "will", 0);
        for body in [
            &[0x87][..],
            &[0x8b, 0],
            &[0x8e, 0],
            &[0x9d, 0],
            &[0x80, 4, 0x1c, 0, 1, b's'],
        ] {
            let dying = world.connect(&connect(Version::V5, "d").will("will", "w", 0, false));
            world.send(dying, packet(0xe0, body));
            assert_eq!(ended_with(world, dying).0, 0x82, "{body:?}");
            assert_eq!(world.texts(watcher), ["w"]);
        }
        for code in [0x80, 0x83, 0x93, 0x97, 0x99] {
            let dying = world.connect(&connect(Version::V5, "d").will("will", "w", 0, false));
            world.send(dying, packet(0xe0, &[code]));
            assert!(world.is_closed(dying));
            assert_eq!(world.texts(watcher), ["w"], "{code:#x} is no normal end");
        }
    });
}

/// [v5 MQTT-3.1.0-1, 4.12]
#[test]
fn auth_never_comes_first_nor_unasked() {
    each(V5, |world, _| {
        let early = world.open(Version::V5);
        world.send(early, [0xf0, 0]);
        assert!(world.is_closed(early));
        assert!(world.received(early).is_empty());
        let client = join(world, "c", true, &[]);
        world.send(client, [0xf0, 0]);
        assert_eq!(ended_with(world, client), (0x82, true));
    });
}

#[test]
fn more_user_properties_than_the_limit_are_refused() {
    each(V5, |world, _| {
        let pair = [0x26, 0, 0, 0, 0];
        let client = join(world, "c", true, &[]);
        world.subscribe(client, "t", 0);
        let most = pair.repeat(limits::USER_PROPERTIES_MAX);
        world.send(client, publish_with(0, "t", 0, &most, "x"));
        assert_eq!(world.texts(client), ["x"]);
        let more = pair.repeat(limits::USER_PROPERTIES_MAX + 1);
        world.send(client, publish_with(0, "t", 0, &more, "x"));
        assert_eq!(ended_with(world, client), (0x97, true));
    });
}

/// [v5 MQTT-3.1.2-29, MQTT-3.9.2-1]
#[test]
fn a_refusal_says_why_where_it_may() {
    each(V5, |world, _| {
        let mut deep = field(&[b'/'; 201]);
        let unsubscribe = packet(0xa2, &[&[0, 9, 0][..], &deep].concat());
        deep.push(0);
        let subscribe = packet(0x82, &[&[0, 9, 0][..], &deep].concat());
        for (properties, why) in [
            (vec![], true),
            (vec![0x17, 0], false),
            (maximum_packet_size(30), false),
        ] {
            let client = join(world, "c", true, &properties);
            for bytes in [&subscribe, &unsubscribe] {
                world.send(client, bytes);
                let mut answer = None;
                see(world, client, |packet| match packet {
                    wire::Packet::SubAck(ack) => {
                        answer = Some((ack.codes[0], ack.reason_string.is_some()));
                    }
                    wire::Packet::UnsubAck(ack) => {
                        answer = Some((ack.codes[0], ack.reason_string.is_some()));
                    }
                    _ => {}
                });
                assert_eq!(answer, Some((0x8f, why)), "{properties:?}");
            }
            // A PUBREL of nothing.
            world.send(client, [0x62, 2, 0, 7]);
            let mut answer = None;
            see(world, client, |packet| {
                if let wire::Packet::Ack(AckKind::PubComp, ack) = packet {
                    answer = Some((ack.reason.0, ack.reason_string.is_some()));
                }
            });
            assert_eq!(answer, Some((0x92, why)), "{properties:?}");
            world.disconnect(client);
        }
    });
}

/// [v5 MQTT-3.1.2-24]
#[test]
fn an_answer_larger_than_the_client_takes_closes() {
    each(V5, |world, _| {
        let client = join(world, "c", true, &maximum_packet_size(20));
        let mut body = vec![0, 1, 0];
        for _ in 0..20 {
            body.extend([0, 1, b'a', 0]);
        }
        world.send(client, packet(0x82, &body));
        assert!(world.is_closed(client));
        let raw = world.raw(client);
        assert_eq!(raw, [0xe0, 1, 0x95], "without a Reason String it fits");
    });
}

/// [v5 MQTT-3.1.2-24]
#[test]
fn a_client_that_cannot_take_connack_is_not_served() {
    each(V5, |world, _| {
        for bytes in [1, 8, 15] {
            let connect = connect_with("c", true, &maximum_packet_size(bytes));
            let client = world.try_connect(&connect);
            assert!(world.is_closed(client));
            // The refusal has five bytes.
            let refusal: &[u8] = if bytes < 5 {
                &[]
            } else {
                &[0x20, 3, 0, 0x95, 0]
            };
            assert_eq!(world.raw(client), refusal);
        }
        let client = join(world, "c", true, &maximum_packet_size(20));
        world.send(client, [0xc0, 0]);
        world.expect(client, &[Packet::PingResp]);
    });
}

/// A message that no subscriber has room for is refused, and accepted as soon as one has. [v5 3.4.2.1]
#[test]
fn a_message_nobody_has_room_for_is_refused_with_0x97() {
    let settings = Settings {
        session_queue_bytes_max: 1024,
        ..Settings::default()
    };
    each_with(V5, &settings, |world, _| {
        if world.shards() > 1 {
            return; // What a peer shard's queues hold is not known when PUBACK is due.
        }
        let away = join(world, "away", false, &session_expiry(u32::MAX));
        world.subscribe(away, "t", 2);
        world.drop_connection(away);
        let publisher = join(world, "p", true, &[]);
        let filling = "x".repeat(900);
        world.publish(publisher, &publish("t", &filling).qos(1, 1));
        for (qos, packet_id) in [(1, 2), (2, 3)] {
            world.send(
                publisher,
                publish("t", &filling)
                    .qos(qos, packet_id)
                    .bytes(Version::V5),
            );
            let mut answer = None;
            see(world, publisher, |packet| {
                if let wire::Packet::Ack(AckKind::PubAck | AckKind::PubRec, ack) = packet {
                    answer = Some((ack.reason.0, ack.reason_string.is_some()));
                }
            });
            assert_eq!(answer, Some((0x97, true)));
        }
        // The QoS 2 exchange is over: its PUBREL finds nothing, and the identifier is free.
        world.send(publisher, [0x62, 2, 0, 3]);
        world.expect(
            publisher,
            &[Packet::PubComp {
                packet_id: 3,
                code: 0x92,
            }],
        );
        let other = join(world, "other", true, &[]);
        world.subscribe(other, "t", 0);
        world.publish(publisher, &publish("t", &filling).qos(2, 3));
        assert_eq!(world.texts(other), [filling]);
        assert_eq!(dropped(world, Dropped::SessionQueueFull), 3);
    });
}

/// [v5 3.3.4]
#[test]
fn more_under_way_than_our_receive_maximum_closes() {
    for qos in [1, 2] {
        each(V5, |world, _| {
            let client = join(world, "c", true, &[]);
            let mut bytes = Vec::new();
            for packet_id in 1..=limits::RECEIVE_MAXIMUM {
                bytes.extend(publish("t", "x").qos(2, packet_id).bytes(Version::V5));
            }
            world.send(client, bytes);
            assert!(world.is_open(client));
            world.send(client, publish("t", "x").qos(2, 1).bytes(Version::V5));
            assert!(world.is_open(client), "a repeat is not counted twice");
            let more = publish("t", "x").qos(qos, limits::RECEIVE_MAXIMUM + 1);
            world.send(client, more.bytes(Version::V5));
            assert_eq!(ended_with(world, client), (0x93, true));
        });
    }
}

/// A Client that comes back with a smaller Receive Maximum gets no more than that again at once, in the first order,
/// and nothing new before. [v5 MQTT-3.3.4-9, MQTT-4.6.0-1]
#[test]
fn resends_keep_to_a_smaller_receive_maximum() {
    each(V5, |world, _| {
        let away = join(world, "s", false, &session_expiry(100));
        world.subscribe(away, "t", 2);
        let publisher = join(world, "p", true, &[]);
        for (number, qos) in [(1, 1), (2, 2), (3, 1), (4, 2), (5, 1)] {
            world.publish(
                publisher,
                &publish("t", number.to_string()).qos(qos, number),
            );
        }
        let first: Vec<_> = world
            .received(away)
            .iter()
            .filter_map(Packet::message)
            .map(|m| (m.packet_id, m.qos))
            .collect();
        assert_eq!(first.len(), 5);
        // The first QoS 2 message goes on to PUBREL.
        world.send(away, pubrec(first[1].0));
        world.drop_connection(away);
        world.publish(publisher, &publish("t", "6").qos(1, 6));

        let properties = [session_expiry(100), receive_maximum(2)].concat();
        let back = join(world, "s", false, &properties);
        let mut order = Vec::new();
        loop {
            let received = world.received(back);
            assert!(received.len() <= 2, "{received:?}");
            if received.is_empty() {
                break;
            }
            for packet in received {
                match packet {
                    Packet::Publish(message) => {
                        let text = message.text();
                        assert_eq!(message.dup, text != "6");
                        order.push(text);
                        let answer = match message.qos {
                            1 => puback(message.packet_id),
                            _ => pubrec(message.packet_id),
                        };
                        world.send(back, answer);
                    }
                    Packet::PubRel { packet_id, .. } => {
                        order.push(format!("release {packet_id}"));
                        world.send(back, super::support_shard::pubcomp(packet_id));
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
        let (second, fourth) = (first[1].0, first[3].0);
        let wanted = [
            "1".into(),
            format!("release {second}"),
            "3".into(),
            "4".into(),
            "5".into(),
            format!("release {fourth}"),
            "6".into(),
        ];
        let mut sorted = order.clone();
        sorted.sort();
        let mut all = wanted.to_vec();
        all.sort();
        assert_eq!(sorted, all, "{order:?}");
        let firsts: Vec<_> = order.iter().filter(|o| o.len() == 1).collect();
        assert_eq!(firsts, ["1", "3", "4", "5", "6"]);
    });
}

/// A resend that has become too large ends as if it had been made, and holds no place. [v5 MQTT-3.1.2-25]
#[test]
fn a_resend_too_large_for_the_new_connection_is_dropped() {
    each(V5, |world, _| {
        let away = join(world, "s", false, &session_expiry(100));
        world.subscribe(away, "t", 2);
        let publisher = join(world, "p", true, &[]);
        let large = "x".repeat(200);
        world.publish(publisher, &publish("t", &large).qos(1, 1));
        world.publish(publisher, &publish("t", &large).qos(2, 2));
        world.publish(publisher, &publish("t", "small").qos(1, 3));
        world.drop_connection(away);
        let properties = [
            session_expiry(100),
            receive_maximum(1),
            maximum_packet_size(100),
        ]
        .concat();
        let back = join(world, "s", false, &properties);
        assert_eq!(world.texts(back), ["small"]);
        assert_eq!(dropped(world, Dropped::TooLargeForClient), 2);
        world.publish(publisher, &publish("t", "next").qos(1, 4));
        assert_eq!(world.texts(back), ["next"]);
    });
}

/// [v5 MQTT-3.3.2-5]
#[test]
fn expired_messages_make_room_in_a_full_queue() {
    let settings = Settings {
        session_queue_bytes_max: 2048,
        ..Settings::default()
    };
    each_with(V5, &settings, |world, _| {
        let away = join(world, "s", false, &session_expiry(u32::MAX));
        world.subscribe(away, "t", 1);
        world.drop_connection(away);
        let publisher = join(world, "p", true, &[]);
        let large = "x".repeat(800);
        for packet_id in 1..=2 {
            let bytes = publish_with(2, "t", packet_id, &message_expiry(10), &large);
            world.send(publisher, bytes);
        }
        world.advance(11_000);
        world.publish(publisher, &publish("t", "fresh").qos(1, 3));
        world.publish(publisher, &publish("t", &large).qos(1, 4));
        assert_eq!(dropped(world, Dropped::Expired), 2);
        assert_eq!(dropped(world, Dropped::SessionQueueFull), 0);
        let back = join(world, "s", false, &session_expiry(u32::MAX));
        assert_eq!(world.texts(back), ["fresh".to_owned(), large]);
    });
}

/// A retained message leaves memory some time after its expiry, though nobody asks for it; on every shard.
#[test]
fn expired_retained_messages_are_swept() {
    each(V5, |world, _| {
        let publisher = join(world, "p", true, &[]);
        for topic in ["a/b", "$own/a", "a"] {
            world.send(
                publisher,
                publish_with(1, topic, 0, &message_expiry(10), "x"),
            );
        }
        world.send(
            publisher,
            publish_with(1, "late", 0, &message_expiry(200), "x"),
        );
        world.publish(publisher, &publish("kept", "x").retain());
        assert!(retained(world).iter().all(|count| *count == 5));
        world.advance(9_000);
        assert!(retained(world).iter().all(|count| *count == 5));
        world.advance(62_000);
        assert!(retained(world).iter().all(|count| *count == 2));
        let subscriber = join(world, "s", true, &[]);
        world.subscribe(subscriber, "#", 0);
        let mut texts: Vec<_> = world
            .messages(subscriber)
            .into_iter()
            .map(|m| m.topic)
            .collect();
        texts.sort();
        assert_eq!(texts, ["kept", "late"]);
        world.advance(200_000);
        assert!(retained(world).iter().all(|count| *count == 1));
        // A swept topic takes a new message.
        world.publish(publisher, &publish("a/b", "new").retain());
        assert_eq!(world.texts(subscriber), ["new"]);
        assert!(retained(world).iter().all(|count| *count == 2));
    });
}

/// Its time counts from its publication. [v5 3.1.3.2.4]
#[test]
fn a_will_expires_too() {
    each(V5, |world, _| {
        let away = join(world, "s", false, &session_expiry(u32::MAX));
        world.subscribe(away, "will", 1);
        world.drop_connection(away);
        let mut body = field(b"MQTT");
        body.extend([5, 0x02 | 0x04 | 0x08, 0, 0, 0]);
        body.extend(field(b"dying"));
        body.push(5);
        body.extend(message_expiry(20));
        body.extend(field(b"will"));
        body.extend(field(b"w"));
        let connect = packet(0x10, &body);
        for wait_ms in [15_000, 21_000] {
            let dying = world.open(Version::V5);
            world.send(dying, &connect);
            world.accepted(dying);
            world.advance(30_000);
            world.drop_connection(dying);
            world.advance(wait_ms);
            let back = join(world, "s", false, &session_expiry(u32::MAX));
            let texts: Vec<_> = world
                .history(back)
                .iter()
                .filter_map(|packet| packet.message().map(|m| m.text()))
                .collect();
            let wanted: &[&str] = if wait_ms == 15_000 { &["w"] } else { &[] };
            assert_eq!(texts, wanted);
            world.messages(back);
            world.drop_connection(back);
        }
    });
}

/// [v5 3.14.2.2.2]
#[test]
fn disconnect_changes_the_session_expiry() {
    each(V5, |world, _| {
        let expiry = |seconds: u32| packet(0xe0, &[&[0, 5][..], &session_expiry(seconds)].concat());
        let present = |world: &mut World| {
            let connect = Connect {
                clean: false,
                ..connect(Version::V5, "c")
            };
            let (client, present) = world.connect_present(&connect);
            world.drop_connection(client);
            present
        };
        for (at_connect, at_disconnect, wait_s, kept) in [
            (100, 0, 0, false),
            (5, 100, 50, true),
            (100, 5, 50, false),
            (u32::MAX, 5, 50, false),
            (5, u32::MAX, 1_000_000, true),
        ] {
            let client = join(world, "c", true, &session_expiry(at_connect));
            world.send(client, expiry(at_disconnect));
            assert!(world.is_closed(client));
            world.advance(wait_s * 1000);
            assert_eq!(present(world), kept, "{at_connect} then {at_disconnect}");
        }
        let client = join(world, "c", true, &[]);
        world.send(client, expiry(5));
        assert_eq!(ended_with(world, client), (0x82, true));
    });
}

/// CONNACK tells what this broker does; what is at the standard's default is left out.
#[test]
fn connack_tells_the_limits() {
    let settings = Settings::with_listener(ListenerSettings {
        packet_bytes_max: 5000,
        ..ListenerSettings::default()
    });
    each_with(V5, &settings, |world, _| {
        let client = world.try_connect(&connect_with("", true, &[]));
        let mut seen = false;
        see(world, client, |packet| {
            let wire::Packet::ConnAck(connack) = packet else {
                panic!("{packet:?}");
            };
            let told = connack.properties;
            seen = true;
            assert_eq!(told.maximum_packet_size, Some(5000));
            assert_eq!(told.receive_maximum, Some(limits::RECEIVE_MAXIMUM));
            assert_eq!(told.topic_alias_maximum, Some(limits::TOPIC_ALIAS_MAXIMUM));
            assert!(told.assigned_client_identifier.is_some());
            assert_eq!(told.maximum_qos, None);
            assert_eq!(told.retain_available, None);
            assert_eq!(told.wildcard_subscription_available, None);
            assert_eq!(told.subscription_identifier_available, None);
        });
        assert!(seen);
        world.subscribe(client, "t", 0);
        let mut head = vec![0x30];
        head.extend(remaining_length(4999));
        world.send(client, head);
        assert_eq!(ended_with(world, client), (0x95, true));
    });
}
