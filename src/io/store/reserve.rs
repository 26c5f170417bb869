//! Blocks of the disk that nobody else may take: on a full disk SQLite can neither delete nor move its log, and with
//! these given back it can.

use crate::limits;
use nix::sys::statvfs::statvfs;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A file of real blocks beside the store's.
pub struct Reserve {
    path: PathBuf,
    held: bool,
}

impl Reserve {
    /// Takes the blocks, if the disk has them.
    pub fn take(directory: &Path) -> Reserve {
        let mut reserve = Reserve {
            path: directory.join("reserve"),
            held: false,
        };
        let there = fs::metadata(&reserve.path).map_or(0, |file| file.len());
        reserve.held = there >= limits::STORE_RESERVE_BYTES || reserve.write();
        reserve
    }

    /// Zeros are written, as a hole would have no blocks.
    fn write(&self) -> bool {
        let made = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&self.path);
        let zeros = vec![0; limits::STORE_RESERVE_BYTES as usize];
        let written = made.and_then(|mut file| {
            file.write_all(&zeros)?;
            file.sync_all()
        });
        if written.is_err() {
            let _ = fs::remove_file(&self.path);
        }
        written.is_ok()
    }

    /// The blocks are there.
    pub fn is_held(&self) -> bool {
        self.held
    }

    /// Gives the blocks back. `false`: there are none.
    pub fn give_back(&mut self) -> bool {
        std::mem::take(&mut self.held) && fs::remove_file(&self.path).is_ok()
    }

    /// Takes the blocks again, once the disk has enough besides.
    pub fn take_again(&mut self) {
        if !self.held && self.free_bytes() >= limits::STORE_RESERVE_FROM_BYTES {
            self.held = self.write();
        }
    }

    /// Bytes that this user may still write on the disk.
    pub fn free_bytes(&self) -> u64 {
        let directory = self.path.parent().unwrap_or(&self.path);
        statvfs(directory).map_or(0, |found| {
            wide(found.blocks_available()).saturating_mul(wide(found.fragment_size()))
        })
    }
}

/// These numbers have 32 bits on some machines.
fn wide(number: impl Into<u64>) -> u64 {
    number.into()
}
