//! Randomness, by who may know it.
//!
//! - [`Unguessable`]: numbers that no peer can compute, such as those of assigned client ids. Who could compute the
//!   next one from his own   would know the client id of his neighbour, and take over the Session of it.
//! - [`HashState`]: hashing of what peers choose. Who knew its seeds could send names that all fall together, and
//!   make a table a list.
//! - [`SplitMix64`]: chance for tests and simulations, whose seed brings a failure again. Anyone can compute it.
//! - [`damaged`]: a text with a byte in it that does not belong there, by such chance; for properties of files.

use sha2::{Digest, Sha256};
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

/// What only this process knows: 256 bits of the operating system's randomness.
///
/// The driver fills it, since the broker core asks the system for nothing. The default is known to all, so that runs
/// of a test are alike.
#[derive(Clone, Default)]
pub struct Secret([u8; 32]);

impl Secret {
    /// 32 bytes that nobody outside the process can know, drawn from the operating system.
    pub fn new(bytes: [u8; 32]) -> Secret {
        Secret(bytes)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// Numbers of 128 bits that look random to whoever has not the secret, however many of the others are known.
///
/// Each is the first half of SHA-256 over secret, stream and count, of which every part has a fixed length. Keyed so,
/// SHA-256 counts as a pseudorandom function: to tell the next number from chance is to find the secret. That its own
/// length could be extended does not matter, as no input is the beginning of another and half of the hash is not
/// shown. About a microsecond each.
pub struct Unguessable {
    secret: Secret,
    /// Tells users of one secret apart.
    stream: u64,
    count: u64,
}

impl Unguessable {
    /// The numbers of one `stream`: users of the same secret take different streams, and never draw the same number.
    pub fn new(secret: &Secret, stream: u64) -> Unguessable {
        Unguessable {
            secret: secret.clone(),
            stream,
            count: 0,
        }
    }

    /// The next number. One SHA-256.
    pub fn draw(&mut self) -> u128 {
        let mut hash = Sha256::new();
        hash.update(self.secret.0);
        hash.update(self.stream.to_le_bytes());
        hash.update(self.count.to_le_bytes());
        self.count += 1;
        let hash: [u8; 32] = hash.finalize().into();
        let half: [u8; 16] = std::array::from_fn(|index| hash[index]);
        u128::from_le_bytes(half)
    }
}

/// Hashes for tables of one process. Foldhash, whose usual seeds are addresses of this process and no more, is seeded
/// with the operating system's randomness here. What a table does never depends on it.
#[derive(Clone)]
pub struct HashState(foldhash::fast::SeedableRandomState);

/// 64 bits of the keys that the standard library asked the operating system for; others each time.
pub fn system_random() -> u64 {
    RandomState::new().hash_one(0_u64)
}

impl Default for HashState {
    fn default() -> Self {
        static SHARED: LazyLock<foldhash::SharedSeed> =
            LazyLock::new(|| foldhash::SharedSeed::from_u64(system_random()));
        let seeded = foldhash::fast::SeedableRandomState::with_seed(system_random(), &SHARED);
        HashState(seeded)
    }
}

impl BuildHasher for HashState {
    type Hasher = foldhash::fast::FoldHasher<'static>;

    #[inline(always)]
    fn build_hasher(&self) -> Self::Hasher {
        self.0.build_hasher()
    }
}

/// SplitMix64. [Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014]
#[derive(Clone, Debug)]
pub struct SplitMix64(u64);

impl SplitMix64 {
    /// Equal seeds give equal numbers, so not for what a peer may not guess.
    pub fn new(seed: u64) -> SplitMix64 {
        SplitMix64(seed)
    }

    /// The next number, of all 2^64; two multiplications.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.draw() % bound as u64) as usize
    }

    /// One of them.
    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}

/// The text once for each byte of `foreign`, with this byte put in or written over another one, at places that follow
/// from the text. `may_go` is told the byte that is there and the foreign one; a line end never goes.
pub fn damaged(
    text: &[u8],
    foreign: &[u8],
    may_go: impl Fn(u8, u8) -> bool,
) -> impl Iterator<Item = Vec<u8>> {
    let sum = |sum: u64, byte: &u8| sum.wrapping_mul(31).wrapping_add(u64::from(*byte));
    let mut chance = SplitMix64::new(text.iter().fold(7, sum));
    foreign.iter().map(move |&foreign| {
        let at = chance.below(text.len() + 1);
        let is_over = chance.below(2) == 0;
        let mut damaged = text.to_vec();
        let over = damaged
            .get_mut(at)
            .filter(|byte| is_over && **byte != b'\n');
        match over.filter(|byte| may_go(**byte, foreign)) {
            Some(byte) => *byte = foreign,
            None => damaged.insert(at, foreign),
        }
        damaged
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_depend_on_secret_stream_and_count() {
        let first =
            |secret: u8, stream| Unguessable::new(&Secret::new([secret; 32]), stream).draw();
        let mut numbers = Unguessable::new(&Secret::new([1; 32]), 0);
        let all = [
            numbers.draw(),
            numbers.draw(),
            first(1, 1),
            first(2, 0),
            first(2, 1),
        ];
        assert_eq!(all[0], first(1, 0), "the same again");
        for (at, number) in all.iter().enumerate() {
            assert!(!all[..at].contains(number));
        }
        assert_eq!(format!("{:?}", Secret::new([7; 32])), "Secret");
    }

    /// Of one secret and one count: `sha256(0 * 48)`, first half.
    #[test]
    fn a_number_is_half_a_hash() {
        let expected = Sha256::digest([0; 48]);
        let number = Unguessable::new(&Secret::default(), 0).draw();
        assert_eq!(number.to_le_bytes(), expected[..16]);
    }

    #[test]
    fn each_table_hashes_in_its_own_way() {
        let [first, second] = [HashState::default(), HashState::default()];
        assert_eq!(first.hash_one("a"), first.hash_one("a"));
        assert_ne!(first.hash_one("a"), second.hash_one("a"));
    }

    /// Of the reference implementation, with seed 1234567.
    #[test]
    fn splitmix_is_the_published_one() {
        let mut numbers = SplitMix64::new(1_234_567);
        assert_eq!(numbers.draw(), 6_457_827_717_110_365_317);
        assert_eq!(numbers.draw(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn damage_is_one_byte_that_is_foreign_and_no_line_less() {
        let (mut put_in, mut over) = (0, 0);
        for length in 0..100 {
            let text = b"ab\n%".repeat(length);
            for damaged in damaged(&text, &[0xFF], |byte, _| byte != b'%') {
                let count = |bytes: &[u8], of: u8| bytes.iter().filter(|b| **b == of).count();
                assert_eq!(count(&damaged, 0xFF), 1);
                assert_eq!(count(&damaged, b'\n'), length);
                assert_eq!(count(&damaged, b'%'), length);
                match damaged.len() - text.len() {
                    0 => over += 1,
                    more => put_in += more,
                }
            }
        }
        assert_eq!(put_in + over, 100);
        assert!(put_in > 20 && over > 10, "{put_in} {over}");
    }
}
