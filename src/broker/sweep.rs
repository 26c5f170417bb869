//! Retained messages whose Message Expiry Interval is over leave the tree. A replay passes them over anyhow; this frees their memory.
//!
//! No list of times is kept, which a topic written often would make grow: while any message expires, the whole
//! tree is walked at most once in `limits::RETAINED_SWEEP_MS`, and no earlier than the first expiry. Each
//! Tick walks `limits::RETAINED_PER_TURN` nodes, so a large tree delays nobody.

use super::publish::Retained;
use super::shard::Shard;
use crate::limits;
use crate::time::Time;
use crate::topic::{RetainCursor, RetainStep};
use crate::wire::TopicName;

/// The walk under way, or when the next one is due.
pub(super) struct Sweep {
    cursor: Option<RetainCursor>,
    /// No retained message expires before this.
    expires: Time,
    /// When the last walk began.
    begun: Time,
}

impl Default for Sweep {
    fn default() -> Self {
        Sweep {
            cursor: None,
            expires: Time::NEVER,
            begun: Time::default(),
        }
    }
}

impl Sweep {
    /// A message that expires then is retained now.
    pub fn note(&mut self, expires: Time) {
        self.expires = self.expires.min(expires);
    }

    /// When the shard is to call again.
    pub fn due(&self, now: Time) -> Option<Time> {
        if self.cursor.is_some() {
            return Some(now);
        }
        let due = self.expires.max(self.begun + limits::RETAINED_SWEEP_MS);
        (self.expires != Time::NEVER).then_some(due)
    }
}

impl Shard {
    /// Goes on with the walk, or begins one that is due.
    pub(super) fn on_sweep_alarm(&mut self) {
        let now = self.now;
        if self.sweep.due(now).is_none_or(|due| due > now) {
            return;
        }
        let mut cursor = self.sweep.cursor.take().unwrap_or_else(|| {
            // Whatever is still there adds its time again as it is passed.
            self.sweep.expires = Time::NEVER;
            self.sweep.begun = now;
            RetainCursor::everything()
        });
        let mut work = limits::RETAINED_PER_TURN;
        loop {
            let mut topic = std::mem::take(&mut self.replay_topic);
            topic.clear();
            let step = self.retained.step(&mut cursor, &mut topic, &mut work);
            match step {
                RetainStep::Message(retained) => {
                    let expires = retained.message.as_ref().map(|message| message.expires);
                    match expires {
                        Some(expires) if expires <= now => self.drop_retained(&topic),
                        Some(expires) => self.sweep.note(expires),
                        None => {}
                    }
                }
                RetainStep::Pause => {
                    self.sweep.cursor = Some(cursor);
                    self.replay_topic = topic;
                    return;
                }
                RetainStep::End => {
                    self.replay_topic = topic;
                    return;
                }
            }
            self.replay_topic = topic;
        }
    }

    /// An expired retained message goes. Beside peers its version stays as the mark of a deletion, so that no older write that is still
    /// on its way brings an older message back.
    fn drop_retained(&mut self, topic: &str) {
        let Some(version) = self.retained.get(topic).map(|held| held.version) else {
            return;
        };
        if self.shards == 1 {
            self.retained.remove(topic);
        } else if let Ok(topic) = TopicName::new(topic) {
            let mark = Retained {
                version,
                message: None,
            };
            self.retained.set(topic, mark);
            self.peers.deletion_marks += 1;
            self.peers.note_mark(topic.as_str(), version);
            self.arm_clock();
        }
    }
}
