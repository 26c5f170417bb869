//! Where the log goes, what it holds and how its lines look: in the words that people search for.

use crate::{ALICE, OPEN, anonymous, login};
use mqttfast_rig::on_1_and_2_shards;
use mqttfast_rig::process::{Broker, Client, DEADLINE, Folder, reference};
use nix::sys::signal::Signal;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

on_1_and_2_shards!(
    the_log_goes_where_it_is_sent,
    lines_have_mosquittos_words,
    clients_hear_the_log_by_its_topics
);

/// Waits for a line of this file with all of `parts`.
#[track_caller]
fn written(path: &Path, parts: &[&str]) -> String {
    let start = Instant::now();
    loop {
        let text = fs::read_to_string(path).unwrap_or_default();
        let found = text
            .lines()
            .find(|line| parts.iter().all(|part| line.contains(part)));
        if let Some(line) = found {
            return line.to_owned();
        }
        assert!(
            start.elapsed() < DEADLINE,
            "no line with {parts:?} in:\n{text}"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// `log_dest file`, opened again at SIGHUP: the old one has been moved away.
fn the_log_goes_where_it_is_sent(shards: usize) {
    let text = format!("{OPEN}log_dest file {{folder}}/log\nlog_dest stderr\nlog_type all\n");
    let broker = Broker::configured(shards, &text);
    let (log, moved) = (broker.file("log"), broker.file("log.1"));
    Client::connect(&broker, "before").disconnect();
    written(
        &log,
        &["New client connected from 127.0.0.1:", " as before ("],
    );
    broker.logged(&["New client connected from 127.0.0.1:", " as before ("]);
    fs::rename(&log, &moved).expect("the log is there");
    broker.signal(Signal::SIGHUP);
    let start = Instant::now();
    while !log.exists() {
        assert!(start.elapsed() < DEADLINE, "no new log file");
        std::thread::sleep(Duration::from_millis(5));
    }
    Client::connect(&broker, "after").disconnect();
    written(&log, &["New client connected", " as after ("]);
    let old = fs::read_to_string(&moved).expect("the old log");
    assert!(!old.contains("after"), "{old}");
}

/// Each as Mosquitto 2.0.11 writes it, from the words on that do not change.
fn lines_have_mosquittos_words(shards: usize) {
    let folder = Folder::new();
    fs::write(folder.path("passwd"), ALICE).expect("a password file");
    let passwd = folder.path("passwd").display().to_string();
    let text = format!("{OPEN}password_file {passwd}\nlog_type all\nlog_dest stderr\n");
    let broker = Broker::configured(shards, &text);
    Client::connect(&broker, "gone").disconnect();
    broker.logged(&[
        "New client connected from 127.0.0.1:",
        " as gone (p2, c1, k60).",
    ]);
    broker.logged(&["Client gone disconnected."]);
    let port = format!(" on port {}.", broker.port());
    broker.logged(&["New connection from 127.0.0.1:", &port]);
    let (mut alice, _) = Client::connect_with(&broker, &login("hers", "alice", "secret"));
    broker.logged(&[
        "New client connected from 127.0.0.1:",
        " as hers (p2, c1, k60, u'alice').",
    ]);
    alice.subscribe("house/#", 1);
    broker.logged(&["hers 1 house/#"]);
    drop(alice);
    broker.logged(&["Client hers closed its connection."]);
    let mut refused = Client::open(&broker);
    refused.send(&login("wrong", "alice", "x").bytes());
    refused.expect_packet(&[0x20, 2, 0, 5]);
    // 2.0.11 says "<unknown>", later ones the client id.
    broker.logged(&["Client ", " disconnected, not authorised"]);
    let _first = Client::connect(&broker, "twice");
    let _second = Client::connect(&broker, "twice");
    broker.logged(&["Client twice already connected, closing old connection."]);
    let mut malformed = Client::connect(&broker, "bad");
    malformed.send(&[0x36, 5, 0, 1, b'a', 0, 7]);
    malformed.expect_close();
    broker.logged(&["Client bad disconnected due to malformed packet"]);
}

/// `log_dest topic`
fn clients_hear_the_log_by_its_topics(shards: usize) {
    let broker = Broker::configured(shards, &format!("{OPEN}log_dest topic\nlog_type all\n"));
    let mut ear = Client::connect(&broker, "ear");
    ear.subscribe("$SYS/broker/log/N", 0);
    ear.subscribe("$SYS/broker/log/M/subscribe", 0);
    let mut other = Client::connect(&broker, "other");
    other.subscribe("a/b", 1);
    let (mut came, mut subscribed) = (false, false);
    while !came || !subscribed {
        let heard = ear.receive();
        assert!(!heard.retain);
        let text = String::from_utf8(heard.payload).expect("UTF-8");
        match heard.topic.as_str() {
            "$SYS/broker/log/N" => {
                came |= text.contains("New client connected") && text.contains(" as other (")
            }
            // Mosquitto puts its time before it.
            "$SYS/broker/log/M/subscribe" => subscribed |= text.ends_with("other 1 a/b"),
            topic => panic!("{topic:?}"),
        }
    }
}

#[test]
fn nobody_is_told_where_connections_are_not() {
    let broker = Broker::configured(
        1,
        &format!("{OPEN}connection_messages false\nlog_type all\n"),
    );
    let mut client = Client::connect(&broker, "hidden");
    client.subscribe("told", 0);
    client.disconnect();
    Client::connect(&broker, "hidden-too").expect_alive();
    broker.logged(&["hidden 0 told"]);
    let log = broker.log().join("\n");
    assert!(
        !log.contains("New client connected") && !log.contains("disconnected"),
        "{log}"
    );
}

#[test]
fn types_that_are_not_wanted_are_left_out() {
    let broker = Broker::configured(1, &format!("{OPEN}log_type subscribe\nlog_type error\n"));
    Client::connect(&broker, "c").subscribe("told", 0);
    broker.logged(&["c 0 told"]);
    let log = broker.log().join("\n");
    assert!(
        !log.contains("New client connected") && !log.contains("running"),
        "{log}"
    );
}

#[test]
fn lines_have_the_time_that_is_wanted() {
    for (lines, fits) in [
        (
            "log_timestamp false\n",
            (|line| line.starts_with("New client")) as fn(&str) -> bool,
        ),
        ("log_timestamp_format %Y-%m-%dT%H:%M:%S,000\n", |line| {
            let (time, rest) = line.split_at(23);
            time.as_bytes()[10] == b'T' && time.ends_with(",000") && rest.starts_with(": New")
        }),
        ("", |line| {
            line.split_once(": New client")
                .is_some_and(|(time, _)| time.len() >= 10)
        }),
    ] {
        let broker = Broker::configured(1, &format!("{OPEN}{lines}"));
        Client::connect_with(&broker, &anonymous("c"));
        let line = broker.logged(&["New client connected", " as c ("]);
        assert!(fits(&line), "{lines}: {line}");
    }
}

/// A log that cannot be written does not stop the broker, and is told.
#[test]
fn a_log_that_cannot_be_written_is_told() {
    let broker = Broker::configured(1, &format!("{OPEN}log_dest file /no/such/folder/log\n"));
    Client::connect(&broker, "c").expect_alive();
    if !reference() {
        broker.logged(&["the log file /no/such/folder/log cannot be opened"]);
    }
}
