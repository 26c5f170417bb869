//! The turn loop with true sockets, under each driver, and a double in the shard's place that does what a Client's first byte says.

use super::kernel::Kernel;
use super::{Core, Driver};
use crate::broker::{CloseCause, HandOver, Input, Output, Outputs, PeerMessage, Verdict};
use crate::buffer::{Chunk, Chunks, Payload};
use crate::config::Logs;
use crate::ids::{ConnectionId, ShardId};
use crate::io::checker::Checker;
use crate::io::clock::Clock;
use crate::io::crossing::LANE_BOUNDS;
use crate::io::host::{Shards, ToShard};
use crate::io::listener::ListeningSockets;
use crate::io::log::Log;
use crate::limits;
use crate::mesh::lanes;
use crate::passwd::PasswordFile;
use crate::time::Time;
use nix::sys::socket::{MsgFlags, setsockopt, sockopt};
use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// What the doubles have seen: shard and event.
type Seen = Arc<Mutex<Vec<String>>>;

/// What became of one connection at the double.
struct Client {
    id: ConnectionId,
    outbox: Vec<u8>,
    sending: bool,
    /// Echoes what comes; its first bytes were its wish.
    echo: bool,
}

/// Stands where the shard would: the first bytes of a connection say what is done with it.
///
/// `E` echo; `Q` answer BYE and close; `1` hand over to shard 1, then echo; `M` resume reading, so that its receive stays armed, and
/// hand over to shard 1 only with the next bytes; `P` stop reading for 50 ms, then echo; `B` send 8 MiB and close; `A` check the
/// password `name:password` that follows; `T` tick in 30 ms; `F` flood the lane to shard 1; `D` close at once; `L` echo, with large
/// receives and small ones in turn, and large ones alone as long as little comes; `W` echo by large receives, and waver: stop reading
/// and go on every 2 ms.
struct Double {
    shard: ShardId,
    seen: Seen,
    clients: HashMap<u32, Client>,
    resume_at: Option<(Time, ConnectionId)>,
    tick_at: Option<Time>,
    large_in_turn: Option<ConnectionId>,
    /// When it stops reading or goes on, whichever it did not do last.
    wavering: Option<(Time, ConnectionId)>,
    reads: bool,
}

/// Pauses of who wavers.
const WAVER_MS: u64 = 2;

impl Double {
    fn see(&self, event: impl Into<String>) {
        let event = format!("{}:{}", self.shard, event.into());
        self.seen.lock().unwrap().push(event);
    }

    fn client(&mut self, id: ConnectionId) -> &mut Client {
        let client = self.clients.get_mut(&id.index).unwrap();
        assert_eq!(client.id, id);
        client
    }

    fn add(&mut self, id: ConnectionId, outbox: Vec<u8>, echo: bool) {
        let client = Client {
            id,
            outbox,
            sending: false,
            echo,
        };
        assert!(self.clients.insert(id.index, client).is_none());
    }

    fn hand_over(&mut self, connection: ConnectionId, bytes: &[u8], out: &mut Outputs) {
        self.clients.remove(&connection.index);
        let hand_over = HandOver {
            bytes: bytes.to_vec(),
            verdict: Verdict::Accepted,
        };
        out.push(Output::HandOver {
            connection,
            to: ShardId(1),
            hand_over: Box::new(hand_over),
        });
    }

    fn waver(&mut self, now: Time, connection: ConnectionId, out: &mut Outputs) {
        self.reads = !self.reads;
        out.push(if self.reads {
            Output::ResumeReading { connection }
        } else {
            self.see("stopped");
            Output::StopReading { connection }
        });
        self.wavering = Some((now + WAVER_MS, connection));
    }

    fn on_wish(&mut self, now: Time, connection: ConnectionId, bytes: &[u8], out: &mut Outputs) {
        self.client(connection).echo = true;
        match bytes[0] {
            b'E' => self.client(connection).outbox.extend_from_slice(bytes),
            b'Q' => {
                let chunks = Chunks::from_iter([Chunk::Block(b"BYE".to_vec())]);
                out.push(Output::Send { connection, chunks });
                out.push(Output::Close {
                    connection,
                    at_once: false,
                });
                self.clients.remove(&connection.index);
            }
            b'1' => {
                out.push(Output::StopReading { connection });
                self.hand_over(connection, bytes, out);
            }
            b'M' => {
                self.client(connection).echo = false;
                out.push(Output::ResumeReading { connection });
                if bytes.len() == 1 {
                    self.see("one byte read");
                } else {
                    self.hand_over(connection, bytes, out);
                }
            }
            b'P' => {
                self.client(connection).outbox.extend_from_slice(bytes);
                out.push(Output::ResumeReading { connection });
                self.resume_at = Some((now + 50, connection));
            }
            b'B' => {
                let payload = Payload::new(&[b'b'; 64 * 1024]);
                let shared = |_| Chunk::Shared {
                    payload: payload.clone(),
                    start: 0,
                    end: payload.len() as u32,
                };
                let chunks = (0..128).map(shared).collect();
                out.push(Output::Send { connection, chunks });
                out.push(Output::Close {
                    connection,
                    // Not before all is sent.
                    at_once: true,
                });
                self.clients.remove(&connection.index);
            }
            b'A' => {
                let text = String::from_utf8(bytes[1..].to_vec()).unwrap();
                let (user_name, password) = text.split_once(':').unwrap();
                out.push(Output::StopReading { connection });
                out.push(Output::Authenticate {
                    connection,
                    user_name: user_name.to_owned(),
                    password: password.as_bytes().to_vec(),
                });
            }
            b'D' => {
                out.push(Output::Close {
                    connection,
                    at_once: true,
                });
                self.clients.remove(&connection.index);
            }
            b'L' => {
                self.client(connection).outbox.extend_from_slice(bytes);
                self.large_in_turn = Some(connection);
            }
            b'W' => {
                self.client(connection).outbox.extend_from_slice(bytes);
                let on = true;
                out.push(Output::ReadLarge { connection, on });
                self.reads = true;
                self.wavering = Some((now + WAVER_MS, connection));
            }
            b'T' => self.tick_at = Some(now + 30),
            b'F' => {
                for sequence in 0..3 * limits::SPILL_HIGH as u64 {
                    let message = PeerMessage::FiltersInForce { sequence };
                    let to = ShardId(1);
                    out.push(Output::Peer { to, message });
                }
            }
            other => panic!("no such wish: {other}"),
        }
    }
}

impl Core for Double {
    fn handle(&mut self, now: Time, input: Input<'_>, out: &mut Outputs) {
        match input {
            Input::Opened {
                connection,
                address,
                ..
            } => {
                assert!(address.ip().is_loopback());
                self.see(format!("opened {}", connection.index));
                self.add(connection, Vec::new(), false);
            }
            Input::Adopted {
                connection,
                hand_over,
                ..
            } => {
                self.see("adopted");
                self.add(connection, hand_over.bytes, true);
                out.push(Output::ResumeReading { connection });
            }
            Input::Bytes { connection, bytes } => {
                assert!(!bytes.is_empty());
                if self.client(connection).echo {
                    self.client(connection).outbox.extend_from_slice(bytes);
                    if let Some((_, paused)) = self.resume_at
                        && paused == connection
                    {
                        out.push(Output::StopReading { connection });
                    }
                } else {
                    self.on_wish(now, connection, bytes, out);
                }
                if self.large_in_turn == Some(connection) {
                    let on = bytes.len() <= limits::RECEIVE_BUFFER_BYTES;
                    out.push(Output::ReadLarge { connection, on });
                    if !on {
                        self.see("large");
                    }
                }
            }
            Input::Sent {
                connection,
                returned,
                ..
            } => {
                if returned.is_some() && self.clients.contains_key(&connection.index) {
                    self.client(connection).sending = false;
                }
            }
            Input::Closed { connection, cause } => {
                self.client(connection);
                self.clients.remove(&connection.index);
                self.wavering.take_if(|(_, id)| *id == connection);
                self.see(format!("closed {cause:?}"));
            }
            Input::Verdict {
                connection,
                verdict,
            } => {
                let text = format!("{verdict:?}").into_bytes();
                self.client(connection).outbox = text;
                out.push(Output::ResumeReading { connection });
            }
            Input::Peer { from, message } => {
                let PeerMessage::FiltersInForce { sequence } = message else {
                    panic!("no such message is sent");
                };
                if sequence == 0 {
                    // Long enough for the lane to spill.
                    thread::sleep(Duration::from_millis(30));
                }
                if sequence + 1 == 3 * limits::SPILL_HIGH as u64 {
                    self.see(format!("last message of {from}"));
                }
            }
            Input::Pressure { to, on } => self.see(format!("pressure {to} {on}")),
            Input::Tick => {
                if let Some(at) = self.tick_at.take() {
                    assert!(now >= at);
                    self.see("tick");
                }
                if let Some((_, connection)) = self.resume_at.take() {
                    out.push(Output::ResumeReading { connection });
                }
                if let Some((at, connection)) = self.wavering
                    && at <= now
                {
                    self.waver(now, connection, out);
                }
            }
            Input::Shutdown => {
                self.wavering = None;
                for (_, client) in self.clients.drain() {
                    let connection = client.id;
                    out.push(Output::Close {
                        connection,
                        at_once: false,
                    });
                }
            }
        }
    }

    fn flush(&mut self, _now: Time, out: &mut Outputs) {
        for client in self.clients.values_mut() {
            if !client.sending && !client.outbox.is_empty() {
                client.sending = true;
                let bytes = std::mem::take(&mut client.outbox);
                let connection = client.id;
                let chunks = split(bytes);
                out.push(Output::Send { connection, chunks });
            }
        }
    }

    fn next_deadline(&self) -> Option<Time> {
        let resume = self.resume_at.map(|(at, _)| at);
        let waver = self.wavering.map(|(at, _)| at);
        let others = resume.into_iter().chain(waver);
        self.tick_at.into_iter().chain(others).min()
    }

    fn is_weary(&self) -> bool {
        false
    }
}

/// One chunk for few bytes, more vectors than one `sendmsg` takes for many.
fn split(bytes: Vec<u8>) -> Chunks {
    if bytes.len() < 1000 {
        return Chunks::from_iter([Chunk::Block(bytes)]);
    }
    let part = bytes.len().div_ceil(limits::SEND_VECTORS_MAX + 10);
    bytes
        .chunks(part)
        .map(|part| Chunk::Block(part.to_vec()))
        .collect()
}

/// Drivers on threads, as `host` would start them.
struct Broker {
    address: SocketAddr,
    seen: Seen,
    shards: Shards,
    threads: Vec<JoinHandle<()>>,
}

impl Broker {
    fn start<K: Kernel>(count: usize) -> Broker {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let listeners = ListeningSockets::from(vec![listener]);
        let (log, clock) = (Log::start(Logs::Events).unwrap(), Clock::start());
        let shards = Shards::new(count).unwrap();
        let file = PasswordFile::parse(b"").unwrap();
        let checker = Checker::new(Path::new("no file"), file);
        checker.start(shards.clone(), clock).unwrap();
        let endpoints = lanes(count, &LANE_BOUNDS);
        let mut seats = shards.seats(endpoints, &listeners, Some(&checker), &log, clock);
        // The first shard accepts alone, so that tests know where a connection is.
        for seat in &mut seats[1..] {
            seat.listeners = ListeningSockets::from(Vec::new());
        }
        let seen = Seen::default();
        let run = |seat: crate::io::host::Seat| {
            let double = Double {
                shard: seat.id,
                seen: Arc::clone(&seen),
                clients: HashMap::new(),
                resume_at: None,
                tick_at: None,
                large_in_turn: None,
                wavering: None,
                reads: false,
            };
            thread::spawn(move || Driver::<_, K>::new(double, seat).unwrap().run().unwrap())
        };
        Broker {
            address,
            threads: seats.into_iter().map(run).collect(),
            seen,
            shards,
        }
    }

    fn connect(&self) -> TcpStream {
        let client = TcpStream::connect(self.address).unwrap();
        let patience = Some(Duration::from_secs(10));
        client.set_read_timeout(patience).unwrap();
        client.set_nodelay(true).unwrap();
        client
    }

    fn wait_for(&self, event: &str) {
        let until = Instant::now() + Duration::from_secs(5);
        while !self.seen.lock().unwrap().iter().any(|seen| seen == event) {
            let seen = self.seen.lock().unwrap().clone();
            assert!(Instant::now() < until, "{event} not seen in {seen:?}");
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Stops all shards and tells what they saw.
    fn stop(self) -> Vec<String> {
        self.shards.tell_all(|| ToShard::Shutdown);
        for thread in self.threads {
            thread.join().unwrap();
        }
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

/// Ends a connection without a word.
fn reset(client: TcpStream) {
    let linger = nix::libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    setsockopt(&client, sockopt::Linger, &linger).unwrap();
}

/// Bytes no two positions of which are easily confused.
fn stream(first: u8, bytes: usize) -> Vec<u8> {
    let mut stream: Vec<u8> = (0..bytes as u32)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    stream[0] = first;
    stream
}

/// Sends in pieces from another thread and reads the same number of bytes back.
fn echoed(client: &TcpStream, stream: &[u8], piece: usize) -> Vec<u8> {
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = client;
            stream
                .chunks(piece)
                .for_each(|piece| client.write_all(piece).unwrap());
        });
        let mut back = vec![0; stream.len()];
        (&*client).read_exact(&mut back).unwrap();
        back
    })
}

fn a_long_stream_is_echoed_whole<K: Kernel>() {
    let broker = Broker::start::<K>(1);
    let client = broker.connect();
    let sent = stream(b'E', 4_000_000);
    assert!(echoed(&client, &sent, 1_000_000) == sent);
    broker.stop();
}

fn a_hand_over_loses_no_byte<K: Kernel>() {
    let broker = Broker::start::<K>(2);
    for _ in 0..50 {
        let client = broker.connect();
        let sent = stream(b'1', 20_000);
        assert!(echoed(&client, &sent, 7) == sent);
    }
    let seen = broker.stop();
    assert_eq!(
        seen.iter().filter(|event| *event == "1:adopted").count(),
        50
    );
}

fn a_hand_over_with_an_armed_receive_loses_no_byte<K: Kernel>() {
    let broker = Broker::start::<K>(2);
    for _ in 0..50 {
        broker
            .seen
            .lock()
            .unwrap()
            .retain(|event| event == "1:adopted");
        let mut client = broker.connect();
        client.write_all(b"M").unwrap();
        let sent = stream(b'M', 200_000);
        broker.wait_for("0:one byte read");
        assert!(echoed(&client, &sent, 1000) == sent);
    }
    let seen = broker.stop();
    assert_eq!(
        seen.iter().filter(|event| *event == "1:adopted").count(),
        50
    );
}

fn reading_stops_and_goes_on_where_it_was<K: Kernel>() {
    let broker = Broker::start::<K>(1);
    let client = broker.connect();
    let sent = stream(b'P', 6_000_000);
    assert!(echoed(&client, &sent, 100_000) == sent);
    broker.stop();
}

fn large_and_small_receives_bring_the_stream_in_order<K: Kernel>() {
    let broker = Broker::start::<K>(1);
    let client = broker.connect();
    let sent = stream(b'L', 6_000_000);
    assert!(echoed(&client, &sent, 200_000) == sent);
    // Its receive is armed, large or not: the end comes through either.
    drop(client);
    broker.wait_for("0:closed PeerClosed");
    let client = broker.connect();
    assert!(echoed(&client, &sent[..10], 10) == sent[..10]);
    // And it is cancelled when the broker stops.
    let seen = broker.stop();
    assert!(seen.iter().any(|event| event == "0:large"), "{seen:?}");
    drop(client);
}

fn what_comes_with_the_end_is_received_by_a_large_receive<K: Kernel>() {
    let broker = Broker::start::<K>(1);
    for round in 0..30 {
        let mut client = broker.connect();
        let sent = stream(b'L', 300);
        // From here on its receives are large.
        assert!(echoed(&client, &sent[..1], 1) == sent[..1]);
        assert!(echoed(&client, &sent[1..200], 1) == sent[1..200]);
        client.write_all(&sent[200..]).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut back = Vec::new();
        client.read_to_end(&mut back).unwrap();
        assert!(back == sent[200..], "round {round}");
    }
    broker.wait_for("0:closed PeerClosed");
    broker.stop();
}

fn a_reset_is_told_by_a_large_receive<K: Kernel>() {
    let broker = Broker::start::<K>(1);
    let client = broker.connect();
    assert_eq!(echoed(&client, b"L", 1), b"L");
    assert_eq!(echoed(&client, b"2", 1), b"2");
    reset(client);
    broker.wait_for(&format!("0:closed {:?}", CloseCause::Reset));
    broker.stop();
}

fn a_large_receive_that_is_cancelled_loses_no_byte<K: Kernel>() {
    let broker = Broker::start::<K>(1);
    let client = broker.connect();
    let sent = stream(b'W', 2_000_000);
    // Slowly, so that reading stops while there is nothing to receive, and while something comes.
    let paced = thread::scope(|scope| {
        scope.spawn(|| {
            for piece in sent.chunks(20_000) {
                (&client).write_all(piece).unwrap();
                thread::sleep(Duration::from_millis(1));
            }
        });
        let mut back = vec![0; sent.len()];
        (&client).read_exact(&mut back).unwrap();
        back
    });
    assert!(paced == sent);
    // And all that fits at once.
    assert!(echoed(&client, &sent[1..], 500_000) == sent[1..]);
    drop(client);
    broker.wait_for("0:closed PeerClosed");
    let seen = broker.stop();
    let stops = seen.iter().filter(|event| *event == "0:stopped").count();
    assert!(stops >= 10, "{stops} stops");
}

fn last_bytes_arrive_although_the_peer_sends_on<K: Kernel>() {
    let broker = Broker::start::<K>(1);
    for _ in 0..20 {
        let mut client = broker.connect();
        client.write_all(b"Q").unwrap();
        for _ in 0..10 {
            client.write_all(&[b'x'; 50_000]).unwrap();
        }
        let mut back = Vec::new();
        client.read_to_end(&mut back).unwrap();
        assert_eq!(back, b"BYE");
    }
    broker.stop();
}

fn a_close_waits_for_what_is_still_to_be_sent<K: Kernel>() {
    let broker = Broker::start::<K>(1);
    let mut client = broker.connect();
    client.write_all(b"B").unwrap();
    // Larger than the buffers of both sockets: the close comes long before the last byte has left.
    thread::sleep(Duration::from_millis(50));
    let mut back = Vec::new();
    client.read_to_end(&mut back).unwrap();
    assert_eq!(back.len(), 8 << 20);
    broker.stop();
}

fn who_never_reads_is_let_go<K: Kernel>() {
    let broker = Broker::start::<K>(1);
    let mut client = broker.connect();
    client.write_all(b"B").unwrap();
    thread::sleep(Duration::from_millis(limits::LINGER_MS + 300));
    // Its slot is used again.
    let mut second = broker.connect();
    second.write_all(b"Q").unwrap();
    let mut back = Vec::new();
    second.read_to_end(&mut back).unwrap();
    let seen = broker.stop();
    assert_eq!(seen, ["0:opened 0", "0:opened 0"]);
    drop(client);
}

fn who_says_goodbye_leaves_its_slot_at_once<K: Kernel>() {
    let broker = Broker::start::<K>(1);
    let mut client = broker.connect();
    client.write_all(b"D").unwrap();
    let mut back = Vec::new();
    client.read_to_end(&mut back).unwrap();
    assert_eq!(back, b"");
    // Its own side is still open.
    let mut second = broker.connect();
    second.write_all(b"D").unwrap();
    second.read_to_end(&mut back).unwrap();
    let seen = broker.stop();
    assert_eq!(seen, ["0:opened 0", "0:opened 0"]);
    drop(client);
}

fn who_sends_and_closes_its_side_gets_its_answer<K: Kernel>() {
    let broker = Broker::start::<K>(1);
    for bytes in [10, 100_000] {
        let mut client = broker.connect();
        let sent = stream(b'E', bytes);
        client.write_all(&sent).unwrap();
        if bytes == 10 {
            client.shutdown(Shutdown::Write).unwrap();
            let mut back = Vec::new();
            client.read_to_end(&mut back).unwrap();
            assert_eq!(back, sent);
        }
    }
    broker.wait_for("0:closed PeerClosed");
    broker.stop();
}

fn a_reset_is_told_as_one<K: Kernel>() {
    let broker = Broker::start::<K>(1);
    let client = broker.connect();
    (&client).write_all(b"E").unwrap();
    let mut back = [0];
    (&client).read_exact(&mut back).unwrap();
    reset(client);
    broker.wait_for(&format!("0:closed {:?}", CloseCause::Reset));
    broker.stop();
}

fn slots_are_used_again<K: Kernel>() {
    let broker = Broker::start::<K>(1);
    for _ in 0..300 {
        let mut client = broker.connect();
        client.write_all(b"E").unwrap();
        client.read_exact(&mut [0]).unwrap();
        drop(client);
    }
    let seen = broker.stop();
    let opened = seen
        .iter()
        .filter_map(|event| event.strip_prefix("0:opened "));
    let indices: Vec<u32> = opened.map(|index| index.parse().unwrap()).collect();
    assert_eq!(indices.len(), 300);
    assert!(indices.iter().all(|index| *index < 10), "{indices:?}");
}

fn many_floods_leave_room_for_one_word<K: Kernel>() {
    let broker = Broker::start::<K>(1);
    let flooders: Vec<TcpStream> = (0..8).map(|_| broker.connect()).collect();
    let until = Instant::now() + Duration::from_secs(1);
    let worst = thread::scope(|scope| {
        for flooder in &flooders {
            scope.spawn(move || {
                let stream = stream(b'E', 1_000_000);
                while Instant::now() < until {
                    assert!(echoed(flooder, &stream, 100_000) == stream);
                }
            });
        }
        let mut client = broker.connect();
        let mut worst = Duration::ZERO;
        while Instant::now() < until {
            let asked = Instant::now();
            client.write_all(b"E").unwrap();
            client.read_exact(&mut [0]).unwrap();
            worst = worst.max(asked.elapsed());
        }
        worst
    });
    assert!(worst < Duration::from_millis(500), "{worst:?}");
    broker.stop();
}

fn verdicts_come_back_from_the_password_thread<K: Kernel>() {
    let broker = Broker::start::<K>(1);
    let mut client = broker.connect();
    client.write_all(b"Anobody:secret").unwrap();
    let mut back = [0; 11];
    client.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"UnknownUser");
    broker.stop();
}

fn time_comes_when_it_was_asked_for<K: Kernel>() {
    let broker = Broker::start::<K>(1);
    let mut client = broker.connect();
    client.write_all(b"T").unwrap();
    broker.wait_for("0:tick");
    broker.stop();
}

fn a_full_lane_is_told_and_loses_nothing<K: Kernel>() {
    let broker = Broker::start::<K>(2);
    let mut client = broker.connect();
    client.write_all(b"F").unwrap();
    broker.wait_for("1:last message of 0");
    broker.wait_for("0:pressure 1 false");
    let seen = broker.stop();
    let pressures: Vec<_> = seen
        .iter()
        .filter(|event| event.contains("pressure"))
        .collect();
    assert_eq!(pressures, ["0:pressure 1 true", "0:pressure 1 false"]);
}

fn a_broker_that_stops_closes_its_connections<K: Kernel>() {
    let broker = Broker::start::<K>(2);
    let mut client = broker.connect();
    client.write_all(b"E").unwrap();
    client.read_exact(&mut [0]).unwrap();
    let asked = Instant::now();
    let reader = thread::spawn(move || {
        let result = client.read(&mut [0]);
        assert!(matches!(result, Ok(0)), "{result:?}");
    });
    let address = broker.address;
    broker.stop();
    assert!(asked.elapsed() < Duration::from_millis(limits::SHUTDOWN_MS));
    reader.join().unwrap();
    let refused = TcpStream::connect(address).map(|mut late| late.read(&mut [0]));
    assert!(match refused {
        Err(error) => error.kind() == ErrorKind::ConnectionRefused,
        Ok(read) => !matches!(read, Ok(1..)),
    });
}

/// Urgent data ends a receive early, although more has come; the urgent byte itself is no part of the stream.
fn urgent_data_holds_up_nothing<K: Kernel>() {
    let broker = Broker::start::<K>(1);
    let client = broker.connect();
    let send = |bytes: &[u8], flags| {
        let sent = nix::sys::socket::send(client.as_raw_fd(), bytes, flags).unwrap();
        assert_eq!(sent, bytes.len());
    };
    send(b"P", MsgFlags::empty());
    (&client).read_exact(&mut [0]).unwrap();
    // Read, and then no more for a while, so that all that follows is there at once.
    send(b"0", MsgFlags::empty());
    (&client).read_exact(&mut [0]).unwrap();
    send(b"1234", MsgFlags::empty());
    send(b"5!", MsgFlags::MSG_OOB);
    send(b"6789", MsgFlags::empty());
    let mut back = [0; 9];
    (&client).read_exact(&mut back).unwrap();
    assert_eq!(&back, b"123456789");
    broker.stop();
}

under_each_driver!(
    urgent_data_holds_up_nothing,
    a_long_stream_is_echoed_whole,
    a_hand_over_loses_no_byte,
    a_hand_over_with_an_armed_receive_loses_no_byte,
    reading_stops_and_goes_on_where_it_was,
    large_and_small_receives_bring_the_stream_in_order,
    what_comes_with_the_end_is_received_by_a_large_receive,
    a_reset_is_told_by_a_large_receive,
    a_large_receive_that_is_cancelled_loses_no_byte,
    last_bytes_arrive_although_the_peer_sends_on,
    a_close_waits_for_what_is_still_to_be_sent,
    who_never_reads_is_let_go,
    who_says_goodbye_leaves_its_slot_at_once,
    who_sends_and_closes_its_side_gets_its_answer,
    a_reset_is_told_as_one,
    slots_are_used_again,
    many_floods_leave_room_for_one_word,
    verdicts_come_back_from_the_password_thread,
    time_comes_when_it_was_asked_for,
    a_full_lane_is_told_and_loses_nothing,
    a_broker_that_stops_closes_its_connections,
);
