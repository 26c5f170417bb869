//! The tables against a plain model: whatever happens, and wherever it is cut, they hold what was said.

mod model;
mod retained;
mod rows;

use self::model::{Model, Shard};
use super::applier::{Applier, Moment, Tables};
use super::frame::FRAME_HEAD_BYTES;
use super::load::load;
use super::memory::MemoryTables;
use super::record::{Body, Carried, Delivery, Holder, Record, Will};
use super::row::{self, State, Table};
use crate::broker::{RestoredMessage, RestoredPart};
use crate::ids::StoredSession;
use crate::random::SplitMix64;
use crate::session::queue::Identifiers;
use crate::wire::{QoS, SubscriptionOptions};
use std::collections::{BTreeMap, BTreeSet};

/// The secret of the store.
const KEY: [u8; 16] = [3; 16];

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

fn records(frame: &[u8]) -> &[u8] {
    &frame[FRAME_HEAD_BYTES..]
}

fn start(tables: &mut MemoryTables) -> Applier {
    let state = tables.state().clone();
    let Ok(loaded) = load(tables, &state, 1, 1, &mut |_, _| {});
    Applier::new(loaded.index, state, KEY)
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
