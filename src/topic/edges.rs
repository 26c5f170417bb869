//! Finds the child of a node by a level. Both trees of levels use it.

use super::intern::LevelId;
use crate::random::HashState;
use hashbrown::HashTable;
use std::hash::BuildHasher;

/// No node, no target, no value.
pub(super) const NONE: u32 = u32::MAX;
/// The root of either tree: always there, without a level.
pub(super) const ROOT: u32 = 0;
/// Marks the packed form of [`Children::Many`].
const MANY: u32 = 1 << 31;
/// The table is shrunk when fewer than one in so many of its entries is used.
const SHRINK_BELOW: usize = 8;
/// The table is never shrunk below so many entries.
const KEPT_PLACES: usize = 64;

/// A node's children by plain levels, packed in four bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Packed(u32);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Children {
    None,
    /// This node alone; it is not in the table.
    One(u32),
    /// All are in the table. The number is the tree's own: their count, or where their list lies.
    Many(u32),
}

impl Packed {
    pub const NONE: Packed = Packed(NONE);

    pub fn one(child: u32) -> Self {
        assert!(child < MANY);
        Packed(child)
    }

    pub fn many(number: u32) -> Self {
        assert!(number < MANY - 1);
        Packed(number | MANY)
    }

    #[inline]
    pub fn get(self) -> Children {
        match self.0 {
            NONE => Children::None,
            child if child & MANY == 0 => Children::One(child),
            many => Children::Many(many & !MANY),
        }
    }
}

/// The children of all nodes that have, or had, more than one. Holds the child alone, 4 bytes and one of
/// control a place: its node knows the key, and is what the caller reads next anyway.
pub(super) struct Edges {
    table: HashTable<u32>,
    /// Seeded at random, so that a peer cannot choose levels whose hashes collide.
    hasher: HashState,
}

impl Edges {
    pub fn new() -> Self {
        Edges {
            table: HashTable::new(),
            hasher: HashState::default(),
        }
    }

    /// The child of `parent` by `level`; `key` tells a node's own parent and level.
    #[inline]
    pub fn find(
        &self,
        parent: u32,
        level: LevelId,
        key: impl Fn(u32) -> (u32, LevelId),
    ) -> Option<u32> {
        let hash = hash(&self.hasher, (parent, level));
        self.table
            .find(hash, |&child| key(child) == (parent, level))
            .copied()
    }

    /// Adds a child, which must not be there yet.
    pub fn insert(&mut self, child: u32, key: impl Fn(u32) -> (u32, LevelId)) {
        let Edges { table, hasher } = self;
        table.insert_unique(hash(hasher, key(child)), child, |&child| {
            hash(hasher, key(child))
        });
    }

    /// Removes a child, which must be there.
    pub fn remove(&mut self, child: u32, key: impl Fn(u32) -> (u32, LevelId)) {
        let Edges { table, hasher } = self;
        let entry = table.find_entry(hash(hasher, key(child)), |&other| other == child);
        entry
            .expect("a child that is not inline is in the table")
            .remove();
        if table.capacity() > KEPT_PLACES && table.len() * SHRINK_BELOW < table.capacity() {
            table.shrink_to((table.len() * 2).max(KEPT_PLACES / 2), |&child| {
                hash(hasher, key(child))
            });
        }
    }

    pub fn len(&self) -> usize {
        self.table.len()
    }
}

#[inline]
fn hash(hasher: &HashState, (parent, level): (u32, LevelId)) -> u64 {
    hasher.hash_one(u64::from(parent) << 32 | u64::from(level.0))
}
