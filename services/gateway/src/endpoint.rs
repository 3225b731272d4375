//! The trait of endpoints: the session that a path opens, its subprotocols, and the allowed origins of pages.

use std::{net::SocketAddr, sync::Arc};

use gorani_protocol::websocket::HandshakeRefusal;

pub use crate::session::Handshake;
use crate::{
    format::encoding::Protocol,
    metrics::TransportLabel,
    session::{Now, Session},
};

/// Label of the counters of WebSocket connections.
pub static WEBSOCKET: TransportLabel = TransportLabel::new("websocket");

/// Addresses of a connection, kept with it for its requests.
#[derive(Debug, Clone, Copy, Default)]
pub struct SocketAddresses {
    /// Our end.
    pub local: Option<SocketAddr>,
}

/// Why an endpoint does not open a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EndpointRefused {
    /// For a reason of the WebSocket protocol.
    Protocol(HandshakeRefusal),
    /// For the endpoint's own reason: an HTTP status (4xx or 5xx) and a sentence.
    Status(u16, String),
}

impl From<HandshakeRefusal> for EndpointRefused {
    fn from(refusal: HandshakeRefusal) -> Self {
        Self::Protocol(refusal)
    }
}

/// Opens the sessions of a path.
pub trait Endpoint: Send + Sync + 'static {
    /// Subprotocols that it speaks, the preferred first; empty: none has a meaning here.
    fn subprotocols(&self) -> &[&'static str];

    /// True if a page of this origin may connect. `None`: not a browser.
    fn allows_origin(&self, origin: Option<&str>, host: &str) -> bool;

    /// The setting that lists the origins which may connect, as logs name it.
    fn origins_setting(&self) -> &'static str {
        "client.allowed_origins"
    }

    /// The protocol of the session that a request opens.
    fn protocol(&self, handshake: &Handshake) -> Protocol;

    /// The protocol's name in logs and in the API: `json`, …
    fn name(&self, handshake: &Handshake) -> &'static str;

    /// Label of its connections among the counters.
    fn transport(&self) -> &'static TransportLabel {
        &WEBSOCKET
    }

    /// Bytes of a message at most.
    fn message_max_bytes(&self) -> usize;

    /// Bytes that may wait for a client at most.
    fn outbox_max_bytes(&self) -> usize;

    /// True if its sessions take messages in parts.
    fn wants_parts(&self) -> bool {
        false
    }

    /// The client's identity, if the request names one: read again for every request of a session that has a principal.
    ///
    /// # Errors
    /// The client would not be admitted.
    fn principal(&self, _handshake: &Handshake) -> Result<Option<Arc<str>>, EndpointRefused> {
        Ok(None)
    }

    /// Opens a session, or refuses.
    fn open(&self, handshake: &Handshake, now: Now) -> Result<Box<dyn Session>, EndpointRefused>;
}
