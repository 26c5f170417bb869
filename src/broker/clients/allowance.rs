//! The memory for connections before they are accepted: one allowance for all, and a part of it for each address.
//!
//! An address gets no more than half of what the others leave. So one address takes half, two take three quarters, and
//! there is always something for one that comes anew.

use crate::budget::Source;
use crate::limits;
use hashbrown::HashMap;

/// What of [`limits::UNACCEPTED_BYTES_MAX`] is in use, and by which addresses.
#[derive(Default, PartialEq, Eq, Debug)]
pub struct Allowance {
    bytes: usize,
    by_source: HashMap<Source, usize>,
}

impl Allowance {
    /// A connection from there that took `from` bytes may take `to`: less, or no more than half of what others leave.
    pub fn may_have(&self, source: Source, from: usize, to: usize) -> bool {
        let own = self.by_source.get(&source).copied().unwrap_or(0);
        let left = limits::UNACCEPTED_BYTES_MAX.saturating_sub(self.bytes - own);
        to <= from || own - from + to <= left / 2
    }

    /// A connection from there that took `from` bytes takes `to`.
    #[inline]
    pub fn change(&mut self, source: Source, from: usize, to: usize) {
        if from != to {
            self.note(source, from, to);
        }
    }

    fn note(&mut self, source: Source, from: usize, to: usize) {
        self.bytes = self.bytes - from + to;
        let own = self.by_source.entry(source).or_default();
        *own = *own - from + to;
        if *own == 0 {
            self.by_source.remove(&source);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_always_something_for_another_address() {
        let mut allowance = Allowance::default();
        for number in 0..8 {
            let source = Source::of([192, 0, 2, number].into());
            let mut own = 0;
            while allowance.may_have(source, 0, 1024) {
                allowance.change(source, 0, 1024);
                own += 1024;
            }
            assert_eq!(own, limits::UNACCEPTED_BYTES_MAX >> (number + 1));
            assert!(!allowance.may_have(source, 1024, 1025));
            assert!(allowance.may_have(source, 1024, 1023));
        }
        let source = Source::of([192, 0, 2, 0].into());
        allowance.change(source, limits::UNACCEPTED_BYTES_MAX / 2, 0);
        assert!(allowance.may_have(source, 0, 200_000));
    }
}
