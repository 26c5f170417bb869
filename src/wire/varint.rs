//! The Variable Byte Integer [v5 §1.5.5], known to v3 as Remaining Length [v3.1.1 §2.2.3]: 7 bits a byte,
//! the lowest first, bit 7 set while more follow.
//!
//! Example: 321 = 2 × 128 + 65 is `C1 02`. At most 4 bytes; the shortest form only.

use super::Malformed;
use crate::limits::REMAINING_LENGTH_MAX;

/// Bytes of the longest form.
pub const SIZE_MAX: usize = 4;

/// Reads the integer at the start of `bytes`: its value and its size in bytes, or `None` if more bytes
/// are needed.
///
/// Errors: `VariableByteIntegerTooLong` if a fifth byte would follow, `OverlongVariableByteInteger` if
/// the last byte adds nothing [v5 MQTT-1.5.5-1]. v3 does not speak of the latter; nobody writes it, so it
/// is refused there too.
#[inline]
pub fn read(bytes: &[u8]) -> Result<Option<(u32, usize)>, Malformed> {
    // Nearly all packets are shorter than 16 KiB: one byte, or two of which the second is not 0.
    match *bytes {
        [low @ 0..0x80, ..] => Ok(Some((low.into(), 1))),
        [low, high @ 1..0x80, ..] => Ok(Some((u32::from(low & 0x7F) | u32::from(high) << 7, 2))),
        _ => read_longer(bytes),
    }
}

/// The same for every integer.
fn read_longer(bytes: &[u8]) -> Result<Option<(u32, usize)>, Malformed> {
    let mut value = 0;
    for (index, &byte) in bytes.iter().take(SIZE_MAX).enumerate() {
        value |= u32::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            if byte == 0 && index > 0 {
                return Err(Malformed::OverlongVariableByteInteger);
            }
            return Ok(Some((value, index + 1)));
        }
    }
    if bytes.len() >= SIZE_MAX {
        return Err(Malformed::VariableByteIntegerTooLong);
    }
    Ok(None)
}

/// Bytes `value` takes, 1..=4.
#[inline]
pub fn size(value: u32) -> usize {
    match value {
        0..=0x7F => 1,
        0x80..=0x3FFF => 2,
        0x4000..=0x1F_FFFF => 3,
        _ => 4,
    }
}

/// Appends `value` in its shortest form.
#[inline]
pub fn append(value: u32, out: &mut Vec<u8>) {
    assert!(value <= REMAINING_LENGTH_MAX);
    let mut rest = value;
    while rest > 0x7F {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Appends what `body` appends, with its length in bytes before it.
pub fn append_with_length(out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    // One byte is enough for most packets; for the others the body moves up once.
    let start = out.len();
    out.push(0);
    body(out);
    let length = out.len() - start - 1;
    let value = u32::try_from(length).expect("a packet's length has at most 28 bits");
    assert!(value <= REMAINING_LENGTH_MAX);
    let extra = size(value) - 1;
    if extra > 0 {
        out.resize(out.len() + extra, 0);
        out.copy_within(start + 1..start + 1 + length, start + 1 + extra);
    }
    let mut rest = value;
    for byte in &mut out[start..start + extra] {
        *byte = rest as u8 | 0x80;
        rest >>= 7;
    }
    out[start + extra] = rest as u8;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_border_has_its_size_and_comes_back() {
        for (value, expected) in [
            (0, 1),
            (127, 1),
            (128, 2),
            (16_383, 2),
            (16_384, 3),
            (2_097_151, 3),
            (2_097_152, 4),
            (REMAINING_LENGTH_MAX, 4),
        ] {
            let mut bytes = Vec::new();
            append(value, &mut bytes);
            assert_eq!(bytes.len(), expected);
            assert_eq!(size(value), expected);
            assert_eq!(read(&bytes), Ok(Some((value, expected))));
            for cut in 0..expected {
                assert_eq!(read(&bytes[..cut]), Ok(None));
            }
        }
    }

    #[test]
    fn longer_forms_are_malformed() {
        for bytes in [&[0x80, 0][..], &[0xFF, 0], &[0x80, 0x80, 0x80, 0]] {
            assert_eq!(read(bytes), Err(Malformed::OverlongVariableByteInteger));
        }
        assert_eq!(read(&[0xFF; 4]), Err(Malformed::VariableByteIntegerTooLong));
    }

    #[test]
    fn a_length_goes_before_what_it_counts() {
        for length in [0_usize, 1, 127, 128, 16_383, 16_384, 2_097_152] {
            let mut bytes = vec![9];
            append_with_length(&mut bytes, |out| out.resize(out.len() + length, 7));
            let (value, width) = read(&bytes[1..]).unwrap().unwrap();
            assert_eq!(value as usize, length);
            assert_eq!(bytes.len(), 1 + width + length);
            assert!(bytes[1 + width..].iter().all(|&byte| byte == 7));
        }
    }
}
