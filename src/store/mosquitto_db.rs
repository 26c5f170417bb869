//! What Mosquitto has kept: `mosquitto.db` of its versions 3 to 6, as records of ours.
//!
//! ```text
//! file  = 00 B5 00 "mosquitto db", 4 bytes that nobody checks, version, chunks; numbers are big-endian
//! chunk = kind, length, a fixed part, strings
//! ```
//!
//! From version 5 on the fixed parts are C structures as they lay in memory: numbers of 64 bits in the order of the
//! machine that wrote them (little-endian here), and padding. A last chunk that was cut off ends the file, and what
//! came before it counts. [Mosquitto, `src/persist.h`]
//!
//! Mosquitto routes a QoS 2 message when PUBREL comes, this broker when PUBLISH does. So a message that waits for its
//! PUBREL is given to the Sessions that want it, and its Packet Identifier is kept for the repeat.

use super::bytes::Damaged;
use super::record::{Body, Carried, Delivery, Holder, Record, UnixSeconds, WriteVersion};
use crate::session::queue::Identifiers;
use crate::wire::cursor::Cursor;
use crate::wire::publish::PublishProperties;
use crate::wire::{QoS, SubscriptionOptions, TopicFilter, TopicName, Version, topic};
use std::collections::{BTreeMap, BTreeSet};

/// What was found in a file.
#[derive(Default, Debug)]
pub struct Found<'a> {
    pub version: u32,
    clients: BTreeMap<&'a str, Client<'a>>,
    messages: BTreeMap<u64, Message<'a>>,
    retained: Vec<u64>,
    /// Chunks and parts that could not be taken.
    pub lost: u64,
}

/// What became records.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Taken {
    pub sessions: u64,
    pub subscriptions: u64,
    pub deliveries: u64,
    pub retained: u64,
    /// Sessions and messages whose time is over.
    pub expired: u64,
}

#[derive(Default, Debug)]
struct Client<'a> {
    user_name: Option<&'a str>,
    expiry_interval_s: u32,
    /// 0: it was connected.
    ends: u64,
    filters: BTreeMap<&'a str, (SubscriptionOptions, u32)>,
    deliveries: Vec<Given>,
}

/// A client message: a message on its way to or from a Client.
#[derive(Clone, Debug)]
struct Given {
    message: u64,
    packet_id: u16,
    qos: u8,
    state: u8,
    retain: bool,
    inward: bool,
    identifier: u32,
}

#[derive(Debug)]
struct Message<'a> {
    topic: &'a str,
    passed_on: Vec<u8>,
    payload: &'a [u8],
    qos: QoS,
    retain: bool,
    expires: u64,
}

/// Mosquitto's words for how far a message is.
const WAIT_FOR_PUBACK: u8 = 3;
const WAIT_FOR_PUBREC: u8 = 5;
const RESEND_PUBREL: u8 = 6;
const WAIT_FOR_PUBREL: u8 = 7;
const WAIT_FOR_PUBCOMP: u8 = 9;

const MAGIC: &[u8; 15] = b"\x00\xB5\x00mosquitto db";

/// Eight bytes in the order of the machine that wrote them.
fn native(chunk: &mut Cursor<'_>) -> Result<u64, Damaged> {
    let eight = chunk.take(8)?.try_into().map_err(|_| Damaged)?;
    Ok(u64::from_le_bytes(eight))
}

/// A text whose length stands elsewhere.
fn text<'a>(chunk: &mut Cursor<'a>, count: u16) -> Result<&'a str, Damaged> {
    std::str::from_utf8(chunk.take(count.into())?).map_err(|_| Damaged)
}

/// A text with its length before it, as versions to 4 have it.
fn string<'a>(chunk: &mut Cursor<'a>) -> Result<&'a str, Damaged> {
    std::str::from_utf8(chunk.binary_data()?).map_err(|_| Damaged)
}

/// Reads a whole file.
///
/// Errors: it is none of Mosquitto's, or of a version that is not known.
pub fn read(file: &[u8]) -> Result<Found<'_>, Damaged> {
    let mut left = Cursor::new(file);
    if left.take(MAGIC.len())? != MAGIC {
        return Err(Damaged);
    }
    left.take(4)?;
    let mut found = Found {
        version: left.four_byte_integer()?,
        ..Found::default()
    };
    if !(3..=6).contains(&found.version) {
        return Err(Damaged);
    }
    let new = found.version >= 5;
    // Client messages may name a Client whose chunk comes later.
    let mut given = Vec::new();
    let mut filters = Vec::new();
    while !left.is_empty() {
        let head = if new {
            left.four_byte_integer()
        } else {
            left.two_byte_integer().map(u32::from)
        };
        let length = left.four_byte_integer();
        let (Ok(kind), Ok(length)) = (head, length) else {
            found.lost += 1;
            break;
        };
        let Ok(chunk) = left.take(length as usize) else {
            found.lost += 1;
            break;
        };
        let mut chunk = Cursor::new(chunk);
        let taken = match (kind, new) {
            (2, true) => found.take_message(&mut chunk),
            (2, false) => found.take_old_message(&mut chunk),
            (3, true) => client_message(&mut chunk).map(|message| given.push(message)),
            (3, false) => old_client_message(&mut chunk).map(|message| given.push(message)),
            (4, _) => native(&mut chunk).map(|id| found.retained.push(id)),
            (5, _) => subscription(&mut chunk, new).map(|filter| filters.push(filter)),
            (6, true) => found.take_client(&mut chunk),
            (6, false) => found.take_old_client(&mut chunk),
            // The configuration, and what a later version may have.
            _ => Ok(()),
        };
        if taken.is_err() {
            found.lost += 1;
        }
    }
    for (client_id, filter, options, identifier) in filters {
        match found.clients.get_mut(client_id) {
            Some(client) => {
                client.filters.insert(filter, (options, identifier));
            }
            None => found.lost += 1,
        }
    }
    for (client_id, message) in given {
        match found.clients.get_mut(client_id) {
            Some(client) => client.deliveries.push(message),
            None => found.lost += 1,
        }
    }
    Ok(found)
}

impl<'a> Found<'a> {
    fn take_message(&mut self, chunk: &mut Cursor<'a>) -> Result<(), Damaged> {
        let id = native(chunk)?;
        let expires = native(chunk)?;
        let payload_bytes = chunk.four_byte_integer()?;
        chunk.two_byte_integer()?;
        let source_bytes = chunk.two_byte_integer()?;
        let user_bytes = chunk.two_byte_integer()?;
        let topic_bytes = chunk.two_byte_integer()?;
        chunk.two_byte_integer()?;
        let (qos, retain) = (chunk.byte()?, chunk.byte()?);
        chunk.take(source_bytes.into())?;
        chunk.take(user_bytes.into())?;
        let topic = text(chunk, topic_bytes)?;
        let payload = chunk.take(payload_bytes as usize)?;
        let passed_on = passed_on(chunk)?;
        self.add_message(
            id,
            Message {
                topic,
                passed_on,
                payload,
                qos: QoS::from_bits(qos).ok_or(Damaged)?,
                retain: retain != 0,
                expires,
            },
        )
    }

    fn take_old_message(&mut self, chunk: &mut Cursor<'a>) -> Result<(), Damaged> {
        let id = native(chunk)?;
        string(chunk)?;
        if self.version == 4 {
            string(chunk)?;
            chunk.two_byte_integer()?;
        }
        chunk.four_byte_integer()?;
        let topic = string(chunk)?;
        let (qos, retain) = (chunk.byte()?, chunk.byte()?);
        let payload_bytes = chunk.four_byte_integer()?;
        let payload = chunk.take(payload_bytes as usize)?;
        self.add_message(
            id,
            Message {
                topic,
                passed_on: Vec::new(),
                payload,
                qos: QoS::from_bits(qos).ok_or(Damaged)?,
                retain: retain != 0,
                expires: 0,
            },
        )
    }

    fn add_message(&mut self, id: u64, message: Message<'a>) -> Result<(), Damaged> {
        TopicName::new(message.topic).map_err(|_| Damaged)?;
        self.messages.insert(id, message);
        Ok(())
    }

    fn take_client(&mut self, chunk: &mut Cursor<'a>) -> Result<(), Damaged> {
        let ends = native(chunk)?;
        let expiry_interval_s = chunk.four_byte_integer()?;
        chunk.two_byte_integer()?;
        let id_bytes = chunk.two_byte_integer()?;
        let mut user_bytes = 0;
        if self.version == 6 {
            chunk.two_byte_integer()?;
            user_bytes = chunk.two_byte_integer()?;
            // 24 bytes with padding; 20 where 64 bits are aligned to 32.
            let rest = usize::from(id_bytes) + usize::from(user_bytes);
            chunk.take(chunk.rest().len().saturating_sub(rest).min(4))?;
        }
        let client_id = text(chunk, id_bytes)?;
        // 2.0.11 writes bytes of its heap here for a Client without a name: only what can be one counts.
        let user_name = text(chunk, user_bytes).ok();
        let user_name = user_name.filter(|name| !name.is_empty() && !name.contains('\0'));
        self.add_client(client_id, user_name, expiry_interval_s, ends)
    }

    fn take_old_client(&mut self, chunk: &mut Cursor<'a>) -> Result<(), Damaged> {
        let client_id = string(chunk)?;
        self.add_client(client_id, None, u32::MAX, 0)
    }

    fn add_client(
        &mut self,
        client_id: &'a str,
        user_name: Option<&'a str>,
        expiry_interval_s: u32,
        ends: u64,
    ) -> Result<(), Damaged> {
        if client_id.is_empty() || client_id.contains('\0') {
            return Err(Damaged);
        }
        let client = self.clients.entry(client_id).or_default();
        client.user_name = user_name;
        client.expiry_interval_s = expiry_interval_s;
        client.ends = ends;
        Ok(())
    }

    /// Appends all as records of a new store, and says what they are. `now` is the calendar's time.
    pub fn records(&self, now: UnixSeconds, out: &mut Vec<u8>) -> Taken {
        let mut taken = Taken::default();
        let mut number = 0;
        let mut sessions = Vec::new();
        for (index, (client_id, client)) in self.clients.iter().enumerate() {
            let finite = client.expiry_interval_s != u32::MAX;
            let ends = match (finite, client.ends) {
                (false, _) => 0,
                (true, 0) => now + u64::from(client.expiry_interval_s),
                (true, ends) => ends,
            };
            if client.expiry_interval_s == 0 || (finite && ends <= now) {
                taken.expired += 1;
                continue;
            }
            // The shard that gave it was the first, and it gives on from there.
            let session = (index as u64 + 1) << 6;
            sessions.push((session, client));
            taken.sessions += 1;
            let holder = Holder {
                client_id,
                user_name: client.user_name,
                // 2.0.11 writes the names of other Clients into Sessions without one.
                is_claim: true,
                expiry_interval_s: client.expiry_interval_s,
                connected: false,
                ends,
                will: None,
                will_due: 0,
            };
            Record::Session { session, holder }.put(out);
            for (filter, (options, identifier)) in &client.filters {
                taken.subscriptions += 1;
                Record::Subscribed {
                    session,
                    filter,
                    options: *options,
                    identifier: *identifier,
                }
                .put(out);
            }
        }
        for (session, client) in &sessions {
            self.put_deliveries(*session, client, now, &mut number, &mut taken, out);
        }
        for client in self.clients.values() {
            for given in &client.deliveries {
                if given.inward && given.state == WAIT_FOR_PUBREL {
                    self.route(given, &sessions, now, &mut number, &mut taken, out);
                }
            }
        }
        for id in &self.retained {
            // Without its message it had expired when the file was written.
            let Some(message) = self.message(*id, now) else {
                taken.expired += 1;
                continue;
            };
            taken.retained += 1;
            Record::Retained {
                version: WriteVersion { clock: 1, shard: 0 },
                body: message.body(),
            }
            .put(out);
        }
        taken
    }

    /// A message whose time is not over.
    fn message(&self, id: u64, now: UnixSeconds) -> Option<&Message<'a>> {
        let message = self.messages.get(&id);
        message.filter(|message| message.expires == 0 || message.expires > now)
    }

    fn put_deliveries(
        &self,
        session: u64,
        client: &Client<'_>,
        now: UnixSeconds,
        number: &mut u64,
        taken: &mut Taken,
        out: &mut Vec<u8>,
    ) {
        let mut in_flight = BTreeSet::new();
        let mut received = BTreeSet::new();
        for given in &client.deliveries {
            let packet_id = given.packet_id;
            if given.inward {
                // Others were not answered yet: the Client sends them again.
                if given.state == WAIT_FOR_PUBREL && packet_id > 0 && received.insert(packet_id) {
                    Record::Received {
                        session,
                        packet_id,
                        passage: 0,
                    }
                    .put(out);
                }
                continue;
            }
            let Some(qos) = QoS::from_bits(given.qos).filter(|qos| *qos > QoS::AtMostOnce) else {
                continue;
            };
            let Some(message) = self.message(given.message, now) else {
                taken.expired += 1;
                continue;
            };
            *number += 1;
            taken.deliveries += 1;
            let delivery = message.delivery(*number, qos, given.retain, given.identifier);
            let sent = matches!(
                given.state,
                WAIT_FOR_PUBACK | WAIT_FOR_PUBREC | WAIT_FOR_PUBCOMP | RESEND_PUBREL
            );
            if !sent || packet_id == 0 || !in_flight.insert(packet_id) {
                Record::Queued { session, delivery }.put(out);
                continue;
            }
            Record::SentAtOnce {
                session,
                packet_id,
                delivery,
            }
            .put(out);
            if matches!(given.state, WAIT_FOR_PUBCOMP | RESEND_PUBREL) {
                Record::Released { session, packet_id }.put(out);
            }
        }
    }

    /// Queues a message of a Client for all who want it.
    fn route(
        &self,
        given: &Given,
        sessions: &[(u64, &Client<'_>)],
        now: UnixSeconds,
        number: &mut u64,
        taken: &mut Taken,
        out: &mut Vec<u8>,
    ) {
        let Some(message) = self.message(given.message, now) else {
            return;
        };
        for (session, client) in sessions {
            let filters = client.filters.iter();
            let matching = filters.filter(|(filter, _)| topic::matches(filter, message.topic));
            let best = matching.max_by_key(|(_, (options, _))| options.qos);
            let Some((_, (options, identifier))) = best else {
                continue;
            };
            let qos = options.qos.min(message.qos);
            if qos == QoS::AtMostOnce {
                continue;
            }
            *number += 1;
            taken.deliveries += 1;
            let retain = options.retain_as_published && message.retain;
            let delivery = message.delivery(*number, qos, retain, *identifier);
            Record::Queued {
                session: *session,
                delivery,
            }
            .put(out);
        }
    }
}

impl Message<'_> {
    fn body(&self) -> Body<'_> {
        Body {
            topic: self.topic,
            passed_on: &self.passed_on,
            payload: self.payload,
            qos: self.qos,
            retain: self.retain,
            expires: self.expires,
        }
    }

    fn delivery(&self, number: u64, qos: QoS, retain: bool, identifier: u32) -> Delivery<'_> {
        let mut identifiers = Identifiers::new();
        if identifier > 0 {
            identifiers.push(identifier);
        }
        Delivery {
            number,
            qos,
            retain,
            identifiers,
            carried: Carried::Own(self.body()),
        }
    }
}

fn client_message<'a>(chunk: &mut Cursor<'a>) -> Result<(&'a str, Given), Damaged> {
    let message = native(chunk)?;
    let packet_id = chunk.two_byte_integer()?;
    let id_bytes = chunk.two_byte_integer()?;
    let (qos, state, flags) = (chunk.byte()?, chunk.byte()?, chunk.byte()?);
    let inward = chunk.byte()? == 0;
    let client_id = text(chunk, id_bytes)?;
    let given = Given {
        message,
        packet_id,
        qos,
        state,
        retain: flags & 0xF0 != 0,
        inward,
        identifier: identifier(chunk),
    };
    Ok((client_id, given))
}

fn old_client_message<'a>(chunk: &mut Cursor<'a>) -> Result<(&'a str, Given), Damaged> {
    let client_id = string(chunk)?;
    let message = native(chunk)?;
    let packet_id = chunk.two_byte_integer()?;
    let (qos, retain) = (chunk.byte()?, chunk.byte()? != 0);
    let inward = chunk.byte()? == 0;
    let given = Given {
        message,
        packet_id,
        qos,
        state: chunk.byte()?,
        retain,
        inward,
        identifier: 0,
    };
    Ok((client_id, given))
}

/// Client id, Topic Filter, options, Subscription Identifier.
type Filter<'a> = (&'a str, &'a str, SubscriptionOptions, u32);

fn subscription<'a>(chunk: &mut Cursor<'a>, new: bool) -> Result<Filter<'a>, Damaged> {
    let (client_id, filter, byte, identifier) = if new {
        let identifier = chunk.four_byte_integer()?;
        let (id_bytes, filter_bytes) = (chunk.two_byte_integer()?, chunk.two_byte_integer()?);
        let (qos, options) = (chunk.byte()?, chunk.byte()?);
        chunk.take(2)?;
        let client_id = text(chunk, id_bytes)?;
        let byte = options & 0x3C | qos;
        (client_id, text(chunk, filter_bytes)?, byte, identifier)
    } else {
        let (client_id, filter) = (string(chunk)?, string(chunk)?);
        (client_id, filter, chunk.byte()?, 0)
    };
    TopicFilter::new(filter).map_err(|_| Damaged)?;
    let options = SubscriptionOptions::from_byte(Version::V5, byte).map_err(|_| Damaged)?;
    Ok((client_id, filter, options, identifier))
}

/// The Subscription Identifier among the properties of a client message; 0: none.
fn identifier(chunk: &mut Cursor<'_>) -> u32 {
    let properties = PublishProperties::decode(chunk);
    let identifier = properties.map(|found| found.subscription_identifiers().next());
    identifier.ok().flatten().unwrap_or(0)
}

/// The properties of a message that are passed on: as strict as with a PUBLISH, since they go into one. [v5 3.3.2.3]
fn passed_on(chunk: &mut Cursor<'_>) -> Result<Vec<u8>, Damaged> {
    let mut kept = Vec::new();
    if !chunk.is_empty() {
        PublishProperties::decode(chunk)?.append_passed_on(&mut kept);
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of version 6 with one retained message that has these properties.
    fn with_properties(properties: &[u8]) -> Vec<u8> {
        let mut file = MAGIC.to_vec();
        file.extend([0, 0, 0, 0, 0, 0, 0, 6]);
        let mut chunk = |kind: u32, body: &[u8]| {
            file.extend(kind.to_be_bytes());
            file.extend((body.len() as u32).to_be_bytes());
            file.extend(body);
        };
        let id = 1_u64.to_le_bytes();
        let fixed = [0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 1, 1];
        let length = [properties.len() as u8];
        let parts: [&[u8]; 6] = [&id, &[0; 8], &fixed, b"a/bdata", &length, properties];
        chunk(2, &parts.concat());
        chunk(4, &id);
        file
    }

    /// They go into a PUBLISH as they are, so a Client would be sent what is malformed.
    #[test]
    fn properties_are_as_a_publish_may_have_them() {
        let content_type = b"\x03\0\x04text".as_slice();
        let user_property = b"\x26\0\x01a\0\x01b".as_slice();
        for (properties, passed_on) in [
            ([content_type, user_property].concat(), true),
            // Is not passed on, and stands elsewhere.
            ([b"\x02\0\0\0\x05", content_type].concat(), true),
            (b"\x03\0\x02\xFF\xFE".to_vec(), false),
            (b"\x26\0\x01a\0\x02\xC3\x28".to_vec(), false),
            (b"\x08\0\x03a/#".to_vec(), false),
            (b"\x01\x02".to_vec(), false),
            ([content_type, content_type].concat(), false),
            (b"\x7F".to_vec(), false),
            (b"\x03\0\x09text".to_vec(), false),
        ] {
            let file = with_properties(&properties);
            let found = read(&file).expect("it is one");
            let mut records = Vec::new();
            let taken = found.records(9, &mut records);
            let expected = (u64::from(passed_on), u64::from(!passed_on));
            assert_eq!((taken.retained, found.lost), expected, "{properties:?}");
        }
    }

    /// A file of version 3: one message, queued for one Client and retained.
    #[test]
    fn a_file_of_an_old_version() {
        let mut file = MAGIC.to_vec();
        file.extend([0, 0, 0, 0, 0, 0, 0, 3]);
        let mut chunk = |kind: u16, body: &[u8]| {
            file.extend(kind.to_be_bytes());
            file.extend((body.len() as u32).to_be_bytes());
            file.extend(body);
        };
        let string = |text: &str| {
            let mut bytes = (text.len() as u16).to_be_bytes().to_vec();
            bytes.extend(text.as_bytes());
            bytes
        };
        chunk(1, &[1, 8, 1, 0, 0, 0, 0, 0, 0, 0]);
        let id = 1_u64.to_le_bytes();
        let payload = [&4_u32.to_be_bytes()[..], b"data"].concat();
        let message = [
            &id[..],
            &string("src"),
            &[0, 1, 0, 1],
            &string("a/b"),
            &[1, 1],
            &payload,
        ];
        chunk(2, &message.concat());
        let given = [&string("client")[..], &id, &[0, 9, 1, 0, 1, 11, 0]];
        chunk(3, &given.concat());
        chunk(4, &id);
        chunk(5, &[&string("client")[..], &string("a/+"), &[1]].concat());
        chunk(6, &[&string("client")[..], &[0, 9], &[0; 8]].concat());
        let found = read(&file).expect("it is one");
        let mut records = Vec::new();
        let expected = Taken {
            sessions: 1,
            subscriptions: 1,
            deliveries: 1,
            retained: 1,
            expired: 0,
        };
        assert_eq!((found.records(9, &mut records), found.lost), (expected, 0));
        for cut in 0..file.len() {
            if let Ok(found) = read(&file[..cut]) {
                found.records(9, &mut Vec::new());
            }
        }
    }
}
