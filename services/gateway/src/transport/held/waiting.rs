//! What a held session does while it waits: without a response for the next one, which few may at a time; with one, for
//! something to write.

use tokio::time::Instant;

use super::{Held, Lifetime, Phase};
use crate::{
    disconnect::Disconnect,
    node::admission::{attempts::Attempt, refusals::Cause, share::Exhausted},
};

/// Why a session ends that may not wait. Its client comes back.
pub(super) fn too_many_wait() -> Disconnect {
    Disconnect::new(Disconnect::TOO_MANY_REQUESTS.code, "too many sessions wait")
}

impl Held {
    /// It waits for its next response, unless too many do.
    pub(super) fn begin_waiting(&mut self, by: Instant, most: usize) -> bool {
        let cause = match self.directory.begin_waiting(self.network, most) {
            Ok(()) => {
                self.attended_by = Some(by);
                return true;
            }
            Err(Exhausted::All) => Cause::Waiting,
            Err(Exhausted::Network) => Cause::WaitingOfAddress,
        };
        self.carried.errands.node.refused(cause, self.network);
        false
    }

    /// Whoever opened it may have looked whether somebody has a session with this id.
    pub(super) fn count_guess(&self) {
        self.carried.errands.node.failed_attempt(Attempt::SessionId, self.network);
    }

    /// The response has just been written to, or has just come: its silence begins anew.
    pub(super) fn begin_silence(&mut self) {
        if let Lifetime::Visits { heartbeat, .. } = self.lifetime {
            self.quiet_by = Some(Instant::now() + heartbeat);
        }
    }

    /// Writes a heartbeat where the response was silent for long.
    fn break_silence(&mut self, now: Instant) {
        if self.quiet_by.is_none_or(|by| by > now) {
            return;
        }
        self.begin_silence();
        // One that has no room is not silent: its client does not read.
        if let Some(response) = &mut self.response
            && response.pipe.has_room()
        {
            response.pipe.push(response.writer.ping());
            self.carried.outbox.wake();
        }
    }

    /// It has a response, or needs none any more.
    pub(super) fn set_attended(&mut self) {
        if self.attended_by.take().is_some() {
            self.directory.end_waiting(self.network);
        }
    }

    /// Ends what has waited too long.
    pub(super) fn look_at_clock(&mut self, now: Instant) {
        match &self.phase {
            Phase::Open if self.attended_by.is_some_and(|by| by <= now) => {
                self.leave_node();
                if self.carried.is_authenticated && !self.is_visited {
                    self.count_guess();
                }
                self.phase = Phase::Over(Disconnect::ABNORMAL);
            }
            Phase::Open => return self.break_silence(now),
            Phase::Ended { reason, by } if *by <= now => self.phase = Phase::Over(reason.clone()),
            Phase::Ended { .. } | Phase::Over(_) => return,
        }
        self.carried.outbox.wake();
    }
}
