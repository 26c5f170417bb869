//! QoS 2 from one Client: which of its messages are received and not released, and by what name the one under way
//! crosses to other shards. Only this file changes the received messages, in `note_received` and `release_received`.

use super::booking::book_session;
use super::life::next_name;
use super::owner::Clients;
use crate::broker::change::Change;
use crate::broker::violation::Violation;
use crate::ids::{Passage, SessionId, StoredSession};
use crate::invariant::Broken;
use crate::wire::{PacketId, Publish, QoS, Version};

impl Clients {
    /// Notes a QoS 2 message of the Client as received, and checks that no more are under way than we allow. Returns
    /// `Ok(false)` if it was noted before. [v3.1.1 MQTT-4.3.3-2, v5 3.3.4]
    ///
    /// After a power cut an identifier may be noted whose PUBREL was lost with the window: a Client that sends it
    /// without DUP means another message. [v3.1.1 MQTT-3.3.1-1, v5 MQTT-3.3.1-1]
    ///
    /// Where it `crosses` to shards that store Sessions, or did before a restart, its passage begins: until
    /// [`Clients::end_passage`].
    #[inline]
    pub fn note_received(
        &mut self,
        session_id: SessionId,
        version: Version,
        publish: &Publish<'_>,
        packet_id: PacketId,
        crosses: bool,
    ) -> Result<bool, Violation> {
        let exactly_once = publish.qos == QoS::ExactlyOnce;
        if self.window_lost && !publish.dup && exactly_once {
            self.release_lost(session_id, packet_id);
        }
        let session = self.sessions.get_mut(session_id);
        let session = session.ok_or_else(|| Broken::new("a connection has its session"))?;
        if exactly_once && session.received.contains(packet_id) {
            return Ok(false);
        }
        if version == Version::V5 {
            let most = self.settings.listener(session.listener).receive_maximum();
            if session.received.count() >= usize::from(most) {
                return Err(Violation::ReceiveMaximumExceeded);
            }
        }
        if exactly_once {
            let before = session.received.bytes();
            session.received.insert(packet_id);
            if session.received.bytes() != before {
                book_session(&mut self.book, session);
            }
            if let Some(name) = session.stored {
                // The store knows of one in doubt already.
                self.passage = session.received.take_doubtful(packet_id);
                if self.passage.is_none() {
                    if crosses {
                        self.passage = next_name(&mut self.stored, self.id);
                    }
                    let passage = self.passage;
                    self.changes.note(|| Change::Received {
                        session: name,
                        packet_id,
                        passage,
                    });
                }
            }
        }
        Ok(true)
    }

    #[cold]
    fn release_lost(&mut self, session_id: SessionId, packet_id: PacketId) {
        let session = self.sessions.get(session_id);
        if session.is_some_and(|session| session.received.may_be_released(packet_id)) {
            self.release_received(session_id, packet_id);
        }
    }

    /// A QoS 2 message of the Client is complete: PUBREL came, or our PUBREC refused it. Returns `false` if none of
    /// this identifier was noted.
    pub fn release_received(&mut self, session_id: SessionId, packet_id: PacketId) -> bool {
        let Some(session) = self.sessions.get_mut(session_id) else {
            return false;
        };
        let doubtful = session.received.take_doubtful(packet_id).is_some();
        let known = session.received.remove(packet_id) || doubtful;
        if known && let Some(session) = session.stored {
            self.changes
                .note(|| Change::ReceivedReleased { session, packet_id });
        }
        known
    }

    /// The passage of the message under way.
    #[inline]
    pub fn passage(&self) -> Option<Passage> {
        self.passage
    }

    /// The message under way came before a restart, and a member of this group has it since then.
    #[inline]
    pub fn is_given(&self, passage: Option<(Passage, StoredSession)>) -> bool {
        passage.is_some_and(|given| self.passed.contains(&given))
    }

    /// A member of this shard has taken the message under way for its group.
    #[inline]
    pub fn note_given(&mut self, member: SessionId, passage: Option<(Passage, StoredSession)>) {
        if let Some((passage, session)) = passage
            && self
                .sessions
                .get(member)
                .is_some_and(|of| of.stored.is_some())
        {
            self.changes.note(|| Change::Passed { passage, session });
        }
    }

    /// The message under way came before a restart, and its retained message was written then.
    #[inline]
    pub fn is_written(&self) -> bool {
        let written = |passage| self.passed.contains(&(passage, passage));
        self.passage.is_some_and(written)
    }

    /// The retained message of the passage under way is written, or a newer one is there.
    #[cold]
    pub fn note_written(&mut self) {
        if let Some(passage) = self.passage {
            let session = passage;
            self.changes.note(|| Change::Passed { passage, session });
        }
    }

    /// A message of a peer is under way.
    #[inline]
    pub fn begin_passage(&mut self, passage: Option<Passage>) {
        self.passage = passage;
    }

    /// The message is routed.
    #[inline]
    pub fn end_passage(&mut self) {
        self.passage = None;
    }
}
