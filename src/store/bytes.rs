//! Numbers and texts as bytes, for records and rows: numbers as LEB128 (seven bits a byte, the least first), texts and
//! blobs with their length before them.

use crate::wire::Malformed;

/// Bytes that are no record or row of ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Damaged;

impl From<Malformed> for Damaged {
    fn from(_: Malformed) -> Damaged {
        Damaged
    }
}

/// Appends a number: 1 to 10 bytes.
pub fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Bytes of a number.
pub fn number_bytes(number: u64) -> usize {
    let bits = u64::BITS - (number | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

/// Appends a blob with its length.
pub fn put_blob(out: &mut Vec<u8>, blob: &[u8]) {
    put_number(out, blob.len() as u64);
    out.extend_from_slice(blob);
}

/// Reads what the functions above wrote. Copies nothing.
#[derive(Clone)]
pub struct Reader<'a> {
    left: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { left: bytes }
    }

    pub fn is_empty(&self) -> bool {
        self.left.is_empty()
    }

    /// What is not read yet.
    pub fn rest(self) -> &'a [u8] {
        self.left
    }

    pub fn byte(&mut self) -> Result<u8, Damaged> {
        let (first, left) = self.left.split_first().ok_or(Damaged)?;
        self.left = left;
        Ok(*first)
    }

    pub fn take(&mut self, count: usize) -> Result<&'a [u8], Damaged> {
        let (taken, left) = self.left.split_at_checked(count).ok_or(Damaged)?;
        self.left = left;
        Ok(taken)
    }

    /// Eight bytes, the least first.
    pub fn u64(&mut self) -> Result<u64, Damaged> {
        let (taken, left) = self.left.split_first_chunk().ok_or(Damaged)?;
        self.left = left;
        Ok(u64::from_le_bytes(*taken))
    }

    /// Four bytes, the least first.
    pub fn u32(&mut self) -> Result<u32, Damaged> {
        let (taken, left) = self.left.split_first_chunk().ok_or(Damaged)?;
        self.left = left;
        Ok(u32::from_le_bytes(*taken))
    }

    /// A number of `put_number`, in its shortest form.
    pub fn number(&mut self) -> Result<u64, Damaged> {
        let mut number = 0;
        for place in 0..10 {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7F);
            if place == 9 && bits > 1 {
                return Err(Damaged);
            }
            number |= bits << (7 * place);
            if byte & 0x80 == 0 {
                return if byte == 0 && place > 0 {
                    Err(Damaged)
                } else {
                    Ok(number)
                };
            }
        }
        Err(Damaged)
    }

    /// A number that fits a narrower type.
    pub fn narrow<N: TryFrom<u64>>(&mut self) -> Result<N, Damaged> {
        N::try_from(self.number()?).map_err(|_| Damaged)
    }

    pub fn blob(&mut self) -> Result<&'a [u8], Damaged> {
        let count = self.narrow()?;
        self.take(count)
    }

    pub fn text(&mut self) -> Result<&'a str, Damaged> {
        std::str::from_utf8(self.blob()?).map_err(|_| Damaged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back() {
        for number in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            let mut bytes = Vec::new();
            put_number(&mut bytes, number);
            assert_eq!(bytes.len(), number_bytes(number));
            let mut reader = Reader::new(&bytes);
            assert_eq!(reader.number(), Ok(number));
            assert!(reader.is_empty());
            for cut in 0..bytes.len() {
                assert_eq!(Reader::new(&bytes[..cut]).number(), Err(Damaged));
            }
        }
    }

    #[test]
    fn a_number_has_one_form_and_64_bits() {
        assert_eq!(Reader::new(&[0x80, 0]).number(), Err(Damaged));
        let mut large = [0xFF; 10];
        large[9] = 2;
        assert_eq!(Reader::new(&large).number(), Err(Damaged));
        assert_eq!(Reader::new(&[0xFF; 11]).number(), Err(Damaged));
    }

    #[test]
    fn a_blob_longer_than_the_bytes_is_damage() {
        assert_eq!(Reader::new(&[3, b'a', b'b']).blob(), Err(Damaged));
        assert_eq!(Reader::new(&[2, 0xFF, 0xFE]).text(), Err(Damaged));
        assert_eq!(Reader::new(&[2, b'a', b'b', 7]).text(), Ok("ab"));
    }
}
