//! One Session in the model: its subscriptions, and the judgement of every PUBLISH that comes to it.

use crate::actions::SubscribeAs;
use crate::groups::{Groups, SessionKey};
use crate::model::{Message, matches, number};
use std::collections::{HashMap, HashSet};

/// One SUBSCRIBE of one filter.
#[derive(Debug)]
pub struct Subscription {
    pub filter: &'static str,
    /// The whole text of a Shared Subscription.
    pub group: Option<&'static str>,
    pub options: SubscribeAs,
    /// Retained messages may come because of it.
    replays: bool,
    pub packet_id: u16,
    /// Step of its SUBACK.
    pub acknowledged: Option<u64>,
    /// The packet that is to end it: an UNSUBSCRIBE, or a SUBSCRIBE with the same filter.
    pub ended_by: Option<u16>,
    /// Step at which that was acknowledged.
    pub ended: Option<u64>,
    /// The UNSUBSCRIBE that ended it, or another SUBSCRIBE of its filter after it; and whether UNSUBACK has come. Until
    /// then retained messages that it asked for may come: another SUBSCRIBE takes none of them back.
    /// [v5 MQTT-3.8.4-3]
    unsubscribed_by: Option<u16>,
    unsubscribed: bool,
}

impl Subscription {
    /// Certainly in force since before a message was sent.
    pub fn is_certain(&self, sent: u64) -> bool {
        self.ended_by.is_none() && self.acknowledged.is_some_and(|at| at < sent)
    }
}

/// What a Session has seen.
#[derive(Default, Debug)]
pub struct Session {
    /// Tells it from others of the same Client.
    pub key: SessionKey,
    pub subscriptions: Vec<Subscription>,
    /// It had another connection before this one, so that DUP may come.
    pub resumed: bool,
    /// The least Maximum Packet Size of its connections.
    pub packet_bytes_least: usize,
    live: HashMap<usize, u32>,
    replayed: HashMap<usize, u32>,
    /// Last message by publisher, topic, QoS published and QoS delivered.
    last: HashMap<(usize, &'static str, u8, u8), u64>,
    /// QoS 2 received and not released: payload by Packet Identifier.
    held: HashMap<u16, Vec<u8>>,
    /// Deliveries whose last acknowledgement was not sent.
    pub open: HashMap<u16, Vec<u8>>,
    /// Those of the present connection.
    pub under_way: HashSet<u16>,
}

/// A PUBLISH as it came.
pub struct Delivery<'a> {
    pub topic: &'a str,
    pub payload: &'a [u8],
    pub qos: u8,
    pub retain: bool,
    pub dup: bool,
    pub packet_id: u16,
    /// v5: Subscription Identifiers, sorted.
    pub identifiers: Option<Vec<u32>>,
    /// v5: what is left of the Message Expiry Interval.
    pub expiry_left_s: Option<u32>,
    pub now_ms: u64,
    /// The broker sent it no earlier; not known of slow readers.
    pub not_before_ms: Option<u64>,
}

/// A message that must have come and did not.
pub struct Missing {
    pub what: String,
    /// It may have expired, or was perhaps too large.
    pub excused: bool,
}

impl Session {
    pub fn new(key: SessionKey) -> Self {
        Session {
            key,
            packet_bytes_least: usize::MAX,
            ..Session::default()
        }
    }

    pub fn subscribe(
        &mut self,
        filter: &'static str,
        group: Option<&'static str>,
        options: SubscribeAs,
        packet_id: u16,
    ) {
        let is_there = |s: &Subscription| {
            s.filter == filter
                && s.group == group
                && s.ended_by.is_none()
                && s.acknowledged.is_some()
        };
        let is_new = !self.subscriptions.iter().any(is_there);
        self.end(filter, group, packet_id);
        self.subscriptions.push(Subscription {
            filter,
            group,
            options,
            replays: group.is_none()
                && (options.retain_handling == 0 || (options.retain_handling == 1 && is_new)),
            packet_id,
            acknowledged: None,
            ended_by: None,
            ended: None,
            unsubscribed_by: None,
            unsubscribed: false,
        });
    }

    pub fn unsubscribe(&mut self, filter: &str, group: Option<&str>, packet_id: u16) {
        self.end(filter, group, packet_id);
        for subscription in &mut self.subscriptions {
            if subscription.filter == filter
                && subscription.group == group
                && !subscription.unsubscribed
            {
                subscription.unsubscribed_by = Some(packet_id);
            }
        }
    }

    fn end(&mut self, filter: &str, group: Option<&str>, packet_id: u16) {
        for subscription in &mut self.subscriptions {
            if subscription.filter == filter
                && subscription.group == group
                && subscription.ended.is_none()
            {
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
            if subscription.unsubscribed_by == Some(packet_id) {
                subscription.unsubscribed = true;
            }
        }
    }

    /// The broker may have lost this Session, and made a new one.
    pub fn doubt(&mut self) {
        for subscription in &mut self.subscriptions {
            subscription.acknowledged = None;
            subscription.replays = true;
        }
    }

    /// Judges one PUBLISH.
    pub fn receive(
        &mut self,
        messages: &[Message],
        groups: &mut Groups,
        delivery: &Delivery<'_>,
        window: usize,
    ) -> Result<(), String> {
        let fresh = self.handshake(delivery, window)?;
        if delivery.payload.is_empty() {
            return Ok(()); // A deletion has no number.
        }
        let known =
            number(delivery.payload).and_then(|number| Some((number, messages.get(number)?)));
        let Some((number, message)) = known else {
            return Err("a payload nobody sent".into());
        };
        let Some(sent) = message.sent else {
            return Err(
                "it must not be published: a will that is not due, or of one refused".into(),
            );
        };
        if message.topic != delivery.topic {
            return Err(format!("published to {}", message.topic));
        }
        if message.refused && message.copies == 1 && !message.repeated {
            return Err("its publisher was told that nobody has room for it".into());
        }
        check_expiry(message, delivery, fresh)?;
        let who = self.key.0;
        let possible = |s: &&Subscription| {
            matches(s.filter, message.topic)
                && match s.group {
                    None => s.ended.is_none_or(|ended| sent <= ended),
                    // What comes after UNSUBACK was sent before.
                    Some(_) => s.ended.is_none() || delivery.dup,
                }
                && (!s.options.no_local || message.will || message.publisher != who)
        };
        let (normal, shared): (Vec<_>, Vec<_>) = self
            .subscriptions
            .iter()
            .filter(possible)
            .partition(|s| s.group.is_none());
        let ever = self.subscriptions.iter();
        let member: Vec<&Subscription> = ever
            .filter(|s| s.group.is_some() && matches(s.filter, message.topic))
            .collect();
        let certain: Vec<&Subscription> = normal
            .iter()
            .copied()
            .filter(|s| s.is_certain(sent) && !(s.options.no_local && message.will))
            .collect();
        if delivery.retain {
            if !message.retain {
                return Err("RETAIN 1, but it was not published so".into());
            }
            let by_replay = self.check_replay(message, delivery, fresh);
            // A message for a group keeps what was asked for when it was given.
            let by_live = normal
                .iter()
                .chain(&member)
                .any(|s| s.options.retain_as_published);
            if let Ok(wanted) = by_replay {
                let wanted =
                    wanted + u32::from(by_live) * message.copies * (1 + member.len() as u32);
                let seen = self.replayed.entry(number).or_default();
                *seen += u32::from(fresh && !delivery.dup);
                if *seen > wanted {
                    return Err(format!(
                        "came {seen} times with RETAIN 1, {wanted} are owed"
                    ));
                }
                if by_live && !member.is_empty() {
                    groups.perhaps(number);
                }
                return Ok(());
            } else if !by_live {
                return by_replay.map(|_| ());
            }
        } else if message.retain
            && shared.is_empty()
            && certain.iter().any(|s| s.options.retain_as_published)
        {
            return Err("RETAIN 0 for Retain As Published".into());
        }
        let granted = normal.iter().chain(&shared).map(|s| s.options.qos).max();
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
        if let Some(found) = &delivery.identifiers {
            let of = |list: &[&Subscription]| -> Vec<u32> {
                list.iter().filter_map(|s| s.options.identifier).collect()
            };
            let mut allowed = of(&normal);
            // What was given to a member keeps the identifier of that time.
            allowed.extend(of(&member));
            let needed = if shared.is_empty() {
                of(&certain)
            } else {
                Vec::new()
            };
            if !is_within(found, &allowed) || !is_within(&needed, found) {
                return Err(format!(
                    "Subscription Identifiers {found:?}, allowed {allowed:?}, needed {needed:?}"
                ));
            }
        }
        if !fresh {
            return Ok(());
        }
        let first = !self.live.contains_key(&number);
        let seen = self.live.entry(number).or_default();
        // A QoS 1 repeat is marked; QoS 2 may never come twice, marked or not. [v3.1.1 4.3.3]
        if first || !delivery.dup || delivery.qos == 2 {
            *seen += 1;
            let alone = if normal.is_empty() { 0 } else { message.copies };
            if *seen > alone {
                let for_groups = (*seen - alone) as usize;
                if for_groups > message.copies as usize * member.len() {
                    return Err(format!("came {seen} times, sent {} times", message.copies));
                }
                // All members of a run ask for the same QoS.
                let qos = member.first().map_or(0, |s| s.options.qos.min(message.qos));
                groups.give(number, message, self.key, (qos, delivery), for_groups)?;
            } else if !shared.is_empty() {
                groups.perhaps(number);
            }
        }
        if delivery.dup && !member.is_empty() {
            groups.perhaps(number); // Sent to this Session before, but for which subscription?
        }
        // Nor has a repeat of QoS 1 its place: the first sending may have met no subscription. What comes for a group
        // may have been with another member before.
        let anew = message.copies > 1 || (message.repeated && message.may_be_refused);
        if first && !message.will && !anew && shared.is_empty() {
            let key = (message.publisher, message.topic, message.qos, delivery.qos);
            let last = self.last.entry(key).or_default();
            if message.order < *last {
                return Err(format!("out of order: {} after {last}", message.order));
            }
            *last = message.order;
        }
        Ok(())
    }

    /// Packet Identifier, DUP and window. `false`: a QoS 2 message that is there already.
    fn handshake(&mut self, delivery: &Delivery<'_>, window: usize) -> Result<bool, String> {
        if delivery.qos == 0 {
            return Ok(true);
        }
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
        self.under_way.insert(id);
        if self.under_way.len() > window {
            return Err(format!(
                "{} deliveries under way, {window} are allowed",
                self.under_way.len()
            ));
        }
        Ok(delivery.qos < 2 || self.held.insert(id, delivery.payload.to_vec()).is_none())
    }

    /// Whether a PUBLISH with RETAIN 1 may come because of a SUBSCRIBE: the number of those that ask for it.
    fn check_replay(
        &self,
        message: &Message,
        delivery: &Delivery<'_>,
        fresh: bool,
    ) -> Result<u32, String> {
        let asking: Vec<&Subscription> = self
            .subscriptions
            .iter()
            .filter(|s| s.replays && matches(s.filter, message.topic))
            .collect();
        let qos = asking.iter().map(|s| s.options.qos).max();
        match qos {
            None => return Err("RETAIN 1, but no SUBSCRIBE asks for it".into()),
            Some(granted) if delivery.qos > granted.min(message.qos) => {
                return Err(format!("retained, at a QoS above {granted}"));
            }
            Some(_) => (),
        }
        // What was under way comes again; nothing begins. [v3.1.1 MQTT-3.10.4-2, v5 MQTT-3.10.4-2]
        if fresh && !delivery.dup && asking.iter().all(|s| s.unsubscribed) {
            return Err("retained, after UNSUBACK".into());
        }
        if let Some(found) = &delivery.identifiers {
            let is_of = |s: &&Subscription| s.options.identifier.as_slice() == *found;
            if !asking.iter().any(is_of) {
                return Err(format!("retained, with Subscription Identifiers {found:?}"));
            }
        }
        Ok(asking.len() as u32)
    }

    /// PUBREL: the identifier is free for another message.
    pub fn released(&mut self, packet_id: u16) {
        self.held.remove(&packet_id);
    }

    /// The last acknowledgement of a delivery is on its way.
    pub fn done(&mut self, packet_id: u16) {
        self.open.remove(&packet_id);
        self.under_way.remove(&packet_id);
    }

    /// It came as a live message, or may have.
    fn has_seen(&self, number: usize, topic: &str) -> bool {
        let with_retain =
            |s: &Subscription| s.options.retain_as_published && matches(s.filter, topic);
        self.live.contains_key(&number)
            || (self.replayed.contains_key(&number) && self.subscriptions.iter().any(with_retain))
    }

    /// At rest, all acknowledged: what must have come and did not. QoS 0 is owed to who is connected `since` before it
    /// was sent.
    pub fn missing(&self, messages: &[Message], since: Option<u64>, now_ms: u64) -> Vec<Missing> {
        let mut missing = Vec::new();
        for (number, message) in messages.iter().enumerate() {
            let (Some(sent), Some(_)) = (message.sent, message.accepted) else {
                continue;
            };
            if message.empty || message.refused || self.has_seen(number, message.topic) {
                continue;
            }
            let owed = self.subscriptions.iter().find(|s| {
                s.group.is_none()
                    && s.is_certain(sent)
                    && matches(s.filter, message.topic)
                    && !(s.options.no_local && message.publisher == self.key.0)
                    && ((s.options.qos > 0 && message.qos > 0)
                        || since.is_some_and(|since| since < sent))
            });
            if let Some(subscription) = owed {
                missing.push(Missing {
                    what: format!(
                        "message {number} on {} never came, owed by {subscription:?}",
                        message.topic
                    ),
                    excused: self.is_excused(message, now_ms),
                });
            }
        }
        missing
    }

    /// It may have expired, or may be too large for one of its connections.
    fn is_excused(&self, message: &Message, now_ms: u64) -> bool {
        let identifiers = self.subscriptions.len() * 5;
        message.lives_until() <= now_ms
            || message.packet_bytes_max() + identifiers > self.packet_bytes_least
    }
}

/// The Message Expiry Interval. [v5 MQTT-3.3.2-5, MQTT-3.3.2-6]
fn check_expiry(message: &Message, delivery: &Delivery<'_>, fresh: bool) -> Result<(), String> {
    if let (true, false, Some(earliest)) = (fresh, delivery.dup, delivery.not_before_ms)
        && message.dead_from() < earliest
    {
        return Err(format!(
            "expired {} ms ago at least",
            earliest - message.dead_from()
        ));
    }
    if delivery.identifiers.is_none() {
        return Ok(()); // Not v5.
    }
    let (left, whole) = match (delivery.expiry_left_s, message.expiry_s) {
        (None, None) => return Ok(()),
        (Some(left), Some(whole)) => (left, whole),
        (left, whole) => {
            return Err(format!("Message Expiry Interval {left:?} of {whole:?}"));
        }
    };
    let least_ms = message.lives_until().saturating_sub(delivery.now_ms);
    let most_ms = delivery.not_before_ms.map_or(u64::MAX, |earliest| {
        message.dead_from().saturating_sub(earliest)
    });
    let left_ms = u64::from(left) * 1000;
    if left > whole || left_ms < least_ms || left_ms >= most_ms.saturating_add(1000) {
        return Err(format!(
            "Message Expiry Interval {left} of {whole}, between {least_ms} and {most_ms} ms are left"
        ));
    }
    Ok(())
}

/// Every number of `few`, as often as it is there, is in `many`.
fn is_within(few: &[u32], many: &[u32]) -> bool {
    let count = |list: &[u32], wanted: u32| list.iter().filter(|n| **n == wanted).count();
    few.iter().all(|n| count(few, *n) <= count(many, *n))
}
