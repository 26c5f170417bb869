//! The turn loop with TLS in its links: a Client of rustls, certificates of openssl.

use super::double::{Broker, stream};
use super::peers::Over;
use crate::broker::CloseCause;
use crate::buffer::{Chunk, Payload};
use crate::config::{self, CertificateFiles, TlsVersion};
use crate::io::disk::Disk;
use crate::io::driver::kernel::Kernel;
use crate::io::link::tls::Tls;
use crate::io::link::tls::server::Server;
use crate::io::link::tls::terms::{Terms, provider};
use crate::io::link::tls::tickets::Keys;
use crate::io::link::tls::words;
use crate::io::link::websocket::Last;
use crate::io::link::{Layer, Wrapping};
use crate::limits;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, HandshakeKind, SignatureScheme,
    StreamOwned, SupportedProtocolVersion,
};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use std::{env, fs, process, thread};

/// For anything that has to come.
const PATIENCE: Duration = Duration::from_secs(20);

/// A folder with a key and its certificate, gone with the test.
pub(super) struct Files(PathBuf);

impl Files {
    pub(super) fn make(kind: &[&str]) -> Files {
        use std::sync::atomic::{AtomicUsize, Ordering};
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = env::temp_dir().join(format!("mqttfast-tls-{}-{number}", process::id()));
        fs::create_dir_all(&folder).unwrap();
        let made = Command::new("openssl")
            .args([
                "req",
                "-x509",
                "-nodes",
                "-days",
                "2",
                "-subj",
                "/CN=broker",
            ])
            .args(kind)
            .args(["-keyout", "key.pem", "-out", "certificate.pem"])
            .current_dir(&folder)
            .output()
            .expect("openssl");
        assert!(made.status.success(), "{made:?}");
        Files(folder)
    }

    pub(super) fn server(&self, slow: bool) -> Arc<Server> {
        Arc::new(Server::new(self.terms(None).with_slow(slow)))
    }

    fn terms(&self, fragment_bytes_max: Option<u16>) -> Terms {
        let path = |name: &str| Path::new(&self.0).join(name);
        let tls = config::Tls {
            certificates: vec![CertificateFiles {
                certificate: path("certificate.pem"),
                key: path("key.pem"),
            }],
            ca_file: None,
            ca_folder: None,
            revoked: None,
            client_certificate_required: false,
            user_name: None,
            client_dates_ignored: false,
            version_min: TlsVersion::V1_2,
            fragment_bytes_max,
        };
        let keys = Arc::new(Keys::default());
        keys.rotate(1);
        Terms::read(&tls, &Disk, &keys, 1_000_000_000).unwrap()
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Takes any certificate for the right one.
#[derive(Debug)]
struct Anyone;

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = provider().signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}

pub(super) fn client_config(version: &'static SupportedProtocolVersion) -> Arc<ClientConfig> {
    let config = ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone))
        .with_no_client_auth();
    Arc::new(config)
}

type Client = StreamOwned<ClientConnection, TcpStream>;

fn connect(broker: &Broker, config: &Arc<ClientConfig>) -> Client {
    let name = ServerName::try_from("broker").unwrap();
    let connection = ClientConnection::new(Arc::clone(config), name).unwrap();
    StreamOwned::new(connection, broker.connect())
}

fn start<K: Kernel>(shards: usize, files: &Files, slow: bool) -> Broker {
    let wrapping = Wrapping {
        tls: Some(files.server(slow)),
        ..Wrapping::default()
    };
    Broker::start_with::<K>(shards, &wrapping)
}

pub(super) const P256: &[&str] = &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
const RSA: &[&str] = &["-newkey", "rsa:2048"];

/// Sends in pieces and reads all of it back; both ends have room for what is under way.
fn echo(client: &mut (impl Read + Write), sent: &[u8], piece: usize) {
    let mut back = vec![0; sent.len()];
    let mut read = 0;
    for piece in sent.chunks(piece) {
        client
            .write_all(piece)
            .unwrap_or_else(|error| panic!("{error} after {read}"));
        client.flush().unwrap();
        let upto = read + piece.len();
        client.read_exact(&mut back[read..upto]).unwrap();
        read = upto;
    }
    assert!(back == sent);
}

fn a_stream_in_tls_is_echoed_whole<K: Kernel>() {
    for (kind, slow) in [(P256, false), (RSA, true)] {
        let files = Files::make(kind);
        let broker = start::<K>(1, &files, slow);
        for version in [&TLS12, &TLS13] {
            let config = client_config(version);
            for (bytes, piece) in [(300, 1), (100_000, 333), (3_000_000, 100_000)] {
                let mut client = connect(&broker, &config);
                echo(&mut client, &stream(b'E', bytes), piece);
            }
        }
        broker.stop();
    }
}

/// A link whose handshake is over, and its Client. No helper is here to take the handshake, however busy the machine
/// is.
fn shaken(terms: Terms, config: &Arc<ClientConfig>) -> (Tls, ClientConnection) {
    let mut tls = Tls::new(Arc::new(Server::new(terms.with_slow(false))));
    let name = ServerName::try_from("broker").unwrap();
    let mut client = ClientConnection::new(Arc::clone(config), name).unwrap();
    let mut rounds = 0;
    while client.is_handshaking() || client.wants_write() {
        rounds += 1;
        assert!(rounds <= 10, "the handshake does not end");
        let mut hello = Vec::new();
        client.write_tls(&mut hello).unwrap();
        tls.open(&hello, &mut Vec::new()).unwrap();
        let own = tls.own_bytes().unwrap_or_default();
        for chunk in &own {
            client.read_tls(&mut chunk.bytes()).unwrap();
            client.process_new_packets().unwrap();
        }
    }
    tls.open(&[], &mut Vec::new()).unwrap();
    (tls, client)
}

/// What a turn sends, and the payloads in it, share records: one for each 16 KiB, or what
/// the operator has allowed.
#[test]
fn records_end_where_they_are_full() {
    let files = Files::make(P256);
    for (version, most) in [(&TLS12, None), (&TLS13, None), (&TLS13, Some(1000))] {
        let record = most.map_or(16 * 1024, usize::from);
        for (bytes, piece) in [(10_000, 100), (60_000, 7_000), (200_000, 999), (1, 1)] {
            let (mut tls, mut client) = shaken(files.terms(most), &client_config(version));
            let sent = stream(b'R', bytes);
            let chunks = sent.chunks(piece).enumerate().map(|(count, piece)| {
                let (start, end) = (0, piece.len() as u32);
                match count % 3 {
                    0 => Chunk::Block(piece.to_vec()),
                    _ => Chunk::Shared {
                        payload: Payload::new(piece),
                        start,
                        end,
                    },
                }
            });
            let mut sealed = tls.seal(chunks.collect(), &mut Last::default());
            let (mut records, mut heard) = (0, Vec::new());
            loop {
                let part: Vec<u8> = sealed
                    .iter()
                    .flat_map(|chunk| chunk.bytes())
                    .copied()
                    .collect();
                let mut rest = &part[..];
                while let [23, _, _, high, low, behind @ ..] = rest {
                    records += 1;
                    rest = &behind[usize::from(u16::from_be_bytes([*high, *low]))..];
                }
                assert!(rest.is_empty());
                let mut part = &part[..];
                while !part.is_empty() {
                    client.read_tls(&mut part).unwrap();
                    let read = client
                        .process_new_packets()
                        .unwrap()
                        .plaintext_bytes_to_read();
                    let from = heard.len();
                    heard.resize(from + read, 0);
                    client.reader().read_exact(&mut heard[from..]).unwrap();
                }
                match tls.seal_rest() {
                    Some(rest) => sealed = rest,
                    None => break,
                }
            }
            assert!(heard == sent);
            let parts = sent.chunks(limits::TLS_SEAL_BYTES);
            let full: usize = parts.map(|part| part.len().div_ceil(record)).sum();
            assert_eq!(records, full, "{bytes} bytes in chunks of {piece}");
        }
    }
}

/// The handshake goes to a helper and back, and to another shard in the end, whatever has come of the stream.
fn a_connection_moves_with_its_tls<K: Kernel>() {
    let files = Files::make(P256);
    for slow in [false, true] {
        let broker = start::<K>(2, &files, slow);
        for version in [&TLS12, &TLS13] {
            let config = client_config(version);
            for _ in 0..10 {
                let mut client = connect(&broker, &config);
                echo(&mut client, &stream(b'1', 20_000), 700);
            }
        }
        let seen = broker.stop();
        let adopted = seen.iter().filter(|event| *event == "1:adopted").count();
        assert_eq!(adopted, 20);
    }
}

/// What was opened and sealed before goes along, in both layers: keys and numbers of records, half a frame.
fn a_websocket_inside_tls_moves_in_mid_stream<K: Kernel>() {
    let over = Over::SecureWebSocket;
    for slow in [false, true] {
        let broker = Broker::start_with::<K>(2, &over.wrapping(slow));
        for _ in 0..10 {
            let mut client = over.connect(broker.address, PATIENCE);
            echo(&mut client, &stream(b'1', 20_000), 700);
            let mut client = over.connect(broker.address, PATIENCE);
            broker.seen.lock().unwrap().clear();
            client.write_all(b"M").unwrap();
            broker.wait_for("0:one byte read");
            echo(&mut client, &stream(b'M', 100_000), 1_000);
        }
        broker.stop();
    }
}

/// More than is sealed at once, to a Client that reads when all of it is on its way.
fn a_large_answer_is_sealed_in_parts<K: Kernel>() {
    let files = Files::make(P256);
    let broker = start::<K>(1, &files, false);
    let config = client_config(&TLS13);
    let mut client = connect(&broker, &config);
    client.write_all(b"b").unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).unwrap();
    assert_eq!(answer.len(), 3 << 19);
    broker.stop();
}

fn a_farewell_ends_the_stream<K: Kernel>() {
    let files = Files::make(P256);
    let broker = start::<K>(1, &files, false);
    for version in [&TLS12, &TLS13] {
        let config = client_config(version);
        let mut client = connect(&broker, &config);
        client.write_all(b"Q").unwrap();
        // Without close_notify this fails: the stream may have been cut.
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).unwrap();
        assert_eq!(answer.len(), 3);
        // The Client's own farewell ends the connection, though its socket stays open.
        let mut client = connect(&broker, &config);
        echo(&mut client, b"E", 1);
        broker.seen.lock().unwrap().clear();
        client.conn.send_close_notify();
        client.flush().unwrap();
        client.read_to_end(&mut answer).unwrap();
        broker.wait_for("0:closed PeerClosed");
    }
    broker.stop();
}

fn a_ticket_spares_the_handshake<K: Kernel>() {
    let files = Files::make(RSA);
    let broker = start::<K>(1, &files, true);
    for version in [&TLS12, &TLS13] {
        let config = client_config(version);
        let kinds = [0, 1].map(|_| {
            let mut client = connect(&broker, &config);
            echo(&mut client, b"Etwice", 1);
            client.conn.handshake_kind()
        });
        assert_eq!(
            kinds,
            [Some(HandshakeKind::Full), Some(HandshakeKind::Resumed)]
        );
    }
    broker.stop();
}

/// Every byte alone: of the handshake, of records, of the farewell.
fn tls_comes_a_byte_at_a_time<K: Kernel>() {
    let files = Files::make(P256);
    for slow in [false, true] {
        let broker = start::<K>(1, &files, slow);
        let config = client_config(&TLS13);
        let name = ServerName::try_from("broker").unwrap();
        let mut connection = ClientConnection::new(config, name).unwrap();
        let mut socket = broker.connect();
        connection.writer().write_all(b"Eslowly").unwrap();
        let mut back = Vec::new();
        while back.len() < 7 {
            let mut bytes = Vec::new();
            while connection.wants_write() {
                connection.write_tls(&mut bytes).unwrap();
            }
            for byte in bytes {
                socket.write_all(&[byte]).unwrap();
            }
            connection.read_tls(&mut socket).unwrap();
            connection.process_new_packets().unwrap();
            // It would wait for more than there is.
            let _ = connection.reader().read_to_end(&mut back);
        }
        assert_eq!(back, b"Eslowly");
        broker.stop();
    }
}

fn what_is_no_tls_is_told<K: Kernel>() {
    let files = Files::make(P256);
    let broker = start::<K>(1, &files, false);
    let told = |bytes: &[u8], reason: &'static str| {
        broker.seen.lock().unwrap().clear();
        let mut client = broker.connect();
        // It may be closed before all of it is taken.
        let _ = client.write_all(bytes);
        let mut answer = Vec::new();
        let _ = client.read_to_end(&mut answer);
        let cause = CloseCause::Transport(reason);
        broker.wait_for(&format!("0:closed {cause:?}"));
        answer
    };
    let mqtt = b"\x10\x0C\0\x04MQTT\x04\x02\0\x3C\0\0";
    let reason = words::no_tls(mqtt).unwrap();
    assert!(told(mqtt, reason).is_empty());
    // A record of the right kind that holds nonsense gets an alert.
    let answer = told(
        b"\x16\x03\x01\0\x05\x01\0\0\x01\0",
        "it breaks the rules of TLS",
    );
    assert_eq!(answer.first(), Some(&0x15));
    // A handshake without end.
    let endless: Vec<u8> = [0x16, 3, 1, 0x2E, 0xE4, 1, 0, 0xFF, 0]
        .into_iter()
        .chain(std::iter::repeat_n(0, 12_000))
        .collect();
    // One record after the other, each a part of the same message.
    let endless = [&endless[..], &endless, &endless, &endless].concat();
    told(&endless, words::LONG_HANDSHAKE);
    broker.stop();
}

/// A record that was changed on its way is refused, and the connection with it.
fn a_changed_record_ends_the_connection<K: Kernel>() {
    let files = Files::make(P256);
    let broker = start::<K>(1, &files, false);
    let config = client_config(&TLS13);
    let mut client = connect(&broker, &config);
    echo(&mut client, b"E", 1);
    let record = changed(&mut client, &[b"changed"]);
    client.sock.write_all(&record).unwrap();
    let cause = CloseCause::Transport("a TLS record was changed on its way");
    broker.wait_for(&format!("0:closed {cause:?}"));
    let mut answer = Vec::new();
    let error = client.read_to_end(&mut answer).unwrap_err();
    assert!(error.to_string().contains("BadRecordMac"), "{error}");
    broker.stop();
}

/// Records with these bytes, the last one changed.
fn changed(client: &mut Client, bytes: &[&[u8]]) -> Vec<u8> {
    let mut records = Vec::new();
    for bytes in bytes {
        client.conn.writer().write_all(bytes).unwrap();
        client.conn.write_tls(&mut records).unwrap();
    }
    *records.last_mut().unwrap() ^= 1;
    records
}

/// What came whole before it is handled, though nothing can be sealed any more to answer it.
fn what_came_before_a_changed_record_is_handled<K: Kernel>() {
    let files = Files::make(P256);
    let broker = start::<K>(1, &files, false);
    for version in [&TLS12, &TLS13] {
        // rustls takes 4 KiB at once: the first record is opened by itself, or together with the changed one.
        for filler in [0, 8_000] {
            for wish in [b"Q", b"D", b"b"] {
                let mut client = connect(&broker, &client_config(version));
                while client.conn.is_handshaking() {
                    client.conn.complete_io(&mut client.sock).unwrap();
                }
                if *version == TLS13 {
                    // Its ticket: the broker has ended the handshake too.
                    client.conn.read_tls(&mut client.sock).unwrap();
                    client.conn.process_new_packets().unwrap();
                }
                let first = [&wish[..], &vec![0; filler]].concat();
                let records = changed(&mut client, &[&first, &[0; 500]]);
                client.sock.write_all(&records).unwrap();
                let error = client.read_to_end(&mut Vec::new()).unwrap_err();
                assert!(error.to_string().contains("BadRecordMac"), "{error}");
            }
        }
    }
    // The shard has closed all of them itself.
    let seen = broker.stop();
    assert!(
        !seen.iter().any(|event| event.contains("closed")),
        "{seen:?}"
    );
}

/// More is to be sealed when the record comes: it is not.
fn a_changed_record_ends_an_answer_in_parts<K: Kernel>() {
    let files = Files::make(P256);
    let broker = start::<K>(1, &files, false);
    for version in [&TLS12, &TLS13] {
        let mut client = connect(&broker, &client_config(version));
        // More than the sockets hold. What waits at the broker is one answer when the first of it is read.
        let sent = stream(b'E', 24_000_000);
        client.write_all(&sent).unwrap();
        let mut answer = vec![0; 8_000_000];
        client.read_exact(&mut answer).unwrap();
        let record = changed(&mut client, &[b"changed"]);
        broker.seen.lock().unwrap().clear();
        client.sock.write_all(&record).unwrap();
        broker.wait_for_like("0:closed Transport(");
        let error = client.read_to_end(&mut answer).unwrap_err();
        assert!(error.to_string().contains("BadRecordMac"), "{error}");
        assert!(answer.len() < sent.len() && sent.starts_with(&answer));
    }
    broker.stop();
}

/// Clients that go in the middle of a handshake, also while a helper has it.
fn handshakes_that_are_given_up_leave_nothing<K: Kernel>() {
    let files = Files::make(RSA);
    let broker = start::<K>(1, &files, true);
    let config = client_config(&TLS13);
    for _ in 0..30 {
        let name = ServerName::try_from("broker").unwrap();
        let mut connection = ClientConnection::new(Arc::clone(&config), name).unwrap();
        let mut socket = broker.connect();
        let mut hello = Vec::new();
        connection.write_tls(&mut hello).unwrap();
        socket.write_all(&hello).unwrap();
        socket.shutdown(Shutdown::Both).unwrap();
    }
    let clients: Vec<_> = (0..20)
        .map(|_| {
            let mut client = connect(&broker, &config);
            thread::spawn(move || echo(&mut client, &stream(b'E', 1_000), 100))
        })
        .collect();
    for client in clients {
        client.join().unwrap();
    }
    let seen = broker.stop();
    assert!(
        seen.iter().filter(|event| event.contains("closed")).count() >= 30,
        "{seen:?}"
    );
}

under_each_driver!(
    a_stream_in_tls_is_echoed_whole,
    a_connection_moves_with_its_tls,
    a_websocket_inside_tls_moves_in_mid_stream,
    a_large_answer_is_sealed_in_parts,
    a_farewell_ends_the_stream,
    a_ticket_spares_the_handshake,
    tls_comes_a_byte_at_a_time,
    what_is_no_tls_is_told,
    a_changed_record_ends_the_connection,
    what_came_before_a_changed_record_is_handled,
    a_changed_record_ends_an_answer_in_parts,
    handshakes_that_are_given_up_leave_nothing,
);
