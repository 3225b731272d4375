//! What every request for a session passes: its origin, the node's limits, the drain; and what every response to one
//! has: the headers for browsers and against proxies that buffer. `docs/protocols/http.md` §2.

use std::{net::SocketAddr, rc::Rc};

use actix_http::{ConnectionType, Version};
use actix_web::{
    HttpRequest, HttpResponse, HttpResponseBuilder,
    body::MessageBody,
    http::{
        StatusCode,
        header::{self, HeaderValue},
    },
    web,
};

use super::refusal::HttpRefusal;
use crate::{
    disconnect::{Disconnect, ErrorCode},
    http_session::{
        WorkerContext,
        detached::{Detachable, Detached, DetachedBody},
        pipe::PipeReader,
    },
    metrics::RefusalLabel,
    node::{
        admission::permits::{ConnectionPermit, NoPermit, SessionSource},
        client_network::ClientNetwork,
    },
};

/// How long a browser need not ask again whether it may ask.
const PREFLIGHT_SECONDS: &str = "7200";
/// What browsers of other origins may send besides what they always may.
const ALLOWED_HEADERS: &str = "authorization, cache-control, content-type, if-none-match, last-event-id";
/// What they may read.
const EXPOSED_HEADERS: &str = "etag";
const ALLOWED_METHODS: &str = "GET, POST, OPTIONS";

/// A request at the context.
pub struct RequestContext {
    /// Where it is.
    pub local: WorkerContext,
    /// Who asks.
    pub peer: Option<SocketAddr>,
    /// Where its sessions come from.
    source: SessionSource,
    /// The origin of the page that asks, which may.
    origin: Option<HeaderValue>,
    version: Version,
    /// The request's connection, where a response may take it over.
    connection: Option<Rc<Detachable>>,
}

impl RequestContext {
    /// Looks at who asks.
    ///
    /// # Errors
    /// A page of an origin that may not ask.
    pub fn of(request: &HttpRequest, local: &web::Data<WorkerContext>) -> Result<Self, HttpRefusal> {
        let origin = request.headers().get(header::ORIGIN);
        let text = match origin.map(HeaderValue::to_str) {
            None => None,
            Some(Ok(text)) => Some(text),
            Some(Err(_)) => return Err(HttpRefusal::bad_request("the origin is no text")),
        };
        if !local.node.origins.allows(text, host(request)) {
            return Err(HttpRefusal::new(ErrorCode::PERMISSION_DENIED, "this origin is not allowed"));
        }
        let connection = request.peer_addr();
        let peer = local.node.admission.client_address(connection, request.headers());
        Ok(Self {
            local: WorkerContext::clone(local),
            peer,
            source: local.node.admission.session_source(peer, connection),
            origin: origin.cloned(),
            version: request.version(),
            connection: request.conn_data::<Rc<Detachable>>().cloned(),
        })
    }

    /// The client's network, which limits count under.
    pub(crate) fn network(&self) -> Option<ClientNetwork> {
        self.source.network()
    }

    /// A place for a session that the request is to open.
    ///
    /// # Errors
    /// The node is full or going down, or this address asks too often.
    pub fn acquire_permit(&self) -> Result<ConnectionPermit, HttpRefusal> {
        let node = &self.local.node;
        if node.lifecycle.is_draining() {
            return Err(Disconnect::SHUTDOWN.into());
        }
        if self.peer.is_some_and(|peer| !node.admission.allows_handshake(peer.ip())) {
            return Err(HttpRefusal::new(
                ErrorCode::TOO_MANY_REQUESTS,
                "too many sessions from this address",
            ));
        }
        node.admission.acquire_permit(&self.source).map_err(|no_slot| match no_slot {
            NoPermit::Full => Disconnect::CONNECTION_LIMIT.into(),
            _ => HttpRefusal::new(ErrorCode::TOO_MANY_REQUESTS, no_slot.to_string()).with_status(
                StatusCode::from_u16(no_slot.status()).unwrap_or(StatusCode::SERVICE_UNAVAILABLE),
            ),
        })
    }

    /// Looks whether the node would take a session now, and takes nothing.
    ///
    /// # Errors
    /// The node is full or going down.
    pub fn check_capacity(&self) -> Result<(), HttpRefusal> {
        let node = &self.local.node;
        if node.lifecycle.is_draining() {
            return Err(Disconnect::SHUTDOWN.into());
        }
        if node.admission.is_full() { Err(Disconnect::CONNECTION_LIMIT.into()) } else { Ok(()) }
    }

    /// Begins a response.
    pub fn response(&self, status: StatusCode) -> HttpResponseBuilder {
        let mut response = HttpResponse::build(status);
        response.insert_header((header::CACHE_CONTROL, "no-store, no-transform"));
        if let Some(origin) = &self.origin {
            response
                .insert_header((header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone()))
                .insert_header((header::ACCESS_CONTROL_ALLOW_CREDENTIALS, "true"))
                .insert_header((header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED_HEADERS))
                .insert_header((header::VARY, "origin"));
        }
        response
    }

    /// A response that goes on: nothing between us and the client is to hold it back.
    pub fn stream(&self, content_type: &'static str, body: impl MessageBody + 'static) -> HttpResponse {
        let mut response = self.response(StatusCode::OK);
        response
            .content_type(content_type)
            .insert_header(("X-Accel-Buffering", "no"))
            .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"));
        let mut response = response
            .message_body(body)
            .map_or_else(HttpResponse::from_error, HttpResponse::map_into_boxed_body);
        if self.version < Version::HTTP_11 {
            // It knows no chunks: the end of the connection is the end of the response.
            let head = response.head_mut();
            head.no_chunking(true);
            head.set_connection_type(ConnectionType::Close);
        }
        response
    }

    /// The same with the bytes of a session that lasts as long as the response. It takes the connection over, so no other
    /// request follows on it.
    pub fn stream_session(&self, content_type: &'static str, body: PipeReader) -> HttpResponse {
        let Some(connection) = &self.connection else { return self.stream(content_type, body) };
        let response = Detached {
            pipe: body,
            is_chunked: self.version >= Version::HTTP_11,
            open: self.local.node.open_responses.begin(),
        };
        let mut response = self.stream(content_type, DetachedBody::new(connection.clone(), response));
        response.head_mut().set_connection_type(ConnectionType::Close);
        response
    }

    /// Answers that the request leads nowhere.
    pub fn refuse(&self, refusal: &HttpRefusal) -> HttpResponse {
        let label = RefusalLabel { status: refusal.status.as_u16() };
        self.local.node.metrics.handshakes_refused.get_or_create(&label).inc();
        tracing::debug!(status = label.status, code = refusal.code, reason = %refusal.message, "request refused");
        let mut response = refusal.response();
        for (name, value) in self.response(refusal.status).finish().headers() {
            response.headers_mut().insert(name.clone(), value.clone());
        }
        response
    }
}

/// The host that the client asked for: the `Host` header, else that of an absolute request line.
fn host(request: &HttpRequest) -> &str {
    let header = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    header.or_else(|| request.uri().authority().map(|authority| authority.as_str())).unwrap_or_default()
}

/// Whether a page may ask, asked by its browser.
pub async fn preflight(request: HttpRequest, local: web::Data<WorkerContext>) -> HttpResponse {
    match RequestContext::of(&request, &local) {
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
