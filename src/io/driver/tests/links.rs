//! The turn loop with links that have a handshake, frames, answers of their own and a farewell ([`framed`]): what TLS
//! and WebSocket need.

use super::double::{Broker, stream};
use crate::broker::CloseCause;
use crate::ids::ListenerId;
use crate::io::driver::kernel::Kernel;
use crate::io::link::framed::{self, BAD, FAREWELL, HELLO, MASK, PING, PONG, WELCOME};
use crate::io::link::{Link, Wrapping};
use std::io::{self, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

/// What a Client has read.
#[derive(Default, PartialEq, Eq, Debug)]
struct Heard {
    plain: Vec<u8>,
    pongs: usize,
    farewells: usize,
    bad: usize,
}

/// Reads frames until so many bytes of MQTT and pongs have come, or to the end.
fn hear(client: impl Read, bytes: usize, pongs: usize) -> Heard {
    let mut client = BufReader::new(client);
    let mut heard = Heard::default();
    let mut buffer = [0; 256];
    while heard.plain.len() < bytes || heard.pongs < pongs {
        if client.read(&mut buffer[..1]).unwrap() == 0 {
            break;
        }
        match buffer[0] {
            FAREWELL => heard.farewells += 1,
            PONG => heard.pongs += 1,
            BAD => heard.bad += 1,
            frame => {
                let frame = &mut buffer[..frame.into()];
                client.read_exact(frame).unwrap();
                heard.plain.extend(frame.iter().map(|byte| byte ^ MASK));
            }
        }
    }
    heard
}

/// A Client whose handshake is done.
fn greeted(broker: &Broker) -> TcpStream {
    let mut client = broker.connect();
    for byte in HELLO {
        client.write_all(&[*byte]).unwrap();
    }
    let mut answer = [0; WELCOME.len()];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(answer, WELCOME);
    client
}

/// So many layers.
fn wrapping(framed: usize) -> Wrapping {
    Wrapping {
        framed,
        ..Wrapping::default()
    }
}

fn start<K: Kernel>(shards: usize) -> Broker {
    Broker::start_with::<K>(shards, &wrapping(1))
}

/// Sends in pieces from another thread, a PING between every two of them, and reads all of it back.
fn echoed_with_pings(mut client: &TcpStream, sent: &[u8], piece: usize) {
    let pieces = sent.chunks(piece);
    let pings = pieces.len();
    let heard = thread::scope(|scope| {
        scope.spawn(move || {
            for piece in pieces {
                let mut bytes = framed::frames(piece);
                bytes.push(PING);
                client.write_all(&bytes).unwrap();
            }
        });
        hear(client, sent.len(), pings)
    });
    assert!(heard.plain == sent);
    assert_eq!((heard.pongs, heard.farewells, heard.bad), (pings, 0, 0));
}

fn a_stream_in_frames_is_echoed_whole<K: Kernel>() {
    let broker = start::<K>(1);
    for (bytes, piece) in [(5_000, 1), (100_000, 333), (3_000_000, 100_000)] {
        let client = greeted(&broker);
        echoed_with_pings(&client, &stream(b'E', bytes), piece);
    }
    broker.stop();
}

/// What the link has sent before, and what it has half received, goes along.
fn a_link_is_handed_over_with_its_state<K: Kernel>() {
    let broker = start::<K>(2);
    for _ in 0..30 {
        let client = greeted(&broker);
        echoed_with_pings(&client, &stream(b'1', 20_000), 7);
    }
    for _ in 0..20 {
        let mut client = greeted(&broker);
        broker.seen.lock().unwrap().clear();
        client.write_all(&framed::frames(b"M")).unwrap();
        broker.wait_for("0:one byte read");
        echoed_with_pings(&client, &stream(b'M', 100_000), 1000);
    }
    broker.stop();
}

fn a_farewell_follows_the_last_bytes<K: Kernel>() {
    let broker = start::<K>(1);
    for (wish, bytes) in [(b'Q', 3), (b'D', 0), (b'b', 3 << 19)] {
        let mut client = greeted(&broker);
        client.write_all(&framed::frames(&[wish])).unwrap();
        // All of it at once: what a slow Client has not read when the broker's patience ends is lost.
        let mut sealed = Vec::new();
        client.read_to_end(&mut sealed).unwrap();
        let heard = hear(&*sealed, usize::MAX, 0);
        assert_eq!(heard.plain.len(), bytes, "{}", wish as char);
        assert_eq!((heard.farewells, heard.bad), (1, 0), "{}", wish as char);
    }
    broker.stop();
}

fn a_farewell_of_the_client_ends_the_connection<K: Kernel>() {
    for (shards, wish) in [(1, b'E'), (2, b'1')] {
        let broker = start::<K>(shards);
        let mut client = greeted(&broker);
        let mut bytes = framed::frames(&[wish]);
        bytes.push(FAREWELL);
        client.write_all(&bytes).unwrap();
        // It does not close its side: the broker does.
        let heard = hear(&client, usize::MAX, 0);
        assert_eq!((heard.plain, heard.farewells), (vec![wish], 1));
        broker.wait_for(&format!("{}:closed PeerClosed", shards - 1));
        broker.stop();
    }
}

fn a_broken_link_is_told_with_its_reason<K: Kernel>() {
    let broker = start::<K>(1);
    let mut client = broker.connect();
    client.write_all(b"HELP").unwrap();
    assert_eq!(hear(&client, usize::MAX, 0).bad, 1);
    let cause = CloseCause::Transport("it did not say HELLO");
    broker.wait_for(&format!("0:closed {cause:?}"));

    let mut client = greeted(&broker);
    let mut bytes = framed::frames(b"E");
    bytes.push(BAD);
    client.write_all(&bytes).unwrap();
    let heard = hear(&client, usize::MAX, 0);
    assert_eq!((heard.bad, heard.farewells), (1, 0));
    let cause = CloseCause::Transport("a frame of 255 bytes");
    broker.wait_for(&format!("0:closed {cause:?}"));
    broker.stop();
}

fn a_broker_that_stops_says_farewell<K: Kernel>() {
    let broker = start::<K>(2);
    let client = greeted(&broker);
    echoed_with_pings(&client, b"E", 1);
    let silent = broker.connect();
    let reader = thread::spawn(move || hear(&client, usize::MAX, 0).farewells);
    broker.stop();
    assert_eq!(reader.join().unwrap(), 1);
    assert_eq!(hear(&silent, 1, 0), Heard::default(), "it was not greeted");
}

/// What is inside the frames of an outer layer.
struct Inside<'a> {
    client: &'a TcpStream,
    /// Bytes of the present frame that were not read.
    left: usize,
    pongs: usize,
    farewells: usize,
}

impl Read for Inside<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut byte = [0];
        while self.left == 0 {
            if self.client.read(&mut byte)? == 0 {
                return Ok(0);
            }
            match byte[0] {
                FAREWELL => self.farewells += 1,
                PONG => self.pongs += 1,
                frame => {
                    assert_eq!(self.farewells, 0, "nothing follows a farewell");
                    self.left = frame.into();
                }
            }
        }
        let most = self.left.min(buffer.len());
        let bytes = self.client.read(&mut buffer[..most])?;
        buffer[..bytes].iter_mut().for_each(|byte| *byte ^= MASK);
        self.left -= bytes;
        Ok(bytes)
    }
}

fn a_layer_lies_inside_another<K: Kernel>() {
    for (shards, wish) in [(1, b'E'), (2, b'1')] {
        let broker = Broker::start_with::<K>(shards, &wrapping(2));
        let mut client = greeted(&broker);
        let sent = stream(wish, 30_000);
        let (mut writer, reader) = (client.try_clone().unwrap(), client.try_clone().unwrap());
        let mut inside = Inside {
            client: &reader,
            left: 0,
            pongs: 0,
            farewells: 0,
        };
        client.write_all(&framed::frames(HELLO)).unwrap();
        let mut answer = [0; WELCOME.len()];
        inside.read_exact(&mut answer).unwrap();
        assert_eq!(answer, WELCOME);
        let pieces = sent.chunks(97);
        let pings = pieces.len();
        let bytes = sent.len();
        let heard = thread::scope(|scope| {
            scope.spawn(move || {
                for piece in pieces {
                    let mut inner = framed::frames(piece);
                    inner.push(PING);
                    let mut outer = vec![PING];
                    outer.extend(framed::frames(&inner));
                    writer.write_all(&outer).unwrap();
                }
            });
            hear(&mut inside, bytes, pings)
        });
        assert!(heard.plain == sent);
        assert_eq!((heard.pongs, inside.pongs), (pings, pings));
        // The inner farewell ends the connection: it is answered by both, the inner one first.
        client.write_all(&framed::frames(&[FAREWELL])).unwrap();
        let heard = hear(&mut inside, usize::MAX, 0);
        assert_eq!((heard.plain, heard.farewells, heard.bad), (vec![], 1, 0));
        assert_eq!(inside.farewells, 1);
        broker.wait_for(&format!("{}:closed PeerClosed", shards - 1));
        broker.stop();
    }
}

/// An idle connection of TLS, say, wakes no shard.
#[test]
fn links_are_looked_at_only_where_a_layer_wants_it() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let wants_checks = |wrapping: &Wrapping| {
        let socket = TcpStream::connect(address).unwrap().into();
        Link::new(socket, address, ListenerId(0), wrapping).wants_checks()
    };
    assert!(!wants_checks(&wrapping(0)) && !wants_checks(&wrapping(1)));
    let inside = Wrapping {
        websocket: Some(Arc::default()),
        ..wrapping(1)
    };
    assert!(wants_checks(&inside));
}

under_each_driver!(
    a_stream_in_frames_is_echoed_whole,
    a_link_is_handed_over_with_its_state,
    a_farewell_follows_the_last_bytes,
    a_farewell_of_the_client_ends_the_connection,
    a_broken_link_is_told_with_its_reason,
    a_broker_that_stops_says_farewell,
    a_layer_lies_inside_another,
);
