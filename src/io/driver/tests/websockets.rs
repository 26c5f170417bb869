//! The turn loop with WebSockets and with PROXY headers. The peer is another implementation of WebSocket.

use super::double::{Broker, stream};
use crate::config::{ProxyTerms, ProxyVersion};
use crate::io::driver::kernel::Kernel;
use crate::io::link::Wrapping;
use std::io::{BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use tungstenite::client::IntoClientRequest;
use tungstenite::protocol::CloseFrame;
use tungstenite::{Message, WebSocket};

type Client = WebSocket<TcpStream>;

fn wrapping() -> Wrapping {
    Wrapping {
        websocket: Some(Arc::default()),
        ..Wrapping::default()
    }
}

fn start<K: Kernel>(shards: usize) -> Broker {
    Broker::start_with::<K>(shards, &wrapping())
}

/// Opens a WebSocket over a connection.
fn open(socket: TcpStream) -> Client {
    let mut request = "ws://broker/mqtt".into_client_request().unwrap();
    let headers = request.headers_mut();
    headers.insert("Sec-WebSocket-Protocol", "mqtt".parse().unwrap());
    let (client, answer) = tungstenite::client(request, socket).unwrap();
    assert_eq!(answer.headers()["Sec-WebSocket-Protocol"], "mqtt");
    client
}

/// What a Client has read.
#[derive(Default, Debug)]
struct Heard {
    plain: Vec<u8>,
    pongs: usize,
    pings: usize,
    close: Option<CloseFrame>,
}

/// Reads until so many bytes and pongs have come, or to the end.
fn hear(client: &mut Client, bytes: usize, pongs: usize) -> Heard {
    let mut heard = Heard::default();
    while heard.plain.len() < bytes || heard.pongs < pongs {
        match client.read() {
            Ok(Message::Binary(payload)) => heard.plain.extend_from_slice(&payload),
            Ok(Message::Pong(_)) => heard.pongs += 1,
            Ok(Message::Ping(_)) => heard.pings += 1,
            Ok(Message::Close(frame)) => heard.close = frame,
            Ok(other) => panic!("{other:?}"),
            Err(tungstenite::Error::ConnectionClosed) => break,
            // A broken frame was still under way to the broker.
            Err(tungstenite::Error::Io(error)) if error.kind() == ErrorKind::ConnectionReset => {
                break;
            }
            Err(error) => panic!("{error}"),
        }
    }
    heard
}

/// Reads frames until so many bytes of MQTT have come. Pings are not answered, as another thread sends meanwhile.
fn read_frames(socket: &TcpStream, bytes: usize) -> Vec<u8> {
    let mut socket = BufReader::new(socket);
    let mut back = Vec::new();
    while back.len() < bytes {
        let mut head = [0; 2];
        socket.read_exact(&mut head).unwrap();
        let length = match head[1] {
            126 => {
                let mut length = [0; 2];
                socket.read_exact(&mut length).unwrap();
                u16::from_be_bytes(length).into()
            }
            127 => {
                let mut length = [0; 8];
                socket.read_exact(&mut length).unwrap();
                u64::from_be_bytes(length) as usize
            }
            length => length.into(),
        };
        let mut payload = vec![0; length];
        socket.read_exact(&mut payload).unwrap();
        match head[0] {
            0x82 => back.extend(payload),
            0x89 => {}
            other => panic!("a frame that begins with {other:#x}"),
        }
    }
    back
}

/// Sends in messages from another thread and reads all of it back.
fn echoed(client: &mut Client, sent: &[u8], piece: usize) -> Vec<u8> {
    let socket = client.get_ref().try_clone().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            for piece in sent.chunks(piece) {
                client.send(Message::binary(piece.to_vec())).unwrap();
            }
        });
        read_frames(&socket, sent.len())
    })
}

fn a_stream_in_frames_is_echoed_whole<K: Kernel>() {
    let broker = start::<K>(1);
    for (bytes, piece) in [(5_000, 1), (100_000, 333), (3_000_000, 100_000)] {
        let mut client = open(broker.connect());
        let sent = stream(b'E', bytes);
        assert!(echoed(&mut client, &sent, piece) == sent);
    }
    broker.stop();
}

fn large_receives_open_frames_too<K: Kernel>() {
    let broker = start::<K>(1);
    for wish in *b"LWP" {
        let mut client = open(broker.connect());
        let sent = stream(wish, 2_000_000);
        assert!(
            echoed(&mut client, &sent, 70_000) == sent,
            "{}",
            wish as char
        );
    }
    broker.stop();
}

fn it_is_handed_over_with_its_state<K: Kernel>() {
    let broker = start::<K>(2);
    for _ in 0..20 {
        let mut client = open(broker.connect());
        let sent = stream(b'1', 20_000);
        assert!(echoed(&mut client, &sent, 7) == sent);
    }
    for _ in 0..20 {
        let mut client = open(broker.connect());
        broker.seen.lock().unwrap().clear();
        client.send(Message::binary(b"M".to_vec())).unwrap();
        broker.wait_for("0:one byte read");
        let sent = stream(b'M', 100_000);
        assert!(echoed(&mut client, &sent, 1000) == sent);
    }
    broker.stop();
}

fn pings_are_answered_between_what_is_sent<K: Kernel>() {
    let broker = start::<K>(1);
    let mut client = open(broker.connect());
    assert_eq!(echoed(&mut client, b"E", 1), b"E");
    for count in 0..100u8 {
        client.send(Message::Ping(vec![count; 100].into())).unwrap();
        client.send(Message::binary(vec![count])).unwrap();
        // One at a time: of several at once the last alone is answered.
        let heard = hear(&mut client, 1, 1);
        assert_eq!(heard.plain, [count]);
    }
    broker.stop();
}

fn a_close_frame_follows_the_last_bytes<K: Kernel>() {
    let broker = start::<K>(1);
    for (wish, bytes) in [(b'Q', 3), (b'D', 0), (b'b', 3 << 19)] {
        let mut client = open(broker.connect());
        client.send(Message::binary(vec![wish])).unwrap();
        let heard = hear(&mut client, usize::MAX, 0);
        assert_eq!(heard.plain.len(), bytes, "{}", wish as char);
        assert_eq!(u16::from(heard.close.unwrap().code), 1000);
    }
    broker.stop();
}

fn a_close_of_the_client_is_answered<K: Kernel>() {
    for (shards, wish) in [(1, b'E'), (2, b'1')] {
        let broker = start::<K>(shards);
        let mut client = open(broker.connect());
        client.send(Message::binary(vec![wish])).unwrap();
        assert_eq!(hear(&mut client, 1, 0).plain, [wish]);
        client.close(None).unwrap();
        assert!(hear(&mut client, usize::MAX, 0).plain.is_empty());
        broker.wait_for(&format!("{}:closed PeerClosed", shards - 1));
        broker.stop();
    }
}

fn what_breaks_the_rules_is_told_with_its_reason<K: Kernel>() {
    let broker = start::<K>(1);
    let mut client = open(broker.connect());
    // What came before it is handled, in the same read too.
    let both = [&b"\x82\x81\0\0\0\0D"[..], b"\x81\x81\0\0\0\0t"].concat();
    let mut told = open(broker.connect());
    told.get_mut().write_all(&both).unwrap();
    let heard = hear(&mut told, usize::MAX, 0);
    assert_eq!(u16::from(heard.close.unwrap().code), 1003);
    assert!(
        !broker
            .seen
            .lock()
            .unwrap()
            .iter()
            .any(|seen| seen.contains("closed"))
    );

    assert_eq!(echoed(&mut client, b"E", 1), b"E");
    client.send(Message::text("E")).unwrap();
    let heard = hear(&mut client, usize::MAX, 0);
    assert_eq!(u16::from(heard.close.unwrap().code), 1003);
    broker.wait_for_like("0:closed Transport(\"a WebSocket text frame");

    let mut browser = broker.connect();
    browser
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    browser.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 426 "), "{answer}");
    broker.wait_for_like("0:closed Transport(\"an HTTP request that asks for no WebSocket");
    broker.stop();
}

fn who_is_sent_nothing_is_pinged<K: Kernel>() {
    for (shards, wish) in [(1, b'E'), (2, b'1')] {
        let broker = start::<K>(shards);
        let mut client = open(broker.connect());
        client.send(Message::binary(vec![wish])).unwrap();
        let begun = Instant::now();
        let mut pings = 0;
        while pings < 3 {
            match client.read().unwrap() {
                Message::Ping(_) => pings += 1,
                Message::Binary(_) => {}
                other => panic!("{other:?}"),
            }
        }
        assert!(
            begun.elapsed() >= Duration::from_millis(500),
            "not too often"
        );
        broker.stop();
    }
}

fn a_broker_that_stops_says_goodbye<K: Kernel>() {
    let broker = start::<K>(2);
    let mut client = open(broker.connect());
    assert_eq!(echoed(&mut client, b"E", 1), b"E");
    let silent = broker.connect();
    let reader = thread::spawn(move || hear(&mut client, usize::MAX, 0).close);
    broker.stop();
    assert_eq!(
        reader.join().unwrap().map(|close| close.code.into()),
        Some(1000u16)
    );
    let mut rest = Vec::new();
    (&silent).read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty(), "its request was not answered");
}

fn proxied(version: ProxyVersion, websocket: bool) -> Wrapping {
    let tls_required = false;
    Wrapping {
        proxy: Some(ProxyTerms {
            version,
            tls_required,
            certificate_required: false,
            names: false,
        }),
        websocket: websocket.then(Arc::default),
        ..Wrapping::default()
    }
}

const V1: &[u8] = b"PROXY TCP4 198.51.100.1 192.0.2.1 4711 1883\r\n";
const V2: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0C\xC6\x33\x64\x01\xC0\0\x02\x01\x12\x67\x07\x5B";

fn an_address_comes_by_a_proxy_header<K: Kernel>() {
    for (version, header) in [(ProxyVersion::V1, V1), (ProxyVersion::V2, V2)] {
        let broker = Broker::start_with::<K>(2, &proxied(version, false));
        for piece in [1, 10, usize::MAX] {
            for wish in *b"E1" {
                broker.seen.lock().unwrap().clear();
                let client = broker.connect();
                let sent = [header, &stream(wish, 100_000)].concat();
                let (first, rest) = sent.split_at(header.len() + 1);
                for piece in first.chunks(piece) {
                    (&client).write_all(piece).unwrap();
                }
                let back = super::double::echoed(&client, rest, 1000);
                assert!(back == sent[header.len()..][..back.len()]);
                broker.wait_for("0:address 198.51.100.1:4711");
            }
        }
        // And before a WebSocket.
        let broker = Broker::start_with::<K>(2, &proxied(version, true));
        let mut socket = broker.connect();
        socket.write_all(header).unwrap();
        let mut client = open(socket);
        let sent = stream(b'1', 100_000);
        assert!(echoed(&mut client, &sent, 1000) == sent);
        broker.wait_for("0:address 198.51.100.1:4711");
        broker.stop();
    }
}

fn who_says_no_proxy_header_is_closed<K: Kernel>() {
    let broker = Broker::start_with::<K>(1, &proxied(ProxyVersion::V2, false));
    for bytes in [&b"\x10\x0C\0\x04MQTT\x04\x02\0\x3C\0\0"[..], V1, &[0; 3000]] {
        broker.seen.lock().unwrap().clear();
        let mut client = broker.connect();
        client.write_all(bytes).unwrap();
        let mut rest = Vec::new();
        let _ = client.read_to_end(&mut rest);
        assert!(rest.is_empty());
        broker.wait_for_like("0:closed Transport(");
    }
    broker.stop();
}

under_each_driver!(
    a_stream_in_frames_is_echoed_whole,
    large_receives_open_frames_too,
    it_is_handed_over_with_its_state,
    pings_are_answered_between_what_is_sent,
    a_close_frame_follows_the_last_bytes,
    a_close_of_the_client_is_answered,
    what_breaks_the_rules_is_told_with_its_reason,
    who_is_sent_nothing_is_pinged,
    a_broker_that_stops_says_goodbye,
    an_address_comes_by_a_proxy_header,
    who_says_no_proxy_header_is_closed,
);
