//! Rules that hold for every HTTP request, whatever its path: size of its head, time for its body, the end of its
//! connection, fixed paths as they are written. One middleware around all routes; an upgrade leaves HTTP before it.
//!
//! - The head: `http.header_max_bytes`, else 431 and the connection is closed. It is summed after parsing, so that
//!   actix-http may buffer up to its own 128 KiB first; beyond these it answers 431 itself.
//! - The body: [`TimedBody`] gives it `http.request_timeout`, and more as it makes progress. A large one draws on the
//!   memory budget: 503 where that is used up. A compressed one is refused with 415.
//! - The connection: after an answer that says `connection: close` no other request of it is processed, pipelined ones
//!   included (RFC 9112 §9.6). actix-http 3 goes on with requests that it has decoded already. An answer to a request that
//!   offers another protocol (`Upgrade: h2c`) says so too: actix-http ends such a connection, and without that word.
//! - HEAD: a GET whose answer has no body, on every path ([`mark_head`]).
//! - The path: fixed routes match the path as it was sent. `/%6detrics` is not `/metrics`: a balancer that guards one
//!   would let the other through.
//!
//! The state of an HTTP/1 connection between the middleware, which sees requests and answers, and the stream, which
//! times requests and closes: requests without an answer, and the connection's end, set once and kept.
//!
//! While a request is under way, its connection is not idle. In a reserved slot ([`super::slots`]) only health and metrics are
//! served, each on a connection that ends with the answer ([`serve`]).

use std::{
    cell::{Cell, RefCell},
    future::Future,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use actix_http::{ConnectionType, Payload, Request, Response, ResponseHead, Version};
use actix_service::Service;
use actix_web::{
    Error, HttpMessage, HttpResponse,
    body::{BodySize, BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::{
        Method, StatusCode,
        header::{ACCEPT_ENCODING, CONTENT_ENCODING, HeaderMap, HeaderValue},
    },
    middleware::Next,
    web,
};
use bytes::Bytes;
use gorani_protocol::http1::HEAD_METHOD;

use super::slots::{RequestUnderWay, Watched};
use crate::{
    disconnect::{Disconnect, ErrorCode},
    endpoints::Endpoints,
    http::{
        body::{BodyState, TimedBody},
        header_bytes, mark_head,
        refusal::{HttpRefusal, RETRY_AFTER},
        without_body,
    },
    memory::MemoryBudget,
    settings::HttpSettings,
};

/// Served when the node holds as many connections as it may.
const RESERVED_PATHS: [&str; 4] = ["/health/live", "/health/ready", "/health", "/metrics"];

/// The answer to all other requests, and to WebSocket handshakes.
pub(super) const FULL: &str = "this node holds as many connections as it may";

/// The limits of every request.
pub(super) struct HttpRequestLimits {
    /// Bytes of the line and the headers: `http.header_max_bytes`.
    header_max_bytes: usize,
    /// Time for a body, without that for its progress: `http.request_timeout`.
    body_timeout: Duration,
    /// Time to read the last answer of a connection: `http.shutdown_timeout`.
    linger: Duration,
    memory: Arc<MemoryBudget>,
}

impl HttpRequestLimits {
    pub(super) fn new(settings: &HttpSettings, memory: Arc<MemoryBudget>) -> Self {
        let HttpSettings { header_max_bytes, request_timeout, shutdown_timeout, .. } = *settings;
        Self { header_max_bytes, body_timeout: request_timeout, linger: shutdown_timeout, memory }
    }

    /// Puts the limits of time and memory around a request's body, where it has one.
    fn limit_body(&self, request: &mut ServiceRequest) -> BodyState {
        let state = BodyState::default();
        match request.take_payload() {
            Payload::None => {}
            payload => {
                let body = TimedBody::new(payload, state.clone(), self.body_timeout, self.memory.clone());
                request.set_payload(Payload::Stream { payload: Box::pin(body) });
            }
        }
        state
    }
}

/// The middleware.
///
/// # Errors
/// Those of the service behind it.
pub(super) async fn check(
    limits: web::Data<HttpRequestLimits>,
    endpoints: web::Data<Endpoints>,
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let connection = request.conn_data::<Rc<HttpConnection>>().cloned();
    if let Some(connection) = &connection
        && connection.is_closing()
    {
        connection.refuse(limits.linger).await;
    }
    let is_head = request.method() == Method::HEAD || request.method().as_str() == HEAD_METHOD;
    if is_head {
        request.head_mut().method = Method::GET;
        mark_head(&request);
    }
    let body = limits.limit_body(&mut request);
    let asked = request.head().connection_type();
    let closes = asked != ConnectionType::KeepAlive;
    let mut response = match refusal(&request, limits.header_max_bytes, &endpoints, &body) {
        Some(response) => request.into_response(response),
        None => match next.call(request).await {
            Ok(response) => response.map_into_boxed_body(),
            Err(error) => {
                // It would become an answer behind this middleware, unseen.
                if let (Some(connection), true) = (&connection, closes || body.is_unread()) {
                    connection.close_after(body.take_unread());
                }
                return Err(error);
            }
        },
    };
    if is_head {
        response = without_body(response);
    }
    if body.timed_out() {
        *response.response_mut().status_mut() = StatusCode::REQUEST_TIMEOUT;
    }
    if body.lacked_memory() {
        *response.response_mut().status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        let (name, seconds) = RETRY_AFTER;
        response.headers_mut().insert(name, seconds);
    }
    let Some(connection) = connection else { return Ok(response) };
    let is_offered_another_protocol = asked == ConnectionType::Upgrade;
    if is_offered_another_protocol || body.is_unread() || body.timed_out() || body.lacked_memory() {
        response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
    }
    if closes || says_close(response.response_mut().head_mut()) {
        connection.close_after(body.take_unread());
    }
    Ok(response)
}

/// True if an answer says `connection: close`. A head that comes out of actix-http's pool has the version of its last answer
/// until it is written, and one of HTTP/1.0 counts as closing by itself.
fn says_close(head: &mut ResponseHead) -> bool {
    let version = std::mem::replace(&mut head.version, Version::HTTP_11);
    let says_close = head.connection_type() == ConnectionType::Close;
    head.version = version;
    says_close
}

/// The refusal of a request that no route is to see.
fn refusal(
    request: &ServiceRequest,
    header_max_bytes: usize,
    endpoints: &Endpoints,
    body: &BodyState,
) -> Option<HttpResponse> {
    if header_bytes(request.uri(), request.headers()) > header_max_bytes {
        let refusal = HttpRefusal::new(ErrorCode::LIMIT_EXCEEDED, "the request's headers are too large")
            .with_status(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
        let mut response = refusal.response();
        response.head_mut().set_connection_type(ConnectionType::Close);
        return Some(response);
    }
    if body.is_unread() && is_encoded(request.headers()) {
        let refusal = HttpRefusal::bad_request("a body is taken as it is: content-encoding must be identity")
            .with_status(StatusCode::UNSUPPORTED_MEDIA_TYPE)
            .with_reason("unsupported_content_encoding");
        let mut response = refusal.response();
        response.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        return Some(response);
    }
    is_disguised(request.uri().path(), endpoints).then(|| HttpResponse::NotFound().finish())
}

/// True if a body is compressed, or changed in another way (RFC 9110 §8.4). No route undoes that.
fn is_encoded(headers: &HeaderMap) -> bool {
    headers.get_all(CONTENT_ENCODING).any(|codings| {
        let mut codings = codings.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        codings.any(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity"))
    })
}

/// True if a path has escapes where only fixed words stand. Behind the path of a SockJS endpoint ids are free to have some.
fn is_disguised(path: &str, endpoints: &Endpoints) -> bool {
    let is_below = |base: &str| path.strip_prefix(base).is_some_and(|rest| rest.starts_with('/'));
    path.contains('%') && !endpoints.sockjs().any(|endpoint| is_below(&endpoint.path))
}

/// A connection of HTTP/1.
#[derive(Default)]
pub(super) struct HttpConnection {
    closing: Cell<bool>,
    refusing: Cell<bool>,
    over: Cell<bool>,
    unread: RefCell<Option<Payload>>,
    unanswered: Cell<u64>,
}

impl HttpConnection {
    /// The heads of so many requests more have come.
    pub(super) fn count_requests(&self, count: u64) {
        self.unanswered.set(self.unanswered.get() + count);
    }

    /// Requests wait for their answers, or their answers are under way.
    pub(super) fn is_answering(&self) -> bool {
        self.unanswered.get() > 0
    }

    /// A request of it is answered when the guard is dropped.
    pub(super) fn answer(self: Rc<Self>) -> RequestInProgress {
        RequestInProgress(self)
    }

    /// No further request is processed. `unread`: what is left of the last one's body.
    fn close_after(&self, unread: Option<Payload>) {
        self.closing.set(true);
        self.unread.replace(unread);
    }

    /// An answer has said `connection: close`.
    pub(super) fn is_closing(&self) -> bool {
        self.closing.get()
    }

    /// All answers are written, and another request came: the stream sends its end.
    pub(super) fn is_refusing(&self) -> bool {
        self.refusing.get()
    }

    /// The client had its time to read the last answer: the stream is cut.
    pub(super) fn is_over(&self) -> bool {
        self.over.get()
    }

    /// Holds a request that came too late until its client goes away, or `linger` is over. It has no answer, and an end
    /// at once would reset the connection, and take the answer before it along.
    async fn refuse(&self, linger: Duration) {
        self.refusing.set(true);
        tokio::time::sleep(linger).await;
        self.over.set(true);
        // The stream is polled by the same task: this is its turn to see it.
        tokio::task::yield_now().await;
        std::future::pending().await
    }
}

/// A request that is being answered.
pub(super) struct RequestInProgress(Rc<HttpConnection>);

impl Drop for RequestInProgress {
    fn drop(&mut self) {
        self.0.unanswered.set(self.0.unanswered.get().saturating_sub(1));
    }
}

/// Serves a request, or refuses it with 503 where its slot is a reserved one.
pub(super) fn serve<S>(
    request: Request,
    service: &S,
) -> impl Future<Output = Result<Response<WatchedBody>, S::Error>> + use<S>
where
    S: Service<Request>,
    S::Response: Into<Response<BoxBody>>,
{
    let watched = request.conn_data::<Rc<Watched>>().cloned();
    let is_reserved = watched.as_ref().is_some_and(|watched| watched.is_reserved);
    let under_way = watched.map(Watched::begin);
    let answering = request.conn_data::<Rc<HttpConnection>>().cloned().map(HttpConnection::answer);
    let is_served = !is_reserved || RESERVED_PATHS.contains(&request.path());
    let call = is_served.then(|| service.call(request));
    async move {
        let mut response = match call {
            Some(call) => call.await?.into(),
            None => full(),
        };
        if is_reserved {
            response.head_mut().set_connection_type(ConnectionType::Close);
        }
        Ok(response.map_body(|_, body| WatchedBody { body, _under_way: under_way, _answering: answering }))
    }
}

fn full() -> Response<BoxBody> {
    let refusal = HttpRefusal { message: FULL.into(), ..HttpRefusal::from(Disconnect::CONNECTION_LIMIT) };
    refusal.response().into()
}

/// A response's body; the request is under way until it is dropped.
pub(super) struct WatchedBody {
    body: BoxBody,
    _under_way: Option<RequestUnderWay>,
    _answering: Option<RequestInProgress>,
}

impl MessageBody for WatchedBody {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(task)
    }
}
