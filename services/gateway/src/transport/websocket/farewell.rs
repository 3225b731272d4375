//! The ways a WebSocket connection ends, and the bounded time that each has. `specs/websocket.md`, items 8 and 16.

use actix::prelude::*;
use bytes::Bytes;
use gorani_protocol::websocket::Decoder;
use tokio::time::Instant;

use super::{Connection, Io, close_frame};
use crate::{
    disconnect::Disconnect, memory::holders::INPUT_BYTES, session::Now, transport::carrier::Carrier,
};

/// A connection that is dropped without a farewell, as when its thread ends.
static GONE: Disconnect = Disconnect::ABNORMAL;

/// How far a connection has come.
pub(super) enum Phase {
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

impl Phase {
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

impl<T: Io> Connection<T> {
    /// Ends the session: its subscriptions end now, the close frame is sent, and the peer has a bounded time for its own. With
    /// [`Disconnect::ABNORMAL`] nothing is sent.
    pub(super) fn close(&mut self, reason: Disconnect) {
        if reason.code == GONE.code {
            // A code that is never on the wire: the connection is cut.
            self.carried.session.ending();
            self.carried.errands.worker.leave_all(self.carried.errands.key);
            self.break_off(reason);
            return self.carried.outbox.wake();
        }
        let frame = close_frame(self.carried.framing, &reason);
        self.begin_farewell(reason, frame, false);
    }

    /// The peer closes: its code is echoed.
    pub(super) fn close_by_peer(&mut self, reason: Disconnect, echo: Bytes) {
        self.begin_farewell(reason, echo, true);
    }

    fn begin_farewell(&mut self, reason: Disconnect, frame: Bytes, by_peer: bool) {
        match &mut self.phase {
            Phase::Open => {}
            Phase::Closing { peer_closed, .. } => {
                *peer_closed |= by_peer;
                return;
            }
            Phase::Over(_) => return,
        }
        self.carried.session.ending();
        self.carried.errands.worker.leave_all(self.carried.errands.key);
        self.pong = None;
        if self.carried.outbox.overflow().is_some() || self.carried.outbox.push(frame.clone()).is_err() {
            self.carried.outbox.replace_with(frame);
        }
        let by = Instant::now() + self.carried.errands.node.settings.websocket.close_timeout;
        self.phase = Phase::Closing { reason, by, peer_closed: by_peer };
        self.reschedule();
        self.carried.outbox.wake();
    }

    /// A slow connection gives a large unfinished message back now, not after its farewell. What follows cannot be read
    /// without it: it is thrown away.
    pub(super) fn forget_unfinished(&mut self) {
        if !self.unreadable && self.decoder.held_bytes() >= INPUT_BYTES {
            self.decoder = Decoder::new(0, false, false);
            self.unreadable = true;
            self.reschedule();
        }
    }

    /// The connection is gone: nothing can be sent any more.
    pub(super) fn break_off(&mut self, reason: Disconnect) {
        self.phase = match std::mem::replace(&mut self.phase, Phase::Open) {
            Phase::Open => Phase::Over(reason),
            Phase::Closing { reason, .. } | Phase::Over(reason) => Phase::Over(reason),
        };
    }

    /// Ends the patience when its time has come.
    pub(super) fn check_farewell(&mut self, now: Now, ctx: &mut Context<Self>) {
        if self.phase.deadline().is_some_and(|by| by <= now.instant) {
            self.break_off(Disconnect::ABNORMAL);
            ctx.stop();
        }
    }
}
