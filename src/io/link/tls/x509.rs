//! What this broker must know of a certificate or a revocation list beyond what webpki tells: names, dates, keys, of
//! certificates of version 1 too. [RFC 5280 4.1, 5.1]
//!
//! Nothing is trusted for having been read: signatures are checked by `verify`.

use super::der::{self, BadDer, Reader};

/// A certificate, borrowed from its bytes.
#[derive(Clone, Copy, Debug)]
pub struct Certificate<'a> {
    /// 1, 2 or 3.
    pub version: u8,
    /// What is signed.
    pub signed: Signed<'a>,
    /// INTEGER, without tag and length.
    pub serial: &'a [u8],
    /// The Name of who signed it, whole.
    pub issuer: &'a [u8],
    /// Seconds since 1970.
    pub not_before: i64,
    /// Seconds since 1970; the certificate counts until the end of this second.
    pub not_after: i64,
    /// The Name of who it is for, whole.
    pub subject: &'a [u8],
    /// SubjectPublicKeyInfo.
    pub key: Key<'a>,
    /// basicConstraints says that it may sign others; without that extension, `None`.
    pub is_ca: Option<bool>,
    /// The value of subjectAltName: whom it is for. `None`: it has none.
    pub alternative_names: Option<&'a [u8]>,
}

/// A signed structure.
#[derive(Clone, Copy, Debug)]
pub struct Signed<'a> {
    /// The bytes that the signature is of.
    pub message: &'a [u8],
    /// AlgorithmIdentifier, without tag and length.
    pub algorithm: &'a [u8],
    /// By `algorithm`.
    pub signature: &'a [u8],
}

/// A public key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Key<'a> {
    /// SubjectPublicKeyInfo, whole.
    pub whole: &'a [u8],
    /// AlgorithmIdentifier, without tag and length.
    pub algorithm: &'a [u8],
    /// As the algorithm has it.
    pub bits: &'a [u8],
}

/// A revocation list, borrowed from its bytes.
#[derive(Clone, Copy, Debug)]
pub struct RevocationList<'a> {
    /// What is signed.
    pub signed: Signed<'a>,
    /// The Name of who signed it, whole.
    pub issuer: &'a [u8],
    /// Seconds since 1970: then the next list comes. `None`: it does not say.
    pub next_update: Option<i64>,
    /// The list itself.
    revoked: &'a [u8],
}

/// Of rsaEncryption: 1.2.840.113549.1.1.1.
const RSA: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x01];
/// id-ce-basicConstraints: 2.5.29.19.
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1D, 0x13];
/// id-ce-subjectAltName: 2.5.29.17.
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1D, 0x11];

/// Opens a SIGNED structure: what is signed, and by what.
fn signed(bytes: &[u8]) -> Result<(Reader<'_>, Signed<'_>), BadDer> {
    let mut all = Reader::new(bytes);
    let mut parts = all.inside(der::SEQUENCE)?;
    all.end()?;
    let message = parts.expect(der::SEQUENCE)?;
    let algorithm = parts.expect(der::SEQUENCE)?.contents;
    let signature = parts.bits()?;
    parts.end()?;
    let signed = Signed {
        message: message.whole,
        algorithm,
        signature,
    };
    Ok((Reader::new(message.contents), signed))
}

impl<'a> Certificate<'a> {
    /// Reads a certificate of version 1, 2 or 3. Of its extensions, it looks at basicConstraints and for
    /// subjectAltName.
    pub fn read(bytes: &'a [u8]) -> Result<Certificate<'a>, BadDer> {
        let (mut fields, signed) = signed(bytes)?;
        let version = match fields.optional(der::field(0))? {
            None => 1,
            Some(version) => match Reader::new(version.contents).expect(der::INTEGER)?.contents {
                [number @ 0..=2] => number + 1,
                _ => return Err(BadDer),
            },
        };
        let serial = fields.expect(der::INTEGER)?.contents;
        // Inside and outside of what is signed, the algorithm is the same. [RFC 5280 4.1.1.2]
        if fields.expect(der::SEQUENCE)?.contents != signed.algorithm {
            return Err(BadDer);
        }
        let issuer = fields.expect(der::SEQUENCE)?.whole;
        let mut validity = fields.inside(der::SEQUENCE)?;
        let not_before = der::time(&validity.value()?)?;
        let not_after = der::time(&validity.value()?)?;
        validity.end()?;
        let subject = fields.expect(der::SEQUENCE)?.whole;
        let key = Key::read(&mut fields)?;
        // Unique identifiers of version 2, which nobody uses.
        fields.optional(0x81)?;
        fields.optional(0x82)?;
        let Extensions {
            is_ca,
            alternative_names,
        } = match fields.optional(der::field(3))? {
            None => Extensions::default(),
            Some(extensions) if version == 3 => Extensions::read(extensions.contents)?,
            Some(_) => return Err(BadDer),
        };
        fields.end()?;
        Ok(Certificate {
            version,
            signed,
            serial,
            issuer,
            not_before,
            not_after,
            subject,
            key,
            is_ca,
            alternative_names,
        })
    }

    /// It names itself as the one who signed it.
    pub fn is_self_issued(&self) -> bool {
        self.issuer == self.subject
    }
}

/// What the extensions of a certificate say.
#[derive(Default)]
struct Extensions<'a> {
    is_ca: Option<bool>,
    alternative_names: Option<&'a [u8]>,
}

impl<'a> Extensions<'a> {
    fn read(extensions: &'a [u8]) -> Result<Extensions<'a>, BadDer> {
        let mut list = Reader::new(extensions).inside(der::SEQUENCE)?;
        let mut found = Extensions::default();
        while !list.is_empty() {
            let mut extension = list.inside(der::SEQUENCE)?;
            let name = extension.expect(der::OBJECT_IDENTIFIER)?.contents;
            extension.optional(der::BOOLEAN)?;
            let value = extension.expect(der::OCTET_STRING)?.contents;
            extension.end()?;
            if name == BASIC_CONSTRAINTS {
                let mut constraints = Reader::new(value).inside(der::SEQUENCE)?;
                let ca = constraints.optional(der::BOOLEAN)?;
                found.is_ca = Some(ca.is_some_and(|ca| ca.contents == [0xFF]));
            } else if name == SUBJECT_ALT_NAME {
                found.alternative_names = Some(value);
            }
        }
        Ok(found)
    }
}

impl<'a> Key<'a> {
    fn read(fields: &mut Reader<'a>) -> Result<Key<'a>, BadDer> {
        let value = fields.expect(der::SEQUENCE)?;
        let mut parts = Reader::new(value.contents);
        let algorithm = parts.expect(der::SEQUENCE)?.contents;
        let bits = parts.bits()?;
        parts.end()?;
        Ok(Key {
            whole: value.whole,
            algorithm,
            bits,
        })
    }

    /// The size of an RSA key in bits; `None` for other kinds.
    pub fn rsa_bits(&self) -> Option<usize> {
        let kind = Reader::new(self.algorithm)
            .expect(der::OBJECT_IDENTIFIER)
            .ok()?;
        if kind.contents != RSA {
            return None;
        }
        let mut numbers = Reader::new(self.bits).inside(der::SEQUENCE).ok()?;
        let modulus = numbers.expect(der::INTEGER).ok()?.contents;
        let zeros = modulus.iter().take_while(|byte| **byte == 0).count();
        let first = modulus.get(zeros)?;
        Some(8 * (modulus.len() - zeros) - first.leading_zeros() as usize)
    }
}

impl<'a> RevocationList<'a> {
    /// Reads a list of version 1 or 2.
    pub fn read(bytes: &'a [u8]) -> Result<RevocationList<'a>, BadDer> {
        let (mut fields, signed) = signed(bytes)?;
        fields.optional(der::INTEGER)?;
        if fields.expect(der::SEQUENCE)?.contents != signed.algorithm {
            return Err(BadDer);
        }
        let issuer = fields.expect(der::SEQUENCE)?.whole;
        der::time(&fields.value()?)?;
        let next = match fields.optional(der::UTC_TIME)? {
            Some(next) => Some(next),
            None => fields.optional(der::GENERALIZED_TIME)?,
        };
        let next_update = next.map(|next| der::time(&next)).transpose()?;
        let revoked = fields.optional(der::SEQUENCE)?;
        fields.optional(der::field(0))?;
        fields.end()?;
        let list = RevocationList {
            signed,
            issuer,
            next_update,
            revoked: revoked.map_or(&[], |revoked| revoked.contents),
        };
        list.serials(|_| false)?;
        Ok(list)
    }

    /// Is the certificate of this serial number on the list? `O(list)`.
    pub fn has(&self, serial: &[u8]) -> bool {
        // It was read to its end before.
        self.serials(|revoked| revoked == serial).unwrap_or(true)
    }

    /// Walks the list until `stop` says so.
    fn serials(&self, stop: impl Fn(&[u8]) -> bool) -> Result<bool, BadDer> {
        let mut list = Reader::new(self.revoked);
        while !list.is_empty() {
            let mut entry = list.inside(der::SEQUENCE)?;
            if stop(entry.expect(der::INTEGER)?.contents) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
