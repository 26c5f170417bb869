//! SIGHUP: the configuration, the users and the rules are read again, all of them or none.

use crate::{ALICE, OLD, OPEN, anonymous, code, login};
use mqttfast_rig::on_1_and_2_shards;
use mqttfast_rig::process::packet::Connect;
use mqttfast_rig::process::packet5;
use mqttfast_rig::process::{Answer, Broker, Client, DEADLINE, Folder, free_port, reference};
use nix::sys::signal::Signal;
use std::time::Duration;

on_1_and_2_shards!(
    limits_and_doors_change,
    a_fault_anywhere_leaves_everything_as_it_was,
    who_has_no_login_is_sent_away_where_one_is_needed,
);

/// Waits until what was read is in force; answers the line of the log.
fn reloaded(broker: &Broker, parts: &[&str]) -> String {
    let mark = broker.log_len();
    broker.signal(Signal::SIGHUP);
    if reference() {
        broker.logged_since(mark, &["Reloading config"]);
        // It says so before it does.
        std::thread::sleep(Duration::from_millis(200));
        return String::new();
    }
    broker.logged_since(mark, parts)
}

fn limits_and_doors_change(shards: usize) {
    let folder = Folder::new();
    std::fs::write(folder.path("passwd"), format!("{ALICE}{OLD}")).expect("a password file");
    let passwd = format!("password_file {}\n", folder.path("passwd").display());
    let broker = Broker::configured(shards, &format!("{OPEN}message_size_limit 10\n"));
    let mut ear = Client::connect(&broker, "ear");
    ear.subscribe("#", 1);
    let mut mouth = Client::connect(&broker, "mouth");
    mouth.publish("t/1", &[b'x'; 20], 1, false);
    broker.rewrite(&format!("{OPEN}message_size_limit 30\n"));
    reloaded(&broker, &["read again"]);
    // The same connections.
    mouth.publish("t/2", &[b'x'; 20], 1, false);
    ear.expect_message("t/2", &[b'x'; 20], 1);
    // Users come, and go.
    broker.rewrite(&format!("{OPEN}{passwd}"));
    reloaded(&broker, &["2 users"]);
    assert_eq!(code(&broker, &login("a", "alice", "secret")), Some(0));
    assert_eq!(code(&broker, &login("a", "alice", "wrong")), Some(5));
    let (mut old, _) = Client::connect_with(&broker, &login("o", "old", "oldpw"));
    std::fs::write(folder.path("passwd"), ALICE).expect("a password file");
    reloaded(&broker, &["gone: 'old'"]);
    old.expect_end();
    assert_eq!(code(&broker, &login("o", "old", "oldpw")), Some(5));
    assert_eq!(code(&broker, &anonymous("n")), Some(0));
}

/// A line of the configuration, of the ACL file, of the listeners; a password file that is missing.
fn a_fault_anywhere_leaves_everything_as_it_was(shards: usize) {
    if reference() {
        return; // 2.0 opens everything at a bad ACL file.
    }
    let folder = Folder::new();
    let path = |name: &str| folder.path(name).display().to_string();
    std::fs::write(folder.path("passwd"), ALICE).expect("a password file");
    std::fs::write(folder.path("acl"), "user alice\ntopic readwrite a/#\n").expect("an ACL file");
    std::fs::write(folder.path("bad-acl"), "user alice\ntopic reed a\n").expect("an ACL file");
    let listener = "listener {port} 127.0.0.1\n";
    let good = format!(
        "{listener}password_file {}\nacl_file {}\n",
        path("passwd"),
        path("acl")
    );
    let broker = Broker::configured(shards, &good);
    let spare = free_port();
    let opened = "allow_anonymous true\n";
    for (text, words) in [
        (
            format!("{opened}{good}max_qos 7\n"),
            vec!["mosquitto.conf:5: `max_qos` is 0 to 2"],
        ),
        (
            format!("{opened}{good}no_such_option 1\n"),
            vec!["mosquitto.conf:5: `no_such_option`"],
        ),
        (
            format!("{opened}{listener}password_file {}\n", path("none")),
            vec!["mosquitto.conf:3: ", "none does not exist"],
        ),
        (
            format!("{opened}{listener}acl_file {}\n", path("bad-acl")),
            vec!["bad-acl:2: ", "an ACL file is at fault"],
        ),
        (
            format!("{opened}{good}listener {spare}\n"),
            vec!["mosquitto.conf:5: there are 2 listeners and there were 1"],
        ),
        (
            format!("{opened}listener {spare} 127.0.0.1\n"),
            vec!["mosquitto.conf:2: this listener is not the one"],
        ),
        (
            format!("{opened}{good}protocol websockets\n"),
            vec!["mosquitto.conf:2: this listener is not the one"],
        ),
        (
            format!("{opened}{good}enable_proxy_protocol 1\n"),
            vec!["mosquitto.conf:2: this listener is not the one"],
        ),
        (
            format!("{opened}{listener}certfile /x\nkeyfile /x\n"),
            vec!["mosquitto.conf:3: "],
        ),
    ] {
        broker.rewrite(&text);
        let mark = broker.log_len();
        reloaded(&broker, &["Error: ", "nothing reloaded"]);
        let log = broker.log()[mark..].join("\n");
        for word in words {
            assert!(log.contains(word), "{word}: {log}");
        }
        assert_eq!(code(&broker, &anonymous("n")), Some(5), "{text}");
        assert_eq!(
            code(&broker, &login("a", "alice", "secret")),
            Some(0),
            "{text}"
        );
    }
    std::fs::remove_file(folder.path("mosquitto.conf")).ok();
    std::fs::remove_file(broker.file("mosquitto.conf")).expect("it is there");
    reloaded(&broker, &["Error: ", "nothing reloaded"]);
    assert_eq!(code(&broker, &login("a", "alice", "secret")), Some(0));
}

/// As Mosquitto does.
fn who_has_no_login_is_sent_away_where_one_is_needed(shards: usize) {
    let folder = Folder::new();
    std::fs::write(folder.path("passwd"), ALICE).expect("a password file");
    let passwd = format!("password_file {}\n", folder.path("passwd").display());
    let broker = Broker::configured(shards, &format!("{OPEN}{passwd}"));
    let mut nobody = Client::connect(&broker, "nobody");
    let (mut five, _) = packet5::connected(&broker, b"five", b"");
    let (mut alice, _) = Client::connect_with(&broker, &login("hers", "alice", "secret"));
    broker.rewrite(&format!(
        "listener {{port}} 127.0.0.1\nallow_anonymous false\n{passwd}"
    ));
    reloaded(&broker, &["read again"]);
    nobody.expect_end();
    match five.answer(DEADLINE) {
        Answer::Packet(packet) => assert_eq!((packet[0], packet[2]), (0xE0, 0x87)),
        other => assert!(reference(), "{other:?}"),
    }
    alice.expect_alive();
    if !reference() {
        broker.logged(&[
            "Client nobody disconnected, not authorised",
            "it came without a login",
        ]);
    }
}

#[test]
fn what_cannot_change_while_running_is_named() {
    if reference() {
        return;
    }
    let broker = Broker::configured(1, &format!("{OPEN}user root\n"));
    broker.rewrite(&format!(
        "{OPEN}user nobody\npid_file {{folder}}/pid\nmemory_limit 100M\n"
    ));
    let mark = broker.log_len();
    reloaded(&broker, &["read again"]);
    for option in ["user", "pid_file", "memory_limit"] {
        broker.logged_since(
            mark,
            &["Warning: ", &format!("`{option}` was changed"), "restart"],
        );
    }
    let alive = Connect {
        client_id: b"alive",
        ..Connect::default()
    };
    assert_eq!(code(&broker, &alive), Some(0));
}

/// A line above it was added; nothing that the process has for good was changed.
#[test]
fn a_line_that_has_only_moved_is_not_told_as_changed() {
    if reference() {
        return;
    }
    let text = format!("{OPEN}user root\npid_file {{folder}}/pid\nlog_type all\n");
    let broker = Broker::configured(1, &text);
    broker.rewrite(&format!("# a comment\n\n{text}"));
    let mark = broker.log_len();
    reloaded(&broker, &["read again"]);
    let log = broker.log()[mark..].join("\n");
    assert!(!log.contains("was changed"), "{log}");
}
