//! Rows and records that prove themselves, and bytes that are none.

use super::model::{Model, Shard};
use super::{body, commit, delivery, records, start};
use crate::limits;
use crate::random::SplitMix64;
use crate::session::queue::Identifiers;
use crate::store::applier::Tables;
use crate::store::bytes::Reader;
use crate::store::load::load;
use crate::store::memory::MemoryTables;
use crate::store::record::{Body, Carried, Delivery, Record, WriteVersion};
use crate::store::row::{self, Stage, State, Table};
use crate::store::{frame, props};
use crate::wire::QoS;

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
