//! The responses that carry a session over HTTP: how one is attached, filled, and lost.

use std::{task::Context as Task, time::Duration};

use actix::prelude::*;
use tokio::time::Instant;

use super::{HttpSession, Lifetime, Response};
use crate::{
    connection::state::{ConnectionActor, phase::ConnectionPhase},
    disconnect::Disconnect,
};

/// How long a response may wait for the end of the one before it to be seen: the client that gave that one up may be back
/// before the news of it.
pub(super) const HANDOVER: Duration = Duration::from_millis(100);

/// Reason of a session that may not wait. Its client comes back.
fn too_many_wait() -> Disconnect {
    Disconnect::new(Disconnect::TOO_MANY_REQUESTS.code, "too many sessions wait")
}

impl HttpSession {
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
        if let ConnectionPhase::Over(reason) = &self.state.phase {
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

    /// Moves what waits into the response, as far as there is room.
    pub(super) fn fill_response(&mut self, task: &mut Task<'_>) {
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

    pub(super) fn tell_end_to_response(&mut self) {
        let ConnectionPhase::Closing { reason, .. } = &self.state.phase else { return };
        let Some(Response { pipe, mut writer }) = self.response.take() else { return };
        pipe.widen();
        // What is over its limit is not sent on: nothing that is missing is hidden by what comes later.
        if self.state.outbox.overflow().is_none() {
            writer.write(&self.state.outbox, &pipe);
        }
        let is_told_again = matches!(self.lifetime, Lifetime::Visits { .. });
        if writer.is_done() && is_told_again {
            // It carried what waited; the next one brings the end.
            return;
        }
        writer.close_message(reason, &pipe);
        if !is_told_again || self.state.runner.node.is_draining() {
            self.state.phase.finish_closing();
        }
    }

    /// The response was broken off by the client or the network.
    fn lose_broken_response(&mut self) {
        if self.state.phase.is_open() && matches!(self.lifetime, Lifetime::Visits { .. }) {
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
            Lifetime::Visits { patience, most, .. } => {
                if !self.begin_waiting(Instant::now() + patience, most) {
                    self.end(too_many_wait());
                }
            }
            Lifetime::Response => {
                self.leave_node();
                self.state.phase.finish(reason);
            }
        }
    }
}
