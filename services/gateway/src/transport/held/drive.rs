//! The one resident future of a held session: moves what the outbox holds into the response, and notices that the
//! response is gone.

use std::{
    pin::Pin,
    task::{Context as Task, Poll},
};

use actix::{fut::ActorFuture, prelude::*};

use super::{Held, Phase};
use crate::{disconnect::Disconnect, session::Actions, transport::carrier::Carrier};

/// The resident future.
pub(super) struct Drive;

impl ActorFuture<Held> for Drive {
    type Output = ();

    fn poll(self: Pin<&mut Self>, me: &mut Held, ctx: &mut Context<Held>, task: &mut Task<'_>) -> Poll<()> {
        me.carried.outbox.register(task);
        if me.is_open() {
            if let Some(slow) = me.carried.outbox.overflow() {
                me.end(slow);
            } else {
                let mut actions = Actions::default();
                me.carried.session.poll_outside(task, &mut actions);
                me.carry_out(&mut actions, ctx);
                me.take_arrivals(ctx);
            }
        }
        me.fill_response(task);
        me.reschedule();
        if matches!(me.phase, Phase::Over(_)) {
            ctx.stop();
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

impl Held {
    /// Moves what waits into the response, as far as there is room.
    fn fill_response(&mut self, task: &mut Task<'_>) {
        while let Some(response) = &mut self.response {
            let has_room = response.pipe.poll_room(task);
            if response.pipe.is_abandoned() {
                self.lose_broken_response();
                continue;
            }
            let has_bytes = has_room && !self.carried.outbox.is_empty();
            if has_bytes {
                let before = self.carried.outbox.len_bytes();
                response.writer.write(&self.carried.outbox, &response.pipe);
                let moved = before.saturating_sub(self.carried.outbox.len_bytes());
                self.carried.errands.worker.tally.sent(moved);
            }
            let is_done = response.writer.is_done();
            if has_bytes {
                self.begin_silence();
            }
            if !is_done {
                return;
            }
            self.lose_response(Disconnect::NORMAL);
        }
    }
}
