//! PUBLISH: cases 25 to 28.

use crate::support::packet::{
    PINGREQ, PUBACK, acknowledgement, packet, publish, string, subscribe, unsubscribe,
};
use crate::support::{Answer, Client, DEADLINE, reference};
use crate::{attack, closed, ended_or_answered, violation};

crate::on_1_and_2_shards_at_once!(
    case_25_topic_names,
    case_26_very_many_levels,
    case_27_dollar_topics_of_a_client,
    case_28_publish_flags_and_packet_ids,
);

fn case_25_topic_names(shards: usize) {
    attack(shards, |broker| {
        let mut watcher = Client::connect(broker, "watcher");
        watcher.subscribe("#", 1);
        watcher.send(&unsubscribe(9, &[b"#"]));
        while watcher.packet()[0] != 0xB0 {}
        watcher.subscribe("bad/#", 1);
        for (what, topic) in [
            ("empty", &b""[..]),
            ("plus", b"bad/+"),
            ("plus inside", b"bad/a+b"),
            ("hash", b"#"),
            ("hash inside", b"bad/#/c"),
            ("NUL", b"bad/\0"),
            ("NUL first", b"\0"),
            ("not UTF-8", b"bad/\xFF"),
            ("overlong", b"bad/\xC0\xAF"),
            ("surrogate", b"bad/\xED\xA0\x80"),
            ("cut short", b"bad/\xE2\x82"),
        ] {
            for qos in 0..=2 {
                violation(
                    broker,
                    &format!("{what}, QoS {qos}"),
                    &publish(topic, b"x", qos, 1, true),
                );
            }
            // The same as the topic of a will.
            let mut body = b"\0\x04MQTT\x04\x06\0\x3C".to_vec();
            for field in [&b"willing"[..], topic, b"x"] {
                string(&mut body, field);
            }
            if !reference() {
                closed(broker, &format!("{what}, will"), &packet(0x10, &body));
            }
        }
        violation(
            broker,
            "topic length past the packet",
            &packet(0x30, b"\0\x09bad"),
        );
        violation(broker, "no topic", &packet(0x30, b""));
        violation(broker, "half a topic length", &packet(0x30, b"\0"));
        watcher.expect_alive();

        // As long as a topic can be, and right.
        let mut longest = b"bad/".to_vec();
        longest.resize(65_535, b'x');
        let mut client = Client::connect(broker, "long");
        client.publish(
            std::str::from_utf8(&longest).expect("ASCII"),
            b"arrives",
            1,
            false,
        );
        assert_eq!(watcher.receive().topic.len(), 65_535);
    });
}

fn case_26_very_many_levels(shards: usize) {
    attack(shards, |broker| {
        let slashes = [b'/'; 65_400];
        violation(
            broker,
            "PUBLISH to 65,401 levels",
            &publish(&slashes, b"", 1, 1, true),
        );
        let deepest = subscribe(1, &[(&slashes, 1)]);
        if reference() {
            violation(broker, "SUBSCRIBE to 65,401 levels", &deepest);
        } else {
            let mut client = Client::connect(broker, "deepest");
            client.send(&deepest);
            client.expect_packet(&[0x90, 3, 0, 1, 0x80]);
        }
        if !reference() {
            violation(
                broker,
                "202 levels",
                &publish(&[b'/'; 201], b"", 1, 1, true),
            );
            ended_or_answered(broker, "65,401 levels", &unsubscribe(1, &[&slashes]));
            let mut client = Client::connect(broker, "deeper");
            client.send(&subscribe(1, &[("+/".repeat(201).as_bytes(), 1)]));
            client.expect_packet(&[0x90, 3, 0, 1, 0x80]);
        }
        // 201 levels are served: 200 separators, as by Mosquitto.
        let mut client = Client::connect(broker, "deep");
        client.subscribe(&"+/".repeat(200), 0);
        client.send(&publish(&[b'/'; 200], b"deep", 0, 0, false));
        client.expect_message(&"/".repeat(200), b"deep", 0);
    });
}

fn case_27_dollar_topics_of_a_client(shards: usize) {
    attack(shards, |broker| {
        let mut watcher = Client::connect(broker, "watcher");
        watcher.subscribe("+/x", 0);
        watcher.subscribe("+", 0);
        for topic in [
            "$foo",
            "$",
            "$SYS/x",
            "$/x",
            "$SYS",
            "$share",
            "$share/x",
            "$CONTROL/x",
            "$foo/x",
        ] {
            for qos in 0..=2 {
                let mut client = Client::connect(broker, "dollar");
                client.send(&publish(topic.as_bytes(), b"x", qos, 1, false));
                // Taken or not, the client is answered as for any other topic, or its connection ends.
                if qos == 1 {
                    let answer = client.answer(DEADLINE);
                    assert!(
                        matches!(&answer, Answer::Closed)
                            || answer == Answer::Packet(acknowledgement(PUBACK, 1)),
                        "{topic}: {answer:?}"
                    );
                }
                client.try_send(&PINGREQ);
                client.answer(DEADLINE);
            }
        }
        // Wildcards at the front do not match them.
        watcher.expect_alive();
    });
}

fn case_28_publish_flags_and_packet_ids(shards: usize) {
    attack(shards, |broker| {
        let body = b"\0\x01t\0\x01x";
        for flags in [0x6, 0x7, 0xE, 0xF] {
            violation(
                broker,
                &format!("QoS 3, flags {flags:#x}"),
                &packet(0x30 | flags, body),
            );
        }
        if !reference() {
            violation(broker, "DUP with QoS 0", &packet(0x38, body));
        }
        for qos in [1, 2] {
            violation(broker, "packet id 0", &publish(b"t", b"x", qos, 0, false));
            violation(broker, "no packet id", &packet(0x30 | qos << 1, b"\0\x01t"));
            violation(
                broker,
                "half a packet id",
                &packet(0x30 | qos << 1, b"\0\x01t\0"),
            );
        }
        // A length that ends before the message and one that ends after it: what follows is no packet.
        violation(broker, "no room for the topic", &packet(0x32, b"\0"));
        let mut client = Client::connect(broker, "short");
        client.send(&publish(b"t", b"complete", 1, 77, false)[..8]);
        client.half_close();
        client.expect_close();
    });
}
