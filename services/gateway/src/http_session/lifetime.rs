//! Lifetime: how long a session over HTTP lasts.

use std::time::Duration;

/// The lifetime of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// As long as the response of the request that opened it.
    Response,
    /// It waits for its next response. One that is broken off ends it, since what it carried may be lost.
    Requests {
        /// Longest wait for a response; for as long, an ended session gives its end to every response that comes.
        attach_timeout: Duration,
        /// Longest silence of a response before a heartbeat is written.
        heartbeat: Duration,
        /// Sessions of the node that may wait at a time; one more ends.
        max_waiting: usize,
    },
}

impl Lifetime {
    /// Longest silence of a response, if it is bounded.
    pub(super) fn heartbeat(self) -> Option<Duration> {
        match self {
            Self::Requests { heartbeat, .. } => Some(heartbeat),
            Self::Response => None,
        }
    }
}
