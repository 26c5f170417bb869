//! The command line: what is wrong is told in one sentence with the remedy, and the exit code says of which kind it is.

#[path = "cli/control.rs"]
mod control;
#[path = "cli/doctor.rs"]
mod doctor;
#[path = "cli/explain.rs"]
mod explain;
#[path = "cli/top.rs"]
mod top;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

fn mqttfast(arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_mqttfast"))
        .args(arguments)
        .output()
        .expect("mqttfast was not started");
    (
        output
            .status
            .code()
            .expect("mqttfast was ended by a signal"),
        String::from_utf8(output.stdout).expect("standard output is not UTF-8"),
        String::from_utf8(output.stderr).expect("standard error is not UTF-8"),
    )
}

/// Exit code 2, nothing on standard output, and on standard error exactly this line.
fn assert_usage_error(arguments: &[&str], expected: &str) {
    let (code, stdout, stderr) = mqttfast(arguments);
    assert_eq!(stderr, format!("mqttfast: {expected}\n"), "{arguments:?}");
    assert_eq!((code, stdout.as_str()), (2, ""), "{arguments:?}");
}

#[test]
fn a_wrong_value_is_told_with_what_to_give_instead() {
    let port = "give a port from 1 to 65535, or 0 to let the system choose";
    assert_usage_error(&["--port", "65536"], &format!("'--port' '65536': {port}"));
    assert_usage_error(&["-p", "x"], &format!("'-p' 'x': {port}"));
    let shards = "give a number from 1 to 64";
    assert_usage_error(&["--shards", "0"], &format!("'--shards' '0': {shards}"));
    assert_usage_error(&["--shards", "65"], &format!("'--shards' '65': {shards}"));
    assert_usage_error(
        &["--io", "select"],
        "'--io' 'select': give auto, uring or epoll",
    );
    assert_usage_error(
        &["--bind", "localhost"],
        "'--bind' 'localhost': give an IP address of this machine such as 192.168.1.5, or 127.0.0.1, or :: for all",
    );
    assert_usage_error(
        &["--bind", "127.0.0.1:1883"],
        "'--bind' '127.0.0.1:1883': give the address alone, and the port with --port",
    );
    let inflight = "give a number from 1 to 65535";
    assert_usage_error(
        &["--max-inflight", "0"],
        &format!("'--max-inflight' '0': {inflight}"),
    );
    for size in [
        "255",
        "268435461",
        "1G",
        "16X",
        "-1",
        "99999999999999999999G",
        "",
        "M",
    ] {
        assert_usage_error(
            &["--max-packet-size", size],
            &format!(
                "'--max-packet-size' '{size}': give bytes from 256 to 268435460, or a size such as 64K or 16M"
            ),
        );
    }
    assert_usage_error(
        &["--client-id-takeover", "none"],
        "'--client-id-takeover' 'none': give owner or any",
    );
    assert_usage_error(
        &["--max-queued-bytes", "1023"],
        "'--max-queued-bytes' '1023': give bytes from 1024 to 4294967295, or a size such as 64K or 16M",
    );
}

#[test]
fn an_unknown_argument_is_told_with_where_to_look() {
    let help = "mqttfast --help lists what there is";
    assert_usage_error(&["--tls"], &format!("Unrecognized argument: --tls; {help}"));
    assert_usage_error(
        &["broker"],
        &format!("Unrecognized argument: broker; {help}"),
    );
    assert_usage_error(
        &["--port"],
        &format!("No value provided for option '--port'; {help}"),
    );
    assert_usage_error(
        &["passwd"],
        "Required positional arguments not provided: file; mqttfast passwd --help lists what there is",
    );
}

#[test]
fn flags_of_mosquitto_that_are_not_there_are_explained() {
    assert_usage_error(
        &["-d"],
        "Unrecognized argument: -d; mqttfast stays in the foreground; let systemd run it, or put & behind the command",
    );
}

#[test]
fn a_configuration_is_checked_only_where_one_is_named() {
    assert_usage_error(
        &["--check"],
        "--check: give the file to check with --config FILE",
    );
}

#[test]
fn version_and_help_go_to_standard_output() {
    let version = format!("mqttfast {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(mqttfast(&["--version"]), (0, version, String::new()));
    for arguments in [
        &["--help"][..],
        &["-h"],
        &["passwd", "--help"],
        &["passwd", "-h"],
    ] {
        let (code, stdout, stderr) = mqttfast(arguments);
        assert!(stdout.starts_with("Usage: mqttfast "), "{stdout}");
        assert_eq!((code, stderr.as_str()), (0, ""));
    }
}

#[test]
fn an_argument_that_is_not_utf_8_is_refused() {
    use std::os::unix::ffi::OsStrExt;
    let output = Command::new(env!("CARGO_BIN_EXE_mqttfast"))
        .arg(std::ffi::OsStr::from_bytes(b"--passwd=\xff"))
        .output()
        .expect("mqttfast was not started");
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "mqttfast: \"--passwd=\\xFF\" is not UTF-8; type the argument again\n"
    );
}

#[test]
fn quiet_and_verbose_exclude_each_other() {
    let expected = "--quiet and --verbose: give one of the two";
    assert_usage_error(&["--quiet", "--verbose"], expected);
}

/// Killed with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Connects a Client, ends its connection with DISCONNECT, stops the broker, and answers what it wrote.
fn log_of_one_client(more: &[&str]) -> String {
    // A quiet broker does not tell which port the system chose for it.
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let port = free.local_addr().expect("bound").port();
    drop(free);
    let child = Command::new(env!("CARGO_BIN_EXE_mqttfast"))
        .args(["--persistence", "off", "--bind", "127.0.0.1"])
        .args(["--io", "epoll", "--port"])
        .arg(port.to_string())
        .args(more)
        .stderr(Stdio::piped())
        .spawn();
    let mut broker = Running(child.expect("mqttfast was not started"));
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut client = loop {
        match TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
            Ok(client) => break client,
            Err(error) => assert!(Instant::now() < deadline, "it does not listen: {error}"),
        }
        sleep(Duration::from_millis(10));
    };
    let within = Some(Duration::from_secs(30));
    client.set_read_timeout(within).expect("a deadline");
    let connect = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01c";
    client.write_all(connect).expect("CONNECT");
    let mut connack = [0; 4];
    client.read_exact(&mut connack).expect("CONNACK");
    client.write_all(&[0xe0, 0]).expect("DISCONNECT");
    // It closes when it has handled the packet.
    assert_eq!(client.read(&mut connack).expect("the end"), 0);
    let pid = nix::unistd::Pid::from_raw(broker.0.id() as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::SIGTERM).expect("SIGTERM");
    let mut log = String::new();
    let stderr = broker.0.stderr.take();
    let read = stderr.expect("piped").read_to_string(&mut log);
    read.expect("standard error is UTF-8");
    assert!(broker.0.wait().expect("it ended").success(), "{log}");
    log
}

#[test]
fn quiet_logs_no_client() {
    let log = log_of_one_client(&[]);
    assert!(
        log.contains("connected") && log.contains("stopped"),
        "{log}"
    );
    assert_eq!(log_of_one_client(&["--quiet"]), "");
}
