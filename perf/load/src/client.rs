//! Connections: opening one, its buffers, and the blocking handshake used before and beside the measurement.

use crate::shell::Shell;
use crate::wire::{self, Packet};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, setsockopt, socket, sockopt,
};
use rustls::ClientConfig;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

/// No handshake of ours takes longer, however slow the broker.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// Long enough that no run needs a PINGREQ.
pub const KEEP_ALIVE_S: u16 = 3600;

/// Where the broker listens, and which MQTT it is spoken to.
#[derive(Clone, Copy)]
pub struct Target {
    pub address: SocketAddrV4,
    pub v5: bool,
    /// In the frames of a WebSocket.
    pub websocket: bool,
    /// Inside TLS.
    pub tls: Option<&'static Arc<ClientConfig>>,
}

/// Opens a TCP connection with TCP_NODELAY, blocking.
///
/// With `source` it comes from another loopback address: each has ports of its own, so that a storm of short
/// connections does not run out of them.
pub fn open(to: SocketAddrV4, source: Option<Ipv4Addr>) -> Result<TcpStream, String> {
    let fail = |error: nix::Error| format!("connect to {to}: {error}");
    let fd = socket(
        AddressFamily::Inet,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    )
    .map_err(fail)?;
    if let Some(source) = source {
        setsockopt(&fd, sockopt::IpBindAddressNoPort, &true).map_err(fail)?;
        bind(
            fd.as_raw_fd(),
            &SockaddrIn::from(SocketAddrV4::new(source, 0)),
        )
        .map_err(fail)?;
    }
    connect(fd.as_raw_fd(), &SockaddrIn::from(to)).map_err(fail)?;
    let stream = TcpStream::from(fd);
    stream
        .set_nodelay(true)
        .map_err(|error| error.to_string())?;
    Ok(stream)
}

/// A client that waits for each answer.
pub struct Client {
    pub stream: TcpStream,
    /// Received and not yet taken.
    pub received: Vec<u8>,
    v5: bool,
    out: Vec<u8>,
    shell: Shell,
}

impl Client {
    /// Connects and waits for CONNACK 0.
    pub fn connect(to: Target, client_id: &str) -> Result<Client, String> {
        let mut stream = open(to.address, None)?;
        stream
            .set_read_timeout(Some(ANSWER_WITHIN))
            .map_err(|error| error.to_string())?;
        stream
            .set_write_timeout(Some(ANSWER_WITHIN))
            .map_err(|error| error.to_string())?;
        let shell = Shell::begin(to, &mut stream)?;
        let mut client = Client {
            stream,
            shell,
            received: Vec::new(),
            v5: to.v5,
            out: Vec::new(),
        };
        wire::append_connect(to.v5, client_id, KEEP_ALIVE_S, &mut client.out);
        client.send()?;
        client.expect(wire::CONNACK, |packet| match packet.body {
            [_, 0, ..] => Ok(()),
            body => Err(format!("CONNACK refuses: {body:?}")),
        })?;
        Ok(client)
    }

    /// Subscribes and waits for SUBACK. Errors too if a filter was refused.
    pub fn subscribe(&mut self, filters: &[String], qos: u8) -> Result<(), String> {
        self.subscribe_send(filters, qos)?;
        let v5 = self.v5;
        self.expect(wire::SUBACK, |packet| {
            // Behind the Packet Identifier and, in 5.0, Properties of which there are none.
            let codes = packet
                .body
                .get(if v5 { 3 } else { 2 }..)
                .unwrap_or_default();
            if codes.len() != filters.len() || codes.iter().any(|&code| code > 2) {
                return Err(format!("SUBACK refuses: {codes:?}"));
            }
            Ok(())
        })
    }

    /// Sends the SUBSCRIBE and waits for nothing.
    pub fn subscribe_send(&mut self, filters: &[String], qos: u8) -> Result<(), String> {
        wire::append_subscribe(self.v5, 1, filters, qos, &mut self.out);
        self.send()
    }

    /// Sends ready packets.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> Result<(), String> {
        let mut sealed = Vec::new();
        let bytes = if self.shell.is_bare() {
            bytes
        } else {
            self.shell.seal(bytes, &mut sealed)?;
            &sealed
        };
        self.stream
            .write_all(bytes)
            .map_err(|error| format!("send: {error}"))
    }

    fn send(&mut self) -> Result<(), String> {
        let out = std::mem::take(&mut self.out);
        self.send_bytes(&out)
    }

    /// Waits for one more read's worth of bytes.
    pub fn receive(&mut self) -> Result<(), String> {
        let start = self.received.len();
        self.received.resize(start + 64 * 1024, 0);
        let read = loop {
            match self.stream.read(&mut self.received[start..]) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        self.received.truncate(start + *read.as_ref().unwrap_or(&0));
        match read {
            Ok(0) => Err("the broker closed the connection".into()),
            Ok(_) if self.shell.is_bare() => Ok(()),
            Ok(_) => {
                let sealed = self.received.split_off(start);
                self.shell.open(&sealed, &mut self.received)
            }
            Err(error) => Err(format!("no answer: {error}")),
        }
    }

    /// Waits for the next packet, which must be of this type.
    pub fn expect(
        &mut self,
        kind: u8,
        check: impl Fn(&Packet<'_>) -> Result<(), String>,
    ) -> Result<(), String> {
        loop {
            if let Some(packet) = wire::next_packet(&self.received)? {
                if packet.kind() != kind {
                    return Err(format!(
                        "expected packet type {kind}, got {}",
                        packet.kind()
                    ));
                }
                let (result, bytes) = (check(&packet), packet.bytes);
                self.received.drain(..bytes);
                return result;
            }
            self.receive()?;
        }
    }
}

/// A connection of the measurement: does not block, one write and one read at a time.
pub struct Connection {
    pub stream: TcpStream,
    /// The start of a packet whose rest has not come.
    pub partial: Vec<u8>,
    /// What the socket did not take yet.
    pub pending: Vec<u8>,
    pub pending_at: usize,
    pub shell: Shell,
    /// What was sealed last, for its memory.
    sealed: Vec<u8>,
}

impl Connection {
    /// Takes over a connected client.
    pub fn new(client: Client) -> Result<Connection, String> {
        let mut connection = Connection::start(client.stream, client.shell)?;
        connection.partial = client.received;
        Ok(connection)
    }

    /// Over a socket on which nothing was said yet, or no more than the shell knows of.
    pub fn start(stream: TcpStream, shell: Shell) -> Result<Connection, String> {
        stream
            .set_nonblocking(true)
            .map_err(|error| error.to_string())?;
        Ok(Connection {
            stream,
            partial: Vec::new(),
            pending: Vec::new(),
            pending_at: 0,
            shell,
            sealed: Vec::new(),
        })
    }

    /// Appends to `inside` the MQTT in what was read, and sends what the shell itself answers.
    pub fn open(&mut self, received: &[u8], inside: &mut Vec<u8>) -> Result<(), String> {
        self.shell.open(received, inside)?;
        if self.shell.wants_write() {
            return self.write(&[]);
        }
        Ok(())
    }

    pub fn has_pending(&self) -> bool {
        self.pending_at < self.pending.len()
    }

    /// Writes `bytes` after what is pending; keeps what the socket does not take.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        if self.shell.is_bare() {
            return self.write_sealed(bytes);
        }
        let mut sealed = std::mem::take(&mut self.sealed);
        sealed.clear();
        self.shell.seal(bytes, &mut sealed)?;
        let written = self.write_sealed(&sealed);
        self.sealed = sealed;
        written
    }

    fn write_sealed(&mut self, bytes: &[u8]) -> Result<(), String> {
        if self.has_pending() {
            self.pending.extend_from_slice(bytes);
            return Ok(());
        }
        let taken = written(self.stream.write(bytes))?;
        if taken < bytes.len() {
            self.pending.clear();
            self.pending_at = 0;
            self.pending.extend_from_slice(&bytes[taken..]);
        }
        Ok(())
    }

    /// Writes what is pending, once.
    pub fn flush(&mut self) -> Result<(), String> {
        if self.has_pending() {
            self.pending_at += written(self.stream.write(&self.pending[self.pending_at..]))?;
            if !self.has_pending() {
                self.pending.clear();
                self.pending_at = 0;
            }
        }
        Ok(())
    }
}

fn written(result: std::io::Result<usize>) -> Result<usize, String> {
    match result {
        Ok(taken) => Ok(taken),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
            Ok(0)
        }
        Err(error) => Err(format!("send: {error}")),
    }
}
