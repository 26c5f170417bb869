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

    /// Line and fault of the first lines that are skipped.
    pub(super) fn faults(&self) -> impl Iterator<Item = (u32, LineFault)> {
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

/// A byte order mark before the first line is no part of it.
pub(super) const MARK: &str = "\u{FEFF}";

pub(super) fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(MARK.as_bytes()).unwrap_or(bytes)
}

/// The lines of a file with their numbers from 1, without line ends; a byte order mark before the first is dropped.
pub(super) fn lines(bytes: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    lines_after_mark(without_mark(bytes))
}

/// The same of what follows the mark.
pub(super) fn lines_after_mark(bytes: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    // The last line's end is an end, not the start of one more line.
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    bytes
        .split(|&byte| byte == b'\n')
        .zip(1..)
        .map(|(text, line)| (line, text.strip_suffix(b"\r").unwrap_or(text)))
}

/// User name and hash of a line; `None` for a comment and a blank line.
pub(super) fn parse_line(text: &[u8]) -> Result<Option<(&str, Hash)>, LineFault> {
    match split_line(text)? {
        None => Ok(None),
        Some((user_name, rest)) => {
            let hash = rest.split(':').next().unwrap_or(rest);
            Ok(Some((user_name, Hash::parse(hash.trim_ascii())?)))
        }
    }
}

/// User name and all that follows the first `:`; `None` for a comment and a blank line.
///
/// Errors: what is wrong before that `:`.
pub(super) fn split_line(text: &[u8]) -> Result<Option<(&str, &str)>, LineFault> {
    if text.trim_ascii().is_empty() || text.starts_with(b"#") {
        return Ok(None);
    }
    if text.trim_ascii_start().starts_with(b"#") {
        return Err(LineFault::IndentedComment);
    }
    let text = std::str::from_utf8(text).map_err(|_| LineFault::NotUtf8)?;
    let (user_name, rest) = text.split_once(':').ok_or(LineFault::NoColon)?;
    let user_name = user_name.trim_ascii();
    if user_name.is_empty() {
        return Err(LineFault::EmptyUserName);
    }
    if user_name.len() > limits::USER_NAME_BYTES_MAX {
        return Err(LineFault::UserNameTooLong);
    }
    if user_name.chars().any(char::is_control) {
        return Err(LineFault::ControlCharacter);
    }
    Ok(Some((user_name, rest)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::passwd::hash;

    const ALICE: &str = "alice:$7$101$dJRVb0YElmDAtSWM$LGtgXLEgC1nJ/xzVh3QQNF4LzoAYc79t3AZ6WktAyZeu9eyDX10vVhkkMqwFwuYAdL+hQg/pZ6ah35YIfE5Xbg==";
    const OLD: &str = "old:$6$PeS/X1OZ/ASKpDs/$w3n3MEI696QaTsBk12qY58as69W/BiBDNQlXlBEiTmBib5zzBb6ChmVjS1SZd8IQxbrADluvoFIZ9mE60VSQew==";

    fn check(text: &str, user_name: &str, password: &str) -> Check {
        PasswordFile::parse(text.as_bytes()).check(user_name, password.as_bytes())
    }

    #[test]
    fn known_unknown_and_wrong() {
        let text = format!("{ALICE}\n{OLD}\n");
        assert_eq!(check(&text, "alice", "secret"), Check::Accepted);
        assert_eq!(check(&text, "old", "oldpw"), Check::Accepted);
        assert_eq!(check(&text, "alice", "oldpw"), Check::WrongPassword);
        assert_eq!(check(&text, "alice", ""), Check::WrongPassword);
        assert_eq!(check(&text, "Alice", "secret"), Check::UnknownUser);
        assert_eq!(check(&text, "", "secret"), Check::UnknownUser);
        assert_eq!(check("", "alice", "secret"), Check::UnknownUser);
    }

    /// The stand-in of an unknown user is a true user's hash; its password must open nothing.
    #[test]
    fn an_unknown_user_with_the_right_password_of_another_stays_unknown() {
        for user_name in ["bob", "carol", "dave"] {
            assert_eq!(check(ALICE, user_name, "secret"), Check::UnknownUser);
        }
    }

    #[test]
    fn an_empty_password_is_never_accepted() {
        let hash = Hash::new(Scheme::Sha512, b"", [1; 12]);
        assert_eq!(check(&format!("u:{hash}"), "u", ""), Check::WrongPassword);
    }

    #[test]
    fn comments_blanks_line_ends_marks_and_later_fields() {
        let text = format!(
            "\u{FEFF}# users\r\n\r\n   \t\n  {}  :more:fields\r\n#{OLD}\n {OLD}",
            ALICE.replace(':', " : ")
        );
        let file = PasswordFile::parse(text.as_bytes());
        assert_eq!((file.len(), file.skipped()), (2, 0));
        assert_eq!(file.check("alice", b"secret"), Check::Accepted);
        assert_eq!(file.check("old", b"oldpw"), Check::Accepted);
        assert!(PasswordFile::parse(b"").is_empty());
    }

    fn skipped(file: &PasswordFile) -> Vec<(u32, LineFault)> {
        file.faults().collect()
    }

    #[test]
    fn a_bad_line_lets_nobody_in_and_the_others_stand() {
        let long = "u".repeat(limits::USER_NAME_BYTES_MAX + 1) + ":x";
        for (bad, expected) in [
            (&b"alice"[..], LineFault::NoColon),
            (b" # alice: on holiday", LineFault::IndentedComment),
            (b":$6$a$b", LineFault::EmptyUserName),
            (b"  :x", LineFault::EmptyUserName),
            (b"bob:", LineFault::NoPassword),
            (b"bob: ", LineFault::NoPassword),
            (b"bob::x", LineFault::NoPassword),
            (b"bob:secret", LineFault::PlainText),
            (b"b\x01b:secret", LineFault::ControlCharacter),
            (b"b\xffb:secret", LineFault::NotUtf8),
            (b"b\xc2\x85b:secret", LineFault::ControlCharacter),
            (b"bob:$7$101$dJRVb0YElmDAtSWM", LineFault::MissingField),
            (b"bob:$7$101$dJRVb0YElmDAtSWM$", LineFault::Digest),
            (long.as_bytes(), LineFault::UserNameTooLong),
        ] {
            let text = [ALICE.as_bytes(), b"\n# c\n", bad, b"\n", OLD.as_bytes()].concat();
            let file = PasswordFile::parse(&text);
            assert_eq!(skipped(&file), [(3, expected)]);
            assert_eq!((file.len(), file.skipped()), (2, 1));
            assert_eq!(file.check("alice", b"secret"), Check::Accepted);
            assert_eq!(file.check("old", b"oldpw"), Check::Accepted);
            for password in ["", "secret", "x", "$7$101$dJRVb0YElmDAtSWM"] {
                assert_eq!(file.check("bob", password.as_bytes()), Check::UnknownUser);
                assert_ne!(file.check("", password.as_bytes()), Check::Accepted);
            }
            let warnings = file.warnings(Path::new("pw"));
            assert_eq!(warnings.len(), 1);
            assert!(warnings[0].starts_with("password file pw:3 skipped"));
        }
    }

    /// A file cut anywhere lets in whose lines are whole, and nobody else.
    #[test]
    fn no_truncation_makes_another_user_or_password() {
        let text = format!("{OLD}\n{ALICE}\n");
        let full = PasswordFile::parse(text.as_bytes());
        for cut in 0..text.len() {
            let file = PasswordFile::parse(&text.as_bytes()[..cut]);
            let whole = [("old", cut >= OLD.len()), ("alice", cut >= text.len() - 1)];
            for (user, is_whole) in whole {
                let hash = full.hash_of(user).filter(|_| is_whole);
                assert!(file.hash_of(user) == hash, "{user} at {cut}");
            }
            assert_eq!(
                file.len(),
                whole.iter().filter(|(_, is_whole)| *is_whole).count()
            );
        }
    }

    #[test]
    fn a_user_twice_is_in_with_one_hash_and_out_with_two() {
        let other = OLD.replace("old:", "alice:");
        let text = format!("# c\n{ALICE}\n{OLD}\n\n{ALICE}\n{OLD}\n");
        let file = PasswordFile::parse(text.as_bytes());
        let doubled = |first| LineFault::Doubled { first };
        assert_eq!(skipped(&file), [(5, doubled(2)), (6, doubled(3))]);
        assert_eq!(file.check("alice", b"secret"), Check::Accepted);
        assert_eq!(file.check("old", b"oldpw"), Check::Accepted);

        let file = PasswordFile::parse(format!("{ALICE}\n{OLD}\n{other}\n{ALICE}").as_bytes());
        let contradicted = |other| LineFault::Contradicted { other };
        let expected = [
            (1, contradicted(3)),
            (3, contradicted(1)),
            (4, contradicted(3)),
        ];
        assert_eq!(skipped(&file), expected);
        assert_eq!(file.check("alice", b"secret"), Check::UnknownUser);
        assert_eq!(file.check("alice", b"oldpw"), Check::UnknownUser);
        assert_eq!(file.check("old", b"oldpw"), Check::Accepted);

        // A line that lets nobody in contradicts none that does.
        let file = PasswordFile::parse(format!("alice:plain\n{ALICE}\nalice:$7$\n").as_bytes());
        assert_eq!((file.len(), file.skipped()), (1, 2));
        assert_eq!(file.check("alice", b"secret"), Check::Accepted);
        assert_eq!(file.check("alice", b"plain"), Check::WrongPassword);
    }

    #[test]
    fn warnings_are_few_however_many_lines_are_bad() {
        let text = "bad\n".repeat(3 * limits::PASSWORD_LINES_SKIPPED_KEPT);
        let file = PasswordFile::parse(format!("{text}{ALICE}\n{ALICE}\n").as_bytes());
        let skipped = 3 * limits::PASSWORD_LINES_SKIPPED_KEPT + 1;
        assert_eq!((file.len(), file.skipped()), (1, skipped));
        assert_eq!(file.faults().count(), limits::PASSWORD_LINES_SKIPPED_KEPT);
        let warnings = file.warnings(Path::new("pw"));
        let told = limits::PASSWORD_LINES_SKIPPED_TOLD;
        assert_eq!(warnings.len(), told + 1);
        assert!(warnings[told].contains(&format!("{} more lines", skipped - told)));
        let empty = PasswordFile::parse(b"# nobody yet\n").warnings(Path::new("pw"));
        assert!(matches!(&empty[..], [one] if one.contains("mqttfast passwd pw USER")));
    }

    #[test]
    fn users_are_gone_without_a_line_and_lost_by_a_bad_one() {
        let old = format!("{ALICE}\n{OLD}\nplain:text\n  # note\nno colon\n");
        let old = PasswordFile::parse(old.as_bytes());
        let after = |text: &str| old.successor(&PasswordFile::parse(text.as_bytes()));
        let gone =
            |names: &[&str]| Succession::Gone(names.iter().map(|&name| name.into()).collect());
        let lost =
            |names: &[&str]| Succession::Lost(names.iter().map(|&name| name.into()).collect());
        assert_eq!(after(&format!("{OLD}\nnew:plain\n{ALICE}\ncut")), gone(&[]));
        assert_eq!(after(&format!("{OLD}\n")), gone(&["alice"]));
        assert_eq!(after(&format!("{OLD}\n # {ALICE}\n")), gone(&["alice"]));
        assert_eq!(after(""), gone(&["alice", "old"]));
        // What was bad before shuts nobody out now.
        assert_eq!(
            after(&format!("{OLD}\nno colon\nplain:text")),
            gone(&["alice"])
        );
        // A line of the user's own, or one that may have been anybody's.
        assert_eq!(after(&format!("{OLD}\nalice:secret\n")), lost(&["alice"]));
        let twice = format!("{OLD}\n{ALICE}\n{}\n", OLD.replace("old:", "alice:"));
        assert_eq!(after(&twice), lost(&["alice"]));
        assert_eq!(after("alice:$7$101$dJRV"), lost(&["alice"]));
        assert_eq!(after(&format!("{OLD}\nali")), lost(&["alice"]));
        assert_eq!(after("\u{0}\u{1}"), lost(&["alice", "old"]));
    }

    /// Hashing is what a check costs: an unknown user's takes as much of it as a known one's, whatever the password, or
    /// the answer's time would tell who is in the file.
    #[test]
    fn an_unknown_user_is_hashed_like_a_known_one() {
        let users = ["alice", "bob", "carol"];
        let text = users.map(|name| ALICE.replace("alice", name)).join("\n");
        let file = PasswordFile::parse(format!("{text}\ndan:plain\n").as_bytes());
        let cost = |file: &PasswordFile, user: &str, password: &[u8]| {
            let before = hash::iterations_done();
            file.check(user, password);
            hash::iterations_done() - before
        };
        for password in [&b"secret"[..], b"wrong", b""] {
            for user in users.iter().chain(&["dan", "eve", "", "ALICE"]) {
                assert_eq!(cost(&file, user, password), 101, "{user}");
            }
            let empty = PasswordFile::parse(b"");
            let default = u64::from(limits::PASSWORD_ITERATIONS_DEFAULT);
            assert_eq!(cost(&empty, "alice", password), default);
        }
    }
}
