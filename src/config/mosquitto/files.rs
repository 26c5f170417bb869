//! What the reader needs of a file system.

use std::path::Path;

/// A file system, or a table of a test.
pub trait Files {
    /// A whole file of at most so many bytes; symbolic links are followed.
    fn read(&self, path: &Path, bytes_max: usize) -> Result<Vec<u8>, Unreadable>;

    /// The names in a folder, in any order, without `.` and `..`; those that are not UTF-8 as far as they are.
    fn list(&self, folder: &Path) -> Result<Vec<String>, Unreadable>;

    /// What is there, symbolic links followed.
    fn look(&self, path: &Path) -> Look;
}

/// What a path leads to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Look {
    /// A file that can be opened for reading, or something else that is not a folder.
    File,
    /// It can be listed or not.
    Folder,
    /// Nothing is there, or a link that leads to nothing.
    Missing,
    /// There is a file, and this user may not read it.
    Forbidden,
}

/// Why a file or folder cannot be read. Its `Display` ends the sentence "FILE …".
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Unreadable {
    /// Nothing is at this path.
    Missing,
    /// This user may not read it.
    Forbidden,
    /// Larger than was asked for.
    TooLarge,
    /// What the system says.
    Other(String),
}

impl std::fmt::Display for Unreadable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Unreadable::Missing => f.write_str("does not exist"),
            Unreadable::Forbidden => f.write_str("may not be read by this user"),
            Unreadable::TooLarge => f.write_str("is too large"),
            Unreadable::Other(text) => write!(f, "cannot be read: {text}"),
        }
    }
}
