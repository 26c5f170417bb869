//! What a listener wants of the PROXY headers that its connections begin with.

/// Of one listener.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProxyTerms {
    /// A header of another version ends the connection.
    pub version: ProxyVersion,
    /// The header must say that the Client came to the proxy by TLS.
    pub tls_required: bool,
}

/// A version of the PROXY protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProxyVersion {
    /// A line of text.
    V1,
    /// Binary; may tell of TLS.
    V2,
}
