//! One POST to the backend: a deadline over all of it, and exactly how far it came where it failed.
//!
//! The HTTP client is awc's, one per thread and target. What it does otherwise is settled here: it follows no redirects, asks for
//! no compression, repeats nothing, and keeps no connection that is idle for longer than servers do. Record 47.

use std::{
    cell::{Cell, RefCell},
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use actix_http::{
    Method, StatusCode, Uri, Version,
    error::PayloadError,
    header::{self, HeaderMap, HeaderValue},
};
use awc::{
    Client, Connector,
    error::{ConnectError, SendRequestError},
};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use tokio::time::Instant;
use url::Url;

use super::{
    request_trace::{RequestTrace, TracedBody},
    stream::BackendConnector,
    tls::BackendTls,
};

/// Idle connections are used again within this time. Node.js closes them after 5 s, so a longer one meets closed connections.
const KEEP_ALIVE: Duration = Duration::from_secs(4);
/// Connections are replaced after this time, so that changes of DNS come through.
const LIFETIME: Duration = Duration::from_secs(75);
/// A connect takes no longer, whatever the time of a call is.
const CONNECT_AT_MOST: Duration = Duration::from_secs(5);
/// Time for the close of a TLS connection.
const DISCONNECT: Duration = Duration::from_secs(1);
/// The reset of a stream of HTTP/2 that says that the request was not processed (RFC 9113, 8.7).
const REFUSED_STREAM: u32 = 7;
/// The `User-Agent` of requests.
const USER_AGENT: &str = concat!("Gorani/", env!("CARGO_PKG_VERSION"));

/// Whom a client asks.
#[derive(Debug, Clone)]
pub struct BackendTarget {
    /// `http` or `https`, with a host.
    pub endpoint: Url,
    /// TLS; shared by the clients of all threads.
    pub tls: Arc<BackendTls>,
    /// The time that a call usually gets. A connect gets half of it, so that there is time for another address.
    pub timeout: Duration,
    /// Requests at once at most.
    pub pool_limit: usize,
    /// Bytes of an answer's body at most.
    pub max_response_bytes: usize,
}

/// An answer, whatever its status.
#[derive(Debug, Clone)]
pub struct BackendAnswer {
    /// The status.
    pub status: StatusCode,
    /// `Retry-After`, if it tells seconds.
    pub retry_after: Option<Duration>,
    /// The body. Empty where it did not come whole and the status is no success: the status tells enough.
    pub body: Bytes,
    /// Time since the call began.
    pub took: Duration,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PostError {
    /// There was no connection: no address, refused, TLS failed. The backend has surely not processed it.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// The time was over before the request was sent. The backend has surely not processed it.
    #[error("no connection in time")]
    ConnectTimeout,
    /// An idle connection was closed while it was used again, before the first byte of an answer. The backend has hardly processed it.
    #[error("idle connection closed: {0}")]
    Stale(String),
    /// The request was sent, and the time was over before the answer was there.
    #[error("no answer in time")]
    Timeout,
    /// The request was sent, and the connection broke.
    #[error("connection lost: {0}")]
    Lost(String),
    /// The answer is no HTTP.
    #[error("no HTTP: {0}")]
    Head(String),
    /// The answer has more bytes than the limit allows.
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
    /// The answer's body broke off, or is no body of HTTP.
    #[error("the answer's body is broken: {0}")]
    Body(String),
    /// The endpoint or a header cannot be written.
    #[error("no request: {0}")]
    Request(String),
}

impl PostError {
    /// True if the backend has not seen the request, so that it may be sent again whatever it asks.
    pub fn is_not_processed(&self) -> bool {
        matches!(self, Self::Connect(_) | Self::ConnectTimeout | Self::Request(_))
    }
}

/// The client of one thread for one target.
#[derive(Clone)]
pub struct BackendClient(Rc<TargetClient>);

struct TargetClient {
    target: Arc<BackendTarget>,
    uri: Uri,
    certificate_name: Option<Uri>,
    /// Made at the first request, and anew after an idle time or when the certificates are others.
    built: RefCell<Option<BuiltClient>>,
    /// Requests until now.
    requests: Cell<u64>,
    running: Cell<usize>,
    /// A task waits to close idle connections.
    is_closing_idle: Cell<bool>,
    failed: Rc<Cell<Option<SocketAddr>>>,
    connected: Rc<Cell<Option<SocketAddr>>>,
}

struct BuiltClient {
    client: Client,
    tls_generation: u64,
}

impl BackendClient {
    /// Makes no connection yet.
    ///
    /// # Errors
    /// The endpoint is no address of HTTP.
    pub fn new(target: Arc<BackendTarget>) -> Result<Self, PostError> {
        let no_request = |error: &dyn std::fmt::Display| PostError::Request(error.to_string());
        let uri: Uri = target.endpoint.as_str().parse().map_err(|error| no_request(&error))?;
        let certificate_name = match target.tls.server_name() {
            Some(name) => {
                let uri = Uri::builder().scheme("https").authority(name).path_and_query("/").build();
                Some(uri.map_err(|error| no_request(&error))?)
            }
            None => None,
        };
        Ok(Self(Rc::new(TargetClient {
            target,
            uri,
            certificate_name,
            built: RefCell::default(),
            requests: Cell::default(),
            running: Cell::default(),
            is_closing_idle: Cell::default(),
            failed: Rc::default(),
            connected: Rc::default(),
        })))
    }

    /// Sends one POST and reads its answer. All of it ends at the deadline. Dropping the future closes the connection.
    ///
    /// `headers` are sent as they are, and `User-Agent` and `Accept-Encoding` beside them.
    ///
    /// # Errors
    /// There is no answer.
    pub async fn post(
        &self,
        headers: HeaderMap,
        body: Bytes,
        deadline: Instant,
    ) -> Result<BackendAnswer, PostError> {
        #[cfg(test)]
        if let Some(answer) = super::simulated::post(&self.0.target.endpoint, &body) {
            return tokio::time::timeout_at(deadline, answer).await.unwrap_or(Err(PostError::Timeout));
        }
        self.send(Method::POST, headers, body, deadline).await
    }

    /// As [`Self::post`], with GET and no body.
    ///
    /// # Errors
    /// There is no answer.
    pub async fn get(&self, headers: HeaderMap, deadline: Instant) -> Result<BackendAnswer, PostError> {
        self.send(Method::GET, headers, Bytes::new(), deadline).await
    }

    async fn send(
        &self,
        method: Method,
        headers: HeaderMap,
        body: Bytes,
        deadline: Instant,
    ) -> Result<BackendAnswer, PostError> {
        let began = Instant::now();
        let number = self.0.requests.get() + 1;
        self.0.requests.set(number);
        let trace = RequestTrace::new(number);
        let _running = RunningRequest::new(self.0.clone());
        let client = self.0.client();
        if !self.0.is_closing_idle.replace(true) {
            actix_rt::spawn(self.0.clone().close_idle());
        }
        let answered =
            trace.run(tokio::time::timeout_at(deadline, self.0.exchange(&client, method, headers, body)));
        match answered.await {
            Ok(Ok(answer)) => Ok(BackendAnswer { took: began.elapsed(), ..answer }),
            Ok(Err(ExchangeError::Post(error))) => Err(error),
            Ok(Err(ExchangeError::Send(error))) => Err(self.0.classify(error, &trace)),
            Err(_elapsed) if trace.is_sent() => Err(PostError::Timeout),
            Err(_elapsed) => Err(PostError::ConnectTimeout),
        }
    }
}

/// Why an exchange failed, as far as it knows itself.
enum ExchangeError {
    Send(SendRequestError),
    Post(PostError),
}

impl TargetClient {
    /// The client, with the certificates of now.
    fn client(&self) -> Client {
        let tls_generation = self.target.tls.generation();
        let mut built = self.built.borrow_mut();
        if let Some(built) = built.as_ref().filter(|built| built.tls_generation == tls_generation) {
            return built.client.clone();
        }
        let connect_timeout = (self.target.timeout / 2).min(CONNECT_AT_MOST);
        let connector = Connector::new()
            .connector(BackendConnector {
                // Two addresses have their turn within the time of a connect.
                address_timeout: connect_timeout / 2,
                certificate_name: self.certificate_name.clone(),
                failed: self.failed.clone(),
                connected: self.connected.clone(),
            })
            .rustls_0_23(self.target.tls.config())
            .timeout(connect_timeout)
            .handshake_timeout(connect_timeout)
            .conn_keep_alive(KEEP_ALIVE)
            .conn_lifetime(LIFETIME)
            .disconnect_timeout(DISCONNECT)
            .limit(self.target.pool_limit.max(1));
        // The one deadline of a call is over its body too, and awc's is not.
        let client = Client::builder()
            .connector(connector)
            .disable_timeout()
            .disable_redirects()
            .no_default_headers()
            .finish();
        *built = Some(BuiltClient { client: client.clone(), tls_generation });
        client
    }

    async fn exchange(
        &self,
        client: &Client,
        method: Method,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<BackendAnswer, ExchangeError> {
        let mut request = client.request(method, self.uri.clone()).no_decompress();
        *request.headers_mut() = headers;
        request.headers_mut().insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        request.headers_mut().insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let mut response = request.send_body(TracedBody(body)).await.map_err(ExchangeError::Send)?;
        let status = response.status();
        let retry_after = response.headers().get(header::RETRY_AFTER);
        let retry_after =
            retry_after.and_then(|value| value.to_str().ok()).and_then(|text| text.trim().parse().ok());
        let retry_after = retry_after.map(Duration::from_secs);
        let length = match response.version() {
            Version::HTTP_2 => None,
            _ => response.headers().get(header::CONTENT_LENGTH),
        };
        let length = length.and_then(|value| value.to_str().ok()).and_then(|text| text.trim().parse().ok());
        let body = read_body(&mut response, length, self.target.max_response_bytes).await;
        let body = match body {
            Ok(body) => body,
            // The connection is closed with the rest of it.
            Err(_) if !status.is_success() => Bytes::new(),
            Err(error) => return Err(ExchangeError::Post(error)),
        };
        Ok(BackendAnswer { status, retry_after, body, took: Duration::ZERO })
    }

    /// The error of a request that failed, by how far it came.
    fn classify(&self, error: SendRequestError, trace: &RequestTrace) -> PostError {
        let text = error.to_string();
        match error {
            SendRequestError::Connect(ConnectError::Timeout) => {
                self.failed.set(self.connected.get());
                PostError::ConnectTimeout
            }
            // Also the end of a connection before an answer's first byte.
            SendRequestError::Connect(ConnectError::Disconnected) if trace.is_sent() => {
                let text = "closed without an answer".to_owned();
                if trace.is_reused() { PostError::Stale(text) } else { PostError::Lost(text) }
            }
            SendRequestError::Connect(error) => {
                self.failed.set(self.connected.get());
                PostError::Connect(error.to_string())
            }
            SendRequestError::H2(error) => {
                // The pool does not know which of its connections are dead: a repetition gets new ones.
                self.built.borrow_mut().take();
                let is_refused = error.is_reset() && error.reason() == Some(REFUSED_STREAM.into());
                let is_unseen = error.is_remote() && (error.is_go_away() || is_refused);
                if !trace.is_sent() || is_unseen { PostError::Connect(text) } else { PostError::Lost(text) }
            }
            SendRequestError::Send(_) | SendRequestError::Response(actix_http::error::ParseError::Io(_)) => {
                match (trace.is_sent(), trace.is_reused() && !trace.has_received()) {
                    (_, true) => PostError::Stale(text),
                    (false, false) => PostError::Connect(text),
                    (true, false) => PostError::Lost(text),
                }
            }
            SendRequestError::Response(error) => PostError::Head(error.to_string()),
            SendRequestError::Timeout => PostError::Timeout,
            _ if trace.is_sent() => PostError::Lost(text),
            _ => PostError::Request(text),
        }
    }

    /// Closes idle connections after a while without requests. awc looks at them only when it needs one, so that connections
    /// which the backend has closed would stay half open for ever.
    async fn close_idle(self: Rc<Self>) {
        loop {
            let requests = self.requests.get();
            tokio::time::sleep(KEEP_ALIVE + KEEP_ALIVE / 4).await;
            if self.running.get() == 0 && self.requests.get() == requests {
                self.built.borrow_mut().take();
                break;
            }
        }
        self.is_closing_idle.set(false);
    }
}

/// Counts a request while it lasts.
struct RunningRequest(Rc<TargetClient>);

impl RunningRequest {
    fn new(state: Rc<TargetClient>) -> Self {
        state.running.set(state.running.get() + 1);
        Self(state)
    }
}

impl Drop for RunningRequest {
    fn drop(&mut self) {
        self.0.running.set(self.0.running.get() - 1);
    }
}

/// Reads a body whole. `length`: what the head told.
async fn read_body<S>(
    response: &mut awc::ClientResponse<S>,
    length: Option<usize>,
    limit: usize,
) -> Result<Bytes, PostError>
where
    S: futures_util::Stream<Item = Result<Bytes, PayloadError>> + Unpin,
{
    if length.is_some_and(|length| length > limit) {
        return Err(PostError::TooLarge(limit));
    }
    let mut whole = BytesMut::new();
    while let Some(chunk) = response.next().await {
        let chunk = chunk.map_err(|error| PostError::Body(error.to_string()))?;
        if whole.len() + chunk.len() > limit {
            return Err(PostError::TooLarge(limit));
        }
        whole.extend_from_slice(&chunk);
    }
    // The end of the connection ends the stream of chunks without an error.
    match length {
        Some(length) if length != whole.len() => {
            Err(PostError::Body(format!("{} of {length} bytes came", whole.len())))
        }
        _ => Ok(whole.freeze()),
    }
}
