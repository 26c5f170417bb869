//! The rules of one section as a tree of levels, so that a Topic Name meets only the rules along its own path.
//!
//! ```text
//! house/+/state  ─┐        root ─house─ n1 ─+─ n2 ─state─ n3   read: line 4
//! house/#        ─┘                      └ `#` of n1           write: line 7
//! ```
//!
//! One open-addressed table holds the literal edges of all nodes, keyed by (node, level): a level costs one hash and
//! one comparison. `+` and patterns' levels hang on their node. A walk visits each node at most once, so it costs at
//! most `O(nodes)` whatever the name is, and `O(levels)` where no `+` stands beside literals. It recurses only at such
//! a fork, so at most `TOPIC_LEVELS_MAX` deep. Names come from peers, keys from the operator's file alone: nobody can
//! fill the table with collisions.

use super::file::{Access, Rule};
use crate::wire::topic::levels;

/// No rule: larger than every line.
pub(super) const NO_LINE: u32 = u32::MAX;

/// The lowest line of each kind among rules that match; `NO_LINE` where there is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Marks {
    pub read: u32,
    pub write: u32,
    pub deny: u32,
}

impl Marks {
    pub const NONE: Marks = Marks {
        read: NO_LINE,
        write: NO_LINE,
        deny: NO_LINE,
    };

    pub fn add(&mut self, access: Access, line: u32) {
        let lower = |mark: &mut u32| *mark = line.min(*mark);
        match access {
            Access::Read => lower(&mut self.read),
            Access::Write => lower(&mut self.write),
            Access::ReadWrite => {
                lower(&mut self.read);
                lower(&mut self.write);
            }
            Access::Deny => lower(&mut self.deny),
        }
    }

    #[inline]
    fn merge(&mut self, other: &Marks) {
        self.read = self.read.min(other.read);
        self.write = self.write.min(other.write);
        self.deny = self.deny.min(other.deny);
    }
}

/// The names that `%u` and `%c` stand for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Names<'a> {
    pub user: Option<&'a str>,
    pub client: &'a str,
}

/// A part of a pattern: what stands in the file, or a name.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Part {
    Text(Box<str>),
    User,
    Client,
}

/// A level of a pattern that holds `%u` or `%c`.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Template(Box<[Part]>);

impl Template {
    fn new(text: &str) -> Template {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find("%u").into_iter().chain(rest.find("%c")).min() {
            if at > 0 {
                parts.push(Part::Text(rest[..at].into()));
            }
            parts.push(match rest.as_bytes()[at + 1] {
                b'u' => Part::User,
                _ => Part::Client,
            });
            rest = &rest[at + 2..];
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.into()));
        }
        Template(parts.into())
    }

    /// Is this what the template makes of the names?
    fn makes(&self, level: &str, names: Names<'_>) -> bool {
        let mut rest = level;
        for part in &self.0 {
            let text = match part {
                Part::Text(text) => text,
                Part::User => match names.user {
                    Some(user) => user,
                    None => return false,
                },
                Part::Client => names.client,
            };
            match rest.strip_prefix(text) {
                Some(after) => rest = after,
                None => return false,
            }
        }
        rest.is_empty()
    }
}

#[derive(Default, Debug)]
struct Node {
    /// The node behind `+`; 0, the root, for none.
    plus: u32,
    /// Of filters that end here and of filters that end with `#` below here, indexes into `marks`; 0 for none.
    here: u32,
    below: u32,
    /// Levels with variables and the nodes behind them.
    templates: Vec<(Template, u32)>,
}

/// A literal edge; `to` is 0 in a free place.
#[derive(Clone, Default, Debug)]
struct Edge {
    from: u32,
    to: u32,
    hash: u32,
    level: Box<str>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Trie {
    nodes: Vec<Node>,
    /// A power of two, at most half full.
    edges: Vec<Edge>,
    edges_taken: usize,
    /// The first is `Marks::NONE`.
    marks: Vec<Marks>,
}

impl Trie {
    pub fn new<'a>(rules: impl Iterator<Item = &'a Rule>) -> Trie {
        let mut trie = Trie {
            nodes: vec![Node::default()],
            edges: vec![Edge::default(); 8],
            edges_taken: 0,
            marks: vec![Marks::NONE],
        };
        for rule in rules {
            trie.insert(rule);
        }
        trie
    }

    fn insert(&mut self, rule: &Rule) {
        let mut node = 0;
        for level in levels(&rule.filter) {
            let variable = rule.is_pattern && (level.contains("%u") || level.contains("%c"));
            node = match level {
                "#" => {
                    let below = self.nodes[node].below;
                    self.nodes[node].below = self.mark(below, rule);
                    return;
                }
                "+" => self.behind_plus(node),
                _ if variable => self.behind_template(node, level),
                _ => self.behind_literal(node, level),
            };
        }
        let here = self.nodes[node].here;
        self.nodes[node].here = self.mark(here, rule);
    }

    /// Adds a rule to marks, which may have to be made.
    fn mark(&mut self, index: u32, rule: &Rule) -> u32 {
        let index = match index {
            0 => {
                self.marks.push(Marks::NONE);
                self.marks.len() as u32 - 1
            }
            index => index,
        };
        self.marks[index as usize].add(rule.access, rule.line);
        index
    }

    fn push(&mut self) -> u32 {
        self.nodes.push(Node::default());
        self.nodes.len() as u32 - 1
    }

    fn behind_plus(&mut self, node: usize) -> usize {
        if self.nodes[node].plus == 0 {
            self.nodes[node].plus = self.push();
        }
        self.nodes[node].plus as usize
    }

    fn behind_template(&mut self, node: usize, level: &str) -> usize {
        let template = Template::new(level);
        let known = &self.nodes[node].templates;
        if let Some((_, to)) = known.iter().find(|(known, _)| *known == template) {
            return *to as usize;
        }
        let to = self.push();
        self.nodes[node].templates.push((template, to));
        to as usize
    }

    fn behind_literal(&mut self, node: usize, level: &str) -> usize {
        let (level, hash, _) = first_level(node as u32, level);
        if let Some(to) = self.child(node as u32, level, hash) {
            return to as usize;
        }
        let to = self.push();
        if 2 * (self.edges_taken + 1) > self.edges.len() {
            let larger = vec![Edge::default(); 2 * self.edges.len()];
            for edge in std::mem::replace(&mut self.edges, larger) {
                if edge.to != 0 {
                    self.place(edge);
                }
            }
        }
        self.edges_taken += 1;
        self.place(Edge {
            from: node as u32,
            to,
            hash,
            level: level.into(),
        });
        to as usize
    }

    fn place(&mut self, edge: Edge) {
        let mask = self.edges.len() - 1;
        let mut place = edge.hash as usize & mask;
        while self.edges[place].to != 0 {
            place = (place + 1) & mask;
        }
        self.edges[place] = edge;
    }

    #[inline]
    fn child(&self, node: u32, level: &str, hash: u32) -> Option<u32> {
        let mask = self.edges.len() - 1;
        let mut place = hash as usize & mask;
        loop {
            let edge = &self.edges[place];
            if edge.to == 0 {
                return None;
            }
            if edge.hash == hash && edge.from == node && *edge.level == *level {
                return Some(edge.to);
            }
            place = (place + 1) & mask;
        }
    }

    /// The rules that match this Topic Name.
    pub fn marks(&self, name: &str, names: Names<'_>) -> Marks {
        let mut found = Marks::NONE;
        self.walk(0, Some(name), names, &mut found);
        found
    }

    /// Follows `rest`, the levels after those that led to `node`; `None` after the last.
    fn walk(&self, mut node: u32, mut rest: Option<&str>, names: Names<'_>, found: &mut Marks) {
        loop {
            let here = &self.nodes[node as usize];
            let at_root = node == 0;
            // A leading wildcard does not reach names that begin with `$` [v5 MQTT-4.7.2-1].
            let wildcards = !(at_root && rest.is_some_and(|name| name.starts_with('$')));
            if here.below != 0 && wildcards {
                found.merge(&self.marks[here.below as usize]);
            }
            let Some(text) = rest else {
                return found.merge(&self.marks[here.here as usize]);
            };
            let (level, hash, after) = first_level(node, text);
            for (template, to) in &here.templates {
                if template.makes(level, names) {
                    self.walk(*to, after, names, found);
                }
            }
            let plus = if wildcards { here.plus } else { 0 };
            let literal = self.child(node, level, hash);
            node = match (literal, plus) {
                (Some(to), 0) => to,
                (None, 0) => return,
                (None, plus) => plus,
                (Some(to), plus) => {
                    self.walk(plus, after, names, found);
                    to
                }
            };
            rest = after;
        }
    }
}

/// The first level of a text, its hash together with the node's number, and what follows the level's `/`.
///
/// Levels are short: one loop over their bytes costs less than a search for the `/` and a hash of whole words.
#[inline]
fn first_level(node: u32, text: &str) -> (&str, u32, Option<&str>) {
    const MIX: u64 = 0x9E37_79B9_7F4A_7C15;
    let mut state = u64::from(node + 1).wrapping_mul(MIX);
    for (at, &byte) in text.as_bytes().iter().enumerate() {
        if byte == b'/' {
            return (&text[..at], (state >> 32) as u32, Some(&text[at + 1..]));
        }
        state = (state ^ u64::from(byte)).wrapping_mul(MIX);
    }
    (text, (state >> 32) as u32, None)
}

/// Does this pattern match this name once its variables are put in as text? Names with `/` make levels of their own, so
/// the tree of levels cannot answer for them. Allocates nothing; `O(bytes)`.
///
/// The names hold no `+` and `#`, so each wildcard is one of the pattern's own and fills its level.
pub(super) fn matches_as_text(pattern: &str, name: &str, names: Names<'_>) -> bool {
    let Some(mut wanted) = Substituted::new(pattern, names) else {
        return false;
    };
    let mut given = name.as_bytes();
    let mut at_start = true;
    // A leading wildcard does not reach names that begin with `$` [v5 MQTT-4.7.2-1].
    let mut wildcards = !name.starts_with('$');
    loop {
        if at_start && wildcards {
            if wanted.own() == Some(b"#") {
                return true;
            }
            if wanted.own().is_some_and(|own| own.starts_with(b"+")) {
                wanted.next();
                let level = memchr::memchr(b'/', given).unwrap_or(given.len());
                given = &given[level..];
            }
        }
        wildcards = true;
        match (wanted.next(), given.split_first()) {
            (None, None) => return true,
            (Some(want), Some((&got, after))) if want == got => {
                at_start = got == b'/';
                given = after;
            }
            // `a/#` matches `a` too.
            (Some(b'/'), None) => return wanted.own() == Some(b"#"),
            _ => return false,
        }
    }
}

/// The bytes of a pattern with its variables put in.
struct Substituted<'a> {
    names: Names<'a>,
    /// What is left of the name being put in.
    inner: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Substituted<'a> {
    /// `None`: a user name is wanted and there is none.
    fn new(pattern: &'a str, names: Names<'a>) -> Option<Self> {
        (names.user.is_some() || !pattern.contains("%u")).then_some(Substituted {
            names,
            inner: b"",
            rest: pattern.as_bytes(),
        })
    }

    /// What is left of the pattern's own text; `None` within a name.
    fn own(&self) -> Option<&'a [u8]> {
        self.inner.is_empty().then_some(self.rest)
    }
}

impl Iterator for Substituted<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        loop {
            if let Some((&byte, after)) = self.inner.split_first() {
                self.inner = after;
                return Some(byte);
            }
            match self.rest {
                [b'%', b'u', after @ ..] => {
                    self.inner = self.names.user.unwrap_or_default().as_bytes();
                    self.rest = after;
                }
                [b'%', b'c', after @ ..] => {
                    self.inner = self.names.client.as_bytes();
                    self.rest = after;
                }
                [byte, after @ ..] => {
                    self.rest = after;
                    return Some(*byte);
                }
                [] => return None,
            }
        }
    }
}
