//! What the shards have agreed on: which of our filters all of them know, how far their clocks are, which lanes are
//! full.
//!
//! Lanes are FIFO, and everything here rests on it: once a peer has answered `FiltersInForce`, every message it sends
//! later was matched with the filter, and everything it sent before lies in front of the answer.

use super::event::{Output, PeerMessage};
use super::outputs::Outputs;
use super::passing::RetainVersion;
use super::settling::Settling;
use crate::ids::{ConnectionId, ShardId};
use crate::limits;
use crate::sorted::Sorted;
use crate::time::Time;

/// A shard's knowledge of its peers.
pub(super) struct Peers {
    id: ShardId,
    shards: usize,
    /// Lamport clock: at least the clock of every retained version seen, and of the calendar.
    clock: u64,
    /// Seconds since 1970 at the shard's time 0; 0: not known.
    calendar_zero_s: u64,
    /// Highest clock each peer is known to have passed.
    clocks: Vec<u64>,
    /// When to ask for clocks again.
    clock_due: Option<Time>,
    /// Number of the last `FilterAdded` sent.
    sequence: u64,
    /// Number up to which each peer has our filters in force.
    acknowledged: Vec<u64>,
    /// Lanes that have spilled over, and the publishers that wait for each.
    full_lanes: u64,
    lane_waiters: Vec<Sorted<ConnectionId, ()>>,
    /// Some shard has stored Sessions, and this shard has told the others that it has.
    some_store: bool,
    stores: bool,
    /// Shards whose memory is short, or nearly.
    tight: u64,
    /// What is owed for messages that crossed.
    settling: Settling,
}

impl Peers {
    pub fn new(id: ShardId, shards: usize) -> Peers {
        Peers {
            id,
            shards,
            clock: 0,
            calendar_zero_s: 0,
            clocks: vec![0; shards],
            clock_due: None,
            sequence: 0,
            acknowledged: vec![0; shards],
            full_lanes: 0,
            lane_waiters: vec![Sorted::None; shards],
            some_store: false,
            stores: false,
            tight: 0,
            settling: Settling::new(shards),
        }
    }

    /// Lanes that publishers wait for; for tests.
    pub fn lanes_waited_for(&self) -> usize {
        let lanes = self.lane_waiters.iter();
        lanes.filter(|lane| !lane.is_empty()).count()
    }

    /// All shards but this one.
    pub fn others(&self) -> impl Iterator<Item = ShardId> + use<> {
        let own = self.id;
        (0..self.shards as u8)
            .map(ShardId)
            .filter(move |shard| *shard != own)
    }

    /// The only shard is this one.
    #[inline]
    pub fn are_none(&self) -> bool {
        self.shards == 1
    }

    /// A filter has its first subscriber on this shard. Every peer must know it before SUBACK.
    pub fn tell_filter_added(&mut self, filter: &str, out: &mut Outputs) {
        let sequence = self.next_sequence();
        for to in self.others() {
            let message = PeerMessage::FilterAdded {
                filter: filter.into(),
                sequence,
            };
            out.push(Output::Peer { to, message });
        }
    }

    /// This shard has a stored Session. Every peer must know before SUBACK.
    pub fn tell_stores(&mut self, out: &mut Outputs) {
        if self.stores || self.are_none() {
            return;
        }
        (self.stores, self.some_store) = (true, true);
        let sequence = self.next_sequence();
        for to in self.others() {
            let message = PeerMessage::Stores { sequence };
            out.push(Output::Peer { to, message });
        }
    }

    /// A peer has stored Sessions.
    pub fn note_stores(&mut self) {
        self.some_store = true;
    }

    /// Memory is short on this shard, or nearly, or no longer: tells the peers, if that is new.
    #[inline]
    pub fn tell_tight(&mut self, tight: bool, out: &mut Outputs) {
        if (self.tight & self.id.bit() != 0) != tight {
            self.note_tight(self.id, tight);
            for to in self.others() {
                let message = PeerMessage::Tight { on: tight };
                out.push(Output::Peer { to, message });
            }
        }
    }

    /// Memory is short on a shard, or nearly, or no longer.
    pub fn note_tight(&mut self, shard: ShardId, tight: bool) {
        match tight {
            true => self.tight |= shard.bit(),
            false => self.tight &= !shard.bit(),
        }
    }

    /// Messages that cross need the word of their receivers: one of them may store what follows, or refuse it.
    #[inline]
    pub fn must_ask(&self) -> bool {
        self.some_store || self.tight != 0
    }

    /// What is owed for messages that crossed.
    #[inline]
    pub fn settling(&self) -> &Settling {
        &self.settling
    }

    #[inline]
    pub fn settling_mut(&mut self) -> &mut Settling {
        &mut self.settling
    }

    /// A filter has lost its last subscriber on this shard.
    pub fn tell_filter_removed(&self, filter: &str, out: &mut Outputs) {
        for to in self.others() {
            let message = PeerMessage::FilterRemoved {
                filter: filter.into(),
            };
            out.push(Output::Peer { to, message });
        }
    }

    /// Asks every peer to answer when it has handled everything up to here. Returns the sequence to wait for.
    pub fn ask_in_force(&mut self, out: &mut Outputs) -> u64 {
        let sequence = self.next_sequence();
        for to in self.others() {
            let message = PeerMessage::AreFiltersInForce { sequence };
            out.push(Output::Peer { to, message });
        }
        sequence
    }

    fn next_sequence(&mut self) -> u64 {
        self.sequence += 1;
        self.acknowledged[self.id.index()] = self.sequence;
        self.sequence
    }

    /// The last sequence sent that peers acknowledge.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The sequence up to which every peer has our filters in force.
    pub fn in_force(&self) -> u64 {
        self.acknowledged.iter().copied().min().unwrap_or(u64::MAX)
    }

    /// A peer has our filters up to there in force.
    pub fn note_in_force(&mut self, from: ShardId, sequence: u64) {
        self.acknowledged[from.index()] = sequence;
    }

    /// A lane has spilled over.
    pub fn note_full(&mut self, to: ShardId) {
        self.full_lanes |= to.bit();
    }

    /// A lane is spilled over.
    pub fn is_full(&self, to: ShardId) -> bool {
        self.full_lanes & to.bit() != 0
    }

    /// A lane is served again: the connections that waited for it.
    pub fn note_served(&mut self, to: ShardId) -> Vec<ConnectionId> {
        self.full_lanes &= !to.bit();
        self.lane_waiters[to.index()].take_keys()
    }

    /// A connection made this shard send to `shards`, so it waits for those of their lanes that are full. Returns the
    /// number of lanes that it did not wait for before.
    #[inline]
    pub fn wait_for_lanes(&mut self, id: ConnectionId, shards: u64) -> usize {
        match self.full_lanes & shards {
            0 => 0,
            full_lanes => self.wait_for(id, full_lanes),
        }
    }

    fn wait_for(&mut self, id: ConnectionId, full_lanes: u64) -> usize {
        let mut more = 0;
        for to in self.others() {
            let used = full_lanes & to.bit() != 0;
            if used && self.is_full(to) && !self.lane_waiters[to.index()].contains(id) {
                self.lane_waiters[to.index()].insert(id, ());
                more += 1;
            }
        }
        more
    }

    /// The clock of the machine says so from now on.
    pub fn set_calendar(&mut self, zero_s: u64) {
        self.calendar_zero_s = zero_s;
    }

    /// The version of a retained message written here: above every version seen. As it is above the calendar's, too, it
    /// tells when the message was written.
    pub fn next_version(&mut self, now: Time) -> RetainVersion {
        let calendar = match self.calendar_zero_s {
            0 => 0,
            zero_s => RetainVersion::clock_at(zero_s + now.0 / 1000),
        };
        self.clock = (self.clock + 1).max(calendar);
        RetainVersion {
            clock: self.clock,
            shard: self.id,
        }
    }

    /// A retained message of a peer has come.
    pub fn note_version(&mut self, from: ShardId, version: RetainVersion) {
        self.clock = self.clock.max(version.clock);
        self.clocks[from.index()] = version.clock;
    }

    /// Versions given from now on are above this clock.
    pub fn start_above(&mut self, clock: u64) {
        self.clock = self.clock.max(clock);
    }

    /// A peer asks for our clock and tells its own.
    pub fn answer_clock(&mut self, asked_at: u64) -> u64 {
        self.clock = self.clock.max(asked_at);
        self.clock
    }

    /// A peer tells its clock. Returns the clock that every peer has passed.
    pub fn note_clock(&mut self, from: ShardId, clock: u64) -> u64 {
        self.clocks[from.index()] = clock;
        let clocks = self.clocks.iter().enumerate();
        let others = clocks.filter(|(shard, _)| *shard != self.id.index());
        others.map(|(_, clock)| *clock).min().unwrap_or(u64::MAX)
    }

    /// There are marks of deletions, so the peers' clocks must be asked for soon.
    pub fn arm_clock(&mut self, now: Time) {
        if self.clock_due.is_none() {
            self.clock_due = Some(now + limits::TIMER_GRAIN_MS);
        }
    }

    /// When to ask for clocks.
    pub fn clock_due(&self) -> Option<Time> {
        self.clock_due
    }

    /// It is time to ask for clocks; not again until [`Peers::arm_clock`].
    pub fn take_clock_alarm(&mut self, now: Time) -> bool {
        let due = self.clock_due.is_some_and(|due| due <= now);
        if due {
            self.clock_due = None;
        }
        due
    }

    /// Asks all peers for their clocks.
    pub fn ask_clocks(&self, out: &mut Outputs) {
        for to in self.others() {
            let message = PeerMessage::ClockRequest { clock: self.clock };
            out.push(Output::Peer { to, message });
        }
    }
}
