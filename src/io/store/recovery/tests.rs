//! Damaged stores: whatever has happened to the file, its log or the journal, a start gives the shards nothing that was
//! never stored, nearly all that lies on whole pages, and leaves a sound file.
//!
//! 50 images in the test command; as many as are wanted by
//! `MQTTFAST_IMAGES=10000 cargo test --profile bench --lib damaged_images -- --nocapture`, which ends with a table.

use super::*;
use crate::config::Logs;
use crate::random::SplitMix64;
use crate::session::queue::Identifiers;
use crate::store::applier::Moment;
use crate::store::memory::MemoryTables;
use crate::store::pages::{LEAF, Pages, Value, cell, kind_of, offsets, values};
use crate::store::record::{Body, Carried, Delivery, Holder, Record, WriteVersion};
use crate::store::walk::{Use, Walk};
use crate::store::{Table, frame};
use crate::wire::{QoS, SubscriptionOptions, Version};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

/// What a shard is given, in words that do not depend on the numbers of rows.
type Known = BTreeSet<String>;

/// A store as a crash leaves it: the end of it in the log and in the journal alone.
struct Original {
    file: Vec<u8>,
    log: Vec<u8>,
    journal: Vec<u8>,
    journal_name: String,
    /// All that was ever there.
    ever: Known,
    /// What is there at the end and was in the file alone, or in file and log.
    of_file: Known,
    of_tables: Known,
    /// Pages of the rows of each of these, and whose they depend on.
    pages: BTreeMap<String, BTreeSet<u32>>,
}

fn payload(random: &mut SplitMix64) -> Vec<u8> {
    let most = if random.below(12) == 0 { 4_000 } else { 120 };
    (0..random.below(most))
        .map(|_| random.draw() as u8)
        .collect()
}

/// Records of one turn, of a shard that has Sessions 1 to `sessions`.
fn turn(random: &mut SplitMix64, sessions: u64, number: &mut u64, frame: &mut Vec<u8>) {
    let body = |topic, payload| Body {
        topic,
        passed_on: b"",
        payload,
        qos: QoS::AtLeastOnce,
        retain: false,
        expires: 0,
    };
    let queued = |session, number, carried| Record::Queued {
        session,
        delivery: Delivery {
            number,
            qos: QoS::AtLeastOnce,
            retain: false,
            identifiers: Identifiers::new(),
            carried,
        },
    };
    let session = (1 + random.draw() % sessions) << 6;
    match random.below(10) {
        0 => {
            let client_id = format!("client-{session}");
            let holder = Holder {
                client_id: &client_id,
                user_name: Some("user"),
                is_claim: false,
                expiry_interval_s: u32::MAX,
                connected: false,
                ends: 0,
                will: None,
                will_due: 0,
            };
            Record::Session { session, holder }.put(frame);
            for filter in 0..random.below(6) {
                let options = SubscriptionOptions::from_byte(Version::V5, 1).expect("QoS 1");
                Record::Subscribed {
                    session,
                    filter: &format!("home/{filter}/+/{session}"),
                    options,
                    identifier: 0,
                }
                .put(frame);
            }
        }
        1..=3 => {
            // Those of QoS 0 are written as batches, unless something else happens to their topics.
            let lazy = random.below(2) == 0;
            let name = if lazy { "lazy" } else { "retained" };
            let topic = format!("{name}/{}", random.below(900));
            let payload = payload(random);
            *number += 1;
            let version = WriteVersion {
                clock: *number,
                shard: 0,
            };
            Record::Retained {
                version,
                body: Body {
                    retain: true,
                    qos: if lazy {
                        QoS::AtMostOnce
                    } else {
                        QoS::AtLeastOnce
                    },
                    ..body(&topic, &payload)
                },
            }
            .put(frame);
        }
        4 => {
            let packet_id = 1 + random.below(300) as u16;
            Record::Received {
                session,
                packet_id,
                passage: 0,
            }
            .put(frame);
        }
        5 => {
            let session = (1 + random.draw() % sessions) << 6;
            Record::Unqueued {
                session,
                number: 1 + random.draw() % (*number + 1),
            }
            .put(frame);
        }
        6 => {
            let payload = payload(random);
            Record::Message {
                number: 1,
                body: body("shared/topic", &payload),
            }
            .put(frame);
            for _ in 0..2 {
                *number += 1;
                let session = (1 + random.draw() % sessions) << 6;
                queued(session, *number, Carried::Shared(1)).put(frame);
            }
        }
        _ => {
            *number += 1;
            let payload = payload(random);
            let carried = Carried::Own(body("own/topic", &payload));
            queued(session, *number, carried).put(frame);
        }
    }
}

/// What shards are given, in words. `of_row` gets the table and the id of the row behind each, by its order.
fn in_words(parts: &[RestoredPart]) -> Known {
    let mut messages = BTreeMap::new();
    let mut known = Known::new();
    let message = |message: &crate::broker::RestoredMessage| {
        format!(
            "{} {:?}",
            message.topic,
            crate::store::crc::crc32c(&message.payload)
        )
    };
    for part in parts {
        known.insert(match part {
            RestoredPart::Head(_) => continue,
            RestoredPart::Message { id, message: of } => {
                messages.insert(*id, message(of));
                continue;
            }
            RestoredPart::Session(session) => {
                format!("session {} {}", session.session.number(), session.client_id)
            }
            RestoredPart::Subscription {
                session, filter, ..
            } => format!("subscription {} {filter}", session.number()),
            RestoredPart::InFlight {
                session, packet_id, ..
            } => format!("in flight {} {packet_id:?}", session.number()),
            RestoredPart::Queued { session, delivery } => format!(
                "queued {} {} {}",
                session.number(),
                delivery.number,
                messages[&delivery.message]
            ),
            RestoredPart::Received {
                session, packet_id, ..
            } => format!("received {} {packet_id:?}", session.number()),
            RestoredPart::Passed { passage, session } => {
                format!("passed {} {}", passage.number(), session.number())
            }
            RestoredPart::Retained {
                message: of,
                version,
            } => {
                format!("retained {} {}", version.clock, message(of))
            }
            RestoredPart::Will { client_id, .. } => format!("will {client_id}"),
        });
    }
    known
}

/// All of some tables, in words.
fn all_of(tables: &mut MemoryTables) -> Known {
    let mut parts = Vec::new();
    let state = tables.state().clone();
    let Ok(_) = load(tables, &state, 1, 1, &mut |_, part| parts.push(part));
    in_words(&parts)
}

/// The rows behind words, by the words that only they have.
fn word_of(table: Table, id: u64, row: &crate::store::Row) -> Option<String> {
    use crate::store::row;
    Some(match table {
        Table::Session => format!("session {id} {}", row.text),
        Table::Subscription => format!("subscription {} {}", row.session, row.text),
        Table::Received => {
            format!("received {} ", id >> 16)
                + &format!("{:?}", crate::wire::PacketId::new(id as u16)?)
        }
        Table::Retained => {
            let (version, body) = row::read_retained(id, row.as_ref()).ok()?;
            let sum = crate::store::crc::crc32c(body.payload);
            format!("retained {} {} {sum:?}", version.clock, row.text)
        }
        Table::Delivery | Table::Message | Table::Will | Table::Batch => return None,
    })
}

/// The pages of every row of a file, as the walk of the sound original has them.
fn pages_of(file: &[u8], log: &[u8]) -> BTreeMap<(Table, u64), BTreeSet<u32>> {
    let pages = Pages::of(file, log);
    let walk = Walk::of(&pages);
    assert!(walk.is_whole(), "{walk:?}");
    let mut found = BTreeMap::new();
    let mut batches = BTreeMap::new();
    for (number, page) in pages.all() {
        let Use::Rows(table) = walk.use_of(number) else {
            continue;
        };
        if kind_of(number, page) != LEAF {
            continue;
        }
        let Ok(offsets) = offsets(number, page) else {
            continue;
        };
        for offset in offsets {
            let mut mine = BTreeSet::from([number]);
            let read = cell(&pages, page, offset, &mut |more| mine.insert(more));
            let Ok(cell) = read else {
                continue;
            };
            let last = values(&cell.record).expect("a sound row").pop();
            if let (Table::Batch, Some(Value::Blob(body))) = (table, last) {
                let row = crate::store::RowRef {
                    session: 0,
                    message: 0,
                    text: "",
                    body,
                };
                let rows = crate::store::row::read_batch(cell.id, row).expect("a sound batch");
                batches.insert(cell.id, (rows, mine.clone()));
            }
            found.insert((table, cell.id), mine);
        }
    }
    // The last batch has the newest of a topic.
    for (rows, mine) in batches.into_values() {
        for (id, _) in rows {
            found.insert((Table::Retained, id), mine.clone());
        }
    }
    found
}

impl Original {
    /// Of this seed or one after it: the end of a store is to be in batches, and by chance it was just merged.
    fn make(folder: &Path, seed: u64, turns: usize) -> Original {
        let made =
            (0..20).find_map(|more| Original::of_seed(folder, seed + 1_000_000 * more, turns));
        made.expect("one of twenty stores ends in batches")
    }

    /// `None`: its end is not in batches.
    fn of_seed(folder: &Path, seed: u64, turns: usize) -> Option<Original> {
        let mut random = SplitMix64::new(seed);
        let sessions = 1 + turns as u64 / 12;
        fs::create_dir_all(folder).expect("a folder");
        let path = folder.join(database::FILE_NAME);
        let mut database = Database::open(&path).expect("a file");
        let key = key(&database).expect("a key");
        let identity = identity(&database).expect("an identity");
        let mut on_disk = Applier::new(Default::default(), State::default(), key);
        let mut shadow = Applier::new(Default::default(), State::default(), key);
        let mut tables = MemoryTables::default();
        let mut number = 0;
        let mut ever = Known::new();
        let (mut of_file, mut of_tables) = (Known::new(), Known::new());
        let mut journal = vec![0; limits::JOURNAL_BYTES];
        journal[..frame::HEADER_BYTES].copy_from_slice(&frame::header(identity));
        let mut at = frame::halves()[0].0;
        for turn_number in 1..=turns as u64 {
            let mut bytes = Vec::new();
            frame::begin(&mut bytes);
            for _ in 0..1 + random.below(3) {
                turn(&mut random, sessions, &mut number, &mut bytes);
            }
            frame::finish(&mut bytes, turn_number);
            let records = &bytes[frame::FRAME_HEAD_BYTES..];
            shadow.apply(0, turn_number, records).expect("records");
            let now = Moment {
                unix_s: turn_number,
                ms: 60_000 * turn_number,
            };
            let Ok(()) = shadow.commit(now, true, false, &mut tables);
            shadow.committed(now);
            // What tables or a journal may come back to.
            if turn_number % 20 == 0 || turn_number + 40 > turns as u64 {
                ever.extend(all_of(&mut tables));
            }
            let in_journal = turn_number + 30 > turns as u64;
            if in_journal {
                journal[at..at + bytes.len()].copy_from_slice(&bytes);
                at += bytes.len();
                continue;
            }
            on_disk.apply(0, turn_number, records).expect("records");
            if turn_number % 20 == 0 || turn_number + 30 == turns as u64 {
                database
                    .commit(&mut on_disk, now, false, false)
                    .expect("committed");
                on_disk.committed(now);
                of_tables = all_of(&mut tables);
                if turn_number + 130 < turns as u64 {
                    database.checkpoint().expect("moved");
                    of_file.clone_from(&of_tables);
                }
            }
        }
        let last = all_of(&mut tables);
        let (file, log) = rebuild::read_both(&path).expect("readable");
        drop(database);
        fs::remove_dir_all(folder).expect("removed");
        let in_both = |known: Known| known.intersection(&last).cloned().collect::<Known>();
        let of_rows = pages_of(&file, &log);
        let batches = of_rows.keys().filter(|(table, _)| *table == Table::Batch);
        if batches.count() <= 2 {
            return None;
        }
        let salvaged = crate::store::salvage::salvage(&file, &log);
        let mut pages = BTreeMap::new();
        for ((table, id), row) in &salvaged.rows {
            let Some(word) = word_of(*table, *id, row) else {
                continue;
            };
            let mut mine = of_rows[&(*table, *id)].clone();
            // Without its Session it is of no use.
            let session = match table {
                Table::Received => id >> 16,
                _ => row.session,
            };
            mine.extend(
                of_rows
                    .get(&(Table::Session, session))
                    .into_iter()
                    .flatten(),
            );
            pages.insert(word, mine);
        }
        Some(Original {
            file,
            log,
            journal,
            journal_name: journal::path(Path::new(""), identity, ShardId(0))
                .display()
                .to_string(),
            ever: ever.union(&last).cloned().collect(),
            of_file: in_both(of_file),
            of_tables: in_both(of_tables),
            pages,
        })
    }
}

/// What is done to a store, and which pages of its file that touches.
fn damage(
    original: &Original,
    random: &mut SplitMix64,
) -> (Vec<u8>, Vec<u8>, Vec<u8>, &'static str, BTreeSet<u32>) {
    let page = limits::STORE_PAGE_BYTES as usize;
    let mut files = [
        original.file.clone(),
        original.log.clone(),
        original.journal.clone(),
    ];
    let which = [0, 0, 0, 1, 2][random.below(5)];
    let hit = &mut files[which];
    let before = hit.clone();
    let pages = hit.len() / page;
    let kind = match random.below(8) {
        0 => {
            for _ in 0..1 + random.below(20) {
                let at = random.below(hit.len());
                hit[at] ^= 1 << random.below(8);
            }
            "flipped bits"
        }
        1 => {
            // A write that reached only some sectors.
            let at = random.below(pages) * page;
            hit[at + page / 2..at + page].fill(0);
            "a torn page"
        }
        2 => {
            hit.truncate(random.below(before.len()));
            "a cut"
        }
        3 => {
            let from = random.below(pages);
            let to = (from + 1 + random.below(8)).min(pages);
            hit[from * page..to * page].fill(0);
            "zeros"
        }
        4 => {
            let (one, two) = (random.below(pages), random.below(pages));
            let of = |number: usize| before[number * page..(number + 1) * page].to_vec();
            let (first, second) = (of(one), of(two));
            hit[one * page..(one + 1) * page].copy_from_slice(&second);
            hit[two * page..(two + 1) * page].copy_from_slice(&first);
            "swapped pages"
        }
        5 => {
            let at = random.below(pages) * page;
            hit[at..at + page].fill_with(|| random.draw() as u8);
            "noise"
        }
        6 => {
            hit[..100].fill_with(|| random.draw() as u8);
            "a head of noise"
        }
        _ => {
            let at = random.below(hit.len());
            hit[at..].fill(0);
            "zeros to the end"
        }
    };
    let mut touched = BTreeSet::new();
    if which == 0 {
        for number in 0..pages {
            let range = number * page..(number + 1) * page;
            if hit.get(range.clone()) != before.get(range) {
                touched.insert(number as u32 + 1);
            }
        }
    }
    let [file, log, journal] = files;
    let name = ["the file", "the log", "the journal"][which];
    let what = Box::leak(format!("{kind} in {name}").into_boxed_str());
    (file, log, journal, what, touched)
}

/// The time that this thread has worked; others may want the machine too.
fn worked() -> Duration {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID);
    time.expect("every Linux has it").into()
}

fn start(folder: &Path, log: &Log) -> Result<Known, String> {
    let config = StoreConfig {
        directory: Some(folder.to_owned()),
        ..StoreConfig::default()
    };
    let wanted = Wanted::of(&config, 0);
    let recovered = recover(&config, &wanted, 2, log).map_err(|error| error.to_string())?;
    let recovered = recovered.ok_or("there is no store")?;
    let parts = recovered.chunks.into_iter().flatten();
    let parts: Vec<RestoredPart> = parts.flat_map(|chunk| chunk.parts).collect();
    // Each shard has messages of its own under the same names.
    recovered
        .disk
        .database
        .close()
        .map_err(|refusal| refusal.to_string())?;
    Ok(in_words(&parts))
}

#[derive(Default)]
struct Found {
    images: u64,
    lost: u64,
    wanted: u64,
    worst_percent: f64,
    longest: Duration,
    bytes: usize,
}

#[test]
fn damaged_images_start_with_what_is_whole() {
    let count = std::env::var("MQTTFAST_IMAGES");
    let count: u64 = count.map_or(50, |count| count.parse().expect("a number"));
    let shm = Path::new("/dev/shm");
    let base = if shm.is_dir() {
        shm.to_owned()
    } else {
        std::env::temp_dir()
    };
    let base = base.join(format!("mqttfast-images-{}", std::process::id()));
    let log = Log::start(Some(Logs::Warnings), None).expect("a log");
    let mut found = BTreeMap::<&str, Found>::new();
    let mut original = None;
    for image in 0..count {
        let mut random = SplitMix64::new(image);
        // Each store serves many images; one in twenty is large.
        if image % 50 == 0 {
            let turns = match (count > 50, image % 1_000 == 950) {
                (true, true) => 9_000,
                (true, false) => 1_200,
                (false, _) => 700,
            };
            original = Some(Original::make(&base.join("original"), image, turns));
        }
        let original = original.as_ref().expect("it was made");
        let (file, wal, journal, what, touched) = damage(original, &mut random);
        let folder = base.join(image.to_string());
        fs::create_dir_all(&folder).expect("a folder");
        let path = folder.join(database::FILE_NAME);
        let bytes = file.len() + wal.len();
        fs::write(&path, file).expect("written");
        fs::write(rebuild::beside(&path, "-wal"), wal).expect("written");
        fs::write(folder.join(&original.journal_name), journal).expect("written");
        let begun = worked();
        let given =
            start(&folder, &log).unwrap_or_else(|why| panic!("image {image}, {what}: {why}"));
        let took = worked() - begun;
        let made_up: Vec<_> = given.difference(&original.ever).take(3).collect();
        assert!(made_up.is_empty(), "image {image}, {what}: {made_up:?}");
        let expected: Known = match what.rsplit(' ').next() {
            Some("log") => original.of_file.clone(),
            Some("journal") => original.of_tables.clone(),
            _ => {
                let is_whole = |word: &&String| match original.pages.get(*word) {
                    Some(pages) => pages.is_disjoint(&touched),
                    None => false,
                };
                original
                    .of_tables
                    .iter()
                    .filter(is_whole)
                    .cloned()
                    .collect()
            }
        };
        let lost = expected.difference(&given).count() as u64;
        let percent = 100.0 * lost as f64 / expected.len().max(1) as f64;
        assert!(
            percent <= 1.0,
            "image {image}, {what}: {lost} of {} lost, such as {:?}",
            expected.len(),
            expected.difference(&given).next()
        );
        let of = found.entry(what).or_default();
        of.images += 1;
        of.lost += lost;
        of.wanted += expected.len() as u64;
        of.worst_percent = of.worst_percent.max(percent);
        of.longest = of.longest.max(took);
        of.bytes = of.bytes.max(bytes);
        assert!(
            took < Duration::from_secs(1),
            "image {image}, {what}: {took:?}"
        );
        // What the start has left is sound, and has the same.
        if let Err(why) = Whole::read(&path) {
            panic!("image {image}, {what}: {why}");
        }
        if image % 10 == 0 {
            let again = start(&folder, &log).expect("it starts again");
            let missing = given.difference(&again).next();
            assert_eq!(missing, None, "image {image}, {what}");
        }
        fs::remove_dir_all(folder).expect("removed");
    }
    fs::remove_dir_all(base).expect("removed");
    println!("damage | images | rows of whole pages | lost | worst | longest start, CPU | largest");
    for (what, of) in &found {
        println!(
            "{what} | {} | {} | {} | {:.2} % | {:.0} ms | {:.1} MB",
            of.images,
            of.wanted,
            of.lost,
            of.worst_percent,
            of.longest.as_secs_f64() * 1000.0,
            of.bytes as f64 / 1e6
        );
    }
}
