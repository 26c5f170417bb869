//! What the broker keeps of a Client beyond its Network Connection. [v3.1.1 3.1.2.4, v5 4.1]

use crate::buffer::ShortText;
use crate::ids::{ConnectionId, ListenerId, NodeId, OwnerId, Passage, StoredSession};
use crate::session::{ClientRights, Inflight, Message, Queue, Takeovers};
use crate::sorted::Sorted;
use crate::time::Time;
use crate::wire::PacketId;
use smallvec::SmallVec;

/// A Session.
#[derive(Debug)]
pub struct Session {
    /// 1..=65,535 bytes; one Session of a broker has it.
    pub client_id: ShortText,
    /// Whose account it is in, and what it takes of that.
    pub owner: OwnerId,
    /// Bytes of it that are booked to `owner` now.
    pub booked_bytes: usize,
    /// What its subscriptions take.
    pub filter_bytes: usize,
    /// The user name of its last CONNECT, checked or not. Rights depend on it.
    pub given_name: Option<Box<str>>,
    /// `given_name` was checked: that user owns the Session ([`Session::user_name`]).
    is_checked: bool,
    /// The user is only said to be the owner, by another broker. No Client has come since.
    pub is_claim: bool,
    /// The listener of its last connection, whose rules apply.
    pub listener: ListenerId,
    /// What those rules said; `None` before the first question.
    pub rights: Option<Box<ClientRights>>,
    /// The user epoch (`broker::gone`) in which its user was last let in.
    pub user_epoch: u32,
    /// The Network Connection that has it now.
    pub connection: Option<ConnectionId>,
    /// Session Expiry Interval in seconds: 0 ends it with the connection, `u32::MAX` never. [v5 3.1.2.11.2]
    pub expiry_interval_s: u32,
    /// When it ends, while no connection has it.
    pub ends: Time,
    /// When its will is to be published, while no connection has it and the will is delayed.
    pub will_due: Time,
    /// Published when the connection ends, unless DISCONNECT takes it back.
    pub will: Option<Box<StoredWill>>,
    /// The Client says that it is a bridge of another broker, by a bit of the protocol level, as Mosquitto does
    /// (`try_private`).
    pub bridge: bool,
    /// By what name a store knows of it.
    pub stored: Option<StoredSession>,
    /// By what name a store knows of its will, while it does not know of the Session.
    pub stored_will: Option<StoredSession>,
    /// Where its subscriptions lie in the trie.
    pub filters: Sorted<NodeId, ()>,
    /// Shared Subscriptions it is a member of.
    pub groups: u32,
    /// QoS 1 and 2 towards the Client.
    pub inflight: Inflight,
    /// QoS 1 and 2 messages that were not sent yet.
    pub queue: Queue,
    /// QoS 2 from the Client.
    pub received: Received,
    /// The last routing that found this Session: overlaps are found in one step.
    pub routed: u64,
    /// Of that routing, the index of the Session among its targets.
    pub target: u32,
    /// Recent takeovers; `None` before the first.
    pub takeovers: Option<Box<Takeovers>>,
}

// There is one for each Client. With the allocator's own, 224 bytes.
#[cfg(all(target_pointer_width = "64", not(feature = "loom")))]
const _: () = assert!(size_of::<Session>() <= 216);

impl Session {
    /// A fresh Session; nobody's yet, but for its account.
    pub fn new(client_id: &str, connection: Option<ConnectionId>, owner: OwnerId) -> Session {
        Session {
            client_id: ShortText::new(client_id),
            owner,
            booked_bytes: 0,
            filter_bytes: 0,
            given_name: None,
            is_checked: false,
            is_claim: false,
            listener: ListenerId(0),
            rights: None,
            user_epoch: 0,
            connection,
            expiry_interval_s: 0,
            ends: Time::NEVER,
            will_due: Time::NEVER,
            will: None,
            bridge: false,
            stored: None,
            stored_will: None,
            filters: Sorted::None,
            groups: 0,
            inflight: Inflight::default(),
            queue: Queue::default(),
            received: Received::default(),
            routed: 0,
            target: 0,
            takeovers: None,
        }
    }

    /// It is here for its will alone: its Client was connected when the broker ended, and has not come back.
    pub fn is_will_alone(&self) -> bool {
        self.connection.is_none() && self.expiry_interval_s == 0
    }

    /// The user who made it, or who took it over last: a checked user name, or none.
    pub fn user_name(&self) -> Option<&str> {
        self.given_name.as_deref().filter(|_| self.is_checked)
    }

    /// Its Client has this name now, checked or not, and is connected by this listener.
    pub fn name(&mut self, user_name: Option<&str>, is_checked: bool, listener: ListenerId) {
        self.is_checked = is_checked;
        if self.given_name.as_deref() == user_name && self.listener == listener {
            return;
        }
        self.given_name = user_name.map(Into::into);
        self.listener = listener;
        self.rights = None;
    }

    /// The next moment at which something is due for it.
    pub fn deadline(&self) -> Time {
        self.ends.min(self.will_due)
    }
}

/// A will as CONNECT brought it. [v3.1.1 3.1.2.5, v5 3.1.2.5]
#[derive(Clone, Debug)]
pub struct StoredWill {
    /// Published with its own QoS and RETAIN.
    pub message: Message,
    /// Will Delay Interval; 0 before v5.
    pub delay_interval_s: u32,
    /// Message Expiry Interval, counted from publication.
    pub message_expiry_interval_s: Option<u32>,
}

/// Packet Identifiers of QoS 2 messages received and not yet released by PUBREL. [v3.1.1 MQTT-4.3.3-2]
///
/// Sorted; 2 bytes each, at most 65,535. Most Clients never send one: then it takes a word.
#[derive(Default, Debug)]
pub struct Received(Option<Box<Identifiers>>);

/// See [`Received`]. Made with the first message.
#[derive(Default, Debug)]
struct Identifiers {
    ids: SmallVec<[u16; 8]>,
    /// Of messages that came before a restart. With a passage, one was perhaps not delivered to all: a repeat goes to
    /// the others. Without, one was perhaps released. Nearly always none.
    doubtful: Sorted<PacketId, Option<Passage>>,
}

impl Received {
    fn doubtful(&self, packet_id: PacketId) -> Option<Option<Passage>> {
        self.0.as_ref()?.doubtful.get(packet_id)
    }

    fn identifiers(&mut self) -> &mut Identifiers {
        self.0.get_or_insert_default()
    }

    /// PUBLISH packets of QoS 2 that were received and not released.
    pub fn count(&self) -> usize {
        self.0.as_ref().map_or(0, |received| received.ids.len())
    }

    /// Memory beside the Session itself.
    #[inline]
    pub fn bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |received| {
            let spilled = usize::from(received.ids.spilled());
            size_of::<Identifiers>() + spilled * received.ids.capacity() * size_of::<u16>()
        })
    }

    /// A message of before a restart was perhaps not delivered to all.
    pub fn doubt(&mut self, packet_id: PacketId, passage: Passage) {
        let doubtful = &mut self.identifiers().doubtful;
        doubtful.insert(packet_id, Some(passage));
    }

    /// A message of before a restart was perhaps released: what the store knew last is lost.
    pub fn doubt_held(&mut self, packet_id: PacketId) {
        if self.doubtful(packet_id).is_none() {
            self.identifiers().doubtful.insert(packet_id, None);
        }
    }

    /// A PUBLISH without DUP shows that this one was released.
    pub fn may_be_released(&self, packet_id: PacketId) -> bool {
        self.doubtful(packet_id).is_some()
    }

    /// Takes such a message out.
    #[inline]
    pub fn take_doubtful(&mut self, packet_id: PacketId) -> Option<Passage> {
        let received = self.0.as_mut()?;
        if received.doubtful.is_empty() {
            return None;
        }
        let passage = received.doubtful.get(packet_id);
        received.doubtful.remove(packet_id);
        passage.flatten()
    }

    /// A PUBLISH with it would be a repeat. [v5 MQTT-4.3.3-10]
    pub fn contains(&self, packet_id: PacketId) -> bool {
        let is_there =
            |received: &Identifiers| received.ids.binary_search(&packet_id.get()).is_ok();
        self.0.as_deref().is_some_and(is_there)
    }

    /// Returns `false` if the identifier was there: the message is a repeat.
    pub fn insert(&mut self, packet_id: PacketId) -> bool {
        let ids = &mut self.identifiers().ids;
        match ids.binary_search(&packet_id.get()) {
            Ok(_) => false,
            Err(at) => {
                ids.insert(at, packet_id.get());
                true
            }
        }
    }

    /// `false` if it was not there.
    pub fn remove(&mut self, packet_id: PacketId) -> bool {
        let Some(received) = &mut self.0 else {
            return false;
        };
        match received.ids.binary_search(&packet_id.get()) {
            Ok(at) => {
                received.ids.remove(at);
                true
            }
            Err(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn received_knows_repeats() {
        let mut received = Received::default();
        let id = |n| PacketId::new(n).expect("not 0");
        assert!(received.insert(id(5)));
        assert!(received.insert(id(1)));
        assert!(!received.insert(id(5)));
        assert!(received.contains(id(1)));
        assert!(received.remove(id(5)));
        assert!(!received.remove(id(5)));
        assert_eq!(received.count(), 1);
    }
}
