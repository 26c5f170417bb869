//! What an operator may say about the store.

use crate::limits;
use std::path::PathBuf;

/// When an answer may say that a message is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Durability {
    /// When it is on the disk.
    Strict,
    /// When it survives the process; it is on the disk a window later.
    Batched,
    /// As `Batched`, with seconds instead of a window.
    Lazy,
}

impl Durability {
    /// From a change to its commit, where the disk is not late, in milliseconds. `asked_ms`: what the operator wants
    /// for `Batched`.
    pub fn window_ms(self, asked_ms: u64) -> u64 {
        match self {
            Durability::Lazy => limits::STORE_LAZY_MS,
            Durability::Strict | Durability::Batched => asked_ms,
        }
    }

    /// From a retained message of QoS 0 to its commit, in milliseconds. A topic that was just written waits longer.
    pub fn lazy_ms(self) -> u64 {
        match self {
            Durability::Lazy => limits::STORE_LAZIER_MS,
            Durability::Strict | Durability::Batched => limits::STORE_LAZY_MS,
        }
    }

    /// From this age of a change on the disk is late: a window may pass without harm.
    pub fn late_ms(self, asked_ms: u64) -> u64 {
        limits::STORE_LATE_MS.max(2 * self.window_ms(asked_ms))
    }
}

/// Where and how the broker remembers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoreConfig {
    /// `Some(false)`: no file of the store is read or written. `None`: nobody has said, so there is one.
    pub persistence: Option<bool>,
    /// When answers leave.
    pub durability: Durability,
    /// From the first change of a window to its commit, in milliseconds.
    pub window_ms: u64,
    /// The store's directory; `None`: the default of this user and port.
    pub directory: Option<PathBuf>,
    /// The largest file, in bytes.
    pub bytes_max: u64,
    /// What Mosquitto has kept, if there is such a file: taken into a store that is new.
    pub import: Option<PathBuf>,
}

impl Default for StoreConfig {
    fn default() -> Self {
        StoreConfig {
            persistence: None,
            durability: Durability::Batched,
            window_ms: limits::STORE_WINDOW_MS_DEFAULT,
            directory: None,
            bytes_max: limits::STORE_FILE_BYTES_DEFAULT,
            import: None,
        }
    }
}
