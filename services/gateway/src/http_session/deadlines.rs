//! Deadlines of a session over HTTP: without a response it waits for the next one, which few sessions may at a time; with
//! one it writes heartbeats.

use tokio::time::Instant;

use super::HttpSession;
use crate::{
    disconnect::Disconnect,
    node::admission::{attempts::AttemptKind, fair_share::Exhausted, refusals::RefusalCause},
};

impl HttpSession {
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
            self.leave_node();
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
