//! What a listener wants of the PROXY headers that its connections begin with.

/// Of one listener.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProxyTerms {
    /// A header of another version ends the connection.
    pub version: ProxyVersion,
    /// The header must say that the Client came to the proxy by TLS.
    pub tls_required: bool,
    /// The header must say that the Client showed the proxy a certificate that is good.
    pub certificate_required: bool,
    /// The common name in that certificate is the user name.
    pub names: bool,
}

/// A version of the PROXY protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProxyVersion {
    /// A line of text.
    V1,
    /// Binary; may tell of TLS.
    V2,
}
