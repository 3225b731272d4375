//! Where an honest client comes to a node, plain or TLS, and whether what it asks is answered.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use rustls::{ClientConfig, ClientConnection, StreamOwned, pki_types::ServerName};

use crate::audit::watch::{self, Probe};

/// A WebSocket handshake, and how its answer begins.
pub(crate) const HANDSHAKE: &[u8] =
    b"GET /connection/websocket HTTP/1.1\r\nHost: node\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
pub(crate) const SWITCHED: &[u8] = b"HTTP/1.1 101";
/// A CONNECT frame of STOMP, and how its answer begins.
pub(crate) const CONNECT: &[u8] = b"CONNECT\naccept-version:1.2\nhost:x\n\n\0";
pub(crate) const CONNECTED: &[u8] = b"CONNECTED";

/// A port of a node.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    address: SocketAddr,
    tls: Option<Arc<ClientConfig>>,
    time_limit: Duration,
}

impl Endpoint {
    pub(crate) fn plain(address: SocketAddr, time_limit: Duration) -> Self {
        Self { address, tls: None, time_limit }
    }

    pub(crate) fn tls(address: SocketAddr, time_limit: Duration, config: &Arc<ClientConfig>) -> Self {
        Self { address, tls: Some(Arc::clone(config)), time_limit }
    }

    /// Asks on a connection of its own each time.
    pub(crate) fn probe(&self, request: &'static [u8], begins: &'static [u8]) -> Probe {
        let endpoint = self.clone();
        Box::new(move || endpoint.ask(request, begins))
    }

    fn ask(&self, request: &[u8], begins: &[u8]) -> io::Result<()> {
        let mut stream = watch::connect(self.address, self.time_limit)?;
        let Some(config) = &self.tls else { return watch::answers(&mut stream, request, begins) };
        let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
        let session = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
        watch::answers(&mut StreamOwned::new(session, stream), request, begins)
    }
}
