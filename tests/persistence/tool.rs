//! `mqttfast store`: shows, checks, compacts and fills the store of a broker that does not run.

use super::support::{self, Broker, Client, Folder};
use super::{fill, has_all, on, on_with, session, stopped};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Exit code, standard output and standard error of `mqttfast store ACT --store-dir DIR MORE`.
fn tool(act: &str, store: &Path, more: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_mqttfast"))
        .args(["store", act, "--store-dir"])
        .arg(store)
        .args(more)
        .output()
        .expect("mqttfast was not started");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    let code = output.status.code().expect("it was ended by a signal");
    (code, text(output.stdout), text(output.stderr))
}

/// Every file of a folder with its bytes and when it was written.
fn state_of(folder: &Path) -> Vec<(PathBuf, Vec<u8>, std::time::SystemTime)> {
    let entries = fs::read_dir(folder).expect("the store").flatten();
    let mut files: Vec<_> = entries
        .map(|entry| {
            let written = entry.metadata().and_then(|file| file.modified());
            let bytes = fs::read(entry.path()).expect("readable");
            (entry.path(), bytes, written.expect("a time"))
        })
        .collect();
    files.sort();
    files
}

/// A store whose broker was killed: what it has is in journals and in the log.
fn crashed(folder: &Folder) -> PathBuf {
    let store = folder.path("store");
    let broker = Broker::start_with(on_with(&store, ["--store-window", "10000"]));
    fill(&broker);
    drop(broker);
    store
}

#[test]
fn show_and_check_say_what_there_is_and_write_nothing() {
    if support::reference() {
        return;
    }
    let folder = Folder::new();
    let store = crashed(&folder);
    let before = state_of(&store);
    let (code, text, said) = tool("show", &store, &[]);
    assert_eq!((code, said.as_str()), (0, ""), "{text}");
    let line = |name: &str| {
        let line = text
            .lines()
            .find(|line| line.trim_start().starts_with(name));
        let line = line.unwrap_or_else(|| panic!("no {name} in\n{text}"));
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert!(line("sessions").starts_with("sessions 1 "), "{text}");
    assert!(line("subscriptions").starts_with("subscriptions 1 "));
    assert!(line("messages queued").starts_with("messages queued 1 "));
    assert!(line("messages in flight").starts_with("messages in flight 0"));
    assert!(line("retained").starts_with("retained messages 2 "));
    assert!(line("wills").starts_with("wills 0 "));
    assert!(text.contains(" not in the file yet, and counted here"));
    assert!(text.contains("KiB  mqttfast.db\n"), "{text}");
    assert!(text.contains("2.0 MiB  reserve\n"), "{text}");
    assert!(text.ends_with("kept\n"), "the longest queue:\n{text}");
    let (code, json, _) = tool("show", &store, &["--json"]);
    assert_eq!(code, 0);
    for part in [
        "\"rows\":{\"session\":1,\"subscription\":1,\"message\":0,\"delivery\":1,\"received\":0,\"retained\":2,\"will\":0,\"batch\":0}",
        "\"queued\":1,\"in_flight\":0",
        "\"largest_queues\":[{\"client_id\":\"kept\",\"messages\":1,",
        "\"damaged\":false}",
    ] {
        assert!(json.contains(part), "{part} is not in {json}");
    }
    let (code, text, said) = tool("check", &store, &[]);
    assert_eq!((code, said.as_str()), (0, ""), "{text}");
    assert!(text.ends_with("sound: 5 rows prove themselves\n"), "{text}");
    assert!(state_of(&store) == before, "files have changed");
    // Nor does the looking keep a broker away.
    let broker = Broker::start_with(on(&store));
    broker.logged(&["after a crash, with its journals: 2 retained, 1 sessions, 1 queued"]);
    has_all(&broker);
}

#[test]
fn a_store_that_a_broker_has_is_left_alone_and_the_broker_named() {
    if support::reference() {
        return;
    }
    let folder = Folder::new();
    let store = folder.path("store");
    let broker = Broker::start_with(on(&store));
    let none = folder.path("none.db");
    for (act, more, exit) in [
        ("show", &[][..], 1),
        ("check", &[], 2),
        ("compact", &[], 1),
        ("import", &[none.to_str().expect("UTF-8")], 1),
    ] {
        let (code, text, said) = tool(act, &store, more);
        assert_eq!((code, text.as_str()), (exit, ""), "{act}: {said}");
        let holder = format!("is in use by process {}: ", broker.pid());
        assert!(said.contains(&holder), "{act}: {said}");
    }
    fill(&broker);
}

#[test]
fn where_there_is_no_store_none_is_made() {
    let folder = Folder::new();
    let store = folder.path("store");
    for (act, exit) in [("show", 1), ("check", 2), ("compact", 1)] {
        let (code, _, said) = tool(act, &store, &[]);
        assert_eq!(code, exit, "{act}: {said}");
        assert!(said.contains("there is no store in "), "{said}");
    }
    assert!(!store.exists());
    // A file of another program.
    fs::create_dir(&store).expect("a folder");
    fs::write(store.join("mqttfast.db"), vec![b'x'; 8192]).expect("written");
    for (act, exit) in [("show", 1), ("check", 2), ("compact", 1)] {
        let (code, _, said) = tool(act, &store, &[]);
        assert_eq!(code, exit, "{act}: {said}");
        assert!(said.contains("nothing in it is of a store"), "{said}");
    }
    let unchanged = fs::read(store.join("mqttfast.db")).expect("there");
    assert!(unchanged == vec![b'x'; 8192]);
}

/// Flips a bit in the first place that has these bytes.
fn flip(path: &Path, near: &[u8]) {
    let mut bytes = fs::read(path).expect("the file");
    let at = bytes.windows(near.len()).position(|some| some == near);
    bytes[at.expect("it is there")] ^= 1;
    fs::write(path, bytes).expect("written");
}

#[test]
fn check_says_what_damage_costs_and_a_start_keeps_the_rest() {
    if support::reference() {
        return;
    }
    let folder = Folder::new();
    let store = stopped(&folder);
    let path = store.join("mqttfast.db");
    flip(&path, b"three");
    let before = state_of(&store);
    let (code, text, said) = tool("check", &store, &[]);
    assert_eq!((code, said.as_str()), (1, ""), "{text}");
    assert!(
        text.contains("retained messages           1 left, 1 damaged\n"),
        "{text}"
    );
    assert!(
        text.contains("  1 retained message, until their topics are published to again\n"),
        "{text}"
    );
    let (code, json, _) = tool("check", &store, &["--json"]);
    assert_eq!(code, 1);
    assert!(json.contains("\"damaged\":true"), "{json}");
    assert!(
        json.contains("\"losses\":[\"1 retained message, "),
        "{json}"
    );
    let (_, text, _) = tool("show", &store, &[]);
    assert!(
        text.contains("the store is damaged; mqttfast store check"),
        "{text}"
    );
    assert!(state_of(&store) == before);
    // The Session is lost, and its subscription and message with it.
    flip(&path, b"kept");
    let (code, text, _) = tool("check", &store, &[]);
    assert_eq!(code, 1);
    for part in [
        "sessions                    0 left, 1 damaged\n",
        "subscriptions               1 left, 1 of what is gone\n",
        "deliveries                  1 left, 1 of what is gone\n",
        "  1 session, with their subscriptions and messages: Session Present will be 0\n",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    let damaged = fs::read(&path).expect("the file");
    let broker = Broker::start_with(on(&store));
    broker.logged(&["is damaged (2 rows are damaged): salvaged 3 rows, 2 more were damaged"]);
    let entries = fs::read_dir(&store).expect("the store").flatten();
    let kept = entries.map(|entry| entry.path()).find(|path| {
        let name = path
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        name.starts_with("mqttfast.db.damaged-") && !name.ends_with("-wal")
    });
    assert!(fs::read(kept.expect("it is kept")).expect("readable") == damaged);
    let mut client = Client::connect(&broker, "reader");
    client.subscribe("#", 1);
    assert_eq!(client.receive().payload, b"two");
}

#[test]
fn compact_gives_free_pages_back_and_takes_the_journals_in() {
    if support::reference() {
        return;
    }
    let folder = Folder::new();
    let store = folder.path("store");
    let broker = Broker::start_with(on(&store));
    let mut client = Client::connect(&broker, "publisher");
    for number in 0..60 {
        client.publish(&format!("big/{number}"), &[b'x'; 50_000], 1, true);
    }
    for number in 0..60 {
        client.publish(&format!("big/{number}"), b"", 1, true);
    }
    fill(&broker);
    drop(broker);
    let path = store.join("mqttfast.db");
    let size = || fs::metadata(&path).expect("the file").len();
    let (code, text, said) = tool("compact", &store, &[]);
    assert_eq!((code, said.as_str()), (0, ""));
    assert!(text.starts_with("5 rows written anew: "), "{text}");
    assert!(size() < 100_000, "{} bytes: {text}", size());
    let names: Vec<String> = state_of(&store)
        .iter()
        .map(|(path, ..)| path.file_name().expect("a name").to_string_lossy().into())
        .collect();
    assert_eq!(
        names,
        ["lock", "mqttfast.db", "reserve"],
        "nothing is left over"
    );
    let (code, text, _) = tool("check", &store, &[]);
    assert_eq!(code, 0, "{text}");
    assert!(!text.contains("journal"), "they are in the file: {text}");
    let broker = Broker::start_with(on(&store));
    broker.logged(&["store: ", " 2 retained, 1 sessions, 1 queued"]);
    has_all(&broker);
}

/// A crash between the renames of a new file leaves it under its own name.
#[test]
fn a_new_file_that_has_not_got_its_name_gets_it() {
    if support::reference() {
        return;
    }
    let folder = Folder::new();
    let store = stopped(&folder);
    let path = store.join("mqttfast.db");
    fs::rename(&path, store.join("mqttfast.db.new")).expect("renamed");
    fs::write(store.join("mqttfast.db-wal"), b"of the old file").expect("written");
    let broker = Broker::start_with(on(&store));
    has_all(&broker);
}

#[test]
fn a_damaged_file_is_compacted_and_kept() {
    if support::reference() {
        return;
    }
    let folder = Folder::new();
    let store = stopped(&folder);
    // The root of a table that has rows: SQL alone would not know of them.
    flip(&store.join("mqttfast.db"), b"three");
    let (code, text, said) = tool("compact", &store, &[]);
    assert_eq!((code, said.as_str()), (0, ""));
    assert!(text.contains("the damaged file is kept as "), "{text}");
    let (code, text, _) = tool("check", &store, &[]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("kept for a person to look at"), "{text}");
}

/// A file of Mosquitto's third version: a Session `old` with a filter, a message queued for it and retained.
fn mosquitto_db() -> Vec<u8> {
    let mut file = b"\x00\xB5\x00mosquitto db\0\0\0\0\0\0\0\x03".to_vec();
    let mut chunk = |kind: u16, parts: &[&[u8]]| {
        let body = parts.concat();
        file.extend(kind.to_be_bytes());
        file.extend((body.len() as u32).to_be_bytes());
        file.extend(body);
    };
    let id = 1_u64.to_le_bytes();
    let message: [&[u8]; 6] = [
        &id,
        b"\0\x03src\0\x01\0\x01",
        b"\0\x03a/b",
        &[1, 1],
        &[0, 0, 0, 4],
        b"data",
    ];
    chunk(2, &message);
    chunk(3, &[b"\0\x03old", &id, &[0, 9, 1, 0, 1, 11, 0]]);
    chunk(4, &[&id]);
    chunk(5, &[b"\0\x03old\0\x03a/+\x01"]);
    chunk(6, &[b"\0\x03old", &[0, 9], &[0; 8]]);
    file
}

#[test]
fn import_fills_a_new_store_and_no_other() {
    if support::reference() {
        return;
    }
    let folder = Folder::new();
    let store = folder.path("store");
    let file = folder.path("mosquitto.db");
    let name = file.to_str().expect("UTF-8");
    let (code, _, said) = tool("import", &store, &[name]);
    assert_eq!(code, 1);
    assert!(
        said.ends_with("mosquitto.db: there is no such file\n"),
        "{said}"
    );
    fs::write(&file, b"something else").expect("written");
    let (code, _, said) = tool("import", &store, &[name]);
    assert_eq!(code, 1);
    assert!(
        said.contains("it is no mosquitto.db of version 3 to 6"),
        "{said}"
    );
    fs::write(&file, mosquitto_db()).expect("written");
    let (code, text, said) = tool("import", &store, &[name]);
    assert_eq!((code, said.as_str()), (0, ""));
    let expected = "imported, version 3: 1 sessions, 1 subscriptions, 1 messages under way, 1 retained; 0 had expired, 0 parts";
    assert!(text.contains(expected), "{text}");
    let (code, _, said) = tool("import", &store, &[name]);
    assert_eq!(code, 1);
    assert!(
        said.contains("has 1 sessions and 1 retained messages: only a new store"),
        "{said}"
    );
    let broker = Broker::start_with(on(&store));
    broker.logged(&["after an orderly stop: 1 retained, 1 sessions, 1 queued"]);
    let (mut client, present) = Client::connect_with(&broker, &session("old"));
    assert!(present);
    client.expect_message("a/b", b"data", 1);
}
