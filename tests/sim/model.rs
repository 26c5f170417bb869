//! A naive broker of one mind, written from the standard: what it knows of messages and retained ones. It shares no
//! code with the product and knows nothing of shards but their number's effect: none. `session` and `groups` say who
//! may receive what.

use crate::actions::TOPICS;

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
    pub payload_bytes: usize,
    /// A will has no place among the messages of its Client: what was lost with the connection is sent again after it.
    pub will: bool,
    pub publisher: usize,
    pub connection: usize,
    /// Step of the first sending; of a will: when it is first due. `None`: must not be seen.
    pub sent: Option<u64>,
    /// The same in milliseconds, or a little before.
    pub sent_ms: u64,
    /// Place among everything sent, in the order of sending.
    pub order: u64,
    /// Times it was sent as a message of its own: QoS 1 may be sent again.
    pub copies: u32,
    /// It was sent again on a later connection, where it may have been taken for the first time.
    pub repeated: bool,
    /// Step at which the broker had taken it for certain.
    pub accepted: Option<u64>,
    pub accepted_ms: Option<u64>,
    /// "Quota exceeded" may be the answer, and has not come perhaps: sent again, it is a new message. [v5 4.9]
    pub may_be_refused: bool,
    /// It was the answer.
    pub refused: bool,
    /// Message Expiry Interval.
    pub expiry_s: Option<u32>,
    /// Shard of its publisher.
    pub home: usize,
}

impl Message {
    pub fn new(publisher: usize, connection: usize, topic: usize, qos: u8, retain: bool) -> Self {
        Message {
            topic: TOPICS[topic],
            qos,
            retain,
            empty: false,
            payload_bytes: 0,
            will: false,
            publisher,
            connection,
            sent: None,
            sent_ms: 0,
            order: 0,
            copies: 1,
            repeated: false,
            accepted: None,
            accepted_ms: None,
            may_be_refused: false,
            refused: false,
            expiry_s: None,
            home: 0,
        }
    }

    /// It does not expire before this.
    pub fn lives_until(&self) -> u64 {
        let after = |seconds: u32| self.sent_ms + u64::from(seconds) * 1000;
        self.expiry_s.map_or(u64::MAX, after)
    }

    /// It has expired by then, if that is known.
    pub fn dead_from(&self) -> u64 {
        match (self.expiry_s, self.accepted_ms) {
            (Some(seconds), Some(accepted)) => accepted + u64::from(seconds) * 1000,
            _ => u64::MAX,
        }
    }

    /// A packet that carries it is never larger, but for Subscription Identifiers.
    pub fn packet_bytes_max(&self) -> usize {
        // Fixed Header, lengths, Packet Identifier, expiry and alias.
        const OTHERS: usize = 5 + 2 + 2 + 4 + 5 + 3;
        OTHERS + self.topic.len() + self.payload_bytes
    }
}

/// The number in a payload.
pub fn number(payload: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(payload).ok()?;
    text.split('.').next()?.parse().ok()
}

/// Whether the retained message of `topic` may be `found` (its payload) once everything is at rest. `rests` are the
/// steps at whose end nothing was under way between shards.
pub fn retained_may_be(
    messages: &[Message],
    rests: &[u64],
    topic: &str,
    found: Option<&[u8]>,
    now_ms: u64,
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
            last.iter()
                .any(|(n, m)| !m.empty && Some(*n) == number && m.dead_from() > now_ms)
        }
        None => {
            last.iter()
                .any(|(_, m)| m.empty || m.lives_until() <= now_ms)
                || last.iter().all(|(_, m)| m.accepted.is_none())
        }
    };
    if right {
        return Ok(());
    }
    let found = found.map(String::from_utf8_lossy);
    Err(format!(
        "{topic} holds {found:?}, last written are {last:?}"
    ))
}
