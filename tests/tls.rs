//! TLS by the real program: Clients that people have (Mosquitto's, openssl's, Python's), certificates of every kind,
//! what is refused and with which words, files that are read again, and peers that do harm.
//!
//! The certificates are made when the tests run, by openssl (`tests/tls/certificates`), and count for two days.

use mqttfast_rig::on_1_and_2_shards;
use mqttfast_rig::process::tool::path;
use mqttfast_rig::process::{self, Broker, Client, Connect, DEADLINE, Options};
use nix::sys::signal::Signal;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

on_1_and_2_shards!(mosquittos_clients_speak_tls, a_certificate_is_a_user_name);

fn certificates() -> String {
    process::certificates().display().to_string()
}

/// The configuration with `{c}` for the folder of certificates.
fn text(configuration: &str) -> String {
    configuration.replace("{c}", &certificates())
}

const PLAIN: &str =
    "listener {port} 127.0.0.1\nallow_anonymous true\ncertfile {c}/ec.crt\nkeyfile {c}/ec.key\n";
const REQUIRING: &str = "listener {port} 127.0.0.1\ncafile {c}/ca.crt\ncertfile {c}/ec.crt\nkeyfile {c}/ec.key\nrequire_certificate true\n";

fn start(shards: usize, configuration: &str) -> Broker {
    Broker::configured(shards, &text(configuration))
}

fn refused(configuration: &str) -> String {
    let options = Options {
        configuration: Some(text(configuration)),
        ..Options::default()
    };
    match Broker::try_configured(&options) {
        Ok(_) => panic!("it started"),
        Err(log) => log.join("\n"),
    }
}

/// A program of Mosquitto's clients, with the CA unless there is another; killed after a time.
fn mosquitto(program: &str, port: u16, arguments: &[&str]) -> Command {
    let mut command = Command::new("timeout");
    command
        .env("PATH", path())
        .args(["20", program, "-h", "localhost", "-p", &port.to_string()])
        .args(arguments)
        .current_dir(certificates());
    if !arguments.contains(&"--cafile") {
        command.args(["--cafile", "ca.crt"]);
    }
    command
}

/// Publishes one message. Did the broker take it?
fn publishes(port: u16, arguments: &[&str]) -> bool {
    let mut all = vec!["-t", "a", "-m", "x", "-q", "1"];
    all.extend(arguments);
    let output = mosquitto("mosquitto_pub", port, &all).output();
    output.expect("mosquitto_pub").status.success()
}

fn with_certificate(port: u16, name: &str) -> bool {
    let (certificate, key) = (format!("{name}.crt"), format!("{name}.key"));
    publishes(port, &["--cert", &certificate, "--key", &key])
}

/// What `openssl s_client` says.
fn s_client(port: u16, arguments: &[&str]) -> String {
    let output = Command::new("timeout")
        .args(["20", "openssl", "s_client", "-connect"])
        .arg(format!("127.0.0.1:{port}"))
        .args(arguments)
        .current_dir(certificates())
        .stdin(Stdio::null())
        .output()
        .expect("openssl");
    let Output { stdout, stderr, .. } = output;
    String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned()
}

fn mosquittos_clients_speak_tls(shards: usize) {
    let rsa = PLAIN.replace("ec.", "rsa.");
    for configuration in [PLAIN, &rsa] {
        let broker = start(shards, configuration);
        let port = broker.port();
        let subscriber = mosquitto("mosquitto_sub", port, &["-t", "a/#", "-C", "3", "-q", "1"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("mosquitto_sub");
        broker.logged(&["New client connected"]);
        // The subscription may be under way yet; retained messages reach it then.
        for (version, payload) in [
            ("tlsv1.2", "x".repeat(300)),
            ("tlsv1.3", "y".repeat(200_000)),
        ] {
            let mut publisher = mosquitto(
                "mosquitto_pub",
                port,
                &[
                    "-t",
                    &format!("a/{version}"),
                    "-s",
                    "-r",
                    "-q",
                    "1",
                    "--tls-version",
                    version,
                ],
            )
            .stdin(Stdio::piped())
            .spawn()
            .expect("mosquitto_pub");
            let mut stdin = publisher.stdin.take().expect("piped");
            stdin.write_all(payload.as_bytes()).expect("its input");
            drop(stdin);
            assert!(publisher.wait().expect("its end").success());
        }
        assert!(publishes(port, &["-t", "a/end"]));
        let heard = subscriber.wait_with_output().expect("what it heard").stdout;
        let heard = String::from_utf8(heard).expect("UTF-8");
        let sizes: Vec<usize> = heard.lines().map(str::len).collect();
        assert_eq!(sizes, [300, 200_000, 1]);
    }
}

fn a_certificate_is_a_user_name(shards: usize) {
    for (option, user) in [
        ("use_identity_as_username", "client-1"),
        (
            "use_subject_as_username",
            "CN=client-1,OU=sensors,O=Fixture",
        ),
    ] {
        let broker = start(shards, &format!("{REQUIRING}{option} true\n"));
        let port = broker.port();
        // What CONNECT says does not count.
        assert!(with_certificate(port, "client"));
        broker.logged(&["New client connected", &format!("u'{user}'")]);
        let as_other = [
            "--cert",
            "client.crt",
            "--key",
            "client.key",
            "-u",
            "root",
            "-P",
            "x",
        ];
        assert!(publishes(port, &as_other));
        assert!(!broker.log().iter().any(|line| line.contains("u'root'")));
        assert!(!publishes(port, &[]));
        broker.logged(&["requires one"]);
        // Version 1, as Mosquitto's manual makes them, in both versions of TLS.
        for version in ["tlsv1.2", "tlsv1.3"] {
            let arguments = [
                "--cert",
                "v1.crt",
                "--key",
                "v1.key",
                "--tls-version",
                version,
            ];
            assert!(publishes(port, &arguments), "{version}");
        }
        broker.logged(&["New client connected", "old-style"]);
        let nameless = with_certificate(port, "nameless");
        assert_eq!(nameless, option == "use_subject_as_username");
    }
}

/// A certificate of version 1 has no extension that says what it may be used for, so its issuer is believed only where
/// the operator names it: what a Client sends along helps a certificate of version 3 alone.
#[test]
fn an_intermediate_that_signs_version_1_must_stand_in_cafile() {
    let text = format!("{REQUIRING}allow_anonymous true\n");
    let broker = start(1, &text);
    assert!(with_certificate(broker.port(), "v3-middle"));
    assert!(!with_certificate(broker.port(), "v1-middle"));
    broker.logged(&["127.0.0.1:", "comes from no CA of `cafile`"]);
    let broker = start(
        1,
        &text.replace("cafile {c}/ca.crt", "cafile {c}/chain.crt"),
    );
    for name in ["v3-middle", "v1-middle", "client", "v1"] {
        assert!(with_certificate(broker.port(), name), "{name}");
    }
}

#[test]
fn a_client_certificate_must_be_trusted() {
    let with = |more: &str| start(1, &format!("{REQUIRING}allow_anonymous true\n{more}"));
    let broker = with("crlfile {c}/ca.crl\n");
    let port = broker.port();
    assert!(with_certificate(port, "client"));
    for (name, told) in [
        ("revoked", "is revoked by `crlfile`"),
        ("stranger", "comes from no CA of `cafile`"),
        ("late", "has expired"),
    ] {
        let from = broker.log_len();
        assert!(!with_certificate(port, name), "{name}");
        broker.logged_since(from, &["127.0.0.1:", told]);
    }
    // A certificate alone is no login.
    let broker = start(1, REQUIRING);
    assert!(!with_certificate(broker.port(), "client"));
    broker.logged(&["not authorised"]);
    // By a folder, and with dates that do not count.
    let configuration = REQUIRING.replace("cafile {c}/ca.crt", "capath {c}/capath");
    let more = "allow_anonymous true\ndisable_client_cert_date_checks true\n";
    let broker = start(1, &format!("{configuration}{more}"));
    for name in ["client", "late", "v1"] {
        assert!(with_certificate(broker.port(), name), "{name}");
    }
    assert!(!with_certificate(broker.port(), "stranger"));
}

/// A proxy that passes TLS on says first who is there: alone, in the same segment as the ClientHello, byte by byte.
#[test]
fn a_proxy_header_comes_before_tls() {
    let broker = start(1, &format!("{PLAIN}enable_proxy_protocol 1\n"));
    let program = format!(
        r#"
import os, socket, ssl
os.chdir("{}")
context = ssl.create_default_context(cafile="ca.crt")
for number in range(3):
    header = b"PROXY TCP4 198.51.100.%d 192.0.2.1 4711 8883\r\n" % number
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with socket.create_connection(("localhost", {})) as plain:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if number == 0:
            plain.sendall(header)
            header = b""
        def through(step):
            global header
            while True:
                try:
                    return step()
                except ssl.SSLWantReadError:
                    pass
                bytes_out = header + outgoing.read()
                header = b""
                if number == 2:
                    for byte in bytes_out:
                        plain.sendall(bytes([byte]))
                else:
                    plain.sendall(bytes_out)
                got = plain.recv(16384)
                assert got, "closed"
                incoming.write(got)
        through(tls.do_handshake)
        tls.write(bytes([0x10, 14, 0, 4]) + b"MQTT" + bytes([4, 2, 0, 60, 0, 2]) + b"p%d" % number)
        assert through(lambda: tls.read(4)) == bytes([0x20, 2, 0, 0])
"#,
        certificates(),
        broker.port()
    );
    let done = Command::new("timeout")
        .args(["20", "python3", "-c", &program])
        .output()
        .expect("python3");
    assert!(done.status.success(), "{done:?}");
    for number in 0..3 {
        broker.logged(&[&format!("p{number}"), &format!("198.51.100.{number}:4711")]);
    }
    let from = broker.log_len();
    s_client(broker.port(), &[]);
    broker.logged_since(from, &["127.0.0.1:", "no PROXY header"]);
}

/// A ticket of before the revocation brings nobody back after it.
#[test]
fn a_ticket_does_not_outlive_a_revocation() {
    let list = std::env::temp_dir().join(format!("mqttfast-crl-{}", std::process::id()));
    let put = |name: &str| fs::copy(format!("{}/{name}", certificates()), &list).expect("a copy");
    put("none.crl");
    let crl = format!("crlfile {}\n", list.display());
    let broker = start(1, &format!("{REQUIRING}allow_anonymous true\n{crl}"));
    let program = format!(
        r#"
import os, socket, ssl, sys
os.chdir("{}")
context = ssl.create_default_context(cafile="ca.crt")
context.load_cert_chain("revoked.crt", "revoked.key")
context.maximum_version = ssl.TLSVersion.TLSv1_2
session = None
for round in range(3):
    if round == 2:
        print("revoke", flush=True)
        sys.stdin.readline()
    try:
        with socket.create_connection(("localhost", {})) as plain:
            with context.wrap_socket(plain, server_hostname="localhost", session=session) as tls:
                tls.sendall(bytes([0x10, 13, 0, 4]) + b"MQTT" + bytes([4, 2, 0, 60, 0, 1]) + b"p")
                assert tls.recv(4) == bytes([0x20, 2, 0, 0])
                session = tls.session
                print(tls.session_reused, flush=True)
    except Exception:
        print("refused", flush=True)
"#,
        certificates(),
        broker.port()
    );
    let mut client = Command::new("timeout")
        .args(["20", "python3", "-c", &program])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3");
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(
        client.stdout.take().expect("piped"),
    ));
    let mut next = || lines.next().expect("a line").expect("UTF-8");
    assert_eq!([next(), next(), next()], ["False", "True", "revoke"]);
    put("ca.crl");
    let from = broker.log_len();
    broker.signal(Signal::SIGHUP);
    broker.logged_since(from, &["certificates read again"]);
    let mut stdin = client.stdin.take().expect("piped");
    stdin.write_all(b"go on\n").expect("its input");
    assert_eq!(next(), "refused");
    broker.logged_since(from, &["is revoked by `crlfile`"]);
    client.wait().expect("its end");
    fs::remove_file(&list).expect("no file");
}

#[test]
fn keys_of_every_kind_are_read() {
    for (certificate, key) in [
        ("rsa", "rsa.key"),
        ("rsa", "rsa-pkcs1.key"),
        ("ec", "ec.key"),
        ("ec", "ec-sec1.key"),
        ("ec", "ec-parameters.key"),
        ("ed25519", "ed25519.key"),
    ] {
        let configuration = format!(
            "listener {{port}} 127.0.0.1\nallow_anonymous true\ncertfile {{c}}/{certificate}.crt\nkeyfile {{c}}/{key}\n"
        );
        let broker = start(1, &configuration);
        let said = s_client(broker.port(), &["-tls1_3"]);
        assert!(said.contains("TLSv1.3"), "{key}: {said}");
        let said = s_client(broker.port(), &["-tls1_2"]);
        assert!(said.contains("TLSv1.2"), "{key}: {said}");
    }
}

#[test]
fn files_at_fault_are_refused_with_a_remedy() {
    let with = |certificate: &str, key: &str| {
        refused(&format!(
            "listener {{port}} 127.0.0.1\nallow_anonymous true\ncertfile {{c}}/{certificate}\nkeyfile {{c}}/{key}\n"
        ))
    };
    for (certificate, key, parts) in [
        (
            "rsa.crt",
            "rsa-encrypted.key",
            &["is encrypted", "openssl pkey -in"][..],
        ),
        (
            "short.crt",
            "short.key",
            &["1024 bits is too short", "openssl ecparam"],
        ),
        ("rsa.crt", "ec.key", &["not the key of", "openssl pkey -in"]),
        ("rsa.crt", "rsa.crt", &["no private key in it"]),
        ("rsa.key", "rsa.key", &["no certificate in it"]),
        (
            "rsa.der",
            "rsa.key",
            &["is DER", "openssl x509 -inform der"],
        ),
        ("capath/README", "rsa.key", &["no certificate in it"]),
    ] {
        let said = with(certificate, key);
        for part in parts {
            assert!(said.contains(part), "{certificate}, {key}: {said}");
        }
        assert!(!said.contains("panicked"), "{said}");
    }
    let said = refused(&format!("{REQUIRING}crlfile {{c}}/ca.crt\n"));
    assert!(said.contains("no list in it"), "{said}");
    let foreign = REQUIRING.replace("cafile {c}/ca.crt", "cafile {c}/foreign-ca.crt");
    let said = refused(&format!("{foreign}crlfile {{c}}/ca.crl\n"));
    assert!(said.contains("signed by no CA of `cafile`"), "{said}");
}

#[test]
fn an_expired_certificate_is_told_and_shown() {
    let broker = start(1, &PLAIN.replace("ec.", "old."));
    broker.logged(&["old.crt", "has expired", "openssl x509 -in"]);
    assert!(!publishes(broker.port(), &[]));
    broker.logged(&["127.0.0.1:", "certificate"]);
    // Near its end.
    let broker = start(1, PLAIN);
    broker.logged(&["ec.crt", "expires in 1 day"]);
}

/// Of a certificate without its chain, the issuers are found among the CAs; a root is not sent.
#[test]
fn a_chain_is_completed_out_of_cafile() {
    let shown = |broker: &Broker| {
        s_client(broker.port(), &["-showcerts"])
            .matches("BEGIN CERTIFICATE")
            .count()
    };
    let alone = PLAIN.replace("ec.", "leaf.");
    assert_eq!(shown(&start(1, &alone)), 1);
    let completed = format!("{alone}cafile {{c}}/chain.crt\n");
    let broker = start(1, &completed);
    assert_eq!(shown(&broker), 2);
    assert!(publishes(broker.port(), &[]));
}

#[test]
fn an_old_version_is_refused_with_words() {
    let broker = start(1, &format!("{PLAIN}tls_version tlsv1.3\n"));
    assert!(publishes(broker.port(), &["--tls-version", "tlsv1.3"]));
    s_client(broker.port(), &["-tls1_2"]);
    broker.logged(&["127.0.0.1:", "its TLS is older"]);
}

/// Bytes of the records that the broker sends in a handshake.
fn records(port: u16) -> Vec<usize> {
    let said = s_client(port, &["-tls1_2", "-msg"]);
    let lines: Vec<&str> = said.lines().collect();
    let heads = lines.windows(2).filter_map(|pair| match pair {
        [head, bytes] if head.starts_with("<<<") && head.contains("RecordHeader") => Some(bytes),
        _ => None,
    });
    let length = |head: &&str| {
        let bytes: Vec<usize> = head
            .split_whitespace()
            .map(|byte| usize::from_str_radix(byte, 16).expect("hexadecimal"))
            .collect();
        bytes[3] << 8 | bytes[4]
    };
    heads.map(length).collect()
}

/// A board with a receive buffer of 512 bytes gets through the handshake.
#[test]
fn records_are_as_small_as_the_listener_says() {
    let rsa = PLAIN.replace("ec.", "rsa.");
    let large = start(1, &rsa);
    assert!(records(large.port()).iter().any(|bytes| *bytes > 512));
    let small = start(1, &format!("{rsa}max_fragment_size 512\n"));
    let records = records(small.port());
    assert!(records.contains(&512), "{records:?}");
    assert!(records.iter().all(|bytes| *bytes <= 512), "{records:?}");
    assert!(publishes(small.port(), &[]));
}

/// One line each: who, what, and what to do.
#[test]
fn what_goes_wrong_is_told() {
    let broker = start(1, PLAIN);
    let port = broker.port();
    let mut plain = Client::open(&broker);
    plain.send(&Connect::default().bytes());
    plain.expect_close();
    broker.logged(&["127.0.0.1:", "plain MQTT on a TLS port", "--cafile"]);
    assert!(!publishes(port, &["--cafile", "foreign-ca.crt"]));
    broker.logged(&["127.0.0.1:", "does not trust the CA", "--cafile"]);
    for (ciphers, told) in [
        ("AES128-SHA:AES128-SHA256", "RSA key exchange"),
        ("ECDHE-ECDSA-AES128-SHA:ECDHE-RSA-AES128-SHA", "CBC"),
        ("ECDHE-RSA-AES128-GCM-SHA256", "RSA certificates alone"),
        ("DHE-RSA-AES128-GCM-SHA256", "Diffie-Hellman without curves"),
    ] {
        let from = broker.log_len();
        s_client(port, &["-tls1_2", "-cipher", ciphers]);
        broker.logged_since(from, &["127.0.0.1:", told]);
    }
    let from = broker.log_len();
    s_client(
        port,
        &[
            "-tls1_2",
            "-psk",
            "abcd",
            "-cipher",
            "PSK-AES128-GCM-SHA256",
        ],
    );
    broker.logged_since(from, &["127.0.0.1:", "PSK"]);
    // And somebody who does it right still gets in.
    assert!(publishes(port, &[]));
}

/// RSA and ECDSA beside each other: each Client gets what it can check.
#[test]
fn of_two_certificates_the_fitting_one_is_shown() {
    let c = certificates();
    let both = [
        ["--listen", "mqtts://127.0.0.1:0", "--allow-anonymous"]
            .map(str::to_owned)
            .to_vec(),
        vec![
            "--cert".into(),
            format!("{c}/ec.crt"),
            "--key".into(),
            format!("{c}/ec.key"),
        ],
        vec![
            "--cert".into(),
            format!("{c}/rsa.crt"),
            "--key".into(),
            format!("{c}/rsa.key"),
        ],
    ]
    .concat();
    let (mut broker, port) = by_flags(&both);
    for (ciphers, kind) in [
        ("ECDHE-RSA-AES128-GCM-SHA256", "rsaEncryption"),
        ("ECDHE-ECDSA-AES128-GCM-SHA256", "id-ecPublicKey"),
    ] {
        let said = s_client(port, &["-tls1_2", "-cipher", ciphers]);
        assert!(said.contains(kind), "{ciphers}: {said}");
    }
    assert!(publishes(port, &[]));
    broker.kill().expect("kill it");
    broker.wait().expect("its end");
}

/// A broker with these flags, and its port.
fn by_flags(arguments: &[String]) -> (std::process::Child, u16) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_mqttfast"))
        .args(arguments)
        .args(["--persistence", "off"])
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("mqttfast");
    let stderr = child.stderr.take().expect("piped");
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(stderr));
    let line = lines.find_map(|line| {
        let line = line.expect("a line");
        line.split("listening on 127.0.0.1:")
            .nth(1)
            .map(str::to_owned)
    });
    let line = line.expect("a listener");
    assert!(line.ends_with("with TLS"), "{line}");
    // What follows is of no interest, and must not fill the pipe.
    thread::spawn(move || lines.for_each(drop));
    let port: String = line.chars().take_while(char::is_ascii_digit).collect();
    (child, port.parse().expect("a port"))
}

#[test]
fn sighup_reads_certificates_again() {
    let c = certificates();
    let configuration = "listener {port} 127.0.0.1\nallow_anonymous true\ncertfile {folder}/own.crt\nkeyfile {folder}/own.key\n";
    let options = Options {
        configuration: Some(configuration.to_owned()),
        ..Options::default()
    };
    // The files must be there before the broker is: a first one, refused, has made no folder that could be used.
    let folder = process::left_by_nobody("own");
    fs::create_dir_all(&folder).expect("a folder");
    let put = |name: &str| {
        for end in ["crt", "key"] {
            let from = format!("{c}/{name}.{end}");
            fs::copy(from, folder.join(format!("own.{end}"))).expect("a copy");
        }
    };
    put("ec");
    let text = configuration.replace("{folder}", &folder.display().to_string());
    let broker = Broker::start_with(Options {
        configuration: Some(text),
        ..options
    });
    let port = broker.port();
    let kind = || {
        let said = s_client(port, &[]);
        ["rsaEncryption", "id-ecPublicKey"]
            .into_iter()
            .find(|kind| said.contains(kind))
    };
    assert_eq!(kind(), Some("id-ecPublicKey"));
    put("rsa");
    let from = broker.log_len();
    broker.signal(Signal::SIGHUP);
    broker.logged_since(from, &["certificates read again"]);
    assert_eq!(kind(), Some("rsaEncryption"));
    // A certificate without its key: the old pair stays.
    fs::copy(format!("{c}/ec.crt"), folder.join("own.crt")).expect("a copy");
    let from = broker.log_len();
    broker.signal(Signal::SIGHUP);
    broker.logged_since(from, &["own.key", "not the key of"]);
    broker.logged_since(from, &["nothing reloaded"]);
    assert_eq!(kind(), Some("rsaEncryption"));
    assert!(publishes(port, &[]));
    fs::remove_dir_all(&folder).expect("no folder");
}

/// A hello and then nothing, half a record, and nothing at all: closed when CONNECT should have come. Clients beside it
/// are served.
#[test]
fn a_handshake_that_stands_still_ends_at_the_deadline() {
    let broker = start(1, PLAIN);
    let begun = Instant::now();
    let hello = b"\x16\x03\x01\x00\xC8\x01\x00\x00\xC4\x03\x03";
    let mut foes: Vec<TcpStream> = [&hello[..], &hello[..3], b""]
        .into_iter()
        .map(|bytes| {
            let mut foe = TcpStream::connect(broker.address()).expect("connect");
            foe.set_read_timeout(Some(DEADLINE)).expect("a deadline");
            foe.write_all(bytes).expect("send");
            foe
        })
        .collect();
    assert!(publishes(broker.port(), &[]));
    for foe in &mut foes {
        let mut rest = Vec::new();
        let _ = foe.read_to_end(&mut rest);
        let after = begun.elapsed();
        assert!(after >= Duration::from_secs(9), "{after:?}");
        assert!(after < Duration::from_secs(20), "{after:?}");
    }
}

/// Python's ssl, and a session that is taken up again.
#[test]
fn a_client_comes_back_by_its_ticket() {
    let broker = start(1, PLAIN);
    let program = format!(
        r#"
import socket, ssl
session = None
for round in range(2):
    context = context if round else ssl.create_default_context(cafile="{}/ca.crt")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with socket.create_connection(("localhost", {})) as plain:
        with context.wrap_socket(plain, server_hostname="localhost", session=session) as tls:
            tls.sendall(bytes([0x10, 13, 0, 4]) + b"MQTT" + bytes([4, 2, 0, 60, 0, 1]) + b"p")
            assert tls.recv(4) == bytes([0x20, 2, 0, 0])
            session = tls.session
            print(tls.version(), tls.session_reused)
"#,
        certificates(),
        broker.port()
    );
    let output = Command::new("timeout")
        .args(["20", "python3", "-c", &program])
        .output();
    let output = output.expect("python3");
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(said, "TLSv1.2 False\nTLSv1.2 True\n", "{errors}");
}

/// Handshakes without end from one address, RSA: a Client beside them gets in, and one that is in is answered.
#[test]
fn a_flood_of_handshakes_holds_nobody_up() {
    let broker = start(1, &PLAIN.replace("ec.", "rsa."));
    let port = broker.port();
    let end = Instant::now() + Duration::from_secs(3);
    let flood = || {
        let mut handshakes = 0;
        while Instant::now() < end {
            // From elsewhere: connections of one address that are not accepted yet have one allowance.
            let mut foe = Client::open_from(&broker, Ipv4Addr::new(127, 0, 0, 66));
            // A record that is not whole: it takes memory and no time.
            let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xFC\x03\x03";
            foe.try_send(hello);
            handshakes += 1;
        }
        handshakes
    };
    thread::scope(|scope| {
        let foes: Vec<_> = (0..4).map(|_| scope.spawn(flood)).collect();
        let begun = Instant::now();
        assert!(publishes(port, &[]));
        assert!(begun.elapsed() < Duration::from_secs(10));
        let counts = foes.into_iter().map(|foe| foe.join().expect("a foe"));
        let count: usize = counts.sum();
        assert!(count > 100, "{count}");
    });
}

/// The key is root's alone, and root has gone: it serves, says at the start what a renewal will need, and a renewal
/// that fails leaves all as it was.
#[test]
fn a_key_of_roots_alone_is_told_at_the_start() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let folder = process::left_by_nobody("roots");
    fs::create_dir_all(&folder).expect("a folder");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).expect("for everybody");
    let put = |name: &str, file: &str, mode: u32| {
        let path = folder.join(file);
        fs::copy(format!("{}/{name}", certificates()), &path).expect("a copy");
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("its rights");
    };
    put("ec.crt", "own.crt", 0o644);
    put("ec.key", "own.key", 0o600);
    let shown = folder.display();
    let broker = start(
        1,
        &format!(
            "user nobody\nlistener {{port}} 127.0.0.1\nallow_anonymous true\ncertfile {shown}/own.crt\nkeyfile {shown}/own.key\n"
        ),
    );
    broker.logged(&["own.key: user nobody cannot read it", "setfacl"]);
    let log = broker.log().join("\n");
    assert!(!log.contains("own.crt: user"), "{log}");
    assert!(publishes(broker.port(), &[]));
    let from = broker.log_len();
    put("rsa.crt", "own.crt", 0o644);
    put("rsa.key", "own.key", 0o600);
    broker.logged_since(
        from,
        &["own.key", "must be able to read it", "stay in force"],
    );
    assert!(publishes(broker.port(), &[]));
    let from = broker.log_len();
    let readable = fs::Permissions::from_mode(0o644);
    fs::set_permissions(folder.join("own.key"), readable).expect("its rights");
    broker.logged_since(from, &["certificates read again"]);
    assert!(publishes(broker.port(), &[]));
    fs::remove_dir_all(&folder).expect("the folder goes");
}

/// Files that are replaced are read again without a word.
#[test]
fn files_that_change_are_read_again() {
    let c = certificates();
    let folder = process::left_by_nobody("changed");
    fs::create_dir_all(&folder).expect("a folder");
    let put = |name: &str| {
        for end in ["crt", "key"] {
            let new = folder.join("new");
            fs::copy(format!("{c}/{name}.{end}"), &new).expect("a copy");
            fs::rename(new, folder.join(format!("own.{end}"))).expect("a new name");
        }
    };
    put("ec");
    let own = folder.display();
    let broker = start(
        1,
        &format!(
            "listener {{port}} 127.0.0.1\nallow_anonymous true\ncertfile {own}/own.crt\nkeyfile {own}/own.key\n"
        ),
    );
    let port = broker.port();
    let days = mosquitto(
        "mosquitto_sub",
        port,
        &[
            "-t",
            "$SYS/broker/mqttfast/certificate/days left",
            "-C",
            "1",
        ],
    );
    let said = { days }.output().expect("mosquitto_sub").stdout;
    assert_eq!(String::from_utf8_lossy(&said).trim(), "1");
    assert!(s_client(port, &[]).contains("id-ecPublicKey"));
    let from = broker.log_len();
    put("rsa");
    broker.logged_since(from, &["their files have changed"]);
    assert!(s_client(port, &[]).contains("rsaEncryption"));
    // What is wrong is told, and leaves what was read before.
    let from = broker.log_len();
    fs::write(folder.join("own.key"), "nothing").expect("a file");
    broker.logged_since(from, &["no private key in it", "stay in force"]);
    assert!(s_client(port, &[]).contains("rsaEncryption"));
    fs::remove_dir_all(&folder).expect("no folder");
}

/// The keys of tickets are in the store's directory, for the broker's user alone.
#[test]
fn a_ticket_outlives_a_restart() {
    let folder = process::left_by_nobody("tickets");
    let session = folder.join("session").display().to_string();
    let store = folder.join("store");
    fs::create_dir_all(&store).expect("a folder");
    let stored = format!(
        "{PLAIN}persistence true\npersistence_location {}/\n",
        store.display()
    );
    let mut broker = start(1, &stored);
    let said = s_client(broker.port(), &["-tls1_2", "-sess_out", &session]);
    assert!(said.contains("New, TLSv1.2"), "{said}");
    let file = store.join("tls-tickets");
    let until = Instant::now() + DEADLINE;
    while !file.exists() {
        assert!(Instant::now() < until, "no keys are kept");
        thread::sleep(Duration::from_millis(10));
    }
    let mode = fs::metadata(&file).expect("the keys").permissions();
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777,
        0o600
    );
    broker.end_by(Signal::SIGTERM);
    let broker = start(1, &stored);
    let said = s_client(broker.port(), &["-tls1_2", "-sess_in", &session]);
    assert!(said.contains("Reused, TLSv1.2"), "{said}");
    fs::remove_dir_all(&folder).expect("no folder");
}
