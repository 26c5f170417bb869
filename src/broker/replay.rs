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

/// The replays of all Sessions; one goes on where it was when its Client comes back.
#[derive(Default)]
pub(super) struct Replays {
    by_session: HashMap<SessionId, VecDeque<Replay>>,
    /// Sessions whose replay goes on in the next turn.
    pub unfinished: Vec<SessionId>,
}

impl Replays {
    pub fn add(&mut self, session: SessionId, replay: Replay) {
        self.by_session
            .entry(session)
            .or_default()
            .push_back(replay);
    }

    /// Ends the replay for one filter.
    pub fn stop(&mut self, session: SessionId, node: NodeId) {
        if let Some(replays) = self.by_session.get_mut(&session) {
            replays.retain(|replay| replay.node != node);
        }
    }

    /// Ends all of a Session.
    pub fn forget(&mut self, session: SessionId) {
        self.by_session.remove(&session);
    }
}

impl Shard {
    /// Goes on with the replays of a Session, while its queue is empty and window and outbox have room, for at most one turn's share.
    ///
    /// The queue goes first: a live message that waits there is older than, or the same as, what the tree holds now, and must
    /// not come after it.
    pub(super) fn replay(&mut self, session_id: SessionId) {
        if self.replays.by_session.is_empty() {
            return;
        }
        let mut work = limits::RETAINED_PER_TURN;
        loop {
            let Some(replays) = self.replays.by_session.get_mut(&session_id) else {
                return;
            };
            let Some(replay) = replays.front_mut() else {
                self.replays.forget(session_id);
                return;
            };
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
            let step = self
                .retained
                .step(&mut replay.cursor, &mut self.replay_topic, &mut work);
            let message = match step {
                RetainStep::Message(retained) => retained.message.as_ref().map(Rc::clone),
                RetainStep::End => {
                    replays.pop_front();
                    continue;
                }
                RetainStep::Pause => {
                    if !self.replays.unfinished.contains(&session_id) {
                        self.replays.unfinished.push(session_id);
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
