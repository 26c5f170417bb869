//! The broker, its lanes, its clock and its Clients.

mod at_stage;

use super::ear::Ear;
use super::oracle::Packet;
use super::packets::Version;
use super::random::Random;
use super::stage::{Client, Stage};
use super::stream::Stream;
use mqttfast::acl::Rules;
use mqttfast::broker::{
    Change, CloseCause, Found, HandOver, Input, LogLevel, Output, Outputs, OwnMessage, PeerMessage,
    Report, Restored, Shard, StoreState, Survey, Verdict,
};
use mqttfast::buffer::{Chunks, Stock};
use mqttfast::config::Settings;
use mqttfast::ids::{ConnectionId, ListenerId, ShardId};
use mqttfast::io::words::sentence;
use mqttfast::time::Time;
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

/// The order in which lanes deliver when a test does not choose it itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// Round robin, one message at a time, a flush after each event.
    Fair,
    /// By the seed: any lane next, several events in one turn now and then, sends that leave in parts.
    Seeded(u64),
}

/// Where a Client's socket is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    At(ShardId, ConnectionId),
    /// In the lane to this shard, inside a `Crossing::Adopt`.
    InLane(ShardId),
    Gone,
}

/// One item of a lane.
enum Crossing {
    /// This Client's connection moves.
    Adopt(Client, Box<HandOver>),
    Said(PeerMessage),
}

struct ClientState {
    ear: Ear,
    address: SocketAddr,
    listener: ListenerId,
    place: Place,
    /// Bytes the Client sent that no shard has read yet.
    unread: Stream,
    /// Told by `StopReading` and `ResumeReading`.
    reading: bool,
    /// The one send under way, with the bytes of it that have not left yet.
    under_way: Option<(Chunks, Stream)>,
    /// Takes nothing until told to.
    slow: bool,
    /// The broker closed the connection.
    closed: bool,
    /// The peer went away while its socket was in a lane.
    dropped: bool,
    /// A check of credentials is under way.
    authenticating: bool,
    /// `Output::ProbePeer` came.
    probed: bool,
    stops: usize,
}

#[derive(Default)]
struct Slot {
    generation: u32,
    client: Option<Client>,
}

/// Something that happens outside the shards but inside one node.
enum Local {
    /// The kernel takes bytes of this Client's send.
    Drain(Client),
    Verdict(Client, Verdict),
    /// The store has kept the changes up to this number of this shard.
    Kept(usize, u64),
}

pub struct World {
    shards: Vec<Shard>,
    slots: Vec<Vec<Slot>>,
    /// `lanes[from * N + to]`.
    lanes: Vec<VecDeque<Crossing>>,
    lane_pressed: Vec<bool>,
    /// Lanes that have just filled; told once the outputs that filled them have been carried out.
    pressing: Vec<(usize, ShardId)>,
    /// Messages of a lane above and below which the receiver of `Pressure` is told.
    pub lane_high: usize,
    pub lane_low: usize,
    clients: Vec<ClientState>,
    local: VecDeque<Local>,
    outputs: Vec<Outputs>,
    /// Shards with an event since their last flush.
    unflushed: Vec<bool>,
    now: Time,
    order: Order,
    random: Random,
    next_lane: usize,
    next_accept: usize,
    /// Lanes deliver only by `deliver`.
    pub lanes_held: bool,
    /// Credentials are not answered until `answer_credentials`.
    pub verdicts_held: bool,
    /// Nothing happens but by `step`.
    pub stepwise: bool,
    /// The shards' invariants are not walked after each event: for tests of time.
    pub unchecked: bool,
    /// All invariants are walked after every so many events of a case's first 5,000.
    pub checked_every: u64,
    held_verdicts: Vec<(Client, Verdict)>,
    /// Each read gives the shard this many bytes at most.
    pub read_bytes_max: usize,
    credentials: Vec<(String, Vec<u8>)>,
    pub log: Vec<(LogLevel, String)>,
    /// The address that the next Clients come from; `None`: another one for each.
    pub from: Option<IpAddr>,
    reports: Vec<Report>,
    /// What a store was told, in order: by which shard, under which number. With `store` in the settings.
    pub changes: Vec<(usize, u64, Vec<Change>)>,
    /// Shards that have said that everything restored is in force.
    pub restored: usize,
    /// The store keeps nothing until `keep`.
    pub store_stuck: bool,
    /// Messages put into lanes so far, by `PeerMessage::Publish` and in parcels.
    pub publishes_in_lanes: usize,
    /// Events handled so far; a bound against a broker that never comes to rest.
    events: u64,
}

/// Events after which a test is taken for one that never ends.
const EVENTS_MAX: u64 = 3_000_000;

impl World {
    pub fn new(shards: usize) -> Self {
        Self::with(shards, Order::Fair, Settings::default())
    }

    pub fn with(shards: usize, order: Order, settings: Settings) -> Self {
        let seed = match order {
            Order::Fair => 0,
            Order::Seeded(seed) => seed,
        };
        let memory = Arc::new(Stock::new(settings.memory_bytes_max, shards));
        World {
            shards: (0..shards)
                .map(|shard| {
                    let (id, memory) = (ShardId(shard as u8), Arc::clone(&memory));
                    Shard::with_memory(id, shards, settings.clone(), memory)
                })
                .collect(),
            slots: (0..shards).map(|_| Vec::new()).collect(),
            outputs: (0..shards).map(|_| Outputs::default()).collect(),
            lanes: (0..shards * shards).map(|_| VecDeque::new()).collect(),
            lane_pressed: vec![false; shards * shards],
            pressing: Vec::new(),
            lane_high: 4096,
            lane_low: 256,
            clients: Vec::new(),
            local: VecDeque::new(),
            unflushed: vec![false; shards],
            now: Time(1_000_000),
            order,
            random: Random::new(seed),
            next_lane: 0,
            next_accept: seed as usize % shards,
            lanes_held: false,
            verdicts_held: false,
            stepwise: false,
            unchecked: false,
            checked_every: 1,
            held_verdicts: Vec::new(),
            read_bytes_max: 16 * 1024,
            credentials: Vec::new(),
            from: None,
            log: Vec::new(),
            reports: Vec::new(),
            changes: Vec::new(),
            restored: 0,
            store_stuck: false,
            publishes_in_lanes: 0,
            events: 0,
        }
    }

    pub fn shard(&self, shard: usize) -> &Shard {
        &self.shards[shard]
    }

    /// Gives a shard a message of the broker's own.
    pub fn publish_own(&mut self, shard: usize, message: OwnMessage) {
        self.handle(shard, Input::Publish(message));
    }

    /// Gives a shard a chunk of what a store has kept.
    pub fn restore(&mut self, shard: usize, restored: Restored) {
        self.handle(shard, Input::Restored(Box::new(restored)));
    }

    /// Tells a shard how the store is.
    pub fn tell_store(&mut self, shard: usize, state: StoreState) {
        self.handle(shard, Input::Store(state));
        self.settle();
    }

    /// Gives each shard what a store has kept, and waits until it is in force.
    pub fn restore_all(&mut self, chunks: Vec<Vec<Restored>>) {
        let longest = chunks.iter().map(Vec::len).max().unwrap_or(0);
        let mut chunks: Vec<_> = chunks.into_iter().map(Vec::into_iter).collect();
        for _ in 0..longest {
            for (shard, chunks) in chunks.iter_mut().enumerate() {
                if let Some(chunk) = chunks.next() {
                    self.restore(shard, chunk);
                }
            }
        }
        self.settle();
        assert_eq!(self.restored, self.shards(), "all are in force");
    }

    /// Asks a shard; it answers while it is asked.
    pub fn ask(&mut self, shard: usize, survey: Survey) -> Report {
        self.handle(shard, Input::Survey(Box::new(survey)));
        assert_eq!(self.reports.len(), 1, "one survey, one report");
        self.reports.remove(0)
    }

    /// An operator's order; whether this shard had something to do.
    pub fn order(&mut self, shard: usize, order: &mqttfast::broker::Order) -> bool {
        self.handle(shard, Input::Order(Box::new(order.clone())));
        assert_eq!(self.reports.len(), 1, "one order, one report");
        match self.reports.remove(0).found {
            Found::Done(done) => done,
            other => panic!("{other:?}"),
        }
    }

    pub fn now(&self) -> Time {
        self.now
    }

    /// No user is known any more.
    pub fn forget_users(&mut self) {
        self.credentials.clear();
    }

    // Clients

    /// A Network Connection that this shard accepts.
    pub fn open_at(&mut self, shard: usize, version: Version) -> Client {
        self.open_by(ListenerId(0), shard, version)
    }

    /// A Network Connection by this listener of the settings.
    pub fn open_by(&mut self, listener: ListenerId, shard: usize, version: Version) -> Client {
        let client = Client(self.clients.len());
        let number = self.clients.len() as u16;
        let own = IpAddr::V4(Ipv4Addr::new(192, 0, 2, (number % 250) as u8 + 1));
        let ip = self.from.unwrap_or(own);
        let address = SocketAddr::new(ip, 10_000 + number % 50_000);
        let connection = self.take_slot(shard, client);
        self.clients.push(ClientState {
            ear: Ear::new(version),
            address,
            listener,
            place: Place::At(ShardId(shard as u8), connection),
            unread: Stream::default(),
            reading: true,
            under_way: None,
            slow: false,
            closed: false,
            dropped: false,
            authenticating: false,
            probed: false,
            stops: 0,
        });
        self.handle(
            shard,
            Input::Opened {
                connection,
                address,
                listener,
                crowded: false,
            },
        );
        self.settle();
        client
    }

    /// Bytes that the shard gets although it has stopped reading: they were already on their way.
    pub fn send_past_stop(&mut self, client: Client, bytes: &[u8]) {
        if let Place::At(shard, connection) = self.clients[client.0].place {
            self.handle(shard.index(), Input::Bytes { connection, bytes });
            self.settle();
        }
    }

    /// Ends the connection now, whatever lies unread.
    pub fn cut(&mut self, client: Client, cause: CloseCause) {
        match self.clients[client.0].place {
            Place::At(shard, connection) => {
                self.release(shard, connection, client);
                self.handle(shard.index(), Input::Closed { connection, cause });
            }
            Place::InLane(_) => self.clients[client.0].dropped = true,
            Place::Gone => (),
        }
    }

    /// Everything the Client ever received.
    pub fn history(&self, client: Client) -> &[Packet] {
        &self.clients[client.0].ear.history
    }

    /// The shard that holds the connection now; `None` in a lane or after its end.
    pub fn place(&self, client: Client) -> Option<usize> {
        match self.clients[client.0].place {
            Place::At(shard, _) => Some(shard.index()),
            _ => None,
        }
    }

    /// From now on the Client takes bytes only by `take_bytes`.
    pub fn read_slowly(&mut self, client: Client) {
        self.clients[client.0].slow = true;
    }

    /// The same, or the shard whose lane the connection is in; `None` after its end.
    pub fn next_place(&self, client: Client) -> Option<usize> {
        match self.clients[client.0].place {
            Place::At(shard, _) | Place::InLane(shard) => Some(shard.index()),
            Place::Gone => None,
        }
    }

    /// The Client takes everything again.
    pub fn read_at_once(&mut self, client: Client) {
        self.clients[client.0].slow = false;
        self.local.push_back(Local::Drain(client));
        self.settle();
    }

    /// A slow Client takes up to this many bytes; returns how many there were.
    pub fn take_bytes(&mut self, client: Client, count: usize) -> usize {
        let taken = self.drain(client, count);
        self.settle();
        taken
    }

    /// Bytes given by `Send` that the Client has not taken yet.
    pub fn waiting_to_leave(&self, client: Client) -> usize {
        let state = &self.clients[client.0];
        state.under_way.as_ref().map_or(0, |(_, left)| left.len())
    }

    /// Bytes the Client sent that the broker has not read yet.
    pub fn unread(&self, client: Client) -> usize {
        self.clients[client.0].unread.len()
    }

    /// Everything the Client sent has been read and handled, but for a packet that is not complete.
    pub fn is_read(&self, client: Client) -> bool {
        let state = &self.clients[client.0];
        state.reading && state.unread.is_empty() && matches!(state.place, Place::At(..))
    }

    /// The broker has ended the connection, though last answers may still come.
    pub fn is_over(&self, client: Client) -> bool {
        match self.clients[client.0].place {
            Place::At(shard, connection) => self.shards[shard.index()].is_closing(connection),
            Place::InLane(_) => false,
            Place::Gone => true,
        }
    }

    /// Times that reading from this Client was stopped after it had connected.
    pub fn stops(&self, client: Client) -> usize {
        self.clients[client.0].stops
    }

    pub fn probed(&self, client: Client) -> bool {
        self.clients[client.0].probed
    }

    /// This user is deleted from the password file; the shards are told one by one, in the order given.
    pub fn delete_user(&mut self, user_name: &str, shards: &[usize]) {
        self.credentials.retain(|(name, _)| name != user_name);
        let users: Arc<[Box<str>]> = [user_name.into()].into();
        for &shard in shards {
            self.handle(shard, Input::UsersGone(Arc::clone(&users)));
        }
    }

    /// These rules are in force from now on, on every shard.
    pub fn put_rules(&mut self, rules: Rules) {
        let rules = Arc::new(rules);
        for shard in 0..self.shards() {
            self.handle(shard, Input::Rules(Arc::clone(&rules)));
        }
        self.settle();
    }

    /// Gives the answers held back by `verdicts_held`.
    pub fn answer_credentials(&mut self) {
        for (client, verdict) in std::mem::take(&mut self.held_verdicts) {
            self.local.push_back(Local::Verdict(client, verdict));
        }
        self.settle();
    }

    /// The same, all with one verdict.
    pub fn answer_credentials_by(&mut self, verdict: Verdict) {
        for (_, held) in &mut self.held_verdicts {
            *held = verdict;
        }
        self.answer_credentials();
    }

    /// Lets this much time pass; every deadline on the way gets its Tick.
    pub fn advance(&mut self, ms: u64) {
        let end = self.now + ms;
        loop {
            self.settle();
            match self.next_deadline() {
                Some(deadline) if deadline <= end => self.now = self.now.max(deadline),
                _ => break,
            }
        }
        self.now = end;
        self.settle();
    }

    /// No shard runs for so long, however many deadlines come meanwhile.
    pub fn stop_for(&mut self, ms: u64) {
        self.settle();
        self.now = self.now + ms;
        self.settle();
    }

    fn next_deadline(&self) -> Option<Time> {
        self.shards.iter().filter_map(Shard::next_deadline).min()
    }

    // Lanes

    /// Lanes that hold something, as (from, to).
    pub fn lanes_ready(&self) -> Vec<(usize, usize)> {
        let shards = self.shards();
        (0..shards * shards)
            .filter(|lane| !self.lanes[*lane].is_empty())
            .map(|lane| (lane / shards, lane % shards))
            .collect()
    }

    pub fn lane_messages(&self) -> usize {
        self.lanes.iter().map(VecDeque::len).sum()
    }

    /// Delivers the oldest message of a lane and what follows from it inside that shard.
    pub fn deliver(&mut self, from: usize, to: usize) {
        self.take_from_lane(from, to);
        self.settle_inside();
    }

    fn take_from_lane(&mut self, from: usize, to: usize) {
        let lane = from * self.shards() + to;
        let message = self.lanes[lane].pop_front().expect("the lane is empty");
        if self.lane_pressed[lane] && self.lanes[lane].len() < self.lane_low {
            self.lane_pressed[lane] = false;
            let to = ShardId(to as u8);
            self.handle(from, Input::Pressure { to, on: false });
        }
        match message {
            Crossing::Adopt(client, hand_over) => {
                let connection = self.take_slot(to, client);
                let state = &mut self.clients[client.0];
                let (address, listener) = (state.address, state.listener);
                state.place = Place::At(ShardId(to as u8), connection);
                state.reading = false;
                let dropped = state.dropped;
                self.handle(
                    to,
                    Input::Adopted {
                        connection,
                        address,
                        listener,
                        hand_over,
                    },
                );
                if dropped {
                    self.cut(client, CloseCause::PeerClosed);
                }
            }
            Crossing::Said(message) => self.handle(
                to,
                Input::Peer {
                    from: ShardId(from as u8),
                    message,
                },
            ),
        }
    }

    /// The store has kept all it was told, and works again.
    pub fn keep(&mut self) {
        self.store_stuck = false;
        for shard in 0..self.shards.len() {
            self.note_kept(shard);
        }
        self.settle();
    }

    /// The store has kept all that this shard told it.
    pub fn keep_at(&mut self, shard: usize) {
        self.note_kept(shard);
        self.settle();
    }

    fn note_kept(&mut self, shard: usize) {
        let told = self.changes.iter().filter(|(of, _, _)| *of == shard);
        if let Some(sequence) = told.map(|(_, sequence, _)| *sequence).max() {
            self.local.push_back(Local::Kept(shard, sequence));
        }
    }

    /// The store has kept what this shard told it up to this number.
    pub fn keep_upto(&mut self, shard: usize, sequence: u64) {
        self.local.push_back(Local::Kept(shard, sequence));
        self.settle();
    }

    /// One event anywhere, by chance in a lane. `false`: there is none.
    pub fn step(&mut self) -> bool {
        if self.random.below(3) == 0 && self.step_between() {
            return true;
        }
        self.step_inside() || self.step_between()
    }

    /// The clock of a broker that goes on where another one ended.
    pub fn begin_at(&mut self, now: Time) {
        assert!(self.events == 0 && now >= self.now);
        self.now = now;
    }

    /// Runs until nothing is left to do at this time; with `lanes_held` the lanes stay as they are.
    pub fn settle(&mut self) {
        while !self.stepwise {
            let inside = self.step_inside();
            let between = !self.lanes_held && self.step_between();
            if !inside && !between {
                break;
            }
        }
    }

    /// Runs everything but the lanes.
    fn settle_inside(&mut self) {
        while self.step_inside() {}
    }

    /// One event at one shard: a send that leaves, a verdict, a read, a flush, a Tick. `false`: there is none.
    fn step_inside(&mut self) -> bool {
        if let Some(event) = self.local.pop_front() {
            self.on_local(event);
        } else if let Some(client) = self.readable() {
            self.read(client);
        } else if let Some(shard) = self.unflushed.iter().position(|unflushed| *unflushed) {
            self.flush(shard);
        } else if let Some(shard) = self.due() {
            self.handle(shard, Input::Tick);
        } else {
            return false;
        }
        true
    }

    /// A shard whose deadline has come.
    fn due(&self) -> Option<usize> {
        let now = self.now;
        let is_due = |shard: &Shard| shard.next_deadline().is_some_and(|due| due <= now);
        self.shards.iter().position(is_due)
    }

    /// One message of one lane. `false`: all are empty.
    fn step_between(&mut self) -> bool {
        let ready = self.lanes_ready();
        if ready.is_empty() {
            return false;
        }
        let (from, to) = match self.order {
            Order::Fair => {
                // The first lane at or after the one whose turn it is.
                let shards = self.shards();
                let lane = ready
                    .iter()
                    .map(|(from, to)| from * shards + to)
                    .find(|lane| *lane >= self.next_lane)
                    .unwrap_or(ready[0].0 * shards + ready[0].1);
                self.next_lane = lane + 1;
                (lane / shards, lane % shards)
            }
            Order::Seeded(_) => ready[self.random.below(ready.len())],
        };
        self.take_from_lane(from, to);
        true
    }

    fn on_local(&mut self, event: Local) {
        match event {
            Local::Drain(client) => {
                if self.clients[client.0].slow {
                    return;
                }
                let waiting = self.waiting_to_leave(client);
                if self.seeded_chance(4) && waiting > 1 {
                    self.drain(client, waiting / 2);
                    self.local.push_back(Local::Drain(client));
                } else {
                    self.drain(client, usize::MAX);
                }
            }
            Local::Kept(shard, sequence) => self.handle(shard, Input::Kept { sequence }),
            Local::Verdict(client, verdict) => {
                self.clients[client.0].authenticating = false;
                if let Place::At(shard, connection) = self.clients[client.0].place {
                    let input = Input::Verdict {
                        connection,
                        verdict,
                    };
                    self.handle(shard.index(), input);
                }
            }
        }
    }

    fn seeded_chance(&mut self, one_in: usize) -> bool {
        self.order != Order::Fair && self.random.below(one_in) == 0
    }

    fn readable(&self) -> Option<Client> {
        self.clients
            .iter()
            .position(|client| {
                client.reading
                    && !client.authenticating
                    && !client.unread.is_empty()
                    && matches!(client.place, Place::At(..))
            })
            .map(Client)
    }

    fn read(&mut self, client: Client) {
        let Place::At(shard, connection) = self.clients[client.0].place else {
            panic!("read without a place");
        };
        let unread = &mut self.clients[client.0].unread;
        let count = unread.len().min(self.read_bytes_max);
        let bytes = unread.take(count);
        let input = Input::Bytes {
            connection,
            bytes: &bytes,
        };
        self.handle(shard.index(), input);
    }

    /// Moves up to `count` bytes of the send under way to the Client; returns how many.
    fn drain(&mut self, client: Client, count: usize) -> usize {
        let state = &mut self.clients[client.0];
        let Some((_, left)) = &mut state.under_way else {
            return 0;
        };
        let bytes = left.len().min(count);
        state.ear.arrived.extend(left.take(bytes));
        let returned = if left.is_empty() {
            state.under_way.take().map(|(chunks, _)| chunks)
        } else {
            None
        };
        self.parse_arrived(client);
        if let Place::At(shard, connection) = self.clients[client.0].place {
            self.handle(
                shard.index(),
                Input::Sent {
                    connection,
                    bytes,
                    returned,
                },
            );
        }
        bytes
    }

    fn parse_arrived(&mut self, client: Client) {
        let state = &mut self.clients[client.0];
        let answers = state.ear.parse();
        state.unread.extend(answers);
    }

    /// The bytes of everything received since the last look.
    pub fn raw(&mut self, client: Client) -> Vec<u8> {
        std::mem::take(&mut self.clients[client.0].ear.raw)
    }

    // Shards

    fn take_slot(&mut self, shard: usize, client: Client) -> ConnectionId {
        let slots = &mut self.slots[shard];
        let index = slots
            .iter()
            .position(|slot| slot.client.is_none())
            .unwrap_or(slots.len());
        if index == slots.len() {
            slots.push(Slot::default());
        }
        slots[index].client = Some(client);
        ConnectionId {
            index: index as u32,
            generation: slots[index].generation,
        }
    }

    fn free_slot(&mut self, shard: ShardId, connection: ConnectionId) {
        let slot = &mut self.slots[shard.index()][connection.index as usize];
        assert_eq!(slot.generation, connection.generation);
        slot.client = None;
        slot.generation = (slot.generation + 1) & 0x00ff_ffff;
    }

    /// The connection is over: its slot is free and what was given to send has left.
    fn release(&mut self, shard: ShardId, connection: ConnectionId, client: Client) {
        self.free_slot(shard, connection);
        let state = &mut self.clients[client.0];
        state.place = Place::Gone;
        state.unread = Stream::default();
        // A driver holds no memory of the shard's for a connection that is gone.
        if let Some((chunks, _)) = &mut state.under_way {
            chunks.clear();
        }
    }

    #[track_caller]
    fn client_at(&self, shard: usize, connection: ConnectionId) -> Client {
        let slot = self.slots[shard].get(connection.index as usize);
        let slot = slot.unwrap_or_else(|| panic!("{connection:?} was never opened"));
        assert_eq!(
            slot.generation, connection.generation,
            "an output for an earlier use of the slot"
        );
        slot.client
            .expect("an output for a connection that is gone")
    }

    fn handle(&mut self, shard: usize, input: Input<'_>) {
        self.events += 1;
        assert!(self.events < EVENTS_MAX, "the broker does not come to rest");
        self.shards[shard].handle(self.now, input, &mut self.outputs[shard]);
        // The walk costs what the shard holds; in long cases now and then is enough.
        let every = if self.events < 5_000 {
            self.checked_every
        } else {
            64
        };
        if !self.unchecked && self.events.is_multiple_of(every) {
            self.shards[shard].check_invariants();
        }
        self.carry_out(shard);
        self.unflushed[shard] = true;
        // With a seed some turns hold more than one event.
        if !self.seeded_chance(3) {
            self.flush(shard);
        }
    }

    fn flush(&mut self, shard: usize) {
        self.unflushed[shard] = false;
        self.shards[shard].flush(self.now, &mut self.outputs[shard]);
        self.carry_out(shard);
    }

    fn carry_out(&mut self, shard: usize) {
        let mut outputs = std::mem::take(&mut self.outputs[shard].list)
            .into_iter()
            .peekable();
        while let Some(output) = outputs.next() {
            match output {
                Output::Send { connection, chunks } => {
                    let client = self.client_at(shard, connection);
                    let mut bytes = Stream::default();
                    for chunk in &chunks {
                        bytes.extend(chunk.bytes());
                    }
                    assert!(!bytes.is_empty(), "a Send of nothing");
                    let state = &mut self.clients[client.0];
                    if let Some((_, left)) = &mut state.under_way {
                        // The last words of a connection may follow the send under way.
                        let closes = matches!(
                            outputs.peek(),
                            Some(Output::Close { connection: next, .. }) if *next == connection
                        );
                        assert!(closes, "two Sends under way");
                        left.extend(bytes.rest());
                        continue;
                    }
                    state.under_way = Some((chunks, bytes));
                    self.local.push_back(Local::Drain(client));
                }
                Output::StopReading { connection } => {
                    let client = self.client_at(shard, connection);
                    let state = &mut self.clients[client.0];
                    state.reading = false;
                    if !state.ear.history.is_empty() {
                        state.stops += 1;
                    }
                }
                Output::ResumeReading { connection } => {
                    let client = self.client_at(shard, connection);
                    self.clients[client.0].reading = true;
                }
                // How much is read at a time is the test's to say.
                Output::ReadLarge { .. } => {}
                Output::Close { connection, .. } => {
                    let client = self.client_at(shard, connection);
                    // What was given still leaves, slow reader or not.
                    if let Some((_, left)) = self.clients[client.0].under_way.take() {
                        self.clients[client.0].ear.arrived.extend(left.rest());
                        self.parse_arrived(client);
                    }
                    self.release(ShardId(shard as u8), connection, client);
                    self.clients[client.0].closed = true;
                    let arrived = &self.clients[client.0].ear.arrived;
                    assert!(arrived.is_empty(), "the last packet is cut: {arrived:?}");
                }
                Output::ProbePeer { connection } => {
                    let client = self.client_at(shard, connection);
                    self.clients[client.0].probed = true;
                }
                Output::Authenticate {
                    connection,
                    user_name,
                    password,
                } => {
                    let client = self.client_at(shard, connection);
                    self.clients[client.0].authenticating = true;
                    let known = self.credentials.iter().find(|(name, _)| *name == user_name);
                    let verdict = match known {
                        None => Verdict::UnknownUser,
                        Some((_, right)) if *right == password => Verdict::Accepted,
                        Some(_) => Verdict::WrongPassword,
                    };
                    if self.verdicts_held {
                        self.held_verdicts.push((client, verdict));
                    } else {
                        self.local.push_back(Local::Verdict(client, verdict));
                    }
                }
                Output::HandOver {
                    connection,
                    to,
                    hand_over,
                } => self.hand_over(shard, connection, to, hand_over),
                Output::Peer { to, message } => {
                    let said = match &message {
                        PeerMessage::Spilled { message, .. } => message,
                        message => message,
                    };
                    self.publishes_in_lanes += match said {
                        PeerMessage::Publish { .. } => 1,
                        PeerMessage::Parcel(parcel) => parcel.messages(),
                        _ => 0,
                    };
                    self.put_into_lane(shard, to, Crossing::Said(message));
                }
                Output::Changes { sequence, changes } => {
                    self.changes.push((shard, sequence, changes));
                    if !self.store_stuck {
                        self.local.push_back(Local::Kept(shard, sequence));
                    }
                }
                Output::Restored => self.restored += 1,
                Output::GiveMemoryBack => {}
                Output::Report(report) => self.reports.push(*report),
                // A helper thread that these tests do not have.
                Output::SysWanted => {}
                Output::Happened(happening) => self.log.push(sentence(&happening)),
            }
        }
        while let Some((from, to)) = self.pressing.pop() {
            self.handle(from, Input::Pressure { to, on: true });
        }
    }

    fn hand_over(
        &mut self,
        shard: usize,
        connection: ConnectionId,
        to: ShardId,
        hand_over: Box<HandOver>,
    ) {
        let client = self.client_at(shard, connection);
        assert_ne!(usize::from(to.0), shard, "handed over to itself");
        self.free_slot(ShardId(shard as u8), connection);
        let state = &mut self.clients[client.0];
        assert!(
            state.under_way.is_none() && state.ear.history.is_empty(),
            "something was sent before the hand-over"
        );
        state.place = Place::InLane(to);
        state.reading = false;
        self.put_into_lane(shard, to, Crossing::Adopt(client, hand_over));
    }

    fn put_into_lane(&mut self, from: usize, to: ShardId, crossing: Crossing) {
        assert_ne!(to.index(), from, "a message to itself");
        let lane = from * self.shards() + to.index();
        self.lanes[lane].push_back(crossing);
        if !self.lane_pressed[lane] && self.lanes[lane].len() > self.lane_high {
            self.lane_pressed[lane] = true;
            self.pressing.push((from, to));
        }
    }
}
