//! What the state of the store means to Clients: who waits while much waits for the disk, and what is refused while the
//! disk is full.

use super::owner::Clients;
use crate::broker::outputs::Outputs;
use crate::broker::passing::Subscriber;
use crate::broker::storage::{Condition, StoreState};
use crate::ids::ConnectionId;
use crate::limits;

impl Clients {
    /// How the store is.
    pub fn store_state(&self) -> StoreState {
        self.storage.state
    }

    /// No room is left for what is to be stored.
    #[inline]
    pub fn is_store_full(&self) -> bool {
        self.storage.state.condition == Condition::Full
    }

    /// Too much waits for the disk.
    #[inline]
    pub fn is_store_behind(&self) -> bool {
        self.storage.state.behind
    }

    /// The store is in this state now.
    pub fn set_store_state(&mut self, state: StoreState) {
        self.storage.state = state;
        self.book_waiting(state.waiting_bytes);
        if !state.behind {
            for id in std::mem::take(&mut self.storage.paced) {
                self.unpace(id);
            }
        }
    }

    /// What waits for the disk is memory that Clients make the broker hold. It is nobody's in particular, since one
    /// frame has changes of many.
    fn book_waiting(&mut self, bytes: usize) {
        let bytes = if bytes < limits::STORE_WAITING_BOOKED {
            0
        } else {
            bytes
        };
        match self.storage.booked {
            None if bytes == 0 => {}
            None => {
                let owner = self.book.open("what waits for the disk", None);
                self.book.add(owner, bytes);
                self.storage.booked = Some((owner, bytes));
            }
            Some((owner, before)) => {
                self.book.change(owner, before, bytes);
                self.storage.booked = Some((owner, bytes));
                if bytes == 0 {
                    self.book.close(owner);
                    self.storage.booked = None;
                }
            }
        }
    }

    /// Stops reading from a publisher while the store is behind.
    pub fn wait_for_store(&mut self, id: ConnectionId, out: &mut Outputs) {
        if !self.storage.paced.contains(&id) {
            self.storage.paced.push(id);
            self.pace(id, out);
            self.withhold(id);
        }
    }

    /// A message for this subscriber would be stored. Of a group nobody has been chosen yet.
    pub fn is_stored(&self, subscriber: Subscriber) -> bool {
        match subscriber {
            Subscriber::Session(id) => self
                .sessions
                .get(id)
                .is_some_and(|session| session.stored.is_some()),
            Subscriber::Group(_) => true,
        }
    }
}
