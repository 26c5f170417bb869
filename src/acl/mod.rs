//! Who may read and write which topics: the ACL file of Mosquitto, read whole or not at all.
//!
//! [`Acl::parse`] turns the bytes of a file into a table; [`Acl::standing`] looks up once, at CONNECT, which part of
//! the table a Client has; [`Acl::may`] answers for one Topic Name, without allocation. [`Recall`] spares the question
//! for the name that a Client asked about last; [`Acl::reach`] answers for all names of a Topic Filter at once.
//! [`Rules`] are the tables of all listeners. The room knows no sockets and Sessions, and opens no file: who reads
//! files, swaps tables and logs refusals does so above.
//!
//! A file is a list of rules:
//!
//! ```text
//! topic read news/#                rules above the first `user` are for Clients without a user name
//! user ann
//! topic readwrite house/#          ann alone
//! topic deny house/safe/#          stronger than every other rule of ann
//! pattern write device/%c/state    everybody, wherever the line stands; %c is the client id, %u the user name
//! ```
//!
//! What it means, in the order of the questions [`Acl::may`] asks; all of it measured on Mosquitto 2.0.11:
//!
//! 1. `$SYS/…` is written by nobody, but for `$SYS/broker/connection/+/state`, where a rule must allow it, and
//!    `$CONTROL/…` by nobody; `$share/…` is no Topic Name.
//! 2. The rules of the Client's section: a `deny` that matches refuses, else a rule that matches and has the right
//!    allows.
//! 3. If the file has a `pattern` at all: a user name or client id with `+` or `#` is refused.
//! 4. The patterns, `deny` first as in 2. A pattern with `%u` is skipped for Clients without a user name. Substitution
//!    is textual: a client id `a/b` makes two levels of one `%c`.
//! 5. Nothing matched: refused.
//!
//! A rule reaches names that begin with `$` only where its own text begins with `$` (after substitution). A
//! subscription needs no right of its own, so only `Read` of a message and `Write` exist: Mosquitto grants each
//! subscription and holds back what must not be read. [`Acl::reach`] finds those of which nothing may be read.

pub mod explain;
mod file;
pub mod props;
mod reach;
mod recall;
mod rules;
mod table;
mod trie;

pub use file::{Access, Fault, Refused, Rule, Warning};
pub use reach::Reach;
pub use recall::Recall;
pub use rules::Rules;
pub use table::{Acl, Act, Cause, Standing, Verdict, may_without_file};

#[cfg(test)]
mod tests;
