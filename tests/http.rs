//! The page's server, by the real program over sockets: each path, who may ask, foreign pages and hosts, peers that are
//! slow or hostile, and what it costs while nobody looks.

use mqttfast_rig::process::packet;
use mqttfast_rig::process::{self, Broker, Client, DEADLINE, Folder, Options, free_port};
use serde_json::{Value, json};
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};
use tungstenite::client::IntoClientRequest;
use tungstenite::{Message, WebSocket};

#[path = "http/asking.rs"]
mod asking;
#[path = "http/metrics.rs"]
mod metrics;
#[path = "http/readers.rs"]
mod readers;

use asking::{House, answer, request};

/// A password file with ann and bob, whose password is `secret`.
fn passwords(folder: &Folder) -> std::path::PathBuf {
    let file = folder.path("passwd");
    for (index, user) in ["ann", "bob"].into_iter().enumerate() {
        let mut command = Command::new(process::program());
        command.args(["passwd", "-b", "-I", "10"]);
        if index == 0 {
            command.arg("-c");
        }
        let done = command.arg(&file).args([user, "secret"]).output();
        assert!(done.expect("mqttfast passwd").status.success());
    }
    file
}

/// The header of a login.
fn login(user: &str, password: &str) -> String {
    use base64::Engine;
    let both = base64::prelude::BASE64_STANDARD.encode(format!("{user}:{password}"));
    format!("Authorization: Basic {both}\r\n")
}

#[test]
fn every_path_answers() {
    for shards in [1, 2] {
        let house = House::open(shards, Options::default());
        let mut lamp = Client::connect(&house.broker, "lamp");
        lamp.subscribe("nothing/#", 1);
        lamp.publish("home/a", b"on", 1, true);
        lamp.publish("home/b/c", &[0xFF, 0], 1, true);
        lamp.publish("home/b", "é".repeat(600).as_bytes(), 1, true);
        lamp.publish("other", b"x", 1, true);

        let version = house.json("/api/v1/version");
        let own =
            json!({ "name": "mqttfast", "version": env!("CARGO_PKG_VERSION"), "protocol": 1 });
        assert_eq!(version, own);
        let me = house.json("/api/v1/me");
        assert_eq!(me, json!({ "user": null, "loopback": true }));
        let status = house.json("/api/v1/status");
        assert_eq!(status["shards"], shards);
        assert_eq!(
            (&status["connections"], &status["retained"]),
            (&json!(1), &json!(4))
        );
        assert_eq!(house.json("/api/v1/store"), status["store"]);
        let listeners = house.json("/api/v1/listeners");
        assert_eq!(listeners["listeners"], status["listeners"]);
        assert_eq!(house.json("/api/v1/bridges"), json!({ "bridges": [] }));

        let clients = house.json("/api/v1/clients");
        assert_eq!(clients["next"], Value::Null);
        let lamp_line = &clients["clients"][0];
        assert_eq!(
            (&lamp_line["client"], &lamp_line["mqtt"]),
            (&json!("lamp"), &json!("3.1.1"))
        );

        let roots = house.json("/api/v1/topics");
        let levels = roots["levels"].as_array().expect("levels");
        assert_eq!((&roots["under"], levels.len()), (&Value::Null, 2));
        assert_eq!(
            (&levels[0]["level"], &levels[0]["below"]),
            (&json!("home"), &json!(3))
        );
        assert_eq!(levels[0]["retained"], Value::Null);
        assert_eq!(levels[1]["retained"]["value"], "x");
        let home = house.json("/api/v1/topics?under=home");
        let b = &home["levels"][1];
        assert_eq!((&b["topic"], &b["below"]), (&json!("home/b"), &json!(1)));
        // 1 KiB of characters of two bytes.
        assert_eq!(b["retained"]["value"], "é".repeat(512));
        assert_eq!(b["retained"]["cut"], true);
        let first = house.json("/api/v1/topics?under=home&limit=1");
        assert_eq!(first["next"], "a");
        let second = house.json("/api/v1/topics?under=home&limit=1&after=a");
        assert_eq!(
            (&second["levels"][0]["level"], &second["next"]),
            (&json!("b"), &Value::Null)
        );
        assert_eq!(house.get("/api/v1/topics?under=home/%23").status, 400);

        let retained = house.json("/api/v1/retained?filter=home/%23&values=1");
        let lines = retained["retained"].as_array().expect("lines");
        let topics: Vec<&Value> = lines.iter().map(|line| &line["topic"]).collect();
        assert_eq!(topics, ["home/a", "home/b", "home/b/c"]);
        assert_eq!(
            (&lines[0]["value"], &lines[2]["value_base64"]),
            (&json!("on"), &json!("/wA="))
        );
        let plus = house.json("/api/v1/retained?filter=home/+/c");
        assert_eq!(plus["retained"][0]["topic"], "home/b/c");
        assert_eq!(plus["retained"][0]["value"], Value::Null);
        let page = house.json("/api/v1/retained?limit=2");
        let after = page["next"].as_str().expect("there is more");
        let rest = house.json(&format!("/api/v1/retained?limit=2&after={after}"));
        assert_eq!(
            (&rest["retained"][1]["topic"], &rest["next"]),
            (&json!("other"), &Value::Null)
        );
        let whole = house.json("/api/v1/retained/value?topic=home/b");
        assert_eq!(
            (&whole["value"], &whole["cut"]),
            (&json!("é".repeat(600)), &json!(false))
        );
        assert_eq!(
            house.get("/api/v1/retained/value?topic=nothing").status,
            404
        );

        let tree = house.json("/api/v1/systree");
        let clients = &tree["topics"]["$SYS/broker/clients/connected"];
        assert_eq!(clients, "1", "{tree}");
        assert_eq!(house.json("/api/v1/denials"), json!({ "happenings": [] }));
        assert_eq!(house.get("/healthz").text(), "ok\n");
        let page = house.get("/");
        assert!(page.text().contains("<html lang=\"en\">"));
        let french = house.ask("GET", "/", "Accept-Language: fr\r\n", "");
        assert!(french.text().contains("<html lang=\"fr\">"));

        for path in ["/", "/api/v1/clients", "/metrics", "/healthz"] {
            let head = house.ask("HEAD", path, "", "");
            assert_eq!((head.status, head.body.len()), (200, 0), "{path}");
            let post = house.ask("POST", path, "", "x");
            assert_eq!(
                (post.status, post.header("Allow")),
                (405, Some("GET, HEAD"))
            );
        }
        assert_eq!(house.get("/api/v1/publish").status, 405);
        assert_eq!(house.get("/api/v1/live").status, 426);
        for path in [
            "/nothing",
            "/api/v1/",
            "/api/v2/status",
            "/../etc/passwd",
            "//",
        ] {
            assert_eq!(house.get(path).status, 404, "{path}");
        }
        for query in ["limit=0", "limit=1001", "limit=x", "after=1", "after=x.y"] {
            let path = format!("/api/v1/clients?{query}");
            assert_eq!(
                house.get(&path).error(),
                (400, "wrong_request".to_owned()),
                "{path}"
            );
        }
    }
}

#[test]
fn lists_go_on_where_they_stopped() {
    let house = House::open(2, Options::default());
    let _clients: Vec<Client> = (0..333)
        .map(|index| Client::connect(&house.broker, &format!("c{index}")))
        .collect();
    let (mut found, mut after) = (Vec::new(), String::new());
    loop {
        let page = house.json(&format!("/api/v1/clients?limit=50{after}"));
        let lines = page["clients"].as_array().expect("lines");
        assert!(lines.len() <= 50);
        found.extend(
            lines
                .iter()
                .map(|line| line["client"].as_str().unwrap().to_owned()),
        );
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    found.sort();
    found.dedup();
    assert_eq!(found.len(), 333);
    assert_eq!(
        house.json("/api/v1/clients?limit=1000")["clients"]
            .as_array()
            .unwrap()
            .len(),
        333
    );
}

#[test]
fn metrics_are_read_by_a_strict_reader() {
    let house = House::open(2, Options::default());
    let mut lamp = Client::connect(&house.broker, "lamp");
    let before = metrics::read(&house.get("/metrics").text());
    lamp.publish("a", b"12345", 1, true);
    lamp.publish("$SYS/x", b"", 1, false);
    let answer = house.get("/metrics");
    let kind = answer.header("Content-Type");
    assert_eq!(kind, Some("text/plain; version=0.0.4; charset=utf-8"));
    let after = metrics::read(&answer.text());
    let more = |name: &str| after[name] - before[name];
    assert_eq!(more("mqttfast_messages_received_total"), 2.0);
    assert_eq!(
        more("mqttfast_messages_dropped_total{reason=\"own_topic\"}"),
        1.0
    );
    assert_eq!(after["mqttfast_connections"], 1.0);
    assert_eq!(after["mqttfast_retained_messages"], 1.0);
    assert!(after["process_resident_memory_bytes"] > 1e6);
    assert!(after["process_open_fds"] > 5.0 && after["process_max_fds"] > 5.0);
    assert_eq!(
        before.len(),
        after.len(),
        "nothing that clients do makes a series"
    );
}

#[test]
fn who_asks_logs_in_where_there_is_a_password_file() {
    let folder = Folder::new();
    let acl = folder.path("acl");
    fs::write(
        &acl,
        "user ann\ntopic home/#\nuser bob\ntopic read home/b\n",
    )
    .unwrap();
    let house = House::open(
        1,
        Options {
            passwd: Some(passwords(&folder)),
            acl: Some(acl),
            ..Options::default()
        },
    );
    assert_eq!(house.get("/healthz").status, 200);
    for path in ["/", "/metrics", "/api/v1/status", "/nothing"] {
        let refused = house.get(path);
        assert_eq!(refused.status, 401, "{path}");
        let basic = refused
            .header("WWW-Authenticate")
            .expect("what is asked for");
        assert!(basic.starts_with("Basic realm="));
    }
    for wrong in [
        login("ann", "wrong"),
        login("nobody", "secret"),
        "Authorization: Bearer x\r\n".to_owned(),
        "Authorization: Basic !!!\r\n".to_owned(),
        "Authorization: Basic\r\n".to_owned(),
    ] {
        assert_eq!(house.ask("GET", "/", &wrong, "").status, 401, "{wrong}");
    }
    house
        .broker
        .logged(&["login failed from 127.0.0.1:", "wrong password", "user ann"]);
    let (ann, bob) = (login("ann", "secret"), login("bob", "secret"));
    let me = house.ask("GET", "/api/v1/me", &ann, "").json();
    assert_eq!(me, json!({ "user": "ann", "loopback": true }));
    let denials = house
        .ask("GET", "/api/v1/denials?client=ann", &ann, "")
        .json();
    assert_eq!(denials["happenings"][0]["kind"], "refusal", "{denials}");

    // Rights
    let publish = |who: &str, topic: &str, qos: u8| {
        let body = json!({ "topic": topic, "payload": "x", "qos": qos, "retain": true });
        house.post("/api/v1/publish", who, &body)
    };
    for qos in 0..=2 {
        for topic in ["home/a", "home/b"] {
            let done = publish(&ann, topic, qos);
            assert_eq!(
                (done.status, done.json()),
                (200, json!({ "done": true })),
                "QoS {qos}"
            );
            let refused = publish(&bob, topic, qos);
            assert_eq!(refused.error(), (403, "not_authorized".to_owned()));
            assert!(refused.text().contains("bob"), "{}", refused.text());
        }
    }
    let topics = |who: &str| {
        let list = house
            .ask("GET", "/api/v1/retained?values=1", who, "")
            .json();
        let lines = list["retained"].as_array().unwrap().clone();
        let topics = lines.iter().map(|line| line["topic"].as_str().unwrap());
        topics.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(
        (topics(&ann), topics(&bob)),
        ("home/a home/b".to_owned(), "home/b".to_owned())
    );
    let value = |who: &str| {
        house
            .ask("GET", "/api/v1/retained/value?topic=home/a", who, "")
            .status
    };
    assert_eq!((value(&ann), value(&bob)), (200, 404));
    let level = house
        .ask("GET", "/api/v1/topics?under=home", &bob, "")
        .json();
    assert_eq!(level["levels"].as_array().unwrap().len(), 1);
    let remove = |who: &str, dry: bool| {
        let body = json!({ "filter": "home/#", "dry_run": dry });
        house.post("/api/v1/retained/remove", who, &body).json()
    };
    assert_eq!(remove(&bob, false)["count"], 0);
    let trial = json!({ "removed": ["home/a", "home/b"], "count": 2, "dry_run": true });
    let sorted = |mut removed: Value| {
        let topics = removed["removed"].as_array_mut().unwrap();
        topics.sort_by_key(|topic| topic.to_string());
        removed
    };
    assert_eq!(sorted(remove(&ann, true)), trial);
    assert_eq!(topics(&ann), "home/a home/b");
    assert_eq!(remove(&ann, false)["count"], 2);
    assert_eq!(topics(&ann), "");
}

#[test]
fn guesses_wait_longer_and_longer() {
    let folder = Folder::new();
    let house = House::open(
        1,
        Options {
            passwd: Some(passwords(&folder)),
            ..Options::default()
        },
    );
    let start = Instant::now();
    for _ in 0..14 {
        assert_eq!(
            house.ask("GET", "/", &login("ann", "wrong"), "").status,
            401
        );
    }
    // Behind the eleventh: 50, 100, 200 ms.
    assert!(
        start.elapsed() >= Duration::from_millis(350),
        "{:?}",
        start.elapsed()
    );
    // A check that waits holds up nobody: /healthz needs none.
    let mut guess = house.stream();
    guess
        .write_all(request("GET", "/", &login("ann", "wrong"), "").as_bytes())
        .unwrap();
    let start = Instant::now();
    assert_eq!(house.get("/healthz").status, 200);
    assert!(start.elapsed() < Duration::from_millis(350));
    assert_eq!(answer(&mut guess, false).status, 401);
}

#[test]
fn foreign_hosts_and_pages_are_refused() {
    let house = House::open(1, Options::default());
    let with_host = |host: &str| {
        let mut stream = house.stream();
        let text = format!("GET /api/v1/me HTTP/1.1\r\nHost: {host}\r\n\r\n");
        stream.write_all(text.as_bytes()).unwrap();
        answer(&mut stream, false).status
    };
    let port = house.port;
    for host in [
        "localhost",
        "127.0.0.1",
        "[::1]",
        "LOCALHOST.",
        "127.1.2.3:80",
    ] {
        assert_eq!(with_host(host), 200, "{host}");
    }
    for host in [
        "evil.example",
        "localhost.evil.example:80",
        "192.0.2.1",
        "",
        "a b",
    ] {
        assert_ne!(with_host(host), 200, "{host}");
    }
    assert_eq!(with_host("evil.example"), 403);

    let body = json!({ "topic": "a", "payload": "x" });
    let publish = |more: &str| house.post("/api/v1/publish", more, &body).status;
    assert_eq!(publish(""), 200);
    assert_eq!(publish("Origin: http://localhost\r\n"), 200);
    for origin in [
        "http://evil.example",
        "https://localhost",
        "http://localhost:1",
        "null",
        "",
    ] {
        assert_eq!(publish(&format!("Origin: {origin}\r\n")), 403, "{origin}");
    }
    // What a form of a foreign page can send.
    for kind in [
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
    ] {
        let kind = format!("Content-Type: {kind}\r\n");
        let sent = house.ask("POST", "/api/v1/publish", &kind, &body.to_string());
        assert_eq!(sent.status, 415, "{kind}");
    }
    let upgrade = |origin: &str| live_from(&house, "", Some(origin)).err();
    assert_eq!(upgrade("http://evil.example"), Some(403));
    assert_eq!(upgrade(&format!("http://localhost:{port}")), None);
}

#[test]
fn what_is_wrong_with_a_body_is_said() {
    let house = House::open(1, Options::default());
    let post = |path: &str, body: &str| {
        let kind = "Content-Type: application/json; charset=utf-8\r\n";
        house.ask("POST", path, kind, body)
    };
    for (body, status) in [
        ("", 400),
        ("[]", 400),
        ("{", 400),
        ("{}", 400),
        (r#"{"topic":7}"#, 400),
        (r#"{"topic":"a/+"}"#, 400),
        (r#"{"topic":""}"#, 400),
        (r#"{"topic":"a","qos":3}"#, 400),
        (r#"{"topic":"a","qos":-1}"#, 400),
        (r#"{"topic":"a","retain":"yes"}"#, 400),
        (
            r#"{"topic":"a","payload":"x","payload_base64":"eA=="}"#,
            400,
        ),
        (r#"{"topic":"a","payload_base64":"*"}"#, 400),
        (r#"{"topic":"$SYS/a"}"#, 403),
        (r#"{"topic":"a"}"#, 200),
    ] {
        let answer = post("/api/v1/publish", body);
        assert_eq!(answer.status, status, "{body}: {}", answer.text());
    }
    for body in [
        r#"{}"#,
        r##"{"filter":"a#"}"##,
        r##"{"filter":"#","older_s":"x"}"##,
    ] {
        assert_eq!(post("/api/v1/retained/remove", body).status, 400, "{body}");
    }
    let mut reader = Client::connect(&house.broker, "reader");
    reader.subscribe("bytes", 2);
    let body = r#"{"topic":"bytes","payload_base64":"AP8=","qos":2}"#;
    assert_eq!(post("/api/v1/publish", body).status, 200);
    reader.expect_message("bytes", &[0, 0xFF], 2);
}

#[test]
fn the_body_of_a_refused_request_is_no_request() {
    let house = House::open(1, Options::default());
    let inner = request("GET", "/api/v1/version", "", "");
    for (path, kind, status) in [
        ("/nothing", "application/json", 404),
        ("/metrics", "application/json", 405),
        ("/api/v1/publish", "text/plain", 415),
    ] {
        let mut stream = house.stream();
        let kind = format!("Content-Type: {kind}\r\n");
        let text = request("POST", path, &kind, &inner);
        stream.write_all(text.as_bytes()).unwrap();
        let refused = answer(&mut stream, false);
        assert_eq!(refused.status, status, "{path}");
        assert_eq!(refused.header("Connection"), Some("close"), "{path}");
        let mut rest = String::new();
        stream.read_to_string(&mut rest).expect("the end");
        assert_eq!(rest, "", "{path}: what was its body is answered");
    }
    // What was read to its end leaves the connection to the next one.
    let mut stream = house.stream();
    let kind = "Content-Type: application/json\r\n";
    let text = request("POST", "/api/v1/publish", kind, "{}");
    stream.write_all(text.as_bytes()).unwrap();
    assert_eq!(answer(&mut stream, false).status, 400);
    stream.write_all(inner.as_bytes()).unwrap();
    assert_eq!(answer(&mut stream, false).status, 200);
}

#[test]
fn names_are_text_whatever_they_are() {
    let house = House::open(1, Options::default());
    let evil = "<script>alert('1')</script>\"\\\u{7f}\u{202e}";
    let long = format!("{evil}{}", "<b>".repeat(20_000));
    let mut client = Client::connect(&house.broker, &long);
    client.publish(evil, b"</script><img src=x onerror=alert(1)>", 1, true);
    let clients = house.get("/api/v1/clients");
    assert_eq!(clients.json()["clients"][0]["client"], long.as_str());
    let text = clients.text();
    let harmless = |c: char| !c.is_control() && c != '\u{202e}';
    assert!(text.chars().all(harmless));
    let retained = house.json("/api/v1/retained?values=1");
    assert_eq!(retained["retained"][0]["topic"], evil);
    // Many long ones come in pieces, and all of them.
    let _clients: Vec<Client> = (0..40)
        .map(|index| Client::connect(&house.broker, &format!("{index}{}", "é".repeat(30_000))))
        .collect();
    assert_eq!(
        house.json("/api/v1/clients")["clients"]
            .as_array()
            .unwrap()
            .len(),
        41
    );
}

#[test]
fn a_connection_serves_many_requests_in_their_order() {
    let house = House::open(1, Options::default());
    let mut stream = house.stream();
    let mut all = request("GET", "/api/v1/me", "", "");
    all += &request("HEAD", "/api/v1/clients", "", "");
    all += &request("GET", "/nothing", "", "");
    all += &request("GET", "/api/v1/clients", "", "");
    let body = r#"{"topic":"a"}"#;
    all += &request(
        "POST",
        "/api/v1/publish",
        "Content-Type: application/json\r\n",
        body,
    );
    all += &request("GET", "/healthz", "Connection: close\r\n", "");
    // Cut anywhere.
    for piece in all.as_bytes().chunks(7) {
        stream.write_all(piece).unwrap();
        thread::sleep(Duration::from_micros(200));
    }
    let statuses: Vec<u16> = [false, true, false, false, false, false]
        .map(|is_head| answer(&mut stream, is_head).status)
        .into();
    assert_eq!(statuses, [200, 200, 404, 200, 200, 200]);
    assert_eq!(stream.read(&mut [0]).expect("the end"), 0);

    let mut stream = house.stream();
    stream
        .write_all(b"GET /api/v1/clients HTTP/1.0\r\nHost: localhost\r\n\r\n")
        .unwrap();
    let mut text = String::new();
    stream
        .read_to_string(&mut text)
        .expect("UTF-8 up to the end");
    assert!(
        text.ends_with("\r\n\r\n{\"clients\":[],\"next\":null}"),
        "{text}"
    );

    let mut stream = house.stream();
    let more = "Content-Type: application/json\r\nExpect: 100-continue\r\n";
    let text = request("POST", "/api/v1/publish", more, body);
    let (head, body) = text.split_at(text.len() - body.len());
    stream.write_all(head.as_bytes()).unwrap();
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(body.as_bytes()).unwrap();
    assert_eq!(answer(&mut stream, false).status, 200);
}

#[test]
fn hostile_peers_hold_only_their_own_connections() {
    let house = House::open(1, Options::default());
    let bystander = |what: &str| {
        let start = Instant::now();
        assert_eq!(house.get("/api/v1/status").status, 200, "{what}");
        assert!(
            start.elapsed() < Duration::from_secs(3),
            "{what}: {:?}",
            start.elapsed()
        );
    };
    // A header without end.
    let mut endless = house.stream();
    endless
        .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
        .unwrap();
    let line = format!("X: {}\r\n", "x".repeat(100));
    let _ = endless.write_all(line.repeat(100).as_bytes());
    let refused = answer(&mut endless, false);
    assert_eq!(refused.error(), (431, "too_long".to_owned()));
    // One long line.
    let mut endless = house.stream();
    let _ = endless.write_all(&vec![b'a'; 9_000]);
    assert_eq!(answer(&mut endless, false).status, 431);
    // A body that is too large, which nobody reads.
    let mut large = house.stream();
    let head = "POST /api/v1/publish HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1048577\r\n\r\n";
    large.write_all(head.as_bytes()).unwrap();
    let _ = large.write_all(&vec![b' '; 300_000]);
    assert_eq!(answer(&mut large, false).status, 413);
    for (text, status) in [
        ("nonsense\r\n\r\n", 400),
        ("GET / HTTP/3.0\r\nHost: a\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        (
            "POST /api/v1/publish HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n",
            411,
        ),
        (
            "GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
            400,
        ),
        ("\x16\x03\x01\x02\x00\r\n\r\n", 400),
    ] {
        let mut stream = house.stream();
        stream.write_all(text.as_bytes()).unwrap();
        let status_of = answer(&mut stream, false).status;
        assert!(
            status_of == status || status == 400 && status_of == 505,
            "{text:?}: {status_of}"
        );
    }
    // A body of so many values that they would be held in a hundred times its bytes.
    let many = format!("[{}]", [r#"{"":0}"#; 100_000].join(","));
    let kind = "Content-Type: application/json\r\n";
    let refused = house.ask("POST", "/api/v1/publish", kind, &many);
    assert_eq!(refused.error(), (413, "too_long".to_owned()));
    let mut live = Live::open(&house, "");
    let _ = live.0.send(Message::text(&many[..500_000]));
    while let Ok(message) = live.0.read() {
        if let Message::Close(close) = message {
            let code = close.map(|close| u16::from(close.code));
            assert_eq!(code, Some(1009));
        }
    }
    let held = metrics::read(&house.get("/metrics").text())["process_resident_memory_bytes"];
    assert!(held < 40e6, "{held} bytes are held");
    // The largest body there may be is read.
    let payload = "x".repeat(1_000_000);
    let body = json!({ "topic": "large", "payload": payload, "retain": true });
    assert_eq!(house.post("/api/v1/publish", "", &body).status, 200);

    let body = json!({ "topic": "medium", "payload": payload[..200_000], "retain": true });
    assert_eq!(house.post("/api/v1/publish", "", &body).status, 200);

    // A thousand connections that trickle.
    let mut many = Vec::new();
    for _ in 0..1000 {
        let mut stream = house.stream();
        stream.write_all(b"GET / HT").unwrap();
        many.push(stream);
    }
    bystander("a thousand connections");
    let connections = metrics::read(&house.get("/metrics").text())["process_open_fds"];
    assert!(connections < 200.0, "{connections} files are open");
    // Readers that take nothing of a large answer.
    let mut readers = Vec::new();
    for _ in 0..50 {
        let mut stream = house.stream();
        for _ in 0..20 {
            let text = request("GET", "/api/v1/retained/value?topic=medium", "", "");
            let _ = stream.write_all(text.as_bytes());
        }
        readers.push(stream);
    }
    bystander("readers that read nothing");
    drop((many, readers));
}

#[test]
fn a_request_has_its_time_however_slowly_it_trickles() {
    let house = House::open(1, Options::default());
    // A body has more time than the rest, after a word that it may come too.
    let mut awaited = house.stream();
    let more = "Content-Type: application/json\r\nExpect: 100-continue\r\n";
    let text = request("POST", "/api/v1/publish", more, r#"{"topic":"a"}"#);
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    awaited
        .write_all(format!("{head}\r\n\r\n").as_bytes())
        .unwrap();
    awaited.read_exact(&mut [0; 25]).unwrap();
    let mut slow = house.stream();
    let start = Instant::now();
    for byte in b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ".iter().cycle() {
        if slow.write_all(&[*byte]).is_err() || start.elapsed() > Duration::from_secs(12) {
            break;
        }
        thread::sleep(Duration::from_millis(300));
        if start.elapsed() > Duration::from_millis(10_200) {
            break;
        }
    }
    assert_eq!(answer(&mut slow, false).status, 408);
    let took = start.elapsed();
    assert!(
        (Duration::from_secs(9)..Duration::from_secs(14)).contains(&took),
        "{took:?}"
    );
    awaited.write_all(body.as_bytes()).unwrap();
    assert_eq!(answer(&mut awaited, false).status, 200);
}

/// The WebSocket of a page. `Err`: the status it was refused with.
fn live_from(house: &House, more: &str, origin: Option<&str>) -> Result<WebSocket<TcpStream>, u16> {
    let url = format!("ws://localhost:{}/api/v1/live", house.port);
    let mut request = url.into_client_request().unwrap();
    if let Some(origin) = origin {
        request
            .headers_mut()
            .insert("Origin", origin.parse().unwrap());
    }
    if let Some(value) = more.trim().strip_prefix("Authorization: ") {
        request
            .headers_mut()
            .insert("Authorization", value.parse().unwrap());
    }
    match tungstenite::client(request, house.stream()) {
        Ok((socket, _)) => Ok(socket),
        Err(tungstenite::HandshakeError::Failure(tungstenite::Error::Http(answer))) => {
            Err(answer.status().as_u16())
        }
        Err(other) => panic!("{other}"),
    }
}

struct Live(WebSocket<TcpStream>);

impl Live {
    fn open(house: &House, more: &str) -> Live {
        Live(live_from(house, more, None).expect("a WebSocket"))
    }

    fn say(&mut self, said: Value) {
        self.0.send(Message::text(said.to_string())).expect("send");
    }

    /// The next text that has this field.
    #[track_caller]
    fn next(&mut self, field: &str) -> Value {
        let end = Instant::now() + DEADLINE;
        while Instant::now() < end {
            let Message::Text(text) = self.0.read().expect("a message") else {
                continue;
            };
            let mut value: Value = serde_json::from_str(&text).expect("JSON");
            if !value[field].is_null() {
                return value[field].take();
            }
        }
        panic!("no {field}");
    }
}

#[test]
fn a_page_hears_what_happens() {
    for shards in [1, 2] {
        let folder = Folder::new();
        let acl = folder.path("acl");
        fs::write(&acl, "user ann\ntopic home/#\nuser bob\ntopic home/b\n").unwrap();
        let house = House::open(
            shards,
            Options {
                passwd: Some(passwords(&folder)),
                acl: Some(acl),
                ..Options::default()
            },
        );
        assert_eq!(live_from(&house, "", None).err(), Some(401));
        let mut ann = Live::open(&house, &login("ann", "secret"));
        assert_eq!(ann.next("status")["shards"], shards);
        let mut lamp = Client::connect_with(
            &house.broker,
            &process::users::login("lamp<b>", "ann", "secret"),
        )
        .0;
        let come = ann.next("connect");
        assert_eq!(
            (&come["client"], &come["user"]),
            (&json!("lamp<b>"), &json!("ann"))
        );
        lamp.publish("home/a", b"kept", 1, true);
        ann.say(json!({ "watch": "home/#" }));
        let kept = ann.next("message");
        assert_eq!(
            (&kept["topic"], &kept["value"], &kept["retain"]),
            (&json!("home/a"), &json!("kept"), &json!(true))
        );
        lamp.publish("home/b", &[0xFF; 5000], 1, false);
        let message = ann.next("message");
        assert_eq!(
            (&message["topic"], &message["cut"], &message["bytes"]),
            (&json!("home/b"), &json!(true), &json!(5000))
        );
        assert!(message["value_base64"].as_str().unwrap().len() >= 4096 * 4 / 3);
        // What ann may not write is denied, and told at once.
        lamp.send(&packet::publish(b"shut", b"x", 0, 0, false));
        let denial = ann.next("happening");
        assert_eq!(
            (&denial["kind"], &denial["client"]),
            (&json!("denial"), &json!("lamp<b>"))
        );
        lamp.disconnect();
        assert_eq!(ann.next("leave")["client"], "lamp<b>");

        // Bob hears what he may.
        let mut bob = Live::open(&house, &login("bob", "secret"));
        bob.say(json!({ "watch": "shut/#" }));
        let refused = bob.next("error");
        assert!(
            refused
                .as_str()
                .unwrap()
                .contains("hears nothing of shut/#"),
            "{refused}"
        );
        bob.say(json!({ "watch": "home/#" }));
        bob.say(json!({ "watch": "home/#" }));
        thread::sleep(Duration::from_millis(300));
        let who = login("ann", "secret");
        for topic in ["home/a", "home/b"] {
            let body = json!({ "topic": topic, "payload": "new" });
            assert_eq!(house.post("/api/v1/publish", &who, &body).status, 200);
        }
        assert_eq!(bob.next("message")["topic"], "home/b");
        bob.say(json!({ "unwatch": "home/#" }));
        bob.say(json!({ "watch": "home/+/x" }));
        assert!(
            bob.next("error")
                .as_str()
                .unwrap()
                .contains("hears nothing")
        );
        for said in [
            json!({ "watch": "a/#/b" }),
            json!({}),
            json!({ "watch": "$share/g/home/b" }),
        ] {
            bob.say(said);
            bob.next("error");
        }
        for index in 0..40 {
            ann.say(json!({ "watch": format!("home/{index}") }));
        }
        assert!(ann.next("error").as_str().unwrap().contains("at most 32"));
        bob.0.send(Message::text("no JSON")).unwrap();
        loop {
            match bob.0.read() {
                Ok(Message::Close(frame)) => {
                    assert_eq!(u16::from(frame.expect("a code").code), 1007);
                    break;
                }
                Ok(_) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }
}

#[test]
fn pages_are_few_and_one_that_does_not_read_loses_and_holds_nobody() {
    let house = House::open(1, Options::default());
    let mut lives: Vec<Live> = (0..4).map(|_| Live::open(&house, "")).collect();
    assert_eq!(live_from(&house, "", None).err(), Some(503));
    lives[0].next("status");
    drop(lives.pop());
    let end = Instant::now() + DEADLINE;
    while live_from(&house, "", None).is_err() {
        assert!(Instant::now() < end, "one has gone");
        thread::sleep(Duration::from_millis(50));
    }
    lives[0].say(json!({ "watch": "#" }));
    thread::sleep(Duration::from_millis(300));
    let mut publisher = Client::connect(&house.broker, "publisher");
    let mut reader = Client::connect(&house.broker, "reader");
    reader.subscribe("end", 1);
    for _ in 0..5_000 {
        publisher.send(&packet::publish(b"flood", b"x", 0, 0, false));
    }
    publisher.publish("end", b"x", 1, false);
    reader.expect_message("end", b"x", 1);
    assert_eq!(house.get("/api/v1/status").status, 200);
    // It goes on where it may, and says what it has lost.
    let end = Instant::now() + DEADLINE;
    let mut lost = 0;
    while lost == 0 && Instant::now() < end {
        let Message::Text(text) = lives[0].0.read().expect("a message") else {
            continue;
        };
        let value: Value = serde_json::from_str(&text).expect("JSON");
        lost = value["lost"].as_u64().unwrap_or(0);
    }
    assert!(lost > 0);
}

#[test]
fn other_machines_are_served_with_login_and_tls_alone() {
    let folder = Folder::new();
    let file = passwords(&folder).display().to_string();
    let certificates = process::certificates().display().to_string();
    let refused = |arguments: &[&str]| {
        let output = Command::new(process::program())
            .args(["-p", "0", "--http", "0.0.0.0:0"])
            .args(arguments)
            .env_remove("LANG")
            .env_remove("LC_ALL")
            .output()
            .expect("mqttfast");
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let (cert, key) = (
        format!("{certificates}/ec.crt"),
        format!("{certificates}/ec.key"),
    );
    for (arguments, remedy) in [
        (&[][..], "without a password: add --passwd FILE"),
        (&["--cert", &cert, "--key", &key], "add --passwd FILE"),
        (&["--passwd", &file], "add --cert FILE and --key FILE"),
    ] {
        let text = refused(arguments);
        assert!(text.contains(remedy), "{arguments:?}: {text}");
    }

    let arguments = ["--http", "0.0.0.0:0", "--cert", &cert, "--key", &key];
    let broker = Broker::start_with(Options {
        passwd: Some(file.into()),
        arguments: arguments.map(str::to_owned).into(),
        ..Options::default()
    });
    let house = House::of(broker);
    let curl = |more: &[&str]| {
        let output = Command::new("timeout")
            .args([
                "20",
                "openssl",
                "s_client",
                "-quiet",
                "-ign_eof",
                "-verify_return_error",
            ])
            .args(["-connect", &format!("127.0.0.1:{}", house.port)])
            .args([
                "-servername",
                "localhost",
                "-CAfile",
                &format!("{certificates}/ca.crt"),
            ])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .spawn()
            .and_then(|mut child| {
                let mut stdin = child.stdin.take().expect("stdin");
                let text = request(
                    "GET",
                    "/api/v1/me",
                    &(more.concat() + "Connection: close\r\n"),
                    "",
                );
                stdin.write_all(text.as_bytes())?;
                drop(stdin);
                child.wait_with_output()
            });
        String::from_utf8_lossy(&output.expect("openssl").stdout).into_owned()
    };
    let seen = curl(&[]);
    assert!(seen.starts_with("HTTP/1.1 401"), "{seen}");
    let seen = curl(&[&login("ann", "secret")]);
    assert!(
        seen.contains("{\"loopback\":true,\"user\":\"ann\"}"),
        "{seen}"
    );
    // Who does not speak TLS is closed, and holds nobody.
    let mut plain = TcpStream::connect((Ipv4Addr::LOCALHOST, house.port)).unwrap();
    plain.set_read_timeout(Some(DEADLINE)).unwrap();
    plain
        .write_all(request("GET", "/", "", "").as_bytes())
        .unwrap();
    let mut rest = Vec::new();
    let _ = plain.read_to_end(&mut rest);
    assert!(!rest.starts_with(b"HTTP"));
    let seen = curl(&[&login("bob", "secret")]);
    assert!(seen.contains("\"user\":\"bob\""), "{seen}");
}

#[test]
fn a_configuration_of_mosquitto_has_the_page_too() {
    let port = free_port();
    let text = format!(
        "listener {{port}} 127.0.0.1\nallow_anonymous true\nlistener {port} 127.0.0.1\nprotocol http_api\nhttp_dir /srv/www\n"
    );
    let house = House::of(Broker::configured(1, &text));
    assert_eq!(house.port, port);
    assert_eq!(house.json("/api/v1/version")["name"], "mqttfast");
    let body = json!({ "topic": "a", "payload": "x" });
    assert_eq!(house.post("/api/v1/publish", "", &body).status, 200);
    // Where MQTT lets nobody in without a name, nobody publishes here without one.
    let port = free_port();
    let text =
        format!("listener {{port}} 127.0.0.1\nlistener {port} 127.0.0.1\nprotocol http_api\n");
    let house = House::of(Broker::configured(1, &text));
    assert_eq!(house.get("/api/v1/status").status, 200);
    assert_eq!(house.post("/api/v1/publish", "", &body).status, 403);
    let mut live = Live::open(&house, "");
    live.say(json!({ "watch": "#" }));
    live.next("error");
    let refused = Broker::try_configured(&Options {
        configuration: Some(format!(
            "listener {{port}} 127.0.0.1\nlistener {port}\nprotocol http_api\n"
        )),
        ..Options::default()
    });
    let log = refused.err().expect("it is refused").join("\n");
    assert!(
        log.contains(":2: `protocol http_api` lets other machines"),
        "{log}"
    );
}

/// What the system tells in this file of the thread of the broker of this name.
fn of_thread(broker: &Broker, name: &str, file: &str) -> Option<String> {
    let tasks = fs::read_dir(format!("/proc/{}/task", broker.pid())).expect("threads");
    for task in tasks.flatten() {
        let comm = fs::read_to_string(task.path().join("comm")).unwrap_or_default();
        if comm.trim() == name {
            return Some(fs::read_to_string(task.path().join(file)).expect(file));
        }
    }
    None
}

/// Times at which a thread of the broker of this name has gone to sleep.
fn sleeps(broker: &Broker, name: &str) -> Option<u64> {
    let status = of_thread(broker, name, "status")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.and_then(|count| count.trim().parse().ok())
}

/// How long it has run.
fn has_run(broker: &Broker, name: &str) -> Duration {
    let line = of_thread(broker, name, "schedstat").expect("the thread");
    let ns = line.split(' ').next().and_then(|ns| ns.parse().ok());
    Duration::from_nanos(ns.expect("nanoseconds"))
}

#[test]
fn a_closed_page_wakes_nobody() {
    let without = Broker::start(1);
    assert_eq!(
        sleeps(&without, "http"),
        None,
        "no thread where nobody asked for one"
    );
    let house = House::open(1, Options::default());
    let mut live = Live::open(&house, "");
    live.say(json!({ "watch": "#" }));
    live.next("status");
    drop(live);
    // Until it is closed, and `$SYS` has not been asked for.
    let end = Instant::now() + DEADLINE;
    while house.broker.pid() > 0 && Instant::now() < end {
        let before = sleeps(&house.broker, "http").expect("the thread");
        thread::sleep(Duration::from_millis(1500));
        if sleeps(&house.broker, "http") == Some(before) {
            break;
        }
    }
    let before = sleeps(&house.broker, "http").expect("the thread");
    let mut lamp = Client::connect(&house.broker, "lamp");
    for _ in 0..100 {
        lamp.publish("a", b"x", 0, false);
    }
    lamp.disconnect();
    thread::sleep(Duration::from_millis(1500));
    let after = sleeps(&house.broker, "http").expect("the thread");
    assert_eq!(after, before, "the thread of the page has slept");
}

#[test]
fn pages_that_leave_at_the_worst_moment_leave_nothing_to_do() {
    let house = House::open(1, Options::default());
    // More Clients come at once than a page is told of in a second, and it is gone before it could be told so.
    let mut live = Live::open(&house, "");
    live.next("status");
    let clients: Vec<Client> = (0..60)
        .map(|index| Client::connect(&house.broker, &format!("c{index}")))
        .collect();
    drop(live);
    thread::sleep(Duration::from_millis(1500));
    let before = has_run(&house.broker, "http");
    thread::sleep(Duration::from_millis(1000));
    let ran = has_run(&house.broker, "http") - before;
    assert!(ran < Duration::from_millis(100), "it runs: {ran:?}");
    drop(clients);

    // A page that is opened and closed in one breath.
    let mut stream = house.stream();
    let more = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";
    let mut text = request("GET", "/api/v1/live", more, "").into_bytes();
    text.extend([0x88, 0x80, 0, 0, 0, 0]);
    stream.write_all(&text).unwrap();
    assert_eq!(answer(&mut stream, false).status, 101);
    drop(stream);
    // The connection is thrown away by then.
    thread::sleep(Duration::from_millis(1500));
    let before = sleeps(&house.broker, "http").expect("the thread");
    Client::connect(&house.broker, "lamp").disconnect();
    thread::sleep(Duration::from_millis(500));
    let after = sleeps(&house.broker, "http").expect("the thread");
    assert_eq!(after, before, "nobody listens");
}
