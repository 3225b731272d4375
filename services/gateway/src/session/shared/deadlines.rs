//! Deadlines of a connection: its pings, by when the client must have answered them, and the expiry of its token and of its
//! subscriptions, from the Unix seconds of a token to a deadline and back. `docs/protocols/client.md` §4 and §10,
//! `docs/protocols/stomp.md` §3, `docs/protocols/websocket.md` §14.

use std::time::Duration;

use rand::RngExt;
use tokio::time::Instant;

use crate::{
    random,
    session::{Now, SessionAnswer},
};

/// The next ping of a connection, and the pong it waits for. Nothing is due before [`Pings::start`].
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::session) struct Pings {
    next_ping: Option<Instant>,
    pong_by: Option<Instant>,
}

/// A pong for which an operator waits.
pub(in crate::session) struct AskedPing {
    pub(in crate::session) since: Instant,
    pub(in crate::session) answer: SessionAnswer<Duration>,
}

impl Pings {
    /// Begins. The first ping comes at a random time in the second half of the interval, so that clients that connected together
    /// do not stay together.
    pub(in crate::session) fn start(&mut self, interval: Duration, now: Instant) {
        self.next_ping = Some(now + interval.mul_f64(random::rng().random_range(0.5..1.0)));
    }

    /// Takes the ping that is due, if one is. The client has `timeout` for its pong; `None` asks for no pong.
    pub(in crate::session) fn take_due(
        &mut self,
        interval: Duration,
        timeout: Option<Duration>,
        now: Instant,
    ) -> bool {
        let is_due = self.next_ping.is_some_and(|at| at <= now);
        if is_due {
            self.next_ping = Some(now + interval);
            self.pong_by = timeout.map(|timeout| now + timeout).or(self.pong_by);
        }
        is_due
    }

    /// Takes a ping before it is due; the next one comes an interval later. False if a pong is awaited already: a second ping would
    /// have a second pong, for which nobody waits.
    pub(in crate::session) fn take_now(
        &mut self,
        interval: Duration,
        timeout: Duration,
        now: Instant,
    ) -> bool {
        let is_free = self.pong_by.is_none();
        if is_free {
            self.next_ping = Some(now + interval);
            self.pong_by = Some(now + timeout);
        }
        is_free
    }

    /// Gives the client so much time for its pong, from now on.
    pub(in crate::session) fn await_pong(&mut self, timeout: Duration, now: Instant) {
        self.pong_by = Some(now + timeout);
    }

    /// Takes a pong, or a message, behind which the pong may have to wait. False if no pong was awaited.
    pub(in crate::session) fn take_pong(&mut self) -> bool {
        self.pong_by.take().is_some()
    }

    /// True if the client did not answer in time.
    pub(in crate::session) fn is_unanswered(&self, now: Instant) -> bool {
        self.pong_by.is_some_and(|by| by <= now)
    }

    /// The earlier of both times.
    pub(in crate::session) fn deadline(&self) -> Option<Instant> {
        self.next_ping.into_iter().chain(self.pong_by).min()
    }
}

/// A year: far beyond any connection, and safe to add to an `Instant`.
pub(in crate::session) const FAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// The end of something that expires at this time in Unix seconds, with `grace` for its refresh.
pub(in crate::session) fn end_of(expires_at: Option<u64>, grace: Duration, now: Now) -> Option<Instant> {
    let left = |at: u64| Duration::from_secs(at.saturating_sub(now.unix_s())).min(FAR);
    expires_at.map(|at| now.instant + left(at) + grace)
}

/// True if this time in Unix seconds has passed.
pub(in crate::session) fn has_expired(expires_at: Option<u64>, now: Now) -> bool {
    expires_at.is_some_and(|at| at <= now.unix_s())
}

/// Seconds from now until this time in Unix seconds, as clients get them; 0 where there is none.
pub(in crate::session) fn ttl(expires_at: Option<u64>, now: Now) -> u32 {
    let left = expires_at.map_or(0, |at| at.saturating_sub(now.unix_s()));
    u32::try_from(left).unwrap_or(u32::MAX)
}

/// True if a deadline has come.
pub(in crate::session) fn is_due(deadline: Option<Instant>, now: Now) -> bool {
    deadline.is_some_and(|deadline| deadline <= now.instant)
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(25);
    const TIMEOUT: Duration = Duration::from_secs(8);

    #[test]
    fn the_first_ping_comes_at_a_random_time_in_the_second_half_of_the_interval() {
        let now = Instant::now();
        let firsts: std::collections::BTreeSet<Duration> = (0..100)
            .filter_map(|_| {
                let mut pings = Pings::default();
                pings.start(INTERVAL, now);
                Some(pings.deadline()? - now)
            })
            .collect();
        assert!(firsts.len() > 90, "{firsts:?}");
        assert!(firsts.iter().all(|first| (INTERVAL / 2..=INTERVAL).contains(first)), "{firsts:?}");
    }

    #[test]
    fn a_ping_is_due_once_an_interval_and_only_after_the_start() {
        let mut pings = Pings::default();
        let mut now = Instant::now();
        assert!(!pings.take_due(INTERVAL, Some(TIMEOUT), now));
        pings.start(INTERVAL, now);
        now += INTERVAL;
        assert!(pings.take_due(INTERVAL, Some(TIMEOUT), now));
        assert!(!pings.take_due(INTERVAL, Some(TIMEOUT), now));
        assert_eq!(pings.deadline(), Some(now + TIMEOUT));
        assert!(pings.take_pong());
        assert!(!pings.take_pong());
        assert_eq!(pings.deadline(), Some(now + INTERVAL));
    }

    #[test]
    fn a_ping_is_unanswered_when_its_time_is_over_unless_no_pong_was_asked_for() {
        for timeout in [Some(TIMEOUT), None] {
            let mut pings = Pings::default();
            let now = Instant::now();
            pings.start(INTERVAL, now);
            assert!(pings.take_due(INTERVAL, timeout, now + INTERVAL));
            assert!(!pings.is_unanswered(now + INTERVAL + TIMEOUT / 2));
            assert_eq!(pings.is_unanswered(now + INTERVAL + TIMEOUT), timeout.is_some());
        }
    }

    const GRACE: Duration = Duration::from_secs(10);

    fn now() -> Now {
        Now { unix_ms: 1_000_000, ..Now::read() }
    }

    #[test]
    fn what_expires_ends_after_the_grace_and_what_never_expires_never() {
        let now = now();
        for (expires_at, left) in [(1060, 60), (1000, 0), (1, 0)] {
            let end = now.instant + Duration::from_secs(left) + GRACE;
            assert_eq!(end_of(Some(expires_at), GRACE, now), Some(end), "{expires_at}");
            assert_eq!(ttl(Some(expires_at), now), u32::try_from(left).unwrap_or_default());
            assert_eq!(has_expired(Some(expires_at), now), left == 0, "{expires_at}");
        }
        assert_eq!(end_of(None, GRACE, now), None);
        assert_eq!(ttl(None, now), 0);
        assert!(!has_expired(None, now));
    }

    #[test]
    fn the_farthest_times_overflow_nothing() {
        let now = now();
        assert_eq!(end_of(Some(u64::MAX), GRACE, now), Some(now.instant + FAR + GRACE));
        assert_eq!(ttl(Some(u64::MAX), now), u32::MAX);
    }
}
