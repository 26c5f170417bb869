//! What one accepted user does to have the broker for himself, with packets that are all allowed: each once cost
//! hundreds of megabytes or made the others wait for seconds. While it lasts the bystanders are served, nothing of
//! theirs is lost, and the memory stays within what `--memory-limit` allows.
//!
//! With `MQTTFAST_TEST_PROGRAM` the program it names is attacked, at full size and with the bounds of a release;
//! `tests/hostile/siege` does that in 256 MiB and keeps the record.

use crate::bystander::Bystanders;
use crate::foe::{
    Foe, PASSWORD, USER, WITH_USER, append_user, by_alias, long_topic, retained, subscribe_all,
};
use crate::names::many_names_of_one_address;
use crate::support::packet::{self, Connect};
use crate::support::packet5::{self, USER_PROPERTY};
use crate::support::{Broker, Client, Folder, Options, program, reference};
use std::process::Command;
use std::time::{Duration, Instant};

/// What all clients together may hold, in MiB: the default of a machine, or a control group, of 256 MiB.
const MEMORY_LIMIT_MIB: u64 = 64;
/// What a bystander may wait for a message in 99 of 100 cases, with a release and with a build for tests.
const P99_MAX: Duration = Duration::from_millis(100);
const P99_TEST_BUILD_MAX: Duration = Duration::from_secs(1);
/// As in `support::pair`.
const MACHINE_FACTOR: u32 = 4;
const MIB: usize = 1024 * 1024;

macro_rules! cases {
    ($($name:ident: $($shards:literal)+;)+) => {
        $(mod $name {
            #[test]
            fn bystanders_are_served() {
                for shards in [$($shards),+] {
                    super::besiege(stringify!($name), shards, super::$name);
                }
            }
        })+
    };
}
cases! {
    resend_that_pauses: 1 2;
    reader_that_never_acknowledges: 1 2;
    answers_that_are_not_read: 1 2;
    overlapping_filters_of_an_absent_session: 1 2;
    one_filter_repeated: 1 2;
    many_absent_sessions_of_one_user: 1 2;
    large_messages_in_flight: 1 2;
    large_messages_retained: 1 2;
    long_filters: 1 2 4;
    packets_never_finished: 1 2;
    wills_of_absent_sessions: 1 2;
    deletions_of_long_topics: 2 4;
    short_publishes_into_many_queues: 1 2;
    very_many_groups: 1 2 4;
    aliases_of_long_topics: 1 2 4;
    many_names_of_one_address: 1 2 4;
    long_topics_to_many: 1 2;
    properties_copied_to_many: 1 2;
    very_many_filters_in_one_packet: 1 2 4;
    replay_to_a_deaf_reader: 1 2;
    deaf_reader_of_everything: 1 2 4;
}

/// The program is a release, and not that of this build.
fn is_release() -> bool {
    std::env::var_os("MQTTFAST_TEST_PROGRAM").is_some()
}

/// `full` of a release, `less` where the program is one for tests.
fn size(full: usize, less: usize) -> usize {
    if is_release() { full } else { less }
}

/// How the broker is started: within 256 MiB where `tests/hostile/siege` says how.
fn launcher() -> Vec<String> {
    let launcher = std::env::var("MQTTFAST_TEST_LAUNCHER").unwrap_or_default();
    launcher.split_whitespace().map(str::to_owned).collect()
}

/// One attack on a broker of its own.
fn besiege(name: &str, shards: usize, attack: fn(&Broker, Instant)) {
    if reference() {
        return;
    }
    // Very many retained messages need more: less than 1 KiB each is counted, on two shards.
    let limit_mib = match retained_count() {
        RETAINED => MEMORY_LIMIT_MIB,
        count => MEMORY_LIMIT_MIB.max(count as u64 / 1024),
    };
    let limit = format!("{limit_mib}M");
    let folder = Folder::new();
    let passwd = folder.path("passwd");
    for (first, user) in [(true, USER), (false, "carol")] {
        let mut command = Command::new(program());
        command.args(["passwd", "-b", "-I", "1"]);
        command.args(first.then_some("-c"));
        let output = command.arg(&passwd).args([user, PASSWORD]).output();
        assert!(output.expect("mqttfast passwd").status.success());
    }
    let mut broker = Broker::start_with(Options {
        shards,
        passwd: Some(passwd),
        allow_anonymous: true,
        launcher: launcher(),
        arguments: vec!["--memory-limit".to_owned(), limit],
        ..Options::default()
    });
    let before = broker.rss_bytes() as usize / MIB;
    let bystanders = Bystanders::start(&broker);
    std::thread::sleep(Duration::from_millis(200));
    let seconds = size(6, 1) as u64;
    attack(&broker, Instant::now() + Duration::from_secs(seconds));
    let served = bystanders.finish();
    let peak = peak_mib(&broker);
    println!(
        "{name:41} {shards} shards: peak {peak:4} MiB (idle {before}), p50 {:8.2?}, p99 {:8.2?}, longest {:8.2?} of {:5}; machine {:8.2?}, starved {:.1}",
        served.p50, served.p99, served.longest, served.count, served.machine, served.starved,
    );
    assert!(broker.is_running(), "the broker has ended");
    // What `docs/limits.md` says of memory at rest, 1.25 times what is counted and 8 MiB, and 8 MiB for the buffers of
    // the shards, beside what the process has before the first client.
    let most = before as u64 + limit_mib * 5 / 4 + 16;
    assert!(
        peak <= most,
        "{name}, {shards} shards: {peak} MiB, more than {most}"
    );
    let most = if is_release() {
        P99_MAX
    } else {
        P99_TEST_BUILD_MAX
    };
    let most = most
        .mul_f64(served.starved)
        .max(served.machine * MACHINE_FACTOR);
    assert!(
        served.p99 <= most,
        "{name}, {shards} shards: {:?}, more than {most:?}",
        served.p99
    );
}

/// The most that was ever resident.
fn peak_mib(broker: &Broker) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", broker.pid()));
    let status = status.expect("status of the broker");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line
        .and_then(|line| line.trim().split(' ').next())
        .expect("VmHWM");
    kib.parse::<u64>().expect("a number") / 1024
}

/// So many foes, as far as the broker takes them.
fn foes(broker: &Broker, count: usize, name: &str, until: Instant) -> Vec<Foe> {
    let foes = (0..count).map_while(|n| Foe::connect(broker, &format!("{name}-{n}"), until));
    foes.collect()
}

/// Reads what comes to all of them until the time is over.
fn read_all(mut readers: Vec<Foe>) {
    let mut block = vec![0; 64 * 1024];
    readers.iter().for_each(Foe::do_not_wait);
    while readers.first().is_some_and(|reader| !reader.is_over()) {
        let mut idle = true;
        readers.retain_mut(|reader| match reader.read_some(&mut block) {
            Some(len) => {
                idle &= len == 0;
                true
            }
            None => false,
        });
        if idle {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

fn resend_that_pauses(broker: &Broker, until: Instant) {
    let Some(mut speaker) = Foe::connect(broker, "speaker", until) else {
        return;
    };
    let message = packet5::publish(b"mine", &[b'x'; 100_000], 1, 1, &[]);
    let mut first = true;
    while Instant::now() < until {
        let Some(mut reader) = Foe::persistent(broker, "reader", until) else {
            continue;
        };
        if first {
            reader.subscribe(b"mine", 1, None);
        }
        for _ in 0..4 {
            speaker.send(&message);
        }
        // It reads as little as keeps the resend going, and acknowledges nothing.
        for _ in 0..if first { 100 } else { 20 } {
            let mut block = vec![0; 4096];
            let _ = reader.read_some(&mut block);
        }
        first = false;
    }
}

fn reader_that_never_acknowledges(broker: &Broker, until: Instant) {
    let Some(mut reader) = Foe::connect(broker, "reader", until) else {
        return;
    };
    reader.subscribe(b"#", 1, None);
    let pings = packet::PINGREQ.repeat(240);
    let mut block = vec![0; 64 * 1024];
    while !reader.is_over() {
        reader.send(&pings);
        let _ = reader.read_some(&mut block);
    }
}

fn answers_that_are_not_read(broker: &Broker, until: Instant) {
    let mut foes = foes(broker, 4, "deaf", until);
    let unknown = packet::acknowledgement(packet::PUBREL, 77).repeat(1000);
    let pings = packet::PINGREQ.repeat(2000);
    std::thread::scope(|scope| {
        for (n, foe) in foes.iter_mut().enumerate() {
            let block = if n % 2 == 0 { &unknown } else { &pings };
            scope.spawn(move || foe.flood(block));
        }
    });
}

fn overlapping_filters_of_an_absent_session(broker: &Broker, until: Instant) {
    const LEVELS: usize = 12;
    let Some(mut absent) = Foe::persistent(broker, "absent", until) else {
        return;
    };
    for n in 0..1_u32 << size(LEVELS, 8) {
        let level = |at| if n >> at & 1 == 1 { "+" } else { "a" };
        let filter = (0..LEVELS).map(level).collect::<Vec<_>>().join("/");
        if !absent.subscribe(filter.as_bytes(), 1, Some(n + 1)) {
            break;
        }
    }
    drop(absent);
    if let Some(mut speaker) = Foe::connect(broker, "speaker", until) {
        let topic = ["a"; LEVELS].join("/");
        speaker.flood_and_read(&packet5::publish(topic.as_bytes(), &[b'x'; 40], 1, 1, &[]));
    }
}

fn one_filter_repeated(broker: &Broker, until: Instant) {
    let filters = std::iter::repeat_n(&b"a"[..], size(4_000_000, 200_000));
    let packet = subscribe_all(filters, 0);
    while Instant::now() < until {
        if let Some(mut foe) = Foe::connect(broker, "repeating", until) {
            foe.flood(&packet);
        }
    }
}

fn many_absent_sessions_of_one_user(broker: &Broker, until: Instant) {
    const MESSAGES: u16 = 101;
    for n in 0..17 {
        if let Some(mut absent) = Foe::persistent(broker, &format!("absent-{n}"), until) {
            absent.subscribe(b"mine", 1, None);
        }
    }
    // Another user, who is absent too.
    let carol = Connect {
        client_id: b"carol",
        clean_session: false,
        user: Some("carol"),
        password: Some(PASSWORD),
        ..Connect::default()
    };
    let (mut client, _) = Client::connect_with(broker, &carol);
    client.subscribe("carol", 1);
    client.disconnect();
    if let Some(mut speaker) = Foe::connect(broker, "speaker", until) {
        speaker.flood_and_read(&packet5::publish(b"mine", &[b'x'; 100_000], 1, 1, &[]));
    }
    let mut speaker = Client::connect(broker, "speaker-of-carol");
    for n in 0..MESSAGES {
        speaker.publish("carol", n.to_string().as_bytes(), 1, false);
    }
    let (mut client, present) = Client::connect_with(broker, &carol);
    assert!(present);
    for n in 0..MESSAGES {
        assert_eq!(client.receive().payload, n.to_string().as_bytes(), "lost");
    }
}

fn large_messages_in_flight(broker: &Broker, until: Instant) {
    let readers = foes(broker, 4, "reader", until);
    let mut readers: Vec<Foe> = readers.into_iter().collect();
    for reader in &mut readers {
        reader.subscribe(b"big", 1, None);
    }
    let Some(mut speaker) = Foe::connect(broker, "speaker", until) else {
        return;
    };
    let message = packet5::publish(b"big", &vec![b'x'; size(15, 4) * MIB], 1, 1, &[]);
    std::thread::scope(|scope| {
        scope.spawn(|| read_all(readers));
        speaker.flood_and_read(&message);
    });
}

fn large_messages_retained(broker: &Broker, until: Instant) {
    let Some(mut speaker) = Foe::connect(broker, "speaker", until) else {
        return;
    };
    let payload = vec![b'x'; MIB];
    for n in 0..1299 {
        let topic = format!("kept/{n}");
        if !speaker.send(&retained(topic.as_bytes(), &payload)) {
            return;
        }
    }
}

fn long_filters(broker: &Broker, until: Instant) {
    let Some(mut foe) = Foe::connect(broker, "long", until) else {
        return;
    };
    let mut filter = long_topic(65_500);
    for n in 0..20_800_u32 {
        filter[..8].copy_from_slice(format!("{n:08}").as_bytes());
        if !foe.send(&packet5::subscribe(1, &[], &filter, 0)) {
            return;
        }
    }
}

fn packets_never_finished(broker: &Broker, until: Instant) {
    let mut foes = foes(broker, 82, "unfinished", until);
    let packet = packet5::publish(b"big", &vec![b'x'; 16 * MIB - 1000], 0, 0, &[]);
    let part = &packet[..packet.len() - 1];
    for chunk in part.chunks(MIB) {
        for foe in &mut foes {
            foe.try_once(chunk);
        }
    }
    if let Some(foe) = foes.first() {
        foe.wait();
    }
}

fn wills_of_absent_sessions(broker: &Broker, until: Instant) {
    let payload = vec![b'w'; 15_000];
    let mut count = 0;
    while Instant::now() < until && count < size(65_832, 2_000) {
        let client_id = format!("will-{count}");
        let mut block = vec![packet5::SESSION_EXPIRY_INTERVAL];
        block.extend(3600_u32.to_be_bytes());
        let mut rest = vec![5, 0x18, 0, 0, 0x0E, 0x10]; // Will Delay Interval of an hour.
        packet::string(&mut rest, b"will");
        packet::string(&mut rest, &payload);
        append_user(&mut rest);
        let connect = packet5::connect(0x04 | WITH_USER, 0, &block, client_id.as_bytes(), &rest);
        let _ = Foe::send_connect(broker, &connect, until);
        count += 1;
    }
}

fn deletions_of_long_topics(broker: &Broker, until: Instant) {
    let mut foes = foes(broker, 4, "deleting", until);
    std::thread::scope(|scope| {
        for (at, foe) in foes.iter_mut().enumerate() {
            scope.spawn(move || {
                let mut topic = long_topic(60_000);
                for n in 0_u32.. {
                    topic[..12].copy_from_slice(format!("{at:03}/{n:08}").as_bytes());
                    let kept = retained(&topic, b"x");
                    let deleted = retained(&topic, b"");
                    if !(foe.send(&kept) && foe.send(&deleted)) {
                        return;
                    }
                }
            });
        }
    });
}

fn short_publishes_into_many_queues(broker: &Broker, until: Instant) {
    let topic = long_topic(65_000);
    for n in 0..17 {
        if let Some(mut absent) = Foe::persistent(broker, &format!("absent-{n}"), until) {
            absent.subscribe(b"#", 1, None);
        }
    }
    let Some(mut speaker) = Foe::connect(broker, "speaker", until) else {
        return;
    };
    let alias = [packet5::TOPIC_ALIAS, 0, 1];
    speaker.send(&packet5::publish(&topic, b"x", 0, 0, &alias));
    speaker.flood_and_read(&packet5::publish(b"", b"", 1, 1, &alias));
}

fn very_many_groups(broker: &Broker, until: Instant) {
    let Some(mut foe) = Foe::connect(broker, "sharing", until) else {
        return;
    };
    let filters: Vec<String> = (0..size(9_000, 2_000))
        .map(|n| format!("$share/g{n}/#"))
        .collect();
    let filters = subscribe_all(filters.iter().map(String::as_bytes), 0);
    foe.send(&filters);
    foe.flood_and_read(&packet5::publish(b"mine", b"x", 0, 0, &[]).repeat(10));
}

fn aliases_of_long_topics(broker: &Broker, until: Instant) {
    let mut foes = foes(broker, 16, "alias", until);
    if let Some(foe) = foes.first_mut() {
        foe.subscribe(&long_topic(65_000), 0, None);
    }
    std::thread::scope(|scope| {
        for foe in &mut foes {
            scope.spawn(|| {
                foe.send(&by_alias(&long_topic(65_000), b"x"));
                foe.flood_and_read(&by_alias(b"", b"x").repeat(1000));
            });
        }
    });
}

fn long_topics_to_many(broker: &Broker, until: Instant) {
    let topic = long_topic(65_535);
    let mut readers = foes(broker, 100, "reader", until);
    for reader in &mut readers {
        reader.subscribe(&topic, 0, None);
    }
    let Some(mut speaker) = Foe::connect(broker, "speaker", until) else {
        return;
    };
    std::thread::scope(|scope| {
        scope.spawn(|| read_all(readers));
        speaker.send(&by_alias(&topic, b"x"));
        speaker.flood_and_read(&by_alias(b"", b"x").repeat(100));
    });
}

fn properties_copied_to_many(broker: &Broker, until: Instant) {
    let mut block = Vec::new();
    for n in 0..1000 {
        block.push(USER_PROPERTY);
        packet::string(&mut block, format!("name-{n}").as_bytes());
        packet::string(&mut block, b"value");
    }
    let mut readers = foes(broker, 100, "reader", until);
    for reader in &mut readers {
        reader.subscribe(b"many", 0, None);
    }
    let Some(mut speaker) = Foe::connect(broker, "speaker", until) else {
        return;
    };
    std::thread::scope(|scope| {
        scope.spawn(|| read_all(readers));
        speaker.flood_and_read(&packet5::publish(b"many", b"x", 0, 0, &block));
    });
}

fn very_many_filters_in_one_packet(broker: &Broker, until: Instant) {
    let filters: Vec<String> = (0..size(30_000, 5_000)).map(|n| format!("f/{n}")).collect();
    let on = subscribe_all(filters.iter().map(String::as_bytes), 0);
    let mut body = vec![0, 1, 0];
    for filter in &filters {
        packet::string(&mut body, filter.as_bytes());
    }
    let off = packet::packet(0xA2, &body);
    let mut foes = foes(broker, 2, "filters", until);
    std::thread::scope(|scope| {
        for foe in &mut foes {
            scope.spawn(|| foe.flood_and_read(&[&on[..], &off].concat()));
        }
    });
}

fn replay_to_a_deaf_reader(broker: &Broker, until: Instant) {
    // The messages are a sensor network's, not the foe's.
    let count = size(retained_count(), 20_000);
    let mut speaker = Client::connect(broker, "sensors");
    for part in (0..count).collect::<Vec<_>>().chunks(1000) {
        let topics = part.iter().map(|n| format!("k/{}/{n}", n % 1000));
        let bytes = topics.flat_map(|topic| packet::publish(topic.as_bytes(), b"1", 0, 0, true));
        speaker.send(&bytes.collect::<Vec<u8>>());
        speaker.expect_alive();
    }
    let until = until.max(Instant::now() + Duration::from_secs(2));
    let mut deaf = Vec::new();
    while Instant::now() < until {
        let client_id = format!("deaf-{}", deaf.len() % 10);
        if let Some(mut foe) = Foe::connect(broker, &client_id, until) {
            foe.send(&packet5::subscribe(1, &[], b"#", 0));
            deaf.push(foe);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Retained messages of the replay, unless MQTTFAST_TEST_RETAINED says how many.
const RETAINED: usize = 100_000;

fn retained_count() -> usize {
    let named = std::env::var("MQTTFAST_TEST_RETAINED").ok();
    named
        .and_then(|count| count.parse().ok())
        .unwrap_or(RETAINED)
}

fn deaf_reader_of_everything(broker: &Broker, until: Instant) {
    let mut foes = foes(broker, 3, "deaf", until);
    for foe in &mut foes {
        foe.send(&packet5::subscribe(1, &[], b"#", 0));
    }
    let Some(mut speaker) = Foe::connect(broker, "speaker", until) else {
        return;
    };
    speaker.flood_and_read(&packet5::publish(b"mine", &[b'x'; 10_000], 0, 0, &[]));
}
