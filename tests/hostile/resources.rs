//! What a peer can hold on to: memory, sockets, time. Cases 55 and 57, and more connections than the broker takes.

use crate::support::packet::{Will, publish, subscribe};
use crate::support::{Answer, Broker, Client, Connect, DEADLINE, Options};
use crate::{attack_ours, attack_with};
use std::time::Duration;

crate::on_1_and_2_shards_at_once!(
    case_55_subscribers_that_never_read,
    case_57_resets_in_every_state,
    case_57_connect_and_close_without_end,
    case_58_more_connections_than_there_is_room_for,
);

/// What one client may have queued in case 55.
const QUEUED_BYTES_MAX: usize = 1024 * 1024;

fn case_55_subscribers_that_never_read(shards: usize) {
    let options = Options {
        shards,
        arguments: ["--max-queued-bytes", "1M"].map(Into::into).into(),
        ..Options::default()
    };
    if crate::support::reference() {
        return;
    }
    attack_with(options, |broker| {
        let before = broker.rss_bytes();
        let mut deaf: Vec<Client> = (0..4)
            .map(|n| {
                let mut client = Client::connect(broker, &format!("deaf-{n}"));
                client.subscribe("deaf", (n % 3) as u8);
                client
            })
            .collect();
        let mut speaker = Client::connect(broker, "speaker");
        // 24 MiB for each: QoS 0, then QoS 1.
        let count: u16 = 1500;
        for qos in [0, 1] {
            for id in 1..=count {
                speaker.send(&publish(b"deaf", &[b'x'; 8192], qos, id, false));
            }
            if qos == 1 {
                for _ in 0..count {
                    assert_eq!(speaker.packet()[0], 0x40, "all are acknowledged");
                }
            }
            speaker.expect_alive();
        }
        // At once in the first round, then once a minute.
        broker.logged(&["drops messages"]);
        // Outbox, queue and what is on its way, of each; twice for the allocator.
        let most = 2 * deaf.len() * (4 * 1024 * 1024 + QUEUED_BYTES_MAX);
        let grown = broker.rss_bytes().saturating_sub(before);
        assert!(grown <= most as u64, "{} KiB", grown / 1024);
        // They can still be served: the first messages, in order, and the connection lives.
        for client in &mut deaf {
            assert_eq!(client.packet()[0] >> 4, 3);
        }
    });
}

/// Ends a connection by RST.
fn reset(client: Client) {
    let stream = client.stream();
    let linger = nix::libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    nix::sys::socket::setsockopt(&stream, nix::sys::socket::sockopt::Linger, &linger)
        .expect("SO_LINGER");
    drop(client);
    drop(stream);
}

fn case_57_resets_in_every_state(shards: usize) {
    attack_ours(shards, |broker| {
        let mut watcher = Client::connect(broker, "watcher");
        watcher.subscribe("reset/will", 1);
        let connect = Connect {
            client_id: b"reset",
            will: Some(Will {
                topic: "reset/will",
                payload: b"lost",
                qos: 1,
                retain: false,
            }),
            ..Connect::default()
        };
        for _ in 0..10 {
            // Before and within CONNECT, and right behind it.
            reset(Client::open(broker));
            let mut client = Client::open(broker);
            client.send(&connect.bytes()[..9]);
            reset(client);
            let mut client = Client::open(broker);
            client.send(&connect.bytes());
            reset(client);
            // Its CONNECT may or may not have been seen; this one is.
            let (mut client, _) = Client::connect_with(broker, &connect);
            // Within a packet.
            client.send(&publish(b"reset", &[b'x'; 1000], 1, 1, false)[..500]);
            reset(client);
            // With a window of messages on their way, and more than the socket takes.
            let (mut client, _) = Client::connect_with(broker, &connect);
            client.subscribe("reset/+", 2);
            for id in 1..=100 {
                client.send(&publish(b"reset/me", &[b'x'; 10_000], 2, id, false));
            }
            assert!(!matches!(client.answer(DEADLINE), Answer::Closed));
            reset(client);
            // During a takeover.
            let first = Client::connect_with(broker, &connect).0;
            let mut second = Client::open(broker);
            second.send(&connect.bytes());
            reset(first);
            reset(second);
        }
        Client::connect(broker, "reset").disconnect();
        // At least the wills of those that were accepted have come.
        for _ in 0..30 {
            watcher.expect_message("reset/will", b"lost", 1);
        }
        while let Answer::Packet(_) = watcher.answer(Duration::from_millis(100)) {}
    });
}

/// Connections of one round of case 57.
const CONNECTIONS: usize = 2000;

fn case_57_connect_and_close_without_end(shards: usize) {
    attack_ours(shards, |broker| {
        for n in 0..CONNECTIONS {
            let mut client = Client::open(broker);
            match n % 4 {
                0 => {}
                1 => client.send(&[0x10]),
                2 => client.send(&Connect::default().bytes()),
                _ => {
                    client.send(&Connect::default().bytes());
                    client.send(&subscribe(1, &[(b"a/#", 1)]));
                }
            }
            // Without TIME-WAIT: the ports of this machine are few.
            reset(client);
        }
    });
}

fn case_58_more_connections_than_there_is_room_for(shards: usize) {
    let options = Options {
        shards,
        arguments: ["--max-connections", "100"].map(Into::into).into(),
        ..Options::default()
    };
    if crate::support::reference() {
        return;
    }
    attack_with(options, |broker| {
        let mut clients: Vec<Client> = (0..300).map(|_| Client::open(broker)).collect();
        let mut accepted = 0;
        for (n, client) in clients.iter_mut().enumerate() {
            let client_id = format!("crowd-{n}");
            let connect = Connect {
                client_id: client_id.as_bytes(),
                ..Connect::default()
            };
            client.try_send(&connect.bytes());
            match client.answer(DEADLINE) {
                Answer::Packet(answer) if answer == [0x20, 2, 0, 0] => accepted += 1,
                Answer::Packet(answer) => assert_eq!(answer, [0x20, 2, 0, 3], "server unavailable"),
                Answer::Closed => {}
                Answer::Silence => panic!("no answer"),
            }
        }
        // The well-behaved four are among the hundred.
        assert_eq!(accepted, 96);
        drop(clients);
        until_served(broker);
    });
}

/// There is room again.
fn until_served(broker: &Broker) {
    let end = std::time::Instant::now() + DEADLINE;
    loop {
        let mut client = Client::open(broker);
        client.try_send(&Connect::default().bytes());
        if client.answer(DEADLINE) == Answer::Packet(vec![0x20, 2, 0, 0]) {
            return client.disconnect();
        }
        assert!(std::time::Instant::now() < end, "no room");
        std::thread::sleep(Duration::from_millis(20));
    }
}
