//! A double of a store: tables in memory, changed by what shards tell it, and read back as a start would.

use super::random::Random;
use mqttfast::broker::{
    Change, Restored, RestoredDelivery, RestoredHead, RestoredMessage, RestoredPart,
    RestoredSession, RestoredWill, RetainVersion, StoredDelivery, home_of,
};
use mqttfast::ids::{Passage, ShardId, StoredSession};
use mqttfast::session::{Message, StoredWill};
use mqttfast::time::Time;
use mqttfast::wire::{PacketId, SubscriptionOptions};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// A message without the memory of the broker.
#[derive(Clone, Debug)]
pub struct Kept {
    pub id: u64,
    pub message: RestoredMessage,
    pub expires: Time,
}

impl Kept {
    fn of(id: u64, message: &Message) -> Kept {
        Kept {
            id,
            message: RestoredMessage {
                topic: message.topic().into(),
                passed_on: message.passed_on().into(),
                payload: message.payload().into(),
                qos: message.qos,
                retain: message.retain,
                expires_in_s: None,
            },
            expires: message.expires(),
        }
    }

    fn restored(&self, now: Time) -> RestoredMessage {
        RestoredMessage {
            expires_in_s: (self.expires != Time::NEVER).then(|| seconds(self.expires, now)),
            ..self.message.clone()
        }
    }

    fn is_over(&self, now: Time) -> bool {
        self.expires <= now
    }
}

#[derive(Clone, Debug)]
pub struct KeptWill {
    pub kept: Kept,
    pub delay_interval_s: u32,
    pub message_expiry_interval_s: Option<u32>,
}

impl KeptWill {
    fn of(will: &StoredWill) -> KeptWill {
        KeptWill {
            kept: Kept::of(0, &will.message),
            delay_interval_s: will.delay_interval_s,
            message_expiry_interval_s: will.message_expiry_interval_s,
        }
    }

    fn restored(&self, now: Time, due: Time) -> RestoredWill {
        RestoredWill {
            message: self.kept.restored(now),
            delay_interval_s: self.delay_interval_s,
            message_expiry_interval_s: self.message_expiry_interval_s,
            due_in_s: (due != Time::NEVER).then(|| seconds(due, now)),
        }
    }
}

#[derive(Clone, Debug)]
pub struct KeptDelivery {
    pub number: u64,
    pub kept: Rc<Kept>,
    /// Without message, QoS, RETAIN: those are here.
    delivery: RestoredDelivery,
}

/// One Session.
#[derive(Clone, Debug)]
pub struct Row {
    pub client_id: String,
    pub user_name: Option<Box<str>>,
    pub expiry_interval_s: u32,
    pub connected: bool,
    pub ends: Time,
    pub will: Option<KeptWill>,
    pub will_due: Time,
    pub subscriptions: BTreeMap<String, (SubscriptionOptions, Option<u32>)>,
    /// In the order of sending; `None`: released.
    pub in_flight: Vec<(PacketId, Option<KeptDelivery>)>,
    pub queued: Vec<KeptDelivery>,
    pub received: BTreeMap<PacketId, Option<Passage>>,
}

/// See the module.
#[derive(Clone, Default, Debug)]
pub struct Store {
    pub sessions: BTreeMap<StoredSession, Row>,
    pub wills: BTreeMap<StoredSession, (String, Option<Box<str>>, KeptWill)>,
    pub retained: BTreeMap<String, (Kept, RetainVersion)>,
    passed: BTreeSet<(Passage, StoredSession)>,
    head: RestoredHead,
    /// Of the message that came last.
    last_message: u64,
}

impl Store {
    /// Applies the changes of one turn.
    pub fn apply(&mut self, changes: &[Change]) {
        let mut messages: BTreeMap<*const Message, Rc<Kept>> = BTreeMap::new();
        for change in changes {
            self.apply_one(change, &mut messages);
        }
    }

    fn end_passage(&mut self, passage: Option<Passage>) {
        self.passed.retain(|(of, _)| Some(*of) != passage);
    }

    fn row(&mut self, session: StoredSession) -> &mut Row {
        let row = self.sessions.get_mut(&session);
        row.unwrap_or_else(|| panic!("{session:?} is not there"))
    }

    fn apply_one(&mut self, change: &Change, messages: &mut BTreeMap<*const Message, Rc<Kept>>) {
        let mut keep = |last: &mut u64, number: u64, delivery: &StoredDelivery| {
            let of = Rc::as_ptr(&delivery.message);
            let kept = messages.entry(of).or_insert_with(|| {
                *last += 1;
                Rc::new(Kept::of(*last, &delivery.message))
            });
            KeptDelivery {
                number,
                kept: Rc::clone(kept),
                delivery: RestoredDelivery {
                    number,
                    message: kept.id,
                    qos: delivery.qos,
                    retain: delivery.retain,
                    identifiers: delivery.identifiers.to_vec(),
                },
            }
        };
        match change {
            Change::Session {
                session,
                client_id,
                user_name,
                expiry_interval_s,
                connected,
                ends,
                will,
                will_due,
            } => {
                assert!(*expiry_interval_s > 0);
                self.head.session_counter = self.head.session_counter.max(session.counter());
                let row = self.sessions.entry(*session).or_insert_with(|| Row {
                    client_id: client_id.to_string(),
                    user_name: None,
                    expiry_interval_s: 0,
                    connected: false,
                    ends: Time::NEVER,
                    will: None,
                    will_due: Time::NEVER,
                    subscriptions: BTreeMap::new(),
                    in_flight: Vec::new(),
                    queued: Vec::new(),
                    received: BTreeMap::new(),
                });
                assert_eq!(row.client_id, **client_id);
                row.user_name.clone_from(user_name);
                row.expiry_interval_s = *expiry_interval_s;
                row.connected = *connected;
                row.ends = *ends;
                row.will = will.as_deref().map(KeptWill::of);
                row.will_due = *will_due;
            }
            Change::SessionEnded { session } => {
                let row = self.sessions.remove(session).expect("it is there");
                for passage in row.received.into_values() {
                    self.end_passage(passage);
                }
                self.passed.retain(|(_, of)| of != session);
            }
            Change::WillSet {
                session,
                client_id,
                user_name,
                will,
            } => {
                self.head.session_counter = self.head.session_counter.max(session.counter());
                let will = (client_id.to_string(), user_name.clone(), KeptWill::of(will));
                assert!(self.wills.insert(*session, will).is_none());
            }
            Change::WillGone { session } => assert!(self.wills.remove(session).is_some()),
            Change::Subscribed {
                session,
                filter,
                options,
                identifier,
            } => {
                let subscription = (*options, *identifier);
                let row = self.row(*session);
                row.subscriptions.insert(filter.to_string(), subscription);
            }
            Change::Unsubscribed { session, filter } => {
                let removed = self.row(*session).subscriptions.remove(&**filter);
                assert!(removed.is_some(), "{filter}");
            }
            Change::Queued {
                session,
                number,
                delivery,
            } => {
                self.head.delivery_number = self.head.delivery_number.max(*number);
                let kept = keep(&mut self.last_message, *number, delivery);
                let row = self.row(*session);
                assert!(row.queued.last().is_none_or(|last| last.number < *number));
                row.queued.push(kept);
            }
            Change::Unqueued { session, number } => {
                // Of a member of a group that has given it back, another shard says so, perhaps after its end.
                if self.sessions.contains_key(session) {
                    assert!(take_queued(self.row(*session), *number).is_some());
                }
            }
            Change::Sent {
                session,
                packet_id,
                number,
                queued,
                delivery,
            } => {
                self.head.delivery_number = self.head.delivery_number.max(*number);
                let kept = keep(&mut self.last_message, *number, delivery);
                let row = self.row(*session);
                let waited = take_queued(row, *number);
                assert_eq!(waited.is_some(), *queued);
                if let Some(waited) = &waited {
                    assert_eq!(waited.kept.message, kept.kept.message, "what was queued");
                }
                assert!(row.in_flight.iter().all(|(id, _)| id != packet_id));
                let last = row
                    .in_flight
                    .iter()
                    .filter_map(|(_, d)| d.as_ref())
                    .next_back();
                assert!(
                    last.is_none_or(|last| last.number < *number),
                    "numbers rise"
                );
                row.in_flight
                    .push((*packet_id, Some(waited.unwrap_or(kept))));
            }
            Change::Released { session, packet_id } => {
                let in_flight = &mut self.row(*session).in_flight;
                let found = in_flight.iter_mut().find(|(id, _)| id == packet_id);
                found.expect("it was sent").1 = None;
            }
            Change::Done { session, packet_id } => {
                let in_flight = &mut self.row(*session).in_flight;
                let before = in_flight.len();
                in_flight.retain(|(id, _)| id != packet_id);
                assert_eq!(in_flight.len() + 1, before);
            }
            Change::Received {
                session,
                packet_id,
                passage,
            } => {
                let given = passage.map_or(0, Passage::counter);
                self.head.session_counter = self.head.session_counter.max(given);
                let before = self.row(*session).received.insert(*packet_id, *passage);
                assert!(before.is_none());
            }
            Change::Passed { passage, session } => {
                self.head.session_counter = self.head.session_counter.max(passage.counter());
                // A member of a group may have a message by another subscription too.
                self.passed.insert((*passage, *session));
            }
            Change::ReceivedReleased { session, packet_id } => {
                let passage = self.row(*session).received.remove(packet_id);
                self.end_passage(passage.expect("it was received"));
            }
            Change::Retained { message, version } => {
                self.head.retain_clock = self.head.retain_clock.max(version.clock);
                let kept = Kept::of(0, message);
                let before = self.retained.get(message.topic());
                assert!(before.is_none_or(|(_, before)| before < version));
                self.retained
                    .insert(message.topic().to_owned(), (kept, *version));
            }
            Change::RetainedDeleted { topic, version, .. } => {
                self.head.retain_clock = self.head.retain_clock.max(version.clock);
                self.retained.remove(&**topic);
            }
        }
    }

    /// Nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty() && self.wills.is_empty() && self.retained.is_empty()
    }

    /// What a start with so many shards gives each of them, in chunks of a size by chance. `now`: when the broker
    /// ended, by its clock; the start comes right after it.
    pub fn restored(&self, shards: usize, now: Time, random: &mut Random) -> Vec<Vec<Restored>> {
        let parts = (0..shards).map(|shard| self.parts(ShardId(shard as u8), shards, now));
        parts
            .map(|parts| in_chunks(&parts, 1 + random.below(9)))
            .collect()
    }

    fn parts(&self, shard: ShardId, shards: usize, now: Time) -> Vec<RestoredPart> {
        let mut parts = vec![RestoredPart::Head(self.head)];
        let here = |client_id: &str| home_of(client_id, shards) == shard;
        let sessions: Vec<_> = self
            .sessions
            .iter()
            .filter(|(_, row)| here(&row.client_id))
            .collect();
        for (session, row) in &sessions {
            let ends = match (row.connected, row.expiry_interval_s) {
                (true, seconds) => seconds,
                (false, u32::MAX) => u32::MAX,
                (false, _) => seconds(row.ends, now),
            };
            parts.push(RestoredPart::Session(RestoredSession {
                session: **session,
                client_id: row.client_id.as_str().into(),
                user_name: row.user_name.clone(),
                is_claim: false,
                expiry_interval_s: row.expiry_interval_s,
                ends_in_s: ends,
                will: row
                    .will
                    .as_ref()
                    .map(|will| will.restored(now, row.will_due)),
            }));
        }
        for (session, row) in &sessions {
            for (filter, (options, identifier)) in &row.subscriptions {
                parts.push(RestoredPart::Subscription {
                    session: **session,
                    filter: filter.as_str().into(),
                    options: *options,
                    identifier: *identifier,
                });
            }
        }
        let mut told = BTreeSet::new();
        for (_, row) in &sessions {
            let sent = row
                .in_flight
                .iter()
                .filter_map(|(_, delivery)| delivery.as_ref());
            for delivery in sent.chain(&row.queued) {
                if told.insert(delivery.kept.id) {
                    parts.push(RestoredPart::Message {
                        id: delivery.kept.id,
                        message: delivery.kept.restored(now),
                    });
                }
            }
        }
        for (session, row) in &sessions {
            let session = **session;
            for (packet_id, delivery) in &row.in_flight {
                parts.push(RestoredPart::InFlight {
                    session,
                    packet_id: *packet_id,
                    delivery: delivery.as_ref().map(|kept| kept.delivery.clone()),
                });
            }
            for kept in row.queued.iter().filter(|kept| !kept.kept.is_over(now)) {
                let delivery = kept.delivery.clone();
                parts.push(RestoredPart::Queued { session, delivery });
            }
            for (packet_id, passage) in &row.received {
                let (packet_id, passage) = (*packet_id, *passage);
                parts.push(RestoredPart::Received {
                    session,
                    packet_id,
                    passage,
                });
            }
        }
        let of_passage = |row: &&Row, passage| row.received.values().any(|of| *of == Some(passage));
        for (passage, session) in &self.passed {
            let publisher = self.sessions.values().find(|row| of_passage(row, *passage));
            let of = match passage == session {
                true => publisher,
                false => self.sessions.get(session),
            };
            let is_for_here = session.is_group() || of.is_some_and(|row| here(&row.client_id));
            if publisher.is_some() && is_for_here {
                let (passage, session) = (*passage, *session);
                parts.push(RestoredPart::Passed { passage, session });
            }
        }
        for (topic, (kept, version)) in &self.retained {
            if home_of(topic, shards) == shard && !kept.is_over(now) {
                parts.push(RestoredPart::Retained {
                    message: kept.restored(now),
                    version: *version,
                });
            }
        }
        for (session, (client_id, user_name, will)) in &self.wills {
            if here(client_id) {
                parts.push(RestoredPart::Will {
                    session: *session,
                    client_id: client_id.as_str().into(),
                    user_name: user_name.clone(),
                    will: will.restored(now, Time::NEVER),
                });
            }
        }
        parts
    }
}

/// What a shard is given, in chunks of `size` parts.
pub fn in_chunks(parts: &[RestoredPart], size: usize) -> Vec<Restored> {
    let chunks = parts.chunks(size).map(|parts| Restored {
        parts: parts.to_vec(),
        last: false,
    });
    let mut list: Vec<Restored> = chunks.collect();
    list.last_mut().expect("there is a head").last = true;
    list
}

fn take_queued(row: &mut Row, number: u64) -> Option<KeptDelivery> {
    let at = row.queued.iter().position(|kept| kept.number == number)?;
    Some(row.queued.remove(at))
}

/// Whole seconds left, rounded up.
fn seconds(until: Time, now: Time) -> u32 {
    u32::try_from(until.since_ms(now).div_ceil(1000)).unwrap_or(u32::MAX)
}
