//! The checks of every request for a session, whatever transport it asks for: its origin, the node's limits, the drain.
//!
//! Also the common part of receivers' responses: headers for browsers and against proxies that buffer.
//! `docs/protocols/http.md` §2.

use std::{net::SocketAddr, ops::Deref, rc::Rc, sync::Arc};

use actix_http::{ConnectionType, ResponseHead, Version};
use actix_web::{
    HttpRequest, HttpResponse, HttpResponseBuilder,
    body::MessageBody,
    http::{
        StatusCode,
        header::{self, HeaderValue},
    },
    web,
};
use bytes::Bytes;
use gorani_protocol::client::ClientForm;

use super::{
    asks_for_protobuf, body,
    refusal::{HttpRefusal, RequestRefused},
};
use crate::{
    connection::state::OpenedSession,
    disconnect::ErrorCode,
    format::encoding::Encoding,
    http_session::{
        Lifetime, NewSession, Response, WorkerContext,
        pipe::{PipeReader, pipe},
        registry::InboundMessage,
        writer::{Detachable, Detached, DetachedBody, ResponseWriter},
    },
    metrics::TransportLabel,
    node::{
        Node,
        admission::permits::{ConnectionPermit, NoPermit, SessionSource},
        client_network::ClientNetwork,
    },
    outbox::Outbox,
    session::{Session, shared::proxied::SessionCalls},
};

/// Type of commands, and of responses, in the protobuf form.
pub const PROTOBUF_TYPE: &str = "application/octet-stream";
/// The answer to a request for protobuf where there is none.
pub const NO_PROTOBUF: &str = "there is no protobuf form here";
/// Time for which a browser need not repeat a preflight.
const PREFLIGHT_SECONDS: &str = "7200";
/// Headers that browsers of other origins may send besides those that they always may.
const ALLOWED_HEADERS: &str = "authorization, cache-control, content-type, if-none-match, last-event-id";
/// Headers that they may read.
const EXPOSED_HEADERS: &str = "etag";
const ALLOWED_METHODS: &str = "GET, POST, OPTIONS";

/// A session of a receiver that is to begin, and lasts as long as the response to its request.
pub struct ReceiverSession {
    /// The session.
    pub session: Box<dyn Session>,
    /// Label of its connections among the counters.
    pub transport: &'static TransportLabel,
    /// The form of what it is sent.
    pub encoding: Encoding,
    /// The writer of its response.
    pub writer: Box<dyn ResponseWriter>,
    /// Its id, if requests bring commands for it.
    pub id: Option<Arc<str>>,
    /// Commands that came with the request.
    pub commands: Vec<InboundMessage>,
}

/// The client of a request for a session, as far as the limits of its node know it. Whatever it asks for, and over whatever
/// transport, it is refused by the rules here.
pub struct RequestClient<'n> {
    node: &'n Node,
    /// Its address, as far as a balancer that gives it can be trusted.
    pub peer: Option<SocketAddr>,
    /// The source of its sessions, for the limits.
    source: SessionSource,
}

impl<'n> RequestClient<'n> {
    /// The client at an address. `connection`: the peer of a TCP connection that can carry many sessions.
    pub fn new(node: &'n Node, peer: Option<SocketAddr>, connection: Option<SocketAddr>) -> Self {
        Self { node, peer, source: node.admission.session_source(peer, connection) }
    }

    /// The client's network, which limits count under.
    pub(crate) fn network(&self) -> Option<ClientNetwork> {
        self.source.network()
    }

    /// Lets the client in: it gets a slot for its session.
    ///
    /// # Errors
    /// The node is going down or full, or this address asks too often, or has too many sessions that have not connected.
    pub fn admit(&self) -> Result<ConnectionPermit, RequestRefused> {
        self.check_draining()?;
        self.check_handshake_rate()?;
        self.acquire_permit()
    }

    /// Looks whether this address may open another session now.
    ///
    /// # Errors
    /// It asks too often.
    pub fn check_handshake_rate(&self) -> Result<(), RequestRefused> {
        let is_allowed = self.peer.is_none_or(|peer| self.node.admission.allows_handshake(peer.ip()));
        if is_allowed { Ok(()) } else { Err(RequestRefused::TooManyHandshakes) }
    }

    /// A slot for a session that the request is to open.
    ///
    /// # Errors
    /// The node is going down or full, or holds too many sessions that have not connected.
    pub fn acquire_permit(&self) -> Result<ConnectionPermit, RequestRefused> {
        self.check_draining()?;
        Ok(self.node.admission.acquire_permit(&self.source)?)
    }

    /// Looks whether the node would take a session now, and takes nothing.
    ///
    /// # Errors
    /// The node is full or going down.
    pub fn check_capacity(&self) -> Result<(), RequestRefused> {
        self.check_draining()?;
        if self.node.admission.is_full() { Err(NoPermit::Full.into()) } else { Ok(()) }
    }

    /// Looks whether the node takes sessions at all.
    ///
    /// # Errors
    /// The node is going down.
    pub fn check_draining(&self) -> Result<(), RequestRefused> {
        if self.node.lifecycle.is_draining() { Err(RequestRefused::Draining) } else { Ok(()) }
    }
}

/// A request with its worker and its client.
pub struct RequestContext<'r> {
    /// The request.
    pub request: &'r HttpRequest,
    /// The worker that answers it, and its node.
    pub local: &'r WorkerContext,
    /// The origin of the page that asks.
    pub origin: Option<&'r str>,
    /// The client that asks.
    client: RequestClient<'r>,
}

/// The client's address, and the checks of it.
impl<'r> Deref for RequestContext<'r> {
    type Target = RequestClient<'r>;

    fn deref(&self) -> &Self::Target {
        &self.client
    }
}

impl<'r> RequestContext<'r> {
    /// The calls to the backend of a session that it opens, where some proxy is configured.
    pub fn calls(
        &self,
        transport: &'static TransportLabel,
        protocol: &'static str,
    ) -> Option<Box<SessionCalls>> {
        let (policy, headers) = (self.local.node.policy.get(), self.request.headers());
        SessionCalls::of_request(&policy, transport.transport, protocol, headers, self.client.peer)
    }

    /// Reads the origin and the client's address. The origin is not checked yet.
    ///
    /// # Errors
    /// The origin is no text.
    pub fn new(request: &'r HttpRequest, local: &'r WorkerContext) -> Result<Self, RequestRefused> {
        let origin = request.headers().get(header::ORIGIN).map(HeaderValue::to_str);
        let origin = origin.transpose().map_err(|_| RequestRefused::OriginUnreadable)?;
        let connection = request.peer_addr();
        let peer = local.node.admission.client_address(connection, request.headers());
        Ok(Self { request, local, origin, client: RequestClient::new(&local.node, peer, connection) })
    }

    /// The same for a receiver, whose page must be of one of the node's origins.
    ///
    /// # Errors
    /// A page of an origin that may not ask.
    pub fn of_receiver(request: &'r HttpRequest, local: &'r WorkerContext) -> Result<Self, HttpRefusal> {
        let context = Self::new(request, local)?;
        if !local.node.policy.get().origins.allows(context.origin, context.host()) {
            let log = &local.node.policy.log;
            log.write_origin(context.origin, context.host(), "client.allowed_origins");
            return Err(HttpRefusal::new(ErrorCode::PERMISSION_DENIED, "this origin is not allowed"));
        }
        Ok(context)
    }

    /// The host that the client asked for: the `Host` header, else that of an absolute request line.
    pub fn host(&self) -> &'r str {
        let authority = || self.request.uri().authority().map(|authority| authority.as_str());
        self.header(header::HOST.as_str()).or_else(authority).unwrap_or_default()
    }

    /// A header that is text.
    pub fn header(&self, name: &str) -> Option<&'r str> {
        self.request.headers().get(name)?.to_str().ok()
    }

    /// The request's connection, where a response may take it over.
    pub fn connection(&self) -> Option<&'r Rc<Detachable>> {
        self.request.conn_data()
    }

    /// Opens the session of a receiver. Its response is what comes out of the pipe.
    ///
    /// # Errors
    /// The node is full or going down, or this address asks too often.
    pub fn open(&self, receiver: ReceiverSession) -> Result<PipeReader, HttpRefusal> {
        let permit = self.admit()?;
        let protocol = receiver.encoding.protocol.form().name();
        let ReceiverSession { session, transport, encoding, writer, id, commands } = receiver;
        let (pipe, body) = pipe();
        let new_session = NewSession {
            opened: OpenedSession {
                session,
                outbox: Outbox::new(self.local.node.policy.get().settings.outbox_max_bytes),
                encoding,
                transport,
                protocol,
                peer: self.peer,
                connection: self.request.peer_addr(),
                permit,
            },
            response: Response { pipe, writer },
            lifetime: Lifetime::Response,
            id,
            messages: commands,
        };
        // Nobody else has an id of 128 random bits.
        new_session.open(self.local).map_err(|_| HttpRefusal::from(ErrorCode::INTERNAL))?;
        Ok(body)
    }

    /// The whole body of a receiver's request.
    ///
    /// # Errors
    /// It is larger than `max_bytes`, or takes too long, or ends too early, or there is no memory for it.
    pub async fn body(&self, payload: web::Payload, max_bytes: usize) -> Result<Bytes, HttpRefusal> {
        body::read(self.request.headers(), payload, max_bytes)
            .await
            .map_err(|error| HttpRefusal::new(error.code(), error.to_string()).with_status(error.status()))
    }

    /// Begins a response.
    pub fn response(&self, status: StatusCode) -> HttpResponseBuilder {
        let mut response = HttpResponse::build(status);
        response.insert_header((header::CACHE_CONTROL, "no-store, no-transform"));
        if let Some(origin) = self.origin {
            response
                .insert_header((header::ACCESS_CONTROL_ALLOW_ORIGIN, origin))
                .insert_header((header::ACCESS_CONTROL_ALLOW_CREDENTIALS, "true"))
                .insert_header((header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED_HEADERS))
                .insert_header((header::VARY, "origin"));
        }
        response
    }

    /// A response that goes on: nothing between us and the client is to hold it back.
    pub fn stream(&self, content_type: &'static str, body: impl MessageBody + 'static) -> HttpResponse {
        let mut response = self.response(StatusCode::OK);
        response.content_type(content_type).insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"));
        self.stream_with(response, body)
    }

    /// The same with headers of its own.
    pub fn stream_with(
        &self,
        mut response: HttpResponseBuilder,
        body: impl MessageBody + 'static,
    ) -> HttpResponse {
        response.insert_header(("X-Accel-Buffering", "no"));
        let mut response = response
            .message_body(body)
            .map_or_else(HttpResponse::from_error, HttpResponse::map_into_boxed_body);
        end_with_connection(response.head_mut(), self.request.version());
        response
    }

    /// The same with the bytes of a session that lasts as long as the response. It takes the connection over, so no other
    /// request follows on it.
    pub fn stream_session(&self, content_type: &'static str, body: PipeReader) -> HttpResponse {
        let Some(connection) = self.connection() else { return self.stream(content_type, body) };
        let response = Detached {
            pipe: body,
            is_chunked: self.request.version() >= Version::HTTP_11,
            open: self.local.node.open_responses.begin(),
        };
        let mut response = self.stream(content_type, DetachedBody::new(connection.clone(), response));
        response.head_mut().set_connection_type(ConnectionType::Close);
        response
    }

    /// Answers that the request leads nowhere.
    pub fn refuse(&self, refusal: &HttpRefusal) -> HttpResponse {
        refusal.count(&self.local.node);
        let mut response = refusal.response();
        for (name, value) in self.response(refusal.status).finish().headers() {
            response.headers_mut().insert(name.clone(), value.clone());
        }
        response
    }
}

/// Lets a response without a length end as `version` has it: a client of HTTP/1.0 knows no chunks, so the end of the connection
/// is the end of the response (RFC 9112 §6.3).
pub fn end_with_connection(head: &mut ResponseHead, version: Version) {
    if version < Version::HTTP_11 {
        head.no_chunking(true);
        head.set_connection_type(ConnectionType::Close);
    }
}

/// Answers a request of a receiver, or refuses it. It is answered in text: one that asks for protobuf is refused.
pub async fn answer<'r>(
    request: &'r HttpRequest,
    local: &'r WorkerContext,
    answer: impl AsyncFnOnce(&RequestContext<'r>) -> Result<HttpResponse, HttpRefusal>,
) -> HttpResponse {
    if asks_for_protobuf(request.query_string()) {
        return answer_any(request, local, async |_| Err(HttpRefusal::bad_request(NO_PROTOBUF))).await;
    }
    answer_any(request, local, answer).await
}

/// Answers a request with commands in the form that its type names, or refuses it.
pub async fn answer_in_form<'r>(
    request: &'r HttpRequest,
    local: &'r WorkerContext,
    answer: impl AsyncFnOnce(&RequestContext<'r>, ClientForm) -> Result<HttpResponse, HttpRefusal>,
) -> HttpResponse {
    answer_any(request, local, async |context| {
        let named = context.header(header::CONTENT_TYPE.as_str()).unwrap_or_default();
        let media_type = named.split(';').next().unwrap_or_default().trim();
        if media_type.eq_ignore_ascii_case(PROTOBUF_TYPE) {
            answer(context, ClientForm::Protobuf).await
        } else if asks_for_protobuf(request.query_string()) {
            Err(HttpRefusal::bad_request("protobuf is sent with Content-Type: application/octet-stream"))
        } else {
            answer(context, ClientForm::Json).await
        }
    })
    .await
}

async fn answer_any<'r>(
    request: &'r HttpRequest,
    local: &'r WorkerContext,
    answer: impl AsyncFnOnce(&RequestContext<'r>) -> Result<HttpResponse, HttpRefusal>,
) -> HttpResponse {
    match RequestContext::of_receiver(request, local) {
        Ok(context) => answer(&context).await.unwrap_or_else(|refusal| context.refuse(&refusal)),
        Err(refusal) => refusal.response(),
    }
}

/// Answers a browser that asks if its page may send a request.
pub async fn preflight(request: HttpRequest, local: web::Data<WorkerContext>) -> HttpResponse {
    match RequestContext::of_receiver(&request, &local) {
        Ok(context) => context
            .response(StatusCode::NO_CONTENT)
            .insert_header((header::ACCESS_CONTROL_ALLOW_METHODS, ALLOWED_METHODS))
            .insert_header((header::ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED_HEADERS))
            .insert_header((header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_SECONDS))
            .insert_header((header::ALLOW, ALLOWED_METHODS))
            .finish(),
        Err(refusal) => refusal.response(),
    }
}

/// The path is served, but not by this method.
pub async fn wrong_method() -> HttpResponse {
    HttpRefusal::new(ErrorCode::METHOD_NOT_FOUND, "this path is not served by this method")
        .with_status(StatusCode::METHOD_NOT_ALLOWED)
        .response()
}
