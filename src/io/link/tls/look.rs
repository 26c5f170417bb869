//! A certificate file, looked at by an operator's command.

use super::x509;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::path::Path;

/// id-ce-subjectAltName, 2.5.29.17, as an extension begins.
const SUBJECT_ALT_NAME: &[u8] = &[0x06, 0x03, 0x55, 0x1D, 0x11];

/// What is asked of the first certificate of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Certificate {
    /// 1, 2 or 3.
    pub version: u8,
    /// It has host names where clients look for them. [RFC 9525 2]
    pub has_names: bool,
}

impl Certificate {
    /// `None`: there is none that can be read.
    pub fn read(path: &Path) -> Option<Certificate> {
        let first = CertificateDer::pem_file_iter(path).ok()?.next()?.ok()?;
        let read = x509::Certificate::read(&first).ok()?;
        let mut windows = first.windows(SUBJECT_ALT_NAME.len());
        Some(Certificate {
            version: read.version,
            has_names: windows.any(|window| window == SUBJECT_ALT_NAME),
        })
    }
}
