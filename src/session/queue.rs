//! QoS 1 and 2 messages that wait for a Client that is absent or slow, or whose in-flight window is full. The caller of
//! `push` bounds the bytes.

use crate::ids::{GroupId, ShardId};
use crate::limits::{QUEUED_LOOKED_AT, QUEUED_LOOKED_AT_EVERY_MS, QUEUED_OVERHEAD_BYTES};
use crate::session::Message;
use crate::time::Time;
use crate::wire::QoS;
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::rc::Rc;

/// Subscription Identifiers of the matching subscriptions; none for nearly all messages. [v5 3.3.2.3.8]
pub type Identifiers = SmallVec<[u32; 2]>;

/// The group of a Shared Subscription that a delivery comes from. Its owner is told when the delivery is complete, or
/// gets the message back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Share {
    /// The shard that picks a member for each message.
    pub owner: ShardId,
    /// Its number at the owner.
    pub group: GroupId,
    /// The number of the membership: a Session may leave a group and join it again.
    pub membership: u32,
}

/// Parts that only few deliveries have.
#[derive(Clone, Default, Debug)]
pub struct Extras {
    /// Of all the subscriptions that the message matched; empty before v5.
    pub identifiers: Identifiers,
    /// The group that it comes from; `None` for an ordinary subscription.
    pub share: Option<Share>,
}

/// Memory of a delivery's extras.
pub fn extra_bytes(extras: &Option<Box<Extras>>) -> usize {
    extras.as_ref().map_or(0, |extras| {
        let spilled = extras.identifiers.spilled();
        let identifiers = usize::from(spilled) * extras.identifiers.capacity();
        size_of::<Extras>() + identifiers * size_of::<u32>()
    })
}

/// One delivery that has not been sent yet.
#[derive(Clone, Debug)]
pub struct Queued {
    /// Names it to a store; 0 without one.
    pub number: u64,
    /// Other Sessions may hold the same message.
    pub message: Rc<Message>,
    /// QoS of the delivery: 1 or 2; 0 only where the operator wants such messages queued.
    pub qos: QoS,
    /// RETAIN flag of the delivery, fixed when it was queued.
    pub retain: bool,
    /// `None` for a delivery without identifiers and group, as most are.
    pub extras: Option<Box<Extras>>,
}

impl Queued {
    /// What it costs the budgets.
    pub fn bytes(&self) -> usize {
        self.message.bytes() + self.own_bytes()
    }

    /// What it costs besides its message, which others may hold too.
    pub fn own_bytes(&self) -> usize {
        QUEUED_OVERHEAD_BYTES as usize + extra_bytes(&self.extras)
    }

    /// What the queues of a shard would hold more if it waited.
    pub fn more_bytes(&self) -> u64 {
        let message = if self.message.queues() > 0 {
            0
        } else {
            self.message.bytes()
        };
        (self.own_bytes() + message) as u64
    }

    /// It waits now. Returns the bytes that the queues of a shard hold more: a message counts in the first of its
    /// queues.
    pub fn enter(&self) -> u64 {
        (self.own_bytes() + self.message.enter_queue()) as u64
    }

    /// It waits no longer. Returns the bytes that the queues of a shard hold less: a message counts in the last of its
    /// queues.
    pub fn leave(&self) -> u64 {
        (self.own_bytes() + self.message.leave_queue()) as u64
    }

    /// The group that it comes from, if it does.
    pub fn share(&self) -> Option<Share> {
        self.extras.as_ref().and_then(|extras| extras.share)
    }
}

/// A first-in, first-out queue that counts its bytes. Most Sessions never have one: then it takes a word.
#[derive(Default, Debug)]
pub struct Queue(Option<Box<Waiting>>);

/// See [`Queue`]. Made with the first message that waits.
#[derive(Debug)]
struct Waiting {
    items: VecDeque<Queued>,
    bytes: usize,
    own_bytes: usize,
    /// Messages of groups among them.
    shared: usize,
    /// No message here expires before this.
    expires: Time,
    /// Before this it is not looked for those that have expired.
    looked_at: Time,
    /// Messages that found no room, since the queue was made.
    dropped: u64,
}

impl Default for Waiting {
    fn default() -> Self {
        Waiting {
            items: VecDeque::new(),
            bytes: 0,
            own_bytes: 0,
            shared: 0,
            expires: Time::NEVER,
            looked_at: Time(0),
            dropped: 0,
        }
    }
}

impl Waiting {
    fn count_out(&mut self, item: &Queued) {
        self.bytes -= item.bytes();
        self.own_bytes -= item.own_bytes();
        self.shared -= usize::from(item.share().is_some());
        if self.items.is_empty() {
            self.expires = Time::NEVER;
        }
    }
}

impl Queue {
    /// Sum of [`Queued::bytes`] of all that wait.
    pub fn bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |waiting| waiting.bytes)
    }

    /// Sum of [`Queued::own_bytes`].
    #[inline]
    pub fn own_bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |waiting| waiting.own_bytes)
    }

    /// No message waits.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0
            .as_ref()
            .is_none_or(|waiting| waiting.items.is_empty())
    }

    /// Messages waiting.
    pub fn count(&self) -> usize {
        self.0.as_ref().map_or(0, |waiting| waiting.items.len())
    }

    /// A message has found no room. One that finds none while none has ever waited here is not counted.
    pub fn note_dropped(&mut self) {
        if let Some(waiting) = &mut self.0 {
            waiting.dropped += 1;
        }
    }

    /// Messages that have found no room.
    pub fn dropped(&self) -> u64 {
        self.0.as_ref().map_or(0, |waiting| waiting.dropped)
    }

    /// All that wait, in their order.
    pub fn iter(&self) -> impl Iterator<Item = &Queued> {
        self.0.iter().flat_map(|waiting| waiting.items.iter())
    }

    /// Adds at the end. The budget is the caller's to check.
    pub fn push(&mut self, item: Queued) {
        let waiting = self.0.get_or_insert_default();
        waiting.bytes += item.bytes();
        waiting.own_bytes += item.own_bytes();
        waiting.shared += usize::from(item.share().is_some());
        waiting.expires = waiting.expires.min(item.message.expires());
        waiting.items.push_back(item);
    }

    /// Takes out messages whose time is up: those among the first [`QUEUED_LOOKED_AT`]. O(1) while none can be there,
    /// and for a while after none was.
    pub fn take_expired(&mut self, now: Time) -> Vec<Queued> {
        let Some(waiting) = &mut self.0 else {
            return Vec::new();
        };
        if waiting.expires > now || waiting.looked_at > now {
            return Vec::new();
        }
        let count = waiting.items.len().min(QUEUED_LOOKED_AT);
        let is_all = count == waiting.items.len();
        let first: Vec<Queued> = waiting.items.drain(..count).collect();
        let (out, kept): (Vec<Queued>, Vec<Queued>) = first
            .into_iter()
            .partition(|item| item.message.expired(now));
        if is_all {
            let expires = kept.iter().map(|item| item.message.expires()).min();
            waiting.expires = expires.unwrap_or(Time::NEVER);
        }
        for item in kept.into_iter().rev() {
            waiting.items.push_front(item);
        }
        if out.is_empty() {
            waiting.looked_at = now + QUEUED_LOOKED_AT_EVERY_MS;
        }
        out.iter().for_each(|item| waiting.count_out(item));
        out
    }

    /// Takes out the messages of the groups that `pick` likes, in their order. O(messages), and O(1) if none is of a
    /// group.
    pub fn take_shared(&mut self, pick: impl Fn(Share) -> bool) -> Queue {
        let mut out = Queue::default();
        let Some(waiting) = self.0.as_mut().filter(|waiting| waiting.shared > 0) else {
            return out;
        };
        let items = std::mem::take(&mut waiting.items).into_iter();
        let (taken, kept): (VecDeque<Queued>, VecDeque<Queued>) =
            items.partition(|item| item.share().is_some_and(&pick));
        waiting.items = kept;
        for item in taken {
            waiting.count_out(&item);
            out.push(item);
        }
        out
    }

    /// Takes from the front. An emptied queue gives its memory back if it was large.
    pub fn pop(&mut self) -> Option<Queued> {
        let waiting = self.0.as_mut()?;
        let item = waiting.items.pop_front()?;
        waiting.count_out(&item);
        if waiting.items.is_empty() && waiting.items.capacity() > 64 {
            match waiting.dropped {
                0 => self.0 = None,
                _ => waiting.items = VecDeque::new(),
            }
        }
        Some(item)
    }

    /// Panics if the sum of bytes is wrong.
    pub fn check_invariants(&self) {
        let Some(waiting) = &self.0 else { return };
        let items = &waiting.items;
        let bytes: usize = items.iter().map(Queued::bytes).sum();
        assert_eq!(bytes, waiting.bytes);
        let own_bytes: usize = items.iter().map(Queued::own_bytes).sum();
        assert_eq!(own_bytes, waiting.own_bytes);
        let shared = items.iter().filter(|item| item.share().is_some());
        assert_eq!(shared.count(), waiting.shared);
        let expires = waiting.expires;
        assert!(items.iter().all(|item| item.message.expires() >= expires));
    }
}
