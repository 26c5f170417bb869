//! The subscribers of one Topic Filter, in the order of their names.
//!
//! One is held in place; more are held in sorted chunks of bounded size, so that a filter with 100,000
//! subscribers is still left in O(chunk + chunks) and handed out chunk by chunk.

/// Subscribers in one chunk, at most.
const CHUNK_MAX: usize = 512;

#[derive(Default)]
pub(super) enum Subscribers<S, O> {
    #[default]
    None,
    One((S, O)),
    /// Two or more. No chunk is empty; ascending within and across chunks.
    Many(Vec<Vec<(S, O)>>),
}

impl<S: Copy + Ord, O: Copy> Subscribers<S, O> {
    pub fn is_empty(&self) -> bool {
        matches!(self, Subscribers::None)
    }

    pub fn len(&self) -> usize {
        match self {
            Subscribers::None => 0,
            Subscribers::One(_) => 1,
            Subscribers::Many(chunks) => chunks.iter().map(Vec::len).sum(),
        }
    }

    pub fn get(&self, subscriber: S) -> Option<O> {
        match self {
            Subscribers::None => None,
            Subscribers::One((only, options)) => (*only == subscriber).then_some(*options),
            Subscribers::Many(chunks) => {
                let chunk = &chunks[chunk_of(chunks, subscriber)];
                let at = chunk
                    .binary_search_by_key(&subscriber, |&(name, _)| name)
                    .ok()?;
                Some(chunk[at].1)
            }
        }
    }

    /// Adds a subscriber, or changes its options and returns the old ones.
    pub fn insert(&mut self, subscriber: S, options: O) -> Option<O> {
        match self {
            Subscribers::None => *self = Subscribers::One((subscriber, options)),
            Subscribers::One((only, old)) if *only == subscriber => {
                return Some(std::mem::replace(old, options));
            }
            Subscribers::One(only) => {
                let mut chunk = Vec::with_capacity(2);
                chunk.extend([*only, (subscriber, options)]);
                chunk.sort_unstable_by_key(|&(name, _)| name);
                *self = Subscribers::Many(vec![chunk]);
            }
            Subscribers::Many(chunks) => return insert_into(chunks, subscriber, options),
        }
        None
    }

    /// Takes a subscriber away; `false`: it was not there.
    pub fn remove(&mut self, subscriber: S) -> bool {
        match self {
            Subscribers::One((only, _)) if *only == subscriber => *self = Subscribers::None,
            Subscribers::None | Subscribers::One(_) => return false,
            Subscribers::Many(chunks) => {
                if !remove_from(chunks, subscriber) {
                    return false;
                }
                if let [chunk] = chunks.as_slice()
                    && let &[only] = chunk.as_slice()
                {
                    *self = Subscribers::One(only);
                }
            }
        }
        true
    }

    /// Appends all, ascending.
    #[inline]
    pub fn append_to(&self, out: &mut Vec<(S, O)>) {
        match self {
            Subscribers::None => {}
            Subscribers::One(only) => out.push(*only),
            Subscribers::Many(chunks) => {
                chunks.iter().for_each(|chunk| out.extend_from_slice(chunk))
            }
        }
    }

    pub fn check_invariants(&self) {
        if let Subscribers::Many(chunks) = self {
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

/// Index of the chunk that holds `subscriber` or is where it belongs.
fn chunk_of<S: Copy + Ord, O>(chunks: &[Vec<(S, O)>], subscriber: S) -> usize {
    chunks
        .partition_point(|chunk| chunk[0].0 <= subscriber)
        .saturating_sub(1)
}

fn insert_into<S: Copy + Ord, O: Copy>(
    chunks: &mut Vec<Vec<(S, O)>>,
    subscriber: S,
    options: O,
) -> Option<O> {
    let mut index = chunk_of(chunks, subscriber);
    let mut at = match chunks[index].binary_search_by_key(&subscriber, |&(name, _)| name) {
        Ok(at) => return Some(std::mem::replace(&mut chunks[index][at].1, options)),
        Err(at) => at,
    };
    if chunks[index].len() == CHUNK_MAX {
        // New Sessions mostly have higher names: then nothing is split and chunks stay full.
        let last = index + 1 == chunks.len() && at == CHUNK_MAX;
        let kept = if last { CHUNK_MAX } else { CHUNK_MAX / 2 };
        let upper = chunks[index].split_off(kept);
        chunks.insert(index + 1, upper);
        if at > kept || last {
            index += 1;
            at -= kept;
        }
    }
    chunks[index].insert(at, (subscriber, options));
    None
}

fn remove_from<S: Copy + Ord, O: Copy>(chunks: &mut Vec<Vec<(S, O)>>, subscriber: S) -> bool {
    let index = chunk_of(chunks, subscriber);
    let Ok(at) = chunks[index].binary_search_by_key(&subscriber, |&(name, _)| name) else {
        return false;
    };
    let chunk = &mut chunks[index];
    chunk.remove(at);
    if chunk.len() * 4 <= chunk.capacity() {
        chunk.shrink_to(chunk.len() * 2);
    }
    // Joins with the next or the one before when both are small, so that chunks stay few.
    let small = |a: &Vec<(S, O)>, b: &Vec<(S, O)>| a.len() + b.len() <= CHUNK_MAX / 2;
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
    fn one_subscriber_needs_no_block_and_24_bytes() {
        assert_eq!(size_of::<Subscribers<u64, u64>>(), 24);
    }

    #[test]
    fn many_subscribers_are_a_sorted_map() {
        let (mut subscribers, mut model) = (Subscribers::default(), BTreeMap::new());
        // A full cycle through 0..4096 in scattered order, twice: first adding, then taking away.
        for turn in 0..2 {
            let mut name = 1u32;
            for step in 0..4096u32 {
                name = (name.wrapping_mul(1_664_525).wrapping_add(1_013_904_223)) % 4096;
                if turn == 0 {
                    assert_eq!(subscribers.insert(name, step), model.insert(name, step));
                    assert_eq!(subscribers.insert(name, step), Some(step));
                } else {
                    assert_eq!(subscribers.remove(name), model.remove(&name).is_some());
                    assert!(!subscribers.remove(name));
                }
                if step % 64 == 0 {
                    subscribers.check_invariants();
                    let mut all = Vec::new();
                    subscribers.append_to(&mut all);
                    assert!(all.iter().copied().eq(model.iter().map(|(&s, &o)| (s, o))));
                    assert_eq!(subscribers.get(name), model.get(&name).copied());
                    assert_eq!(subscribers.len(), model.len());
                }
            }
        }
        assert!(subscribers.is_empty());
    }

    #[test]
    fn ascending_names_leave_full_chunks() {
        let mut subscribers = Subscribers::default();
        for name in 0..10 * CHUNK_MAX {
            subscribers.insert(name, ());
        }
        let Subscribers::Many(chunks) = &subscribers else {
            panic!()
        };
        assert_eq!(chunks.len(), 10);
    }
}
