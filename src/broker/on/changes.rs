//! Changes for the store: they leave at the end of a turn, and answers that confirm them wait until they are kept.

use crate::broker::event::{Output, PeerMessage, Settles};
use crate::broker::outputs::Outputs;
use crate::broker::settling::{Asked, Resolved, Waiting};
use crate::broker::shard::Shard;
use crate::ids::ShardId;

impl Shard {
    /// Where the changes stand, for [`Shard::needed_since`].
    #[inline]
    pub(in crate::broker) fn mark(&self) -> u64 {
        self.clients.changes().noted() + self.topics.changes().noted()
    }

    /// The number up to which changes must be kept before an answer may confirm what has changed since `mark`. 0 if
    /// nothing has changed.
    #[inline]
    pub(in crate::broker) fn needed_since(&self, mark: u64) -> u64 {
        if self.mark() == mark {
            return 0;
        }
        match self.are_changes_left() {
            true => self.clients.sequence(),
            // They have left in this turn.
            false => self.clients.sequence() - 1,
        }
    }

    #[inline]
    fn are_changes_left(&self) -> bool {
        self.clients.changes().count() + self.topics.changes().count() > 0
    }

    /// The changes of this turn leave, if there are any: at its end, and before a QoS 2 message of a stored Session
    /// crosses, so that the store never has what followed from it without knowing of the message itself.
    #[inline(always)]
    pub(in crate::broker) fn hand_out_changes(&mut self, out: &mut Outputs) {
        if self.are_changes_left() {
            self.push_changes(out);
        }
    }

    #[inline(never)]
    fn push_changes(&mut self, out: &mut Outputs) {
        let sequence = self.clients.sequence();
        let mut changes = self.clients.take_changes();
        changes.append(&mut self.topics.take_changes());
        self.clients.next_sequence();
        out.push(Output::Changes { sequence, changes });
    }

    /// The turn ends: peers hear which of their messages are settled.
    #[inline]
    pub(in crate::broker) fn report_settled(&mut self, out: &mut Outputs) {
        if !self.peers.settling().owes() {
            return;
        }
        let kept = self.clients.kept();
        while let Some((to, of, upto, refused)) = self.peers.settling_mut().next_settled(kept) {
            let message = PeerMessage::Settled { of, upto, refused };
            out.push(Output::Peer { to, message });
        }
    }

    /// The acknowledgement of a message waits for the word of the shards it crosses to: one of them may store what
    /// follows, and the owner of its topic keeps a retained message for all.
    #[inline]
    pub(in crate::broker) fn crossing_waits(&self, retain: bool) -> bool {
        self.peers.must_ask() || (retain && !self.peers.are_none() && self.topics.stores())
    }

    /// A message came from a peer that waits for our word, and has been routed since `mark`. `taken`: by a subscriber
    /// here, or there was none any more.
    pub(in crate::broker) fn owe(&mut self, peer: ShardId, kind: Settles, mark: u64, taken: bool) {
        let after = self.needed_since(mark);
        let settling = self.peers.settling_mut();
        let (token, refused) = match settling.has_asked() {
            true => (
                settling.await_asked(Waiting::Peer(peer, kind), taken),
                false,
            ),
            false => (0, !taken),
        };
        settling.owe(peer, kind, after, token, refused);
        settling.end_asking();
    }

    /// A message that crossed was given back, and has been routed again since `mark`: its publisher's acknowledgement
    /// waits for that too.
    pub(in crate::broker) fn wait_further(&mut self, of: Asked, mark: u64) {
        let after = self.needed_since(mark);
        let answer = self.peers.settling_mut().ask_further(of, after);
        if let Some((of, token)) = answer {
            self.clients.hold_longer(&of, token, after);
        }
    }

    /// A peer has settled messages of ours: acknowledgements that waited for it leave.
    pub(in crate::broker) fn on_settled(
        &mut self,
        from: ShardId,
        kind: Settles,
        upto: u64,
        refused: &[u64],
        out: &mut Outputs,
    ) {
        let mut resolved = Vec::new();
        let settling = self.peers.settling_mut();
        settling.on_settled(from, kind, upto, refused, &mut resolved);
        for Resolved { token, of, taken } in resolved {
            if let Some(ending) = self.clients.settle(&of, token, taken) {
                self.close(of.connection, ending, out);
            }
        }
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
