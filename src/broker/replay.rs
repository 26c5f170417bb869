//! Retained messages on their way to a new subscription: a cursor in the tree, moved as far as the Client takes. Nothing is copied into
//! a queue, so a `#` among a million retained messages costs one cursor.

use super::shard::Shard;
use crate::ids::{NodeId, SessionId};
use crate::limits;
use crate::session::queue::Identifiers;
use crate::topic::{RetainCursor, RetainStep};
use crate::wire::QoS;
use hashbrown::HashMap;
use std::collections::VecDeque;
use std::rc::Rc;

/// A replay of retained messages under way.
#[derive(Debug)]
pub(super) struct Replay {
    pub cursor: RetainCursor,
    /// The filter's node, to stop when it is unsubscribed.
    pub node: NodeId,
    /// Granted QoS.
    pub qos: QoS,
    pub identifiers: Option<Box<Identifiers>>,
}

/// The replays of one Session, in the order of its subscriptions.
#[derive(Default)]
struct Queue {
    /// Each with its number; stopped ones stay until they come to the front or are too many.
    replays: VecDeque<(u64, Replay)>,
    /// The number of the replay that counts for each filter.
    current: HashMap<NodeId, u64>,
    /// It stands in [`Replays::unfinished`].
    unfinished: bool,
}

/// The replays of all Sessions; one goes on where it was when its Client comes back.
#[derive(Default)]
pub(super) struct Replays {
    by_session: HashMap<SessionId, Queue>,
    last_number: u64,
    /// Sessions whose replay goes on in the next turn, those served longest ago first.
    unfinished: VecDeque<SessionId>,
    /// Nodes of the retained tree that may still be looked at in this turn, by all Sessions together.
    work_left: usize,
}

impl Replays {
    pub fn add(&mut self, session: SessionId, replay: Replay) {
        self.last_number += 1;
        let queue = self.by_session.entry(session).or_default();
        queue.current.insert(replay.node, self.last_number);
        queue.replays.push_back((self.last_number, replay));
        // At most as many stopped replays as live ones are kept.
        if queue.replays.len() > 2 * queue.current.len() + 8 {
            let current = &queue.current;
            queue
                .replays
                .retain(|(number, replay)| current.get(&replay.node) == Some(number));
        }
    }

    /// Ends the replay for one filter.
    pub fn stop(&mut self, session: SessionId, node: NodeId) {
        if let Some(queue) = self.by_session.get_mut(&session) {
            queue.current.remove(&node);
        }
    }

    /// Ends all of a Session.
    pub fn forget(&mut self, session: SessionId) {
        self.by_session.remove(&session);
    }

    /// Sessions with replays.
    pub fn count(&self) -> usize {
        self.by_session.len()
    }

    /// Something is left for the next turn.
    pub fn are_unfinished(&self) -> bool {
        !self.unfinished.is_empty()
    }

    /// A new turn: its share of work, and who goes on.
    #[inline]
    pub fn begin_turn(&mut self) -> Option<VecDeque<SessionId>> {
        self.work_left = limits::RETAINED_PER_TURN;
        (!self.unfinished.is_empty()).then(|| self.take_unfinished())
    }

    fn take_unfinished(&mut self) -> VecDeque<SessionId> {
        for session in &self.unfinished {
            if let Some(queue) = self.by_session.get_mut(session) {
                queue.unfinished = false;
            }
        }
        std::mem::take(&mut self.unfinished)
    }
}

impl Shard {
    /// Goes on with the replays of a Session, while its queue is empty and window and outbox have room, within the share of work of one turn.
    ///
    /// The queue goes first: a live message that waits there is older than, or the same as, what the tree holds now, and must
    /// not come after it.
    pub(super) fn replay(&mut self, session_id: SessionId) {
        if self.replays.by_session.is_empty() {
            return;
        }
        loop {
            let Some(queue) = self.replays.by_session.get_mut(&session_id) else {
                return;
            };
            let Some((number, replay)) = queue.replays.front_mut() else {
                self.replays.forget(session_id);
                return;
            };
            if queue.current.get(&replay.node) != Some(number) {
                queue.replays.pop_front();
                continue;
            }
            let Some(session) = self.sessions.get(session_id) else {
                return;
            };
            let Some(connection) = session.connection.and_then(|id| self.connections.get(id))
            else {
                return;
            };
            let id = connection.id;
            if !session.queue.is_empty()
                || connection.unsent_bytes >= limits::OUTBOX_HIGH_BYTES
                || (replay.qos > QoS::AtMostOnce && session.inflight.count() >= connection.window)
            {
                return; // An acknowledgement or a completed send comes back here.
            }
            let qos = replay.qos;
            let identifiers = replay.identifiers.clone();
            self.replay_topic.clear();
            let step = self.retained.step(
                &mut replay.cursor,
                &mut self.replay_topic,
                &mut self.replays.work_left,
            );
            let message = match step {
                RetainStep::Message(retained) => retained.message.as_ref().map(Rc::clone),
                RetainStep::End => {
                    queue.current.remove(&replay.node);
                    queue.replays.pop_front();
                    continue;
                }
                RetainStep::Pause => {
                    if !std::mem::replace(&mut queue.unfinished, true) {
                        self.replays.unfinished.push_back(session_id);
                    }
                    return;
                }
            };
            if let Some(message) = message
                && !message.expired(self.now)
            {
                let identifiers = identifiers.as_deref().map_or(&[][..], |ids| &ids[..]);
                self.send_retained(id, session_id, &message, qos, identifiers);
            }
        }
    }
}
