//! What the tests of the turn loop stand on: a double in the shard's place, and drivers on threads.

use crate::broker::{Found, HandOver, Input, Output, Outputs, PeerMessage, Report};
use crate::buffer::{Chunk, Chunks, Payload, Stock};
use crate::ids::{ConnectionId, ShardId};
use crate::io::clock::Clock;
use crate::io::crossing::LANE_BOUNDS;
use crate::io::driver::kernel::Kernel;
use crate::io::driver::{Core, Driver};
use crate::io::helpers::handshakes::Handshakes;
use crate::io::helpers::log::Log;
use crate::io::helpers::passwords::{Checker, Users};
use crate::io::link::Wrapping;
use crate::io::listener::ListeningSockets;
use crate::io::mail::{Shards, ToShard};
use crate::io::seat::{Common, Seat, seats};
use crate::limits;
use crate::mesh::{Places, lanes};
use crate::session::ConnectRequest;
use crate::time::Time;
use nix::sys::socket::{setsockopt, sockopt};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// What the doubles have seen: shard and event.
pub type Seen = Arc<Mutex<Vec<String>>>;

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
/// `E` echo; `Q` answer BYE and close; `1` hand over to shard 1, then echo; `M` resume reading, so that its receive
/// stays armed, and hand over to shard 1 only with the next bytes; `P` stop reading for 50 ms, then echo; `B` send 8
/// MiB and close, `b` 1.5 MiB; `A` check the password `name:password` that follows; `T` tick in 30 ms; `F` flood the
/// lane to shard 1; `D` close at once; `L` echo, with large receives and small ones in turn, and large ones alone as
/// long as little comes; `W` echo by large receives, and waver: stop reading and go on every 2 ms.
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
    /// Messages of peers in this turn, whose work budget is spent by the first, and the most of any turn.
    heard: usize,
    heard_most: usize,
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
            request: Box::new(ConnectRequest::plain("moved")),
            user_epoch: 0,
            bytes: bytes.to_vec(),
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
            b'B' | b'b' => {
                let payload = Payload::new(&[b'b'; 64 * 1024]);
                let shared = |_| Chunk::Shared {
                    payload: payload.clone(),
                    start: 0,
                    end: payload.len() as u32,
                };
                let count = if bytes[0] == b'B' { 128 } else { 24 };
                let chunks = (0..count).map(shared).collect();
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
            Input::Address {
                connection,
                address,
            } => {
                self.client(connection);
                self.see(format!("address {address}"));
            }
            Input::LinkBytes { connection, bytes } => {
                self.client(connection);
                self.see(format!("link keeps {bytes}"));
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
                self.heard += 1;
                self.heard_most = self.heard_most.max(self.heard);
                if sequence == 0 {
                    // Long enough for the lane to spill.
                    thread::sleep(Duration::from_millis(30));
                }
                if sequence + 1 == 3 * limits::SPILL_HIGH as u64 {
                    self.see(format!("at most {} a turn", self.heard_most));
                    self.see(format!("last message of {from}"));
                }
            }
            Input::Pressure { to, on } => self.see(format!("pressure {to} {on}")),
            Input::UsersGone(users) => self.see(format!("gone {users:?}")),
            Input::Identified { user_name, .. } => self.see(format!("identified {user_name}")),
            Input::Rules(rules) => self.see(format!("rules {}", rules.are_any())),
            Input::Settings(_) => self.see("settings".to_owned()),
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
            Input::Publish(message) => self.see(format!("own {message:?}")),
            Input::Restored(restored) => self.see(format!("restored {restored:?}")),
            Input::Kept { sequence } => self.see(format!("kept {sequence}")),
            Input::Store(state) => self.see(format!("store {state:?}")),
            Input::Order(order) => self.see(format!("order {order:?}")),
            Input::Survey(survey) => {
                // What was asked for comes back as what is left to ask.
                out.push(Output::Report(Box::new(Report {
                    shard: self.shard,
                    now,
                    found: Found::Sums(Box::default()),
                    next: Some(*survey),
                })));
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
        self.heard = 0;
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

    fn is_spent(&self) -> bool {
        self.heard > 0
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
pub struct Broker {
    pub address: SocketAddr,
    pub seen: Seen,
    pub shards: Shards,
    threads: Vec<JoinHandle<()>>,
}

impl Broker {
    pub fn start<K: Kernel>(count: usize) -> Broker {
        Broker::start_with::<K>(count, &Wrapping::default())
    }

    pub fn start_with<K: Kernel>(count: usize, wrapping: &Wrapping) -> Broker {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let listeners = ListeningSockets::of_one_listener(vec![listener], wrapping);
        let handshakes = Handshakes::default();
        let (log, clock) = (Log::start(None, None).unwrap(), Clock::start());
        let shards = Shards::new(count).unwrap();
        let checker = Checker::new(Users::load(&[None]).unwrap());
        checker.start(shards.clone(), clock).unwrap();
        handshakes.start(shards.clone(), 2).unwrap();
        let endpoints = lanes(count, &LANE_BOUNDS);
        let common = Common {
            listeners,
            recent: Default::default(),
            sys: Default::default(),
            places: Arc::new(Places::new(usize::MAX, 0, &[])),
            memory: Arc::new(Stock::new(limits::MEMORY_BYTES_DEFAULT, count)),
            checker: Some(checker),
            handshakes: handshakes.clone(),
            store: false,
            log,
            clock,
        };
        let mut seats = seats(&shards, endpoints, &common);
        // The first shard accepts alone, so that tests know where a connection is.
        for seat in &mut seats[1..] {
            seat.common.listeners = ListeningSockets::from(Vec::new());
        }
        let seen = Seen::default();
        let run = |seat: Seat| {
            let double = Double {
                shard: seat.id,
                seen: Arc::clone(&seen),
                clients: HashMap::new(),
                resume_at: None,
                tick_at: None,
                large_in_turn: None,
                wavering: None,
                reads: false,
                heard: 0,
                heard_most: 0,
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

    pub fn connect(&self) -> TcpStream {
        let client = TcpStream::connect(self.address).unwrap();
        let patience = Some(Duration::from_secs(10));
        client.set_read_timeout(patience).unwrap();
        client.set_nodelay(true).unwrap();
        client
    }

    pub fn wait_for(&self, event: &str) {
        self.wait_until(event, |seen| seen == event);
    }

    /// Waits for an event that begins so.
    pub fn wait_for_like(&self, event: &str) {
        self.wait_until(event, |seen| seen.starts_with(event));
    }

    fn wait_until(&self, event: &str, is_it: impl Fn(&String) -> bool) {
        let until = Instant::now() + Duration::from_secs(5);
        while !self.seen.lock().unwrap().iter().any(&is_it) {
            let seen = self.seen.lock().unwrap().clone();
            assert!(Instant::now() < until, "{event} not seen in {seen:?}");
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Stops all shards and tells what they saw.
    pub fn stop(self) -> Vec<String> {
        self.shards.tell_all(|| ToShard::Shutdown);
        for thread in self.threads {
            thread.join().unwrap();
        }
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

/// Ends a connection without a word.
pub fn reset(client: TcpStream) {
    let linger = nix::libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    setsockopt(&client, sockopt::Linger, &linger).unwrap();
}

/// Bytes no two positions of which are easily confused.
pub fn stream(first: u8, bytes: usize) -> Vec<u8> {
    let mut stream: Vec<u8> = (0..bytes as u32)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    stream[0] = first;
    stream
}

/// Sends in pieces from another thread and reads the same number of bytes back.
pub fn echoed(client: &TcpStream, stream: &[u8], piece: usize) -> Vec<u8> {
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
