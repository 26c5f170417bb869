//! What shards say to each other: filters and their acknowledgement, messages, retained versions, pacing.
//!
//! Lanes are FIFO, and everything here rests on it: once a peer has answered `FiltersInForce`, every message it sends later was
//! matched with the filter, and everything it sent before lies in front of the answer.

use super::counters::Dropped;
use super::event::{Ending, Output, PeerMessage, RetainVersion};
use super::outputs::Outputs;
use super::passing::{AsCame, Origin, Routing, routing_of};
use super::shard::Shard;
use super::subscribe::PendingSubscribe;
use crate::ids::{ConnectionId, ShardId};
use crate::limits;
use crate::session::message::expired_on_the_way;
use crate::sorted::Sorted;
use crate::time::Time;
use crate::wire::{Publish, Run, TopicFilter, TopicName, Version};
use hashbrown::HashMap;
use std::collections::VecDeque;
use std::rc::Rc;

/// A shard's knowledge of its peers.
pub(super) struct Peers {
    /// Lamport clock: at least the clock of every retained version seen.
    clock: u64,
    /// Highest clock each peer is known to have passed.
    clocks: Vec<u64>,
    /// Number of the last `FilterAdded` sent.
    sequence: u64,
    /// Number up to which each peer has our filters in force.
    acknowledged: Vec<u64>,
    /// SUBSCRIBEs whose answer waits for peers, by rising sequence.
    awaiting: VecDeque<(ConnectionId, PendingSubscribe)>,
    /// Connections that have ended and close when their SUBSCRIBEs are answered, with how they ended.
    pub closing: HashMap<ConnectionId, Ending>,
    /// SUBSCRIBEs and UNSUBSCRIBEs whose next part waits for peers, by rising sequence.
    pub parts: VecDeque<(ConnectionId, u64)>,
    /// Lanes that have spilled over, and the publishers that wait for each.
    full_lanes: u64,
    lane_waiters: Vec<Sorted<ConnectionId, ()>>,
    /// Deleted retained messages whose mark is kept.
    pub deletion_marks: usize,
    marks: VecDeque<(Box<str>, RetainVersion)>,
    /// When to ask for clocks again.
    clock_due: Option<Time>,
}

impl Peers {
    pub fn new(shards: usize) -> Peers {
        Peers {
            clock: 0,
            clocks: vec![0; shards],
            sequence: 0,
            acknowledged: vec![0; shards],
            awaiting: VecDeque::new(),
            closing: HashMap::new(),
            parts: VecDeque::new(),
            full_lanes: 0,
            lane_waiters: vec![Sorted::None; shards],
            deletion_marks: 0,
            marks: VecDeque::new(),
            clock_due: None,
        }
    }

    /// What is held, by name; for tests.
    pub fn leftovers(&self) -> [(&'static str, usize); 4] {
        [
            ("connections that close", self.closing.len()),
            ("SUBSCRIBEs to answer", self.awaiting.len()),
            ("deletion marks", self.deletion_marks),
            (
                "lanes waited for",
                self.lane_waiters
                    .iter()
                    .filter(|lane| !lane.is_empty())
                    .count(),
            ),
        ]
    }

    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The sequence up to which every peer has our filters in force.
    pub fn in_force(&self) -> u64 {
        self.acknowledged.iter().copied().min().unwrap_or(u64::MAX)
    }

    /// SUBSCRIBEs of a connection whose answer waits, counted one by one; for tests.
    pub fn answers_awaited(&self, connection: ConnectionId) -> usize {
        let of_it = |(id, _): &&(ConnectionId, PendingSubscribe)| *id == connection;
        self.awaiting.iter().filter(of_it).count()
    }

    pub fn clock_due(&self) -> Option<Time> {
        self.clock_due
    }

    pub fn note_mark(&mut self, topic: &str, version: RetainVersion) {
        self.marks.push_back((topic.into(), version));
    }
}

impl Shard {
    fn other_shards(&self) -> impl Iterator<Item = ShardId> + use<> {
        let own = self.id;
        (0..self.shards as u8)
            .map(ShardId)
            .filter(move |shard| *shard != own)
    }

    /// The first Session of this shard has subscribed to a filter: every peer must know before SUBACK.
    pub(super) fn tell_filter_added(&mut self, filter: &str, out: &mut Outputs) {
        self.peers.sequence += 1;
        let sequence = self.peers.sequence;
        self.peers.acknowledged[self.id.index()] = sequence;
        for to in self.other_shards() {
            let message = PeerMessage::FilterAdded {
                filter: filter.into(),
                sequence,
            };
            out.push(Output::Peer { to, message });
        }
    }

    pub(super) fn tell_filter_removed(&mut self, filter: &str, out: &mut Outputs) {
        for to in self.other_shards() {
            let message = PeerMessage::FilterRemoved {
                filter: filter.into(),
            };
            out.push(Output::Peer { to, message });
        }
    }

    /// Asks every peer to tell when it has come to here. Gives the sequence to wait for.
    pub(super) fn ask_in_force(&mut self, out: &mut Outputs) -> u64 {
        self.peers.sequence += 1;
        let sequence = self.peers.sequence;
        self.peers.acknowledged[self.id.index()] = sequence;
        for to in self.other_shards() {
            let message = PeerMessage::AreFiltersInForce { sequence };
            out.push(Output::Peer { to, message });
        }
        sequence
    }

    /// Sends a message once to each shard that has subscribers, and a retained one to every shard.
    pub(super) fn send_to_peers(
        &mut self,
        routing: &mut Routing<'_>,
        shards: u64,
        origin: Origin,
        retain: Option<RetainVersion>,
        out: &mut Outputs,
    ) {
        if self.shards == 1 || (shards == 0 && retain.is_none()) {
            return;
        }
        let own_connection = self.own_connection(origin);
        for to in self.other_shards() {
            let live = shards & to.bit() != 0;
            if !live && retain.is_none() {
                continue;
            }
            if let Some(as_came) = &routing.as_came {
                let origin = own_connection.expect("it came on a connection of this shard");
                out.pack(to, origin, as_came, &mut self.pool);
                self.counters.messages_crossed += u64::from(as_came.run.packets);
                continue;
            }
            let message = PeerMessage::Publish {
                message: (**routing.message()).clone(),
                origin: own_connection,
                retain,
                live,
            };
            out.push(Output::Peer { to, message });
            self.counters.messages_crossed += 1;
        }
        if let Some(id) = own_connection {
            let used = if retain.is_some() { u64::MAX } else { shards };
            self.pace_for_full_lanes(id, used, out);
        }
    }

    /// The publisher's connection, if it is one of this shard.
    fn own_connection(&self, origin: Origin) -> Option<ConnectionId> {
        let own = origin.connection.filter(|(shard, _)| *shard == self.id);
        own.map(|(_, id)| id)
    }

    /// Stops reading from a publisher of this shard while the lane its message went into is full.
    pub(super) fn wait_for_lane(&mut self, to: ShardId, origin: Origin, out: &mut Outputs) {
        if let Some(id) = self.own_connection(origin) {
            self.pace_for_full_lanes(id, to.bit(), out);
        }
    }

    /// A connection that made this shard talk to `shards` waits while one of their lanes is full.
    pub(super) fn pace_for_full_lanes(&mut self, id: ConnectionId, shards: u64, out: &mut Outputs) {
        let full_lanes = self.peers.full_lanes & shards;
        if full_lanes == 0 {
            return;
        }
        for to in self.other_shards() {
            let full = full_lanes & to.bit() != 0;
            if full && !self.peers.lane_waiters[to.index()].contains(id) {
                self.peers.lane_waiters[to.index()].insert(id, ());
                self.pace(id, out);
            }
        }
    }

    pub(super) fn on_peer(&mut self, from: ShardId, message: PeerMessage, out: &mut Outputs) {
        assert!(from != self.id && from.index() < self.shards);
        match message {
            PeerMessage::Publish {
                message,
                origin,
                retain,
                live,
            } => {
                let message = Rc::new(message);
                let mut routing = routing_of(&message);
                if let Some(version) = retain {
                    self.peers.clock = self.peers.clock.max(version.clock);
                    self.peers.clocks[from.index()] = version.clock;
                    self.retain(&mut routing, version);
                }
                if live {
                    self.deliver_from_peer(&mut routing, from, origin, out);
                }
            }
            PeerMessage::Parcel(parcel) => {
                for (origin, version, run) in parcel.runs() {
                    self.on_packed(from, origin, version, run, out);
                }
                out.reuse_parcel(parcel, &mut self.pool);
            }
            PeerMessage::FilterAdded { filter, sequence } => {
                if let Ok(filter) = TopicFilter::new(&filter) {
                    self.trie.add_shard(filter, from);
                }
                let message = PeerMessage::FiltersInForce { sequence };
                out.push(Output::Peer { to: from, message });
            }
            PeerMessage::AreFiltersInForce { sequence } => {
                let message = PeerMessage::FiltersInForce { sequence };
                out.push(Output::Peer { to: from, message });
            }
            PeerMessage::FilterRemoved { filter } => self.trie.remove_shard(&filter, from),
            PeerMessage::FiltersInForce { sequence } => {
                self.peers.acknowledged[from.index()] = sequence;
                self.answer_joins(out);
                self.resume_unfinished();
                self.complete_subscribes(out);
            }
            PeerMessage::Share(message) => self.on_share(from, message, out),
            PeerMessage::Pace {
                connection,
                pause: true,
            } => self.pace(connection, out),
            PeerMessage::Pace {
                connection,
                pause: false,
            } => self.unpace(connection),
            PeerMessage::ClockRequest { clock } => {
                self.peers.clock = self.peers.clock.max(clock);
                let message = PeerMessage::Clock {
                    clock: self.peers.clock,
                };
                out.push(Output::Peer { to: from, message });
            }
            PeerMessage::Clock { clock } => {
                self.peers.clocks[from.index()] = clock;
                self.drop_marks();
            }
        }
    }

    /// Packets of a parcel.
    fn on_packed(
        &mut self,
        from: ShardId,
        origin: ConnectionId,
        version: Version,
        run: Run<'_>,
        out: &mut Outputs,
    ) {
        let first = run.frames().next().expect("a run has a packet");
        let publish = Publish::decode(version, &first).expect("its home has decoded it");
        let mut routing = Routing {
            topic: publish
                .topic
                .expect("what has only an alias is encoded anew"),
            passed_on: publish.properties.raw,
            payload: publish.payload,
            qos: publish.qos,
            retain: false,
            expires: Time::NEVER,
            as_came: AsCame::of(version, &publish, run),
            message: None,
        };
        self.deliver_from_peer(&mut routing, from, Some(origin), out);
    }

    /// Delivers what was published on a peer shard.
    fn deliver_from_peer(
        &mut self,
        routing: &mut Routing<'_>,
        from: ShardId,
        publisher: Option<ConnectionId>,
        out: &mut Outputs,
    ) {
        let origin = Origin {
            session: None,
            connection: publisher.map(|id| (from, id)),
        };
        let mut matches = std::mem::take(&mut self.matches);
        self.routes.matches(&self.trie, routing.topic, &mut matches);
        self.toil.add(matches.visited);
        if expired_on_the_way(routing.expires, self.now) {
            let lost = matches.local.len() as u64;
            self.counters.drop_messages(Dropped::Expired, lost);
        } else {
            self.deliver_here(routing, &matches.local, origin, out);
        }
        self.defer_if_costly(matches.visited, from, publisher, out);
        self.matches = matches;
    }

    /// Every peer has the filters of a SUBSCRIBE in force, and every owner its members.
    pub(super) fn is_in_force(&self, pending: &PendingSubscribe) -> bool {
        self.peers.in_force() >= pending.sequence && self.shares.has_joined(pending.ticket)
    }

    /// Leaves a SUBSCRIBE of this connection until its filters are in force everywhere.
    pub(super) fn await_in_force(&mut self, id: ConnectionId, pending: PendingSubscribe) {
        if let Some(connection) = self.connections.get_mut(id) {
            connection.answers_awaited += 1;
            self.peers.awaiting.push_back((id, pending));
        }
    }

    /// Completes the SUBSCRIBEs, in their order, whose filters every peer has in force.
    pub(super) fn complete_subscribes(&mut self, out: &mut Outputs) {
        while let Some((_, pending)) = self.peers.awaiting.front() {
            if !self.is_in_force(pending) {
                return;
            }
            self.complete_first_subscribe(out);
        }
    }

    /// The broker stops, and so may the peers: whoever waits has the answer now. Its filters are in force here, and nothing more is published.
    pub(super) fn complete_all_subscribes(&mut self, out: &mut Outputs) {
        while !self.peers.awaiting.is_empty() {
            self.complete_first_subscribe(out);
        }
    }

    fn complete_first_subscribe(&mut self, out: &mut Outputs) {
        if let Some((id, pending)) = self.peers.awaiting.pop_front() {
            self.complete_subscribe(id, pending);
            self.note_answered(id, out);
        }
    }

    pub(super) fn on_pressure(&mut self, to: ShardId, on: bool) {
        if on {
            self.peers.full_lanes |= to.bit();
            return;
        }
        self.peers.full_lanes &= !to.bit();
        for id in self.peers.lane_waiters[to.index()].take_keys() {
            self.unpace(id);
        }
    }

    /// The version of a write made here, above everything seen.
    pub(super) fn next_retain_version(&mut self) -> RetainVersion {
        self.peers.clock += 1;
        RetainVersion {
            clock: self.peers.clock,
            shard: self.id,
        }
    }

    /// Deletion marks are there: ask for the peers' clocks soon.
    pub(super) fn arm_clock(&mut self) {
        if self.peers.clock_due.is_none() {
            self.peers.clock_due = Some(self.now + limits::TIMER_GRAIN_MS);
        }
    }

    pub(super) fn on_clock_alarm(&mut self, out: &mut Outputs) {
        if self.peers.clock_due.is_none_or(|due| due > self.now) {
            return;
        }
        self.peers.clock_due = None;
        if self.peers.deletion_marks == 0 {
            self.peers.marks.clear();
            return;
        }
        for to in self.other_shards() {
            let message = PeerMessage::ClockRequest {
                clock: self.peers.clock,
            };
            out.push(Output::Peer { to, message });
        }
        self.arm_clock();
    }

    /// Forgets the marks that no older write can still meet: every peer's clock has passed them.
    fn drop_marks(&mut self) {
        let own = self.id.index();
        let passed = self
            .peers
            .clocks
            .iter()
            .enumerate()
            .filter(|(shard, _)| *shard != own)
            .map(|(_, clock)| *clock)
            .min()
            .unwrap_or(u64::MAX);
        while let Some((_, version)) = self.peers.marks.front() {
            if version.clock > passed {
                return;
            }
            let (topic, version) = self.peers.marks.pop_front().expect("it is there");
            let still = self
                .retained
                .get(&topic)
                .is_some_and(|held| held.version == version && held.message.is_none());
            if still && TopicName::new(&topic).is_ok() {
                self.retained.remove(&topic);
                self.peers.deletion_marks -= 1;
            }
        }
    }
}
