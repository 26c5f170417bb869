//! Queues that nobody empties any more: of Sessions that have ended, and what others of their groups are to get of the
//! queues of those that have gone. Sixty thousand messages at once would hold all Clients up, so they leave by parts.
//! Until then they count as what waits in a queue.

use super::owner::Clients;
use crate::broker::counters::Dropped;
use crate::broker::passing::{GivenBack, Returned};
use crate::ids::SessionId;

impl Clients {
    /// Some are left.
    #[inline]
    pub fn has_remains(&self) -> bool {
        !self.remains.is_empty()
    }

    /// Takes the next message out. `Some((_, None))`: it was for nobody, and is counted as lost.
    pub fn next_remains(&mut self) -> Option<(SessionId, Option<Returned>)> {
        let (session, stored, item) = self.remains.take_next()?;
        self.queued_bytes -= item.leave();
        let Some(share) = item.share() else {
            self.counters.drop_messages(Dropped::SessionEnded, 1);
            return Some((session, None));
        };
        let number = item.number;
        let returned = Returned {
            share,
            message: item.message,
            given_back: stored.map(|session| GivenBack { session, number }),
            came: None,
        };
        Some((session, Some(returned)))
    }

    /// The same, if it is one that the store forgets in this turn with its Session. They come first.
    pub fn next_forgotten(&mut self) -> Option<(SessionId, Option<Returned>)> {
        match self.remains.next_is_forgotten() {
            true => self.next_remains(),
            false => None,
        }
    }
}
