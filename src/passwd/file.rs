//! The users of a password file, and how a CONNECT is checked against them.
//!
//! Lines are `user:hash`, blanks around both trimmed; what follows a second `:` is ignored, as Mosquitto does. Blank
//! lines and those that start with `#` are comments. Every other line that cannot be read is skipped: it lets nobody
//! in, and is told with its number, the cause and the remedy. A broker before this one took such a line for a user
//! without a password (CVE-2018-12551); here a user exists by a whole hash alone. Where two lines give one user two
//! hashes, the user is skipped: one of the two passwords is out of date.
//!
//! A file that takes another's place at run time is compared with it first, see [`PasswordFile::successor`].

use super::fault::{LineFault, PasswordFileError};
use super::hash::{Hash, Scheme};
use super::lines::{lines, parse_line, split_line};
use super::open;
use crate::limits;
use std::hash::{BuildHasher, DefaultHasher, Hash as _, Hasher, RandomState};
use std::path::Path;

/// The users of one file. Immutable: a changed file is loaded anew.
pub struct PasswordFile {
    /// Sorted by user name.
    users: Vec<User>,
    /// The first lines that are skipped, at most [`limits::PASSWORD_LINES_SKIPPED_KEPT`], by number.
    skipped: Vec<Skipped>,
    /// All lines that are skipped.
    skipped_count: usize,
    /// Chooses, unforeseeably but always alike for one name, whose hash stands in for an unknown user's.
    stand_in: RandomState,
    /// Stands in when there are no users at all.
    nobody: Hash,
}

struct User {
    user_name: Box<str>,
    hash: Hash,
    line: u32,
}

/// A line that lets nobody in.
struct Skipped {
    line: u32,
    fault: LineFault,
    whose: Whose,
}

/// Whom a skipped line would have let in.
#[derive(PartialEq, Eq)]
enum Whose {
    User(Box<str>),
    /// It has no name that can be read. The hash of its text tells whether another file has the same line.
    Unknown(u64),
    /// It is a comment.
    Nobody,
}

/// What a check of user name and password found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Check {
    /// The password is the user's.
    Accepted,
    /// No line lets this user in.
    UnknownUser,
    /// It is not the user's, or empty.
    WrongPassword,
}

/// What becomes of the users of one file when another takes its place.
#[derive(PartialEq, Eq, Debug)]
pub enum Succession {
    /// These users are gone, since no line names them any more. Sorted.
    Gone(Vec<Box<str>>),
    /// These users would be shut out by lines that have gone bad since. Sorted, and never empty.
    Lost(Vec<Box<str>>),
}

impl PasswordFile {
    /// Reads the file at `path`, following symbolic links.
    ///
    /// Errors: there is no such file, or it cannot be read; one sentence with the remedy.
    pub fn load(path: &Path) -> Result<PasswordFile, PasswordFileError> {
        match open::read(path) {
            Ok(bytes) => Ok(PasswordFile::parse(&bytes)),
            Err(fault) => Err(PasswordFileError {
                path: path.to_path_buf(),
                fault,
            }),
        }
    }

    /// Reads the text of a file. Any text will do: what is no user's line is skipped.
    pub fn parse(bytes: &[u8]) -> PasswordFile {
        let mut users = Vec::new();
        let mut skips = Skips::default();
        for (line, text) in lines(bytes) {
            match parse_line(text) {
                Ok(None) => {}
                Ok(Some((user_name, hash))) => users.push(User {
                    user_name: user_name.into(),
                    hash,
                    line,
                }),
                Err(fault) => skips.push(line, fault, || whose(text)),
            }
        }
        users.sort_unstable_by(|a, b| a.user_name.cmp(&b.user_name).then(a.line.cmp(&b.line)));
        let users = one_line_each(users, &mut skips);
        let (skipped, skipped_count) = skips.finish();
        let iterations = limits::PASSWORD_ITERATIONS_DEFAULT;
        PasswordFile {
            users,
            skipped,
            skipped_count,
            stand_in: RandomState::new(),
            nobody: Hash::of_nobody(Scheme::Pbkdf2 { iterations }),
        }
    }

    /// What the owner of the file at `path` should know: skipped lines, of which the first
    /// [`limits::PASSWORD_LINES_SKIPPED_TOLD`] are told, and that there are no users. A sentence each.
    pub fn warnings(&self, path: &Path) -> Vec<String> {
        let file = path.display();
        let told = self
            .skipped
            .iter()
            .take(limits::PASSWORD_LINES_SKIPPED_TOLD);
        let mut warnings: Vec<String> = told
            .map(|Skipped { line, fault, whose }| {
                let sentence = fault.sentence(path);
                match whose {
                    Whose::User(name) => {
                        let name = shown(name);
                        format!("password file {file}:{line} skipped, user {name}: {sentence}")
                    }
                    Whose::Unknown(_) | Whose::Nobody => {
                        format!("password file {file}:{line} skipped: {sentence}")
                    }
                }
            })
            .collect();
        let more = self.skipped_count - warnings.len();
        if more > 0 {
            warnings.push(format!(
                "password file {file}: {more} more lines skipped; is it the right file?"
            ));
        }
        if self.users.is_empty() {
            let argument = super::fault::shell_quoted(path);
            warnings.push(format!(
                "password file {file} has no users, so nobody can log in; add one with: mqttfast passwd {argument} USER"
            ));
        }
        warnings
    }

    /// Whether `new` may take the place of this file.
    ///
    /// A user whom no line of `new` names is gone: somebody deleted that line. But a user whom only a skipped line
    /// names did not go by anybody's will. A line that names nobody, a cut one, may have been anybody's: if it is new,
    /// everyone missing is lost.
    pub fn successor(&self, new: &PasswordFile) -> Succession {
        let missing = || {
            let users = self.users.iter().map(|user| &user.user_name);
            users.filter(|name| new.hash_of(name).is_none())
        };
        let is_new = |skipped: &Skipped| {
            matches!(skipped.whose, Whose::Unknown(_))
                && !self.skipped.iter().any(|old| old.whose == skipped.whose)
        };
        let not_kept = |file: &PasswordFile| file.skipped_count - file.skipped.len();
        let anybody = not_kept(new) > not_kept(self) || new.skipped.iter().any(is_new);
        let mut bad: Vec<&str> = new.skipped.iter().filter_map(Skipped::user_name).collect();
        bad.sort_unstable();
        let lost: Vec<Box<str>> = missing()
            .filter(|name| anybody || bad.binary_search(&&***name).is_ok())
            .cloned()
            .collect();
        if lost.is_empty() {
            Succession::Gone(missing().cloned().collect())
        } else {
            Succession::Lost(lost)
        }
    }

    /// Checks a CONNECT's User Name and Password.
    ///
    /// An empty password is never accepted, whatever the file says: callers need not tell it from an absent one.
    /// An unknown user costs as much as a known one: the password is held against the hash of another user,
    /// always the same for the same name, so that neither one answer's time nor the spread of many names a user.
    pub fn check(&self, user_name: &str, password: &[u8]) -> Check {
        let found = self.hash_of(user_name);
        let hash = match found {
            Some(hash) => hash,
            None if self.users.is_empty() => &self.nobody,
            None => {
                let index = self.stand_in.hash_one(user_name) % self.users.len() as u64;
                &self.users[index as usize].hash
            }
        };
        let verified = hash.verify(password);
        match found {
            None => Check::UnknownUser,
            Some(_) if verified && !password.is_empty() => Check::Accepted,
            Some(_) => Check::WrongPassword,
        }
    }

    /// What the line of this user holds.
    pub(super) fn hash_of(&self, user_name: &str) -> Option<&Hash> {
        let found = self
            .users
            .binary_search_by(|user| (*user.user_name).cmp(user_name));
        found.ok().map(|index| &self.users[index].hash)
    }

    /// Users in the file.
    pub fn len(&self) -> usize {
        self.users.len()
    }

    /// There are no users, so nobody can log in.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    /// Lines that are skipped.
    pub fn skipped(&self) -> usize {
        self.skipped_count
    }

    /// The users with their lines, sorted by name.
    pub fn users(&self) -> impl Iterator<Item = (u32, &str, &Hash)> {
        let users = self.users.iter();
        users.map(|user| (user.line, &*user.user_name, &user.hash))
    }

    /// Line and fault of the first lines that are skipped.
    pub fn faults(&self) -> impl Iterator<Item = (u32, LineFault)> {
        self.skipped
            .iter()
            .map(|skipped| (skipped.line, skipped.fault))
    }
}

impl Skipped {
    fn user_name(&self) -> Option<&str> {
        match &self.whose {
            Whose::User(name) => Some(name),
            Whose::Unknown(_) | Whose::Nobody => None,
        }
    }
}

/// A user name as a warning shows it: in quotes, and never endless.
pub fn shown(user_name: &str) -> String {
    const CHARACTERS_MAX: usize = 60;
    match user_name.char_indices().nth(CHARACTERS_MAX) {
        None => format!("'{user_name}'"),
        Some((end, _)) => format!("'{}…'", &user_name[..end]),
    }
}

/// Skipped lines while a file is read. Those of one kind come by rising number, so the first of each kind are enough.
#[derive(Default)]
struct Skips {
    kept: Vec<Skipped>,
    count: usize,
    /// Skips of the kind under way that are in `kept`.
    of_kind: usize,
}

impl Skips {
    fn push(&mut self, line: u32, fault: LineFault, whose: impl FnOnce() -> Whose) {
        self.count += 1;
        if self.of_kind < limits::PASSWORD_LINES_SKIPPED_KEPT {
            self.of_kind += 1;
            let whose = whose();
            self.kept.push(Skipped { line, fault, whose });
        }
    }

    /// What is pushed from here on is of another kind.
    fn begin_kind(&mut self) {
        self.of_kind = 0;
    }

    /// The first by number, and the number of all.
    fn finish(mut self) -> (Vec<Skipped>, usize) {
        self.kept.sort_unstable_by_key(|skipped| skipped.line);
        self.kept.truncate(limits::PASSWORD_LINES_SKIPPED_KEPT);
        (self.kept, self.count)
    }
}

/// Leaves one line to each user whose lines agree, and none to one whose lines do not. `users` are sorted by name, then
/// line.
fn one_line_each(users: Vec<User>, skips: &mut Skips) -> Vec<User> {
    let mut kept: Vec<User> = Vec::with_capacity(users.len());
    let mut surplus: Vec<(u32, LineFault, Box<str>)> = Vec::new();
    let mut rest = users.into_iter().peekable();
    while let Some(first) = rest.next() {
        let mut others = Vec::new();
        while let Some(other) = rest.next_if(|user| user.user_name == first.user_name) {
            others.push(other);
        }
        let first_line = first.line;
        let differing = others.iter().find(|other| other.hash != first.hash);
        let differing = differing.map(|other| other.line);
        for other in others {
            let fault = match differing {
                None => LineFault::Doubled { first: first_line },
                Some(line) if other.hash == first.hash => LineFault::Contradicted { other: line },
                Some(_) => LineFault::Contradicted { other: first_line },
            };
            surplus.push((other.line, fault, other.user_name));
        }
        match differing {
            None => kept.push(first),
            Some(other) => {
                let fault = LineFault::Contradicted { other };
                surplus.push((first_line, fault, first.user_name));
            }
        }
    }
    surplus.sort_unstable_by_key(|(line, _, _)| *line);
    skips.begin_kind();
    for (line, fault, user_name) in surplus {
        skips.push(line, fault, || Whose::User(user_name));
    }
    kept
}

/// Whom a line that is skipped would have let in.
fn whose(text: &[u8]) -> Whose {
    match split_line(text) {
        Ok(Some((user_name, _))) => Whose::User(user_name.into()),
        Ok(None) | Err(LineFault::IndentedComment) => Whose::Nobody,
        Err(_) => {
            let mut hasher = DefaultHasher::new();
            text.hash(&mut hasher);
            Whose::Unknown(hasher.finish())
        }
    }
}

#[cfg(test)]
mod tests;
