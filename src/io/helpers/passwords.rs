//! The password thread: hashing takes milliseconds to seconds and never runs on a shard.
//!
//! What was verified once is let in at once, without the thread (`known`). The rest waits its turn (`waiting`): a fair
//! share of the thread for each address, and less and less for addresses that fail.

mod known;
mod waiting;

pub use self::waiting::{Reply, Request};

use self::known::Known;
use self::waiting::{Next, Waiting};
use crate::broker::{LogLevel, Verdict};
use crate::ids::ListenerId;
use crate::io::clock::Clock;
use crate::io::mail::{Shards, ToShard};
use crate::limits;
use crate::passwd::{Check, PasswordFile, PasswordFileError, Succession, shown};
use crate::time::Time;
use std::collections::{BTreeSet, HashSet};
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

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
    /// Set when the thread starts.
    answers: OnceLock<Answers>,
}

/// Where verdicts go, and the time.
struct Answers {
    shards: Shards,
    clock: Clock,
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
    /// What was verified with these files.
    known: Option<Known>,
}

impl Users {
    /// Reads the files of all listeners, each once; `None`: a listener without users.
    ///
    /// Errors: the first that cannot be read.
    pub fn load(paths: &[Option<PathBuf>]) -> Result<Users, PasswordFileError> {
        let mut users = Users {
            files: Vec::new(),
            by_listener: Vec::new(),
            known: Known::new(),
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

    /// The number of a listener's file.
    fn of(&self, listener: ListenerId) -> Option<usize> {
        *self.by_listener.get(listener.index())?
    }

    /// Whether these credentials were verified before, with these files.
    fn knows(&self, request: &Request) -> bool {
        let (user_name, password) = (&request.user_name, &request.password);
        match (self.of(request.listener), &self.known) {
            (Some(file), Some(known)) => known.has(file, user_name, password),
            _ => false,
        }
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

    /// Those of these users who are in no file, sorted. Nobody where a file has a line that cannot be read: it may be
    /// theirs.
    fn missing<'a>(&self, names: impl Iterator<Item = &'a str>) -> Vec<Box<str>> {
        let files = self.files.iter().map(|(_, file)| file);
        if self.files.is_empty() || files.clone().any(|file| file.skipped() > 0) {
            return Vec::new();
        }
        let known = files.flat_map(PasswordFile::users).map(|(_, name, _)| name);
        let known: HashSet<&str> = known.collect();
        let missing: BTreeSet<&str> = names.filter(|name| !known.contains(name)).collect();
        missing.into_iter().map(Box::from).collect()
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
                answers: OnceLock::new(),
            }),
        }
    }

    /// Starts the thread, which answers through the shards' mailboxes.
    pub fn start(&self, shards: Shards, clock: Clock) -> io::Result<()> {
        let answers = &self.shared.answers;
        let _ = answers.set(Answers { shards, clock });
        let checker = self.clone();
        thread::Builder::new()
            .name("passwords".to_owned())
            .spawn(move || {
                // It was set above.
                while let Some(answers) = checker.shared.answers.get() {
                    let request = checker.next(answers);
                    checker.answer(&request, answers);
                }
            })?;
        Ok(())
    }

    /// Has credentials checked; the shard's mailbox gets the verdict, at once if they are known. For requests that
    /// find no room the verdict is "busy".
    pub fn ask(&self, request: Request) {
        let shared = &self.shared;
        let users = lock(&shared.users);
        if users.knows(&request)
            && let Some(answers) = shared.answers.get()
        {
            // Told before the users can be exchanged, as in `answer`.
            return answers.tell(&request, Verdict::Accepted);
        }
        drop(users);
        let now = request.asked;
        let lost = lock(&shared.queue).push(request, now);
        shared.asked.notify_one();
        self.tell_busy(&lost);
    }

    /// Those of these users who may log in no more, sorted: of Sessions that were stored while they could.
    pub fn missing<'a>(&self, names: impl Iterator<Item = &'a str>) -> Vec<Box<str>> {
        lock(&self.shared.users).missing(names)
    }

    /// What the log says of users that are gone.
    pub fn named(users: &[Box<str>]) -> String {
        named(users)
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

    fn next(&self, answers: &Answers) -> Request {
        let mut queue = lock(&self.shared.queue);
        loop {
            let asked = &self.shared.asked;
            let now = answers.clock.now();
            queue = match queue.next(now) {
                Next::Check(request) => return request,
                Next::Nothing => asked.wait(queue).unwrap_or_else(PoisonError::into_inner),
                Next::At(at) => {
                    let pause = Duration::from_millis(at.since_ms(now));
                    let waited = asked.wait_timeout(queue, pause);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// Checks a request and tells its shard. Where the file was exchanged while this took its time, the new one is
    /// asked. The verdict is told while nobody can exchange it, so every verdict that lets in a user of an old file
    /// comes before the word that this user is gone.
    fn answer(&self, request: &Request, answers: &Answers) {
        let mut users = Arc::clone(&lock(&self.shared.users));
        loop {
            let verdict = check(&users, request, answers.clock.now());
            let current = lock(&self.shared.users);
            if Arc::ptr_eq(&users, &current) {
                answers.tell(request, verdict);
                drop(current);
                return self.note(request.address, verdict, answers.clock.now());
            }
            users = Arc::clone(&current);
        }
    }

    /// What the verdict says of the address.
    fn note(&self, address: IpAddr, verdict: Verdict, now: Time) {
        let mut queue = lock(&self.shared.queue);
        let mut lost = Vec::new();
        match verdict {
            Verdict::UnknownUser | Verdict::WrongPassword => {
                lost = queue.note_failure(address, now)
            }
            Verdict::Accepted => queue.note_success(address),
            Verdict::Busy => {}
        }
        drop(queue);
        self.tell_busy(&lost);
    }

    fn tell_busy(&self, lost: &[Request]) {
        if let Some(answers) = self.shared.answers.get() {
            for request in lost {
                answers.tell(request, Verdict::Busy);
            }
        }
    }
}

impl Answers {
    fn tell(&self, request: &Request, verdict: Verdict) {
        match &request.reply {
            Reply::Shard { shard, connection } => {
                let answer = ToShard::Verdict {
                    connection: *connection,
                    verdict,
                };
                self.shards.tell_surely(*shard, answer);
            }
            Reply::Helper(tell) => tell(verdict),
        }
    }
}

fn check(users: &Users, request: &Request, now: Time) -> Verdict {
    // Its connection has been closed at its deadline by now: under a flood the thread catches up instead of hashing
    // in vain.
    if now.since_ms(request.asked) >= limits::CONNECT_DEADLINE_MS {
        return Verdict::Busy;
    }
    let Some(at) = users.of(request.listener) else {
        return Verdict::UnknownUser;
    };
    let (user_name, password) = (&request.user_name, &request.password);
    match users.files[at].1.check(user_name, password) {
        Check::Accepted => {
            if let Some(known) = &users.known {
                known.note(at, user_name, password);
            }
            Verdict::Accepted
        }
        Check::UnknownUser => Verdict::UnknownUser,
        Check::WrongPassword => Verdict::WrongPassword,
    }
}
