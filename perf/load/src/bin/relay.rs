//! `relay PORT`: a practical bound, not a broker.
//!
//! It finds frame boundaries, looks a route up once for each publisher (by the topic of its first PUBLISH, so a
//! publisher must keep to one topic) and copies whole runs of PUBLISH frames to the subscribers' buffers, each written
//! once a turn. QoS 0 only; no checks, no limits. What a broker of one thread on epoll costs above it, is its own.

// The generator's decoder, of which this needs a part.
#[allow(dead_code)]
#[path = "../wire.rs"]
mod wire;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use std::collections::HashMap;
use std::error::Error;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};

const CONNECT: u8 = 1;
const SUBSCRIBE: u8 = 8;
const LISTENER: u64 = u64::MAX;
const READ_BYTES: usize = 256 * 1024;

struct Client {
    stream: TcpStream,
    partial: Vec<u8>,
    out: Vec<u8>,
    /// The start of `out` that the socket took.
    taken: usize,
    interest: EpollFlags,
    dirty: bool,
    /// The subscribers of the one topic this client publishes to.
    route: Option<Vec<u64>>,
    filters: Vec<Vec<u8>>,
}

struct Relay {
    epoll: Epoll,
    clients: HashMap<u64, Client>,
    dirty: Vec<u64>,
    buffer: Vec<u8>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let port = std::env::args()
        .nth(1)
        .ok_or("usage: relay PORT")?
        .parse::<u16>()?;
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    listener.set_nonblocking(true)?;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
    let mut relay = Relay {
        epoll,
        clients: HashMap::new(),
        dirty: Vec::new(),
        buffer: vec![0; 2 * READ_BYTES],
    };
    let mut next = 0;
    let mut events = [EpollEvent::empty(); 256];
    loop {
        let count = match relay.epoll.wait(&mut events, EpollTimeout::NONE) {
            Err(nix::errno::Errno::EINTR) => 0,
            other => other?,
        };
        for event in &events[..count] {
            if event.data() == LISTENER {
                while let Ok((stream, _)) = listener.accept() {
                    relay.open(next, stream)?;
                    next += 1;
                }
            } else if event.events().contains(EpollFlags::EPOLLIN) {
                relay.read(event.data())?;
            } else {
                relay.mark(event.data());
            }
        }
        while let Some(key) = relay.dirty.pop() {
            relay.flush(key)?;
        }
    }
}

impl Relay {
    fn open(&mut self, key: u64, stream: TcpStream) -> Result<(), Box<dyn Error>> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let interest = EpollFlags::EPOLLIN;
        self.epoll.add(&stream, EpollEvent::new(interest, key))?;
        let client = Client {
            stream,
            partial: Vec::new(),
            out: Vec::new(),
            taken: 0,
            interest,
            dirty: false,
            route: None,
            filters: Vec::new(),
        };
        self.clients.insert(key, client);
        Ok(())
    }

    fn mark(&mut self, key: u64) {
        if let Some(client) = self.clients.get_mut(&key)
            && !client.dirty
        {
            client.dirty = true;
            self.dirty.push(key);
        }
    }

    fn read(&mut self, key: u64) -> Result<(), Box<dyn Error>> {
        let Some(client) = self.clients.get_mut(&key) else {
            return Ok(());
        };
        let start = client.partial.len();
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(buffer.len().max(start + READ_BYTES), 0);
        buffer[..start].copy_from_slice(&client.partial);
        client.partial.clear();
        match client.stream.read(&mut buffer[start..start + READ_BYTES]) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                client.partial.extend_from_slice(&buffer[..start])
            }
            Ok(0) | Err(_) => {
                self.clients.remove(&key);
            }
            Ok(read) => self.packets(key, &buffer[..start + read])?,
        }
        self.buffer = buffer;
        Ok(())
    }

    fn packets(&mut self, key: u64, bytes: &[u8]) -> Result<(), Box<dyn Error>> {
        let mut at = 0;
        // Start of the run of PUBLISH frames not yet copied.
        let mut run = 0;
        while let Some(packet) = wire::next_packet(&bytes[at..])? {
            if packet.kind() != wire::PUBLISH {
                self.copy_run(key, &bytes[run..at])?;
                run = at + packet.bytes;
                self.answer(key, &packet);
            }
            at += packet.bytes;
        }
        self.copy_run(key, &bytes[run..at])?;
        if let Some(client) = self.clients.get_mut(&key) {
            client.partial.extend_from_slice(&bytes[at..]);
        }
        Ok(())
    }

    fn copy_run(&mut self, key: u64, run: &[u8]) -> Result<(), Box<dyn Error>> {
        let Some(packet) = wire::next_packet(run)? else {
            return Ok(());
        };
        let topic = packet.publish(false)?.topic;
        let known = self
            .clients
            .get_mut(&key)
            .and_then(|client| client.route.take());
        let route = known.unwrap_or_else(|| {
            let wants =
                |client: &Client| client.filters.iter().any(|filter| matches(filter, topic));
            self.clients
                .iter()
                .filter(|(_, client)| wants(client))
                .map(|(&key, _)| key)
                .collect()
        });
        for &to in &route {
            if let Some(client) = self.clients.get_mut(&to) {
                client.out.extend_from_slice(run);
                if !client.dirty {
                    client.dirty = true;
                    self.dirty.push(to);
                }
            }
        }
        if let Some(client) = self.clients.get_mut(&key) {
            client.route = Some(route);
        }
        Ok(())
    }

    fn answer(&mut self, key: u64, packet: &wire::Packet<'_>) {
        let Some(client) = self.clients.get_mut(&key) else {
            return;
        };
        match packet.kind() {
            CONNECT => client.out.extend_from_slice(&[0x20, 2, 0, 0]),
            SUBSCRIBE => {
                client
                    .filters
                    .push(packet.body[4..packet.body.len() - 1].to_vec());
                client
                    .out
                    .extend_from_slice(&[0x90, 3, packet.body[0], packet.body[1], 0]);
            }
            _ => {}
        }
        self.mark(key);
    }

    fn flush(&mut self, key: u64) -> Result<(), Box<dyn Error>> {
        let Some(client) = self.clients.get_mut(&key) else {
            return Ok(());
        };
        client.dirty = false;
        match client.stream.write(&client.out[client.taken..]) {
            Ok(taken) => client.taken += taken,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            // A lost client shows itself as readable, too.
            Err(_) => client.taken = client.out.len(),
        }
        let mut wanted = EpollFlags::EPOLLIN;
        if client.taken == client.out.len() {
            client.out.clear();
            client.taken = 0;
        } else {
            wanted |= EpollFlags::EPOLLOUT;
        }
        if wanted != client.interest {
            client.interest = wanted;
            self.epoll
                .modify(&client.stream, &mut EpollEvent::new(wanted, key))?;
        }
        Ok(())
    }
}

/// Whether a filter without wildcards, or with a last `+`, matches.
fn matches(filter: &[u8], topic: &[u8]) -> bool {
    match filter.strip_suffix(b"+") {
        Some(start) => topic
            .strip_prefix(start)
            .is_some_and(|rest| !rest.contains(&b'/')),
        None => filter == topic,
    }
}
