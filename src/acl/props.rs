//! What must hold of ACL files, as functions of arbitrary bytes: called by the tests below with chance and by `fuzz/`
//! with worse. They panic where it does not hold.

use super::table::{Acl, Act, Cause, Verdict, may_without_file};
use super::{Reach, Recall};
use crate::limits;
use crate::random::damaged;
use crate::wire::topic::{TopicFilter, matches};

/// The first two lines are a user name (empty: none) and a client id, the third Topic Names and Topic Filters cut at
/// `;`, the rest the text of an ACL file. It is refused by lines that are there, or taken, and then every verdict is
/// that of the plain model, and no damaged line opens more.
pub fn verdicts_are_the_models(data: &[u8]) {
    let mut parts = data.splitn(4, |&byte| byte == b'\n');
    let mut part = || parts.next().unwrap_or_default();
    let (user, client, names, text) = (part(), part(), part(), part());
    let lines = text.split(|&byte| byte == b'\n').count();
    let acl = match Acl::parse(text) {
        Ok(acl) => acl,
        Err(refused) => {
            assert!(!refused.faults.is_empty() && refused.faults.len() <= limits::ACL_FAULTS_MAX);
            for fault in &refused.faults {
                assert!((1..=lines).contains(&(fault.line as usize)), "{fault:?}");
                repaired_lines_are_taken(fault.write_instead.as_deref());
            }
            return;
        }
    };
    for warning in acl.warnings() {
        assert!((1..=lines).contains(&(warning.line as usize)));
    }
    let (Ok(user), Ok(client), Ok(names)) = (
        std::str::from_utf8(user),
        std::str::from_utf8(client),
        std::str::from_utf8(names),
    ) else {
        return;
    };
    let user = Some(user).filter(|user| !user.is_empty());
    let model = Model::parse(text);
    let standing = acl.standing(user, client);
    let names = || names.split(';').filter(|name| !name.is_empty());
    let is_filter =
        |text: &&str| TopicFilter::new(text).is_ok_and(|filter| filter.share().is_none());
    let filters: Vec<&str> = names().filter(is_filter).collect();
    let mut recall = Recall::default();
    for name in names().filter(|name| !name.contains(['+', '#'])) {
        for act in [Act::Read, Act::Write] {
            let verdict = acl.may(standing, user, client, act, name);
            let wanted = model.may(user, client, act, name);
            assert_eq!(
                verdict.is_allowed(),
                wanted,
                "{user:?} {client:?} {act:?} {name:?}: {verdict:?}"
            );
            named_rules_are_there(&acl, verdict);
            for filter in filters.iter().filter(|filter| matches(filter, name)) {
                let reach = acl.reach(standing, user, client, act, filter);
                let right = match reach {
                    Reach::All => wanted,
                    Reach::Nothing => !wanted,
                    Reach::Some => true,
                };
                assert!(right, "{reach:?} of {filter:?}, and {name:?}: {wanted}");
            }
            if act == Act::Write {
                for _ in 0..2 {
                    let again = recall.may(1, &acl, standing, user, client, act, name);
                    assert_eq!(again, verdict, "{name:?}");
                }
            }
            if !may_without_file(true, act, name).is_allowed() {
                assert!(!verdict.is_allowed(), "a file opens nothing");
            }
        }
    }
    // A TAB at the end of a line is taken off, as Mosquitto does: over a letter it would shorten a `deny`.
    for damaged in damaged(text, &[0, 1, 0xFF, b'\t'], |_, foreign| foreign != b'\t') {
        // Refused whole, or it allows no more than before.
        let Ok(damaged) = Acl::parse(&damaged) else {
            continue;
        };
        let standing_then = damaged.standing(user, client);
        for name in names().filter(|name| !name.contains(['+', '#'])) {
            for act in [Act::Read, Act::Write] {
                let now = damaged.may(standing_then, user, client, act, name);
                let before = acl.may(standing, user, client, act, name);
                assert!(
                    before.is_allowed() || !now.is_allowed(),
                    "a damaged line opens {name:?} to {user:?} {client:?}"
                );
            }
        }
    }
}

/// A line that a refusal proposes is a line that is taken.
fn repaired_lines_are_taken(line: Option<&str>) {
    let Some(line) = line.filter(|line| !line.ends_with("FILTER") && !line.ends_with("NAME"))
    else {
        return;
    };
    // Filters may need more than one repair.
    if let Err(refused) = Acl::parse(line.as_bytes()) {
        assert_eq!(refused.faults.len(), 1);
        assert_eq!(refused.faults[0].line, 1);
    }
}

fn named_rules_are_there(acl: &Acl, verdict: Verdict) {
    if let Cause::Rule { line } = verdict.cause() {
        assert_eq!(acl.rule(line).map(|rule| rule.line), Some(line));
    }
}

/// Section 4 of the reference as plainly as it can be said: lists of strings, walked from their beginning.
struct Model {
    /// Whose (`None`: of those without a user name), access, filter.
    topics: Vec<(Option<String>, String, String)>,
    patterns: Vec<(String, String)>,
}

impl Model {
    /// Of a text that `Acl::parse` has taken.
    fn parse(text: &[u8]) -> Model {
        let mut model = Model {
            topics: Vec::new(),
            patterns: Vec::new(),
        };
        let mut user = None;
        for line in text.split(|&byte| byte == b'\n') {
            // A comment.
            let Ok(line) = std::str::from_utf8(line) else {
                continue;
            };
            let line = line.trim_matches([' ', '\t', '\r', '\u{b}', '\u{c}']);
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            let rest = rest.trim_matches([' ', '\t', '\r', '\u{b}', '\u{c}']);
            let (access, filter) = match rest.split_once(' ') {
                Some((access, filter)) => (
                    access.to_owned(),
                    filter
                        .trim_start_matches([' ', '\t', '\r', '\u{b}', '\u{c}'])
                        .to_owned(),
                ),
                None => ("readwrite".to_owned(), rest.to_owned()),
            };
            match word {
                "user" => user = Some(rest.to_owned()),
                "topic" => model.topics.push((user.clone(), access, filter)),
                "pattern" => model.patterns.push((access, filter)),
                _ => {}
            }
        }
        model
    }

    fn may(&self, user: Option<&str>, client: &str, act: Act, name: &str) -> bool {
        if act == Act::Write
            && name.starts_with("$SYS")
            && !matches("$SYS/broker/connection/+/state", name)
            || name.starts_with("$share")
            || act == Act::Write && (name == "$CONTROL" || name.starts_with("$CONTROL/"))
        {
            return false;
        }
        let own = self
            .topics
            .iter()
            .filter(|(of, _, _)| of.as_deref() == user);
        let own = own.map(|(_, access, filter)| (access.as_str(), filter.clone()));
        if let Some(answer) = Model::list(own.collect(), act, name) {
            return answer;
        }
        if self.patterns.is_empty() {
            return false;
        }
        if client.contains(['+', '#']) || user.is_some_and(|user| user.contains(['+', '#'])) {
            return false;
        }
        let mut patterns = Vec::new();
        for (access, filter) in &self.patterns {
            if filter.contains("%u") && user.is_none() {
                continue;
            }
            patterns.push((access.as_str(), substitute(filter, user, client)));
        }
        Model::list(patterns, act, name).unwrap_or(false)
    }

    fn list(rules: Vec<(&str, String)>, act: Act, name: &str) -> Option<bool> {
        let right = match act {
            Act::Read => "read",
            Act::Write => "write",
        };
        let hits = || rules.iter().filter(|(_, filter)| matches(filter, name));
        if hits().any(|(access, _)| *access == "deny") {
            return Some(false);
        }
        hits()
            .any(|(access, _)| *access == right || *access == "readwrite")
            .then_some(true)
    }
}

/// One pass from left to right: what is put in is not looked at again.
fn substitute(filter: &str, user: Option<&str>, client: &str) -> String {
    let mut text = String::new();
    let mut rest = filter;
    while let Some(first) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("%u") {
            text.push_str(user.unwrap_or_default());
            rest = after;
        } else if let Some(after) = rest.strip_prefix("%c") {
            text.push_str(client);
            rest = after;
        } else {
            text.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    text
}
