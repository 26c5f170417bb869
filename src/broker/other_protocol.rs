//! Other protocols that Clients speak to a port by mistake: anything but MQTT on a port for MQTT, anything but HTTP on
//! a port for WebSocket. They are recognised by their first bytes, so that the log can say what came and which listener
//! it needs.

use crate::limits;
use std::fmt;

/// A protocol that is not MQTT.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OtherProtocol {
    Tls,
    Http,
    /// An HTTP request with `Upgrade: websocket`.
    WebSocket,
    Ssh,
    /// The header that a proxy or load balancer sends before the Client's own bytes.
    ProxyProtocol,
}

/// What the first bytes of a connection look like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Opening {
    Other(OtherProtocol),
    /// It begins like one of these. More bytes must come to decide.
    Undecided,
    /// It begins like none of them.
    Unknown,
}

/// What the first bytes of a connection to a WebSocket listener look like, where HTTP must come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InsteadOfHttp {
    /// It may be HTTP.
    No,
    /// More bytes must come to decide.
    Undecided,
    /// Another protocol; the sentence is for the log.
    Yes(&'static str),
}

/// Bytes that decide what a connection opens with, but for HTTP and WebSocket.
pub const OPENING_BYTES_MAX: usize = 12;

/// How each protocol opens.
const OPENINGS: &[(&[u8], OtherProtocol)] = &[
    // A record of the kind "handshake", of version 3.x as SSL 3 and every TLS write it. [RFC 8446 5.1]
    (b"\x16\x03", OtherProtocol::Tls),
    // Methods. [RFC 9110 9.3; RFC 5789; HTTP/2 begins with PRI, RFC 9113 3.4]
    (b"GET ", OtherProtocol::Http),
    (b"HEAD ", OtherProtocol::Http),
    (b"POST ", OtherProtocol::Http),
    (b"PUT ", OtherProtocol::Http),
    (b"DELETE ", OtherProtocol::Http),
    (b"CONNECT ", OtherProtocol::Http),
    (b"OPTIONS ", OtherProtocol::Http),
    (b"TRACE ", OtherProtocol::Http),
    (b"PATCH ", OtherProtocol::Http),
    (b"PRI * HTTP/2", OtherProtocol::Http),
    // [RFC 4253 4.2]
    (b"SSH-", OtherProtocol::Ssh),
    // Versions 1 and 2. [haproxy.org, proxy-protocol.txt]
    (b"PROXY ", OtherProtocol::ProxyProtocol),
    (b"\r\n\r\n\0\r\nQUIT\n", OtherProtocol::ProxyProtocol),
];

/// What a connection that begins with these bytes speaks.
///
/// HTTP is undecided until its header has ended or [`limits::UNACCEPTED_BYTES_FREE`] have come: only that tells a
/// WebSocket from other requests. `O(bytes)`.
pub(super) fn recognise(bytes: &[u8]) -> Opening {
    for (opening, protocol) in OPENINGS {
        if bytes.starts_with(opening) {
            let ended = || memchr::memmem::find(bytes, b"\r\n\r\n").is_some();
            return match protocol {
                OtherProtocol::Http if asks_for_websocket(bytes) => {
                    Opening::Other(OtherProtocol::WebSocket)
                }
                OtherProtocol::Http if bytes.len() < limits::UNACCEPTED_BYTES_FREE && !ended() => {
                    Opening::Undecided
                }
                protocol => Opening::Other(*protocol),
            };
        }
    }
    let begins = |(opening, _): &(&[u8], OtherProtocol)| opening.starts_with(bytes);
    if OPENINGS.iter().any(begins) {
        Opening::Undecided
    } else {
        Opening::Unknown
    }
}

/// What came to a WebSocket listener, by its first bytes. `O(1)`.
pub fn instead_of_http(bytes: &[u8]) -> InsteadOfHttp {
    let bytes = &bytes[..bytes.len().min(OPENING_BYTES_MAX)];
    let whole = OPENINGS
        .iter()
        .find(|(opening, _)| bytes.starts_with(opening));
    match whole {
        Some((_, OtherProtocol::Http | OtherProtocol::WebSocket)) => InsteadOfHttp::No,
        Some((_, OtherProtocol::Tls)) => InsteadOfHttp::Yes(
            "this looks like a TLS handshake: the client must connect to a TLS listener, this one is WebSocket without TLS",
        ),
        Some((_, OtherProtocol::Ssh)) => {
            InsteadOfHttp::Yes("this looks like SSH: this listener speaks MQTT over WebSocket")
        }
        Some((_, OtherProtocol::ProxyProtocol)) => InsteadOfHttp::Yes(
            "this looks like the PROXY protocol: the load balancer must pass connections on without it, or this listener needs enable_proxy_protocol",
        ),
        None if OPENINGS
            .iter()
            .any(|(opening, _)| opening.starts_with(bytes)) =>
        {
            InsteadOfHttp::Undecided
        }
        // CONNECT, its length, and the length of the protocol's name. [v3.1.1 3.1.2.1, v5 3.1.2.1; 3.1]
        None if bytes[0] == 0x10 => InsteadOfHttp::Yes(
            "this looks like MQTT: the client must connect to an MQTT listener, this one is WebSocket",
        ),
        None if bytes[0].is_ascii_graphic() => InsteadOfHttp::No,
        None => InsteadOfHttp::Yes("this is no HTTP request, with which a WebSocket begins"),
    }
}

/// [`recognise`] when nothing more will come.
pub(super) fn recognise_at_end(bytes: &[u8]) -> Option<OtherProtocol> {
    let begins = |(opening, _): &&(&[u8], OtherProtocol)| bytes.starts_with(opening);
    match recognise(bytes) {
        Opening::Other(protocol) => Some(protocol),
        Opening::Undecided => OPENINGS.iter().find(begins).map(|(_, protocol)| *protocol),
        Opening::Unknown => None,
    }
}

/// A header line `Upgrade: websocket`, complete, in any case. [RFC 6455 4.1]
fn asks_for_websocket(request: &[u8]) -> bool {
    request.split_inclusive(|byte| *byte == b'\n').any(|line| {
        let Some(line) = line.strip_suffix(b"\n") else {
            return false;
        };
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            return false;
        };
        let (name, value) = line.split_at(colon);
        name.eq_ignore_ascii_case(b"upgrade")
            && value[1..].trim_ascii().eq_ignore_ascii_case(b"websocket")
    })
}

impl OtherProtocol {
    /// The answer before the connection is closed, in the peer's own protocol, for a person with a browser or a program
    /// with a wrong address. Always the same bytes, whatever was asked. Empty for protocols in which no answer would
    /// help.
    pub(super) fn answer(self) -> &'static [u8] {
        match self {
            OtherProtocol::Http | OtherProtocol::WebSocket => {
                b"HTTP/1.1 400 Bad Request: this port speaks MQTT\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            }
            OtherProtocol::Tls | OtherProtocol::Ssh | OtherProtocol::ProxyProtocol => b"",
        }
    }
}

impl fmt::Display for OtherProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            OtherProtocol::Tls => {
                "this looks like a TLS handshake: the client must connect to a TLS listener, this one is plain MQTT"
            }
            OtherProtocol::Http => {
                "this looks like an HTTP request: this listener speaks plain MQTT, not HTTP"
            }
            OtherProtocol::WebSocket => {
                "this looks like a WebSocket upgrade: the client must connect to a WebSocket listener, this one is plain MQTT"
            }
            OtherProtocol::Ssh => "this looks like SSH: this listener speaks plain MQTT",
            OtherProtocol::ProxyProtocol => {
                "this looks like the PROXY protocol: the load balancer must pass connections on without it, or this listener needs enable_proxy_protocol"
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_told_as_soon_as_it_can_be() {
        let cases: &[(&[u8], OtherProtocol, usize)] = &[
            (b"\x16\x03\x01\x02\0\x01\0", OtherProtocol::Tls, 2),
            (
                b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
                OtherProtocol::Http,
                27,
            ),
            (
                b"GET /mqtt HTTP/1.1\r\nUPGRADE:WebSocket \r\n",
                OtherProtocol::WebSocket,
                40,
            ),
            (b"SSH-2.0-x\r\n", OtherProtocol::Ssh, 4),
            (b"PROXY TCP4 ", OtherProtocol::ProxyProtocol, 6),
            (
                b"\r\n\r\n\0\r\nQUIT\n\x21\x11",
                OtherProtocol::ProxyProtocol,
                12,
            ),
        ];
        for (bytes, protocol, told_at) in cases {
            for end in 1..=bytes.len() {
                let expected = if end < *told_at {
                    Opening::Undecided
                } else {
                    Opening::Other(*protocol)
                };
                assert_eq!(recognise(&bytes[..end]), expected, "{protocol:?}, {end}");
            }
        }
    }

    #[test]
    fn a_websocket_listener_is_told_what_came_instead_of_http() {
        let begins = |bytes: &[u8]| match instead_of_http(bytes) {
            InsteadOfHttp::Yes(reason) => reason.split(':').next().unwrap(),
            InsteadOfHttp::No => "HTTP",
            InsteadOfHttp::Undecided => "?",
        };
        for (bytes, told) in [
            (&b"G"[..], "?"),
            (b"GET / HTTP/1.1\r\n", "HTTP"),
            (b"BREW /pot HTTP/1.1\r\n", "HTTP"),
            (b"\x10", "this looks like MQTT"),
            (b"\x10\x0C\0\x04MQTT\x04\x02", "this looks like MQTT"),
            (b"\x16\x03\x01", "this looks like a TLS handshake"),
            (b"SSH-2.0-x", "this looks like SSH"),
            (b"PROXY TCP4 ", "this looks like the PROXY protocol"),
            (
                b"\r\n\r\n\0\r\nQUIT\n",
                "this looks like the PROXY protocol",
            ),
            (
                b"\xFF",
                "this is no HTTP request, with which a WebSocket begins",
            ),
        ] {
            assert_eq!(begins(bytes), told, "{bytes:?}");
        }
        assert!(
            OPENINGS
                .iter()
                .all(|(opening, _)| opening.len() <= OPENING_BYTES_MAX)
        );
    }

    #[test]
    fn a_header_without_end_is_decided_in_the_end() {
        let mut request = b"POST / HTTP/1.1\r\nX: ".to_vec();
        request.resize(limits::UNACCEPTED_BYTES_FREE - 1, b'x');
        assert_eq!(recognise(&request), Opening::Undecided);
        assert_eq!(recognise_at_end(&request), Some(OtherProtocol::Http));
        request.push(b'x');
        assert_eq!(recognise(&request), Opening::Other(OtherProtocol::Http));
    }

    #[test]
    fn mqtt_and_noise_are_none_of_them() {
        for bytes in [
            &b"\x10\x0C\0\x04MQTT\x04\x02"[..],
            b"\x16\x0C\0\x04MQTT",
            b"GETTING ",
            b"SSL",
            b"\r\n\r\n\r",
            b"\x30\x03\0\x01a",
        ] {
            assert_eq!(recognise(bytes), Opening::Unknown, "{bytes:?}");
        }
        // One that ends before it says what it is.
        assert_eq!(recognise_at_end(b"PR"), None);
    }
}
