//! A sorted map for small keys that mostly has no or one entry: the subscribers of a Topic Filter, the filters of a
//! Session, those who wait for a slow reader.
//!
//! One entry is held in place; more are held in sorted chunks of bounded size, so that one of 100,000 is still found,
//! added and taken away in O(chunk + chunks), and all are handed out chunk by chunk. An entry costs its own bytes and
//! the slack of a growing vector.

/// Entries in one chunk, at most.
const CHUNK_MAX: usize = 512;

/// See the module.
#[derive(Clone, Default, Debug)]
pub enum Sorted<K, V> {
    /// No entry, and no memory of its own.
    #[default]
    None,
    /// One entry, and no memory of its own: the most frequent case.
    One((K, V)),
    /// Two or more. No chunk is empty; ascending within and across chunks.
    Many(Vec<Vec<(K, V)>>),
}

impl<K: Copy + Ord, V: Copy> Sorted<K, V> {
    /// `O(1)`.
    pub fn is_empty(&self) -> bool {
        matches!(self, Sorted::None)
    }

    /// Entries. `O(chunks)`.
    pub fn len(&self) -> usize {
        match self {
            Sorted::None => 0,
            Sorted::One(_) => 1,
            Sorted::Many(chunks) => chunks.iter().map(Vec::len).sum(),
        }
    }

    /// The value of `key`. `O(log entries)`.
    pub fn get(&self, key: K) -> Option<V> {
        match self {
            Sorted::None => None,
            Sorted::One((only, value)) => (*only == key).then_some(*value),
            Sorted::Many(chunks) => {
                let chunk = &chunks[chunk_of(chunks, key)];
                let at = chunk.binary_search_by_key(&key, |&(held, _)| held).ok()?;
                Some(chunk[at].1)
            }
        }
    }

    /// Whether `key` has an entry. `O(log entries)`.
    pub fn contains(&self, key: K) -> bool {
        self.get(key).is_some()
    }

    /// The entry with the lowest key above `key`; the lowest of all for `None`.
    pub fn after(&self, key: Option<K>) -> Option<(K, V)> {
        let is_above = |held: K| key.is_none_or(|key| held > key);
        match self {
            Sorted::None => None,
            Sorted::One(only) => is_above(only.0).then_some(*only),
            Sorted::Many(chunks) => {
                let index = key.map_or(0, |key| chunk_of(chunks, key));
                let at = chunks[index].partition_point(|&(held, _)| !is_above(held));
                let next = || chunks.get(index + 1)?.first();
                chunks[index].get(at).or_else(next).copied()
            }
        }
    }

    /// Adds an entry, or changes its value and returns the old one.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        match self {
            Sorted::None => *self = Sorted::One((key, value)),
            Sorted::One((only, old)) if *only == key => {
                return Some(std::mem::replace(old, value));
            }
            Sorted::One(only) => {
                let mut chunk = Vec::with_capacity(2);
                chunk.extend([*only, (key, value)]);
                chunk.sort_unstable_by_key(|&(held, _)| held);
                *self = Sorted::Many(vec![chunk]);
            }
            Sorted::Many(chunks) => return insert_into(chunks, key, value),
        }
        None
    }

    /// Takes an entry away; `false`: it was not there.
    pub fn remove(&mut self, key: K) -> bool {
        match self {
            Sorted::One((only, _)) if *only == key => *self = Sorted::None,
            Sorted::None | Sorted::One(_) => return false,
            Sorted::Many(chunks) => {
                if !remove_from(chunks, key) {
                    return false;
                }
                if let [chunk] = chunks.as_slice()
                    && let &[only] = chunk.as_slice()
                {
                    *self = Sorted::One(only);
                }
            }
        }
        true
    }

    /// All keys, ascending; none is left.
    pub fn take_keys(&mut self) -> Vec<K> {
        match std::mem::take(self) {
            Sorted::None => Vec::new(),
            Sorted::One((only, _)) => vec![only],
            Sorted::Many(chunks) => chunks.into_iter().flatten().map(|(key, _)| key).collect(),
        }
    }

    /// Appends all, ascending.
    #[inline]
    pub fn append_to(&self, out: &mut Vec<(K, V)>) {
        match self {
            Sorted::None => {}
            Sorted::One(only) => out.push(*only),
            Sorted::Many(chunks) => chunks.iter().for_each(|chunk| out.extend_from_slice(chunk)),
        }
    }

    /// Asserts the order and the sizes of chunks; for tests, `O(entries)`.
    pub fn check_invariants(&self) {
        if let Sorted::Many(chunks) = self {
            assert!(self.len() >= 2);
            assert!(
                chunks
                    .iter()
                    .all(|chunk| !chunk.is_empty() && chunk.len() <= CHUNK_MAX)
            );
            assert!(chunks.iter().flatten().is_sorted_by(|(a, _), (b, _)| a < b));
        }
    }
}

/// Index of the chunk that holds `key` or is where it belongs.
fn chunk_of<K: Copy + Ord, V>(chunks: &[Vec<(K, V)>], key: K) -> usize {
    chunks
        .partition_point(|chunk| chunk[0].0 <= key)
        .saturating_sub(1)
}

fn insert_into<K: Copy + Ord, V: Copy>(
    chunks: &mut Vec<Vec<(K, V)>>,
    key: K,
    value: V,
) -> Option<V> {
    let mut index = chunk_of(chunks, key);
    let mut at = match chunks[index].binary_search_by_key(&key, |&(held, _)| held) {
        Ok(at) => return Some(std::mem::replace(&mut chunks[index][at].1, value)),
        Err(at) => at,
    };
    if chunks[index].len() == CHUNK_MAX {
        // New keys are mostly higher: then nothing is split and chunks stay full.
        let last = index + 1 == chunks.len() && at == CHUNK_MAX;
        let kept = if last { CHUNK_MAX } else { CHUNK_MAX / 2 };
        let upper = chunks[index].split_off(kept);
        chunks.insert(index + 1, upper);
        if at > kept || last {
            index += 1;
            at -= kept;
        }
    }
    chunks[index].insert(at, (key, value));
    None
}

fn remove_from<K: Copy + Ord, V: Copy>(chunks: &mut Vec<Vec<(K, V)>>, key: K) -> bool {
    let index = chunk_of(chunks, key);
    let Ok(at) = chunks[index].binary_search_by_key(&key, |&(held, _)| held) else {
        return false;
    };
    let chunk = &mut chunks[index];
    chunk.remove(at);
    if chunk.len() * 4 <= chunk.capacity() {
        chunk.shrink_to(chunk.len() * 2);
    }
    // Joins with the next or the one before when both are small, so that chunks stay few.
    let small = |a: &Vec<(K, V)>, b: &Vec<(K, V)>| a.len() + b.len() <= CHUNK_MAX / 2;
    if index + 1 < chunks.len() && small(&chunks[index], &chunks[index + 1]) {
        let next = chunks.remove(index + 1);
        chunks[index].extend_from_slice(&next);
    } else if index > 0 && small(&chunks[index - 1], &chunks[index]) {
        let this = chunks.remove(index);
        chunks[index - 1].extend_from_slice(&this);
    } else if chunks[index].is_empty() {
        chunks.remove(index);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    #[cfg(target_pointer_width = "64")]
    fn one_entry_needs_no_block_and_24_bytes() {
        assert_eq!(size_of::<Sorted<u64, u64>>(), 24);
        assert_eq!(size_of::<Sorted<u32, ()>>(), 24);
    }

    #[test]
    fn many_entries_are_a_sorted_map() {
        let (mut sorted, mut model) = (Sorted::default(), BTreeMap::new());
        // A full cycle through 0..4096 in scattered order, twice: first adding, then taking away.
        for turn in 0..2 {
            let mut name = 1u32;
            for step in 0..4096u32 {
                name = (name.wrapping_mul(1_664_525).wrapping_add(1_013_904_223)) % 4096;
                if turn == 0 {
                    assert_eq!(sorted.insert(name, step), model.insert(name, step));
                    assert_eq!(sorted.insert(name, step), Some(step));
                } else {
                    assert_eq!(sorted.remove(name), model.remove(&name).is_some());
                    assert!(!sorted.remove(name));
                }
                if step % 64 == 0 {
                    sorted.check_invariants();
                    let mut all = Vec::new();
                    sorted.append_to(&mut all);
                    assert!(all.iter().copied().eq(model.iter().map(|(&s, &o)| (s, o))));
                    assert_eq!(sorted.get(name), model.get(&name).copied());
                    assert_eq!(sorted.len(), model.len());
                    assert_eq!(sorted.contains(name), model.contains_key(&name));
                    let above = model.range(name + 1..).next();
                    assert_eq!(sorted.after(Some(name)), above.map(|(&s, &o)| (s, o)));
                    let walk =
                        std::iter::successors(sorted.after(None), |&(s, _)| sorted.after(Some(s)));
                    assert!(walk.eq(model.iter().map(|(&s, &o)| (s, o))));
                    let mut copy = sorted.clone();
                    assert!(copy.take_keys().into_iter().eq(model.keys().copied()));
                    assert!(copy.is_empty());
                }
            }
        }
        assert!(sorted.is_empty());
    }

    #[test]
    fn ascending_names_leave_full_chunks() {
        let mut sorted = Sorted::default();
        for name in 0..10 * CHUNK_MAX {
            sorted.insert(name, ());
        }
        let Sorted::Many(chunks) = &sorted else {
            panic!()
        };
        assert_eq!(chunks.len(), 10);
    }
}
