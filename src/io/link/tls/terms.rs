//! One reading of a listener's TLS files: checked, completed, and ready for handshakes.
//!
//! What cannot be served is refused with the file and a remedy; what Clients may refuse, as an expired certificate, is
//! a warning.

use super::tickets::{Keys, Scope, Tickets};
use super::trust::{Trust, TrustTerms, is_signed_by};
use super::x509::{Certificate, RevocationList};
use crate::config::mosquitto::{Files, Look, Unreadable};
use crate::config::{CertificateFiles, Tls, TlsVersion};
use crate::limits;
use rustls::client::verify_server_name;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, ServerName};
use rustls::server::{ClientHello, NoServerSessionStorage, ParsedCertificate, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SigningKey};
use rustls::version::{TLS12, TLS13};
use rustls::{
    CipherSuite, ServerConfig, SignatureAlgorithm, SignatureScheme, SupportedCipherSuite,
    SupportedProtocolVersion,
};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The head of a record: its type, a version, its length. [RFC 8446 5.1]
const RECORD_HEAD_BYTES: usize = 5;

/// What a listener's handshakes go by.
pub struct Terms {
    /// As rustls wants it.
    pub config: Arc<ServerConfig>,
    /// Who checks certificates of Clients; `None`: no Client is asked for one.
    pub trust: Option<Arc<Trust>>,
    /// What the operator should be told, a line each.
    pub warnings: Vec<String>,
    /// The broker's own certificates: the file, and the last second at which it counts, since 1970.
    pub expire: Vec<(PathBuf, i64)>,
    slow: bool,
    /// The broker's own certificates themselves.
    own: Vec<CertificateDer<'static>>,
}

impl Terms {
    /// Reads the files. `now_s`: seconds since 1970.
    ///
    /// Errors: one sentence with the file and a remedy.
    pub fn read(
        tls: &Tls,
        files: &dyn Files,
        keys: &Arc<Keys>,
        now_s: i64,
    ) -> Result<Terms, String> {
        let provider = Arc::new(provider());
        let mut warnings = Vec::new();
        let cas = read_cas(tls.ca_file.as_deref(), tls.ca_folder.as_deref(), files)?;
        let scope = scope(tls, &cas);
        let mut shown = Vec::new();
        let mut expire = Vec::new();
        for pair in &tls.certificates {
            let made = certified(pair, files, &cas, &provider)?;
            for key in made {
                let certificate = Certificate::read(&key.cert[0]);
                if let Ok(certificate) = certificate {
                    expire.push((pair.certificate.clone(), certificate.not_after));
                    let dates = of_dates(&pair.certificate, &certificate, now_s);
                    warnings.extend(dates);
                }
                shown.push(Arc::new(key));
            }
        }
        let trust = match tls.client_certificate_required {
            true => Some(Arc::new(trust(
                tls,
                files,
                cas,
                &provider,
                now_s,
                &mut warnings,
            )?)),
            false => None,
        };
        let slow = is_slow(&shown, &provider);
        let own = shown
            .iter()
            .filter_map(|key| key.cert.first().cloned())
            .collect();
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions(tls.version_min))
            .map_err(|error| error.to_string())?;
        let builder = match &trust {
            Some(trust) => builder.with_client_cert_verifier(Arc::clone(trust) as _),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::new(Shown(shown)));
        config.ignore_client_order = true;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = Arc::new(Tickets::new(Arc::clone(keys), scope));
        config.send_tls13_tickets = 1;
        // rustls counts the header of the record.
        config.max_fragment_size = tls
            .fragment_bytes_max
            .map(|bytes| usize::from(bytes) + RECORD_HEAD_BYTES);
        Ok(Terms {
            config: Arc::new(config),
            trust,
            warnings,
            expire,
            slow,
            own,
        })
    }

    /// Of a configuration as it is, for tests.
    #[cfg(test)]
    pub fn of(config: ServerConfig) -> Terms {
        Terms {
            config: Arc::new(config),
            trust: None,
            warnings: Vec::new(),
            expire: Vec::new(),
            slow: false,
            own: Vec::new(),
        }
    }

    /// As if this machine were slow, or fast.
    #[cfg(test)]
    pub fn with_slow(self, slow: bool) -> Terms {
        Terms { slow, ..self }
    }

    /// A step of a handshake takes so long that a shard should not do it.
    pub fn is_slow(&self) -> bool {
        self.slow
    }

    /// A certificate of the broker's names this host, a name or an address.
    pub fn is_named(&self, host: &str) -> bool {
        let Ok(host) = ServerName::try_from(host) else {
            return false;
        };
        self.own.iter().any(|certificate| {
            let read = ParsedCertificate::try_from(certificate);
            read.is_ok_and(|read| verify_server_name(&read, &host).is_ok())
        })
    }

    /// Clients must show certificates.
    pub fn wants_certificates(&self) -> bool {
        self.trust.is_some()
    }
}

impl fmt::Debug for Terms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Terms")
    }
}

/// rustls with ring, the ciphers in the order in which this machine is good at them.
pub fn provider() -> CryptoProvider {
    let mut provider = ring::default_provider();
    let with_aes = has_aes();
    let rank = |suite: &SupportedCipherSuite| match suite.suite() {
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256
        | CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
        | CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => 2 * u8::from(with_aes),
        CipherSuite::TLS13_AES_128_GCM_SHA256
        | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
        | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => 1,
        _ => 3,
    };
    provider.cipher_suites.sort_by_key(rank);
    provider
}

/// Does the processor have instructions for AES?
fn has_aes() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("aes");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    false
}

/// What the broker shows: to each Client the first that it can check.
#[derive(Debug)]
struct Shown(Vec<Arc<CertifiedKey>>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let suits = |key: &&Arc<CertifiedKey>| {
            let schemes = hello.signature_schemes();
            let suite = |suite: &CipherSuite| suits(*suite, key.key.algorithm());
            key.key.choose_scheme(schemes).is_some() && hello.cipher_suites().iter().any(suite)
        };
        let found = self.0.iter().find(suits).or(self.0.first());
        found.cloned()
    }
}

/// The versions that are agreed to, the best first.
pub(super) fn versions(least: TlsVersion) -> &'static [&'static SupportedProtocolVersion] {
    static SINCE_1_2: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];
    static SINCE_1_3: &[&SupportedProtocolVersion] = &[&TLS13];
    match least {
        TlsVersion::V1_2 => SINCE_1_2,
        TlsVersion::V1_3 => SINCE_1_3,
    }
}

/// May this cipher suite go with a certificate of this kind?
pub fn suits(suite: CipherSuite, algorithm: SignatureAlgorithm) -> bool {
    match u16::from(suite) {
        0x1301..=0x1303 => true,
        0xC02F | 0xC030 | 0xCCA8 => algorithm == SignatureAlgorithm::RSA,
        0xC02B | 0xC02C | 0xCCA9 => {
            matches!(
                algorithm,
                SignatureAlgorithm::ECDSA | SignatureAlgorithm::ED25519
            )
        }
        _ => false,
    }
}

/// Does this machine take too long for a step of a handshake? Signs with each key, and agrees on one secret.
fn is_slow(shown: &[Arc<CertifiedKey>], provider: &CryptoProvider) -> bool {
    // All that rustls may ask for.
    const SCHEMES: &[SignatureScheme] = &[
        SignatureScheme::RSA_PSS_SHA256,
        SignatureScheme::ECDSA_NISTP256_SHA256,
        SignatureScheme::ECDSA_NISTP384_SHA384,
        SignatureScheme::ED25519,
    ];
    let signs = shown.iter().filter_map(|key| {
        let signer = key.key.choose_scheme(SCHEMES)?;
        Some(least_time(|| {
            let _ = signer.sign(b"how long does this take?");
        }))
    });
    let sign = signs.max().unwrap_or_default();
    let agree = provider.kx_groups.first().map(|group| {
        least_time(|| {
            if let Ok(ours) = group.start() {
                let theirs = ours.pub_key().to_vec();
                let _ = ours.complete(&theirs);
            }
        })
    });
    let all = sign + agree.unwrap_or_default();
    all > Duration::from_micros(limits::TLS_STEP_ON_SHARD_US)
}

/// The least of a few times, as other programs run as well.
fn least_time(mut work: impl FnMut()) -> Duration {
    let mut least = Duration::MAX;
    for _ in 0..3 {
        let begun = Instant::now();
        work();
        least = least.min(begun.elapsed());
    }
    least
}

fn read(files: &dyn Files, path: &Path) -> Result<Vec<u8>, String> {
    let file = path.display();
    files.read(path, limits::TLS_FILE_BYTES_MAX).map_err(|why| {
        format!("{file} {why}: the user that the broker runs as must be able to read it")
    })
}

/// Certificates of a PEM file.
fn certificates(path: &Path, bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let file = path.display();
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    let certificates = read.map_err(|error| format!("{file}: this is no good PEM: {error:?}"))?;
    match certificates.is_empty() {
        true if bytes.first() == Some(&super::der::SEQUENCE) => Err(format!(
            "{file}: this is DER, and PEM is needed: openssl x509 -inform der -in {file} -out FILE.pem"
        )),
        true => Err(format!(
            "{file}: there is no certificate in it; it must have one that begins with -----BEGIN CERTIFICATE-----"
        )),
        false => Ok(certificates),
    }
}

/// The files of a `capath`, at most [`limits::TLS_CA_FILES_MAX`] of what is in the folder.
pub fn in_folder(folder: &Path, files: &dyn Files) -> Result<Vec<PathBuf>, Unreadable> {
    let names = files.list(folder)?;
    let mut paths: Vec<PathBuf> = names.iter().map(|name| folder.join(name)).collect();
    paths.sort();
    paths.truncate(limits::TLS_CA_FILES_MAX);
    paths.retain(|path| files.look(path) == Look::File);
    Ok(paths)
}

/// All certificates of `cafile` and `capath`.
pub(super) fn read_cas(
    file: Option<&Path>,
    folder: Option<&Path>,
    files: &dyn Files,
) -> Result<Arc<[CertificateDer<'static>]>, String> {
    let mut cas = Vec::new();
    if let Some(path) = file {
        cas.extend(certificates(path, &read(files, path)?)?);
    }
    if let Some(folder) = folder {
        let paths = in_folder(folder, files);
        let paths = paths.map_err(|why| format!("{} {why}", folder.display()))?;
        for path in &paths {
            // There may be lists and other things beside the certificates.
            let bytes = read(files, path)?;
            cas.extend(CertificateDer::pem_slice_iter(&bytes).flatten());
        }
    }
    cas.sort_by(|one, other| one.as_ref().cmp(other.as_ref()));
    cas.dedup();
    Ok(cas.into())
}

/// The keys of a pair of files, each with its certificate and chain.
pub(super) fn certified(
    pair: &CertificateFiles,
    files: &dyn Files,
    cas: &[CertificateDer<'static>],
    provider: &CryptoProvider,
) -> Result<Vec<CertifiedKey>, String> {
    let path = &pair.certificate;
    let found = certificates(path, &read(files, path)?)?;
    let first = Certificate::read(&found[0])
        .map_err(|_| format!("{}: its first certificate cannot be read", path.display()))?;
    let mut made = Vec::new();
    for key in keys(pair, files, &first, provider)? {
        let public = key.public_key();
        let own = found.iter().find(|certificate| match &public {
            Some(public) => Certificate::read(certificate)
                .is_ok_and(|certificate| certificate.key.whole == public.as_ref()),
            None => true,
        });
        let Some(own) = own else {
            let (key, certificate) = (pair.key.display(), path.display());
            return Err(format!(
                "{key}: this is not the key of {certificate}; these two must print the same: openssl pkey -in {key} -pubout; openssl x509 -in {certificate} -noout -pubkey"
            ));
        };
        let chain = chain(own, &found, cas, provider);
        made.push(CertifiedKey::new(chain, key));
    }
    Ok(made)
}

/// The private keys of a file, at least one.
fn keys(
    pair: &CertificateFiles,
    files: &dyn Files,
    certificate: &Certificate<'_>,
    provider: &CryptoProvider,
) -> Result<Vec<Arc<dyn SigningKey>>, String> {
    let (bytes, file) = (read(files, &pair.key)?, pair.key.display());
    let has = |text: &str| memchr::memmem::find(&bytes, text.as_bytes()).is_some();
    if has("BEGIN ENCRYPTED PRIVATE KEY") || has("Proc-Type: 4,ENCRYPTED") {
        return Err(format!(
            "{file}: the key is encrypted, and nobody is there to type its password: openssl pkey -in {file} -out FILE.key, then chmod 600 FILE.key"
        ));
    }
    let mut keys = Vec::new();
    for key in PrivateKeyDer::pem_slice_iter(&bytes) {
        let key = key.map_err(|error| format!("{file}: this is no good PEM: {error:?}"))?;
        match provider.key_provider.load_private_key(key) {
            Ok(key) => keys.push(key),
            Err(_) => return Err(unserved_key(pair, certificate)),
        }
    }
    match keys.is_empty() {
        true => Err(format!(
            "{file}: there is no private key in it; it must have one that begins with -----BEGIN PRIVATE KEY-----, RSA PRIVATE KEY or EC PRIVATE KEY"
        )),
        false => Ok(keys),
    }
}

fn unserved_key(pair: &CertificateFiles, certificate: &Certificate<'_>) -> String {
    let file = pair.key.display();
    let remedy = "make a new key and certificate, such as by openssl ecparam -name prime256v1 -genkey -noout -out FILE.key";
    match certificate.key.rsa_bits() {
        Some(bits) if bits < 2048 => {
            format!("{file}: an RSA key of {bits} bits is too short, 2048 is the least: {remedy}")
        }
        Some(bits) if bits > 8192 => {
            format!("{file}: an RSA key of {bits} bits is too long, 8192 is the most: {remedy}")
        }
        _ => format!(
            "{file}: this kind of key is not served; RSA of 2048 bits or more, ECDSA with P-256 or P-384, and Ed25519 are: {remedy}"
        ),
    }
}

/// A certificate and those that lead from it towards a root: those beside it in its file and, where these end, those of
/// the CAs, up to a root, which Clients must have themselves.
fn chain(
    own: &CertificateDer<'static>,
    found: &[CertificateDer<'static>],
    cas: &[CertificateDer<'static>],
    provider: &CryptoProvider,
) -> Vec<CertificateDer<'static>> {
    let mut chain = vec![own.clone()];
    // One certificate of the file is the broker's own: the others are its chain, as the operator has put them.
    let issues = |issuer: &Certificate<'_>, certificate: &Certificate<'_>| {
        let algorithms = &provider.signature_verification_algorithms;
        issuer.subject == certificate.issuer
            && is_signed_by(&certificate.signed, &issuer.key, algorithms)
    };
    while chain.len() < limits::TLS_CHAIN_MAX {
        let last = chain[chain.len() - 1].clone();
        let Ok(last) = Certificate::read(&last) else {
            break;
        };
        if last.is_self_issued() {
            break;
        }
        let next = |pool: &[CertificateDer<'static>], roots: bool| {
            pool.iter()
                .find(|other| {
                    !chain.contains(other)
                        && Certificate::read(other).is_ok_and(|other| {
                            (roots || !other.is_self_issued()) && issues(&other, &last)
                        })
                })
                .cloned()
        };
        match next(found, true).or_else(|| next(cas, false)) {
            Some(next) => chain.push(next),
            None => break,
        }
    }
    chain
}

/// A warning of a certificate whose time is not now, or nearly over.
fn of_dates(path: &Path, certificate: &Certificate<'_>, now_s: i64) -> Option<String> {
    let file = path.display();
    if now_s < certificate.not_before {
        return Some(format!(
            "{file}: the certificate is not valid yet, so Clients will refuse it: is this machine's clock right? openssl x509 -in {file} -noout -dates"
        ));
    }
    ends_soon(path, certificate.not_after, now_s)
}

/// Whole days until this second; negative: they are over.
pub fn days_left(not_after: i64, now_s: i64) -> i64 {
    (not_after - now_s).div_euclid(86_400)
}

/// A warning of a certificate that has ended, or will before long.
pub fn ends_soon(path: &Path, not_after: i64, now_s: i64) -> Option<String> {
    let (file, days) = (path.display(), days_left(not_after, now_s));
    if days < 0 {
        return Some(format!(
            "{file}: the certificate has expired, so Clients refuse it: renew it (openssl x509 -in {file} -noout -enddate)"
        ));
    }
    (days < limits::TLS_EXPIRY_WARNING_DAYS).then(|| {
        let s = if days == 1 { "" } else { "s" };
        format!("{file}: the certificate expires in {days} day{s}: renew it in time")
    })
}

fn trust(
    tls: &Tls,
    files: &dyn Files,
    cas: Arc<[CertificateDer<'static>]>,
    provider: &Arc<CryptoProvider>,
    now_s: i64,
    warnings: &mut Vec<String>,
) -> Result<Trust, String> {
    let lists = match &tls.revoked {
        Some(path) => Some(lists(
            path,
            &read(files, path)?,
            &cas,
            provider,
            now_s,
            warnings,
        )?),
        None => None,
    };
    let terms = TrustTerms {
        cas,
        lists,
        dates_ignored: tls.client_dates_ignored,
        user_name: tls.user_name,
    };
    Trust::new(terms, provider).map_err(|why| {
        let ca = tls.ca_file.as_ref().or(tls.ca_folder.as_ref());
        let ca = ca.map_or_else(|| "cafile".into(), |ca| ca.to_string_lossy());
        format!("{ca}: {why}")
    })
}

/// The lists of a `crlfile`, each signed by one of the CAs.
fn lists(
    path: &Path,
    bytes: &[u8],
    cas: &[CertificateDer<'static>],
    provider: &CryptoProvider,
    now_s: i64,
    warnings: &mut Vec<String>,
) -> Result<Vec<Box<[u8]>>, String> {
    let file = path.display();
    let read: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(bytes).collect();
    let found = read.map_err(|error| format!("{file}: this is no good PEM: {error:?}"))?;
    if found.is_empty() {
        return Err(format!(
            "{file}: there is no list in it; it must have one that begins with -----BEGIN X509 CRL-----, made by openssl ca -gencrl"
        ));
    }
    for list in &found {
        let list = RevocationList::read(list)
            .map_err(|_| format!("{file}: a list in it cannot be read"))?;
        let signed = cas
            .iter()
            .filter_map(|ca| Certificate::read(ca).ok())
            .any(|ca| {
                let algorithms = &provider.signature_verification_algorithms;
                ca.subject == list.issuer && is_signed_by(&list.signed, &ca.key, algorithms)
            });
        if !signed {
            return Err(format!(
                "{file}: a list in it is signed by no CA of `cafile`: add the CA that made it there"
            ));
        }
        if list.next_update.is_some_and(|next| next < now_s) {
            warnings.push(format!(
                "{file}: the list is out of date, so certificates of that CA are refused: make a new one (openssl ca -gencrl)"
            ));
        }
    }
    Ok(found.iter().map(|list| list.to_vec().into()).collect())
}

/// Tickets count where Clients are checked in the same way.
fn scope(tls: &Tls, cas: &[CertificateDer<'static>]) -> Scope {
    if !tls.client_certificate_required {
        return Scope::of(&[b"anyone"]);
    }
    let mut parts: Vec<&[u8]> = vec![b"certificates"];
    parts.extend(cas.iter().map(|ca| ca.as_ref()));
    Scope::of(&parts)
}
