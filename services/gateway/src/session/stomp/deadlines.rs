//! A STOMP session's times: the first frame, heart-beats both ways, the transport's pings where the client has none, expiry,
//! the end. `docs/protocols/stomp.md` §2.2, §2.12, §3 and §10.5.

use std::time::Duration;

use gorani_protocol::stomp::AgreedHeartBeat;
use tokio::time::Instant;

use crate::session::{
    Now,
    shared::{
        expiry::{FAR, is_due},
        pings::Pings,
    },
};

/// Share of the promised interval after which the server sends: the rest is for the way to the client.
const BEAT_AT: f64 = 0.8;
/// Multiple of the client's promised interval for which it may be silent: the excess is for the way to the server.
const MARGIN: u32 = 2;

/// The times of a session.
#[derive(Debug)]
pub(super) struct StompDeadlines {
    /// The time by which the first frame must have come; absent once it has.
    pub(super) connect_by: Option<Instant>,
    beat_every: Option<Duration>,
    next_beat: Option<Instant>,
    silence_max: Option<Duration>,
    heard: Instant,
    /// The transport's own pings. They do not begin if the client is to send heart-beats, or the transport has none.
    pub(super) pings: Pings,
    pub(super) expires: Option<Instant>,
    /// The time at which the earliest subscription ends.
    pub(super) subscription_expires: Option<Instant>,
    /// The time at which a session is closed after DISCONNECT.
    pub(super) leave_by: Option<Instant>,
}

impl StompDeadlines {
    pub(super) fn new(now: Now, connect_timeout: Duration) -> Self {
        Self {
            connect_by: Some(now.instant + connect_timeout),
            beat_every: None,
            next_beat: None,
            silence_max: None,
            heard: now.instant,
            pings: Pings::default(),
            expires: None,
            subscription_expires: None,
            leave_by: None,
        }
    }

    /// The session is open, with these heart-beats. A client that promised none may be gone unnoticed: it is asked with
    /// the transport's pings, if it has any, once every `ping_interval`.
    pub(super) fn start(&mut self, agreed: AgreedHeartBeat, ping_interval: Option<Duration>, now: Now) {
        self.connect_by = None;
        self.beat_every = agreed.to_client.map(|every| every.mul_f64(BEAT_AT));
        self.next_beat = self.beat_every.map(|every| now.instant + every);
        self.silence_max = agreed.from_client.map(|every| every.saturating_mul(MARGIN));
        self.heard = now.instant;
        if let Some(interval) = ping_interval.filter(|_| agreed.from_client.is_none()) {
            self.pings.start(interval, now.instant);
        }
    }

    /// Something came from the client.
    pub(super) fn on_input(&mut self, now: Now) {
        self.heard = now.instant;
        self.pings.take_pong();
    }

    /// True if a beat is to be sent now.
    pub(super) fn take_beat(&mut self, now: Now) -> bool {
        let due = is_due(self.next_beat, now);
        if due {
            self.next_beat = self.beat_every.map(|every| now.instant + every);
        }
        due
    }

    /// True if a ping was not answered in time. While the session does not read, that proves nothing: the next ping asks again.
    pub(super) fn is_unanswered(&mut self, reads: bool, now: Now) -> bool {
        self.pings.is_unanswered(now.instant) && self.pings.take_pong() && reads
    }

    /// True if the client has been silent for too long.
    pub(super) fn is_silent(&self, now: Now) -> bool {
        is_due(self.silent_at(), now)
    }

    fn silent_at(&self) -> Option<Instant> {
        self.silence_max.map(|most| self.heard + most.min(FAR))
    }

    /// The time at which [`super::StompSession`] is to check again. While it does not read, silence proves nothing.
    pub(super) fn deadline(&self, reads: bool) -> Option<Instant> {
        if self.leave_by.is_some() {
            return self.leave_by;
        }
        let silent_at = self.silent_at().filter(|_| reads);
        let pings = self.pings.deadline();
        let all =
            [self.connect_by, self.next_beat, silent_at, pings, self.expires, self.subscription_expires];
        all.into_iter().flatten().min()
    }
}
