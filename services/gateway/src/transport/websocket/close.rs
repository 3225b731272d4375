//! The ways a WebSocket connection ends, and the bounded time that each has. `docs/protocols/websocket.md` §8, §16.

use actix::prelude::*;
use bytes::Bytes;
use gorani_protocol::websocket::WebSocketDecoder;
use tokio::time::Instant;

use super::{Io, WebSocketConnection, close_frame};
use crate::{
    disconnect::Disconnect, memory::holders::INPUT_BYTES, session::Now,
    transport::connection_state::ConnectionActor,
};

/// A connection that is dropped without a close message, as when its thread ends.
static GONE: Disconnect = Disconnect::ABNORMAL;

/// How far a connection has come.
pub(super) enum ConnectionPhase {
    /// Messages flow.
    Open,
    /// A close frame is on its way; what the peer still sends is only looked through for its own.
    Closing {
        reason: Disconnect,
        /// When the patience ends.
        by: Instant,
        /// The peer's close frame is here, or its frames cannot be read: nothing is waited for but the flush.
        peer_closed: bool,
    },
    /// Nothing more to do.
    Over(Disconnect),
}

impl ConnectionPhase {
    pub(super) fn is_open(&self) -> bool {
        matches!(self, Self::Open)
    }

    /// Why the connection ended.
    pub(super) fn reason(&self) -> &Disconnect {
        match self {
            Self::Open => &GONE,
            Self::Closing { reason, .. } | Self::Over(reason) => reason,
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Closing { by, .. } => Some(*by),
            Self::Open | Self::Over(_) => None,
        }
    }
}

impl<T: Io> WebSocketConnection<T> {
    /// Ends the session: its subscriptions end now, the close frame is sent, and the peer has a bounded time for its own. With
    /// [`Disconnect::ABNORMAL`] nothing is sent.
    pub(super) fn close(&mut self, reason: Disconnect) {
        if reason.code == GONE.code {
            // A code that is never on the wire: the connection is cut.
            self.state.session.ending();
            self.state.runner.worker.leave_all(self.state.runner.key);
            self.abort(reason);
            return self.state.outbox.wake();
        }
        let frame = close_frame(self.state.framing, &reason);
        self.begin_close(reason, frame, false);
    }

    /// The peer closes: its code is echoed.
    pub(super) fn close_by_peer(&mut self, reason: Disconnect, echo: Bytes) {
        self.begin_close(reason, echo, true);
    }

    fn begin_close(&mut self, reason: Disconnect, frame: Bytes, by_peer: bool) {
        match &mut self.phase {
            ConnectionPhase::Open => {}
            ConnectionPhase::Closing { peer_closed, .. } => {
                *peer_closed |= by_peer;
                return;
            }
            ConnectionPhase::Over(_) => return,
        }
        self.state.session.ending();
        self.state.runner.worker.leave_all(self.state.runner.key);
        self.pong = None;
        if self.state.outbox.overflow().is_some() || self.state.outbox.push(frame.clone()).is_err() {
            self.state.outbox.replace_with(frame);
        }
        let by = Instant::now() + self.state.runner.node.settings.websocket.close_timeout;
        self.phase = ConnectionPhase::Closing { reason, by, peer_closed: by_peer };
        self.reschedule();
        self.state.outbox.wake();
    }

    /// A slow connection gives a large unfinished message back now, not after its close message. What follows cannot be read
    /// without it: it is thrown away.
    pub(super) fn forget_unfinished(&mut self) {
        if !self.unreadable && self.decoder.held_bytes() >= INPUT_BYTES {
            self.decoder = WebSocketDecoder::new(0, false, false);
            self.unreadable = true;
            self.reschedule();
        }
    }

    /// The connection is gone: nothing can be sent any more.
    pub(super) fn abort(&mut self, reason: Disconnect) {
        self.phase = match std::mem::replace(&mut self.phase, ConnectionPhase::Open) {
            ConnectionPhase::Open => ConnectionPhase::Over(reason),
            ConnectionPhase::Closing { reason, .. } | ConnectionPhase::Over(reason) => {
                ConnectionPhase::Over(reason)
            }
        };
    }

    /// Ends the patience when its time has come.
    pub(super) fn check_close(&mut self, now: Now, ctx: &mut Context<Self>) {
        if self.phase.deadline().is_some_and(|by| by <= now.instant) {
            self.abort(Disconnect::ABNORMAL);
            ctx.stop();
        }
    }
}
