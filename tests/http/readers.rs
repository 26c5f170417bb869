//! Readers that are slow, or hostile: what they make the broker hold, and how long.

use super::asking::{House, answer, request};
use mqttfast_rig::process::{Client, DEADLINE, Options};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, connect, setsockopt, socket, sockopt,
};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::thread;
use std::time::{Duration, Instant};

/// Bytes that clients have made the broker hold.
fn held(house: &House) -> u64 {
    let status = house.json("/api/v1/status");
    status["memory"]["held_bytes"].as_u64().expect("bytes")
}

#[test]
fn who_reads_a_list_slowly_holds_no_messages_that_are_deleted_meanwhile() {
    let house = House::open(1, Options::default());
    let mut lamp = Client::connect(&house.broker, "lamp");
    let topics: Vec<String> = (0..40).map(|index| format!("a/{index:02}")).collect();
    for topic in &topics {
        lamp.publish(topic, &vec![b'x'; 500_000], 1, true);
    }
    assert!(held(&house) > 20_000_000);
    let path = "/api/v1/retained?values=1&limit=1000";
    let mut readers = Vec::new();
    for path in [path, "/api/v1/topics?under=a&limit=1000"] {
        let mut reader = house.stream();
        reader
            .write_all(request("GET", path, "", "").as_bytes())
            .unwrap();
        // The list is complete when its first byte is sent behind the head.
        let mut begun = [0; 1000];
        reader.read_exact(&mut begun).unwrap();
        readers.push(reader);
    }
    let all_read = |path: &str| {
        let mut seen = BTreeSet::new();
        let mut after = String::new();
        loop {
            let page = house.json(&format!("{path}{after}"));
            for line in page["retained"].as_array().expect("lines") {
                assert_eq!(line["bytes"], 500_000);
                assert!(seen.insert(line["topic"].as_str().expect("a topic").to_owned()));
            }
            match page["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => return seen,
            }
        }
    };
    assert_eq!(all_read(path), topics.iter().cloned().collect());
    for topic in &topics {
        lamp.publish(topic, b"", 1, true);
    }
    let left = held(&house);
    assert!(left < 2_000_000, "{left} bytes are held");
    drop(readers);
}

/// A connection that is ready for a few bytes at a time.
fn narrow(port: u16) -> TcpStream {
    let flags = SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Inet, SockType::Stream, flags, None).expect("a socket");
    // Before it connects, so that neither side ever has more under way.
    setsockopt(&socket, sockopt::RcvBuf, &4096).expect("SO_RCVBUF");
    let address = SockaddrIn::new(127, 0, 0, 1, port);
    connect(socket.as_raw_fd(), &address).expect("connect");
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(DEADLINE)).expect("a deadline");
    stream
}

#[test]
fn who_takes_a_little_of_an_answer_now_and_then_is_closed_and_who_takes_much_is_not() {
    let house = House::open(1, Options::default());
    let mut lamp = Client::connect(&house.broker, "lamp");
    // Each byte takes six as JSON.
    lamp.publish("large", &vec![1; 1_000_000], 1, true);
    let files = || house.broker.descriptors();
    let before = files();
    let ask = request("GET", "/api/v1/retained/value?topic=large", "", "");
    let mut slow = narrow(house.port);
    slow.write_all(ask.as_bytes()).unwrap();
    thread::sleep(Duration::from_millis(500));
    assert_eq!(files(), before + 1);
    let start = Instant::now();
    let mut some = [0; 640];
    while files() > before {
        let took = start.elapsed();
        assert!(
            took < Duration::from_secs(40),
            "it holds what it has asked for"
        );
        let _ = slow.read(&mut some);
        thread::sleep(Duration::from_millis(100));
    }
    // It was not one that takes nothing.
    assert!(
        start.elapsed() > Duration::from_secs(15),
        "{:?}",
        start.elapsed()
    );
    let mut quick = house.stream();
    quick.write_all(ask.as_bytes()).unwrap();
    assert!(answer(&mut quick, false).body.len() > 6_000_000);
}
