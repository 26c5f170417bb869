//! What SIGHUP reads again.

use crate::broker::LogLevel;
use crate::config::Config;
use crate::io::helpers::log::Log;
use crate::io::helpers::passwords::Checker;
use crate::io::helpers::rules::{Read, RuleFiles};
use crate::io::mail::{Shards, ToShard};
use crate::limits;
use std::sync::Arc;
use std::time::Duration;

/// Reads files again while the broker serves, all of them before any is in force. What is wrong with one of them leaves
/// the old state as it is.
pub struct Reload {
    /// In force.
    config: Config,
    checker: Option<Checker>,
    shards: Shards,
    log: Log,
}

impl Reload {
    /// Of a broker that serves by `config`.
    pub fn new(config: Config, checker: Option<Checker>, shards: Shards, log: Log) -> Reload {
        Reload {
            config,
            checker,
            shards,
            log,
        }
    }

    /// Reads everything again. One line for the log and the service manager.
    pub fn reload(&mut self) -> (LogLevel, String) {
        let rule_files = RuleFiles::of(&self.config);
        let read = match rule_files.read() {
            Ok(read) => read,
            Err(faults) => {
                for fault in faults.sentences() {
                    self.log.line(LogLevel::Error, fault);
                }
                let text = "nothing reloaded, the old rules and users stay in force: an ACL file is at fault";
                return (LogLevel::Error, text.to_owned());
            }
        };
        let mut said = Vec::new();
        let paths = self.config.password_files();
        if let Some(checker) = &self.checker
            && paths.iter().any(Option::is_some)
        {
            let reloaded = match checker.prepare(&paths) {
                Ok(successor) => checker.exchange(successor, &self.shards),
                Err(kept) => kept,
            };
            for warning in reloaded.warnings {
                self.log.line(LogLevel::Warning, warning);
            }
            let (level, text) = reloaded.summary;
            if level == LogLevel::Error {
                return (level, text);
            }
            said.push(text);
        }
        if rule_files.are_any() {
            said.extend(self.exchange_rules(read));
        }
        if said.is_empty() {
            said.push("SIGHUP: there is no password file and no ACL file to read".to_owned());
        }
        (LogLevel::Info, said.join("; "))
    }

    /// Puts new rules in force on all shards. A clause for each file.
    fn exchange_rules(&self, read: Read) -> Vec<String> {
        for warning in read.warnings {
            self.log.line(LogLevel::Warning, warning);
        }
        self.shards
            .tell_all(|| ToShard::Rules(Arc::clone(&read.rules)));
        let most = Duration::from_millis(limits::RELOAD_WAIT_MS);
        if !self.shards.wait_for_all(most).unwrap_or(false) {
            let text = "the new rules are not in force on all shards yet: one of them is busy";
            self.log.line(LogLevel::Warning, text);
        }
        read.files
    }
}
