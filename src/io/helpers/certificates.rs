//! The certificates of all TLS listeners: read at the start, again at SIGHUP, and again when their files change. What
//! is wrong with a file leaves what was in force.
//!
//! A thread of its own waits for changes (inotify, on the folders of the files, since files are mostly replaced),
//! makes new keys for tickets, keeps these in the store's directory, and says in time that a certificate ends.

use crate::broker::{LogLevel, OwnMessage};
use crate::config::mosquitto::Files;
use crate::config::{Config, Tls};
use crate::ids::ShardId;
use crate::io::disk::Disk;
use crate::io::helpers::log::Log;
use crate::io::link::Wrapping;
use crate::io::link::tls::server::Server;
use crate::io::link::tls::terms::{Terms, days_left, ends_soon, in_folder, provider};
use crate::io::link::tls::tickets::Keys;
use crate::io::mail::{Shards, ToShard};
use crate::limits;
use crate::wire::QoS;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use ring::digest::{Context, SHA256};
use rustls::SupportedCipherSuite;
use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The file of the keys, in the store's directory.
const KEYS_FILE: &str = "tls-tickets";
/// Days until the certificate that ends first does.
const DAYS_TOPIC: &str = "$SYS/broker/mqttfast/certificate/days left";

/// What the listeners show, by their number, and behind them those of the page; copies share it.
#[derive(Clone)]
pub struct Certificates {
    shared: Arc<Shared>,
}

struct Shared {
    servers: Vec<Option<Arc<Server>>>,
    keys: Arc<Keys>,
    /// What the servers were read from. Locked while something is put in force.
    sources: Mutex<Vec<Option<Source>>>,
}

/// The files of one listener.
#[derive(Clone)]
struct Source {
    tls: Tls,
    /// `FILE:LINE` of the configuration.
    place: Option<String>,
}

/// What was read again, and is not in force yet: by the listener's number.
pub struct Renewed {
    sources: Vec<Option<Source>>,
    terms: Vec<Option<Terms>>,
    /// What the operator should be told, a line each.
    pub warnings: Vec<String>,
}

impl Certificates {
    /// Reads the files of all listeners. Also what the operator should be told of them, a line each.
    ///
    /// Errors: one sentence with file and remedy.
    pub fn load(config: &Config) -> Result<(Certificates, Vec<String>), String> {
        let keys = Arc::new(Keys::default());
        let Renewed {
            sources,
            terms,
            warnings,
        } = read(sources(config), &keys)?;
        if sources.iter().any(Option::is_some) {
            keys.rotate(now_s().unsigned_abs());
        }
        let server = |terms| Arc::new(Server::new(terms));
        let servers = terms.into_iter().map(|terms| terms.map(server)).collect();
        let shared = Arc::new(Shared {
            servers,
            keys,
            sources: Mutex::new(sources),
        });
        Ok((Certificates { shared }, warnings))
    }

    /// What lies between socket and MQTT, by the listener's number.
    pub fn wrappings(&self, config: &Config) -> Vec<Wrapping> {
        let listeners = config.listeners.iter().zip(&self.shared.servers);
        listeners
            .map(|(listener, server)| Wrapping::of(&listener.transport, server.clone()))
            .collect()
    }

    /// What the listeners of the page show, in their order; `listeners`: those before them.
    pub fn of_http(&self, listeners: usize) -> Vec<Option<Arc<Server>>> {
        let servers = self.shared.servers.iter();
        servers.skip(listeners).cloned().collect()
    }

    /// The ciphers that may be agreed to, in the order in which this machine prefers them.
    pub fn ciphers() -> Vec<String> {
        let suites = provider().cipher_suites;
        let name = |suite: &SupportedCipherSuite| format!("{:?}", suite.suite());
        suites.iter().map(name).collect()
    }

    /// Some listener has TLS.
    pub fn are_any(&self) -> bool {
        self.shared.servers.iter().any(Option::is_some)
    }

    /// Reads the files again, for the same listeners. Nothing changes before [`Certificates::exchange`].
    ///
    /// Errors: one sentence with file and remedy.
    pub fn prepare(&self, config: &Config) -> Result<Renewed, String> {
        read(sources(config), &self.shared.keys)
    }

    /// Puts what was read in force: handshakes that begin from now on go by it.
    pub fn exchange(&self, renewed: Renewed) {
        let mut sources = self.lock();
        for (server, terms) in self.shared.servers.iter().zip(renewed.terms) {
            if let (Some(server), Some(terms)) = (server, terms) {
                server.exchange(terms);
            }
        }
        *sources = renewed.sources;
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Option<Source>>> {
        let sources = self.shared.sources.lock();
        sources.unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over the keys of tickets that an earlier process has left in the store's directory.
    pub fn take_keys(&self, directory: Option<&Path>) {
        let path = directory.map(|directory| directory.join(KEYS_FILE));
        if let Some(bytes) = path.and_then(|path| fs::read(path).ok()) {
            self.shared.keys.take(&bytes, now_s().unsigned_abs());
        }
    }

    /// Starts the thread. `directory`: where the keys of tickets are kept, if anywhere. `sys`: days left are published.
    pub fn start(
        &self,
        shards: Shards,
        log: &Log,
        directory: Option<PathBuf>,
        sys: bool,
    ) -> io::Result<()> {
        let watching = Watching {
            certificates: self.clone(),
            shards,
            log: log.clone(),
            directory,
            sys,
        };
        thread::Builder::new()
            .name("certificates".to_owned())
            .spawn(move || watching.run())?;
        Ok(())
    }

    /// The paths of all files and folders.
    fn paths(&self) -> BTreeSet<PathBuf> {
        let sources = self.lock();
        let tls = sources.iter().flatten().map(|source| &source.tls);
        tls.flat_map(Tls::paths).map(Path::to_owned).collect()
    }

    /// What this process can read no more, now that it is `user`'s: it has been read, but not what comes in its place.
    /// A line each, with a remedy.
    pub fn out_of_reach(&self, user: &str) -> Vec<String> {
        let is_out = |path: &PathBuf| {
            let mut all = files_at(path).into_iter();
            all.any(|path| Disk.read(&path, limits::TLS_FILE_BYTES_MAX).is_err())
        };
        let paths = self.paths().into_iter().filter(is_out);
        let line = |path: PathBuf| {
            let path = path.display();
            format!(
                "{path}: user {user} cannot read it, so a renewed one counts only after a restart; let it be read: setfacl -m u:{user}:rX {path} (and its folders)"
            )
        };
        paths.map(line).collect()
    }

    /// Says whether files have changed: see [`imprint`].
    fn imprint(&self) -> Vec<u8> {
        imprint(&self.paths())
    }
}

/// The files of a folder, or this one itself: a file, or what cannot be read.
fn files_at(path: &Path) -> Vec<PathBuf> {
    in_folder(path, &Disk).unwrap_or_else(|_| vec![path.to_owned()])
}

/// A hash of what is in these files and folders, as far as it can be read: it changes when they do. As for handshakes,
/// no more of a file is read than may be in one, and nothing is waited for.
fn imprint(paths: &BTreeSet<PathBuf>) -> Vec<u8> {
    let mut all = Context::new(&SHA256);
    for path in paths.iter().flat_map(|path| files_at(path)) {
        let bytes = Disk.read(&path, limits::TLS_FILE_BYTES_MAX).ok();
        let length = bytes.as_ref().map_or(u64::MAX, |bytes| bytes.len() as u64);
        all.update(&length.to_le_bytes());
        all.update(bytes.as_deref().unwrap_or_default());
    }
    all.finish().as_ref().to_vec()
}

/// The thread.
struct Watching {
    certificates: Certificates,
    shards: Shards,
    log: Log,
    directory: Option<PathBuf>,
    sys: bool,
}

impl Watching {
    fn run(&self) {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK);
        let inotify = match inotify {
            Ok(inotify) => Some(inotify),
            Err(errno) => {
                let why = errno.desc();
                let text = format!(
                    "certificates are read again at SIGHUP alone, as changes of files cannot be watched: {why}"
                );
                self.log.line(LogLevel::Warning, text);
                None
            }
        };
        self.keep_keys();
        self.tell_days(false);
        let mut before = self.certificates.imprint();
        let mut told_s = now_s();
        loop {
            if let Some(inotify) = &inotify {
                self.watch(inotify);
            }
            if self.wait(inotify.as_ref()) {
                // What is replaced has several files: they are read when all is quiet.
                while self.quiet(inotify.as_ref()) {}
            }
            let after = self.certificates.imprint();
            if after != before {
                before = after;
                self.read_again();
                self.tell_days(false);
            }
            if self.certificates.shared.keys.rotate(now_s().unsigned_abs()) {
                self.keep_keys();
            }
            if now_s() - told_s >= limits::TLS_EXPIRY_TOLD_S {
                told_s = now_s();
                self.tell_days(true);
            }
        }
    }

    /// Watches the folders of all files, and those that links lead to. Watching one again changes nothing.
    fn watch(&self, inotify: &Inotify) {
        let what = AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_DELETE
            // They may be let be read.
            | AddWatchFlags::IN_ATTRIB;
        for path in self.certificates.paths() {
            let target = fs::canonicalize(&path).ok();
            for path in [Some(path), target].into_iter().flatten() {
                let folder = if path.is_dir() {
                    Some(&*path)
                } else {
                    path.parent()
                };
                let folder = folder.map(|folder| match folder.as_os_str().is_empty() {
                    true => Path::new("."),
                    false => folder,
                });
                if let Some(folder) = folder {
                    // A folder that is gone is watched when it is back, in an hour at the latest.
                    let _ = inotify.add_watch(folder, what);
                }
            }
        }
    }

    /// Waits for a change, or an hour. `true`: something changed.
    fn wait(&self, inotify: Option<&Inotify>) -> bool {
        changed(inotify, Duration::from_secs(limits::TLS_LOOK_S))
    }

    /// Waits for one change more. `false`: there was none for a while.
    fn quiet(&self, inotify: Option<&Inotify>) -> bool {
        changed(inotify, Duration::from_millis(limits::TLS_QUIET_MS))
    }

    /// Files have changed.
    fn read_again(&self) {
        let sources = self.certificates.lock().clone();
        match read(sources, &self.certificates.shared.keys) {
            Ok(renewed) => {
                for warning in &renewed.warnings {
                    self.log.line(LogLevel::Warning, warning.clone());
                }
                self.certificates.exchange(renewed);
                let text = "certificates read again: their files have changed";
                self.log.line(LogLevel::Info, text);
            }
            Err(why) => {
                let text = format!("{why}; the certificates that were read before stay in force");
                self.log.line(LogLevel::Error, text);
            }
        }
    }

    /// Says how many days are left, to subscribers of `$SYS` and, if the end is near, to the log.
    fn tell_days(&self, log: bool) {
        let servers = self.certificates.shared.servers.iter().flatten();
        let terms = servers.map(|server| server.terms());
        let mut ends: Vec<(PathBuf, i64)> = terms.flat_map(|terms| terms.expire.clone()).collect();
        ends.sort_by_key(|(_, not_after)| *not_after);
        ends.dedup();
        let now = now_s();
        if log {
            let soon = ends
                .iter()
                .filter_map(|(path, not_after)| ends_soon(path, *not_after, now));
            soon.for_each(|text| self.log.line(LogLevel::Warning, text));
        }
        if let (true, Some((_, first))) = (self.sys, ends.first()) {
            let days = days_left(*first, now).to_string();
            if let Ok(message) =
                OwnMessage::new(DAYS_TOPIC, days.as_bytes(), QoS::ExactlyOnce, true)
            {
                self.shards.tell(ShardId(0), ToShard::Publish(message));
            }
        }
    }

    /// Keeps the keys of tickets for the process after this one.
    fn keep_keys(&self) {
        let Some(directory) = &self.directory else {
            return;
        };
        if let Err(error) = write_secret(directory, &self.certificates.shared.keys.write()) {
            let text = format!(
                "{}: {error}; after a restart, TLS clients need whole handshakes",
                directory.join(KEYS_FILE).display()
            );
            self.log.line(LogLevel::Warning, text);
        }
    }
}

/// Waits for events, for so long at most, and takes them all.
fn changed(inotify: Option<&Inotify>, most: Duration) -> bool {
    let Some(inotify) = inotify else {
        thread::sleep(most);
        return false;
    };
    let timeout = PollTimeout::try_from(most).unwrap_or(PollTimeout::MAX);
    let mut events = [PollFd::new(inotify.as_fd(), PollFlags::POLLIN)];
    let some = poll(&mut events, timeout).is_ok_and(|count| count > 0);
    while inotify.read_events().is_ok() {}
    some
}

/// Replaces the file whole; nobody else may read it.
fn write_secret(directory: &Path, bytes: &[u8]) -> io::Result<()> {
    let (path, new) = (
        directory.join(KEYS_FILE),
        directory.join(format!("{KEYS_FILE}.new")),
    );
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)?;
    file.write_all(bytes)?;
    fs::rename(&new, &path)
}

fn sources(config: &Config) -> Vec<Option<Source>> {
    let of = |tls: &Option<Tls>, place: &Option<String>| {
        Some(Source {
            tls: tls.clone()?,
            place: place.clone(),
        })
    };
    let listeners = config.listeners.iter();
    let http = config.http.iter();
    listeners
        .map(|listener| of(&listener.transport.tls, &listener.place))
        .chain(http.map(|http| of(&http.tls, &http.place)))
        .collect()
}

fn read(sources: Vec<Option<Source>>, keys: &Arc<Keys>) -> Result<Renewed, String> {
    let mut terms = Vec::new();
    let mut warnings = Vec::new();
    for source in &sources {
        let Some(Source { tls, place }) = source else {
            terms.push(None);
            continue;
        };
        let mut read = Terms::read(tls, &Disk, keys, now_s()).map_err(|why| match place {
            Some(place) => format!("{place}: {why}"),
            None => why,
        })?;
        for warning in std::mem::take(&mut read.warnings) {
            if !warnings.contains(&warning) {
                warnings.push(warning);
            }
        }
        terms.push(Some(read));
    }
    Ok(Renewed {
        sources,
        terms,
        warnings,
    })
}

/// Seconds since 1970.
fn now_s() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;
    use std::{env, process};

    /// A pipe that lies in a `capath`, and a file without end, hold up nobody.
    #[test]
    fn what_is_no_file_is_not_waited_for() {
        let folder = env::temp_dir().join(format!("mqttfast-imprint-{}", process::id()));
        fs::create_dir_all(&folder).unwrap();
        mkfifo(&folder.join("pipe"), Mode::S_IRWXU).unwrap();
        std::os::unix::fs::symlink("/dev/zero", folder.join("zero")).unwrap();
        let file = folder.join("ca.pem");
        let paths = BTreeSet::from([folder.clone()]);
        let mut seen = vec![imprint(&paths)];
        for contents in ["", "one", "two"] {
            fs::write(&file, contents).unwrap();
            let now = imprint(&paths);
            assert_eq!(imprint(&paths), now);
            assert!(!seen.contains(&now), "{contents}");
            seen.push(now);
        }
        fs::remove_dir_all(&folder).unwrap();
    }
}
