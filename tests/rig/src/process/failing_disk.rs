//! A disk for one broker that fails, or is slow, when a test says so; see `failing_disk.c`. And a small real one that
//! can be full.

use super::{Folder, preload};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Calls that change the content of files.
pub const WRITES: i32 = 1;
/// Calls that bring them to the disk.
pub const SYNCS: i32 = 2;
/// Calls that make, rename and remove files, or open them to be written.
pub const NAMES: i32 = 4;

/// What a broker is launched by whose files below `store` are on such a disk. `folder` keeps what a test says of it.
pub fn launcher(folder: &Folder, store: &Path) -> Vec<String> {
    let fault = folder.path("fault");
    fs::write(&fault, [0; 12]).expect("write the fault");
    let variables = [
        ("DISK_FAULT", fault.display().to_string()),
        ("DISK_BELOW", store.display().to_string()),
    ];
    preload::launcher(folder, "failing_disk", variables)
}

/// From now on calls of these kinds fail with `errno`, 0 for none, after so many milliseconds.
pub fn fail(folder: &Folder, errno: i32, kinds: i32, sleep_ms: i32) {
    let mut file = OpenOptions::new()
        .write(true)
        .open(folder.path("fault"))
        .expect("the fault");
    let numbers = [errno, kinds, sleep_ms].map(i32::to_ne_bytes);
    file.write_all(&numbers.concat()).expect("write the fault");
}

/// A file system in memory, of a few MiB, that only brokers started by [`SmallDisk::launcher`] see. Gone when dropped.
pub struct SmallDisk {
    holder: Child,
    folder: PathBuf,
}

impl SmallDisk {
    /// `None` where this user may not mount.
    pub fn mount(folder: &Path, mib: u32) -> Option<SmallDisk> {
        fs::create_dir_all(folder).expect("a folder");
        let script = format!(
            "mount -t tmpfs -o size={mib}m none '{}' && echo ready && exec sleep 600",
            folder.display()
        );
        let mut holder = Command::new("unshare")
            .args(["-m", "--propagation", "private", "sh", "-c", &script])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let mut ready = [0; 5];
        let output = holder.stdout.as_mut().expect("a pipe");
        let mounted = std::io::Read::read_exact(output, &mut ready).is_ok();
        let disk = SmallDisk {
            holder,
            folder: folder.to_owned(),
        };
        mounted.then_some(disk)
    }

    /// What a broker is launched by that sees it.
    pub fn launcher(&self) -> Vec<String> {
        let pid = self.holder.id().to_string();
        ["nsenter", "-t", &pid, "-m", "--"]
            .map(str::to_owned)
            .into()
    }

    /// A file on it, as this process can name it.
    pub fn path(&self, name: &str) -> PathBuf {
        let folder = self.folder.strip_prefix("/").expect("an absolute path");
        let root = format!("/proc/{}/root", self.holder.id());
        Path::new(&root).join(folder).join(name)
    }

    /// Bytes that are free.
    pub fn free_bytes(&self) -> u64 {
        let found = nix::sys::statvfs::statvfs(&self.path("")).expect("it is mounted");
        found.blocks_available() * found.fragment_size()
    }

    /// Leaves so many bytes free.
    pub fn fill_but(&self, bytes: u64) {
        let ballast = vec![1; self.free_bytes().saturating_sub(bytes) as usize];
        fs::write(self.path("ballast"), ballast).expect("there is room for it");
    }

    /// Takes back what [`SmallDisk::fill_but`] has put there.
    pub fn free(&self) {
        fs::remove_file(self.path("ballast")).expect("it is there");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
