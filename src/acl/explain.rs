//! Why a Client may do something, or may not, and what to write to change that: for people, in a few lines.

use super::file::{Access, Rule};
use super::reach::{Reach, meet};
use super::table::{Acl, Act, Cause, Standing, Verdict, may_without_file};
use crate::limits;
use crate::wire::topic::{TopicFilter, TopicName};
use std::fmt::Write;

/// Who asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Asker<'a> {
    /// `None`: it has no user name.
    pub user: Option<&'a str>,
    /// Its client id.
    pub client: &'a str,
}

/// The answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Explanation {
    /// It may; of a Topic Filter, it may hear something.
    pub allowed: bool,
    /// Some lines, each with its line break.
    pub text: String,
}

/// Checks a Topic Name.
///
/// Errors: a sentence that says why it is none.
pub fn topic_name(text: &str) -> Result<&str, String> {
    match TopicName::new(text) {
        Ok(name) => Ok(name.as_str()),
        Err(why) => Err(format!("{text:?} is no topic name: {why}")),
    }
}

/// Checks a Topic Filter. Rules are about what follows `$share/name/`, which is the answer.
///
/// Errors: a sentence that says why it is none.
pub fn topic_filter(text: &str) -> Result<&str, String> {
    match TopicFilter::new(text) {
        Ok(filter) => Ok(filter.share().map_or(text, |(_, inner)| inner)),
        Err(why) => Err(format!("{text:?} is no topic filter: {why}")),
    }
}

/// May it publish to this Topic Name? `acl`: `None` without an ACL file.
pub fn publish(acl: Option<&Acl>, asker: Asker<'_>, name: &str) -> Explanation {
    let verdict = match acl {
        Some(acl) => acl.may(
            standing(acl, asker),
            asker.user,
            asker.client,
            Act::Write,
            name,
        ),
        None => may_without_file(false, Act::Write, name),
    };
    let who = who(asker);
    let (word, may) = match verdict.is_allowed() {
        true => ("allowed", "may"),
        false => ("refused", "may not"),
    };
    let mut text = format!("{word}: {who} {may} publish to {name}\n");
    match (acl, verdict.cause()) {
        (Some(acl), cause) => {
            because(&mut text, acl, cause);
            if let Verdict::Refused(cause) = verdict {
                remedy(&mut text, acl, asker, cause, Act::Write, name);
            }
        }
        (None, Cause::NoRule) => {
            text.push_str("  there is no ACL file, so everything is allowed\n")
        }
        (None, cause) => text += &format!("  {cause}\n"),
    }
    Explanation {
        allowed: verdict.is_allowed(),
        text,
    }
}

/// What may it hear of this Topic Filter? `filter` is without `$share/name/`.
pub fn subscribe(acl: Option<&Acl>, asker: Asker<'_>, filter: &str) -> Explanation {
    let who = who(asker);
    let Some(acl) = acl else {
        return Explanation {
            allowed: true,
            text: format!(
                "allowed: {who} hears all of {filter}\n  there is no ACL file, so everything is allowed\n"
            ),
        };
    };
    let standing = standing(acl, asker);
    let reach = acl.reach(standing, asker.user, asker.client, Act::Read, filter);
    let mut text = match reach {
        Reach::All => format!("allowed: {who} hears all of {filter}\n"),
        Reach::Some => {
            format!("partly allowed: {who} hears some topics of {filter}, and others not\n")
        }
        Reach::Nothing => format!(
            "refused: {who} hears nothing of {filter}; the subscription is granted and stays silent\n"
        ),
    };
    if !filter.contains(['+', '#']) {
        let verdict = acl.may(standing, asker.user, asker.client, Act::Read, filter);
        because(&mut text, acl, verdict.cause());
    } else {
        concerned(&mut text, acl, asker, standing, filter);
    }
    if reach == Reach::Nothing {
        let verdict = acl.may(standing, asker.user, asker.client, Act::Read, filter);
        remedy(&mut text, acl, asker, verdict.cause(), Act::Read, filter);
    }
    Explanation {
        allowed: reach != Reach::Nothing,
        text,
    }
}

fn standing(acl: &Acl, asker: Asker<'_>) -> Standing {
    acl.standing(asker.user, asker.client)
}

fn who(asker: Asker<'_>) -> String {
    match asker.user {
        Some(user) => format!("user {user}, client id {},", asker.client),
        None => format!("client id {}, without a user name,", asker.client),
    }
}

/// The rule that decides.
fn because(text: &mut String, acl: &Acl, cause: Cause) {
    let file = acl.file();
    match cause {
        Cause::Rule { line } => line_of(text, acl, line),
        Cause::NoRule => *text += &format!("  no rule of {file} allows it\n"),
        Cause::SysIsTheBrokers
        | Cause::ControlIsTheBrokers
        | Cause::ShareIsNoName
        | Cause::WildcardInName => *text += &format!("  {cause}\n"),
    }
}

fn line_of(text: &mut String, acl: &Acl, line: u32) {
    if let Some(rule) = acl.rule(line) {
        *text += &format!("  {}:{line}: {rule}\n", acl.file());
    }
}

/// The rules for the Client that have a say about some topics of a filter.
fn concerned(text: &mut String, acl: &Acl, asker: Asker<'_>, standing: Standing, filter: &str) {
    let mut told = 0;
    for (rule, put_in) in acl.rules_of_client(standing, asker.user, asker.client) {
        let reads = !matches!(rule.access, Access::Write);
        if reads && meet(&put_in, filter) {
            told += 1;
            if told > limits::EXPLAINED_RULES_MAX {
                text.push_str("  and more\n");
                return;
            }
            line_of(text, acl, rule.line);
        }
    }
    if told == 0 {
        *text += &format!("  no rule of {} allows any of it\n", acl.file());
    }
}

/// What to write so that it may.
fn remedy(text: &mut String, acl: &Acl, asker: Asker<'_>, cause: Cause, act: Act, topic: &str) {
    let right = match act {
        Act::Read => "read",
        Act::Write => "write",
    };
    let _ = match cause {
        Cause::SysIsTheBrokers | Cause::ControlIsTheBrokers | Cause::ShareIsNoName => {
            writeln!(text, "  no rule can allow it: choose another topic")
        }
        Cause::WildcardInName => writeln!(
            text,
            "  to allow it: choose a user name and a client id without `+` and `#`"
        ),
        Cause::Rule { line } => writeln!(
            text,
            "  to allow it: remove line {line}, or make its filter smaller; `deny` is stronger than every other rule of its user"
        ),
        Cause::NoRule => {
            near_miss(text, acl, asker, act, topic);
            let line = format!("topic {right} {topic}");
            match asker.user {
                None => writeln!(
                    text,
                    "  to allow it, write above the first `user` line: {line}"
                ),
                Some(user) if acl.has_section(user) => {
                    writeln!(text, "  to allow it, write below `user {user}`: {line}")
                }
                Some(user) => {
                    writeln!(
                        text,
                        "  to allow it, write at the end of the file: user {user}, and below it: {line}"
                    )
                }
            }
        }
    };
}

/// A rule that reaches the topic and does not help.
fn near_miss(text: &mut String, acl: &Acl, asker: Asker<'_>, act: Act, topic: &str) {
    let mut own = acl.rules_of_client(standing(acl, asker), asker.user, asker.client);
    let other = own.find(|(rule, put_in)| rule.access != Access::Deny && meet(put_in, topic));
    if let Some((rule, _)) = other {
        let (has, lacks) = match act {
            Act::Write => ("read", "write"),
            Act::Read => ("write", "read"),
        };
        let line = rule.line;
        *text += &format!(
            "  line {line} reaches it, but gives the right to {has}, not to {lacks}: {rule}\n"
        );
        return;
    }
    let gives = |rule: &Rule| match rule.access {
        Access::ReadWrite => true,
        Access::Read => act == Act::Read,
        Access::Write => act == Act::Write,
        Access::Deny => false,
    };
    if asker.user.is_some()
        && let Some(rule) = acl
            .rules_of_anonymous()
            .find(|rule| gives(rule) && meet(&rule.filter, topic))
    {
        let line = rule.line;
        *text += &format!(
            "  line {line} stands above the first `user` line, so it is for clients without a user name alone: {rule}\n"
        );
    }
}
