//! How long one input may hold a shard: each kind of packet with the most that it may carry, on a shard that holds the
//! most that a Client may make it hold. No packet, tick or end of a turn takes longer than [`MOST`] of the processor;
//! the rest of its work is left for later turns, in which others are served.
//!
//! `cargo test --release --test work_budget worst -- --nocapture --test-threads=1` prints the times.

use super::rig::packet;
use mqttfast::broker::{CloseCause, Input, Output, Outputs, Shard};
use mqttfast::config::Settings;
use mqttfast::ids::{ConnectionId, ListenerId, ShardId};
use mqttfast::time::Time;
use nix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// Of the processor, by a release. A build for tests takes twenty times as long and more, and a shared machine's caches
/// are not always warm.
const MOST: Duration = match cfg!(debug_assertions) {
    false => Duration::from_millis(5),
    true => Duration::from_millis(300),
};
/// The default of `--max-packet-size`.
const PACKET_BYTES: usize = 16 * 1024 * 1024;

/// `full` by a release, where the figures count; else `less`.
fn size(full: usize, less: usize) -> usize {
    if cfg!(debug_assertions) { less } else { full }
}

/// A shard whose inputs are timed.
struct Timed {
    shard: Shard,
    out: Outputs,
    now: Time,
    case: &'static str,
    /// The longest, and what it was.
    longest: (Duration, &'static str),
    /// Bytes that have left since they were last asked for.
    sent: usize,
    /// Connections that take nothing.
    deaf: Vec<ConnectionId>,
}

fn processor_time() -> Duration {
    let now = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("Linux");
    now.into()
}

impl Timed {
    fn new(case: &'static str) -> Timed {
        let settings = Settings {
            memory_bytes_max: 4 << 30,
            shard_queue_bytes_max: 4 << 30,
            ..Settings::default()
        };
        Timed {
            shard: Shard::new(ShardId(0), 1, settings),
            out: Outputs::default(),
            now: Time(1),
            case,
            longest: (Duration::ZERO, "nothing"),
            sent: 0,
            deaf: Vec::new(),
        }
    }

    fn time<R>(&mut self, what: &'static str, act: impl FnOnce(&mut Timed) -> R) -> R {
        let start = processor_time();
        let result = act(self);
        let took = processor_time() - start;
        if took > self.longest.0 {
            self.longest = (took, what);
        }
        result
    }

    fn input(&mut self, what: &'static str, input: Input<'_>) {
        self.time(what, |timed| {
            timed.shard.handle(timed.now, input, &mut timed.out);
        });
    }

    /// The turn ends; what is sent has left, but to those who are deaf.
    fn end_turn(&mut self) {
        self.time("the end of a turn", |timed| {
            timed.shard.flush(timed.now, &mut timed.out);
        });
        let mut list = std::mem::take(&mut self.out.list);
        for output in list.drain(..) {
            if let Output::Send { connection, chunks } = output
                && !self.deaf.contains(&connection)
            {
                let bytes = chunks.iter().map(|chunk| chunk.bytes().len()).sum();
                self.sent += bytes;
                let returned = Some(chunks);
                self.input(
                    "what was sent",
                    Input::Sent {
                        connection,
                        bytes,
                        returned,
                    },
                );
            }
        }
        list.append(&mut self.out.list);
        list.clear();
        self.out.list = list;
    }

    /// Turns until nothing is left to do.
    fn settle(&mut self) {
        for turns in 0.. {
            assert!(turns < 1_000_000, "{} does not end", self.case);
            self.end_turn();
            if self.shard.next_deadline().is_none_or(|due| due > self.now) {
                return;
            }
            self.input("a tick", Input::Tick);
        }
    }

    /// These bytes come as a driver reads them, large packets in one piece at the end.
    fn send(&mut self, connection: ConnectionId, bytes: &[u8]) {
        for part in bytes.chunks(64 * 1024) {
            let input = Input::Bytes {
                connection,
                bytes: part,
            };
            self.input("bytes", input);
            self.settle();
        }
    }

    fn advance(&mut self, ms: u64) {
        self.now = Time(self.now.0 + ms);
        self.input("a tick", Input::Tick);
        self.settle();
    }

    fn open(&mut self, index: u32, generation: u32) -> ConnectionId {
        let connection = ConnectionId { index, generation };
        let input = Input::Opened {
            connection,
            address: std::net::SocketAddr::from(([127, 0, 0, 1], 1000)),
            listener: ListenerId(0),
            crowded: false,
        };
        self.input("a connection", input);
        connection
    }

    /// A Client of v5 with these flags, Properties and the rest of a payload.
    fn connect_with(
        &mut self,
        index: u32,
        generation: u32,
        name: &str,
        flags: u8,
        expiry_s: u32,
        rest: &[u8],
    ) -> ConnectionId {
        let connection = self.open(index, generation);
        let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', 5, flags, 0, 0, 5, 0x11];
        body.extend(expiry_s.to_be_bytes());
        push_string(&mut body, name.as_bytes());
        body.extend(rest);
        self.send(connection, &packet(0x10, &body));
        connection
    }

    fn client(&mut self, index: u32) -> ConnectionId {
        self.connect_with(index, 0, &format!("client-{index}"), 2, 0, &[])
    }

    /// A Client whose Session stays.
    fn persistent(&mut self, index: u32, generation: u32) -> ConnectionId {
        self.connect_with(index, generation, &format!("client-{index}"), 0, 3600, &[])
    }

    fn lose(&mut self, connection: ConnectionId) {
        let cause = CloseCause::PeerClosed;
        self.input("a lost connection", Input::Closed { connection, cause });
        self.settle();
    }
}

impl Drop for Timed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let (took, what) = self.longest;
        println!("{:45} {took:9.2?} {what}", self.case);
        assert!(took <= MOST, "{}: {what} took {took:?}", self.case);
    }
}

fn push_string(out: &mut Vec<u8>, text: &[u8]) {
    out.extend((text.len() as u16).to_be_bytes());
    out.extend(text);
}

/// A SUBSCRIBE or UNSUBSCRIBE of v5 of as many of these as fit in a packet, and their number.
fn filters(first: u8, qos: u8, most: usize, filter: impl Fn(usize) -> Vec<u8>) -> (Vec<u8>, usize) {
    let mut body = vec![0, 1, 0];
    let mut count = 0;
    while count < most {
        let filter = filter(count);
        if body.len() + filter.len() + 8 > PACKET_BYTES {
            break;
        }
        push_string(&mut body, &filter);
        if first == 0x82 {
            body.push(qos);
        }
        count += 1;
    }
    (packet(first, &body), count)
}

/// A PUBLISH of v5 with these Properties.
fn publish(topic: &[u8], first: u8, id: u16, properties: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    push_string(&mut body, topic);
    if first & 6 != 0 {
        body.extend(id.to_be_bytes());
    }
    let mut len = properties.len();
    loop {
        body.push((len % 128) as u8 | u8::from(len > 127) << 7);
        len /= 128;
        if len == 0 {
            break;
        }
    }
    body.extend(properties);
    body.extend(payload);
    packet(first, &body)
}

/// Filters of some kind are subscribed to, unsubscribed from, subscribed to again, and end with their Session.
fn come_and_go(case: &'static str, most: usize, filter: impl Fn(usize) -> Vec<u8> + Copy) {
    let mut timed = Timed::new(case);
    let (on, count) = filters(0x82, 0, most, filter);
    let (off, _) = filters(0xA2, 0, most, filter);
    let client = timed.client(0);
    timed.send(client, &on);
    assert_eq!(timed.shard.sizes().2, count, "{case}");
    timed.send(client, &off);
    assert_eq!(timed.shard.sizes().2, 0, "{case}");
    timed.send(client, &on);
    assert_eq!(timed.shard.sizes().2, count, "{case}");
    timed.send(client, &packet(0xE0, &[]));
    assert_eq!(timed.shard.sizes().2, 0, "{case}");
    // The same of one that comes back and goes again, and ends by a clean start.
    let client = timed.persistent(1, 0);
    timed.send(client, &on);
    timed.lose(client);
    let again = timed.persistent(1, 1);
    timed.lose(again);
    let clean = timed.connect_with(1, 2, "client-1", 2, 0, &[]);
    timed.lose(clean);
    assert_eq!(timed.shard.sizes().2, 0, "{case}");
}

#[test]
fn short_filters() {
    let most = size(250_000, 20_000);
    come_and_go("short filters", most, |n| format!("{n:x}").into_bytes());
}

#[test]
fn long_filters() {
    come_and_go("long filters", size(250, 100), |n| {
        let mut filter = format!("{n:08}").into_bytes();
        filter.resize(65_000, b'x');
        filter
    });
}

#[test]
fn deep_filters() {
    come_and_go("filters of 200 levels", size(40_000, 2_500), |n| {
        format!("{n:08}/{}", ["a"; 199].join("/")).into_bytes()
    });
}

#[test]
fn deep_filters_of_own_levels() {
    come_and_go(
        "filters of 200 levels of their own",
        size(10_000, 1_500),
        |n| {
            let levels: Vec<String> = (0..200).map(|level| format!("{n:x}.{level}")).collect();
            levels.join("/").into_bytes()
        },
    );
}

#[test]
fn shared_filters() {
    come_and_go("shared filters", size(5_000, 3_000), |n| {
        format!("$share/g{n}/#").into_bytes()
    });
}

#[test]
fn shared_filters_with_a_queue() {
    let mut timed = Timed::new("shared filters with a queue");
    let most = size(5_000, 1_000);
    let filter = |n: usize| format!("$share/g{n}/t{n}").into_bytes();
    let (on, _) = filters(0x82, 1, most, filter);
    let (off, _) = filters(0xA2, 1, most - 1, |n| filter(n + 1));
    // It does not acknowledge, so all but the first wait in its queue.
    let client = timed.persistent(0, 0);
    timed.send(client, &on);
    let speaker = timed.client(1);
    for n in 0..size(60_000, 10_000) {
        timed.send(
            speaker,
            &publish(b"t0", 0x32, (n % 60_000) as u16 + 1, &[], b"x"),
        );
    }
    timed.send(client, &off);
    timed.lose(client);
    let again = timed.persistent(0, 1);
    timed.lose(again);
}

#[test]
fn overlapping_filters() {
    let levels = size(13, 10);
    let mut timed = Timed::new("overlapping filters");
    let (on, _) = filters(0x82, 0, 1 << levels, |n| {
        let level = |at: usize| if n >> at & 1 == 1 { "+" } else { "a" };
        let levels: Vec<&str> = (0..levels).map(level).collect();
        levels.join("/").into_bytes()
    });
    let client = timed.client(0);
    timed.send(client, &on);
    let speaker = timed.client(1);
    for n in 0..20 {
        let topic = ["a"; 20][..levels].join("/");
        let payload = format!("{n}");
        timed.send(
            speaker,
            &publish(topic.as_bytes(), 0x30, 0, &[], payload.as_bytes()),
        );
    }
}

/// Readers of one topic, at this QoS.
fn readers(timed: &mut Timed, count: usize, topic: &[u8], qos: u8) {
    for n in 0..count {
        let reader = timed.client(n as u32 + 10);
        let (on, _) = filters(0x82, qos, 1, |_| topic.to_vec());
        timed.send(reader, &on);
    }
}

#[test]
fn a_message_for_many() {
    for (case, qos) in [
        ("a message for many", 0),
        ("a message of QoS 1 for many", 1),
    ] {
        let mut timed = Timed::new(case);
        readers(&mut timed, size(5_000, 500), b"t", qos);
        let speaker = timed.client(0);
        timed.send(
            speaker,
            &publish(b"t", 0x30 | qos << 1, 1, &[], &[b'x'; 100]).repeat(50),
        );
    }
}

#[test]
fn a_large_message_for_many() {
    for (case, qos) in [("a large message for many", 0), ("a large one of QoS 1", 1)] {
        let mut timed = Timed::new(case);
        readers(&mut timed, size(500, 100), b"t", qos);
        let speaker = timed.client(0);
        let payload = vec![b'x'; PACKET_BYTES - 100];
        timed.send(speaker, &publish(b"t", 0x30 | qos << 1, 1, &[], &payload));
    }
}

#[test]
fn an_alias_for_many() {
    let mut timed = Timed::new("an alias of a long topic for many");
    let topic = vec![b't'; 65_000];
    readers(&mut timed, size(500, 50), &topic, 0);
    let speaker = timed.client(0);
    let alias = [0x23, 0, 1];
    timed.send(speaker, &publish(&topic, 0x30, 0, &alias, b"x"));
    timed.send(speaker, &publish(b"", 0x30, 0, &alias, b"x").repeat(20));
}

#[test]
fn properties_for_many() {
    let mut timed = Timed::new("User Properties for many");
    readers(&mut timed, size(500, 50), b"t", 0);
    let speaker = timed.client(0);
    let mut properties = Vec::new();
    for n in 0..1_000 {
        properties.push(0x26);
        push_string(&mut properties, format!("name {n}").as_bytes());
        push_string(&mut properties, &[b'v'; 60]);
    }
    timed.send(
        speaker,
        &publish(b"t", 0x30, 0, &properties, b"x").repeat(5),
    );
    let mut properties = Vec::new();
    for n in 0..120 {
        properties.push(0x26);
        push_string(&mut properties, format!("name {n}").as_bytes());
        push_string(&mut properties, &[b'v'; 65_000]);
    }
    timed.send(speaker, &publish(b"t", 0x30, 0, &properties, b"x"));
}

#[test]
fn retained_messages() {
    let mut timed = Timed::new("retained messages");
    let speaker = timed.client(0);
    let count = size(200_000, 20_000);
    let numbers: Vec<usize> = (0..count).collect();
    for part in numbers.chunks(1000) {
        let topic = |n: &usize| format!("k/{}/{n}", n % 1000);
        let bytes = part
            .iter()
            .flat_map(|n| publish(topic(n).as_bytes(), 0x31, 0, &[], b"1"));
        timed.send(speaker, &bytes.collect::<Vec<u8>>());
    }
    let payload = vec![b'x'; PACKET_BYTES - 100];
    timed.send(speaker, &publish(b"large", 0x31, 0, &[], &payload));
    for index in 1..10 {
        let deaf = timed.client(index);
        timed.deaf.push(deaf);
        let (on, _) = filters(0x82, 0, 1, |_| b"#".to_vec());
        timed.send(deaf, &on);
    }
    timed.send(speaker, &publish(b"large", 0x31, 0, &[], b""));
    for part in numbers.chunks(1000) {
        let topic = |n: &usize| format!("k/{}/{n}", n % 1000);
        let bytes = part
            .iter()
            .flat_map(|n| publish(topic(n).as_bytes(), 0x31, 0, &[], b""));
        timed.send(speaker, &bytes.collect::<Vec<u8>>());
    }
}

/// Fills the queue of an absent Client with messages that expire after so many seconds.
fn fill_queue(timed: &mut Timed, expires_s: u32) {
    let absent = timed.persistent(0, 0);
    let (on, _) = filters(0x82, 1, 1, |_| b"t".to_vec());
    timed.send(absent, &on);
    timed.lose(absent);
    let speaker = timed.client(1);
    let mut properties = vec![0x02];
    properties.extend(expires_s.to_be_bytes());
    for n in 0..size(80_000, 8_000) {
        let id = (n % 60_000) as u16 + 1;
        timed.send(speaker, &publish(b"t", 0x32, id, &properties, b"x"));
        if n % 10 == 0 {
            timed.now = Time(timed.now.0 + 1);
        }
    }
}

#[test]
fn a_full_queue_ends() {
    let mut timed = Timed::new("the end of a full queue");
    fill_queue(&mut timed, 100_000);
    timed.connect_with(0, 1, "client-0", 2, 0, &[]);
}

#[test]
fn a_full_queue_expires() {
    let mut timed = Timed::new("a full queue that expires");
    fill_queue(&mut timed, 5);
    timed.advance(3_000);
    // Some have expired, some have not, and the next comes.
    let speaker = ConnectionId {
        index: 1,
        generation: 0,
    };
    for n in 0..size(20_000, 2_000) {
        timed.send(speaker, &publish(b"t", 0x32, n as u16 + 1, &[], b"x"));
        if n % 10 == 0 {
            timed.now = Time(timed.now.0 + 1);
        }
    }
    timed.advance(60_000);
    let again = timed.persistent(0, 1);
    timed.lose(again);
}

#[test]
fn wills_at_once() {
    let mut timed = Timed::new("wills and Sessions that end at once");
    for index in 0..size(20_000, 2_000) as u32 {
        // A will that waits as long as the Session stays.
        let mut rest = vec![5, 0x18, 0, 0, 0, 10];
        push_string(&mut rest, format!("wills/{index}").as_bytes());
        push_string(&mut rest, &[b'w'; 100]);
        let client = timed.connect_with(index, 0, &format!("will {index}"), 0x26, 10, &rest);
        timed.lose(client);
    }
    readers(&mut timed, 10, b"wills/#", 0);
    timed.advance(20_000);
    assert_eq!(timed.shard.sizes().1, 10);
}

#[test]
fn a_large_will() {
    let mut timed = Timed::new("a large will for many");
    let mut rest = vec![0];
    push_string(&mut rest, b"t");
    push_string(&mut rest, &vec![b'w'; 65_000]);
    readers(&mut timed, size(1_000, 100), b"t", 1);
    let client = timed.connect_with(0, 0, "dying", 0x0E, 0, &rest);
    timed.send(client, &packet(0xE0, &[0x04]));
}
