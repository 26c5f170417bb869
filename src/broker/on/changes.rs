//! Changes for the store: they leave at the end of a turn, and answers that confirm them wait until they are kept.

use crate::broker::event::Output;
use crate::broker::outputs::Outputs;
use crate::broker::shard::Shard;

impl Shard {
    /// Where the changes stand, for [`Shard::needed_since`].
    #[inline]
    pub(in crate::broker) fn mark(&self) -> usize {
        self.clients.changes().count() + self.topics.changes().count()
    }

    /// The number up to which changes must be kept before an answer may confirm what has changed since `mark`. 0 if
    /// nothing has changed.
    #[inline]
    pub(in crate::broker) fn needed_since(&self, mark: usize) -> u64 {
        if self.mark() > mark {
            self.clients.sequence()
        } else {
            0
        }
    }

    /// The turn ends: its changes leave, if there are any.
    #[inline]
    pub(in crate::broker) fn hand_out_changes(&mut self, out: &mut Outputs) {
        if self.mark() == 0 {
            return;
        }
        let sequence = self.clients.sequence();
        let mut changes = self.clients.take_changes();
        changes.append(&mut self.topics.take_changes());
        self.clients.next_sequence();
        out.push(Output::Changes { sequence, changes });
    }

    /// The store has kept all changes up to `sequence`.
    pub(in crate::broker) fn on_kept(&mut self, sequence: u64, out: &mut Outputs) {
        while let Some((id, ending)) = self.clients.release_answers(sequence) {
            self.close(id, ending, out);
        }
        while let Some(session) = self.clients.next_fresh() {
            self.pump(session);
        }
    }
}
