//! A shard that says things, and the model of what a store must hold then.

use super::{Picture, body, delivery, holder};
use crate::random::SplitMix64;
use crate::store::frame;
use crate::store::record::{Carried, Record, WriteVersion};
use crate::wire::{QoS, SubscriptionOptions};
use std::collections::{BTreeMap, BTreeSet};

/// The model: what was said last.
#[derive(Clone, Default)]
pub struct Model {
    sessions: BTreeMap<u64, Said>,
    retained: BTreeMap<String, String>,
    wills: BTreeSet<u64>,
}

#[derive(Clone, Default)]
pub struct Said {
    filters: BTreeMap<String, u32>,
    /// By number: payload, Packet Identifier (0: queued), released.
    deliveries: BTreeMap<u64, (String, u16, bool)>,
    received: BTreeSet<u16>,
}

impl Model {
    pub fn picture(&self) -> Picture {
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

/// A shard that says things, and what it has said.
pub struct Shard {
    number: u8,
    random: SplitMix64,
    counter: u64,
    delivery: u64,
    clock: u64,
    pub frames: Vec<(u64, Vec<u8>)>,
}

impl Shard {
    pub fn new(number: u8, seed: u64) -> Shard {
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
    pub fn turn(&mut self, model: &mut Model) {
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
