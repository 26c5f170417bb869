//! Before CONNECT: cases 1 to 5 and 10.

use crate::support::packet::{publish, subscribe};
use crate::support::{
    Broker, Client, Connect, DEADLINE, Options, raise_descriptor_limit, reference,
};
use crate::{attack, attack_after, attack_ours, closed, violation};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

crate::on_1_and_2_shards_at_once!(
    case_1_first_packet_is_no_connect,
    case_2_announced_length_takes_no_memory,
    case_3_remaining_length_malformed,
    cases_4_and_5_slow_and_silent_connections,
    case_5_silence_costs_no_processor_time,
    case_10_other_protocols,
);

fn case_1_first_packet_is_no_connect(shards: usize) {
    attack(shards, |broker| {
        for first in 0..=255 {
            if first != 0x10 {
                closed(
                    broker,
                    &format!("first byte {first:#04x}"),
                    &[first, 2, 0, 0],
                );
            }
        }
        let subscribe = subscribe(1, &[(b"#", 0)]);
        closed(broker, "SUBSCRIBE", &subscribe);
        closed(
            broker,
            "PUBLISH",
            &publish(b"well/behaved/next", b"forged", 1, 1, true),
        );
        if !reference() {
            // The type is looked at before the length is believed.
            closed(
                broker,
                "PUBLISH of 256 MiB",
                &[0x30, 0xFF, 0xFF, 0xFF, 0x7F],
            );
        }
    });
}

fn case_2_announced_length_takes_no_memory(shards: usize) {
    attack_ours(shards, |broker| {
        // More than a CONNECT may have: the end as soon as its version is there.
        for _ in 0..100 {
            closed(
                broker,
                "CONNECT of 268,435,455 bytes",
                b"\x10\xFF\xFF\xFF\x7F\0\x04MQTT\x04",
            );
        }
        // As much as one may have, and then silence: 300 times 16,000 bytes announced, 14 sent.
        let before = broker.rss_bytes();
        let mut clients: Vec<Client> = (0..300).map(|_| Client::open(broker)).collect();
        for client in &mut clients {
            client.send(b"\x10\x80\x7D\0\x04MQTT\x04\x02\0\x3C\0");
        }
        std::thread::sleep(Duration::from_millis(300));
        let grown = broker.rss_bytes().saturating_sub(before);
        assert!(
            grown <= 300 * 4096,
            "300 unfinished CONNECTs took {} KiB",
            grown / 1024
        );
    });
}

fn case_3_remaining_length_malformed(shards: usize) {
    attack_ours(shards, |broker| {
        closed(
            broker,
            "five bytes of length",
            &[0x10, 0x80, 0x80, 0x80, 0x80, 0x01],
        );
        closed(
            broker,
            "five bytes, all continued",
            &[0x10, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF],
        );
        closed(broker, "zero in three bytes", &[0x10, 0x80, 0x80, 0x00]);
        violation(
            broker,
            "PINGREQ with five bytes of length",
            &[0xC0, 0x80, 0x80, 0x80, 0x80, 0x00],
        );
        violation(
            broker,
            "PINGREQ with zero in two bytes",
            &[0xC0, 0x80, 0x00],
        );
        violation(broker, "PINGREQ with a body", &[0xC0, 1, 0]);
        violation(
            broker,
            "PUBLISH of 256 MiB",
            &[0x30, 0xFF, 0xFF, 0xFF, 0x7F],
        );
    });
}

fn cases_4_and_5_slow_and_silent_connections(shards: usize) {
    if reference() {
        return;
    }
    // A thousand sockets here, a thousand in the broker.
    raise_descriptor_limit(4_096);
    let options = Options {
        shards,
        ..Options::default()
    };
    attack_after(
        options,
        |broker| drop((silent_clients(broker), slow_clients(broker))),
        slow_and_silent,
    );
}

fn silent_clients(broker: &Broker) -> Vec<Client> {
    (0..1000).map(|_| Client::open(broker)).collect()
}

fn slow_clients(broker: &Broker) -> Vec<Client> {
    (0..3).map(|_| Client::open(broker)).collect()
}

fn slow_and_silent(broker: &Broker) {
    let lines = broker.log_len();
    let start = Instant::now();
    let mut silent = silent_clients(broker);
    let opened = start.elapsed();
    let mut slow = slow_clients(broker);
    let connect = Connect {
        client_id: b"a-slow-client-id",
        ..Connect::default()
    }
    .bytes();

    for byte in &connect {
        if start.elapsed() >= Duration::from_secs(9) {
            break;
        }
        for client in &mut slow {
            client.send(&[*byte]);
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    // All are ended at the deadline of 10 s, as soon as the machine lets the broker.
    for client in silent.iter_mut().chain(&mut slow) {
        client.expect_close();
        assert!(
            start.elapsed() >= Duration::from_secs(9),
            "closed after {:?}",
            start.elapsed()
        );
    }
    let took = start.elapsed() - opened;
    assert!(took < 2 * Duration::from_secs(10), "closed after {took:?}");
    // Those that sent nothing are counted, not logged.
    let log = broker.log();
    let ports: Vec<String> = silent
        .iter()
        .map(|client| format!(":{}", client.local_address().port()))
        .collect();
    let logged = log[lines..]
        .iter()
        .filter(|line| ports.iter().any(|port| line.contains(port)))
        .count();
    assert!(
        logged <= 5,
        "{logged} lines for connections that sent nothing"
    );
}

/// Nobody else is served meanwhile, so all processor time is theirs.
fn case_5_silence_costs_no_processor_time(shards: usize) {
    if reference() {
        return;
    }
    // A thousand sockets here, a thousand in the broker.
    raise_descriptor_limit(4_096);
    let broker = Broker::start(shards);
    let _silent = silent_clients(&broker);
    Client::connect(&broker, "after-them").disconnect();
    let before = broker.cpu();
    std::thread::sleep(Duration::from_secs(2));
    let used = broker.cpu() - before;
    assert!(
        used <= Duration::from_millis(60),
        "1,000 silent connections use {used:?} of 2 s"
    );
}

fn case_10_other_protocols(shards: usize) {
    attack(shards, |broker| {
        // Each is named in the log, with what to do. HTTP alone has an answer that helps.
        for (bytes, answered, line) in [
            (
                &b"GET / HTTP/1.1\r\nHost: broker\r\n\r\n"[..],
                true,
                "an HTTP request",
            ),
            (
                b"POST /mqtt HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n",
                true,
                "an HTTP request",
            ),
            (
                b"GET /mqtt HTTP/1.1\r\nHost: broker\r\nupgrade: WebSocket\r\nConnection: Upgrade\r\n\r\n",
                true,
                "must connect to a WebSocket listener",
            ),
            (b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n", false, "SSH"),
            (
                b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03aaaaaaaaaaaaaaaa",
                false,
                "must connect to a TLS listener",
            ),
            (
                b"PROXY TCP4 192.0.2.1 192.0.2.2 5 1883\r\n",
                false,
                "PROXY protocol",
            ),
            (
                b"\r\n\r\n\0\r\nQUIT\n!\x11\0\x0c",
                false,
                "PROXY protocol",
            ),
        ] {
            let mark = broker.log_len();
            let mut stream = TcpStream::connect(broker.address()).unwrap();
            let address = stream.local_addr().unwrap().to_string();
            stream.write_all(bytes).unwrap();
            let mut answer = String::new();
            stream.set_read_timeout(Some(DEADLINE)).unwrap();
            let end = stream.read_to_string(&mut answer);
            if reference() {
                continue; // It may reset the connection.
            }
            end.unwrap();
            if answered {
                assert!(answer.starts_with("HTTP/1.1 400 "), "{answer:?}");
            } else {
                assert_eq!(answer, "");
            }
            broker.logged_since(mark, &[&address, line]);
        }
        closed(broker, "SMB", b"\0\0\0\x85\xffSMBr\0\0\0\0");
        closed(
            broker,
            "noise",
            &(0u8..=255).rev().cycle().take(10_000).collect::<Vec<u8>>(),
        );
    });
}
