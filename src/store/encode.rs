//! What a shard reports, as records.

use super::frame;
use super::record::{Body, Carried, Delivery, Holder, Record, Will, WriteVersion};
use super::wall::Wall;
use crate::broker::{Change, RetainVersion, StoredDelivery};
use crate::ids::Passage;
use crate::session::{Message, StoredWill};
use hashbrown::HashMap;
use std::rc::Rc;

/// What a frame holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Encoded {
    /// Answers may wait for it.
    pub gate: bool,
    /// It means nothing without what another shard said before it.
    pub passed: bool,
}

/// Makes one frame of the changes of a turn, in `frame`, which is emptied first.
pub fn encode(changes: &[Change], wall: Wall, number: u64, frame: &mut Vec<u8>) -> Encoded {
    frame::begin(frame);
    let mut shared = Shared::of(changes);
    let (mut gate, mut passed) = (false, false);
    for change in changes {
        if let Some(delivery) = new_delivery(change) {
            shared.put_message(delivery, wall, frame);
        }
        let record = record(change, wall, &shared);
        gate |= record.is_gate();
        passed |= matches!(record, Record::Passed { .. });
        record.put(frame);
    }
    frame::finish(frame, number);
    Encoded { gate, passed }
}

/// The delivery of a change that brings one.
fn new_delivery(change: &Change) -> Option<&StoredDelivery> {
    match change {
        Change::Queued { delivery, .. }
        | Change::Sent {
            queued: false,
            delivery,
            ..
        } => Some(delivery),
        _ => None,
    }
}

/// Messages of several deliveries, by their place in memory, which is theirs while the changes hold them.
struct Shared {
    numbers: HashMap<*const Message, Number>,
    last: u64,
}

struct Number {
    deliveries: u32,
    /// In the frame; 0: not written yet.
    number: u64,
}

impl Shared {
    fn of(changes: &[Change]) -> Shared {
        let mut numbers = HashMap::new();
        let mut deliveries = changes.iter().filter_map(new_delivery);
        // Nearly every turn has one delivery at most.
        if let (Some(first), Some(second)) = (deliveries.next(), deliveries.next()) {
            for delivery in [first, second].into_iter().chain(deliveries) {
                let fresh = Number {
                    deliveries: 0,
                    number: 0,
                };
                let number = numbers
                    .entry(Rc::as_ptr(&delivery.message))
                    .or_insert(fresh);
                number.deliveries += 1;
            }
            numbers.retain(|_, number| number.deliveries > 1);
        }
        Shared { numbers, last: 0 }
    }

    /// Writes the message of a delivery, if it is shared and not written yet.
    fn put_message(&mut self, delivery: &StoredDelivery, wall: Wall, frame: &mut Vec<u8>) {
        let Some(shared) = self.numbers.get_mut(&Rc::as_ptr(&delivery.message)) else {
            return;
        };
        if shared.number == 0 {
            self.last += 1;
            shared.number = self.last;
            Record::Message {
                number: self.last,
                body: body(&delivery.message, wall),
            }
            .put(frame);
        }
    }
}

fn record<'a>(change: &'a Change, wall: Wall, shared: &Shared) -> Record<'a> {
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
        } => Record::Session {
            session: session.number(),
            holder: Holder {
                client_id,
                user_name: user_name.as_deref(),
                is_claim: false,
                expiry_interval_s: *expiry_interval_s,
                connected: *connected,
                ends: if *connected { 0 } else { wall.unix_s(*ends) },
                will: will.as_ref().map(|will| self::will(will, wall)),
                will_due: if *connected {
                    0
                } else {
                    wall.unix_s(*will_due)
                },
            },
        },
        Change::SessionEnded { session } => Record::SessionEnded {
            session: session.number(),
        },
        Change::WillSet {
            session,
            client_id,
            user_name,
            will,
        } => Record::WillSet {
            session: session.number(),
            client_id,
            user_name: user_name.as_deref(),
            will: self::will(will, wall),
        },
        Change::WillGone { session } => Record::WillGone {
            session: session.number(),
        },
        Change::Subscribed {
            session,
            filter,
            options,
            identifier,
        } => Record::Subscribed {
            session: session.number(),
            filter,
            options: *options,
            identifier: identifier.unwrap_or(0),
        },
        Change::Unsubscribed { session, filter } => Record::Unsubscribed {
            session: session.number(),
            filter,
        },
        Change::Queued {
            session,
            number,
            delivery,
        } => Record::Queued {
            session: session.number(),
            delivery: self::delivery(*number, delivery, wall, shared),
        },
        Change::Unqueued { session, number } => Record::Unqueued {
            session: session.number(),
            number: *number,
        },
        Change::Sent {
            session,
            packet_id,
            number,
            queued: true,
            ..
        } => Record::Sent {
            session: session.number(),
            number: *number,
            packet_id: packet_id.get(),
        },
        Change::Sent {
            session,
            packet_id,
            number,
            queued: false,
            delivery,
        } => Record::SentAtOnce {
            session: session.number(),
            packet_id: packet_id.get(),
            delivery: self::delivery(*number, delivery, wall, shared),
        },
        Change::Released { session, packet_id } => Record::Released {
            session: session.number(),
            packet_id: packet_id.get(),
        },
        Change::Done { session, packet_id } => Record::Done {
            session: session.number(),
            packet_id: packet_id.get(),
        },
        Change::Received {
            session,
            packet_id,
            passage,
        } => Record::Received {
            session: session.number(),
            packet_id: packet_id.get(),
            passage: passage.map_or(0, Passage::number),
        },
        Change::Passed { passage, session } => Record::Passed {
            passage: passage.number(),
            session: session.number(),
        },
        Change::ReceivedReleased { session, packet_id } => Record::ReceivedReleased {
            session: session.number(),
            packet_id: packet_id.get(),
        },
        Change::Retained { message, version } => Record::Retained {
            version: self::version(*version),
            body: body(message, wall),
        },
        Change::RetainedDeleted {
            topic,
            version,
            qos,
        } => Record::RetainedDeleted {
            version: self::version(*version),
            topic,
            qos: *qos,
        },
    }
}

fn version(version: RetainVersion) -> WriteVersion {
    WriteVersion {
        clock: version.clock,
        shard: version.shard.0,
    }
}

fn body(message: &Message, wall: Wall) -> Body<'_> {
    Body {
        topic: message.topic(),
        passed_on: message.passed_on(),
        payload: message.payload(),
        qos: message.qos,
        retain: message.retain,
        expires: wall.unix_s(message.expires()),
    }
}

fn will(will: &StoredWill, wall: Wall) -> Will<'_> {
    Will {
        body: body(&will.message, wall),
        delay_interval_s: will.delay_interval_s,
        message_expiry_interval_s: will.message_expiry_interval_s,
    }
}

fn delivery<'a>(
    number: u64,
    delivery: &'a StoredDelivery,
    wall: Wall,
    shared: &Shared,
) -> Delivery<'a> {
    let in_frame = shared.numbers.get(&Rc::as_ptr(&delivery.message));
    Delivery {
        number,
        qos: delivery.qos,
        retain: delivery.retain,
        identifiers: delivery.identifiers.clone(),
        carried: match in_frame {
            Some(shared) => Carried::Shared(shared.number),
            None => Carried::Own(body(&delivery.message, wall)),
        },
    }
}
