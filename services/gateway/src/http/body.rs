//! The body of a request, bounded in bytes, time and memory. Every path that takes a body reads it with [`read`]; the server puts
//! a [`TimedBody`] around every body (`server/request.rs`).
//!
//! A body has `http.request_timeout`, and a second more for each [`MIN_BYTES_PER_SECOND`] that came: a large body on a
//! slow line arrives, one that stops or trickles ends with an error of kind `TimedOut`, which is answered with 408.
//!
//! A large body draws on the node's memory budget while it is read: where that is used up, a body that becomes large is
//! refused, and one that is among the largest holders of the node is broken off. Either ends with an error of kind
//! `OutOfMemory`, which is answered with 503. Decision record 25.

use std::{
    cell::{Cell, RefCell},
    future::Future,
    io,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use actix_http::{
    Payload,
    error::PayloadError,
    header::{CONTENT_LENGTH, HeaderMap},
};
use actix_web::http::StatusCode;
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::{
    disconnect::ErrorCode,
    memory::{
        MemoryBudget,
        holders::{self, BODY_BYTES, HeldBytes, MemoryHolder},
    },
};

/// Progress that a body must make beyond `http.request_timeout`, in bytes a second: less than the slowest mobile lines do.
const MIN_BYTES_PER_SECOND: u64 = 4 * 1024;

/// Why there is no whole body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// It is cut off, or its encoding is broken.
    #[error("the body cannot be read")]
    Unreadable,
    /// It is larger than it may be.
    #[error("the body is too large")]
    TooLarge,
    /// It stopped, or trickled.
    #[error("the body takes too long")]
    TimedOut,
    /// The node's memory budget is used up. A moment later it may not be.
    #[error("there is no memory for the body now, try again")]
    NoMemory,
}

impl BodyError {
    /// The code of the client protocol and of the API.
    pub fn code(self) -> ErrorCode {
        match self {
            Self::TooLarge => ErrorCode::LIMIT_EXCEEDED,
            Self::NoMemory => ErrorCode::TOO_MANY_REQUESTS,
            Self::Unreadable | Self::TimedOut => ErrorCode::BAD_REQUEST,
        }
    }

    /// The HTTP status: 400, 413, 408, or 503.
    pub fn status(self) -> StatusCode {
        match self {
            Self::Unreadable => StatusCode::BAD_REQUEST,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TimedOut => StatusCode::REQUEST_TIMEOUT,
            Self::NoMemory => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

impl From<PayloadError> for BodyError {
    fn from(error: PayloadError) -> Self {
        match error {
            PayloadError::Io(error) if error.kind() == io::ErrorKind::TimedOut => Self::TimedOut,
            PayloadError::Io(error) if error.kind() == io::ErrorKind::OutOfMemory => Self::NoMemory,
            PayloadError::Overflow => Self::TooLarge,
            _ => Self::Unreadable,
        }
    }
}

/// Reads a body of at most `max_bytes`. One whose `Content-Length` is larger is not read at all.
///
/// # Errors
/// It is larger, or takes too long, or ends too early, or there is no memory for it.
pub fn read<S>(
    headers: &HeaderMap,
    mut payload: S,
    max_bytes: usize,
) -> impl Future<Output = Result<Bytes, BodyError>> + use<S>
where
    S: Stream<Item = Result<Bytes, PayloadError>> + Unpin,
{
    let announced = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    async move {
        if announced.is_some_and(|announced: u64| announced > max_bytes as u64) {
            return Err(BodyError::TooLarge);
        }
        let mut whole = BytesMut::new();
        // A body that came in one piece is not copied.
        let mut first = Bytes::new();
        while let Some(chunk) = payload.next().await {
            let chunk = chunk?;
            if first.len() + whole.len() + chunk.len() > max_bytes {
                return Err(BodyError::TooLarge);
            }
            if first.is_empty() && whole.is_empty() {
                first = chunk;
                continue;
            }
            if whole.is_empty() {
                whole.extend_from_slice(&std::mem::take(&mut first));
            }
            whole.extend_from_slice(&chunk);
        }
        Ok(if whole.is_empty() { first } else { whole.freeze() })
    }
}

/// The state of reading the body of a request.
#[derive(Clone, Default)]
pub(crate) struct BodyState(Rc<SharedBodyState>);

#[derive(Default)]
struct SharedBodyState {
    has_rest: Cell<bool>,
    timed_out: Cell<bool>,
    lacked_memory: Cell<bool>,
    rest: RefCell<Option<Payload>>,
}

impl BodyState {
    /// Some of the body has not been read.
    pub(crate) fn is_unread(&self) -> bool {
        self.0.has_rest.get()
    }

    /// The body did not come in time.
    pub(crate) fn timed_out(&self) -> bool {
        self.0.timed_out.get()
    }

    /// There was no memory for the body.
    pub(crate) fn lacked_memory(&self) -> bool {
        self.0.lacked_memory.get()
    }

    /// The part that nobody has read. While it lives, actix-http knows that the connection cannot be used again.
    pub(crate) fn take_unread(&self) -> Option<Payload> {
        self.0.rest.take()
    }
}

/// The memory of a large body while it is read.
#[derive(Default)]
struct LargeBody {
    bytes: Cell<usize>,
    is_ended: Cell<bool>,
    reader: RefCell<Option<Waker>>,
}

impl MemoryHolder for LargeBody {
    fn held(&self) -> HeldBytes {
        HeldBytes { bodies: self.bytes.get(), ..HeldBytes::default() }
    }

    /// It is large for as long as it is read.
    fn unlist(&self) {}

    fn is_ended(&self) -> bool {
        self.is_ended.get()
    }

    fn end(&self) {
        self.is_ended.set(true);
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

/// A body that comes in time and draws on the memory budget, or ends with an error.
pub(crate) struct TimedBody {
    /// Taken when it is dropped.
    payload: Option<Payload>,
    state: BodyState,
    began: Instant,
    timeout: Duration,
    received_bytes: u64,
    memory: Arc<MemoryBudget>,
    large: Option<Rc<LargeBody>>,
    /// Made when the body is first waited for.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl TimedBody {
    pub(crate) fn new(
        payload: Payload,
        state: BodyState,
        timeout: Duration,
        memory: Arc<MemoryBudget>,
    ) -> Self {
        state.0.has_rest.set(true);
        let began = Instant::now();
        let payload = Some(payload);
        Self { payload, state, began, timeout, received_bytes: 0, memory, large: None, deadline: None }
    }

    /// Counts a body that has become large. False if there is no memory for it.
    fn hold(&mut self) -> bool {
        let bytes = usize::try_from(self.received_bytes).unwrap_or(usize::MAX);
        match &self.large {
            Some(large) => large.bytes.set(bytes),
            None if bytes < BODY_BYTES => {}
            None if self.memory.is_exhausted() => return false,
            None => {
                let large = Rc::new(LargeBody { bytes: Cell::new(bytes), ..LargeBody::default() });
                holders::list(&large);
                self.large = Some(large);
            }
        }
        true
    }

    fn lacks_memory(&self) -> PayloadError {
        self.memory.count_refused_body();
        self.state.0.lacked_memory.set(true);
        PayloadError::Io(io::Error::new(io::ErrorKind::OutOfMemory, "there is no memory for the body now"))
    }

    fn ends_at(&self) -> Instant {
        self.began + self.timeout + Duration::from_secs(self.received_bytes / MIN_BYTES_PER_SECOND)
    }
}

impl Stream for TimedBody {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.large.as_ref().is_some_and(|large| large.is_ended()) {
            return Poll::Ready(Some(Err(this.lacks_memory())));
        }
        let Some(payload) = &mut this.payload else { return Poll::Ready(None) };
        match Pin::new(payload).poll_next(context) {
            Poll::Ready(Some(Ok(chunk))) => {
                this.received_bytes += chunk.len() as u64;
                if !this.hold() {
                    return Poll::Ready(Some(Err(this.lacks_memory())));
                }
                return Poll::Ready(Some(Ok(chunk)));
            }
            Poll::Ready(None) => {
                this.state.0.has_rest.set(false);
                return Poll::Ready(None);
            }
            Poll::Ready(error) => return Poll::Ready(error),
            Poll::Pending => {}
        }
        if let Some(large) = &this.large {
            large.reader.replace(Some(context.waker().clone()));
        }
        let ends_at = this.ends_at();
        let deadline = this.deadline.get_or_insert_with(|| Box::pin(sleep_until(ends_at)));
        if deadline.deadline() != ends_at {
            deadline.as_mut().reset(ends_at);
        }
        if deadline.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        this.state.0.timed_out.set(true);
        let error = io::Error::new(io::ErrorKind::TimedOut, "the body takes too long");
        Poll::Ready(Some(Err(PayloadError::Io(error))))
    }
}

impl Drop for TimedBody {
    fn drop(&mut self) {
        if self.state.is_unread() {
            self.state.0.rest.replace(self.payload.take());
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, stream};

    use super::*;

    fn read_chunks(
        length: Option<u64>,
        chunks: &[&'static str],
        max_bytes: usize,
    ) -> Result<Bytes, BodyError> {
        let mut headers = HeaderMap::new();
        if let Some(length) = length {
            headers.insert(CONTENT_LENGTH, length.into());
        }
        let chunks: Vec<_> = chunks.iter().map(|chunk| Ok(Bytes::from_static(chunk.as_bytes()))).collect();
        read(&headers, stream::iter(chunks), max_bytes).now_or_never().unwrap_or(Err(BodyError::TimedOut))
    }

    #[test]
    fn a_body_is_whole_however_it_comes() {
        for chunks in [&["goraniya"][..], &["gor", "aniya"], &["", "gor", "", "ani", "ya"]] {
            assert_eq!(read_chunks(None, chunks, 8), Ok(Bytes::from_static(b"goraniya")), "{chunks:?}");
        }
        assert_eq!(read_chunks(Some(0), &[], 0), Ok(Bytes::new()));
    }

    #[test]
    fn a_body_is_too_large_as_soon_as_that_is_known() {
        assert_eq!(read_chunks(None, &["gor", "aniya"], 7), Err(BodyError::TooLarge));
        assert_eq!(read_chunks(None, &["goraniya"], 7), Err(BodyError::TooLarge));
        let headers = [(CONTENT_LENGTH, 8_u64.into())].into_iter().collect();
        let unsent = stream::pending::<Result<Bytes, PayloadError>>();
        assert_eq!(read(&headers, unsent, 7).now_or_never(), Some(Err(BodyError::TooLarge)));
    }

    #[test]
    fn a_broken_body_says_why() {
        for (error, expected) in [
            (PayloadError::Io(io::ErrorKind::TimedOut.into()), BodyError::TimedOut),
            (PayloadError::Io(io::ErrorKind::OutOfMemory.into()), BodyError::NoMemory),
            (PayloadError::Overflow, BodyError::TooLarge),
            (PayloadError::EncodingCorrupted, BodyError::Unreadable),
        ] {
            let chunks = stream::iter([Ok(Bytes::from_static(b"gor")), Err(error)]);
            let outcome = read(&HeaderMap::new(), chunks, 8).now_or_never();
            assert_eq!(outcome, Some(Err(expected)));
        }
    }
}
