//! The broker on a `mosquitto.conf`, by the real program: listeners and who may come in; limits and behaviours
//! ([`configured::limits`]); and that each option of the table has its test ([`configured::table`]).
//!
//! With `MQTTFAST_TEST_BROKER=mosquitto` in the environment the same files go to Debian's Mosquitto.

mod configured {
    pub mod fixtures;
    pub mod limits;
    pub mod logs;
    pub mod migrate;
    pub mod reload;
    pub mod rights;
    pub mod sys;
    pub mod table;
    pub mod websockets;
}

use mqttfast_rig::on_1_and_2_shards;
use mqttfast_rig::process::broker::Options;
use mqttfast_rig::process::packet::{self, Connect, Level, Will};
use mqttfast_rig::process::packet5::{self, number, properties};
use mqttfast_rig::process::users::{ALICE, OLD, login};
use mqttfast_rig::process::{
    Answer, Broker, Client, DEADLINE, Folder, free_port, program, reference,
};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

const OPEN: &str = "listener {port} 127.0.0.1\nallow_anonymous true\n";

fn anonymous(client_id: &str) -> Connect<'_> {
    Connect {
        client_id: client_id.as_bytes(),
        ..Connect::default()
    }
}

/// The code of CONNACK from whichever port of this machine; `None`: closed without one.
fn code_at(port: u16, connect: &[u8]) -> Option<u8> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("connect");
    answer_to(&mut stream, connect)
}

fn answer_to(stream: &mut (impl Read + Write), connect: &[u8]) -> Option<u8> {
    stream.write_all(connect).expect("CONNECT");
    let mut connack = [0; 4];
    stream.read_exact(&mut connack).ok()?;
    assert_eq!(connack[0], 0x20);
    Some(connack[3])
}

fn code(broker: &Broker, connect: &Connect<'_>) -> Option<u8> {
    code_at(broker.port(), &connect.bytes())
}

/// CONNACK of a v5 CONNECT: the code and the properties.
fn connack5(broker: &Broker, connect: &[u8]) -> (u8, Vec<packet5::Property>) {
    let mut client = Client::open(broker);
    client.send(connect);
    let connack = client.packet();
    (connack[3], properties(&connack[4..]))
}

fn run(folder: &Folder, text: &str, more: &[&str]) -> Output {
    let file = folder.path("mosquitto.conf");
    let text = text.replace("{folder}", &folder.0.display().to_string());
    std::fs::write(&file, text).expect("write mosquitto.conf");
    Command::new(program())
        .arg("-c")
        .arg(&file)
        .args(more)
        .current_dir(&folder.0)
        .output()
        .expect("run mqttfast")
}

/// Exit code and standard error of a start that is refused.
fn refused(text: &str, more: &[&str]) -> (i32, String) {
    let folder = Folder::new();
    let output = run(&folder, text, more);
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    (output.status.code().expect("an exit code"), said)
}

on_1_and_2_shards!(
    a_listener_with_nothing_more_lets_nobody_in,
    several_listeners_have_their_own_users,
    a_listener_takes_no_more_connections_than_its_own_limit,
    a_unix_socket_serves_and_goes_with_the_broker,
    what_a_listener_forbids_is_refused,
    client_ids_are_those_of_the_listener,
);

/// Mosquitto's rule since 2.0.
fn a_listener_with_nothing_more_lets_nobody_in(shards: usize) {
    let broker = Broker::configured(shards, "listener {port} 127.0.0.1\n");
    assert_eq!(code(&broker, &anonymous("a")), Some(5));
    assert_eq!(code(&broker, &login("a", "alice", "secret")), Some(5));
}

fn several_listeners_have_their_own_users(shards: usize) {
    let (second, third) = (free_port(), free_port());
    let folder = Folder::new();
    std::fs::write(folder.path("alice"), ALICE).expect("a password file");
    std::fs::write(folder.path("old"), OLD).expect("a password file");
    let path = |name: &str| folder.path(name).display().to_string();
    let text = format!(
        "per_listener_settings true\n\
         listener {{port}} 127.0.0.1\npassword_file {}\n\
         listener {second} 127.0.0.1\npassword_file {}\nallow_anonymous true\n\
         listener {third} 127.0.0.1\nallow_anonymous true\n",
        path("alice"),
        path("old")
    );
    let broker = Broker::configured(shards, &text);
    let code = |port, connect: Connect<'_>| code_at(port, &connect.bytes());
    let first = broker.port();
    // (port, nobody, alice, alice with a wrong password, old)
    for (port, nobody, alice, wrong, old) in [
        (first, 5, 0, 5, 5),
        (second, 0, 5, 5, 0),
        // Without a file every name and password is taken.
        (third, 0, 0, 0, 0),
    ] {
        assert_eq!(code(port, anonymous("n")), Some(nobody), "{port}");
        assert_eq!(
            code(port, login("a", "alice", "secret")),
            Some(alice),
            "{port}"
        );
        assert_eq!(
            code(port, login("w", "alice", "wrong")),
            Some(wrong),
            "{port}"
        );
        assert_eq!(code(port, login("o", "old", "oldpw")), Some(old), "{port}");
    }
    if reference() {
        return;
    }
    // A Session of alice's is nobody's who only says so by a listener without users.
    let alice = Connect {
        clean_session: false,
        ..login("hers", "alice", "secret")
    };
    assert_eq!(code(first, alice), Some(0));
    assert_eq!(code(third, login("hers", "alice", "secret")), Some(5));
    assert_eq!(code(third, anonymous("hers")), Some(5));
}

fn a_listener_takes_no_more_connections_than_its_own_limit(shards: usize) {
    let second = free_port();
    let text = format!("{OPEN}max_connections 2\nlistener {second} 127.0.0.1\n");
    let broker = Broker::configured(shards, &text);
    // The connection that saw the broker serve may not have been closed there yet.
    let start = Instant::now();
    let mut held = Vec::new();
    while held.len() < 2 {
        let mut client = Client::open(&broker);
        client.send(&anonymous(&format!("c{}", held.len())).bytes());
        if let Answer::Packet(packet) = client.answer(DEADLINE)
            && packet[3] == 0
        {
            held.push(client);
        }
        assert!(start.elapsed() < DEADLINE);
    }
    let mut third = Client::open(&broker);
    // Mosquitto closes it at once, we say why.
    third.try_send(&anonymous("c3").bytes());
    match third.answer(DEADLINE) {
        // Mosquitto 2.0.11 lets in one more than it says.
        Answer::Packet(_) if reference() => return,
        Answer::Packet(packet) => assert_eq!(packet, [0x20, 2, 0, 3]),
        Answer::Closed => assert!(reference()),
        Answer::Silence => panic!("neither refused nor served"),
    }
    assert_eq!(code_at(second, &anonymous("other").bytes()), Some(0));
    drop(held.pop());
    let start = Instant::now();
    loop {
        let mut next = Client::open(&broker);
        next.try_send(&anonymous("c4").bytes());
        match next.answer(DEADLINE) {
            Answer::Packet(packet) if packet[3] == 0 => break,
            _ => assert!(start.elapsed() < DEADLINE),
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn a_unix_socket_serves_and_goes_with_the_broker(shards: usize) {
    let text = format!("{OPEN}listener 0 {{folder}}/mqtt.sock\n");
    let mut broker = Broker::configured(shards, &text);
    let path = broker.file("mqtt.sock");
    let mode = std::fs::metadata(&path)
        .expect("a socket")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o770);
    let mut heard = Client::connect(&broker, "ear");
    heard.subscribe("#", 1);
    let mut stream = UnixStream::connect(&path).expect("connect");
    assert_eq!(answer_to(&mut stream, &anonymous("mouth").bytes()), Some(0));
    let publish = packet::publish(b"house/door", b"open", 1, 7, false);
    stream.write_all(&publish).expect("PUBLISH");
    let mut puback = [0; 4];
    stream.read_exact(&mut puback).expect("PUBACK");
    assert_eq!(puback, [0x40, 2, 0, 7]);
    heard.expect_message("house/door", b"open", 1);
    if !reference() {
        broker.logged(&["New client connected from unix socket as mouth"]);
    }
    broker.end_by(nix::sys::signal::SIGTERM);
    assert!(!path.exists());
}

fn what_a_listener_forbids_is_refused(shards: usize) {
    let text = format!("{OPEN}max_qos 1\nmax_topic_alias 3\n");
    let broker = Broker::configured(shards, &text);
    let plain = packet5::connect(2, 60, b"", b"five", b"");
    let (accepted, told) = connack5(&broker, &plain);
    assert_eq!(accepted, 0);
    assert_eq!(number(&told, 0x24), Some(1), "Maximum QoS: {told:?}");
    assert_eq!(number(&told, packet5::TOPIC_ALIAS_MAXIMUM), Some(3));
    // Granted is no more than the most.
    let mut client = Client::connect(&broker, "three");
    client.send(&packet::subscribe(1, &[(b"a", 2), (b"b", 0)]));
    client.expect_packet(&[0x90, 4, 0, 1, 1, 0]);
    // A message with more ends the connection.
    client.send(&packet::publish(b"a", b"x", 2, 2, false));
    client.expect_close();
    let with_will = Connect {
        will: Some(Will {
            topic: "w",
            payload: b"x",
            qos: 2,
            retain: false,
        }),
        ..anonymous("will")
    };
    assert_eq!(code(&broker, &with_will), None);
}

fn client_ids_are_those_of_the_listener(shards: usize) {
    let (second, third) = (free_port(), free_port());
    let text = format!(
        "per_listener_settings true\n\
         listener {{port}} 127.0.0.1\nallow_anonymous true\nuse_username_as_clientid true\n\
         listener {second} 127.0.0.1\nallow_anonymous true\nallow_zero_length_clientid false\n\
         listener {third} 127.0.0.1\nallow_anonymous true\nauto_id_prefix house-\n"
    );
    let broker = Broker::configured(shards, &text);
    // Who has no user name has no client id there.
    assert_eq!(code(&broker, &anonymous("x")), Some(5));
    let (mut first, _) = Client::connect_with(&broker, &login("one", "alice", ""));
    first.expect_alive();
    // The same user name is the same client id: it takes the first one's place.
    let (_second, _) = Client::connect_with(&broker, &login("two", "alice", ""));
    first.expect_end();
    assert_eq!(code_at(second, &anonymous("").bytes()), Some(2));
    assert_eq!(code_at(second, &anonymous("x").bytes()), Some(0));
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, third)).expect("connect");
    stream
        .write_all(&packet5::connect(2, 60, b"", b"", b""))
        .expect("CONNECT");
    let mut connack = [0; 200];
    let len = stream.read(&mut connack).expect("CONNACK");
    let text = String::from_utf8_lossy(&connack[..len]).into_owned();
    assert!(text.contains("house-"), "{text:?}");
}

/// Mosquitto 2.1's; the reference is 2.0.
#[test]
fn versions_that_a_listener_does_not_serve_are_refused() {
    if reference() {
        return;
    }
    let broker = Broker::configured(1, &format!("{OPEN}accept_protocol_versions 4, 5\n"));
    let old = Connect {
        level: Level::V31,
        ..anonymous("old")
    };
    assert_eq!(code(&broker, &old), Some(1));
    assert_eq!(code(&broker, &anonymous("new")), Some(0));
    let broker = Broker::configured(1, &format!("{OPEN}accept_protocol_versions 3\n"));
    assert_eq!(
        connack5(&broker, &packet5::connect(2, 60, b"", b"v5", b"")).0,
        0x84
    );
    assert_eq!(code(&broker, &old), Some(0));
}

/// Without a `listener` this machine alone; the flags `--port` and `--bind` move that, and only that.
#[test]
fn flags_win_over_the_file() {
    if reference() {
        return;
    }
    let folder = Folder::new();
    std::fs::write(folder.path("passwd"), ALICE).expect("a password file");
    let file = folder.path("mosquitto.conf");
    std::fs::write(&file, "max_inflight_messages 7\n").expect("write mosquitto.conf");
    let passwd = folder.path("passwd").display().to_string();
    let config = file.display().to_string();
    let with = |arguments: &[&str]| {
        Broker::start_with(Options {
            arguments: arguments.iter().map(|text| (*text).to_owned()).collect(),
            ..Options::default()
        })
    };
    let broker = with(&["-c", &config]);
    assert_eq!(code(&broker, &anonymous("a")), Some(0));
    let broker = with(&["--config", &config, "--passwd", &passwd]);
    assert_eq!(code(&broker, &anonymous("a")), Some(5));
    assert_eq!(code(&broker, &login("a", "alice", "wrong")), Some(5));
    assert_eq!(code(&broker, &login("a", "alice", "secret")), Some(0));
    let port = free_port();
    std::fs::write(&file, format!("listener {port} 127.0.0.1\n")).expect("write mosquitto.conf");
    let broker = Broker::start_with(Options {
        no_bind: true,
        arguments: vec!["-c".into(), config.clone(), "--allow-anonymous".into()],
        ..Options::default()
    });
    broker.logged(&[
        "Warning: ",
        "--port is ignored, since the file has listeners",
    ]);
    assert_eq!(code_at(port, &anonymous("a").bytes()), Some(0));
    let (exit, said) = refused("listener 1883\n", &["--bind", "127.0.0.1"]);
    assert!(
        exit == 3 && said.contains("--bind and a `listener`"),
        "{said}"
    );
}

#[test]
fn starts_are_refused_with_mosquittos_exit_codes() {
    if reference() {
        return;
    }
    let holder = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let taken = holder.local_addr().expect("bound").port();
    let taken = format!("allow_anonymous true\nlistener {taken} 127.0.0.1\n");
    for (text, exit, words) in [
        (
            "listner 1883\n",
            3,
            "mosquitto.conf:1: `listner` is no option",
        ),
        ("password_file {folder}/none\n", 13, "mosquitto.conf:1: "),
        (
            taken.as_str(),
            1,
            "mosquitto.conf:2: cannot listen on 127.0.0.1:",
        ),
        (
            "listener 1883 192.0.2.1\n",
            1,
            "this machine has no such address",
        ),
        (
            "listener 1883\nbind_interface no-such\n",
            1,
            "the interface `no-such`",
        ),
        (
            "pid_file /no/such/folder/pid\n",
            1,
            "mosquitto.conf:1: /no/such/folder/pid",
        ),
        ("plugin /usr/lib/x.so\n", 3, "plugins are not loaded"),
        (
            "acl_file {folder}/mosquitto.conf\n",
            3,
            "mosquitto.conf:1: `acl_file` begins no line of an ACL file",
        ),
        ("acl_file {folder}/none\n", 13, "mosquitto.conf:1: "),
    ] {
        let (code, said) = refused(text, &[]);
        assert_eq!(code, exit, "{text}: {said}");
        assert!(said.contains(words), "{text}: {said}");
    }
    if nix::unistd::geteuid().is_root() {
        for how in [&["--port", "0"][..], &["--check"]] {
            let (code, said) = refused("user no-such-user\n", how);
            assert!(
                code == 1 && said.contains("there is no user `no-such-user`"),
                "{said}"
            );
        }
    }
}

/// All faults of a file at once, each in a line of its own; and where to look.
#[test]
fn every_fault_is_told_at_once() {
    if reference() {
        return;
    }
    let (exit, said) = refused("listner 1883\nmax_qos 9\nallow_anonymous yes\n", &[]);
    assert_eq!(exit, 3);
    assert_eq!(said.lines().count(), 4, "{said}");
    assert!(said.ends_with(" says more\n"), "{said}");
    assert!(
        said.lines().all(|line| line.starts_with("mqttfast: ")),
        "{said}"
    );
}

#[test]
fn check_says_what_a_start_would_do_and_does_nothing() {
    if reference() {
        return;
    }
    let folder = Folder::new();
    std::fs::write(folder.path("passwd"), format!("{ALICE}bad line\n")).expect("a password file");
    let text = "pid_file {folder}/pid\npassword_file {folder}/passwd\nlistener 1 127.0.0.1\n\
        persistence true\nretry_interval 5\nconnection cloud\naddress example.org\ntopic a/# out\n";
    let output = run(&folder, text, &["--check"]);
    let said = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(output.status.success(), "{said}");
    assert!(output.stderr.is_empty());
    for words in [
        "127.0.0.1:1   MQTT: the users of ",
        "`retry_interval` has no effect here",
        "passwd:2 skipped",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert!(!folder.path("pid").exists());
    let output = run(&folder, "password_file {folder}/none\n", &["--check"]);
    assert_eq!(output.status.code(), Some(13));
}

#[test]
fn the_process_has_its_file_and_its_user() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let folder = Folder::new();
    let open = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(&folder.0, open).expect("a folder for everybody");
    let path = folder.path("pid").display().to_string();
    let text = format!("user nobody\npid_file {path}\n{OPEN}");
    let mut broker = Broker::configured(2, &text);
    // Its port can be connected to before it is served: by then it has its user.
    assert_eq!(code(&broker, &anonymous("a")), Some(0));
    let written = std::fs::read_to_string(&path).expect("a pid file");
    assert_eq!(written.trim(), broker.pid().to_string());
    let status = format!("/proc/{}/status", broker.pid());
    let status = std::fs::read_to_string(status).expect("its status");
    let nobody = nix::unistd::User::from_name("nobody")
        .expect("asked")
        .expect("nobody");
    let expected = format!("Uid:\t{0}\t{0}\t{0}\t{0}", nobody.uid);
    assert!(status.contains(&expected), "{status}");
    // All its threads.
    for task in std::fs::read_dir(format!("/proc/{}/task", broker.pid())).expect("its threads") {
        let status = task.expect("a thread").path().join("status");
        let status = std::fs::read_to_string(status).expect("its status");
        assert!(status.contains(&expected), "{status}");
    }
    broker.end_by(nix::sys::signal::SIGTERM);
    assert!(!std::path::Path::new(&path).exists());
}

/// A volume that a container engine has made is root's: it is given to the user who is to write there. A folder with
/// anything else in it stays root's, and the start is refused.
#[test]
fn an_empty_folder_of_roots_is_given_to_the_user_who_writes_there() {
    if reference() || !nix::unistd::geteuid().is_root() {
        return;
    }
    let folder = Folder::new();
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&folder.0, open).expect("a folder that may be entered");
    let data = folder.path("data");
    std::fs::create_dir(&data).expect("a folder");
    let text = format!(
        "user nobody\npersistence true\npersistence_location {}\n{OPEN}",
        data.display()
    );
    let owner = || std::fs::metadata(&data).expect("it is there").uid();
    let nobody = nix::unistd::User::from_name("nobody")
        .expect("asked")
        .expect("nobody");
    let mut broker = Broker::configured(1, &text);
    assert_eq!(code(&broker, &anonymous("a")), Some(0));
    broker.end_by(nix::sys::signal::SIGTERM);
    assert_eq!(owner(), nobody.uid.as_raw());
    assert!(data.join("mqttfast.db").exists());
    // Root's again, with a store in it, and with something else.
    let root = Some(nix::unistd::Uid::from_raw(0));
    nix::unistd::chown(&data, root, None).expect("given back");
    drop(Broker::configured(1, &text));
    assert_eq!(owner(), nobody.uid.as_raw());
    nix::unistd::chown(&data, root, None).expect("given back");
    std::fs::write(data.join("photo.jpg"), "").expect("a file");
    let (exit, said) = refused(&text.replace("{port}", &free_port().to_string()), &[]);
    assert_eq!(owner(), 0);
    assert!(exit != 0 && said.contains("data"), "{exit} {said}");
}

/// The files of a folder, and what they say in Mosquitto's order.
#[test]
fn included_files_count() {
    let folder = Folder::new();
    let conf = folder.path("conf.d");
    std::fs::create_dir(&conf).expect("a folder");
    std::fs::write(conf.join("a.conf"), "allow_anonymous true\n").expect("a file");
    std::fs::write(conf.join("b.conf.off"), "nonsense\n").expect("a file");
    let text = format!(
        "include_dir {}\nlistener {{port}} 127.0.0.1\n",
        conf.display()
    );
    let broker = Broker::configured(1, &text);
    assert_eq!(code(&broker, &anonymous("a")), Some(0));
}

/// Both families, one, and the addresses of an interface.
#[test]
fn a_listener_has_the_addresses_it_says() {
    let listens = |text: &str, address: &str| {
        let broker = Broker::configured(1, text);
        TcpStream::connect(format!("{address}:{}", broker.port())).is_ok()
    };
    assert!(listens("listener {port}\n", "127.0.0.1"));
    assert!(listens("port {port}\n", "127.0.0.1"));
    assert!(listens(
        "port {port}\nbind_address 127.0.0.1\n",
        "127.0.0.1"
    ));
    assert!(listens("listener {port} localhost\n", "127.0.0.1"));
    let v4 = "listener {port}\nsocket_domain ipv4\n";
    assert!(!listens(v4, "[::1]"));
    assert!(!listens("listener {port} 127.0.0.1\n", "127.0.0.2"));
    let loopback = "listener {port}\nbind_interface lo\n";
    assert!(listens(loopback, "127.0.0.1"));
    assert!(!listens(loopback, "127.0.0.2"));
}

/// Mosquitto 2.1's.
#[test]
fn a_word_of_the_listener_alone_opens_it() {
    if reference() {
        return;
    }
    let second = free_port();
    let text = format!(
        "listener {{port}} 127.0.0.1\nlistener {second} 127.0.0.1\nlistener_allow_anonymous true\n"
    );
    let broker = Broker::configured(1, &text);
    assert_eq!(code(&broker, &anonymous("a")), Some(5));
    assert_eq!(code_at(second, &anonymous("a").bytes()), Some(0));
}

/// In the folder of `persistence_location`, and only with `persistence true`.
#[test]
fn what_must_last_outlives_the_broker() {
    for (persistence, lasts) in [("true", true), ("false", false)] {
        let folder = Folder::new();
        let path = folder.0.display();
        let text = format!("{OPEN}persistence {persistence}\npersistence_location {path}/\n");
        let mut broker = Broker::configured(1, &text);
        Client::connect(&broker, "mouth").publish("t", b"x", 1, true);
        broker.end_by(nix::sys::signal::SIGTERM);
        let broker = Broker::configured(1, &text);
        let mut ear = Client::connect(&broker, "ear");
        ear.subscribe("t", 1);
        if lasts {
            ear.expect_message("t", b"x", 1);
        } else {
            ear.expect_silence(Duration::from_millis(300));
        }
    }
}
