//! The journal of a shard: a file in memory that outlives the process. One `pwrite` a turn, no sync.

use crate::ids::ShardId;
use crate::limits;
use crate::store::Identity;
use crate::store::frame;
use nix::fcntl::{FallocateFlags, fallocate};
use nix::libc::off_t;
use nix::sys::uio::pwrite;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// See `store::frame` for what is in it.
pub struct Journal {
    file: File,
    halves: [Half; 2],
    /// The half that is written now.
    at: usize,
}

#[derive(Clone, Copy)]
struct Half {
    start: usize,
    end: usize,
    /// Where the next frame goes.
    position: usize,
    /// The last frame in it; 0: none.
    last: u64,
}

/// The file of a shard's journal. Its name says whose it is, so that two stores in one folder do not meet.
pub fn path(directory: &Path, identity: Identity, shard: ShardId) -> PathBuf {
    directory.join(format!("{}-{shard}.journal", hex(identity)))
}

fn hex(identity: Identity) -> String {
    identity
        .0
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

impl Journal {
    /// An empty journal, with all its room taken from the machine.
    pub fn create(directory: &Path, identity: Identity, shard: ShardId) -> io::Result<Journal> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(path(directory, identity, shard))?;
        match fallocate(
            &file,
            FallocateFlags::empty(),
            0,
            limits::JOURNAL_BYTES as off_t,
        ) {
            Ok(()) => {}
            // A file system without it: room is taken as it is written.
            Err(nix::errno::Errno::EOPNOTSUPP | nix::errno::Errno::ENOSYS) => {
                file.set_len(limits::JOURNAL_BYTES as u64)?;
            }
            Err(errno) => return Err(errno.into()),
        }
        write_all(&file, &frame::header(identity), 0)?;
        let halves = frame::halves().map(|(start, end)| Half {
            start,
            end,
            position: start,
            last: 0,
        });
        Ok(Journal {
            file,
            halves,
            at: 0,
        })
    }

    /// Appends a frame. `Ok(false)`: there is no room before older frames are free, or at all.
    ///
    /// Errors: the machine refused; the frame is not in the journal.
    pub fn append(&mut self, frame: &[u8], number: u64, free_up_to: u64) -> io::Result<bool> {
        let half = self.halves[self.at];
        if half.position + frame.len() > half.end {
            let other = &mut self.halves[1 - self.at];
            let fits = other.start + frame.len() <= other.end;
            if other.last > free_up_to || !fits {
                return Ok(false);
            }
            other.position = other.start;
            other.last = 0;
            self.at = 1 - self.at;
        }
        let half = &mut self.halves[self.at];
        write_all(&self.file, frame, half.position)?;
        half.position += frame.len();
        half.last = number;
        Ok(true)
    }

    /// Frames up to this number must be freed before the half that is not written now can be used again.
    pub fn wants_free(&self) -> u64 {
        self.halves[1 - self.at].last
    }
}

fn write_all(file: &File, mut bytes: &[u8], mut at: usize) -> io::Result<()> {
    while !bytes.is_empty() {
        match pwrite(file, bytes, at as off_t) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                bytes = &bytes[written..];
                at += written;
            }
            Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// A journal that an earlier broker left.
pub struct Left {
    pub shard: u8,
    pub bytes: Vec<u8>,
    path: PathBuf,
}

/// The journals of a store in a folder, by shard. Those of other stores, and files that are none, are left alone.
pub fn left(directory: &Path, identity: Identity) -> io::Result<Vec<Left>> {
    let mut found = Vec::new();
    let prefix = format!("{}-", hex(identity));
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let shard = name
            .and_then(|name| name.strip_prefix(&prefix)?.strip_suffix(".journal"))
            .and_then(|shard| shard.parse().ok());
        let Some(shard) = shard else {
            continue;
        };
        let bytes = fs::read(&path)?;
        if frame::identity(&bytes) == Ok(identity) {
            found.push(Left { shard, bytes, path });
        }
    }
    found.sort_by_key(|left| left.shard);
    Ok(found)
}

/// The same in several folders, each once. `notes` gets what could not be looked at.
pub fn left_in(
    mut folders: Vec<PathBuf>,
    identity: Identity,
    notes: &mut Vec<String>,
) -> Vec<Left> {
    folders.sort();
    folders.dedup();
    let mut found = Vec::new();
    for folder in folders {
        match left(&folder, identity) {
            Ok(left) => found.extend(left),
            Err(error) => notes.push(format!("journals in {}: {error}", folder.display())),
        }
    }
    found
}

impl Left {
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All of it is in the tables.
    pub fn remove(&self) -> io::Result<()> {
        fs::remove_file(&self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("mqttfast-{name}-{}", process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        folder
    }

    fn frame_of(number: u64, bytes: usize) -> Vec<u8> {
        let mut frame = Vec::new();
        frame::begin(&mut frame);
        frame.resize(frame.len() + bytes, number as u8);
        frame::finish(&mut frame, number);
        frame
    }

    /// Appends while there is room, and frees what is asked for: what is left is everything that is not free.
    #[test]
    fn what_is_not_free_is_found_again() {
        let folder = folder("journal");
        let identity = Identity([9; 16]);
        let mut journal = Journal::create(&folder, identity, ShardId(3)).expect("a journal");
        let mut free = 0;
        let mut refused = 0;
        for number in 1..=200 {
            let frame = frame_of(number, 20_000 + number as usize * 7);
            while !journal.append(&frame, number, free).expect("written") {
                refused += 1;
                free = journal.wants_free();
            }
            let left = left(&folder, identity).expect("readable");
            let frames = frame::frames(&left[0].bytes);
            let numbers: Vec<u64> = frames.iter().map(|(number, _)| *number).collect();
            assert!(numbers.contains(&number), "the newest");
            let needed: Vec<u64> = (free + 1..=number).collect();
            assert!(numbers.ends_with(&needed), "{needed:?} of {numbers:?}");
        }
        assert!(refused > 5);
        let other = Identity([8; 16]);
        assert!(left(&folder, other).expect("readable").is_empty());
        fs::remove_dir_all(folder).expect("removed");
    }

    #[test]
    fn a_frame_larger_than_a_half_never_fits() {
        let folder = folder("large");
        let mut journal =
            Journal::create(&folder, Identity([1; 16]), ShardId(0)).expect("a journal");
        let frame = frame_of(1, limits::JOURNAL_BYTES / 2);
        assert!(!journal.append(&frame, 1, u64::MAX).expect("no error"));
        assert!(journal.append(&frame_of(2, 9), 2, 0).expect("written"));
        fs::remove_dir_all(folder).expect("removed");
    }
}
