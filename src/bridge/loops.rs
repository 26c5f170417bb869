//! Messages that go round: two brokers that both bridge `# both` to each other pass one message on for ever.
//!
//! Nobody sees the other side's configuration, so a loop is found by what crosses: a message with the same Topic Name
//! (as it is here) and the same payload comes in within a second after it went out, and that again and again. A message
//! that a publisher repeats only goes out, so it is no loop. Where the other broker is known to send back what we
//! publish (`try_private false`), one return for each message is expected and does not count.
//!
//! A fixed table with one entry for each hash; a message costs one hash over at most
//! [`BRIDGE_LOOP_HASHED_BYTES`](limits::BRIDGE_LOOP_HASHED_BYTES) of its payload, and nothing where no bridge has lines
//! both ways.

use crate::limits;
use crate::time::Time;

/// What has crossed all bridges lately.
#[derive(Default, Debug)]
pub struct Loops {
    /// Empty: nobody looks.
    entries: Vec<Entry>,
    seed: u64,
}

#[derive(Clone, Copy, Default, Debug)]
struct Entry {
    key: u64,
    went_out: Time,
    /// It went out since it came in last.
    is_out: bool,
    /// Returns that the other broker owes us.
    echoes: u16,
    /// In a row.
    returns: u16,
}

/// A message in the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Key(u64);

impl Loops {
    /// `watch`: some bridge goes out and some comes in. `seed` makes hashes that nobody else can foresee.
    pub fn new(watch: bool, seed: u64) -> Loops {
        let count = if watch {
            limits::BRIDGE_LOOP_ENTRIES
        } else {
            0
        };
        Loops {
            entries: vec![Entry::default(); count],
            seed,
        }
    }

    /// The key of a message, by its Topic Name at this broker; `None`: nobody looks.
    pub fn key(&self, topic: &str, payload: &[u8]) -> Option<Key> {
        if self.entries.is_empty() {
            return None;
        }
        let looked_at = &payload[..payload.len().min(limits::BRIDGE_LOOP_HASHED_BYTES)];
        let mut hash = mix(self.seed, payload.len() as u64);
        for part in [topic.as_bytes(), looked_at] {
            let mut words = part.chunks_exact(8);
            for word in &mut words {
                hash = mix(
                    hash,
                    word.iter()
                        .fold(0, |word, byte| word << 8 | u64::from(*byte)),
                );
            }
            let rest = words.remainder().iter();
            hash = mix(
                hash,
                rest.fold(1, |word, byte| word << 8 | u64::from(*byte)),
            );
        }
        Some(Key(hash.max(1)))
    }

    fn entry(&mut self, Key(key): Key) -> &mut Entry {
        let index = (key >> 32) as usize % self.entries.len();
        let entry = &mut self.entries[index];
        if entry.key != key {
            *entry = Entry {
                key,
                ..Entry::default()
            };
        }
        entry
    }

    /// The message goes out. `echoed`: the other broker will send it back to us.
    pub fn on_out(&mut self, key: Option<Key>, echoed: bool, now: Time) {
        let Some(key) = key else { return };
        let entry = self.entry(key);
        if now.since_ms(entry.went_out) > limits::BRIDGE_LOOP_WITHIN_MS {
            entry.returns = 0;
            entry.echoes = 0;
        }
        entry.went_out = now;
        entry.is_out = true;
        entry.echoes = entry.echoes.saturating_add(u16::from(echoed));
    }

    /// The message comes in. `true`: it goes round.
    pub fn on_in(&mut self, key: Option<Key>, now: Time) -> bool {
        let Some(key) = key else { return false };
        let entry = self.entry(key);
        if let Some(echoes) = entry.echoes.checked_sub(1) {
            entry.echoes = echoes;
            return false;
        }
        let within = now.since_ms(entry.went_out) <= limits::BRIDGE_LOOP_WITHIN_MS;
        if !std::mem::take(&mut entry.is_out) || !within {
            return false;
        }
        entry.returns += 1;
        let is_loop = entry.returns >= limits::BRIDGE_LOOP_RETURNS;
        if is_loop {
            *entry = Entry::default();
        }
        is_loop
    }
}

fn mix(hash: u64, word: u64) -> u64 {
    let product =
        u128::from(hash ^ word ^ 0x9E37_79B9_7F4A_7C15) * u128::from(0xD1B5_4A32_D192_ED03_u64);
    (product >> 64) as u64 ^ product as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loops() -> Loops {
        Loops::new(true, 11)
    }

    #[test]
    fn a_message_that_comes_back_again_and_again_is_a_loop() {
        let mut loops = loops();
        let key = loops.key("a/b", b"on");
        let found = (0..100).position(|round| {
            let now = Time(1_000 + round * 150);
            loops.on_out(key, false, now);
            loops.on_in(key, now + 100)
        });
        // Eight rounds of 150 ms: within 2 s.
        assert_eq!(found, Some(usize::from(limits::BRIDGE_LOOP_RETURNS) - 1));
    }

    #[test]
    fn equal_messages_in_one_direction_are_none() {
        let mut loops = loops();
        let (one, other) = (loops.key("a", b"on"), loops.key("b", b"on"));
        for round in 0..10_000 {
            loops.on_out(one, false, Time(1_000 + round));
            assert!(!loops.on_in(other, Time(1_000 + round)));
        }
    }

    #[test]
    fn an_answer_now_and_then_is_none() {
        let mut loops = loops();
        let key = loops.key("a", b"on");
        for round in 0..1_000 {
            let now = Time(10_000 + round * 2_000);
            loops.on_out(key, false, now);
            assert!(!loops.on_in(key, now + 5));
        }
    }

    #[test]
    fn echoes_that_are_owed_are_none_and_a_loop_beside_them_is_found() {
        let mut loops = loops();
        let key = loops.key("a", b"on");
        for round in 0..1_000 {
            loops.on_out(key, true, Time(1_000 + round));
            assert!(!loops.on_in(key, Time(1_000 + round)));
        }
        let found = (0..100).any(|round| {
            loops.on_out(key, true, Time(3_000 + round));
            loops.on_in(key, Time(3_000 + round)) | loops.on_in(key, Time(3_000 + round))
        });
        assert!(found);
    }

    #[test]
    fn messages_that_differ_have_keys_that_do() {
        let loops = loops();
        let long = vec![7; 5_000];
        let mut other = long.clone();
        other[limits::BRIDGE_LOOP_HASHED_BYTES - 1] = 8;
        let keys = [
            loops.key("a", b""),
            loops.key("a", b"\0"),
            loops.key("a\0", b""),
            loops.key("", b"a"),
            loops.key("a", &long),
            loops.key("a", &other),
            loops.key("a", &long[1..]),
        ];
        for (at, key) in keys.iter().enumerate() {
            assert!(!keys[..at].contains(key), "{at}");
        }
        assert_eq!(Loops::new(false, 1).key("a", b""), None);
    }
}
