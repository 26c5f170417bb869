//! Who has the port that we want, and what to do about it.
//!
//! The kernel tells every user which sockets listen, and only root or its owner which process has one open. So a
//! broker that runs as a user of its own, as under systemd, does not see the holder; it looks then whether a
//! Mosquitto runs, the usual one.

use nix::unistd::{Uid, User};
use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Where systemd finds its units.
const UNIT_FOLDERS: [&str; 3] = [
    "/etc/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];

/// The holder of a port. Its `Display` is the end of a sentence that begins "port 1883 is in use": by whom, and the
/// remedy.
#[derive(PartialEq, Eq, Debug)]
pub struct Holder {
    who: Who,
    /// systemd starts a Mosquitto on this machine.
    mosquitto_is_a_service: bool,
}

#[derive(PartialEq, Eq, Debug)]
enum Who {
    /// This process has the socket open.
    Seen(Process),
    /// We may not see what it has open, but it runs and listens on such ports.
    Likely(Process),
    /// Some process of this user, other than root.
    OfUser(String),
    Unknown,
}

#[derive(PartialEq, Eq, Debug)]
struct Process {
    command: String,
    id: u32,
}

/// A socket that listens.
#[derive(PartialEq, Eq, Debug)]
struct Listening {
    inode: String,
    /// Who made it.
    uid: u32,
}

impl Holder {
    /// Looks for the process that listens on `port`.
    pub fn of(port: u16) -> Holder {
        let sockets: Vec<Listening> = ["/proc/net/tcp", "/proc/net/tcp6"]
            .iter()
            .filter_map(|path| fs::read_to_string(path).ok())
            .flat_map(|table| listening(&table, port))
            .collect();
        let service = |folder| Path::new(folder).join("mosquitto.service").exists();
        Holder {
            who: who(&sockets),
            mosquitto_is_a_service: UNIT_FOLDERS.into_iter().any(service),
        }
    }
}

fn who(sockets: &[Listening]) -> Who {
    let mut likely = None;
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(id) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let process = || {
            let command = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            let command = command.trim().to_owned();
            Process { command, id }
        };
        match fs::read_dir(entry.path().join("fd")) {
            Ok(descriptors) => {
                let has_one = descriptors.flatten().any(|descriptor| {
                    let target = fs::read_link(descriptor.path()).unwrap_or_default();
                    let is = |socket: &Listening| {
                        target.as_os_str() == format!("socket:[{}]", socket.inode).as_str()
                    };
                    sockets.iter().any(is)
                });
                if has_one {
                    return Who::Seen(process());
                }
            }
            Err(_) => {
                let process = process();
                // It binds as root and goes on as a user of its own, or is the same user throughout.
                let uid = entry.metadata().map_or(0, |metadata| metadata.uid());
                let may_be = |socket: &Listening| socket.uid == 0 || socket.uid == uid;
                if process.command == "mosquitto" && sockets.iter().any(may_be) {
                    likely = Some(process);
                }
            }
        }
    }
    let of_user = || {
        let uid = sockets
            .iter()
            .map(|socket| socket.uid)
            .find(|&uid| uid != 0);
        let user = User::from_uid(Uid::from_raw(uid?)).ok()??;
        Some(Who::OfUser(user.name))
    };
    likely
        .map(Who::Likely)
        .or_else(of_user)
        .unwrap_or(Who::Unknown)
}

/// The sockets that listen on `port` in a table such as `/proc/net/tcp`.
fn listening(table: &str, port: u16) -> Vec<Listening> {
    const LISTEN: &str = "0A";
    let port = format!("{port:04X}");
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let (local, state) = (fields.get(1)?, fields.get(3)?);
            let (uid, inode) = (fields.get(7)?, fields.get(9)?);
            let (_, local_port) = local.rsplit_once(':')?;
            (local_port == port && *state == LISTEN).then(|| Listening {
                inode: (*inode).to_owned(),
                uid: uid.parse().unwrap_or(0),
            })
        })
        .collect()
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (process {})", self.command, self.id)
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.who {
            Who::Seen(process) => write!(f, "by {process}; ")?,
            Who::Likely(process) => write!(f, "most likely by {process}; ")?,
            Who::OfUser(user) => write!(
                f,
                "by a process of the user {user}, which `sudo ss -ltnp` names; "
            )?,
            Who::Unknown => f.write_str("by another process, which `sudo ss -ltnp` names; ")?,
        }
        let stop = match &self.who {
            Who::Seen(process) | Who::Likely(process)
                if process.command == "mosquitto" && self.mosquitto_is_a_service =>
            {
                "stop and disable it with `sudo systemctl disable --now mosquitto`"
            }
            _ => "stop it",
        };
        write!(f, "{stop} or choose another --port")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn process(command: &str) -> Process {
        Process {
            command: command.to_owned(),
            id: 612,
        }
    }

    #[test]
    fn the_remedy_suits_the_holder() {
        let disable = "stop and disable it with `sudo systemctl disable --now mosquitto`";
        for (who, service, text) in [
            (
                Who::Seen(process("nc")),
                true,
                "by nc (process 612); stop it".to_owned(),
            ),
            (
                Who::Seen(process("mosquitto")),
                true,
                format!("by mosquitto (process 612); {disable}"),
            ),
            (
                Who::Likely(process("mosquitto")),
                true,
                format!("most likely by mosquitto (process 612); {disable}"),
            ),
            (
                Who::Likely(process("mosquitto")),
                false,
                "most likely by mosquitto (process 612); stop it".to_owned(),
            ),
            (
                Who::OfUser("iot".to_owned()),
                true,
                "by a process of the user iot, which `sudo ss -ltnp` names; stop it".to_owned(),
            ),
            (
                Who::Unknown,
                true,
                "by another process, which `sudo ss -ltnp` names; stop it".to_owned(),
            ),
        ] {
            let holder = Holder {
                who,
                mosquitto_is_a_service: service,
            };
            assert_eq!(holder.to_string(), text + " or choose another --port");
        }
    }

    #[test]
    fn a_socket_of_ours_is_seen() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let Who::Seen(process) = Holder::of(port).who else {
            panic!("{:?}", Holder::of(port));
        };
        assert_eq!(process.id, std::process::id());
        assert_eq!(Holder::of(0).who, Who::Unknown);
    }

    #[test]
    fn of_a_table_only_what_listens_on_the_port() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:075B 00000000:0000 0A 00000000:00000000 00:00000000 00000000   113        0 4711 1 0
   1: 0100007F:075B 0100007F:A000 01 00000000:00000000 00:00000000 00000000   113        0 4712 1 0
   2: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4713 1 0
";
        let found = Listening {
            inode: "4711".to_owned(),
            uid: 113,
        };
        assert_eq!(listening(table, 1883), [found]);
        assert_eq!(listening(table, 1884), []);
    }
}
