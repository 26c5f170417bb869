//! A reader of DER, the encoding of certificates [X.690]: tag, length, contents. It borrows, allocates nothing, never
//! looks beyond the bytes it was given, and is as strict about lengths as DER is.

/// The bytes are not what they should be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadDer;

/// INTEGER.
pub const INTEGER: u8 = 0x02;
/// BIT STRING.
pub const BIT_STRING: u8 = 0x03;
/// OCTET STRING.
pub const OCTET_STRING: u8 = 0x04;
/// OBJECT IDENTIFIER.
pub const OBJECT_IDENTIFIER: u8 = 0x06;
/// BOOLEAN.
pub const BOOLEAN: u8 = 0x01;
/// UTF8String.
pub const UTF8_STRING: u8 = 0x0C;
/// PrintableString.
pub const PRINTABLE_STRING: u8 = 0x13;
/// TeletexString.
pub const TELETEX_STRING: u8 = 0x14;
/// IA5String.
pub const IA5_STRING: u8 = 0x16;
/// UTCTime: two digits of the year.
pub const UTC_TIME: u8 = 0x17;
/// GeneralizedTime: four digits of the year.
pub const GENERALIZED_TIME: u8 = 0x18;
/// UniversalString: UTF-32.
pub const UNIVERSAL_STRING: u8 = 0x1C;
/// BMPString: UTF-16 without pairs.
pub const BMP_STRING: u8 = 0x1E;
/// SEQUENCE.
pub const SEQUENCE: u8 = 0x30;
/// SET.
pub const SET: u8 = 0x31;

/// The tag of a constructed field of a structure, `[number]`.
pub const fn field(number: u8) -> u8 {
    0xA0 | number
}

/// One value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Value<'a> {
    /// Its kind.
    pub tag: u8,
    /// What is in it.
    pub contents: &'a [u8],
    /// Tag and length as well.
    pub whole: &'a [u8],
}

/// Values one after the other.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Of all these bytes.
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes }
    }

    /// Has everything been read?
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next value, of any kind.
    ///
    /// Errors: it is cut off, its tag has more than one byte, or its length is not the shortest form. Lengths have at
    /// most three bytes.
    pub fn value(&mut self) -> Result<Value<'a>, BadDer> {
        let &[tag, first, ref behind @ ..] = self.rest else {
            return Err(BadDer);
        };
        if tag & 0x1F == 0x1F {
            return Err(BadDer);
        }
        let (length, head) = match first {
            0..=0x7F => (usize::from(first), 2),
            0x81..=0x83 => {
                let bytes = usize::from(first & 0x7F);
                let digits = behind.get(..bytes).ok_or(BadDer)?;
                let length = digits
                    .iter()
                    .fold(0, |sum, byte| sum << 8 | usize::from(*byte));
                let shortest = if bytes == 1 {
                    0x80
                } else {
                    1 << (8 * (bytes - 1))
                };
                if length < shortest {
                    return Err(BadDer);
                }
                (length, 2 + bytes)
            }
            _ => return Err(BadDer),
        };
        let whole = self.rest.get(..head + length).ok_or(BadDer)?;
        self.rest = &self.rest[whole.len()..];
        Ok(Value {
            tag,
            contents: &whole[head..],
            whole,
        })
    }

    /// The next value, which must be of this kind.
    pub fn expect(&mut self, tag: u8) -> Result<Value<'a>, BadDer> {
        let value = self.value()?;
        (value.tag == tag).then_some(value).ok_or(BadDer)
    }

    /// The next value if it is of this kind; else nothing is read.
    pub fn optional(&mut self, tag: u8) -> Result<Option<Value<'a>>, BadDer> {
        match self.rest.first() {
            Some(first) if *first == tag => self.value().map(Some),
            _ => Ok(None),
        }
    }

    /// What is in the next value, of this kind.
    pub fn inside(&mut self, tag: u8) -> Result<Reader<'a>, BadDer> {
        Ok(Reader::new(self.expect(tag)?.contents))
    }

    /// The bytes of a BIT STRING without unused bits, as keys and signatures are.
    pub fn bits(&mut self) -> Result<&'a [u8], BadDer> {
        match self.expect(BIT_STRING)?.contents {
            [0, bytes @ ..] => Ok(bytes),
            _ => Err(BadDer),
        }
    }

    /// Nothing may follow.
    pub fn end(&self) -> Result<(), BadDer> {
        self.is_empty().then_some(()).ok_or(BadDer)
    }
}

/// Seconds since 1970 of a UTCTime or GeneralizedTime, in the forms that certificates may have [RFC 5280 4.1.2.5], or
/// without seconds as some have.
pub fn time(value: &Value<'_>) -> Result<i64, BadDer> {
    let text = value.contents.strip_suffix(b"Z").ok_or(BadDer)?;
    let number = |digits: &[u8]| -> Result<i64, BadDer> {
        digits.iter().try_fold(0, |sum, digit| match digit {
            b'0'..=b'9' => Ok(sum * 10 + i64::from(digit - b'0')),
            _ => Err(BadDer),
        })
    };
    let (year, rest) = match value.tag {
        UTC_TIME => {
            let (year, rest) = text.split_at_checked(2).ok_or(BadDer)?;
            let year = number(year)?;
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        GENERALIZED_TIME => {
            let (year, rest) = text.split_at_checked(4).ok_or(BadDer)?;
            (number(year)?, rest)
        }
        _ => return Err(BadDer),
    };
    if rest.len() != 10 && !(rest.len() == 8 && value.tag == UTC_TIME) {
        return Err(BadDer);
    }
    let part = |at: usize| match rest.get(at..at + 2) {
        Some(digits) => number(digits),
        None => Ok(0),
    };
    let (month, day) = (part(0)?, part(2)?);
    let (hour, minute, second) = (part(4)?, part(6)?, part(8)?);
    let within = (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0..=60).contains(&second);
    if !within {
        return Err(BadDer);
    }
    // Days from a civil date, as in Howard Hinnant's "chrono-compatible low-level date algorithms": the year begins in
    // March, so that the leap day is its last.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = era * 146_097 + day_of_era - 719_468;
    Ok(days * 86_400 + hour * 3_600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Value<'_>, BadDer> {
        Reader::new(bytes).value()
    }

    #[test]
    fn lengths_are_in_their_shortest_form() {
        assert_eq!(read(&[4, 2, 7, 8, 9]).unwrap().contents, [7, 8]);
        assert!(read(&[4, 0]).unwrap().contents.is_empty());
        let mut long = vec![4, 0x81, 0x80];
        long.resize(3 + 0x80, 1);
        assert_eq!(read(&long).unwrap().contents.len(), 0x80);
        let mut longer = vec![4, 0x82, 1, 0];
        longer.resize(4 + 0x100, 1);
        assert_eq!(read(&longer).unwrap().whole.len(), 0x104);
        for bad in [
            &[4][..],
            &[4, 1],
            &[4, 0x80, 0, 0],
            &[4, 0x81, 0x7F],
            &[4, 0x82, 0, 0x80],
            &[4, 0x84, 0, 0, 0, 1, 1],
            &[0x1F, 1, 1],
        ] {
            assert_eq!(read(bad), Err(BadDer), "{bad:?}");
        }
    }

    #[test]
    fn times_of_both_forms_are_seconds() {
        let utc = |text: &'static str| {
            let mut bytes = vec![UTC_TIME, text.len() as u8];
            bytes.extend_from_slice(text.as_bytes());
            time(&read(&bytes)?)
        };
        let general = |text: &'static str| {
            let mut bytes = vec![GENERALIZED_TIME, text.len() as u8];
            bytes.extend_from_slice(text.as_bytes());
            time(&read(&bytes)?)
        };
        assert_eq!(utc("700101000000Z"), Ok(0));
        assert_eq!(utc("240229235959Z"), Ok(1_709_251_199));
        assert_eq!(utc("7001010000Z"), Ok(0));
        assert_eq!(utc("491231235959Z"), Ok(2_524_607_999));
        assert_eq!(general("20500101000000Z"), Ok(2_524_608_000));
        assert_eq!(general("99991231235959Z"), Ok(253_402_300_799));
        assert_eq!(general("19000301000000Z"), Ok(-2_203_891_200));
        for bad in [
            "",
            "Z",
            "700101000000",
            "701301000000Z",
            "700100000000Z",
            "700101240000Z",
            "7x0101000000Z",
            "700101000000+0100",
            "70010100000Z",
        ] {
            assert_eq!(utc(bad), Err(BadDer), "{bad}");
        }
        assert_eq!(general("2050010100Z"), Err(BadDer));
    }
}
