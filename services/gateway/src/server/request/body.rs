//! A request's body with a limit of time, the same on every path that reads one.
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

use actix_http::{Payload, error::PayloadError};
use bytes::Bytes;
use futures_util::Stream;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::memory::{
    MemoryBudget,
    holders::{self, BODY_BYTES, HeldBytes, MemoryHolder},
};

/// Progress that a body must make beyond `http.request_timeout`, in bytes a second: less than the slowest mobile lines do.
const MIN_BYTES_PER_SECOND: u64 = 4 * 1024;

/// The state of reading the body of a request.
#[derive(Clone, Default)]
pub(super) struct BodyState(Rc<SharedBodyState>);

#[derive(Default)]
struct SharedBodyState {
    has_rest: Cell<bool>,
    timed_out: Cell<bool>,
    lacked_memory: Cell<bool>,
    rest: RefCell<Option<Payload>>,
}

impl BodyState {
    /// Some of the body has not been read.
    pub(super) fn is_unread(&self) -> bool {
        self.0.has_rest.get()
    }

    /// The body did not come in time.
    pub(super) fn timed_out(&self) -> bool {
        self.0.timed_out.get()
    }

    /// There was no memory for the body.
    pub(super) fn lacked_memory(&self) -> bool {
        self.0.lacked_memory.get()
    }

    /// The part that nobody has read. While it lives, actix-http knows that the connection cannot be used again.
    pub(super) fn take_unread(&self) -> Option<Payload> {
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

/// The body.
pub(super) struct TimedBody {
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
    pub(super) fn new(
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
