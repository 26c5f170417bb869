//! Disks that are full, fail, cannot be written or are stuck: what was acknowledged is there after a crash, Clients
//! that need no store go on, and the broker is well again by itself.

use super::support::failing_disk::{self as disk, NAMES, SYNCS, SmallDisk, WRITES};
use super::support::packet::{self, acknowledgement};
use super::support::{self, Answer, Broker, Client, DEADLINE, Folder, Options, packet5};
use super::{on_with, session};
use nix::libc::{EIO, EROFS};
use nix::sys::signal::Signal;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// The Session `kept` subscribes to `t` and goes.
fn subscribe(broker: &Broker) {
    let (mut client, _) = Client::connect_with(broker, &session("kept"));
    client.subscribe("t", 2);
    client.disconnect();
}

/// What `kept` is sent: the first four bytes of each payload, a number.
fn received(broker: &Broker, count: usize) -> Vec<u32> {
    let (mut client, present) = Client::connect_with(broker, &session("kept"));
    assert!(present);
    let mut numbers = Vec::new();
    while numbers.len() < count {
        let message = client.receive();
        let number = message.payload.first_chunk().expect("a number");
        numbers.push(u32::from_be_bytes(*number));
    }
    numbers
}

fn payload(number: u32, bytes: usize) -> Vec<u8> {
    let mut payload = number.to_be_bytes().to_vec();
    payload.resize(bytes, b'x');
    payload
}

/// The reason code of the next PUBACK or PUBREC of a v5 Client.
fn reason(client: &mut Client) -> u8 {
    let packet = client.packet();
    assert!(matches!(packet[0], 0x40 | 0x50), "{packet:?}");
    // A success may be left out. [v5 3.4.2.1]
    packet.get(4).copied().unwrap_or(0)
}

/// QoS 0 and Sessions that are not stored pay nothing for the store's trouble.
fn expect_others_served(broker: &Broker) {
    let mut reader = Client::connect(broker, "clean");
    reader.subscribe("clean/#", 1);
    let mut writer = Client::connect(broker, "writer");
    let begun = Instant::now();
    for number in 0..20 {
        writer.publish("clean/0", b"x", 0, false);
        reader.expect_message("clean/0", b"x", 0);
        writer.publish("clean/1", &payload(number, 10), 1, false);
        assert_eq!(reader.receive().payload, payload(number, 10));
    }
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(4), "{took:?}");
}

/// Waits until a v5 publisher is told that its message is taken.
fn expect_well_again(broker: &Broker, number: u32) {
    let end = Instant::now() + DEADLINE;
    let (mut client, _) = packet5::connected(broker, b"again", b"");
    loop {
        let message = payload(number, 100);
        client.send(&packet5::publish(b"t", &message, 1, 7, b""));
        match reason(&mut client) {
            0 => return,
            code => assert_eq!(code, 0x97),
        }
        assert!(Instant::now() < end, "{:?}", broker.log());
        std::thread::sleep(Duration::from_millis(300));
    }
}

#[test]
fn on_a_full_disk_nothing_acknowledged_is_lost_and_publishers_are_told() {
    if support::reference() {
        return;
    }
    let folder = Folder::new();
    let place = folder.path("disk");
    let Some(small) = SmallDisk::mount(&place, 24) else {
        eprintln!("this user may not mount: not tested");
        return;
    };
    let store = place.join("store");
    let options = Options {
        launcher: small.launcher(),
        ..on_with(&store, [])
    };
    let broker = Broker::start_with(options.clone());
    subscribe(&broker);
    // Some room beside the reserve.
    small.fill_but(600_000);
    let (mut newer, _) = packet5::connected(&broker, b"newer", b"");
    let mut taken = 0;
    let refused = loop {
        let message = payload(taken, 60_000);
        newer.send(&packet5::publish(b"t", &message, 1, 1, b""));
        match reason(&mut newer) {
            0 => taken += 1,
            code => break code,
        }
        assert!(taken < 300, "the disk is full");
    };
    assert_eq!(refused, 0x97);
    newer.send(&packet5::publish(b"t", &payload(999, 10), 2, 2, b""));
    assert_eq!(reason(&mut newer), 0x97);
    // A retained message is stored too; its deletion needs no room.
    let mut retained = packet5::publish(b"r", b"x", 1, 3, b"");
    retained[0] |= 1;
    newer.send(&retained);
    assert_eq!(reason(&mut newer), 0x97);
    newer.send(&packet5::publish(b"nobody", b"x", 1, 4, b""));
    assert_eq!(reason(&mut newer), 0x10, "No matching subscribers");
    let line = broker.logged(&["store: ", "no room is left"]);
    assert!(
        line.contains("Free some, or raise --store-max-bytes"),
        "{line}"
    );
    // Before v5 no code says so. What waits is taken while the reserve lasts, and then not acknowledged.
    let mut older = Client::connect(&broker, "older");
    let unanswered = loop {
        let message = payload(taken, 60_000);
        older.send(&packet::publish(b"t", &message, 1, 1, false));
        match older.answer(Duration::from_secs(3)) {
            Answer::Packet(_) => taken += 1,
            other => break other,
        }
        assert!(taken < 300, "the disk is full");
    };
    assert_eq!(unanswered, Answer::Silence);
    expect_others_served(&broker);
    let said = broker.log();
    let lines = said
        .iter()
        .filter(|line| line.contains("cannot be written"));
    assert_eq!(lines.count(), 1, "{said:?}");
    drop((older, newer));
    drop(broker);

    // The disk is as full as it was.
    assert!(small.free_bytes() < 2_000_000, "{}", small.free_bytes());
    let broker = Broker::start_with(options.clone());
    let numbers = received(&broker, taken as usize);
    let expected: Vec<u32> = (0..taken).collect();
    assert_eq!(numbers, expected);
    expect_others_served(&broker);
    small.free();
    expect_well_again(&broker, taken);
    drop(broker);
    let broker = Broker::start_with(options);
    // The others were received and acknowledged.
    assert_eq!(received(&broker, 1), [taken]);
}

fn failing(folder: &Folder, store: &Path, more: [&str; 2]) -> Options {
    Options {
        launcher: disk::launcher(folder, store),
        ..on_with(store, more)
    }
}

/// Files of the store that were set aside.
fn broken(store: &Path) -> usize {
    let entries = fs::read_dir(store).expect("the store").flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names
        .filter(|name| name.contains(".broken-") && !name.ends_with("-wal"))
        .count()
}

/// A sync that failed may have lost what it was for, whatever the next one says.
#[test]
fn after_an_error_of_the_disk_a_new_file_is_made() {
    if support::reference() {
        return;
    }
    for (errno, kinds) in [(EIO, SYNCS), (EIO, WRITES), (EROFS, WRITES | NAMES)] {
        let folder = Folder::new();
        let store = folder.path("store");
        let options = failing(&folder, &store, ["--store-window", "100"]);
        let broker = Broker::start_with(options.clone());
        subscribe(&broker);
        let mut client = Client::connect(&broker, "publisher");
        client.publish("t", &payload(0, 100), 1, false);
        // Longer than a window, shorter than it takes to give up.
        disk::fail(&folder, errno, kinds, 0);
        client.publish("t", &payload(1, 100), 1, false);
        broker.logged(&["store: ", " cannot be written: "]);
        disk::fail(&folder, 0, 0, 0);
        // An operator need not wait for the next try.
        broker.signal(Signal::SIGUSR1);
        broker.logged(&["a new file has the ", " rows of the old one, which is "]);
        broker.logged(&["store: well again after "]);
        client.publish("clean", b"x", 1, false);
        client.publish("t", &payload(2, 100), 1, false);
        assert!(broken(&store) >= 1);
        drop(broker);
        let broker = Broker::start_with(options);
        assert_eq!(
            received(&broker, 3),
            [0, 1, 2],
            "errno {errno}, calls {kinds}"
        );
    }
}

/// What the broker does in memory only, and that it tries again by itself.
#[test]
fn a_disk_that_takes_nothing_is_tried_again_every_30_s() {
    if support::reference() {
        return;
    }
    let folder = Folder::new();
    let store = folder.path("store");
    let options = failing(&folder, &store, ["--store-window", "100"]);
    let broker = Broker::start_with(options.clone());
    subscribe(&broker);
    disk::fail(&folder, EIO, SYNCS | WRITES, 0);
    let mut client = Client::connect(&broker, "publisher");
    client.publish("t", &payload(0, 100), 1, false);
    broker.logged(&["a new file cannot be made: ", " are in memory only"]);
    let failed = Instant::now();
    disk::fail(&folder, 0, 0, 0);
    for number in 1..50 {
        client.publish("t", &payload(number, 100), 1, false);
    }
    expect_others_served(&broker);
    let mut watch = Client::connect(&broker, "watch");
    watch.subscribe("$SYS/broker/mqttfast/store/state", 0);
    assert_eq!(watch.receive().payload, b"memory-only");
    let end = Instant::now() + Duration::from_secs(60);
    let well = |line: &String| line.contains("store: well again after ");
    while !broker.log().iter().any(well) {
        assert!(Instant::now() < end, "{:?}", broker.log());
        std::thread::sleep(Duration::from_millis(100));
    }
    let took = failed.elapsed().as_secs();
    assert!((25..45).contains(&took), "{took} s");
    assert!(broken(&store) == 1);
    drop(broker);
    let broker = Broker::start_with(options);
    let expected: Vec<u32> = (0..50).collect();
    assert_eq!(received(&broker, 50), expected);
}

/// `strict` has promised the disk: without it nothing that would be stored is acknowledged.
#[test]
fn strict_acknowledges_nothing_while_the_disk_takes_nothing() {
    if support::reference() {
        return;
    }
    let folder = Folder::new();
    let store = folder.path("store");
    let broker = Broker::start_with(failing(&folder, &store, ["--durability", "strict"]));
    subscribe(&broker);
    disk::fail(&folder, EIO, SYNCS | WRITES, 0);
    let mut client = Client::connect(&broker, "publisher");
    client.send(&packet::publish(b"t", &payload(0, 100), 1, 1, false));
    assert_eq!(client.answer(Duration::from_secs(2)), Answer::Silence);
    expect_others_served(&broker);
    disk::fail(&folder, 0, 0, 0);
    broker.signal(Signal::SIGUSR1);
    client.expect_packet(&acknowledgement(0x40, 1));
}

/// Retained messages of QoS 0 are stored, and nobody waits for an answer: their publishers are not read from while too
/// much waits for the disk.
#[test]
fn a_stuck_disk_holds_publishers_of_retained_messages_back_and_nobody_else() {
    if support::reference() {
        return;
    }
    let folder = Folder::new();
    let store = folder.path("store");
    let options = failing(&folder, &store, ["--store-window", "100"]);
    let broker = Broker::start_with(options.clone());
    let mut watch = Client::connect(&broker, "watch");
    watch.subscribe("$SYS/broker/mqttfast/store/waiting", 0);
    watch.receive();
    disk::fail(&folder, 0, SYNCS, 6_000);
    // It opens a window, whose commit is stuck.
    subscribe(&broker);
    Client::connect(&broker, "first").publish("t", b"0000", 1, false);
    std::thread::sleep(Duration::from_millis(500));
    let before = broker.rss_bytes();
    let mut flood = Client::connect(&broker, "flood");
    let stream = flood.stream();
    stream
        .set_write_timeout(Some(Duration::from_secs(1)))
        .expect("a timeout");
    let mut sent = 0;
    let begun = Instant::now();
    for number in 0..4_000_u32 {
        let topic = format!("r/{}", number % 50);
        let message = packet::publish(topic.as_bytes(), &payload(number, 50_000), 0, 0, true);
        if !flood.try_send(&message) {
            break;
        }
        sent += message.len();
        assert!(
            begun.elapsed() < Duration::from_secs(6),
            "{sent} bytes were taken"
        );
    }
    // 2 MiB, and what sockets hold.
    assert!((2_000_000..30_000_000).contains(&sent), "{sent} bytes");
    let grown = broker.rss_bytes().saturating_sub(before);
    assert!(grown < 48 << 20, "{grown} bytes of memory");
    expect_others_served(&broker);
    disk::fail(&folder, 0, 0, 0);
    drop(flood);
    // All that was taken goes to the disk.
    let mut client = Client::connect(&broker, "after");
    client.publish("after", b"x", 1, true);
    let mut broker = broker;
    assert!(broker.end_by(Signal::SIGTERM).0.success());
    let broker = Broker::start_with(options);
    broker.logged(&["after an orderly stop: ", " retained, 1 sessions, 1 queued"]);
}
