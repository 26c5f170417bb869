//! How often Clients publish to which topic, counted while somebody asks and not otherwise.
//!
//! The first question begins it, each further one takes what was counted and goes on, and the first message that comes
//! [`limits::WATCH_MS`] after the last question ends it. So a shard that nobody asks has a flag, which one branch of a
//! PUBLISH looks at that is there anyway.
//!
//! Topics have an entry each until [`limits::WATCH_TOPICS_MAX`] or [`limits::WATCH_BYTES_MAX`] is reached; what comes
//! to others is one sum. A count is exact, and begins anew with each question: a topic that is busy finds a place in
//! the next second. `O(1)` a message.

use crate::broker::survey::{TopicReport, TopicsReport};
use crate::limits;
use crate::random::HashState;
use crate::time::Time;
use hashbrown::HashMap;

/// Messages, and bytes of their payloads.
#[derive(Clone, Copy, Default)]
struct Count {
    messages: u64,
    payload_bytes: u64,
}

impl Count {
    fn add(&mut self, packets: u32, payload_bytes: usize) {
        self.messages += u64::from(packets);
        self.payload_bytes += u64::from(packets) * payload_bytes as u64;
    }
}

/// See the module.
pub(super) struct Watch {
    /// Counts begin.
    since: Time,
    /// Nobody has asked for long.
    until: Time,
    by_topic: HashMap<Box<str>, Count, HashState>,
    /// Of all names.
    name_bytes: usize,
    others: Count,
}

impl Watch {
    /// Of which nothing is counted yet.
    pub fn new(now: Time) -> Watch {
        Watch {
            since: now,
            until: now + limits::WATCH_MS,
            by_topic: HashMap::default(),
            name_bytes: 0,
            others: Count::default(),
        }
    }

    /// Somebody has asked lately.
    pub fn is_wanted(&self, now: Time) -> bool {
        now < self.until
    }

    /// Messages to this topic have come, with payloads of this size.
    pub fn count(&mut self, topic: &str, packets: u32, payload_bytes: usize) {
        if let Some(count) = self.by_topic.get_mut(topic) {
            return count.add(packets, payload_bytes);
        }
        let has_room = self.by_topic.len() < limits::WATCH_TOPICS_MAX
            && self.name_bytes + topic.len() <= limits::WATCH_BYTES_MAX;
        if !has_room {
            return self.others.add(packets, payload_bytes);
        }
        self.name_bytes += topic.len();
        let mut count = Count::default();
        count.add(packets, payload_bytes);
        self.by_topic.insert(topic.into(), count);
    }

    /// The busiest first.
    pub fn report(self, now: Time) -> TopicsReport {
        let mut others = self.others;
        let mut topics: Vec<(Box<str>, Count)> = self.by_topic.into_iter().collect();
        // The order of a table is never seen.
        topics.sort_unstable_by(|(a_name, a), (b_name, b)| {
            let busier = b.messages.cmp(&a.messages);
            busier.then_with(|| a_name.cmp(b_name))
        });
        let rest = topics.len().min(limits::SURVEY_ITEMS_MAX);
        for (_, count) in topics.drain(rest..) {
            others.messages += count.messages;
            others.payload_bytes += count.payload_bytes;
        }
        let told = topics.into_iter().map(|(topic, count)| TopicReport {
            topic,
            messages: count.messages,
            payload_bytes: count.payload_bytes,
        });
        TopicsReport {
            // Two questions within a millisecond: 0 is for the first one.
            over_ms: now.since_ms(self.since).max(1),
            topics: told.collect(),
            other_messages: others.messages,
            other_payload_bytes: others.payload_bytes,
        }
    }
}
