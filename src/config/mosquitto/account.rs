//! Line by line: what becomes here of each line by which a Mosquitto has been running. For `mqttfast migrate`.

use super::files::{Files, Look, Unreadable};
use super::lines::{self, Line};
use super::note::{Kind, Note, Place};
use super::table::{Row, Table, Takes};
use super::value::{self, Value};
use std::cell::RefCell;
use std::path::{Path, PathBuf};

/// A file system that remembers what was read of it.
pub struct Recorder<'f> {
    files: &'f dyn Files,
    read: RefCell<Vec<(PathBuf, Vec<u8>)>>,
}

impl<'f> Recorder<'f> {
    /// Nothing has been read yet.
    pub fn new(files: &'f dyn Files) -> Recorder<'f> {
        Recorder {
            files,
            read: RefCell::default(),
        }
    }

    /// The files read, in their order, with what they hold.
    pub fn into_read(self) -> Vec<(PathBuf, Vec<u8>)> {
        self.read.into_inner()
    }
}

impl Files for Recorder<'_> {
    fn read(&self, path: &Path, bytes_max: usize) -> Result<Vec<u8>, Unreadable> {
        let bytes = self.files.read(path, bytes_max)?;
        let mut read = self.read.borrow_mut();
        read.push((path.to_path_buf(), bytes.clone()));
        Ok(bytes)
    }

    fn list(&self, folder: &Path) -> Result<Vec<String>, Unreadable> {
        self.files.list(folder)
    }

    fn look(&self, path: &Path) -> Look {
        self.files.look(path)
    }
}

/// What becomes of a line.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Outcome {
    /// Its effect is Mosquitto's.
    Same,
    /// It has an effect, or none, and Mosquitto another one.
    Different,
    /// What it asks for is not there.
    NotSupported,
}

/// A line, and what is to be said of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Account {
    /// Line 0: the file as a whole.
    pub place: Place,
    /// As it stands there, without what it keeps secret; empty for a file as a whole.
    pub text: String,
    /// The text is a sentence about the line, not the line.
    pub is_ours: bool,
    /// What becomes of it.
    pub outcome: Outcome,
    /// Sentences, each with its remedy where there is one.
    pub remarks: Vec<String>,
}

/// What a start said of the lines.
#[derive(Default)]
pub struct Told<'a> {
    /// They refuse the start.
    pub faults: &'a [Note],
    /// What is not implemented yet, and does not refuse the start.
    pub missing: &'a [Note],
    /// The rest.
    pub notes: &'a [Note],
    /// Options that the files set to something else than their default.
    pub said: &'a [(&'static Row, Place)],
}

/// Every line of a file that says something, in order; comments and blank lines say nothing.
pub fn account(path: &Path, bytes: &[u8], told: &Told<'_>) -> Vec<Account> {
    let file: std::sync::Arc<str> = path.display().to_string().into();
    let at = |line| Place {
        file: file.clone(),
        line,
    };
    let mut accounts = Vec::new();
    let whole = of_line(at(0), String::new(), None, told);
    if !whole.remarks.is_empty() {
        accounts.push(whole);
    }
    for (number, line) in lines::lines(bytes) {
        let (parsed, forgiven) = lines::parse(number, line);
        let row = match &parsed {
            Line::Option(assignment) => Table::get().find(assignment.name),
            Line::Empty | Line::Fault { .. } => None,
        };
        if parsed == Line::Empty && forgiven.is_empty() {
            continue;
        }
        accounts.push(of_line(at(number), shown_option(line, row), row, told));
    }
    accounts
}

fn of_line(place: Place, text: String, row: Option<&Row>, told: &Told<'_>) -> Account {
    let about = |note: &&Note| note.place == place;
    let mut outcome = Outcome::Same;
    let mut remarks = Vec::new();
    for note in told.faults.iter().chain(told.missing).filter(about) {
        outcome = Outcome::NotSupported;
        remarks.push(note.sentence());
    }
    for note in told.notes.iter().filter(about) {
        if matches!(note.kind, Kind::Warning | Kind::NoEffect) {
            outcome = outcome.max(Outcome::Different);
        }
        remarks.push(note.sentence());
    }
    let is_said = |row: &&Row| {
        let mut said = told.said.iter();
        said.any(|(said, at)| said.option == row.option && at.file == place.file)
    };
    if let Some(row) = row.filter(|row| row.differs).filter(is_said) {
        outcome = outcome.max(Outcome::Different);
        remarks.push(row.note.to_owned());
    }
    Account {
        place,
        text,
        is_ours: false,
        outcome,
        remarks,
    }
}

/// A line for eyes, without the passwords of bridges.
fn shown_option(line: &[u8], row: Option<&Row>) -> String {
    match row.filter(|row| row.option.ends_with("_password")) {
        Some(row) => format!("{} …", row.name),
        None => shown(line),
    }
}

/// A line for eyes: bounded, without control characters.
pub fn shown(line: &[u8]) -> String {
    const CHARACTERS_MAX: usize = 120;
    let text = String::from_utf8_lossy(lines::trim(line)).into_owned();
    let mut plain: String = text
        .chars()
        .take(CHARACTERS_MAX)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if text.chars().nth(CHARACTERS_MAX).is_some() {
        plain.push('…');
    }
    plain
}

/// A file with the lines of these notes written as they are meant; `None`: nothing of it is to be changed.
///
/// A warning's line was taken as if it stood there as it is written now. A fault's line is replaced where the reader
/// knows what was meant and the new line lets in nobody; else it stays, so that the copy is refused as well, below a
/// comment that says why. So a copy never opens more than its original.
pub fn corrected(path: &Path, bytes: &[u8], faults: &[Note], notes: &[Note]) -> Option<Vec<u8>> {
    let file = path.display().to_string();
    let mut changed = false;
    let mut out = Vec::with_capacity(bytes.len());
    let raw = bytes.split_inclusive(|&byte| byte == b'\n').zip(1u32..);
    for (raw, number) in raw {
        let here = |note: &&Note| *note.place.file == *file && note.place.line == number;
        let fault = faults.iter().find(here);
        // One line for one: what goes on to a second line is advice.
        let instead = |note: &Note| note.write_instead.clone().filter(|new| is_a_line(new));
        let new = match fault {
            Some(fault) => instead(fault).filter(|new| !opens(new)),
            None => notes.iter().filter(here).find_map(|note| {
                let warns = note.kind == Kind::Warning && says_the_same(raw, note);
                instead(note).filter(|_| warns)
            }),
        };
        match (new, fault) {
            (Some(new), _) => {
                out.extend_from_slice(new.as_bytes());
                out.push(b'\n');
                changed = true;
            }
            (None, Some(fault)) => {
                let text = fault.sentence().replace('\n', " ");
                out.extend_from_slice(format!("# mqttfast: {text}\n").as_bytes());
                out.extend_from_slice(raw);
                changed = true;
            }
            (None, None) => out.extend_from_slice(raw),
        }
    }
    changed.then_some(out)
}

/// Of the placeholders in remedies, none.
fn is_a_line(text: &str) -> bool {
    let placeholders = ["FILE", "PATH", "HOST:", "PREFIX", "VALUE", "NUMBER"];
    !text.contains('\n') && !placeholders.iter().any(|word| text.contains(word))
}

/// The remedy of a warning is the line itself, better written, and no advice to add one.
fn says_the_same(raw: &[u8], note: &Note) -> bool {
    let name = |line: &[u8]| match lines::parse(2, lines::trim(line)).0 {
        Line::Option(assignment) => Some(assignment.name.to_owned()),
        _ => None,
    };
    let instead = note.write_instead.as_deref().unwrap_or_default();
    name(raw).is_some() && name(raw) == name(instead.as_bytes())
}

/// Lets in more than its absence.
fn opens(line: &str) -> bool {
    let Line::Option(assignment) = lines::parse(2, line.as_bytes()).0 else {
        return true;
    };
    let Some(row) = Table::get().find(assignment.name) else {
        return true;
    };
    match (
        row.takes,
        value::take(row, assignment.name, assignment.value, false),
    ) {
        (Takes::Flag { opens }, Ok(taken)) => opens.map(Value::Flag) == Some(taken.value),
        (_, Ok(_)) => matches!(row.option, "listener" | "port" | "bind_address"),
        (_, Err(_)) => true,
    }
}
