//! A service manager of our own: what the process tells through `NOTIFY_SOCKET`, in which order, and its signs of life.

use mqttfast_rig::on_1_and_2_shards;
use mqttfast_rig::process as support;

use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use support::{Broker, Folder, Options, broker::mqttfast};

/// Longer than any of this takes on a slow and loaded machine.
const PATIENCE: Duration = Duration::from_secs(30);

struct Manager {
    socket: UnixDatagram,
    name: String,
}

impl Manager {
    fn new() -> Manager {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("mqttfast-manager-{}-{count}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Manager { socket, name }
    }

    /// What starts a broker under this manager.
    fn launcher(&self, watchdog: Option<Duration>) -> Vec<String> {
        let mut launcher = vec!["env".to_owned(), format!("NOTIFY_SOCKET=@{}", self.name)];
        if let Some(period) = watchdog {
            launcher.push(format!("WATCHDOG_USEC={}", period.as_micros()));
        }
        launcher
    }

    fn next(&self) -> String {
        let mut buffer = [0; 4096];
        let bytes = self.socket.recv(&mut buffer);
        let bytes = bytes.expect("the broker tells nothing more");
        String::from_utf8(buffer[..bytes].to_vec()).expect("a message is UTF-8")
    }

    /// The next message that is no sign of life.
    fn next_event(&self) -> String {
        loop {
            let message = self.next();
            if message != "WATCHDOG=1" {
                return message;
            }
        }
    }
}

fn the_manager_is_told_of_start_reload_and_end(shards: usize) {
    let manager = Manager::new();
    let folder = Folder::new();
    let passwd = folder.path("passwd");
    std::fs::write(&passwd, "").unwrap();
    let mut broker = Broker::start_with(Options {
        shards,
        passwd: Some(passwd.clone()),
        launcher: manager.launcher(None),
        ..Options::default()
    });
    let file = passwd.display();
    assert_eq!(
        manager.next(),
        format!(
            "READY=1\nSTATUS=listening on {}; only the users of {file} may connect",
            broker.address()
        )
    );
    broker.signal(Signal::SIGHUP);
    let reloading = manager.next();
    let time = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=");
    let time: u64 = time.expect(&reloading).parse().expect("microseconds");
    assert!(time > 0);
    assert_eq!(
        manager.next(),
        format!("READY=1\nSTATUS=password file {file} read again: 0 users")
    );
    // What cannot be read leaves the old one in force, and that is told.
    std::fs::remove_file(&passwd).unwrap();
    broker.signal(Signal::SIGHUP);
    assert!(manager.next().starts_with("RELOADING=1\n"));
    let ready = manager.next();
    let bad = "READY=1\nSTATUS=password file not reloaded, the old one stays in force: ";
    assert!(ready.starts_with(bad), "{ready}");
    let (status, _) = broker.end_by(Signal::SIGTERM);
    assert!(status.success());
    assert_eq!(manager.next(), "STOPPING=1\nSTATUS=stopping, as asked");
    manager.socket.set_nonblocking(true).unwrap();
    assert!(manager.socket.recv(&mut [0; 64]).is_err());
}

fn shards_that_turn_give_signs_of_life_until_the_end(shards: usize) {
    let manager = Manager::new();
    let mut broker = Broker::start_with(Options {
        shards,
        launcher: manager.launcher(Some(Duration::from_millis(60))),
        ..Options::default()
    });
    assert!(manager.next().starts_with("READY=1\n"));
    for _ in 0..10 {
        assert_eq!(manager.next(), "WATCHDOG=1");
    }
    broker.signal(Signal::SIGHUP);
    assert!(manager.next_event().starts_with("RELOADING=1\n"));
    assert!(manager.next_event().starts_with("READY=1\n"));
    for _ in 0..3 {
        assert_eq!(manager.next(), "WATCHDOG=1");
    }
    let (status, _) = broker.end_by(Signal::SIGTERM);
    assert!(status.success());
    assert!(manager.next_event().starts_with("STOPPING=1\n"));
    // It stopped by then, so nothing comes after the word that it does.
    manager.socket.set_nonblocking(true).unwrap();
    assert!(manager.socket.recv(&mut [0; 64]).is_err());
}

/// Threads that stand still, as a debugger makes them, until dropped.
struct Held(Vec<Pid>);

impl Held {
    fn threads_named(broker: &Broker, beginning: &str) -> Held {
        let folder = format!("/proc/{}/task", broker.pid());
        let mut held = Held(Vec::new());
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let name = std::fs::read_to_string(entry.path().join("comm")).unwrap();
            if !name.starts_with(beginning) {
                continue;
            }
            let thread = Pid::from_raw(entry.file_name().to_str().unwrap().parse().unwrap());
            ptrace::seize(thread, ptrace::Options::empty()).expect("hold a thread of our child");
            held.0.push(thread);
            ptrace::interrupt(thread).unwrap();
            waitpid(thread, Some(WaitPidFlag::__WALL)).unwrap();
        }
        assert!(!held.0.is_empty(), "no thread {beginning}");
        held
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        for &thread in &self.0 {
            let _ = ptrace::detach(thread, None);
        }
    }
}

/// The other shard serves on meanwhile, and so does the main thread, so a watchdog that did not ask the shards would
/// see nothing.
fn a_shard_that_stands_still_ends_the_signs_of_life(shards: usize) {
    const SILENCE: Duration = Duration::from_secs(1);
    const SIGNS_MAX: usize = 1000;
    let manager = Manager::new();
    let period = SILENCE / 20;
    let broker = Broker::start_with(Options {
        shards,
        launcher: manager.launcher(Some(period)),
        ..Options::default()
    });
    assert!(manager.next().starts_with("READY=1\n"));
    assert_eq!(manager.next(), "WATCHDOG=1");
    let held = Held::threads_named(&broker, &format!("shard-{}", shards - 1));
    manager.socket.set_read_timeout(Some(SILENCE)).unwrap();
    // What was sent before waits to be read, and one answer may have been given.
    let silence = (0..SIGNS_MAX).any(|_| manager.socket.recv(&mut [0; 64]).is_err());
    assert!(silence, "signs of life go on");
    drop(held);
    manager.socket.set_read_timeout(Some(PATIENCE)).unwrap();
    for _ in 0..3 {
        assert_eq!(manager.next(), "WATCHDOG=1");
    }
}

on_1_and_2_shards!(
    a_shard_that_stands_still_ends_the_signs_of_life,
    the_manager_is_told_of_start_reload_and_end,
    shards_that_turn_give_signs_of_life_until_the_end,
);

#[test]
fn a_start_that_fails_says_why() {
    let manager = Manager::new();
    let output = mqttfast(&Options {
        passwd: Some("no/such/passwd".into()),
        launcher: manager.launcher(None),
        ..Options::default()
    })
    .stdin(Stdio::null())
    .output()
    .expect("start mqttfast");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    // The reason, and where there is more.
    let (first, second) = said.trim_end().split_once('\n').expect(&said);
    assert!(second.contains("mqttfast doctor"), "{second}");
    let reason = first.strip_prefix("mqttfast: ").expect(&said);
    assert!(reason.contains("no/such/passwd"), "{reason}");
    assert_eq!(manager.next(), format!("STATUS={reason}"));
}

#[test]
fn a_manager_that_is_not_there_stops_nobody() {
    for name in ["@mqttfast-nobody-listens", "vsock:2:1"] {
        let launcher = vec!["env".to_owned(), format!("NOTIFY_SOCKET={name}")];
        let mut broker = Broker::start_with(Options {
            launcher,
            ..Options::default()
        });
        broker.logged(&["warning", "the service manager"]);
        let (status, _) = broker.end_by(Signal::SIGTERM);
        assert!(status.success());
    }
}
