//! Acknowledgements, and packets only a server sends: cases 32 to 35.

use crate::support::packet::{PUBACK, PUBCOMP, PUBREC, PUBREL, acknowledgement, packet, publish};
use crate::support::{Answer, Client, Connect, DEADLINE, Published, reference};
use crate::{attack, attack_ours, flood, violation};
use std::time::Duration;

crate::on_1_and_2_shards_at_once!(
    case_32_qos_2_never_released,
    case_33_acknowledgements_of_nothing,
    case_34_subscriber_that_never_acknowledges,
    case_35_packets_of_a_server,
);

fn case_32_qos_2_never_released(shards: usize) {
    attack_ours(shards, |broker| {
        let mut watcher = Client::connect(broker, "watcher");
        watcher.subscribe("again", 0);
        let times = 200_000;
        let mut client = Client::connect(broker, "repeater");
        let came = flood(
            &mut client,
            &publish(b"again", b"x", 2, 7, false),
            times,
            times * 4,
        );
        assert_eq!(came, times * 4, "a PUBREC of four bytes for each");
        client.expect_alive();
        watcher.expect_message("again", b"x", 0);
        // A Packet Identifier in use is the same message again: it is delivered once.
        watcher.expect_alive();

        // Every Packet Identifier, none released: bounded, by ending this connection or by taking no more.
        let mut client = Client::connect(broker, "hoarder");
        for id in 1..=u16::MAX {
            if !client.try_send(&publish(b"hoard", &[b'x'; 100], 2, id, false)) {
                break;
            }
        }
        while let Answer::Packet(_) = client.answer(Duration::from_millis(500)) {}
    });
}

fn case_33_acknowledgements_of_nothing(shards: usize) {
    attack_ours(shards, |broker| {
        for kind in [PUBACK, PUBREC, PUBREL, PUBCOMP] {
            let mut client = Client::connect(broker, "acknowledger");
            flood(&mut client, &acknowledgement(kind, 1234), 100_000, 0);
            // Ignored, answered or the end of this connection: the standard leaves it open.
            while let Answer::Packet(_) = client.answer(Duration::from_millis(300)) {}
            violation(broker, "packet id 0", &acknowledgement(kind, 0));
            violation(broker, "no packet id", &packet(kind, &[]));
            violation(broker, "wrong flags", &acknowledgement(kind ^ 0x01, 1));
        }
        // The wrong kind for the message in flight ends the connection, and not the flight.
        for (qos, wrong) in [(1, PUBREC), (1, PUBCOMP), (2, PUBACK), (2, PUBCOMP)] {
            let id = format!("confused-{qos}-{wrong}");
            let connect = Connect {
                client_id: id.as_bytes(),
                clean_session: false,
                ..Connect::default()
            };
            let (mut client, _) = Client::connect_with(broker, &connect);
            client.subscribe(&id, qos);
            client.send(&publish(id.as_bytes(), b"x", 0, 0, false));
            let _ = client.answer(DEADLINE);
            let mut speaker = Client::connect(broker, "speaker");
            speaker.publish(&id, b"kept", qos, false);
            let message = Published::read(&client.packet()).expect("a PUBLISH");
            client.send(&acknowledgement(wrong, message.packet_id));
            client.expect_close();
            let (mut client, present) = Client::connect_with(broker, &connect);
            assert!(present);
            let again = Published::read(&client.packet()).expect("the message again");
            assert_eq!(
                (&again.payload[..], again.dup, again.packet_id),
                (&b"kept"[..], true, message.packet_id)
            );
            // A clean session ends it.
            drop(client);
            Client::connect(broker, &id).disconnect();
        }
    });
}

fn case_34_subscriber_that_never_acknowledges(shards: usize) {
    attack_ours(shards, |broker| {
        let mut lazy = Client::connect(broker, "lazy");
        lazy.subscribe("lazy", 1);
        let mut speaker = Client::connect(broker, "speaker");
        let count = 66_000;
        let message = publish(b"lazy", b"", 1, 1, false);
        let came = flood(&mut speaker, &message, count, count * 4);
        assert_eq!(came, count * 4, "a PUBACK of four bytes for each");
        speaker.expect_alive();

        // A window of them is in flight, with ids of their own, and then nothing: no spin, no repetition.
        let mut flying = Vec::new();
        while let Answer::Packet(bytes) = lazy.answer(Duration::from_millis(500)) {
            flying.push(Published::read(&bytes).expect("a PUBLISH").packet_id);
        }
        assert!(
            !flying.is_empty() && flying.len() < 1000,
            "{} in flight",
            flying.len()
        );
        let mut distinct = flying.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), flying.len(), "ids in flight are distinct");
        let before = broker.cpu();
        lazy.expect_silence(Duration::from_millis(500));
        let used = broker.cpu() - before;
        assert!(used <= Duration::from_millis(300), "{used:?} in 500 ms");

        // Each acknowledgement lets one more go, until none is left; the ids go round and never are 0.
        let mut served = flying.len();
        let mut acknowledged = 0;
        while acknowledged < flying.len() {
            lazy.send(&acknowledgement(PUBACK, flying[acknowledged]));
            acknowledged += 1;
            if served < count {
                flying.push(
                    Published::read(&lazy.packet())
                        .expect("a PUBLISH")
                        .packet_id,
                );
                served += 1;
            }
        }
        assert_eq!(served, count);
        lazy.expect_alive();
    });
}

fn case_35_packets_of_a_server(shards: usize) {
    attack(shards, |broker| {
        for (what, bytes) in [
            ("CONNACK", &[0x20, 2, 0, 0][..]),
            ("SUBACK", &[0x90, 3, 0, 1, 0]),
            ("UNSUBACK", &[0xB0, 2, 0, 1]),
            ("PINGRESP", &[0xD0, 0]),
            ("type 0", &[0x00, 0]),
            ("type 0, flags", &[0x0F, 0]),
            ("type 15", &[0xF0, 0]),
            ("type 15, flags", &[0xFF, 2, 0, 0]),
            ("PINGREQ, flags", &[0xC1, 0]),
            ("DISCONNECT, flags", &[0xE8, 0]),
        ] {
            // The reference ignores some of them.
            if reference()
                && (what.ends_with("flags") || matches!(what, "SUBACK" | "UNSUBACK" | "PINGRESP"))
            {
                continue;
            }
            violation(broker, what, bytes);
        }
    });
}
