//! TLS of a listener: which files, and on which terms. Nothing here has been read; `io::link::tls` does that.

use super::mosquitto::{CertificateName, TlsVersion};
use std::path::{Path, PathBuf};

/// TLS of a listener.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tls {
    /// What the broker shows, at least one. Of several, such as one of RSA and one of ECDSA, a Client is shown the
    /// first that it can check.
    pub certificates: Vec<CertificateFiles>,
    /// Trusted for certificates of Clients; may hold the issuers of the broker's own certificates too.
    pub ca_file: Option<PathBuf>,
    /// The same as a folder of files.
    pub ca_folder: Option<PathBuf>,
    /// Certificates that count no more, by their issuer's list.
    pub revoked: Option<PathBuf>,
    /// A Client without a certificate that is trusted is not let in. Otherwise none is asked for.
    pub client_certificate_required: bool,
    /// The name in a Client's certificate that is its user name.
    pub user_name: Option<CertificateName>,
    /// Certificates of Clients count after and before their time too.
    pub client_dates_ignored: bool,
    /// The least version that is agreed to.
    pub version_min: TlsVersion,
    /// Bytes of a record that the broker sends, at most; `None`: as many as TLS allows, 16 KiB.
    pub fragment_bytes_max: Option<u16>,
}

impl Tls {
    /// All files and folders.
    pub fn paths(&self) -> Vec<&Path> {
        let pairs = self.certificates.iter();
        let pairs = pairs.flat_map(|pair| [&pair.certificate, &pair.key]);
        let others = [&self.ca_file, &self.ca_folder, &self.revoked];
        let others = others.into_iter().flatten();
        pairs.chain(others).map(|path| &**path).collect()
    }
}

/// A certificate with its chain, and its key. All in PEM; there may be several of each in one file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CertificateFiles {
    /// The certificate itself, and those that lead from it to a root.
    pub certificate: PathBuf,
    /// Its private key, not encrypted.
    pub key: PathBuf,
}
