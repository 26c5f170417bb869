//! A naive broker of one mind, written from the standard: what each Client may, must and must not receive. It shares no code with
//! the product and knows nothing of shards but their number's effect: none.

use std::collections::HashMap;

/// Whether a Topic Name matches a Topic Filter, level by level. [v3.1.1 4.7]
pub fn matches(filter: &str, topic: &str) -> bool {
    let mut levels = topic.split('/');
    for wanted in filter.split('/') {
        if wanted == "#" {
            return true; // Also the parent level itself. [v3.1.1 4.7.1.2]
        }
        match levels.next() {
            Some(level) if wanted == "+" || wanted == level => (),
            _ => return false,
        }
    }
    levels.next().is_none()
}

/// A message somebody published, or the will somebody left. Its number is its payload.
#[derive(Debug)]
pub struct Message {
    pub topic: &'static str,
    pub qos: u8,
    pub retain: bool,
    pub empty: bool,
    /// A will has no place among the messages of its Client: what was lost with the connection is sent again after it.
    pub will: bool,
    pub publisher: usize,
    pub connection: usize,
    /// Step of the first sending; of a will: when its connection ended without DISCONNECT. `None`: must not be seen.
    pub sent: Option<u64>,
    /// Place among everything sent, in the order of sending.
    pub order: u64,
    /// Times it was sent as a message of its own: QoS 1 may be sent again.
    pub copies: u32,
    /// It was sent again on a later connection, where it may have been taken for the first time.
    pub repeated: bool,
    /// Step at which the broker took it for certain.
    pub accepted: Option<u64>,
    /// Shard of its publisher.
    pub home: usize,
}

/// One SUBSCRIBE of one filter.
#[derive(Debug)]
pub struct Subscription {
    pub filter: &'static str,
    pub qos: u8,
    pub packet_id: u16,
    /// Step of its SUBACK.
    pub acknowledged: Option<u64>,
    /// The packet that is to end it: an UNSUBSCRIBE, or a SUBSCRIBE with the same filter.
    pub ended_by: Option<u16>,
    /// Step at which that was acknowledged.
    pub ended: Option<u64>,
}

/// What a Session has seen.
#[derive(Default, Debug)]
pub struct Session {
    pub subscriptions: Vec<Subscription>,
    /// It had another connection before this one, so that DUP may come.
    pub resumed: bool,
    live: HashMap<usize, u32>,
    replayed: HashMap<usize, u32>,
    /// Last message by publisher, topic, QoS published and QoS delivered.
    last: HashMap<(usize, &'static str, u8, u8), u64>,
    /// QoS 2 received and not released: payload by Packet Identifier.
    held: HashMap<u16, Vec<u8>>,
    /// Deliveries whose last acknowledgement was not sent.
    pub open: HashMap<u16, Vec<u8>>,
}

/// A PUBLISH as it came.
pub struct Delivery<'a> {
    pub topic: &'a str,
    pub payload: &'a [u8],
    pub qos: u8,
    pub retain: bool,
    pub dup: bool,
    pub packet_id: u16,
}

fn number(payload: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(payload).ok()?;
    text.split('.').next()?.parse().ok()
}

impl Session {
    pub fn subscribe(&mut self, filter: &'static str, qos: u8, packet_id: u16) {
        self.unsubscribe(filter, packet_id);
        self.subscriptions.push(Subscription {
            filter,
            qos,
            packet_id,
            acknowledged: None,
            ended_by: None,
            ended: None,
        });
    }

    pub fn unsubscribe(&mut self, filter: &str, packet_id: u16) {
        for subscription in &mut self.subscriptions {
            if subscription.filter == filter && subscription.ended.is_none() {
                subscription.ended_by = Some(packet_id);
            }
        }
    }

    /// SUBACK or UNSUBACK.
    pub fn acknowledged(&mut self, packet_id: u16, now: u64) {
        for subscription in &mut self.subscriptions {
            if subscription.packet_id == packet_id {
                subscription.acknowledged = Some(now);
            }
            if subscription.ended_by == Some(packet_id) && subscription.ended.is_none() {
                subscription.ended = Some(now);
            }
        }
    }

    /// Judges one PUBLISH.
    pub fn receive(
        &mut self,
        messages: &[Message],
        delivery: &Delivery<'_>,
        inflight_max: usize,
    ) -> Result<(), String> {
        let mut fresh = true;
        if delivery.qos > 0 {
            let id = delivery.packet_id;
            if delivery.dup && !self.resumed {
                return Err("DUP in a Session that was never resumed".into());
            }
            match self.open.get(&id) {
                Some(payload) if !delivery.dup => {
                    return Err(format!(
                        "Packet Identifier {id} of {:?} is in use, and DUP is 0",
                        String::from_utf8_lossy(payload)
                    ));
                }
                Some(payload) if payload != delivery.payload => {
                    return Err(format!("DUP under identifier {id} with another payload"));
                }
                _ => (),
            }
            self.open.insert(id, delivery.payload.to_vec());
            if self.open.len() > inflight_max {
                return Err(format!("{} deliveries under way", self.open.len()));
            }
            if delivery.qos == 2 {
                fresh = self.held.insert(id, delivery.payload.to_vec()).is_none();
            }
        }
        if delivery.payload.is_empty() {
            return Ok(()); // A deletion has no number.
        }
        let known =
            number(delivery.payload).and_then(|number| Some((number, messages.get(number)?)));
        let Some((number, message)) = known else {
            return Err("a payload nobody sent".into());
        };
        let Some(sent) = message.sent else {
            return Err("a will whose Client has not been lost".into());
        };
        if message.topic != delivery.topic {
            return Err(format!("published to {}", message.topic));
        }
        let of_topic = |s: &&Subscription| matches(s.filter, message.topic);
        if delivery.retain {
            if !message.retain {
                return Err("RETAIN 1, but it was not published so".into());
            }
            let wanted = self.subscriptions.iter().filter(of_topic).count() as u32;
            let seen = self.replayed.entry(number).or_default();
            *seen += u32::from(fresh && !delivery.dup);
            if *seen > wanted {
                return Err(format!("replayed {seen} times to {wanted} SUBSCRIBEs"));
            }
            return Ok(());
        }
        let granted = self
            .subscriptions
            .iter()
            .filter(of_topic)
            .filter(|s| s.ended.is_none_or(|ended| sent <= ended))
            .map(|s| s.qos)
            .max();
        match granted {
            None => return Err("no subscription matches it, or none after its UNSUBACK".into()),
            Some(granted) if delivery.qos > granted.min(message.qos) => {
                return Err(format!(
                    "QoS above {granted} granted or {} published",
                    message.qos
                ));
            }
            Some(_) => (),
        }
        if !fresh {
            return Ok(());
        }
        let first = !self.live.contains_key(&number);
        let seen = self.live.entry(number).or_default();
        // A QoS 1 repeat is marked; QoS 2 may never come twice, marked or not. [v3.1.1 4.3.3]
        if first || !delivery.dup || delivery.qos == 2 {
            *seen += 1;
        }
        if *seen > message.copies {
            return Err(format!("came {seen} times, sent {} times", message.copies));
        }
        // Nor has a repeat of QoS 1: the first sending may have met no subscription.
        if first && !message.will && message.copies == 1 {
            let key = (message.publisher, message.topic, message.qos, delivery.qos);
            let last = self.last.entry(key).or_default();
            if message.order < *last {
                return Err(format!("out of order: {} after {last}", message.order));
            }
            *last = message.order;
        }
        Ok(())
    }

    /// PUBREL: the identifier is free for another message.
    pub fn released(&mut self, packet_id: u16) {
        self.held.remove(&packet_id);
    }

    /// At rest, all acknowledged: what must have come and did not.
    pub fn missing(&self, messages: &[Message]) -> Result<(), String> {
        for (number, message) in messages.iter().enumerate() {
            let (Some(sent), Some(_)) = (message.sent, message.accepted) else {
                continue;
            };
            if message.qos == 0 || message.empty || self.live.contains_key(&number) {
                continue;
            }
            let owed = self.subscriptions.iter().find(|s| {
                s.qos > 0
                    && s.ended_by.is_none()
                    && s.acknowledged.is_some_and(|at| at < sent)
                    && matches(s.filter, message.topic)
            });
            if let Some(subscription) = owed {
                return Err(format!(
                    "message {number} on {} never came, owed by {subscription:?}",
                    message.topic
                ));
            }
        }
        Ok(())
    }
}

/// Whether the retained message of `topic` may be `found` (its payload) once everything is at rest. `rests` are the steps at whose
/// end nothing was under way between shards.
pub fn retained_may_be(
    messages: &[Message],
    rests: &[u64],
    topic: &str,
    found: Option<&[u8]>,
) -> Result<(), String> {
    let writes: Vec<(usize, &Message)> = messages
        .iter()
        .enumerate()
        .filter(|(_, m)| m.retain && m.topic == topic && m.sent.is_some())
        .collect();
    let replaced = |earlier: &Message, later: &Message| {
        let Some(sent) = later.sent.filter(|_| later.accepted.is_some()) else {
            return false;
        };
        let in_order = !earlier.repeated && !later.will && later.order > earlier.order;
        if in_order && later.connection == earlier.connection {
            return true;
        }
        // Two writers agree on an order only where one could know of the other.
        earlier.accepted.is_some_and(|accepted| {
            accepted < sent
                && (earlier.home == later.home
                    || rests.iter().any(|rest| (accepted..sent).contains(rest)))
        })
    };
    let last: Vec<&(usize, &Message)> = writes
        .iter()
        .filter(|(_, m)| !writes.iter().any(|(_, later)| replaced(m, later)))
        .collect();
    let right = match found {
        Some(payload) => {
            let number = number(payload);
            last.iter().any(|(n, m)| !m.empty && Some(*n) == number)
        }
        None => last.iter().any(|(_, m)| m.empty) || last.iter().all(|(_, m)| m.accepted.is_none()),
    };
    if right {
        return Ok(());
    }
    let found = found.map(String::from_utf8_lossy);
    Err(format!(
        "{topic} holds {found:?}, last written are {last:?}"
    ))
}
