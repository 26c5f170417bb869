//! What a turn may cost. A client that subscribes to all combinations of `a` and `+` makes every message to `a/a/a/…` visit each
//! of them in the trie, and one read holds hundreds of messages: all others would wait for seconds. So work is counted, in nodes of the trie
//! visited, and who has had his share goes on in the next turn:
//!
//! - a connection that reached `limits::TOIL_OF_READ` with the packets of one read, or [`limits::TOIL_OF_MESSAGE`] once the turn has
//!   used up [`limits::TOIL_OF_TURN`] in all, is paced for a turn, and its other packets wait. At least one is handled each time.
//! - the publisher of a message from another shard that costs more than [`limits::TOIL_OF_MESSAGE`] here is paced for a turn, so that
//!   the lane in front of everyone's messages does not fill with such;
//! - a shard whose turn has used up its share takes nothing more from its lanes ([`Shard::is_weary`]).
//!
//! Ordinary messages visit some ten nodes and meet none of this.

use super::event::{Output, PeerMessage};
use super::outputs::Outputs;
use super::shard::Shard;
use crate::ids::{ConnectionId, ShardId};
use crate::limits;
use crate::session::connection::Waiter;

/// The work of the turn under way, and who has had his share.
#[derive(Default)]
pub(super) struct Toil {
    done: usize,
    /// Those who wait since this turn, and those who go on at its end.
    deferred: Vec<Waiter>,
    ready: Vec<Waiter>,
}

impl Toil {
    pub fn add(&mut self, visits: usize) {
        self.done = self.done.saturating_add(visits);
    }

    pub fn done(&self) -> usize {
        self.done
    }

    /// A connection that came from `before` to here with its packets has had its share of this turn.
    #[inline]
    pub fn is_enough(&self, before: usize) -> bool {
        let own = self.done - before;
        own > limits::TOIL_OF_READ
            || (own > limits::TOIL_OF_MESSAGE && self.done > limits::TOIL_OF_TURN)
    }

    /// Someone waits for the next turn.
    pub fn has_deferred(&self) -> bool {
        !self.deferred.is_empty() || !self.ready.is_empty()
    }
}

impl Shard {
    /// This turn has had its share of work: what lies in lanes waits for the next one.
    pub fn is_weary(&self) -> bool {
        self.toil.done > limits::TOIL_OF_TURN
    }

    /// Leaves what a connection of this shard sent beyond its share for the next turn.
    pub(super) fn defer(&mut self, id: ConnectionId, out: &mut Outputs) {
        self.pace(id, out);
        self.withhold(id);
        self.toil.deferred.push(Waiter {
            shard: self.id,
            connection: id,
        });
    }

    /// A message of another shard's connection cost so many visits here.
    pub(super) fn defer_if_costly(
        &mut self,
        visits: usize,
        shard: ShardId,
        connection: Option<ConnectionId>,
        out: &mut Outputs,
    ) {
        let Some(connection) = connection.filter(|_| visits > limits::TOIL_OF_MESSAGE) else {
            return;
        };
        let message = PeerMessage::Pace {
            connection,
            pause: true,
        };
        out.push(Output::Peer { to: shard, message });
        self.toil.deferred.push(Waiter { shard, connection });
    }

    /// The end of a turn: who was deferred in the one before goes on.
    pub(super) fn begin_next_toil(&mut self, out: &mut Outputs) {
        self.toil.done = 0;
        let toil = &mut self.toil;
        std::mem::swap(&mut toil.deferred, &mut toil.ready);
        let mut going_on = std::mem::take(&mut toil.deferred);
        for waiter in going_on.drain(..) {
            self.release(waiter, out);
        }
        self.toil.deferred = going_on;
    }
}
