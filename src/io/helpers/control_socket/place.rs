//! Where the control socket is, for the broker that makes it and for the commands that look for it.

use crate::config::Control;
use crate::io::start_error::StartError;
use nix::unistd::Uid;
use std::env;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process;

/// The folder of a service's socket.
const RUN: &str = "/run/mqttfast";
/// Its name there.
const NAME: &str = "control.sock";
/// Where a broker listens that is told nothing. Sockets of others have their port in their names.
const PORT: u16 = 1883;
/// Its user and its group may ask and tell.
const MODE: u32 = 0o660;

/// A control socket that listens.
pub struct ControlSocket {
    listener: UnixListener,
    /// Its file.
    pub path: PathBuf,
    /// Its folder, where that was made for it.
    folder: Option<PathBuf>,
}

impl ControlSocket {
    /// What was made, for the user who is to have it. The journals of a store are in the same folder.
    pub fn made(&self) -> impl Iterator<Item = &Path> {
        let folder = self.folder.iter().map(PathBuf::as_path);
        folder.chain([self.path.as_path()])
    }

    pub(super) fn accept(&self) -> io::Result<(UnixStream, SocketAddr)> {
        self.listener.accept()
    }
}

impl AsFd for ControlSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

/// Opens the socket that is wanted. `port`: of the first listener. The inner error is a notice: there is none, and why.
///
/// Errors: one was named and cannot be made.
pub fn open(
    wanted: &Control,
    port: u16,
) -> Result<Option<Result<ControlSocket, String>>, StartError> {
    match wanted {
        Control::Off => Ok(None),
        Control::At(path) => match listen(path) {
            Ok(socket) => Ok(Some(Ok(socket))),
            Err(why) => Err(StartError::new(format!(
                "--control {}: {why}",
                path.display()
            ))),
        },
        // Nobody would find it, and brokers of tests would leave many.
        Control::Default if port == 0 => Ok(None),
        Control::Default => {
            let Some((folder, name)) = default(port) else {
                let why = "XDG_RUNTIME_DIR is not set: --control PATH gives it a place";
                return Ok(Some(Err(why.to_owned())));
            };
            let is_made = Uid::effective().is_root()
                && fs::DirBuilder::new().mode(0o700).create(&folder).is_ok();
            let path = folder.join(name);
            let opened = listen(&path).map(|socket| ControlSocket {
                folder: is_made.then_some(folder),
                ..socket
            });
            Ok(Some(opened.map_err(|why| {
                format!(
                    "{}: {why}: --control PATH names another place",
                    path.display()
                )
            })))
        }
    }
}

/// Folder and name of the socket of a broker on this port, as its user has it.
fn default(port: u16) -> Option<(PathBuf, String)> {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
    if let Some(given) = set("RUNTIME_DIRECTORY") {
        let given = given.to_string_lossy().into_owned();
        let first = given.split(':').next().unwrap_or_default();
        return Some((first.into(), NAME.to_owned()));
    }
    let suffix = match port {
        PORT => String::new(),
        port => format!("-{port}"),
    };
    if Uid::effective().is_root() {
        return Some((RUN.into(), format!("control{suffix}.sock")));
    }
    let folder = PathBuf::from(set("XDG_RUNTIME_DIR")?);
    Some((folder, format!("mqttfast{suffix}.sock")))
}

/// Listens, in the place of a socket that nobody listens on any more.
fn listen(path: &Path) -> Result<ControlSocket, String> {
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err("something else is there".to_owned());
        }
        Ok(_) if UnixStream::connect(path).is_ok() => {
            return Err("another broker listens there".to_owned());
        }
        Ok(_) => fs::remove_file(path)
            .map_err(|error| format!("the one that is left there stays: {error}"))?,
        Err(_) => {}
    }
    let open = || -> io::Result<UnixListener> {
        let listener = UnixListener::bind(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(MODE))?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    let listener = open().map_err(|error| error.to_string())?;
    Ok(ControlSocket {
        listener,
        path: path.to_owned(),
        folder: None,
    })
}

/// Connects to the broker that was named, or to the one that is found.
///
/// Errors: there is none, there are several, or this user may not. A sentence with the remedy.
pub fn connect(named: Option<&Path>) -> Result<UnixStream, String> {
    if let Some(path) = named {
        return UnixStream::connect(path).map_err(|error| said(path, &error));
    }
    let mut folders = vec![(PathBuf::from(RUN), "control")];
    if let Some(folder) = env::var_os("XDG_RUNTIME_DIR").filter(|folder| !folder.is_empty()) {
        folders.push((folder.into(), "mqttfast"));
    }
    // The broker on the usual port goes before all others, and that of the user before that of the machine.
    let mut refused = None;
    for (folder, name) in folders.iter().rev() {
        let path = folder.join(format!("{name}.sock"));
        match UnixStream::connect(&path) {
            Ok(stream) => return Ok(stream),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                refused = Some(said(&path, &error));
            }
            Err(_) => {}
        }
    }
    let mut others = Vec::new();
    for (folder, name) in &folders {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let file = entry.file_name();
            let file = file.to_string_lossy();
            let has_port = file
                .strip_prefix(name)
                .and_then(|rest| rest.strip_prefix('-')?.strip_suffix(".sock"))
                .is_some_and(|port| port.parse::<u16>().is_ok());
            if has_port && let Ok(stream) = UnixStream::connect(entry.path()) {
                others.push((entry.path(), stream));
            }
        }
    }
    if others.len() > 1 {
        let paths: Vec<String> = others
            .iter()
            .map(|(path, _)| path.display().to_string())
            .collect();
        return Err(format!(
            "several brokers run: name the control socket of one with --control PATH: {}",
            paths.join(", ")
        ));
    }
    match (others.pop(), refused) {
        (Some((_, stream)), _) => Ok(stream),
        (None, Some(refused)) => Err(refused),
        (None, None) => Err(match running().as_slice() {
            [] => format!(
                "no broker was found: there is no control socket that answers at {RUN}/{NAME}, nor for this user; start the broker, or name its socket with --control PATH"
            ),
            found => format!(
                "no control socket answers at {RUN}/{NAME}, nor for this user; brokers run: name the socket of one with --control PATH: {}",
                found.join(", ")
            ),
        }),
    }
}

/// The brokers of this machine that other users, or flags, have given another place: the socket that the command line
/// of each names, or its process where it names none.
fn running() -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let id = entry.file_name();
        let id = id.to_string_lossy().parse::<u32>();
        let (Ok(id), Ok(line)) = (id, fs::read(entry.path().join("cmdline"))) else {
            continue;
        };
        let line = String::from_utf8_lossy(&line).into_owned();
        let words: Vec<&str> = line.trim_end_matches('\0').split('\0').collect();
        if id == process::id() || words[0].rsplit('/').next() != Some("mqttfast") {
            continue;
        }
        let named = words.iter().skip_while(|word| **word != "--control").nth(1);
        match named.map(Path::new) {
            Some(path) if path.is_absolute() && UnixStream::connect(path).is_ok() => {
                found.push(path.display().to_string());
            }
            // Commands are processes of this name too, and a broker that serves has begun a while ago.
            None if has_threads(id) => found.push(format!("process {id}")),
            _ => {}
        }
    }
    found
}

/// A broker has several threads, and a command one.
fn has_threads(id: u32) -> bool {
    fs::read_dir(format!("/proc/{id}/task")).is_ok_and(|threads| threads.count() > 1)
}

fn said(path: &Path, error: &io::Error) -> String {
    let path = path.display();
    match error.kind() {
        io::ErrorKind::PermissionDenied => format!(
            "{path}: this user may not ask the broker: run the command with sudo, or become a member of the group with `sudo usermod -aG mqttfast $USER` and log in again"
        ),
        io::ErrorKind::ConnectionRefused => {
            format!("{path}: no broker listens there any more: start it")
        }
        io::ErrorKind::NotFound => {
            format!(
                "{path} is not there: the broker does not run, or has its control socket elsewhere"
            )
        }
        _ => format!("{path}: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_replaces_one_that_is_left_and_nothing_else() {
        let name = format!("mqttfast-test-control-{}", std::process::id());
        let path = env::temp_dir().join(name);
        let first = listen(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, MODE);
        assert_eq!(listen(&path).err().unwrap(), "another broker listens there");
        drop(first);
        let second = listen(&path).unwrap();
        assert!(connect(Some(&path)).is_ok());
        drop(second);
        assert!(connect(Some(&path)).unwrap_err().contains("no broker"));
        fs::remove_file(&path).unwrap();
        assert!(connect(Some(&path)).unwrap_err().contains("is not there"));
        fs::write(&path, "a file").unwrap();
        assert_eq!(listen(&path).err().unwrap(), "something else is there");
        let named = Control::At(path.clone());
        assert!(open(&named, 1883).is_err(), "what was named must be made");
        fs::remove_file(&path).unwrap();
        assert!(open(&Control::Off, 1883).unwrap().is_none());
        assert!(open(&Control::Default, 0).unwrap().is_none());
    }
}
