//! What SIGHUP reads again: the configuration, the users, the rules.

use crate::broker::LogLevel;
use crate::config::mosquitto::{Kind, Refused};
use crate::config::{Config, HttpListener, Logs, Settings};
use crate::io::disk::Disk;
use crate::io::helpers::bridge::Bridges;
use crate::io::helpers::certificates::{Certificates, Renewed};
use crate::io::helpers::home_assistant;
use crate::io::helpers::log::Log;
use crate::io::helpers::passwords::{Checker, Reloaded, Successor};
use crate::io::helpers::rules::{Read, RuleFiles};
use crate::io::helpers::sys::Sys;
use crate::io::mail::{Shards, ToShard};
use crate::limits;
use crate::mesh::Places;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Reads files again while the broker serves: all of them before any is in force. What is wrong with one of them leaves
/// the old state as it is, whole.
pub struct Reload {
    /// In force.
    config: Config,
    checker: Option<Checker>,
    certificates: Certificates,
    places: Arc<Places>,
    /// How many connections there may be, whatever a configuration says.
    places_most: usize,
    sys: Sys,
    bridges: Bridges,
    shards: Shards,
    log: Log,
    /// Shards report whatever may be asked for later.
    keeps_recent: bool,
}

/// Its listeners of the page, without what may be another one after a reload: the names of files.
fn page_of(config: &Config) -> Vec<HttpListener> {
    let listeners = config.http.iter();
    listeners
        .map(|http| HttpListener {
            // Whether there are any must stay: sockets are open, and who comes is asked for a login or not.
            tls: None,
            acl: None,
            passwd: http.passwd.as_ref().map(|_| PathBuf::new()),
            place: http.tls.as_ref().map(|_| String::new()),
            ..http.clone()
        })
        .collect()
}

/// What was read, and is not in force yet.
struct New {
    config: Option<Config>,
    rules: Read,
    users: Option<Successor>,
    certificates: Renewed,
}

/// Why nothing was reloaded: the line for the log and the service manager. What else is to be said is in the log.
struct Kept(String);

impl Reload {
    /// Of a broker that serves by `config`, and at most so many connections.
    pub fn new(
        config: Config,
        checker: Option<Checker>,
        certificates: Certificates,
        (places, places_most): (Arc<Places>, usize),
        (sys, bridges): (Sys, Bridges),
        shards: Shards,
        (log, keeps_recent): (Log, bool),
    ) -> Reload {
        Reload {
            config,
            checker,
            certificates,
            places,
            places_most,
            sys,
            bridges,
            shards,
            log,
            keeps_recent,
        }
    }

    /// Reads everything again. One line for the log and the service manager.
    pub fn reload(&mut self) -> (LogLevel, String) {
        let reloaded = match self.read_all() {
            Ok(read) => (LogLevel::Info, self.exchange(read)),
            Err(Kept(text)) => (LogLevel::Error, text),
        };
        // In any case: a log file may have been moved away.
        self.log
            .reopen(self.config.logs, self.config.logging.as_ref());
        reloaded
    }

    /// A line of the log for each bridge.
    pub fn log_bridges(&self) {
        for line in self.bridges.board().lines() {
            self.log.line(LogLevel::Info, line);
        }
    }

    fn kept(&self, what: &str) -> Kept {
        let old = match self.config.source {
            Some(_) => "the old configuration, rules and users",
            None => "the old rules and users",
        };
        Kept(format!("nothing reloaded, {old} stay in force: {what}"))
    }

    /// Reads all files; nothing is in force yet.
    fn read_all(&self) -> Result<New, Kept> {
        let config = self.read_configuration()?;
        let next = config.as_ref().unwrap_or(&self.config);
        let rules = RuleFiles::of(next).read().map_err(|faults| {
            for fault in faults.sentences() {
                self.log.line(LogLevel::Error, fault);
            }
            self.kept("an ACL file is at fault")
        })?;
        let (before, after) = (self.config.password_files(), next.password_files());
        let users = match &self.checker {
            Some(checker) if before.iter().chain(&after).any(Option::is_some) => Some(
                checker
                    .prepare(&after)
                    .map_err(|kept| self.tell_kept(kept))?,
            ),
            _ => None,
        };
        let certificates = self.certificates.prepare(next).map_err(|why| {
            self.log.line(LogLevel::Error, why);
            self.kept("a certificate or key is at fault")
        })?;
        Ok(New {
            config,
            rules,
            users,
            certificates,
        })
    }

    fn tell_kept(&self, kept: Reloaded) -> Kept {
        for warning in kept.warnings {
            self.log.line(LogLevel::Warning, warning);
        }
        Kept(kept.summary.1)
    }

    /// The configuration, if the broker was started with one.
    fn read_configuration(&self) -> Result<Option<Config>, Kept> {
        let Some(source) = &self.config.source else {
            return Ok(None);
        };
        let (mut config, _) = source.read(&Disk).map_err(|refused: Refused| {
            for fault in &refused.faults {
                self.log.line(LogLevel::Error, fault.to_string());
            }
            self.kept("a line of the configuration is at fault")
        })?;
        self.check_listeners(&config)?;
        // Told by the start, and by every reload that changes something.
        for note in &config.notes {
            if note.kind == Kind::Warning && !self.config.notes.contains(note) {
                self.log.line(LogLevel::Warning, note.to_string());
            }
        }
        self.tell_what_stays(&config);
        // These are of the process.
        config.shards = self.config.shards;
        config.io = self.config.io;
        config.memory_bytes_max = self.config.memory_bytes_max;
        config.user.clone_from(&self.config.user);
        config.pid_file.clone_from(&self.config.pid_file);
        config.store.clone_from(&self.config.store);
        config.control.clone_from(&self.config.control);
        config.core.calendar_zero_s = self.config.core.calendar_zero_s;
        config.core.presence = self.config.core.presence;
        if self.keeps_recent {
            config.core.logs = config.core.logs.max(Logs::Events);
        }
        Ok(Some(config))
    }

    /// The listeners must be the same: their sockets are open, and connections know them by their number.
    fn check_listeners(&self, new: &Config) -> Result<(), Kept> {
        let (before, after) = (&self.config.listeners, &new.listeners);
        let mut same = before.len() == after.len();
        for (old, new) in before.iter().zip(after) {
            if old.address != new.address || !old.transport.is_but_for_tls(&new.transport) {
                same = false;
                let place = new.place.as_deref().unwrap_or("the configuration");
                let text = format!(
                    "{place}: this listener is not the one the broker was started with; listeners can be added, removed or changed by a restart alone"
                );
                self.log.line(LogLevel::Error, text);
                break;
            }
        }
        if before.len() != after.len() {
            let (old, new) = (before.len(), after.len());
            let place = after.get(old).and_then(|listener| listener.place.clone());
            let place = place.map_or_else(String::new, |place| format!("{place}: "));
            let text = format!(
                "{place}there are {new} listeners and there were {old}; listeners can be added or removed by a restart alone"
            );
            self.log.line(LogLevel::Error, text);
        }
        let same_page = page_of(&self.config) == page_of(new);
        if !same_page {
            let place = new.http.first().and_then(|http| http.place.clone());
            let place = place.unwrap_or_else(|| "the configuration".to_owned());
            let text = format!(
                "{place}: the listeners of `protocol http_api` are not those that the broker was started with; they can be added, removed or changed by a restart alone"
            );
            self.log.line(LogLevel::Error, text);
        }
        match same && same_page {
            true => Ok(()),
            false => Err(self.kept("its listeners are others")),
        }
    }

    /// Names what was changed and has no effect before a restart.
    fn tell_what_stays(&self, new: &Config) {
        let old = &self.config;
        let memory = |config: &Config| {
            let said = config.source.is_some() && config.memory_bytes_max.is_some();
            said.then_some(config.memory_bytes_max).flatten()
        };
        let changed = [
            ("user", old.user != new.user),
            ("pid_file", old.pid_file != new.pid_file),
            ("presence", old.core.presence != new.core.presence),
            ("persistence", old.store != new.store),
            (
                "memory_limit",
                memory(new).is_some_and(|bytes| old.memory_bytes_max != Some(bytes)),
            ),
        ];
        for (option, _) in changed.iter().filter(|(_, changed)| *changed) {
            let text = format!("`{option}` was changed: it takes effect at a restart");
            self.log.line(LogLevel::Warning, text);
        }
    }

    /// Puts everything in force. One line that says what.
    fn exchange(&mut self, new: New) -> String {
        let New {
            config,
            rules,
            users,
            certificates,
        } = new;
        for warning in rules
            .warnings
            .into_iter()
            .chain(certificates.warnings.clone())
        {
            self.log.line(LogLevel::Warning, warning);
        }
        let mut said = Vec::new();
        self.certificates.exchange(certificates);
        if self.certificates.are_any() {
            said.push("certificates read again".to_owned());
        }
        match config {
            Some(config) => {
                if config.home_assistant != self.config.home_assistant {
                    self.sys.tell_health(config.home_assistant);
                    home_assistant::announce(&self.shards, config.home_assistant);
                }
                self.config = config;
                let settings = Arc::new(Settings {
                    rules: Arc::clone(&rules.rules),
                    ..self.config.settings()
                });
                self.shards
                    .tell_all(|| ToShard::Settings(Arc::clone(&settings)));
                let wanted = self.config.connections_max.unwrap_or(usize::MAX);
                self.places.set_most(wanted.min(self.places_most));
                let by_listener = self.config.connections_max_by_listener();
                self.places.set_most_by_listener(&by_listener);
                self.sys.set_interval(self.config.sys_interval_s);
                let source = self.config.source.as_ref();
                let file = source.map_or_else(String::new, |s| s.file.display().to_string());
                said.push(format!("configuration {file} read again"));
            }
            None if RuleFiles::of(&self.config).are_any() => {
                self.shards
                    .tell_all(|| ToShard::Rules(Arc::clone(&rules.rules)));
            }
            None => {}
        }
        self.wait_for_shards();
        // After the rules that hold for them.
        if let Err(error) = self.bridges.exchange(&self.config.bridges) {
            let text = format!("cannot start the thread of bridges: {error}");
            self.log.line(LogLevel::Error, text);
        }
        // After the rules that hold for new users, and those who are gone must not come in by old settings.
        if let (Some(checker), Some(users)) = (&self.checker, users) {
            let reloaded = checker.exchange(users, &self.shards);
            for warning in reloaded.warnings {
                self.log.line(LogLevel::Warning, warning);
            }
            said.push(reloaded.summary.1);
        }
        said.extend(rules.files);
        if said.is_empty() {
            said.push(
                "SIGHUP: there is no password file, no ACL file and no certificate to read"
                    .to_owned(),
            );
        }
        said.join("; ")
    }

    fn wait_for_shards(&self) {
        let most = Duration::from_millis(limits::RELOAD_WAIT_MS);
        if !self.shards.wait_for_all(most).unwrap_or(false) {
            let text = "what was read is not in force on all shards yet: one of them is busy";
            self.log.line(LogLevel::Warning, text);
        }
    }
}
