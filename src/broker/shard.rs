//! The shard itself: its state, the arms of `handle`, and the life of a connection from its first byte to its close.

use super::counters::{Counters, Dropped};
use super::encode::Shapes;
use super::event::{Ending, Input, Output, Verdict};
use super::happening::{Ended, Happening, Level, Unaccepted, Who};
use super::outputs::Outputs;
use super::passing::{Subscription, Target};
use super::peers::Peers;
use super::slots::Slots;
use super::subscribe::Unfinished;
use super::timers::Alarms;
use super::violation::Violation;
use crate::buffer::{Chunks, Pool};
use crate::config::{ListenerSettings, Settings};
use crate::ids::{ConnectionId, ListenerId, NodeId, SessionId, ShardId};
use crate::limits;
use crate::session::{Connection, Phase, Session};
use crate::time::Time;
use crate::topic::{FilterTrie, Matches, RetainTree, Routes};
use crate::wire;
use crate::wire::Version;
use hashbrown::{DefaultHashBuilder, HashMap, HashTable};
use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::net::SocketAddr;

/// One core's share of the broker: its connections and sessions, all filters that matter to it, all retained messages.
pub struct Shard {
    pub(super) id: ShardId,
    pub(super) shards: usize,
    pub(super) settings: Settings,
    pub(super) now: Time,
    pub(super) connections: Slots<ConnectionId, Connection>,
    pub(super) sessions: Slots<SessionId, Session>,
    /// Sessions by client id.
    pub(super) by_client_id: HashTable<SessionId>,
    pub(super) hasher: DefaultHashBuilder,
    pub(super) trie: FilterTrie<SessionId, Subscription>,
    pub(super) routes: Routes<SessionId, Subscription>,
    pub(super) retained: RetainTree<super::publish::Retained>,
    pub(super) pool: Pool,
    pub(super) counters: Counters,
    pub(super) connection_alarms: Alarms,
    pub(super) session_alarms: Alarms,
    /// Connections with something to send.
    pub(super) dirty: Vec<ConnectionId>,
    /// Connections no longer paced, whose withheld packets come next.
    pub(super) resumable: VecDeque<ConnectionId>,
    /// How often publishers that waited for a reader went on.
    pub(super) releases: usize,
    pub(super) replays: super::replay::Replays,
    pub(super) sweep: super::sweep::Sweep,
    pub(super) shares: super::share::Shares,
    /// Scratch of the routing, kept so that a warm turn allocates nothing.
    pub(super) matches: Matches<SessionId, Subscription>,
    pub(super) targets: Vec<Target>,
    pub(super) shapes: Shapes,
    /// Scratch for the Topic Name of a retained message.
    pub(super) replay_topic: String,
    /// Number of routings so far; marks the Sessions each one found.
    pub(super) routings: u64,
    /// Bytes in the queues of all Sessions.
    pub(super) queued_bytes: u64,
    /// What connections that are not accepted take of [`limits::UNACCEPTED_BYTES_MAX`].
    pub(super) unaccepted_bytes: usize,
    pub(super) peers: Peers,
    pub(super) toil: super::toil::Toil,
    /// Sessions that have ended, and what of theirs is still in the trie.
    pub(super) departed: VecDeque<(SessionId, Vec<NodeId>)>,
    /// What peers must have answered before more of that goes.
    pub(super) departed_sequence: u64,
    pub(super) gone: super::gone::GoneUsers,
    /// Packets that are not finished yet, each at the front of what was received on its connection.
    pub(super) unfinished: HashMap<ConnectionId, Unfinished>,
    /// State of the generator of client ids.
    pub(super) random: u64,
    pub(super) stopping: bool,
    /// Until then nobody is closed for being silent: this shard itself was stopped or starved.
    overdue_from: Time,
    /// Losses the log knows of, and when it may be told again.
    drops_logged: u64,
    drops_due: Time,
    /// The filter of the violation that is about to close its connection, for the log.
    pub(super) offending_filter: Option<String>,
}

impl Shard {
    /// An empty shard, `id` of `shards` in all.
    pub fn new(id: ShardId, shards: usize, settings: Settings) -> Shard {
        assert!(id.index() < shards && shards <= limits::SHARDS_MAX);
        let random = settings.seed ^ (u64::from(id.0) + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        Shard {
            id,
            shards,
            settings,
            now: Time::default(),
            connections: Slots::default(),
            sessions: Slots::default(),
            by_client_id: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            trie: FilterTrie::default(),
            routes: Routes::default(),
            retained: RetainTree::default(),
            pool: Pool::default(),
            counters: Counters::default(),
            connection_alarms: Alarms::default(),
            session_alarms: Alarms::default(),
            dirty: Vec::new(),
            resumable: VecDeque::new(),
            releases: 0,
            replays: Default::default(),
            sweep: Default::default(),
            shares: Default::default(),
            matches: Matches::new(),
            targets: Vec::new(),
            shapes: Shapes::default(),
            replay_topic: String::new(),
            routings: 0,
            queued_bytes: 0,
            unaccepted_bytes: 0,
            peers: Peers::new(shards),
            toil: Default::default(),
            departed: VecDeque::new(),
            departed_sequence: 0,
            gone: Default::default(),
            unfinished: HashMap::new(),
            random,
            stopping: false,
            overdue_from: Time::default(),
            drops_logged: 0,
            drops_due: Time::default(),
            offending_filter: None,
        }
    }

    /// Applies one input at `now` (monotonic milliseconds) and appends what must follow to `out`.
    /// Runs to completion: no wait, clock, socket or global. Same inputs, same outputs.
    pub fn handle(&mut self, now: Time, input: Input<'_>, out: &mut Outputs) {
        assert!(now >= self.now, "time does not run backwards");
        self.now = now;
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
            } => self.on_opened(connection, address, listener, crowded),
            Input::Adopted {
                connection,
                address,
                listener,
                hand_over,
            } => {
                self.on_adopted(connection, address, listener, *hand_over, out);
            }
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
            Input::Publish(message) => self.publish_own(message, out),
            Input::Survey(survey) => self.on_survey(*survey, out),
            Input::Tick => self.on_tick(out),
            Input::Shutdown => self.on_shutdown(out),
        }
    }

    /// Ends a turn: goes on with what was withheld or left to do, then hands out one `Send` for each connection that has
    /// something to send and none under way.
    pub fn flush(&mut self, now: Time, out: &mut Outputs) {
        assert!(now >= self.now, "time does not run backwards");
        self.now = now;
        self.begin_next_toil(out);
        self.forget_departed(out);
        self.walk_gone_users(out);
        while let Some(connection) = self.resumable.pop_front() {
            self.resume(connection, out);
        }
        for session in self.replays.begin_turn().into_iter().flatten() {
            self.pump(session);
        }
        self.tell_done(out);
        self.log_drops(out);
        let mut dirty = std::mem::take(&mut self.dirty);
        for id in dirty.drain(..) {
            let Some(connection) = self.connections.get_mut(id) else {
                continue;
            };
            connection.dirty = false;
            if !connection.sending && !connection.outbox.is_empty() {
                connection.sending = true;
                let chunks = connection.outbox.take();
                out.push(Output::Send {
                    connection: id,
                    chunks,
                });
            }
        }
        self.dirty = dirty;
        out.close_parcels();
    }

    /// When the driver must call again though nothing happens; a time in the past: at once.
    pub fn next_deadline(&self) -> Option<Time> {
        if self.replays.are_unfinished()
            || !self.resumable.is_empty()
            || self.toil.has_deferred()
            || self.may_forget_departed()
            || self.may_walk()
        {
            return Some(self.now);
        }
        [
            self.connection_alarms.next(),
            self.session_alarms.next(),
            self.peers.clock_due(),
            self.sweep.due(self.now),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// The rules of the listener this connection came in by.
    pub(super) fn listener(&self, connection: ConnectionId) -> Option<&ListenerSettings> {
        let connection = self.connections.get(connection)?;
        Some(self.settings.listener(connection.listener))
    }

    /// The largest packet taken from this connection; 0 once it is gone.
    pub(super) fn packet_bytes_max(&self, connection: ConnectionId) -> u32 {
        self.listener(connection)
            .map_or(0, |listener| listener.packet_bytes_max)
    }

    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Network Connections, Sessions, subscriptions and retained messages held.
    pub fn sizes(&self) -> (usize, usize, usize, usize) {
        (
            self.connections.count(),
            self.sessions.count(),
            self.trie.subscriptions() - self.shares.groups() + self.shares.memberships(),
            self.retained.len() - self.peers.deletion_marks,
        )
    }

    /// The connection has ended, and only waits for the last answers it is owed; for tests.
    pub fn is_closing(&self, connection: ConnectionId) -> bool {
        self.peers.closing.contains_key(&connection)
    }

    /// What is held though nobody is connected, no Session lives and nothing is retained, by name and number; for tests.
    pub fn leftovers(&self) -> Vec<(&'static str, usize)> {
        let mut all = vec![
            ("queued bytes", self.queued_bytes as usize),
            ("nodes of filters", self.trie.nodes()),
            ("retained", self.retained.len()),
            ("replays", self.replays.count()),
            ("walks for gone users", self.gone.walks()),
            ("connections to resume", self.resumable.len()),
            ("connections to flush", self.dirty.len()),
        ];
        all.extend(self.shares.leftovers());
        all.extend(self.peers.leftovers());
        all.retain(|(_, count)| *count > 0);
        all
    }

    fn on_opened(
        &mut self,
        id: ConnectionId,
        address: SocketAddr,
        listener: ListenerId,
        crowded: bool,
    ) {
        let mut connection = Connection::new(id, address, listener, self.now);
        connection.crowded = crowded;
        self.connection_alarms.set(id.index, connection.deadline());
        self.connections.put(id, connection);
    }

    fn on_sent(
        &mut self,
        id: ConnectionId,
        bytes: usize,
        returned: Option<Chunks>,
        out: &mut Outputs,
    ) {
        let done = returned.is_some();
        if let Some(chunks) = returned {
            self.pool.give_chunks(chunks);
        }
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        assert!(
            bytes <= connection.unsent_bytes,
            "no more is sent than was handed out"
        );
        connection.unsent_bytes -= bytes;
        connection.drained_bytes = connection.drained_bytes.saturating_add(bytes);
        connection.sent_bytes += bytes as u64;
        if done {
            connection.sending = false;
            if !connection.outbox.is_empty() && !connection.dirty {
                connection.dirty = true;
                self.dirty.push(id);
            }
        }
        if connection.unsent_bytes <= limits::OUTBOX_LOW_BYTES {
            if let Some(session) = connection.session() {
                self.pump(session);
            }
            self.on_served(id, out);
        }
    }

    /// Ends a Network Connection: tells the Client where the standard lets us, publishes the will where it must be, ends or
    /// keeps the Session, and forgets the connection, at once or when it has the answers it is owed.
    pub(super) fn close(&mut self, id: ConnectionId, ending: Ending, out: &mut Outputs) {
        let Some(mut connection) = self.connections.remove(id) else {
            return;
        };
        if connection.is_closing() {
            // All that follows from its end has been done, but for the last bytes.
            let begun = self.peers.closing.remove(&id);
            let ending = match ending {
                Ending::Lost(_) => ending,
                _ => begun.unwrap_or(ending),
            };
            return self.end(connection, ending, out);
        }
        self.uncharge(&mut connection);
        if !self.unfinished.is_empty() {
            self.unfinished.remove(&id);
        }
        self.log_ending(&connection, ending, out);
        let session = connection.session();
        if connection.answers_awaited > 0 && !matches!(ending, Ending::Lost(_)) {
            self.begin_closing(connection, ending, out);
        } else {
            self.end(connection, ending, out);
        }
        if let Some(session) = session {
            self.leave_session(session, ending, out);
        }
    }

    /// Sends a connection's last bytes and forgets it.
    fn end(&mut self, mut connection: Box<Connection>, ending: Ending, out: &mut Outputs) {
        let id = connection.id;
        if !matches!(ending, Ending::Lost(_)) {
            self.append_disconnect(&mut connection, ending);
            if !connection.outbox.is_empty() {
                out.push(Output::Send {
                    connection: id,
                    chunks: connection.outbox.take(),
                });
            }
            out.push(Output::Close {
                connection: id,
                at_once: matches!(ending, Ending::Disconnect { .. }),
            });
        }
        connection.outbox.clear(&mut self.pool);
        for waiter in connection.waiters.take_keys() {
            self.release(waiter, out);
        }
    }

    /// A connection ends while SUBACKs wait for other shards: SUBSCRIBE was received, so it is answered. [v3.1.1 MQTT-3.8.4-1,
    /// v5 MQTT-3.8.4-1]
    ///
    /// Nothing else waits: the Session is left now, what comes on the connection is not read, and DISCONNECT of the server, if one is
    /// due, is the last word.
    fn begin_closing(
        &mut self,
        mut connection: Box<Connection>,
        ending: Ending,
        out: &mut Outputs,
    ) {
        let id = connection.id;
        if connection.reading {
            connection.reading = false;
            out.push(Output::StopReading { connection: id });
        }
        connection.phase = Phase::Closing {
            until: self.now + limits::LAST_ANSWERS_MS,
        };
        connection.received = Vec::new();
        for waiter in connection.waiters.take_keys() {
            self.release(waiter, out);
        }
        self.connection_alarms.set(id.index, connection.deadline());
        self.connections.put(id, *connection);
        self.peers.closing.insert(id, ending);
    }

    /// One of the answers that a connection waited for is in its outbox: after the last one a connection that has ended closes.
    pub(super) fn note_answered(&mut self, id: ConnectionId, out: &mut Outputs) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        connection.answers_awaited -= 1;
        if connection.answers_awaited == 0
            && let Some(ending) = self.peers.closing.get(&id).copied()
        {
            self.close(id, ending, out);
        }
    }

    /// DISCONNECT of the server: v5 only, and only after CONNACK. [v5 3.14]
    fn append_disconnect(&mut self, connection: &mut Connection, ending: Ending) {
        use crate::wire::reason::ReasonCode;
        let accepted = connection.is_closing() || connection.session().is_some();
        if connection.version != Version::V5 || !accepted {
            return;
        }
        let (reason, text) = match ending {
            Ending::Violation(violation) => (violation.reason_code(), Some(violation.to_string())),
            Ending::TakenOver { .. } => {
                let why = "another connection came with this client id".to_owned();
                (ReasonCode::SESSION_TAKEN_OVER, Some(why))
            }
            Ending::UserGone => {
                let why = "the user may log in no more".to_owned();
                (ReasonCode::ADMINISTRATIVE_ACTION, Some(why))
            }
            Ending::Shutdown => {
                let why = "the broker stops".to_owned();
                (ReasonCode::SERVER_SHUTTING_DOWN, Some(why))
            }
            Ending::Disconnect { .. } | Ending::Lost(_) | Ending::Refused => return,
        };
        let mut packet = wire::Disconnect {
            reason,
            ..Default::default()
        };
        packet.reason_string = text.as_deref();
        let mut bytes = Vec::new();
        wire::encode(&wire::Packet::Disconnect(packet), Version::V5, &mut bytes);
        if bytes.len() > connection.packet_bytes_max {
            // A Reason String is left out rather than pass the Client's limit. [v5 MQTT-3.14.2-3]
            packet.reason_string = None;
            bytes.clear();
            wire::encode(&wire::Packet::Disconnect(packet), Version::V5, &mut bytes);
        }
        if bytes.len() > connection.packet_bytes_max {
            return; // [v5 MQTT-3.1.2-24]
        }
        connection
            .outbox
            .block(&mut self.pool, bytes.len())
            .extend_from_slice(&bytes);
    }

    fn on_tick(&mut self, out: &mut Outputs) {
        let late = |due: Time| self.now.since_ms(due) >= limits::LATE_MS;
        if self.connection_alarms.next().is_some_and(late) {
            // We did not run when it was due. What came meanwhile is read before anyone is said to be silent.
            self.overdue_from = self.now + limits::LATE_GRACE_MS;
        }
        while let Some(index) = self.connection_alarms.pop_due(self.now) {
            let Some(id) = self.connections.id_at(index) else {
                continue;
            };
            self.on_connection_alarm(id, out);
        }
        while let Some(index) = self.session_alarms.pop_due(self.now) {
            let Some(id) = self.sessions.id_at(index) else {
                continue;
            };
            self.on_session_alarm(id, out);
        }
        self.on_clock_alarm(out);
        self.on_sweep_alarm();
    }

    fn on_connection_alarm(&mut self, id: ConnectionId, out: &mut Outputs) {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        if connection.deadline() > now {
            let deadline = connection.deadline();
            self.connection_alarms.set(id.index, deadline);
            return;
        }
        if !connection.waiters.is_empty() && connection.watched + limits::STALLED_AFTER_MS <= now {
            connection.watched = now;
            let drained_bytes = std::mem::take(&mut connection.drained_bytes);
            if drained_bytes < limits::PROGRESS_BYTES_MIN {
                connection.stalled = true;
                for waiter in connection.waiters.take_keys() {
                    self.release(waiter, out);
                }
            }
        }
        let Some(connection) = self.connections.get(id) else {
            return;
        };
        if connection.deadline() > now {
            let deadline = connection.deadline();
            self.connection_alarms.set(id.index, deadline);
            return;
        }
        if now < self.overdue_from {
            self.connection_alarms.set(id.index, self.overdue_from);
            return;
        }
        let violation = match connection.phase {
            Phase::Connected(_) => Violation::KeepAlive {
                silence_ms_max: connection.silence_ms_max,
            },
            // Its CONNECT came in time, and has an answer.
            Phase::Authenticating => return self.on_verdict(id, Verdict::Busy, out),
            Phase::AwaitConnect => Violation::ConnectTooLate,
            // It waits no longer, and closes as it began to.
            Phase::Closing { .. } => return self.close(id, Ending::Shutdown, out),
        };
        self.close(id, Ending::Violation(violation), out);
    }

    fn on_shutdown(&mut self, out: &mut Outputs) {
        self.stopping = true;
        self.complete_all_subscribes(out);
        for id in self.connections.ids() {
            self.close(id, Ending::Shutdown, out);
        }
        self.happened(Level::Info, out, || Happening::Stopped {
            shard: self.id,
            counters: Box::new(self.counters.clone()),
        });
    }

    /// Tells what happened, if the configured logs show it; else nothing is built.
    #[inline]
    pub(super) fn happened(
        &self,
        level: Level,
        out: &mut Outputs,
        happening: impl FnOnce() -> Happening,
    ) {
        if self.settings.logs >= level.logs() {
            let happening = happening();
            debug_assert_eq!(happening.level(), level);
            out.push(Output::Happened(Box::new(happening)));
        }
    }

    /// Tells the log when messages have been dropped, with the reasons: at once, then at most once a while.
    fn log_drops(&mut self, out: &mut Outputs) {
        let dropped: u64 = Dropped::LOSSES
            .iter()
            .map(|why| self.counters.dropped(*why))
            .sum();
        if dropped == self.drops_logged || self.now < self.drops_due {
            return;
        }
        self.drops_logged = dropped;
        self.drops_due = self.now + limits::DROPS_LOGGED_EVERY_MS;
        self.happened(Level::Warning, out, || Happening::Dropping {
            shard: self.id,
            counters: Box::new(self.counters.clone()),
        });
    }

    fn log_ending(&mut self, connection: &Connection, ending: Ending, out: &mut Outputs) {
        let address = connection.address;
        let filter = self.offending_filter.take();
        let accepted = connection.session().and_then(|id| self.sessions.get(id));
        let Some(session) = accepted else {
            let why = match ending {
                Ending::Violation(Violation::ConnectTooLate) | Ending::Lost(_)
                    if connection.received.is_empty() =>
                {
                    self.counters.probes += 1;
                    return;
                }
                Ending::Violation(violation) => Unaccepted::Violation(violation),
                Ending::Lost(cause) => Unaccepted::Lost(cause),
                Ending::Refused
                | Ending::Shutdown
                | Ending::Disconnect { .. }
                | Ending::TakenOver { .. }
                | Ending::UserGone => return,
            };
            self.counters.refusals += 1;
            let unaccepted = || Happening::Unaccepted { address, why };
            return self.happened(Level::Info, out, unaccepted);
        };
        let how = match ending {
            Ending::Disconnect { with_will } => Ended::Disconnected { with_will },
            Ending::Lost(cause) => Ended::Lost(cause),
            Ending::Violation(violation) => Ended::Violation {
                violation,
                filter: filter.map(String::into_boxed_str),
            },
            Ending::TakenOver { silently: false } => Ended::TakenOver,
            Ending::UserGone => Ended::UserGone,
            Ending::Shutdown => Ended::Shutdown,
            Ending::TakenOver { silently: true } | Ending::Refused => return,
        };
        self.happened(Level::Info, out, || Happening::Ended {
            who: Who {
                client_id: session.client_id.clone(),
                user_name: session.user_name.clone(),
                address,
            },
            how,
        });
    }

    /// The Session of a client id.
    pub(super) fn find_session(&self, client_id: &str) -> Option<SessionId> {
        let hash = self.hasher.hash_one(client_id);
        self.by_client_id
            .find(hash, |id| {
                self.sessions
                    .get(*id)
                    .is_some_and(|s| &*s.client_id == client_id)
            })
            .copied()
    }

    /// Walks every structure and panics where one contradicts another; for tests.
    pub fn check_invariants(&self) {
        self.trie.check_invariants();
        let mut queued_bytes = 0;
        let mut filters = 0;
        for id in self.sessions.ids() {
            let session = self.sessions.get(id).expect("it was listed");
            assert_eq!(self.find_session(&session.client_id), Some(id));
            session.inflight.check_invariants();
            session.queue.check_invariants();
            queued_bytes += session.queue.bytes() as u64;
            filters += session.filters.len();
            if let Some(connection) = session.connection {
                let connection = self
                    .connections
                    .get(connection)
                    .expect("it has a connection");
                assert_eq!(connection.session(), Some(id));
            }
        }
        assert_eq!(queued_bytes, self.queued_bytes);
        self.check_shares();
        self.check_unaccepted();
        filters += self
            .departed
            .iter()
            .map(|(_, nodes)| nodes.len())
            .sum::<usize>();
        assert_eq!(filters + self.shares.groups(), self.trie.subscriptions());
        assert_eq!(self.by_client_id.len(), self.sessions.count());
        for id in self.connections.ids() {
            let connection = self.connections.get(id).expect("it was listed");
            assert!(connection.outbox.bytes() <= connection.unsent_bytes);
            let awaited = self.peers.answers_awaited(id);
            assert_eq!(awaited, connection.answers_awaited as usize);
            assert_eq!(
                connection.is_closing(),
                self.peers.closing.contains_key(&id)
            );
            assert!(!connection.is_closing() || (awaited > 0 && !connection.reading));
            if let Some(session) = connection.session() {
                let session = self.sessions.get(session).expect("it has a session");
                assert_eq!(session.connection, Some(id));
            }
        }
    }
}
