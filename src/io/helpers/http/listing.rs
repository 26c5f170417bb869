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
        self.begin(out);
        out.extend_from_slice(text_line(&line.to_string()).as_bytes());
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
struct First<T> {
    after: Option<Box<str>>,
    limit: usize,
    kept: BTreeMap<Box<str>, T>,
    /// Of the names.
    bytes: usize,
    /// The first name for which there was no room: nothing from there on is kept.
    ceiling: Option<Box<str>>,
}

impl<T: Default> First<T> {
    fn new(limit: usize, after: Option<&str>) -> First<T> {
        First {
            after: after.map(Into::into),
            limit,
            kept: BTreeMap::new(),
            bytes: 0,
            ceiling: None,
        }
    }

    /// The place of this name, which is made. `None`: it is before the cursor, or behind all that is kept.
    fn place(&mut self, name: &str) -> Option<&mut T> {
        let before = self.after.as_deref().is_some_and(|after| name <= after);
        let behind = self.ceiling.as_deref().is_some_and(|first| name >= first);
        if before || behind {
            return None;
        }
        if !self.kept.contains_key(name) {
            self.bytes += name.len();
            self.kept.insert(name.into(), T::default());
            // One name always has room.
            while self.kept.len() > self.limit
                || self.bytes > limits::HTTP_NAMES_BYTES_MAX && self.kept.len() > 1
            {
                let Some((last, _)) = self.kept.pop_last() else {
                    break;
                };
                self.bytes -= last.len();
                self.ceiling = Some(last);
            }
        }
        self.kept.get_mut(name)
    }

    fn take(&mut self) -> Option<(Box<str>, T)> {
        self.kept.pop_first()
    }

    /// There are more behind those that are kept.
    fn has_more(&self) -> bool {
        self.ceiling.is_some()
    }
}

/// A walk over retained messages.
struct Walk {
    survey: Option<Survey>,
    rights: Rights,
}

impl Walk {
    /// One page. `None`: the shard is busy.
    fn step(&mut self, house: &House, mut each: impl FnMut(RetainedReport)) -> Option<()> {
        let survey = self.survey.take()?;
        // All shards have the same.
        let report = house.known.ask(ShardId(0), survey)?;
        if let Found::Retained(page) = report.found {
            for found in page {
                if self.rights.may_read(&found.topic) {
                    each(found);
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
    first: First<Option<RetainedReport>>,
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
    fn step(&mut self, house: &House, out: &mut Vec<u8>) -> Step {
        if !self.walk.is_over() {
            let first = &mut self.first;
            let walked = self.walk.step(house, |found| {
                let topic = found.topic.clone();
                if let Some(place) = first.place(&topic) {
                    *place = Some(found);
                }
            });
            return walked.map_or(Step::Busy, |()| Step::More);
        }
        let times = Times::of(&house.known, house.known.clock.now());
        while out.len() < limits::HTTP_PIECE_BYTES {
            match self.first.take() {
                Some((topic, found)) => {
                    if let Some(found) = &found {
                        let line =
                            answers::retained(found, &times, limits::CONTROL_VALUE_BYTES_MAX);
                        self.list.put(&line, out);
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
        let walked = self.walk.step(house, |found| {
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
    first: First<Level>,
    last: Option<Box<str>>,
    list: List,
}

#[derive(Default)]
struct Level {
    /// What is retained here itself.
    retained: Option<RetainedReport>,
    /// How many are below.
    below: u64,
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
    fn step(&mut self, house: &House, out: &mut Vec<u8>) -> Step {
        if !self.walk.is_over() {
            let (first, under) = (&mut self.first, self.under.as_deref());
            let walked = self.walk.step(house, |found| {
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
                let (level, below) = match rest.split_once('/') {
                    Some((level, _)) => (level, true),
                    None => (rest, false),
                };
                match (first.place(level), below) {
                    (Some(place), true) => place.below += 1,
                    (Some(place), false) => place.retained = Some(found),
                    (None, _) => {}
                }
            });
            return walked.map_or(Step::Busy, |()| Step::More);
        }
        let times = Times::of(&house.known, house.known.clock.now());
        while out.len() < limits::HTTP_PIECE_BYTES {
            match self.first.take() {
                Some((name, level)) => {
                    let retained = level.retained.map(|found| {
                        let cut = limits::HTTP_LEVEL_VALUE_BYTES_MAX;
                        let mut line = answers::retained(&found, &times, cut);
                        if let Some(fields) = line.as_object_mut() {
                            fields.remove("topic");
                        }
                        line
                    });
                    let topic = self.topic(&name);
                    let line = json!({
                        "level": name,
                        "topic": topic,
                        "retained": retained,
                        "below": level.below,
                    });
                    self.list.put(&line, out);
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
        let mut first: First<u64> = First::new(limit, after);
        for name in names {
            if let Some(count) = first.place(name) {
                *count += 1;
            }
        }
        let mut found = Vec::new();
        while let Some((name, count)) = first.take() {
            found.push(format!("{name}{count}"));
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

    #[test]
    fn long_names_are_bounded_and_all_are_shown_in_the_end() {
        let long = |index: usize| format!("{index:03}{}", "x".repeat(60_000));
        let names: Vec<String> = (0..100).rev().map(long).collect();
        let (mut after, mut seen) = (None, Vec::new());
        loop {
            let mut first: First<u64> = First::new(1000, after.as_deref());
            for name in names.iter().chain(&names) {
                if let Some(count) = first.place(name) {
                    *count += 1;
                }
                assert!(first.bytes <= limits::HTTP_NAMES_BYTES_MAX);
            }
            while let Some((name, count)) = first.take() {
                assert_eq!(count, 2, "all of a name are counted, or none");
                after = Some(name.to_string());
                seen.push(name);
            }
            if !first.has_more() {
                break;
            }
        }
        assert_eq!(seen.len(), names.len());
        assert!(
            seen.iter().rev().eq(names
                .iter()
                .map(|name| &**name)
                .map(Box::from)
                .collect::<Vec<Box<str>>>()
                .iter())
        );
    }
}
