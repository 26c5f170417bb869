//! The shard: its owners, and the ways in. What an input leads to is in `on`, one file a packet or event.

use super::clients::Clients;
use super::counters::Counters;
use super::event::{Ending, Input};
use super::gone::GoneUsers;
use super::outputs::Outputs;
use super::peers::Peers;
use super::pending::Pending;
use super::restoring::Restoring;
use super::rights::Rights;
use super::topics::Topics;
use super::turn::Turn;
use crate::buffer::Stock;
use crate::config::{Logs, Settings};
use crate::ids::{ConnectionId, ShardId};
use crate::limits;
use crate::time::Time;
use std::sync::Arc;

/// One core's share of the broker: its connections and Sessions, the filters of all shards, all retained messages.
pub struct Shard {
    pub(super) id: ShardId,
    pub(super) shards: usize,
    pub(super) logs: Logs,
    /// Who is here.
    pub(super) clients: Clients,
    /// Who wants what.
    pub(super) topics: Topics,
    /// What the shards have agreed on.
    pub(super) peers: Peers,
    /// SUBSCRIBE and UNSUBSCRIBE under way.
    pub(super) pending: Pending,
    /// The time of the turn, and what it may cost.
    pub(super) turn: Turn,
    /// What Clients may do.
    pub(super) rights: Rights,
    /// Users that are gone from the password file.
    pub(super) gone: GoneUsers,
    /// What a store gives back at the start, while it does.
    pub(super) restoring: Option<Box<Restoring>>,
    pub(super) stopping: bool,
}

impl Shard {
    /// An empty shard, `id` of `shards` in all, that has its part of the memory for itself.
    pub fn new(id: ShardId, shards: usize, settings: Settings) -> Shard {
        let memory = Stock::new(settings.memory_bytes_max / shards as u64, 1);
        Shard::with_memory(id, shards, settings, Arc::new(memory))
    }

    /// An empty shard, `id` of `shards` in all, that takes of the same memory as the others.
    pub fn with_memory(
        id: ShardId,
        shards: usize,
        settings: Settings,
        memory: Arc<Stock>,
    ) -> Shard {
        assert!(id.index() < shards && shards <= limits::SHARDS_MAX);
        let store = settings.store;
        let settings_rules = Arc::clone(&settings.rules);
        let mut peers = Peers::new(id, shards);
        peers.set_calendar(settings.calendar_zero_s);
        Shard {
            id,
            shards,
            logs: settings.logs,
            clients: Clients::new(id, shards, settings, memory),
            topics: Topics::new(id, shards, store),
            peers,
            pending: Pending::default(),
            turn: Turn::default(),
            rights: Rights::new(settings_rules),
            gone: GoneUsers::default(),
            restoring: None,
            stopping: false,
        }
    }

    /// Applies one input at `now` (monotonic milliseconds) and appends what must follow to `out`.
    /// Runs to completion: no wait, clock, socket or global. Same inputs, same outputs.
    pub fn handle(&mut self, now: Time, input: Input<'_>, out: &mut Outputs) {
        self.set_time(now);
        match input {
            Input::Bytes { connection, bytes } => self.on_bytes(connection, bytes, out),
            Input::Sent {
                connection,
                bytes,
                returned,
            } => {
                self.on_sent(connection, bytes, returned, out);
            }
            Input::Opened {
                connection,
                address,
                listener,
                crowded,
            } => {
                self.free_slot(connection, out);
                self.clients.open(connection, address, listener, crowded);
            }
            Input::Address {
                connection,
                address,
            } => self.clients.note_address(connection, address, out),
            Input::LinkBytes { connection, bytes } => self.on_link_bytes(connection, bytes, out),
            Input::Adopted {
                connection,
                address,
                listener,
                hand_over,
            } => {
                self.free_slot(connection, out);
                self.on_adopted(connection, address, listener, *hand_over, out);
            }
            Input::Identified {
                connection,
                user_name,
            } => self.clients.identify(connection, user_name),
            Input::Closed { connection, cause } => {
                self.close(connection, Ending::Lost(cause), out);
            }
            Input::Verdict {
                connection,
                verdict,
            } => self.on_verdict(connection, verdict, out),
            Input::Peer { from, message } => self.on_peer(from, message, out),
            Input::Pressure { to, on } => self.on_pressure(to, on),
            Input::UsersGone(users) => self.on_users_gone(users),
            Input::Rules(rules) => self.on_rules(rules),
            Input::Settings(settings) => self.on_settings(&settings, out),
            Input::Publish(message) => self.publish_own(message, out),
            Input::Survey(survey) => self.on_survey(*survey, out),
            Input::Order(order) => self.on_order(&order, out),
            Input::Restored(restored) => self.on_restored(*restored, out),
            Input::Kept { sequence } => self.on_kept(sequence, out),
            Input::Store(state) => self.clients.set_store_state(state),
            Input::Tick => self.on_tick(out),
            Input::Shutdown => self.on_shutdown(out),
        }
    }

    /// Ends a turn: handles what was withheld or left over, then emits one `Send` for each connection that has bytes to
    /// send and no send under way.
    pub fn flush(&mut self, now: Time, out: &mut Outputs) {
        self.set_time(now);
        self.resume_deferred(out);
        if self.clients.has_remains() {
            self.hand_back_remains(out);
        }
        self.forget_departed(out);
        self.walk_gone_users(out);
        while !self.turn.has_resumed_enough()
            && let Some(connection) = self.clients.next_resumable()
        {
            self.resume(connection, out);
        }
        for session in self.topics.begin_replays().into_iter().flatten() {
            self.pump(session);
        }
        self.report_done(out);
        if self.clients.has_broken() {
            self.end_broken(out);
        }
        self.clients.report_drops(out);
        self.clients.tidy_book();
        if !self.peers.are_none() {
            self.peers.tell_tight(self.clients.book().is_tight(), out);
        }
        self.hand_out_changes(out);
        self.report_settled(out);
        self.clients.flush(out);
        out.close_parcels();
    }

    #[inline]
    fn set_time(&mut self, now: Time) {
        self.turn.set_time(now);
        self.clients.set_time(now);
    }

    /// When the driver must call again even if nothing happens. A time in the past means at once.
    pub fn next_deadline(&self) -> Option<Time> {
        let now = self.turn.now();
        if self.topics.replays().are_unfinished()
            || self.clients.has_resumable()
            || self.turn.has_deferred()
            || self.clients.has_remains()
            || self.may_forget_departed()
            || self.may_walk()
        {
            return Some(now);
        }
        [
            self.clients.next_deadline(),
            self.clients.give_back_due(),
            self.peers.clock_due(),
            self.topics.sweep_due(now),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// This turn has spent its work budget: messages in the lanes wait for the next turn.
    pub fn is_spent(&self) -> bool {
        self.turn.is_spent()
    }

    /// Sums since the start of this shard alone.
    pub fn counters(&self) -> &Counters {
        self.clients.counters()
    }

    /// Network Connections, Sessions, subscriptions and retained messages held.
    pub fn sizes(&self) -> (usize, usize, usize, usize) {
        let (connections, sessions) = self.clients.counts();
        let (subscriptions, retained) = self.topics.counts();
        (connections, sessions, subscriptions, retained)
    }

    /// The connection has ended and waits only for its last answers. For tests.
    pub fn is_closing(&self, connection: ConnectionId) -> bool {
        self.clients.is_closing(connection)
    }

    /// What is still held after all connections, Sessions and retained messages are gone, by name and number. For
    /// tests.
    pub fn leftovers(&self) -> Vec<(&'static str, usize)> {
        let mut all = vec![
            ("SUBSCRIBEs to answer", self.pending.answers()),
            ("walks for gone users", self.gone.walks()),
            ("lanes waited for", self.peers.lanes_waited_for()),
            (
                "messages that peers are to settle",
                self.peers.settling().counts().0,
            ),
            (
                "messages to settle for peers",
                self.peers.settling().counts().1,
            ),
        ];
        all.extend(self.clients.leftovers());
        all.extend(self.topics.leftovers());
        all.retain(|(_, count)| *count > 0);
        all
    }

    /// Walks every structure and panics where one contradicts another; for tests.
    pub fn check_invariants(&self) {
        let filters = self.clients.check_invariants();
        self.topics.check_invariants(filters);
        self.pending.check_invariants();
        for id in self.clients.connection_ids() {
            let connection = self.clients.connection(id).expect("it was listed");
            let awaited = self.pending.answers_of(id);
            assert_eq!(awaited, connection.answers_awaited as usize);
        }
        // Groups learn with the last chunk that nobody is here.
        if self.restoring.is_none() {
            self.topics.check_groups(|session| {
                let session = self.clients.session(session)?;
                Some(session.connection.is_some())
            });
        }
    }
}
