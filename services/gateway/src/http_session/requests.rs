//! The requests that come for a session over HTTP. The messages that they bring wait here until the session takes them. The
//! response that one attached is filled, gets heartbeats while it is silent, and is lost; without one the session waits for
//! the next, which few sessions may at a time, and not for long.

use std::{collections::VecDeque, task::Context as Task};

use actix::prelude::*;
use tokio::time::Instant;

use super::{
    HttpSession, Lifetime,
    registry::{Busy, InboundMessages},
};
use crate::{
    connection::state::actor::{ConnectionActor, Turn},
    disconnect::Disconnect,
    node::{
        admission::{attempts::AttemptKind, refusals::RefusalCause},
        client_network::Exhausted,
    },
    session::{Actions, Now},
};

/// Requests with messages that may wait for a session that is busy.
const MAX_WAITING_REQUESTS: usize = 64;

/// Reason of a session that may not wait. Its client comes back.
fn too_many_wait() -> Disconnect {
    Disconnect::new(Disconnect::TOO_MANY_REQUESTS.code, "too many sessions wait")
}

impl HttpSession {
    /// Takes messages, or lets them wait behind those that wait.
    pub(super) fn enqueue_inbound(&mut self, messages: InboundMessages) {
        if !self.state.phase.is_open() {
            // Dropping it tells.
            return;
        }
        if self.inbound.len() >= MAX_WAITING_REQUESTS {
            return messages.answer(Err(Busy));
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
            && self.state.phase.is_open()
            && !self.state.session.is_blocked()
            && let Some(mut messages) = self.inbound.pop_front()
        {
            while is_in_time
                && self.may_act()
                && !self.state.session.is_blocked()
                && let Some(message) = messages.pop()
            {
                let incoming = message.incoming();
                self.state.runner.worker.traffic.received(1, incoming.len());
                self.state.session.message(incoming, now, actions);
                self.run_actions(actions, ctx);
                is_in_time = self.resume(turn, actions, ctx) && !turn.is_over();
            }
            if self.state.phase.is_open() && !messages.is_empty() {
                self.inbound.push_front(messages);
            } else {
                // All are taken, or one of them ended the session.
                messages.answer(Ok(()));
            }
        }
        if self.inbound.is_empty() {
            self.inbound = VecDeque::new();
        }
        is_in_time
    }

    /// Moves what waits into the response, as far as there is room. True if a response was lost.
    pub(super) fn fill_response(&mut self, task: &mut Task<'_>) -> bool {
        let mut is_lost = false;
        while let Some(response) = &mut self.response {
            let Ok(has_room) = response.pipe.poll_room(task) else {
                is_lost = true;
                self.lose_broken_response();
                continue;
            };
            let before = self.state.outbox.len_bytes();
            let has_bytes = has_room && before > 0;
            if has_bytes {
                response.writer.write(&self.state.outbox, &response.pipe);
                let moved = before.saturating_sub(self.state.outbox.len_bytes());
                self.state.runner.worker.traffic.sent(moved);
            }
            let is_done = response.writer.is_done();
            if has_bytes {
                self.restart_heartbeat();
            }
            if !is_done {
                break;
            }
            is_lost = true;
            self.lose_response(Disconnect::NORMAL);
        }
        self.state.outbox.note_blocked();
        is_lost
    }

    /// The response was broken off by the client or the network.
    pub(super) fn lose_broken_response(&mut self) {
        if self.state.phase.is_open() && matches!(self.lifetime, Lifetime::Requests { .. }) {
            self.response = None;
            // To the session it is a connection lost; the client, should it come back, knows it by another code.
            self.end_as(&Disconnect::ABNORMAL, Disconnect::INTERRUPTED);
        }
        self.lose_response(Disconnect::ABNORMAL);
    }

    /// The response is gone or has all that it may carry: the session ends with it, or waits for its next one.
    fn lose_response(&mut self, reason: Disconnect) {
        self.response = None;
        if let Some(next) = self.next.take() {
            return self.attach_response(next);
        }
        if !self.state.phase.is_open() {
            return;
        }
        match self.lifetime {
            Lifetime::Requests { attach_timeout: time_limit, max_waiting: most, .. } => {
                if !self.begin_waiting(Instant::now() + time_limit, most) {
                    self.end(too_many_wait());
                }
            }
            Lifetime::Response => {
                self.leave_node(&reason);
                self.state.phase.finish(reason);
            }
        }
    }

    /// It waits for its next response, unless too many do.
    pub(super) fn begin_waiting(&mut self, by: Instant, most: usize) -> bool {
        let cause = match self.registry.begin_waiting(self.network, most) {
            Ok(()) => {
                self.attach_deadline = Some(by);
                return true;
            }
            Err(Exhausted::All) => RefusalCause::Waiting,
            Err(Exhausted::Network) => RefusalCause::WaitingOfAddress,
        };
        self.state.runner.node.admission.refused(cause, self.network);
        false
    }

    /// Counts a guess: the client that opened it may have looked for somebody's session with this id.
    pub(super) fn count_guess(&self) {
        self.state.runner.node.admission.failed_attempt(AttemptKind::SessionId, self.network);
    }

    /// The response has just been written to, or has just come: its silence begins anew.
    pub(super) fn restart_heartbeat(&mut self) {
        if let Some(heartbeat) = self.lifetime.heartbeat() {
            self.heartbeat_deadline = Some(Instant::now() + heartbeat);
        }
    }

    /// Writes a heartbeat where the response was silent for long.
    fn send_heartbeat(&mut self, now: Instant) {
        if self.heartbeat_deadline.is_none_or(|by| by > now) {
            return;
        }
        self.restart_heartbeat();
        // One that has no room is not silent: its client does not read.
        if let Some(response) = &mut self.response
            && response.pipe.has_room()
        {
            response.pipe.push(response.writer.ping());
            self.state.outbox.wake();
        }
    }

    /// It has a response, or needs none any more.
    pub(super) fn set_attach_deadline(&mut self) {
        if self.attach_deadline.take().is_some() {
            self.registry.end_waiting(self.network);
        }
    }

    /// Ends what has waited too long.
    pub(super) fn check_deadlines(&mut self, now: Instant) {
        if !self.state.phase.is_open() {
            if !self.state.phase.is_overdue(now) {
                return;
            }
            self.state.phase.finish_closing();
        } else if self.attach_deadline.is_some_and(|by| by <= now) {
            self.leave_node(&Disconnect::ABNORMAL);
            if self.state.is_authenticated && !self.has_been_attached {
                self.count_guess();
            }
            self.state.phase.finish(Disconnect::ABNORMAL);
        } else {
            return self.send_heartbeat(now);
        }
        self.state.outbox.wake();
    }
}
