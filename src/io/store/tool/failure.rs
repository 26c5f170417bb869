//! What comes of a command.

use crate::io::store::place::Holder;
use std::path::Path;

/// What a command has to say.
#[derive(Debug)]
pub struct Done {
    /// For standard output.
    pub text: String,
    /// Of the process.
    pub exit_code: u8,
}

/// Why a command was not carried out: one sentence, and the exit code.
#[derive(PartialEq, Eq, Debug)]
pub struct Failure {
    /// The sentence.
    pub text: String,
    /// Of the process.
    pub exit_code: u8,
}

impl Failure {
    pub(super) fn new(text: impl Into<String>) -> Failure {
        Failure {
            text: text.into(),
            exit_code: 1,
        }
    }
}

/// A process has the store.
pub(super) fn in_use(directory: &Path, holder: &Holder) -> Failure {
    Failure::new(format!(
        "the store in {} is in use by {holder}: stop it first; a broker that runs says what it stores below $SYS/broker/mqttfast/store/",
        directory.display()
    ))
}
