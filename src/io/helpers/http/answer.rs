//! The answer to one request: a head that says what browsers must not do with it, and a body, whole or in pieces.

use super::house::House;
use crate::io::helpers::answers::text_line;
use crate::io::helpers::known::unix_s;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::time::SystemTime;
use tz::UtcDateTime;

/// What JSON is sent as.
const JSON: &str = "application/json; charset=utf-8";
/// What sentences are sent as.
const TEXT: &str = "text/plain; charset=utf-8";
/// Nothing that is no page is ever shown as one.
const NO_PAGE: &str = "default-src 'none'; frame-ancestors 'none'";

/// What comes of a piece.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// There is more.
    More,
    /// That was all.
    Done,
    /// It cannot go on, as a shard does not answer.
    Busy,
}

/// A body that is made while it is sent, as fast as its reader takes it.
pub trait Pieces {
    /// Appends the next piece, which may be empty.
    fn step(&mut self, house: &House, out: &mut Vec<u8>) -> Step;

    /// What it keeps until the reader takes it.
    fn held_bytes(&self) -> usize {
        0
    }
}

/// A body.
pub enum Body {
    Whole(Vec<u8>),
    Pieces(Box<dyn Pieces>),
}

/// An answer that is not on its way yet.
pub struct Answer {
    pub status: u16,
    kind: &'static str,
    policy: String,
    /// Further header lines, each with its line break.
    more: String,
    pub body: Body,
    /// The connection ends with it.
    pub is_last: bool,
}

impl Answer {
    fn new(status: u16, kind: &'static str, body: Body) -> Answer {
        Answer {
            status,
            kind,
            policy: NO_PAGE.to_owned(),
            more: String::new(),
            body,
            is_last: false,
        }
    }

    /// One JSON value.
    pub fn json(value: &Value) -> Answer {
        let text = text_line(&value.to_string());
        Answer::new(200, JSON, Body::Whole(text.into_bytes()))
    }

    /// JSON in pieces.
    pub fn pieces(pieces: impl Pieces + 'static) -> Answer {
        Answer::new(200, JSON, Body::Pieces(Box::new(pieces)))
    }

    /// Something else.
    pub fn other(kind: &'static str, body: Vec<u8>) -> Answer {
        Answer::new(200, kind, Body::Whole(body))
    }

    /// One sentence.
    pub fn text(status: u16, text: &str) -> Answer {
        let body = format!("{text}\n").into_bytes();
        Answer::new(status, TEXT, Body::Whole(body))
    }

    /// The page. `policy`: what it may do.
    pub fn page(html: Vec<u8>, policy: &str, language: &str) -> Answer {
        let mut answer = Answer::other("text/html; charset=utf-8", html);
        policy.clone_into(&mut answer.policy);
        answer.with("Content-Language", language)
    }

    /// An error, by the codes of the control socket.
    pub fn error(status: u16, code: &str, text: &str) -> Answer {
        Answer {
            status,
            ..Answer::json(&json!({ "error": code, "text": text }))
        }
    }

    /// A shard has not answered in time.
    pub fn busy() -> Answer {
        Answer::error(503, "busy", "a shard did not answer in time: ask again")
            .with("Retry-After", "1")
    }

    /// The request is none.
    pub fn wrong(text: &str) -> Answer {
        Answer::error(400, "wrong_request", text)
    }

    /// With one more header line.
    pub fn with(mut self, name: &str, value: &str) -> Answer {
        let _ = write!(self.more, "{name}: {value}\r\n");
        self
    }

    /// The connection ends with it.
    pub fn last(mut self) -> Answer {
        self.is_last = true;
        self
    }

    /// Takes the body; the head is as it was.
    pub fn take_body(&mut self) -> Body {
        std::mem::replace(&mut self.body, Body::Whole(Vec::new()))
    }

    /// Appends the head. `length`: of the body, if it is known; else it comes in chunks, or up to the end.
    pub fn put_head(&self, length: Option<usize>, chunks: bool, is_last: bool, out: &mut Vec<u8>) {
        let mut head = format!(
            "HTTP/1.1 {} {}\r\nDate: {}\r\nContent-Type: {}\r\nContent-Security-Policy: {}\r\nX-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\nCross-Origin-Resource-Policy: same-origin\r\nCache-Control: no-store\r\n{}",
            self.status,
            words(self.status),
            date(unix_s(SystemTime::now())),
            self.kind,
            self.policy,
            self.more,
        );
        match length {
            Some(length) => drop(write!(head, "Content-Length: {length}\r\n")),
            None if chunks => head.push_str("Transfer-Encoding: chunked\r\n"),
            None => {}
        }
        head.push_str(match is_last {
            true => "Connection: close\r\n\r\n",
            false => "Connection: keep-alive\r\n\r\n",
        });
        out.extend_from_slice(head.as_bytes());
    }
}

/// Appends one chunk. [RFC 9112 7.1]
pub fn put_chunk(piece: &[u8], out: &mut Vec<u8>) {
    // An empty one would be the end.
    if !piece.is_empty() {
        out.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        out.extend_from_slice(piece);
        out.extend_from_slice(b"\r\n");
    }
}

/// The end of a body in chunks.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

fn words(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        411 => "Length Required",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        426 => "Upgrade Required",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "Unknown",
    }
}

/// As headers have it: `Sun, 06 Nov 1994 08:49:37 GMT`. [RFC 9110 5.6.7]
fn date(at_s: u64) -> String {
    const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    // The year is within 32 bits for any clock there is.
    let at = UtcDateTime::from_timespec(at_s as i64, 0).unwrap_or(UtcDateTime::UNIX_EPOCH);
    format!(
        "{}, {:02} {} {} {:02}:{:02}:{:02} GMT",
        DAYS[usize::from(at.week_day()) % 7],
        at.month_day(),
        MONTHS[usize::from(at.month().saturating_sub(1)) % 12],
        at.year(),
        at.hour(),
        at.minute(),
        at.second()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_standard() {
        assert_eq!(date(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(date(0), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(date(951_782_399), "Mon, 28 Feb 2000 23:59:59 GMT");
        assert_eq!(date(951_782_400), "Tue, 29 Feb 2000 00:00:00 GMT");
        assert_eq!(date(1_735_689_599), "Tue, 31 Dec 2024 23:59:59 GMT");
    }

    #[test]
    fn every_answer_says_what_browsers_must_not_do() {
        for answer in [
            Answer::json(&json!({})),
            Answer::text(404, "no"),
            Answer::page(Vec::new(), "default-src 'none'", "fr"),
            Answer::busy(),
        ] {
            let mut head = Vec::new();
            answer.put_head(Some(0), true, false, &mut head);
            let head = String::from_utf8(head).unwrap();
            for line in [
                "Content-Security-Policy: default-src 'none'",
                "X-Content-Type-Options: nosniff\r\n",
                "Referrer-Policy: no-referrer\r\n",
                "Cache-Control: no-store\r\n",
            ] {
                assert!(head.contains(line), "{head}");
            }
            assert!(head.ends_with("\r\n\r\n"));
        }
    }
}
