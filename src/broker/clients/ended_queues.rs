//! The queues that nobody empties any more. `remains` has what becomes of them.

use crate::buffer::account::Booked;
use crate::ids::{SessionId, StoredSession};
use crate::session::{Queue, Queued};
use std::collections::VecDeque;

/// What is left of one queue.
pub(super) struct Remains {
    pub session: SessionId,
    /// By what name a store has its messages. `None`: not at all, or no more.
    pub stored: Option<StoredSession>,
    /// The store hears in this turn that the Session has ended, and forgets the messages with it: they are handed out
    /// in this turn too.
    pub is_forgotten: bool,
    pub queue: Queue,
    /// Counts [`Queue::own_bytes`] for the owner of the Session.
    pub booked: Booked,
}

/// Those of all Sessions, the oldest first; but see [`AllRemains::forget_stored`].
#[derive(Default)]
pub(super) struct AllRemains(VecDeque<Remains>);

impl AllRemains {
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next message is one that the store forgets in this turn.
    pub fn next_is_forgotten(&self) -> bool {
        self.0.front().is_some_and(|remains| remains.is_forgotten)
    }

    /// Adds one at the end, if it has messages.
    pub fn add(&mut self, remains: Remains) {
        if !remains.queue.is_empty() {
            self.0.push_back(remains);
        }
    }

    /// The store hears in this turn that the Session has ended, and forgets its messages: they come first. O(queues).
    pub fn forget_stored(&mut self, session: SessionId) {
        let is_of = |remains: &Remains| remains.session == session;
        let (mut first, others): (VecDeque<Remains>, VecDeque<Remains>) =
            std::mem::take(&mut self.0).into_iter().partition(is_of);
        for remains in &mut first {
            remains.stored = None;
            remains.is_forgotten = true;
        }
        first.extend(others);
        self.0 = first;
    }

    /// Takes the next message out, and says whose it was and by what name a store has it.
    pub fn take_next(&mut self) -> Option<(SessionId, Option<StoredSession>, Queued)> {
        let remains = self.0.front_mut()?;
        let (session, stored) = (remains.session, remains.stored);
        let item = remains.queue.pop()?;
        remains.booked.set(remains.queue.own_bytes());
        if remains.queue.is_empty() {
            self.0.pop_front();
        }
        Some((session, stored, item))
    }

    /// The queues, for tests.
    pub fn queues(&self) -> impl Iterator<Item = &Queue> {
        self.0.iter().map(|remains| &remains.queue)
    }

    /// Panics where what is counted is not what there is; for tests.
    pub fn check_invariants(&self) {
        for Remains {
            queue,
            booked,
            is_forgotten,
            ..
        } in &self.0
        {
            queue.check_invariants();
            // Between this turn and the next a crash could come, and they would be nobody's.
            assert!(!is_forgotten);
            assert!(!queue.is_empty());
            assert_eq!(booked.bytes(), queue.own_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::account::{Account, Arc, Total};
    use crate::ids::ShardId;
    use crate::session::Message;
    use crate::time::Time;
    use crate::wire::{QoS, TopicName};
    use std::num::NonZeroU32;
    use std::rc::Rc;

    fn session(index: u32) -> SessionId {
        SessionId {
            index,
            generation: NonZeroU32::MIN,
        }
    }

    /// The queue of a Session with messages of these numbers.
    fn remains(of: u32, account: &Arc<Account>, numbers: &[u64]) -> Remains {
        let mut queue = Queue::default();
        let topic = TopicName::new("t").expect("a Topic Name");
        for number in numbers {
            let message = Message::new(topic, b"", b"x", QoS::AtLeastOnce, false, Time::NEVER);
            queue.push(Queued {
                number: *number,
                message: Rc::new(message),
                qos: QoS::AtLeastOnce,
                retain: false,
                extras: None,
            });
        }
        Remains {
            session: session(of),
            stored: StoredSession::new(of.into(), ShardId(0)),
            booked: Booked::new(account, queue.own_bytes()),
            is_forgotten: false,
            queue,
        }
    }

    #[test]
    fn queues_end_one_after_the_other_and_none_is_lost() {
        let account = Arc::new(Account::new(Arc::new(Total::default())));
        let mut all = AllRemains::default();
        all.add(remains(1, &account, &[10]));
        all.add(remains(2, &account, &[]));
        all.add(remains(3, &account, &[30, 31]));
        all.add(remains(4, &account, &[40]));
        all.forget_stored(session(3));
        let mut came = Vec::new();
        while let Some((session, stored, item)) = all.take_next() {
            came.push((session.index, stored, item.number));
        }
        let stored = |of| StoredSession::new(of, ShardId(0));
        // The store has forgotten those of Session 3, which come first; Session 2 had none.
        let right = [
            (3, None, 30),
            (3, None, 31),
            (1, stored(1), 10),
            (4, stored(4), 40),
        ];
        assert_eq!(came, right);
        assert!(all.is_empty());
        drop(all);
        assert_eq!(account.bytes(), 0);
    }
}
