//! The tables against a plain model: whatever happens, and wherever it is cut, they hold what was said.

use super::applier::{Applier, Moment, Tables};
use super::bytes::Reader;
use super::frame::{self, FRAME_HEAD_BYTES};
use super::load::load;
use super::memory::MemoryTables;
use super::record::{Body, Carried, Delivery, Holder, Record, Will, WriteVersion};
use super::row::{Stage, State, Table};
use super::{props, row};
use crate::broker::{RestoredMessage, RestoredPart};
use crate::ids::StoredSession;
use crate::limits;
use crate::random::SplitMix64;
use crate::session::queue::Identifiers;
use crate::wire::{QoS, SubscriptionOptions};
use std::collections::{BTreeMap, BTreeSet};

/// What a shard would be given, in words.
type Picture = BTreeSet<String>;

fn body<'a>(topic: &'a str, payload: &'a str, qos: QoS) -> Body<'a> {
    Body {
        topic,
        passed_on: b"\x01\x01",
        payload: payload.as_bytes(),
        qos,
        retain: false,
        expires: 0,
    }
}

fn holder(client_id: &str) -> Holder<'_> {
    Holder {
        client_id,
        user_name: Some("user"),
        is_claim: false,
        expiry_interval_s: 3600,
        connected: true,
        ends: 0,
        will: Some(Will {
            body: body("will", "gone", QoS::AtLeastOnce),
            delay_interval_s: 3,
            message_expiry_interval_s: Some(0),
        }),
        will_due: 0,
    }
}

fn delivery<'a>(number: u64, carried: Carried<'a>) -> Delivery<'a> {
    Delivery {
        number,
        qos: QoS::ExactlyOnce,
        retain: true,
        identifiers: Identifiers::from_slice(&[7, 9]),
        carried,
    }
}

/// The model: what was said last.
#[derive(Clone, Default)]
struct Model {
    sessions: BTreeMap<u64, Said>,
    retained: BTreeMap<String, String>,
    wills: BTreeSet<u64>,
}

#[derive(Clone, Default)]
struct Said {
    filters: BTreeMap<String, u32>,
    /// By number: payload, Packet Identifier (0: queued), released.
    deliveries: BTreeMap<u64, (String, u16, bool)>,
    received: BTreeSet<u16>,
}

impl Model {
    fn picture(&self) -> Picture {
        let mut picture = Picture::new();
        for (session, said) in &self.sessions {
            picture.insert(format!("session {session}"));
            for (filter, identifier) in &said.filters {
                picture.insert(format!("{session} wants {filter} {identifier}"));
            }
            for (number, (payload, packet_id, released)) in &said.deliveries {
                picture.insert(match (packet_id, released) {
                    (0, _) => format!("{session} waits {number} {payload}"),
                    (_, true) => format!("{session} released {packet_id}"),
                    (_, false) => format!("{session} sent {packet_id} {number} {payload}"),
                });
            }
            for packet_id in &said.received {
                picture.insert(format!("{session} received {packet_id} 0"));
            }
        }
        for (topic, payload) in &self.retained {
            picture.insert(format!("{topic} = {payload}"));
        }
        for session in &self.wills {
            picture.insert(format!("will {session}"));
        }
        picture
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("ours")
}

/// What the tables give, for `shards`. Deliveries come in their order, and after what they name.
fn picture(tables: &mut MemoryTables, shards: usize) -> Picture {
    let state = tables.state().clone();
    let mut picture = Picture::new();
    let mut messages: BTreeMap<_, RestoredMessage> = BTreeMap::new();
    let mut sessions = BTreeSet::new();
    let mut last_queued = BTreeMap::new();
    let payload_of = |messages: &BTreeMap<_, RestoredMessage>, shard, id| {
        let message = messages.get(&(shard, id)).expect("it came before");
        text(&message.payload).to_owned()
    };
    let Ok(loaded) = load(tables, &state, 1, shards, &mut |shard, part| {
        assert!(shard.index() < shards);
        let line = match part {
            RestoredPart::Head(_) => return,
            RestoredPart::Message { id, message } => {
                assert!(messages.insert((shard, id), message).is_none(), "once");
                return;
            }
            RestoredPart::Session(session) => {
                sessions.insert((shard, session.session));
                format!("session {}", session.session.number())
            }
            RestoredPart::Subscription {
                session,
                filter,
                identifier,
                ..
            } => {
                assert!(sessions.contains(&(shard, session)));
                let identifier = identifier.unwrap_or(0);
                format!("{} wants {filter} {identifier}", session.number())
            }
            RestoredPart::InFlight {
                session,
                packet_id,
                delivery: None,
            } => format!("{} released {packet_id}", session.number()),
            RestoredPart::InFlight {
                session,
                packet_id,
                delivery: Some(delivery),
            } => {
                assert!(last_queued.is_empty(), "in flight comes first");
                let payload = payload_of(&messages, shard, delivery.message);
                let number = delivery.number;
                format!("{} sent {packet_id} {number} {payload}", session.number())
            }
            RestoredPart::Queued { session, delivery } => {
                assert!(sessions.contains(&(shard, session)));
                let last = last_queued.insert(session, delivery.number);
                assert!(last < Some(delivery.number), "order");
                let payload = payload_of(&messages, shard, delivery.message);
                let number = delivery.number;
                format!("{} waits {number} {payload}", session.number())
            }
            RestoredPart::Received {
                session,
                packet_id,
                passage,
            } => {
                let passage = passage.map_or(0, StoredSession::number);
                format!("{} received {packet_id} {passage}", session.number())
            }
            RestoredPart::Passed { passage, session } => {
                format!("{} has {}", session.number(), passage.number())
            }
            RestoredPart::Retained { message, .. } => {
                format!("{} = {}", message.topic, text(&message.payload))
            }
            RestoredPart::Will { session, .. } => format!("will {}", session.number()),
        };
        assert!(picture.insert(line));
    });
    assert_eq!(loaded.damaged, 0);
    assert_eq!(loaded.to_delete, []);
    picture
}

/// A shard that says things, and what it has said.
struct Shard {
    number: u8,
    random: SplitMix64,
    counter: u64,
    delivery: u64,
    clock: u64,
    frames: Vec<(u64, Vec<u8>)>,
}

impl Shard {
    fn new(number: u8, seed: u64) -> Shard {
        Shard {
            number,
            random: SplitMix64::new(seed ^ u64::from(number) << 32),
            counter: 0,
            delivery: 0,
            clock: 0,
            frames: Vec::new(),
        }
    }

    /// A Session of this shard.
    fn session(&mut self, model: &Model) -> Option<u64> {
        let own = |session: &&u64| (*session & 63) as u8 == self.number;
        let sessions: Vec<u64> = model.sessions.keys().filter(own).copied().collect();
        (!sessions.is_empty()).then(|| self.random.pick(&sessions))
    }

    /// One turn: a frame of a few records, and the model after them.
    fn turn(&mut self, model: &mut Model) {
        let mut frame = Vec::new();
        frame::begin(&mut frame);
        for _ in 0..1 + self.random.below(4) {
            self.say(model, &mut frame);
        }
        let number = self.frames.len() as u64 + 1;
        frame::finish(&mut frame, number);
        self.frames.push((number, frame));
    }

    fn say(&mut self, model: &mut Model, frame: &mut Vec<u8>) {
        let what = self.random.below(24);
        let session = match self.session(model) {
            Some(session) if what > 0 => session,
            _ => {
                self.counter += 1;
                let session = self.counter << 6 | u64::from(self.number);
                model.sessions.insert(session, Said::default());
                let client_id = format!("c{session}");
                let holder = holder(&client_id);
                return Record::Session { session, holder }.put(frame);
            }
        };
        let said = model.sessions.get_mut(&session).expect("it is there");
        let packet_id = 1 + self.random.below(5) as u16;
        let in_flight = |said: &Said| {
            let mut found = said.deliveries.iter();
            found
                .find(|(_, (_, id, _))| *id == packet_id)
                .map(|(number, _)| *number)
        };
        match what {
            1 if self.random.below(4) == 0 => {
                model.sessions.remove(&session);
                Record::SessionEnded { session }.put(frame);
            }
            2 | 3 => {
                let filter = format!("f/{}", self.random.below(3));
                let identifier = self.random.below(9) as u32;
                said.filters.insert(filter.clone(), identifier);
                Record::Subscribed {
                    session,
                    filter: &filter,
                    options: SubscriptionOptions::new(QoS::AtLeastOnce),
                    identifier,
                }
                .put(frame);
            }
            4 => {
                let filter = format!("f/{}", self.random.below(3));
                said.filters.remove(&filter);
                let filter = &filter;
                Record::Unsubscribed { session, filter }.put(frame);
            }
            5..=8 => {
                self.delivery += 1;
                let number = self.delivery;
                let payload = format!("p{number}");
                said.deliveries.insert(number, (payload.clone(), 0, false));
                let body = body("t", &payload, QoS::ExactlyOnce);
                let delivery = delivery(number, Carried::Own(body));
                Record::Queued { session, delivery }.put(frame);
            }
            9 => {
                // One message for every Session of this shard.
                self.delivery += 1;
                let number = self.delivery;
                let payload = format!("all{number}");
                let body = body("t", &payload, QoS::AtLeastOnce);
                Record::Message { number, body }.put(frame);
                for (session, said) in &mut model.sessions {
                    if (session & 63) as u8 == self.number {
                        let session = *session;
                        said.deliveries.insert(number, (payload.clone(), 0, false));
                        let delivery = delivery(number, Carried::Shared(number));
                        Record::Queued { session, delivery }.put(frame);
                    }
                }
            }
            10..=12 if in_flight(said).is_none() => {
                let mut queued = said.deliveries.iter_mut();
                if let Some((number, place)) = queued.find(|(_, (_, id, _))| *id == 0) {
                    place.1 = packet_id;
                    let number = *number;
                    Record::Sent {
                        session,
                        number,
                        packet_id,
                    }
                    .put(frame);
                }
            }
            13 if in_flight(said).is_none() => {
                self.delivery += 1;
                let number = self.delivery;
                let payload = format!("now{number}");
                let entry = (payload.clone(), packet_id, false);
                said.deliveries.insert(number, entry);
                let body = body("t", &payload, QoS::AtLeastOnce);
                Record::SentAtOnce {
                    session,
                    packet_id,
                    delivery: delivery(number, Carried::Own(body)),
                }
                .put(frame);
            }
            14 => {
                let queued = said.deliveries.iter().find(|(_, (_, id, _))| *id == 0);
                if let Some(number) = queued.map(|(number, _)| *number) {
                    said.deliveries.remove(&number);
                    Record::Unqueued { session, number }.put(frame);
                }
            }
            15 | 16 => {
                if let Some(number) = in_flight(said) {
                    said.deliveries
                        .entry(number)
                        .and_modify(|place| place.2 = true);
                    Record::Released { session, packet_id }.put(frame);
                }
            }
            17 => {
                if let Some(number) = in_flight(said) {
                    said.deliveries.remove(&number);
                    Record::Done { session, packet_id }.put(frame);
                }
            }
            18 if said.received.insert(packet_id) => {
                Record::Received {
                    session,
                    packet_id,
                    passage: 0,
                }
                .put(frame);
            }
            19 if said.received.remove(&packet_id) => {
                Record::ReceivedReleased { session, packet_id }.put(frame);
            }
            20..=22 => {
                self.clock += 1;
                // Each topic is noted by one shard.
                let topic = format!("r/{}/{}", self.number, self.random.below(4));
                let version = WriteVersion {
                    clock: self.clock,
                    shard: self.number,
                };
                let qos = self.random.pick(&[QoS::AtMostOnce, QoS::AtLeastOnce]);
                if self.random.below(4) == 0 {
                    model.retained.remove(&topic);
                    let topic = &topic;
                    Record::RetainedDeleted {
                        version,
                        topic,
                        qos,
                    }
                    .put(frame);
                } else {
                    let payload = format!("v{}", self.clock);
                    let body = body(&topic, &payload, qos);
                    Record::Retained { version, body }.put(frame);
                    model.retained.insert(topic, payload);
                }
            }
            23 => {
                let session = 1 << 32 | u64::from(self.number);
                if model.wills.insert(session) {
                    Record::WillSet {
                        session,
                        client_id: "w",
                        user_name: None,
                        will: holder("w").will.expect("it has one"),
                    }
                    .put(frame);
                } else {
                    model.wills.remove(&session);
                    Record::WillGone { session }.put(frame);
                }
            }
            _ => {}
        }
    }
}

fn records(frame: &[u8]) -> &[u8] {
    &frame[FRAME_HEAD_BYTES..]
}

fn start(tables: &mut MemoryTables) -> Applier {
    let state = tables.state().clone();
    let Ok(loaded) = load(tables, &state, 1, 1, &mut |_, _| {});
    Applier::new(loaded.index, state, [3; 16])
}

fn commit(applier: &mut Applier, tables: &mut MemoryTables, ms: u64, all: bool, fails: bool) {
    let now = Moment { unix_s: 1, ms };
    tables.begin();
    let Ok(()) = applier.commit(now, all, false, tables);
    if fails {
        return tables.roll_back();
    }
    tables.end();
    applier.committed(now);
}

/// Any order of turns, commits that go well or badly, and crashes after which the journals are read again: as they are,
/// or without the half that was free.
#[test]
fn the_tables_and_the_journals_hold_what_was_said() {
    for seed in 0..50 {
        let mut random = SplitMix64::new(seed);
        let mut model = Model::default();
        let mut shards = [Shard::new(0, seed), Shard::new(1, seed)];
        let mut tables = MemoryTables::default();
        let mut applier = start(&mut tables);
        let mut ms = 0;
        // Frames that the store has said are not needed.
        let mut free = [0; 2];
        for _ in 0..120 {
            let at = random.below(2);
            shards[at].turn(&mut model);
            let (number, frame) = shards[at].frames.last().expect("just said");
            assert_eq!(applier.apply(at as u8, *number, records(frame)), Ok(()));
            ms += random.below(8_000) as u64;
            if random.below(4) == 0 {
                let fails = random.below(5) == 0;
                commit(&mut applier, &mut tables, ms, false, fails);
                if !fails {
                    free = [0, 1].map(|shard| applier.free_up_to(shard));
                }
            }
            if random.below(20) == 0 {
                applier = start(&mut tables);
                for (at, shard) in shards.iter().enumerate() {
                    let keeps_all = random.below(2) == 0;
                    for (number, frame) in &shard.frames {
                        if keeps_all || *number > free[at] {
                            let replayed = applier.replay(at as u8, *number, records(frame));
                            assert!(replayed.is_ok());
                        }
                    }
                }
                commit(&mut applier, &mut tables, ms, true, false);
                assert_eq!(picture(&mut tables, 3), model.picture(), "seed {seed}");
            }
        }
        commit(&mut applier, &mut tables, ms, true, false);
        assert!(applier.is_clean());
        assert_eq!(picture(&mut tables, 1), model.picture(), "seed {seed}");
        assert_eq!(applier.rested_at_ms(), None);
    }
}

#[test]
fn what_is_done_before_the_commit_is_never_written() {
    let mut tables = MemoryTables::default();
    let mut applier = start(&mut tables);
    let mut frame = Vec::new();
    let session = 64;
    let holder = holder("c");
    Record::Session { session, holder }.put(&mut frame);
    assert_eq!(applier.apply(0, 1, &frame), Ok(()));
    commit(&mut applier, &mut tables, 0, false, false);
    let writes = tables.writes;
    frame.clear();
    for number in 1..=50 {
        let carried = Carried::Own(body("t", "x", QoS::AtLeastOnce));
        let delivery = delivery(number, carried);
        let packet_id = number as u16;
        Record::Queued { session, delivery }.put(&mut frame);
        Record::Sent {
            session,
            number,
            packet_id,
        }
        .put(&mut frame);
        Record::Received {
            session,
            packet_id,
            passage: 0,
        }
        .put(&mut frame);
        Record::ReceivedReleased { session, packet_id }.put(&mut frame);
        Record::Done { session, packet_id }.put(&mut frame);
    }
    assert_eq!(applier.apply(0, 2, &frame), Ok(()));
    assert!(applier.is_clean());
    commit(&mut applier, &mut tables, 0, false, false);
    assert_eq!(tables.writes, writes);
}

#[test]
fn a_topic_that_was_just_written_rests() {
    let mut tables = MemoryTables::default();
    let mut applier = start(&mut tables);
    let mut last = 0;
    let mut say = |applier: &mut Applier, payload: &str| {
        let mut frame = Vec::new();
        last += 1;
        let version = WriteVersion {
            clock: last,
            shard: 0,
        };
        let body = body("t", payload, QoS::AtMostOnce);
        Record::Retained { version, body }.put(&mut frame);
        assert_eq!(applier.apply(0, last, &frame), Ok(()));
    };
    say(&mut applier, "1");
    commit(&mut applier, &mut tables, 1_000, false, false);
    assert_eq!(tables.writes, 1);
    say(&mut applier, "2");
    say(&mut applier, "3");
    commit(&mut applier, &mut tables, 6_000, false, false);
    assert_eq!(tables.writes, 1);
    assert_eq!(applier.free_up_to(0), 2, "the third frame is needed");
    assert_eq!(applier.rested_at_ms(), Some(31_000));
    commit(&mut applier, &mut tables, 31_000, false, false);
    assert_eq!(tables.writes, 2);
    assert_eq!(applier.free_up_to(0), 3);
    let expected: Picture = ["t = 3".to_owned()].into();
    assert_eq!(picture(&mut tables, 1), expected);
}

/// A batch has the newest of a topic, until something else happens to one of its topics, or there is much of it.
#[test]
fn retained_messages_of_qos_0_are_written_as_batches() {
    let mut tables = MemoryTables::default();
    let mut applier = start(&mut tables);
    let (mut last, mut ms) = (0, 0);
    let mut say = |applier: &mut Applier, topic: &str, payload: Option<&str>, qos| {
        let mut frame = Vec::new();
        last += 1;
        let version = WriteVersion {
            clock: last,
            shard: 0,
        };
        match payload {
            Some(payload) => {
                let body = body(topic, payload, qos);
                Record::Retained { version, body }.put(&mut frame);
            }
            None => Record::RetainedDeleted {
                version,
                topic,
                qos,
            }
            .put(&mut frame),
        }
        assert_eq!(applier.apply(0, last, &frame), Ok(()));
    };
    let counts = |tables: &MemoryTables| [Table::Retained, Table::Batch].map(|of| tables.count(of));
    let long = "x".repeat(limits::STORE_BATCH_BYTES);
    for round in 0..3 {
        for topic in 0..100 {
            let payload = format!("{round}");
            say(
                &mut applier,
                &format!("t/{topic}"),
                Some(&payload),
                QoS::AtMostOnce,
            );
        }
        say(&mut applier, "long", Some(&long), QoS::AtMostOnce);
        ms += 40_000;
        commit(&mut applier, &mut tables, ms, false, round == 1);
        // A message that fills a page goes into the table. Of a commit that failed nothing is there.
        let batches = [3, 3, 6][round];
        assert_eq!(counts(&tables), [1, batches], "round {round}");
        let said = if round == 1 { 0 } else { round };
        let picture = picture(&mut tables, 2);
        assert_eq!(picture.len(), 101);
        assert!(picture.contains(&format!("t/99 = {said}")), "round {round}");
    }
    // The next start goes on with them; a message of QoS 1, a deletion and a long message bring them into the table.
    applier = start(&mut tables);
    for (topic, payload, qos) in [
        ("t/5", Some("new"), QoS::AtLeastOnce),
        ("t/6", None, QoS::AtMostOnce),
        ("t/7", Some(long.as_str()), QoS::AtMostOnce),
    ] {
        ms += 40_000;
        say(&mut applier, "t/8", Some(topic), QoS::AtMostOnce);
        commit(&mut applier, &mut tables, ms, false, false);
        say(&mut applier, topic, Some("older"), QoS::AtMostOnce);
        ms += 40_000;
        commit(&mut applier, &mut tables, ms, false, false);
        assert!(tables.count(Table::Batch) > 0);
        say(&mut applier, topic, payload, qos);
        ms += 40_000;
        commit(&mut applier, &mut tables, ms, false, false);
        assert_eq!(tables.count(Table::Batch), 0, "{topic}");
        let picture = picture(&mut tables, 1);
        let expected = payload.map(|payload| format!("{topic} = {payload}"));
        let of_topic = |line: &&String| line.starts_with(&format!("{topic} ="));
        assert_eq!(picture.iter().find(of_topic), expected.as_ref());
        assert!(picture.contains(&format!("t/8 = {topic}")));
    }
    assert_eq!(counts(&tables), [100, 0], "one was deleted");
    // By size.
    let (mut bytes_most, mut merges) = (0, 0);
    for round in 0..320 {
        for topic in 0..50 {
            let payload = format!("{round:040}");
            say(
                &mut applier,
                &format!("t/{topic}"),
                Some(&payload),
                QoS::AtMostOnce,
            );
        }
        ms += 40_000;
        commit(&mut applier, &mut tables, ms, false, false);
        let batches = tables
            .rows()
            .iter()
            .filter(|((of, _), _)| *of == Table::Batch);
        let bytes: usize = batches.map(|(_, row)| row.body.len()).sum();
        merges += usize::from(bytes == 0);
        bytes_most = bytes_most.max(bytes);
        if round % 20 == 0 {
            assert!(picture(&mut tables, 1).contains(&format!("t/49 = {round:040}")));
        }
    }
    assert!((1..5).contains(&merges), "{merges}");
    assert!(
        bytes_most < limits::STORE_BATCHES_BYTES_MAX + 8_000,
        "{bytes_most}"
    );
}

/// Each stage and kind of delivery; and the usual one is as short as it is to be.
#[test]
fn a_row_of_a_delivery_gives_it_again() {
    let whole = body("t", "payload", QoS::ExactlyOnce);
    let bare = Body {
        passed_on: b"",
        payload: b"",
        ..whole
    };
    let dated = Body {
        expires: 1 << 40,
        retain: true,
        ..whole
    };
    let carried = [whole, bare, dated].map(Carried::Own);
    for carried in carried.into_iter().chain([Carried::Shared(9)]) {
        for stage in [0, 1, 2] {
            let packet_id = 65_535;
            let content = row::DeliveryRow {
                session: 64,
                stage: [
                    Stage::Queued,
                    Stage::Sent { packet_id },
                    Stage::Released { packet_id },
                ][stage],
                number: 1 << 20,
                delivery: (stage < 2).then(|| delivery(1 << 20, carried)),
            };
            let row = row::delivery(7, 3, &content);
            assert!(row.as_ref().is_sound(Table::Delivery, 7));
            assert!(!row.as_ref().is_sound(Table::Delivery, 8));
            assert_eq!(row::read_delivery(7, row.as_ref()), Ok(content));
        }
    }
    let payload = "x".repeat(100);
    let message = Body {
        passed_on: b"",
        ..body("t", &payload, QoS::AtLeastOnce)
    };
    let content = row::DeliveryRow {
        session: 64,
        stage: Stage::Queued,
        number: 100_000,
        delivery: Some(Delivery {
            identifiers: Identifiers::new(),
            ..delivery(100_000, Carried::Own(message))
        }),
    };
    let row = row::delivery(100_000, 0, &content);
    // A cell: a length, an id of three bytes, types of columns in six, a Session of one; and two for its place.
    let cell = 1 + 3 + 6 + 1 + row.body.len() + 2;
    assert_eq!(
        (limits::STORE_PAGE_BYTES as usize - 8) / cell,
        8,
        "{cell} bytes"
    );
}

/// One flipped bit anywhere in a row: its row is left out, is counted once, and the others are as they were.
#[test]
fn a_damaged_row_is_left_out() {
    let mut tables = MemoryTables::default();
    let mut applier = start(&mut tables);
    let mut model = Model::default();
    let mut shard = Shard::new(1, 5);
    for number in 1..=60 {
        shard.turn(&mut model);
        let records = records(&shard.frames[number - 1].1);
        assert_eq!(applier.apply(1, number as u64, records), Ok(()));
    }
    commit(&mut applier, &mut tables, 0, true, false);
    let mut frame = Vec::new();
    for topic in ["one", "two"] {
        let version = WriteVersion { clock: 1, shard: 1 };
        let body = body(topic, "lazy", QoS::AtMostOnce);
        Record::Retained { version, body }.put(&mut frame);
    }
    assert_eq!(applier.apply(1, 61, &frame), Ok(()));
    commit(&mut applier, &mut tables, 60_000, false, false);
    let state = tables.state().clone();
    let keys: Vec<_> = tables.rows().keys().copied().collect();
    assert!(Table::ALL.iter().all(|table| tables.count(*table) > 0));
    for (table, id) in keys {
        let bits = tables.rows()[&(table, id)].body.len() * 8;
        for bit in (0..bits).step_by(7) {
            let mut damaged = tables.clone();
            let row = damaged.row_mut(table, id).expect("it is there");
            row.body[bit / 8] ^= 1 << (bit % 8);
            let Ok(loaded) = load(&mut damaged, &state, 1, 1, &mut |_, _| {});
            // The message of a shared row is looked at by each of its deliveries.
            assert!(loaded.damaged > 0, "{table:?} {id} {bit}");
            if table != Table::Message {
                assert_eq!(loaded.damaged, 1, "{table:?} {id} {bit}");
                assert!(loaded.to_delete.contains(&(table, id)));
            }
        }
        let mut moved = tables.clone();
        let row = moved.row_mut(table, id).expect("it is there").clone();
        assert!(!row.as_ref().is_sound(table, id + 1), "a row of another id");
        let Ok(()) = moved.delete(table, id);
    }
}

#[test]
fn what_has_expired_stays_away() {
    let mut tables = MemoryTables::default();
    let Ok(()) = tables.put_state(&State {
        stamp: 1_000,
        ..State::default()
    });
    let put_session = |tables: &mut MemoryTables, id: u64, connected, ends| {
        let holder = Holder {
            connected,
            ends,
            will: None,
            expiry_interval_s: 10,
            ..holder("c")
        };
        let Ok(()) = tables.put(Table::Session, id, row::session(id, &holder).as_ref());
    };
    put_session(&mut tables, 64, false, 1_005);
    put_session(&mut tables, 128, true, 0);
    put_session(&mut tables, 192, false, 2_000);
    let options = SubscriptionOptions::default();
    let subscription = row::subscription(5, 64, "f", options, 0);
    let Ok(()) = tables.put(Table::Subscription, 5, subscription.as_ref());
    let found = |tables: &mut MemoryTables, now| {
        let state = tables.state().clone();
        let mut sessions = Vec::new();
        let Ok(loaded) = load(tables, &state, now, 1, &mut |_, part| {
            if let RestoredPart::Session(session) = part {
                sessions.push((session.session.number(), session.ends_in_s));
            }
        });
        (sessions, loaded.to_delete.len())
    };
    // A clock that is behind: as if no time had passed.
    let all = vec![(64, 5), (128, 10), (192, 1_000)];
    assert_eq!(found(&mut tables, 3), (all, 0));
    assert_eq!(found(&mut tables, 1_007), (vec![(128, 3), (192, 993)], 2));
    assert_eq!(found(&mut tables, 1_010), (vec![(192, 990)], 3));
}

/// Truncated and changed records, frames and rows, and plain noise.
#[test]
fn no_bytes_bring_the_decoders_down() {
    let mut model = Model::default();
    let mut shard = Shard::new(0, 11);
    let mut random = SplitMix64::new(12);
    let mut journal = frame::header(frame::Identity([1; 16])).to_vec();
    for _ in 0..200 {
        shard.turn(&mut model);
    }
    for (_, frame) in &shard.frames {
        let records = records(frame);
        props::records_are_their_bytes(records);
        let mut reader = Reader::new(records);
        while !reader.is_empty() {
            assert!(Record::read(&mut reader).is_ok());
        }
        for _ in 0..20 {
            let mut changed = records[..random.below(records.len() + 1)].to_vec();
            if !changed.is_empty() {
                let at = random.below(changed.len());
                changed[at] = random.draw() as u8;
            }
            props::records_are_their_bytes(&changed);
            props::only_sound_rows_are_given(&changed);
        }
        journal.extend_from_slice(frame);
    }
    props::frames_lie_in_their_journal(&journal);
    assert_eq!(frame::frames(&journal).len(), 200);
    for _ in 0..500 {
        let noise: Vec<u8> = (0..random.below(100))
            .map(|_| random.draw() as u8)
            .collect();
        props::records_are_their_bytes(&noise);
        props::frames_lie_in_their_journal(&noise);
        props::only_sound_rows_are_given(&noise);
    }
}

#[test]
fn the_state_proves_itself() {
    let mut state = State {
        stamp: 1 << 40,
        clean: true,
        session_number: 65,
        delivery_number: 9,
        retain_clock: 8,
        journals: Vec::new(),
    };
    state.journal(1).applied = 77;
    let bytes = state.to_bytes();
    assert_eq!(State::from_bytes(&bytes), Ok(state));
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(State::from_bytes(&damaged).is_err(), "bit {bit}");
    }
}

/// Who has a QoS 2 message that crosses is known until its publisher has the answer, over a restart too.
#[test]
fn who_has_a_message_that_crosses_is_known_until_it_is_released() {
    let (publisher, passage, orphan) = (64, 192, 256);
    for released in [false, true] {
        let mut tables = MemoryTables::default();
        let mut applier = start(&mut tables);
        let mut frame = Vec::new();
        for (session, client_id) in [(publisher, "p"), (65, "a"), (129, "b")] {
            let holder = holder(client_id);
            Record::Session { session, holder }.put(&mut frame);
        }
        Record::Received {
            session: publisher,
            packet_id: 7,
            passage,
        }
        .put(&mut frame);
        // Of the orphan the publisher's shard has said nothing that was kept.
        for (passage, session) in [(passage, 65), (passage, 129), (orphan, 65)] {
            Record::Passed { passage, session }.put(&mut frame);
        }
        assert_eq!(applier.apply(0, 1, &frame), Ok(()));
        commit(&mut applier, &mut tables, 0, false, false);
        if released {
            let mut applier = start(&mut tables);
            let (session, packet_id) = (publisher, 7);
            frame.clear();
            Record::ReceivedReleased { session, packet_id }.put(&mut frame);
            assert_eq!(applier.apply(0, 2, &frame), Ok(()));
            commit(&mut applier, &mut tables, 0, false, false);
        }
        let state = tables.state().clone();
        assert_eq!(state.session_number, orphan, "no name is given twice");
        let mut said = Vec::new();
        let Ok(loaded) = load(&mut tables, &state, 1, 1, &mut |_, part| match part {
            RestoredPart::Received { passage, .. } => {
                said.push((publisher, passage.map(StoredSession::number)));
            }
            RestoredPart::Passed { passage, session } => {
                said.push((session.number(), Some(passage.number())));
            }
            _ => {}
        });
        let expected = match released {
            true => vec![],
            false => [publisher, 65, 129].map(|of| (of, Some(passage))).into(),
        };
        assert_eq!(said, expected);
        assert_eq!(loaded.to_delete.len(), 1, "the orphan");
    }
}
