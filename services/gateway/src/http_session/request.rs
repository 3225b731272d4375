//! Requests that come for a session, from whatever worker of the node they landed on.

use std::collections::VecDeque;

use actix::prelude::*;
use tokio::sync::oneshot;

use super::writer::Response;

/// A request that comes for a session.
#[derive(Message)]
#[rtype(result = "()")]
pub enum SessionRequest {
    /// It brings messages of the client.
    Send(InboundMessages),
    /// It wants to carry what waits for the client.
    Attach(Response),
}

/// Messages of a client.
pub struct InboundMessages {
    /// In their order.
    messages: VecDeque<String>,
    /// Their bytes.
    bytes: usize,
    /// Told once the session has taken them all. Dropped: the session is over.
    taken: oneshot::Sender<Result<(), Busy>>,
}

impl InboundMessages {
    /// Messages, and where it is told that they are taken.
    pub fn new(messages: impl IntoIterator<Item = String>) -> (Self, oneshot::Receiver<Result<(), Busy>>) {
        let (taken, told) = oneshot::channel();
        let messages: VecDeque<String> = messages.into_iter().collect();
        let bytes = messages.iter().map(|message| size_of_message(message)).sum();
        (Self { messages, bytes, taken }, told)
    }

    /// Bytes that it holds.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// True if all its messages are taken.
    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Tells who brought it: all is taken, or it may not wait. They may have gone; then nobody misses it.
    pub(super) fn answer(self, answer: Result<(), Busy>) {
        let _ = self.taken.send(answer);
    }

    /// Takes the next message out.
    pub(super) fn pop(&mut self) -> Option<String> {
        let message = self.messages.pop_front()?;
        self.bytes = self.bytes.saturating_sub(size_of_message(&message));
        Some(message)
    }
}

/// Bytes that a message holds while it waits, near enough.
fn size_of_message(message: &str) -> usize {
    message.len() + size_of::<String>()
}

/// Too many requests with messages wait for this session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many requests wait for this session")]
pub struct Busy;
