//! What must hold of the two trees, as functions of arbitrary bytes: called by the tests below with random
//! ones and by `fuzz/` with worse. They panic where it does not hold.
//!
//! The bytes are a list of operations on a tree and on a naive model of it. Names are made from a small
//! alphabet, so that random filters and names do meet.

use super::{FilterTrie, Matches, NodeId, RetainCursor, RetainStep, RetainTree, Routes};
use crate::ids::ShardId;
use crate::limits::TOPIC_LEVELS_MAX;
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

/// Subscribers of a trie that stand for themselves; those from here on stand for groups of Shared Subscriptions.
const GROUPS_FROM: u8 = 4;
/// ShareNames of the groups.
const SHARE_NAMES: [&str; 2] = ["g", "$share"];

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

    /// A subscription as a trie has it: Topic Filter and subscriber. A Shared Subscription is first written as a
    /// Client writes it; its group then stands at the filter without the share [v5 §4.8.2].
    fn subscription(&mut self) -> (String, u8) {
        let (filter, pick) = (self.filter(), self.next());
        let plain = TopicFilter::new(&filter).expect("made to be valid");
        assert_eq!(plain.share(), None);
        if pick < 192 {
            return (filter, pick % GROUPS_FROM);
        }
        let group = usize::from(pick) % SHARE_NAMES.len();
        let shared = format!("$share/{}/{filter}", SHARE_NAMES[group]);
        let taken_apart = TopicFilter::new(&shared).expect("made to be valid").share();
        assert_eq!(taken_apart, Some((SHARE_NAMES[group], &*filter)));
        (filter, GROUPS_FROM + group as u8)
    }
}

/// The first byte chooses which of the properties below the others are held to.
pub fn any_of_them(data: &[u8]) {
    let Some((which, data)) = data.split_first() else {
        return;
    };
    match which % 3 {
        0 => trie_is_a_linear_scan(data),
        1 => retained_is_a_map(data),
        _ => matches_are_those_of_the_standard(data),
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
    let (mut routes, mut routed) = (Routes::new(), Matches::new());
    while !bytes.0.is_empty() {
        let operation = bytes.below(8);
        let (text, subscriber) = bytes.subscription();
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
        let topic = TopicName::new(&name).expect("made to be valid");
        trie.matches(topic, &mut found);
        // Often enough that the answer is kept, and one kept before a change is asked for.
        for _ in 0..4 {
            routes.matches(&trie, topic, &mut routed, |_| false);
            assert_eq!(routed.local, found.local, "{name:?}");
            assert_eq!(routed.shards, found.shards, "{name:?}");
        }
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
        (0..8)
            .filter(|bit| mask >> bit & 1 == 1)
            .for_each(|bit| trie.remove_shard(&text, ShardId(bit)));
    }
    trie.check_invariants();
    trie.matches(TopicName::new("a").expect("valid"), &mut found);
    assert!(found.is_empty() && trie.subscriptions() == 0);
}

/// Any text as Topic Filter and Topic Name, parted at the first line end: what is well-formed, what is a Shared
/// Subscription and what matches is what the standard says, read slowly; and a trie of this one filter agrees.
pub fn matches_are_those_of_the_standard(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let (filter_text, name_text) = text.split_once('\n').unwrap_or((text, "a"));
    let (filter, name) = (TopicFilter::new(filter_text), TopicName::new(name_text));
    assert_eq!(filter.is_ok(), is_filter(filter_text), "{filter_text:?}");
    assert_eq!(name.is_ok(), is_name(name_text), "{name_text:?}");
    let (Ok(filter), Ok(name)) = (filter, name) else {
        return;
    };
    let plain = match filter.share() {
        None => {
            assert!(!filter_text.starts_with("$share/"));
            filter_text
        }
        Some((group, rest)) => {
            assert_eq!(filter_text, format!("$share/{group}/{rest}"));
            assert!(!group.is_empty() && !group.contains(['/', '+', '#']));
            rest
        }
    };
    let levels = |text: &'_ str| text.split('/').map(str::to_owned).collect::<Vec<_>>();
    let hidden = name_text.starts_with('$') && plain.starts_with(['+', '#']);
    let expected = !hidden && covers(&levels(plain), &levels(name_text));
    assert_eq!(
        topic::matches(plain, name_text),
        expected,
        "{plain:?} {name_text:?}"
    );
    // A part of a Shared Subscription may itself look like one, which no trie is given.
    if let Ok(plain) = TopicFilter::new(plain) {
        let mut trie = FilterTrie::<u8, u8>::new();
        let node = trie.subscribe(plain, 1, 2).node;
        trie.check_invariants();
        let mut found = Matches::new();
        trie.matches(name, &mut found);
        assert_eq!(!found.local.is_empty(), expected);
        assert!(trie.unsubscribe_node(node, 1).is_some());
        trie.check_invariants();
        let mut tree = RetainTree::<u8>::new();
        tree.set(name, 7);
        let mut cursor = RetainTree::<u8>::cursor(plain);
        let mut brought = String::new();
        assert_eq!(
            tree.next(&mut cursor, &mut brought).copied(),
            expected.then_some(7)
        );
        assert!(!expected || brought == name_text);
    }
}

/// [v5 §4.7.3, MQTT-4.7.1-1], and our limit.
fn is_name(text: &str) -> bool {
    (1..=65_535).contains(&text.len())
        && !text.contains(['\0', '+', '#'])
        && text.split('/').count() <= TOPIC_LEVELS_MAX
}

/// [v5 §4.7.1, §4.7.3, §4.8.2], and our limit.
fn is_filter(text: &str) -> bool {
    let levels: Vec<&str> = text.split('/').collect();
    let plain = match &levels[..] {
        ["$share", name, rest @ ..] => {
            if name.is_empty()
                || name.contains(['+', '#'])
                || rest.concat().is_empty() && rest.len() < 2
            {
                return false;
            }
            rest
        }
        all => all,
    };
    let (last, others) = plain.split_last().expect("a text has a level");
    let plain_level = |level: &&str| *level == "+" || !level.contains(['+', '#']);
    (1..=65_535).contains(&text.len())
        && !text.contains('\0')
        && plain.len() <= TOPIC_LEVELS_MAX
        && others.iter().all(plain_level)
        && (*last == "#" || plain_level(last))
}

/// Do these levels of a filter match those of a name? [v5 §4.7.1]
fn covers(filter: &[String], name: &[String]) -> bool {
    match (filter.split_first(), name.split_first()) {
        (Some((wanted, _)), _) if wanted == "#" => true,
        (Some((wanted, filter)), Some((level, name))) => {
            (wanted == "+" || wanted == level) && covers(filter, name)
        }
        (None, None) => true,
        _ => false,
    }
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
    use crate::random::SplitMix64;

    fn random_bytes(seed: u64, len: usize) -> Vec<u8> {
        let mut random = SplitMix64::new(seed);
        (0..len).map(|_| random.draw() as u8).collect()
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
    fn any_text_is_read_as_the_standard_says() {
        const PIECES: [&str; 12] = [
            "$share", "/", "/", "/", "+", "#", "a", "$", "b", "\n", "\0", "ü",
        ];
        for seed in 0..20_000 {
            let bytes = random_bytes(seed, 3 + seed as usize % 16);
            let piece = |byte: u8| PIECES[usize::from(byte) % PIECES.len()];
            let text: String = bytes.into_iter().map(piece).collect();
            matches_are_those_of_the_standard(text.as_bytes());
            matches_are_those_of_the_standard(format!("$share/g/{text}\na/b").as_bytes());
        }
        for levels in [TOPIC_LEVELS_MAX - 1, TOPIC_LEVELS_MAX, TOPIC_LEVELS_MAX + 1] {
            let text = vec!["a"; levels].join("/");
            matches_are_those_of_the_standard(format!("{text}\n{text}").as_bytes());
            let shared = format!("$share/g/{text}\n{text}");
            matches_are_those_of_the_standard(shared.as_bytes());
        }
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
