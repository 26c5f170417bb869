//! TLS as the client of another broker, for bridges.
//!
//! The other broker's certificate is believed as Mosquitto believes it: by the CAs of `bridge_cafile` and
//! `bridge_capath`, of X.509 version 1 too, and for the name in `address`. A certificate without alternative names
//! counts for its CN.

use super::terms::{certified, provider, read_cas, versions};
use super::trust::{Trust, TrustTerms};
use super::{name, x509::Certificate};
use crate::config::mosquitto::{At, BridgeTls, Files};
use crate::config::{CertificateFiles, CertificateName};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{
    ResolvesClientCert, verify_server_cert_signed_by_trust_anchor, verify_server_name,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, Error, RootCertStore,
    SignatureScheme,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where systems keep the CAs that they trust.
const SYSTEM_CAS: &str = "/etc/ssl/certs";

/// Begins a connection to a host by its name or address.
///
/// Errors: a sentence about a file, or about the name.
pub fn connection(
    tls: &BridgeTls,
    host: &str,
    files: &dyn Files,
) -> Result<ClientConnection, String> {
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| format!("`{host}` is no name that a certificate can have"))?;
    let provider = Arc::new(provider());
    fn path(at: &Option<At<PathBuf>>) -> Option<&Path> {
        at.as_ref().map(|at| at.value.as_path())
    }
    let mut cas = read_cas(path(&tls.ca_file), path(&tls.ca_folder), files)?;
    if tls.system_cas {
        let system = read_cas(None, Some(Path::new(SYSTEM_CAS)), files)?;
        cas = cas.iter().chain(&*system).cloned().collect();
    }
    if cas.is_empty() {
        return Err(
            "no CA is named by which the other broker could be believed: bridge_cafile FILE".into(),
        );
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(cas.iter().cloned());
    let terms = TrustTerms {
        cas: Arc::clone(&cas),
        lists: None,
        dates_ignored: false,
        user_name: None,
    };
    let verifier = Verifier {
        trust: Trust::new(terms, &provider)?,
        roots,
        cas,
        insecure: tls.insecure,
        algorithms: provider.signature_verification_algorithms.all,
    };
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions(tls.version_min))
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match (&tls.certificate, &tls.key) {
        (Some(certificate), Some(key)) => {
            let pair = CertificateFiles {
                certificate: certificate.value.clone(),
                key: key.value.clone(),
            };
            let made: Vec<CertifiedKey> = certified(&pair, files, &[], &provider)?;
            let own = made.into_iter().next().ok_or("there is no certificate")?;
            let shown: Arc<dyn ResolvesClientCert> = Arc::new(SingleCertAndKey::from(own));
            builder.with_client_cert_resolver(shown)
        }
        _ => builder.with_no_client_auth(),
    };
    config
        .alpn_protocols
        .extend(tls.alpn.as_ref().map(|alpn| alpn.clone().into_bytes()));
    ClientConnection::new(Arc::new(config), name).map_err(|error| why(&error))
}

/// A clause that says what to do.
pub fn why(error: &Error) -> String {
    let remedy = match error {
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            ": name the CA that signed its certificate by bridge_cafile"
        }
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => ": its certificate is for another name than `address` has",
        Error::InvalidCertificate(
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. },
        ) => ": is the clock of this machine right?",
        Error::AlertReceived(_) => {
            ": does it want a certificate (bridge_certfile) or another version (bridge_tls_version)?"
        }
        Error::InvalidMessage(_) => ": is that the port for TLS?",
        _ => "",
    };
    format!("TLS: {error}{remedy}")
}

#[derive(Debug)]
struct Verifier {
    /// Of versions before 3, of certificates that stand among the CAs, and of signatures.
    trust: Trust,
    roots: RootCertStore,
    cas: Arc<[CertificateDer<'static>]>,
    /// Whatever its name is.
    insecure: bool,
    algorithms: &'static [&'static dyn rustls::pki_types::SignatureVerificationAlgorithm],
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let certificate = Certificate::read(own).map_err(|_| CertificateError::BadEncoding)?;
        let parsed = match certificate.version {
            3.. => Some(ParsedCertificate::try_from(own)?),
            _ => None,
        };
        match &parsed {
            Some(parsed) if !self.cas.iter().any(|ca| ca == own) => {
                let (roots, algorithms) = (&self.roots, self.algorithms);
                verify_server_cert_signed_by_trust_anchor(parsed, roots, others, now, algorithms)?;
            }
            _ => self.trust.check(own, others, now)?,
        }
        if self.insecure {
            return Ok(ServerCertVerified::assertion());
        }
        let refused = match parsed
            .as_ref()
            .map(|parsed| verify_server_name(parsed, server_name))
        {
            Some(Ok(())) => return Ok(ServerCertVerified::assertion()),
            Some(Err(Error::InvalidCertificate(CertificateError::NotValidForNameContext {
                expected,
                presented,
            }))) if !presented.is_empty() => {
                let context = CertificateError::NotValidForNameContext {
                    expected,
                    presented,
                };
                return Err(context.into());
            }
            Some(Err(error)) => error,
            None => CertificateError::NotValidForName.into(),
        };
        // It has no alternative name: its CN counts.
        let common_name = name::user_name(certificate.subject, CertificateName::CommonName);
        match common_name.is_ok_and(|name| fits(&name, &server_name.to_str())) {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(refused),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        ClientCertVerifier::verify_tls12_signature(&self.trust, message, own, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        ClientCertVerifier::verify_tls13_signature(&self.trust, message, own, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.trust.supported_verify_schemes()
    }
}

/// Is this CN the host's name? `*` may stand for its first label.
fn fits(common_name: &str, host: &str) -> bool {
    let (common_name, host) = (common_name.to_ascii_lowercase(), host.to_ascii_lowercase());
    match common_name.strip_prefix("*.") {
        Some(rest) => host
            .split_once('.')
            .is_some_and(|(first, domain)| !first.is_empty() && domain == rest),
        None => common_name == host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_names() {
        for (common_name, host, wanted) in [
            ("Broker.House", "broker.house", true),
            ("broker", "broker.house", false),
            ("*.house", "broker.house", true),
            ("*.house", "house", false),
            ("*.house", "a.broker.house", false),
            ("*.house", ".house", false),
            ("10.0.0.1", "10.0.0.1", true),
        ] {
            assert_eq!(fits(common_name, host), wanted, "{common_name} {host}");
        }
    }
}
