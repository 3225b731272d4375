//! A STOMP session's times: the first frame, heart-beats both ways, expiry, the end. `specs/stomp.md`, items 17, 27 to 29,
//! 47, 59.

use std::time::{Duration, Instant};

use gorani_protocol::stomp::Agreed;

use crate::session::Now;

/// Of the time in which the server promised to send something: the rest is for the way to the client.
const BEAT_AT: f64 = 0.8;
/// Of the time in which the client promised to send something: what is over is for the way to the server.
const MARGIN: u32 = 2;
/// Far beyond any connection, and safe to add to an `Instant`: a year.
const FAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// The times of a session.
#[derive(Debug)]
pub(super) struct Clock {
    /// Until when the first frame must have come; absent once it has.
    pub(super) connect_by: Option<Instant>,
    beat_every: Option<Duration>,
    next_beat: Option<Instant>,
    silence_max: Option<Duration>,
    heard: Instant,
    pub(super) expires: Option<Instant>,
    /// When the earliest subscription ends.
    pub(super) subscription_expires: Option<Instant>,
    /// When a session that has said goodbye is closed.
    pub(super) leave_by: Option<Instant>,
}

impl Clock {
    pub(super) fn new(now: Now, connect_timeout: Duration) -> Self {
        Self {
            connect_by: Some(now.instant + connect_timeout),
            beat_every: None,
            next_beat: None,
            silence_max: None,
            heard: now.instant,
            expires: None,
            subscription_expires: None,
            leave_by: None,
        }
    }

    /// The session is open, with these heart-beats.
    pub(super) fn start(&mut self, agreed: Agreed, now: Now) {
        self.connect_by = None;
        self.beat_every = agreed.to_client.map(|every| every.mul_f64(BEAT_AT));
        self.next_beat = self.beat_every.map(|every| now.instant + every);
        self.silence_max = agreed.from_client.map(|every| every.saturating_mul(MARGIN));
        self.heard = now.instant;
    }

    /// Something came from the client.
    pub(super) fn hear(&mut self, now: Now) {
        self.heard = now.instant;
    }

    /// Whether a beat is to be sent now.
    pub(super) fn take_beat(&mut self, now: Now) -> bool {
        let due = is_due(self.next_beat, now);
        if due {
            self.next_beat = self.beat_every.map(|every| now.instant + every);
        }
        due
    }

    /// Whether the client has been silent for too long.
    pub(super) fn is_silent(&self, now: Now) -> bool {
        is_due(self.silent_at(), now)
    }

    fn silent_at(&self) -> Option<Instant> {
        self.silence_max.map(|most| self.heard + most.min(FAR))
    }

    /// When [`super::StompSession`] is to look again. While it does not read, silence proves nothing.
    pub(super) fn deadline(&self, reads: bool) -> Option<Instant> {
        if self.leave_by.is_some() {
            return self.leave_by;
        }
        let silent_at = self.silent_at().filter(|_| reads);
        let all = [self.connect_by, self.next_beat, silent_at, self.expires, self.subscription_expires];
        all.into_iter().flatten().min()
    }
}

/// Whether a time has come.
pub(super) fn is_due(deadline: Option<Instant>, now: Now) -> bool {
    deadline.is_some_and(|deadline| deadline <= now.instant)
}

/// When something that expires at this Unix time ends.
pub(super) fn end_of(expires_at: u64, now: Now) -> Instant {
    now.instant + Duration::from_secs(expires_at.saturating_sub(now.unix_s())).min(FAR)
}
