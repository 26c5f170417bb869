//! A text that mostly is short, such as a client id: up to 22 bytes lie in place, a longer one in a block of its own.
//!
//! 24 bytes, where a `Box<str>` takes 16 and a block of 32 at least.

use std::fmt;
use std::ops::Deref;

/// Bytes that lie in place.
const INLINE_BYTES: usize = 22;

/// See the module.
#[derive(Clone)]
pub struct ShortText(Place);

#[derive(Clone)]
enum Place {
    /// The first `length` bytes were copied from a `str` as a whole.
    Inline {
        length: u8,
        bytes: [u8; INLINE_BYTES],
    },
    Block(Box<str>),
}

#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<Option<ShortText>>() == 24);

impl ShortText {
    /// A copy of `text`.
    pub fn new(text: &str) -> ShortText {
        let mut bytes = [0; INLINE_BYTES];
        ShortText(match bytes.get_mut(..text.len()) {
            Some(room) => {
                room.copy_from_slice(text.as_bytes());
                let length = text.len() as u8;
                Place::Inline { length, bytes }
            }
            None => Place::Block(text.into()),
        })
    }
}

impl Deref for ShortText {
    type Target = str;

    #[inline]
    fn deref(&self) -> &str {
        match &self.0 {
            Place::Inline { length, bytes } => {
                let bytes = &bytes[..usize::from(*length)];
                // SAFETY: `new`, which alone makes this variant, has copied just these bytes from a `str`, and nothing
                // changes them.
                unsafe { std::str::from_utf8_unchecked(bytes) }
            }
            Place::Block(text) => text,
        }
    }
}

impl From<&ShortText> for Box<str> {
    fn from(text: &ShortText) -> Box<str> {
        (**text).into()
    }
}

impl fmt::Debug for ShortText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl fmt::Display for ShortText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_every_length_come_back() {
        for length in 0..3 * INLINE_BYTES {
            for letter in ["a", "ü", "€", "\u{1F99F}"] {
                let text = letter.repeat(length);
                let short = ShortText::new(&text);
                assert_eq!(&*short, text);
                assert_eq!(&*short.clone(), text);
                assert_eq!(format!("{short} {short:?}"), format!("{text} {text:?}"));
                let is_inline = matches!(short.0, Place::Inline { .. });
                assert_eq!(is_inline, text.len() <= INLINE_BYTES);
            }
        }
    }
}
