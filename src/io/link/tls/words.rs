//! What went wrong with a TLS connection: a clause for the log that says what to do about it. It stands behind the
//! address of the peer.

use super::terms::suits;
use rustls::server::ClientHello;
use rustls::{
    AlertDescription, CertificateError, Error, InvalidMessage, PeerIncompatible, SignatureAlgorithm,
};

/// The handshake is larger than [`crate::limits::TLS_HANDSHAKE_BYTES_MAX`].
pub const LONG_HANDSHAKE: &str = "its TLS handshake is longer than any honest one";
/// For what only a broken or hostile peer sends.
pub const MALFORMED: &str = "what it sends is no TLS";
/// The listener requires a certificate.
pub const NO_CERTIFICATE: &str = "it showed no client certificate, and this listener requires one: give it one (mosquitto_sub --cert FILE --key FILE)";
/// More handshakes wait than the helpers can do.
pub const TOO_MANY: &str = "too many TLS handshakes are under way";

/// What the first bytes of a connection are, where they are no TLS.
pub fn no_tls(bytes: &[u8]) -> Option<&'static str> {
    // The kind of a record: handshake, or an alert. [RFC 8446 5.1]
    const HANDSHAKE: u8 = 0x16;
    const ALERT: u8 = 0x15;
    // A CONNECT packet. [v5 3.1.1]
    const CONNECT: u8 = 0x10;
    match bytes {
        [] | [HANDSHAKE | ALERT, ..] => None,
        [CONNECT, ..] => Some(
            "it speaks plain MQTT on a TLS port: let it use TLS (mosquitto_sub --cafile FILE), or a listener without",
        ),
        _ if [&b"GET "[..], b"HEAD", b"POST", b"PUT "]
            .iter()
            .any(|word| bytes.starts_with(word)) =>
        {
            Some("it speaks plain HTTP on a TLS port")
        }
        _ if bytes.starts_with(b"PROXY ") || bytes.starts_with(b"\r\n\r\n\0\r\nQUIT\n") => Some(
            "this looks like the PROXY protocol: the load balancer must pass connections on without it",
        ),
        // SSL 2 had a length here, with the highest bit set.
        [0x80..=0xFF, _, 1, ..] => Some("it speaks SSL 2: TLS 1.2 is the least that is served"),
        _ => Some("it speaks no TLS on a TLS port"),
    }
}

/// What a ClientHello offers of what matters here.
#[derive(Clone, Copy, Default)]
pub struct Offer {
    /// A suite of TLS 1.3, or of 1.2 with ECDHE, an RSA certificate and an AEAD.
    rsa: bool,
    /// The same with an ECDSA certificate.
    ecdsa: bool,
    /// The certificate's key decrypts the secret.
    rsa_exchange: bool,
    /// ECDHE with CBC.
    cbc: bool,
    /// Diffie-Hellman without curves.
    dhe: bool,
    psk: bool,
}

impl Offer {
    /// Of a ClientHello.
    pub fn of(hello: &ClientHello<'_>) -> Offer {
        let mut offer = Offer::default();
        for suite in hello.cipher_suites() {
            offer.rsa |= suits(*suite, SignatureAlgorithm::RSA);
            offer.ecdsa |= suits(*suite, SignatureAlgorithm::ECDSA);
            match u16::from(*suite) {
                0x0001..=0x000A
                | 0x002F
                | 0x0035
                | 0x003B..=0x003D
                | 0x0041
                | 0x0084
                | 0x0096
                | 0x009C
                | 0x009D
                | 0xC09C
                | 0xC09D
                | 0xC0A0
                | 0xC0A1 => offer.rsa_exchange = true,
                0xC007..=0xC00A | 0xC011..=0xC014 | 0xC023 | 0xC024 | 0xC027 | 0xC028 => {
                    offer.cbc = true;
                }
                0x0016 | 0x0033 | 0x0039 | 0x0067 | 0x006B | 0x009E | 0x009F | 0xCCAA => {
                    offer.dhe = true;
                }
                0x008A..=0x0095
                | 0x00A8..=0x00B9
                | 0xC033..=0xC03B
                | 0xC0A4..=0xC0AB
                | 0xCCAB..=0xCCAE => offer.psk = true,
                _ => {}
            }
        }
        offer
    }

    fn refused(self) -> &'static str {
        match self {
            Offer {
                rsa: true,
                ecdsa: false,
                ..
            } => {
                "it can check RSA certificates alone, and this listener shows none: add one, with a second --cert and --key or in `certfile` and `keyfile`"
            }
            Offer {
                rsa: false,
                ecdsa: true,
                ..
            } => {
                "it can check ECDSA certificates alone, and this listener shows none: add one, with a second --cert and --key or in `certfile` and `keyfile`"
            }
            Offer {
                rsa_exchange: true,
                cbc: false,
                ..
            } => {
                "it offers TLS with RSA key exchange alone, as old MicroPython and axTLS do, and that is not served: newer firmware, a TLS proxy such as stunnel, or plain MQTT in the local network"
            }
            Offer { cbc: true, .. } => {
                "it offers TLS with CBC ciphers alone, and these are not served: newer firmware, a TLS proxy such as stunnel, or plain MQTT in the local network"
            }
            Offer { psk: true, .. } => {
                "it offers TLS with pre-shared keys (PSK) alone, and these are not served: let it use certificates (mosquitto_sub --cafile FILE)"
            }
            Offer { dhe: true, .. } => {
                "it offers TLS with Diffie-Hellman without curves alone, and that is not served: newer firmware, or a TLS proxy such as stunnel"
            }
            _ => "it offers no TLS ciphers that are served",
        }
    }
}

/// Why a ClientHello is refused.
pub fn of_refusal(error: &Error, offer: Offer) -> &'static str {
    match error {
        Error::PeerIncompatible(
            PeerIncompatible::NoCipherSuitesInCommon
            | PeerIncompatible::NoSignatureSchemesInCommon
            | PeerIncompatible::NoKxGroupsInCommon
            | PeerIncompatible::NamedGroupsExtensionRequired,
        ) if !(offer.rsa && offer.ecdsa) => offer.refused(),
        error => of_error(error),
    }
}

/// Why a connection is broken.
pub fn of_error(error: &Error) -> &'static str {
    match error {
        Error::AlertReceived(alert) => of_alert(*alert),
        Error::InvalidCertificate(error) => of_certificate(error),
        Error::NoCertificatesPresented => NO_CERTIFICATE,
        Error::PeerIncompatible(why) => match why {
            PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
            | PeerIncompatible::SupportedVersionsExtensionRequired => {
                "its TLS is older than this listener serves (the least is TLS 1.2, or what `tls_version` says): newer firmware, or a TLS proxy such as stunnel"
            }
            PeerIncompatible::NoKxGroupsInCommon
            | PeerIncompatible::NamedGroupsExtensionRequired
            | PeerIncompatible::KeyShareExtensionRequired => {
                "it knows none of the curves X25519, P-256 and P-384"
            }
            PeerIncompatible::NoSignatureSchemesInCommon
            | PeerIncompatible::SignatureAlgorithmsExtensionRequired => {
                "it can check no signature that the broker's certificate can make"
            }
            _ => "its TLS and the broker's have no way in common",
        },
        Error::DecryptError => "a TLS record was changed on its way",
        Error::PeerSentOversizedRecord => "a TLS record is longer than the longest there is",
        Error::InvalidMessage(
            InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
        ) => MALFORMED,
        Error::FailedToGetCurrentTime => "the clock of this machine cannot be read",
        Error::FailedToGetRandomBytes => "the system gives no random numbers",
        Error::General(_) | Error::Other(_) | Error::EncryptError => "the TLS handshake failed",
        _ => "it breaks the rules of TLS",
    }
}

/// A fatal alert came: the Client is not content.
fn of_alert(alert: AlertDescription) -> &'static str {
    match alert {
        AlertDescription::UnknownCA => {
            "it does not trust the CA of the broker's certificate: give it that CA (mosquitto_sub --cafile FILE)"
        }
        AlertDescription::CertificateExpired => {
            "it says that the broker's certificate has expired: renew it, or set the Client's clock"
        }
        AlertDescription::CertificateUnknown
        | AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate => {
            "it does not accept the broker's certificate: that must have the host name the Client connects to, be within its dates by the Client's clock, and come from a CA the Client trusts"
        }
        AlertDescription::CertificateRevoked => "it says that the broker's certificate is revoked",
        AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity => {
            "it found no cipher or certificate in common with the broker's"
        }
        AlertDescription::ProtocolVersion => "it wants another version of TLS than 1.2 and 1.3",
        AlertDescription::DecryptError => {
            "it says that a signature of the broker's is wrong: are certificate and key of a pair?"
        }
        AlertDescription::UserCanceled | AlertDescription::CloseNotify => {
            "it gave up the TLS handshake"
        }
        AlertDescription::NoCertificate => NO_CERTIFICATE,
        AlertDescription::InternalError => "it reports an error of its own in TLS",
        _ => "it ended TLS with an alert",
    }
}

fn of_certificate(error: &CertificateError) -> &'static str {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "its client certificate has expired: renew it (or `disable_client_cert_date_checks true`)"
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its client certificate is not valid yet: is this machine's clock right?"
        }
        CertificateError::Revoked => "its client certificate is revoked by `crlfile`",
        CertificateError::UnknownIssuer => {
            "its client certificate comes from no CA of `cafile`: add the CA there, or give it another certificate"
        }
        CertificateError::UnknownRevocationStatus => {
            "`crlfile` has no list of the CA of its client certificate: add that CA's list"
        }
        CertificateError::ExpiredRevocationList
        | CertificateError::ExpiredRevocationListContext { .. } => {
            "the list in `crlfile` is out of date: make a new one (openssl ca -gencrl)"
        }
        CertificateError::BadSignature => "the signature of its client certificate is wrong",
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "its certificate is not for clients: extendedKeyUsage must have clientAuth"
        }
        CertificateError::BadEncoding => "its client certificate cannot be read",
        CertificateError::UnhandledCriticalExtension => {
            "its client certificate has a critical extension that is not known here"
        }
        _ => {
            "its client certificate is not accepted: is it SHA-1 or a kind of key that is not served?"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_tls_is_named() {
        assert_eq!(no_tls(b"\x16\x03\x01"), None);
        assert!(
            no_tls(b"\x10\x0C\0\x04MQTT")
                .unwrap()
                .contains("plain MQTT")
        );
        assert!(no_tls(b"GET / HTTP/1.1").unwrap().contains("HTTP"));
        assert!(no_tls(b"PROXY TCP4 ").unwrap().contains("PROXY"));
        assert!(no_tls(b"\x80\x2E\x01\x03").unwrap().contains("SSL 2"));
        assert!(no_tls(b"x").is_some());
    }
}
