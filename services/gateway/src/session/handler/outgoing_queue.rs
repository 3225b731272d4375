//! The queue between a session's handles, on any thread, and its actor: messages in order, then perhaps an end.

use std::{collections::VecDeque, task::Waker};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use parking_lot::Mutex;

use crate::{
    disconnect::Disconnect,
    session::{Actions, MessageKind},
};

/// Bytes that a message costs besides its payload, so that empty ones are not free.
const MESSAGE_COST_BYTES: usize = 32;

/// Why a message was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The session is over, or about to end.
    #[error("the session is over")]
    Closed,
    /// The client reads more slowly than it is sent to; the session is being closed with 3008.
    #[error("the client is too slow; its session ends")]
    Slow,
    /// The message alone is larger than what may wait for a client. The session goes on.
    #[error("a message of {bytes} bytes does not fit, the limit is {limit_bytes}")]
    TooBig {
        /// Bytes of the message.
        bytes: usize,
        /// Bytes that may wait, the cost of the message itself included.
        limit_bytes: usize,
    },
    /// The close code must not be sent: allowed are 1000–1003, 1007–1014 and 3000–4999.
    #[error("close code {0} must not be sent")]
    CloseCode(u16),
}

/// Messages on their way to the actor, bounded in bytes.
#[derive(Debug)]
pub(super) struct HandlerQueue {
    limit_bytes: usize,
    state: Mutex<HandlerQueueState>,
    actor: AtomicWaker,
}

#[derive(Debug)]
struct HandlerQueueState {
    messages: VecDeque<(MessageKind, Bytes)>,
    bytes: usize,
    stage: QueueStage,
    /// A callback runs: the actor looks here when it returns and need not be woken.
    attended: bool,
}

#[derive(Debug)]
enum QueueStage {
    Open,
    /// The end that follows when the earlier messages are taken.
    Ending(Disconnect),
    /// Over the limit.
    Slow,
    Over,
}

impl HandlerQueue {
    /// A queue that takes up to `limit_bytes` between two looks of the actor.
    pub(super) fn new(limit_bytes: usize) -> Self {
        let state = HandlerQueueState {
            messages: VecDeque::new(),
            bytes: 0,
            stage: QueueStage::Open,
            attended: false,
        };
        Self { limit_bytes, state: Mutex::new(state), actor: AtomicWaker::new() }
    }

    /// Puts a message in line.
    pub(super) fn push(&self, kind: MessageKind, data: Bytes) -> Result<(), SendError> {
        let cost = data.len().saturating_add(MESSAGE_COST_BYTES);
        let mut state = self.state.lock();
        match state.stage {
            QueueStage::Open => {}
            QueueStage::Slow => return Err(SendError::Slow),
            QueueStage::Ending(_) | QueueStage::Over => return Err(SendError::Closed),
        }
        if cost > self.limit_bytes {
            return Err(SendError::TooBig { bytes: data.len(), limit_bytes: self.limit_bytes });
        }
        let result = if state.bytes.saturating_add(cost) > self.limit_bytes {
            state.stage = QueueStage::Slow;
            state.forget();
            Err(SendError::Slow)
        } else {
            state.bytes += cost;
            state.messages.push_back((kind, data));
            Ok(())
        };
        // The first message in line has woken the actor, which takes all that is there when it runs.
        let wakes = !state.attended && (result.is_err() || state.messages.len() == 1);
        drop(state);
        if wakes {
            self.actor.wake();
        }
        result
    }

    /// Asks for the end, behind what was sent before. Nothing happens if it was asked for already.
    pub(super) fn end(&self, disconnect: Disconnect) {
        let mut state = self.state.lock();
        if !matches!(state.stage, QueueStage::Open) {
            return;
        }
        state.stage = QueueStage::Ending(disconnect);
        let wakes = !state.attended;
        drop(state);
        if wakes {
            self.actor.wake();
        }
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.state.lock().stage, QueueStage::Open)
    }

    /// Keeps the task to wake.
    pub(super) fn register(&self, actor: &Waker) {
        self.actor.register(actor);
    }

    /// A callback begins.
    pub(super) fn begin_callback(&self) {
        self.state.lock().attended = true;
    }

    /// Moves what waits into `actions`; true if the end of the session is among it.
    pub(super) fn drain(&self, actions: &mut Actions) -> bool {
        let mut state = self.state.lock();
        state.attended = false;
        state.bytes = 0;
        let messages = std::mem::take(&mut state.messages);
        let end = match state.stage {
            QueueStage::Open | QueueStage::Over => None,
            QueueStage::Slow => Some(Disconnect::SLOW),
            QueueStage::Ending(ref mut disconnect) => Some(std::mem::replace(disconnect, Disconnect::NORMAL)),
        };
        if end.is_some() {
            state.stage = QueueStage::Over;
        }
        // Other threads need not wait while the bytes are copied.
        drop(state);
        for (kind, data) in messages {
            actions.message(kind, |out| out.extend_from_slice(&data));
        }
        let ends = end.is_some();
        if let Some(disconnect) = end {
            actions.close(disconnect);
        }
        ends
    }

    /// The session is over: what waits is forgotten and nothing more is taken.
    pub(super) fn shut(&self) {
        let mut state = self.state.lock();
        state.stage = QueueStage::Over;
        state.forget();
    }
}

impl HandlerQueueState {
    fn forget(&mut self) {
        self.messages = VecDeque::new();
        self.bytes = 0;
    }
}
