//! MQTT in the binary frames of a WebSocket [RFC 6455; v3.1.1 6, v5 6], on the side of the Server.
//!
//! ```text
//! request ──► 101 ──► frames ◄─► frames ──► Close ──► the socket is closed
//!    └──────► an answer that says why not ──────────────────┘
//! ```
//!
//! - [`handshake`]: the request and its answer.
//! - [`frames`]: the peer's frames, and the heads of ours.
//! - `seal`: packets as frames.
//!
//! Memory: while the request comes, its bytes, up to a bound. Then about 150 bytes, and the payload of one control
//! frame while it comes or waits for its answer.

pub mod frames;
pub mod handshake;
mod seal;

pub use seal::Last;

#[cfg(test)]
mod tests;

use super::layers::{Broken, Layer, Peer};
use crate::broker::{InsteadOfHttp, OPENING_BYTES_MAX, instead_of_http};
use crate::buffer::{Chunk, Chunks};
use crate::config::WebSocketTerms;
use crate::limits;
use frames::{Fault, Frames, Opcode};
use handshake::Refused;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// The status code of a connection that has done what it was for. [RFC 6455 7.4.1]
const NORMAL: u16 = 1000;

/// One connection's state.
#[derive(Debug)]
pub struct WebSocket {
    /// What has come of the request; `None`: it is answered.
    request: Option<Box<Request>>,
    answer: Option<Box<Answer>>,
    frames: Frames,
    /// A Close frame to be sent, with its status code if it has one.
    close: Option<Option<u16>>,
    /// Our Close frame is made, or may not be: nothing follows.
    closing: bool,
    /// A Ping of ours is to be sent.
    ping: bool,
    /// Checks since something was sent.
    silent_checks: u8,
    sealed: Sealed,
}

/// The header block of a request that is under way.
#[derive(Debug)]
struct Request {
    terms: Arc<WebSocketTerms>,
    peer: IpAddr,
    bytes: Vec<u8>,
}

/// What a request has come to, until it is taken: a connection at rest has none of it.
#[derive(Debug)]
struct Answer {
    /// To be sent.
    bytes: Vec<u8>,
    /// Who a trusted proxy says it was connected by.
    forwarded: Option<IpAddr>,
}

/// The send under way.
#[derive(Default, Debug)]
struct Sealed {
    /// Bytes of the heads.
    heads: u32,
    /// Bytes of packets.
    plain: u32,
    /// Of both, those that have left.
    sent: u32,
    /// Of `plain`, those told to have left.
    told: u32,
}

// With the box around it and the list of layers, a connection costs 250 bytes more than a plain one.
#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<WebSocket>() <= 120);

impl WebSocket {
    /// Before the first byte of the request. `peer`: the other end of the socket.
    pub fn new(terms: Arc<WebSocketTerms>, peer: IpAddr) -> WebSocket {
        WebSocket {
            request: Some(Box::new(Request {
                terms,
                peer,
                bytes: Vec::new(),
            })),
            answer: None,
            frames: Frames::default(),
            close: None,
            closing: false,
            ping: false,
            silent_checks: 0,
            sealed: Sealed::default(),
        }
    }

    /// Takes bytes of the request. Returns those behind its header block once that is whole.
    fn open_request<'a>(&mut self, outside: &'a [u8]) -> Result<Option<&'a [u8]>, Broken> {
        let Some(request) = &mut self.request else {
            return Ok(Some(outside));
        };
        let most = request.terms.request_bytes_max as usize;
        let had = request.bytes.len();
        let taken = outside.len().min(most - had);
        request.bytes.extend_from_slice(&outside[..taken]);
        if had < OPENING_BYTES_MAX {
            match instead_of_http(&request.bytes) {
                InsteadOfHttp::No => {}
                InsteadOfHttp::Undecided => return Ok(None),
                InsteadOfHttp::Yes(reason) => {
                    self.closing = true;
                    return Err(Broken(reason));
                }
            }
        }
        let Some(end) = end_of_block(&request.bytes, had) else {
            return match request.bytes.len() {
                length if length == most => Err(self.refuse(Refused::TooLarge)),
                _ => Ok(None),
            };
        };
        match handshake::answer(&request.bytes[..end], &request.terms, request.peer) {
            Ok(accepted) => {
                self.answer = Some(Box::new(Answer {
                    bytes: accepted.answer,
                    forwarded: accepted.forwarded,
                }));
                self.request = None;
                Ok(Some(&outside[end - had..]))
            }
            Err(refused) => Err(self.refuse(refused)),
        }
    }

    /// The request is answered, but with no WebSocket.
    fn refuse(&mut self, refused: Refused) -> Broken {
        self.answer = Some(Box::new(Answer {
            bytes: refused.answer(),
            forwarded: None,
        }));
        self.closing = true;
        Broken(refused.reason())
    }

    /// Our last frame, unless it was made before.
    fn close_with(&mut self, code: Option<u16>) {
        if !std::mem::replace(&mut self.closing, true) {
            self.close = Some(code);
        }
    }

    fn on_fault(&mut self, fault: Fault) -> Broken {
        self.close_with(Some(fault.code()));
        Broken(fault.reason())
    }
}

impl Layer for WebSocket {
    fn open(&mut self, outside: &[u8], inside: &mut Vec<u8>) -> Result<(), Broken> {
        let Some(framed) = self.open_request(outside)? else {
            return Ok(());
        };
        let read = self.frames.read(framed, inside);
        read.map_err(|fault| self.on_fault(fault))?;
        if let Some(closed) = self.frames.closed() {
            self.close_with(closed.code);
        }
        Ok(())
    }

    fn has_ended(&self) -> bool {
        self.frames.closed().is_some()
    }

    fn has_own_bytes(&self) -> bool {
        let answer = self.answer.as_ref();
        answer.is_some_and(|answer| !answer.bytes.is_empty())
            || self.close.is_some()
            || self.ping
            || self.frames.is_pinged()
    }

    fn own_bytes(&mut self) -> Option<Chunks> {
        let mut own = Vec::new();
        if let Some(answer) = &mut self.answer {
            own = std::mem::take(&mut answer.bytes);
            if answer.forwarded.is_none() {
                self.answer = None;
            }
        }
        if let Some(payload) = self.frames.take_pinged() {
            frames::append(&mut own, Opcode::Pong, &payload);
        }
        if std::mem::take(&mut self.ping) {
            frames::append(&mut own, Opcode::Ping, &[]);
        }
        if let Some(code) = self.close.take() {
            let code = code.map(u16::to_be_bytes);
            let body = code.as_ref().map_or(&[][..], |code| code);
            frames::append(&mut own, Opcode::Close, body);
        }
        (!own.is_empty()).then(|| Chunks::from_iter([Chunk::Block(own)]))
    }

    fn seal(&mut self, mut chunks: Chunks, framed: &mut Last) -> Chunks {
        let plain: usize = chunks.iter().map(|chunk| chunk.bytes().len()).sum();
        let (plain, heads) = (plain as u32, seal::seal(&mut chunks, framed) as u32);
        self.sealed = Sealed {
            heads,
            plain,
            ..Sealed::default()
        };
        self.silent_checks = 0;
        chunks
    }

    fn sent(&mut self, bytes: usize, whole: bool) -> usize {
        let sealed = &mut self.sealed;
        sealed.sent += bytes as u32;
        // As if all heads had left first: never too many.
        let left = match whole {
            true => sealed.plain,
            false => sealed.sent.saturating_sub(sealed.heads).min(sealed.plain),
        };
        let more = left - sealed.told;
        sealed.told = left;
        more as usize
    }

    fn farewell(&mut self) {
        if self.request.is_none() {
            self.close_with(Some(NORMAL));
        }
    }

    fn wants_checks(&self) -> bool {
        true
    }

    fn check(&mut self) {
        if self.request.is_some() || self.closing {
            return;
        }
        // Before the first check something may have been sent at any time since the last.
        let silent_ms = u64::from(self.silent_checks) * limits::LINK_CHECK_MS;
        self.silent_checks += 1;
        if silent_ms >= limits::WEBSOCKET_PING_MS {
            // It is sent now.
            self.silent_checks = 1;
            self.ping = true;
        }
    }

    fn kept_bytes(&self) -> usize {
        let request = self.request.as_ref();
        request.map_or(0, |request| request.bytes.capacity())
    }

    fn take_peer(&mut self) -> Option<Peer> {
        let answer = self.answer.as_mut()?;
        let address = answer.forwarded.take()?;
        if answer.bytes.is_empty() {
            self.answer = None;
        }
        Some(Peer {
            address: SocketAddr::new(address, 0),
            user_name: None,
        })
    }
}

/// Where the header block ends, behind an empty line, if not before `from`.
fn end_of_block(bytes: &[u8], from: usize) -> Option<usize> {
    let lines = memchr::memchr_iter(b'\n', &bytes[from..]);
    let mut lines = lines.map(|at| from + at + 1);
    // Lines end with CR LF, or with LF alone. [RFC 7230 3.5]
    lines.find(|end| bytes[..*end].ends_with(b"\n\r\n") || bytes[..*end].ends_with(b"\n\n"))
}
