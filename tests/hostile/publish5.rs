//! PUBLISH of MQTT 5.0: cases 29 to 31, and case 52.

use crate::attack_ours;
use crate::support::packet::{packet, string};
use crate::support::packet5::{self, connected, number, property_block, publish};
use crate::support::{Answer, Broker, DEADLINE};

crate::on_1_and_2_shards_at_once!(
    case_29_topic_aliases,
    case_30_properties_of_publish,
    case_31_more_than_the_receive_maximum,
    case_52_no_local_on_a_shared_subscription,
);

/// Sends this as a client of 5.0 that may say no more, and expects DISCONNECT with one of these codes.
#[track_caller]
fn ended(broker: &Broker, what: &str, bytes: &[u8], codes: &[u8]) {
    let (mut client, _) = connected(broker, b"violator-5", b"");
    client.try_send(bytes);
    let answer = client.answer(DEADLINE);
    assert!(
        matches!(&answer, Answer::Packet(bytes) if bytes[0] == 0xE0 && codes.contains(&bytes[2])),
        "{what}: {answer:02x?}"
    );
    assert_eq!(client.answer(DEADLINE), Answer::Closed, "{what}");
}

/// A Topic Alias.
fn alias(number: u16) -> Vec<u8> {
    let [high, low] = number.to_be_bytes();
    vec![packet5::TOPIC_ALIAS, high, low]
}

fn case_29_topic_aliases(shards: usize) {
    attack_ours(shards, |broker| {
        let (_, properties) = connected(broker, b"asker", b"");
        let most = number(&properties, packet5::TOPIC_ALIAS_MAXIMUM).expect("a maximum") as u16;
        ended(broker, "0", &publish(b"t", b"", 0, 0, &alias(0)), &[0x94]);
        ended(
            broker,
            "above",
            &publish(b"t", b"", 0, 0, &alias(most + 1)),
            &[0x94],
        );
        ended(
            broker,
            "65,535",
            &publish(b"t", b"", 0, 0, &alias(65_535)),
            &[0x94],
        );
        ended(
            broker,
            "unknown",
            &publish(b"", b"", 0, 0, &alias(1)),
            &[0x82],
        );
        ended(
            broker,
            "neither",
            &publish(b"", b"", 0, 0, b""),
            &[0x81, 0x82],
        );
        let twice = [alias(1), alias(1)].concat();
        ended(broker, "twice", &publish(b"t", b"", 0, 0, &twice), &[0x82]);
        ended(
            broker,
            "wildcard",
            &publish(b"t/#", b"", 0, 0, &alias(1)),
            &[0x81, 0x82, 0x90],
        );

        // Every alias there is, each with the longest Topic Name, again and again: bounded by their number.
        let (mut client, _) = connected(broker, b"hoarder", b"");
        for round in 0..3u8 {
            for number in 1..=most {
                let topic = [b'a' + round; 65_535];
                client.send(&publish(&topic, b"", 0, 0, &alias(number)));
            }
        }
        client.expect_alive();
        // Those of another connection are not seen.
        ended(
            broker,
            "of another",
            &publish(b"", b"", 0, 0, &alias(1)),
            &[0x82],
        );
    });
}

fn case_30_properties_of_publish(shards: usize) {
    attack_ours(shards, |broker| {
        let response = |topic: &[u8]| {
            let mut block = vec![0x08];
            string(&mut block, topic);
            block
        };
        for (what, block) in [
            ("subscription identifier", vec![0x0B, 1]),
            ("subscription identifier 0", vec![0x0B, 0]),
            ("response topic with #", response(b"a/#")),
            ("response topic with +", response(b"+")),
            ("response topic with NUL", response(b"a\0")),
            ("response topic not UTF-8", response(b"\xFF")),
            ("content type not UTF-8", vec![0x03, 0, 1, 0xFF]),
            ("payload format 2", vec![0x01, 2]),
            ("payload format twice", vec![0x01, 1, 0x01, 1]),
            ("message expiry cut", vec![0x02, 0, 0]),
            ("of CONNECT", vec![0x11, 0, 0, 0, 1]),
            ("unknown", vec![0x7F, 0]),
            ("unknown, two bytes", vec![0x80, 0x01]),
        ] {
            for qos in 0..=2 {
                let bytes = publish(b"t", b"x", qos, 1, &block);
                ended(broker, what, &bytes, &[0x81, 0x82, 0x90]);
            }
        }
        let past = packet(0x30, &[b"\0\x01t".as_slice(), &[100, 0x01, 1]].concat());
        ended(broker, "length past the packet", &past, &[0x81]);
        let no_length = packet(0x30, b"\0\x01t");
        ended(broker, "no length", &no_length, &[0x81]);

        // A payload that is not of its format may be passed on; nobody is closed for it, and it comes as it was sent.
        let (mut watcher, _) = connected(broker, b"watcher", b"");
        watcher.send(&packet5::subscribe(1, b"", b"format", 0));
        assert_eq!(watcher.packet()[0], 0x90);
        let bytes = publish(b"format", b"\xFF\xFE", 0, 0, &[0x01, 1]);
        watcher.send(&bytes);
        watcher.expect_packet(&bytes);
        watcher.expect_alive();
    });
}

fn case_31_more_than_the_receive_maximum(shards: usize) {
    attack_ours(shards, |broker| {
        let (mut client, properties) = connected(broker, b"eager", b"");
        let most = number(&properties, packet5::RECEIVE_MAXIMUM).expect("a maximum");
        let mut bytes = Vec::new();
        for id in 1..=most + 1 {
            bytes.extend(publish(b"eager", b"x", 2, id as u16, b""));
        }
        client.try_send(&bytes);
        for _ in 0..most {
            assert_eq!(client.packet()[0], 0x50, "PUBREC of what is allowed");
        }
        let answer = client.packet();
        assert_eq!((answer[0], answer[2]), (0xE0, 0x93), "{answer:02x?}");
        client.expect_close();
        // A QoS 1 message is done with its PUBACK, however many come at once.
        let (mut client, _) = connected(broker, b"eager", b"");
        client.send(&publish(b"eager", b"x", 1, 7, b"").repeat(3 * most as usize));
        for _ in 0..3 * most {
            assert_eq!(client.packet()[0], 0x40);
        }
        client.expect_alive();
    });
}

fn case_52_no_local_on_a_shared_subscription(shards: usize) {
    attack_ours(shards, |broker| {
        let no_local = 0x04;
        for filter in [&b"$share/g/t"[..], b"$share/g/#", b"$share/g/+/t"] {
            let bytes = packet5::subscribe(1, b"", filter, no_local | 1);
            ended(broker, "no local", &bytes, &[0x82]);
            // Neither is any other filter of that packet in force.
            let mut body = vec![0, 1];
            body.extend(property_block(b""));
            for (filter, options) in [(&b"t"[..], 0), (filter, no_local)] {
                string(&mut body, filter);
                body.push(options);
            }
            ended(broker, "second of two", &packet(0x82, &body), &[0x82]);
        }
    });
}
