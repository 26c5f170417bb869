//! Lists that are made while they are sent: a page of a shard for each piece.

use super::answer::{Pieces, Step};
use super::house::House;
use super::rights::Rights;
use crate::broker::{Found, RetainedReport, Survey};
use crate::ids::ShardId;
use crate::io::helpers::answers::{self, Times, text_line};
use crate::limits;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A list that grows: `{…"NAME":[ … ],"next":…}`.
struct List {
    /// Up to the bracket.
    head: String,
    begun: bool,
}

impl List {
    fn new(head: impl Into<String>) -> List {
        List {
            head: head.into(),
            begun: false,
        }
    }

    fn put(&mut self, line: &Value, out: &mut Vec<u8>) {
        self.put_text(&text_line(&line.to_string()), out);
    }

    /// A line that is JSON already.
    fn put_text(&mut self, line: &str, out: &mut Vec<u8>) {
        self.begin(out);
        out.extend_from_slice(line.as_bytes());
    }

    fn begin(&mut self, out: &mut Vec<u8>) {
        match std::mem::replace(&mut self.begun, true) {
            true => out.push(b','),
            false => out.extend_from_slice(self.head.as_bytes()),
        }
    }

    /// `next`: where the next request goes on; nothing: this was all.
    fn end(&mut self, next: Option<&str>, out: &mut Vec<u8>) {
        if !self.begun {
            self.begin(out);
        }
        let next = text_line(&json!(next).to_string());
        out.extend_from_slice(format!("],\"next\":{next}}}").as_bytes());
    }
}

/// Sessions in the order of shards and slots. The cursor is `SHARD.SLOT`.
pub struct Clients {
    shard: usize,
    survey: Option<Survey>,
    left: usize,
    list: List,
}

impl Clients {
    /// From a cursor on. `None`: it is none.
    pub fn new(limit: usize, after: Option<&str>) -> Option<Clients> {
        let (shard, slot) = match after {
            None => (0, 0),
            Some(cursor) => {
                let (shard, slot) = cursor.split_once('.')?;
                (shard.parse().ok()?, slot.parse().ok()?)
            }
        };
        Some(Clients {
            shard,
            survey: Some(Survey::sessions_from(slot)),
            left: limit,
            list: List::new("{\"clients\":["),
        })
    }
}

impl Pieces for Clients {
    fn step(&mut self, house: &House, out: &mut Vec<u8>) -> Step {
        let shards = house.known.shards.count();
        if self.shard >= shards {
            self.list.end(None, out);
            return Step::Done;
        }
        let survey = self.survey.take().unwrap_or_else(Survey::sessions);
        let survey = survey.in_pages_of(self.left);
        let Some(report) = house.known.ask(ShardId(self.shard as u8), survey) else {
            return Step::Busy;
        };
        let times = Times::of(&house.known, report.now);
        if let Found::Sessions(page) = &report.found {
            for session in page {
                self.list
                    .put(&answers::session(session, report.shard, &times), out);
            }
            self.left = self.left.saturating_sub(page.len());
        }
        self.survey = report.next;
        let slot = self.survey.as_ref().and_then(Survey::slot);
        if slot.is_none() {
            self.shard += 1;
        }
        if self.left > 0 || self.shard >= shards {
            return Step::More;
        }
        let next = format!("{}.{}", self.shard, slot.unwrap_or(0));
        self.list.end(Some(&next), out);
        Step::Done
    }
}

/// What is kept of a walk over retained messages: the first by name behind a cursor. The walk goes in the order of the
/// tree, which means nothing to a person.
///
/// Names and lines are kept as they are sent, never the messages themselves: those would stay in memory for as long as
/// the reader takes, though they be deleted in the broker.
struct First {
    after: Option<Box<str>>,
    limit: usize,
    kept: BTreeMap<Box<str>, Entry>,
    /// Of names and lines.
    bytes: usize,
    /// The first name for which there was no room: nothing from there on is kept.
    ceiling: Option<Box<str>>,
}

#[derive(Default)]
struct Entry {
    /// JSON of what is retained here itself.
    line: Option<Box<str>>,
    /// How many are below.
    below: u64,
}

impl First {
    fn new(limit: usize, after: Option<&str>) -> First {
        First {
            after: after.map(Into::into),
            limit,
            kept: BTreeMap::new(),
            bytes: 0,
            ceiling: None,
        }
    }

    /// Is this name before the cursor, or behind all that is kept?
    fn is_beyond(&self, name: &str) -> bool {
        let before = self.after.as_deref().is_some_and(|after| name <= after);
        let behind = self.ceiling.as_deref().is_some_and(|first| name >= first);
        before || behind
    }

    /// Something is retained below this name.
    fn count_below(&mut self, name: &str) {
        self.change(name, |entry| entry.below += 1);
    }

    /// This is retained at this name. The line is made only where it is kept.
    fn put(&mut self, name: &str, line: impl FnOnce() -> Value) {
        let mut bytes = 0;
        self.change(name, |entry| {
            let line = text_line(&line().to_string());
            bytes = line.len();
            entry.line = Some(line.into());
        });
        self.bytes += bytes;
        self.trim();
    }

    fn change(&mut self, name: &str, change: impl FnOnce(&mut Entry)) {
        if self.is_beyond(name) {
            return;
        }
        if !self.kept.contains_key(name) {
            self.bytes += name.len();
            self.kept.insert(name.into(), Entry::default());
            self.trim();
        }
        if let Some(entry) = self.kept.get_mut(name) {
            change(entry);
        }
    }

    /// Throws away what is over the bounds, from behind.
    fn trim(&mut self) {
        // One entry always has room.
        while self.kept.len() > self.limit
            || self.bytes > limits::HTTP_LIST_BYTES_MAX && self.kept.len() > 1
        {
            let Some((last, entry)) = self.kept.pop_last() else {
                break;
            };
            self.bytes -= size(&last, &entry);
            self.ceiling = Some(last);
        }
    }

    fn take(&mut self) -> Option<(Box<str>, Entry)> {
        let (name, entry) = self.kept.pop_first()?;
        self.bytes -= size(&name, &entry);
        Some((name, entry))
    }

    /// There are more behind those that are kept.
    fn has_more(&self) -> bool {
        self.ceiling.is_some()
    }
}

fn size(name: &str, entry: &Entry) -> usize {
    name.len() + entry.line.as_ref().map_or(0, |line| line.len())
}

/// A walk over retained messages.
struct Walk {
    survey: Option<Survey>,
    rights: Rights,
}

impl Walk {
    /// One page. `None`: the shard is busy.
    fn step(&mut self, house: &House, mut each: impl FnMut(&RetainedReport, &Times)) -> Option<()> {
        let survey = self.survey.take()?;
        // All shards have the same.
        let report = house.known.ask(ShardId(0), survey)?;
        let times = Times::of(&house.known, report.now);
        if let Found::Retained(page) = &report.found {
            for found in page {
                if self.rights.may_read(&found.topic) {
                    each(found, &times);
                }
            }
        }
        self.survey = report.next;
        Some(())
    }

    fn is_over(&self) -> bool {
        self.survey.is_none()
    }
}

/// Retained messages that a filter matches, by their names.
pub struct Retained {
    walk: Walk,
    first: First,
    last: Option<Box<str>>,
    list: List,
}

impl Retained {
    /// Of a survey.
    pub fn new(survey: Survey, rights: Rights, limit: usize, after: Option<&str>) -> Retained {
        Retained {
            walk: Walk {
                survey: Some(survey),
                rights,
            },
            first: First::new(limit, after),
            last: None,
            list: List::new("{\"retained\":["),
        }
    }
}

impl Pieces for Retained {
    fn held_bytes(&self) -> usize {
        self.first.bytes
    }

    fn step(&mut self, house: &House, out: &mut Vec<u8>) -> Step {
        if !self.walk.is_over() {
            let first = &mut self.first;
            let walked = self.walk.step(house, |found, times| {
                let most = limits::HTTP_LIST_VALUE_BYTES_MAX;
                first.put(&found.topic, || answers::retained(found, times, most));
            });
            return walked.map_or(Step::Busy, |()| Step::More);
        }
        while out.len() < limits::HTTP_PIECE_BYTES {
            match self.first.take() {
                Some((topic, entry)) => {
                    if let Some(line) = entry.line {
                        self.list.put_text(&line, out);
                    }
                    self.last = Some(topic);
                }
                None => {
                    let more = self.first.has_more();
                    self.list.end(self.last.as_deref().filter(|_| more), out);
                    return Step::Done;
                }
            }
        }
        Step::More
    }
}

/// `{"topics":{TOPIC:VALUE, …}}` of what is retained.
pub struct SysTree {
    walk: Walk,
    begun: bool,
}

impl SysTree {
    /// Of a survey with values.
    pub fn new(survey: Survey, rights: Rights) -> SysTree {
        SysTree {
            walk: Walk {
                survey: Some(survey),
                rights,
            },
            begun: false,
        }
    }
}

impl Pieces for SysTree {
    fn step(&mut self, house: &House, out: &mut Vec<u8>) -> Step {
        let begun = &mut self.begun;
        let walked = self.walk.step(house, |found, _| {
            let value = found.value.as_ref().map(|message| message.payload());
            let value = String::from_utf8_lossy(value.unwrap_or_default());
            let before = match std::mem::replace(begun, true) {
                true => ",",
                false => "{\"topics\":{",
            };
            let line = format!("{before}{}:{}", json!(found.topic), json!(value));
            out.extend_from_slice(text_line(&line).as_bytes());
        });
        match (walked, self.walk.is_over()) {
            (None, _) => Step::Busy,
            (Some(()), false) => Step::More,
            (Some(()), true) => {
                if !self.begun {
                    out.extend_from_slice(b"{\"topics\":{");
                }
                out.extend_from_slice(b"}}");
                Step::Done
            }
        }
    }
}

/// One level of the tree of retained messages.
pub struct Topics {
    walk: Walk,
    /// `None`: the roots.
    under: Option<Box<str>>,
    first: First,
    last: Option<Box<str>>,
    list: List,
}

impl Topics {
    /// Below a topic. `None`: it is none.
    pub fn new(
        under: Option<&str>,
        rights: Rights,
        limit: usize,
        after: Option<&str>,
    ) -> Option<Topics> {
        let survey = match under {
            // Those that begin with `$` are roots too.
            None => Survey::retained_with_values(),
            Some(topic) => {
                if topic.contains(['+', '#']) {
                    return None;
                }
                Survey::retained_of(&format!("{topic}/#"), true).ok()?
            }
        };
        Some(Topics {
            walk: Walk {
                survey: Some(survey),
                rights,
            },
            under: under.map(Into::into),
            first: First::new(limit, after),
            last: None,
            list: List::new(text_line(&format!(
                "{{\"under\":{},\"levels\":[",
                json!(under)
            ))),
        })
    }

    /// The full topic of a level.
    fn topic(&self, level: &str) -> String {
        match &self.under {
            Some(under) => format!("{under}/{level}"),
            None => level.to_owned(),
        }
    }
}

impl Pieces for Topics {
    fn held_bytes(&self) -> usize {
        self.first.bytes
    }

    fn step(&mut self, house: &House, out: &mut Vec<u8>) -> Step {
        if !self.walk.is_over() {
            let (first, under) = (&mut self.first, self.under.as_deref());
            let walked = self.walk.step(house, |found, times| {
                let rest = match under {
                    None => Some(&*found.topic),
                    // What is retained at the topic itself was shown one level higher.
                    Some(under) => found
                        .topic
                        .strip_prefix(under)
                        .and_then(|rest| rest.strip_prefix('/')),
                };
                let Some(rest) = rest else {
                    return;
                };
                match rest.split_once('/') {
                    Some((level, _)) => first.count_below(level),
                    None => first.put(rest, || {
                        let most = limits::HTTP_LEVEL_VALUE_BYTES_MAX;
                        let mut line = answers::retained(found, times, most);
                        if let Some(fields) = line.as_object_mut() {
                            fields.remove("topic");
                        }
                        line
                    }),
                }
            });
            return walked.map_or(Step::Busy, |()| Step::More);
        }
        while out.len() < limits::HTTP_PIECE_BYTES {
            match self.first.take() {
                Some((name, entry)) => {
                    let head = json!({ "level": name, "topic": self.topic(&name) });
                    let head = text_line(&head.to_string());
                    let head = head.strip_suffix('}').unwrap_or(&head);
                    let retained = entry.line.as_deref().unwrap_or("null");
                    let below = entry.below;
                    self.list.put_text(
                        &format!("{head},\"retained\":{retained},\"below\":{below}}}"),
                        out,
                    );
                    self.last = Some(name);
                }
                None => {
                    let more = self.first.has_more();
                    self.list.end(self.last.as_deref().filter(|_| more), out);
                    return Step::Done;
                }
            }
        }
        Step::More
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(names: &[&str], limit: usize, after: Option<&str>) -> (Vec<String>, bool) {
        let mut first = First::new(limit, after);
        for name in names {
            first.count_below(name);
        }
        let mut found = Vec::new();
        while let Some((name, entry)) = first.take() {
            found.push(format!("{name}{}", entry.below));
        }
        (found, first.has_more())
    }

    #[test]
    fn the_first_names_behind_a_cursor_are_kept_with_all_that_is_counted_of_them() {
        let names = ["d", "b", "a", "c", "b", "a", "e", "d"];
        let found = |limit, after| {
            let (found, more) = shown(&names, limit, after);
            (found.join(" "), more)
        };
        assert_eq!(found(2, None), ("a2 b2".to_owned(), true));
        assert_eq!(found(2, Some("b")), ("c1 d2".to_owned(), true));
        assert_eq!(found(2, Some("d")), ("e1".to_owned(), false));
        assert_eq!(found(4, None), ("a2 b2 c1 d2".to_owned(), true));
        assert!(!found(5, None).1);
        assert_eq!(shown(&[], 2, None), (vec![], false));
    }

    /// Each name is told once, by as many requests as it takes, and no more than the bound is held. `size`: of a value;
    /// `own`: what an entry has of its own.
    fn all_are_shown(names: &[String], size: usize, own: usize) {
        let (mut after, mut seen) = (None, Vec::new());
        loop {
            let mut first = First::new(1000, after.as_deref());
            for name in names.iter().chain(names) {
                first.count_below(name);
            }
            for name in names {
                first.put(name, || json!("x".repeat(size)));
                let held: usize = first
                    .kept
                    .iter()
                    .map(|(name, entry)| self::size(name, entry))
                    .sum();
                assert_eq!(first.bytes, held);
                assert!(held <= limits::HTTP_LIST_BYTES_MAX.max(own), "{held}");
            }
            while let Some((name, entry)) = first.take() {
                assert_eq!(entry.below, 2, "all of a name are counted, or none");
                assert!(entry.line.is_some_and(|line| line.len() == size + 2));
                after = Some(name.to_string());
                seen.push(name.to_string());
            }
            assert_eq!(first.bytes, 0);
            if !first.has_more() {
                break;
            }
        }
        assert!(seen.is_sorted());
        assert_eq!(seen.len(), names.len());
    }

    #[test]
    fn long_names_and_large_values_are_bounded_and_all_are_shown_in_the_end() {
        let names = |count: usize, more: usize| -> Vec<String> {
            let name = |index: usize| format!("{index:03}{}", "x".repeat(more));
            (0..count).rev().map(name).collect()
        };
        all_are_shown(&names(50, 60_000), 1, 0);
        all_are_shown(&names(20, 0), 65_536, 0);
        let too_large = 2 * limits::HTTP_LIST_BYTES_MAX;
        all_are_shown(&names(3, 0), too_large, too_large + 5);
    }
}
