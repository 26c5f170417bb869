//! The machine: its clock, its memory, how many files may be open, and what drives the sockets.

use super::Finding;
use crate::config::{Config, Io};
use crate::io::console::shown;
use crate::io::host::DriverKind;
use crate::io::words::units;
use crate::io::{cpu, memory};
use crate::limits;
use nix::sys::resource::{Resource, getrlimit, rlim_t};
use std::process::{Command, Stdio};

/// Fewer open files than this are few for a home.
const FILES_FEW: rlim_t = 512;

pub fn look(config: &Config, found: &mut Vec<Finding>) {
    clock(found);
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && hard < FILES_FEW
    {
        found.push(
            Finding::warning(format!("only {hard} files may be open at a time"))
                .why("each connection is one, and some are the broker's own")
                .mend("ulimit -n 65536, or in the service: LimitNOFILE=65536"),
        );
    }
    if let Some(wanted) = config.memory_bytes_max {
        limit(wanted, memory::there_is(), found);
    }
    sockets(config, found);
}

/// What Clients may hold, of the memory there is; both in bytes.
fn limit(wanted: u64, there_is: u64, found: &mut Vec<Finding>) {
    if wanted > there_is / 10 * 9 {
        found.push(
            Finding::warning(format!(
                "clients may make the broker hold {}, and this machine has {}",
                units::bytes(wanted),
                units::bytes(there_is)
            ))
            .why("the system ends the broker when its memory is used up")
            .mend(format!("--memory-limit {}M", (there_is / 2) >> 20)),
        );
    }
}

fn clock(found: &mut Vec<Finding>) {
    if shown::now_s() < limits::CALENDAR_LEAST_S {
        found.push(
            Finding::fault("the clock of this machine is not set")
                .why(
                    "certificates are refused as not valid yet, and ages of messages are not known",
                )
                .mend("sudo timedatectl set-ntp true"),
        );
    } else if is_synchronised() == Some(false) {
        found.push(
            Finding::warning("the clock of this machine is not synchronised")
                .why("it goes wrong by and by, and a board without a battery starts at the time it was switched off")
                .mend("sudo timedatectl set-ntp true"),
        );
    }
}

/// By what systemd says, whoever sets the clock. `None`: there is nobody to ask, as in a container.
fn is_synchronised() -> Option<bool> {
    let asked = Command::new("timedatectl")
        .args(["show", "-p", "NTPSynchronized", "--value"])
        .stdin(Stdio::null())
        .output();
    match asked.ok()?.stdout.trim_ascii() {
        b"yes" => Some(true),
        b"no" => Some(false),
        _ => None,
    }
}

fn sockets(config: &Config, found: &mut Vec<Finding>) {
    let ring = match config.io {
        Io::Epoll => return,
        Io::Auto | Io::Uring => DriverKind::uring(),
    };
    match (ring, config.io) {
        (Ok(_), io) => {
            found.push(Finding::fine("io_uring drives the sockets"));
            let shards = config.shards.map_or_else(shards_default, usize::from);
            if let Some(cause) = DriverKind::may_lack_memory(shards) {
                found.push(match io {
                    Io::Uring => {
                        Finding::warning(cause).why("the broker may not start with --io uring")
                    }
                    _ => Finding::fine(cause).why(
                        "with too little the broker uses epoll, and everything works by that too",
                    ),
                });
            }
        }
        (Err(cause), Io::Uring) => {
            found.push(Finding::fault(cause).why("the broker does not start with --io uring"));
        }
        (Err(cause), _) => found.push(
            Finding::fine(format!("epoll drives the sockets, as {cause}"))
                .why("everything works by epoll too, for a little more processor time"),
        ),
    }
}

/// As many as a start would make.
fn shards_default() -> usize {
    cpu::shards_default(cpu::allowed().map_or(1, |cores| cores.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_above_the_memory_of_a_small_board_is_found() {
        let mut found = Vec::new();
        limit(100 << 20, 128 << 20, &mut found);
        assert_eq!(found, []);
        limit(200 << 20, 128 << 20, &mut found);
        let mend = found[0].mend.as_deref();
        assert_eq!(mend, Some("--memory-limit 64M"));
    }
}
