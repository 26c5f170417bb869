//! The start: all tables are read once, in the order of their ids. What they hold goes to the shards as parts of
//! `Restored`, and into the index of the applier.
//!
//! A row that is damaged, has expired, or belongs to a Session that is gone is left out, and named to be deleted.

use super::bytes::Damaged;
use super::index::{Index, Place};
use super::record::{Body, Carried, UnixSeconds, Will, WriteVersion};
use super::row::{self, RowRef, Stage, State, Table};
use crate::broker::{
    RestoredDelivery, RestoredHead, RestoredMessage, RestoredPart, RestoredSession, RestoredWill,
    RetainVersion, home_of,
};
use crate::ids::{ShardId, StoredSession};
use crate::random::HashState;
use crate::wire::PacketId;
use hashbrown::HashMap;

/// Tables that are read.
pub trait Scan {
    type Error;

    /// Every row of a table, by rising id.
    fn scan(
        &mut self,
        table: Table,
        each: &mut dyn FnMut(u64, RowRef<'_>),
    ) -> Result<(), Self::Error>;
}

/// What was found.
#[derive(Default, Debug)]
pub struct Loaded {
    pub index: Index,
    pub sessions: u64,
    pub subscriptions: u64,
    pub retained: u64,
    /// Deliveries, in flight or queued.
    pub deliveries: u64,
    /// Rows that are not as they were written.
    pub damaged: u64,
    /// Rows that nobody needs.
    pub to_delete: Vec<(Table, u64)>,
}

/// Gets each part and the shard it is for.
pub type Give<'a> = &'a mut dyn FnMut(ShardId, RestoredPart);

/// Reads all tables for a broker of `shards`. `now` is the calendar's time.
///
/// Errors: the tables cannot be read.
pub fn load<S: Scan>(
    tables: &mut S,
    state: &State,
    now: UnixSeconds,
    shards: usize,
    give: Give<'_>,
) -> Result<Loaded, S::Error> {
    let sessions = load_sessions(tables, state, now, shards, give)?;
    let topics = load_topics(tables, state, now, shards, give)?;
    Ok(sessions.with_topics(topics))
}

/// The first half of it: Sessions, what they are owed, and wills.
///
/// Errors: the tables cannot be read.
pub fn load_sessions<S: Scan>(
    tables: &mut S,
    state: &State,
    now: UnixSeconds,
    shards: usize,
    give: Give<'_>,
) -> Result<Loaded, S::Error> {
    let highest = StoredSession::from_number(state.session_number);
    let head = RestoredHead {
        session_counter: highest.map_or(0, StoredSession::counter),
        delivery_number: state.delivery_number,
        retain_clock: state.retain_clock,
        window_lost: false,
    };
    for shard in 0..shards {
        give(ShardId(shard as u8), RestoredPart::Head(head));
    }
    let mut reading = Reading::new(state, now, shards, give);
    tables.scan(Table::Session, &mut |id, row| {
        let result = reading.session(id, row);
        reading.settle(Table::Session, id, result);
    })?;
    tables.scan(Table::Subscription, &mut |id, row| {
        let result = reading.subscription(id, row);
        reading.settle(Table::Subscription, id, result);
    })?;
    reading.deliveries(tables)?;
    let mut passed = Vec::new();
    tables.scan(Table::Received, &mut |id, row| {
        let result = reading.received(id, row, &mut passed);
        reading.settle(Table::Received, id, result);
    })?;
    reading.passed(passed);
    tables.scan(Table::Will, &mut |id, row| {
        let result = reading.will(id, row);
        reading.settle(Table::Will, id, result);
    })?;
    Ok(reading.loaded)
}

/// The second half of it: retained messages. Neither half needs the other.
///
/// Errors: the tables cannot be read.
pub fn load_topics<S: Scan>(
    tables: &mut S,
    state: &State,
    now: UnixSeconds,
    shards: usize,
    give: Give<'_>,
) -> Result<Loaded, S::Error> {
    let mut reading = Reading::new(state, now, shards, give);
    // What batches have of a topic is newer than what the table has.
    tables.scan(Table::Batch, &mut |id, row| {
        let result = reading.loaded.index.batches.read(id, row);
        reading.settle(Table::Batch, id, result.map(|()| Found::Kept));
    })?;
    tables.scan(Table::Retained, &mut |id, row| {
        let result = reading.retained(id, row);
        reading.settle(Table::Retained, id, result);
    })?;
    reading.batched();
    Ok(reading.loaded)
}

impl Loaded {
    /// The two halves as one.
    pub fn with_topics(mut self, topics: Loaded) -> Loaded {
        self.index.batches = topics.index.batches;
        self.retained = topics.retained;
        self.damaged += topics.damaged;
        self.to_delete.extend(topics.to_delete);
        self
    }
}

/// What becomes of a row.
enum Found {
    Kept,
    /// It has expired, or its Session has gone.
    Needless,
}

/// A message of several deliveries, which has proved itself.
struct Shared {
    expires: UnixSeconds,
    message: RestoredMessage,
    /// Shards that have it, a bit each.
    given: u64,
}

impl Shared {
    /// The message, if this shard does not have it yet.
    fn for_shard(&mut self, shard: ShardId) -> Option<RestoredMessage> {
        let fresh = self.given & shard.bit() == 0;
        self.given |= shard.bit();
        fresh.then(|| self.message.clone())
    }
}

struct Reading<'a> {
    loaded: Loaded,
    homes: HashMap<u64, ShardId, HashState>,
    /// By passage: the home of the Session that published it.
    publishers: HashMap<u64, ShardId, HashState>,
    now: UnixSeconds,
    stamp: UnixSeconds,
    shards: usize,
    give: Give<'a>,
}

impl<'a> Reading<'a> {
    fn new(state: &State, now: UnixSeconds, shards: usize, give: Give<'a>) -> Reading<'a> {
        Reading {
            loaded: Loaded::default(),
            homes: HashMap::default(),
            publishers: HashMap::default(),
            // A clock that was set back, or is not set yet: no time has passed.
            now: now.max(state.stamp),
            stamp: state.stamp,
            shards,
            give,
        }
    }

    fn settle(&mut self, table: Table, id: u64, found: Result<Found, Damaged>) {
        match found {
            Ok(Found::Kept) => return,
            Ok(Found::Needless) => {}
            Err(Damaged) => self.loaded.damaged += 1,
        }
        self.loaded.to_delete.push((table, id));
    }

    fn give(&mut self, shard: ShardId, part: RestoredPart) {
        (self.give)(shard, part);
    }

    /// Seconds from now to `at`, which is not 0.
    fn left_s(&self, at: UnixSeconds) -> u32 {
        u32::try_from(at.saturating_sub(self.now)).unwrap_or(u32::MAX - 1)
    }

    fn session(&mut self, id: u64, row: RowRef<'_>) -> Result<Found, Damaged> {
        let holder = row::read_session(id, row)?;
        let session = StoredSession::from_number(id).ok_or(Damaged)?;
        let expiry = holder.expiry_interval_s;
        let ends_in_s = if expiry == u32::MAX {
            u32::MAX
        } else if holder.connected {
            // It lost its connection with the broker: not before the store was written for the last time.
            self.left_s(self.stamp + u64::from(expiry))
        } else {
            self.left_s(holder.ends)
        };
        if ends_in_s == 0 && holder.will.is_none() {
            return Ok(Found::Needless);
        }
        let will = holder.will.map(|will| {
            let due_in_s = (!holder.connected).then(|| self.left_s(holder.will_due));
            self.restored_will(&will, due_in_s)
        });
        let home = home_of(holder.client_id, self.shards);
        self.homes.insert(id, home);
        self.loaded.index.sessions.entry(id).or_default();
        self.loaded.sessions += 1;
        let part = RestoredSession {
            session,
            client_id: holder.client_id.into(),
            user_name: holder.user_name.map(Into::into),
            is_claim: holder.is_claim,
            expiry_interval_s: expiry,
            ends_in_s,
            will,
        };
        self.give(home, RestoredPart::Session(part));
        Ok(Found::Kept)
    }

    fn subscription(&mut self, id: u64, row: RowRef<'_>) -> Result<Found, Damaged> {
        let (options, identifier) = row::read_subscription_row(id, row)?;
        let session = StoredSession::from_number(row.session).ok_or(Damaged)?;
        let Some(home) = self.homes.get(&row.session).copied() else {
            return Ok(Found::Needless);
        };
        let held = self.loaded.index.sessions.entry(row.session).or_default();
        held.subscriptions.insert(id);
        self.loaded.subscriptions += 1;
        let part = RestoredPart::Subscription {
            session,
            filter: row.text.into(),
            options,
            identifier: (identifier > 0).then_some(identifier),
        };
        self.give(home, part);
        Ok(Found::Kept)
    }

    /// Deliveries in flight, then those in queues: so a shard gets them. Each message comes before the first delivery
    /// that has it.
    fn deliveries<S: Scan>(&mut self, tables: &mut S) -> Result<(), S::Error> {
        let mut shared: HashMap<u64, Shared, HashState> = HashMap::default();
        tables.scan(Table::Message, &mut |id, row| {
            self.loaded.index.note_message(id);
            match row::read_message(id, row) {
                Ok(body) => {
                    let message = Shared {
                        expires: body.expires,
                        message: self.message(&body),
                        given: 0,
                    };
                    shared.insert(id, message);
                }
                // Its deliveries find no message.
                Err(damaged) => self.settle(Table::Message, id, Err(damaged)),
            }
        })?;
        let mut queued = Vec::new();
        tables.scan(Table::Delivery, &mut |id, row| {
            let message = shared.get_mut(&row.message);
            let found = self.delivery(id, row, message, &mut queued);
            self.settle(Table::Delivery, id, found);
        })?;
        for (home, part) in queued {
            self.give(home, part);
        }
        for id in shared.into_keys() {
            if !self.loaded.index.is_shared(id) {
                self.loaded.to_delete.push((Table::Message, id));
            }
        }
        Ok(())
    }

    /// `queued` gets a delivery that is to come after all in flight.
    fn delivery(
        &mut self,
        id: u64,
        row: RowRef<'_>,
        shared: Option<&mut Shared>,
        queued: &mut Vec<(ShardId, RestoredPart)>,
    ) -> Result<Found, Damaged> {
        let content = row::read_delivery(id, row)?;
        let session = StoredSession::from_number(row.session).ok_or(Damaged)?;
        let Some(home) = self.homes.get(&row.session).copied() else {
            return Ok(Found::Needless);
        };
        let mut restored = None;
        if let Some(delivery) = &content.delivery {
            let message_id = match &delivery.carried {
                // Rows of the two tables have ids below 2^63.
                Carried::Own(_) => id | 1 << 63,
                Carried::Shared(_) => row.message,
            };
            let expires = match (&delivery.carried, &shared) {
                (Carried::Own(body), _) => body.expires,
                (Carried::Shared(_), Some(shared)) => shared.expires,
                (Carried::Shared(_), None) => return Ok(Found::Needless),
            };
            let expired = expires > 0 && expires <= self.now;
            if expired && content.stage == Stage::Queued {
                return Ok(Found::Needless);
            }
            let message = match (&delivery.carried, shared) {
                (Carried::Own(body), _) => Some(self.message(body)),
                (Carried::Shared(_), shared) => shared.and_then(|shared| shared.for_shard(home)),
            };
            if let Some(message) = message {
                let part = RestoredPart::Message {
                    id: message_id,
                    message,
                };
                self.give(home, part);
            }
            restored = Some(RestoredDelivery {
                number: delivery.number,
                message: message_id,
                qos: delivery.qos,
                retain: delivery.retain,
                identifiers: delivery.identifiers.to_vec(),
            });
        }
        let packet_id = match content.stage {
            Stage::Queued => None,
            Stage::Sent { packet_id } | Stage::Released { packet_id } => {
                Some(PacketId::new(packet_id).ok_or(Damaged)?)
            }
        };
        let part = match (packet_id, restored) {
            (Some(packet_id), delivery) => RestoredPart::InFlight {
                session,
                packet_id,
                delivery,
            },
            (None, Some(delivery)) => RestoredPart::Queued { session, delivery },
            (None, None) => return Err(Damaged),
        };
        let index = &mut self.loaded.index;
        index.note_delivery(id);
        index.share(row.message);
        let held = index.sessions.entry(row.session).or_default();
        let place = Place {
            row: id,
            message: row.message,
        };
        held.deliveries.insert(content.number, place);
        self.loaded.deliveries += 1;
        match packet_id {
            Some(packet_id) => {
                held.in_flight.insert(packet_id.get(), content.number);
                self.give(home, part);
            }
            None => queued.push((home, part)),
        }
        Ok(Found::Kept)
    }

    fn received(
        &mut self,
        id: u64,
        row: RowRef<'_>,
        passed: &mut Vec<(u64, u64, u64)>,
    ) -> Result<Found, Damaged> {
        let (number, packet_id, with) = row::read_received(id, row)?;
        let session = StoredSession::from_number(number).ok_or(Damaged)?;
        let packet_id = PacketId::new(packet_id).ok_or(Damaged)?;
        let Some(home) = self.homes.get(&number).copied() else {
            if with == 0 {
                return Ok(Found::Needless);
            }
            // Of a passage, if there is one of this name: all of them are known at the end.
            passed.push((id, number, with));
            return Ok(Found::Kept);
        };
        let held = self.loaded.index.sessions.entry(number).or_default();
        held.received.insert(packet_id.get(), with);
        if with > 0 {
            self.loaded.index.passages.insert(with, 0);
            self.publishers.insert(with, home);
        }
        let passage = StoredSession::from_number(with);
        self.give(
            home,
            RestoredPart::Received {
                session,
                packet_id,
                passage,
            },
        );
        Ok(Found::Kept)
    }

    /// Rows of passages: id, passage, and the Session or group that has it, or the passage again.
    fn passed(&mut self, rows: Vec<(u64, u64, u64)>) {
        for (id, number, session) in rows {
            let Some(last) = self.loaded.index.passages.get_mut(&number) else {
                self.loaded.to_delete.push((Table::Received, id));
                continue;
            };
            *last = (*last).max(id as u16);
            let names = StoredSession::from_number(number).zip(StoredSession::from_number(session));
            let Some((passage, session)) = names else {
                continue;
            };
            let home = match session == passage {
                true => self.publishers.get(&number),
                false => self.homes.get(&session.number()),
            };
            let homes = match (session.is_group(), home) {
                (true, _) => 0..self.shards,
                (false, Some(home)) => home.index()..home.index() + 1,
                (false, None) => continue,
            };
            for home in homes {
                let home = ShardId(home as u8);
                self.give(home, RestoredPart::Passed { passage, session });
            }
        }
    }

    fn retained(&mut self, id: u64, row: RowRef<'_>) -> Result<Found, Damaged> {
        let read = row::read_retained(id, row);
        if self.loaded.index.batches.has(id) {
            // The batch takes its place. A deletion, even of a damaged row, would count as newer than the batch.
            self.loaded.damaged += u64::from(read.is_err());
            return Ok(Found::Kept);
        }
        let (version, body) = read?;
        Ok(self.give_retained(version, &body))
    }

    /// The retained messages of all batches.
    fn batched(&mut self) {
        let batches = std::mem::take(&mut self.loaded.index.batches);
        for (id, row) in batches.rows() {
            let read = row::read_retained(id, row.as_ref());
            let found = read.map(|(version, body)| self.give_retained(version, &body));
            self.settle(Table::Retained, id, found);
        }
        self.loaded.index.batches = batches;
    }

    fn give_retained(&mut self, version: WriteVersion, body: &Body<'_>) -> Found {
        if body.expires > 0 && body.expires <= self.now {
            return Found::Needless;
        }
        self.loaded.retained += 1;
        let version = RetainVersion {
            clock: version.clock,
            shard: ShardId(version.shard),
        };
        let message = self.message(body);
        let home = home_of(body.topic, self.shards);
        self.give(home, RestoredPart::Retained { message, version });
        Found::Kept
    }

    fn will(&mut self, id: u64, row: RowRef<'_>) -> Result<Found, Damaged> {
        let (user_name, will) = row::read_will(id, row)?;
        let session = StoredSession::from_number(id).ok_or(Damaged)?;
        self.loaded.index.wills.insert(id);
        let part = RestoredPart::Will {
            session,
            client_id: row.text.into(),
            user_name: user_name.map(Into::into),
            will: self.restored_will(&will, None),
        };
        self.give(home_of(row.text, self.shards), part);
        Ok(Found::Kept)
    }

    fn restored_will(&self, will: &Will<'_>, due_in_s: Option<u32>) -> RestoredWill {
        RestoredWill {
            message: self.message(&will.body),
            delay_interval_s: will.delay_interval_s,
            message_expiry_interval_s: will.message_expiry_interval_s,
            due_in_s,
        }
    }

    fn message(&self, body: &Body<'_>) -> RestoredMessage {
        RestoredMessage {
            topic: body.topic.into(),
            passed_on: body.passed_on.into(),
            payload: body.payload.into(),
            qos: body.qos,
            retain: body.retain,
            expires_in_s: (body.expires > 0).then(|| self.left_s(body.expires)),
        }
    }
}
