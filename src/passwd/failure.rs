//! Why a command was not carried out.

use super::fault::{Fault, LineFault, PasswordFileError};
use std::path::Path;

/// Why a command was not carried out: one sentence, and the exit code (2: it was given wrongly).
#[derive(PartialEq, Eq, Debug)]
pub struct Failure {
    /// Of the process.
    pub exit_code: u8,
    /// The sentence.
    pub text: String,
}

impl Failure {
    pub(super) fn refused(text: impl Into<String>) -> Failure {
        Failure {
            exit_code: 1,
            text: text.into(),
        }
    }

    pub(super) fn usage(text: impl Into<String>) -> Failure {
        Failure {
            exit_code: 2,
            text: text.into(),
        }
    }

    /// A password file that cannot be used.
    pub(super) fn file(path: &Path, fault: Fault) -> Failure {
        let path = path.to_path_buf();
        Failure::refused(PasswordFileError { path, fault }.to_string())
    }

    /// A line that keeps the command from its work.
    pub(super) fn line(path: &Path, line: u32, fault: LineFault) -> Failure {
        let sentence = fault.sentence(path);
        Failure::refused(format!(
            "password file {}, line {line}: {sentence}",
            path.display()
        ))
    }
}
