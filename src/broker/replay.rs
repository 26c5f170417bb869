//! Retained messages on their way to a new subscription: a cursor in the tree, moved as far as the Client takes. Nothing is copied into
//! a queue, so a `#` among a million retained messages costs one cursor.

use super::event::Outputs;
use super::shard::Shard;
use crate::ids::SessionId;
use crate::limits;
use crate::topic::RetainStep;
use crate::wire::QoS;
use std::rc::Rc;

impl Shard {
    /// Goes on with the replays of a Session, while its queue is empty and window and outbox have room, for at most one turn's share.
    ///
    /// The queue goes first: a live message that waits there is older than, or the same as, what the tree holds now, and must
    /// not come after it.
    pub(super) fn replay(&mut self, session_id: SessionId, _out: &mut Outputs) {
        let mut work = limits::RETAINED_PER_TURN;
        loop {
            let Some(session) = self.sessions.get_mut(session_id) else {
                return;
            };
            let Some(replay) = session.replays.front_mut() else {
                return;
            };
            let Some(id) = session.connection else { return };
            let Some(connection) = self.connections.get(id) else {
                return;
            };
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
                    session.replays.pop_front();
                    continue;
                }
                RetainStep::Pause => {
                    if !self.replaying.contains(&session_id) {
                        self.replaying.push(session_id);
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
