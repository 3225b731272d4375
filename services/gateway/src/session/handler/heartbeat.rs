//! The heartbeat of a handler's session: the transport's own pings. `docs/protocols/websocket.md` §14.

use std::time::Duration;

use rand::RngExt;
use tokio::time::Instant;

use crate::random;

/// Time between pings, and for the answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heartbeat {
    interval: Duration,
    timeout: Duration,
    next_ping: Option<Instant>,
    pong_by: Option<Instant>,
}

/// What is due.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    Nothing,
    Ping,
    /// The client did not answer.
    End,
}

impl Heartbeat {
    pub(super) fn new(interval: Duration, timeout: Duration) -> Self {
        Self { interval, timeout, next_ping: None, pong_by: None }
    }

    /// The session is open: the first ping comes at a random time in the second half of the interval, so that
    /// clients that came together do not stay together.
    pub(super) fn start(&mut self, now: Instant) {
        self.next_ping = Some(now + self.interval.mul_f64(random::rng().random_range(0.5..1.0)));
    }

    /// The client gave a sign of life: a pong, or a message, behind which its pong may have to wait.
    pub(super) fn alive(&mut self) {
        self.pong_by = None;
    }

    pub(super) fn due(&mut self, now: Instant) -> Due {
        if self.pong_by.is_some_and(|by| by <= now) {
            return Due::End;
        }
        if self.next_ping.is_some_and(|at| at <= now) {
            self.next_ping = Some(now + self.interval);
            self.pong_by = Some(now + self.timeout);
            return Due::Ping;
        }
        Due::Nothing
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        [self.next_ping, self.pong_by].into_iter().flatten().min()
    }
}
