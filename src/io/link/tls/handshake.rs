//! A step of a handshake: what may take milliseconds on a small board, because a private key signs, a secret is agreed
//! or a Client's certificate is checked. It owns all it needs, so a helper thread can do it.

use super::terms::Terms;
use super::words;
use rustls::pki_types::UnixTime;
use rustls::server::Accepted;
use rustls::{HandshakeKind, ProtocolVersion, ServerConnection};
use std::fmt;
use std::sync::Arc;

/// One step, to be [run](Handshake::run) once.
pub struct Handshake {
    terms: Arc<Terms>,
    stage: Stage,
    /// Bytes received that rustls does not have yet.
    received: Vec<u8>,
    own: Vec<u8>,
}

enum Stage {
    /// The ClientHello has come.
    Hello(Box<Accepted>),
    Going(Box<ServerConnection>),
    Done(Outcome),
}

/// What a step has come to.
pub enum Outcome {
    /// More must come from the Client.
    Shaking(Box<ServerConnection>),
    /// The handshake is over. The user name by the Client's certificate, where the listener wants one.
    Open(Box<ServerConnection>, Option<Box<str>>),
    /// The reason, for the log.
    Broken(&'static str),
}

impl Handshake {
    /// The first step: answers a ClientHello. `received`: what came behind it.
    pub fn begin(terms: Arc<Terms>, accepted: Accepted, received: Vec<u8>) -> Handshake {
        Handshake {
            terms,
            stage: Stage::Hello(Box::new(accepted)),
            received,
            own: Vec::new(),
        }
    }

    /// A later step: these bytes came.
    pub fn go_on(
        terms: Arc<Terms>,
        connection: Box<ServerConnection>,
        received: Vec<u8>,
    ) -> Handshake {
        Handshake {
            terms,
            stage: Stage::Going(connection),
            received,
            own: Vec::new(),
        }
    }

    /// It takes so long that a shard should not do it.
    pub fn is_long(&self) -> bool {
        match &self.stage {
            Stage::Hello(_) => self.terms.is_slow(),
            // With TLS 1.3 the secret was agreed in the first step, and what is left without a certificate is a hash.
            Stage::Going(connection) => {
                self.terms.is_slow()
                    && (self.terms.wants_certificates()
                        || connection.protocol_version() != Some(ProtocolVersion::TLSv1_3))
            }
            Stage::Done(_) => false,
        }
    }

    /// Others that have not begun should wait for it.
    pub fn has_begun(&self) -> bool {
        matches!(self.stage, Stage::Going(_))
    }

    /// It is not done: too many wait.
    pub fn refuse(&mut self) {
        self.stage = Stage::Done(Outcome::Broken(words::TOO_MANY));
    }

    /// Does the step.
    pub fn run(&mut self) {
        let done = Stage::Done(Outcome::Broken(words::MALFORMED));
        let outcome = match std::mem::replace(&mut self.stage, done) {
            Stage::Hello(accepted) => self.answer(*accepted),
            Stage::Going(connection) => self.read(connection),
            Stage::Done(outcome) => outcome,
        };
        self.stage = Stage::Done(outcome);
    }

    fn answer(&mut self, accepted: Accepted) -> Outcome {
        let offer = words::Offer::of(&accepted.client_hello());
        match accepted.into_connection(Arc::clone(&self.terms.config)) {
            Ok(mut connection) => {
                connection.set_buffer_limit(None);
                self.read(Box::new(connection))
            }
            Err((error, mut alert)) => {
                // Writing to a vector cannot fail.
                let _ = alert.write_all(&mut self.own);
                Outcome::Broken(words::of_refusal(&error, offer))
            }
        }
    }

    fn read(&mut self, mut connection: Box<ServerConnection>) -> Outcome {
        let mut bytes = &self.received[..];
        let mut result = connection.process_new_packets();
        while result.is_ok() && connection.is_handshaking() && !bytes.is_empty() {
            if connection.read_tls(&mut bytes).is_err() {
                return Outcome::Broken(words::MALFORMED);
            }
            result = connection.process_new_packets();
        }
        let left = bytes.len();
        self.received.drain(..self.received.len() - left);
        write_own(&mut connection, &mut self.own);
        match result {
            Err(error) => Outcome::Broken(words::of_error(&error)),
            Ok(_) if connection.is_handshaking() => Outcome::Shaking(connection),
            Ok(_) => match self.admit(&connection) {
                Ok(user_name) => Outcome::Open(connection, user_name),
                Err(reason) => Outcome::Broken(reason),
            },
        }
    }

    /// The certificate of a Client that comes back by a ticket is checked again, since it may have been revoked.
    fn admit(&self, connection: &ServerConnection) -> Result<Option<Box<str>>, &'static str> {
        let Some(trust) = &self.terms.trust else {
            return Ok(None);
        };
        let certificates = connection.peer_certificates().unwrap_or_default();
        let Some((own, others)) = certificates.split_first() else {
            return Err(words::NO_CERTIFICATE);
        };
        if connection.handshake_kind() == Some(HandshakeKind::Resumed) {
            trust
                .check(own, others, UnixTime::now())
                .map_err(|error| words::of_error(&error))?;
        }
        trust.user_name(own)
    }

    /// One that is over, for tests of the queue.
    #[cfg(test)]
    pub fn refused() -> Handshake {
        let config =
            rustls::ServerConfig::builder_with_provider(Arc::new(super::terms::provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_cert_resolver(Arc::new(rustls::server::ResolvesServerCertUsingSni::new()));
        let mut handshake = Handshake {
            terms: Arc::new(Terms::of(config)),
            stage: Stage::Done(Outcome::Broken("")),
            received: Vec::new(),
            own: Vec::new(),
        };
        handshake.refuse();
        handshake
    }

    /// More bytes came while a helper had it.
    pub fn append(&mut self, received: &[u8]) {
        self.received.extend_from_slice(received);
    }

    /// The terms of the handshake, what it has come to, what is to be sent now, and received bytes that are left.
    pub fn end(self) -> (Arc<Terms>, Outcome, Vec<u8>, Vec<u8>) {
        let outcome = match self.stage {
            Stage::Done(outcome) => outcome,
            Stage::Hello(_) | Stage::Going(_) => Outcome::Broken(words::MALFORMED),
        };
        (self.terms, outcome, self.own, self.received)
    }
}

/// Appends what rustls wants to send.
pub fn write_own(connection: &mut ServerConnection, own: &mut Vec<u8>) {
    while connection.wants_write() {
        // Writing to a vector cannot fail.
        if connection.write_tls(own).is_err() {
            break;
        }
    }
}

impl fmt::Debug for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Handshake({} bytes)", self.received.len())
    }
}
