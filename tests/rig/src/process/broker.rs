//! A broker process of a test's own: started on a free port of loopback, watched through its log and `/proc`, killed
//! with the test.

use super::{DEADLINE, Folder, free_port};
use std::cell::Cell;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// For the lines of a start to come, once the port can be connected to. A broker that logs less has none.
const START_LOGGED: Duration = Duration::from_secs(2);

/// The tests run against Debian's Mosquitto instead.
pub fn reference() -> bool {
    std::env::var("MQTTFAST_TEST_BROKER").is_ok_and(|broker| broker == "mosquitto")
}

thread_local! {
    /// The test of this thread wants epoll.
    static BY_EPOLL: Cell<bool> = const { Cell::new(false) };
}

/// The driver that all tests are to use, by `MQTTFAST_TEST_IO=epoll|uring` in the environment.
pub fn io_of_all_tests() -> Option<String> {
    std::env::var("MQTTFAST_TEST_IO").ok()
}

/// Runs a test whose brokers, started by this thread, drive their sockets by epoll.
pub fn by_epoll(test: impl FnOnce()) {
    struct Reset;
    impl Drop for Reset {
        fn drop(&mut self) {
            BY_EPOLL.set(false);
        }
    }
    // The next test may run on the same thread.
    let _reset = Reset;
    BY_EPOLL.set(true);
    test();
}

/// The arguments that choose the driver; none leave the choice to mqttfast.
pub fn io_arguments() -> Vec<String> {
    let epoll = BY_EPOLL.get().then(|| "epoll".to_owned());
    match io_of_all_tests().or(epoll) {
        Some(io) => vec!["--io".to_owned(), io],
        None => Vec::new(),
    }
}

/// How to start a broker. The default is one shard, anonymous, on loopback.
#[derive(Clone, Default)]
pub struct Options {
    /// 0 means 1.
    pub shards: usize,
    pub passwd: Option<PathBuf>,
    pub acl: Option<PathBuf>,
    pub allow_anonymous: bool,
    /// Leave `--bind` to its default.
    pub no_bind: bool,
    /// The text of a `mosquitto.conf`, which mqttfast and the reference get alike. `{port}` stands for a free port of
    /// 127.0.0.1, which must be listened on, and `{folder}` for a folder of this broker's own.
    pub configuration: Option<String>,
    /// More arguments for mqttfast; the reference does not get them.
    pub arguments: Vec<String>,
    /// What starts mqttfast, whose path and arguments come last; it must end as mqttfast, by `exec`. The reference has
    /// none.
    pub launcher: Vec<String>,
    /// Another build of mqttfast than the one under test.
    pub program: Option<PathBuf>,
}

/// A running broker; SIGKILL at drop.
pub struct Broker {
    child: Child,
    address: SocketAddr,
    log: Arc<Log>,
    folder: Folder,
}

/// The lines a broker has written so far.
#[derive(Default)]
struct Log {
    lines: Mutex<(Vec<String>, bool)>,
    changed: Condvar,
}

impl Log {
    fn follow(self: Arc<Self>, stream: impl std::io::Read + Send + 'static) {
        std::thread::spawn(move || {
            let mut reader = BufReader::new(stream);
            let mut line = Vec::new();
            // Bytes, since a log that is not UTF-8 must fail a test and not its reader.
            while reader.read_until(b'\n', &mut line).unwrap_or(0) > 0 {
                let text = String::from_utf8_lossy(&line).trim_end().to_string();
                self.lines.lock().unwrap().0.push(text);
                self.changed.notify_all();
                line.clear();
            }
            self.lines.lock().unwrap().1 = true;
            self.changed.notify_all();
        });
    }

    /// The number of the first line from number `from` on that `wanted` likes, or `None` at the deadline or the end of
    /// the log.
    fn wait(&self, from: usize, within: Duration, wanted: impl Fn(&str) -> bool) -> Option<usize> {
        let end = Instant::now() + within;
        let mut lines = self.lines.lock().unwrap();
        let mut seen = from;
        loop {
            if let Some(found) = lines.0.iter().skip(seen).position(|line| wanted(line)) {
                return Some(seen + found);
            }
            seen = lines.0.len().max(from);
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || lines.1 {
                return None;
            }
            lines = self.changed.wait_timeout(lines, left).unwrap().0;
        }
    }
}

impl Broker {
    /// An anonymous broker on loopback.
    pub fn start(shards: usize) -> Broker {
        Broker::start_with(Options {
            shards,
            ..Options::default()
        })
    }

    pub fn start_with(options: Options) -> Broker {
        let started = if options.configuration.is_some() {
            Broker::try_configured(&options)
        } else if reference() {
            start_reference(&options)
        } else {
            start_mqttfast(&options)
        };
        started.unwrap_or_else(|log| panic!("the broker did not start:\n{}", log.join("\n")))
    }

    /// The same, or what a broker that does not start has written.
    pub fn try_start(options: &Options) -> Result<Broker, Vec<String>> {
        start_mqttfast(options)
    }

    /// A broker that reads this `mosquitto.conf`, see [`Options::configuration`].
    pub fn configured(shards: usize, text: &str) -> Broker {
        Broker::start_with(Options {
            shards,
            configuration: Some(text.to_owned()),
            ..Options::default()
        })
    }

    /// The same, or what a broker that does not start has written.
    pub fn try_configured(options: &Options) -> Result<Broker, Vec<String>> {
        let folder = Folder::new();
        start_configured(options, folder)
    }

    /// A file in the folder that `{folder}` stands for.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path(name)
    }

    /// Writes the configuration anew, for a reload; `{port}` and `{folder}` stay what they were.
    pub fn rewrite(&self, text: &str) {
        write_configuration(&self.folder, text, self.port());
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// All log lines so far.
    pub fn log(&self) -> Vec<String> {
        self.log.lines.lock().unwrap().0.clone()
    }

    /// How many lines the log has: a place to go on from in [`Broker::logged_since`].
    pub fn log_len(&self) -> usize {
        self.log.lines.lock().unwrap().0.len()
    }

    /// Waits for a log line that contains all of `parts`, in any order. Panics at the deadline.
    #[track_caller]
    pub fn logged(&self, parts: &[&str]) -> String {
        self.logged_since(0, parts)
    }

    /// The same, from line number `from` on.
    #[track_caller]
    pub fn logged_since(&self, from: usize, parts: &[&str]) -> String {
        let at = self.logged_at(from, parts);
        self.log.lines.lock().unwrap().0[at].clone()
    }

    /// The same; returns the number of the line.
    #[track_caller]
    pub fn logged_at(&self, from: usize, parts: &[&str]) -> usize {
        let found = self.log.wait(from, DEADLINE, |line| {
            parts.iter().all(|part| line.contains(part))
        });
        match found {
            Some(at) => at,
            None => panic!(
                "no log line with {parts:?} in:\n{}",
                self.log()[from..].join("\n")
            ),
        }
    }

    pub fn is_running(&mut self) -> bool {
        self.child
            .try_wait()
            .expect("wait for the broker")
            .is_none()
    }

    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.pid()).expect("a pid"));
        nix::sys::signal::kill(pid, signal).expect("signal the broker");
    }

    /// Sends `signal`, SIGTERM or alike, and waits for the end. Returns how the broker ended and how long that took.
    pub fn end_by(&mut self, signal: nix::sys::signal::Signal) -> (ExitStatus, Duration) {
        let start = Instant::now();
        self.signal(signal);
        while start.elapsed() < DEADLINE {
            if let Some(status) = self.child.try_wait().expect("wait for the broker") {
                return (status, start.elapsed());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!(
            "the broker still runs {DEADLINE:?} after {signal}; log:\n{}",
            self.log().join("\n")
        );
    }

    /// Resident memory, from `/proc`.
    pub fn rss_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()))
            .expect("status of the broker");
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .expect("VmRSS");
        let kib: u64 = line
            .split_whitespace()
            .nth(1)
            .expect("a number")
            .parse()
            .expect("a number");
        kib * 1024
    }

    /// Processor time used so far, user and system, from `/proc`; its grain is 10 ms.
    pub fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid()))
            .expect("stat of the broker");
        // The second field is the program's name in brackets and may hold blanks; utime and stime are fields 14 and 15.
        let fields: Vec<&str> = stat
            .rsplit(')')
            .next()
            .expect("fields")
            .split_whitespace()
            .collect();
        let ticks: u64 =
            fields[11].parse::<u64>().expect("utime") + fields[12].parse::<u64>().expect("stime");
        Duration::from_millis(ticks * 10)
    }

    /// Open file descriptors.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid()))
            .expect("descriptors of the broker")
            .count()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            eprintln!(
                "the last of the broker's log:\n{}",
                log[log.len().saturating_sub(40)..].join("\n")
            );
        } else if let Some(line) = self.log().iter().find(|line| line.contains("panicked at")) {
            panic!("the broker panicked: {line}");
        }
    }
}

/// The command for mqttfast on loopback, port chosen by the system.
pub fn mqttfast(options: &Options) -> Command {
    let program = options.program.clone();
    let program = program.unwrap_or_else(crate::process::program);
    let mut command = match options.launcher.split_first() {
        Some((launcher, arguments)) => {
            let mut command = Command::new(launcher);
            command.args(arguments).arg(program);
            command
        }
        None => Command::new(program),
    };
    // `--listen` says it of every listener.
    if !options
        .arguments
        .iter()
        .any(|argument| argument == "--listen")
    {
        command.args(["--port", "0"]);
        if !options.no_bind {
            command.args(["--bind", "127.0.0.1"]);
        }
    }
    command.args(["--shards", &options.shards.max(1).to_string()]);
    if let Some(passwd) = &options.passwd {
        command.arg("--passwd").arg(passwd);
    }
    if let Some(acl) = &options.acl {
        command.arg("--acl").arg(acl);
    }
    if options.allow_anonymous {
        command.arg("--allow-anonymous");
    }
    command.args(&options.arguments);
    if !options.arguments.iter().any(|argument| argument == "--io") {
        command.args(io_arguments());
    }
    command
}

/// Starts a broker's process, whose log is followed.
fn spawn(command: &mut Command) -> (Child, Arc<Log>) {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start a broker; tests/setup installs the reference");
    let log = Arc::new(Log::default());
    log.clone().follow(child.stderr.take().expect("piped"));
    (child, log)
}

fn start_mqttfast(options: &Options) -> Result<Broker, Vec<String>> {
    let (mut child, log) = spawn(&mut mqttfast(options));
    let Some(at) = log.wait(0, DEADLINE, |line| line.contains("listening on 127.0.0.1:")) else {
        let _ = child.kill();
        let _ = child.wait();
        return Err(log.lines.lock().unwrap().0.clone());
    };
    let line = log.lines.lock().unwrap().0[at].clone();
    let after = line
        .split("listening on 127.0.0.1:")
        .nth(1)
        .expect("found above");
    let port: String = after.chars().take_while(char::is_ascii_digit).collect();
    let address = SocketAddr::from((
        Ipv4Addr::LOCALHOST,
        port.parse().expect("the port in the log"),
    ));
    Ok(Broker {
        child,
        address,
        log,
        folder: Folder::new(),
    })
}

/// Writes `mosquitto.conf` into the folder; with what a reference that runs as root needs to read it.
fn write_configuration(folder: &Folder, text: &str, port: u16) -> PathBuf {
    let path = folder.0.display().to_string();
    let mut text = text.replace("{port}", &port.to_string());
    text = text.replace("{folder}", &path);
    if nix::unistd::geteuid().is_root() && !text.contains("user ") {
        text += "\nuser root\n";
    }
    let file = folder.path("mosquitto.conf");
    std::fs::write(&file, text).expect("write mosquitto.conf");
    file
}

/// Starts a broker on a configuration: it serves when it can be connected to.
fn start_configured(options: &Options, folder: Folder) -> Result<Broker, Vec<String>> {
    let text = options.configuration.as_deref().expect("a configuration");
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
    let file = write_configuration(&folder, text, address.port());
    let mut command = match reference() {
        true => {
            let mut command = Command::new("mosquitto");
            command.env("PATH", super::tool::path()).arg("-c").arg(file);
            command
        }
        false => {
            let mut command = Command::new(crate::process::program());
            command.arg("-c").arg(file).args(&options.arguments);
            command.args(["--shards", &options.shards.max(1).to_string()]);
            command.args(io_arguments());
            command
        }
    };
    let (mut child, log) = spawn(command.current_dir(&folder.0));
    let end = Instant::now() + DEADLINE;
    while TcpStream::connect(address).is_err() {
        let ended = child.try_wait().expect("wait for the broker");
        if ended.is_some() || Instant::now() > end {
            let _ = child.kill();
            let _ = child.wait();
            log.wait(0, DEADLINE, |_| false);
            let mut lines = log.lines.lock().unwrap().0.clone();
            lines.push(format!("{ended:?}"));
            return Err(lines);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    // What the start has logged is here before a test asks for what comes after it, unless it goes elsewhere.
    if !reference() && !text.contains("log_") {
        log.wait(0, START_LOGGED, |line| line.contains("listening on"));
    }
    Ok(Broker {
        child,
        address,
        log,
        folder,
    })
}

/// Mosquitto on a configuration that does as the options say.
fn start_reference(options: &Options) -> Result<Broker, Vec<String>> {
    let mut text =
        "listener {port} 127.0.0.1\nlog_type all\nlog_dest stderr\nmax_queued_messages 0\n"
            .to_owned();
    match &options.passwd {
        Some(passwd) => {
            text += &format!(
                "password_file {}\nallow_anonymous {}\n",
                passwd.display(),
                options.allow_anonymous
            );
        }
        None => text += "allow_anonymous true\n",
    }
    if let Some(acl) = &options.acl {
        text += &format!("acl_file {}\n", acl.display());
    }
    Broker::try_configured(&Options {
        configuration: Some(text),
        ..options.clone()
    })
}
