//! What holds of the readers of certificates for any bytes: called by tests and by the fuzz target `certificate`.

use super::name::user_name;
use super::x509::{Certificate, RevocationList};
use crate::config::CertificateName;

/// What is read lies within the bytes, no shorter run of them reads as well, and names are made of it without harm.
pub fn certificates_read_whole_or_not_at_all(data: &[u8]) {
    let within = |part: &[u8]| {
        let (all, part) = (data.as_ptr_range(), part.as_ptr_range());
        all.start <= part.start && part.end <= all.end
    };
    if let Ok(certificate) = Certificate::read(data) {
        let signed = certificate.signed;
        for part in [
            signed.message,
            signed.algorithm,
            signed.signature,
            certificate.serial,
            certificate.issuer,
            certificate.subject,
            certificate.key.whole,
            certificate.key.bits,
        ] {
            assert!(within(part));
        }
        assert!((1..=3).contains(&certificate.version));
        assert!(certificate.version == 3 || certificate.is_ca.is_none());
        let bits = certificate.key.rsa_bits().unwrap_or(0);
        assert!(bits <= 8 * certificate.key.bits.len());
        for kind in [CertificateName::CommonName, CertificateName::Subject] {
            if let Ok(name) = user_name(certificate.subject, kind) {
                assert!(!name.is_empty() && !name.chars().any(char::is_control));
            }
        }
        for end in data.len().saturating_sub(40)..data.len() {
            assert!(Certificate::read(&data[..end]).is_err());
        }
    }
    if let Ok(list) = RevocationList::read(data) {
        assert!(within(list.issuer) && within(list.signed.message));
        // It was read to its end, so this is the truth about a number that no list has.
        assert!(!list.has(&[0; 64]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
    use std::path::Path;
    use std::process::Command;
    use std::{env, fs, process};

    /// Certificates and lists of every kind that `tests/tls/certificates` makes, and what a byte changed makes of them.
    #[test]
    fn no_byte_of_a_certificate_does_harm() {
        let folder = env::temp_dir().join(format!("mqttfast-der-{}", process::id()));
        fs::create_dir_all(&folder).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tls/certificates");
        let made = Command::new(script).current_dir(&folder).status();
        assert!(made.expect("sh and openssl").success());
        let mut all: Vec<Vec<u8>> = Vec::new();
        for name in [
            "rsa.crt",
            "ec.crt",
            "ed25519.crt",
            "middle.crt",
            "v1.crt",
            "nameless.crt",
        ] {
            let bytes = fs::read(folder.join(name)).unwrap();
            all.push(CertificateDer::from_pem_slice(&bytes).unwrap().to_vec());
        }
        for certificate in &all {
            assert!(Certificate::read(certificate).is_ok());
        }
        assert_eq!(Certificate::read(&all[4]).unwrap().version, 1);
        assert_eq!(
            Certificate::read(&all[0]).unwrap().key.rsa_bits(),
            Some(2048)
        );
        assert_eq!(Certificate::read(&all[3]).unwrap().is_ca, Some(true));
        for name in ["none.crl", "ca.crl"] {
            let bytes = fs::read(folder.join(name)).unwrap();
            let list = CertificateRevocationListDer::from_pem_slice(&bytes).unwrap();
            assert!(RevocationList::read(&list).is_ok());
            all.push(list.to_vec());
        }
        for bytes in &all {
            certificates_read_whole_or_not_at_all(bytes);
            for at in 0..bytes.len() {
                certificates_read_whole_or_not_at_all(&bytes[..at]);
                for change in [0x01, 0x80, 0xFF] {
                    let mut changed = bytes.clone();
                    changed[at] ^= change;
                    certificates_read_whole_or_not_at_all(&changed);
                }
            }
        }
        fs::remove_dir_all(&folder).unwrap();
    }
}
