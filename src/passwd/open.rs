//! Reads the bytes of a password file, and finds out why that does not go.

use super::fault::{Fault, shell_quoted};
use crate::limits;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Files beside a missing one that are looked at for a similar name.
const SIBLINGS_MAX: usize = 1000;
/// Letters to change, add or take away at most for two names to be similar.
const NAME_EDITS_MAX: usize = 2;
/// First letters two names must share to be similar however they end.
const NAME_PREFIX_MIN: usize = 4;

/// The bytes of a regular file of allowed size.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, Fault> {
    // Without O_NONBLOCK the opening of a named pipe would wait for its writer.
    let file = File::options()
        .read(true)
        .custom_flags(nix::libc::O_NONBLOCK)
        .open(path)
        .map_err(|error| explain(path, error))?;
    let metadata = file.metadata().map_err(refused)?;
    if !metadata.is_file() {
        return Err(Fault::NotAFile);
    }
    let mut bytes = Vec::new();
    file.take(limits::PASSWORD_FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(refused)?;
    if bytes.len() as u64 > limits::PASSWORD_FILE_BYTES_MAX {
        return Err(Fault::TooLarge);
    }
    Ok(bytes)
}

fn refused(error: io::Error) -> Fault {
    Fault::Refused { error }
}

/// Looks around for the cause of a failed opening.
pub(super) fn explain(path: &Path, error: io::Error) -> Fault {
    match error.kind() {
        io::ErrorKind::NotFound => match parent(path) {
            directory if !directory.is_dir() => Fault::MissingDirectory {
                directory: shown(&directory),
            },
            directory => match similar_sibling(&directory, path) {
                Some(similar) => Fault::Misspelled {
                    similar: shown(&similar),
                },
                None => Fault::Missing,
            },
        },
        io::ErrorKind::PermissionDenied => explain_denied(path).unwrap_or(Fault::Refused { error }),
        _ => refused(error),
    }
}

fn shown(path: &Path) -> Box<str> {
    path.display().to_string().into()
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
    let uid = nix::unistd::geteuid().as_raw();
    let reader = user_name(uid);
    if let Ok(metadata) = path.metadata() {
        let owner = owner(&metadata);
        return Some(if metadata.uid() == uid {
            Fault::UnreadableToOwner { owner, reader, uid }
        } else {
            Fault::Unreadable { owner, reader, uid }
        });
    }
    // The innermost directory that can be looked at is the one that lets nobody further.
    let directories = path.ancestors().skip(1).map(|directory| match directory {
        empty if empty.as_os_str().is_empty() => Path::new("."),
        directory => directory,
    });
    for directory in directories {
        if let Ok(metadata) = directory.metadata() {
            let right = if metadata.uid() == uid { "u+x" } else { "o+x" };
            let command = format!("sudo chmod {right} {}", shell_quoted(directory));
            return Some(Fault::Unreachable {
                directory: shown(directory),
                owner: owner(&metadata),
                reader,
                uid,
                command: command.into(),
            });
        }
    }
    None
}

/// To whom a file belongs, and what they may do with it.
fn owner(metadata: &Metadata) -> Box<str> {
    let gid = metadata.gid();
    let group = nix::unistd::Group::from_gid(gid.into()).ok().flatten();
    let group = group.map_or_else(|| gid.to_string(), |group| group.name);
    let user = user_name(metadata.uid());
    let mode = metadata.permissions().mode() & 0o7777;
    format!("belongs to {user}:{group} with mode {mode:04o}").into()
}

/// The name of a user, or the number where there is no name.
fn user_name(uid: u32) -> Box<str> {
    let user = nix::unistd::User::from_uid(uid.into()).ok().flatten();
    user.map_or_else(|| uid.to_string(), |user| user.name)
        .into()
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
