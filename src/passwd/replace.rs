//! Exchanges a password file as a whole: written beside it, made durable, renamed over it. Whoever reads it sees
//! the old file or the new one, never a part, and a power cut leaves one of the two.
//!
//! Two that write in one directory take turns: the lock (`flock`) is on the directory itself, so it leaves no file
//! behind and does not move with the file that is exchanged. Owner, group and mode of an existing file stay;
//! access control lists, extended attributes and further hard links do not.

use super::failure::Failure;
use super::fault::Fault;
use super::open;
use crate::limits;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use std::fs::{self, File, Metadata, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What is being written; its fixed name is free to reuse for whoever holds the lock.
const NEW_FILE_NAME: &str = ".mqttfast-passwd.new";
/// Mode of a file that did not exist.
const NEW_FILE_MODE: u32 = 0o600;
/// Links followed from the given path, as many as Linux follows.
const LINKS_MAX: usize = 40;
/// Between two tries for the lock.
const LOCK_RETRY_MS: u64 = 10;

/// A password file nobody else writes while this lives.
pub struct Locked {
    /// As the user gave it, for messages.
    given: PathBuf,
    /// The file itself behind all symbolic links.
    target: PathBuf,
    directory: PathBuf,
    lock: Flock<File>,
}

impl Locked {
    /// Waits for other writers in the directory, at most [`limits::PASSWORD_LOCK_WAIT_MS`].
    pub fn new(path: &Path) -> Result<Locked, Failure> {
        let target = resolve(path).map_err(|fault| Failure::file(path, fault))?;
        let directory = open::parent(&target);
        let mut handle = File::open(&directory).map_err(|error| {
            Failure::refused(format!(
                "directory {} cannot be opened: {error}; run this as a user who may write there",
                directory.display()
            ))
        })?;
        for _ in 0..limits::PASSWORD_LOCK_WAIT_MS / LOCK_RETRY_MS {
            match Flock::lock(handle, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => {
                    return Ok(Locked {
                        given: path.to_path_buf(),
                        target,
                        directory,
                        lock,
                    });
                }
                Err((returned, Errno::EWOULDBLOCK | Errno::EINTR)) => {
                    handle = returned;
                    std::thread::sleep(Duration::from_millis(LOCK_RETRY_MS));
                }
                Err((_, errno)) => {
                    return Err(Failure::refused(format!(
                        "directory {} cannot be locked: {}; make the file on a local disk and copy it there",
                        directory.display(),
                        errno.desc()
                    )));
                }
            }
        }
        Err(Failure::refused(format!(
            "another program has held the lock on directory {} for {} s; try again when it has ended",
            directory.display(),
            limits::PASSWORD_LOCK_WAIT_MS / 1000
        )))
    }

    /// What the file holds now; `None` if there is none.
    pub fn read(&self) -> Result<Option<Vec<u8>>, Failure> {
        match open::read(&self.target) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(Fault::Missing | Fault::Misspelled { .. }) => Ok(None),
            Err(fault) => Err(Failure::file(&self.given, fault)),
        }
    }

    /// Exchanges the file for one of these bytes, or makes it.
    pub fn replace(&self, bytes: &[u8]) -> Result<(), Failure> {
        let new = self.directory.join(NEW_FILE_NAME);
        let result = self
            .write_new(&new, bytes)
            .and_then(|()| fs::rename(&new, &self.target).map_err(|error| self.explain(error)));
        if result.is_err() {
            // It holds hashes and is of no use to anyone.
            let _ = fs::remove_file(&new);
            return result;
        }
        // The rename is as durable as the directory.
        self.lock.sync_all().map_err(|error| {
            Failure::refused(format!(
                "{} was written, but the disk did not confirm it: {error}; look at it before you rely on it",
                self.given.display()
            ))
        })
    }

    fn write_new(&self, new: &Path, bytes: &[u8]) -> Result<(), Failure> {
        let old = match fs::symlink_metadata(&self.target) {
            Ok(metadata) if metadata.is_file() => Some(metadata),
            Ok(_) => return Err(Failure::file(&self.given, Fault::NotAFile)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(self.explain(error)),
        };
        // Left over from a run that was killed.
        let _ = fs::remove_file(new);
        let mut file = File::options()
            .write(true)
            .create_new(true)
            .mode(NEW_FILE_MODE)
            .open(new)
            .map_err(|error| self.explain(error))?;
        if let Some(old) = &old {
            self.keep_owner(&file, old)?;
        }
        file.write_all(bytes)
            .and_then(|()| file.sync_all())
            .map_err(|error| self.explain(error))
    }

    fn keep_owner(&self, file: &File, old: &Metadata) -> Result<(), Failure> {
        let made = file.metadata().map_err(|error| self.explain(error))?;
        if (made.uid(), made.gid()) != (old.uid(), old.gid()) {
            fchown(file, Some(old.uid()), Some(old.gid())).map_err(|error| {
                Failure::refused(format!(
                    "{} belongs to uid {} and gid {}, which only they or root can keep so ({error}); it is unchanged, run this with sudo",
                    self.given.display(),
                    old.uid(),
                    old.gid()
                ))
            })?;
        }
        // After the owner: a change of owner takes permission bits away.
        file.set_permissions(Permissions::from_mode(old.mode() & 0o7777))
            .map_err(|error| self.explain(error))
    }

    fn explain(&self, error: io::Error) -> Failure {
        let remedy = match error.kind() {
            io::ErrorKind::PermissionDenied => {
                "run this as a user who may write in its directory, or with sudo"
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "free some space",
            io::ErrorKind::ResourceBusy => {
                "it is a mount point itself: mount its directory instead"
            }
            io::ErrorKind::ReadOnlyFilesystem => "the disk is mounted read-only",
            _ => "look at its directory and the disk",
        };
        Failure::refused(format!(
            "{} cannot be written: {error}; it is unchanged; {remedy}",
            self.given.display()
        ))
    }
}

/// The path of the file itself: symbolic links followed, also one that leads to a file not there yet.
fn resolve(path: &Path) -> Result<PathBuf, Fault> {
    let mut path = path.to_path_buf();
    for _ in 0..LINKS_MAX {
        match fs::canonicalize(&path) {
            Ok(target) => return Ok(target),
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(open::explain(&path, error));
            }
            Err(_) => {}
        }
        match fs::read_link(&path) {
            // An absolute link replaces the path.
            Ok(link) => path = open::parent(&path).join(link),
            Err(_) => {
                let directory = open::parent(&path);
                let name = path.file_name().ok_or(Fault::NotAFile)?;
                return match fs::canonicalize(&directory) {
                    Ok(directory) => Ok(directory.join(name)),
                    Err(_) => Err(Fault::MissingDirectory {
                        directory: directory.display().to_string().into(),
                    }),
                };
            }
        }
    }
    Err(Fault::NotAFile)
}
