//! The names in a certificate as user names: byte for byte what Mosquitto makes of them with OpenSSL, so that password
//! and ACL files written for it go on to mean the same Clients.
//!
//! ```text
//! C=DE, O=House + OU=Cellar, CN=cellar-1      the subject, in the order of the certificate
//! cellar-1                                    `use_identity_as_username`: its first CN
//! CN=cellar-1,OU=Cellar+O=House,C=DE          `use_subject_as_username`: RFC 2253, from the end
//! ```

use super::der::{self, BadDer, Reader, Value};
use crate::config::CertificateName;
use std::fmt::Write;

/// What the subject of a certificate is as a user name, or why it is none: a clause for the log.
pub fn user_name(subject: &[u8], kind: CertificateName) -> Result<Box<str>, &'static str> {
    const BAD: &str = "the subject of its certificate cannot be read";
    let name = match kind {
        CertificateName::CommonName => common_name(subject).map_err(|BadDer| BAD)?,
        CertificateName::Subject => Some(rfc2253(subject).map_err(|BadDer| BAD)?.into_bytes()),
    };
    let name = name.ok_or("its certificate has no CN, which would be its user name")?;
    let name = String::from_utf8(name)
        .map_err(|_| "the CN of its certificate is no UTF-8, so it can be no user name")?;
    match name.chars().any(char::is_control) || name.is_empty() {
        true => Err(
            "the CN of its certificate is empty or has control characters, so it can be no user name",
        ),
        false => Ok(name.into()),
    }
}

/// One attribute of a Name: its type and its value, and the place of the RelativeDistinguishedName it belongs to.
struct Attribute<'a> {
    set: usize,
    kind: &'a [u8],
    value: Value<'a>,
}

fn attributes(name: &[u8]) -> Result<Vec<Attribute<'_>>, BadDer> {
    let mut sets = Reader::new(name).inside(der::SEQUENCE)?;
    let mut attributes = Vec::new();
    let mut set = 0;
    while !sets.is_empty() {
        let mut members = sets.inside(der::SET)?;
        while !members.is_empty() {
            let mut member = members.inside(der::SEQUENCE)?;
            let kind = member.expect(der::OBJECT_IDENTIFIER)?.contents;
            let value = member.value()?;
            member.end()?;
            attributes.push(Attribute { set, kind, value });
        }
        set += 1;
    }
    Ok(attributes)
}

/// The bytes of the first CN, whatever kind of string they are.
fn common_name(name: &[u8]) -> Result<Option<Vec<u8>>, BadDer> {
    const CN: &[u8] = &[0x55, 4, 3];
    let attributes = attributes(name)?;
    let cn = attributes.iter().find(|attribute| attribute.kind == CN);
    Ok(cn.map(|cn| cn.value.contents.to_vec()))
}

/// The Name as OpenSSL's `XN_FLAG_RFC2253` prints it.
fn rfc2253(name: &[u8]) -> Result<String, BadDer> {
    let mut text = String::new();
    let mut before = None;
    for attribute in attributes(name)?.iter().rev() {
        match before {
            None => {}
            Some(set) if set == attribute.set => text.push('+'),
            Some(_) => text.push(','),
        }
        before = Some(attribute.set);
        match short_name(attribute.kind) {
            Some(short) => {
                text.push_str(short);
                text.push('=');
                match bytes(&attribute.value) {
                    Some(bytes) => escape(&bytes?, &mut text),
                    None => dump(attribute.value.whole, &mut text),
                }
            }
            None => {
                dotted(attribute.kind, &mut text)?;
                text.push('=');
                dump(attribute.value.whole, &mut text);
            }
        }
    }
    Ok(text)
}

/// The short names that OpenSSL has for what is in names of certificates.
fn short_name(kind: &[u8]) -> Option<&'static str> {
    let &[0x55, 4, number] = kind else {
        return match kind {
            [0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 1, 9, 1] => Some("emailAddress"),
            [0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 1, 9, 2] => Some("unstructuredName"),
            [0x09, 0x92, 0x26, 0x89, 0x93, 0xF2, 0x2C, 0x64, 1, 1] => Some("UID"),
            [0x09, 0x92, 0x26, 0x89, 0x93, 0xF2, 0x2C, 0x64, 1, 25] => Some("DC"),
            _ => None,
        };
    };
    Some(match number {
        3 => "CN",
        4 => "SN",
        5 => "serialNumber",
        6 => "C",
        7 => "L",
        8 => "ST",
        9 => "street",
        10 => "O",
        11 => "OU",
        12 => "title",
        13 => "description",
        15 => "businessCategory",
        16 => "postalAddress",
        17 => "postalCode",
        18 => "postOfficeBox",
        20 => "telephoneNumber",
        41 => "name",
        42 => "GN",
        43 => "initials",
        44 => "generationQualifier",
        45 => "x500UniqueIdentifier",
        46 => "dnQualifier",
        65 => "pseudonym",
        97 => "organizationIdentifier",
        _ => return None,
    })
}

/// The bytes of a string, as UTF-8 unless they were no characters before; `None` for kinds that are dumped.
fn bytes(value: &Value<'_>) -> Option<Result<Vec<u8>, BadDer>> {
    const NUMERIC_STRING: u8 = 0x12;
    const VISIBLE_STRING: u8 = 0x1A;
    const GENERAL_STRING: u8 = 0x1B;
    let wide = |unit: usize| -> Result<Vec<u8>, BadDer> {
        let chunks = value.contents.chunks_exact(unit);
        if !chunks.remainder().is_empty() {
            return Err(BadDer);
        }
        let mut text = String::new();
        for chunk in chunks {
            let code = chunk
                .iter()
                .fold(0, |sum, byte| sum << 8 | u32::from(*byte));
            text.push(char::from_u32(code).ok_or(BadDer)?);
        }
        Ok(text.into_bytes())
    };
    Some(match value.tag {
        der::UTF8_STRING => Ok(value.contents.to_vec()),
        der::BMP_STRING => wide(2),
        der::UNIVERSAL_STRING => wide(4),
        NUMERIC_STRING
        | VISIBLE_STRING
        | GENERAL_STRING
        | der::PRINTABLE_STRING
        | der::TELETEX_STRING
        | der::IA5_STRING
        | der::UTC_TIME
        | der::GENERALIZED_TIME => {
            let latin: String = value
                .contents
                .iter()
                .map(|byte| char::from(*byte))
                .collect();
            Ok(latin.into_bytes())
        }
        _ => return None,
    })
}

/// Escapes as `ASN1_STRFLGS_RFC2253` does. Of a value of one character OpenSSL looks at the rule for the last one
/// alone, so a lone `#` stays as it is.
fn escape(bytes: &[u8], text: &mut String) {
    let last = bytes.len().saturating_sub(1);
    for (at, &byte) in bytes.iter().enumerate() {
        let at_end = at == last;
        let backslash = match byte {
            b',' | b'+' | b'"' | b'\\' | b'<' | b'>' | b';' => true,
            b' ' => at == 0 || at_end,
            b'#' => at == 0 && !at_end,
            _ => false,
        };
        match byte {
            _ if backslash => text.extend(['\\', char::from(byte)]),
            0..0x20 | 0x7F.. => hex(b"\\", &[byte], text),
            _ => text.push(char::from(byte)),
        }
    }
}

fn dump(whole: &[u8], text: &mut String) {
    hex(b"#", whole, text);
}

fn hex(before: &[u8], bytes: &[u8], text: &mut String) {
    text.extend(before.iter().map(|byte| char::from(*byte)));
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02X}");
    }
}

/// An OBJECT IDENTIFIER by its numbers.
fn dotted(kind: &[u8], text: &mut String) -> Result<(), BadDer> {
    let mut number: u64 = 0;
    let mut first = true;
    for byte in kind {
        if number > u64::MAX >> 7 {
            return Err(BadDer);
        }
        number = number << 7 | u64::from(byte & 0x7F);
        if byte & 0x80 != 0 {
            continue;
        }
        let _ = match first {
            true => {
                let top = (number / 40).min(2);
                write!(text, "{top}.{}", number - 40 * top)
            }
            false => write!(text, ".{number}"),
        };
        first = false;
        number = 0;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(tag: u8, parts: &[Vec<u8>]) -> Vec<u8> {
        let contents = parts.concat();
        let mut all = vec![tag, contents.len() as u8];
        assert!(contents.len() < 0x80);
        all.extend(contents);
        all
    }

    fn attribute(kind: &[u8], tag: u8, text: &[u8]) -> Vec<u8> {
        let kind = value(der::OBJECT_IDENTIFIER, &[kind.to_vec()]);
        value(der::SEQUENCE, &[kind, value(tag, &[text.to_vec()])])
    }

    fn name(sets: &[&[Vec<u8>]]) -> Vec<u8> {
        let sets: Vec<Vec<u8>> = sets.iter().map(|set| value(der::SET, set)).collect();
        value(der::SEQUENCE, &sets)
    }

    const CN: &[u8] = &[0x55, 4, 3];
    const O: &[u8] = &[0x55, 4, 10];
    const OU: &[u8] = &[0x55, 4, 11];

    fn subject(text: &[u8]) -> String {
        rfc2253(&name(&[&[attribute(CN, der::UTF8_STRING, text)]])).unwrap()
    }

    #[test]
    fn the_subject_is_printed_from_its_end() {
        let subject = name(&[
            &[attribute(&[0x55, 4, 6], der::PRINTABLE_STRING, b"DE")],
            &[
                attribute(O, der::UTF8_STRING, b"House"),
                attribute(OU, der::UTF8_STRING, b"Cellar"),
            ],
            &[attribute(CN, der::UTF8_STRING, b"cellar-1")],
        ]);
        let text = user_name(&subject, CertificateName::Subject).unwrap();
        assert_eq!(&*text, "CN=cellar-1,OU=Cellar+O=House,C=DE");
        let text = user_name(&subject, CertificateName::CommonName).unwrap();
        assert_eq!(&*text, "cellar-1");
    }

    /// As `openssl x509 -subject -nameopt RFC2253` of OpenSSL 3.0 prints these.
    #[test]
    fn what_rfc2253_escapes_is_escaped() {
        assert_eq!(
            subject(b"a,b+c\"d\\e<f>g;h=i"),
            "CN=a\\,b\\+c\\\"d\\\\e\\<f\\>g\\;h=i"
        );
        assert_eq!(subject(b" a b "), "CN=\\ a b\\ ");
        assert_eq!(subject(b"#1#"), "CN=\\#1#");
        assert_eq!(subject(b"#"), "CN=#");
        assert_eq!(subject(b" "), "CN=\\ ");
        assert_eq!(subject("Kü\t".as_bytes()), "CN=K\\C3\\BC\\09");
        assert_eq!(subject(b""), "CN=");
    }

    #[test]
    fn other_kinds_of_strings_become_utf8() {
        let of = |tag, text: &[u8]| rfc2253(&name(&[&[attribute(CN, tag, text)]]));
        assert_eq!(of(der::TELETEX_STRING, b"K\xFC").unwrap(), "CN=K\\C3\\BC");
        assert_eq!(of(der::BMP_STRING, b"\0K\0\xFC").unwrap(), "CN=K\\C3\\BC");
        assert_eq!(of(der::UNIVERSAL_STRING, b"\0\0\0K").unwrap(), "CN=K");
        assert_eq!(of(der::BMP_STRING, b"\0K\0"), Err(BadDer));
        assert_eq!(of(der::OCTET_STRING, b"K").unwrap(), "CN=#04014B");
        let unknown = name(&[&[attribute(&[0x2A, 3, 4], der::UTF8_STRING, b"x")]]);
        assert_eq!(rfc2253(&unknown).unwrap(), "1.2.3.4=#0C0178");
    }

    #[test]
    fn what_can_be_no_user_name_is_none() {
        let cn = |tag, text: &[u8]| {
            let name = name(&[
                &[attribute(CN, tag, text)],
                &[attribute(CN, tag, b"second")],
            ]);
            user_name(&name, CertificateName::CommonName)
        };
        assert_eq!(&*cn(der::UTF8_STRING, b"first").unwrap(), "first");
        for bad in [&b""[..], b"a\0b", b"K\xFC", b"a\nb"] {
            assert!(cn(der::UTF8_STRING, bad).is_err(), "{bad:?}");
        }
        let nameless = name(&[&[attribute(O, der::UTF8_STRING, b"House")]]);
        assert!(user_name(&nameless, CertificateName::CommonName).is_err());
        assert!(user_name(b"\x30\x05", CertificateName::Subject).is_err());
    }
}
