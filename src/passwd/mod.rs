//! Password files in the format of `mosquitto_passwd`: `file` reads one and checks user names against it, `hash`
//! knows the two kinds of digest, `fault` says what is wrong with a file, `tool` is the command `mqttfast passwd` that
//! writes them, with `prompt` (a password typed without echo) and `replace` (the file exchanged as a whole) as its hands.
//!
//! Nothing here knows of sockets or of the broker; a check is a long computation (below 1 ms at 1000
//! iterations on a server, several times that on a small board) and belongs on a helper thread.

mod fault;
mod file;
mod hash;
mod prompt;
pub mod props;
mod replace;
mod tool;

pub use fault::{Account, Denied, Fault, LineFault, Owner, PasswordFileError};
pub use file::{Check, PasswordFile};
pub use hash::{Hash, Scheme};
pub use tool::{Command, Failure, run};
