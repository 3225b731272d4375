//! Accepts clients of STOMP over TCP: a session and its connection, or an ERROR that says why not.
//! `docs/protocols/stomp.md` §11.4.

use std::{borrow::Cow, net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

use bytes::BytesMut;
use gorani_protocol::stomp::{ServerCommand, Version, encode};
use tokio::io::AsyncWriteExt;

use super::stomp::StompEndpoint;
use crate::{
    connection::{Connection, codec::stomp::StompCodec, socket::Io, state::OpenedSession},
    disconnect::Disconnect,
    endpoint::Endpoint,
    format::encoding::{Encoding, Framing},
    hub::worker::Worker,
    metrics::TransportLabel,
    node::Node,
    outbox::Outbox,
    session::Now,
};

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
    if node.lifecycle.is_draining() {
        return refuse(io, Disconnect::SHUTDOWN.reason);
    }
    if peer.is_some_and(|peer| !node.admission.allows_handshake(peer.ip())) {
        return refuse(io, "too many connections from this address".into());
    }
    let permit = match node.admission.acquire_permit(&node.admission.session_source(peer, None)) {
        Ok(permit) => permit,
        Err(no_permit) => return refuse(io, no_permit.to_string().into()),
    };
    let opened = OpenedSession {
        session: Box::new(endpoint.tcp_session(peer, Now::read())),
        outbox: Outbox::new(endpoint.outbox_max_bytes()),
        encoding: Encoding { protocol: endpoint.protocol(), framing: Framing::Raw },
        transport: &TCP,
        protocol: endpoint.name(),
        peer,
        permit,
    };
    Connection::start(node, worker, opened, io, StompCodec, b"");
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
