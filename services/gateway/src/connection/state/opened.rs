//! A session that was opened, before its connection runs it.

use std::net::SocketAddr;

use crate::{
    format::encoding::Encoding,
    metrics::TransportLabel,
    node::admission::permits::ConnectionPermit,
    outbox::Outbox,
    session::{ClientDescription, Session},
};

/// A session that was opened, with what its connection needs to run it.
pub struct OpenedSession {
    /// The session.
    pub session: Box<dyn Session>,
    /// The bytes that wait for the client.
    pub outbox: Outbox,
    /// The encoding of the session's messages.
    pub encoding: Encoding,
    /// Label of the transport's counters.
    pub transport: &'static TransportLabel,
    /// The protocol in logs and in the API: `json`, …
    pub protocol: &'static str,
    /// The client's address, as far as forwarded addresses are trusted.
    pub peer: Option<SocketAddr>,
    /// The other end of its TCP connection: the client, or a proxy in front of it.
    pub connection: Option<SocketAddr>,
    /// The permit of the connection, out of those of the node.
    pub permit: ConnectionPermit,
}

impl OpenedSession {
    /// The description for operators of a client that has said nothing yet.
    pub(super) fn description(&self) -> ClientDescription {
        let canonical = |address: SocketAddr| address.ip().to_canonical();
        let address = self.peer.map(canonical);
        let forwarded_by = self.connection.map(canonical).filter(|end| Some(*end) != address);
        ClientDescription { address, forwarded_by, ..ClientDescription::default() }
    }
}
