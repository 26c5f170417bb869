//! Who said what where: the options of one section, before anybody asks what they mean; and the list of what must be
//! told.

use super::note::{At, Exit, Kind, Note, Place, Refused};
use super::value::Value;
use crate::limits;
use std::collections::HashMap;

/// One line's value.
#[derive(Clone, Debug)]
pub(super) struct Statement {
    pub value: Value,
    pub place: Place,
}

/// The lines of one section, by option, each in the order of the file.
#[derive(Clone, Default, Debug)]
pub(super) struct Statements(HashMap<&'static str, Vec<Statement>>);

impl Statements {
    pub fn push(&mut self, option: &'static str, said: Statement) {
        self.0.entry(option).or_default().push(said);
    }

    pub fn all(&self, option: &str) -> &[Statement] {
        self.0.get(option).map_or(&[], Vec::as_slice)
    }

    /// The last one holds.
    pub fn last(&self, option: &str) -> Option<&Statement> {
        self.all(option).last()
    }

    pub fn place(&self, option: &str) -> Option<&Place> {
        self.last(option).map(|said| &said.place)
    }

    pub fn flag(&self, option: &str) -> Option<bool> {
        match self.last(option)?.value {
            Value::Flag(flag) => Some(flag),
            _ => None,
        }
    }

    pub fn is_true(&self, option: &str) -> bool {
        self.flag(option) == Some(true)
    }

    pub fn number(&self, option: &str) -> Option<i64> {
        match self.last(option)?.value {
            Value::Number(number) => Some(number),
            _ => None,
        }
    }

    pub fn text(&self, option: &str) -> Option<At<String>> {
        let said = self.last(option)?;
        match &said.value {
            Value::Text(text) => Some(At {
                value: text.clone(),
                place: said.place.clone(),
            }),
            _ => None,
        }
    }

    /// The words of each line of this option, with its place.
    pub fn words(&self, option: &str) -> impl Iterator<Item = (&[String], &Place)> {
        self.all(option)
            .iter()
            .filter_map(|said| match &said.value {
                Value::Words(words) => Some((words.as_slice(), &said.place)),
                _ => None,
            })
    }

    /// The last line's words.
    pub fn last_words(&self, option: &str) -> Option<(&[String], &Place)> {
        self.words(option).last()
    }
}

/// What must be told; bounded.
#[derive(Default, Debug)]
pub(super) struct Notes {
    pub notes: Vec<Note>,
    faults: Vec<(Exit, Note)>,
}

impl Notes {
    pub fn warn(&mut self, place: &Place, text: impl Into<String>) {
        self.note(Kind::Warning, place, text.into(), None);
    }

    pub fn warn_instead(&mut self, place: &Place, text: impl Into<String>, instead: String) {
        self.note(Kind::Warning, place, text.into(), Some(instead));
    }

    pub fn remark(&mut self, place: &Place, text: impl Into<String>) {
        self.note(Kind::Remark, place, text.into(), None);
    }

    pub fn no_effect(&mut self, place: &Place, text: impl Into<String>) {
        self.note(Kind::NoEffect, place, text.into(), None);
    }

    fn note(&mut self, kind: Kind, place: &Place, text: String, write_instead: Option<String>) {
        if self.notes.len() < limits::CONFIGURATION_NOTES_MAX {
            self.notes.push(Note {
                kind,
                place: place.clone(),
                text,
                write_instead,
            });
        }
    }

    pub fn fault(
        &mut self,
        exit: Exit,
        place: &Place,
        reason: impl Into<String>,
        instead: Option<String>,
    ) {
        if self.faults.len() < limits::CONFIGURATION_NOTES_MAX {
            let note = Note {
                kind: Kind::Warning,
                place: place.clone(),
                text: reason.into(),
                write_instead: instead,
            };
            self.faults.push((exit, note));
        }
    }

    pub fn has_faults(&self) -> bool {
        !self.faults.is_empty()
    }

    /// All notes, or the refusal if there is a fault.
    pub fn end(self) -> Result<Vec<Note>, Refused> {
        let step = |exit: Exit| match exit {
            Exit::Invalid => 0,
            Exit::Unreadable => 1,
            Exit::Start => 2,
        };
        let Some(exit) = self
            .faults
            .iter()
            .map(|(exit, _)| *exit)
            .min_by_key(|exit| step(*exit))
        else {
            return Ok(self.notes);
        };
        Err(Refused {
            exit,
            faults: self.faults.into_iter().map(|(_, note)| note).collect(),
            notes: self.notes,
        })
    }
}
