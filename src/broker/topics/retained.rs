//! Retained messages: each is kept, replaced and deleted in one method here, and replayed to new subscriptions.
//!
//! A write carries a version, and the higher version wins on every shard. Where there are peers, a deletion leaves a
//! mark with its version until every peer's clock has passed it. So an older write that is still in a lane cannot bring
//! the message back.

use super::owner::Topics;
use super::value::Retained;
use crate::broker::change::Change;
use crate::broker::home::owner_of;
use crate::broker::passing::{RetainVersion, Routing};
use crate::budget::sizes::retained_bytes;
use crate::ids::SessionId;
use crate::limits;
use crate::session::Message;
use crate::time::Time;
use crate::topic::{RetainCursor, RetainStep};
use crate::wire::{QoS, TopicName};
use std::rc::Rc;

/// A retained message on its way to a new subscription.
pub struct Replayed {
    pub message: Rc<Message>,
    /// Granted QoS.
    pub qos: QoS,
    pub identifier: Option<u32>,
}

impl Topics {
    /// Retained messages outlive the process.
    #[inline]
    pub fn stores(&self) -> bool {
        self.changes.are_wanted()
    }

    /// Stores, replaces or deletes a retained message, if the write is newer. Returns `true` if it left a mark, which
    /// must be cleared later. [v3.1.1 MQTT-3.3.1-5, MQTT-3.3.1-10, MQTT-3.3.1-11]
    pub fn retain(&mut self, routing: &mut Routing<'_>, version: RetainVersion) -> bool {
        let held = self.retained.get(routing.topic.as_str());
        if held.is_some_and(|held| held.version() > version) {
            return false;
        }
        self.note_written(routing, version);
        self.write(routing, version)
    }

    /// A retained message that the store gives back, if none is newer.
    pub fn restore(&mut self, routing: &mut Routing<'_>, version: RetainVersion) {
        let held = self.retained.get(routing.topic.as_str());
        if held.is_none_or(|held| held.version() < version) {
            self.write(routing, version);
        }
    }

    /// A retained message that the store gave back finds no room, so the store forgets it.
    pub fn note_not_restored(&mut self, topic: &str, version: RetainVersion) {
        self.changes.note(|| Change::RetainedDeleted {
            topic: topic.into(),
            version,
            qos: QoS::AtMostOnce,
        });
    }

    fn write(&mut self, routing: &mut Routing<'_>, version: RetainVersion) -> bool {
        let topic = routing.topic;
        let held = self.retained.get(topic.as_str());
        let held_mark = held.is_some_and(|held| held.message.is_none());
        let marks_before = self.deletion_marks;
        if !routing.payload.is_empty() {
            let message = Rc::clone(routing.message());
            self.sweep.note(message.expires());
            self.retained
                .set(topic, Retained::new(version, Some(message)));
        } else if self.shards == 1 {
            self.retained.remove(topic.as_str());
        } else {
            self.mark_deleted(Rc::clone(routing.message()), version);
        }
        if held_mark {
            self.deletion_marks -= 1;
        }
        self.deletion_marks > marks_before
    }

    /// Every shard has every write, so one shard notes the writes of a topic for the store: whether it is this one.
    #[inline]
    pub fn notes_writes_of(&self, topic: &str) -> bool {
        self.changes.are_wanted() && owner_of(topic, self.shards) == self.id && !is_sys(topic)
    }

    /// Notes a write for the store.
    #[inline]
    fn note_written(&mut self, routing: &mut Routing<'_>, version: RetainVersion) {
        let topic = routing.topic.as_str();
        if !self.notes_writes_of(topic) {
            return;
        }
        if routing.payload.is_empty() {
            let (topic, qos) = (topic.into(), routing.qos);
            self.changes.note(|| Change::RetainedDeleted {
                topic,
                version,
                qos,
            });
        } else {
            let message = Rc::clone(routing.message());
            self.changes.note(|| Change::Retained { message, version });
        }
    }

    /// `deletion` has the topic and no payload.
    fn mark_deleted(&mut self, deletion: Rc<Message>, version: RetainVersion) {
        let Ok(topic) = TopicName::new(deletion.topic()) else {
            return;
        };
        self.retained.set(topic, Retained::new(version, None));
        self.deletion_marks += 1;
        self.marks.push_back((deletion, version));
    }

    /// A deletion of this topic with so many bytes leaves no more memory in use than there was before.
    pub fn frees(&self, topic: &str, bytes: usize) -> bool {
        let held = self.retained.get(topic);
        let message = held.and_then(|held| held.message.as_ref());
        message.is_some_and(|message| message.bytes() >= bytes)
    }

    /// Marks of deletions are kept.
    pub fn has_marks(&self) -> bool {
        self.deletion_marks > 0
    }

    /// Forgets the list of marks: none of them is in the tree any more.
    pub fn clear_marks(&mut self) {
        if self.deletion_marks == 0 {
            self.marks.clear();
        }
    }

    /// Every peer's clock has passed `passed`. Forgets the marks up to it, because no older write can come any more.
    pub fn drop_marks(&mut self, passed: u64) {
        while let Some((_, version)) = self.marks.front()
            && version.clock <= passed
            && let Some((deletion, version)) = self.marks.pop_front()
        {
            let topic = deletion.topic();
            let still = self
                .retained
                .get(topic)
                .is_some_and(|held| held.version() == version && held.message.is_none());
            if still {
                self.retained.remove(topic);
                self.deletion_marks -= 1;
            }
        }
    }

    /// The next retained message of a walk, with its Topic Name in `topic`. `None` where a deletion has left a mark.
    /// Lowers `work` by the number of nodes looked at.
    pub fn next_retained(
        &self,
        cursor: &mut RetainCursor,
        topic: &mut String,
        work: &mut usize,
    ) -> RetainStep<Option<(&Message, RetainVersion)>> {
        match self.retained.step(cursor, topic, work) {
            RetainStep::Message(retained) => {
                let message = retained.message.as_deref();
                RetainStep::Message(message.map(|message| (message, retained.version())))
            }
            RetainStep::Pause => RetainStep::Pause,
            RetainStep::End => RetainStep::End,
        }
    }

    /// When [`Topics::sweep`] is due.
    pub fn sweep_due(&self, now: Time) -> Option<Time> {
        self.sweep.due(now)
    }

    /// Goes on with the walk that frees expired messages, or begins one that is due. Returns `true` if it left a mark.
    pub fn sweep(&mut self, now: Time) -> bool {
        let Some(mut cursor) = self.sweep.begin(now) else {
            return false;
        };
        let mut work = limits::RETAINED_PER_TURN;
        let mut marked = false;
        let mut topic = std::mem::take(&mut self.text);
        loop {
            topic.clear();
            let step = self.retained.step(&mut cursor, &mut topic, &mut work);
            match step {
                RetainStep::Message(retained) => {
                    let expires = retained.message.as_ref().map(|message| message.expires());
                    match expires {
                        Some(expires) if expires <= now => marked |= self.expire(&topic),
                        Some(expires) => self.sweep.note(expires),
                        None => {}
                    }
                }
                RetainStep::Pause => {
                    self.sweep.pause(cursor);
                    break;
                }
                RetainStep::End => break,
            }
        }
        self.text = topic;
        marked
    }

    /// Frees an expired retained message. Where there are peers, its version stays as the mark of a deletion, and the
    /// answer is `true`.
    fn expire(&mut self, topic: &str) -> bool {
        let Some(version) = self.retained.get(topic).map(|held| held.version()) else {
            return false;
        };
        if self.notes_writes_of(topic) {
            self.changes.note(|| Change::RetainedDeleted {
                topic: topic.into(),
                version,
                qos: QoS::AtMostOnce,
            });
        }
        if self.shards == 1 {
            self.retained.remove(topic);
        } else if let Some(message) = self
            .retained
            .get(topic)
            .and_then(|held| held.message.as_ref())
        {
            let deletion = Rc::new(message.emptied(retained_bytes(self.shards, topic)));
            self.mark_deleted(deletion, version);
            return true;
        }
        false
    }

    /// Retained messages are on their way to some Session.
    #[inline]
    pub fn has_replays(&self) -> bool {
        self.replays.count() > 0
    }

    /// The next message of a Session's replays, in the order of its subscriptions, while there is `room` for its QoS
    /// and within the share of work of one turn.
    pub fn next_replayed(
        &mut self,
        session: SessionId,
        now: Time,
        room: impl Fn(QoS) -> bool,
    ) -> Option<Replayed> {
        loop {
            let (replay, work_left) = self.replays.front(session)?;
            if !room(replay.qos) {
                return None; // An acknowledgement or a completed send comes back here.
            }
            if *work_left == 0 {
                self.replays.pause(session);
                return None;
            }
            *work_left = work_left.saturating_sub(replay.work_to_begin());
            self.text.clear();
            let step = self
                .retained
                .step(replay.cursor(), &mut self.text, work_left);
            match step {
                RetainStep::Message(retained) => {
                    if let Some(message) = &retained.message
                        && !message.expired(now)
                    {
                        return Some(Replayed {
                            message: Rc::clone(message),
                            qos: replay.qos,
                            identifier: replay.identifier,
                        });
                    }
                }
                RetainStep::End => self.replays.finish_front(session),
                RetainStep::Pause => {
                    self.replays.pause(session);
                    return None;
                }
            }
        }
    }
}

/// What the broker says of itself is of this run alone.
fn is_sys(topic: &str) -> bool {
    topic.starts_with("$SYS/")
}
