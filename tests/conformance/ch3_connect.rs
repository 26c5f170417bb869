//! 3.1 CONNECT: who may connect, what becomes of sessions and wills, keep alive.

use crate::claims::*;
use crate::support::*;
use mqttfast::broker::CloseCause;
use mqttfast::config::{ListenerSettings, Settings};

crate::table! {
    mqtt_3_1_0_1_first_packet_is_connect,
    mqtt_3_1_0_2_second_connect_closes,
    mqtt_3_1_2_4_clean_session_0_goes_on,
    mqtt_3_1_2_5_qos_1_and_2_wait_for_an_absent_client,
    mqtt_3_1_2_6_clean_session_1_drops_the_earlier_session,
    mqtt_3_1_2_6_clean_session_1_forgets_received_qos_2_identifiers,
    mqtt_3_1_2_7_retained_messages_outlive_the_session,
    mqtt_3_1_2_8_will_is_published_when_the_connection_ends,
    mqtt_3_1_2_8_will_of_a_persistent_session,
    mqtt_3_1_2_10_will_is_forgotten_once_published_or_disconnected,
    mqtt_3_1_2_12_no_will_without_will_flag,
    mqtt_3_1_2_16_will_retain_0_is_not_retained,
    mqtt_3_1_2_17_will_retain_1_is_retained,
    mqtt_3_1_2_24_keep_alive_closes_at_one_and_a_half,
    mqtt_3_1_2_24_any_packet_keeps_the_connection_alive,
    mqtt_3_1_2_24_messages_to_a_client_do_not_keep_it_alive,
    mqtt_3_1_2_24_keep_alive_0_never_closes,
    mqtt_3_1_3_2_client_id_is_the_key_of_the_session,
    mqtt_3_1_3_5_plain_client_ids_of_1_to_23_bytes,
    mqtt_3_1_3_6_empty_client_id_gets_one_of_its_own,
    mqtt_3_1_3_7_empty_client_id_requires_clean_session,
    mqtt_3_1_3_8_empty_client_id_with_clean_session_0_is_refused,
    mqtt_3_1_3_9_refused_client_id_gets_connack_2,
    mqtt_3_1_4_2_same_client_id_disconnects_the_old_connection,
    mqtt_3_1_4_2_late_packets_of_the_old_connection_do_nothing,
    mqtt_3_1_4_3_clean_session_is_carried_out,
    mqtt_3_1_4_4_accepted_connect_is_answered_by_connack_0,
    mqtt_3_1_4_5_nothing_after_a_refused_connect_is_processed,
}

crate::on_shards_alone! {
    "holds back the verdict on a password while more of the Client's bytes are on their way":
        mqtt_3_1_4_5_nothing_is_processed_before_the_verdict;
}

fn mqtt_3_1_0_1_first_packet_is_connect() {
    each(ALL, |world, version| {
        let watcher = watcher(world, version);
        let packets = [
            publish("t", "x").bytes(version),
            publish("t", "x").qos(1, 1).bytes(version),
            puback(1),
            pubrec(1),
            pubrel(1),
            pubcomp(1),
            subscribe(version, 1, &[("t", 0)]),
            unsubscribe(version, 1, &["t"]),
            pingreq(),
            disconnect(),
            vec![0x20, 2, 0, 0],
            vec![0x00, 0],
            vec![0xf0, 0],
            b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(),
        ];
        for mut bytes in packets {
            // A CONNECT that comes too late changes nothing.
            bytes.extend(connect(version, "late").bytes());
            let client = world.open(version);
            world.send(client, &bytes);
            assert!(world.is_closed(client), "still open after {bytes:02x?}");
            assert_eq!(world.received(client), []);
        }
        assert_eq!(world.messages(watcher), []);
    });
}

fn mqtt_3_1_0_2_second_connect_closes() {
    each(ALL, |world, version| {
        let watcher = watcher(world, version);
        closes(world, version, connect(version, "offender").bytes());
        closes(world, version, connect(version, "another").bytes());
        // Both in one read, and the will of the first is published.
        let client = world.open(version);
        let mut bytes = connect(version, "twice")
            .will("will", "gone", 0, false)
            .bytes();
        bytes.extend(connect(version, "twice").bytes());
        world.send(client, bytes);
        world.accepted(client);
        assert!(world.is_closed(client));
        assert_eq!(world.texts(watcher), ["gone"]);
    });
}

fn mqtt_3_1_2_4_clean_session_0_goes_on() {
    each(ALL, |world, version| {
        let publisher = publisher(world, version);
        let id = connect(version, "kept").persistent();
        let (client, session_present) = world.connect_present(&id);
        assert!(!session_present);
        world.subscribe(client, "t", 1);
        for round in 0..4 {
            let client = world.try_connect(&id);
            assert_eq!(
                world.accepted(client),
                present(version, true),
                "round {round}"
            );
            world.publish(publisher, &publish("t", "live").qos(1, 0));
            assert_eq!(world.texts(client), ["live"]);
            match round {
                0 => world.disconnect(client),
                1 => world.drop_connection(client),
                2 => world.reset_connection(client),
                _ => (), // taken over
            }
        }
        let (client, session_present) = world.connect_present(&id);
        assert_eq!(session_present, present(version, true));
        assert_eq!(world.messages(client), []);
    });
}

fn mqtt_3_1_2_5_qos_1_and_2_wait_for_an_absent_client() {
    each(ALL, |world, version| {
        let id = connect(version, "absent").persistent();
        let client = world.connect(&id);
        world.subscribe(client, "a/+", 2);
        world.subscribe(client, "b", 1);
        world.disconnect(client);
        let publisher = publisher(world, version);
        world.publish(publisher, &publish("a/1", "one").qos(1, 0));
        world.publish(publisher, &publish("a/2", "two").qos(2, 0));
        world.publish(publisher, &publish("b", "three").qos(2, 0));
        world.publish(publisher, &publish("c", "other").qos(2, 0));
        world.disconnect(publisher);
        let client = world.connect(&id);
        let messages = world.messages(client);
        let found: Vec<_> = messages
            .iter()
            .map(|message| {
                (
                    message.topic.as_str(),
                    message.text(),
                    message.qos,
                    message.dup,
                )
            })
            .collect();
        assert_eq!(
            found,
            [
                ("a/1", "one".into(), 1, false),
                ("a/2", "two".into(), 2, false),
                ("b", "three".into(), 1, false),
            ]
        );
        world.disconnect(client);
        let client = world.connect(&id);
        assert_eq!(world.messages(client), [], "delivered once");
    });
}

fn mqtt_3_1_2_6_clean_session_1_drops_the_earlier_session() {
    each(ALL, |world, version| {
        let publisher = publisher(world, version);
        let old = world.connect(&connect(version, "id").persistent());
        world.subscribe(old, "t", 1);
        world.publish(publisher, &publish("t", "in flight").qos(1, 0));
        world.drop_connection(old);
        world.publish(publisher, &publish("t", "queued").qos(1, 0));
        let (clean, session_present) = world.connect_present(&connect(version, "id"));
        assert!(!session_present);
        world.publish(publisher, &publish("t", "unwanted").qos(1, 0));
        assert_eq!(world.messages(clean), []);
        // And nothing of the clean session is used again.
        world.subscribe(clean, "u", 1);
        world.drop_connection(clean);
        world.publish(publisher, &publish("u", "unwanted").qos(1, 0));
        let (later, session_present) = world.connect_present(&connect(version, "id").persistent());
        assert!(!session_present);
        world.publish(publisher, &publish("u", "unwanted").qos(1, 0));
        world.publish(publisher, &publish("t", "unwanted").qos(1, 0));
        assert_eq!(world.messages(later), []);
    });
}

fn mqtt_3_1_2_6_clean_session_1_forgets_received_qos_2_identifiers() {
    each(ALL, |world, version| {
        let watcher = watcher(world, version);
        let first = world.connect(&connect(version, "id").persistent());
        world.send(first, publish("t", "one").qos(2, 9).bytes(version));
        world.drop_connection(first);
        let second = world.connect(&connect(version, "id"));
        world.publish(second, &publish("t", "two").qos(2, 9));
        assert_eq!(world.texts(watcher), ["one", "two"]);
    });
}

fn mqtt_3_1_2_7_retained_messages_outlive_the_session() {
    each(ALL, |world, version| {
        let publisher = publisher(world, version);
        world.publish(publisher, &publish("t", "stays").qos(1, 0).retain());
        world.disconnect(publisher);
        retained_is(world, version, "t", Some(("stays", 1)));
        let again = world.connect(&connect(version, "publisher"));
        world.drop_connection(again);
        retained_is(world, version, "t", Some(("stays", 1)));
    });
}

fn mqtt_3_1_2_8_will_is_published_when_the_connection_ends() {
    each(ALL, |world, version| {
        let watcher = watcher(world, version);
        let dying = connect(version, "dying").will("will", "", 1, false);
        let dying = |cause: &str| {
            let mut dying = dying.clone();
            if let Some(will) = &mut dying.will {
                will.payload = cause.into();
            }
            dying
        };
        let client = world.connect(&dying("closed"));
        world.drop_connection(client);
        for cause in [
            CloseCause::Reset,
            CloseCause::TimedOut,
            CloseCause::Error(5),
        ] {
            let client = world.connect(&dying("lost"));
            match world.as_shards() {
                Some(shards) => {
                    shards.cut(client, cause);
                    shards.settle();
                }
                None => world.reset_connection(client),
            }
        }
        let client = world.connect(&dying("protocol error"));
        world.send(client, [0xf1, 0]);
        assert!(world.is_closed(client));
        let client = world.connect(&dying("taken over"));
        world.connect(&connect(version, "dying"));
        assert!(world.is_closed(client));
        let client = world.connect(&dying("silent").keep_alive(1));
        world.closes_after(client, 1_500, 2_500);
        let texts = world.texts(watcher);
        assert_eq!(
            texts,
            [
                "closed",
                "lost",
                "lost",
                "lost",
                "protocol error",
                "taken over",
                "silent"
            ]
        );
    });
}

fn mqtt_3_1_2_8_will_of_a_persistent_session() {
    each(ALL, |world, version| {
        let watcher = watcher(world, version);
        let id = connect(version, "dying")
            .persistent()
            .will("will", "gone", 2, false);
        let client = world.connect(&id);
        world.drop_connection(client);
        let messages = world.messages(watcher);
        assert_eq!(messages.len(), 1);
        assert_eq!((messages[0].text().as_str(), messages[0].qos), ("gone", 2));
    });
}

fn mqtt_3_1_2_10_will_is_forgotten_once_published_or_disconnected() {
    each(ALL, |world, version| {
        let watcher = watcher(world, version);
        let with_will = connect(version, "id")
            .persistent()
            .will("will", "gone", 0, false);
        let without = connect(version, "id").persistent();
        let client = world.connect(&with_will);
        world.drop_connection(client);
        assert_eq!(world.texts(watcher), ["gone"]);
        let client = world.connect(&without);
        world.drop_connection(client);
        let client = world.connect(&with_will);
        world.disconnect(client);
        let client = world.connect(&without);
        world.drop_connection(client);
        world.pass_long(100_000);
        assert_eq!(world.messages(watcher), []);
    });
}

fn mqtt_3_1_2_12_no_will_without_will_flag() {
    each(ALL, |world, version| {
        let watcher = watcher(world, version);
        let client = world.connect(&connect(version, "id"));
        world.drop_connection(client);
        let client = world.connect(&connect(version, "id").keep_alive(1));
        world.closes_after(client, 1_500, 2_500);
        closes(world, version, [0xf1, 0]);
        assert_eq!(world.messages(watcher), []);
    });
}

fn mqtt_3_1_2_16_will_retain_0_is_not_retained() {
    each(ALL, |world, version| {
        let watcher = watcher(world, version);
        let client = world.connect(&connect(version, "id").will("will", "gone", 1, false));
        world.drop_connection(client);
        assert_eq!(world.texts(watcher), ["gone"]);
        retained_is(world, version, "will", None);
    });
}

fn mqtt_3_1_2_17_will_retain_1_is_retained() {
    each(ALL, |world, version| {
        let watcher = watcher(world, version);
        let client = world.connect(&connect(version, "id").will("will", "gone", 1, true));
        world.drop_connection(client);
        let messages = world.messages(watcher);
        assert_eq!(messages.len(), 1);
        assert!(!messages[0].retain, "a live message has RETAIN 0");
        retained_is(world, version, "will", Some(("gone", 1)));
        // An empty one removes it.
        let client = world.connect(&connect(version, "id").will("will", "", 0, true));
        world.drop_connection(client);
        retained_is(world, version, "will", None);
    });
}

fn mqtt_3_1_2_24_keep_alive_closes_at_one_and_a_half() {
    each(ALL, |world, version| {
        let times: &[u16] = world.either(&[1, 2, 10, 61, 65_535], &[1]);
        for keep_alive_s in times.iter().copied() {
            let watcher = watcher(world, version);
            let id = connect(version, "silent")
                .keep_alive(keep_alive_s)
                .will("will", "silent", 0, false);
            let client = world.connect(&id);
            let limit_ms = u64::from(keep_alive_s) * 1500;
            // Time-outs are looked at once a second.
            world.closes_after(client, limit_ms, limit_ms + 1_000);
            assert_eq!(world.texts(watcher), ["silent"]);
            world.disconnect(watcher);
        }
    });
}

fn mqtt_3_1_2_24_any_packet_keeps_the_connection_alive() {
    each(ALL, |world, version| {
        let packets = [
            pingreq(),
            publish("t", "x").bytes(version),
            publish("t", "x").qos(1, 1).bytes(version),
            subscribe(version, 2, &[("t", 1)]),
            unsubscribe(version, 3, &["t"]),
            publish("t", "x").qos(2, 4).bytes(version),
            pubrel(4),
            puback(77),
        ];
        // Each Client sends nothing but its one packet, over and over.
        let (keep_alive_s, pause_ms) = world.either((10, 14_000), (2, 400));
        let clients = packets.map(|packet| {
            let id = format!("{packet:02x?}");
            let client = world.connect(&connect(version, &id).keep_alive(keep_alive_s));
            world.leave_alone(client);
            (client, packet)
        });
        for _ in 0..world.either(2, 9) {
            world.pass(pause_ms);
            for (client, packet) in &clients {
                assert!(world.is_open(*client), "closed before {packet:02x?}");
                world.send(*client, packet);
            }
        }
        if !world.has_sockets() {
            let last = clients[clients.len() - 1].0;
            world.closes_after(last, 15_000, 16_000);
        }
    });
}

fn mqtt_3_1_2_24_messages_to_a_client_do_not_keep_it_alive() {
    each(ALL, |world, version| {
        let publisher = publisher(world, version);
        let client = world.connect(&connect(version, "listener").keep_alive(world.either(10, 2)));
        world.subscribe(client, "t", 0);
        world.leave_alone(client);
        // Over sockets until it is closed: a loaded machine may be late, but not for ever.
        let (times, pause_ms) = world.either((16, 1_000), (100, 300));
        for _ in 0..times {
            world.pass(pause_ms);
            world.publish(publisher, &publish("t", "x"));
            if !world.is_open(client) {
                break;
            }
        }
        assert!(!world.is_open(client), "kept alive by what it was sent");
    });
}

fn mqtt_3_1_2_24_keep_alive_0_never_closes() {
    each(ALL, |world, version| {
        let client = world.connect(&connect(version, "quiet"));
        world.pass_long(7 * 24 * 3600 * 1000);
        alive(world, client);
        if let Some(shards) = world.as_shards() {
            assert!(
                shards.probed(client),
                "TCP was not asked to find out when this Client is gone"
            );
        }
    });
}

fn mqtt_3_1_3_2_client_id_is_the_key_of_the_session() {
    each(ALL, |world, version| {
        let publisher = publisher(world, version);
        let ids = [
            "a", "A", "b", "a ", "ä", "a\u{308}", "a/b", "+", "#", "$SYS",
        ];
        for id in ids {
            let client = world.connect(&connect(version, id).persistent());
            world.subscribe(client, &format!("for/{}", hex(id)), 1);
            world.disconnect(client);
        }
        for id in ids {
            world.publish(
                publisher,
                &publish(&format!("for/{}", hex(id)), id).qos(1, 0),
            );
        }
        for id in ids {
            let (client, session_present) =
                world.connect_present(&connect(version, id).persistent());
            assert_eq!(session_present, present(version, true));
            assert_eq!(world.texts(client), [id]);
        }
    });
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

fn mqtt_3_1_3_5_plain_client_ids_of_1_to_23_bytes() {
    each(ALL, |world, version| {
        let letters = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
        for length in 1..=23 {
            for start in [0, 10, 39] {
                let client = world.connect(&connect(version, &letters[start..start + length]));
                alive(world, client);
            }
        }
        // Longer ones, and others than letters, as every broker takes them.
        for id in [
            "x".repeat(24),
            "x".repeat(10_000),
            "ünïcødé 名前".to_owned(),
            "a/b+c#".to_owned(),
        ] {
            let client = world.connect(&connect(version, &id));
            alive(world, client);
        }
    });
}

fn mqtt_3_1_3_6_empty_client_id_gets_one_of_its_own() {
    each(FROM_V311, |world, version| {
        let publisher = publisher(world, version);
        let clients: Vec<Client> = (0..6)
            .map(|_| world.connect(&connect(version, "")))
            .collect();
        for client in &clients {
            assert!(
                world.is_open(*client),
                "two Clients without id got the same one"
            );
            world.subscribe(*client, "t", 1);
        }
        world.publish(publisher, &publish("t", "all").qos(1, 0));
        for client in &clients {
            assert_eq!(world.texts(*client), ["all"]);
            world.disconnect(*client);
        }
    });
}

fn mqtt_3_1_3_7_empty_client_id_requires_clean_session() {
    each(ONLY_V311, |world, version| {
        refuses(world, version, connect(version, "").persistent().bytes(), 2);
    });
}

fn mqtt_3_1_3_8_empty_client_id_with_clean_session_0_is_refused() {
    each(ONLY_V311, |world, version| {
        for _ in 0..3 {
            let mut bytes = connect(version, "").persistent().bytes();
            bytes.extend(pingreq());
            refuses(world, version, bytes, 2);
        }
    });
}

fn mqtt_3_1_3_9_refused_client_id_gets_connack_2() {
    each(V3, |world, version| {
        refuses(world, version, connect(version, "").persistent().bytes(), 2);
        if version == Version::V31 {
            refuses(world, version, connect(version, "").bytes(), 2);
        }
    });
}

fn mqtt_3_1_4_2_same_client_id_disconnects_the_old_connection() {
    each(ALL, |world, version| {
        for clean in [true, false] {
            let mut id = connect(version, "one");
            id.clean = clean;
            let mut clients = vec![world.connect(&id)];
            for _ in 0..6 {
                let new = world.connect(&id);
                let old = clients[clients.len() - 1];
                assert!(world.is_closed(old));
                alive(world, new);
                clients.push(new);
            }
        }
    });
}

fn mqtt_3_1_4_2_late_packets_of_the_old_connection_do_nothing() {
    each(ALL, |world, version| {
        let watcher = watcher(world, version);
        let id = connect(version, "one").persistent();
        let old = world.connect(&id);
        let new = world.connect(&id);
        assert!(world.is_closed(old));
        world.send(old, publish("t", "late").qos(1, 1).bytes(version));
        assert_eq!(world.messages(watcher), []);
        alive(world, new);
    });
}

fn mqtt_3_1_4_3_clean_session_is_carried_out() {
    each(ALL, |world, version| {
        let publisher = publisher(world, version);
        let kept = connect(version, "id").persistent();
        let clean = connect(version, "id");
        let client = world.connect(&kept);
        world.subscribe(client, "t", 1);
        // Takeover with Clean Session 0 goes on, with 1 begins anew.
        let (client, session_present) = world.connect_present(&kept);
        assert_eq!(session_present, present(version, true));
        world.publish(publisher, &publish("t", "yes").qos(1, 0));
        assert_eq!(world.texts(client), ["yes"]);
        let (client, session_present) = world.connect_present(&clean);
        assert!(!session_present);
        world.publish(publisher, &publish("t", "no").qos(1, 0));
        assert_eq!(world.messages(client), []);
    });
}

fn mqtt_3_1_4_4_accepted_connect_is_answered_by_connack_0() {
    each(ALL, |world, version| {
        let connects = [
            connect(version, "plain"),
            connect(version, "kept").persistent(),
            connect(version, "will").will("w", "gone", 2, true),
            connect(version, "empty will").will("w", "", 0, false),
            connect(version, "alive").keep_alive(60),
            connect(version, "user").user(b"user"),
            connect(version, "password")
                .user(b"user")
                .password(b"\x00\xff"),
            connect(version, "all")
                .persistent()
                .keep_alive(1)
                .will("w", "x", 1, false)
                .user(b"")
                .password(b""),
        ];
        for connect in connects {
            let client = world.try_connect(&connect);
            let accepted = Packet::ConnAck {
                session_present: false,
                code: 0,
            };
            world.expect(client, &[accepted]);
            alive(world, client);
        }
    });
}

fn mqtt_3_1_4_5_nothing_after_a_refused_connect_is_processed() {
    let settings = Settings::with_listener(ListenerSettings {
        anonymous: false,
        passwords: true,
        ..ListenerSettings::default()
    });
    each_with(V3, &settings, |world, version| {
        world.allow_user("ann", b"right");
        let ann = connect(version, "watcher").user(b"ann").password(b"right");
        let watcher = world.connect(&ann);
        world.subscribe(watcher, "#", 2);
        let refused = [
            connect(version, "bad"),
            connect(version, "bad").user(b"ann").password(b"wrong"),
            connect(version, "bad").user(b"bob").password(b"right"),
            connect(version, "")
                .persistent()
                .user(b"ann")
                .password(b"right"),
            connect(version, "bad").protocol(b"MQTT", 2),
            connect(version, "bad").surplus(b"x"),
            connect(version, "watcher").user(b"ann").password(b"wrong"),
        ];
        for connect in refused {
            let connect = connect.will("t", "will", 1, true);
            let mut bytes = connect.bytes();
            bytes.extend(publish("t", "unwanted").bytes(version));
            bytes.extend(publish("t", "unwanted").qos(1, 1).retain().bytes(version));
            bytes.extend(subscribe(version, 2, &[("#", 0)]));
            bytes.extend(pingreq());
            let client = world.open(version);
            world.send(client, &bytes);
            assert!(world.is_closed(client));
            let received = world.received(client);
            assert!(received.len() <= 1, "{received:?}");
        }
        assert_eq!(world.messages(watcher), []);
        alive(world, watcher);
    });
}

fn mqtt_3_1_4_5_nothing_is_processed_before_the_verdict() {
    let settings = Settings::with_listener(ListenerSettings {
        anonymous: false,
        passwords: true,
        ..ListenerSettings::default()
    });
    each_with(V3, &settings, |world, version| {
        let world = world.as_shards().expect("not over sockets");
        // `send_past_stop` needs an empty wire before it.
        world.read_bytes_max = 16 * 1024;
        world.allow_user("ann", b"right");
        let watcher = world.connect(&connect(version, "watcher").user(b"ann").password(b"right"));
        world.subscribe(watcher, "#", 2);
        world.verdicts_held = true;
        let mut clients = Vec::new();
        for (id, password) in [("good", &b"right"[..]), ("bad", b"wrong")] {
            let client = world.open(version);
            let mut bytes = connect(version, id).user(b"ann").password(password).bytes();
            bytes.extend(publish("t", id).qos(1, 1).bytes(version));
            world.send(client, bytes);
            // What was on its way reaches the shard although it does not read.
            world.send_past_stop(
                client,
                &publish("t", format!("{id}, later"))
                    .qos(1, 2)
                    .bytes(version),
            );
            assert_eq!(world.received(client), []);
            clients.push(client);
        }
        assert_eq!(world.messages(watcher), []);
        world.answer_credentials();
        assert_eq!(world.texts(watcher), ["good", "good, later"]);
        world.accepted(clients[0]);
        world.expect(clients[0], &[Packet::puback(1), Packet::puback(2)]);
        assert!(world.is_closed(clients[1]));
    });
}
