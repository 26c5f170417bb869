//! The store of a broker as an operator meets it: where it is, who has it, what a start says, what stops it.

use mqttfast_rig::process as support;

#[path = "persistence/disk.rs"]
mod disk;
#[path = "persistence/tool.rs"]
mod tool;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use support::{Broker, Client, Connect, Folder, Options};

fn on(store: &Path) -> Options {
    on_with(store, [])
}

fn on_with<const N: usize>(store: &Path, more: [&str; N]) -> Options {
    let directory = ["--store-dir", store.to_str().expect("UTF-8")];
    Options {
        arguments: directory
            .iter()
            .chain(&more)
            .map(|text| text.to_string())
            .collect(),
        ..Options::default()
    }
}

/// What a broker says that does not start.
fn refused(store: &Path) -> String {
    let output = Command::new("timeout")
        .args(["--signal=KILL", "20", env!("CARGO_BIN_EXE_mqttfast")])
        .args(["--port", "0", "--bind", "127.0.0.1", "--store-dir"])
        .arg(store)
        .stdin(Stdio::null())
        .output()
        .expect("mqttfast was not started");
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(1), "{said}");
    said
}

/// CONNECT of a Session that is stored.
fn session(client_id: &str) -> Connect<'_> {
    Connect {
        client_id: client_id.as_bytes(),
        clean_session: false,
        ..Connect::default()
    }
}

/// A store of what [`fill`] does, whose broker has ended in an orderly way.
fn stopped(folder: &Folder) -> PathBuf {
    let store = folder.path("store");
    let mut broker = Broker::start_with(on(&store));
    fill(&broker);
    assert!(broker.end_by(nix::sys::signal::Signal::SIGTERM).0.success());
    store
}

/// A Session `kept` with a subscription and a queued message, and a retained message.
fn fill(broker: &Broker) {
    let (mut client, _) = Client::connect_with(broker, &session("kept"));
    client.subscribe("t/#", 1);
    client.disconnect();
    let mut client = Client::connect(broker, "publisher");
    client.publish("t/queued", b"one", 1, false);
    client.publish("retained", b"two", 1, true);
    client.publish("retained/lazy", b"three", 0, true);
    client.expect_alive();
    client.disconnect();
}

fn has_all(broker: &Broker) {
    let (mut client, present) = Client::connect_with(broker, &session("kept"));
    assert!(present);
    client.expect_message("t/queued", b"one", 1);
    client.disconnect();
    let mut client = Client::connect(broker, "reader");
    client.subscribe("retained", 1);
    assert_eq!(client.receive().payload, b"two");
    client.subscribe("retained/lazy", 0);
    assert_eq!(client.receive().payload, b"three");
    client.disconnect();
}

#[test]
fn an_orderly_stop_keeps_all_and_leaves_no_journal() {
    if support::reference() {
        return;
    }
    for durability in ["strict", "batched", "lazy"] {
        let folder = Folder::new();
        let store = folder.path("store");
        let options = on_with(&store, ["--durability", durability]);
        let mut broker = Broker::start_with(options.clone());
        broker.logged(&["store: ", "new: 0 retained, 0 sessions, 0 queued"]);
        fill(&broker);
        let (status, _) = broker.end_by(nix::sys::signal::Signal::SIGTERM);
        assert!(status.success());
        let mut left: Vec<_> = fs::read_dir(&store).expect("the store").flatten().collect();
        left.retain(|entry| entry.file_name().to_string_lossy().ends_with(".journal"));
        assert!(left.is_empty(), "{left:?}");
        let mode = fs::metadata(store.join("mqttfast.db"))
            .expect("the file")
            .permissions();
        assert_eq!(mode.mode() & 0o077, 0, "for its user alone");
        let broker = Broker::start_with(options);
        broker.logged(&[
            "store: ",
            "after an orderly stop: 2 retained, 1 sessions, 1 queued",
        ]);
        has_all(&broker);
    }
}

/// Retained messages of QoS 0 too, which nobody has acknowledged.
#[test]
fn a_crash_keeps_what_no_commit_has_seen() {
    if support::reference() {
        return;
    }
    let folder = Folder::new();
    let store = folder.path("store");
    let options = on_with(&store, ["--store-window", "10000"]);
    let broker = Broker::start_with(options.clone());
    fill(&broker);
    drop(broker);
    let broker = Broker::start_with(options);
    broker.logged(&["after a crash, with its journals: 2 retained, 1 sessions, 1 queued"]);
    has_all(&broker);
}

#[test]
fn sigusr1_commits() {
    if support::reference() {
        return;
    }
    let folder = Folder::new();
    let store = folder.path("store");
    let options = on_with(&store, ["--store-window", "10000"]);
    let broker = Broker::start_with(options.clone());
    fill(&broker);
    broker.signal(nix::sys::signal::Signal::SIGUSR1);
    let end = std::time::Instant::now() + support::DEADLINE;
    // The journals lie in the folder that this machine has for them, or in the store; the file alone must do.
    let copy = folder.path("copy");
    loop {
        let _ = fs::remove_dir_all(&copy);
        fs::create_dir(&copy).expect("a folder");
        for name in ["mqttfast.db", "mqttfast.db-wal"] {
            fs::copy(store.join(name), copy.join(name)).expect("a copy");
        }
        let second = Broker::start_with(on(&copy));
        let line = second.logged(&["store: ", " retained, "]);
        if line.contains("2 retained, 1 sessions, 1 queued") {
            return has_all(&second);
        }
        assert!(std::time::Instant::now() < end, "{line}");
    }
}

#[test]
fn a_second_broker_is_refused_and_told_who_has_the_store() {
    if support::reference() {
        return;
    }
    let folder = Folder::new();
    let store = folder.path("store");
    let broker = Broker::start_with(on(&store));
    let said = refused(&store);
    assert!(said.contains("is in use by process "), "{said}");
    assert!(said.contains(&broker.pid().to_string()), "{said}");
    fill(&broker);
}

#[test]
fn a_directory_that_cannot_be_written_stops_the_start() {
    if support::reference() {
        return;
    }
    let folder = Folder::new();
    let file = folder.path("file");
    fs::write(&file, "").expect("a file");
    for store in [file.clone(), file.join("below")] {
        let said = refused(&store);
        assert!(said.contains(store.to_str().expect("UTF-8")), "{said}");
        assert!(said.contains("--store-dir"), "{said}");
    }
}

#[test]
fn without_persistence_no_file_is_made() {
    if support::reference() {
        return;
    }
    let folder = Folder::new();
    let store = folder.path("store");
    let broker = Broker::start_with(on_with(&store, ["--persistence", "off"]));
    fill(&broker);
    assert!(!store.exists());
    assert!(broker.log().iter().all(|line| !line.contains("store: ")));
    // A port of the system's choice has no store by itself.
    let broker = Broker::start_with(Options::default());
    broker.logged(&["store: none, as the port is chosen by the system"]);
}

#[test]
fn a_file_of_a_later_broker_is_left_alone() {
    if support::reference() {
        return;
    }
    let folder = Folder::new();
    let store = stopped(&folder);
    let path = store.join("mqttfast.db");
    let mut bytes = fs::read(&path).expect("the file");
    // `user_version` in the header of the file. [SQLite, "Database File Format", 1.3]
    bytes[60..64].copy_from_slice(&99_u32.to_be_bytes());
    fs::write(&path, &bytes).expect("written");
    let said = refused(&store);
    assert!(said.contains("later mqttfast (version 99"), "{said}");
    assert_eq!(fs::read(&path).expect("the file"), bytes);
}

/// `version-1.db` is what 2ea8a39 has left of [`fill`]: tables without `batch`. The first transaction makes it.
#[test]
fn a_file_of_an_earlier_broker_is_read_and_goes_on() {
    if support::reference() {
        return;
    }
    let folder = Folder::new();
    let store = folder.path("store");
    fs::create_dir(&store).expect("a folder");
    let path = store.join("mqttfast.db");
    let version = || fs::read(&path).expect("the file")[60..64].to_vec();
    fs::write(&path, include_bytes!("persistence/version-1.db")).expect("written");
    assert_eq!(version(), 1_u32.to_be_bytes());
    for _ in 0..2 {
        let mut broker = Broker::start_with(on(&store));
        broker.logged(&[
            "store: ",
            "after an orderly stop: 2 retained, 1 sessions, 1 queued",
        ]);
        has_all(&broker);
        fill(&broker);
        assert!(broker.end_by(nix::sys::signal::Signal::SIGTERM).0.success());
        assert_eq!(version(), 2_u32.to_be_bytes());
    }
}

/// The rows of its whole pages are there again, the damaged file is kept, and the log says so.
#[test]
fn a_damaged_file_is_salvaged_and_kept() {
    if support::reference() {
        return;
    }
    for damage in ["head", "inner page", "state"] {
        let folder = Folder::new();
        let store = stopped(&folder);
        let path = store.join("mqttfast.db");
        let mut bytes = fs::read(&path).expect("the file");
        match damage {
            "head" => bytes[..100].fill(0xA5),
            // The first page is the list of tables: without it SQL finds none of them.
            "inner page" => bytes[100..1024].fill(0),
            _ => {
                let at = bytes
                    .windows(5)
                    .position(|five| five == b"state")
                    .expect("it is there");
                bytes[at + 5] ^= 0xFF;
            }
        }
        fs::write(&path, &bytes).expect("written");
        let broker = Broker::start_with(on(&store));
        let line = broker.logged(&["store: ", " is damaged ("]);
        assert!(
            line.contains("salvaged 5 rows, 0 more were damaged"),
            "{damage}: {line}"
        );
        has_all(&broker);
        let mut entries = fs::read_dir(&store).expect("the store").flatten();
        let kept = entries.find(|entry| {
            let name = entry.file_name();
            name.to_string_lossy().starts_with("mqttfast.db.damaged-")
        });
        let kept = fs::read(kept.expect("the damaged file").path()).expect("readable");
        assert!(kept == bytes);
    }
}

/// The file may not grow: what was acknowledged is there after a crash, and there is room again when it is taken.
#[test]
fn a_full_store_acknowledges_nothing_that_it_cannot_keep() {
    if support::reference() {
        return;
    }
    let folder = Folder::new();
    let store = folder.path("store");
    let options = on_with(&store, ["--store-max-bytes", "8M"]);
    let broker = Broker::start_with(options.clone());
    let (mut client, _) = Client::connect_with(&broker, &session("kept"));
    client.subscribe("t", 1);
    client.disconnect();
    let mut publisher = Client::connect(&broker, "publisher");
    let payload = vec![b'x'; 60_000];
    let mut acknowledged = 0;
    for number in 1..=400_u16 {
        let packet = support::packet::publish(b"t", &payload, 1, number, false);
        publisher.send(&packet);
        match publisher.answer(std::time::Duration::from_secs(3)) {
            support::Answer::Packet(_) => acknowledged += 1,
            _ => break,
        }
    }
    assert!((100..300).contains(&acknowledged), "{acknowledged}");
    broker.logged(&["store: ", "no room is left"]);
    drop(broker);
    let broker = Broker::start_with(options);
    let (mut client, present) = Client::connect_with(&broker, &session("kept"));
    assert!(present);
    for number in 0..acknowledged {
        let message = client.receive();
        assert!(message.payload == payload, "{number} of {acknowledged}");
        client.send(&support::packet::acknowledgement(0x40, message.packet_id));
    }
    Client::connect(&broker, "again").publish("t", b"room", 1, false);
}

/// A window longer than the second after which a disk is late delays no answer.
#[test]
fn a_long_window_delays_no_acknowledgement() {
    if support::reference() {
        return;
    }
    for arguments in [["--store-window", "10000"], ["--durability", "lazy"]] {
        let folder = Folder::new();
        let broker = Broker::start_with(on_with(&folder.path("store"), arguments));
        fill(&broker);
        std::thread::sleep(std::time::Duration::from_millis(1_200));
        let mut client = Client::connect(&broker, "late");
        let begun = std::time::Instant::now();
        client.publish("t/late", b"x", 1, false);
        assert!(
            begun.elapsed() < std::time::Duration::from_secs(1),
            "{arguments:?}"
        );
    }
}

/// Who was deleted while the broker was down has no Session any more, though the name comes back.
#[test]
fn sessions_of_users_who_were_deleted_meanwhile_end_at_the_start() {
    if support::reference() {
        return;
    }
    use support::users::{ALICE, OLD, login};
    let folder = Folder::new();
    let (store, passwd) = (folder.path("store"), folder.path("passwd"));
    let users = |lines: &str| fs::write(&passwd, lines).expect("written");
    let start = || {
        Broker::start_with(Options {
            passwd: Some(passwd.clone()),
            ..on(&store)
        })
    };
    let connect = |broker: &Broker, client_id, user, password| {
        let connect = Connect {
            clean_session: false,
            ..login(client_id, user, password)
        };
        let (client, present) = Client::connect_with(broker, &connect);
        client.disconnect();
        present
    };
    users(&format!("{ALICE}{OLD}"));
    let mut broker = start();
    assert!(!connect(&broker, "one", "alice", "secret"));
    assert!(!connect(&broker, "two", "old", "oldpw"));
    assert!(broker.end_by(nix::sys::signal::Signal::SIGTERM).0.success());
    users(ALICE);
    let mut broker = start();
    broker.logged(&["store: the sessions of users who are gone end: 'old'"]);
    broker.logged(&["sessions of users who are gone from the password file ended: 1"]);
    assert!(connect(&broker, "one", "alice", "secret"));
    assert!(broker.end_by(nix::sys::signal::Signal::SIGTERM).0.success());
    users(&format!("{ALICE}{OLD}"));
    let mut broker = start();
    assert!(!connect(&broker, "two", "old", "oldpw"));
    assert!(broker.end_by(nix::sys::signal::Signal::SIGTERM).0.success());
    // A line that cannot be read may be anybody's.
    users(&format!("{ALICE}old:$6$damaged\n"));
    let broker = start();
    assert!(connect(&broker, "one", "alice", "secret"));
    let said = broker.log();
    assert!(
        !said.iter().any(|line| line.contains("who are gone end")),
        "{said:?}"
    );
}
