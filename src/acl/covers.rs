//! Whether a whole subscription is allowed, so that its deliveries need not be asked for one by one.
//!
//! Most Clients with a section of their own may read all that they subscribe to: `topic readwrite #`, `pattern read
//! home/%u/#`. For these the question is answered once, at SUBSCRIBE. The answer errs on one side alone: `true` is
//! certain, `false` says "ask for each name".

use super::file::{Access, Rule};
use super::table::{Acl, Act, Standing};
use super::trie::Names;
use crate::wire::topic::levels;

impl Acl {
    /// Is every Topic Name that this Topic Filter matches allowed to the Client? `O(rules × levels)`.
    ///
    /// `filter` is without `$share/name/`.
    pub fn covers(
        &self,
        standing: Standing,
        user: Option<&str>,
        client: &str,
        act: Act,
        filter: &str,
    ) -> bool {
        // Of names that begin with `$` some are closed to writers whatever the rules say.
        if act == Act::Write && filter.starts_with('$') || filter.starts_with("$share") {
            return false;
        }
        match answer(self.own_rules(standing), act, filter) {
            Some(covered) => return covered,
            None if !self.asks_patterns(standing) => return false,
            None => {}
        }
        let names = Names { user, client };
        let patterns: Vec<(Access, String)> = self
            .patterns()
            .filter_map(|rule| Some((rule.access, substituted(rule, names)?)))
            .collect();
        let patterns = patterns
            .iter()
            .map(|(access, filter)| (*access, filter.as_str()));
        answer(patterns, act, filter) == Some(true)
    }
}

/// `Some(false)` where a `deny` may match one of the names, `None` where the list leaves the matter open.
fn answer<'a>(
    rules: impl Iterator<Item = (Access, &'a str)>,
    act: Act,
    filter: &str,
) -> Option<bool> {
    let mut covered = None;
    for (access, rule) in rules {
        let gives = match access {
            Access::Deny if meet(rule, filter) => return Some(false),
            Access::Deny => false,
            Access::Read => act == Act::Read,
            Access::Write => act == Act::Write,
            Access::ReadWrite => true,
        };
        if gives && contains(rule, filter) {
            covered = Some(true);
        }
    }
    covered
}

/// A pattern with its names put in; `None` where there is no user name to put in.
fn substituted(rule: &Rule, names: Names<'_>) -> Option<String> {
    let mut text = String::new();
    let mut rest = &*rule.filter;
    while let Some(at) = rest.find("%u").into_iter().chain(rest.find("%c")).min() {
        text.push_str(&rest[..at]);
        text.push_str(match rest.as_bytes()[at + 1] {
            b'u' => names.user?,
            _ => names.client,
        });
        rest = &rest[at + 2..];
    }
    text.push_str(rest);
    Some(text)
}

fn leads_with_wildcard(filter: &str) -> bool {
    filter.starts_with(['+', '#'])
}

/// Does every name of `filter` match `rule`?
fn contains(rule: &str, filter: &str) -> bool {
    // [v5 MQTT-4.7.2-1]
    if filter.starts_with('$') && leads_with_wildcard(rule) {
        return false;
    }
    let mut wanted = levels(filter);
    for level in levels(rule) {
        // The rest of a rule from `#` on matches any rest, also none.
        if level == "#" {
            return true;
        }
        match wanted.next() {
            Some("#") | None => return false,
            Some(other) if level == "+" || level == other => {}
            Some(_) => return false,
        }
    }
    wanted.next().is_none()
}

/// Can one name match both?
fn meet(one: &str, other: &str) -> bool {
    let apart = |plain: &str, wild: &str| plain.starts_with('$') && leads_with_wildcard(wild);
    if apart(one, other) || apart(other, one) {
        return false;
    }
    let (mut ones, mut others) = (levels(one), levels(other));
    loop {
        match (ones.next(), others.next()) {
            (Some("#"), _) | (_, Some("#")) | (None, None) => return true,
            (Some(a), Some(b)) if a == b || a == "+" || b == "+" => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_that_hold_and_meet_each_other() {
        for (rule, filter, holds, meets) in [
            ("#", "#", true, true),
            ("#", "a/+/b", true, true),
            ("#", "$SYS/#", false, false),
            ("$SYS/#", "$SYS/broker/+", true, true),
            ("$SYS/#", "#", false, false),
            ("a/#", "a", true, true),
            ("a/#", "a/#", true, true),
            ("a/#", "+/b", false, true),
            ("a/+", "a/#", false, true),
            ("a/+", "a/+", true, true),
            ("a/+", "a", false, false),
            ("a", "a/#", false, true),
            ("+/+", "+", false, false),
            ("+", "a", true, true),
            ("a", "+", false, true),
            ("a/b", "a/c", false, false),
        ] {
            assert_eq!(contains(rule, filter), holds, "{rule} holds {filter}");
            assert_eq!(meet(rule, filter), meets, "{rule} meets {filter}");
            assert_eq!(meet(filter, rule), meets, "{filter} meets {rule}");
        }
    }
}
