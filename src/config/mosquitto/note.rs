//! What is said to the operator: places, warnings, refusals.

use crate::language::Language;
use std::fmt;
use std::sync::Arc;

/// A line of a file. Its `Display` is `FILE:LINE`, or `FILE` alone where the file as a whole is meant (line 0).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Place {
    /// As the file was named in the command line or in the line that includes it.
    pub file: Arc<str>,
    /// Counted from 1.
    pub line: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.file),
            line => write!(f, "{}:{line}", self.file),
        }
    }
}

/// A value and where it was said. Two are equal if the same was said, wherever: lines move when a file is edited.
#[derive(Clone, Eq, Debug)]
pub struct At<T> {
    /// What was said last of the option.
    pub value: T,
    /// The line that said it.
    pub place: Place,
}

impl<T: PartialEq> PartialEq for At<T> {
    fn eq(&self, other: &At<T>) -> bool {
        self.value == other.value
    }
}

/// How much a note matters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// The line is taken otherwise than it stands there, or otherwise than Mosquitto takes it, or it hardly does what
    /// was meant.
    Warning,
    /// The option is known and has no effect here.
    NoEffect,
    /// Worth knowing.
    Remark,
}

/// A sentence about a line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Note {
    /// How loudly it is told.
    pub kind: Kind,
    /// The line that it is about.
    pub place: Place,
    /// The sentence, without file and line.
    pub text: String,
    /// The line, or lines, to write instead.
    pub write_instead: Option<String>,
}

impl Note {
    /// What is to be said, and what to write instead, without the place.
    pub fn sentence(&self) -> String {
        let mut sentence = self.text.clone();
        match &self.write_instead {
            Some(lines) if lines.contains('\n') => {
                sentence.push_str("; write instead:");
                for line in lines.lines() {
                    sentence.push_str("\n    ");
                    sentence.push_str(line);
                }
            }
            Some(line) => sentence.push_str(&format!("; write instead: {line}")),
            None => {}
        }
        sentence
    }

    /// As an operator of this language reads it. Its `Display` is English.
    pub fn said(&self, language: Language) -> String {
        format!("{}: {}", self.place, language.say_lines(&self.sentence()))
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.sentence())
    }
}

/// The exit codes that Mosquitto has for a configuration it does not start with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// 3: syntax, a value, a file that is missing.
    Invalid,
    /// 13: a password or ACL file that cannot be opened.
    Unreadable,
    /// 1: a listener or its TLS.
    Start,
}

impl Exit {
    /// The process's exit code, which is Mosquitto's in this case.
    pub fn code(self) -> u8 {
        match self {
            Exit::Invalid => 3,
            Exit::Unreadable => 13,
            Exit::Start => 1,
        }
    }
}

/// A configuration that is not taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refused {
    /// That of the step at which Mosquitto would stop: it reads all files first, then opens password and ACL files,
    /// then listens.
    pub exit: Exit,
    /// At least one, in the order of files and lines; `kind` is `Warning`.
    pub faults: Vec<Note>,
    /// The warnings about other lines.
    pub notes: Vec<Note>,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.faults.iter().enumerate() {
            let end = if index == 0 { "" } else { "\n" };
            write!(f, "{end}{fault}")?;
        }
        Ok(())
    }
}
