//! A wait for a part of a request that the client owes, with a limit of time.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Sleep, sleep};

use crate::settings::HttpSettings;

/// Bytes a second in which a client must take its last bytes, beyond `http.request_timeout`.
const MIN_BYTES_PER_SECOND: usize = 4 * 1024;

/// Limits of time of a connection.
pub(in crate::server) struct Times {
    /// For a head: `http.request_timeout`.
    pub(super) head: Duration,
    /// Between two requests: `http.keep_alive`.
    pub(super) idle: Duration,
    /// To read the last answer: `http.shutdown_timeout`.
    pub(super) linger: Duration,
}

impl Times {
    /// For a client to take so many last bytes.
    pub(in crate::server) fn to_take(&self, bytes: usize) -> Duration {
        self.head + Duration::from_secs(u64::try_from(bytes / MIN_BYTES_PER_SECOND).unwrap_or(u64::MAX))
    }

    pub(in crate::server) fn new(settings: &HttpSettings) -> Self {
        Self { head: settings.request_timeout, idle: settings.keep_alive, linger: settings.shutdown_timeout }
    }
}

/// A part of a request that the client owes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Awaited {
    /// The rest of a head, or all of the first one.
    Head,
    /// The next request, after empty lines.
    Request,
}

/// The wait. However many bytes come meanwhile, its end stays.
pub(super) struct ReadDeadline {
    awaited: Awaited,
    /// Heads before it.
    heads: u64,
    sleep: Pin<Box<Sleep>>,
}

impl ReadDeadline {
    pub(super) fn new(awaited: Awaited, heads: u64, times: &Times) -> Self {
        let time = match awaited {
            Awaited::Head => times.head,
            Awaited::Request => times.idle,
        };
        Self { awaited, heads, sleep: Box::pin(sleep(time)) }
    }

    /// Whether it is this one: for the same part of the same request.
    pub(super) fn is_for(&self, awaited: Awaited, heads: u64) -> bool {
        self.awaited == awaited && self.heads == heads
    }

    pub(super) fn poll(&mut self, task: &mut Context<'_>) -> Poll<()> {
        self.sleep.as_mut().poll(task)
    }
}
