//! The table made of an ACL file, and the question it answers.

use super::file::{self, Access, Refused, Rule, Warning, Whose};
use super::trie::{Marks, NO_LINE, Names, Trie, matches_as_text};
use crate::wire::topic;
use std::collections::HashMap;
use std::fmt;

/// What a Client wants of a Topic Name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Act {
    /// That a message be delivered to it: a live one, a queued one or a retained one.
    Read,
    /// That its PUBLISH or its Will be routed.
    Write,
}

/// May it?
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// And what gives the right.
    Allowed(Cause),
    /// And what denies it, or that nothing gives it.
    Refused(Cause),
}

/// Why.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// The rule on this line; of several, the first.
    Rule {
        /// Counted from 1 in the ACL file.
        line: u32,
    },
    /// No rule reaches the name, or none gives the right; without a file, everything is allowed.
    NoRule,
    /// `$SYS` is the broker's own.
    SysIsTheBrokers,
    /// `$CONTROL` is where Mosquitto takes orders of administrators.
    ControlIsTheBrokers,
    /// `$share/…` names a subscription, not messages.
    ShareIsNoName,
    /// There are patterns, and the user name or client id holds `+` or `#`.
    WildcardInName,
}

impl Verdict {
    /// The answer without its cause, for the path of a message.
    #[inline]
    pub fn is_allowed(self) -> bool {
        matches!(self, Verdict::Allowed(_))
    }

    /// For the log and for tests.
    pub fn cause(self) -> Cause {
        match self {
            Verdict::Allowed(cause) | Verdict::Refused(cause) => cause,
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Rule { line } => write!(f, "line {line}"),
            Cause::NoRule => f.write_str("no rule"),
            Cause::SysIsTheBrokers => f.write_str("only the broker writes below $SYS"),
            Cause::ControlIsTheBrokers => f.write_str("clients do not write below $CONTROL"),
            Cause::ShareIsNoName => f.write_str("$share is no topic for messages"),
            Cause::WildcardInName => {
                f.write_str("`+` or `#` in the user name or client id, while the file has patterns")
            }
        }
    }
}

/// Which part of one table a Client has; looked up at CONNECT, and again when the table is replaced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Standing {
    /// Index into `sections`.
    section: Option<u32>,
    patterns: Patterns,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Patterns {
    /// The file has none.
    None,
    /// A name of the Client holds `+` or `#`.
    Closed,
    /// By their levels.
    Levels,
    /// As text: a name that a pattern uses holds `/`.
    Text,
}

/// The rules of one file. Immutable: a changed file makes a new table, and nothing is left of a bad one.
#[derive(Debug)]
pub struct Acl {
    /// The file, as the operator named it. Empty where there is none.
    file: Box<str>,
    sections: Vec<Trie>,
    /// The rules of each section, by their indexes.
    rules_of: Vec<Box<[u32]>>,
    anonymous: Option<u32>,
    by_user: HashMap<Box<str>, u32>,
    patterns: Option<Trie>,
    /// The patterns again, in the order of the file, for names with `/`.
    pattern_rules: Vec<Rule>,
    pattern_uses_user: bool,
    pattern_uses_client: bool,
    /// All rules in the order of their lines.
    rules: Vec<Rule>,
    warnings: Vec<Warning>,
}

impl Acl {
    /// Reads the bytes of an ACL file, whole or not at all.
    ///
    /// Errors: every faulty line, with the line to write instead where it can be guessed. Mosquitto exits with 3 on
    /// these.
    pub fn parse(bytes: &[u8]) -> Result<Acl, Refused> {
        let text = file::read(bytes)?;
        let of = |whose: Whose| {
            let rules = text.rules.iter();
            rules.filter_map(move |(of, rule)| (*of == whose).then_some(rule))
        };
        let mut of_user: Vec<Vec<&Rule>> = vec![Vec::new(); text.users.len()];
        for (whose, rule) in &text.rules {
            if let Whose::User(index) = whose {
                of_user[*index as usize].push(rule);
            }
        }
        let mut sections: Vec<Trie> = of_user
            .into_iter()
            .map(|rules| Trie::new(rules.into_iter()))
            .collect();
        let users = text.users.iter().cloned().zip(0..);
        let by_user = users.collect();
        let anonymous = of(Whose::Anonymous).next().map(|_| {
            sections.push(Trie::new(of(Whose::Anonymous)));
            sections.len() as u32 - 1
        });
        let pattern_rules: Vec<Rule> = of(Whose::Everybody).cloned().collect();
        let uses = |variable| {
            pattern_rules
                .iter()
                .any(|rule| rule.filter.contains(variable))
        };
        let mut rules_of: Vec<Vec<u32>> = vec![Vec::new(); sections.len()];
        for (at, (whose, _)) in text.rules.iter().enumerate() {
            let section = match whose {
                Whose::User(index) => Some(*index),
                Whose::Anonymous => anonymous,
                Whose::Everybody => None,
            };
            if let Some(section) = section {
                rules_of[section as usize].push(at as u32);
            }
        }
        let (pattern_uses_user, pattern_uses_client) = (uses("%u"), uses("%c"));
        let patterns = (!pattern_rules.is_empty()).then(|| Trie::new(pattern_rules.iter()));
        Ok(Acl {
            file: "".into(),
            sections,
            rules_of: rules_of.into_iter().map(Vec::into).collect(),
            anonymous,
            by_user,
            patterns,
            pattern_rules,
            pattern_uses_user,
            pattern_uses_client,
            rules: text.rules.into_iter().map(|(_, rule)| rule).collect(),
            warnings: text.warnings,
        })
    }

    /// The same, of the file with this name.
    pub fn named(mut self, file: &str) -> Acl {
        self.file = file.into();
        self
    }

    /// The users that have rules of their own, in no order.
    pub fn users(&self) -> impl Iterator<Item = &str> {
        self.by_user.keys().map(|user| &**user)
    }

    /// The file, as the operator named it.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Lines without effect, or with another one than they seem to have.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// All `topic` and `pattern` lines in their order.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The rule on a line that a verdict named.
    pub fn rule(&self, line: u32) -> Option<&Rule> {
        let found = self.rules.binary_search_by_key(&line, |rule| rule.line);
        found.ok().map(|index| &self.rules[index])
    }

    /// What this table holds for a Client; `user` is `None` without a user name. Valid for this table alone.
    pub fn standing(&self, user: Option<&str>, client: &str) -> Standing {
        let wild = |name: &str| name.contains(['+', '#']);
        let deep = |name: &str| name.contains('/');
        let patterns = if self.patterns.is_none() {
            Patterns::None
        } else if user.is_some_and(wild) || wild(client) {
            Patterns::Closed
        } else if self.pattern_uses_user && user.is_some_and(deep)
            || self.pattern_uses_client && deep(client)
        {
            Patterns::Text
        } else {
            Patterns::Levels
        };
        Standing {
            section: match user {
                Some(user) => self.by_user.get(user).copied(),
                None => self.anonymous,
            },
            patterns,
        }
    }

    /// May the Client with this standing and these names do this with messages of this Topic Name?
    ///
    /// Allocates nothing. `O(levels)` for ordinary files, never more than `O(rules of the section and patterns)`.
    #[inline]
    pub fn may(
        &self,
        standing: Standing,
        user: Option<&str>,
        client: &str,
        act: Act,
        name: &str,
    ) -> Verdict {
        if name.starts_with('$')
            && let Some(cause) = closed_to_all(act, name)
        {
            return Verdict::Refused(cause);
        }
        let names = Names { user, client };
        if let Some(section) = standing.section {
            let marks = self.sections[section as usize].marks(name, names);
            if let Some(verdict) = judge(marks, act) {
                return verdict;
            }
        }
        let marks = match (standing.patterns, &self.patterns) {
            (Patterns::None, _) | (_, None) => Marks::NONE,
            (Patterns::Closed, _) => return Verdict::Refused(Cause::WildcardInName),
            (Patterns::Levels, Some(patterns)) => patterns.marks(name, names),
            (Patterns::Text, _) => self.marks_as_text(name, names),
        };
        judge(marks, act).unwrap_or(Verdict::Refused(Cause::NoRule))
    }

    /// The rules of a Client's section.
    pub(super) fn own_rules(&self, standing: Standing) -> impl Iterator<Item = (Access, &str)> {
        self.own_lines(standing)
            .map(|rule| (rule.access, &*rule.filter))
    }

    /// The same, as lines.
    pub(super) fn own_lines(&self, standing: Standing) -> impl Iterator<Item = &Rule> {
        self.lines_of(standing.section)
    }

    fn lines_of(&self, section: Option<u32>) -> impl Iterator<Item = &Rule> {
        let indexes = section.map(|index| &*self.rules_of[index as usize]);
        let indexes = indexes.unwrap_or_default().iter();
        indexes.map(|&index| &self.rules[index as usize])
    }

    /// The rules above the first `user` line.
    pub(super) fn rules_of_anonymous(&self) -> impl Iterator<Item = &Rule> {
        self.lines_of(self.anonymous)
    }

    /// The file has a line `user` of this name.
    pub(super) fn has_section(&self, user: &str) -> bool {
        self.by_user.contains_key(user)
    }

    /// Do the patterns have a say about this Client?
    pub(super) fn asks_patterns(&self, standing: Standing) -> bool {
        matches!(standing.patterns, Patterns::Levels | Patterns::Text)
    }

    /// How many rules there are for the Client, patterns among them.
    pub fn rules_for(&self, standing: Standing) -> usize {
        let patterns = match self.asks_patterns(standing) {
            true => self.pattern_rules.len(),
            false => 0,
        };
        self.own_rules(standing).count() + patterns
    }

    pub(super) fn patterns(&self) -> impl Iterator<Item = &Rule> {
        self.pattern_rules.iter()
    }

    #[cold]
    fn marks_as_text(&self, name: &str, names: Names<'_>) -> Marks {
        let mut marks = Marks::NONE;
        for rule in &self.pattern_rules {
            if matches_as_text(&rule.filter, name, names) {
                marks.add(rule.access, rule.line);
            }
        }
        marks
    }
}

/// The verdict where no ACL file is in force: everything but what is the broker's own. `is_bridge`: the Client says
/// that it is a bridge, which may tell its own state.
pub fn may_without_file(is_bridge: bool, act: Act, name: &str) -> Verdict {
    if act == Act::Read || !name.starts_with('$') {
        return Verdict::Allowed(Cause::NoRule);
    }
    match name.split('/').next() {
        Some("$SYS") if !(is_bridge && topic::matches(BRIDGE_STATE, name)) => {
            Verdict::Refused(Cause::SysIsTheBrokers)
        }
        Some("$CONTROL") => Verdict::Refused(Cause::ControlIsTheBrokers),
        _ => Verdict::Allowed(Cause::NoRule),
    }
}

/// The topic below which bridges tell whether they are connected; the one part of `$SYS` that Clients may be allowed to
/// write.
const BRIDGE_STATE: &str = "$SYS/broker/connection/+/state";

/// What no rule can allow: nothing that a Client says below `$SYS` and `$CONTROL` may look like the broker's word.
/// [v3.1.1 4.7.2, v5 4.7.2] As in Mosquitto, `$SYS` and `$share` are beginnings here, not levels.
fn closed_to_all(act: Act, name: &str) -> Option<Cause> {
    if name.starts_with("$SYS") {
        let bridges = act == Act::Read || topic::matches(BRIDGE_STATE, name);
        (!bridges).then_some(Cause::SysIsTheBrokers)
    } else if name.starts_with("$share") {
        Some(Cause::ShareIsNoName)
    } else {
        let control = act == Act::Write && name.split('/').next() == Some("$CONTROL");
        control.then_some(Cause::ControlIsTheBrokers)
    }
}

/// A `deny` is stronger than every other rule of its list, whatever their order.
#[inline]
fn judge(marks: Marks, act: Act) -> Option<Verdict> {
    if marks.deny != NO_LINE {
        return Some(Verdict::Refused(Cause::Rule { line: marks.deny }));
    }
    let line = match act {
        Act::Read => marks.read,
        Act::Write => marks.write,
    };
    (line != NO_LINE).then_some(Verdict::Allowed(Cause::Rule { line }))
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.is_pattern { "pattern" } else { "topic" };
        write!(f, "{word} {} {}", name_of(self.access), self.filter)
    }
}

fn name_of(access: Access) -> &'static str {
    file::name_of(access)
}
