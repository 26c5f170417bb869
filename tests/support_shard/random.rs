//! Chance, from a seed or from bytes that a fuzzer chose.

use std::collections::VecDeque;

/// A small generator (SplitMix64), so that a seed is all a failure needs to come again; or bytes that say what is chosen, one for each choice
/// among up to 256, so that a changed byte changes little.
pub struct Random {
    seed: u64,
    bytes: Option<VecDeque<u8>>,
}

impl Random {
    pub fn new(seed: u64) -> Self {
        Random { seed, bytes: None }
    }

    /// After their end every choice is the first.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Random {
            seed: 0,
            bytes: Some(bytes.to_vec().into()),
        }
    }

    /// There were bytes and all have been used.
    pub fn is_spent(&self) -> bool {
        self.bytes.as_ref().is_some_and(|bytes| bytes.is_empty())
    }

    pub fn next(&mut self) -> u64 {
        if self.bytes.is_some() {
            return u64::from_le_bytes(std::array::from_fn(|_| self.next_byte()));
        }
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        if self.bytes.is_some() && bound <= 256 {
            return usize::from(self.next_byte()) % bound;
        }
        (self.next() % bound as u64) as usize
    }

    fn next_byte(&mut self) -> u8 {
        let next = self.bytes.as_mut().and_then(VecDeque::pop_front);
        next.unwrap_or(0)
    }
}
