//! `connect`: TCP connect, the handshake of TLS if there is one, CONNECT, CONNACK, DISCONNECT, close, on a number of
//! connections at once.

use crate::client::{self, Connection, Target};
use crate::shell::Shell;
use crate::usage::{self, Processes, Usage};
use crate::wire;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use std::io::{ErrorKind, Read};
use std::net::Ipv4Addr;

/// Source addresses 127.0.1.1 and on: closed connections keep their port for a minute.
const SOURCES: u64 = 250;
const STALLED_NS: u64 = 10_000_000_000;

pub struct Outcome {
    pub connected: u64,
    pub usage: Usage,
    pub own_cpu_ns: u64,
    pub seconds: f64,
    pub stalled: bool,
}

struct Storm {
    to: Target,
    epoll: Epoll,
    slots: Vec<Option<Connection>>,
    opened: u64,
    connected: u64,
    out: Vec<u8>,
}

/// Keeps `at_once` handshakes going for `warm_up_s` and then `seconds`.
pub fn run(
    to: Target,
    processes: &Processes,
    at_once: usize,
    warm_up_s: f64,
    seconds: f64,
) -> Result<Outcome, String> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(|error| error.to_string())?;
    let slots = (0..at_once).map(|_| None).collect();
    let mut storm = Storm {
        to,
        epoll,
        slots,
        opened: 0,
        connected: 0,
        out: Vec::new(),
    };
    for slot in 0..at_once {
        storm.open(slot)?;
    }
    storm.run_until(usage::now_ns() + (warm_up_s * 1e9) as u64)?;
    let (before, own_before, from) = (processes.usage()?, usage::own_cpu_ns(), usage::now_ns());
    let connected = storm.connected;
    let stalled = !storm.run_until(from + (seconds * 1e9) as u64)?;
    Ok(Outcome {
        connected: storm.connected - connected,
        usage: processes.usage()? - before,
        own_cpu_ns: usage::own_cpu_ns() - own_before,
        seconds: (usage::now_ns() - from) as f64 / 1e9,
        stalled,
    })
}

impl Storm {
    fn open(&mut self, slot: usize) -> Result<(), String> {
        let source = Ipv4Addr::new(127, 0, 1, (self.opened % SOURCES + 1) as u8);
        // Loopback: the three-way handshake is done when connect returns, so this does not wait.
        let stream = client::open(
            self.to.address,
            self.to.address.ip().is_loopback().then_some(source),
        )?;
        let event = EpollEvent::new(EpollFlags::EPOLLIN, slot as u64);
        self.epoll
            .add(&stream, event)
            .map_err(|error| error.to_string())?;
        let mut connection = Connection::start(stream, Shell::start(self.to)?)?;
        self.out.clear();
        wire::append_connect(self.to.v5, &format!("c{}", self.opened), 60, &mut self.out);
        connection.write(&self.out)?;
        self.slots[slot] = Some(connection);
        self.opened += 1;
        Ok(())
    }

    fn run_until(&mut self, end: u64) -> Result<bool, String> {
        let mut events = [EpollEvent::empty(); 256];
        let mut progress = usage::now_ns();
        loop {
            let count = match self.epoll.wait(&mut events, 20u16) {
                Ok(count) => count,
                Err(nix::errno::Errno::EINTR) => 0,
                Err(error) => return Err(error.to_string()),
            };
            for event in &events[..count] {
                self.on_readable(event.data() as usize)?;
            }
            let now = usage::now_ns();
            if count > 0 {
                progress = now;
            }
            if now >= end {
                return Ok(true);
            }
            if now - progress > STALLED_NS {
                return Ok(false);
            }
        }
    }

    fn on_readable(&mut self, slot: usize) -> Result<(), String> {
        let Some(connection) = &mut self.slots[slot] else {
            return Ok(());
        };
        let mut bytes = [0; 4096];
        match connection.stream.read(&mut bytes) {
            Ok(0) => return Err("the broker closed a connection before CONNACK".into()),
            Ok(read) => {
                let mut inside = std::mem::take(&mut connection.partial);
                let opened = connection.open(&bytes[..read], &mut inside);
                connection.partial = inside;
                opened?;
            }
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
            {
                return Ok(());
            }
            Err(error) => return Err(format!("receive: {error}")),
        }
        let Some(packet) = wire::next_packet(&connection.partial)? else {
            return Ok(());
        };
        if packet.kind() != wire::CONNACK || !packet.body.starts_with(&[0, 0]) {
            return Err(format!(
                "instead of CONNACK 0: {:02x} {:02x?}",
                packet.first, packet.body
            ));
        }
        connection.write(&wire::DISCONNECT)?;
        self.connected += 1;
        self.slots[slot] = None; // Closes.
        self.open(slot)
    }
}
