//! A panic in one shard ends the broker, at once and with its message: one of which half is dead would go on accepting
//! Clients it cannot serve.
//!
//!     cargo test -p mqttfast-planted --test panic
//!
//! Part of `tests/planted`, whose broker has the panic in it. Under this profile the thread unwinds and the others are
//! told; the release profile aborts.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(30);

/// Killed at drop.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn connect(port: u16, client_id: &str) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("connect");
    stream.set_read_timeout(Some(DEADLINE)).expect("a deadline");
    let mut connect = vec![0x10, 12 + client_id.len() as u8];
    connect.extend(b"\0\x04MQTT\x04\x02\0\0\0");
    connect.push(client_id.len() as u8);
    connect.extend(client_id.bytes());
    stream.write_all(&connect).expect("CONNECT");
    let mut connack = [0; 4];
    stream.read_exact(&mut connack).expect("CONNACK");
    assert_eq!(connack, [0x20, 2, 0, 0]);
    stream
}

fn a_panic_of_shard_1_ends_the_broker(io: &str) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mqttfast-planted"));
    command.args([
        "--port",
        "0",
        "--bind",
        "127.0.0.1",
        "--shards",
        "2",
        "--io",
        io,
    ]);
    command
        .env("MQTTFAST_FAULT_PANIC", "1")
        .env_remove("RUST_BACKTRACE");
    command.stdin(Stdio::null()).stderr(Stdio::piped());
    let mut process = Process(command.spawn().expect("start mqttfast"));
    let mut said = BufReader::new(process.0.stderr.take().expect("piped"));
    let mut port = None;
    while port.is_none() {
        let mut line = String::new();
        assert!(
            said.read_line(&mut line).expect("the log") > 0,
            "it did not start"
        );
        let told = line.trim_end().split_once("listening on 127.0.0.1:");
        port = told.map(|(_, port)| port.parse::<u16>().expect("a port"));
    }
    let port = port.expect("told");

    // Each is at home where its client id says, some on either shard.
    let mut clients: Vec<TcpStream> = (0..16)
        .map(|number| connect(port, &format!("c{number}")))
        .collect();
    let mut answered = 0;
    for client in &mut clients {
        // QoS 1 to "t": answered by a shard that lives.
        let mut puback = [0; 4];
        if client.write_all(b"\x32\x05\0\x01t\0\x01").is_err()
            || client.read_exact(&mut puback).is_err()
        {
            break;
        }
        assert_eq!(puback, [0x40, 2, 0, 1]);
        answered += 1;
    }
    assert!(answered < clients.len(), "no Client was at home on shard 1");

    let until = Instant::now() + DEADLINE;
    let status = loop {
        if let Some(status) = process.0.try_wait().expect("wait") {
            break status;
        }
        assert!(Instant::now() < until, "half of it lives on");
        std::thread::sleep(Duration::from_millis(5));
    };
    println!("--io {io}: {status}");
    assert!(!status.success());
    let mut last_words = String::new();
    said.read_to_string(&mut last_words).expect("the log");
    assert!(
        last_words.contains("panicked at") && last_words.contains("a planted fault"),
        "{last_words}"
    );
    // All are let go, those of the other shard too.
    for client in &mut clients {
        let rest = client.read(&mut [0; 16]);
        assert!(matches!(rest, Ok(0) | Err(_)), "{rest:?}");
    }
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
}

#[test]
fn a_panic_of_one_shard_ends_the_broker() {
    a_panic_of_shard_1_ends_the_broker("auto");
}

#[test]
fn a_panic_of_one_shard_ends_the_broker_by_epoll() {
    a_panic_of_shard_1_ends_the_broker("epoll");
}
