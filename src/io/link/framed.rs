//! A transport for the tests of the driver that needs all a transport may need: a handshake, frames, answers of its
//! own, a farewell.
//!
//! The Client says `HELLO` and is answered `WELCOME`. Then both send frames: a byte of length and that many bytes,
//! each XOR [`MASK`]. Length 0 is the farewell; [`PING`] and [`PONG`] are frames of their own, a question and its
//! answer; [`BAD`] breaks the rules.

use super::layers::{Broken, Layer};
use super::websocket::Last;
use crate::buffer::{Chunk, Chunks};

/// What a Client says first, before any frame.
pub const HELLO: &[u8] = b"HELLO";
/// The answer to [`HELLO`]; frames follow.
pub const WELCOME: &[u8] = b"WELCOME";
/// Each byte of a frame is XORed with this, so that sealed bytes are never mistaken for MQTT.
pub const MASK: u8 = 0x55;
/// A frame without bytes: its sender sends no more.
pub const FAREWELL: u8 = 0;
/// The longest frame.
pub const FRAME_BYTES_MAX: usize = 200;
/// Asks for [`PONG`]; stands where a length would.
pub const PING: u8 = 253;
/// The answer to [`PING`].
pub const PONG: u8 = 254;
/// A length above [`FRAME_BYTES_MAX`] that breaks the rules; the answer to whoever did.
pub const BAD: u8 = 255;

/// One connection's state; it begins before `HELLO`.
#[derive(Default, Debug)]
pub struct Framed {
    /// Bytes of [`HELLO`] that have come.
    hello: usize,
    /// Bytes of the present frame that have not come.
    left: usize,
    own: Vec<u8>,
    ended: bool,
    farewell_said: bool,
    /// Of the sealed send under way: bytes of MQTT, and those told to have left.
    sealed: usize,
    told: usize,
    sealed_sent: usize,
}

impl Layer for Framed {
    /// Errors: a wrong `HELLO`, or [`BAD`].
    fn open(&mut self, outside: &[u8], inside: &mut Vec<u8>) -> Result<(), Broken> {
        for &byte in outside {
            if self.ended {
                break;
            }
            if let Some(&expected) = HELLO.get(self.hello) {
                if byte != expected {
                    self.own.push(BAD);
                    self.farewell_said = true;
                    return Err(Broken("it did not say HELLO"));
                }
                self.hello += 1;
                if self.hello == HELLO.len() {
                    self.own.extend_from_slice(WELCOME);
                }
            } else if self.left > 0 {
                inside.push(byte ^ MASK);
                self.left -= 1;
            } else {
                match byte {
                    FAREWELL => self.ended = true,
                    PING => self.own.push(PONG),
                    BAD => {
                        self.own.push(BAD);
                        self.farewell_said = true;
                        return Err(Broken("a frame of 255 bytes"));
                    }
                    bytes => self.left = bytes.into(),
                }
            }
        }
        Ok(())
    }

    fn has_ended(&self) -> bool {
        self.ended
    }

    fn has_own_bytes(&self) -> bool {
        !self.own.is_empty()
    }

    fn own_bytes(&mut self) -> Option<Chunks> {
        let own = std::mem::take(&mut self.own);
        (!own.is_empty()).then(|| Chunks::from_iter([Chunk::Block(own)]))
    }

    fn seal(&mut self, chunks: Chunks, _framed: &mut Last) -> Chunks {
        assert!(self.hello == HELLO.len() && self.own.is_empty());
        assert!(!self.farewell_said, "nothing follows the farewell");
        let mut plain = Vec::new();
        for chunk in chunks.iter() {
            plain.extend_from_slice(chunk.bytes());
        }
        (self.sealed, self.told, self.sealed_sent) = (plain.len(), 0, 0);
        Chunks::from_iter([Chunk::Block(frames(&plain))])
    }

    fn sent(&mut self, bytes: usize, whole: bool) -> usize {
        self.sealed_sent += bytes;
        // Only bytes of whole frames count before the end.
        let sure = self.sealed_sent / (FRAME_BYTES_MAX + 1) * FRAME_BYTES_MAX;
        let left = if whole {
            self.sealed
        } else {
            sure.min(self.sealed)
        };
        let more = left - self.told;
        self.told = left;
        more
    }

    /// Once, if the handshake is through.
    fn farewell(&mut self) {
        if self.hello == HELLO.len() && !std::mem::replace(&mut self.farewell_said, true) {
            self.own.push(FAREWELL);
        }
    }
}

/// Bytes of MQTT as either side sends them.
pub fn frames(plain: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for frame in plain.chunks(FRAME_BYTES_MAX) {
        out.push(frame.len() as u8);
        out.extend(frame.iter().map(|byte| byte ^ MASK));
    }
    out
}
