//! The records of a journal: one for each change that a shard reports, with times of the wall clock. One codec serves
//! the journal, the way to the store's thread and the replay.
//!
//! A record is a byte for its kind and its fields ([`super::bytes`]). Bytes that no encoder makes are `Damaged`.

use super::bytes::{Damaged, Reader, put_blob, put_number};
use crate::session::queue::Identifiers;
use crate::wire::{QoS, SubscriptionOptions, Version};

/// Seconds since 1970, UTC. 0: none.
pub type UnixSeconds = u64;

/// An Application Message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Body<'a> {
    pub topic: &'a str,
    /// v5 properties that are passed on.
    pub passed_on: &'a [u8],
    pub payload: &'a [u8],
    /// QoS and RETAIN as published.
    pub qos: QoS,
    pub retain: bool,
    /// When it expires; 0: never.
    pub expires: UnixSeconds,
}

/// A will as CONNECT brought it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Will<'a> {
    pub body: Body<'a>,
    pub delay_interval_s: u32,
    pub message_expiry_interval_s: Option<u32>,
}

/// Where the message of a delivery is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Carried<'a> {
    /// Here, as no other delivery has it.
    Own(Body<'a>),
    /// In the `Message` of this number, earlier in the same frame or elsewhere in the table.
    Shared(u64),
}

/// What a Session is sent at QoS 1 or 2.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Delivery<'a> {
    /// Its number in the Session.
    pub number: u64,
    pub qos: QoS,
    pub retain: bool,
    pub identifiers: Identifiers,
    pub carried: Carried<'a>,
}

/// Order of two writes of one retained message.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct WriteVersion {
    pub clock: u64,
    pub shard: u8,
}

/// What is stored of a Session beside its subscriptions and deliveries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Holder<'a> {
    pub client_id: &'a str,
    pub user_name: Option<&'a str>,
    /// Another broker has said so, which may be wrong. No Client has proved it here.
    pub is_claim: bool,
    pub expiry_interval_s: u32,
    pub connected: bool,
    /// When the Session ends, while it is not connected.
    pub ends: UnixSeconds,
    pub will: Option<Will<'a>>,
    /// When the will is published, while the Session is not connected; 0: it is not under way.
    pub will_due: UnixSeconds,
}

/// One record. `session` is the number of a `StoredSession`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Record<'a> {
    Session {
        session: u64,
        holder: Holder<'a>,
    },
    SessionEnded {
        session: u64,
    },
    WillSet {
        session: u64,
        client_id: &'a str,
        user_name: Option<&'a str>,
        will: Will<'a>,
    },
    WillGone {
        session: u64,
    },
    Subscribed {
        session: u64,
        filter: &'a str,
        options: SubscriptionOptions,
        identifier: u32,
    },
    Unsubscribed {
        session: u64,
        filter: &'a str,
    },
    /// A message that deliveries of this frame share, by a number that counts in the frame.
    Message {
        number: u64,
        body: Body<'a>,
    },
    Queued {
        session: u64,
        delivery: Delivery<'a>,
    },
    Unqueued {
        session: u64,
        number: u64,
    },
    /// A queued delivery is in flight.
    Sent {
        session: u64,
        number: u64,
        packet_id: u16,
    },
    /// A delivery is in flight that was not queued.
    SentAtOnce {
        session: u64,
        packet_id: u16,
        delivery: Delivery<'a>,
    },
    Released {
        session: u64,
        packet_id: u16,
    },
    Done {
        session: u64,
        packet_id: u16,
    },
    Received {
        session: u64,
        packet_id: u16,
        /// 0: the message does not cross.
        passage: u64,
    },
    Passed {
        passage: u64,
        session: u64,
    },
    ReceivedReleased {
        session: u64,
        packet_id: u16,
    },
    Retained {
        version: WriteVersion,
        body: Body<'a>,
    },
    RetainedDeleted {
        version: WriteVersion,
        topic: &'a str,
        qos: QoS,
    },
}

const SESSION: u8 = 1;
const SESSION_ENDED: u8 = 2;
const WILL_SET: u8 = 3;
const WILL_GONE: u8 = 4;
const SUBSCRIBED: u8 = 5;
const UNSUBSCRIBED: u8 = 6;
const MESSAGE: u8 = 7;
const QUEUED: u8 = 8;
const UNQUEUED: u8 = 9;
const SENT: u8 = 10;
const SENT_AT_ONCE: u8 = 11;
const RELEASED: u8 = 12;
const DONE: u8 = 13;
const RECEIVED: u8 = 14;
const RECEIVED_RELEASED: u8 = 15;
const RETAINED: u8 = 16;
const RETAINED_DELETED: u8 = 17;
const RECEIVED_CROSSING: u8 = 18;
const PASSED: u8 = 19;

impl<'a> Record<'a> {
    /// Appends the record.
    pub fn put(&self, out: &mut Vec<u8>) {
        let start = |out: &mut Vec<u8>, kind, number| {
            out.push(kind);
            put_number(out, number);
        };
        let packet = |out: &mut Vec<u8>, kind, session, packet_id: u16| {
            out.push(kind);
            put_number(out, session);
            put_number(out, packet_id.into());
        };
        match self {
            Record::Session { session, holder } => {
                start(out, SESSION, *session);
                put_blob(out, holder.client_id.as_bytes());
                holder.put_rest(out);
            }
            Record::SessionEnded { session } => start(out, SESSION_ENDED, *session),
            Record::WillSet {
                session,
                client_id,
                user_name,
                will,
            } => {
                start(out, WILL_SET, *session);
                put_blob(out, client_id.as_bytes());
                put_user_name(out, *user_name);
                will.put(out);
            }
            Record::WillGone { session } => start(out, WILL_GONE, *session),
            Record::Subscribed {
                session,
                filter,
                options,
                identifier,
            } => {
                start(out, SUBSCRIBED, *session);
                put_blob(out, filter.as_bytes());
                put_subscription(out, *options, *identifier);
            }
            Record::Unsubscribed { session, filter } => {
                start(out, UNSUBSCRIBED, *session);
                put_blob(out, filter.as_bytes());
            }
            Record::Message { number, body } => {
                start(out, MESSAGE, *number);
                body.put(out);
            }
            Record::Queued { session, delivery } => {
                start(out, QUEUED, *session);
                delivery.put(out);
            }
            Record::Unqueued { session, number } => {
                start(out, UNQUEUED, *session);
                put_number(out, *number);
            }
            Record::Sent {
                session,
                number,
                packet_id,
            } => {
                packet(out, SENT, *session, *packet_id);
                put_number(out, *number);
            }
            Record::SentAtOnce {
                session,
                packet_id,
                delivery,
            } => {
                packet(out, SENT_AT_ONCE, *session, *packet_id);
                delivery.put(out);
            }
            Record::Released { session, packet_id } => packet(out, RELEASED, *session, *packet_id),
            Record::Done { session, packet_id } => packet(out, DONE, *session, *packet_id),
            Record::Received {
                session,
                packet_id,
                passage: 0,
            } => packet(out, RECEIVED, *session, *packet_id),
            Record::Received {
                session,
                packet_id,
                passage,
            } => {
                packet(out, RECEIVED_CROSSING, *session, *packet_id);
                put_number(out, *passage);
            }
            Record::Passed { passage, session } => {
                start(out, PASSED, *session);
                put_number(out, *passage);
            }
            Record::ReceivedReleased { session, packet_id } => {
                packet(out, RECEIVED_RELEASED, *session, *packet_id);
            }
            Record::Retained { version, body } => {
                out.push(RETAINED);
                version.put(out);
                body.put(out);
            }
            Record::RetainedDeleted {
                version,
                topic,
                qos,
            } => {
                out.push(RETAINED_DELETED);
                version.put(out);
                put_blob(out, topic.as_bytes());
                out.push(*qos as u8);
            }
        }
    }

    /// Reads the next record.
    pub fn read(reader: &mut Reader<'a>) -> Result<Record<'a>, Damaged> {
        let kind = reader.byte()?;
        if kind == RETAINED || kind == RETAINED_DELETED {
            let version = WriteVersion::read(reader)?;
            return Ok(if kind == RETAINED {
                let body = Body::read(reader)?;
                Record::Retained { version, body }
            } else {
                Record::RetainedDeleted {
                    version,
                    topic: reader.text()?,
                    qos: read_qos(reader.byte()?)?,
                }
            });
        }
        let session = reader.number()?;
        Ok(match kind {
            SESSION => {
                let client_id = reader.text()?;
                let holder = Holder::read_rest(client_id, reader)?;
                Record::Session { session, holder }
            }
            SESSION_ENDED => Record::SessionEnded { session },
            WILL_SET => Record::WillSet {
                session,
                client_id: reader.text()?,
                user_name: read_user_name(reader)?,
                will: Will::read(reader)?,
            },
            WILL_GONE => Record::WillGone { session },
            SUBSCRIBED => {
                let filter = reader.text()?;
                let (options, identifier) = read_subscription(reader)?;
                Record::Subscribed {
                    session,
                    filter,
                    options,
                    identifier,
                }
            }
            UNSUBSCRIBED => Record::Unsubscribed {
                session,
                filter: reader.text()?,
            },
            MESSAGE => Record::Message {
                number: session,
                body: Body::read(reader)?,
            },
            QUEUED => Record::Queued {
                session,
                delivery: Delivery::read(reader)?,
            },
            UNQUEUED => Record::Unqueued {
                session,
                number: reader.number()?,
            },
            SENT => Record::Sent {
                session,
                packet_id: read_packet_id(reader)?,
                number: reader.number()?,
            },
            SENT_AT_ONCE => Record::SentAtOnce {
                session,
                packet_id: read_packet_id(reader)?,
                delivery: Delivery::read(reader)?,
            },
            RECEIVED_CROSSING => Record::Received {
                session,
                packet_id: read_packet_id(reader)?,
                passage: read_passage(reader)?,
            },
            PASSED => Record::Passed {
                session,
                passage: reader.number()?,
            },
            RELEASED | DONE | RECEIVED | RECEIVED_RELEASED => {
                let packet_id = read_packet_id(reader)?;
                match kind {
                    RELEASED => Record::Released { session, packet_id },
                    DONE => Record::Done { session, packet_id },
                    RECEIVED => Record::Received {
                        session,
                        packet_id,
                        passage: 0,
                    },
                    _ => Record::ReceivedReleased { session, packet_id },
                }
            }
            _ => return Err(Damaged),
        })
    }

    /// Whether an answer may wait for it. Others are kept soon, and a power cut may take the last seconds of them.
    pub fn is_gate(&self) -> bool {
        match self {
            Record::Retained { body, .. } => body.qos != QoS::AtMostOnce,
            Record::RetainedDeleted { qos, .. } => *qos != QoS::AtMostOnce,
            Record::WillSet { .. } | Record::WillGone { .. } => false,
            _ => true,
        }
    }
}

const QOS: u8 = 0x03;
const RETAIN: u8 = 0x04;
const EXPIRES: u8 = 0x08;
const OWN: u8 = 0x10;
const IDENTIFIERS: u8 = 0x20;
const PASSED_ON: u8 = 0x40;

fn read_qos(byte: u8) -> Result<QoS, Damaged> {
    QoS::from_bits(byte)
        .filter(|_| byte & !QOS == 0)
        .ok_or(Damaged)
}

fn read_packet_id(reader: &mut Reader<'_>) -> Result<u16, Damaged> {
    let packet_id = reader.narrow()?;
    if packet_id == 0 {
        Err(Damaged)
    } else {
        Ok(packet_id)
    }
}

/// The passage of a message that crosses: without one the record is another.
pub(super) fn read_passage(reader: &mut Reader<'_>) -> Result<u64, Damaged> {
    match reader.number()? {
        0 => Err(Damaged),
        passage => Ok(passage),
    }
}

pub(super) fn put_user_name(out: &mut Vec<u8>, user_name: Option<&str>) {
    out.push(user_name.is_some().into());
    if let Some(user_name) = user_name {
        put_blob(out, user_name.as_bytes());
    }
}

pub(super) fn read_user_name<'a>(reader: &mut Reader<'a>) -> Result<Option<&'a str>, Damaged> {
    match reader.byte()? {
        0 => Ok(None),
        1 => reader.text().map(Some),
        _ => Err(Damaged),
    }
}

pub(super) fn put_subscription(out: &mut Vec<u8>, options: SubscriptionOptions, identifier: u32) {
    out.push(options.to_byte());
    put_number(out, identifier.into());
}

pub(super) fn read_subscription(
    reader: &mut Reader<'_>,
) -> Result<(SubscriptionOptions, u32), Damaged> {
    let byte = reader.byte()?;
    let options = SubscriptionOptions::from_byte(Version::V5, byte).map_err(|_| Damaged)?;
    Ok((options, reader.narrow()?))
}

impl WriteVersion {
    pub(super) fn put(self, out: &mut Vec<u8>) {
        put_number(out, self.clock);
        out.push(self.shard);
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<WriteVersion, Damaged> {
        Ok(WriteVersion {
            clock: reader.number()?,
            shard: reader.byte()?,
        })
    }
}

impl<'a> Body<'a> {
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        let mut flags = self.qos as u8;
        flags |= if self.retain { RETAIN } else { 0 };
        flags |= if self.expires > 0 { EXPIRES } else { 0 };
        out.push(flags);
        if self.expires > 0 {
            put_number(out, self.expires);
        }
        put_blob(out, self.topic.as_bytes());
        put_blob(out, self.passed_on);
        put_blob(out, self.payload);
    }

    /// As the last of a row: what follows the properties is the payload, and there is no trace of what is not there.
    fn put_last(&self, out: &mut Vec<u8>) {
        let mut flags = self.qos as u8;
        flags |= if self.retain { RETAIN } else { 0 };
        flags |= if self.expires > 0 { EXPIRES } else { 0 };
        let has_passed_on = !self.passed_on.is_empty();
        flags |= if has_passed_on { PASSED_ON } else { 0 };
        out.push(flags);
        if self.expires > 0 {
            put_number(out, self.expires);
        }
        put_blob(out, self.topic.as_bytes());
        if has_passed_on {
            put_blob(out, self.passed_on);
        }
        out.extend_from_slice(self.payload);
    }

    fn read_last(mut reader: Reader<'a>) -> Result<Body<'a>, Damaged> {
        let flags = reader.byte()?;
        if flags & !(QOS | RETAIN | EXPIRES | PASSED_ON) != 0 {
            return Err(Damaged);
        }
        let expires = match flags & EXPIRES != 0 {
            true => reader.number()?,
            false => 0,
        };
        let topic = reader.text()?;
        let passed_on: &[u8] = match flags & PASSED_ON != 0 {
            true => reader.blob()?,
            false => &[],
        };
        Ok(Body {
            topic,
            passed_on,
            payload: reader.rest(),
            qos: QoS::from_bits(flags & QOS).ok_or(Damaged)?,
            retain: flags & RETAIN != 0,
            expires,
        })
    }

    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Body<'a>, Damaged> {
        let flags = reader.byte()?;
        if flags & !(QOS | RETAIN | EXPIRES) != 0 {
            return Err(Damaged);
        }
        let expires = if flags & EXPIRES != 0 {
            reader.number()?
        } else {
            0
        };
        if flags & EXPIRES != 0 && expires == 0 {
            return Err(Damaged);
        }
        Ok(Body {
            topic: reader.text()?,
            passed_on: reader.blob()?,
            payload: reader.blob()?,
            qos: QoS::from_bits(flags).ok_or(Damaged)?,
            retain: flags & RETAIN != 0,
            expires,
        })
    }
}

impl<'a> Will<'a> {
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        put_number(out, self.delay_interval_s.into());
        // 0 stands for none, as an interval of 0 is one more.
        let expiry = self.message_expiry_interval_s;
        put_number(out, expiry.map_or(0, |interval| u64::from(interval) + 1));
        self.body.put(out);
    }

    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Will<'a>, Damaged> {
        let delay_interval_s = reader.narrow()?;
        let message_expiry_interval_s = match reader.number()? {
            0 => None,
            more => Some(u32::try_from(more - 1).map_err(|_| Damaged)?),
        };
        Ok(Will {
            delay_interval_s,
            message_expiry_interval_s,
            body: Body::read(reader)?,
        })
    }
}

impl<'a> Holder<'a> {
    /// All but the client id.
    pub(super) fn put_rest(&self, out: &mut Vec<u8>) {
        put_user_name(out, self.user_name);
        put_number(out, self.expiry_interval_s.into());
        let flags = u8::from(self.connected) | u8::from(self.will.is_some()) << 1;
        out.push(flags | u8::from(self.is_claim) << 2);
        put_number(out, self.ends);
        if let Some(will) = &self.will {
            put_number(out, self.will_due);
            will.put(out);
        }
    }

    pub(super) fn read_rest(
        client_id: &'a str,
        reader: &mut Reader<'a>,
    ) -> Result<Holder<'a>, Damaged> {
        let user_name = read_user_name(reader)?;
        let expiry_interval_s = reader.narrow()?;
        let flags = reader.byte()?;
        if flags > 7 || expiry_interval_s == 0 {
            return Err(Damaged);
        }
        let ends = reader.number()?;
        let (will_due, will) = if flags & 2 != 0 {
            (reader.number()?, Some(Will::read(reader)?))
        } else {
            (0, None)
        };
        Ok(Holder {
            client_id,
            user_name,
            is_claim: flags & 4 != 0,
            expiry_interval_s,
            connected: flags & 1 != 0,
            ends,
            will,
            will_due,
        })
    }
}

impl<'a> Delivery<'a> {
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        self.put_head(out, matches!(self.carried, Carried::Own(_)));
        match &self.carried {
            Carried::Own(body) => body.put(out),
            Carried::Shared(number) => put_number(out, *number),
        }
    }

    /// As the last of a row.
    pub(super) fn put_last(&self, out: &mut Vec<u8>) {
        self.put_head(out, matches!(self.carried, Carried::Own(_)));
        match &self.carried {
            Carried::Own(body) => body.put_last(out),
            Carried::Shared(number) => put_number(out, *number),
        }
    }

    pub(super) fn read_last(mut reader: Reader<'a>) -> Result<Delivery<'a>, Damaged> {
        Delivery::read_with(&mut reader, |reader| Body::read_last(reader.clone()))
    }

    /// All but its message, which is here or elsewhere.
    pub(super) fn put_head(&self, out: &mut Vec<u8>, own: bool) {
        let mut flags = self.qos as u8;
        flags |= if self.retain { RETAIN } else { 0 };
        flags |= if own { OWN } else { 0 };
        flags |= if self.identifiers.is_empty() {
            0
        } else {
            IDENTIFIERS
        };
        out.push(flags);
        put_number(out, self.number);
        if !self.identifiers.is_empty() {
            put_number(out, self.identifiers.len() as u64);
            for identifier in &self.identifiers {
                put_number(out, (*identifier).into());
            }
        }
    }

    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Delivery<'a>, Damaged> {
        Delivery::read_with(reader, Body::read)
    }

    fn read_with(
        reader: &mut Reader<'a>,
        body: impl FnOnce(&mut Reader<'a>) -> Result<Body<'a>, Damaged>,
    ) -> Result<Delivery<'a>, Damaged> {
        let flags = reader.byte()?;
        if flags & !(QOS | RETAIN | OWN | IDENTIFIERS) != 0 {
            return Err(Damaged);
        }
        let number = reader.number()?;
        let mut identifiers = Identifiers::new();
        if flags & IDENTIFIERS != 0 {
            let count: usize = reader.narrow()?;
            if count == 0 {
                return Err(Damaged);
            }
            // Grows by what is there, whatever the count claims.
            for _ in 0..count {
                identifiers.push(reader.narrow()?);
            }
        }
        Ok(Delivery {
            number,
            qos: QoS::from_bits(flags).ok_or(Damaged)?,
            retain: flags & RETAIN != 0,
            identifiers,
            carried: if flags & OWN != 0 {
                Carried::Own(body(reader)?)
            } else {
                Carried::Shared(reader.number()?)
            },
        })
    }
}
