//! The HTTP request that opens a WebSocket, and its answer. [RFC 6455 4.2]
//!
//! Whoever asks for something else gets an answer that a person understands: people open the port in a browser, and
//! proxies forget to pass a header on.

use crate::config::WebSocketTerms;
use crate::limits;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};
use std::net::IpAddr;

/// What a key is hashed with. [RFC 6455 1.3]
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// Subprotocols that are MQTT. [v3.1.1 MQTT-6.0.0-3, v5 MQTT-6.0.0-3; the second is that of 3.1]
const SUBPROTOCOLS: [&str; 2] = ["mqtt", "mqttv3.1"];
/// The version of WebSocket there is. [RFC 6455 4.1]
const VERSION: &[u8] = b"13";

/// A request that is answered with a WebSocket.
#[derive(PartialEq, Eq, Debug)]
pub struct Accepted {
    /// What opens it.
    pub answer: Vec<u8>,
    /// Who connected to the proxy that sent the request, where that is trusted.
    pub forwarded: Option<IpAddr>,
}

/// Why a request gets no WebSocket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// It asks for something else over HTTP.
    NoUpgrade,
    /// A WebSocket begins with GET.
    Method,
    /// HTTP/1.0 has no Upgrade.
    OldHttp,
    /// Not what RFC 7230 calls a request.
    Malformed,
    /// The header block is longer than it may be, or has too many lines.
    TooLarge,
    /// Not version 13.
    Version,
    /// No key, more than one, or not 16 bytes.
    Key,
    /// None of the subprotocols is MQTT.
    Subprotocol,
    /// A page of another site.
    Origin,
}

impl Refused {
    /// For the log.
    pub fn reason(self) -> &'static str {
        match self {
            Refused::NoUpgrade => {
                "an HTTP request that asks for no WebSocket (a browser, or a proxy that does not pass Upgrade and Connection on)"
            }
            Refused::Method => "a WebSocket request that is no GET",
            Refused::OldHttp => {
                "a WebSocket request in HTTP/1.0 (nginx needs proxy_http_version 1.1)"
            }
            Refused::Malformed => "a malformed HTTP request",
            Refused::TooLarge => {
                "an HTTP request with too long a header (cookies? websockets_headers_size sets the limit)"
            }
            Refused::Version => "a WebSocket request of another version than 13",
            Refused::Key => "a WebSocket request without a good Sec-WebSocket-Key",
            Refused::Subprotocol => {
                "a WebSocket request that names neither mqtt nor mqttv3.1 as its subprotocol"
            }
            Refused::Origin => "a WebSocket request of a page whose Origin is not allowed here",
        }
    }

    /// The whole answer to the peer.
    pub fn answer(self) -> Vec<u8> {
        let (status, more, text) = match self {
            Refused::NoUpgrade => (
                "426 Upgrade Required",
                "Upgrade: websocket\r\n",
                "This port speaks MQTT over WebSocket: connect with an MQTT client, to ws://HOST:PORT/mqtt for instance; a proxy in between must pass the headers Upgrade and Connection on.",
            ),
            Refused::Method => (
                "405 Method Not Allowed",
                "Allow: GET\r\n",
                "A WebSocket begins with GET.",
            ),
            Refused::OldHttp => (
                "426 Upgrade Required",
                "Upgrade: websocket\r\n",
                "A WebSocket needs HTTP/1.1; with nginx in between, set proxy_http_version 1.1.",
            ),
            Refused::Malformed => (
                "400 Bad Request",
                "",
                "This is no HTTP request that this port understands.",
            ),
            Refused::TooLarge => (
                "431 Request Header Fields Too Large",
                "",
                "The header of the request is too long for this port.",
            ),
            Refused::Version => (
                "426 Upgrade Required",
                "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
                "This port speaks version 13 of WebSocket.",
            ),
            Refused::Key => (
                "400 Bad Request",
                "",
                "Sec-WebSocket-Key must be 16 bytes in Base64.",
            ),
            Refused::Subprotocol => (
                "400 Bad Request",
                "",
                "Sec-WebSocket-Protocol must name mqtt: this port speaks MQTT over WebSocket.",
            ),
            Refused::Origin => (
                "403 Forbidden",
                "",
                "Pages of this Origin may not connect here.",
            ),
        };
        let bytes = text.len() + 1;
        format!("HTTP/1.1 {status}\r\n{more}Connection: close\r\nContent-Type: text/plain\r\nContent-Length: {bytes}\r\n\r\n{text}\n").into_bytes()
    }
}

/// What the key of a request is answered with. [RFC 6455 4.2.2]
pub fn accept(key: &[u8]) -> String {
    STANDARD.encode(Sha1::new().chain_update(key).chain_update(GUID).finalize())
}

/// Answers a whole header block, with the empty line at its end. `peer`: the other end of the socket.
pub fn answer(block: &[u8], terms: &WebSocketTerms, peer: IpAddr) -> Result<Accepted, Refused> {
    let mut headers = [httparse::EMPTY_HEADER; limits::HTTP_HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(block) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Err(Refused::Malformed),
        Err(httparse::Error::TooManyHeaders) => return Err(Refused::TooLarge),
        Err(_) => return Err(Refused::Malformed),
    }
    let headers = Headers(request.headers);
    let upgrades = headers
        .list("Upgrade")
        .any(|word| word.eq_ignore_ascii_case("websocket"));
    if !upgrades {
        return Err(Refused::NoUpgrade);
    }
    if request.method != Some("GET") {
        return Err(Refused::Method);
    }
    if request.version != Some(1) {
        return Err(Refused::OldHttp);
    }
    if !headers
        .list("Connection")
        .any(|word| word.eq_ignore_ascii_case("upgrade"))
    {
        return Err(Refused::NoUpgrade);
    }
    if headers.only("Sec-WebSocket-Version") != Some(VERSION) {
        return Err(Refused::Version);
    }
    let key = headers.only("Sec-WebSocket-Key").ok_or(Refused::Key)?;
    if STANDARD.decode(key).map_or(0, |nonce| nonce.len()) != 16 {
        return Err(Refused::Key);
    }
    let mut named = headers.list("Sec-WebSocket-Protocol");
    let subprotocol = named
        .find(|word| SUBPROTOCOLS.contains(word))
        .ok_or(Refused::Subprotocol)?;
    // A browser always says where a page is from; who says nothing is no page.
    let mut origins = headers.values("Origin");
    let allowed = |origin: &[u8]| terms.origins.iter().any(|known| known.as_bytes() == origin);
    if !terms.origins.is_empty() && !origins.all(allowed) {
        return Err(Refused::Origin);
    }
    let accept = accept(key);
    Ok(Accepted {
        answer: format!("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: {subprotocol}\r\n\r\n").into_bytes(),
        forwarded: forwarded(&headers, terms, peer),
    })
}

/// The header lines of a request.
struct Headers<'a>(&'a [httparse::Header<'a>]);

impl<'a> Headers<'a> {
    /// The values of all lines of this name, without the blanks around them.
    fn values(&self, name: &str) -> impl DoubleEndedIterator<Item = &'a [u8]> {
        let lines = self.0.iter();
        let named = lines.filter(move |line| line.name.eq_ignore_ascii_case(name));
        named.map(|line| line.value.trim_ascii())
    }

    /// The value, if there is one line of this name.
    fn only(&self, name: &str) -> Option<&'a [u8]> {
        let mut values = self.values(name);
        values.next().filter(|_| values.next().is_none())
    }

    /// The words of lists that are parted by commas, of all lines of this name. [RFC 7230 7]
    fn list(&self, name: &str) -> impl DoubleEndedIterator<Item = &'a str> {
        let lines = self.values(name);
        let texts = lines.filter_map(|value| std::str::from_utf8(value).ok());
        let words = texts.flat_map(|text| text.split(','));
        words.map(str::trim_ascii).filter(|word| !word.is_empty())
    }
}

/// Who connected to the nearest proxy that is not ours: each proxy appends to `X-Forwarded-For` whom it was connected
/// by, so the list is believed from its end, as far as the addresses are those of trusted proxies.
fn forwarded(headers: &Headers<'_>, terms: &WebSocketTerms, peer: IpAddr) -> Option<IpAddr> {
    let trusted = |address: IpAddr| terms.proxies.iter().any(|network| network.holds(address));
    if !trusted(peer) {
        return None;
    }
    let mut found = None;
    for word in headers.list("X-Forwarded-For").rev() {
        let Some(address) = address_of(word) else {
            break;
        };
        found = Some(address);
        if !trusted(address) {
            break;
        }
    }
    found
}

/// An address as proxies write it: alone, or with a port, which goes with brackets in IPv6.
fn address_of(word: &str) -> Option<IpAddr> {
    let address = word.parse().ok().or_else(|| {
        let with_port: Option<std::net::SocketAddr> = word.parse().ok();
        with_port.map(|address| address.ip())
    });
    let address = address.or_else(|| {
        let bare = word.strip_prefix('[')?.strip_suffix(']')?;
        bare.parse().ok()
    });
    address.map(|address| address.to_canonical())
}
