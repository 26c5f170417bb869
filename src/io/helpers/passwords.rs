//! The password thread: hashing takes milliseconds to seconds and never runs on a shard.

use crate::broker::{LogLevel, Verdict};
use crate::ids::{ConnectionId, ListenerId, ShardId};
use crate::io::clock::Clock;
use crate::io::mail::{Shards, ToShard};
use crate::limits;
use crate::passwd::{Check, PasswordFile, PasswordFileError, Succession, shown};
use crate::time::Time;
use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

/// User name and password of one CONNECT.
pub struct Request {
    /// Whose mailbox gets the verdict.
    pub shard: ShardId,
    /// The connection at that shard; it may have closed meanwhile.
    pub connection: ConnectionId,
    /// The listener it came by, whose users are meant.
    pub listener: ListenerId,
    /// As CONNECT has it.
    pub user_name: String,
    /// As CONNECT has it; empty where it has none.
    pub password: Vec<u8>,
    /// When the shard asked; requests that are too old are answered "busy".
    pub asked: Time,
}

/// New users, to be put in force.
pub struct Successor {
    users: Users,
    /// Users of the old files who are not in the new ones, sorted.
    gone: Vec<Box<str>>,
}

/// What came of a reload.
pub struct Reloaded {
    /// One line, for the log and the service manager.
    pub summary: (LogLevel, String),
    /// What is wrong with the file that was read, a line each.
    pub warnings: Vec<String>,
}

impl Reloaded {
    /// The old file stays in force.
    fn kept(why: String, warnings: Vec<String>) -> Reloaded {
        let text = format!("password file not reloaded, the old one stays in force: {why}");
        Reloaded {
            summary: (LogLevel::Error, text),
            warnings,
        }
    }
}

/// Some users' names, the first of them if they are many.
fn named(users: &[Box<str>]) -> String {
    let told = users.iter().take(limits::PASSWORD_USERS_TOLD);
    let mut text = told.map(|name| shown(name)).collect::<Vec<_>>().join(", ");
    let more = users.len().saturating_sub(limits::PASSWORD_USERS_TOLD);
    if more > 0 {
        text += &format!(" and {more} more");
    }
    text
}

/// A handle of the thread and its bounded queue.
#[derive(Clone)]
pub struct Checker {
    shared: Arc<Shared>,
}

struct Shared {
    users: Mutex<Arc<Users>>,
    queue: Mutex<Waiting>,
    asked: Condvar,
}

/// Requests that wait, and the bytes of their user names and passwords.
#[derive(Default)]
struct Waiting {
    requests: VecDeque<Request>,
    bytes: usize,
}

impl Waiting {
    fn push(&mut self, request: Request) -> bool {
        let bytes = self.bytes + request.bytes();
        if self.requests.len() >= limits::PASSWORD_CHECKS_WAITING_MAX
            || bytes > limits::PASSWORD_CHECKS_WAITING_BYTES_MAX
        {
            return false;
        }
        self.bytes = bytes;
        self.requests.push_back(request);
        true
    }

    fn pop(&mut self) -> Option<Request> {
        let request = self.requests.pop_front()?;
        self.bytes -= request.bytes();
        Some(request)
    }
}

impl Request {
    fn bytes(&self) -> usize {
        self.user_name.len() + self.password.len()
    }
}

/// A lock here is never held by code that may panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The password files in force: each once, and which of them is that of a listener.
pub struct Users {
    files: Vec<(PathBuf, PasswordFile)>,
    /// By the listener's number.
    by_listener: Vec<Option<usize>>,
}

impl Users {
    /// Reads the files of all listeners, each once; `None`: a listener without users.
    ///
    /// Errors: the first that cannot be read.
    pub fn load(paths: &[Option<PathBuf>]) -> Result<Users, PasswordFileError> {
        let mut users = Users {
            files: Vec::new(),
            by_listener: Vec::new(),
        };
        for path in paths {
            let Some(path) = path else {
                users.by_listener.push(None);
                continue;
            };
            let known = users.files.iter().position(|(known, _)| known == path);
            let at = match known {
                Some(at) => at,
                None => {
                    users.files.push((path.clone(), PasswordFile::load(path)?));
                    users.files.len() - 1
                }
            };
            users.by_listener.push(Some(at));
        }
        Ok(users)
    }

    /// What is wrong in the files, a line each.
    pub fn warnings(&self) -> Vec<String> {
        let files = self.files.iter();
        files.flat_map(|(path, file)| file.warnings(path)).collect()
    }

    fn of(&self, listener: ListenerId) -> Option<&PasswordFile> {
        let at = *self.by_listener.get(listener.index())?;
        at.map(|at| &self.files[at].1)
    }

    /// Who is in no file of `new` any more that was one of a listener's users, sorted.
    ///
    /// Errors: bad lines of `new` would shut out users. One sentence.
    fn gone_in(&self, new: &Users) -> Result<Vec<Box<str>>, String> {
        let nobody = (PathBuf::new(), PasswordFile::parse(b""));
        let mut gone = Vec::new();
        let mut compared = Vec::new();
        for (listener, old_at) in self.by_listener.iter().enumerate() {
            let Some(old_at) = *old_at else { continue };
            let new_at = new.by_listener.get(listener).copied().flatten();
            if compared.contains(&(old_at, new_at)) {
                continue;
            }
            compared.push((old_at, new_at));
            let (path, file) = new_at.map_or(&nobody, |at| &new.files[at]);
            match self.files[old_at].1.successor(file) {
                Succession::Gone(users) => gone.extend(users),
                Succession::Lost(lost) => {
                    return Err(format!(
                        "{}: its bad lines would shut out {}; correct them, or delete them on purpose, and reload",
                        path.display(),
                        named(&lost)
                    ));
                }
            }
        }
        gone.sort();
        gone.dedup();
        Ok(gone)
    }

    /// The files with their number of users.
    fn told(&self) -> String {
        let told = |(path, file): &(PathBuf, PasswordFile)| {
            let users = if file.len() == 1 { "user" } else { "users" };
            format!("{} read again: {} {users}", path.display(), file.len())
        };
        let files: Vec<String> = self.files.iter().map(told).collect();
        match files.as_slice() {
            [] => "there is no password file".to_owned(),
            [one] => format!("password file {one}"),
            many => format!("password files {}", many.join(", ")),
        }
    }
}

impl Checker {
    /// A checker of these users. Nothing is answered before [`Checker::start`].
    pub fn new(users: Users) -> Checker {
        Checker {
            shared: Arc::new(Shared {
                users: Mutex::new(Arc::new(users)),
                queue: Mutex::default(),
                asked: Condvar::new(),
            }),
        }
    }

    /// Starts the thread, which answers through the shards' mailboxes.
    pub fn start(&self, shards: Shards, clock: Clock) -> io::Result<()> {
        let checker = self.clone();
        thread::Builder::new()
            .name("passwords".to_owned())
            .spawn(move || {
                loop {
                    let request = checker.next();
                    checker.answer(&request, &shards, clock);
                }
            })?;
        Ok(())
    }

    /// Queues a request. False: too many wait.
    pub fn ask(&self, request: Request) -> bool {
        let queued = lock(&self.shared.queue).push(request);
        if queued {
            self.shared.asked.notify_one();
        }
        queued
    }

    /// Reads the files again; `paths` as for [`Users::load`]. Nothing changes before [`Checker::exchange`].
    ///
    /// Errors: a file that cannot be read, or one whose bad lines would shut out users of the old one.
    pub fn prepare(&self, paths: &[Option<PathBuf>]) -> Result<Successor, Reloaded> {
        let new = match Users::load(paths) {
            Ok(new) => new,
            Err(error) => return Err(Reloaded::kept(error.to_string(), Vec::new())),
        };
        let old = Arc::clone(&lock(&self.shared.users));
        match old.gone_in(&new) {
            Ok(gone) => Ok(Successor { users: new, gone }),
            Err(why) => Err(Reloaded::kept(why, new.warnings())),
        }
    }

    /// Puts new users in force; the shards learn which users are gone.
    pub fn exchange(&self, successor: Successor, shards: &Shards) -> Reloaded {
        let Successor { users, gone } = successor;
        let warnings = users.warnings();
        let mut text = users.told();
        let mut in_force = lock(&self.shared.users);
        *in_force = Arc::new(users);
        if !gone.is_empty() {
            let gone: Arc<[Box<str>]> = gone.as_slice().into();
            shards.tell_all(|| ToShard::UsersGone(Arc::clone(&gone)));
        }
        drop(in_force);
        if !gone.is_empty() {
            text += &format!("; gone: {}", named(&gone));
        }
        Reloaded {
            summary: (LogLevel::Info, text),
            warnings,
        }
    }

    fn next(&self) -> Request {
        let mut queue = lock(&self.shared.queue);
        loop {
            if let Some(request) = queue.pop() {
                return request;
            }
            let waited = self.shared.asked.wait(queue);
            queue = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Checks a request and tells its shard. Where the file was exchanged while this took its time, the new one is
    /// asked. The verdict is told while nobody can exchange it, so every verdict that lets in a user of an old file
    /// comes before the word that this user is gone.
    fn answer(&self, request: &Request, shards: &Shards, clock: Clock) {
        let mut users = Arc::clone(&lock(&self.shared.users));
        loop {
            let verdict = check(&users, request, clock.now());
            let current = lock(&self.shared.users);
            if Arc::ptr_eq(&users, &current) {
                let connection = request.connection;
                let answer = ToShard::Verdict {
                    connection,
                    verdict,
                };
                return shards.tell(request.shard, answer);
            }
            users = Arc::clone(&current);
        }
    }
}

fn check(users: &Users, request: &Request, now: Time) -> Verdict {
    // Its connection has been closed at its deadline by now: under a flood the thread catches up instead of hashing
    // in vain.
    if now.since_ms(request.asked) >= limits::CONNECT_DEADLINE_MS {
        return Verdict::Busy;
    }
    let Some(file) = users.of(request.listener) else {
        return Verdict::UnknownUser;
    };
    match file.check(&request.user_name, &request.password) {
        Check::Accepted => Verdict::Accepted,
        Check::UnknownUser => Verdict::UnknownUser,
        Check::WrongPassword => Verdict::WrongPassword,
    }
}
