//! The account book tells the truth: whatever Clients make a broker hold, its resident memory is what the book says and
//! little more; when all is gone the book is empty, and the memory goes back to the system.

use mqttfast_rig::process::packet::Will;
use mqttfast_rig::process::{
    Answer, Broker, Client, Connect, DEADLINE, Options, packet, reference,
};

use nix::sys::signal::Signal;
use std::time::{Duration, Instant};

const MIB: u64 = 1024 * 1024;

/// What a kind of attack holds, and what makes it go.
struct Held {
    clients: Vec<Client>,
    undo: Box<dyn FnOnce(&Broker)>,
}

impl Held {
    /// Gone when these connections are.
    fn by(clients: Vec<Client>) -> Held {
        Held {
            clients,
            undo: Box::new(|_| ()),
        }
    }
}

/// Bytes in the account books of all shards, as SIGUSR1 tells. A shard that is busy may not answer the first time.
fn ledger(broker: &Broker, shards: usize) -> u64 {
    for _ in 0..20 {
        let mark = broker.log_len();
        broker.signal(Signal::SIGUSR1);
        let end = Instant::now() + Duration::from_secs(2);
        while Instant::now() < end {
            let told: Vec<u64> = broker.log()[mark..]
                .iter()
                .filter_map(|l| held(l))
                .collect();
            if told.len() == shards {
                return told.iter().sum();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    panic!("the shards do not say what they hold: {:?}", broker.log());
}

/// The bytes of the account book in a line of SIGUSR1.
fn held(line: &str) -> Option<u64> {
    let (before, after) = line.split_once(" bytes queued, ")?;
    let bytes = after.split(' ').next()?;
    before.contains("info shard ").then(|| bytes.parse().ok())?
}

/// The same, once it stands still.
fn ledger_at_rest(broker: &Broker, shards: usize) -> u64 {
    let end = Instant::now() + 3 * DEADLINE;
    let mut before = ledger(broker, shards);
    loop {
        std::thread::sleep(Duration::from_millis(300));
        let now = ledger(broker, shards);
        if now == before || Instant::now() > end {
            return now;
        }
        before = now;
    }
}

/// Fills a broker of 64 MiB, looks, and takes all of it away.
fn expect_truth(name: &str, fill: impl Fn(&Broker) -> Held) {
    if reference() {
        return;
    }
    for shards in [1, 2] {
        let limit = ["--memory-limit", "64M", "--max-queued-bytes", "64M"];
        let broker = Broker::start_with(Options {
            shards,
            arguments: limit.map(str::to_owned).to_vec(),
            ..Options::default()
        });
        // Code and tables that the first Clients touch are not theirs.
        let mut first = Client::connect(&broker, "first");
        first.subscribe("first", 1);
        flood(&mut first, &packet::publish(b"first", b"x", 0, 0, false));
        first.disconnect();
        let rest = broker.rss_bytes();
        let Held { clients, undo } = fill(&broker);
        let booked = ledger_at_rest(&broker, shards);
        let grown = broker.rss_bytes().saturating_sub(rest);
        let most = booked + booked / 4 + 8 * MIB;
        println!(
            "{name}, {shards} shards: {} KiB booked, {} KiB resident",
            booked >> 10,
            grown >> 10
        );
        assert!(booked > MIB, "{name}: nothing much is held: {booked}");
        assert!(
            grown <= most,
            "{name}, {shards} shards: {grown} bytes more are resident, {booked} are in the book"
        );
        drop(clients);
        undo(&broker);
        let end = Instant::now() + 2 * DEADLINE;
        let mut left = ledger(&broker, shards);
        while left > 0 && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(50));
            left = ledger(&broker, shards);
        }
        assert_eq!(
            left, 0,
            "{name}, {shards} shards: in the book when all is gone"
        );
        let end = Instant::now() + Duration::from_secs(10);
        let mut kept = broker.rss_bytes().saturating_sub(rest);
        while kept > 32 * MIB && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(500));
            kept = broker.rss_bytes().saturating_sub(rest);
        }
        println!("{name}, {shards} shards: {} KiB stay", kept >> 10);
        assert!(
            kept <= 32 * MIB,
            "{name}, {shards} shards: {kept} bytes stay"
        );
    }
}

/// A connection that sends all this and reads what comes back, so that it is handled when this returns.
fn flood(client: &mut Client, bytes: &[u8]) {
    let mut writer = client.stream();
    let bytes = [bytes, &[0xC0, 0]].concat();
    let sending = std::thread::spawn(move || {
        use std::io::Write;
        let _ = writer.write_all(&bytes);
    });
    let end = Instant::now() + 6 * DEADLINE;
    loop {
        assert!(Instant::now() < end, "it is not answered in time");
        match client.answer(DEADLINE) {
            Answer::Packet(packet) if packet[0] == 0xD0 => break,
            Answer::Packet(_) => {}
            _ => break,
        }
    }
    let _ = sending.join();
}

fn persistent<'a>(client_id: &'a [u8]) -> Connect<'a> {
    Connect {
        client_id,
        clean_session: false,
        ..Connect::default()
    }
}

/// Makes Sessions end.
fn forget(broker: &Broker, ids: impl Iterator<Item = String>) {
    for id in ids {
        Client::connect(broker, &id).disconnect();
    }
}

#[test]
fn retained_messages_large_and_small() {
    for (name, count, payload_bytes) in [
        ("large retained", 40, 1_000_000),
        ("small retained", 30_000, 20),
    ] {
        expect_truth(name, move |broker| {
            let mut writer = Client::connect(broker, "writer");
            let payload = vec![b'x'; payload_bytes];
            let topic = |number: usize| format!("{number}/{}/of/many", number + 1);
            for some in (0..count).collect::<Vec<usize>>().chunks(2_000) {
                let bytes: Vec<u8> = some
                    .iter()
                    .flat_map(|number| {
                        packet::publish(topic(*number).as_bytes(), &payload, 0, 0, true)
                    })
                    .collect();
                flood(&mut writer, &bytes);
            }
            Held {
                clients: Vec::new(),
                undo: Box::new(move |_| {
                    for some in (0..count).collect::<Vec<usize>>().chunks(2_000) {
                        let bytes: Vec<u8> = some
                            .iter()
                            .flat_map(|number| {
                                packet::publish(topic(*number).as_bytes(), b"", 0, 0, true)
                            })
                            .collect();
                        flood(&mut writer, &bytes);
                    }
                }),
            }
        });
    }
}

/// Filters of one Client, 500 in each packet.
fn subscriber(broker: &Broker, count: usize, filter: impl Fn(usize) -> String) -> Held {
    let mut client = Client::connect(broker, "subscriber");
    let all: Vec<String> = (0..count).map(filter).collect();
    // No packet is larger than 16 MiB.
    let at_once = if all[0].len() > 1_000 { 100 } else { 500 };
    for some in all.chunks(at_once) {
        let filters: Vec<(&[u8], u8)> = some.iter().map(|filter| (filter.as_bytes(), 0)).collect();
        flood(&mut client, &packet::subscribe(1, &filters));
    }
    Held::by(vec![client])
}

#[test]
fn filters_of_every_shape() {
    expect_truth("short filters", |broker| {
        subscriber(broker, 40_000, |number| format!("room/{number}"))
    });
    expect_truth("filters with levels of their own", |broker| {
        subscriber(broker, 20_000, |n| format!("a{n}/b{n}/c{n}/d{n}/e{n}/f{n}"))
    });
    expect_truth("deep filters", |broker| {
        subscriber(broker, 300, |n| {
            (0..200)
                .map(|l| format!("{n}{l}"))
                .collect::<Vec<_>>()
                .join("/")
        })
    });
}

#[test]
fn filters_of_long_levels() {
    expect_truth("long filters", |broker| {
        subscriber(broker, 300, |number| {
            format!("{}{number}", "x".repeat(60_000))
        })
    });
    expect_truth("shared filters", |broker| {
        subscriber(broker, 5_000, |number| format!("$share/g{number}/#"))
    });
    expect_truth("long shared filters", |broker| {
        subscriber(broker, 100, |number| {
            format!("$share/g/{number}/{}", "x".repeat(60_000))
        })
    });
}

#[test]
fn sessions_and_connections() {
    expect_truth("absent sessions", |broker| {
        let id = |number: usize| format!("absent {number}");
        for number in 0..2_500 {
            Client::connect_with(broker, &persistent(id(number).as_bytes()))
                .0
                .disconnect();
        }
        Held {
            clients: Vec::new(),
            undo: Box::new(move |broker| forget(broker, (0..2_500).map(id))),
        }
    });
    expect_truth("wills", |broker| {
        let payload = vec![b'x'; 15_000];
        let clients = (0..700).map(|number| {
            let connect = Connect {
                client_id: &format!("will {number}").into_bytes(),
                will: Some(Will {
                    topic: "will",
                    payload: &payload,
                    qos: 1,
                    retain: false,
                }),
                ..Connect::default()
            };
            Client::connect_with(broker, &connect).0
        });
        Held::by(clients.collect())
    });
    expect_truth("QoS 2 never released", |broker| {
        let clients = (0..60).map(|number| {
            let mut client = Client::connect(broker, &format!("q {number}"));
            let bytes: Vec<u8> = (1..=40_000)
                .flat_map(|id| packet::publish(b"t", b"", 2, id, false))
                .collect();
            flood(&mut client, &bytes);
            client
        });
        Held::by(clients.collect())
    });
}

#[test]
fn queues_and_windows() {
    for (name, count, payload_bytes) in [
        ("large in flight", 18, 1_000_000),
        ("small queued", 40_000, 10),
    ] {
        expect_truth(name, move |broker| {
            let ids = || (0..3).map(|number| format!("reader {number}"));
            for id in ids() {
                let mut reader = Client::connect_with(broker, &persistent(id.as_bytes())).0;
                reader.subscribe("t", 1);
                reader.disconnect();
            }
            let mut writer = Client::connect(broker, "writer");
            let payload = vec![b'x'; payload_bytes];
            for some in (0..count).collect::<Vec<usize>>().chunks(5_000) {
                let bytes: Vec<u8> = some
                    .iter()
                    .flat_map(|_| packet::publish(b"t", &payload, 1, 1, false))
                    .collect();
                flood(&mut writer, &bytes);
            }
            Held {
                clients: vec![writer],
                undo: Box::new(move |broker| forget(broker, ids())),
            }
        });
    }
}

#[test]
fn unfinished_and_unread() {
    expect_truth("packets half received", |broker| {
        let clients = (0..30).map(|number| {
            let mut client = Client::connect(broker, &format!("half {number}"));
            let whole = packet::publish(b"t", &vec![b'x'; 2_000_000], 0, 0, false);
            client.try_send(&whole[..1_500_000]);
            client
        });
        Held::by(clients.collect())
    });
    expect_truth("outboxes nobody reads", |broker| {
        let mut clients: Vec<Client> = (0..40)
            .map(|number| {
                let mut client = Client::connect(broker, &format!("deaf {number}"));
                client.subscribe("t", 0);
                client
            })
            .collect();
        let mut writer = Client::connect(broker, "writer");
        let some = packet::publish(b"t", &vec![b'x'; 4_000], 0, 0, false).repeat(100);
        for _ in 0..60 {
            flood(&mut writer, &some);
        }
        clients.push(writer);
        Held::by(clients)
    });
    expect_truth("replays nobody reads", |broker| {
        let mut writer = Client::connect(broker, "writer");
        for number in 0..12 {
            let topic = format!("r/{number}");
            let message = packet::publish(topic.as_bytes(), &vec![b'x'; 600_000], 0, 0, true);
            flood(&mut writer, &message);
        }
        let mut reader = Client::connect(broker, "reader");
        reader.send(&packet::subscribe(1, &[(b"r/#", 0)]));
        let filter = |number: usize| format!("{number}/{}", "x".repeat(50_000));
        for number in 0..100 {
            let filter = filter(number);
            reader.try_send(&packet::subscribe(1, &[(filter.as_bytes(), 0)]));
        }
        Held {
            clients: vec![reader],
            undo: Box::new(move |_| {
                for number in 0..12 {
                    let topic = format!("r/{number}");
                    flood(
                        &mut writer,
                        &packet::publish(topic.as_bytes(), b"", 0, 0, true),
                    );
                }
            }),
        }
    });
}
