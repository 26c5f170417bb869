//! The header of a proxy. Used by the fuzz target of this name and, without a fuzzer, by `tests/corpora.rs`.

use super::layer::every_cut;
use mqttfast::config::{ProxyTerms, ProxyVersion};
use mqttfast::io::link::proxy::{self, Proxy};
use mqttfast::limits;

/// Bytes as the start of a connection that a proxy makes; the first says on which terms. A verdict stays what it is
/// when more comes, and no header is longer than it may be.
pub fn proxy(data: &[u8]) {
    let Some((pick, data)) = data.split_first() else {
        return;
    };
    let terms = ProxyTerms {
        version: [ProxyVersion::V1, ProxyVersion::V2][usize::from(pick & 1)],
        tls_required: pick & 2 != 0,
        certificate_required: pick & 4 != 0,
        names: pick & 8 != 0,
    };
    let mut before = Ok(None);
    for end in 0..=data.len().min(limits::PROXY_HEADER_BYTES_MAX + 1) {
        let now = proxy::read(&data[..end], terms);
        assert!(before == Ok(None) || before == now, "{end}: {now:?}");
        before = now;
    }
    let heard = every_cut(|| Proxy::new(terms), data);
    assert!(heard.own.is_empty() && !heard.ended);
    match before {
        Ok(Some((_, size))) => {
            assert!((1..=limits::PROXY_HEADER_BYTES_MAX).contains(&size) && size <= data.len());
            assert_eq!(heard.plain, data[size..]);
        }
        Ok(None) => assert!(heard.plain.is_empty() && heard.broken.is_none()),
        Err(fault) => assert_eq!(heard.broken, Some(fault.reason())),
    }
}
