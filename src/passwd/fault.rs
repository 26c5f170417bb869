//! What can be wrong with a password file, told to its owner: the file, the line where there is one, the cause and the
//! remedy. Each fault is one variant and says its sentence in one row.

use crate::limits::{
    ARGON2_LANES_MAX, ARGON2_MEMORY_KIB_MAX, ARGON2_WORK_KIB_MAX, PASSWORD_FILE_BYTES_MAX,
    PASSWORD_ITERATIONS_MAX, USER_NAME_BYTES_MAX,
};
use std::fmt;
use std::path::{Path, PathBuf};

/// Writes each fault once: variant, what it holds, sentence. A row names what it holds, the limits above, and the words
/// before `|`.
macro_rules! faults {
    (
        $(#[$about:meta])* $kind:ident |$($word:ident),*|
        $($name:ident $({ $($field:ident: $type:ty),* })? => $text:literal;)*
    ) => {
        $(#[$about])*
        pub enum $kind {
            $(
                #[doc = $text]
                $name $({
                    $(
                        #[doc = concat!("What the sentence puts for `", stringify!($field), "`.")]
                        $field: $type
                    ),*
                })?,
            )*
        }

        impl $kind {
            fn describe(&self, $($word: &dyn fmt::Display,)* f: &mut impl fmt::Write) -> fmt::Result {
                match self {
                    $($kind::$name $({ $($field),* })? => write!(f, $text),)*
                }
            }
        }
    };
}

faults! {
    /// Why a password file cannot be used. Paths and commands in it are as a shell takes them.
    #[derive(Debug)]
    Fault |path, argument|

    Missing => "password file {path} does not exist; make it with: mqttfast passwd -c {argument} USER";
    Misspelled { similar: Box<str> } => "password file {path} does not exist; did you mean {similar}?";
    MissingDirectory { directory: Box<str> } => "password file {path} does not exist: there is no directory {directory}; check the path";
    Unreadable { owner: Box<str>, reader: Box<str>, uid: u32 } => "password file {path} cannot be read: it {owner}, and this runs as {reader} (uid {uid}); run: sudo chown {reader} {argument}";
    UnreadableToOwner { owner: Box<str>, reader: Box<str>, uid: u32 } => "password file {path} cannot be read: it {owner}, which keeps out even {reader} (uid {uid}), who runs this; run: chmod u+r {argument}";
    Unreachable { directory: Box<str>, owner: Box<str>, reader: Box<str>, uid: u32, command: Box<str> } => "password file {path} cannot be reached: directory {directory} {owner}, and this runs as {reader} (uid {uid}); run: {command}";
    NotAFile => "password file {path} is not a regular file; give the path of a file made with mqttfast passwd";
    TooLarge => "password file {path} has more than {PASSWORD_FILE_BYTES_MAX} bytes; is it the right file?";
    Refused { error: std::io::Error } => "password file {path} cannot be read: {error}; check the path and the disk";
}

faults! {
    /// The rule a line of a password file breaks. Such a line lets nobody in.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    LineFault |file|

    IndentedComment => "it starts with # behind a blank and is taken for a comment; take the blank away";
    NoColon => "there is no ':' between user name and password; delete the line, or start it with # if it is a comment";
    EmptyUserName => "the user name before ':' is empty; delete the line";
    UserNameTooLong => "the user name is longer than the {USER_NAME_BYTES_MAX} bytes MQTT allows; delete the line";
    ControlCharacter => "the user name holds a control character; type the line again";
    NotUtf8 => "the line is not UTF-8, as MQTT wants user names to be; save the file as UTF-8";
    NoPassword => "the user has no password; set one with: mqttfast passwd {file} USER, or delete the line";
    PlainText => "the password is plain text; hash the whole file with: mqttfast passwd -U {file}";
    Argon2 => "of the kinds of Argon2 only $argon2id$ is read; set the password again with: mqttfast passwd {file} USER";
    Argon2Field => "this is no $argon2id$v=19$m=KIB,t=PASSES,p=LANES$salt$tag; set the password again with: mqttfast passwd {file} USER";
    Argon2TooMuch => "a login would take more than {ARGON2_MEMORY_KIB_MAX} KiB, {ARGON2_WORK_KIB_MAX} KiB in all its passes, or {ARGON2_LANES_MAX} lanes; set the password again with: mqttfast passwd {file} USER";
    UnknownScheme => "the password starts with $ but is none of $6$, $7$ and $argon2id$; set it again with: mqttfast passwd {file} USER";
    MissingField => "the line was cut: $6$ wants salt$digest, $7$ iterations$salt$digest; set the password again with: mqttfast passwd {file} USER";
    Iterations => "the iterations after $7$ are no whole number from 1 on; set the password again with: mqttfast passwd {file} USER";
    IterationsTooMany => "more than {PASSWORD_ITERATIONS_MAX} iterations, so one login would hold up all others; set the password again with: mqttfast passwd {file} USER";
    Salt => "the salt is not base64 of 12 or 64 bytes; set the password again with: mqttfast passwd {file} USER";
    Digest => "the digest is not base64 of 64 bytes; set the password again with: mqttfast passwd {file} USER";
    Doubled { first: u32 } => "the user is there already in line {first}, with the same hash; delete one of the two lines";
    Contradicted { other: u32 } => "line {other} has another hash for this user, so it is unclear which one is right; set the password again with: mqttfast passwd {file} USER";
}

/// A password file that cannot be used. Its `Display` is the whole sentence.
#[derive(Debug)]
pub struct PasswordFileError {
    /// The file, as its path was given.
    pub path: PathBuf,
    /// What is wrong with it.
    pub fault: Fault,
}

impl std::error::Error for PasswordFileError {}

impl fmt::Display for PasswordFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, argument) = (self.path.display(), shell_quoted(&self.path));
        self.fault.describe(&path, &argument, f)
    }
}

impl LineFault {
    /// Cause and remedy for a line of the file at `path`.
    pub fn sentence(self, path: &Path) -> String {
        let mut sentence = String::new();
        // A string takes whatever is written.
        let _ = self.describe(&shell_quoted(path), &mut sentence);
        sentence
    }
}

/// The path as one argument of a shell, so that a remedy can be copied as it stands.
pub fn shell_quoted(path: &Path) -> String {
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

    #[test]
    fn sentences_name_file_and_limit() {
        let path = Path::new("my list");
        for (fault, part) in [
            (LineFault::PlainText, "mqttfast passwd -U 'my list'"),
            (LineFault::UserNameTooLong, "the 65535 bytes"),
            (LineFault::IterationsTooMany, "500000 iterations"),
            (LineFault::MissingField, "$6$ wants salt$digest"),
            (LineFault::Doubled { first: 7 }, "already in line 7,"),
        ] {
            let sentence = fault.sentence(path);
            assert!(sentence.contains(part), "{sentence}");
        }
    }
}
