//! A client of HTTP that knows what it wants, and reads answers strictly.

use mqttfast_rig::process::{Broker, DEADLINE, Options};
use serde_json::Value;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream};

/// A broker with its page.
pub struct House {
    pub broker: Broker,
    pub port: u16,
}

impl House {
    pub fn open(shards: usize, options: Options) -> House {
        let mut options = Options { shards, ..options };
        options
            .arguments
            .extend(["--http".to_owned(), "127.0.0.1:0".to_owned()]);
        House::of(Broker::start_with(options))
    }

    /// Of a broker whose log says where its page is.
    pub fn of(broker: Broker) -> House {
        let line = broker.logged(&["page on http"]);
        let port = line.split("://").nth(1).and_then(|rest| {
            let address = rest.split('/').next()?;
            address.rsplit(':').next()?.parse().ok()
        });
        let port = port.expect("a port");
        House { broker, port }
    }

    pub fn stream(&self) -> TcpStream {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).expect("connect");
        stream.set_read_timeout(Some(DEADLINE)).expect("a deadline");
        stream
            .set_write_timeout(Some(DEADLINE))
            .expect("a deadline");
        stream
    }

    /// One request on a connection of its own; more header lines, each with its line break.
    pub fn ask(&self, method: &str, path: &str, more: &str, body: &str) -> Answer {
        let mut stream = self.stream();
        stream
            .write_all(request(method, path, more, body).as_bytes())
            .expect("send");
        answer(&mut stream, method == "HEAD")
    }

    pub fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "", "")
    }

    /// The JSON of a path that is there.
    #[track_caller]
    pub fn json(&self, path: &str) -> Value {
        let answer = self.get(path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.json()
    }

    pub fn post(&self, path: &str, more: &str, body: &Value) -> Answer {
        let more = format!("Content-Type: application/json\r\n{more}");
        self.ask("POST", path, &more, &body.to_string())
    }
}

pub fn request(method: &str, path: &str, more: &str, body: &str) -> String {
    let length = match body {
        "" if method != "POST" => String::new(),
        body => format!("Content-Length: {}\r\n", body.len()),
    };
    format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{more}{length}\r\n{body}")
}

pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut named = self
            .headers
            .iter()
            .filter(|(known, _)| known.eq_ignore_ascii_case(name));
        let first = named.next().map(|(_, value)| value.as_str());
        assert!(named.next().is_none(), "{name} is there twice");
        first
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("UTF-8")
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        let kind = self.header("Content-Type");
        assert_eq!(kind, Some("application/json; charset=utf-8"));
        let text = self.text();
        serde_json::from_str(&text).unwrap_or_else(|why| panic!("{why}: {text}"))
    }

    /// The code of an error.
    pub fn error(&self) -> (u16, String) {
        let code = self.json()["error"].as_str().map(str::to_owned);
        (self.status, code.expect("a code"))
    }
}

/// One answer, to its last byte and not beyond.
#[track_caller]
pub fn answer(stream: &mut impl Read, is_head: bool) -> Answer {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            Ok(_) => panic!("the end of: {}", String::from_utf8_lossy(&head)),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => panic!("{error} after: {}", String::from_utf8_lossy(&head)),
        }
    }
    let head = String::from_utf8(head).expect("a head is ASCII");
    let mut lines = head.trim_end().split("\r\n");
    let first = lines.next().expect("a status line");
    let status = first.strip_prefix("HTTP/1.1 ").expect("HTTP/1.1");
    let status = status[..3].parse().expect("a status");
    let headers = lines.map(|line| {
        let (name, value) = line.split_once(": ").expect("name and value");
        (name.to_owned(), value.to_owned())
    });
    let mut answer = Answer {
        status,
        headers: headers.collect(),
        body: Vec::new(),
    };
    if status == 101 {
        return answer;
    }
    for (name, wanted) in [
        ("X-Content-Type-Options", "nosniff"),
        ("Referrer-Policy", "no-referrer"),
        ("Cache-Control", "no-store"),
    ] {
        assert_eq!(answer.header(name), Some(wanted), "{head}");
    }
    let policy = answer.header("Content-Security-Policy");
    let policy = policy.expect("a policy");
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"));
    assert!(answer.header("Date").is_some());
    if is_head {
        return answer;
    }
    if answer.header("Transfer-Encoding") == Some("chunked") {
        assert_eq!(answer.header("Content-Length"), None);
        loop {
            let size = line(stream);
            let size = usize::from_str_radix(&size, 16).expect("a size");
            let from = answer.body.len();
            answer.body.resize(from + size, 0);
            stream
                .read_exact(&mut answer.body[from..])
                .expect("a chunk");
            assert_eq!(line(stream), "");
            if size == 0 {
                break;
            }
        }
    } else {
        let length = answer.header("Content-Length").expect("a length");
        answer.body = vec![0; length.parse().expect("a number")];
        stream.read_exact(&mut answer.body).expect("a body");
    }
    answer
}

fn line(stream: &mut impl Read) -> String {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("a line");
        line.push(byte[0]);
    }
    String::from_utf8_lossy(&line[..line.len() - 2]).into_owned()
}
