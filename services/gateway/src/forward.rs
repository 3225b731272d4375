//! Requests for sessions of other nodes: any balancer may send any request to any node. `docs/architecture.md` §5.8,
//! `docs/protocols/sockjs.md` §8, decision record 21.
//!
//! A request that comes for a session of another node goes on to that node as it is, signed ([`signature`]), and the answer comes
//! back chunk by chunk ([`wire`], [`peer_connection`]), no faster than the client takes it. A side that gives up closes, and the other
//! side sees it at once. The owner lets signed requests in at its [`accept`]; whatever concerns the session is decided by it
//! alone. Nothing is forwarded twice. [`routing`] and [`session_owners`] say which node has a session whose id does not tell.

pub mod accept;
mod peer_connection;
pub mod routing;
mod session_owners;
pub mod signature;
mod wire;

use std::{
    future::poll_fn,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use actix_http::Version;
use actix_web::{
    HttpRequest, HttpResponse,
    http::{
        Method,
        header::{self, HeaderMap, HeaderName, HeaderValue},
    },
};
use bytes::{Bytes, BytesMut};
use tokio::io::AsyncWriteExt;

use self::{
    peer_connection::{ConnectionPool, InFlightRequest, PeerLiveness, RelayedBody, ResponseConnection},
    session_owners::{OwnerCache, SessionClaims},
    signature::{ForwardSignature, ReplayWindows, SIGNATURE_HEADER, SignedFields},
    wire::{BodyLength, ForwardedHead},
};
use crate::{
    http::request_context::end_with_connection,
    http_session::registry::HttpSessionRegistry,
    node::Node,
    settings::{BrokerKind, Settings},
};

/// On an answer of a node that a forwarded request is refused by its accept, and why.
const REFUSED: HeaderName = HeaderName::from_static("x-gorani-forward-refused");
/// Why: another secret, so it is looked up again.
const WRONG_PROOF: &str = "proof";
/// On an answer of a node that the session is not there: it is lost, or another node's.
const ELSEWHERE: HeaderName = HeaderName::from_static("x-gorani-forward-elsewhere");
/// Headers that are of a connection and not of what it carries.
const OF_CONNECTION: [HeaderName; 9] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::TE,
    header::TRAILER,
    header::UPGRADE,
    header::EXPECT,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Bytes of a forwarded body besides what a message may have, at most.
const ENVELOPE_BYTES: usize = 64 * 1024;
/// Most bytes that one byte of a message takes in a body.
const ESCAPED_BYTES: usize = 6;

/// Marks a request that another node has forwarded, among its extensions.
#[derive(Debug, Clone)]
pub struct Forwarded {
    /// The node that forwarded it.
    pub from: String,
}

/// Why a request was not answered by another node. The client does not know of any of these yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ForwardError {
    /// The node is gone, or cannot be reached.
    #[error("the session's node cannot be reached")]
    Unreachable,
    /// It does not have the session.
    #[error("the session is not on that node")]
    Elsewhere,
    /// Too many requests are on their way to other nodes.
    #[error("too many requests for sessions of other nodes")]
    Busy,
}

impl ForwardError {
    fn label(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Elsewhere => "elsewhere",
            Self::Busy => "busy",
        }
    }
}

/// The state of forwarding that the workers of a node share.
#[derive(Default)]
pub struct ForwardState {
    numbers: AtomicU64,
    open: Arc<AtomicUsize>,
    windows: ReplayWindows,
    owners: OwnerCache,
    claims: SessionClaims,
}

impl ForwardState {
    /// Keeps the claims of a node, for ever.
    pub async fn keep_claims(self: Arc<Self>, node: Arc<Node>, registry: Arc<HttpSessionRegistry>) {
        self.claims.keep(&node, &registry).await;
    }
}

/// Forwards requests from one worker of a node.
pub struct Forwarder {
    node: Arc<Node>,
    shared: Arc<ForwardState>,
    pool: Rc<ConnectionPool>,
    liveness: Rc<PeerLiveness>,
    /// `cluster.max_forwarded`.
    max_forwarded: usize,
    /// Bytes of a batch of SockJS (`sockjs.batch_max_bytes`).
    batch_max_bytes: usize,
    /// There can be no other nodes.
    is_alone: bool,
}

impl Forwarder {
    /// Bytes of a forwarded request's body: a message in its envelope, or a batch of SockJS.
    fn body_max_bytes(&self) -> usize {
        let message = self.node.policy.get().settings.message_max_bytes.saturating_mul(ESCAPED_BYTES);
        message.max(self.batch_max_bytes) + ENVELOPE_BYTES
    }

    /// The forwarder of one worker; the workers of a node share `shared`.
    pub fn new(node: Arc<Node>, shared: Arc<ForwardState>, settings: &Settings) -> Self {
        let Settings { http, cluster, broker, .. } = settings;
        Self {
            pool: Rc::new(ConnectionPool::new(http.keep_alive, http.tcp_user_timeout)),
            liveness: Rc::new(PeerLiveness::new(node.clone())),
            max_forwarded: cluster.max_forwarded,
            batch_max_bytes: settings.sockjs.batch_max_bytes,
            is_alone: broker.kind == BrokerKind::Memory,
            node,
            shared,
        }
    }

    /// Has the node with this id answer the request, whose whole body is `body`.
    ///
    /// # Errors
    /// There is no answer that the client could be given. The request may have been carried out all the same, unless it
    /// is [`ForwardError::Elsewhere`] or [`ForwardError::Busy`].
    pub async fn relay(
        &self,
        owner: &str,
        request: &HttpRequest,
        body: &Bytes,
    ) -> Result<HttpResponse, ForwardError> {
        let outcome = self.try_relay(owner, request, body).await;
        let label = outcome.as_ref().map_or_else(|lost| lost.label(), |_| "answered");
        self.node.metrics.forward.count_sent(label);
        outcome
    }

    async fn try_relay(
        &self,
        owner: &str,
        request: &HttpRequest,
        body: &Bytes,
    ) -> Result<HttpResponse, ForwardError> {
        // One that was forwarded already would go in circles.
        if is_forwarded(request) {
            return Err(ForwardError::Elsewhere);
        }
        let address = self.node.cluster.address_of(owner).await.ok_or(ForwardError::Unreachable)?;
        for is_last in [false, true] {
            let answer = self.ask(owner, &address, request, body).await?;
            match answer.head.headers.get(REFUSED) {
                Some(why) if why == WRONG_PROOF && !is_last => self.node.secrets.renew().await,
                Some(why) => {
                    tracing::warn!(node = owner, ?why, "another node refuses forwarded requests");
                    return Err(ForwardError::Unreachable);
                }
                None if answer.head.headers.contains_key(ELSEWHERE) => return Err(ForwardError::Elsewhere),
                None => return Ok(answer.into_response(request.version())),
            }
        }
        Err(ForwardError::Unreachable)
    }

    async fn ask(
        &self,
        owner: &str,
        address: &str,
        request: &HttpRequest,
        body: &Bytes,
    ) -> Result<ForwardResponse, ForwardError> {
        let share = self.share()?;
        let secrets = self.node.secrets.known();
        let secret = secrets.first().ok_or(ForwardError::Unreachable)?;
        let signature = ForwardSignature {
            from: self.node.id.to_string(),
            to: owner.to_owned(),
            number: self.shared.numbers.fetch_add(1, Ordering::Relaxed) + 1,
            client: request.peer_addr(),
        };
        let method = request.method();
        let target = target(request);
        let signature = signature.write(secret, &SignedFields { method: method.as_str(), target, body });
        let headers = end_to_end(request.headers());
        let bytes = wire::request(method, target, headers, (SIGNATURE_HEADER, &signature), body);
        let lost = |error: &dyn std::fmt::Display| {
            tracing::debug!(node = owner, %error, "another node does not answer");
            ForwardError::Unreachable
        };
        let mut gone = Box::pin(self.liveness.gone(owner));
        let exchange = async {
            let mut stream = self.pool.take(address).await?;
            stream.write_all(&bytes).await?;
            Ok::<_, std::io::Error>(stream)
        };
        let stream = tokio::select! {
            stream = exchange => stream.map_err(|error| lost(&error))?,
            () = &mut gone => return Err(lost(&"its lease is over")),
        };
        let mut incoming = ResponseConnection { stream, input: BytesMut::new(), gone };
        let head = loop {
            match wire::head(&mut incoming.input, *method == Method::HEAD) {
                Ok(Some(head)) => break head,
                Ok(None) => match poll_fn(|task| incoming.poll_more(task)).await {
                    Ok(0) => return Err(lost(&"it closed the connection")),
                    Ok(_) => {}
                    Err(error) => return Err(lost(&error)),
                },
                Err(error) => return Err(lost(&error)),
            }
        };
        let home = head.reusable.then(|| (self.pool.clone(), address.to_owned()));
        Ok(ForwardResponse { head, incoming, home, share })
    }

    fn share(&self) -> Result<InFlightRequest, ForwardError> {
        let (share, before) = InFlightRequest::begin(&self.node, &self.shared.open);
        if before < self.max_forwarded { Ok(share) } else { Err(ForwardError::Busy) }
    }
}

/// An answer of another node, whose body is still to come.
struct ForwardResponse {
    head: ForwardedHead,
    incoming: ResponseConnection,
    home: Option<(Rc<ConnectionPool>, String)>,
    share: InFlightRequest,
}

impl ForwardResponse {
    /// The same answer for our client.
    fn into_response(self, version: Version) -> HttpResponse {
        let Self { head, incoming, home, share } = self;
        let mut response = HttpResponse::build(head.status);
        for (name, value) in end_to_end(&head.headers) {
            response.append_header((name.clone(), value.clone()));
        }
        let body = wire::BodyDecoder::new(head.length);
        let mut relayed = RelayedBody { incoming: Some(incoming), body, length: head.length, home, share };
        if relayed.body.is_over() {
            relayed.finish();
        }
        let mut response = response
            .message_body(relayed)
            .map_or_else(HttpResponse::from_error, HttpResponse::map_into_boxed_body);
        if matches!(head.length, BodyLength::Chunks | BodyLength::UntilClose) {
            end_with_connection(response.head_mut(), version);
        }
        response
    }
}

/// True if another node has forwarded the request.
pub fn is_forwarded(request: &HttpRequest) -> bool {
    actix_web::HttpMessage::extensions(request).contains::<Forwarded>()
}

/// Answers another node that the session is not here.
pub fn elsewhere() -> HttpResponse {
    HttpResponse::NotFound().insert_header((ELSEWHERE, "1")).finish()
}

/// Path and query of a request, as they stand in its line.
fn target(request: &HttpRequest) -> &str {
    request.uri().path_and_query().map_or("/", |target| target.as_str())
}

/// Headers of what is carried, without those of the connection, and without ours.
fn end_to_end(headers: &HeaderMap) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
    let named = headers.get_all(header::CONNECTION).filter_map(|value| value.to_str().ok());
    let named: Vec<&str> = named.flat_map(|value| value.split(',').map(str::trim)).collect();
    headers.iter().filter(move |(name, _)| {
        let is_of_connection = OF_CONNECTION.contains(name)
            || named.iter().any(|named| name.as_str().eq_ignore_ascii_case(named));
        !is_of_connection && !name.as_str().starts_with(SIGNATURE_HEADER)
    })
}

#[cfg(test)]
mod tests;
