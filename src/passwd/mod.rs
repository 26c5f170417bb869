//! Password files in the format of `mosquitto_passwd`: `open` reads the bytes of one, `lines` reads each line, `file`
//! finds the users and checks user names against them, `hash` knows the three kinds of digest, `argon2id` one of them,
//! `fault` says what is wrong with a file or a line. `tool` is the command `mqttfast passwd` that writes such files,
//! with `prompt` (a password typed without echo) and `replace` (the file exchanged as a whole) as its hands; `failure`
//! is why it does not.
//!
//! Nothing here knows of sockets or of the broker; a check is a long computation (below 1 ms at 1000
//! iterations on a server, several times that on a small board) and belongs on a helper thread.

mod argon2id;
mod failure;
mod fault;
mod file;
mod hash;
mod lines;
mod open;
mod prompt;
pub mod props;
mod replace;
mod tool;

pub use argon2id::Cost;
pub use failure::Failure;
pub use fault::{Fault, LineFault, PasswordFileError, shell_quoted};
pub use file::{Check, PasswordFile, Succession, shown};
pub use hash::{Hash, Scheme};
pub use tool::{Command, run};
