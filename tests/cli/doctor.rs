//! `mqttfast doctor`: planted faults, each named with its remedy, and sound set-ups of which nothing is said.

use mqttfast_rig::process::{Broker, Client, Folder, Options, free_port, users};
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// A set-up in a folder of its own.
struct Home {
    folder: Folder,
    port: u16,
}

impl Home {
    fn new() -> Home {
        let home = Home {
            folder: Folder::new(),
            port: free_port(),
        };
        // Its password is of no account: nobody logs in.
        let made = Command::new(env!("CARGO_BIN_EXE_mqttfast"))
            .args(["passwd", "-b", "-c"])
            .arg(home.folder.path("passwd"))
            .args(["ann", "secret"])
            .output()
            .expect("mqttfast was not started");
        assert!(made.status.success(), "{made:?}");
        home.write("acl", "topic read news/#\nuser ann\ntopic readwrite #\n");
        fs::create_dir(home.folder.path("data")).expect("a folder");
        // Whatever sets the clock of the machine that runs the tests, if anything does.
        home.set_clock("yes");
        home
    }

    /// What systemd says of the clock: "yes", it is synchronised, or "no".
    fn set_clock(&self, answer: &str) {
        let folder = self.folder.path("bin");
        fs::create_dir_all(&folder).expect("a folder");
        let program = folder.join("timedatectl");
        fs::write(&program, format!("#!/bin/sh\necho {answer}\n")).expect("a program");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("its mode");
    }

    fn search_path(&self) -> String {
        let path = std::env::var("PATH").unwrap_or_default();
        format!("{}:{path}", self.folder.path("bin").display())
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.path(name), text).expect("a file");
    }

    fn fill(&self, text: &str) -> String {
        let folder = self.folder.0.display().to_string();
        let text = text.replace("{folder}", &folder);
        text.replace("{port}", &self.port.to_string())
    }

    /// Exit code, and what is said of a configuration.
    fn ask_as(&self, launcher: &[&str], text: &str, more: &[&str]) -> (i32, String) {
        self.write("conf", &self.fill(text));
        let program = env!("CARGO_BIN_EXE_mqttfast");
        let mut command = match launcher.split_first() {
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(program);
                command
            }
            None => Command::new(program),
        };
        let output = command
            // The longest window suits any disk: how busy this one is, is no part of a set-up.
            .args(["--io", "epoll", "--store-window", "10000", "doctor", "-c"])
            .arg(self.folder.path("conf"))
            .args(more)
            .current_dir(&self.folder.0)
            .env("LC_ALL", "C")
            .env("PATH", self.search_path())
            // No broker of this machine is asked.
            .env("XDG_RUNTIME_DIR", &self.folder.0)
            .output()
            .expect("mqttfast was not started");
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8(text).expect("UTF-8");
        (output.status.code().expect("a code"), text)
    }

    fn ask(&self, text: &str) -> (i32, String) {
        self.ask_as(&[], text, &[])
    }

    /// A certificate and its key, made by openssl.
    fn certificate(&self, name: &str, days: &str, more: &[&str]) {
        let status = Command::new("openssl")
            .args(["req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt"])
            .args([
                "ec_paramgen_curve:P-256",
                "-days",
                days,
                "-subj",
                "/CN=localhost",
            ])
            .args(more)
            .arg("-keyout")
            .arg(self.folder.path(&format!("{name}.key")))
            .arg("-out")
            .arg(self.folder.path(&format!("{name}.crt")))
            .output()
            .expect("openssl");
        assert!(status.status.success(), "{status:?}");
    }
}

/// What all configurations below are made of. As root the broker would become another user, which is one of the cases.
fn sound(home: &Home) -> String {
    let user = match nix::unistd::geteuid().is_root() {
        true => "user root\n",
        false => "",
    };
    home.fill(&format!(
        "{user}listener {{port}} 127.0.0.1\npassword_file {{folder}}/passwd\nacl_file {{folder}}/acl\npersistence true\npersistence_location {{folder}}/data/\n"
    ))
}

const NAMES: [&str; 2] = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"];

#[track_caller]
fn assert_sound(home: &Home, text: &str) {
    let (code, said) = home.ask(text);
    assert_eq!(code, 0, "{said}");
    assert!(said.ends_with("\nnothing wrong was found\n"), "{said}");
    assert!(
        !said.contains("wrong    ") && !said.contains("look     "),
        "{said}"
    );
}

#[test]
fn nothing_is_invented_on_sound_set_ups() {
    let home = Home::new();
    let all = sound(&home);
    // Users, rules and a store; anybody in a home; this machine alone; TLS; nothing is kept.
    assert_sound(&home, &all);
    assert_sound(
        &home,
        &all.replace("acl_file", "#")
            .replace("password_file", "allow_anonymous true\n#"),
    );
    let local = all.replace("acl_file", "#").replace("password_file", "#");
    let local = local.replace(
        &format!("listener {} 127.0.0.1", home.port),
        &format!("port {}", home.port),
    );
    assert_sound(&home, &(local + "allow_anonymous true\n"));
    home.certificate("good", "365", &NAMES);
    let tls = home.fill("certfile {folder}/good.crt\nkeyfile {folder}/good.key\n");
    assert_sound(&home, &format!("{all}{tls}"));
    assert_sound(&home, &all.replace("persistence true", "persistence false"));
}

/// A case: what is planted in the configuration, the exit code, and words of the finding and its remedy.
type Planted<'a> = (&'a str, String, i32, &'a [&'a str]);

#[test]
fn planted_faults_are_named_with_their_remedies() {
    let home = Home::new();
    let all = sound(&home);
    let without = |option: &str| {
        let lines = all.lines().filter(|line| !line.starts_with(option));
        lines.map(|line| format!("{line}\n")).collect::<String>()
    };
    let holder = TcpListener::bind("127.0.0.1:0").expect("a port");
    let held = holder.local_addr().expect("its address").port();
    home.write("broken-acl", "user ann\ntopci readwrite #\n");
    home.write("other-acl", "user bert\ntopic #\n");
    let users = fs::read_to_string(home.folder.path("passwd")).expect("it is there");
    home.write("broken-passwd", &format!("{users}bob:$7$oops\n"));
    home.write("nobody", "");
    home.write("a-file", "");
    fs::set_permissions(
        home.folder.path("nobody"),
        fs::Permissions::from_mode(0o600),
    )
    .unwrap();
    fs::set_permissions(
        home.folder.path("broken-passwd"),
        fs::Permissions::from_mode(0o600),
    )
    .unwrap();
    home.certificate("good", "365", &NAMES);
    home.certificate("soon", "3", &NAMES);
    home.certificate("unnamed", "365", &[]);
    let other = ["-addext", "subjectAltName=IP:192.0.2.77"];
    home.certificate("other", "365", &other);
    let nowhere = free_port();
    let tls = |certificate: &str, key: &str| {
        let pair = format!("certfile {{folder}}/{certificate}.crt\nkeyfile {{folder}}/{key}.key\n");
        format!("{all}{}", home.fill(&pair))
    };
    let cases: &[Planted<'_>] = &[
        (
            "a misspelt option",
            format!("{all}retain_availabel true\n"),
            1,
            &["conf:", "write instead: retain_available true"],
        ),
        (
            "an option without its value",
            format!("{all}max_keepalive\n"),
            1,
            &["`max_keepalive` has no value"],
        ),
        (
            "a password file under another name",
            all.replace("/passwd", "/paswd"),
            1,
            &["paswd", "/passwd"],
        ),
        (
            "a password file that is not there",
            all.replace("/passwd", "/nowhere/users"),
            1,
            &["nowhere", "does not exist"],
        ),
        (
            "a line of the password file",
            all.replace("/passwd", "/broken-passwd"),
            4,
            &["broken-passwd", "line"],
        ),
        (
            "no user",
            without("acl_file").replace("/passwd", "/nobody"),
            1,
            &["there is no user in it", "mqttfast passwd"],
        ),
        (
            "a line of the ACL file",
            all.replace("/acl", "/broken-acl"),
            1,
            &["broken-acl:2", "topci"],
        ),
        (
            "an ACL file that is not there",
            all.replace("/acl", "/no-acl"),
            1,
            &["no-acl", "create the file, or correct its name there"],
        ),
        (
            "rules for a user who is not there",
            all.replace("/acl", "/other-acl"),
            4,
            &["users without a password: bert", "add the user"],
        ),
        (
            "rules without users",
            without("password_file") + "allow_anonymous true\n",
            4,
            &["there is no password file beside it", "password_file FILE"],
        ),
        (
            "nobody may connect",
            without("password_file"),
            1,
            &["nobody may connect", "allow_anonymous true"],
        ),
        (
            "a port in use",
            all.replace(&home.port.to_string(), &held.to_string()),
            1,
            &["is in use", "cli-", "stop it or choose another port"],
        ),
        (
            "an address of another machine",
            all.replace("127.0.0.1", "192.0.2.1"),
            1,
            &["no such address", "`ip address` shows"],
        ),
        (
            "two listeners on one port",
            format!("{all}listener {} 127.0.0.1\n", home.port),
            1,
            &["is taken by the listener", "remove one of the two"],
        ),
        (
            "a certificate that ends",
            tls("soon", "soon"),
            4,
            &["expires in", "renew it in time"],
        ),
        (
            "a key of another certificate",
            tls("good", "soon"),
            1,
            &["soon.key", "good.crt"],
        ),
        (
            "a certificate that is not there",
            tls("gone", "good"),
            1,
            &["gone.crt", "the broker does not start"],
        ),
        (
            "a certificate without host names",
            tls("unnamed", "unnamed"),
            4,
            &["no host name (subjectAltName)", "-addext subjectAltName"],
        ),
        (
            "a certificate for this machine alone",
            tls("good", "good").replace(" 127.0.0.1\n", "\n"),
            4,
            &[
                "for this machine alone: localhost, 127.0.0.1",
                "-addext subjectAltName=DNS:",
            ],
        ),
        (
            "a certificate of another address",
            tls("other", "other").replace(" 127.0.0.1\n", "\n"),
            if lan_addresses().is_empty() { 0 } else { 4 },
            &["is for 192.0.2.77, and this machine has ", "IP:"],
        ),
        (
            "a bridge to nowhere",
            format!("{all}connection away\naddress 127.0.0.1:{nowhere}\ntopic # out\n"),
            1,
            &[
                "bridge away: 127.0.0.1:",
                "no connection to",
                "mqttfast bridge test away",
            ],
        ),
        (
            "a store where a file is",
            all.replace("/data/", "/a-file/"),
            1,
            &["a-file is a file", "is a file"],
        ),
        (
            "the folder of a log",
            format!("{all}log_dest file {{folder}}/no/log\n"),
            1,
            &["no/log cannot be written", "sudo install -d"],
        ),
        (
            "more memory than there is",
            format!("{all}memory_limit 900000000000000\n"),
            4,
            &["this machine has", "--memory-limit"],
        ),
        (
            "a user who is not there",
            without("user ") + "user no-such-user\n",
            i32::from(nix::unistd::geteuid().is_root()),
            &["no-such-user"],
        ),
    ];
    let mut named = 0;
    for (what, text, code, words) in cases {
        let (exit, said) = home.ask(text);
        assert_eq!(exit, *code, "{what}: {said}");
        if *code == 0 {
            continue;
        }
        named += 1;
        for word in *words {
            assert!(said.contains(word), "{what}: no {word:?} in {said}");
        }
        // One finding: what is planted has no other names.
        let findings = said
            .lines()
            .filter(|line| line.starts_with("wrong ") || line.starts_with("look "));
        assert_eq!(findings.count(), 1, "{what}: {said}");
        assert!(said.contains(" why:"), "{what}: {said}");
    }
    assert!(named >= 20, "{named}");
}

/// By which other machines reach this one.
fn lan_addresses() -> Vec<std::net::Ipv4Addr> {
    let interfaces = nix::ifaddrs::getifaddrs().expect("interfaces");
    let addresses = interfaces.filter_map(|i| Some(i.address?.as_sockaddr_in()?.ip()));
    addresses.filter(|address| !address.is_loopback()).collect()
}

#[test]
fn bridges_are_tried_and_their_certificates_looked_at() {
    let home = Home::new();
    let all = sound(&home);
    let core = Broker::start_with(Options::default());
    let port = core.port();
    let bridge = format!("connection office\naddress 127.0.0.1:{port}\ntopic # in 1\n");
    let (code, said) = home.ask(&format!("{all}{bridge}"));
    assert_eq!(code, 0, "{said}");
    let reached = format!("bridge office: 127.0.0.1:{port} is reached, and takes its login");
    assert!(said.contains(&reached), "{said}");
    // Another address may do.
    let two = bridge.replace("\ntopic", &format!(" 127.0.0.1:{}\ntopic", free_port()));
    let (code, said) = home.ask(&format!("{all}{two}"));
    assert_eq!(code, 4, "{said}");
    assert!(
        said.contains("one address less") && said.contains(&reached),
        "{said}"
    );
    home.certificate("soon", "3", &NAMES);
    let tls = home.fill("bridge_cafile {folder}/soon.crt\n");
    let (code, said) = home.ask(&format!("{all}{bridge}{tls}"));
    assert_eq!(code, 1, "{said}");
    let ends = "soon.crt ends in ";
    assert!(
        said.contains("bridge office: the certificate") && said.contains(ends),
        "{said}"
    );
}

/// Who is refused a start is told where to look.
#[test]
fn a_start_that_fails_offers_the_doctor() {
    let home = Home::new();
    let holder = TcpListener::bind("127.0.0.1:0").expect("a port");
    let held = holder.local_addr().expect("its address").port().to_string();
    let start = |arguments: &[&str], lang: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_mqttfast"))
            .args(["--persistence", "off", "--control", "off", "--io", "epoll"])
            .args(arguments)
            .env("LC_ALL", lang)
            .output()
            .expect("mqttfast was not started");
        String::from_utf8(output.stderr).expect("UTF-8")
    };
    home.write(
        "conf",
        &format!("listener {held} 127.0.0.1\nallow_anonymous true\n"),
    );
    home.write("bad", "lisener 1883\n");
    for name in ["conf", "bad"] {
        let file = home.folder.path(name).display().to_string();
        let said = start(&["-c", &file], "C");
        let offer = format!("\nmqttfast: `mqttfast doctor -c {file}` says more\n");
        assert!(said.ends_with(&offer), "{said}");
        let said = start(&["-c", &file], "fr_FR.UTF-8");
        let offer = format!("\nmqttfast: `mqttfast doctor -c {file}` en dit plus\n");
        assert!(said.ends_with(&offer), "{said}");
    }
    let said = start(&["--bind", "127.0.0.1", "-p", &held], "C");
    assert!(
        said.ends_with("same flags before it, says more\n"),
        "{said}"
    );
}

#[test]
fn faults_of_machine_and_rights_are_named() {
    let home = Home::new();
    let all = sound(&home);
    home.set_clock("no");
    let (code, said) = home.ask(&all);
    assert_eq!(code, 4, "{said}");
    assert!(
        said.contains("is not synchronised") && said.contains("set-ntp true"),
        "{said}"
    );
    // Where nobody can be asked, as in a container, nothing is said.
    home.set_clock("");
    assert_sound(&home, &all);
    home.set_clock("yes");
    let few = ["prlimit", "--nofile=200:200"];
    let (code, said) = home.ask_as(&few, &all, &[]);
    assert_eq!(code, 4, "{said}");
    assert!(
        said.contains("only 200 files") && said.contains("LimitNOFILE"),
        "{said}"
    );
    // Without a `listener` the broker serves this machine alone, which those who have users do not expect.
    let local: String = all
        .lines()
        .filter(|line| !line.starts_with("listener"))
        .map(|line| format!("{line}\n"))
        .collect();
    home.write("conf", &local);
    let port = home.port.to_string();
    let output = Command::new(env!("CARGO_BIN_EXE_mqttfast"))
        .args(["--io", "epoll", "-p", &port, "--store-window", "10000"])
        .args(["doctor", "-c"])
        .arg(home.folder.path("conf"))
        .env("LC_ALL", "C")
        .env("PATH", home.search_path())
        .env("XDG_RUNTIME_DIR", &home.folder.0)
        .output()
        .expect("mqttfast was not started");
    let said = String::from_utf8(output.stdout).expect("UTF-8");
    let code = output.status.code().expect("a code");
    if !lan_addresses().is_empty() {
        assert_eq!(code, 4, "{said}");
        assert!(
            said.contains("127.0.0.1 alone") && said.contains("write: listener 1883"),
            "{said}"
        );
    }
    // As root: the user of the service may not read what root may.
    if nix::unistd::geteuid().is_root() {
        let other = all.replace("user root", "user nobody");
        for name in ["passwd", "acl"] {
            fs::set_permissions(home.folder.path(name), fs::Permissions::from_mode(0o600)).unwrap();
        }
        let (code, said) = home.ask(&other);
        assert_eq!(code, 1, "{said}");
        assert!(
            said.contains("may not be read by the user nobody"),
            "{said}"
        );
        assert!(said.contains("sudo chgrp nobody"), "{said}");
    }
    let (code, said) = home.ask_as(&[], "/no/such/file\n", &[]);
    assert_eq!(code, 1, "{said}");
}

#[test]
fn a_doctor_speaks_french() {
    let home = Home::new();
    home.write("conf", &home.fill("listener {port} 127.0.0.1\n"));
    let output = Command::new(env!("CARGO_BIN_EXE_mqttfast"))
        .args(["--io", "epoll", "doctor", "-c"])
        .arg(home.folder.path("conf"))
        .env("LC_ALL", "fr_FR.UTF-8")
        .env("XDG_RUNTIME_DIR", &home.folder.0)
        .output()
        .expect("mqttfast was not started");
    let said = String::from_utf8(output.stdout).expect("UTF-8");
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("personne ne peut se connecter"), "{said}");
    assert!(said.contains("pourquoi:"), "{said}");
}

/// Why does my device not connect?
#[test]
fn a_device_is_explained_by_what_the_broker_remembers() {
    let home = Home::new();
    let socket = home.folder.path("control");
    let broker = Broker::start_with(Options {
        passwd: Some(home.folder.path("passwd")),
        acl: Some(home.folder.path("acl")),
        allow_anonymous: true,
        arguments: vec!["--control".to_owned(), socket.display().to_string()],
        ..Options::default()
    });
    let ask = |client: &str| doctor_of(&socket, client);
    let login = |client_id: &'static str, user, password| {
        let mut client = Client::open(&broker);
        client.send(&users::login(client_id, user, password).bytes());
        matches!(client.answer(std::time::Duration::from_secs(30)), mqttfast_rig::process::Answer::Packet(packet) if packet[3] == 0)
    };
    assert!(!login("lamp", "ann", "wrong"));
    assert!(!login("plug", "bert", "secret"));
    broker.logged(&["login failed", "lamp"]);
    broker.logged(&["login failed", "plug"]);
    let mut open = Client::connect(&broker, "sensor");
    open.publish("house/x", b"1", 1, false);
    for (client, words) in [
        (
            "lamp",
            &["ago: ", "wrong password", "set it anew: mqttfast passwd /"][..],
        ),
        ("plug", &["is not in the password file", "add the user"]),
        ("bert", &["is not in the password file"]),
        (
            "sensor",
            &[
                "sensor is connected",
                "Denied PUBLISH",
                "mqttfast explain publish --client sensor --topic house/x`",
            ],
        ),
        ("127.0.0.1", &["wrong password"]),
        (
            "ghost",
            &[
                "ghost has not reached the broker",
                "no other machine reaches",
                "without --bind",
            ],
        ),
    ] {
        let (code, said) = ask(client);
        for word in words {
            assert!(said.contains(word), "{client}: no {word:?} in {said}");
        }
        assert_eq!(code, 1, "{client}: {said}");
        // It looks at other options than the broker has.
        let started = "the running broker was started as: mqttfast --port 0 --bind 127.0.0.1";
        assert!(said.contains(started), "{said}");
    }
    // Who is refused before it says who it is, is known by its address: that is over when a client of it is there.
    let mut early = Client::open(&broker);
    early.send(b"GET / HTTP/1.1\r\n\r\n");
    broker.logged(&["HTTP request"]);
    let late = Client::connect(&broker, "late");
    let (_, said) = ask("127.0.0.1");
    let line = said.lines().find(|line| line.contains("HTTP request"));
    assert!(line.is_some_and(|line| line.starts_with("fine")), "{said}");
    late.disconnect();
    assert!(login("lamp", "ann", "secret"));
    // The user name is corrected, so the refusal is over; of the user it is still told. That one of those who fight for
    // a client id is connected ends nothing.
    let (_plug, _) = Client::connect_with(&broker, &users::login("plug", "ann", "secret"));
    let _twins = [(); 4].map(|()| Client::connect(&broker, "twin"));
    broker.logged(&["client id twin is taken over again and again"]);
    for (client, level, words) in [
        ("plug", "fine", "is not in the password file"),
        ("bert", "wrong", "is not in the password file"),
        ("twin", "look", "taken over again and again"),
    ] {
        let (_, said) = ask(client);
        let found = said.lines().find(|line| line.contains(words));
        assert!(
            found.is_some_and(|line| line.starts_with(level)),
            "{client}: {said}"
        );
    }
}

fn doctor_of(socket: &Path, client: &str) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_mqttfast"))
        .args([
            "-p",
            "0",
            "--persistence",
            "off",
            "--io",
            "epoll",
            "doctor",
            "--client",
            client,
            "--control",
        ])
        .arg(socket)
        .env("LC_ALL", "C")
        .output()
        .expect("mqttfast was not started");
    let said = String::from_utf8(output.stdout).expect("UTF-8");
    (output.status.code().expect("a code"), said)
}
