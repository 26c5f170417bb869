//! What the bytes of a fuzzer choose.

/// Choices out of the bytes; after their end each is the first.
pub struct Chance<'a>(pub &'a [u8]);

impl Chance<'_> {
    /// A number below this.
    pub fn below(&mut self, bound: usize) -> usize {
        match self.0.split_first() {
            Some((byte, rest)) => {
                self.0 = rest;
                usize::from(*byte) % bound
            }
            None => 0,
        }
    }

    /// One of these.
    pub fn of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }
}
