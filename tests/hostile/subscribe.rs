//! SUBSCRIBE and UNSUBSCRIBE: cases 48 and 50.

use crate::support::packet::{packet, subscribe, unsubscribe};
use crate::support::{Client, Connect, Level, reference};
use crate::{attack, ended_or_answered, violation};

crate::on_1_and_2_shards_at_once!(case_48_malformed_subscribe, case_50_malformed_filters,);

fn case_48_malformed_subscribe(shards: usize) {
    attack(shards, |broker| {
        violation(broker, "no filter", &packet(0x82, &[0, 1]));
        violation(broker, "no packet id", &packet(0x82, &[]));
        for qos in 3..=255 {
            // Bits 2 to 7 are reserved before 5.0.
            violation(
                broker,
                &format!("options {qos:#04x}"),
                &subscribe(1, &[(b"a", 0), (b"b", qos)]),
            );
        }
        violation(broker, "options missing", &packet(0x82, b"\0\x01\0\x01a"));
        violation(
            broker,
            "options of the second missing",
            &packet(0x82, b"\0\x01\0\x01a\x01\0\x01b"),
        );
        violation(
            broker,
            "length past the packet",
            &packet(0x82, b"\0\x01\0\x09a\x01"),
        );
        violation(
            broker,
            "UNSUBSCRIBE, length past the packet",
            &packet(0xA2, b"\0\x01\0\x09a"),
        );
        for flags in (0..16).filter(|flags| *flags != 2) {
            violation(
                broker,
                "SUBSCRIBE, flags",
                &packet(0x80 | flags, b"\0\x01\0\x01a\0"),
            );
            violation(
                broker,
                "UNSUBSCRIBE, flags",
                &packet(0xA0 | flags, b"\0\x01\0\x01a"),
            );
        }
        violation(broker, "UNSUBSCRIBE, no filter", &packet(0xA2, &[0, 1]));
        if !reference() {
            violation(broker, "packet id 0", &subscribe(0, &[(b"a", 0)]));
            violation(broker, "UNSUBSCRIBE, packet id 0", &unsubscribe(0, &[b"a"]));
        }
    });
}

fn case_50_malformed_filters(shards: usize) {
    attack(shards, |broker| {
        for (what, filter) in [
            ("a/#/b", &b"a/#/b"[..]),
            ("a+", b"a+"),
            ("+a", b"+a"),
            ("a/b+/c", b"a/b+/c"),
            ("#a", b"#a"),
            ("a#", b"a#"),
            ("##", b"##"),
            ("#/", b"#/"),
            ("++", b"++"),
            ("maison+/lumière", "maison+/lumière".as_bytes()),
            ("empty", b""),
            ("NUL", b"a/\0"),
            ("not UTF-8", b"a/\xFF/#"),
            ("a surrogate", b"\xED\xA0\x80"),
        ] {
            violation(broker, what, &subscribe(1, &[(b"fine", 0), (filter, 1)]));
            if !reference() {
                ended_or_answered(broker, what, &unsubscribe(1, &[filter]));
            }
        }
        // The log says which filter it was, for the tutorial that has it wrong.
        if !reference() {
            broker.logged(&["violator", "maison+/lumière"]);
            broker.logged(&["violator", "a/#/b"]);
        }
        // The same in 3.1, where there is no other answer either.
        let connect = Connect {
            level: Level::V31,
            client_id: b"old",
            ..Connect::default()
        };
        let (mut client, _) = Client::connect_with(broker, &connect);
        client.send(&subscribe(1, &[(b"a/#/b", 0)]));
        client.expect_close();
    });
}
