//! What happens when all places for connections are taken, be it by `--max-connections` or by the limit of open files:
//! Clients that are connected are served on, newcomers are told in CONNACK, or closed at once when too many of them
//! wait, the log says why, the broker rests meanwhile, and all is well when places are free again.
//!
//! Case 58 of the threats, its part about descriptors.

use mqttfast_rig::on_1_and_2_shards;
use mqttfast_rig::process as support;

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};
use support::broker::{by_epoll, io_of_all_tests};
use support::{Connect, DEADLINE};

/// Descriptors of the broker; its own take some of them.
const FILES: usize = 128;

/// Newcomers the broker listens to when all places are taken.
const STANDING: usize = mqttfast::limits::EXTRA_CONNECTIONS;

/// What a newcomer was answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Answer {
    Accepted,
    /// CONNACK 3, server unavailable; v5 0x97, quota exceeded.
    Told,
    /// Closed without a word.
    Closed,
}

struct Starved {
    broker: Child,
    lines: Receiver<String>,
    port: u16,
}

impl Starved {
    fn start(shards: usize, options: &[&str]) -> Starved {
        let script = format!("ulimit -n {FILES} && exec \"$0\" \"$@\"");
        let mut broker = Command::new("sh")
            .args(["-c", &script, env!("CARGO_BIN_EXE_mqttfast")])
            .args(["--port", "0", "--bind", "127.0.0.1"])
            .args(["--shards", &shards.to_string()])
            .args(support::broker::io_arguments())
            .args(options)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("start mqttfast");
        let (sender, lines) = channel();
        let log = BufReader::new(broker.stderr.take().expect("it is piped"));
        thread::spawn(move || {
            for line in log.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let mut starved = Starved {
            broker,
            lines,
            port: 0,
        };
        let line = starved.logged("listening on ");
        let (_, port) = line.rsplit_once(':').expect("an address with its port");
        starved.port = port.parse().expect("a port");
        starved
    }

    fn logged(&self, part: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(DEADLINE);
            let line = line.unwrap_or_else(|_| panic!("{part:?} is not in the log"));
            if line.contains(part) {
                return line;
            }
        }
    }

    /// Open files the running broker may have.
    fn limit_files(&self, files: usize) {
        let set = Command::new("prlimit")
            .args(["--pid", &self.broker.id().to_string()])
            .arg(format!("--nofile={files}:"))
            .status();
        assert!(set.expect("start prlimit").success());
    }

    fn open(&self) -> TcpStream {
        let client = TcpStream::connect(("127.0.0.1", self.port)).expect("the backlog is long");
        client.set_read_timeout(Some(DEADLINE)).expect("a time-out");
        client
    }

    /// A connection on which CONNECT was sent, and its answer.
    fn connect(&self, number: usize) -> (TcpStream, Answer) {
        let mut client = self.open();
        let client_id = format!("c{number}");
        let connect = Connect {
            client_id: client_id.as_bytes(),
            keep_alive_s: 0,
            ..Connect::default()
        };
        // Turned away already: an error here is an answer too.
        let _ = client.write_all(&connect.bytes());
        let answer = answer_to(&mut client);
        (client, answer)
    }

    /// Processor time so far.
    fn ticks(&self) -> u64 {
        let path = format!("/proc/{}/stat", self.broker.id());
        let stat = std::fs::read_to_string(path).expect("it runs");
        let (_, fields) = stat.rsplit_once(") ").expect("the form of stat");
        let fields: Vec<&str> = fields.split(' ').collect();
        let field = |index: usize| fields[index].parse::<u64>().expect("a number");
        field(11) + field(12)
    }
}

impl Drop for Starved {
    fn drop(&mut self) {
        let _ = self.broker.kill();
        let _ = self.broker.wait();
    }
}

fn ping(client: &mut TcpStream) {
    client.write_all(&[0xC0, 0]).expect("PINGREQ");
    let mut answer = [0; 2];
    client.read_exact(&mut answer).expect("PINGRESP");
    assert_eq!(answer, [0xD0, 0]);
}

fn answer_to(client: &mut TcpStream) -> Answer {
    let mut answer = [0; 4];
    match client.read_exact(&mut answer) {
        Ok(()) if answer == [0x20, 2, 0, 0] => Answer::Accepted,
        Ok(()) if answer == [0x20, 2, 0, 3] => Answer::Told,
        Ok(()) => panic!("{answer:02x?}"),
        Err(error) => {
            let slow = matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
            assert!(!slow, "a newcomer is answered or closed");
            Answer::Closed
        }
    }
}

fn newcomers_are_told_and_the_others_served(shards: usize) {
    let broker = Starved::start(shards, &[]);
    let (mut accepted, mut told, mut closed) = (Vec::new(), 0, 0);
    for number in 0..FILES + 10 {
        match broker.connect(number) {
            (client, Answer::Accepted) => accepted.push(client),
            (_, Answer::Told) => told += 1,
            // A shard that was kept waiting has not seen yet that those it told are gone.
            (_, Answer::Closed) => closed += 1,
        }
    }
    assert!(
        told > 0 && told + closed >= 10,
        "{told} told, {closed} closed"
    );
    assert!(accepted.len() >= 10, "{}", accepted.len());
    broker.logged("connections are in use");
    accepted.iter_mut().for_each(ping);

    // Those who say nothing take the room; then newcomers are closed unheard.
    let silent: Vec<TcpStream> = (0..STANDING).map(|_| broker.open()).collect();
    let until = Instant::now() + DEADLINE;
    while broker.connect(1000).1 != Answer::Closed {
        assert!(Instant::now() < until, "the silent ones have come in");
    }
    accepted.iter_mut().for_each(ping);

    // It waits, it does not spin.
    let before = broker.ticks();
    thread::sleep(Duration::from_millis(500));
    let spent = broker.ticks() - before;
    assert!(spent < 20, "{spent} ticks in half a second");

    drop(silent);
    accepted.truncate(5);
    let until = Instant::now() + DEADLINE;
    while broker.connect(1000).1 != Answer::Accepted {
        assert!(Instant::now() < until, "places are free again");
        thread::sleep(Duration::from_millis(20));
    }
    accepted.iter_mut().for_each(ping);
}

fn as_many_as_asked_for_and_v5_is_told_why(shards: usize) {
    let broker = Starved::start(shards, &["--max-connections", "3"]);
    let mut seated: Vec<TcpStream> = (0..3)
        .map(|number| match broker.connect(number) {
            (client, Answer::Accepted) => client,
            (_, other) => panic!("{number}: {other:?}"),
        })
        .collect();
    assert_eq!(broker.connect(3).1, Answer::Told);

    let mut client = broker.open();
    // MQTT 5.0, clean start, Keep Alive 0, no properties, client id `v`.
    let connect = b"\x10\x0e\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x01v";
    client.write_all(connect).expect("CONNECT");
    let mut connack = Vec::new();
    client
        .read_to_end(&mut connack)
        .expect("CONNACK, then the end");
    assert_eq!((connack[0], connack[3]), (0x20, 0x97), "quota exceeded");
    let reason = String::from_utf8_lossy(&connack).into_owned();
    assert!(reason.contains("--max-connections"), "{reason}");

    // A Client that comes back finds the place it left.
    seated.pop();
    let until = Instant::now() + DEADLINE;
    while broker.connect(2).1 != Answer::Accepted {
        assert!(Instant::now() < until, "a place is free again");
        thread::sleep(Duration::from_millis(20));
    }
    seated.iter_mut().for_each(ping);
}

/// The machine takes files away while the broker runs, so that there are fewer than it reckoned with.
fn without_a_file_newcomers_wait_and_the_others_are_served(shards: usize) {
    let broker = Starved::start(shards, &[]);
    let (mut client, answer) = broker.connect(0);
    assert_eq!(answer, Answer::Accepted);
    broker.limit_files(3);
    let mut newcomer = broker.open();
    let connect = Connect {
        client_id: b"newcomer",
        ..Connect::default()
    };
    newcomer.write_all(&connect.bytes()).expect("CONNECT");
    broker.logged("no open file is left");
    ping(&mut client);
    let before = broker.ticks();
    thread::sleep(Duration::from_millis(500));
    let spent = broker.ticks() - before;
    assert!(spent < 20, "{spent} ticks in half a second");
    broker.limit_files(FILES);
    assert_eq!(answer_to(&mut newcomer), Answer::Accepted);
    ping(&mut client);
}

on_1_and_2_shards!(newcomers_are_told_and_the_others_served);

/// By epoll: an accept of io_uring goes by the limit at the time it was armed.
#[test]
fn without_a_file_newcomers_wait() {
    if io_of_all_tests().is_some_and(|io| io != "epoll") {
        return;
    }
    for shards in [1, 2] {
        by_epoll(|| without_a_file_newcomers_wait_and_the_others_are_served(shards));
    }
}
on_1_and_2_shards!(as_many_as_asked_for_and_v5_is_told_why);
