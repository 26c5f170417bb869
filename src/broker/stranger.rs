//! Other protocols that are spoken to an MQTT port by mistake, told by how they open a connection, so that the log
//! can say what came and where it belongs. Nothing of them is understood beyond that.

use crate::limits;
use std::fmt;

/// What someone speaks who does not speak MQTT.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stranger {
    Tls,
    Http,
    /// An HTTP request with `Upgrade: websocket`.
    WebSocket,
    Ssh,
    /// Of a proxy or load balancer, before the Client's own bytes.
    ProxyProtocol,
}

/// What the first bytes of a connection look like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Opening {
    Stranger(Stranger),
    /// It begins like one of these; more must come to tell it.
    Undecided,
    /// Like none of them.
    Unknown,
}

/// How each protocol opens.
const OPENINGS: &[(&[u8], Stranger)] = &[
    // A record of the kind "handshake", of version 3.x as SSL 3 and every TLS write it. [RFC 8446 5.1]
    (b"\x16\x03", Stranger::Tls),
    // Methods. [RFC 9110 9.3; RFC 5789; HTTP/2 begins with PRI, RFC 9113 3.4]
    (b"GET ", Stranger::Http),
    (b"HEAD ", Stranger::Http),
    (b"POST ", Stranger::Http),
    (b"PUT ", Stranger::Http),
    (b"DELETE ", Stranger::Http),
    (b"CONNECT ", Stranger::Http),
    (b"OPTIONS ", Stranger::Http),
    (b"TRACE ", Stranger::Http),
    (b"PATCH ", Stranger::Http),
    (b"PRI * HTTP/2", Stranger::Http),
    // [RFC 4253 4.2]
    (b"SSH-", Stranger::Ssh),
    // Versions 1 and 2. [haproxy.org, proxy-protocol.txt]
    (b"PROXY ", Stranger::ProxyProtocol),
    (b"\r\n\r\n\0\r\nQUIT\n", Stranger::ProxyProtocol),
];

/// What a connection that begins with these bytes speaks.
///
/// HTTP is undecided until its header has ended or [`limits::UNACCEPTED_BYTES_FREE`] have come: only that tells a
/// WebSocket from other requests. `O(bytes)`.
pub(super) fn recognise(bytes: &[u8]) -> Opening {
    for (opening, stranger) in OPENINGS {
        if bytes.starts_with(opening) {
            let ended = || memchr::memmem::find(bytes, b"\r\n\r\n").is_some();
            return match stranger {
                Stranger::Http if asks_for_websocket(bytes) => {
                    Opening::Stranger(Stranger::WebSocket)
                }
                Stranger::Http if bytes.len() < limits::UNACCEPTED_BYTES_FREE && !ended() => {
                    Opening::Undecided
                }
                stranger => Opening::Stranger(*stranger),
            };
        }
    }
    let begins = |(opening, _): &(&[u8], Stranger)| opening.starts_with(bytes);
    if OPENINGS.iter().any(begins) {
        Opening::Undecided
    } else {
        Opening::Unknown
    }
}

/// The same when nothing more will come.
pub(super) fn recognise_at_end(bytes: &[u8]) -> Option<Stranger> {
    let begins = |(opening, _): &&(&[u8], Stranger)| bytes.starts_with(opening);
    match recognise(bytes) {
        Opening::Stranger(stranger) => Some(stranger),
        Opening::Undecided => OPENINGS.iter().find(begins).map(|(_, stranger)| *stranger),
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

impl Stranger {
    /// What is said before the connection is closed, in the stranger's own protocol: a person with a browser, or a
    /// program whose address is wrong, is told so. Always the same bytes, whatever was asked. Other protocols have no
    /// answer that would help.
    pub(super) fn answer(self) -> &'static [u8] {
        match self {
            Stranger::Http | Stranger::WebSocket => {
                b"HTTP/1.1 400 Bad Request: this port speaks MQTT\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            }
            Stranger::Tls | Stranger::Ssh | Stranger::ProxyProtocol => b"",
        }
    }
}

impl fmt::Display for Stranger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stranger::Tls => {
                "this looks like a TLS handshake: the client must connect to a TLS listener, this one is plain MQTT"
            }
            Stranger::Http => {
                "this looks like an HTTP request: this listener speaks plain MQTT, not HTTP"
            }
            Stranger::WebSocket => {
                "this looks like a WebSocket upgrade: the client must connect to a WebSocket listener, this one is plain MQTT"
            }
            Stranger::Ssh => "this looks like SSH: this listener speaks plain MQTT",
            Stranger::ProxyProtocol => {
                "this looks like the PROXY protocol: the load balancer must pass connections on without it"
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_told_as_soon_as_it_can_be() {
        let cases: &[(&[u8], Stranger, usize)] = &[
            (b"\x16\x03\x01\x02\0\x01\0", Stranger::Tls, 2),
            (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", Stranger::Http, 27),
            (
                b"GET /mqtt HTTP/1.1\r\nUPGRADE:WebSocket \r\n",
                Stranger::WebSocket,
                40,
            ),
            (b"SSH-2.0-x\r\n", Stranger::Ssh, 4),
            (b"PROXY TCP4 ", Stranger::ProxyProtocol, 6),
            (b"\r\n\r\n\0\r\nQUIT\n\x21\x11", Stranger::ProxyProtocol, 12),
        ];
        for (bytes, stranger, told_at) in cases {
            for end in 1..=bytes.len() {
                let expected = if end < *told_at {
                    Opening::Undecided
                } else {
                    Opening::Stranger(*stranger)
                };
                assert_eq!(recognise(&bytes[..end]), expected, "{stranger:?}, {end}");
            }
        }
    }

    #[test]
    fn a_header_without_end_is_decided_in_the_end() {
        let mut request = b"POST / HTTP/1.1\r\nX: ".to_vec();
        request.resize(limits::UNACCEPTED_BYTES_FREE - 1, b'x');
        assert_eq!(recognise(&request), Opening::Undecided);
        assert_eq!(recognise_at_end(&request), Some(Stranger::Http));
        request.push(b'x');
        assert_eq!(recognise(&request), Opening::Stranger(Stranger::Http));
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
