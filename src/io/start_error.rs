//! Why the broker does not start.

use std::fmt;

/// Why the broker does not start: one sentence with cause and remedy.
#[derive(Debug)]
pub struct StartError {
    sentence: String,
    exit_code: u8,
}

impl StartError {
    /// `sentence` is shown as it is, without a stop at its end.
    pub fn new(sentence: impl Into<String>) -> StartError {
        StartError {
            sentence: sentence.into(),
            exit_code: 1,
        }
    }

    /// The same with another exit code than 1.
    pub fn with_exit_code(self, exit_code: u8) -> StartError {
        StartError { exit_code, ..self }
    }

    /// What the process ends with.
    pub fn exit_code(&self) -> u8 {
        self.exit_code
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

impl std::error::Error for StartError {}

/// What the system refused in passing, as a sentence.
pub fn refused(what: &str) -> impl Fn(std::io::Error) -> StartError {
    let what = what.to_owned();
    move |error| StartError::new(format!("{what}: {error}"))
}
