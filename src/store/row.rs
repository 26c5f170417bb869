//! The rows of the store's tables. Each proves itself: its body begins with a kind, the version of its layout, and a
//! checksum over its table, its id, its columns and its fields.
//!
//! So a row that a damaged disk has changed is found when it is read, and rows can be told from chance in a damaged
//! file.

use super::bytes::{Damaged, Reader, number_bytes, put_blob, put_number};
use super::crc::{Crc, crc32c};
use super::record::{
    Body, Delivery, Holder, Will, WriteVersion, put_subscription, put_user_name, read_passage,
    read_subscription, read_user_name,
};
use crate::wire::SubscriptionOptions;

/// The version of all layouts here but the short one.
const LAYOUT: u8 = 1;
/// Bytes of a body before its fields.
const HEAD_BYTES: usize = 6;
/// The layout of deliveries, of which there are most: eight of 100 bytes find room on a page, not seven. The first byte
/// of a body says it, beside its table, and there is no second.
const SHORT: u8 = 0x80;
const SHORT_HEAD_BYTES: usize = 5;

/// A table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Table {
    Session = 1,
    Subscription = 2,
    Message = 3,
    Delivery = 4,
    Received = 5,
    Retained = 6,
    Will = 7,
    Batch = 8,
}

/// A column beside `id` and `body`, in their order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Column {
    Session,
    Message,
    Text(&'static str),
}

impl Table {
    pub const ALL: [Table; 8] = [
        Table::Session,
        Table::Subscription,
        Table::Message,
        Table::Delivery,
        Table::Received,
        Table::Retained,
        Table::Will,
        Table::Batch,
    ];

    /// Its place in [`Table::ALL`].
    pub fn index(self) -> usize {
        self as usize - 1
    }

    pub fn name(self) -> &'static str {
        match self {
            Table::Session => "session",
            Table::Subscription => "subscription",
            Table::Message => "message",
            Table::Delivery => "delivery",
            Table::Received => "received",
            Table::Retained => "retained",
            Table::Will => "will",
            Table::Batch => "batch",
        }
    }

    /// Columns that a person may want to see.
    pub fn columns(self) -> &'static [Column] {
        match self {
            Table::Session | Table::Will => &[Column::Text("client")],
            Table::Subscription => &[Column::Session, Column::Text("filter")],
            Table::Message | Table::Received | Table::Batch => &[],
            Table::Delivery => &[Column::Session, Column::Message],
            Table::Retained => &[Column::Text("topic")],
        }
    }

    /// The first version of the tables that has it.
    pub fn since(self) -> i64 {
        match self {
            Table::Batch => 2,
            _ => 1,
        }
    }

    /// The table whose rows' bodies begin with this byte.
    pub fn of_kind(kind: u8) -> Option<Table> {
        let kind = kind & !SHORT;
        Table::ALL.into_iter().find(|table| *table as u8 == kind)
    }
}

/// A row beside its id. Columns that its table does not have are 0 or empty.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Row {
    pub session: u64,
    pub message: u64,
    pub text: Box<str>,
    pub body: Vec<u8>,
}

/// The same, borrowed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RowRef<'a> {
    pub session: u64,
    pub message: u64,
    pub text: &'a str,
    pub body: &'a [u8],
}

impl Row {
    pub fn as_ref(&self) -> RowRef<'_> {
        RowRef {
            session: self.session,
            message: self.message,
            text: &self.text,
            body: &self.body,
        }
    }

    /// What is behind the head of the body of a row of ours.
    fn fields_unproven(&self) -> &[u8] {
        self.body.get(HEAD_BYTES..).unwrap_or(&[])
    }

    fn sealed(table: Table, id: u64, columns: (u64, u64, &str), fields: Vec<u8>) -> Row {
        let (session, message, text) = columns;
        let mut row = Row {
            session,
            message,
            text: text.into(),
            body: fields,
        };
        let sum = row.as_ref().sum(table, id, LAYOUT, HEAD_BYTES);
        row.body[0] = table as u8;
        row.body[1] = LAYOUT;
        row.body[2..HEAD_BYTES].copy_from_slice(&sum.to_le_bytes());
        row
    }

    /// The same in the short layout; `fields` begin behind its head.
    fn sealed_short(table: Table, id: u64, columns: (u64, u64), fields: Vec<u8>) -> Row {
        let mut row = Row {
            session: columns.0,
            message: columns.1,
            text: "".into(),
            body: fields,
        };
        let sum = row.as_ref().sum(table, id, SHORT, SHORT_HEAD_BYTES);
        row.body[0] = table as u8 | SHORT;
        row.body[1..SHORT_HEAD_BYTES].copy_from_slice(&sum.to_le_bytes());
        row
    }
}

/// A body whose fields are to be appended.
fn body() -> Vec<u8> {
    vec![0; HEAD_BYTES]
}

impl<'a> RowRef<'a> {
    /// A copy.
    pub fn to_row(self) -> Row {
        Row {
            session: self.session,
            message: self.message,
            text: self.text.into(),
            body: self.body.to_vec(),
        }
    }

    fn sum(&self, table: Table, id: u64, layout: u8, head_bytes: usize) -> u32 {
        Crc::new()
            .with(&[table as u8, layout])
            .with(&id.to_le_bytes())
            .with(&self.session.to_le_bytes())
            .with(&self.message.to_le_bytes())
            .with(self.text.as_bytes())
            .with(self.body.get(head_bytes..).unwrap_or(&[]))
            .sum()
    }

    /// The fields of a row that is as it was written.
    ///
    /// Errors: it is not, or its layout is not known here.
    fn fields(&self, table: Table, id: u64) -> Result<Reader<'a>, Damaged> {
        let mut reader = Reader::new(self.body);
        if reader.byte()? != table as u8 || reader.byte()? != LAYOUT {
            return Err(Damaged);
        }
        if reader.u32()? != self.sum(table, id, LAYOUT, HEAD_BYTES) {
            return Err(Damaged);
        }
        Ok(reader)
    }

    /// The same of a row in the short layout; `None`: it is in the other.
    fn fields_short(&self, table: Table, id: u64) -> Option<Result<Reader<'a>, Damaged>> {
        let mut reader = Reader::new(self.body);
        if reader.byte() != Ok(table as u8 | SHORT) {
            return None;
        }
        let sum = self.sum(table, id, SHORT, SHORT_HEAD_BYTES);
        Some(match reader.u32() {
            Ok(found) if found == sum => Ok(reader),
            _ => Err(Damaged),
        })
    }

    /// The row is as it was written.
    pub fn is_sound(&self, table: Table, id: u64) -> bool {
        match self.fields_short(table, id) {
            Some(fields) => fields.is_ok(),
            None => self.fields(table, id).is_ok(),
        }
    }
}

/// How far a delivery is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    Queued,
    Sent {
        packet_id: u16,
    },
    /// PUBREC came: the message is not needed any more.
    Released {
        packet_id: u16,
    },
}

/// A row of `delivery`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeliveryRow<'a> {
    pub session: u64,
    pub stage: Stage,
    pub number: u64,
    /// `None` once it is released.
    pub delivery: Option<Delivery<'a>>,
}

/// A row of `session`.
pub fn session(id: u64, holder: &Holder<'_>) -> Row {
    let mut fields = body();
    holder.put_rest(&mut fields);
    Row::sealed(Table::Session, id, (0, 0, holder.client_id), fields)
}

pub fn read_session<'a>(id: u64, row: RowRef<'a>) -> Result<Holder<'a>, Damaged> {
    let mut fields = row.fields(Table::Session, id)?;
    Holder::read_rest(row.text, &mut fields)
}

/// A row of `subscription`.
pub fn subscription(
    id: u64,
    session: u64,
    filter: &str,
    options: SubscriptionOptions,
    identifier: u32,
) -> Row {
    let mut fields = body();
    put_subscription(&mut fields, options, identifier);
    Row::sealed(Table::Subscription, id, (session, 0, filter), fields)
}

pub fn read_subscription_row(
    id: u64,
    row: RowRef<'_>,
) -> Result<(SubscriptionOptions, u32), Damaged> {
    read_subscription(&mut row.fields(Table::Subscription, id)?)
}

/// A row of `message`.
pub fn message(id: u64, message: &Body<'_>) -> Row {
    let mut fields = body();
    message.put(&mut fields);
    Row::sealed(Table::Message, id, (0, 0, ""), fields)
}

pub fn read_message<'a>(id: u64, row: RowRef<'a>) -> Result<Body<'a>, Damaged> {
    Body::read(&mut row.fields(Table::Message, id)?)
}

/// A row of `delivery`; `message` is the row of a shared message, or 0.
///
/// A stage, a Packet Identifier unless it is queued, and the delivery, whose message has the rest of the row.
pub fn delivery(id: u64, message: u64, delivery: &DeliveryRow<'_>) -> Row {
    let mut fields = vec![0; SHORT_HEAD_BYTES];
    match delivery.stage {
        Stage::Queued => fields.push(0),
        Stage::Sent { packet_id } => {
            fields.push(1);
            put_number(&mut fields, packet_id.into());
        }
        Stage::Released { packet_id } => {
            fields.push(2);
            put_number(&mut fields, packet_id.into());
        }
    }
    match &delivery.delivery {
        Some(delivery) => delivery.put_last(&mut fields),
        None => put_number(&mut fields, delivery.number),
    }
    Row::sealed_short(Table::Delivery, id, (delivery.session, message), fields)
}

pub fn read_delivery<'a>(id: u64, row: RowRef<'a>) -> Result<DeliveryRow<'a>, Damaged> {
    let short = row.fields_short(Table::Delivery, id);
    let is_short = short.is_some();
    let mut fields = match short {
        Some(fields) => fields?,
        // As stores of version 1 have it: with a Packet Identifier of 0, and all lengths.
        None => row.fields(Table::Delivery, id)?,
    };
    let kind = fields.byte()?;
    let packet_id = match (is_short, kind) {
        (true, 0) => 0,
        _ => fields.narrow()?,
    };
    let stage = match kind {
        0 => Stage::Queued,
        1 => Stage::Sent { packet_id },
        2 => Stage::Released { packet_id },
        _ => return Err(Damaged),
    };
    if (packet_id == 0) != (stage == Stage::Queued) {
        return Err(Damaged);
    }
    let (number, delivery) = if kind == 2 {
        (fields.number()?, None)
    } else {
        let delivery = match is_short {
            true => Delivery::read_last(fields)?,
            false => Delivery::read(&mut fields)?,
        };
        (delivery.number, Some(delivery))
    };
    Ok(DeliveryRow {
        session: row.session,
        stage,
        number,
        delivery,
    })
}

/// The id of a row of `received`.
pub fn received_id(session: u64, packet_id: u16) -> u64 {
    session << 16 | u64::from(packet_id)
}

/// A row of `received`: of a Session and a Packet Identifier, with the passage of the message, or 0; or of a passage
/// and a number, from 1 on, with a Session or group that has its delivery, or with the passage again: its retained
/// message is written.
pub fn received(id: u64, with: u64) -> Row {
    let mut fields = body();
    if with > 0 {
        put_number(&mut fields, with);
    }
    Row::sealed(Table::Received, id, (0, 0, ""), fields)
}

/// What the id of a row of `received` is made of, and what goes with it.
pub fn read_received(id: u64, row: RowRef<'_>) -> Result<(u64, u16, u64), Damaged> {
    let mut reader = row.fields(Table::Received, id)?;
    let with = match reader.is_empty() {
        true => 0,
        false => read_passage(&mut reader)?,
    };
    Ok((id >> 16, id as u16, with))
}

/// A row of `retained`.
pub fn retained(id: u64, version: WriteVersion, message: &Body<'_>) -> Row {
    let mut fields = body();
    version.put(&mut fields);
    // The Topic Name is in its column.
    Body {
        topic: "",
        ..*message
    }
    .put(&mut fields);
    Row::sealed(Table::Retained, id, (0, 0, message.topic), fields)
}

pub fn read_retained<'a>(id: u64, row: RowRef<'a>) -> Result<(WriteVersion, Body<'a>), Damaged> {
    let mut fields = row.fields(Table::Retained, id)?;
    let version = WriteVersion::read(&mut fields)?;
    let body = Body::read(&mut fields)?;
    Ok((
        version,
        Body {
            topic: row.text,
            ..body
        },
    ))
}

/// One row of `retained` in a row of `batch`: id, topic, fields. [`read_batch`] reads it.
pub fn put_entry(entries: &mut Vec<u8>, id: u64, row: &Row) {
    entries.extend_from_slice(&id.to_le_bytes());
    put_blob(entries, row.text.as_bytes());
    put_blob(entries, row.fields_unproven());
}

/// Bytes of it.
pub fn entry_bytes(row: &Row) -> usize {
    let blob_bytes = |bytes: usize| number_bytes(bytes as u64) + bytes;
    size_of::<u64>() + blob_bytes(row.text.len()) + blob_bytes(row.fields_unproven().len())
}

/// A row of `batch`; `entries`: rows of `retained` one behind the other, see [`super::batch`].
pub fn batch(id: u64, entries: &[u8]) -> Row {
    let mut fields = body();
    fields.extend_from_slice(entries);
    Row::sealed(Table::Batch, id, (0, 0, ""), fields)
}

/// The rows of `retained` in it, by their ids.
pub fn read_batch(id: u64, row: RowRef<'_>) -> Result<Vec<(u64, Row)>, Damaged> {
    let mut reader = row.fields(Table::Batch, id)?;
    let mut rows = Vec::new();
    while !reader.is_empty() {
        let id = reader.u64()?;
        let topic = reader.text()?;
        let mut fields = body();
        fields.extend_from_slice(reader.blob()?);
        let row = Row::sealed(Table::Retained, id, (0, 0, topic), fields);
        read_retained(id, row.as_ref())?;
        rows.push((id, row));
    }
    Ok(rows)
}

/// A row of `will`.
pub fn will(id: u64, client_id: &str, user_name: Option<&str>, will: &Will<'_>) -> Row {
    let mut fields = body();
    put_user_name(&mut fields, user_name);
    will.put(&mut fields);
    Row::sealed(Table::Will, id, (0, 0, client_id), fields)
}

pub fn read_will<'a>(id: u64, row: RowRef<'a>) -> Result<(Option<&'a str>, Will<'a>), Damaged> {
    let mut fields = row.fields(Table::Will, id)?;
    Ok((read_user_name(&mut fields)?, Will::read(&mut fields)?))
}

/// What the whole store knows beside its rows.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct State {
    /// When it was last written, in seconds since 1970.
    pub stamp: u64,
    /// The broker stopped in an orderly way, and all is in the tables.
    pub clean: bool,
    /// The highest numbers ever given.
    pub session_number: u64,
    pub delivery_number: u64,
    pub retain_clock: u64,
    /// By shard.
    pub journals: Vec<Progress>,
}

/// How far a journal is in the tables.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Progress {
    /// Frames up to this number are in the tables, but for retained messages that wait.
    pub applied: u64,
    /// Retained messages of frames from this number on may not be.
    pub retained_from: u64,
}

impl State {
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut fields = vec![LAYOUT, self.clean.into()];
        for number in [
            self.stamp,
            self.session_number,
            self.delivery_number,
            self.retain_clock,
        ] {
            put_number(&mut fields, number);
        }
        for journal in &self.journals {
            put_number(&mut fields, journal.applied);
            put_number(&mut fields, journal.retained_from);
        }
        let sum = crc32c(&fields);
        let mut bytes = sum.to_le_bytes().to_vec();
        put_blob(&mut bytes, &fields);
        bytes
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<State, Damaged> {
        let mut reader = Reader::new(bytes);
        let sum = reader.u32()?;
        let fields = reader.blob()?;
        if crc32c(fields) != sum {
            return Err(Damaged);
        }
        let mut reader = Reader::new(fields);
        if reader.byte()? != LAYOUT {
            return Err(Damaged);
        }
        let mut state = State {
            clean: reader.byte()? == 1,
            stamp: reader.number()?,
            session_number: reader.number()?,
            delivery_number: reader.number()?,
            retain_clock: reader.number()?,
            journals: Vec::new(),
        };
        while !reader.is_empty() {
            state.journals.push(Progress {
                applied: reader.number()?,
                retained_from: reader.number()?,
            });
        }
        Ok(state)
    }

    /// Frames of a shard up to this number are in the tables; 0: none is.
    pub fn applied(&self, shard: usize) -> u64 {
        self.journals
            .get(shard)
            .map_or(0, |journal| journal.applied)
    }

    /// The progress of a shard's journal.
    pub fn journal(&mut self, shard: usize) -> &mut Progress {
        if self.journals.len() <= shard {
            self.journals.resize(shard + 1, Progress::default());
        }
        &mut self.journals[shard]
    }
}
