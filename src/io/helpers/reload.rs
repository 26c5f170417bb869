//! What SIGHUP reads again.

use crate::broker::LogLevel;
use crate::config::Config;
use crate::io::helpers::log::Log;
use crate::io::helpers::passwords::Checker;
use crate::io::mail::Shards;

/// Reads files again while the broker serves. What is wrong with a new file leaves the old state as it is.
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
        let Some(checker) = &self.checker else {
            let text = "SIGHUP: there is no password file to read";
            return (LogLevel::Info, text.to_owned());
        };
        let reloaded = match checker.prepare(&self.config.password_files()) {
            Ok(successor) => checker.exchange(successor, &self.shards),
            Err(kept) => kept,
        };
        for warning in reloaded.warnings {
            self.log.line(LogLevel::Warning, warning);
        }
        reloaded.summary
    }
}
