//! CONNECT: cases 11 to 16 and 21.

use crate::support::packet::{Will, packet, string};
use crate::support::{Answer, Broker, Client, Connect, DEADLINE, reference};
use crate::{attack, attack_ours, closed, refused};

crate::on_1_and_2_shards_at_once!(
    case_11_protocol_name_and_level,
    cases_12_and_13_connect_flags,
    case_14_empty_client_id_without_clean_session,
    case_15_client_ids_of_every_kind,
    case_16_connect_truncated_anywhere,
    case_21_second_connect,
);

/// A CONNECT of this name, level and flags, with an ordinary id behind.
fn connect_with(name: &[u8], level: u8, flags: u8) -> Vec<u8> {
    let mut body = Vec::new();
    string(&mut body, name);
    body.extend([level, flags, 0, 60]);
    string(&mut body, b"someone");
    packet(0x10, &body)
}

fn case_11_protocol_name_and_level(shards: usize) {
    attack(shards, |broker| {
        for level in [6, 7, 0x7F] {
            // 3.1.1 asks for return code 1; a server of 5.0 may answer as in 5.0 what is newer than both.
            let mut client = Client::open(broker);
            client.send(&connect_with(b"MQTT", level, 2));
            let answer = client.packet();
            let allowed: [&[u8]; 2] = [&[0x20, 2, 0, 1], &[0x20, 3, 0, 0x84, 0]];
            assert!(
                allowed.contains(&&answer[..]),
                "level {level}: {answer:02x?}"
            );
            client.expect_close();
        }
        for name in [
            &b"MQTX"[..],
            b"mqtt",
            b"MQTTT",
            b"MQT",
            b"",
            b"MQTT\0",
            b"HTTP",
        ] {
            closed(
                broker,
                &format!("protocol name {name:?}"),
                &connect_with(name, 4, 2),
            );
        }
        if !reference() {
            refused(broker, "MQTT, level 0", &connect_with(b"MQTT", 0, 2), 1);
            refused(broker, "MQTT, level 3", &connect_with(b"MQTT", 3, 2), 1);
            refused(broker, "MQIsdp, level 4", &connect_with(b"MQIsdp", 4, 2), 1);
        }
        // A name as long as a name can be.
        closed(
            broker,
            "a name of 65,535 bytes",
            &connect_with(&[b'M'; 65_535], 4, 2),
        );
        closed(
            broker,
            "a name longer than the packet",
            b"\x10\x0C\xFF\xFFMQTT\x04\x02\0\0\0\0",
        );
    });
}

fn case_12_and_13(broker: &Broker, flags: u8, what: &str) {
    // Fields for whatever the flags announce, so that only the flags are wrong.
    let mut body = b"\0\x04MQTT\x04".to_vec();
    body.extend([flags, 0, 60]);
    for field in [&b"id"[..], b"will/topic", b"will", b"user", b"password"] {
        string(&mut body, field);
    }
    closed(broker, what, &packet(0x10, &body));
}

fn cases_12_and_13_connect_flags(shards: usize) {
    attack(shards, |broker| {
        case_12_and_13(broker, 0b1100_0111, "reserved flag");
        case_12_and_13(broker, 0b1101_1110, "will QoS 3");
        case_12_and_13(broker, 0b1100_1010, "will QoS 1 without will");
        case_12_and_13(broker, 0b1101_0010, "will QoS 2 without will");
        case_12_and_13(broker, 0b1110_0010, "will retain without will");
        case_12_and_13(broker, 0b0100_0110, "password without user");
        case_12_and_13(broker, 0b1111_1111, "all flags");
        if !reference() {
            case_12_and_13(broker, 0b0000_0010, "fields that no flag announces");
        }
    });
}

fn case_14_empty_client_id_without_clean_session(shards: usize) {
    attack(shards, |broker| {
        let connect = Connect {
            clean_session: false,
            ..Connect::default()
        };
        refused(broker, "empty id, session kept", &connect.bytes(), 2);
        // With a clean session the broker makes one up, each time another.
        let mut first = Client::connect(broker, "");
        let mut second = Client::connect(broker, "");
        first.expect_alive();
        second.expect_alive();
    });
}

fn case_15_client_ids_of_every_kind(shards: usize) {
    attack_ours(shards, |broker| {
        for (what, id) in [
            ("NUL", &b"a\0b"[..]),
            ("not UTF-8", b"a\xFFb"),
            ("UTF-8 cut short", b"a\xE2\x82"),
            ("overlong UTF-8", b"\xC0\x80"),
            ("a surrogate", b"\xED\xA0\x80"),
            ("two surrogates", b"\xED\xA0\xBD\xED\xB8\x80"),
            ("beyond Unicode", b"\xF4\x90\x80\x80"),
        ] {
            closed(
                broker,
                what,
                &Connect {
                    client_id: id,
                    ..Connect::default()
                }
                .bytes(),
            );
        }
        let long = [b'x'; 10_000];
        let longest = [b'x'; 65_535];
        for id in [
            &b"+"[..],
            b"#",
            b"/",
            b"$SYS/#",
            b"a b",
            "écran".as_bytes(),
            "\u{FEFF}".as_bytes(),
            b"%s%n",
            &long,
            &longest,
        ] {
            for clean_session in [false, true] {
                let connect = Connect {
                    client_id: id,
                    clean_session,
                    ..Connect::default()
                };
                let (mut client, _) = Client::connect_with(broker, &connect);
                client.subscribe("own", 1);
                client.publish("other", b"", 1, false);
                client.disconnect();
            }
        }
        // Control characters may be refused; they may not write lines of their own into the log.
        let mark = broker.log_len();
        let evil = Connect {
            client_id: b"evil\r\nINJECTED line\x1B[31m",
            ..Connect::default()
        };
        let mut client = Client::open(broker);
        client.send(&evil.bytes());
        client.answer(DEADLINE);
        drop(client);
        Client::connect(broker, "after-evil").disconnect();
        broker.logged_since(mark, &["after-evil"]);
        for line in &broker.log()[mark..] {
            assert!(
                !line.starts_with("INJECTED") && !line.contains('\x1B'),
                "the log was written by a peer: {line:?}"
            );
        }
    });
}

/// A CONNECT with every field, cut after each byte: once as a stream that ends, once as a shorter packet.
fn case_16_connect_truncated_anywhere(shards: usize) {
    attack(shards, |broker| {
        let connect = Connect {
            client_id: b"cut",
            will: Some(Will {
                topic: "well/behaved/forged",
                payload: b"forged",
                qos: 1,
                retain: true,
            }),
            user: Some("user"),
            password: Some("password"),
            ..Connect::default()
        };
        let bytes = connect.bytes();
        for len in 0..bytes.len() {
            let mut client = Client::open(broker);
            client.send(&bytes[..len]);
            client.half_close();
            assert_eq!(
                client.answer(DEADLINE),
                Answer::Closed,
                "the first {len} bytes, then the end"
            );
        }
        for len in 0..bytes.len() - 2 {
            // Not closed(): a packet without any field may count as one that says nothing worth a line.
            let mut client = Client::open(broker);
            client.send(&packet(0x10, &bytes[2..2 + len]));
            assert_eq!(
                client.answer(DEADLINE),
                Answer::Closed,
                "a packet of the first {len} bytes"
            );
        }
    });
}

fn case_21_second_connect(shards: usize) {
    attack(shards, |broker| {
        let mut watcher = Client::connect(broker, "watcher");
        watcher.subscribe("twice", 1);
        for second_id in [&b"twice"[..], b"well-behaved-publisher"] {
            let will = Some(Will {
                topic: "twice",
                payload: b"closed",
                qos: 1,
                retain: false,
            });
            let connect = Connect {
                client_id: b"twice",
                will,
                ..Connect::default()
            };
            let (mut client, _) = Client::connect_with(broker, &connect);
            client.send(
                &Connect {
                    client_id: second_id,
                    ..Connect::default()
                }
                .bytes(),
            );
            client.expect_close();
            // The reference forgets the will here.
            if !reference() {
                watcher.expect_message("twice", b"closed", 1);
            }
        }
    });
}
