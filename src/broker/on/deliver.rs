//! The way out of an Application Message: from the matches of the trie to Sessions, groups and lanes.
//!
//! A QoS 0 message for Clients of this shard allocates nothing: its bytes are copied from the receive buffer, or from
//! one encoding for each shape, into the outbox of each subscriber.

use crate::acl::Act;
use crate::broker::clients::{Clients, NOBODY};
use crate::broker::counters::Dropped;
use crate::broker::event::{Output, PeerMessage, Settles};
use crate::broker::outputs::Outputs;
use crate::broker::passing::{
    Origin, RetainVersion, Routed, Routing, Subscriber, Subscription, Verbatim,
};
use crate::broker::rights::Rights;
use crate::broker::shard::Shard;
use crate::buffer::account::{Account, Arc, Booked};
use crate::ids::{ConnectionId, SessionId, ShardId};
use crate::invariant::Broken;
use crate::limits;
use crate::session::message::expired_on_the_way;
use crate::session::progress::Waiter;
use crate::topic::Matches;
use crate::wire::{Run, TopicName};

/// What one message that groups found gave to other shards.
#[derive(Default)]
pub(in crate::broker) struct Crossed {
    /// Copies that went, or were to go.
    pub copies: usize,
    /// More groups of this shard have found it than hold a publisher back.
    pub are_many: bool,
}

impl Shard {
    /// Finds who gets messages of this Topic Name: all who subscribe to it and may read it. Members of groups are asked
    /// for each message. Returns the cost.
    #[inline]
    pub(in crate::broker) fn find(&mut self, topic: TopicName<'_>) -> usize {
        if self.rights.are_in_force() {
            return self.find_by_rules(topic);
        }
        self.topics.find(topic)
    }

    #[inline(never)]
    fn find_by_rules(&mut self, topic: TopicName<'_>) -> usize {
        self.find_readers(topic)
    }

    #[inline(always)]
    fn find_readers(&mut self, topic: TopicName<'_>) -> usize {
        let (clients, rights) = (&mut self.clients, &self.rights);
        self.topics
            .find_sifted(topic, |found| keep_readers(clients, rights, topic, found))
    }

    /// The same for a message under way by rules, whose cost is counted.
    #[inline(always)]
    pub(in crate::broker) fn find_readers_of(&mut self, routing: &Routing<'_>) {
        let visited = self.find_readers(routing.topic);
        self.turn.add_work(visited + self.work_of_copies(routing));
    }

    /// Routes a message to the Sessions of this shard, and once to each peer shard with subscribers. With `retain`,
    /// every peer gets it. `FOUND`: the subscribers were found before, by rules; without rules they are found here.
    #[inline(always)]
    pub(in crate::broker) fn route<const FOUND: bool>(
        &mut self,
        routing: &mut Routing<'_>,
        origin: Origin,
        retain: Option<RetainVersion>,
        out: &mut Outputs,
    ) -> Routed {
        if !FOUND {
            let visited = self.topics.find(routing.topic);
            self.turn.add_work(visited + self.work_of_copies(routing));
        }
        let nobody = self.topics.found().is_empty();
        let shards = self.topics.found().shards;
        let taken = self.deliver_here(routing, origin, out);
        if !self.peers.are_none() && (shards != 0 || retain.is_some()) {
            self.send_to_peers(routing, shards, origin, retain, out);
        }
        if taken {
            Routed::Taken
        } else if shards != 0 || self.peers.settling().has_asked() {
            Routed::Crossed
        } else if nobody {
            Routed::Nobody
        } else {
            Routed::Refused
        }
    }

    /// What the message under way costs for each of those found, who get a copy of its name, properties and payload, as
    /// far as these are not referenced.
    #[inline]
    pub(in crate::broker) fn work_of_copies(&self, routing: &Routing<'_>) -> usize {
        let copied = |bytes: usize| match routing.references(bytes) {
            true => 0,
            false => bytes,
        };
        let bytes = copied(routing.topic.as_str().len())
            + copied(routing.passed_on.len())
            + copied(routing.payload.len());
        self.topics.found().local.len() * (bytes / limits::BYTES_PER_WORK)
    }

    /// Delivers what was published on a peer shard. Returns `false` if subscribers are here, and none could take it.
    pub(in crate::broker) fn deliver_from_peer(
        &mut self,
        routing: &mut Routing<'_>,
        from: ShardId,
        publisher: Option<ConnectionId>,
        out: &mut Outputs,
    ) -> bool {
        let origin = Origin {
            session: None,
            connection: publisher.map(|id| (from, id)),
        };
        let visited = self.find(routing.topic) + self.work_of_copies(routing);
        self.turn.add_work(visited);
        let mut taken = self.topics.found().is_empty();
        if expired_on_the_way(routing.expires, self.turn.now()) {
            let lost = self.topics.found().local.len() as u64;
            self.clients.count_dropped(Dropped::Expired, lost);
            taken = true;
        } else {
            taken |= self.deliver_here(routing, origin, out);
        }
        self.defer_if_costly(visited, from, publisher, out);
        taken
    }

    /// Delivers a message or a run to the subscribers found on this shard. Returns `false` if none could take it.
    #[inline(always)]
    fn deliver_here(
        &mut self,
        routing: &mut Routing<'_>,
        origin: Origin,
        out: &mut Outputs,
    ) -> bool {
        match routing.verbatim {
            Some(verbatim) if verbatim.run.packets > 1 => {
                self.deliver_run(routing, &verbatim, origin, out);
                true // At QoS 0 nobody is told.
            }
            _ => self.deliver_message(routing, NOBODY, origin, out),
        }
    }

    /// How many packets of a run may be delivered at once to those found.
    pub(in crate::broker) fn packets_at_once(&self, run: &Run<'_>) -> usize {
        let found = &self.topics.found().local;
        let bytes_each = run.bytes.len() / run.packets.max(1) as usize;
        // A Session is found once for each of its filters, and gets one copy.
        let copies = found.len().min(self.clients.counts().1);
        let by_bytes = limits::RUN_COPIES_BYTES_MAX / (copies * bytes_each).max(1);
        let is_group = |(of, _): &&(Subscriber, Subscription)| matches!(of, Subscriber::Group(_));
        let groups = match self.topics.has_groups() {
            true => found.iter().filter(is_group).count(),
            false => 0,
        };
        by_bytes
            .min(limits::RUN_DELIVERIES_MAX / groups.max(1))
            .max(1)
    }

    /// Delivers a run: verbatim to the subscribers that can take it so, then message by message to the others.
    #[inline(never)]
    fn deliver_run(
        &mut self,
        routing: &mut Routing<'_>,
        verbatim: &Verbatim<'_>,
        origin: Origin,
        out: &mut Outputs,
    ) {
        let found = &self.topics.found().local;
        let Some(served) = self.clients.deliver_run(routing, found, origin, out) else {
            return;
        };
        // A run of this shard's was cut to that before. The rest of one from a peer goes to no group.
        let most = self.packets_at_once(&verbatim.run);
        let messages = verbatim.run.messages(routing.payload.len());
        for (index, (frame, payload)) in messages.enumerate() {
            let run = Run::one(&frame);
            let mut message = Routing {
                payload,
                verbatim: Some(Verbatim { run, ..*verbatim }),
                message: None,
                ..*routing
            };
            if index < most {
                self.deliver_message(&mut message, served, origin, out);
            } else {
                let found = &self.topics.found().local;
                self.clients
                    .deliver_to_all(&mut message, found, served, origin, out);
                self.clients.count_dropped(Dropped::SlowReader, 1);
            }
        }
    }

    /// Delivers one message to all except those that the routing `served` has reached. Returns `false` if none could
    /// take it.
    #[inline(always)]
    fn deliver_message(
        &mut self,
        routing: &mut Routing<'_>,
        served: u64,
        origin: Origin,
        out: &mut Outputs,
    ) -> bool {
        let found = &self.topics.found().local;
        let by_sessions = self
            .clients
            .deliver_to_all(routing, found, served, origin, out);
        if !self.topics.has_groups() {
            // A subscriber with No Local, or whose Session has ended, has not refused the message.
            return by_sessions.unwrap_or(!found.is_empty());
        }
        let by_groups = self.deliver_to_groups(routing, origin, out);
        match (by_sessions, by_groups) {
            (None, None) => !self.topics.found().local.is_empty(),
            (by_sessions, by_groups) => by_sessions.unwrap_or(false) || by_groups.unwrap_or(false),
        }
    }

    /// Gives the message to one member of each group found. Returns `None` if there is no group, `Some(false)` if no
    /// member could take it.
    fn deliver_to_groups(
        &mut self,
        routing: &mut Routing<'_>,
        origin: Origin,
        out: &mut Outputs,
    ) -> Option<bool> {
        let is_group = |(of, _): &&(Subscriber, Subscription)| matches!(of, Subscriber::Group(_));
        let groups = self.topics.found().local.iter().filter(is_group).count();
        let mut taken = None;
        let mut crossed = Crossed {
            copies: 0,
            are_many: groups > limits::GROUPS_PACING_MAX as usize,
        };
        for at in 0..self.topics.found().local.len() {
            if let Some(group) = self.topics.found_group(at) {
                self.turn.add_work(limits::WORK_OF_GROUP);
                let delivered = self.deliver_to_group(group, routing, origin, &mut crossed, out);
                taken = Some(taken.unwrap_or(false) | delivered);
            }
        }
        taken
    }

    /// Sends a message once to each shard that has subscribers, and a retained one to every shard.
    #[inline(never)]
    fn send_to_peers(
        &mut self,
        routing: &mut Routing<'_>,
        shards: u64,
        origin: Origin,
        retain: Option<RetainVersion>,
        out: &mut Outputs,
    ) {
        if self.clients.passage().is_some() {
            self.hand_out_changes(out);
        }
        let own_connection = self.own_connection(origin);
        for to in self.peers.others() {
            let live = shards & to.bit() != 0;
            if !live && retain.is_none() {
                continue;
            }
            if let Some(verbatim) = &routing.verbatim {
                let Some(origin) = own_connection else {
                    let broken = Broken::new("what goes on verbatim has a connection here");
                    return self.skip_broken(broken, out);
                };
                let booked = self.book_packed(to, routing.publisher, verbatim);
                out.pack(to, origin, verbatim, booked, self.clients.pool());
                self.clients.count_crossed(verbatim.run.packets);
                continue;
            }
            let needs = self.peers.settling().is_asking();
            if needs {
                self.peers.settling_mut().ask(to, Settles::Publishes);
            }
            let kept = self.clients.kept_message(routing);
            let mut message = PeerMessage::Publish {
                message: (**kept).clone(),
                origin: own_connection,
                retain,
                live,
                needs,
                passage: self.clients.passage(),
            };
            if self.peers.is_full(to) {
                message = spilled(message, kept.account());
            }
            out.push(Output::Peer { to, message });
            self.clients.count_crossed(1);
        }
        if let Some(id) = own_connection {
            let used = if retain.is_some() { u64::MAX } else { shards };
            self.pace_for_full_lanes(id, used, out);
        }
    }

    /// Packets for a full lane take memory beyond its bounds, which counts for their publisher.
    #[inline]
    fn book_packed(
        &self,
        to: ShardId,
        publisher: Option<SessionId>,
        verbatim: &Verbatim<'_>,
    ) -> Option<Booked> {
        if !self.peers.is_full(to) {
            return None;
        }
        let account = self.clients.account_of(publisher?)?;
        Some(Booked::new(account, verbatim.packed_bytes()))
    }

    /// The publisher's connection, if it is one of this shard.
    fn own_connection(&self, origin: Origin) -> Option<ConnectionId> {
        let own = origin.connection.filter(|(shard, _)| *shard == self.id);
        own.map(|(_, id)| id)
    }

    /// Stops reading from a publisher of this shard while the lane its message went into is full.
    pub(in crate::broker) fn wait_for_lane(
        &mut self,
        to: ShardId,
        origin: Origin,
        out: &mut Outputs,
    ) {
        if let Some(id) = self.own_connection(origin) {
            self.pace_for_full_lanes(id, to.bit(), out);
        }
    }

    /// A connection that made this shard talk to `shards` waits while one of their lanes is full.
    #[inline]
    pub(in crate::broker) fn pace_for_full_lanes(
        &mut self,
        id: ConnectionId,
        shards: u64,
        out: &mut Outputs,
    ) {
        for _ in 0..self.peers.wait_for_lanes(id, shards) {
            self.clients.pace(id, out);
        }
    }

    /// A message from another shard's connection cost so many visited nodes here. If they are many, the publisher is
    /// paced for one turn.
    fn defer_if_costly(
        &mut self,
        visits: usize,
        shard: ShardId,
        connection: Option<ConnectionId>,
        out: &mut Outputs,
    ) {
        let Some(connection) = connection.filter(|_| visits > limits::WORK_OF_MESSAGE) else {
            return;
        };
        let message = PeerMessage::Pace {
            connection,
            pause: true,
        };
        out.push(Output::Peer { to: shard, message });
        self.turn.defer(Waiter { shard, connection });
    }

    /// Leaves the packets of a connection that has spent its share of work for the next turn.
    pub(in crate::broker) fn defer(&mut self, id: ConnectionId, out: &mut Outputs) {
        self.clients.pace(id, out);
        self.clients.withhold(id);
        self.turn.defer(Waiter {
            shard: self.id,
            connection: id,
        });
    }
}

/// Takes out the subscribers that may not read messages of this Topic Name. Returns `true` if there are none.
#[inline(never)]
fn keep_readers(
    clients: &mut Clients,
    rights: &Rights,
    topic: TopicName<'_>,
    found: &mut Matches<Subscriber, Subscription>,
) -> bool {
    let before = found.local.len();
    found.visited += found.local.len() * limits::WORK_OF_RIGHT;
    found.local.retain(|(subscriber, _)| match subscriber {
        Subscriber::Session(session) => {
            let verdict = clients.may(*session, rights, Act::Read, topic.as_str());
            verdict.is_allowed()
        }
        Subscriber::Group(_) => true,
    });
    found.local.len() == before
}

/// A message for a full lane takes memory beyond its bounds, which counts for whoever brought it about.
#[cold]
pub(super) fn spilled(message: PeerMessage, account: Option<&Arc<Account>>) -> PeerMessage {
    let Some(account) = account else {
        return message;
    };
    PeerMessage::Spilled {
        message: Box::new(message),
        booked: Booked::new(account, limits::SPILLED_BYTES),
    }
}
