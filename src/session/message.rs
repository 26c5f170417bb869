//! An Application Message that outlives the turn it came in: retained, queued, in flight or on its way to another
//! shard.

use crate::buffer::Payload;
use crate::buffer::account::{Account, Arc};
use crate::ids::ListenerId;
use crate::time::Time;
use crate::wire::{QoS, TopicName};
use std::cell::Cell;

/// Topic Name, passed-on properties and payload in one counted block of exactly their size, so that no receive buffer
/// is pinned. Cheap to clone and to send to another shard; within a shard it is held by `Rc`, so that no atomic is
/// touched.
#[derive(Clone, Debug)]
pub struct Message {
    block: Payload,
    /// Bytes of the Topic Name at the start of `block`; at most 65,535.
    topic_bytes: u16,
    /// QoS and RETAIN as published.
    pub qos: QoS,
    /// As the publisher set it.
    pub retain: bool,
    /// In how many queues of this shard it waits.
    queues: Queues,
    /// What few messages have.
    rare: Option<Box<Rare>>,
}

// With the counts of an `Rc` 40 bytes, which the allocator gives without rest.
#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<Message>() <= 24);

/// What only v5 messages have, and messages whose publisher matters.
#[derive(Clone, Debug)]
struct Rare {
    /// See [`Message::expires`].
    expires: Time,
    /// Bytes of the v5 properties a broker passes on, after the Topic Name.
    passed_on_bytes: u32,
    /// Who published it, where that matters for as long as it is retained.
    source: Option<Arc<Source>>,
}

impl Rare {
    fn new(passed_on_bytes: u32, expires: Time) -> Option<Box<Rare>> {
        let is_rare = passed_on_bytes > 0 || expires != Time::NEVER;
        is_rare.then(|| {
            Box::new(Rare {
                expires,
                passed_on_bytes,
                source: None,
            })
        })
    }
}

/// A number of queues. What is cloned goes elsewhere, and is in none yet.
#[derive(Default, Debug)]
struct Queues(Cell<u32>);

impl Clone for Queues {
    fn clone(&self) -> Queues {
        Queues::default()
    }
}

/// The publisher of a retained message, as the rules know it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Source {
    /// As the publisher gave it, checked or not.
    pub user_name: Option<Box<str>>,
    /// Of the publisher.
    pub client_id: Box<str>,
    /// By which it was connected, or last was.
    pub listener: ListenerId,
    /// It said that it was a bridge.
    pub bridge: bool,
}

impl Source {
    fn bytes(&self) -> usize {
        let user_name = self.user_name.as_deref().map_or(0, str::len);
        size_of::<Source>() + user_name + self.client_id.len()
    }
}

impl Message {
    /// Copies the parts into a block of their own.
    pub fn new(
        topic: TopicName<'_>,
        passed_on: &[u8],
        payload: &[u8],
        qos: QoS,
        retain: bool,
        expires: Time,
    ) -> Message {
        let topic = topic.as_str();
        Message {
            block: Payload::from_parts(&[topic.as_bytes(), passed_on, payload]),
            topic_bytes: topic.len() as u16,
            qos,
            retain,
            queues: Queues::default(),
            rare: Rare::new(passed_on.len() as u32, expires),
        }
    }

    /// Keeps the memory of `packet`, which ends with Topic Name, properties and payload; the name starts at `start`.
    pub fn adopt(
        packet: Vec<u8>,
        start: usize,
        topic_bytes: u16,
        passed_on_bytes: u32,
        qos: QoS,
        retain: bool,
        expires: Time,
    ) -> Message {
        assert!(start + usize::from(topic_bytes) + passed_on_bytes as usize <= packet.len());
        Message {
            block: Payload::adopt(packet, start),
            topic_bytes,
            qos,
            retain,
            queues: Queues::default(),
            rare: Rare::new(passed_on_bytes, expires),
        }
    }

    /// Notes who published it. Before it is counted in an account.
    pub fn sign(&mut self, source: Source) {
        self.rare_mut().source = Some(Arc::new(source));
    }

    /// Who published it, if that was noted.
    pub fn source(&self) -> Option<&Source> {
        self.rare.as_ref()?.source.as_deref()
    }

    /// What its source takes.
    pub fn source_bytes(&self) -> usize {
        self.source().map_or(0, Source::bytes)
    }

    /// Counts its block, and so many bytes more, in an account until nobody holds the block.
    pub fn book(&mut self, account: &Arc<Account>, more_bytes: usize) {
        self.block.book(account, self.block.len() + more_bytes);
    }

    /// Where its block counts, if it does.
    pub fn account(&self) -> Option<&Arc<Account>> {
        self.block.account()
    }

    /// The Topic Name alone, without payload and properties. It counts where this message does, with so many bytes
    /// more.
    pub fn emptied(&self, more_bytes: usize) -> Message {
        let topic = self.topic();
        let mut message = Message {
            block: Payload::new(topic.as_bytes()),
            topic_bytes: self.topic_bytes,
            qos: self.qos,
            retain: self.retain,
            queues: Queues::default(),
            rare: Rare::new(0, self.expires()),
        };
        if let Some(account) = self.account() {
            message.book(account, more_bytes);
        }
        message
    }

    /// The memory that was adopted, if nothing else needs it.
    pub fn into_vector(self) -> Option<Vec<u8>> {
        self.block.into_vector()
    }

    /// The same message with another time of expiry.
    pub fn expiring(&self, expires: Time) -> Message {
        let mut message = self.clone();
        if expires != message.expires() {
            message.rare_mut().expires = expires;
        }
        message
    }

    /// When the Message Expiry Interval is over; `Time::NEVER` without one. [v5 3.3.2.3.3]
    #[inline]
    pub fn expires(&self) -> Time {
        self.rare.as_ref().map_or(Time::NEVER, |rare| rare.expires)
    }

    fn rare_mut(&mut self) -> &mut Rare {
        self.rare.get_or_insert_with(|| {
            Box::new(Rare {
                expires: Time::NEVER,
                passed_on_bytes: 0,
                source: None,
            })
        })
    }

    /// The Topic Name.
    pub fn topic(&self) -> &str {
        let bytes = &self.block[..usize::from(self.topic_bytes)];
        std::str::from_utf8(bytes).expect("the block begins with a Topic Name")
    }

    /// The v5 property bytes that are passed on to subscribers, without alias, expiry and subscription identifiers.
    pub fn passed_on(&self) -> &[u8] {
        &self.block[usize::from(self.topic_bytes)..self.payload_start()]
    }

    /// The payload.
    pub fn payload(&self) -> &[u8] {
        &self.block[self.payload_start()..]
    }

    /// The block and the range of the payload in it, to reference it from an outbox; with the properties that are
    /// passed on, right before it, if they are to be referenced too.
    pub fn shared(&self, with_properties: bool) -> (Payload, u32, u32) {
        let start = match with_properties {
            true => usize::from(self.topic_bytes),
            false => self.payload_start(),
        };
        (self.block.clone(), start as u32, self.block.len() as u32)
    }

    /// The block and the range of the Topic Name in it, to reference it from an outbox.
    pub fn shared_topic(&self) -> (Payload, u32, u32) {
        (self.block.clone(), 0, self.topic_bytes.into())
    }

    /// What it costs a byte budget.
    pub fn bytes(&self) -> usize {
        self.block.len()
    }

    /// It waits in one queue more. Returns the bytes it takes for that: none if it waits in another one already.
    pub fn enter_queue(&self) -> usize {
        let queues = self.queues.0.get();
        self.queues.0.set(queues + 1);
        if queues == 0 { self.bytes() } else { 0 }
    }

    /// It has left one of its queues. Returns the bytes that are free now.
    pub fn leave_queue(&self) -> usize {
        let queues = self.queues.0.get() - 1;
        self.queues.0.set(queues);
        if queues == 0 { self.bytes() } else { 0 }
    }

    /// In how many queues of this shard it waits.
    pub fn queues(&self) -> u32 {
        self.queues.0.get()
    }

    /// Whole seconds left of the Message Expiry Interval at `now`, rounded up so that the receiver never sees less than
    /// the true rest; `None` without one. [v5 MQTT-3.3.2-6]
    pub fn expiry_left_s(&self, now: Time) -> Option<u32> {
        expiry_left_s(self.expires(), now)
    }

    /// The Message Expiry Interval is over. [v5 MQTT-3.3.2-5]
    pub fn expired(&self, now: Time) -> bool {
        self.expires() <= now
    }

    /// The Message Expiry Interval ran out between two shards. A message with interval 0, delivered at once or not at
    /// all, may still be delivered. [v5 MQTT-3.3.2-5]
    pub fn expired_on_the_way(&self, now: Time) -> bool {
        expired_on_the_way(self.expires(), now)
    }

    fn payload_start(&self) -> usize {
        let passed_on = self.rare.as_ref().map_or(0, |rare| rare.passed_on_bytes);
        usize::from(self.topic_bytes) + passed_on as usize
    }
}

/// See [`Message::expired_on_the_way`].
pub fn expired_on_the_way(expires: Time, now: Time) -> bool {
    expires < now
}

/// Whole seconds from `now` to `expires`, rounded up; `None` for `Time::NEVER`.
pub fn expiry_left_s(expires: Time, now: Time) -> Option<u32> {
    (expires != Time::NEVER)
        .then(|| u32::try_from(expires.since_ms(now).div_ceil(1000)).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> TopicName<'_> {
        TopicName::new(text).expect("it is one")
    }

    #[test]
    fn parts_come_back_as_they_went_in() {
        let m = Message::new(
            name("a/ü"),
            b"props",
            b"payload",
            QoS::AtLeastOnce,
            true,
            Time(5000),
        );
        assert_eq!(m.topic(), "a/ü");
        assert_eq!(m.passed_on(), b"props");
        assert_eq!(m.payload(), b"payload");
        for (with_properties, shared) in [(false, &b"payload"[..]), (true, b"propspayload")] {
            let (block, start, end) = m.shared(with_properties);
            assert_eq!(&block[start as usize..end as usize], shared);
        }
        let (block, start, end) = m.shared_topic();
        assert_eq!(&block[start as usize..end as usize], "a/ü".as_bytes());
        assert_eq!(m.bytes(), 4 + 5 + 7);
    }

    #[test]
    fn the_remaining_expiry_is_never_below_the_truth() {
        let m = Message::new(name("t"), b"", b"", QoS::AtMostOnce, false, Time(5000));
        assert_eq!(m.expiry_left_s(Time(0)), Some(5));
        assert_eq!(m.expiry_left_s(Time(1)), Some(5));
        assert_eq!(m.expiry_left_s(Time(1000)), Some(4));
        assert!(!m.expired(Time(4999)));
        assert!(m.expired(Time(5000)));
        let forever = Message::new(name("t"), b"", b"", QoS::AtMostOnce, false, Time::NEVER);
        assert_eq!(forever.expiry_left_s(Time(9)), None);
        assert!(!forever.expired(Time(u64::MAX - 1)));
    }
}
