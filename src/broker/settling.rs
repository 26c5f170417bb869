//! What shards owe each other for messages that crossed: word that they are kept, or were refused.
//!
//! A QoS 1 or 2 message that crosses carries `needs` where a Session of another shard may be stored, or memory is short
//! there. Both ends count such messages of their lane, so nothing more than a number is needed to name one. When the
//! receiver has kept what followed from its messages, it says so once a turn with one number: `Settled { upto }`. The
//! publisher's acknowledgement waits for it.
//!
//! ```text
//! publisher's shard              owner of a group                home of the member
//! PUBLISH ── Publish, 1st ─────► picks ── Deliver, 1st ────────► queue, change
//!                                                                Kept
//!                                         ◄──────────────────── Settled { Deliveries, 1 }
//!         ◄── Settled { Publishes, 1 } ──
//! PUBACK
//! ```
//!
//! The two kinds are counted apart: a `Publish` may wait for a `Deliver`, a `Deliver` waits for its home alone. So no
//! circle of waiting can come up, whichever shards own groups.

use super::event::Settles;
use super::passing::Acknowledgement;
use crate::ids::ShardId;
use hashbrown::HashMap;
use smallvec::SmallVec;
use std::collections::VecDeque;

/// A message that crossed, by its number in its lane.
pub type Asked = (ShardId, Settles, u64);

/// Who waits for messages that crossed.
#[derive(Clone, Copy, Debug)]
pub enum Waiting {
    /// The answer to a PUBLISH of this shard.
    Answer(Acknowledgement),
    /// A peer, for a message that was passed on.
    Peer(ShardId, Settles),
}

/// An acknowledgement whose messages are settled now.
#[derive(Clone, Copy, Debug)]
pub struct Resolved {
    pub token: u64,
    pub of: Acknowledgement,
    /// A subscriber has taken the message, somewhere.
    pub taken: bool,
}

/// Messages under way for one that waits.
struct Open {
    left: u32,
    taken: bool,
    whose: Waiting,
}

/// Messages that came by a lane and are not settled, up to a number.
struct Owed {
    upto: u64,
    /// The changes that must be kept.
    after: u64,
    /// 0: nothing of it was passed on, or that is settled.
    token: u64,
    refused: bool,
}

/// One kind of messages between this shard and a peer.
#[derive(Default)]
struct Stream {
    sent: u64,
    settled: u64,
    /// Of those sent and not settled: number and token.
    awaited: VecDeque<(u64, u64)>,
    received: u64,
    owed: VecDeque<Owed>,
}

/// See the module.
#[derive(Default)]
pub struct Settling {
    /// By peer and kind.
    streams: Vec<[Stream; 2]>,
    /// The message being routed asks peers for their word.
    asking: bool,
    /// What has crossed of it.
    asked: SmallVec<[Asked; 4]>,
    open: HashMap<u64, Open>,
    last_token: u64,
    /// Entries of all `owed`.
    owed: usize,
}

impl Settling {
    pub fn new(shards: usize) -> Settling {
        let mut streams = Vec::new();
        streams.resize_with(shards, Default::default);
        Settling {
            streams,
            ..Settling::default()
        }
    }

    fn stream(&mut self, peer: ShardId, kind: Settles) -> &mut Stream {
        &mut self.streams[peer.index()][kind as usize]
    }

    /// The message about to be routed asks peers for their word.
    pub fn begin_asking(&mut self) {
        self.asking = true;
    }

    #[inline]
    pub fn is_asking(&self) -> bool {
        self.asking
    }

    /// The message under way asks, and has crossed.
    #[inline]
    pub fn has_asked(&self) -> bool {
        !self.asked.is_empty()
    }

    /// The message under way crosses to this peer.
    pub fn ask(&mut self, to: ShardId, kind: Settles) {
        let stream = self.stream(to, kind);
        stream.sent += 1;
        let number = stream.sent;
        self.asked.push((to, kind, number));
    }

    /// An answer waits for all that has crossed up to now.
    pub fn ask_for_all(&mut self) {
        for (peer, streams) in self.streams.iter().enumerate() {
            for kind in Settles::BOTH {
                let stream = &streams[kind as usize];
                if stream.sent > stream.settled {
                    self.asked.push((ShardId(peer as u8), kind, stream.sent));
                }
            }
        }
    }

    /// The message is routed, and did not cross, or nobody waits for it.
    #[inline]
    pub fn end_asking(&mut self) {
        if self.asking {
            self.asking = false;
            self.asked.clear();
        }
    }

    /// Who waits for the message that has been routed, and whether someone here has `taken` it. Returns a token that
    /// [`Settling::on_settled`] will name.
    pub fn await_asked(&mut self, whose: Waiting, taken: bool) -> u64 {
        self.asking = false;
        self.last_token += 1;
        let token = self.last_token;
        let asked = std::mem::take(&mut self.asked);
        let open = Open {
            left: asked.len() as u32,
            taken,
            whose,
        };
        for (to, kind, number) in asked {
            let awaited = &mut self.stream(to, kind).awaited;
            awaited.push_back((number, token));
        }
        self.open.insert(token, open);
        token
    }

    /// So many messages of a peer have asked for our word.
    pub fn received(&self, peer: ShardId, kind: Settles) -> u64 {
        self.streams[peer.index()][kind as usize].received
    }

    /// A message of ours was given back by the peer that it had crossed to, and has been routed again: who waits for it
    /// waits for what has crossed now too, and for the changes up to `after`. Returns an answer that does, with its
    /// token.
    pub fn ask_further(
        &mut self,
        (from, kind, number): Asked,
        after: u64,
    ) -> Option<(Acknowledgement, u64)> {
        let asked = std::mem::take(&mut self.asked);
        self.asking = false;
        let mut awaited = self.stream(from, kind).awaited.iter();
        let (_, token) = *awaited.find(|(of, _)| *of == number)?;
        let open = self.open.get_mut(&token)?;
        open.left += asked.len() as u32;
        let whose = open.whose;
        for (to, kind, number) in asked {
            let awaited = &mut self.stream(to, kind).awaited;
            awaited.push_back((number, token));
        }
        match whose {
            Waiting::Answer(of) => Some((of, token)),
            Waiting::Peer(peer, kind) => {
                let mut owed = self.stream(peer, kind).owed.iter_mut();
                if let Some(owed) = owed.find(|owed| owed.token == token) {
                    owed.after = owed.after.max(after);
                }
                None
            }
        }
    }

    /// A message of a peer needs our word: once the changes up to `after` are kept and, with a `token`, once what was
    /// passed on is settled.
    pub fn owe(&mut self, peer: ShardId, kind: Settles, after: u64, token: u64, refused: bool) {
        let stream = self.stream(peer, kind);
        stream.received += 1;
        let upto = stream.received;
        let plain = |owed: &Owed| owed.token == 0 && !owed.refused;
        match stream.owed.back_mut() {
            Some(last) if last.after == after && plain(last) && token == 0 && !refused => {
                last.upto = upto;
            }
            _ => {
                stream.owed.push_back(Owed {
                    upto,
                    after,
                    token,
                    refused,
                });
                self.owed += 1;
            }
        }
    }

    /// Some peer waits for our word.
    #[inline]
    pub fn owes(&self) -> bool {
        self.owed > 0
    }

    /// The next peer that can be told something, with all changes up to `kept`: up to which number its messages are
    /// settled, and which of them were refused.
    pub fn next_settled(&mut self, kept: u64) -> Option<(ShardId, Settles, u64, Vec<u64>)> {
        for (peer, streams) in self.streams.iter_mut().enumerate() {
            for kind in Settles::BOTH {
                let (mut settled, mut refused) = (0, Vec::new());
                let owed = &mut streams[kind as usize].owed;
                while let Some(next) = owed.front()
                    && next.after <= kept
                    && next.token == 0
                {
                    settled = next.upto;
                    if next.refused {
                        refused.push(next.upto);
                    }
                    owed.pop_front();
                    self.owed -= 1;
                }
                if settled > 0 {
                    return Some((ShardId(peer as u8), kind, settled, refused));
                }
            }
        }
        None
    }

    /// A peer has settled our messages up to a number, and has refused some. Appends the acknowledgements that waited
    /// for no other.
    pub fn on_settled(
        &mut self,
        from: ShardId,
        kind: Settles,
        upto: u64,
        refused: &[u64],
        resolved: &mut Vec<Resolved>,
    ) {
        let stream = self.stream(from, kind);
        stream.settled = stream.settled.max(upto);
        while let Some((number, token)) = self.stream(from, kind).awaited.front().copied()
            && number <= upto
        {
            self.stream(from, kind).awaited.pop_front();
            let taken = refused.binary_search(&number).is_err();
            self.note_settled(token, taken, resolved);
        }
    }

    fn note_settled(&mut self, token: u64, taken: bool, resolved: &mut Vec<Resolved>) {
        let Some(open) = self.open.get_mut(&token) else {
            return;
        };
        open.left -= 1;
        open.taken |= taken;
        if open.left > 0 {
            return;
        }
        let Some(Open { taken, whose, .. }) = self.open.remove(&token) else {
            return;
        };
        match whose {
            Waiting::Answer(of) => resolved.push(Resolved { token, of, taken }),
            Waiting::Peer(peer, kind) => {
                let mut owed = self.stream(peer, kind).owed.iter_mut();
                if let Some(owed) = owed.find(|owed| owed.token == token) {
                    owed.token = 0;
                    owed.refused = !taken;
                }
            }
        }
    }

    /// Messages whose word is awaited, and messages that others await our word for; for tests.
    pub fn counts(&self) -> (usize, usize) {
        (self.open.len(), self.owed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: ShardId = ShardId(1);
    const B: ShardId = ShardId(2);

    #[test]
    fn numbers_of_one_turn_become_one_word() {
        let mut settling = Settling::new(3);
        for _ in 0..5 {
            settling.owe(A, Settles::Publishes, 7, 0, false);
        }
        // They are kept as one too, however many a turn has.
        assert_eq!(settling.stream(A, Settles::Publishes).owed.len(), 1);
        settling.owe(A, Settles::Publishes, 7, 0, true);
        settling.owe(A, Settles::Publishes, 7, 0, false);
        settling.owe(A, Settles::Publishes, 9, 0, false);
        assert_eq!(settling.next_settled(6), None);
        let word = Some((A, Settles::Publishes, 7, vec![6]));
        assert_eq!(settling.next_settled(8), word);
        assert!(settling.owes());
        let word = Some((A, Settles::Publishes, 8, vec![]));
        assert_eq!(settling.next_settled(9), word);
        assert!(!settling.owes());
    }

    /// Each shard owns a group with a member at the other, and publishes to the other's: each of the four messages is
    /// behind one that waits.
    #[test]
    fn two_owners_that_wait_for_each_other_come_to_an_end() {
        let mut shards = [Settling::new(2), Settling::new(2)];
        let id = |shard: usize| ShardId(shard as u8);
        for own in 0..2 {
            // Its Publish crosses and is passed back as a Deliver.
            shards[own].ask(id(1 - own), Settles::Publishes);
            shards[own].asked.clear();
            let there = &mut shards[1 - own];
            there.ask(id(own), Settles::Deliveries);
            let token = there.await_asked(Waiting::Peer(id(own), Settles::Publishes), false);
            there.owe(id(own), Settles::Publishes, 0, token, false);
            shards[own].owe(id(1 - own), Settles::Deliveries, 0, 0, false);
        }
        for _ in 0..2 {
            for own in 0..2 {
                while let Some((to, kind, upto, refused)) = shards[own].next_settled(0) {
                    let mut resolved = Vec::new();
                    shards[to.index()].on_settled(id(own), kind, upto, &refused, &mut resolved);
                }
            }
        }
        assert!(shards.iter().all(|shard| shard.counts() == (0, 0)));
    }

    #[test]
    fn a_message_that_someone_took_is_taken() {
        for (here, by_a, by_b, taken) in [
            (false, false, false, false),
            (true, false, false, true),
            (false, false, true, true),
        ] {
            let mut settling = Settling::new(3);
            settling.ask(A, Settles::Publishes);
            settling.ask(B, Settles::Publishes);
            settling.await_asked(Waiting::Peer(A, Settles::Deliveries), here);
            settling.owe(A, Settles::Deliveries, 0, settling.last_token, false);
            let mut resolved = Vec::new();
            for (peer, took) in [(A, by_a), (B, by_b)] {
                assert_eq!(settling.next_settled(0), None);
                let refused: &[u64] = if took { &[] } else { &[1] };
                settling.on_settled(peer, Settles::Publishes, 1, refused, &mut resolved);
            }
            let refused = if taken { vec![] } else { vec![1] };
            let word = Some((A, Settles::Deliveries, 1, refused));
            assert_eq!(settling.next_settled(0), word);
        }
    }
}
