//! Why the broker does not start.

use std::fmt;

/// Why the broker does not start: one sentence with cause and remedy.
#[derive(Debug)]
pub struct StartError(String);

impl StartError {
    /// `sentence` is shown as it is, without a stop at its end.
    pub fn new(sentence: impl Into<String>) -> StartError {
        StartError(sentence.into())
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StartError {}

/// What the system refused in passing, as a sentence.
pub fn refused(what: &str) -> impl Fn(std::io::Error) -> StartError {
    let what = what.to_owned();
    move |error| StartError::new(format!("{what}: {error}"))
}
