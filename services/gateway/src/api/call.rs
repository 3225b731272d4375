//! One call of the API: its key is checked, then its body is read up to `api.body_max_bytes`, and its methods see both.
//! `docs/protocols/http.md` §4.2 and §4.4.
//!
//! An extractor of its own, since the stock one copies every body and answers errors that are not JSON. A call gets its error in
//! the body of a 200, as the libraries of the Centrifuge world read it, or by the HTTP status too: decision record 0040. It reads
//! history and presence one at a time, and so many bytes together, be it a call of one method or a batch of thousands: decision
//! record 26.

use std::{cell::Cell, sync::Arc};

use actix_web::{
    FromRequest, HttpRequest,
    dev::Payload,
    http::header::{AUTHORIZATION, HeaderMap, HeaderName},
    web::{Bytes, Data},
};
use futures_util::{FutureExt, future::LocalBoxFuture};
use gorani_auth::api_key::from_headers;
use gorani_broker::TraceContext;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::{
    api::error::ApiError,
    clock::unix_ms,
    disconnect::ErrorCode,
    http::body::{self, BodyError},
    node::{Node, admission::attempts::AttemptKind},
    session::shared::policy::Policy,
    settings::{ApiSettings, ErrorMode},
    telemetry::{
        spans::{begin_request, context_of},
        trace::Span,
    },
};

/// A call with a valid key.
pub(super) struct ApiCall {
    /// The node that carries it out.
    pub(super) node: Arc<Node>,
    /// The whole body.
    pub(super) body: Bytes,
    /// The mode in which it gets its errors.
    pub(super) error_mode: ErrorMode,
    pub(super) settings: Data<ApiSettings>,
    /// Its span, if it is sampled.
    pub(super) span: Option<Span>,
    /// The context for what it publishes, if it is sampled.
    pub(super) trace: Option<Arc<TraceContext>>,
    /// The caller's context, where there are namespaces with `trace_sampled`.
    pub(super) caller_trace: CallerTrace,
}

/// The trace of a caller, for channels whose publications are traced with it (`trace_sampled`).
#[derive(Debug, Clone, Copy)]
pub(super) enum CallerTrace {
    /// There are no such channels: nobody has looked for it.
    Unread,
    /// Not sampled, or there is none.
    Unsampled,
    /// The id of a sampled one.
    Sampled([u8; 16]),
}

impl CallerTrace {
    fn of(headers: &HeaderMap) -> Self {
        let context = context_of(headers).filter(TraceContext::is_sampled);
        context.map_or(Self::Unsampled, |context| Self::Sampled(context.trace_id))
    }
}

impl ApiCall {
    /// Takes the span of a call that is one of many publications, or of few.
    pub(super) fn take_span(&mut self, is_batch: bool) -> Option<Span> {
        let mut span = self.span.take()?;
        if is_batch {
            span.mark_batch();
            self.trace = span.context();
        }
        Some(span)
    }
}

/// Checks what is known before the body is read.
fn start(request: &HttpRequest) -> Result<(Arc<Node>, Data<ApiSettings>, ErrorMode, CallerTrace), ApiError> {
    let node = request.app_data::<Data<Node>>().ok_or(ErrorCode::INTERNAL)?;
    let settings = request.app_data::<Data<ApiSettings>>().ok_or(ErrorCode::INTERNAL)?;
    let policy = check_key(node, request)?;
    let error_mode = error_mode_of(settings.error_mode, request.headers())?;
    let caller_trace =
        if policy.rules.traces_sampled() { CallerTrace::of(request.headers()) } else { CallerTrace::Unread };
    Ok((Arc::clone(node), settings.clone(), error_mode, caller_trace))
}

fn unreadable(error: BodyError, limit_bytes: usize) -> ApiError {
    match error {
        BodyError::TooLarge => {
            let message = format!("the body is larger than {limit_bytes} bytes (api.body_max_bytes)");
            ApiError::new(error.code(), message)
        }
        _ => error.into(),
    }
}

impl FromRequest for ApiCall {
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let started = start(request).map(|(node, settings, error_mode, caller_trace)| {
            // Only a caller with a key begins a trace; its first span covers the body.
            let span = node.tracer.as_ref().and_then(|tracer| begin_request(tracer, request.headers()));
            let body = body::read(request.headers(), payload.take(), settings.body_max_bytes);
            (body, node, settings, error_mode, span, caller_trace)
        });
        async move {
            let (body, node, settings, error_mode, span, caller_trace) = started?;
            let body = body.await.map_err(|error| unreadable(error, settings.body_max_bytes))?;
            let trace = span.as_ref().and_then(Span::context);
            Ok(Self { node, body, error_mode, settings, span, trace, caller_trace })
        }
        .boxed_local()
    }
}

/// The headers by which one call chooses, ours and that of Centrifugo.
const ERROR_MODE_HEADERS: [HeaderName; 2] =
    [HeaderName::from_static("x-gorani-error-mode"), HeaderName::from_static("x-centrifugo-error-mode")];

/// The mode of one call. `transport` is Centrifugo's word for `status`.
///
/// # Errors
/// The header says something else.
fn error_mode_of(default: ErrorMode, headers: &HeaderMap) -> Result<ErrorMode, ApiError> {
    let Some(value) = ERROR_MODE_HEADERS.iter().find_map(|name| headers.get(name)) else {
        return Ok(default);
    };
    match value.as_bytes() {
        b"body" => Ok(ErrorMode::Body),
        b"status" | b"transport" => Ok(ErrorMode::Status),
        _ => Err(ApiError::bad_request("the error mode is body, status or transport")),
    }
}

/// The header of most backend libraries.
const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Lets a request pass that presents one of the keys, with the policy that has them. Wrong ones are counted by the client's
/// network; a right one passes however many wrong ones came from there.
pub(super) fn check_key(node: &Node, request: &HttpRequest) -> Result<Arc<Policy>, ApiError> {
    let value = |name: &HeaderName| request.headers().get(name).map(|value| value.as_bytes());
    let refused = |message: &'static str| Err(ApiError::new(ErrorCode::UNAUTHORIZED, message));
    let policy = node.policy.get();
    if policy.api_keys.keys.is_empty() {
        return refused("the API is closed: no key is set in api.keys");
    }
    let Some(key) = from_headers(value(&X_API_KEY), value(&AUTHORIZATION)) else {
        return refused("no API key: send `X-API-Key: <key>` or `Authorization: apikey <key>`");
    };
    let client = || node.admission.client_address(request.peer_addr(), request.headers());
    match policy.api_keys.keys.find(key) {
        Some(key) => {
            policy.api_keys.uses.note(key, unix_ms(), || client().map(|client| client.ip()));
            Ok(policy)
        }
        None => {
            let client = client();
            if node.admission.failed_attempt(AttemptKind::ApiKey, node.admission.network_of(client)) {
                return refused("wrong API key");
            }
            Err(ApiError::new(ErrorCode::TOO_MANY_REQUESTS, "too many wrong API keys from this address"))
        }
    }
}

/// The surroundings of one call, of one method or of a batch.
pub(super) struct CallContext<'a> {
    /// The node that carries it out.
    pub(super) node: &'a Arc<Node>,
    /// The whole body, in which the requests stand.
    pub(super) body: &'a Bytes,
    /// The allowance of all its reads together.
    pub(super) reads: ReadAllowance,
    /// A node did not tell its subscribers: the call asks no more, since each question may take as long as one waits for a node.
    is_uncounted: Cell<bool>,
    /// The context for what it publishes, if it is sampled.
    pub(super) trace: Option<&'a Arc<TraceContext>>,
    /// The caller's context, where there are namespaces with `trace_sampled`.
    pub(super) caller_trace: CallerTrace,
}

impl<'a> CallContext<'a> {
    pub(super) fn new(call: &'a ApiCall) -> Self {
        let ApiCall { node, body, settings, trace, caller_trace, .. } = call;
        let reads = ReadAllowance::new(settings);
        let (is_uncounted, trace) = (Cell::new(false), trace.as_ref());
        Self { node, body, reads, is_uncounted, trace, caller_trace: *caller_trace }
    }

    /// Subscribers of a channel in the whole cluster; `None` where a node does not say. One question of the call at a time.
    pub(super) async fn subscribers(&self, channel: &str) -> Option<usize> {
        let _turn = self.reads.turn.acquire().await.ok()?;
        if self.is_uncounted.get() {
            return None;
        }
        let counted = self.node.cluster.subscribers(channel).await;
        counted
            .inspect_err(|error| {
                tracing::warn!(%channel, %error, "counting subscribers failed");
                self.is_uncounted.set(true);
            })
            .ok()
    }
}

/// The allowance of one call.
pub(super) struct ReadAllowance {
    turn: Semaphore,
    left_bytes: Cell<u64>,
    max_bytes: usize,
}

/// One read of the call; the next one begins when it is dropped.
pub(super) struct AllowedRead<'a> {
    allowance: &'a ReadAllowance,
    _permit: SemaphorePermit<'a>,
}

impl ReadAllowance {
    pub(super) fn new(settings: &ApiSettings) -> Self {
        let max_bytes = settings.reply_max_bytes;
        Self { turn: Semaphore::new(1), left_bytes: Cell::new(max_bytes as u64), max_bytes }
    }

    /// Waits for the reads of the call before this one.
    ///
    /// # Errors
    /// 106 where they have brought all that the call may bring.
    pub(super) async fn begin(&self) -> Result<AllowedRead<'_>, ApiError> {
        let permit = self.turn.acquire().await.map_err(|_| ErrorCode::INTERNAL)?;
        if self.left_bytes.get() == 0 {
            let message = format!(
                "limit exceeded: the answer has {} bytes already (api.reply_max_bytes): ask again for the rest",
                self.max_bytes
            );
            return Err(ApiError::new(ErrorCode::LIMIT_EXCEEDED, message));
        }
        Ok(AllowedRead { allowance: self, _permit: permit })
    }
}

impl AllowedRead<'_> {
    /// Bytes that the read may bring.
    pub(super) fn left_bytes(&self) -> u64 {
        self.allowance.left_bytes.get()
    }

    /// It brought so many.
    pub(super) fn spend(&self, bytes: u64) {
        self.allowance.left_bytes.set(self.left_bytes().saturating_sub(bytes));
    }
}
