//! The request that opened a connection, as endpoints, guards and sessions may read it.

use std::net::SocketAddr;

use actix_http::header::HeaderMap;

/// The request that opened a connection.
#[derive(Debug, Clone)]
pub struct Handshake {
    /// Path, without the query.
    pub path: String,
    /// Query, without the `?`; empty for none.
    pub query: String,
    /// Headers, names in lower case.
    pub headers: HeaderMap,
    /// Address of the peer.
    pub peer: Option<SocketAddr>,
    /// Our address.
    pub local: Option<SocketAddr>,
    /// True if it came over TLS.
    pub is_secure: bool,
    /// The subprotocol that was agreed on.
    pub subprotocol: Option<&'static str>,
}

impl Handshake {
    /// The first value of a header, where it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}
