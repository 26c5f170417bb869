//! Cuts a stream of bytes into packets by their Fixed Header [v5 §2.1]. What comes out does not depend on how the
//! stream was cut when it was read.

use super::Malformed;
use super::varint;

/// The bytes of one whole packet before we understand them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame<'a> {
    /// The packet, Fixed Header included.
    pub bytes: &'a [u8],
    /// Size of the Fixed Header: 2..=5.
    pub header_bytes: u8,
}

impl<'a> Frame<'a> {
    /// MQTT Control Packet type, 1..=15.
    #[inline]
    pub fn packet_type(&self) -> u8 {
        self.bytes[0] >> 4
    }

    /// The flags beside the packet type, 0..=15.
    #[inline]
    pub fn flags(&self) -> u8 {
        self.bytes[0] & 0x0F
    }

    /// Variable Header and Payload.
    #[inline]
    pub fn body(&self) -> &'a [u8] {
        &self.bytes[usize::from(self.header_bytes)..]
    }
}

/// The packet at the start of `bytes`; `None` while it is not complete. The next one starts at
/// `frame.bytes.len()`.
///
/// Errors come as soon as the bytes show them, before the packet is complete: `ReservedPacketType` (0);
/// `VariableByteIntegerTooLong`, `OverlongVariableByteInteger` [v5 MQTT-1.5.5-1]; `PacketTooLarge` if the
/// whole packet has more than `packet_bytes_max` bytes [v5 §3.2.2.3.6].
#[inline]
pub fn next_frame(bytes: &[u8], packet_bytes_max: u32) -> Result<Option<Frame<'_>>, Malformed> {
    let Some(header) = header(bytes)? else {
        return Ok(None);
    };
    if header.packet_bytes > packet_bytes_max as usize {
        return Err(Malformed::PacketTooLarge);
    }
    Ok(bytes.get(..header.packet_bytes).map(|bytes| Frame {
        bytes,
        header_bytes: header.header_bytes,
    }))
}

/// Size of the whole packet at the start of `bytes` as its Fixed Header tells it; `None` if that is
/// incomplete or malformed.
#[inline]
pub fn frame_bytes(bytes: &[u8]) -> Option<usize> {
    header(bytes).ok()?.map(|header| header.packet_bytes)
}

struct Header {
    header_bytes: u8,
    packet_bytes: usize,
}

#[inline]
fn header(bytes: &[u8]) -> Result<Option<Header>, Malformed> {
    let Some((&first, rest)) = bytes.split_first() else {
        return Ok(None);
    };
    if first >> 4 == 0 {
        return Err(Malformed::ReservedPacketType);
    }
    Ok(varint::read(rest)?.map(|(length, size)| Header {
        header_bytes: 1 + size as u8,
        packet_bytes: 1 + size + length as usize,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_cut_out_when_it_is_complete() {
        let stream = [0x30, 3, 0, 1, b'a', 0xC0, 0];
        for end in 0..5 {
            assert_eq!(next_frame(&stream[..end], 100), Ok(None));
        }
        let frame = next_frame(&stream, 100).unwrap().unwrap();
        assert_eq!(frame.bytes, &stream[..5]);
        assert_eq!(frame.packet_type(), 3);
        assert_eq!(frame.flags(), 0);
        assert_eq!(frame.body(), [0, 1, b'a']);
        let frame = next_frame(&stream[5..], 100).unwrap().unwrap();
        assert_eq!(frame.bytes, [0xC0, 0]);
        assert!(frame.body().is_empty());
    }

    #[test]
    fn faults_show_before_the_packet_is_complete() {
        assert_eq!(next_frame(&[0x00], 100), Err(Malformed::ReservedPacketType));
        assert_eq!(
            next_frame(&[0x10, 0xFF, 0xFF, 0xFF, 0xFF], 100),
            Err(Malformed::VariableByteIntegerTooLong)
        );
        assert_eq!(
            next_frame(&[0x10, 0x80, 0x00], 100),
            Err(Malformed::OverlongVariableByteInteger)
        );
    }

    #[test]
    fn the_limit_counts_the_fixed_header() {
        assert_eq!(next_frame(&[0x30, 98], 100), Ok(None));
        assert_eq!(next_frame(&[0x30, 99], 100), Err(Malformed::PacketTooLarge));
        assert_eq!(
            next_frame(&[0x10, 0xFF, 0xFF, 0xFF, 0x7F], 268_435_459),
            Err(Malformed::PacketTooLarge)
        );
        assert_eq!(
            next_frame(&[0x10, 0xFF, 0xFF, 0xFF, 0x7F], 268_435_460),
            Ok(None)
        );
    }

    #[test]
    fn the_size_is_known_from_the_header_on() {
        assert_eq!(frame_bytes(&[]), None);
        assert_eq!(frame_bytes(&[0x30]), None);
        assert_eq!(frame_bytes(&[0x30, 0x80]), None);
        assert_eq!(frame_bytes(&[0x30, 0x80, 1]), Some(131));
        assert_eq!(frame_bytes(&[0x30, 0x80, 0]), None);
    }
}
