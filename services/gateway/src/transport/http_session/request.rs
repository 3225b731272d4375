//! Requests that come for a session, from whatever worker of the node they landed on.

use std::{collections::VecDeque, time::Duration};

use actix::prelude::*;
use tokio::sync::oneshot;

use super::{HttpSession, HttpSessionPhase, Response};
use crate::{
    session::{Actions, Incoming, Now},
    transport::{connection_state::ConnectionActor, turn::Turn},
};

/// How long a response may wait for the end of the one before it to be seen: the client that gave that one up may be back
/// before the news of it.
pub(super) const HANDOVER: Duration = Duration::from_millis(100);
/// Requests with messages that may wait for a session that is busy.
const MAX_WAITING_REQUESTS: usize = 64;

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

    fn pop(&mut self) -> Option<String> {
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

impl HttpSession {
    /// Takes messages, or lets them wait behind those that wait.
    pub(super) fn enqueue_inbound(&mut self, messages: InboundMessages) {
        if !self.is_open() {
            // Dropping it tells.
            return;
        }
        if self.inbound.len() >= MAX_WAITING_REQUESTS {
            let _ = messages.taken.send(Err(Busy));
            return;
        }
        self.inbound.push_back(messages);
        // The resident future takes it: all requests that are here share one turn.
        self.state.outbox.wake();
    }

    /// Hands the session what has come, as far as it can take it in this turn.
    pub(super) fn process_inbound(&mut self, ctx: &mut Context<Self>) {
        let mut turn = Turn::default();
        let mut actions = Actions::default();
        if !self.process_within(&mut turn, &mut actions, ctx) {
            self.state.outbox.wake();
        }
        turn.end(&self.state.runner.worker);
    }

    /// False if the turn is over before all is taken that could be.
    fn process_within(&mut self, turn: &mut Turn, actions: &mut Actions, ctx: &mut Context<Self>) -> bool {
        if !self.resume(turn, actions, ctx) {
            return false;
        }
        if self.inbound.is_empty() {
            return true;
        }
        turn.begin();
        let now = Now::read();
        let mut is_in_time = true;
        while is_in_time
            && self.is_open()
            && !self.state.session.is_blocked()
            && let Some(mut messages) = self.inbound.pop_front()
        {
            while is_in_time
                && self.may_act()
                && !self.state.session.is_blocked()
                && let Some(message) = messages.pop()
            {
                self.state.runner.worker.traffic.received(1, message.len());
                self.state.session.message(Incoming::Text(&message), now, actions);
                self.run_actions(actions, ctx);
                is_in_time = self.resume(turn, actions, ctx) && !turn.is_over();
            }
            if self.is_open() && !messages.messages.is_empty() {
                self.inbound.push_front(messages);
            } else {
                // All are taken, or one of them ended the session. Who brought them may have gone; then nobody misses it.
                let _ = messages.taken.send(Ok(()));
            }
        }
        if self.inbound.is_empty() {
            self.inbound = VecDeque::new();
        }
        is_in_time
    }

    /// Lets a response carry the session. While another one does, it waits a moment, and is turned away then.
    pub(super) fn attach(&mut self, response: Response, ctx: &mut Context<Self>) {
        if self.response.as_ref().is_some_and(|current| current.pipe.is_abandoned()) {
            // The client is back before the news that it had gone: that it had gone counts nevertheless.
            self.lose_broken_response();
        }
        if self.response.is_none() {
            return self.attach_response(response);
        }
        self.reject_waiting_response();
        self.next = Some(response);
        ctx.run_later(HANDOVER, |me, _| me.reject_waiting_response());
    }

    fn reject_waiting_response(&mut self) {
        if let Some(mut response) = self.next.take() {
            response.writer.reject(&response.pipe);
        }
    }

    pub(super) fn attach_response(&mut self, mut response: Response) {
        if let HttpSessionPhase::Over(reason) = &self.phase {
            // One that left without an end that is told is gone: whoever comes opens another one.
            if self.id.is_none() {
                response.tell_ended(reason);
            }
            return;
        }
        self.set_attach_deadline();
        response.writer.begin(&response.pipe);
        self.response = Some(response);
        self.restart_heartbeat();
        // Written, and watched, by the resident future.
        self.tell_end();
        self.state.outbox.wake();
    }
}
