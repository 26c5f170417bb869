//! What a WebSocket listener wants of the requests that come to it.

use super::network::Network;
use crate::limits;

/// Of one listener, the same for all its connections.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WebSocketTerms {
    /// The Origins of pages that may connect, whole; empty: all.
    pub origins: Vec<String>,
    /// The longest header block of a request; see [`limits::HTTP_REQUEST_BYTES_MAX`].
    pub request_bytes_max: u32,
    /// Where proxies are whose word is taken on who connected to them, by `X-Forwarded-For`.
    pub proxies: Vec<Network>,
}

impl Default for WebSocketTerms {
    fn default() -> WebSocketTerms {
        WebSocketTerms {
            origins: Vec::new(),
            request_bytes_max: limits::HTTP_REQUEST_BYTES_MAX,
            proxies: Vec::new(),
        }
    }
}
