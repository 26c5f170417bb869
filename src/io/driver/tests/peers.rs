//! Clients' sides of what a link may have between its socket and MQTT, by other implementations: rustls, tungstenite.

use super::tls::{Files, P256, client_config};
use crate::config::WebSocketTerms;
use crate::io::link::Wrapping;
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConnection, StreamOwned};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;
use tungstenite::protocol::Role;
use tungstenite::{Error, Message, WebSocket};

/// How a WebSocket begins.
pub(in crate::io::driver) const REQUEST: &[u8] = b"GET /mqtt HTTP/1.1\r\nHost: broker\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";

/// What is between a socket and MQTT.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Over {
    WebSocket,
    Tls12,
    Tls13,
    /// A WebSocket inside TLS 1.3.
    SecureWebSocket,
}

impl Over {
    pub(super) const ALL: [Over; 4] = [
        Over::WebSocket,
        Over::Tls12,
        Over::Tls13,
        Over::SecureWebSocket,
    ];

    /// The broker's side. `slow`: a helper does the handshakes.
    pub(super) fn wrapping(self, slow: bool) -> Wrapping {
        let framed = matches!(self, Over::WebSocket | Over::SecureWebSocket);
        Wrapping {
            tls: (self != Over::WebSocket).then(|| Files::make(P256).server(slow)),
            websocket: framed.then(|| Arc::new(WebSocketTerms::default())),
            ..Wrapping::default()
        }
    }

    /// The Client's side, its handshakes done.
    pub(super) fn connect(self, address: SocketAddr, patience: Duration) -> Box<dyn Stream> {
        let socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(patience)).unwrap();
        socket.set_nodelay(true).unwrap();
        let stream: Box<dyn Stream> = match self {
            Over::WebSocket => Box::new(socket),
            Over::Tls12 | Over::Tls13 | Over::SecureWebSocket => {
                let version = if self == Over::Tls12 { &TLS12 } else { &TLS13 };
                let name = ServerName::try_from("broker").unwrap();
                let tls = ClientConnection::new(client_config(version), name).unwrap();
                Box::new(StreamOwned::new(tls, socket))
            }
        };
        match self {
            Over::Tls12 | Over::Tls13 => stream,
            Over::WebSocket | Over::SecureWebSocket => Box::new(Framed::open(stream)),
        }
    }
}

/// Bytes of MQTT, both ways.
pub(super) trait Stream: Read + Write + Send {}

impl<S: Read + Write + Send> Stream for S {}

/// A WebSocket: each write is a message, whose reads may end anywhere.
struct Framed {
    socket: WebSocket<Box<dyn Stream>>,
    message: io::Cursor<Vec<u8>>,
}

impl Framed {
    /// The request and its answer are this test's own: tungstenite takes an answer in many pieces for an attack.
    fn open(mut stream: Box<dyn Stream>) -> Framed {
        stream.write_all(REQUEST).unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            answer.push(byte[0]);
        }
        assert!(answer.starts_with(b"HTTP/1.1 101 "));
        Framed {
            socket: WebSocket::from_raw_socket(stream, Role::Client, None),
            message: io::Cursor::default(),
        }
    }
}

impl Read for Framed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.message.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            match self.socket.read() {
                Ok(Message::Binary(bytes)) => self.message = io::Cursor::new(bytes.to_vec()),
                Ok(Message::Close(_)) | Err(Error::ConnectionClosed | Error::AlreadyClosed) => {
                    return Ok(0);
                }
                Ok(_) => {}
                Err(Error::Io(error)) => return Err(error),
                Err(error) => return Err(io::Error::other(error)),
            }
        }
    }
}

impl Write for Framed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let message = Message::binary(bytes.to_vec());
        self.socket.send(message).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush().map_err(io::Error::other)
    }
}
