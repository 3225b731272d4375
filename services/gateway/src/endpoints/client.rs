//! The endpoint of the client protocol, `/connection/websocket`. `docs/protocols/client.md`.

use std::sync::Arc;

use crate::{
    endpoint::{Endpoint, EndpointRefused, Handshake},
    format::encoding::Protocol,
    node::Node,
    session::{
        Now, Session,
        client::{ClientSession, TransportTraits},
    },
};

/// The query that asks for the transport's own pings.
const NATIVE_PING: &str = "cf_ws_frame_ping_pong=true";

/// The client protocol as JSON.
pub struct ClientEndpoint(pub Arc<Node>);

impl Endpoint for ClientEndpoint {
    fn subprotocols(&self) -> &[&'static str] {
        &[]
    }

    fn allows_origin(&self, origin: Option<&str>, host: &str) -> bool {
        self.0.origins.allows(origin, host)
    }

    fn protocol(&self) -> Protocol {
        Protocol::Client
    }

    fn name(&self) -> &'static str {
        "json"
    }

    fn message_max_bytes(&self) -> usize {
        self.0.policy.settings.message_max_bytes
    }

    fn outbox_max_bytes(&self) -> usize {
        self.0.policy.settings.outbox_max_bytes
    }

    fn open(&self, handshake: &Handshake, now: Now) -> Result<Box<dyn Session>, EndpointRefused> {
        let native_ping = handshake.query.split('&').any(|pair| pair == NATIVE_PING);
        let traits = TransportTraits { native_ping, ..TransportTraits::default() };
        let session = ClientSession::new(self.0.policy.clone(), traits, now);
        Ok(Box::new(session.with_login_limit(self.0.admission.login_limit(handshake.peer))))
    }
}
