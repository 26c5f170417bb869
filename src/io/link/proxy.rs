//! The header that a proxy or load balancer sends before the Client's own bytes: who the Client is, by the PROXY
//! protocol of HAProxy, version 1 or 2. [haproxy.org, proxy-protocol.txt]
//!
//! Only a listener that asks for it looks for a header, and there every connection begins with one: the header is
//! believed, so such a listener must be reached by the proxy alone. When it has come, the layer is through and goes.
//!
//! Memory: the bytes of the header, at most [`limits::PROXY_HEADER_BYTES_MAX`].

use super::layers::{Broken, Layer, Peer};
use super::websocket::Last;
use crate::broker::UNIX_PEER;
use crate::buffer::Chunks;
use crate::config::{ProxyTerms, ProxyVersion};
use crate::limits;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// How a header of version 1 begins. [2.1]
const V1: &[u8] = b"PROXY ";
/// The longest header of version 1, with its CR LF. [2.1]
const V1_BYTES_MAX: usize = 107;
/// How a header of version 2 begins. [2.2]
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// The fixed part of version 2: the signature, version and command, family, length.
const V2_FIXED_BYTES: usize = 16;
/// The TLV that tells of the Client's TLS, and the one in it with the name in its certificate. [2.2.6]
const TYPE_SSL: u8 = 0x20;
const SUBTYPE_SSL_CN: u8 = 0x22;
/// Flags of [`TYPE_SSL`]: the Client came by TLS; it showed a certificate, on this connection or in this session.
const CLIENT_SSL: u8 = 0x01;
const CLIENT_CERTIFICATE: u8 = 0x02 | 0x04;

/// What a header says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Header {
    /// The Client's address; `None`: that of the socket counts, as the proxy speaks for itself or does not know.
    pub source: Option<SocketAddr>,
    /// The Client came by TLS.
    pub tls: bool,
    /// The Client showed a certificate, and the proxy has verified it.
    pub certified: bool,
    /// The common name in that certificate.
    pub common_name: Option<String>,
}

/// Why a connection is not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Something else came.
    NoHeader,
    /// A header of version 1, where 2 is wanted.
    IsVersion1,
    /// A header of version 2, where 1 is wanted.
    IsVersion2,
    /// It has more bytes than it may.
    TooLong,
    /// Its fields are not those of the protocol.
    Malformed,
    /// The Client came to the proxy without TLS.
    NoTls,
    /// The Client showed the proxy no certificate that is good.
    NoCertificate,
}

impl Fault {
    /// For the log.
    pub fn reason(self) -> &'static str {
        match self {
            Fault::NoHeader => {
                "no PROXY header: this listener takes connections of a proxy alone (enable_proxy_protocol)"
            }
            Fault::IsVersion1 => {
                "a PROXY header of version 1, where this listener wants 2 (enable_proxy_protocol)"
            }
            Fault::IsVersion2 => {
                "a PROXY header of version 2, where this listener wants 1 (enable_proxy_protocol)"
            }
            Fault::TooLong => "a PROXY header that is too long",
            Fault::Malformed => "a malformed PROXY header",
            Fault::NoTls => {
                "its PROXY header says that it came without TLS (proxy_protocol_v2_require_tls)"
            }
            Fault::NoCertificate => {
                "its PROXY header says that it showed no good certificate (require_certificate)"
            }
        }
    }
}

/// Reads the header at the start of `bytes`, and its size. `None`: more must come.
pub fn read(bytes: &[u8], terms: ProxyTerms) -> Result<Option<(Header, usize)>, Fault> {
    let begins = |opening: &[u8]| {
        let length = bytes.len().min(opening.len());
        bytes[..length] == opening[..length]
    };
    let read = match terms.version {
        ProxyVersion::V1 if begins(V1) => read_v1(bytes)?,
        ProxyVersion::V2 if begins(V2) => read_v2(bytes)?,
        ProxyVersion::V1 if bytes.len() >= V2.len() && begins(V2) => return Err(Fault::IsVersion2),
        ProxyVersion::V2 if bytes.len() >= V1.len() && begins(V1) => return Err(Fault::IsVersion1),
        ProxyVersion::V1 if begins(V2) => return Ok(None),
        ProxyVersion::V2 if begins(V1) => return Ok(None),
        ProxyVersion::V1 | ProxyVersion::V2 => return Err(Fault::NoHeader),
    };
    match read {
        Some((header, _)) if terms.tls_required && !header.tls => Err(Fault::NoTls),
        Some((header, _)) if terms.certificate_required && !header.certified => {
            Err(Fault::NoCertificate)
        }
        read => Ok(read),
    }
}

/// A line of text. [2.1]
fn read_v1(bytes: &[u8]) -> Result<Option<(Header, usize)>, Fault> {
    let line = &bytes[..bytes.len().min(V1_BYTES_MAX)];
    let Some(end) = memchr::memchr(b'\n', line) else {
        return match line.len() {
            V1_BYTES_MAX => Err(Fault::TooLong),
            _ => Ok(None),
        };
    };
    let text = line[..end].strip_suffix(b"\r").ok_or(Fault::Malformed)?;
    let text = std::str::from_utf8(text).map_err(|_| Fault::Malformed)?;
    let mut words = text.split(' ').skip(1);
    let mut word = || words.next().ok_or(Fault::Malformed);
    let family = word()?;
    let source = if family == "UNKNOWN" {
        None // Whatever follows is ignored.
    } else {
        let (source, destination) = (address(family, word()?)?, word()?);
        address(family, destination)?;
        let (port, _) = (port(word()?)?, port(word()?)?);
        if words.next().is_some() {
            return Err(Fault::Malformed);
        }
        Some(SocketAddr::new(source.to_canonical(), port))
    };
    let header = Header {
        source,
        tls: false,
        certified: false,
        common_name: None,
    };
    Ok(Some((header, end + 1)))
}

/// An address of this family.
fn address(family: &str, word: &str) -> Result<IpAddr, Fault> {
    let address = match family {
        "TCP4" => word.parse().map(|address: Ipv4Addr| address.into()),
        "TCP6" => word.parse().map(|address: Ipv6Addr| address.into()),
        _ => return Err(Fault::Malformed),
    };
    address.map_err(|_| Fault::Malformed)
}

/// A decimal number without sign and without zeros in front.
fn port(word: &str) -> Result<u16, Fault> {
    let port: u16 = word.parse().map_err(|_| Fault::Malformed)?;
    match word.starts_with('+') || (word.len() > 1 && word.starts_with('0')) {
        true => Err(Fault::Malformed),
        false => Ok(port),
    }
}

/// Binary, with addresses by family and then TLVs. [2.2]
fn read_v2(bytes: &[u8]) -> Result<Option<(Header, usize)>, Fault> {
    let Some(fixed) = bytes.first_chunk::<V2_FIXED_BYTES>() else {
        return Ok(None);
    };
    let is_proxied = match fixed[12] {
        0x20 => false, // LOCAL: the proxy speaks for itself, to see whether we live.
        0x21 => true,
        _ => return Err(Fault::Malformed),
    };
    let size = V2_FIXED_BYTES + usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if size > limits::PROXY_HEADER_BYTES_MAX {
        return Err(Fault::TooLong);
    }
    let Some(body) = bytes.get(V2_FIXED_BYTES..size) else {
        return Ok(None);
    };
    let mut header = Header {
        source: None,
        tls: false,
        certified: false,
        common_name: None,
    };
    if !is_proxied {
        return Ok(Some((header, size))); // Whatever it says is ignored.
    }
    let addresses = match fixed[13] {
        0x00 => 0,
        0x11 => 12,
        0x21 => 36,
        0x31 => 216,
        _ => return Err(Fault::Malformed),
    };
    let (addresses, tlvs) = body.split_at_checked(addresses).ok_or(Fault::Malformed)?;
    header.source = match *addresses {
        [] => None,
        [a, b, c, d, _, _, _, _, port_high, port_low, _, _] => Some(SocketAddr::new(
            Ipv4Addr::new(a, b, c, d).into(),
            u16::from_be_bytes([port_high, port_low]),
        )),
        _ => match (addresses.first_chunk::<16>(), addresses.get(32..34)) {
            (Some(source), Some(&[high, low])) if addresses.len() == 36 => {
                let source = IpAddr::from(*source).to_canonical();
                Some(SocketAddr::new(source, u16::from_be_bytes([high, low])))
            }
            _ => Some(UNIX_PEER),
        },
    };
    let mut rest = tlvs;
    while let Some((kind, value)) = next_tlv(&mut rest)? {
        if kind == TYPE_SSL {
            read_ssl(value, &mut header)?;
        }
    }
    Ok(Some((header, size)))
}

/// Flags, the result of the verification (0: good), and TLVs of its own. [2.2.6]
fn read_ssl(value: &[u8], header: &mut Header) -> Result<(), Fault> {
    let (&[flags, verified @ ..], mut rest) =
        value.split_first_chunk::<5>().ok_or(Fault::Malformed)?;
    header.tls = flags & CLIENT_SSL != 0;
    header.certified = header.tls && flags & CLIENT_CERTIFICATE != 0 && verified == [0; 4];
    while let Some((kind, value)) = next_tlv(&mut rest)? {
        if kind == SUBTYPE_SSL_CN && header.certified {
            let name = std::str::from_utf8(value).map_err(|_| Fault::Malformed)?;
            header.common_name = Some(name.to_owned());
        }
    }
    Ok(())
}

/// Type, length and value. [2.2.6]
fn next_tlv<'a>(rest: &mut &'a [u8]) -> Result<Option<(u8, &'a [u8])>, Fault> {
    let (kind, value, behind) = match **rest {
        [] => return Ok(None),
        [kind, high, low, ref behind @ ..] => {
            let length = u16::from_be_bytes([high, low]).into();
            let (value, behind) = behind.split_at_checked(length).ok_or(Fault::Malformed)?;
            (kind, value, behind)
        }
        _ => return Err(Fault::Malformed),
    };
    *rest = behind;
    Ok(Some((kind, value)))
}

/// One connection that awaits its header.
#[derive(Debug)]
pub struct Proxy {
    terms: ProxyTerms,
    /// What has come of it.
    bytes: Vec<u8>,
    /// It has come whole.
    through: bool,
    peer: Option<Peer>,
}

impl Proxy {
    /// Before the first byte.
    pub fn new(terms: ProxyTerms) -> Proxy {
        Proxy {
            terms,
            bytes: Vec::new(),
            through: false,
            peer: None,
        }
    }
}

impl Layer for Proxy {
    fn open(&mut self, outside: &[u8], inside: &mut Vec<u8>) -> Result<(), Broken> {
        if self.through {
            inside.extend_from_slice(outside);
            return Ok(());
        }
        let had = self.bytes.len();
        // No header is longer, so nothing more is kept.
        let taken = outside.len().min(limits::PROXY_HEADER_BYTES_MAX - had);
        self.bytes.extend_from_slice(&outside[..taken]);
        match read(&self.bytes, self.terms) {
            Ok(None) => {}
            Ok(Some((header, size))) => {
                inside.extend_from_slice(&outside[size - had..]);
                self.bytes = Vec::new();
                self.through = true;
                let name = header.common_name.filter(|_| self.terms.names);
                self.peer = header.source.map(|address| Peer {
                    address,
                    user_name: name.map(String::into_boxed_str),
                });
            }
            Err(fault) => return Err(Broken(fault.reason())),
        }
        Ok(())
    }

    fn is_through(&self) -> bool {
        self.through
    }

    fn has_ended(&self) -> bool {
        false
    }

    fn has_own_bytes(&self) -> bool {
        false
    }

    fn own_bytes(&mut self) -> Option<Chunks> {
        None
    }

    fn seal(&mut self, chunks: Chunks, _framed: &mut Last) -> Chunks {
        chunks
    }

    fn sent(&mut self, bytes: usize, _whole: bool) -> usize {
        bytes
    }

    fn farewell(&mut self) {}

    fn kept_bytes(&self) -> usize {
        self.bytes.capacity()
    }

    fn take_peer(&mut self) -> Option<Peer> {
        self.peer.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: ProxyTerms = ProxyTerms {
        version: ProxyVersion::V1,
        tls_required: false,
        certificate_required: false,
        names: false,
    };
    const TWO: ProxyTerms = ProxyTerms {
        version: ProxyVersion::V2,
        ..ONE
    };

    /// Reads every start of the bytes, and then all of them: a verdict stays what it is when more comes.
    fn every_start(bytes: &[u8], terms: ProxyTerms) -> Result<Option<(Header, usize)>, Fault> {
        let mut before = Ok(None);
        for end in 0..=bytes.len() {
            let now = read(&bytes[..end], terms);
            assert!(before == Ok(None) || before == now, "{end}");
            before = now;
        }
        before
    }

    fn source(bytes: &[u8], terms: ProxyTerms) -> Option<String> {
        let (header, size) = every_start(bytes, terms).unwrap().unwrap();
        assert_eq!(size, bytes.len() - 1, "one byte of MQTT follows");
        header.source.map(|address| address.to_string())
    }

    /// A header of version 2 and the first byte of what follows.
    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = (body.len() as u16).to_be_bytes();
        [V2, &[command, family], &length, body, b"\x10"].concat()
    }

    const IPV4: &[u8] = &[198, 51, 100, 1, 192, 0, 2, 1, 0x12, 0x67, 0x07, 0x5B];

    fn tlv(kind: u8, value: &[u8]) -> Vec<u8> {
        [&[kind][..], &(value.len() as u16).to_be_bytes(), value].concat()
    }

    /// IPv4 with the TLV of TLS.
    fn with_tls(flags: u8, verified: u8, inner: &[u8]) -> Vec<u8> {
        let ssl = [&[flags, 0, 0, 0, verified][..], inner].concat();
        let body = [
            IPV4,
            &tlv(0x05, b"an id"),
            &tlv(TYPE_SSL, &ssl),
            &tlv(0x04, b""),
        ]
        .concat();
        v2(0x21, 0x11, &body)
    }

    #[test]
    fn version_1_tells_the_address() {
        for (line, told) in [
            (
                "TCP4 198.51.100.1 192.0.2.1 4711 1883",
                Some("198.51.100.1:4711"),
            ),
            (
                "TCP6 2001:db8::1 2001:db8::2 65535 0",
                Some("[2001:db8::1]:65535"),
            ),
            ("TCP6 ::ffff:198.51.100.1 ::1 1 1", Some("198.51.100.1:1")),
            ("UNKNOWN", None),
            ("UNKNOWN ffff::1 ffff::2 1 2", None),
        ] {
            let bytes = format!("PROXY {line}\r\n\x10");
            assert_eq!(source(bytes.as_bytes(), ONE).as_deref(), told, "{line}");
        }
    }

    #[test]
    fn version_2_tells_the_address() {
        let ipv6 = |source: &str| {
            let source: Ipv6Addr = source.parse().unwrap();
            [&source.octets()[..], &[0; 16], &[0x12, 0x67, 0, 0]].concat()
        };
        for (command, family, body, told) in [
            (0x21, 0x11, IPV4.to_vec(), Some("198.51.100.1:4711")),
            (0x21, 0x21, ipv6("2001:db8::1"), Some("[2001:db8::1]:4711")),
            (
                0x21,
                0x21,
                ipv6("::ffff:198.51.100.1"),
                Some("198.51.100.1:4711"),
            ),
            (0x21, 0x31, vec![b'/'; 216], Some(&*UNIX_PEER.to_string())),
            (0x21, 0x00, vec![], None),
            (0x20, 0x00, vec![], None),
            (0x20, 0x11, IPV4.to_vec(), None),
            (0x20, 0xFF, b"whatever".to_vec(), None),
        ] {
            let bytes = v2(command, family, &body);
            assert_eq!(
                source(&bytes, TWO).as_deref(),
                told,
                "{command:x} {family:x}"
            );
        }
    }

    #[test]
    fn tls_of_the_client_is_told_and_can_be_required() {
        let required = ProxyTerms {
            tls_required: true,
            ..TWO
        };
        let certified = ProxyTerms {
            certificate_required: true,
            ..TWO
        };
        let name = tlv(SUBTYPE_SSL_CN, "Gerät 7".as_bytes());
        let inner = [tlv(0x21, b"TLSv1.3"), name].concat();
        for (flags, verified, tls, named) in [
            (0, 0, false, false),
            (0x01, 0, true, false),
            (0x07, 0, true, true),
            (0x05, 0, true, true),
            (0x07, 1, true, false),
            (0x06, 0, false, false),
        ] {
            let bytes = with_tls(flags, verified, &inner);
            let (header, _) = every_start(&bytes, TWO).unwrap().unwrap();
            let name = named.then_some("Gerät 7");
            assert_eq!(
                (header.tls, header.common_name.as_deref()),
                (tls, name),
                "{flags}"
            );
            let verdict = every_start(&bytes, required).map(|_| ());
            assert_eq!(verdict, if tls { Ok(()) } else { Err(Fault::NoTls) });
            let verdict = every_start(&bytes, certified).map(|_| ());
            assert_eq!(
                verdict,
                if named {
                    Ok(())
                } else {
                    Err(Fault::NoCertificate)
                }
            );
        }
        let plain = v2(0x21, 0x11, IPV4);
        assert_eq!(every_start(&plain, required), Err(Fault::NoTls));
        // The proxy itself has no TLS either.
        assert_eq!(every_start(&v2(0x20, 0, b""), required), Err(Fault::NoTls));
    }

    #[test]
    fn what_is_no_header_is_refused() {
        let mut endless = b"PROXY UNKNOWN ".to_vec();
        endless.resize(200, b' ');
        for (bytes, fault) in [
            (b"\x10\x0C\0\x04MQTT".to_vec(), Fault::NoHeader),
            (b"GET / HTTP/1.1\r\n".to_vec(), Fault::NoHeader),
            (b"PRONY TCP4".to_vec(), Fault::NoHeader),
            (v2(0x21, 0x11, IPV4), Fault::IsVersion2),
            (endless, Fault::TooLong),
            (b"PROXY\r\n".to_vec(), Fault::NoHeader),
            (b"PROXY \r\n".to_vec(), Fault::Malformed),
            (
                b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n".to_vec(),
                Fault::Malformed,
            ),
            (
                b"PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n".to_vec(),
                Fault::Malformed,
            ),
            (
                b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n".to_vec(),
                Fault::Malformed,
            ),
            (
                b"PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n".to_vec(),
                Fault::Malformed,
            ),
            (
                b"PROXY TCP4 1.2.3.4 1.2.3.4 +1 2\r\n".to_vec(),
                Fault::Malformed,
            ),
            (
                b"PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n".to_vec(),
                Fault::Malformed,
            ),
            (b"PROXY TCP4 ::1 ::1 1 2\r\n".to_vec(), Fault::Malformed),
            (b"PROXY TCP6 1.2.3.4 ::1 1 2\r\n".to_vec(), Fault::Malformed),
            (
                b"PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n".to_vec(),
                Fault::Malformed,
            ),
            (
                b"PROXY TCP4 1.2.3.4\xFF 1.2.3.4 1 2\r\n".to_vec(),
                Fault::Malformed,
            ),
        ] {
            assert_eq!(every_start(&bytes, ONE), Err(fault), "{bytes:?}");
        }
        let long = vec![0; limits::PROXY_HEADER_BYTES_MAX];
        let cut_tlv = [IPV4, &[TYPE_SSL, 0, 9, 1]].concat();
        let short_ssl = [IPV4, &tlv(TYPE_SSL, &[1, 0, 0, 0])].concat();
        let cut_inner = tlv(TYPE_SSL, &[1, 0, 0, 0, 0, SUBTYPE_SSL_CN, 0]);
        let cut_inner = [IPV4, &cut_inner].concat();
        let bad_name = tlv(SUBTYPE_SSL_CN, b"\xFF");
        for (bytes, fault) in [
            (b"\x10\x0C\0\x04MQTT".to_vec(), Fault::NoHeader),
            (
                b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\n".to_vec(),
                Fault::IsVersion1,
            ),
            (v2(0x11, 0x11, IPV4), Fault::Malformed),
            (v2(0x22, 0x11, IPV4), Fault::Malformed),
            (v2(0x21, 0x12, IPV4), Fault::Malformed),
            (v2(0x21, 0x11, &IPV4[1..]), Fault::Malformed),
            (v2(0x21, 0x21, IPV4), Fault::Malformed),
            (v2(0x21, 0x11, &long), Fault::TooLong),
            (v2(0x21, 0x11, &cut_tlv), Fault::Malformed),
            (v2(0x21, 0x11, &short_ssl), Fault::Malformed),
            (v2(0x21, 0x11, &cut_inner), Fault::Malformed),
            (with_tls(0x07, 0, &bad_name), Fault::Malformed),
        ] {
            assert_eq!(every_start(&bytes, TWO), Err(fault), "{bytes:?}");
        }
    }

    #[test]
    fn the_layer_keeps_no_more_than_a_header_and_goes() {
        let mut layer = Proxy::new(TWO);
        let bytes = v2(0x21, 0x11, IPV4);
        let mut inside = Vec::new();
        for byte in &bytes {
            assert!(!layer.is_through());
            layer.open(&[*byte], &mut inside).unwrap();
            if layer.is_through() {
                break;
            }
            assert!(layer.kept_bytes() > 0 && layer.kept_bytes() <= 2 * bytes.len());
        }
        assert!(inside.is_empty() && layer.kept_bytes() == 0);
        layer.open(b"\x10", &mut inside).unwrap();
        assert_eq!(inside, b"\x10");
        let peer = layer.take_peer().unwrap();
        assert_eq!(peer.address.to_string(), "198.51.100.1:4711");

        let mut layer = Proxy::new(ONE);
        assert!(layer.open(&[b'P'; 100_000], &mut inside).is_err());
        assert!(layer.kept_bytes() <= limits::PROXY_HEADER_BYTES_MAX);
    }
}
