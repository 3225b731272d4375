//! The end of a connection of HTTP/1, told once and kept: between the middleware, which sees answers, and the stream,
//! which closes.

use std::{
    cell::{Cell, RefCell},
    time::Duration,
};

use actix_http::Payload;

/// A connection of HTTP/1.
#[derive(Default)]
pub(in crate::server) struct Connection {
    closing: Cell<bool>,
    refusing: Cell<bool>,
    over: Cell<bool>,
    unread: RefCell<Option<Payload>>,
}

impl Connection {
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
