//! How much of a Topic Filter a Client may hear: what a SUBSCRIBE can be told, and `explain` says.
//!
//! The answer errs on one side alone. `All` and `Nothing` are certain; `Some` says that it depends on the Topic Name.

use super::file::{Access, Rule};
use super::table::{Acl, Act, Standing};
use super::trie::Names;
use crate::wire::topic::levels;

/// See the module.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reach {
    /// Every Topic Name that the Topic Filter matches is allowed.
    All,
    /// Some may be, others not.
    Some,
    /// None is.
    Nothing,
}

impl Acl {
    /// For how many of the Topic Names that this Topic Filter matches has the Client the right? `O(rules × levels)`,
    /// of the rules that [`Acl::rules_for`] counts.
    ///
    /// `filter` is without `$share/name/`.
    pub fn reach(
        &self,
        standing: Standing,
        user: Option<&str>,
        client: &str,
        act: Act,
        filter: &str,
    ) -> Reach {
        if !filter.contains(['+', '#']) {
            return match self.may(standing, user, client, act, filter).is_allowed() {
                true => Reach::All,
                false => Reach::Nothing,
            };
        }
        if filter.starts_with("$share") {
            return Reach::Nothing;
        }
        let own = Listed::of(self.own_rules(standing), act, filter);
        if own.none_left {
            return Reach::Nothing;
        }
        // Of names that begin with `$` some are closed to writers whatever the rules say.
        let closed = act == Act::Write && filter.starts_with('$');
        if own.all {
            return match own.denied || closed {
                true => Reach::Some,
                false => Reach::All,
            };
        }
        let by_patterns = match self.asks_patterns(standing) {
            true => self.listed_patterns(user, client, act, filter),
            false => Listed::default(),
        };
        if !own.some && (!by_patterns.some || by_patterns.none_left) {
            Reach::Nothing
        } else if by_patterns.all && !by_patterns.denied && !own.denied && !closed {
            Reach::All
        } else {
            Reach::Some
        }
    }

    /// The rules that a Client has, in the order of the file but patterns last, each with its names put in.
    pub(super) fn rules_of_client<'a>(
        &'a self,
        standing: Standing,
        user: Option<&'a str>,
        client: &'a str,
    ) -> impl Iterator<Item = (&'a Rule, String)> {
        let names = Names { user, client };
        let own = self.own_lines(standing);
        let own = own.map(|rule| (rule, rule.filter.to_string()));
        let patterns = self
            .patterns()
            .filter(move |_| self.asks_patterns(standing));
        own.chain(patterns.filter_map(move |rule| Some((rule, substituted(rule, names)?))))
    }

    fn listed_patterns(&self, user: Option<&str>, client: &str, act: Act, filter: &str) -> Listed {
        let names = Names { user, client };
        let patterns: Vec<(Access, String)> = self
            .patterns()
            .filter_map(|rule| Some((rule.access, substituted(rule, names)?)))
            .collect();
        let patterns = patterns
            .iter()
            .map(|(access, filter)| (*access, filter.as_str()));
        Listed::of(patterns, act, filter)
    }
}

/// What one list of rules says of the Topic Names of a filter.
#[derive(Clone, Copy, Default, Debug)]
struct Listed {
    /// A rule allows all of them, one or more of them.
    all: bool,
    some: bool,
    /// A `deny` takes one or more of them, all of them.
    denied: bool,
    none_left: bool,
}

impl Listed {
    fn of<'a>(rules: impl Iterator<Item = (Access, &'a str)>, act: Act, filter: &str) -> Listed {
        let mut listed = Listed::default();
        for (access, rule) in rules {
            if !meet(rule, filter) {
                continue;
            }
            let whole = contains(rule, filter);
            let gives = match access {
                Access::Deny => {
                    listed.denied = true;
                    listed.none_left |= whole;
                    false
                }
                Access::Read => act == Act::Read,
                Access::Write => act == Act::Write,
                Access::ReadWrite => true,
            };
            listed.some |= gives;
            listed.all |= gives && whole;
        }
        listed
    }
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
pub(super) fn meet(one: &str, other: &str) -> bool {
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
