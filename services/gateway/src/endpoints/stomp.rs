//! The endpoint of STOMP over WebSocket, `/stomp`. `docs/protocols/stomp.md` §11.1 to §11.3.

use std::{net::SocketAddr, sync::Arc};

use crate::{
    endpoint::{Endpoint, EndpointRefused, Handshake},
    format::{encoding::Protocol, message_headers},
    node::Node,
    session::{
        Now, Session,
        stomp::{StompSession, StompTraits},
    },
    settings::StompSettings,
};

/// The best first: it is chosen, whatever order a client prefers. It does not bind the version of the session, which the
/// CONNECT frame negotiates.
const SUBPROTOCOLS: [&str; 3] = ["v12.stomp", "v11.stomp", "v10.stomp"];

/// What a message may hold beside one frame: line ends, and the command.
const PADDING_BYTES: usize = 1024;

/// STOMP.
pub struct StompEndpoint {
    node: Arc<Node>,
    settings: Arc<StompSettings>,
    text_only: bool,
}

impl StompEndpoint {
    /// The endpoint of a node.
    pub fn new(node: Arc<Node>) -> Self {
        let settings = Arc::new(node.settings.stomp.clone());
        Self { node, settings, text_only: false }
    }

    /// The same for a transport that carries text alone.
    pub fn text_only(node: Arc<Node>) -> Self {
        Self { text_only: true, ..Self::new(node) }
    }

    /// A session for a connection over WebSocket or SockJS. The latter has heartbeats that nobody answers.
    fn framed_session(&self, peer: Option<SocketAddr>, now: Now) -> StompSession {
        let has_pings = !self.text_only;
        self.session(StompTraits { text_only: self.text_only, has_pings, trailing_eol: false }, peer, now)
    }

    /// A session for a connection over TCP.
    pub fn tcp_session(&self, peer: Option<SocketAddr>, now: Now) -> StompSession {
        self.session(StompTraits { text_only: false, has_pings: false, trailing_eol: true }, peer, now)
    }

    fn session(&self, traits: StompTraits, peer: Option<SocketAddr>, now: Now) -> StompSession {
        StompSession::new(self.node.policy.clone(), self.settings.clone(), traits, now)
            .with_login_limit(self.node.admission.login_limit(peer))
    }
}

impl Endpoint for StompEndpoint {
    fn subprotocols(&self) -> &[&'static str] {
        &SUBPROTOCOLS
    }

    fn allows_origin(&self, origin: Option<&str>, host: &str) -> bool {
        self.node.origins.allows(origin, host)
    }

    fn protocol(&self) -> Protocol {
        Protocol::Stomp(Arc::new(message_headers::EMPTY))
    }

    fn name(&self) -> &'static str {
        "stomp"
    }

    fn message_max_bytes(&self) -> usize {
        self.settings.head_max_bytes + self.settings.body_max_bytes + PADDING_BYTES
    }

    fn outbox_max_bytes(&self) -> usize {
        self.node.policy.settings.outbox_max_bytes
    }

    /// Frames are put together by the session, so messages need not be.
    fn wants_parts(&self) -> bool {
        true
    }

    fn open(&self, handshake: &Handshake, now: Now) -> Result<Box<dyn Session>, EndpointRefused> {
        Ok(Box::new(self.framed_session(handshake.peer, now)))
    }
}

#[cfg(test)]
mod tests {
    use gorani_protocol::stomp::{Version, version::VERSIONS};

    use super::*;

    #[test]
    fn item_50_every_version_has_its_subprotocol_the_best_first() {
        assert_eq!(VERSIONS.map(Version::subprotocol), SUBPROTOCOLS);
    }
}
