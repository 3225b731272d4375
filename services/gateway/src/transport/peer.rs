//! Who is at the other end of a request: the peer, or the client that a trusted balancer names. Record 14.

use std::net::SocketAddr;

use actix_http::header::{HeaderMap, X_FORWARDED_FOR};

use crate::node::Node;

/// The client's address as far as it can be believed (`http.trusted_proxies`).
pub(super) fn client_address(
    node: &Node,
    peer: Option<SocketAddr>,
    headers: &HeaderMap,
) -> Option<SocketAddr> {
    // A line that is no text ends what is believed, as any entry does that is no address.
    let lines: Vec<_> =
        headers.get_all(X_FORWARDED_FOR).map(|line| line.to_str().unwrap_or_default()).collect();
    peer.map(|peer| node.settings.http.trusted_proxies.client(peer, lines.into_iter()))
}
