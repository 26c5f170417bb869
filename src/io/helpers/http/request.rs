//! One request: its header block, read and checked. [RFC 9110, RFC 9112]

use crate::limits;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use memchr::memmem;

/// What is asked to be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Method {
    Get,
    Head,
    Post,
    Other,
}

/// Why a header block is not served: the status, and a sentence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bad(pub u16, pub &'static str);

/// User name and password of HTTP Basic. [RFC 7617]
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    pub user: String,
    pub password: Vec<u8>,
}

/// A request without its body.
pub struct Request {
    pub method: Method,
    /// Decoded, without the query.
    pub path: String,
    query: Vec<(String, String)>,
    /// As it was sent.
    pub host: String,
    /// What a browser says of the page that asks.
    pub origin: Option<String>,
    /// `Err`: there is something, and it is no HTTP Basic.
    pub credentials: Option<Result<Credentials, ()>>,
    /// Bytes of the body that were not taken.
    pub body_bytes: usize,
    /// The body is said to be JSON.
    pub is_json: bool,
    /// The sender waits for a word before it sends the body.
    pub expects_continue: bool,
    /// The connection is for further requests.
    pub keep_alive: bool,
    /// Pieces of unknown length can be sent: HTTP/1.1.
    pub takes_chunks: bool,
    /// French rather than English.
    pub wants_french: bool,
    /// The key of a WebSocket, if it is to become one of version 13. [RFC 6455 4.2.1]
    pub websocket: Option<String>,
}

/// Where the header block ends, behind its empty line. `from`: what was looked at before.
pub fn end_of_block(bytes: &[u8], from: usize) -> Option<usize> {
    // The empty line may have begun there.
    let from = from.saturating_sub(3).min(bytes.len());
    let bare = memmem::find(&bytes[from..], b"\n\n").map(|at| from + at + 2);
    let usual = memmem::find(&bytes[from..], b"\n\r\n").map(|at| from + at + 3);
    match (bare, usual) {
        (Some(bare), Some(usual)) => Some(bare.min(usual)),
        (found, other) => found.or(other),
    }
}

impl Request {
    /// Reads a whole header block.
    pub fn read(block: &[u8]) -> Result<Request, Bad> {
        let mut headers = [httparse::EMPTY_HEADER; limits::HTTP_HEADERS_MAX];
        let mut request = httparse::Request::new(&mut headers);
        match request.parse(block) {
            Ok(httparse::Status::Complete(_)) => {}
            Ok(httparse::Status::Partial) => return Err(Bad(400, "this is no HTTP request")),
            Err(httparse::Error::TooManyHeaders) => {
                return Err(Bad(431, "the request has too many header lines"));
            }
            Err(httparse::Error::Version) => {
                return Err(Bad(505, "this is served over HTTP/1.1"));
            }
            Err(_) => return Err(Bad(400, "this is no HTTP request")),
        }
        let headers = Headers(request.headers);
        let is_1_1 = request.version == Some(1);
        let target = request.path.unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        // A proxy's form of it. [RFC 9112 3.2.2]
        let path = match path.split_once("://") {
            Some(("http" | "https", rest)) => rest.find('/').map_or("/", |at| &rest[at..]),
            _ => path,
        };
        if !path.starts_with('/') {
            return Err(Bad(400, "a path begins with /"));
        }
        let path = decoded(path, false).ok_or(Bad(400, "the path is no UTF-8"))?;
        let mut pairs = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let pair = decoded(name, true).zip(decoded(value, true));
            pairs.push(pair.ok_or(Bad(400, "the query is no UTF-8"))?);
        }
        if headers.values("Transfer-Encoding").next().is_some() {
            return Err(Bad(411, "a body needs a Content-Length"));
        }
        let method = match request.method {
            Some("GET") => Method::Get,
            Some("HEAD") => Method::Head,
            Some("POST") => Method::Post,
            _ => Method::Other,
        };
        let body_bytes = match headers.only("Content-Length")? {
            None if method == Method::Post => {
                return Err(Bad(411, "a body needs a Content-Length"));
            }
            None => 0,
            Some(text) if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => {
                // What is larger than any number is too large.
                text.parse().unwrap_or(usize::MAX)
            }
            Some(_) => return Err(Bad(400, "Content-Length is no number")),
        };
        if body_bytes > limits::HTTP_BODY_BYTES_MAX {
            return Err(Bad(413, "the body is longer than 1 MiB"));
        }
        if body_bytes > 0 && method != Method::Post {
            return Err(Bad(400, "only a POST has a body"));
        }
        let Some(host) = headers.only("Host")? else {
            return Err(Bad(400, "the header Host is missing"));
        };
        let connection = |word| headers.has_word("Connection", word);
        let wants_websocket =
            is_1_1 && connection("upgrade") && headers.has_word("Upgrade", "websocket");
        let is_13 = headers.only("Sec-WebSocket-Version")? == Some("13");
        let key = headers.only("Sec-WebSocket-Key")?.filter(|key| {
            BASE64_STANDARD
                .decode(key)
                .is_ok_and(|nonce| nonce.len() == 16)
        });
        Ok(Request {
            method,
            path,
            query: pairs,
            host: host.to_owned(),
            origin: headers.only("Origin")?.map(str::to_owned),
            credentials: headers.only("Authorization")?.map(credentials),
            body_bytes,
            is_json: headers
                .only("Content-Type")?
                .is_some_and(|kind| is_kind(kind, "application/json")),
            expects_continue: headers.has_word("Expect", "100-continue"),
            keep_alive: match is_1_1 {
                true => !connection("close"),
                false => connection("keep-alive"),
            },
            takes_chunks: is_1_1,
            wants_french: headers
                .only("Accept-Language")
                .ok()
                .flatten()
                .is_some_and(wants_french),
            websocket: key.filter(|_| wants_websocket && is_13).map(str::to_owned),
        })
    }

    /// A value of the query.
    pub fn query(&self, name: &str) -> Option<&str> {
        let mut pairs = self.query.iter();
        let found = pairs.find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// The lines of the header.
struct Headers<'a>(&'a [httparse::Header<'a>]);

impl<'a> Headers<'a> {
    fn values(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        let lines = self.0.iter();
        let named = lines.filter(move |line| line.name.eq_ignore_ascii_case(name));
        named.map(|line| line.value.trim_ascii())
    }

    /// The value of a line that may be there once.
    fn only(&self, name: &str) -> Result<Option<&'a str>, Bad> {
        let mut values = self.values(name);
        let Some(first) = values.next() else {
            return Ok(None);
        };
        if values.next().is_some() {
            return Err(Bad(400, "a header line is there twice"));
        }
        match std::str::from_utf8(first) {
            Ok(text) => Ok(Some(text)),
            Err(_) => Err(Bad(400, "a header line is no UTF-8")),
        }
    }

    /// A word of a list that is parted by commas.
    fn has_word(&self, name: &str, word: &str) -> bool {
        self.values(name).any(|value| {
            let mut words = value.split(|byte| *byte == b',');
            words.any(|known| known.trim_ascii().eq_ignore_ascii_case(word.as_bytes()))
        })
    }
}

/// Without its parameters.
fn is_kind(value: &str, kind: &str) -> bool {
    let bare = value.split(';').next().unwrap_or_default();
    bare.trim().eq_ignore_ascii_case(kind)
}

fn credentials(value: &str) -> Result<Credentials, ()> {
    let (scheme, rest) = value.split_once(' ').ok_or(())?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(());
    }
    let bytes = BASE64_STANDARD.decode(rest.trim()).map_err(|_| ())?;
    let at = memchr::memchr(b':', &bytes).ok_or(())?;
    Ok(Credentials {
        user: String::from_utf8(bytes[..at].to_vec()).map_err(|_| ())?,
        password: bytes[at + 1..].to_vec(),
    })
}

/// `fr` comes before `en`, or is wanted more. [RFC 9110 12.5.4]
fn wants_french(value: &str) -> bool {
    let mut best = ("", 0.0);
    for word in value.split(',') {
        let mut parts = word.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let weight = parts
            .find_map(|part| part.strip_prefix("q=")?.parse().ok())
            .unwrap_or(1.0);
        let name = name.split('-').next().unwrap_or_default();
        let known = ["fr", "en"]
            .into_iter()
            .find(|known| known.eq_ignore_ascii_case(name));
        if let Some(known) = known
            && weight > best.1
        {
            best = (known, weight);
        }
    }
    best.0 == "fr"
}

/// `%41` becomes `A`. In a query `+` is a blank, as forms have it, but where it is a whole level of a Topic Filter:
/// people type `filter=home/+/light`. `None`: no UTF-8, or a broken `%`.
fn decoded(text: &str, is_query: bool) -> Option<String> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let byte = match bytes[at] {
            b'%' => {
                let digits = text.get(at + 1..at + 3)?;
                at += 2;
                u8::from_str_radix(digits, 16)
                    .ok()
                    .filter(|_| !digits.starts_with('+'))?
            }
            b'+' if is_query => {
                let rest = &text[at + 1..];
                let begins = matches!(out.last(), None | Some(b'/'));
                let ends = rest.is_empty()
                    || rest.starts_with('/')
                    || rest.starts_with("%2F")
                    || rest.starts_with("%2f");
                if begins && ends { b'+' } else { b' ' }
            }
            byte => byte,
        };
        out.push(byte);
        at += 1;
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Request, Bad> {
        let block = text.replace('\n', "\r\n");
        assert_eq!(
            end_of_block(block.as_bytes(), 0),
            Some(block.len()),
            "{text}"
        );
        Request::read(block.as_bytes())
    }

    fn status(text: &str) -> u16 {
        read(text).err().map_or(200, |Bad(status, _)| status)
    }

    #[test]
    fn a_request_is_read() {
        let text = "GET /api/v1/clients?limit=20&after=a%2Fb+c%3D&filter=home/+/light&x=+%2f# HTTP/1.1\nhost: localhost:8080\nAuthorization: Basic YW5uOmE6Yg==\nAccept-Language: en;q=0.5, fr-CA\n\n";
        let request = read(text).ok().unwrap();
        assert_eq!(request.path, "/api/v1/clients");
        assert_eq!(request.query("limit"), Some("20"));
        assert_eq!(request.query("after"), Some("a/b c="));
        assert_eq!(request.query("filter"), Some("home/+/light"));
        assert_eq!(request.query("x"), Some("+/#"));
        assert_eq!(request.query("y"), None);
        let credentials = request.credentials.unwrap().ok().unwrap();
        assert_eq!(
            (&*credentials.user, &*credentials.password),
            ("ann", &b"a:b"[..])
        );
        assert!(request.keep_alive && request.wants_french && request.websocket.is_none());
    }

    #[test]
    fn what_is_no_good_request_is_refused() {
        for (text, expected) in [
            ("GET / HTTP/1.1\nHost: a\n\n", 200),
            ("GET http://a/x HTTP/1.1\nHost: a\n\n", 200),
            ("GET / HTTP/1.1\n\n", 400),
            ("GET / HTTP/1.1\nHost: a\nHost: b\n\n", 400),
            ("GET /%zz HTTP/1.1\nHost: a\n\n", 400),
            ("GET /%+1 HTTP/1.1\nHost: a\n\n", 400),
            ("GET /%ff HTTP/1.1\nHost: a\n\n", 400),
            ("OPTIONS * HTTP/1.1\nHost: a\n\n", 400),
            ("GET / HTTP/1.1\nHost: a\nContent-Length: 1\n\n", 400),
            ("GET / HTTP/2.0\nHost: a\n\n", 505),
            ("POST / HTTP/1.1\nHost: a\n\n", 411),
            (
                "POST / HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\n\n",
                411,
            ),
            ("POST / HTTP/1.1\nHost: a\nContent-Length: +1\n\n", 400),
            (
                "POST / HTTP/1.1\nHost: a\nContent-Length: 1\nContent-Length: 1\n\n",
                400,
            ),
            ("POST / HTTP/1.1\nHost: a\nContent-Length: 1048577\n\n", 413),
            (
                "POST / HTTP/1.1\nHost: a\nContent-Length: 99999999999999999999999\n\n",
                413,
            ),
            ("nonsense\n\n", 400),
        ] {
            assert_eq!(status(text), expected, "{text}");
        }
        let many = "X: y\n".repeat(limits::HTTP_HEADERS_MAX + 1);
        assert_eq!(status(&format!("GET / HTTP/1.1\n{many}\n")), 431);
    }

    #[test]
    fn the_end_of_a_block_is_found_wherever_it_is_cut() {
        for text in [
            &b"GET / HTTP/1.1\r\nHost: a\r\n\r\nmore"[..],
            b"GET / HTTP/1.1\nHost: a\n\nmore",
        ] {
            let end = text.len() - 4;
            for cut in 0..text.len() {
                let before = end_of_block(&text[..cut], 0);
                assert_eq!(before, (cut >= end).then_some(end));
                if before.is_none() {
                    assert_eq!(end_of_block(text, cut), Some(end));
                }
            }
        }
    }

    #[test]
    fn the_language_is_the_one_wanted_most() {
        for (value, french) in [
            ("fr", true),
            ("fr-FR,en;q=0.8", true),
            ("de, FR;q=0.4, en;q=0.3", true),
            ("en-GB,fr;q=0.9", false),
            ("en;q=0.1, fr;q=0", false),
            ("de", false),
            ("", false),
        ] {
            assert_eq!(wants_french(value), french, "{value}");
        }
    }
}
