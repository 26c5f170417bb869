//! What the tests of `mqttfast passwd` stand on: a folder of their own, runs of the program, a terminal, a Mosquitto.

use nix::pty::{OpenptyResult, openpty};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{LocalFlags, tcgetattr};
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Longer than anything here takes on a slow board.
const PATIENCE: Duration = Duration::from_secs(30);

pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// The user without rights; of any number that is not root's.
pub fn nobody() -> u32 {
    65_534
}

/// A new folder, gone at the end. Others may enter it, which they may not do everywhere a checkout can be.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Folder {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!(
            "mqttfast-test-passwd-{}-{count}",
            std::process::id()
        ));
        // An earlier process of the same number may have left its own.
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        // As the program will see it, whatever links lead there.
        Folder(path.canonicalize().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    /// Runs `mqttfast passwd` on a terminal of its own.
    pub fn terminal(&self, arguments: &[&str]) -> Terminal {
        let OpenptyResult { master, slave } = openpty(None, None).unwrap();
        let slave = File::from(slave);
        // A shell starts what runs in the background with interrupts ignored, and children inherit that.
        let child = Command::new("env")
            .args(["--default-signal=INT", env!("CARGO_BIN_EXE_mqttfast")])
            .arg("passwd")
            .args(arguments)
            .current_dir(&self.0)
            .stdin(slave.try_clone().unwrap())
            .stdout(slave.try_clone().unwrap())
            .stderr(slave.try_clone().unwrap())
            .spawn()
            .unwrap();
        Terminal {
            child,
            master: File::from(master),
            slave: Some(slave),
            shown: String::new(),
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// How a run of the program ended.
pub struct Run {
    /// `None`: by a signal.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for Run {
    fn from(output: Output) -> Run {
        Run {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Run {
    /// Runs `mqttfast` itself; it must end by itself.
    pub fn broker(folder: &Folder, arguments: &[&str]) -> Run {
        Run::of(
            Command::new(env!("CARGO_BIN_EXE_mqttfast"))
                .args(arguments)
                .current_dir(&folder.0),
        )
    }

    /// The same as a user without rights, from a copy that this user can reach.
    pub fn broker_as_nobody(folder: &Folder, arguments: &[&str]) -> Run {
        let copy = folder.path("mqttfast-copy");
        if !copy.exists() {
            fs::copy(env!("CARGO_BIN_EXE_mqttfast"), &copy).unwrap();
            fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
        }
        Run::of(
            Command::new(copy)
                .args(arguments)
                .current_dir(&folder.0)
                .uid(nobody())
                .gid(nobody()),
        )
    }

    fn of(command: &mut Command) -> Run {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let start = Instant::now();
        let mut child = loop {
            match command.spawn() {
                // A child that another test is starting at this moment still holds the copy open for writing.
                Err(error)
                    if error.kind() == ErrorKind::ExecutableFileBusy
                        && start.elapsed() < PATIENCE =>
                {
                    sleep(Duration::from_millis(5));
                }
                other => break other.unwrap(),
            }
        };
        while child.try_wait().unwrap().is_none() {
            if start.elapsed() > PATIENCE {
                child.kill().unwrap();
            }
            sleep(Duration::from_millis(5));
        }
        child.wait_with_output().unwrap().into()
    }
}

pub fn mqttfast(folder: &Folder, arguments: &[&str]) -> Run {
    mqttfast_with_input(folder, arguments, "")
}

pub fn mqttfast_with_input(folder: &Folder, arguments: &[&str], input: &str) -> Run {
    let mut child = Command::new(env!("CARGO_BIN_EXE_mqttfast"))
        .arg("passwd")
        .args(arguments)
        .current_dir(&folder.0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may have refused before it read anything.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap().into()
}

pub fn mosquitto_passwd(folder: &Folder, arguments: &[&str]) {
    let output = Command::new("mosquitto_passwd")
        .args(arguments)
        .current_dir(&folder.0)
        .output()
        .expect("mosquitto_passwd is not installed: the README's test command installs it");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A pseudo terminal with `mqttfast passwd` on it.
pub struct Terminal {
    child: Child,
    master: File,
    slave: Option<File>,
    shown: String,
}

impl Terminal {
    /// Waits until this is shown.
    pub fn expect(&mut self, text: &str) {
        while !self.shown.contains(text) {
            let mut bytes = [0; 1024];
            let count = self.master.read(&mut bytes).unwrap();
            assert!(count > 0, "{text} was not shown: {}", self.shown);
            self.shown
                .push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
    }

    pub fn type_in(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).unwrap();
    }

    pub fn echoes(&self) -> bool {
        let modes = tcgetattr(self.slave.as_ref().unwrap()).unwrap();
        modes.local_flags.contains(LocalFlags::ECHO)
    }

    pub fn interrupt(&self) {
        kill(
            nix::unistd::Pid::from_raw(self.child.id() as i32),
            Signal::SIGINT,
        )
        .unwrap();
    }

    pub fn echoes_after_end(&mut self) -> bool {
        self.child.wait().unwrap();
        self.echoes()
    }

    /// Exit code and all that was shown.
    pub fn end(mut self) -> (Option<i32>, String) {
        let status = self.child.wait().unwrap();
        self.slave = None;
        let mut rest = Vec::new();
        // The last reader of a terminal without its other side gets an error instead of an end.
        let _ = self.master.read_to_end(&mut rest);
        self.shown.push_str(&String::from_utf8_lossy(&rest));
        (status.code(), self.shown)
    }
}

/// A Mosquitto that wants a user of the given file.
pub struct Mosquitto {
    child: Child,
    port: u16,
}

impl Mosquitto {
    pub fn start(folder: &Folder, file: &Path) -> Mosquitto {
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let configuration = folder.file(
            "mosquitto.conf",
            &format!(
                "listener {port} 127.0.0.1\nallow_anonymous false\nuser root\npassword_file {}\n",
                file.display()
            ),
        );
        // Debian keeps it where the search path of a plain user does not lead.
        let installed = Path::new("/usr/sbin/mosquitto");
        let program = if installed.exists() {
            installed
        } else {
            Path::new("mosquitto")
        };
        let child = Command::new(program)
            .arg("-c")
            .arg(configuration)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("mosquitto is not installed: the README's test command installs it");
        let mosquitto = Mosquitto { child, port };
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(start.elapsed() < PATIENCE, "Mosquitto does not listen");
            sleep(Duration::from_millis(10));
        }
        mosquitto
    }

    /// The return code it answers this CONNECT of MQTT 3.1.1 with.
    pub fn connack(&self, user_name: &str, password: &str) -> u8 {
        let mut body = b"\x00\x04MQTT\x04\xC2\x00\x3C\x00\x01c".to_vec();
        for field in [user_name, password] {
            body.extend_from_slice(&(field.len() as u16).to_be_bytes());
            body.extend_from_slice(field.as_bytes());
        }
        let mut socket = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.write_all(&[0x10, body.len() as u8]).unwrap();
        socket.write_all(&body).unwrap();
        let mut answer = [0; 4];
        socket.read_exact(&mut answer).unwrap();
        assert_eq!(answer[..3], [0x20, 2, 0]);
        answer[3]
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
