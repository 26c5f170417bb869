//! What a broker has acknowledged survives `kill -9`, and a power cut as far as was said, over true sockets: Sessions
//! and subscriptions, queued messages in their order, QoS 2 exactly once, retained messages.
//!
//! A test of kills starts a broker with a store of its own, publishes at full speed, kills the broker, starts it again,
//! and goes on; then everyone comes back, and what was acknowledged is compared with what arrives. Every other kill
//! comes at a random moment, the others as the broker begins its n-th write or sync of a file.
//!
//! `MQTTFAST_KILLS` is the number of kills of each test, 4 unless given: 1,500 in all by
//!
//!     MQTTFAST_KILLS=125 cargo test --release --test kill9 kills
//!
//! A test of power cuts (`cut`) plays them on a recording. `MQTTFAST_CUTS` is the number of each test, 5 unless given:
//! 600 in all by
//!
//!     MQTTFAST_CUTS=100 cargo test --test kill9 cuts

#[path = "kill9/cut.rs"]
mod cut;
#[path = "kill9/party.rs"]
mod party;

use mqttfast_rig::process as support;

use cut::{Plan, cut_often};
use mqttfast::random::SplitMix64;
use party::{FAST, Heard, RETAINED, Said, check_order, come_back};
use party::{publish_qos1, publish_qos2, say_last};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::thread;
use std::time::Duration;
use support::disk::Watched;
use support::{Broker, Client, Connect, Folder, Options};

fn number(name: &str, otherwise: usize) -> usize {
    let text = std::env::var(name);
    text.map_or(otherwise, |text| text.parse().expect("a number"))
}

/// How a broker dies.
#[derive(Debug)]
enum Kill {
    After(Duration),
    /// As it begins "write 17" or "sync 3", if it comes so far in a second.
    At(String),
}

impl Kill {
    fn choose(number: usize, random: &mut SplitMix64) -> Kill {
        match number % 4 {
            1 => Kill::At(format!("write {}", 1 + random.below(400))),
            3 => Kill::At(format!("sync {}", 1 + random.below(30))),
            _ => Kill::After(Duration::from_millis(30 + random.below(250) as u64)),
        }
    }
}

/// The folder of a test, and that of its journals.
struct Place {
    folder: Folder,
    journals: Folder,
}

impl Place {
    fn new() -> Place {
        let folder = Folder::new();
        let name = folder.0.file_name().expect("a name").to_string_lossy();
        let shared = Path::new("/dev/shm");
        // In memory, as a service has them, where this machine has that; else beside the tables.
        let journals = match shared.is_dir() {
            true => shared.join(format!("mqttfast-{name}")),
            false => folder.path("journals"),
        };
        Place {
            folder,
            journals: Folder::of(journals),
        }
    }
}

/// Where the kill comes by itself, it may come before the broker listens: `None`.
fn start(place: &Place, shards: usize, durability: &str, kill: Option<&str>) -> Option<Broker> {
    let store = place.folder.path("store");
    let watched = Watched {
        under: store.clone(),
        also: Some(place.journals.0.clone()),
        kill: kill.map(str::to_owned),
        ..Watched::default()
    };
    let store = store.to_str().expect("UTF-8");
    let arguments = ["--store-dir", store, "--durability", durability];
    let options = Options {
        shards,
        arguments: arguments.map(str::to_owned).into(),
        launcher: watched.launcher(&place.folder),
        ..Options::default()
    };
    match kill {
        None => Some(Broker::start_with(options)),
        Some(_) => Broker::try_start(&options).ok(),
    }
}

fn survives(shards: usize, durability: &str) {
    if support::reference() {
        return;
    }
    let place = Place::new();
    let mut random = SplitMix64::new(u64::from(std::process::id()) << 8 | shards as u64);
    let broker = start(&place, shards, durability, None).expect("a broker");
    for (client_id, qos) in [("one", 1), ("two", 2)] {
        let (mut client, present) = come_back(&broker, client_id);
        assert!(!present);
        for topic in ["plain/#", "exact/#", "kept/#"] {
            client.subscribe(topic, qos);
        }
        client.disconnect();
    }
    let (exact, _) = come_back(&broker, "exact");
    exact.disconnect();
    drop(broker);
    let mut plain = Said::default();
    let mut kept = Said::default();
    let mut exact = Said::default();
    // What each subscriber has had in earlier rounds.
    let mut highest: BTreeMap<(&str, String), u64> = BTreeMap::new();
    for number in 0..number("MQTTFAST_KILLS", 4) {
        let kill = Kill::choose(number, &mut random);
        let at = match &kill {
            Kill::At(at) => Some(at.as_str()),
            Kill::After(_) => None,
        };
        // It may be killed while it reads what the last one left: then this is a kill, too.
        if let Some(mut broker) = start(&place, shards, durability, at) {
            let connect = |client_id: &str, clean_session| {
                let connect = Connect {
                    client_id: client_id.as_bytes(),
                    clean_session,
                    ..Connect::default()
                };
                Client::try_connect_with(&broker, &connect)
            };
            // Some of them may be too late already.
            let two = connect("exact", false);
            let (one, three) = (connect("plain", true), connect("kept", true));
            let run = thread::spawn(move || match one {
                Some((one, _)) => publish_qos1(one, plain, "plain", false, FAST),
                None => plain,
            });
            let keep = thread::spawn(move || match three {
                Some((three, _)) => publish_qos1(three, kept, "kept", true, FAST),
                None => kept,
            });
            let resume = thread::spawn(move || {
                if let Some((mut two, present)) = two {
                    assert!(present, "its Session was promised");
                    publish_qos2(&mut two, &mut exact, "exact/x", usize::MAX, FAST);
                }
                exact
            });
            match &kill {
                Kill::After(time) => thread::sleep(*time),
                Kill::At(_) => {
                    for _ in 0..200 {
                        if broker.is_running() {
                            thread::sleep(Duration::from_millis(5));
                        }
                    }
                }
            }
            if broker.is_running() {
                broker.signal(nix::sys::signal::Signal::SIGKILL);
            }
            plain = run.join().expect("the publisher");
            kept = keep.join().expect("the publisher");
            exact = resume.join().expect("the publisher");
        }
        let broker = start(&place, shards, durability, None).expect("a broker");
        let log = broker.log();
        assert!(log.iter().any(|line| line.contains("store: ")), "{log:?}");

        // The QoS 2 publisher ends what it began, and all three say a last word.
        let (mut client, present) = come_back(&broker, "exact");
        assert!(present, "its Session was promised");
        publish_qos2(&mut client, &mut exact, "exact/x", 1, FAST);
        assert!(exact.under_way.is_empty());
        client.disconnect();
        say_last(&broker, &mut plain, &mut kept);

        let all = [("plain", &plain), ("kept", &kept), ("exact", &exact)];
        let last = all.iter().map(|(topic, said)| (*topic, said.next - 1));
        let last: BTreeMap<&str, u64> = last.collect();
        for client_id in ["one", "two"] {
            let (mut client, present) = come_back(&broker, client_id);
            assert!(present, "its Session was promised");
            let mut heard = Heard::default();
            let received = heard.receive_all(&mut client, &last, &BTreeSet::new());
            received.unwrap_or_else(|why| panic!("{client_id}, {kill:?}, {why}"));
            for (topic, said) in all {
                let numbers = heard.numbers(topic);
                let seen: BTreeSet<u64> = numbers.iter().copied().collect();
                let before = highest.insert((client_id, topic.to_owned()), said.next);
                let owed = said.acknowledged.range(before.unwrap_or(0)..);
                let lost: Vec<&u64> = owed.filter(|number| !seen.contains(number)).collect();
                let whose = format!("{client_id}, {topic}, kill {number}, {kill:?}");
                if let (Some(first), Some(last)) = (lost.first(), lost.last()) {
                    panic!("{whose}: {} lost, {first} to {last}", lost.len());
                }
                check_order(&numbers).unwrap_or_else(|why| panic!("{whose}: {why}"));
                if topic == "exact" {
                    assert_eq!(numbers.len(), seen.len(), "{whose}: twice");
                }
            }
            client.disconnect();
        }

        // Each retained message is one that was published, and not older than the last that was acknowledged.
        let mut client = Client::connect(&broker, "reader");
        for topic in 0..RETAINED {
            client.subscribe(&format!("kept/{topic}"), 1);
            let on_topic = |number: &&u64| **number % RETAINED == topic;
            let Some(least) = kept.acknowledged.iter().rev().find(on_topic) else {
                continue;
            };
            let message = client.receive();
            let (_, number) = party::of(&message);
            assert!(message.retain && number % RETAINED == topic);
            assert!((*least..kept.next).contains(&number), "{least}: {number}");
        }
        // A topic of which nothing was acknowledged may have a message, too.
    }
}

/// Makes of shards and durability the tests `kills::NAME::by_default` and `kills::NAME::by_epoll`.
macro_rules! kills {
    ($($name:ident: $shards:literal, $durability:literal;)+) => {
        mod kills {
            $(mod $name {
                #[test]
                fn by_default() {
                    crate::survives($shards, $durability);
                }
                #[test]
                fn by_epoll() {
                    mqttfast_rig::process::broker::by_epoll(|| crate::survives($shards, $durability));
                }
            })+
        }
    };
}

kills! {
    batched_on_one_shard: 1, "batched";
    strict_on_one_shard: 1, "strict";
    batched_on_two_shards: 2, "batched";
    strict_on_two_shards: 2, "strict";
    batched_on_four_shards: 4, "batched";
    strict_on_four_shards: 4, "strict";
}

fn cuts(plan: &Plan) {
    if support::reference() {
        return;
    }
    let count = number("MQTTFAST_CUTS", 5);
    let seed = std::env::var("MQTTFAST_CUTS_SEED");
    let seed = seed.map_or(u64::from(std::process::id()), |seed| {
        seed.parse().expect("a number")
    });
    let begun = std::time::Instant::now();
    let judged = cut_often(plan, count, &mut SplitMix64::new(seed));
    let mut ages = judged.unwrap_or_else(|why| panic!("{plan:?}, seed {seed}: {why}"));
    ages.sort_unstable();
    let lossy = ages.iter().filter(|age| **age > 0).count();
    println!(
        "{count} cuts of {} on {} shards in {} s: {lossy} took acknowledged messages, the oldest of them {} ms old in the middle, {} ms at most",
        plan.durability,
        plan.shards,
        begun.elapsed().as_secs(),
        ages[ages.len() - lossy / 2 - 1],
        ages[ages.len() - 1]
    );
    // In a few, chance decides; in a run of minutes, not.
    if lossy >= 20 {
        let middle = ages[ages.len() - lossy / 2 - 1];
        assert!(middle <= plan.window_ms + 50, "{middle} ms");
    }
}

#[test]
fn cuts_of_strict() {
    cuts(&Plan::of(1, "strict"));
}

#[test]
fn cuts_of_strict_on_two_shards() {
    cuts(&Plan::of(2, "strict"));
}

#[test]
fn cuts_of_batched() {
    cuts(&Plan {
        sync_us: 8_000,
        ..Plan::of(1, "batched")
    });
}

#[test]
fn cuts_of_batched_on_two_shards() {
    cuts(&Plan::of(2, "batched"));
}

/// The journals are on the disk, too, and no sync ever covers them.
#[test]
fn cuts_of_batched_with_journals_on_the_disk() {
    cuts(&Plan {
        journals_in_memory: false,
        window_ms: 30,
        ..Plan::of(2, "batched")
    });
}

/// A kill at any write, of the journals too.
#[test]
fn cuts_that_are_kills() {
    cuts(&Plan {
        journals_in_memory: false,
        only_kills: true,
        ..Plan::of(2, "batched")
    });
}
