//! A broker process and Clients on true sockets, with the habits of the world without sockets: whatever a Client has
//! sent has had its effect when a test looks at anything, and before another Client sends.
//!
//! Nothing waits for a time to find that nothing comes. A PINGREQ behind what a Client has sent is answered when its
//! shard has handled that; then the [`Fence`] passes, and every shard has handled what the shards told each other; then
//! a PINGREQ on every connection, whose answer comes behind all that was to be sent there. Where no PINGREQ may stand
//! (inside a packet, after DISCONNECT) the fence alone must do: what must come is waited for all the same.

use super::fence::Fence;
use super::outgoing::Outgoing;
use super::process::{Broker, Folder, Options};
use super::shard::{Client, Ear, Packet, Stage, Version, World as Shards};
use mqttfast::config::Settings;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::process::Command;
use std::time::{Duration, Instant};

/// How long what must come is waited for. Reached only by a failing test.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// The longest time that is waited for as such.
const PASS_MS_MAX: u64 = 5_000;
/// What is waited for where nothing may happen, however long.
const PASS_LONG_MS: u64 = 100;

/// The fence's own user, where there are users.
const FENCE_USER: (&str, &str) = ("fence", "fence's own");

pub struct Sockets {
    shards: usize,
    settings: Settings,
    users: Vec<(String, Vec<u8>)>,
    /// Started by the first Client.
    running: Option<Running>,
    clients: Vec<Peer>,
    /// Who sent since all came to rest, and was not answered yet: one, but for `send_together`.
    senders: Vec<Client>,
    /// The broker has ended.
    stopped: bool,
    /// Something was sent or ended since all came to rest.
    unsettled: bool,
    /// When this began; `now_ms` counts from it.
    start: Instant,
}

struct Running {
    fence: Fence,
    broker: Broker,
    _folder: Folder,
}

/// One Network Connection, from the Client's side.
struct Peer {
    ear: Ear,
    stream: Option<TcpStream>,
    outgoing: Outgoing,
    /// The harness sends nothing of its own.
    alone: bool,
    /// The broker closed.
    closed: bool,
    /// The Client closed.
    dropped: bool,
    /// When the Client last sent something: just before.
    sent_at: Instant,
    /// When something last came, or the close.
    heard_at: Instant,
}

impl Peer {
    fn is_open(&self) -> bool {
        !self.closed && !self.dropped
    }

    fn write(&mut self, bytes: &[u8]) {
        self.sent_at = Instant::now();
        if let Some(stream) = &mut self.stream
            && let Err(error) = stream.write_all(bytes)
        {
            // The broker may have closed: what it said is still to be read.
            let in_time = !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
            assert!(in_time, "the broker takes nothing for {DEADLINE:?}");
        }
    }

    /// Reads what comes within `within`, at least something; `false` if nothing came.
    fn read(&mut self, within: Duration) -> bool {
        let Some(stream) = &mut self.stream else {
            return false;
        };
        stream
            .set_read_timeout(Some(within.max(Duration::from_millis(1))))
            .expect("set a deadline");
        let mut block = vec![0; 64 * 1024];
        let count = match stream.read(&mut block) {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => return true,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return false;
            }
            // A reset is a close as well.
            Err(_) => 0,
        };
        self.heard_at = Instant::now();
        if count == 0 {
            self.stream = None;
            self.closed = !self.dropped;
            let rest = &self.ear.arrived;
            assert!(rest.is_empty(), "the last packet is cut: {rest:02x?}");
            return true;
        }
        self.ear.arrived.extend(&block[..count]);
        let answers = self.ear.parse();
        if !answers.is_empty() {
            self.write(&answers);
        }
        true
    }

    /// Reads until `done`, or the close, or the deadline; says whether it was one of the former.
    fn read_until(&mut self, done: impl Fn(&Peer) -> bool) -> bool {
        let end = Instant::now() + DEADLINE;
        while self.stream.is_some() && !done(self) {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || !self.read(left) {
                return false;
            }
        }
        true
    }

    /// A PINGREQ may be sent: behind a CONNECT that was accepted, between packets.
    fn may_ping(&self) -> bool {
        let accepted = matches!(
            self.ear.history.first(),
            Some(Packet::ConnAck { code: 0, .. })
        );
        self.is_open() && accepted && self.outgoing.is_whole() && !self.alone
    }

    fn ping(&mut self) {
        // Not a sign of life of the Client.
        let sent_at = self.sent_at;
        self.ear.pings.push_back(false);
        self.write(&[0xc0, 0]);
        self.sent_at = sent_at;
    }

    /// The answers to all PINGREQ packets have come.
    #[track_caller]
    fn hear_pings(&mut self) {
        let heard = self.read_until(|peer| peer.ear.pings.is_empty());
        assert!(heard, "no PINGRESP within {DEADLINE:?}");
    }
}

impl Sockets {
    pub fn new(shards: usize, settings: Settings) -> Sockets {
        Sockets {
            shards,
            settings,
            users: Vec::new(),
            running: None,
            clients: Vec::new(),
            senders: Vec::new(),
            stopped: false,
            unsettled: false,
            start: Instant::now(),
        }
    }

    fn run(&mut self) -> &mut Running {
        if self.running.is_none() {
            self.running = Some(self.start());
        }
        self.running.as_mut().expect("started")
    }

    fn start(&self) -> Running {
        let folder = Folder::new();
        let default = Settings::default();
        let listener = &self.settings.listeners[0];
        let mut arguments = Vec::new();
        for (flag, value, default) in [
            (
                "--max-packet-size",
                u64::from(listener.packet_bytes_max),
                u64::from(default.listeners[0].packet_bytes_max),
            ),
            (
                "--max-inflight",
                u64::from(self.settings.inflight_max),
                u64::from(default.inflight_max),
            ),
            (
                "--max-queued-bytes",
                u64::from(self.settings.session_queue_bytes_max),
                u64::from(default.session_queue_bytes_max),
            ),
        ] {
            if value != default {
                arguments.extend([flag.to_owned(), value.to_string()]);
            }
        }
        let passwd = listener.passwords.then(|| {
            let file = folder.path("passwd");
            std::fs::write(&file, "").expect("an empty password file");
            let fence = (FENCE_USER.0.to_owned(), FENCE_USER.1.into());
            for (name, password) in self.users.iter().chain([&fence]) {
                let password =
                    std::str::from_utf8(password).expect("a password an argument can be");
                let status = Command::new(crate::process::program())
                    .args(["passwd", "-b"])
                    .arg(&file)
                    .args([name, password])
                    .status();
                assert!(status.expect("run mqttfast passwd").success());
            }
            file
        });
        let broker = Broker::start_with(Options {
            shards: self.shards,
            allow_anonymous: listener.passwords && listener.anonymous,
            passwd,
            arguments,
            ..Options::default()
        });
        let user = listener.passwords.then_some(FENCE_USER);
        Running {
            fence: Fence::new(&broker, user),
            broker,
            _folder: folder,
        }
    }

    /// Until this Client has been answered what it sent.
    fn hear_answers(&mut self, client: Client) {
        let peer = &mut self.clients[client.0];
        if !peer.is_open() {
            return;
        }
        if peer.outgoing.last {
            // The broker has to close; if it does not, `is_closed` says so.
            peer.read_until(|_| false);
        } else if peer.outgoing.is_whole() {
            let heard = peer.read_until(|peer| !peer.ear.history.is_empty());
            assert!(heard, "neither CONNACK nor a close within {DEADLINE:?}");
            if peer.alone {
                peer.hear_pings();
            } else if peer.may_ping() {
                peer.ping();
                peer.hear_pings();
            } else {
                // Refused: the close follows.
                peer.read_until(|_| false);
            }
        }
    }

    /// Until all that was sent has had its effect on everyone.
    fn settle(&mut self) {
        while self.unsettled && !self.stopped {
            self.unsettled = false;
            for client in std::mem::take(&mut self.senders) {
                self.hear_answers(client);
            }
            self.run().fence.pass();
            let before = self.start.elapsed();
            for peer in self.clients.iter_mut().filter(|peer| peer.may_ping()) {
                peer.ping();
            }
            for peer in &mut self.clients {
                if peer.may_ping() {
                    peer.hear_pings();
                }
                // What a Client answered by itself goes on.
                self.unsettled |= peer.ear.acknowledges && peer.sent_at > self.start + before;
            }
        }
    }

    fn write(&mut self, client: Client, bytes: &[u8]) {
        let peer = self.peer(client);
        if !peer.is_open() {
            return;
        }
        peer.ear.sends(bytes);
        let pings = peer.outgoing.sends(bytes);
        peer.ear.pings.extend(std::iter::repeat_n(true, pings));
        peer.write(bytes);
        if !self.senders.contains(&client) {
            self.senders.push(client);
        }
        self.unsettled = true;
    }

    fn peer(&mut self, client: Client) -> &mut Peer {
        &mut self.clients[client.0]
    }

    /// Ends the sending side; the broker closes when it has seen that.
    fn hang_up(&mut self, client: Client) {
        let peer = self.peer(client);
        peer.dropped = true;
        if let Some(stream) = &peer.stream {
            let _ = stream.shutdown(Shutdown::Write);
        }
        let closed = peer.read_until(|_| false);
        assert!(closed, "no close {DEADLINE:?} after the Client's");
        self.unsettled = true;
    }
}

impl Stage for Sockets {
    fn has_sockets(&self) -> bool {
        true
    }

    fn shards(&self) -> usize {
        self.shards
    }

    fn allow_user(&mut self, user_name: &str, password: &[u8]) {
        assert!(self.running.is_none(), "before the first Client");
        self.users.push((user_name.to_owned(), password.to_vec()));
    }

    fn open(&mut self, version: Version) -> Client {
        let address = self.run().broker.address();
        let stream = TcpStream::connect_timeout(&address, DEADLINE).expect("connect to the broker");
        stream.set_nodelay(true).expect("set TCP_NODELAY");
        stream
            .set_write_timeout(Some(DEADLINE))
            .expect("set a deadline");
        self.clients.push(Peer {
            ear: Ear::new(version),
            stream: Some(stream),
            outgoing: Outgoing::default(),
            alone: false,
            closed: false,
            dropped: false,
            sent_at: Instant::now(),
            heard_at: Instant::now(),
        });
        self.unsettled = true;
        Client(self.clients.len() - 1)
    }

    fn version(&self, client: Client) -> Version {
        self.clients[client.0].ear.version
    }

    fn send_bytes(&mut self, client: Client, bytes: &[u8]) {
        if self.senders.iter().any(|sender| *sender != client) {
            self.settle();
        }
        self.write(client, bytes);
    }

    fn send_together(&mut self, sends: &[(Client, Vec<u8>)]) {
        self.settle();
        for (client, bytes) in sends {
            self.write(*client, bytes);
        }
        self.settle();
    }

    fn leave_alone(&mut self, client: Client) {
        self.settle();
        self.peer(client).alone = true;
    }

    fn drop_connection(&mut self, client: Client) {
        self.settle();
        self.hang_up(client);
    }

    fn reset_connection(&mut self, client: Client) {
        self.settle();
        let peer = self.peer(client);
        peer.dropped = true;
        if let Some(stream) = peer.stream.take() {
            let linger = nix::libc::linger {
                l_onoff: 1,
                l_linger: 0,
            };
            nix::sys::socket::setsockopt(
                &stream.as_fd(),
                nix::sys::socket::sockopt::Linger,
                &linger,
            )
            .expect("set SO_LINGER");
        }
        self.unsettled = true;
    }

    fn ear(&mut self, client: Client) -> &mut Ear {
        // What has ended hears nothing more.
        if self.peer(client).stream.is_some() {
            self.settle();
        }
        &mut self.peer(client).ear
    }

    fn ear_answered(&mut self, client: Client) -> &mut Ear {
        if self.senders.contains(&client) {
            self.hear_answers(client);
        }
        &mut self.peer(client).ear
    }

    fn unused_packet_id(&mut self, client: Client) -> u16 {
        self.peer(client).ear.packet_id()
    }

    fn is_closed(&mut self, client: Client) -> bool {
        // Whoever asks expects it.
        let peer = self.peer(client);
        peer.read_until(|_| false);
        peer.closed
    }

    fn is_open(&mut self, client: Client) -> bool {
        self.settle();
        let peer = self.peer(client);
        // One that is left alone was not listened to.
        while peer.alone && peer.read(Duration::ZERO) {}
        peer.is_open()
    }

    fn log(&self) -> Vec<String> {
        let running = self.running.as_ref();
        running.map_or(Vec::new(), |running| running.broker.log())
    }

    fn shut_down(&mut self) {
        self.settle();
        self.stopped = true;
        let broker = &mut self.run().broker;
        let (status, _) = broker.end_by(nix::sys::signal::Signal::SIGTERM);
        assert!(status.success(), "the broker ended by {status}");
        for peer in self.clients.iter_mut().filter(|peer| peer.is_open()) {
            peer.read_until(|_| false);
        }
    }

    fn pass(&mut self, ms: u64) {
        assert!(ms <= PASS_MS_MAX, "{ms} ms are too long for a true clock");
        self.settle();
        std::thread::sleep(Duration::from_millis(ms));
        self.unsettled = true;
    }

    fn pass_long(&mut self, ms: u64) {
        self.pass(ms.min(PASS_LONG_MS));
    }

    #[track_caller]
    fn closes_after(&mut self, client: Client, least_ms: u64, _most_ms: u64) {
        let peer = self.peer(client);
        let closed = peer.read_until(|_| false);
        assert!(closed, "open after {DEADLINE:?}");
        let ms = peer.heard_at.duration_since(peer.sent_at).as_millis();
        assert!(ms >= u128::from(least_ms), "closed after {ms} ms");
        self.unsettled = true;
    }

    fn now_ms(&mut self) -> u64 {
        self.settle();
        self.start.elapsed().as_millis() as u64
    }

    #[track_caller]
    fn hears_after(&mut self, client: Client, since_ms: u64, least_ms: u64, _most_ms: u64) {
        let start = self.start;
        self.settle();
        let peer = self.peer(client);
        let heard = peer.read_until(|peer| !peer.ear.inbox.is_empty());
        assert!(heard && !peer.ear.inbox.is_empty(), "nothing heard");
        let at_ms = peer.heard_at.duration_since(start).as_millis();
        let least_ms = u128::from(since_ms + least_ms);
        assert!(
            at_ms >= least_ms,
            "at {at_ms} ms, not from {least_ms} ms on"
        );
        self.unsettled = true;
    }

    fn as_shards(&mut self) -> Option<&mut Shards> {
        None
    }
}
