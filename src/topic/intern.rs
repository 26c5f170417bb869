//! The text of each level in use, once, counted: trees of levels compare numbers.
//!
//! A text of up to 18 bytes lies in its entry of 24; a longer one has a block of its own. With its place
//! in the table a level costs 24 + 5 bytes, before the slack of a growing vector and table.

use super::slab::Slab;
use crate::random::HashState;
use hashbrown::HashTable;
use std::hash::{BuildHasher, Hasher};

/// Names a level's text while at least one reference to it is held; reused afterwards.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct LevelId(pub u32);

/// Bytes of text that fit in an entry.
const INLINE_BYTES: usize = 18;
/// The table is shrunk when it holds fewer than one level for so many places, and never below 64 places.
const SHRINK_BELOW: usize = 8;
const KEPT_PLACES: usize = 64;

#[derive(Default)]
enum Entry {
    #[default]
    Vacant,
    Inline {
        bytes_len: u8,
        bytes: [u8; INLINE_BYTES],
        references: u32,
    },
    Boxed {
        references: u32,
        text: Box<str>,
    },
}

impl Entry {
    fn new(level: &str) -> Self {
        if level.len() > INLINE_BYTES {
            return Entry::Boxed {
                references: 0,
                text: level.into(),
            };
        }
        let mut bytes = [0; INLINE_BYTES];
        bytes[..level.len()].copy_from_slice(level.as_bytes());
        Entry::Inline {
            bytes_len: level.len() as u8,
            bytes,
            references: 0,
        }
    }

    #[inline]
    fn bytes(&self) -> &[u8] {
        match self {
            Entry::Vacant => &[],
            Entry::Inline {
                bytes_len, bytes, ..
            } => &bytes[..usize::from(*bytes_len)],
            Entry::Boxed { text, .. } => text.as_bytes(),
        }
    }

    fn references(&self) -> u32 {
        match self {
            Entry::Vacant => 0,
            Entry::Inline { references, .. } | Entry::Boxed { references, .. } => *references,
        }
    }

    fn set_references(&mut self, count: u32) {
        match self {
            Entry::Vacant => unreachable!("a level is used by whoever holds a reference"),
            Entry::Inline { references, .. } | Entry::Boxed { references, .. } => {
                *references = count;
            }
        }
    }
}

pub(super) struct Interner {
    entries: Slab<Entry>,
    table: HashTable<u32>,
    /// Seeded at random, so that a peer cannot choose texts whose hashes collide.
    hasher: HashState,
}

impl Interner {
    pub fn new() -> Self {
        Interner {
            entries: Slab::new(),
            table: HashTable::new(),
            hasher: HashState::default(),
        }
    }

    /// The name of `level` if it is in use. Hashes the text once.
    #[inline]
    pub fn find(&self, level: &str) -> Option<LevelId> {
        let hash = hash(&self.hasher, level.as_bytes());
        let equal = |&index: &u32| self.entries[index].bytes() == level.as_bytes();
        self.table.find(hash, equal).map(|&index| LevelId(index))
    }

    /// Whether `id` is the name of `level`, without hashing. `None` for a long text, whose comparison at each of many
    /// nodes would cost too much.
    #[inline]
    pub fn is_short(&self, id: LevelId, level: &str) -> Option<bool> {
        match &self.entries[id.0] {
            Entry::Inline {
                bytes_len, bytes, ..
            } => Some(&bytes[..usize::from(*bytes_len)] == level.as_bytes()),
            _ => None,
        }
    }

    /// The name of `level`. Adds one reference.
    pub fn acquire(&mut self, level: &str) -> LevelId {
        let id = self.find(level).unwrap_or_else(|| {
            let index = self.entries.insert(Entry::new(level));
            let Interner {
                entries,
                table,
                hasher,
            } = self;
            table.insert_unique(hash(hasher, level.as_bytes()), index, |&index| {
                hash(hasher, entries[index].bytes())
            });
            LevelId(index)
        });
        let entry = &mut self.entries[id.0];
        entry.set_references(entry.references() + 1);
        id
    }

    /// Gives one reference back; the last one frees the text.
    pub fn release(&mut self, id: LevelId) {
        let entry = &mut self.entries[id.0];
        let left = entry
            .references()
            .checked_sub(1)
            .expect("a reference is held");
        entry.set_references(left);
        if left > 0 {
            return;
        }
        let Interner {
            entries,
            table,
            hasher,
        } = self;
        let entry = table.find_entry(hash(hasher, entries[id.0].bytes()), |&index| index == id.0);
        entry.expect("a level in use is in the table").remove();
        if table.capacity() > KEPT_PLACES && table.len() * SHRINK_BELOW < table.capacity() {
            table.shrink_to((table.len() * 2).max(KEPT_PLACES / 2), |&index| {
                hash(hasher, entries[index].bytes())
            });
        }
        entries.remove(id.0);
        entries.trim(0);
    }

    pub fn text(&self, id: LevelId) -> &str {
        match &self.entries[id.0] {
            Entry::Boxed { text, .. } => text,
            inline => std::str::from_utf8(inline.bytes()).expect("taken from a str"),
        }
    }

    /// The levels in use with their references, ascending. For invariants.
    pub fn references(&self) -> Vec<(LevelId, u32)> {
        let ids = self.entries.indices();
        assert_eq!(ids.len(), self.table.len());
        ids.into_iter()
            .map(|index| (LevelId(index), self.entries[index].references()))
            .collect()
    }
}

#[inline]
fn hash(hasher: &HashState, bytes: &[u8]) -> u64 {
    let mut state = hasher.build_hasher();
    state.write(bytes);
    state.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_24_bytes() {
        assert_eq!(size_of::<Entry>(), 24);
    }

    #[test]
    fn equal_texts_have_one_name_until_the_last_reference_goes() {
        let mut interner = Interner::new();
        let long = "a level of more bytes than an entry holds";
        for text in [
            "",
            "a",
            "exactly 18 bytes..",
            "one byte more: 19..",
            "größe",
            long,
        ] {
            let id = interner.acquire(text);
            assert_eq!((interner.acquire(text), interner.text(id)), (id, text));
            interner.release(id);
            assert_eq!(interner.find(text), Some(id));
            interner.release(id);
            assert_eq!(interner.find(text), None);
        }
        assert!(interner.references().is_empty());
    }

    #[test]
    fn texts_are_found_while_others_come_and_go() {
        let mut interner = Interner::new();
        let ids: Vec<_> = (0..5000)
            .map(|i| interner.acquire(&format!("level-{i}")))
            .collect();
        for (i, &id) in ids.iter().enumerate() {
            assert_eq!(interner.find(&format!("level-{i}")), Some(id));
            interner.release(id);
            assert_eq!(interner.find(&format!("level-{i}")), None);
            let last = interner.find("level-4999");
            assert_eq!(last, (i < 4999).then_some(ids[4999]));
        }
        assert!(interner.table.capacity() <= KEPT_PLACES);
    }
}
