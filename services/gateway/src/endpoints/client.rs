//! The endpoint of the client protocol, `/connection/websocket`. `docs/protocols/client.md`.
//!
//! The endpoint of receivers over WebSocket, `/connection/uni_websocket`: the objects of the other ways to receive without
//! an SDK, as messages. `docs/protocols/http.md` §11.

use std::sync::Arc;

use crate::{
    endpoint::{Endpoint, EndpointRefused, Handshake},
    format::encoding::Protocol,
    http::refusal::HttpRefusal,
    metrics::TransportLabel,
    node::Node,
    receive::query::{Query, receive_query},
    session::{
        Now, Session,
        client::{
            ClientSession, OutputFormat, TransportTraits,
            receiver::{ReceiveQuery, UniSession},
        },
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

static UNI_WEBSOCKET: TransportLabel = TransportLabel::new("uni_websocket");

/// Receivers over WebSocket.
pub struct ReceiverEndpoint(pub Arc<Node>);

impl Endpoint for ReceiverEndpoint {
    fn subprotocols(&self) -> &[&'static str] {
        &[]
    }

    fn allows_origin(&self, origin: Option<&str>, host: &str) -> bool {
        self.0.origins.allows(origin, host)
    }

    fn protocol(&self) -> Protocol {
        Protocol::Plain
    }

    fn name(&self) -> &'static str {
        "json"
    }

    fn transport(&self) -> &'static TransportLabel {
        &UNI_WEBSOCKET
    }

    fn message_max_bytes(&self) -> usize {
        self.0.policy.settings.message_max_bytes
    }

    fn outbox_max_bytes(&self) -> usize {
        self.0.policy.settings.outbox_max_bytes
    }

    fn open(&self, handshake: &Handshake, now: Now) -> Result<Box<dyn Session>, EndpointRefused> {
        let asked =
            receive_query(&handshake.headers, &Query::parse(&handshake.query), &[], &self.0.policy.rules);
        let receive_query = asked.map_err(|HttpRefusal { status, message, .. }| {
            EndpointRefused::Status(status.as_u16(), message.into_owned())
        })?;
        // Native pings: a receiver has no words to answer others with.
        let traits = TransportTraits {
            native_ping: true,
            format: OutputFormat::Plain,
            sends_disconnect: true,
            ..TransportTraits::default()
        };
        let policy = self.0.policy.clone();
        let session = if receive_query == ReceiveQuery::default() {
            // The handshake asks for nothing, so the first message does.
            UniSession::awaiting_connect(policy, traits, now)
        } else {
            UniSession::new(policy, traits, receive_query, now)
        };
        Ok(Box::new(session.with_login_limit(self.0.admission.login_limit(handshake.peer))))
    }
}
