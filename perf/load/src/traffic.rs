//! The event loop: publishers and subscribers on one thread, one read a wake-up and one write a turn.
//!
//! Every payload carries its publisher, its sequence number and the time it was due, so that each subscriber sees
//! a loss, a swap or a duplicate at once:
//!
//! ```text
//! 0..4 publisher (u32 LE) | 4..12 sequence (u64 LE) | 12..20 due, ns (u64 LE; if it fits) | filler | last byte
//! ```
//!
//! The last byte repeats the low byte of the sequence number, so that a payload cut or mixed up shows.
//! Cost: about 30 ns a message with the kernel's share when messages batch.

use crate::client::{Client, Connection, Target};
use crate::histogram::Histogram;
use crate::memory;
use crate::usage::{self, Memory, Processes, Usage};
use crate::wire::{self, PublishShape};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use std::io::{ErrorKind, Read};
use std::ops::Range;
use std::time::Duration;

/// The smallest payload that holds publisher, sequence number and last byte.
pub const PAYLOAD_BYTES_MIN: usize = 13;
const PROBE_PAYLOAD_BYTES: usize = 64;
/// What a flooding publisher offers its socket in one turn.
const FLOOD_WRITE_BYTES: usize = 16 * 1024;
/// One read takes at most this much; a subscriber of `flood` only a quarter of what its publisher offers.
const READ_BYTES: usize = 256 * 1024;
const FLOOD_READ_BYTES: usize = 4 * 1024;
/// Without any progress for so long the run is over.
const STALLED_NS: u64 = 10_000_000_000;
const TOPIC_DIGITS: usize = 5;
pub const TOPICS_MAX: usize = 99_999;
const TOPIC_TAIL: &str = "/temp";
const TOPIC_STEP: u64 = 7_919;
const TIMER: u64 = u64::MAX;

/// Who gets whose messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    /// Publisher i to subscriber i.
    Pairs,
    /// Every publisher to every subscriber.
    All,
}

/// When a publisher sends.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Pacing {
    /// At most this many messages sent and not delivered (nor, above QoS 0, acknowledged).
    /// It sends again once half of them came back, so that batches are possible where the window allows them.
    Window(u64),
    /// Whatever the socket takes.
    Flood,
    /// So many a second over all publishers, evenly spaced, whatever comes back.
    Open(f64),
}

/// Of publisher and subscriber, in a broker whose shards are chosen by the hash of the client id as mqttfast's are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    SameShard,
    OtherShard,
}

/// Shards of the scenarios with a [`Place`].
const PLACE_SHARDS: u64 = 2;

impl Place {
    /// A client id that begins with `base` and has its home on shard `home`.
    fn client_id(base: &str, home: u64) -> String {
        // FNV-1a, folded: `broker::connect::home_of`.
        let home_of = |id: &str| {
            let hash = id.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
            });
            (hash ^ (hash >> 32)) % PLACE_SHARDS
        };
        let tried = (0..).map(|number| format!("{base}-{number}"));
        let mut found = tried.filter(|id| home_of(id) == home % PLACE_SHARDS);
        found.next().expect("endless")
    }
}

#[derive(Clone, Debug)]
pub struct Plan {
    pub publishers: usize,
    pub subscribers: usize,
    pub shape: Shape,
    pub pacing: Pacing,
    pub payload_bytes: usize,
    pub qos: u8,
    /// Topic of publisher i: this, then `/i`; `i` alone if it is empty.
    pub topic: String,
    /// Topics each publisher of a pair goes round, each with a filter of its own: `topic/i-00000/temp` and on.
    /// 1: only `topic/i`.
    pub topics: usize,
    /// Messages a second of one more pair of clients, open loop, that share nothing with the others; 0: none.
    pub probe_rate: f64,
    /// Where the homes of publisher and subscriber are, as client ids choose them.
    pub place: Option<Place>,
    /// What client ids begin with.
    pub name: String,
    /// Of the window scenarios; `Open` and the probe are always timed.
    pub latency: bool,
    pub warm_up_s: f64,
    pub seconds: f64,
}

impl Plan {
    /// The topic of publisher `index` in turn `turn`, below `topics`.
    fn topic(&self, index: usize, turn: usize) -> String {
        if self.topic.is_empty() {
            return index.to_string();
        }
        if self.topics == 1 {
            return format!("{}/{index}", self.topic);
        }
        format!(
            "{}/{index}-{turn:0digits$}{TOPIC_TAIL}",
            self.topic,
            digits = TOPIC_DIGITS
        )
    }
}

/// What was seen between the end of the warm-up and the end (of the drain, if flooding).
pub struct Outcome {
    pub seconds: f64,
    pub delivered: u64,
    pub usage: Usage,
    pub memory: Memory,
    pub own_cpu_ns: u64,
    /// Of the whole run: sent, counted once for each subscriber.
    pub due: u64,
    pub lost: u64,
    /// Came after a later message of the same publisher, or a second time, or was acknowledged out of turn.
    pub disordered: u64,
    /// Payload not as sent.
    pub corrupt: u64,
    pub latency: Histogram,
    /// How late the generator itself was in open loop: part of the latency that is not the broker's.
    pub lateness: Histogram,
    pub stalled: bool,
}

struct Publisher {
    connection: usize,
    frame: Vec<u8>,
    shape: PublishShape,
    /// Where in `frame` the digits of the changing topic lie, and how many topics there are.
    topic_digits_at: usize,
    topics: u64,
    pacing: Pacing,
    sent: u64,
    acked: u64,
    subscribers: Range<usize>,
    touched: bool,
}

struct Subscriber {
    /// The first of the publishers it hears.
    first: usize,
    /// Next sequence number of each of them.
    expected: Vec<u64>,
    payload_bytes: usize,
    probe: bool,
    timed: bool,
}

#[derive(Clone, Copy)]
enum Role {
    Publisher(usize),
    Subscriber(usize),
}

struct Slot {
    connection: Connection,
    role: Role,
    read_bytes: usize,
    interest: EpollFlags,
    /// Wants to hear of room in the socket all the time.
    flooding: bool,
}

struct Engine {
    epoll: Epoll,
    timer: TimerFd,
    slots: Vec<Slot>,
    publishers: Vec<Publisher>,
    subscribers: Vec<Subscriber>,
    v5: bool,
    place: Option<(Place, Shape)>,
    name: String,
    qos: u8,
    buffer: Vec<u8>,
    /// What was read of a connection that is not MQTT alone.
    sealed: Vec<u8>,
    scratch: Vec<u8>,
    touched: Vec<usize>,
    /// The publishers in open loop, when the next message is due, and how many were.
    open: Range<usize>,
    open_rate: f64,
    open_start_ns: u64,
    open_count: u64,
    sending: bool,
    delivered: u64,
    probe_delivered: u64,
    acked: u64,
    gaps: u64,
    disordered: u64,
    acks_disordered: u64,
    corrupt: u64,
    latency: Histogram,
    lateness: Histogram,
}

fn system(error: impl std::fmt::Display) -> String {
    format!("the generator: {error}")
}

/// Connects everybody, runs the plan, and returns what was seen.
pub fn run(to: Target, plan: &Plan, processes: &Processes) -> Result<Outcome, String> {
    let mut engine = Engine::connect(to, plan)?;
    let started = usage::now_ns();
    engine.start(started)?;
    let flood = plan.pacing == Pacing::Flood;
    let warm = |engine: &mut Engine| {
        let progressed = engine.run_until(usage::now_ns() + (plan.warm_up_s * 1e9) as u64);
        engine.latency = Histogram::new();
        engine.lateness = Histogram::new();
        progressed
    };
    // A flood is counted from its first message to its last, since the backlog is the point; only its probe warms up.
    let mut stalled = !flood && !warm(&mut engine)?;
    let before = processes.usage()?;
    let (own_before, delivered_before, from) =
        (usage::own_cpu_ns(), engine.delivered, usage::now_ns());
    stalled |= flood && !warm(&mut engine)?;
    stalled |= !engine.run_until(usage::now_ns() + (plan.seconds * 1e9) as u64)?;
    let end = |engine: &Engine| -> Result<_, String> {
        Ok((
            processes.usage()?,
            usage::own_cpu_ns(),
            engine.delivered,
            usage::now_ns(),
        ))
    };
    let mut after = end(&engine)?;
    engine.stop()?;
    // What was in flight counts for loss and order, but not for the rate, unless flooding.
    let last = engine.drain()?;
    if flood {
        after = end(&engine)?;
        after.3 = last.max(from + 1);
    }
    let (due, tail) = engine.due_and_tail();
    Ok(Outcome {
        seconds: (after.3 - from) as f64 / 1e9,
        delivered: after.2 - delivered_before,
        usage: after.0 - before,
        memory: processes.memory()?,
        own_cpu_ns: after.1 - own_before,
        due,
        lost: (engine.gaps + tail).saturating_sub(engine.disordered),
        disordered: engine.disordered + engine.acks_disordered,
        corrupt: engine.corrupt,
        latency: engine.latency,
        lateness: engine.lateness,
        stalled,
    })
}

impl Engine {
    fn connect(to: Target, plan: &Plan) -> Result<Engine, String> {
        assert!(plan.payload_bytes >= PAYLOAD_BYTES_MIN);
        assert!(plan.shape == Shape::All || plan.publishers == plan.subscribers);
        let flood = plan.pacing == Pacing::Flood;
        let open_all = matches!(plan.pacing, Pacing::Open(_));
        let (open, open_rate) = match plan.pacing {
            Pacing::Open(rate) => (0..plan.publishers, rate),
            _ if plan.probe_rate > 0.0 => (plan.publishers..plan.publishers + 1, plan.probe_rate),
            _ => (0..0, 0.0),
        };
        let mut engine = Engine {
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(system)?,
            timer: TimerFd::new(
                ClockId::CLOCK_MONOTONIC,
                TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC,
            )
            .map_err(system)?,
            slots: Vec::new(),
            publishers: Vec::new(),
            subscribers: Vec::new(),
            v5: to.v5,
            place: plan.place.map(|place| (place, plan.shape)),
            name: plan.name.clone(),
            qos: plan.qos,
            buffer: vec![0; READ_BYTES],
            sealed: Vec::new(),
            scratch: Vec::new(),
            touched: Vec::new(),
            open,
            open_rate,
            open_start_ns: 0,
            open_count: 0,
            sending: false,
            delivered: 0,
            probe_delivered: 0,
            acked: 0,
            gaps: 0,
            disordered: 0,
            acks_disordered: 0,
            corrupt: 0,
            latency: Histogram::new(),
            lateness: Histogram::new(),
        };
        engine
            .epoll
            .add(&engine.timer, EpollEvent::new(EpollFlags::EPOLLIN, TIMER))
            .map_err(system)?;
        for index in 0..plan.subscribers {
            let (filters, first, heard) = match plan.shape {
                Shape::Pairs => (
                    (0..plan.topics)
                        .map(|turn| plan.topic(index, turn))
                        .collect(),
                    index,
                    1,
                ),
                Shape::All if plan.publishers == 1 => (vec![plan.topic(0, 0)], 0, 1),
                Shape::All => (vec![format!("{}/+", plan.topic)], 0, plan.publishers),
            };
            engine.add_subscriber(
                to,
                index,
                &filters,
                plan.qos,
                Subscriber {
                    first,
                    expected: vec![0; heard],
                    payload_bytes: plan.payload_bytes,
                    probe: false,
                    timed: open_all || plan.latency,
                },
            )?;
        }
        for index in 0..plan.publishers {
            let subscribers = match plan.shape {
                Shape::Pairs => index..index + 1,
                Shape::All => 0..plan.subscribers,
            };
            engine.add_publisher(
                to,
                index,
                &plan.topic(index, 0),
                plan.payload_bytes,
                plan.pacing,
                subscribers,
            )?;
            if let Some(publisher) = engine.publishers.last_mut() {
                publisher.topics = plan.topics as u64;
            }
        }
        for slot in &mut engine.slots {
            match slot.role {
                Role::Publisher(_) => slot.flooding = flood,
                Role::Subscriber(_) if flood => slot.read_bytes = FLOOD_READ_BYTES,
                Role::Subscriber(_) => {}
            }
        }
        if plan.probe_rate > 0.0 && !open_all {
            let (publisher, subscriber) = (plan.publishers, plan.subscribers);
            let topic = "probe/of/one/pair";
            engine.add_subscriber(
                to,
                subscriber,
                &[topic.into()],
                plan.qos,
                Subscriber {
                    first: publisher,
                    expected: vec![0],
                    payload_bytes: PROBE_PAYLOAD_BYTES,
                    probe: true,
                    timed: true,
                },
            )?;
            let pacing = Pacing::Open(plan.probe_rate);
            engine.add_publisher(
                to,
                publisher,
                topic,
                PROBE_PAYLOAD_BYTES,
                pacing,
                subscriber..subscriber + 1,
            )?;
        }
        Ok(engine)
    }

    fn add_subscriber(
        &mut self,
        to: Target,
        index: usize,
        filters: &[String],
        qos: u8,
        subscriber: Subscriber,
    ) -> Result<(), String> {
        let mut client = Client::connect(to, &self.client_id("sub", index, 0))?;
        for some in filters.chunks(memory::FILTERS_PER_SUBSCRIBE) {
            client.subscribe(some, qos)?;
        }
        self.add_slot(client, Role::Subscriber(index))?;
        self.subscribers.push(subscriber);
        Ok(())
    }

    fn add_publisher(
        &mut self,
        to: Target,
        index: usize,
        topic: &str,
        payload_bytes: usize,
        pacing: Pacing,
        subscribers: Range<usize>,
    ) -> Result<(), String> {
        let mut frame = Vec::new();
        let shape = wire::append_publish(to.v5, topic, self.qos, false, payload_bytes, &mut frame);
        frame[shape.payload_at..shape.payload_at + 4]
            .copy_from_slice(&(index as u32).to_le_bytes());
        let topic_end = shape.payload_at - if self.qos > 0 { 2 } else { 0 };
        let connection = self.slots.len();
        let beside = u64::from(matches!(self.place, Some((Place::OtherShard, _))));
        self.add_slot(
            Client::connect(to, &self.client_id("pub", index, beside))?,
            Role::Publisher(index),
        )?;
        self.publishers.push(Publisher {
            connection,
            frame,
            topic_digits_at: topic_end - (TOPIC_TAIL.len() + TOPIC_DIGITS).min(topic_end),
            topics: 1,
            shape,
            pacing,
            sent: 0,
            acked: 0,
            subscribers,
            touched: false,
        });
        Ok(())
    }

    /// `beside`: how many shards from the home of the subscriber it hears or is heard by.
    fn client_id(&self, role: &str, index: usize, beside: u64) -> String {
        let base = format!("{}{role}{index}", self.name);
        match self.place {
            None => base,
            Some((_, Shape::Pairs)) => Place::client_id(&base, index as u64 + beside),
            Some((_, Shape::All)) => Place::client_id(&base, beside),
        }
    }

    fn add_slot(&mut self, client: Client, role: Role) -> Result<(), String> {
        let connection = Connection::new(client)?;
        let interest = EpollFlags::EPOLLIN;
        let token = self.slots.len() as u64;
        self.epoll
            .add(&connection.stream, EpollEvent::new(interest, token))
            .map_err(system)?;
        self.slots.push(Slot {
            connection,
            role,
            read_bytes: READ_BYTES,
            interest,
            flooding: false,
        });
        Ok(())
    }

    fn start(&mut self, now: u64) -> Result<(), String> {
        self.sending = true;
        for index in 0..self.publishers.len() {
            self.touch(index);
        }
        for slot in 0..self.slots.len() {
            self.update_interest(slot)?;
        }
        self.send_touched(now)?;
        self.open_start_ns = now;
        self.send_open(now)
    }

    fn stop(&mut self) -> Result<(), String> {
        self.sending = false;
        self.timer.unset().map_err(system)?;
        (0..self.slots.len()).try_for_each(|slot| self.update_interest(slot))
    }

    /// Runs until this time. Answers whether there was progress.
    fn run_until(&mut self, end: u64) -> Result<bool, String> {
        let mut progress = (self.progress(), usage::now_ns());
        loop {
            let now = self.turn(end)?;
            if now >= end {
                return Ok(true);
            }
            if self.progress() != progress.0 {
                progress = (self.progress(), now);
            } else if now - progress.1 > STALLED_NS {
                return Ok(false);
            }
        }
    }

    /// Runs until everything has come, or nothing comes any more. Answers when the last message came.
    fn drain(&mut self) -> Result<u64, String> {
        let mut last = (self.progress(), usage::now_ns());
        loop {
            let all_acked = self.qos == 0
                || self
                    .publishers
                    .iter()
                    .all(|publisher| publisher.acked == publisher.sent);
            if self.due_and_tail().1 == 0 && all_acked {
                return Ok(last.1);
            }
            let now = self.turn(usage::now_ns() + 50_000_000)?;
            if self.progress() != last.0 {
                last = (self.progress(), now);
            } else if now - last.1 > STALLED_NS / 4 {
                return Ok(last.1);
            }
        }
    }

    fn progress(&self) -> u64 {
        self.delivered + self.acked
    }

    /// Messages that should have come in all, and those after the last that came.
    fn due_and_tail(&self) -> (u64, u64) {
        let (mut due, mut tail) = (0, 0);
        for subscriber in &self.subscribers {
            for (publisher, &expected) in self.publishers[subscriber.first..]
                .iter()
                .zip(&subscriber.expected)
            {
                due += publisher.sent;
                tail += publisher.sent - expected;
            }
        }
        (due, tail)
    }

    /// Waits for events (at most until `end`), handles each, then sends once for each publisher that may.
    fn turn(&mut self, end: u64) -> Result<u64, String> {
        let mut events = [EpollEvent::empty(); 256];
        let wait_ms = (end.saturating_sub(usage::now_ns()) / 1_000_000 + 1).min(100) as u16;
        let count = match self.epoll.wait(&mut events, wait_ms) {
            Ok(count) => count,
            Err(nix::errno::Errno::EINTR) => 0,
            Err(error) => return Err(system(error)),
        };
        for event in &events[..count] {
            if event.data() == TIMER {
                continue; // Re-armed below, which also clears it.
            }
            let slot = event.data() as usize;
            if event
                .events()
                .intersects(EpollFlags::EPOLLIN | EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR)
            {
                self.on_readable(slot)?;
            }
            if event.events().contains(EpollFlags::EPOLLOUT) {
                self.on_writable(slot)?;
            }
        }
        let now = usage::now_ns();
        self.send_touched(now)?;
        self.send_open(now)?;
        Ok(now)
    }

    fn on_readable(&mut self, index: usize) -> Result<(), String> {
        let slot = &mut self.slots[index];
        let start = slot.connection.partial.len();
        let bare = slot.connection.shell.is_bare();
        // Sealed bytes come into a buffer of their own.
        let (into, at) = match bare {
            true => (&mut self.buffer, start),
            false => (&mut self.sealed, 0),
        };
        if into.len() < at + slot.read_bytes {
            into.resize(at + slot.read_bytes, 0);
        }
        let read = match slot
            .connection
            .stream
            .read(&mut into[at..at + slot.read_bytes])
        {
            Ok(0) => return Err("the broker closed a connection".into()),
            Ok(read) => read,
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
            {
                return Ok(());
            }
            Err(error) => return Err(format!("receive: {error}")),
        };
        let end = if bare {
            self.buffer[..start].copy_from_slice(&slot.connection.partial);
            start + read
        } else {
            self.buffer.clear();
            self.buffer.extend_from_slice(&slot.connection.partial);
            slot.connection
                .open(&self.sealed[..read], &mut self.buffer)?;
            self.buffer.len()
        };
        slot.connection.partial.clear();
        let role = slot.role;
        let buffer = std::mem::take(&mut self.buffer);
        let mut answers = std::mem::take(&mut self.scratch);
        answers.clear();
        let rest = match role {
            Role::Subscriber(subscriber) => {
                self.on_deliveries(subscriber, &buffer[..end], &mut answers)
            }
            Role::Publisher(publisher) => self.on_acks(publisher, &buffer[..end], &mut answers),
        };
        self.slots[index]
            .connection
            .partial
            .extend_from_slice(&buffer[end - rest?..end]);
        self.buffer = buffer;
        let written = self.write(index, &answers);
        self.scratch = answers;
        written
    }

    /// Answers how many bytes at the end are not a whole packet.
    fn on_deliveries(
        &mut self,
        index: usize,
        mut bytes: &[u8],
        answers: &mut Vec<u8>,
    ) -> Result<usize, String> {
        let subscriber = &mut self.subscribers[index];
        let now = if subscriber.timed { usage::now_ns() } else { 0 };
        let mut last_publisher = usize::MAX;
        let mut delivered = 0;
        while let Some(packet) = wire::next_packet(bytes)? {
            bytes = &bytes[packet.bytes..];
            match packet.kind() {
                wire::PUBLISH => {
                    let publish = packet.publish(self.v5)?;
                    match publish.qos {
                        0 => {}
                        1 => wire::append_ack(wire::PUBACK, publish.packet_id, answers),
                        _ => wire::append_ack(wire::PUBREC, publish.packet_id, answers),
                    }
                    let payload = publish.payload;
                    if payload.len() != subscriber.payload_bytes
                        || payload[payload.len() - 1] != payload[4]
                    {
                        self.corrupt += 1;
                        continue;
                    }
                    let publisher = number::<4>(payload, 0) as usize;
                    let sequence = number::<8>(payload, 4);
                    let Some(expected) = subscriber
                        .expected
                        .get_mut(publisher.wrapping_sub(subscriber.first))
                    else {
                        self.corrupt += 1;
                        continue;
                    };
                    if sequence >= self.publishers[publisher].sent {
                        self.corrupt += 1;
                        continue;
                    }
                    if sequence >= *expected {
                        self.gaps += sequence - *expected;
                        *expected = sequence + 1;
                    } else {
                        self.disordered += 1;
                    }
                    delivered += 1;
                    if subscriber.timed && payload.len() > 20 {
                        self.latency
                            .record(now.saturating_sub(number::<8>(payload, 12)));
                    }
                    if publisher != last_publisher {
                        last_publisher = publisher;
                        if !self.publishers[publisher].touched {
                            self.publishers[publisher].touched = true;
                            self.touched.push(publisher);
                        }
                    }
                }
                wire::PUBREL => wire::append_ack(wire::PUBCOMP, packet.packet_id()?, answers),
                kind => return Err(format!("a subscriber got a packet of type {kind}")),
            }
        }
        *if subscriber.probe {
            &mut self.probe_delivered
        } else {
            &mut self.delivered
        } += delivered;
        Ok(bytes.len())
    }

    fn on_acks(
        &mut self,
        index: usize,
        mut bytes: &[u8],
        answers: &mut Vec<u8>,
    ) -> Result<usize, String> {
        while let Some(packet) = wire::next_packet(bytes)? {
            bytes = &bytes[packet.bytes..];
            match packet.kind() {
                wire::PUBREC => wire::append_ack(wire::PUBREL, packet.packet_id()?, answers),
                wire::PUBACK | wire::PUBCOMP => {
                    self.publishers[index].acked += 1;
                    self.acked += 1;
                    // A server acknowledges in the order of arrival [3.1.1 MQTT-4.6.0-2, MQTT-4.6.0-3].
                    if packet.packet_id()? != packet_id(self.publishers[index].acked - 1) {
                        self.acks_disordered += 1;
                    }
                }
                kind => return Err(format!("a publisher got a packet of type {kind}")),
            }
        }
        self.touch(index);
        Ok(bytes.len())
    }

    fn touch(&mut self, publisher: usize) {
        if !self.publishers[publisher].touched {
            self.publishers[publisher].touched = true;
            self.touched.push(publisher);
        }
    }

    fn on_writable(&mut self, index: usize) -> Result<(), String> {
        let slot = &mut self.slots[index];
        slot.connection.flush()?;
        if let Role::Publisher(publisher) = slot.role
            && slot.flooding
            && self.sending
            && !slot.connection.has_pending()
        {
            let count = (FLOOD_WRITE_BYTES / self.publishers[publisher].frame.len()).max(1) as u64;
            return self.send(publisher, count, usage::now_ns());
        }
        self.update_interest(index)
    }

    /// Sends for each publisher that may have got room in its window.
    fn send_touched(&mut self, now: u64) -> Result<(), String> {
        while let Some(index) = self.touched.pop() {
            let publisher = &mut self.publishers[index];
            publisher.touched = false;
            let Pacing::Window(window) = publisher.pacing else {
                continue;
            };
            if !self.sending {
                continue;
            }
            let first = |subscriber: &Subscriber| subscriber.expected[index - subscriber.first];
            let delivered = self.subscribers[publisher.subscribers.clone()]
                .iter()
                .map(first)
                .min();
            let mut done = delivered.unwrap_or(publisher.sent);
            if self.qos > 0 {
                done = done.min(publisher.acked);
            }
            let room = window - (publisher.sent - done).min(window);
            if room >= window.div_ceil(2) {
                self.send(index, room, now)?;
            }
        }
        Ok(())
    }

    /// Sends what is due in open loop and sets the timer for the next.
    fn send_open(&mut self, now: u64) -> Result<(), String> {
        if self.open.is_empty() || !self.sending {
            return Ok(());
        }
        loop {
            let due = self.open_start_ns + (self.open_count as f64 * 1e9 / self.open_rate) as u64;
            if due > now {
                let wait = TimeSpec::from(Duration::from_nanos(due - now));
                return self
                    .timer
                    .set(Expiration::OneShot(wait), TimerSetTimeFlags::empty())
                    .map_err(system);
            }
            let publisher = self.open.start + (self.open_count % self.open.len() as u64) as usize;
            self.open_count += 1;
            self.lateness.record(usage::now_ns().saturating_sub(due));
            self.send(publisher, 1, due)?;
        }
    }

    fn send(&mut self, index: usize, count: u64, due: u64) -> Result<(), String> {
        let publisher = &mut self.publishers[index];
        let mut out = std::mem::take(&mut self.scratch);
        out.clear();
        let payload_bytes = publisher.frame.len() - publisher.shape.payload_at;
        for _ in 0..count {
            let start = out.len();
            out.extend_from_slice(&publisher.frame);
            let frame = &mut out[start..];
            if publisher.topics > 1 {
                // Steps of a prime, so that neighbours in time are no neighbours in the broker's tables.
                let mut turn = publisher.sent.wrapping_mul(TOPIC_STEP) % publisher.topics;
                let at = publisher.topic_digits_at;
                for digit in frame[at..at + TOPIC_DIGITS].iter_mut().rev() {
                    *digit = b'0' + (turn % 10) as u8;
                    turn /= 10;
                }
            }
            if publisher.shape.packet_id_at > 0 {
                let at = publisher.shape.packet_id_at;
                frame[at..at + 2].copy_from_slice(&packet_id(publisher.sent).to_be_bytes());
            }
            let payload = &mut frame[publisher.shape.payload_at..];
            payload[4..12].copy_from_slice(&publisher.sent.to_le_bytes());
            if payload_bytes > 20 {
                payload[12..20].copy_from_slice(&due.to_le_bytes());
            }
            payload[payload_bytes - 1] = publisher.sent as u8;
            publisher.sent += 1;
        }
        let connection = publisher.connection;
        let written = self.write(connection, &out);
        self.scratch = out;
        written
    }

    fn write(&mut self, index: usize, bytes: &[u8]) -> Result<(), String> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.slots[index].connection.write(bytes)?;
        self.update_interest(index)
    }

    fn update_interest(&mut self, index: usize) -> Result<(), String> {
        let slot = &mut self.slots[index];
        let out = slot.connection.has_pending() || slot.flooding && self.sending;
        let wanted = if out {
            EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT
        } else {
            EpollFlags::EPOLLIN
        };
        if wanted != slot.interest {
            slot.interest = wanted;
            let mut event = EpollEvent::new(wanted, index as u64);
            self.epoll
                .modify(&slot.connection.stream, &mut event)
                .map_err(system)?;
        }
        Ok(())
    }
}

/// Packet Identifier of a publisher's n-th message: never 0, and unique within any window below 65,535.
fn packet_id(sequence: u64) -> u16 {
    (sequence % 65_535 + 1) as u16
}

#[inline]
fn number<const BYTES: usize>(payload: &[u8], at: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes[..BYTES].copy_from_slice(&payload[at..at + BYTES]);
    u64::from_le_bytes(bytes)
}
