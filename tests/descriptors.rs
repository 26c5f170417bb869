//! What happens when the limit of open files is reached: Clients that are connected are served on, newcomers are turned away and
//! told by a closed connection, the log says why, the broker rests meanwhile, and all is well when descriptors are free again.
//!
//! Case 58 of the threats, its part about descriptors.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};
use support::{Connect, DEADLINE};

/// Descriptors of the broker; its own take some of them.
const FILES: usize = 64;

struct Starved {
    broker: Child,
    lines: Receiver<String>,
    port: u16,
}

impl Starved {
    fn start(shards: usize) -> Starved {
        let script = format!("ulimit -n {FILES} && exec \"$0\" \"$@\"");
        let mut broker = Command::new("sh")
            .args(["-c", &script, env!("CARGO_BIN_EXE_mqttfast")])
            .args(["--port", "0", "--bind", "127.0.0.1"])
            .args(["--shards", &shards.to_string()])
            .args(support::broker::io_arguments())
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

    /// A connection on which CONNECT was sent, and whether CONNACK came (else it was closed).
    fn connect(&self, number: usize) -> (TcpStream, bool) {
        let mut client = TcpStream::connect(("127.0.0.1", self.port)).expect("the backlog is long");
        client.set_read_timeout(Some(DEADLINE)).expect("a time-out");
        let client_id = format!("c{number}");
        let connect = Connect {
            client_id: client_id.as_bytes(),
            ..Connect::default()
        };
        // Turned away already: an error here is an answer too.
        let _ = client.write_all(&connect.bytes());
        let mut answer = [0; 4];
        let accepted = client.read_exact(&mut answer).is_ok();
        assert!(!accepted || answer == [0x20, 2, 0, 0], "{answer:02x?}");
        (client, accepted)
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

fn newcomers_are_turned_away_and_the_others_served(shards: usize) {
    let broker = Starved::start(shards);
    let (mut accepted, mut refused) = (Vec::new(), 0);
    for number in 0..FILES + 10 {
        match broker.connect(number) {
            (client, true) => accepted.push(client),
            (_, false) => refused += 1,
        }
    }
    assert!(refused >= 10, "{refused}");
    assert!(accepted.len() >= 10, "{}", accepted.len());
    broker.logged("open files");
    accepted.iter_mut().for_each(ping);

    // It waits, it does not spin.
    let before = broker.ticks();
    thread::sleep(Duration::from_millis(500));
    let spent = broker.ticks() - before;
    assert!(spent < 20, "{spent} ticks in half a second");

    accepted.truncate(5);
    let until = Instant::now() + DEADLINE;
    while !broker.connect(1000).1 {
        assert!(Instant::now() < until, "descriptors are free again");
        thread::sleep(Duration::from_millis(20));
    }
    accepted.iter_mut().for_each(ping);
}

on_1_and_2_shards!(newcomers_are_turned_away_and_the_others_served);
