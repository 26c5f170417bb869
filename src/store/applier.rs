//! What the records of the journals do to the tables. Pure: the same records give the same rows.
//!
//! Frames are applied to an open window in memory ([`super::window`]); `commit` writes the window to the tables. So a
//! delivery that is queued and acknowledged inside a window costs the tables nothing.
//!
//! A record may name what is not there: its Session has ended, or the tables were damaged. Then it does nothing.
//!
//! Retained messages of QoS 0 are many, and nobody waits for them. They stay outside the window, the last of each
//! topic, and a topic that was just written rests before it is written again. A commit writes them as batches
//! ([`super::batch`]), which go into their table now and then. Their journal frames are needed until they are written,
//! so a journal has two numbers: `applied`, and `retained_from` for frames of which only retained messages are to be
//! applied again.

use super::batch;
use super::bytes::{Damaged, Reader};
use super::frame;
use super::index::{Index, Place};
use super::record::{Body, Carried, Delivery, Record, WriteVersion};
use super::row::{self, DeliveryRow, Row, RowRef, Stage, State, Table};
use super::window::{Window, Write};
use crate::limits;
use crate::random::HashState;
use crate::wire::QoS;
use hashbrown::HashMap;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// The tables behind the window. Nothing is there for good before the transaction around it ends.
pub trait Tables {
    type Error;

    fn get(&mut self, table: Table, id: u64) -> Result<Option<Row>, Self::Error>;
    fn put(&mut self, table: Table, id: u64, row: RowRef<'_>) -> Result<(), Self::Error>;
    fn delete(&mut self, table: Table, id: u64) -> Result<(), Self::Error>;
    fn put_state(&mut self, state: &State) -> Result<(), Self::Error>;
}

/// Two clocks as the caller reads them.
#[derive(Clone, Copy, Default, Debug)]
pub struct Moment {
    /// Seconds since 1970.
    pub unix_s: u64,
    /// Milliseconds that only rise.
    pub ms: u64,
}

/// What is wrong with a journal that was left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum JournalFault {
    /// So many frames are missing between the tables and the next one.
    Gap(u64),
    /// A frame has what are no records.
    NoRecords,
}

/// How a frame is applied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Only {
    All,
    /// All else is in the tables.
    Retained,
}

/// A retained message that waits for its commit.
#[derive(Clone, Debug)]
struct Waiting {
    row: Row,
    shard: u8,
    frame: u64,
    /// The commit under way writes it.
    in_commit: bool,
}

/// What the commit under way does with the retained messages that wait.
#[derive(Clone, Debug)]
enum Plan {
    /// They go into batches: rows and their bytes.
    Batch(Vec<(u64, usize)>),
    /// They and what batches have go into the table.
    Merge,
}

/// A delivery whose row is to say how far it is.
#[derive(Clone, Copy, Debug)]
struct Mark {
    packet_id: u16,
    released: bool,
}

/// See the module.
#[derive(Clone)]
pub struct Applier {
    index: Index,
    window: Window,
    state: State,
    /// Of topics and filters; nobody else can tell which texts fall together.
    key: [u8; 16],
    marks: BTreeMap<u64, Mark>,
    waiting: HashMap<u64, Waiting, HashState>,
    plan: Plan,
    /// The frames that those who wait came in: shard, frame, row.
    waiting_frames: BTreeSet<(u8, u64, u64)>,
    /// When the row of a retained message was last written.
    written_ms: HashMap<u64, u64, HashState>,
    /// By Session and number: deliveries that another shard has taken over, according to its journal, which was read
    /// before the journal that has them.
    taken_over: BTreeSet<(u64, u64)>,
    replays: bool,
}

impl Applier {
    /// `index` and `state` are what the tables hold.
    pub fn new(index: Index, state: State, key: [u8; 16]) -> Applier {
        Applier {
            index,
            window: Window::default(),
            state,
            key,
            marks: BTreeMap::new(),
            waiting: HashMap::default(),
            plan: Plan::Batch(Vec::new()),
            waiting_frames: BTreeSet::new(),
            written_ms: HashMap::default(),
            taken_over: BTreeSet::new(),
            replays: false,
        }
    }

    pub fn state(&self) -> &State {
        &self.state
    }

    /// Nothing waits for a commit.
    #[cfg(test)]
    pub fn is_clean(&self) -> bool {
        self.window.iter().next().is_none() && self.marks.is_empty() && self.waiting.is_empty()
    }

    /// A commit at this time would write something.
    pub fn has_due(&self, now_ms: u64) -> bool {
        self.window.iter().next().is_some()
            || !self.marks.is_empty()
            || self.rested_at_ms().is_some_and(|at| at <= now_ms)
    }

    /// Rows that nobody needs go with the next commit.
    pub fn discard(&mut self, rows: &[(Table, u64)]) {
        for (table, id) in rows {
            self.window.delete(*table, *id);
        }
    }

    /// Frames of a shard's journal up to this number are needed no more.
    pub fn free_up_to(&self, shard: u8) -> u64 {
        let applied = self.state.applied(shard.into());
        let first = self.waiting_frames.range((shard, 0, 0)..).next();
        match first {
            Some((of, frame, _)) if *of == shard => applied.min(frame.saturating_sub(1)),
            _ => applied,
        }
    }

    /// Applies the frame of a shard that is next in its order.
    ///
    /// Errors: these are no records; those before the damage are applied.
    pub fn apply(&mut self, shard: u8, frame: u64, records: &[u8]) -> Result<(), Damaged> {
        let result = self.apply_records(shard, frame, records, Only::All);
        self.state.journal(usize::from(shard)).applied = frame;
        result
    }

    /// Applies records that come from no journal. Retained messages among them rest for no time.
    pub fn take_in(&mut self, records: &[u8]) -> Result<(), Damaged> {
        self.apply_records(0, 0, records, Only::All)
    }

    /// Applies what a journal has and the tables do not. `told` hears what is wrong with it.
    ///
    /// Returns the number of frames in which there was something.
    pub fn replay_journal(
        &mut self,
        shard: u8,
        journal: &[u8],
        told: &mut dyn FnMut(JournalFault),
    ) -> u64 {
        let mut replayed = 0;
        self.replays = true;
        for (number, records) in frame::frames(journal) {
            let applied = self.state.applied(shard.into());
            if applied > 0 && number > applied + 1 {
                told(JournalFault::Gap(number - applied - 1));
            }
            match self.replay(shard, number, records) {
                Ok(new) => replayed += u64::from(new),
                Err(Damaged) => told(JournalFault::NoRecords),
            }
        }
        self.replays = false;
        replayed
    }

    /// Applies a frame that was found in a journal, as far as the tables do not have it. `true`: there was something.
    pub fn replay(&mut self, shard: u8, frame: u64, records: &[u8]) -> Result<bool, Damaged> {
        let journal = *self.state.journal(usize::from(shard));
        if frame > journal.applied {
            self.apply(shard, frame, records)?;
            return Ok(true);
        }
        if frame < journal.retained_from {
            return Ok(false);
        }
        self.apply_records(shard, frame, records, Only::Retained)?;
        Ok(true)
    }

    fn apply_records(
        &mut self,
        shard: u8,
        frame: u64,
        records: &[u8],
        only: Only,
    ) -> Result<(), Damaged> {
        let mut reader = Reader::new(records);
        // Messages that the deliveries of this frame share, by their number in the frame.
        let mut shared = BTreeMap::new();
        while !reader.is_empty() {
            match Record::read(&mut reader)? {
                Record::Retained { version, body } => self.retain(shard, frame, version, &body),
                Record::RetainedDeleted { version, topic, .. } => {
                    self.note_clock(version);
                    let id = self.topic_id(topic);
                    self.forget_waiting(id);
                    self.window.delete(Table::Retained, id);
                }
                _ if only == Only::Retained => {}
                record => self.apply_record(record, &mut shared),
            }
        }
        // A message whose deliveries are all of Sessions that are gone.
        for id in shared.into_values() {
            if !self.index.is_shared(id) {
                self.window.delete(Table::Message, id);
            }
        }
        Ok(())
    }

    fn apply_record(&mut self, record: Record<'_>, shared: &mut BTreeMap<u64, u64>) {
        match record {
            Record::Session { session, holder } => {
                self.state.session_number = self.state.session_number.max(session);
                let new = !self.index.sessions.contains_key(&session);
                self.index.sessions.entry(session).or_default();
                let row = row::session(session, &holder);
                if new {
                    self.window.insert(Table::Session, session, row);
                } else {
                    self.window.replace(Table::Session, session, row);
                }
            }
            Record::SessionEnded { session } => self.end_session(session),
            Record::WillSet {
                session,
                client_id,
                user_name,
                will,
            } => {
                self.state.session_number = self.state.session_number.max(session);
                let row = row::will(session, client_id, user_name, &will);
                if self.index.wills.insert(session) {
                    self.window.insert(Table::Will, session, row);
                } else {
                    self.window.replace(Table::Will, session, row);
                }
            }
            Record::WillGone { session } => {
                if self.index.wills.remove(&session) {
                    self.window.delete(Table::Will, session);
                }
            }
            Record::Subscribed {
                session,
                filter,
                options,
                identifier,
            } => {
                let id = self.filter_id(session, filter);
                let Some(held) = self.index.sessions.get_mut(&session) else {
                    return;
                };
                let row = row::subscription(id, session, filter, options, identifier);
                if held.subscriptions.insert(id) {
                    self.window.insert(Table::Subscription, id, row);
                } else {
                    self.window.replace(Table::Subscription, id, row);
                }
            }
            Record::Unsubscribed { session, filter } => {
                let id = self.filter_id(session, filter);
                let held = self.index.sessions.get_mut(&session);
                if held.is_some_and(|held| held.subscriptions.remove(&id)) {
                    self.window.delete(Table::Subscription, id);
                }
            }
            Record::Message { number, body } => {
                let id = self.index.next_message();
                shared.insert(number, id);
                self.window
                    .insert(Table::Message, id, row::message(id, &body));
            }
            Record::Queued { session, delivery } => {
                self.add_delivery(session, Stage::Queued, delivery, shared);
            }
            Record::SentAtOnce {
                session,
                packet_id,
                delivery,
            } => self.add_delivery(session, Stage::Sent { packet_id }, delivery, shared),
            Record::Unqueued { session, number } => {
                if !self.remove_delivery(session, number) && self.replays {
                    self.taken_over.insert((session, number));
                }
            }
            Record::Sent {
                session,
                number,
                packet_id,
            } => {
                let Some(held) = self.index.sessions.get_mut(&session) else {
                    return;
                };
                if let Some(place) = held.deliveries.get(&number) {
                    held.in_flight.insert(packet_id, number);
                    let mark = Mark {
                        packet_id,
                        released: false,
                    };
                    self.marks.insert(place.row, mark);
                }
            }
            Record::Released { session, packet_id } => {
                let held = self.index.sessions.get_mut(&session);
                let place = held.and_then(|held| {
                    let number = held.in_flight.get(&packet_id)?;
                    held.deliveries.get_mut(number)
                });
                if let Some(place) = place {
                    let mark = Mark {
                        packet_id,
                        released: true,
                    };
                    self.marks.insert(place.row, mark);
                    let message = std::mem::take(&mut place.message);
                    self.drop_message(message);
                }
            }
            Record::Done { session, packet_id } => {
                let held = self.index.sessions.get_mut(&session);
                if let Some(number) = held.and_then(|held| held.in_flight.remove(&packet_id)) {
                    self.remove_delivery(session, number);
                }
            }
            Record::Received {
                session,
                packet_id,
                passage,
            } => {
                self.state.session_number = self.state.session_number.max(passage);
                let id = row::received_id(session, packet_id);
                let held = self.index.sessions.get_mut(&session);
                if held.is_some_and(|held| held.received.insert(packet_id, passage).is_none()) {
                    let row = row::received(id, passage);
                    self.window.insert(Table::Received, id, row);
                }
            }
            Record::Passed { passage, session } => {
                self.state.session_number = self.state.session_number.max(passage);
                let count = self.index.passages.entry(passage).or_default();
                // More than that many Sessions of one message: after a crash the others may be given it twice.
                if *count < u16::MAX {
                    *count += 1;
                    let id = row::received_id(passage, *count);
                    let row = row::received(id, session);
                    self.window.insert(Table::Received, id, row);
                }
            }
            Record::ReceivedReleased { session, packet_id } => {
                let held = self.index.sessions.get_mut(&session);
                if let Some(passage) = held.and_then(|held| held.received.remove(&packet_id)) {
                    let id = row::received_id(session, packet_id);
                    self.window.delete(Table::Received, id);
                    self.end_passage(passage);
                }
            }
            Record::Retained { .. } | Record::RetainedDeleted { .. } => {}
        }
    }

    fn add_delivery(
        &mut self,
        session: u64,
        stage: Stage,
        delivery: Delivery<'_>,
        shared: &BTreeMap<u64, u64>,
    ) {
        let number = delivery.number;
        self.state.delivery_number = self.state.delivery_number.max(number);
        // One that is there already came again, with a Session that is told whole.
        self.remove_delivery(session, number);
        let taken_over = self.taken_over.remove(&(session, number));
        if taken_over || !self.index.sessions.contains_key(&session) {
            return;
        }
        let (message, carried) = match delivery.carried {
            Carried::Own(body) => (0, Carried::Own(body)),
            Carried::Shared(in_frame) => match shared.get(&in_frame) {
                Some(id) => (*id, Carried::Shared(*id)),
                None => return,
            },
        };
        let place = Place {
            row: self.index.next_delivery(),
            message,
        };
        self.index.share(message);
        let content = DeliveryRow {
            session,
            stage,
            number,
            delivery: Some(Delivery {
                carried,
                ..delivery
            }),
        };
        let row = row::delivery(place.row, message, &content);
        self.window.insert(Table::Delivery, place.row, row);
        let held = self.index.sessions.entry(session).or_default();
        held.deliveries.insert(number, place);
        if let Stage::Sent { packet_id } = stage {
            held.in_flight.insert(packet_id, number);
        }
    }

    /// `false`: it is not there.
    fn remove_delivery(&mut self, session: u64, number: u64) -> bool {
        let held = self.index.sessions.get_mut(&session);
        let place = held.and_then(|held| held.deliveries.remove(&number));
        if let Some(place) = place {
            self.marks.remove(&place.row);
            self.window.delete(Table::Delivery, place.row);
            self.drop_message(place.message);
        }
        place.is_some()
    }

    fn drop_message(&mut self, message: u64) {
        if self.index.unshare(message) {
            self.window.delete(Table::Message, message);
        }
    }

    fn end_session(&mut self, session: u64) {
        let Some(held) = self.index.sessions.remove(&session) else {
            return;
        };
        self.window.delete(Table::Session, session);
        for id in held.subscriptions {
            self.window.delete(Table::Subscription, id);
        }
        for place in held.deliveries.into_values() {
            self.marks.remove(&place.row);
            self.window.delete(Table::Delivery, place.row);
            self.drop_message(place.message);
        }
        for (packet_id, passage) in held.received {
            let id = row::received_id(session, packet_id);
            self.window.delete(Table::Received, id);
            self.end_passage(passage);
        }
    }

    /// The publisher has its answer, or is gone: nobody asks any more who has the message.
    fn end_passage(&mut self, passage: u64) {
        let count = self.index.passages.remove(&passage).unwrap_or(0);
        for number in 1..=count {
            let id = row::received_id(passage, number);
            self.window.delete(Table::Received, id);
        }
    }

    fn retain(&mut self, shard: u8, frame: u64, version: WriteVersion, body: &Body<'_>) {
        self.note_clock(version);
        let id = self.topic_id(body.topic);
        let row = row::retained(id, version, body);
        self.forget_waiting(id);
        if body.qos != QoS::AtMostOnce {
            return self.window.replace(Table::Retained, id, row);
        }
        self.waiting_frames.insert((shard, frame, id));
        let waiting = Waiting {
            row,
            shard,
            frame,
            in_commit: false,
        };
        self.waiting.insert(id, waiting);
    }

    fn note_clock(&mut self, version: WriteVersion) {
        self.state.retain_clock = self.state.retain_clock.max(version.clock);
    }

    fn forget_waiting(&mut self, id: u64) {
        if let Some(waiting) = self.waiting.remove(&id) {
            let frame = (waiting.shard, waiting.frame, id);
            self.waiting_frames.remove(&frame);
        }
    }

    /// The row of a topic's retained message.
    fn topic_id(&self, topic: &str) -> u64 {
        topic_id(self.key, topic)
    }

    /// The row of a subscription.
    fn filter_id(&self, session: u64, filter: &str) -> u64 {
        filter_id(self.key, session, filter)
    }

    /// Writes the window to the tables, inside a transaction of the caller. With `all`, topics do not rest, and nothing
    /// is left in batches. The caller ends the transaction, and calls [`Applier::committed`] if that went well; else
    /// all is still here.
    pub fn commit<T: Tables>(
        &mut self,
        now: Moment,
        all: bool,
        clean: bool,
        tables: &mut T,
    ) -> Result<(), T::Error> {
        self.settle_marks(tables)?;
        for (table, id, write) in self.window.iter() {
            match write {
                Write::Insert(row) | Write::Replace(row) => tables.put(table, id, row.as_ref())?,
                Write::Delete => tables.delete(table, id)?,
            }
        }
        for (id, waiting) in &mut self.waiting {
            let rests = self
                .written_ms
                .get(id)
                .is_some_and(|at| now.ms < at + limits::STORE_TOPIC_REST_MS);
            waiting.in_commit = all || !rests;
        }
        self.commit_retained(all, tables)?;
        self.state.stamp = self.state.stamp.max(now.unix_s);
        self.state.clean = clean;
        for shard in 0..self.state.journals.len() {
            let stays = |id| {
                self.waiting
                    .get(id)
                    .is_some_and(|waiting| !waiting.in_commit)
            };
            let own = (shard as u8, 0, 0)..=(shard as u8, u64::MAX, u64::MAX);
            let mut frames = self.waiting_frames.range(own);
            let left = frames.find(|(_, _, id)| stays(id));
            let left = left.map(|(_, frame, _)| *frame);
            let journal = &mut self.state.journals[shard];
            journal.retained_from = left.unwrap_or(journal.applied + 1);
        }
        tables.put_state(&self.state)
    }

    /// Writes the retained messages of this commit that wait, after the window.
    fn commit_retained<T: Tables>(&mut self, all: bool, tables: &mut T) -> Result<(), T::Error> {
        let batches = &self.index.batches;
        let due = self.waiting.iter().filter(|(_, waiting)| waiting.in_commit);
        let mut due: Vec<(u64, &Row)> = due.map(|(id, waiting)| (*id, &waiting.row)).collect();
        due.sort_unstable_by_key(|(id, _)| *id);
        // What is written into the table would be older than what a batch has.
        let window = self.window.of(Table::Retained);
        let direct = due.iter().filter(|(_, row)| !batch::fits(row));
        let mut written = window.chain(direct.map(|(id, _)| *id));
        if !all && !batches.are_full() && !written.any(|id| batches.has(id)) {
            let (small, large) = due
                .into_iter()
                .partition::<Vec<_>, _>(|(_, row)| batch::fits(row));
            for (id, row) in large {
                tables.put(Table::Retained, id, row.as_ref())?;
            }
            let packed = batches.pack(small.into_iter());
            for (id, row) in &packed {
                tables.put(Table::Batch, *id, row.as_ref())?;
            }
            let rows = packed.iter().map(|(id, row)| (*id, row.body.len()));
            self.plan = Plan::Batch(rows.collect());
            return Ok(());
        }
        for (id, row) in batches.rows() {
            if self.window.get(Table::Retained, id).is_none() {
                tables.put(Table::Retained, id, row.as_ref())?;
            }
        }
        for (id, row) in due {
            tables.put(Table::Retained, id, row.as_ref())?;
        }
        for id in batches.ids() {
            tables.delete(Table::Batch, id)?;
        }
        self.plan = Plan::Merge;
        Ok(())
    }

    /// The transaction of the last `commit` is over: all of it is in the tables.
    pub fn committed(&mut self, now: Moment) {
        self.window.clear();
        self.taken_over.clear();
        let rest = limits::STORE_TOPIC_REST_MS;
        self.written_ms.retain(|_, at| now.ms < *at + rest);
        let batches = &mut self.index.batches;
        let merged = match std::mem::replace(&mut self.plan, Plan::Batch(Vec::new())) {
            Plan::Merge => {
                batches.merged();
                true
            }
            Plan::Batch(rows) => {
                for (id, bytes) in rows {
                    batches.note(id, bytes);
                }
                false
            }
        };
        for (id, waiting) in self.waiting.extract_if(|_, waiting| waiting.in_commit) {
            let frame = (waiting.shard, waiting.frame, id);
            self.waiting_frames.remove(&frame);
            self.written_ms.insert(id, now.ms);
            if !merged && batch::fits(&waiting.row) {
                batches.add(id, waiting.row);
            }
        }
    }

    /// When the next of the retained messages that wait has rested; `None`: none waits.
    pub fn rested_at_ms(&self) -> Option<u64> {
        let at = |id| {
            self.written_ms
                .get(id)
                .map_or(0, |at| at + limits::STORE_TOPIC_REST_MS)
        };
        self.waiting.keys().map(at).min()
    }

    /// Writes into the rows of deliveries how far they are.
    fn settle_marks<T: Tables>(&mut self, tables: &mut T) -> Result<(), T::Error> {
        while let Some((id, mark)) = self.marks.first_key_value() {
            let (id, mark) = (*id, *mark);
            let in_tables = match self.window.get(Table::Delivery, id) {
                Some(_) => None,
                None => tables.get(Table::Delivery, id)?,
            };
            let row = match self.window.get(Table::Delivery, id) {
                Some(Write::Insert(row) | Write::Replace(row)) => Some(row),
                Some(Write::Delete) => None,
                None => in_tables.as_ref(),
            };
            let marked = row.and_then(|row| marked(id, row.as_ref(), mark));
            if let Some(row) = marked {
                self.window.replace(Table::Delivery, id, row);
            }
            self.marks.remove(&id);
        }
        Ok(())
    }
}

/// The id of a row of `retained`.
pub fn topic_id(key: [u8; 16], topic: &str) -> u64 {
    hash(key, &[topic.as_bytes()])
}

/// The id of a row of `subscription`.
pub fn filter_id(key: [u8; 16], session: u64, filter: &str) -> u64 {
    hash(key, &[&session.to_le_bytes(), filter.as_bytes()])
}

/// 63 bits, as ids of SQLite have a sign. Of 100,000 texts two are alike once in 2 billion stores.
fn hash(key: [u8; 16], parts: &[&[u8]]) -> u64 {
    let mut hash = Sha256::new();
    hash.update(key);
    parts.iter().for_each(|part| hash.update(part));
    let hash: [u8; 32] = hash.finalize().into();
    let first: [u8; 8] = std::array::from_fn(|index| hash[index]);
    u64::from_le_bytes(first) >> 1
}

/// The row of a delivery with its mark; `None` for a damaged row, which stays as it is.
fn marked(id: u64, row: RowRef<'_>, mark: Mark) -> Option<Row> {
    let mut content = row::read_delivery(id, row).ok()?;
    let packet_id = mark.packet_id;
    let message = if mark.released {
        content.stage = Stage::Released { packet_id };
        content.delivery = None;
        0
    } else {
        content.stage = Stage::Sent { packet_id };
        row.message
    };
    Some(row::delivery(id, message, &content))
}
