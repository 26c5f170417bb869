//! What a Client has sent so far, as far as its harness must know it: where packets end, and whether a close must
//! follow.

/// The stream from a Client, cut into packets by their Fixed Headers alone.
#[derive(Default)]
pub struct Outgoing {
    /// Bytes of a packet that has not ended.
    rest: Vec<u8>,
    packets: usize,
    /// No packet boundary can be found any more, the first packet was no CONNECT, or a DISCONNECT was sent: the broker
    /// must close.
    pub last: bool,
}

impl Outgoing {
    /// Notes bytes on their way; returns how many PINGREQ packets are among them.
    pub fn sends(&mut self, bytes: &[u8]) -> usize {
        self.rest.extend(bytes);
        let mut pings = 0;
        while !self.last
            && let Some(first) = self.rest.first()
        {
            let Some(end) = packet_end(&self.rest) else {
                // Four bytes of length that do not end it.
                self.last = self.rest.len() >= 5 && self.rest[1..5].iter().all(|b| *b >= 0x80);
                break;
            };
            let packet_type = first >> 4;
            pings += usize::from(*first == 0xc0);
            self.last = (self.packets == 0) != (packet_type == 1) || packet_type == 14;
            self.packets += 1;
            self.rest.drain(..end);
        }
        pings
    }

    /// The last packet has ended: another may follow.
    pub fn is_whole(&self) -> bool {
        self.packets > 0 && self.rest.is_empty() && !self.last
    }
}

/// Where the packet at the front ends; `None` until all of it is there.
pub fn packet_end(bytes: &[u8]) -> Option<usize> {
    let length_bytes = 1 + bytes[1..].iter().take(4).position(|byte| *byte < 0x80)?;
    let length = bytes[1..=length_bytes]
        .iter()
        .rev()
        .fold(0, |length, byte| length << 7 | usize::from(byte & 0x7f));
    let end = 1 + length_bytes + length;
    (bytes.len() >= end).then_some(end)
}
