//! A cache of the answers of [`FilterTrie::matches`] for recently published Topic Names. The next message of a sensor
//! costs one hash of its name instead of one hash for each level and the walk.
//!
//! Each name has a set of two entries, chosen by its hash. An answer is valid while the generation of the trie is the
//! same. Only one miss in [`KEPT_EVERY`] is stored, so names that never come back cost little. The table grows only
//! while it throws away valid answers.
//!
//! Memory: none before the first message; at most [`ROUTES_MAX`] answers of [`SUBSCRIBERS_MAX`] subscribers each. A
//! warm table allocates nothing: an entry keeps its memory for the next name.

use super::trie::{FilterTrie, Matches};
use crate::random::HashState;
use crate::wire::topic::TopicName;
use std::hash::BuildHasher;

/// Entries of a new table.
const ROUTES_AT_FIRST: usize = 64;
/// Entries of the largest table.
const ROUTES_MAX: usize = 4096;
/// Answers with more subscribers are not stored: there the walk is a small part of the work.
const SUBSCRIBERS_MAX: usize = 16;
/// Longer names are not kept.
const NAME_BYTES_MAX: usize = 256;
/// One miss in so many is stored.
const KEPT_EVERY: u32 = 8;
/// No trie has this generation.
const NEVER: u64 = u64::MAX;
/// With the trie's generation: the answer is long, so it is walked for again, but not sifted again.
const WHOLE: u64 = 1 << 63;
/// Entries in a set.
const WAYS: usize = 2;
/// An answer that is not kept.
const NOT_KEPT: Kept = Kept(usize::MAX);

struct Route<S, O> {
    hash: u64,
    /// The trie's generation when it gave the answer.
    generation: u64,
    name: String,
    local: Vec<(S, O)>,
    shards: u64,
    /// See [`Routes::note`].
    noted: Option<S>,
}

impl<S: Copy, O: Copy> Route<S, O> {
    fn vacant() -> Self {
        Route {
            hash: 0,
            generation: NEVER,
            name: String::new(),
            local: Vec::new(),
            shards: 0,
            noted: None,
        }
    }

    fn is_of(&self, hash: u64, name: &str) -> bool {
        self.hash == hash && self.generation != NEVER && self.name == name
    }

    fn tell(&self, out: &mut Matches<S, O>) {
        out.local.clear();
        out.local.extend_from_slice(&self.local);
        out.shards = self.shards;
        out.visited = 1;
    }

    /// Keeps an answer if it is short.
    /// Of a long one it keeps that all of it was left, if `whole` says so.
    fn keep(
        &mut self,
        hash: u64,
        name: &str,
        generation: u64,
        answer: &Matches<S, O>,
        whole: bool,
    ) {
        self.generation = NEVER;
        self.noted = None;
        let long = answer.local.len() > SUBSCRIBERS_MAX;
        if long && !whole || name.len() > NAME_BYTES_MAX {
            return;
        }
        self.hash = hash;
        self.name.clear();
        self.name.push_str(name);
        self.local.clear();
        if long {
            self.generation = generation | WHOLE;
            return;
        }
        self.local.extend_from_slice(&answer.local);
        self.shards = answer.shards;
        self.generation = generation;
    }
}

/// The entries that a hash may use, and which of them was used last.
struct Set<S, O> {
    routes: [Route<S, O>; WAYS],
    last: usize,
}

/// Where an answer is kept, until the next one. [`Routes::note`] takes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kept(usize);

impl Default for Kept {
    fn default() -> Kept {
        NOT_KEPT
    }
}

/// See the module.
pub struct Routes<S, O> {
    /// Their number is a power of two, or 0 at first.
    sets: Vec<Set<S, O>>,
    /// Seeded at random, so that a peer cannot choose names that share a set.
    hasher: HashState,
    /// A wrapping number that moves one step for each miss.
    misses: u32,
    /// Valid answers thrown away since the table has had its size.
    evictions: usize,
}

impl<S: Copy + Eq + Ord, O: Copy> Routes<S, O> {
    /// An empty table; it gets its size by use.
    pub fn new() -> Self {
        Routes {
            sets: Vec::new(),
            hasher: HashState::default(),
            misses: 0,
            evictions: 0,
        }
    }

    /// What `trie.matches(topic, out)` answers, and `sift(out)` leaves of that. `sift` is not asked where the answer is
    /// kept. It returns `true` if it leaves all, and wants that to be kept of a long answer too.
    #[inline(always)]
    pub fn matches(
        &mut self,
        trie: &FilterTrie<S, O>,
        topic: TopicName<'_>,
        out: &mut Matches<S, O>,
        sift: impl FnOnce(&mut Matches<S, O>) -> bool,
    ) -> Kept {
        let name = topic.as_str();
        let hash = self.hasher.hash_one(name);
        let place = hash as usize & self.sets.len().wrapping_sub(1);
        if let Some(set) = self.sets.get_mut(place) {
            for (way, route) in set.routes.iter().enumerate() {
                if route.is_of(hash, name) && route.generation == trie.generation() {
                    set.last = way;
                    route.tell(out);
                    return Kept(place);
                }
            }
        }
        self.find_anew(trie, topic, hash, out, sift)
    }

    /// The same where no answer is kept that could be given.
    #[inline(never)]
    fn find_anew(
        &mut self,
        trie: &FilterTrie<S, O>,
        topic: TopicName<'_>,
        hash: u64,
        out: &mut Matches<S, O>,
        sift: impl FnOnce(&mut Matches<S, O>) -> bool,
    ) -> Kept {
        let name = topic.as_str();
        let place = hash as usize & self.sets.len().wrapping_sub(1);
        trie.matches(topic, out);
        if let Some(set) = self.sets.get_mut(place)
            && let Some(way) = set.routes.iter().position(|route| route.is_of(hash, name))
        {
            set.last = way;
            let route = &mut set.routes[way];
            if route.generation != trie.generation() | WHOLE {
                let whole = sift(out);
                route.keep(hash, name, trie.generation(), out, whole);
            }
            return Kept(place);
        }
        let whole = sift(out);
        // Steps of the golden ratio: spread evenly, and in step with no round that publishers go.
        self.misses = self.misses.wrapping_add(0x9E37_79B9);
        if self.misses < u32::MAX / KEPT_EVERY {
            return self.keep(hash, name, trie.generation(), out, whole);
        }
        NOT_KEPT
    }

    /// Stores a new answer in the entry that was not used last.
    #[cold]
    fn keep(
        &mut self,
        hash: u64,
        name: &str,
        generation: u64,
        answer: &Matches<S, O>,
        whole: bool,
    ) -> Kept {
        if self.sets.is_empty() {
            self.resize(ROUTES_AT_FIRST);
        }
        let routes = self.sets.len() * WAYS;
        if self.evictions > routes / 2 && routes < ROUTES_MAX {
            self.resize(routes * 2);
        }
        let place = hash as usize & (self.sets.len() - 1);
        let set = &mut self.sets[place];
        set.last = (set.last + 1) % WAYS;
        let route = &mut set.routes[set.last];
        self.evictions += usize::from(route.generation & !WHOLE == generation);
        route.keep(hash, name, generation, answer, whole);
        Kept(place)
    }

    /// Notes one of those who write to the topic of the last answer, as long as that answer is kept.
    #[inline]
    pub fn note(&mut self, Kept(place): Kept, writer: S) {
        if let Some(set) = self.sets.get_mut(place) {
            let route = &mut set.routes[set.last];
            if route.generation != NEVER {
                route.noted = Some(writer);
            }
        }
    }

    /// This one was noted last.
    #[inline]
    pub fn is_noted(&self, Kept(place): Kept, writer: S) -> bool {
        let set = self.sets.get(place);
        set.is_some_and(|set| set.routes[set.last].noted == Some(writer))
    }

    /// Doubles the table: the answers of one set move into two sets, each at the same index in its set.
    fn resize(&mut self, routes: usize) {
        let set = || Set {
            routes: [Route::vacant(), Route::vacant()],
            last: 0,
        };
        let sets = (0..routes / WAYS).map(|_| set()).collect();
        let earlier = std::mem::replace(&mut self.sets, sets);
        for set in earlier {
            for (way, route) in set.routes.into_iter().enumerate() {
                let place = route.hash as usize & (self.sets.len() - 1);
                self.sets[place].routes[way] = route;
            }
        }
        self.evictions = 0;
    }
}

impl<S: Copy + Eq + Ord, O: Copy> Default for Routes<S, O> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::topic::TopicFilter;

    type Trie = FilterTrie<u32, ()>;

    struct Pair {
        trie: Trie,
        routes: Routes<u32, ()>,
        /// The cache under test, and the trie that is right.
        answers: [Matches<u32, ()>; 2],
    }

    impl Pair {
        fn new() -> Pair {
            Pair {
                trie: Trie::new(),
                routes: Routes::new(),
                answers: [Matches::new(), Matches::new()],
            }
        }

        fn check(&mut self, topic: &str) {
            let topic = TopicName::new(topic).unwrap();
            let [answer, truth] = &mut self.answers;
            self.routes.matches(&self.trie, topic, answer, |_| false);
            self.trie.matches(topic, truth);
            assert_eq!(answer.local, truth.local);
            assert_eq!(answer.shards, truth.shards);
        }

        fn kept(&self) -> usize {
            let routes = self.routes.sets.iter().flat_map(|set| &set.routes);
            routes.filter(|route| route.generation != NEVER).count()
        }
    }

    #[test]
    fn a_kept_answer_ends_with_the_next_change() {
        let mut pair = Pair::new();
        let filter = |text| TopicFilter::new(text).unwrap();
        let rounds = 8 * KEPT_EVERY;
        for round in 0..3 * rounds {
            pair.check("a/b");
            pair.check("a/c");
            if round == rounds {
                pair.trie.subscribe(filter("a/+"), 7, ());
            }
            if round == 2 * rounds {
                pair.trie.subscribe(filter("a/b"), 8, ());
                pair.trie.add_shard(filter("#"), crate::ids::ShardId(3));
                pair.trie.unsubscribe("a/+", 7);
            }
        }
        assert_eq!(pair.kept(), 2);
    }

    #[test]
    fn it_grows_for_names_that_come_back_and_no_further() {
        let mut pair = Pair::new();
        for _ in 0..30 {
            for name in 0..1000 {
                pair.check(&format!("sensor/{name}"));
            }
        }
        assert!(pair.routes.sets.len() * WAYS >= 512);
        assert!(pair.kept() > 500, "{}", pair.kept());
        for name in 0..200_000 {
            pair.check(&format!("never/again/{name}"));
        }
        assert_eq!(pair.routes.sets.len() * WAYS, ROUTES_MAX);
    }

    /// What is taken out of an answer is asked once, and of a long one only while something is taken out.
    #[test]
    fn a_sifted_answer_is_kept_sifted() {
        for (subscribers, taken_out, asked_once) in [(3, 1, true), (40, 0, true), (40, 1, false)] {
            let mut pair = Pair::new();
            for subscriber in 0..subscribers {
                let filter = TopicFilter::new("crowd").unwrap();
                pair.trie.subscribe(filter, subscriber, ());
            }
            let name = TopicName::new("crowd").unwrap();
            let mut asked = 0;
            let rounds = 8 * KEPT_EVERY;
            for _ in 0..rounds {
                let [answer, _] = &mut pair.answers;
                let kept = pair.routes.matches(&pair.trie, name, answer, |found| {
                    asked += 1;
                    found
                        .local
                        .retain(|(subscriber, _)| *subscriber >= taken_out);
                    taken_out == 0
                });
                assert_eq!(answer.local.len() as u32, subscribers - taken_out);
                pair.routes.note(kept, 7);
            }
            assert_eq!(asked < rounds, asked_once, "{subscribers} {asked}");
            let [answer, _] = &mut pair.answers;
            let again = pair.routes.matches(&pair.trie, name, answer, |_| false);
            assert_eq!(pair.routes.is_noted(again, 7), asked_once);
            assert!(!pair.routes.is_noted(again, 8));
            pair.trie.renew();
            let again = pair.routes.matches(&pair.trie, name, answer, |found| {
                found.local.clear();
                false
            });
            assert!(answer.local.is_empty() && !pair.routes.is_noted(again, 7));
        }
    }

    #[test]
    fn what_would_take_much_room_is_not_kept() {
        let mut pair = Pair::new();
        for subscriber in 0..=SUBSCRIBERS_MAX as u32 {
            pair.trie
                .subscribe(TopicFilter::new("crowd").unwrap(), subscriber, ());
        }
        let long = "x".repeat(NAME_BYTES_MAX + 1);
        for _ in 0..4 * KEPT_EVERY {
            pair.check("crowd");
            pair.check(&long);
        }
        assert_eq!(pair.kept(), 0);
        pair.trie.unsubscribe("crowd", 0);
        for _ in 0..8 * KEPT_EVERY {
            pair.check("crowd");
        }
        assert_eq!(pair.kept(), 1);
    }
}
