//! The endpoint of the client protocol, `/connection/websocket`. `docs/protocols/client.md`.
//!
//! The endpoint of receivers over WebSocket, `/connection/uni_websocket`: the objects of the other ways to receive without
//! an SDK, as messages. `docs/protocols/http.md` §11.

use std::sync::Arc;

use gorani_protocol::client::ClientForm;

use crate::{
    endpoint::{Endpoint, EndpointRefused, Handshake, WEBSOCKET},
    format::encoding::Protocol,
    http::{asks_for_protobuf, refusal::HttpRefusal, request_context::NO_PROTOBUF},
    metrics::TransportLabel,
    node::Node,
    receive::query::{Query, receive_query},
    session::{
        Now, Session,
        client::{
            ClientSession, OutputFormat, TransportTraits,
            receiver::{ReceiveQuery, UniSession},
        },
        shared::proxied::SessionCalls,
    },
};

/// The query that asks for the transport's own pings.
const NATIVE_PING: &str = "cf_ws_frame_ping_pong=true";

/// The subprotocol of the JSON form; without one it is spoken too.
const JSON: &str = "centrifuge-json";
/// The subprotocol of the protobuf form.
const PROTOBUF: &str = "centrifuge-protobuf";

/// The client protocol.
pub struct ClientEndpoint {
    node: Arc<Node>,
    /// The transport carries text alone: there is no protobuf form.
    text_only: bool,
}

impl ClientEndpoint {
    /// The endpoint over WebSocket.
    pub fn new(node: Arc<Node>) -> Self {
        Self { node, text_only: false }
    }

    /// The endpoint over SockJS.
    pub fn text_only(node: Arc<Node>) -> Self {
        Self { node, text_only: true }
    }

    /// The form that a client asks for. Its subprotocol goes before its query.
    fn form(&self, handshake: &Handshake) -> ClientForm {
        let asks = match handshake.subprotocol {
            Some(subprotocol) => subprotocol == PROTOBUF,
            None => asks_for_protobuf(&handshake.query),
        };
        if asks && !self.text_only { ClientForm::Protobuf } else { ClientForm::Json }
    }
}

impl Endpoint for ClientEndpoint {
    fn subprotocols(&self) -> &[&'static str] {
        if self.text_only { &[] } else { &[JSON, PROTOBUF] }
    }

    fn allows_origin(&self, origin: Option<&str>, host: &str) -> bool {
        self.node.policy.get().origins.allows(origin, host)
    }

    fn protocol(&self, handshake: &Handshake) -> Protocol {
        Protocol::Client(self.form(handshake))
    }

    fn name(&self, handshake: &Handshake) -> &'static str {
        self.form(handshake).name()
    }

    fn message_max_bytes(&self) -> usize {
        self.node.policy.get().settings.message_max_bytes
    }

    fn outbox_max_bytes(&self) -> usize {
        self.node.policy.get().settings.outbox_max_bytes
    }

    fn open(&self, handshake: &Handshake, now: Now) -> Result<Box<dyn Session>, EndpointRefused> {
        if self.text_only && asks_for_protobuf(&handshake.query) {
            return Err(EndpointRefused::Status(400, NO_PROTOBUF.to_owned()));
        }
        let native_ping = handshake.query.split('&').any(|pair| pair == NATIVE_PING);
        let traits =
            TransportTraits { native_ping, form: self.form(handshake), ..TransportTraits::default() };
        let transport = if self.text_only { "sockjs" } else { WEBSOCKET.transport };
        let policy = self.node.policy.get();
        let (headers, protocol) = (&handshake.headers, traits.form.name());
        let calls = SessionCalls::of_request(&policy, transport, protocol, headers, handshake.peer);
        let session = ClientSession::new(policy, traits, now).with_calls(calls);
        Ok(Box::new(session.with_login_limit(self.node.admission.login_limit(handshake.peer))))
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
        self.0.policy.get().origins.allows(origin, host)
    }

    fn protocol(&self, _handshake: &Handshake) -> Protocol {
        Protocol::Plain
    }

    fn name(&self, _handshake: &Handshake) -> &'static str {
        "json"
    }

    fn transport(&self) -> &'static TransportLabel {
        &UNI_WEBSOCKET
    }

    fn message_max_bytes(&self) -> usize {
        self.0.policy.get().settings.message_max_bytes
    }

    fn outbox_max_bytes(&self) -> usize {
        self.0.policy.get().settings.outbox_max_bytes
    }

    fn open(&self, handshake: &Handshake, now: Now) -> Result<Box<dyn Session>, EndpointRefused> {
        if asks_for_protobuf(&handshake.query) {
            return Err(EndpointRefused::Status(400, NO_PROTOBUF.to_owned()));
        }
        let asked = receive_query(
            &handshake.headers,
            &Query::parse(&handshake.query),
            &[],
            &self.0.policy.get().rules,
        );
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
        let policy = self.0.policy.get();
        let (headers, protocol) = (&handshake.headers, self.name(handshake));
        let transport = UNI_WEBSOCKET.transport;
        let calls = SessionCalls::of_request(&policy, transport, protocol, headers, handshake.peer);
        let session = if receive_query == ReceiveQuery::default() {
            // The handshake asks for nothing, so the first message does.
            UniSession::awaiting_connect(policy, traits, now)
        } else {
            UniSession::new(policy, traits, receive_query, now)
        };
        let session = session.with_calls(calls);
        Ok(Box::new(session.with_login_limit(self.0.admission.login_limit(handshake.peer))))
    }
}
