//! The power goes: a broker is recorded while it serves (`mqttfast_rig::process::disk`), disks are made as a cut at any
//! moment may leave them, the broker is started on each, everyone comes back as it was at that moment, and what was
//! acknowledged is compared with what arrives.
//!
//! | | `strict` | `batched` |
//! | --- | --- | --- |
//! | acknowledged before the cut and lost | none | those since the last commit but one ended, from the first on all |
//! | QoS 2 twice | never | only of these |
//! | QoS 2, begun before the cut and completed after it, and lost | never | only of these |
//! | order of each publisher; Sessions and retained messages that were promised | kept | kept |
//!
//! Where all that was written is kept, a cut is a `kill -9` at that write, and nothing may be lost in either.

use super::party::{FAST, Heard, Pace, RETAINED, Said, check_order, come_back};
use super::party::{publish_qos1, publish_qos2, say_last};
use mqttfast::random::SplitMix64;
use mqttfast_rig::process as support;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;
use support::disk::{Change, Image, Kind, Unsynced, Watched, now_ns, read};
use support::{Broker, Client, Folder, Options};

/// Cuts of one recording.
const CUTS_A_RECORDING: usize = 25;
/// The broker says of itself that with a slow disk it may lose so much.
const LATE_MS: u64 = 1_000;
const FILTERS: [&str; 3] = ["plain/#", "exact/#", "kept/#"];

/// What is recorded.
#[derive(Clone, Debug)]
pub struct Plan {
    pub shards: usize,
    pub durability: &'static str,
    pub window_ms: u64,
    /// What a sync takes.
    pub sync_us: u32,
    /// Or in the store's folder, where a machine has no other place.
    pub journals_in_memory: bool,
    /// The process ends, not the machine: all that it wrote is there, journals in the store's folder too, and nothing
    /// that was acknowledged is lost.
    pub only_kills: bool,
    /// Another program than the one under test, and a mistake that is planted in it.
    pub planted: Option<(PathBuf, &'static str)>,
}

impl Plan {
    pub fn of(shards: usize, durability: &'static str) -> Plan {
        Plan {
            shards,
            durability,
            window_ms: 100,
            sync_us: 2_000,
            journals_in_memory: true,
            only_kills: false,
            planted: None,
        }
    }
}

/// A folder in memory, or one that is not.
fn journals_of(plan: &Plan, folder: &Folder, number: usize) -> Folder {
    let shared = Path::new("/dev/shm");
    let name = format!("journals-{number}");
    if !plan.journals_in_memory || !shared.is_dir() {
        return Folder::of(folder.path(&name));
    }
    let of = folder.0.file_name().expect("a name").to_string_lossy();
    Folder::of(shared.join(format!("mqttfast-{of}-{name}")))
}

fn start(plan: &Plan, folder: &Folder, watched: Watched) -> Broker {
    let mut launcher = watched.launcher(folder);
    if let Some((_, fault)) = &plan.planted {
        launcher.push(format!("MQTTFAST_FAULT={fault}"));
    }
    let store = watched.under.to_str().expect("UTF-8");
    let window = plan.window_ms.to_string();
    let arguments = [
        "--store-dir",
        store,
        "--durability",
        plan.durability,
        "--store-window",
        &window,
    ];
    Broker::start_with(Options {
        shards: plan.shards,
        arguments: arguments.map(str::to_owned).into(),
        launcher,
        program: plan.planted.as_ref().map(|(program, _)| program.clone()),
        ..Options::default()
    })
}

/// What a broker did to its disk, and what its Clients knew.
pub struct Recorded {
    changes: Vec<Change>,
    /// When CONNACK of a new Session came.
    promised: Vec<(u64, &'static str)>,
    /// All is subscribed, and messages begin.
    ready: u64,
    plain: Said,
    kept: Said,
    exact: Said,
    live: Heard,
}

pub fn record(plan: &Plan, folder: &Folder, random: &mut SplitMix64) -> Recorded {
    let store = folder.path("recorded");
    let journals = journals_of(plan, folder, 0);
    let watched = Watched {
        under: store.clone(),
        also: Some(journals.0.clone()),
        record: Some(folder.path("record")),
        sync_us: Some(plan.sync_us),
        boot: Some("first".to_owned()),
        kill: None,
    };
    let broker = start(plan, folder, watched);
    let mut promised = Vec::new();
    let mut subscriber = |client_id: &'static str, qos| {
        let (mut client, present) = come_back(&broker, client_id);
        assert!(!present);
        promised.push((now_ns(), client_id));
        for filter in FILTERS {
            client.subscribe(filter, qos);
        }
        client
    };
    subscriber("one", 1).disconnect();
    subscriber("two", 2).disconnect();
    let taker = subscriber("live", 2);
    let (mut two, _) = come_back(&broker, "exact");
    promised.push((now_ns(), "exact"));
    let ready = now_ns();
    let (one, three) = (
        Client::connect(&broker, "plain"),
        Client::connect(&broker, "kept"),
    );
    let pace = Pace {
        under_way: 1 + random.below(8) as u16,
        rest: Duration::from_micros(1_000 + random.below(8_000) as u64),
    };
    let plain = thread::spawn(move || publish_qos1(one, Said::default(), "plain", false, pace));
    let kept = thread::spawn(move || publish_qos1(three, Said::default(), "kept", true, pace));
    let exact = thread::spawn(move || {
        let mut said = Said::default();
        publish_qos2(&mut two, &mut said, "exact/x", usize::MAX, pace);
        said
    });
    let live = thread::spawn(move || {
        let mut heard = Heard::default();
        heard.receive(taker);
        heard
    });
    thread::sleep(Duration::from_millis(400 + random.below(300) as u64));
    broker.signal(nix::sys::signal::Signal::SIGKILL);
    let recorded = Recorded {
        promised,
        ready,
        plain: plain.join().expect("the publisher"),
        kept: kept.join().expect("the publisher"),
        exact: exact.join().expect("the publisher"),
        live: live.join().expect("the subscriber"),
        changes: Vec::new(),
    };
    drop(broker);
    let changes = read(&folder.path("record"));
    std::fs::remove_dir_all(&store).expect("the power is gone, and the disk with it");
    assert!(changes.len() > 20, "{} changes", changes.len());
    Recorded {
        changes,
        ..recorded
    }
}

/// A moment, and what the disk does.
#[derive(Debug)]
struct Cut {
    /// Changes before it.
    count: usize,
    ns: u64,
    unsynced: Unsynced,
}

impl Cut {
    /// Half of them beside a sync.
    fn choose(plan: &Plan, recorded: &Recorded, random: &mut SplitMix64) -> Cut {
        let changes = &recorded.changes;
        let mut count = 1 + random.below(changes.len());
        if random.below(2) == 0 {
            let syncs = (0..changes.len()).filter(|at| matches!(changes[*at].kind, Kind::Sync(_)));
            let syncs: Vec<usize> = syncs.collect();
            count = syncs[random.below(syncs.len())] + random.below(2);
        }
        let ns = match changes.get(count) {
            Some(next) => next.effective(),
            None => changes[count - 1].ended,
        };
        let unsynced = match plan.only_kills {
            true => Unsynced::Kept,
            false => Unsynced::ALL[random.below(Unsynced::ALL.len())],
        };
        Cut {
            count,
            ns,
            unsynced,
        }
    }
}

/// Starts the broker on the disk of a cut and compares. Returns the age of the oldest acknowledged message that was
/// lost, in ms, 0 where none was.
fn judge(
    plan: &Plan,
    recorded: &Recorded,
    cut: &Cut,
    folder: &Folder,
    number: usize,
    random: &mut SplitMix64,
) -> Result<u64, String> {
    let image = Image::after(&recorded.changes, cut.count, cut.unsynced, |below| {
        random.below(below)
    });
    let store = folder.path(&format!("cut-{number}"));
    image.lay_out(&store);
    let journals = journals_of(plan, folder, number + 1);
    let broker = start(
        plan,
        folder,
        Watched {
            under: store.clone(),
            also: Some(journals.0.clone()),
            sync_us: Some(0),
            boot: Some(if plan.only_kills { "first" } else { "second" }.to_owned()),
            ..Watched::default()
        },
    );
    let log = broker.log();
    let bad = ["damaged", "not understood", "of an older copy", "cannot be"];
    if let Some(line) = log
        .iter()
        .find(|line| bad.iter().any(|bad| line.contains(bad)))
    {
        return Err(line.clone());
    }
    // What was acknowledged before that must be there.
    let promise = plan.promise(recorded, cut);
    for (at, client_id) in &recorded.promised {
        if *at < promise {
            let (client, present) = come_back(&broker, client_id);
            client.half_close();
            if !present {
                let age_ms = (cut.ns - at) / 1_000_000;
                return Err(format!(
                    "the Session of {client_id}, promised {age_ms} ms before the cut, is gone"
                ));
            }
        }
    }
    if recorded.ready >= promise {
        return Ok(0);
    }
    let mut exact = recorded.exact.at(cut.ns);
    let mut plain = recorded.plain.at(cut.ns);
    let mut kept = recorded.kept.at(cut.ns);

    // The QoS 2 publisher ends what it began, and all three say a last word.
    let (mut client, _) = come_back(&broker, "exact");
    publish_qos2(&mut client, &mut exact, "exact/x", 1, FAST);
    drop(client);
    say_last(&broker, &mut plain, &mut kept);

    let all = [
        ("plain", &plain, &recorded.plain),
        ("kept", &kept, &recorded.kept),
        ("exact", &exact, &recorded.exact),
    ];
    let last = all.iter().map(|(topic, said, _)| (*topic, said.next - 1));
    let last: BTreeMap<&str, u64> = last.collect();
    let mut oldest = 0;
    for client_id in ["one", "two", "live"] {
        let (mut client, _) = come_back(&broker, client_id);
        let mut heard = match client_id {
            "live" => recorded.live.at(cut.ns),
            _ => Heard::default(),
        };
        let whose = |topic: &str, what: String| format!("{client_id}, {topic}: {what}");
        // A window that is lost takes PUBREL with it.
        let forgotten = recorded.live.held_between(promise, cut.ns);
        heard
            .receive_all(&mut client, &last, &forgotten)
            .map_err(|why| whose("all", why))?;
        // PUBREL of what is forgotten may come yet.
        drop(client);
        for (topic, said, before) in all {
            let numbers = heard.numbers(topic);
            let seen: BTreeSet<u64> = numbers.iter().copied().collect();
            check_order(&numbers).map_err(|why| whose(topic, why))?;
            let lost = said.acknowledged.difference(&seen);
            let lost: Vec<u64> = lost.copied().collect();
            for number in &lost {
                // One that began in the window that is lost may be taken for the one that had its Packet Identifier
                // before, as PUBREL of that is lost, too.
                let acknowledged = before.acknowledged_at(*number).filter(|at| *at < cut.ns);
                let at = acknowledged.or_else(|| before.began_at(*number));
                let at = at.ok_or_else(|| whose(topic, format!("{number} is lost")))?;
                let age_ms = cut.ns.saturating_sub(at) / 1_000_000;
                if at < promise || age_ms > LATE_MS {
                    return Err(whose(
                        topic,
                        format!(
                            "{number}, acknowledged {age_ms} ms before the cut, is lost, and {} more",
                            lost.len() - 1
                        ),
                    ));
                }
                oldest = oldest.max(age_ms);
            }
            // A window goes from its end, and none of its middle.
            let first = lost.first().copied().unwrap_or(u64::MAX);
            let acknowledged = before.at(cut.ns).acknowledged;
            let later = acknowledged.range(first..).find(|n| seen.contains(n));
            if let Some(later) = later
                && client_id != "live"
                && plan.journals_in_memory
            {
                return Err(whose(topic, format!("{first} is lost, {later} is not")));
            }
            if topic == "exact" && client_id != "one" {
                let mut once = BTreeSet::new();
                let twice = numbers.iter().find(|number| {
                    // A Client that was there may have had or completed it in the window that is lost.
                    let steps = recorded.live.steps_of(topic, **number);
                    let lost = steps.iter().any(|at| (promise..cut.ns).contains(at));
                    !once.insert(**number) && (client_id != "live" || !lost)
                });
                if let Some(number) = twice {
                    return Err(whose(topic, format!("{number} came twice")));
                }
            }
        }
    }

    // Each retained message is one that was published, and not older than the last that was acknowledged in time.
    let mut client = Client::connect(&broker, "reader");
    for topic in 0..RETAINED {
        client.subscribe(&format!("kept/{topic}"), 1);
        let mut acknowledged = kept.acknowledged.iter().rev();
        let least = acknowledged.find(|number| {
            let at = recorded.kept.acknowledged_at(**number);
            **number % RETAINED == topic && at.is_none_or(|at| at < promise)
        });
        let Some(least) = least else { continue };
        let message = client.receive();
        let (_, number) = super::party::of(&message);
        if number % RETAINED != topic || !(*least..kept.next).contains(&number) {
            return Err(format!("kept/{topic} has {number}, after {least}"));
        }
    }
    drop(broker);
    std::fs::remove_dir_all(&store).expect("removed");
    Ok(oldest)
}

impl Plan {
    /// What was acknowledged before then must be there.
    ///
    /// The store's thread takes all that there is when a commit begins, and that is after the last one has ended: so
    /// with the last commit of `batched` all is there that was acknowledged before the end of the one before it,
    /// however slow the machine is. How long that is in time is measured.
    fn promise(&self, recorded: &Recorded, cut: &Cut) -> u64 {
        if self.durability == "strict" || self.only_kills {
            return cut.ns;
        }
        let commits = recorded.commits(cut.count);
        let before = commits.len().checked_sub(2);
        before.map_or(0, |before| commits[before])
    }
}

impl Recorded {
    /// When the commits among the first changes ended: syncs of the log behind writes to it.
    fn commits(&self, count: usize) -> Vec<u64> {
        let mut log = None;
        let mut written = false;
        let mut ends = Vec::new();
        for change in &self.changes[..count] {
            match &change.kind {
                Kind::Create(name) if name.ends_with("-wal") => log = Some(change.file),
                // A log that begins anew has its head synced by itself.
                Kind::Write { at, .. } if Some(change.file) == log => written |= *at > 0,
                Kind::Sync(_) if Some(change.file) == log && written => {
                    written = false;
                    ends.push(change.ended);
                }
                _ => {}
            }
        }
        ends
    }
}

/// Records and cuts until `cuts` are judged, or one is not as it must be. Returns the ages of the oldest lost
/// messages, in ms.
pub fn cut_often(plan: &Plan, cuts: usize, random: &mut SplitMix64) -> Result<Vec<u64>, String> {
    let mut ages = Vec::new();
    while ages.len() < cuts {
        let folder = Folder::new();
        let recorded = record(plan, &folder, random);
        for number in 0..CUTS_A_RECORDING.min(cuts - ages.len()) {
            let cut = Cut::choose(plan, &recorded, random);
            let judged = judge(plan, &recorded, &cut, &folder, number, random);
            let all = recorded.changes.len();
            ages.push(judged.map_err(|why| format!("{cut:?} of {all} changes: {why}"))?);
        }
    }
    Ok(ages)
}
