//! The frames of a WebSocket beside those of another implementation. Used by the fuzz target of this name and, without
//! a fuzzer, by `tests/corpora.rs`.

use super::layer::every_cut;
use mqttfast::config::WebSocketTerms;
use mqttfast::io::link::Layer;
use mqttfast::io::link::websocket::WebSocket;
use mqttfast::io::link::websocket::frames::Fault;
use std::io::{self, Cursor, Read, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::slice;
use std::sync::Arc;
use tungstenite::error::ProtocolError;
use tungstenite::protocol::frame::coding::Data;
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Error, Message};

const PEER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";
/// What the other implementation assembles at most.
const REFERENCE_BYTES_MAX: usize = 1 << 20;

/// Bytes as a WebSocket's stream from its first on, and as frames behind a good request. The frames mean what another
/// implementation takes them for, and where we refuse one, it refuses the same for the same reason.
pub fn websocket(data: &[u8]) {
    let terms = Arc::new(WebSocketTerms::default());
    let layer = || WebSocket::new(Arc::clone(&terms), PEER);
    every_cut(layer, data);
    let ours = every_cut(layer, &[REQUEST, data].concat());
    assert!(ours.own.starts_with(b"HTTP/1.1 101 "));

    let taken = &data[..taken_bytes(layer(), data)];
    let (theirs, stop) = reference(taken);
    assert!(ours.plain.starts_with(&theirs));
    match stop {
        Stop::End => {}
        // It may be at the same frame still, but reads none behind it.
        Stop::TooLarge => return,
        // Nothing behind a Close frame is looked at.
        Stop::Refused(error) => assert!(ours.ended, "taken, though {error}"),
    }
    if let Some(reason) = ours.broken {
        let fault = FAULTS.into_iter().find(|fault| fault.reason() == reason);
        check_refused(&data[..=taken.len()], fault.expect("one of them"));
    }
}

/// Bytes before the first that is refused.
fn taken_bytes(mut layer: impl Layer, data: &[u8]) -> usize {
    let mut plain = Vec::new();
    assert!(layer.open(REQUEST, &mut plain).is_ok());
    let refused = |byte| layer.open(slice::from_ref(byte), &mut plain).is_err();
    data.iter().position(refused).unwrap_or(data.len())
}

const FAULTS: [Fault; 13] = [
    Fault::Text,
    Fault::ReservedBit,
    Fault::ReservedOpcode,
    Fault::Unmasked,
    Fault::ControlFragmented,
    Fault::ControlTooLong,
    Fault::LengthNotMinimal,
    Fault::LengthTooLarge,
    Fault::NothingToContinue,
    Fault::MessageInMessage,
    Fault::CloseTooShort,
    Fault::CloseCode,
    Fault::CloseReason,
];

/// `data` ends with the first byte that shows this fault. The other implementation looks at a frame when all of it is
/// there: so the frame gets a rest that breaks no other rule, and is refused for the same fault.
fn check_refused(data: &[u8], fault: Fault) {
    use ProtocolError as Rule;
    /// A mask bit, no payload, a mask.
    const EMPTY: [u8; 5] = [0x80, 0, 0, 0, 0];
    let last = data.last().map_or(0, |last| last & 0x7F);
    let (rest, agrees): (Vec<u8>, fn(&Stop) -> bool) = match fault {
        // MQTT has no text, and the other implementation takes a length in any form.
        Fault::Text | Fault::LengthNotMinimal => return,
        Fault::ReservedBit => (EMPTY.into(), |stop| {
            stop.is(Rule::NonZeroReservedBits) || stop.is_opcode()
        }),
        Fault::ReservedOpcode => (EMPTY.into(), Stop::is_opcode),
        Fault::ControlFragmented => (EMPTY.into(), |stop| stop.is(Rule::FragmentedControlFrame)),
        Fault::Unmasked => {
            // A payload, or a longer form of its length, which is 0.
            let bytes = match last {
                126 => 2,
                127 => 8,
                length => length.into(),
            };
            let is_it = |stop: &Stop| stop.is(Rule::UnmaskedFrameFromClient);
            (vec![0; bytes], is_it)
        }
        Fault::ControlTooLong => {
            // Its second byte tells: a length that follows is too large [RFC 6455 5.5], as 126 is, or not in its
            // shortest form [RFC 6455 5.2].
            let length_bytes = if last == 126 { 2 } else { 8 };
            let mut rest = vec![0; length_bytes + 4 + 126];
            rest[length_bytes - 1] = 126;
            (rest, |stop| stop.is(Rule::ControlFrameTooBig))
        }
        Fault::LengthTooLarge => (vec![0; 4], |stop| *stop == Stop::TooLarge),
        Fault::NothingToContinue => (vec![0; REFERENCE_BYTES_MAX], |stop| {
            stop.is(Rule::UnexpectedContinueFrame) || *stop == Stop::TooLarge
        }),
        Fault::MessageInMessage => (vec![0; REFERENCE_BYTES_MAX], |stop| {
            stop.is(Rule::ExpectedFragment(Data::Binary)) || *stop == Stop::TooLarge
        }),
        Fault::CloseTooShort => (Vec::new(), |stop| stop.is(Rule::InvalidCloseSequence)),
        // It answers with another code.
        Fault::CloseCode => (Vec::new(), |stop| *stop == Stop::End || stop.is_utf8()),
        Fault::CloseReason => (Vec::new(), Stop::is_utf8),
    };
    let stop = reference(&[data, &rest].concat()).1;
    assert!(agrees(&stop), "{fault:?}, but {stop:?}");
}

/// Why the other implementation reads no further.
#[derive(PartialEq, Eq, Debug)]
enum Stop {
    /// The bytes end.
    End,
    /// More than it assembles.
    TooLarge,
    /// A rule was broken, in its words.
    Refused(String),
}

impl Stop {
    fn is(&self, rule: ProtocolError) -> bool {
        *self == Stop::Refused(Error::Protocol(rule).to_string())
    }

    fn is_opcode(&self) -> bool {
        (0..16).any(|opcode| self.is(ProtocolError::InvalidOpcode(opcode)))
    }

    fn is_utf8(&self) -> bool {
        matches!(self, Stop::Refused(error) if error.starts_with("UTF-8"))
    }
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
