//! Users and what is theirs, as far as there are rights: cases 6, 36 to 38, 44 and 45.

use crate::support::packet::{publish, subscribe};
use crate::support::packet5::{self, connected};
use crate::support::{Answer, Broker, Client, Connect, DEADLINE, Folder, Options, reference};
use crate::{attack_ours, attack_with, refused, violation};
use std::net::Ipv4Addr;
use std::process::Command;
use std::time::{Duration, Instant};

crate::on_1_and_2_shards_at_once!(
    case_6_flood_of_wrong_passwords,
    cases_36_and_37_client_id_of_another_user,
    case_38_takeovers_without_end,
    cases_44_and_45_refused_filters,
);

/// A broker with two users whose passwords take so many iterations to check; clients without a user name may connect
/// too.
fn with_users(shards: usize, folder: &Folder, iterations: &str) -> Options {
    let file = folder.path("passwd");
    for (first, user) in [(true, "alice"), (false, "bob")] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mqttfast"));
        command.args(["passwd", "-b", "-I", iterations]);
        if first {
            command.arg("-c");
        }
        let output = command.arg(&file).args([user, "secret"]).output();
        assert!(output.expect("mqttfast passwd").status.success());
    }
    Options {
        shards,
        passwd: Some(file),
        allow_anonymous: true,
        ..Options::default()
    }
}

/// A CONNECT of alice or bob.
fn user<'a>(
    name: &'a str,
    password: &'a str,
    client_id: &'a str,
    clean_session: bool,
) -> Connect<'a> {
    Connect {
        client_id: client_id.as_bytes(),
        clean_session,
        user: Some(name),
        password: Some(password),
        ..Connect::default()
    }
}

fn case_6_flood_of_wrong_passwords(shards: usize) {
    if reference() {
        return;
    }
    let folder = Folder::new();
    // Some milliseconds each; the pair, without a user name, must not notice.
    let options = with_users(shards, &folder, "300");
    attack_with(options, |broker| {
        // From another address: this one has failed often after the first round.
        let mut alice = Client::open_from(broker, Ipv4Addr::new(127, 0, 0, 2));
        alice.send(&user("alice", "secret", "alice", true).bytes());
        alice.expect_packet(&[0x20, 2, 0, 0]);
        let mut clients: Vec<Client> = (0..100).map(|_| Client::open(broker)).collect();
        for (n, client) in clients.iter_mut().enumerate() {
            let name = if n.is_multiple_of(2) {
                "alice"
            } else {
                "nobody"
            };
            client.send(&user(name, "guess", "guesser", true).bytes());
        }
        // Each is told that it is refused, or that there are too many, and closed.
        for client in &mut clients {
            let answer = client.answer(DEADLINE);
            let codes = [3, 5].map(|code| Answer::Packet(vec![0x20, 2, 0, code]));
            assert!(codes.contains(&answer), "{answer:?}");
            client.expect_close();
        }
        // Who has come in before comes in again, from the address of the flood too.
        let (mut alice, _) = Client::connect_with(broker, &user("alice", "secret", "alice", true));
        alice.expect_alive();
    });
}

fn cases_36_and_37_client_id_of_another_user(shards: usize) {
    if reference() {
        return;
    }
    let folder = Folder::new();
    attack_with(with_users(shards, &folder, "100"), |broker| {
        let alices = user("alice", "secret", "lamp", false);
        let (mut alice, _) = Client::connect_with(broker, &alices);
        alice.subscribe("lamp", 1);
        let attempts = |when: &str| {
            for clean_session in [false, true] {
                let bytes = user("bob", "secret", "lamp", clean_session).bytes();
                refused(broker, &format!("bob, {when}"), &bytes, 5);
                let nobody = Connect {
                    client_id: b"lamp",
                    clean_session,
                    ..Connect::default()
                };
                refused(broker, &format!("nobody, {when}"), &nobody.bytes(), 5);
            }
            // 5.0: Not authorized.
            let mut client = Client::open(broker);
            client.send(&packet5::connect(
                packet5::CLEAN_START | 0xC0,
                60,
                b"",
                b"lamp",
                b"\0\x03bob\0\x06secret",
            ));
            let answer = client.packet();
            assert_eq!((answer[0], answer[3]), (0x20, 0x87));
            client.expect_close();
        };
        attempts("while it is there");
        alice.expect_alive();
        drop(alice);
        attempts("while it is away");
        let mut speaker = Client::connect(broker, "speaker");
        speaker.publish("lamp", b"still yours", 1, false);
        let (mut alice, present) = Client::connect_with(broker, &alices);
        assert!(present, "the Session was not touched");
        alice.expect_message("lamp", b"still yours", 1);
        drop(alice);
        // With the end of her Session the name is free again.
        Client::connect_with(broker, &user("alice", "secret", "lamp", true))
            .0
            .disconnect();
        let (bob, present) = Client::connect_with(broker, &user("bob", "secret", "lamp", true));
        assert!(!present);
        bob.disconnect();
    });
    // `--client-id-takeover any` lets everyone.
    let mut options = with_users(shards, &folder, "100");
    options.arguments = ["--client-id-takeover", "any"].map(Into::into).into();
    let broker = Broker::start_with(options);
    let (mut alice, _) = Client::connect_with(&broker, &user("alice", "secret", "lamp", false));
    let (mut bob, present) = Client::connect_with(&broker, &user("bob", "secret", "lamp", false));
    assert!(present);
    alice.expect_close();
    bob.expect_alive();
}

/// One client id is taken over hundreds of times, each with subscriptions under way.
fn case_38_takeovers_without_end(shards: usize) {
    attack_ours(shards, |broker| {
        let lines = broker.log_len();
        let mut last = Vec::new();
        let connect = |n: usize| Connect {
            client_id: b"contested",
            clean_session: n.is_multiple_of(3),
            ..Connect::default()
        };
        for n in 0..300 {
            let mut client = Client::open(broker);
            client.send(&connect(n).bytes());
            let filter = format!("contested/{}", n % 7);
            client.send(&subscribe(
                1,
                &[(filter.as_bytes(), 1), (b"contested/+", 1)],
            ));
            client.send(&publish(b"contested/0", b"x", 1, 7, false));
            last.push(client);
        }
        // All but one are closed, as soon as the broker has had time to.
        let start = Instant::now();
        let mut alive: Vec<&mut Client> = last.iter_mut().collect();
        while alive.len() > 1 && start.elapsed() < DEADLINE {
            alive.retain_mut(|client| {
                loop {
                    match client.answer(Duration::from_millis(50)) {
                        Answer::Packet(_) => {}
                        Answer::Closed => return false,
                        Answer::Silence => return true,
                    }
                }
            });
        }
        let alive = alive.len();
        assert_eq!(alive, 1);
        drop(last);
        Client::connect(broker, "contested").disconnect();
        // The log says so once, and names two addresses.
        let warning = broker.logged_since(lines, &["contested", "again and again"]);
        assert!(warning.matches("127.0.0.1:").count() >= 2, "{warning}");
        let log = broker.log();
        let contested = log[lines..]
            .iter()
            .filter(|line| line.contains(" contested"));
        let count = contested.count();
        assert!(count < 20, "{count} lines of 300 takeovers");
    });
}

/// There are no rights on topics yet; what a filter of a shared subscription must be, and that a filter that was
/// refused delivers nothing, holds without them.
fn cases_44_and_45_refused_filters(shards: usize) {
    attack_ours(shards, |broker| {
        let wrong = [
            &b"$share//x"[..],
            b"$share/g+/x",
            b"$share/g#/x",
            b"$share/+/x",
            b"$share/g",
            b"$share/g/",
            b"$share/",
            b"$share/g/a/#/b",
            b"$share/g/secret#",
        ];
        for filter in wrong {
            violation(
                broker,
                &String::from_utf8_lossy(filter),
                &subscribe(1, &[(filter, 1)]),
            );
        }
        // 5.0 says why.
        let mut speaker = Client::connect(broker, "speaker");
        speaker.publish("secret/x", b"kept", 0, true);
        speaker.expect_alive();
        for filter in wrong {
            let (mut client, _) = connected(broker, b"curious", b"");
            client.send(&packet5::subscribe(1, b"", filter, 1));
            let answer = client.packet();
            assert!(answer[0] == 0xE0 && answer[2] == 0x81, "{answer:02x?}");
            client.expect_close();
        }
        let (mut client, _) = connected(broker, b"curious", b"");
        // These are no Shared Subscriptions, and topics that start with $ are not found by wildcards.
        for filter in [&b"$SHARE/g/secret/#"[..], b"$Share/g/secret/#", b"$share"] {
            client.send(&packet5::subscribe(1, b"", filter, 1));
            assert_eq!(client.packet().last(), Some(&1));
        }
        speaker.publish("secret/x", b"live", 1, false);
        client.expect_alive();
        speaker.publish("secret/x", b"", 0, true);
        speaker.expect_alive();
    });
}
