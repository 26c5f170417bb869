//! Retained messages by Topic Name, and their replay to a new subscription.
//!
//! One node a distinct prefix of Topic Names. A node's children have *places*, counted from 0: the only child
//! has place 0; more are in a list of places, where a child keeps its place as long as it lives and a
//! freed place is taken by a later child. A replay walks places upwards, so it finds every topic that is there
//! throughout exactly once, whatever comes and goes meanwhile:
//!
//! ```text
//! `+/t` over a/t b/t c/t, after one step:   root ─ places [a, b, c]      the cursor: root, next place 1
//! b/t goes, d/t comes:                      root ─ places [a, d, c]      next: d/t (new: may come), then c/t
//! ```
//!
//! A cursor is a path of nodes with the next place in each. A node freed meanwhile is known by its birth
//! number and dropped from the path's end; its parent's next place is already past it.
//!
//! Cost: get, set and remove O(levels), each level hashed once. A replay visits each node that a prefix of the filter
//! matches once, and each free place beside them; a message costs O(levels) besides. A filter such
//! as `+/+/x` may visit many nodes and find little: [`RetainTree::step`] takes a bound.

use super::edges::{Children, Edges, NONE, Packed, ROOT};
use super::intern::{Interner, LevelId};
use super::slab::Slab;
use crate::wire::topic::{TopicFilter, TopicName, levels};
use smallvec::SmallVec;

/// The level of the root and of slots not in use.
const NO_LEVEL: LevelId = LevelId(u32::MAX);
/// Marks a free place of a list; the rest of the number is the next free one.
const FREE: u32 = 1 << 31;
/// The end of the free places of a list.
const NO_PLACE: u32 = FREE - 1;

struct Node {
    parent: u32,
    level: LevelId,
    /// Place among the parent's children.
    place: u32,
    /// `Many` carries the slot of the list of places.
    children: Packed,
    value: u32,
    /// Different for every node that was ever in this slot (but for one in 2^32).
    birth: u32,
}

impl Default for Node {
    fn default() -> Self {
        let (parent, value) = (NONE, NONE);
        Node {
            parent,
            level: NO_LEVEL,
            place: 0,
            children: Packed::NONE,
            value,
            birth: 0,
        }
    }
}

/// The children of a node that has, or had, more than one.
#[derive(Default)]
struct ChildList {
    places: Vec<u32>,
    free: u32,
    live: u32,
}

impl ChildList {
    fn insert(&mut self, child: u32) -> u32 {
        self.live += 1;
        if self.free == NO_PLACE {
            self.places.push(child);
            return self.places.len() as u32 - 1;
        }
        let place = self.free;
        self.free = std::mem::replace(&mut self.places[place as usize], child) & !FREE;
        place
    }

    fn remove(&mut self, place: u32) {
        self.live -= 1;
        self.places[place as usize] = self.free | FREE;
        self.free = place;
    }
}

/// See the module. `V` is the stored value; a handle of 16 bytes makes the figures of `docs/performance.md`.
pub struct RetainTree<V> {
    nodes: Slab<Node>,
    lists: Slab<ChildList>,
    values: Slab<Option<V>>,
    edges: Edges,
    interner: Interner,
    births: u32,
    /// Number of nodes freed so far. While it is the same, a cursor need not look for freed nodes.
    deaths: u64,
}

/// What [`RetainTree::step`] found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RetainStep<V> {
    /// The next retained message; its Topic Name was appended.
    Message(V),
    /// The allowed work is used up. Call again later.
    Pause,
    /// There is none left.
    End,
}

/// A replay under way: owns its filter and borrows nothing. Less than 200 bytes and the filter.
#[derive(Clone, Debug)]
pub struct RetainCursor {
    filter: Box<str>,
    /// Where each level of the filter ends, without a last `#`.
    ends: SmallVec<[u32; 6]>,
    /// The filter ends with `#`.
    hash: bool,
    /// Topics that begin with `$` come too.
    everything: bool,
    /// From the root to the node where the walk is; empty at the end.
    path: SmallVec<[Frame; 6]>,
    /// [`RetainTree::deaths`] when the path was last checked.
    deaths: u64,
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    node: u32,
    birth: u32,
    next: Next,
}

/// What comes next at a node.
#[derive(Clone, Copy, Debug)]
enum Next {
    /// The node's own message.
    Value,
    /// Its children from this place on.
    Place(u32),
}

impl RetainCursor {
    /// A replay of what `filter` matches, from its beginning.
    pub fn new(filter: TopicFilter<'_>) -> Self {
        let text = filter.as_str();
        let (mut ends, mut hash, mut end) = (SmallVec::new(), false, 0);
        for level in levels(text) {
            end += level.len() as u32;
            if level == "#" {
                hash = true;
            } else {
                ends.push(end);
            }
            end += 1;
        }
        let root = Frame {
            node: ROOT,
            birth: 0,
            next: Next::Value,
        };
        let path = SmallVec::from_slice(&[root]);
        RetainCursor {
            filter: text.into(),
            ends,
            hash,
            everything: false,
            path,
            deaths: 0,
        }
    }

    /// A walk through all retained messages, those of topics that begin with `$` among them.
    pub fn everything() -> Self {
        let all = TopicFilter::new("#").expect("it is a Topic Filter");
        RetainCursor {
            everything: true,
            ..Self::new(all)
        }
    }

    /// The last message has been handed out.
    pub fn is_at_end(&self) -> bool {
        self.path.is_empty()
    }

    /// The Topic Filter whose messages are replayed.
    pub fn filter(&self) -> &str {
        &self.filter
    }

    fn level(&self, depth: usize) -> &str {
        let start = if depth == 0 {
            0
        } else {
            self.ends[depth - 1] as usize + 1
        };
        &self.filter[start..self.ends[depth] as usize]
    }
}

impl<V> RetainTree<V> {
    /// A root without messages.
    pub fn new() -> Self {
        let mut nodes = Slab::new();
        assert_eq!(nodes.insert(Node::default()), ROOT);
        RetainTree {
            nodes,
            lists: Slab::new(),
            values: Slab::new(),
            edges: Edges::new(),
            interner: Interner::new(),
            births: 0,
            deaths: 0,
        }
    }

    /// Retained messages.
    pub fn len(&self) -> usize {
        self.values.live()
    }

    /// No message is retained.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The retained message of `topic`.
    pub fn get(&self, topic: &str) -> Option<&V> {
        let value = self.nodes[self.find(topic)?].value;
        (value != NONE).then(|| self.value(value))
    }

    /// Stores the retained message of `topic` and returns the one it replaces.
    pub fn set(&mut self, topic: TopicName<'_>, value: V) -> Option<V> {
        let mut index = ROOT;
        for level in levels(topic.as_str()) {
            index = match self.step_down(index, level) {
                Some(child) => child,
                None => self.grow(index, level),
            };
        }
        let slot = self.nodes[index].value;
        if slot != NONE {
            return self.values[slot].replace(value);
        }
        self.nodes[index].value = self.values.insert(Some(value));
        None
    }

    /// Removes the retained message of `topic`.
    pub fn remove(&mut self, topic: &str) -> Option<V> {
        let mut index = self.find(topic)?;
        let slot = std::mem::replace(&mut self.nodes[index].value, NONE);
        if slot == NONE {
            return None;
        }
        let value = self.values.remove(slot);
        self.values.trim(0);
        while index != ROOT
            && self.nodes[index].value == NONE
            && self.nodes[index].children == Packed::NONE
        {
            index = self.free(index);
        }
        self.nodes.trim(1);
        value
    }

    /// A replay of what `filter` matches, from its beginning.
    pub fn cursor(filter: TopicFilter<'_>) -> RetainCursor {
        RetainCursor::new(filter)
    }

    /// The next retained message of a replay, its Topic Name appended to `topic`; `None` at the end.
    ///
    /// Every topic that is there from the cursor's making to its end comes exactly once, with the value it has
    /// then; one that is set or removed meanwhile may come or not. Wildcards at the beginning
    /// do not bring topics that begin with `$` [MQTT-4.7.2-1].
    pub fn next(&self, cursor: &mut RetainCursor, topic: &mut String) -> Option<&V> {
        let mut work = usize::MAX;
        match self.step(cursor, topic, &mut work) {
            RetainStep::Message(value) => Some(value),
            RetainStep::Pause => unreachable!("memory holds fewer nodes"),
            RetainStep::End => None,
        }
    }

    /// [`RetainTree::next`] with a bound: `work` is lowered by each node and each free place looked at, and
    /// the walk pauses at 0.
    pub fn step(
        &self,
        cursor: &mut RetainCursor,
        topic: &mut String,
        work: &mut usize,
    ) -> RetainStep<&V> {
        self.drop_freed(cursor);
        while let Some(&Frame {
            node: index, next, ..
        }) = cursor.path.last()
        {
            if *work == 0 {
                return RetainStep::Pause;
            }
            *work -= 1;
            let depth = cursor.path.len() - 1;
            let node = &self.nodes[index];
            let place = match next {
                Next::Value => {
                    cursor.set_next(Next::Place(0));
                    // Deeper than the filter the walk goes only under `#`, which takes the level above too.
                    if depth >= cursor.ends.len() && node.value != NONE {
                        self.append_topic(cursor, topic);
                        return RetainStep::Message(self.value(node.value));
                    }
                    continue;
                }
                Next::Place(place) => place,
            };
            let child = if depth >= cursor.ends.len() {
                if cursor.hash {
                    let dollar = depth > 0 || cursor.everything;
                    self.child_from(index, place, dollar, work)
                } else {
                    None
                }
            } else {
                match cursor.level(depth) {
                    "+" => self.child_from(index, place, depth > 0, work),
                    // One child at most: the walk comes back with a place above 0.
                    plain if place == 0 => self.step_down(index, plain).map(|child| (child, 0)),
                    _ => None,
                }
            };
            match child {
                Some((child, place)) => {
                    cursor.set_next(Next::Place(place + 1));
                    let birth = self.nodes[child].birth;
                    cursor.path.push(Frame {
                        node: child,
                        birth,
                        next: Next::Value,
                    });
                }
                None => {
                    cursor.path.pop();
                }
            }
        }
        RetainStep::End
    }

    /// The first child of a node at `place` or above, and its place; one that begins with `$` only with `dollar`.
    fn child_from(
        &self,
        index: u32,
        mut place: u32,
        dollar: bool,
        work: &mut usize,
    ) -> Option<(u32, u32)> {
        loop {
            let child = match self.nodes[index].children.get() {
                Children::None => return None,
                Children::One(child) => (place == 0).then_some(child)?,
                Children::Many(list) => *self.lists[list].places.get(place as usize)?,
            };
            let hidden = || !dollar && self.interner.text(self.nodes[child].level).starts_with('$');
            if child & FREE == 0 && !hidden() {
                return Some((child, place));
            }
            place += 1;
            *work = work.saturating_sub(1);
        }
    }

    /// Shortens a path that ends in nodes freed since it was last checked.
    fn drop_freed(&self, cursor: &mut RetainCursor) {
        if cursor.deaths != self.deaths {
            cursor.deaths = self.deaths;
            let alive = |frame: &Frame| {
                let node = self.nodes.get(frame.node);
                frame.node == ROOT
                    || node.is_some_and(|n| n.level != NO_LEVEL && n.birth == frame.birth)
            };
            let live = cursor.path.iter().take_while(|frame| alive(frame)).count();
            cursor.path.truncate(live);
        }
    }

    /// Appends the Topic Name of the path's end.
    fn append_topic(&self, cursor: &RetainCursor, topic: &mut String) {
        for (depth, frame) in cursor.path[1..].iter().enumerate() {
            if depth > 0 {
                topic.push('/');
            }
            topic.push_str(self.interner.text(self.nodes[frame.node].level));
        }
    }

    fn value(&self, slot: u32) -> &V {
        self.values[slot].as_ref().expect("a node's value is there")
    }

    fn find(&self, topic: &str) -> Option<u32> {
        let mut index = ROOT;
        for level in levels(topic) {
            index = self.step_down(index, level)?;
        }
        Some(index)
    }

    #[inline]
    fn step_down(&self, index: u32, level: &str) -> Option<u32> {
        match self.nodes[index].children.get() {
            Children::None => None,
            Children::One(child) => {
                let level = self.interner.find(level)?;
                (self.nodes[child].level == level).then_some(child)
            }
            Children::Many(_) => {
                self.edges
                    .find(index, self.interner.find(level)?, key_of(&self.nodes))
            }
        }
    }

    /// Adds a child that is missing.
    fn grow(&mut self, parent: u32, level: &str) -> u32 {
        let level = self.interner.acquire(level);
        self.births = self.births.wrapping_add(1);
        let node = Node {
            parent,
            level,
            birth: self.births,
            ..Node::default()
        };
        let child = self.nodes.insert(node);
        match self.nodes[parent].children.get() {
            Children::None => self.nodes[parent].children = Packed::one(child),
            Children::One(sibling) => {
                let places = Vec::from([sibling, child]);
                let list = self.lists.insert(ChildList {
                    places,
                    free: NO_PLACE,
                    live: 2,
                });
                self.nodes[parent].children = Packed::many(list);
                self.nodes[child].place = 1;
                self.edges.insert(sibling, key_of(&self.nodes));
                self.edges.insert(child, key_of(&self.nodes));
            }
            Children::Many(list) => {
                self.nodes[child].place = self.lists[list].insert(child);
                self.edges.insert(child, key_of(&self.nodes));
            }
        }
        child
    }

    /// Frees a node without value and children; returns its parent.
    fn free(&mut self, index: u32) -> u32 {
        let Node {
            parent,
            level,
            place,
            ..
        } = self.nodes[index];
        match self.nodes[parent].children.get() {
            Children::None => unreachable!("a parent knows its child"),
            Children::One(_) => self.nodes[parent].children = Packed::NONE,
            Children::Many(list) => {
                self.edges.remove(index, key_of(&self.nodes));
                self.lists[list].remove(place);
                if self.lists[list].live == 0 {
                    self.lists.remove(list);
                    self.lists.trim(0);
                    self.nodes[parent].children = Packed::NONE;
                }
            }
        }
        self.interner.release(level);
        self.nodes.remove(index);
        self.deaths += 1;
        parent
    }

    /// Walks the whole tree and panics where its parts contradict each other. O(nodes × log nodes); for tests.
    pub fn check_invariants(&self) {
        use std::collections::BTreeMap;
        let mut references = BTreeMap::<LevelId, u32>::new();
        let mut children = BTreeMap::<u32, u32>::new();
        let (mut values, mut tabled) = (0, 0);
        for index in self.nodes.indices() {
            let node = &self.nodes[index];
            if node.value != NONE {
                assert!(self.values[node.value].is_some());
                values += 1;
            }
            if index == ROOT {
                assert_eq!(
                    (node.parent, node.level, node.value),
                    (NONE, NO_LEVEL, NONE)
                );
                continue;
            }
            assert!(
                node.value != NONE || node.children != Packed::NONE,
                "node {index} is of no use"
            );
            match self.nodes[node.parent].children.get() {
                Children::None => panic!("node {} has a child", node.parent),
                Children::One(child) => assert_eq!((child, node.place), (index, 0)),
                Children::Many(list) => {
                    assert_eq!(self.lists[list].places[node.place as usize], index);
                    let found = self
                        .edges
                        .find(node.parent, node.level, key_of(&self.nodes));
                    assert_eq!(found, Some(index));
                    tabled += 1;
                }
            }
            *references.entry(node.level).or_default() += 1;
            *children.entry(node.parent).or_default() += 1;
        }
        for (parent, count) in children {
            if let Children::Many(list) = self.nodes[parent].children.get() {
                let ChildList { places, free, live } = &self.lists[list];
                assert_eq!(*live, count);
                let (mut holes, mut place) = (0, *free);
                while place != NO_PLACE {
                    holes += 1;
                    place = places[place as usize] & !FREE;
                }
                assert_eq!(places.len(), count as usize + holes);
            }
        }
        assert_eq!(values, self.values.live());
        assert_eq!(tabled, self.edges.len());
        assert!(references.into_iter().eq(self.interner.references()));
    }
}

impl RetainCursor {
    fn set_next(&mut self, next: Next) {
        self.path.last_mut().expect("the walk is somewhere").next = next;
    }
}

impl<V> Default for RetainTree<V> {
    fn default() -> Self {
        Self::new()
    }
}

/// What [`Edges`] asks of a node.
#[inline]
fn key_of(nodes: &Slab<Node>) -> impl Fn(u32) -> (u32, LevelId) {
    |index| (nodes[index].parent, nodes[index].level)
}
