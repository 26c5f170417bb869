//! The broker process over true sockets: how it starts and refuses to, signals, time-outs, many connections. The
//! protocol itself is tested without sockets, in `tests/conformance`.

use mqttfast_rig::on_1_and_2_shards;
use mqttfast_rig::process as support;

use nix::sys::signal::Signal;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use support::packet::{Will, publish, subscribe};
use support::users::{ALICE, OLD, login};
use support::{Answer, Broker, Client, Connect, DEADLINE, Folder, Level, Options, Tool, reference};

on_1_and_2_shards!(
    sigterm_ends_within_two_seconds,
    signals_meant_for_mosquitto_end_nothing,
    bad_lines_of_a_password_file_are_skipped,
    sigusr1_logs_what_each_shard_holds,
    sighup_reads_the_password_file_again,
    takeover_at_once,
    subscribe_is_answered_before_the_close,
    every_byte_in_a_segment_of_its_own,
    silent_connection_ends_at_the_deadline,
    three_hundred_connections_at_once,
    keep_alive_ends_with_the_will,
    log_names_who_and_why,
);

/// The return code of the CONNACK that this CONNECT gets.
#[track_caller]
fn return_code(broker: &Broker, connect: &Connect<'_>) -> u8 {
    let mut client = Client::open(broker);
    client.send(&connect.bytes());
    let answer = client.packet();
    assert!(
        matches!(answer[..], [0x20, 2, _, _]),
        "CONNACK expected, not {answer:02x?}"
    );
    if answer[3] != 0 {
        client.expect_close();
    }
    answer[3]
}

/// Runs mqttfast to an end it must reach by itself, with a failure, and returns what it said: no panic, no backtrace.
#[track_caller]
fn refuses_to_start(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().expect("run mqttfast");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success(),
        "it ended with success and said: {said}"
    );
    assert!(
        output.status.code().is_some(),
        "it was killed, by {}: {said}",
        output.status
    );
    for word in ["panicked", "backtrace", "RUST_BACKTRACE"] {
        assert!(!said.contains(word), "it said: {said}");
    }
    said
}

/// mqttfast with these arguments, under a watchdog: one that starts after all must not hang the test.
fn mqttfast(arguments: &[&str]) -> Command {
    let mut command = Command::new("timeout");
    command
        .args(["--signal=KILL", "20", env!("CARGO_BIN_EXE_mqttfast")])
        .args(arguments);
    command
}

// Start

#[test]
fn port_in_use() {
    if reference() {
        return;
    }
    let broker = Broker::start(1);
    let port = broker.port().to_string();
    let said = refuses_to_start(&mut mqttfast(&["--port", &port, "--bind", "127.0.0.1"]));
    assert!(said.contains(&port), "{said}");
    assert!(said.contains("in use"), "{said}");
    Client::connect(&broker, "still-served").expect_alive();
}

/// Two ways of being without io_uring: what starts mqttfast, and a part of what mqttfast says.
fn without_io_uring() -> [(Vec<String>, &'static str); 2] {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/without_io_uring.py");
    let launcher = |words: &[&str]| words.iter().map(|word| word.to_string()).collect();
    [
        (
            launcher(&["python3", script]),
            "io_uring is forbidden here, as in Docker's default seccomp profile",
        ),
        (
            launcher(&["sh", "-c", "ulimit -l 64 && exec \"$0\" \"$@\""]),
            "the limit of locked memory (memlock) is 64 KiB and io_uring needs 512 KiB",
        ),
    ]
}

#[test]
fn without_io_uring_it_serves_by_epoll_and_says_why() {
    if reference() {
        return;
    }
    for (launcher, cause) in without_io_uring() {
        for shards in [1, 2] {
            let broker = Broker::start_with(Options {
                shards,
                arguments: vec!["--io".to_owned(), "auto".to_owned()],
                launcher: launcher.clone(),
                ..Options::default()
            });
            broker.logged(&["sockets by epoll, as ", cause]);
            let mut subscriber = Client::connect(&broker, "subscriber");
            subscriber.subscribe("a/+", 1);
            let mut publisher = Client::connect(&broker, "publisher");
            publisher.publish("a/b", b"21.5", 1, false);
            subscriber.expect_message("a/b", b"21.5", 1);
        }
    }
}

#[test]
fn without_io_uring_asked_for_it_refuses_to_start() {
    if reference() {
        return;
    }
    for (launcher, cause) in without_io_uring() {
        let mut command = Command::new("timeout");
        command
            .args(["--signal=KILL", "20"])
            .args(launcher)
            .arg(env!("CARGO_BIN_EXE_mqttfast"))
            .args(["--port", "0", "--bind", "127.0.0.1", "--io", "uring"]);
        let said = refuses_to_start(&mut command);
        assert!(said.contains(cause), "{said}");
        // The reason, and where there is more.
        let lines: Vec<&str> = said.trim_end().lines().collect();
        assert_eq!(lines.len(), 2, "{said}");
        assert!(lines[1].contains("mqttfast doctor"), "{said}");
    }
}

#[test]
fn unreadable_password_files_stop_the_start() {
    if reference() {
        return;
    }
    let folder = Folder::new();
    let missing = folder.path("passwordfile");
    std::fs::write(folder.path("passwd"), ALICE).expect("write a password file");
    let start = |file: &Path| {
        let file = file.to_str().expect("a path in UTF-8");
        refuses_to_start(&mut mqttfast(&[
            "--port",
            "0",
            "--bind",
            "127.0.0.1",
            "--passwd",
            file,
        ]))
    };
    let said = start(&missing);
    assert!(said.contains("passwordfile"), "{said}");
    assert!(
        said.contains("did you mean") && said.contains("/passwd"),
        "the sibling it found: {said}"
    );
}

/// A line that lets nobody in is told and skipped: the others' users come in, and its own user does not, with no
/// password at all, with its text or with what it was cut from.
fn bad_lines_of_a_password_file_are_skipped(shards: usize) {
    let folder = Folder::new();
    let file = folder.path("passwd");
    // Two further lines for alice, one of them her own; the end of her line is cut off in bob's.
    let lines = [
        "bob:$7$101$dJRVb0YElmDAtSWM$LGtg",
        "carl:",
        "dan:secret",
        "  # eve: on holiday",
        "frank",
        "gina:$9$x",
        "alice:secret2",
    ];
    let text = format!("# users\n{ALICE}{}\n{OLD}{ALICE}", lines.join("\n"));
    std::fs::write(&file, text).expect("write a password file");
    let broker = Broker::start_with(Options {
        shards,
        passwd: Some(file),
        ..Options::default()
    });
    assert_eq!(return_code(&broker, &login("a", "alice", "secret")), 0);
    assert_eq!(return_code(&broker, &login("o", "old", "oldpw")), 0);
    for user in ["bob", "carl", "dan", "  # eve", "# eve", "frank", "gina"] {
        for password in [
            Some("secret"),
            Some(""),
            Some("$7$101$dJRVb0YElmDAtSWM$LGtg"),
            None,
        ] {
            let connect = Connect {
                password,
                ..login("x", user, "")
            };
            assert_eq!(return_code(&broker, &connect), 5, "{user} {password:?}");
        }
    }
    if reference() {
        return;
    }
    for line in 3..=9 {
        let line = broker.logged(&["warning ", &format!("passwd:{line} skipped"), "; "]);
        assert!(!line.contains("LGtg") && !line.contains("secret"), "{line}");
    }
    broker.logged(&["warning ", "passwd:11 skipped", "'alice'", "line 2"]);
}

/// Nobody can log in, and that is said.
#[test]
fn a_password_file_without_users_is_told() {
    if reference() {
        return;
    }
    let folder = Folder::new();
    let file = folder.path("passwd");
    std::fs::write(&file, "# nobody yet\n").expect("write a password file");
    let broker = Broker::start_with(Options {
        passwd: Some(file),
        ..Options::default()
    });
    broker.logged(&["warning ", "has no users", "mqttfast passwd ", " USER"]);
    assert_eq!(return_code(&broker, &login("a", "alice", "secret")), 5);
}

#[test]
fn bad_flags_are_named() {
    if reference() {
        return;
    }
    let wrong: [&[&str]; 5] = [
        &["--port", "70000"],
        &["--shards", "0"],
        &["--shards", "65"],
        &["--bind", "not-an-address"],
        &["--io", "magic"],
    ];
    for arguments in wrong {
        let said = refuses_to_start(&mut mqttfast(arguments));
        assert!(
            said.contains(arguments[1]) || said.contains(arguments[0]),
            "{arguments:?}: {said}"
        );
    }
}

/// Fail closed: an address of the network, and nobody said who may connect.
#[test]
fn the_network_is_not_opened_by_mistake() {
    if reference() {
        return;
    }
    for address in ["0.0.0.0", "::", "192.0.2.1"] {
        let said = refuses_to_start(&mut mqttfast(&["--port", "0", "--bind", address]));
        for word in [address, "--passwd", "--allow-anonymous"] {
            assert!(said.contains(word), "{said}");
        }
    }
}

/// Nothing given: loopback alone, and a line that says so and names the flags that open it.
#[test]
fn anonymous_on_loopback_by_default() {
    if reference() {
        return;
    }
    let broker = Broker::start_with(Options {
        no_bind: true,
        ..Options::default()
    });
    Client::connect(&broker, "anybody").expect_alive();
    let log = broker.log().join("\n");
    assert!(
        log.contains("--passwd") && log.contains("--allow-anonymous"),
        "{log}"
    );
    assert!(!log.contains("0.0.0.0"), "{log}");
}

// Signals

fn sigterm_ends_within_two_seconds(shards: usize) {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGPWR] {
        let mut broker = Broker::start(shards);
        let mut clients: Vec<Client> = (0..20)
            .map(|n| Client::connect(&broker, &format!("c{n}")))
            .collect();
        let _silent = Client::open(&broker);
        let (status, took) = broker.end_by(signal);
        assert!(status.success(), "{signal}: {status}");
        assert!(took <= Duration::from_secs(2), "{signal}: {took:?}");
        for client in &mut clients {
            client.expect_close();
        }
    }
}

/// Mosquitto prints its tree (USR2) or opens its log again (RTMIN, 34): here each is a line. So are others that end a
/// process which does not know them.
fn signals_meant_for_mosquitto_end_nothing(shards: usize) {
    if reference() {
        return;
    }
    let mut broker = Broker::start(shards);
    let mut client = Client::connect(&broker, "c");
    for (number, words) in [
        (12, "SIGUSR2 ignored: "),
        (34, "SIGRTMIN ignored: "),
        (64, "SIGRTMIN+30 ignored: "),
        (14, "SIGALRM ignored: "),
        (16, "SIGSTKFLT ignored: "),
        (29, "SIGIO ignored: "),
    ] {
        let mark = broker.log_len();
        // `nix` knows no real-time signals.
        let sent = Command::new("sh")
            .args(["-c", &format!("kill -{number} {}", broker.pid())])
            .status();
        assert!(sent.expect("run sh").success());
        broker.logged_since(mark, &["info ", words]);
    }
    // These say nothing at all: a log at the size limit of its file could not say it.
    for signal in [Signal::SIGPIPE, Signal::SIGXFSZ] {
        broker.signal(signal);
    }
    client.expect_alive();
    assert!(broker.is_running());
}

fn sigusr1_logs_what_each_shard_holds(shards: usize) {
    if reference() {
        return;
    }
    let broker = Broker::start(shards);
    let mut client = Client::connect(&broker, "c");
    client.subscribe("t/+", 1);
    client.publish("kept", b"x", 1, true);
    for _ in 0..2 {
        let mark = broker.log_len();
        broker.signal(Signal::SIGUSR1);
        let lines: Vec<String> = (0..shards)
            .map(|shard| {
                let name = format!("info shard {shard}: ");
                broker.logged_since(mark, &[&name, " 1 retained message, 0 bytes queued"])
            })
            .collect();
        let home = ": 1 connection, 1 session, 1 subscription, ";
        let other = ": 0 connections, 0 sessions, 0 subscriptions, ";
        let count = |part: &str| lines.iter().filter(|line| line.contains(part)).count();
        assert_eq!((count(home), count(other)), (1, shards - 1), "{lines:?}");
        let went_through = "; 1 clients served, 0 refused, 0 probes; 1 messages in, 0 out";
        assert_eq!(count(went_through), 1, "{lines:?}");
    }
    client.expect_alive();
}

fn sighup_reads_the_password_file_again(shards: usize) {
    let folder = Folder::new();
    let file = folder.path("passwd");
    std::fs::write(&file, ALICE).expect("write a password file");
    let broker = Broker::start_with(Options {
        shards,
        passwd: Some(file.clone()),
        ..Options::default()
    });
    let (mut alice, _) = Client::connect_with(&broker, &login("a", "alice", "secret"));
    assert_eq!(return_code(&broker, &login("o", "old", "oldpw")), 5);

    std::fs::write(&file, format!("{ALICE}{OLD}")).expect("write a password file");
    let mark = broker.log_len();
    broker.signal(Signal::SIGHUP);
    broker.logged_since(mark, &[if reference() { "Reloading" } else { "passwd" }]);
    assert_eq!(return_code(&broker, &login("o", "old", "oldpw")), 0);
    if reference() {
        return;
    }

    // A bad line that would shut alice out: the old file stays in force, and the log says why.
    std::fs::write(&file, format!("{OLD}alice:$7$nonsense\n")).expect("write a password file");
    let mark = broker.log_len();
    broker.signal(Signal::SIGHUP);
    let line = broker.logged_since(mark, &["warning ", "passwd:2 skipped"]);
    assert!(
        !line.contains("nonsense"),
        "no part of a hash belongs into the log: {line}"
    );
    broker.logged_since(mark, &["error ", "not reloaded", "'alice'"]);
    assert_eq!(return_code(&broker, &login("o", "old", "oldpw")), 0);
    assert_eq!(return_code(&broker, &login("x", "alice", "secret")), 0);
    assert_eq!(return_code(&broker, &login("y", "alice", "wrong")), 5);

    // So does a file that is gone.
    std::fs::remove_file(&file).expect("remove the password file");
    let mark = broker.log_len();
    broker.signal(Signal::SIGHUP);
    broker.logged_since(mark, &["passwd"]);
    assert_eq!(return_code(&broker, &login("z", "alice", "secret")), 0);
    alice.expect_alive();

    // A Session of hers, without a connection now.
    let lamp = |user, password| Connect {
        clean_session: false,
        ..login("lamp", user, password)
    };
    drop(Client::connect_with(&broker, &lamp("alice", "secret")));
    assert_eq!(return_code(&broker, &lamp("old", "oldpw")), 5);
    broker.logged(&["refused lamp", "user old", "--client-id-takeover any"]);

    // And a user is gone once no line names him, whatever else is wrong with the file.
    std::fs::write(&file, format!("{OLD}bob:plain\n")).expect("write a password file");
    let mark = broker.log_len();
    broker.signal(Signal::SIGHUP);
    broker.logged_since(mark, &["passwd", "read again: 1 user; gone: 'alice'"]);
    assert_eq!(return_code(&broker, &login("z", "alice", "secret")), 5);
    // So are her Sessions, and others may have their client ids.
    broker.logged_since(mark, &["closed a ", "alice is gone"]);
    alice.expect_close();
    assert_eq!(return_code(&broker, &lamp("old", "oldpw")), 0);
}

// Connections

fn takeover_at_once(shards: usize) {
    let broker = Broker::start(shards);
    let mut watcher = Client::connect(&broker, "watcher");
    watcher.subscribe("gone", 0);
    for level in [Level::V31, Level::V311] {
        let connect = Connect {
            level,
            client_id: b"board",
            keep_alive_s: 0,
            will: Some(Will {
                topic: "gone",
                payload: b"board",
                qos: 0,
                retain: false,
            }),
            ..Connect::default()
        };
        let (mut last, _) = Client::connect_with(&broker, &connect);
        for _ in 0..20 {
            let start = Instant::now();
            let (next, _) = Client::connect_with(&broker, &connect);
            last.expect_close_within(Duration::from_secs(1));
            let took = start.elapsed();
            assert!(took < Duration::from_secs(1), "a takeover took {took:?}");
            watcher.expect_message("gone", b"board", 0);
            last = next;
        }
        last.expect_alive();
        last.disconnect();
    }
    watcher.expect_silence(Duration::from_millis(100));
}

/// SUBSCRIBE, and in the same segment what ends the connection. [v3.1.1 MQTT-3.8.4-1]
fn subscribe_is_answered_before_the_close(shards: usize) {
    let broker = Broker::start(shards);
    for number in 0..50 {
        let id = format!("brief-{number}");
        let connect = Connect {
            client_id: id.as_bytes(),
            ..Connect::default()
        };
        for (end, filter) in [
            (&[0xE0, 0][..], &b"t"[..]),
            (&[0xE0, 0], b"$share/g/t"),
            (&[0x00, 0], b"t"),
        ] {
            let mut client = Client::open(&broker);
            let subscribe = subscribe(1, &[(filter, 0)]);
            client.send(&[&connect.bytes()[..], &subscribe, end].concat());
            client.expect_packet(&[0x20, 2, 0, 0]);
            client.expect_packet(&[0x90, 3, 0, 1, 0]);
            client.expect_close();
        }
    }
}

fn every_byte_in_a_segment_of_its_own(shards: usize) {
    let broker = Broker::start(shards);
    let pause = Duration::from_micros(500);
    for level in [Level::V31, Level::V311] {
        let mut client = Client::open(&broker);
        client.dribble(
            &Connect {
                level,
                client_id: b"dribbler",
                ..Connect::default()
            }
            .bytes(),
            pause,
        );
        client.expect_packet(&[0x20, 2, 0, 0]);
        client.dribble(&subscribe(7, &[(b"a/+", 1)]), pause);
        client.expect_packet(&[0x90, 3, 0, 7, 1]);
        client.dribble(&publish(b"a/b", &[b'x'; 200], 1, 8, false), pause);
        let mut seen = [client.packet(), client.packet()];
        seen.sort();
        assert_eq!(seen[1], [0x40, 2, 0, 8]);
        assert_eq!(
            support::Published::read(&seen[0])
                .expect("a PUBLISH")
                .payload,
            [b'x'; 200]
        );

        // And the opposite: all in one segment, without waiting for CONNACK.
        let mut eager = Client::open(&broker);
        let mut bytes = Connect {
            level,
            client_id: b"eager",
            ..Connect::default()
        }
        .bytes();
        bytes.extend(subscribe(1, &[(b"e", 0)]));
        bytes.extend(publish(b"e", b"own", 0, 0, false));
        bytes.extend(support::packet::PINGREQ);
        eager.send(&bytes);
        eager.expect_packet(&[0x20, 2, 0, 0]);
        // A message may come before the SUBACK that waits for the other shards. [v3.1.1 3.8.4]
        let mut answers = [eager.packet(), eager.packet(), eager.packet()];
        answers.sort();
        let message = publish(b"e", b"own", 0, 0, false);
        let wanted = [
            message,
            vec![0x90, 3, 0, 1, 0],
            support::packet::PINGRESP.to_vec(),
        ];
        assert_eq!(answers, wanted);
    }
}

/// A connection that sends nothing is closed at the CONNECT deadline of 10 s, and is no line in the log.
fn silent_connection_ends_at_the_deadline(shards: usize) {
    if reference() {
        return;
    }
    let broker = Broker::start(shards);
    let lines = broker.log_len();
    let start = Instant::now();
    let mut silent = Client::open(&broker);
    // A health check opens and closes.
    drop(Client::open(&broker));
    silent.expect_close_within(Duration::from_secs(13));
    let took = start.elapsed();
    assert!(took >= Duration::from_secs(9), "closed after {took:?}");
    assert_eq!(broker.log()[lines..], [""; 0], "probes are not logged");
}

fn three_hundred_connections_at_once(shards: usize) {
    let broker = Broker::start(shards);
    let mut clients: Vec<Client> = (0..300).map(|_| Client::open(&broker)).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        let id = format!("c{n}");
        client.send(
            &Connect {
                client_id: id.as_bytes(),
                ..Connect::default()
            }
            .bytes(),
        );
    }
    for client in &mut clients {
        client.expect_packet(&[0x20, 2, 0, 0]);
        client.send(&subscribe(1, &[(b"all", 1)]));
    }
    for client in &mut clients {
        client.expect_packet(&[0x90, 3, 0, 1, 1]);
    }
    let mut speaker = Client::connect(&broker, "speaker");
    for n in 0..5 {
        speaker.publish("all", n.to_string().as_bytes(), 1, false);
    }
    for client in &mut clients {
        for n in 0..5 {
            client.expect_message("all", n.to_string().as_bytes(), 1);
        }
    }
    for client in clients {
        client.disconnect();
    }
    speaker.expect_alive();
}

/// Keep Alive 1 s: the broker ends the silence at 1.5 s and publishes the will; its timers have a grain of 1 s.
fn keep_alive_ends_with_the_will(shards: usize) {
    let broker = Broker::start(shards);
    let mut watcher = Client::connect(&broker, "watcher");
    watcher.subscribe("will", 1);
    let connect = Connect {
        client_id: b"sleeper",
        keep_alive_s: 1,
        will: Some(Will {
            topic: "will",
            payload: b"asleep",
            qos: 1,
            retain: false,
        }),
        ..Connect::default()
    };
    let (mut sleeper, _) = Client::connect_with(&broker, &connect);
    // PINGREQ counts as a sign of life.
    for _ in 0..3 {
        std::thread::sleep(Duration::from_millis(700));
        sleeper.expect_alive();
    }
    let start = Instant::now();
    // The reference looks every few seconds only.
    let latest = if reference() {
        Duration::from_secs(8)
    } else {
        Duration::from_millis(2800)
    };
    sleeper.expect_close_within(DEADLINE);
    let took = start.elapsed();
    assert!(
        took >= Duration::from_millis(1450) && took <= latest,
        "closed after {took:?}"
    );
    watcher.expect_message("will", b"asleep", 1);
    let took = start.elapsed();
    assert!(
        took <= latest + Duration::from_millis(500),
        "the will came after {took:?}"
    );
    // Keep Alive 0 promises nothing and is not ended.
    let connect = Connect {
        client_id: b"calm",
        keep_alive_s: 0,
        ..Connect::default()
    };
    let (mut calm, _) = Client::connect_with(&broker, &connect);
    assert_eq!(calm.answer(Duration::from_secs(3)), Answer::Silence);
    calm.expect_alive();
}

// The log

fn log_names_who_and_why(shards: usize) {
    if reference() {
        return;
    }
    let folder = Folder::new();
    let file = folder.path("passwd");
    std::fs::write(&file, ALICE).expect("write a password file");
    let broker = Broker::start_with(Options {
        shards,
        passwd: Some(file),
        ..Options::default()
    });
    let (client, _) = Client::connect_with(&broker, &login("kitchen", "alice", "secret"));
    let address = client.local_address().to_string();
    broker.logged(&["kitchen", "alice", &address]);
    let mark = broker.log_len();
    client.disconnect();
    broker.logged_since(mark, &["kitchen"]);

    for (id, user, password) in [
        ("wrong", "alice", "guess-1"),
        ("unknown", "mallory", "guess-2"),
    ] {
        let mark = broker.log_len();
        assert_eq!(return_code(&broker, &login(id, user, password)), 5);
        let line = broker.logged_since(mark, &[id, user, "127.0.0.1:"]);
        assert!(!line.contains(password), "a password in the log: {line}");
    }
    let mark = broker.log_len();
    assert_eq!(
        return_code(
            &broker,
            &Connect {
                client_id: b"nameless",
                ..Connect::default()
            }
        ),
        5
    );
    broker.logged_since(mark, &["nameless", "127.0.0.1:"]);
}

/// DISCONNECT, the end of the connection and the next CONNECT follow each other at once, the new connection often by
/// way of another shard than its Session's: the broker sees them in this order.
fn who_leaves_and_comes_back_at_once_has_left(shards: usize) {
    let broker = Broker::start(shards);
    for round in 0..500 {
        let client_id = format!("hasty{}", round % 16);
        let connect = |clean_session| Connect {
            client_id: client_id.as_bytes(),
            clean_session,
            ..Connect::default()
        };
        let (mut client, _) = Client::connect_with(&broker, &connect(true));
        // Whoever leaves does not wait for the broker.
        client.send(&[0xE0, 0]);
        drop(client);
        let (client, session_present) = Client::connect_with(&broker, &connect(false));
        assert!(!session_present, "round {round}");
        client.disconnect();
    }
}

on_1_and_2_shards!(who_leaves_and_comes_back_at_once_has_left);

/// The tests' own tools: a program's lines arrive as it prints them.
#[test]
fn tools_report_line_by_line() {
    let mut tool = Tool::start("sh", &["-c", "echo one; read line; echo $line; exit 3"]);
    assert_eq!(tool.line(), "one");
    tool.input("two\n");
    assert_eq!(tool.line(), "two");
    assert_eq!(tool.end().status.code(), Some(3));
}
