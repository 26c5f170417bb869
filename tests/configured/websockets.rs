//! WebSocket listeners and PROXY headers over sockets, by the real program. The peer is raw where it breaks rules, and
//! another implementation of WebSocket where it does not.

use mqttfast_rig::on_1_and_2_shards;
use mqttfast_rig::process::packet::{self, Connect};
use mqttfast_rig::process::{Broker, DEADLINE, Options, free_port, reference};
use nix::sys::signal::Signal;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};
use tungstenite::client::IntoClientRequest;
use tungstenite::{Message, WebSocket};

const WEBSOCKETS: &str =
    "listener {port} 127.0.0.1\nprotocol websockets\nallow_anonymous true\nlog_type all\n";
/// What every request of a good Client has, behind its first line.
const GOOD: &str = "Host: broker\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n";

on_1_and_2_shards!(
    a_broker_of_websockets_alone_serves,
    packets_and_frames_need_not_agree,
    requests_have_their_bound_and_their_origins,
    foes_of_websockets_are_closed_with_a_line,
    addresses_come_by_proxy_headers,
    addresses_come_from_trusted_proxies,
);

fn to(port: u16) -> TcpStream {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("connect");
    stream.set_read_timeout(Some(DEADLINE)).expect("a deadline");
    stream
        .set_write_timeout(Some(DEADLINE))
        .expect("a deadline");
    stream
}

/// A Client that is accepted.
struct Ws(WebSocket<TcpStream>);

impl Ws {
    fn open(stream: TcpStream, subprotocol: &str) -> Ws {
        let mut request = "ws://broker/any/path?and=query"
            .into_client_request()
            .unwrap();
        let headers = request.headers_mut();
        headers.insert("Sec-WebSocket-Protocol", subprotocol.parse().unwrap());
        Ws(tungstenite::client(request, stream).expect("101").0)
    }

    fn connect(port: u16, client_id: &str) -> Ws {
        let mut ws = Ws::open(to(port), "mqtt");
        ws.send(&named(client_id));
        assert_eq!(ws.packet(), [0x20, 2, 0, 0]);
        ws
    }

    fn send(&mut self, bytes: &[u8]) {
        self.0.send(Message::binary(bytes.to_vec())).expect("send");
    }

    /// The payload of the next frame.
    fn packet(&mut self) -> Vec<u8> {
        match self.0.read().expect("a frame") {
            Message::Binary(payload) => payload.to_vec(),
            other => panic!("a binary frame, not {other:?}"),
        }
    }
}

fn named(client_id: &str) -> Vec<u8> {
    let connect = Connect {
        client_id: client_id.as_bytes(),
        ..Connect::default()
    };
    connect.bytes()
}

/// All that comes until the end.
fn rest(mut stream: &TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    rest
}

/// The answer to a request, and nothing behind it.
fn answer(stream: &mut TcpStream, request: &[u8]) -> String {
    stream.write_all(request).expect("send");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => break,
        }
    }
    String::from_utf8(head).expect("text")
}

fn request(more: &str) -> Vec<u8> {
    format!("GET /mqtt HTTP/1.1\r\n{GOOD}{more}\r\n").into_bytes()
}

/// A frame of a Client, masked by zeros.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        length @ 0..126 => bytes.push(0x80 | length as u8),
        length => {
            bytes.push(0x80 | 126);
            bytes.extend((length as u16).to_be_bytes());
        }
    }
    bytes.extend([0; 4]);
    bytes.extend(payload);
    bytes
}

/// A raw Client whose WebSocket is open.
fn opened(port: u16) -> TcpStream {
    let mut stream = to(port);
    let answer = answer(&mut stream, &request(""));
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    stream
}

/// 2.0.11 with libwebsockets does not start on such a file.
fn a_broker_of_websockets_alone_serves(shards: usize) {
    if reference() {
        return;
    }
    let broker = Broker::configured(shards, WEBSOCKETS);
    let mut ear = Ws::open(to(broker.port()), "mqttv3.1, mqtt");
    ear.send(&named("ear"));
    assert_eq!(ear.packet(), [0x20, 2, 0, 0]);
    ear.send(&packet::subscribe(1, &[(b"t/#", 1)]));
    assert_eq!(ear.packet(), [0x90, 3, 0, 1, 1]);
    // Of every length that a frame can have, and one that comes by large receives.
    let mut mouth = Ws::connect(broker.port(), "mouth");
    for (id, bytes) in (1..).zip([0, 1, 120, 121, 122, 200, 65_000, 70_000, 1_000_000]) {
        let payload = vec![id as u8; bytes];
        mouth.send(&packet::publish(b"t/x", &payload, 1, id, false));
        assert_eq!(mouth.packet(), [0x40, 2, 0, id as u8]);
        let published = packet::Published::read(&ear.packet()).expect("a PUBLISH, one frame");
        assert!(published.payload == payload, "{bytes}");
    }
    // Its Close is answered, the Session is gone with it.
    mouth.0.close(None).expect("close");
    while mouth.0.read().is_ok() {}
    broker.logged(&["mouth", "closed"]);
}

fn packets_and_frames_need_not_agree(shards: usize) {
    if reference() {
        return;
    }
    let broker = Broker::configured(shards, WEBSOCKETS);
    let mut stream = opened(broker.port());
    let ping = packet::PINGREQ;
    let connect = named("pieces");
    let (first, second) = connect.split_at(5);
    let bytes = [
        // CONNECT over two messages, the second of three fragments with a Ping in between,
        frame(0x82, first),
        frame(0x02, &second[..1]),
        frame(0x89, b"?"),
        frame(0x00, b""),
        frame(0x80, &[&second[1..], &ping[..1]].concat()),
        // and two packets and a half in one frame.
        frame(0x82, &[&ping[1..], &ping, &ping[..1]].concat()),
        frame(0x82, &ping[1..]),
    ];
    for byte in bytes.concat() {
        stream.write_all(&[byte]).expect("send");
    }
    let mut came = vec![0; 3 + 6 + 3 * 4];
    stream.read_exact(&mut came).expect("answers");
    let connack = [0x82, 4, 0x20, 2, 0, 0];
    let answers = [&connack[..], &[0x82, 2, 0xD0, 0].repeat(3)].concat();
    // Where between the others the Pong is, is a matter of turns.
    let pong = came
        .windows(3)
        .position(|bytes| bytes == b"\x8A\x01?")
        .expect("a Pong");
    came.drain(pong..pong + 3);
    assert_eq!(came, answers);

    // One packet over a thousand frames.
    let mut ws = Ws::connect(broker.port(), "thousand");
    let subscribe = packet::subscribe(9, &[(&[b'x'; 990], 0)]);
    for byte in &subscribe {
        ws.send(&[*byte]);
    }
    assert_eq!(ws.packet(), [0x90, 3, 0, 9, 0]);
}

fn requests_have_their_bound_and_their_origins(shards: usize) {
    if reference() {
        return;
    }
    let other = free_port();
    let text = format!(
        "{WEBSOCKETS}websockets_headers_size 5000\nwebsockets_origin https://a.example\nwebsockets_origin https://b.example\nlistener {other} 127.0.0.1\nprotocol websockets\n"
    );
    let broker = Broker::configured(shards, &text);
    let status = |port, more: &str| {
        let answer = answer(&mut to(port), &request(more));
        answer[9..12].to_owned()
    };
    let cookie = |bytes| format!("Cookie: {}\r\n", "x".repeat(bytes));
    assert_eq!(status(broker.port(), ""), "101");
    assert_eq!(
        status(broker.port(), "Origin: https://b.example\r\n"),
        "101"
    );
    assert_eq!(
        status(broker.port(), "Origin: https://b.example.evil\r\n"),
        "403"
    );
    assert_eq!(status(broker.port(), "Origin: https://b.exampl\r\n"), "403");
    assert_eq!(status(other, "Origin: https://evil.example\r\n"), "101");
    assert_eq!(status(broker.port(), &cookie(4500)), "101");
    assert_eq!(status(broker.port(), &cookie(5000)), "431");
    broker.logged(&["127.0.0.1", "websockets_headers_size"]);
    broker.logged(&["127.0.0.1", "Origin"]);
    // A reload does not claim to have taken another one.
    broker.rewrite(&text.replace("https://b.example", "https://c.example"));
    let from = broker.log_len();
    broker.signal(Signal::SIGHUP);
    broker.logged_since(from, &["this listener is not the one"]);
    broker.logged_since(from, &["nothing reloaded"]);
    assert_eq!(
        status(broker.port(), "Origin: https://b.example\r\n"),
        "101"
    );
}

fn foes_of_websockets_are_closed_with_a_line(shards: usize) {
    if reference() {
        return;
    }
    let mqtt = free_port();
    let text = format!("{WEBSOCKETS}listener {mqtt} 127.0.0.1\n");
    let broker = Broker::configured(shards, &text);
    let mut bystander = Ws::connect(broker.port(), "bystander");
    let before = broker.rss_bytes();

    // Something else than a WebSocket.
    for (bytes, answered, line) in [
        (
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
            "HTTP/1.1 426 ",
            "asks for no WebSocket",
        ),
        (named("lost"), "", "this looks like MQTT"),
        (
            b"\x16\x03\x01\x02\0\x01\0\x01\xFC\x03\x03".to_vec(),
            "",
            "this looks like a TLS handshake",
        ),
    ] {
        let from = broker.log_len();
        let mut stream = to(broker.port());
        assert!(answer(&mut stream, &bytes).starts_with(answered), "{line}");
        rest(&stream);
        broker.logged_since(from, &["127.0.0.1", line]);
    }
    // And a WebSocket at the port for MQTT.
    let from = broker.log_len();
    assert!(answer(&mut to(mqtt), &request("")).starts_with("HTTP/1.1 400 "));
    broker.logged_since(from, &["this looks like a WebSocket upgrade"]);

    // Endless headers.
    let from = broker.log_len();
    let mut endless = to(broker.port());
    let _ = endless.write_all(b"GET / HTTP/1.1\r\n");
    let line = [&b"X: "[..], &[b'y'; 1000], b"\r\n"].concat();
    while endless.write_all(&line).is_ok() && broker.log_len() == from {}
    broker.logged_since(from, &["too long a header"]);

    // Frames that break rules.
    for (bytes, code, line) in [
        (frame(0x81, b"text"), 1003u16, "text frame"),
        (b"\x82\x01x".to_vec(), 1002, "without a mask"),
        (
            b"\x82\xFF\xFF\0\0\0\0\0\0\0\0\0\0\0".to_vec(),
            1002,
            "2^63 bytes",
        ),
        (frame(0x89, &[0; 126]), 1002, "more than 125 bytes"),
        (frame(0x80, b"x"), 1002, "continues nothing"),
    ] {
        let from = broker.log_len();
        let mut stream = opened(broker.port());
        stream.write_all(&bytes).expect("send");
        let mut close = [0; 4];
        stream.read_exact(&mut close).expect("a Close frame");
        assert_eq!(close, [0x88, 2, (code >> 8) as u8, code as u8], "{line}");
        assert!(rest(&stream).is_empty());
        broker.logged_since(from, &[line]);
    }

    // A frame of 2^62 bytes that never comes, and fragments without end, take no memory.
    let mut held: Vec<TcpStream> = (0..50).map(|_| opened(broker.port())).collect();
    for stream in &mut held {
        stream
            .write_all(b"\x82\xFF\x40\0\0\0\0\0\0\0\0\0\0\0")
            .expect("send");
    }
    let mut fragments = opened(broker.port());
    fragments.write_all(&frame(0x02, b"")).expect("send");
    let flood = frame(0x00, b"").repeat(20_000);
    fragments.write_all(&flood).expect("send");
    // Pings whose answers are never read.
    let mut pinger = opened(broker.port());
    pinger
        .set_write_timeout(Some(Duration::from_millis(500)))
        .expect("a deadline");
    let flood = frame(0x89, &[b'?'; 125]).repeat(1000);
    for _ in 0..100 {
        if pinger.write_all(&flood).is_err() {
            break;
        }
    }
    let begun = Instant::now();
    bystander.send(&packet::PINGREQ);
    assert_eq!(bystander.packet(), packet::PINGRESP);
    assert!(
        begun.elapsed() < Duration::from_secs(2),
        "{:?}",
        begun.elapsed()
    );
    let grown = broker.rss_bytes().saturating_sub(before);
    assert!(grown < 8 << 20, "{grown} bytes");
}

fn addresses_come_by_proxy_headers(shards: usize) {
    if reference() {
        return;
    }
    let (second, third, fourth) = (free_port(), free_port(), free_port());
    let text = format!(
        "listener {{port}} 127.0.0.1\nenable_proxy_protocol 1\nallow_anonymous true\n\
         listener {second} 127.0.0.1\nenable_proxy_protocol 2\nproxy_protocol_v2_require_tls true\n\
         listener {third} 127.0.0.1\nenable_proxy_protocol 2\nprotocol websockets\n\
         listener {fourth} 127.0.0.1\nenable_proxy_protocol 2\nrequire_certificate true\nuse_identity_as_username true\n"
    );
    let broker = Broker::configured(shards, &text);
    let v2 = |tlvs: &[u8]| {
        let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11".to_vec();
        header.extend((12 + tlvs.len() as u16).to_be_bytes());
        header.extend([198, 51, 100, 2, 192, 0, 2, 1, 0x12, 0x67, 0x07, 0x5B]);
        header.extend(tlvs);
        header
    };
    let by_tls = [0x20, 0, 5, 0x01, 0, 0, 0, 0];
    let connack = |mut stream: &TcpStream, bytes: &[u8]| {
        stream.write_all(bytes).expect("send");
        let mut connack = [0; 4];
        stream.read_exact(&mut connack).map(|()| connack[3]).ok()
    };
    let v1 = b"PROXY TCP4 198.51.100.1 192.0.2.1 4711 1883\r\n";
    let stream = to(broker.port());
    assert_eq!(connack(&stream, &[v1, &named("one")[..]].concat()), Some(0));
    broker.logged(&["one", "198.51.100.1:4711"]);
    let stream = to(second);
    let bytes = [v2(&by_tls), named("two")].concat();
    for byte in &bytes[..bytes.len() - 1] {
        (&stream).write_all(&[*byte]).expect("send");
    }
    assert_eq!(connack(&stream, &bytes[bytes.len() - 1..]), Some(0));
    broker.logged(&["two", "198.51.100.2:4711"]);
    let mut stream = to(third);
    stream.write_all(&v2(&[])).expect("send");
    let mut ws = Ws::open(stream, "mqtt");
    ws.send(&named("three"));
    assert_eq!(ws.packet(), [0x20, 2, 0, 0]);
    broker.logged(&["three", "198.51.100.2:4711"]);
    // The name in the certificate that the proxy was shown is the user name, whatever CONNECT says.
    let shown = [&[0x20, 0, 12, 0x07, 0, 0, 0, 0][..], b"\x22\0\x04lamp"].concat();
    let stream = to(fourth);
    assert_eq!(
        connack(&stream, &[v2(&shown), named("four")].concat()),
        Some(0)
    );
    broker.logged(&["four", "198.51.100.2:4711", "lamp"]);

    // Who looks whether the broker lives.
    let mut stream = to(third);
    stream
        .write_all(b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0")
        .expect("send");
    assert!(answer(&mut stream, &request("")).starts_with("HTTP/1.1 101 "));

    for (port, bytes, line) in [
        (broker.port(), named("bare"), "no PROXY header"),
        (broker.port(), v2(&[]), "of version 2"),
        (
            broker.port(),
            b"PROXY TCP4 1.2.3.4\r\n".to_vec(),
            "malformed PROXY header",
        ),
        (
            broker.port(),
            [b"PROXY UNKNOWN ", &[b'x'; 200][..]].concat(),
            "too long",
        ),
        (second, v1.to_vec(), "of version 1"),
        (second, v2(&[]), "without TLS"),
        (fourth, v2(&by_tls), "no good certificate"),
        (second, v2(&[0x20, 0xFF, 0xFF]), "malformed PROXY header"),
        (
            second,
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xFF\xFF".to_vec(),
            "too long",
        ),
    ] {
        let from = broker.log_len();
        let mut stream = to(port);
        stream.write_all(&bytes).expect("send");
        assert!(rest(&stream).is_empty(), "{line}");
        broker.logged_since(from, &["127.0.0.1", line]);
    }
}

fn addresses_come_from_trusted_proxies(shards: usize) {
    if reference() {
        return;
    }
    for (trusted, told) in [(true, "198.51.100.9"), (false, "127.0.0.1")] {
        let mut arguments = vec!["--listen".to_owned(), "ws://127.0.0.1:0".to_owned()];
        if trusted {
            arguments.extend(["--trusted-proxy".to_owned(), "127.0.0.0/8".to_owned()]);
        }
        let broker = Broker::start_with(Options {
            shards,
            arguments,
            ..Options::default()
        });
        let mut stream = to(broker.port());
        let more = "X-Forwarded-For: 6.6.6.6, 198.51.100.9\r\n";
        assert!(answer(&mut stream, &request(more)).starts_with("HTTP/1.1 101 "));
        stream
            .write_all(&frame(0x82, &named("behind")))
            .expect("send");
        let mut connack = [0; 6];
        stream.read_exact(&mut connack).expect("CONNACK");
        broker.logged(&["behind", told]);
    }
}
