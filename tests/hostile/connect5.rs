//! CONNECT of MQTT 5.0, its will and its Keep Alive: cases 17 to 20 and 22 to 24.

use crate::support::packet::{packet, string};
use crate::support::packet5::{self, CLEAN_START, property_block};
use crate::support::{Answer, Broker, Client, Connect, DEADLINE, Options};
use crate::{attack_after, attack_ours};
use std::time::{Duration, Instant};

crate::on_1_and_2_shards_at_once!(
    case_17_properties_of_connect,
    case_18_very_many_user_properties,
    cases_19_and_20_wills,
    cases_22_and_56_keep_alive,
    case_23_will_delay_beyond_the_session,
    case_24_authentication_out_of_order,
);

const WILL: u8 = 0x04;

/// A CONNECT with this block of Properties, its length written as it is given.
fn connect(flags: u8, block: &[u8], client_id: &[u8], rest: &[u8]) -> Vec<u8> {
    let mut body = b"\0\x04MQTT\x05".to_vec();
    body.push(flags);
    body.extend([0, 60]);
    body.extend(block);
    string(&mut body, client_id);
    body.extend(rest);
    packet(0x10, &body)
}

/// Sends a CONNECT and expects its refusal with one of these codes, or the close alone, and then the end.
#[track_caller]
fn refused(broker: &Broker, what: &str, bytes: &[u8], codes: &[u8]) {
    let mut client = Client::open(broker);
    client.try_send(bytes);
    match client.answer(DEADLINE) {
        Answer::Packet(answer) => {
            assert_eq!(answer[0], 0x20, "{what}");
            assert!(codes.contains(&answer[3]), "{what}: {answer:02x?}");
            assert_eq!(client.answer(DEADLINE), Answer::Closed, "{what}");
        }
        Answer::Closed => {}
        Answer::Silence => panic!("{what}: no answer"),
    }
}

const MALFORMED: &[u8] = &[0x81, 0x82];

fn case_17_properties_of_connect(shards: usize) {
    attack_ours(shards, |broker| {
        let table: &[(&str, &[u8])] = &[
            ("twice", &[10, 0x11, 0, 0, 0, 1, 0x11, 0, 0, 0, 1]),
            ("receive maximum 0", &[3, 0x21, 0, 0]),
            ("packet size 0", &[5, 0x27, 0, 0, 0, 0]),
            ("request problem information 2", &[2, 0x17, 2]),
            ("of PUBLISH", &[2, 0x01, 1]),
            ("of CONNACK", &[2, 0x24, 1]),
            ("cut", &[3, 0x11, 0, 0]),
            ("length past the packet", &[100, 0x11, 0, 0, 0, 1]),
            ("length 0xFFFFFFFF", &[0xFF, 0xFF, 0xFF, 0xFF]),
            ("length of 256 MiB", &[0xFF, 0xFF, 0xFF, 0x7F]),
            ("length of five bytes", &[0x80, 0x80, 0x80, 0x80, 0x01]),
            ("authentication data alone", &[4, 0x16, 0, 1, b'x']),
            (
                "user property, not UTF-8",
                &[7, 0x26, 0, 1, 0xFF, 0, 1, b'x'],
            ),
        ];
        for (what, block) in table {
            let bytes = connect(CLEAN_START, block, b"p", b"");
            refused(broker, what, &bytes, MALFORMED);
        }
        for id in 0..=255 {
            // Those of CONNECT are read as far as the zeros go; all others are unknown, or of other packets.
            if ![0x11, 0x15, 0x16, 0x17, 0x19, 0x21, 0x22, 0x26, 0x27].contains(&id) {
                let bytes = connect(CLEAN_START, &[5, id, 0, 0, 0, 0], b"p", b"");
                refused(broker, &format!("property {id:#04x}"), &bytes, MALFORMED);
            }
        }
        // A length of properties that ends before or after the first of them.
        for len in (0..=20).filter(|len| *len != 5) {
            let bytes = connect(CLEAN_START, &[len, 0x11, 0, 0, 0, 9], b"", b"");
            refused(broker, &format!("length {len}"), &bytes, MALFORMED);
        }
    });
}

/// `count` User Properties `a` = `b`.
fn user_properties(count: usize) -> Vec<u8> {
    property_block(&[0x26, 0, 1, b'a', 0, 1, b'b'].repeat(count))
}

fn case_18_very_many_user_properties(shards: usize) {
    attack_ours(shards, |broker| {
        // Larger than any CONNECT may be.
        let bytes = connect(CLEAN_START, &user_properties(60_000), b"many", b"");
        refused(broker, "60,000 in CONNECT", &bytes, &[0x95]);
        let bytes = connect(CLEAN_START, &user_properties(1_025), b"many", b"");
        refused(broker, "1,025 in CONNECT", &bytes, &[0x97]);
        let (mut watcher, _) = packet5::connected(broker, b"watcher", b"");
        watcher.send(&packet5::subscribe(1, b"", b"many", 0));
        assert_eq!(watcher.packet()[0], 0x90);
        // The last of these is passed on whole.
        for (count, fine) in [(60_000, false), (1_025, false), (1_024, true)] {
            let (mut client, _) = packet5::connected(broker, b"many", b"");
            let mut body = b"\0\x04many".to_vec();
            body.extend(user_properties(count));
            client.try_send(&packet(0x30, &body));
            if fine {
                client.expect_alive();
                assert_eq!(
                    watcher.packet()[2..].len(),
                    body.len() + 1 - usize::from(body.len() < 128)
                );
            } else {
                let answer = client.answer(DEADLINE);
                assert!(
                    matches!(&answer, Answer::Packet(bytes) if bytes[0] == 0xE0 && bytes[2] == 0x97),
                    "{answer:02x?}"
                );
                client.expect_close();
            }
            let (mut client, _) = packet5::connected(broker, b"many", b"");
            let mut body = vec![0, 1];
            body.extend(user_properties(count));
            body.extend(b"\0\x01t\0");
            client.try_send(&packet(0x82, &body));
            let first = client.packet()[0];
            assert_eq!(first, if fine { 0x90 } else { 0xE0 }, "SUBSCRIBE, {count}");
        }
        watcher.expect_alive();
    });
}

/// The fields behind the client id of a CONNECT with a will.
fn will(block: &[u8], topic: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut rest = block.to_vec();
    string(&mut rest, topic);
    string(&mut rest, payload);
    rest
}

fn cases_19_and_20_wills(shards: usize) {
    attack_ours(shards, |broker| {
        let flags = CLEAN_START | WILL;
        let table: &[(&str, &[u8])] = &[
            ("twice", &[10, 0x18, 0, 0, 0, 1, 0x18, 0, 0, 0, 1]),
            ("unknown", &[2, 0x7E, 0]),
            ("of PUBLISH alone", &[3, 0x23, 0, 1]),
            ("subscription identifier", &[2, 0x0B, 1]),
            ("cut", &[3, 0x18, 0, 0]),
            ("length past the packet", &[0xFF, 0x7F, 0x18]),
            ("payload format 2", &[2, 0x01, 2]),
            (
                "response topic with wildcard",
                &[6, 0x08, 0, 3, b'a', b'/', b'#'],
            ),
        ];
        for (what, block) in table {
            let bytes = connect(flags, &[0], b"w", &will(block, b"t", b"x"));
            refused(broker, what, &bytes, MALFORMED);
        }
        let bytes = connect(
            flags,
            &[0],
            b"w",
            &will(&user_properties(1_025), b"t", b"x"),
        );
        refused(broker, "1,025 user properties", &bytes, &[0x97]);
        for topic in [&b""[..], b"a/#", b"+", b"a\0", b"\xFF"] {
            let bytes = connect(flags, &[0], b"w", &will(&[0], topic, b"x"));
            refused(broker, "will topic", &bytes, &[0x81, 0x82, 0x90]);
        }
        // Names of the broker's own may be refused; if not, no wildcard at the front finds them.
        let mut watcher = Client::connect(broker, "watcher");
        watcher.subscribe("#", 0);
        watcher.send(&crate::support::packet::unsubscribe(2, &[b"#"]));
        while watcher.packet()[0] != 0xB0 {}
        watcher.subscribe("+/will", 0);
        for topic in ["$SYS/will", "$CONTROL/will", "$share/will"] {
            let mut client = Client::open(broker);
            client.send(&connect(
                flags,
                &[0],
                b"w",
                &will(&[0], topic.as_bytes(), b"x"),
            ));
            client.answer(DEADLINE);
            drop(client);
        }
        let mut client = Client::open(broker);
        client.send(&connect(flags, &[0], b"w", &will(&[0], b"a/will", b"x")));
        assert_eq!(client.packet()[3], 0);
        drop(client);
        watcher.expect_message("a/will", b"x", 0);
        watcher.expect_alive();
    });
}

/// The timer of the broker's socket towards a client, from `/proc/net/tcp`: 2 is one of TCP keep-alive.
fn timer(broker: &Broker, client: &Client) -> u32 {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("the table of sockets");
    let (local, remote) = (broker.port(), client.local_address().port());
    let port = |field: &str| {
        u16::from_str_radix(field.rsplit(':').next().expect("a port"), 16).expect("hexadecimal")
    };
    let fields = table
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .find(|fields| port(fields[1]) == local && port(fields[2]) == remote)
        .expect("the broker's socket");
    let (timer, _) = fields[5].split_once(':').expect("timer and time");
    timer.parse().expect("a digit")
}

/// A connection of which nothing more comes, as when a cable is pulled.
fn cases_22_and_56_keep_alive(shards: usize) {
    let options = Options {
        shards,
        ..Options::default()
    };
    let connect = |broker: &Broker, id: &str, keep_alive_s| {
        let connect = Connect {
            client_id: id.as_bytes(),
            keep_alive_s,
            ..Connect::default()
        };
        Client::connect_with(broker, &connect).0
    };
    if crate::support::reference() {
        return;
    }
    attack_after(
        options,
        |broker| drop(connect(broker, "silent-1", 1)),
        |broker| {
            let start = Instant::now();
            let mut silent: Vec<Client> = (0..20)
                .map(|n| connect(broker, &format!("silent-{n}"), 1))
                .collect();
            let mut idle: Vec<(Client, u16)> = [0, 65_535]
                .map(|keep_alive_s| {
                    (
                        connect(broker, &format!("idle-{keep_alive_s}"), keep_alive_s),
                        keep_alive_s,
                    )
                })
                .into();
            for client in &mut silent {
                client.expect_close();
                assert!(
                    start.elapsed() >= Duration::from_millis(1500),
                    "{:?}",
                    start.elapsed()
                );
            }
            // Nothing is asked of those who promise nothing; TCP itself looks whether they are there.
            for (client, keep_alive_s) in &mut idle {
                client.expect_alive();
                if *keep_alive_s == 0 {
                    let end = Instant::now() + DEADLINE;
                    while timer(broker, client) != 2 {
                        assert!(Instant::now() < end, "no TCP keep-alive");
                        std::thread::sleep(Duration::from_millis(50));
                    }
                }
            }
        },
    );
}

fn case_23_will_delay_beyond_the_session(shards: usize) {
    let options = Options {
        shards,
        ..Options::default()
    };
    if crate::support::reference() {
        return;
    }
    let run = |count: usize| {
        move |broker: &Broker| {
            let mut watcher = Client::connect(broker, "watcher");
            watcher.subscribe("delayed/+", 1);
            for n in 0..count {
                let mut client = Client::open(broker);
                let id = format!("delayed-{n}");
                let rest = will(
                    &[5, 0x18, 0, 0, 0, 200],
                    format!("delayed/{n}").as_bytes(),
                    b"x",
                );
                // A Session of one second, or of none.
                let expiry = [5, 0x11, 0, 0, 0, (n % 2) as u8];
                client.send(&connect(CLEAN_START | WILL, &expiry, id.as_bytes(), &rest));
                assert_eq!(client.packet()[3], 0);
            }
            // The end of the Session is the end of the delay; each will comes once.
            let mut topics: Vec<String> = (0..count).map(|_| watcher.receive().topic).collect();
            topics.sort();
            topics.dedup();
            assert_eq!(topics.len(), count);
            watcher.expect_alive();
        }
    };
    attack_after(options, run(4), run(20));
}

fn case_24_authentication_out_of_order(shards: usize) {
    attack_ours(shards, |broker| {
        let auth = |code: u8, block: &[u8]| {
            let mut body = vec![code];
            body.extend(block);
            packet(0xF0, &body)
        };
        // Before CONNECT.
        let mut client = Client::open(broker);
        client.try_send(&auth(0x18, &[0]));
        assert_eq!(client.answer(DEADLINE), Answer::Closed);
        // A method that is not offered.
        let method = [8, 0x15, 0, 5, b'S', b'C', b'R', b'A', b'M'];
        let bytes = connect(CLEAN_START, &method, b"a", b"");
        refused(broker, "SCRAM", &bytes, &[0x8C]);
        // After a CONNECT without one: every code, with a method and without, well formed and not.
        for code in [0x00, 0x18, 0x19, 0x1A, 0xFF] {
            for block in [&[0][..], &method, &[1], &[]] {
                let (mut client, _) = packet5::connected(broker, b"a", b"");
                client.try_send(&auth(code, block));
                let answer = client.answer(DEADLINE);
                assert!(
                    matches!(&answer, Answer::Packet(bytes) if bytes[0] == 0xE0 && MALFORMED.contains(&bytes[2])),
                    "AUTH {code:#04x} {block:02x?}: {answer:02x?}"
                );
                client.expect_close();
            }
        }
        // 3.1.1 knows no AUTH.
        crate::violation(broker, "AUTH", &auth(0x18, &[0]));
    });
}
