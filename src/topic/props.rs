//! What must hold of the two trees, as functions of arbitrary bytes: called by the tests below with random
//! ones and by `fuzz/` with worse. They panic where it does not hold.
//!
//! The bytes are a list of operations on a tree and on a naive model of it. Names are made from a small
//! alphabet, so that random filters and names do meet.

use super::{FilterTrie, Matches, NodeId, RetainCursor, RetainStep, RetainTree};
use crate::ids::ShardId;
use crate::wire::topic::{self, TopicFilter, TopicName};
use std::collections::BTreeMap;

/// Levels that names are made of; filters have `+` and `#` besides.
const LEVELS: [&str; 8] = [
    "a",
    "b",
    "",
    "c",
    "$s",
    "größe",
    "日本",
    "a level of more than 18 bytes",
];

/// Reads operations; at the end every read is 0.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn next(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        first
    }

    fn below(&mut self, bound: u8) -> u8 {
        self.next() % bound
    }

    /// A Topic Name of 1 to 5 levels, mostly of the first few.
    fn name(&mut self) -> String {
        let mut text = String::new();
        for depth in 0..=self.below(5) {
            if depth > 0 {
                text.push('/');
            }
            let pick = self.next();
            let level = if pick < 160 {
                pick % 3
            } else {
                pick % LEVELS.len() as u8
            };
            text.push_str(LEVELS[usize::from(level)]);
        }
        if text.is_empty() { "a".into() } else { text }
    }

    /// A Topic Filter: a name with some levels turned into wildcards.
    fn filter(&mut self) -> String {
        let name = self.name();
        let turned = self.next();
        let mut levels: Vec<&str> = topic::levels(&name).collect();
        for (depth, level) in levels.iter_mut().enumerate() {
            if turned >> depth & 1 == 1 {
                *level = "+";
            }
        }
        if turned >= 0xC0 {
            levels.pop();
            levels.push("#");
        }
        levels.join("/")
    }
}

/// Matches of a [`FilterTrie`] are those of a linear scan over its filters, after every step of any
/// sequence of subscriptions and their ends; and nothing is left at the end.
pub fn trie_is_a_linear_scan(data: &[u8]) {
    let mut bytes = Bytes(data);
    let mut trie = FilterTrie::<u8, u8>::new();
    let mut local = BTreeMap::<String, BTreeMap<u8, u8>>::new();
    let mut shards = BTreeMap::<String, u64>::new();
    let mut nodes = BTreeMap::<String, NodeId>::new();
    let mut found = Matches::new();
    while !bytes.0.is_empty() {
        let operation = bytes.below(8);
        let (text, subscriber) = (bytes.filter(), bytes.below(4));
        let filter = TopicFilter::new(&text).expect("made to be valid");
        let generation = trie.generation();
        let mut changed = true;
        match operation {
            0..=2 => {
                let options = bytes.next();
                let known = local.entry(text.clone()).or_default();
                let first = known.is_empty();
                let done = trie.subscribe(filter, subscriber, options);
                assert_eq!(
                    (done.first, done.replaced),
                    (first, known.insert(subscriber, options))
                );
                nodes.insert(text.clone(), done.node);
            }
            3..=4 => {
                // Mostly of a filter there is, by its node or its text.
                let text = nth(&local, bytes.next()).unwrap_or(text);
                let node = nodes
                    .get(&text)
                    .copied()
                    .filter(|_| local.contains_key(&text));
                let known = local.entry(text.clone()).or_default();
                let there = known.remove(&subscriber).is_some();
                let last = known.is_empty();
                let done = match node {
                    Some(node) if operation == 3 => trie.unsubscribe_node(node, subscriber),
                    _ => trie.unsubscribe(&text, subscriber),
                };
                assert_eq!(done.map(|done| done.last), there.then_some(last));
                assert!(done.is_none() || done.map(|done| done.node) == node);
                if last {
                    local.remove(&text);
                }
                changed = there;
            }
            5 => {
                let bit = shards.entry(text.clone()).or_default();
                changed = *bit & 1 << subscriber == 0;
                *bit |= 1 << subscriber;
                trie.add_shard(filter, ShardId(subscriber));
            }
            6 => {
                let text = nth(&shards, bytes.next()).unwrap_or(text);
                let bit = shards.entry(text.clone()).or_default();
                changed = *bit & 1 << subscriber != 0;
                *bit &= !(1 << subscriber);
                trie.remove_shard(&text, ShardId(subscriber));
                shards.retain(|_, &mut bits| bits != 0);
            }
            _ => {
                let options = local.get(&text).and_then(|known| known.get(&subscriber));
                assert_eq!(trie.options(&text, subscriber), options.copied());
                changed = false;
            }
        }
        trie.check_invariants();
        assert_eq!(trie.generation() != generation, changed);
        assert_eq!(
            trie.subscriptions(),
            local.values().map(BTreeMap::len).sum::<usize>()
        );

        let name = bytes.name();
        trie.matches(TopicName::new(&name).expect("made to be valid"), &mut found);
        found.local.sort_unstable();
        let mut expected: Vec<(u8, u8)> = Vec::new();
        for (filter, known) in &local {
            if topic::matches(filter, &name) {
                expected.extend(
                    known
                        .iter()
                        .map(|(&subscriber, &options)| (subscriber, options)),
                );
            }
            let mut text = String::new();
            trie.filter_text(nodes[filter], &mut text);
            assert_eq!(&text, filter);
        }
        expected.sort_unstable();
        assert_eq!(found.local, expected, "who wants {name:?} of {local:?}");
        let wanted = shards
            .iter()
            .filter(|(filter, _)| topic::matches(filter, &name));
        assert_eq!(
            found.shards,
            wanted.fold(0, |mask, (_, bits)| mask | bits),
            "{name:?}"
        );
        assert_eq!(found.is_empty(), expected.is_empty() && found.shards == 0);
    }
    for (text, known) in local {
        for subscriber in known.into_keys() {
            assert!(trie.unsubscribe(&text, subscriber).is_some());
            trie.check_invariants();
        }
    }
    for (text, mask) in shards {
        (0..4)
            .filter(|bit| mask >> bit & 1 == 1)
            .for_each(|bit| trie.remove_shard(&text, ShardId(bit)));
    }
    trie.check_invariants();
    trie.matches(TopicName::new("a").expect("valid"), &mut found);
    assert!(found.is_empty() && trie.subscriptions() == 0);
}

/// A replay that a test follows: what it must still bring, and what it has brought.
struct Replay {
    cursor: RetainCursor,
    /// Matching topics that have been there since the cursor was made, and whether they have come.
    stayed: BTreeMap<String, bool>,
}

/// A [`RetainTree`] is a map; a replay brings each matching topic that is there throughout exactly once, with
/// its value of that moment, and nothing that does not match or is not there, whatever is
/// set and removed between its steps.
pub fn retained_is_a_map(data: &[u8]) {
    let mut bytes = Bytes(data);
    let mut tree = RetainTree::<u32>::new();
    let mut model = BTreeMap::<String, u32>::new();
    let mut replays = Vec::<Replay>::new();
    let mut serial = 0;
    loop {
        let ends = bytes.0.is_empty();
        let operation = if ends { 7 } else { bytes.below(8) };
        match operation {
            0..=2 => {
                let text = bytes.name();
                serial += 1;
                let name = TopicName::new(&text).expect("made to be valid");
                assert_eq!(tree.set(name, serial), model.insert(text, serial));
            }
            3..=4 => {
                let text = bytes.name();
                let text = nth(&model, bytes.next())
                    .filter(|_| operation == 4)
                    .unwrap_or(text);
                assert_eq!(tree.get(&text), model.get(&text));
                assert_eq!(tree.remove(&text), model.remove(&text));
                for replay in &mut replays {
                    replay.stayed.remove(&text);
                }
            }
            5 if replays.len() < 4 => {
                let text = bytes.filter();
                let filter = TopicFilter::new(&text).expect("made to be valid");
                let cursor = RetainTree::<u32>::cursor(filter);
                assert_eq!(cursor.filter(), text);
                let wanted = model.keys().filter(|name| topic::matches(&text, name));
                let stayed = wanted.map(|name| (name.clone(), false)).collect();
                replays.push(Replay { cursor, stayed });
            }
            _ => {
                let steps = if ends { u8::MAX } else { bytes.below(4) };
                replays.retain_mut(|replay| advance(&tree, &model, replay, steps));
            }
        }
        tree.check_invariants();
        assert_eq!(tree.len(), model.len());
        if ends && replays.is_empty() {
            break;
        }
    }
    for (text, value) in model {
        assert_eq!(tree.remove(&text), Some(value));
        tree.check_invariants();
    }
    assert!(tree.is_empty());
}

/// Takes up to `steps` messages of a replay; `false`: it has come to its end.
fn advance(
    tree: &RetainTree<u32>,
    model: &BTreeMap<String, u32>,
    replay: &mut Replay,
    steps: u8,
) -> bool {
    let filter = replay.cursor.filter().to_owned();
    for step in 0..steps {
        let mut name = String::new();
        let mut work = usize::from(step % 3) + 1;
        match tree.step(&mut replay.cursor, &mut name, &mut work) {
            RetainStep::Message(value) => {
                assert!(
                    topic::matches(&filter, &name),
                    "{filter:?} brought {name:?}"
                );
                assert_eq!(model.get(&name), Some(value), "{name:?}");
                if let Some(came) = replay.stayed.get_mut(&name) {
                    assert!(!std::mem::replace(came, true), "{name:?} came twice");
                }
            }
            RetainStep::Pause => assert_eq!(work, 0),
            RetainStep::End => {
                assert!(replay.cursor.is_at_end());
                assert!(
                    replay.stayed.values().all(|&came| came),
                    "{:?}",
                    replay.stayed
                );
                assert_eq!(tree.next(&mut replay.cursor, &mut name), None);
                return false;
            }
        }
    }
    true
}

/// Some key of a map that is not empty.
fn nth<V>(map: &BTreeMap<String, V>, index: u8) -> Option<String> {
    map.keys()
        .nth(usize::from(index) % map.len().max(1))
        .cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SplitMix64 (Steele, Lea, Flood 2014).
    fn random_bytes(seed: u64, len: usize) -> Vec<u8> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut mixed = state;
            mixed = (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
            (mixed ^ mixed >> 31) as u8
        };
        (0..len).map(|_| next()).collect()
    }

    /// Runs a property on random bytes; prints the seed of a failure.
    fn holds(property: fn(&[u8]), seeds: std::ops::Range<u64>, len: usize) {
        for seed in seeds {
            let data = random_bytes(seed, len);
            if let Err(panic) = std::panic::catch_unwind(|| property(&data)) {
                eprintln!("seed {seed}, {len} bytes");
                std::panic::resume_unwind(panic);
            }
        }
    }

    #[test]
    fn the_trie_is_a_linear_scan_in_many_short_lives() {
        holds(trie_is_a_linear_scan, 0..500, 300);
    }

    #[test]
    fn the_trie_is_a_linear_scan_in_long_lives() {
        holds(trie_is_a_linear_scan, 1_000_000..1_000_004, 8_000);
    }

    #[test]
    fn the_retained_are_a_map_in_many_short_lives() {
        holds(retained_is_a_map, 0..1000, 400);
    }

    #[test]
    fn the_retained_are_a_map_in_long_lives() {
        holds(retained_is_a_map, 1_000_000..1_000_006, 8_000);
    }
}
