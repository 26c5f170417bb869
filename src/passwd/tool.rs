//! `mqttfast passwd`: adds, changes and deletes users of a password file, with the flags and prompts of
//! `mosquitto_passwd`.
//!
//! Other than that one it changes the file as a whole or not at all, loses no update of a parallel run, keeps owner,
//! group and mode, leaves lines it does not understand as they are, and `-U` hashes only what is plain text. It writes
//! `$7$` with 1000 iterations, as Mosquitto 2.1 does, but with a salt of 12 bytes, so that 2.0 reads it too.

use super::argon2id;
use super::failure::Failure;
use super::fault::{LineFault, shell_quoted};
use super::file::{Check, PasswordFile, shown};
use super::hash::{Hash, SALT_BYTES, Scheme};
use super::lines::{self, split_line};
use super::open;
use super::prompt;
use super::replace::Locked;
use crate::limits;
use argh::FromArgs;
use memchr::memchr;
use std::path::Path;

/// Manage the users of a password file, in the format and with the flags of mosquitto_passwd.
#[derive(FromArgs, Debug)]
#[argh(
    subcommand,
    name = "passwd",
    help_triggers("-h", "--help"),
    example = "Make a file with one user, asking for the password: mqttfast passwd -c passwd alice",
    note = "A broker that runs reads a changed file when it gets SIGHUP. A new file has mode 0600: if the broker runs as another user, give the file to that user with chown; later changes keep its owner, group and mode."
)]
pub struct Command {
    /// make a new file; one that exists is overwritten
    #[argh(switch, short = 'c')]
    create: bool,
    /// take the password from the command line, where others on this machine can see it
    #[argh(switch, short = 'b')]
    batch: bool,
    /// delete the user
    #[argh(switch, short = 'D')]
    delete: bool,
    /// hash the passwords that are still plain text
    #[argh(switch, short = 'U')]
    upgrade: bool,
    /// say by the exit code whether a password is the user's: 0 it is, 1 it is not, 13 the file cannot be read
    #[argh(switch)]
    verify: bool,
    /// the same as -H argon2id
    #[argh(switch)]
    argon2: bool,
    /// sha512-pbkdf2 (the default); argon2id, which Mosquitto reads from 2.1 on; or sha512, which only Mosquitto before
    /// 2.0 needs
    #[argh(option, short = 'H', arg_name = "hash", from_str_fn(parse_hash_name))]
    hash: Option<HashName>,
    /// iterations of sha512-pbkdf2, 1000 unless given
    #[argh(
        option,
        short = 'I',
        arg_name = "number",
        from_str_fn(parse_iterations)
    )]
    iterations: Option<u32>,
    /// password file
    #[argh(positional, arg_name = "file")]
    file: String,
    /// user name, and with -b the password
    #[argh(positional, arg_name = "user")]
    user_and_password: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum HashName {
    Sha512,
    Sha512Pbkdf2,
    Argon2id,
}

fn parse_hash_name(text: &str) -> Result<HashName, String> {
    match text {
        "sha512" => Ok(HashName::Sha512),
        "sha512-pbkdf2" => Ok(HashName::Sha512Pbkdf2),
        "argon2id" => Ok(HashName::Argon2id),
        _ => Err("this hash is not known; give sha512-pbkdf2, argon2id or sha512".into()),
    }
}

fn parse_iterations(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(iterations) if (1..=limits::PASSWORD_ITERATIONS_MAX).contains(&iterations) => {
            Ok(iterations)
        }
        _ => Err(format!(
            "give a whole number from 1 to {}",
            limits::PASSWORD_ITERATIONS_MAX
        )),
    }
}

/// What is to become of the file.
pub(super) enum Change {
    /// Add the user or change the password; with `create` in a file of its own.
    Set {
        user_name: String,
        hash: Hash,
        create: bool,
    },
    Delete {
        user_name: String,
    },
    /// Hash what is plain text.
    Upgrade {
        scheme: Scheme,
    },
}

/// Carries out the command. Notes that are no failure go to standard error.
pub fn run(command: Command) -> Result<(), Failure> {
    let path = Path::new(&command.file);
    if command.verify {
        return verify(&command);
    }
    let change = change(&command)?;
    let locked = Locked::new(path)?;
    let old = locked.read()?;
    let new = match (&old, &change) {
        (None, Change::Set { create: true, .. }) => edit(b"", &change),
        (Some(bytes), Change::Set { create: true, .. }) => {
            let users = user_lines(bytes);
            if users > 0 {
                eprintln!(
                    "mqttfast passwd: note: -c has overwritten {} with {users} user(s) in it",
                    command.file
                );
            }
            edit(b"", &change)
        }
        (Some(bytes), _) => edit(bytes, &change),
        // It can be read again to learn why, and which file beside it may be meant.
        (None, _) => return Err(missing(path)),
    }
    .map_err(|refusal| refusal.at(path))?;
    if old.as_ref() == Some(&new) {
        return Ok(());
    }
    locked.replace(&new)?;
    if old.is_none() && nix::unistd::geteuid().is_root() {
        eprintln!(
            "mqttfast passwd: note: only root can read the new file; if the broker runs as another user: chown USER {}",
            shell_quoted(path)
        );
    }
    for warning in PasswordFile::parse(&new).warnings(path) {
        eprintln!("mqttfast passwd: warning: done, but the broker will say: {warning}");
    }
    Ok(())
}

/// Holds a password against a user's line; says nothing where it is right, and of the password nothing ever.
fn verify(command: &Command) -> Result<(), Failure> {
    let changes = command.create
        || command.delete
        || command.upgrade
        || command.argon2
        || command.hash.is_some()
        || command.iterations.is_some();
    if changes {
        return Err(Failure::usage(
            "--verify changes nothing: mqttfast passwd --verify FILE USER, or with -b FILE USER PASSWORD",
        ));
    }
    let (user_name, given) = user_and_password(command)?;
    let path = Path::new(&command.file);
    let file = PasswordFile::load(path).map_err(|error| Failure {
        exit_code: 13,
        text: error.to_string(),
    })?;
    let password = match given {
        Some(password) => password.as_bytes().to_vec(),
        None => prompt::ask_once()?,
    };
    match file.check(&user_name, &password) {
        Check::Accepted => Ok(()),
        Check::UnknownUser => Err(Failure::refused(format!(
            "no line of {} lets in user {}",
            path.display(),
            shown(&user_name)
        ))),
        Check::WrongPassword => Err(Failure::refused(format!(
            "it is not the password of user {}",
            shown(&user_name)
        ))),
    }
}

/// User name and password of the command line, the password only where `-b` allows it there.
fn user_and_password(command: &Command) -> Result<(String, Option<&String>), Failure> {
    let (user_name, password) = match &command.user_and_password[..] {
        [] => {
            return Err(Failure::usage(
                "the user name is missing: mqttfast passwd FILE USER",
            ));
        }
        [user_name] => (user_name.clone(), None),
        [user_name, password] => (user_name.clone(), Some(password)),
        [_, _, surplus, ..] => {
            return Err(Failure::usage(format!(
                "'{surplus}' is one argument too many; put quotes around a name or password with blanks in it"
            )));
        }
    };
    match (password, command.batch) {
        (None, true) if !command.delete => Err(Failure::usage(
            "-b wants the password too: mqttfast passwd -b FILE USER PASSWORD",
        )),
        (Some(_), false) if !command.delete => Err(Failure::usage(
            "a password on the command line wants -b; leave it away to be asked for it",
        )),
        _ => Ok((user_name, password)),
    }
}

/// Checks the flags against each other, and asks for the password if it takes one.
fn change(command: &Command) -> Result<Change, Failure> {
    let scheme = scheme(command)?;
    if command.upgrade {
        if command.create
            || command.batch
            || command.delete
            || !command.user_and_password.is_empty()
        {
            return Err(Failure::usage(
                "-U takes the file alone: mqttfast passwd -U FILE",
            ));
        }
        return Ok(Change::Upgrade { scheme });
    }
    let (user_name, password) = user_and_password(command)?;
    if command.delete {
        if command.create {
            return Err(Failure::usage(
                "-c and -D cannot be used together; -D alone deletes a user",
            ));
        }
        if command.batch || password.is_some() {
            return Err(Failure::usage(
                "-D takes no password: mqttfast passwd -D FILE USER",
            ));
        }
        return Ok(Change::Delete { user_name });
    }
    check_user_name(&user_name)?;
    let password = match password {
        Some(password) => check_password(password)?,
        None => {
            let path = Path::new(&command.file);
            // Before the question: who cannot write need not type.
            drop(Locked::new(path)?);
            if !command.create {
                open::read(path).map_err(|fault| Failure::file(path, fault))?;
            }
            prompt::ask_twice()?
        }
    };
    Ok(Change::Set {
        user_name,
        hash: hash(scheme, &password)?,
        create: command.create,
    })
}

/// The digest of a password with a fresh salt.
fn hash(scheme: Scheme, password: &[u8]) -> Result<Hash, Failure> {
    Hash::new(scheme, password, salt()?).ok_or_else(|| {
        Failure::refused("there is not enough memory for this hash; nothing was changed")
    })
}

fn scheme(command: &Command) -> Result<Scheme, Failure> {
    let name = match (command.hash, command.argon2) {
        (None | Some(HashName::Argon2id), true) => HashName::Argon2id,
        (Some(_), true) => {
            return Err(Failure::usage("--argon2 and -H: give one of the two"));
        }
        (name, false) => name.unwrap_or(HashName::Sha512Pbkdf2),
    };
    match (name, command.iterations) {
        (HashName::Sha512 | HashName::Argon2id, Some(_)) => Err(Failure::usage(
            "-I counts the iterations of sha512-pbkdf2; leave it away, or take -H sha512-pbkdf2",
        )),
        (HashName::Argon2id, None) => Ok(Scheme::Argon2id(argon2id::COST)),
        (HashName::Sha512, None) => Ok(Scheme::Sha512),
        (HashName::Sha512Pbkdf2, iterations) => Ok(Scheme::Pbkdf2 {
            iterations: iterations.unwrap_or(limits::PASSWORD_ITERATIONS_DEFAULT),
        }),
    }
}

/// A name that comes back from the file as it went in.
pub(super) fn check_user_name(user_name: &str) -> Result<(), Failure> {
    let refuse = |text: &str| Err(Failure::refused(text));
    if user_name.is_empty() {
        return refuse("the user name is empty; give one");
    }
    if user_name.contains(':') {
        return refuse(
            "a user name must not contain ':', which ends it in the file; choose another",
        );
    }
    if user_name.chars().any(char::is_control) {
        return refuse("a user name must not contain control characters; choose another");
    }
    if user_name.starts_with('#') {
        return refuse(
            "a user name must not start with '#', which makes a line a comment; choose another",
        );
    }
    if user_name.len() > limits::USER_NAME_BYTES_MAX {
        return refuse(
            "the user name is longer than the 65535 bytes MQTT allows; choose a shorter one",
        );
    }
    let line = format!("{user_name}:x");
    let read = lines::lines(line.as_bytes()).next();
    if read.and_then(|(_, text)| split_line(text).ok().flatten()) != Some((user_name, "x")) {
        return refuse("a user name must not start or end with a blank; choose another");
    }
    Ok(())
}

fn check_password(password: &str) -> Result<Vec<u8>, Failure> {
    if password.is_empty() {
        return Err(Failure::refused(
            "the password is empty; give at least one character",
        ));
    }
    if password.len() > limits::PASSWORD_BYTES_MAX {
        return Err(Failure::refused(
            "the password is longer than the 65535 bytes MQTT allows; choose a shorter one",
        ));
    }
    Ok(password.as_bytes().to_vec())
}

fn salt() -> Result<[u8; SALT_BYTES], Failure> {
    let mut salt = [0; SALT_BYTES];
    getrandom::fill(&mut salt).map_err(|error| {
        Failure::refused(format!(
            "the system gives no random numbers: {error}; nothing was changed"
        ))
    })?;
    Ok(salt)
}

fn missing(path: &Path) -> Failure {
    match PasswordFile::load(path) {
        Err(error) => Failure::refused(error.to_string()),
        Ok(_) => Failure::refused(format!(
            "{} has only just been made; try again",
            path.display()
        )),
    }
}

/// Why the text of a file cannot be changed as wished.
pub(super) enum Refusal {
    UnknownUser(String),
    Line {
        line: u32,
        fault: LineFault,
    },
    /// Plain text that Mosquitto and a reader would understand differently.
    ColonInPassword {
        line: u32,
    },
    Failed(Failure),
}

impl Refusal {
    fn at(self, path: &Path) -> Failure {
        match self {
            Refusal::UnknownUser(user_name) => Failure::refused(format!(
                "there is no user '{user_name}' in {}; nothing was changed",
                path.display()
            )),
            Refusal::Line { line, fault } => Failure::line(path, line, fault),
            Refusal::ColonInPassword { line } => Failure::refused(format!(
                "password file {}, line {line}: the plain password has a ':' in it, where Mosquitto would cut it; nothing was changed, delete the line and set the password with: mqttfast passwd {} USER",
                path.display(),
                shell_quoted(path)
            )),
            Refusal::Failed(failure) => failure,
        }
    }
}

/// The text of the file after the change. Lines it does not concern stay byte for byte.
pub(super) fn edit(old: &[u8], change: &Change) -> Result<Vec<u8>, Refusal> {
    let text = lines::without_mark(old);
    let mut new = match change {
        Change::Set {
            user_name, hash, ..
        } => set(text, user_name, hash),
        Change::Delete { user_name } => match replace_user(text, user_name, b"") {
            (new, true) => new,
            (_, false) => return Err(Refusal::UnknownUser(user_name.clone())),
        },
        Change::Upgrade { scheme } => upgrade(text, *scheme)?,
    };
    // The mark of the file stays; and a line that starts with one of its own must not lose it by becoming the first.
    if text.len() < old.len() || new.starts_with(lines::MARK.as_bytes()) {
        new.splice(0..0, lines::MARK.bytes());
    }
    Ok(new)
}

fn set(text: &[u8], user_name: &str, hash: &Hash) -> Vec<u8> {
    let line = format!("{user_name}:{hash}\n");
    let (mut new, found) = replace_user(text, user_name, line.as_bytes());
    if !found {
        if new.last().is_some_and(|&byte| byte != b'\n') {
            new.push(b'\n');
        }
        new.extend_from_slice(line.as_bytes());
    }
    new
}

/// Puts `line` in place of the user's first line and drops further ones (a user with two hashes is skipped by the
/// broker, and this is the remedy). Also tells whether there was one.
fn replace_user(text: &[u8], user_name: &str, line: &[u8]) -> (Vec<u8>, bool) {
    let mut new = Vec::with_capacity(text.len() + line.len());
    let mut found = false;
    for (_, raw, line_text) in raw_lines(text) {
        match split_line(line_text) {
            Ok(Some((name, _))) if name == user_name => {
                if !found {
                    new.extend_from_slice(line);
                }
                found = true;
            }
            _ => new.extend_from_slice(raw),
        }
    }
    (new, found)
}

/// Hashes what does not start with `$`; anything that is neither plain text nor a hash refuses the whole.
fn upgrade(text: &[u8], scheme: Scheme) -> Result<Vec<u8>, Refusal> {
    let mut new = Vec::with_capacity(text.len());
    for (line, raw, line_text) in raw_lines(text) {
        let refuse = |fault| Refusal::Line { line, fault };
        let rest = match split_line(line_text) {
            Ok(Some((_, rest))) => rest,
            Ok(None) | Err(LineFault::IndentedComment) => {
                new.extend_from_slice(raw);
                continue;
            }
            Err(fault) => return Err(refuse(fault)),
        };
        let field = rest.split(':').next().unwrap_or(rest).trim_ascii();
        match Hash::parse(field) {
            // Hashed already; of Argon2 whatever it is, which is not ours to judge here.
            Ok(_) | Err(LineFault::Argon2 | LineFault::Argon2Field | LineFault::Argon2TooMuch) => {
                new.extend_from_slice(raw)
            }
            Err(LineFault::PlainText) if rest.contains(':') => {
                return Err(Refusal::ColonInPassword { line });
            }
            Err(LineFault::PlainText) => {
                let hash = hash(scheme, field.as_bytes()).map_err(Refusal::Failed)?;
                // Up to the ':' the line stays as it is.
                let name_bytes = memchr(b':', raw).map_or(0, |colon| colon + 1);
                new.extend_from_slice(&raw[..name_bytes]);
                new.extend_from_slice(format!("{hash}\n").as_bytes());
            }
            Err(fault) => return Err(refuse(fault)),
        }
    }
    Ok(new)
}

/// Lines after the mark with their number, their bytes as they stand, and their text as `file` reads it.
fn raw_lines(bytes: &[u8]) -> impl Iterator<Item = (u32, &[u8], &[u8])> {
    let raw = bytes.split_inclusive(|&byte| byte == b'\n');
    raw.zip(lines::lines_after_mark(bytes))
        .map(|(raw, (line, text))| (line, raw, text))
}

fn user_lines(bytes: &[u8]) -> usize {
    lines::lines(bytes)
        .filter(|(_, text)| matches!(split_line(text), Ok(Some(_))))
        .count()
}
