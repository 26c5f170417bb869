//! Chance, from a seed or from bytes that a fuzzer chose.

use mqttfast::random::SplitMix64;
use std::collections::VecDeque;

/// A small generator, so that a seed is all a failure needs to come again; or bytes that say what is chosen, one for
/// each choice among up to 256, so that a changed byte changes little.
pub struct Random {
    seeded: SplitMix64,
    bytes: Option<VecDeque<u8>>,
}

impl Random {
    pub fn new(seed: u64) -> Self {
        Random {
            seeded: SplitMix64::new(seed),
            bytes: None,
        }
    }

    /// After their end every choice is the first.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Random {
            seeded: SplitMix64::new(0),
            bytes: Some(bytes.to_vec().into()),
        }
    }

    /// There were bytes and all have been used.
    pub fn is_spent(&self) -> bool {
        self.bytes.as_ref().is_some_and(|bytes| bytes.is_empty())
    }

    pub fn number(&mut self) -> u64 {
        if self.bytes.is_some() {
            return u64::from_le_bytes(std::array::from_fn(|_| self.next_byte()));
        }
        self.seeded.draw()
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        if self.bytes.is_some() && bound <= 256 {
            return usize::from(self.next_byte()) % bound;
        }
        (self.number() % bound as u64) as usize
    }

    fn next_byte(&mut self) -> u8 {
        let next = self.bytes.as_mut().and_then(VecDeque::pop_front);
        next.unwrap_or(0)
    }
}
