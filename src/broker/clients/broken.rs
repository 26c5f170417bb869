//! Invariants of this room that did not hold. Each waits until the input that met it has been handled; then
//! `on::broken` ends what it concerns, and nothing else.

use super::owner::{Clients, Concerned};
use crate::broker::happening::{Happening, LogLevel};
use crate::broker::outputs::Outputs;
use crate::invariant::Broken;
use std::net::SocketAddr;

impl Clients {
    /// An invariant does not hold.
    #[cold]
    #[inline(never)]
    pub(super) fn note_broken(&mut self, concerned: Concerned, broken: Broken) {
        self.broken.push((concerned, broken));
    }

    /// Some did not hold while the input was handled.
    #[inline]
    pub fn has_broken(&self) -> bool {
        !self.broken.is_empty()
    }

    /// One of them.
    pub fn next_broken(&mut self) -> Option<(Concerned, Broken)> {
        self.broken.pop()
    }

    /// Counts one and tells of it.
    pub fn report_broken(
        &mut self,
        broken: Broken,
        client_id: Option<Box<str>>,
        address: Option<SocketAddr>,
        out: &mut Outputs,
    ) {
        self.counters.broken_invariants += 1;
        out.tell(self.settings.logs, LogLevel::Error, || Happening::Broken {
            broken,
            client_id,
            address,
        });
    }
}
