//! The password thread: hashing takes milliseconds to seconds and never runs on a shard.

use crate::broker::{LogLevel, Verdict};
use crate::ids::{ConnectionId, ShardId};
use crate::io::clock::Clock;
use crate::io::mail::{Shards, ToShard};
use crate::limits;
use crate::passwd::{Check, PasswordFile, Succession, shown};
use crate::time::Time;
use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

/// User name and password of one CONNECT.
pub struct Request {
    /// Whose mailbox gets the verdict.
    pub shard: ShardId,
    /// The connection at that shard; it may have closed meanwhile.
    pub connection: ConnectionId,
    /// As CONNECT has it.
    pub user_name: String,
    /// As CONNECT has it; empty where it has none.
    pub password: Vec<u8>,
    /// When the shard asked; requests that are too old are answered "busy".
    pub asked: Time,
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
    path: PathBuf,
    file: Mutex<Arc<PasswordFile>>,
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

impl Checker {
    /// A checker of `file`, which was read from `path`. Nothing is answered before [`Checker::start`].
    pub fn new(path: &Path, file: PasswordFile) -> Checker {
        Checker {
            shared: Arc::new(Shared {
                path: path.to_path_buf(),
                file: Mutex::new(Arc::new(file)),
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

    /// Reads the file again, and logs the result. A file that cannot be read leaves the old one in force; so does
    /// one whose bad lines would shut out users of the old one. The shards learn which users are gone.
    pub fn reload(&self, shards: &Shards) -> Reloaded {
        let path = &self.shared.path;
        let new = match PasswordFile::load(path) {
            Ok(new) => new,
            Err(error) => return Reloaded::kept(error.to_string(), Vec::new()),
        };
        let warnings = new.warnings(path);
        let old = Arc::clone(&lock(&self.shared.file));
        let gone = match old.successor(&new) {
            Succession::Gone(gone) => gone,
            Succession::Lost(lost) => {
                let why = format!(
                    "its bad lines would shut out {}; correct them, or delete them on purpose, and reload",
                    named(&lost)
                );
                return Reloaded::kept(format!("{}: {why}", path.display()), warnings);
            }
        };
        let count = new.len();
        let mut file = lock(&self.shared.file);
        *file = Arc::new(new);
        if !gone.is_empty() {
            let gone: Arc<[Box<str>]> = gone.as_slice().into();
            shards.tell_all(|| ToShard::UsersGone(Arc::clone(&gone)));
        }
        drop(file);
        let users = if count == 1 { "user" } else { "users" };
        let mut text = format!(
            "password file {} read again: {count} {users}",
            path.display()
        );
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
        let mut file = Arc::clone(&lock(&self.shared.file));
        loop {
            let verdict = check(&file, request, clock.now());
            let current = lock(&self.shared.file);
            if Arc::ptr_eq(&file, &current) {
                let connection = request.connection;
                let answer = ToShard::Verdict {
                    connection,
                    verdict,
                };
                return shards.tell(request.shard, answer);
            }
            file = Arc::clone(&current);
        }
    }
}

fn check(file: &PasswordFile, request: &Request, now: Time) -> Verdict {
    // Its connection has been closed at its deadline by now: under a flood the thread catches up instead of hashing
    // in vain.
    if now.since_ms(request.asked) >= limits::CONNECT_DEADLINE_MS {
        return Verdict::Busy;
    }
    match file.check(&request.user_name, &request.password) {
        Check::Accepted => Verdict::Accepted,
        Check::UnknownUser => Verdict::UnknownUser,
        Check::WrongPassword => Verdict::WrongPassword,
    }
}
