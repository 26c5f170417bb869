//! The client's side of MQTT over WebSocket: a frame for each packet that is sent, and whatever frames come back.

use crate::wire;
use std::io::{Read, Write};

/// What opens it. The broker's answer to the key is not checked.
const REQUEST: &[u8] = b"GET /mqtt HTTP/1.1\r\nHost: broker\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";
const MASK: [u8; 4] = [0x5A, 0xC3, 0x17, 0x88];

/// The broker's frames, as they come.
#[derive(Default)]
pub struct Frames {
    /// The start of a head whose rest has not come.
    head: Vec<u8>,
    /// Bytes of the payload that have not come.
    left: usize,
}

impl Frames {
    /// Sends the request and waits for its answer.
    pub fn begin(stream: &mut (impl Read + Write)) -> Result<Frames, String> {
        let fail = |error: std::io::Error| format!("WebSocket: {error}");
        stream.write_all(REQUEST).map_err(fail)?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).map_err(fail)?;
            answer.push(byte[0]);
        }
        if !answer.starts_with(b"HTTP/1.1 101 ") {
            let answer = String::from_utf8_lossy(&answer);
            return Err(format!("no WebSocket: {answer}"));
        }
        Ok(Frames::default())
    }

    /// Leaves what frames carry at the start of `bytes`, and says how much that is.
    pub fn open(&mut self, bytes: &mut [u8]) -> Result<usize, String> {
        let (mut at, mut end) = (0, 0);
        while at < bytes.len() {
            if self.left > 0 {
                let taken = self.left.min(bytes.len() - at);
                bytes.copy_within(at..at + taken, end);
                (at, end, self.left) = (at + taken, end + taken, self.left - taken);
                continue;
            }
            if self.head.is_empty()
                && let [0x82, length @ 0..126, ..] = bytes[at..]
            {
                (at, self.left) = (at + 2, length.into());
                continue;
            }
            self.head.push(bytes[at]);
            at += 1;
            let length = match self.head[..] {
                [0x82, length @ 0..126] => length.into(),
                [0x82, 126, high, low] => u16::from_be_bytes([high, low]).into(),
                [0x82, 127, _, _, _, _, a, b, c, d] => u32::from_be_bytes([a, b, c, d]) as usize,
                // A Ping of the broker's; it wants no more than to be heard.
                [0x89, 0] => 0,
                [0x82 | 0x89] | [0x82, 126 | 127, ..] => continue,
                _ => return Err(format!("an unexpected frame: {:?}", self.head)),
            };
            self.left = length;
            self.head.clear();
        }
        Ok(end)
    }
}

/// Appends packets, each in a frame of its own.
pub fn seal(mut packets: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
    while let Some(packet) = wire::next_packet(packets)? {
        let (first, rest) = packets.split_at(packet.bytes);
        packets = rest;
        out.push(0x82);
        match first.len() {
            length @ 0..126 => out.push(0x80 | length as u8),
            length @ 126..0x1_0000 => {
                out.push(0x80 | 126);
                out.extend_from_slice(&(length as u16).to_be_bytes());
            }
            length => {
                out.push(0x80 | 127);
                out.extend_from_slice(&(length as u64).to_be_bytes());
            }
        }
        out.extend_from_slice(&MASK);
        mask(first, out);
    }
    if packets.is_empty() {
        Ok(())
    } else {
        Err("a part of a packet is to be sent".into())
    }
}

/// Appends masked bytes, many at a time: what the generator takes, the broker's batches lack.
#[inline]
fn mask(bytes: &[u8], out: &mut Vec<u8>) {
    const STEP: usize = 16;
    const STEP_MASK: [u8; STEP] = {
        let mut mask = [0; STEP];
        let mut at = 0;
        while at < STEP {
            mask[at] = MASK[at % 4];
            at += 1;
        }
        mask
    };
    let (steps, rest) = bytes.as_chunks::<STEP>();
    for step in steps {
        let masked: [u8; STEP] = std::array::from_fn(|at| step[at] ^ STEP_MASK[at]);
        out.extend_from_slice(&masked);
    }
    let from = out.len();
    out.extend_from_slice(rest);
    for (byte, mask) in out[from..].iter_mut().zip(&STEP_MASK) {
        *byte ^= mask;
    }
}
