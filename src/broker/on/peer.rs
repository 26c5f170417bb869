//! Messages of peer shards, and the state of the lanes to them.

use crate::broker::event::{Output, PeerMessage, Settles};
use crate::broker::outputs::Outputs;
use crate::broker::passing::{Routing, Verbatim, routing_of};
use crate::broker::shard::Shard;
use crate::ids::{ConnectionId, ShardId};
use crate::invariant::Broken;
use crate::time::Time;
use crate::wire::{Publish, Run, TopicFilter, Version};
use std::rc::Rc;

impl Shard {
    pub(in crate::broker) fn on_peer(
        &mut self,
        from: ShardId,
        message: PeerMessage,
        out: &mut Outputs,
    ) {
        assert!(from != self.id && from.index() < self.shards);
        match message {
            PeerMessage::Publish {
                message,
                origin,
                retain,
                live,
                needs,
                passage,
            } => {
                let mark = self.mark();
                self.clients.begin_passage(passage);
                if needs {
                    self.peers.settling_mut().begin_asking();
                }
                let message = Rc::new(message);
                let mut routing = routing_of(&message);
                if let Some(version) = retain {
                    self.peers.note_version(from, version);
                    self.retain(&mut routing, version);
                }
                let taken = !live || self.deliver_from_peer(&mut routing, from, origin, out);
                self.clients.end_passage();
                if needs {
                    self.owe(from, Settles::Publishes, mark, taken);
                }
            }
            PeerMessage::Parcel(parcel) => {
                for (origin, version, run) in parcel.runs() {
                    self.on_packed(from, origin, version, run, out);
                }
                out.reuse_parcel(parcel, self.clients.pool());
            }
            PeerMessage::FilterAdded { filter, sequence } => {
                if let Ok(filter) = TopicFilter::new(&filter) {
                    self.topics.add_shard(filter, from);
                }
                let message = PeerMessage::FiltersInForce { sequence };
                out.push(Output::Peer { to: from, message });
            }
            PeerMessage::AreFiltersInForce { sequence } => {
                let message = PeerMessage::FiltersInForce { sequence };
                out.push(Output::Peer { to: from, message });
            }
            PeerMessage::FilterRemoved { filter } => self.topics.remove_shard(&filter, from),
            PeerMessage::FiltersInForce { sequence } => {
                self.peers.note_in_force(from, sequence);
                self.answer_joins(out);
                self.resume_unfinished();
                self.complete_subscribes(out);
                self.report_restored(out);
            }
            PeerMessage::Settled { of, upto, refused } => {
                self.on_settled(from, of, upto, &refused, out);
            }
            PeerMessage::Stores { sequence } => {
                self.peers.note_stores();
                let message = PeerMessage::FiltersInForce { sequence };
                out.push(Output::Peer { to: from, message });
            }
            PeerMessage::Tight { on } => self.peers.note_tight(from, on),
            PeerMessage::Share(message) => self.on_share(from, message, out),
            PeerMessage::Spilled { message, booked } => {
                self.on_peer(from, *message, out);
                drop(booked);
            }
            PeerMessage::Pace {
                connection,
                pause: true,
            } => self.clients.pace(connection, out),
            PeerMessage::Pace {
                connection,
                pause: false,
            } => self.clients.unpace(connection),
            PeerMessage::ClockRequest { clock } => {
                let clock = self.peers.answer_clock(clock);
                let message = PeerMessage::Clock { clock };
                out.push(Output::Peer { to: from, message });
            }
            PeerMessage::Clock { clock } => {
                let passed = self.peers.note_clock(from, clock);
                self.topics.drop_marks(passed);
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
        let first = run.frames().next();
        let publish = first.and_then(|first| Publish::decode(version, &first).ok());
        let Some(publish) = publish else {
            let broken = Broken::new("a run begins with a PUBLISH that its home has decoded");
            return self.skip_broken(broken, out);
        };
        let Some(topic) = publish.topic else {
            let broken = Broken::new("what has only an alias does not cross as it came");
            return self.skip_broken(broken, out);
        };
        let mut routing = Routing {
            topic,
            passed_on: publish.properties.raw,
            payload: publish.payload,
            qos: publish.qos,
            retain: false,
            expires: Time::NEVER,
            verbatim: Verbatim::of(version, &publish, run),
            message: None,
            publisher: None,
        };
        self.deliver_from_peer(&mut routing, from, Some(origin), out);
    }

    /// The lane to a peer has spilled over, or is served again.
    pub(in crate::broker) fn on_pressure(&mut self, to: ShardId, on: bool) {
        if on {
            return self.peers.note_full(to);
        }
        for id in self.peers.note_served(to) {
            self.clients.unpace(id);
        }
    }
}
