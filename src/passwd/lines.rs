//! The lines of a password file: where each begins and ends, and what one says.

use super::fault::LineFault;
use super::hash::Hash;
use crate::limits;

/// A byte order mark before the first line is no part of it.
pub(super) const MARK: &str = "\u{FEFF}";

pub(super) fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(MARK.as_bytes()).unwrap_or(bytes)
}

/// The lines of a file with their numbers from 1, without line ends; a byte order mark before the first is dropped.
pub(super) fn lines(bytes: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    lines_after_mark(without_mark(bytes))
}

/// The same of what follows the mark.
pub(super) fn lines_after_mark(bytes: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    // The last line's end is an end, not the start of one more line.
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    bytes
        .split(|&byte| byte == b'\n')
        .zip(1..)
        .map(|(text, line)| (line, text.strip_suffix(b"\r").unwrap_or(text)))
}

/// User name and hash of a line; `None` for a comment and a blank line.
pub(super) fn parse_line(text: &[u8]) -> Result<Option<(&str, Hash)>, LineFault> {
    match split_line(text)? {
        None => Ok(None),
        Some((user_name, rest)) => {
            let hash = rest.split(':').next().unwrap_or(rest);
            Ok(Some((user_name, Hash::parse(hash.trim_ascii())?)))
        }
    }
}

/// User name and all that follows the first `:`; `None` for a comment and a blank line.
///
/// Errors: what is wrong before that `:`.
pub(super) fn split_line(text: &[u8]) -> Result<Option<(&str, &str)>, LineFault> {
    if text.trim_ascii().is_empty() || text.starts_with(b"#") {
        return Ok(None);
    }
    if text.trim_ascii_start().starts_with(b"#") {
        return Err(LineFault::IndentedComment);
    }
    let text = std::str::from_utf8(text).map_err(|_| LineFault::NotUtf8)?;
    let (user_name, rest) = text.split_once(':').ok_or(LineFault::NoColon)?;
    let user_name = user_name.trim_ascii();
    if user_name.is_empty() {
        return Err(LineFault::EmptyUserName);
    }
    if user_name.len() > limits::USER_NAME_BYTES_MAX {
        return Err(LineFault::UserNameTooLong);
    }
    if user_name.chars().any(char::is_control) {
        return Err(LineFault::ControlCharacter);
    }
    Ok(Some((user_name, rest)))
}
