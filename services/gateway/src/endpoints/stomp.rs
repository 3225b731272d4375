//! The endpoint of STOMP over WebSocket, `/stomp`. `docs/protocols/stomp.md` §11.1 to §11.3.
//!
//! Accepts clients of STOMP over TCP: a session and its connection, or an ERROR that says why not.
//! `docs/protocols/stomp.md` §11.4.

use std::{borrow::Cow, net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

use actix_http::header::HeaderMap;
use bytes::BytesMut;
use gorani_protocol::stomp::{ServerCommand, Version, encode};
use tokio::io::AsyncWriteExt;

use crate::{
    connection::{Connection, codec::StompCodec, socket::Io, state::OpenedSession},
    disconnect::Disconnect,
    endpoint::{Endpoint, EndpointRefused, Handshake},
    format::{
        encoding::{Encoding, Framing, Protocol},
        message_headers,
    },
    http::{
        asks_for_protobuf,
        refusal::RequestRefused,
        request_context::{NO_PROTOBUF, RequestClient},
    },
    hub::worker::Worker,
    metrics::TransportLabel,
    node::Node,
    outbox::Outbox,
    session::{
        Now, Session,
        shared::proxied::SessionCalls,
        stomp::{StompSession, StompTraits},
    },
    settings::{Settings, StompSettings},
};

/// The best first: it is chosen, in any order that a client prefers. It does not bind the version of the session, which the
/// CONNECT frame negotiates.
const SUBPROTOCOLS: [&str; 3] = ["v12.stomp", "v11.stomp", "v10.stomp"];

/// Bytes that a message may hold beside one frame: line ends, and the command.
const PADDING_BYTES: usize = 1024;

/// STOMP.
pub struct StompEndpoint {
    node: Arc<Node>,
    settings: Arc<StompSettings>,
    /// Time of a client over TCP to close: `websocket.close_timeout`.
    close_timeout: Duration,
    text_only: bool,
}

impl StompEndpoint {
    /// The endpoint of a node.
    pub fn new(node: Arc<Node>, settings: &Settings) -> Self {
        let close_timeout = settings.websocket.close_timeout;
        Self { node, settings: Arc::new(settings.stomp.clone()), close_timeout, text_only: false }
    }

    /// The same for a transport that carries text alone.
    pub fn text_only(node: Arc<Node>, settings: &Settings) -> Self {
        Self { text_only: true, ..Self::new(node, settings) }
    }

    /// A session for a connection over WebSocket or SockJS. The latter has heartbeats that the client does not answer.
    fn framed_session(&self, handshake: &Handshake, now: Now) -> StompSession {
        let has_pings = !self.text_only;
        let traits = StompTraits { text_only: self.text_only, has_pings, trailing_eol: false };
        let transport = if self.text_only { "sockjs" } else { "stomp" };
        self.session(traits, transport, &handshake.headers, handshake.peer, now)
    }

    /// A session for a connection over TCP.
    pub fn tcp_session(&self, peer: Option<SocketAddr>, now: Now) -> StompSession {
        let traits = StompTraits { text_only: false, has_pings: false, trailing_eol: true };
        self.session(traits, "stomp_tcp", &HeaderMap::new(), peer, now)
    }

    /// `transport`: as backends see it.
    fn session(
        &self,
        traits: StompTraits,
        transport: &'static str,
        headers: &HeaderMap,
        peer: Option<SocketAddr>,
        now: Now,
    ) -> StompSession {
        let policy = self.node.policy.get();
        let calls = SessionCalls::of_request(&policy, transport, NAME, headers, peer);
        StompSession::new(policy, self.settings.clone(), traits, now)
            .with_calls(calls)
            .with_login_limit(self.node.admission.login_limit(peer))
    }
}

/// The name of the protocol in logs and in the API.
const NAME: &str = "stomp";

fn protocol() -> Protocol {
    Protocol::Stomp(Arc::new(message_headers::EMPTY))
}

impl Endpoint for StompEndpoint {
    fn subprotocols(&self) -> &[&'static str] {
        &SUBPROTOCOLS
    }

    fn allows_origin(&self, origin: Option<&str>, host: &str) -> bool {
        self.node.policy.get().origins.allows(origin, host)
    }

    fn protocol(&self, _handshake: &Handshake) -> Protocol {
        protocol()
    }

    fn name(&self, _handshake: &Handshake) -> &'static str {
        NAME
    }

    fn message_max_bytes(&self) -> usize {
        self.settings.head_max_bytes + self.settings.body_max_bytes + PADDING_BYTES
    }

    fn outbox_max_bytes(&self) -> usize {
        self.node.policy.get().settings.outbox_max_bytes
    }

    /// Frames are put together by the session, so messages need not be.
    fn wants_parts(&self) -> bool {
        true
    }

    fn open(&self, handshake: &Handshake, now: Now) -> Result<Box<dyn Session>, EndpointRefused> {
        if asks_for_protobuf(&handshake.query) {
            return Err(EndpointRefused::Status(400, NO_PROTOBUF.to_owned()));
        }
        Ok(Box::new(self.framed_session(handshake, now)))
    }
}

/// Label of the counters.
static TCP: TransportLabel = TransportLabel::new("tcp");

/// Time for the answer to a client that is refused.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);

/// Starts the connection of an accepted socket, or answers with an ERROR: the node is full or drains, or limits this address.
pub fn accept<T: Io>(
    node: &Arc<Node>,
    worker: &Rc<Worker>,
    endpoint: &StompEndpoint,
    io: T,
    peer: Option<SocketAddr>,
) {
    let permit = match RequestClient::new(node, peer, None).admit() {
        Ok(permit) => permit,
        Err(RequestRefused::Draining) => return refuse(io, Disconnect::SHUTDOWN.reason),
        Err(RequestRefused::TooManyHandshakes) => {
            return refuse(io, "too many connections from this address".into());
        }
        Err(refused) => return refuse(io, refused.to_string().into()),
    };
    let opened = OpenedSession {
        session: Box::new(endpoint.tcp_session(peer, Now::read())),
        outbox: Outbox::new(endpoint.outbox_max_bytes()),
        encoding: Encoding { protocol: protocol(), framing: Framing::Raw },
        transport: &TCP,
        protocol: NAME,
        peer,
        connection: peer,
        permit,
    };
    Connection::start(node, worker, opened, io, StompCodec, endpoint.close_timeout, b"");
}

/// Tells a client to come back later, and closes. One that does not read is not waited for.
fn refuse<T: Io>(mut io: T, reason: Cow<'static, str>) {
    let mut error = BytesMut::new();
    encode::frame(ServerCommand::Error, Version::V1_0, &mut error)
        .header("message", &reason)
        .header("reconnect", "true")
        .body(b"");
    // As behind every frame over TCP, see `Style::trailing_eol`.
    error.extend_from_slice(b"\n");
    actix_rt::spawn(async move {
        let told = async {
            io.write_all(&error).await?;
            io.shutdown().await
        };
        // A client that has gone, or does not take the answer, misses nothing that it could use.
        if let Ok(Err(error)) = tokio::time::timeout(REFUSAL_TIMEOUT, told).await {
            tracing::debug!(%error, "refused STOMP client left before it was told why");
        }
    });
}

#[cfg(test)]
mod tests {
    use gorani_protocol::stomp::{VERSIONS, Version};

    use super::*;

    #[test]
    fn item_50_every_version_has_its_subprotocol_the_best_first() {
        assert_eq!(VERSIONS.map(Version::subprotocol), SUBPROTOCOLS);
    }
}
