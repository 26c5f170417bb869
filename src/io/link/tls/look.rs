//! A certificate file, looked at by an operator's command.

use super::der::{self, BadDer, Reader};
use super::x509;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::net::IpAddr;
use std::path::Path;

/// dNSName of a GeneralName. [RFC 5280 4.2.1.6]
const DNS_NAME: u8 = 0x82;
/// iPAddress of a GeneralName.
const IP_ADDRESS: u8 = 0x87;

/// What is asked of the first certificate of a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Certificate {
    /// 1, 2 or 3.
    pub version: u8,
    /// Where it has host names and addresses as clients look for them. [RFC 9525 2]
    pub names: Option<Names>,
    /// Seconds since 1970.
    pub not_before: i64,
    /// Seconds since 1970; it counts until the end of this second.
    pub not_after: i64,
}

/// Whom a certificate is for: subjectAltName.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Names {
    /// Host names, with `*.` perhaps.
    pub hosts: Vec<String>,
    /// Addresses.
    pub addresses: Vec<IpAddr>,
}

impl Certificate {
    /// `None`: there is none that can be read.
    pub fn read(path: &Path) -> Option<Certificate> {
        let first = CertificateDer::pem_file_iter(path).ok()?.next()?.ok()?;
        let read = x509::Certificate::read(&first).ok()?;
        Some(Certificate {
            version: read.version,
            names: read
                .alternative_names
                .and_then(|names| Names::of(names).ok()),
            not_before: read.not_before,
            not_after: read.not_after,
        })
    }
}

impl Names {
    /// Of the value of the extension. Other kinds of names are left out.
    fn of(value: &[u8]) -> Result<Names, BadDer> {
        let mut list = Reader::new(value).inside(der::SEQUENCE)?;
        let mut names = Names::default();
        while !list.is_empty() {
            let name = list.value()?;
            match name.tag {
                DNS_NAME => names
                    .hosts
                    .push(String::from_utf8_lossy(name.contents).into_owned()),
                IP_ADDRESS => names.addresses.extend(address(name.contents)),
                _ => {}
            }
        }
        Ok(names)
    }
}

/// Of four or sixteen bytes.
fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    let v6 = <[u8; 16]>::try_from(bytes).map(IpAddr::from);
    v4.or(v6).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_are_read() {
        let mut value = vec![0x30, 0];
        value.extend(b"\x82\x04home\x81\x03a@b\x87\x04\x7f\x00\x00\x01\x87\x01\x00");
        value[1] = value.len() as u8 - 2;
        let names = Names::of(&value).unwrap();
        assert_eq!(names.hosts, ["home"]);
        assert_eq!(names.addresses, [IpAddr::from([127, 0, 0, 1])]);
        // However it is cut off, nothing is read beyond it.
        for end in 0..value.len() {
            assert_eq!(Names::of(&value[..end]), Err(BadDer));
        }
    }
}
