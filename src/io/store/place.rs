//! Where the store is: its directory, and the folder of its journals.

use super::database::FILE_NAME;
use crate::config::StoreConfig;
use crate::io::start_error::StartError;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::kill;
use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use nix::unistd::{Pid, Uid};
use std::env;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The directory of a store, locked for this process.
pub struct Place {
    pub directory: PathBuf,
    _lock: Flock<File>,
}

/// Who has the lock of a store.
#[derive(PartialEq, Eq, Debug)]
pub struct Holder {
    /// As the lock file names it, if it is there.
    pid: Option<i32>,
}

impl Holder {
    /// By what a lock file says. Who only looks at a store does not write there, and what an earlier one wrote stays.
    fn of(mut file: &File) -> Holder {
        let mut text = String::new();
        let _ = file.read_to_string(&mut text);
        let pid = text.trim().parse().ok().filter(|pid| *pid > 0);
        let lives = |pid: &i32| kill(Pid::from_raw(*pid), None) != Err(Errno::ESRCH);
        Holder {
            pid: pid.filter(lives),
        }
    }
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.pid {
            Some(pid) => write!(f, "process {pid}"),
            None => f.write_str("another process, such as mqttfast store"),
        }
    }
}

/// What came of looking for a place.
pub enum Found {
    Place(Place),
    /// There is none; a sentence says why.
    None(String),
    /// None can be made where it should be; a sentence with the remedy.
    Refused(String),
}

/// Where the store is to be, as the user finds it who starts the broker.
pub struct Wanted {
    /// Or why there is none.
    directory: Result<PathBuf, String>,
    /// It was named, and must be used.
    given: bool,
    /// A folder for the journals, in memory.
    journals: Result<PathBuf, String>,
}

impl Wanted {
    /// By what was said, by the service manager, or by user and port. `port` is that of the first listener.
    pub fn of(config: &StoreConfig, port: u16) -> Wanted {
        Wanted {
            directory: directory(config.directory.as_deref(), port),
            given: config.directory.is_some(),
            journals: journals(),
        }
    }

    /// The directory, if there is to be one.
    pub fn directory(&self) -> Option<&Path> {
        self.directory.as_deref().ok()
    }

    /// Makes the folders that are not there, as far as this user may. Returns those made, for the user who is to have
    /// them.
    pub fn make(&self) -> Vec<PathBuf> {
        let folders = [&self.directory, &self.journals];
        let folders = folders.into_iter().flatten();
        let missing = folders.filter(|folder| !folder.exists() && make(folder).is_ok());
        missing.cloned().collect()
    }

    /// Makes and locks the directory.
    ///
    /// Errors: a directory that was asked for cannot be used, or another broker has it.
    pub fn find(&self) -> Result<Found, StartError> {
        let directory = match &self.directory {
            Ok(directory) => directory,
            Err(why) => return Ok(Found::None(why.clone())),
        };
        match take(directory) {
            Ok(Ok(place)) => Ok(Found::Place(place)),
            Ok(Err(holder)) => Err(StartError::new(format!(
                "the store in {} is in use by {holder}: stop it, or give this one another --store-dir or --port",
                directory.display()
            ))),
            Err(error) if self.given => Err(StartError::new(format!(
                "--store-dir {}: {error}; the broker needs to write there",
                directory.display()
            ))),
            Err(error) => Ok(Found::Refused(format!(
                "{}: {error}; a restart will forget all sessions and retained messages: --store-dir DIR names another place, --persistence off says that none is wanted",
                directory.display()
            ))),
        }
    }

    /// The folder of the journals: one in memory, so that a card is spared; else the store's own, with a sentence about
    /// that.
    pub fn journals(&self, place: &Place) -> (PathBuf, Option<String>) {
        let made = match &self.journals {
            Ok(folder) => make(folder)
                .map(|()| folder.clone())
                .map_err(|error| format!("{}: {error}", folder.display())),
            Err(why) => Err(why.clone()),
        };
        match made {
            Ok(folder) => (folder, None),
            Err(why) => {
                let text = format!(
                    "store: the journals are in {}, as {why}; they are written often, which a memory card feels",
                    place.directory.display()
                );
                (place.directory.clone(), Some(text))
            }
        }
    }
}

/// The directory by what was said, by the service manager, or by user and port. `Err`: there is none, and why.
fn directory(given: Option<&Path>, port: u16) -> Result<PathBuf, String> {
    if let Some(directory) = given {
        return Ok(directory.to_owned());
    }
    // The first, where a unit names several.
    let state = env::var_os("STATE_DIRECTORY").unwrap_or_default();
    let first = state.to_string_lossy();
    let first = first.split(':').next().unwrap_or_default();
    if !first.is_empty() {
        return Ok(first.into());
    }
    if port == 0 {
        return Err("the port is chosen by the system, so a later start could not find it: --store-dir DIR gives it a place".to_owned());
    }
    let port = port.to_string();
    if Uid::effective().is_root() {
        return Ok(Path::new(SERVICE_DIRECTORY).join(port));
    }
    let absolute = |name: &str| {
        env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let base = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")));
    base.map(|base| base.join("mqttfast").join(port))
        .ok_or_else(|| "there is no HOME: --store-dir DIR gives it a place".to_owned())
}

/// The `StateDirectory=` of the service, and the folder of those that root starts by hand.
const SERVICE_DIRECTORY: &str = "/var/lib/mqttfast";

/// The directory that a command is about: the given one, or that of the broker on this port, by hand or as a service.
///
/// Errors: there is none, or there are two. A sentence.
pub fn of_command(given: Option<PathBuf>, port: u16) -> Result<PathBuf, String> {
    let is_given = given.is_some();
    let directory = directory(given.as_deref(), port)?;
    let service = Path::new(SERVICE_DIRECTORY);
    let has_store = |directory: &Path| directory.join(FILE_NAME).exists();
    if is_given || directory == service || !has_store(service) {
        return Ok(directory);
    }
    match has_store(&directory) {
        false => Ok(service.to_owned()),
        true => Err(format!(
            "there are two stores, in {} and in {}: say which with --store-dir DIR",
            service.display(),
            directory.display()
        )),
    }
}

/// Keeps others away from a store that is only looked at: nothing is made or written. `None`: there is no lock file, as
/// no broker has been here.
pub fn hold(directory: &Path) -> io::Result<Result<Option<Flock<File>>, Holder>> {
    let file = match File::open(directory.join(LOCK)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Ok(None)),
        file => file?,
    };
    Ok(lock(file)?.map(Some))
}

fn lock(file: File) -> io::Result<Result<Flock<File>, Holder>> {
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Ok(lock)),
        Err((file, Errno::EWOULDBLOCK)) => Ok(Err(Holder::of(&file))),
        Err((_, errno)) => Err(errno.into()),
    }
}

/// Folders in which the journals of a store may be: where this user's brokers have them, its own, and the one that it
/// has noted (`earlier`).
pub fn journal_folders(directory: &Path, earlier: Option<Vec<u8>>) -> Vec<PathBuf> {
    let mut folders = vec![directory.to_owned()];
    folders.extend(journals().ok());
    let earlier = earlier.and_then(|earlier| String::from_utf8(earlier).ok());
    folders.extend(earlier.map(PathBuf::from));
    folders
}

const LOCK: &str = "lock";
/// Made and taken away again at a start.
const PROBE: &str = "probe";

/// Makes the directory, proves that files can be made there, and locks it, for who changes the store. The inner error
/// names who has the lock.
pub fn take(directory: &Path) -> io::Result<Result<Place, Holder>> {
    make(directory)?;
    probe(directory)?;
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(directory.join(LOCK))?;
    let locked = lock(file)?;
    Ok(locked.map(|mut lock| {
        // Over what is there, as a full disk has no block for a file that was emptied. Without it a second broker
        // learns less.
        let text = format!("{}\n", std::process::id());
        if lock.write_all(text.as_bytes()).is_ok() {
            let _ = lock.set_len(text.len() as u64);
        }
        Place {
            directory: directory.to_owned(),
            _lock: lock,
        }
    }))
}

/// Files that are there may be writable in a folder that takes no new ones; the first repair would fail there. A full
/// disk is no reason to refuse: there may be room later.
fn probe(directory: &Path) -> io::Result<()> {
    let path = directory.join(PROBE);
    match File::create(&path).and_then(|_| fs::remove_file(&path)) {
        Err(error) => match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Ok(()),
            _ => Err(error),
        },
        Ok(()) => Ok(()),
    }
}

/// Makes a directory and those above it; nobody else may look into it.
fn make(directory: &Path) -> io::Result<()> {
    if let Some(above) = directory.parent() {
        fs::create_dir_all(above)?;
    }
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && directory.is_dir() => Ok(()),
        made => made,
    }
}

/// A folder in memory, by the service manager or by user; `Err`: there is none, and why.
fn journals() -> Result<PathBuf, String> {
    let candidate = match env::var_os("RUNTIME_DIRECTORY") {
        Some(given) if !given.is_empty() => {
            let given = given.to_string_lossy().into_owned();
            Some(PathBuf::from(given.split(':').next().unwrap_or_default()))
        }
        _ if Uid::effective().is_root() => Some(PathBuf::from("/run/mqttfast")),
        _ => env::var_os("XDG_RUNTIME_DIR")
            .filter(|path| path != OsStr::new(""))
            .map(|path| Path::new(&path).join("mqttfast")),
    };
    match candidate {
        None => Err("XDG_RUNTIME_DIR is not set".to_owned()),
        Some(folder) if in_memory(&folder) => Ok(folder),
        Some(folder) => Err(format!("{} is not in memory", folder.display())),
    }
}

/// Files in a folder, which may have to be made, are not on a disk.
fn in_memory(folder: &Path) -> bool {
    let there = folder.ancestors().find(|path| path.exists());
    there.is_some_and(|path| statfs(path).is_ok_and(|found| found.filesystem_type() == TMPFS_MAGIC))
}
