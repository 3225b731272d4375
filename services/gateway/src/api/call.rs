//! One call as it comes in: the key is checked, then the body is read up to `api.body_max_bytes`. `docs/protocols/http.md` §4.4.
//!
//! An extractor of its own, since the stock one copies every body and answers errors that are not JSON.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use actix_web::{
    FromRequest, HttpRequest,
    dev::Payload,
    error::PayloadError,
    http::header::CONTENT_LENGTH,
    web::{Bytes, BytesMut, Data},
};
use futures_util::Stream;

use crate::{
    api::{error::ApiError, error_mode, guard},
    disconnect::ErrorCode,
    node::Node,
    settings::ErrorMode,
};

/// A call with a valid key.
pub(super) struct ApiCall {
    /// The node that carries it out.
    pub(super) node: Arc<Node>,
    /// The whole body.
    pub(super) body: Bytes,
    /// The place where its errors are told.
    pub(super) error_mode: ErrorMode,
}

/// A call being read.
pub(super) struct CallReading {
    start: Result<(Arc<Node>, ErrorMode, Payload), Option<ApiError>>,
    limit_bytes: usize,
    /// A body that came in one piece is not copied.
    first: Bytes,
    rest: BytesMut,
}

fn unreadable(error: PayloadError) -> ApiError {
    match &error {
        PayloadError::Io(cause) if cause.kind() == io::ErrorKind::TimedOut => ApiError::timed_out(),
        PayloadError::Io(cause) if cause.kind() == io::ErrorKind::OutOfMemory => ApiError::no_memory(),
        _ => ApiError::bad_request(format!("the body is cut off: {error}")),
    }
}

fn too_large(limit_bytes: usize) -> ApiError {
    let sentence = format!("the body is larger than {limit_bytes} bytes (api.body_max_bytes)");
    ApiError::new(ErrorCode::LIMIT_EXCEEDED, sentence)
}

/// Checks what is known before the body is read.
fn start(request: &HttpRequest) -> Result<(Arc<Node>, ErrorMode), ApiError> {
    let node = request.app_data::<Data<Node>>().ok_or(ErrorCode::INTERNAL)?;
    guard::check(node, request)?;
    let error_mode = error_mode::of_call(node.settings.api.error_mode, request.headers())?;
    let announced =
        request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let limit_bytes = node.settings.api.body_max_bytes;
    if announced.is_some_and(|announced: u64| announced > limit_bytes as u64) {
        return Err(too_large(limit_bytes));
    }
    Ok((Arc::clone(node), error_mode))
}

impl FromRequest for ApiCall {
    type Error = ApiError;
    type Future = CallReading;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> CallReading {
        let started = start(request);
        let limit_bytes = started.as_ref().map_or(0, |(node, _)| node.settings.api.body_max_bytes);
        let start = started.map(|(node, mode)| (node, mode, payload.take())).map_err(Some);
        CallReading { start, limit_bytes, first: Bytes::new(), rest: BytesMut::new() }
    }
}

impl Future for CallReading {
    type Output = Result<ApiCall, ApiError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let (node, error_mode, payload) = match &mut this.start {
            Ok(started) => started,
            Err(error) => return Poll::Ready(Err(error.take().unwrap_or(ErrorCode::INTERNAL.into()))),
        };
        while let Some(chunk) = ready!(Pin::new(&mut *payload).poll_next(context)) {
            let chunk = chunk.map_err(unreadable)?;
            let so_far = this.first.len() + this.rest.len();
            if so_far + chunk.len() > this.limit_bytes {
                return Poll::Ready(Err(too_large(this.limit_bytes)));
            }
            if so_far == 0 {
                this.first = chunk;
                continue;
            }
            if this.rest.is_empty() {
                this.rest.extend_from_slice(&std::mem::take(&mut this.first));
            }
            this.rest.extend_from_slice(&chunk);
        }
        let whole = if this.rest.is_empty() {
            std::mem::take(&mut this.first)
        } else {
            std::mem::take(&mut this.rest).freeze()
        };
        Poll::Ready(Ok(ApiCall { node: node.clone(), body: whole, error_mode: *error_mode }))
    }
}
