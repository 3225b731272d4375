//! Who is at the other end of a request: the peer, or the client that a trusted balancer names. Records 14 and 24.

use std::net::SocketAddr;

use actix_http::header::HeaderMap;

use crate::node::{Node, admission::permits::SessionSource};

/// The client's address as far as it can be believed (`http.trusted_proxies`).
pub(super) fn client_address(
    node: &Node,
    peer: Option<SocketAddr>,
    headers: &HeaderMap,
) -> Option<SocketAddr> {
    node.client_address(peer, headers)
}

/// Where a session comes from, for the limits. `client` is what [`client_address`] says; `connection` the peer of a TCP
/// connection that can carry many sessions.
pub(super) fn source(
    node: &Node,
    client: Option<SocketAddr>,
    connection: Option<SocketAddr>,
) -> SessionSource {
    let is_stranger = |address: &SocketAddr| !node.settings.http.trusted_proxies.trusts(address.ip());
    SessionSource {
        client: client.filter(is_stranger).map(|address| address.ip()),
        connection: connection.filter(is_stranger),
    }
}
