//! Reads a whole password file and checks user names and passwords against it.
//!
//! A file is taken as a whole or not at all: a line that cannot be read refuses it, since a line skipped in
//! silence is how a user without a password came to be once (CVE-2018-12551). Lines are `user:hash`, blanks around
//! both trimmed; what follows a second `:` is ignored, as Mosquitto does. Blank lines and those that start with
//! `#` are skipped.

use super::fault::{Account, Denied, Fault, LineFault, Owner, PasswordFileError};
use super::hash::{Hash, Scheme};
use crate::limits;
use std::fs::{File, Metadata};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Files beside a missing one that are looked at for a similar name.
const SIBLINGS_MAX: usize = 1000;
/// Letters to change, add or take away at most for two names to be similar.
const NAME_EDITS_MAX: usize = 2;
/// First letters two names must share to be similar however they end.
const NAME_PREFIX_MIN: usize = 4;

/// The users of one file. Immutable: a changed file is loaded anew.
pub struct PasswordFile {
    /// Sorted by user name.
    users: Vec<User>,
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

/// What a check of user name and password found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Check {
    Accepted,
    UnknownUser,
    WrongPassword,
}

impl PasswordFile {
    /// Reads the file at `path`, following symbolic links.
    ///
    /// Errors: one sentence with file, line and remedy; nothing of a bad file is used.
    pub fn load(path: &Path) -> Result<PasswordFile, PasswordFileError> {
        let at_path = |fault| PasswordFileError {
            path: path.to_path_buf(),
            fault,
        };
        let bytes = read(path).map_err(at_path)?;
        PasswordFile::parse(&bytes).map_err(at_path)
    }

    /// Reads the text of a file; the errors are `Fault::Line` and `Fault::Duplicate` alone.
    pub fn parse(bytes: &[u8]) -> Result<PasswordFile, Fault> {
        let mut users = Vec::new();
        for (line, text) in lines(bytes) {
            let user = parse_line(text).map_err(|fault| Fault::Line { line, fault })?;
            if let Some((user_name, hash)) = user {
                users.push(User {
                    user_name: user_name.into(),
                    hash,
                    line,
                });
            }
        }
        users.sort_by(|a, b| a.user_name.cmp(&b.user_name).then(a.line.cmp(&b.line)));
        // Of several, the one highest in the file is told, so that the answer does not depend on the names' order.
        let duplicate = users
            .windows(2)
            .filter(|pair| pair[0].user_name == pair[1].user_name)
            .min_by_key(|pair| pair[1].line);
        if let Some([first, second]) = duplicate {
            return Err(Fault::Duplicate {
                user_name: first.user_name.to_string(),
                first: first.line,
                second: second.line,
            });
        }
        let iterations = limits::PASSWORD_ITERATIONS_DEFAULT;
        Ok(PasswordFile {
            users,
            stand_in: RandomState::new(),
            nobody: Hash::of_nobody(Scheme::Pbkdf2 { iterations }),
        })
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

    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
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
pub(super) fn split_line(text: &[u8]) -> Result<Option<(&str, &str)>, LineFault> {
    if text.trim_ascii().is_empty() || text.starts_with(b"#") {
        return Ok(None);
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

/// The bytes of a regular file of allowed size.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, Fault> {
    // Without O_NONBLOCK the opening of a named pipe would wait for its writer.
    let file = File::options()
        .read(true)
        .custom_flags(nix::libc::O_NONBLOCK)
        .open(path)
        .map_err(|error| explain(path, error))?;
    let metadata = file.metadata().map_err(Fault::Refused)?;
    if !metadata.is_file() {
        return Err(Fault::NotAFile);
    }
    let mut bytes = Vec::new();
    file.take(limits::PASSWORD_FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(Fault::Refused)?;
    if bytes.len() as u64 > limits::PASSWORD_FILE_BYTES_MAX {
        return Err(Fault::TooLarge);
    }
    Ok(bytes)
}

/// Looks around for the cause of a failed opening.
pub(super) fn explain(path: &Path, error: io::Error) -> Fault {
    match error.kind() {
        io::ErrorKind::NotFound => match parent(path) {
            directory if !directory.is_dir() => Fault::MissingDirectory(directory),
            directory => Fault::Missing {
                similar: similar_sibling(&directory, path),
            },
        },
        io::ErrorKind::PermissionDenied => explain_denied(path).unwrap_or(Fault::Refused(error)),
        _ => Fault::Refused(error),
    }
}

/// The directory of a path, `.` for a bare name.
pub(super) fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

/// Tells a file that may not be read from a directory that may not be passed.
fn explain_denied(path: &Path) -> Option<Fault> {
    if let Ok(metadata) = path.metadata() {
        return Some(Fault::Unreadable(denied(&metadata)));
    }
    // The innermost directory that can be looked at is the one that lets nobody further.
    let directory = path.ancestors().skip(1).map(|directory| match directory {
        empty if empty.as_os_str().is_empty() => Path::new("."),
        directory => directory,
    });
    for directory in directory {
        if let Ok(metadata) = directory.metadata() {
            return Some(Fault::Unreachable {
                directory: directory.to_path_buf(),
                denied: denied(&metadata),
            });
        }
    }
    None
}

fn denied(metadata: &Metadata) -> Box<Denied> {
    let group = nix::unistd::Group::from_gid(metadata.gid().into());
    Box::new(Denied {
        owner: Owner {
            user: account(metadata.uid()),
            group: Account {
                id: metadata.gid(),
                name: group.ok().flatten().map(|group| group.name),
            },
            mode: metadata.permissions().mode() & 0o7777,
        },
        reader: account(nix::unistd::geteuid().as_raw()),
    })
}

fn account(id: u32) -> Account {
    Account {
        id,
        name: nix::unistd::User::from_uid(id.into())
            .ok()
            .flatten()
            .map(|user| user.name),
    }
}

/// The regular file in `directory` whose name is most like that of `path`, if one is like it at all.
fn similar_sibling(directory: &Path, path: &Path) -> Option<PathBuf> {
    let wanted = path.file_name()?.to_str()?.to_lowercase();
    directory
        .read_dir()
        .ok()?
        .take(SIBLINGS_MAX)
        .filter_map(|entry| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            let distance = likeness(&wanted, &name.to_lowercase())?;
            let sibling = match path.parent() {
                Some(parent) => parent.join(&name),
                None => PathBuf::from(&name),
            };
            sibling.is_file().then_some((distance, sibling))
        })
        .min()
        .map(|(_, sibling)| sibling)
}

/// Edits between two names that are alike; `None` if they are not. A name is also like another that begins as it
/// does: `passwd` and `passwordfile`, `users` and `users.txt`.
fn likeness(a: &str, b: &str) -> Option<usize> {
    let distance = edit_distance(a, b);
    let shared = a.chars().zip(b.chars()).take_while(|(a, b)| a == b).count();
    let alike = distance <= NAME_EDITS_MAX && distance < a.chars().count().min(b.chars().count());
    (alike || shared >= NAME_PREFIX_MIN).then_some(distance)
}

/// Levenshtein distance, O(a × b) for file names of at most 255 bytes.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &to) in b.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = (diagonal + usize::from(from != to))
                .min(above + 1)
                .min(row[j] + 1);
            diagonal = above;
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: &str = "alice:$7$101$dJRVb0YElmDAtSWM$LGtgXLEgC1nJ/xzVh3QQNF4LzoAYc79t3AZ6WktAyZeu9eyDX10vVhkkMqwFwuYAdL+hQg/pZ6ah35YIfE5Xbg==";
    const OLD: &str = "old:$6$PeS/X1OZ/ASKpDs/$w3n3MEI696QaTsBk12qY58as69W/BiBDNQlXlBEiTmBib5zzBb6ChmVjS1SZd8IQxbrADluvoFIZ9mE60VSQew==";

    fn check(text: &str, user_name: &str, password: &str) -> Check {
        PasswordFile::parse(text.as_bytes())
            .unwrap_or_else(|fault| panic!("{fault:?}"))
            .check(user_name, password.as_bytes())
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
        let file = PasswordFile::parse(text.as_bytes()).unwrap_or_else(|fault| panic!("{fault:?}"));
        assert_eq!(file.len(), 2);
        assert_eq!(file.check("alice", b"secret"), Check::Accepted);
        assert_eq!(file.check("old", b"oldpw"), Check::Accepted);
        assert!(PasswordFile::parse(b"").is_ok_and(|file| file.is_empty()));
    }

    #[test]
    fn one_bad_line_refuses_the_file_and_is_named() {
        for (bad, expected) in [
            (&b"alice"[..], LineFault::NoColon),
            (b":$6$a$b", LineFault::EmptyUserName),
            (b"  :x", LineFault::EmptyUserName),
            (b"alice:", LineFault::NoPassword),
            (b"alice: ", LineFault::NoPassword),
            (b"alice::x", LineFault::NoPassword),
            (b"bob:secret", LineFault::PlainText),
            (b"b\x01b:secret", LineFault::ControlCharacter),
            (b"b\xffb:secret", LineFault::NotUtf8),
            (b"b\xc2\x85b:secret", LineFault::ControlCharacter),
            (b"bob:$7$101$dJRVb0YElmDAtSWM", LineFault::MissingField),
        ] {
            let text = [
                ALICE.as_bytes(),
                b"\n# c\n",
                bad,
                b"\n",
                OLD.as_bytes(),
                b"\n",
            ]
            .concat();
            match PasswordFile::parse(&text).err() {
                Some(Fault::Line { line: 3, fault }) => assert_eq!(fault, expected),
                other => panic!("{other:?} for {}", String::from_utf8_lossy(bad)),
            }
        }
        let long = "u".repeat(limits::USER_NAME_BYTES_MAX + 1) + ":x";
        assert!(matches!(
            PasswordFile::parse(long.as_bytes()).err(),
            Some(Fault::Line {
                line: 1,
                fault: LineFault::UserNameTooLong
            })
        ));
    }

    /// Every file cut short is refused or has lost whole lines only.
    #[test]
    fn no_truncation_makes_another_user_or_password() {
        let text = format!("{OLD}\n{ALICE}\n");
        for cut in 0..text.len() {
            match PasswordFile::parse(&text.as_bytes()[..cut]) {
                Err(_) => {}
                Ok(file) => {
                    assert_eq!(
                        file.check("alice", b"secret") == Check::Accepted,
                        cut >= text.len() - 1
                    );
                    assert_eq!(
                        file.len(),
                        text[..cut]
                            .split('\n')
                            .filter(|line| !line.is_empty())
                            .count()
                    );
                }
            }
        }
    }

    #[test]
    fn a_user_twice_is_told_with_both_lines() {
        let text = format!("# c\n{ALICE}\n{OLD}\n\n{ALICE}\n{OLD}\n");
        match PasswordFile::parse(text.as_bytes()).err() {
            Some(Fault::Duplicate {
                user_name,
                first: 2,
                second: 5,
            }) => assert_eq!(user_name, "alice"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn names_that_are_alike() {
        for (a, b) in [
            ("passwordfile", "passwd"),
            ("passwd", "paswd"),
            ("pwfile", "pw_file"),
            ("users", "users.txt"),
        ] {
            assert!(likeness(a, b).is_some(), "{a} {b}");
        }
        for (a, b) in [
            ("passwd", "mosquitto.conf"),
            ("a", "b"),
            ("acl", "pwd"),
            ("pw", "ca"),
        ] {
            assert!(likeness(a, b).is_none(), "{a} {b}");
        }
    }
}
