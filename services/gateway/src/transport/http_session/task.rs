//! The one resident future of a held session: moves what the outbox holds into the response, and notices that the
//! response is gone.

use std::{
    pin::Pin,
    task::{Context as Task, Poll},
};

use actix::{fut::ActorFuture, prelude::*};

use super::{HttpSession, HttpSessionPhase};
use crate::{disconnect::Disconnect, session::Actions, transport::connection_state::ConnectionActor};

/// The resident future.
pub(super) struct HttpSessionTask;

impl ActorFuture<HttpSession> for HttpSessionTask {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        me: &mut HttpSession,
        ctx: &mut Context<HttpSession>,
        task: &mut Task<'_>,
    ) -> Poll<()> {
        me.state.outbox.register(task);
        if me.is_open() {
            if let Some(slow) = me.state.outbox.overflow() {
                me.end(slow);
            } else {
                let mut actions = Actions::default();
                me.state.session.poll_outside(task, &mut actions);
                me.run_actions(&mut actions, ctx);
                me.process_inbound(ctx);
            }
        }
        me.fill_response(task);
        me.reschedule();
        if matches!(me.phase, HttpSessionPhase::Over(_)) {
            ctx.stop();
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

impl HttpSession {
    /// Moves what waits into the response, as far as there is room.
    fn fill_response(&mut self, task: &mut Task<'_>) {
        while let Some(response) = &mut self.response {
            let has_room = response.pipe.poll_room(task);
            if response.pipe.is_abandoned() {
                self.lose_broken_response();
                continue;
            }
            let has_bytes = has_room && !self.state.outbox.is_empty();
            if has_bytes {
                let before = self.state.outbox.len_bytes();
                response.writer.write(&self.state.outbox, &response.pipe);
                let moved = before.saturating_sub(self.state.outbox.len_bytes());
                self.state.runner.worker.traffic.sent(moved);
            }
            let is_done = response.writer.is_done();
            if has_bytes {
                self.restart_heartbeat();
            }
            if !is_done {
                return;
            }
            self.lose_response(Disconnect::NORMAL);
        }
    }
}
