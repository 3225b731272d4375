//! ConnectionPhase: how far a connection has come, the same for every transport. Each change is a method here, with a trace
//! line: a connection that does not end as expected is followed through the log.

use tokio::time::Instant;

use crate::disconnect::Disconnect;

/// Reason of a connection that is dropped while it is open, as when its thread ends.
static DROPPED: Disconnect = Disconnect::ABNORMAL;

/// The phase of a connection. It only moves forward, and keeps the first reason it is given.
#[derive(Debug)]
pub(crate) enum ConnectionPhase {
    /// Messages flow.
    Open,
    /// The session has ended. Until the deadline, waiting bytes are still written and the client gets its close message.
    Closing {
        /// Why the session ended.
        reason: Disconnect,
        /// The connection is cut then.
        by: Instant,
        /// True once the peer's close message is here: then only what waits is written.
        peer_closed: bool,
    },
    /// Nothing more is read or written.
    Over(Disconnect),
}

impl ConnectionPhase {
    /// True if the session may still act.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self, Self::Open)
    }

    /// True if nothing more is read or written.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self, Self::Over(_))
    }

    /// The reason of the end.
    pub(crate) fn reason(&self) -> &Disconnect {
        match self {
            Self::Open => &DROPPED,
            Self::Closing { reason, .. } | Self::Over(reason) => reason,
        }
    }

    /// The time at which a closing connection is cut.
    pub(crate) fn close_deadline(&self) -> Option<Instant> {
        match self {
            Self::Closing { by, .. } => Some(*by),
            Self::Open | Self::Over(_) => None,
        }
    }

    /// True if a connection that is closing has had its time.
    pub(crate) fn is_overdue(&self, now: Instant) -> bool {
        self.close_deadline().is_some_and(|by| by <= now)
    }

    /// The session has ended: the connection has until `by` to write what waits.
    pub(crate) fn begin_closing(&mut self, reason: Disconnect, by: Instant) {
        if self.is_open() {
            tracing::trace!(code = reason.code, reason = &*reason.reason, "connection closing");
            *self = Self::Closing { reason, by, peer_closed: false };
        }
    }

    /// The peer's close message is here.
    pub(crate) fn note_peer_closed(&mut self) {
        if let Self::Closing { peer_closed, .. } = self {
            tracing::trace!("close message of the peer received");
            *peer_closed = true;
        }
    }

    /// A connection that is closing has nothing more to write, or to tell.
    pub(crate) fn finish_closing(&mut self) {
        if matches!(self, Self::Closing { .. }) {
            self.finish(Disconnect::ABNORMAL);
        }
    }

    /// The connection is over. `reason` counts if it was open until now.
    pub(crate) fn finish(&mut self, reason: Disconnect) {
        *self = match std::mem::replace(self, Self::Open) {
            Self::Open => {
                tracing::trace!(code = reason.code, reason = &*reason.reason, "connection over");
                Self::Over(reason)
            }
            Self::Closing { reason, .. } => {
                tracing::trace!(code = reason.code, "connection over after closing");
                Self::Over(reason)
            }
            Self::Over(reason) => Self::Over(reason),
        };
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_first_reason_of_an_end_is_kept() {
        let (mut phase, by) = (ConnectionPhase::Open, Instant::now() + Duration::from_secs(60));
        assert_eq!(phase.reason(), &Disconnect::ABNORMAL);
        phase.note_peer_closed();
        phase.finish_closing();
        assert!(phase.is_open(), "the close message of a peer does not close by itself");
        phase.begin_closing(Disconnect::SHUTDOWN, by);
        phase.begin_closing(Disconnect::SLOW, by + Duration::from_secs(60));
        assert_eq!((phase.reason(), phase.close_deadline()), (&Disconnect::SHUTDOWN, Some(by)));
        assert!(!phase.is_overdue(Instant::now()) && phase.is_overdue(by));
        phase.finish_closing();
        phase.begin_closing(Disconnect::SLOW, by);
        phase.finish(Disconnect::NORMAL);
        assert_eq!((phase.reason(), phase.close_deadline()), (&Disconnect::SHUTDOWN, None));
        assert!(phase.is_over() && !phase.is_open());
    }
}
