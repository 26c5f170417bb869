//! Credentials that were found good: checked again in a microsecond, so a flood of guesses delays nobody whom the
//! broker has let in before.
//!
//! What is kept of user name and password is the first half of a SHA-256 keyed with a secret of this object. A user has
//! one password in a file that does not change, so at most one entry for each user comes together; the whole is dropped
//! with the files it was made of. What is kept tells a wrong password from a right one no faster than the file does to
//! anybody without the secret, which is in no file.

use crate::limits;
use sha2::{Digest, Sha256};
use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

/// A keyed hash of file, user name and password.
type Mark = [u8; 16];

/// What was verified since the files were read.
pub struct Known {
    secret: [u8; 32],
    marks: Mutex<HashSet<Mark>>,
}

impl Known {
    /// Nothing yet, with a secret of the operating system's randomness. Where there is none, nothing is remembered.
    pub fn new() -> Option<Known> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).ok()?;
        Some(Known {
            secret,
            marks: Mutex::default(),
        })
    }

    /// Whether these were verified before. One SHA-256; no password is hashed as the file wants it.
    pub fn has(&self, file: usize, user_name: &str, password: &[u8]) -> bool {
        let mark = self.mark(file, user_name, password);
        mark.is_some_and(|mark| self.marks().contains(&mark))
    }

    /// These were verified just now. At the limit, and for names and passwords that are very long, nothing is kept.
    pub fn note(&self, file: usize, user_name: &str, password: &[u8]) {
        if let Some(mark) = self.mark(file, user_name, password) {
            let mut marks = self.marks();
            if marks.len() < limits::PASSWORDS_KNOWN_MAX {
                marks.insert(mark);
            }
        }
    }

    /// `None` where hashing would take a shard more than a few microseconds.
    fn mark(&self, file: usize, user_name: &str, password: &[u8]) -> Option<Mark> {
        if user_name.len() + password.len() > limits::PASSWORD_KNOWN_BYTES_MAX {
            return None;
        }
        let mut hash = Sha256::new();
        hash.update(self.secret);
        hash.update((file as u64).to_le_bytes());
        // The length keeps the end of the name apart from the beginning of the password.
        hash.update((user_name.len() as u64).to_le_bytes());
        hash.update(user_name);
        hash.update(password);
        let hash: [u8; 32] = hash.finalize().into();
        Some(std::array::from_fn(|index| hash[index]))
    }

    fn marks(&self) -> std::sync::MutexGuard<'_, HashSet<Mark>> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_noted_is_known() {
        let known = Known::new().unwrap();
        assert!(!known.has(0, "alice", b"secret"));
        known.note(0, "alice", b"secret");
        assert!(known.has(0, "alice", b"secret"));
        for (file, user_name, password) in [
            (0, "alice", &b"secre"[..]),
            (0, "alice", b""),
            (0, "alices", b"ecret"),
            (0, "bob", b"secret"),
            (1, "alice", b"secret"),
        ] {
            assert!(!known.has(file, user_name, password), "{user_name}");
        }
        assert!(!Known::new().unwrap().has(0, "alice", b"secret"));
    }

    #[test]
    fn very_long_ones_are_not_kept() {
        let known = Known::new().unwrap();
        let password = vec![b'x'; limits::PASSWORD_KNOWN_BYTES_MAX];
        known.note(0, "a", &password);
        assert!(!known.has(0, "a", &password));
        known.note(0, "", &password);
        assert!(known.has(0, "", &password));
    }
}
