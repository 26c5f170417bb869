//! Root becomes another user once everything is open, and the file with the number of the process.

use crate::config;
use crate::config::mosquitto::{At, Place};
use crate::io::start_error::StartError;
use nix::unistd::{Gid, Uid, User, chown, geteuid, initgroups, setgid, setuid};
use std::ffi::CString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Who is to be in the place of root, as the machine knows him.
pub struct RunAs {
    /// His login name.
    pub name: String,
    uid: Uid,
    gid: Gid,
}

impl RunAs {
    /// `None`: this process is not root's, or root is to stay.
    ///
    /// Errors: there is no such user.
    pub fn of(user: Option<&config::User>) -> Result<Option<RunAs>, StartError> {
        let Some(user) = user.filter(|_| geteuid().is_root()) else {
            return Ok(None);
        };
        let known = |name: &str| User::from_name(name).ok().flatten();
        let found = match user {
            config::User::Named(name) if name.value == "root" => return Ok(None),
            config::User::Named(name) => known(&name.value).ok_or_else(|| {
                let text = format!(
                    "{}: there is no user `{}` on this machine: make it, or write instead: user root",
                    name.place, name.value
                );
                StartError::new(text)
            })?,
            config::User::Mosquitto => known("mosquitto")
                .or_else(|| known("nobody"))
                .ok_or_else(|| {
                    StartError::new(
                        "there is neither a user `mosquitto` nor `nobody` to run as: name one with `user`",
                    )
                })?,
        };
        Ok((!found.uid.is_root()).then_some(RunAs {
            name: found.name,
            uid: found.uid,
            gid: found.gid,
        }))
    }

    /// Gives him a file that this process has made.
    pub fn give(&self, path: &Path) {
        // He may remove it all the same if its folder is his.
        let _ = chown(path, Some(self.uid), Some(self.gid));
    }

    /// Gives him a file that is written, if it is one: never a device.
    pub fn give_file(&self, path: &Path) {
        if path.metadata().is_ok_and(|metadata| metadata.is_file()) {
            self.give(path);
        }
    }

    /// Gives him a folder of root's that is empty, or has nothing in it but what a broker keeps: a volume, say, that a
    /// container engine has made. Any other folder of root's stays as it is.
    pub fn give_store(&self, folder: &Path) {
        let is_roots = |path: &Path| {
            let metadata = path.symlink_metadata();
            metadata.is_ok_and(|metadata| metadata.uid() == 0 && !metadata.is_symlink())
        };
        let Ok(entries) = fs::read_dir(folder) else {
            return;
        };
        let paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        let is_ours = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("mqttfast.db")
                || name.starts_with("mosquitto.db")
                || name.ends_with(".journal")
                || matches!(&*name, "lock" | "reserve")
        };
        if is_roots(folder) && paths.iter().all(is_ours) {
            self.give(folder);
            for path in paths.iter().filter(|path| is_roots(path)) {
                self.give_file(path);
            }
        }
    }

    /// Becomes him, for good. All threads of the process do.
    ///
    /// Errors: the system refuses.
    pub fn take_over(&self) -> Result<(), StartError> {
        let failed = |errno: nix::errno::Errno| {
            let why = errno.desc();
            StartError::new(format!("cannot run as user `{}`: {why}", self.name))
        };
        let name = CString::new(self.name.as_str()).unwrap_or_default();
        initgroups(&name, self.gid).map_err(failed)?;
        setgid(self.gid).map_err(failed)?;
        setuid(self.uid).map_err(failed)?;
        match setuid(Uid::from_raw(0)) {
            Err(_) => Ok(()),
            Ok(()) => Err(StartError::new(format!(
                "cannot run as user `{}`: this process could become root again",
                self.name
            ))),
        }
    }
}

/// A file with the number of this process, removed at the end.
pub struct PidFile(PathBuf);

impl PidFile {
    /// Errors: it cannot be written.
    pub fn write(file: &At<PathBuf>, run_as: Option<&RunAs>) -> Result<PidFile, StartError> {
        let path = &file.value;
        let number = std::process::id();
        fs::write(path, format!("{number}")).map_err(|error| {
            let (place, shown): (&Place, _) = (&file.place, path.display());
            StartError::new(format!(
                "{place}: {shown} cannot be written: {error}; its folder must be there, and writable for this user"
            ))
        })?;
        if let Some(run_as) = run_as {
            run_as.give(path);
        }
        Ok(PidFile(path.clone()))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
