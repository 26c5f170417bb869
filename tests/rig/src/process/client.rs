//! A raw MQTT client over one TCP connection. It sends what it is told, right or wrong, and every wait has a deadline.

use super::packet::{self, Connect, Published};
use super::{Broker, DEADLINE};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// One Network Connection.
pub struct Client {
    stream: TcpStream,
    /// Received bytes that are no whole packet yet.
    received: Vec<u8>,
    next_packet_id: u16,
}

/// What came from the broker within a time.
#[derive(PartialEq, Eq, Debug)]
pub enum Answer {
    /// One whole packet.
    Packet(Vec<u8>),
    /// The end of the stream, or a reset.
    Closed,
    Silence,
}

impl Client {
    /// Opens a connection and sends nothing.
    pub fn open(broker: &Broker) -> Client {
        Client::to(broker.address())
    }

    fn to(address: SocketAddr) -> Client {
        Client::of(TcpStream::connect_timeout(&address, DEADLINE).expect("connect to the broker"))
    }

    /// The same from another address of loopback.
    pub fn open_from(broker: &Broker, source: Ipv4Addr) -> Client {
        use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, SockaddrIn};
        let kind = SockType::Stream;
        let socket = socket::socket(AddressFamily::Inet, kind, SockFlag::SOCK_CLOEXEC, None);
        let socket = socket.expect("a socket");
        let source = SockaddrIn::from(SocketAddrV4::new(source, 0));
        socket::bind(socket.as_raw_fd(), &source).expect("an address of loopback");
        let SocketAddr::V4(address) = broker.address() else {
            panic!("the broker listens on IPv4");
        };
        socket::connect(socket.as_raw_fd(), &SockaddrIn::from(address)).expect("connect");
        Client::of(TcpStream::from(socket))
    }

    fn of(stream: TcpStream) -> Client {
        stream.set_nodelay(true).expect("set TCP_NODELAY");
        stream
            .set_write_timeout(Some(DEADLINE))
            .expect("set a deadline");
        Client {
            stream,
            received: Vec::new(),
            next_packet_id: 0,
        }
    }

    /// Connects to another port of 127.0.0.1 than that of a broker, and is accepted.
    pub fn connect_at(port: u16, connect: &Connect<'_>) -> Client {
        let mut client = Client::to(SocketAddr::from(([127, 0, 0, 1], port)));
        client.send(&connect.bytes());
        assert_eq!(client.packet(), [0x20, 2, 0, 0]);
        client
    }

    /// An anonymous 3.1.1 client with a clean session, accepted.
    pub fn connect(broker: &Broker, client_id: &str) -> Client {
        let connect = Connect {
            client_id: client_id.as_bytes(),
            ..Connect::default()
        };
        Client::connect_with(broker, &connect).0
    }

    /// Sends this CONNECT and expects acceptance; returns Session Present too.
    pub fn connect_with(broker: &Broker, connect: &Connect<'_>) -> (Client, bool) {
        let mut client = Client::open(broker);
        client.send(&connect.bytes());
        let answer = client.packet();
        assert!(
            matches!(answer[..], [0x20, 2, 0 | 1, 0]),
            "CONNACK of acceptance expected by {:?}, not {answer:02x?}",
            String::from_utf8_lossy(connect.client_id)
        );
        (client, answer[2] == 1)
    }

    /// The same with a broker that may end meanwhile: `None`.
    pub fn try_connect_with(broker: &Broker, connect: &Connect<'_>) -> Option<(Client, bool)> {
        let stream = TcpStream::connect_timeout(&broker.address(), DEADLINE).ok()?;
        let mut client = Client::of(stream);
        if !client.try_send(&connect.bytes()) {
            return None;
        }
        match client.answer(DEADLINE) {
            Answer::Packet(answer) => {
                assert!(matches!(answer[..], [0x20, 2, 0 | 1, 0]), "{answer:02x?}");
                Some((client, answer[2] == 1))
            }
            Answer::Closed => None,
            Answer::Silence => panic!("no CONNACK"),
        }
    }

    pub fn local_address(&self) -> SocketAddr {
        self.stream.local_addr().expect("own address")
    }

    /// Sends all of `bytes`. Panics if the broker does not take them.
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("send to the broker");
    }

    /// Sends `bytes` as far as the broker takes them: it may close meanwhile. Says whether all of them left.
    pub fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Sends one byte a segment, `pause` between them.
    pub fn dribble(&mut self, bytes: &[u8], pause: Duration) {
        for byte in bytes {
            self.send(&[*byte]);
            std::thread::sleep(pause);
        }
    }

    /// The next packet, the close, or silence for `within`.
    pub fn answer(&mut self, within: Duration) -> Answer {
        let end = Instant::now() + within;
        loop {
            if let Some(len) = packet::packet_len(&self.received)
                && len <= self.received.len()
            {
                return Answer::Packet(self.received.drain(..len).collect());
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Answer::Silence;
            }
            self.stream
                .set_read_timeout(Some(left))
                .expect("set a deadline");
            let mut block = [0; 16 * 1024];
            match self.stream.read(&mut block) {
                Ok(0) => return Answer::Closed,
                Ok(len) => self.received.extend(&block[..len]),
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    return Answer::Silence;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Answer::Closed,
            }
        }
    }

    /// The next packet; panics at the deadline or the close.
    #[track_caller]
    pub fn packet(&mut self) -> Vec<u8> {
        match self.answer(DEADLINE) {
            Answer::Packet(packet) => packet,
            other => panic!("a packet expected, not {other:?}"),
        }
    }

    /// Expects exactly this packet.
    #[track_caller]
    pub fn expect_packet(&mut self, wanted: &[u8]) {
        let answer = self.answer(DEADLINE);
        assert_eq!(answer, Answer::Packet(wanted.to_vec()));
    }

    /// Expects the broker to close, without another packet, within `DEADLINE`.
    #[track_caller]
    pub fn expect_close(&mut self) {
        self.expect_close_within(DEADLINE);
    }

    #[track_caller]
    pub fn expect_close_within(&mut self, within: Duration) {
        let answer = self.answer(within);
        assert_eq!(answer, Answer::Closed, "a close within {within:?}");
    }

    /// Reads and forgets packets until the broker closes, within `DEADLINE`.
    #[track_caller]
    pub fn expect_end(&mut self) {
        let end = Instant::now() + DEADLINE;
        loop {
            match self.answer(end.saturating_duration_since(Instant::now())) {
                Answer::Packet(_) => {}
                Answer::Closed => return,
                Answer::Silence => panic!("the broker did not close within {DEADLINE:?}"),
            }
        }
    }

    #[track_caller]
    pub fn expect_silence(&mut self, during: Duration) {
        let answer = self.answer(during);
        assert_eq!(answer, Answer::Silence, "silence during {during:?}");
    }

    /// Proves that the connection lives and that the broker has handled all that was sent before: PINGREQ, PINGRESP.
    #[track_caller]
    pub fn expect_alive(&mut self) {
        self.send(&packet::PINGREQ);
        self.expect_packet(&packet::PINGRESP);
    }

    /// A packet id not used before by this client.
    pub fn packet_id(&mut self) -> u16 {
        self.next_packet_id = self.next_packet_id.wrapping_add(1).max(1);
        self.next_packet_id
    }

    /// Subscribes and waits for SUBACK with the same QoS. A message may come before it [MQTT 3.8.4]; it stays to be
    /// received.
    #[track_caller]
    pub fn subscribe(&mut self, filter: &str, qos: u8) {
        let id = self.packet_id();
        self.send(&packet::subscribe(id, &[(filter.as_bytes(), qos)]));
        let [high, low] = id.to_be_bytes();
        let mut early = Vec::new();
        let answer = loop {
            let packet = self.packet();
            if packet[0] >> 4 != 3 {
                break packet;
            }
            early.extend(packet);
        };
        assert_eq!(answer, [0x90, 3, high, low, qos], "SUBACK");
        early.append(&mut self.received);
        self.received = early;
    }

    /// Publishes and completes the handshake of its QoS; nothing else may arrive meanwhile.
    #[track_caller]
    pub fn publish(&mut self, topic: &str, payload: &[u8], qos: u8, retain: bool) {
        let id = if qos > 0 { self.packet_id() } else { 0 };
        self.send(&packet::publish(topic.as_bytes(), payload, qos, id, retain));
        match qos {
            0 => {}
            1 => self.expect_packet(&packet::acknowledgement(packet::PUBACK, id)),
            _ => {
                self.expect_packet(&packet::acknowledgement(packet::PUBREC, id));
                self.send(&packet::acknowledgement(packet::PUBREL, id));
                self.expect_packet(&packet::acknowledgement(packet::PUBCOMP, id));
            }
        }
    }

    /// The next message, acknowledged as its QoS asks.
    #[track_caller]
    pub fn receive(&mut self) -> Published {
        let bytes = self.packet();
        let message = Published::read(&bytes)
            .unwrap_or_else(|| panic!("a PUBLISH expected, not {bytes:02x?}"));
        let id = message.packet_id;
        match message.qos {
            0 => {}
            1 => self.send(&packet::acknowledgement(packet::PUBACK, id)),
            _ => {
                self.send(&packet::acknowledgement(packet::PUBREC, id));
                self.expect_packet(&packet::acknowledgement(packet::PUBREL, id));
                self.send(&packet::acknowledgement(packet::PUBCOMP, id));
            }
        }
        message
    }

    /// Expects a message of this topic, payload and QoS next.
    #[track_caller]
    pub fn expect_message(&mut self, topic: &str, payload: &[u8], qos: u8) {
        let message = self.receive();
        assert_eq!(
            (message.topic.as_str(), &message.payload[..], message.qos),
            (topic, payload, qos)
        );
    }

    /// DISCONNECT, then the broker's close.
    #[track_caller]
    pub fn disconnect(mut self) {
        self.send(&packet::DISCONNECT);
        self.expect_close();
    }

    /// Ends the sending side: the broker sees the end of the stream and no DISCONNECT.
    pub fn half_close(&self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// A second handle to the same connection, for reading in another thread.
    pub fn stream(&self) -> TcpStream {
        self.stream.try_clone().expect("a second handle")
    }
}
