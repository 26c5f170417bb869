//! Reads the data types of MQTT [v5 §1.5] from the bytes of one packet, front to back. Copies nothing,
//! never reads past the end, and cannot panic whatever the bytes are.

use super::Malformed;
use super::varint;

/// The part of a packet that is not read yet.
#[derive(Clone, Copy, Debug)]
pub struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    /// Starts at the first of `bytes`.
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What is not read yet.
    #[inline]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// No byte of the packet is left to read.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Takes the next `count` bytes. Errors: `Truncated` if there are fewer.
    #[inline]
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self
            .rest
            .split_at_checked(count)
            .ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    /// One byte.
    #[inline]
    pub fn byte(&mut self) -> Result<u8, Malformed> {
        let (&byte, rest) = self.rest.split_first().ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(byte)
    }

    /// Two Byte Integer [v5 §1.5.2].
    #[inline]
    pub fn two_byte_integer(&mut self) -> Result<u16, Malformed> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(u16::from_be_bytes(*bytes))
    }

    /// Four Byte Integer [v5 §1.5.3].
    #[inline]
    pub fn four_byte_integer(&mut self) -> Result<u32, Malformed> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(u32::from_be_bytes(*bytes))
    }

    /// Variable Byte Integer [v5 §1.5.5], 0..=268,435,455.
    ///
    /// Errors: `Truncated`; `OverlongVariableByteInteger` and `VariableByteIntegerTooLong` [v5 MQTT-1.5.5-1].
    #[inline]
    pub fn variable_byte_integer(&mut self) -> Result<u32, Malformed> {
        let (value, size) = varint::read(self.rest)?.ok_or(Malformed::Truncated)?;
        self.rest = &self.rest[size..];
        Ok(value)
    }

    /// Binary Data [v5 §1.5.6], 0..=65,535 bytes.
    #[inline]
    pub fn binary_data(&mut self) -> Result<&'a [u8], Malformed> {
        let size = self.two_byte_integer()?;
        self.take(usize::from(size))
    }

    /// UTF-8 Encoded String [v5 §1.5.4, v3.1.1 §1.5.3], 0..=65,535 bytes.
    ///
    /// Errors: `Truncated`; `IllFormedUtf8` [v5 MQTT-1.5.4-1, v3.1.1 MQTT-1.5.3-1];
    /// `NulInString` [v5 MQTT-1.5.4-2, v3.1.1 MQTT-1.5.3-2].
    pub fn utf8_string(&mut self) -> Result<&'a str, Malformed> {
        let text = self.utf8_string_or_nul()?;
        if memchr::memchr(0, text.as_bytes()).is_some() {
            return Err(Malformed::NulInString);
        }
        Ok(text)
    }

    /// A UTF-8 Encoded String that may still hold U+0000, for callers who look at every byte anyway.
    #[inline]
    pub(super) fn utf8_string_or_nul(&mut self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.binary_data()?).map_err(|_| Malformed::IllFormedUtf8)
    }

    /// A Packet Identifier. Errors: `Truncated`; `PacketIdZero` [v5 MQTT-2.2.1-3, v3.1.1 MQTT-2.3.1-1].
    #[inline]
    pub fn packet_id(&mut self) -> Result<super::PacketId, Malformed> {
        super::PacketId::new(self.two_byte_integer()?).ok_or(Malformed::PacketIdZero)
    }

    /// Ends the packet. Errors: `TrailingBytes` if something is left.
    #[inline]
    pub fn end(self) -> Result<(), Malformed> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(Malformed::TrailingBytes)
        }
    }
}

/// Appends Binary Data or a UTF-8 Encoded String. What we send is at most 65,535 bytes long, because it came
/// to us in that form.
#[inline]
pub fn append_binary_data(bytes: &[u8], out: &mut Vec<u8>) {
    let size = u16::try_from(bytes.len()).expect("a string of a packet has at most 65,535 bytes");
    out.extend_from_slice(&size.to_be_bytes());
    out.extend_from_slice(bytes);
}
