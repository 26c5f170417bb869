//! The files of a configuration, as `config::mosquitto` wants to see them.

use crate::config::mosquitto::{Files, Look, Unreadable};
use nix::libc::O_NONBLOCK;
use nix::unistd::{AccessFlags, access};
use std::fs::{self, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The real file system, with the rights of this process.
pub struct Disk;

impl Files for Disk {
    fn read(&self, path: &Path, bytes_max: usize) -> Result<Vec<u8>, Unreadable> {
        // A pipe without a writer must not hold the start up.
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(O_NONBLOCK)
            .open(path)
            .map_err(unreadable)?;
        let mut bytes = Vec::new();
        let most = u64::try_from(bytes_max).unwrap_or(u64::MAX);
        let mut bounded = file.take(most.saturating_add(1));
        bounded.read_to_end(&mut bytes).map_err(unreadable)?;
        match bytes.len() <= bytes_max {
            true => Ok(bytes),
            false => Err(Unreadable::TooLarge),
        }
    }

    fn list(&self, folder: &Path) -> Result<Vec<String>, Unreadable> {
        let mut names = Vec::new();
        for entry in fs::read_dir(folder).map_err(unreadable)? {
            let name = entry.map_err(unreadable)?.file_name();
            names.push(name.to_string_lossy().into_owned());
        }
        Ok(names)
    }

    fn look(&self, path: &Path) -> Look {
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => Look::Folder,
            Ok(_) => match access(path, AccessFlags::R_OK) {
                Ok(()) => Look::File,
                Err(_) => Look::Forbidden,
            },
            // A folder on the way may not be entered.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Look::Forbidden,
            Err(_) => Look::Missing,
        }
    }
}

fn unreadable(error: io::Error) -> Unreadable {
    match error.kind() {
        io::ErrorKind::NotFound => Unreadable::Missing,
        io::ErrorKind::PermissionDenied => Unreadable::Forbidden,
        _ => Unreadable::Other(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_folders_are_told_apart() {
        let folder =
            std::env::temp_dir().join(format!("mqttfast-test-disk-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let file = folder.join("a.conf");
        fs::write(&file, "12345").unwrap();
        assert_eq!(Disk.look(&folder), Look::Folder);
        assert_eq!(Disk.look(&file), Look::File);
        assert_eq!(Disk.look(&folder.join("b")), Look::Missing);
        assert_eq!(Disk.look(&file.join("b")), Look::Missing);
        assert_eq!(Disk.list(&folder), Ok(vec!["a.conf".to_owned()]));
        assert_eq!(Disk.list(&folder.join("b")), Err(Unreadable::Missing));
        assert_eq!(Disk.read(&file, 5), Ok(b"12345".to_vec()));
        assert_eq!(Disk.read(&file, 4), Err(Unreadable::TooLarge));
        assert_eq!(Disk.read(&folder.join("b"), 5), Err(Unreadable::Missing));
        assert!(matches!(Disk.read(&folder, 5), Err(Unreadable::Other(_))));
        fs::remove_dir_all(&folder).unwrap();
    }
}
