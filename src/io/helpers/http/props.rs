//! What holds of the page's readers for any bytes: called by tests and by the fuzz target `http_request`.

use super::names;
use super::request::{Method, Request, end_of_block};
use crate::limits;
use std::net::{IpAddr, Ipv4Addr};

/// Bytes as the start of a connection. A header block ends in one place, however it comes; what reads well says the
/// same in another spelling, is within its bounds, and is for this machine only where its host is.
pub fn requests_say_one_thing(data: &[u8]) {
    let whole = end_of_block(data, 0);
    for end in 0..=data.len() {
        // As it comes, a byte at a time.
        let found = end_of_block(&data[..end], end.saturating_sub(1));
        match whole {
            Some(at) if at == end => assert_eq!(found, whole),
            Some(at) if at < end => break,
            _ => assert_eq!(found, None, "{end}"),
        }
    }
    let Some(end) = whole else {
        return;
    };
    let block = &data[..end];
    let Ok(request) = Request::read(block) else {
        return;
    };
    // Nothing of it is behind its end, where the next one begins.
    for cut in 0..end {
        assert!(Request::read(&block[..cut]).is_err(), "{cut} of {end}");
    }
    assert!(request.path.starts_with('/'));
    assert!(request.body_bytes <= limits::HTTP_BODY_BYTES_MAX);
    assert!(request.body_bytes == 0 || request.method == Method::Post);
    let local = Ipv4Addr::LOCALHOST.into();
    if names::is_ours(&request.host, local, None) {
        assert!(is_loopback(&request.host), "{:?}", request.host);
    }
    if let Some(origin) = &request.origin
        && names::is_own_page(origin, &request.host, false)
    {
        let own = format!("http://{}", request.host);
        assert!(origin.eq_ignore_ascii_case(&own));
    }
    assert_eq!(respelled(&request), request.path);
}

/// Does a browser that has a page of this host ask this machine whatever a name server says?
fn is_loopback(host: &str) -> bool {
    let end = host.rfind(']').map_or(0, |at| at + 1);
    let port = host[end..].find(':').map_or(host.len(), |at| end + at);
    let name = host[..port].trim_start_matches('[').trim_end_matches(']');
    let name = name.strip_suffix('.').unwrap_or(name);
    match name.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => name.eq_ignore_ascii_case("localhost"),
    }
}

/// The path of the same request with each of its bytes written in hexadecimal digits.
fn respelled(request: &Request) -> String {
    let digits = request.path.bytes().skip(1);
    let digits: String = digits.map(|byte| format!("%{byte:02X}")).collect();
    let text = format!("GET /{digits}?a HTTP/1.1\r\nhost: a\r\n\r\n");
    let read = Request::read(text.as_bytes()).map(|request| request.path);
    read.unwrap_or_else(|why| format!("{why:?}"))
}
