//! Which Clients' certificates are believed.
//!
//! webpki decides, by the CAs of `cafile` and `capath`. Two kinds that it refuses and Mosquitto takes are decided here:
//! certificates of version 1, which the recipe in Mosquitto's manual makes, and a certificate that stands in `cafile`
//! itself. Such a one must be signed by a CA of `cafile` directly: nothing that the Client sends helps it.
//!
//! `crlfile` is asked about the Client's own certificate, by its issuer and number. As with Mosquitto, there must be a
//! list of that issuer, and it must be in date.

use super::name;
use super::x509::{Certificate, Key, RevocationList, Signed};
use crate::config::CertificateName;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, PeerMisbehaved,
    RootCertStore, SignatureScheme,
};
use std::fmt;
use std::sync::Arc;

/// Who is trusted, and on which terms.
pub struct Trust {
    webpki: Arc<dyn ClientCertVerifier>,
    cas: Arc<[CertificateDer<'static>]>,
    /// `None`: nothing is revoked.
    lists: Option<Vec<Box<[u8]>>>,
    dates_ignored: bool,
    user_name: Option<CertificateName>,
    algorithms: WebPkiSupportedAlgorithms,
}

/// What makes a [`Trust`].
pub struct TrustTerms {
    /// Of `cafile` and `capath`.
    pub cas: Arc<[CertificateDer<'static>]>,
    /// Of `crlfile`; `None`: there is none.
    pub lists: Option<Vec<Box<[u8]>>>,
    /// `disable_client_cert_date_checks`.
    pub dates_ignored: bool,
    /// Which name is the user name.
    pub user_name: Option<CertificateName>,
}

/// Does this key say that these bytes are signed?
pub fn is_signed_by(
    signed: &Signed<'_>,
    key: &Key<'_>,
    algorithms: &WebPkiSupportedAlgorithms,
) -> bool {
    let mut fitting = algorithms.all.iter().filter(|algorithm| {
        algorithm.signature_alg_id().as_ref() == signed.algorithm
            && algorithm.public_key_alg_id().as_ref() == key.algorithm
    });
    fitting.any(|algorithm| {
        let verified = algorithm.verify_signature(key.bits, signed.message, signed.signature);
        verified.is_ok()
    })
}

impl Trust {
    /// Errors: one clause that says what is wrong with the CAs or the lists.
    pub fn new(terms: TrustTerms, provider: &Arc<CryptoProvider>) -> Result<Trust, String> {
        let TrustTerms {
            cas,
            lists,
            dates_ignored,
            user_name,
        } = terms;
        let mut roots = RootCertStore::empty();
        let (taken, _) = roots.add_parsable_certificates(cas.iter().cloned());
        if taken == 0 {
            return Err("there is no CA certificate in it".to_owned());
        }
        let webpki =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
                .build()
                .map_err(|error| error.to_string())?;
        Ok(Trust {
            webpki,
            cas,
            lists,
            dates_ignored,
            user_name,
            algorithms: provider.signature_verification_algorithms,
        })
    }

    /// Is this certificate believed now? `others` are what the Client sent with it.
    pub fn check(
        &self,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        let certificate = Certificate::read(own).map_err(|_| CertificateError::BadEncoding)?;
        let now = if self.dates_ignored {
            within_dates(&certificate, others, now)
        } else {
            now
        };
        if certificate.version < 3 || self.cas.iter().any(|ca| ca == own) {
            self.check_here(own, &certificate, now)?;
        } else {
            self.webpki.verify_client_cert(own, others, now)?;
        }
        self.check_lists(&certificate, now)?;
        Ok(())
    }

    /// A certificate that webpki does not take.
    fn check_here(
        &self,
        own: &CertificateDer<'_>,
        certificate: &Certificate<'_>,
        now: UnixTime,
    ) -> Result<(), CertificateError> {
        let now = seconds(now);
        in_date(certificate, now)?;
        if self.cas.iter().any(|ca| ca == own) {
            return Ok(());
        }
        let mut issuers = self.cas.iter().filter_map(|ca| Certificate::read(ca).ok());
        let signed = issuers.any(|ca| {
            ca.subject == certificate.issuer
                && (ca.version < 3 || ca.is_ca == Some(true))
                && (self.dates_ignored || in_date(&ca, now).is_ok())
                && is_signed_by(&certificate.signed, &ca.key, &self.algorithms)
        });
        signed.then_some(()).ok_or(CertificateError::UnknownIssuer)
    }

    fn check_lists(
        &self,
        certificate: &Certificate<'_>,
        now: UnixTime,
    ) -> Result<(), CertificateError> {
        let Some(lists) = &self.lists else {
            return Ok(());
        };
        let lists = lists
            .iter()
            .filter_map(|list| RevocationList::read(list).ok());
        let mut found = Err(CertificateError::UnknownRevocationStatus);
        for list in lists.filter(|list| list.issuer == certificate.issuer) {
            if list.has(certificate.serial) {
                return Err(CertificateError::Revoked);
            }
            let late = list.next_update.is_some_and(|next| next < seconds(now));
            match late && !self.dates_ignored {
                true if found.is_err() => found = Err(CertificateError::ExpiredRevocationList),
                true => {}
                false => found = Ok(()),
            }
        }
        found
    }

    /// The user name by a certificate, where it is to be one. Errors: a clause for the log.
    pub fn user_name(&self, own: &CertificateDer<'_>) -> Result<Option<Box<str>>, &'static str> {
        let Some(kind) = self.user_name else {
            return Ok(None);
        };
        let certificate =
            Certificate::read(own).map_err(|_| "its client certificate cannot be read")?;
        name::user_name(certificate.subject, kind).map(Some)
    }

    /// A signature of the handshake by the key of a certificate of version 1.
    fn check_signature(
        &self,
        message: &[u8],
        certificate: &Certificate<'_>,
        signature: &DigitallySignedStruct,
        version_1_3: bool,
    ) -> Result<HandshakeSignatureValid, Error> {
        let unadvertised = PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme;
        if version_1_3 && !of_version_1_3(signature.scheme) {
            return Err(unadvertised.into());
        }
        let mapping = self.algorithms.mapping.iter();
        let (_, algorithms) = mapping
            .into_iter()
            .find(|(scheme, _)| *scheme == signature.scheme)
            .ok_or(unadvertised)?;
        // In 1.2 a scheme names no curve; in 1.3 the first algorithm is meant.
        let count = if version_1_3 { 1 } else { algorithms.len() };
        let fits = algorithms
            .iter()
            .take(count)
            .find(|algorithm| algorithm.public_key_alg_id().as_ref() == certificate.key.algorithm);
        let verified = fits.is_some_and(|algorithm| {
            let bits = certificate.key.bits;
            let signature = signature.signature();
            algorithm.verify_signature(bits, message, signature).is_ok()
        });
        match verified {
            true => Ok(HandshakeSignatureValid::assertion()),
            false => Err(CertificateError::BadSignature.into()),
        }
    }
}

/// Schemes that may sign a handshake of TLS 1.3. [RFC 8446 4.2.3]
fn of_version_1_3(scheme: SignatureScheme) -> bool {
    matches!(
        scheme,
        SignatureScheme::ECDSA_NISTP256_SHA256
            | SignatureScheme::ECDSA_NISTP384_SHA384
            | SignatureScheme::ED25519
            | SignatureScheme::RSA_PSS_SHA256
            | SignatureScheme::RSA_PSS_SHA384
            | SignatureScheme::RSA_PSS_SHA512
    )
}

fn seconds(time: UnixTime) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
}

fn in_date(certificate: &Certificate<'_>, now: i64) -> Result<(), CertificateError> {
    if now < certificate.not_before {
        Err(CertificateError::NotValidYet)
    } else if now > certificate.not_after {
        Err(CertificateError::Expired)
    } else {
        Ok(())
    }
}

/// A time at which the certificate counts, and those sent with it if there is such a time: `now` if that is one.
fn within_dates(
    certificate: &Certificate<'_>,
    others: &[CertificateDer<'_>],
    now: UnixTime,
) -> UnixTime {
    let (mut first, mut last) = (certificate.not_before, certificate.not_after);
    for other in others
        .iter()
        .filter_map(|other| Certificate::read(other).ok())
    {
        let both = (first.max(other.not_before), last.min(other.not_after));
        if both.0 <= both.1 {
            (first, last) = both;
        }
    }
    let time = seconds(now).min(last).max(first);
    UnixTime::since_unix_epoch(std::time::Duration::from_secs(time.try_into().unwrap_or(0)))
}

impl ClientCertVerifier for Trust {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.webpki.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(own, others, now)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match Certificate::read(own) {
            Ok(certificate) if certificate.version < 3 => {
                self.check_signature(message, &certificate, signature, false)
            }
            _ => verify_tls12_signature(message, own, signature, &self.algorithms),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match Certificate::read(own) {
            Ok(certificate) if certificate.version < 3 => {
                self.check_signature(message, &certificate, signature, true)
            }
            _ => verify_tls13_signature(message, own, signature, &self.algorithms),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Trust({} CAs)", self.cas.len())
    }
}
