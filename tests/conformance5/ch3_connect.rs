//! 3.1 CONNECT: the packet, the session and the keep alive. Wills are in `ch3_will.rs`.

use crate::claims::*;
use crate::support::property::*;
use crate::support::*;
use mqttfast::config::{ListenerSettings, Settings};

crate::table! {
    mqtt_3_1_0_1_the_first_packet_is_connect,
    mqtt_3_1_0_2_a_second_connect_closes,
    mqtt_3_1_2_1_another_protocol_name_closes,
    mqtt_3_1_2_2_an_unserved_version_is_refused,
    mqtt_3_1_2_3_wrong_connect_flags_are_malformed,
    mqtt_3_1_2_9_fields_and_flags_agree,
    mqtt_3_1_4_1_every_truncation_is_malformed,
    mqtt_3_1_2_4_clean_start_1_drops_the_session,
    mqtt_3_1_2_5_clean_start_0_goes_on,
    mqtt_3_1_2_23_the_session_outlives_the_connection_by_its_expiry,
    mqtt_4_1_0_2_the_expiry_starts_anew_with_each_close,
    mqtt_3_1_2_22_silence_of_one_and_a_half_keep_alives_closes,
    mqtt_3_1_2_24_what_is_too_large_for_a_client_is_dropped_as_if_delivered,
    mqtt_3_1_2_24_the_limit_itself_is_allowed,
    mqtt_3_1_2_27_no_alias_for_a_client_that_wants_none,
    mqtt_3_1_2_28_no_response_information_unasked,
    mqtt_3_1_2_29_no_reason_strings_for_a_client_that_wants_none,
    mqtt_3_1_4_3_the_same_client_id_takes_over,
    mqtt_3_1_3_2_versions_share_a_session,
    mqtt_3_1_3_5_plain_client_ids_are_accepted,
    mqtt_3_1_3_6_an_empty_client_id_gets_one_of_its_own,
    mqtt_3_1_4_2_failed_checks_close,
    mqtt_3_1_3_8_a_refused_client_id_closes,
}

/// MQTT-3.1.0-1.
fn mqtt_3_1_0_1_the_first_packet_is_connect() {
    each5(|world| {
        for first in [
            publish("t", "x").bytes(V5),
            subscribe(V5, 1, &[("t", 0)]),
            pingreq(),
            disconnect(),
            auth_with(0x18, &text(AUTHENTICATION_METHOD, "m")),
            packet(0x20, &[0, 0, 0]),
        ] {
            let client = world.open(V5);
            world.send(client, first);
            assert!(world.is_closed(client));
            world.expect(client, &[]);
        }
    });
}

/// MQTT-3.1.0-2, MQTT-3.2.0-2.
fn mqtt_3_1_0_2_a_second_connect_closes() {
    each5(|world| {
        closes_with(world, connect(V5, "offender").bytes(), PROTOCOL_ERROR);
        closes_with(world, connect(V5, "another").bytes(), PROTOCOL_ERROR);
    });
}

/// MQTT-3.1.2-1.
fn mqtt_3_1_2_1_another_protocol_name_closes() {
    each5(|world| {
        for name in [&b"MQTX"[..], b"mqtt", b"", b"MQTT5", b"MQ"] {
            let client = world.open(V5);
            world.send(client, connect(V5, "id").protocol(name, 5).bytes());
            assert!(world.is_closed(client));
            world.expect(client, &[]);
        }
    });
}

/// MQTT-3.1.2-2, MQTT-3.2.2-7.
fn mqtt_3_1_2_2_an_unserved_version_is_refused() {
    each5(|world| {
        for level in [6, 7, 127] {
            refused_with(
                world,
                connect(V5, "id").protocol(b"MQTT", level).bytes(),
                0x84,
            );
        }
    });
}

/// MQTT-3.1.2-3, MQTT-3.1.2-11, MQTT-3.1.2-12, MQTT-3.1.2-13, MQTT-3.1.4-1, MQTT-3.2.2-7.
fn mqtt_3_1_2_3_wrong_connect_flags_are_malformed() {
    each5(|world| {
        // Reserved, Will QoS 1, 2 and 3 and Will Retain without the Will Flag.
        for bits in [0x01, 0x08, 0x10, 0x18, 0x20] {
            refused_with(world, connect(V5, "id").xor_flags(bits).bytes(), MALFORMED);
        }
        let with_will = connect(V5, "id").will("t", "x", 0, false);
        refused_with(world, with_will.xor_flags(0x18).bytes(), MALFORMED);
    });
}

/// MQTT-3.1.2-9, MQTT-3.1.2-16, MQTT-3.1.2-17, MQTT-3.1.2-18, MQTT-3.1.2-19, MQTT-3.1.3-3, MQTT-3.1.4-1.
fn mqtt_3_1_2_9_fields_and_flags_agree() {
    each5(|world| {
        let plain = connect(V5, "id");
        // A flag without its field: will, user name, password.
        for bits in [0x04, 0x80, 0x40] {
            refused_with(world, plain.clone().xor_flags(bits).bytes(), MALFORMED);
        }
        // A field without its flag.
        let will = plain.clone().will("t", "x", 0, false);
        refused_with(world, will.xor_flags(0x04).bytes(), MALFORMED);
        let user = plain.clone().user(b"u");
        refused_with(world, user.xor_flags(0x80).bytes(), MALFORMED);
        let password = plain.clone().password(b"p");
        refused_with(world, password.xor_flags(0x40).bytes(), MALFORMED);
        refused_with(world, plain.surplus(b"\x00").bytes(), MALFORMED);
        // No client id at all.
        refused_with(
            world,
            b"\x10\x0b\x00\x04MQTT\x05\x02\x00\x00\x00",
            MALFORMED,
        );
        // A password alone is allowed in 5.0.
        let client = world.connect(&connect(V5, "alone").password(b"p"));
        alive(world, client);
    });
}

/// MQTT-3.1.4-1. Every CONNECT that ends too early.
fn mqtt_3_1_4_1_every_truncation_is_malformed() {
    each5(|world| {
        let whole = connect(V5, "id")
            .expiry(10)
            .with(user_property("n", "v"))
            .will("t", "x", 1, true)
            .will_with(will_delay(1))
            .user(b"user")
            .password(b"password")
            .bytes();
        // Behind the protocol level, from where on the version is known.
        for end in 9..whole.len() {
            refused_with(world, packet(0x10, &whole[2..end]), MALFORMED);
        }
    });
}

/// MQTT-3.1.2-4, MQTT-3.1.2-6, MQTT-3.1.4-4, MQTT-3.2.2-2.
fn mqtt_3_1_2_4_clean_start_1_drops_the_session() {
    each5(|world| {
        let publisher = client(world, "publisher");
        let (old, _) = world.connect_present(&connect(V5, "id").persistent());
        world.subscribe(old, "t", 1);
        world.drop_connection(old);
        world.publish(publisher, &publish("t", "lost").qos(1, 0));
        let (new, session_present) = world.connect_present(&connect(V5, "id").expiry(100));
        assert!(!session_present);
        world.publish(publisher, &publish("t", "lost too").qos(1, 0));
        assert_eq!(world.texts(new), [""; 0]);
        // The session that began then is one to go on with.
        world.subscribe(new, "u", 1);
        world.drop_connection(new);
        let (again, session_present) = world.connect_present(&connect(V5, "id").persistent());
        assert!(session_present);
        world.publish(publisher, &publish("u", "kept").qos(1, 0));
        assert_eq!(world.texts(again), ["kept"]);
    });
}

/// MQTT-3.1.2-5, MQTT-3.1.2-6, MQTT-3.2.2-3, MQTT-3.1.3-2, MQTT-3.1.4-4, MQTT-4.5.0-1.
fn mqtt_3_1_2_5_clean_start_0_goes_on() {
    each5(|world| {
        let publisher = client(world, "publisher");
        let (old, session_present) = world.connect_present(&connect(V5, "id").persistent());
        assert!(!session_present);
        subscribes_with(world, old, &subscription_identifier(7), "t", 1);
        world.drop_connection(old);
        world.publish(publisher, &publish("t", "kept").qos(1, 0).with(passed_on()));
        // Another id has nothing of it.
        let (_, session_present) = world.connect_present(&connect(V5, "ID").persistent());
        assert!(!session_present);
        let (new, session_present) = world.connect_present(&connect(V5, "id").persistent());
        assert!(session_present);
        world.publish(publisher, &publish("t", "live").qos(1, 0));
        let messages = world.messages_full(new);
        assert_eq!(messages.len(), 2);
        assert_eq!(messages[0].message().text(), "kept");
        assert_eq!(messages[0].identifiers(), [7]);
        carries_passed_on(&messages[0]);
        assert_eq!(messages[1].identifiers(), [7]);
    });
}

/// MQTT-3.1.2-23, MQTT-4.1.0-2, MQTT-4.1.0-1.
fn mqtt_3_1_2_23_the_session_outlives_the_connection_by_its_expiry() {
    each5(|world| {
        let on_shards = [
            (0, 0, false),
            (10, 9_000, true),
            (10, 12_000, false),
            (u32::MAX, 1_000_000_000, true),
        ];
        let over_sockets = [
            (0, 0, false),
            (60, 1_500, true),
            (1, 2_600, false),
            (u32::MAX, 1_500, true),
        ];
        for (expiry_s, waited_ms, kept) in world.either(on_shards, over_sockets) {
            let connect = connect(V5, "id").expiry(expiry_s);
            let first = world.connect(&connect);
            world.subscribe(first, "t", 1);
            // While the connection is open, no time ends it.
            world.pass_long(60_000);
            alive(world, first);
            world.drop_connection(first);
            world.pass(waited_ms);
            let mut again = connect.clone();
            again.clean = false;
            let (client, session_present) = world.connect_present(&again);
            assert_eq!(session_present, kept, "{expiry_s} s, after {waited_ms} ms");
            world.disconnect(client);
        }
    });
}

/// MQTT-4.1.0-2. A return sets a new interval and a new start; DISCONNECT changes it once more.
fn mqtt_4_1_0_2_the_expiry_starts_anew_with_each_close() {
    each5(|world| {
        let with_expiry = |seconds| {
            let mut connect = connect(V5, "id").expiry(seconds);
            connect.clean = false;
            connect
        };
        let present = |world: &mut World, seconds| world.connect_present(&with_expiry(seconds));
        // Twice the time is more than the interval and the second by which its end may be late.
        let (seconds, waited_ms) = world.either((10, 8_000), (4, 2_600));
        let (mut client, _) = present(world, seconds);
        for (next_s, why) in [
            (seconds, "it was away"),
            (1, "counted from the second close"),
        ] {
            let since_ms = world.now_ms();
            world.drop_connection(client);
            world.pass(waited_ms);
            let session_present;
            (client, session_present) = present(world, next_s);
            // A machine that was too slow has shown nothing.
            let late = world.now_ms() - since_ms >= u64::from(seconds) * 1_000;
            assert!(session_present || late, "{why}");
        }
        world.send(client, disconnect_with(0, &session_expiry(100)));
        world.pass(world.either(90_000, 2_600));
        let (client, session_present) = present(world, 100);
        assert!(session_present, "lengthened by DISCONNECT");
        world.send(client, disconnect_with(0, &session_expiry(0)));
        let (client, session_present) = present(world, 0);
        assert!(!session_present, "ended by DISCONNECT");
        // From 0 there is no way up: a protocol error.
        world.send(client, disconnect_with(0, &session_expiry(1)));
        let code = PROTOCOL_ERROR;
        world.expect(client, &[Packet::Disconnect { code }]);
        assert!(world.is_closed(client));
    });
}

/// MQTT-3.1.2-22, MQTT-3.2.2-22.
fn mqtt_3_1_2_22_silence_of_one_and_a_half_keep_alives_closes() {
    each5(|world| {
        let watcher = watcher(world);
        let keep_alive_s = world.either(10, 2);
        let connect = connect(V5, "id")
            .keep_alive(keep_alive_s)
            .will("will", "gone", 0, false);
        let client = world.connect(&connect);
        assert!(!world.connack(client).has(SERVER_KEEP_ALIVE));
        world.pass(world.either(14_000, 500));
        alive(world, client);
        let limit_ms = u64::from(keep_alive_s) * 1_500;
        world.closes_after(client, limit_ms, limit_ms + 1_000);
        world.expect(client, &[Packet::Disconnect { code: 0x8d }]);
        assert_eq!(world.texts(watcher), ["gone"]);
        // 0: never.
        let patient = self::client(world, "patient");
        world.pass_long(1_000_000);
        alive(world, patient);
    });
}

/// MQTT-3.1.2-24, MQTT-3.1.2-25, MQTT-4.4.0-2.
fn mqtt_3_1_2_24_what_is_too_large_for_a_client_is_dropped_as_if_delivered() {
    each5(|world| {
        // The oracle checks the size of every packet.
        let publisher = client(world, "publisher");
        let small = connect(V5, "small")
            .persistent()
            .with(receive_maximum(2))
            .with(maximum_packet_size(100));
        let subscriber = world.connect(&small);
        world.subscribe(subscriber, "t", 2);
        let large = "x".repeat(100);
        for qos in [0, 1, 2, 1, 2, 1, 2] {
            world.publish(publisher, &publish("t", &large).qos(qos, 0));
        }
        world.publish(publisher, &publish("t", "fits").qos(2, 0));
        assert_eq!(world.texts(subscriber), ["fits"]);
        // Properties and identifiers count too.
        let message = publish("t", "y".repeat(50)).qos(1, 0);
        let bulky = message.clone().with(user_property("n", "v".repeat(50)));
        world.publish(publisher, &bulky);
        world.publish(publisher, &message);
        assert_eq!(world.messages(subscriber).len(), 1);
        // In the queue as well, and neither blocks what follows.
        world.drop_connection(subscriber);
        world.publish(publisher, &publish("t", &large).qos(1, 0));
        world.publish(publisher, &publish("t", &large).qos(2, 0));
        world.publish(publisher, &publish("t", &large).qos(2, 0));
        world.publish(publisher, &publish("t", "fits too").qos(1, 0));
        let subscriber = world.connect(&small);
        assert_eq!(world.texts(subscriber), ["fits too"]);
    });
}

/// MQTT-3.1.2-24. Exactly the size that is allowed is not too large.
fn mqtt_3_1_2_24_the_limit_itself_is_allowed() {
    each5(|world| {
        let publisher = client(world, "publisher");
        let small = connect(V5, "small").with(maximum_packet_size(60));
        let subscriber = world.connect(&small);
        world.subscribe(subscriber, "t", 0);
        // Fixed Header 2, Topic Name 3, property length 1.
        world.publish(publisher, &publish("t", "x".repeat(54)));
        world.publish(publisher, &publish("t", "x".repeat(55)));
        let sizes: Vec<usize> = world
            .messages_full(subscriber)
            .iter()
            .map(|full| full.bytes)
            .collect();
        assert_eq!(sizes, [60]);
    });
}

/// MQTT-3.1.2-27, MQTT-3.3.2-11. The oracle refuses an alias above what CONNECT said.
fn mqtt_3_1_2_27_no_alias_for_a_client_that_wants_none() {
    each5(|world| {
        let publisher = client(world, "publisher");
        for connect in [
            connect(V5, "absent"),
            connect(V5, "zero").with(topic_alias_maximum(0)),
        ] {
            let subscriber = world.connect(&connect);
            world.subscribe(subscriber, "a/long/topic/name", 0);
            for _ in 0..20 {
                world.publish(publisher, &publish("a/long/topic/name", "x"));
            }
            let messages = world.messages_full(subscriber);
            assert_eq!(messages.len(), 20);
            assert!(
                messages
                    .iter()
                    .all(|full| !full.has(TOPIC_ALIAS) && full.named)
            );
        }
    });
}

/// MQTT-3.1.2-28.
fn mqtt_3_1_2_28_no_response_information_unasked() {
    each5(|world| {
        for connect in [
            connect(V5, "absent"),
            connect(V5, "zero").with(byte(REQUEST_RESPONSE_INFORMATION, 0)),
        ] {
            let client = world.connect(&connect);
            assert!(!world.connack(client).has(RESPONSE_INFORMATION));
        }
        // Asked for, it may still be left out, and is.
        let connect = connect(V5, "one").with(byte(REQUEST_RESPONSE_INFORMATION, 1));
        let client = world.connect(&connect);
        assert!(!world.connack(client).has(RESPONSE_INFORMATION));
    });
}

/// MQTT-3.1.2-29. The oracle checks every answer of a Client that said 0.
fn mqtt_3_1_2_29_no_reason_strings_for_a_client_that_wants_none() {
    each5(|world| {
        let silent = connect(V5, "silent").with(byte(REQUEST_PROBLEM_INFORMATION, 0));
        let client = world.connect(&silent);
        world.send(client, publish("nobody", "x").qos(1, 1).bytes(V5));
        world.send(client, publish("nobody", "x").qos(2, 2).bytes(V5));
        world.send(client, pubrel(9));
        world.send(client, pubrec(9));
        let deep = "/".repeat(201);
        world.send(client, subscribe(V5, 3, &[(&deep, 0), ("t", 0)]));
        world.send(client, unsubscribe(V5, 4, &[&deep, "none"]));
        world.send(client, publish("u", "x").bytes(V5));
        let answers = world.received_full(client);
        assert_eq!(answers.len(), 7, "CONNACK and six answers: {answers:?}");
    });
}

/// MQTT-3.1.3-2, MQTT-3.1.4-3, MQTT-4.13.2-1.
fn mqtt_3_1_4_3_the_same_client_id_takes_over() {
    each5(|world| {
        let publisher = client(world, "publisher");
        let old = world.connect(&connect(V5, "id").persistent());
        world.subscribe(old, "t", 1);
        world.publish(publisher, &publish("t", "under way").qos(1, 0));
        world.received(old);
        let (new, session_present) = world.connect_present(&connect(V5, "id").persistent());
        assert!(session_present);
        world.expect(old, &[Packet::Disconnect { code: 0x8e }]);
        assert!(world.is_closed(old));
        let messages = world.messages(new);
        assert_eq!(messages.len(), 1);
        assert!(messages[0].dup);
        world.publish(publisher, &publish("t", "next").qos(1, 0));
        assert_eq!(world.texts(new), ["next"]);
        // Nothing reaches the old one any more.
        world.expect(old, &[]);
    });
}

/// MQTT-3.1.3-2. A session goes on whichever version its Client speaks next.
fn mqtt_3_1_3_2_versions_share_a_session() {
    each5(|world| {
        let publisher = client(world, "publisher");
        for (old, new) in [(Version::V311, V5), (V5, Version::V311), (V5, Version::V31)] {
            let first = world.connect(&connect(old, "id").persistent());
            world.subscribe(first, "t", 2);
            world.drop_connection(first);
            world.publish(publisher, &publish("t", "x").qos(2, 0).with(passed_on()));
            let second = world.connect(&connect(new, "id").persistent());
            assert_eq!(world.texts(second), ["x"]);
            world.disconnect(second);
            world.connect(&connect(V5, "id"));
        }
    });
}

/// MQTT-3.1.3-5.
fn mqtt_3_1_3_5_plain_client_ids_are_accepted() {
    each5(|world| {
        let digits = "0123456789abcdefghijklm";
        let rest = "nopqrstuvwxyzABCDEFGHIJ";
        for id in [digits, rest, "KLMNOPQRSTUVWXYZ", "0", "Z"] {
            let client = client(world, id);
            alive(world, client);
        }
    });
}

/// MQTT-3.1.3-3, MQTT-3.1.3-6, MQTT-3.1.3-7, MQTT-3.2.2-16.
fn mqtt_3_1_3_6_an_empty_client_id_gets_one_of_its_own() {
    each5(|world| {
        let mut ids = Vec::new();
        for number in 0..6 {
            let mut connect = connect(V5, "").expiry(100);
            connect.clean = number % 2 == 0;
            let (client, session_present) = world.connect_present(&connect);
            assert!(!session_present);
            let connack = world.connack(client);
            let id = connack.text(ASSIGNED_CLIENT_IDENTIFIER);
            ids.push(id.expect("an id").to_owned());
            alive(world, client);
        }
        let mut different = ids.clone();
        different.sort();
        different.dedup();
        assert_eq!(different.len(), ids.len());
        // Under this id the session is found again.
        let mut connect = connect(V5, &ids[0]).expiry(100);
        connect.clean = false;
        let (client, session_present) = world.connect_present(&connect);
        assert!(session_present);
        assert!(!world.connack(client).has(ASSIGNED_CLIENT_IDENTIFIER));
    });
}

fn with_passwords() -> Settings {
    Settings::with_listener(ListenerSettings {
        anonymous: false,
        passwords: true,
        ..ListenerSettings::default()
    })
}

/// MQTT-3.1.4-2, MQTT-3.1.4-6, MQTT-3.2.2-6, MQTT-3.2.2-7, MQTT-4.13.2-1, MQTT-3.14.0-1.
fn mqtt_3_1_4_2_failed_checks_close() {
    each5_with(&with_passwords(), |world| {
        world.allow_user("user", b"right");
        let watcher = world.connect(&connect(V5, "watcher").user(b"user").password(b"right"));
        world.subscribe(watcher, "#", 2);
        for connect in [
            connect(V5, "id"),
            connect(V5, "id").user(b"user"),
            connect(V5, "id").user(b"user").password(b"wrong"),
            connect(V5, "id").user(b"other").password(b"right"),
            connect(V5, "id")
                .user(b"user")
                .password(b"wrong")
                .will("t", "will", 0, true),
        ] {
            // Whatever follows the CONNECT is not looked at.
            let mut bytes = connect.bytes();
            bytes.extend(publish("t", "x").bytes(V5));
            bytes.extend(pingreq());
            let client = world.open(V5);
            world.send(client, bytes);
            assert!(world.is_closed(client));
            let received = world.received(client);
            assert!(
                matches!(
                    received[..],
                    [Packet::ConnAck {
                        session_present: false,
                        code: 0x86 | 0x87
                    }]
                ),
                "{received:?}"
            );
        }
        assert_eq!(world.texts(watcher), [""; 0]);
    });
}

/// MQTT-3.1.3-8. No client id is refused for its form; one that belongs to a session of another user is.
fn mqtt_3_1_3_8_a_refused_client_id_closes() {
    each5_with(&with_passwords(), |world| {
        for user in ["one", "two"] {
            world.allow_user(user, b"password");
        }
        let of = |user: &str| {
            connect(V5, "id")
                .user(user.as_bytes())
                .password(b"password")
        };
        let owner = world.connect(&of("one").persistent());
        let other = of("two").will("t", "will", 0, false).bytes();
        refused_with(world, other, 0x87);
        alive(world, owner);
    });
}
