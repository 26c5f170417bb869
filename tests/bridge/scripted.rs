//! The program as a bridge to another broker that a test plays, packet by packet.

use super::live::{Broker, DEADLINE, Kind};
use mqttfast::wire::{next_frame, packet_type};
use mqttfast_rig::process::free_port;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// The other broker, as a test likes it.
struct Remote(TcpListener);

/// A connection of a bridge to it.
struct FromBridge {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Remote {
    fn listen() -> Remote {
        Remote(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    fn port(&self) -> u16 {
        self.0.local_addr().unwrap().port()
    }

    fn accept(&self) -> FromBridge {
        let (stream, _) = self.0.accept().unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        FromBridge {
            stream,
            received: Vec::new(),
        }
    }
}

impl FromBridge {
    fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Accepts the bridge, whose Session is there or not; the Packet Identifier of its SUBSCRIBE.
    fn log_in(&mut self, session_present: bool) -> [u8; 2] {
        self.expect(packet_type::CONNECT);
        self.send(&[0x20, 2, u8::from(session_present), 0]);
        self.expect(packet_type::SUBSCRIBE)
    }

    /// Grants the one filter of that SUBSCRIBE.
    fn grant(&mut self, id: [u8; 2], qos: u8) {
        self.send(&[0x90, 3, id[0], id[1], qos]);
    }

    /// The next packet, which is of this type: the first two bytes behind its Fixed Header, mostly a Packet Identifier.
    fn expect(&mut self, wanted: u8) -> [u8; 2] {
        loop {
            if let Some(frame) = next_frame(&self.received, 1 << 20).unwrap() {
                assert_eq!(frame.packet_type(), wanted);
                let count = frame.bytes.len();
                let head = self.received[2..count].first_chunk().copied();
                self.received.drain(..count);
                return head.unwrap_or_default();
            }
            let mut buffer = [0; 65_536];
            let count = self.stream.read(&mut buffer).expect("the bridge goes on");
            assert!(count > 0, "the bridge has closed");
            self.received.extend_from_slice(&buffer[..count]);
        }
    }
}

/// Remotes that cannot be reached, say nothing, or fall silent: clients here do not feel it.
#[test]
fn a_remote_that_is_not_there_holds_nobody_up() {
    let (silent, half_open) = (Remote::listen(), Remote::listen());
    let mut edge = Broker::new(Kind::Mqttfast);
    let lines = "topic # both 1\nrestart_timeout 1\nnotifications false\n";
    edge.start(&format!(
        "connection nowhere\naddress no-such-host.invalid\n{lines}connection refused\naddress 127.0.0.1:{}\n{lines}\
         connection silent\naddress 127.0.0.1:{}\n{lines}connection half\naddress 127.0.0.1:{}\n{lines}",
        free_port(),
        silent.port(),
        half_open.port()
    ));
    let mut link = half_open.accept();
    let id = link.log_in(false);
    link.grant(id, 1);
    edge.waits_for(
        "bridge nowhere: is not connected: no-such-host.invalid:1883 cannot be looked up",
    );
    edge.waits_for("bridge refused: is not connected: no connection to");
    edge.waits_for("bridge silent: connects to");
    edge.waits_for("bridge half: is connected to");
    let mut client = edge.client("client");
    client.subscribe("x", 1);
    // From here on nobody reads what goes over the one that is connected.
    let payload = vec![b'x'; 10_000];
    let mut p99 = Vec::new();
    for _ in 0..4 {
        let mut times = Vec::new();
        for _ in 0..200 {
            let begun = Instant::now();
            client.publish("x", &payload, 0, false);
            client.receive();
            times.push(begun.elapsed());
            std::thread::sleep(Duration::from_millis(3));
        }
        times.sort_unstable();
        p99.push(times[197]);
    }
    eprintln!("p99 of 200 messages each: {p99:?}");
    // The best of them: other programs run on this machine as well.
    let best = p99.iter().min().unwrap();
    assert!(*best < Duration::from_millis(20), "{p99:?}");
}

/// The other broker comes back from an older snapshot of its store, or by 3.1 with nothing at all, and has the Session
/// nevertheless. It uses a Packet Identifier again whose message was never released.
#[test]
fn a_broker_that_has_forgotten_its_last_messages_loses_no_new_one() {
    for (version, session_present) in [("mqttv31", false), ("mqttv311", true)] {
        let mut edge = Broker::new(Kind::Mqttfast);
        let remote = Remote::listen();
        edge.start(&format!(
            "connection edge\naddress 127.0.0.1:{}\ntopic t in 2\nnotifications false\nrestart_timeout 1\n\
             bridge_protocol_version {version}\n",
            remote.port()
        ));
        let mut here = edge.client("here");
        here.subscribe("t", 1);
        let message = |dup: u8, payload: u8| [0x34 | dup << 3, 6, 0, 1, b't', 0, 7, payload];
        for (dup, payload, is_new) in [(0, b'1', true), (1, b'1', false), (0, b'2', true)] {
            let mut link = remote.accept();
            let id = link.log_in(session_present);
            link.grant(id, 2);
            link.send(&message(dup, payload));
            assert_eq!(link.expect(packet_type::PUBREC), [0, 7]);
            match is_new {
                true => assert_eq!(here.receive().payload, [payload], "{version}"),
                false => here.expect_silence(Duration::from_millis(100)),
            }
        }
    }
}

/// A broker of before v5 knows no Receive Maximum: it may send any number of QoS 2 messages before it releases one.
#[test]
fn a_broker_may_release_many_messages_at_last() {
    const COUNT: u16 = 2_500;
    let mut edge = Broker::new(Kind::Mqttfast);
    let remote = Remote::listen();
    let lines = "topic # in 2\nnotifications false\n";
    edge.start(&format!(
        "connection edge\naddress 127.0.0.1:{}\n{lines}",
        remote.port()
    ));
    let mut here = edge.client("here");
    here.subscribe("t", 1);
    let mut link = remote.accept();
    let id = link.log_in(false);
    let ids = (1..=COUNT).map(u16::to_be_bytes);
    let messages = ids
        .clone()
        .flat_map(|[high, low]| [0x34, 6, 0, 1, b't', high, low, b'x']);
    link.send(&messages.collect::<Vec<u8>>());
    link.grant(id, 2);
    for id in ids.clone() {
        assert_eq!(link.expect(packet_type::PUBREC), id);
    }
    link.send(
        &ids.clone()
            .flat_map(|[high, low]| [0x62, 2, high, low])
            .collect::<Vec<u8>>(),
    );
    for id in ids {
        assert_eq!(link.expect(packet_type::PUBCOMP), id);
    }
    for _ in 0..COUNT {
        here.receive();
    }
    here.expect_silence(Duration::from_millis(100));
}

/// `bridge_bind_address` and `keepalive_interval`: where the connection comes from, and how long silence lasts.
#[test]
fn the_connection_is_made_and_watched_as_the_lines_say() {
    let mut edge = Broker::new(Kind::Mqttfast);
    let remote = Remote::listen();
    edge.start(&format!(
        "connection edge\naddress 127.0.0.1:{}\ntopic a in\nnotifications false\nrestart_timeout 1\n\
         bridge_bind_address 127.0.0.7\nkeepalive_interval 5\n",
        remote.port()
    ));
    let mut link = remote.accept();
    assert_eq!(
        link.stream.peer_addr().unwrap().ip().to_string(),
        "127.0.0.7"
    );
    let id = link.log_in(false);
    link.grant(id, 0);
    let begun = Instant::now();
    link.expect(packet_type::PINGREQ);
    assert!((4..7).contains(&begun.elapsed().as_secs()), "{begun:?}");
    link.send(&[0xD0, 0]);
    link.expect(packet_type::PINGREQ);
    // This one has no answer.
    edge.waits_for("the other broker is silent: it did not answer PINGREQ");
    assert!((14..18).contains(&begun.elapsed().as_secs()), "{begun:?}");
    let mut again = remote.accept();
    again.expect(packet_type::CONNECT);
}
