//! What stands between a socket and MQTT: the frames of a WebSocket beside those of another implementation, and the
//! header of a proxy. Used by fuzz targets and, without a fuzzer, by `tests/corpora.rs`.

use mqttfast::config::{ProxyTerms, ProxyVersion, WebSocketTerms};
use mqttfast::io::link::Layer;
use mqttfast::io::link::proxy::{self, Proxy};
use mqttfast::io::link::websocket::WebSocket;
use mqttfast::limits;
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

/// What came of a stream.
#[derive(PartialEq, Eq, Debug)]
struct Heard {
    plain: Vec<u8>,
    own: Vec<u8>,
    broken: Option<&'static str>,
    ended: bool,
}

/// Gives a layer a stream, cut as `cut` says by the place. Its own bytes are taken in the end.
fn hear(mut layer: impl Layer, mut bytes: &[u8], cut: impl Fn(usize) -> usize) -> Heard {
    let mut plain = Vec::new();
    let mut broken = None;
    let mut at = 0;
    while !bytes.is_empty() && broken.is_none() {
        let (first, rest) = bytes.split_at(cut(at).clamp(1, bytes.len()));
        broken = layer.open(first, &mut plain).err().map(|broken| broken.0);
        assert!(layer.kept_bytes() <= 2 * limits::HTTP_REQUEST_BYTES_MOST as usize);
        at += first.len();
        bytes = rest;
    }
    layer.farewell();
    let own = layer.own_bytes().unwrap_or_default();
    assert!(!layer.has_own_bytes());
    Heard {
        plain,
        own: own
            .iter()
            .flat_map(|chunk| chunk.bytes())
            .copied()
            .collect(),
        broken,
        ended: layer.has_ended(),
    }
}

/// The same under cuts of one byte, of the whole, and of what the first byte says.
fn every_cut<L: Layer>(layer: impl Fn() -> L, data: &[u8]) -> Heard {
    let whole = hear(layer(), data, |_| usize::MAX);
    assert_eq!(hear(layer(), data, |_| 1), whole);
    let seed = usize::from(data.first().copied().unwrap_or(0));
    assert_eq!(hear(layer(), data, |at| 1 + (at * 31 + seed) % 11), whole);
    whole
}

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
                let whole = [data, &[rest; 0x1_0000]].concat();
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
    ["text frame", "shortest form", "2^63 bytes", "Close frame"]
        .iter()
        .any(|words| reason.contains(words))
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

/// Bytes as the start of a connection that a proxy makes; the first says on which terms. A verdict stays what it is
/// when more comes, and no header is longer than it may be.
pub fn proxy(data: &[u8]) {
    let Some((pick, data)) = data.split_first() else {
        return;
    };
    let terms = ProxyTerms {
        version: [ProxyVersion::V1, ProxyVersion::V2][usize::from(pick & 1)],
        tls_required: pick & 2 != 0,
        certificate_required: pick & 4 != 0,
        names: pick & 8 != 0,
    };
    let mut before = Ok(None);
    for end in 0..=data.len().min(limits::PROXY_HEADER_BYTES_MAX + 1) {
        let now = proxy::read(&data[..end], terms);
        assert!(before == Ok(None) || before == now, "{end}: {now:?}");
        before = now;
    }
    let heard = every_cut(|| Proxy::new(terms), data);
    assert!(heard.own.is_empty() && !heard.ended);
    match before {
        Ok(Some((_, size))) => {
            assert!((1..=limits::PROXY_HEADER_BYTES_MAX).contains(&size) && size <= data.len());
            assert_eq!(heard.plain, data[size..]);
        }
        Ok(None) => assert!(heard.plain.is_empty() && heard.broken.is_none()),
        Err(fault) => assert_eq!(heard.broken, Some(fault.reason())),
    }
}
