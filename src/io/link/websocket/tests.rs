//! The table of cases that a WebSocket listener meets, without sockets.

use super::*;
use crate::config::Network;
use std::net::Ipv4Addr;

const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));
/// The key and its answer of RFC 6455 1.3.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

fn terms() -> WebSocketTerms {
    WebSocketTerms::default()
}

/// What came of bytes received.
#[derive(Default, Debug, PartialEq, Eq)]
struct Heard {
    plain: Vec<u8>,
    own: Vec<u8>,
    broken: Option<&'static str>,
}

fn own_of(socket: &mut WebSocket) -> Vec<u8> {
    let own = socket.own_bytes().unwrap_or_default();
    let bytes = own.iter().flat_map(|chunk| chunk.bytes());
    bytes.copied().collect()
}

/// Gives it bytes, `piece` at a time, until it is broken. Its own bytes are taken in the end.
fn hear(socket: &mut WebSocket, bytes: &[u8], piece: usize) -> Heard {
    let mut heard = Heard::default();
    for bytes in bytes.chunks(piece) {
        if let Err(Broken(reason)) = socket.open(bytes, &mut heard.plain) {
            heard.broken = Some(reason);
            break;
        }
    }
    heard.own = own_of(socket);
    assert!(!socket.has_own_bytes());
    heard
}

/// A request with these lines behind the first.
fn request(lines: &[&str]) -> String {
    format!(
        "GET /mqtt?x=1 HTTP/1.1\r\nHost: broker\r\n{}\r\n\r\n",
        lines.join("\r\n")
    )
}

fn good_lines() -> Vec<&'static str> {
    vec![
        "Upgrade: websocket",
        "Connection: keep-alive, Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Protocol: mqtt",
        "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
    ]
}

/// The first line of the answer, and whether the connection goes on.
fn answered(terms: &WebSocketTerms, request: &str) -> (String, bool) {
    let mut socket = WebSocket::new(Arc::new(terms.clone()), PEER);
    let heard = hear(&mut socket, request.as_bytes(), usize::MAX);
    let mut cut = WebSocket::new(Arc::new(terms.clone()), PEER);
    assert_eq!(hear(&mut cut, request.as_bytes(), 1), heard);
    let text = String::from_utf8(heard.own).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    if let Some(length) = head
        .lines()
        .find_map(|line| line.strip_prefix("Content-Length: "))
    {
        assert_eq!(length, body.len().to_string());
        assert!(head.contains("Connection: close"));
    }
    let line = head.lines().next().unwrap_or_default();
    (line.to_owned(), heard.broken.is_none())
}

/// One that is open.
fn opened() -> WebSocket {
    let mut socket = WebSocket::new(Arc::new(terms()), PEER);
    let heard = hear(&mut socket, request(&good_lines()).as_bytes(), usize::MAX);
    assert_eq!((heard.broken, heard.plain), (None, vec![]));
    socket
}

/// A frame of a Client; the mask is chance enough.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0xA5, 0x01, 0xFF, 0x3C];
    let mut bytes = vec![first];
    match payload.len() {
        length @ 0..126 => bytes.push(0x80 | length as u8),
        length @ 126..0x1_0000 => {
            bytes.push(0x80 | 126);
            bytes.extend((length as u16).to_be_bytes());
        }
        length => {
            bytes.push(0x80 | 127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    bytes.extend(mask);
    bytes.extend(
        payload
            .iter()
            .zip(mask.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    bytes
}

#[test]
fn the_answer_is_that_of_the_standard() {
    assert!(good_lines().iter().any(|line| line.ends_with(KEY)));
    let mut socket = WebSocket::new(Arc::new(terms()), PEER);
    assert!(socket.kept_bytes() == 0 && !socket.has_own_bytes());
    let text = request(&good_lines());
    let (first, rest) = text.as_bytes().split_at(40);
    assert_eq!(hear(&mut socket, first, 40), Heard::default());
    assert!(socket.kept_bytes() >= 40);
    let heard = hear(&mut socket, rest, 1000);
    assert_eq!(
        String::from_utf8(heard.own).unwrap(),
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {ACCEPT}\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
        )
    );
    assert_eq!(socket.kept_bytes(), 0);
}

#[test]
fn the_first_subprotocol_that_is_mqtt_is_taken() {
    for (named, taken) in [
        ("mqtt", Some("mqtt")),
        ("mqttv3.1", Some("mqttv3.1")),
        ("mqttv3.1, mqtt", Some("mqttv3.1")),
        ("mqtt,mqttv3.1", Some("mqtt")),
        ("chat ,\tmqtt", Some("mqtt")),
        ("chat", None),
        ("MQTT", None),
        ("", None),
    ] {
        let line = format!("Sec-WebSocket-Protocol: {named}");
        let mut lines = good_lines();
        lines[4] = &line;
        let accepted = handshake::answer(request(&lines).as_bytes(), &terms(), PEER);
        let answer = accepted.map(|accepted| String::from_utf8(accepted.answer).unwrap());
        match taken {
            Some(taken) => {
                let line = format!("Sec-WebSocket-Protocol: {taken}\r\n");
                assert!(answer.unwrap().contains(&line), "{named}");
            }
            None => assert_eq!(answer, Err(Refused::Subprotocol), "{named}"),
        }
    }
    // Lists may be parted over lines.
    let mut lines = good_lines();
    lines[4] = "Sec-WebSocket-Protocol: chat";
    lines.push("sec-websocket-protocol: mqttv3.1");
    assert!(handshake::answer(request(&lines).as_bytes(), &terms(), PEER).is_ok());
}

#[test]
fn a_request_that_is_not_good_is_told_why() {
    let without = |at: usize| {
        let mut lines = good_lines();
        lines.remove(at);
        request(&lines)
    };
    let with = |at: usize, line: &'static str| {
        let mut lines = good_lines();
        lines[at] = line;
        request(&lines)
    };
    let good = request(&good_lines());
    for (text, status) in [
        (good.clone(), "101"),
        (good.replace("\r\n", "\n"), "101"),
        (good.replace("websocket", "WebSocket, h2c"), "101"),
        (request(&[]), "426"),
        (without(0), "426"),
        (without(1), "426"),
        (with(1, "Connection: close"), "426"),
        (without(2), "426"),
        (with(2, "Sec-WebSocket-Version: 8"), "426"),
        (without(3), "400"),
        (with(3, "Sec-WebSocket-Key: c2hvcnQ="), "400"),
        (
            with(
                3,
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            ),
            "400",
        ),
        (without(4), "400"),
        (good.replace("GET", "POST"), "405"),
        (good.replace("HTTP/1.1", "HTTP/1.0"), "426"),
        ("GET / HTTP/1.0\r\n\r\n".to_owned(), "426"),
        ("BREW /pot HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), "426"),
        ("GET /\r\n\r\n".to_owned(), "400"),
        ("GET / HTTP/1.1\r\nno colon\r\n\r\n".to_owned(), "400"),
        (request(&vec!["X: y"; 65]), "431"),
    ] {
        let (line, goes_on) = answered(&terms(), &text);
        assert!(
            line.starts_with(&format!("HTTP/1.1 {status} ")),
            "{line}: {text}"
        );
        assert_eq!(goes_on, status == "101", "{text}");
    }
}

#[test]
fn what_is_no_http_is_told_and_not_answered() {
    for (bytes, told) in [
        (
            &b"\x10\x0C\0\x04MQTT\x04\x02\0\x3C\0\0"[..],
            "this looks like MQTT",
        ),
        (
            b"\x16\x03\x01\x02\0\x01\0\x01",
            "this looks like a TLS handshake",
        ),
        (b"SSH-2.0-OpenSSH\r\n", "this looks like SSH"),
        (b"\0\0\0\0", "this is no HTTP request"),
    ] {
        let mut socket = WebSocket::new(Arc::new(terms()), PEER);
        let heard = hear(&mut socket, bytes, 1);
        assert!(heard.broken.unwrap().starts_with(told), "{heard:?}");
        assert!(heard.own.is_empty());
        socket.farewell();
        assert!(!socket.has_own_bytes(), "no frame before the answer");
    }
}

#[test]
fn a_header_block_is_bounded() {
    let padded = |bytes: usize| {
        let bare = request(&good_lines()).len();
        let filler = format!(
            "Cookie: {}",
            "x".repeat(bytes - bare - "\r\nCookie: ".len())
        );
        let mut lines = good_lines();
        lines.push(&filler);
        let text = request(&lines);
        assert_eq!(text.len(), bytes);
        text
    };
    let most = terms().request_bytes_max as usize;
    assert!(answered(&terms(), &padded(most)).0.contains("101"));
    for bytes in [most + 1, 3 * most] {
        assert!(answered(&terms(), &padded(bytes)).0.contains("431"));
    }
    let mut endless = WebSocket::new(Arc::new(terms()), PEER);
    let heard = hear(
        &mut endless,
        "GET / HTTP/1.1\r\n".repeat(100_000).as_bytes(),
        100,
    );
    assert!(heard.own.starts_with(b"HTTP/1.1 431 "));
    assert!(endless.kept_bytes() <= 2 * most);
}

#[test]
fn pages_of_other_origins_are_refused_and_whole_origins_compared() {
    let terms = WebSocketTerms {
        origins: vec![
            "https://a.example".to_owned(),
            "http://b.example:8080".to_owned(),
        ],
        ..terms()
    };
    for (origin, status) in [
        (None, "101"),
        (Some("Origin: https://a.example"), "101"),
        (Some("Origin: http://b.example:8080"), "101"),
        (Some("Origin: https://a.example.evil.example"), "403"),
        (Some("Origin: https://a.exampl"), "403"),
        (Some("Origin: null"), "403"),
        (
            Some("Origin: https://a.example\r\nOrigin: https://evil.example"),
            "403",
        ),
    ] {
        let mut lines = good_lines();
        lines.extend(origin);
        let (line, _) = answered(&terms, &request(&lines));
        assert!(line.contains(status), "{origin:?}: {line}");
    }
    // Nobody listed any: all may come.
    let mut lines = good_lines();
    lines.push("Origin: https://anywhere.example");
    assert!(
        answered(&WebSocketTerms::default(), &request(&lines))
            .0
            .contains("101")
    );
}

#[test]
fn addresses_of_trusted_proxies_alone_are_believed() {
    let forwarded = |proxies: &[&str], lines: &[&'static str]| {
        let proxies = proxies.iter().map(|text| text.parse::<Network>().unwrap());
        let terms = WebSocketTerms {
            proxies: proxies.collect(),
            ..terms()
        };
        let mut all = good_lines();
        all.extend(lines);
        let mut socket = WebSocket::new(Arc::new(terms), PEER);
        hear(&mut socket, request(&all).as_bytes(), 7);
        let peer = socket.take_peer();
        assert!(socket.take_peer().is_none());
        peer.map(|peer| peer.address.ip().to_string())
    };
    let one = ["X-Forwarded-For: 198.51.100.1"];
    assert_eq!(forwarded(&[], &one), None);
    assert_eq!(forwarded(&["192.0.2.8"], &one), None);
    assert_eq!(forwarded(&["192.0.2.0/24"], &one).unwrap(), "198.51.100.1");
    assert_eq!(forwarded(&["192.0.2.7"], &[]), None);
    // What the Client itself put in front is not believed; what proxies of ours appended is.
    let list = [
        "X-Forwarded-For: 6.6.6.6, 198.51.100.1",
        "X-Forwarded-For: 10.0.0.3",
    ];
    assert_eq!(forwarded(&["192.0.2.7"], &list).unwrap(), "10.0.0.3");
    assert_eq!(
        forwarded(&["192.0.2.7", "10.0.0.0/8"], &list).unwrap(),
        "198.51.100.1"
    );
    for (written, read) in [
        ("X-Forwarded-For: 198.51.100.1:4711", Some("198.51.100.1")),
        ("X-Forwarded-For: [2001:db8::1]:4711", Some("2001:db8::1")),
        ("X-Forwarded-For: [2001:db8::1]", Some("2001:db8::1")),
        ("X-Forwarded-For: ::ffff:198.51.100.1", Some("198.51.100.1")),
        ("X-Forwarded-For: unknown", None),
    ] {
        assert_eq!(
            forwarded(&["192.0.2.7"], &[written]).as_deref(),
            read,
            "{written}"
        );
    }
}

#[test]
fn frames_are_a_stream_under_every_cut() {
    let mut stream = request(&good_lines()).into_bytes();
    let mut plain = Vec::new();
    let fragments: [(u8, usize); 8] = [
        (0x82, 14), // whole
        (0x02, 1),  // begins a message,
        (0x00, 0),
        (0x00, 300),    // goes on,
        (0x80, 70_000), // ends it
        (0x82, 0),
        (0x82, 125),
        (0x82, 126),
    ];
    for (first, length) in fragments {
        let payload: Vec<u8> = (0..length).map(|at| (at * 7 + 3) as u8).collect();
        stream.extend(frame(first, &payload));
        plain.extend(payload);
        if length < 1000 {
            stream.extend(frame(0x89, b"are you there?"));
            stream.extend(frame(0x8A, b"I am"));
        }
    }
    for piece in [1, 2, 3, 5, 7, 64, 1000, 16_384, usize::MAX] {
        let mut socket = WebSocket::new(Arc::new(terms()), PEER);
        let heard = hear(&mut socket, &stream, piece);
        assert!(heard.plain == plain && heard.broken.is_none(), "{piece}");
        // The last of the Pings is answered, behind the answer to the request.
        assert!(heard.own.ends_with(b"\r\n\r\n\x8A\x0Eare you there?"));
    }
}

#[test]
fn each_broken_rule_is_answered_with_its_code() {
    let unmasked = |first: u8, payload: &[u8]| {
        let mut bytes = vec![first, payload.len() as u8];
        bytes.extend(payload);
        bytes
    };
    let head = |bytes: &[u8]| bytes.to_vec();
    for (bytes, code) in [
        (frame(0x81, b"text"), 1003),
        (frame(0x01, b"text"), 1003),
        (unmasked(0x82, b"x"), 1002),
        (unmasked(0x89, b""), 1002),
        (frame(0xC2, b"compressed"), 1002),
        (frame(0x83, b""), 1002),
        (frame(0x8B, b""), 1002),
        (frame(0x09, b"a fragment"), 1002),
        (frame(0x89, &[0; 126]), 1002),
        (frame(0x80, b"nothing to go on with"), 1002),
        ([frame(0x02, b"a"), frame(0x82, b"b")].concat(), 1002),
        (head(b"\x82\xFE\0\x7D\0\0\0\0"), 1002),
        (head(b"\x82\xFF\0\0\0\0\0\0\xFF\xFF\0\0\0\0"), 1002),
        (head(b"\x82\xFF\x80\0\0\0\0\0\0\0\0\0\0\0"), 1002),
        (frame(0x88, b"\x03"), 1002),
        (frame(0x88, b"\x03\xED"), 1002), // 1005
        (frame(0x88, b"\0\0"), 1002),
        (frame(0x88, b"\x03\xE8\xFF"), 1007),
    ] {
        for piece in [1, usize::MAX] {
            let mut socket = opened();
            let stream = [frame(0x82, b"good"), bytes.clone()].concat();
            let heard = hear(&mut socket, &stream, piece);
            assert!(heard.plain.starts_with(b"good"));
            let close = [&[0x88, 2][..], &u16::to_be_bytes(code)].concat();
            assert_eq!(heard.own, close, "{bytes:?}");
            assert!(heard.broken.is_some());
            socket.farewell();
            assert!(!socket.has_own_bytes(), "one Close frame is enough");
        }
    }
}

#[test]
fn a_close_is_answered_with_its_code_and_ends_the_stream() {
    for (body, answer) in [
        (&b""[..], &b"\x88\0"[..]),
        (b"\x03\xE8", b"\x88\x02\x03\xE8"),
        (b"\x0F\xA0going home", b"\x88\x02\x0F\xA0"),
    ] {
        let mut socket = opened();
        let stream = [frame(0x82, b"a"), frame(0x88, body), frame(0x82, b"b")].concat();
        let heard = hear(&mut socket, &stream, usize::MAX);
        assert_eq!((&heard.plain[..], &heard.own[..]), (&b"a"[..], answer));
        assert!(socket.has_ended());
        socket.farewell();
        assert!(!socket.has_own_bytes());
    }
}

#[test]
fn a_farewell_is_a_close_frame_behind_what_was_asked() {
    let mut socket = opened();
    hear(&mut socket, &frame(0x82, b"x"), 100);
    socket.open(&frame(0x89, b"?"), &mut Vec::new()).unwrap();
    socket.farewell();
    assert_eq!(own_of(&mut socket), b"\x8A\x01?\x88\x02\x03\xE8");
    socket.farewell();
    assert!(!socket.has_own_bytes());
}

#[test]
fn a_flood_of_pings_takes_no_memory() {
    let mut socket = opened();
    let mut plain = Vec::new();
    for _ in 0..10_000 {
        socket.open(&frame(0x89, &[7; 125]), &mut plain).unwrap();
    }
    assert_eq!(own_of(&mut socket).len(), 2 + 125);
    assert!(plain.is_empty() && !socket.has_own_bytes());
}

#[test]
fn who_is_sent_nothing_is_pinged() {
    let mut silent = WebSocket::new(Arc::new(terms()), PEER);
    for _ in 0..10 {
        silent.check();
        assert!(!silent.has_own_bytes(), "its request comes first");
    }
    let mut socket = opened();
    socket.check();
    assert!(!socket.has_own_bytes());
    let chunks = || Chunks::from_iter([Chunk::Block(b"\xD0\0".to_vec())]);
    socket.seal(chunks(), &mut Last::default());
    // It may have been sent just before the first check, so the third is the first that is 30 s later.
    for _ in 0..2 {
        socket.check();
        assert!(!socket.has_own_bytes());
    }
    for _ in 0..3 {
        socket.check();
        assert_eq!(own_of(&mut socket), b"\x89\0");
        socket.check();
        assert!(!socket.has_own_bytes());
    }
}

#[test]
fn what_has_left_is_told_in_bytes_of_mqtt() {
    let mut socket = opened();
    let chunks = || Chunks::from_iter([Chunk::Block(b"\xD0\0\x30\x03\0\x01a".to_vec())]);
    for piece in 1..=11 {
        let sealed = socket.seal(chunks(), &mut Last::default());
        let all: usize = sealed.iter().map(|chunk| chunk.bytes().len()).sum();
        assert_eq!(all, 11);
        let (mut left, mut told) = (all, 0);
        while left > 0 {
            let bytes = piece.min(left);
            left -= bytes;
            told += socket.sent(bytes, left == 0);
            assert!(told <= 7 && told <= all - left);
        }
        assert_eq!(told, 7);
    }
}
