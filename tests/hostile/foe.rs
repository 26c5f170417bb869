//! A client that means harm: accepted, of one user, and free to read or not.

use crate::support::packet::packet;
use crate::support::packet5::{self, CLEAN_START, SESSION_EXPIRY_INTERVAL};
use crate::support::{Broker, Client};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

/// The user of the foes of nearly all cases: what they hold together is one owner's.
pub const USER: &str = "mallory";
/// The password of every user of a case.
pub const PASSWORD: &str = "secret";
/// The address of all foes: shares of memory are by address where user names are not checked.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 66);
/// How long a foe waits before it looks whether its time is over.
const PATIENCE: Duration = Duration::from_millis(20);

/// Connect Flags of a user name and a password.
pub const WITH_USER: u8 = 0xC0;

/// Appends the user name and the password of a foe to a CONNECT.
pub fn append_user(out: &mut Vec<u8>) {
    for text in [USER, PASSWORD] {
        crate::support::packet::string(out, text.as_bytes());
    }
}

/// One connection of MQTT 5.0.
pub struct Foe {
    stream: TcpStream,
    until: Instant,
}

impl Foe {
    /// An accepted client with a clean start; `None` if the broker has no room for it.
    pub fn connect(broker: &Broker, client_id: &str, until: Instant) -> Option<Foe> {
        Foe::connect_with(broker, client_id, CLEAN_START, &[], until)
    }

    /// One whose session stays for an hour.
    pub fn persistent(broker: &Broker, client_id: &str, until: Instant) -> Option<Foe> {
        let mut block = vec![SESSION_EXPIRY_INTERVAL];
        block.extend(3600_u32.to_be_bytes());
        Foe::connect_with(broker, client_id, 0, &block, until)
    }

    /// One with these Connect Flags and Properties.
    pub fn connect_with(
        broker: &Broker,
        client_id: &str,
        flags: u8,
        block: &[u8],
        until: Instant,
    ) -> Option<Foe> {
        let mut rest = Vec::new();
        append_user(&mut rest);
        let connect = packet5::connect(flags | WITH_USER, 0, block, client_id.as_bytes(), &rest);
        Foe::send_connect(broker, &connect, until)
    }

    /// One without a user name, which shares what its address may have.
    pub fn nameless(broker: &Broker, client_id: &str, until: Instant) -> Option<Foe> {
        let connect = packet5::connect(CLEAN_START, 0, &[], client_id.as_bytes(), &[]);
        Foe::send_connect(broker, &connect, until)
    }

    /// One with this CONNECT.
    pub fn send_connect(broker: &Broker, connect: &[u8], until: Instant) -> Option<Foe> {
        let mut client = Client::open_from(broker, ADDRESS);
        client.try_send(connect);
        let answer = client.answer(Duration::from_secs(10));
        let crate::support::Answer::Packet(answer) = answer else {
            return None;
        };
        if answer[0] != 0x20 || answer[3] != 0 {
            return None;
        }
        let stream = client.stream();
        stream
            .set_write_timeout(Some(PATIENCE))
            .expect("a deadline");
        stream.set_read_timeout(Some(PATIENCE)).expect("a deadline");
        Some(Foe { stream, until })
    }

    /// The time is over.
    pub fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }

    /// Sends all of it, unless the time is over before or the broker closes. Says whether all of it left.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        let mut rest = bytes;
        while !rest.is_empty() && !self.is_over() {
            match self.stream.write(rest) {
                Ok(0) => return false,
                Ok(len) => rest = &rest[len..],
                Err(error) if is_timeout(&error) => {}
                Err(_) => return false,
            }
        }
        rest.is_empty()
    }

    /// Sends what the broker takes at once.
    pub fn try_once(&mut self, bytes: &[u8]) {
        let _ = self.stream.write(bytes);
    }

    /// From here on a read gives what is there, and waits for nothing.
    pub fn do_not_wait(&self) {
        self.stream
            .set_nonblocking(true)
            .expect("a socket that does not block");
    }

    /// Sends a block again and again until the time is over, reading nothing.
    pub fn flood(&mut self, bytes: &[u8]) {
        while !self.is_over() && self.send(bytes) {}
    }

    /// The same, reading and forgetting what comes.
    pub fn flood_and_read(&mut self, bytes: &[u8]) {
        let Ok(reading) = self.stream.try_clone() else {
            return;
        };
        std::thread::scope(|scope| {
            let mut reader = Foe {
                stream: reading,
                until: self.until,
            };
            scope.spawn(move || reader.read_on());
            self.flood(bytes);
        });
    }

    /// Reads and forgets until the time is over or the broker closes.
    pub fn read_on(&mut self) {
        let mut block = vec![0; 64 * 1024];
        while !self.is_over() && self.read_some(&mut block).is_some() {}
    }

    /// What is there, 0 bytes if there is nothing for a moment; `None` at the end.
    pub fn read_some(&mut self, block: &mut [u8]) -> Option<usize> {
        match self.stream.read(block) {
            Ok(0) => None,
            Ok(len) => Some(len),
            Err(error) if is_timeout(&error) => Some(0),
            Err(_) => None,
        }
    }

    /// Waits for `wanted` bytes of answers, unless the time is over before.
    pub fn take(&mut self, wanted: usize) -> bool {
        let mut block = vec![0; 64 * 1024];
        let mut left = wanted;
        while left > 0 && !self.is_over() {
            let most = left.min(block.len());
            match self.read_some(&mut block[..most]) {
                Some(len) => left -= len,
                None => return false,
            }
        }
        left == 0
    }

    /// Subscribes and waits for SUBACK.
    pub fn subscribe(&mut self, filter: &[u8], options: u8, identifier: Option<u32>) -> bool {
        let mut block = Vec::new();
        if let Some(identifier) = identifier {
            block.push(0x0B);
            variable(&mut block, identifier);
        }
        self.send(&packet5::subscribe(1, &block, filter, options)) && self.take(6)
    }

    /// Does nothing until the time is over.
    pub fn wait(&self) {
        while !self.is_over() {
            std::thread::sleep(PATIENCE);
        }
    }
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
    )
}

/// Appends a Variable Byte Integer.
fn variable(out: &mut Vec<u8>, mut value: u32) {
    loop {
        let byte = (value % 128) as u8;
        value /= 128;
        out.push(if value > 0 { byte | 0x80 } else { byte });
        if value == 0 {
            return;
        }
    }
}

/// A SUBSCRIBE of MQTT 5.0 with many filters of QoS `qos`.
pub fn subscribe_all<'a>(filters: impl Iterator<Item = &'a [u8]>, qos: u8) -> Vec<u8> {
    let mut body = vec![0, 1, 0];
    for filter in filters {
        crate::support::packet::string(&mut body, filter);
        body.push(qos);
    }
    packet(0x82, &body)
}

/// A PUBLISH by Topic Alias 1; with a name it sets the alias.
pub fn by_alias(name: &[u8], payload: &[u8]) -> Vec<u8> {
    packet5::publish(name, payload, 0, 0, &[packet5::TOPIC_ALIAS, 0, 1])
}

/// A PUBLISH of MQTT 5.0 at QoS 0 that is retained, or deletes what is.
pub fn retained(topic: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut bytes = packet5::publish(topic, payload, 0, 0, &[]);
    bytes[0] |= 1;
    bytes
}

/// A topic of `len` bytes.
pub fn long_topic(len: usize) -> Vec<u8> {
    vec![b't'; len]
}
