//! The frames of a WebSocket beside those of another implementation. Used by the fuzz target of this name and, without
//! a fuzzer, by `tests/corpora.rs`.

use super::layer::every_cut;
use mqttfast::config::WebSocketTerms;
use mqttfast::io::link::websocket::WebSocket;
use std::io::{self, Cursor, Read, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use tungstenite::error::ProtocolError;
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Error, Message};

const PEER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";
/// What the other implementation assembles at most.
const REFERENCE_BYTES_MAX: usize = 1 << 20;

/// Bytes as a WebSocket's stream from its first on, and as frames behind a good request. The frames mean what another
/// implementation takes them for.
pub fn websocket(data: &[u8]) {
    let terms = Arc::new(WebSocketTerms::default());
    let layer = || WebSocket::new(Arc::clone(&terms), PEER);
    every_cut(layer, data);
    let ours = every_cut(layer, &[REQUEST, data].concat());
    assert!(ours.own.starts_with(b"HTTP/1.1 101 "));

    let (theirs, stop) = reference(data);
    let both = ours.plain.len().min(theirs.len());
    assert_eq!(ours.plain[..both], theirs[..both]);
    match (ours.broken, stop) {
        (None, Stop::End) => assert!(theirs.len() <= ours.plain.len()),
        // Nothing behind a Close frame is looked at.
        (None, Stop::Refused(error)) => assert!(ours.ended, "taken, though {error}"),
        (Some(reason), Stop::End) if !we_alone_refuse(reason) => {
            // It looks at a frame when that is whole, and takes a short length in a long form: of zeros, it may be one.
            let refuses = |rest: u8| {
                let whole = [data, &[rest; REFERENCE_BYTES_MAX + 16]].concat();
                reference(&whole).1 != Stop::End
            };
            assert!(refuses(0) || refuses(1), "{reason}");
        }
        (Some(_), _) | (None, Stop::TooLarge) => {}
    }
}

/// Why the other implementation reads no further.
#[derive(PartialEq, Eq, Debug)]
enum Stop {
    /// The bytes end.
    End,
    /// More than it assembles.
    TooLarge,
    /// A rule was broken.
    Refused(String),
}

/// Rules of MQTT, or of RFC 6455 that the other implementation leaves to its user.
fn we_alone_refuse(reason: &str) -> bool {
    // A control frame whose length is written in a long form is too long by that; the other implementation counts the
    // bytes that are there, and takes it where they are few. [RFC 6455 5.2, 5.5]
    let alone = [
        "text frame",
        "shortest form",
        "2^63 bytes",
        "Close frame",
        "more than 125 bytes",
    ];
    alone.iter().any(|words| reason.contains(words))
}

/// The peer's bytes to read; what is written goes nowhere.
struct Wire<'a>(Cursor<&'a [u8]>);

impl Read for Wire<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The payloads of whole binary messages, and what stopped it.
fn reference(data: &[u8]) -> (Vec<u8>, Stop) {
    let limits = WebSocketConfig::default()
        .max_message_size(Some(REFERENCE_BYTES_MAX))
        .max_frame_size(Some(REFERENCE_BYTES_MAX));
    let wire = Wire(Cursor::new(data));
    let mut socket = tungstenite::WebSocket::from_raw_socket(wire, Role::Server, Some(limits));
    let mut plain = Vec::new();
    loop {
        let stop = match socket.read() {
            Ok(Message::Binary(payload)) => {
                plain.extend_from_slice(&payload);
                continue;
            }
            Ok(_) => continue,
            Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake))
            | Err(Error::ConnectionClosed | Error::AlreadyClosed | Error::Io(_)) => Stop::End,
            Err(Error::Capacity(_)) => Stop::TooLarge,
            Err(error) => Stop::Refused(error.to_string()),
        };
        return (plain, stop);
    }
}
