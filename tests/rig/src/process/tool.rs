//! Another program under a deadline: what it prints arrives line by line, and it is killed with the test.

use super::{Broker, DEADLINE};
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// PATH with the folders where Debian keeps Mosquitto and a plain user does not look.
pub fn path() -> OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/sbin:/sbin");
    path
}

/// What `tests/setup` has installed below `tests/.tools`.
pub fn installed(name: &str) -> PathBuf {
    let path = super::repository().join("tests/.tools").join(name);
    assert!(
        path.exists(),
        "{} is missing: run tests/setup first",
        path.display()
    );
    path
}

/// A script of ours below `tests/clients`.
pub fn script(name: &str) -> PathBuf {
    super::repository().join("tests/clients").join(name)
}

/// A running program.
pub struct Tool {
    child: Child,
    name: String,
    output: Receiver<String>,
    errors: Receiver<String>,
}

/// How a program ended, with what was still unread of its two outputs.
pub struct Ended {
    pub status: ExitStatus,
    pub output: Vec<String>,
    pub errors: String,
}

impl Tool {
    /// Starts a program. Its standard output is line-buffered, as on a terminal, if it leaves that to the C library;
    /// and a hang-up ends it, even if the tests themselves run under `nohup`.
    pub fn start(program: &str, arguments: &[&str]) -> Tool {
        let mut command = Command::new("env");
        command
            .args(["--default-signal=HUP", "stdbuf", "-oL", program])
            .args(arguments);
        Tool::start_command(command, program)
    }

    pub fn start_command(mut command: Command, name: &str) -> Tool {
        let mut child = command
            .env("PATH", path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("start {name}: {error}; tests/setup installs it"));
        let output = lines(child.stdout.take().expect("piped"));
        let errors = lines(child.stderr.take().expect("piped"));
        Tool {
            child,
            name: name.to_string(),
            output,
            errors,
        }
    }

    /// Writes to its standard input and closes it.
    pub fn input(&mut self, text: &str) {
        let mut stdin = self.child.stdin.take().expect("one input only");
        stdin
            .write_all(text.as_bytes())
            .unwrap_or_else(|error| panic!("write to {}: {error}", self.name));
    }

    /// The next line of its standard output. Panics at the deadline or the end.
    #[track_caller]
    pub fn line(&mut self) -> String {
        match self.output.recv_timeout(DEADLINE) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => {
                panic!("{} printed nothing for {DEADLINE:?}", self.name)
            }
            Err(RecvTimeoutError::Disconnected) => {
                let errors: Vec<String> = self.errors.iter().collect();
                panic!(
                    "{} ended without printing a line; it said: {}",
                    self.name,
                    errors.join("\n")
                )
            }
        }
    }

    /// Reads lines up to one that contains `text`.
    #[track_caller]
    pub fn skip_to(&mut self, text: &str) -> String {
        loop {
            let line = self.line();
            if line.contains(text) {
                return line;
            }
        }
    }

    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).expect("a pid"));
        nix::sys::signal::kill(pid, signal).expect("signal a program");
    }

    /// Waits for the end.
    #[track_caller]
    pub fn end(self) -> Ended {
        self.end_within(DEADLINE)
    }

    #[track_caller]
    pub fn end_within(mut self, within: Duration) -> Ended {
        drop(self.child.stdin.take());
        let end = Instant::now() + within;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("wait for a program") {
                break status;
            }
            assert!(
                Instant::now() < end,
                "{} still runs after {within:?}",
                self.name
            );
            std::thread::sleep(Duration::from_millis(5));
        };
        let errors: Vec<String> = self.errors.iter().collect();
        Ended {
            status,
            output: self.output.iter().collect(),
            errors: errors.join("\n"),
        }
    }

    /// Ctrl+C on an idle program, and its end. Idle, since Mosquitto's clients lock themselves up when the signal finds
    /// them handling a packet.
    #[track_caller]
    pub fn interrupt(self) {
        std::thread::sleep(Duration::from_millis(300));
        self.signal(nix::sys::signal::Signal::SIGINT);
        self.end();
    }

    /// Waits for the end and expects exit code 0.
    #[track_caller]
    pub fn succeed(self) -> Vec<String> {
        let name = self.name.clone();
        let ended = self.end_within(Duration::from_secs(60));
        assert!(
            ended.status.success(),
            "{name}: {}, {}",
            ended.status,
            ended.errors
        );
        ended.output
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lines(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut reader = BufReader::new(stream);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).unwrap_or(0) > 0 {
            let text = String::from_utf8_lossy(&line)
                .trim_end_matches('\n')
                .to_string();
            if sender.send(text).is_err() {
                return;
            }
            line.clear();
        }
    });
    receiver
}

/// `-h 127.0.0.1 -p PORT`, for Mosquitto's clients.
pub fn host_and_port(broker: &Broker) -> Vec<String> {
    vec![
        "-h".into(),
        "127.0.0.1".into(),
        "-p".into(),
        broker.port().to_string(),
    ]
}
