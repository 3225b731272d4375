//! A request's body with a limit of time, the same on every path that reads one.
//!
//! A body has `http.request_timeout`, and a second more for each [`MIN_BYTES_PER_SECOND`] that came: a large body on a
//! slow line arrives, one that stops or trickles ends with an error of kind `TimedOut`, which is answered with 408.

use std::{
    cell::{Cell, RefCell},
    future::Future,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use actix_http::{Payload, error::PayloadError};
use bytes::Bytes;
use futures_util::Stream;
use tokio::time::{Instant, Sleep, sleep_until};

/// Progress that a body must make beyond `http.request_timeout`, in bytes a second: less than the slowest mobile lines do.
const MIN_BYTES_PER_SECOND: u64 = 4 * 1024;

/// How far the body of a request has been read.
#[derive(Clone, Default)]
pub(super) struct BodyState(Rc<Shared>);

#[derive(Default)]
struct Shared {
    has_rest: Cell<bool>,
    timed_out: Cell<bool>,
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

    /// The part that nobody has read. While it lives, actix-http knows that the connection cannot be used again.
    pub(super) fn take_unread(&self) -> Option<Payload> {
        self.0.rest.take()
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
    /// Made when the body is first waited for.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl TimedBody {
    pub(super) fn new(payload: Payload, state: BodyState, timeout: Duration) -> Self {
        state.0.has_rest.set(true);
        let began = Instant::now();
        Self { payload: Some(payload), state, began, timeout, received_bytes: 0, deadline: None }
    }

    fn ends_at(&self) -> Instant {
        self.began + self.timeout + Duration::from_secs(self.received_bytes / MIN_BYTES_PER_SECOND)
    }
}

impl Stream for TimedBody {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let Some(payload) = &mut this.payload else { return Poll::Ready(None) };
        match Pin::new(payload).poll_next(context) {
            Poll::Ready(Some(Ok(chunk))) => {
                this.received_bytes += chunk.len() as u64;
                return Poll::Ready(Some(Ok(chunk)));
            }
            Poll::Ready(None) => {
                this.state.0.has_rest.set(false);
                return Poll::Ready(None);
            }
            Poll::Ready(error) => return Poll::Ready(error),
            Poll::Pending => {}
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
