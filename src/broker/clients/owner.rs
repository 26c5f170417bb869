//! The state of [`Clients`], what may be read of it, and what holds between its parts.

use super::allowance::Allowance;
use super::ended_queues::AllRemains;
use super::held::Held;
use super::shapes::Shapes;
use super::storage::Storage;
use super::timers::Alarms;
use super::watch::Watch;
use crate::broker::change::{Change, Changes};
use crate::broker::counters::{Counters, Dropped};
use crate::broker::event::Ending;
use crate::broker::happening::{Happening, LogLevel};
use crate::broker::outputs::Outputs;
use crate::broker::passing::{GivenBack, Target};
use crate::broker::slots::Slots;
use crate::broker::survey::TopicsReport;
use crate::budget::Book;
use crate::buffer::{Pool, Stock};
use crate::config::{ListenerSettings, Settings};
use crate::ids::{ConnectionId, Passage, SessionId, ShardId, StoredSession};
use crate::invariant::Broken;
use crate::limits;
use crate::random::{HashState, Unguessable};
use crate::session::queue::Share;
use crate::session::{Connection, Session};
use crate::time::Time;
use hashbrown::{HashMap, HashSet, HashTable};
use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

/// What may be wrong because an invariant did not hold, and therefore ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Concerned {
    Connection(ConnectionId),
    /// A Session, with the connection that has it.
    Session(SessionId),
}

pub struct Clients {
    pub(super) id: ShardId,
    pub(super) shards: usize,
    pub(super) settings: Settings,
    /// The settings want every message delivered with all options.
    pub(super) general: bool,
    /// PUBLISH packets are looked at before they are taken: the settings do not allow all that the standard allows, or
    /// topics are watched.
    looks_at_publish: bool,
    /// `None`: nobody asks which topics are busy.
    watch: Option<Box<Watch>>,
    /// When memory that the allocator has kept goes back to the system, and when it may at the earliest.
    pub(super) give_back_due: Option<Time>,
    pub(super) give_back_from: Time,
    /// Who holds how much.
    pub(super) book: Book,
    /// The time of this turn.
    pub(super) now: Time,
    pub(super) connections: Slots<ConnectionId, Connection>,
    pub(super) sessions: Slots<SessionId, Session>,
    /// Sessions by client id.
    pub(super) by_client_id: HashTable<SessionId>,
    pub(super) hasher: HashState,
    pub(super) pool: Pool,
    pub(super) counters: Counters,
    pub(super) connection_alarms: Alarms,
    pub(super) session_alarms: Alarms,
    /// User names by certificate of connections whose CONNECT has not come.
    pub(super) identified: HashMap<ConnectionId, Box<str>>,
    /// Connections with something to send.
    pub(super) dirty: Vec<ConnectionId>,
    /// Ended connections that close after their last answers, and how each ended.
    pub(super) closing: HashMap<ConnectionId, Ending>,
    /// Connections that are no longer paced; their withheld packets are handled next.
    pub(super) resumable: VecDeque<ConnectionId>,
    /// How many times publishers that waited for a reader went on. It decides whose turn is first.
    pub(super) releases: usize,
    /// What a store must know.
    pub(super) changes: Changes,
    /// The number of the changes under way, and the number up to which all are kept.
    pub(super) sequence: u64,
    pub(super) kept: u64,
    /// The number of the delivery that was named to the store last.
    pub(super) last_number: u64,
    /// How many Sessions were named to the store.
    pub(super) stored: u64,
    /// The passage of the QoS 2 message under way.
    pub(super) passage: Option<Passage>,
    /// What a member of a group has given back, while it is under way here.
    pub(super) given_back: Option<GivenBack>,
    /// Sessions and groups that have deliveries of passages of before a restart; a passage itself, if its retained
    /// message is written.
    pub(super) passed: HashSet<(Passage, StoredSession)>,
    /// Some Session of this shard is stored, or was.
    pub(super) has_stored: bool,
    /// The power went before this start, and took what the store knew last.
    pub(super) window_lost: bool,
    /// Answers that wait for the store.
    pub(super) held: Held,
    /// The store, and who waits for it.
    pub(super) storage: Storage,
    /// Deliveries of Shared Subscriptions that have come to their end and are not yet reported.
    pub(super) ended: Vec<(SessionId, Share)>,
    /// Memory for a delivery to many, kept so that a warm turn allocates nothing.
    pub(super) targets: Vec<Target>,
    pub(super) shapes: Shapes,
    /// Number of routings so far. Each Session keeps the number of the last routing that reached it.
    pub(super) routings: u64,
    /// Bytes in the queues of all Sessions, the message of several queues once.
    pub(super) queued_bytes: u64,
    /// Queues that leave by parts.
    pub(super) remains: AllRemains,
    /// Bytes that connections take of [`limits::UNACCEPTED_BYTES_MAX`] before they are accepted.
    pub(super) unaccepted: Allowance,
    /// No connection is closed for silence before this time, because the shard itself was stopped or starved.
    pub(super) overdue_from: Time,
    /// Invariants that did not hold, and whom that concerns.
    pub(super) broken: Vec<(Concerned, Broken)>,
    /// What is shared with the other shards.
    pub(super) memory: Arc<Stock>,
    /// Numbers of assigned client ids.
    assigned: Unguessable,
    /// Losses that the log has shown, and when it may show more.
    drops_logged: u64,
    drops_due: Time,
}

impl Clients {
    pub fn new(id: ShardId, shards: usize, settings: Settings, memory: Arc<Stock>) -> Clients {
        Clients {
            id,
            shards,
            give_back_due: None,
            give_back_from: Time::default(),
            book: Book::new(Arc::clone(&memory)),
            memory,
            assigned: Unguessable::new(&settings.secret, u64::from(id.0)),
            changes: Changes::new(settings.store),
            sequence: 1,
            kept: 0,
            last_number: 0,
            stored: 0,
            passage: None,
            given_back: None,
            passed: HashSet::new(),
            has_stored: false,
            window_lost: false,
            held: Held::default(),
            storage: Storage::default(),
            general: settings.wants_general_delivery(),
            looks_at_publish: settings.restricts_publish(),
            watch: None,
            settings,
            now: Time::default(),
            connections: Slots::default(),
            sessions: Slots::default(),
            by_client_id: HashTable::new(),
            hasher: HashState::default(),
            pool: Pool::default(),
            counters: Counters::default(),
            connection_alarms: Alarms::default(),
            session_alarms: Alarms::default(),
            dirty: Vec::new(),
            identified: HashMap::new(),
            closing: HashMap::new(),
            resumable: VecDeque::new(),
            releases: 0,
            ended: Vec::new(),
            targets: Vec::new(),
            shapes: Shapes::default(),
            routings: 0,
            queued_bytes: 0,
            remains: AllRemains::default(),
            unaccepted: Allowance::default(),
            overdue_from: Time::default(),
            broken: Vec::new(),
            drops_logged: 0,
            drops_due: Time::default(),
        }
    }

    /// An input is handled, or a turn ends, at `now`.
    #[inline]
    pub fn set_time(&mut self, now: Time) {
        self.now = now;
    }

    #[inline]
    pub fn connection(&self, id: ConnectionId) -> Option<&Connection> {
        self.connections.get(id)
    }

    #[inline]
    pub fn session(&self, id: SessionId) -> Option<&Session> {
        self.sessions.get(id)
    }

    /// The Session of a client id.
    pub fn find_session(&self, client_id: &str) -> Option<SessionId> {
        let hash = self.hasher.hash_one(client_id);
        self.by_client_id
            .find(hash, |id| {
                self.sessions
                    .get(*id)
                    .is_some_and(|s| &*s.client_id == client_id)
            })
            .copied()
    }

    /// All slots of Sessions are below this.
    pub fn sessions_end(&self) -> u32 {
        self.sessions.end()
    }

    /// The Session in a slot.
    pub fn session_at(&self, slot: u32) -> Option<SessionId> {
        self.sessions.id_at(slot)
    }

    /// The connection in a slot.
    pub fn connection_at(&self, slot: u32) -> Option<ConnectionId> {
        self.connections.id_at(slot)
    }

    /// All connections, by rising slot.
    pub fn connection_ids(&self) -> Vec<ConnectionId> {
        self.connections.ids()
    }

    /// Bytes in the queues of all Sessions, the message of several queues once.
    pub fn queued_bytes(&self) -> u64 {
        self.queued_bytes
    }

    /// Network Connections and Sessions.
    pub fn counts(&self) -> (usize, usize) {
        (self.connections.count(), self.sessions.count())
    }

    /// As many client ids are known, on all shards together, as may be.
    pub fn are_too_many(&self) -> bool {
        let most = self.settings.clients_max;
        most.is_some_and(|most| self.memory.sessions() >= most as usize)
    }

    /// The rules of the listener this connection came in by.
    pub fn listener(&self, id: ConnectionId) -> Option<&ListenerSettings> {
        let connection = self.connections.get(id)?;
        Some(self.settings.listener(connection.listener))
    }

    /// The largest packet accepted from this connection. 0 once it is gone.
    pub fn packet_bytes_max(&self, id: ConnectionId) -> u32 {
        self.listener(id)
            .map_or(0, |listener| listener.packet_bytes_max)
    }

    #[inline]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Accepted connections without a checked user name whose listeners want one by these settings.
    pub fn shut_by(&self, settings: &Settings) -> Vec<ConnectionId> {
        let is_shut = |id: &ConnectionId| {
            let Some(connection) = self.connections.get(*id) else {
                return false;
            };
            let session = connection.session().and_then(|id| self.sessions.get(id));
            let (old, new) = (
                self.settings.listener(connection.listener),
                settings.listener(connection.listener),
            );
            let wanted = !new.anonymous || (new.passwords && !old.passwords);
            wanted && session.is_some_and(|session| session.user_name().is_none())
        };
        let mut ids = self.connections.ids();
        ids.retain(is_shut);
        ids
    }

    /// Other settings are in force; the store and the memory limit stay as they were.
    pub fn replace_settings(&mut self, settings: &Settings) {
        self.settings = Settings {
            store: self.settings.store,
            memory_bytes_max: self.settings.memory_bytes_max,
            ..settings.clone()
        };
        self.general = self.settings.wants_general_delivery();
        self.note_looks();
    }

    /// The settings have changed, or who watches topics.
    fn note_looks(&mut self) {
        self.looks_at_publish = self.settings.restricts_publish() || self.watch.is_some();
    }

    /// PUBLISH packets are looked at before they are taken: the settings do not allow all that the standard allows, or
    /// topics are watched.
    #[inline]
    pub fn looks_at_publish(&self) -> bool {
        self.looks_at_publish
    }

    /// Counts of what happened so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// PUBLISH packets came from a Client, whatever becomes of them.
    #[inline]
    pub fn count_received(&mut self, packets: u32, payload_bytes: usize) {
        self.counters.messages_received += u64::from(packets);
        self.counters.payload_bytes_received += u64::from(packets) * payload_bytes as u64;
    }

    /// A packet of another type came from a Client.
    #[inline]
    pub fn count_other_received(&mut self) {
        self.counters.others_received += 1;
    }

    /// A Session has ended by its Session Expiry Interval.
    pub fn count_expired(&mut self) {
        self.counters.expired += 1;
    }

    /// Messages that wait in the queues of the Sessions of these slots, and bytes that wait to be sent to their
    /// connections. O(slots).
    pub fn waiting(&self, slots: Range<u32>) -> (usize, usize) {
        let sessions = slots.clone().filter_map(|slot| self.sessions.id_at(slot));
        let queued = sessions
            .filter_map(|id| Some(self.sessions.get(id)?.queue.count()))
            .sum();
        let connections = slots.filter_map(|slot| self.connections.id_at(slot));
        let unsent = connections
            .filter_map(|id| Some(self.connections.get(id)?.unsent_bytes))
            .sum();
        (queued, unsent)
    }

    /// All slots, of Sessions and of connections, are below this.
    pub fn slots_end(&self) -> u32 {
        self.sessions.end().max(self.connections.end())
    }

    /// Messages to this topic came from a Client, with payloads of this size.
    #[cold]
    pub fn watch_topic(&mut self, topic: &str, packets: u32, payload_bytes: usize) {
        let now = self.now;
        match &mut self.watch {
            Some(watch) if watch.is_wanted(now) => watch.count(topic, packets, payload_bytes),
            Some(_) => {
                self.watch = None;
                self.note_looks();
            }
            None => {}
        }
    }

    /// Which topics were busy since the last question; they are counted from now on.
    pub fn watched(&mut self) -> TopicsReport {
        let now = self.now;
        let watch = self.watch.replace(Box::new(Watch::new(now)));
        self.note_looks();
        let watch = watch.filter(|watch| watch.is_wanted(now));
        watch.map_or_else(TopicsReport::default, |watch| watch.report(now))
    }

    /// A message of the broker's own is routed.
    pub fn count_own_message(&mut self) {
        self.counters.messages_own += 1;
    }

    /// Messages go into the lane to a peer shard.
    #[inline]
    pub fn count_crossed(&mut self, messages: u32) {
        self.counters.messages_crossed += u64::from(messages);
    }

    /// A connection is refused, or ends before it is accepted.
    pub fn count_refusal(&mut self) {
        self.counters.refusals += 1;
    }

    /// Messages are lost for this reason.
    pub fn count_dropped(&mut self, why: Dropped, messages: u64) {
        self.counters.drop_messages(why, messages);
    }

    /// A large packet has gone; its memory serves the next one.
    pub fn give_packet(&mut self, packet: Vec<u8>) {
        self.pool.give_packet(packet);
    }

    /// The blocks of this shard, lent to who fills a parcel or empties one.
    pub fn pool(&mut self) -> &mut Pool {
        &mut self.pool
    }

    /// The number of an assigned client id.
    pub fn next_assigned(&mut self) -> u128 {
        self.assigned.draw()
    }

    /// What a store must know.
    #[inline]
    pub fn changes(&self) -> &Changes {
        &self.changes
    }

    /// The number of the changes under way.
    #[inline]
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// This shard has, or had, Sessions that are stored.
    #[inline]
    pub fn has_stored(&self) -> bool {
        self.has_stored
    }

    /// The number up to which all changes are kept.
    #[inline]
    pub fn kept(&self) -> u64 {
        self.kept
    }

    /// The number of the latest changes: of those under way, else of the last that left.
    pub fn last_sequence(&self) -> u64 {
        if self.changes.count() > 0 {
            self.sequence
        } else {
            self.sequence - 1
        }
    }

    /// Takes the changes of this turn, which leave under [`Clients::sequence`] if there are any.
    pub fn take_changes(&mut self) -> Vec<Change> {
        self.changes.take()
    }

    /// The changes of this number have left. The next changes have the next number.
    pub fn next_sequence(&mut self) {
        self.sequence += 1;
    }

    /// Deliveries of Shared Subscriptions have come to their end: [`Clients::take_ended`].
    #[inline]
    pub fn has_ended(&self) -> bool {
        !self.ended.is_empty()
    }

    /// Takes the list of them, in their order. [`Clients::reuse_ended`] gives the list back.
    pub fn take_ended(&mut self) -> Vec<(SessionId, Share)> {
        std::mem::take(&mut self.ended)
    }

    /// Keeps the memory of a list that has been dealt with.
    pub fn reuse_ended(&mut self, mut list: Vec<(SessionId, Share)>) {
        if self.ended.is_empty() {
            list.clear();
            self.ended = list;
        }
    }

    /// A delivery has come to its end, well or not.
    #[inline]
    pub(super) fn note_ended(&mut self, session: SessionId, share: Option<Share>) {
        if let Some(share) = share {
            self.ended.push((session, share));
        }
    }

    /// Logs lost messages and the reasons: at once, then at most once every [`limits::DROPS_LOGGED_EVERY_MS`].
    pub fn report_drops(&mut self, out: &mut Outputs) {
        if self.counters.losses == self.drops_logged || self.now < self.drops_due {
            return;
        }
        self.drops_logged = self.counters.losses;
        self.drops_due = self.now + limits::DROPS_LOGGED_EVERY_MS;
        out.tell(self.settings.logs, LogLevel::Warning, || {
            Happening::Dropping {
                shard: self.id,
                counters: Box::new(self.counters.clone()),
            }
        });
    }

    /// What is still held after all connections and Sessions are gone, by name. For tests.
    pub fn leftovers(&self) -> [(&'static str, usize); 8] {
        [
            ("slots of Sessions that ended", self.sessions.withheld()),
            ("bytes in the account book", self.book.bytes()),
            ("connections with held answers", self.held.connections()),
            ("connections that close", self.closing.len()),
            (
                "connections that wait for the store",
                self.storage.paced.len(),
            ),
            ("queued bytes", self.queued_bytes as usize),
            ("connections to resume", self.resumable.len()),
            ("connections to flush", self.dirty.len()),
        ]
    }

    /// Bytes that wait in queues, counted one by one, the message of several queues once.
    fn check_queued(&self) -> u64 {
        let mut queues_of = HashMap::new();
        let mut bytes = 0;
        let ids = self.sessions.ids().into_iter();
        let of_sessions = ids.map(|id| &self.sessions.get(id).expect("it was listed").queue);
        for item in of_sessions
            .chain(self.remains.queues())
            .flat_map(|q| q.iter())
        {
            bytes += item.own_bytes() as u64;
            let entry = queues_of.entry(Rc::as_ptr(&item.message));
            entry.or_insert((&item.message, 0)).1 += 1;
        }
        for (message, queues) in queues_of.values() {
            assert_eq!(message.queues(), *queues);
            bytes += message.bytes() as u64;
        }
        bytes
    }

    /// Walks everything and panics where one part contradicts another. Returns the number of subscriptions that
    /// Sessions hold. For tests.
    pub fn check_invariants(&self) -> usize {
        // Without debug assertions a broken one does not panic where it is met.
        assert_eq!(self.counters.broken_invariants, 0);
        let mut filters = 0;
        for id in self.sessions.ids() {
            let session = self.sessions.get(id).expect("it was listed");
            assert_eq!(self.find_session(&session.client_id), Some(id));
            session.inflight.check_invariants();
            session.queue.check_invariants();
            filters += session.filters.len();
            if let Some(connection) = session.connection {
                let connection = self
                    .connections
                    .get(connection)
                    .expect("it has a connection");
                assert_eq!(connection.session(), Some(id));
            }
        }
        assert_eq!(self.check_queued(), self.queued_bytes);
        assert_eq!(self.by_client_id.len(), self.sessions.count());
        self.check_unaccepted();
        self.held.check_invariants();
        self.remains.check_invariants();
        self.check_book();
        for id in self.connections.ids() {
            let connection = self.connections.get(id).expect("it was listed");
            assert!(connection.outbox.bytes() <= connection.unsent_bytes);
            assert_eq!(connection.is_closing(), self.closing.contains_key(&id));
            assert!(
                !connection.is_closing()
                    || ((connection.answers_awaited > 0 || self.held.holds(id))
                        && !connection.reading)
            );
            if let Some(session) = connection.session() {
                let session = self.sessions.get(session).expect("it has a session");
                assert_eq!(session.connection, Some(id));
            }
        }
        filters
    }
}

/// The connection has something to send when the turn ends.
#[inline]
pub(super) fn mark_dirty(connection: &mut Connection, dirty: &mut Vec<ConnectionId>) {
    if !connection.dirty {
        connection.dirty = true;
        dirty.push(connection.id);
    }
}
