//! The progress of one request: its socket and its body note it while they are polled. The client library tells neither whether a
//! connection was used before nor whether a byte of the answer was there, and both decide about a repetition.

use std::{
    cell::Cell,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use actix_http::body::{BodySize, MessageBody};
use bytes::Bytes;

tokio::task_local! {
    /// The request whose future is polled.
    static CURRENT: Rc<RequestTrace>;
}

/// The notes of one request.
#[derive(Debug, Default)]
pub(super) struct RequestTrace {
    /// Its number among those of the client.
    number: u64,
    /// It has a connection, and its head is on the way.
    sent: Cell<bool>,
    /// Its connection carried another request before.
    reused: Cell<bool>,
    /// Bytes that came on its connection since it was sent.
    received: Cell<usize>,
}

impl RequestTrace {
    pub(super) fn new(number: u64) -> Rc<Self> {
        Rc::new(Self { number, ..Self::default() })
    }

    /// Runs a request, whose socket and body note in this.
    pub(super) async fn run<F: Future>(self: &Rc<Self>, request: F) -> F::Output {
        CURRENT.scope(self.clone(), request).await
    }

    pub(super) fn is_sent(&self) -> bool {
        self.sent.get()
    }

    pub(super) fn is_reused(&self) -> bool {
        self.reused.get()
    }

    pub(super) fn has_received(&self) -> bool {
        self.received.get() > 0
    }
}

/// The request of a socket, by number.
#[derive(Debug)]
pub(super) struct SocketUser(u64);

impl SocketUser {
    /// A new socket, made for the request that is polled.
    pub(super) fn new() -> Self {
        Self(CURRENT.try_with(|trace| trace.number).unwrap_or_default())
    }

    /// Bytes are about to be sent.
    pub(super) fn sends(&mut self) {
        // HTTP/2 writes outside of a request: its errors say themselves what was processed.
        let _outside = CURRENT.try_with(|trace| {
            if self.0 != trace.number {
                self.0 = trace.number;
                trace.reused.set(true);
                trace.received.set(0);
            }
        });
    }

    /// Bytes came.
    pub(super) fn received(&self, count: usize) {
        let _outside = CURRENT.try_with(|trace| trace.received.set(trace.received.get() + count));
    }
}

/// A request's body. The library asks for it only when it has a connection and wrote the head.
pub(super) struct TracedBody(pub(super) Bytes);

impl MessageBody for TracedBody {
    type Error = std::convert::Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.0.len() as u64)
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let _outside = CURRENT.try_with(|trace| trace.sent.set(true));
        let bytes = std::mem::take(&mut self.0);
        Poll::Ready((!bytes.is_empty()).then_some(Ok(bytes)))
    }
}
