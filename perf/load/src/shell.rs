//! What lies between MQTT and a socket of the generator: TLS, the frames of a WebSocket, one inside the other, or
//! nothing.

use crate::client::Target;
use crate::websocket::{self, Frames};
use rustls::client::{Resumption, Tls12Resumption};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion, version};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

/// The name that the broker's certificate has.
const SERVER_NAME: &str = "localhost";
/// Sessions that are kept to come back to: more than there are at once, as TLS 1.3 uses each ticket once.
const SESSIONS_KEPT: usize = 4096;

/// The options of TLS.
pub struct TlsTerms {
    /// File with the broker's certificate, or with the one that signed it.
    pub certificate: String,
    /// "1.2" or "1.3"; otherwise whatever the broker likes best.
    pub version: Option<String>,
    /// Connections after the first come back by a ticket.
    pub resume: bool,
}

impl TlsTerms {
    /// Errors: the file cannot be read or holds no certificate, or there is no such version.
    pub fn config(&self) -> Result<Arc<ClientConfig>, String> {
        let fail = |error: &dyn std::fmt::Display| format!("{}: {error}", self.certificate);
        let mut roots = RootCertStore::empty();
        for found in CertificateDer::pem_file_iter(&self.certificate).map_err(|e| fail(&e))? {
            let certificate = found.map_err(|error| fail(&error))?;
            roots.add(certificate).map_err(|error| fail(&error))?;
        }
        let versions: &[&SupportedProtocolVersion] = match self.version.as_deref() {
            None => rustls::DEFAULT_VERSIONS,
            Some("1.2") => &[&version::TLS12],
            Some("1.3") => &[&version::TLS13],
            Some(_) => return Err("--tls-version is neither 1.2 nor 1.3".into()),
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .map_err(|error| fail(&error))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.resumption = match self.resume {
            false => Resumption::disabled(),
            true => Resumption::in_memory_sessions(SESSIONS_KEPT)
                .tls12_resumption(Tls12Resumption::SessionIdOrTickets),
        };
        Ok(Arc::new(config))
    }
}

/// What one connection has between MQTT and its socket.
#[derive(Default)]
pub struct Shell {
    tls: Option<Box<ClientConnection>>,
    frames: Option<Frames>,
    framed: Vec<u8>,
}

fn tls_failed(error: impl std::fmt::Display) -> String {
    format!("TLS: {error}")
}

impl Shell {
    /// Before the first byte: a handshake of TLS goes on as [`Shell::open`] and [`Shell::seal`] are called. There is
    /// none of a WebSocket.
    pub fn start(to: Target) -> Result<Shell, String> {
        let mut shell = Shell::default();
        if let Some(config) = to.tls {
            let name = ServerName::try_from(SERVER_NAME).map_err(tls_failed)?;
            let mut tls = ClientConnection::new(Arc::clone(config), name).map_err(tls_failed)?;
            tls.set_buffer_limit(None);
            shell.tls = Some(Box::new(tls));
        }
        Ok(shell)
    }

    /// Does the handshakes, on a socket that blocks.
    pub fn begin(to: Target, stream: &mut TcpStream) -> Result<Shell, String> {
        let mut shell = Shell::start(to)?;
        if let Some(tls) = &mut shell.tls {
            while tls.is_handshaking() {
                tls.complete_io(stream).map_err(tls_failed)?;
            }
        }
        if to.websocket {
            let frames = match &mut shell.tls {
                None => Frames::begin(stream),
                Some(tls) => Frames::begin(&mut rustls::Stream::new(&mut **tls, stream)),
            };
            shell.frames = Some(frames?);
        }
        Ok(shell)
    }

    /// MQTT goes as it is.
    pub fn is_bare(&self) -> bool {
        self.tls.is_none() && self.frames.is_none()
    }

    /// Appends to `inside` the MQTT that came with these bytes of the socket.
    pub fn open(&mut self, mut received: &[u8], inside: &mut Vec<u8>) -> Result<(), String> {
        let from = inside.len();
        match &mut self.tls {
            None => inside.extend_from_slice(received),
            Some(tls) => {
                while !received.is_empty() {
                    tls.read_tls(&mut received).map_err(tls_failed)?;
                    let state = tls.process_new_packets().map_err(tls_failed)?;
                    let at = inside.len();
                    inside.resize(at + state.plaintext_bytes_to_read(), 0);
                    tls.reader()
                        .read_exact(&mut inside[at..])
                        .map_err(tls_failed)?;
                }
            }
        }
        if let Some(frames) = &mut self.frames {
            let opened = frames.open(&mut inside[from..])?;
            inside.truncate(from + opened);
        }
        Ok(())
    }

    /// TLS itself has something to send: [`Shell::seal`] gives it, if only for no bytes.
    pub fn wants_write(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.wants_write())
    }

    /// Appends to `out` what goes to the socket for these packets.
    pub fn seal(&mut self, packets: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
        let framed = match self.frames {
            None => packets,
            Some(_) => {
                self.framed.clear();
                websocket::seal(packets, &mut self.framed)?;
                &self.framed
            }
        };
        let Some(tls) = &mut self.tls else {
            out.extend_from_slice(framed);
            return Ok(());
        };
        tls.writer().write_all(framed).map_err(tls_failed)?;
        while tls.wants_write() {
            tls.write_tls(out).map_err(tls_failed)?;
        }
        Ok(())
    }
}
