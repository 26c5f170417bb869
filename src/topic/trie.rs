//! Topic Filters → the subscribers of this shard, and the set of other shards with subscribers.
//!
//! One node a distinct prefix of filters. `sport/+/score` and `sport/#`, both of subscriber 7, and the
//! filter `sport` of shard 2:
//!
//! ```text
//! root ─sport─ node 1 ─ plus ─ node 2 ─score─ node 3 {7}
//!              {shard 2} └ hash ─ node 4 {7}
//! ```
//!
//! A match walks down with the Topic Name's levels. At each node it takes the `#` child's target, which
//! also makes `sport/#` match `sport` [v3.1.1 4.7.1.2, v5 4.7.1.2]; at the last level the node's own; else it goes on
//! to the child of that level and to the `+` child. At the root a name that begins with `$` sees neither
//! [MQTT-4.7.2-1].
//!
//! Cost: each level is hashed at most once, and only if some filter reached asks for it. A node has one path from the
//! root and is visited at most once a match, at the depth where it lies. So a match visits at most 2^levels nodes *and*
//! at most the nodes there are: `+/+/+/…` against a deep topic is one node a level, and only 2^k filters that are all
//! combinations of `a` and `+` make a match visit 2^k nodes. Filters that differ in a level above cost nothing. The way
//! down needs no stack but for `+` beside a plain level: at most one entry a level.

use super::edges::{Children, Edges, NONE, Packed, ROOT};
use super::intern::{Interner, LevelId};
use super::slab::Slab;
use crate::ids::{NodeId, ShardId};
use crate::limits::TOPIC_LEVELS_MAX;
use crate::sorted::Sorted;
use crate::wire::topic::{TopicFilter, TopicName, levels};
use memchr::memchr;
use smallvec::SmallVec;

/// What [`FilterTrie::subscribe`] did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Subscribed<O> {
    /// The filter's node, for [`FilterTrie::unsubscribe_node`] and [`FilterTrie::filter_text`].
    pub node: NodeId,
    /// The options this subscriber had for this filter until now.
    pub replaced: Option<O>,
    /// No subscriber of this shard had this filter.
    pub first: bool,
}

/// What [`FilterTrie::unsubscribe`] did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unsubscribed {
    /// The filter's node. Gone already if `last` and no other shard has the filter.
    pub node: NodeId,
    /// No subscriber of this shard has this filter any more.
    pub last: bool,
}

/// The answer of [`FilterTrie::matches`], with the room its walk needs: reused, so that a match of a shard
/// that has served a while allocates nothing.
pub struct Matches<S, O> {
    /// Subscribers of this shard: one entry for each matching filter, so one may come several times.
    pub local: Vec<(S, O)>,
    /// Other shards with a matching filter, one bit each ([`ShardId::bit`]).
    pub shards: u64,
    levels: Vec<Level>,
    branches: Vec<Branch>,
    /// Nodes visited by the last match: what it cost.
    pub visited: usize,
}

/// One level of the Topic Name of a match.
struct Level {
    start: u32,
    end: u32,
    id: Asked,
}

/// What the interner said of a level.
#[derive(Clone, Copy)]
enum Asked {
    NotYet,
    Absent,
    Known(LevelId),
}

/// A `+` child still to be visited.
struct Branch {
    node: u32,
    depth: u32,
}

impl<S, O> Matches<S, O> {
    /// Room for the deepest Topic Name, so that none allocates later but by the number of its subscribers.
    pub fn new() -> Self {
        Matches {
            local: Vec::new(),
            shards: 0,
            levels: Vec::with_capacity(TOPIC_LEVELS_MAX),
            branches: Vec::with_capacity(TOPIC_LEVELS_MAX),
            visited: 0,
        }
    }

    /// Nothing matches the topic.
    pub fn is_empty(&self) -> bool {
        self.local.is_empty() && self.shards == 0
    }
}

/// An empty answer without memory, which takes the place of the real one while that is in use.
impl<S, O> Default for Matches<S, O> {
    fn default() -> Self {
        Matches {
            local: Vec::new(),
            shards: 0,
            levels: Vec::new(),
            branches: Vec::new(),
            visited: 0,
        }
    }
}

/// The edge from a node's parent.
const PLUS: LevelId = LevelId(u32::MAX);
const HASH: LevelId = LevelId(u32::MAX - 1);
/// The level of the root and of slots not in use.
const NO_LEVEL: LevelId = LevelId(u32::MAX - 2);

struct Node {
    parent: u32,
    level: LevelId,
    /// Children by plain levels; `Many` carries their count.
    children: Packed,
    plus: u32,
    hash: u32,
    /// The subscribers of this filter; none for a node that is only on the way to others.
    target: u32,
}

impl Node {
    fn new(parent: u32, level: LevelId) -> Self {
        Node {
            parent,
            level,
            children: Packed::NONE,
            plus: NONE,
            hash: NONE,
            target: NONE,
        }
    }

    fn is_unused(&self) -> bool {
        self.target == NONE
            && self.children == Packed::NONE
            && self.plus == NONE
            && self.hash == NONE
    }
}

impl Default for Node {
    fn default() -> Self {
        Node::new(NONE, NO_LEVEL)
    }
}

/// The subscribers of one filter. Not empty while it is in use.
struct Target<S, O> {
    subscribers: Sorted<S, O>,
    shards: u64,
}

impl<S, O> Default for Target<S, O> {
    fn default() -> Self {
        Target {
            subscribers: Sorted::None,
            shards: 0,
        }
    }
}

/// See the module. `S` names a subscriber of this shard, `O` are its options; both small.
///
/// A filter of `$share/…` is a filter like any other here: the caller removes the share's name before.
pub struct FilterTrie<S, O> {
    nodes: Slab<Node>,
    targets: Slab<Target<S, O>>,
    edges: Edges,
    interner: Interner,
    subscriptions: usize,
    generation: u64,
}

impl<S: Copy + Eq + Ord, O: Copy> FilterTrie<S, O> {
    /// A root without filters.
    pub fn new() -> Self {
        let mut nodes = Slab::new();
        assert_eq!(nodes.insert(Node::default()), ROOT);
        FilterTrie {
            nodes,
            targets: Slab::new(),
            edges: Edges::new(),
            interner: Interner::new(),
            subscriptions: 0,
            generation: 0,
        }
    }

    /// Adds a subscription, or changes the options of the one there is. O(levels).
    pub fn subscribe(
        &mut self,
        filter: TopicFilter<'_>,
        subscriber: S,
        options: O,
    ) -> Subscribed<O> {
        let node = self.make(filter.as_str());
        let subscribers = &mut self.target_mut(node).subscribers;
        let first = subscribers.is_empty();
        let replaced = subscribers.insert(subscriber, options);
        if replaced.is_none() {
            self.subscriptions += 1;
        }
        self.generation += 1;
        Subscribed {
            node: NodeId(node),
            replaced,
            first,
        }
    }

    /// Removes a subscription. Returns `None` if there was none. O(levels).
    pub fn unsubscribe(&mut self, filter: &str, subscriber: S) -> Option<Unsubscribed> {
        let node = self.find(filter)?;
        self.unsubscribe_node(NodeId(node), subscriber)
    }

    /// The same by the node that [`FilterTrie::subscribe`] returned, for the end of a Session. The node is valid as
    /// long as the subscription. To get the filter's text, call [`FilterTrie::filter_text`] first.
    pub fn unsubscribe_node(&mut self, node: NodeId, subscriber: S) -> Option<Unsubscribed> {
        let target = self.nodes.get(node.0)?.target;
        if target == NONE || !self.targets[target].subscribers.remove(subscriber) {
            return None;
        }
        let last = self.targets[target].subscribers.is_empty();
        self.subscriptions -= 1;
        self.generation += 1;
        self.prune(node.0);
        Some(Unsubscribed { node, last })
    }

    /// The options of one subscription.
    pub fn options(&self, filter: &str, subscriber: S) -> Option<O> {
        let target = self.nodes[self.find(filter)?].target;
        if target == NONE {
            return None;
        }
        self.targets[target].subscribers.get(subscriber)
    }

    /// The options of one subscription by its node.
    pub fn options_at(&self, node: NodeId, subscriber: S) -> Option<O> {
        let target = self.nodes.get(node.0)?.target;
        if target == NONE {
            return None;
        }
        self.targets[target].subscribers.get(subscriber)
    }

    /// Appends the filter of a node in use, put together from its levels. Nothing, where the node is not in use.
    pub fn filter_text(&self, node: NodeId, out: &mut String) {
        let mut path = SmallVec::<[LevelId; 16]>::new();
        let mut index = node.0;
        while index != ROOT {
            let node = self.nodes.get(index);
            let Some(node) = node.filter(|node| node.level != NO_LEVEL) else {
                return;
            };
            path.push(node.level);
            index = node.parent;
        }
        for (depth, &level) in path.iter().rev().enumerate() {
            if depth > 0 {
                out.push('/');
            }
            out.push_str(match level {
                PLUS => "+",
                HASH => "#",
                plain => self.interner.text(plain),
            });
        }
    }

    /// Notes that `shard` has a subscriber of this filter. A repetition has no effect.
    pub fn add_shard(&mut self, filter: TopicFilter<'_>, shard: ShardId) {
        let node = self.make(filter.as_str());
        let target = self.target_mut(node);
        if target.shards & shard.bit() == 0 {
            target.shards |= shard.bit();
            self.generation += 1;
        }
    }

    /// Forgets that `shard` has a subscriber of this filter, if it was known.
    pub fn remove_shard(&mut self, filter: &str, shard: ShardId) {
        let Some(node) = self.find(filter) else {
            return;
        };
        let target = self.nodes[node].target;
        if target != NONE && self.targets[target].shards & shard.bit() != 0 {
            self.targets[target].shards &= !shard.bit();
            self.generation += 1;
            self.prune(node);
        }
    }

    /// Finds the subscribers of `topic`, in an order that depends only on the filters. See the module for the cost.
    pub fn matches(&self, topic: TopicName<'_>, out: &mut Matches<S, O>) {
        out.local.clear();
        out.shards = 0;
        out.visited = 0;
        if self.targets.live() == 0 {
            return;
        }
        out.levels.clear();
        out.branches.clear();
        let mut visited = 0;
        let text = topic.as_str();
        // Where the first level not yet in `out.levels` begins; above the length at the end.
        let mut rest = 0;
        let mut at = Branch {
            node: ROOT,
            depth: 0,
        };
        loop {
            visited += 1;
            let node = &self.nodes[at.node];
            // A Topic Filter that starts with a wildcard does not match a name that starts with `$`. [MQTT-4.7.2-1]
            let wild = at.depth > 0 || !topic.starts_with_dollar();
            if wild && node.hash != NONE {
                self.take(self.nodes[node.hash].target, out);
            }
            let depth = at.depth as usize;
            at.depth += 1;
            let mut next = None;
            if depth == out.levels.len() && rest > text.len() {
                self.take(node.target, out);
            } else {
                if depth == out.levels.len() {
                    let end =
                        memchr(b'/', &text.as_bytes()[rest..]).map_or(text.len(), |n| rest + n);
                    out.levels.push(Level {
                        start: rest as u32,
                        end: end as u32,
                        id: Asked::NotYet,
                    });
                    rest = end + 1;
                }
                next = self.child(at.node, node, text, &mut out.levels[depth]);
                if wild && node.plus != NONE {
                    let plus = Branch {
                        node: node.plus,
                        depth: at.depth,
                    };
                    match next {
                        Some(_) => out.branches.push(plus),
                        None => next = Some(plus.node),
                    }
                }
            }
            at = match next {
                Some(node) => Branch { node, ..at },
                None => match out.branches.pop() {
                    Some(branch) => branch,
                    None => {
                        out.visited = visited;
                        return;
                    }
                },
            };
        }
    }

    /// Changes with every change of what [`FilterTrie::matches`] may answer. A cached answer is valid while it is the
    /// same.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Cached answers are not valid any more, for a reason of the cache's owner.
    pub fn renew(&mut self) {
        self.generation += 1;
    }

    /// Nodes but the root: levels of the filters of this shard and its peers.
    pub fn nodes(&self) -> usize {
        self.nodes.live() - 1
    }

    /// Subscriptions of this shard: pairs of filter and subscriber.
    pub fn subscriptions(&self) -> usize {
        self.subscriptions
    }

    /// Adds the target of a node to an answer.
    #[inline]
    fn take(&self, target: u32, out: &mut Matches<S, O>) {
        if target != NONE {
            let target = &self.targets[target];
            target.subscribers.append_to(&mut out.local);
            out.shards |= target.shards;
        }
    }

    /// The child of a node by a level of a Topic Name; asks the interner if that spares more than it costs.
    #[inline]
    fn child(&self, index: u32, node: &Node, topic: &str, level: &mut Level) -> Option<u32> {
        let children = node.children.get();
        if children == Children::None {
            return None;
        }
        let id = match level.id {
            Asked::Known(id) => id,
            Asked::Absent => return None,
            Asked::NotYet => {
                let text = &topic[level.start as usize..level.end as usize];
                if let Children::One(child) = children
                    && let Some(equal) = self.interner.is_short(self.nodes[child].level, text)
                {
                    if !equal {
                        return None;
                    }
                    level.id = Asked::Known(self.nodes[child].level);
                    return Some(child);
                }
                let Some(id) = self.interner.find(text) else {
                    level.id = Asked::Absent;
                    return None;
                };
                level.id = Asked::Known(id);
                id
            }
        };
        self.plain_child(index, node, id)
    }

    #[inline]
    fn plain_child(&self, index: u32, node: &Node, level: LevelId) -> Option<u32> {
        match node.children.get() {
            Children::None => None,
            Children::One(child) => (self.nodes[child].level == level).then_some(child),
            Children::Many(_) => self.edges.find(index, level, key_of(&self.nodes)),
        }
    }

    /// There is a subscriber of this filter, or of one that begins with its levels, here or on another shard.
    pub fn has_node(&self, filter: &str) -> bool {
        self.find(filter).is_some()
    }

    /// The node of a filter's text, if there is one.
    fn find(&self, filter: &str) -> Option<u32> {
        let mut index = ROOT;
        for level in levels(filter) {
            index = self.step(index, level)?;
        }
        Some(index)
    }

    /// The child of a node by a level of a filter.
    fn step(&self, index: u32, level: &str) -> Option<u32> {
        let node = &self.nodes[index];
        match level {
            "+" => Some(node.plus).filter(|&child| child != NONE),
            "#" => Some(node.hash).filter(|&child| child != NONE),
            plain => self.plain_child(index, node, self.interner.find(plain)?),
        }
    }

    /// The node of a filter, made if it is missing. The caller gives it a target.
    fn make(&mut self, filter: &str) -> u32 {
        let mut index = ROOT;
        for level in levels(filter) {
            index = match self.step(index, level) {
                Some(child) => child,
                None => self.grow(index, level),
            };
        }
        index
    }

    /// Adds a child that is missing.
    fn grow(&mut self, parent: u32, level: &str) -> u32 {
        match level {
            "+" => {
                let child = self.nodes.insert(Node::new(parent, PLUS));
                self.nodes[parent].plus = child;
                child
            }
            "#" => {
                let child = self.nodes.insert(Node::new(parent, HASH));
                self.nodes[parent].hash = child;
                child
            }
            plain => {
                let level = self.interner.acquire(plain);
                let child = self.nodes.insert(Node::new(parent, level));
                self.nodes[parent].children = match self.nodes[parent].children.get() {
                    Children::None => Packed::one(child),
                    Children::One(sibling) => {
                        self.edges.insert(sibling, key_of(&self.nodes));
                        self.edges.insert(child, key_of(&self.nodes));
                        Packed::many(2)
                    }
                    Children::Many(count) => {
                        self.edges.insert(child, key_of(&self.nodes));
                        Packed::many(count + 1)
                    }
                };
                child
            }
        }
    }

    /// The target of a node, made if it is missing. The caller fills it.
    fn target_mut(&mut self, node: u32) -> &mut Target<S, O> {
        let mut target = self.nodes[node].target;
        if target == NONE {
            target = self.targets.insert(Target::default());
            self.nodes[node].target = target;
        }
        &mut self.targets[target]
    }

    /// Frees the target of a node if it is empty, then every node upwards that is of no use.
    fn prune(&mut self, node: u32) {
        let target = self.nodes[node].target;
        let Target {
            subscribers,
            shards,
        } = &self.targets[target];
        if !subscribers.is_empty() || *shards != 0 {
            return;
        }
        self.targets.remove(target);
        self.targets.trim(0);
        self.nodes[node].target = NONE;
        let mut index = node;
        while index != ROOT && self.nodes[index].is_unused() {
            let Node { parent, level, .. } = self.nodes[index];
            match level {
                PLUS => self.nodes[parent].plus = NONE,
                HASH => self.nodes[parent].hash = NONE,
                plain => {
                    self.nodes[parent].children = match self.nodes[parent].children.get() {
                        Children::None => unreachable!("a parent knows its child"),
                        Children::One(_) => Packed::NONE,
                        Children::Many(count) => {
                            self.edges.remove(index, key_of(&self.nodes));
                            if count > 1 {
                                Packed::many(count - 1)
                            } else {
                                Packed::NONE
                            }
                        }
                    };
                    self.interner.release(plain);
                }
            }
            self.nodes.remove(index);
            index = parent;
        }
        self.nodes.trim(1);
    }

    /// Walks everything and panics where it does not fit together. O(nodes × log nodes); for tests.
    pub fn check_invariants(&self) {
        use std::collections::BTreeMap;
        let mut references = BTreeMap::<LevelId, u32>::new();
        let mut children = BTreeMap::<u32, u32>::new();
        let (mut targets, mut subscriptions, mut tabled) = (0, 0, 0);
        for index in self.nodes.indices() {
            let node = &self.nodes[index];
            if node.target != NONE {
                let target = &self.targets[node.target];
                assert!(!target.subscribers.is_empty() || target.shards != 0);
                target.subscribers.check_invariants();
                subscriptions += target.subscribers.len();
                targets += 1;
            }
            if index == ROOT {
                assert_eq!(
                    (node.parent, node.level, node.target),
                    (NONE, NO_LEVEL, NONE)
                );
                continue;
            }
            assert!(!node.is_unused(), "node {index} leads nowhere");
            let parent = &self.nodes[node.parent];
            match node.level {
                NO_LEVEL => panic!("node {index} is in use"),
                PLUS => assert_eq!(parent.plus, index),
                HASH => {
                    assert_eq!(parent.hash, index);
                    assert!(node.plus == NONE && node.hash == NONE);
                    assert_eq!(node.children, Packed::NONE);
                }
                plain => {
                    assert_eq!(self.plain_child(node.parent, parent, plain), Some(index));
                    *references.entry(plain).or_default() += 1;
                    *children.entry(node.parent).or_default() += 1;
                    tabled += usize::from(matches!(parent.children.get(), Children::Many(_)));
                }
            }
        }
        for (parent, count) in children {
            match self.nodes[parent].children.get() {
                Children::None => panic!("node {parent} has children"),
                Children::One(_) => assert_eq!(count, 1),
                Children::Many(known) => assert_eq!(count, known),
            }
        }
        assert_eq!(targets, self.targets.live());
        assert_eq!(subscriptions, self.subscriptions);
        assert_eq!(tabled, self.edges.len());
        assert!(references.into_iter().eq(self.interner.references()));
    }
}

impl<S: Copy + Eq + Ord, O: Copy> Default for FilterTrie<S, O> {
    fn default() -> Self {
        Self::new()
    }
}

/// What [`Edges`] asks of a node.
#[inline]
fn key_of(nodes: &Slab<Node>) -> impl Fn(u32) -> (u32, LevelId) {
    |index| (nodes[index].parent, nodes[index].level)
}
