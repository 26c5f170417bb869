//! The real world: sockets, clock, signals.

use crate::config::Config;
use crate::passwd::PasswordFile;
use std::fmt;

/// Why the broker cannot start: one sentence with cause and remedy.
#[derive(Debug)]
pub struct StartError(pub String);

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Runs the broker until a signal stops it.
pub fn run(config: Config) -> Result<(), StartError> {
    if let Some(path) = &config.passwd {
        PasswordFile::load(path).map_err(|error| StartError(error.to_string()))?;
    }
    Err(StartError("sockets are not built in here".into()))
}
