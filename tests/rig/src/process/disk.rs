//! The disk of one broker as a power cut may leave it: `disk.c` records what the process does to the files of a
//! folder, and an [`Image`] is made of the records up to any point.
//!
//! What a sync has covered is there. Of what no sync has covered, each write is there, is missing, or is there in some
//! of its sectors of 512 bytes; new names, renames and removals take effect in their order and may be missing from any
//! of them on, until their folder is synced. A torn write does no harm to its neighbours.
//!
//! Syncs are not carried out and take as long as the test says, so nothing waits for the disk of this machine.

use super::{Folder, preload};
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

const SECTOR: usize = 512;
/// `struct head` of `disk.c`.
const HEAD: usize = 40;

/// What a broker is launched by to be recorded, or to be killed.
#[derive(Clone, Default, Debug)]
pub struct Watched {
    /// The store's folder, by its whole path.
    pub under: PathBuf,
    /// The folder of the journals; what is done there counts for `kill` and is not recorded.
    pub also: Option<PathBuf>,
    pub record: Option<PathBuf>,
    /// `None`: syncs are the machine's.
    pub sync_us: Option<u32>,
    /// The name of the start of the machine; `None`: the true one.
    pub boot: Option<String>,
    /// "write 17" or "sync 3".
    pub kill: Option<String>,
}

impl Watched {
    /// Compiles the library into `folder` where it is not there yet.
    pub fn launcher(&self, folder: &Folder) -> Vec<String> {
        let mut variables = Vec::new();
        let mut set = |name: &'static str, value: Option<String>| {
            variables.extend(value.map(|value| (name, value)));
        };
        let text = |path: &PathBuf| path.display().to_string();
        set("DISK_UNDER", Some(text(&self.under)));
        set("DISK_ALSO", self.also.as_ref().map(text));
        set("DISK_RECORD", self.record.as_ref().map(text));
        set("DISK_SYNC_US", self.sync_us.map(|us| us.to_string()));
        set("DISK_KILL", self.kill.clone());
        if let Some(name) = &self.boot {
            let file = folder.path(&format!("boot-{name}"));
            fs::write(&file, format!("{name}\n")).expect("written");
            set("DISK_BOOT", Some(text(&file)));
        }
        // The journals are here where this lies in memory, and else in the store's folder.
        set("RUNTIME_DIRECTORY", self.also.as_ref().map(text));
        preload::launcher(folder, "disk", variables)
    }
}

/// Nanoseconds of the clock that the records have.
pub fn now_ns() -> u64 {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC);
    let time = time.expect("every Linux has it");
    time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64
}

/// One change of a folder.
#[derive(Debug)]
pub struct Change {
    pub kind: Kind,
    /// Its inode.
    pub file: u64,
    pub begun: u64,
    pub ended: u64,
}

#[derive(Debug)]
pub enum Kind {
    Create(String),
    Write {
        at: u64,
        bytes: Vec<u8>,
    },
    Length(u64),
    /// Covers this many records from the first on.
    Sync(usize),
    SyncFolder(usize),
    Rename(String, String),
    Unlink(String),
}

impl Change {
    /// From then on it may be on the disk; a sync: from then on the process relies on it.
    pub fn effective(&self) -> u64 {
        match self.kind {
            Kind::Sync(_) | Kind::SyncFolder(_) => self.ended,
            _ => self.begun,
        }
    }

    fn is_of_folder(&self) -> bool {
        matches!(
            self.kind,
            Kind::Create(_) | Kind::Rename(..) | Kind::Unlink(_)
        )
    }
}

/// All that `disk.c` has recorded; a record that was cut off by the end of the process is none.
pub fn read(record: &Path) -> Vec<Change> {
    let bytes = fs::read(record).expect("the record");
    let mut rest = &bytes[..];
    let mut changes = Vec::new();
    while rest.len() >= HEAD {
        let word = |at: usize| u32::from_ne_bytes(rest[at..at + 4].try_into().expect("four"));
        let long = |at: usize| u64::from_ne_bytes(rest[at..at + 8].try_into().expect("eight"));
        let end = HEAD + word(4) as usize;
        if rest.len() < end {
            break;
        }
        let content = &rest[HEAD..end];
        let text = || String::from_utf8(content.to_vec()).expect("names in UTF-8");
        let at = long(32);
        let kind = match word(0) {
            1 => Kind::Create(text()),
            2 => Kind::Write {
                at,
                bytes: content.to_vec(),
            },
            3 => Kind::Length(at),
            4 => Kind::Sync(at as usize),
            5 => {
                let both = text();
                let (old, new) = both.split_once('/').expect("two names");
                Kind::Rename(old.to_owned(), new.to_owned())
            }
            6 => Kind::Unlink(text()),
            7 => Kind::SyncFolder(at as usize),
            other => panic!("a record of kind {other}"),
        };
        changes.push(Change {
            kind,
            file: long(8),
            begun: long(16),
            ended: long(24),
        });
        rest = &rest[end..];
    }
    changes
}

/// How a disk treats what no sync has covered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unsynced {
    /// All of it is there.
    Kept,
    /// None of it.
    Dropped,
    /// The earlier part of it.
    Prefix,
    /// Any of it, in whole or in part.
    Torn,
}

impl Unsynced {
    pub const ALL: [Unsynced; 4] = [
        Unsynced::Kept,
        Unsynced::Dropped,
        Unsynced::Prefix,
        Unsynced::Torn,
    ];
}

/// The files of a folder.
#[derive(Default, Debug)]
pub struct Image {
    pub files: HashMap<String, Vec<u8>>,
}

impl Image {
    /// What is there when the power goes after the first `count` changes. `draw` gives a number below its argument.
    pub fn after(
        changes: &[Change],
        count: usize,
        unsynced: Unsynced,
        mut draw: impl FnMut(usize) -> usize,
    ) -> Image {
        let changes = &changes[..count];
        let covered = covered(changes);
        let limit = match unsynced {
            Unsynced::Prefix => draw(count + 1),
            _ => count,
        };
        // Changes of names without a sync of their folder: the first that is missing.
        let loose: Vec<usize> = (0..count)
            .filter(|at| changes[*at].is_of_folder() && !covered[*at])
            .collect();
        let names_end = match unsynced {
            Unsynced::Kept => count,
            Unsynced::Dropped => loose.first().copied().unwrap_or(count),
            Unsynced::Prefix => limit,
            Unsynced::Torn => match draw(loose.len() + 1) {
                all if all == loose.len() => count,
                first => loose[first],
            },
        };
        let mut image = Image::default();
        // By inode, the content; by name, the inode. An inode that is created anew is another file.
        let mut contents: Vec<Vec<u8>> = Vec::new();
        let mut by_inode: HashMap<u64, usize> = HashMap::new();
        let mut names: HashMap<String, usize> = HashMap::new();
        for (at, change) in changes.iter().enumerate() {
            let there = covered[at]
                || match unsynced {
                    Unsynced::Kept => true,
                    Unsynced::Dropped => false,
                    Unsynced::Prefix => at < limit,
                    Unsynced::Torn => draw(3) > 0,
                };
            let named = covered[at] || at < names_end;
            match &change.kind {
                Kind::Create(name) => {
                    by_inode.insert(change.file, contents.len());
                    if named {
                        names.insert(name.clone(), contents.len());
                    }
                    contents.push(Vec::new());
                }
                Kind::Rename(old, new) if named => {
                    if let Some(file) = names.remove(old) {
                        names.insert(new.clone(), file);
                    }
                }
                Kind::Unlink(name) if named => {
                    names.remove(name);
                }
                Kind::Write { at: start, bytes } if there => {
                    let file = &mut contents[by_inode[&change.file]];
                    let torn = !covered[at] && unsynced == Unsynced::Torn && draw(2) == 0;
                    write(file, *start as usize, bytes, || !torn || draw(2) == 0);
                }
                Kind::Length(len) if there => {
                    contents[by_inode[&change.file]].resize(*len as usize, 0);
                }
                _ => {}
            }
        }
        for (name, file) in names {
            image.files.insert(name, contents[file].clone());
        }
        image
    }

    /// Writes the files into a folder that is not there yet.
    pub fn lay_out(&self, folder: &Path) {
        fs::create_dir(folder).expect("a folder");
        for (name, bytes) in &self.files {
            fs::write(folder.join(name), bytes).expect("written");
        }
    }
}

/// Which changes a sync among them has covered.
fn covered(changes: &[Change]) -> Vec<bool> {
    let mut covered = vec![false; changes.len()];
    // From the end: the last sync of a file covers what the earlier ones do.
    let mut of_file: HashMap<u64, usize> = HashMap::new();
    let mut of_folder = 0;
    for (at, change) in changes.iter().enumerate().rev() {
        match &change.kind {
            Kind::Sync(upto) => {
                let longest = of_file.entry(change.file).or_default();
                *longest = (*longest).max(*upto);
            }
            Kind::SyncFolder(upto) => of_folder = of_folder.max(*upto),
            Kind::Write { .. } | Kind::Length(_) => {
                covered[at] = of_file.get(&change.file).is_some_and(|upto| at < *upto);
            }
            Kind::Create(_) => {
                covered[at] = at < of_folder;
                // An earlier file of this inode is another one.
                of_file.remove(&change.file);
            }
            Kind::Rename(..) | Kind::Unlink(_) => covered[at] = at < of_folder,
        }
    }
    covered
}

/// Writes those sectors that are there.
fn write(file: &mut Vec<u8>, start: usize, bytes: &[u8], mut there: impl FnMut() -> bool) {
    let mut from = 0;
    while from < bytes.len() {
        let to = (start + from + 1)
            .next_multiple_of(SECTOR)
            .min(start + bytes.len())
            - start;
        if there() {
            if file.len() < start + to {
                file.resize(start + to, 0);
            }
            file[start + from..start + to].copy_from_slice(&bytes[from..to]);
        }
        from = to;
    }
}
