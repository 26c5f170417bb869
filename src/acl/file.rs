//! The text of an ACL file, line by line: what each says, and what is wrong with those that say nothing.
//!
//! Rights are read exactly. What Mosquitto refuses is refused here too, with the line to write instead, since a guess
//! could grant more than was meant. Only a comment that does not begin in the first column is let pass, with a warning:
//! it grants nothing.

use crate::limits;
use crate::wire::topic::levels;
use std::fmt;

/// What a rule gives, or with `Deny` takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// May receive messages, and subscribe.
    Read,
    /// May publish.
    Write,
    /// Both; also what a line without an access word gives.
    ReadWrite,
    /// Takes away both, whatever other rules give.
    Deny,
}

/// One `topic` or `pattern` line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rule {
    /// Counted from 1.
    pub line: u32,
    /// The word between `topic` or `pattern` and the filter.
    pub access: Access,
    /// 1..=65,535 bytes, wildcards in their places, at most `TOPIC_LEVELS_MAX` levels.
    pub filter: Box<str>,
    /// `%u` and `%c` in it stand for the Client's names.
    pub is_pattern: bool,
}

/// A file without faults.
#[derive(Default, Debug)]
pub(super) struct Text {
    /// In the order of the file.
    pub rules: Vec<(Whose, Rule)>,
    /// User names in the order of their first `user` line; `Whose::User` counts into them.
    pub users: Vec<Box<str>>,
    pub warnings: Vec<Warning>,
}

/// Whom a rule is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Whose {
    Anonymous,
    User(u32),
    Everybody,
}

/// A file that is not taken: at least one fault, in the order of the lines.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refused {
    /// Never empty; at most [`limits::ACL_FAULTS_MAX`](crate::limits::ACL_FAULTS_MAX).
    pub faults: Vec<Fault>,
}

/// A line that is wrong. Its `Display` is one sentence without the file's name, the line to write instead at its end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// Counted from 1; 1 also where the file as a whole is at fault.
    pub line: u32,
    /// What is wrong, without line number and remedy.
    pub reason: String,
    /// What stands on the line if its meaning was guessed rightly.
    pub write_instead: Option<String>,
}

/// A line that has no effect, or another one than it seems to have.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Warning {
    /// Counted from 1.
    pub line: u32,
    /// One sentence, without the file's name and the line number.
    pub text: String,
}

impl Fault {
    /// What is wrong and what to write instead, without the line's number.
    pub fn sentence(&self) -> String {
        let reason = &self.reason;
        match &self.write_instead {
            Some(line) => format!("{reason}; write instead: {line}"),
            None => reason.clone(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.sentence())
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.faults.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            fault.fmt(f)?;
        }
        Ok(())
    }
}

/// Reads a whole file. `O(bytes)`.
///
/// Errors: every fault up to `ACL_FAULTS_MAX`, each with its line.
pub(super) fn read(bytes: &[u8]) -> Result<Text, Refused> {
    let mut reader = Reader::default();
    if bytes.len() > limits::ACL_FILE_BYTES_MAX {
        let most = limits::ACL_FILE_BYTES_MAX >> 20;
        reader.fault(1, format!("the file is larger than {most} MiB"), None);
        return Err(Refused {
            faults: reader.faults,
        });
    }
    for (index, line) in bytes.split(|&byte| byte == b'\n').enumerate() {
        // A file of ACL_FILE_BYTES_MAX has fewer lines than u32 has numbers.
        reader.line(index as u32 + 1, line);
        if reader.faults.len() >= limits::ACL_FAULTS_MAX {
            break;
        }
    }
    match reader.faults.is_empty() {
        true => Ok(reader.text),
        false => Err(Refused {
            faults: reader.faults,
        }),
    }
}

#[derive(Default)]
struct Reader {
    text: Text,
    faults: Vec<Fault>,
    section: Option<u32>,
    by_name: std::collections::HashMap<Box<str>, u32>,
}

impl Reader {
    fn fault(&mut self, line: u32, reason: impl Into<String>, write_instead: Option<String>) {
        self.faults.push(Fault {
            line,
            reason: reason.into(),
            write_instead,
        });
    }

    fn warn(&mut self, line: u32, text: impl Into<String>) {
        if self.text.warnings.len() < limits::ACL_WARNINGS_MAX {
            let text = text.into();
            self.text.warnings.push(Warning { line, text });
        }
    }

    fn line(&mut self, number: u32, bytes: &[u8]) {
        if bytes.contains(&0) {
            return self.fault(number, "a NUL byte: the file is damaged", None);
        }
        // Mosquitto trims what C's isspace() knows from the end, and words are cut at blanks alone.
        let bytes = trim_end(bytes);
        if bytes.first() == Some(&b'#') || bytes.is_empty() {
            return;
        }
        let Ok(line) = std::str::from_utf8(bytes) else {
            return self.not_text(number, bytes);
        };
        let rest = line.trim_start_matches(' ');
        let (word, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        let untrimmed = rest;
        let rest = rest.trim_matches(is_space);
        match word {
            "topic" | "pattern" | "user" if self.has_control(number, word, untrimmed) => {}
            "topic" | "pattern" => self.rule(number, word, rest),
            "user" => self.user(number, rest),
            _ if word.starts_with('#') => {
                self.warn(number, "a comment begins in the first column");
            }
            _ => self.unknown(number, line, word),
        }
    }

    /// Mosquitto takes a TAB and other such characters for a part of the topic, so that the line has another effect
    /// than it seems to have; a `deny` then takes nothing. Is there one?
    fn has_control(&mut self, number: u32, word: &str, rest: &str) -> bool {
        if rest.contains('\t') {
            let words: Vec<&str> = rest.split_ascii_whitespace().collect();
            let instead = format!("{word} {}", words.join(" "));
            self.fault(number, "a TAB stands where a blank must", Some(instead));
        } else if rest.contains(|c: char| c.is_ascii_control()) {
            self.fault(
                number,
                "a control character stands in the line: type it again",
                None,
            );
        } else {
            return false;
        }
        true
    }

    /// Topic Names and user names are UTF-8, so the line could match none: a `deny` would take nothing, and what
    /// follows a `user` would fall to nobody. Only a comment is let pass.
    fn not_text(&mut self, number: u32, bytes: &[u8]) {
        match bytes.trim_ascii_start().first() {
            Some(b'#') => self.warn(number, "a comment begins in the first column"),
            _ => self.fault(
                number,
                "the line is not UTF-8: save the file as UTF-8, or type it again",
                None,
            ),
        }
    }

    fn user(&mut self, number: u32, name: &str) {
        if name.is_empty() {
            return self.fault(number, "`user` needs a name", Some("user NAME".into()));
        }
        if name.contains('#') {
            self.warn(
                number,
                format!("the user is called `{name}`: a comment must stand on a line of its own"),
            );
        }
        self.section = Some(self.user_index(name));
    }

    fn user_index(&mut self, name: &str) -> u32 {
        let next = self.text.users.len() as u32;
        let index = *self.by_name.entry(name.into()).or_insert(next);
        if index == next {
            self.text.users.push(name.into());
        }
        index
    }

    fn rule(&mut self, number: u32, word: &str, rest: &str) {
        let (first, after) = match rest.split_once(' ') {
            Some((first, after)) => (first, after.trim_matches(is_space)),
            None => (rest, ""),
        };
        let access = match first {
            "read" => Access::Read,
            "write" => Access::Write,
            "readwrite" => Access::ReadWrite,
            "deny" => Access::Deny,
            _ => Access::ReadWrite,
        };
        let is_access = matches!(first, "read" | "write" | "readwrite" | "deny");
        let filter = match (first.is_empty(), after.is_empty()) {
            (true, _) => {
                let instead = Some(format!("{word} readwrite FILTER"));
                return self.fault(number, format!("`{word}` needs a filter"), instead);
            }
            (_, true) => rest,
            _ if is_access => after,
            _ => {
                let reason =
                    format!("`{first}` is no right: it is one of read, write, readwrite and deny");
                return self.fault(number, reason, Some(guess_rule(word, first, rest, after)));
            }
        };
        let alone = is_access && after.is_empty();
        if alone {
            let name =
                format!("gives read and write on a topic called `{first}`, as no filter follows");
            self.warn(number, name);
        }
        self.filter(
            number,
            word,
            if alone { Access::ReadWrite } else { access },
            filter,
        );
    }

    fn filter(&mut self, number: u32, word: &str, access: Access, filter: &str) {
        let is_pattern = word == "pattern";
        let name = name_of(access);
        if let Err(reason) = check_filter(filter) {
            let instead = uncommented(filter)
                .filter(|cut| check_filter(cut).is_ok())
                .map(|cut| format!("{word} {name} {cut}"));
            let reason = match instead {
                Some(_) => format!("{reason}; a comment must stand on a line of its own"),
                None => reason.to_owned(),
            };
            return self.fault(number, reason, instead);
        }
        if filter.starts_with('"') {
            self.warn(number, "the quotes are part of the topic");
        }
        let variables = filter.contains("%u") || filter.contains("%c");
        if is_pattern && !variables {
            self.warn(
                number,
                "a pattern without %u and %c is a rule for everybody",
            );
        }
        if !is_pattern && variables {
            self.warn(
                number,
                "`topic` takes %u and %c as they stand; `pattern` puts in the names",
            );
        }
        if levels(filter).count() > limits::TOPIC_LEVELS_MAX {
            return self.warn(number, "no Topic Name has so many levels");
        }
        let whose = match (is_pattern, self.section) {
            (true, _) => Whose::Everybody,
            (false, Some(user)) => Whose::User(user),
            (false, None) => Whose::Anonymous,
        };
        let rule = Rule {
            line: number,
            access,
            filter: filter.into(),
            is_pattern,
        };
        self.text.rules.push((whose, rule));
    }

    fn unknown(&mut self, number: u32, line: &str, word: &str) {
        let tabs = line.replace('\t', " ");
        let plain = tabs.trim_start_matches(['\u{FEFF}', ' ']);
        let lower = plain.split(' ').next().unwrap_or("").to_ascii_lowercase();
        let known = ["topic", "pattern", "user"].contains(&lower.as_str());
        let reason = if line.starts_with('\u{FEFF}') {
            "the file begins with a byte order mark (BOM): save it as UTF-8 without one".to_owned()
        } else if known && line.contains('\t') {
            "a TAB stands where a blank must".to_owned()
        } else if known {
            format!("`{word}` must be written `{lower}`")
        } else {
            format!("`{word}` begins no line of an ACL file: these are topic, pattern, user and #")
        };
        let instead = known.then(|| {
            let rest = plain.split_once(' ').map_or("", |(_, rest)| rest);
            let words: Vec<&str> = rest.split(' ').filter(|word| !word.is_empty()).collect();
            format!("{lower} {}", words.join(" "))
        });
        self.fault(number, reason, instead);
    }
}

pub(super) fn name_of(access: Access) -> &'static str {
    match access {
        Access::Read => "read",
        Access::Write => "write",
        Access::ReadWrite => "readwrite",
        Access::Deny => "deny",
    }
}

/// The line that was meant where the word after `topic` is no right.
fn guess_rule(word: &str, first: &str, rest: &str, after: &str) -> String {
    let right = match first.to_ascii_lowercase().as_str() {
        "r" | "read" | "subscribe" | "sub" => "read",
        "w" | "write" | "publish" | "pub" => "write",
        "rw" | "readwrite" | "all" | "allow" | "pubsub" => "readwrite",
        "deny" | "none" => "deny",
        // Blanks in a filter, or a comment behind it.
        _ => match uncommented(rest) {
            Some(cut) => return format!("{word} readwrite {cut}"),
            None => return format!("{word} readwrite {rest}"),
        },
    };
    format!("{word} {right} {after}")
}

/// What stands before the first ` #` that is no last level.
fn uncommented(text: &str) -> Option<&str> {
    let cut = text.find(" #").or_else(|| text.find("\t#"))?;
    Some(text[..cut].trim_end_matches(is_space)).filter(|cut| !cut.is_empty())
}

/// The rule of MQTT for Topic Filters, without its limit of levels and its Shared Subscriptions.
fn check_filter(filter: &str) -> Result<(), &'static str> {
    if filter.len() > usize::from(u16::MAX) {
        return Err("the filter is longer than 65,535 bytes");
    }
    let bytes = filter.as_bytes();
    for index in memchr::memchr2_iter(b'+', b'#', bytes) {
        let starts = index == 0 || bytes[index - 1] == b'/';
        let ends = match bytes.get(index + 1) {
            None => true,
            Some(&next) => next == b'/' && bytes[index] == b'+',
        };
        if !(starts && ends) {
            return Err(match bytes[index] {
                b'+' => "`+` must fill a whole level of the filter",
                _ => "`#` must be the last level of the filter",
            });
        }
    }
    Ok(())
}

/// What C's isspace() knows.
fn is_space(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\n' | '\u{b}' | '\u{c}' | '\r')
}

fn trim_end(bytes: &[u8]) -> &[u8] {
    let space = |byte: &u8| !is_space(char::from(*byte));
    let end = bytes.iter().rposition(space).map_or(0, |index| index + 1);
    &bytes[..end]
}
