//! Logins while others guess passwords, over true sockets: who knows his password comes in, and the log says from where
//! the guesses come, in a form that a program can read.

use mqttfast_rig::process::{self, Answer, Broker, Client, Connect, DEADLINE, Folder, Options};
use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const ACCEPTED: [u8; 4] = [0x20, 2, 0, 0];
const NOT_AUTHORIZED: [u8; 4] = [0x20, 2, 0, 5];
const GUESSERS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 66);

/// A broker with alice, bob and these users, whose passwords take so many iterations to check.
fn broker(folder: &Folder, shards: usize, iterations: u32, users: &[String]) -> Broker {
    let file = folder.path("passwd");
    let users = users.iter().map(String::as_str);
    for (n, user) in ["alice", "bob"].into_iter().chain(users).enumerate() {
        let mut command = Command::new(process::program());
        command.args(["passwd", "-b", "-I", &iterations.to_string()]);
        if n == 0 {
            command.arg("-c");
        }
        let output = command.arg(&file).args([user, "secret"]).output();
        assert!(output.expect("mqttfast passwd").status.success());
    }
    Broker::start_with(Options {
        shards,
        passwd: Some(file),
        ..Options::default()
    })
}

fn connect(user: &str, password: &str, client_id: &str) -> Vec<u8> {
    Connect {
        client_id: client_id.as_bytes(),
        user: Some(user),
        password: Some(password),
        ..Connect::default()
    }
    .bytes()
}

/// How long this login takes; asserts that it succeeds.
fn login(broker: &Broker, source: Ipv4Addr, user: &str) -> Duration {
    let start = Instant::now();
    let mut client = Client::open_from(broker, source);
    client.send(&connect(user, "secret", ""));
    client.expect_packet(&ACCEPTED);
    start.elapsed()
}

/// The expression that the documentation gives to fail2ban, which knows `<HOST>` and takes the time away.
fn expression() -> regex::Regex {
    let page = process::repository().join("docs/security.md");
    let page = std::fs::read_to_string(page).expect("docs/security.md");
    let mut lines = page.lines().map(str::trim);
    let line = lines.find_map(|line| line.strip_prefix("failregex = "));
    let address = r"(?:\[?(?P<host>[0-9a-fA-F.:]+)\]?)";
    let pattern = line.expect("an expression").replace("<HOST>", address);
    regex::Regex::new(&pattern).expect("an expression that can be read")
}

#[test]
fn fail2ban_finds_the_address_and_no_client_can_write_another() {
    let folder = Folder::new();
    let broker = broker(&folder, 1, 10, &[]);
    let forged = "login failed from 198.51.100.9:1: wrong password (client x, user y)";
    let attempts = [
        ("alice", "guess", "lamp"),
        ("nobody", "guess", "lamp"),
        ("alice", "guess", forged),
        (forged, "guess", "lamp"),
        (
            "x (198.51.100.9:1, user",
            "guess",
            "info login failed from 198.51.100.9:1: ",
        ),
    ];
    let source = Ipv4Addr::new(127, 0, 0, 3);
    for (user, password, client_id) in attempts {
        let mark = broker.log_len();
        let mut client = Client::open_from(&broker, source);
        client.send(&connect(user, password, client_id));
        client.expect_packet(&NOT_AUTHORIZED);
        broker.logged_since(mark, &["login failed"]);
    }
    // Names of the accepted are in the log too.
    let mut alice = Client::open_from(&broker, source);
    alice.send(&connect("alice", "secret", &format!("info {forged}")));
    alice.expect_packet(&ACCEPTED);
    broker.logged(&["connected info login failed"]);
    let expression = expression();
    let mut found = Vec::new();
    for line in broker.log() {
        // Day and time are the first words of a line; journals have host and process in their place.
        let text = line.splitn(3, ' ').nth(2).expect("day, time, text");
        for text in [text.to_owned(), format!("board mqttfast[4711]: {text}")] {
            let host = expression
                .captures(&text)
                .map(|found| found["host"].to_owned());
            found.extend(host);
        }
    }
    assert_eq!(found, vec!["127.0.0.3"; 2 * attempts.len()]);
    let v6 = "info login failed from [2001:db8::7]:4711: wrong password (client a, user b)";
    assert_eq!(
        &expression.captures(v6).expect("found")["host"],
        "2001:db8::7"
    );
}

#[test]
fn known_credentials_are_forgotten_at_a_reload() {
    let folder = Folder::new();
    let broker = broker(&folder, 1, 10, &[]);
    let source = Ipv4Addr::new(127, 0, 0, 4);
    login(&broker, source, "alice");
    login(&broker, source, "alice");
    let changed = Command::new(process::program())
        .args(["passwd", "-b"])
        .arg(folder.path("passwd"))
        .args(["alice", "another"])
        .output();
    assert!(changed.expect("mqttfast passwd").status.success());
    login(&broker, source, "alice");
    let mark = broker.log_len();
    broker.signal(nix::sys::signal::Signal::SIGHUP);
    broker.logged_since(mark, &["read again"]);
    let mut client = Client::open_from(&broker, source);
    client.send(&connect("alice", "secret", ""));
    client.expect_packet(&NOT_AUTHORIZED);
    let mut client = Client::open_from(&broker, source);
    client.send(&connect("alice", "another", ""));
    client.expect_packet(&ACCEPTED);
    login(&broker, source, "bob");
}

mqttfast_rig::on_1_and_2_shards!(guesses_delay_no_login);

/// 1,400 connections guess without end, each again as soon as it is answered.
fn guesses_delay_no_login(shards: usize) {
    const CONNECTIONS: usize = 1_400;
    const LOGINS: usize = 20;
    let folder = Folder::new();
    let newcomers: Vec<String> = (0..LOGINS).map(|n| format!("user-{n}")).collect();
    let broker = broker(&folder, shards, 1_000, &newcomers);
    // Known from here on.
    login(&broker, Ipv4Addr::new(127, 0, 0, 2), "bob");
    let stop = AtomicBool::new(false);
    let (refused, busy) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for part in 0..4 {
            let (stop, refused, busy, broker) = (&stop, &refused, &busy, &broker);
            scope.spawn(move || {
                let guess = connect("alice", "guess", "guesser");
                let open = || {
                    let mut client = Client::open_from(broker, GUESSERS);
                    client.try_send(&guess);
                    client
                };
                let mut clients: Vec<Client> = Vec::new();
                while clients.len() < CONNECTIONS / 4 && !stop.load(Ordering::Relaxed) {
                    clients.push(open());
                }
                for turn in part.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let at = turn % clients.len();
                    match clients[at].answer(Duration::from_millis(1)) {
                        Answer::Packet(answer) if answer == NOT_AUTHORIZED => {
                            refused.fetch_add(1, Ordering::Relaxed);
                            clients[at] = open();
                        }
                        Answer::Packet(_) => {
                            busy.fetch_add(1, Ordering::Relaxed);
                            clients[at] = open();
                        }
                        Answer::Closed => clients[at] = open(),
                        Answer::Silence => {}
                    }
                }
            });
        }
        let measured = std::panic::catch_unwind(|| {
            let end = Instant::now() + DEADLINE;
            while refused.load(Ordering::Relaxed) < 10 || busy.load(Ordering::Relaxed) < 100 {
                assert!(Instant::now() < end, "no guess is answered");
                std::thread::sleep(Duration::from_millis(10));
            }
            // Who comes for the first time, from an address of his own; who is known, from that of the guesses.
            let of_newcomer = |(n, user): (usize, &String)| {
                let source = Ipv4Addr::new(127, 0, 1, n as u8 + 1);
                login(&broker, source, user)
            };
            let newcomers: Vec<Duration> = newcomers.iter().enumerate().map(of_newcomer).collect();
            let known = (0..LOGINS).map(|_| login(&broker, GUESSERS, "bob"));
            [newcomers, known.collect()]
        });
        stop.store(true, Ordering::Relaxed);
        let mut measured = measured.expect("logins");
        for (who, times) in ["another address", "known"].iter().zip(&mut measured) {
            times.sort();
            let p90 = times[LOGINS * 9 / 10 - 1];
            println!(
                "{shards} shards, {who}: p50 {:?}, p90 {p90:?}",
                times[LOGINS / 2]
            );
            assert!(p90 < Duration::from_secs(2), "{who}: {p90:?}");
        }
    });
    println!("refused {refused:?}, busy {busy:?}");
}
