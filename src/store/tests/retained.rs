//! Retained messages of QoS 0: they rest, and go through batches.

use super::{KEY, Picture, body, commit, picture, start};
use crate::limits;
use crate::store::applier::{Applier, topic_id};
use crate::store::load::load;
use crate::store::memory::MemoryTables;
use crate::store::record::{Record, WriteVersion};
use crate::store::row::Table;
use crate::wire::QoS;

/// A shard that says one thing a turn.
#[derive(Default)]
struct Shard {
    last: u64,
}

impl Shard {
    /// Without a payload, the retained message is deleted.
    fn say(&mut self, applier: &mut Applier, topic: &str, payload: Option<&str>, qos: QoS) {
        self.last += 1;
        let version = WriteVersion {
            clock: self.last,
            shard: 0,
        };
        let record = match payload {
            Some(payload) => Record::Retained {
                version,
                body: body(topic, payload, qos),
            },
            None => Record::RetainedDeleted {
                version,
                topic,
                qos,
            },
        };
        let mut frame = Vec::new();
        record.put(&mut frame);
        assert_eq!(applier.apply(0, self.last, &frame), Ok(()));
    }

    /// Of QoS 0.
    fn say_lazily(&mut self, applier: &mut Applier, topic: &str, payload: &str) {
        self.say(applier, topic, Some(payload), QoS::AtMostOnce);
    }
}

#[test]
fn a_topic_that_was_just_written_rests() {
    let mut tables = MemoryTables::default();
    let mut applier = start(&mut tables);
    let mut shard = Shard::default();
    shard.say_lazily(&mut applier, "t", "1");
    commit(&mut applier, &mut tables, 1_000, false, false);
    assert_eq!(tables.writes, 1);
    shard.say_lazily(&mut applier, "t", "2");
    shard.say_lazily(&mut applier, "t", "3");
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
    let (mut shard, mut ms) = (Shard::default(), 0);
    let counts = |tables: &MemoryTables| [Table::Retained, Table::Batch].map(|of| tables.count(of));
    let long = "x".repeat(limits::STORE_BATCH_BYTES);
    for round in 0..3 {
        for topic in 0..100 {
            let payload = format!("{round}");
            shard.say_lazily(&mut applier, &format!("t/{topic}"), &payload);
        }
        shard.say_lazily(&mut applier, "long", &long);
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
        shard.say_lazily(&mut applier, "t/8", topic);
        commit(&mut applier, &mut tables, ms, false, false);
        shard.say_lazily(&mut applier, topic, "older");
        ms += 40_000;
        commit(&mut applier, &mut tables, ms, false, false);
        assert!(tables.count(Table::Batch) > 0);
        shard.say(&mut applier, topic, payload, qos);
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
            shard.say_lazily(&mut applier, &format!("t/{topic}"), &payload);
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

/// The row in the table is damaged, and a batch has something newer of its topic: that is not lost with it.
#[test]
fn a_damaged_row_takes_no_batch_with_it() {
    let mut tables = MemoryTables::default();
    let mut applier = start(&mut tables);
    let mut shard = Shard::default();
    shard.say(&mut applier, "t", Some("older"), QoS::AtLeastOnce);
    commit(&mut applier, &mut tables, 0, false, false);
    shard.say_lazily(&mut applier, "t", "newer");
    commit(&mut applier, &mut tables, 40_000, false, false);
    let id = topic_id(KEY, "t");
    let row = tables.row_mut(Table::Retained, id).expect("it is there");
    *row.body.last_mut().expect("a payload") ^= 1;
    let state = tables.state().clone();
    let Ok(loaded) = load(&mut tables, &state, 1, 1, &mut |_, _| {});
    assert_eq!(loaded.damaged, 1);
    let mut applier = Applier::new(loaded.index, state, KEY);
    applier.discard(&loaded.to_delete);
    commit(&mut applier, &mut tables, 80_000, true, false);
    let expected: Picture = ["t = newer".to_owned()].into();
    assert_eq!(picture(&mut tables, 1), expected);
}
