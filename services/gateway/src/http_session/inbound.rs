//! Messages of a client that came with requests of their own: they wait here until the session takes them.

use std::collections::VecDeque;

use actix::prelude::*;

use super::{
    HttpSession,
    registry::{Busy, InboundMessages},
};
use crate::{
    connection::{state::ConnectionActor, turn::Turn},
    session::{Actions, Incoming, Now},
};

/// Requests with messages that may wait for a session that is busy.
const MAX_WAITING_REQUESTS: usize = 64;

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
                self.state.runner.worker.traffic.received(1, message.len());
                self.state.session.message(Incoming::Text(&message), now, actions);
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
}
