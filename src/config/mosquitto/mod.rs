//! Reads a `mosquitto.conf` into plain data, with the effect that Mosquitto 2.0 and 2.1 give it.
//!
//! ```text
//! bytes ── lines ──> name, value, line ── table ──> option, kind of value ── reader ──> who said what where
//!                                                                                          │
//!                         Mosquitto { listeners, global, bridges, notes } <── build, check ┘
//! ```
//!
//! The policy, line by line: what Mosquitto accepts is accepted with the same effect. Where Mosquitto stops although
//! the wish is clear, and honouring it cannot let in anybody, it is honoured with a warning that names file and line: a
//! byte order mark, a TAB for a blank, `name = value`, `yes` and `no`, quotes, a comment behind a path that exists
//! without it, `64MB`, 0 for "no limit", a line that repeats another. Everything else refuses the start with file,
//! line, the reason and the line to write instead; every such line of a file is told at once. Three things differ from
//! Mosquitto for safety:
//!
//! - `allow_anonymous false` holds without a listener too. (Mosquitto forgets it there up to 2.0.20.)
//! - Options above the first `listener` that make Mosquitto listen on all interfaces, open to everybody, without a
//!   `listener` line, open nothing to the network unless the file says who may come in.
//! - A NUL byte refuses the file. (Mosquitto ignores what follows it, an `allow_anonymous false` too.)
//!
//! The room opens no file itself: a [`Files`] does, so that everything here is a function of bytes.

pub mod account;
mod bridge;
mod build;
mod check;
mod describe;
mod drafts;
mod files;
mod global;
mod lines;
mod listener;
mod not_yet;
mod note;
pub mod props;
mod reader;
mod statements;
mod table;
mod value;

pub use bridge::{Bridge, BridgeTls, BridgeTopic, Direction, StartType};
pub use describe::describe;
pub use files::{Files, Look, Unreadable};
pub use global::{Global, LogDestination, LogTypes, Logging};
pub use listener::{
    Address, CertificateName, Family, Listener, Protocol, Security, Tls, TlsVersion,
};
pub use note::{At, Exit, Kind, Note, Place, Refused};
pub use reader::read;
pub use table::{Reload, Row, Scope, Support, Table};

use std::path::PathBuf;

/// What a `mosquitto.conf` and the files it includes say. Every path is as the file has it, or made absolute where only
/// that exists.
#[derive(Clone, PartialEq, Debug)]
pub struct Mosquitto {
    /// The files read, in order: the main one first.
    pub files: Vec<PathBuf>,
    /// In the order Mosquitto opens them; never empty. One that stands for "no listener" has `Address::Loopback`.
    pub listeners: Vec<Listener>,
    /// What holds for no listener alone.
    pub global: Global,
    /// In the order of their `connection` lines; no two have one name.
    pub bridges: Vec<Bridge>,
    /// What the operator should be told, in the order of files and lines; bounded by `CONFIGURATION_NOTES_MAX`.
    pub notes: Vec<Note>,
    /// The options that the files set to something else than their default, with their places.
    pub said: Vec<(&'static Row, Place)>,
}

impl Mosquitto {
    /// Nobody but programs on this machine can connect, because the file has no `listener`.
    pub fn is_local_only(&self) -> bool {
        let loopback = |listener: &Listener| matches!(listener.address, Address::Loopback { .. });
        self.listeners.iter().all(loopback)
    }

    /// The ACL files in force, each once.
    pub fn acl_files(&self) -> Vec<&At<PathBuf>> {
        self.security_files(|security| security.acl_file.as_ref())
    }

    /// The password files in force, each once.
    pub fn password_files(&self) -> Vec<&At<PathBuf>> {
        self.security_files(|security| security.password_file.as_ref())
    }

    fn security_files(
        &self,
        file: impl Fn(&Security) -> Option<&At<PathBuf>>,
    ) -> Vec<&At<PathBuf>> {
        let mut found: Vec<&At<PathBuf>> = Vec::new();
        for listener in &self.listeners {
            if let Some(path) = file(&listener.security)
                && !found.iter().any(|other| other.value == path.value)
            {
                found.push(path);
            }
        }
        found
    }
}

#[cfg(test)]
mod tests;
