//! What can be wrong with a password file, told to its owner: one sentence with the file, the line where
//! there is one, the cause and the remedy.

use crate::limits;
use std::fmt;
use std::path::{Path, PathBuf};

/// A password file that cannot be used. Its `Display` is the whole sentence.
#[derive(Debug)]
pub struct PasswordFileError {
    pub path: PathBuf,
    pub fault: Fault,
}

/// Why a password file cannot be used.
#[derive(Debug)]
pub enum Fault {
    /// There is no such file; `similar` is one beside it with a name much like it.
    Missing { similar: Option<PathBuf> },
    /// There is not even its directory.
    MissingDirectory(PathBuf),
    /// The running user may not read it.
    Unreadable(Box<Denied>),
    /// A directory on the way to it does not let the running user through.
    Unreachable {
        directory: PathBuf,
        denied: Box<Denied>,
    },
    /// A directory, a device or the like.
    NotAFile,
    /// More than [`limits::PASSWORD_FILE_BYTES_MAX`].
    TooLarge,
    /// The kernel refused for another reason.
    Refused(std::io::Error),
    /// A line breaks the format; lines count from 1.
    Line { line: u32, fault: LineFault },
    /// Two lines for one user.
    Duplicate {
        user_name: String,
        first: u32,
        second: u32,
    },
}

/// Whose file or directory kept out whom.
#[derive(Debug)]
pub struct Denied {
    pub owner: Owner,
    pub reader: Account,
}

/// The rule a line breaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LineFault {
    NoColon,
    EmptyUserName,
    UserNameTooLong,
    ControlCharacter,
    NotUtf8,
    NoPassword,
    PlainText,
    Argon2,
    UnknownScheme,
    MissingField,
    Iterations,
    IterationsTooMany,
    Salt,
    Digest,
}

/// A user of this machine, with the name where there is one.
#[derive(Debug)]
pub struct Account {
    pub id: u32,
    pub name: Option<String>,
}

/// To whom a file belongs and what they may do with it.
#[derive(Debug)]
pub struct Owner {
    pub user: Account,
    pub group: Account,
    /// Permission bits, 0..=0o7777.
    pub mode: u32,
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{name}"),
            None => write!(f, "{}", self.id),
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "belongs to {}:{} with mode {:04o}",
            self.user, self.group, self.mode
        )
    }
}

impl std::error::Error for PasswordFileError {}

impl fmt::Display for PasswordFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        let argument = shell_quoted(&self.path);
        match &self.fault {
            Fault::Missing {
                similar: Some(similar),
            } => {
                write!(
                    f,
                    "password file {path} does not exist; did you mean {}?",
                    similar.display()
                )
            }
            Fault::Missing { similar: None } => {
                write!(
                    f,
                    "password file {path} does not exist; make it with: mqttfast passwd -c {argument} USER"
                )
            }
            Fault::MissingDirectory(directory) => write!(
                f,
                "password file {path} does not exist: there is no directory {}; check the path",
                directory.display()
            ),
            Fault::Unreadable(denied) => {
                let Denied { owner, reader } = &**denied;
                write!(f, "password file {path} cannot be read: it {owner}, ")?;
                if owner.user.id == reader.id {
                    write!(
                        f,
                        "which keeps out even {reader} (uid {}), who runs this; run: chmod u+r {argument}",
                        reader.id
                    )
                } else {
                    write!(
                        f,
                        "and this runs as {reader} (uid {}); run: sudo chown {reader} {argument}",
                        reader.id
                    )
                }
            }
            Fault::Unreachable { directory, denied } => {
                let Denied { owner, reader } = &**denied;
                write!(
                    f,
                    "password file {path} cannot be reached: directory {} {owner}, and this runs as {reader} (uid {}); run: sudo chmod {} {}",
                    directory.display(),
                    reader.id,
                    if owner.user.id == reader.id {
                        "u+x"
                    } else {
                        "o+x"
                    },
                    shell_quoted(directory)
                )
            }
            Fault::NotAFile => write!(
                f,
                "password file {path} is not a regular file; give the path of a file made with mqttfast passwd"
            ),
            Fault::TooLarge => write!(
                f,
                "password file {path} has more than {} bytes; is it the right file?",
                limits::PASSWORD_FILE_BYTES_MAX
            ),
            Fault::Refused(error) => write!(
                f,
                "password file {path} cannot be read: {error}; check the path and the disk"
            ),
            Fault::Line { line, fault } => {
                write!(f, "password file {path}, line {line}: ")?;
                fault.describe(&argument, f)
            }
            Fault::Duplicate {
                user_name,
                first,
                second,
            } => write!(
                f,
                "password file {path}, line {second}: user '{user_name}' is there a second time after line {first}; delete one of the two lines"
            ),
        }
    }
}

impl LineFault {
    /// Cause and remedy; `argument` is the file as a shell takes it.
    pub(super) fn describe(self, argument: &str, f: &mut impl fmt::Write) -> fmt::Result {
        match self {
            LineFault::NoColon => f.write_str("there is no ':' between user name and password; delete the line, or start it with # if it is a comment"),
            LineFault::EmptyUserName => f.write_str("the user name before ':' is empty; delete the line"),
            LineFault::UserNameTooLong => {
                write!(f, "the user name is longer than the {} bytes MQTT allows; delete the line", limits::USER_NAME_BYTES_MAX)
            }
            LineFault::ControlCharacter => f.write_str("the user name holds a control character; type the line again"),
            LineFault::NotUtf8 => f.write_str("the line is not UTF-8, as MQTT wants user names to be; save the file as UTF-8"),
            LineFault::NoPassword => {
                write!(f, "the user has no password; set one with: mqttfast passwd {argument} USER, or delete the line")
            }
            LineFault::PlainText => write!(f, "the password is plain text; hash the whole file with: mqttfast passwd -U {argument}"),
            LineFault::Argon2 => write!(
                f,
                "the password is hashed with Argon2, which mqttfast does not read yet; set it again with: mqttfast passwd {argument} USER"
            ),
            LineFault::UnknownScheme => write!(
                f,
                "the password starts with $ but is neither $6$ nor $7$; set it again with: mqttfast passwd {argument} USER"
            ),
            LineFault::MissingField => write!(
                f,
                "the line was cut: $6$ wants salt$digest, $7$ iterations$salt$digest; set the password again with: mqttfast passwd {argument} USER"
            ),
            LineFault::Iterations => write!(
                f,
                "the iterations after $7$ are no whole number from 1 on; set the password again with: mqttfast passwd {argument} USER"
            ),
            LineFault::IterationsTooMany => write!(
                f,
                "more than {} iterations, so one login would hold up all others; set the password again with: mqttfast passwd {argument} USER",
                limits::PASSWORD_ITERATIONS_MAX
            ),
            LineFault::Salt => write!(
                f,
                "the salt is not base64 of 12 or 64 bytes; set the password again with: mqttfast passwd {argument} USER"
            ),
            LineFault::Digest => write!(
                f,
                "the digest is not base64 of 64 bytes; set the password again with: mqttfast passwd {argument} USER"
            ),
        }
    }
}

/// The path as one argument of a shell, so that a remedy can be copied as it stands.
pub(super) fn shell_quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_alphanumeric() || "/._-+,@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_quoted_when_a_shell_needs_it() {
        for (path, quoted) in [
            ("/etc/mqttfast/passwd", "/etc/mqttfast/passwd"),
            ("my file", "'my file'"),
            ("it's", "'it'\\''s'"),
            ("", "''"),
            ("a;b", "'a;b'"),
        ] {
            assert_eq!(shell_quoted(Path::new(path)), quoted);
        }
    }
}
