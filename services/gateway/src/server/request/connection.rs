//! What is known of a connection of HTTP/1 between the middleware, which sees requests and answers, and the stream, which
//! times requests and closes: requests without an answer, and the connection's end, told once and kept.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use actix_http::Payload;

/// A connection of HTTP/1.
#[derive(Default)]
pub(in crate::server) struct HttpConnection {
    closing: Cell<bool>,
    refusing: Cell<bool>,
    over: Cell<bool>,
    unread: RefCell<Option<Payload>>,
    unanswered: Cell<u64>,
}

impl HttpConnection {
    /// The heads of so many requests more have come.
    pub(in crate::server) fn count_requests(&self, count: u64) {
        self.unanswered.set(self.unanswered.get() + count);
    }

    /// Requests wait for their answers, or their answers are under way.
    pub(in crate::server) fn is_answering(&self) -> bool {
        self.unanswered.get() > 0
    }

    /// A request of it is answered when the guard is dropped.
    pub(in crate::server) fn answer(self: Rc<Self>) -> RequestInProgress {
        RequestInProgress(self)
    }

    /// No further request is processed. `unread`: what is left of the last one's body.
    pub(super) fn close_after(&self, unread: Option<Payload>) {
        self.closing.set(true);
        self.unread.replace(unread);
    }

    /// An answer has said `connection: close`.
    pub(in crate::server) fn is_closing(&self) -> bool {
        self.closing.get()
    }

    /// All answers are written, and another request came: the stream sends its end.
    pub(in crate::server) fn is_refusing(&self) -> bool {
        self.refusing.get()
    }

    /// The client had its time to read the last answer: the stream is cut.
    pub(in crate::server) fn is_over(&self) -> bool {
        self.over.get()
    }

    /// Holds a request that came too late until its client goes away, or `linger` is over. It has no answer, and an end
    /// at once would reset the connection, and take the answer before it along.
    pub(super) async fn refuse(&self, linger: Duration) {
        self.refusing.set(true);
        tokio::time::sleep(linger).await;
        self.over.set(true);
        // The stream is polled by the same task: this is its turn to see it.
        tokio::task::yield_now().await;
        std::future::pending().await
    }
}

/// A request that is being answered.
pub(in crate::server) struct RequestInProgress(Rc<HttpConnection>);

impl Drop for RequestInProgress {
    fn drop(&mut self) {
        self.0.unanswered.set(self.0.unanswered.get().saturating_sub(1));
    }
}
