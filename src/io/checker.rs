//! The password thread: hashing takes milliseconds to seconds and never runs on a shard.

use crate::broker::{Level, Verdict};
use crate::ids::{ConnectionId, ShardId};
use crate::io::clock::Clock;
use crate::io::host::{Shards, ToShard};
use crate::limits;
use crate::passwd::{Check, PasswordFile};
use crate::time::Time;
use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

/// User name and password of one CONNECT.
pub struct Request {
    pub shard: ShardId,
    pub connection: ConnectionId,
    pub user_name: String,
    pub password: Vec<u8>,
    pub asked: Time,
}

/// A handle of the thread and its bounded queue.
#[derive(Clone)]
pub struct Checker {
    shared: Arc<Shared>,
}

struct Shared {
    path: PathBuf,
    file: Mutex<Arc<PasswordFile>>,
    queue: Mutex<VecDeque<Request>>,
    asked: Condvar,
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
                    let (shard, connection) = (request.shard, request.connection);
                    let verdict = checker.check(&request, clock.now());
                    let answer = ToShard::Verdict {
                        connection,
                        verdict,
                    };
                    shards.tell(shard, answer);
                }
            })?;
        Ok(())
    }

    /// Queues a request. False: too many wait.
    pub fn ask(&self, request: Request) -> bool {
        let mut queue = lock(&self.shared.queue);
        if queue.len() >= limits::PASSWORD_CHECKS_WAITING_MAX {
            return false;
        }
        queue.push_back(request);
        drop(queue);
        self.shared.asked.notify_one();
        true
    }

    /// Reads the file again, and tells how that went. A file that cannot be used leaves the old one in force.
    pub fn reload(&self) -> (Level, String) {
        let path = self.shared.path.display();
        match PasswordFile::load(&self.shared.path) {
            Ok(file) => {
                let users = file.len();
                *lock(&self.shared.file) = Arc::new(file);
                let text = format!(
                    "password file {path} read again: {users} {}",
                    if users == 1 { "user" } else { "users" }
                );
                (Level::Info, text)
            }
            Err(error) => {
                let text = format!("password file not read again, the old one stays: {error}");
                (Level::Error, text)
            }
        }
    }

    fn next(&self) -> Request {
        let mut queue = lock(&self.shared.queue);
        loop {
            if let Some(request) = queue.pop_front() {
                return request;
            }
            let waited = self.shared.asked.wait(queue);
            queue = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn check(&self, request: &Request, now: Time) -> Verdict {
        // Its connection has met its deadline by now: under a flood the thread catches up instead of hashing for nobody.
        if now.since_ms(request.asked) >= limits::CONNECT_DEADLINE_MS {
            return Verdict::Busy;
        }
        let file = Arc::clone(&lock(&self.shared.file));
        match file.check(&request.user_name, &request.password) {
            Check::Accepted => Verdict::Accepted,
            Check::UnknownUser => Verdict::UnknownUser,
            Check::WrongPassword => Verdict::WrongPassword,
        }
    }
}
